"""What the inboxes forget about a person: what they said and were answered. That a talk was, and how soon it was
answered, stays."""

from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from core import erasure

_MINE: Final = "(merchant_id, talk_id) IN (SELECT merchant_id, id FROM talk WHERE follower_id = :id)"
_MY_MESSAGES: Final = f"message_id IN (SELECT id FROM talk_message WHERE {_MINE})"


@erasure.register
def forget_talks(session: Session, follower_id: int) -> None:
    """Empty a person's talks; what waited for their next hello will not go out any more."""
    for statement in (
        # Talks before messages, as everybody locks them.
        "UPDATE talk SET preview = NULL WHERE follower_id = :id",
        f"UPDATE talk_message SET state = 'refused', why = 'left' WHERE {_MINE} AND state IN ('planned', 'waiting')",
        f"DELETE FROM talk_gram WHERE {_MY_MESSAGES}",
        f"UPDATE talk_media SET state = 'gone', content = NULL, media_id = NULL, mime = '' WHERE {_MY_MESSAGES}",
        f"UPDATE talk_message SET content = NULL WHERE {_MINE} AND content IS NOT NULL",
    ):
        session.execute(text(statement), {"id": follower_id})
