"""What a merchant's people do to a talk besides answering: read, take, end and take up again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from bot.talks import answers, desk, enquiries, sending
from bot.talks.models import AnswerState, Kind
from core.database import rows_changed
from core.errors import BusinessError, NotFound


class WentOn(BusinessError):
    code = "went_on"
    message = "客人刚刚又发来了消息，看一眼再结束。"


@dataclass(frozen=True)
class Colleague:
    """Somebody who can be given a talk."""

    id: int
    name: str


def colleagues(session: Session, *, merchant_id: int) -> list[Colleague]:
    """Whom a talk can be given to."""
    rows = session.execute(
        text("SELECT id, name FROM staff WHERE merchant_id = :id AND disabled_at IS NULL ORDER BY name, id"),
        {"id": merchant_id},
    )
    return [Colleague(row.id, row.name) for row in rows]


def mark_read(session: Session, *, merchant_id: int, talk_id: int, up_to: int) -> None:
    """Somebody has seen the talk's messages up to this id; what came since stays unread.

    Where nothing was unread nothing changes, so that open pages do not wake each other.
    """
    answers.lock(session, merchant_id=merchant_id, talk_id=talk_id)
    session.execute(
        text("""
            UPDATE talk t SET read_to = seen.up_to,
                unread = (SELECT count(*) FROM talk_message m
                          WHERE m.merchant_id = t.merchant_id AND m.talk_id = t.id AND m.waits AND m.id > seen.up_to)
            FROM (SELECT least(:up_to, max(m.id)) AS up_to FROM talk_message m
                  WHERE m.merchant_id = :merchant_id AND m.talk_id = :id) seen
            WHERE t.merchant_id = :merchant_id AND t.id = :id AND t.unread > 0 AND t.read_to < seen.up_to"""),
        {"merchant_id": merchant_id, "id": talk_id, "up_to": up_to},
    )


def mark_unread(session: Session, *, merchant_id: int, talk_id: int) -> None:
    """Have the fan's last message that waits count as not seen again."""
    answers.lock(session, merchant_id=merchant_id, talk_id=talk_id)
    session.execute(
        text("""
            UPDATE talk t SET read_to = newest.id - 1, unread = 1
            FROM (SELECT max(m.id) AS id FROM talk_message m
                  WHERE m.merchant_id = :merchant_id AND m.talk_id = :id AND m.waits) newest
            WHERE t.merchant_id = :merchant_id AND t.id = :id AND t.unread = 0 AND newest.id IS NOT NULL"""),
        {"merchant_id": merchant_id, "id": talk_id},
    )


def assign(session: Session, *, merchant_id: int, staff_id: int, talk_id: int, to: int | None, now: datetime) -> None:
    """Give a talk to somebody of the merchant's, or (None) to nobody; a note in it says so to whoever reads it."""
    names = {one.id: one.name for one in colleagues(session, merchant_id=merchant_id)}
    if to is not None and to not in names:
        raise NotFound("没有这位店员。")
    answers.lock(session, merchant_id=merchant_id, talk_id=talk_id)
    given = session.execute(
        text("""
            UPDATE talk SET assigned_to = :to
            WHERE merchant_id = :merchant_id AND id = :id AND assigned_to IS DISTINCT FROM :to"""),
        {"merchant_id": merchant_id, "id": talk_id, "to": to},
    )
    if rows_changed(given):
        words = "不再分给谁。" if to is None else f"转给 {names[to]} 接待。"
        answers.note(session, merchant_id=merchant_id, staff_id=staff_id, talk_id=talk_id, words=words, now=now)


def close(
    session: Session,
    *,
    merchant_id: int,
    staff_id: int,
    talk_id: int,
    now: datetime,
    seen_to: int | None = None,
    asks: bool | None = None,
) -> None:
    """End a talk: nothing waits any more. What comes in from the fan from now on opens it again.

    `seen_to` is the newest message that whoever ends it was shown: `WentOn` where the fan has written since. With
    `asks` (by default as the desk says) the fan is asked how the answers were, if somebody did answer and the window
    has a message left for it.
    """
    answers.lock(session, merchant_id=merchant_id, talk_id=talk_id)
    if seen_to is not None and _has_written_since(session, merchant_id=merchant_id, talk_id=talk_id, seen_to=seen_to):
        raise WentOn
    _change(
        session,
        """state = 'closed', waiting_since = NULL, unread = 0,
        read_to = greatest(read_to, (SELECT coalesce(max(m.id), 0) FROM talk_message m
                                     WHERE m.merchant_id = talk.merchant_id AND m.talk_id = talk.id)),
        settled_to = greatest(settled_to, (SELECT coalesce(max(m.id), 0) FROM talk_message m
                                           WHERE m.merchant_id = talk.merchant_id AND m.talk_id = talk.id))""",
        merchant_id=merchant_id,
        talk_id=talk_id,
    )
    ended = session.execute(
        text("""
            UPDATE enquiry SET closed_at = greatest(opened_at, :now), closed_by = 'staff', closed_by_staff = :staff_id
            WHERE merchant_id = :merchant_id AND talk_id = :id AND closed_at IS NULL
            RETURNING first_answer_at"""),
        {"merchant_id": merchant_id, "id": talk_id, "staff_id": staff_id, "now": now},
    ).one_or_none()
    if ended is None or ended.first_answer_at is None:
        return
    if desk.of(session, merchant_id).asks_satisfaction if asks is None else asks:
        message_id = answers.add(
            session,
            {"merchant_id": merchant_id, "talk_id": talk_id, "direction": "out", "kind": Kind.RATING,
             "content": enquiries.QUESTION, "template_id": None, "staff_id": staff_id,
             "state": AnswerState.PLANNED, "at": now},
        )  # fmt: skip
        sending.owe(session, merchant_id=merchant_id, talk_id=talk_id, message_id=message_id)


def _has_written_since(session: Session, *, merchant_id: int, talk_id: int, seen_to: int) -> bool:
    statement = text("""
        SELECT EXISTS (SELECT 1 FROM talk_message m
                       WHERE m.merchant_id = :merchant_id AND m.talk_id = :id AND m.waits AND m.id > :seen_to)""")
    whose = {"merchant_id": merchant_id, "id": talk_id, "seen_to": seen_to}
    return bool(session.execute(statement, whose).scalar())


def reopen(session: Session, *, merchant_id: int, talk_id: int) -> None:
    """Take up a talk that was ended; nothing waits in it."""
    _change(
        session,
        "state = CASE WHEN state = 'closed' THEN 'answered' ELSE state END",
        merchant_id=merchant_id,
        talk_id=talk_id,
    )


def _change(session: Session, change: str, *, merchant_id: int, talk_id: int, **given: Any) -> None:
    mine = {"merchant_id": merchant_id, "id": talk_id, **given}
    changed = session.execute(text(f"UPDATE talk SET {change} WHERE merchant_id = :merchant_id AND id = :id"), mine)
    if not rows_changed(changed):
        raise NotFound("没有这段聊天。")
