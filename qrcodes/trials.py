"""Trying a code out: the next scan within ten minutes is marked as a test, whoever makes it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from core.errors import BusinessError, NotFound
from qrcodes import codes
from qrcodes.models import CodeState, CodeTrial, SubQrCode

LASTS: Final = timedelta(minutes=10)
SHOWN_FOR: Final = timedelta(minutes=30)
"""How long a trial that has ended is still shown with what came of it."""


class CannotBeTried(BusinessError):
    code = "cannot_be_tried"
    message = "这个码现在扫不了，不能试扫。"


def arm(session: Session, *, merchant_id: int, code_id: int, staff_id: int, now: datetime) -> bool:
    """Mark the next scan of this code as a test; False where one is awaited already."""
    # The lock makes one trial out of two taps.
    mine = select(SubQrCode).where(SubQrCode.id == code_id, SubQrCode.merchant_id == merchant_id)
    code = session.scalar(mine.with_for_update(key_share=True))
    if code is None:
        raise NotFound("没有这个二维码。")
    if code.state != CodeState.ACTIVE or codes.is_expired(code, now):
        raise CannotBeTried
    if armed(session, code_id=code_id, now=now) is not None:
        return False
    # CreateTime is in whole seconds: a scan in the second of the tap came after it.
    session.execute(
        insert(CodeTrial).values(
            code_id=code_id,
            merchant_id=merchant_id,
            staff_id=staff_id,
            armed_at=now.replace(microsecond=0),
            expires_at=now + LASTS,
        )
    )
    return True


def armed(session: Session, *, code_id: int, now: datetime) -> CodeTrial | None:
    """The trial that waits for its scan."""
    waiting = select(CodeTrial).where(
        CodeTrial.code_id == code_id, CodeTrial.used_at.is_(None), CodeTrial.expires_at > now
    )
    return session.scalars(waiting.order_by(CodeTrial.id.desc()).limit(1)).first()


def latest(session: Session, *, code_id: int, now: datetime) -> CodeTrial | None:
    """The newest trial of a code, as long as it is news."""
    newest = select(CodeTrial).where(CodeTrial.code_id == code_id, CodeTrial.armed_at > now - SHOWN_FOR)
    return session.scalars(newest.order_by(CodeTrial.id.desc()).limit(1)).first()
