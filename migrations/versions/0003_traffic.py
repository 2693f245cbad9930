"""Traffic: what is not counted yet, the counts by day, where followers scan next, outages and alarms.

What changes the counts is noted by triggers, so that no way of writing scans or episodes can forget it.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.tenancy import MERCHANT, PLATFORM, TENANT, allow, protect

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    make_tables()
    make_functions()
    make_triggers()
    note_what_is_there()
    say_who_may_see_what()


def make_tables() -> None:
    op.create_table(
        "uncounted_scan",
        sa.Column("follower_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("scan_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("is_news", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.PrimaryKeyConstraint("follower_id", "scan_id", name=op.f("pk_uncounted_scan")),
    )
    op.create_table(
        "uncounted_follow",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("attribution_id", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("sign", sa.SmallInteger(), nullable=False),
        sa.Column("is_news", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.CheckConstraint("sign IN (-1, 1)", name=op.f("ck_uncounted_follow_sign")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_uncounted_follow")),
    )
    op.create_table(
        "traffic_state",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("counted_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.Column("recent_until", sa.Date(), nullable=True),
        sa.CheckConstraint("id = 1", name=op.f("ck_traffic_state_single")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_traffic_state")),
    )
    op.create_table(
        "daily_traffic",
        sa.Column("level", sa.Text(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("merchant_id", sa.BigInteger(), nullable=False),
        sa.Column("code_id", sa.BigInteger(), nullable=False),
        sa.Column("scans", sa.Integer(), nullable=False),
        sa.Column("scanners", sa.Integer(), nullable=False),
        sa.Column("new", sa.Integer(), nullable=False),
        sa.Column("back", sa.Integer(), nullable=False),
        sa.Column("lost", sa.Integer(), nullable=False),
        sa.Column("by_hour", postgresql.ARRAY(sa.Integer()), nullable=False),
        sa.Column("gaps", postgresql.ARRAY(sa.SmallInteger()), nullable=False),
        sa.Column("seen", postgresql.ARRAY(sa.Integer()), nullable=False),
        sa.Column("stays", postgresql.ARRAY(sa.SmallInteger()), nullable=False),
        sa.Column("gone", postgresql.ARRAY(sa.Integer()), nullable=False),
        sa.CheckConstraint("level IN ('account', 'merchant', 'code')", name=op.f("ck_daily_traffic_level")),
        sa.PrimaryKeyConstraint("level", "day", "merchant_id", "code_id", name=op.f("pk_daily_traffic")),
    )
    op.create_index("ix_daily_traffic_merchant_id", "daily_traffic", ["merchant_id", "level", "day"], unique=False)
    op.create_index(
        "ix_daily_traffic_code_id", "daily_traffic", ["code_id", "day"], unique=False,
        postgresql_where=sa.text("level = 'code'"),
    )  # fmt: skip
    counts = ("scans", "scanners", "new", "back", "lost", "kept_1", "of_1", "kept_7", "of_7", "kept_30", "of_30")
    op.create_table(
        "recent_traffic",
        sa.Column("days", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("level", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("code_id", sa.BigInteger(), autoincrement=False, nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in counts),
        sa.CheckConstraint("days IN (7, 30)", name=op.f("ck_recent_traffic_days")),
        sa.PrimaryKeyConstraint("days", "level", "merchant_id", "code_id", name=op.f("pk_recent_traffic")),
    )
    op.create_table(
        "onward_scan",
        sa.Column("episode_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("follower_id", sa.BigInteger(), nullable=False),
        sa.Column("from_merchant_id", sa.BigInteger(), nullable=False),
        sa.Column("to_merchant_id", sa.BigInteger(), nullable=False),
        sa.Column("scanned_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("episode_id", name=op.f("pk_onward_scan")),
    )
    op.create_index(
        "ix_onward_scan_scanned_at", "onward_scan", ["scanned_at", "from_merchant_id", "to_merchant_id"], unique=False
    )
    op.create_index(op.f("ix_onward_scan_follower_id"), "onward_scan", ["follower_id"], unique=False)
    op.create_table(
        "traffic_restatement",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("noted_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("merchant_id", sa.BigInteger(), nullable=False),
        sa.Column("scans", sa.Integer(), nullable=False),
        sa.Column("scanners", sa.Integer(), nullable=False),
        sa.Column("new", sa.Integer(), nullable=False),
        sa.Column("back", sa.Integer(), nullable=False),
        sa.Column("lost", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_traffic_restatement")),
    )
    op.create_table(
        "outage",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("began_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("ended_at >= began_at", name=op.f("ck_outage_order")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outage")),
    )
    op.create_index(op.f("ix_outage_ended_at"), "outage", ["ended_at"], unique=False)
    op.create_table(
        "traffic_alarm",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.BigInteger(), nullable=False),
        sa.Column("code_id", sa.BigInteger(), nullable=True),
        sa.Column("scans", sa.Integer(), nullable=False),
        sa.Column("usual", sa.Float(), nullable=False),
        sa.Column("noted_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.CheckConstraint("kind IN ('silent', 'drop', 'spike')", name=op.f("ck_traffic_alarm_kind")),
        sa.CheckConstraint("(kind = 'silent') = (code_id IS NOT NULL)", name=op.f("ck_traffic_alarm_about")),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name=op.f("fk_traffic_alarm_merchant_id_merchant")),
        sa.ForeignKeyConstraint(["code_id"], ["sub_qr_code.id"], name=op.f("fk_traffic_alarm_code_id_sub_qr_code")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_traffic_alarm")),
    )
    op.create_index("ix_traffic_alarm_day", "traffic_alarm", ["day", "id"], unique=False)
    # Whoever opens a figure of the whole account wants its scans by time.
    op.create_index("ix_scan_scanned_at", "scan", ["scanned_at", "id"], unique=False)


def make_functions() -> None:
    op.execute("""
        CREATE FUNCTION business_day(at timestamptz) RETURNS date LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
        $$ SELECT (at AT TIME ZONE 'Asia/Shanghai')::date $$""")
    # Steps are numbers of days, sorted; a sum says how many people had at most so many.
    op.execute("""
        CREATE FUNCTION within(steps smallint[], sums integer[], days integer) RETURNS integer
        LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
        $$ SELECT coalesce(sums[width_bucket(days::smallint, steps)], 0) $$""")


def make_triggers() -> None:
    op.execute("""
        CREATE FUNCTION note_scans() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            INSERT INTO uncounted_scan (follower_id, scan_id) SELECT follower_id, id FROM fresh;
            RETURN NULL;
        END $$""")
    op.execute("""
        CREATE TRIGGER note_scans AFTER INSERT ON scan REFERENCING NEW TABLE AS fresh
        FOR EACH STATEMENT EXECUTE FUNCTION note_scans()""")
    # What an episode counts for follows from its attribution, its end, and whether it was voided: the former state
    # is taken back, the later one added.
    op.execute("""
        CREATE FUNCTION note_follows() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP = 'UPDATE' THEN
                INSERT INTO uncounted_follow (attribution_id, ended_at, sign)
                SELECT attribution_id, ended_at, -1 FROM former WHERE voided_at IS NULL ORDER BY id;
            END IF;
            INSERT INTO uncounted_follow (attribution_id, ended_at, sign)
            SELECT attribution_id, ended_at, 1 FROM fresh WHERE voided_at IS NULL ORDER BY id;
            RETURN NULL;
        END $$""")
    op.execute("""
        CREATE TRIGGER note_new_follows AFTER INSERT ON follow_episode REFERENCING NEW TABLE AS fresh
        FOR EACH STATEMENT EXECUTE FUNCTION note_follows()""")
    op.execute("""
        CREATE TRIGGER note_changed_follows AFTER UPDATE ON follow_episode
        REFERENCING OLD TABLE AS former NEW TABLE AS fresh
        FOR EACH STATEMENT EXECUTE FUNCTION note_follows()""")


def note_what_is_there() -> None:
    """What happened before is counted first, in the background: here it is only noted."""
    op.execute("INSERT INTO traffic_state (id) VALUES (1)")
    # The owner of the schema sees no rows of these tables by themselves.
    for table in ("scan", "follow_episode"):
        op.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
    op.execute("INSERT INTO uncounted_scan (follower_id, scan_id, is_news) SELECT follower_id, id, false FROM scan")
    op.execute("""
        INSERT INTO uncounted_follow (attribution_id, ended_at, sign, is_news)
        SELECT attribution_id, ended_at, 1, false FROM follow_episode WHERE voided_at IS NULL ORDER BY id""")
    for table in ("scan", "follow_episode"):
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")


def say_who_may_see_what() -> None:
    for table in ("uncounted_scan", "uncounted_follow", "daily_traffic", "recent_traffic", "onward_scan", "traffic_restatement",
                  "traffic_alarm"):  # fmt: skip
        protect(table)
    op.execute(f"GRANT SELECT, UPDATE ON traffic_state TO {PLATFORM}")
    op.execute(f"GRANT SELECT, INSERT, DELETE ON outage TO {PLATFORM}")
    op.execute(f"GRANT SELECT ON traffic_state TO {MERCHANT}")
    for table in ("daily_traffic", "recent_traffic"):
        allow(table, MERCHANT, "SELECT", f"merchant_id = {TENANT}")
