"""The rows behind a figure: the scans, people, follows and leaves that it counts, newest first, page by page."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from core.clock import month_of, start_of_day
from qrcodes.counted import NOBODY
from qrcodes.traffic import Range


class Figure(StrEnum):
    """Which happenings."""

    SCANS = "scans"
    SCANNERS = "scanners"
    """The people behind scans: of each, the latest scan of the range."""
    NEW = "new"
    RETURNING = "returning"
    WON = "won"
    """New and returning."""
    LOST = "lost"
    KEPT = "kept"
    """Those won who had not left after so many days, or who are there now."""
    GOAL = "goal"
    """New, but for those whom staff and trials brought."""
    ONWARD = "onward"
    """First scans of another merchant's code after a follow."""


@dataclass(frozen=True)
class Side:
    """One end of a way between merchants: one of these, or, as `is_rest`, any but these."""

    merchant_ids: Sequence[int]
    is_rest: bool = False


@dataclass(frozen=True)
class Behind:
    """What a figure is about: every condition given has to hold. Merchant 0 asks for what is nobody's."""

    figure: Figure
    span: Range
    merchant_id: int | None = None
    code_id: int | None = None
    merchant_ids: Sequence[int] | None = None
    """Any of these; what a community has."""
    code_ids: Sequence[int] | None = None
    """Any of these; what goes by a kind or hangs at a place."""
    after: int | None = None
    """Only who was won so many whole days ago or longer; of those kept, whoever had not left after so many."""
    weekday: int | None = None
    """0 is Monday."""
    hour: int | None = None
    source: Side | None = None
    target: Side | None = None

    def stretches(self) -> Iterator[tuple[datetime, datetime]]:
        """The times it is about, the latest first: from the first moment in to the first moment out."""
        if self.weekday is None and self.hour is None:
            yield self.span.bounds
            return
        for day in reversed(self.span.days):
            if self.weekday is None or day.weekday() == self.weekday:
                begin = start_of_day(day) + timedelta(hours=self.hour or 0)
                yield begin, begin + timedelta(hours=24 if self.hour is None else 1)


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
    next_id: int | None
    next_name: str | None
    """The merchant that somebody went on to."""

    @property
    def key(self) -> Key:
        return Key(self.at, self.id)


@dataclass(frozen=True)
class _Table:
    """Where rows come from, and what of them is asked for when and whose they are."""

    rows: str
    at: str
    id: str
    whose: str
    """What `merchant_id` and `code_id` stand behind."""


_SCANS: Final = _Table(
    """SELECT s.scanned_at AS at, s.id, s.follower_id, s.merchant_id, s.code_id, s.led_to_follow, NULL AS rule,
           CAST(NULL AS bigint) AS next_id
    FROM scan s
    WHERE s.scanned_at >= :since AND s.scanned_at < :until AND s.month BETWEEN :first_month AND :last_month""",
    "s.scanned_at", "s.id", "s.",
)  # fmt: skip
_FOLLOWS: Final = _Table(
    """SELECT a.followed_at AS at, a.id, a.follower_id, a.merchant_id, a.code_id, true AS led_to_follow, a.rule,
           CAST(NULL AS bigint) AS next_id
    FROM attribution a JOIN follow_episode e ON e.attribution_id = a.id AND e.voided_at IS NULL
    WHERE a.followed_at >= :since AND a.followed_at < :until""",
    "a.followed_at", "a.id", "a.",
)  # fmt: skip
_LEAVES: Final = _Table(
    """SELECT e.ended_at AS at, e.id, e.follower_id, a.merchant_id, a.code_id, false AS led_to_follow, a.rule,
           CAST(NULL AS bigint) AS next_id
    FROM follow_episode e JOIN attribution a ON a.id = e.attribution_id
    WHERE e.ended_at >= :since AND e.ended_at < :until AND e.voided_at IS NULL""",
    "e.ended_at", "e.id", "a.",
)  # fmt: skip
_ONWARD: Final = _Table(
    """SELECT o.scanned_at AS at, o.episode_id AS id, o.follower_id, o.from_merchant_id AS merchant_id,
           CAST(NULL AS bigint) AS code_id, false AS led_to_follow, NULL AS rule, o.to_merchant_id AS next_id
    FROM onward_scan o WHERE o.scanned_at >= :since AND o.scanned_at < :until""",
    "o.scanned_at", "o.episode_id", "o.from_",
)  # fmt: skip
_TABLES: Final = {Figure.SCANS: _SCANS, Figure.SCANNERS: _SCANS, Figure.LOST: _LEAVES, Figure.ONWARD: _ONWARD}
"""All others are of follows."""
_KINDS: Final = {
    Figure.NEW: "a.kind = 'new'",
    Figure.RETURNING: "a.kind = 'returning'",
    Figure.WON: "a.kind IN ('new', 'returning')",
    Figure.KEPT: "a.kind IN ('new', 'returning')",
    Figure.GOAL: "a.kind = 'new'",
}
# An interval of hours is the same length everywhere; a leave after so many days to the second is a leave within them.
_STAYED: Final = "(e.ended_at IS NULL OR e.ended_at > a.followed_at + make_interval(hours => 24 * :after))"
_COUNTS_FOR_GOALS: Final = """NOT EXISTS (
    SELECT 1 FROM scan tried
    WHERE tried.follower_id = a.follower_id AND tried.code_id = a.code_id AND tried.scanned_at = a.followed_at
      AND (tried.by_staff OR tried.is_test))"""


