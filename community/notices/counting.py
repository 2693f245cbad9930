"""How far a notice reaches, and who of them has read it: counted from rows, by building."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

# Whom `reading.latest` shows the notice to, of those who follow now.
_REACHED: Final = """
    SELECT f.id, h.community_id, h.building_id
    FROM follower f LEFT JOIN owner_home h ON h.follower_id = f.id
    WHERE f.account_id = (SELECT account_id FROM notice WHERE id = :id) AND f.status = 'following' AND (
        NOT EXISTS (SELECT 1 FROM notice_place p WHERE p.notice_id = :id)
        OR (h.follower_id IS NOT NULL AND EXISTS (
            SELECT 1 FROM notice_place p WHERE p.notice_id = :id AND p.community_id = h.community_id
              AND (p.building_id IS NULL OR p.building_id = h.building_id)))
        OR (h.follower_id IS NULL AND EXISTS (
            SELECT 1 FROM notice_place p
            JOIN merchant m ON m.community_id = p.community_id AND m.state = 'active'
            JOIN fan ON fan.merchant_id = m.id AND fan.follower_id = f.id AND fan.erased_at IS NULL
            WHERE p.notice_id = :id AND p.building_id IS NULL)))"""
_BY_PLACE: Final = f"""
    WITH reached AS MATERIALIZED ({_REACHED}),
    people AS (
        SELECT community_id, building_id, 1 AS reached, 0 AS readers FROM reached
        UNION ALL
        SELECT h.community_id, h.building_id, 0, 1
        FROM notice_read r LEFT JOIN owner_home h ON h.follower_id = r.follower_id WHERE r.notice_id = :id)
    SELECT c.name AS community, b.name AS building, sum(reached) AS reached, sum(readers) AS readers
    FROM people LEFT JOIN community c ON c.id = community_id LEFT JOIN building b ON b.id = building_id
    GROUP BY c.id, b.id ORDER BY c.id NULLS LAST, b.position NULLS LAST, b.id"""


@dataclass(frozen=True)
class PlaceCount:
    """A building, a community of people who named no building, or (both None) people who told nothing."""

    community: str | None
    building: str | None
    reached: int
    readers: int


@dataclass(frozen=True)
class Counted:
    """What came of a notice so far. `forgotten` have read it and are known no more."""

    places: list[PlaceCount]
    forgotten: int

    @property
    def reached(self) -> int:
        """Followers who are shown it now."""
        return sum(place.reached for place in self.places)

    @property
    def readers(self) -> int:
        """Different people who have opened it."""
        return sum(place.readers for place in self.places) + self.forgotten


def count(session: Session, *, notice_id: int) -> Counted:
    """Reach and readers of one notice, by place."""
    rows = session.execute(text(_BY_PLACE), {"id": notice_id})
    forgotten = session.execute(text("SELECT forgotten_reads FROM notice WHERE id = :id"), {"id": notice_id})
    return Counted(
        [PlaceCount(row.community, row.building, int(row.reached), int(row.readers)) for row in rows],
        forgotten.scalar_one(),
    )


def readers(session: Session, *, notice_ids: Collection[int]) -> dict[int, int]:
    """How many different people have opened each."""
    rows = session.execute(
        text("""
            SELECT n.id, n.forgotten_reads + (SELECT count(*) FROM notice_read r WHERE r.notice_id = n.id) AS readers
            FROM notice n WHERE n.id = ANY(:ids)"""),
        {"ids": list(notice_ids)},
    )
    return {row.id: row.readers for row in rows}
