"""What the daily counts tell beyond who brings whom: who stays, where people go next, and when they come.

"Won" are follows credited to somebody, new and returning. "Kept after n days" looks only at those won long enough ago
for n whole days to have passed, and at how many of them had not left by then.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from core.clock import business_day
from qrcodes import traffic
from qrcodes.counted import Level
from qrcodes.models import CodeKind
from qrcodes.traffic import Range

SPANS: Final = traffic.KEPT_AFTER
COHORT_SPANS: Final = (1, 7, 14, 30, 60, 90)
PEOPLE_KINDS: Final = (CodeKind.PROMOTER, CodeKind.STAFF)
"""Kinds of codes that somebody carries with them."""
FLOW_PLACES: Final = 10


@dataclass(frozen=True)
class Kept:
    """Of `of` people won long enough ago, `people` were still there; nothing is known yet where `of` is 0."""

    people: int
    of: int

    @property
    def percent(self) -> float | None:
        return 100 * self.people / self.of if self.of else None


def _kept(cells: Sequence[int]) -> tuple[Kept, ...]:
    return tuple(Kept(cells[place], cells[place + 1]) for place in range(0, len(cells), 2))


class Grouping(StrEnum):
    """What codes are put together by."""

    KIND = "kind"
    PLACE = "place"
    PROMOTER = "promoter"
    COMMUNITY = "community"


@dataclass(frozen=True)
class GroupTraffic:
    """The counts of several codes together. How many different people scanned them is not the sum of theirs."""

    key: str
    """What `members` knows the group by; a promoter is known by the code."""
    name: str
    code_id: int | None
    merchant_id: int | None
    merchant_name: str | None
    codes: int
    scans: int
    new: int
    returning: int
    lost: int
    kept: tuple[Kept, ...]
    """After each of `SPANS`."""

    @property
    def net(self) -> int:
        return self.new + self.returning - self.lost


_IN_RANGE: Final = "t.day BETWEEN CAST(:since AS date) AND CAST(:until AS date)"
_ADDED_UP: Final = ("scans", "new", "back", "lost", *(f"{what}_{days}" for days in SPANS for what in ("kept", "of")))


def _grouped(session: Session, span: Range, by: Grouping) -> str:
    """The groups of a range, as a statement: codes are added up first, and only then put together."""
    level = Level.MERCHANT if by is Grouping.COMMUNITY else Level.CODE
    counted = f"WITH counted AS ({traffic.counted(session, span, level)})"
    # Summing up larger numbers goes through numeric, which takes several times as long.
    sums = ", ".join(f"sum(counted.{name}::integer) AS {name}" for name in _ADDED_UP)
    match by:
        case Grouping.COMMUNITY:
            return f"""{counted}
                SELECT CAST(y.id AS text), y.name, NULL, NULL, NULL, count(*), {sums}
                FROM counted JOIN merchant m ON m.id = counted.merchant_id JOIN community y ON y.id = m.community_id
                GROUP BY y.id ORDER BY scans DESC, y.id LIMIT :most"""
        case Grouping.PROMOTER:
            people = ", ".join(f"'{kind}'" for kind in PEOPLE_KINDS)
            return f"""{counted}
                SELECT '', c.label, c.id, m.id, m.name, 1, {", ".join(_ADDED_UP)}
                FROM counted JOIN sub_qr_code c ON c.id = counted.code_id JOIN merchant m ON m.id = counted.merchant_id
                WHERE c.kind IN ({people}) ORDER BY scans DESC, c.id, m.id LIMIT :most"""
        case Grouping.KIND | Grouping.PLACE:
            return f"""{counted}
                SELECT c.{by}, c.{by}, NULL, NULL, NULL, count(DISTINCT c.id), {sums}
                FROM counted JOIN sub_qr_code c ON c.id = counted.code_id
                GROUP BY c.{by} ORDER BY scans DESC, c.{by} LIMIT :most"""


def by_group(session: Session, span: Range, by: Grouping, *, limit: int = 1_000) -> list[GroupTraffic]:
    """The codes of a range put together, the busiest group first."""
    given = {"since": span.since, "until": span.until, "most": limit}
    return [
        GroupTraffic(key, name, code_id, merchant_id, merchant_name, codes, scans, new, back, lost, _kept(kept))
        for key, name, code_id, merchant_id, merchant_name, codes, scans, new, back, lost, *kept in session.execute(
            text(_grouped(session, span, by)), given
        )
    ]


def members(session: Session, by: Grouping, key: str) -> list[int]:
    """The codes of a kind or a place, or the merchants of a community."""
    match by:
        case Grouping.COMMUNITY:
            statement = "SELECT id FROM merchant WHERE community_id = CAST(:key AS bigint)"
        case Grouping.KIND | Grouping.PLACE:
            statement = f"SELECT id FROM sub_qr_code WHERE {by} = :key"
        case Grouping.PROMOTER:
            raise ValueError("a promoter is one code")
    return list(session.execute(text(statement), {"key": key}).scalars())


@dataclass(frozen=True)
class Cost:
    """What a code cost, and whom it brought since it hangs there."""

    code_id: int
    label: str
    kind: str
    place: str
    merchant_id: int
    merchant_name: str
    cost_fen: int
    scans: int
    new: int
    staying: int
    """Of all it won, those who still follow."""

    @property
    def fen_per_new(self) -> int | None:
        return round(self.cost_fen / self.new) if self.new > 0 else None

    @property
    def fen_per_staying(self) -> int | None:
        return round(self.cost_fen / self.staying) if self.staying > 0 else None


def costs(session: Session, *, limit: int = 500) -> list[Cost]:
    """Codes with a cost, the dearest first, with all they ever brought, whoever owned them."""
    rows = session.execute(
        text("""
            SELECT c.id, c.label, c.kind, c.place, m.id, m.name, c.cost_fen, coalesce(t.scans, 0), coalesce(t.new, 0),
                   coalesce(t.staying, 0)
            FROM (SELECT * FROM sub_qr_code WHERE cost_fen > 0 ORDER BY cost_fen DESC, id LIMIT :limit) c
            JOIN merchant m ON m.id = c.merchant_id
            CROSS JOIN LATERAL (
                SELECT sum(scans) AS scans, sum(new) AS new, sum(new + back - lost) AS staying
                FROM daily_traffic d WHERE d.code_id = c.id AND d.level = 'code') t
            ORDER BY c.cost_fen DESC, c.id"""),
        {"limit": limit},
    )
    return [Cost(*row) for row in rows]


@dataclass(frozen=True)
class CodeShare:
    """What one code brought a merchant in a range. Without a label it is another's by now."""

    label: str | None
    kind: str
    place: str
    scans: int
    new: int
    returning: int
    lost: int
    cost_fen: int
    new_so_far: int
    """All it brought this merchant up to the range's end, if it cost anything: what the cost is set against."""
    kept: tuple[Kept, ...]
    """After each of `SPANS`."""

    @property
    def fen_per_new(self) -> int | None:
        return round(self.cost_fen / self.new_so_far) if self.cost_fen and self.new_so_far > 0 else None


