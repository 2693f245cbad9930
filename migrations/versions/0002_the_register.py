"""The register: what a code costs and where it belongs, codes that change hands, codes by the hundred, long jobs."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.tenancy import MERCHANT, TENANT, allow, protect

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

OWN = f"merchant_id = {TENANT}"


def upgrade() -> None:
    make_long_jobs()
    extend_codes()
    make_handovers()
    make_batches()


def make_long_jobs() -> None:
    op.create_table(
        "long_job",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("merchant_id", sa.BigInteger(), nullable=True),
        sa.Column("requested_by", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), server_default="", nullable=False),
        sa.Column("payload", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("state", sa.Text(), server_default="pending", nullable=False),
        sa.Column("attempt", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("silent_ends", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("done", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("total", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), server_default="", nullable=False),
        sa.Column(
            "error_detail", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False
        ),
        sa.Column("file_name", sa.Text(), server_default="", nullable=False),
        sa.Column("file_mime", sa.Text(), server_default="", nullable=False),
        sa.Column("file_size", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "state IN ('pending', 'running', 'done', 'failed', 'cancelled')", name=op.f("ck_long_job_state")
        ),
        sa.CheckConstraint("done >= 0 AND (total IS NULL OR done <= total)", name=op.f("ck_long_job_progress")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_long_job")),
    )
    op.create_index("ix_long_job_requested_by_id", "long_job", ["requested_by", "id"])
    op.create_index("ix_long_job_expires_at", "long_job", ["expires_at"])
    op.create_table(
        "long_job_part",
        sa.Column("job_id", sa.BigInteger(), nullable=False),
        sa.Column("attempt", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("octet_length(content) <= 1048576", name=op.f("ck_long_job_part_size")),
        sa.ForeignKeyConstraint(
            ["job_id"], ["long_job.id"], name=op.f("fk_long_job_part_job_id_long_job"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job_id", "attempt", "number", name=op.f("pk_long_job_part")),
    )
    protect("long_job")
    protect("long_job_part")
    allow("long_job", MERCHANT, "SELECT", OWN)
    allow(
        "long_job",
        MERCHANT,
        "INSERT",
        OWN,
        columns="merchant_id, requested_by, kind, subject, payload, total, created_at, expires_at",
    )
    # A merchant may stop its job, but never say that it is done.
    allow(
        "long_job",
        MERCHANT,
        "UPDATE",
        OWN,
        columns="state, finished_at",
        result=f"{OWN} AND state = 'cancelled'",
    )
    allow(
        "long_job_part",
        MERCHANT,
        "SELECT",
        "EXISTS (SELECT 1 FROM long_job WHERE long_job.id = long_job_part.job_id)",
    )


def extend_codes() -> None:
    for name, kind in (("group_name", sa.Text), ("batch", sa.Text)):
        op.add_column("sub_qr_code", sa.Column(name, kind(), server_default="", nullable=False))
    for name in ("printed_copies", "cost_fen"):
        op.add_column("sub_qr_code", sa.Column(name, sa.Integer(), server_default=sa.text("0"), nullable=False))
    for name in ("valid_from", "valid_to"):
        op.add_column("sub_qr_code", sa.Column(name, sa.Date(), nullable=True))
    for name, rule in (
        ("printed_copies", "printed_copies BETWEEN 0 AND 1000000"),
        ("cost_fen", "cost_fen BETWEEN 0 AND 1000000000"),
        ("validity", "valid_from <= valid_to"),
    ):
        op.create_check_constraint(op.f(f"ck_sub_qr_code_{name}"), "sub_qr_code", rule)
    op.create_index(
        "ix_sub_qr_code_expires_at", "sub_qr_code", ["expires_at"], postgresql_where=sa.text("state = 'active'")
    )
    editable = "group_name, batch, printed_copies, cost_fen, valid_from, valid_to"
    op.execute(f"GRANT UPDATE ({editable}) ON sub_qr_code TO {MERCHANT}")
    op.execute("""
        CREATE FUNCTION sub_qr_code_stays_retired() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION 'a retired code stays retired' USING ERRCODE = 'restrict_violation'; END $$""")
    op.execute("""
        CREATE TRIGGER sub_qr_code_stays_retired
        BEFORE UPDATE OF state, retired_at, scene, merchant_id ON sub_qr_code FOR EACH ROW
        WHEN (OLD.state = 'retired' AND (NEW.state, NEW.retired_at, NEW.scene, NEW.merchant_id)
            IS DISTINCT FROM (OLD.state, OLD.retired_at, OLD.scene, OLD.merchant_id))
        EXECUTE FUNCTION sub_qr_code_stays_retired()""")


def make_handovers() -> None:
    op.create_table(
        "code_handover",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("code_id", sa.BigInteger(), nullable=False),
        sa.Column("from_merchant_id", sa.BigInteger(), nullable=False),
        sa.Column("to_merchant_id", sa.BigInteger(), nullable=False),
        sa.Column("from_name", sa.Text(), nullable=False),
        sa.Column("to_name", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="offered", nullable=False),
        sa.Column("offered_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_by", sa.BigInteger(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("effective_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "state IN ('offered', 'accepted', 'done', 'declined', 'withdrawn', 'void')",
            name=op.f("ck_code_handover_state"),
        ),
        sa.CheckConstraint("from_merchant_id <> to_merchant_id", name=op.f("ck_code_handover_two_merchants")),
        sa.ForeignKeyConstraint(["code_id"], ["sub_qr_code.id"], name=op.f("fk_code_handover_code_id_sub_qr_code")),
        sa.ForeignKeyConstraint(
            ["from_merchant_id"], ["merchant.id"], name=op.f("fk_code_handover_from_merchant_id_merchant")
        ),
        sa.ForeignKeyConstraint(
            ["to_merchant_id"], ["merchant.id"], name=op.f("fk_code_handover_to_merchant_id_merchant")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_code_handover")),
    )
    for column in ("code_id", "from_merchant_id", "to_merchant_id"):
        op.create_index(f"ix_code_handover_{column}", "code_handover", [column])
    op.create_index(
        "uq_code_handover_open",
        "code_handover",
        ["code_id"],
        unique=True,
        postgresql_where=sa.text("state IN ('offered', 'accepted')"),
    )
    protect("code_handover")
    gives, gets = f"from_merchant_id = {TENANT}", f"to_merchant_id = {TENANT}"
    allow("code_handover", MERCHANT, "SELECT", f"({gives} OR {gets})")
    is_my_code = "EXISTS (SELECT 1 FROM sub_qr_code WHERE sub_qr_code.id = code_handover.code_id)"
    allow("code_handover", MERCHANT, "INSERT", f"{gives} AND {is_my_code} AND state = 'offered'")
    # Who gives may take the offer back, who gets may answer it; neither can say that it was done.
    allow(
        "code_handover",
        MERCHANT,
        "UPDATE",
        f"({gives} OR {gets}) AND state = 'offered'",
        columns="state, decided_by, decided_at",
        result=f"({gives} AND state = 'withdrawn') OR ({gets} AND state IN ('accepted', 'declined'))",
    )


def make_batches() -> None:
    op.create_table(
        "code_batch",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("account_id", sa.SmallInteger(), nullable=False),
        sa.Column("merchant_id", sa.BigInteger(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("rows", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("code_ids", sa.ARRAY(sa.BigInteger()), nullable=True),
        sa.Column("job_id", sa.BigInteger(), nullable=True),
        sa.Column("created_by", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["official_account.id"], name=op.f("fk_code_batch_account_id_official_account")
        ),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name=op.f("fk_code_batch_merchant_id_merchant")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_code_batch")),
    )
    op.create_index("ix_code_batch_created_by_id", "code_batch", ["created_by", "id"])
    protect("code_batch")
    allow("code_batch", MERCHANT, "SELECT, INSERT", OWN)
    allow("code_batch", MERCHANT, "UPDATE", OWN, columns="code_ids, job_id")
