"""Monthly partitions of the large append-only tables: made ahead of time, with a default one as a net below."""

from datetime import date, timedelta

from sqlalchemy import text
from sqlalchemy.orm import Session

PARTITIONED = ("inbox_event", "scan")
MONTHS_AHEAD = 3


def ensure_months(session: Session, first: date, last: date) -> int:
    """Make every missing partition from the month of `first` to the month of `last`; returns how many were made.

    Runs as any role: the function it calls belongs to the schema's owner. A month whose rows already landed in
    the default partition stays there.
    """
    made = 0
    month = first.replace(day=1)
    while month <= last:
        for table in PARTITIONED:
            made += session.execute(
                text("SELECT ensure_partition(:table, :month)::int"), {"table": table, "month": month}
            ).scalar_one()
        month = (month + timedelta(days=32)).replace(day=1)
    return made


def ensure_ahead(session: Session, today: date) -> int:
    """The partitions that the next months need."""
    return ensure_months(session, today, today + timedelta(days=31 * MONTHS_AHEAD))
