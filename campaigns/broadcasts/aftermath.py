"""What people did after a broadcast: taps, answers, visits, leaves and mutes; and whether it was because of it.

Only who was sent something counts for what followed it. Whether it made a difference is asked the other way: everybody
among whom the held out were drawn, whether they got it or not, beside those held out, over the same days. To look only
at who got it would find a difference where there is none: who left meanwhile, or came by so seldom that the merchant's
share went to others, is still among the held out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from campaigns.broadcasts.lift import Arm, Lift, compare
from campaigns.broadcasts.models import Broadcast
from campaigns.broadcasts.report import PEOPLE, Asked, Recipient, listed
from campaigns.coupons import cards
from campaigns.coupons.cards import Taken
from core.clock import month_of

SOON: Final = timedelta(hours=48)
VISITS: Final = timedelta(days=7)
ANSWERS_KEPT: Final = timedelta(days=40)
"""Windows are forgotten after so long, and with them who answered."""
QUESTIONS: Final = 3
"""Visits, answers and taps: what two texts are compared by."""


class Followed(StrEnum):
    """What somebody did who had been sent it."""

    ANSWERED = "answered"
    VISITED = "visited"
    LEFT = "left"
    MUTED = "muted"


WITHIN: Final = {
    Followed.ANSWERED: SOON, Followed.VISITED: VISITS, Followed.LEFT: SOON, Followed.MUTED: SOON,
}  # fmt: skip

# The conditions on whole columns repeat what those beside `settled_at` say, so that an index is used.
_WHO: Final = {
    Followed.ANSWERED: """
        SELECT DISTINCT r.follower_id, r.variant FROM message_window d
        JOIN broadcast_recipient r ON r.broadcast_id = :id AND r.follower_id = d.follower_id
        WHERE r.state = 'sent' AND d.trigger = 'message' AND {mine} AND d.expires_at > :since AND {soon}""",
    Followed.VISITED: """
        SELECT DISTINCT r.follower_id, r.variant FROM scan d
        JOIN broadcast_recipient r ON r.broadcast_id = :id AND r.follower_id = d.follower_id
        WHERE r.state = 'sent' AND {mine} AND NOT d.by_staff AND NOT d.is_test
          AND d.scanned_at >= :since AND d.month >= :first_month AND {soon}""",
    Followed.LEFT: """
        SELECT DISTINCT r.follower_id, r.variant FROM follow_episode d
        JOIN broadcast_recipient r ON r.broadcast_id = :id AND r.follower_id = d.follower_id
        WHERE r.state = 'sent' AND d.voided_at IS NULL AND d.ended_at >= :since AND {soon}""",
    Followed.MUTED: """
        SELECT DISTINCT r.follower_id, r.variant FROM fan d
        JOIN broadcast_recipient r ON r.broadcast_id = :id AND r.follower_id = d.follower_id
        WHERE r.state = 'sent' AND {mine} AND d.muted_at >= :since AND {soon}""",
}
_AT: Final = {
    Followed.ANSWERED: "d.opened_at", Followed.VISITED: "d.scanned_at", Followed.LEFT: "d.ended_at",
    Followed.MUTED: "d.muted_at",
}  # fmt: skip


def _who(broadcast: Broadcast, what: Followed) -> tuple[str, dict[str, Any]]:
    """Who did it, as a statement with its parameters. Of a digest it matters at none in particular."""
    at = _AT[what]
    sql = _WHO[what].format(
        mine="true" if broadcast.merchant_id is None else "d.merchant_id = :merchant_id",
        soon=f"{at} > r.settled_at AND {at} <= r.settled_at + CAST(:within AS interval)",
    )
    assert broadcast.started_at is not None  # noqa: S101
    return sql, {
        "id": broadcast.id,
        "merchant_id": broadcast.merchant_id,
        "since": broadcast.started_at,
        "first_month": month_of(broadcast.started_at),
        "within": WITHIN[what],
    }


@dataclass(frozen=True)
class Link:
    """One link of a broadcast's words."""

    variant: str
    target: str
    taps: int
    visitors: int


