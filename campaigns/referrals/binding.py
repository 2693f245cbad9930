"""Who brought somebody: one inviter for ever (RF-1), never oneself (RF-2), never in a ring, only somebody new (RF-3).

What decides is when the card was opened, not when it is told: events that come late, twice or in another order end in
the same edge. The person has no other name here than the follower of one official account: with a silent sign-in the
platform tells no unionid, so a second WeChat account of the same human being is a second person. Rewards are where
that is caught: it has to spend money at a till, and bursts are held (RF-7).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Row, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from campaigns.referrals import invites, rewards
from campaigns.referrals.models import CameBy, Invite, Referral
from core import outbox
from core.database import Role
from core.jobs import Handler
from core.outbox import Task
from core.runtime import Runtime
from merchants.models import Merchant

BIND: Final = "bind_referral"
AFTER: Final = timedelta(seconds=30)
"""How long the platform may deliver what happened before: it repeats for fifteen seconds. Then the first event is
known, and whose card it came by."""


class Came(StrEnum):
    """What became of an opened card."""

    BROUGHT = "brought"
    AGAIN = "again"
    """The same edge was there."""
    TAKEN = "taken"
    """Somebody else had brought them."""
    OVER = "over"
    """No such card, or not any more."""
    ELSEWHERE = "elsewhere"
    """A card of another official account."""
    SELF = "self"
    KNOWN = "known"
    """They were here before."""


@dataclass(frozen=True)
class Bound:
    """The answer to an opened card. `inviter_id` is who brought them, by this card or by another one."""

    came: Came
    inviter_id: int | None = None

    @property
    def is_new(self) -> bool:
        return self.came is Came.BROUGHT


def bind(
    session: Session,
    *,
    invite_public_id: str,
    follower_id: int,
    came_by: CameBy,
    now: datetime,
    opened_at: datetime | None = None,
    address_hash: bytes | None = None,
) -> Bound:
    """Note that this card brought this person, if it did. Under the platform's role alone.

    `opened_at` is when they opened or scanned it, where that was before now.
    """
    opened_at = opened_at or now
    row = session.execute(
        select(Invite, Merchant.account_id)
        .join(Merchant, Merchant.id == Invite.merchant_id)
        .where(Invite.public_id == invite_public_id)
    ).one_or_none()
    if row is None:
        return Bound(Came.OVER)
    invite, account_id = row
    # In the order in which everybody locks followers; who invite each other at the same moment wait here.
    locked = session.execute(
        text("""
            SELECT id, account_id, person_key, first_seen_at, erased_at FROM follower
            WHERE id IN (:invitee, :inviter) ORDER BY id FOR NO KEY UPDATE"""),
        {"invitee": follower_id, "inviter": invite.follower_id},
    )
    people = {person.id: person for person in locked}
    if (before := _edge_of(session, follower_id)) is not None:
        is_same = before.invite_id == invite.id
        return Bound(Came.AGAIN if is_same else Came.TAKEN, before.inviter_id)
    refusal = _refusal(
        session, invite, account_id, people.get(follower_id), people.get(invite.follower_id), opened_at=opened_at
    )
    if refusal is not None:
        return Bound(refusal)
    new = insert(Referral).values(
        invitee_id=follower_id,
        inviter_id=invite.follower_id,
        merchant_id=invite.merchant_id,
        invite_id=invite.id,
        came_by=came_by,
        address_hash=address_hash,
        at=opened_at,
    )
    session.execute(new)
    return Bound(Came.BROUGHT, invite.follower_id)


def _refusal(
    session: Session,
    invite: Invite,
    account_id: int,
    invitee: Row[Any] | None,
    inviter: Row[Any] | None,
    *,
    opened_at: datetime,
) -> Came | None:
    """Why this card did not bring this person; None if it did. Both are locked."""
    if invitee is None or inviter is None or inviter.erased_at is not None or invite.expires_at <= opened_at:
        return Came.OVER
    if not invites.is_offered(session, merchant_id=invite.merchant_id):
        return Came.OVER
    if not account_id == invitee.account_id == inviter.account_id:
        return Came.ELSEWHERE
    if invitee.id == inviter.id or invitee.person_key == inviter.person_key:
        return Came.SELF
    is_later = invitee.first_seen_at > inviter.first_seen_at and invitee.first_seen_at >= opened_at
    is_new = is_later and not _was_here(session, invitee.id, opened_at)
    return None if is_new else Came.KNOWN


def _edge_of(session: Session, follower_id: int) -> Referral | None:
    return session.get(Referral, follower_id)


def _was_here(session: Session, follower_id: int, opened_at: datetime) -> bool:
    """Whether there is anything of theirs from before: a follow, a spend, or somebody they brought."""
    return bool(
        session.scalar(
            text("""
                SELECT EXISTS (SELECT 1 FROM follow_episode
                               WHERE follower_id = :id AND voided_at IS NULL AND started_at < :opened_at)
                    OR EXISTS (SELECT 1 FROM fan WHERE follower_id = :id AND first_touch_at < :opened_at)
                    OR EXISTS (SELECT 1 FROM redemption WHERE follower_id = :id AND redeemed_at < :opened_at)
                    OR EXISTS (SELECT 1 FROM visit WHERE follower_id = :id AND at < :opened_at)
                    OR EXISTS (SELECT 1 FROM referral WHERE inviter_id = :id)"""),
            {"id": follower_id, "opened_at": opened_at},
        )
    )


def row(*, inbox_id: int, follower_id: int, code_id: int, at: datetime) -> dict[str, Any]:
    """The outbox row for a follow that a card's code led to."""
    return outbox.row(
        kind=BIND,
        dedupe_key=f"{BIND}:{inbox_id}",
        payload={"follower_id": follower_id, "code_id": code_id, "at": at.isoformat()},
    )


def bind_scanned(runtime: Runtime, task: Task) -> None:
    """Note who brought a new follower. What they have spent in the meantime counts as if it had been known at once."""
    follower_id = int(task.payload["follower_id"])
    scanned_at = datetime.fromisoformat(task.payload["at"])
    with runtime.transaction(Role.PLATFORM) as session:
        of_code = select(Invite.public_id).where(Invite.code_id == int(task.payload["code_id"]))
        public_id = session.scalar(of_code)
        if public_id is None:
            return
        now = runtime.now()
        bound = bind(
            session, invite_public_id=public_id, follower_id=follower_id, came_by=CameBy.SCAN, now=now,
            opened_at=scanned_at,
        )  # fmt: skip
        if bound.is_new:
            rewards.catch_up(session, follower_id=follower_id, now=now)


HANDLERS: Final[Mapping[str, Handler]] = {BIND: bind_scanned, invites.MAKE: invites.make_code}
