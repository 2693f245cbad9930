"""Long jobs: told how far they are, stopped at a word, run again after a crash, and a file for one person only."""

import io
import random
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from zipfile import ZipFile

import pytest
from sqlalchemy import func, select, text

from bot import retention
from core import jobs, long_jobs, outbox
from core.database import Role
from core.errors import BusinessError, NotFound
from core.long_jobs import FileTooLarge, Progress, RunningJob, TooManyJobs, Work
from core.models import JobState, LongJob, LongJobPart
from core.outbox import SLOW, Task, TryLater
from core.runtime import Runtime

ANN, BEN = 7, 8
STEPS = 3


def start(runtime: Runtime, *, requested_by: int = ANN, merchant_id: int | None = None) -> int:
    with runtime.transaction(Role.PLATFORM) as session:
        return long_jobs.start(
            session,
            kind="count",
            requested_by=requested_by,
            merchant_id=merchant_id,
            payload={},
            now=runtime.now(),
        )


def row(runtime: Runtime, job_id: int) -> LongJob:
    with runtime.transaction(Role.PLATFORM) as session:
        return session.execute(select(LongJob).where(LongJob.id == job_id)).scalar_one()


def content(runtime: Runtime, job_id: int) -> bytes:
    with runtime.transaction(Role.PLATFORM) as session:
        attempt = session.execute(select(LongJob.attempt).where(LongJob.id == job_id)).scalar_one()
        return b"".join(long_jobs.parts(session, job_id=job_id, attempt=attempt))


def kept_parts(runtime: Runtime) -> int:
    with runtime.transaction(Role.PLATFORM) as session:
        return session.execute(select(func.count()).select_from(LongJobPart)).scalar_one()


def make_due(runtime: Runtime) -> None:
    with runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("UPDATE outbox SET next_try_at = clock_timestamp() WHERE state = 'pending'"))


def work_off(runtime: Runtime, work: Work) -> None:
    make_due(runtime)
    jobs.drain(runtime, {long_jobs.RUN: long_jobs.handler({"count": work})}, SLOW)


def count(_runtime: Runtime, job: RunningJob) -> Iterator[Progress]:
    with job.file("数.txt", "text/plain") as file:
        for number in range(1, STEPS + 1):
            file.write(f"{number}\n".encode())
            yield Progress(number, STEPS)


@pytest.fixture(autouse=True)
def _at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_jobs, "WRITE_EVERY_S", 0.0)


def test_a_job_counts_up_and_leaves_its_file(runtime: Runtime) -> None:
    seen: list[tuple[str, int]] = []
    job_id = start(runtime)

    def watched(runtime: Runtime, job: RunningJob) -> Iterator[Progress]:
        for progress in count(runtime, job):
            yield progress
            seen.append((row(runtime, job_id).state, row(runtime, job_id).done))

    work_off(runtime, watched)
    assert seen == [(JobState.RUNNING, number) for number in range(1, STEPS + 1)]
    job = row(runtime, job_id)
    assert (job.state, job.done, job.total, job.file_name) == (JobState.DONE, STEPS, STEPS, "数.txt")
    assert content(runtime, job_id) == b"1\n2\n3\n"
    assert job.file_size == 6


def test_a_large_file_comes_back_byte_by_byte(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_jobs, "PART_BYTES", 10_000)
    noise = random.Random(1).randbytes(70_001)

    def pack(_runtime: Runtime, job: RunningJob) -> Iterator[Progress]:
        with job.file("a.zip", "application/zip") as file, ZipFile(file, "w") as archive:
            for number in range(3):
                archive.writestr(f"{number}.bin", noise)
                yield Progress(number + 1, 3)

    job_id = start(runtime)
    work_off(runtime, pack)
    assert kept_parts(runtime) > 20
    with ZipFile(io.BytesIO(content(runtime, job_id))) as archive:
        assert [archive.read(name) for name in archive.namelist()] == [noise] * 3


def test_a_file_has_an_end(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_jobs, "MOST_BYTES", 3)
    job_id = start(runtime)
    work_off(runtime, count)
    assert (row(runtime, job_id).state, row(runtime, job_id).error) == (JobState.FAILED, FileTooLarge.message)
    assert kept_parts(runtime) == 0


def test_a_killed_run_starts_over_and_only_the_new_one_counts(runtime: Runtime) -> None:
    """The first run's worker stops in the middle, and wakes up after another has taken over."""
    job_id = start(runtime)
    with runtime.transaction(Role.PLATFORM) as session:
        first = outbox.claim(session, SLOW)
    assert first is not None
    late: list[str] = []

    def interrupted(runtime: Runtime, job: RunningJob) -> Iterator[Progress]:
        for progress in count(runtime, job):
            yield progress
            if not late:
                late.append("woke up")
                work_off(runtime, count)

    long_jobs.handler({"count": interrupted})(runtime, first)
    assert late
    job = row(runtime, job_id)
    assert (job.state, job.attempt, job.silent_ends) == (JobState.DONE, 2, 1)
    assert content(runtime, job_id) == b"1\n2\n3\n"
    assert kept_parts(runtime) == 1


