"""Points given or taken by hand: with a reason, in the audit log, and above the merchant's limit by two people (AU-9).

What one member of staff may do alone counts over a whole Shanghai day, so that many small ones are no way around the
second person: another owner of the shop, or an operator.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from campaigns.points import ledger
from campaigns.points.ledger import Cause
from campaigns.points.models import AdjustmentState, PointsAdjustment
from core import audit
from core.clock import business_day, start_of_day
from core.errors import BusinessError, Invalid, NotFound

ADJUSTMENT: Final = "adjustment"
MOST: Final = 1_000_000
REASON_MOST: Final = 200
ALONE_MOST: Final = 500
"""What a member of staff may change alone in a day where the merchant says nothing else."""
LIVES_DAYS: Final = 365


class AlreadyDecided(BusinessError):
    code = "already_decided"
    message = "这笔调整已经处理过了，请刷新页面。"


class SecondPersonNeeded(BusinessError):
    code = "second_person_needed"
    message = "超过限额的调整要由另一个人确认：本店的另一位店主，或者街区运营人员。"


@dataclass(frozen=True, slots=True)
class Waiting:
    """An adjustment and who asked for it, for a list."""

    id: int
    merchant_id: int
    merchant: str
    follower_id: int
    points: int
    reason: str
    needs_second: bool
    state: AdjustmentState
    asked_by: int
    asked_by_name: str
    asked_at: datetime
    decided_by: int | None
    decided_at: datetime | None


def ask(
    session: Session,
    *,
    merchant_id: int,
    follower_id: int,
    staff_id: int,
    points: int,
    reason: str,
    now: datetime,
) -> PointsAdjustment:
    """Give points by hand, or take them where `points` is negative; above the limit it waits for a second person."""
    if type(points) is not int or points == 0:
        raise Invalid("请填写要增加或扣减多少积分（整数，不能是 0）。", field="points")
    if abs(points) > MOST:
        raise Invalid("一次最多调整 %(most)s 积分。", field="points", most=MOST)
    words = reason.strip()
    if not 2 <= len(words) <= REASON_MOST:
        raise Invalid("请写明原因，2 到 %(most)s 个字。", field="reason", most=REASON_MOST)
    person = {"merchant": merchant_id, "follower": follower_id}
    if session.execute(_IS_KNOWN, person).one_or_none() is None:
        raise NotFound
    ledger.hold(session, merchant_id=merchant_id, follower_ids=(follower_id,))
    _refuse_more_than_there_is(session, merchant_id, follower_id, points, now)
    # What the same member of staff does at this moment elsewhere counts, too.
    session.execute(text("SELECT pg_advisory_xact_lock(hashtext('points_adjustment'), CAST(:id AS integer))"),
                    {"id": staff_id % 2**31})  # fmt: skip
    start = start_of_day(business_day(now))
    alone = session.execute(
        _ALONE, {"merchant": merchant_id, "staff": staff_id, "start": start, "end": start + timedelta(days=1)}
    ).one()
    needs_second = alone.done + abs(points) > alone.most
    adjustment = PointsAdjustment(
        merchant_id=merchant_id,
        follower_id=follower_id,
        points=points,
        reason=words,
        needs_second=needs_second,
        state=AdjustmentState.WAITING if needs_second else AdjustmentState.DONE,
        asked_by=staff_id,
        asked_at=now,
        decided_at=None if needs_second else now,
    )
    session.add(adjustment)
    session.flush()
    if not needs_second:
        _do(session, adjustment, staff_id, now)
    action = "points.adjust_asked" if needs_second else "points.adjusted"
    _note(session, adjustment, action, actor_kind="merchant", actor_id=staff_id)
    return adjustment


def decide(
    session: Session,
    *,
    adjustment_id: int,
    staff_id: int,
    approve: bool,
    now: datetime,
    merchant_id: int | None = None,
) -> PointsAdjustment:
    """The second person agrees or refuses: an owner of this shop (`merchant_id` given), or an operator (None).

    Of two who decide at once one is heard, and the other is told so. What is refused leaves no trace.
    """
    adjustment = session.get(PointsAdjustment, adjustment_id, populate_existing=True)
    if adjustment is None or merchant_id not in (None, adjustment.merchant_id):
        raise NotFound
    if adjustment.state != AdjustmentState.WAITING:
        raise AlreadyDecided
    role = "operator" if merchant_id is None else "owner"
    may = session.execute(_MAY_DECIDE, {"staff": staff_id, "role": role, "merchant": merchant_id}).one_or_none()
    if may is None or staff_id == adjustment.asked_by:
        raise SecondPersonNeeded
    answer = AdjustmentState.DONE if approve else AdjustmentState.REFUSED
    with session.begin_nested():
        decided = session.execute(_DECIDE, {"id": adjustment_id, "answer": answer, "staff": staff_id, "now": now})
        if decided.one_or_none() is None:
            raise AlreadyDecided
        if approve:
            ledger.hold(session, merchant_id=adjustment.merchant_id, follower_ids=(adjustment.follower_id,))
            _refuse_more_than_there_is(session, adjustment.merchant_id, adjustment.follower_id, adjustment.points, now)
            _do(session, adjustment, staff_id, now)
    session.refresh(adjustment)
    kind = "operator" if merchant_id is None else "merchant"
    action = "points.adjust_approved" if approve else "points.adjust_refused"
    _note(session, adjustment, action, actor_kind=kind, actor_id=staff_id)
    return adjustment


def waiting(session: Session, *, merchant_id: int | None = None, limit: int = 50) -> list[Waiting]:
    """What waits for a second person, the oldest first; of all merchants where none is given."""
    return _listed(session, "a.state = 'waiting'", "a.id", merchant_id, limit)


def count_waiting(session: Session) -> int:
    """How many wait, of all merchants."""
    return int(session.execute(text("SELECT count(*) FROM points_adjustment WHERE state = 'waiting'")).scalar_one())


def recent(session: Session, *, merchant_id: int, limit: int = 50) -> list[Waiting]:
    """A merchant's adjustments, the newest first."""
    return _listed(session, "true", "a.id DESC", merchant_id, limit)


