"""The judge of broadcasts: what the platform says it accepted, against what our rows say.

It reads the sandbox's own log, which is written by nothing of ours; the rows are only what is judged.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import text

from core.clock import SHANGHAI
from core.database import Role
from core.runtime import Runtime
from tests.broadcasting import CUSTOM, MASS

GRACE_S = 2.0
"""After a pause or a cancel what was begun may still arrive for so long (BC-11)."""
IN_FLIGHT = 32
SLOTS = 4
NEVER_SEEN = 0.01
"""Of all recipients, for how many we may not know what the platform never heard of (BC-13)."""
SECOND_TRY_S = 12.0
"""So long the answer of a call and a new token may take together."""
FINAL = frozenset({"sent", "rejected", "unknown", "skipped", "cancelled"})

Told = tuple[str, str]
"""Who, and what: every broadcast of a run has words of its own."""


@dataclass(frozen=True)
class Call:
    """One call as the platform saw it, in seconds of real time."""

    path: str
    came: float
    at: float
    month: str
    people: tuple[str, ...]
    words: str
    is_accepted: bool
    clientmsgid: str | None = None

    @property
    def told(self) -> list[Told]:
        return [(openid, self.words) for openid in self.people]


@dataclass(frozen=True)
class Row:
    """One recipient as we have it; `owner` is the process that called last."""

    told: Told
    route: str
    state: str
    owner: str | None
    clientmsgid: str | None


@dataclass(frozen=True)
class Halt:
    """From when to when nothing was to be sent: of these words, or of none at all."""

    words: str | None
    since: float
    until: float

    def forbids(self, call: Call) -> bool:
        """A stopped account makes no call; of a paused broadcast none is accepted."""
        is_its = self.words is None or (self.words == call.words and call.is_accepted)
        return is_its and self.since + GRACE_S < (call.came if self.words is None else call.at) < self.until


@dataclass(frozen=True)
class Evidence:
    calls: Sequence[Call]
    rows: Sequence[Row]
    halts: Sequence[Halt]
    left_out: int = 0
    """How many recipients the platform had to leave out because their month was full."""


def calls_of(log: Iterable[Mapping[str, Any]]) -> list[Call]:
    """The sends in the platform's log, its moved clock taken back."""
    calls, offset = [], 0.0
    for line in log:
        if line["kind"] == "clock":
            offset = line["offset_seconds"]
        elif line["kind"] == "api" and line["path"] in {CUSTOM, MASS}:
            at = datetime.fromisoformat(line["at"])
            # A call that a rule refused was not read by the platform, only noted.
            body = json.loads(line["body"]) if isinstance(line["body"], str) else line["body"]
            people = body["touser"] if line["path"] == MASS else [body["touser"]]
            calls.append(
                Call(
                    path=line["path"],
                    came=at.timestamp() - offset - line["ms"] / 1000,
                    at=at.timestamp() - offset,
                    month=f"{at.astimezone(SHANGHAI):%Y-%m}",
                    people=tuple(people),
                    words=body["text"]["content"],
                    is_accepted=line["accepted"],
                    clientmsgid=body.get("clientmsgid"),
                )
            )
    return calls


def rows_of(runtime: Runtime) -> list[Row]:
    """Every recipient of every broadcast here."""
    with runtime.transaction(Role.PLATFORM, statement_timeout_s=60) as session:
        rows = session.execute(
            text("""
                SELECT f.openid, w.text, r.route, r.state, coalesce(b.owner, r.owner) AS owner, b.clientmsgid
                FROM broadcast_recipient r JOIN follower f ON f.id = r.follower_id
                JOIN broadcast_words w ON w.broadcast_id = r.broadcast_id AND w.variant = r.variant
                LEFT JOIN send_batch b ON b.id = r.batch_id""")
        )
        return [Row((row.openid, row.text), row.route, row.state, row.owner, row.clientmsgid) for row in rows]


def left_out(log: Iterable[Mapping[str, Any]]) -> int:
    return sum(len(line["over_month"]) for line in log if line["kind"] == "mass")


