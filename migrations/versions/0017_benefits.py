"""Owners' pages, coupons, points and referrals: who holds what, and how it came to them."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.tenancy import FAN, MERCHANT, PLATFORM, TENANT, allow, append_only, protect

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

COUPON_STEPS = """
    ('issued', 'reserved'), ('issued', 'redeemed'), ('issued', 'expired'), ('issued', 'revoked'),
    ('issued', 'given_away'), ('reserved', 'issued'), ('reserved', 'redeemed'), ('reserved', 'expired'),
    ('reserved', 'revoked'), ('redeemed', 'issued'), ('redeemed', 'expired')"""
OWNER = "app_follower_id()"


def upgrade() -> None:
    make_tables()
    guard()
    close_to_others()


def make_tables() -> None:
    op.create_table(
        "answered_call",
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("route", sa.Text(), nullable=False),
        sa.Column("nonce", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.BigInteger(), nullable=True),
        sa.Column("follower_id", sa.BigInteger(), nullable=True),
        sa.Column("body_hash", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("answer", postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.CheckConstraint("num_nonnulls(merchant_id, follower_id) = 1", name=op.f("ck_answered_call_whose")),
        sa.PrimaryKeyConstraint("actor", "route", "nonce", name=op.f("pk_answered_call")),
    )
    op.create_index("ix_answered_call_at", "answered_call", ["at"], unique=False)
    op.create_table(
        "ledger_proof",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.Column("ledgers", sa.Integer(), nullable=False),
        sa.Column("transfers", sa.BigInteger(), nullable=False),
        sa.Column("unbalanced", sa.Integer(), nullable=False),
        sa.Column("drifting", sa.Integer(), nullable=False),
        sa.Column("odd_lots", sa.Integer(), nullable=False),
        sa.Column("outstanding", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ledger_proof")),
    )
    op.create_table(
        "benefit_block",
        sa.Column("follower_id", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("blocked_by", sa.BigInteger(), nullable=False),
        sa.Column("blocked_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.ForeignKeyConstraint(["follower_id"], ["follower.id"], name=op.f("fk_benefit_block_follower_id_follower")),
        sa.PrimaryKeyConstraint("follower_id", name=op.f("pk_benefit_block")),
    )
    op.create_table(
        "owner_profile",
        sa.Column("follower_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("birth_month", sa.SmallInteger(), nullable=True),
        sa.Column("birth_day", sa.SmallInteger(), nullable=True),
        sa.Column("consented_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("(birth_month IS NULL) = (birth_day IS NULL)", name=op.f("ck_owner_profile_birthday")),
        sa.CheckConstraint(
            "birth_month BETWEEN 1 AND 12 AND birth_day BETWEEN 1 AND 31", name=op.f("ck_owner_profile_birthday_range")
        ),
        sa.ForeignKeyConstraint(["follower_id"], ["follower.id"], name=op.f("fk_owner_profile_follower_id_follower")),
        sa.PrimaryKeyConstraint("follower_id", name=op.f("pk_owner_profile")),
    )
    op.create_index(
        "ix_owner_profile_birthday",
        "owner_profile",
        ["birth_month", "birth_day"],
        unique=False,
        postgresql_where=sa.text("birth_month IS NOT NULL"),
    )
    op.create_table(
        "owner_session",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("follower_id", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["follower_id"], ["follower.id"], name=op.f("fk_owner_session_follower_id_follower")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_owner_session")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_owner_session_token_hash")),
    )
    op.create_index("ix_owner_session_expires_at", "owner_session", ["expires_at"], unique=False)
    op.create_index("ix_owner_session_follower_id", "owner_session", ["follower_id"], unique=False)
    op.create_table(
        "member_level",
        sa.Column("merchant_id", sa.BigInteger(), nullable=False),
        sa.Column("level", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("from_points", sa.BigInteger(), nullable=False),
        sa.Column("earn_percent", sa.SmallInteger(), server_default=sa.text("100"), nullable=False),
        sa.CheckConstraint("earn_percent BETWEEN 100 AND 500", name=op.f("ck_member_level_earn_percent")),
        sa.CheckConstraint("from_points >= 0", name=op.f("ck_member_level_from_points")),
        sa.CheckConstraint("level BETWEEN 1 AND 9", name=op.f("ck_member_level_level")),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name=op.f("fk_member_level_merchant_id_merchant")),
        sa.PrimaryKeyConstraint("merchant_id", "level", name=op.f("pk_member_level")),
        sa.UniqueConstraint("merchant_id", "from_points", name=op.f("uq_member_level_merchant_id_from_points")),
    )
    op.create_table(
        "points_account",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("merchant_id", sa.BigInteger(), nullable=False),
        sa.Column("follower_id", sa.BigInteger(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("balance", sa.BigInteger(), nullable=True),
        sa.Column("debt", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.CheckConstraint("(kind = 'issued') = (balance IS NULL)", name=op.f("ck_points_account_cached")),
        sa.CheckConstraint("(kind = 'issued') = (follower_id IS NULL)", name=op.f("ck_points_account_follower")),
        sa.CheckConstraint("debt >= 0 AND (kind = 'fan' OR debt = 0)", name=op.f("ck_points_account_debt")),
        sa.CheckConstraint("kind IN ('fan', 'pending', 'issued')", name=op.f("ck_points_account_kind")),
        sa.CheckConstraint("balance >= 0", name=op.f("ck_points_account_balance")),
        sa.ForeignKeyConstraint(["follower_id"], ["follower.id"], name=op.f("fk_points_account_follower_id_follower")),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name=op.f("fk_points_account_merchant_id_merchant")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_points_account")),
        sa.UniqueConstraint(
            "merchant_id",
            "follower_id",
            "kind",
            name=op.f("uq_points_account_merchant_id_follower_id_kind"),
            postgresql_nulls_not_distinct=True,
        ),
        sa.UniqueConstraint("merchant_id", "id", name=op.f("uq_points_account_merchant_id_id")),
    )
    op.create_index("ix_points_account_follower_id", "points_account", ["follower_id"], unique=False)
    op.create_table(
        "points_rule",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("merchant_id", sa.BigInteger(), nullable=False),
        sa.Column("trigger", sa.Text(), nullable=False),
        sa.Column("level", sa.SmallInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("points", sa.Integer(), nullable=False),
        sa.Column("per_fen", sa.Integer(), nullable=True),
        sa.Column("most_per_person", sa.Integer(), nullable=False),
        sa.Column("most_per_day", sa.Integer(), nullable=False),
        sa.Column("vests_after_days", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("lives_days", sa.SmallInteger(), server_default=sa.text("365"), nullable=True),
        sa.Column("is_on", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.CheckConstraint("(trigger = 'spend') = (per_fen IS NOT NULL)", name=op.f("ck_points_rule_per_fen")),
        sa.CheckConstraint("level = 1 OR (level = 2 AND trigger = 'referral')", name=op.f("ck_points_rule_level")),
        sa.CheckConstraint(
            "trigger IN ('check_in', 'visit', 'spend', 'referral')", name=op.f("ck_points_rule_trigger")
        ),
        sa.CheckConstraint("lives_days BETWEEN 1 AND 3650", name=op.f("ck_points_rule_lives_days")),
        sa.CheckConstraint(
            "most_per_person BETWEEN 1 AND 1000000 AND most_per_day BETWEEN 1 AND 100000000",
            name=op.f("ck_points_rule_most"),
        ),
        sa.CheckConstraint("per_fen BETWEEN 1 AND 10000000", name=op.f("ck_points_rule_per_fen_range")),
        sa.CheckConstraint("points BETWEEN 1 AND 100000", name=op.f("ck_points_rule_points")),
        sa.CheckConstraint("vests_after_days BETWEEN 0 AND 90", name=op.f("ck_points_rule_vests_after_days")),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name=op.f("fk_points_rule_merchant_id_merchant")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_points_rule")),
        sa.UniqueConstraint("merchant_id", "id", name=op.f("uq_points_rule_merchant_id_id")),
        sa.UniqueConstraint("merchant_id", "trigger", "level", name=op.f("uq_points_rule_merchant_id_trigger_level")),
    )
    op.create_table(
        "points_settings",
        sa.Column("merchant_id", sa.BigInteger(), nullable=False),
        sa.Column("adjust_alone_most", sa.Integer(), server_default=sa.text("500"), nullable=False),
        sa.CheckConstraint(
            "adjust_alone_most BETWEEN 0 AND 1000000", name=op.f("ck_points_settings_adjust_alone_most")
        ),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name=op.f("fk_points_settings_merchant_id_merchant")),
        sa.PrimaryKeyConstraint("merchant_id", name=op.f("pk_points_settings")),
    )
    op.create_table(
        "code_try",
        sa.Column("merchant_id", sa.BigInteger(), nullable=False),
        sa.Column("staff_id", sa.BigInteger(), nullable=False),
        sa.Column("minute", sa.DateTime(timezone=True), nullable=False),
        sa.Column("tries", sa.SmallInteger(), nullable=False),
        sa.CheckConstraint("tries BETWEEN 1 AND 5", name=op.f("ck_code_try_tries")),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name=op.f("fk_code_try_merchant_id_merchant")),
        sa.ForeignKeyConstraint(["staff_id"], ["staff.id"], name=op.f("fk_code_try_staff_id_staff")),
        sa.PrimaryKeyConstraint("staff_id", "minute", name=op.f("pk_code_try")),
    )
    op.create_table(
        "coupon_template",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("merchant_id", sa.BigInteger(), nullable=False),
        sa.Column("public_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("terms", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("picture_id", sa.BigInteger(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("value_fen", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("percent_off", sa.SmallInteger(), nullable=True),
        sa.Column("uses", sa.SmallInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("worth_fen", sa.BigInteger(), nullable=False),
        sa.Column("min_spend_fen", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("valid_from", sa.DateTime(timezone=True), nullable=True),
        sa.Column("valid_to", sa.DateTime(timezone=True), nullable=True),
        sa.Column("starts_after_days", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("lasts_days", sa.SmallInteger(), nullable=True),
        sa.Column("weekdays", sa.SmallInteger(), server_default=sa.text("127"), nullable=False),
        sa.Column("hours", postgresql.JSONB(), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("except_dates", postgresql.ARRAY(sa.Date()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("per_person", sa.SmallInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("per_day", sa.Integer(), nullable=True),
        sa.Column("first_only", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("segment_id", sa.BigInteger(), nullable=True),
        sa.Column("min_level", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("is_transferable", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("is_public", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("for_birthdays", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("keyword", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("refusals", postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("stock", sa.Integer(), nullable=False),
        sa.Column("issued", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("budget_fen", sa.BigInteger(), nullable=False),
        sa.Column("committed_fen", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("is_in_tranches", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("state", sa.Text(), server_default="draft", nullable=False),
        sa.Column("written_by", sa.BigInteger(), nullable=True),
        sa.Column("submitted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.Column("review", sa.Text(), server_default="pending", nullable=False),
        sa.Column("reviewed_by", sa.BigInteger(), nullable=True),
        sa.Column("reviewed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("review_reason", sa.Text(), server_default="", nullable=False),
        sa.CheckConstraint("(kind = 'percent') = (percent_off IS NOT NULL)", name=op.f("ck_coupon_template_percent")),
        sa.CheckConstraint("kind <> 'amount' OR value_fen > 0", name=op.f("ck_coupon_template_value")),
        sa.CheckConstraint(
            "kind IN ('amount', 'percent', 'gift', 'visits', 'item')", name=op.f("ck_coupon_template_kind")
        ),
        sa.CheckConstraint(
            "review IN ('pending', 'approved', 'rejected', 'withdrawn')", name=op.f("ck_coupon_template_review")
        ),
        sa.CheckConstraint("state = 'draft' OR review = 'approved'", name=op.f("ck_coupon_template_approved")),
        sa.CheckConstraint("state IN ('draft', 'live', 'paused', 'ended')", name=op.f("ck_coupon_template_state")),
        sa.CheckConstraint(
            "uses BETWEEN 1 AND 100 AND (kind = 'visits' OR uses = 1)", name=op.f("ck_coupon_template_uses")
        ),
        sa.CheckConstraint("(valid_from IS NULL) <> (lasts_days IS NULL)", name=op.f("ck_coupon_template_validity")),
        sa.CheckConstraint("(valid_from IS NULL) = (valid_to IS NULL)", name=op.f("ck_coupon_template_fixed_dates")),
        sa.CheckConstraint(
            "committed_fen >= 0 AND committed_fen <= budget_fen", name=op.f("ck_coupon_template_budget")
        ),
        sa.CheckConstraint("issued BETWEEN 0 AND stock", name=op.f("ck_coupon_template_stock")),
        sa.CheckConstraint(
            "lasts_days BETWEEN 1 AND 730 AND starts_after_days BETWEEN 0 AND 365", name=op.f("ck_coupon_template_days")
        ),
        sa.CheckConstraint("min_level BETWEEN 0 AND 9", name=op.f("ck_coupon_template_min_level")),
        sa.CheckConstraint("per_day IS NULL OR per_day > 0", name=op.f("ck_coupon_template_per_day")),
        sa.CheckConstraint("per_person BETWEEN 1 AND 100", name=op.f("ck_coupon_template_per_person")),
        sa.CheckConstraint("percent_off BETWEEN 1 AND 99", name=op.f("ck_coupon_template_percent_range")),
        sa.CheckConstraint("stock BETWEEN 1 AND 1000000", name=op.f("ck_coupon_template_stock_range")),
        sa.CheckConstraint("valid_to > valid_from", name=op.f("ck_coupon_template_order")),
        sa.CheckConstraint("weekdays BETWEEN 1 AND 127", name=op.f("ck_coupon_template_weekdays")),
        sa.CheckConstraint("worth_fen BETWEEN 0 AND 10000000", name=op.f("ck_coupon_template_worth")),
        sa.ForeignKeyConstraint(
            ["merchant_id", "picture_id"],
            ["picture.merchant_id", "picture.id"],
            name=op.f("fk_coupon_template_merchant_id_picture_id_picture"),
        ),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name=op.f("fk_coupon_template_merchant_id_merchant")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_coupon_template")),
        sa.UniqueConstraint("merchant_id", "id", name=op.f("uq_coupon_template_merchant_id_id")),
        sa.UniqueConstraint("public_id", name=op.f("uq_coupon_template_public_id")),
    )
    op.create_index(
        "ix_coupon_template_merchant_id", "coupon_template", ["merchant_id", sa.literal_column("id DESC")], unique=False
    )
    op.create_index(
        "ix_coupon_template_pending",
        "coupon_template",
        ["id"],
        unique=False,
        postgresql_where=sa.text("review = 'pending' AND submitted_at IS NOT NULL"),
    )
    op.create_index(
        "uq_coupon_template_keyword",
        "coupon_template",
        ["keyword"],
        unique=True,
        postgresql_where=sa.text("keyword <> '' AND state IN ('live', 'paused')"),
    )
    op.create_table(
        "invite",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("merchant_id", sa.BigInteger(), nullable=False),
        sa.Column("follower_id", sa.BigInteger(), nullable=False),
        sa.Column("public_id", sa.Text(), nullable=False),
        sa.Column("code_id", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["code_id"], ["sub_qr_code.id"], name=op.f("fk_invite_code_id_sub_qr_code")),
        sa.ForeignKeyConstraint(["follower_id"], ["follower.id"], name=op.f("fk_invite_follower_id_follower")),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name=op.f("fk_invite_merchant_id_merchant")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invite")),
        sa.UniqueConstraint("merchant_id", "follower_id", name=op.f("uq_invite_merchant_id_follower_id")),
        sa.UniqueConstraint("merchant_id", "id", name=op.f("uq_invite_merchant_id_id")),
        sa.UniqueConstraint("public_id", name=op.f("uq_invite_public_id")),
    )
    op.create_index("ix_invite_follower_id", "invite", ["follower_id"], unique=False)
    op.create_index("uq_invite_code_id", "invite", ["code_id"], unique=True)
    op.create_table(
        "points_adjustment",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("merchant_id", sa.BigInteger(), nullable=False),
        sa.Column("follower_id", sa.BigInteger(), nullable=False),
        sa.Column("points", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("needs_second", sa.Boolean(), nullable=False),
        sa.Column("state", sa.Text(), server_default="waiting", nullable=False),
        sa.Column("asked_by", sa.BigInteger(), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.Column("decided_by", sa.BigInteger(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "NOT needs_second OR state = 'waiting' OR decided_by IS NOT NULL", name=op.f("ck_points_adjustment_second")
        ),
        sa.CheckConstraint("state IN ('waiting', 'done', 'refused')", name=op.f("ck_points_adjustment_state")),
        sa.CheckConstraint(
            "decided_by IS DISTINCT FROM asked_by OR decided_by IS NULL", name=op.f("ck_points_adjustment_two_people")
        ),
        sa.CheckConstraint("points <> 0 AND abs(points) <= 10000000", name=op.f("ck_points_adjustment_points")),
        sa.ForeignKeyConstraint(["asked_by"], ["staff.id"], name=op.f("fk_points_adjustment_asked_by_staff")),
        sa.ForeignKeyConstraint(["decided_by"], ["staff.id"], name=op.f("fk_points_adjustment_decided_by_staff")),
        sa.ForeignKeyConstraint(
            ["follower_id"], ["follower.id"], name=op.f("fk_points_adjustment_follower_id_follower")
        ),
        sa.ForeignKeyConstraint(
            ["merchant_id"], ["merchant.id"], name=op.f("fk_points_adjustment_merchant_id_merchant")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_points_adjustment")),
    )
    op.create_index(
        "ix_points_adjustment_merchant_id",
        "points_adjustment",
        ["merchant_id", sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_index(
        "ix_points_adjustment_waiting",
        "points_adjustment",
        ["id"],
        unique=False,
        postgresql_where=sa.text("state = 'waiting'"),
    )
    op.create_table(
        "points_rule_day",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("merchant_id", sa.BigInteger(), nullable=False),
        sa.Column("rule_id", sa.BigInteger(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("follower_id", sa.BigInteger(), nullable=True),
        sa.Column("paid", sa.Integer(), nullable=False),
        sa.Column("most", sa.Integer(), nullable=False),
        sa.CheckConstraint("paid BETWEEN 0 AND most", name=op.f("ck_points_rule_day_paid")),
        sa.ForeignKeyConstraint(["follower_id"], ["follower.id"], name=op.f("fk_points_rule_day_follower_id_follower")),
        sa.ForeignKeyConstraint(
            ["merchant_id", "rule_id"],
            ["points_rule.merchant_id", "points_rule.id"],
            name=op.f("fk_points_rule_day_merchant_id_rule_id_points_rule"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_points_rule_day")),
        sa.UniqueConstraint(
            "rule_id",
            "day",
            "follower_id",
            name=op.f("uq_points_rule_day_rule_id_day_follower_id"),
            postgresql_nulls_not_distinct=True,
        ),
    )
    op.create_table(
        "points_transfer",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("merchant_id", sa.BigInteger(), nullable=False),
        sa.Column("follower_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("points", sa.BigInteger(), nullable=False),
        sa.Column("rule_id", sa.BigInteger(), nullable=True),
        sa.Column("source_type", sa.Text(), nullable=False),
        sa.Column("source_id", sa.BigInteger(), nullable=False),
        sa.Column("reverses_id", sa.BigInteger(), nullable=True),
        sa.Column("vests_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("staff_id", sa.BigInteger(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.CheckConstraint("(kind = 'reverse') = (reverses_id IS NOT NULL)", name=op.f("ck_points_transfer_reverses")),
        sa.CheckConstraint(
            "kind IN ('earn', 'vest', 'spend', 'expire', 'reverse', 'adjust')", name=op.f("ck_points_transfer_kind")
        ),
        sa.CheckConstraint("points > 0", name=op.f("ck_points_transfer_points")),
        sa.ForeignKeyConstraint(["follower_id"], ["follower.id"], name=op.f("fk_points_transfer_follower_id_follower")),
        sa.ForeignKeyConstraint(
            ["merchant_id", "reverses_id"],
            ["points_transfer.merchant_id", "points_transfer.id"],
            name=op.f("fk_points_transfer_merchant_id_reverses_id_points_transfer"),
        ),
        sa.ForeignKeyConstraint(
            ["merchant_id", "rule_id"],
            ["points_rule.merchant_id", "points_rule.id"],
            name=op.f("fk_points_transfer_merchant_id_rule_id_points_rule"),
        ),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name=op.f("fk_points_transfer_merchant_id_merchant")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_points_transfer")),
        sa.UniqueConstraint(
            "merchant_id",
            "follower_id",
            "source_type",
            "source_id",
            "rule_id",
            name="uq_points_transfer_cause",
            postgresql_nulls_not_distinct=True,
        ),
        sa.UniqueConstraint("merchant_id", "id", name=op.f("uq_points_transfer_merchant_id_id")),
        sa.UniqueConstraint("reverses_id", name=op.f("uq_points_transfer_reverses_id")),
    )
    op.create_index(
        "ix_points_transfer_follower",
        "points_transfer",
        ["merchant_id", "follower_id", sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_index("ix_points_transfer_merchant_id_at", "points_transfer", ["merchant_id", "at"], unique=False)
    op.create_index(
        "ix_points_transfer_vesting",
        "points_transfer",
        ["vests_at"],
        unique=False,
        postgresql_where=sa.text("vests_at IS NOT NULL"),
    )
    op.create_table(
        "visit",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("merchant_id", sa.BigInteger(), nullable=False),
        sa.Column("follower_id", sa.BigInteger(), nullable=False),
        sa.Column("staff_id", sa.BigInteger(), nullable=False),
        sa.Column("bill_fen", sa.BigInteger(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.Column("reversed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("bill_fen IS NULL OR bill_fen BETWEEN 0 AND 100000000", name=op.f("ck_visit_bill")),
        sa.ForeignKeyConstraint(["follower_id"], ["follower.id"], name=op.f("fk_visit_follower_id_follower")),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name=op.f("fk_visit_merchant_id_merchant")),
        sa.ForeignKeyConstraint(["staff_id"], ["staff.id"], name=op.f("fk_visit_staff_id_staff")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_visit")),
        sa.UniqueConstraint("merchant_id", "id", name=op.f("uq_visit_merchant_id_id")),
    )
    op.create_index("ix_visit_follower_id", "visit", ["follower_id", "merchant_id"], unique=False)
    op.create_index(
        "ix_visit_merchant_id_at",
        "visit",
        ["merchant_id", sa.literal_column("at DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_table(
        "coupon",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("merchant_id", sa.BigInteger(), nullable=False),
        sa.Column("template_id", sa.BigInteger(), nullable=False),
        sa.Column("public_id", sa.Text(), nullable=False),
        sa.Column("follower_id", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.SmallInteger(), nullable=True),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("code_id", sa.BigInteger(), nullable=True),
        sa.Column("passed_from_id", sa.BigInteger(), nullable=True),
        sa.Column("worth_fen", sa.BigInteger(), nullable=False),
        sa.Column("uses", sa.SmallInteger(), nullable=False),
        sa.Column("uses_left", sa.SmallInteger(), nullable=False),
        sa.Column("valid_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("valid_to", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.Text(), server_default="issued", nullable=False),
        sa.Column("reserved_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reserved_at_id", sa.BigInteger(), nullable=True),
        sa.Column("given_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("(state = 'redeemed') = (uses_left = 0)", name=op.f("ck_coupon_used_up")),
        sa.CheckConstraint("(state = 'reserved') = (reserved_until IS NOT NULL)", name=op.f("ck_coupon_reserved")),
        sa.CheckConstraint(
            "channel IN ('page', 'scan', 'keyword', 'broadcast', 'points', 'birthday', 'staff', 'referral')",
            name=op.f("ck_coupon_channel"),
        ),
        sa.CheckConstraint(
            "state IN ('issued', 'reserved', 'redeemed', 'expired', 'revoked', 'given_away')",
            name=op.f("ck_coupon_state"),
        ),
        sa.CheckConstraint("(seq IS NULL) = (passed_from_id IS NOT NULL)", name=op.f("ck_coupon_seq")),
        sa.CheckConstraint("uses_left BETWEEN 0 AND uses", name=op.f("ck_coupon_uses")),
        sa.CheckConstraint("valid_to > valid_from", name=op.f("ck_coupon_order")),
        sa.ForeignKeyConstraint(["follower_id"], ["follower.id"], name=op.f("fk_coupon_follower_id_follower")),
        sa.ForeignKeyConstraint(
            ["merchant_id", "template_id"],
            ["coupon_template.merchant_id", "coupon_template.id"],
            name=op.f("fk_coupon_merchant_id_template_id_coupon_template"),
        ),
        sa.ForeignKeyConstraint(["passed_from_id"], ["coupon.id"], name=op.f("fk_coupon_passed_from_id_coupon")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_coupon")),
        sa.UniqueConstraint("merchant_id", "id", name=op.f("uq_coupon_merchant_id_id")),
        sa.UniqueConstraint("passed_from_id", name=op.f("uq_coupon_passed_from_id")),
        sa.UniqueConstraint("public_id", name=op.f("uq_coupon_public_id")),
        sa.UniqueConstraint(
            "template_id", "follower_id", "cause", name=op.f("uq_coupon_template_id_follower_id_cause")
        ),
        sa.UniqueConstraint("template_id", "follower_id", "seq", name=op.f("uq_coupon_template_id_follower_id_seq")),
    )
    op.create_index(
        "ix_coupon_expiring",
        "coupon",
        ["valid_to"],
        unique=False,
        postgresql_where=sa.text("state IN ('issued', 'reserved')"),
    )
    op.create_index("ix_coupon_follower_id", "coupon", ["follower_id", "state"], unique=False)
    op.create_index("ix_coupon_merchant_id_follower_id", "coupon", ["merchant_id", "follower_id"], unique=False)
    op.create_index(
        "ix_coupon_reserved", "coupon", ["reserved_until"], unique=False, postgresql_where=sa.text("state = 'reserved'")
    )
    op.create_index("ix_coupon_template_id_given_at", "coupon", ["template_id", "given_at"], unique=False)
    op.create_table(
        "coupon_acceptor",
        sa.Column("merchant_id", sa.BigInteger(), nullable=False),
        sa.Column("template_id", sa.BigInteger(), nullable=False),
        sa.Column("acceptor_id", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), server_default="asked", nullable=False),
        sa.Column("pays_percent", sa.SmallInteger(), server_default=sa.text("100"), nullable=False),
        sa.Column("most", sa.Integer(), nullable=True),
        sa.Column("redeemed", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("state IN ('asked', 'agreed', 'ended')", name=op.f("ck_coupon_acceptor_state")),
        sa.CheckConstraint("merchant_id <> acceptor_id", name=op.f("ck_coupon_acceptor_another")),
        sa.CheckConstraint("pays_percent BETWEEN 0 AND 100", name=op.f("ck_coupon_acceptor_pays_percent")),
        sa.CheckConstraint(
            "redeemed >= 0 AND (most IS NULL OR redeemed <= most)", name=op.f("ck_coupon_acceptor_most")
        ),
        sa.ForeignKeyConstraint(["acceptor_id"], ["merchant.id"], name=op.f("fk_coupon_acceptor_acceptor_id_merchant")),
        sa.ForeignKeyConstraint(
            ["merchant_id", "template_id"],
            ["coupon_template.merchant_id", "coupon_template.id"],
            name=op.f("fk_coupon_acceptor_merchant_id_template_id_coupon_template"),
        ),
        sa.PrimaryKeyConstraint("template_id", "acceptor_id", name=op.f("pk_coupon_acceptor")),
    )
    op.create_index("ix_coupon_acceptor_acceptor_id", "coupon_acceptor", ["acceptor_id"], unique=False)
    op.create_table(
        "coupon_template_day",
        sa.Column("merchant_id", sa.BigInteger(), nullable=False),
        sa.Column("template_id", sa.BigInteger(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("given", sa.Integer(), nullable=False),
        sa.Column("most", sa.Integer(), nullable=False),
        sa.CheckConstraint("given BETWEEN 0 AND most", name=op.f("ck_coupon_template_day_given")),
        sa.ForeignKeyConstraint(
            ["merchant_id", "template_id"],
            ["coupon_template.merchant_id", "coupon_template.id"],
            name=op.f("fk_coupon_template_day_merchant_id_template_id_coupon_template"),
        ),
        sa.PrimaryKeyConstraint("template_id", "day", name=op.f("pk_coupon_template_day")),
    )
    op.create_table(
        "coupon_tranche",
        sa.Column("merchant_id", sa.BigInteger(), nullable=False),
        sa.Column("template_id", sa.BigInteger(), nullable=False),
        sa.Column("opens_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("pieces", sa.Integer(), nullable=False),
        sa.CheckConstraint("pieces > 0", name=op.f("ck_coupon_tranche_pieces")),
        sa.ForeignKeyConstraint(
            ["merchant_id", "template_id"],
            ["coupon_template.merchant_id", "coupon_template.id"],
            name=op.f("fk_coupon_tranche_merchant_id_template_id_coupon_template"),
        ),
        sa.PrimaryKeyConstraint("template_id", "opens_at", name=op.f("pk_coupon_tranche")),
    )
    op.create_table(
        "points_entry",
        sa.Column("transfer_id", sa.BigInteger(), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("merchant_id", sa.BigInteger(), nullable=False),
        sa.Column("points", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("points <> 0", name=op.f("ck_points_entry_points")),
        sa.ForeignKeyConstraint(
            ["merchant_id", "account_id"],
            ["points_account.merchant_id", "points_account.id"],
            name=op.f("fk_points_entry_merchant_id_account_id_points_account"),
        ),
        sa.ForeignKeyConstraint(
            ["merchant_id", "transfer_id"],
            ["points_transfer.merchant_id", "points_transfer.id"],
            name=op.f("fk_points_entry_merchant_id_transfer_id_points_transfer"),
        ),
        sa.PrimaryKeyConstraint("transfer_id", "account_id", name=op.f("pk_points_entry")),
    )
    op.create_index("ix_points_entry_account_id", "points_entry", ["account_id"], unique=False)
    op.create_table(
        "points_lot",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("merchant_id", sa.BigInteger(), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("transfer_id", sa.BigInteger(), nullable=False),
        sa.Column("earned", sa.BigInteger(), nullable=False),
        sa.Column("remaining", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.CheckConstraint("earned > 0 AND remaining BETWEEN 0 AND earned", name=op.f("ck_points_lot_remaining")),
        sa.ForeignKeyConstraint(
            ["merchant_id", "account_id"],
            ["points_account.merchant_id", "points_account.id"],
            name=op.f("fk_points_lot_merchant_id_account_id_points_account"),
        ),
        sa.ForeignKeyConstraint(
            ["merchant_id", "transfer_id"],
            ["points_transfer.merchant_id", "points_transfer.id"],
            name=op.f("fk_points_lot_merchant_id_transfer_id_points_transfer"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_points_lot")),
        sa.UniqueConstraint("merchant_id", "id", name=op.f("uq_points_lot_merchant_id_id")),
        sa.UniqueConstraint("transfer_id", "account_id", name=op.f("uq_points_lot_transfer_id_account_id")),
    )
    op.create_index(
        "ix_points_lot_expiring", "points_lot", ["expires_at"], unique=False, postgresql_where=sa.text("remaining > 0")
    )
    op.create_index(
        "ix_points_lot_open",
        "points_lot",
        ["account_id", "expires_at", "id"],
        unique=False,
        postgresql_where=sa.text("remaining > 0"),
    )
    op.create_table(
        "points_offer",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("merchant_id", sa.BigInteger(), nullable=False),
        sa.Column("template_id", sa.BigInteger(), nullable=False),
        sa.Column("price", sa.Integer(), nullable=False),
        sa.Column("stock", sa.Integer(), nullable=False),
        sa.Column("taken", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("per_person", sa.SmallInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("is_on", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.CheckConstraint("per_person BETWEEN 1 AND 100", name=op.f("ck_points_offer_per_person")),
        sa.CheckConstraint("price BETWEEN 1 AND 10000000", name=op.f("ck_points_offer_price")),
        sa.CheckConstraint("taken BETWEEN 0 AND stock", name=op.f("ck_points_offer_stock")),
        sa.ForeignKeyConstraint(
            ["merchant_id", "template_id"],
            ["coupon_template.merchant_id", "coupon_template.id"],
            name=op.f("fk_points_offer_merchant_id_template_id_coupon_template"),
        ),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name=op.f("fk_points_offer_merchant_id_merchant")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_points_offer")),
        sa.UniqueConstraint("merchant_id", "id", name=op.f("uq_points_offer_merchant_id_id")),
    )
    op.create_table(
        "referral",
        sa.Column("invitee_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("inviter_id", sa.BigInteger(), nullable=False),
        sa.Column("merchant_id", sa.BigInteger(), nullable=False),
        sa.Column("invite_id", sa.BigInteger(), nullable=False),
        sa.Column("came_by", sa.Text(), nullable=False),
        sa.Column("address_hash", sa.LargeBinary(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.CheckConstraint("invitee_id <> inviter_id", name=op.f("ck_referral_two")),
        sa.ForeignKeyConstraint(["invite_id"], ["invite.id"], name=op.f("fk_referral_invite_id_invite")),
        sa.ForeignKeyConstraint(["invitee_id"], ["follower.id"], name=op.f("fk_referral_invitee_id_follower")),
        sa.ForeignKeyConstraint(["inviter_id"], ["follower.id"], name=op.f("fk_referral_inviter_id_follower")),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name=op.f("fk_referral_merchant_id_merchant")),
        sa.PrimaryKeyConstraint("invitee_id", name=op.f("pk_referral")),
    )
    op.create_index("ix_referral_inviter_id", "referral", ["inviter_id", "at"], unique=False)
    op.create_index("ix_referral_merchant_id", "referral", ["merchant_id", "at"], unique=False)
    op.create_table(
        "coupon_gift",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("merchant_id", sa.BigInteger(), nullable=False),
        sa.Column("coupon_id", sa.BigInteger(), nullable=False),
        sa.Column("follower_id", sa.BigInteger(), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("taken_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cancelled_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["coupon_id"], ["coupon.id"], name=op.f("fk_coupon_gift_coupon_id_coupon")),
        sa.ForeignKeyConstraint(["follower_id"], ["follower.id"], name=op.f("fk_coupon_gift_follower_id_follower")),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name=op.f("fk_coupon_gift_merchant_id_merchant")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_coupon_gift")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_coupon_gift_token_hash")),
    )
    op.create_index("ix_coupon_gift_coupon_id", "coupon_gift", ["coupon_id"], unique=False)
    op.create_index("ix_coupon_gift_follower_id", "coupon_gift", ["follower_id"], unique=False)
    op.create_table(
        "points_lot_use",
        sa.Column("lot_id", sa.BigInteger(), nullable=False),
        sa.Column("transfer_id", sa.BigInteger(), nullable=False),
        sa.Column("merchant_id", sa.BigInteger(), nullable=False),
        sa.Column("points", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("points > 0", name=op.f("ck_points_lot_use_points")),
        sa.ForeignKeyConstraint(
            ["merchant_id", "lot_id"],
            ["points_lot.merchant_id", "points_lot.id"],
            name=op.f("fk_points_lot_use_merchant_id_lot_id_points_lot"),
        ),
        sa.ForeignKeyConstraint(
            ["merchant_id", "transfer_id"],
            ["points_transfer.merchant_id", "points_transfer.id"],
            name=op.f("fk_points_lot_use_merchant_id_transfer_id_points_transfer"),
        ),
        sa.PrimaryKeyConstraint("lot_id", "transfer_id", name=op.f("pk_points_lot_use")),
    )
    op.create_index("ix_points_lot_use_transfer_id", "points_lot_use", ["transfer_id"], unique=False)
    op.create_table(
        "redemption",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("merchant_id", sa.BigInteger(), nullable=False),
        sa.Column("issuer_id", sa.BigInteger(), nullable=False),
        sa.Column("coupon_id", sa.BigInteger(), nullable=False),
        sa.Column("template_id", sa.BigInteger(), nullable=False),
        sa.Column("follower_id", sa.BigInteger(), nullable=False),
        sa.Column("staff_id", sa.BigInteger(), nullable=False),
        sa.Column("use_no", sa.SmallInteger(), nullable=False),
        sa.Column("bill_fen", sa.BigInteger(), nullable=True),
        sa.Column("discount_fen", sa.BigInteger(), nullable=False),
        sa.Column("is_first_here", sa.Boolean(), nullable=False),
        sa.Column("is_own", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("redeemed_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.Column("reversed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("bill_fen IS NULL OR bill_fen BETWEEN 0 AND 100000000", name=op.f("ck_redemption_bill")),
        sa.CheckConstraint(
            "discount_fen >= 0 AND (bill_fen IS NULL OR discount_fen <= bill_fen)", name=op.f("ck_redemption_discount")
        ),
        sa.CheckConstraint("use_no >= 1", name=op.f("ck_redemption_use_no")),
        sa.ForeignKeyConstraint(["follower_id"], ["follower.id"], name=op.f("fk_redemption_follower_id_follower")),
        sa.ForeignKeyConstraint(
            ["issuer_id", "coupon_id"],
            ["coupon.merchant_id", "coupon.id"],
            name=op.f("fk_redemption_issuer_id_coupon_id_coupon"),
        ),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name=op.f("fk_redemption_merchant_id_merchant")),
        sa.ForeignKeyConstraint(["staff_id"], ["staff.id"], name=op.f("fk_redemption_staff_id_staff")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_redemption")),
    )
    op.create_index("ix_redemption_follower_id", "redemption", ["follower_id", "merchant_id"], unique=False)
    op.create_index(
        "ix_redemption_issuer_id",
        "redemption",
        ["issuer_id", sa.literal_column("redeemed_at DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_index(
        "ix_redemption_merchant_id",
        "redemption",
        ["merchant_id", sa.literal_column("redeemed_at DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_index("ix_redemption_template_id", "redemption", ["template_id", "redeemed_at"], unique=False)
    op.create_index(
        "uq_redemption_standing",
        "redemption",
        ["coupon_id", "use_no"],
        unique=True,
        postgresql_where=sa.text("reversed_at IS NULL"),
    )
    op.create_table(
        "referral_reward",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("merchant_id", sa.BigInteger(), nullable=False),
        sa.Column("invitee_id", sa.BigInteger(), nullable=False),
        sa.Column("level", sa.SmallInteger(), nullable=False),
        sa.Column("beneficiary_id", sa.BigInteger(), nullable=False),
        sa.Column("cause_type", sa.Text(), nullable=False),
        sa.Column("cause_id", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("suspicion", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("transfer_id", sa.BigInteger(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.Column("decided_by", sa.BigInteger(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decision_note", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.CheckConstraint("state IN ('held', 'paid', 'refused', 'reversed')", name=op.f("ck_referral_reward_state")),
        sa.CheckConstraint("invitee_id <> beneficiary_id", name=op.f("ck_referral_reward_two")),
        sa.CheckConstraint("level IN (1, 2)", name=op.f("ck_referral_reward_level")),
        sa.ForeignKeyConstraint(
            ["beneficiary_id"], ["follower.id"], name=op.f("fk_referral_reward_beneficiary_id_follower")
        ),
        sa.ForeignKeyConstraint(
            ["invitee_id"], ["referral.invitee_id"], name=op.f("fk_referral_reward_invitee_id_referral")
        ),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name=op.f("fk_referral_reward_merchant_id_merchant")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_referral_reward")),
        sa.UniqueConstraint("invitee_id", "level", name=op.f("uq_referral_reward_invitee_id_level")),
    )
    op.create_index("ix_referral_reward_beneficiary_id", "referral_reward", ["beneficiary_id", "at"], unique=False)
    op.create_index(
        "ix_referral_reward_held", "referral_reward", ["id"], unique=False, postgresql_where=sa.text("state = 'held'")
    )
    op.create_index("ix_referral_reward_merchant_id", "referral_reward", ["merchant_id", "at"], unique=False)
    op.create_table(
        "shown_code",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("follower_id", sa.BigInteger(), nullable=False),
        sa.Column("coupon_id", sa.BigInteger(), nullable=True),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("typed_hash", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["coupon_id"], ["coupon.id"], name=op.f("fk_shown_code_coupon_id_coupon")),
        sa.ForeignKeyConstraint(["follower_id"], ["follower.id"], name=op.f("fk_shown_code_follower_id_follower")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_shown_code")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_shown_code_token_hash")),
        sa.UniqueConstraint("typed_hash", name=op.f("uq_shown_code_typed_hash")),
    )
    op.create_index("ix_shown_code_coupon_id", "shown_code", ["coupon_id"], unique=False)
    op.create_index("ix_shown_code_expires_at", "shown_code", ["expires_at"], unique=False)
    op.create_index("ix_shown_code_follower_id", "shown_code", ["follower_id"], unique=False)
    op.create_table(
        "alliance_transfer",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("redemption_id", sa.BigInteger(), nullable=False),
        sa.Column("is_reversal", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("payer_id", sa.BigInteger(), nullable=False),
        sa.Column("earner_id", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.CheckConstraint("payer_id <> earner_id", name=op.f("ck_alliance_transfer_two")),
        sa.ForeignKeyConstraint(["earner_id"], ["merchant.id"], name=op.f("fk_alliance_transfer_earner_id_merchant")),
        sa.ForeignKeyConstraint(["payer_id"], ["merchant.id"], name=op.f("fk_alliance_transfer_payer_id_merchant")),
        sa.ForeignKeyConstraint(
            ["redemption_id"], ["redemption.id"], name=op.f("fk_alliance_transfer_redemption_id_redemption")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alliance_transfer")),
        sa.UniqueConstraint("id", "payer_id", "earner_id", name=op.f("uq_alliance_transfer_id_payer_id_earner_id")),
        sa.UniqueConstraint(
            "redemption_id", "is_reversal", name=op.f("uq_alliance_transfer_redemption_id_is_reversal")
        ),
    )
    op.create_index("ix_alliance_transfer_earner_id", "alliance_transfer", ["earner_id", "at"], unique=False)
    op.create_index("ix_alliance_transfer_payer_id", "alliance_transfer", ["payer_id", "at"], unique=False)
    op.create_table(
        "redemption_reversal",
        sa.Column("redemption_id", sa.BigInteger(), nullable=False),
        sa.Column("merchant_id", sa.BigInteger(), nullable=False),
        sa.Column("staff_id", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("is_valid_again", sa.Boolean(), nullable=False),
        sa.Column("reversed_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["merchant_id"], ["merchant.id"], name=op.f("fk_redemption_reversal_merchant_id_merchant")
        ),
        sa.ForeignKeyConstraint(
            ["redemption_id"], ["redemption.id"], name=op.f("fk_redemption_reversal_redemption_id_redemption")
        ),
        sa.ForeignKeyConstraint(["staff_id"], ["staff.id"], name=op.f("fk_redemption_reversal_staff_id_staff")),
        sa.PrimaryKeyConstraint("redemption_id", name=op.f("pk_redemption_reversal")),
    )
    op.create_index("ix_redemption_reversal_merchant_id", "redemption_reversal", ["merchant_id"], unique=False)
    op.create_table(
        "alliance_entry",
        sa.Column("transfer_id", sa.BigInteger(), nullable=False),
        sa.Column("party_id", sa.BigInteger(), nullable=False),
        sa.Column("fen", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("fen <> 0", name=op.f("ck_alliance_entry_fen")),
        sa.ForeignKeyConstraint(["party_id"], ["merchant.id"], name=op.f("fk_alliance_entry_party_id_merchant")),
        sa.ForeignKeyConstraint(
            ["transfer_id"], ["alliance_transfer.id"], name=op.f("fk_alliance_entry_transfer_id_alliance_transfer")
        ),
        sa.PrimaryKeyConstraint("transfer_id", "party_id", name=op.f("pk_alliance_entry")),
    )
    op.create_index("ix_alliance_entry_party_id", "alliance_entry", ["party_id"], unique=False)
    op.drop_constraint(op.f("ck_sign_in_step_purpose"), "sign_in_step")
    op.create_check_constraint(
        op.f("ck_sign_in_step_purpose"), "sign_in_step", "purpose IN ('oauth', 'second_factor', 'choose', 'owner')"
    )
    op.drop_constraint(op.f("ck_sign_in_step_oauth"), "sign_in_step")
    op.create_check_constraint(
        op.f("ck_sign_in_step_oauth"), "sign_in_step", "(purpose IN ('oauth', 'owner')) = (state_hash IS NOT NULL)"
    )


def guard() -> None:
    """What no code of ours may do, whatever it tries."""
    op.execute("""
        CREATE FUNCTION app_shown_code() RETURNS bytea LANGUAGE sql STABLE PARALLEL SAFE AS
        $$ SELECT decode(nullif(current_setting('app.shown_code', true), ''), 'hex') $$""")
    guard_coupons()
    guard_ledgers()
    guard_referrals()


def guard_coupons() -> None:
    # Only what is said about the future may change in a promise that has been approved.
    free = "ARRAY['stock', 'issued', 'budget_fen', 'committed_fen', 'state', 'refusals', 'is_public', 'per_day', 'keyword', 'is_in_tranches', 'review', 'reviewed_by', 'reviewed_at', 'review_reason', 'submitted_at']"
    op.execute(f"""
        CREATE FUNCTION coupon_template_steps() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF current_user <> '{PLATFORM}' AND NEW.review <> OLD.review AND NEW.review IN ('approved', 'rejected') THEN
                RAISE EXCEPTION 'only the operator decides' USING ERRCODE = 'insufficient_privilege';
            END IF;
            IF OLD.review = 'approved' AND
               (NEW.review <> 'approved' OR to_jsonb(NEW) - {free} IS DISTINCT FROM to_jsonb(OLD) - {free}) THEN
                RAISE EXCEPTION 'an approved promise does not change' USING ERRCODE = 'check_violation';
            END IF;
            IF (OLD.state = 'ended' AND NEW.state <> 'ended') OR (OLD.state <> 'draft' AND NEW.state = 'draft') THEN
                RAISE EXCEPTION 'a template goes from % to no %', OLD.state, NEW.state USING ERRCODE = 'check_violation';
            END IF;
            RETURN NEW;
        END $$""")
    op.execute("""
        CREATE TRIGGER coupon_template_steps BEFORE UPDATE ON coupon_template
        FOR EACH ROW EXECUTE FUNCTION coupon_template_steps()""")
    op.execute(f"""
        CREATE FUNCTION coupon_steps() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF (OLD.state, NEW.state) NOT IN ({COUPON_STEPS}) THEN
                RAISE EXCEPTION 'a coupon goes from % to no %', OLD.state, NEW.state USING ERRCODE = 'check_violation';
            END IF;
            RETURN NEW;
        END $$""")
    op.execute("""
        CREATE TRIGGER coupon_steps BEFORE UPDATE OF state ON coupon
        FOR EACH ROW WHEN (OLD.state IS DISTINCT FROM NEW.state) EXECUTE FUNCTION coupon_steps()""")
    # Who takes part says so itself; new conditions are a new question.
    op.execute(f"""
        CREATE FUNCTION coupon_acceptor_steps() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF current_user <> '{PLATFORM}' THEN
                IF NEW.state = 'agreed' AND OLD.state <> 'agreed' AND {TENANT} <> NEW.acceptor_id THEN
                    RAISE EXCEPTION 'only the acceptor agrees' USING ERRCODE = 'insufficient_privilege';
                END IF;
                IF (NEW.pays_percent, NEW.most) IS DISTINCT FROM (OLD.pays_percent, OLD.most)
                   AND {TENANT} <> NEW.merchant_id THEN
                    RAISE EXCEPTION 'only the issuer offers' USING ERRCODE = 'insufficient_privilege';
                END IF;
            END IF;
            IF NEW.pays_percent <> OLD.pays_percent AND NEW.state = 'agreed' THEN
                RAISE EXCEPTION 'new conditions have to be agreed to' USING ERRCODE = 'check_violation';
            END IF;
            RETURN NEW;
        END $$""")
    op.execute("""
        CREATE TRIGGER coupon_acceptor_steps BEFORE UPDATE ON coupon_acceptor
        FOR EACH ROW EXECUTE FUNCTION coupon_acceptor_steps()""")
    append_only("redemption", except_columns=("reversed_at",))
    append_only("redemption_reversal")


def guard_ledgers() -> None:
    append_only("points_transfer")
    append_only("points_entry")
    append_only("points_lot_use")
    append_only("alliance_transfer")
    append_only("alliance_entry")
    # An entry moves its account's balance; nothing else may, whoever asks (PT-3).
    op.execute("""
        CREATE FUNCTION points_entry_moves_balance() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            UPDATE points_account SET balance = balance + NEW.points WHERE id = NEW.account_id AND balance IS NOT NULL;
            RETURN NULL;
        END $$""")
    op.execute("""
        CREATE TRIGGER points_entry_moves_balance AFTER INSERT ON points_entry
        FOR EACH ROW EXECUTE FUNCTION points_entry_moves_balance()""")
    op.execute("""
        CREATE FUNCTION points_account_is_moved_by_entries() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF pg_trigger_depth() < 2 THEN
                RAISE EXCEPTION 'balances are moved by entries' USING ERRCODE = 'restrict_violation';
            END IF;
            RETURN NEW;
        END $$""")
    op.execute("""
        CREATE TRIGGER points_account_is_moved_by_entries BEFORE UPDATE OF balance ON points_account
        FOR EACH ROW EXECUTE FUNCTION points_account_is_moved_by_entries()""")
    for table, unit in (("points", "points"), ("alliance", "fen")):
        op.execute(f"""
            CREATE FUNCTION {table}_transfer_balances() RETURNS trigger LANGUAGE plpgsql AS $$
            DECLARE
                total bigint; entries integer; transfer bigint := to_jsonb(NEW) ->> TG_ARGV[0];
            BEGIN
                SELECT coalesce(sum({unit}), 0), count(*) INTO total, entries
                FROM {table}_entry WHERE transfer_id = transfer;
                IF total <> 0 OR entries < 2 THEN
                    RAISE EXCEPTION 'transfer % does not sum to zero', transfer USING ERRCODE = 'check_violation';
                END IF;
                RETURN NULL;
            END $$""")
        # On the transfer, for one without entries; on the entries, for one that comes later.
        for on, column in ((f"{table}_transfer", "id"), (f"{table}_entry", "transfer_id")):
            op.execute(f"""
                CREATE CONSTRAINT TRIGGER {on}_sums_to_zero AFTER INSERT ON {on}
                DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION {table}_transfer_balances('{column}')""")


def guard_referrals() -> None:
    append_only("referral")
    op.execute("""
        CREATE FUNCTION referral_is_new() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            -- Two who invite each other at the same moment are judged one after the other.
            PERFORM 1 FROM follower WHERE id IN (NEW.invitee_id, NEW.inviter_id) ORDER BY id FOR NO KEY UPDATE;
            IF (SELECT person_key FROM follower WHERE id = NEW.invitee_id)
               = (SELECT person_key FROM follower WHERE id = NEW.inviter_id) THEN
                RAISE EXCEPTION 'nobody invites themselves' USING ERRCODE = 'check_violation';
            END IF;
            IF (SELECT first_seen_at FROM follower WHERE id = NEW.invitee_id)
               <= (SELECT first_seen_at FROM follower WHERE id = NEW.inviter_id)
               OR EXISTS (SELECT 1 FROM referral WHERE inviter_id = NEW.invitee_id) THEN
                RAISE EXCEPTION 'whoever is invited is new here' USING ERRCODE = 'check_violation';
            END IF;
            RETURN NEW;
        END $$""")
    op.execute("""
        CREATE TRIGGER referral_is_new BEFORE INSERT ON referral FOR EACH ROW EXECUTE FUNCTION referral_is_new()""")


def close_to_others() -> None:
    """Who sees and writes what (TN-1, TN-2)."""
    for table in (
        "answered_call", "ledger_proof", "benefit_block", "owner_profile", "owner_session", "member_level",
        "points_account", "points_rule", "points_settings", "code_try", "coupon_template", "invite",
        "points_adjustment", "points_rule_day", "visit", "coupon", "coupon_acceptor", "coupon_template_day",
        "coupon_tranche", "points_lot", "points_offer", "coupon_gift", "referral_reward", "shown_code",
    ):  # fmt: skip
        protect(table)
    for table in ("points_transfer", "points_entry", "points_lot_use", "alliance_transfer", "alliance_entry",
                  "redemption_reversal", "referral"):  # fmt: skip
        protect(table, platform="SELECT, INSERT")
    protect("redemption", platform="SELECT, INSERT, UPDATE")
    open_to_owners_themselves()
    open_coupons()
    open_points()
    open_referrals()


def open_to_owners_themselves() -> None:
    mine = f"follower_id = {OWNER}"
    allow("answered_call", MERCHANT, "SELECT, INSERT, UPDATE", f"merchant_id = {TENANT}")
    allow("answered_call", FAN, "SELECT, INSERT, UPDATE", mine)
    is_my_session = "token_hash = app_session_hash()"
    allow("owner_session", FAN, "SELECT, DELETE", f"{is_my_session} OR {mine}")
    allow("owner_session", FAN, "UPDATE", is_my_session, columns="last_seen_at")
    allow("owner_profile", FAN, "SELECT, INSERT, UPDATE, DELETE", mine)
    # What is stored about them is theirs to read.
    allow("follower", FAN, "SELECT", f"id = {OWNER}",
          columns="id, account_id, status, state_as_of, first_seen_at, last_seen_at, erased_at")  # fmt: skip
    allow("fan", FAN, "SELECT", mine)
    allow("fan", FAN, "UPDATE", mine, columns="muted_at")
    for table in ("fan_tag", "follow_episode", "scan", "attribution", "inbox_event", "broadcast_recipient"):
        allow(table, FAN, "SELECT", mine)
    allow("opt_out", FAN, "SELECT, INSERT, DELETE", mine)
    allow("segment", FAN, "SELECT", "true")
    # Whoever shows a code at a till is known there for that long.
    op.execute(f"""
        CREATE POLICY follower_shown ON follower FOR SELECT TO {MERCHANT}
        USING (EXISTS (SELECT 1 FROM shown_code WHERE shown_code.follower_id = follower.id))""")


def open_coupons() -> None:
    own, mine = f"merchant_id = {TENANT}", f"follower_id = {OWNER}"
    accepted = f"EXISTS (SELECT 1 FROM coupon_acceptor a WHERE a.template_id = {{column}} AND a.acceptor_id = {TENANT})"
    allow("coupon_template", MERCHANT, "SELECT", f"{own} OR {accepted.format(column='coupon_template.id')}")
    allow("coupon_template", MERCHANT, "INSERT", f"{own} AND state = 'draft' AND review IN ('pending', 'withdrawn')")
    allow("coupon_template", MERCHANT, "UPDATE", own)
    allow("coupon_template", FAN, "SELECT", "state <> 'draft'")
    allow("coupon_template", FAN, "UPDATE", "state = 'live'", columns="issued, committed_fen")
    allow("coupon_tranche", MERCHANT, "SELECT, INSERT, UPDATE, DELETE", own)
    allow("coupon_tranche", FAN, "SELECT", "true")
    allow("coupon_template_day", MERCHANT, "SELECT, INSERT, UPDATE", own)
    allow("coupon_template_day", FAN, "SELECT, INSERT, UPDATE", "true")
    takes_part = f"{own} OR acceptor_id = {TENANT}"
    allow("coupon_acceptor", MERCHANT, "SELECT", takes_part)
    allow("coupon_acceptor", MERCHANT, "INSERT", f"{own} AND state = 'asked'")
    allow("coupon_acceptor", MERCHANT, "UPDATE", takes_part,
          columns="state, pays_percent, most, redeemed, asked_at, decided_at")  # fmt: skip
    allow("coupon_acceptor", FAN, "SELECT", "state = 'agreed'")
    at_my_till = f"{own} OR {accepted.format(column='coupon.template_id')}"
    allow("coupon", MERCHANT, "SELECT", at_my_till)
    allow("coupon", MERCHANT, "INSERT", own)
    changing = "state, uses_left, reserved_until, reserved_at_id, ended_at"
    allow("coupon", MERCHANT, "UPDATE", at_my_till, columns=changing)
    is_offered_to_me = (
        "EXISTS (SELECT 1 FROM coupon_gift g WHERE g.coupon_id = coupon.id AND g.token_hash = app_shown_code())"
    )
    allow("coupon", FAN, "SELECT", f"{mine} OR {is_offered_to_me}")
    allow("coupon", FAN, "INSERT", mine)
    allow("coupon", FAN, "UPDATE", f"{mine} OR {is_offered_to_me}", columns="state, ended_at")
    allow("coupon_gift", MERCHANT, "SELECT", own)
    allow("coupon_gift", FAN, "SELECT", f"{mine} OR token_hash = app_shown_code()")
    allow("coupon_gift", FAN, "INSERT", mine)
    allow("coupon_gift", FAN, "UPDATE", f"{mine} OR token_hash = app_shown_code()", columns="taken_at, cancelled_at")
    allow("shown_code", FAN, "SELECT, INSERT, DELETE", mine)
    was_shown = "app_shown_code() IN (token_hash, typed_hash)"
    allow("shown_code", MERCHANT, "SELECT", was_shown)
    allow("code_try", MERCHANT, "SELECT, INSERT, UPDATE", own)
    allow("redemption", MERCHANT, "SELECT", f"{own} OR issuer_id = {TENANT}")
    allow("redemption", MERCHANT, "INSERT", own)
    allow("redemption", MERCHANT, "UPDATE", own, columns="reversed_at")
    allow("redemption", FAN, "SELECT", mine)
    was_mine = "EXISTS (SELECT 1 FROM redemption r WHERE r.id = redemption_id)"
    allow("redemption_reversal", MERCHANT, "SELECT", f"{own} OR {was_mine}")
    allow("redemption_reversal", MERCHANT, "INSERT", own)
    allow("redemption_reversal", FAN, "SELECT", was_mine)
    allow("alliance_transfer", MERCHANT, "SELECT, INSERT", f"{TENANT} IN (payer_id, earner_id)")
    is_ours = "EXISTS (SELECT 1 FROM alliance_transfer t WHERE t.id = transfer_id)"
    allow("alliance_entry", MERCHANT, "SELECT, INSERT", is_ours)
    allow("benefit_block", MERCHANT, "SELECT", "true", columns="follower_id")
    allow("benefit_block", FAN, "SELECT", mine, columns="follower_id")
    # The names of those one has an alliance with.
    op.execute(f"""
        CREATE POLICY merchant_ally ON merchant FOR SELECT TO {MERCHANT} USING (EXISTS (
            SELECT 1 FROM coupon_acceptor a
            WHERE (a.merchant_id = merchant.id AND a.acceptor_id = {TENANT})
               OR (a.acceptor_id = merchant.id AND a.merchant_id = {TENANT})))""")


def open_points() -> None:
    own, mine = f"merchant_id = {TENANT}", f"follower_id = {OWNER}"
    is_empty = "(balance IS NULL OR balance = 0)"
    allow("points_account", MERCHANT, "SELECT", own)
    allow("points_account", MERCHANT, "INSERT", f"{own} AND {is_empty}")
    allow("points_account", MERCHANT, "UPDATE", own, columns="balance, debt")
    is_theirs = f"({mine} OR follower_id IS NULL)"
    allow("points_account", FAN, "SELECT", is_theirs)
    allow("points_account", FAN, "INSERT", f"{is_theirs} AND {is_empty}")
    allow("points_account", FAN, "UPDATE", mine, columns="balance, debt")
    of_my_transfer = "EXISTS (SELECT 1 FROM points_transfer t WHERE t.id = transfer_id)"
    of_my_account = f"EXISTS (SELECT 1 FROM points_account a WHERE a.id = account_id AND a.{mine})"
    for table, condition in (
        ("points_transfer", mine), ("points_entry", of_my_transfer), ("points_lot", of_my_account),
        ("points_lot_use", of_my_transfer),
    ):  # fmt: skip
        allow(table, MERCHANT, "SELECT, INSERT", own)
        allow(table, FAN, "SELECT, INSERT", condition)
    allow("points_lot", MERCHANT, "UPDATE", own, columns="remaining")
    allow("points_lot", FAN, "UPDATE", of_my_account, columns="remaining")
    allow("visit", MERCHANT, "SELECT, INSERT", own)
    allow("visit", MERCHANT, "UPDATE", own, columns="reversed_at")
    allow("visit", FAN, "SELECT", mine)
    allow("points_rule", MERCHANT, "SELECT, INSERT, UPDATE", own)
    allow("points_rule", FAN, "SELECT", "true")
    allow("points_rule_day", MERCHANT, "SELECT, INSERT, UPDATE", own)
    allow("points_rule_day", FAN, "SELECT, INSERT, UPDATE", is_theirs)
    allow("member_level", MERCHANT, "SELECT, INSERT, UPDATE, DELETE", own)
    allow("member_level", FAN, "SELECT", "true")
    allow("points_offer", MERCHANT, "SELECT, INSERT, UPDATE", own)
    allow("points_offer", FAN, "SELECT", "true")
    allow("points_offer", FAN, "UPDATE", "is_on", columns="taken")
    allow("points_settings", MERCHANT, "SELECT, INSERT, UPDATE", own)
    allow("points_adjustment", MERCHANT, "SELECT, INSERT", own)
    allow("points_adjustment", MERCHANT, "UPDATE", own, columns="state, decided_by, decided_at")


def open_referrals() -> None:
    own, mine = f"merchant_id = {TENANT}", f"follower_id = {OWNER}"
    allow("invite", MERCHANT, "SELECT", own)
    # Whoever is shown a card has to find it.
    allow("invite", FAN, "SELECT", "true")
    allow("invite", FAN, "INSERT", mine)
    allow("invite", FAN, "UPDATE", mine, columns="code_id, expires_at")
    allow("referral", MERCHANT, "SELECT", own)
    allow("referral", FAN, "SELECT", f"{OWNER} IN (invitee_id, inviter_id)")
    allow("referral_reward", MERCHANT, "SELECT", own)
    allow("referral_reward", MERCHANT, "INSERT", f"{own} AND state IN ('held', 'paid')")
    allow(
        "referral_reward",
        MERCHANT,
        "UPDATE",
        own,
        columns="state, transfer_id, decided_at",
        result=f"{own} AND state IN ('paid', 'reversed')",
    )
    allow("referral_reward", FAN, "SELECT", f"beneficiary_id = {OWNER}")
