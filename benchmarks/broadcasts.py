"""Broadcasts: recipients a second beside what people use today, and a million recipients frozen and batched.

All senders meet the same stand-in of the platform, which answers after 50 ms, one after the other on the same cores.
Ours keeps every promise: the real worker processes, every call committed before it begins, every answer written
down (fsync on). The peers are RQ with one job per message, and wechatpy in a thread pool; both keep nothing.
"""

import json
import multiprocessing
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import click
import psutil
import requests
from sqlalchemy import text
from sqlalchemy.orm import Session

from benchmarks import senders
from benchmarks.callback import environment, house, served
from campaigns.broadcasts import bank, content, freezing, reach
from campaigns.broadcasts.content import Words
from campaigns.broadcasts.models import WordsKind
from core.database import Role
from core.runtime import Runtime
from core.servers import ensure_servers
from core.settings import load_settings
from qrcodes.fans import Filter
from tests.community import Neighbourhood
from tests.conftest import free_port, wait_until

WARM_S = 3
TALK = Words(WordsKind.TEXT, text="今天新到明前茶，凭这条消息第二杯半价。")
PERSONAL = Words(WordsKind.TEXT, text="{编号|您}好，上次来是{上次来|前些天}：今天新到明前茶，第二杯半价。")


# ---- The town --------------------------------------------------------------------------------------------------------


def shop_with(runtime: Runtime, fans: int, *, asking: bool = False) -> int:
    """A merchant with so many fans; `asking`, every one of them has a window that is open for offers."""
    street = Neighbourhood(runtime)
    merchant_id = street.merchant(f"{fans} 位老朋友")
    given = {"fans": fans, "account": street.account_id, "shop": merchant_id}
    with runtime.transaction(Role.PLATFORM, statement_timeout_s=600) as session:
        session.execute(
            text("""
                WITH people AS (
                    INSERT INTO follower (account_id, openid, person_key, status, state_as_of, first_seen_at,
                                          last_seen_at)
                    SELECT :account, 'oFan' || :shop || 'x' || lpad(n::text, 20, '0'),
                           sha256((:shop || ':' || n)::bytea), 'following', at, at, at
                    FROM (SELECT n, app_now() - random() * interval '300 days' AS at
                          FROM generate_series(1, :fans) n) each
                    RETURNING id, first_seen_at)
                INSERT INTO fan (merchant_id, follower_id, number, first_touch_at, last_touch_at)
                SELECT :shop, id, lpad(id::text, 10, '0'), first_seen_at, first_seen_at FROM people"""),
            given,
        )
        if asking:
            session.execute(
                text("""
                    INSERT INTO message_window (inbox_id, follower_id, merchant_id, trigger, opened_at, expires_at,
                                                allowance, wants_offers)
                    SELECT follower_id, follower_id, :shop, 'message', app_now(), app_now() + interval '47 hours', 5,
                           true
                    FROM fan WHERE merchant_id = :shop"""),
                given,
            )
    with runtime.transaction(Role.MIGRATE) as session:
        session.execute(text("ANALYZE"))
    return merchant_id


def agreed(runtime: Runtime, merchant_id: int, words: Words) -> int:
    """An approved broadcast to all fans, about to be frozen."""
    said = {"a": words}
    with runtime.transaction(Role.PLATFORM) as session:
        broadcast_id: int = session.execute(
            text("""
                INSERT INTO broadcast (account_id, merchant_id, hello_days)
                SELECT account_id, id, 0 FROM merchant WHERE id = :shop RETURNING id"""),
            {"shop": merchant_id},
        ).scalar_one()
        given = {"id": broadcast_id, "shop": merchant_id, "words": words.text, "hash": content.hash_of(said),
                 "evidence": json.dumps({"words": content.frozen(said)})}  # fmt: skip
        session.execute(
            text("""
                INSERT INTO broadcast_words (broadcast_id, variant, merchant_id, kind, text)
                VALUES (:id, 'a', :shop, 'text', :words)"""),
            given,
        )
        session.execute(text("UPDATE broadcast SET state = 'submitted' WHERE id = :id"), given)
        session.execute(
            text("""
                UPDATE broadcast SET state = 'approved', evidence = CAST(:evidence AS jsonb), content_hash = :hash
                WHERE id = :id"""),
            given,
        )
        session.execute(text("UPDATE broadcast SET state = 'freezing' WHERE id = :id"), given)
    return broadcast_id


