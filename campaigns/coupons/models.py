"""Coupons from the template to the redemption, and what merchants of an alliance owe each other."""

from datetime import date, datetime
from enum import StrEnum
from typing import Any

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
    LargeBinary,
    SmallInteger,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from core.database import Base
from core.models import Timestamp
from core.personal import PLAIN, personal
from merchants.models import NOW
from merchants.reviews import Reviewed

TEMPLATE_FK = "coupon_template.id"
MERCHANT_FK = "merchant.id"
FOLLOWER_FK = "follower.id"
ZERO = text("0")
EMPTY = text("''")
NONE = text("'{}'")


class CouponKind(StrEnum):
    AMOUNT = "amount"
    """`value_fen` off a bill."""
    PERCENT = "percent"
    """`percent_off` of the bill off, at most `value_fen` where that is given."""
    GIFT = "gift"
    """Something for nothing, without a bill."""
    VISITS = "visits"
    """`uses` visits, one redemption each."""
    ITEM = "item"
    """An item of the bill for nothing."""


class TemplateState(StrEnum):
    DRAFT = "draft"
    """Written, or sent back by the operator; what it promises can still change."""
    LIVE = "live"
    PAUSED = "paused"
    """Nothing new is given; what was given is honoured."""
    ENDED = "ended"


class Channel(StrEnum):
    """By which way a coupon came to its holder."""

    PAGE = "page"
    SCAN = "scan"
    KEYWORD = "keyword"
    BROADCAST = "broadcast"
    POINTS = "points"
    BIRTHDAY = "birthday"
    STAFF = "staff"
    REFERRAL = "referral"


