"""Whose news somebody wants, as the owners' pages show and change it: the rows that 退订 and 恢复 write in the chat."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, select, text, update
from sqlalchemy.orm import Session

from campaigns.broadcasts.models import OptOut
from campaigns.broadcasts.mute import Shop
from core.database import rows_changed
from core.errors import NotFound
from merchants.models import Fan, Follower, Merchant


def shops(session: Session, *, follower_id: int) -> Sequence[Shop]:
    """The merchants whose fan one is, by first touch."""
    found = session.execute(
        select(Fan.merchant_id, Merchant.name, Fan.muted_at.is_not(None))
        .join(Merchant, Merchant.id == Fan.merchant_id)
        .where(Fan.follower_id == follower_id, Fan.erased_at.is_(None))
        .order_by(Fan.first_touch_at, Fan.merchant_id)
    )
    return [Shop(*row) for row in found]


def mute(session: Session, *, merchant_id: int, follower_id: int, is_muted: bool, at: datetime) -> None:
    """Hear no more of one merchant from then on, or again."""
    mine = update(Fan).where(Fan.merchant_id == merchant_id, Fan.follower_id == follower_id, Fan.erased_at.is_(None))
    if rows_changed(session.execute(mine.values(muted_at=at if is_muted else None, wished_at=at))) == 0:
        raise NotFound


def has_opted_out(session: Session, *, follower_id: int) -> bool:
    """Whether somebody wants nobody's news."""
    return session.get(OptOut, follower_id) is not None


def opt_out(session: Session, *, follower_id: int, at: datetime) -> None:
    """Hear no more of anybody."""
    _note_wish(session, follower_id, at)
    session.execute(
        text("INSERT INTO opt_out (follower_id, at) VALUES (:id, :at) ON CONFLICT DO NOTHING"),
        {"id": follower_id, "at": at},
    )


def opt_in(session: Session, *, follower_id: int, at: datetime) -> None:
    """Hear again of everybody whom one has not muted."""
    _note_wish(session, follower_id, at)
    session.execute(delete(OptOut).where(OptOut.follower_id == follower_id))


def _note_wish(session: Session, follower_id: int, at: datetime) -> None:
    session.execute(update(Follower).where(Follower.id == follower_id).values(wished_at=at))