def run_it(session: Session, broadcast_id: int) -> None:
    freezing.write_recipients(session, broadcast_id)
    session.execute(
        text("UPDATE broadcast SET state = 'running', started_at = app_now() WHERE id = :id"), {"id": broadcast_id}
    )


# ---- Sending ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rate:
    """What one sender did once it was warm. Milliseconds of processor time per recipient, all its processes."""

    per_second: float
    sender_ms: float
    postgres_ms: float
    most: int
    """How often whoever was written to most often."""

    def __str__(self) -> str:
        return (
            f"{self.per_second:7,.0f}/s  processor {self.sender_ms:.2f} ms + PostgreSQL {self.postgres_ms:.2f} ms each,"
            f" at most {self.most} × each"
        )


class Track:
    """Where senders run one after the other."""

    def __init__(self, runtime: Runtime, url: str, seconds: int, log: Path) -> None:
        self._runtime = runtime
        self._url = url
        self._seconds = seconds
        self._log = log
        with runtime.transaction(Role.PLATFORM) as session:
            backend = psutil.Process(session.execute(text("SELECT pg_backend_pid()")).scalar_one())
        self._postgres = backend.parent()

    def seen(self) -> dict[str, float]:
        answer: dict[str, float] = requests.get(f"{self._url}/seen", timeout=10).json()
        return answer

    def measure(self, programs: list[list[str]], variables: dict[str, str]) -> Rate:
        """Start the programs, wait until they are warm, watch them, stop them."""
        time.sleep(0.5)  # what the last sender left in flight is answered by then
        requests.get(f"{self._url}/forget", timeout=10)
        with self._log.open("ab") as log:
            running = [
                subprocess.Popen([sys.executable, "-m", *one], env=variables, stdout=log, stderr=log)
                for one in programs
            ]
        try:
            wait_until(lambda: self.seen()["calls"] > 0, seconds=60, what="the first message")
            time.sleep(WARM_S)
            before, sender, postgres = self.seen(), _spent(running), _spent([self._postgres])
            time.sleep(self._seconds)
            after, sender, postgres = self.seen(), _spent(running) - sender, _spent([self._postgres]) - postgres
        finally:
            for one in running:
                one.send_signal(signal.SIGTERM)
            for one in running:
                with suppress(subprocess.TimeoutExpired):
                    one.wait(20)
                one.kill()
        calls = after["calls"] - before["calls"]
        assert calls, "it stopped sending before it was measured"
        return Rate(
            calls / (after["at"] - before["at"]),
            sender * 1_000 / calls,
            postgres * 1_000 / calls,
            int(self.seen()["most"]),
        )

    def ours(self, broadcast_id: int, workers: int, variables: dict[str, str]) -> Rate:
        """The real workers on a broadcast that nobody was sent yet; every recipient's state is looked at afterwards."""
        rate = self.measure([["web.cli", "worker", "broadcasts"]] * workers, variables)
        with self._runtime.transaction(Role.PLATFORM) as session:
            rows = session.execute(
                text("SELECT state, count(*) FROM broadcast_recipient WHERE broadcast_id = :id GROUP BY 1"),
                {"id": broadcast_id},
            )
            states = dict(rows.all())
        left = states.get("planned", 0)
        assert left > 0, f"too few recipients to measure: {states}"
        assert states.get("sent") == self.seen()["calls"], f"{states}, and the platform saw {self.seen()}"
        return rate


