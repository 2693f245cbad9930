"""What a neighbourhood forgets about a person: where they said they live, and which notices they opened."""

from sqlalchemy import text
from sqlalchemy.orm import Session

# The lower floor's eraser is registered first and so runs last.
import merchants.erasers  # noqa: F401
from core import erasure


@erasure.register
def forget_neighbour(session: Session, follower_id: int) -> None:
    """Take both; that one more person had read a notice stays counted, without saying who."""
    erased = {"id": follower_id}
    session.execute(text("DELETE FROM owner_home WHERE follower_id = :id"), erased)
    session.execute(
        text("""
            WITH theirs AS MATERIALIZED (
                SELECT n.id FROM notice n
                WHERE EXISTS (SELECT 1 FROM notice_read r WHERE r.notice_id = n.id AND r.follower_id = :id)
                ORDER BY n.id FOR UPDATE),
            gone AS (DELETE FROM notice_read WHERE follower_id = :id RETURNING notice_id)
            UPDATE notice n SET forgotten_reads = forgotten_reads + 1
            FROM theirs JOIN gone ON gone.notice_id = theirs.id WHERE n.id = theirs.id"""),
        erased,
    )