class CouponTemplate(Reviewed, Base):
    """What a merchant promises. Once it has been approved, a trigger refuses to change the promise: only stock, budget,
    release, refusal texts and state may; another promise is another template.

    `issued` and `committed_fen` are raised by the statement that gives (CO-1); `worth_fen` is the most that one use of
    a coupon can cost. `released` pieces of the stock may be given now: of a template in tranches, those whose time has
    come. `weekdays` is a set of bits, Monday 1; `hours` are pairs of minutes of the Shanghai day.
    """

    __tablename__ = "coupon_template"
    __table_args__ = (
        UniqueConstraint("merchant_id", "id"),
        ForeignKeyConstraint(["merchant_id", "picture_id"], ["picture.merchant_id", "picture.id"]),
        CheckConstraint("kind IN ('amount', 'percent', 'gift', 'visits', 'item')", name="kind"),
        CheckConstraint("state IN ('draft', 'live', 'paused', 'ended')", name="state"),
        CheckConstraint("review IN ('pending', 'approved', 'rejected', 'withdrawn')", name="review"),
        CheckConstraint("state = 'draft' OR review = 'approved'", name="approved"),
        CheckConstraint("issued BETWEEN 0 AND stock", name="stock"),
        CheckConstraint("stock BETWEEN 1 AND 1000000", name="stock_range"),
        CheckConstraint("committed_fen >= 0 AND committed_fen <= budget_fen", name="budget"),
        CheckConstraint("kind <> 'amount' OR value_fen > 0", name="value"),
        CheckConstraint("(kind = 'percent') = (percent_off IS NOT NULL)", name="percent"),
        CheckConstraint("percent_off BETWEEN 1 AND 99", name="percent_range"),
        CheckConstraint("uses BETWEEN 1 AND 100 AND (kind = 'visits' OR uses = 1)", name="uses"),
        CheckConstraint("worth_fen BETWEEN 0 AND 10000000", name="worth"),
        CheckConstraint("(valid_from IS NULL) = (valid_to IS NULL)", name="fixed_dates"),
        CheckConstraint("(valid_from IS NULL) <> (lasts_days IS NULL)", name="validity"),
        CheckConstraint("valid_to > valid_from", name="order"),
        CheckConstraint("lasts_days BETWEEN 1 AND 730 AND starts_after_days BETWEEN 0 AND 365", name="days"),
        CheckConstraint("weekdays BETWEEN 1 AND 127", name="weekdays"),
        CheckConstraint("per_person BETWEEN 1 AND 100", name="per_person"),
        CheckConstraint("per_day IS NULL OR per_day > 0", name="per_day"),
        CheckConstraint("min_level BETWEEN 0 AND 9", name="min_level"),
        Index("ix_coupon_template_merchant_id", "merchant_id", text("id DESC")),
        Index("ix_coupon_template_pending", "id",
              postgresql_where=text("review = 'pending' AND submitted_at IS NOT NULL")),
        Index("uq_coupon_template_keyword", "keyword", unique=True,
              postgresql_where=text("keyword <> '' AND state IN ('live', 'paused')")),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    merchant_id: Mapped[int] = mapped_column(ForeignKey(MERCHANT_FK))
    public_id: Mapped[str] = mapped_column(Text, unique=True, info=PLAIN)
    """In addresses; tells nothing."""
    name: Mapped[str] = mapped_column(Text, info=PLAIN)
    terms: Mapped[str] = mapped_column(Text, server_default=EMPTY, info=PLAIN)
    picture_id: Mapped[int | None] = mapped_column(BigInteger)
    kind: Mapped[str] = mapped_column(Text, info=PLAIN)
    value_fen: Mapped[int] = mapped_column(BigInteger, server_default=ZERO)
    percent_off: Mapped[int | None] = mapped_column(SmallInteger)
    """20 is what a shop calls 八折."""
    uses: Mapped[int] = mapped_column(SmallInteger, server_default=text("1"))
    worth_fen: Mapped[int] = mapped_column(BigInteger)
    min_spend_fen: Mapped[int] = mapped_column(BigInteger, server_default=ZERO)
    valid_from: Mapped[datetime | None] = mapped_column(Timestamp)
    valid_to: Mapped[datetime | None] = mapped_column(Timestamp)
    starts_after_days: Mapped[int] = mapped_column(SmallInteger, server_default=ZERO)
    lasts_days: Mapped[int | None] = mapped_column(SmallInteger)
    weekdays: Mapped[int] = mapped_column(SmallInteger, server_default=text("127"))
    hours: Mapped[list[Any]] = mapped_column(JSONB, server_default=text("'[]'"), info=PLAIN)
    except_dates: Mapped[list[date]] = mapped_column(ARRAY(Date), server_default=NONE, info=PLAIN)
    per_person: Mapped[int] = mapped_column(SmallInteger, server_default=text("1"))
    per_day: Mapped[int | None] = mapped_column(Integer)
    """How many are given in a day, to everybody together."""
    first_only: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    """Only for who has redeemed nothing at this merchant yet (CO-9)."""
    segment_id: Mapped[int | None] = mapped_column(BigInteger)
    min_level: Mapped[int] = mapped_column(SmallInteger, server_default=ZERO)
    is_transferable: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    is_public: Mapped[bool] = mapped_column(Boolean, server_default=text("true"))
    """Anybody who comes to the shop's page may take one; else only by the ways the merchant gives it."""
    for_birthdays: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    keyword: Mapped[str] = mapped_column(Text, server_default=EMPTY, info=PLAIN)
    refusals: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=NONE, info=PLAIN)
    """The merchant's own words by reason (`giving.Refusal`), where it gave some."""
    stock: Mapped[int] = mapped_column(Integer)
    issued: Mapped[int] = mapped_column(Integer, server_default=ZERO)
    budget_fen: Mapped[int] = mapped_column(BigInteger)
    committed_fen: Mapped[int] = mapped_column(BigInteger, server_default=ZERO)
    is_in_tranches: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    state: Mapped[str] = mapped_column(Text, server_default=TemplateState.DRAFT, info=PLAIN)
    written_by: Mapped[int | None] = mapped_column(BigInteger)
    submitted_at: Mapped[datetime | None] = mapped_column(Timestamp)
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)


class CouponTranche(Base):
    """So many pieces of a template's stock may be given from then on."""

    __tablename__ = "coupon_tranche"
    __table_args__ = (
        ForeignKeyConstraint(["merchant_id", "template_id"], ["coupon_template.merchant_id", TEMPLATE_FK]),
        CheckConstraint("pieces > 0", name="pieces"),
    )

    merchant_id: Mapped[int] = mapped_column(BigInteger)
    template_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    opens_at: Mapped[datetime] = mapped_column(Timestamp, primary_key=True)
    pieces: Mapped[int] = mapped_column(Integer)


class TemplateDay(Base):
    """How many of a template with `per_day` were given on a Shanghai day: raised by the statement that gives."""

    __tablename__ = "coupon_template_day"
    __table_args__ = (
        ForeignKeyConstraint(["merchant_id", "template_id"], ["coupon_template.merchant_id", TEMPLATE_FK]),
        CheckConstraint("given BETWEEN 0 AND most", name="given"),
    )

    merchant_id: Mapped[int] = mapped_column(BigInteger)
    template_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    day: Mapped[date] = mapped_column(Date, primary_key=True)
    given: Mapped[int] = mapped_column(Integer)
    most: Mapped[int] = mapped_column(Integer)


class AcceptorState(StrEnum):
    ASKED = "asked"
    AGREED = "agreed"
    ENDED = "ended"


