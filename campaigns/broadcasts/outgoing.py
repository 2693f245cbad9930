"""The words as they leave the house: of a mass batch the same for all, of a customer-service message one fan's own."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.orm import Session

from campaigns.broadcasts import content, digest
from campaigns.broadcasts.content import Words
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


class Letters:
    """What fans are told one by one. A broadcast's words are read once: what was agreed to never changes."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[int, dict[str, Words]]] = {}

    def replies(self, session: Session, addressees: Sequence[Addressee], now: datetime) -> list[Reply]:
        """What each of some fans is told, in their order."""
        facts = {}
        for broadcast_id in {one[0] for one in addressees}:
            merchant_id, words = self._of(session, broadcast_id)
            if any(content.speaks_of_fan(said) for said in words.values()):
                fans = [follower_id for given, follower_id, _ in addressees if given == broadcast_id]
                facts[broadcast_id] = content.facts_of_fans(
                    session, merchant_id=merchant_id, follower_ids=fans, now=now
                )
        return [
            content.as_reply(self._known[broadcast_id][1][variant], facts.get(broadcast_id, {}).get(follower_id))
            for broadcast_id, follower_id, variant in addressees
        ]

    def _of(self, session: Session, broadcast_id: int) -> tuple[int, dict[str, Words]]:
        if broadcast_id not in self._known:
            merchant_id = session.get_one(Broadcast, broadcast_id).merchant_id
            assert merchant_id is not None  # noqa: S101
            self._known[broadcast_id] = merchant_id, content.load(session, broadcast_id)
        return self._known[broadcast_id]
