"""A merchant's desk: when somebody sits there, and what the account says for it until somebody does.

The two texts are said to the public, so each version waits for the operator; until one is approved, the words we
bring along are said.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any, Final

from sqlalchemy import func, insert, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from bot.talks.models import DeskWords, TalkDesk, WordsKind
from core.clock import SHANGHAI, business_day
from core.errors import Invalid, Phrase
from merchants import sensitive_words
from merchants.reviews import ReviewState, decide
from merchants.wording import Finding, ListedWord, clean, lint, refuse_bad_wording

WORDS_MAX: Final = 200
RANGES_A_DAY: Final = 2
CLOSED_DAYS_MAX: Final = 60
NOTIFY_AFTER: Final = range(1, 721)
WEEKDAYS: Final = range(1, 8)
_HEARD: Final = (ReviewState.PENDING, ReviewState.APPROVED)

Range = tuple[time, time]
"""From when until when on one day; the end is not part of it, and midnight as an end is 00:00."""


@dataclass(frozen=True)
class Hours:
    """When somebody sits at the desk. Without any range somebody always does."""

    ranges: Mapping[int, tuple[Range, ...]] = field(default_factory=dict)
    """By weekday, 1 (Monday) to 7."""
    closed_days: frozenset[date] = frozenset()

    @property
    def are_set(self) -> bool:
        """Whether any hours were named."""
        return any(self.ranges.values())

    def of(self, day: date) -> tuple[Range, ...]:
        """The ranges of a Shanghai day."""
        if day in self.closed_days:
            return ()
        return tuple(self.ranges.get(day.isoweekday(), ())) if self.are_set else ((time.min, time.min),)

    def is_open(self, at: datetime) -> bool:
        """Whether somebody sits there at that moment."""
        local = at.astimezone(SHANGHAI)
        clock = local.time()
        return any(start <= clock and (clock < end or end == time.min) for start, end in self.of(local.date()))

    def opens_next(self, at: datetime) -> datetime | None:
        """When somebody comes next, within two weeks; None where nobody does, or somebody is there."""
        if self.is_open(at):
            return None
        day = business_day(at)
        for ahead in range(15):
            for start, _ in self.of(day + timedelta(days=ahead)):
                moment = datetime.combine(day + timedelta(days=ahead), start, SHANGHAI)
                if moment > at:
                    return moment
        return None

    def open_between(self, since: datetime, until: datetime) -> timedelta:
        """How much of a stretch of time lies within the hours."""
        total = timedelta(0)
        day, last = business_day(since), business_day(until)
        while day <= last:
            for start, end in self.of(day):
                opens = datetime.combine(day, start, SHANGHAI)
                closes = datetime.combine(day + timedelta(days=1) if end == time.min else day, end, SHANGHAI)
                total += max(timedelta(0), min(closes, until) - max(opens, since))
            day += timedelta(days=1)
        return total


@dataclass(frozen=True)
class Desk:
    """A merchant's settings, with the words that speak now: empty where ours do."""

    hours: Hours = Hours()
    asks_satisfaction: bool = False
    hands_over: bool = False
    notify_after: int = 2
    first_words: str = ""
    away_words: str = ""


PLAIN: Final = Desk()
"""The desk of a merchant that has set nothing."""


# ---- Reading ---------------------------------------------------------------------------------------------------------


def load(session: Session, merchant_ids: Collection[int]) -> dict[int, Desk]:
    """The desks of these merchants; who has set nothing is missing, and has `PLAIN`."""
    if not merchant_ids:
        return {}
    return {row[0]: _desk(row) for row in session.execute(text(LOAD), {"merchant_ids": list(merchant_ids)})}


def of(session: Session, merchant_id: int) -> Desk:
    """One merchant's desk."""
    return load(session, [merchant_id]).get(merchant_id, PLAIN)


