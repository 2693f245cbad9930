"""A merchant's slogans wait for the operator like its card, and merchants see when nothing could be taken in."""

import sqlalchemy as sa
from alembic import op

from migrations.tenancy import MERCHANT, TENANT, allow, protect

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    let_slogans_wait()
    # For their reports. Which of our processes was away is nobody's business but ours.
    op.execute(f"GRANT SELECT (began_at, ended_at) ON outage TO {MERCHANT}")


def let_slogans_wait() -> None:
    op.create_table(
        "poster_slogan",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("merchant_id", sa.BigInteger(), nullable=False),
        sa.Column("slogan", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.Column("review", sa.Text(), server_default="pending", nullable=False),
        sa.Column("reviewed_by", sa.BigInteger(), nullable=True),
        sa.Column("reviewed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("review_reason", sa.Text(), server_default="", nullable=False),
        sa.CheckConstraint(
            "review IN ('pending', 'approved', 'rejected', 'withdrawn')", name=op.f("ck_poster_slogan_review")
        ),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name=op.f("fk_poster_slogan_merchant_id_merchant")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_poster_slogan")),
    )
    op.create_index("ix_poster_slogan_pending", "poster_slogan", ["id"], postgresql_where=sa.text("review = 'pending'"))
    op.create_index("ix_poster_slogan_merchant_id", "poster_slogan", ["merchant_id", "id"])
    # What hangs printed on walls already was within the rules of its day. The owner of the schema sees no rows of the
    # table by itself.
    op.execute("ALTER TABLE poster_look NO FORCE ROW LEVEL SECURITY")
    op.execute("""
        INSERT INTO poster_slogan (merchant_id, slogan, review)
        SELECT merchant_id, slogan, 'approved' FROM poster_look WHERE slogan <> ''""")
    op.execute("ALTER TABLE poster_look FORCE ROW LEVEL SECURITY")
    op.drop_column("poster_look", "slogan")
    protect("poster_slogan")
    own = f"merchant_id = {TENANT}"
    allow("poster_slogan", MERCHANT, "SELECT", own)
    # A merchant may hand in words and take them back, but never approve them.
    allow("poster_slogan", MERCHANT, "INSERT", own, columns="merchant_id, slogan")
    allow("poster_slogan", MERCHANT, "UPDATE", own, columns="review", result=f"{own} AND review = 'withdrawn'")
