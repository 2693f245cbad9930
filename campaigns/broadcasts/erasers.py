"""What broadcasts forget about a person: what they wished, and whether they could be reached."""

from sqlalchemy import text
from sqlalchemy.orm import Session

# The lower floor's eraser is registered first and so runs last.
import merchants.erasers  # noqa: F401
from core import erasure


@erasure.register
def forget_wishes(session: Session, follower_id: int) -> None:
    """Take away their wishes; what waited for their next hello does not wait for who comes back."""
    erased = {"id": follower_id}
    session.execute(text("DELETE FROM opt_out WHERE follower_id = :id"), erased)
    # What they said before and is told later is not a wish of who comes back.
    session.execute(text("UPDATE follower SET wished_at = coalesce(state_as_of, app_now()) WHERE id = :id"), erased)
    session.execute(
        text("""
            UPDATE fan SET wished_at = follower.wished_at
            FROM follower WHERE follower.id = :id AND fan.follower_id = follower.id"""),
        erased,
    )
    session.execute(text("DELETE FROM unreachable WHERE follower_id = :id"), erased)
    session.execute(
        text("""
            UPDATE broadcast_recipient SET state = 'skipped', reason = 'left', settled_at = app_now()
            WHERE follower_id = :id AND state = 'planned' AND route = 'hello'"""),
        erased,
    )
