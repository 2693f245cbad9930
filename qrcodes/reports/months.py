"""A merchant's month in figures: which months there are to tell of, and what each of them tells.

Only whole days are told, so that days compare with days: the running month goes up to yesterday. All figures are those
of the pages, read from the daily counts.
"""

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from sqlalchemy.orm import Session

from core.clock import business_day, start_of_day
from core.errors import NotFound
from merchants.models import Merchant
from qrcodes import insights, rollups, traffic
from qrcodes.insights import CodeShare, Gap
from qrcodes.traffic import Counts, DayTraffic, Range

_NAME: Final = re.compile(r"20\d\d-(?:0[1-9]|1[0-2])")


@dataclass(frozen=True)
class Month:
    """A month of the Shanghai calendar, by its first day."""

    first: date

    @classmethod
    def named(cls, name: str) -> "Month":
        """The month 2026-11; raises `NotFound` for what is none."""
        if not _NAME.fullmatch(name):
            raise NotFound("没有这个月份。")
        return cls(date.fromisoformat(f"{name}-01"))

    @classmethod
    def of(cls, day: date) -> "Month":
        return cls(day.replace(day=1))

    @property
    def name(self) -> str:
        return f"{self.first:%Y-%m}"

    @property
    def last(self) -> date:
        return self.next.first - timedelta(days=1)

    @property
    def next(self) -> "Month":
        return Month.of(self.first + timedelta(days=31))

    @property
    def former(self) -> "Month":
        return Month.of(self.first - timedelta(days=1))


@dataclass(frozen=True)
class MonthStory:
    """What happened for a merchant in a month."""

    month: Month
    span: Range
    """The days that are told."""
    counts: Counts
    following: int
    """People it brought who still followed when the last of them was over."""
    former_span: Range | None
    """What it is compared with; None when the merchant was not here yet."""
    former: Counts | None
    former_following: int | None
    days: list[DayTraffic]
    codes: list[CodeShare]
    gaps: list[Gap]
    counted_until: datetime
    """What happened up to here is in the figures."""

    @property
    def is_running(self) -> bool:
        return self.span.until < self.month.last

    @property
    def is_empty(self) -> bool:
        return self.counts == Counts()

    @property
    def incomplete_days(self) -> frozenset[date]:
        """Days in part of which events could not be taken in."""
        return frozenset(
            day
            for day in self.span.days
            for gap in self.gaps
            if gap.began_at < start_of_day(day + timedelta(days=1)) and gap.ended_at > start_of_day(day)
        )


def months(merchant: Merchant, now: datetime) -> list[Month]:
    """Every month that has a day to tell since the merchant was admitted, the newest first."""
    yesterday = business_day(now) - timedelta(days=1)
    month, admitted = Month.of(yesterday), business_day(merchant.created_at)
    found = []
    while admitted <= yesterday and month.last >= admitted:
        found.append(month)
        month = month.former
    return found


def told(month: Month, now: datetime) -> Range:
    """The days of a month that are over; raises `NotFound` while there are none."""
    yesterday = business_day(now) - timedelta(days=1)
    if yesterday < month.first:
        raise NotFound("这个月还没有过完一天，过完第一天才有月报。")
    return Range(month.first, min(month.last, yesterday))


def read(session: Session, merchant: Merchant, month: Month, now: datetime) -> MonthStory:
    """A merchant's month; raises `NotFound` for one of which there is nothing to tell.

    Needs no more than the merchant's rights.
    """
    span = told(month, now)
    if span.until < business_day(merchant.created_at):
        raise NotFound("那时候这家店还没有入驻，没有月报。")
    former_span = _former(month, span, merchant)
    return MonthStory(
        month=month,
        span=span,
        counts=traffic.total(session, span, merchant_id=merchant.id),
        following=traffic.following_after(session, span.until, merchant_id=merchant.id),
        former_span=former_span,
        former=traffic.total(session, former_span, merchant_id=merchant.id) if former_span else None,
        former_following=(
            traffic.following_after(session, former_span.until, merchant_id=merchant.id) if former_span else None
        ),
        days=traffic.by_day(session, span, merchant_id=merchant.id),
        codes=insights.by_code(session, span, merchant_id=merchant.id, now=now),
        gaps=insights.gaps(session, span),
        # Counting goes on after the last of these days, and what it then counts is not theirs.
        counted_until=min(rollups.counted_at(session), span.bounds[1]),
    )


def _former(month: Month, span: Range, merchant: Merchant) -> Range | None:
    """The month before; of one that is running its first days, as many as are told of this one."""
    former = month.former
    until = former.last if span.until == month.last else min(former.last, former.first + (span.until - span.since))
    return Range(former.first, until) if until >= business_day(merchant.created_at) else None
