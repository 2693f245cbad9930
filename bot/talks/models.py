"""Talks: what a fan and a merchant have said to each other through the account, and how soon it was answered."""

from datetime import date, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Date,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
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
from merchants.models import NOW
from merchants.reviews import Reviewed

CHAT = personal("the merchant answers its fan", "30 days, or erasure if earlier")
OF_TALK = ["talk.merchant_id", "talk.id"]
OF_MESSAGE = ["talk_message.merchant_id", "talk_message.id"]


class TalkState(StrEnum):
    WAITING = "waiting"
    """The fan has written what nobody has answered yet."""
    ANSWERED = "answered"
    CLOSED = "closed"
    """Ended by the staff, or by silence (`enquiries.close_silent`); the next message opens it again."""


class Direction(StrEnum):
    IN = "in"
    """From the fan."""
    OUT = "out"
    """From the merchant's people, through the platform's interface."""
    AUTO = "auto"
    """What the account answered by itself: a rule, or the line that says whom one is talking to."""
    NOTE = "note"
    """For the merchant's own eyes."""


class Kind(StrEnum):
    """What a message is; those of a fan are named as the platform names them."""

    TEXT = "text"
    IMAGE = "image"
    VOICE = "voice"
    VIDEO = "video"
    SHORTVIDEO = "shortvideo"
    LOCATION = "location"
    LINK = "link"
    CARD = "card"
    """A card with picture and link."""
    COUPON = "coupon"
    """Words of the merchant that end with a link to one of its coupons."""
    RATING = "rating"
    """The question how the answers were."""
    OTHER = "other"


class AnswerState(StrEnum):
    """What becomes of an answer; only those that the interface takes have one."""

    PLANNED = "planned"
    WAITING = "waiting"
    """No window is open: it goes out when the fan says hello to this merchant again."""
    CALLING = "calling"
    SENT = "sent"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    SKIPPED = "skipped"
    """Taken back before it went out, or nothing to be said any more."""


class Why(StrEnum):
    """Why an answer was refused or skipped."""

    LEFT = "left"
    """The fan does not follow, or asked to be forgotten."""
    CLOSED = "closed"
    """The platform had closed the window, twice."""
    PLATFORM = "platform"
    """Any other refusal of the platform's; `errcode` says which."""
    WITHDRAWN = "withdrawn"
    """Taken back by the staff while it waited."""
    NOT_READY = "not_ready"
    """The platform did not take the picture."""
    NO_ROOM = "no_room"
    """A question that does not wait: there was no message left for it."""
    TOO_LATE = "too_late"
    """It waited so long that its words are gone."""


class ClosedBy(StrEnum):
    STAFF = "staff"
    SILENCE = "silence"


