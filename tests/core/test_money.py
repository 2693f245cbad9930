"""Money is whole fen in bigint columns, and nothing that counts is a fraction (MO-1)."""

from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from core.database import Role
from core.runtime import Runtime

FRACTIONS: Final = ("numeric", "real", "double precision", "money")
_ODD = text("""
    SELECT c.table_name || '.' || c.column_name
    FROM information_schema.columns c JOIN information_schema.tables t USING (table_schema, table_name)
    WHERE c.table_schema = 'public' AND t.table_type = 'BASE TABLE'
      AND (c.data_type = ANY(:fractions)
           OR (c.column_name ~ '(^|_)(fen|price|amount|yuan|debt|balance)$'
               AND c.data_type NOT IN ('bigint', 'integer'))
           OR (c.column_name ~ '(^|_)fen$' AND c.data_type <> 'bigint' AND c.column_name <> 'per_fen'))
    ORDER BY 1""")


def odd_columns(session: Session) -> list[str]:
    return list(session.execute(_ODD, {"fractions": list(FRACTIONS)}).scalars())


def test_no_column_holds_a_fraction_and_fen_are_bigints(runtime: Runtime) -> None:
    with runtime.transaction(Role.MIGRATE) as session:
        assert odd_columns(session) == []


def test_a_price_with_a_fraction_is_noticed(runtime: Runtime) -> None:
    with runtime.database.engine(Role.MIGRATE).connect() as connection:
        connection.execute(
            text("CREATE TABLE odd (price numeric(10, 2), fee_fen integer, total_fen bigint, share real)")
        )
        found = set(connection.execute(_ODD, {"fractions": list(FRACTIONS)}).scalars())
        connection.rollback()
    assert found == {"odd.price", "odd.fee_fen", "odd.share"}
