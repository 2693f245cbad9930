"""Everything the platform remembers: people, chats, codes, tokens, media, menu, counters."""

from __future__ import annotations

import base64
import itertools
import secrets
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from sandbox.account import Account
from sandbox.clock import Clock
from sandbox.journal import Journal, Table
from sandbox.jsontext import JsonObject

HOUR = 3600
LONGEST_TALK = HOUR / 2  # then the platform takes a person back from a clerk who forgot to
ACCOUNT_NAME = "account_name"  # in `values`: what the account was renamed to
LATEST_MSG_ID = "latest_msg_id"  # in `values`
EVERYBODY = ""  # in the journal of chats: no openid, but a message to many
CHAT_MEMORY = 500  # messages of one person kept for the phone; the log keeps all

AVATARS = "🐼🦊🐯🐨🐰🐸🐧🦉🐳🌻🍊🍉🍓🥟🍜🎈"


class Trigger(StrEnum):
    """What opens a window for customer-service messages."""

    MESSAGE = "message"
    MENU = "menu"
    FOLLOW = "follow"
    SCAN = "scan"


WINDOW_TERMS: dict[Trigger, tuple[int, int]] = {
    Trigger.MESSAGE: (5, 48 * HOUR),
    Trigger.MENU: (3, 60),
    Trigger.FOLLOW: (3, 60),
    Trigger.SCAN: (3, 60),
}


class Spending(StrEnum):
    """What became of an attempt to use a window."""

    OK = "ok"
    CLOSED = "closed"
    USED_UP = "used up"


@dataclass
class Window:
    """The right to send some more messages until a moment."""

    trigger: str
    expires_at: float
    remaining: int


@dataclass
class Person:
    """Somebody with a phone; follows the account, did once, or never."""

    openid: str
    name: str
    avatar: str
    following: bool = False
    subscribe_time: int = 0
    subscribe_scene: str = ""
    qr_scene: int = 0
    qr_scene_str: str = ""
    snapshot: bool = False
    crowd: bool = False  # one of the many who make up an account's past, not somebody to play
    remark: str = ""
    tags: list[int] = field(default_factory=list)
    windows: list[Window] = field(default_factory=list)
    read: int = 0
    last_exchange_at: float = 0
    typing_until: float = 0
    human_until: float = 0  # as long as a clerk of the platform's human service has the person
    clerk: str = ""


@dataclass
class Code:
    """A parametric QR code; `scene` is text also where it was created as a number."""

    ticket: str
    scene: str
    is_number: bool
    permanent: bool
    url: str
    created_at: int
    expire_seconds: int

    def is_expired(self, now: float) -> bool:
        """Whether scanning it leads nowhere any more."""
        return not self.permanent and now >= self.created_at + self.expire_seconds


class TokenFamily(StrEnum):
    """The two kinds of access token, which do not touch each other."""

    CLASSIC = "classic"
    STABLE = "stable"


@dataclass
class Token:
    """An access token and the moment it stops working."""

    value: str
    family: str
    expires_at: float
    issued_at: float


@dataclass
class Media:
    """An uploaded file; the bytes lie beside the journal."""

    media_id: str
    kind: str
    permanent: bool
    filename: str
    content_type: str
    size: int
    created_at: int
    title: str = ""
    introduction: str = ""


@dataclass
class Grant:
    """What one person's consent on the OAuth page led to: a code, then tokens."""

    openid: str
    person: str
    scope: str
    snapshot: bool
    expires_at: float
    used: bool = False


@dataclass
class Tag:
    """A tag of the account."""

    id: int
    name: str


@dataclass
class Draft:
    """Articles together, by media id; once sent they are no draft any more but can be sent again."""

    media_id: str
    articles: list[JsonObject]
    created_at: int
    updated_at: int
    in_box: bool = True


@dataclass
class Page:
    """Where the public reads one article of a draft."""

    media_id: str
    index: int
    deleted: bool = False


class JobState(StrEnum):
    """How far a mass send is, in the platform's words."""

    SENDING = "SENDING"
    SUCCESS = "SEND_SUCCESS"
    FAIL = "SEND_FAIL"
    DELETED = "DELETE"


