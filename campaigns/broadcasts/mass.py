"""Mass batches: claimed, called under a clientmsgid that never changes, and looked into where the answer was lost.

The platform accepts a batch or refuses it as a whole and tells counts later; a batch whose answer is missing keeps
its slots and is asked for again only under the same clientmsgid with the same people, while the platform remembers it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import structlog
from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from campaigns.broadcasts import attempts, bank, calls, control, outgoing
from campaigns.broadcasts.bank import Policy
from campaigns.broadcasts.freezing import dissolve
from campaigns.broadcasts.models import NotReached
from campaigns.broadcasts.reach import FOLLOWS, SMALLEST_MASS, WANTS_ANY, WANTS_MERCHANT
from campaigns.broadcasts.verdict import Answer, Verdict
from core import outbox
from core.clock import business_day
from core.errors import BusinessError
from wechat.client import WeChatClient
from wechat.mass import MassContent

LEASE: Final = "interval '60 s'"
BREATHER: Final = timedelta(seconds=30)
"""How soon to look again at a batch that may not be called now."""
MONTH_QUOTA_CODE: Final = 45028

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class MassCall:
    """One committed mass call."""

    batch_id: int
    broadcast_id: int
    attempt: int
    clientmsgid: str
    openids: Sequence[str]
    content: MassContent
    is_repeat: bool

    def send(self, client: WeChatClient) -> int:
        """Make it; returns the platform's number for it."""
        return client.mass_send(self.openids, self.content, self.clientmsgid).msg_id


class NotToRepeat(BusinessError):
    code = "not_to_repeat"
    status = 409
    message = "这一批不能再核对了：已有结果，或超过 23 小时。"


def begin(session: Session, owner: str, policy: Policy, now: datetime) -> MassCall | None:
    """Commit to the next mass call there may be, with the quotas it takes; None where none may be made now."""
    return _begin_repeat(session, owner, policy, now) or _begin_next(session, owner, policy, now)


def _begin_next(session: Session, owner: str, policy: Policy, now: datetime) -> MassCall | None:
    """The batch of whoever waits longest with the fewest calls today (BC-20).

    Nothing is called near a month's end, in quiet hours, or with slots of another month (BC-6).
    """
    if policy.is_quiet(now) or bank.is_near_boundary(now):
        return None
    batch = session.execute(_CLAIM, {"owner": owner, "day": business_day(now)}).one_or_none()
    if batch is None:
        return None
    people = _people_left(session, batch) if batch.month == bank.month_of(now) else []
    if len(people) < SMALLEST_MASS:
        dissolve(session, batch.id)
        return None
    if not calls.spend(session, merchant_id=batch.merchant_id, now=now):
        _put_back(session, batch.id, BREATHER)
        return None
    return _commit(session, batch, people, owner, is_repeat=False)


def _begin_repeat(session: Session, owner: str, policy: Policy, now: datetime) -> MassCall | None:
    """Ask again for a batch whose answer was lost: the same clientmsgid and the same people, or not at all.

    Had it not arrived the first time it arrives now, so it keeps to pauses, hours and the month of its slots.
    """
    if policy.is_quiet(now) or bank.is_near_boundary(now):
        return None
    batch = session.execute(
        _CLAIM_UNKNOWN,
        {"since": now - control.REMEMBERED, "always": policy.repeats_unknown, "month": bank.month_of(now)},
    ).one_or_none()
    if batch is None:
        return None
    people = session.execute(_AGAIN, {"id": batch.id}).all()
    # It would reach who has left or muted since.
    if any(one.may_not for one in people) or not calls.spend(session, merchant_id=batch.merchant_id, now=now):
        session.execute(
            text("""
                UPDATE send_batch SET repeat_asked = false, not_before = clock_timestamp() + interval '5 min'
                WHERE id = :id"""),
            {"id": batch.id},
        )
        return None
    return _commit(session, batch, [one.openid for one in people], owner, is_repeat=True)


def _people_left(session: Session, batch: Row[Any]) -> list[str]:
    """The openids of those who may still get it; who left or muted meanwhile is skipped and their slot given back."""
    gone = session.execute(_WHO_LEFT, {"id": batch.id}).all()
    bank.release(
        session, [row.follower_id for row in gone], merchant_id=batch.merchant_id, month=batch.month, week=batch.week
    )
    return list(session.execute(_OPENIDS, {"id": batch.id}).scalars())


