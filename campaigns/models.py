"""What merchants keep about their fans as groups."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Boolean, ForeignKey, Identity, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from core.database import Base
from core.models import Timestamp
from core.personal import PLAIN
from merchants.models import NOW


class Segment(Base):
    """A group of fans by conditions, not by names: who is in it is found anew each time."""

    __tablename__ = "segment"
    __table_args__ = (UniqueConstraint("merchant_id", "name"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    merchant_id: Mapped[int] = mapped_column(ForeignKey("merchant.id"))
    name: Mapped[str] = mapped_column(Text, info=PLAIN)
    wanted: Mapped[dict[str, Any]] = mapped_column(JSONB, info=PLAIN)
    """The fields of `qrcodes.fans.Filter` that are given."""
    is_tag: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    """Its name is shown at every fan in it, as a tag by rule."""
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
