"""Debts of points have their record; a person's own accounts are what their entries are judged by."""

import sqlalchemy as sa
from alembic import op

from migrations.tenancy import FAN, MERCHANT, TENANT, allow, append_only, protect

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

OWNER = "app_follower_id()"


def upgrade() -> None:
    op.create_table(
        "points_debt",
        sa.Column("transfer_id", sa.BigInteger(), nullable=False),
        sa.Column("merchant_id", sa.BigInteger(), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("points", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.CheckConstraint("points > 0", name=op.f("ck_points_debt_points")),
        sa.ForeignKeyConstraint(
            ["merchant_id", "account_id"],
            ["points_account.merchant_id", "points_account.id"],
            name=op.f("fk_points_debt_merchant_id_account_id_points_account"),
        ),
        sa.ForeignKeyConstraint(
            ["merchant_id", "transfer_id"],
            ["points_transfer.merchant_id", "points_transfer.id"],
            name=op.f("fk_points_debt_merchant_id_transfer_id_points_transfer"),
        ),
        sa.PrimaryKeyConstraint("transfer_id", name=op.f("pk_points_debt")),
    )
    op.create_index("ix_points_debt_account_id", "points_debt", ["account_id"], unique=False)
    # What waits to vest is found without reading everything that ever did.
    op.create_index(
        "ix_points_account_pending",
        "points_account",
        ["id"],
        unique=False,
        postgresql_where=sa.text("kind = 'pending' AND balance > 0"),
    )
    op.add_column("points_account", sa.Column("emptied_at", sa.DateTime(timezone=True), nullable=True))
    append_only("points_debt")
    protect("points_debt", platform="SELECT, INSERT")
    allow("points_debt", MERCHANT, "SELECT, INSERT", f"merchant_id = {TENANT}")
    allow(
        "points_debt",
        FAN,
        "SELECT",
        f"EXISTS (SELECT 1 FROM points_account a WHERE a.id = account_id AND a.follower_id = {OWNER})",
    )
    # A transfer is written by one statement, within which its own row cannot be seen yet.
    op.execute("DROP POLICY points_entry_fan_insert ON points_entry")
    op.execute(f"""
        CREATE POLICY points_entry_fan_insert ON points_entry FOR INSERT TO {FAN} WITH CHECK (EXISTS (
            SELECT 1 FROM points_account a
            WHERE a.id = account_id AND (a.follower_id = {OWNER} OR a.follower_id IS NULL)))""")
    op.execute("DROP POLICY points_lot_use_fan_insert ON points_lot_use")
    op.execute(f"""
        CREATE POLICY points_lot_use_fan_insert ON points_lot_use FOR INSERT TO {FAN}
        WITH CHECK (EXISTS (SELECT 1 FROM points_lot l WHERE l.id = lot_id))""")
