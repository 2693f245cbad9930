"""The ledger against a plain model of it: whatever is done in whatever order, both have the same (PT-2, PT-8, PT-9)."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import text

from campaigns.points import ledger, proof
from campaigns.points.ledger import Balance, Cause, NotEnoughPoints
from core.database import Role
from core.runtime import Runtime
from tests.campaigns.points.till import Till
from tests.conftest import violations

SOAK = "QUANMA_SOAK"
EXAMPLES, STEPS = (500, 50) if os.environ.get(SOAK) else (40, 25)
WHO = st.sampled_from([0, 0, 0, 1])
FOREVER = datetime.max.replace(tzinfo=UTC)


@dataclass
class Lot:
    left: int
    expires_at: datetime | None
    number: int


@dataclass
class Earned:
    """Something that was earned, and what became of it."""

    number: int
    transfer_id: int
    points: int
    vests_at: datetime | None
    lot: Lot | None = None
    expired: int = 0
    is_reversed: bool = False
    back: tuple[int, int] = (0, 0)


@dataclass
class Person:
    """What a person has, by the plain model: lots in a list, and nothing kept twice."""

    id: int
    earned: list[Earned] = field(default_factory=list)
    lots: list[Lot] = field(default_factory=list)
    debt: int = 0

    def usable(self, now: datetime) -> list[Lot]:
        open_ = [one for one in self.lots if one.left and (one.expires_at is None or one.expires_at > now)]
        return sorted(
            open_, key=lambda one: (one.expires_at or FOREVER, one.number)
        )  # fmt: skip

    def points(self, now: datetime) -> int:
        return sum(one.left for one in self.usable(now))

    def pending(self) -> int:
        return sum(one.points for one in self.earned if one.vests_at is not None and not one.is_reversed)

    def take(self, points: int, now: datetime, first: Lot | None = None) -> int:
        """Take up to so many, and say how many there were."""
        lots = self.usable(now)
        if first is not None and first.left:
            lots = [first, *(one for one in lots if one is not first)]
        taken = 0
        for one in lots:
            part = min(one.left, points - taken)
            one.left -= part
            taken += part
        return taken

    def put(self, lot: Lot, now: datetime) -> None:
        self.lots.append(lot)
        self.debt -= self.take(min(self.debt, lot.left), now)

    def vest(self, now: datetime, number: int) -> int:
        due = [one for one in self.earned if one.vests_at is not None and one.vests_at <= now and not one.is_reversed]
        due.sort(key=lambda one: (one.vests_at, one.transfer_id))
        lots = []
        for one in due:
            number += 1
            one.vests_at, one.lot = None, Lot(one.points, None, number)
            lots.append(one.lot)
        # All arrive together; then what is owed is paid.
        self.lots += lots
        self.debt -= self.take(min(self.debt, sum(one.left for one in lots)), now)
        return number

    def expire(self, now: datetime) -> None:
        for lot in self.lots:
            if lot.expires_at is not None and lot.expires_at <= now:
                self.empty(lot)

    def empty(self, lot: Lot) -> None:
        for one in self.earned:
            if one.lot is lot:
                one.expired += lot.left
        lot.left = 0

    def reverse(self, one: Earned, now: datetime) -> tuple[int, int]:
        if one.is_reversed:
            return one.back
        if one.vests_at is not None:
            one.is_reversed, one.back = True, (one.points, 0)
            return one.back
        wanted = one.points - one.expired
        if wanted == 0:
            return 0, 0
        taken = self.take(wanted, now, first=one.lot)
        self.debt += wanted - taken
        one.is_reversed, one.back = True, (taken, wanted - taken)
        return one.back

    def forget(self) -> None:
        for one in self.earned:
            if one.vests_at is not None and not one.is_reversed:
                one.is_reversed, one.back = True, (one.points, 0)
        for lot in self.lots:
            self.empty(lot)


class Ledgers(RuleBasedStateMachine):
    """Two people at one shop."""

    def __init__(self, till: Till) -> None:
        super().__init__()
        self.till = till
        self.number = 0

    @initialize()
    def open_the_shop(self) -> None:
        self.till.now = self.till.street.now
        self.people = [Person(self.till.person()) for _ in range(2)]

    def _next(self) -> int:
        self.number += 1
        return self.number

    @rule(
        who=WHO, points=st.integers(1, 60), lives=st.sampled_from([0, 0, 1, 3, None]),
        vests_in=st.sampled_from([None, None, 1, 2]),
    )  # fmt: skip
    def earn(self, who: int, points: int, lives: int | None, vests_in: int | None) -> None:
        person, now = self.people[who], self.till.now
        moved = self.till.earn(person.id, points, vests_in=vests_in, lives=lives)
        vests_at = None if vests_in is None else now + timedelta(days=vests_in)
        one = Earned(self._next(), moved.transfer_id, points, vests_at)
        person.earned.append(one)
        if vests_at is None:
            one.lot = Lot(points, ledger.expiry(now, lives), self._next())
            person.put(one.lot, now)

    @rule(who=WHO, wanted=st.sampled_from(["some", "half", "all", "more"]), again=st.booleans())
    def spend(self, who: int, wanted: str, again: bool) -> None:
        person, number = self.people[who], 1_000_000 + 1_000 * self.people[who].id + self._next()
        has = person.points(self.till.now)
        points = {"some": has // 4 + 1, "half": has // 2 + 1, "all": max(has, 1), "more": has + 1}[wanted]
        if points > person.points(self.till.now):
            with pytest.raises(NotEnoughPoints):
                self.till.spend(person.id, points, number)
            return
        assert self.till.spend(person.id, points, number).is_new
        person.take(points, self.till.now)
        if again:
            assert not self.till.spend(person.id, points + 1, number).is_new

    @rule(who=WHO, which=st.integers(1, 4))
    def reverse(self, who: int, which: int) -> None:
        person = self.people[who]
        if not person.earned:
            return
        one = person.earned[-min(which, len(person.earned))]
        was_reversed = one.is_reversed
        with self.till.runtime.transaction(Role.MERCHANT, merchant_id=self.till.id) as session:
            back = ledger.reverse(session, merchant_id=self.till.id, transfer_id=one.transfer_id, now=self.till.now)
        assert (back.points, back.owed) == person.reverse(one, self.till.now)
        assert back.is_new != was_reversed

    @rule(who=WHO, points=st.integers(-40, 40).filter(bool))
    def adjust(self, who: int, points: int) -> None:
        person, now = self.people[who], self.till.now
        cause = Cause("by hand", 1_000 * person.id + self._next())
        with self.till.runtime.transaction(Role.MERCHANT, merchant_id=self.till.id) as session:
            given = {"merchant_id": self.till.id, "follower_id": person.id, "cause": cause, "now": now}
            if person.points(now) + points < 0:
                with pytest.raises(NotEnoughPoints):
                    ledger.adjust(session, points=points, staff_id=None, **given)  # type: ignore[arg-type]
                return
            ledger.adjust(session, points=points, staff_id=None, **given)  # type: ignore[arg-type]
        if points > 0:
            person.put(Lot(points, None, self._next()), now)
        else:
            person.take(-points, now)

    @rule(hours=st.sampled_from([13, 24, 50]), vests=st.booleans(), expires=st.booleans())
    def time_passes(self, hours: int, vests: bool, expires: bool) -> None:
        self.till.later(hours=hours)
        if vests:
            self.what_is_due_vests()
        if expires:
            self.what_is_over_expires()

    @rule(who=WHO, points=st.integers(2, 60), wanted=st.sampled_from(["some", "half", "all", "more"]))
    def spend_after_the_end_and_before_the_sweep(self, who: int, points: int, wanted: str) -> None:
        """What is over cannot be spent, wherever the job is that takes it away."""
        self.earn(who, points, 0, None)
        self.time_passes(13, vests=False, expires=False)
        self.spend(who, wanted, again=False)

    @rule(who=WHO, points=st.integers(2, 60), first=st.sampled_from([0, 1]), then=st.sampled_from([3, None]))
    def take_the_later_of_two_back(self, who: int, points: int, first: int, then: int | None) -> None:
        """Its own lot goes before one that ends sooner."""
        self.earn(who, points, first, None)
        self.earn(who, points // 2, then, None)
        self.reverse(who, 1)

    def what_is_due_vests(self) -> None:
        with self.till.runtime.transaction(Role.PLATFORM) as session:
            ledger.vest_due(session, self.till.now)
        for person in self.people:
            self.number = person.vest(self.till.now, self.number)

    def what_is_over_expires(self) -> None:
        with self.till.runtime.transaction(Role.PLATFORM) as session:
            ledger.expire_due(session, self.till.now)
        for person in self.people:
            person.expire(self.till.now)

    @rule(who=WHO, is_so=st.integers(0, 5))
    def somebody_is_forgotten(self, who: int, is_so: int) -> None:
        if is_so:
            return
        with self.till.runtime.transaction(Role.PLATFORM) as session:
            ledger.forget(session, follower_id=self.people[who].id, now=self.till.now)
        self.people[who].forget()

    @invariant()
    def both_have_the_same(self) -> None:
        now = self.till.now
        with self.till.runtime.transaction(Role.PLATFORM) as session:
            for person in getattr(self, "people", ()):
                usable = person.usable(now)
                ends = [one.expires_at for one in usable if one.expires_at is not None]
                next_ = min(ends, default=None)
                expiring = sum(one.left for one in usable if next_ is not None and one.expires_at == next_)
                wanted = Balance(person.points(now), person.pending(), person.debt, expiring, next_)
                found = ledger.balance_of(session, merchant_id=self.till.id, follower_id=person.id, now=now)
                assert (found.points, found.pending, found.debt) == (wanted.points, wanted.pending, wanted.debt)
                assert (found.expiring, found.expires_at) == (wanted.expiring, wanted.expires_at)


def play(runtime: Runtime) -> Till:
    till = Till(runtime)
    run_state_machine_as_test(
        lambda: Ledgers(till),  # type: ignore[arg-type]
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            derandomize=SOAK not in os.environ,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],
        ),
    )
    return till


@pytest.mark.plants_violation  # points by hand without their reason
def test_the_ledger_is_what_the_plain_model_says(runtime: Runtime) -> None:
    till = play(runtime)
    with runtime.transaction(Role.PLATFORM, statement_timeout_s=60) as session:
        assert proof.is_right(proof.prove(session, till.now))
    assert violations(runtime.database).keys() <= {"au09_points_by_hand_are_explained"}


@pytest.mark.plants_violation
def test_points_that_can_be_spent_until_the_sweep_are_caught(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    guard = "(expires_at > :now OR expires_at IS NULL OR id IS NOT DISTINCT FROM :first)"
    statement = str(ledger._TAKE)
    assert guard in statement
    careless = statement.replace(guard, "(CAST(:now AS timestamptz) IS NOT NULL)")
    monkeypatch.setattr(ledger, "_TAKE", text(careless))
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        play(runtime)


@pytest.mark.plants_violation
def test_a_reversal_that_takes_the_oldest_lots_first_is_caught(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = ledger._take

    def oldest_first(*given: Any, first: int | None = None, **named: Any) -> Any:
        return take(*given, **named)

    monkeypatch.setattr(ledger, "_take", oldest_first)
    with pytest.raises(AssertionError):
        play(runtime)