def alone_most(session: Session, *, merchant_id: int) -> int:
    """What one member of staff may change alone in a day."""
    found = session.execute(
        text("SELECT adjust_alone_most FROM points_settings WHERE merchant_id = :id"), {"id": merchant_id}
    ).scalar()
    return ALONE_MOST if found is None else int(found)


def set_alone_most(session: Session, *, merchant_id: int, staff_id: int, most: int) -> None:
    """Change that limit; it is told in the audit log."""
    if type(most) is not int or not 0 <= most <= MOST:
        raise Invalid("限额要在 0 到 %(most)s 之间。", field="adjust_alone_most", most=MOST)
    session.execute(
        text("""
            INSERT INTO points_settings (merchant_id, adjust_alone_most) VALUES (:merchant, :most)
            ON CONFLICT (merchant_id) DO UPDATE SET adjust_alone_most = excluded.adjust_alone_most"""),
        {"merchant": merchant_id, "most": most},
    )
    audit.record(
        session, actor_kind="merchant", actor_id=staff_id, merchant_id=merchant_id, action="points.adjust_limit",
        subject=f"merchant:{merchant_id}", detail={"most": most},
    )  # fmt: skip


def _do(session: Session, adjustment: PointsAdjustment, staff_id: int, now: datetime) -> None:
    ledger.adjust(
        session,
        merchant_id=adjustment.merchant_id,
        follower_id=adjustment.follower_id,
        points=adjustment.points,
        cause=Cause(ADJUSTMENT, adjustment.id),
        now=now,
        staff_id=staff_id,
        expires_at=ledger.expiry(now, LIVES_DAYS),
    )


def _refuse_more_than_there_is(
    session: Session, merchant_id: int, follower_id: int, points: int, now: datetime
) -> None:
    balance = ledger.balance_of(session, merchant_id=merchant_id, follower_id=follower_id, now=now)
    if balance.points + points < 0:
        raise Invalid("这位顾客只有 %(has)s 积分，不能扣这么多。", field="points", has=balance.points)


def _note(session: Session, adjustment: PointsAdjustment, action: str, *, actor_kind: str, actor_id: int) -> None:
    audit.record(
        session,
        actor_kind=actor_kind,
        actor_id=actor_id,
        merchant_id=adjustment.merchant_id,
        action=action,
        subject=f"adjustment:{adjustment.id}",
        detail={"follower_id": adjustment.follower_id, "points": adjustment.points},
    )


def _listed(session: Session, which: str, order: str, merchant_id: int | None, limit: int) -> list[Waiting]:
    found: Any = session.execute(
        text(f"""
            SELECT a.id, a.merchant_id, m.name AS merchant, a.follower_id, a.points, a.reason, a.needs_second, a.state,
                   a.asked_by, s.name AS asked_by_name, a.asked_at, a.decided_by, a.decided_at
            FROM points_adjustment a JOIN merchant m ON m.id = a.merchant_id LEFT JOIN staff s ON s.id = a.asked_by
            WHERE {which} AND (a.merchant_id = :merchant OR CAST(:merchant AS bigint) IS NULL)
            ORDER BY {order} LIMIT :limit"""),
        {"merchant": merchant_id, "limit": limit},
    )
    return [
        Waiting(
            row.id, row.merchant_id, row.merchant, row.follower_id, row.points, row.reason, row.needs_second,
            AdjustmentState(row.state), row.asked_by, row.asked_by_name or "", row.asked_at, row.decided_by,
            row.decided_at,
        )
        for row in found
    ]  # fmt: skip


_IS_KNOWN: Final = text("""
    SELECT 1 WHERE EXISTS (SELECT 1 FROM fan WHERE merchant_id = :merchant AND follower_id = :follower)
                OR EXISTS (SELECT 1 FROM points_account WHERE merchant_id = :merchant AND follower_id = :follower)""")

_ALONE: Final = text("""
    SELECT coalesce((SELECT adjust_alone_most FROM points_settings WHERE merchant_id = :merchant), 500) AS most,
           (SELECT CAST(coalesce(sum(abs(points)), 0) AS bigint) FROM points_adjustment
            WHERE merchant_id = :merchant AND asked_by = :staff AND NOT needs_second
              AND asked_at >= :start AND asked_at < :end) AS done""")

_DECIDE: Final = text("""
    UPDATE points_adjustment SET state = :answer, decided_by = :staff, decided_at = :now
    WHERE id = :id AND state = 'waiting' RETURNING id""")

_MAY_DECIDE: Final = text("""
    SELECT 1 FROM staff
    WHERE id = :staff AND role = :role AND disabled_at IS NULL
      AND merchant_id IS NOT DISTINCT FROM CAST(:merchant AS bigint)""")
