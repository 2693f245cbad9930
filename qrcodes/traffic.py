"""Who brings whom, read from the daily counts (`qrcodes.rollups` keeps them, `qrcodes.truth` is what they must equal).

`scans` counts every scan of a merchant's codes, `scanners` the different people in the range. `new` is a person's
first follow ever, `returning` a later one, `lost` a leave, each by the attribution in force; `net` is new +
returning − lost, so over all time it equals the followers attributed to the merchant now. Days are Shanghai days by
CreateTime; `since` and `until` are both inclusive.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from core.clock import business_day, month_of, start_of_day
from qrcodes.counted import NOBODY, Level


@dataclass(frozen=True)
class Counts:
    scans: int = 0
    scanners: int = 0
    new: int = 0
    returning: int = 0
    lost: int = 0

    @property
    def net(self) -> int:
        return self.new + self.returning - self.lost

    def as_json(self) -> dict[str, int]:
        return {"scans": self.scans, "scanners": self.scanners, "new": self.new, "returning": self.returning,
                "lost": self.lost, "net": self.net}  # fmt: skip


@dataclass(frozen=True)
class MerchantTraffic:
    merchant_id: int
    name: str
    counts: Counts


@dataclass(frozen=True)
class DayTraffic:
    day: date
    counts: Counts


@dataclass(frozen=True)
class CodeTraffic:
    code_id: int
    label: str
    kind: str
    place: str
    merchant_id: int
    merchant_name: str
    counts: Counts


@dataclass(frozen=True)
class Range:
    """Whole Shanghai days, both ends included."""

    since: date
    until: date

    @property
    def bounds(self) -> tuple[datetime, datetime]:
        """The first moment in, and the first moment out."""
        return start_of_day(self.since), start_of_day(self.until + timedelta(days=1))

    @property
    def parameters(self) -> dict[str, Any]:
        """What a statement about the scans of the range is given: its moments, and the months of the partitions."""
        since, until = self.bounds
        return {"since": since, "until": until, "first_month": month_of(since), "last_month": month_of(until)}

    @property
    def days(self) -> list[date]:
        return [self.since + timedelta(days=step) for step in range((self.until - self.since).days + 1)]

    @classmethod
    def last_days(cls, days: int, now: datetime) -> "Range":
        """The last `days` days, today included."""
        today = business_day(now)
        return cls(today - timedelta(days=days - 1), today)


KEPT_AFTER = (1, 7, 30)
"""Days after which it is asked who is still there."""
RECENT_DAYS = (7, 30)


def figures(since: str) -> str:
    """The five counts of some days; of a day's scanners those who were not here on an earlier day of the range."""
    return f"""
        coalesce(sum(t.scans), 0)::bigint AS scans,
        coalesce(sum(t.scanners - within(t.gaps, t.seen, t.day - {since})), 0)::bigint AS scanners,
        coalesce(sum(t.new), 0)::bigint AS new, coalesce(sum(t.back), 0)::bigint AS back,
        coalesce(sum(t.lost), 0)::bigint AS lost"""


def stayed(today: str) -> str:
    """Of those won long enough ago for so many whole days to have passed, how many there are and how many stayed."""
    won = "t.new + t.back"
    return ", ".join(
        f"coalesce(sum({won} - within(t.stays, t.gone, {days})) FILTER (WHERE t.day < {today} - {days}), 0)::bigint"
        f" AS kept_{days}, coalesce(sum({won}) FILTER (WHERE t.day < {today} - {days}), 0)::bigint AS of_{days}"
        for days in KEPT_AFTER
    )


_SINCE = "CAST(:since AS date)"
_SUMS = figures(_SINCE)
_FIGURES = "scans, scanners, new, back, lost"
_IN_RANGE = "t.day BETWEEN CAST(:since AS date) AND CAST(:until AS date)"


def counted(session: Session, span: Range, level: Level) -> str:
    """A statement for the counts of every merchant or code in a range: ready where it is the last 7 or 30 days."""
    state = session.execute(text("SELECT recent_until, business_day(app_now()) AS today FROM traffic_state")).one()
    if state.recent_until == span.until and len(span.days) in RECENT_DAYS:
        return f"SELECT * FROM recent_traffic WHERE days = {len(span.days)} AND level = '{level}'"
    return f"""
        SELECT t.merchant_id, t.code_id, {_SUMS}, {stayed(f"DATE '{state.today}'")}
        FROM daily_traffic t WHERE t.level = '{level}' AND {_IN_RANGE} GROUP BY t.merchant_id, t.code_id"""


