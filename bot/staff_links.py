"""What an event does to a staff code (`merchants.links`), decided without the database, and the words for it.

A scan of one is never a merchant's: it has no scene for anybody else, leaves no row of its own, and makes nobody's fan.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from bot.changes import Changes
from bot.events import Event, Scanned, Subscribed, TextMessage
from bot.store import Post, StoredLink
from merchants import links
from merchants.models import LinkPurpose, LinkState

_NUMBER: Final = re.compile(r"[0-9]{2}")


class Came(StrEnum):
    """What came of it."""

    OVER = "over"
    UNBOUND = "unbound"
    TO_BIND = "to bind"
    TO_SIGN_IN = "to sign in"
    LET_IN = "let in"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of it, for whom, and with which code."""

    came: Came
    follower_id: int
    link: StoredLink | None = None

    @property
    def words(self) -> str:
        """What the chat says."""
        link = self.link
        who = "" if link is None else f"{link.merchant_name or '圈码'}的{link.staff_name}"
        match self.came:
            case Came.OVER:
                return "这个码已经过期或用过了。请在页面上换一个码，再扫一次。"
            case Came.UNBOUND:
                return (
                    "这个微信还没有绑定圈码账号，不能扫码登录。\n"
                    "请先用登录名和密码登录，再到“我的 → 绑定微信”里绑一次，以后扫一扫就能登录。"
                )
            case Came.TO_BIND:
                assert link is not None  # noqa: S101
                return (
                    f"{who}正在把这个微信绑定到圈码账号。\n核对码：{link.number}\n"
                    "请把它填到刚才显示二维码的页面上。不是您本人在操作的话，别告诉任何人，也不用理会。"
                )
            case Came.TO_SIGN_IN:
                assert link is not None  # noqa: S101
                return (
                    f"确认登录圈码？登录的地方：{link.device}。\n"
                    "请回复那个页面上现在显示的两位数字。\n"
                    "不是您本人在登录的话，不要回复，对方就进不去。"
                )
            case Came.LET_IN:
                return "好了，那边的页面几秒后就会打开。"
            case Came.REFUSED:
                return "数字不对，这次登录已经取消，没有人登录成功。\n是您本人的话，请在页面上换一个码，再扫一次。"


def scene_of(event: Event) -> str | None:
    """The staff code's scene, where one was scanned."""
    match event:
        case Subscribed(scene=scene) | Scanned(scene=scene) if scene is not None and links.is_scene(scene):
            return scene
        case _:
            return None


def number_in(event: Event) -> str | None:
    """Two digits and nothing else."""
    match event:
        case TextMessage(content=content) if _NUMBER.fullmatch(content.strip()):
            return content.strip()
        case _:
            return None


def find(event: Event, follower_id: int | None, known: Sequence[StoredLink]) -> StoredLink | None:
    """The code the event is about: the scanned one, or the newest whose number this follower owes."""
    scene = scene_of(event)
    if scene is not None:
        return next((link for link in known if link.scene == scene), None)
    if follower_id is None or number_in(event) is None:
        return None
    owed = [link for link in known if link.follower_id == follower_id and link.state is LinkState.SCANNED]
    return owed[-1] if owed else None


def act(
    event: Event, follower_id: int, *, link: StoredLink | None, posts: Sequence[Post], changes: Changes
) -> Answer | None:
    """Apply the event to the code; None where it is about none."""
    number = number_in(event)
    if scene_of(event) is not None:
        return _scan(event, follower_id, link, posts, changes)
    if number is None or link is None or link.purpose is not LinkPurpose.SIGN_IN:
        return None
    return _tell(event, follower_id, link, number, changes)


def _scan(event: Event, follower_id: int, link: StoredLink | None, posts: Sequence[Post], changes: Changes) -> Answer:
    if link is None or event.occurred_at >= link.expires_at:
        return Answer(Came.OVER, follower_id)
    is_first = link.state is LinkState.OPEN
    is_again = link.state is LinkState.SCANNED and link.follower_id == follower_id
    if not (is_first or is_again):
        return Answer(Came.OVER, follower_id)
    if link.purpose is LinkPurpose.SIGN_IN and not any(post.may_sign_in for post in posts):
        # The code stays open for whoever it was shown to.
        return Answer(Came.UNBOUND, follower_id)
    if is_first:
        link.state, link.follower_id, link.scanned_at = LinkState.SCANNED, follower_id, event.occurred_at
        _write(link, changes)
    return Answer(Came.TO_BIND if link.purpose is LinkPurpose.BIND else Came.TO_SIGN_IN, follower_id, link)


def _tell(event: Event, follower_id: int, link: StoredLink, number: str, changes: Changes) -> Answer | None:
    if link.state is not LinkState.SCANNED or link.scanned_at is None or event.occurred_at < link.scanned_at:
        return None
    if event.occurred_at >= link.expires_at:
        # Long over: then two digits are just a message.
        return None
    is_right = hmac.compare_digest(number, link.number)
    link.state = LinkState.CONFIRMED if is_right else LinkState.REFUSED
    _write(link, changes)
    return Answer(Came.LET_IN if is_right else Came.REFUSED, follower_id, link)


def _write(link: StoredLink, changes: Changes) -> None:
    changes["links"].append(
        {"id": link.id, "state": link.state, "follower_id": link.follower_id, "scanned_at": link.scanned_at}
    )
