"""What referrals forget about a person: their card is over, and where they came from is not known any more.

Who brought whom stays between ids that name nobody: a person who is erased and comes back is not new (RF-1, RF-3).
"""

from sqlalchemy import text
from sqlalchemy.orm import Session

# The lower floor's eraser is registered first and so runs last.
import merchants.erasers  # noqa: F401
from core import erasure


@erasure.register
def forget_invitations(session: Session, follower_id: int) -> None:
    """End their card, and empty the hint of where they came from."""
    erased = {"id": follower_id}
    session.execute(text("UPDATE invite SET expires_at = least(expires_at, app_now()) WHERE follower_id = :id"), erased)
    session.execute(
        text("UPDATE referral SET address_hash = NULL WHERE invitee_id = :id AND address_hash IS NOT NULL"), erased
    )
