"""Shops around here: by kind, the nearest first where somebody said where they are, else as they stand."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Final

from sqlalchemy import RowMapping, text
from sqlalchemy.orm import Session

LONGEST_KIND: Final = 20
_PATTERN: Final = str.maketrans({"\\": "\\\\", "%": "\\%", "_": "\\_"})

# A shop whose place nobody has told comes after those that are known to be near; a place says more than a community.
_SHOPS: Final = """
    SELECT m.id, m.name, m.kind, m.intro, m.address, m.hours, c.name AS community_name, away.metres
    FROM merchant m
    JOIN community c ON c.id = m.community_id
    LEFT JOIN merchant_standing s ON s.merchant_id = m.id
    CROSS JOIN LATERAL (
        SELECT CASE WHEN m.latitude IS NOT NULL AND CAST(:latitude AS double precision) IS NOT NULL
                    THEN 2 * 6371008.8 * asin(least(1, sqrt(
            sin(radians(CAST(m.latitude AS double precision) - :latitude) / 2) ^ 2
            + cos(radians(:latitude)) * cos(radians(CAST(m.latitude AS double precision)))
            * sin(radians(CAST(m.longitude AS double precision) - :longitude) / 2) ^ 2))) END AS metres) away
    WHERE m.state = 'active'
      AND m.account_id = coalesce(CAST(:account AS bigint), (SELECT account_id FROM community WHERE id = :community),
                                  m.account_id)
      AND (CAST(:latitude AS double precision) IS NOT NULL OR CAST(:community AS bigint) IS NULL
           OR m.community_id = :community)
      AND (CAST(:only AS bigint) IS NULL OR m.id = :only)
      AND (:kind = '' OR m.kind ILIKE :pattern OR m.name ILIKE :pattern OR m.intro ILIKE :pattern)
    ORDER BY away.metres NULLS LAST, m.kind ILIKE :pattern DESC, s.rank NULLS LAST, m.id
    LIMIT :limit"""
_ALL: Final = {"kind": "", "pattern": "%", "latitude": None, "longitude": None, "community": None, "account": None,
               "only": None, "limit": 1}  # fmt: skip


@dataclass(frozen=True)
class Shop:
    """An open shop; `metres` from where it was asked, None where either place is not known."""

    id: int
    name: str
    kind: str
    intro: str
    address: str
    hours: str
    community_name: str
    metres: int | None


def shops(
    session: Session,
    *,
    kind: str = "",
    latitude: float | None = None,
    longitude: float | None = None,
    community_id: int | None = None,
    limit: int = 5,
    account_id: int | None = None,
) -> list[Shop]:
    """Open shops whose kind, name or words hold `kind`: the nearest of the account to a place, or without one those of
    the community as they stand. The account is `account_id`'s, else the community's."""
    wanted = unicodedata.normalize("NFKC", kind).strip()[:LONGEST_KIND]
    is_placed = latitude is not None and longitude is not None
    rows = session.execute(
        text(_SHOPS),
        {
            **_ALL,
            "kind": wanted,
            "pattern": f"%{wanted.translate(_PATTERN)}%",
            "latitude": latitude if is_placed else None,
            "longitude": longitude if is_placed else None,
            "community": community_id,
            "account": account_id,
            "limit": limit,
        },
    )
    return [_shop(row) for row in rows.mappings()]


def _shop(row: RowMapping) -> Shop:
    return Shop(**{**row, "metres": None if row["metres"] is None else round(row["metres"])})


def one(session: Session, merchant_id: int, *, latitude: float | None, longitude: float | None) -> Shop | None:
    """An open shop, seen from a place."""
    given = {"latitude": latitude, "longitude": longitude, "only": merchant_id}
    row = session.execute(text(_SHOPS), {**_ALL, **given}).mappings().one_or_none()
    return None if row is None else _shop(row)


def community_of(session: Session, *, follower_id: int) -> int | None:
    """The community of the shop somebody turned to last. What they told of their home is for notices alone and is not
    asked here."""
    found: int | None = session.scalar(
        text("""
            SELECT m.community_id FROM fan JOIN merchant m ON m.id = fan.merchant_id AND m.state = 'active'
            WHERE fan.follower_id = :me AND fan.erased_at IS NULL ORDER BY fan.last_touch_at DESC LIMIT 1"""),
        {"me": follower_id},
    )
    return found
