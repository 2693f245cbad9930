"""The callback's pulse survives a database that is away, adds up over processes, and is forgotten in time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select, text

from bot import callbacks, retention
from bot.callbacks import CallbackFailure, CallbackMinute, Tally
from core import outbox
from core.database import Role
from core.runtime import Runtime
from tests.conftest import advance
from web import callback
from web.callback import Answer
from web.pulse import MOST_MINUTES, Minutes, Pulse

NOON = datetime(2026, 11, 23, 4, 0, 30, tzinfo=UTC)
OK = Answer(200, b"success")


class Hours:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.at: datetime | None = NOON

    def now(self) -> datetime:
        if self.at is None:
            raise RuntimeError("the clock was never read")
        return self.at


def kept(runtime: Runtime) -> dict[str, object]:
    with runtime.transaction(Role.PLATFORM) as session:
        [row] = session.execute(text("SELECT * FROM callback_minute")).mappings()
        return dict(row)


def test_two_processes_add_up_to_one_minute(runtime: Runtime) -> None:
    def keep(minutes: Minutes) -> None:
        with runtime.transaction(Role.PLATFORM) as session:
            callbacks.keep(session, minutes)

    first, second = Pulse(Hours().now, keep), Pulse(Hours().now, keep)
    for pulse, seconds in ((first, 0.001), (first, 0.03), (second, 0.03), (second, 4.6)):
        pulse.note(OK, seconds)
    first.note(callback.unavailable("inbox", "OperationalError"), 0.2)
    second.note(callback.unavailable("inbox", "OperationalError"), 4.5)
    second.note(callback.FORBIDDEN, 0.0001)
    second.note(callback.TOO_LARGE, 0.0001)
    second.note(callback.UNSUPPORTED, 0.0001)
    for pulse in (first, second, first):
        pulse.flush()
    minute = kept(runtime)
    assert minute["minute"] == NOON.replace(second=0)
    assert [minute[name] for name in ("ok", "unavailable", "forbidden", "too_large", "other", "late")] == [
        4,
        2,
        1,
        1,
        1,
        1,
    ]
    assert minute["buckets"] == [1, 0, 0, 2, 0, 1, 0, 0, 0, 0, 1, 1]
    with runtime.transaction(Role.PLATFORM) as session:
        rows = session.execute(
            text("SELECT status, reason, detail, times FROM callback_failure ORDER BY status, reason")
        )
        assert [tuple(row) for row in rows] == [
            (403, "signature", "", 1), (413, "too_large", "", 1), (415, "encoding", "", 1),
            (503, "inbox", "OperationalError", 2),
        ]  # fmt: skip


def test_what_could_not_be_written_waits_and_nothing_is_counted_twice() -> None:
    written: list[Minutes] = []
    clock, is_away = Hours(), True

    def keep(minutes: Minutes) -> None:
        if is_away:
            raise ConnectionError
        written.append(minutes)

    pulse = Pulse(clock.now, keep)
    pulse.note(OK, 0.01)
    pulse.flush()
    pulse.note(callback.unavailable("late"), 4.5)
    clock.at = NOON + timedelta(minutes=1)
    pulse.note(OK, 0.01)
    pulse.flush()
    is_away = False
    pulse.flush()
    pulse.flush()
    [minutes] = written
    assert [(minute and minute.minute, tally.ok, tally.unavailable) for minute, tally in minutes] == [
        (0, 1, 1),
        (1, 1, 0),
    ]


def test_a_long_outage_forgets_the_oldest_minutes_first() -> None:
    def keep(_minutes: Minutes) -> None:
        raise ConnectionError

    clock = Hours()
    pulse = Pulse(clock.now, keep)
    for minute in range(MOST_MINUTES + 3):
        clock.at = NOON + timedelta(minutes=minute)
        pulse.note(OK, 0.01)
    pulse.flush()
    oldest = min(minute for minute in pulse._minutes if minute)
    assert (len(pulse._minutes), oldest) == (MOST_MINUTES, NOON.replace(second=0) + timedelta(minutes=3))


def test_before_the_time_is_known_the_minute_is_the_one_of_writing(runtime: Runtime) -> None:
    clock = Hours()
    clock.at = None
    pulse = Pulse(clock.now, lambda minutes: keep_in(runtime, minutes))
    pulse.note(callback.unavailable("clock"), 0.0)
    pulse.flush()
    at = kept(runtime)["minute"]
    assert isinstance(at, datetime)
    assert abs(at - runtime.now()) < timedelta(minutes=2)


def keep_in(runtime: Runtime, minutes: Minutes) -> None:
    with runtime.transaction(Role.PLATFORM) as session:
        callbacks.keep(session, minutes)


def test_after_thirty_days_it_is_forgotten(runtime: Runtime) -> None:
    tally = Tally()
    tally.add(503, 10, "late", "")
    keep_in(runtime, [(runtime.now(), tally)])
    advance(runtime, timedelta(days=31))
    with runtime.transaction(Role.PLATFORM) as session:
        retention.owe(session, runtime.now())
        task = outbox.claim(session, outbox.DEFAULT)
    assert task is not None
    retention.forget_old(runtime, task)
    with runtime.transaction(Role.PLATFORM) as session:
        for table in (CallbackMinute, CallbackFailure):
            assert session.scalar(select(func.count()).select_from(table)) == 0


@pytest.mark.parametrize("answer", [callback.FORBIDDEN, callback.STALE, callback.SEALED_OTHERWISE])
def test_a_stranger_cannot_tell_the_reasons_apart(answer: Answer) -> None:
    assert (answer.status, answer.body, answer.headers) == (403, b"", callback.HEADERS)
