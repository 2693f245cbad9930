"""What became of coupons: the life of a template, the log of redemptions, and what is still promised.

Everything is counted from rows. Under a merchant's role a query sees that merchant's; under the platform's,
`merchant_id` None is everybody.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final, Literal

from sqlalchemy import text
from sqlalchemy.orm import Session

from campaigns.coupons.models import CouponState
from core.clock import start_of_day

AT_ONCE: Final = 1_000


# ---- The life of a template ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Life:
    """A template's coupons by what they are now, and what their redemptions were worth.

    `issued` is all that were given, from the stock; one passed on to a neighbour counts once. A coupon past its time is
    expired, whether or not the nightly job has said so yet.
    """

    issued: int = 0
    live: int = 0
    redeemed: int = 0
    """Coupons that are used up."""
    expired: int = 0
    revoked: int = 0
    passed_on: int = 0
    uses: int = 0
    """Redemptions that stand; of a card for five visits up to five."""
    reversed: int = 0
    discount_fen: int = 0
    bill_fen: int = 0
    """What the bills with it came to, where they were typed in."""
    first_here: int = 0
    """Redemptions that were a person's first at the shop."""


@dataclass(frozen=True)
class OfCode:
    """What came of one of the merchant's codes; `code_id` None for what came by no code."""

    code_id: int | None
    label: str
    issued: int
    uses: int
    discount_fen: int


@dataclass(frozen=True)
class OfChannel:
    channel: str
    issued: int
    uses: int
    discount_fen: int


@dataclass(frozen=True)
class OfDay:
    """One Shanghai day: what was given on it, and what was redeemed on it."""

    day: date
    issued: int
    uses: int
    discount_fen: int


def life(session: Session, *, merchant_id: int, template_id: int, now: datetime) -> Life:
    """The numbers of one template."""
    return lives(session, merchant_id=merchant_id, template_ids=[template_id], now=now)[template_id]


def lives(
    session: Session, *, merchant_id: int | None = None, template_ids: Sequence[int], now: datetime
) -> dict[int, Life]:
    """The numbers of several, with two statements for all of them."""
    given = {"merchant": merchant_id, "templates": list(template_ids), "now": now}
    coupons = {row[0]: tuple(row[1:]) for row in session.execute(_LIFE, given)}
    uses = {row[0]: tuple(row[1:]) for row in session.execute(_USES, given)}
    return {one: Life(*coupons.get(one, (0,) * 6), *uses.get(one, (0,) * 5)) for one in template_ids}


def by_code(session: Session, *, merchant_id: int, template_id: int) -> list[OfCode]:
    """By which of its codes the coupons came, and what became of them."""
    return [OfCode(*row) for row in session.execute(_BY_CODE, {"merchant": merchant_id, "template": template_id})]


def by_channel(session: Session, *, merchant_id: int, template_id: int) -> list[OfChannel]:
    """By which ways the coupons came, and what became of them."""
    rows = session.execute(_BY_CHANNEL, {"merchant": merchant_id, "template": template_id})
    return [OfChannel(*row) for row in rows]


def by_day(session: Session, *, merchant_id: int, template_id: int, since: date, until: date) -> list[OfDay]:
    """Every day from `since` to `until`, both included, those on which nothing happened too."""
    rows = session.execute(_BY_DAY, {"merchant": merchant_id, "template": template_id, "since": since, "until": until})
    return [OfDay(*row) for row in rows]


_LIFE: Final = text("""
    SELECT template_id, count(*) FILTER (WHERE passed_from_id IS NULL),
           count(*) FILTER (WHERE state IN ('issued', 'reserved') AND valid_to > :now),
           count(*) FILTER (WHERE state = 'redeemed'),
           count(*) FILTER (WHERE state = 'expired' OR (state IN ('issued', 'reserved') AND valid_to <= :now)),
           count(*) FILTER (WHERE state = 'revoked'),
           count(*) FILTER (WHERE state = 'given_away')
    FROM coupon
    WHERE template_id = ANY(:templates) AND (CAST(:merchant AS bigint) IS NULL OR merchant_id = :merchant)
    GROUP BY template_id""")
