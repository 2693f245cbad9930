"""The quota bank: slots, weeks and shares, reserved on many processes at once and never twice."""

import multiprocessing
from collections.abc import Callable
from datetime import datetime, timedelta
from multiprocessing.synchronize import Barrier
from typing import Final

import pytest
from sqlalchemy import text

from campaigns.broadcasts import bank
from core.clock import SHANGHAI
from core.database import Role
from core.runtime import Runtime
from core.servers import ServerUrls
from core.settings import Settings
from tests.community import Neighbourhood

PEOPLE: Final = range(1, 41)
MONDAY: Final = datetime(2026, 6, 1, 12, tzinfo=SHANGHAI)


def reserve(runtime: Runtime, merchant_id: int | None, now: datetime, people: range = PEOPLE) -> bank.Reserved:
    with runtime.transaction(Role.PLATFORM) as session:
        return bank.reserve(session, list(people), merchant_id=merchant_id, now=now, policy=bank.policy(session))


def used(runtime: Runtime) -> dict[int, int]:
    with runtime.transaction(Role.PLATFORM) as session:
        return dict(session.execute(text("SELECT follower_id, sum(used)::int FROM fan_month_quota GROUP BY 1")).all())


def set_policy(runtime: Runtime, **values: int) -> None:
    with runtime.transaction(Role.PLATFORM) as session:
        for name, value in values.items():
            session.execute(text(f"UPDATE quota_policy SET {name} = :value"), {"value": value})  # noqa: S608


@pytest.fixture
def shop(runtime: Runtime) -> int:
    return Neighbourhood(runtime).merchant("茶馆")


@pytest.mark.plants_violation
def test_a_follower_has_so_many_slots_a_month_and_some_are_the_platforms(runtime: Runtime, shop: int) -> None:
    set_policy(runtime, slots_kept=1, week_most=4)
    for _ in range(3):
        assert len(reserve(runtime, shop, MONDAY).follower_ids) == len(PEOPLE)
    full = reserve(runtime, shop, MONDAY)
    assert full.follower_ids == frozenset()
    assert full.over_month == frozenset(PEOPLE)
    assert len(reserve(runtime, None, MONDAY).follower_ids) == len(PEOPLE)
    assert reserve(runtime, None, MONDAY).over_month == frozenset(PEOPLE)
    assert set(used(runtime).values()) == {4}


@pytest.mark.plants_violation
def test_no_more_than_so_many_a_week_also_over_the_end_of_a_month(runtime: Runtime, shop: int) -> None:
    set_policy(runtime, week_most=2)
    tuesday = datetime(2026, 6, 30, 12, tzinfo=SHANGHAI)
    assert len(reserve(runtime, shop, tuesday).follower_ids) == len(PEOPLE)
    wednesday = tuesday + timedelta(days=1)
    assert bank.month_of(wednesday) != bank.month_of(tuesday)
    assert len(reserve(runtime, shop, wednesday).follower_ids) == len(PEOPLE)
    assert reserve(runtime, shop, wednesday).over_week == frozenset(PEOPLE)
    assert len(reserve(runtime, shop, wednesday + timedelta(days=7)).follower_ids) == len(PEOPLE)


@pytest.mark.plants_violation
def test_a_share_is_served_in_the_order_given(runtime: Runtime, shop: int) -> None:
    set_policy(runtime, share_base=30, share_per_kept=0)
    found = reserve(runtime, shop, MONDAY)
    assert found.follower_ids == frozenset(range(1, 31))
    assert found.over_share == frozenset(range(31, 41))
    with runtime.transaction(Role.PLATFORM) as session:
        assert bank.share(session, shop, bank.month_of(MONDAY), bank.policy(session)).left == 0


@pytest.mark.plants_violation
def test_what_was_not_sent_is_given_back(runtime: Runtime, shop: int) -> None:
    set_policy(runtime, week_most=1, share_base=40, share_per_kept=0)
    reserve(runtime, shop, MONDAY)
    assert reserve(runtime, shop, MONDAY).follower_ids == frozenset()
    with runtime.transaction(Role.PLATFORM) as session:
        bank.release(session, [3, 5], merchant_id=shop, month=bank.month_of(MONDAY), week=bank.week_of(MONDAY))
    assert reserve(runtime, shop, MONDAY, range(3, 6)).follower_ids == {3, 5}


