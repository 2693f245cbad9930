"""Broadcasts and everything that keeps them within bounds: recipients, batches, attempts, and the quota bank."""

from datetime import date, datetime, time
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
    Time,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from core.database import Base
from core.models import Timestamp
from core.personal import PLAIN
from merchants.models import ACCOUNT_FK, NOW

BROADCAST_FK = "broadcast.id"
EMPTY = text("''")
ZERO = text("0")


class BroadcastState(StrEnum):
    """A trigger refuses every other step than those of `STEPS`, and leaves the operator's steps to the platform."""

    DRAFT = "draft"
    SUBMITTED = "submitted"
    RETURNED = "returned"
    """The operator asks for changes."""
    APPROVED = "approved"
    """It waits for its time, for daylight, or for a digest."""
    LATE = "late"
    """Its time went by unused: somebody has to say whether it is still wanted."""
    GATHERED = "gathered"
    """It is part of a digest."""
    FREEZING = "freezing"
    RUNNING = "running"
    PAUSED = "paused"
    FINISHED = "finished"
    CANCELLED = "cancelled"


STEPS: dict[BroadcastState, tuple[BroadcastState, ...]] = {
    BroadcastState.DRAFT: (BroadcastState.SUBMITTED, BroadcastState.CANCELLED),
    BroadcastState.SUBMITTED: (
        BroadcastState.DRAFT, BroadcastState.RETURNED, BroadcastState.APPROVED, BroadcastState.CANCELLED,
    ),
    BroadcastState.RETURNED: (BroadcastState.DRAFT, BroadcastState.SUBMITTED, BroadcastState.CANCELLED),
    BroadcastState.APPROVED: (
        BroadcastState.DRAFT, BroadcastState.RETURNED, BroadcastState.LATE, BroadcastState.GATHERED,
        BroadcastState.FREEZING, BroadcastState.CANCELLED,
    ),
    BroadcastState.LATE: (BroadcastState.APPROVED, BroadcastState.DRAFT, BroadcastState.CANCELLED),
    BroadcastState.GATHERED: (BroadcastState.APPROVED, BroadcastState.FINISHED, BroadcastState.CANCELLED),
    BroadcastState.FREEZING: (BroadcastState.RUNNING, BroadcastState.CANCELLED),
    BroadcastState.RUNNING: (BroadcastState.PAUSED, BroadcastState.FINISHED, BroadcastState.CANCELLED),
    BroadcastState.PAUSED: (BroadcastState.RUNNING, BroadcastState.FINISHED, BroadcastState.CANCELLED),
    BroadcastState.FINISHED: (),
    BroadcastState.CANCELLED: (),
}  # fmt: skip
"""From each state, where a broadcast may go."""


class BroadcastKind(StrEnum):
    SINGLE = "single"
    """One merchant's message, sent by itself."""
    ITEM = "item"
    """One merchant's article, to be gathered into a digest."""
    DIGEST = "digest"
    """The platform's: several merchants' items, each fan getting only merchants whose fan they are."""


