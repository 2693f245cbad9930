"""Working off the outbox: one loop for every kind of task."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import structlog
from sqlalchemy.exc import SQLAlchemyError

from core import outbox
from core.database import Role
from core.outbox import Task, TryLater
from core.runtime import Runtime

log = structlog.get_logger(__name__)

Handler = Callable[[Runtime, Task], None]
"""Does one task. It may run again after a crash: it either is idempotent or fences itself with a state of its own."""


DRAIN_FOR_S = 600
"""No new task is begun after this long; the sweeper rings for the rest. RQ ends a job that goes on for ever."""


def drain(
    runtime: Runtime,
    handlers: Mapping[str, Handler],
    queue: str,
    *,
    is_told_to_stop: Callable[[], bool] = lambda: False,
) -> int:
    """Do the due tasks of a queue, one after another until told to stop; returns how many were taken."""
    taken = 0
    started = time.monotonic()
    while time.monotonic() - started < DRAIN_FOR_S and not is_told_to_stop():
        with runtime.transaction(Role.PLATFORM) as session:
            task = outbox.claim(session, queue)
        if task is None:
            return taken
        taken += 1
        perform(runtime, handlers, task)
    return taken


def perform(runtime: Runtime, handlers: Mapping[str, Handler], task: Task) -> None:
    """Do one claimed task and settle it, whatever happens."""
    try:
        with _kept(runtime, task):
            handlers[task.kind](runtime, task)
    except TryLater as later:
        with runtime.transaction(Role.PLATFORM) as session:
            outbox.postpone(session, task, after=later.after)
    except Exception as error:
        # The class says enough: messages of libraries may carry secrets or text of a follower.
        log.exception("task failed", kind=task.kind, task_id=task.id, attempts=task.attempts)
        with runtime.transaction(Role.PLATFORM) as session:
            outbox.put_back(session, task, error=type(error).__name__)
    else:
        with runtime.transaction(Role.PLATFORM) as session:
            outbox.finish(session, task)


@contextmanager
def _kept(runtime: Runtime, task: Task) -> Iterator[None]:
    """Renew the claim for as long as the work takes: a task may outlast its lease, but not the worker that does it."""
    is_over = threading.Event()

    def renew() -> None:
        while not is_over.wait(outbox.LEASE.total_seconds() / 3):
            try:
                with runtime.transaction(Role.PLATFORM) as session:
                    outbox.renew(session, task)
            except SQLAlchemyError as error:
                log.warning("claim not renewed", task_id=task.id, error=type(error).__name__)

    keeper = threading.Thread(target=renew, name="claim", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        is_over.set()
        # A renewal under way must not overwrite what becomes of the task next.
        keeper.join()
