"""A merchant's points at a glance, for its page."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

MONTH: Final = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Overview:
    """What people hold now, and what came and went within the last 30 days."""

    held: int
    pending: int
    given: int
    spent: int


def overview(session: Session, *, merchant_id: int, now: datetime) -> Overview:
    """The sums of a merchant's ledger; what was taken back counts as never given."""
    return Overview(*session.execute(_OVERVIEW, {"merchant_id": merchant_id, "since": now - MONTH}).one())


_OVERVIEW: Final = text("""
    SELECT (SELECT coalesce(sum(balance), 0)::bigint FROM points_account
            WHERE merchant_id = :merchant_id AND kind = 'fan'),
           (SELECT coalesce(sum(balance), 0)::bigint FROM points_account
            WHERE merchant_id = :merchant_id AND kind = 'pending'),
           (SELECT coalesce(sum(t.points), 0)::bigint FROM points_transfer t
            WHERE t.merchant_id = :merchant_id AND t.kind = 'earn' AND t.at > :since
              AND NOT EXISTS (SELECT 1 FROM points_transfer r WHERE r.reverses_id = t.id)),
           (SELECT coalesce(sum(t.points), 0)::bigint FROM points_transfer t
            WHERE t.merchant_id = :merchant_id AND t.kind = 'spend' AND t.at > :since)""")
