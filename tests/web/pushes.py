"""The platform as a sender of deliveries, and the two doors it may come to: the front and the plain view."""

import asyncio
import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from flask import Flask

from bot.events import Event
from core.settings import Settings, read_settings
from web.callback import PATH, CallbackEdge, create_callback
from web.front import Front, House
from web.pulse import Minutes
from wechat.crypto import MessageCrypto, signature

TOKEN = "fanQrToken2024"
APP_ID = "wx0123456789abcdef"
ACCOUNT = "gh_0123456789ab"
KEY = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"
PREVIOUS_KEY = "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA"
ANN = "oAnn00000000000000000000000A"
AT = 1_700_000_000
NOW = datetime.fromtimestamp(AT + 30, UTC)
CRYPTO = MessageCrypto(APP_ID, TOKEN, KEY)


def account_settings(home: Path, **given: Any) -> Settings:
    """Settings of the documented samples' account, with both keys; None takes a setting away."""
    values: dict[str, Any] = {
        "wechat_app_id": APP_ID,
        "wechat_app_secret": "0123456789abcdef0123456789abcdef",
        "wechat_token": TOKEN,
        "wechat_account": ACCOUNT,
        "wechat_aes_key": KEY,
        "wechat_aes_key_previous": PREVIOUS_KEY,
    }
    return read_settings(_env_file=None, quanma_home=home, secret_key="a" * 32, **(values | given))


@dataclass(frozen=True)
class Request:
    """One HTTP request to the callback; a body in several parts arrives in several pieces."""

    method: str
    query: str
    body: bytes | Sequence[bytes] = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    path: str = PATH

    @property
    def parts(self) -> list[bytes]:
        return [self.body] if isinstance(self.body, bytes) else list(self.body)


@dataclass(frozen=True)
class Reply:
    status: int
    body: bytes
    headers: dict[str, str]


def query(**parameters: object) -> str:
    return "&".join(f"{name}={quote(str(value), safe='')}" for name, value in parameters.items())


def signed(*, at: object = AT, nonce: str = "24680", token: str = TOKEN, **more: object) -> str:
    """A query whose plain signature is right."""
    return query(signature=signature(token, str(at), nonce), timestamp=at, nonce=nonce, **more)


def sealed(xml: str | bytes, crypto: MessageCrypto = CRYPTO) -> str:
    """The text of an Encrypt element."""
    plain = xml if isinstance(xml, bytes) else xml.encode()
    return _element("Encrypt", crypto.encrypt(plain, timestamp=AT, nonce="0"))


def secure(xml: str | bytes = "", *, encrypt: str | None = None, around: str = "", at: object = AT) -> Request:
    """A delivery in secure mode; `around` adds the clear fields of compatible mode."""
    text = sealed(xml) if encrypt is None else encrypt
    nonce = "13579"
    proof = signature(TOKEN, str(at), nonce, text)
    body = f"<xml><ToUserName><![CDATA[{ACCOUNT}]]></ToUserName>{around}<Encrypt><![CDATA[{text}]]></Encrypt></xml>"
    return Request("POST", signed(at=at, nonce=nonce, encrypt_type="aes", msg_signature=proof), body.encode())


def plain(xml: str | bytes) -> Request:
    """A delivery in plain mode."""
    return Request("POST", signed(), xml if isinstance(xml, bytes) else xml.encode())


def event(name: str = "SCAN", rest: str = "<EventKey>scene</EventKey>", *, sender: str = ANN, at: object = AT) -> str:
    return (
        f"<xml><ToUserName>{ACCOUNT}</ToUserName><FromUserName>{sender}</FromUserName><CreateTime>{at}</CreateTime>"
        f"<MsgType>event</MsgType><Event>{name}</Event>{rest}</xml>"
    )


def text(content: str = "你好", *, msg_id: object = 24_000_000_000_000_001, sender: str = ANN) -> str:
    return (
        f"<xml><ToUserName>{ACCOUNT}</ToUserName><FromUserName>{sender}</FromUserName><CreateTime>{AT}</CreateTime>"
        f"<MsgType>text</MsgType><Content>{content}</Content><MsgId>{msg_id}</MsgId></xml>"
    )


def opened(body: bytes, crypto: MessageCrypto = CRYPTO) -> str:
    """What an encrypted reply says, checked as the platform checks it."""
    reply = body.decode()
    encrypt = _element("Encrypt", reply)
    at, nonce = re.findall(r"<TimeStamp>(\d+)</TimeStamp>", reply)[0], _element("Nonce", reply)
    assert _element("MsgSignature", reply) == signature(TOKEN, at, nonce, encrypt)
    return crypto.decrypt(encrypt).decode()


def _element(name: str, xml: str) -> str:
    found: list[str] = re.findall(rf"<{name}><!\[CDATA\[(.*?)\]\]></{name}>", xml)
    assert len(found) == 1, xml
    return found[0]


