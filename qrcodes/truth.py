"""Traffic counted from the scans and follows themselves: what the daily counts are compared with.

Slow where there is much to count; no page uses it.
"""

from datetime import date

from sqlalchemy import text
from sqlalchemy.orm import Session

from qrcodes.traffic import Counts, Range

# What happened in a range, one row per happening: whose, when, which code, who. Scans of other months are not
# even looked at.
HAPPENINGS = """
    SELECT 'scan' AS what, merchant_id, scanned_at AS at, code_id, follower_id FROM scan
    WHERE scanned_at >= :since AND scanned_at < :until AND month BETWEEN :first_month AND :last_month
      AND (CAST(:merchant_id AS bigint) IS NULL OR merchant_id = :merchant_id)
    UNION ALL
    SELECT a.kind, a.merchant_id, a.followed_at, a.code_id, a.follower_id
    FROM attribution a JOIN follow_episode e ON e.attribution_id = a.id AND e.voided_at IS NULL
    WHERE a.followed_at >= :since AND a.followed_at < :until AND a.kind IN ('new', 'returning')
      AND (CAST(:merchant_id AS bigint) IS NULL OR a.merchant_id = :merchant_id)
    UNION ALL
    SELECT 'lost', a.merchant_id, e.ended_at, a.code_id, e.follower_id
    FROM follow_episode e JOIN attribution a ON a.id = e.attribution_id
    WHERE e.ended_at >= :since AND e.ended_at < :until AND e.voided_at IS NULL
      AND (CAST(:merchant_id AS bigint) IS NULL OR a.merchant_id = :merchant_id)"""

_COUNTS = """
    count(*) FILTER (WHERE what = 'scan') AS scans,
    count(DISTINCT follower_id) FILTER (WHERE what = 'scan') AS scanners,
    count(*) FILTER (WHERE what = 'new') AS new,
    count(*) FILTER (WHERE what = 'returning') AS came_back,
    count(*) FILTER (WHERE what = 'lost') AS lost"""


def parameters(span: Range, merchant_id: int | None = None) -> dict[str, object]:
    """What `HAPPENINGS` asks for."""
    return {**span.parameters, "merchant_id": merchant_id}


def total(session: Session, span: Range, *, merchant_id: int | None = None) -> Counts:
    """The counts of one merchant, or of the whole account."""
    statement = text(f"SELECT {_COUNTS} FROM ({HAPPENINGS}) h")
    return Counts(*session.execute(statement, parameters(span, merchant_id)).one())


def by_merchant(session: Session, span: Range) -> dict[int | None, Counts]:
    """Counts of every merchant with any; under None what is nobody's."""
    statement = text(f"SELECT merchant_id, {_COUNTS} FROM ({HAPPENINGS}) h GROUP BY merchant_id")
    return {row[0]: Counts(*row[1:]) for row in session.execute(statement, parameters(span))}


def by_day(session: Session, span: Range, *, merchant_id: int | None = None) -> dict[date, Counts]:
    """Counts of every day with any."""
    statement = text(f"SELECT business_day(at) AS day, {_COUNTS} FROM ({HAPPENINGS}) h GROUP BY day")
    return {row[0]: Counts(*row[1:]) for row in session.execute(statement, parameters(span, merchant_id))}


def by_code(session: Session, span: Range, *, merchant_id: int | None = None) -> dict[tuple[int, int], Counts]:
    """Counts of every code with any, apart for each merchant it was credited to."""
    statement = text(f"""
        SELECT code_id, merchant_id, {_COUNTS} FROM ({HAPPENINGS}) h
        WHERE code_id IS NOT NULL GROUP BY code_id, merchant_id""")
    return {(row[0], row[1]): Counts(*row[2:]) for row in session.execute(statement, parameters(span, merchant_id))}
