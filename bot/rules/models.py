"""Reply rules as they are kept: a rule, and the versions of what it hears and says."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
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

NAME_MAX: Final = 30
PRIORITIES: Final = range(10)
USUAL_PRIORITY: Final = 5


class ReplyRule(Base):
    """One rule of a merchant, or of the platform. Whether and when it is on, where it stands and what it is called need
    nobody's consent; what it hears and says is in its versions."""

    __tablename__ = "reply_rule"
    __table_args__ = (
        UniqueConstraint("merchant_id", "id"),
        CheckConstraint("priority BETWEEN 0 AND 9", name="priority"),
        CheckConstraint("char_length(name) BETWEEN 1 AND 30", name="name"),
        Index("ix_reply_rule_owner", "account_id", "merchant_id", postgresql_where=text("deleted_at IS NULL")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey(ACCOUNT_FK))
    merchant_id: Mapped[int | None] = mapped_column(ForeignKey("merchant.id"))
    name: Mapped[str] = mapped_column(Text, info=PLAIN)
    """What its author calls it; nobody else reads it."""
    priority: Mapped[int] = mapped_column(SmallInteger, server_default=text(str(USUAL_PRIORITY)))
    is_on: Mapped[bool] = mapped_column(Boolean, server_default=text("true"))
    hours: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"), info=PLAIN)
    """When it answers: `spans`, `only_on`, `not_on`; empty for always."""
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    deleted_at: Mapped[datetime | None] = mapped_column(Timestamp)


class ReplyRuleVersion(Reviewed, Base):
    """What a rule hears and says. Every save is a new row; the newest approved one is in force while the next waits."""

    __tablename__ = "reply_rule_version"
    __table_args__ = (
        ForeignKeyConstraint(["merchant_id", "rule_id"], ["reply_rule.merchant_id", "reply_rule.id"]),
        CheckConstraint("review IN ('pending', 'approved', 'rejected', 'withdrawn')", name="review"),
        CheckConstraint("jsonb_array_length(patterns) <= 20", name="patterns"),
        CheckConstraint("jsonb_array_length(patterns) > 0 OR cardinality(occasions) > 0", name="hears"),
        CheckConstraint("jsonb_array_length(answers) <= 3", name="answers"),
        CheckConstraint("jsonb_array_length(answers) > 0 OR hands_over", name="says"),
        CheckConstraint("merchant_id IS NOT NULL OR NOT hands_over", name="hands_over"),
        Index("ix_reply_rule_version_rule_id", "rule_id", "id"),
        Index("uq_reply_rule_version_approved", "rule_id", unique=True, postgresql_where=text("review = 'approved'")),
        Index("ix_reply_rule_version_pending", "id", postgresql_where=text("review = 'pending'")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    rule_id: Mapped[int] = mapped_column(ForeignKey("reply_rule.id"))
    merchant_id: Mapped[int | None] = mapped_column(ForeignKey("merchant.id"))
    patterns: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, info=PLAIN)
    """Each with `mode` and `words`."""
    occasions: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"), info=PLAIN)
    answers: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, info=PLAIN)
    """Each with `kind` (text, image or news), `text`, `title`, `description`, `url` and `picture_id`."""
    hands_over: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
