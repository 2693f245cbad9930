"""Notices, whom they are for, who has read them; buildings, and where an owner lives if they said so."""

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
    SmallInteger,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from core.database import Base
from core.models import Timestamp
from core.personal import PLAIN, personal
from merchants.models import ACCOUNT_FK, NOW

AT_HOME = personal("shows the notices of one's own building", "until taken back or erased", basis="consent")


class Building(Base):
    """One building of a community, as its people call it: 3号楼."""

    __tablename__ = "building"
    __table_args__ = (UniqueConstraint("community_id", "name"), UniqueConstraint("community_id", "id"))

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    community_id: Mapped[int] = mapped_column(ForeignKey("community.id"))
    name: Mapped[str] = mapped_column(Text, info=PLAIN)
    position: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)


class OwnerHome(Base):
    """Where an owner says they live, told for one purpose: to be shown the notices of that place."""

    __tablename__ = "owner_home"
    __table_args__ = (
        ForeignKeyConstraint(["community_id", "building_id"], ["building.community_id", "building.id"]),
        Index("ix_owner_home_place", "community_id", "building_id"),
    )

    follower_id: Mapped[int] = mapped_column(ForeignKey("follower.id"), primary_key=True, autoincrement=False)
    community_id: Mapped[int] = mapped_column(ForeignKey("community.id"), info=AT_HOME)
    building_id: Mapped[int | None] = mapped_column(BigInteger, info=AT_HOME)
    chosen_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)


class NoticeState(StrEnum):
    DRAFT = "draft"
    PUBLISHED = "published"
    WITHDRAWN = "withdrawn"
    """Nobody sees it; it can be put up again, or reworded first."""


class NoticePicture(Base):
    """A picture of a notice, drawn anew like every upload."""

    __tablename__ = "notice_picture"
    __table_args__ = (
        UniqueConstraint("account_id", "sha256"),
        UniqueConstraint("account_id", "id"),
        CheckConstraint("octet_length(content) <= 2097152", name="size"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey(ACCOUNT_FK))
    public_id: Mapped[str] = mapped_column(Text, unique=True, info=PLAIN)
    content: Mapped[bytes] = mapped_column(LargeBinary, info=PLAIN)
    mime: Mapped[str] = mapped_column(Text, info=PLAIN)
    sha256: Mapped[bytes] = mapped_column(LargeBinary, info=PLAIN)
    width: Mapped[int] = mapped_column(Integer)
    height: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)


class Notice(Base):
    """Something posted for a while. Without a row in `notice_place` it is for everybody; a paid one has an end.

    `forgotten_reads` counts readers whose rows are gone, so that forgetting a person changes no sum.
    """

    __tablename__ = "notice"
    __table_args__ = (
        UniqueConstraint("account_id", "id"),
        ForeignKeyConstraint(["account_id", "picture_id"], ["notice_picture.account_id", "notice_picture.id"]),
        CheckConstraint("state IN ('draft', 'published', 'withdrawn')", name="state"),
        CheckConstraint("shown_until > shown_from", name="order"),
        CheckConstraint("NOT is_paid OR shown_until IS NOT NULL", name="paid"),
        CheckConstraint("state = 'draft' OR published_at IS NOT NULL", name="published"),
        Index("ix_notice_account_id", "account_id", "id"),
        Index("ix_notice_published", "account_id", "shown_from", postgresql_where=text("state = 'published'")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey(ACCOUNT_FK))
    title: Mapped[str] = mapped_column(Text, info=PLAIN)
    words: Mapped[str] = mapped_column(Text, info=PLAIN)
    picture_id: Mapped[int | None] = mapped_column(BigInteger)
    state: Mapped[str] = mapped_column(Text, server_default=NoticeState.DRAFT, info=PLAIN)
    is_pinned: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    is_paid: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    shown_from: Mapped[datetime] = mapped_column(Timestamp)
    shown_until: Mapped[datetime | None] = mapped_column(Timestamp)
    created_by: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    changed_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    published_by: Mapped[int | None] = mapped_column(BigInteger)
    published_at: Mapped[datetime | None] = mapped_column(Timestamp)
    """When it was first put up."""
    withdrawn_at: Mapped[datetime | None] = mapped_column(Timestamp)
    forgotten_reads: Mapped[int] = mapped_column(Integer, server_default=text("0"))


class NoticePlace(Base):
    """A community, or one building of it, that a notice is for."""

    __tablename__ = "notice_place"
    __table_args__ = (
        ForeignKeyConstraint(["account_id", "notice_id"], ["notice.account_id", "notice.id"], ondelete="CASCADE"),
        ForeignKeyConstraint(["account_id", "community_id"], ["community.account_id", "community.id"]),
        ForeignKeyConstraint(["community_id", "building_id"], ["building.community_id", "building.id"]),
        UniqueConstraint("notice_id", "community_id", "building_id", postgresql_nulls_not_distinct=True),
        Index("ix_notice_place_building_id", "building_id", postgresql_where=text("building_id IS NOT NULL")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    account_id: Mapped[int] = mapped_column(SmallInteger)
    notice_id: Mapped[int] = mapped_column(BigInteger)
    community_id: Mapped[int] = mapped_column(BigInteger)
    building_id: Mapped[int | None] = mapped_column(BigInteger)


class NoticeRead(Base):
    """That somebody has opened a notice, once; the row goes when the person or the notice's time is forgotten."""

    __tablename__ = "notice_read"
    __table_args__ = (Index("ix_notice_read_follower_id", "follower_id"), Index("ix_notice_read_at", "at"))

    notice_id: Mapped[int] = mapped_column(ForeignKey("notice.id"), primary_key=True, autoincrement=False)
    follower_id: Mapped[int] = mapped_column(ForeignKey("follower.id"), primary_key=True, autoincrement=False)
    at: Mapped[datetime] = mapped_column(
        Timestamp, server_default=NOW, info=personal("how many have read a notice, by building", "400 days")
    )
