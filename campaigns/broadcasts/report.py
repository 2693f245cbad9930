"""How far a broadcast is and what became of it, counted from its rows each time; nothing here is a counter.

Runs under the merchant role, which sees its own broadcasts, and under the platform's, which says whose it means.
What nobody knows stays unknown, and of a mass batch the platform's counts are told beside ours, never in their place
(BC-16).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from enum import StrEnum
from typing import Final

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from campaigns.broadcasts import bank
from campaigns.broadcasts.bank import Policy
from campaigns.broadcasts.models import (
    BatchState,
    Broadcast,
    BroadcastState,
    NotReached,
    Route,
    SendingState,
)
from core.clock import SHANGHAI, business_day, start_of_day
from core.errors import NotFound

LIVE: Final = frozenset({
    BroadcastState.SUBMITTED, BroadcastState.APPROVED, BroadcastState.LATE, BroadcastState.GATHERED,
    BroadcastState.FREEZING, BroadcastState.RUNNING, BroadcastState.PAUSED,
})  # fmt: skip
"""While these last, something may still change by itself."""
LATELY: Final = timedelta(minutes=2)
"""Over which time the pace is taken."""
CALLS_RETURN: Final = time(18)
"""When the day's unused calls go back to everybody."""
WORK_MEM: Final = "64MB"
PEOPLE: Final = 50


class Outcome(StrEnum):
    """What became of one fan's share, as it is told to people."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    UNKNOWN = "unknown"
    UNDERWAY = "underway"
    """The platform is being asked."""
    WAITING = "waiting"
    HELLO = "hello"
    """Waits for the fan to come by."""
    HELD_OUT = "held_out"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


OPEN: Final = (Outcome.UNDERWAY, Outcome.WAITING, Outcome.HELLO)

# Of a mass batch the row stays planned until the batch is settled; the batch knows more.
OUTCOME: Final = """
    CASE WHEN {r}.reason = 'held_out' THEN 'held_out'
         WHEN {r}.state = 'skipped' THEN 'skipped'
         WHEN {r}.state = 'sent' THEN 'accepted'
         WHEN {r}.state IN ('rejected', 'unknown', 'cancelled') THEN {r}.state
         WHEN {r}.state = 'calling' OR {b}.state = 'calling' THEN 'underway'
         WHEN {b}.state IN ('accepted', 'rejected', 'unknown', 'cancelled') THEN {b}.state
         WHEN {r}.route = 'hello' THEN 'hello'
         ELSE 'waiting' END"""


@dataclass(frozen=True)
class Tally:
    """So many people with the same fate."""

    route: Route
    outcome: Outcome
    reason: NotReached | None
    errcode: int | None
    people: int


@dataclass(frozen=True)
class Told:
    """What the platform told about one batch; it counts, and names nobody."""

    status: str
    total: int
    filtered: int
    """Whom it left out by itself: at their limit, or refusing the account's messages."""
    sent: int
    errors: int
    at: datetime


@dataclass(frozen=True)
class Batch:
    """One mass call's worth of fans."""

    id: int
    no: int
    variant: str
    size: int
    state: BatchState
    errcode: int | None
    called_at: datetime | None
    settled_at: datetime | None
    told: Told | None
    """None: the platform has not counted yet."""


