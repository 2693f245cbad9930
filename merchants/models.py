"""Who exists: the account, its communities and merchants, their staff, the followers and each merchant's fans."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Numeric,
    SmallInteger,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from core.database import Base
from core.models import Timestamp
from core.personal import PLAIN, personal
from merchants.reviews import Reviewed

ACCOUNT_FK = "official_account.id"
NOW = text("app_now()")
Degrees = Numeric(9, 6, asdecimal=False)
POSITION = """(latitude IS NULL) = (longitude IS NULL)
            AND latitude BETWEEN -90 AND 90 AND longitude BETWEEN -180 AND 180"""


class OfficialAccount(Base):
    """The WeChat account. `live_since` parts followers who were there before us from those we saw come."""

    __tablename__ = "official_account"

    id: Mapped[int] = mapped_column(SmallInteger, Identity(), primary_key=True)
    app_id: Mapped[str] = mapped_column(Text, unique=True, info=PLAIN)
    original_id: Mapped[str] = mapped_column(Text, info=PLAIN)
    name: Mapped[str] = mapped_column(Text, server_default="", info=PLAIN)
    is_sandbox: Mapped[bool] = mapped_column(Boolean)
    live_since: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    reconciled_at: Mapped[datetime | None] = mapped_column(Timestamp)


class Community(Base):
    __tablename__ = "community"
    __table_args__ = (UniqueConstraint("account_id", "name"), UniqueConstraint("account_id", "id"))

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey(ACCOUNT_FK))
    name: Mapped[str] = mapped_column(Text, info=PLAIN)
    intro: Mapped[str] = mapped_column(Text, server_default="", info=PLAIN)
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)


class SensitiveWord(Base):
    """A word of the operator's own list that merchants may not use, or only after a second look."""

    __tablename__ = "sensitive_word"
    __table_args__ = (
        UniqueConstraint("account_id", "comparable"),
        CheckConstraint("severity IN ('refused', 'doubtful')", name="severity"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey(ACCOUNT_FK))
    word: Mapped[str] = mapped_column(Text, info=PLAIN)
    comparable: Mapped[str] = mapped_column(Text, info=PLAIN)
    """The word as it is looked for: one spelling of each letter (`wording.comparable`)."""
    severity: Mapped[str] = mapped_column(Text, info=PLAIN)
    advice: Mapped[str] = mapped_column(Text, server_default="", info=PLAIN)
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)


class MerchantState(StrEnum):
    ACTIVE = "active"
    SUSPENDED = "suspended"


class Merchant(Base):
    __tablename__ = "merchant"
    __table_args__ = (
        CheckConstraint("state IN ('active', 'suspended')", name="state"),
        ForeignKeyConstraint(
            ["id", "picture_id"], ["picture.merchant_id", "picture.id"], name="fk_merchant_picture", use_alter=True
        ),
        CheckConstraint(POSITION, name="position"),
        Index(
            "ix_merchant_position", "account_id", "latitude", "longitude",
            postgresql_where=text("latitude IS NOT NULL AND state = 'active'"),
        ),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey(ACCOUNT_FK))
    community_id: Mapped[int] = mapped_column(ForeignKey("community.id"), index=True)
    name: Mapped[str] = mapped_column(Text, info=PLAIN)
    kind: Mapped[str] = mapped_column(Text, server_default="", info=PLAIN)
    contact_name: Mapped[str] = mapped_column(
        Text,
        server_default="",
        info=personal("the operator's contact at the merchant", "as long as the merchant is here"),
    )
    phone: Mapped[str] = mapped_column(
        Text,
        server_default="",
        info=personal("the operator's contact at the merchant", "as long as the merchant is here"),
    )
    intro: Mapped[str] = mapped_column(Text, server_default="", info=PLAIN)
    address: Mapped[str] = mapped_column(Text, server_default="", info=PLAIN)
    hours: Mapped[str] = mapped_column(Text, server_default="", info=PLAIN)
    public_phone: Mapped[str] = mapped_column(
        Text,
        server_default="",
        info=personal("what a shop tells everybody to ring", "as long as the merchant is here"),
    )
    picture_id: Mapped[int | None] = mapped_column(BigInteger)
    latitude: Mapped[float | None] = mapped_column(Degrees)
    """Where it is, in the degrees that WeChat and Tencent's map use (GCJ-02)."""
    longitude: Mapped[float | None] = mapped_column(Degrees)
    state: Mapped[str] = mapped_column(Text, server_default=MerchantState.ACTIVE, info=PLAIN)
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)


