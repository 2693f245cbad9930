"""Temporary codes that join a browser and a WeChat identity: to bind one to a member of staff, or to let one in.

A code on a screen can be scanned by anybody who sees it, and can be shown to anybody by whoever fetched it. So the
scan alone gives nothing. A two-digit number has to cross the gap between the two devices through a person's eyes,
towards the side that grants something:

* **Binding**: the signed-in browser grants, the phone gains. The number appears in the chat of whoever scanned and is
  typed into the browser. A stranger who scans over somebody's shoulder gets a number, but the person at the browser
  sees none on the own phone and types none; each code is of the first to scan it.
* **Signing in**: the phone grants, the browser gains. The number appears in the browser once somebody has scanned and
  is typed into the chat. Who is sent a picture of somebody else's code (QR phishing) has no number to type, and the
  chat tells which kind of browser asks. A false page that passes on both, live, still deceives who does not look at
  its address, as it would with a password.

A wrong number ends the code. A code is bound to one browser (the sha256 of what its cookie holds), lives for minutes,
and works once; every step is one conditional update. Codes are made at the platform by a worker, never by a request.
"""

from __future__ import annotations

import hmac
import re
import secrets
import string
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from core import outbox
from core.database import rows_changed
from core.errors import BusinessError
from merchants.models import LinkPurpose, LinkState, Staff, StaffLink

CREATE: Final = "create_staff_link"
LASTS: Final = {LinkPurpose.BIND: timedelta(minutes=10), LinkPurpose.SIGN_IN: timedelta(minutes=5)}
PREFIX: Final = "staff-"
_SCENE: Final = re.compile(rf"{PREFIX}[A-Za-z0-9]{{22}}")
_BASE62: Final = string.ascii_letters + string.digits
_LOWEST, _NUMBERS = 10, 90
DEVICE_MAX: Final = 40


class LinkOver(BusinessError):
    """The code has expired, was used, or is another browser's: the three look the same."""

    code = "link_over"
    status = 410
    message = "这个码已经过期或用过了，请换一个码。"


class WrongNumber(BusinessError):
    code = "wrong_number"
    message = "数字不对，为了安全，这个码作废了。请换一个码，再扫一次。"


def is_scene(scene: str) -> bool:
    """Whether a scene is one of ours: such a scan is never a merchant's."""
    return _SCENE.fullmatch(scene) is not None


def begin(
    session: Session,
    *,
    purpose: LinkPurpose,
    browser_hash: bytes,
    device: str,
    now: datetime,
    member: Staff | None = None,
    target: str = "",
) -> StaffLink:
    """A new code for this browser, in place of any earlier one; a worker asks the platform for it at once."""
    dropped = update(StaffLink).where(
        StaffLink.browser_hash == browser_hash,
        StaffLink.purpose == purpose,
        StaffLink.state.in_((LinkState.OPEN, LinkState.SCANNED)),
    )
    session.execute(dropped.values(state=LinkState.REFUSED))
    link = StaffLink(
        purpose=purpose,
        scene=PREFIX + "".join(secrets.choice(_BASE62) for _ in range(22)),
        number=str(_LOWEST + secrets.randbelow(_NUMBERS)),
        browser_hash=browser_hash,
        device=device[:DEVICE_MAX],
        target=target,
        staff_id=None if member is None else member.id,
        merchant_id=None if member is None else member.merchant_id,
        created_at=now,
        expires_at=now + LASTS[purpose],
    )
    session.add(link)
    session.flush()
    outbox.add(
        session,
        kind=CREATE,
        dedupe_key=f"{CREATE}:{link.id}",
        payload={"link_id": link.id},
        queue=outbox.MESSAGES,
        merchant_id=link.merchant_id,
    )
    return link


def of_browser(session: Session, *, purpose: LinkPurpose, browser_hash: bytes | None) -> StaffLink | None:
    """The newest code of this browser, whatever became of it."""
    if browser_hash is None:
        return None
    mine = select(StaffLink).where(StaffLink.browser_hash == browser_hash, StaffLink.purpose == purpose)
    return session.scalars(mine.order_by(StaffLink.id.desc()).limit(1)).first()


def is_over(link: StaffLink, now: datetime) -> bool:
    """Whether nothing can come of it any more."""
    return link.state in (LinkState.USED, LinkState.REFUSED) or link.expires_at <= now


def use_for_binding(session: Session, *, browser_hash: bytes, staff_id: int, number: str, now: datetime) -> int:
    """The follower who scanned this browser's code and told its number; the code is used up.

    Raises `WrongNumber` after ending the code: the caller keeps that. Raises `LinkOver` where there is nothing to use.
    """
    link = of_browser(session, purpose=LinkPurpose.BIND, browser_hash=browser_hash)
    if link is None or link.staff_id != staff_id or link.follower_id is None or is_over(link, now):
        raise LinkOver
    is_right = hmac.compare_digest(link.number.encode(), number.strip().encode("utf-8", "surrogatepass"))
    # An event of the follower locks the follower before the code; binding locks in the same order.
    session.execute(text("SELECT 1 FROM follower WHERE id = :id FOR KEY SHARE"), {"id": link.follower_id})
    if not _move(session, link.id, LinkState.SCANNED, LinkState.USED if is_right else LinkState.REFUSED, now):
        raise LinkOver
    if not is_right:
        raise WrongNumber
    return link.follower_id


def use_for_sign_in(session: Session, *, browser_hash: bytes, now: datetime) -> tuple[int, str]:
    """The follower who let this browser in, and where it wanted to go; the code is used up."""
    link = of_browser(session, purpose=LinkPurpose.SIGN_IN, browser_hash=browser_hash)
    if link is None or link.follower_id is None or is_over(link, now):
        raise LinkOver
    if not _move(session, link.id, LinkState.CONFIRMED, LinkState.USED, now):
        raise LinkOver
    return link.follower_id, link.target


def _move(session: Session, link_id: int, before: LinkState, after: LinkState, now: datetime) -> bool:
    step = update(StaffLink).where(StaffLink.id == link_id, StaffLink.state == before, StaffLink.expires_at > now)
    return rows_changed(session.execute(step.values(state=after))) == 1


def planned(session: Session, link_id: int, now: datetime) -> tuple[str, int] | None:
    """Scene and remaining seconds of a code that the platform must still be asked for."""
    link = session.get(StaffLink, link_id)
    if link is None or link.url is not None or is_over(link, now):
        return None
    return link.scene, int((link.expires_at - now).total_seconds())


def record_created(session: Session, *, link_id: int, url: str) -> None:
    """Keep what the platform answered."""
    session.execute(update(StaffLink).where(StaffLink.id == link_id, StaffLink.url.is_(None)).values(url=url))