def _parameters(span: Range, **more: object) -> dict[str, object]:
    return {"since": span.since, "until": span.until, **more}


def by_merchant(session: Session, span: Range) -> tuple[list[MerchantTraffic], Counts]:
    """Every merchant's counts, the busiest first, and what is attributed to nobody."""
    rows = session.execute(
        text(f"""
            WITH counted AS MATERIALIZED ({counted(session, span, Level.MERCHANT)})
            SELECT m.id, m.name, coalesce(c.scans, 0), coalesce(c.scanners, 0), coalesce(c.new, 0),
                   coalesce(c.back, 0), coalesce(c.lost, 0)
            FROM merchant m LEFT JOIN counted c ON c.merchant_id = m.id
            UNION ALL
            SELECT {NOBODY}, NULL, {_FIGURES} FROM counted WHERE merchant_id = {NOBODY}"""),
        _parameters(span),
    ).all()
    unattributed = Counts()
    merchants = []
    for merchant_id, name, *counts in rows:
        if merchant_id == NOBODY:
            unattributed = Counts(*counts)
        else:
            merchants.append(MerchantTraffic(merchant_id, name, Counts(*counts)))
    merchants.sort(key=lambda one: (-one.counts.net, -one.counts.scans, one.merchant_id))
    return merchants, unattributed


class Sort(StrEnum):
    """By which figure a list is ordered, the largest first."""

    NET = "net"
    SCANS = "scans"
    SCANNERS = "scanners"
    NEW = "new"
    RETURNING = "returning"
    LOST = "lost"


_BY = {Sort.NET: "new + back - lost", Sort.RETURNING: "back"}


def ranking(
    session: Session, span: Range, *, sort: Sort, words: str = "", limit: int, skip: int = 0
) -> tuple[list[MerchantTraffic], int]:
    """Some of the merchants whose name holds the words, by one figure, and how many there are."""
    rows = session.execute(
        text(f"""
            WITH counted AS MATERIALIZED ({counted(session, span, Level.MERCHANT)}),
            every AS (
                SELECT m.id, m.name, coalesce(c.scans, 0) AS scans, coalesce(c.scanners, 0) AS scanners,
                       coalesce(c.new, 0) AS new, coalesce(c.back, 0) AS back, coalesce(c.lost, 0) AS lost
                FROM merchant m LEFT JOIN counted c ON c.merchant_id = m.id
                WHERE position(lower(:words) IN lower(m.name)) > 0)
            SELECT (SELECT count(*) FROM every), id, name, {_FIGURES} FROM every
            ORDER BY {_BY.get(sort, sort)} DESC, scans DESC, id LIMIT :limit OFFSET :skip"""),
        _parameters(span, words=words, limit=limit, skip=skip),
    ).all()
    return [MerchantTraffic(row[1], row[2], Counts(*row[3:])) for row in rows], rows[0][0] if rows else 0


def of_nobody(session: Session, span: Range) -> Counts:
    """What is attributed to nobody."""
    return of_merchants(session, span, [NOBODY])[NOBODY]


def of_merchants(session: Session, span: Range, merchant_ids: Sequence[int]) -> dict[int, Counts]:
    """The counts of a few merchants."""
    rows = session.execute(
        text(f"""
            SELECT t.merchant_id, {_SUMS} FROM daily_traffic t
            WHERE t.merchant_id = ANY(:ids) AND t.level = 'merchant' AND {_IN_RANGE} GROUP BY t.merchant_id"""),
        _parameters(span, ids=list(merchant_ids)),
    )
    found = {row[0]: Counts(*row[1:]) for row in rows}
    return {merchant_id: found.get(merchant_id, Counts()) for merchant_id in merchant_ids}


def _level(merchant_id: int | None) -> str:
    return "t.level = 'account'" if merchant_id is None else "t.level = 'merchant' AND t.merchant_id = :merchant_id"


def total(session: Session, span: Range, *, merchant_id: int | None = None) -> Counts:
    """The counts of one merchant, or of the whole account; scanners are counted once over all codes."""
    row = session.execute(
        text(f"SELECT {_SUMS} FROM daily_traffic t WHERE {_level(merchant_id)} AND {_IN_RANGE}"),
        _parameters(span, merchant_id=merchant_id),
    ).one()
    return Counts(*row)


