"""Reply rules, their versions, and messages that follow a rule's first answer."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.tenancy import MERCHANT, TENANT, allow, protect, turn_the_page

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    make_tables()
    say_who_may_see_what()
    follow_rules()
    keep_the_book()
    count_answers()


def make_tables() -> None:
    op.create_table(
        "reply_rule",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("account_id", sa.SmallInteger(), nullable=False),
        sa.Column("merchant_id", sa.BigInteger(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("priority", sa.SmallInteger(), server_default=sa.text("5"), nullable=False),
        sa.Column("is_on", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("hours", postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("priority BETWEEN 0 AND 9", name=op.f("ck_reply_rule_priority")),
        sa.CheckConstraint("char_length(name) BETWEEN 1 AND 30", name=op.f("ck_reply_rule_name")),
        sa.ForeignKeyConstraint(
            ["account_id"], ["official_account.id"], name=op.f("fk_reply_rule_account_id_official_account")
        ),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name=op.f("fk_reply_rule_merchant_id_merchant")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reply_rule")),
        sa.UniqueConstraint("merchant_id", "id", name=op.f("uq_reply_rule_merchant_id_id")),
    )
    op.create_index("ix_reply_rule_owner", "reply_rule", ["account_id", "merchant_id"],
                    unique=False, postgresql_where=sa.text("deleted_at IS NULL"))  # fmt: skip
    op.create_table(
        "reply_rule_version",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("rule_id", sa.BigInteger(), nullable=False),
        sa.Column("merchant_id", sa.BigInteger(), nullable=True),
        sa.Column("patterns", postgresql.JSONB(), nullable=False),
        sa.Column("occasions", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("answers", postgresql.JSONB(), nullable=False),
        sa.Column("hands_over", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.Column("review", sa.Text(), server_default="pending", nullable=False),
        sa.Column("reviewed_by", sa.BigInteger(), nullable=True),
        sa.Column("reviewed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("review_reason", sa.Text(), server_default="", nullable=False),
        sa.CheckConstraint(
            "review IN ('pending', 'approved', 'rejected', 'withdrawn')", name=op.f("ck_reply_rule_version_review")
        ),
        sa.CheckConstraint("jsonb_array_length(patterns) <= 20", name=op.f("ck_reply_rule_version_patterns")),
        sa.CheckConstraint(
            "jsonb_array_length(patterns) > 0 OR cardinality(occasions) > 0", name=op.f("ck_reply_rule_version_hears")
        ),
        sa.CheckConstraint("jsonb_array_length(answers) <= 3", name=op.f("ck_reply_rule_version_answers")),
        sa.CheckConstraint("jsonb_array_length(answers) > 0 OR hands_over", name=op.f("ck_reply_rule_version_says")),
        sa.CheckConstraint("merchant_id IS NOT NULL OR NOT hands_over", name=op.f("ck_reply_rule_version_hands_over")),
        sa.ForeignKeyConstraint(["rule_id"], ["reply_rule.id"], name=op.f("fk_reply_rule_version_rule_id_reply_rule")),
        sa.ForeignKeyConstraint(
            ["merchant_id"], ["merchant.id"], name=op.f("fk_reply_rule_version_merchant_id_merchant")
        ),
        sa.ForeignKeyConstraint(
            ["merchant_id", "rule_id"],
            ["reply_rule.merchant_id", "reply_rule.id"],
            name=op.f("fk_reply_rule_version_merchant_id_rule_id_reply_rule"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reply_rule_version")),
    )
    op.create_index("ix_reply_rule_version_rule_id", "reply_rule_version", ["rule_id", "id"], unique=False)
    op.create_index("uq_reply_rule_version_approved", "reply_rule_version", ["rule_id"],
                    unique=True, postgresql_where=sa.text("review = 'approved'"))  # fmt: skip
    op.create_index("ix_reply_rule_version_pending", "reply_rule_version", ["id"],
                    unique=False, postgresql_where=sa.text("review = 'pending'"))  # fmt: skip


def say_who_may_see_what() -> None:
    protect("reply_rule")
    protect("reply_rule_version")
    own = f"merchant_id = {TENANT}"
    # The platform's rules in force answer a merchant's customers too, so its tester shows them; its drafts are not.
    allow("reply_rule", MERCHANT, "SELECT", f"{own} OR (merchant_id IS NULL AND is_on AND deleted_at IS NULL)")
    allow("reply_rule", MERCHANT, "INSERT", own, columns="account_id, merchant_id, name, priority, is_on, hours")
    allow("reply_rule", MERCHANT, "UPDATE", own, columns="name, priority, is_on, hours, deleted_at")
    allow(
        "reply_rule_version",
        MERCHANT,
        "SELECT",
        f"""{own} OR (merchant_id IS NULL AND review = 'approved' AND EXISTS (
            SELECT 1 FROM reply_rule WHERE reply_rule.id = reply_rule_version.rule_id))""",
    )
    allow(
        "reply_rule_version",
        MERCHANT,
        "INSERT",
        own,
        columns="rule_id, merchant_id, patterns, occasions, answers, hands_over",
    )
    # A merchant may take its words back, but never approve them.
    allow("reply_rule_version", MERCHANT, "UPDATE", own, columns="review", result=f"{own} AND review = 'withdrawn'")
    # What was agreed to, or refused, stays as evidence; of the rest only the last ones are kept.
    allow("reply_rule_version", MERCHANT, "DELETE", f"{own} AND review = 'withdrawn' AND reviewed_at IS NULL")


def follow_rules() -> None:
    """A message that follows is a welcome's or a rule's."""
    op.add_column("follow_up", sa.Column("rule_id", sa.BigInteger(), nullable=True))
    op.create_foreign_key(op.f("fk_follow_up_rule_id_reply_rule"), "follow_up", "reply_rule", ["rule_id"], ["id"])
    op.alter_column("follow_up", "welcome_id", nullable=True)
    op.create_check_constraint(op.f("ck_follow_up_of"), "follow_up", "num_nonnulls(welcome_id, rule_id) = 1")


def keep_the_book() -> None:
    """Whoever holds the rules in force learns of every change, also of a picture that has arrived at the platform."""
    for table in ("reply_rule", "reply_rule_version"):
        turn_the_page(table)
    turn_the_page("picture", "UPDATE OF media_id, wechat_url")


def count_answers() -> None:
    """How often a rule answered; of its own rules a merchant learns how often and when, and nothing else."""
    op.create_index("ix_inbox_event_rule_id", "inbox_event", ["rule_id", "event_at"],
                    unique=False, postgresql_where=sa.text("rule_id IS NOT NULL"))  # fmt: skip
    allow("inbox_event", MERCHANT, "SELECT", f"merchant_id = {TENANT} AND rule_id IS NOT NULL",
          columns="rule_id, merchant_id, event_at")  # fmt: skip
