"""The conversation: whom an owner talks to, the question that was put to them, who answered each event, and which page
of what answers are made of changed when."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.tenancy import FAN, PLATFORM, allow, protect, turn_the_page

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

OWNER = "app_follower_id()"


def upgrade() -> None:
    op.create_table(
        "context_choice",
        sa.Column("inbox_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("follower_id", sa.BigInteger(), nullable=False),
        sa.Column("merchant_id", sa.BigInteger(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.CheckConstraint("by IN ('name', 'number', 'menu', 'only')", name=op.f("ck_context_choice_by")),
        sa.CheckConstraint(
            "merchant_id IS NOT NULL OR by IN ('name', 'menu')", name=op.f("ck_context_choice_merchant")
        ),
        sa.ForeignKeyConstraint(["follower_id"], ["follower.id"], name=op.f("fk_context_choice_follower_id_follower")),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name=op.f("fk_context_choice_merchant_id_merchant")),
        sa.PrimaryKeyConstraint("inbox_id", name=op.f("pk_context_choice")),
    )
    op.create_index("ix_context_choice_follower_id_at", "context_choice", ["follower_id", "at"], unique=False)
    op.create_index("ix_context_choice_at", "context_choice", ["at"], unique=False)
    op.create_table(
        "pending_question",
        sa.Column("follower_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("options", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("inbox_ids", postgresql.ARRAY(sa.BigInteger()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("enquiry_id", sa.BigInteger(), nullable=True),
        sa.Column("put_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.CheckConstraint("kind IN ('merchant', 'satisfaction')", name=op.f("ck_pending_question_kind")),
        sa.CheckConstraint(
            "(kind = 'satisfaction') = (enquiry_id IS NOT NULL)", name=op.f("ck_pending_question_enquiry")
        ),
        sa.CheckConstraint("expires_at <= asked_at + interval '24 hours'", name=op.f("ck_pending_question_a_day")),
        sa.CheckConstraint("jsonb_typeof(options) = 'array'", name=op.f("ck_pending_question_options")),
        sa.ForeignKeyConstraint(
            ["follower_id"], ["follower.id"], name=op.f("fk_pending_question_follower_id_follower")
        ),
        sa.PrimaryKeyConstraint("follower_id", name=op.f("pk_pending_question")),
    )
    op.create_index("ix_pending_question_expires_at", "pending_question", ["expires_at"], unique=False)
    op.create_table(
        "answer_book",
        sa.Column("page", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("page", name=op.f("pk_answer_book")),
        sa.UniqueConstraint("number", name=op.f("uq_answer_book_number")),
    )
    for column, kind in (("answered_by", sa.Text()), ("rule_id", sa.BigInteger()), ("merchant_id", sa.BigInteger())):
        op.add_column("inbox_event", sa.Column(column, kind, nullable=True))
    op.create_check_constraint(op.f("ck_inbox_event_rule"), "inbox_event", "rule_id IS NULL OR answered_by = 'rule'")
    keep_last_wishes()
    close_to_others()
    keep_the_book()


def keep_last_wishes() -> None:
    """When somebody last said whether they want a merchant's news, or anybody's."""
    for table in ("fan", "follower"):
        op.add_column(table, sa.Column("wished_at", sa.DateTime(timezone=True), nullable=True))
    op.execute(f"GRANT UPDATE (wished_at) ON fan TO {FAN}")
    allow("follower", FAN, "UPDATE", f"id = {OWNER}", columns="wished_at")


def close_to_others() -> None:
    # A choice is made once: it goes with the person or with time, and is never another one.
    protect("context_choice", platform="SELECT, INSERT, DELETE")
    protect("pending_question")
    mine = f"follower_id = {OWNER}"
    allow("context_choice", FAN, "SELECT", mine)
    allow("pending_question", FAN, "SELECT", mine)


def keep_the_book() -> None:
    """Whoever holds a copy of what answers are made of learns which of its pages changed: a merchant's own, or the one
    of all (0).

    Pages are numbered when their transaction commits, one transaction at a time. So numbers are in the order of the
    commits: who has seen one has seen all smaller ones, and asks for the larger ones. And because this lock is the last
    thing that a transaction waits for, whatever it holds, nobody waits for another in a circle, and a long import keeps
    nobody from saving.
    """
    op.execute(f"GRANT SELECT ON answer_book TO {PLATFORM}")
    op.execute("""
        CREATE FUNCTION page_has_changed() RETURNS trigger
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
        DECLARE
            whose bigint := 0;
        BEGIN
            IF TG_TABLE_NAME <> 'merchant' THEN
                whose := coalesce(NEW.merchant_id, OLD.merchant_id, 0);
            END IF;
            -- Of two hundred rules of one file the first has numbered the page.
            IF NOT EXISTS (SELECT 1 FROM answer_book WHERE page = whose AND xmin = pg_current_xact_id()::xid) THEN
                LOCK TABLE answer_book IN SHARE ROW EXCLUSIVE MODE;
                INSERT INTO answer_book (page, number) SELECT whose, coalesce(max(number), 0) + 1 FROM answer_book
                ON CONFLICT (page) DO UPDATE SET number = excluded.number;
            END IF;
            RETURN NULL;
        END $$""")
    # Whom one can talk to is on everybody's page.
    turn_the_page("merchant", "INSERT OR DELETE OR UPDATE OF name, kind, state")
