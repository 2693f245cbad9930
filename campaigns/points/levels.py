"""Member levels: they grow with what rules paid within a year, and say how fast points come from there on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete, insert, select, text
from sqlalchemy.orm import Session

from campaigns.points.models import MemberLevel
from core.errors import Invalid

YEAR: Final = timedelta(days=365)
PLAIN_SPEED: Final = 100
MOST_LEVELS: Final = 9
NAME_MOST: Final = 10
MOST_POINTS: Final = 10_000_000


@dataclass(frozen=True, slots=True)
class Level:
    """What a level is called, from how many points of growth it is held, and how fast its holders earn."""

    name: str
    from_points: int
    earn_percent: int = PLAIN_SPEED


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a person stands at a merchant: level 0 is nobody's in particular. `missing` points lead to `next_name`."""

    growth: int
    level: int = 0
    name: str = ""
    earn_percent: int = PLAIN_SPEED
    next_name: str = ""
    missing: int | None = None


def standing(session: Session, *, merchant_id: int, follower_id: int, now: datetime) -> Standing:
    """A person's growth and level at a merchant. What was taken back, and what came before an erasure, counts not."""
    return stand(levels_of(session, merchant_id=merchant_id), growth(session, merchant_id, follower_id, now))


def growth(session: Session, merchant_id: int, follower_id: int, now: datetime) -> int:
    """Points that rules paid within the last 365 days."""
    return int(
        session.execute(
            _GROWTH, {"merchant_id": merchant_id, "follower_id": follower_id, "since": now - YEAR}
        ).scalar_one()
    )


def stand(levels: Sequence[Level], growth: int) -> Standing:
    """Where so much growth stands; `levels` in the order of their points."""
    held = [number for number, level in enumerate(levels, start=1) if level.from_points <= growth]
    number = held[-1] if held else 0
    mine = levels[number - 1] if number else Level("", 0)
    above = levels[number] if number < len(levels) else None
    return Standing(
        growth,
        number,
        mine.name,
        mine.earn_percent,
        "" if above is None else above.name,
        None if above is None else above.from_points - growth,
    )


def levels_of(session: Session, *, merchant_id: int) -> list[Level]:
    """A merchant's levels, the lowest first."""
    rows = session.execute(
        select(MemberLevel).where(MemberLevel.merchant_id == merchant_id).order_by(MemberLevel.level)
    ).scalars()
    return [Level(row.name, row.from_points, row.earn_percent) for row in rows]


def save(session: Session, *, merchant_id: int, levels: Sequence[Level]) -> None:
    """Put these levels in the place of the merchant's; none at all is allowed."""
    if len(levels) > MOST_LEVELS:
        raise Invalid("最多设 %(most)s 个等级。", field="levels", most=MOST_LEVELS)
    for above, level in zip([None, *levels], levels, strict=False):
        if not 1 <= len(level.name.strip()) <= NAME_MOST:
            raise Invalid("等级名称要有 1 到 %(most)s 个字。", field="name", most=NAME_MOST)
        if not 0 <= level.from_points <= MOST_POINTS:
            raise Invalid("等级的积分要在 0 到 %(most)s 之间。", field="from_points", most=MOST_POINTS)
        if above is not None and level.from_points <= above.from_points:
            raise Invalid("后一个等级要比前一个需要更多积分。", field="from_points")
        if not PLAIN_SPEED <= level.earn_percent <= 5 * PLAIN_SPEED:
            raise Invalid("积分倍率要在 1 倍到 5 倍之间。", field="earn_percent")
    session.execute(delete(MemberLevel).where(MemberLevel.merchant_id == merchant_id))
    if levels:
        session.execute(
            insert(MemberLevel),
            [
                {
                    "merchant_id": merchant_id,
                    "level": number,
                    "name": level.name.strip(),
                    "from_points": level.from_points,
                    "earn_percent": level.earn_percent,
                }
                for number, level in enumerate(levels, start=1)
            ],
        )


_GROWTH: Final = text("""
    SELECT CAST(coalesce(sum(t.points), 0) AS bigint)
    FROM points_transfer t
    WHERE t.merchant_id = :merchant_id AND t.follower_id = :follower_id AND t.kind = 'earn' AND t.rule_id IS NOT NULL
      AND t.at > :since
      AND t.at > coalesce((SELECT a.emptied_at FROM points_account a WHERE a.merchant_id = t.merchant_id
                           AND a.follower_id = t.follower_id AND a.kind = 'fan'), '-infinity')
      AND NOT EXISTS (SELECT 1 FROM points_transfer r WHERE r.reverses_id = t.id)
      AND NOT EXISTS (SELECT 1 FROM points_debt d WHERE d.transfer_id = t.id)""")