@dataclass(frozen=True)
class Aftermath:
    """What followed a broadcast so far."""

    links: tuple[Link, ...]
    taps: int
    visitors: int
    """Browsers by the day: somebody who taps on two days, or on two phones, counts twice."""
    counts: dict[Followed, int]
    has_answers: bool
    """False once the windows that told of answers are forgotten."""
    coupon: Taken | None = None
    """What became of its coupon card; of one without any, nothing."""


def aftermath(session: Session, broadcast: Broadcast, *, now: datetime) -> Aftermath:
    """What people did after it."""
    links = [
        Link(*row)
        for row in session.execute(
            text("""
                SELECT l.variant, l.target, count(t.id), count(DISTINCT t.visitor)
                FROM short_link l LEFT JOIN link_tap t ON t.link_id = l.id
                WHERE l.broadcast_id = :id GROUP BY l.id ORDER BY l.variant, count(t.id) DESC, l.id"""),
            {"id": broadcast.id},
        )
    ]
    tappers = _tappers(session, broadcast)
    counts = dict.fromkeys(Followed, 0)
    if broadcast.started_at is not None:
        for what in Followed:
            sql, given = _who(broadcast, what)
            counts[what] = session.execute(text(f"SELECT count(*) FROM ({sql}) people"), given).scalar_one()
    return Aftermath(
        tuple(links),
        sum(link.taps for link in links),
        tappers.get(None, 0),
        counts,
        broadcast.started_at is None or now - broadcast.started_at < ANSWERS_KEPT,
        cards.taken_by(session, broadcast_id=broadcast.id),
    )


def _tappers(session: Session, broadcast: Broadcast) -> dict[str | None, int]:
    """Distinct visitors by variant; under None of all."""
    rows = session.execute(
        text("""
            SELECT l.variant, count(DISTINCT t.visitor)
            FROM short_link l JOIN link_tap t ON t.link_id = l.id
            WHERE l.broadcast_id = :id GROUP BY ROLLUP (l.variant)"""),
        {"id": broadcast.id},
    )
    return {row[0]: row[1] for row in rows}


def people(
    session: Session, broadcast: Broadcast, what: Followed, *, after: int = 0, limit: int = PEOPLE
) -> list[Recipient]:
    """Some of those who did it, by follower."""
    if broadcast.started_at is None:
        return []
    sql, given = _who(broadcast, what)
    among = f"SELECT follower_id FROM ({sql}) people"
    return listed(session, broadcast, among, given, Asked(), after=after, limit=limit)


def everybody(session: Session, broadcast: Broadcast, what: Followed) -> Iterator[Recipient]:
    """All of them, for exports."""
    after = 0
    while rows := people(session, broadcast, what, after=after, limit=5_000):
        yield from rows
        after = rows[-1].follower_id


# ---- Because of it? --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Effects:
    """The comparisons that a broadcast allows. They are told once their days are over, and not before: whoever looks
    every day at a difference that is none finds one sooner or later."""

    until: datetime
    is_over: bool
    held_out: Lift | None
    """Visits of those meant to get it beside visits of those held out."""
    variants: dict[str, Lift] | None
    """Text A beside text B: "visits", "answers" and "taps"."""


def effects(session: Session, broadcast: Broadcast, *, now: datetime) -> Effects | None:
    """None where nothing can be compared: nobody was held out, and there is one text."""
    if broadcast.started_at is None or broadcast.merchant_id is None:
        return None
    until = broadcast.started_at + VISITS
    rows = session.execute(
        text("""
            SELECT r.is_held_out, r.variant, count(*) AS people, count(v.follower_id) AS visited
            FROM (SELECT follower_id, variant, reason IS NOT DISTINCT FROM 'held_out' AS is_held_out
                  FROM broadcast_recipient
                  WHERE broadcast_id = :id AND (route <> 'none' OR reason IN ('held_out', 'share', 'alone'))) r
            LEFT JOIN (SELECT DISTINCT follower_id FROM scan s
                       WHERE s.merchant_id = :merchant_id AND s.scanned_at >= :since AND s.scanned_at < :until
                         AND s.month BETWEEN :first_month AND :last_month
                         AND NOT s.by_staff AND NOT s.is_test) v ON v.follower_id = r.follower_id
            GROUP BY 1, 2"""),
        {
            "id": broadcast.id, "merchant_id": broadcast.merchant_id, "since": broadcast.started_at, "until": until,
            "first_month": month_of(broadcast.started_at), "last_month": month_of(until),
        },
    ).all()  # fmt: skip
    held = _sum(row for row in rows if row.is_held_out)
    meant = {row.variant: Arm(row.people, row.visited) for row in rows if not row.is_held_out}
    if not held.people and len(meant) < 2:
        return None
    return Effects(
        until,
        now >= until,
        compare(_sum(row for row in rows if not row.is_held_out), held) if held.people else None,
        _by_variant(session, broadcast, meant) if len(meant) > 1 else None,
    )