_USES: Final = text("""
    SELECT template_id, count(*) FILTER (WHERE reversed_at IS NULL), count(reversed_at),
           coalesce(sum(discount_fen) FILTER (WHERE reversed_at IS NULL), 0)::bigint,
           coalesce(sum(bill_fen) FILTER (WHERE reversed_at IS NULL), 0)::bigint,
           count(*) FILTER (WHERE reversed_at IS NULL AND is_first_here)
    FROM redemption
    WHERE template_id = ANY(:templates) AND (CAST(:merchant AS bigint) IS NULL OR issuer_id = :merchant)
    GROUP BY template_id""")
_BY_CODE: Final = text("""
    SELECT c.code_id, coalesce(q.label, ''), count(*) FILTER (WHERE c.passed_from_id IS NULL),
           coalesce(sum(r.uses), 0)::bigint, coalesce(sum(r.fen), 0)::bigint
    FROM coupon c
    LEFT JOIN sub_qr_code q ON q.id = c.code_id
    LEFT JOIN LATERAL (
        SELECT count(*) AS uses, sum(discount_fen) AS fen FROM redemption
        WHERE coupon_id = c.id AND reversed_at IS NULL) r ON true
    WHERE c.merchant_id = :merchant AND c.template_id = :template
    GROUP BY c.code_id, q.label ORDER BY 3 DESC, c.code_id""")
_BY_CHANNEL: Final = text("""
    SELECT c.channel, count(*) FILTER (WHERE c.passed_from_id IS NULL), coalesce(sum(r.uses), 0)::bigint,
           coalesce(sum(r.fen), 0)::bigint
    FROM coupon c
    LEFT JOIN LATERAL (
        SELECT count(*) AS uses, sum(discount_fen) AS fen FROM redemption
        WHERE coupon_id = c.id AND reversed_at IS NULL) r ON true
    WHERE c.merchant_id = :merchant AND c.template_id = :template
    GROUP BY c.channel ORDER BY 2 DESC, c.channel""")
_BY_DAY: Final = text("""
    WITH days AS (
        SELECT day::date FROM generate_series(CAST(:since AS timestamp), CAST(:until AS timestamp), '1 day') day),
    given AS (
        SELECT (given_at AT TIME ZONE 'Asia/Shanghai')::date AS day, count(*) AS issued
        FROM coupon WHERE merchant_id = :merchant AND template_id = :template AND passed_from_id IS NULL GROUP BY 1),
    used AS (
        SELECT (redeemed_at AT TIME ZONE 'Asia/Shanghai')::date AS day, count(*) AS uses, sum(discount_fen) AS fen
        FROM redemption WHERE issuer_id = :merchant AND template_id = :template AND reversed_at IS NULL GROUP BY 1)
    SELECT d.day, coalesce(g.issued, 0), coalesce(u.uses, 0), coalesce(u.fen, 0)::bigint
    FROM days d LEFT JOIN given g ON g.day = d.day LEFT JOIN used u ON u.day = d.day ORDER BY d.day""")


# ---- Who holds one ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Handed:
    """One coupon of a template, and what it is by now."""

    id: int
    public_id: str
    fan_number: str | None
    """None where its holder is in no list of the merchant's."""
    channel: str
    given_at: datetime
    state: str
    ended_at: datetime | None
    uses: int
    uses_left: int
    valid_to: datetime
    was_passed_on: bool
    """A neighbour gave it."""

    @property
    def is_live(self) -> bool:
        return self.state in {CouponState.ISSUED, CouponState.RESERVED}


