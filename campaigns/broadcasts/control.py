"""Starting, pausing, going on, cancelling; and stopping all sending when the platform refuses again and again.

Every step is one conditional update; a worker commits no call for a broadcast that is not running (BC-11).
"""

from datetime import datetime, time, timedelta
from typing import Final, Literal

import structlog
from sqlalchemy import text
from sqlalchemy.orm import Session

from campaigns.broadcasts import bank, digest
from campaigns.broadcasts.freezing import FREEZE, dissolve
from campaigns.broadcasts.models import STEPS, BroadcastState
from core import outbox
from core.clock import SHANGHAI
from core.database import rows_changed
from core.errors import BusinessError, Invalid
from wechat.limits import CLIENTMSGID_REMEMBERED

QUEUE: Final = outbox.BROADCASTS
LATE_AFTER: Final = timedelta(hours=1)
"""A start missed for longer is not made up for: by then its words may no longer be true."""
ERRORS_IN_ROW: Final = 5
"""So many refusals of the account itself, one after another, stop all sending (BC-17)."""
BREAK: Final = timedelta(seconds=60)
"""For how long sending rests when answers stay out (F17)."""
REMEMBERED: Final = CLIENTMSGID_REMEMBERED - timedelta(hours=1)
"""For how long a batch may be asked for again: an hour less than the platform remembers a clientmsgid."""
ASK_AGAIN_AFTER: Final = timedelta(seconds=65)
"""How soon: the platform refuses a clientmsgid that it was asked about less than a minute ago."""
RESET_AT: Final = time(0, 5)
"""When the platform's daily counters are surely new."""

By = Literal["merchant", "operator", "platform"]

log = structlog.get_logger(__name__)


class WrongState(BusinessError):
    code = "wrong_state"
    status = 409
    message = "这条群发的状态已经变了，请刷新页面再看。"


def pause(session: Session, broadcast_id: int, *, by: By, reason: str = "") -> None:
    """Stop a running broadcast; what is being called right now is finished, nothing else begins."""
    _step(session, broadcast_id, BroadcastState.PAUSED, "paused_by = :by, pause_reason = :reason", by=by, reason=reason)


def resume(session: Session, broadcast_id: int, *, by: By) -> None:
    """Go on with what is still planned. A merchant cannot undo the operator's or the platform's pause."""
    condition = "AND paused_by = 'merchant'" if by == "merchant" else ""
    _step(session, broadcast_id, BroadcastState.RUNNING, "paused_by = NULL, pause_reason = ''", condition=condition)
    outbox.ring_after_commit(session, QUEUE)


def cancel(session: Session, broadcast_id: int) -> None:
    """Send nothing more of it, for good; what was sent stays sent."""
    _step(session, broadcast_id, BroadcastState.CANCELLED, "scheduled_at = scheduled_at")


def still_wanted(session: Session, broadcast_id: int, *, now: datetime, at: datetime | None = None) -> None:
    """Send a broadcast that missed its time after all: at once, or at another time."""
    if at is not None and at <= now:
        raise Invalid("请选一个将来的时间。", field="scheduled_at")
    _step(session, broadcast_id, BroadcastState.APPROVED, "scheduled_at = :at", at=at)


def _step(
    session: Session,
    broadcast_id: int,
    to: BroadcastState,
    changes: str,
    *,
    condition: str = "",
    **values: object,
) -> None:
    """One step of the state machine, or `WrongState` where the broadcast stands elsewhere by now."""
    froms = [state for state, ways in STEPS.items() if to in ways]
    if to is BroadcastState.APPROVED:
        froms = [BroadcastState.LATE]
    statement = text(f"UPDATE broadcast SET state = :to, {changes} WHERE id = :id AND state = ANY(:froms) {condition}")
    if not rows_changed(session.execute(statement, {"to": to, "id": broadcast_id, "froms": froms, **values})):
        raise WrongState


