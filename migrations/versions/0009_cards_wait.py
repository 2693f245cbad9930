"""A merchant's card waits for the operator: the merchant's own role hands in versions and changes nothing in force."""

import sqlalchemy as sa
from alembic import op

from migrations.tenancy import MERCHANT, TENANT, allow, protect

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "merchant_card",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("merchant_id", sa.BigInteger(), nullable=False),
        sa.Column("intro", sa.Text(), server_default="", nullable=False),
        sa.Column("address", sa.Text(), server_default="", nullable=False),
        sa.Column("hours", sa.Text(), server_default="", nullable=False),
        sa.Column("picture_id", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.Column("review", sa.Text(), server_default="pending", nullable=False),
        sa.Column("reviewed_by", sa.BigInteger(), nullable=True),
        sa.Column("reviewed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("review_reason", sa.Text(), server_default="", nullable=False),
        sa.CheckConstraint(
            "review IN ('pending', 'approved', 'rejected', 'withdrawn')", name=op.f("ck_merchant_card_review")
        ),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name=op.f("fk_merchant_card_merchant_id_merchant")),
        sa.ForeignKeyConstraint(
            ["merchant_id", "picture_id"],
            ["picture.merchant_id", "picture.id"],
            name=op.f("fk_merchant_card_merchant_id_picture"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_merchant_card")),
    )
    op.create_index("ix_merchant_card_pending", "merchant_card", ["id"], postgresql_where=sa.text("review = 'pending'"))
    op.create_index("ix_merchant_card_merchant_id", "merchant_card", ["merchant_id", "id"])
    protect("merchant_card")
    own = f"merchant_id = {TENANT}"
    allow("merchant_card", MERCHANT, "SELECT", own)
    allow("merchant_card", MERCHANT, "INSERT", own, columns="merchant_id, intro, address, hours, picture_id")
    # A merchant may take its version back, but never approve it.
    allow("merchant_card", MERCHANT, "UPDATE", own, columns="review", result=f"{own} AND review = 'withdrawn'")
    op.execute(f"REVOKE UPDATE (intro, address, hours, picture_id) ON merchant FROM {MERCHANT}")
    op.execute("DROP POLICY merchant_merchant_update ON merchant")
    # What is left is the right to lock: who adds a code is kept from being suspended meanwhile, and writes nothing.
    allow("merchant", MERCHANT, "UPDATE", f"id = {TENANT}", columns="intro", result="false")
