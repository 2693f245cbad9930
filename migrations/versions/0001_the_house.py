"""The house: all tables of the first rooms, the clock, the append-only triggers, and who may see what."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.tenancy import FAN, MERCHANT, PLATFORM, TENANT, allow, append_only, protect

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    make_functions()
    make_tables()
    make_partitions()
    make_audit_chain()
    make_triggers()
    say_who_may_see_what()


def make_functions() -> None:
    op.execute("CREATE SEQUENCE scan_id_seq")
    op.execute("CREATE SEQUENCE inbox_event_id_seq")
    # plpgsql, because the body names a table that is made below.
    op.execute("""
        CREATE FUNCTION app_now() RETURNS timestamptz LANGUAGE plpgsql VOLATILE PARALLEL SAFE AS $$
        BEGIN RETURN clock_timestamp() + (SELECT "offset" FROM app_clock); END $$""")
    for name, kind in (("app_merchant_id", "bigint"), ("app_follower_id", "bigint")):
        setting = name.replace("app_", "app.", 1)
        op.execute(f"""
            CREATE FUNCTION {name}() RETURNS {kind} LANGUAGE sql STABLE PARALLEL SAFE AS
            $$ SELECT nullif(current_setting('{setting}', true), '')::{kind} $$""")
    op.execute("""
        CREATE FUNCTION app_session_hash() RETURNS bytea LANGUAGE sql STABLE PARALLEL SAFE AS
        $$ SELECT decode(nullif(current_setting('app.session_hash', true), ''), 'hex') $$""")


def make_tables() -> None:
    op.create_table(
        "app_clock",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("offset", sa.Interval(), server_default=sa.text("'0'"), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_app_clock_single")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_app_clock")),
    )
    op.create_table(
        "audit_head",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_audit_head_single")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_head")),
    )
    op.create_table(
        "audit_log",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.Column("actor_kind", sa.Text(), nullable=False),
        sa.Column("actor_id", sa.BigInteger(), nullable=True),
        sa.Column("merchant_id", sa.BigInteger(), nullable=True),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), server_default="", nullable=False),
        sa.Column("detail", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("previous_hash", sa.LargeBinary(), server_default=sa.text("''"), nullable=False),
        sa.Column("hash", sa.LargeBinary(), server_default=sa.text("''"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_log")),
    )
    op.create_index("ix_audit_log_merchant_id_id", "audit_log", ["merchant_id", "id"], unique=False)
    op.create_table(
        "erasure_log",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.Column("follower_id", sa.BigInteger(), nullable=False),
        sa.Column("person_key", sa.LargeBinary(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_erasure_log")),
    )
    op.create_index(op.f("ix_erasure_log_follower_id"), "erasure_log", ["follower_id"], unique=False)
    op.create_table(
        "inbox_event",
        sa.Column(
            "id",
            sa.BigInteger(),
            server_default=sa.text("nextval('inbox_event_id_seq')"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("account_id", sa.SmallInteger(), nullable=False),
        sa.Column("dedupe_key", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("event_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.Column("follower_id", sa.BigInteger(), nullable=True),
        sa.Column("scene", sa.Text(), nullable=True),
        sa.Column("body", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("reply", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.PrimaryKeyConstraint("id", "month", name=op.f("pk_inbox_event")),
        sa.UniqueConstraint(
            "account_id", "dedupe_key", "month", name=op.f("uq_inbox_event_account_id_dedupe_key_month")
        ),
        postgresql_partition_by="RANGE (month)",
    )
    op.create_index(
        "ix_inbox_event_body",
        "inbox_event",
        ["received_at"],
        unique=False,
        postgresql_where=sa.text("body IS NOT NULL"),
    )
    op.create_index("ix_inbox_event_follower_id_event_at", "inbox_event", ["follower_id", "event_at"], unique=False)
    op.create_table(
        "lease",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_lease")),
    )
    op.create_table(
        "official_account",
        sa.Column("id", sa.SmallInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("app_id", sa.Text(), nullable=False),
        sa.Column("original_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), server_default="", nullable=False),
        sa.Column("is_sandbox", sa.Boolean(), nullable=False),
        sa.Column("live_since", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.Column("reconciled_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_official_account")),
        sa.UniqueConstraint("app_id", name=op.f("uq_official_account_app_id")),
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("merchant_id", sa.BigInteger(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("dedupe_key", sa.Text(), nullable=False),
        sa.Column("payload", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("state", sa.Text(), server_default="pending", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("failures", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column(
            "next_try_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("state IN ('pending', 'done', 'dead')", name=op.f("ck_outbox_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
        sa.UniqueConstraint("dedupe_key", name=op.f("uq_outbox_dedupe_key")),
    )
    op.create_index(
        "ix_outbox_due", "outbox", ["queue", "next_try_at"], unique=False, postgresql_where=sa.text("state = 'pending'")
    )
    op.create_index(
        "ix_outbox_finished_at", "outbox", ["finished_at"], unique=False, postgresql_where=sa.text("state <> 'pending'")
    )
    op.create_table(
        "periodic_run",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("last_started_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_periodic_run")),
    )
    op.create_table(
        "wechat_token",
        sa.Column("app_id", sa.Text(), nullable=False),
        sa.Column("access_token", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("refreshed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("replaced_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_forced_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("forced_on", sa.Date(), nullable=True),
        sa.Column("forced_that_day", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("app_id", name=op.f("pk_wechat_token")),
    )
    op.create_table(
        "community",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("account_id", sa.SmallInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("intro", sa.Text(), server_default="", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["official_account.id"], name=op.f("fk_community_account_id_official_account")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_community")),
        sa.UniqueConstraint("account_id", "name", name=op.f("uq_community_account_id_name")),
    )
    op.create_table(
        "dead_letter",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("account_id", sa.SmallInteger(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=True),
        sa.Column("deliveries", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["official_account.id"], name=op.f("fk_dead_letter_account_id_official_account")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dead_letter")),
        sa.UniqueConstraint("digest", name=op.f("uq_dead_letter_digest")),
    )
    op.create_table(
        "follower",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("account_id", sa.SmallInteger(), nullable=False),
        sa.Column("openid", sa.Text(), nullable=True),
        sa.Column("person_key", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.Text(), server_default="unknown", nullable=False),
        sa.Column("state_as_of", sa.DateTime(timezone=True), nullable=True),
        sa.Column("first_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("erase_due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("erased_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("openid ~ '^[A-Za-z0-9_-]{20,64}$'", name=op.f("ck_follower_openid")),
        sa.CheckConstraint("status IN ('unknown', 'following', 'gone', 'ambiguous')", name=op.f("ck_follower_status")),
        sa.ForeignKeyConstraint(
            ["account_id"], ["official_account.id"], name=op.f("fk_follower_account_id_official_account")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_follower")),
        sa.UniqueConstraint("account_id", "openid", name=op.f("uq_follower_account_id_openid")),
        sa.UniqueConstraint("account_id", "person_key", name=op.f("uq_follower_account_id_person_key")),
    )
    op.create_index(
        "ix_follower_ambiguous", "follower", ["id"], unique=False, postgresql_where=sa.text("status = 'ambiguous'")
    )
    op.create_index(
        "ix_follower_erase_due_at",
        "follower",
        ["erase_due_at"],
        unique=False,
        postgresql_where=sa.text("erase_due_at IS NOT NULL"),
    )
    op.create_table(
        "scene_pool",
        sa.Column("account_id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("used", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("capacity", sa.Integer(), nullable=False),
        sa.CheckConstraint("used BETWEEN 0 AND capacity", name=op.f("ck_scene_pool_capacity")),
        sa.ForeignKeyConstraint(
            ["account_id"], ["official_account.id"], name=op.f("fk_scene_pool_account_id_official_account")
        ),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_scene_pool")),
    )
    op.create_table(
        "follow_episode",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("follower_id", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("scene", sa.Text(), nullable=True),
        sa.Column("attribution_id", sa.BigInteger(), nullable=False),
        sa.Column("voided_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "source IN ('event', 'reconcile', 'implied', 'pre-existing')", name=op.f("ck_follow_episode_source")
        ),
        sa.CheckConstraint("ended_at >= started_at", name=op.f("ck_follow_episode_order")),
        sa.ForeignKeyConstraint(["follower_id"], ["follower.id"], name=op.f("fk_follow_episode_follower_id_follower")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_follow_episode")),
        sa.UniqueConstraint("attribution_id", name=op.f("uq_follow_episode_attribution_id")),
    )
    op.create_index(
        "ix_follow_episode_ended_at",
        "follow_episode",
        ["ended_at"],
        unique=False,
        postgresql_where=sa.text("voided_at IS NULL"),
    )
    op.create_index(
        "ix_follow_episode_follower_id_started_at", "follow_episode", ["follower_id", "started_at"], unique=False
    )
    op.create_index(
        "uq_follow_episode_open",
        "follow_episode",
        ["follower_id"],
        unique=True,
        postgresql_where=sa.text("ended_at IS NULL AND voided_at IS NULL"),
    )
    op.create_index(
        "uq_follow_episode_start",
        "follow_episode",
        ["follower_id", "started_at"],
        unique=True,
        postgresql_where=sa.text("voided_at IS NULL"),
    )
    op.create_table(
        "merchant",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("account_id", sa.SmallInteger(), nullable=False),
        sa.Column("community_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), server_default="", nullable=False),
        sa.Column("contact_name", sa.Text(), server_default="", nullable=False),
        sa.Column("phone", sa.Text(), server_default="", nullable=False),
        sa.Column("intro", sa.Text(), server_default="", nullable=False),
        sa.Column("address", sa.Text(), server_default="", nullable=False),
        sa.Column("hours", sa.Text(), server_default="", nullable=False),
        sa.Column("picture_id", sa.BigInteger(), nullable=True),
        sa.Column("state", sa.Text(), server_default="active", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.CheckConstraint("state IN ('active', 'suspended')", name=op.f("ck_merchant_state")),
        sa.ForeignKeyConstraint(
            ["account_id"], ["official_account.id"], name=op.f("fk_merchant_account_id_official_account")
        ),
        sa.ForeignKeyConstraint(["community_id"], ["community.id"], name=op.f("fk_merchant_community_id_community")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_merchant")),
    )
    op.create_index(op.f("ix_merchant_community_id"), "merchant", ["community_id"], unique=False)
    op.create_table(
        "fan",
        sa.Column("merchant_id", sa.BigInteger(), nullable=False),
        sa.Column("follower_id", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("first_touch_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("first_code_id", sa.BigInteger(), nullable=True),
        sa.Column("last_touch_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_code_id", sa.BigInteger(), nullable=True),
        sa.Column("note", sa.Text(), server_default="", nullable=False),
        sa.Column("muted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("erased_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["follower_id"], ["follower.id"], name=op.f("fk_fan_follower_id_follower")),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name=op.f("fk_fan_merchant_id_merchant")),
        sa.PrimaryKeyConstraint("merchant_id", "follower_id", name=op.f("pk_fan")),
        sa.UniqueConstraint("merchant_id", "number", name=op.f("uq_fan_merchant_id_number")),
    )
    op.create_index("ix_fan_follower_id", "fan", ["follower_id"], unique=False)
    op.create_index(
        "ix_fan_merchant_id_last_touch",
        "fan",
        ["merchant_id", sa.literal_column("last_touch_at DESC"), sa.literal_column("follower_id DESC")],
        unique=False,
    )
    op.create_table(
        "message_window",
        sa.Column("inbox_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("follower_id", sa.BigInteger(), nullable=False),
        sa.Column("merchant_id", sa.BigInteger(), nullable=True),
        sa.Column("trigger", sa.Text(), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("allowance", sa.SmallInteger(), nullable=False),
        sa.Column("used", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.CheckConstraint(
            "trigger IN ('message', 'menu_click', 'follow', 'scan')", name=op.f("ck_message_window_trigger")
        ),
        sa.CheckConstraint("used BETWEEN 0 AND allowance", name=op.f("ck_message_window_allowance")),
        sa.ForeignKeyConstraint(["follower_id"], ["follower.id"], name=op.f("fk_message_window_follower_id_follower")),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name=op.f("fk_message_window_merchant_id_merchant")),
        sa.PrimaryKeyConstraint("inbox_id", name=op.f("pk_message_window")),
    )
    op.create_index("ix_message_window_expires_at", "message_window", ["expires_at"], unique=False)
    op.create_index(
        "ix_message_window_follower_id_expires_at", "message_window", ["follower_id", "expires_at"], unique=False
    )
    op.create_table(
        "picture",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("merchant_id", sa.BigInteger(), nullable=False),
        sa.Column("public_id", sa.Text(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("mime", sa.Text(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("media_id", sa.Text(), nullable=True),
        sa.Column("wechat_url", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.CheckConstraint("octet_length(content) <= 2097152", name=op.f("ck_picture_size")),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name=op.f("fk_picture_merchant_id_merchant")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_picture")),
        sa.UniqueConstraint("merchant_id", "id", name=op.f("uq_picture_merchant_id_id")),
        sa.UniqueConstraint("merchant_id", "sha256", name=op.f("uq_picture_merchant_id_sha256")),
        sa.UniqueConstraint("public_id", name=op.f("uq_picture_public_id")),
    )
    op.create_table(
        "staff",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("merchant_id", sa.BigInteger(), nullable=True),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("login", sa.Text(), nullable=True),
        sa.Column("password_hash", sa.Text(), nullable=True),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.CheckConstraint("(role = 'operator') = (merchant_id IS NULL)", name=op.f("ck_staff_merchant")),
        sa.CheckConstraint("role IN ('operator', 'owner', 'clerk')", name=op.f("ck_staff_role")),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name=op.f("fk_staff_merchant_id_merchant")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_staff")),
        sa.UniqueConstraint("login", name=op.f("uq_staff_login")),
    )
    op.create_index("ix_staff_merchant_id", "staff", ["merchant_id"], unique=False)
    op.create_table(
        "sub_qr_code",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("account_id", sa.SmallInteger(), nullable=False),
        sa.Column("merchant_id", sa.BigInteger(), nullable=False),
        sa.Column("public_id", sa.Text(), nullable=False),
        sa.Column("scene", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), server_default="counter", nullable=False),
        sa.Column("place", sa.Text(), server_default="", nullable=False),
        sa.Column("permanent", sa.Boolean(), nullable=False),
        sa.Column("lifetime_seconds", sa.Integer(), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("adopted", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("ticket", sa.Text(), nullable=True),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), server_default="planned", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.Column("retired_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("scene ~ '^[A-Za-z0-9_-]{1,64}$'", name=op.f("ck_sub_qr_code_scene")),
        sa.CheckConstraint("state <> 'active' OR ticket IS NOT NULL OR adopted", name=op.f("ck_sub_qr_code_ticket")),
        sa.CheckConstraint("state IN ('planned', 'active', 'retired')", name=op.f("ck_sub_qr_code_state")),
        sa.CheckConstraint("lifetime_seconds BETWEEN 60 AND 2592000", name=op.f("ck_sub_qr_code_lifetime_range")),
        sa.CheckConstraint("permanent = (lifetime_seconds IS NULL)", name=op.f("ck_sub_qr_code_lifetime")),
        sa.ForeignKeyConstraint(
            ["account_id"], ["official_account.id"], name=op.f("fk_sub_qr_code_account_id_official_account")
        ),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name=op.f("fk_sub_qr_code_merchant_id_merchant")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sub_qr_code")),
        sa.UniqueConstraint("account_id", "scene", name=op.f("uq_sub_qr_code_account_id_scene")),
        sa.UniqueConstraint("merchant_id", "id", name=op.f("uq_sub_qr_code_merchant_id_id")),
        sa.UniqueConstraint("public_id", name=op.f("uq_sub_qr_code_public_id")),
    )
    op.create_index(
        "uq_sub_qr_code_label",
        "sub_qr_code",
        ["merchant_id", "label"],
        unique=True,
        postgresql_where=sa.text("state <> 'retired'"),
    )
    op.create_table(
        "attribution",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("episode_id", sa.BigInteger(), nullable=False),
        sa.Column("follower_id", sa.BigInteger(), nullable=False),
        sa.Column("merchant_id", sa.BigInteger(), nullable=True),
        sa.Column("code_id", sa.BigInteger(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("followed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("rule_version", sa.SmallInteger(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("supersedes", sa.BigInteger(), nullable=True),
        sa.Column("recorded_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.CheckConstraint("kind IN ('new', 'returning', 'pre-existing', 'void')", name=op.f("ck_attribution_kind")),
        sa.ForeignKeyConstraint(["code_id"], ["sub_qr_code.id"], name=op.f("fk_attribution_code_id_sub_qr_code")),
        sa.ForeignKeyConstraint(
            ["episode_id"], ["follow_episode.id"], name=op.f("fk_attribution_episode_id_follow_episode")
        ),
        sa.ForeignKeyConstraint(["follower_id"], ["follower.id"], name=op.f("fk_attribution_follower_id_follower")),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name=op.f("fk_attribution_merchant_id_merchant")),
        sa.ForeignKeyConstraint(["supersedes"], ["attribution.id"], name=op.f("fk_attribution_supersedes_attribution")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attribution")),
        sa.UniqueConstraint("supersedes", name=op.f("uq_attribution_supersedes")),
    )
    op.create_index("ix_attribution_episode_id", "attribution", ["episode_id"], unique=False)
    op.create_index("ix_attribution_followed_at", "attribution", ["followed_at"], unique=False)
    op.create_index(op.f("ix_attribution_follower_id"), "attribution", ["follower_id"], unique=False)
    op.create_index(
        "ix_attribution_merchant_id_followed_at", "attribution", ["merchant_id", "followed_at"], unique=False
    )
    op.create_index(
        "uq_attribution_first",
        "attribution",
        ["episode_id"],
        unique=True,
        postgresql_where=sa.text("supersedes IS NULL"),
    )
    op.create_table(
        "code_owner",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("code_id", sa.BigInteger(), nullable=False),
        sa.Column("merchant_id", sa.BigInteger(), nullable=False),
        sa.Column("from_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("to_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("to_at >= from_at", name=op.f("ck_code_owner_order")),
        sa.ForeignKeyConstraint(["code_id"], ["sub_qr_code.id"], name=op.f("fk_code_owner_code_id_sub_qr_code")),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name=op.f("fk_code_owner_merchant_id_merchant")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_code_owner")),
    )
    op.create_index("ix_code_owner_code_id_from_at", "code_owner", ["code_id", "from_at"], unique=False)
    op.create_index("ix_code_owner_merchant_id", "code_owner", ["merchant_id"], unique=False)
    op.create_index(
        "uq_code_owner_open", "code_owner", ["code_id"], unique=True, postgresql_where=sa.text("to_at IS NULL")
    )
    op.create_table(
        "fan_tag",
        sa.Column("merchant_id", sa.BigInteger(), nullable=False),
        sa.Column("follower_id", sa.BigInteger(), nullable=False),
        sa.Column("tag", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["merchant_id", "follower_id"],
            ["fan.merchant_id", "fan.follower_id"],
            name=op.f("fk_fan_tag_merchant_id_follower_id_fan"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("merchant_id", "follower_id", "tag", name=op.f("pk_fan_tag")),
    )
    op.create_table(
        "invitation",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("merchant_id", sa.BigInteger(), nullable=True),
        sa.Column("staff_id", sa.BigInteger(), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name=op.f("fk_invitation_merchant_id_merchant")),
        sa.ForeignKeyConstraint(["staff_id"], ["staff.id"], name=op.f("fk_invitation_staff_id_staff")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invitation")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_invitation_token_hash")),
    )
    op.create_index(op.f("ix_invitation_merchant_id"), "invitation", ["merchant_id"], unique=False)
    op.create_index(op.f("ix_invitation_staff_id"), "invitation", ["staff_id"], unique=False)
    op.create_table(
        "login_session",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("staff_id", sa.BigInteger(), nullable=False),
        sa.Column("merchant_id", sa.BigInteger(), nullable=True),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("user_agent", sa.Text(), server_default="", nullable=False),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name=op.f("fk_login_session_merchant_id_merchant")),
        sa.ForeignKeyConstraint(["staff_id"], ["staff.id"], name=op.f("fk_login_session_staff_id_staff")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_login_session")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_login_session_token_hash")),
    )
    op.create_index(op.f("ix_login_session_merchant_id"), "login_session", ["merchant_id"], unique=False)
    op.create_index(op.f("ix_login_session_staff_id"), "login_session", ["staff_id"], unique=False)
    op.create_table(
        "scan",
        sa.Column(
            "id", sa.BigInteger(), server_default=sa.text("nextval('scan_id_seq')"), autoincrement=False, nullable=False
        ),
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("inbox_id", sa.BigInteger(), nullable=False),
        sa.Column("follower_id", sa.BigInteger(), nullable=False),
        sa.Column("code_id", sa.BigInteger(), nullable=True),
        sa.Column("merchant_id", sa.BigInteger(), nullable=True),
        sa.Column("scene", sa.Text(), nullable=False),
        sa.Column("scanned_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("led_to_follow", sa.Boolean(), nullable=False),
        sa.Column("suspect", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.ForeignKeyConstraint(["code_id"], ["sub_qr_code.id"], name=op.f("fk_scan_code_id_sub_qr_code")),
        sa.ForeignKeyConstraint(["follower_id"], ["follower.id"], name=op.f("fk_scan_follower_id_follower")),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name=op.f("fk_scan_merchant_id_merchant")),
        sa.PrimaryKeyConstraint("id", "month", name=op.f("pk_scan")),
        sa.UniqueConstraint("inbox_id", "month", name=op.f("uq_scan_inbox_id_month")),
        postgresql_partition_by="RANGE (month)",
    )
    op.create_index("ix_scan_code_id_scanned_at", "scan", ["code_id", "scanned_at"], unique=False)
    op.create_index("ix_scan_follower_id_scanned_at", "scan", ["follower_id", "scanned_at"], unique=False)
    op.create_index(
        "ix_scan_merchant_id_scanned_at", "scan", ["merchant_id", "scanned_at", "follower_id"], unique=False
    )
    op.create_index(
        "ix_scan_unmatched", "scan", ["scanned_at"], unique=False, postgresql_where=sa.text("merchant_id IS NULL")
    )
    op.create_table(
        "welcome",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("merchant_id", sa.BigInteger(), nullable=True),
        sa.Column("code_id", sa.BigInteger(), nullable=True),
        sa.Column("variant", sa.Text(), nullable=False),
        sa.Column("position", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), server_default="", nullable=False),
        sa.Column("title", sa.Text(), server_default="", nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("url", sa.Text(), server_default="", nullable=False),
        sa.Column("picture_id", sa.BigInteger(), nullable=True),
        sa.Column("review", sa.Text(), server_default="pending", nullable=False),
        sa.Column("reviewed_by", sa.BigInteger(), nullable=True),
        sa.Column("reviewed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("review_reason", sa.Text(), server_default="", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.CheckConstraint("kind IN ('text', 'image', 'news')", name=op.f("ck_welcome_kind")),
        sa.CheckConstraint(
            "review IN ('pending', 'approved', 'rejected', 'withdrawn')", name=op.f("ck_welcome_review")
        ),
        sa.CheckConstraint("variant IN ('first', 'back', 'already')", name=op.f("ck_welcome_variant")),
        sa.CheckConstraint("code_id IS NULL OR merchant_id IS NOT NULL", name=op.f("ck_welcome_owner")),
        sa.CheckConstraint("position BETWEEN 0 AND 2", name=op.f("ck_welcome_position")),
        sa.ForeignKeyConstraint(
            ["merchant_id", "code_id"],
            ["sub_qr_code.merchant_id", "sub_qr_code.id"],
            name=op.f("fk_welcome_merchant_id_code_id_sub_qr_code"),
        ),
        sa.ForeignKeyConstraint(
            ["merchant_id", "picture_id"],
            ["picture.merchant_id", "picture.id"],
            name=op.f("fk_welcome_merchant_id_picture_id_picture"),
        ),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name=op.f("fk_welcome_merchant_id_merchant")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_welcome")),
    )
    op.create_index(
        "ix_welcome_approved",
        "welcome",
        ["merchant_id", "code_id", "variant", "position", "id"],
        unique=False,
        postgresql_where=sa.text("review = 'approved'"),
    )
    op.create_index(
        "ix_welcome_pending", "welcome", ["id"], unique=False, postgresql_where=sa.text("review = 'pending'")
    )
    op.create_table(
        "follow_up",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("inbox_id", sa.BigInteger(), nullable=False),
        sa.Column("follower_id", sa.BigInteger(), nullable=False),
        sa.Column("welcome_id", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.SmallInteger(), nullable=False),
        sa.Column("state", sa.Text(), server_default="planned", nullable=False),
        sa.Column("calling_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("errcode", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.CheckConstraint(
            "state IN ('planned', 'calling', 'sent', 'refused', 'unknown', 'skipped')", name=op.f("ck_follow_up_state")
        ),
        sa.ForeignKeyConstraint(["follower_id"], ["follower.id"], name=op.f("fk_follow_up_follower_id_follower")),
        sa.ForeignKeyConstraint(["welcome_id"], ["welcome.id"], name=op.f("fk_follow_up_welcome_id_welcome")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_follow_up")),
        sa.UniqueConstraint("inbox_id", "position", name=op.f("uq_follow_up_inbox_id_position")),
    )
    op.create_index(
        "ix_follow_up_calling", "follow_up", ["calling_at"], unique=False, postgresql_where=sa.text("state = 'calling'")
    )
    op.create_index("ix_follow_up_follower_id", "follow_up", ["follower_id"], unique=False)
    op.create_foreign_key(
        "fk_episode_attribution",
        "follow_episode",
        "attribution",
        ["attribution_id"],
        ["id"],
        deferrable=True,
        initially="DEFERRED",
    )
    op.create_foreign_key("fk_merchant_picture", "merchant", "picture", ["id", "picture_id"], ["merchant_id", "id"])


def make_partitions() -> None:
    """A default partition as a net, and a function that workers may call for the months ahead."""
    for table in ("inbox_event", "scan"):
        op.execute(f"CREATE TABLE {table}_default PARTITION OF {table} DEFAULT")
    op.execute("""
        CREATE FUNCTION ensure_partition(parent text, first_day date) RETURNS boolean
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
        DECLARE
            part text := parent || to_char(first_day, '"_p"YYYYMM');
        BEGIN
            IF parent NOT IN ('inbox_event', 'scan') OR first_day <> date_trunc('month', first_day)::date THEN
                RAISE EXCEPTION 'not a month of a partitioned table';
            END IF;
            IF to_regclass(part) IS NOT NULL THEN RETURN false; END IF;
            EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)',
                           part, parent, first_day, (first_day + interval '1 month')::date);
            RETURN true;
        EXCEPTION WHEN check_violation OR duplicate_table THEN
            RETURN false;
        END $$""")
    op.execute("REVOKE ALL ON FUNCTION ensure_partition(text, date) FROM PUBLIC")
    op.execute(f"GRANT EXECUTE ON FUNCTION ensure_partition(text, date) TO {PLATFORM}")
    op.execute("""
        SELECT ensure_partition(parent, (date_trunc('month', now()) + step * interval '1 month')::date)
        FROM unnest(ARRAY['inbox_event', 'scan']) parent, generate_series(-2, 3) step""")


def make_audit_chain() -> None:
    """Each row carries the hash of the one before; the head row's lock puts them in one order (AU-9)."""
    op.execute("INSERT INTO app_clock (id) VALUES (1)")
    op.execute("INSERT INTO audit_head (id, hash) VALUES (1, '')")
    op.execute("""
        CREATE FUNCTION audit_chain() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
        BEGIN
            SELECT hash INTO NEW.previous_hash FROM audit_head FOR UPDATE;
            -- Numbered under the lock, so that the ids follow the chain.
            NEW.id := nextval(pg_get_serial_sequence('audit_log', 'id'));
            NEW.hash := audit_hash(NEW);
            UPDATE audit_head SET hash = NEW.hash;
            RETURN NEW;
        END $$""")
    op.execute("""
        CREATE FUNCTION audit_hash(entry audit_log) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
            SELECT sha256(entry.previous_hash || convert_to(jsonb_build_array(entry.id, extract(epoch FROM entry.at),
                entry.actor_kind, entry.actor_id, entry.merchant_id, entry.action, entry.subject, entry.detail)::text,
                'UTF8'))
        $$""")
    op.execute("CREATE TRIGGER audit_chain BEFORE INSERT ON audit_log FOR EACH ROW EXECUTE FUNCTION audit_chain()")


