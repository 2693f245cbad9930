"""The platform as our server meets it: it tells of each event up to three times and believes whoever answers 200.

People's stories come from a seed. Every delivery is remembered, so that afterwards what was acknowledged can be
compared with what was stored.
"""

from __future__ import annotations

import http.client
import itertools
import random
import re
import secrets
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

from core.settings import Settings
from wechat.crypto import MessageCrypto, signature

DELIVERIES = 3
AGAIN_AFTER_S = 1.0
"""The real platform waits five seconds; what matters is that it gives up."""
TIMEOUT_S = 5.0
TOLD_AGAIN = 0.05
"""Share of acknowledged events that are delivered once more: an answer can be lost on its way back."""
LONGEST_STORY = 6
PAST_S = 2 * 3600

_KINDS = {"scan": "SCAN", "click": "CLICK"}


@dataclass(frozen=True)
class Push:
    """One event. A person does one thing in a second, so these three tell it from every other."""

    openid: str
    at: int
    kind: str
    scene: str | None = None

    def xml(self, account: str) -> str:
        key = self.scene or ""
        match self.kind:
            case "text":
                what = f"<MsgType>text</MsgType><Content>几点开门？</Content><MsgId>{self._message_id}</MsgId>"
            case "click":
                what = "<MsgType>event</MsgType><Event>CLICK</Event><EventKey>OPENING_HOURS</EventKey>"
            case "subscribe":
                key = f"qrscene_{key}" if key else ""
                what = f"<MsgType>event</MsgType><Event>subscribe</Event><EventKey>{key}</EventKey>{self._ticket}"
            case _:
                name = _KINDS.get(self.kind, self.kind)
                what = f"<MsgType>event</MsgType><Event>{name}</Event><EventKey>{key}</EventKey>{self._ticket}"
        return (
            f"<xml><ToUserName>{account}</ToUserName><FromUserName>{self.openid}</FromUserName>"
            f"<CreateTime>{self.at}</CreateTime>{what}</xml>"
        )

    @property
    def _ticket(self) -> str:
        return f"<Ticket>gQ{self.scene}</Ticket>" if self.scene else ""

    @property
    def _message_id(self) -> int:
        prefix, number = int(self.openid[-22:-14], 16), int(self.openid[-14:])
        return (prefix * 10**4 + number) * 10**5 + self.at % 10**5


class Stories:
    """What people do, believable one by one: who does not follow can only follow."""

    def __init__(self, chance: random.Random, scenes: Sequence[str]) -> None:
        self._chance = chance
        self._scenes = scenes
        self._prefix = f"oFault{chance.randrange(2**32):08x}"
        self._numbers = itertools.count()
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[list[Push]]:
        return self

    def __next__(self) -> list[Push]:
        with self._lock:
            return self._tell(f"{self._prefix}{next(self._numbers):014d}")

    def _tell(self, openid: str) -> list[Push]:
        chance = self._chance
        at = int(time.time()) - PAST_S
        story: list[Push] = []
        is_following = False
        for _ in range(chance.randint(1, LONGEST_STORY)):
            # Further apart than two tellings of one follow may be.
            at += chance.randint(61, 900)
            kinds = ("scan", "text", "click", "unsubscribe") if is_following else ("subscribe",)
            kind = chance.choice(kinds)
            is_told_of_code = kind == "scan" or (kind == "subscribe" and chance.random() < 0.9)
            story.append(Push(openid, at, kind, chance.choice(self._scenes) if is_told_of_code else None))
            is_following = kind != "unsubscribe"
        return story


class Platform:
    """Delivers pushes in secure mode over fresh connections, many people's at the same time."""

    def __init__(self, url: str, settings: Settings, chance: random.Random, *, senders: int = 8) -> None:
        assert settings.wechat_aes_key is not None
        self._address = urlsplit(url).netloc
        self._account = settings.wechat_account
        self._token = settings.wechat_token.get_secret_value()
        self._crypto = MessageCrypto(settings.wechat_app_id, self._token, settings.wechat_aes_key.get_secret_value())
        self._chance = chance
        self._senders = senders
        self.sent: set[Push] = set()
        self.acknowledged: set[Push] = set()
        self.failures: list[str] = []
        self.words: defaultdict[Push, set[str]] = defaultdict(set)
        """What each event was answered with."""

    def tell(self, push: Push) -> bool:
        """Deliver an event as often as the platform would; whether it was acknowledged."""
        for attempt in range(DELIVERIES):
            if attempt:
                time.sleep(AGAIN_AFTER_S)
            if self.deliver(push):
                return True
        return False

    def deliver(self, push: Push, connection: http.client.HTTPConnection | None = None) -> bool:
        """One delivery; whether it was acknowledged."""
        self.sent.add(push)
        query, body = self._seal(push)
        line = connection or http.client.HTTPConnection(self._address, timeout=TIMEOUT_S)
        try:
            line.request("POST", f"/wechat/callback?{query}", body, {"Content-Type": "text/xml"})
            answer = line.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.failures.append(type(error).__name__)
            return False
        finally:
            if connection is None:
                line.close()
        if answer.status != 200:
            self.failures.append(str(answer.status))
            return False
        self.words[push].add(self._open(content.decode()))
        self.acknowledged.add(push)
        return True

    def tell_all(self, stories: Iterable[Sequence[Push]]) -> None:
        """Tell all of these, each story in its order."""
        with self.telling(stories):
            pass

    def telling(self, stories: Iterable[Sequence[Push]]) -> Telling:
        """Tell stories within the block, and whatever was begun to its end."""
        return Telling(self, iter(stories), self._chance, self._senders)

    def _seal(self, push: Push) -> tuple[str, bytes]:
        timestamp, nonce = str(int(time.time())), secrets.token_hex(5)
        sealed = self._crypto.encrypt(push.xml(self._account).encode(), timestamp=int(timestamp), nonce=nonce)
        encrypted = _element("Encrypt", sealed)
        query = {
            "signature": signature(self._token, timestamp, nonce),
            "timestamp": timestamp,
            "nonce": nonce,
            "openid": push.openid,
            "encrypt_type": "aes",
            "msg_signature": signature(self._token, timestamp, nonce, encrypted),
        }
        body = f"<xml><ToUserName>{self._account}</ToUserName><Encrypt><![CDATA[{encrypted}]]></Encrypt></xml>"
        return urlencode(query), body.encode()

    def _open(self, answer: str) -> str:
        return answer if answer == "success" else self._crypto.decrypt(_element("Encrypt", answer)).decode()


class Telling:
    """A few threads that tell stories until there is no more or the block ends."""

    def __init__(
        self, platform: Platform, stories: Iterator[Sequence[Push]], chance: random.Random, senders: int
    ) -> None:
        self._platform = platform
        self._stories = stories
        self._chance = chance
        self._lock = threading.Lock()
        self._is_over = False
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(senders)]

    def __enter__(self) -> Telling:
        self._is_endless = isinstance(self._stories, Stories)
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over = self._is_endless
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while not self._is_over:
            with self._lock:
                story = next(self._stories, None)
                pause = self._chance.uniform(0.02, 0.06)
            if story is None:
                return
            for push in story:
                if self._platform.tell(push):
                    with self._lock:
                        is_told_again = self._chance.random() < TOLD_AGAIN
                    if is_told_again:
                        self._platform.tell(push)
                time.sleep(pause)


def _element(name: str, xml: str) -> str:
    found = re.search(rf"<{name}><!\[CDATA\[(.*?)\]\]></{name}>", xml)
    assert found is not None, xml
    return found[1]
