"""Invitation cards, the one inviter each person has, and the rewards that a first spend causes."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
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
from merchants.models import NOW

MERCHANT_FK = "merchant.id"
FOLLOWER_FK = "follower.id"


class Invite(Base):
    """A fan's own invitation card of one merchant: an address, and a temporary code while there is one."""

    __tablename__ = "invite"
    __table_args__ = (
        UniqueConstraint("merchant_id", "follower_id"),
        UniqueConstraint("merchant_id", "id"),
        Index("ix_invite_follower_id", "follower_id"),
        Index("uq_invite_code_id", "code_id", unique=True),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    merchant_id: Mapped[int] = mapped_column(ForeignKey(MERCHANT_FK))
    follower_id: Mapped[int] = mapped_column(ForeignKey(FOLLOWER_FK))
    public_id: Mapped[str] = mapped_column(Text, unique=True, info=PLAIN)
    """In the address of the card; 80 random bits."""
    code_id: Mapped[int | None] = mapped_column(ForeignKey("sub_qr_code.id"))
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    expires_at: Mapped[datetime] = mapped_column(Timestamp)


class InviteWording(Base):
    """What a merchant's cards say beside the code, in the merchant's own words."""

    __tablename__ = "invite_wording"

    merchant_id: Mapped[int] = mapped_column(ForeignKey(MERCHANT_FK), primary_key=True, autoincrement=False)
    text: Mapped[str] = mapped_column(Text, info=PLAIN)
    changed_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)


class CameBy(StrEnum):
    """By which way the invited person came."""

    PAGE = "page"
    SCAN = "scan"


class Cause(StrEnum):
    """What earns a reward: something that the staff confirmed (RF-6)."""

    REDEMPTION = "redemption"
    VISIT = "visit"
    """With a bill."""


class Suspicion(StrEnum):
    """Why a reward waits for the operator (RF-7)."""

    BURST = "burst"
    RING = "ring"
    ADDRESS = "address"
    STAFF = "staff"


class Referral(Base):
    """Who brought somebody, for ever (RF-1): never oneself (RF-2), never in a ring (RF-3). Append-only, but for the
    hint of an address, which is emptied in time."""

    __tablename__ = "referral"
    __table_args__ = (
        CheckConstraint("invitee_id <> inviter_id", name="two"),
        Index("ix_referral_inviter_id", "inviter_id", "at"),
        Index("ix_referral_merchant_id", "merchant_id", "at"),
        Index("ix_referral_address", "at", postgresql_where=text("address_hash IS NOT NULL")),
    )

    invitee_id: Mapped[int] = mapped_column(ForeignKey(FOLLOWER_FK), primary_key=True, autoincrement=False)
    inviter_id: Mapped[int] = mapped_column(ForeignKey(FOLLOWER_FK))
    merchant_id: Mapped[int] = mapped_column(ForeignKey(MERCHANT_FK))
    """Whose card it was: the reward is earned by spending there."""
    invite_id: Mapped[int] = mapped_column(ForeignKey("invite.id"))
    came_by: Mapped[str] = mapped_column(Text, info=PLAIN)
    """page or scan."""
    address_hash: Mapped[bytes | None] = mapped_column(
        LargeBinary, info=personal("a hint for the review of bursts: a keyed hash of the network address", "90 days")
    )
    at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)


class RewardState(StrEnum):
    HELD = "held"
    """A burst or a ring: the operator looks first (RF-7)."""
    PAID = "paid"
    REFUSED = "refused"
    REVERSED = "reversed"
    """The redemption that caused it was taken back."""


class ReferralReward(Base):
    """What one person's first confirmed spend earned who brought them (RF-6), once for each level."""

    __tablename__ = "referral_reward"
    __table_args__ = (
        UniqueConstraint("invitee_id", "level"),
        CheckConstraint("level IN (1, 2)", name="level"),
        CheckConstraint("state IN ('held', 'paid', 'refused', 'reversed')", name="state"),
        CheckConstraint("invitee_id <> beneficiary_id", name="two"),
        CheckConstraint("cause_type IN ('redemption', 'visit')", name="cause"),
        CheckConstraint("transfer_id IS NULL OR state IN ('paid', 'reversed')", name="paid"),
        Index("ix_referral_reward_merchant_id", "merchant_id", "at"),
        Index("ix_referral_reward_beneficiary_id", "beneficiary_id", "at"),
        Index("ix_referral_reward_held", "id", postgresql_where=text("state = 'held'")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    merchant_id: Mapped[int] = mapped_column(ForeignKey(MERCHANT_FK))
    invitee_id: Mapped[int] = mapped_column(ForeignKey("referral.invitee_id"))
    level: Mapped[int] = mapped_column(SmallInteger)
    beneficiary_id: Mapped[int] = mapped_column(ForeignKey(FOLLOWER_FK))
    cause_type: Mapped[str] = mapped_column(Text, info=PLAIN)
    """redemption or visit (with a bill)."""
    cause_id: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str] = mapped_column(Text, info=PLAIN)
    suspicion: Mapped[str] = mapped_column(Text, server_default=text("''"), info=PLAIN)
    """Why it is held: burst, ring, address, staff."""
    transfer_id: Mapped[int | None] = mapped_column(BigInteger)
    at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    decided_by: Mapped[int | None] = mapped_column(BigInteger)
    decided_at: Mapped[datetime | None] = mapped_column(Timestamp)
    decision_note: Mapped[str] = mapped_column(Text, server_default=text("''"), info=PLAIN)
