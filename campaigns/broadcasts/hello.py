"""The next hello: a message that waited for a fan is added once, after the answer, when they next turn to its merchant.

The inbox owes one task for each event after which something waits. As with every message to one person, `calling` is
committed before the platform is asked, together with the message it takes out of a window and everything that would
speak against it; where the answer is missing nobody knows, and it is never sent again (BC-2, BC-10, BC-19).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from campaigns.broadcasts import attempts, outgoing, sending, verdict
from campaigns.broadcasts.models import NotReached
from campaigns.broadcasts.reach import MAY_GET, RESERVED_FOR_ANSWERS
from campaigns.broadcasts.sending import WindowCall
from campaigns.broadcasts.verdict import Answer, Verdict
from core import outbox
from core.database import Role, rows_changed
from core.jobs import Handler
from core.outbox import Task, TryLater
from core.runtime import Runtime
from wechat.client import client_of
from wechat.outcome import CALL_LASTS

SEND: Final = "send_hello"
AFTER: Final = timedelta(seconds=2)
"""How long the answer itself has to arrive first."""
IN_TURN: Final = timedelta(seconds=1)
"""How soon to look again whether what follows the welcome has gone out."""
SOON: Final = timedelta(seconds=5)
"""How soon to try again what the platform was too busy for, at first: windows may be a minute long."""
LATEST: Final = timedelta(minutes=10)
EXPIRE_AT_ONCE: Final = 10_000
WAITS_ON: Final = frozenset({Verdict.WAIT, Verdict.STOP, Verdict.CLOSED})
"""Answers after which the fan's next hello is waited for again; all others the sender writes down as its own."""


@dataclass(frozen=True)
class _Call(WindowCall):
    window_id: int


def row(*, inbox_id: int, follower_id: int, merchant_id: int, again: str = "") -> dict[str, Any]:
    """The outbox row for one hello."""
    return outbox.row(
        kind=SEND,
        queue=outbox.MESSAGES,
        dedupe_key=f"hello:{inbox_id}{again}",
        payload={"inbox_id": inbox_id, "follower_id": follower_id, "merchant_id": merchant_id},
    )


def send_hello(runtime: Runtime, task: Task) -> None:
    """Add the oldest message that waits for this follower and merchant, if it may be said now; else it waits on."""
    with runtime.transaction(Role.PLATFORM) as session:
        call = _begin(session, task, now=runtime.now())
    if call is None:
        return
    client = client_of(runtime)
    answer = verdict.of(lambda: call.send(client))
    with runtime.transaction(Role.PLATFORM) as session:
        if answer.verdict in WAITS_ON:
            _wait_on(session, call, answer, task)
            sending.judge_account(session, [answer], runtime.now())
        else:
            sending.record(session, [(call, answer)], runtime.now())


def expire(session: Session, now: datetime) -> None:
    """Give up waiting for who did not come by in time."""
    session.execute(
        text("""
            UPDATE broadcast_recipient SET state = 'skipped', reason = 'no_hello', settled_at = :now
            WHERE (broadcast_id, follower_id) IN (
                SELECT r.broadcast_id, r.follower_id
                FROM broadcast b JOIN broadcast_recipient r ON r.broadcast_id = b.id
                WHERE b.state IN ('running', 'paused') AND b.started_at + b.hello_days * interval '1 day' <= :now
                  AND r.state = 'planned' AND r.route = 'hello'
                LIMIT :most FOR UPDATE OF r SKIP LOCKED)"""),
        {"now": now, "most": EXPIRE_AT_ONCE},
    )


def _begin(session: Session, task: Task, *, now: datetime) -> _Call | None:
    """Commit to one call, and to this being the hello's only one; None where nothing may be said.

    The task ends here: a worker that dies later leaves a call nobody knows about, and no second message.
    """
    who = {name: int(task.payload[name]) for name in ("inbox_id", "follower_id", "merchant_id")}
    fan = session.execute(
        text("""
            SELECT w.openid, w.status, f.muted_at IS NOT NULL AS is_muted, f.erased_at IS NOT NULL AS is_erased,
                   EXISTS (SELECT 1 FROM opt_out o WHERE o.follower_id = w.id) AS has_opted_out,
                   EXISTS (SELECT 1 FROM follow_up u JOIN message_window m ON m.inbox_id = u.inbox_id
                           WHERE u.inbox_id = :inbox_id AND u.state IN ('planned', 'calling')
                             AND m.expires_at > app_now()) AS is_still_answered
            FROM follower w JOIN fan f ON f.follower_id = w.id AND f.merchant_id = :merchant_id
            WHERE w.id = :follower_id FOR UPDATE OF w"""),
        who,
    ).one_or_none()
    if fan is None:
        return None
    if fan.is_still_answered:
        raise TryLater(IN_TURN)
    if not outbox.finish(session, task):
        return None
    if reason := _speaks_against(fan):
        _skip(session, who, reason)
        return None
    waiting = _claim(session, who)
    if waiting is None:
        return None
    (reply,) = outgoing.Letters().replies(session, [(waiting.broadcast_id, who["follower_id"], waiting.variant)], now)
    calling = _take(session, who, waiting.broadcast_id)
    if calling is None:
        _unclaim(session, who, waiting.broadcast_id)
        return None
    call = _Call(waiting.broadcast_id, who["follower_id"], calling.attempt, fan.openid, reply, calling.window_id)
    attempts.note(session, call.broadcast_id, call.attempt, follower_id=call.follower_id)
    return call


def _speaks_against(fan: Row[Any]) -> NotReached | None:
    """What forbids any message to this fan for good."""
    if fan.is_muted:
        return NotReached.MUTED
    if fan.has_opted_out:
        return NotReached.OPTED_OUT
    return NotReached.LEFT if fan.status == "gone" or fan.is_erased else None


