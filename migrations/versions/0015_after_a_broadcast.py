"""Reading what became of a broadcast of a million: who muted when, and whose rows they are asked once, not by row."""

import sqlalchemy as sa
from alembic import op

from migrations.tenancy import TENANT

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "ix_fan_muted", "fan", ["merchant_id", "muted_at"], unique=False,
        postgresql_where=sa.text("muted_at IS NOT NULL"),
    )  # fmt: skip
    # As a subquery it is computed once for a statement.
    op.execute(
        f"ALTER POLICY broadcast_recipient_merchant_select ON broadcast_recipient USING (merchant_id = (SELECT {TENANT}))"
    )
