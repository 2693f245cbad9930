"""What a digest is made of: its items in their order, and the compositions they are sent in."""

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    SmallInteger,
    Text,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from campaigns.broadcasts.models import BROADCAST_FK, ZERO
from core.database import Base
from core.models import Timestamp
from core.personal import PLAIN


class DigestItem(Base):
    """One merchant's item in a digest, and what became of it.

    The counts are the merchant's to see: of its own fans, and of nobody else's item.
    """

    __tablename__ = "digest_item"
    __table_args__ = (
        ForeignKeyConstraint(["merchant_id", "item_id"], ["broadcast.merchant_id", "broadcast.id"]),
        CheckConstraint("position >= 0", name="position"),
        CheckConstraint("least(audience, planned, accepted, rejected, unknown) >= 0", name="counts"),
        Index("ix_digest_item_item_id", "item_id"),
    )

    digest_id: Mapped[int] = mapped_column(ForeignKey(BROADCAST_FK), primary_key=True)
    item_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    merchant_id: Mapped[int] = mapped_column(BigInteger)
    position: Mapped[int] = mapped_column(SmallInteger)
    """In the article message: 0 is on top."""
    audience: Mapped[int] = mapped_column(Integer, server_default=ZERO)
    """Fans whom the item is for, counted when the digest was frozen; those below are some of them."""
    planned: Mapped[int] = mapped_column(Integer, server_default=ZERO)
    accepted: Mapped[int] = mapped_column(Integer, server_default=ZERO)
    rejected: Mapped[int] = mapped_column(Integer, server_default=ZERO)
    unknown: Mapped[int] = mapped_column(Integer, server_default=ZERO)
    counted_at: Mapped[datetime | None] = mapped_column(Timestamp)
    """None until the digest is frozen."""


class DigestGroup(Base):
    """One composition as it was approved: nobody gets another one (BC-9)."""

    __tablename__ = "digest_group"
    __table_args__ = (
        CheckConstraint("no >= 1", name="no"),
        CheckConstraint("cardinality(items) BETWEEN 1 AND 8", name="items"),
        CheckConstraint("size >= 0", name="size"),
    )

    digest_id: Mapped[int] = mapped_column(ForeignKey(BROADCAST_FK), primary_key=True)
    no: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    items: Mapped[list[int]] = mapped_column(ARRAY(BigInteger), info=PLAIN)
    """In the order of the articles."""
    size: Mapped[int] = mapped_column(Integer)
    """How many fans it is for: as forecast, from the freezing on as frozen."""
    media_id: Mapped[str | None] = mapped_column(Text, info=PLAIN)
    """The platform's draft, once it was made."""