@dataclass(frozen=True)
class Progress:
    """Where all recipients of a broadcast are; every one of them is in exactly one tally."""

    tallies: tuple[Tally, ...]
    batches: tuple[Batch, ...]
    lately: int
    """How many were settled within `LATELY`."""

    @property
    def total(self) -> int:
        return sum(tally.people for tally in self.tallies)

    @property
    def open(self) -> int:
        return self.of(*OPEN)

    def of(self, *outcomes: Outcome, route: Route | None = None) -> int:
        return sum(tally.people for tally in self.tallies if tally.outcome in outcomes and route in (None, tally.route))

    @property
    def filtered(self) -> int:
        """Handed over in a batch that was accepted, and left out by the platform."""
        return sum(batch.told.filtered for batch in self.batches if batch.told)

    @property
    def failed(self) -> int:
        """Handed over in a batch that was accepted, and not delivered, as the platform says."""
        return sum(batch.told.errors for batch in self.batches if batch.told)

    @property
    def accepted(self) -> int:
        """Accepted by the platform, but for those it says it left out or could not send to."""
        return sum(self.accepted_by(route) for route in Route)

    def accepted_by(self, route: Route) -> int:
        """The same of one route; only about mass sends the platform tells more than yes."""
        accepted = self.of(Outcome.ACCEPTED, route=route)
        return max(0, accepted - self.filtered - self.failed) if route == Route.MASS else accepted

    def people_by(self, route: Route) -> int:
        """Everybody of one route but the held out, who have none on purpose."""
        return sum(
            tally.people for tally in self.tallies if tally.route == route and tally.outcome is not Outcome.HELD_OUT
        )

    @property
    def uncounted(self) -> int:
        """Of those accepted, whom the platform has told no counts about yet."""
        return sum(batch.size for batch in self.batches if batch.state is BatchState.ACCEPTED and batch.told is None)

    def reasons(self) -> list[tuple[NotReached, int]]:
        """Why people got nothing, the commonest first; the held out are no failure and not among them."""
        counts: dict[NotReached, int] = {}
        for tally in self.tallies:
            if tally.outcome is Outcome.SKIPPED and tally.reason is not None:
                counts[tally.reason] = counts.get(tally.reason, 0) + tally.people
        return sorted(counts.items(), key=lambda one: -one[1])

    def refusals(self) -> list[tuple[int | None, int]]:
        """The platform's refusals by error code, the commonest first."""
        counts: dict[int | None, int] = {}
        for tally in self.tallies:
            if tally.outcome is Outcome.REJECTED:
                counts[tally.errcode] = counts.get(tally.errcode, 0) + tally.people
        return sorted(counts.items(), key=lambda one: -one[1])

    def left(self) -> timedelta | None:
        """How long it takes at the pace of the last minutes; None where nothing moves."""
        to_send = self.of(Outcome.WAITING, Outcome.UNDERWAY)
        return LATELY * (to_send / self.lately) if self.lately and to_send else None


def find(session: Session, broadcast_id: int, *, merchant_id: int | None = None) -> Broadcast:
    """One broadcast, of this merchant where one is given; `NotFound` for a missing or foreign one alike (TN-3)."""
    wanted = select(Broadcast).where(Broadcast.id == broadcast_id)
    if merchant_id is not None:
        wanted = wanted.where(Broadcast.merchant_id == merchant_id)
    found = session.scalar(wanted)
    if found is None:
        raise NotFound("没有这次群发。")
    return found


def progress(session: Session, broadcast: Broadcast, *, now: datetime) -> Progress:
    """Every recipient counted once; a million take the database about a tenth of a second."""
    given = {"id": broadcast.id, "lately": now - LATELY}
    # So that a million rows are grouped as they are read; sorted first, they take three times as long.
    session.execute(text(f"SET LOCAL work_mem = '{WORK_MEM}'"))
    rows = session.execute(
        text(f"""
            SELECT r.route, {OUTCOME.format(r="r", b="b")} AS outcome, r.reason, coalesce(r.errcode, b.errcode),
                   sum(r.people), sum(r.lately)
            FROM (SELECT route, state, reason, errcode, batch_id, count(*) AS people,
                         count(*) FILTER (WHERE settled_at > :lately AND state <> 'skipped') AS lately
                  FROM broadcast_recipient WHERE broadcast_id = :id
                  GROUP BY route, state, reason, errcode, batch_id) r
            LEFT JOIN send_batch b ON b.id = r.batch_id
            GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4"""),
        given,
    ).all()
    tallies = tuple(
        Tally(Route(route), Outcome(outcome), NotReached(reason) if reason else None, errcode, int(people))
        for route, outcome, reason, errcode, people, _lately in rows
    )
    return Progress(tallies, tuple(batches(session, broadcast)), int(sum(row[5] for row in rows)))


def batches(session: Session, broadcast: Broadcast) -> list[Batch]:
    """Its mass calls in order, with what the platform told about each."""
    rows = session.execute(
        text("""
            SELECT b.id, b.no, b.variant, b.size, b.state, b.errcode, b.called_at, b.settled_at,
                   m.status, m.total, m.filtered, m.sent, m.errors, m.reported_at
            FROM send_batch b LEFT JOIN mass_report m ON m.msg_id = b.msg_id
            WHERE b.broadcast_id = :id ORDER BY b.no"""),
        {"id": broadcast.id},
    )
    return [
        Batch(
            row.id, row.no, row.variant, row.size, BatchState(row.state), row.errcode, row.called_at, row.settled_at,
            # The platform's FilterCount is who was left to send to after filtering.
            None if row.status is None
            else Told(row.status, row.total, row.total - row.filtered, row.sent, row.errors, row.reported_at),
        )
        for row in rows
    ]  # fmt: skip