LOAD: Final = """
    SELECT m.id, d.hours, d.closed_days, d.asks_satisfaction, d.hands_over, d.notify_after,
           (SELECT w.text FROM desk_words w WHERE w.merchant_id = m.id AND w.kind = 'first' AND w.review = 'approved'
            ORDER BY w.id DESC LIMIT 1) AS first_words,
           (SELECT w.text FROM desk_words w WHERE w.merchant_id = m.id AND w.kind = 'away' AND w.review = 'approved'
            ORDER BY w.id DESC LIMIT 1) AS away_words
    FROM merchant m LEFT JOIN talk_desk d ON d.merchant_id = m.id
    WHERE m.id = ANY(:merchant_ids)"""


def _desk(row: Any) -> Desk:
    first, away = row.first_words or "", row.away_words or ""
    if row.hours is None:
        return Desk(first_words=first, away_words=away)
    hours = Hours({int(day): _ranges(ranges) for day, ranges in row.hours.items()}, frozenset(row.closed_days))
    return Desk(hours, row.asks_satisfaction, row.hands_over, row.notify_after, first, away)


def _ranges(stored: Sequence[Sequence[str]]) -> tuple[Range, ...]:
    return tuple((time.fromisoformat(start), time.fromisoformat(end)) for start, end in stored)


# ---- Setting ---------------------------------------------------------------------------------------------------------


def save(
    session: Session,
    *,
    merchant_id: int,
    hours: Hours,
    asks_satisfaction: bool,
    hands_over: bool,
    notify_after: int,
    now: datetime,
) -> None:
    """Keep a merchant's settings; they count from now on."""
    if notify_after not in NOTIFY_AFTER:
        raise Invalid("请填 1 到 720 之间的整数。", field="notify_after")
    if len(hours.closed_days) > CLOSED_DAYS_MAX:
        raise Invalid("休息日最多 %(most)s 天，过去的可以删掉。", field="closed_days", most=CLOSED_DAYS_MAX)
    stored = {}
    for day, ranges in hours.ranges.items():
        if day not in WEEKDAYS:
            raise Invalid("没有这一天。", field="hours")
        stored[str(day)] = _checked(ranges)
    values = {
        "hours": {day: ranges for day, ranges in sorted(stored.items()) if ranges},
        "closed_days": sorted(hours.closed_days),
        "asks_satisfaction": asks_satisfaction,
        "hands_over": hands_over,
        "notify_after": notify_after,
        "updated_at": now,
    }
    statement = upsert(TalkDesk).values(merchant_id=merchant_id, **values)
    session.execute(statement.on_conflict_do_update(index_elements=["merchant_id"], set_=values))


def _checked(ranges: Sequence[Range]) -> list[list[str]]:
    """The ranges of a day in order, none of which may touch the next."""
    if len(ranges) > RANGES_A_DAY:
        raise Invalid("每天最多 %(most)s 段时间。", field="hours", most=RANGES_A_DAY)
    ordered = sorted(ranges)
    before: time | None = None
    for number, (start, end) in enumerate(ordered):
        if end != time.min and end <= start:
            raise Invalid("每段时间的结束要晚于开始。", field="hours")
        if (before is not None and start < before) or (end == time.min and number < len(ordered) - 1):
            raise Invalid("同一天的时间段不能重叠。", field="hours")
        before = end
    return [[start.strftime("%H:%M"), end.strftime("%H:%M")] for start, end in ordered]


# ---- Words that wait for the operator --------------------------------------------------------------------------------


def save_words(session: Session, *, merchant_id: int, kind: WordsKind, words: str, hosts: frozenset[str]) -> int | None:
    """Hand in new words of one kind, instead of those that wait; empty ones take back both, so that ours are said.

    Returns the version's id.
    """
    said = clean(words, name=Phrase("文字"), field="text", longest=WORDS_MAX, lines=True)
    mine = update(DeskWords).where(DeskWords.merchant_id == merchant_id, DeskWords.kind == kind)
    states = [ReviewState.PENDING] if said else _HEARD
    if said:
        refuse_bad_wording(said, field="text", hosts=hosts, listed=sensitive_words.listed(session))
    session.execute(mine.where(DeskWords.review.in_(states)).values(review=ReviewState.WITHDRAWN))
    if not said:
        return None
    return session.execute(
        insert(DeskWords).values(merchant_id=merchant_id, kind=kind, text=said).returning(DeskWords.id)
    ).scalar_one()


