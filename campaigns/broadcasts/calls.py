"""The account's mass calls: so many a day and a minute for everybody together, and whose turn it is (BC-8, BC-20).

Each morning the day's calls are allotted among the merchants who wait for some: one to each before anyone's second,
the rest by their share of the month. What is left over is a pool for whoever comes later; at 18:00 what was allotted
and not used returns to it. Some calls are the platform's all day long. Every taking holds the day's row until the
caller's transaction ends, so that what is counted here is what was called.
"""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from campaigns.broadcasts import bank
from core import outbox
from core.clock import SHANGHAI, business_day, start_of_day
from core.database import Role, rows_changed
from core.jobs import Handler
from core.outbox import Task
from core.runtime import Runtime
from wechat.client import client_of
from wechat.patience import patient

ALLOTTED_AT: Final = time(8, 0)
RETURNED_AT: Final = time(18, 0)
PLATFORM: Final = 0
"""In the ledger of calls, the merchant who stands for the platform."""
ASK: Final = "ask_mass_quota"
MASS_SEND: Final = "/cgi-bin/message/mass/send"


@dataclass(frozen=True)
class Need:
    """A merchant who waits, for how many calls, since when, and how much of the rest it should have."""

    merchant_id: int
    calls: int
    since: datetime
    weight: int = 1


@dataclass(frozen=True)
class Day:
    """The calls of a day: `kept` for the platform, `promised` to merchants, `free` for whoever comes."""

    cap: int
    used: int
    kept: int
    promised: int
    minute_used: int
    returned_at: datetime | None

    @property
    def left(self) -> int:
        return self.cap - self.used

    @property
    def free(self) -> int:
        return max(self.left - self.kept - self.promised, 0)


def allot(session: Session, now: datetime) -> None:
    """Allot the day's calls among who waits, once a day; after the hour of return there is nothing to allot."""
    day = business_day(now)
    _open(session, day)
    mine = text("UPDATE account_day_quota SET allotted_at = :now WHERE day = :day AND allotted_at IS NULL")
    if rows_changed(session.execute(mine, {"now": now, "day": day})) and _is_before_return(now):
        _share_out(session, day)


def return_unused(session: Session, now: datetime) -> None:
    """From 18:00 on what merchants were allotted and did not use is for everybody, once a day.

    The platform's own stay its own: there may be something that everybody has to hear tonight.
    """
    day = business_day(now)
    if _is_before_return(now):
        return
    _open(session, day)
    first = text("UPDATE account_day_quota SET returned_at = :now WHERE day = :day AND returned_at IS NULL")
    if rows_changed(session.execute(first, {"now": now, "day": day})):
        _take_back(session, day)


def spend(session: Session, *, merchant_id: int | None, now: datetime) -> bool:
    """Take one mass call for this merchant (None: the platform) out of the day, the minute and the allotment.

    All three or none, and only together with the caller's transaction. False: not now; nothing was taken.
    """
    day, sender = business_day(now), merchant_id or PLATFORM
    allot(session, now)
    return_unused(session, now)
    attempt = session.begin_nested()
    if _take(session, day, sender, now):
        attempt.commit()
        return True
    attempt.rollback()
    return False


def close_day(session: Session, now: datetime) -> None:
    """The platform says that the account's calls are used up: today there are no more than were made."""
    session.execute(text("UPDATE account_day_quota SET cap = used WHERE day = :day"), {"day": business_day(now)})


def turn_order(session: Session, now: datetime) -> list[int]:
    """Who has mass messages ready to go, in the order in which they call: whoever called least today, then whoever
    waits longest. 0 is the platform."""
    return list(session.execute(_TURNS, {"day": business_day(now)}).scalars())


def today(session: Session, now: datetime) -> Day:
    """The day's calls as they stand, for the pages; before anybody called, as the policy has them."""
    row = session.execute(_DAY, {"day": business_day(now)}).one_or_none()
    if row is None:
        policy = bank.policy(session)
        return Day(policy.calls_per_day, 0, policy.calls_kept, 0, 0, None)
    return Day(row.cap, row.used, row.kept, row.promised, row.minute_used, row.returned_at)


