"""Who used what of the month and of the day, as the pages about the quota show it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from campaigns.broadcasts import bank
from campaigns.broadcasts.bank import Share
from core.clock import business_day
from wechat.limits import MASS_PER_FOLLOWER_MONTH


class Sort(StrEnum):
    """By what merchants are listed, the greatest first."""

    USED = "used"
    LEFT = "left"
    SHARE = "share"
    CALLS = "calls"


@dataclass(frozen=True)
class MerchantUse(Share):
    """One merchant's share of the month, and its calls of today."""

    merchant_id: int
    name: str
    kept_followers: int
    calls: int
    allotted: int


@dataclass(frozen=True)
class ForeignSend:
    """A finished mass send that was none of ours."""

    msg_id: int
    reported_at: datetime
    status: str
    total: int
    sent: int
    counts_for_everybody: bool
    label: str | None
    note: str


def slots(session: Session, now: datetime, *, merchant_id: int | None = None) -> list[int]:
    """How many of the followers have used 0, 1, 2, 3 and 4 of this month's slots; of one merchant's fans, where asked.

    A send from elsewhere that went to everybody is one of everybody's.
    """
    month = bank.month_of(now)
    everybodys = min(bank.sends_to_everybody(session, month), MASS_PER_FOLLOWER_MONTH)
    if merchant_id is None:
        whose = "follower f"
    else:
        whose = "fan n JOIN follower f ON f.id = n.follower_id AND n.merchant_id = :merchant AND n.erased_at IS NULL"
    rows = session.execute(
        text(f"""
            SELECT least(coalesce(q.used, 0) + :everybodys, :most) AS used, count(*) AS people
            FROM {whose} LEFT JOIN fan_month_quota q ON q.follower_id = f.id AND q.month = :month
            WHERE f.status = 'following' GROUP BY 1"""),
        {
            "month": month,
            "everybodys": everybodys,
            "most": MASS_PER_FOLLOWER_MONTH,
            **({} if merchant_id is None else {"merchant": merchant_id}),
        },
    )
    people = {row.used: row.people for row in rows}
    return [people.get(used, 0) for used in range(MASS_PER_FOLLOWER_MONTH + 1)]


def merchants(
    session: Session,
    now: datetime,
    *,
    words: str = "",
    sort: Sort = Sort.USED,
    merchant_id: int | None = None,
    limit: int | None = None,
    skip: int = 0,
) -> Sequence[MerchantUse]:
    """The merchants and what they used of their shares, those with the most of what is sorted by first."""
    policy = bank.policy(session)
    rows = session.execute(
        text(f"""
            SELECT * FROM (
                SELECT m.id AS merchant_id, m.name, coalesce(s.people, 0) AS kept_followers,
                       CAST(:base AS integer) AS base, CAST(:per_kept AS integer) * coalesce(s.people, 0) AS earned,
                       coalesce(q.used, 0) AS used, coalesce(a.used, 0) AS calls,
                       coalesce(a.allotted, 0) AS allotted
                FROM merchant m
                LEFT JOIN merchant_standing s ON s.merchant_id = m.id
                LEFT JOIN merchant_month_quota q ON q.merchant_id = m.id AND q.month = :month
                LEFT JOIN call_allotment a ON a.merchant_id = m.id AND a.day = :day
                WHERE position(lower(:words) IN lower(m.name)) > 0
                  AND CASE WHEN CAST(:merchant AS bigint) IS NULL THEN m.state = 'active' OR q.used > 0
                           ELSE m.id = :merchant END) u
            ORDER BY {_ORDER[sort]} DESC, merchant_id LIMIT :limit OFFSET :skip"""),
        {
            "base": policy.share_base,
            "per_kept": policy.share_per_kept,
            "month": bank.month_of(now),
            "day": business_day(now),
            "words": words,
            "merchant": merchant_id,
            "limit": limit,
            "skip": skip,
        },
    )
    return [MerchantUse(**row._mapping) for row in rows]


_ORDER: Final = {
    Sort.USED: "used",
    Sort.LEFT: "greatest(base + earned - used, 0)",
    Sort.SHARE: "base + earned",
    Sort.CALLS: "calls",
}


def foreign_sends(session: Session, *, before: int | None = None, limit: int = 50) -> Sequence[ForeignSend]:
    """Mass sends that were none of ours, the newest first."""
    rows = session.execute(
        text("""
            SELECT msg_id, reported_at, status, total, sent, counts_for_everybody, label, note
            FROM mass_report r
            WHERE is_foreign AND (CAST(:before AS bigint) IS NULL OR (reported_at, msg_id) <
                  (SELECT reported_at, msg_id FROM mass_report WHERE msg_id = :before))
            ORDER BY reported_at DESC, msg_id DESC LIMIT :limit"""),
        {"before": before, "limit": limit},
    )
    return [ForeignSend(**row._mapping) for row in rows]


def foreign_unlabelled(session: Session) -> int:
    """How many of them nobody said anything about."""
    return int(
        session.execute(text("SELECT count(*) FROM mass_report WHERE is_foreign AND label IS NULL")).scalar_one()
    )


@dataclass(frozen=True)
class Sending:
    """Whether the account sends, and if not, since when, why and until when."""

    paused_at: datetime | None = None
    resume_at: datetime | None = None
    reason: str = ""


def sending(session: Session) -> Sending:
    """Whether the account sends at all."""
    row = session.execute(text("SELECT paused_at, resume_at, reason FROM sending_state")).one_or_none()
    return Sending() if row is None else Sending(row.paused_at, row.resume_at, row.reason)
