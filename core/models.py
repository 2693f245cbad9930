"""Tables without business words: clock, leases, outbox, audit, erasure log."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Interval,
    LargeBinary,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from core.database import Base
from core.personal import PLAIN, personal

Timestamp = DateTime(timezone=True)


class AppClock(Base):
    """One row: how far `app_now()` is ahead of the real clock."""

    __tablename__ = "app_clock"
    __table_args__ = (CheckConstraint("id = 1", name="single"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    offset: Mapped[timedelta] = mapped_column(Interval, server_default=text("'0'"))


class Lease(Base):
    """Who leads (the scheduler). Runs on real time; a lease not renewed is up for taking."""

    __tablename__ = "lease"

    name: Mapped[str] = mapped_column(Text, primary_key=True, info=PLAIN)
    holder: Mapped[str] = mapped_column(Text, info=PLAIN)
    expires_at: Mapped[datetime] = mapped_column(Timestamp)


class PeriodicRun(Base):
    """When the scheduler last started a periodic task, so that a restart neither skips nor repeats one."""

    __tablename__ = "periodic_run"

    name: Mapped[str] = mapped_column(Text, primary_key=True, info=PLAIN)
    last_started_at: Mapped[datetime] = mapped_column(Timestamp)


class OutboxState(StrEnum):
    PENDING = "pending"
    DONE = "done"
    DEAD = "dead"


class Outbox(Base):
    """What is owed to the network. Written in the transaction that causes it; carries ids, never contents."""

    __tablename__ = "outbox"
    __table_args__ = (
        CheckConstraint("state IN ('pending', 'done', 'dead')", name="state"),
        Index("ix_outbox_due", "queue", "next_try_at", postgresql_where=text("state = 'pending'")),
        Index("ix_outbox_finished_at", "finished_at", postgresql_where=text("state <> 'pending'")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    merchant_id: Mapped[int | None] = mapped_column(BigInteger)
    kind: Mapped[str] = mapped_column(Text, info=PLAIN)
    queue: Mapped[str] = mapped_column(Text, info=PLAIN)
    dedupe_key: Mapped[str] = mapped_column(Text, unique=True, info=PLAIN)
    payload: Mapped[dict[str, Any]] = mapped_column(JSONB, info=PLAIN)
    state: Mapped[str] = mapped_column(Text, server_default=OutboxState.PENDING, info=PLAIN)
    attempts: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    failures: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    next_try_at: Mapped[datetime] = mapped_column(Timestamp, server_default=func.clock_timestamp())
    last_error: Mapped[str | None] = mapped_column(Text, info=PLAIN)
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=func.clock_timestamp())
    finished_at: Mapped[datetime | None] = mapped_column(Timestamp)


class JobState(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class LongJob(Base):
    """Work of minutes that somebody waits for: how far it is, and which file came of it.

    `attempt` is the run that counts: whatever an earlier one still writes is neither believed nor shown.
    """

    __tablename__ = "long_job"
    __table_args__ = (
        CheckConstraint("state IN ('pending', 'running', 'done', 'failed', 'cancelled')", name="state"),
        CheckConstraint("done >= 0 AND (total IS NULL OR done <= total)", name="progress"),
        Index("ix_long_job_requested_by_id", "requested_by", "id"),
        Index("ix_long_job_expires_at", "expires_at"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    merchant_id: Mapped[int | None] = mapped_column(BigInteger)
    requested_by: Mapped[int] = mapped_column(BigInteger)
    kind: Mapped[str] = mapped_column(Text, info=PLAIN)
    subject: Mapped[str] = mapped_column(Text, server_default="", info=PLAIN)
    payload: Mapped[dict[str, Any]] = mapped_column(JSONB, info=PLAIN)
    state: Mapped[str] = mapped_column(Text, server_default=JobState.PENDING, info=PLAIN)
    attempt: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    silent_ends: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    done: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    total: Mapped[int | None] = mapped_column(Integer)
    error: Mapped[str] = mapped_column(Text, server_default="", info=PLAIN)
    error_detail: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"), info=PLAIN)
    file_name: Mapped[str] = mapped_column(Text, server_default="", info=PLAIN)
    file_mime: Mapped[str] = mapped_column(Text, server_default="", info=PLAIN)
    file_size: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=text("app_now()"))
    finished_at: Mapped[datetime | None] = mapped_column(Timestamp)
    expires_at: Mapped[datetime] = mapped_column(Timestamp)


class LongJobPart(Base):
    """A piece of the file that a run of a long job made, at most a megabyte."""

    __tablename__ = "long_job_part"
    __table_args__ = (CheckConstraint("octet_length(content) <= 1048576", name="size"),)

    job_id: Mapped[int] = mapped_column(ForeignKey("long_job.id", ondelete="CASCADE"), primary_key=True)
    attempt: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    content: Mapped[bytes] = mapped_column(
        LargeBinary, info=personal("a file that a member of staff asked for", "7 days, then deleted with its job")
    )


class AnsweredCall(Base):
    """What a call with a nonce was answered, so that the same call gets the same answer and does nothing again (CO-6).

    `actor` is who called (`staff:7`, `owner:12`); written in the transaction of what the call does.
    """

    __tablename__ = "answered_call"
    __table_args__ = (
        CheckConstraint("num_nonnulls(merchant_id, follower_id) = 1", name="whose"),
        Index("ix_answered_call_at", "at"),
    )

    actor: Mapped[str] = mapped_column(Text, primary_key=True, info=PLAIN)
    route: Mapped[str] = mapped_column(Text, primary_key=True, info=PLAIN)
    nonce: Mapped[str] = mapped_column(Text, primary_key=True, info=PLAIN)
    merchant_id: Mapped[int | None] = mapped_column(BigInteger)
    follower_id: Mapped[int | None] = mapped_column(BigInteger)
    body_hash: Mapped[bytes] = mapped_column(LargeBinary, info=PLAIN)
    status: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    """0 while the call is under way."""
    answer: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"), info=PLAIN)
    at: Mapped[datetime] = mapped_column(Timestamp, server_default=text("app_now()"))


class AuditLog(Base):
    """Who did what. Append-only and hash-chained by triggers (AU-9)."""

    __tablename__ = "audit_log"
    __table_args__ = (Index("ix_audit_log_merchant_id_id", "merchant_id", "id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    at: Mapped[datetime] = mapped_column(Timestamp, server_default=text("app_now()"))
    actor_kind: Mapped[str] = mapped_column(Text, info=PLAIN)
    actor_id: Mapped[int | None] = mapped_column(BigInteger)
    merchant_id: Mapped[int | None] = mapped_column(BigInteger)
    action: Mapped[str] = mapped_column(Text, info=PLAIN)
    subject: Mapped[str] = mapped_column(Text, server_default="", info=PLAIN)
    detail: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"), info=PLAIN)
    previous_hash: Mapped[bytes] = mapped_column(LargeBinary, server_default=text("''"), info=PLAIN)
    hash: Mapped[bytes] = mapped_column(LargeBinary, server_default=text("''"), info=PLAIN)


class AuditHead(Base):
    """The hash of the newest audit row: locking it is what orders the chain."""

    __tablename__ = "audit_head"
    __table_args__ = (CheckConstraint("id = 1", name="single"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    hash: Mapped[bytes] = mapped_column(LargeBinary, info=PLAIN)


class ErasureLog(Base):
    """Which followers were erased and why; replayed over a restored backup before it opens."""

    __tablename__ = "erasure_log"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    at: Mapped[datetime] = mapped_column(Timestamp, server_default=text("app_now()"))
    follower_id: Mapped[int] = mapped_column(BigInteger, index=True)
    person_key: Mapped[bytes] = mapped_column(
        LargeBinary, info=personal("abuse and double-count protection", "kept: a keyed hash, no way back to the person")
    )
    reason: Mapped[str] = mapped_column(Text, info=PLAIN)
