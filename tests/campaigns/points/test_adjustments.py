"""Points by hand: with a reason, within limits, above them by two people, and always in the audit log."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import text

from campaigns.points import adjustments, ledger
from campaigns.points.adjustments import AlreadyDecided, SecondPersonNeeded
from campaigns.points.models import AdjustmentState, PointsAdjustment
from core import erasure
from core.database import Role
from core.errors import Invalid, NotFound
from core.runtime import Runtime
from tests.campaigns.points.till import Till


class Office(Till):
    """A shop with two owners and a clerk, and an operator."""

    def __init__(self, runtime: Runtime) -> None:
        super().__init__(runtime)
        self.owner, self.partner, self.clerk = (self.staff(self.id, r) for r in ("owner", "owner", "clerk"))
        self.operator = self.staff(None, "operator")

    def staff(self, merchant_id: int | None, role: str) -> int:
        with self.runtime.transaction(Role.PLATFORM) as session:
            return int(
                session.execute(
                    text("INSERT INTO staff (merchant_id, role, name) VALUES (:id, :role, '小王') RETURNING id"),
                    {"id": merchant_id, "role": role},
                ).scalar_one()
            )

    def ask(self, who: int, points: Any, reason: str = "补发上次的积分", by: int | None = None) -> PointsAdjustment:
        with self.runtime.transaction(Role.MERCHANT, merchant_id=self.id) as session:
            return adjustments.ask(
                session,
                merchant_id=self.id,
                follower_id=who,
                staff_id=by or self.owner,
                points=points,
                reason=reason,
                now=self.now,
            )

    def decide(self, asked: PointsAdjustment, by: int, *, approve: bool = True) -> PointsAdjustment:
        is_operator = by == self.operator
        with self.runtime.transaction(
            Role.PLATFORM if is_operator else Role.MERCHANT, merchant_id=None if is_operator else self.id
        ) as session:
            return adjustments.decide(
                session,
                adjustment_id=asked.id,
                staff_id=by,
                approve=approve,
                now=self.now,
                merchant_id=None if is_operator else self.id,
            )


@pytest.fixture
def office(runtime: Runtime) -> Office:
    return Office(runtime)


@pytest.fixture
def ann(office: Office) -> int:
    who = office.person()
    office.earn(who, 30)
    return who


def test_a_little_is_done_at_once_and_noted(office: Office, ann: int) -> None:
    assert office.ask(ann, 100).state == AdjustmentState.DONE
    assert office.ask(ann, -40).state == AdjustmentState.DONE
    assert office.has(ann) == (90, 0, 0)
    with office.runtime.transaction(Role.PLATFORM) as session:
        noted = session.execute(text("SELECT action, detail FROM audit_log ORDER BY id DESC LIMIT 1")).one()
        assert (noted.action, noted.detail["points"]) == ("points.adjusted", -40)


@pytest.mark.parametrize(
    ("points", "reason", "field"),
    [
        (0, "补发积分", "points"),
        (1.5, "补发积分", "points"),
        (True, "补发积分", "points"),
        ("10", "补发积分", "points"),
        (1_000_001, "补发积分", "points"),
        (-31, "补发积分", "points"),
        (10, "  ", "reason"),
        (10, "补" * 201, "reason"),
    ],
)
def test_what_cannot_be_is_refused(office: Office, ann: int, points: Any, reason: str, field: str) -> None:
    with pytest.raises(Invalid) as refused:
        office.ask(ann, points, reason)
    assert (refused.value.status, refused.value.field) == (422, field)
    assert office.has(ann) == (30, 0, 0)


def test_somebody_who_was_never_here_is_not_found(office: Office) -> None:
    with pytest.raises(NotFound):
        office.ask(office.person(), 10)


@pytest.mark.parametrize("second", ["partner", "operator"])
def test_more_waits_for_a_second_person(office: Office, ann: int, second: str) -> None:
    asked = office.ask(ann, 501)
    assert asked.state == AdjustmentState.WAITING
    assert office.has(ann) == (30, 0, 0)
    for alone in (office.owner, office.clerk):
        with pytest.raises(SecondPersonNeeded):
            office.decide(asked, alone)
    office.decide(asked, getattr(office, second))
    assert office.has(ann) == (531, 0, 0)
    with pytest.raises(AlreadyDecided):
        office.decide(asked, office.operator)


@pytest.mark.parametrize("answers", [(True, True, True, True), (True, False, True, False)])
def test_of_several_who_decide_at_once_one_is_heard(office: Office, ann: int, answers: tuple[bool, ...]) -> None:
    asked = office.ask(ann, 501)
    start = threading.Barrier(len(answers))

    def decide(number: int) -> str:
        start.wait()
        by = office.operator if number % 2 else office.partner
        try:
            return str(office.decide(asked, by, approve=answers[number]).state)
        except AlreadyDecided as refusal:
            return refusal.code

    with ThreadPoolExecutor(len(answers)) as pool:
        heard, *others = sorted(pool.map(decide, range(len(answers))), key="already_decided".__eq__)
    assert others == ["already_decided"] * 3
    assert office.has(ann) == (531 if heard == "done" else 30, 0, 0)
    with office.runtime.transaction(Role.PLATFORM) as session:
        noted = text(
            "SELECT count(*) FROM audit_log WHERE action IN ('points.adjust_approved', 'points.adjust_refused')"
        )
        assert session.execute(noted).scalar_one() == 1


def test_who_decides_on_what_was_waiting_a_moment_ago_is_told_so(office: Office, ann: int) -> None:
    """Both have read that it waits when the first one decides."""
    asked = office.ask(ann, 501)
    order = []

    def late() -> None:
        try:
            office.decide(asked, office.operator, approve=False)
        except AlreadyDecided:
            order.append("told so")

    second = threading.Thread(target=late)
    with office.runtime.transaction(Role.MERCHANT, merchant_id=office.id) as session:
        adjustments.decide(
            session, adjustment_id=asked.id, staff_id=office.partner, approve=True, now=office.now,
            merchant_id=office.id,
        )  # fmt: skip
        second.start()
        wait_for_a_waiter(office)
        order.append("agreed")
    second.join()
    assert order == ["agreed", "told so"]
    assert office.has(ann) == (531, 0, 0)


def wait_for_a_waiter(office: Office) -> None:
    """Return once another transaction waits for a row that this one holds."""
    blocked = text(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND cardinality(pg_blocking_pids(pid)) > 0"
    )
    for _look in range(1_000):
        with office.runtime.transaction(Role.PLATFORM) as session:
            if session.execute(blocked).scalar_one():
                return
        time.sleep(0.01)
    raise AssertionError("nobody waits")


def test_many_small_ones_are_no_way_around(office: Office, ann: int) -> None:
    assert office.ask(ann, 300).state == AdjustmentState.DONE
    assert office.ask(ann, -201).state == AdjustmentState.WAITING
    assert office.ask(ann, 200).state == AdjustmentState.DONE
    assert office.ask(ann, 200, by=office.partner).state == AdjustmentState.DONE
    office.later(days=1)
    assert office.ask(ann, 300).state == AdjustmentState.DONE


def test_the_limit_is_the_merchants(office: Office, ann: int) -> None:
    with office.runtime.transaction(Role.MERCHANT, merchant_id=office.id) as session:
        adjustments.set_alone_most(session, merchant_id=office.id, staff_id=office.owner, most=10)
        assert adjustments.alone_most(session, merchant_id=office.id) == 10
    assert office.ask(ann, 11).state == AdjustmentState.WAITING


def test_what_is_refused_or_gone_meanwhile_changes_nothing(office: Office, ann: int) -> None:
    office.decide(office.ask(ann, 501), office.partner, approve=False)
    office.earn(ann, 600)
    asked = office.ask(ann, -620)
    office.spend(ann, 100)
    with pytest.raises(Invalid):
        office.decide(asked, office.partner)
    assert office.has(ann) == (530, 0, 0)
    with office.runtime.transaction(Role.PLATFORM) as session:
        assert [one.id for one in adjustments.waiting(session)] == [asked.id]
        assert [one.points for one in adjustments.recent(session, merchant_id=office.id)] == [-620, 501]


def test_another_shops_adjustment_is_not_found(office: Office, ann: int) -> None:
    asked = office.ask(ann, 501)
    other = office.street.merchant("面馆")
    with pytest.raises(NotFound), office.runtime.transaction(Role.MERCHANT, merchant_id=other) as session:
        adjustments.decide(
            session,
            adjustment_id=asked.id,
            staff_id=office.staff(other, "owner"),
            approve=True,
            now=office.now,
            merchant_id=other,
        )


def test_an_erasure_empties_the_card_and_the_reasons(office: Office, ann: int) -> None:
    office.ask(ann, 20, "王阿姨的生日")
    office.ask(ann, 900, "王阿姨的生日")
    with office.runtime.transaction(Role.PLATFORM) as session:
        erasure.erase(session, follower_id=ann, reason="asked")
        left = session.execute(text("SELECT reason, state FROM points_adjustment")).all()
        assert [tuple(row) for row in left] == [("", "done")]
        assert ledger.balance_of(session, merchant_id=office.id, follower_id=ann, now=office.now).points == 0
