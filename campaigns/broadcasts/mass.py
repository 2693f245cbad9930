"""Mass calls."""

from datetime import datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

from core.errors import BusinessError


class NotToRepeat(BusinessError):
    code = "not_to_repeat"
    message = "这一批现在不能再核对。"


def ask_to_repeat(session: Session, batch_id: int, *, now: datetime) -> None:  # noqa: ARG001
    """The operator's click: ask the platform again, under the same clientmsgid, what became of a batch."""
    statement = text("UPDATE send_batch SET repeat_asked = true WHERE id = :id AND state = 'unknown' RETURNING id")
    if session.scalar(statement, {"id": batch_id}) is None:
        raise NotToRepeat
