"""Approved articles as anybody reads them who has their address."""

import sqlalchemy as sa
from alembic import op

from migrations.tenancy import FAN, allow, protect

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "article_page",
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.BigInteger(), nullable=False),
        sa.Column("broadcast_id", sa.BigInteger(), nullable=False),
        sa.Column("variant", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("picture_id", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["merchant_id", "broadcast_id"],
            ["broadcast.merchant_id", "broadcast.id"],
            name=op.f("fk_article_page_merchant_id_broadcast_id_broadcast"),
        ),
        sa.ForeignKeyConstraint(
            ["merchant_id", "picture_id"],
            ["picture.merchant_id", "picture.id"],
            name=op.f("fk_article_page_merchant_id_picture_id_picture"),
        ),
        sa.PrimaryKeyConstraint("code", name=op.f("pk_article_page")),
        sa.UniqueConstraint("broadcast_id", "variant", name=op.f("uq_article_page_broadcast_id_variant")),
    )
    protect("article_page")
    # Its author's other words are nobody's business: the page itself is all that the public reads.
    allow("article_page", FAN, "SELECT", "true", columns="code, merchant_id, title, text, picture_id")
