"""The erasure registry: each package says how it forgets a follower; erasing runs all of them in one transaction."""

from collections.abc import Callable

from sqlalchemy import insert, text
from sqlalchemy.orm import Session

from core.models import ErasureLog

Eraser = Callable[[Session, int], None]
"""Forgets everything personal about one follower id, within the caller's transaction; safe to run again."""

_erasers: dict[str, Eraser] = {}


def register(eraser: Eraser) -> Eraser:
    """Decorator: this function belongs to every erasure."""
    _erasers[f"{eraser.__module__}.{eraser.__qualname__}"] = eraser
    return eraser


def erase(session: Session, *, follower_id: int, reason: str) -> None:
    """Run every package's eraser and log it. The caller holds the follower's row lock (FA-3).

    The upper floors go first: some of them find what is theirs by the openid that a lower one forgets.
    """
    for eraser in reversed(_erasers.values()):
        eraser(session, follower_id)
    person_key = session.execute(
        text("SELECT person_key FROM follower WHERE id = :id"), {"id": follower_id}
    ).scalar_one()
    session.execute(insert(ErasureLog), {"follower_id": follower_id, "person_key": person_key, "reason": reason})