def by_code(session: Session, span: Range, *, merchant_id: int, now: datetime) -> list[CodeShare]:
    """The codes by which anything happened for a merchant, those that won most people first.

    Needs no more than the merchant's rights, and tells the platform the same.
    """
    rows = session.execute(
        text(f"""
            WITH counted AS (
                SELECT t.code_id, {traffic.figures("CAST(:since AS date)")}, {traffic.stayed("CAST(:today AS date)")}
                FROM daily_traffic t
                WHERE t.level = 'code' AND t.merchant_id = :merchant_id AND {_IN_RANGE} GROUP BY t.code_id
            ), ever AS MATERIALIZED (
                SELECT d.code_id, sum(d.new)::bigint AS new
                FROM daily_traffic d
                JOIN sub_qr_code c ON c.id = d.code_id AND c.merchant_id = :merchant_id AND c.cost_fen > 0
                WHERE d.level = 'code' AND d.merchant_id = :merchant_id AND d.day <= CAST(:until AS date)
                GROUP BY d.code_id)
            SELECT c.label, coalesce(c.kind, ''), coalesce(c.place, ''), counted.scans, counted.new, counted.back,
                   counted.lost, coalesce(c.cost_fen, 0), coalesce(ever.new, 0),
                   {", ".join(f"counted.{what}_{days}" for days in SPANS for what in ("kept", "of"))}
            FROM counted
            LEFT JOIN sub_qr_code c ON c.id = counted.code_id AND c.merchant_id = :merchant_id
            LEFT JOIN ever ON ever.code_id = counted.code_id
            WHERE counted.scans <> 0 OR counted.new <> 0 OR counted.back <> 0 OR counted.lost <> 0
            ORDER BY counted.new DESC, counted.scans DESC, counted.code_id"""),
        {"since": span.since, "until": span.until, "merchant_id": merchant_id, "today": business_day(now)},
    )
    return [
        CodeShare(label, kind, place, scans, new, back, lost, cost, new_so_far, _kept(kept))
        for label, kind, place, scans, new, back, lost, cost, new_so_far, *kept in rows
    ]


