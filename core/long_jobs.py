"""Work of minutes that somebody waits for: it shows how far it is, can be stopped, and leaves a file to download.

A kind of long job is a function `(runtime, job) -> iterator of Progress`. Between two of its steps it may be stopped,
or its worker may die; then it is run again from the start, so what it does to the database it does once, by a state of
its own. Its file is kept in the database in parts, since several web hosts share no disk, and deleted after `KEPT`.

    def pack(runtime: Runtime, job: RunningJob) -> Iterator[Progress]:
        with job.file("codes.zip", "application/zip") as file, ZipFile(file, "w") as archive:
            for number, code in enumerate(codes, start=1):
                archive.writestr(...)
                yield Progress(number, len(codes))
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import structlog
from sqlalchemy import Select, case, delete, func, insert, select, update
from sqlalchemy.orm import Session

from core import outbox
from core.database import Role, rows_changed
from core.errors import BusinessError, NotFound
from core.jobs import Handler
from core.models import JobState, LongJob, LongJobPart
from core.outbox import Task, TryLater
from core.runtime import Runtime

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

RUN: Final = "long_job"
"""The outbox kind of the task that runs one."""
KEPT: Final = timedelta(days=7)
"""How long a job and its file are there to be looked at."""
OPEN: Final = (JobState.PENDING, JobState.RUNNING)
MOST_OPEN: Final = 5
"""Jobs of one person that may wait or run at a time."""
PART_BYTES: Final = 1024 * 1024
MOST_BYTES: Final = 512 * PART_BYTES
WRITE_EVERY_S: Final = 0.5
MOST_FAILURES: Final = 5
MOST_SILENT_ENDS: Final = 3
"""Runs that ended without a word, as when the work needs more memory than there is."""

log = structlog.get_logger(__name__)


class TooManyJobs(BusinessError):
    code = "too_many_jobs"
    status = 429
    message = "您已有几个任务在进行，请等它们做完，或先停掉一个。"


class FileTooLarge(BusinessError):
    code = "file_too_large"
    status = 413
    message = "文件太大了，请分几次来做。"


class GaveUp(BusinessError):
    code = "gave_up"
    message = "试了几次都没有做完，请稍后重新开始，或联系运营者。"


@dataclass(frozen=True)
class Progress:
    """How much is done, of how much; a total of None is not known."""

    done: int
    total: int | None = None


def start(
    session: Session,
    *,
    kind: str,
    requested_by: int,
    payload: dict[str, Any],
    now: datetime,
    merchant_id: int | None = None,
    subject: str = "",
    total: int | None = None,
) -> int:
    """Owe a long job for a member of staff; returns its id. Raises `TooManyJobs`.

    `merchant_id` is None for an operator's job. The payload carries ids only. `subject` is what the list says it is
    about: a batch's name, a merchant's.
    """
    open_jobs = select(func.count()).where(LongJob.requested_by == requested_by, LongJob.state.in_(OPEN))
    if session.execute(open_jobs).scalar_one() >= MOST_OPEN:
        raise TooManyJobs
    job_id = session.execute(
        insert(LongJob)
        .values(
            kind=kind,
            merchant_id=merchant_id,
            requested_by=requested_by,
            subject=subject,
            payload=payload,
            total=total,
            created_at=now,
            expires_at=now + KEPT,
        )
        .returning(LongJob.id)
    ).scalar_one()
    outbox.add(
        session,
        kind=RUN,
        dedupe_key=f"{RUN}:{job_id}",
        payload={"job_id": job_id},
        queue=outbox.SLOW,
        merchant_id=merchant_id,
    )
    return job_id


def find(session: Session, *, job_id: int, merchant_id: int | None, requested_by: int, now: datetime) -> LongJob:
    """A job of this person's that is still kept; whoever else's it is, it looks like none (#100)."""
    job = session.scalar(_of(merchant_id, requested_by, now).where(LongJob.id == job_id))
    if job is None:
        raise NotFound("没有这个任务，或者它的文件已经过期删除了。")
    return job


def is_open(session: Session, job_id: int) -> bool:
    """Whether a job waits or runs."""
    state = select(LongJob.id).where(LongJob.id == job_id, LongJob.state.in_(OPEN))
    return session.scalar(state) is not None


def recent(
    session: Session, *, merchant_id: int | None, requested_by: int, now: datetime, limit: int = 50
) -> list[LongJob]:
    """This person's jobs that are still kept, newest first."""
    return list(session.scalars(_of(merchant_id, requested_by, now).order_by(LongJob.id.desc()).limit(limit)))


def _of(merchant_id: int | None, requested_by: int, now: datetime) -> Select[LongJob]:
    of_merchant = LongJob.merchant_id.is_(None) if merchant_id is None else LongJob.merchant_id == merchant_id
    return select(LongJob).where(of_merchant, LongJob.requested_by == requested_by, LongJob.expires_at > now)


def cancel(session: Session, *, job_id: int, now: datetime) -> bool:
    """Stop a job within a second or so; what it did until then stays. False when it was over already."""
    statement = update(LongJob).where(LongJob.id == job_id, LongJob.state.in_(OPEN))
    return rows_changed(session.execute(statement.values(state=JobState.CANCELLED, finished_at=now))) == 1


def parts(session: Session, *, job_id: int, attempt: int) -> Iterator[bytes]:
    """The file that a job's last attempt made, in order."""
    of_run = select(LongJobPart.content).where(LongJobPart.job_id == job_id, LongJobPart.attempt == attempt)
    number = 0
    while (content := session.scalar(of_run.where(LongJobPart.number == number))) is not None:
        yield content
        number += 1


@dataclass
class RunningJob:
    """One run of a job, as its function sees it."""

    runtime: Runtime
    id: int
    kind: str
    merchant_id: int | None
    requested_by: int
    subject: str
    payload: dict[str, Any]
    attempt: int
    result: _File | None = field(default=None, init=False)

    @contextmanager
    def transaction(self, *, statement_timeout_s: int = 30) -> Iterator[Session]:
        """A transaction that sees what the job is for: one merchant's rows, or an operator's."""
        role = Role.PLATFORM if self.merchant_id is None else Role.MERCHANT
        with self.runtime.transaction(
            role, merchant_id=self.merchant_id, statement_timeout_s=statement_timeout_s
        ) as session:
            yield session

    @contextmanager
    def file(self, name: str, mime: str) -> Iterator[io.RawIOBase]:
        """The file to download once the job is done, to be written from start to end. There is one a run."""
        self.result = _File(self, name, mime)
        with self.result:
            yield self.result


class _File(io.RawIOBase):
    """Writes a file into the parts of one run."""

    def __init__(self, job: RunningJob, name: str, mime: str) -> None:
        self.file_name = name
        self.mime = mime
        self.size = 0
        self._job = job
        self._number = 0
        self._waiting = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, content: ReadableBuffer, /) -> int:
        added = memoryview(content).cast("B")
        if self.size + len(added) > MOST_BYTES:
            raise FileTooLarge
        self.size += len(added)
        self._waiting += added
        while len(self._waiting) >= PART_BYTES:
            self._keep(bytes(self._waiting[:PART_BYTES]))
            del self._waiting[:PART_BYTES]
        return len(added)

    def close(self) -> None:
        if not self.closed and self._waiting:
            rest, self._waiting = bytes(self._waiting), bytearray()
            self._keep(rest)
        super().close()

    def _keep(self, content: bytes) -> None:
        values = {"job_id": self._job.id, "attempt": self._job.attempt, "number": self._number, "content": content}
        with self._job.runtime.transaction(Role.PLATFORM) as session:
            session.execute(insert(LongJobPart), values)
        self._number += 1


