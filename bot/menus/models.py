"""The menu's draft, every menu the account was given, and the one it was last seen with."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity, Index, Integer, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from core.database import Base
from core.models import Timestamp
from core.personal import PLAIN
from merchants.models import ACCOUNT_FK, NOW


class MenuDraft(Base):
    """What the operators are working at. `version` counts every change, so that nobody's is lost unseen."""

    __tablename__ = "menu_draft"

    account_id: Mapped[int] = mapped_column(ForeignKey(ACCOUNT_FK), primary_key=True, autoincrement=False)
    buttons: Mapped[list[Any]] = mapped_column(JSONB, info=PLAIN)
    version: Mapped[int] = mapped_column(Integer, server_default=text("1"))
    edited_by: Mapped[int | None] = mapped_column(BigInteger)
    edited_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)


class Origin(StrEnum):
    """How a version came to be."""

    WRITTEN = "written"
    ROLLED_BACK = "rolled_back"
    ADOPTED = "adopted"
    DELETED = "deleted"


class VersionState(StrEnum):
    """`calling` is committed before the call. Where nobody heard the answer it is `unknown` until the account's menu is
    read: then it is `published`, or it `failed`."""

    CALLING = "calling"
    PUBLISHED = "published"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    FAILED = "failed"


class MenuVersion(Base):
    """A menu the account was to have; none of its buttons changes any more. In force is the published one that
    nothing has replaced."""

    __tablename__ = "menu_version"
    __table_args__ = (
        CheckConstraint("origin IN ('written', 'rolled_back', 'adopted', 'deleted')", name="origin"),
        CheckConstraint("state IN ('calling', 'published', 'refused', 'unknown', 'failed')", name="state"),
        CheckConstraint("(state = 'published') = (published_at IS NOT NULL)", name="published"),
        CheckConstraint("replaced_at IS NULL OR replaced_at >= published_at", name="replaced"),
        CheckConstraint("(origin = 'rolled_back') = (of_id IS NOT NULL)", name="of"),
        Index(
            "uq_menu_version_in_force", "account_id", unique=True,
            postgresql_where=text("state = 'published' AND replaced_at IS NULL"),
        ),
        Index("uq_menu_version_calling", "account_id", unique=True, postgresql_where=text("state = 'calling'")),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey(ACCOUNT_FK))
    origin: Mapped[str] = mapped_column(Text, info=PLAIN)
    of_id: Mapped[int | None] = mapped_column(ForeignKey("menu_version.id"))
    buttons: Mapped[list[Any]] = mapped_column(JSONB, info=PLAIN)
    note: Mapped[str] = mapped_column(Text, server_default="", info=PLAIN)
    made_by: Mapped[int | None] = mapped_column(BigInteger)
    made_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    state: Mapped[str] = mapped_column(Text, server_default=VersionState.CALLING, info=PLAIN)
    errcode: Mapped[int | None] = mapped_column(Integer)
    published_at: Mapped[datetime | None] = mapped_column(Timestamp)
    replaced_at: Mapped[datetime | None] = mapped_column(Timestamp)


class MenuSeen(Base):
    """The menu the account was last seen to have; an empty list is none."""

    __tablename__ = "menu_seen"

    account_id: Mapped[int] = mapped_column(ForeignKey(ACCOUNT_FK), primary_key=True, autoincrement=False)
    buttons: Mapped[list[Any]] = mapped_column(JSONB, info=PLAIN)
    seen_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