def _commit(session: Session, batch: Row[Any], openids: Sequence[str], owner: str, *, is_repeat: bool) -> MassCall:
    state = "" if is_repeat else "state = 'calling', size = :size, called_at = app_now(),"
    session.execute(
        text(f"""
            UPDATE send_batch SET {state} attempt = attempt + 1, owner = :owner, repeat_asked = false,
                   lease_until = clock_timestamp() + {LEASE}, not_before = clock_timestamp() + :again_after
            WHERE id = :id"""),
        {
            "id": batch.id,
            "owner": owner,
            "again_after": control.ASK_AGAIN_AFTER,
            **({} if is_repeat else {"size": len(openids)}),
        },
    )
    attempt = batch.attempt + 1
    attempts.note(session, batch.broadcast_id, attempt, batch_id=batch.id)
    words = outgoing.for_batch(session, batch.broadcast_id, variant=batch.variant, group_no=batch.group_no)
    return MassCall(batch.id, batch.broadcast_id, attempt, batch.clientmsgid, openids, words, is_repeat)


def record(session: Session, call: MassCall, answer: Answer, now: datetime) -> None:
    """Write down what came of a mass call; safe to try again, and late answers of a lost call are taken, too."""
    attempts.note(session, call.broadcast_id, call.attempt, batch_id=call.batch_id, answer=answer)
    verdict = answer.verdict
    if verdict in {Verdict.SENT, Verdict.KNOWN}:
        if _is_of_another(session, call, answer.msg_id):
            log.error("clientmsgid answered with another batch's msg_id", batch_id=call.batch_id)
            _settle(session, call, "unknown", "unknown", answer)
        else:
            _settle(session, call, "accepted", "sent", answer)
    elif call.is_repeat or verdict is Verdict.UNKNOWN:
        # What a repetition is refused for says nothing about the first call.
        _settle(session, call, "unknown", "unknown", answer)
    elif verdict in {Verdict.WRONG, Verdict.NOBODY, Verdict.CLOSED}:
        _reject(session, call, answer)
    else:
        wait = {Verdict.WAIT: control.ASK_AGAIN_AFTER, Verdict.NOT_CALLED: timedelta(0)}.get(verdict, BREATHER)
        _put_back(session, call.batch_id, wait, attempt=call.attempt)
        if answer.errcode == MONTH_QUOTA_CODE:
            calls.close_day(session, now)


def _settle(session: Session, call: MassCall | Row[Any], batch_state: str, row_state: str, answer: Answer) -> None:
    ours = session.execute(
        text("""
            UPDATE send_batch
            SET state = :state, msg_id = :msg_id, errcode = :errcode, lease_until = NULL, settled_at = app_now()
            WHERE id = :id AND attempt = :attempt AND state IN ('calling', 'unknown') RETURNING id"""),
        {"id": call.batch_id, "attempt": call.attempt, "state": batch_state, "errcode": answer.errcode,
         "msg_id": answer.msg_id if batch_state == "accepted" else None},
    ).one_or_none()  # fmt: skip
    if ours is not None:
        session.execute(
            text("""
                UPDATE broadcast_recipient SET state = :state, settled_at = app_now()
                WHERE batch_id = :id AND state IN ('planned', 'unknown') AND state <> :state"""),
            {"id": call.batch_id, "state": row_state},
        )


def _reject(session: Session, call: MassCall, answer: Answer) -> None:
    """Refused for what it is: its slots are free again, and the rest of the broadcast waits for a person to look."""
    row = session.execute(
        text("""
            UPDATE send_batch SET state = 'rejected', errcode = :errcode, lease_until = NULL, settled_at = app_now()
            WHERE id = :id AND attempt = :attempt AND state IN ('calling', 'unknown')
            RETURNING merchant_id, month, week"""),
        {"id": call.batch_id, "attempt": call.attempt, "errcode": answer.errcode},
    ).one_or_none()
    if row is None:
        return
    freed = session.execute(
        text("""
            UPDATE broadcast_recipient SET state = 'rejected', errcode = :errcode, settled_at = app_now()
            WHERE batch_id = :id AND state IN ('planned', 'unknown') RETURNING follower_id"""),
        {"id": call.batch_id, "errcode": answer.errcode},
    )
    bank.release(session, list(freed.scalars()), merchant_id=row.merchant_id, month=row.month, week=row.week)
    stop_broadcast(session, call.broadcast_id, f"微信不接受这条内容（{answer.errcode}）")


