"""The neighbourhood: the convenience directory, notices by building with who has read them, and where a shop is."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.tenancy import FAN, MERCHANT, allow, protect

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

OWNER = "app_follower_id()"
POSITION = """(latitude IS NULL) = (longitude IS NULL)
            AND latitude BETWEEN -90 AND 90 AND longitude BETWEEN -180 AND 180"""


def upgrade() -> None:
    op.create_unique_constraint(op.f("uq_community_account_id_id"), "community", ["account_id", "id"])
    place_merchants()
    make_tables()
    guard()
    close_to_others()


def place_merchants() -> None:
    """Where a shop is: proposed with its card, copied to its row once agreed to."""
    for table in ("merchant", "merchant_card"):
        op.add_column(table, sa.Column("latitude", sa.Numeric(9, 6), nullable=True))
        op.add_column(table, sa.Column("longitude", sa.Numeric(9, 6), nullable=True))
        op.create_check_constraint(op.f(f"ck_{table}_position"), table, POSITION)
    op.create_index("ix_merchant_position", "merchant", ["account_id", "latitude", "longitude"], unique=False,
                    postgresql_where=sa.text("latitude IS NOT NULL AND state = 'active'"))  # fmt: skip
    op.execute(f"GRANT SELECT (latitude, longitude) ON merchant TO {FAN}")
    op.execute(f"GRANT INSERT (latitude, longitude) ON merchant_card TO {MERCHANT}")


def make_tables() -> None:
    op.create_table(
        "directory_category",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("account_id", sa.SmallInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("aliases", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("position", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.CheckConstraint("cardinality(aliases) <= 20", name=op.f("ck_directory_category_aliases")),
        sa.ForeignKeyConstraint(
            ["account_id"], ["official_account.id"], name=op.f("fk_directory_category_account_id_official_account")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_directory_category")),
        sa.UniqueConstraint("account_id", "id", name=op.f("uq_directory_category_account_id_id")),
        sa.UniqueConstraint("account_id", "name", name=op.f("uq_directory_category_account_id_name")),
    )
    op.create_table(
        "directory_entry",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("account_id", sa.SmallInteger(), nullable=False),
        sa.Column("category_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("phone", sa.Text(), nullable=False),
        sa.Column("what", sa.Text(), server_default="", nullable=False),
        sa.Column("hours", sa.Text(), server_default="", nullable=False),
        sa.Column("address", sa.Text(), server_default="", nullable=False),
        sa.Column("comparable", sa.Text(), server_default="", nullable=False),
        sa.Column("position", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("paid_from", sa.DateTime(timezone=True), nullable=True),
        sa.Column("paid_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("merchant_id", sa.BigInteger(), nullable=True),
        sa.Column("is_on", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.CheckConstraint(
            "phone ~ '^[0-9]+(-[0-9]+)*$' AND length(phone) BETWEEN 3 AND 20", name=op.f("ck_directory_entry_phone")
        ),
        sa.CheckConstraint("(paid_from IS NULL) = (paid_until IS NULL)", name=op.f("ck_directory_entry_paid")),
        sa.CheckConstraint("paid_until > paid_from", name=op.f("ck_directory_entry_paid_order")),
        sa.ForeignKeyConstraint(
            ["account_id", "category_id"],
            ["directory_category.account_id", "directory_category.id"],
            name=op.f("fk_directory_entry_account_id_category_id_directory_category"),
        ),
        sa.ForeignKeyConstraint(
            ["account_id"], ["official_account.id"], name=op.f("fk_directory_entry_account_id_official_account")
        ),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name=op.f("fk_directory_entry_merchant_id_merchant")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_directory_entry")),
        sa.UniqueConstraint("account_id", "id", name=op.f("uq_directory_entry_account_id_id")),
    )
    op.create_index("ix_directory_entry_category", "directory_entry", ["category_id", "position", "id"], unique=False)
    op.create_index(
        "ix_directory_entry_merchant_id",
        "directory_entry",
        ["merchant_id"],
        unique=False,
        postgresql_where=sa.text("merchant_id IS NOT NULL"),
    )
    op.create_table(
        "directory_entry_community",
        sa.Column("account_id", sa.SmallInteger(), nullable=False),
        sa.Column("entry_id", sa.BigInteger(), nullable=False),
        sa.Column("community_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id", "community_id"],
            ["community.account_id", "community.id"],
            name=op.f("fk_directory_entry_community_account_id_community_id_community"),
        ),
        sa.ForeignKeyConstraint(
            ["account_id", "entry_id"],
            ["directory_entry.account_id", "directory_entry.id"],
            name=op.f("fk_directory_entry_community_account_id_entry_id_directory_entry"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("entry_id", "community_id", name=op.f("pk_directory_entry_community")),
    )
    op.create_index(
        "ix_directory_entry_community_community_id", "directory_entry_community", ["community_id"], unique=False
    )
    op.create_table(
        "building",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("community_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.ForeignKeyConstraint(["community_id"], ["community.id"], name=op.f("fk_building_community_id_community")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_building")),
        sa.UniqueConstraint("community_id", "id", name=op.f("uq_building_community_id_id")),
        sa.UniqueConstraint("community_id", "name", name=op.f("uq_building_community_id_name")),
    )
    op.create_table(
        "owner_home",
        sa.Column("follower_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("community_id", sa.BigInteger(), nullable=False),
        sa.Column("building_id", sa.BigInteger(), nullable=True),
        sa.Column("chosen_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["community_id", "building_id"],
            ["building.community_id", "building.id"],
            name=op.f("fk_owner_home_community_id_building_id_building"),
        ),
        sa.ForeignKeyConstraint(["community_id"], ["community.id"], name=op.f("fk_owner_home_community_id_community")),
        sa.ForeignKeyConstraint(["follower_id"], ["follower.id"], name=op.f("fk_owner_home_follower_id_follower")),
        sa.PrimaryKeyConstraint("follower_id", name=op.f("pk_owner_home")),
    )
    op.create_index("ix_owner_home_place", "owner_home", ["community_id", "building_id"], unique=False)
    op.create_table(
        "notice_picture",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("account_id", sa.SmallInteger(), nullable=False),
        sa.Column("public_id", sa.Text(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("mime", sa.Text(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.CheckConstraint("octet_length(content) <= 2097152", name=op.f("ck_notice_picture_size")),
        sa.ForeignKeyConstraint(
            ["account_id"], ["official_account.id"], name=op.f("fk_notice_picture_account_id_official_account")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notice_picture")),
        sa.UniqueConstraint("account_id", "id", name=op.f("uq_notice_picture_account_id_id")),
        sa.UniqueConstraint("account_id", "sha256", name=op.f("uq_notice_picture_account_id_sha256")),
        sa.UniqueConstraint("public_id", name=op.f("uq_notice_picture_public_id")),
    )
    op.create_table(
        "notice",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("account_id", sa.SmallInteger(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("words", sa.Text(), nullable=False),
        sa.Column("picture_id", sa.BigInteger(), nullable=True),
        sa.Column("state", sa.Text(), server_default="draft", nullable=False),
        sa.Column("is_pinned", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("is_paid", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("shown_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("shown_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_by", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.Column("published_by", sa.BigInteger(), nullable=True),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("withdrawn_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("forgotten_reads", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.CheckConstraint("state = 'draft' OR published_at IS NOT NULL", name=op.f("ck_notice_published")),
        sa.CheckConstraint("state IN ('draft', 'published', 'withdrawn')", name=op.f("ck_notice_state")),
        sa.CheckConstraint("NOT is_paid OR shown_until IS NOT NULL", name=op.f("ck_notice_paid")),
        sa.CheckConstraint("shown_until > shown_from", name=op.f("ck_notice_order")),
        sa.ForeignKeyConstraint(
            ["account_id", "picture_id"],
            ["notice_picture.account_id", "notice_picture.id"],
            name=op.f("fk_notice_account_id_picture_id_notice_picture"),
        ),
        sa.ForeignKeyConstraint(
            ["account_id"], ["official_account.id"], name=op.f("fk_notice_account_id_official_account")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notice")),
        sa.UniqueConstraint("account_id", "id", name=op.f("uq_notice_account_id_id")),
    )
    op.create_index("ix_notice_account_id", "notice", ["account_id", "id"], unique=False)
    op.create_index(
        "ix_notice_published",
        "notice",
        ["account_id", "shown_from"],
        unique=False,
        postgresql_where=sa.text("state = 'published'"),
    )
    op.create_table(
        "notice_place",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("account_id", sa.SmallInteger(), nullable=False),
        sa.Column("notice_id", sa.BigInteger(), nullable=False),
        sa.Column("community_id", sa.BigInteger(), nullable=False),
        sa.Column("building_id", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["account_id", "community_id"],
            ["community.account_id", "community.id"],
            name=op.f("fk_notice_place_account_id_community_id_community"),
        ),
        sa.ForeignKeyConstraint(
            ["account_id", "notice_id"],
            ["notice.account_id", "notice.id"],
            name=op.f("fk_notice_place_account_id_notice_id_notice"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["community_id", "building_id"],
            ["building.community_id", "building.id"],
            name=op.f("fk_notice_place_community_id_building_id_building"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notice_place")),
        sa.UniqueConstraint(
            "notice_id",
            "community_id",
            "building_id",
            name=op.f("uq_notice_place_notice_id_community_id_building_id"),
            postgresql_nulls_not_distinct=True,
        ),
    )
    op.create_index(
        "ix_notice_place_building_id",
        "notice_place",
        ["building_id"],
        unique=False,
        postgresql_where=sa.text("building_id IS NOT NULL"),
    )
    op.create_table(
        "notice_read",
        sa.Column("notice_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("follower_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.ForeignKeyConstraint(["follower_id"], ["follower.id"], name=op.f("fk_notice_read_follower_id_follower")),
        sa.ForeignKeyConstraint(["notice_id"], ["notice.id"], name=op.f("fk_notice_read_notice_id_notice")),
        sa.PrimaryKeyConstraint("notice_id", "follower_id", name=op.f("pk_notice_read")),
    )
    op.create_index("ix_notice_read_at", "notice_read", ["at"], unique=False)
    op.create_index("ix_notice_read_follower_id", "notice_read", ["follower_id"], unique=False)


def guard() -> None:
    """What is posted keeps its words: who wants to reword takes it down first."""
    op.execute("""
        CREATE FUNCTION notice_steps() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP = 'DELETE' THEN
                IF OLD.state = 'draft' THEN RETURN OLD; END IF;
                RAISE EXCEPTION 'what was posted is kept' USING ERRCODE = 'restrict_violation';
            END IF;
            IF NEW.state <> OLD.state AND (OLD.state, NEW.state) NOT IN (
                ('draft', 'published'), ('published', 'withdrawn'), ('withdrawn', 'published')) THEN
                RAISE EXCEPTION 'a notice goes from % to no %', OLD.state, NEW.state USING ERRCODE = 'check_violation';
            END IF;
            IF OLD.state = 'published' AND (NEW.account_id, NEW.title, NEW.words, NEW.picture_id, NEW.is_paid,
                                            NEW.shown_from, NEW.shown_until)
               IS DISTINCT FROM (OLD.account_id, OLD.title, OLD.words, OLD.picture_id, OLD.is_paid,
                                 OLD.shown_from, OLD.shown_until) THEN
                RAISE EXCEPTION 'take it down before rewording it' USING ERRCODE = 'restrict_violation';
            END IF;
            RETURN NEW;
        END $$""")
    op.execute("""
        CREATE TRIGGER notice_steps BEFORE UPDATE OR DELETE ON notice
        FOR EACH ROW EXECUTE FUNCTION notice_steps()""")


def close_to_others() -> None:
    """Owners read what is in force; merchants have no part in it."""
    for table in ("directory_category", "directory_entry", "directory_entry_community", "building", "owner_home",
                  "notice_picture", "notice", "notice_place", "notice_read"):  # fmt: skip
        protect(table)
    allow("directory_category", FAN, "SELECT", "true")
    allow("directory_entry", FAN, "SELECT", "is_on")
    is_listed = "EXISTS (SELECT 1 FROM directory_entry e WHERE e.id = directory_entry_community.entry_id)"
    allow("directory_entry_community", FAN, "SELECT", is_listed)
    allow("building", FAN, "SELECT", "true")
    mine = f"follower_id = {OWNER}"
    allow("owner_home", FAN, "SELECT, INSERT, UPDATE, DELETE", mine)
    is_shown = "state = 'published' AND shown_from <= app_now() AND (shown_until IS NULL OR shown_until > app_now())"
    allow("notice", FAN, "SELECT", is_shown,
          columns="id, account_id, title, words, picture_id, state, is_pinned, is_paid, shown_from, shown_until")  # fmt: skip
    allow("notice_place", FAN, "SELECT", "EXISTS (SELECT 1 FROM notice n WHERE n.id = notice_place.notice_id)")
    allow("notice_picture", FAN, "SELECT", "EXISTS (SELECT 1 FROM notice n WHERE n.picture_id = notice_picture.id)")
    allow("notice_read", FAN, "SELECT", mine)
    is_of_what_is_shown = "EXISTS (SELECT 1 FROM notice n WHERE n.id = notice_read.notice_id)"
    allow("notice_read", FAN, "INSERT", f"{mine} AND {is_of_what_is_shown}")
