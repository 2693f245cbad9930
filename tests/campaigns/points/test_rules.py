"""Rules pay a cause once, within the day's limits, and what they paid can be taken back."""

from dataclasses import replace
from typing import Any

import pytest

from campaigns.points import ledger, levels, rules
from campaigns.points.levels import Level
from campaigns.points.models import RuleTrigger
from campaigns.points.rules import NoCheckIn, Paid
from core.database import Role
from core.errors import Invalid
from core.runtime import Runtime
from tests.campaigns.points.till import CHECK_IN, SPEND, Till


@pytest.fixture
def till(runtime: Runtime) -> Till:
    return Till(runtime)


def paid(of: Paid | None) -> tuple[int, int]:
    assert of is not None
    return of.points, of.cut


def test_a_bill_earns_by_the_rule_once(till: Till) -> None:
    ann = till.person()
    assert till.bill(ann, 8_888) is None, "there is no rule yet"
    till.rule(SPEND)
    assert paid(till.bill(ann, 8_888, 1)) == (88, 0)
    again = till.bill(ann, 8_888, 1)
    assert again is not None
    assert (again.points, again.is_new) == (88, False)
    assert till.bill(ann, 99) is None
    assert till.has(ann) == (88, 0, 0)


def test_what_still_fits_into_the_day_is_paid(till: Till) -> None:
    ann, ben, eve = till.person(), till.person(), till.person()
    till.rule(SPEND, most_per_person=100, most_per_day=150)
    assert paid(till.bill(ann, 8_000)) == (80, 0)
    assert paid(till.bill(ann, 8_000)) == (20, 60)
    assert paid(till.bill(ann, 8_000)) == (0, 80)
    assert paid(till.bill(ben, 8_000)) == (50, 30)
    assert paid(till.bill(eve, 8_000)) == (0, 80)
    till.later(days=1)
    assert paid(till.bill(ann, 8_000)) == (80, 0)


def test_a_limit_that_was_lowered_holds_at_once(till: Till) -> None:
    ann, ben = till.person(), till.person()
    till.rule(SPEND)
    till.bill(ann, 30_000)
    till.rule(SPEND, most_per_person=100, most_per_day=200)
    assert paid(till.bill(ann, 1_000)) == (0, 10)
    assert paid(till.bill(ben, 1_000)) == (0, 10)


def test_check_in_once_a_shanghai_day(till: Till) -> None:
    ann = till.person()

    def check_in() -> tuple[int, int, int, bool]:
        with till.runtime.transaction(Role.FAN, follower_id=ann) as session:
            done = rules.check_in(session, merchant_id=till.id, follower_id=ann, now=till.now)
            return done.points, done.days, done.balance, done.is_new

    with pytest.raises(NoCheckIn):
        check_in()
    till.rule(CHECK_IN)
    assert check_in() == (5, 1, 5, True)
    assert check_in() == (5, 1, 5, False)
    till.later(days=1)
    assert check_in() == (5, 2, 10, True)
    till.later(days=2)
    assert check_in() == (5, 1, 15, True)


def test_what_a_cause_paid_is_taken_back_once(till: Till) -> None:
    ann = till.person()
    till.rule(SPEND)
    till.bill(ann, 10_000, 1)
    till.spend(ann, 60)
    assert till.take_back(1) == 100
    assert till.take_back(1) == 0
    assert till.has(ann) == (0, 0, 60)
    till.bill(ann, 10_000, 2)
    assert till.has(ann) == (40, 0, 0)


def test_points_wait_until_they_vest(till: Till) -> None:
    ann = till.person()
    till.rule(SPEND, vests_after_days=7, lives_days=30)
    till.bill(ann, 10_000)
    assert till.has(ann) == (0, 100, 0)
    till.later(days=7)
    vested = till.now
    till.later(hours=30)
    till.jobs()
    assert till.has(ann) == (100, 0, 0)
    assert till.balance(ann).expires_at == ledger.expiry(vested, 30), "whenever the job comes"


def test_a_level_earns_faster(till: Till) -> None:
    ann = till.person()
    till.rule(SPEND)
    with till.runtime.transaction(Role.MERCHANT, merchant_id=till.id) as session:
        levels.save(session, merchant_id=till.id, levels=[Level("铜", 0), Level("银", 100, 150)])
    assert paid(till.bill(ann, 10_000, 1)) == (100, 0)
    assert paid(till.bill(ann, 10_000)) == (150, 0)
    with till.runtime.transaction(Role.FAN, follower_id=ann) as session:
        stands = levels.standing(session, merchant_id=till.id, follower_id=ann, now=till.now)
        assert (stands.growth, stands.level, stands.name, stands.missing) == (250, 2, "银", None)
    till.take_back(1)
    with till.runtime.transaction(Role.PLATFORM) as session:
        assert levels.growth(session, till.id, ann, till.now) == 150
        ledger.forget(session, follower_id=ann, now=till.now)
        assert levels.growth(session, till.id, ann, till.now) == 0


@pytest.mark.parametrize(
    ("other", "field"),
    [
        ({"points": 0}, "points"),
        ({"points": 1.5}, "points"),
        ({"points": 100_001}, "points"),
        ({"per_fen": None}, "per_fen"),
        ({"per_fen": 0}, "per_fen"),
        ({"most_per_person": 0}, "most_per_person"),
        ({"points": 600}, "most_per_person"),
        ({"most_per_day": 499}, "most_per_day"),
        ({"vests_after_days": 91}, "vests_after_days"),
        ({"lives_days": 0}, "lives_days"),
        ({"level": 2}, "level"),
        ({"trigger": RuleTrigger.VISIT}, "per_fen"),
        ({"trigger": RuleTrigger.REFERRAL, "per_fen": None, "level": 3}, "level"),
    ],
)
def test_a_rule_that_cannot_be_kept_is_refused(other: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as refused:
        rules.check(replace(SPEND, **other))
    assert refused.value.field == field


def test_the_simulator_says_what_last_month_would_have_cost(till: Till) -> None:
    ann, ben = till.person(), till.person()
    till.rule(CHECK_IN)
    till.later(days=-10)
    with till.runtime.transaction(Role.PLATFORM) as session:
        rules.check_in(session, merchant_id=till.id, follower_id=ann, now=till.now)
        session.connection().exec_driver_sql(
            "INSERT INTO staff (merchant_id, name, role) VALUES (%s, '小王', 'owner')", (till.id,)
        )
        for who, bill in ((ann, 20_000), (ann, 9_999), (ben, None)):
            session.connection().exec_driver_sql(
                "INSERT INTO visit (merchant_id, follower_id, staff_id, bill_fen, at)"
                " VALUES (%s, %s, (SELECT max(id) FROM staff), %s, %s)",
                (till.id, who, bill, till.now),
            )
    till.later(days=10)
    visit = rules.Rule(RuleTrigger.VISIT, points=10, most_per_person=10, most_per_day=1_000)
    wanted = [replace(SPEND, most_per_person=250), visit, replace(CHECK_IN, points=2), replace(visit, is_on=False)]
    with till.runtime.transaction(Role.MERCHANT, merchant_id=till.id) as session:
        costs = rules.simulate(session, merchant_id=till.id, rules=wanted, now=till.now)
    assert [(cost.causes, cost.points, cost.cut) for cost in costs] == [(2, 250, 49), (3, 20, 10), (1, 2, 0), (3, 0, 0)]
