"""Invitations: the words on a card, the way of a reward, and the hint of an address that is forgotten in time."""

import sqlalchemy as sa
from alembic import op

from migrations.tenancy import FAN, MERCHANT, PLATFORM, TENANT, allow, protect

revision = "0023"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "invite_wording",
        sa.Column("merchant_id", sa.BigInteger(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), server_default=sa.text("app_now()"), nullable=False),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name=op.f("fk_invite_wording_merchant_id_merchant")),
        sa.PrimaryKeyConstraint("merchant_id", name=op.f("pk_invite_wording")),
    )
    protect("invite_wording")
    allow("invite_wording", MERCHANT, "SELECT, INSERT, UPDATE", f"merchant_id = {TENANT}")
    allow("invite_wording", FAN, "SELECT", "true")
    forget_addresses()
    guard_rewards()


def forget_addresses() -> None:
    """An edge stays as it is, but for the hint that is emptied when its time is over."""
    op.execute("""
        CREATE OR REPLACE FUNCTION referral_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP = 'UPDATE' AND NEW.address_hash IS NULL
               AND to_jsonb(NEW) - 'address_hash' = to_jsonb(OLD) - 'address_hash' THEN RETURN NEW; END IF;
            RAISE EXCEPTION 'referral is append-only' USING ERRCODE = 'restrict_violation';
        END $$""")
    op.execute(f"GRANT UPDATE (address_hash) ON referral TO {PLATFORM}")
    op.create_index(
        "ix_referral_address", "referral", ["at"], unique=False, postgresql_where=sa.text("address_hash IS NOT NULL")
    )


def guard_rewards() -> None:
    """What is held or refused is the operator's to decide: no till pays it (RF-7). A reward whose redemption was taken
    back can be earned anew by the next first one."""
    op.execute("DROP POLICY referral_reward_merchant_update ON referral_reward")
    op.execute(f"REVOKE UPDATE (state, transfer_id, decided_at) ON referral_reward FROM {MERCHANT}")
    allow(
        "referral_reward",
        MERCHANT,
        "UPDATE",
        f"merchant_id = {TENANT}",
        columns="state, transfer_id, cause_type, cause_id, suspicion, at",
        result=f"merchant_id = {TENANT} AND state IN ('held', 'paid', 'reversed')",
    )
    op.create_check_constraint(
        op.f("ck_referral_reward_paid"), "referral_reward", "transfer_id IS NULL OR state IN ('paid', 'reversed')"
    )
    op.create_check_constraint(
        op.f("ck_referral_reward_cause"), "referral_reward", "cause_type IN ('redemption', 'visit')"
    )
    op.execute(f"""
        CREATE FUNCTION referral_reward_steps() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF (NEW.invitee_id, NEW.beneficiary_id, NEW.level, NEW.merchant_id)
               IS DISTINCT FROM (OLD.invitee_id, OLD.beneficiary_id, OLD.level, OLD.merchant_id) THEN
                RAISE EXCEPTION 'whose reward it is does not change' USING ERRCODE = 'restrict_violation';
            END IF;
            IF OLD.state <> NEW.state AND (OLD.state, NEW.state) NOT IN (
                ('held', 'paid'), ('held', 'refused'), ('held', 'reversed'), ('paid', 'reversed'),
                ('reversed', 'paid'), ('reversed', 'held')) THEN
                RAISE EXCEPTION 'a reward goes from % to no %', OLD.state, NEW.state USING ERRCODE = 'check_violation';
            END IF;
            IF OLD.state = 'held' AND NEW.state = 'paid' AND current_user <> '{PLATFORM}' THEN
                RAISE EXCEPTION 'only the operator releases' USING ERRCODE = 'insufficient_privilege';
            END IF;
            IF OLD.state <> 'reversed' AND (NEW.cause_type, NEW.cause_id) IS DISTINCT FROM (OLD.cause_type, OLD.cause_id)
            THEN
                RAISE EXCEPTION 'what caused it does not change' USING ERRCODE = 'restrict_violation';
            END IF;
            RETURN NEW;
        END $$""")
    op.execute("""
        CREATE TRIGGER referral_reward_steps BEFORE UPDATE ON referral_reward
        FOR EACH ROW EXECUTE FUNCTION referral_reward_steps()""")
