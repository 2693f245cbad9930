"""The sandbox's own time: real time plus an offset that tests move."""

from __future__ import annotations

import functools
import time
from datetime import UTC, date, datetime

from sandbox.journal import Journal, Table

# The platform counts its days and months in Beijing time, which knows no daylight saving.
BEIJING_SECONDS = 8 * 3600
DAY_SECONDS = 24 * 3600
EPOCH = date(1970, 1, 1).toordinal()


class Clock:
    """Tells the time; the offset survives a restart."""

    def __init__(self, journal: Journal) -> None:
        self._values: Table[float] = Table(journal, "clock", float)

    @property
    def offset(self) -> float:
        """Seconds added to real time."""
        return self._values.get("offset") or 0.0

    def set_offset(self, seconds: float) -> None:
        """Move the clock to real time plus this."""
        self._values.put("offset", seconds)

    def now(self) -> float:
        """Unix time."""
        return time.time() + self.offset

    def iso(self) -> str:
        """The time for logs, UTC."""
        return datetime.fromtimestamp(self.now(), UTC).isoformat(timespec="milliseconds")

    def day(self) -> str:
        """Beijing day, like 2026-11-22."""
        return _day(int(self.now() + BEIJING_SECONDS) // DAY_SECONDS)

    def month(self) -> str:
        """Beijing month, like 2026-11."""
        return self.day()[:7]


@functools.lru_cache(maxsize=8)
def _day(number: int) -> str:
    return date.fromordinal(EPOCH + number).isoformat()
