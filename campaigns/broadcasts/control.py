"""Stop, go on, give up: the broadcast's state alone, which every step of the sending looks at."""

from datetime import datetime

from sqlalchemy import true, update
from sqlalchemy.orm import Session

from campaigns.broadcasts.models import Broadcast, BroadcastState
from core.database import rows_changed
from core.errors import BusinessError, Invalid


class WrongState(BusinessError):
    code = "wrong_state"
    message = "这条群发的状态已经变了，请刷新页面再看。"


def pause(session: Session, broadcast_id: int, *, by: str, reason: str = "") -> None:
    _step(
        session, broadcast_id, (BroadcastState.RUNNING,), state=BroadcastState.PAUSED, paused_by=by, pause_reason=reason
    )


def resume(session: Session, broadcast_id: int, *, by: str) -> None:
    whose = Broadcast.paused_by == "merchant" if by == "merchant" else true()
    mine = update(Broadcast).where(Broadcast.id == broadcast_id, Broadcast.state == BroadcastState.PAUSED, whose)
    if rows_changed(session.execute(mine.values(state=BroadcastState.RUNNING, paused_by=None, pause_reason=""))) == 0:
        raise WrongState


def cancel(session: Session, broadcast_id: int) -> None:
    open_states = (
        BroadcastState.APPROVED, BroadcastState.LATE, BroadcastState.FREEZING, BroadcastState.RUNNING,
        BroadcastState.PAUSED,
    )  # fmt: skip
    _step(session, broadcast_id, open_states, state=BroadcastState.CANCELLED)


def still_wanted(session: Session, broadcast_id: int, *, now: datetime, at: datetime | None = None) -> None:
    if at is not None and at <= now:
        raise Invalid("请选一个将来的时间。", field="scheduled_at")
    _step(session, broadcast_id, (BroadcastState.LATE,), state=BroadcastState.APPROVED, scheduled_at=at)


def _step(session: Session, broadcast_id: int, from_states: tuple[BroadcastState, ...], **values: object) -> None:
    mine = update(Broadcast).where(Broadcast.id == broadcast_id, Broadcast.state.in_(from_states))
    if rows_changed(session.execute(mine.values(**values))) == 0:
        raise WrongState
