"""Waiting out the platform's limits: they pass by themselves, and nothing was sent or made."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import wraps
from typing import Final

from core.jobs import Handler
from core.outbox import Task, TryLater
from core.runtime import Runtime
from wechat.errors import QuotaSpent, WaitAMinute

PAUSE: Final = timedelta(minutes=1)
PAUSE_UNTIL_QUOTA: Final = timedelta(hours=1)


@contextmanager
def waiting_out_limits() -> Iterator[None]:
    """Put the task back for later where a limit stands in the way of what is done in here."""
    try:
        yield
    except WaitAMinute as refusal:
        raise TryLater(PAUSE) from refusal
    except QuotaSpent as refusal:
        raise TryLater(PAUSE_UNTIL_QUOTA) from refusal


def patient(handler: Handler) -> Handler:
    """The same handler, put back for later where a limit stands in the way; every other refusal is the outbox's."""

    @wraps(handler)
    def wait(runtime: Runtime, task: Task) -> None:
        with waiting_out_limits():
            handler(runtime, task)

    return wait
