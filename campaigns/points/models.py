"""The points ledger: accounts, transfers, entries and lots; the rules that earn, and what points are exchanged for."""

from datetime import date, datetime
from enum import StrEnum

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
ZERO = text("0")


class AccountKind(StrEnum):
    FAN = "fan"
    """What a person may spend at the merchant."""
    PENDING = "pending"
    """Earned, and theirs on the day it vests."""
    ISSUED = "issued"
    """The merchant's own side of every transfer; its balance is only ever summed up, so that nobody waits for it."""


class PointsAccount(Base):
    """An account of a merchant's ledger. `balance` is moved by the trigger of the entries alone, and nobody else may
    (PT-3); `debt` is what a reversal could not take back (PT-8) and later earnings pay first."""

    __tablename__ = "points_account"
    __table_args__ = (
        UniqueConstraint("merchant_id", "id"),
        UniqueConstraint("merchant_id", "follower_id", "kind", postgresql_nulls_not_distinct=True),
        CheckConstraint("kind IN ('fan', 'pending', 'issued')", name="kind"),
        CheckConstraint("(kind = 'issued') = (follower_id IS NULL)", name="follower"),
        CheckConstraint("(kind = 'issued') = (balance IS NULL)", name="cached"),
        CheckConstraint("balance >= 0", name="balance"),
        CheckConstraint("debt >= 0 AND (kind = 'fan' OR debt = 0)", name="debt"),
        Index("ix_points_account_follower_id", "follower_id"),
        Index("ix_points_account_pending", "id", postgresql_where=text("kind = 'pending' AND balance > 0")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    merchant_id: Mapped[int] = mapped_column(ForeignKey(MERCHANT_FK))
    follower_id: Mapped[int | None] = mapped_column(ForeignKey(FOLLOWER_FK))
    kind: Mapped[str] = mapped_column(Text, info=PLAIN)
    balance: Mapped[int | None] = mapped_column(BigInteger)
    debt: Mapped[int] = mapped_column(BigInteger, server_default=ZERO)
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    emptied_at: Mapped[datetime | None] = mapped_column(Timestamp)
    """When the person was forgotten: whoever comes back starts with an empty card, and reads nothing of before."""


class TransferKind(StrEnum):
    EARN = "earn"
    VEST = "vest"
    SPEND = "spend"
    EXPIRE = "expire"
    REVERSE = "reverse"
    ADJUST = "adjust"


class PointsTransfer(Base):
    """Points changing hands within one merchant's ledger, for one person and one cause, once (PT-5). Append-only.

    A cause is what happened (`source_type`, `source_id`: a redemption, a visit, the day of a check-in) and the rule
    that pays for it. `vests_at` says when what went to the pending account becomes the person's.
    """

    __tablename__ = "points_transfer"
    __table_args__ = (
        UniqueConstraint("merchant_id", "id"),
        UniqueConstraint(
            "merchant_id", "follower_id", "source_type", "source_id", "rule_id",
            name="uq_points_transfer_cause", postgresql_nulls_not_distinct=True,
        ),
        UniqueConstraint("reverses_id"),
        ForeignKeyConstraint(["merchant_id", "reverses_id"], ["points_transfer.merchant_id", "points_transfer.id"]),
        ForeignKeyConstraint(["merchant_id", "rule_id"], ["points_rule.merchant_id", "points_rule.id"]),
        CheckConstraint("kind IN ('earn', 'vest', 'spend', 'expire', 'reverse', 'adjust')", name="kind"),
        CheckConstraint("points > 0", name="points"),
        CheckConstraint("(kind = 'reverse') = (reverses_id IS NOT NULL)", name="reverses"),
        Index("ix_points_transfer_follower", "merchant_id", "follower_id", text("id DESC")),
        Index("ix_points_transfer_merchant_id_at", "merchant_id", "at"),
        Index("ix_points_transfer_vesting", "vests_at", postgresql_where=text("vests_at IS NOT NULL")),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    merchant_id: Mapped[int] = mapped_column(ForeignKey(MERCHANT_FK))
    follower_id: Mapped[int] = mapped_column(ForeignKey(FOLLOWER_FK))
    kind: Mapped[str] = mapped_column(Text, info=PLAIN)
    points: Mapped[int] = mapped_column(BigInteger)
    """How many moved; the direction is the entries'."""
    rule_id: Mapped[int | None] = mapped_column(BigInteger)
    source_type: Mapped[str] = mapped_column(Text, info=PLAIN)
    source_id: Mapped[int] = mapped_column(BigInteger)
    reverses_id: Mapped[int | None] = mapped_column(BigInteger)
    vests_at: Mapped[datetime | None] = mapped_column(Timestamp)
    staff_id: Mapped[int | None] = mapped_column(BigInteger)
    at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)


class PointsEntry(Base):
    """One side of a transfer: + received, - given. A deferred trigger refuses a transfer whose entries do not sum to
    zero (PT-1); the accounts are of the transfer's ledger (PT-6). Append-only (PT-4)."""

    __tablename__ = "points_entry"
    __table_args__ = (
        ForeignKeyConstraint(["merchant_id", "transfer_id"], ["points_transfer.merchant_id", "points_transfer.id"]),
        ForeignKeyConstraint(["merchant_id", "account_id"], ["points_account.merchant_id", "points_account.id"]),
        CheckConstraint("points <> 0", name="points"),
        Index("ix_points_entry_account_id", "account_id"),
    )

    transfer_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    account_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    merchant_id: Mapped[int] = mapped_column(BigInteger)
    points: Mapped[int] = mapped_column(BigInteger)


class PointsLot(Base):
    """Points that came to a fan account together and expire together; the oldest are spent first (PT-9)."""

    __tablename__ = "points_lot"
    __table_args__ = (
        UniqueConstraint("merchant_id", "id"),
        UniqueConstraint("transfer_id", "account_id"),
        ForeignKeyConstraint(["merchant_id", "transfer_id"], ["points_transfer.merchant_id", "points_transfer.id"]),
        ForeignKeyConstraint(["merchant_id", "account_id"], ["points_account.merchant_id", "points_account.id"]),
        CheckConstraint("earned > 0 AND remaining BETWEEN 0 AND earned", name="remaining"),
        Index("ix_points_lot_open", "account_id", "expires_at", "id", postgresql_where=text("remaining > 0")),
        Index("ix_points_lot_expiring", "expires_at", postgresql_where=text("remaining > 0")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    merchant_id: Mapped[int] = mapped_column(BigInteger)
    account_id: Mapped[int] = mapped_column(BigInteger)
    transfer_id: Mapped[int] = mapped_column(BigInteger)
    earned: Mapped[int] = mapped_column(BigInteger)
    remaining: Mapped[int] = mapped_column(BigInteger)
    expires_at: Mapped[datetime | None] = mapped_column(Timestamp)
    at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)


class PointsLotUse(Base):
    """What a transfer took out of a lot. Append-only; a lot's uses and its rest are what was earned (PT-9)."""

    __tablename__ = "points_lot_use"
    __table_args__ = (
        ForeignKeyConstraint(["merchant_id", "transfer_id"], ["points_transfer.merchant_id", "points_transfer.id"]),
        ForeignKeyConstraint(["merchant_id", "lot_id"], ["points_lot.merchant_id", "points_lot.id"]),
        CheckConstraint("points > 0", name="points"),
        Index("ix_points_lot_use_transfer_id", "transfer_id"),
    )

    lot_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    transfer_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    merchant_id: Mapped[int] = mapped_column(BigInteger)
    points: Mapped[int] = mapped_column(BigInteger)


class PointsDebt(Base):
    """What a reversal could not take back any more (PT-8): once for each transfer that was reversed. Append-only; what
    is paid of it are transfers of the source `debt`."""

    __tablename__ = "points_debt"
    __table_args__ = (
        ForeignKeyConstraint(["merchant_id", "transfer_id"], ["points_transfer.merchant_id", "points_transfer.id"]),
        ForeignKeyConstraint(["merchant_id", "account_id"], ["points_account.merchant_id", "points_account.id"]),
        CheckConstraint("points > 0", name="points"),
        Index("ix_points_debt_account_id", "account_id"),
    )

    transfer_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    """The transfer that was reversed."""
    merchant_id: Mapped[int] = mapped_column(BigInteger)
    account_id: Mapped[int] = mapped_column(BigInteger)
    points: Mapped[int] = mapped_column(BigInteger)
    at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)


class RuleTrigger(StrEnum):
    """What points can be earned by. Following and sharing are not among them and cannot be (platform page §11.1)."""

    CHECK_IN = "check_in"
    VISIT = "visit"
    """A scan of the owner's card by the staff."""
    SPEND = "spend"
    """The bill that is typed in at the redemption or the visit."""
    REFERRAL = "referral"
    """The first confirmed redemption or spend of somebody whom the person brought."""


class Visit(Base):
    """Somebody's card scanned by the staff: they were there, and what they paid where the staff typed it in."""

    __tablename__ = "visit"
    __table_args__ = (
        UniqueConstraint("merchant_id", "id"),
        CheckConstraint("bill_fen IS NULL OR bill_fen BETWEEN 0 AND 100000000", name="bill"),
        Index("ix_visit_merchant_id_at", "merchant_id", text("at DESC"), text("id DESC")),
        Index("ix_visit_follower_id", "follower_id", "merchant_id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    merchant_id: Mapped[int] = mapped_column(ForeignKey(MERCHANT_FK))
    follower_id: Mapped[int] = mapped_column(ForeignKey(FOLLOWER_FK))
    staff_id: Mapped[int] = mapped_column(ForeignKey("staff.id"))
    bill_fen: Mapped[int | None] = mapped_column(BigInteger)
    at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    reversed_at: Mapped[datetime | None] = mapped_column(Timestamp)


class PointsRule(Base):
    """What one trigger earns at one merchant. For a spend, `points` for every `per_fen` of the bill."""

    __tablename__ = "points_rule"
    __table_args__ = (
        UniqueConstraint("merchant_id", "id"),
        UniqueConstraint("merchant_id", "trigger", "level"),
        CheckConstraint("trigger IN ('check_in', 'visit', 'spend', 'referral')", name="trigger"),
        CheckConstraint("points BETWEEN 1 AND 100000", name="points"),
        CheckConstraint("(trigger = 'spend') = (per_fen IS NOT NULL)", name="per_fen"),
        CheckConstraint("per_fen BETWEEN 1 AND 10000000", name="per_fen_range"),
        CheckConstraint("most_per_person BETWEEN 1 AND 1000000 AND most_per_day BETWEEN 1 AND 100000000", name="most"),
        CheckConstraint("vests_after_days BETWEEN 0 AND 90", name="vests_after_days"),
        CheckConstraint("lives_days BETWEEN 1 AND 3650", name="lives_days"),
        CheckConstraint("level = 1 OR (level = 2 AND trigger = 'referral')", name="level"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    merchant_id: Mapped[int] = mapped_column(ForeignKey(MERCHANT_FK))
    trigger: Mapped[str] = mapped_column(Text, info=PLAIN)
    level: Mapped[int] = mapped_column(SmallInteger, server_default=text("1"))
    """Of a referral: 1 is who brought the person, 2 who brought that one; there is no third (RF-4)."""
    points: Mapped[int] = mapped_column(Integer)
    per_fen: Mapped[int | None] = mapped_column(Integer)
    most_per_person: Mapped[int] = mapped_column(Integer)
    """Points of this rule for one person in a Shanghai day (PT-10)."""
    most_per_day: Mapped[int] = mapped_column(Integer)
    """Points of this rule for everybody together in a Shanghai day."""
    vests_after_days: Mapped[int] = mapped_column(SmallInteger, server_default=ZERO)
    lives_days: Mapped[int | None] = mapped_column(SmallInteger, server_default=text("365"))
    is_on: Mapped[bool] = mapped_column(Boolean, server_default=text("true"))
    changed_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)


class PointsRuleDay(Base):
    """What a rule has paid on a Shanghai day: to one person, or (`follower_id` null) to everybody. Raised by the
    statement that pays (PT-10)."""

    __tablename__ = "points_rule_day"
    __table_args__ = (
        UniqueConstraint("rule_id", "day", "follower_id", postgresql_nulls_not_distinct=True),
        ForeignKeyConstraint(["merchant_id", "rule_id"], ["points_rule.merchant_id", "points_rule.id"]),
        CheckConstraint("paid BETWEEN 0 AND most", name="paid"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    merchant_id: Mapped[int] = mapped_column(BigInteger)
    rule_id: Mapped[int] = mapped_column(BigInteger)
    day: Mapped[date] = mapped_column(Date)
    follower_id: Mapped[int | None] = mapped_column(ForeignKey(FOLLOWER_FK))
    paid: Mapped[int] = mapped_column(Integer)
    most: Mapped[int] = mapped_column(Integer)


class MemberLevel(Base):
    """A level that grows with what was earned within a year, and its rights: how fast points come from there on."""

    __tablename__ = "member_level"
    __table_args__ = (
        UniqueConstraint("merchant_id", "from_points"),
        CheckConstraint("level BETWEEN 1 AND 9", name="level"),
        CheckConstraint("from_points >= 0", name="from_points"),
        CheckConstraint("earn_percent BETWEEN 100 AND 500", name="earn_percent"),
    )

    merchant_id: Mapped[int] = mapped_column(ForeignKey(MERCHANT_FK), primary_key=True)
    level: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(Text, info=PLAIN)
    from_points: Mapped[int] = mapped_column(BigInteger)
    earn_percent: Mapped[int] = mapped_column(SmallInteger, server_default=text("100"))


class PointsOffer(Base):
    """A coupon that points buy; `taken` is raised by the statement that exchanges."""

    __tablename__ = "points_offer"
    __table_args__ = (
        UniqueConstraint("merchant_id", "id"),
        ForeignKeyConstraint(["merchant_id", "template_id"], ["coupon_template.merchant_id", "coupon_template.id"]),
        CheckConstraint("price BETWEEN 1 AND 10000000", name="price"),
        CheckConstraint("taken BETWEEN 0 AND stock", name="stock"),
        CheckConstraint("per_person BETWEEN 1 AND 100", name="per_person"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    merchant_id: Mapped[int] = mapped_column(ForeignKey(MERCHANT_FK))
    template_id: Mapped[int] = mapped_column(BigInteger)
    price: Mapped[int] = mapped_column(Integer)
    stock: Mapped[int] = mapped_column(Integer)
    taken: Mapped[int] = mapped_column(Integer, server_default=ZERO)
    per_person: Mapped[int] = mapped_column(SmallInteger, server_default=text("1"))
    is_on: Mapped[bool] = mapped_column(Boolean, server_default=text("true"))
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)


class PointsSettings(Base):
    """How a merchant runs its points; no row is the defaults."""

    __tablename__ = "points_settings"
    __table_args__ = (CheckConstraint("adjust_alone_most BETWEEN 0 AND 1000000", name="adjust_alone_most"),)

    merchant_id: Mapped[int] = mapped_column(ForeignKey(MERCHANT_FK), primary_key=True)
    adjust_alone_most: Mapped[int] = mapped_column(Integer, server_default=text("500"))
    """Points that one member of staff may add or take by hand; more waits for a second one."""


class AdjustmentState(StrEnum):
    WAITING = "waiting"
    DONE = "done"
    REFUSED = "refused"


class PointsAdjustment(Base):
    """Points given or taken by hand, with a reason; above the merchant's limit by two people (`decided_by`)."""

    __tablename__ = "points_adjustment"
    __table_args__ = (
        CheckConstraint("points <> 0 AND abs(points) <= 10000000", name="points"),
        CheckConstraint("state IN ('waiting', 'done', 'refused')", name="state"),
        CheckConstraint("decided_by IS DISTINCT FROM asked_by OR decided_by IS NULL", name="two_people"),
        CheckConstraint("NOT needs_second OR state = 'waiting' OR decided_by IS NOT NULL", name="second"),
        Index("ix_points_adjustment_merchant_id", "merchant_id", text("id DESC")),
        Index("ix_points_adjustment_waiting", "id", postgresql_where=text("state = 'waiting'")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    merchant_id: Mapped[int] = mapped_column(ForeignKey(MERCHANT_FK))
    follower_id: Mapped[int] = mapped_column(ForeignKey(FOLLOWER_FK))
    points: Mapped[int] = mapped_column(BigInteger)
    reason: Mapped[str] = mapped_column(Text, info=personal("why points were changed by hand", "with the ledger"))
    needs_second: Mapped[bool] = mapped_column(Boolean)
    state: Mapped[str] = mapped_column(Text, server_default=AdjustmentState.WAITING, info=PLAIN)
    asked_by: Mapped[int] = mapped_column(ForeignKey("staff.id"))
    asked_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    decided_by: Mapped[int | None] = mapped_column(ForeignKey("staff.id"))
    decided_at: Mapped[datetime | None] = mapped_column(Timestamp)


class LedgerProof(Base):
    """What a night's proof of all ledgers found (PT-1 to PT-3, PT-9): zeros, or what is wrong."""

    __tablename__ = "ledger_proof"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    ledgers: Mapped[int] = mapped_column(Integer)
    transfers: Mapped[int] = mapped_column(BigInteger)
    unbalanced: Mapped[int] = mapped_column(Integer)
    """Transfers whose entries do not sum to zero, of points or of the alliance's money."""
    drifting: Mapped[int] = mapped_column(Integer)
    """Accounts whose balance is not the sum of their entries."""
    odd_lots: Mapped[int] = mapped_column(Integer)
    """Lots whose uses and rest are not what was earned."""
    outstanding: Mapped[int] = mapped_column(BigInteger)
    """Points that people hold, vested and pending."""