Work = Callable[[Runtime, RunningJob], Iterator[Progress]]
"""What a kind of job does, telling after each step how far it is. Run again after a crash it does nothing twice."""


class _Ended(Exception):
    """The job was stopped, or another run of it has begun."""


def handler(works: Mapping[str, Work]) -> Handler:
    """The outbox handler that runs these kinds."""

    def run(runtime: Runtime, task: Task) -> None:
        job = _begin(runtime, int(task.payload["job_id"]), attempt=task.attempts)
        if job is None:
            return
        try:
            _work(runtime, job, works[job.kind])
        except _Ended:
            log.info("long job ended early", job_id=job.id, kind=job.kind)
            _drop_parts(runtime, job)
        except BusinessError as refusal:
            # A rule said no, and would say it again.
            _fail(runtime, job, refusal)
        except TryLater:
            _wait(runtime, job)
            raise
        except Exception:
            if task.failures + 1 >= MOST_FAILURES:
                log.exception("long job failed", job_id=job.id, kind=job.kind)
                _fail(runtime, job, GaveUp())
                return
            _wait(runtime, job)
            raise

    return run


def _begin(runtime: Runtime, job_id: int, *, attempt: int) -> RunningJob | None:
    """Make this the run that counts; None when there is nothing to do any more."""
    was_left = case((LongJob.state == JobState.RUNNING, 1), else_=0)
    statement = (
        update(LongJob)
        .where(LongJob.id == job_id, LongJob.state.in_(OPEN), LongJob.attempt < attempt)
        .values(state=JobState.RUNNING, attempt=attempt, silent_ends=LongJob.silent_ends + was_left)
        .returning(LongJob)
    )
    with runtime.transaction(Role.PLATFORM) as session:
        row = session.scalar(statement)
        if row is None:
            return None
        job = RunningJob(
            runtime, row.id, row.kind, row.merchant_id, row.requested_by, row.subject, row.payload, row.attempt
        )
        ends = row.silent_ends
    _drop_parts(runtime, job, of_former_runs=True)
    if ends > MOST_SILENT_ENDS:
        _fail(runtime, job, GaveUp())
        return None
    return job


