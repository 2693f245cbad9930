"""The log of attempts: what was agreed to be said, and what came of saying it (BC-15).

The sender writes those of many messages in the statements that commit and record them.
"""

from sqlalchemy import text
from sqlalchemy.orm import Session

from campaigns.broadcasts.verdict import Answer


def note(
    session: Session,
    broadcast_id: int,
    attempt: int,
    *,
    follower_id: int | None = None,
    batch_id: int | None = None,
    answer: Answer | None = None,
) -> None:
    """A line about a call to one follower or of one batch: before it, or after it with its answer."""
    session.execute(
        text("""
            INSERT INTO send_attempt
                (broadcast_id, follower_id, batch_id, attempt, moment, content_hash, outcome, errcode)
            SELECT id, CAST(:follower_id AS bigint), CAST(:batch_id AS bigint), :attempt, :moment, content_hash,
                   :outcome, CAST(:errcode AS integer)
            FROM broadcast WHERE id = :broadcast_id"""),
        {
            "broadcast_id": broadcast_id,
            "follower_id": follower_id,
            "batch_id": batch_id,
            "attempt": attempt,
            "moment": "before" if answer is None else "after",
            "outcome": answer and answer.verdict,
            "errcode": answer and answer.errcode,
        },
    )
