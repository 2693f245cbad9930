"""What neighbours bring each other: whose people scanned at whose shop.

A visit is a day on which somebody scanned a merchant's code while their follow was another merchant's. A follower was
given where that scan is what put them on the other's list. Staff and test scans count for nobody, nor do people whose
follow did not last a day. Counted over the last whole days, anew each night.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from sqlalchemy import select, text, tuple_
from sqlalchemy.orm import Session

from qrcodes.counted import NeighbourExchange
from qrcodes.happenings import Key
from qrcodes.traffic import Range

DAYS: Final = 30
LASTING: Final = timedelta(days=1)
"""How long a follow must last to count."""


def _visits(conditions: str = "", *, one_by_one: bool = False) -> str:
    """Everybody's first scan of a day at a merchant's, and whose they were then.

    `one_by_one` keeps the database from looking at all at once: for a page that needs only the newest.
    """
    return f"""
    SELECT whose.merchant_id AS from_merchant_id, s.merchant_id AS to_merchant_id, s.follower_id, s.scanned_at AS at,
           s.id AS scan_id, s.scanned_at = f.first_touch_at AS is_first
    FROM scan s
    CROSS JOIN LATERAL (
        SELECT a.merchant_id
        FROM follow_episode e JOIN attribution a ON a.id = e.attribution_id
        WHERE e.follower_id = s.follower_id AND e.voided_at IS NULL AND e.started_at <= s.scanned_at
          AND (e.ended_at IS NULL OR (e.ended_at >= s.scanned_at AND e.ended_at >= e.started_at + :lasting))
        {"OFFSET 0" if one_by_one else ""}
    ) whose
    JOIN fan f ON f.merchant_id = s.merchant_id AND f.follower_id = s.follower_id
    WHERE s.scanned_at >= :since AND s.scanned_at < :until AND s.month BETWEEN :first_month AND :last_month
      AND NOT s.by_staff AND NOT s.is_test AND whose.merchant_id <> s.merchant_id
      AND NOT EXISTS (
          SELECT 1 FROM scan t
          WHERE t.follower_id = s.follower_id AND t.merchant_id = s.merchant_id AND NOT t.by_staff AND NOT t.is_test
            AND t.scanned_at > s.scanned_at - interval '1 day' AND (t.scanned_at, t.id) < (s.scanned_at, s.id)
            AND t.month BETWEEN :first_month AND :last_month
            AND business_day(t.scanned_at) = business_day(s.scanned_at))
      {conditions}"""


_COLUMNS: Final = (
    NeighbourExchange.merchant_id,
    NeighbourExchange.neighbour_id,
    NeighbourExchange.followers_given,
    NeighbourExchange.visits_given,
    NeighbourExchange.followers_received,
    NeighbourExchange.visits_received,
)


@dataclass(frozen=True)
class Exchange:
    """What two merchants brought each other, seen from `merchant_id`."""

    merchant_id: int
    neighbour_id: int
    followers_given: int
    visits_given: int
    followers_received: int
    visits_received: int

    @property
    def balance(self) -> int:
        return self.followers_given - self.followers_received


@dataclass(frozen=True)
class Visit:
    """A day on which one merchant's follower scanned at another's."""

    at: datetime
    scan_id: int
    follower_id: int
    is_first: bool
    """The scan put them on the list there."""

    @property
    def key(self) -> Key:
        return Key(self.at, self.scan_id)


def window(today: date) -> Range:
    """The days that are looked at: whoever came on the last of them has had a whole day to stay."""
    return span_until(today - timedelta(days=2))


def span_until(last: date) -> Range:
    """The days up to this one."""
    return Range(last - timedelta(days=DAYS - 1), last)


def recount(session: Session, span: Range) -> None:
    """Count all pairs anew; whoever reads sees the former numbers until it is committed."""
    session.execute(text("DELETE FROM neighbour_exchange"))
    session.execute(
        text(f"""
            WITH given AS (
                SELECT from_merchant_id, to_merchant_id, count(*) FILTER (WHERE is_first) AS followers,
                       count(*) AS visits
                FROM ({_visits()}) v GROUP BY from_merchant_id, to_merchant_id
            )
            INSERT INTO neighbour_exchange
                (merchant_id, neighbour_id, followers_given, visits_given, followers_received, visits_received)
            SELECT merchant_id, neighbour_id, coalesce(g.followers, 0), coalesce(g.visits, 0),
                   coalesce(r.followers, 0), coalesce(r.visits, 0)
            FROM (SELECT from_merchant_id AS merchant_id, to_merchant_id AS neighbour_id, * FROM given) g
            FULL JOIN (SELECT to_merchant_id AS merchant_id, from_merchant_id AS neighbour_id, * FROM given) r
                USING (merchant_id, neighbour_id)"""),
        {**span.parameters, "lasting": LASTING},
    )


def liveliest(session: Session, *, limit: int, skip: int = 0) -> list[Exchange]:
    """Each pair of the account once, from the side that gave more; the greatest gifts first."""
    one = NeighbourExchange
    statement = (
        select(*_COLUMNS)
        .where(tuple_(one.followers_given, one.neighbour_id) > tuple_(one.followers_received, one.merchant_id))
        .order_by(one.followers_given.desc(), one.visits_given.desc(), one.merchant_id, one.neighbour_id)
    )
    return [Exchange(*row) for row in session.execute(statement.limit(limit).offset(skip))]


def of_merchant(session: Session, merchant_id: int, *, limit: int, skip: int = 0) -> list[Exchange]:
    """A merchant's neighbours, those with whom it shares most followers first."""
    one = NeighbourExchange
    statement = (
        select(*_COLUMNS)
        .where(one.merchant_id == merchant_id)
        .order_by(
            (one.followers_given + one.followers_received).desc(),
            (one.visits_given + one.visits_received).desc(),
            one.neighbour_id,
        )
    )
    return [Exchange(*row) for row in session.execute(statement.limit(limit).offset(skip))]


def visits(
    session: Session, span: Range, *, from_id: int, to_id: int, before: Key | None = None, limit: int
) -> list[Visit]:
    """The rows behind one direction of a pair, newest first."""
    one_direction = "AND s.merchant_id = :to_id AND whose.merchant_id = :from_id"
    older = "AND (s.scanned_at, s.id) < (:before_at, :before_id)" if before else ""
    found = _visits(f"{one_direction} {older}", one_by_one=True)
    rows = session.execute(
        text(f"{found} ORDER BY s.scanned_at DESC, s.id DESC LIMIT :limit"),
        {
            **span.parameters,
            "lasting": LASTING,
            "from_id": from_id,
            "to_id": to_id,
            "before_at": before and before.at,
            "before_id": before and before.id,
            "limit": limit,
        },
    )
    return [Visit(row.at, row.scan_id, row.follower_id, row.is_first) for row in rows]