def start_due(session: Session, now: datetime) -> None:
    """Start what is approved and due; what missed its time by far has to be confirmed. Nights stay quiet."""
    policy = bank.policy(session)
    missed = session.execute(
        text("""
            SELECT id, scheduled_at FROM broadcast
            WHERE state = 'approved' AND kind <> 'item' AND scheduled_at < :too_late"""),
        {"too_late": now - LATE_AFTER},
    ).all()
    # What was set for the night is due in the morning.
    late = [row.id for row in missed if policy.opens_at(row.scheduled_at) < now - LATE_AFTER]
    session.execute(
        text("UPDATE broadcast SET state = 'late' WHERE id = ANY(:late) AND state = 'approved'"), {"late": late}
    )
    if policy.is_quiet(now):
        return
    started = session.execute(
        text("""
            UPDATE broadcast SET state = 'freezing'
            WHERE state = 'approved' AND kind <> 'item' AND (scheduled_at IS NULL OR scheduled_at <= :now)
            RETURNING id"""),
        {"now": now},
    ).scalars()
    outbox.add_many(
        session,
        [
            outbox.row(kind=FREEZE, dedupe_key=f"{FREEZE}:{one}", payload={"broadcast_id": one}, queue=QUEUE)
            for one in started
        ],
    )


def tidy(session: Session, now: datetime) -> None:
    """Give back what lost workers and cancelled broadcasts hold, end what is done, and wake the senders.

    Runs every few seconds; each part is a condition on rows, so running twice changes nothing.
    """
    _give_up_lost_calls(session)
    _cancel_rows(session)
    finish(session)
    digest.settle(session)
    session.execute(
        text("""
            UPDATE sending_state SET paused_at = NULL, resume_at = NULL, reason = ''
            WHERE paused_at IS NOT NULL AND resume_at <= :now"""),
        {"now": now},
    )
    if has_work(session, now):
        outbox.ring_after_commit(session, QUEUE)


def _give_up_lost_calls(session: Session) -> None:
    """Claims whose lease is over are free again; of calls nobody came back from, nothing is known (F3)."""
    session.execute(
        text("""
            UPDATE broadcast_recipient
            SET state = CASE state WHEN 'claimed' THEN 'planned' ELSE 'unknown' END,
                settled_at = CASE state WHEN 'calling' THEN app_now() END
            WHERE state IN ('claimed', 'calling') AND lease_until < clock_timestamp()""")
    )
    session.execute(
        text("UPDATE send_batch SET state = 'planned' WHERE state = 'claimed' AND lease_until < clock_timestamp()")
    )
    lost = session.execute(
        text("""
            UPDATE send_batch SET state = 'unknown', not_before = clock_timestamp() + :again_after
            WHERE state = 'calling' AND lease_until < clock_timestamp() RETURNING id"""),
        {"again_after": ASK_AGAIN_AFTER},
    ).scalars()
    session.execute(
        text("""
            UPDATE broadcast_recipient SET state = 'unknown', settled_at = app_now()
            WHERE batch_id = ANY(:batches) AND state = 'planned'"""),
        {"batches": list(lost)},
    )


def _cancel_rows(session: Session) -> None:
    """A cancelled broadcast's reservations are given back; what is being called is left to its worker."""
    batches = session.execute(
        text("""
            SELECT b.id FROM send_batch b JOIN broadcast c ON c.id = b.broadcast_id
            WHERE c.state = 'cancelled' AND b.state IN ('planned', 'claimed')
            ORDER BY b.id LIMIT 20 FOR UPDATE OF b SKIP LOCKED""")
    ).scalars()
    for batch_id in batches:
        dissolve(session, batch_id)
    session.execute(
        text("""
            UPDATE broadcast_recipient r SET state = 'cancelled', settled_at = app_now()
            FROM (SELECT o.broadcast_id, o.follower_id
                  FROM broadcast c JOIN broadcast_recipient o ON o.broadcast_id = c.id
                  WHERE c.state = 'cancelled' AND c.finished_at IS NULL AND o.batch_id IS NULL
                    AND o.state IN ('planned', 'claimed')
                  LIMIT 20000 FOR UPDATE OF o SKIP LOCKED) open
            WHERE r.broadcast_id = open.broadcast_id AND r.follower_id = open.follower_id""")
    )


def finish(session: Session) -> list[int]:
    """End every broadcast of which nothing is open any more (BC-12); returns those that were sent to their end."""
    session.execute(
        text(
            f"UPDATE broadcast c SET finished_at = app_now() WHERE state = 'cancelled' AND finished_at IS NULL {_DONE}"
        )
    )
    done = session.execute(
        text(f"""
            UPDATE broadcast c SET state = 'finished', finished_at = app_now()
            WHERE state = 'running' {_DONE} RETURNING id""")
    )
    return list(done.scalars())