class Broadcast(Base):
    """One message to some of a merchant's fans, from the first word to the last count."""

    __tablename__ = "broadcast"
    __table_args__ = (
        CheckConstraint(
            "state IN ('draft', 'submitted', 'returned', 'approved', 'late', 'gathered', 'freezing', 'running', "
            "'paused', 'finished', 'cancelled')",
            name="state",
        ),
        CheckConstraint("kind IN ('single', 'item', 'digest')", name="kind"),
        CheckConstraint("(kind = 'digest') = (merchant_id IS NULL)", name="merchant"),
        CheckConstraint("hello_days BETWEEN 0 AND 14", name="hello_days"),
        CheckConstraint("held_out_percent BETWEEN 0 AND 50", name="held_out_percent"),
        CheckConstraint("paused_by IN ('merchant', 'operator', 'platform')", name="paused_by"),
        UniqueConstraint("merchant_id", "id"),
        Index("ix_broadcast_merchant_id_id", "merchant_id", text("id DESC")),
        Index(
            "ix_broadcast_live", "state", "id",
            postgresql_where=text("state IN ('submitted', 'approved', 'late', 'freezing', 'running', 'paused')"),
        ),
        Index("ix_broadcast_digest_id", "digest_id", postgresql_where=text("digest_id IS NOT NULL")),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey(ACCOUNT_FK))
    merchant_id: Mapped[int | None] = mapped_column(ForeignKey("merchant.id"))
    kind: Mapped[str] = mapped_column(Text, server_default=BroadcastKind.SINGLE, info=PLAIN)
    state: Mapped[str] = mapped_column(Text, server_default=BroadcastState.DRAFT, info=PLAIN)
    name: Mapped[str] = mapped_column(Text, server_default=EMPTY, info=PLAIN)
    """What the merchant calls it; nobody else reads it."""
    wanted: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"), info=PLAIN)
    """The audience: the given fields of `qrcodes.fans.Filter`; none means every fan."""
    hello_days: Mapped[int] = mapped_column(SmallInteger, server_default=text("7"))
    """For how long it waits for the next hello of who cannot be reached otherwise; 0: not at all."""
    held_out_percent: Mapped[int] = mapped_column(SmallInteger, server_default=ZERO)
    """How many of a hundred are left out on purpose, to compare with."""
    scheduled_at: Mapped[datetime | None] = mapped_column(Timestamp)
    """When to start; as soon as it is approved where nothing is said."""
    digest_id: Mapped[int | None] = mapped_column(ForeignKey(BROADCAST_FK))
    written_by: Mapped[int | None] = mapped_column(BigInteger)
    submitted_at: Mapped[datetime | None] = mapped_column(Timestamp)
    decided_by: Mapped[int | None] = mapped_column(BigInteger)
    decided_at: Mapped[datetime | None] = mapped_column(Timestamp)
    decision_reason: Mapped[str] = mapped_column(Text, server_default=EMPTY, info=PLAIN)
    evidence: Mapped[dict[str, Any] | None] = mapped_column(JSONB, info=PLAIN)
    """What the operator agreed to: words with their hash, reach and cost as shown, findings of the linter."""
    content_hash: Mapped[bytes | None] = mapped_column(LargeBinary, info=PLAIN)
    """Of all its words, frozen at the approval; every attempt carries it (BC-15)."""
    paused_by: Mapped[str | None] = mapped_column(Text, info=PLAIN)
    pause_reason: Mapped[str] = mapped_column(Text, server_default=EMPTY, info=PLAIN)
    started_at: Mapped[datetime | None] = mapped_column(Timestamp)
    """When its audience was frozen; the last hello is `hello_days` later."""
    finished_at: Mapped[datetime | None] = mapped_column(Timestamp)
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)


class WordsKind(StrEnum):
    TEXT = "text"
    PICTURE = "picture"
    ARTICLE = "article"


class BroadcastWords(Base):
    """What a broadcast says; two rows where two texts are compared (A/B)."""

    __tablename__ = "broadcast_words"
    __table_args__ = (
        CheckConstraint("variant IN ('a', 'b')", name="variant"),
        CheckConstraint("kind IN ('text', 'picture', 'article')", name="kind"),
        CheckConstraint("template_id IS NULL OR kind <> 'picture'", name="card"),
        ForeignKeyConstraint(["merchant_id", "broadcast_id"], ["broadcast.merchant_id", "broadcast.id"]),
        ForeignKeyConstraint(["merchant_id", "picture_id"], ["picture.merchant_id", "picture.id"]),
        ForeignKeyConstraint(["merchant_id", "template_id"], ["coupon_template.merchant_id", "coupon_template.id"]),
    )

    broadcast_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    variant: Mapped[str] = mapped_column(Text, primary_key=True, server_default="a", info=PLAIN)
    merchant_id: Mapped[int] = mapped_column(BigInteger)
    kind: Mapped[str] = mapped_column(Text, info=PLAIN)
    text: Mapped[str] = mapped_column(Text, server_default=EMPTY, info=PLAIN)
    """Of a text its words, of a picture nothing, of an article its body: plain paragraphs, links in them."""
    title: Mapped[str] = mapped_column(Text, server_default=EMPTY, info=PLAIN)
    summary: Mapped[str] = mapped_column(Text, server_default=EMPTY, info=PLAIN)
    picture_id: Mapped[int | None] = mapped_column(BigInteger)
    """The picture, or the article's cover."""
    template_id: Mapped[int | None] = mapped_column(BigInteger)
    """The coupon whose card it ends with."""
    media_id: Mapped[str | None] = mapped_column(Text, info=PLAIN)
    """Of an article the platform's draft, once it was made."""