@dataclass
class MassJob:
    """One accepted mass send; who got it stands in `Deliveries`."""

    msg_id: int
    kind: str
    media_id: str
    accepted_at: float
    total: int
    filtered: int  # how many remained after filtering: the platform's FilterCount
    verdict: str = "send success"
    state: str = JobState.SENDING


@dataclass
class ClientMsgId:
    """A name under which a mass send was accepted, and when it was last tried."""

    msg_id: int
    accepted_at: float
    tried_at: float


class Deliveries:
    """Who got which mass send: one journal line a send, and how many of a month somebody got."""

    name = "deliveries"

    def __init__(self, journal: Journal) -> None:
        self._of: dict[str, JsonObject] = {}
        self._counts: dict[str, dict[str, int]] = {}
        self._journal = journal
        journal.register(self)

    def add(self, msg_id: int, month: str, openids: list[str]) -> None:
        """Somebody got this; it counts in this month."""
        value = {"month": month, "openids": openids}
        self.replay(str(msg_id), value)
        self._journal.note(self.name, str(msg_id), value)

    def in_month(self, month: str) -> dict[str, int]:
        """How many mass sends each person got in a month; who got none is missing."""
        return self._counts.setdefault(month, {})

    def replay(self, key: str, value: Any) -> None:
        """Take over one journal line, once."""
        if key in self._of:
            return
        self._of[key] = value
        counts = self.in_month(value["month"])
        for openid in value["openids"]:
            counts[openid] = counts.get(openid, 0) + 1

    def entries(self) -> Iterator[tuple[str, Any]]:
        """Every mass send with its people."""
        yield from list(self._of.items())

    def clear(self) -> None:
        """Forget all mass sends."""
        self._of.clear()
        self._counts.clear()


class Chat:
    """One person's conversation with the account."""

    def __init__(self) -> None:
        self.last = 0
        self.messages: deque[JsonObject] = deque(maxlen=CHAT_MEMORY)

    def add(self, message: JsonObject) -> None:
        """Append a numbered message; one that is known already is left out."""
        if message["n"] > self.last:
            self.messages.append(message)
            self.last = message["n"]


class Chats:
    """All conversations, journaled message by message."""

    name = "chat"

    def __init__(self, journal: Journal) -> None:
        self._chats: dict[str, Chat] = {}
        self._journal = journal
        journal.register(self)

    def of(self, openid: str) -> Chat:
        """A person's conversation, empty if there was none."""
        return self._chats.get(openid) or Chat()

    def add(self, openid: str, message: JsonObject) -> JsonObject:
        """Append a message and give it its number."""
        chat = self._chats.setdefault(openid, Chat())
        message = {"n": chat.last + 1, **message}
        chat.add(message)
        self._journal.note(self.name, openid, message)
        return message

    def add_to_all(self, openids: list[str], message: JsonObject) -> None:
        """Append the same message to many conversations, as one line of the journal."""
        numbers = {openid: self.of(openid).last + 1 for openid in openids}
        value = {"to": numbers, "message": message}
        self.replay(EVERYBODY, value)
        self._journal.note(self.name, EVERYBODY, value)

    def replay(self, key: str, value: Any) -> None:
        """One message is appended, to one or to many; a list replaces the conversation."""
        if key == EVERYBODY:
            message = value["message"]
            for openid, number in value["to"].items():
                chat = self._chats.get(openid)
                if chat is None:
                    chat = self._chats[openid] = Chat()
                chat.add({"n": number, **message})
        elif isinstance(value, list):
            self._chats[key] = Chat()
            for message in value:
                self._chats[key].add(message)
        else:
            self._chats.setdefault(key, Chat()).add(value)

    def entries(self) -> Iterator[tuple[str, Any]]:
        """Whole conversations."""
        for openid in list(self._chats):
            yield openid, list(self._chats[openid].messages)

    def clear(self) -> None:
        """Forget all conversations."""
        self._chats.clear()