def follow_policy(session: Session, policy: bank.Policy, now: datetime) -> None:
    """Another policy holds from this moment on, for today too; what the platform allows is asked again."""
    _set_cap(session, policy.calls_per_day, policy, now)
    owe_question(session, now)


def owe_question(session: Session, now: datetime) -> None:
    """Have a worker ask the platform how many mass calls it allows."""
    outbox.add(session, kind=ASK, dedupe_key=f"{ASK}:{now.isoformat()}", payload={}, queue=outbox.DEFAULT)


def begin_day(session: Session, now: datetime) -> None:
    """The morning: allot, and ask whether the platform allows as many."""
    allot(session, now)
    owe_question(session, now)


def ask_platform(runtime: Runtime, _task: Task | None = None) -> None:
    """Where the platform allows fewer mass calls a day than we have for today, there are as many as it allows."""
    allowed = client_of(runtime).quota(MASS_SEND).daily_limit
    now = runtime.now()
    with runtime.transaction(Role.PLATFORM) as session:
        if allowed < today(session, now).cap:
            _set_cap(session, allowed, bank.policy(session), now)


def share_out(supply: int, needs: Sequence[Need]) -> dict[int, int]:
    """How many calls each gets: all one, whoever waits longest first; then each next one goes to whoever has least
    for its weight. Nobody gets more than it needs."""
    waiting = sorted((one for one in needs if one.calls > 0), key=lambda one: (one.since, one.merchant_id))
    given = {one.merchant_id: 1 for one in waiting[: max(supply, 0)]}
    supply -= len(given)
    # A merchant without any weight still gets its first, and then whatever nobody else needs.
    queue = [
        (2 / max(one.weight, 1e-6), place, one) for place, one in enumerate(waiting[: len(given)]) if one.calls > 1
    ]
    heapq.heapify(queue)
    while supply > 0 and queue:
        _, place, one = heapq.heappop(queue)
        given[one.merchant_id] += 1
        supply -= 1
        if given[one.merchant_id] < one.calls:
            heapq.heappush(queue, ((given[one.merchant_id] + 1) / max(one.weight, 1e-6), place, one))
    return given


def needs(session: Session, day: date, policy: bank.Policy) -> list[Need]:
    """The merchants whose single broadcasts want mass calls on a day, with their shares as weights."""
    rows = session.execute(
        _NEEDS,
        {
            "tomorrow": start_of_day(day + timedelta(days=1)),
            "size": policy.batch_size,
            "base": policy.share_base,
            "per_kept": policy.share_per_kept,
        },
    )
    return [Need(row.merchant_id, int(row.calls), row.since, row.weight) for row in rows]


def _is_before_return(now: datetime) -> bool:
    return now.astimezone(SHANGHAI).time() < RETURNED_AT


def _open(session: Session, day: date) -> None:
    """Begin a day's book by the policy in force, unless it is open."""
    opened = text("""
        INSERT INTO account_day_quota (day, cap) SELECT :day, calls_per_day FROM quota_policy
        ON CONFLICT (day) DO NOTHING""")
    if rows_changed(session.execute(opened, {"day": day})):
        session.execute(
            text(
                "INSERT INTO call_allotment (day, merchant_id, allotted) SELECT :day, 0, calls_kept FROM quota_policy"
            ),
            {"day": day},
        )


def _take_back(session: Session, day: date) -> None:
    session.execute(
        text("UPDATE call_allotment SET allotted = used WHERE day = :day AND merchant_id <> 0 AND allotted > used"),
        {"day": day},
    )


