"""A coupon's life against a model of it: whatever is done in whatever order, rows and model agree."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any, Final, cast

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from campaigns.coupons import giving, templates
from campaigns.coupons.giving import NoGift, NotGiven, NotPassable, NotRevocable, OwnGift, Refusal
from campaigns.coupons.models import Channel
from core.clock import business_day
from core.database import Role, rows_changed
from core.errors import Invalid
from core.runtime import Runtime
from tests.couponing import WRITER, Street

SOAK: Final = bool(os.environ.get("QUANMA_SOAK"))
PEOPLE: Final = 3
WORTH: Final = 2_000
LASTS: Final = (2, 6)
"""Days: coupons end in the middle of a story, and some outlast the links they are passed on by."""
ANY: Final = st.integers(0, 30)
LIVE: Final = ("issued", "reserved")
CAUSES: Final = ("scan:1", "scan:2", "page:1", "page:2", "page:3")


@dataclass
class Held:
    """What the model knows of one coupon."""

    id: int
    public_id: str
    person: int
    day: Any
    valid_to: datetime
    state: str = "issued"
    held_until: datetime | None = None
    is_passed: bool = False


@dataclass
class Link:
    """A link to pass a coupon on."""

    token: str
    coupon: Held
    expires_at: datetime
    is_open: bool = True
    taken_by: int | None = None


_REDEMPTION: Final = """
    INSERT INTO redemption (merchant_id, issuer_id, coupon_id, template_id, follower_id, staff_id, use_no, discount_fen,
                            is_first_here, redeemed_at)
    SELECT merchant_id, merchant_id, id, template_id, follower_id, :staff, 1, 0, true, :now
    FROM coupon WHERE id = :id"""


class CouponsLife(RuleBasedStateMachine):
    """One template, three people, a till told by rows, and time."""

    def __init__(self, street: Street, shop: int, staff: int) -> None:
        super().__init__()
        self.street, self.shop, self.staff = street, shop, staff
        self.people = street.people(PEOPLE)
        self.now = street.now.replace(microsecond=0)
        self.coupons: list[Held] = []
        self.links: list[Link] = []
        self.causes: dict[tuple[int, str], Held] = {}

    # ---- The template ------------------------------------------------------------------------------------------------

    @initialize(
        stock=st.integers(2, 8),
        pieces=st.integers(1, 8),
        limit=st.integers(1, 3),
        a_day=st.none() | st.none() | st.integers(1, 3),
        lasts=st.sampled_from(LASTS),
    )
    def open(self, stock: int, pieces: int, limit: int, a_day: int | None, lasts: int) -> None:
        self.stock, self.pieces = stock, min(pieces, stock)
        self.limit, self.a_day = min(limit, stock), None if a_day is None else min(a_day, stock)
        self.template_id = self.street.live(
            self.shop, stock=self.stock, budget_fen=self.pieces * WORTH, per_person=self.limit, per_day=self.a_day,
            lasts_days=lasts, is_transferable=True,
        )  # fmt: skip

    @rule(stock=st.integers(1, 8), pieces=st.none() | st.integers(1, 8))
    def change_stock(self, stock: int, pieces: int | None) -> None:
        """Without a budget the stock alone is the limit."""
        given = len(self.given)
        is_allowed = given <= min(stock, pieces or stock) and (self.a_day is None or self.a_day <= stock)
        self.try_to(
            lambda session: templates.set_stock(
                session, merchant_id=self.shop, template_id=self.template_id, staff_id=WRITER, stock=stock,
                budget_fen=pieces and pieces * WORTH, per_day=self.a_day,
            ),
            role=Role.MERCHANT, is_allowed=is_allowed, refused=Invalid,
        )  # fmt: skip
        if is_allowed:
            self.stock, self.pieces = stock, pieces or stock

    @property
    def given(self) -> list[Held]:
        return [one for one in self.coupons if not one.is_passed]

    # ---- Coming and going --------------------------------------------------------------------------------------------

    def refusal(self, person: int) -> set[Refusal]:
        """Every reason against one more for a person."""
        today = business_day(self.now)
        mine = [one for one in self.given if one.person == person]
        return {
            reason
            for is_so, reason in (
                (len(mine) >= self.limit, Refusal.LIMIT),
                (len(self.given) >= min(self.stock, self.pieces), Refusal.SOLD_OUT),
                (
                    self.a_day is not None and sum(one.day == today for one in self.given) >= self.a_day,
                    Refusal.TODAY_FULL,
                ),
            )
            if is_so
        }

    @rule(who=st.integers(0, PEOPLE - 1), cause=st.sampled_from(CAUSES))
    def claim(self, who: int, cause: str) -> None:
        person = self.people[who]
        expected = self.refusal(person)
        earlier = self.causes.get((person, cause))
        if earlier is None and expected:
            with pytest.raises(NotGiven) as refusal:
                self.street.grant(self.template_id, person, cause=cause, channel=Channel.SCAN, now=self.now)
            assert refusal.value.reason in expected
            return
        found = self.street.grant(self.template_id, person, cause=cause, channel=Channel.SCAN, now=self.now)
        if earlier is not None:
            assert (found.coupon_id, found.is_new) == (earlier.id, False)
            return
        assert found.is_new
        held = Held(found.coupon_id, found.public_id, person, business_day(self.now), found.valid_to)
        self.coupons.append(held)
        self.causes[person, cause] = held

    @rule()
    def everybody_wants_all(self) -> None:
        """Until nobody gets another one, for whichever reason comes first."""
        for cause in CAUSES:
            for who in range(PEOPLE):
                self.claim(who, cause)

    @rule(hours=st.integers(1, 30))
    def wait(self, hours: int) -> None:
        self.now += timedelta(hours=hours)

    @rule()
    def tidy(self) -> None:
        """What the scheduler does."""
        with self.street.runtime.transaction(Role.PLATFORM) as session:
            giving.release_reserved(session, self.now)
            giving.expire_due(session, self.now)
        for one in self.coupons:
            is_free = one.state == "issued" or (
                one.state == "reserved" and one.held_until is not None and one.held_until <= self.now
            )
            if is_free:
                one.state = "issued" if one.valid_to > self.now else "expired"
                one.held_until = None

    @precondition(lambda self: self.coupons)
    @rule(which=ANY)
    def revoke(self, which: int) -> None:
        one = self.pick(which)
        self.try_to(
            lambda session: giving.revoke(
                session, merchant_id=self.shop, staff_id=WRITER, coupon_public_id=one.public_id, reason="发错了",
                now=self.now,
            ),
            role=Role.MERCHANT, is_allowed=one.state in LIVE, refused=NotRevocable,
        )  # fmt: skip
        if one.state in LIVE:
            one.state, one.held_until = "revoked", None

    # ---- The till, told by rows --------------------------------------------------------------------------------------

    @precondition(lambda self: self.coupons)
    @rule(which=ANY, minutes=st.integers(1, 60))
    def hold(self, which: int, minutes: int) -> None:
        one = self.pick(which)
        until = min(self.now + timedelta(minutes=minutes), one.valid_to)
        is_allowed = one.state == "issued" and self.now < one.valid_to
        assert is_allowed == self.write(
            """UPDATE coupon SET state = 'reserved', reserved_until = :until, reserved_at_id = merchant_id
               WHERE id = :id AND state = 'issued' AND :now < valid_to""",
            one,
            until=until,
        )
        if is_allowed:
            one.state, one.held_until = "reserved", until

    @precondition(lambda self: self.coupons)
    @rule(which=ANY)
    def redeem(self, which: int) -> None:
        one = self.pick(which)
        is_allowed = one.state in LIVE and self.now < one.valid_to
        assert is_allowed == self.write(
            """UPDATE coupon SET state = 'redeemed', uses_left = 0, ended_at = :now, reserved_until = NULL,
                                 reserved_at_id = NULL
               WHERE id = :id AND state IN ('issued', 'reserved') AND :now < valid_to""",
            one,
        )
        if is_allowed:
            self.write(_REDEMPTION, one, staff=self.staff)
            one.state, one.held_until = "redeemed", None

    # ---- Passing on --------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.coupons)
    @rule(which=ANY)
    def offer(self, which: int) -> None:
        one = self.pick(which)
        is_allowed = one.state == "issued" and self.now < one.valid_to
        token = self.try_to(
            lambda session: giving.offer_gift(
                session, follower_id=one.person, coupon_public_id=one.public_id, now=self.now
            ),
            role=Role.FAN, person=one.person, is_allowed=is_allowed, refused=NotPassable,
        )  # fmt: skip
        if is_allowed:
            for link in self.links:
                link.is_open = link.is_open and link.coupon is not one
            self.links.append(Link(token, one, min(self.now + giving.GIFT_LASTS, one.valid_to)))

    @precondition(lambda self: self.coupons)
    @rule(which=ANY)
    def cancel(self, which: int) -> None:
        one = self.pick(which)
        with self.street.runtime.transaction(Role.FAN, follower_id=one.person) as session:
            cancelled = giving.cancel_gift(
                session, follower_id=one.person, coupon_public_id=one.public_id, now=self.now
            )
        mine = [link for link in self.links if link.is_open and link.coupon is one]
        assert cancelled == len(mine)
        for link in mine:
            link.is_open = False

    @precondition(lambda self: self.links)
    @rule(which=ANY, who=st.integers(0, PEOPLE - 1))
    def take(self, which: int, who: int) -> None:
        link, person = self.links[which % len(self.links)], self.people[who]
        old = link.coupon
        is_own = old.person == person
        # By whichever link: the same person again sees the same coupon.
        was_mine = any(each.coupon is old and each.taken_by == person for each in self.links)
        is_there = link.is_open and self.now < link.expires_at and old.state == "issued" and self.now < old.valid_to
        found = self.try_to(
            lambda session: giving.take_gift(session, follower_id=person, token=link.token, now=self.now),
            role=Role.FAN, person=person, is_allowed=not is_own and (was_mine or is_there),
            refused=OwnGift if is_own else NoGift,
        )  # fmt: skip
        if found is None:
            return
        assert found.is_new is not was_mine
        if not was_mine:
            old.state, link.is_open, link.taken_by = "given_away", False, person
            self.coupons.append(
                Held(found.coupon_id, found.public_id, person, business_day(self.now), old.valid_to, is_passed=True)
            )

    @rule(who=st.integers(0, PEOPLE - 1), which=ANY, is_late=st.booleans())
    def take_at_the_last_moment(self, who: int, which: int, is_late: bool) -> None:
        """Just before a link ends, or just then, of a coupon that is good for longer."""
        for cause in CAUSES:
            self.claim(who, cause)
        until = self.now + giving.GIFT_LASTS
        good = [place for place, one in enumerate(self.coupons) if one.state == "issued" and one.valid_to > until]
        if not good:
            return
        place = good[which % len(good)]
        self.offer(place)
        self.now = until - timedelta(microseconds=not is_late)
        self.take(len(self.links) - 1, (self.people.index(self.coupons[place].person) + 1) % PEOPLE)

    # ---- Everything at once ------------------------------------------------------------------------------------------

    @rule(deeds=st.lists(st.tuples(st.sampled_from("ccccctwrhdookkkn"), ANY, ANY), min_size=6, max_size=20))
    def a_busy_day(self, deeds: list[tuple[str, int, int]]) -> None:
        """Many of the above in a row: left alone, Hypothesis stops before a shop is sold out."""
        for deed, which, other in deeds:
            match deed:
                case "c":
                    self.claim(which % PEOPLE, CAUSES[other % len(CAUSES)])
                case "w":
                    self.wait(1 + which)
                case "t":
                    self.tidy()
                case _ if not self.coupons:
                    pass
                case "r":
                    self.revoke(which)
                case "h":
                    self.hold(which, 1 + other)
                case "d":
                    self.redeem(which)
                case "o":
                    self.offer(which)
                case "n":
                    self.cancel(which)
                case "k" if self.links:
                    self.take(which, other % PEOPLE)
            self.rows_are_as_the_model_says()

    # ---- Helpers -----------------------------------------------------------------------------------------------------

    def pick(self, which: int) -> Held:
        return self.coupons[which % len(self.coupons)]

    def write(self, statement: str, one: Held, **given: Any) -> bool:
        with self.street.runtime.transaction(Role.PLATFORM) as session:
            return rows_changed(session.execute(text(statement), {"id": one.id, "now": self.now, **given})) == 1

    def try_to(
        self, act: Callable[..., Any], *, role: Role, is_allowed: bool, refused: type[Exception], person: int = 0
    ) -> Any:
        with self.street.runtime.transaction(
            role,
            merchant_id=self.shop if role is Role.MERCHANT else None,
            follower_id=person if role is Role.FAN else None,
        ) as session:
            try:
                answer = act(session)
            except refused:
                assert not is_allowed
                return None
        assert is_allowed
        return answer

    @invariant()
    def rows_are_as_the_model_says(self) -> None:
        if not hasattr(self, "template_id"):
            return
        with self.street.runtime.transaction(Role.PLATFORM) as session:
            rows = session.execute(
                text("SELECT id, follower_id, state FROM coupon WHERE template_id = :id ORDER BY id"),
                {"id": self.template_id},
            ).all()
            counted = session.execute(
                text("SELECT issued, committed_fen, stock FROM coupon_template WHERE id = :id"),
                {"id": self.template_id},
            ).one()
        assert sorted((one.id, one.person, one.state) for one in self.coupons) == [tuple(row) for row in rows]
        given = len(self.given)
        assert tuple(counted) == (given, given * WORTH, self.stock)
        assert given <= min(self.stock, self.pieces)


def play(runtime: Runtime) -> None:
    street = Street.open(runtime)
    shop = street.shop()
    with runtime.transaction(Role.PLATFORM) as session:
        hire = text("INSERT INTO staff (merchant_id, name, role) VALUES (:shop, '店员', 'clerk') RETURNING id")
        staff = session.execute(hire, {"shop": shop}).scalar_one()
    run_state_machine_as_test(
        cast("type[RuleBasedStateMachine]", lambda: CouponsLife(street, shop, staff)),
        settings=settings(
            max_examples=500 if SOAK else 25,
            stateful_step_count=50 if SOAK else 25,
            deadline=None,
            database=None,
            derandomize=not SOAK,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],
        ),
    )


def test_whatever_is_done_to_coupons_rows_and_model_agree(runtime: Runtime) -> None:
    play(runtime)


def _without(monkeypatch: pytest.MonkeyPatch, name: str, guard: str) -> None:
    """A statement of `giving` without one of its guards."""
    statement = str(getattr(giving, name))
    assert guard in statement
    monkeypatch.setattr(giving, name, text(statement.replace(guard, "")))


@pytest.mark.plants_violation
def test_a_link_that_can_be_taken_after_its_end_is_caught(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    _without(monkeypatch, "_TAKE", "AND expires_at > :now")
    with pytest.raises(AssertionError):
        play(runtime)


@pytest.mark.plants_violation
def test_a_budget_that_nobody_looks_at_is_caught(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table refuses it, too; here that is no answer to whoever wants a coupon."""
    _without(monkeypatch, "_COUNT", "AND t.committed_fen + t.worth_fen * t.uses <= t.budget_fen")
    why_not = giving._why_not

    def whatever_the_budget(session: Any, template: Any, *given: Any, **named: Any) -> Any:
        without = SimpleNamespace(
            **{column.key: getattr(template, column.key) for column in template.__table__.columns}
        )
        without.budget_fen = 10**12
        return why_not(session, without, *given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(giving, "_why_not", whatever_the_budget)
    with pytest.raises(IntegrityError, match="ck_coupon_template_budget"):
        play(runtime)