def handed(
    session: Session,
    *,
    merchant_id: int,
    template_id: int,
    now: datetime,
    number: str | None = None,
    before: int | None = None,
    limit: int = 50,
) -> list[Handed]:
    """The coupons of a template, newest first, of everybody or of one fan by number."""
    rows = session.execute(
        _HANDED,
        {
            "merchant": merchant_id, "template": template_id, "now": now, "number": number, "before": before,
            "limit": limit,
        },
    )  # fmt: skip
    return [Handed(*row) for row in rows]


_HANDED: Final = text("""
    SELECT c.id, c.public_id, f.number, c.channel, c.given_at,
           CASE WHEN c.state IN ('issued', 'reserved') AND c.valid_to <= :now THEN 'expired' ELSE c.state END,
           c.ended_at, c.uses, c.uses_left, c.valid_to, c.passed_from_id IS NOT NULL
    FROM coupon c LEFT JOIN fan f ON f.merchant_id = c.merchant_id AND f.follower_id = c.follower_id
    WHERE c.merchant_id = :merchant AND c.template_id = :template
      AND (CAST(:number AS text) IS NULL OR f.number = :number)
      AND (CAST(:before AS bigint) IS NULL
           OR (c.given_at, c.id) < (SELECT given_at, id FROM coupon WHERE id = :before AND merchant_id = :merchant))
    ORDER BY c.given_at DESC, c.id DESC LIMIT :limit""")


# ---- The log ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LogRow:
    """One redemption, with the names that its numbers stand for."""

    id: int
    redeemed_at: datetime
    merchant_id: int
    merchant_name: str
    issuer_id: int
    issuer_name: str
    template_id: int
    template_name: str
    fan_number: str | None
    """In the list of the merchant where it was redeemed."""
    staff_id: int
    staff_name: str | None
    """None where the staff is another merchant's."""
    use_no: int
    bill_fen: int | None
    discount_fen: int
    is_first_here: bool
    is_own: bool
    reversed_at: datetime | None
    reversed_by: str | None
    reason: str | None
    is_valid_again: bool | None


@dataclass(frozen=True)
class LogFilter:
    """Which redemptions; empty fields leave all in. Without `merchant_id` those of all merchants.

    "here" are those at the merchant's own tills, "elsewhere" those of its coupons at others.
    """

    merchant_id: int | None = None
    where: Literal["here", "elsewhere", ""] = ""
    template_id: int | None = None
    staff_id: int | None = None
    since: date | None = None
    until: date | None = None
    """The last day, included."""
    reversed: bool | None = None
    own: bool | None = None


def redemptions(session: Session, wanted: LogFilter, *, before: int | None = None, limit: int = 50) -> list[LogRow]:
    """The log, newest first; `before` is the id of the last one that was seen."""
    rows = session.execute(_LOG, {**_values(wanted), "before": before, "limit": limit})
    return [LogRow(*row) for row in rows]


def all_redemptions(session: Session, wanted: LogFilter) -> Iterator[LogRow]:
    """All that match, page by page, for exports."""
    before: int | None = None
    while rows := redemptions(session, wanted, before=before, limit=AT_ONCE):
        yield from rows
        before = rows[-1].id


def own_dealings(session: Session, *, before: int | None = None, limit: int = 50) -> list[LogRow]:
    """Coupons redeemed by their own holder, everywhere: the operator's list of insiders."""
    return redemptions(session, LogFilter(own=True), before=before, limit=limit)


def _values(wanted: LogFilter) -> dict[str, object]:
    return {
        "merchant": wanted.merchant_id, "where": wanted.where, "template": wanted.template_id,
        "staff": wanted.staff_id, "since": start_of_day(wanted.since) if wanted.since else None,
        "until": start_of_day(date.fromordinal(wanted.until.toordinal() + 1)) if wanted.until else None,
        "reversed": wanted.reversed, "own": wanted.own,
    }  # fmt: skip