class Codes(Table[Code]):
    """Codes by ticket, found by scene and by url as well."""

    def __init__(self, journal: Journal) -> None:
        super().__init__(journal, "codes", lambda value: Code(**value))
        self._by_url: dict[str, Code] = {}
        self._permanent: dict[tuple[str, bool], Code] = {}
        self._by_scene: dict[str, Code] = {}

    def put(self, key: str, row: Code) -> Code:
        """Store a code and make it findable."""
        self._index(row)
        return super().put(key, row)

    def replay(self, key: str, value: Any) -> None:
        """Take over one journal line."""
        super().replay(key, value)
        if key in self.rows:
            self._index(self.rows[key])

    def clear(self) -> None:
        """Forget all codes."""
        super().clear()
        self._by_url.clear()
        self._permanent.clear()
        self._by_scene.clear()

    def _index(self, code: Code) -> None:
        self._by_url[code.url] = code
        self._by_scene[code.scene] = code
        if code.permanent:
            self._permanent[code.scene, code.is_number] = code

    @property
    def permanent_count(self) -> int:
        """Permanent slots used: distinct scenes, however often each was created."""
        return len(self._permanent)

    def permanent(self, scene: str, *, is_number: bool) -> Code | None:
        """The latest permanent code of a scene."""
        return self._permanent.get((scene, is_number))

    def find(self, *, scene: str = "", ticket: str = "", url: str = "") -> Code | None:
        """The code on which somebody points a phone."""
        if ticket:
            return self.get(ticket)
        return self._by_url.get(url) if url else self._by_scene.get(scene)


