"""Points: random transfers by several processes at once, beside a plain `UPDATE balance` without a ledger.

Every transfer is a transaction of its own, as a till or an owner's page makes it: earned, spent, taken back. Afterwards
the ledgers are proved: nothing may drift, be negative, or have stood still. The plain updates touch the same number of
rows of a table with nothing but a balance, in the same run, in turns.
"""

from __future__ import annotations

import multiprocessing
import random
import tempfile
import time
from collections import Counter
from pathlib import Path

import click
from psycopg.errors import DeadlockDetected, LockNotAvailable
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from campaigns.points import ledger, proof
from campaigns.points.ledger import Cause, NotEnoughPoints
from core.database import Role
from core.migrate import upgrade
from core.runtime import Runtime
from core.servers import EmbeddedServers, ServerUrls
from core.settings import Settings, read_settings
from tests.community import Neighbourhood

SECRET_KEY = "a-secret-key-for-benchmarks"
MERCHANTS = 5
TURNS = 5

PLAIN = """
    CREATE TABLE plain_balance (id bigint PRIMARY KEY, balance bigint NOT NULL CHECK (balance >= 0));
    INSERT INTO plain_balance SELECT id, 1000000 FROM follower;
    GRANT SELECT, UPDATE ON plain_balance TO quanma_merchant"""


def transfers(runtime: Runtime, merchants: list[int], people: list[int], wanted: int, seed: int) -> Counter[str]:
    """So many random transfers."""
    chance, now = random.Random(seed), runtime.now()
    came: Counter[str] = Counter()
    earned: list[tuple[int, int]] = []
    for number in range(wanted):
        merchant_id, who = chance.choice(merchants), chance.choice(people)
        what = chance.choices(("earn", "spend", "reverse"), (5, 4, 1))[0]
        cause, transfer_id = Cause("benchmark", seed * 10**9 + number), 0
        if what == "reverse" and earned:
            merchant_id, transfer_id = earned.pop(chance.randrange(len(earned)))
        try:
            with runtime.transaction(Role.MERCHANT, merchant_id=merchant_id) as session:
                if what == "spend":
                    ledger.spend(session, merchant_id=merchant_id, follower_id=who, points=chance.randint(1, 40),
                                 cause=cause, now=now)  # fmt: skip
                elif what == "reverse" and transfer_id:
                    ledger.reverse(session, merchant_id=merchant_id, transfer_id=transfer_id, now=now)
                else:
                    moved = ledger.earn(session, merchant_id=merchant_id, follower_id=who, now=now, cause=cause,
                                        points=chance.randint(1, 60), expires_at=ledger.expiry(now, 365))  # fmt: skip
                    earned.append((merchant_id, moved.transfer_id))
            came[what] += 1
        except NotEnoughPoints:
            came["refused"] += 1
        except DBAPIError as error:
            came[_trouble(error)] += 1
    return came


def updates(runtime: Runtime, merchants: list[int], people: list[int], wanted: int, seed: int) -> Counter[str]:
    """So many plain updates."""
    chance = random.Random(seed)
    statement = text("UPDATE plain_balance SET balance = balance + :points WHERE id = :id AND balance + :points >= 0")
    for _ in range(wanted):
        given = {"points": chance.randint(-40, 60), "id": chance.choice(people)}
        with runtime.transaction(Role.MERCHANT, merchant_id=chance.choice(merchants)) as session:
            session.execute(statement, given)
    return Counter(plain=wanted)


def _trouble(error: DBAPIError) -> str:
    match error.orig:
        case DeadlockDetected():
            return "deadlock"
        case LockNotAvailable():
            return "waited too long"
        case _:
            return f"error {type(error.orig).__name__}"


_runtimes: list[Runtime] = []
"""A process's own, with its connection kept."""


def _begin(settings: Settings, urls: ServerUrls) -> None:
    _runtimes.append(Runtime.build(settings, urls))


def _work(job: tuple[str, list[int], list[int], int, int]) -> Counter[str]:
    what, merchants, people, wanted, seed = job
    return (transfers if what == "ledger" else updates)(_runtimes[0], merchants, people, wanted, seed)