# ---- Why it waits ----------------------------------------------------------------------------------------------------


class WaitKind(StrEnum):
    PAUSED = "paused"
    ACCOUNT = "account"
    """All sending of the account is stopped."""
    QUIET = "quiet"
    CALLS = "calls"
    """The calls of the day are used up."""
    ASKED = "asked"
    """The platform asked for patience."""
    SCHEDULED = "scheduled"


@dataclass(frozen=True)
class Wait:
    """One thing that holds a broadcast up, and until when where that is known."""

    kind: WaitKind
    until: datetime | None = None
    by: str | None = None
    reason: str = ""


def waits(session: Session, broadcast: Broadcast, done: Progress, *, now: datetime) -> list[Wait]:
    """What holds it up now; nothing where it is moving or over."""
    found = []
    if broadcast.state == BroadcastState.PAUSED:
        found.append(Wait(WaitKind.PAUSED, by=broadcast.paused_by, reason=broadcast.pause_reason))
    if broadcast.state not in (BroadcastState.APPROVED, BroadcastState.FREEZING, BroadcastState.RUNNING):
        return found
    if broadcast.state == BroadcastState.APPROVED and broadcast.scheduled_at and broadcast.scheduled_at > now:
        return [Wait(WaitKind.SCHEDULED, until=broadcast.scheduled_at)]
    account = session.get(SendingState, 1)
    if account is not None and account.paused_at is not None:
        found.append(Wait(WaitKind.ACCOUNT, until=account.resume_at, reason=account.reason))
    has_not_started = broadcast.state == BroadcastState.APPROVED
    mass_waits = done.of(Outcome.WAITING, route=Route.MASS) > 0
    if (has_not_started or mass_waits) and (until := quiet_until(bank.policy(session), now)):
        found.append(Wait(WaitKind.QUIET, until=until))
    if mass_waits:
        found += _waits_for_calls(session, broadcast, now)
    return found


def _waits_for_calls(session: Session, broadcast: Broadcast, now: datetime) -> Iterator[Wait]:
    today = business_day(now)
    row = session.execute(
        text("""
            SELECT (SELECT used >= cap FROM account_day_quota WHERE day = :today) AS account_spent,
                   (SELECT returned_at IS NOT NULL FROM account_day_quota WHERE day = :today) AS returned,
                   (SELECT used >= allotted FROM call_allotment
                    WHERE day = :today AND merchant_id = :merchant) AS own_spent,
                   (SELECT max(not_before) FROM send_batch
                    WHERE broadcast_id = :id AND state = 'planned' AND not_before > clock_timestamp()) AS asked"""),
        {"today": today, "merchant": broadcast.merchant_id or 0, "id": broadcast.id},
    ).one()
    tomorrow = start_of_day(today + timedelta(days=1))
    if row.account_spent:
        yield Wait(WaitKind.CALLS, until=tomorrow)
    elif row.own_spent and not row.returned:
        returns = datetime.combine(today, CALLS_RETURN, SHANGHAI)
        yield Wait(WaitKind.CALLS, until=returns if now < returns else None)
    if row.asked is not None:
        yield Wait(WaitKind.ASKED)


def quiet_until(policy: Policy, now: datetime) -> datetime | None:
    """When the quiet hours end that it is in now, holidays included; None outside them."""
    moment = now
    while policy.is_quiet(moment):
        day = moment.astimezone(SHANGHAI).date()
        end = datetime.combine(day, policy.quiet_until, SHANGHAI)
        moment = end if moment < end else end + timedelta(days=1)
    return None if moment is now else moment


# ---- The people behind a number --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Asked:
    """Whose share is meant: every condition given has to hold."""

    outcome: Outcome | None = None
    route: Route | None = None
    reason: NotReached | None = None
    errcode: int | None = None


@dataclass(frozen=True)
class Recipient:
    """One fan and what became of their share. A fan whose data were erased has no number (FA-8)."""

    follower_id: int
    number: str | None
    place: str | None
    """The number as a place in the list; never shown."""
    route: Route
    variant: str
    outcome: Outcome
    reason: NotReached | None
    errcode: int | None
    settled_at: datetime | None


def people(
    session: Session, broadcast: Broadcast, asked: Asked, *, after: int = 0, limit: int = PEOPLE
) -> list[Recipient]:
    """Some of the recipients meant, by follower."""
    return listed(session, broadcast, "", {}, asked, after=after, limit=limit)