class Talk(Base):
    """A merchant's chat with one fan. Counts and times are those of its messages; every change counts `version` up."""

    __tablename__ = "talk"
    __table_args__ = (
        UniqueConstraint("merchant_id", "follower_id"),
        UniqueConstraint("merchant_id", "id"),
        CheckConstraint("state IN ('waiting', 'answered', 'closed')", name="state"),
        CheckConstraint("(state = 'waiting') = (waiting_since IS NOT NULL)", name="waiting_since"),
        CheckConstraint("unread >= 0 AND waiting_out >= 0", name="counts"),
        Index("ix_talk_merchant_id_last", "merchant_id", text("last_message_at DESC"), text("id DESC")),
        Index("ix_talk_merchant_id_state_last", "merchant_id", "state", text("last_message_at DESC"), text("id DESC")),
        Index(
            "ix_talk_merchant_id_assigned_to_last",
            "merchant_id", "assigned_to", text("last_message_at DESC"), text("id DESC"),
        ),
        Index("ix_talk_unread", "merchant_id", postgresql_where=text("unread > 0")),
        Index("ix_talk_waiting", "waiting_since", postgresql_where=text("state = 'waiting'")),
        Index(
            "ix_talk_merchant_id_waiting",
            "merchant_id", "waiting_since", "id", postgresql_where=text("state = 'waiting'"),
        ),
        Index("ix_talk_open", "last_message_at", postgresql_where=text("state <> 'closed'")),
        Index("ix_talk_follower_id", "follower_id"),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    merchant_id: Mapped[int] = mapped_column(ForeignKey("merchant.id"))
    follower_id: Mapped[int] = mapped_column(BigInteger)
    """No foreign key: where a transaction changes a talk twice it would be checked anew, by a lock on the follower
    whom the inbox holds while it waits for the talk."""
    number: Mapped[str] = mapped_column(Text, info=PLAIN)
    """What the merchant calls the fan (FA-8)."""
    state: Mapped[str] = mapped_column(Text, server_default=TalkState.ANSWERED, info=PLAIN)
    last_message_at: Mapped[datetime] = mapped_column(Timestamp)
    preview: Mapped[str | None] = mapped_column(Text, info=CHAT)
    preview_kind: Mapped[str] = mapped_column(Text, info=PLAIN)
    preview_direction: Mapped[str] = mapped_column(Text, info=PLAIN)
    unread: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    read_to: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    """Messages up to this id have been seen by somebody of the merchant's."""
    assigned_to: Mapped[int | None] = mapped_column(ForeignKey("staff.id"))
    waiting_since: Mapped[datetime | None] = mapped_column(Timestamp)
    """Since when the oldest message that waits has been waiting."""
    settled_to: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    """Messages up to this id were answered, or closed over."""
    line_said_at: Mapped[datetime | None] = mapped_column(Timestamp)
    human_said_at: Mapped[datetime | None] = mapped_column(Timestamp)
    waiting_out: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    """Answers that wait for the fan's next hello."""
    version: Mapped[int] = mapped_column(BigInteger, server_default=text("1"))
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)