def test_work_that_kills_its_worker_every_time_is_given_up(runtime: Runtime) -> None:
    job_id = start(runtime)
    for _ in range(long_jobs.MOST_SILENT_ENDS + 1):
        make_due(runtime)
        with runtime.transaction(Role.PLATFORM) as session:
            task = outbox.claim(session, SLOW)
        assert task is not None
        assert long_jobs._begin(runtime, job_id, attempt=task.attempts) is not None
    work_off(runtime, count)
    assert row(runtime, job_id).state == JobState.FAILED


def test_stopped_within_a_step(runtime: Runtime) -> None:
    job_id = start(runtime)
    is_tidy: list[bool] = []

    def stopped(runtime: Runtime, job: RunningJob) -> Iterator[Progress]:
        try:
            for progress in count(runtime, job):
                with runtime.transaction(Role.PLATFORM) as session:
                    assert long_jobs.cancel(session, job_id=job.id, now=runtime.now()) == (progress.done == 1)
                yield progress
        finally:
            is_tidy.append(True)

    work_off(runtime, stopped)
    job = row(runtime, job_id)
    assert (job.state, job.done, is_tidy) == (JobState.CANCELLED, 0, [True])
    assert kept_parts(runtime) == 0
    work_off(runtime, count)
    assert row(runtime, job_id).state == JobState.CANCELLED


def failing(error: Exception) -> Work:
    def fail(_runtime: Runtime, _job: RunningJob) -> Iterator[Progress]:
        yield Progress(1, STEPS)
        raise error

    return fail


def test_a_rule_that_says_no_ends_it_with_its_words(runtime: Runtime) -> None:
    job_id = start(runtime)
    work_off(runtime, failing(BusinessError("最多 %(most)s 个。", most=5)))
    job = row(runtime, job_id)
    assert (job.state, job.error, job.error_detail) == (JobState.FAILED, "最多 %(most)s 个。", {"most": 5})


@pytest.mark.parametrize("error", [ValueError("a secret"), TryLater(timedelta(minutes=1))])
def test_trouble_that_may_pass_is_waited_out(runtime: Runtime, error: Exception) -> None:
    job_id = start(runtime)
    work_off(runtime, failing(error))
    assert row(runtime, job_id).state == JobState.PENDING
    work_off(runtime, count)
    assert row(runtime, job_id).state == JobState.DONE


def test_trouble_that_does_not_pass_ends_it(runtime: Runtime) -> None:
    job_id = start(runtime)
    for _ in range(long_jobs.MOST_FAILURES):
        work_off(runtime, failing(ValueError("a secret")))
    job = row(runtime, job_id)
    assert job.state == JobState.FAILED
    assert "secret" not in job.error


def test_nobody_fills_the_queue_alone(runtime: Runtime) -> None:
    for _ in range(long_jobs.MOST_OPEN):
        start(runtime)
    with pytest.raises(TooManyJobs):
        start(runtime)
    start(runtime, requested_by=BEN)


def test_a_job_is_its_persons_alone_and_not_for_ever(runtime: Runtime) -> None:
    """#100: shared, guessed or late, the address leads nowhere."""
    job_id = start(runtime)
    work_off(runtime, count)

    def find(**changes: Any) -> LongJob:
        wanted = {"job_id": job_id, "merchant_id": None, "requested_by": ANN, "now": runtime.now()} | changes
        with runtime.transaction(Role.PLATFORM) as session:
            return long_jobs.find(session, **wanted)

    assert find().id == job_id
    late = runtime.now() + long_jobs.KEPT + timedelta(minutes=1)
    for other in ({"requested_by": BEN}, {"merchant_id": 3}, {"job_id": job_id + 1}, {"now": late}):
        with pytest.raises(NotFound):
            find(**other)


def test_what_is_over_is_deleted_with_its_file(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    old = start(runtime)
    work_off(runtime, count)
    later = runtime.now() + long_jobs.KEPT + timedelta(minutes=1)
    monkeypatch.setattr(type(runtime.clock), "now", lambda _clock: later)
    new = start(runtime)
    retention.forget_old(runtime, Task(1, retention.FORGET, {}, None, 1, 0))
    with runtime.transaction(Role.PLATFORM) as session:
        assert list(session.scalars(select(LongJob.id))) == [new] != [old]
    assert kept_parts(runtime) == 0


def test_a_merchant_may_stop_its_job_and_nothing_else(runtime: Runtime) -> None:
    own, foreign = start(runtime, merchant_id=3), start(runtime, merchant_id=4)
    attempts: dict[str, Callable[[Any], Any]] = {
        "own": lambda session: long_jobs.cancel(session, job_id=own, now=runtime.now()),
        "foreign": lambda session: long_jobs.cancel(session, job_id=foreign, now=runtime.now()),
    }
    with runtime.transaction(Role.MERCHANT, merchant_id=3) as session:
        assert [attempt(session) for attempt in attempts.values()] == [True, False]
    with (
        pytest.raises(Exception, match="row-level security"),
        runtime.transaction(Role.MERCHANT, merchant_id=4) as session,
    ):
        session.execute(text("UPDATE long_job SET state = 'done'"))
