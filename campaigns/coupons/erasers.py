"""What coupons forget about a person: nobody holds what they held, and nobody can show or take it any more.

What was given and redeemed stays in the books under a number that leads to nobody.
"""

from sqlalchemy import text
from sqlalchemy.orm import Session

# The lower floor's eraser is registered first and so runs last.
import merchants.erasers  # noqa: F401
from core import erasure


@erasure.register
def take_coupons_back(session: Session, follower_id: int) -> None:
    """End their live coupons; codes on their screen and links to neighbours lead nowhere; a block keeps no words."""
    erased = {"id": follower_id}
    session.execute(
        text("""
            UPDATE coupon SET state = 'revoked', ended_at = app_now(), reserved_until = NULL, reserved_at_id = NULL
            WHERE follower_id = :id AND state IN ('issued', 'reserved')"""),
        erased,
    )
    session.execute(text("DELETE FROM shown_code WHERE follower_id = :id"), erased)
    session.execute(
        text("""
            UPDATE coupon_gift SET cancelled_at = app_now()
            WHERE follower_id = :id AND taken_at IS NULL AND cancelled_at IS NULL"""),
        erased,
    )
    session.execute(text("UPDATE benefit_block SET reason = '' WHERE follower_id = :id"), erased)