def _work(runtime: Runtime, job: RunningJob, work: Work) -> None:
    """Run it to its end, noting down now and then how far it is."""
    noted_at = 0.0
    progress = None
    with closing(_steps(work(runtime, job))) as steps:
        for progress in steps:
            if time.monotonic() - noted_at >= WRITE_EVERY_S:
                _note(runtime, job, {"done": progress.done, "total": progress.total})
                noted_at = time.monotonic()
    end: dict[str, Any] = {"state": JobState.DONE, "finished_at": runtime.now(), "expires_at": runtime.now() + KEPT}
    if progress is not None:
        end |= {"done": progress.done, "total": progress.total}
    if job.result is not None:
        end |= {"file_name": job.result.file_name, "file_mime": job.result.mime, "file_size": job.result.size}
    _note(runtime, job, end)


def _steps(progress: Iterator[Progress]) -> Any:
    """A work that was handed over as a plain iterator can be closed, too."""
    return progress if hasattr(progress, "close") else (one for one in progress)


def _note(runtime: Runtime, job: RunningJob, values: dict[str, Any]) -> None:
    """Write about this run; raises `_Ended` when it does not count any more."""
    with runtime.transaction(Role.PLATFORM) as session:
        changed = rows_changed(session.execute(_mine(job).values(**values)))
    if not changed:
        raise _Ended


def _wait(runtime: Runtime, job: RunningJob) -> None:
    with runtime.transaction(Role.PLATFORM) as session:
        session.execute(_mine(job).values(state=JobState.PENDING))


def _fail(runtime: Runtime, job: RunningJob, refusal: BusinessError) -> None:
    detail = {name: value if isinstance(value, int) else str(value) for name, value in refusal.detail.items()}
    end = {"state": JobState.FAILED, "error": refusal.template, "error_detail": detail, "finished_at": runtime.now()}
    with runtime.transaction(Role.PLATFORM) as session:
        session.execute(_mine(job).values(**end))
    _drop_parts(runtime, job)


def _mine(job: RunningJob) -> Any:
    return update(LongJob).where(
        LongJob.id == job.id, LongJob.attempt == job.attempt, LongJob.state == JobState.RUNNING
    )


def _drop_parts(runtime: Runtime, job: RunningJob, *, of_former_runs: bool = False) -> None:
    """Delete what nobody will read: this run's parts, or those of the runs before."""
    of_runs = LongJobPart.attempt < job.attempt if of_former_runs else LongJobPart.attempt == job.attempt
    with runtime.transaction(Role.PLATFORM, statement_timeout_s=30) as session:
        session.execute(delete(LongJobPart).where(LongJobPart.job_id == job.id, of_runs))
