"""Coupon cards: a line at the end of a message that leads to where one of the merchant's coupons is taken.

Whoever takes it so has it by that broadcast or that code, once (CO-2); the link shows that the merchant gives the
coupon away in this way, and is the same for everybody who reads the message.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from campaigns.coupons.models import Channel, CouponTemplate, TemplateState
from core.errors import Invalid, NotFound
from merchants.reviews import ReviewState

BY_BROADCAST: Final = "b"
BY_CODE: Final = "q"
"""What the link says of the way: the broadcast's number, or the public name of the code that was scanned."""
_PLAIN: Final = str.maketrans('{}|<>"', "（）／〈〉＂")
"""A coupon's name is never a placeholder, and never markup."""


@dataclass(frozen=True)
class Card:
    """A coupon that a message carries."""

    template_id: int
    public_id: str
    name: str
    is_live: bool = True

    @property
    def words(self) -> str:
        """What the link says; the same to everybody."""
        return f"领取“{self.name.translate(_PLAIN)}”"

    def address(self, public_url: str, *, broadcast_id: int | None = None, code: str | None = None) -> str:
        """Where it is taken, having come by this broadcast or this code."""
        way = f"?{BY_BROADCAST}={broadcast_id}" if broadcast_id is not None else f"?{BY_CODE}={code}" if code else ""
        return f"{public_url}/m/c/{self.public_id}{way}"

    def line(self, address: str) -> str:
        """The line at the end of a message."""
        return f'<a href="{address}">{self.words}</a>'


def choices(session: Session, *, merchant_id: int) -> list[Card]:
    """The coupons that a merchant's messages may carry now, the newest first."""
    mine = select(CouponTemplate).where(
        CouponTemplate.merchant_id == merchant_id, CouponTemplate.state == TemplateState.LIVE
    )
    return [_card(one) for one in session.scalars(mine.order_by(CouponTemplate.id.desc()))]


def own(session: Session, *, merchant_id: int, template_id: int) -> Card:
    """One of them, also one that is given no more; another merchant's is missing (TN-3)."""
    mine = select(CouponTemplate).where(CouponTemplate.id == template_id, CouponTemplate.merchant_id == merchant_id)
    found = session.scalar(mine)
    if found is None:
        raise NotFound("没有这张优惠券。")
    return _card(found)


def live(session: Session, *, merchant_id: int, template_id: int) -> Card:
    """The same, as long as it is given; `Invalid` says that it is not."""
    card = own(session, merchant_id=merchant_id, template_id=template_id)
    if not card.is_live:
        raise Invalid("这张优惠券现在不能领，请换一张，或者不带券。", field="template")
    return card


def of(session: Session, template_ids: Collection[int]) -> dict[int, Card]:
    """Some of anybody's, by id, as far as they are given now; for the platform's role."""
    if not template_ids:
        return {}
    wanted = select(CouponTemplate).where(
        CouponTemplate.id.in_(template_ids), CouponTemplate.state == TemplateState.LIVE
    )
    return {one.id: _card(one) for one in session.scalars(wanted)}


def _card(template: CouponTemplate) -> Card:
    return Card(template.id, template.public_id, template.name, template.state == TemplateState.LIVE)


# ---- Taking ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Way:
    """How somebody came to a coupon's page, as far as the merchant's own messages bear it out."""

    channel: Channel
    cause: str
    code_id: int | None = None


def way(session: Session, *, template: CouponTemplate, given: Mapping[str, str]) -> Way | None:
    """The way that a link's parameters claim, where an agreed broadcast or welcome says so; under the fan role, too."""
    broadcast, code = given.get(BY_BROADCAST, ""), given.get(BY_CODE, "")
    if broadcast.isascii() and broadcast.isdigit() and len(broadcast) <= 18:
        return _by_broadcast(session, template, int(broadcast))
    return _by_code(session, template, code) if code else None


def _by_broadcast(session: Session, template: CouponTemplate, broadcast_id: int) -> Way | None:
    path = f"/m/c/{template.public_id}?{BY_BROADCAST}={broadcast_id}"
    is_agreed = session.scalar(
        text("""
            SELECT EXISTS (SELECT 1 FROM short_link WHERE broadcast_id = :id AND merchant_id = :merchant_id
                           AND right(target, length(CAST(:path AS text))) = CAST(:path AS text))"""),
        {"id": broadcast_id, "merchant_id": template.merchant_id, "path": path},
    )
    return Way(Channel.BROADCAST, f"broadcast:{broadcast_id}") if is_agreed else None


def _by_code(session: Session, template: CouponTemplate, code: str) -> Way | None:
    code_id = session.scalar(
        text("""
            SELECT c.id FROM sub_qr_code c
            WHERE c.public_id = :code AND c.merchant_id = :merchant_id
              AND EXISTS (SELECT 1 FROM welcome w
                          WHERE w.merchant_id = c.merchant_id AND (w.code_id IS NULL OR w.code_id = c.id)
                            AND w.review = :approved AND w.template_id = :template_id)"""),
        {"code": code, "merchant_id": template.merchant_id, "template_id": template.id,
         "approved": ReviewState.APPROVED},
    )  # fmt: skip
    return None if code_id is None else Way(Channel.SCAN, f"scan:{code_id}", code_id)


# ---- What became of them ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Taken:
    """What became of a broadcast's card so far."""

    card: Card
    taps: int
    visitors: int
    taken: int
    redeemed: int
    """Coupons taken by it of which at least one use stands."""


def taken_by(session: Session, *, broadcast_id: int) -> Taken | None:
    """How often a broadcast's card was opened, its coupon taken, and redeemed; None for one without a card."""
    row = session.execute(
        text("""
            SELECT t.id, t.public_id, t.name, t.state = 'live' AS is_live
            FROM broadcast_words w
            JOIN coupon_template t ON t.id = w.template_id AND t.merchant_id = w.merchant_id
            WHERE w.broadcast_id = :id ORDER BY w.variant LIMIT 1"""),
        {"id": broadcast_id},
    ).one_or_none()
    if row is None:
        return None
    path = f"/m/c/{row.public_id}?{BY_BROADCAST}={broadcast_id}"
    counted = session.execute(
        text("""
            WITH mine AS (SELECT id FROM coupon WHERE template_id = :template_id AND cause = :cause)
            SELECT (SELECT count(*) FROM mine) AS taken,
                   (SELECT count(DISTINCT r.coupon_id) FROM redemption r
                    WHERE r.coupon_id IN (SELECT id FROM mine) AND r.reversed_at IS NULL) AS redeemed,
                   count(p.id) AS taps, count(DISTINCT p.visitor) AS visitors
            FROM short_link l JOIN link_tap p ON p.link_id = l.id
            WHERE l.broadcast_id = :id AND right(l.target, length(CAST(:path AS text))) = CAST(:path AS text)"""),
        {"id": broadcast_id, "template_id": row.id, "cause": f"broadcast:{broadcast_id}", "path": path},
    ).one()
    return Taken(Card(*row), counted.taps, counted.visitors, counted.taken, counted.redeemed)