def stop_broadcast(session: Session, broadcast_id: int, reason: str) -> None:
    """Pause a broadcast on the platform's behalf, if it is running."""
    session.execute(
        text("""
            UPDATE broadcast SET state = 'paused', paused_by = 'platform', pause_reason = :reason
            WHERE id = :id AND state = 'running'"""),
        {"id": broadcast_id, "reason": reason},
    )


def _put_back(session: Session, batch_id: int, wait: timedelta, *, attempt: int | None = None) -> None:
    """The batch was certainly not sent and is planned again."""
    session.execute(
        text("""
            UPDATE send_batch SET state = 'planned', lease_until = NULL,
                   not_before = clock_timestamp() + :wait
            WHERE id = :id AND state IN ('claimed', 'calling') AND coalesce(attempt = CAST(:attempt AS int), true)"""),
        {"id": batch_id, "wait": wait, "attempt": attempt},
    )


def put_back_uncalled(session: Session, owner: str, in_flight: Sequence[int]) -> None:
    """After a lost connection: batches committed for a call that this process never began."""
    session.execute(
        text("""
            UPDATE send_batch SET state = 'planned', lease_until = NULL
            WHERE owner = :owner AND state IN ('claimed', 'calling') AND id <> ALL(:in_flight)"""),
        {"owner": owner, "in_flight": list(in_flight)},
    )


def _is_of_another(session: Session, call: MassCall, msg_id: int | None) -> bool:
    """Whether the platform answered with a number that is another batch's (BC-14)."""
    if msg_id is None:
        return True
    other = text("SELECT 1 FROM send_batch WHERE msg_id = :msg_id AND id <> :id")
    return session.scalar(other, {"msg_id": msg_id, "id": call.batch_id}) is not None


def ask_to_repeat(session: Session, batch_id: int, *, now: datetime) -> None:
    """The operator's click: ask the platform again, under the same clientmsgid, what became of a batch."""
    statement = text("""
        UPDATE send_batch SET repeat_asked = true, not_before = greatest(not_before, clock_timestamp())
        WHERE id = :id AND state = 'unknown' AND called_at > :since RETURNING id""")
    if session.scalar(statement, {"id": batch_id, "since": now - control.REMEMBERED}) is None:
        raise NotToRepeat
    outbox.ring_after_commit(session, control.QUEUE)


def settle_by_reports(session: Session, now: datetime) -> None:
    """Adopt the report of a batch whose answer was lost, and stop a broadcast that the platform judged unfit.

    A report names no clientmsgid: it is adopted only where one lost batch and one unclaimed report since its call
    fit each other, by their size, and the batch can no longer be asked for, or need not be.
    """
    matches = session.execute(
        text("""
            SELECT b.id AS batch_id, b.attempt, min(r.msg_id) AS msg_id
            FROM send_batch b JOIN mass_report r
              ON r.total = b.size
             AND r.reported_at BETWEEN b.called_at - interval '2 min' AND b.called_at + interval '6 h'
            WHERE b.state = 'unknown' AND NOT r.is_foreign AND b.called_at < :quiet
              AND NOT EXISTS (SELECT 1 FROM send_batch o WHERE o.msg_id = r.msg_id)
              AND NOT EXISTS (SELECT 1 FROM send_batch o
                              WHERE o.id <> b.id AND o.size = b.size AND o.state IN ('calling', 'unknown'))
            GROUP BY b.id HAVING count(*) = 1"""),
        {"quiet": now - timedelta(minutes=2)},
    ).all()
    for one in matches:
        _settle(session, one, "accepted", "sent", Answer(Verdict.SENT, msg_id=one.msg_id))
    failed = session.execute(
        text("""
            SELECT DISTINCT b.broadcast_id, r.status FROM mass_report r JOIN send_batch b ON b.msg_id = r.msg_id
            JOIN broadcast c ON c.id = b.broadcast_id
            WHERE c.state = 'running' AND lower(r.status) NOT IN ('send success', 'sendsuccess')""")
    )
    for broadcast_id, status in failed:
        stop_broadcast(session, broadcast_id, f"微信审核没有通过（{status}）")