def _spent(processes: "list[psutil.Process] | list[subprocess.Popen[bytes]]") -> float:
    """Seconds of processor time of these and of all they started, the ended ones included."""
    seconds = 0.0
    for each in processes:
        root = psutil.Process(each.pid)
        for one in [root, *root.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                times = one.cpu_times()
                seconds += times.user + times.system + times.children_user + times.children_system
    return float(seconds)


def compare(home: Path, runtime: Runtime, *, rounds: int, seconds: int, recipients: int) -> None:
    """Ours and the peers in turn."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    variables = {**environment(home, runtime), "WECHAT_API_URL": url}
    merchant_id = shop_with(runtime, recipients, asking=True)
    results: dict[str, list[Rate]] = {}

    def note(name: str, rate: Rate) -> None:
        results.setdefault(name, []).append(rate)
        click.echo(f"{name:32} {rate}, load {os.getloadavg()[0]:.1f}")

    with served(["benchmarks.standin", str(port)], variables, port):
        track = Track(runtime, url, seconds, home / "senders.log")
        for _ in range(rounds):
            for workers, words, name in (
                (1, TALK, "quanma, one worker"),
                (2, TALK, "quanma, two workers"),
                (1, PERSONAL, "quanma, one, words of each fan"),
            ):
                broadcast_id = agreed(runtime, merchant_id, words)
                with runtime.transaction(Role.PLATFORM, statement_timeout_s=60) as session:
                    session.execute(text("UPDATE message_window SET used = 0 WHERE used > 0"))
                    run_it(session, broadcast_id)
                note(name, track.ours(broadcast_id, workers, variables))
                with runtime.transaction(Role.PLATFORM, statement_timeout_s=60) as session:
                    session.execute(text("UPDATE broadcast SET state = 'cancelled' WHERE state = 'running'"))
            senders.enqueue(runtime.redis_url, url, 200 * (seconds + WARM_S))
            note(
                "RQ, one job per message",
                track.measure([["benchmarks.senders", "queue", runtime.redis_url]], variables),
            )
            for threads in (32, 64):
                note(
                    f"wechatpy, {threads} threads",
                    track.measure([["benchmarks.senders", "pool", url, str(threads)]], variables),
                )
    medians = {name: statistics.median(one.per_second for one in rates) for name, rates in results.items()}
    ours = medians["quanma, one worker"]
    for name, median in medians.items():
        click.echo(f"median {name:32} {median:7,.0f}/s, quanma's one worker is {ours / median:.2f} ×")


# ---- A million -------------------------------------------------------------------------------------------------------


def freeze_all(variables: dict[str, str], broadcast_id: int, tell: Connection) -> None:
    """In a process of its own: what a worker does from the start of a broadcast until its last batch is ready."""
    os.environ.update(variables)
    settings = load_settings()
    runtime = Runtime.build(settings, ensure_servers(settings))
    tell.send(("begun", time.monotonic()))
    with runtime.transaction(Role.PLATFORM, statement_timeout_s=freezing.FREEZE_TIMEOUT_S) as session:
        run_it(session, broadcast_id)
    tell.send(("frozen", time.monotonic()))
    while True:
        with runtime.transaction(Role.PLATFORM, statement_timeout_s=30) as session:
            if not freezing.make_batch(session, broadcast_id, bank.policy(session)):
                break
    tell.send(("batched", time.monotonic()))


@contextmanager
def generous(runtime: Runtime) -> Iterator[None]:
    """A policy under which everybody can be reached by a mass send."""
    with runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("UPDATE quota_policy SET batch_size = 10000, share_base = 1000000, share_per_kept = 1000"))
    yield


def million(home: Path, runtime: Runtime, *, fans: int, rounds: int) -> None:
    """Freezing and batching, and how long a merchant waits for the forecast."""
    variables = environment(home, runtime)
    began = time.monotonic()
    shops = {fans: shop_with(runtime, fans), 20_000: shop_with(runtime, 20_000)}
    click.echo(f"made {fans:,} fans in {time.monotonic() - began:.0f} s")
    with generous(runtime):
        for count, shop in shops.items():
            forecasts(runtime, shop, count, "before anything was sent")
        for _ in range(rounds):
            with runtime.transaction(Role.PLATFORM, statement_timeout_s=60) as session:
                session.execute(text("DELETE FROM fan_month_quota"))
                session.execute(text("DELETE FROM merchant_month_quota"))
            with runtime.database.engine(Role.MIGRATE).connect() as connection:
                connection.execution_options(isolation_level="AUTOCOMMIT").execute(text("VACUUM ANALYZE"))
            one_freeze(runtime, variables, agreed(runtime, shops[fans], TALK))
            for count, shop in shops.items():
                forecasts(runtime, shop, count, "with slots taken")


def one_freeze(runtime: Runtime, variables: dict[str, str], broadcast_id: int) -> None:
    mine, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=freeze_all, args=(variables, broadcast_id, theirs))
    with runtime.transaction(Role.PLATFORM) as session:
        postgres = [psutil.Process(session.execute(text("SELECT pg_backend_pid()")).scalar_one()).parent()]
    spent = _spent(postgres)
    process.start()
    at: dict[str, float] = {}
    memory: dict[str, list[int]] = {}
    watched = psutil.Process(process.pid)
    worker, phase = 0.0, ""
    while "batched" not in at and process.is_alive():
        while mine.poll(0.1):
            phase, moment = mine.recv()
            at[phase] = moment
            memory.setdefault(phase, [])
        if phase and phase != "batched":
            with suppress(psutil.NoSuchProcess):
                memory[phase].append(watched.memory_info().rss)
                worker = sum(watched.cpu_times()[:2])
    process.join()
    spent, load = _spent(postgres) - spent, os.getloadavg()[0]
    assert "batched" in at, "freezing failed"
    with runtime.transaction(Role.PLATFORM, statement_timeout_s=60) as session:
        rows, batched, batches = session.execute(
            text("""
                SELECT count(*), count(batch_id), (SELECT count(*) FROM send_batch WHERE broadcast_id = :id)
                FROM broadcast_recipient WHERE broadcast_id = :id"""),
            {"id": broadcast_id},
        ).one()
    batching = [size / 2**20 for size in memory["frozen"]]
    click.echo(
        f"{rows:,} recipients frozen in {at['frozen'] - at['begun']:.1f} s, {batched:,} of them in {batches} batches "
        f"in {at['batched'] - at['frozen']:.1f} s: {at['batched'] - at['begun']:.1f} s; "
        f"RSS {memory['begun'][0] / 2**20:.0f} MiB at the start, {max(memory['begun']) / 2**20:.0f} at most while "
        f"freezing, {batching[len(batching) // 10]:.0f} at a tenth of the batches, {batching[-1]:.0f} at the end, "
        f"{max(batching):.0f} at most; processor {worker:.0f} s, PostgreSQL {spent:.0f} s; load {load:.1f}"
    )


def forecasts(runtime: Runtime, merchant_id: int, fans: int, when: str, times: int = 3) -> None:
    took = []
    for _ in range(times):
        with runtime.transaction(Role.MERCHANT, merchant_id=merchant_id, statement_timeout_s=120) as session:
            began = time.monotonic()
            forecast = reach.forecast(
                session, merchant_id=merchant_id, wanted=Filter(), hello_days=7, now=runtime.now()
            )
            took.append((time.monotonic() - began) * 1_000)
        assert forecast.audience == fans
    median, worst = statistics.median(took), max(took)
    click.echo(f"forecast of {fans:,} fans {when}: {median:,.0f} ms median, {worst:,.0f} ms worst of {times}")


@click.command()
@click.option("--only", type=click.Choice(["sending", "million"]))
@click.option("--rounds", default=3, help="Rounds, ours and the peers in turn.")
@click.option("--seconds", default=12, help="How long each sender is watched.")
@click.option("--recipients", default=20_000, help="Of each of our broadcasts.")
@click.option("--fans", default=1_000_000)
def main(only: str | None, rounds: int, seconds: int, recipients: int, fans: int) -> None:
    """Measure broadcasts."""
    if only != "million":
        with house() as (home, runtime):
            compare(home, runtime, rounds=rounds, seconds=seconds, recipients=recipients)
    if only != "sending":
        with house() as (home, runtime):
            million(home, runtime, fans=fans, rounds=min(rounds, 2))


if __name__ == "__main__":
    main()
