"""Where merchants stand on the front page: by the people each newly brought and kept, by a formula anybody may read.

    points = min(people, most_people) + min(max(0, given − received) × points_for_given, most_for_given)

`people` followed for the first time ever through the merchant's code within the last whole days. Those do not count
whose scan was the staff's or a test, who left again within a day, and who came through one code within one hour
after `most_an_hour` others had. `given` and `received` are the followers neighbours brought each other.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, time
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from core import outbox
from core.clock import business_day
from core.database import Role
from core.errors import Invalid
from core.jobs import Handler
from core.outbox import Task
from core.runtime import Runtime
from merchants.models import Merchant
from qrcodes import neighbours
from qrcodes.counted import MerchantStanding, RankPolicy
from qrcodes.happenings import Key
from qrcodes.traffic import Range

COUNT: Final = "count_standings"
COUNTED_AT: Final = time(3, 20)
LONGEST_COUNT_S: Final = 900


class Verdict(StrEnum):
    """Why a newly won person counts, or does not."""

    COUNTED = "counted"
    BY_STAFF = "by_staff"
    LEFT_SOON = "left_soon"
    IN_BURST = "in_burst"


@dataclass(frozen=True)
class Policy:
    """The formula's numbers, as the operator set them."""

    most_people: int
    most_an_hour: int
    points_for_given: int
    most_for_given: int


LIMITS: Final = {
    "most_people": (1, 10_000),
    "most_an_hour": (1, 1_000),
    "points_for_given": (0, 10),
    "most_for_given": (0, 10_000),
}
"""What each of the numbers may be, both ends included."""


@dataclass(frozen=True)
class Won:
    """A newly won person, and whether they count."""

    followed_at: datetime
    attribution_id: int
    follower_id: int
    code_id: int | None
    code_label: str | None
    verdict: Verdict

    @property
    def key(self) -> Key:
        return Key(self.followed_at, self.attribution_id)


# Looked up person by person, so that a page of the newest needs no more than it shows.
_WON: Final = """
    SELECT a.id AS attribution_id, a.merchant_id, a.follower_id, a.code_id, a.followed_at,
           CASE WHEN EXISTS (
                    SELECT 1 FROM scan s
                    WHERE s.follower_id = a.follower_id AND s.scanned_at = a.followed_at AND (s.by_staff OR s.is_test)
                      AND s.month BETWEEN :first_month AND :last_month)
                THEN 'by_staff'
                WHEN e.ended_at < a.followed_at + :lasting THEN 'left_soon'
                WHEN EXISTS (
                    SELECT 1 FROM attribution b JOIN follow_episode o ON o.attribution_id = b.id AND o.voided_at IS NULL
                    WHERE b.code_id = a.code_id AND b.merchant_id = a.merchant_id AND b.kind = 'new'
                      AND b.followed_at >= date_trunc('hour', a.followed_at)
                      AND (b.followed_at, b.id) < (a.followed_at, a.id)
                    OFFSET :most_an_hour - 1)
                THEN 'in_burst' ELSE 'counted' END AS verdict
    FROM attribution a JOIN follow_episode e ON e.attribution_id = a.id AND e.voided_at IS NULL
    WHERE a.kind = 'new' AND a.followed_at >= :since AND a.followed_at < :until"""


def policy(session: Session) -> Policy:
    """The formula in force."""
    row = session.get_one(RankPolicy, 1)
    return Policy(row.most_people, row.most_an_hour, row.points_for_given, row.most_for_given)


def set_policy(session: Session, wanted: Policy, *, now: datetime) -> None:
    """Change the formula and have everything counted by it soon; raises `Invalid` for a number that cannot be."""
    numbers = vars(wanted)
    for name, (least, most) in LIMITS.items():
        if not least <= numbers[name] <= most:
            raise Invalid("请填 %(least)s 到 %(most)s 之间的整数。", field=name, least=least, most=most)
    session.execute(update(RankPolicy).values(**numbers))
    owe(session, now)


def owe(session: Session, now: datetime) -> None:
    """Have the standings counted by a worker."""
    key = f"{COUNT}:{now.isoformat()}"
    outbox.add(session, kind=COUNT, dedupe_key=key, payload={}, queue=outbox.SLOW)


