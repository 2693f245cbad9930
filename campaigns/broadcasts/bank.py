"""The quota bank: each follower's four mass slots a month, and each merchant's share of them.

Slots are reserved and released by conditional statements alone (BC-4, BC-5): whoever comes second to the last one
is told no, on however many machines. A reservation lasts from batching on; only what certainly was not sent
gives it back, once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from core.clock import SHANGHAI, business_day
from wechat.limits import MASS_PER_FOLLOWER_MONTH

BOUNDARY: Final = timedelta(seconds=120)
"""No mass call starts so near to the end of a month: our clock and the platform's may differ (BC-6)."""


@dataclass(frozen=True)
class Policy:
    """How the account's common goods are shared (`QuotaPolicy`)."""

    slots_kept: int
    share_base: int
    share_per_kept: int
    week_most: int
    calls_per_day: int
    calls_kept: int
    batch_size: int
    quiet_from: time
    quiet_until: time
    holidays: tuple[date, ...]
    hello_days_most: int
    groups_most: int
    repeats_unknown: bool

    def slots(self, merchant_id: int | None) -> int:
        """How many of a follower's slots a month a sender may use; without a merchant it is the platform."""
        return MASS_PER_FOLLOWER_MONTH - (0 if merchant_id is None else self.slots_kept)

    def is_quiet(self, now: datetime) -> bool:
        """Whether nothing unasked goes out at this moment."""
        here = now.astimezone(SHANGHAI)
        at = here.time()
        if self.quiet_from <= self.quiet_until:
            is_night = self.quiet_from <= at < self.quiet_until
        else:
            is_night = at >= self.quiet_from or at < self.quiet_until
        return is_night or here.date() in self.holidays

    def opens_at(self, moment: datetime) -> datetime:
        """The first moment from this one on that is not quiet."""
        here = moment.astimezone(SHANGHAI)
        while self.is_quiet(here):
            morning = datetime.combine(here.date(), self.quiet_until, SHANGHAI)
            is_over = here.date() in self.holidays or morning <= here
            here = morning + timedelta(days=1) if is_over else morning
        return here


@dataclass(frozen=True)
class Share:
    """What a merchant may send by mass in a month, counted in recipients."""

    base: int
    earned: int
    used: int

    @property
    def left(self) -> int:
        return max(self.base + self.earned - self.used, 0)


def policy(session: Session) -> Policy:
    """The policy in force."""
    row = session.execute(
        text("""
            SELECT slots_kept, share_base, share_per_kept, week_most, calls_per_day, calls_kept, batch_size,
                   quiet_from, quiet_until, holidays, hello_days_most, groups_most, repeats_unknown
            FROM quota_policy""")
    ).one()
    return Policy(**{**row._mapping, "holidays": tuple(row.holidays)})


def month_of(moment: datetime) -> date:
    """The first day of the Shanghai month of a moment."""
    return business_day(moment).replace(day=1)


def month_before(month: date) -> date:
    """The first day of the month before."""
    return (month - timedelta(days=1)).replace(day=1)


def month_after(month: date) -> date:
    """The first day of the month after, on which everything is counted anew."""
    return (month + timedelta(days=31)).replace(day=1)


def week_of(moment: datetime) -> date:
    """The Monday of the Shanghai week of a moment."""
    day = business_day(moment)
    return day - timedelta(days=day.weekday())


def is_near_boundary(moment: datetime) -> bool:
    """Whether a month begins or ends within `BOUNDARY` (BC-6)."""
    return month_of(moment - BOUNDARY) != month_of(moment + BOUNDARY)


def sends_to_everybody(session: Session, month: date) -> int:
    """How many of everybody's slots of a month went to sends that are not ours (BC-7)."""
    return int(
        session.execute(
            text("""
                SELECT count(*) FROM mass_report
                WHERE counts_for_everybody
                  AND date_trunc('month', reported_at AT TIME ZONE 'Asia/Shanghai')::date = :month"""),
            {"month": month},
        ).scalar_one()
    )


def share(session: Session, merchant_id: int, month: date, policy: Policy) -> Share:
    """A merchant's share of a month: a base, and more for the followers it lately brought and kept."""
    kept, used = session.execute(
        text("""
            SELECT coalesce((SELECT people FROM merchant_standing WHERE merchant_id = :merchant), 0),
                   coalesce((SELECT used FROM merchant_month_quota
                             WHERE merchant_id = :merchant AND month = :month), 0)"""),
        {"merchant": merchant_id, "month": month},
    ).one()
    return Share(policy.share_base, policy.share_per_kept * kept, used)


@dataclass(frozen=True)
class Reserved:
    """What came of a reservation: who has a slot now, and why the others have none."""

    follower_ids: frozenset[int]
    over_month: frozenset[int]
    over_week: frozenset[int]
    over_share: frozenset[int]