@dataclass(frozen=True)
class SheetDay:
    """One day of a code."""

    day: date
    scans: int
    new: int
    returning: int
    kept: tuple[Kept, ...]
    """After each of `SPANS`, of those won that day."""


def sheet(session: Session, span: Range, *, code_id: int, now: datetime) -> list[SheetDay]:
    """A code's days, the latest first: what who carries it brought, and who of them stayed."""
    rows = session.execute(
        text(f"""
            SELECT t.day, sum(t.scans)::bigint, sum(t.new)::bigint, sum(t.back)::bigint,
                   {traffic.stayed("CAST(:today AS date)")}
            FROM daily_traffic t WHERE t.code_id = :code_id AND t.level = 'code' AND {_IN_RANGE} GROUP BY t.day"""),
        {"since": span.since, "until": span.until, "code_id": code_id, "today": business_day(now)},
    )
    found = {row[0]: SheetDay(row[0], row[1], row[2], row[3], _kept(row[4:])) for row in rows}
    nothing = tuple(Kept(0, 0) for _ in SPANS)
    return [found.get(day, SheetDay(day, 0, 0, 0, nothing)) for day in reversed(span.days)]


@dataclass(frozen=True)
class Cohort:
    """Who was won in one week, and how many stayed for how long."""

    span: Range
    """A Monday to a Sunday, or to today."""
    won: int
    kept: tuple[Kept, ...]
    """After each of `COHORT_SPANS`; known only when the time has passed for everybody of the week."""

    @property
    def first_day(self) -> date:
        return self.span.since


def cohorts(session: Session, *, weeks: int, now: datetime, merchant_id: int | None = None) -> list[Cohort]:
    """The last `weeks` weeks, this one included and the oldest first; weeks begin on Monday."""
    today = business_day(now)
    this_week = today - timedelta(days=today.weekday())
    first = this_week - timedelta(weeks=weeks - 1)
    kept = ", ".join(f"sum(t.new + t.back - within(t.stays, t.gone, {days}))::bigint" for days in COHORT_SPANS)
    level = "t.level = 'account'" if merchant_id is None else "t.level = 'merchant' AND t.merchant_id = :merchant_id"
    rows = session.execute(
        text(f"""
            SELECT date_trunc('week', t.day)::date AS first_day, sum(t.new + t.back)::bigint AS won, {kept}
            FROM daily_traffic t WHERE {level} AND t.day BETWEEN CAST(:since AS date) AND CAST(:until AS date)
            GROUP BY first_day"""),
        {"since": first, "until": today, "merchant_id": merchant_id},
    )
    found = {row[0]: row[1:] for row in rows}
    story = []
    for step in range(weeks):
        monday = first + timedelta(weeks=step)
        won, *people = found.get(monday, (0, *(0 for _ in COHORT_SPANS)))
        # The last of the week's days must lie more than so many days back.
        is_over = [monday + timedelta(days=6 + days) < today for days in COHORT_SPANS]
        story.append(
            Cohort(
                Range(monday, min(monday + timedelta(days=6), today)),
                won,
                tuple(Kept(kept, won) if over else Kept(0, 0) for kept, over in zip(people, is_over, strict=True)),
            )
        )
    return story


