"""Points buy coupons, gifts among them: what a merchant offers, and the exchange.

Of an exchange either everything happens or nothing: the piece is counted, the coupon given and the points spent in one
transaction, each by a statement that holds its own condition. The same call again gives the same coupon.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from campaigns.coupons import giving
from campaigns.coupons.giving import Given
from campaigns.coupons.models import Channel
from campaigns.points import ledger
from campaigns.points.ledger import Cause
from campaigns.points.models import PointsOffer
from core.database import rows_changed
from core.errors import BusinessError, Invalid, NotFound

EXCHANGE: Final = "exchange"
MOST_PRICE: Final = 10_000_000
MOST_STOCK: Final = 1_000_000
MOST_PER_PERSON: Final = 100
NONCE_MOST: Final = 64


class OfferOver(BusinessError):
    code = "offer_over"
    message = "这个兑换已经下架了。"


class OfferSoldOut(BusinessError):
    code = "offer_sold_out"
    message = "已经兑换完了。"


class OfferLimit(BusinessError):
    code = "offer_limit"
    message = "每人最多兑换 %(most)s 份，您已经兑换过了。"


class OfferChanged(BusinessError):
    code = "offer_changed"
    message = "所需积分刚刚改过，请看清楚再兑换。"


@dataclass(frozen=True, slots=True)
class Exchanged:
    """The coupon that points bought, and what is left of them."""

    coupon: Given
    points: int
    balance: int
    is_new: bool


@dataclass(frozen=True, slots=True)
class Offer:
    """What can be had for points. `had` is how many the person who asks has had of it."""

    id: int
    merchant_id: int
    template_id: int
    name: str
    kind: str
    price: int
    stock: int
    taken: int
    per_person: int
    is_on: bool
    is_live: bool
    """Its template still gives coupons."""
    had: int = 0

    @property
    def left(self) -> int:
        return self.stock - self.taken


def exchange(
    session: Session, *, offer_id: int, follower_id: int, nonce: str, now: datetime, price: int | None = None
) -> Exchanged:
    """Buy what is offered; the same nonce again gives the same coupon and spends nothing.

    `price` is what the person was shown: where it is another by now, they are asked again. A refusal leaves nothing
    behind.
    """
    if not 0 < len(nonce) <= NONCE_MOST:
        raise Invalid("请求不完整，请刷新页面再试。", field="nonce")
    with session.begin_nested():
        offer = session.get(PointsOffer, offer_id, populate_existing=True)
        if offer is None:
            raise NotFound
        # First the person, whom others may be waiting for who hold nothing yet (PT-11).
        ledger.hold(session, merchant_id=offer.merchant_id, follower_ids=(follower_id,))
        cause = f"points:{offer_id}:{nonce}"
        asked = {
            "template": offer.template_id,
            "follower": follower_id,
            "offer": f"points:{offer_id}:%",
            "cause": cause,
        }
        had = session.execute(_HAD, asked).one()
        agreed = offer.price
        if not had.is_repeated:
            if had.coupons >= offer.per_person:
                raise OfferLimit(most=offer.per_person)
            agreed = _take_one(session, offer_id, price)
        coupon = giving.grant(
            session,
            template_id=offer.template_id,
            follower_id=follower_id,
            cause=cause,
            channel=Channel.POINTS,
            now=now,
        )
        spent = ledger.spend(
            session,
            merchant_id=offer.merchant_id,
            follower_id=follower_id,
            points=agreed,
            cause=Cause(EXCHANGE, coupon.coupon_id),
            now=now,
        )
        left = ledger.balance_of(session, merchant_id=offer.merchant_id, follower_id=follower_id, now=now)
        return Exchanged(coupon, spent.points, left.points, spent.is_new)


def _take_one(session: Session, offer_id: int, price: int | None) -> int:
    """Take a piece and return its price."""
    agreed = session.execute(_TAKE_ONE, {"offer": offer_id, "price": price}).scalar()
    if agreed is not None:
        return int(agreed)
    offer = session.get_one(PointsOffer, offer_id, populate_existing=True)
    if not offer.is_on:
        raise OfferOver
    raise OfferSoldOut if offer.taken >= offer.stock else OfferChanged


def add(
    session: Session, *, merchant_id: int, template_id: int, price: int, stock: int, per_person: int = 1
) -> PointsOffer:
    """Offer a coupon for points."""
    _check(price, stock, per_person)
    mine = text("SELECT 1 FROM coupon_template WHERE id = :id AND merchant_id = :merchant AND state <> 'ended'")
    if session.execute(mine, {"id": template_id, "merchant": merchant_id}).one_or_none() is None:
        raise NotFound
    offer = PointsOffer(
        merchant_id=merchant_id, template_id=template_id, price=price, stock=stock, per_person=per_person
    )
    session.add(offer)
    session.flush()
    return offer


def change(
    session: Session, *, merchant_id: int, offer_id: int, price: int, stock: int, per_person: int, is_on: bool
) -> None:
    """Change an offer; its stock cannot be less than what was taken already."""
    _check(price, stock, per_person)
    changed = session.execute(
        _CHANGE,
        {
            "merchant": merchant_id, "offer": offer_id, "price": price, "stock": stock, "per_person": per_person,
            "is_on": is_on,
        },
    )  # fmt: skip
    if rows_changed(changed):
        return
    if find(session, merchant_id=merchant_id, offer_id=offer_id) is None:
        raise NotFound
    raise Invalid("总份数不能少于已经兑换的份数。", field="stock")


def find(session: Session, *, merchant_id: int, offer_id: int) -> Offer | None:
    """One offer of this merchant's."""
    found = [offer for offer in offers_of(session, merchant_id=merchant_id) if offer.id == offer_id]
    return found[0] if found else None