def _share_out(session: Session, day: date) -> None:
    """Allot what is left of a day anew. The caller holds the day's row."""
    _take_back(session, day)
    policy = bank.policy(session)
    supply = session.execute(
        text("""
            SELECT cap - (SELECT coalesce(sum(greatest(allotted, used)), 0) FROM call_allotment WHERE day = :day)
            FROM account_day_quota WHERE day = :day"""),
        {"day": day},
    ).scalar_one()
    given = share_out(int(supply), needs(session, day, policy))
    if given:
        session.execute(
            text("""
                INSERT INTO call_allotment AS a (day, merchant_id, allotted)
                SELECT :day, * FROM unnest(CAST(:merchants AS bigint[]), CAST(:calls AS int[]))
                ON CONFLICT (day, merchant_id) DO UPDATE SET allotted = a.used + excluded.allotted"""),
            {"day": day, "merchants": list(given), "calls": list(given.values())},
        )


def _set_cap(session: Session, cap: int, policy: bank.Policy, now: datetime) -> None:
    """Today's calls are so many, though never fewer than were made; where they change, they are allotted anew."""
    day = business_day(now)
    _open(session, day)
    before = session.execute(
        text("SELECT cap, allotted_at FROM account_day_quota WHERE day = :day FOR UPDATE"), {"day": day}
    ).one()
    session.execute(
        text("UPDATE account_day_quota SET cap = greatest(used, :cap) WHERE day = :day"), {"cap": cap, "day": day}
    )
    kept = text("""
        UPDATE call_allotment SET allotted = :kept WHERE day = :day AND merchant_id = 0 AND allotted <> :kept""")
    has_other_kept = rows_changed(session.execute(kept, {"kept": min(policy.calls_kept, cap), "day": day}))
    if (before.cap != cap or has_other_kept) and before.allotted_at is not None and _is_before_return(now):
        _share_out(session, day)


def _take(session: Session, day: date, sender: int, now: datetime) -> bool:
    """The conditional statements of one call. The first one holds the day's row: of all that follows no two are at
    work at once, and each reads what the one before it committed."""
    given = {"day": day, "sender": sender, "now": now}
    return all(
        (
            rows_changed(session.execute(_DAY_CALL, given)),
            rows_changed(session.execute(_MINUTE_CALL)),
            _take_allotted(session, given),
        )
    )


def _take_allotted(session: Session, given: dict[str, object]) -> bool:
    session.execute(
        text("INSERT INTO call_allotment (day, merchant_id) VALUES (:day, :sender) ON CONFLICT DO NOTHING"), given
    )
    if rows_changed(session.execute(_ALLOTTED_CALL, given)) or rows_changed(session.execute(_POOL_CALL, given)):
        return True
    # Whoever had none today gets one of those who have a second to spare.
    if not rows_changed(session.execute(_PASS_ON, given)):
        return False
    return bool(rows_changed(session.execute(_ALLOTTED_CALL, given)))


_DAY_CALL: Final = text("UPDATE account_day_quota SET used = used + 1 WHERE day = :day AND used < cap")
# On real time, as the platform counts.
_MINUTE_CALL: Final = text("""
    INSERT INTO account_minute_quota AS m (minute, used) VALUES (date_trunc('minute', clock_timestamp()), 1)
    ON CONFLICT (minute) DO UPDATE SET used = m.used + 1 WHERE m.used < 60""")
_ALLOTTED_CALL: Final = text("""
    UPDATE call_allotment SET used = used + 1, last_called_at = :now
    WHERE day = :day AND merchant_id = :sender AND used < allotted""")
_IS_WAITING: Final = """
    b.state = 'running' AND (
        EXISTS (SELECT 1 FROM send_batch s WHERE s.broadcast_id = b.id AND s.state = 'planned')
        OR EXISTS (SELECT 1 FROM broadcast_recipient r
                   WHERE r.broadcast_id = b.id AND r.state = 'planned' AND r.route = 'mass' AND r.batch_id IS NULL))"""
