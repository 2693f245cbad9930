"""How the conversation goes, for the operator: the callback's pulse, who answers, what nobody could answer, and rules
that never speak."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from bot import answering
from bot.callbacks import BOUNDS_MS, CallbackFailure, CallbackMinute
from campaigns.broadcasts.spelling import plain
from core.clock import SHANGHAI, month_of

Step = Literal["hour", "day"]
HANGS_UP_MS: Final = 5_000
MOST_READ: Final = 20_000
"""Questions of one range that are grouped, the newest."""
SILENT: Final = timedelta(days=30)
"""A rule that said nothing for so long, and was there all the time, never fires."""


# ---- The callback ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Slot:
    """An hour or a day of the callback, by Shanghai time; no latency where nothing came."""

    at: datetime
    ok: int = 0
    unavailable: int = 0
    turned_away: int = 0
    """By signature, age, form or size."""
    late: int = 0
    p50_ms: float | None = None
    p99_ms: float | None = None


def latency(session: Session, *, since: datetime, until: datetime, step: Step) -> list[Slot]:
    """Every hour or day of the range, the empty ones too."""
    slot = func.date_trunc(step, func.timezone("Asia/Shanghai", CallbackMinute.minute))
    rows = session.execute(select(slot, *_counts()).where(*_within(since, until)).group_by(slot).order_by(slot))
    found = {row[0]: _slot(row[0].replace(tzinfo=SHANGHAI), row[1:]) for row in rows}
    return [found.get(at, Slot(at.replace(tzinfo=SHANGHAI))) for at in _steps(since, until, step)]


def total(session: Session, *, since: datetime, until: datetime) -> Slot:
    """The whole range as one."""
    return _slot(since, session.execute(select(*_counts()).where(*_within(since, until))).one())


def _counts() -> list[Any]:
    one = CallbackMinute
    counts = [one.ok, one.unavailable, one.forbidden + one.too_large + one.other, one.late]
    return [func.sum(part) for part in (*counts, *(one.buckets[place] for place in range(1, len(BOUNDS_MS) + 2)))]


def _within(since: datetime, until: datetime) -> tuple[Any, Any]:
    return CallbackMinute.minute >= since, CallbackMinute.minute < until


def _slot(at: datetime, counts: Sequence[Any]) -> Slot:
    ok, unavailable, turned_away, late, *buckets = (int(count or 0) for count in counts)
    return Slot(at, ok, unavailable, turned_away, late, quantile(buckets, 0.5), quantile(buckets, 0.99))


def quantile(counts: Sequence[int], share: float) -> float | None:
    """How long the quickest `share` of the answers took, as if each bucket of the histogram were evenly filled."""
    everything = sum(counts)
    if not everything:
        return None
    before, lower = 0, 0.0
    for count, upper in zip(counts, (*BOUNDS_MS, HANGS_UP_MS), strict=True):
        if count and before + count >= everything * share:
            return lower + (upper - lower) * max(0.0, everything * share - before) / count
        before, lower = before + count, float(upper)
    return lower


def _steps(since: datetime, until: datetime, step: Step) -> Iterator[datetime]:
    at = since.astimezone(SHANGHAI).replace(minute=0, second=0, microsecond=0, tzinfo=None)
    if step == "day":
        at = at.replace(hour=0)
    while at < until.astimezone(SHANGHAI).replace(tzinfo=None):
        yield at
        at += timedelta(hours=1) if step == "hour" else timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong, how often, and when last."""

    status: int
    reason: str
    detail: str
    times: int
    last: datetime


def failures(session: Session, *, since: datetime, limit: int) -> list[Failure]:
    """The kinds of failures of a range, the latest first."""
    last = func.max(CallbackFailure.minute)
    rows = session.execute(
        select(
            CallbackFailure.status,
            CallbackFailure.reason,
            CallbackFailure.detail,
            func.sum(CallbackFailure.times),
            last,
        )
        .where(CallbackFailure.minute >= since)
        .group_by(CallbackFailure.status, CallbackFailure.reason, CallbackFailure.detail)
        .order_by(last.desc())
        .limit(limit)
    )
    return [Failure(*row) for row in rows]


