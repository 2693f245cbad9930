"""Money is whole fen in columns of whole numbers (MO-1)."""

from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from core.database import Role
from core.runtime import Runtime

FRACTIONS: Final = ("numeric", "real", "double precision", "money")
NOT_MONEY: Final = (
    "traffic_alarm.usual", "merchant.latitude", "merchant.longitude", "merchant_card.latitude",
    "merchant_card.longitude",
)  # fmt: skip
"""How many scans are usual on such a day: a mean; and degrees."""
_WANTED: Final = {"fractions": list(FRACTIONS), "others": list(NOT_MONEY)}
_ODD = text("""
    SELECT c.table_name || '.' || c.column_name
    FROM information_schema.columns c JOIN information_schema.tables t USING (table_schema, table_name)
    WHERE c.table_schema = 'public' AND t.table_type = 'BASE TABLE'
      AND (c.data_type = ANY(:fractions)
           OR (c.column_name ~ '(^|_)(fen|price|amount|yuan|debt|balance)$'
               AND c.data_type NOT IN ('bigint', 'integer')))
      AND c.table_name || '.' || c.column_name <> ALL(:others)
    ORDER BY 1""")


def odd_columns(session: Session) -> list[str]:
    return list(session.execute(_ODD, _WANTED).scalars())


def test_no_column_holds_a_fraction(runtime: Runtime) -> None:
    with runtime.transaction(Role.MIGRATE) as session:
        assert odd_columns(session) == []


def test_a_price_with_a_fraction_is_noticed(runtime: Runtime) -> None:
    with runtime.database.engine(Role.MIGRATE).connect() as connection:
        connection.execute(text("CREATE TABLE odd (price numeric(10, 2), fee_fen text, total_fen bigint, share real)"))
        found = set(connection.execute(_ODD, _WANTED).scalars())
        connection.rollback()
    assert found == {"odd.price", "odd.fee_fen", "odd.share"}
