"""The outbox: owed once, claimed by one, finished under the attempt that claimed it, and never lost."""

import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
import redis
from sqlalchemy import text

from core import jobs, outbox
from core.bell import DRAIN, Bell, connect, queue_named
from core.database import Role
from core.outbox import DEFAULT, MESSAGES, Task, TryLater
from core.runtime import Runtime
from tests.conftest import free_port, wait_until


def owe(runtime: Runtime, key: str, *, kind: str = "greet", queue: str = DEFAULT) -> None:
    with runtime.transaction(Role.PLATFORM) as session:
        outbox.add(session, kind=kind, dedupe_key=key, payload={"key": key}, queue=queue)


def claim(runtime: Runtime, queue: str = DEFAULT) -> Task | None:
    with runtime.transaction(Role.PLATFORM) as session:
        return outbox.claim(session, queue)


def claimed(runtime: Runtime) -> Task:
    task = claim(runtime)
    assert task is not None
    return task


def rows(runtime: Runtime) -> list[Any]:
    with runtime.transaction(Role.PLATFORM) as session:
        found = session.execute(
            text("""
                SELECT dedupe_key, state, attempts, failures, last_error,
                       extract(epoch FROM next_try_at - clock_timestamp()) AS due_in
                FROM outbox ORDER BY id""")
        )
        return list(found)


def make_due(runtime: Runtime) -> None:
    """As if every pause and every lease had passed."""
    with runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("UPDATE outbox SET next_try_at = clock_timestamp() WHERE state = 'pending'"))


def test_owed_once_whoever_asks_again(runtime: Runtime) -> None:
    owe(runtime, "ann")
    owe(runtime, "ann")
    assert [row.dedupe_key for row in rows(runtime)] == ["ann"]


def test_what_is_rolled_back_is_not_owed_and_rings_no_bell(runtime: Runtime) -> None:
    with suppress(ZeroDivisionError), runtime.transaction(Role.PLATFORM) as session:
        outbox.add(session, kind="greet", dedupe_key="ann", payload={})
        raise ZeroDivisionError
    assert rows(runtime) == []
    runtime.bell.flush()
    assert waiting(runtime) == []


def test_a_task_is_claimed_by_one_and_again_only_after_its_lease(runtime: Runtime) -> None:
    owe(runtime, "ann")
    assert claim(runtime, MESSAGES) is None
    first = claimed(runtime)
    assert claim(runtime) is None
    make_due(runtime)
    assert claimed(runtime).attempts == first.attempts + 1


def test_two_workers_at_once_claim_different_tasks(runtime: Runtime) -> None:
    for key in ("ann", "ben"):
        owe(runtime, key)
    with runtime.transaction(Role.PLATFORM) as one, runtime.transaction(Role.PLATFORM) as other:
        mine, theirs = outbox.claim(one, DEFAULT), outbox.claim(other, DEFAULT)
        assert mine is not None
        assert theirs is not None
        assert mine.id != theirs.id
        assert outbox.claim(other, DEFAULT) is None


def test_a_late_worker_finishes_and_renews_nothing(runtime: Runtime) -> None:
    owe(runtime, "ann")
    late = claimed(runtime)
    make_due(runtime)
    current = claimed(runtime)
    with runtime.transaction(Role.PLATFORM) as session:
        assert not outbox.renew(session, late)
        assert not outbox.finish(session, late)
        assert not outbox.put_back(session, late, error="late")
        assert outbox.renew(session, current)
        assert outbox.finish(session, current)
    assert [row.state for row in rows(runtime)] == ["done"]


def test_failures_wait_longer_each_time_and_end_dead_until_revived(runtime: Runtime) -> None:
    owe(runtime, "ann")
    pauses = []
    for _ in range(outbox.MAX_FAILURES):
        make_due(runtime)
        task = claimed(runtime)
        with runtime.transaction(Role.PLATFORM) as session:
            outbox.put_back(session, task, error="Boom")
        pauses.append(float(rows(runtime)[0].due_in))
    (row,) = rows(runtime)
    assert (row.state, row.failures, row.last_error) == ("dead", outbox.MAX_FAILURES, "Boom")
    assert pauses[:3] == pytest.approx([5, 10, 20], abs=2)
    assert max(pauses) <= outbox.LONGEST_PAUSE.total_seconds()
    make_due(runtime)
    assert claim(runtime) is None
    with runtime.transaction(Role.PLATFORM) as session:
        assert outbox.revive(session, task.id)
    assert claimed(runtime).failures == 0


def test_waiting_is_no_failure(runtime: Runtime) -> None:
    owe(runtime, "ann")
    for _ in range(outbox.MAX_FAILURES + 3):
        make_due(runtime)
        task = claimed(runtime)
        with runtime.transaction(Role.PLATFORM) as session:
            outbox.postpone(session, task, after=timedelta(minutes=1))
    (row,) = rows(runtime)
    assert (row.state, row.failures) == ("pending", 0)
    assert float(row.due_in) == pytest.approx(60, abs=5)


