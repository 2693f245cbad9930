"""What a person holds, as owners' pages and the chat show it, in the person's own transaction or the platform's."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from campaigns.coupons import validity
from campaigns.coupons.models import Channel, CouponState
from campaigns.coupons.validity import Line, Refused
from core.errors import NotFound, Phrase

LIVE: Final = (CouponState.ISSUED, CouponState.RESERVED)
PAST: Final = (CouponState.REDEEMED, CouponState.EXPIRED, CouponState.REVOKED, CouponState.GIVEN_AWAY)
STATE_WORDS: Final = {
    CouponState.ISSUED: Phrase("可以用"),
    CouponState.RESERVED: Phrase("正在结账"),
    CouponState.REDEEMED: Phrase("已用"),
    CouponState.EXPIRED: Phrase("已过期"),
    CouponState.REVOKED: Phrase("已收回"),
    CouponState.GIVEN_AWAY: Phrase("已转给别人"),
}


@dataclass(frozen=True)
class Held:
    """One coupon of a person."""

    id: int
    public_id: str
    template_id: int
    merchant_id: int
    merchant_name: str
    name: str
    headline: Line
    lines: list[Line]
    """Everything said about it, the benefit first, with its own dates."""
    terms: str
    picture_id: int | None
    state: CouponState
    uses: int
    uses_left: int
    valid_from: datetime
    valid_to: datetime
    ended_at: datetime | None
    refused: Refused | None
    """Why it cannot be used at this moment, for one that is live."""
    channel: Channel
    is_transferable: bool
    is_offered: bool
    """A link to pass it on is out."""
    was_passed_on: bool
    """A neighbour gave it."""

    @property
    def state_words(self) -> Phrase:
        return STATE_WORDS[self.state]


_HELD: Final = """
    SELECT c.id, c.public_id, c.template_id, c.merchant_id, coalesce(m.name, '') AS merchant_name, c.state, c.uses,
           c.uses_left, c.valid_from AS held_from, c.valid_to AS held_to, c.ended_at, c.channel,
           c.passed_from_id IS NOT NULL AS was_passed_on, t.name, t.kind, t.terms, t.picture_id, t.value_fen,
           t.percent_off, t.min_spend_fen, t.valid_from, t.valid_to, t.starts_after_days, t.lasts_days, t.weekdays,
           t.hours, t.except_dates, t.per_person, t.first_only, t.is_transferable,
           EXISTS (SELECT 1 FROM coupon_gift g WHERE g.coupon_id = c.id AND g.taken_at IS NULL
                   AND g.cancelled_at IS NULL AND g.expires_at > :now) AS is_offered
    FROM coupon c JOIN coupon_template t ON t.id = c.template_id LEFT JOIN merchant m ON m.id = c.merchant_id
    WHERE c.follower_id = :follower"""
_OF_PERSON: Final = text(f"""
    {_HELD} AND c.state = ANY(:states) AND (CAST(:merchant AS bigint) IS NULL OR c.merchant_id = :merchant)
    ORDER BY (c.state IN ('issued', 'reserved')) DESC,
             CASE WHEN c.state IN ('issued', 'reserved') THEN c.valid_to END, c.id DESC
    LIMIT :limit""")
_ONE: Final = text(f"{_HELD} AND c.public_id = :public_id")


def coupons_of(
    session: Session,
    *,
    follower_id: int,
    now: datetime,
    states: Sequence[CouponState] = LIVE,
    merchant_id: int | None = None,
    limit: int = 100,
) -> list[Held]:
    """A person's coupons, of all merchants or one: those that end first come first, past ones newest first."""
    asked = {
        "follower": follower_id, "now": now, "states": list(states), "merchant": merchant_id, "limit": limit,
    }  # fmt: skip
    rows = session.execute(_OF_PERSON, asked).all()
    return [_held(row, now) for row in rows]


def coupon(session: Session, *, follower_id: int, public_id: str, now: datetime) -> Held:
    """One of a person's own; somebody else's is missing."""
    found = session.execute(_ONE, {"follower": follower_id, "public_id": public_id, "now": now}).one_or_none()
    if found is None:
        raise NotFound("没有这张券。")
    return _held(found, now)


def count_live(session: Session, *, follower_id: int, now: datetime) -> int:
    """How many a person could still use."""
    counted = text("""
        SELECT count(*) FROM coupon
        WHERE follower_id = :follower AND state IN ('issued', 'reserved') AND valid_to > :now""")
    return int(session.execute(counted, {"follower": follower_id, "now": now}).scalar_one())


def _held(row: Row[Any], now: datetime) -> Held:
    state = CouponState(row.state)
    headline, _, *rest = validity.describe(row)
    refused = None
    if state in LIVE:
        refused = validity.why_not(row, valid_from=row.held_from, valid_to=row.held_to, at=now)
        # The minute between its end and the job that says so.
        state = CouponState.EXPIRED if refused is Refused.OVER else state
    return Held(
        id=row.id,
        public_id=row.public_id,
        template_id=row.template_id,
        merchant_id=row.merchant_id,
        merchant_name=row.merchant_name,
        name=row.name,
        headline=headline,
        lines=[headline, validity.period_line(row.held_from, row.held_to), *rest],
        terms=row.terms,
        picture_id=row.picture_id,
        state=state,
        uses=row.uses,
        uses_left=row.uses_left,
        valid_from=row.held_from,
        valid_to=row.held_to,
        ended_at=row.ended_at,
        refused=refused,
        channel=Channel(row.channel),
        is_transferable=row.is_transferable,
        is_offered=row.is_offered,
        was_passed_on=row.was_passed_on,
    )
