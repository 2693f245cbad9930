"""Somebody in the chat, for stories: they write, send and tap, and are answered."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import text

from bot.events import Event, ImageMessage, LocationMessage, VoiceMessage
from bot.inbox import Inbox
from core.database import Role
from core.runtime import Runtime
from tests.community import Code, Neighbourhood, clicked, new_openid, scanned, subscribed, wrote
from tests.conftest import advance

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
TRANSFERRED = "transferred"


def words(reply: str | None) -> str:
    """What a passive reply says."""
    if reply and "transfer_customer_service" in reply:
        return TRANSFERRED
    found = re.search(r"<Content><!\[CDATA\[(.*)\]\]></Content>", reply or "", re.DOTALL)
    return found[1] if found else ""


def rows(runtime: Runtime, statement: str, **given: Any) -> list[Any]:
    with runtime.transaction(Role.PLATFORM) as session:
        return [tuple(row) for row in session.execute(text(statement), given)]


@dataclass
class Person:
    """Somebody whose clock moves a second with everything they do."""

    inbox: Inbox
    openid: str
    now: datetime

    def does(self, event: Event) -> str:
        (reply,) = self.inbox.receive([event])
        self.now += SECOND
        return words(reply)

    def says(self, content: str, *, after: timedelta = timedelta()) -> str:
        if after:
            advance(self.inbox._runtime, after)
            self.now += after
        return self.does(wrote(self.openid, self.now, content))

    def scans(self, code: Code) -> str:
        return self.does(scanned(self.openid, self.now, code.scene))

    def taps(self, key: str) -> str:
        return self.does(clicked(self.openid, self.now, key))

    def sends_picture(self) -> str:
        return self.does(ImageMessage(
            openid=self.openid, occurred_at=self.now, dedupe_key=f"i:{self.openid}{self.now}", fields={},
            media_id="m" * 20, picture_url="http://mmbiz.qpic.cn/1"))  # fmt: skip

    def sends_voice(self) -> str:
        return self.does(VoiceMessage(
            openid=self.openid, occurred_at=self.now, dedupe_key=f"v:{self.openid}{self.now}", fields={},
            media_id="v" * 20, format="amr"))  # fmt: skip

    def sends_place(self, latitude: float, longitude: float) -> str:
        return self.does(LocationMessage(
            openid=self.openid, occurred_at=self.now, dedupe_key=f"l:{self.openid}{self.now}",
            fields={"Location_X": str(latitude), "Location_Y": str(longitude)},
            latitude=latitude, longitude=longitude, label="小区北门"))  # fmt: skip

    @property
    def answered_by(self) -> list[str]:
        """Who had the answer to each of their events, in order."""
        found = rows(self.inbox._runtime, """
            SELECT i.answered_by FROM inbox_event i JOIN follower f ON f.id = i.follower_id
            WHERE f.openid = :me ORDER BY i.id""", me=self.openid)  # fmt: skip
        return [by for (by,) in found]

    @property
    def heard(self) -> list[Any]:
        """What shops have of it in their inboxes: shop, words or kind, and whether it waits for a person."""
        return rows(self.inbox._runtime, """
            SELECT m.name, coalesce(t.content, t.kind), t.waits FROM talk_message t
            JOIN merchant m ON m.id = t.merchant_id JOIN talk k ON k.id = t.talk_id
            JOIN follower f ON f.id = k.follower_id
            WHERE f.openid = :me AND t.direction = 'in' ORDER BY t.at, t.id""", me=self.openid)  # fmt: skip

    @property
    def windows(self) -> list[str | None]:
        """Whose conversation each of their messages opened a window for."""
        found = rows(self.inbox._runtime, """
            SELECT m.name FROM message_window w JOIN follower f ON f.id = w.follower_id
            LEFT JOIN merchant m ON m.id = w.merchant_id
            WHERE f.openid = :me AND w.trigger = 'message' ORDER BY w.inbox_id""", me=self.openid)  # fmt: skip
        return [name for (name,) in found]


def fan(inbox: Inbox, street: Neighbourhood, *codes: Code, ago: timedelta = 60 * HOUR) -> Person:
    """A fan of these shops, who scanned their codes so long ago that no conversation counts any more."""
    openid = new_openid()
    start = street.now - ago - len(codes) * MINUTE
    inbox.receive([subscribed(openid, start, codes[0].scene if codes else None)])
    for number, code in enumerate(codes[1:], start=1):
        inbox.receive([scanned(openid, start + number * MINUTE, code.scene)])
    return Person(inbox, openid, street.now)
