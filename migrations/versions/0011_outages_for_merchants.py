"""Merchants see when nothing could be taken in, so that their reports can say which days may lack something."""

from alembic import op

from migrations.tenancy import MERCHANT

revision = "0011"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Which of our processes was away is nobody's business but ours.
    op.execute(f"GRANT SELECT (began_at, ended_at) ON outage TO {MERCHANT}")