# One question for each index: the end of a long broadcast is not looked for among a million settled rows. A planned
# row with a batch is as open as its batch.
_DONE: Final = """
    AND NOT EXISTS (SELECT 1 FROM broadcast_recipient r
                    WHERE r.broadcast_id = c.id AND r.state = 'planned' AND r.route = 'window')
    AND NOT EXISTS (SELECT 1 FROM broadcast_recipient r WHERE r.broadcast_id = c.id
                    AND r.state = 'planned' AND r.route = 'mass' AND r.batch_id IS NULL)
    AND NOT EXISTS (SELECT 1 FROM broadcast_recipient r
                    WHERE r.broadcast_id = c.id AND r.state = 'planned' AND r.route = 'hello')
    AND NOT EXISTS (SELECT 1 FROM broadcast_recipient r
                    WHERE r.broadcast_id = c.id AND r.state IN ('claimed', 'calling'))
    AND NOT EXISTS (SELECT 1 FROM send_batch s
                    WHERE s.broadcast_id = c.id AND s.state IN ('planned', 'claimed', 'calling'))"""


def has_work(session: Session, now: datetime) -> bool:
    """Whether a sender would find anything to do; at night mass sends are nothing to do."""
    is_quiet = bank.policy(session).is_quiet(now)
    return bool(
        session.execute(
            text("""
                SELECT EXISTS (SELECT 1 FROM sending_state WHERE paused_at IS NULL) AND EXISTS (
                    SELECT 1 FROM broadcast b WHERE b.state = 'running' AND (
                        EXISTS (SELECT 1 FROM broadcast_recipient r WHERE r.broadcast_id = b.id
                                AND r.state = 'planned' AND r.route = 'window')
                        OR NOT :is_quiet AND (
                            EXISTS (SELECT 1 FROM broadcast_recipient r WHERE r.broadcast_id = b.id
                                    AND r.state = 'planned' AND r.route = 'mass' AND r.batch_id IS NULL)
                            OR EXISTS (SELECT 1 FROM send_batch s WHERE s.broadcast_id = b.id AND s.state = 'planned'
                                       AND coalesce(s.not_before <= clock_timestamp(), true))))
                    UNION ALL
                    SELECT 1 FROM send_batch s JOIN broadcast b ON b.id = s.broadcast_id CROSS JOIN quota_policy p
                    WHERE b.state IN ('running', 'finished') AND s.state = 'unknown'
                      AND (s.repeat_asked OR p.repeats_unknown) AND NOT :is_quiet
                      AND s.not_before <= clock_timestamp() AND s.month = :month AND s.called_at > :since
                      AND coalesce(s.lease_until <= clock_timestamp(), true))"""),
            {"is_quiet": is_quiet, "month": bank.month_of(now), "since": now - REMEMBERED},
        ).scalar_one()
    )


def pause_account(session: Session, reason: str, *, resume_at: datetime | None = None) -> None:
    """Stop all sending, until a time or until the operator says so. A stop there is stays as it is."""
    stop = text("""
        UPDATE sending_state SET paused_at = app_now(), resume_at = :at, reason = :reason
        WHERE paused_at IS NULL OR (resume_at IS NOT NULL AND (CAST(:at AS timestamptz) IS NULL OR :at > resume_at))""")
    if rows_changed(session.execute(stop, {"at": resume_at, "reason": reason})):
        log.warning("sending stopped", reason=reason)


def hold_running(session: Session, reason: str) -> None:
    """Pause every broadcast that is under way, and ask about every one that is due: each has to be looked at before
    it goes on (F36)."""
    session.execute(
        text("""
            UPDATE broadcast SET state = 'paused', paused_by = 'operator', pause_reason = :reason
            WHERE state = 'running'"""),
        {"reason": reason},
    )
    session.execute(text("UPDATE broadcast SET state = 'late' WHERE state = 'approved' AND kind <> 'item'"))


def resume_account(session: Session) -> None:
    """Send again; the first call goes alone, and the others follow if it succeeds."""
    session.execute(text("UPDATE sending_state SET paused_at = NULL, resume_at = NULL, reason = '', errors_in_row = 1"))
    outbox.ring_after_commit(session, QUEUE)


def next_reset(now: datetime) -> datetime:
    """When the platform's daily counters have started anew."""
    tomorrow = now.astimezone(SHANGHAI).date() + timedelta(days=1)
    return datetime.combine(tomorrow, RESET_AT, SHANGHAI)