def make_triggers() -> None:
    append_only("audit_log")
    append_only("scan")
    append_only("attribution")
    append_only("code_owner", except_columns=("to_at",))
    append_only("erasure_log")


def say_who_may_see_what() -> None:
    op.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
    op.execute(f"GRANT USAGE ON SCHEMA public TO {MERCHANT}, {FAN}, {PLATFORM}")
    op.execute(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {MERCHANT}, {PLATFORM}")
    op.execute(f"GRANT SELECT ON app_clock, alembic_version TO {MERCHANT}, {FAN}, {PLATFORM}")
    op.execute(f"GRANT UPDATE ON app_clock TO {PLATFORM}")
    op.execute(f"GRANT SELECT ON audit_head TO {PLATFORM}")
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON lease, periodic_run TO {PLATFORM}")

    for table in ("official_account", "community", "merchant", "picture", "staff", "invitation", "login_session",
                  "follower", "follow_episode", "fan", "fan_tag", "sub_qr_code", "welcome", "inbox_event",
                  "dead_letter", "message_window", "follow_up", "outbox", "scene_pool", "wechat_token"):  # fmt: skip
        protect(table)
    for table in ("scan", "attribution", "audit_log", "erasure_log"):
        protect(table, platform="SELECT, INSERT")
    protect("code_owner", platform="SELECT, INSERT, UPDATE")

    own = f"merchant_id = {TENANT}"
    is_my_fan = "EXISTS (SELECT 1 FROM fan WHERE fan.follower_id = {table}.{column})"
    allow("official_account", MERCHANT, "SELECT", "true", columns="id, name, app_id, is_sandbox, live_since")
    allow("community", MERCHANT, "SELECT", "true")
    allow("merchant", MERCHANT, "SELECT", f"id = {TENANT}")
    allow("merchant", MERCHANT, "UPDATE", f"id = {TENANT}", columns="intro, address, hours, picture_id")
    allow("picture", MERCHANT, "SELECT", own)
    allow(
        "picture",
        MERCHANT,
        "INSERT",
        own,
        columns="merchant_id, public_id, content, mime, sha256, width, height",
    )
    allow("staff", MERCHANT, "SELECT, INSERT", own)
    allow("staff", MERCHANT, "UPDATE", own, columns="name, disabled_at")
    allow("invitation", MERCHANT, "SELECT, INSERT", own)
    allow("login_session", MERCHANT, "SELECT, DELETE", f"{own} OR token_hash = app_session_hash()")
    allow("login_session", MERCHANT, "UPDATE", "token_hash = app_session_hash()", columns="last_seen_at")
    allow("fan", MERCHANT, "SELECT", own)
    allow("fan", MERCHANT, "UPDATE", own, columns="note")
    allow("fan_tag", MERCHANT, "SELECT, INSERT, DELETE", own)
    allow("follower", MERCHANT, "SELECT", is_my_fan.format(table="follower", column="id"),
          columns="id, account_id, status, state_as_of, first_seen_at, last_seen_at, erased_at")  # fmt: skip
    allow("follow_episode", MERCHANT, "SELECT", is_my_fan.format(table="follow_episode", column="follower_id"),
          columns="id, follower_id, started_at, ended_at, source, attribution_id, voided_at")  # fmt: skip
    allow("attribution", MERCHANT, "SELECT", own)
    allow("sub_qr_code", MERCHANT, "SELECT, INSERT", own)
    allow("sub_qr_code", MERCHANT, "UPDATE", own, columns="label, kind, place, state, retired_at")
    allow("code_owner", MERCHANT, "SELECT", own)
    # A foreign key cannot say whose the code is, since codes may change hands; here a merchant sees its own only.
    is_my_code = "EXISTS (SELECT 1 FROM sub_qr_code WHERE sub_qr_code.id = code_owner.code_id)"
    allow("code_owner", MERCHANT, "INSERT", f"{own} AND {is_my_code}")
    allow("code_owner", MERCHANT, "UPDATE", own, columns="to_at")
    allow("scene_pool", MERCHANT, "SELECT", "true")
    allow("scene_pool", MERCHANT, "INSERT", "true", columns="account_id, capacity")
    allow("scene_pool", MERCHANT, "UPDATE", "true", columns="used")
    allow("scan", MERCHANT, "SELECT", own)
    # The operator's words are what a merchant's fall back to, so its pages show them.
    allow("welcome", MERCHANT, "SELECT", f"{own} OR (merchant_id IS NULL AND review = 'approved')")
    allow(
        "welcome",
        MERCHANT,
        "INSERT",
        own,
        columns="merchant_id, code_id, variant, position, kind, text, title, description, url, picture_id",
    )
    # A merchant may take its words back, but never approve them.
    allow("welcome", MERCHANT, "UPDATE", own, columns="review", result=f"{own} AND review = 'withdrawn'")
    allow("outbox", MERCHANT, "SELECT, INSERT", own)
    allow("audit_log", MERCHANT, "SELECT, INSERT", own)

    allow("official_account", FAN, "SELECT", "true", columns="id, name, app_id, is_sandbox")
    allow("community", FAN, "SELECT", "true")
    allow("merchant", FAN, "SELECT", "state = 'active'",
          columns="id, account_id, community_id, name, kind, intro, address, hours, picture_id, state, created_at")  # fmt: skip
    allow("sub_qr_code", FAN, "SELECT", "state = 'active'",
          columns="id, merchant_id, public_id, label, kind, permanent, expires_at, url, state")  # fmt: skip
    allow("picture", FAN, "SELECT", "EXISTS (SELECT 1 FROM merchant WHERE merchant.id = picture.merchant_id)")
