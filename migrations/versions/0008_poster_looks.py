"""How a merchant's posters look."""

import sqlalchemy as sa
from alembic import op

from migrations.tenancy import MERCHANT, TENANT, allow, protect

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "poster_look",
        sa.Column("merchant_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("slogan", sa.Text(), server_default="", nullable=False),
        sa.Column("colour", sa.Text(), nullable=False),
        sa.Column("design", sa.Text(), nullable=False),
        sa.Column("with_picture", sa.Boolean(), nullable=False),
        sa.Column("with_logo", sa.Boolean(), nullable=False),
        sa.CheckConstraint("colour ~ '^#[0-9a-f]{6}$'", name=op.f("ck_poster_look_colour")),
        sa.CheckConstraint("design IN ('vivid', 'plain')", name=op.f("ck_poster_look_design")),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name=op.f("fk_poster_look_merchant_id_merchant")),
        sa.PrimaryKeyConstraint("merchant_id", name=op.f("pk_poster_look")),
    )
    protect("poster_look")
    allow("poster_look", MERCHANT, "SELECT, INSERT, UPDATE", f"merchant_id = {TENANT}")
