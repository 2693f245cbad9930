"""What happens by itself: periodic tasks, started by whichever scheduler holds the lease.

The lease is a row on real time, so it works behind a connection pooler and a dead leader is replaced in seconds.
Tasks are due by the application's clock: moving it a month ahead runs what a month would have run, once.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta

import structlog
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from core import outbox
from core.clock import SHANGHAI
from core.database import Role, rows_changed
from core.runtime import Runtime

log = structlog.get_logger(__name__)

LEASE_S = 15
BEAT_S = 2.0
SWEEP_BEATS = 2


@dataclass(frozen=True)
class Periodic:
    """A task that is started every so often, or once a Shanghai day from a time on.

    `start` runs inside the scheduler's transaction and only writes outbox rows or does small local work.
    """

    name: str
    start: Callable[[Session, datetime], None]
    every: timedelta | None = None
    daily_at: time | None = None

    def is_due(self, last: datetime | None, now: datetime) -> bool:
        if last is None or last > now + timedelta(days=1):  # the clock was turned back
            return True
        if self.every is not None:
            return abs(now - last) >= self.every
        assert self.daily_at is not None  # noqa: S101
        today = now.astimezone(SHANGHAI)
        since = datetime.combine(today.date(), self.daily_at, SHANGHAI)
        return last < since <= now


class Scheduler:
    def __init__(self, runtime: Runtime, tasks: Sequence[Periodic]) -> None:
        self._runtime = runtime
        self._tasks = tasks
        self._holder = secrets.token_hex(8)

    def run(self, stop: threading.Event) -> None:
        """Beat until told to stop. A database that is away is waited for."""
        beats = 0
        while not stop.is_set():
            try:
                if self.lead():
                    self.start_due()
                    if beats % SWEEP_BEATS == 0:
                        self.sweep()
            except SQLAlchemyError as error:
                log.warning("scheduler waits for the database", error=type(error).__name__)
            beats += 1
            stop.wait(BEAT_S)
        self.resign()

    def lead(self) -> bool:
        """Take or renew the lease; False while another scheduler holds it."""
        statement = text("""
            INSERT INTO lease (name, holder, expires_at)
            VALUES ('scheduler', :holder, clock_timestamp() + :seconds * interval '1 second')
            ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at
            WHERE lease.holder = excluded.holder OR lease.expires_at < clock_timestamp()""")
        with self._runtime.transaction(Role.PLATFORM) as session:
            return rows_changed(session.execute(statement, {"holder": self._holder, "seconds": LEASE_S})) == 1

    def resign(self) -> None:
        """Give the lease up at once, so that a deploy does not wait for it to run out."""
        try:
            with self._runtime.transaction(Role.PLATFORM) as session:
                session.execute(text("DELETE FROM lease WHERE holder = :holder"), {"holder": self._holder})
        except SQLAlchemyError:
            log.warning("lease left to run out")

    def start_due(self) -> list[str]:
        """Start every task that is due; returns their names. One that fails is tried at the next beat."""
        started = []
        for task in self._tasks:
            try:
                if self._start_if_due(task):
                    started.append(task.name)
            except Exception:
                log.exception("periodic task failed", task=task.name)
        return started

    def _start_if_due(self, task: Periodic) -> bool:
        with self._runtime.transaction(Role.PLATFORM) as session:
            now: datetime = session.execute(text("SELECT app_now()")).scalar_one()
            last = session.execute(
                text("SELECT last_started_at FROM periodic_run WHERE name = :name"), {"name": task.name}
            ).scalar()
            if not task.is_due(last, now):
                return False
            # A leader that was stopped for longer than its lease may wake up beside the new one: of two that saw the
            # same last start, one goes on.
            mine = text("""
                INSERT INTO periodic_run (name, last_started_at) VALUES (:name, :now)
                ON CONFLICT (name) DO UPDATE SET last_started_at = excluded.last_started_at
                WHERE periodic_run.last_started_at = :last""")
            if not rows_changed(session.execute(mine, {"name": task.name, "now": now, "last": last})):
                return False
            task.start(session, now)
            return True

    def sweep(self) -> None:
        """Ring for whatever is due: a bell that was lost costs seconds, not data."""
        with self._runtime.transaction(Role.PLATFORM) as session:
            queues = outbox.due_queues(session)
        self._runtime.bell.ring(*queues)
