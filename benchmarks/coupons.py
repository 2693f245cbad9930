"""Coupons: the rush for 500 pieces, three times, and an open loop of claims and redemptions at a steady rate.

Everything goes through the services in transactions of the roles that the pages use, from several processes, each with
connections of its own. In the open loop a call is due at its time whether the ones before it have finished or not, and
its latency counts from then: a system that falls behind cannot hide it.
"""

from __future__ import annotations

import multiprocessing
import random
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Final

import click
from sqlalchemy import text

from benchmarks.traffic import house
from campaigns.coupons import giving, redeeming
from campaigns.coupons.giving import NotGiven
from campaigns.coupons.models import Channel
from core import checks
from core.database import Database, Role
from core.runtime import Runtime
from core.servers import ServerUrls
from core.settings import Settings
from tests.couponing import Street

PROCESSES: Final = 4
THREADS: Final = 8
LIMIT_MS: Final = 150
WARM_UP_S: Final = 5
"""Processes just begun open their connections and read each statement for the first time: told apart, judged by
nothing but that every call is done."""


@dataclass(frozen=True)
class Call:
    """One call: a claim of a template, or a redemption of a coupon by its shown code."""

    due_s: float
    person: int
    cause: str
    template_id: int = 0
    shown: str = ""
    coupon: str = ""


@dataclass(frozen=True)
class Done:
    """What came of a call, when it was due and how long after that."""

    what: str
    answer: str
    due_s: float
    ms: float


@dataclass(frozen=True)
class Till:
    merchant_id: int
    staff_id: int


def perform(runtime: Runtime, database: Database, till: Till, call: Call) -> tuple[str, str]:
    now = runtime.now()
    if not call.shown:
        with database.transaction(Role.FAN, follower_id=call.person) as session:
            try:
                given = giving.grant(
                    session, template_id=call.template_id, follower_id=call.person, cause=call.cause,
                    channel=Channel.PAGE, now=now,
                )  # fmt: skip
            except NotGiven as refusal:
                return "claim", refusal.reason
        return "claim", "given" if given.is_new else "again"
    with database.transaction(Role.MERCHANT, merchant_id=till.merchant_id) as session:
        redeeming.redeem(
            session, runtime, merchant_id=till.merchant_id, staff_id=till.staff_id, shown=call.shown,
            coupon_public_id=call.coupon, bill_fen=12_000, nonce=call.cause, now=now,
        )  # fmt: skip
    return "redeem", "redeemed"


def work(settings: Settings, redis_url: str, till: Till, begins: float, calls: Sequence[Call]) -> list[Done]:
    """One process: its share of the calls, each when it is due."""
    assert settings.database_url is not None
    urls = ServerUrls(settings.database_url, redis_url)
    runtime = Runtime.build(settings, urls)
    database = Database(settings.database_url, settings.secret_key.get_secret_value(), pool_size=THREADS)
    runtime.now()

    def one(call: Call) -> Done:
        due = begins + call.due_s
        if (early := due - time.monotonic()) > 0:
            time.sleep(early)
        try:
            what, answer = perform(runtime, database, till, call)
        except Exception as error:
            what, answer = ("redeem" if call.shown else "claim"), f"failed: {type(error).__name__}"
        return Done(what, answer, call.due_s, (time.monotonic() - due) * 1000)

    try:
        with ThreadPoolExecutor(THREADS) as pool:
            return list(pool.map(one, calls))
    finally:
        database.dispose()
        runtime.database.dispose()


def run(runtime: Runtime, till: Till, calls: Sequence[Call]) -> list[Done]:
    """All calls, dealt to processes in turn."""
    runtime.database.dispose()
    begins = time.monotonic() + 2
    shares = [calls[number::PROCESSES] for number in range(PROCESSES)]
    with multiprocessing.get_context("fork").Pool(PROCESSES) as pool:
        share = partial(work, runtime.settings, runtime.redis_url, till, begins)
        return [one for done in pool.map(share, shares, chunksize=1) for one in done]


def tell(name: str, done: Sequence[Done]) -> float:
    """A line with the latencies of what was done; returns the 99th percentile."""
    times = sorted(one.ms for one in done)
    p99 = times[min(len(times) - 1, round(len(times) * 0.99))]
    answers = ", ".join(f"{answer}: {count}" for answer, count in sorted(Counter(one.answer for one in done).items()))
    click.echo(
        f"{name:10} {len(times):6} calls  p50 {statistics.median(times):7.1f} ms  p99 {p99:7.1f} ms  "
        f"worst {times[-1]:7.1f} ms  ({answers})"
    )
    return p99