class MerchantCard(Reviewed, Base):
    """One version of what a merchant says about itself; the one in force is copied to the merchant's row."""

    __tablename__ = "merchant_card"
    __table_args__ = (
        ForeignKeyConstraint(["merchant_id", "picture_id"], ["picture.merchant_id", "picture.id"]),
        CheckConstraint("review IN ('pending', 'approved', 'rejected', 'withdrawn')", name="review"),
        CheckConstraint(POSITION, name="position"),
        Index("ix_merchant_card_pending", "id", postgresql_where=text("review = 'pending'")),
        Index("ix_merchant_card_merchant_id", "merchant_id", "id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    merchant_id: Mapped[int] = mapped_column(ForeignKey("merchant.id"))
    intro: Mapped[str] = mapped_column(Text, server_default="", info=PLAIN)
    address: Mapped[str] = mapped_column(Text, server_default="", info=PLAIN)
    hours: Mapped[str] = mapped_column(Text, server_default="", info=PLAIN)
    public_phone: Mapped[str] = mapped_column(
        Text,
        server_default="",
        info=personal("what a shop tells everybody to ring", "as long as the merchant is here"),
    )
    picture_id: Mapped[int | None] = mapped_column(BigInteger)
    latitude: Mapped[float | None] = mapped_column(Degrees)
    longitude: Mapped[float | None] = mapped_column(Degrees)
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)


class Picture(Base):
    """A re-encoded picture of a merchant, and its copy in the account's permanent material once uploaded."""

    __tablename__ = "picture"
    __table_args__ = (
        UniqueConstraint("merchant_id", "id"),
        UniqueConstraint("merchant_id", "sha256"),
        CheckConstraint("octet_length(content) <= 2097152", name="size"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    merchant_id: Mapped[int] = mapped_column(ForeignKey("merchant.id"))
    public_id: Mapped[str] = mapped_column(Text, unique=True, info=PLAIN)
    content: Mapped[bytes] = mapped_column(LargeBinary, info=PLAIN)
    mime: Mapped[str] = mapped_column(Text, info=PLAIN)
    sha256: Mapped[bytes] = mapped_column(LargeBinary, info=PLAIN)
    width: Mapped[int] = mapped_column(Integer)
    height: Mapped[int] = mapped_column(Integer)
    media_id: Mapped[str | None] = mapped_column(Text, info=PLAIN)
    wechat_url: Mapped[str | None] = mapped_column(Text, info=PLAIN)
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)


class StaffRole(StrEnum):
    OPERATOR = "operator"
    OWNER = "owner"
    CLERK = "clerk"


class Staff(Base):
    """Somebody who signs in. An operator belongs to no merchant, everybody else to exactly one."""

    __tablename__ = "staff"
    __table_args__ = (
        CheckConstraint("role IN ('operator', 'owner', 'clerk')", name="role"),
        CheckConstraint("(role = 'operator') = (merchant_id IS NULL)", name="merchant"),
        Index("ix_staff_merchant_id", "merchant_id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    merchant_id: Mapped[int | None] = mapped_column(ForeignKey("merchant.id"))
    role: Mapped[str] = mapped_column(Text, info=PLAIN)
    name: Mapped[str] = mapped_column(
        Text, info=personal("who acts for a merchant", "until the staff member is removed")
    )
    login: Mapped[str | None] = mapped_column(
        Text, unique=True, info=personal("signing in", "until the staff member is removed")
    )
    password_hash: Mapped[str | None] = mapped_column(Text, info=personal("signing in", "until changed"))
    muted_notices: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"), info=PLAIN)
    disabled_at: Mapped[datetime | None] = mapped_column(Timestamp)
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)


class Invitation(Base):
    """A one-time sign-in link; only the token's sha256 is kept."""

    __tablename__ = "invitation"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    merchant_id: Mapped[int | None] = mapped_column(ForeignKey("merchant.id"), index=True)
    staff_id: Mapped[int] = mapped_column(ForeignKey("staff.id"), index=True)
    token_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True, info=PLAIN)
    expires_at: Mapped[datetime] = mapped_column(Timestamp)
    used_at: Mapped[datetime | None] = mapped_column(Timestamp)
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)


class LoginSession(Base):
    """A signed-in browser; the cookie's sha256 is the key, and under the merchant role the only way to see the row."""

    __tablename__ = "login_session"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    token_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True, info=PLAIN)
    staff_id: Mapped[int] = mapped_column(ForeignKey("staff.id"), index=True)
    merchant_id: Mapped[int | None] = mapped_column(ForeignKey("merchant.id"), index=True)
    role: Mapped[str] = mapped_column(Text, info=PLAIN)
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    last_seen_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    expires_at: Mapped[datetime] = mapped_column(Timestamp)
    user_agent: Mapped[str] = mapped_column(
        Text, server_default="", info=personal("lets staff recognise their sessions", "until the session ends")
    )


