"""Enquiries: from a message that waits to its end; how soon it was answered, by whom, and how the fan found it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil
from statistics import median_low
from typing import Any, Final

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from bot.talks import desk
from bot.talks.desk import Hours
from campaigns.broadcasts.spelling import plain
from core.database import rows_changed

SILENCE: Final = timedelta(hours=48)
"""After so long without a message from either side an answered talk counts as ended."""
GIVEN_UP: Final = timedelta(days=7)
"""After so long nobody expects an answer any more."""
CLOSE_AT_ONCE: Final = 500
MOST_MEASURED: Final = 20_000
"""Enquiries of one range that are looked at, the newest."""
BEST: Final = 3
"""The rating of who was satisfied."""
RATED_WITHIN: Final = timedelta(hours=24)
"""How long the question waits for its answer."""

QUESTION: Final = "这次的回复您满意吗？请回复数字：\n1. 满意\n2. 一般\n3. 不满意"
THANKS: Final = "谢谢您的评价，我们会做得更好。"
_WORDS: Final = {
    3: frozenset(("1", "满意", "很满意", "非常满意", "好", "很好", "好评", "挺好", "挺好的")),
    2: frozenset(("2", "一般", "一般般", "还行", "还可以", "凑合")),
    1: frozenset(("3", "不满意", "很不满意", "不好", "差", "差评", "很差")),
}


def rating_in(content: str) -> int | None:
    """What somebody says of the answers, from 1 to 3, the best being 3; None where it is none."""
    said = plain(content)
    return next((value for value, words in _WORDS.items() if said in words), None)


@dataclass(frozen=True)
class Times:
    """How long something took in the middle, and for nine out of ten."""

    median: timedelta
    nine_in_ten: timedelta


@dataclass(frozen=True)
class Figures:
    """What became of the enquiries that began within a range."""

    enquiries: int
    answered: int
    closed: int
    open: int
    first_answer: Times | None
    """Within the hours, where a merchant has set some."""
    resolution: Times | None
    asked: int
    rated: int
    ratings: tuple[int, int, int]
    """How many found it good, fair and bad."""

    @property
    def satisfied(self) -> float | None:
        """The share of those who found it good among all who said."""
        return self.ratings[0] / self.rated if self.rated else None


def figures(session: Session, *, merchant_id: int, since: datetime, until: datetime) -> Figures:
    """A merchant's figures over `[since, until)`, by when the enquiries began."""
    rows = session.execute(
        text("""
            SELECT opened_at, first_answer_at, closed_at, asked_at, satisfaction FROM enquiry
            WHERE merchant_id = :merchant_id AND opened_at >= :since AND opened_at < :until
            ORDER BY opened_at DESC LIMIT :most"""),
        {"merchant_id": merchant_id, "since": since, "until": until, "most": MOST_MEASURED},
    ).all()
    hours = desk.of(session, merchant_id).hours
    answered = [_waited(hours, row.opened_at, row.first_answer_at) for row in rows if row.first_answer_at is not None]
    resolved = [
        row.closed_at - row.opened_at for row in rows if row.closed_at is not None and row.first_answer_at is not None
    ]
    closed = sum(row.closed_at is not None for row in rows)
    said = [row.satisfaction for row in rows if row.satisfaction is not None]
    return Figures(
        enquiries=len(rows),
        answered=len(answered),
        closed=closed,
        open=len(rows) - closed,
        first_answer=_times(answered),
        resolution=_times(resolved),
        asked=sum(row.asked_at is not None for row in rows),
        rated=len(said),
        ratings=(said.count(3), said.count(2), said.count(1)),
    )


@dataclass(frozen=True)
class ByStaff:
    """What one of the merchant's people did at the desk."""

    name: str
    enquiries: int
    """Those they answered first."""
    first_answer: timedelta
    """In the middle of them."""
    rated: int
    good: int


def by_staff(session: Session, *, merchant_id: int, since: datetime, until: datetime) -> list[ByStaff]:
    """Who answered first how often, how soon, and how fans found it, over `[since, until)`; the busiest first."""
    rows = session.execute(
        text("""
            SELECT e.first_answer_by, coalesce(s.name, '') AS name, e.opened_at, e.first_answer_at, e.satisfaction
            FROM enquiry e LEFT JOIN staff s ON s.id = e.first_answer_by
            WHERE e.merchant_id = :merchant_id AND e.opened_at >= :since AND e.opened_at < :until
              AND e.first_answer_at IS NOT NULL
            ORDER BY e.opened_at DESC LIMIT :most"""),
        {"merchant_id": merchant_id, "since": since, "until": until, "most": MOST_MEASURED},
    ).all()
    hours = desk.of(session, merchant_id).hours
    theirs: dict[int | None, list[Row[Any]]] = {}
    for row in rows:
        theirs.setdefault(row.first_answer_by, []).append(row)
    people = [
        ByStaff(
            name=answered[0].name,
            enquiries=len(answered),
            first_answer=median_low(_waited(hours, row.opened_at, row.first_answer_at) for row in answered),
            rated=sum(row.satisfaction is not None for row in answered),
            good=sum(row.satisfaction == BEST for row in answered),
        )
        for answered in theirs.values()
    ]
    return sorted(people, key=lambda one: -one.enquiries)


