"""What the operator reads about the machinery: what is owed to the network, who did what, and who is at work."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from core.models import OutboxState


@dataclass(frozen=True)
class OutboxCount:
    """How much of one state there is, and since when the oldest has been there (real time)."""

    state: str
    queue: str
    tasks: int
    oldest: timedelta


def outbox_counts(session: Session) -> list[OutboxCount]:
    """What is waiting and what was given up, by queue."""
    rows = session.execute(
        text("""
            SELECT state, queue, count(*), clock_timestamp() - min(created_at)
            FROM outbox WHERE state <> 'done' GROUP BY state, queue ORDER BY state, queue""")
    )
    return [OutboxCount(*row) for row in rows]


@dataclass(frozen=True)
class TaskRow:
    """One outbox row; ages are real time."""

    id: int
    kind: str
    queue: str
    state: str
    attempts: int
    last_error: str | None
    merchant_id: int | None
    merchant_name: str | None
    created_at: datetime
    age: timedelta
    due_in: timedelta


def outbox_page(session: Session, *, state: OutboxState, before: int | None = None, limit: int = 50) -> list[TaskRow]:
    """Tasks of one state, newest first."""
    rows = session.execute(
        text("""
            SELECT o.id, o.kind, o.queue, o.state, o.attempts, o.last_error, o.merchant_id, m.name, o.created_at,
                   coalesce(o.finished_at, clock_timestamp()) - o.created_at, o.next_try_at - clock_timestamp()
            FROM outbox o LEFT JOIN merchant m ON m.id = o.merchant_id
            WHERE o.state = :state AND (CAST(:before AS bigint) IS NULL OR o.id < :before)
            ORDER BY o.id DESC LIMIT :limit"""),
        {"state": state, "before": before, "limit": limit},
    )
    return [TaskRow(*row) for row in rows]


@dataclass(frozen=True)
class Entry:
    """One line of the audit log, with the names that its numbers stand for today."""

    id: int
    at: datetime
    actor_kind: str
    actor_id: int | None
    actor_name: str | None
    merchant_id: int | None
    merchant_name: str | None
    action: str
    subject: str
    detail: dict[str, Any]


@dataclass(frozen=True)
class EntryFilter:
    """Which entries; empty fields leave all in."""

    actor_kind: str | None = None
    action: str | None = None
    merchant_id: int | None = None
    subject: str = ""


def audit_page(session: Session, wanted: EntryFilter, *, before: int | None = None, limit: int = 50) -> list[Entry]:
    """The audit log, newest first."""
    rows = session.execute(
        text("""
            SELECT a.id, a.at, a.actor_kind, a.actor_id, s.name, a.merchant_id, m.name, a.action, a.subject, a.detail
            FROM audit_log a
            LEFT JOIN staff s ON s.id = a.actor_id AND a.actor_kind IN ('operator', 'merchant')
            LEFT JOIN merchant m ON m.id = a.merchant_id
            WHERE (CAST(:actor_kind AS text) IS NULL OR a.actor_kind = :actor_kind)
              AND (CAST(:action AS text) IS NULL OR a.action = :action)
              AND (CAST(:merchant_id AS bigint) IS NULL OR a.merchant_id = :merchant_id)
              AND (:subject = '' OR a.subject = :subject)
              AND (CAST(:before AS bigint) IS NULL OR a.id < :before)
            ORDER BY a.id DESC LIMIT :limit"""),
        {**vars(wanted), "before": before, "limit": limit},
    )
    return [Entry(*row) for row in rows]


def audit_everything(session: Session, wanted: EntryFilter) -> Iterator[Entry]:
    """All entries that match, page by page, for exports."""
    before: int | None = None
    while rows := audit_page(session, wanted, before=before, limit=1_000):
        yield from rows
        before = rows[-1].id


@dataclass(frozen=True)
class Chain:
    """What looking at the newest entries of the audit chain showed."""

    looked_at: int
    broken: list[int]
    """Entries that do not fit their own hash or the one before."""
    ends_at_head: bool
    """The newest entry is the one the chain ends with: none was cut off."""

    @property
    def is_whole(self) -> bool:
        return not self.broken and self.ends_at_head


def audit_chain(session: Session, *, newest: int = 1_000) -> Chain:
    """Look at the newest entries; `quanma check` looks at all of them."""
    rows = session.execute(
        text("""
            WITH recent AS (
                SELECT audit_log AS entry, id, hash, previous_hash FROM audit_log ORDER BY id DESC LIMIT :newest)
            SELECT id, hash, hash = audit_hash(entry)
                AND previous_hash = coalesce(lag(hash) OVER (ORDER BY id), previous_hash)
            FROM recent ORDER BY id"""),
        {"newest": newest},
    ).all()
    head = session.execute(text("SELECT hash FROM audit_head")).scalar_one()
    last = bytes(rows[-1][1]) if rows else b""
    return Chain(len(rows), [row[0] for row in rows if not row[2]], last == bytes(head))


def scheduler_is_alive(session: Session) -> bool:
    """Whether a scheduler holds the lease right now."""
    alive = session.execute(
        text("SELECT EXISTS (SELECT 1 FROM lease WHERE name = 'scheduler' AND expires_at > clock_timestamp())")
    )
    return bool(alive.scalar_one())