class TalkMessage(Base):
    """One message of a talk. What somebody said is emptied after thirty days; that they said it stays."""

    __tablename__ = "talk_message"
    __table_args__ = (
        UniqueConstraint("merchant_id", "id"),
        ForeignKeyConstraint(["merchant_id", "talk_id"], OF_TALK),
        ForeignKeyConstraint(["merchant_id", "template_id"], ["coupon_template.merchant_id", "coupon_template.id"]),
        CheckConstraint("direction IN ('in', 'out', 'auto', 'note')", name="direction"),
        CheckConstraint(
            "kind IN ('text', 'image', 'voice', 'video', 'shortvideo', 'location', 'link', 'card', 'coupon', 'rating', "
            "'other')",
            name="kind",
        ),
        CheckConstraint("(direction = 'out') = (state IS NOT NULL)", name="out"),
        CheckConstraint("NOT waits OR direction = 'in'", name="waits"),
        CheckConstraint("(direction IN ('in', 'auto')) = (inbox_id IS NOT NULL)", name="inbox"),
        CheckConstraint(
            "state IN ('planned', 'waiting', 'calling', 'sent', 'refused', 'unknown', 'skipped')", name="state"
        ),
        CheckConstraint(
            "state IN ('planned', 'waiting', 'refused', 'skipped') OR state IS NULL OR window_id IS NOT NULL",
            name="window",
        ),
        Index("ix_talk_message_talk_id_at", "merchant_id", "talk_id", text("at DESC"), text("id DESC")),
        Index("uq_talk_message_inbox_id", "inbox_id", unique=True, postgresql_where=text("direction = 'in'")),
        Index(
            "ix_talk_message_open", "talk_id", "id", postgresql_where=text("state IN ('planned', 'waiting', 'calling')")
        ),
        Index("ix_talk_message_calling", "calling_at", postgresql_where=text("state = 'calling'")),
        Index("ix_talk_message_window_id", "window_id", postgresql_where=text("window_id IS NOT NULL")),
        Index("ix_talk_message_kept", "created_at", postgresql_where=text("content IS NOT NULL")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    merchant_id: Mapped[int] = mapped_column(BigInteger)
    talk_id: Mapped[int] = mapped_column(BigInteger)
    direction: Mapped[str] = mapped_column(Text, info=PLAIN)
    kind: Mapped[str] = mapped_column(Text, info=PLAIN)
    content: Mapped[str | None] = mapped_column(Text, info=CHAT)
    template_id: Mapped[int | None] = mapped_column(BigInteger)
    staff_id: Mapped[int | None] = mapped_column(ForeignKey("staff.id"))
    by: Mapped[str] = mapped_column(Text, server_default="", info=PLAIN)
    """What the account answered with by itself: a rule's name, or `intake.LINE`."""
    inbox_id: Mapped[int | None] = mapped_column(BigInteger)
    waits: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    """The fan expects a person to answer it."""
    state: Mapped[str | None] = mapped_column(Text, info=PLAIN)
    why: Mapped[str] = mapped_column(Text, server_default="", info=PLAIN)
    window_id: Mapped[int | None] = mapped_column(BigInteger)
    """The message window it was said in."""
    calling_at: Mapped[datetime | None] = mapped_column(Timestamp)
    turned_away: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    """How often the platform called a window closed that we held for open."""
    errcode: Mapped[int | None] = mapped_column(Integer)
    at: Mapped[datetime] = mapped_column(Timestamp)
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)


class TalkGram(Base):
    """Two characters that stand beside each other in a message: by them it is found (`search.py` says why)."""

    __tablename__ = "talk_gram"
    __table_args__ = (
        ForeignKeyConstraint(["merchant_id", "message_id"], OF_MESSAGE, ondelete="CASCADE"),
        Index("ix_talk_gram_message_id", "message_id"),
    )

    merchant_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    gram: Mapped[str] = mapped_column(Text, primary_key=True, info=CHAT)
    message_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    talk_id: Mapped[int] = mapped_column(BigInteger)


class MediaState(StrEnum):
    WANTED = "wanted"
    KEPT = "kept"
    GONE = "gone"
    """The platform had it no more, it is none we show, or it was forgotten."""


class TalkMedia(Base):
    """A message's picture or voice: the fan's, fetched from the platform, which keeps it for three days only, or the
    picture that the merchant answered with."""

    __tablename__ = "talk_media"
    __table_args__ = (
        ForeignKeyConstraint(["merchant_id", "message_id"], OF_MESSAGE, ondelete="CASCADE"),
        CheckConstraint("state IN ('wanted', 'kept', 'gone')", name="state"),
        CheckConstraint("(state = 'kept') = (content IS NOT NULL)", name="content"),
        Index("ix_talk_media_created_at", "created_at", postgresql_where=text("state <> 'gone'")),
    )

    message_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    merchant_id: Mapped[int] = mapped_column(BigInteger)
    media_id: Mapped[str | None] = mapped_column(Text, info=CHAT)
    """The platform's name of a fan's file, until it is fetched."""
    state: Mapped[str] = mapped_column(Text, server_default=MediaState.WANTED, info=PLAIN)
    mime: Mapped[str] = mapped_column(Text, server_default="", info=PLAIN)
    content: Mapped[bytes | None] = mapped_column(LargeBinary, info=CHAT)
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)


