"""Digests: the items in their order, and the compositions as approved."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.tenancy import MERCHANT, TENANT, allow, protect

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "digest_group",
        sa.Column("digest_id", sa.BigInteger(), nullable=False),
        sa.Column("no", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("items", postgresql.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("media_id", sa.Text(), nullable=True),
        sa.CheckConstraint("cardinality(items) BETWEEN 1 AND 8", name=op.f("ck_digest_group_items")),
        sa.CheckConstraint("no >= 1", name=op.f("ck_digest_group_no")),
        sa.CheckConstraint("size >= 0", name=op.f("ck_digest_group_size")),
        sa.ForeignKeyConstraint(["digest_id"], ["broadcast.id"], name=op.f("fk_digest_group_digest_id_broadcast")),
        sa.PrimaryKeyConstraint("digest_id", "no", name=op.f("pk_digest_group")),
    )
    op.create_table(
        "digest_item",
        sa.Column("digest_id", sa.BigInteger(), nullable=False),
        sa.Column("item_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("merchant_id", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.SmallInteger(), nullable=False),
        sa.Column("audience", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("planned", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("accepted", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("rejected", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("unknown", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("counted_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "least(audience, planned, accepted, rejected, unknown) >= 0", name=op.f("ck_digest_item_counts")
        ),
        sa.CheckConstraint("position >= 0", name=op.f("ck_digest_item_position")),
        sa.ForeignKeyConstraint(["digest_id"], ["broadcast.id"], name=op.f("fk_digest_item_digest_id_broadcast")),
        sa.ForeignKeyConstraint(
            ["merchant_id", "item_id"],
            ["broadcast.merchant_id", "broadcast.id"],
            name=op.f("fk_digest_item_merchant_id_item_id_broadcast"),
        ),
        sa.PrimaryKeyConstraint("digest_id", "item_id", name=op.f("pk_digest_item")),
    )
    op.create_index("ix_digest_item_item_id", "digest_item", ["item_id"], unique=False)
    for table in ("digest_group", "digest_item"):
        protect(table)
    # Of a digest a merchant learns what became of its own item, and nothing of the others in it.
    allow("digest_item", MERCHANT, "SELECT", f"merchant_id = {TENANT}")
    keep_what_was_approved()


def keep_what_was_approved() -> None:
    """Of a digest that is no draft any more only counts and the platform's drafts may still change (BC-9, BC-15)."""
    counts = "'audience', 'planned', 'accepted', 'rejected', 'unknown', 'counted_at'"
    for table, free in (("digest_item", counts), ("digest_group", "'size', 'media_id'")):
        op.execute(f"""
            CREATE FUNCTION {table}_is_drafted() RETURNS trigger LANGUAGE plpgsql AS $$
            DECLARE
                part {table} := CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
            BEGIN
                IF TG_OP = 'UPDATE' AND to_jsonb(NEW) - ARRAY[{free}] = to_jsonb(OLD) - ARRAY[{free}] THEN
                    RETURN NEW;
                END IF;
                PERFORM 1 FROM broadcast WHERE id = part.digest_id AND kind = 'digest' AND state = 'draft';
                IF NOT FOUND THEN
                    RAISE EXCEPTION 'a digest can only change while it is a draft' USING ERRCODE = 'check_violation';
                END IF;
                RETURN part;
            END $$""")
        op.execute(f"""
            CREATE TRIGGER {table}_is_drafted BEFORE INSERT OR UPDATE OR DELETE ON {table}
            FOR EACH ROW EXECUTE FUNCTION {table}_is_drafted()""")
