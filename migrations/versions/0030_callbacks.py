"""How the callback fares, minute by minute, and the ways into the events by who answered them."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.tenancy import protect

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "callback_minute",
        sa.Column("minute", sa.DateTime(timezone=True), nullable=False),
        *(
            sa.Column(name, sa.Integer(), nullable=False)
            for name in ("ok", "forbidden", "too_large", "unavailable", "other", "late")
        ),
        sa.Column("buckets", postgresql.ARRAY(sa.Integer()), nullable=False),
        sa.CheckConstraint("cardinality(buckets) = 12", name=op.f("ck_callback_minute_buckets")),
        sa.PrimaryKeyConstraint("minute", name=op.f("pk_callback_minute")),
    )
    op.create_table(
        "callback_failure",
        sa.Column("minute", sa.DateTime(timezone=True), nullable=False),
        sa.Column("status", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("times", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("minute", "status", "reason", "detail", name=op.f("pk_callback_failure")),
    )
    for table in ("callback_minute", "callback_failure"):
        protect(table)
    op.create_index(
        "ix_inbox_event_answered", "inbox_event", ["event_at", "answered_by"], unique=False,
        postgresql_where=sa.text("answered_by <> 'none'"),
    )  # fmt: skip
    op.create_index(
        "ix_inbox_event_unanswered", "inbox_event", ["event_at"], unique=False,
        postgresql_where=sa.text("answered_by = 'line'"),
    )  # fmt: skip
