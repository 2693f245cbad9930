"""Whatever two tills do to coupons in whichever order, the rows say what a simple model says (CO-3 to CO-10)."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta

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

from campaigns.coupons import giving, redeeming
from campaigns.coupons.giving import Given
from campaigns.coupons.models import Channel
from campaigns.points.models import RuleTrigger
from core.database import Role
from core.errors import BusinessError
from core.runtime import Runtime
from tests.campaigns.coupons.shop import YUAN, Shop, one

EXAMPLES, STEPS = (500, 50) if os.environ.get("QUANMA_SOAK") else (20, 25)
WORTH = 20 * YUAN
WHICH = st.integers(0, 3)


@dataclass
class Modelled:
    """One coupon as it should be."""

    given: Given
    uses_left: int
    state: str = "issued"
    holder: int | None = None
    held_until: datetime | None = None

    def is_usable(self, shop_id: int, now: datetime) -> bool:
        is_free = self.state == "issued" or (
            self.state == "reserved"
            and self.held_until is not None
            and (self.holder == shop_id or self.held_until <= now)
        )
        return is_free and self.uses_left > 0 and self.given.valid_from <= now < self.given.valid_to

    def let_go(self, state: str) -> None:
        self.state, self.holder, self.held_until = state, None, None


@dataclass
class Use:
    """One redemption as it should be."""

    redemption_id: int
    coupon: Modelled
    shop: Shop
    at: datetime
    points: int
    owed: int
    is_undone: bool = False


@dataclass
class Model:
    coupons: list[Modelled] = field(default_factory=list)
    uses: list[Use] = field(default_factory=list)


class Tills(RuleBasedStateMachine):
    """A tea shop gives coupons, a noodle shop honours them and is paid half."""

    tea: Shop
    noodles: Shop

    @initialize()
    def open(self) -> None:
        self.now = self.tea.now
        self.model = Model()
        self.people = [self.tea.person() for _ in range(2)]
        self.templates = {uses: self.tea.template(
            kind="visits" if uses > 1 else "amount", uses=uses, value_fen=WORTH, lasts_days=1
        ) for uses in (1, 3)}  # fmt: skip
        for template_id in self.templates.values():
            self.tea.take(template_id, self.noodles, pays_percent=50)

        for who, uses in ((0, 1), (0, 3), (1, 1)):
            self.give(who, uses)

    def shop(self, is_home: bool) -> Shop:
        return self.tea if is_home else self.noodles

    def coupon(self, which: int) -> Modelled:
        return self.model.coupons[which % len(self.model.coupons)]

    def give(self, who: int, uses: int) -> None:
        with self.tea.runtime.transaction(Role.PLATFORM) as session:
            given = giving.grant(
                session, template_id=self.templates[uses], follower_id=self.people[who],
                cause=f"page:{len(self.model.coupons)}", channel=Channel.PAGE, now=self.now,
            )  # fmt: skip
        self.model.coupons.append(Modelled(given, uses))

    @rule(who=st.integers(0, 1), uses=st.sampled_from([1, 3]))
    def give_another(self, who: int, uses: int) -> None:
        self.give(who, uses)

    @rule(which=WHICH, is_home=st.booleans(), yuan=st.integers(1, 90))
    def redeem(self, which: int, is_home: bool, yuan: int) -> None:
        coupon = self.coupon(which)
        shop, fits = self.shop(is_home), coupon.is_usable(self.shop(is_home).id, self.now)
        shown = shop.show(coupon.given.follower_id, at=self.now).typed
        try:
            done = shop.redeem(shown, coupon.given, bill=yuan * YUAN, at=self.now)
        except BusinessError:
            assert not fits
            return
        assert fits
        discount = min(WORTH, yuan * YUAN)
        assert (done.discount_fen, done.points) == (discount, yuan)
        coupon.uses_left -= 1
        coupon.let_go("issued" if coupon.uses_left else "redeemed")
        owed = 0 if is_home else discount // 2
        self.model.uses.append(Use(done.redemption_id, coupon, shop, self.now, done.points, owed))

    @rule(which=WHICH, is_home=st.booleans())
    def reserve(self, which: int, is_home: bool) -> None:
        coupon = self.coupon(which)
        shop = self.shop(is_home)
        fits = coupon.is_usable(shop.id, self.now)
        try:
            until = shop.reserve(shop.show(coupon.given.follower_id, at=self.now).token, coupon.given, at=self.now)
        except BusinessError:
            assert not fits
            return
        assert fits
        is_held = coupon.holder == shop.id and coupon.held_until is not None and coupon.held_until > self.now
        if not is_held:
            coupon.state, coupon.holder = "reserved", shop.id
            coupon.held_until = min(self.now + redeeming.HELD, coupon.given.valid_to)
        assert until == coupon.held_until

    @rule(which=WHICH, is_home=st.booleans())
    def release(self, which: int, is_home: bool) -> None:
        coupon = self.coupon(which)
        self.shop(is_home).release(coupon.given)
        if coupon.holder == self.shop(is_home).id:
            coupon.let_go("issued")

    @precondition(lambda self: self.model.uses)
    @rule(which=WHICH, is_there=st.sampled_from([True, True, True, False]))
    def undo(self, which: int, is_there: bool) -> None:
        use = self.model.uses[-1 - which % len(self.model.uses)]
        shop = self.shop((use.shop.id == self.tea.id) == is_there)
        fits = use.shop.id == shop.id and not use.is_undone and self.now - use.at <= timedelta(hours=24)
        try:
            undone = shop.undo(use.redemption_id, staff=shop.owner, at=self.now)
        except BusinessError:
            assert not fits
            return
        assert fits
        use.is_undone = True
        coupon, is_valid = use.coupon, self.now < use.coupon.given.valid_to
        coupon.uses_left += 1
        if coupon.state == "redeemed":
            coupon.let_go("issued" if is_valid else "expired")
        assert undone.is_valid_again == (is_valid and coupon.state != "expired")

    @rule(minutes=st.sampled_from([1, 9, 10, 31, 600, 1_500]))
    def wait(self, minutes: int) -> None:
        self.now += timedelta(minutes=minutes)

    @rule()
    def sweep(self) -> None:
        with self.tea.runtime.transaction(Role.PLATFORM) as session:
            giving.release_reserved(session, self.now)
            giving.expire_due(session, self.now)
        for coupon in self.model.coupons:
            is_over = coupon.given.valid_to <= self.now
            is_free = coupon.state == "issued" or (
                coupon.state == "reserved" and coupon.held_until is not None and coupon.held_until <= self.now
            )
            if is_free:
                coupon.let_go("expired" if is_over else "issued")

    @invariant()
    def rows_say_what_the_model_says(self) -> None:
        if not getattr(self, "model", None):
            return
        with self.tea.runtime.transaction(Role.PLATFORM) as session:
            mine = {"people": self.people}
            states = {row.id: (row.state, row.uses_left) for row in session.execute(_STATES, mine)}
            points = {(row.merchant_id, row.follower_id): row.balance for row in session.execute(_POINTS, mine)}
            owed = {row.party_id: row.fen for row in session.execute(_OWED, mine)}
        assert states == {one.given.coupon_id: (one.state, one.uses_left) for one in self.model.coupons}
        wanted: Counter[tuple[int, int]] = Counter()
        debt = 0
        for use in self.model.uses:
            if not use.is_undone:
                wanted[use.shop.id, use.coupon.given.follower_id] += use.points
                debt += use.owed
        assert +Counter(points) == wanted
        assert (owed.get(self.noodles.id, 0), owed.get(self.tea.id, 0)) == (debt, -debt)


_STATES = text("SELECT id, state, uses_left FROM coupon WHERE follower_id = ANY(:people)")
_POINTS = text("""
    SELECT merchant_id, follower_id, balance FROM points_account WHERE follower_id = ANY(:people) AND kind = 'fan'""")
_OWED = text("""
    SELECT e.party_id, sum(e.fen)::bigint AS fen FROM alliance_entry e
    JOIN alliance_transfer t ON t.id = e.transfer_id JOIN redemption r ON r.id = t.redemption_id
    WHERE r.follower_id = ANY(:people) GROUP BY e.party_id""")


def play(runtime: Runtime) -> None:
    shop = Shop.open(runtime)
    neighbour = shop.neighbour()
    for one_shop in (shop, neighbour):
        one_shop.rule(RuleTrigger.SPEND, 1, YUAN)

    class Here(Tills):
        tea, noodles = shop, neighbour

    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None, database=None, derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip


def test_tills_keep_to_the_model(runtime: Runtime) -> None:
    play(runtime)
    assert one(runtime, "SELECT count(*) FROM redemption_reversal") > 0
    assert one(runtime, "SELECT count(*) FROM redemption WHERE reversed_at IS NULL") > 0


@pytest.mark.plants_violation
def test_a_till_that_keeps_the_points_after_an_undo_is_caught(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redeeming, "_take_rewards_back", lambda *_, **__: None)
    with pytest.raises(AssertionError):
        play(runtime)


@pytest.mark.plants_violation
def test_a_till_that_ignores_who_holds_a_coupon_is_caught(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    careless = str(redeeming._USE).replace("reserved_at_id = :merchant OR", "true OR")
    monkeypatch.setattr(redeeming, "_USE", text(careless))
    monkeypatch.setattr(redeeming, "_refused", lambda *_, **__: None)
    with pytest.raises(AssertionError):
        play(runtime)
