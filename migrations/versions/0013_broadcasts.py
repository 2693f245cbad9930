"""Broadcasts: who gets them by which route, the slots and calls they use, and what became of each."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.tenancy import FAN, MERCHANT, PLATFORM, TENANT, allow, append_only, protect

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    make_tables()
    guard_steps()
    close_to_others()


def make_tables() -> None:
    op.create_table(
        "account_day_quota",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("cap", sa.SmallInteger(), nullable=False),
        sa.Column("used", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("allotted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("returned_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("used BETWEEN 0 AND cap", name=op.f("ck_account_day_quota_used")),
        sa.PrimaryKeyConstraint("day", name=op.f("pk_account_day_quota")),
    )
    op.create_table(
        "account_minute_quota",
        sa.Column("minute", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used", sa.SmallInteger(), nullable=False),
        sa.CheckConstraint("used BETWEEN 0 AND 60", name=op.f("ck_account_minute_quota_used")),
        sa.PrimaryKeyConstraint("minute", name=op.f("pk_account_minute_quota")),
    )
    op.create_table(
        "call_allotment",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("merchant_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("allotted", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("used", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_called_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("used >= 0 AND allotted >= 0", name=op.f("ck_call_allotment_counts")),
        sa.PrimaryKeyConstraint("day", "merchant_id", name=op.f("pk_call_allotment")),
    )
    op.create_table(
        "fan_month_quota",
        sa.Column("follower_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("used", sa.SmallInteger(), nullable=False),
        sa.Column("week", sa.Date(), nullable=False),
        sa.Column("week_used", sa.SmallInteger(), nullable=False),
        sa.CheckConstraint("used BETWEEN 0 AND 4", name=op.f("ck_fan_month_quota_used")),
        sa.CheckConstraint("week_used >= 0", name=op.f("ck_fan_month_quota_week_used")),
        sa.PrimaryKeyConstraint("follower_id", "month", name=op.f("pk_fan_month_quota")),
    )
    op.create_table(
        "quota_policy",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("slots_kept", sa.SmallInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("share_base", sa.Integer(), server_default=sa.text("1000"), nullable=False),
        sa.Column("share_per_kept", sa.Integer(), server_default=sa.text("2"), nullable=False),
        sa.Column("week_most", sa.SmallInteger(), server_default=sa.text("2"), nullable=False),
        sa.Column("calls_per_day", sa.SmallInteger(), server_default=sa.text("100"), nullable=False),
        sa.Column("calls_kept", sa.SmallInteger(), server_default=sa.text("5"), nullable=False),
        sa.Column("batch_size", sa.Integer(), server_default=sa.text("10000"), nullable=False),
        sa.Column("quiet_from", sa.Time(), server_default=sa.text("'21:30'"), nullable=False),
        sa.Column("quiet_until", sa.Time(), server_default=sa.text("'08:30'"), nullable=False),
        sa.Column("holidays", postgresql.ARRAY(sa.Date()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("hello_days_most", sa.SmallInteger(), server_default=sa.text("14"), nullable=False),
        sa.Column("groups_most", sa.SmallInteger(), server_default=sa.text("10"), nullable=False),
        sa.Column("repeats_unknown", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.CheckConstraint("batch_size BETWEEN 2 AND 10000", name=op.f("ck_quota_policy_batch_size")),
        sa.CheckConstraint("calls_kept BETWEEN 0 AND calls_per_day", name=op.f("ck_quota_policy_calls_kept")),
        sa.CheckConstraint("calls_per_day BETWEEN 1 AND 1000", name=op.f("ck_quota_policy_calls_per_day")),
        sa.CheckConstraint("groups_most BETWEEN 1 AND 50", name=op.f("ck_quota_policy_groups_most")),
        sa.CheckConstraint("hello_days_most BETWEEN 0 AND 14", name=op.f("ck_quota_policy_hello_days_most")),
        sa.CheckConstraint("id = 1", name=op.f("ck_quota_policy_single")),
        sa.CheckConstraint("share_base BETWEEN 0 AND 1000000", name=op.f("ck_quota_policy_share_base")),
        sa.CheckConstraint("share_per_kept BETWEEN 0 AND 1000", name=op.f("ck_quota_policy_share_per_kept")),
        sa.CheckConstraint("slots_kept BETWEEN 0 AND 3", name=op.f("ck_quota_policy_slots_kept")),
        sa.CheckConstraint("week_most BETWEEN 1 AND 4", name=op.f("ck_quota_policy_week_most")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quota_policy")),
    )
    op.create_table(
        "send_attempt",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("broadcast_id", sa.BigInteger(), nullable=False),
        sa.Column("follower_id", sa.BigInteger(), nullable=True),
        sa.Column("batch_id", sa.BigInteger(), nullable=True),
        sa.Column("attempt", sa.SmallInteger(), nullable=False),
        sa.Column("moment", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.Column("content_hash", sa.LargeBinary(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("errcode", sa.Integer(), nullable=True),
        sa.CheckConstraint("moment IN ('before', 'after')", name=op.f("ck_send_attempt_moment")),
        sa.CheckConstraint("num_nonnulls(follower_id, batch_id) = 1", name=op.f("ck_send_attempt_subject")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_send_attempt")),
    )
    op.create_index("ix_send_attempt_broadcast_id", "send_attempt", ["broadcast_id"], unique=False)
    op.create_table(
        "sending_state",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("paused_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("resume_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("errors_in_row", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_sending_state_single")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sending_state")),
    )
    op.create_table(
        "mass_report",
        sa.Column("msg_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("account_id", sa.SmallInteger(), nullable=False),
        sa.Column("reported_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("filtered", sa.Integer(), nullable=False),
        sa.Column("sent", sa.Integer(), nullable=False),
        sa.Column("errors", sa.Integer(), nullable=False),
        sa.Column("is_foreign", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("counts_for_everybody", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("label", sa.Text(), nullable=True),
        sa.Column("note", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("labelled_by", sa.BigInteger(), nullable=True),
        sa.Column("labelled_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("label IN ('everybody', 'some', 'not_counted')", name=op.f("ck_mass_report_label")),
        sa.ForeignKeyConstraint(
            ["account_id"], ["official_account.id"], name=op.f("fk_mass_report_account_id_official_account")
        ),
        sa.PrimaryKeyConstraint("msg_id", name=op.f("pk_mass_report")),
    )
    op.create_index("ix_mass_report_reported_at", "mass_report", ["reported_at"], unique=False)
    op.create_table(
        "opt_out",
        sa.Column("follower_id", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.ForeignKeyConstraint(["follower_id"], ["follower.id"], name=op.f("fk_opt_out_follower_id_follower")),
        sa.PrimaryKeyConstraint("follower_id", name=op.f("pk_opt_out")),
    )
    op.create_table(
        "unreachable",
        sa.Column("follower_id", sa.BigInteger(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("errcode", sa.Integer(), nullable=True),
        sa.CheckConstraint("channel IN ('mass', 'window')", name=op.f("ck_unreachable_channel")),
        sa.ForeignKeyConstraint(["follower_id"], ["follower.id"], name=op.f("fk_unreachable_follower_id_follower")),
        sa.PrimaryKeyConstraint("follower_id", "channel", name=op.f("pk_unreachable")),
    )
    op.create_table(
        "broadcast",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("account_id", sa.SmallInteger(), nullable=False),
        sa.Column("merchant_id", sa.BigInteger(), nullable=True),
        sa.Column("kind", sa.Text(), server_default="single", nullable=False),
        sa.Column("state", sa.Text(), server_default="draft", nullable=False),
        sa.Column("name", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("wanted", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("hello_days", sa.SmallInteger(), server_default=sa.text("7"), nullable=False),
        sa.Column("held_out_percent", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("scheduled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("digest_id", sa.BigInteger(), nullable=True),
        sa.Column("written_by", sa.BigInteger(), nullable=True),
        sa.Column("submitted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decided_by", sa.BigInteger(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decision_reason", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("evidence", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("content_hash", sa.LargeBinary(), nullable=True),
        sa.Column("paused_by", sa.Text(), nullable=True),
        sa.Column("pause_reason", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.CheckConstraint("(kind = 'digest') = (merchant_id IS NULL)", name=op.f("ck_broadcast_merchant")),
        sa.CheckConstraint("kind IN ('single', 'item', 'digest')", name=op.f("ck_broadcast_kind")),
        sa.CheckConstraint("paused_by IN ('merchant', 'operator', 'platform')", name=op.f("ck_broadcast_paused_by")),
        sa.CheckConstraint(
            "state IN ('draft', 'submitted', 'returned', 'approved', 'late', 'gathered', 'freezing', 'running', 'paused', 'finished', 'cancelled')",
            name=op.f("ck_broadcast_state"),
        ),
        sa.CheckConstraint("held_out_percent BETWEEN 0 AND 50", name=op.f("ck_broadcast_held_out_percent")),
        sa.CheckConstraint("hello_days BETWEEN 0 AND 14", name=op.f("ck_broadcast_hello_days")),
        sa.ForeignKeyConstraint(
            ["account_id"], ["official_account.id"], name=op.f("fk_broadcast_account_id_official_account")
        ),
        sa.ForeignKeyConstraint(["digest_id"], ["broadcast.id"], name=op.f("fk_broadcast_digest_id_broadcast")),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name=op.f("fk_broadcast_merchant_id_merchant")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_broadcast")),
        sa.UniqueConstraint("merchant_id", "id", name=op.f("uq_broadcast_merchant_id_id")),
    )
    op.create_index(
        "ix_broadcast_digest_id",
        "broadcast",
        ["digest_id"],
        unique=False,
        postgresql_where=sa.text("digest_id IS NOT NULL"),
    )
    op.create_index(
        "ix_broadcast_live",
        "broadcast",
        ["state", "id"],
        unique=False,
        postgresql_where=sa.text("state IN ('submitted', 'approved', 'late', 'freezing', 'running', 'paused')"),
    )
    op.create_index(
        "ix_broadcast_merchant_id_id", "broadcast", ["merchant_id", sa.literal_column("id DESC")], unique=False
    )
    op.create_table(
        "broadcast_template",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("merchant_id", sa.BigInteger(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("title", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("summary", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.CheckConstraint("kind IN ('text', 'picture', 'article')", name=op.f("ck_broadcast_template_kind")),
        sa.ForeignKeyConstraint(
            ["merchant_id"], ["merchant.id"], name=op.f("fk_broadcast_template_merchant_id_merchant")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_broadcast_template")),
        sa.UniqueConstraint(
            "merchant_id",
            "name",
            name=op.f("uq_broadcast_template_merchant_id_name"),
            postgresql_nulls_not_distinct=True,
        ),
    )
    op.create_table(
        "merchant_month_quota",
        sa.Column("merchant_id", sa.BigInteger(), nullable=False),
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("used", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.CheckConstraint("used >= 0", name=op.f("ck_merchant_month_quota_used")),
        sa.ForeignKeyConstraint(
            ["merchant_id"], ["merchant.id"], name=op.f("fk_merchant_month_quota_merchant_id_merchant")
        ),
        sa.PrimaryKeyConstraint("merchant_id", "month", name=op.f("pk_merchant_month_quota")),
    )
    op.create_table(
        "broadcast_recipient",
        sa.Column("broadcast_id", sa.BigInteger(), nullable=False),
        sa.Column("follower_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("merchant_id", sa.BigInteger(), nullable=True),
        sa.Column("variant", sa.Text(), server_default="a", nullable=False),
        sa.Column("group_no", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("route", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("batch_id", sa.BigInteger(), nullable=True),
        sa.Column("window_id", sa.BigInteger(), nullable=True),
        sa.Column("attempt", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("errcode", sa.Integer(), nullable=True),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("(reason IS NOT NULL) = (state = 'skipped')", name=op.f("ck_broadcast_recipient_reason")),
        sa.CheckConstraint("route <> 'none' OR state = 'skipped'", name=op.f("ck_broadcast_recipient_no_route")),
        sa.CheckConstraint("route IN ('mass', 'window', 'hello', 'none')", name=op.f("ck_broadcast_recipient_route")),
        sa.CheckConstraint(
            "state IN ('planned', 'claimed', 'calling', 'sent', 'rejected', 'unknown', 'skipped', 'cancelled')",
            name=op.f("ck_broadcast_recipient_state"),
        ),
        sa.ForeignKeyConstraint(
            ["broadcast_id"], ["broadcast.id"], name=op.f("fk_broadcast_recipient_broadcast_id_broadcast")
        ),
        sa.PrimaryKeyConstraint("broadcast_id", "follower_id", name=op.f("pk_broadcast_recipient")),
    )
    op.create_index(
        "ix_broadcast_recipient_batch_id",
        "broadcast_recipient",
        ["batch_id"],
        unique=False,
        postgresql_where=sa.text("batch_id IS NOT NULL"),
    )
    op.create_index(
        "ix_broadcast_recipient_held",
        "broadcast_recipient",
        ["lease_until"],
        unique=False,
        postgresql_where=sa.text("state IN ('claimed', 'calling')"),
    )
    op.create_index(
        "ix_broadcast_recipient_hello",
        "broadcast_recipient",
        ["follower_id", "broadcast_id"],
        unique=False,
        postgresql_where=sa.text("state = 'planned' AND route = 'hello'"),
    )
    op.create_index(
        "ix_broadcast_recipient_to_batch",
        "broadcast_recipient",
        ["broadcast_id", "group_no", "variant", "follower_id"],
        unique=False,
        postgresql_where=sa.text("state = 'planned' AND route = 'mass' AND batch_id IS NULL"),
    )
    op.create_index(
        "ix_broadcast_recipient_to_send",
        "broadcast_recipient",
        ["broadcast_id", "follower_id"],
        unique=False,
        postgresql_where=sa.text("state = 'planned' AND route = 'window'"),
    )
    op.create_table(
        "broadcast_words",
        sa.Column("broadcast_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("variant", sa.Text(), server_default="a", nullable=False),
        sa.Column("merchant_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("title", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("summary", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("picture_id", sa.BigInteger(), nullable=True),
        sa.Column("media_id", sa.Text(), nullable=True),
        sa.CheckConstraint("kind IN ('text', 'picture', 'article')", name=op.f("ck_broadcast_words_kind")),
        sa.CheckConstraint("variant IN ('a', 'b')", name=op.f("ck_broadcast_words_variant")),
        sa.ForeignKeyConstraint(
            ["merchant_id", "broadcast_id"],
            ["broadcast.merchant_id", "broadcast.id"],
            name=op.f("fk_broadcast_words_merchant_id_broadcast_id_broadcast"),
        ),
        sa.ForeignKeyConstraint(
            ["merchant_id", "picture_id"],
            ["picture.merchant_id", "picture.id"],
            name=op.f("fk_broadcast_words_merchant_id_picture_id_picture"),
        ),
        sa.PrimaryKeyConstraint("broadcast_id", "variant", name=op.f("pk_broadcast_words")),
    )
    op.create_table(
        "send_batch",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("broadcast_id", sa.BigInteger(), nullable=False),
        sa.Column("no", sa.Integer(), nullable=False),
        sa.Column("merchant_id", sa.BigInteger(), nullable=True),
        sa.Column("variant", sa.Text(), server_default="a", nullable=False),
        sa.Column("group_no", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("week", sa.Date(), nullable=False),
        sa.Column("state", sa.Text(), server_default="planned", nullable=False),
        sa.Column("clientmsgid", sa.Text(), nullable=False),
        sa.Column("msg_id", sa.BigInteger(), nullable=True),
        sa.Column("attempt", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=True),
        sa.Column("called_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("repeat_asked", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("errcode", sa.Integer(), nullable=True),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("clientmsgid ~ '^[a-z0-9-]{1,32}$'", name=op.f("ck_send_batch_clientmsgid")),
        sa.CheckConstraint(
            "state IN ('planned', 'claimed', 'calling', 'accepted', 'rejected', 'unknown', 'cancelled')",
            name=op.f("ck_send_batch_state"),
        ),
        sa.CheckConstraint("size BETWEEN 0 AND 10000", name=op.f("ck_send_batch_size")),
        sa.ForeignKeyConstraint(["broadcast_id"], ["broadcast.id"], name=op.f("fk_send_batch_broadcast_id_broadcast")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_send_batch")),
        sa.UniqueConstraint("broadcast_id", "no", name=op.f("uq_send_batch_broadcast_id_no")),
        sa.UniqueConstraint("clientmsgid", name=op.f("uq_send_batch_clientmsgid")),
        sa.UniqueConstraint("msg_id", name=op.f("uq_send_batch_msg_id")),
    )
    op.create_index(
        "ix_send_batch_open",
        "send_batch",
        ["state", "id"],
        unique=False,
        postgresql_where=sa.text("state IN ('planned', 'claimed', 'calling', 'unknown')"),
    )
    op.create_table(
        "short_link",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.BigInteger(), nullable=False),
        sa.Column("broadcast_id", sa.BigInteger(), nullable=False),
        sa.Column("variant", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["merchant_id", "broadcast_id"],
            ["broadcast.merchant_id", "broadcast.id"],
            name=op.f("fk_short_link_merchant_id_broadcast_id_broadcast"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_short_link")),
        sa.UniqueConstraint(
            "broadcast_id", "variant", "target", name=op.f("uq_short_link_broadcast_id_variant_target")
        ),
        sa.UniqueConstraint("code", name=op.f("uq_short_link_code")),
    )
    op.create_table(
        "link_tap",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("link_id", sa.BigInteger(), nullable=False),
        sa.Column("merchant_id", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.Column("visitor", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["link_id"], ["short_link.id"], name=op.f("fk_link_tap_link_id_short_link")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_link_tap")),
    )
    op.create_index("ix_link_tap_link_id", "link_tap", ["link_id"], unique=False)
    op.add_column(
        "message_window", sa.Column("wants_offers", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    )

    op.execute("INSERT INTO quota_policy (id) VALUES (1)")
    op.execute("INSERT INTO sending_state (id) VALUES (1)")


BROADCAST_STEPS = """
    ('draft', 'submitted'), ('draft', 'cancelled'),
    ('submitted', 'draft'), ('submitted', 'returned'), ('submitted', 'approved'), ('submitted', 'cancelled'),
    ('returned', 'draft'), ('returned', 'submitted'), ('returned', 'cancelled'),
    ('approved', 'draft'), ('approved', 'returned'), ('approved', 'late'), ('approved', 'gathered'),
    ('approved', 'freezing'), ('approved', 'cancelled'),
    ('late', 'approved'), ('late', 'draft'), ('late', 'cancelled'),
    ('gathered', 'approved'), ('gathered', 'finished'), ('gathered', 'cancelled'),
    ('freezing', 'running'), ('freezing', 'cancelled'),
    ('running', 'paused'), ('running', 'finished'), ('running', 'cancelled'),
    ('paused', 'running'), ('paused', 'finished'), ('paused', 'cancelled')"""
PLATFORM_STEPS = """
    ('submitted', 'returned'), ('submitted', 'approved'), ('approved', 'returned'), ('approved', 'late'),
    ('approved', 'gathered'), ('approved', 'freezing'), ('gathered', 'approved'), ('gathered', 'finished'),
    ('gathered', 'cancelled'), ('freezing', 'running'), ('running', 'finished'), ('paused', 'finished')"""
RECIPIENT_STEPS = """
    ('planned', 'claimed'), ('planned', 'sent'), ('planned', 'rejected'), ('planned', 'unknown'),
    ('planned', 'skipped'), ('planned', 'cancelled'),
    ('claimed', 'planned'), ('claimed', 'calling'), ('claimed', 'skipped'), ('claimed', 'cancelled'),
    ('calling', 'planned'), ('calling', 'sent'), ('calling', 'rejected'), ('calling', 'unknown'),
    ('unknown', 'sent'), ('unknown', 'rejected')"""
BATCH_STEPS = """
    ('planned', 'claimed'), ('planned', 'cancelled'),
    ('claimed', 'planned'), ('claimed', 'calling'), ('claimed', 'cancelled'),
    ('calling', 'planned'), ('calling', 'accepted'), ('calling', 'rejected'), ('calling', 'unknown'),
    ('unknown', 'accepted'), ('unknown', 'rejected')"""


def guard_steps() -> None:
    """No state follows another but as these say, whoever writes (BC-3); what was agreed to stays as it was."""
    op.execute(f"""
        CREATE FUNCTION broadcast_steps() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF OLD.state <> NEW.state THEN
                IF (OLD.state, NEW.state) NOT IN ({BROADCAST_STEPS}) THEN
                    RAISE EXCEPTION 'a broadcast goes from % to no %', OLD.state, NEW.state USING ERRCODE = 'check_violation';
                END IF;
                IF current_user = '{MERCHANT}' AND (
                    (OLD.state, NEW.state) IN ({PLATFORM_STEPS})
                    OR (OLD.state = 'paused' AND NEW.state = 'running' AND OLD.paused_by <> 'merchant')) THEN
                    RAISE EXCEPTION 'this step is the platform''s' USING ERRCODE = 'insufficient_privilege';
                END IF;
            END IF;
            IF OLD.state NOT IN ('draft', 'returned') AND OLD.kind <> 'digest' AND
               (OLD.kind, OLD.wanted, OLD.hello_days, OLD.held_out_percent)
               IS DISTINCT FROM (NEW.kind, NEW.wanted, NEW.hello_days, NEW.held_out_percent) THEN
                RAISE EXCEPTION 'whom it is for can only change in a draft' USING ERRCODE = 'check_violation';
            END IF;
            RETURN NEW;
        END $$""")
    op.execute("""
        CREATE TRIGGER broadcast_steps BEFORE UPDATE ON broadcast
        FOR EACH ROW EXECUTE FUNCTION broadcast_steps()""")
    op.execute("""
        CREATE FUNCTION broadcast_words_are_drafts() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE
            words broadcast_words := CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
        BEGIN
            IF TG_OP = 'UPDATE' AND to_jsonb(NEW) - 'media_id' = to_jsonb(OLD) - 'media_id' THEN RETURN NEW; END IF;
            PERFORM 1 FROM broadcast WHERE id = words.broadcast_id AND state IN ('draft', 'returned');
            IF NOT FOUND THEN
                RAISE EXCEPTION 'words can only change in a draft' USING ERRCODE = 'check_violation';
            END IF;
            RETURN words;
        END $$""")
    op.execute("""
        CREATE TRIGGER broadcast_words_are_drafts BEFORE INSERT OR UPDATE OR DELETE ON broadcast_words
        FOR EACH ROW EXECUTE FUNCTION broadcast_words_are_drafts()""")
    for table, steps in (("broadcast_recipient", RECIPIENT_STEPS), ("send_batch", BATCH_STEPS)):
        op.execute(f"""
            CREATE FUNCTION {table}_steps() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                IF (OLD.state, NEW.state) NOT IN ({steps}) THEN
                    RAISE EXCEPTION '{table} goes from % to no %', OLD.state, NEW.state USING ERRCODE = 'check_violation';
                END IF;
                RETURN NEW;
            END $$""")
        op.execute(f"""
            CREATE TRIGGER {table}_steps BEFORE UPDATE OF state ON {table}
            FOR EACH ROW WHEN (OLD.state IS DISTINCT FROM NEW.state) EXECUTE FUNCTION {table}_steps()""")


def close_to_others() -> None:
    """Who sees and writes what (TN-1, TN-2). A merchant writes drafts and says stop; all else is the platform's."""
    own = f"merchant_id = {TENANT}"
    for table in (
        "broadcast", "broadcast_words", "broadcast_template", "broadcast_recipient", "send_batch", "mass_report",
        "fan_month_quota", "merchant_month_quota", "account_day_quota", "account_minute_quota", "call_allotment", "unreachable", "opt_out", "short_link",
    ):  # fmt: skip
        protect(table)
    protect("send_attempt", platform="SELECT, INSERT")
    append_only("send_attempt")
    protect("link_tap", platform="SELECT, INSERT, DELETE")
    # How the common goods are shared, and whether anything is sent, is everybody's to know.
    op.execute(f"GRANT SELECT, UPDATE ON quota_policy, sending_state TO {PLATFORM}")
    op.execute(f"GRANT SELECT ON quota_policy, sending_state TO {MERCHANT}")
    allow("account_day_quota", MERCHANT, "SELECT", "true")

    allow("broadcast", MERCHANT, "SELECT", own)
    allow("broadcast", MERCHANT, "INSERT", f"{own} AND state = 'draft' AND kind <> 'digest'",
          columns="account_id, merchant_id, kind, name, wanted, hello_days, held_out_percent, scheduled_at, written_by")  # fmt: skip
    allow("broadcast", MERCHANT, "UPDATE", own,
          columns="kind, state, name, wanted, hello_days, held_out_percent, scheduled_at, submitted_at, paused_by, "
                  "pause_reason")  # fmt: skip
    allow("broadcast_words", MERCHANT, "SELECT, DELETE", own)
    words = "merchant_id, broadcast_id, variant, kind, text, title, summary, picture_id"
    allow("broadcast_words", MERCHANT, "INSERT, UPDATE", own, columns=words)
    allow("broadcast_template", MERCHANT, "SELECT", f"{own} OR merchant_id IS NULL")
    allow("broadcast_template", MERCHANT, "INSERT, UPDATE, DELETE", own)
    for table in ("broadcast_recipient", "send_batch", "merchant_month_quota", "call_allotment", "short_link",
                  "link_tap"):  # fmt: skip
        allow(table, MERCHANT, "SELECT", own)
    allow("message_window", MERCHANT, "SELECT", own)
    # What was told about its own batches, and how often everybody was written to by hand.
    is_mine = "EXISTS (SELECT 1 FROM send_batch b WHERE b.msg_id = mass_report.msg_id)"
    allow("mass_report", MERCHANT, "SELECT", f"counts_for_everybody OR {is_mine}")
    is_my_fan = "EXISTS (SELECT 1 FROM fan WHERE fan.follower_id = {table}.follower_id)"
    for table in ("fan_month_quota", "unreachable", "opt_out"):
        allow(table, MERCHANT, "SELECT", is_my_fan.format(table=table))

    allow("short_link", FAN, "SELECT", "true", columns="id, code, merchant_id, target")
    goes_there = "EXISTS (SELECT 1 FROM short_link l WHERE l.id = link_id AND l.merchant_id = link_tap.merchant_id)"
    allow("link_tap", FAN, "INSERT", goes_there, columns="link_id, merchant_id, visitor")
