"""How fans came: sub-QR codes and their owners, scans, attribution, and the welcomes a scan is answered with."""

from datetime import date, datetime
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Date,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    Sequence,
    SmallInteger,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from core.database import Base
from core.models import Timestamp
from core.personal import PLAIN
from merchants.models import ACCOUNT_FK, NOW
from merchants.reviews import Reviewed

SCAN_IDS = Sequence("scan_id_seq", metadata=Base.metadata)


class CodeKind(StrEnum):
    COUNTER = "counter"
    TABLE = "table"
    STAFF = "staff"
    PROMOTER = "promoter"
    POSTER = "poster"
    FLYER = "flyer"
    LIFT = "lift"
    ONLINE = "online"
    INVITE = "invite"
    """A fan's own invitation card: made and renewed by itself, temporary."""


BY_HAND: Final = tuple(kind for kind in CodeKind if kind is not CodeKind.INVITE)
"""The kinds that people make codes of."""


class CodeState(StrEnum):
    PLANNED = "planned"
    ACTIVE = "active"
    RETIRED = "retired"


class SubQrCode(Base):
    """A parametric code of the account, handed to a merchant.

    `merchant_id` is today's owner; who owned it when is in `code_owner`. `planned` is committed before the platform
    is asked, so that a crash re-creates the same scene and never a second one (QR-4). Retired is for good: a trigger
    refuses every way back (QR-2). A scan outside `valid_from` and `valid_to` still counts; lists point it out.
    """

    __tablename__ = "sub_qr_code"
    __table_args__ = (
        UniqueConstraint("account_id", "scene"),
        UniqueConstraint("merchant_id", "id"),
        CheckConstraint("scene ~ '^[A-Za-z0-9_-]{1,64}$'", name="scene"),
        CheckConstraint("state IN ('planned', 'active', 'retired')", name="state"),
        CheckConstraint("permanent = (lifetime_seconds IS NULL)", name="lifetime"),
        CheckConstraint("lifetime_seconds BETWEEN 60 AND 2592000", name="lifetime_range"),
        CheckConstraint("state <> 'active' OR ticket IS NOT NULL OR adopted", name="ticket"),
        CheckConstraint("printed_copies BETWEEN 0 AND 1000000", name="printed_copies"),
        CheckConstraint("cost_fen BETWEEN 0 AND 1000000000", name="cost_fen"),
        CheckConstraint("valid_from <= valid_to", name="validity"),
        CheckConstraint("daily_goal BETWEEN 1 AND 10000", name="daily_goal"),
        Index("ix_sub_qr_code_expires_at", "expires_at", postgresql_where=text("state = 'active'")),
        Index("uq_sub_qr_code_label", "merchant_id", "label", unique=True, postgresql_where=text("state <> 'retired'")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey(ACCOUNT_FK))
    merchant_id: Mapped[int] = mapped_column(ForeignKey("merchant.id"))
    public_id: Mapped[str] = mapped_column(Text, unique=True, info=PLAIN)
    scene: Mapped[str] = mapped_column(Text, info=PLAIN)
    label: Mapped[str] = mapped_column(Text, info=PLAIN)
    kind: Mapped[str] = mapped_column(Text, server_default=CodeKind.COUNTER, info=PLAIN)
    place: Mapped[str] = mapped_column(Text, server_default="", info=PLAIN)
    permanent: Mapped[bool] = mapped_column(Boolean)
    lifetime_seconds: Mapped[int | None] = mapped_column(Integer)
    expires_at: Mapped[datetime | None] = mapped_column(Timestamp)
    adopted: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    ticket: Mapped[str | None] = mapped_column(Text, info=PLAIN)
    url: Mapped[str | None] = mapped_column(Text, info=PLAIN)
    state: Mapped[str] = mapped_column(Text, server_default=CodeState.PLANNED, info=PLAIN)
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    retired_at: Mapped[datetime | None] = mapped_column(Timestamp)
    group_name: Mapped[str] = mapped_column(Text, server_default="", info=PLAIN)
    batch: Mapped[str] = mapped_column(Text, server_default="", info=PLAIN)
    printed_copies: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    cost_fen: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    valid_from: Mapped[date | None] = mapped_column(Date)
    valid_to: Mapped[date | None] = mapped_column(Date)
    daily_goal: Mapped[int | None] = mapped_column(SmallInteger)
    """New followers a day that whoever carries it should bring; empty where nobody expects any."""


class CodeOwner(Base):
    """Who owned a code from when to when: a scan counts for the owner at its CreateTime (QR-2). Append-only."""

    __tablename__ = "code_owner"
    __table_args__ = (
        CheckConstraint("to_at >= from_at", name="order"),
        Index("uq_code_owner_open", "code_id", unique=True, postgresql_where=text("to_at IS NULL")),
        Index("ix_code_owner_code_id_from_at", "code_id", "from_at"),
        Index("ix_code_owner_merchant_id", "merchant_id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    code_id: Mapped[int] = mapped_column(ForeignKey("sub_qr_code.id"))
    merchant_id: Mapped[int] = mapped_column(ForeignKey("merchant.id"))
    from_at: Mapped[datetime] = mapped_column(Timestamp)
    to_at: Mapped[datetime | None] = mapped_column(Timestamp)


class HandoverState(StrEnum):
    OFFERED = "offered"
    ACCEPTED = "accepted"
    """Both agree; a worker is about to do it."""
    DONE = "done"
    DECLINED = "declined"
    WITHDRAWN = "withdrawn"
    VOID = "void"
    """It could not be done any more: the code was retired, or a merchant suspended."""


class CodeHandover(Base):
    """A code on its way to another merchant: offered by its owner and accepted, or decided by the operator.

    Both sides read the row and not each other's tables, so it carries what each may know of the other. Once it is
    done, `label` and `place` are the giver's last ones: by them the giver's fans remember the code.
    """

    __tablename__ = "code_handover"
    __table_args__ = (
        CheckConstraint("state IN ('offered', 'accepted', 'done', 'declined', 'withdrawn', 'void')", name="state"),
        CheckConstraint("from_merchant_id <> to_merchant_id", name="two_merchants"),
        Index(
            "uq_code_handover_open", "code_id", unique=True, postgresql_where=text("state IN ('offered', 'accepted')")
        ),
        Index("ix_code_handover_code_id", "code_id"),
        Index("ix_code_handover_from_merchant_id", "from_merchant_id"),
        Index("ix_code_handover_to_merchant_id", "to_merchant_id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    code_id: Mapped[int] = mapped_column(ForeignKey("sub_qr_code.id"))
    from_merchant_id: Mapped[int] = mapped_column(ForeignKey("merchant.id"))
    to_merchant_id: Mapped[int] = mapped_column(ForeignKey("merchant.id"))
    from_name: Mapped[str] = mapped_column(Text, info=PLAIN)
    to_name: Mapped[str] = mapped_column(Text, info=PLAIN)
    label: Mapped[str] = mapped_column(Text, info=PLAIN)
    kind: Mapped[str] = mapped_column(Text, info=PLAIN)
    place: Mapped[str] = mapped_column(Text, info=PLAIN)
    state: Mapped[str] = mapped_column(Text, server_default=HandoverState.OFFERED, info=PLAIN)
    offered_at: Mapped[datetime] = mapped_column(Timestamp)
    expires_at: Mapped[datetime] = mapped_column(Timestamp)
    decided_by: Mapped[int | None] = mapped_column(BigInteger)
    decided_at: Mapped[datetime | None] = mapped_column(Timestamp)
    effective_at: Mapped[datetime | None] = mapped_column(Timestamp)


class CodeBatch(Base):
    """A list of codes that somebody brought as a file: checked whole, then made whole.

    `code_ids` is filled by the one transaction that plans all of them, in the order of `rows`. `merchant_id` is None
    for the operator's list, whose rows name a merchant each.
    """

    __tablename__ = "code_batch"
    __table_args__ = (Index("ix_code_batch_created_by_id", "created_by", "id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey(ACCOUNT_FK))
    merchant_id: Mapped[int | None] = mapped_column(ForeignKey("merchant.id"))
    name: Mapped[str] = mapped_column(Text, info=PLAIN)
    rows: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, info=PLAIN)
    code_ids: Mapped[list[int] | None] = mapped_column(ARRAY(BigInteger))
    job_id: Mapped[int | None] = mapped_column(BigInteger)
    created_by: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)


class ScenePool(Base):
    """How many of the account's 100,000 permanent codes are used; the row is the guard (QR-1)."""

    __tablename__ = "scene_pool"
    __table_args__ = (CheckConstraint("used BETWEEN 0 AND capacity", name="capacity"),)

    account_id: Mapped[int] = mapped_column(ForeignKey(ACCOUNT_FK), primary_key=True, autoincrement=False)
    used: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    capacity: Mapped[int] = mapped_column(Integer)


class Scan(Base):
    """One scan of a code, those that led to a follow included. Append-only; counts for `merchant_id`, the owner then.

    `by_staff`: made by somebody on that merchant's staff; `is_test`: tried out on purpose. Both count as scans and are
    left out of every rank.

    `merchant_id` is empty where the scene was nobody's: shown to the operator as unmatched, never guessed (EV-10).
    """

    __tablename__ = "scan"
    __table_args__ = (
        UniqueConstraint("inbox_id", "month"),
        Index("ix_scan_merchant_id_scanned_at", "merchant_id", "scanned_at", "follower_id"),
        Index("ix_scan_code_id_scanned_at", "code_id", "scanned_at"),
        Index("ix_scan_follower_id_scanned_at", "follower_id", "scanned_at"),
        Index("ix_scan_unmatched", "scanned_at", postgresql_where=text("merchant_id IS NULL")),
        Index("ix_scan_scanned_at", "scanned_at", "id"),
        Index("ix_scan_left_out", "code_id", "scanned_at", postgresql_where=text("by_staff OR is_test")),
        {"postgresql_partition_by": "RANGE (month)"},
    )

    id: Mapped[int] = mapped_column(
        BigInteger, SCAN_IDS, server_default=SCAN_IDS.next_value(), primary_key=True, autoincrement=False
    )
    month: Mapped[date] = mapped_column(Date, primary_key=True)
    inbox_id: Mapped[int] = mapped_column(BigInteger)
    follower_id: Mapped[int] = mapped_column(ForeignKey("follower.id"))
    code_id: Mapped[int | None] = mapped_column(ForeignKey("sub_qr_code.id"))
    merchant_id: Mapped[int | None] = mapped_column(ForeignKey("merchant.id"))
    scene: Mapped[str] = mapped_column(Text, info=PLAIN)
    scanned_at: Mapped[datetime] = mapped_column(Timestamp)
    led_to_follow: Mapped[bool] = mapped_column(Boolean)
    suspect: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    by_staff: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    is_test: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))


class CodeTrial(Base):
    """Somebody on the staff wants to try a code: its next scan within the time is a test, whoever makes it."""

    __tablename__ = "code_trial"
    __table_args__ = (
        CheckConstraint("expires_at > armed_at", name="order"),
        Index("ix_code_trial_code_id", "code_id", postgresql_where=text("used_at IS NULL")),
        Index("ix_code_trial_merchant_id", "merchant_id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    code_id: Mapped[int] = mapped_column(ForeignKey("sub_qr_code.id"))
    merchant_id: Mapped[int] = mapped_column(ForeignKey("merchant.id"))
    staff_id: Mapped[int] = mapped_column(ForeignKey("staff.id"))
    armed_at: Mapped[datetime] = mapped_column(Timestamp)
    expires_at: Mapped[datetime] = mapped_column(Timestamp)
    used_at: Mapped[datetime | None] = mapped_column(Timestamp)
    """CreateTime of the scan that was the test."""


class AttributionKind(StrEnum):
    NEW = "new"
    RETURNING = "returning"
    PRE_EXISTING = "pre-existing"
    VOID = "void"
    """The episode turned out to be part of another one."""


class AttributionRule(Base):
    """One version of the rule by which follows are credited, in force from a date on. Append-only, but for a taking
    back before that date."""

    __tablename__ = "attribution_rule"
    __table_args__ = (CheckConstraint("protection_days BETWEEN 0 AND 365", name="protection"),)

    version: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    effective_from: Mapped[datetime] = mapped_column(Timestamp)
    protection_days: Mapped[int] = mapped_column(SmallInteger)
    decided_by: Mapped[int | None] = mapped_column(BigInteger)
    replay_id: Mapped[int | None] = mapped_column(ForeignKey("rule_replay.id"))
    """What the operator had seen before deciding."""
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    withdrawn_at: Mapped[datetime | None] = mapped_column(Timestamp)


class RuleReplay(Base):
    """A rule tried on all that has happened: who would have been credited otherwise. Changes nothing by itself."""

    __tablename__ = "rule_replay"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    protection_days: Mapped[int] = mapped_column(SmallInteger)
    job_id: Mapped[int | None] = mapped_column(BigInteger)
    judged: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    finished_at: Mapped[datetime | None] = mapped_column(Timestamp)


class RuleReplayMove(Base):
    """One follow that a replay credits to somebody else."""

    __tablename__ = "rule_replay_move"
    __table_args__ = (Index("ix_rule_replay_move_replay_id_id", "replay_id", "id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    replay_id: Mapped[int] = mapped_column(ForeignKey("rule_replay.id", ondelete="CASCADE"))
    follower_id: Mapped[int] = mapped_column(ForeignKey("follower.id"))
    followed_at: Mapped[datetime] = mapped_column(Timestamp)
    former_merchant_id: Mapped[int | None] = mapped_column(ForeignKey("merchant.id"))
    merchant_id: Mapped[int | None] = mapped_column(ForeignKey("merchant.id"))


class Attribution(Base):
    """Who is credited with a follow, by which rule. Append-only: later knowledge is a new row that supersedes."""

    __tablename__ = "attribution"
    __table_args__ = (
        CheckConstraint("kind IN ('new', 'returning', 'pre-existing', 'void')", name="kind"),
        Index("uq_attribution_first", "episode_id", unique=True, postgresql_where=text("supersedes IS NULL")),
        Index("ix_attribution_merchant_id_followed_at", "merchant_id", "followed_at"),
        Index("ix_attribution_code_id_followed_at", "code_id", "followed_at"),
        Index("ix_attribution_episode_id", "episode_id"),
        Index("ix_attribution_followed_at", "followed_at"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    episode_id: Mapped[int] = mapped_column(ForeignKey("follow_episode.id"))
    follower_id: Mapped[int] = mapped_column(ForeignKey("follower.id"), index=True)
    merchant_id: Mapped[int | None] = mapped_column(ForeignKey("merchant.id"))
    code_id: Mapped[int | None] = mapped_column(ForeignKey("sub_qr_code.id"))
    kind: Mapped[str] = mapped_column(Text, info=PLAIN)
    followed_at: Mapped[datetime] = mapped_column(Timestamp)
    rule: Mapped[str] = mapped_column(Text, info=PLAIN)
    rule_version: Mapped[int] = mapped_column(SmallInteger)
    source: Mapped[str] = mapped_column(Text, info=PLAIN)
    supersedes: Mapped[int | None] = mapped_column(ForeignKey("attribution.id"), unique=True)
    recorded_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)


class WelcomeVariant(StrEnum):
    FIRST = "first"
    """First follow ever."""
    BACK = "back"
    """Followed before, left, follows again."""
    ALREADY = "already"
    """Follows already and scans."""


class Welcome(Reviewed, Base):
    """What a scan is answered with: of a code, else of its merchant, else of the platform.

    Each save is a new row that waits for the operator; the newest approved one speaks meanwhile.
    `position` 0 is the passive reply, 1 and 2 are sent after it as far as the open window allows.
    """

    __tablename__ = "welcome"
    __table_args__ = (
        ForeignKeyConstraint(["merchant_id", "code_id"], ["sub_qr_code.merchant_id", "sub_qr_code.id"]),
        ForeignKeyConstraint(["merchant_id", "picture_id"], ["picture.merchant_id", "picture.id"]),
        ForeignKeyConstraint(["merchant_id", "template_id"], ["coupon_template.merchant_id", "coupon_template.id"]),
        CheckConstraint(
            "template_id IS NULL OR (position = 0 AND kind <> 'image' AND merchant_id IS NOT NULL)", name="card"
        ),
        CheckConstraint("code_id IS NULL OR merchant_id IS NOT NULL", name="owner"),
        CheckConstraint("variant IN ('first', 'back', 'already')", name="variant"),
        CheckConstraint("kind IN ('text', 'image', 'news')", name="kind"),
        CheckConstraint("position BETWEEN 0 AND 2", name="position"),
        CheckConstraint("review IN ('pending', 'approved', 'rejected', 'withdrawn')", name="review"),
        Index("ix_welcome_approved", "merchant_id", "code_id", "variant", "position", "id",
              postgresql_where=text("review = 'approved'")),
        Index("ix_welcome_pending", "id", postgresql_where=text("review = 'pending'")),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    merchant_id: Mapped[int | None] = mapped_column(ForeignKey("merchant.id"))
    code_id: Mapped[int | None] = mapped_column(BigInteger)
    variant: Mapped[str] = mapped_column(Text, info=PLAIN)
    position: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    kind: Mapped[str] = mapped_column(Text, info=PLAIN)
    text: Mapped[str] = mapped_column(Text, server_default="", info=PLAIN)
    title: Mapped[str] = mapped_column(Text, server_default="", info=PLAIN)
    description: Mapped[str] = mapped_column(Text, server_default="", info=PLAIN)
    url: Mapped[str] = mapped_column(Text, server_default="", info=PLAIN)
    picture_id: Mapped[int | None] = mapped_column(BigInteger)
    template_id: Mapped[int | None] = mapped_column(BigInteger)
    """The coupon whose card the passive reply ends with, of this situation and of the two others alike."""
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)


class PosterLook(Base):
    """How a merchant's posters look, as its owner last saved it; a merchant without a row has the house's look."""

    __tablename__ = "poster_look"
    __table_args__ = (
        CheckConstraint("colour ~ '^#[0-9a-f]{6}$'", name="colour"),
        CheckConstraint("design IN ('vivid', 'plain')", name="design"),
    )

    merchant_id: Mapped[int] = mapped_column(ForeignKey("merchant.id"), primary_key=True, autoincrement=False)
    colour: Mapped[str] = mapped_column(Text, info=PLAIN)
    design: Mapped[str] = mapped_column(Text, info=PLAIN)
    with_picture: Mapped[bool] = mapped_column(Boolean)
    with_logo: Mapped[bool] = mapped_column(Boolean)


class PosterSlogan(Reviewed, Base):
    """One version of the words on a merchant's posters; the newest approved one is printed."""

    __tablename__ = "poster_slogan"
    __table_args__ = (
        CheckConstraint("review IN ('pending', 'approved', 'rejected', 'withdrawn')", name="review"),
        Index("ix_poster_slogan_pending", "id", postgresql_where=text("review = 'pending'")),
        Index("ix_poster_slogan_merchant_id", "merchant_id", "id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    merchant_id: Mapped[int] = mapped_column(ForeignKey("merchant.id"))
    slogan: Mapped[str] = mapped_column(Text, info=PLAIN)
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