def rush(street: Street, till: Till, *, claims: int, people: int, pieces: int, number: int) -> bool:
    """Everybody at once; exactly the pieces are given, and nobody has more than one."""
    template_id = street.live(till.merchant_id, name=f"抢券 {number}", stock=pieces)
    crowd = street.people(people)
    luck = random.Random(number)
    calls = [Call(0.0, luck.choice(crowd), f"page:{n}", template_id) for n in range(claims)]
    begun = time.monotonic()
    done = run(street.runtime, till, calls)
    seconds = time.monotonic() - begun - 2
    tell(f"rush {number}", done)
    with street.runtime.transaction(Role.PLATFORM) as session:
        found = session.execute(
            text("""
                SELECT t.issued, (SELECT count(*) FROM coupon c WHERE c.template_id = t.id) AS coupons,
                       (SELECT count(DISTINCT c.follower_id) FROM coupon c WHERE c.template_id = t.id) AS people
                FROM coupon_template t WHERE t.id = :id"""),
            {"id": template_id},
        ).one()
    believed = sum(one.answer == "given" for one in done)
    is_right = {found.issued, found.coupons, found.people, believed} == {pieces}
    click.echo(
        f"           {claims / seconds:,.0f} claims/s; issued {found.issued}, coupons {found.coupons}, people "
        f"{found.people}, told yes {believed}: {'exactly' if is_right else 'WRONG, not'} {pieces}"
    )
    return is_right


def open_loop(street: Street, till: Till, *, seconds: int, claims: int, redemptions: int) -> bool:
    """So many claims and redemptions a second for a while; the redeemed coupons and their codes are there before."""
    runtime = street.runtime
    held, wanted = (
        street.live(till.merchant_id, name=name, stock=1_000_000) for name in ("在手里的券", "要领的券")
    )  # fmt: skip
    lasts = WARM_UP_S + seconds
    people, holders = street.people(claims * lasts), street.people(redemptions * lasts)
    calls = [Call(n / claims, person, f"page:{n}", wanted) for n, person in enumerate(people)]
    for n, person in enumerate(holders):
        given = street.grant(held, person)
        with runtime.transaction(Role.FAN, follower_id=person) as session:
            shown = redeeming.show_code(session, runtime, follower_id=person, now=runtime.now())
        calls.append(Call(n / redemptions, person, f"till{n:06}", shown=shown.token, coupon=given.public_id))
    done = run(runtime, till, sorted(calls, key=lambda call: call.due_s))
    tell("warm-up", [one for one in done if one.due_s < WARM_UP_S])
    worst = [
        tell(what, [one for one in done if one.what == what and one.due_s >= WARM_UP_S]) for what in ("claim", "redeem")
    ]
    failed = sum(one.answer not in {"given", "redeemed"} for one in done)
    is_right = max(worst) < LIMIT_MS and failed == 0
    click.echo(f"           p99 under {LIMIT_MS} ms: {'yes' if max(worst) < LIMIT_MS else 'NO'}; not done: {failed}")
    return is_right


@click.command()
@click.option("--claims", default=5_000, show_default=True, help="Claims in a rush.")
@click.option("--people", default=2_000, show_default=True, help="People who make them.")
@click.option("--pieces", default=500, show_default=True, help="Coupons there are.")
@click.option("--seconds", default=60, show_default=True, help="How long the open loop lasts; 120 at most.")
@click.option(
    "--rate", default=100, show_default=True, help="Claims a second in the open loop; half as many are redeemed."
)
def main(claims: int, people: int, pieces: int, seconds: int, rate: int) -> None:
    """The rush three times, then the open loop; ends with 1 where a promise is broken."""
    with house(None) as runtime:
        street = Street.open(runtime)
        shop = street.shop()
        with runtime.transaction(Role.PLATFORM) as session:
            staff_id = session.execute(
                text("INSERT INTO staff (merchant_id, name, role) VALUES (:shop, '店员', 'clerk') RETURNING id"),
                {"shop": shop},
            ).scalar_one()
        till = Till(shop, staff_id)
        kept = [
            rush(street, till, claims=claims, people=people, pieces=pieces, number=number) for number in (1, 2, 3)
        ]  # fmt: skip
        kept.append(open_loop(street, till, seconds=min(seconds, 120), claims=rate, redemptions=rate // 2))
        with runtime.transaction(Role.PLATFORM, statement_timeout_s=600) as session:
            found = {one.name: one.rows for one in checks.run(session) if one.rows}
        click.echo(f"checks     {found or 'nothing found'}")
    raise SystemExit(0 if all(kept) and not found else 1)


if __name__ == "__main__":
    main()
