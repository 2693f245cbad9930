"""Staff live in WeChat: bound identities, codes to bind and to sign in, second factors, notices, and test scans."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.tenancy import MERCHANT, TENANT, allow, protect

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    make_tables()
    say_who_may_see_what()


def make_tables() -> None:
    op.create_table(
        "code_trial",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("code_id", sa.BigInteger(), nullable=False),
        sa.Column("merchant_id", sa.BigInteger(), nullable=False),
        sa.Column("staff_id", sa.BigInteger(), nullable=False),
        sa.Column("armed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("expires_at > armed_at", name=op.f("ck_code_trial_order")),
        sa.ForeignKeyConstraint(["code_id"], ["sub_qr_code.id"], name=op.f("fk_code_trial_code_id_sub_qr_code")),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name=op.f("fk_code_trial_merchant_id_merchant")),
        sa.ForeignKeyConstraint(["staff_id"], ["staff.id"], name=op.f("fk_code_trial_staff_id_staff")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_code_trial")),
    )
    op.create_index(
        "ix_code_trial_code_id", "code_trial", ["code_id"], unique=False, postgresql_where=sa.text("used_at IS NULL")
    )
    op.create_index("ix_code_trial_merchant_id", "code_trial", ["merchant_id"], unique=False)
    op.create_table(
        "recovery_code",
        sa.Column("code_hash", sa.LargeBinary(), nullable=False),
        sa.Column("staff_id", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["staff_id"], ["staff.id"], name=op.f("fk_recovery_code_staff_id_staff")),
        sa.PrimaryKeyConstraint("code_hash", name=op.f("pk_recovery_code")),
    )
    op.create_index(op.f("ix_recovery_code_staff_id"), "recovery_code", ["staff_id"], unique=False)
    op.create_table(
        "second_factor",
        sa.Column("staff_id", sa.BigInteger(), nullable=False),
        sa.Column("seed", sa.Text(), nullable=False),
        sa.Column("confirmed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_step", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.ForeignKeyConstraint(["staff_id"], ["staff.id"], name=op.f("fk_second_factor_staff_id_staff")),
        sa.PrimaryKeyConstraint("staff_id", name=op.f("pk_second_factor")),
    )
    op.create_table(
        "sign_in_step",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("browser_hash", sa.LargeBinary(), nullable=False),
        sa.Column("state_hash", sa.LargeBinary(), nullable=True),
        sa.Column("staff_id", sa.BigInteger(), nullable=True),
        sa.Column("follower_id", sa.BigInteger(), nullable=True),
        sa.Column("target", sa.Text(), server_default="", nullable=False),
        sa.Column("by", sa.Text(), server_default="", nullable=False),
        sa.Column("tries", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("(purpose = 'choose') = (follower_id IS NOT NULL)", name=op.f("ck_sign_in_step_choose")),
        sa.CheckConstraint("(purpose = 'oauth') = (state_hash IS NOT NULL)", name=op.f("ck_sign_in_step_oauth")),
        sa.CheckConstraint(
            "(purpose = 'second_factor') = (staff_id IS NOT NULL)", name=op.f("ck_sign_in_step_second_factor")
        ),
        sa.CheckConstraint("purpose IN ('oauth', 'second_factor', 'choose')", name=op.f("ck_sign_in_step_purpose")),
        sa.ForeignKeyConstraint(["follower_id"], ["follower.id"], name=op.f("fk_sign_in_step_follower_id_follower")),
        sa.ForeignKeyConstraint(["staff_id"], ["staff.id"], name=op.f("fk_sign_in_step_staff_id_staff")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sign_in_step")),
        sa.UniqueConstraint("state_hash", name=op.f("uq_sign_in_step_state_hash")),
    )
    op.create_index("ix_sign_in_step_browser_hash", "sign_in_step", ["browser_hash"], unique=False)
    op.create_index("ix_sign_in_step_expires_at", "sign_in_step", ["expires_at"], unique=False)
    op.create_index(op.f("ix_sign_in_step_follower_id"), "sign_in_step", ["follower_id"], unique=False)
    op.create_table(
        "staff_identity",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("staff_id", sa.BigInteger(), nullable=False),
        sa.Column("merchant_id", sa.BigInteger(), nullable=True),
        sa.Column("follower_id", sa.BigInteger(), nullable=False),
        sa.Column("bound_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("unbound_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("unbound_at >= bound_at", name=op.f("ck_staff_identity_order")),
        sa.ForeignKeyConstraint(["follower_id"], ["follower.id"], name=op.f("fk_staff_identity_follower_id_follower")),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name=op.f("fk_staff_identity_merchant_id_merchant")),
        sa.ForeignKeyConstraint(["staff_id"], ["staff.id"], name=op.f("fk_staff_identity_staff_id_staff")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_staff_identity")),
    )
    op.create_index("ix_staff_identity_follower_id", "staff_identity", ["follower_id"], unique=False)
    op.create_index("ix_staff_identity_merchant_id", "staff_identity", ["merchant_id"], unique=False)
    op.create_index(
        "uq_staff_identity_open",
        "staff_identity",
        ["staff_id"],
        unique=True,
        postgresql_where=sa.text("unbound_at IS NULL"),
    )
    op.create_table(
        "staff_link",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("scene", sa.Text(), nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("browser_hash", sa.LargeBinary(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), server_default="", nullable=False),
        sa.Column("staff_id", sa.BigInteger(), nullable=True),
        sa.Column("merchant_id", sa.BigInteger(), nullable=True),
        sa.Column("state", sa.Text(), server_default="open", nullable=False),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("follower_id", sa.BigInteger(), nullable=True),
        sa.Column("scanned_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("(purpose = 'bind') = (staff_id IS NOT NULL)", name=op.f("ck_staff_link_staff")),
        sa.CheckConstraint("purpose IN ('bind', 'sign_in')", name=op.f("ck_staff_link_purpose")),
        sa.CheckConstraint(
            "state IN ('open', 'refused') OR follower_id IS NOT NULL", name=op.f("ck_staff_link_follower")
        ),
        sa.CheckConstraint(
            "state IN ('open', 'scanned', 'confirmed', 'used', 'refused')", name=op.f("ck_staff_link_state")
        ),
        sa.ForeignKeyConstraint(["follower_id"], ["follower.id"], name=op.f("fk_staff_link_follower_id_follower")),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name=op.f("fk_staff_link_merchant_id_merchant")),
        sa.ForeignKeyConstraint(["staff_id"], ["staff.id"], name=op.f("fk_staff_link_staff_id_staff")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_staff_link")),
        sa.UniqueConstraint("scene", name=op.f("uq_staff_link_scene")),
    )
    op.create_index("ix_staff_link_browser_hash", "staff_link", ["browser_hash"], unique=False)
    op.create_index("ix_staff_link_expires_at", "staff_link", ["expires_at"], unique=False)
    op.create_index(
        "ix_staff_link_follower_id",
        "staff_link",
        ["follower_id"],
        unique=False,
        postgresql_where=sa.text("follower_id IS NOT NULL"),
    )
    op.create_table(
        "staff_notice",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("merchant_id", sa.BigInteger(), nullable=False),
        sa.Column("staff_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), server_default="", nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("days", sa.SmallInteger(), nullable=True),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="on_page", nullable=False),
        sa.Column("window_id", sa.BigInteger(), nullable=True),
        sa.Column("calling_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("errcode", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "kind IN ('approved', 'refused', 'expiring', 'first_fan')", name=op.f("ck_staff_notice_kind")
        ),
        sa.CheckConstraint(
            "state IN ('on_page', 'planned', 'calling', 'sent', 'refused', 'unknown')",
            name=op.f("ck_staff_notice_state"),
        ),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name=op.f("fk_staff_notice_merchant_id_merchant")),
        sa.ForeignKeyConstraint(["staff_id"], ["staff.id"], name=op.f("fk_staff_notice_staff_id_staff")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_staff_notice")),
        sa.UniqueConstraint("staff_id", "cause", name=op.f("uq_staff_notice_staff_id_cause")),
    )
    op.create_index(
        "ix_staff_notice_calling",
        "staff_notice",
        ["calling_at"],
        unique=False,
        postgresql_where=sa.text("state = 'calling'"),
    )
    op.create_index("ix_staff_notice_created_at", "staff_notice", ["created_at"], unique=False)
    op.create_index(
        "ix_staff_notice_merchant_id_staff_id",
        "staff_notice",
        ["merchant_id", "staff_id", sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_index(
        "ix_staff_notice_window_id",
        "staff_notice",
        ["window_id"],
        unique=False,
        postgresql_where=sa.text("window_id IS NOT NULL"),
    )
    op.add_column("scan", sa.Column("by_staff", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.add_column("scan", sa.Column("is_test", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.add_column(
        "staff", sa.Column("muted_notices", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False)
    )


def say_who_may_see_what() -> None:
    for table in ("staff_identity", "staff_link", "sign_in_step", "second_factor", "recovery_code", "staff_notice",
                  "code_trial"):  # fmt: skip
        protect(table)
    own = f"merchant_id = {TENANT}"
    # Whose WeChat it is, is nobody's business at the shop; that one is bound, and the end of it, is.
    allow("staff_identity", MERCHANT, "SELECT", own, columns="id, staff_id, merchant_id, bound_at, unbound_at")
    allow("staff_identity", MERCHANT, "UPDATE", own, columns="unbound_at")
    allow("staff_notice", MERCHANT, "SELECT", own)
    allow("staff_notice", MERCHANT, "UPDATE", own, columns="read_at")
    allow("code_trial", MERCHANT, "SELECT", own)
    # A foreign key cannot say whose the code is, since codes may change hands; here a merchant sees its own only.
    is_my_code = "EXISTS (SELECT 1 FROM sub_qr_code WHERE sub_qr_code.id = code_trial.code_id)"
    allow("code_trial", MERCHANT, "INSERT", f"{own} AND {is_my_code}", columns="code_id, merchant_id, staff_id, armed_at, expires_at")  # fmt: skip
    op.execute(f"GRANT UPDATE (muted_notices) ON staff TO {MERCHANT}")
