"""Whether a member of staff redeems a coupon of their own is seen without seeing who anybody is in WeChat."""

from alembic import op

from migrations.tenancy import MERCHANT, PLATFORM

revision = "0020"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE FUNCTION app_holder() RETURNS bigint LANGUAGE sql STABLE PARALLEL SAFE AS
        $$ SELECT nullif(current_setting('app.holder', true), '')::bigint $$""")
    # The column stays closed: of a holder who is named, a merchant learns which of its own staff it is, if any.
    op.execute(f"""
        CREATE POLICY staff_identity_of_holder ON staff_identity AS RESTRICTIVE FOR SELECT TO {MERCHANT}, {PLATFORM}
        USING (app_holder() IS NULL OR follower_id = app_holder())""")
