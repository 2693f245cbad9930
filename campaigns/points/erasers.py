"""What points forget about a person: the ledger stays, under an internal id; the card is empty."""

from sqlalchemy import text
from sqlalchemy.orm import Session

# The lower floor's eraser is registered first and so runs last.
import merchants.erasers  # noqa: F401
from campaigns.points import ledger
from core import erasure


@erasure.register
def empty_card(session: Session, follower_id: int) -> None:
    """Take what they had by balanced transfers, so that who comes back starts anew; what they owed stays owed.

    Why somebody changed their points by hand is told in words, which are taken away; what still waited for a second
    person is gone.
    """
    now = session.execute(text("SELECT app_now()")).scalar_one()
    ledger.forget(session, follower_id=follower_id, now=now)
    erased = {"id": follower_id}
    session.execute(text("DELETE FROM points_adjustment WHERE follower_id = :id AND state = 'waiting'"), erased)
    session.execute(text("UPDATE points_adjustment SET reason = '' WHERE follower_id = :id AND reason <> ''"), erased)