def _skip(session: Session, who: Mapping[str, int], reason: NotReached) -> None:
    session.execute(
        text("""
            UPDATE broadcast_recipient SET state = 'skipped', reason = :reason, settled_at = app_now()
            WHERE follower_id = :follower_id AND merchant_id = :merchant_id AND state = 'planned'
              AND route = 'hello'"""),
        {**who, "reason": reason},
    )


def _claim(session: Session, who: Mapping[str, int]) -> Row[Any] | None:
    """The oldest broadcast's row, locked: two hellos of one fan take two rows, or one of them none."""
    return session.execute(
        text("""
            UPDATE broadcast_recipient r
            SET state = 'claimed', owner = 'hello', lease_until = clock_timestamp() + :lasts
            WHERE r.follower_id = :follower_id AND r.broadcast_id = (
                SELECT o.broadcast_id FROM broadcast_recipient o JOIN broadcast b ON b.id = o.broadcast_id
                WHERE o.follower_id = :follower_id AND o.merchant_id = :merchant_id
                  AND o.state = 'planned' AND o.route = 'hello' AND b.state = 'running'
                  AND b.started_at + b.hello_days * interval '1 day' > app_now()
                ORDER BY b.started_at, b.id LIMIT 1 FOR UPDATE OF o)
            RETURNING r.broadcast_id, r.variant"""),
        {**who, "lasts": CALL_LASTS},
    ).one_or_none()


def _take(session: Session, who: Mapping[str, int], broadcast_id: int) -> Row[Any] | None:
    """From here on the call counts as made: one statement judges once more, takes the message out of a window of this
    merchant's conversation that has more than is kept for answers, and says `calling`."""
    return session.execute(
        text(f"""
            WITH taken AS (
                UPDATE message_window SET used = used + 1
                WHERE inbox_id = (
                    SELECT m.inbox_id FROM message_window m
                    WHERE m.follower_id = :follower_id AND m.merchant_id = :merchant_id AND m.expires_at > app_now()
                      AND m.allowance - m.used > :reserved
                    ORDER BY m.expires_at, m.inbox_id LIMIT 1 FOR UPDATE)
                  AND EXISTS (SELECT 1 FROM broadcast b WHERE b.id = :broadcast_id AND b.state = 'running'
                              AND b.started_at + b.hello_days * interval '1 day' > app_now())
                  AND EXISTS (SELECT 1 FROM sending_state s WHERE s.paused_at IS NULL)
                  AND EXISTS (
                      SELECT 1 FROM fan JOIN follower f ON f.id = fan.follower_id
                      WHERE fan.follower_id = :follower_id AND fan.merchant_id = :merchant_id AND {MAY_GET}
                        AND NOT EXISTS (SELECT 1 FROM unreachable u WHERE u.follower_id = f.id
                                        AND u.channel = 'window' AND u.since >= f.last_seen_at))
                RETURNING inbox_id)
            UPDATE broadcast_recipient r
            SET state = 'calling', attempt = r.attempt + 1, window_id = taken.inbox_id,
                lease_until = clock_timestamp() + :lasts
            FROM taken
            WHERE r.broadcast_id = :broadcast_id AND r.follower_id = :follower_id AND r.state = 'claimed'
            RETURNING r.attempt, r.window_id"""),
        {**who, "broadcast_id": broadcast_id, "reserved": RESERVED_FOR_ANSWERS, "lasts": CALL_LASTS},
    ).one_or_none()


def _unclaim(session: Session, who: Mapping[str, int], broadcast_id: int) -> None:
    session.execute(
        text("""
            UPDATE broadcast_recipient SET state = 'planned', owner = NULL, lease_until = NULL
            WHERE broadcast_id = :broadcast_id AND follower_id = :follower_id AND state = 'claimed'"""),
        {**who, "broadcast_id": broadcast_id},
    )


def _wait_on(session: Session, call: _Call, answer: Answer, task: Task) -> None:
    """It was definitely not taken: it waits again, and the message stays the window's where that still has it.

    Where the sweep has called it unknown meanwhile, it stays so.
    """
    attempts.note(session, call.broadcast_id, call.attempt, follower_id=call.follower_id, answer=answer)
    waits = text("""
        UPDATE broadcast_recipient SET state = 'planned', owner = NULL, lease_until = NULL, window_id = NULL
        WHERE broadcast_id = :broadcast_id AND follower_id = :follower_id AND attempt = :attempt
          AND state = 'calling'""")
    mine = {"broadcast_id": call.broadcast_id, "follower_id": call.follower_id, "attempt": call.attempt}
    if not rows_changed(session.execute(waits, mine)):
        return
    # What the platform has closed is not tried again: the window's message counts as used.
    if answer.verdict is not Verdict.CLOSED:
        session.execute(
            text("UPDATE message_window SET used = used - 1 WHERE inbox_id = :window_id"), {"window_id": call.window_id}
        )
    if answer.verdict is Verdict.WAIT:
        _owe_again(session, call, task)


def _owe_again(session: Session, call: _Call, task: Task) -> None:
    """The same hello, a little later each time, under a name of its own."""
    again = row(
        inbox_id=int(task.payload["inbox_id"]),
        follower_id=call.follower_id,
        merchant_id=int(task.payload["merchant_id"]),
        again=f":{call.broadcast_id}:{call.attempt}",
    )
    outbox.add_many(session, [again], delay=min(SOON * 2 ** min(call.attempt - 1, 10), LATEST))


HANDLERS: Final[Mapping[str, Handler]] = {SEND: send_hello}