def offers_of(session: Session, *, merchant_id: int) -> list[Offer]:
    """All that a merchant offers or has offered, the newest first."""
    return _offers(session, merchant_id, None)


def open_offers(session: Session, *, merchant_id: int, follower_id: int) -> list[Offer]:
    """What a person can be shown: on, of a template that gives, cheapest first; sold out ones too."""
    offers = _offers(session, merchant_id, follower_id)
    return sorted((one for one in offers if one.is_on and one.is_live), key=lambda one: (one.price, one.id))


def _offers(session: Session, merchant_id: int, follower_id: int | None) -> list[Offer]:
    rows = session.execute(_OFFERS, {"merchant": merchant_id, "follower": follower_id})
    return [
        Offer(
            row.id, row.merchant_id, row.template_id, row.name, row.kind, row.price, row.stock, row.taken,
            row.per_person, row.is_on, row.is_live, row.had,
        )
        for row in rows
    ]  # fmt: skip


def _check(price: int, stock: int, per_person: int) -> None:
    for value, most, field, message in (
        (price, MOST_PRICE, "price", "所需积分要在 1 到 %(most)s 之间。"),
        (stock, MOST_STOCK, "stock", "总份数要在 1 到 %(most)s 之间。"),
        (per_person, MOST_PER_PERSON, "per_person", "每人份数要在 1 到 %(most)s 之间。"),
    ):
        if type(value) is not int or not 1 <= value <= most:
            raise Invalid(message, field=field, most=most)


_HAD: Final = text("""
    SELECT count(*) AS coupons, coalesce(bool_or(cause = :cause), false) AS is_repeated
    FROM coupon WHERE template_id = :template AND follower_id = :follower AND cause LIKE :offer""")

_TAKE_ONE: Final = text("""
    UPDATE points_offer SET taken = taken + 1
    WHERE id = :offer AND is_on AND taken < stock AND price = coalesce(CAST(:price AS integer), price)
    RETURNING price""")

_CHANGE: Final = text("""
    UPDATE points_offer SET price = :price, stock = :stock, per_person = :per_person, is_on = :is_on
    WHERE merchant_id = :merchant AND id = :offer AND taken <= :stock""")

_OFFERS: Final = text("""
    SELECT o.id, o.merchant_id, o.template_id, t.name, t.kind, o.price, o.stock, o.taken, o.per_person, o.is_on,
           t.state = 'live' AS is_live,
           (SELECT count(*) FROM coupon c
            WHERE c.template_id = o.template_id AND c.follower_id = :follower
              AND c.cause LIKE 'points:' || o.id || ':%') AS had
    FROM points_offer o JOIN coupon_template t ON t.id = o.template_id
    WHERE o.merchant_id = :merchant ORDER BY o.id DESC""")
