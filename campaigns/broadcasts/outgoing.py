"""The words as they leave the house: of a mass batch the same for all, of a customer-service message one fan's own."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.orm import Session

from campaigns.broadcasts import content, digest
from campaigns.broadcasts.models import Broadcast, BroadcastKind
from wechat.mass import MassContent
from wechat.replies import Reply

Addressee = tuple[int, int, str]
"""Broadcast, follower, variant."""


def for_batch(session: Session, broadcast_id: int, *, variant: str, group_no: int) -> MassContent:
    """What a mass batch says; raises `NotUploaded` where the platform was not given what it needs."""
    if session.get_one(Broadcast, broadcast_id).kind == BroadcastKind.DIGEST:
        return digest.mass_content(session, broadcast_id, group_no)
    return content.as_mass(content.load(session, broadcast_id)[variant])


def replies(session: Session, addressees: Sequence[Addressee], now: datetime) -> list[Reply]:
    """What each of some fans is told, in their order; each broadcast's words are read once."""
    words, facts = {}, {}
    for broadcast_id in {one[0] for one in addressees}:
        words[broadcast_id] = content.load(session, broadcast_id)
        merchant_id = session.get_one(Broadcast, broadcast_id).merchant_id
        assert merchant_id is not None  # noqa: S101
        fans = [follower_id for given, follower_id, _ in addressees if given == broadcast_id]
        facts[broadcast_id] = content.facts_of_fans(session, merchant_id=merchant_id, follower_ids=fans, now=now)
    return [
        content.as_reply(words[broadcast_id][variant], facts[broadcast_id].get(follower_id))
        for broadcast_id, follower_id, variant in addressees
    ]