@dataclass(frozen=True)
class Words:
    """What is said for a merchant, and what waits to be."""

    speaking: DeskWords | None
    waiting: DeskWords | None
    refused: DeskWords | None
    """The newest version, where the operator refused it."""


def words_of(session: Session, *, merchant_id: int, kind: WordsKind) -> Words:
    """The versions of one kind that matter to a merchant."""
    mine = select(DeskWords).where(DeskWords.merchant_id == merchant_id, DeskWords.kind == kind)
    newest = list(session.scalars(mine.order_by(DeskWords.id.desc()).limit(20)))

    def first(state: ReviewState) -> DeskWords | None:
        return next((one for one in newest if one.review == state), None)

    is_refused = bool(newest) and newest[0].review == ReviewState.REJECTED
    speaking = session.scalar(
        mine.where(DeskWords.review == ReviewState.APPROVED).order_by(DeskWords.id.desc()).limit(1)
    )
    return Words(speaking, first(ReviewState.PENDING), newest[0] if is_refused else None)


def count_waiting(session: Session) -> int:
    """How many versions wait for the operator."""
    return int(session.execute(text("SELECT count(*) FROM desk_words WHERE review = 'pending'")).scalar_one())


@dataclass(frozen=True)
class Pending:
    """Words that wait for the operator."""

    words: DeskWords
    merchant_name: str
    speaking: str
    """What is said until then; empty where ours are."""


def pending(session: Session, *, limit: int) -> list[Pending]:
    """What waits, the oldest first; for the operator."""
    rows = session.execute(
        text("""
            SELECT w.id, m.name, coalesce((
                SELECT o.text FROM desk_words o
                WHERE o.merchant_id = w.merchant_id AND o.kind = w.kind AND o.review = 'approved'
                ORDER BY o.id DESC LIMIT 1), '') AS speaking
            FROM desk_words w JOIN merchant m ON m.id = w.merchant_id
            WHERE w.review = 'pending' ORDER BY w.id LIMIT :limit"""),
        {"limit": limit},
    ).all()
    return [Pending(session.get_one(DeskWords, row.id), row.name, row.speaking) for row in rows]


def judge(
    session: Session, words_id: int, *, was: ReviewState, now_is: ReviewState, operator_id: int, now: datetime,
    reason: str = "",
) -> DeskWords:  # fmt: skip
    """Approve or refuse a version; an approved one replaces the one that spoke."""
    version = decide(
        session, DeskWords, words_id, was=was, now_is=now_is, operator_id=operator_id, now=now, reason=reason
    )
    if now_is is ReviewState.APPROVED:
        others = update(DeskWords).where(
            DeskWords.merchant_id == version.merchant_id,
            DeskWords.kind == version.kind,
            DeskWords.id != version.id,
            DeskWords.review == ReviewState.APPROVED,
        )
        session.execute(others.values(review=ReviewState.WITHDRAWN, reviewed_at=func.app_now()))
    return version


def doubts(words: DeskWords, *, hosts: frozenset[str], listed: Sequence[ListedWord]) -> list[Finding]:
    """What the linter would have reworded."""
    return lint(words.text, hosts=hosts, listed=listed)


# ---- What is said when a message is passed on ------------------------------------------------------------------------


def passed_on(desk: Desk, merchant_name: str, at: datetime) -> str:
    """What the chat says: whom one is talking to, whether somebody is there, and how to reach another shop."""
    if desk.hours.is_open(at):
        own = desk.first_words or "店家看到就回您。"
    else:
        own = desk.away_words or _away(desk.hours.opens_next(at), at)
    return f"您正在和 {merchant_name} 聊天。{own}\n找别家请回复：找 店名"


def _away(opens: datetime | None, at: datetime) -> str:
    if opens is None:
        return "店家现在不在，回来就回您。"
    local, days = opens.astimezone(SHANGHAI), (business_day(opens) - business_day(at)).days
    day = {0: "今天", 1: "明天"}.get(days, f"{local.month}月{local.day}日")
    return f"店家现在不在，{day} {local:%H:%M} 回来就回您。"