@pytest.mark.plants_violation
def test_sends_from_the_console_take_everybodys_slots(runtime: Runtime, shop: int) -> None:
    set_policy(runtime, slots_kept=1, week_most=4)
    with runtime.transaction(Role.PLATFORM) as session:
        session.execute(
            text("""
                INSERT INTO mass_report (msg_id, account_id, reported_at, status, total, filtered, sent, errors,
                                         is_foreign, counts_for_everybody)
                SELECT n, id, :at, 'send success', 100, 100, 100, 0, true, true
                FROM official_account, generate_series(1, 2) n"""),
            {"at": MONDAY},
        )
    assert len(reserve(runtime, shop, MONDAY).follower_ids) == len(PEOPLE)
    assert reserve(runtime, shop, MONDAY).over_month == frozenset(PEOPLE)


def test_quiet_hours_go_over_midnight_and_holidays_are_whole_days(runtime: Runtime) -> None:
    with runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("UPDATE quota_policy SET holidays = '{2026-10-01}'"))
        policy = bank.policy(session)
    at = {hour: policy.is_quiet(MONDAY.replace(hour=hour)) for hour in (0, 8, 9, 21, 22)}
    assert at == {0: True, 8: True, 9: False, 21: False, 22: True}
    assert policy.is_quiet(datetime(2026, 10, 1, 12, tzinfo=SHANGHAI))


@pytest.mark.parametrize(
    ("at", "is_near"),
    [((31, 23, 57), False), ((31, 23, 59), True), ((1, 0, 1), True), ((1, 0, 3), False), ((15, 0, 0), False)],
)
def test_a_months_end_is_a_band_of_two_minutes(at: tuple[int, int, int], is_near: bool) -> None:
    day, hour, minute = at
    month = 10 if day > 1 else 11
    assert bank.is_near_boundary(datetime(2026, month, day, hour, minute, tzinfo=SHANGHAI)) is is_near


# ---- Racing for the last slot ----------------------------------------------------------------------------------------


_gate: list[Barrier] = []
"""In each process of a race: where it waits for the others."""


def _stand_at(gate: Barrier) -> None:
    _gate.append(gate)


def _race(settings: Settings, redis_url: str, merchant_id: int, rounds: int, is_naive: bool) -> int:
    """One process of a race: reserves for everybody as often as told; returns how many slots it believes to have."""
    assert settings.database_url is not None
    runtime = Runtime.build(settings, ServerUrls(settings.database_url, redis_url), pooled=False)
    _gate[0].wait(60)
    take: Callable[..., int] = _naive if is_naive else _guarded
    return sum(take(runtime, merchant_id) for _ in range(rounds))


def _guarded(runtime: Runtime, merchant_id: int) -> int:
    return len(reserve(runtime, merchant_id, MONDAY).follower_ids)


def _naive(runtime: Runtime, merchant_id: int) -> int:
    """Reads, then writes: what the bank must not do."""
    taken = 0
    for person in PEOPLE:
        with runtime.transaction(Role.PLATFORM) as session:
            row = {"id": person, "month": bank.month_of(MONDAY), "week": bank.week_of(MONDAY)}
            have = session.execute(
                text("SELECT used FROM fan_month_quota WHERE follower_id = :id AND month = :month"), row
            ).scalar()
            session.execute(text("SELECT pg_sleep(0.002)"))
            if (have or 0) < 3:
                session.execute(
                    text("""
                        INSERT INTO fan_month_quota (follower_id, month, used, week, week_used)
                        VALUES (:id, :month, 1, :week, 1)
                        ON CONFLICT (follower_id, month) DO UPDATE SET used = :used"""),
                    {**row, "used": (have or 0) + 1},
                )
                taken += 1
    return taken


@pytest.mark.plants_violation
@pytest.mark.parametrize("is_naive", [False, True], ids=["guarded", "naive"])
def test_two_merchants_on_eight_processes_never_take_more_slots_than_there_are(
    runtime: Runtime, settings: Settings, is_naive: bool
) -> None:
    set_policy(runtime, slots_kept=1, week_most=4)
    street = Neighbourhood(runtime)
    shops = [street.merchant("茶馆"), street.merchant("面馆")]
    context = multiprocessing.get_context("fork")
    with context.Pool(8, _stand_at, [context.Barrier(8)]) as pool:
        runners = [(settings, runtime.redis_url, shops[n % 2], 2, is_naive) for n in range(8)]
        believed = sum(pool.starmap(_race, runners, chunksize=1))
    most = 3 * len(PEOPLE)
    assert max(used(runtime).values()) <= 3
    if is_naive:
        assert believed > most, "the naive way was never caught: this race proves nothing"
    else:
        assert believed == most
