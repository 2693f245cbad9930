"""Forgetting people: what the conversation keeps of them, when it is due, and once more after a backup was restored."""

from datetime import datetime
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

# The lower floors' erasers are registered first and so run last: ours needs the openid that they take away.
import bot.talks.erasers  # noqa: F401
import campaigns.broadcasts.erasers
import campaigns.coupons.erasers
import campaigns.points.erasers
import campaigns.referrals.erasers  # noqa: F401
import community.erasers  # noqa: F401
from core import erasure, outbox
from core.database import Role
from core.outbox import Task
from core.runtime import Runtime
from merchants.models import FollowStatus

ERASE: Final = "erase_follower"
LEFT: Final = "left"
REQUEST: Final = "request"
MOST_AT_ONCE: Final = 1_000


@erasure.register
def forget_conversation(session: Session, follower_id: int) -> None:
    """Empty what they said and what they were answered; that something was said, and when, stays. With whom they
    wanted to talk goes, too."""
    session.execute(
        text("""
            UPDATE inbox_event SET body = NULL, reply = NULL
            WHERE follower_id = :id AND (body IS NOT NULL OR reply IS NOT NULL)"""),
        {"id": follower_id},
    )
    session.execute(text("DELETE FROM context_choice WHERE follower_id = :id"), {"id": follower_id})
    session.execute(text("DELETE FROM pending_question WHERE follower_id = :id"), {"id": follower_id})
    session.execute(
        text("""
            UPDATE dead_letter SET body = NULL
            FROM follower WHERE follower.id = :id AND position(follower.openid IN body) > 0"""),
        {"id": follower_id},
    )


def owe_due(session: Session, now: datetime) -> None:
    """Owe an erasure for everybody who left long enough ago."""
    due = session.execute(
        text("SELECT id, erase_due_at FROM follower WHERE erase_due_at <= :now ORDER BY erase_due_at LIMIT :most"),
        {"now": now, "most": MOST_AT_ONCE},
    )
    outbox.add_many(
        session,
        [
            outbox.row(
                kind=ERASE,
                dedupe_key=f"{ERASE}:{row.id}:{row.erase_due_at.timestamp():.0f}",
                payload={"follower_id": row.id, "reason": LEFT},
            )
            for row in due
        ],
    )


def erase_follower(runtime: Runtime, task: Task) -> None:
    """Forget one follower: whoever asked, and whoever left unless they came back meanwhile (FA-3).

    The task ends in the transaction that erases, so that doing it again cannot take what a returning person left since.
    """
    follower_id, reason = int(task.payload["follower_id"]), str(task.payload["reason"])
    with runtime.transaction(Role.PLATFORM) as session:
        if not outbox.finish(session, task):
            return
        follower = session.execute(
            text("SELECT status, erase_due_at <= app_now() AS is_due FROM follower WHERE id = :id FOR UPDATE"),
            {"id": follower_id},
        ).one_or_none()
        if follower is None or (reason == LEFT and not (follower.status == FollowStatus.GONE and follower.is_due)):
            return
        erasure.erase(session, follower_id=follower_id, reason=reason)


def forget_now(runtime: Runtime, follower_id: int) -> None:
    """Forget somebody who has asked for it on their pages, before they are answered."""
    with runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("SELECT 1 FROM follower WHERE id = :id FOR UPDATE"), {"id": follower_id})
        erasure.erase(session, follower_id=follower_id, reason=REQUEST)


def replay_erasures(session: Session) -> int:
    """Forget again whom a restored backup has brought back; returns how many.

    Run it before the restored database opens, after the newest copy of `erasure_log` was loaded into it. People
    are found by their person key, since they may be under another id. Whoever was heard of after their erasure is
    left alone: what is stored about them is new.
    """
    restored = session.execute(
        text("""
            SELECT follower.id, max(log.reason) AS reason
            FROM erasure_log log JOIN follower ON follower.person_key = log.person_key
            WHERE follower.erased_at IS NULL AND follower.last_seen_at <= log.at
            GROUP BY follower.id ORDER BY follower.id""")
    ).all()
    for row in restored:
        session.execute(text("SELECT 1 FROM follower WHERE id = :id FOR UPDATE"), {"id": row.id})
        erasure.erase(session, follower_id=row.id, reason=row.reason)
    return len(restored)
