"""Goals: how many people whoever carries a code should win a day, and on which days they did.

A goal is today's, laid over the days that are looked at, and its owner's: what a code brought a former owner is not
held against it. People count who followed for the first time ever; what staff and trials bring does not.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from qrcodes.traffic import Range


@dataclass(frozen=True)
class Pursuit:
    """A code's goal, and what was won towards it on each day that somebody scanned the code."""

    merchant_id: int
    """Whose goal it is."""
    goal: int
    won: Mapping[date, int]

    @property
    def worked(self) -> int:
        """On how many days the code was scanned."""
        return len(self.won)

    @property
    def reached(self) -> int:
        return sum(map(self.is_reached, self.won))

    def is_reached(self, day: date) -> bool:
        return self.won.get(day, 0) >= self.goal


# The few scans that are left out are found by an index of their own, and taken off the daily counts.
_PURSUITS: Final = """
    WITH wanted AS (
        SELECT id AS code_id, merchant_id, daily_goal FROM sub_qr_code
        WHERE daily_goal IS NOT NULL AND (CAST(:code_id AS bigint) IS NULL OR id = :code_id)
    ), left_out AS (
        SELECT s.code_id, business_day(s.scanned_at) AS day, count(DISTINCT s.id) AS scans, count(DISTINCT a.id) AS new
        FROM wanted w
        JOIN scan s ON (s.code_id, s.merchant_id) = (w.code_id, w.merchant_id) AND (s.by_staff OR s.is_test)
            AND s.scanned_at >= :since AND s.scanned_at < :until
        LEFT JOIN attribution a ON (a.follower_id, a.code_id, a.followed_at) = (s.follower_id, s.code_id, s.scanned_at)
            AND a.kind = 'new' AND EXISTS (
                SELECT 1 FROM follow_episode e WHERE e.attribution_id = a.id AND e.voided_at IS NULL)
        GROUP BY s.code_id, day
    )
    SELECT w.code_id, w.merchant_id, w.daily_goal, t.day,
           t.scans - coalesce(o.scans, 0) AS scans, t.new - coalesce(o.new, 0) AS new
    FROM wanted w
    LEFT JOIN daily_traffic t ON (t.code_id, t.merchant_id) = (w.code_id, w.merchant_id) AND t.level = 'code'
        AND t.day BETWEEN CAST(:first AS date) AND CAST(:last AS date)
    LEFT JOIN left_out o ON (o.code_id, o.day) = (t.code_id, t.day)"""


def pursuits(session: Session, span: Range, *, code_id: int | None = None) -> dict[int, Pursuit]:
    """How every code with a goal, or one of them, came on."""
    since, until = span.bounds
    rows = session.execute(
        text(_PURSUITS),
        {"code_id": code_id, "since": since, "until": until, "first": span.since, "last": span.until},
    )
    found: dict[int, Pursuit] = {}
    won: dict[int, dict[date, int]] = {}
    for code, merchant_id, goal, day, scans, new in rows:
        days = won.setdefault(code, {})
        found[code] = Pursuit(merchant_id, goal, days)
        if scans is not None and (scans > 0 or new > 0):
            # A scan of a moment ago may be left out already and not yet counted.
            days[day] = max(0, new)
    return found