def hours(session: Session, span: Range, *, merchant_id: int | None = None) -> list[list[int]]:
    """Scans by weekday, Monday first, and hour of the day."""
    level = "t.level = 'account'" if merchant_id is None else "t.level = 'merchant' AND t.merchant_id = :merchant_id"
    rows = session.execute(
        text(f"""
            SELECT extract(isodow FROM t.day)::integer - 1, each.number::integer - 1, sum(each.scans)::bigint
            FROM daily_traffic t CROSS JOIN LATERAL unnest(t.by_hour) WITH ORDINALITY AS each(scans, number)
            WHERE {level} AND {_IN_RANGE} GROUP BY 1, 2"""),
        {"since": span.since, "until": span.until, "merchant_id": merchant_id},
    )
    table = [[0] * 24 for _ in range(7)]
    for weekday, hour, scans in rows:
        table[weekday][hour] = scans
    return table


@dataclass(frozen=True)
class Place:
    """A merchant in the flow; without an id all the others together."""

    merchant_id: int | None
    name: str | None


@dataclass(frozen=True)
class Flow:
    """How many people one merchant brought went on to another: a matrix with the busiest merchants on both sides."""

    sources: tuple[Place, ...]
    targets: tuple[Place, ...]
    people: tuple[tuple[int, ...], ...]
    """A line for each source, a column for each target."""

    @property
    def everybody(self) -> int:
        return sum(map(sum, self.people))


def flow(session: Session, span: Range) -> Flow:
    """Whose code brought somebody → whose code they scanned next, by the day of that next scan."""
    since, until = span.bounds
    rows = session.execute(
        text("""
            WITH pairs AS MATERIALIZED (
                SELECT from_merchant_id AS source, to_merchant_id AS target, count(*)::integer AS people
                FROM onward_scan WHERE scanned_at >= :since AND scanned_at < :until GROUP BY source, target
            ), sources AS (
                SELECT source, sum(people) AS sum FROM pairs GROUP BY source ORDER BY sum DESC, source LIMIT :places
            ), targets AS (
                SELECT target, sum(people) AS sum FROM pairs GROUP BY target ORDER BY sum DESC, target LIMIT :places
            ), folded AS (
                SELECT s.source, t.target, sum(p.people)::bigint AS people
                FROM pairs p LEFT JOIN sources s ON s.source = p.source LEFT JOIN targets t ON t.target = p.target
                GROUP BY s.source, t.target
            )
            SELECT source, m.name, target, n.name, people
            FROM folded LEFT JOIN merchant m ON m.id = source LEFT JOIN merchant n ON n.id = target"""),
        {"since": since, "until": until, "places": FLOW_PLACES},
    ).all()
    people = {(Place(row[0], row[1]), Place(row[2], row[3])): int(row[4]) for row in rows}
    sources = _by_size({source for source, _ in people}, lambda one: sum(n for (a, _), n in people.items() if a == one))
    targets = _by_size({target for _, target in people}, lambda one: sum(n for (_, b), n in people.items() if b == one))
    return Flow(
        sources, targets, tuple(tuple(people.get((source, target), 0) for target in targets) for source in sources)
    )


def _by_size(places: set[Place], size: Callable[[Place], int]) -> tuple[Place, ...]:
    """The largest first; the others together come last."""
    return tuple(sorted(places, key=lambda one: (one.merchant_id is None, -size(one), one.merchant_id or 0)))


@dataclass(frozen=True)
class Gap:
    """A time in which events could not be taken in."""

    began_at: datetime
    ended_at: datetime

    @property
    def minutes(self) -> int:
        return max(1, round((self.ended_at - self.began_at).total_seconds() / 60))


def gaps(session: Session, span: Range) -> list[Gap]:
    """Outages of a minute or more that touch the range, those that overlap taken together."""
    since, until = span.bounds
    rows = session.execute(
        text("""
            SELECT began_at, ended_at FROM outage
            WHERE ended_at >= :since AND began_at < :until AND ended_at - began_at >= interval '1 minute'
            ORDER BY began_at"""),
        {"since": since, "until": until},
    )
    found: list[Gap] = []
    for began_at, ended_at in rows:
        if found and began_at <= found[-1].ended_at:
            found[-1] = Gap(found[-1].began_at, max(found[-1].ended_at, ended_at))
        else:
            found.append(Gap(began_at, ended_at))
    return found