class FakeInbox:
    """Remembers what it was given, repeats its replies, and fails for events it is told to fail for."""

    def __init__(self) -> None:
        self.batches: list[list[Event]] = []
        self.stored: dict[str, Event] = {}
        self.buried: list[tuple[bytes, str]] = []
        self.poison: set[str] = set()
        self.is_down = False
        self.takes_s = 0.0
        self.under_way: list[str] = []
        self._lock = threading.Lock()

    def receive(self, events: Sequence[Event]) -> list[str | None]:
        people = [event.openid for event in events]
        with self._lock:
            self.batches.append(list(events))
            assert not set(people) & set(self.under_way), "two events of one person at the same time"
            self.under_way += people
        try:
            time.sleep(self.takes_s)
            if self.is_down or any(event.openid in self.poison for event in events):
                raise ConnectionError("the database is away")
            self.stored.update({event.dedupe_key: event for event in events})
        finally:
            with self._lock:
                for person in people:
                    self.under_way.remove(person)
        return [f"<xml>{event.dedupe_key}</xml>" if event.kind == "text" else None for event in events]

    def bury(self, body: bytes, reason: str) -> None:
        if self.is_down:
            raise ConnectionError("the database is away")
        self.buried.append((body, reason))

    @property
    def events(self) -> list[Event]:
        return list(self.stored.values())


class Door(Protocol):
    """Somewhere the platform can deliver to."""

    def send(self, request: Request) -> Reply: ...


class PlainView:
    """The Flask view, as `wsgi.py` alone serves it."""

    def __init__(self, settings: Settings, inbox: FakeInbox, now: Callable[[], datetime]) -> None:
        app = Flask(__name__)
        app.register_blueprint(create_callback(CallbackEdge(settings, now), inbox))
        self._client = app.test_client()

    def send(self, request: Request) -> Reply:
        answer = self._client.open(
            request.path,
            method=request.method,
            query_string=request.query,
            data=b"".join(request.parts),
            headers=dict(request.headers),
        )
        return Reply(answer.status_code, answer.data, {name.lower(): value for name, value in answer.headers})


async def asgi(
    front: Front,
    request: Request,
    *,
    leaves_after: int | None = None,
    seen: list[tuple[bytes, bytes]] | None = None,
    **scope: Any,
) -> Reply:
    """One request through an ASGI application; the client may leave after some parts of its body.

    `seen` collects the answer's headers, repeated ones too.
    """
    parts = request.parts
    given = [(name.lower().encode(), value.encode()) for name, value in request.headers.items()]
    if isinstance(request.body, bytes) and request.body:
        given.append((b"content-length", str(len(request.body)).encode()))
    whole = {
        "type": "http",
        "http_version": "1.1",
        "method": request.method,
        "scheme": "http",
        "path": request.path,
        "raw_path": request.path.encode(),
        "query_string": request.query.encode(),
        "headers": given,
        "client": ("203.0.113.7", 4711),
    } | scope
    position = 0

    async def receive() -> dict[str, Any]:
        nonlocal position
        if position == leaves_after or position >= len(parts):
            return {"type": "http.disconnect"}
        position += 1
        return {"type": "http.request", "body": parts[position - 1], "more_body": position < len(parts)}

    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await front(whole, receive, send)
    body = b"".join(message.get("body", b"") for message in sent[1:])
    pairs: list[tuple[bytes, bytes]] = sent[0]["headers"]
    if seen is not None:
        seen += pairs
    headers = {name.decode(): value.decode() for name, value in pairs}
    return Reply(sent[0]["status"], body, headers)


@contextlib.asynccontextmanager
async def _living(front: Front) -> Any:
    """An ASGI application between its lifespan's start-up and shutdown."""
    wishes: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    answers: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    life = asyncio.create_task(front({"type": "lifespan"}, wishes.get, answers.put))
    await wishes.put({"type": "lifespan.startup"})
    assert (await answers.get())["type"] == "lifespan.startup.complete"
    try:
        yield front
    finally:
        await wishes.put({"type": "lifespan.shutdown"})
        await life


def front_of(
    settings: Settings,
    inbox: FakeInbox,
    *,
    read_clock: Callable[[], datetime] = lambda: NOW,
    pages_socket: str = "/nowhere/pages.sock",
    keep_pulse: Callable[[Minutes], None] = lambda minutes: None,  # noqa: ARG005
) -> Any:
    """An open front over a fake inbox, for `async with`."""

    @contextlib.contextmanager
    def house() -> Iterator[House]:
        yield House(settings, inbox, read_clock, pages_socket, keep_pulse=keep_pulse)

    return _living(Front(house))


class FrontDoor:
    """The front, one request at a time."""

    def __init__(
        self, settings: Settings, inbox: FakeInbox, now: Callable[[], datetime], runner: asyncio.Runner
    ) -> None:
        self._runner = runner
        self._living = front_of(settings, inbox, read_clock=now)
        self._front: Front = runner.run(self._living.__aenter__())

    def send(self, request: Request) -> Reply:
        return self._runner.run(asgi(self._front, request))

    def close(self) -> None:
        self._runner.run(self._living.__aexit__(None, None, None))
