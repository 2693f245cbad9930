"""The scheduler: one leads, another takes over, and each task starts once however many try."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from core import outbox
from core.bell import DRAIN, connect, queue_named
from core.clock import SHANGHAI
from core.database import Role
from core.runtime import Runtime
from core.scheduler import Periodic, Scheduler
from tests.conftest import advance, wait_until


class Notes:
    """A periodic task's `start` that remembers when it ran."""

    def __init__(self) -> None:
        self.times: list[datetime] = []

    def __call__(self, _: Session, now: datetime) -> None:
        self.times.append(now)


def hourly(start: Callable[[Session, datetime], None], name: str = "tidy") -> Periodic:
    return Periodic(name, start, every=timedelta(hours=1))


# ---- When a task is due ----------------------------------------------------------------------------------------------

NOON = datetime(2026, 5, 4, 12, tzinfo=SHANGHAI).astimezone(UTC)


@pytest.mark.parametrize(
    ("hours_ago", "is_due"), [(0.5, False), (1, True), (24 * 40, True), (-0.5, False), (-2, True), (None, True)]
)
def test_every_so_often_even_after_the_clock_was_turned_back(hours_ago: float | None, is_due: bool) -> None:
    last = None if hours_ago is None else NOON - timedelta(hours=hours_ago)
    assert hourly(Notes()).is_due(last, NOON) is is_due


@pytest.mark.parametrize(
    ("last", "now", "is_due"),
    [
        ((4, 3, 11), (4, 12, 0), False),  # today's is done
        ((3, 3, 11), (4, 3, 9), False),  # not yet
        ((3, 3, 11), (4, 3, 10), True),
        ((3, 3, 11), (4, 23, 59), True),  # late is better than never
        ((1, 3, 11), (4, 3, 0), False),  # a day that was missed is not made up for in the night
    ],
)
def test_once_a_shanghai_day(last: tuple[int, int, int], now: tuple[int, int, int], is_due: bool) -> None:
    nightly = Periodic("nightly", Notes(), daily_at=time(3, 10))

    def moment(day: int, hour: int, minute: int) -> datetime:
        return datetime(2026, 5, day, hour, minute, tzinfo=SHANGHAI).astimezone(UTC)

    assert nightly.is_due(moment(*last), moment(*now)) is is_due


# ---- Who starts it ---------------------------------------------------------------------------------------------------


def test_a_task_starts_once_until_it_is_due_again(runtime: Runtime) -> None:
    notes = Notes()
    scheduler = Scheduler(runtime, [hourly(notes)])
    assert scheduler.start_due() == ["tidy"]
    assert scheduler.start_due() == []
    advance(runtime, timedelta(hours=1))
    assert scheduler.start_due() == ["tidy"]
    assert len(notes.times) == 2


def test_a_month_in_a_second_starts_a_task_once(runtime: Runtime) -> None:
    notes = Notes()
    scheduler = Scheduler(runtime, [hourly(notes)])
    scheduler.start_due()
    advance(runtime, timedelta(days=31))
    scheduler.start_due()
    scheduler.start_due()
    assert len(notes.times) == 2


def test_one_leads_and_the_other_takes_over_when_the_lease_runs_out(runtime: Runtime) -> None:
    leader, other = Scheduler(runtime, []), Scheduler(runtime, [])
    assert leader.lead()
    assert not other.lead()
    assert leader.lead()
    with runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("UPDATE lease SET expires_at = clock_timestamp() - interval '1 second'"))
    assert other.lead()
    assert not leader.lead()


def test_who_resigns_is_followed_at_once(runtime: Runtime) -> None:
    leader, other = Scheduler(runtime, []), Scheduler(runtime, [])
    leader.lead()
    leader.resign()
    assert other.lead()
    leader.resign()
    assert not leader.lead()


def test_of_two_that_both_believe_to_lead_one_starts_the_task(runtime: Runtime) -> None:
    for _ in range(20):
        notes = Notes()
        barrier = threading.Barrier(2)

        class Slow(Periodic):
            """Makes both see the same last start before either writes."""

            def is_due(self, last: datetime | None, now: datetime, barrier: threading.Barrier = barrier) -> bool:
                barrier.wait(5)
                return super().is_due(last, now)

        task = Slow("tidy", notes, every=timedelta(0))
        started: list[list[str]] = []
        threads = [
            threading.Thread(
                target=lambda task=task, started=started: started.append(Scheduler(runtime, [task]).start_due())
            )
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(started) == [[], ["tidy"]]
        assert len(notes.times) == 1


def test_a_task_that_fails_starts_again_and_keeps_nobody_waiting(runtime: Runtime) -> None:
    def trip(session: Session, _: datetime) -> None:
        session.execute(text("SELECT 1 / 0"))

    notes = Notes()
    scheduler = Scheduler(runtime, [hourly(trip, "trips"), hourly(notes, "tidy")])
    assert scheduler.start_due() == ["tidy"]
    assert scheduler.start_due() == []
    with runtime.transaction(Role.PLATFORM) as session:
        assert list(session.scalars(text("SELECT name FROM periodic_run"))) == ["tidy"]


def test_what_a_task_owes_is_owed_with_its_start_or_not_at_all(runtime: Runtime) -> None:
    def owe(session: Session, now: datetime) -> None:
        outbox.add(session, kind="tidy", dedupe_key=f"tidy:{now:%H}", payload={})

    scheduler = Scheduler(runtime, [hourly(owe)])
    scheduler.start_due()
    with runtime.transaction(Role.PLATFORM) as session:
        assert session.execute(text("SELECT count(*) FROM outbox")).scalar_one() == 1
    runtime.bell.flush()


def test_the_sweep_rings_for_what_is_still_due(runtime: Runtime) -> None:
    with runtime.transaction(Role.PLATFORM) as session:
        outbox.add(session, kind="greet", dedupe_key="ann", payload={}, queue=outbox.MESSAGES)
    runtime.bell.flush()
    connection = connect(runtime.redis_url)
    connection.flushdb()
    Scheduler(runtime, []).sweep()
    runtime.bell.flush()
    wait_until(lambda: queue_named(outbox.MESSAGES, connection).count == 1, what="the bell")
    assert queue_named(outbox.MESSAGES, connection).jobs[0].func_name == DRAIN
    assert queue_named(outbox.DEFAULT, connection).count == 0


def test_it_beats_until_told_to_stop_and_leaves_no_lease(runtime: Runtime) -> None:
    notes, stop = Notes(), threading.Event()
    thread = threading.Thread(target=Scheduler(runtime, [hourly(notes)]).run, args=(stop,))
    thread.start()
    wait_until(lambda: len(notes.times) == 1, what="the first beat")
    stop.set()
    thread.join(10)
    assert not thread.is_alive()
    with runtime.transaction(Role.PLATFORM) as session:
        assert session.execute(text("SELECT count(*) FROM lease")).scalar_one() == 0