def judge(evidence: Evidence, *, never_seen: int | None = None) -> list[str]:
    """Everything that is wrong, in sentences; nothing where all promises held."""
    calls, rows = evidence.calls, evidence.rows
    accepted = Counter(told for call in calls if call.is_accepted for told in call.told)
    state = {row.told: row.state for row in rows}
    wrong = [f"accepted {count} times: {told}" for told, count in accepted.items() if count > 1]
    wrong += [f"accepted for nobody we know: {told}" for told in accepted.keys() - state.keys()]
    wrong += [f"not at its end: {row}" for row in rows if row.state not in FINAL]
    wrong += [f"sent, and never accepted: {told}" for told, s in state.items() if s == "sent" and told not in accepted]
    wrong += [
        f"{s}, and yet accepted: {told}"
        for told, s in state.items()
        if s in {"rejected", "skipped", "cancelled"} and told in accepted
    ]
    wrong += [f"unknown, though it can be asked for: {row}" for row in rows if _could_be_asked_for(row)]
    wrong += [
        f"{count} mass messages in {month} for {openid}"
        for (openid, month), count in Counter(
            (openid, call.month) for call in calls if call.path == MASS and call.is_accepted for openid in call.people
        ).items()
        if count > SLOTS
    ]
    if evidence.left_out:
        wrong.append(f"{evidence.left_out} people had to be left out by the platform")
    wrong += [
        f"after the stop of {halt}: {call}"
        for halt in evidence.halts
        for call in calls
        if halt.forbids(call) and not _is_second_try(call, calls, halt)
    ]
    wrong += [f"{most} in flight from {owner}" for owner, most in in_flight(calls, rows).items() if most > IN_FLIGHT]
    unheard = unknown(calls, rows)["never seen"]
    if unheard > (len(rows) * NEVER_SEEN if never_seen is None else never_seen):
        wrong.append(f"{unheard} of {len(rows)} are unknown here and were never seen there")
    return wrong


def _is_second_try(call: Call, calls: Sequence[Call], halt: Halt) -> bool:
    """Whether it was refused and belongs to a call begun before: one with a rejected token is made with a new one."""
    return not call.is_accepted and any(
        (first.clientmsgid, first.told) == (call.clientmsgid, call.told)
        and call.came - SECOND_TRY_S < first.came < halt.since + GRACE_S
        for first in calls
    )


def _could_be_asked_for(row: Row) -> bool:
    return row.state == "unknown" and row.route == "mass"


def unknown(calls: Sequence[Call], rows: Sequence[Row]) -> Counter[str]:
    """What the platform knows of those of whom we know nothing."""
    accepted = {told for call in calls if call.is_accepted for told in call.told}
    seen = {told for call in calls for told in call.told}
    return Counter(
        "accepted" if row.told in accepted else "refused" if row.told in seen else "never seen"
        for row in rows
        if row.state == "unknown"
    )


def in_flight(calls: Sequence[Call], rows: Sequence[Row]) -> dict[str, int]:
    """The most calls of one process that the platform had at once, as far as the last caller of a row is known.

    A row that was called twice, after a refusal, names its last caller only; its earlier calls are left aside.
    """
    owner = {row.told: row.owner for row in rows if row.clientmsgid is None}
    owner_of_batch = {row.clientmsgid: row.owner for row in rows if row.clientmsgid is not None}
    last: dict[object, Call] = {}
    for call in calls:
        last[call.clientmsgid or call.told[0]] = call
    moments: defaultdict[str, list[tuple[float, int]]] = defaultdict(list)
    for call in last.values():
        who = owner_of_batch.get(call.clientmsgid) if call.clientmsgid else owner.get(call.told[0])
        if who is not None:
            # The log knows milliseconds; an answer that left frees its place first.
            moments[who] += [(round(call.came, 3), 1), (round(call.at, 3), -1)]
    return {who: _most(changes) for who, changes in moments.items()}


def _most(changes: Iterable[tuple[float, int]]) -> int:
    now = most = 0
    for _, change in sorted(changes):
        now += change
        most = max(most, now)
    return most


def pace(calls: Sequence[Call]) -> float:
    """Accepted recipients a second, from the first call to the last."""
    if not calls:
        return 0.0
    lasted = timedelta(seconds=max(call.at for call in calls) - min(call.came for call in calls))
    return sum(len(call.people) for call in calls if call.is_accepted) / max(lasted.total_seconds(), 0.001)