_LOG: Final = text("""
    SELECT r.id, r.redeemed_at, r.merchant_id, m.name, r.issuer_id, i.name, r.template_id, t.name, f.number,
           r.staff_id, s.name, r.use_no, r.bill_fen, r.discount_fen, r.is_first_here, r.is_own, r.reversed_at,
           b.name, v.reason, v.is_valid_again
    FROM redemption r
    JOIN merchant m ON m.id = r.merchant_id
    JOIN merchant i ON i.id = r.issuer_id
    JOIN coupon_template t ON t.id = r.template_id
    LEFT JOIN fan f ON f.merchant_id = r.merchant_id AND f.follower_id = r.follower_id
    LEFT JOIN staff s ON s.id = r.staff_id
    LEFT JOIN redemption_reversal v ON v.redemption_id = r.id
    LEFT JOIN staff b ON b.id = v.staff_id
    WHERE (CAST(:merchant AS bigint) IS NULL
           OR (r.merchant_id = :merchant AND :where <> 'elsewhere')
           OR (r.issuer_id = :merchant AND r.merchant_id <> :merchant AND :where <> 'here'))
      AND (CAST(:template AS bigint) IS NULL OR r.template_id = :template)
      AND (CAST(:staff AS bigint) IS NULL OR r.staff_id = :staff)
      AND (CAST(:since AS timestamptz) IS NULL OR r.redeemed_at >= :since)
      AND (CAST(:until AS timestamptz) IS NULL OR r.redeemed_at < :until)
      AND (CAST(:reversed AS boolean) IS NULL OR (r.reversed_at IS NOT NULL) = :reversed)
      AND (CAST(:own AS boolean) IS NULL OR r.is_own = :own)
      AND (CAST(:before AS bigint) IS NULL
           OR (r.redeemed_at, r.id) < (SELECT redeemed_at, id FROM redemption WHERE id = :before))
    ORDER BY r.redeemed_at DESC, r.id DESC LIMIT :limit""")


# ---- What is still promised ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Promised:
    """What the live coupons of one template could cost at most."""

    merchant_id: int
    merchant_name: str
    template_id: int
    template_name: str
    coupons: int
    uses: int
    fen: int
    is_unlimited: bool
    """A percentage without a cap: nobody can know what it will cost."""
    last_valid_to: datetime


@dataclass(frozen=True)
class Liability:
    """What a merchant has promised and not yet given: live coupons by template, and points that people hold."""

    templates: tuple[Promised, ...]
    points: int
    pending_points: int

    @property
    def coupons(self) -> int:
        return sum(one.coupons for one in self.templates)

    @property
    def fen(self) -> int:
        return sum(one.fen for one in self.templates)


def liability(session: Session, *, merchant_id: int | None, now: datetime) -> Liability:
    """What could still be asked for, the most expensive template first; without `merchant_id` of all merchants."""
    given = {"merchant": merchant_id, "now": now}
    points = session.execute(_POINTS, given).one()
    rows = session.execute(_PROMISED, given)
    return Liability(tuple(Promised(*row) for row in rows), points.held, points.pending)


_PROMISED: Final = text("""
    SELECT c.merchant_id, m.name, t.id, t.name, count(*), sum(c.uses_left)::bigint,
           sum(c.uses_left * (c.worth_fen / c.uses))::bigint, t.kind = 'percent' AND t.value_fen = 0, max(c.valid_to)
    FROM coupon c
    JOIN coupon_template t ON t.id = c.template_id
    JOIN merchant m ON m.id = c.merchant_id
    WHERE c.state IN ('issued', 'reserved') AND c.valid_to > :now
      AND (CAST(:merchant AS bigint) IS NULL OR c.merchant_id = :merchant)
    GROUP BY c.merchant_id, m.name, t.id, t.name, t.kind, t.value_fen
    ORDER BY 7 DESC, t.id""")
_POINTS: Final = text("""
    SELECT coalesce(sum(balance) FILTER (WHERE kind = 'fan'), 0)::bigint AS held,
           coalesce(sum(balance) FILTER (WHERE kind = 'pending'), 0)::bigint AS pending
    FROM points_account WHERE CAST(:merchant AS bigint) IS NULL OR merchant_id = :merchant""")
