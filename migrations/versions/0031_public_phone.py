"""The phone that a shop shows to everybody, on its card; the operator's contact at the shop stays the operator's."""

import sqlalchemy as sa
from alembic import op

from migrations.tenancy import FAN, MERCHANT

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("merchant", "merchant_card"):
        op.add_column(table, sa.Column("public_phone", sa.Text(), server_default="", nullable=False))
    op.execute(f"GRANT INSERT (public_phone) ON merchant_card TO {MERCHANT}")
    op.execute(f"GRANT SELECT (public_phone) ON merchant TO {FAN}")