def populate(runtime: Runtime, people: int) -> tuple[list[int], list[int]]:
    """Merchants and people, and the plain table beside them."""
    street = Neighbourhood(runtime)
    merchants = [street.merchant(f"店{number}") for number in range(MERCHANTS)]
    with runtime.transaction(Role.PLATFORM) as session:
        made = session.execute(
            text("""
                INSERT INTO follower (account_id, openid, person_key, status, state_as_of, first_seen_at, last_seen_at)
                SELECT :account, 'oBench' || lpad(CAST(n AS text), 22, '0'), decode(lpad(to_hex(n), 64, '0'), 'hex'),
                       'unknown', app_now(),
                       app_now(), app_now()
                FROM generate_series(1, :people) n RETURNING id"""),
            {"account": street.account_id, "people": people},
        ).scalars()
        found = list(made)
    with runtime.database.transaction(Role.MIGRATE) as session:
        session.connection().exec_driver_sql("ALTER TABLE follower NO FORCE ROW LEVEL SECURITY")
        session.connection().exec_driver_sql(PLAIN)
        session.connection().exec_driver_sql("ALTER TABLE follower FORCE ROW LEVEL SECURITY")
    return merchants, found


@click.command()
@click.option("--transfers", "wanted", default=100_000, show_default=True)
@click.option("--processes", default=8, show_default=True)
@click.option("--people", default=200, show_default=True)
@click.option("--seed", default=1, show_default=True)
def main(wanted: int, processes: int, people: int, seed: int) -> None:
    """Measure, prove, and print."""
    with tempfile.TemporaryDirectory(prefix="quanma-bench-") as name:
        home = Path(name)
        home.chmod(0o755)
        settings = read_settings(_env_file=None, quanma_home=home, secret_key=SECRET_KEY)
        servers = EmbeddedServers(settings)
        try:
            runtime = Runtime.build(settings, servers.urls)
            upgrade(runtime.database, SECRET_KEY)
            merchants, known = populate(runtime, people)
            runtime.database.dispose()
            measure(settings, servers.urls, merchants, known, wanted, processes, seed)
            judge(Runtime.build(settings, servers.urls))
        finally:
            servers.leave()


def measure(
    settings: Settings,
    urls: ServerUrls,
    merchants: list[int],
    people: list[int],
    wanted: int,
    processes: int,
    seed: int,
) -> None:
    """Both in turns, so that what drifts meets both."""
    share = max(wanted // TURNS // processes, 1)
    took: Counter[str] = Counter()
    came: Counter[str] = Counter()
    with multiprocessing.get_context("fork").Pool(processes, _begin, (settings, urls)) as pool:
        pool.map(_work, [("plain", merchants, people, 10, n) for n in range(processes)], chunksize=1)
        for turn in range(TURNS):
            for what in ("ledger", "plain"):
                jobs = [(what, merchants, people, share, seed * 1_000 + turn * processes + n) for n in range(processes)]
                start = time.perf_counter()
                done = pool.map(_work, jobs, chunksize=1)
                took[what] += time.perf_counter() - start  # type: ignore[assignment]
                came += sum(done, Counter())
    done_each = share * processes * TURNS
    rates = {what: done_each / took[what] for what in ("ledger", "plain")}
    click.echo(f"{done_each} transfers, {processes} processes, {len(people)} people: {dict(sorted(came.items()))}")
    click.echo(f"ledger {rates['ledger']:.0f}/s, plain UPDATE {rates['plain']:.0f}/s, "
               f"ratio {rates['ledger'] / rates['plain']:.2f} (wanted: 0.30)")  # fmt: skip
    click.echo(f"deadlocks {came['deadlock']}, waited too long {came['waited too long']}")


def judge(runtime: Runtime) -> None:
    """What the proof says of it all."""
    with runtime.transaction(Role.PLATFORM, statement_timeout_s=300) as session:
        found = proof.prove(session, runtime.now())
        negative = session.execute(text("SELECT count(*) FROM points_account WHERE balance < 0")).scalar_one()
    runtime.database.dispose()
    click.echo(
        f"proved {found.transfers} transfers: unbalanced {found.unbalanced}, drifting {found.drifting}, "
        f"odd lots {found.odd_lots}, negative {negative}, outstanding {found.outstanding}"
    )


if __name__ == "__main__":
    main()