# A second call leaves as many in the pool as there are others who wait for their first.
_POOL_CALL: Final = text(f"""
    UPDATE call_allotment mine SET used = used + 1, last_called_at = :now
    WHERE day = :day AND merchant_id = :sender
      AND (SELECT d.cap - (SELECT sum(greatest(a.allotted, a.used)) FROM call_allotment a WHERE a.day = :day)
           FROM account_day_quota d WHERE d.day = :day)
        > CASE WHEN mine.used = 0 THEN 0 ELSE (
              SELECT count(DISTINCT coalesce(b.merchant_id, 0)) FROM broadcast b
              WHERE coalesce(b.merchant_id, 0) <> :sender AND {_IS_WAITING}
                AND NOT EXISTS (SELECT 1 FROM call_allotment a
                                WHERE a.day = :day AND a.merchant_id = coalesce(b.merchant_id, 0)
                                  AND greatest(a.allotted, a.used) > 0)) END""")
_PASS_ON: Final = text("""
    WITH richest AS (
        SELECT merchant_id FROM call_allotment
        WHERE day = :day AND merchant_id NOT IN (0, :sender) AND allotted > greatest(used, 1)
          AND EXISTS (SELECT 1 FROM call_allotment WHERE day = :day AND merchant_id = :sender AND used = 0)
        ORDER BY allotted - used DESC, merchant_id LIMIT 1)
    UPDATE call_allotment a SET allotted = a.allotted + CASE WHEN a.merchant_id = :sender THEN 1 ELSE -1 END
    FROM richest WHERE a.day = :day AND a.merchant_id IN (richest.merchant_id, :sender)""")
TURN_ORDER: Final = "coalesce(a.used, 0), a.last_called_at NULLS FIRST"
"""Whoever called least today comes first, then whoever called longest ago. `a` is their `call_allotment` of the day."""
_TURNS: Final = text(f"""
    SELECT w.merchant_id
    FROM (SELECT coalesce(b.merchant_id, 0) AS merchant_id, min(coalesce(b.started_at, b.created_at)) AS since
          FROM broadcast b WHERE {_IS_WAITING} GROUP BY 1) w
    LEFT JOIN call_allotment a ON a.day = :day AND a.merchant_id = w.merchant_id
    ORDER BY {TURN_ORDER}, w.since, w.merchant_id""")
# What an approved one costs was shown to the operator who agreed to it.
_NEEDS: Final = text("""
    SELECT w.merchant_id, w.calls, w.since, :base + :per_kept * coalesce(s.people, 0) AS weight
    FROM (
        SELECT merchant_id, sum(calls) AS calls, min(since) AS since
        FROM (
            SELECT b.merchant_id, coalesce(b.started_at, b.decided_at, b.created_at) AS since,
                   CASE WHEN b.state = 'running' THEN
                       (SELECT count(*) FROM send_batch s
                        WHERE s.broadcast_id = b.id AND s.state IN ('planned', 'claimed'))
                       + (SELECT ceil(count(*)::numeric / :size) FROM broadcast_recipient r
                          WHERE r.broadcast_id = b.id AND r.state = 'planned' AND r.route = 'mass'
                            AND r.batch_id IS NULL)
                   ELSE coalesce((b.evidence -> 'forecast' ->> 'calls')::integer, 1) END AS calls
            FROM broadcast b
            WHERE b.kind = 'single' AND (b.state IN ('running', 'freezing') OR (b.state = 'approved'
                  AND (b.scheduled_at IS NULL OR b.scheduled_at < :tomorrow)))) each
        GROUP BY merchant_id HAVING sum(calls) > 0) w
    LEFT JOIN merchant_standing s ON s.merchant_id = w.merchant_id""")
_DAY: Final = text("""
    SELECT d.cap, d.used, d.returned_at,
           coalesce(sum(greatest(a.allotted - a.used, 0)) FILTER (WHERE a.merchant_id = 0), 0)::integer AS kept,
           coalesce(sum(greatest(a.allotted - a.used, 0)) FILTER (WHERE a.merchant_id <> 0), 0)::integer AS promised,
           coalesce((SELECT m.used FROM account_minute_quota m
                     WHERE m.minute = date_trunc('minute', clock_timestamp())), 0) AS minute_used
    FROM account_day_quota d LEFT JOIN call_allotment a ON a.day = d.day
    WHERE d.day = :day GROUP BY d.day""")

HANDLERS: Final[Mapping[str, Handler]] = {ASK: patient(ask_platform)}
