"""What a merchant's people see of their talks: the list, one thread, and what is new. Everything as the merchant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from bot.talks.models import AnswerState, Direction, Kind, MediaState, TalkState, Why
from core.errors import NotFound
from qrcodes.happenings import Key

PAGE: Final = 30
THREAD: Final = 50


class Filter(StrEnum):
    """Which talks a list shows."""

    ALL = "all"
    WAITING = "waiting"
    MINE = "mine"
    UNASSIGNED = "unassigned"
    """Open ones that nobody has taken."""
    CLOSED = "closed"


@dataclass(frozen=True)
class Line:
    """A talk as the list shows it."""

    id: int
    follower_id: int
    number: str
    note: str
    """What the merchant noted on the fan's card."""
    tags: tuple[str, ...]
    state: TalkState
    last_message_at: datetime
    preview: str | None
    """None where there is no text, or not any more."""
    preview_kind: Kind
    preview_direction: Direction
    unread: int
    waiting_since: datetime | None
    waiting_out: int
    assigned_to: int | None
    assigned_name: str
    version: int
    is_following: bool
    """False where the fan has left, or is in no list of ours any more."""
    is_erased: bool


@dataclass(frozen=True)
class Page:
    lines: tuple[Line, ...]
    after: Key | None
    """What to ask the next page with; None on the last one."""


@dataclass(frozen=True)
class Counts:
    """Over all of a merchant's talks."""

    waiting: int
    mine: int
    """Open ones that this member of the staff has taken."""
    unassigned: int


@dataclass(frozen=True)
class Shown:
    """One message of a thread."""

    id: int
    direction: Direction
    kind: Kind
    content: str | None
    """None where it never was a text, or is forgotten by now."""
    at: datetime
    by: str
    """What answered by itself."""
    staff_id: int | None
    staff_name: str
    state: AnswerState | None
    why: Why | None
    errcode: int | None
    template_id: int | None
    media: MediaState | None
    """Whether its picture or voice can be seen (`media.py`); None where it has none."""
    waits: bool


@dataclass(frozen=True)
class Thread:
    messages: tuple[Shown, ...]
    """In the order in which they were said."""
    before: Key | None
    """What to ask for earlier ones with."""


_LINE: Final = """
    SELECT t.id, t.follower_id, t.number, coalesce(f.note, '') AS note, t.state, t.last_message_at, t.preview,
           t.preview_kind, t.preview_direction, t.unread, t.waiting_since, t.waiting_out, t.assigned_to,
           coalesce(s.name, '') AS assigned_name, t.version,
           coalesce((SELECT w.status = 'following' FROM follower w WHERE w.id = t.follower_id), false) AS is_following,
           f.erased_at IS NOT NULL AS is_erased,
           ARRAY(SELECT g.tag FROM fan_tag g
                 WHERE g.merchant_id = t.merchant_id AND g.follower_id = t.follower_id ORDER BY g.tag) AS tags
    FROM {talks} t
    LEFT JOIN fan f ON f.merchant_id = t.merchant_id AND f.follower_id = t.follower_id
    LEFT JOIN staff s ON s.id = t.assigned_to"""
_CONDITIONS: Final[Mapping[Filter, str]] = {
    Filter.ALL: "true",
    Filter.WAITING: "state = 'waiting'",
    Filter.MINE: "assigned_to = :staff_id AND state <> 'closed'",
    Filter.UNASSIGNED: "assigned_to IS NULL AND state <> 'closed'",
    Filter.CLOSED: "state = 'closed'",
}


@dataclass(frozen=True)
class _Order:
    """How a list is sorted, and the condition for what comes after a line of it."""

    by: str
    way: str
    after: str


_LATEST: Final = _Order("last_message_at", "DESC", "AND (last_message_at, id) < (:at, :id)")
_LONGEST_WAIT: Final = _Order("waiting_since", "ASC", "AND (waiting_since, id) > (:at, :id)")


def listed(
    session: Session,
    *,
    merchant_id: int,
    staff_id: int,
    only: Filter = Filter.ALL,
    after: Key | None = None,
    limit: int = PAGE,
) -> Page:
    """A page of the merchant's talks, the newest message first; of those that wait, who has waited longest."""
    order = _LONGEST_WAIT if only is Filter.WAITING else _LATEST
    page = f"""(
        SELECT * FROM talk WHERE merchant_id = :merchant_id AND {_CONDITIONS[only]} {order.after if after else ""}
        ORDER BY {order.by} {order.way}, id {order.way} LIMIT :limit)"""
    given: dict[str, Any] = {"merchant_id": merchant_id, "staff_id": staff_id, "limit": limit + 1}
    if after is not None:
        given |= {"at": after.at, "id": after.id}
    statement = text(f"{_LINE.format(talks=page)} ORDER BY t.{order.by} {order.way}, t.id {order.way}")
    lines = [_line(row) for row in session.execute(statement, given)]
    if len(lines) <= limit:
        return Page(tuple(lines), None)
    last = lines[limit - 1]
    return Page(tuple(lines[:limit]), Key(getattr(last, order.by), last.id))