def page(session: Session, behind: Behind, *, before: Key | None = None, limit: int = 50) -> list[Happening]:
    """Some of the rows, newest first, those before a key."""
    found: list[Happening] = []
    won_before = None
    if behind.after is not None:
        today = session.execute(text("SELECT business_day(app_now())")).scalar_one()
        won_before = start_of_day(today - timedelta(days=behind.after))
    for since, until in behind.stretches():
        if (before is not None and before.at < since) or (won_before is not None and won_before <= since):
            continue
        found += _between(session, behind, since, until, won_before, before, limit - len(found))
        if len(found) == limit:
            break
    return found


def _between(
    session: Session,
    behind: Behind,
    since: datetime,
    until: datetime,
    won_before: datetime | None,
    before: Key | None,
    limit: int,
) -> list[Happening]:
    table = _TABLES.get(behind.figure, _FOLLOWS)
    conditions = [*_whose(behind, table.whose), *_which(behind)]
    if before is not None:
        conditions.append(f"({table.at}, {table.id}) < (:before_at, :before_id)")
    rows = session.execute(
        text(f"""
            SELECT h.at, h.id, h.follower_id, h.merchant_id, m.name, h.code_id, c.label, h.led_to_follow, h.rule,
                   h.next_id, n.name
            FROM ({" AND ".join((table.rows, *conditions))} ORDER BY {table.at} DESC, {table.id} DESC LIMIT :limit) h
            LEFT JOIN merchant m ON m.id = h.merchant_id LEFT JOIN sub_qr_code c ON c.id = h.code_id
            LEFT JOIN merchant n ON n.id = h.next_id
            ORDER BY h.at DESC, h.id DESC"""),
        {
            "since": since,
            "until": until,
            "first_month": month_of(since),
            "last_month": month_of(until),
            "merchant_id": behind.merchant_id,
            "code_id": behind.code_id,
            "merchant_ids": list(behind.merchant_ids or ()),
            "code_ids": list(behind.code_ids or ()),
            "after": behind.after,
            "won_before": won_before,
            "sources": list(behind.source.merchant_ids) if behind.source else [],
            "targets": list(behind.target.merchant_ids) if behind.target else [],
            "before_at": before and before.at,
            "before_id": before and before.id,
            "limit": limit,
        },
    )
    return [Happening(*row) for row in rows]


def _whose(behind: Behind, table: str) -> list[str]:
    """Conditions on the merchant and the code of a table's rows."""
    conditions = []
    if behind.merchant_id == NOBODY:
        conditions.append(f"{table}merchant_id IS NULL")
    elif behind.merchant_id is not None:
        conditions.append(f"{table}merchant_id = :merchant_id")
    if behind.code_id is not None:
        conditions.append(f"{table}code_id = :code_id")
    if behind.merchant_ids is not None:
        conditions.append(f"{table}merchant_id = ANY(:merchant_ids)")
    if behind.code_ids is not None:
        conditions.append(f"{table}code_id = ANY(:code_ids)")
    return conditions


def _which(behind: Behind) -> list[str]:
    """Conditions that the figure itself makes."""
    conditions = [_KINDS[behind.figure]] if behind.figure in _KINDS else []
    if behind.after is not None:
        conditions.append("a.followed_at < :won_before")
    match behind.figure:
        case Figure.SCANNERS:
            later = " AND ".join(["true", *_whose(behind, "later.")])
            conditions.append(f"""NOT EXISTS (
                SELECT 1 FROM scan later
                WHERE later.follower_id = s.follower_id AND (later.scanned_at, later.id) > (s.scanned_at, s.id)
                  AND later.scanned_at < :until AND later.month BETWEEN :first_month AND :last_month AND {later})""")
        case Figure.KEPT:
            conditions.append("e.ended_at IS NULL" if behind.after is None else _STAYED)
        case Figure.GOAL:
            conditions.append(_COUNTS_FOR_GOALS)
        case Figure.ONWARD:
            for side, column, name in ((behind.source, "from", "sources"), (behind.target, "to", "targets")):
                if side is not None:
                    conditions.append(f"o.{column}_merchant_id {'<> ALL' if side.is_rest else '= ANY'}(:{name})")
    return conditions


def everything(session: Session, behind: Behind, *, at_once: int = 1_000) -> Iterator[Happening]:
    """All rows, page by page, for exports."""
    before: Key | None = None
    while rows := page(session, behind, before=before, limit=at_once):
        yield from rows
        before = rows[-1].key
