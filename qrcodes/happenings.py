"""The rows behind a figure: the scans, follows and leaves that it counts, newest first, page by page."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from core.clock import month_of
from qrcodes.counted import NOBODY
from qrcodes.traffic import Range


class Figure(StrEnum):
    """Which happenings."""

    SCANS = "scans"
    NEW = "new"
    RETURNING = "returning"
    LOST = "lost"


@dataclass(frozen=True)
class Behind:
    """What a figure is about. Merchant 0 asks for what is nobody's."""

    figure: Figure
    span: Range
    merchant_id: int | None = None
    code_id: int | None = None


@dataclass(frozen=True)
class Key:
    """The place of a row in its list."""

    at: datetime
    id: int

    def __str__(self) -> str:
        return f"{(self.at - _EPOCH) // timedelta(microseconds=1)}-{self.id}"

    @classmethod
    def parse(cls, written: str) -> "Key":
        at, _, number = written.partition("-")
        return cls(_EPOCH + timedelta(microseconds=int(at)), int(number))


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Happening:
    """One scan, follow or leave."""

    at: datetime
    id: int
    follower_id: int
    merchant_id: int | None
    merchant_name: str | None
    code_id: int | None
    code_label: str | None
    led_to_follow: bool
    rule: str | None
    """By which rule a follow is credited; None for scans."""

    @property
    def key(self) -> Key:
        return Key(self.at, self.id)


_SCANS: Final = """
    SELECT scanned_at AS at, id, follower_id, merchant_id, code_id, led_to_follow, NULL AS rule FROM scan
    WHERE scanned_at >= :since AND scanned_at < :until AND month BETWEEN :first_month AND :last_month"""
_FOLLOWS: Final = """
    SELECT a.followed_at AS at, a.id, a.follower_id, a.merchant_id, a.code_id, true AS led_to_follow, a.rule
    FROM attribution a JOIN follow_episode e ON e.attribution_id = a.id AND e.voided_at IS NULL
    WHERE a.followed_at >= :since AND a.followed_at < :until AND a.kind = :figure"""
_LEAVES: Final = """
    SELECT e.ended_at AS at, e.id, e.follower_id, a.merchant_id, a.code_id, false AS led_to_follow, a.rule
    FROM follow_episode e JOIN attribution a ON a.id = e.attribution_id
    WHERE e.ended_at >= :since AND e.ended_at < :until AND e.voided_at IS NULL"""
_PARTS: Final = {
    Figure.SCANS: (_SCANS, "", "scanned_at", "id"),
    Figure.NEW: (_FOLLOWS, "a.", "a.followed_at", "a.id"),
    Figure.RETURNING: (_FOLLOWS, "a.", "a.followed_at", "a.id"),
    Figure.LOST: (_LEAVES, "a.", "e.ended_at", "e.id"),
}


def page(session: Session, behind: Behind, *, before: Key | None = None, limit: int = 50) -> list[Happening]:
    """Some of the rows, newest first, those before a key."""
    statement, table, at, number = _PARTS[behind.figure]
    conditions = ""
    if behind.merchant_id == NOBODY:
        conditions += f" AND {table}merchant_id IS NULL"
    elif behind.merchant_id is not None:
        conditions += f" AND {table}merchant_id = :merchant_id"
    if behind.code_id is not None:
        conditions += f" AND {table}code_id = :code_id"
    if before is not None:
        conditions += f" AND ({at}, {number}) < (:before_at, :before_id)"
    since, until = behind.span.bounds
    rows = session.execute(
        text(f"""
            SELECT h.at, h.id, h.follower_id, h.merchant_id, m.name, h.code_id, c.label, h.led_to_follow, h.rule
            FROM ({statement}{conditions} ORDER BY {at} DESC, {number} DESC LIMIT :limit) h
            LEFT JOIN merchant m ON m.id = h.merchant_id LEFT JOIN sub_qr_code c ON c.id = h.code_id
            ORDER BY h.at DESC, h.id DESC"""),
        {
            "since": since,
            "until": until,
            "first_month": month_of(since),
            "last_month": month_of(until),
            "figure": behind.figure,
            "merchant_id": behind.merchant_id,
            "code_id": behind.code_id,
            "before_at": before and before.at,
            "before_id": before and before.id,
            "limit": limit,
        },
    )
    return [Happening(*row) for row in rows]


def everything(session: Session, behind: Behind, *, at_once: int = 1_000) -> Iterator[Happening]:
    """All rows, page by page, for exports."""
    before: Key | None = None
    while rows := page(session, behind, before=before, limit=at_once):
        yield from rows
        before = rows[-1].key