class Enquiry(Base):
    """One stretch of a talk, from a message that waits to its end: what is measured. At most one of a talk is open."""

    __tablename__ = "enquiry"
    __table_args__ = (
        UniqueConstraint("merchant_id", "id"),
        ForeignKeyConstraint(["merchant_id", "talk_id"], OF_TALK),
        CheckConstraint("closed_by IN ('staff', 'silence')", name="closed_by"),
        CheckConstraint("(closed_at IS NULL) = (closed_by IS NULL)", name="closed"),
        CheckConstraint("satisfaction BETWEEN 1 AND 3", name="satisfaction"),
        Index("uq_enquiry_open", "talk_id", unique=True, postgresql_where=text("closed_at IS NULL")),
        Index("ix_enquiry_merchant_id_opened_at", "merchant_id", "opened_at"),
        Index("ix_enquiry_talk_id", "merchant_id", "talk_id"),
        Index(
            "ix_enquiry_unanswered", "opened_at",
            postgresql_where=text("closed_at IS NULL AND first_answer_at IS NULL AND told_at IS NULL"),
        ),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    merchant_id: Mapped[int] = mapped_column(BigInteger)
    talk_id: Mapped[int] = mapped_column(BigInteger)
    opened_at: Mapped[datetime] = mapped_column(Timestamp)
    first_answer_at: Mapped[datetime | None] = mapped_column(Timestamp)
    first_answer_by: Mapped[int | None] = mapped_column(ForeignKey("staff.id"))
    closed_at: Mapped[datetime | None] = mapped_column(Timestamp)
    closed_by: Mapped[str | None] = mapped_column(Text, info=PLAIN)
    closed_by_staff: Mapped[int | None] = mapped_column(ForeignKey("staff.id"))
    asked_at: Mapped[datetime | None] = mapped_column(Timestamp)
    """When the fan was asked how the answers were."""
    satisfaction: Mapped[int | None] = mapped_column(SmallInteger)
    rated_at: Mapped[datetime | None] = mapped_column(Timestamp)
    told_at: Mapped[datetime | None] = mapped_column(Timestamp)
    """When the staff were told that it waits."""


class CannedReply(Base):
    """Words that a merchant's people say often."""

    __tablename__ = "canned_reply"
    __table_args__ = (
        UniqueConstraint("merchant_id", "title"),
        CheckConstraint("title <> '' AND text <> ''", name="words"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    merchant_id: Mapped[int] = mapped_column(ForeignKey("merchant.id"))
    title: Mapped[str] = mapped_column(Text, info=PLAIN)
    text: Mapped[str] = mapped_column(Text, info=PLAIN)
    position: Mapped[int] = mapped_column(Integer, server_default="0")
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)


class TalkDesk(Base):
    """When somebody sits at a merchant's inbox, and what is done for the fan besides."""

    __tablename__ = "talk_desk"
    __table_args__ = (CheckConstraint("notify_after BETWEEN 1 AND 720", name="notify_after"),)

    merchant_id: Mapped[int] = mapped_column(ForeignKey("merchant.id"), primary_key=True, autoincrement=False)
    hours: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"), info=PLAIN)
    """By weekday, "1" (Monday) to "7": lists of ["09:00", "21:00"]; {} where no hours are set."""
    closed_days: Mapped[list[date]] = mapped_column(ARRAY(Date), server_default=text("'{}'"), info=PLAIN)
    asks_satisfaction: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    hands_over: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    """What nobody but a person can answer goes to the platform's own human service."""
    notify_after: Mapped[int] = mapped_column(SmallInteger, server_default=text("2"))
    """Minutes after which staff are told that somebody waits."""
    updated_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)


class WordsKind(StrEnum):
    FIRST = "first"
    """Said when a message is passed on to the merchant within its hours."""
    AWAY = "away"
    """The same outside its hours."""


class DeskWords(Reviewed, Base):
    """One version of what the account says for a merchant when it passes a message on; the public hears it."""

    __tablename__ = "desk_words"
    __table_args__ = (
        CheckConstraint("kind IN ('first', 'away')", name="kind"),
        CheckConstraint("review IN ('pending', 'approved', 'rejected', 'withdrawn')", name="review"),
        Index("ix_desk_words_pending", "id", postgresql_where=text("review = 'pending'")),
        Index(
            "ix_desk_words_heard", "merchant_id", "kind", text("id DESC"),
            postgresql_where=text("review IN ('pending', 'approved')"),
        ),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    merchant_id: Mapped[int] = mapped_column(ForeignKey("merchant.id"))
    kind: Mapped[str] = mapped_column(Text, info=PLAIN)
    text: Mapped[str] = mapped_column(Text, info=PLAIN)
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
