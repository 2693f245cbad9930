"""A fan's own invitation card of one merchant: an address, and a temporary code of the merchant with its poster.

A card says where somebody may come to, and nothing else: it earns nothing by being opened, passed on or scanned.
"""

import secrets
import string
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from campaigns.points.models import PointsRule, RuleTrigger
from campaigns.referrals import wording
from campaigns.referrals.models import Invite, InviteWording
from core import outbox
from core.database import Role
from core.errors import NotFound
from core.outbox import Task
from core.runtime import Runtime
from merchants.models import Merchant, MerchantState
from qrcodes import codes
from qrcodes.models import CodeKind, CodeState, SubQrCode
from qrcodes.posters import looks
from qrcodes.posters.formats import Format
from qrcodes.posters.press import PosterCode, Press

MAKE: Final = "make_invite_code"
"""The outbox kind of the task that plans a card's code."""
DAYS: Final = codes.LONGEST_DAYS
LASTS: Final = timedelta(days=DAYS)
LABEL: Final = "邀请卡"
PICTURE_WIDTH: Final = 720

_BASE62: Final = string.ascii_letters + string.digits
_LENGTH: Final = 14
"""83 random bits."""


@dataclass(frozen=True)
class Card:
    """A card as its owner sees it. Without `code_url` its code is still being made."""

    id: int
    public_id: str
    merchant_id: int
    expires_at: datetime
    code_url: str | None

    def is_over(self, now: datetime) -> bool:
        return self.expires_at <= now


@dataclass(frozen=True)
class Welcome:
    """What whoever opens a card may see of it: whose shop it is, and the shop's words. Never whose card."""

    merchant_id: int
    words: str


def is_offered(session: Session, *, merchant_id: int) -> bool:
    """Whether the merchant has cards at all: its rule for the first level is on."""
    offered = (
        select(PointsRule.id)
        .join(Merchant, Merchant.id == PointsRule.merchant_id)
        .where(
            PointsRule.merchant_id == merchant_id,
            PointsRule.trigger == RuleTrigger.REFERRAL,
            PointsRule.level == 1,
            PointsRule.is_on,
            Merchant.state == MerchantState.ACTIVE,
        )
    )
    return session.scalar(offered) is not None


def mine(session: Session, *, merchant_id: int, follower_id: int) -> Card | None:
    """This person's card of this merchant; None where there is none yet."""
    found = session.execute(
        select(Invite, SubQrCode.url, SubQrCode.expires_at)
        .outerjoin(SubQrCode, (SubQrCode.id == Invite.code_id) & (SubQrCode.state == CodeState.ACTIVE))
        .where(Invite.merchant_id == merchant_id, Invite.follower_id == follower_id)
    ).one_or_none()
    if found is None:
        return None
    invite, url, ends_at = found
    # A code of a former time has not been followed by the next one yet.
    is_current = ends_at is None or ends_at > invite.expires_at - timedelta(days=1)
    return Card(invite.id, invite.public_id, merchant_id, invite.expires_at, url if is_current else None)


def take(session: Session, *, merchant_id: int, follower_id: int, now: datetime) -> Card:
    """Make this person's card, or begin an expired one anew; a live one stays as it is.

    The caller owes the code after its commit (`owe_code`): only the platform's role may make codes.
    """
    if not is_offered(session, merchant_id=merchant_id):
        raise NotFound("这家店没有邀请卡。")
    new = insert(Invite).values(
        merchant_id=merchant_id, follower_id=follower_id, public_id=new_public_id(), created_at=now,
        expires_at=now + LASTS,
    )  # fmt: skip
    session.execute(new.on_conflict_do_nothing(index_elements=["merchant_id", "follower_id"]))
    mine_over = update(Invite).where(
        Invite.merchant_id == merchant_id, Invite.follower_id == follower_id, Invite.expires_at <= now
    )
    session.execute(mine_over.values(expires_at=now + LASTS))
    card = mine(session, merchant_id=merchant_id, follower_id=follower_id)
    if card is None:
        raise NotFound("这家店没有邀请卡。")
    return card


def new_public_id() -> str:
    """The name under which a card is known outside; tells nothing and cannot be guessed."""
    return "".join(secrets.choice(_BASE62) for _ in range(_LENGTH))


def owe_code(session: Session, card: Card) -> None:
    """Owe the card's code, once for each of its times. The caller serves the platform."""
    key = f"{MAKE}:{card.id}:{card.expires_at.timestamp():.0f}"
    outbox.add(session, kind=MAKE, dedupe_key=key, payload={"invite_id": card.id}, merchant_id=card.merchant_id)


def make_code(runtime: Runtime, task: Task) -> None:
    """Plan the code of a card's present time, a temporary one of its merchant; the house's own task then asks for it.

    Run again it finds the code it made.
    """
    with runtime.transaction(Role.PLATFORM) as session:
        invite = session.get(Invite, int(task.payload["invite_id"]), with_for_update=True)
        now = runtime.now()
        if invite is None or invite.expires_at <= now or not is_offered(session, merchant_id=invite.merchant_id):
            return
        wanted = codes.Wanted(f"{LABEL} {invite.public_id}", CodeKind.INVITE, days=DAYS)
        code = codes.add(session, merchant_id=invite.merchant_id, wanted=wanted, now=now)
        if code.expires_at is not None and code.expires_at < invite.expires_at - timedelta(days=1):
            codes.retire(session, merchant_id=invite.merchant_id, code_id=code.id, now=now)
            code = codes.add(session, merchant_id=invite.merchant_id, wanted=wanted, now=now)
        invite.code_id = code.id


def welcome(session: Session, *, public_id: str, now: datetime) -> Welcome | None:
    """What an opened card shows; None for one that is over, unknown, or of a shop that has no cards any more."""
    invite = session.execute(
        select(Invite.merchant_id).where(Invite.public_id == public_id, Invite.expires_at > now)
    ).one_or_none()
    if invite is None or not is_offered(session, merchant_id=invite.merchant_id):
        return None
    return Welcome(invite.merchant_id, words_of(session, merchant_id=invite.merchant_id))


def words_of(session: Session, *, merchant_id: int) -> str:
    """The merchant's words on its cards; empty where it has said nothing."""
    return session.scalar(select(InviteWording.text).where(InviteWording.merchant_id == merchant_id)) or ""


def reword(session: Session, *, merchant_id: int, words: str, now: datetime) -> None:
    """Keep what the merchant's cards say; raises `Invalid` for what the platform forbids (RF-8)."""
    kept = wording.checked(session, words)
    new = insert(InviteWording).values(merchant_id=merchant_id, text=kept, changed_at=now)
    session.execute(new.on_conflict_do_update(index_elements=["merchant_id"], set_={"text": kept, "changed_at": now}))


def poster(session: Session, card: Card) -> bytes:
    """The card as a picture its owner can keep: the merchant's look with the card's own code, a PNG for a phone.

    Raises `NotFound` while there is no code.
    """
    code = session.scalar(
        select(SubQrCode).join(Invite, Invite.code_id == SubQrCode.id).where(
            Invite.id == card.id, SubQrCode.state == CodeState.ACTIVE, SubQrCode.url.is_not(None)
        )
    )  # fmt: skip
    if code is None:
        raise NotFound("二维码还在生成，请过一会儿再来。")
    wishes = looks.wishes(session, merchant_id=card.merchant_id)
    look = looks.look(session, merchant_id=card.merchant_id, wanted=wishes)
    on_poster = PosterCode(code.url or "", "", "", is_permanent=False)
    with Press(look, Format.WALLPAPER) as press:
        return press.preview([on_poster], width=PICTURE_WIDTH)
