"""Freezing: the audience becomes one row per fan, and those for a mass send are put into batches with their slots.

From here on a broadcast is its rows: who comes later is not part of it, and nobody is in it twice (BC-1).
"""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from campaigns import audience
from campaigns.broadcasts import bank, content, digest, reach
from campaigns.broadcasts.bank import Policy
from campaigns.broadcasts.models import Broadcast, BroadcastKind, BroadcastState, NotReached
from core import outbox
from core.database import Role
from core.outbox import Task
from core.runtime import Runtime

FREEZE: Final = "freeze_broadcast"
FREEZE_TIMEOUT_S: Final = 300
LOCKS: Final = 7_071_013
"""Advisory lock: one process at a time makes a broadcast's batches."""


def freeze(runtime: Runtime, task: Task) -> None:
    """Hand pictures and articles to the platform, then freeze the audience; the broadcast runs from then on."""
    broadcast_id = int(task.payload["broadcast_id"])
    with runtime.transaction(Role.PLATFORM) as session:
        kind = _freezing(session, broadcast_id)
    if kind is None:
        return
    upload, write = (
        (digest.upload, digest.freeze) if kind == BroadcastKind.DIGEST else (content.upload, write_recipients)
    )
    upload(runtime, broadcast_id)
    with runtime.transaction(Role.PLATFORM, statement_timeout_s=FREEZE_TIMEOUT_S) as session:
        if _freezing(session, broadcast_id, "FOR UPDATE") is None:
            return
        write(session, broadcast_id)
        session.execute(
            text("UPDATE broadcast SET state = 'running', started_at = app_now() WHERE id = :id"), {"id": broadcast_id}
        )
        outbox.ring_after_commit(session, outbox.BROADCASTS)


def _freezing(session: Session, broadcast_id: int, lock: str = "") -> str | None:
    """The kind of a broadcast that is still to be frozen."""
    statement = text(f"SELECT kind FROM broadcast WHERE id = :id AND state = :freezing {lock}")
    kind: str | None = session.scalar(statement, {"id": broadcast_id, "freezing": BroadcastState.FREEZING})
    return kind


def write_recipients(session: Session, broadcast_id: int) -> None:
    """One row for everybody in the audience: with a route, or with the reason why there is none."""
    broadcast = session.get_one(Broadcast, broadcast_id)
    assert broadcast.merchant_id is not None  # noqa: S101
    variants = session.execute(
        text("SELECT count(*) FROM broadcast_words WHERE broadcast_id = :id"), {"id": broadcast_id}
    ).scalar_one()
    whom = reach.Audience(
        merchant_id=broadcast.merchant_id,
        wanted=audience.as_filter(broadcast.wanted),
        hello_days=broadcast.hello_days,
        held_out_percent=broadcast.held_out_percent,
        has_variants=variants > 1,
        seed=broadcast_id,
    )
    now = session.execute(text("SELECT app_now()")).scalar_one()
    statement, given = reach.judged(session, whom, now)
    # In the order in which they are put into batches: neighbours in the indexes are neighbours in the table.
    session.execute(
        text(f"""{statement}
            INSERT INTO broadcast_recipient (broadcast_id, follower_id, merchant_id, variant, route, state, reason)
            SELECT :broadcast_id, follower_id, :merchant_id, variant, route,
                   CASE WHEN route = 'none' THEN 'skipped' ELSE 'planned' END,
                   CASE WHEN route = 'none' THEN reason END
            FROM judged ORDER BY follower_id"""),
        {**given, "broadcast_id": broadcast_id},
    )