def by_day(session: Session, span: Range, *, merchant_id: int | None = None) -> list[DayTraffic]:
    """Each day of the range, quiet ones included."""
    rows = session.execute(
        text(f"""
            SELECT t.day, t.scans, t.scanners, t.new, t.back, t.lost
            FROM daily_traffic t WHERE {_level(merchant_id)} AND {_IN_RANGE}"""),
        _parameters(span, merchant_id=merchant_id),
    )
    counted = {row.day: Counts(*row[1:]) for row in rows}
    return [DayTraffic(day, counted.get(day, Counts())) for day in span.days]


def by_code(session: Session, span: Range, *, merchant_id: int) -> list[CodeTraffic]:
    """Each of a merchant's codes, the busiest first, with what it brought this merchant and not another before it."""
    rows = session.execute(
        text(f"""
            WITH counted AS (
                SELECT t.code_id, {_SUMS} FROM daily_traffic t
                WHERE t.level = 'code' AND t.merchant_id = :merchant_id AND {_IN_RANGE} GROUP BY t.code_id)
            SELECT c.id, c.label, c.kind, c.place, m.id AS merchant_id, m.name AS merchant_name,
                   coalesce(t.scans, 0), coalesce(t.scanners, 0),
                   coalesce(t.new, 0), coalesce(t.back, 0), coalesce(t.lost, 0)
            FROM sub_qr_code c JOIN merchant m ON m.id = c.merchant_id LEFT JOIN counted t ON t.code_id = c.id
            WHERE c.merchant_id = :merchant_id
            ORDER BY coalesce(t.scans, 0) DESC, c.id"""),
        _parameters(span, merchant_id=merchant_id),
    )
    return [_code(row) for row in rows]


def _code(row: Sequence[Any]) -> CodeTraffic:
    code_id, label, kind, place, merchant_id, merchant_name, *counts = row
    return CodeTraffic(code_id, label, kind, place, merchant_id, merchant_name, Counts(*counts))


def busiest_codes(session: Session, span: Range, *, limit: int | None = None) -> tuple[list[CodeTraffic], int]:
    """The codes of all merchants by which anything happened, the busiest first, and how many there are.

    A code that changed hands within the range has a line for each merchant it was credited to.
    """
    rows = session.execute(
        text(f"""
            WITH top AS (
                SELECT *, count(*) OVER () AS everything FROM ({counted(session, span, Level.CODE)}) counted
                WHERE scans <> 0 OR new <> 0 OR back <> 0 OR lost <> 0
                ORDER BY scans DESC, code_id, merchant_id LIMIT :limit)
            SELECT top.everything, c.id, c.label, c.kind, c.place, m.id, m.name,
                   top.scans, top.scanners, top.new, top.back, top.lost
            FROM top JOIN sub_qr_code c ON c.id = top.code_id JOIN merchant m ON m.id = top.merchant_id
            ORDER BY top.scans DESC, c.id, m.id"""),
        _parameters(span, limit=limit),
    ).all()
    return [_code(row[1:]) for row in rows], rows[0].everything if rows else 0


def following_now(session: Session, *, merchant_id: int) -> int:
    """How many followers are attributed to the merchant now: its `net` over all time."""
    return following_after(session, date.max, merchant_id=merchant_id)


def following_after(session: Session, day: date, *, merchant_id: int) -> int:
    """The same when that day was over."""
    return int(
        session.execute(
            text("""
                SELECT coalesce(sum(new + back - lost), 0) FROM daily_traffic
                WHERE merchant_id = :merchant_id AND level = 'merchant' AND day <= :day"""),
            {"merchant_id": merchant_id, "day": day},
        ).scalar_one()
    )


def first_day(session: Session, now: datetime) -> date:
    """The day of the oldest happening that counts; today where there is none. Who came before us came uncounted."""
    oldest: date | None = session.execute(text("SELECT min(day) FROM daily_traffic WHERE level = 'account'")).scalar()
    return oldest or business_day(now)


@dataclass(frozen=True)
class UnmatchedScan:
    scene: str
    scans: int
    scanners: int
    last_at: datetime


def unmatched(session: Session, *, since: datetime, limit: int = 100) -> Sequence[UnmatchedScan]:
    """Scenes that were scanned and are nobody's, the latest first: printed before us, retired, or mistyped (EV-10)."""
    rows = session.execute(
        text("""
            SELECT scene, count(*), count(DISTINCT follower_id), max(scanned_at)
            FROM scan WHERE merchant_id IS NULL AND scanned_at >= :since
            GROUP BY scene ORDER BY max(scanned_at) DESC LIMIT :limit"""),
        {"since": since, "limit": limit},
    )
    return [UnmatchedScan(*row) for row in rows]