def test_the_sweeper_knows_which_queues_hold_due_work(runtime: Runtime) -> None:
    owe(runtime, "ann", queue=MESSAGES)
    with runtime.transaction(Role.PLATFORM) as session:
        outbox.add(session, kind="greet", dedupe_key="later", payload={}, delay=timedelta(hours=1))
    with runtime.transaction(Role.PLATFORM) as session:
        assert outbox.due_queues(session) == [MESSAGES]


def test_finished_rows_are_forgotten_after_two_weeks(runtime: Runtime) -> None:
    for key in ("old", "new", "open"):
        owe(runtime, key)
    with runtime.transaction(Role.PLATFORM) as session:
        session.execute(
            text("UPDATE outbox SET state = 'done', finished_at = clock_timestamp() WHERE dedupe_key <> 'open'")
        )
        session.execute(
            text("UPDATE outbox SET finished_at = finished_at - interval '15 days' WHERE dedupe_key = 'old'")
        )
        assert outbox.forget_finished(session) == 1
    assert {row.dedupe_key for row in rows(runtime)} == {"new", "open"}


# ---- Working it off --------------------------------------------------------------------------------------------------


def test_a_failing_task_does_not_keep_the_others_waiting(runtime: Runtime) -> None:
    greeted = []

    def greet(_: Runtime, task: Task) -> None:
        if task.payload["key"] == "ann":
            raise LookupError("what a follower wrote")
        greeted.append(task.payload["key"])

    for key in ("ann", "ben", "cat"):
        owe(runtime, key)
    assert jobs.drain(runtime, {"greet": greet}, DEFAULT) == 3
    assert greeted == ["ben", "cat"]
    ann, *others = rows(runtime)
    assert (ann.state, ann.last_error) == ("pending", "LookupError")
    assert {row.state for row in others} == {"done"}


def test_a_task_may_ask_for_a_later_time(runtime: Runtime) -> None:
    def greet(_: Runtime, __: Task) -> None:
        raise TryLater(timedelta(minutes=10))

    owe(runtime, "ann")
    jobs.drain(runtime, {"greet": greet}, DEFAULT)
    (row,) = rows(runtime)
    assert (row.state, row.failures) == ("pending", 0)
    assert float(row.due_in) == pytest.approx(600, abs=5)


def test_a_kind_nobody_knows_is_shown_not_lost(runtime: Runtime) -> None:
    owe(runtime, "ann", kind="dance")
    jobs.drain(runtime, {}, DEFAULT)
    assert [(row.state, row.last_error) for row in rows(runtime)] == [("pending", "KeyError")]


def test_a_long_task_stays_claimed_while_it_works(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "LEASE", timedelta(seconds=0.6))
    others: list[Task | None] = []

    def knit(_: Runtime, __: Task) -> None:
        for _turn in range(6):
            time.sleep(0.2)
            others.append(claim(runtime))

    owe(runtime, "ann", kind="knit")
    jobs.drain(runtime, {"knit": knit}, DEFAULT)
    assert others == [None] * 6
    assert [(row.state, row.attempts) for row in rows(runtime)] == [("done", 1)]


def test_a_task_can_end_in_the_transaction_that_does_the_work(runtime: Runtime) -> None:
    def greet(_: Runtime, task: Task) -> None:
        with runtime.transaction(Role.PLATFORM) as session:
            assert outbox.finish(session, task)

    owe(runtime, "ann")
    jobs.drain(runtime, {"greet": greet}, DEFAULT)
    assert [row.state for row in rows(runtime)] == ["done"]


# ---- The bell --------------------------------------------------------------------------------------------------------


def waiting(runtime: Runtime, queue: str = DEFAULT) -> list[str]:
    return [str(job.func_name) for job in queue_named(queue, connect(runtime.redis_url)).jobs]


def test_a_commit_rings_the_bell_of_the_queues_it_wrote_to(runtime: Runtime) -> None:
    owe(runtime, "ann")
    runtime.bell.flush()
    wait_until(lambda: waiting(runtime) == [DRAIN], what="the bell")
    assert waiting(runtime, MESSAGES) == []


def test_ringing_again_while_a_job_waits_adds_nothing(runtime: Runtime) -> None:
    for key in ("ann", "ben", "cat"):
        owe(runtime, key)
        runtime.bell.flush()
    assert waiting(runtime) == [DRAIN]


def test_what_rings_carries_no_more_than_the_queues_name(runtime: Runtime) -> None:
    owe(runtime, "oSomebody")
    runtime.bell.flush()
    client = redis.Redis.from_url(runtime.redis_url)
    for key in client.scan_iter():
        dump = client.dump(key) or b""
        assert b"oSomebody" not in dump


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """A port that takes connections and never answers: the cruellest kind of outage."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(1)
        yield server.getsockname()[1]


def test_nobody_waits_for_a_redis_that_is_away_or_deaf(deaf_port: int) -> None:
    for port in (free_port(), deaf_port):
        bell = Bell(f"redis://127.0.0.1:{port}/0")
        started = time.monotonic()
        for _ in range(100):
            bell.ring(DEFAULT, MESSAGES)
        assert time.monotonic() - started < 1