def _sum(rows: Iterator[Any]) -> Arm:
    arms = [(row.people, row.visited) for row in rows]
    return Arm(sum(people for people, _ in arms), sum(visited for _, visited in arms))


def _by_variant(session: Session, broadcast: Broadcast, meant: dict[str, Arm]) -> dict[str, Lift]:
    sql, given = _who(broadcast, Followed.ANSWERED)
    counted = session.execute(text(f"SELECT variant, count(*) FROM ({sql}) people GROUP BY variant"), given)
    answers: dict[str, int] = {row[0]: row[1] for row in counted}
    taps = _tappers(session, broadcast)

    def arm(variant: str, hits: int) -> Arm:
        # Passed on to friends, a link may be tapped by more people than it was sent to.
        return Arm(meant[variant].people, min(hits, meant[variant].people))

    return {
        "visits": compare(meant["a"], meant["b"], claims=QUESTIONS),
        "answers": compare(arm("a", answers.get("a", 0)), arm("b", answers.get("b", 0)), claims=QUESTIONS),
        "taps": compare(arm("a", taps.get("a", 0)), arm("b", taps.get("b", 0)), claims=QUESTIONS),
    }


# ---- Mutes -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Muting:
    """How many of some people have muted a merchant."""

    people: int
    muted: int

    @property
    def percent(self) -> float | None:
        return 100 * self.muted / self.people if self.people else None


@dataclass(frozen=True)
class BroadcastMuting:
    """Who muted within two days of a broadcast, of those it was sent to."""

    broadcast_id: int
    name: str
    started_at: datetime
    muting: Muting


def muting_now(session: Session, merchant_id: int) -> Muting:
    """Of all fans of a merchant, those who want no broadcasts of it."""
    row = session.execute(
        text("""
            SELECT count(*), count(*) FILTER (WHERE muted_at IS NOT NULL)
            FROM fan WHERE merchant_id = :merchant_id AND erased_at IS NULL"""),
        {"merchant_id": merchant_id},
    ).one()
    return Muting(row[0], row[1])


def muting_by_broadcast(session: Session, merchant_id: int, *, limit: int = 12) -> list[BroadcastMuting]:
    """The latest broadcasts of a merchant that went out, the newest first."""
    rows = session.execute(
        text("""
            SELECT b.id, b.name, b.started_at, sent.people, muted.people
            FROM (SELECT * FROM broadcast
                  WHERE merchant_id = :merchant_id AND started_at IS NOT NULL ORDER BY id DESC LIMIT :limit) b
            CROSS JOIN LATERAL (SELECT count(*) AS people FROM broadcast_recipient r
                                WHERE r.broadcast_id = b.id AND r.state = 'sent') sent
            CROSS JOIN LATERAL (SELECT count(*) AS people FROM fan f JOIN broadcast_recipient r
                                  ON r.broadcast_id = b.id AND r.follower_id = f.follower_id
                                WHERE f.merchant_id = :merchant_id AND f.muted_at >= b.started_at AND r.state = 'sent'
                                  AND f.muted_at > r.settled_at
                                  AND f.muted_at <= r.settled_at + CAST(:soon AS interval)) muted
            ORDER BY b.id DESC"""),
        {"merchant_id": merchant_id, "limit": limit, "soon": SOON},
    )
    return [BroadcastMuting(row[0], row[1], row[2], Muting(row[3], row[4])) for row in rows]