_CLAIM: Final = text(f"""
    UPDATE send_batch SET state = 'claimed', owner = :owner, lease_until = clock_timestamp() + {LEASE}
    WHERE id = (
        SELECT s.id FROM send_batch s JOIN broadcast b ON b.id = s.broadcast_id
        LEFT JOIN call_allotment a ON a.day = :day AND a.merchant_id = coalesce(s.merchant_id, 0)
        WHERE s.state = 'planned' AND b.state = 'running' AND coalesce(s.not_before <= clock_timestamp(), true)
          AND EXISTS (SELECT 1 FROM sending_state WHERE paused_at IS NULL)
        ORDER BY {calls.TURN_ORDER}, b.started_at, s.no
        LIMIT 1 FOR UPDATE OF s SKIP LOCKED)
    RETURNING id, broadcast_id, merchant_id, variant, group_no, month, week, attempt, clientmsgid""")
_CLAIM_UNKNOWN: Final = text("""
    SELECT s.id, s.broadcast_id, s.merchant_id, s.variant, s.group_no, s.month, s.week, s.attempt, s.clientmsgid
    FROM send_batch s JOIN broadcast b ON b.id = s.broadcast_id
    WHERE b.state IN ('running', 'finished') AND s.state = 'unknown'
      AND (s.repeat_asked OR :always) AND s.called_at > :since AND s.month = :month
      AND s.not_before <= clock_timestamp() AND coalesce(s.lease_until <= clock_timestamp(), true)
      AND EXISTS (SELECT 1 FROM sending_state WHERE paused_at IS NULL)
    ORDER BY s.not_before LIMIT 1 FOR UPDATE OF s SKIP LOCKED""")
# A digest's fan may have muted any of the merchants in its composition.
_MUTED: Final = f"""
    NOT ({WANTS_MERCHANT}) OR r.merchant_id IS NULL AND EXISTS (
        SELECT 1 FROM digest_group g JOIN broadcast i ON i.id = ANY(g.items)
        JOIN fan m ON m.merchant_id = i.merchant_id AND m.follower_id = r.follower_id
        WHERE g.digest_id = r.broadcast_id AND g.no = r.group_no
          AND (m.muted_at IS NOT NULL OR m.erased_at IS NOT NULL))"""
_MAY_NOT: Final = f"(NOT ({FOLLOWS} AND {WANTS_ANY}) OR {_MUTED})"
_OF_BATCH: Final = """
    broadcast_recipient r JOIN follower f ON f.id = r.follower_id
    LEFT JOIN fan ON fan.merchant_id = r.merchant_id AND fan.follower_id = r.follower_id"""
_WHO_LEFT: Final = text(f"""
    WITH gone AS (
        SELECT r.broadcast_id, r.follower_id,
               CASE WHEN NOT ({FOLLOWS}) THEN '{NotReached.LEFT}'
                    WHEN {_MUTED} THEN '{NotReached.MUTED}' ELSE '{NotReached.OPTED_OUT}' END AS reason
        FROM {_OF_BATCH} WHERE r.batch_id = :id AND r.state = 'planned' AND {_MAY_NOT})
    UPDATE broadcast_recipient r SET state = 'skipped', reason = gone.reason, batch_id = NULL, settled_at = app_now()
    FROM gone WHERE r.broadcast_id = gone.broadcast_id AND r.follower_id = gone.follower_id
    RETURNING r.follower_id""")
_AGAIN: Final = text(f"""
    SELECT f.openid, {_MAY_NOT} AS may_not FROM {_OF_BATCH}
    WHERE r.batch_id = :id AND r.state = 'unknown' ORDER BY r.follower_id""")
_OPENIDS: Final = text("""
    SELECT f.openid FROM broadcast_recipient r JOIN follower f ON f.id = r.follower_id
    WHERE r.batch_id = :id AND r.state = 'planned' ORDER BY r.follower_id""")