class BroadcastTemplate(Base):
    """Words kept for the next time; the platform's own are there for every merchant."""

    __tablename__ = "broadcast_template"
    __table_args__ = (
        UniqueConstraint("merchant_id", "name", postgresql_nulls_not_distinct=True),
        CheckConstraint("kind IN ('text', 'picture', 'article')", name="kind"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    merchant_id: Mapped[int | None] = mapped_column(ForeignKey("merchant.id"))
    name: Mapped[str] = mapped_column(Text, info=PLAIN)
    kind: Mapped[str] = mapped_column(Text, info=PLAIN)
    text: Mapped[str] = mapped_column(Text, server_default=EMPTY, info=PLAIN)
    title: Mapped[str] = mapped_column(Text, server_default=EMPTY, info=PLAIN)
    summary: Mapped[str] = mapped_column(Text, server_default=EMPTY, info=PLAIN)
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)


class Route(StrEnum):
    """How a message reaches one fan."""

    MASS = "mass"
    """A mass-message slot: the only way to who did not ask."""
    WINDOW = "window"
    """An open window in which the fan asked this merchant for offers."""
    HELLO = "hello"
    """Added once after the answer, when the fan next turns to this merchant."""
    NONE = "none"


class RecipientState(StrEnum):
    PLANNED = "planned"
    CLAIMED = "claimed"
    CALLING = "calling"
    """Committed before the platform is asked; in a mass batch it is the batch that is calling."""
    SENT = "sent"
    """Accepted by the platform. Of a mass batch it tells no more than counts."""
    REJECTED = "rejected"
    UNKNOWN = "unknown"
    """Nobody knows; never repeated but by the same clientmsgid (BC-2)."""
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


class NotReached(StrEnum):
    """Why a fan of the audience gets nothing."""

    LEFT = "left"
    AMBIGUOUS = "ambiguous"
    MUTED = "muted"
    OPTED_OUT = "opted_out"
    UNREACHABLE = "unreachable"
    """The platform refused this person, and nothing was heard of them since (BC-21)."""
    MONTH = "month"
    """All slots of the month are used."""
    WEEK = "week"
    """Had enough messages this week, of whichever merchant."""
    SHARE = "share"
    """The merchant has used up its share of the month."""
    ALONE = "alone"
    """The only one left for a mass message, which needs two."""
    HELD_OUT = "held_out"
    NO_HELLO = "no_hello"
    """Did not come by in time."""
    WINDOW_CLOSED = "window_closed"
    """The window closed, or its messages are kept for answers, and it is no hello either."""
    NO_MERCHANT = "no_merchant"
    """Of a digest: none of its groups holds only merchants whose fan they are."""


class BroadcastRecipient(Base):
    """One fan's share of a broadcast: frozen at the start, and never twice (BC-1, BC-2).

    Of a mass batch, `planned` with a `batch_id` says that the slot is reserved and the batch tells the rest.
    """

    __tablename__ = "broadcast_recipient"
    __table_args__ = (
        CheckConstraint("route IN ('mass', 'window', 'hello', 'none')", name="route"),
        CheckConstraint(
            "state IN ('planned', 'claimed', 'calling', 'sent', 'rejected', 'unknown', 'skipped', 'cancelled')",
            name="state",
        ),
        CheckConstraint("(reason IS NOT NULL) = (state = 'skipped')", name="reason"),
        CheckConstraint("route <> 'none' OR state = 'skipped'", name="no_route"),
        Index(
            "ix_broadcast_recipient_to_send", "broadcast_id", "follower_id",
            postgresql_where=text("state = 'planned' AND route = 'window'"),
        ),
        Index(
            "ix_broadcast_recipient_to_batch", "broadcast_id", "group_no", "variant", "follower_id",
            postgresql_where=text("state = 'planned' AND route = 'mass' AND batch_id IS NULL"),
        ),
        Index(
            "ix_broadcast_recipient_hello", "follower_id", "broadcast_id",
            postgresql_where=text("state = 'planned' AND route = 'hello'"),
        ),
        Index(
            "ix_broadcast_recipient_held", "lease_until", postgresql_where=text("state IN ('claimed', 'calling')")
        ),
        Index("ix_broadcast_recipient_batch_id", "batch_id", postgresql_where=text("batch_id IS NOT NULL")),
    )  # fmt: skip

    broadcast_id: Mapped[int] = mapped_column(ForeignKey(BROADCAST_FK), primary_key=True)
    # Followers are never deleted; a foreign key would cost as much again as freezing a million rows.
    follower_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    merchant_id: Mapped[int | None] = mapped_column(BigInteger)
    variant: Mapped[str] = mapped_column(Text, server_default="a", info=PLAIN)
    group_no: Mapped[int] = mapped_column(SmallInteger, server_default=ZERO)
    """Of a digest: which composition."""
    route: Mapped[str] = mapped_column(Text, info=PLAIN)
    state: Mapped[str] = mapped_column(Text, info=PLAIN)
    reason: Mapped[str | None] = mapped_column(Text, info=PLAIN)
    batch_id: Mapped[int | None] = mapped_column(BigInteger)
    window_id: Mapped[int | None] = mapped_column(BigInteger)
    """The window the call was taken from."""
    attempt: Mapped[int] = mapped_column(SmallInteger, server_default=ZERO)
    owner: Mapped[str | None] = mapped_column(Text, info=PLAIN)
    lease_until: Mapped[datetime | None] = mapped_column(Timestamp)
    """On real time: of a claim its end, of a call when it is given up for lost."""
    errcode: Mapped[int | None] = mapped_column(Integer)
    settled_at: Mapped[datetime | None] = mapped_column(Timestamp)


class BatchState(StrEnum):
    PLANNED = "planned"
    CLAIMED = "claimed"
    CALLING = "calling"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    UNKNOWN = "unknown"
    CANCELLED = "cancelled"


class SendBatch(Base):
    """One mass call's worth of fans, with their slots of the month reserved (BC-4, BC-9, BC-14)."""

    __tablename__ = "send_batch"
    __table_args__ = (
        UniqueConstraint("broadcast_id", "no"),
        CheckConstraint(
            "state IN ('planned', 'claimed', 'calling', 'accepted', 'rejected', 'unknown', 'cancelled')", name="state"
        ),
        CheckConstraint("size BETWEEN 0 AND 10000", name="size"),
        CheckConstraint("clientmsgid ~ '^[a-z0-9-]{1,32}$'", name="clientmsgid"),
        Index("ix_send_batch_open", "state", "id",
              postgresql_where=text("state IN ('planned', 'claimed', 'calling', 'unknown')")),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    broadcast_id: Mapped[int] = mapped_column(ForeignKey(BROADCAST_FK))
    no: Mapped[int] = mapped_column(Integer)
    merchant_id: Mapped[int | None] = mapped_column(BigInteger)
    variant: Mapped[str] = mapped_column(Text, server_default="a", info=PLAIN)
    group_no: Mapped[int] = mapped_column(SmallInteger, server_default=ZERO)
    size: Mapped[int] = mapped_column(Integer)
    """How many it was when it was called; who left or muted before is taken out."""
    month: Mapped[date] = mapped_column(Date)
    """The Shanghai month whose slots it holds."""
    week: Mapped[date] = mapped_column(Date)
    """The Monday of the week in which they were reserved."""
    state: Mapped[str] = mapped_column(Text, server_default=BatchState.PLANNED, info=PLAIN)
    clientmsgid: Mapped[str] = mapped_column(Text, unique=True, info=PLAIN)
    msg_id: Mapped[int | None] = mapped_column(BigInteger, unique=True)
    attempt: Mapped[int] = mapped_column(SmallInteger, server_default=ZERO)
    owner: Mapped[str | None] = mapped_column(Text, info=PLAIN)
    lease_until: Mapped[datetime | None] = mapped_column(Timestamp)
    not_before: Mapped[datetime | None] = mapped_column(Timestamp)
    """On real time: the platform asked us to wait."""
    called_at: Mapped[datetime | None] = mapped_column(Timestamp)
    """Of the first call, on the application's clock: for how long the platform knows the clientmsgid."""
    repeat_asked: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    """The operator wants a lost answer asked for again, under the same clientmsgid."""
    errcode: Mapped[int | None] = mapped_column(Integer)
    settled_at: Mapped[datetime | None] = mapped_column(Timestamp)


class SendAttempt(Base):
    """What was tried, before and after each call; rows are only ever added."""

    __tablename__ = "send_attempt"
    __table_args__ = (
        CheckConstraint("moment IN ('before', 'after')", name="moment"),
        CheckConstraint("num_nonnulls(follower_id, batch_id) = 1", name="subject"),
        Index("ix_send_attempt_broadcast_id", "broadcast_id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    broadcast_id: Mapped[int] = mapped_column(BigInteger)
    follower_id: Mapped[int | None] = mapped_column(BigInteger)
    batch_id: Mapped[int | None] = mapped_column(BigInteger)
    attempt: Mapped[int] = mapped_column(SmallInteger)
    moment: Mapped[str] = mapped_column(Text, info=PLAIN)
    at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    content_hash: Mapped[bytes | None] = mapped_column(LargeBinary, info=PLAIN)
    outcome: Mapped[str | None] = mapped_column(Text, info=PLAIN)
    errcode: Mapped[int | None] = mapped_column(Integer)


class MassReport(Base):
    """What the platform told about a finished mass send, ours or one from the console (BC-7)."""

    __tablename__ = "mass_report"
    __table_args__ = (
        CheckConstraint("label IN ('everybody', 'some', 'not_counted')", name="label"),
        Index("ix_mass_report_reported_at", "reported_at"),
    )

    msg_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    account_id: Mapped[int] = mapped_column(ForeignKey(ACCOUNT_FK))
    reported_at: Mapped[datetime] = mapped_column(Timestamp)
    status: Mapped[str] = mapped_column(Text, info=PLAIN)
    total: Mapped[int] = mapped_column(Integer)
    filtered: Mapped[int] = mapped_column(Integer)
    sent: Mapped[int] = mapped_column(Integer)
    errors: Mapped[int] = mapped_column(Integer)
    is_foreign: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    """It is none of ours: from the console, or from another program."""
    counts_for_everybody: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    label: Mapped[str | None] = mapped_column(Text, info=PLAIN)
    note: Mapped[str] = mapped_column(Text, server_default=EMPTY, info=PLAIN)
    labelled_by: Mapped[int | None] = mapped_column(BigInteger)
    labelled_at: Mapped[datetime | None] = mapped_column(Timestamp)


class FanMonthQuota(Base):
    """How many of a follower's mass slots of a Shanghai month are reserved or used, over all merchants (BC-4).

    `week` and `week_used` hold the same for the current week; a new month's row takes them over.
    """

    __tablename__ = "fan_month_quota"
    __table_args__ = (
        CheckConstraint("used BETWEEN 0 AND 4", name="used"),
        CheckConstraint("week_used >= 0", name="week_used"),
    )

    follower_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    month: Mapped[date] = mapped_column(Date, primary_key=True)
    used: Mapped[int] = mapped_column(SmallInteger)
    week: Mapped[date] = mapped_column(Date)
    """The Monday of it."""
    week_used: Mapped[int] = mapped_column(SmallInteger)


class MerchantMonthQuota(Base):
    """How many mass recipients a merchant has reserved or used in a Shanghai month, of its share."""

    __tablename__ = "merchant_month_quota"
    __table_args__ = (CheckConstraint("used >= 0", name="used"),)

    merchant_id: Mapped[int] = mapped_column(ForeignKey("merchant.id"), primary_key=True)
    month: Mapped[date] = mapped_column(Date, primary_key=True)
    used: Mapped[int] = mapped_column(Integer, server_default=ZERO)


class AccountDayQuota(Base):
    """The account's mass calls of a Shanghai day (BC-8)."""

    __tablename__ = "account_day_quota"
    __table_args__ = (CheckConstraint("used BETWEEN 0 AND cap", name="used"),)

    day: Mapped[date] = mapped_column(Date, primary_key=True)
    cap: Mapped[int] = mapped_column(SmallInteger)
    used: Mapped[int] = mapped_column(SmallInteger, server_default=ZERO)
    allotted_at: Mapped[datetime | None] = mapped_column(Timestamp)
    returned_at: Mapped[datetime | None] = mapped_column(Timestamp)


class AccountMinuteQuota(Base):
    """The account's mass calls of one minute, on real time (BC-8)."""

    __tablename__ = "account_minute_quota"
    __table_args__ = (CheckConstraint("used BETWEEN 0 AND 60", name="used"),)

    minute: Mapped[datetime] = mapped_column(Timestamp, primary_key=True)
    used: Mapped[int] = mapped_column(SmallInteger)


class CallAllotment(Base):
    """How many of the day's mass calls a merchant may make, and has made; merchant 0 is the platform (BC-20)."""

    __tablename__ = "call_allotment"
    __table_args__ = (CheckConstraint("used >= 0 AND allotted >= 0", name="counts"),)

    day: Mapped[date] = mapped_column(Date, primary_key=True)
    merchant_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    allotted: Mapped[int] = mapped_column(SmallInteger, server_default=ZERO)
    used: Mapped[int] = mapped_column(SmallInteger, server_default=ZERO)
    last_called_at: Mapped[datetime | None] = mapped_column(Timestamp)


class QuotaPolicy(Base):
    """How the account's common goods are shared; one row."""

    __tablename__ = "quota_policy"
    __table_args__ = (
        CheckConstraint("id = 1", name="single"),
        CheckConstraint("slots_kept BETWEEN 0 AND 3", name="slots_kept"),
        CheckConstraint("share_base BETWEEN 0 AND 1000000", name="share_base"),
        CheckConstraint("share_per_kept BETWEEN 0 AND 1000", name="share_per_kept"),
        CheckConstraint("week_most BETWEEN 1 AND 4", name="week_most"),
        CheckConstraint("calls_per_day BETWEEN 1 AND 1000", name="calls_per_day"),
        CheckConstraint("calls_kept BETWEEN 0 AND calls_per_day", name="calls_kept"),
        CheckConstraint("batch_size BETWEEN 2 AND 10000", name="batch_size"),
        CheckConstraint("hello_days_most BETWEEN 0 AND 14", name="hello_days_most"),
        CheckConstraint("groups_most BETWEEN 1 AND 50", name="groups_most"),
    )

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    slots_kept: Mapped[int] = mapped_column(SmallInteger, server_default=text("1"))
    """Of each follower's four a month, kept for the platform."""
    share_base: Mapped[int] = mapped_column(Integer, server_default=text("1000"))
    """Mass recipients a month that every merchant has."""
    share_per_kept: Mapped[int] = mapped_column(Integer, server_default=text("2"))
    """And for each follower it lately brought and kept."""
    week_most: Mapped[int] = mapped_column(SmallInteger, server_default=text("2"))
    """Mass messages a week for one follower, over all merchants."""
    calls_per_day: Mapped[int] = mapped_column(SmallInteger, server_default=text("100"))
    calls_kept: Mapped[int] = mapped_column(SmallInteger, server_default=text("5"))
    batch_size: Mapped[int] = mapped_column(Integer, server_default=text("10000"))
    quiet_from: Mapped[time] = mapped_column(Time, server_default=text("'21:30'"))
    quiet_until: Mapped[time] = mapped_column(Time, server_default=text("'08:30'"))
    holidays: Mapped[list[date]] = mapped_column(ARRAY(Date), server_default=text("'{}'"), info=PLAIN)
    """Days on which nothing starts."""
    hello_days_most: Mapped[int] = mapped_column(SmallInteger, server_default=text("14"))
    groups_most: Mapped[int] = mapped_column(SmallInteger, server_default=text("10"))
    repeats_unknown: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    """A mass call whose answer was lost is repeated under its clientmsgid without somebody's click."""


class SendingState(Base):
    """Whether the account sends at all; one row (BC-17)."""

    __tablename__ = "sending_state"
    __table_args__ = (CheckConstraint("id = 1", name="single"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    paused_at: Mapped[datetime | None] = mapped_column(Timestamp)
    resume_at: Mapped[datetime | None] = mapped_column(Timestamp)
    """When it goes on by itself; only by the operator where nothing is said."""
    reason: Mapped[str] = mapped_column(Text, server_default=EMPTY, info=PLAIN)
    errors_in_row: Mapped[int] = mapped_column(SmallInteger, server_default=ZERO)


class Unreachable(Base):
    """Somebody the platform refused on a channel; it holds until something newer is heard of them (BC-21)."""

    __tablename__ = "unreachable"
    __table_args__ = (CheckConstraint("channel IN ('mass', 'window')", name="channel"),)

    follower_id: Mapped[int] = mapped_column(ForeignKey("follower.id"), primary_key=True)
    channel: Mapped[str] = mapped_column(Text, primary_key=True, info=PLAIN)
    since: Mapped[datetime] = mapped_column(Timestamp)
    errcode: Mapped[int | None] = mapped_column(Integer)


class OptOut(Base):
    """A follower who wants no merchant's broadcasts at all."""

    __tablename__ = "opt_out"

    follower_id: Mapped[int] = mapped_column(ForeignKey("follower.id"), primary_key=True)
    at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)


class ShortLink(Base):
    """An address of ours that leads where a broadcast's link leads, and counts who goes there."""

    __tablename__ = "short_link"
    __table_args__ = (
        UniqueConstraint("broadcast_id", "variant", "target"),
        ForeignKeyConstraint(["merchant_id", "broadcast_id"], ["broadcast.merchant_id", "broadcast.id"]),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    code: Mapped[str] = mapped_column(Text, unique=True, info=PLAIN)
    merchant_id: Mapped[int] = mapped_column(BigInteger)
    broadcast_id: Mapped[int] = mapped_column(BigInteger)
    variant: Mapped[str] = mapped_column(Text, info=PLAIN)
    target: Mapped[str] = mapped_column(Text, info=PLAIN)


class LinkTap(Base):
    """Somebody opened a short link. `visitor` is a keyed hash of a cookie of a day: it tells two people apart, and
    nobody by name."""

    __tablename__ = "link_tap"
    __table_args__ = (Index("ix_link_tap_link_id", "link_id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    link_id: Mapped[int] = mapped_column(ForeignKey("short_link.id"))
    merchant_id: Mapped[int] = mapped_column(BigInteger)
    at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    visitor: Mapped[bytes] = mapped_column(LargeBinary, info=PLAIN)


class ArticlePage(Base):
    """An approved article as anybody reads it who has its address: what a card in the chat leads to."""

    __tablename__ = "article_page"
    __table_args__ = (
        UniqueConstraint("broadcast_id", "variant"),
        ForeignKeyConstraint(["merchant_id", "broadcast_id"], ["broadcast.merchant_id", "broadcast.id"]),
        ForeignKeyConstraint(["merchant_id", "picture_id"], ["picture.merchant_id", "picture.id"]),
    )

    code: Mapped[str] = mapped_column(Text, primary_key=True, info=PLAIN)
    merchant_id: Mapped[int] = mapped_column(BigInteger)
    broadcast_id: Mapped[int] = mapped_column(BigInteger)
    variant: Mapped[str] = mapped_column(Text, info=PLAIN)
    title: Mapped[str] = mapped_column(Text, info=PLAIN)
    text: Mapped[str] = mapped_column(Text, info=PLAIN)
    picture_id: Mapped[int | None] = mapped_column(BigInteger)
