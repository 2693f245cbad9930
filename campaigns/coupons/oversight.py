"""What the operator sees of all merchants' coupons: what is out, what it may cost, who redeemed their own, and whom
the operator lets claim nothing (CO-9)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Row, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from campaigns.coupons.models import BenefitBlock, CouponTemplate, Redemption, TemplateState
from core.errors import BusinessError, NotFound, Phrase
from merchants.models import Follower, Merchant, Staff
from merchants.wording import clean

REASON_MAX: Final = 200


class AlreadyBlocked(BusinessError):
    code = "already_blocked"
    message = "这个人已经停领了。"


@dataclass(frozen=True)
class Kind:
    """A kind of coupons with whose it is."""

    template: CouponTemplate
    merchant_name: str
    redeemed: int


@dataclass(frozen=True)
class Owed:
    """What one merchant has promised and not yet kept."""

    merchant_id: int
    merchant_name: str
    coupons: int
    fen: int
    points: int


def kinds(
    session: Session, *, state: TemplateState | None = None, before: int | None = None, limit: int = 50
) -> list[Kind]:
    """Every merchant's kinds of coupons, the newest first."""
    redeemed = (
        select(func.count())
        .where(Redemption.template_id == CouponTemplate.id, Redemption.reversed_at.is_(None))
        .scalar_subquery()
    )
    wanted = select(CouponTemplate, Merchant.name, redeemed).join(Merchant, Merchant.id == CouponTemplate.merchant_id)
    if state is not None:
        wanted = wanted.where(CouponTemplate.state == state)
    if before is not None:
        wanted = wanted.where(CouponTemplate.id < before)
    rows = session.execute(wanted.order_by(CouponTemplate.id.desc()).limit(limit))
    return [Kind(*row) for row in rows.all()]


def owed(session: Session) -> list[Owed]:
    """What all merchants have out, the largest promise first."""
    rows = session.execute(
        text("""
            WITH held AS (
                SELECT merchant_id, count(*) AS coupons, sum(worth_fen / uses * uses_left) AS fen
                FROM coupon WHERE state IN ('issued', 'reserved') AND valid_to > app_now() GROUP BY merchant_id),
            earned AS (
                SELECT merchant_id, sum(balance) AS points
                FROM points_account WHERE kind <> 'issued' GROUP BY merchant_id)
            SELECT m.id, m.name, coalesce(h.coupons, 0), coalesce(h.fen, 0), coalesce(e.points, 0)
            FROM merchant m LEFT JOIN held h ON h.merchant_id = m.id LEFT JOIN earned e ON e.merchant_id = m.id
            WHERE coalesce(h.coupons, 0) > 0 OR coalesce(e.points, 0) > 0
            ORDER BY coalesce(h.fen, 0) DESC, m.id""")
    )
    return [Owed(row[0], row[1], int(row[2]), int(row[3]), int(row[4])) for row in rows]


def blocked(session: Session) -> Sequence[Row[int, str, datetime, str]]:
    """Whom the operator lets claim nothing, the latest first."""
    rows = (
        select(BenefitBlock.follower_id, BenefitBlock.reason, BenefitBlock.blocked_at, Staff.name.label("by"))
        .outerjoin(Staff, Staff.id == BenefitBlock.blocked_by)
        .order_by(BenefitBlock.blocked_at.desc())
        .limit(500)
    )
    return session.execute(rows).all()


def block_of(session: Session, follower_id: int) -> BenefitBlock | None:
    """Why and since when somebody may claim nothing."""
    found: BenefitBlock | None = session.get(BenefitBlock, follower_id)
    return found


def person(session: Session, follower_id: int) -> Follower:
    """Whom it is about; raises `NotFound`."""
    found: Follower | None = session.get(Follower, follower_id)
    if found is None:
        raise NotFound("没有这个人。")
    return found


def block(session: Session, *, follower_id: int, reason: str, operator_id: int, now: datetime) -> None:
    """Let somebody claim nothing any more; what they hold stays theirs.

    Raises `Invalid` for a reason that says nothing, or `AlreadyBlocked`.
    """
    values = {
        "follower_id": follower_id, "reason": _reason(reason), "blocked_by": operator_id, "blocked_at": now,
    }  # fmt: skip
    new = insert(BenefitBlock).values(values).on_conflict_do_nothing().returning(BenefitBlock.follower_id)
    if session.scalar(new) is None:
        raise AlreadyBlocked


def lift(session: Session, *, follower_id: int, reason: str) -> str:
    """Let somebody claim again; returns the reason as it is kept. Raises `Invalid` or `NotFound`."""
    reason = _reason(reason)
    found = block_of(session, follower_id)
    if found is None:
        raise NotFound("这个人没有停领。")
    session.delete(found)
    session.flush()
    return reason


def _reason(reason: str) -> str:
    return clean(reason, name=Phrase("原因"), field="reason", longest=REASON_MAX, is_required=True, lines=True)
