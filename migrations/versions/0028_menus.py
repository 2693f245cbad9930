"""The account's menu: a draft, every version it was given, and the menu it was last seen with."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.tenancy import protect

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None

NOW = sa.text("app_now()")


def upgrade() -> None:
    make_tables()
    for table in ("menu_draft", "menu_seen"):
        protect(table)
    protect("menu_version", platform="SELECT, INSERT, UPDATE (state, errcode, published_at, replaced_at)")
    guard()


def make_tables() -> None:
    op.create_table(
        "menu_draft",
        sa.Column("account_id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("buttons", postgresql.JSONB(), nullable=False),
        sa.Column("version", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("edited_by", sa.BigInteger(), nullable=True),
        sa.Column("edited_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["official_account.id"], name=op.f("fk_menu_draft_account_id_official_account")
        ),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_menu_draft")),
    )
    op.create_table(
        "menu_seen",
        sa.Column("account_id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("buttons", postgresql.JSONB(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["official_account.id"], name=op.f("fk_menu_seen_account_id_official_account")
        ),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_menu_seen")),
    )
    op.create_table(
        "menu_version",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("account_id", sa.SmallInteger(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("of_id", sa.BigInteger(), nullable=True),
        sa.Column("buttons", postgresql.JSONB(), nullable=False),
        sa.Column("note", sa.Text(), server_default="", nullable=False),
        sa.Column("made_by", sa.BigInteger(), nullable=True),
        sa.Column("made_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.Column("state", sa.Text(), server_default="calling", nullable=False),
        sa.Column("errcode", sa.Integer(), nullable=True),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("replaced_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "origin IN ('written', 'rolled_back', 'adopted', 'deleted')", name=op.f("ck_menu_version_origin")
        ),
        sa.CheckConstraint(
            "state IN ('calling', 'published', 'refused', 'unknown', 'failed')", name=op.f("ck_menu_version_state")
        ),
        sa.CheckConstraint(
            "(state = 'published') = (published_at IS NOT NULL)", name=op.f("ck_menu_version_published")
        ),
        sa.CheckConstraint("replaced_at IS NULL OR replaced_at >= published_at", name=op.f("ck_menu_version_replaced")),
        sa.CheckConstraint("(origin = 'rolled_back') = (of_id IS NOT NULL)", name=op.f("ck_menu_version_of")),
        sa.ForeignKeyConstraint(
            ["account_id"], ["official_account.id"], name=op.f("fk_menu_version_account_id_official_account")
        ),
        sa.ForeignKeyConstraint(["of_id"], ["menu_version.id"], name=op.f("fk_menu_version_of_id_menu_version")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_menu_version")),
    )
    op.create_index(
        "uq_menu_version_in_force", "menu_version", ["account_id"], unique=True,
        postgresql_where=sa.text("state = 'published' AND replaced_at IS NULL"),
    )  # fmt: skip
    op.create_index(
        "uq_menu_version_calling", "menu_version", ["account_id"], unique=True,
        postgresql_where=sa.text("state = 'calling'"),
    )  # fmt: skip


def guard() -> None:
    """What a version says never changes; what became of it changes by steps, and a replaced one stays replaced."""
    op.execute("""
        CREATE FUNCTION menu_version_steps() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP = 'DELETE' THEN
                RAISE EXCEPTION 'menu_version is append-only' USING ERRCODE = 'restrict_violation';
            END IF;
            IF to_jsonb(NEW) - '{state,errcode,published_at,replaced_at}'::text[]
               <> to_jsonb(OLD) - '{state,errcode,published_at,replaced_at}'::text[]
               OR (OLD.published_at IS NOT NULL AND NEW.published_at <> OLD.published_at)
               OR (OLD.replaced_at IS NOT NULL AND NEW.replaced_at IS DISTINCT FROM OLD.replaced_at) THEN
                RAISE EXCEPTION 'a version of the menu stays as it was made' USING ERRCODE = 'restrict_violation';
            END IF;
            IF NEW.state <> OLD.state AND (OLD.state, NEW.state) NOT IN (
                ('calling', 'published'), ('calling', 'refused'), ('calling', 'unknown'), ('unknown', 'published'),
                ('unknown', 'failed')) THEN
                RAISE EXCEPTION 'a menu goes from % to no %', OLD.state, NEW.state USING ERRCODE = 'check_violation';
            END IF;
            RETURN NEW;
        END $$""")
    op.execute("""
        CREATE TRIGGER menu_version_steps BEFORE UPDATE OR DELETE ON menu_version
        FOR EACH ROW EXECUTE FUNCTION menu_version_steps()""")
