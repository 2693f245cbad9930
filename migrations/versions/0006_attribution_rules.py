"""Versions of the attribution rule, and the replays that were looked at before one was decided."""

import sqlalchemy as sa
from alembic import op

from migrations.tenancy import PLATFORM, append_only, protect

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "rule_replay",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("protection_days", sa.SmallInteger(), nullable=False),
        sa.Column("job_id", sa.BigInteger(), nullable=True),
        sa.Column("judged", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rule_replay")),
    )
    op.create_table(
        "rule_replay_move",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("replay_id", sa.BigInteger(), nullable=False),
        sa.Column("follower_id", sa.BigInteger(), nullable=False),
        sa.Column("followed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("former_merchant_id", sa.BigInteger(), nullable=True),
        sa.Column("merchant_id", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["replay_id"],
            ["rule_replay.id"],
            name=op.f("fk_rule_replay_move_replay_id_rule_replay"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["follower_id"], ["follower.id"], name=op.f("fk_rule_replay_move_follower_id_follower")
        ),
        sa.ForeignKeyConstraint(
            ["former_merchant_id"], ["merchant.id"], name=op.f("fk_rule_replay_move_former_merchant_id_merchant")
        ),
        sa.ForeignKeyConstraint(
            ["merchant_id"], ["merchant.id"], name=op.f("fk_rule_replay_move_merchant_id_merchant")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rule_replay_move")),
    )
    op.create_index("ix_rule_replay_move_replay_id_id", "rule_replay_move", ["replay_id", "id"])
    op.create_table(
        "attribution_rule",
        sa.Column("version", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("effective_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("protection_days", sa.SmallInteger(), nullable=False),
        sa.Column("decided_by", sa.BigInteger(), nullable=True),
        sa.Column("replay_id", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.Column("withdrawn_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("protection_days BETWEEN 0 AND 365", name=op.f("ck_attribution_rule_protection")),
        sa.ForeignKeyConstraint(
            ["replay_id"], ["rule_replay.id"], name=op.f("fk_attribution_rule_replay_id_rule_replay")
        ),
        sa.PrimaryKeyConstraint("version", name=op.f("pk_attribution_rule")),
    )
    # From before WeChat existed, so that every follow has its rule.
    op.execute(
        "INSERT INTO attribution_rule (version, effective_from, protection_days) VALUES (1, '2011-01-01 00:00+08', 30)"
    )
    append_only("attribution_rule", except_columns=("withdrawn_at",))
    for table in ("rule_replay", "rule_replay_move"):
        protect(table)
    # The same for all, and nobody's own.
    op.execute(f"GRANT SELECT, INSERT, UPDATE ON attribution_rule TO {PLATFORM}")
