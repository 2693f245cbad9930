"""The callback's pulse: what it answered and how soon, counted in memory and written down every few seconds.

Counting is a few additions on the event loop; writing happens on a thread of its own and may fail, in which case the
numbers wait for the next time. Nothing of what was said or by whom gets in here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from threading import Lock
from typing import Final

import structlog

from bot.callbacks import Tally
from web.callback import Answer

EVERY_S: Final = 5.0
MOST_MINUTES: Final = 24 * 60
"""Minutes that wait for a database that is away; beyond that the oldest are forgotten."""

Minutes = Sequence[tuple[datetime | None, Tally]]

log = structlog.get_logger(__name__)


class Pulse:
    """Counts for one process. `now` may raise while the time is not known; `keep` writes and may raise."""

    def __init__(self, now: Callable[[], datetime], keep: Callable[[Minutes], None]) -> None:
        self._now = now
        self._keep = keep
        self._lock = Lock()
        self._minutes: dict[datetime | None, Tally] = {}

    def note(self, answer: Answer, seconds: float) -> None:
        """Count one answer under the minute it was given in."""
        try:
            minute = self._now().replace(second=0, microsecond=0)
        except RuntimeError:
            minute = None
        with self._lock:
            tally = self._minutes.setdefault(minute, Tally())
            tally.add(answer.status, seconds * 1000, answer.reason, answer.detail)

    def flush(self) -> None:
        """Write down what was counted since the last time; keep it if that fails."""
        with self._lock:
            waiting, self._minutes = self._minutes, {}
        if not waiting:
            return
        try:
            self._keep(list(waiting.items()))
        except Exception as error:
            log.warning("the callback's pulse could not be kept", error=type(error).__name__, minutes=len(waiting))
            self._take_back(waiting)

    def _take_back(self, waiting: dict[datetime | None, Tally]) -> None:
        with self._lock:
            for minute, tally in self._minutes.items():
                waiting.setdefault(minute, Tally()).merge(tally)
            for oldest in list(waiting)[: max(0, len(waiting) - MOST_MINUTES)]:
                del waiting[oldest]
            self._minutes = waiting
