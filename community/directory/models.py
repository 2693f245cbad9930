"""The convenience directory: categories, and the entries that stand in them."""

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
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
from merchants.models import ACCOUNT_FK, NOW

LISTED = personal("whom neighbours may call, told to be published", "as long as the entry stands")


class DirectoryCategory(Base):
    """A kind of help, and the other words that people have for it."""

    __tablename__ = "directory_category"
    __table_args__ = (
        UniqueConstraint("account_id", "name"),
        UniqueConstraint("account_id", "id"),
        CheckConstraint("cardinality(aliases) <= 20", name="aliases"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey(ACCOUNT_FK))
    name: Mapped[str] = mapped_column(Text, info=PLAIN)
    aliases: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"), info=PLAIN)
    position: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)


class DirectoryEntry(Base):
    """Somebody whom one can call. Between `paid_from` and `paid_until` it stands first and is labelled; a paid
    position always has an end. Without a row in `directory_entry_community` it serves every community."""

    __tablename__ = "directory_entry"
    __table_args__ = (
        ForeignKeyConstraint(["account_id", "category_id"], ["directory_category.account_id", "directory_category.id"]),
        UniqueConstraint("account_id", "id"),
        CheckConstraint("(paid_from IS NULL) = (paid_until IS NULL)", name="paid"),
        CheckConstraint("paid_until > paid_from", name="paid_order"),
        CheckConstraint("phone ~ '^[0-9]+(-[0-9]+)*$' AND length(phone) BETWEEN 3 AND 20", name="phone"),
        Index("ix_directory_entry_category", "category_id", "position", "id"),
        Index("ix_directory_entry_merchant_id", "merchant_id", postgresql_where=text("merchant_id IS NOT NULL")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey(ACCOUNT_FK))
    category_id: Mapped[int] = mapped_column(BigInteger)
    name: Mapped[str] = mapped_column(Text, info=LISTED)
    phone: Mapped[str] = mapped_column(Text, info=LISTED)
    what: Mapped[str] = mapped_column(Text, server_default="", info=PLAIN)
    """What they do."""
    hours: Mapped[str] = mapped_column(Text, server_default="", info=PLAIN)
    address: Mapped[str] = mapped_column(Text, server_default="", info=LISTED)
    comparable: Mapped[str] = mapped_column(Text, server_default="", info=LISTED)
    """Name and what they do, as they are looked for (`campaigns.broadcasts.spelling`)."""
    position: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    paid_from: Mapped[datetime | None] = mapped_column(Timestamp)
    paid_until: Mapped[datetime | None] = mapped_column(Timestamp)
    merchant_id: Mapped[int | None] = mapped_column(ForeignKey("merchant.id"))
    """The merchant of ours that this is, if it is one."""
    is_on: Mapped[bool] = mapped_column(Boolean, server_default=text("true"))
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    changed_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)


class DirectoryEntryCommunity(Base):
    """A community that an entry serves, where it does not serve all."""

    __tablename__ = "directory_entry_community"
    __table_args__ = (
        ForeignKeyConstraint(
            ["account_id", "entry_id"], ["directory_entry.account_id", "directory_entry.id"], ondelete="CASCADE"
        ),
        ForeignKeyConstraint(["account_id", "community_id"], ["community.account_id", "community.id"]),
        Index("ix_directory_entry_community_community_id", "community_id"),
    )

    account_id: Mapped[int] = mapped_column(SmallInteger)
    entry_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    community_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