class CouponAcceptor(Base):
    """A merchant who redeems another's coupons, once it has agreed; the issuer pays it `pays_percent` of the discount.

    `most` is the limit of redemptions at this merchant ("per store"); `redeemed` is raised by the statement that
    redeems.
    """

    __tablename__ = "coupon_acceptor"
    __table_args__ = (
        ForeignKeyConstraint(["merchant_id", "template_id"], ["coupon_template.merchant_id", TEMPLATE_FK]),
        CheckConstraint("merchant_id <> acceptor_id", name="another"),
        CheckConstraint("state IN ('asked', 'agreed', 'ended')", name="state"),
        CheckConstraint("pays_percent BETWEEN 0 AND 100", name="pays_percent"),
        CheckConstraint("redeemed >= 0 AND (most IS NULL OR redeemed <= most)", name="most"),
        Index("ix_coupon_acceptor_acceptor_id", "acceptor_id"),
    )

    merchant_id: Mapped[int] = mapped_column(BigInteger)
    template_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    acceptor_id: Mapped[int] = mapped_column(ForeignKey(MERCHANT_FK), primary_key=True)
    state: Mapped[str] = mapped_column(Text, server_default=AcceptorState.ASKED, info=PLAIN)
    pays_percent: Mapped[int] = mapped_column(SmallInteger, server_default=text("100"))
    most: Mapped[int | None] = mapped_column(Integer)
    redeemed: Mapped[int] = mapped_column(Integer, server_default=ZERO)
    asked_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    decided_at: Mapped[datetime | None] = mapped_column(Timestamp)


class CouponState(StrEnum):
    """A trigger refuses every other step than those of `COUPON_STEPS`."""

    ISSUED = "issued"
    RESERVED = "reserved"
    """A till holds it until `reserved_until` while the bill is paid."""
    REDEEMED = "redeemed"
    """Its last use is used up."""
    EXPIRED = "expired"
    REVOKED = "revoked"
    GIVEN_AWAY = "given_away"
    """A neighbour has it now, as a coupon of their own."""


COUPON_STEPS: dict[CouponState, tuple[CouponState, ...]] = {
    CouponState.ISSUED: (
        CouponState.RESERVED, CouponState.REDEEMED, CouponState.EXPIRED, CouponState.REVOKED, CouponState.GIVEN_AWAY,
    ),
    CouponState.RESERVED: (CouponState.ISSUED, CouponState.REDEEMED, CouponState.EXPIRED, CouponState.REVOKED),
    CouponState.REDEEMED: (CouponState.ISSUED, CouponState.EXPIRED),
    CouponState.EXPIRED: (),
    CouponState.REVOKED: (),
    CouponState.GIVEN_AWAY: (),
}  # fmt: skip


