"""The conversation: every event once, what was answered, and the windows it opened."""

from datetime import date, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Date,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Sequence,
    SmallInteger,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from core.database import Base
from core.models import Timestamp
from core.personal import PLAIN, personal
from merchants.models import ACCOUNT_FK, NOW

INBOX_IDS = Sequence("inbox_event_id_seq", metadata=Base.metadata)
CHAT = personal("answering, and proving what was said", "30 days, or erasure if earlier")


class InboxEvent(Base):
    """One logical event of the platform, under its dedupe key (EV-2), with the reply it was answered with.

    `kind`, `event_at` and `scene` stay after the body is gone: from them a follower's history can be told again.
    """

    __tablename__ = "inbox_event"
    __table_args__ = (
        UniqueConstraint("account_id", "dedupe_key", "month"),
        Index("ix_inbox_event_follower_id_event_at", "follower_id", "event_at"),
        Index("ix_inbox_event_body", "received_at", postgresql_where=text("body IS NOT NULL")),
        Index("ix_inbox_event_answered", "event_at", "answered_by", postgresql_where=text("answered_by <> 'none'")),
        Index("ix_inbox_event_unanswered", "event_at", postgresql_where=text("answered_by = 'line'")),
        Index("ix_inbox_event_rule_id", "rule_id", "event_at", postgresql_where=text("rule_id IS NOT NULL")),
        CheckConstraint("rule_id IS NULL OR answered_by = 'rule'", name="rule"),
        {"postgresql_partition_by": "RANGE (month)"},
    )

    id: Mapped[int] = mapped_column(
        BigInteger, INBOX_IDS, server_default=INBOX_IDS.next_value(), primary_key=True, autoincrement=False
    )
    month: Mapped[date] = mapped_column(Date, primary_key=True)
    account_id: Mapped[int] = mapped_column(SmallInteger)
    dedupe_key: Mapped[str] = mapped_column(Text, info=PLAIN)
    source: Mapped[str] = mapped_column(Text, info=PLAIN)
    kind: Mapped[str] = mapped_column(Text, info=PLAIN)
    event_at: Mapped[datetime] = mapped_column(Timestamp)
    received_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    follower_id: Mapped[int | None] = mapped_column(BigInteger)
    scene: Mapped[str | None] = mapped_column(Text, info=PLAIN)
    body: Mapped[dict[str, Any] | None] = mapped_column(JSONB, info=CHAT)
    reply: Mapped[dict[str, Any] | None] = mapped_column(JSONB, info=CHAT)
    answered_by: Mapped[str | None] = mapped_column(Text, info=PLAIN)
    """Who had the answer (`answering.Answered`); None for what came before anybody noted it."""
    rule_id: Mapped[int | None] = mapped_column(BigInteger)
    """The rule that answered. It may be gone by now."""
    merchant_id: Mapped[int | None] = mapped_column(BigInteger)
    """Whose conversation it was; None for the platform's."""


class ContextChoice(Base):
    """Somebody said whom they talk to: a merchant, or (None) the platform. One event makes at most one choice."""

    __tablename__ = "context_choice"
    __table_args__ = (
        CheckConstraint("by IN ('name', 'number', 'menu', 'only')", name="by"),
        CheckConstraint("merchant_id IS NOT NULL OR by IN ('name', 'menu')", name="merchant"),
        Index("ix_context_choice_follower_id_at", "follower_id", "at"),
        Index("ix_context_choice_at", "at"),
    )

    inbox_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    follower_id: Mapped[int] = mapped_column(ForeignKey("follower.id"))
    merchant_id: Mapped[int | None] = mapped_column(ForeignKey("merchant.id"))
    at: Mapped[datetime] = mapped_column(Timestamp)
    by: Mapped[str] = mapped_column(Text, info=PLAIN)


