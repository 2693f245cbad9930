"""WeRoBot's part of the house: it routes an applied event to its handler and renders the reply, nothing more.

Parsing, signatures, sessions and its web view are not used: they are written for accounts that may lose events.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import werobot.replies as shapes
from werobot.config import Config
from werobot.robot import BaseRoBot

from bot.effects import Outcome, kinds_of_events
from bot.events import Event
from qrcodes.welcomes import Card, Message
from wechat.replies import ImageReply, NewsReply, PassiveReply, TextReply, TransferReply


@dataclass(frozen=True, slots=True)
class Happened:
    """What a handler gets: the event, what came of it, and the welcome that fits.

    `type` is what WeRoBot routes by.
    """

    event: Event
    outcome: Outcome
    welcome: Sequence[Message]
    account_name: str
    page_url: str
    """The public page of the scanned code; empty where the scan was nobody's."""
    desk_url: str
    """Where staff come in."""
    privacy_url: str
    """Where one sees what is stored about oneself."""
    coupon: Card | None = None
    """What the welcome offers, as far as it can be taken now."""

    @property
    def type(self) -> str:
        return self.event.kind


Handler = Callable[[Happened], PassiveReply | None]


class Robot(BaseRoBot):  # type: ignore[misc]  # werobot has no types
    """A table of handlers by kind of event. A handler's exception is ours to see, so that WeChat delivers again."""

    message_types: ClassVar[list[str]] = [kind.kind for kind in kinds_of_events()]

    def __init__(self) -> None:
        super().__init__(config=Config(SESSION_STORAGE=False))

    def on(self, *kinds: str) -> Callable[[Handler], Handler]:
        """Decorator: this function words the reply to events of these kinds."""

        def register(handler: Handler) -> Handler:
            for kind in kinds:
                self.add_handler(handler, type=kind)
            return handler

        return register

    def reply_to(self, happened: Happened) -> PassiveReply | None:
        """The words of the first handler that has any."""
        for handler, _ in self.get_handlers(happened.type):
            reply: PassiveReply | None = handler(happened)
            if reply is not None:
                return reply
        return None


SAFE_END: Final = "]]]]><![CDATA[>"


def _cdata(value: str) -> str:
    """WeRoBot puts texts into CDATA as they are; a `]]>` inside would end it early."""
    return value.replace("]]>", SAFE_END)


def render(event: Event, original_id: str, reply: PassiveReply) -> str:
    """The passive reply as XML, addressed to the event's sender; CreateTime is the event's own."""
    address: dict[str, Any] = {
        "source": original_id,
        "target": event.openid,
        "time": int(event.occurred_at.timestamp()),
    }
    match reply:
        case TextReply(content=content):
            shape = shapes.TextReply(content=_cdata(content), **address)
        case ImageReply(media_id=media_id):
            shape = shapes.ImageReply(media_id=_cdata(media_id), **address)
        case NewsReply():
            shape = shapes.ArticlesReply(**address)
            shape.add_article(
                shapes.Article(_cdata(reply.title), _cdata(reply.description), _cdata(reply.picurl), _cdata(reply.url))
            )
        case TransferReply():
            shape = shapes.TransferCustomerServiceReply(**address)
    return str(shape.render()).strip()
