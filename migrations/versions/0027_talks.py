"""Talks: the merchants' inbox, with what makes it searchable, measured and private."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.tenancy import FAN, MERCHANT, TENANT, allow, protect, turn_the_page

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

ANSWER_STEPS = """
    ('planned', 'calling'), ('planned', 'waiting'), ('planned', 'refused'), ('planned', 'skipped'),
    ('waiting', 'calling'), ('waiting', 'refused'), ('waiting', 'skipped'),
    ('calling', 'sent'), ('calling', 'refused'), ('calling', 'unknown'), ('calling', 'planned'),
    ('calling', 'waiting'), ('unknown', 'sent'), ('unknown', 'refused')"""
STAFF_STEPS = "('planned', 'skipped'), ('waiting', 'skipped')"
OWNER = "app_follower_id()"
NOTICE_KINDS = "'approved', 'refused', 'expiring', 'first_fan'"


def upgrade() -> None:
    make_tables()
    guard()
    keep_the_book()
    close_to_others()
    op.drop_constraint(op.f("ck_staff_notice_kind"), "staff_notice")
    op.create_check_constraint(op.f("ck_staff_notice_kind"), "staff_notice", f"kind IN ({NOTICE_KINDS}, 'talk_waits')")


def make_tables() -> None:
    op.create_table(
        "canned_reply",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("merchant_id", sa.BigInteger(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.CheckConstraint("title <> '' AND text <> ''", name=op.f("ck_canned_reply_words")),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name=op.f("fk_canned_reply_merchant_id_merchant")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_canned_reply")),
        sa.UniqueConstraint("merchant_id", "title", name=op.f("uq_canned_reply_merchant_id_title")),
    )
    op.create_table(
        "desk_words",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("merchant_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.Column("review", sa.Text(), server_default="pending", nullable=False),
        sa.Column("reviewed_by", sa.BigInteger(), nullable=True),
        sa.Column("reviewed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("review_reason", sa.Text(), server_default="", nullable=False),
        sa.CheckConstraint("kind IN ('first', 'away')", name=op.f("ck_desk_words_kind")),
        sa.CheckConstraint(
            "review IN ('pending', 'approved', 'rejected', 'withdrawn')", name=op.f("ck_desk_words_review")
        ),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name=op.f("fk_desk_words_merchant_id_merchant")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_desk_words")),
    )
    op.create_index(
        "ix_desk_words_heard",
        "desk_words",
        ["merchant_id", "kind", sa.literal_column("id DESC")],
        unique=False,
        postgresql_where=sa.text("review IN ('pending', 'approved')"),
    )
    op.create_index(
        "ix_desk_words_pending", "desk_words", ["id"], unique=False, postgresql_where=sa.text("review = 'pending'")
    )
    op.create_table(
        "talk_desk",
        sa.Column("merchant_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hours", postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("closed_days", postgresql.ARRAY(sa.Date()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("asks_satisfaction", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("hands_over", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("notify_after", sa.SmallInteger(), server_default=sa.text("2"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.CheckConstraint("notify_after BETWEEN 1 AND 720", name=op.f("ck_talk_desk_notify_after")),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name=op.f("fk_talk_desk_merchant_id_merchant")),
        sa.PrimaryKeyConstraint("merchant_id", name=op.f("pk_talk_desk")),
    )
    op.create_table(
        "talk",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("merchant_id", sa.BigInteger(), nullable=False),
        sa.Column("follower_id", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="answered", nullable=False),
        sa.Column("last_message_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("preview", sa.Text(), nullable=True),
        sa.Column("preview_kind", sa.Text(), nullable=False),
        sa.Column("preview_direction", sa.Text(), nullable=False),
        sa.Column("unread", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("read_to", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("assigned_to", sa.BigInteger(), nullable=True),
        sa.Column("waiting_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("settled_to", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("line_said_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("human_said_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("waiting_out", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.CheckConstraint("(state = 'waiting') = (waiting_since IS NOT NULL)", name=op.f("ck_talk_waiting_since")),
        sa.CheckConstraint("state IN ('waiting', 'answered', 'closed')", name=op.f("ck_talk_state")),
        sa.CheckConstraint("unread >= 0 AND waiting_out >= 0", name=op.f("ck_talk_counts")),
        sa.ForeignKeyConstraint(["assigned_to"], ["staff.id"], name=op.f("fk_talk_assigned_to_staff")),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name=op.f("fk_talk_merchant_id_merchant")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_talk")),
        sa.UniqueConstraint("merchant_id", "follower_id", name=op.f("uq_talk_merchant_id_follower_id")),
        sa.UniqueConstraint("merchant_id", "id", name=op.f("uq_talk_merchant_id_id")),
    )
    op.create_index("ix_talk_follower_id", "talk", ["follower_id"], unique=False)
    op.create_index(
        "ix_talk_merchant_id_assigned_to_last",
        "talk",
        ["merchant_id", "assigned_to", sa.literal_column("last_message_at DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_index(
        "ix_talk_merchant_id_last",
        "talk",
        ["merchant_id", sa.literal_column("last_message_at DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_index(
        "ix_talk_merchant_id_state_last",
        "talk",
        ["merchant_id", "state", sa.literal_column("last_message_at DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_index(
        "ix_talk_open", "talk", ["last_message_at"], unique=False, postgresql_where=sa.text("state <> 'closed'")
    )
    op.create_index(
        "ix_talk_merchant_id_waiting",
        "talk",
        ["merchant_id", "waiting_since", "id"],
        unique=False,
        postgresql_where=sa.text("state = 'waiting'"),
    )
    op.create_index("ix_talk_unread", "talk", ["merchant_id"], unique=False, postgresql_where=sa.text("unread > 0"))
    op.create_index(
        "ix_talk_waiting", "talk", ["waiting_since"], unique=False, postgresql_where=sa.text("state = 'waiting'")
    )
    op.create_table(
        "enquiry",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("merchant_id", sa.BigInteger(), nullable=False),
        sa.Column("talk_id", sa.BigInteger(), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("first_answer_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("first_answer_by", sa.BigInteger(), nullable=True),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closed_by", sa.Text(), nullable=True),
        sa.Column("closed_by_staff", sa.BigInteger(), nullable=True),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("satisfaction", sa.SmallInteger(), nullable=True),
        sa.Column("rated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("told_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("closed_by IN ('staff', 'silence')", name=op.f("ck_enquiry_closed_by")),
        sa.CheckConstraint("(closed_at IS NULL) = (closed_by IS NULL)", name=op.f("ck_enquiry_closed")),
        sa.CheckConstraint("satisfaction BETWEEN 1 AND 3", name=op.f("ck_enquiry_satisfaction")),
        sa.ForeignKeyConstraint(["closed_by_staff"], ["staff.id"], name=op.f("fk_enquiry_closed_by_staff_staff")),
        sa.ForeignKeyConstraint(["first_answer_by"], ["staff.id"], name=op.f("fk_enquiry_first_answer_by_staff")),
        sa.ForeignKeyConstraint(
            ["merchant_id", "talk_id"],
            ["talk.merchant_id", "talk.id"],
            name=op.f("fk_enquiry_merchant_id_talk_id_talk"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_enquiry")),
        sa.UniqueConstraint("merchant_id", "id", name=op.f("uq_enquiry_merchant_id_id")),
    )
    op.create_index("ix_enquiry_merchant_id_opened_at", "enquiry", ["merchant_id", "opened_at"], unique=False)
    op.create_index("ix_enquiry_talk_id", "enquiry", ["merchant_id", "talk_id"], unique=False)
    op.create_index(
        "ix_enquiry_unanswered",
        "enquiry",
        ["opened_at"],
        unique=False,
        postgresql_where=sa.text("closed_at IS NULL AND first_answer_at IS NULL AND told_at IS NULL"),
    )
    op.create_index(
        "uq_enquiry_open", "enquiry", ["talk_id"], unique=True, postgresql_where=sa.text("closed_at IS NULL")
    )
    op.create_table(
        "talk_message",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("merchant_id", sa.BigInteger(), nullable=False),
        sa.Column("talk_id", sa.BigInteger(), nullable=False),
        sa.Column("direction", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=True),
        sa.Column("template_id", sa.BigInteger(), nullable=True),
        sa.Column("staff_id", sa.BigInteger(), nullable=True),
        sa.Column("by", sa.Text(), server_default="", nullable=False),
        sa.Column("inbox_id", sa.BigInteger(), nullable=True),
        sa.Column("waits", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("state", sa.Text(), nullable=True),
        sa.Column("why", sa.Text(), server_default="", nullable=False),
        sa.Column("window_id", sa.BigInteger(), nullable=True),
        sa.Column("calling_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("turned_away", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("errcode", sa.Integer(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.CheckConstraint("(direction = 'out') = (state IS NOT NULL)", name=op.f("ck_talk_message_out")),
        sa.CheckConstraint(
            "(direction IN ('in', 'auto')) = (inbox_id IS NOT NULL)", name=op.f("ck_talk_message_inbox")
        ),
        sa.CheckConstraint("NOT waits OR direction = 'in'", name=op.f("ck_talk_message_waits")),
        sa.CheckConstraint("direction IN ('in', 'out', 'auto', 'note')", name=op.f("ck_talk_message_direction")),
        sa.CheckConstraint(
            "kind IN ('text', 'image', 'voice', 'video', 'shortvideo', 'location', 'link', 'card', 'coupon', 'rating', 'other')",
            name=op.f("ck_talk_message_kind"),
        ),
        sa.CheckConstraint(
            "state IN ('planned', 'waiting', 'calling', 'sent', 'refused', 'unknown', 'skipped')",
            name=op.f("ck_talk_message_state"),
        ),
        sa.CheckConstraint(
            "state IN ('planned', 'waiting', 'refused', 'skipped') OR state IS NULL OR window_id IS NOT NULL",
            name=op.f("ck_talk_message_window"),
        ),
        sa.ForeignKeyConstraint(
            ["merchant_id", "talk_id"],
            ["talk.merchant_id", "talk.id"],
            name=op.f("fk_talk_message_merchant_id_talk_id_talk"),
        ),
        sa.ForeignKeyConstraint(
            ["merchant_id", "template_id"],
            ["coupon_template.merchant_id", "coupon_template.id"],
            name=op.f("fk_talk_message_merchant_id_template_id_coupon_template"),
        ),
        sa.ForeignKeyConstraint(["staff_id"], ["staff.id"], name=op.f("fk_talk_message_staff_id_staff")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_talk_message")),
        sa.UniqueConstraint("merchant_id", "id", name=op.f("uq_talk_message_merchant_id_id")),
    )
    op.create_index(
        "ix_talk_message_calling",
        "talk_message",
        ["calling_at"],
        unique=False,
        postgresql_where=sa.text("state = 'calling'"),
    )
    op.create_index(
        "ix_talk_message_kept",
        "talk_message",
        ["created_at"],
        unique=False,
        postgresql_where=sa.text("content IS NOT NULL"),
    )
    op.create_index(
        "ix_talk_message_open",
        "talk_message",
        ["talk_id", "id"],
        unique=False,
        postgresql_where=sa.text("state IN ('planned', 'waiting', 'calling')"),
    )
    op.create_index(
        "ix_talk_message_talk_id_at",
        "talk_message",
        ["merchant_id", "talk_id", sa.literal_column("at DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_index(
        "ix_talk_message_window_id",
        "talk_message",
        ["window_id"],
        unique=False,
        postgresql_where=sa.text("window_id IS NOT NULL"),
    )
    op.create_index(
        "uq_talk_message_inbox_id",
        "talk_message",
        ["inbox_id"],
        unique=True,
        postgresql_where=sa.text("direction = 'in'"),
    )
    op.create_table(
        "talk_gram",
        sa.Column("merchant_id", sa.BigInteger(), nullable=False),
        sa.Column("gram", sa.Text(), nullable=False),
        sa.Column("message_id", sa.BigInteger(), nullable=False),
        sa.Column("talk_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["merchant_id", "message_id"],
            ["talk_message.merchant_id", "talk_message.id"],
            name=op.f("fk_talk_gram_merchant_id_message_id_talk_message"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("merchant_id", "gram", "message_id", name=op.f("pk_talk_gram")),
    )
    op.create_index("ix_talk_gram_message_id", "talk_gram", ["message_id"], unique=False)
    op.create_table(
        "talk_media",
        sa.Column("message_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("merchant_id", sa.BigInteger(), nullable=False),
        sa.Column("media_id", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), server_default="wanted", nullable=False),
        sa.Column("mime", sa.Text(), server_default="", nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.CheckConstraint("(state = 'kept') = (content IS NOT NULL)", name=op.f("ck_talk_media_content")),
        sa.CheckConstraint("state IN ('wanted', 'kept', 'gone')", name=op.f("ck_talk_media_state")),
        sa.ForeignKeyConstraint(
            ["merchant_id", "message_id"],
            ["talk_message.merchant_id", "talk_message.id"],
            name=op.f("fk_talk_media_merchant_id_message_id_talk_message"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("message_id", name=op.f("pk_talk_media")),
    )
    op.create_index(
        "ix_talk_media_created_at",
        "talk_media",
        ["created_at"],
        unique=False,
        postgresql_where=sa.text("state <> 'gone'"),
    )


def guard() -> None:
    """Every change of a talk counts it up, and so does every step of an answer; no answer takes a step that is not one, whoever writes,
    and what somebody said is never something else afterwards: only nothing."""
    op.execute("""
        CREATE FUNCTION talk_counts_up() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            NEW.version := OLD.version + 1;
            RETURN NEW;
        END $$""")
    op.execute("""
        CREATE TRIGGER talk_counts_up BEFORE UPDATE ON talk FOR EACH ROW EXECUTE FUNCTION talk_counts_up()""")
    op.execute("""
        CREATE FUNCTION talk_message_goes_on() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            UPDATE talk SET waiting_out = waiting_out + (NEW.state = 'waiting')::integer
                                        - (OLD.state = 'waiting')::integer
            WHERE id = NEW.talk_id;
            RETURN NULL;
        END $$""")
    op.execute("""
        CREATE TRIGGER talk_message_goes_on AFTER UPDATE ON talk_message
        FOR EACH ROW WHEN (OLD.state IS DISTINCT FROM NEW.state) EXECUTE FUNCTION talk_message_goes_on()""")
    op.execute(f"""
        CREATE FUNCTION talk_message_steps() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NEW.content IS NOT NULL AND NEW.content IS DISTINCT FROM OLD.content THEN
                RAISE EXCEPTION 'what was said stays as it was' USING ERRCODE = 'restrict_violation';
            END IF;
            IF OLD.state IS DISTINCT FROM NEW.state THEN
                IF OLD.state IS NULL OR NEW.state IS NULL OR (OLD.state, NEW.state) NOT IN ({ANSWER_STEPS}) THEN
                    RAISE EXCEPTION 'an answer goes from % to no %', OLD.state, NEW.state
                        USING ERRCODE = 'check_violation';
                END IF;
                IF current_user = '{MERCHANT}' AND (OLD.state, NEW.state) NOT IN ({STAFF_STEPS}) THEN
                    RAISE EXCEPTION 'this step is the platform''s' USING ERRCODE = 'insufficient_privilege';
                END IF;
            END IF;
            RETURN NEW;
        END $$""")
    op.execute("""
        CREATE TRIGGER talk_message_steps BEFORE UPDATE ON talk_message
        FOR EACH ROW EXECUTE FUNCTION talk_message_steps()""")


def keep_the_book() -> None:
    """What the account says for a merchant is on its page of the book of answers."""
    for table in ("talk_desk", "desk_words"):
        turn_the_page(table)


def close_to_others() -> None:
    """Who sees and writes what (TN-1, TN-2). A merchant reads its own talks, writes answers and notes, and takes
    back what has not gone out; what fans say, and what becomes of an answer, is the platform's to write."""
    own = f"merchant_id = {TENANT}"
    for table in ("talk", "talk_message", "talk_gram", "talk_media", "enquiry", "canned_reply", "talk_desk",
                  "desk_words"):  # fmt: skip
        protect(table)
    for table in ("talk", "talk_message", "talk_gram", "talk_media", "enquiry", "talk_desk", "desk_words"):
        allow(table, MERCHANT, "SELECT", own)
    allow("canned_reply", MERCHANT, "SELECT, INSERT, UPDATE, DELETE", own)
    # A foreign key cannot say whose people they are; here a merchant sees its own only.
    is_ours = "(assigned_to IS NULL OR EXISTS (SELECT 1 FROM staff WHERE staff.id = assigned_to))"
    allow("talk", MERCHANT, "UPDATE", own, result=f"{own} AND {is_ours}",
          columns="state, last_message_at, preview, preview_kind, preview_direction, unread, read_to, assigned_to, "
                  "waiting_since, settled_to, human_said_at, waiting_out, version")  # fmt: skip
    by_us = "EXISTS (SELECT 1 FROM staff WHERE staff.id = staff_id)"
    allow("talk_message", MERCHANT, "INSERT",
          f"{own} AND {by_us} AND (direction = 'note' OR (direction = 'out' AND state = 'planned'))",
          columns="merchant_id, talk_id, direction, kind, content, template_id, staff_id, state, at")  # fmt: skip
    allow("talk_message", MERCHANT, "UPDATE", own, columns="state, why")
    is_my_message = "EXISTS (SELECT 1 FROM talk_message m WHERE m.id = message_id AND m.talk_id = talk_gram.talk_id)"
    allow("talk_gram", MERCHANT, "INSERT", f"{own} AND {is_my_message}")
    is_my_answer = ("EXISTS (SELECT 1 FROM talk_message m WHERE m.id = message_id AND m.direction = 'out'"
                    " AND m.kind = 'image' AND m.state = 'planned')")  # fmt: skip
    allow("talk_media", MERCHANT, "INSERT", f"{own} AND {is_my_answer}",
          columns="message_id, merchant_id, state, mime, content")  # fmt: skip
    allow("enquiry", MERCHANT, "UPDATE", own,
          columns="first_answer_at, first_answer_by, closed_at, closed_by, closed_by_staff")  # fmt: skip
    allow("talk_desk", MERCHANT, "INSERT, UPDATE", own)
    allow("desk_words", MERCHANT, "INSERT", own, columns="merchant_id, kind, text")
    allow("desk_words", MERCHANT, "UPDATE", own, columns="review", result=f"{own} AND review = 'withdrawn'")
    show_people_their_own()


def show_people_their_own() -> None:
    """A person sees what they and a merchant have said to each other: no notes about them, and no answer that has not
    gone out, which its writer can still take back."""
    allow("talk", FAN, "SELECT", f"follower_id = {OWNER}", columns="id, merchant_id, follower_id")
    mine = "talk_id IN (SELECT id FROM talk)"
    was_said = "direction IN ('in', 'auto') OR direction = 'out' AND state IN ('calling', 'sent', 'unknown')"
    allow("talk_message", FAN, "SELECT", f"{mine} AND ({was_said})",
          columns="id, merchant_id, talk_id, direction, kind, content, at")  # fmt: skip
    allow("talk_media", FAN, "SELECT", "EXISTS (SELECT 1 FROM talk_message m WHERE m.id = message_id)",
          columns="message_id, merchant_id, state")  # fmt: skip
    allow("enquiry", FAN, "SELECT", mine,
          columns="id, merchant_id, talk_id, opened_at, closed_at, asked_at, satisfaction, rated_at")  # fmt: skip