# ---- Who answers -----------------------------------------------------------------------------------------------------


def answered(session: Session, *, since: datetime) -> list[tuple[str, int]]:
    """How many events each kind of answer took, the commonest first."""
    rows = session.execute(
        text("""
            SELECT answered_by, count(*) FROM inbox_event
            WHERE answered_by <> 'none' AND event_at >= :since AND month >= :month
            GROUP BY answered_by ORDER BY count(*) DESC, answered_by"""),
        {"since": since, "month": month_of(since)},
    )
    return [(row[0], row[1]) for row in rows]


@dataclass(slots=True)
class Question:
    """What people wrote in one spelling or another, and nobody could answer."""

    spelling: str
    example: str
    """As it was written last."""
    newest: datetime
    times: int = 0
    merchants: Counter[int] = field(default_factory=Counter)
    """In whose conversations."""


@dataclass(frozen=True, slots=True)
class Questions:
    """The commonest first; `read` of them were looked at."""

    groups: list[Question]
    read: int
    is_cut: bool
    """There were more, older ones."""


def unanswered(session: Session, *, since: datetime, merchant_id: int | None = None, limit: int = 100) -> Questions:
    """Questions that got nothing but the helpful line, put together by what remains of them without spelling.

    What waited until its writer chose a shop has been passed on to it, and is no such question.
    """
    rows = session.execute(
        text("""
            SELECT body ->> 'Content', event_at, merchant_id FROM inbox_event e
            WHERE answered_by = 'line' AND kind = 'text' AND event_at >= :since AND month >= :month
              AND body ->> 'Content' IS NOT NULL
              AND (CAST(:merchant_id AS bigint) IS NULL OR merchant_id = :merchant_id)
              AND NOT EXISTS (SELECT 1 FROM talk_message m WHERE m.inbox_id = e.id AND m.direction = 'in')
            ORDER BY event_at DESC LIMIT :most"""),
        {"since": since, "month": month_of(since), "merchant_id": merchant_id, "most": MOST_READ},
    ).all()
    groups: dict[str, Question] = {}
    for content, at, whose in rows:
        # What is nothing but punctuation or pictures stands for itself.
        spelling = plain(content) or content.strip()
        if not spelling or answering.asks_nothing(content):
            continue
        group = groups.setdefault(spelling, Question(spelling, content.strip(), at))
        group.times += 1
        if whose is not None:
            group.merchants[whose] += 1
    found = sorted(groups.values(), key=lambda one: (-one.times, -one.newest.timestamp()))
    return Questions(found[:limit], len(rows), len(rows) == MOST_READ)


# ---- Rules -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SilentRule:
    """A rule in force that has said nothing for a long time; `last` is when it last did, if ever."""

    id: int
    name: str
    merchant_id: int | None
    created_at: datetime
    last: datetime | None


def silent_rules(session: Session, *, now: datetime, limit: int) -> list[SilentRule]:
    """Rules that are on, are 30 days old and answered nothing since: nobody asks so, or another rule wins."""
    rows = session.execute(
        text("""
            WITH lately AS MATERIALIZED (
                SELECT DISTINCT e.rule_id FROM inbox_event e WHERE e.rule_id IS NOT NULL AND e.event_at >= :since),
            silent AS MATERIALIZED (
                SELECT r.id, r.name, r.merchant_id, r.created_at FROM reply_rule r
                WHERE r.deleted_at IS NULL AND r.is_on AND r.created_at < :since
                  AND EXISTS (SELECT 1 FROM reply_rule_version v WHERE v.rule_id = r.id AND v.review = 'approved')
                  AND NOT EXISTS (SELECT 1 FROM lately WHERE lately.rule_id = r.id)
                ORDER BY r.id LIMIT :most)
            SELECT s.id, s.name, s.merchant_id, s.created_at, fired.last
            FROM silent s
            CROSS JOIN LATERAL (SELECT max(e.event_at) AS last FROM inbox_event e WHERE e.rule_id = s.id) fired
            ORDER BY fired.last NULLS FIRST, s.id"""),
        {"since": now - SILENT, "most": limit},
    )
    return [SilentRule(*row) for row in rows]