def reserve(
    session: Session, follower_ids: Sequence[int], *, merchant_id: int | None, now: datetime, policy: Policy
) -> Reserved:
    """Take a slot of this month for each follower who has one left, as far as the merchant's share goes.

    Of the share, who stands first in `follower_ids` is served first. Whoever asks for the same share waits for
    this transaction's end; fans are locked in one order, so two merchants never wait for each other.
    """
    month = month_of(now)
    given = {
        "month": month,
        "before": month_before(month),
        "week": week_of(now),
        "week_most": policy.week_most,
        "cap": policy.slots(merchant_id) - sends_to_everybody(session, month),
    }
    allowed = list(follower_ids)
    if merchant_id is not None:
        left = _lock_share(session, merchant_id, month, policy)
        if left < len(allowed):
            # The share is for those who can be reached at all.
            full = set(session.execute(_FULL, {**given, "followers": allowed}).scalars())
            free = set([one for one in allowed if one not in full][:left])
            allowed = [one for one in allowed if one in full or one in free]
    over_share = frozenset(follower_ids) - frozenset(allowed)
    taken = frozenset(session.execute(_RESERVE, {**given, "followers": allowed}).scalars())
    if merchant_id is not None:
        session.execute(
            text("UPDATE merchant_month_quota SET used = used + :n WHERE merchant_id = :id AND month = :month"),
            {"n": len(taken), "id": merchant_id, "month": month},
        )
    refused = [one for one in allowed if one not in taken]
    over_month = (
        frozenset(session.execute(_MONTH_FULL, {**given, "followers": refused}).scalars()) if refused else frozenset()
    )
    return Reserved(taken, over_month, frozenset(refused) - over_month, over_share)


def _lock_share(session: Session, merchant_id: int, month: date, policy: Policy) -> int:
    """Hold a merchant's share until the transaction ends; returns what is left of it."""
    row = {"id": merchant_id, "month": month}
    session.execute(
        text("INSERT INTO merchant_month_quota (merchant_id, month) VALUES (:id, :month) ON CONFLICT DO NOTHING"), row
    )
    session.execute(
        text("SELECT 1 FROM merchant_month_quota WHERE merchant_id = :id AND month = :month FOR UPDATE"), row
    )
    return share(session, merchant_id, month, policy).left


# A row of this month that is not there yet takes the week over from last month's: weeks do not end with months.
_RESERVE: Final = text("""
    INSERT INTO fan_month_quota AS q (follower_id, month, used, week, week_used)
    SELECT w.follower_id, :month, 1, :week, CASE WHEN p.week = :week THEN p.week_used ELSE 0 END + 1
    FROM unnest(CAST(:followers AS bigint[])) AS w(follower_id)
    LEFT JOIN fan_month_quota p ON p.follower_id = w.follower_id AND p.month = :before
    LEFT JOIN fan_month_quota t ON t.follower_id = w.follower_id AND t.month = :month
    WHERE :cap >= 1 AND (t.follower_id IS NOT NULL OR CASE WHEN p.week = :week THEN p.week_used ELSE 0 END < :week_most)
    ORDER BY w.follower_id
    ON CONFLICT (follower_id, month) DO UPDATE
        SET used = q.used + 1, week = :week, week_used = CASE WHEN q.week = :week THEN q.week_used ELSE 0 END + 1
        WHERE q.used < :cap AND CASE WHEN q.week = :week THEN q.week_used ELSE 0 END < :week_most
    RETURNING follower_id""")
_OF_THESE: Final = """
    FROM unnest(CAST(:followers AS bigint[])) AS w(follower_id)
    LEFT JOIN fan_month_quota q ON q.follower_id = w.follower_id AND q.month = :month
    LEFT JOIN fan_month_quota p ON p.follower_id = w.follower_id AND p.month = :before"""
_MONTH_FULL: Final = text(f"SELECT w.follower_id {_OF_THESE} WHERE coalesce(q.used, 0) >= :cap")
_FULL: Final = text(f"""
    SELECT w.follower_id {_OF_THESE}
    WHERE coalesce(q.used, 0) >= :cap
       OR CASE WHEN coalesce(q.week, p.week) = :week
               THEN coalesce(q.week_used, p.week_used) ELSE 0 END >= :week_most""")


def release(session: Session, follower_ids: Sequence[int], *, merchant_id: int | None, month: date, week: date) -> None:
    """Give back slots that certainly were not used. The caller changes the state they hung on in this transaction."""
    if not follower_ids:
        return
    if merchant_id is not None:
        session.execute(
            text("UPDATE merchant_month_quota SET used = used - :n WHERE merchant_id = :id AND month = :month"),
            {"n": len(follower_ids), "id": merchant_id, "month": month},
        )
    session.execute(
        text("""
            WITH mine AS (
                SELECT follower_id FROM fan_month_quota
                WHERE follower_id = ANY(:followers) AND month = :month
                ORDER BY follower_id FOR UPDATE)
            UPDATE fan_month_quota q
            SET used = q.used - 1,
                week_used = q.week_used - CASE WHEN q.week = :week AND q.week_used > 0 THEN 1 ELSE 0 END
            FROM mine WHERE q.follower_id = mine.follower_id AND q.month = :month"""),
        {"followers": list(follower_ids), "month": month, "week": week},
    )