class PendingQuestion(Base):
    """The last question somebody was asked: a bare number answers it while it is open, and it is not asked again.

    `options` are the numbered shops; `inbox_ids` the messages that wait for the answer.
    """

    __tablename__ = "pending_question"
    __table_args__ = (
        CheckConstraint("kind IN ('merchant', 'satisfaction')", name="kind"),
        CheckConstraint("(kind = 'satisfaction') = (enquiry_id IS NOT NULL)", name="enquiry"),
        CheckConstraint("expires_at <= asked_at + interval '24 hours'", name="a_day"),
        CheckConstraint("jsonb_typeof(options) = 'array'", name="options"),
        Index("ix_pending_question_expires_at", "expires_at"),
    )

    follower_id: Mapped[int] = mapped_column(ForeignKey("follower.id"), primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(Text, info=PLAIN)
    asked_at: Mapped[datetime] = mapped_column(Timestamp)
    expires_at: Mapped[datetime] = mapped_column(Timestamp)
    options: Mapped[list[dict[str, Any]]] = mapped_column(
        JSONB,
        server_default=text("'[]'"),
        info=personal("understanding the number that answers a question", "2 days, or erasure if earlier"),
    )
    inbox_ids: Mapped[list[int]] = mapped_column(ARRAY(BigInteger), server_default=text("'{}'"), info=PLAIN)
    enquiry_id: Mapped[int | None] = mapped_column(BigInteger)
    put_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    """When it was written down; `asked_at` is the moment of the message that made us ask."""


class AnswerBook(Base):
    """Which page of what answers are made of changed when: numbers rise in the order of the commits."""

    __tablename__ = "answer_book"

    page: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    """A merchant's rules and desk by its id; 0: whom one can talk to, and the platform's rules."""
    number: Mapped[int] = mapped_column(BigInteger, unique=True)


class DeadLetter(Base):
    """An authentic delivery that could not be used: kept for the operator, answered 200, for a retry cannot help."""

    __tablename__ = "dead_letter"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey(ACCOUNT_FK))
    digest: Mapped[bytes] = mapped_column(LargeBinary, unique=True, info=PLAIN)
    reason: Mapped[str] = mapped_column(Text, info=PLAIN)
    body: Mapped[str | None] = mapped_column(Text, info=CHAT)
    deliveries: Mapped[int] = mapped_column(Integer, server_default=text("1"))
    received_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)


class MessageWindow(Base):
    """A customer-service window a follower opened, with the merchant whose conversation it belongs to (BC-10)."""

    __tablename__ = "message_window"
    __table_args__ = (
        CheckConstraint("trigger IN ('message', 'menu_click', 'follow', 'scan')", name="trigger"),
        CheckConstraint("used BETWEEN 0 AND allowance", name="allowance"),
        Index("ix_message_window_follower_id_expires_at", "follower_id", "expires_at"),
        Index("ix_message_window_expires_at", "expires_at"),
    )

    inbox_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    follower_id: Mapped[int] = mapped_column(ForeignKey("follower.id"))
    merchant_id: Mapped[int | None] = mapped_column(ForeignKey("merchant.id"))
    trigger: Mapped[str] = mapped_column(Text, info=PLAIN)
    opened_at: Mapped[datetime] = mapped_column(Timestamp)
    expires_at: Mapped[datetime] = mapped_column(Timestamp)
    allowance: Mapped[int] = mapped_column(SmallInteger)
    used: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    wants_offers: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    """What was written in it asked for offers: only then may it carry one."""


class MessageState(StrEnum):
    PLANNED = "planned"
    CALLING = "calling"
    SENT = "sent"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    SKIPPED = "skipped"


class FollowUp(Base):
    """One customer-service message owed after a reply, of a welcome or of a rule. `calling` is committed before the
    call; an outcome nobody knows stays `unknown` and is never sent again."""

    __tablename__ = "follow_up"
    __table_args__ = (
        UniqueConstraint("inbox_id", "position"),
        CheckConstraint("state IN ('planned', 'calling', 'sent', 'refused', 'unknown', 'skipped')", name="state"),
        CheckConstraint("num_nonnulls(welcome_id, rule_id) = 1", name="of"),
        Index("ix_follow_up_follower_id", "follower_id"),
        Index("ix_follow_up_calling", "calling_at", postgresql_where=text("state = 'calling'")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    inbox_id: Mapped[int] = mapped_column(BigInteger)
    follower_id: Mapped[int] = mapped_column(ForeignKey("follower.id"))
    welcome_id: Mapped[int | None] = mapped_column(ForeignKey("welcome.id"))
    rule_id: Mapped[int | None] = mapped_column(ForeignKey("reply_rule.id"))
    position: Mapped[int] = mapped_column(SmallInteger)
    state: Mapped[str] = mapped_column(Text, server_default=MessageState.PLANNED, info=PLAIN)
    calling_at: Mapped[datetime | None] = mapped_column(Timestamp)
    errcode: Mapped[int | None] = mapped_column(Integer)
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