def listed(
    session: Session,
    broadcast: Broadcast,
    among: str,
    given: dict[str, object],
    asked: Asked,
    *,
    after: int = 0,
    limit: int = PEOPLE,
) -> list[Recipient]:
    """The same among those followers only whom the statement `among` finds, where one is given."""
    conditions = ["r.broadcast_id = :id", "r.follower_id > :after"]
    if among:
        conditions.append(f"r.follower_id IN ({among})")
    conditions += [f"r.{name} = :{name}" for name in ("route", "reason") if getattr(asked, name) is not None]
    outcome = OUTCOME.format(r="r", b="b")
    if asked.outcome is not None:
        conditions.append(f"({outcome}) = :outcome")
    if asked.errcode is not None:
        conditions.append("coalesce(r.errcode, b.errcode) = :errcode")
    rows = session.execute(
        text(f"""
            SELECT r.follower_id, CASE WHEN f.erased_at IS NULL THEN f.number END AS number, f.number AS place,
                   r.route, r.variant, {outcome} AS outcome, r.reason, coalesce(r.errcode, b.errcode) AS errcode,
                   r.settled_at
            FROM broadcast_recipient r
            LEFT JOIN send_batch b ON b.id = r.batch_id
            LEFT JOIN fan f ON f.merchant_id = r.merchant_id AND f.follower_id = r.follower_id
            WHERE {" AND ".join(conditions)}
            ORDER BY r.follower_id LIMIT :limit"""),
        {
            **given, "id": broadcast.id, "after": after, "limit": limit,
            "outcome": asked.outcome, "route": asked.route, "reason": asked.reason,
            "errcode": asked.errcode,
        },
    )  # fmt: skip
    return [
        Recipient(
            row.follower_id, row.number, row.place, Route(row.route), row.variant, Outcome(row.outcome),
            NotReached(row.reason) if row.reason else None, row.errcode, row.settled_at,
        )
        for row in rows
    ]  # fmt: skip


def follower_at(session: Session, merchant_id: int, place: str) -> int:
    """Whom a merchant's list stood at; the beginning for a number that is not its fan's."""
    found = session.execute(
        text("SELECT follower_id FROM fan WHERE merchant_id = :merchant_id AND number = :number"),
        {"merchant_id": merchant_id, "number": place},
    ).scalar_one_or_none()
    return int(found or 0)


def everybody(session: Session, broadcast: Broadcast, asked: Asked) -> Iterator[Recipient]:
    """All recipients meant, page by page, for exports."""
    after = 0
    while rows := people(session, broadcast, asked, after=after, limit=5_000):
        yield from rows
        after = rows[-1].follower_id


# ---- All merchants' broadcasts ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One line of the operator's list."""

    id: int
    merchant_id: int | None
    merchant_name: str | None
    kind: str
    name: str
    state: BroadcastState
    scheduled_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    unknown_batches: int


def all_broadcasts(
    session: Session,
    *,
    state: BroadcastState | None = None,
    search: str = "",
    merchant_id: int | None = None,
    before: int | None = None,
    limit: int = 50,
) -> Sequence[Row]:
    """Every merchant's and the digests, the newest first; drafts are nobody's business yet."""
    rows = session.execute(
        text("""
            SELECT b.id, b.merchant_id, m.name AS merchant_name, b.kind, b.name, b.state, b.scheduled_at, b.started_at,
                   b.finished_at,
                   (SELECT count(*) FROM send_batch s WHERE s.broadcast_id = b.id AND s.state = 'unknown') AS unknown
            FROM broadcast b LEFT JOIN merchant m ON m.id = b.merchant_id
            WHERE b.state <> 'draft' AND (CAST(:state AS text) IS NULL OR b.state = :state)
              AND (CAST(:merchant AS bigint) IS NULL OR b.merchant_id = :merchant)
              AND (CAST(:before AS bigint) IS NULL OR b.id < :before)
              AND (:search = '' OR strpos(lower(b.name), lower(:search)) > 0
                   OR strpos(lower(m.name), lower(:search)) > 0 OR CAST(b.id AS text) = :search)
            ORDER BY b.id DESC LIMIT :limit"""),
        {"state": state, "merchant": merchant_id, "before": before, "search": search, "limit": limit},
    )
    return [
        Row(
            row.id, row.merchant_id, row.merchant_name, row.kind, row.name, BroadcastState(row.state),
            row.scheduled_at, row.started_at, row.finished_at, row.unknown,
        )
        for row in rows
    ]  # fmt: skip
