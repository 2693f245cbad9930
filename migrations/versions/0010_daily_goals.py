"""A code may have a goal: new followers a day that whoever carries it should bring; and a code's follows are found."""

import sqlalchemy as sa
from alembic import op

from migrations.tenancy import MERCHANT

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("sub_qr_code", sa.Column("daily_goal", sa.SmallInteger(), nullable=True))
    op.create_check_constraint(op.f("ck_sub_qr_code_daily_goal"), "sub_qr_code", "daily_goal BETWEEN 1 AND 10000")
    op.execute(f"GRANT UPDATE (daily_goal) ON sub_qr_code TO {MERCHANT}")
    # Goals leave out what staff and trials bring: a few scans among very many.
    op.create_index(
        "ix_scan_left_out", "scan", ["code_id", "scanned_at"], postgresql_where=sa.text("by_staff OR is_test")
    )
    # Whoever opens a figure of one code wants its follows, of however many years.
    op.create_index("ix_attribution_code_id_followed_at", "attribution", ["code_id", "followed_at"])