def make_batch(session: Session, broadcast_id: int, policy: Policy) -> bool:
    """Put the next fans of a mass send into one batch and reserve their slots; False where nobody waits for one.

    Who has no slot left by now waits for the next hello, or is skipped with the reason. One left over is never
    padded (BC-9).
    """
    lock = text("SELECT pg_try_advisory_xact_lock(:lock, hashint8(:id))")
    if not session.execute(lock, {"lock": LOCKS, "id": broadcast_id}).scalar_one():
        return False
    broadcast = session.get_one(Broadcast, broadcast_id, populate_existing=True)
    if broadcast.state != BroadcastState.RUNNING:
        return False
    waiting = session.execute(_NEXT, {"id": broadcast_id, "limit": policy.batch_size + 2}).all()
    if not waiting:
        return False
    group = (waiting[0].group_no, waiting[0].variant)
    people = [row.follower_id for row in waiting if (row.group_no, row.variant) == group]
    taken = people[: _part_of(len(people), policy.batch_size)]
    now = session.execute(text("SELECT app_now()")).scalar_one()
    reserved = bank.reserve(session, taken, merchant_id=broadcast.merchant_id, now=now, policy=policy)
    for reason, followers in (
        (NotReached.MONTH, reserved.over_month),
        (NotReached.WEEK, reserved.over_week),
        (NotReached.SHARE, reserved.over_share),
    ):
        pass_over(session, broadcast_id, sorted(followers), reason, hello=broadcast.hello_days > 0)
    month, week = bank.month_of(now), bank.week_of(now)
    if len(reserved.follower_ids) < reach.SMALLEST_MASS:
        alone = sorted(reserved.follower_ids)
        bank.release(session, alone, merchant_id=broadcast.merchant_id, month=month, week=week)
        if len(people) == len(taken):
            pass_over(session, broadcast_id, alone, NotReached.ALONE, hello=broadcast.hello_days > 0)
        return True
    number = session.execute(
        text("SELECT coalesce(max(no), 0) + 1 FROM send_batch WHERE broadcast_id = :id"), {"id": broadcast_id}
    ).scalar_one()
    mark = (broadcast.content_hash or b"").hex()[:8]
    given = {
        "broadcast": broadcast_id, "no": number, "merchant": broadcast.merchant_id, "group": group[0],
        "variant": group[1], "size": len(reserved.follower_ids), "month": month, "week": week,
        # With the hash, so that a database restored from yesterday cannot meet its own number with other words.
        "clientmsgid": f"qm{broadcast_id}-{number}-{mark}", "followers": sorted(reserved.follower_ids),
    }  # fmt: skip
    session.execute(_MAKE, given)
    return True


def _part_of(waiting: int, size: int) -> int:
    """How many to take, so that nobody stays behind alone."""
    return size - 1 if waiting == size + 1 and size > reach.SMALLEST_MASS else min(waiting, size)


def pass_over(
    session: Session, broadcast_id: int, follower_ids: Sequence[int], reason: NotReached, *, hello: bool
) -> None:
    """Let fans who cannot be reached now wait for their next hello, or skip them with the reason."""
    if not follower_ids:
        return
    changed = "route = 'hello'" if hello else "state = 'skipped', reason = :reason, settled_at = app_now()"
    session.execute(
        text(f"""
            UPDATE broadcast_recipient SET {changed}, batch_id = NULL
            WHERE broadcast_id = :id AND follower_id = ANY(:followers) AND state = 'planned'"""),
        {"id": broadcast_id, "followers": list(follower_ids), **({} if hello else {"reason": reason})},
    )


def dissolve(session: Session, batch_id: int) -> None:
    """Undo a batch that certainly was not sent: its slots are free again and its fans wait for another batch."""
    row = session.execute(
        text("""
            UPDATE send_batch SET state = 'cancelled', settled_at = app_now()
            WHERE id = :id AND state IN ('planned', 'claimed')
            RETURNING merchant_id, month, week"""),
        {"id": batch_id},
    ).one()
    freed = session.execute(
        text("""
            UPDATE broadcast_recipient SET batch_id = NULL WHERE batch_id = :id AND state = 'planned'
            RETURNING follower_id"""),
        {"id": batch_id},
    )
    bank.release(session, list(freed.scalars()), merchant_id=row.merchant_id, month=row.month, week=row.week)


_NEXT: Final = text("""
    SELECT group_no, variant, follower_id FROM broadcast_recipient
    WHERE broadcast_id = :id AND state = 'planned' AND route = 'mass' AND batch_id IS NULL
    ORDER BY group_no, variant, follower_id LIMIT :limit""")
_MAKE: Final = text("""
    WITH batch AS (
        INSERT INTO send_batch (broadcast_id, no, merchant_id, group_no, variant, size, month, week, clientmsgid)
        VALUES (:broadcast, :no, :merchant, :group, :variant, :size, :month, :week, :clientmsgid) RETURNING id)
    UPDATE broadcast_recipient r SET batch_id = batch.id
    FROM batch WHERE r.broadcast_id = :broadcast AND r.follower_id = ANY(CAST(:followers AS bigint[]))""")
