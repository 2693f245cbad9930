"""Coupon cards: the coupon that a broadcast's words and a welcome carry."""

import sqlalchemy as sa
from alembic import op

from migrations.tenancy import FAN, MERCHANT, allow

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

TEMPLATE = ["coupon_template.merchant_id", "coupon_template.id"]


def upgrade() -> None:
    for table in ("broadcast_words", "welcome"):
        op.add_column(table, sa.Column("template_id", sa.BigInteger(), nullable=True))
        op.create_foreign_key(
            op.f(f"fk_{table}_merchant_id_template_id_coupon_template"),
            table,
            "coupon_template",
            ["merchant_id", "template_id"],
            ["merchant_id", "id"],
        )
    op.create_check_constraint(op.f("ck_broadcast_words_card"), "broadcast_words",
                               "template_id IS NULL OR kind <> 'picture'")  # fmt: skip
    op.create_check_constraint(op.f("ck_welcome_card"), "welcome",
                               "template_id IS NULL OR (position = 0 AND kind <> 'image' AND merchant_id IS NOT NULL)")  # fmt: skip
    op.execute(f"GRANT INSERT (template_id), UPDATE (template_id) ON broadcast_words TO {MERCHANT}")
    op.execute(f"GRANT INSERT (template_id) ON welcome TO {MERCHANT}")
    # Whoever opens a card's link shows by it that a merchant gives the coupon away so.
    allow("welcome", FAN, "SELECT", "review = 'approved' AND template_id IS NOT NULL",
          columns="merchant_id, code_id, review, template_id")  # fmt: skip
    op.execute(f"GRANT SELECT (broadcast_id) ON short_link TO {FAN}")
    # How often the coupons of one broadcast were taken.
    op.create_index("ix_coupon_cause", "coupon", ["template_id", "cause"], unique=False)
