"""Points buy coupons: everything of an exchange happens, or nothing."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from campaigns.coupons.giving import NotGiven
from campaigns.points import exchange
from campaigns.points.exchange import Exchanged, OfferChanged, OfferLimit, OfferOver, OfferSoldOut
from campaigns.points.ledger import NotEnoughPoints
from core.database import Role
from core.errors import Invalid, NotFound
from core.runtime import Runtime
from tests.campaigns.points.till import Till


class Counter(Till):
    """A shop that gives a cup of tea for points."""

    def template(self, *, stock: int = 100, merchant_id: int | None = None) -> int:
        with self.runtime.transaction(Role.PLATFORM) as session:
            return int(
                session.execute(
                    text("""
                        INSERT INTO coupon_template (merchant_id, public_id, name, kind, worth_fen, lasts_days, stock,
                                                     budget_fen, per_person, state, review)
                        VALUES (:merchant, :public, '一杯茶', 'gift', 500, 30, :stock, 10000000, 100, 'live',
                                'approved')
                        RETURNING id"""),
                    {"merchant": merchant_id or self.id, "public": self.runtime.new_code(), "stock": stock},
                ).scalar_one()
            )

    def offer(self, template_id: int, **terms: int) -> int:
        with self.runtime.transaction(Role.MERCHANT, merchant_id=self.id) as session:
            given = {"price": 80, "stock": 2, **terms}
            return exchange.add(session, merchant_id=self.id, template_id=template_id, **given).id

    def change(self, offer_id: int, **other: int) -> None:
        with self.runtime.transaction(Role.MERCHANT, merchant_id=self.id) as session:
            terms = {"price": 80, "stock": 2, "per_person": 1, "is_on": True, **other}
            exchange.change(session, merchant_id=self.id, offer_id=offer_id, **terms)  # type: ignore[arg-type]

    def buy(self, who: int, offer_id: int, nonce: str = "n1", price: int | None = None) -> Exchanged:
        with self.runtime.transaction(Role.FAN, follower_id=who) as session:
            return exchange.exchange(
                session, offer_id=offer_id, follower_id=who, nonce=nonce, now=self.now, price=price
            )

    def rich(self, points: int = 200) -> int:
        who = self.person()
        self.earn(who, points)
        return who

    def counts(self) -> tuple[int, int, int]:
        """Pieces taken, coupons given, points spent."""
        with self.runtime.transaction(Role.PLATFORM) as session:
            found = session.execute(
                text("""
                    SELECT (SELECT sum(taken) FROM points_offer), (SELECT count(*) FROM coupon),
                           (SELECT coalesce(sum(points), 0) FROM points_transfer WHERE kind = 'spend')""")
            ).one()
            return int(found[0]), int(found[1]), int(found[2])


@pytest.fixture
def counter(runtime: Runtime) -> Counter:
    return Counter(runtime)


def test_points_buy_a_coupon_once(counter: Counter) -> None:
    ann, offer = counter.rich(), counter.offer(counter.template())
    bought = counter.buy(ann, offer, price=80)
    assert (bought.points, bought.balance, bought.is_new) == (80, 120, True)
    again = counter.buy(ann, offer)
    assert (again.coupon.coupon_id, again.balance, again.is_new) == (bought.coupon.coupon_id, 120, False)
    with pytest.raises(OfferLimit):
        counter.buy(ann, offer, "n2")
    assert counter.counts() == (1, 1, 80)


def test_whoever_has_too_few_points_takes_nothing(counter: Counter) -> None:
    ann, offer = counter.rich(79), counter.offer(counter.template())
    with pytest.raises(NotEnoughPoints):
        counter.buy(ann, offer)
    assert counter.counts() == (0, 0, 0)


def test_no_more_than_there_are(counter: Counter) -> None:
    offer = counter.offer(counter.template(), stock=1)
    counter.buy(counter.rich(), offer)
    with pytest.raises(OfferSoldOut):
        counter.buy(counter.rich(), offer)
    few = counter.offer(counter.template(stock=1), stock=2)
    counter.buy(counter.rich(), few)
    with pytest.raises(NotGiven):
        counter.buy(counter.rich(), few)
    assert counter.counts() == (2, 2, 160)


def test_another_price_than_was_shown_asks_again(counter: Counter) -> None:
    ann, offer = counter.rich(), counter.offer(counter.template())
    counter.change(offer, price=100)
    with pytest.raises(OfferChanged):
        counter.buy(ann, offer, price=80)
    assert counter.buy(ann, offer, price=100).points == 100
    counter.change(offer, price=150)
    assert counter.buy(ann, offer, price=100).points == 100, "it was bought for that"


def test_what_is_off_is_over(counter: Counter) -> None:
    ann, offer = counter.rich(), counter.offer(counter.template())
    counter.change(offer, is_on=False)
    with pytest.raises(OfferOver):
        counter.buy(ann, offer)
    with pytest.raises(NotFound):
        counter.buy(ann, 999)


def test_what_a_person_is_shown(counter: Counter) -> None:
    ann, template = counter.rich(), counter.template()
    dear, cheap = counter.offer(template, price=90), counter.offer(template, price=10)
    counter.offer(template)
    counter.change(counter.offer(template), is_on=False)
    counter.buy(ann, cheap)
    with counter.runtime.transaction(Role.FAN, follower_id=ann) as session:
        shown = exchange.open_offers(session, merchant_id=counter.id, follower_id=ann)
    assert [(one.price, one.had, one.left) for one in shown] == [(10, 1, 1), (80, 0, 2), (90, 0, 2)]
    assert (shown[0].id, shown[2].id, shown[0].name) == (cheap, dear, "一杯茶")


@pytest.mark.parametrize("terms", [{"price": 0}, {"stock": 0}, {"per_person": 0}, {"per_person": 101}])
def test_terms_that_cannot_be_are_refused(counter: Counter, terms: dict[str, int]) -> None:
    with pytest.raises(Invalid):
        counter.offer(counter.template(), **terms)


def test_an_offer_keeps_what_was_taken_and_to_its_shop(counter: Counter) -> None:
    offer = counter.offer(counter.template())
    counter.buy(counter.rich(), offer)
    counter.buy(counter.rich(), offer)
    with pytest.raises(Invalid):
        counter.change(offer, stock=1)
    with pytest.raises(NotFound):
        counter.change(999)
    with pytest.raises(NotFound):
        counter.offer(counter.template(merchant_id=counter.street.merchant("面馆")))
