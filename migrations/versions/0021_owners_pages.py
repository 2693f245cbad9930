"""The ticket that pages are signed with, and what is stored about somebody is theirs to read to the last column."""

import sqlalchemy as sa
from alembic import op

from migrations.tenancy import FAN, protect

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "wechat_ticket",
        sa.Column("app_id", sa.Text(), nullable=False),
        sa.Column("ticket", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("app_id", name=op.f("pk_wechat_ticket")),
    )
    protect("wechat_ticket")
    op.execute(f"GRANT SELECT (openid) ON follower TO {FAN}")