def talk(session: Session, *, merchant_id: int, talk_id: int) -> Line:
    """One talk; another merchant's is missing (TN-3)."""
    statement = text(f"{_LINE.format(talks='talk')} WHERE t.merchant_id = :merchant_id AND t.id = :id")
    row = session.execute(statement, {"merchant_id": merchant_id, "id": talk_id}).one_or_none()
    if row is None:
        raise NotFound("没有这段聊天。")
    return _line(row)


def talk_of(session: Session, *, merchant_id: int, follower_id: int) -> int | None:
    """The talk with a fan, for a link from the fan's card."""
    statement = text("SELECT id FROM talk WHERE merchant_id = :merchant_id AND follower_id = :follower_id")
    found: int | None = session.execute(statement, {"merchant_id": merchant_id, "follower_id": follower_id}).scalar()
    return found


def lines(session: Session, *, merchant_id: int, talk_ids: Sequence[int]) -> dict[int, Line]:
    """Some talks by their ids."""
    if not talk_ids:
        return {}
    statement = text(f"{_LINE.format(talks='talk')} WHERE t.merchant_id = :merchant_id AND t.id = ANY(:ids)")
    rows = session.execute(statement, {"merchant_id": merchant_id, "ids": list(talk_ids)})
    return {row.id: _line(row) for row in rows}


def counts(session: Session, *, merchant_id: int, staff_id: int) -> Counts:
    """How much there is to do."""
    row = session.execute(
        text("""
            SELECT (SELECT count(*) FROM talk WHERE merchant_id = :merchant_id AND state = 'waiting') AS waiting,
                   (SELECT count(*) FROM talk WHERE merchant_id = :merchant_id AND assigned_to = :staff_id
                      AND state IN ('waiting', 'answered')) AS mine,
                   (SELECT count(*) FROM talk WHERE merchant_id = :merchant_id AND assigned_to IS NULL
                      AND state IN ('waiting', 'answered')) AS unassigned"""),
        {"merchant_id": merchant_id, "staff_id": staff_id},
    ).one()
    return Counts(*row)


def waiting(session: Session, *, merchant_id: int) -> int:
    """Talks in which somebody waits for an answer: the number on the tab."""
    statement = text("SELECT count(*) FROM talk WHERE merchant_id = :merchant_id AND state = 'waiting'")
    return int(session.execute(statement, {"merchant_id": merchant_id}).scalar_one())


def version(session: Session, *, merchant_id: int, talk_id: int) -> int:
    """Changes with everything that a thread shows: for an ETag, at the price of one row."""
    statement = text("SELECT version FROM talk WHERE merchant_id = :merchant_id AND id = :id")
    found = session.execute(statement, {"merchant_id": merchant_id, "id": talk_id}).scalar()
    if found is None:
        raise NotFound("没有这段聊天。")
    return int(found)


def thread(
    session: Session, *, merchant_id: int, talk_id: int, before: Key | None = None, limit: int = THREAD
) -> Thread:
    """The newest messages of a talk, or those before a moment."""
    earlier = "AND (m.at, m.id) < (:at, :id)" if before else ""
    given: dict[str, Any] = {"merchant_id": merchant_id, "talk_id": talk_id, "limit": limit + 1}
    if before is not None:
        given |= {"at": before.at, "id": before.id}
    rows = session.execute(
        text(f"""
            SELECT m.id, m.direction, m.kind, m.content, m.at, m.by, m.staff_id, coalesce(s.name, '') AS staff_name,
                   m.state, m.why, m.errcode, m.template_id, d.state AS media, m.waits
            FROM talk_message m
            LEFT JOIN staff s ON s.id = m.staff_id
            LEFT JOIN talk_media d ON d.message_id = m.id AND d.merchant_id = m.merchant_id
            WHERE m.merchant_id = :merchant_id AND m.talk_id = :talk_id {earlier}
            ORDER BY m.at DESC, m.id DESC LIMIT :limit"""),
        given,
    ).all()
    shown = [_shown(row) for row in rows]
    is_more = len(shown) > limit
    shown = shown[:limit]
    return Thread(tuple(reversed(shown)), Key(shown[-1].at, shown[-1].id) if is_more else None)


def _line(row: Row[Any]) -> Line:
    return Line(
        id=row.id,
        follower_id=row.follower_id,
        number=row.number,
        note=row.note,
        tags=tuple(row.tags),
        state=TalkState(row.state),
        last_message_at=row.last_message_at,
        preview=row.preview,
        preview_kind=Kind(row.preview_kind),
        preview_direction=Direction(row.preview_direction),
        unread=row.unread,
        waiting_since=row.waiting_since,
        waiting_out=row.waiting_out,
        assigned_to=row.assigned_to,
        assigned_name=row.assigned_name,
        version=row.version,
        is_following=row.is_following,
        is_erased=row.is_erased,
    )


def _shown(row: Row[Any]) -> Shown:
    return Shown(
        id=row.id,
        direction=Direction(row.direction),
        kind=Kind(row.kind),
        content=row.content,
        at=row.at,
        by=row.by,
        staff_id=row.staff_id,
        staff_name=row.staff_name,
        state=None if row.state is None else AnswerState(row.state),
        why=Why(row.why) if row.why else None,
        errcode=row.errcode,
        template_id=row.template_id,
        media=None if row.media is None else MediaState(row.media),
        waits=row.waits,
    )