class State:
    """All tables. Whoever changes a row puts it again, and flushes the journal before telling anybody."""

    def __init__(self, journal: Journal, account: Account, clock: Clock) -> None:
        self.account = account
        self.clock = clock
        self.people: Table[Person] = Table(journal, "people", _person)
        self.chats = Chats(journal)
        self.codes = Codes(journal)
        self.captions: Table[str] = Table(journal, "captions", str)
        self.tokens: Table[Token] = Table(journal, "tokens", lambda value: Token(**value))
        self.media: Table[Media] = Table(journal, "media", lambda value: Media(**value))
        self.oauth_codes: Table[Grant] = Table(journal, "oauth_codes", lambda value: Grant(**value))
        self.oauth_tokens: Table[Grant] = Table(journal, "oauth_tokens", lambda value: Grant(**value))
        self.tags: Table[Tag] = Table(journal, "tags", lambda value: Tag(**value))
        self.drafts: Table[Draft] = Table(journal, "drafts", lambda value: Draft(**value))
        self.pages: Table[Page] = Table(journal, "pages", lambda value: Page(**value))
        self.mass_jobs: Table[MassJob] = Table(journal, "mass_jobs", lambda value: MassJob(**value))
        self.client_msg_ids: Table[ClientMsgId] = Table(journal, "client_msg_ids", lambda value: ClientMsgId(**value))
        self.deliveries = Deliveries(journal)
        self.counters: Table[int] = Table(journal, "counters", int)
        self.values: Table[Any] = Table(journal, "values", lambda value: value)

    def count(self, name: str) -> int:
        """Add one to a counter and say what it is now."""
        return self.counters.put(name, (self.counters.get(name) or 0) + 1)

    # Mass sends

    @property
    def latest_msg_id(self) -> int:
        """The id of the latest mass send or preview, 0 before the first."""
        return int(self.values.get(LATEST_MSG_ID) or 0)

    def new_msg_id(self) -> int:
        """Larger than every one before, even than those of a platform that was reset."""
        return int(self.values.put(LATEST_MSG_ID, max(self.latest_msg_id + 1, time.time_ns() // 1_000_000)))

    def pages_of(self, media_id: str) -> list[str]:
        """The pages of a draft's articles, in their order."""
        found = [(page.index, key) for key, page in self.pages.rows.items() if page.media_id == media_id]
        return [key for _, key in sorted(found)]

    # People

    def new_openid(self) -> str:
        """28 characters, beginning like all openids of this account."""
        prefix = self.account.openid_prefix
        return prefix + base64.urlsafe_b64encode(secrets.token_bytes(18)).decode()[: 28 - len(prefix)]

    def new_person(self, *, openid: str = "", name: str = "", avatar: str = "") -> Person:
        """Somebody who never met the account."""
        number = self.count("people")
        openid = openid or self.new_openid()
        avatar = avatar or AVATARS[number % len(AVATARS)]
        return self.people.put(openid, Person(openid=openid, name=name or f"居民{number}", avatar=avatar))

    def follow(self, person: Person, *, at: float, code: Code | None) -> None:
        """The person follows, through a code if there is one."""
        person.following = True
        person.subscribe_time = int(at)
        person.subscribe_scene = "ADD_SCENE_QR_CODE" if code else "ADD_SCENE_SEARCH"
        person.qr_scene = int(code.scene) if code and code.is_number else 0
        person.qr_scene_str = code.scene if code and not code.is_number else ""
        self.people.put(person.openid, person)

    def unfollow(self, person: Person) -> None:
        """The person leaves; remark, tags and windows go with them."""
        person.following = False
        person.remark = ""
        person.tags = []
        person.windows = []
        person.human_until = 0
        self.people.put(person.openid, person)

    # Windows

    def open_window(self, person: Person, trigger: Trigger) -> None:
        """A fresh quota for this trigger takes the place of what the same trigger left."""
        now = self.clock.now()
        amount, seconds = WINDOW_TERMS[trigger]
        person.windows = [w for w in person.windows if w.expires_at > now and w.trigger != trigger]
        person.windows.append(Window(trigger=trigger, expires_at=now + seconds, remaining=amount))
        person.windows.sort(key=lambda window: window.expires_at)
        person.last_exchange_at = now
        self.people.put(person.openid, person)

    def window_state(self, person: Person) -> Spending:
        """Whether a message could be sent now."""
        now = self.clock.now()
        open_windows = [window for window in person.windows if window.expires_at > now]
        if not person.following or not open_windows:
            return Spending.CLOSED
        return Spending.OK if any(window.remaining for window in open_windows) else Spending.USED_UP

    def spend_window(self, person: Person) -> None:
        """Use one message of the window that closes soonest; window_state() said OK."""
        now = self.clock.now()
        window = next(window for window in person.windows if window.expires_at > now and window.remaining)
        window.remaining -= 1
        person.last_exchange_at = now
        person.typing_until = 0
        self.people.put(person.openid, person)

    # The platform's human service

    def is_with_clerk(self, person: Person) -> bool:
        """Whether what the person writes goes to a clerk, and not to the developer's server."""
        return person.human_until > self.clock.now()

    def hand_over(self, person: Person, clerk: str) -> None:
        """A clerk takes the person."""
        person.human_until, person.clerk = self.clock.now() + LONGEST_TALK, clerk
        self.people.put(person.openid, person)

    def take_back(self, person: Person) -> str:
        """The talk with the clerk is over; says whose it was."""
        person.human_until = 0
        self.people.put(person.openid, person)
        return person.clerk

    # Chat

    def say(self, openid: str, who: str, kind: str, **content: Any) -> JsonObject:
        """Put a message into a person's chat."""
        return self.chats.add(openid, {"at": int(self.clock.now()), "from": who, "type": kind, **content})

    def unread(self, person: Person) -> int:
        """How many messages the person has not seen yet."""
        newest_first = reversed(self.chats.of(person.openid).messages)
        unseen = itertools.takewhile(lambda message: message["n"] > person.read, newest_first)
        return sum(message["from"] != "person" for message in unseen)

    # Tokens

    def forget_old_grants(self) -> None:
        """Drop OAuth codes and tokens that ended a day ago; until then calls with them are told why they fail."""
        ended = self.clock.now() - 24 * HOUR
        for grants in (self.oauth_codes, self.oauth_tokens):
            for key in [key for key, grant in grants.rows.items() if grant.expires_at < ended]:
                grants.remove(key)

    def revoke_tokens(self) -> None:
        """All access tokens die at once, as when the secret is reset."""
        for value in list(self.tokens.rows):
            self.tokens.remove(value)


def _person(value: JsonObject) -> Person:
    return Person(**{**value, "windows": [Window(**window) for window in value["windows"]]})