def _waited(hours: Hours, opened_at: datetime, answered_at: datetime) -> timedelta:
    if not hours.are_set:
        return max(timedelta(0), answered_at - opened_at)
    return hours.open_between(opened_at, answered_at)


def _times(spans: Sequence[timedelta]) -> Times | None:
    if not spans:
        return None
    ordered = sorted(spans)
    return Times(ordered[ceil(len(ordered) * 0.5) - 1], ordered[ceil(len(ordered) * 0.9) - 1])


# ---- Asking how it was -----------------------------------------------------------------------------------------------


def ask(session: Session, *, talk_id: int, follower_id: int, now: datetime) -> int | None:
    """Have the fan's next number taken for an answer to how a talk's last closed enquiry was; its id.

    None where that was asked before, or where the fan is being asked something else.
    """
    enquiry_id: int | None = session.execute(
        text("""
            UPDATE enquiry SET asked_at = :now
            WHERE asked_at IS NULL AND closed_by = 'staff' AND first_answer_at IS NOT NULL AND id = (
                SELECT max(e.id) FROM enquiry e JOIN talk t ON t.merchant_id = e.merchant_id AND t.id = e.talk_id
                WHERE t.id = :talk_id)
            RETURNING id"""),
        {"talk_id": talk_id, "now": now},
    ).scalar()
    if enquiry_id is None:
        return None
    asked = session.execute(
        text("""
            INSERT INTO pending_question (follower_id, kind, asked_at, expires_at, enquiry_id)
            VALUES (:follower_id, 'satisfaction', :now, :until, :enquiry_id)
            ON CONFLICT (follower_id) DO UPDATE SET kind = excluded.kind, asked_at = excluded.asked_at,
                expires_at = excluded.expires_at, options = '[]', inbox_ids = '{}', enquiry_id = excluded.enquiry_id
            WHERE pending_question.kind = 'satisfaction' OR pending_question.expires_at <= :now"""),
        {"follower_id": follower_id, "now": now, "until": now + RATED_WITHIN, "enquiry_id": enquiry_id},
    )
    if rows_changed(asked):
        return enquiry_id
    take_back_question(session, enquiry_id)
    return None


def take_back_question(session: Session, enquiry_id: int) -> None:
    """The question was not put after all."""
    session.execute(text("DELETE FROM pending_question WHERE enquiry_id = :id"), {"id": enquiry_id})
    session.execute(
        text("UPDATE enquiry SET asked_at = NULL WHERE id = :id AND satisfaction IS NULL"), {"id": enquiry_id}
    )


# ---- Ending ----------------------------------------------------------------------------------------------------------


def close_silent(session: Session, now: datetime) -> None:
    """End what is answered and nobody has written in for two days; an answer that waits still goes out at the hello.
    Whoever waits for an answer stays on the list for a week.

    What came in late has been seen by nobody as long as its own moment says: both count from when it came in.
    """
    session.execute(
        text("""
            WITH silent AS (
                SELECT id FROM talk, LATERAL (SELECT CASE state WHEN 'answered' THEN CAST(:silent AS timestamptz)
                                                          ELSE :given_up END) AS ended(before)
                WHERE state <> 'closed' AND last_message_at < :silent AND last_message_at < before AND NOT EXISTS (
                    SELECT 1 FROM talk_message m
                    WHERE m.merchant_id = talk.merchant_id AND m.talk_id = talk.id AND m.created_at >= before)
                ORDER BY last_message_at LIMIT :most FOR UPDATE OF talk SKIP LOCKED),
            closed AS (
                UPDATE enquiry e SET closed_at = :now, closed_by = 'silence'
                FROM silent WHERE e.talk_id = silent.id AND e.closed_at IS NULL)
            UPDATE talk t SET state = 'closed', waiting_since = NULL,
                settled_to = greatest(t.settled_to, coalesce(
                    (SELECT max(m.id) FROM talk_message m WHERE m.merchant_id = t.merchant_id AND m.talk_id = t.id), 0))
            FROM silent WHERE t.id = silent.id"""),
        {"now": now, "silent": now - SILENCE, "given_up": now - GIVEN_UP, "most": CLOSE_AT_ONCE},
    )
