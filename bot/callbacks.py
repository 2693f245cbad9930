"""How the callback fared, minute by minute: how soon it answered, with what, and why not, without a word about whom.

Kept 30 days. The processes at the public port add to it (`web/pulse.py`), `bot/insight.py` reads it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from sqlalchemy import ARRAY, CheckConstraint, Integer, SmallInteger, Text, text
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.database import Base
from core.models import Timestamp
from core.personal import PLAIN

BOUNDS_MS: Final = (5, 10, 20, 50, 100, 200, 500, 1000, 2000, 3000, 4500)
"""The upper ends of the histogram's buckets; what took longer is in one more."""
LATE_MS: Final = BOUNDS_MS[-1]
"""The platform hangs up after five seconds: whatever takes so long is as good as lost (EV-15)."""
TIMED: Final = frozenset((200, 503))
"""Answers to the platform itself. Strangers are turned away at once and would make the others look quick."""


class CallbackMinute(Base):
    """One minute of all processes together."""

    __tablename__ = "callback_minute"
    __table_args__ = (CheckConstraint("cardinality(buckets) = 12", name="buckets"),)

    minute: Mapped[datetime] = mapped_column(Timestamp, primary_key=True)
    ok: Mapped[int] = mapped_column(Integer)
    forbidden: Mapped[int] = mapped_column(Integer)
    too_large: Mapped[int] = mapped_column(Integer)
    unavailable: Mapped[int] = mapped_column(Integer)
    other: Mapped[int] = mapped_column(Integer)
    late: Mapped[int] = mapped_column(Integer)
    buckets: Mapped[list[int]] = mapped_column(ARRAY(Integer), info=PLAIN)


class CallbackFailure(Base):
    """What went wrong within a minute, how often, and when last."""

    __tablename__ = "callback_failure"

    minute: Mapped[datetime] = mapped_column(Timestamp, primary_key=True)
    status: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    reason: Mapped[str] = mapped_column(Text, primary_key=True, info=PLAIN)
    detail: Mapped[str] = mapped_column(Text, primary_key=True, info=PLAIN)
    times: Mapped[int] = mapped_column(Integer)


@dataclass(slots=True)
class Tally:
    """What one process counted within one minute."""

    ok: int = 0
    forbidden: int = 0
    too_large: int = 0
    unavailable: int = 0
    other: int = 0
    late: int = 0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_MS) + 1))
    failures: dict[tuple[int, str, str], int] = field(default_factory=dict)

    def add(self, status: int, milliseconds: float, reason: str, detail: str) -> None:
        """Count one answer."""
        name = _COLUMNS.get(status, "other")
        setattr(self, name, getattr(self, name) + 1)
        if status in TIMED:
            self.buckets[bisect_left(BOUNDS_MS, milliseconds)] += 1
            self.late += milliseconds > LATE_MS
        if reason:
            failure = (status, reason, detail)
            self.failures[failure] = self.failures.get(failure, 0) + 1

    def merge(self, other: Tally) -> None:
        """Count another one's on top."""
        for name in _NUMBERS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.buckets = [mine + theirs for mine, theirs in zip(self.buckets, other.buckets, strict=True)]
        for failure, times in other.failures.items():
            self.failures[failure] = self.failures.get(failure, 0) + times


_COLUMNS: Final = {200: "ok", 403: "forbidden", 413: "too_large", 503: "unavailable"}
_NUMBERS: Final = (*_COLUMNS.values(), "other", "late")

_ADD_MINUTE: Final = text("""
    INSERT INTO callback_minute AS m (minute, ok, forbidden, too_large, unavailable, other, late, buckets)
    VALUES (coalesce(cast(:minute AS timestamptz), date_trunc('minute', app_now())),
            :ok, :forbidden, :too_large, :unavailable, :other, :late, cast(:buckets AS integer[]))
    ON CONFLICT (minute) DO UPDATE SET
        ok = m.ok + excluded.ok, forbidden = m.forbidden + excluded.forbidden,
        too_large = m.too_large + excluded.too_large, unavailable = m.unavailable + excluded.unavailable,
        other = m.other + excluded.other, late = m.late + excluded.late,
        buckets = (SELECT array_agg(mine + theirs ORDER BY place)
                   FROM unnest(m.buckets, excluded.buckets) WITH ORDINALITY AS both_of(mine, theirs, place))""")
_ADD_FAILURE: Final = text("""
    INSERT INTO callback_failure AS f (minute, status, reason, detail, times)
    VALUES (coalesce(cast(:minute AS timestamptz), date_trunc('minute', app_now())), :status, :reason, :detail, :times)
    ON CONFLICT (minute, status, reason, detail) DO UPDATE SET times = f.times + excluded.times""")


def keep(session: Session, tallies: Iterable[tuple[datetime | None, Tally]]) -> None:
    """Add what a process counted, all in one order; a minute that nobody could tell is this one."""
    for minute, tally in sorted(tallies, key=lambda one: (one[0] is not None, one[0])):
        numbers = {name: getattr(tally, name) for name in _NUMBERS}
        session.execute(_ADD_MINUTE, {"minute": minute, "buckets": tally.buckets, **numbers})
        for (status, reason, detail), times in sorted(tally.failures.items()):
            values = {"minute": minute, "status": status, "reason": reason, "detail": detail, "times": times}
            session.execute(_ADD_FAILURE, values)
