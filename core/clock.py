"""The one clock. Business code asks here; leases and timeouts run on real time instead.

The database's `app_now()` is the truth: clock_timestamp() plus one offset row, which can be moved against a
sandbox so that a month passes in a second.
"""

import time
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from threading import Lock
from zoneinfo import ZoneInfo

from sqlalchemy import text

from core.database import Database, Role

SHANGHAI = ZoneInfo("Asia/Shanghai")
YEARS = range(2000, 2100)
"""Years that people may mean; others are slips of the finger, and the ends of the calendar cannot be reckoned with."""
REFRESH_SECONDS = 1.0


class Clock:
    """Reads `app_now()` at most once a second per process and carries on with the monotonic clock in between."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = Lock()
        self._anchor: tuple[float, datetime] | None = None

    def now(self) -> datetime:
        """Aware UTC."""
        with self._lock:
            if self._anchor is None or time.monotonic() - self._anchor[0] > REFRESH_SECONDS:
                with self._database.engine(Role.PLATFORM).connect() as connection:
                    before = time.monotonic()
                    now = connection.execute(text("SELECT app_now()")).scalar_one()
                self._anchor = (before, now.astimezone(UTC))
            at, now = self._anchor
            moment: datetime = now + timedelta(seconds=time.monotonic() - at)
            return moment

    def offset(self) -> timedelta:
        """How far the application's clock is ahead of the real one."""
        with self._database.engine(Role.PLATFORM).connect() as connection:
            offset: timedelta = connection.execute(text('SELECT "offset" FROM app_clock')).scalar_one()
        return offset

    def move(self, offset: timedelta) -> None:
        """Set the offset. The caller has made sure that this is not a real account."""
        with self._database.transaction(Role.PLATFORM) as session:
            session.execute(text('UPDATE app_clock SET "offset" = :offset'), {"offset": offset})
        with self._lock:
            self._anchor = None


def business_day(moment: datetime) -> date:
    """The Shanghai day a moment belongs to."""
    return moment.astimezone(SHANGHAI).date()


def start_of_day(day: date) -> datetime:
    """The first moment of a Shanghai day, in UTC; a day ends where the next one starts."""
    return datetime.combine(day, time_of_day.min, SHANGHAI).astimezone(UTC)


def month_of(moment: datetime) -> date:
    """First day of the UTC month: the partition key of large append-only tables."""
    return moment.astimezone(UTC).date().replace(day=1)