class Coupon(Base):
    """One coupon of one person. Valid iff valid_from <= now < valid_to (CO-5).

    `seq` counts a person's coupons of one template (CO-2); a cause gives once (`cause`, such as `scan:<code>` or
    `broadcast:<id>`). A coupon passed on to a neighbour is a new row that names the old one (`passed_from_id`); its
    `seq` is null: it counts against nobody's limit, and not against the stock a second time.
    """

    __tablename__ = "coupon"
    __table_args__ = (
        UniqueConstraint("merchant_id", "id"),
        UniqueConstraint("template_id", "follower_id", "seq"),
        UniqueConstraint("template_id", "follower_id", "cause"),
        UniqueConstraint("passed_from_id"),
        ForeignKeyConstraint(["merchant_id", "template_id"], ["coupon_template.merchant_id", TEMPLATE_FK]),
        CheckConstraint(
            "state IN ('issued', 'reserved', 'redeemed', 'expired', 'revoked', 'given_away')", name="state"
        ),
        CheckConstraint("valid_to > valid_from", name="order"),
        CheckConstraint("uses_left BETWEEN 0 AND uses", name="uses"),
        CheckConstraint("(state = 'redeemed') = (uses_left = 0)", name="used_up"),
        CheckConstraint("(state = 'reserved') = (reserved_until IS NOT NULL)", name="reserved"),
        CheckConstraint("(seq IS NULL) = (passed_from_id IS NOT NULL)", name="seq"),
        CheckConstraint(
            "channel IN ('page', 'scan', 'keyword', 'broadcast', 'points', 'birthday', 'staff', 'referral')",
            name="channel",
        ),
        Index("ix_coupon_follower_id", "follower_id", "state"),
        Index("ix_coupon_template_id_given_at", "template_id", "given_at"),
        Index("ix_coupon_merchant_id_follower_id", "merchant_id", "follower_id"),
        Index("ix_coupon_cause", "template_id", "cause"),
        Index("ix_coupon_expiring", "valid_to", postgresql_where=text("state IN ('issued', 'reserved')")),
        Index("ix_coupon_reserved", "reserved_until", postgresql_where=text("state = 'reserved'")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    merchant_id: Mapped[int] = mapped_column(BigInteger)
    """The issuer."""
    template_id: Mapped[int] = mapped_column(BigInteger)
    public_id: Mapped[str] = mapped_column(Text, unique=True, info=PLAIN)
    follower_id: Mapped[int] = mapped_column(ForeignKey(FOLLOWER_FK))
    seq: Mapped[int | None] = mapped_column(SmallInteger)
    cause: Mapped[str] = mapped_column(Text, info=PLAIN)
    channel: Mapped[str] = mapped_column(Text, info=PLAIN)
    code_id: Mapped[int | None] = mapped_column(BigInteger)
    """The merchant's code it came by, for the merchant's statistics."""
    passed_from_id: Mapped[int | None] = mapped_column(ForeignKey("coupon.id"))
    worth_fen: Mapped[int] = mapped_column(BigInteger)
    uses: Mapped[int] = mapped_column(SmallInteger)
    uses_left: Mapped[int] = mapped_column(SmallInteger)
    valid_from: Mapped[datetime] = mapped_column(Timestamp)
    valid_to: Mapped[datetime] = mapped_column(Timestamp)
    state: Mapped[str] = mapped_column(Text, server_default=CouponState.ISSUED, info=PLAIN)
    reserved_until: Mapped[datetime | None] = mapped_column(Timestamp)
    reserved_at_id: Mapped[int | None] = mapped_column(BigInteger)
    """The merchant whose till holds it."""
    given_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    ended_at: Mapped[datetime | None] = mapped_column(Timestamp)
    """When it was used up, expired, revoked or given away."""


class CouponGift(Base):
    """A link by which the holder passes a coupon on; whoever takes it first has it. Only its token's hash is kept."""

    __tablename__ = "coupon_gift"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    merchant_id: Mapped[int] = mapped_column(ForeignKey(MERCHANT_FK))
    coupon_id: Mapped[int] = mapped_column(ForeignKey("coupon.id"), index=True)
    follower_id: Mapped[int] = mapped_column(ForeignKey(FOLLOWER_FK), index=True)
    """Who gives it away."""
    token_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True, info=PLAIN)
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    expires_at: Mapped[datetime] = mapped_column(Timestamp)
    taken_at: Mapped[datetime | None] = mapped_column(Timestamp)
    cancelled_at: Mapped[datetime | None] = mapped_column(Timestamp)


class ShownCode(Base):
    """What an owner shows at the till for five minutes: a QR token of 128 bits and the same as eight characters (CO-7).

    Without `coupon_id` it is the membership card, with it one coupon. Only keyed hashes are kept. A merchant finds a
    row only by the hash of the code that it was shown (`app_shown_code()`).
    """

    __tablename__ = "shown_code"
    __table_args__ = (Index("ix_shown_code_expires_at", "expires_at"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    follower_id: Mapped[int] = mapped_column(ForeignKey(FOLLOWER_FK), index=True)
    coupon_id: Mapped[int | None] = mapped_column(ForeignKey("coupon.id"), index=True)
    token_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True, info=PLAIN)
    typed_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True, info=PLAIN)
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    expires_at: Mapped[datetime] = mapped_column(Timestamp)


class CodeTry(Base):
    """How many codes a member of staff has typed wrongly within a minute: five at most (CO-7)."""

    __tablename__ = "code_try"
    __table_args__ = (CheckConstraint("tries BETWEEN 1 AND 5", name="tries"),)

    merchant_id: Mapped[int] = mapped_column(ForeignKey(MERCHANT_FK))
    staff_id: Mapped[int] = mapped_column(ForeignKey("staff.id"), primary_key=True)
    minute: Mapped[datetime] = mapped_column(Timestamp, primary_key=True)
    tries: Mapped[int] = mapped_column(SmallInteger)


class Redemption(Base):
    """One use of a coupon at a till. Of each use one redemption stands (CO-3); a reversed one is kept (CO-8).

    Append-only but for `reversed_at`, which the row of `RedemptionReversal` sets, once.
    """

    __tablename__ = "redemption"
    __table_args__ = (
        ForeignKeyConstraint(["issuer_id", "coupon_id"], ["coupon.merchant_id", "coupon.id"]),
        Index("uq_redemption_standing", "coupon_id", "use_no", unique=True,
              postgresql_where=text("reversed_at IS NULL")),
        Index("ix_redemption_merchant_id", "merchant_id", text("redeemed_at DESC"), text("id DESC")),
        Index("ix_redemption_issuer_id", "issuer_id", text("redeemed_at DESC"), text("id DESC")),
        Index("ix_redemption_template_id", "template_id", "redeemed_at"),
        Index("ix_redemption_follower_id", "follower_id", "merchant_id"),
        CheckConstraint("bill_fen IS NULL OR bill_fen BETWEEN 0 AND 100000000", name="bill"),
        CheckConstraint("discount_fen >= 0 AND (bill_fen IS NULL OR discount_fen <= bill_fen)", name="discount"),
        CheckConstraint("use_no >= 1", name="use_no"),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    merchant_id: Mapped[int] = mapped_column(ForeignKey(MERCHANT_FK))
    """Where it was redeemed."""
    issuer_id: Mapped[int] = mapped_column(BigInteger)
    coupon_id: Mapped[int] = mapped_column(BigInteger)
    template_id: Mapped[int] = mapped_column(BigInteger)
    follower_id: Mapped[int] = mapped_column(ForeignKey(FOLLOWER_FK))
    staff_id: Mapped[int] = mapped_column(ForeignKey("staff.id"))
    use_no: Mapped[int] = mapped_column(SmallInteger)
    bill_fen: Mapped[int | None] = mapped_column(BigInteger)
    discount_fen: Mapped[int] = mapped_column(BigInteger)
    """What it took off the bill; without a bill, what it is worth at most."""
    is_first_here: Mapped[bool] = mapped_column(Boolean)
    """The person's first redemption at this merchant."""
    is_own: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    """Whoever redeemed it holds it: the operator's list of insiders shows it."""
    redeemed_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
    reversed_at: Mapped[datetime | None] = mapped_column(Timestamp)


class RedemptionReversal(Base):
    """A redemption taken back, once, with its reason (CO-8). Append-only."""

    __tablename__ = "redemption_reversal"

    redemption_id: Mapped[int] = mapped_column(ForeignKey("redemption.id"), primary_key=True)
    merchant_id: Mapped[int] = mapped_column(ForeignKey(MERCHANT_FK), index=True)
    staff_id: Mapped[int] = mapped_column(ForeignKey("staff.id"))
    reason: Mapped[str] = mapped_column(Text, info=PLAIN)
    is_valid_again: Mapped[bool] = mapped_column(Boolean)
    reversed_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)


class AllianceTransfer(Base):
    """What one redemption at another merchant's till makes its issuer owe, in fen; a reversal is a transfer of its own.

    Append-only; the entries of each sum to zero (PT-1, PT-6).
    """

    __tablename__ = "alliance_transfer"
    __table_args__ = (
        UniqueConstraint("redemption_id", "is_reversal"),
        UniqueConstraint("id", "payer_id", "earner_id"),
        CheckConstraint("payer_id <> earner_id", name="two"),
        Index("ix_alliance_transfer_payer_id", "payer_id", "at"),
        Index("ix_alliance_transfer_earner_id", "earner_id", "at"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    redemption_id: Mapped[int] = mapped_column(ForeignKey("redemption.id"))
    is_reversal: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    payer_id: Mapped[int] = mapped_column(ForeignKey(MERCHANT_FK))
    earner_id: Mapped[int] = mapped_column(ForeignKey(MERCHANT_FK))
    at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)


class AllianceEntry(Base):
    """One side of a transfer: + what the merchant gets, - what it gives, in fen. Append-only."""

    __tablename__ = "alliance_entry"
    __table_args__ = (CheckConstraint("fen <> 0", name="fen"), Index("ix_alliance_entry_party_id", "party_id"))

    transfer_id: Mapped[int] = mapped_column(ForeignKey("alliance_transfer.id"), primary_key=True)
    party_id: Mapped[int] = mapped_column(ForeignKey(MERCHANT_FK), primary_key=True)
    fen: Mapped[int] = mapped_column(BigInteger)


class BenefitBlock(Base):
    """Whom the operator lets claim nothing any more (CO-9)."""

    __tablename__ = "benefit_block"

    follower_id: Mapped[int] = mapped_column(ForeignKey(FOLLOWER_FK), primary_key=True)
    reason: Mapped[str] = mapped_column(Text, info=personal("why somebody may claim nothing", "until lifted"))
    blocked_by: Mapped[int] = mapped_column(BigInteger)
    blocked_at: Mapped[datetime] = mapped_column(Timestamp, server_default=NOW)
