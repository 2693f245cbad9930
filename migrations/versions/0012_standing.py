"""What neighbours bring each other, and where merchants stand on the front page."""

import sqlalchemy as sa
from alembic import op

from migrations.tenancy import FAN, MERCHANT, PLATFORM, TENANT, allow, protect

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "neighbour_exchange",
        sa.Column("merchant_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("neighbour_id", sa.BigInteger(), autoincrement=False, nullable=False),
        *(
            sa.Column(f"{what}_{way}", sa.Integer(), nullable=False)
            for way in ("given", "received")
            for what in ("followers", "visits")
        ),
        sa.PrimaryKeyConstraint("merchant_id", "neighbour_id", name=op.f("pk_neighbour_exchange")),
    )
    op.create_index(
        "ix_neighbour_exchange_givers", "neighbour_exchange",
        [sa.text("followers_given DESC"), sa.text("visits_given DESC"), "merchant_id", "neighbour_id"], unique=False,
        postgresql_where=sa.text("ROW(followers_given, neighbour_id) > ROW(followers_received, merchant_id)"),
    )  # fmt: skip
    op.create_table(
        "merchant_standing",
        sa.Column("merchant_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("community_id", sa.BigInteger(), nullable=False),
        sa.Column("until", sa.Date(), nullable=False),
        *(
            sa.Column(name, sa.Integer(), nullable=False)
            for name in ("people", "by_staff", "left_soon", "in_bursts", "given", "received", "points", "rank")
        ),
        sa.ForeignKeyConstraint(
            ["merchant_id"], ["merchant.id"], name=op.f("fk_merchant_standing_merchant_id_merchant")
        ),
        sa.PrimaryKeyConstraint("merchant_id", name=op.f("pk_merchant_standing")),
    )
    op.create_index("ix_merchant_standing_community_id", "merchant_standing", ["community_id", "rank"], unique=False)
    op.create_table(
        "rank_policy",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("most_people", sa.Integer(), server_default=sa.text("100"), nullable=False),
        sa.Column("most_an_hour", sa.Integer(), server_default=sa.text("10"), nullable=False),
        sa.Column("points_for_given", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("most_for_given", sa.Integer(), server_default=sa.text("20"), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_rank_policy_single")),
        sa.CheckConstraint("most_people BETWEEN 1 AND 10000", name=op.f("ck_rank_policy_most_people")),
        sa.CheckConstraint("most_an_hour BETWEEN 1 AND 1000", name=op.f("ck_rank_policy_most_an_hour")),
        sa.CheckConstraint("points_for_given BETWEEN 0 AND 10", name=op.f("ck_rank_policy_points_for_given")),
        sa.CheckConstraint("most_for_given BETWEEN 0 AND 10000", name=op.f("ck_rank_policy_most_for_given")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rank_policy")),
    )
    op.execute("INSERT INTO rank_policy (id) VALUES (1)")

    protect("neighbour_exchange")
    allow("neighbour_exchange", MERCHANT, "SELECT", f"merchant_id = {TENANT}")
    protect("merchant_standing")
    allow("merchant_standing", MERCHANT, "SELECT", f"merchant_id = {TENANT}")
    # In which order shops are shown is what the public page shows.
    allow("merchant_standing", FAN, "SELECT", "true", columns="merchant_id, community_id, rank")
    # The formula is everybody's to know.
    op.execute(f"GRANT SELECT, UPDATE ON rank_policy TO {PLATFORM}")
    op.execute(f"GRANT SELECT ON rank_policy TO {MERCHANT}, {FAN}")