class StaffIdentity(Base):
    """Who a member of staff is in WeChat, from when to when; one open row for each of them.

    The same person may work for several merchants. An ended row stays, so that a scan that is told late is still
    known for a staff scan; an erasure takes all rows of the follower.
    """

    __tablename__ = "staff_identity"
    __table_args__ = (
        CheckConstraint("unbound_at >= bound_at", name="order"),
        Index("uq_staff_identity_open", "staff_id", unique=True, postgresql_where=text("unbound_at IS NULL")),
        Index("ix_staff_identity_follower_id", "follower_id"),
        Index("ix_staff_identity_merchant_id", "merchant_id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    staff_id: Mapped[int] = mapped_column(ForeignKey("staff.id"))
    merchant_id: Mapped[int | None] = mapped_column(ForeignKey("merchant.id"))
    follower_id: Mapped[int] = mapped_column(ForeignKey("follower.id"))
    bound_at: Mapped[datetime] = mapped_column(Timestamp)
    unbound_at: Mapped[datetime | None] = mapped_column(Timestamp)


class LinkPurpose(StrEnum):
    BIND = "bind"
    SIGN_IN = "sign_in"


class LinkState(StrEnum):
    OPEN = "open"
    SCANNED = "scanned"
    CONFIRMED = "confirmed"
    """Signing in only: the person has sent the number that the browser shows."""
    USED = "used"
    REFUSED = "refused"


class StaffLink(Base):
    """A temporary code on a screen that belongs to no merchant: it joins one browser and one WeChat identity, once.

    `browser_hash` is the sha256 of what only that browser holds; the first to scan is the only one (`follower_id`).
    """

    __tablename__ = "staff_link"
    __table_args__ = (
        CheckConstraint("purpose IN ('bind', 'sign_in')", name="purpose"),
        CheckConstraint("state IN ('open', 'scanned', 'confirmed', 'used', 'refused')", name="state"),
        CheckConstraint("(purpose = 'bind') = (staff_id IS NOT NULL)", name="staff"),
        CheckConstraint("state IN ('open', 'refused') OR follower_id IS NOT NULL", name="follower"),
        Index("ix_staff_link_browser_hash", "browser_hash"),
        Index("ix_staff_link_expires_at", "expires_at"),
        Index("ix_staff_link_follower_id", "follower_id", postgresql_where=text("follower_id IS NOT NULL")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    purpose: Mapped[str] = mapped_column(Text, info=PLAIN)
    scene: Mapped[str] = mapped_column(Text, unique=True, info=PLAIN)
    number: Mapped[str] = mapped_column(Text, info=PLAIN)
    browser_hash: Mapped[bytes] = mapped_column(LargeBinary, info=PLAIN)
    device: Mapped[str] = mapped_column(
        Text, info=personal("lets staff recognise the browser that asks to be let in", "a day")
    )
    target: Mapped[str] = mapped_column(Text, server_default="", info=PLAIN)
    staff_id: Mapped[int | None] = mapped_column(ForeignKey("staff.id"))
    merchant_id: Mapped[int | None] = mapped_column(ForeignKey("merchant.id"))
    state: Mapped[str] = mapped_column(Text, server_default=LinkState.OPEN, info=PLAIN)
    url: Mapped[str | None] = mapped_column(Text, info=PLAIN)
    follower_id: Mapped[int | None] = mapped_column(ForeignKey("follower.id"))
    scanned_at: Mapped[datetime | None] = mapped_column(Timestamp)
    created_at: Mapped[datetime] = mapped_column(Timestamp)
    expires_at: Mapped[datetime] = mapped_column(Timestamp)


class StepPurpose(StrEnum):
    OAUTH = "oauth"
    """On the way to WeChat and back; `state_hash` is that of the state which comes back."""
    SECOND_FACTOR = "second_factor"
    """The password was right; the code of the second factor is still to come."""
    CHOOSE = "choose"
    """WeChat says who it is; of several jobs one is still to be chosen."""
    OWNER = "owner"
    """An owner on the way to WeChat and back; a state of theirs never lets staff in, nor theirs an owner."""


class SignInStep(Base):
    """A sign-in that has one more step to go, for the one browser whose cookie hashes to `browser_hash`."""

    __tablename__ = "sign_in_step"
    __table_args__ = (
        CheckConstraint("purpose IN ('oauth', 'second_factor', 'choose', 'owner')", name="purpose"),
        CheckConstraint("(purpose IN ('oauth', 'owner')) = (state_hash IS NOT NULL)", name="oauth"),
        CheckConstraint("(purpose = 'second_factor') = (staff_id IS NOT NULL)", name="second_factor"),
        CheckConstraint("(purpose = 'choose') = (follower_id IS NOT NULL)", name="choose"),
        Index("ix_sign_in_step_browser_hash", "browser_hash"),
        Index("ix_sign_in_step_expires_at", "expires_at"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    purpose: Mapped[str] = mapped_column(Text, info=PLAIN)
    browser_hash: Mapped[bytes] = mapped_column(LargeBinary, info=PLAIN)
    state_hash: Mapped[bytes | None] = mapped_column(LargeBinary, unique=True, info=PLAIN)
    staff_id: Mapped[int | None] = mapped_column(ForeignKey("staff.id"))
    follower_id: Mapped[int | None] = mapped_column(ForeignKey("follower.id"), index=True)
    target: Mapped[str] = mapped_column(Text, server_default="", info=PLAIN)
    by: Mapped[str] = mapped_column(Text, server_default="", info=PLAIN)
    tries: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    expires_at: Mapped[datetime] = mapped_column(Timestamp)


class SecondFactor(Base):
    """An operator's second factor. The secret is derived from SECRET_KEY and `seed`, so that a copy of this row is
    worth nothing; `last_step` is the newest half minute whose code was accepted, which never works again."""

    __tablename__ = "second_factor"

    staff_id: Mapped[int] = mapped_column(ForeignKey("staff.id"), primary_key=True)
    seed: Mapped[str] = mapped_column(Text, info=PLAIN)
    confirmed_at: Mapped[datetime | None] = mapped_column(Timestamp)
    last_step: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))


class RecoveryCode(Base):
    """A code for the day the phone is lost, worth one sign-in; only a keyed hash of it is kept."""

    __tablename__ = "recovery_code"

    code_hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True, info=PLAIN)
    staff_id: Mapped[int] = mapped_column(ForeignKey("staff.id"), index=True)
    used_at: Mapped[datetime | None] = mapped_column(Timestamp)


class OwnerSession(Base):
    """An owner's browser inside WeChat; the cookie's sha256 is the key. Without a follower it is a snapshot visitor,
    who reads and writes nothing (AU-2)."""

    __tablename__ = "owner_session"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    token_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True, info=PLAIN)
    follower_id: Mapped[int | None] = mapped_column(ForeignKey("follower.id"), index=True)
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    last_seen_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    expires_at: Mapped[datetime] = mapped_column(Timestamp, index=True)


class OwnerProfile(Base):
    """What an owner told of their own accord: a birthday without its year."""

    __tablename__ = "owner_profile"
    __table_args__ = (
        CheckConstraint("(birth_month IS NULL) = (birth_day IS NULL)", name="birthday"),
        CheckConstraint("birth_month BETWEEN 1 AND 12 AND birth_day BETWEEN 1 AND 31", name="birthday_range"),
        Index(
            "ix_owner_profile_birthday", "birth_month", "birth_day", postgresql_where=text("birth_month IS NOT NULL")
        ),
    )

    follower_id: Mapped[int] = mapped_column(ForeignKey("follower.id"), primary_key=True, autoincrement=False)
    birth_month: Mapped[int | None] = mapped_column(
        SmallInteger, info=personal("birthday coupons", "until taken back or erased", basis="consent")
    )
    birth_day: Mapped[int | None] = mapped_column(
        SmallInteger, info=personal("birthday coupons", "until taken back or erased", basis="consent")
    )
    consented_at: Mapped[datetime | None] = mapped_column(Timestamp)


class NoticeKind(StrEnum):
    APPROVED = "approved"
    REFUSED = "refused"
    EXPIRING = "expiring"
    FIRST_FAN = "first_fan"
    TALK_WAITS = "talk_waits"


class NoticeState(StrEnum):
    ON_PAGE = "on_page"
    """Shown in the pages only: there was no open window to say it in."""
    PLANNED = "planned"
    CALLING = "calling"
    SENT = "sent"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class StaffNotice(Base):
    """Something one member of a merchant's staff is told, once for each `cause`: in the pages, and in the chat where
    a window of theirs is open. `calling` is committed before the call, as for every message that must not go twice."""

    __tablename__ = "staff_notice"
    __table_args__ = (
        UniqueConstraint("staff_id", "cause"),
        CheckConstraint("kind IN ('approved', 'refused', 'expiring', 'first_fan', 'talk_waits')", name="kind"),
        CheckConstraint("state IN ('on_page', 'planned', 'calling', 'sent', 'refused', 'unknown')", name="state"),
        Index("ix_staff_notice_merchant_id_staff_id", "merchant_id", "staff_id", text("id DESC")),
        Index("ix_staff_notice_calling", "calling_at", postgresql_where=text("state = 'calling'")),
        Index("ix_staff_notice_window_id", "window_id", postgresql_where=text("window_id IS NOT NULL")),
        Index("ix_staff_notice_created_at", "created_at"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    merchant_id: Mapped[int] = mapped_column(ForeignKey("merchant.id"))
    staff_id: Mapped[int] = mapped_column(ForeignKey("staff.id"))
    kind: Mapped[str] = mapped_column(Text, info=PLAIN)
    cause: Mapped[str] = mapped_column(Text, info=PLAIN)
    subject: Mapped[str] = mapped_column(Text, server_default="", info=PLAIN)
    reason: Mapped[str] = mapped_column(Text, server_default="", info=PLAIN)
    days: Mapped[int | None] = mapped_column(SmallInteger)
    path: Mapped[str] = mapped_column(Text, info=PLAIN)
    state: Mapped[str] = mapped_column(Text, server_default=NoticeState.ON_PAGE, info=PLAIN)
    window_id: Mapped[int | None] = mapped_column(BigInteger)
    """The message window it was said in."""
    calling_at: Mapped[datetime | None] = mapped_column(Timestamp)
    errcode: Mapped[int | None] = mapped_column(Integer)
    created_at: Mapped[datetime] = mapped_column(Timestamp)
    read_at: Mapped[datetime | None] = mapped_column(Timestamp)


class FollowStatus(StrEnum):
    UNKNOWN = "unknown"
    """Seen, but nothing proves a follow or a leave yet."""
    FOLLOWING = "following"
    GONE = "gone"
    AMBIGUOUS = "ambiguous"
    """Followed and left within one second: not sendable until the platform's user info decides (EV-7)."""


class Follower(Base):
    """A person as the account knows them. Everything else points here, so that erasure has one place to start.

    `state_as_of` is the CreateTime of the newest event applied; older ones are stale (EV-6).
    """

    __tablename__ = "follower"
    __table_args__ = (
        UniqueConstraint("account_id", "openid"),
        UniqueConstraint("account_id", "person_key"),
        CheckConstraint("openid ~ '^[A-Za-z0-9_-]{20,64}$'", name="openid"),
        CheckConstraint("status IN ('unknown', 'following', 'gone', 'ambiguous')", name="status"),
        Index("ix_follower_erase_due_at", "erase_due_at", postgresql_where=text("erase_due_at IS NOT NULL")),
        Index("ix_follower_ambiguous", "id", postgresql_where=text("status = 'ambiguous'")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey(ACCOUNT_FK))
    openid: Mapped[str | None] = mapped_column(Text, info=personal("talking to the follower", "24 h after unfollowing"))
    person_key: Mapped[bytes] = mapped_column(
        LargeBinary, info=personal("abuse and double-count protection", "kept: a keyed hash, no way back to the person")
    )
    status: Mapped[str] = mapped_column(Text, server_default=FollowStatus.UNKNOWN, info=PLAIN)
    state_as_of: Mapped[datetime | None] = mapped_column(Timestamp)
    first_seen_at: Mapped[datetime] = mapped_column(Timestamp)
    last_seen_at: Mapped[datetime] = mapped_column(Timestamp)
    erase_due_at: Mapped[datetime | None] = mapped_column(Timestamp)
    erased_at: Mapped[datetime | None] = mapped_column(Timestamp)
    wished_at: Mapped[datetime | None] = mapped_column(Timestamp)
    """When they last said whether they want any merchant's news: a word said before that changes nothing."""


class EpisodeSource(StrEnum):
    EVENT = "event"
    RECONCILE = "reconcile"
    IMPLIED = "implied"
    PRE_EXISTING = "pre-existing"


class FollowEpisode(Base):
    """One stretch of following, from a follow to the leave that ended it.

    `attribution_id` points at the attribution in force; `voided_at` marks an episode that later knowledge
    showed to be another one's part (rows are kept, nothing that was counted disappears without a trace).
    """

    __tablename__ = "follow_episode"
    __table_args__ = (
        CheckConstraint("source IN ('event', 'reconcile', 'implied', 'pre-existing')", name="source"),
        CheckConstraint("ended_at >= started_at", name="order"),
        Index("ix_follow_episode_follower_id_started_at", "follower_id", "started_at"),
        Index(
            "uq_follow_episode_open", "follower_id", unique=True,
            postgresql_where=text("ended_at IS NULL AND voided_at IS NULL"),
        ),
        Index(
            "uq_follow_episode_start", "follower_id", "started_at", unique=True,
            postgresql_where=text("voided_at IS NULL"),
        ),
        Index("ix_follow_episode_ended_at", "ended_at", postgresql_where=text("voided_at IS NULL")),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    follower_id: Mapped[int] = mapped_column(ForeignKey("follower.id"))
    started_at: Mapped[datetime] = mapped_column(Timestamp)
    ended_at: Mapped[datetime | None] = mapped_column(Timestamp)
    source: Mapped[str] = mapped_column(Text, info=PLAIN)
    scene: Mapped[str | None] = mapped_column(Text, info=PLAIN)
    attribution_id: Mapped[int] = mapped_column(
        ForeignKey(
            "attribution.id", deferrable=True, initially="DEFERRED", use_alter=True, name="fk_episode_attribution"
        ),
        unique=True,
    )
    voided_at: Mapped[datetime | None] = mapped_column(Timestamp)


class Fan(Base):
    """A follower in one merchant's list: first and last touch, and what the merchant noted.

    An erased fan keeps the row (the counts stay true) but is in no list until a new touch or follow brings them back.
    """

    __tablename__ = "fan"
    __table_args__ = (
        UniqueConstraint("merchant_id", "number"),
        Index("ix_fan_merchant_id_last_touch", "merchant_id", text("last_touch_at DESC"), text("follower_id DESC")),
        Index("ix_fan_follower_id", "follower_id"),
        Index("ix_fan_muted", "merchant_id", "muted_at", postgresql_where=text("muted_at IS NOT NULL")),
    )

    merchant_id: Mapped[int] = mapped_column(ForeignKey("merchant.id"), primary_key=True)
    follower_id: Mapped[int] = mapped_column(ForeignKey("follower.id"), primary_key=True)
    number: Mapped[str] = mapped_column(Text, info=PLAIN)
    first_touch_at: Mapped[datetime] = mapped_column(Timestamp)
    first_code_id: Mapped[int | None] = mapped_column(BigInteger)
    last_touch_at: Mapped[datetime] = mapped_column(Timestamp)
    last_code_id: Mapped[int | None] = mapped_column(BigInteger)
    note: Mapped[str] = mapped_column(
        Text, server_default="", info=personal("what the merchant remembers of the fan", "24 h after unfollowing")
    )
    muted_at: Mapped[datetime | None] = mapped_column(Timestamp)
    wished_at: Mapped[datetime | None] = mapped_column(Timestamp)
    """When they last said whether they want this merchant's news."""
    erased_at: Mapped[datetime | None] = mapped_column(Timestamp)


class FanTag(Base):
    __tablename__ = "fan_tag"
    __table_args__ = (
        ForeignKeyConstraint(
            ["merchant_id", "follower_id"], ["fan.merchant_id", "fan.follower_id"], ondelete="CASCADE"
        ),
    )

    merchant_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    follower_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    tag: Mapped[str] = mapped_column(
        Text, primary_key=True, info=personal("how the merchant sorts its fans", "24 h after unfollowing")
    )
