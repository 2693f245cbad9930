"""Words for migrations: who may see and write which rows of a table (TN-1, TN-2).

Row-level security is enabled and forced, so that even the owner of the schema sees nothing by accident.
The platform role (inbox, workers, scheduler, operator pages, checks) sees all rows.
"""

from alembic import op

TENANT = "app_merchant_id()"
MERCHANT = "quanma_merchant"
FAN = "quanma_fan"
PLATFORM = "quanma_platform"


def protect(table: str, *, platform: str = "SELECT, INSERT, UPDATE, DELETE") -> None:
    """Close a table to everybody but the platform role."""
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.execute(f"GRANT {platform} ON {table} TO {PLATFORM}")
    op.execute(f"CREATE POLICY {table}_platform ON {table} TO {PLATFORM} USING (true) WITH CHECK (true)")


def allow(table: str, role: str, privileges: str, condition: str, *, columns: str = "", result: str = "") -> None:
    """Open the rows that meet `condition` to `role`, for `privileges` such as "SELECT, UPDATE" on `columns`.

    What an UPDATE makes of a row must meet `result`, the same condition where nothing else is said.
    """
    wanted = [privilege.strip() for privilege in privileges.split(",")]
    limited = f" ({columns})" if columns else ""
    op.execute(f"GRANT {', '.join(privilege + limited for privilege in wanted)} ON {table} TO {role}")
    for privilege in wanted:
        check = {
            "SELECT": f"USING ({condition})",
            "DELETE": f"USING ({condition})",
            "INSERT": f"WITH CHECK ({condition})",
            "UPDATE": f"USING ({condition}) WITH CHECK ({result or condition})",
        }[privilege]
        name = f"{table}_{role.removeprefix('quanma_')}_{privilege.lower()}"
        op.execute(f"CREATE POLICY {name} ON {table} FOR {privilege} TO {role} {check}")


def append_only(table: str, *, except_columns: tuple[str, ...] = ()) -> None:
    """Refuse UPDATE and DELETE, but for filling the named columns once (a period's end)."""
    guard = " AND ".join(f"OLD.{column} IS NULL" for column in except_columns) or "false"
    kept = (
        " AND ".join(f"to_jsonb(NEW) - '{column}' = to_jsonb(OLD) - '{column}'" for column in except_columns) or "false"
    )
    op.execute(f"""
        CREATE FUNCTION {table}_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP = 'UPDATE' AND {guard} AND {kept} THEN RETURN NEW; END IF;
            RAISE EXCEPTION '{table} is append-only' USING ERRCODE = 'restrict_violation';
        END $$""")
    op.execute(f"""
        CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table}
        FOR EACH ROW EXECUTE FUNCTION {table}_is_append_only()""")


def turn_the_page(table: str, when: str = "INSERT OR UPDATE OR DELETE") -> None:
    """Say at commit that the page of the book of answers on which a changed row stands is another one."""
    op.execute(f"""
        CREATE CONSTRAINT TRIGGER {table}_is_in_the_book AFTER {when} ON {table}
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION page_has_changed()""")
