"""What is owed to the network, as rows. PostgreSQL says what is owed; RQ only rings the bell.

A row is written in the transaction that causes it. A worker claims it for a while (a lease in `next_try_at`,
on real time, renewed while it works), acts, and finishes it under the attempt number it claimed, so that a late
worker finishes nothing. Attempts only ever count up; what a task may have too many of is failures.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from core.database import rows_changed
from core.models import Outbox, OutboxState

DEFAULT: Final = "default"
MESSAGES: Final = "messages"
"""Customer-service messages have a queue of their own: their windows are a minute long."""
SLOW: Final = "slow"
"""Work of minutes or hours, such as comparing all followers: nothing quick waits behind it."""
BROADCASTS: Final = "broadcasts"
"""Messages of merchants to their fans: thousands at a time, which nobody waits for."""
QUEUES: Final = (DEFAULT, MESSAGES, SLOW, BROADCASTS)

LEASE = timedelta(seconds=60)
MAX_FAILURES = 12
SHORTEST_PAUSE = timedelta(seconds=5)
FORGET_AT_ONCE = 10_000
LONGEST_PAUSE = timedelta(hours=1)
NOW = func.statement_timestamp()
"""For comparisons: unlike clock_timestamp() it stays the same within a statement, so that an index can serve it."""


@dataclass(frozen=True)
class Task:
    """One claimed outbox row."""

    id: int
    kind: str
    payload: dict[str, Any]
    merchant_id: int | None
    attempts: int
    failures: int


class TryLater(Exception):
    """Raised by a handler that cannot finish now, and has nothing to complain about."""

    def __init__(self, after: timedelta) -> None:
        super().__init__(f"again after {after}")
        self.after = after


def add(
    session: Session,
    *,
    kind: str,
    dedupe_key: str,
    payload: dict[str, Any],
    queue: str = DEFAULT,
    merchant_id: int | None = None,
    delay: timedelta = timedelta(0),
) -> None:
    """Owe a task once per `dedupe_key`; the queue's bell rings when the transaction commits.

    The payload carries ids only: rows outlive erasure.
    """
    add_many(
        session,
        [row(kind=kind, dedupe_key=dedupe_key, payload=payload, queue=queue, merchant_id=merchant_id)],
        delay=delay,
    )


def row(
    *, kind: str, dedupe_key: str, payload: dict[str, Any], queue: str = DEFAULT, merchant_id: int | None = None
) -> dict[str, Any]:
    """A row for `add_many`."""
    return {"kind": kind, "dedupe_key": dedupe_key, "payload": payload, "queue": queue, "merchant_id": merchant_id}


def add_many(session: Session, rows: list[dict[str, Any]], *, delay: timedelta = timedelta(0)) -> None:
    """`add` for many rows in one statement."""
    if not rows:
        return
    statement = insert(Outbox).values(next_try_at=func.clock_timestamp() + delay).on_conflict_do_nothing()
    session.execute(statement, rows)
    if not delay:
        ring_after_commit(session, *{entry["queue"] for entry in rows})


def ring_after_commit(session: Session, *queues: str) -> None:
    """Have the bells of these queues rung when the transaction commits."""
    session.info.setdefault("queues", set()).update(queues)


def to_ring(session: Session) -> Collection[str]:
    """The queues whose bells a transaction wants rung."""
    rung: Collection[str] = session.info.get("queues", ())
    return rung


def claim(session: Session, queue: str) -> Task | None:
    """Take the next due task of a queue for `LEASE`; None when nothing is due."""
    due = (
        select(Outbox.id)
        .where(Outbox.state == OutboxState.PENDING, Outbox.queue == queue, Outbox.next_try_at <= NOW)
        .order_by(Outbox.next_try_at)
        .limit(1)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    claimed = session.execute(
        update(Outbox)
        .where(Outbox.id == due)
        .values(attempts=Outbox.attempts + 1, next_try_at=func.clock_timestamp() + LEASE)
        .returning(Outbox.id, Outbox.kind, Outbox.payload, Outbox.merchant_id, Outbox.attempts, Outbox.failures)
    ).one_or_none()
    return None if claimed is None else Task(*claimed)


def renew(session: Session, task: Task) -> bool:
    """Keep a claimed task for another `LEASE`; False when somebody else has claimed it since."""
    return _settle(session, task, next_try_at=func.clock_timestamp() + LEASE)


def finish(session: Session, task: Task) -> bool:
    """Mark a task done; False when somebody else has claimed it since.

    A handler that must act once finishes its task itself, first thing in the transaction that does the work.
    """
    return _settle(session, task, state=OutboxState.DONE, finished_at=func.clock_timestamp(), last_error=None)


def postpone(session: Session, task: Task, *, after: timedelta) -> bool:
    """Return a task that did not fail but has to wait."""
    return _settle(session, task, next_try_at=func.clock_timestamp() + after)


def put_back(session: Session, task: Task, *, error: str) -> bool:
    """Return a task that failed: to be tried again, later each time, and never once it failed too often."""
    failures = task.failures + 1
    if failures >= MAX_FAILURES:
        end = {"state": OutboxState.DEAD, "finished_at": func.clock_timestamp()}
        return _settle(session, task, failures=failures, last_error=error, **end)
    pause = min(SHORTEST_PAUSE * 2**task.failures, LONGEST_PAUSE)
    return _settle(session, task, failures=failures, last_error=error, next_try_at=func.clock_timestamp() + pause)


def _settle(session: Session, task: Task, **values: Any) -> bool:
    mine = update(Outbox).where(
        Outbox.id == task.id, Outbox.attempts == task.attempts, Outbox.state == OutboxState.PENDING
    )
    return rows_changed(session.execute(mine.values(**values))) == 1


def due_queues(session: Session) -> list[str]:
    """Queues that hold due work: the sweeper rings their bells."""
    due = select(Outbox.queue).distinct().where(Outbox.state == OutboxState.PENDING, Outbox.next_try_at <= NOW)
    return list(session.scalars(due))


def revive(session: Session, task_id: int) -> bool:
    """Give a dead task another round of attempts (the operator's button)."""
    statement = update(Outbox).where(Outbox.id == task_id, Outbox.state == OutboxState.DEAD)
    values = {"state": OutboxState.PENDING, "failures": 0, "next_try_at": func.clock_timestamp(), "finished_at": None}
    ring_after_commit(session, *QUEUES)
    return rows_changed(session.execute(statement.values(**values))) == 1


def forget_finished(session: Session, *, days: int = 14) -> int:
    """Delete finished rows that nobody will ask about any more, the oldest first; returns how many."""
    statement = text("""
        DELETE FROM outbox WHERE id IN (
            SELECT id FROM outbox
            WHERE state = 'done' AND finished_at < clock_timestamp() - :days * interval '1 day'
            ORDER BY finished_at LIMIT :most)""")
    return rows_changed(session.execute(statement, {"days": days, "most": FORGET_AT_ONCE}))
