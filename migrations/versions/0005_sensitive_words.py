"""The operator's own list of words that merchants may not use, or only after a second look."""

import sqlalchemy as sa
from alembic import op

from migrations.tenancy import MERCHANT, allow, protect

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sensitive_word",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("account_id", sa.SmallInteger(), nullable=False),
        sa.Column("word", sa.Text(), nullable=False),
        sa.Column("comparable", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("advice", sa.Text(), server_default="", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.CheckConstraint("severity IN ('refused', 'doubtful')", name=op.f("ck_sensitive_word_severity")),
        sa.ForeignKeyConstraint(
            ["account_id"], ["official_account.id"], name=op.f("fk_sensitive_word_account_id_official_account")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sensitive_word")),
        sa.UniqueConstraint("account_id", "comparable", name=op.f("uq_sensitive_word_account_id_comparable")),
    )
    protect("sensitive_word")
    # What a merchant writes is checked under its own role.
    allow("sensitive_word", MERCHANT, "SELECT", "true", columns="id, word, severity, advice")
