"""What this floor forgets about a person: who they are to WeChat, what they told us, and every merchant's card."""

from sqlalchemy import text
from sqlalchemy.orm import Session

from core import erasure
from merchants import identities, owners


@erasure.register
def forget_person(session: Session, follower_id: int) -> None:
    """Take the openid off the follower, empty the cards, forget where the person works, what they told of
    themselves, and sign them out; ids, counts and the person key stay.

    A card counts as erased at the newest event it knew of, so that exactly what is newer brings it back.
    """
    erased = {"id": follower_id}
    identities.forget(session, follower_id)
    owners.forget(session, follower_id)
    session.execute(text("DELETE FROM fan_tag WHERE follower_id = :id"), erased)
    session.execute(
        text("""
            UPDATE fan SET note = '', erased_at = coalesce(follower.state_as_of, app_now())
            FROM follower WHERE follower.id = :id AND fan.follower_id = follower.id"""),
        erased,
    )
    session.execute(
        text("UPDATE follower SET openid = NULL, erased_at = app_now(), erase_due_at = NULL WHERE id = :id"), erased
    )