def recount(runtime: Runtime, _task: Task | None = None) -> None:
    """Count what neighbours brought each other and where everybody stands, up to the last whole days."""
    with runtime.transaction(Role.PLATFORM, statement_timeout_s=LONGEST_COUNT_S) as session:
        # Whoever counts already may need longer than pages wait for a lock.
        session.execute(text("SET LOCAL lock_timeout = 0"))
        session.execute(text("SELECT pg_advisory_xact_lock(hashtext(:name))"), {"name": COUNT})
        session.execute(text("SET LOCAL work_mem = '64MB'"))
        span = neighbours.window(business_day(runtime.now()))
        neighbours.recount(session, span)
        session.execute(text("DELETE FROM merchant_standing"))
        session.execute(text(_STANDINGS), {**_given(span), **vars(policy(session)), "last": span.until})


_STANDINGS: Final = f"""
    INSERT INTO merchant_standing (merchant_id, community_id, until, people, by_staff, left_soon, in_bursts, given,
                                   received, points, rank)
    SELECT *, row_number() OVER (PARTITION BY community_id ORDER BY points DESC, people DESC, merchant_id)
    FROM (
        SELECT m.id AS merchant_id, m.community_id, CAST(:last AS date), coalesce(w.counted, 0) AS people,
               coalesce(w.by_staff, 0), coalesce(w.left_soon, 0), coalesce(w.in_burst, 0), coalesce(x.given, 0),
               coalesce(x.received, 0),
               least(coalesce(w.counted, 0), :most_people)
                   + least(greatest(coalesce(x.given - x.received, 0), 0) * :points_for_given, :most_for_given)
                   AS points
        FROM merchant m
        LEFT JOIN (
            SELECT merchant_id, {", ".join(f"count(*) FILTER (WHERE verdict = '{one}') AS {one}" for one in Verdict)}
            FROM ({_WON}) won GROUP BY merchant_id
        ) w ON w.merchant_id = m.id
        LEFT JOIN (
            SELECT merchant_id, sum(followers_given) AS given, sum(followers_received) AS received
            FROM neighbour_exchange GROUP BY merchant_id
        ) x ON x.merchant_id = m.id
        WHERE m.state = 'active'
    ) scored"""


def counted_span(session: Session) -> Range | None:
    """The days the standings are counted from; None before they ever were."""
    until = session.scalar(select(MerchantStanding.until).limit(1))
    return None if until is None else neighbours.span_until(until)


def standing_of(session: Session, merchant_id: int) -> MerchantStanding | None:
    """One merchant's; None for one that came since last night, or is suspended."""
    return session.get(MerchantStanding, merchant_id)


def page(
    session: Session, *, community_id: int, words: str = "", after: int = 0, limit: int
) -> list[tuple[MerchantStanding, str]]:
    """A community's merchants as they stand, with their names, from the place after `after` on."""
    statement = (
        select(MerchantStanding, Merchant.name)
        .join(Merchant, Merchant.id == MerchantStanding.merchant_id)
        .where(MerchantStanding.community_id == community_id, MerchantStanding.rank > after)
        .order_by(MerchantStanding.rank)
        .limit(limit)
    )
    if words:
        statement = statement.where(Merchant.name.icontains(words, autoescape=True))
    return [(row[0], row[1]) for row in session.execute(statement)]


def people(
    session: Session, span: Range, *, merchant_id: int, verdict: Verdict, before: Key | None = None, limit: int
) -> list[Won]:
    """The people behind one of a merchant's numbers, the latest first."""
    # Asked for with an equals sign, the planner takes any verdict for a rare one and looks at everybody first.
    older = "AND (w.followed_at, w.attribution_id) < (:before_at, :before_id)" if before else ""
    rows = session.execute(
        text(f"""
            SELECT w.followed_at, w.attribution_id, w.follower_id, w.code_id, c.label, w.verdict
            FROM ({_WON} AND a.merchant_id = :merchant_id) w LEFT JOIN sub_qr_code c ON c.id = w.code_id
            WHERE CASE w.verdict WHEN :verdict THEN true ELSE false END {older}
            ORDER BY w.followed_at DESC, w.attribution_id DESC LIMIT :limit"""),
        {
            **_given(span),
            "most_an_hour": policy(session).most_an_hour,
            "merchant_id": merchant_id,
            "verdict": verdict,
            "before_at": before and before.at,
            "before_id": before and before.id,
            "limit": limit,
        },
    )
    return [Won(at, number, who, code_id, label, Verdict(why)) for at, number, who, code_id, label, why in rows]


def _given(span: Range) -> dict[str, Any]:
    return {**span.parameters, "lasting": neighbours.LASTING}


HANDLERS: Final[Mapping[str, Handler]] = {COUNT: recount}
