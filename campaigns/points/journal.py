"""The journal of all merchants' points, one line per transfer, as the operator takes it away as a table."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from core.clock import start_of_day

AT_ONCE: Final = 1_000


@dataclass(frozen=True, slots=True)
class Line:
    """One transfer with its sides; `usable`, `pending` and `shop` sum to zero (PT-1)."""

    id: int
    at: datetime
    merchant_id: int
    merchant: str
    fan_number: str | None
    kind: str
    trigger: str | None
    """Of the rule that pays for it, where there is one."""
    source_type: str
    source_id: int
    reverses_id: int | None
    usable: int
    pending: int
    shop: int


def lines(session: Session, *, since: date | None = None, until: date | None = None) -> Iterator[Line]:
    """Every transfer of these days, both included, the oldest first; read page by page."""
    asked = {
        "since": start_of_day(since) if since else None,
        "until": start_of_day(until + timedelta(days=1)) if until else None,
        "after": 0, "most": AT_ONCE,
    }  # fmt: skip
    while rows := session.execute(_LINES, asked).all():
        yield from (Line(*row) for row in rows)
        asked["after"] = rows[-1].id


_LINES: Final = text("""
    SELECT t.id, t.at, t.merchant_id, m.name, f.number, t.kind, r.trigger, t.source_type, t.source_id, t.reverses_id,
           e.usable, e.pending, e.shop
    FROM (SELECT * FROM points_transfer
          WHERE id > :after AND (CAST(:since AS timestamptz) IS NULL OR at >= :since)
            AND (CAST(:until AS timestamptz) IS NULL OR at < :until)
          ORDER BY id LIMIT :most) t
    JOIN merchant m ON m.id = t.merchant_id
    LEFT JOIN points_rule r ON r.id = t.rule_id
    LEFT JOIN fan f ON f.merchant_id = t.merchant_id AND f.follower_id = t.follower_id
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(e.points) FILTER (WHERE a.kind = 'fan'), 0)::bigint AS usable,
               coalesce(sum(e.points) FILTER (WHERE a.kind = 'pending'), 0)::bigint AS pending,
               coalesce(sum(e.points) FILTER (WHERE a.kind = 'issued'), 0)::bigint AS shop
        FROM points_entry e JOIN points_account a ON a.id = e.account_id WHERE e.transfer_id = t.id) e
    ORDER BY t.id""")
