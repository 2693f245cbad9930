"""What stands at the public port: answers the platform itself and hands everything else to the pages.

An ASGI application in a process group of its own, so that no page, however slow, can starve the callback.
`quanma web` serves it with granian as `web.front:app`.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from urllib.parse import urlsplit

import structlog

from bot import callbacks
from bot.inbox import Inbox
from bot.parser import Unusable
from bot.periodic import note_alive
from core import logging
from core.clock import Clock
from core.database import Role
from core.runtime import Runtime
from core.servers import embedded_servers
from core.settings import Settings, load_settings
from web import callback
from web.batches import Batches, NotStored
from web.callback import Answer, CallbackEdge, Delivery, Receiver
from web.forward import Pages, Receive, Scope, Send
from web.pulse import EVERY_S, Minutes, Pulse
from web.serve import PAGES_SOCKET_VARIABLE

ANSWER_WITHIN_S = 4.5
"""The platform hangs up after five seconds (EV-15)."""
CLOCK_REFRESH_S = 1.0
ALIVE_EVERY_S = 5.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class House:
    """What the front leans on."""

    settings: Settings
    inbox: Receiver
    read_clock: Callable[[], datetime]
    """Asks the database; may take its time and may fail."""
    pages_socket: str
    note_alive: Callable[[], None] = lambda: None
    """Says every few seconds that events can arrive; after a silence the platform's list makes up for the lost ones."""
    keep_pulse: Callable[[Minutes], None] = lambda minutes: None  # noqa: ARG005
    """Writes down what the callback answered; may fail."""


@contextlib.contextmanager
def _house() -> Iterator[House]:
    """The real one, as the environment describes it."""
    settings = load_settings()
    logging.configure(settings)
    with embedded_servers(settings) as urls:
        runtime = Runtime.build(settings, urls)

        def note_that_events_can_arrive() -> None:
            now = runtime.now()
            with runtime.transaction(Role.PLATFORM) as session:
                note_alive(session, now, who="web")

        def keep_pulse(minutes: Minutes) -> None:
            with runtime.transaction(Role.PLATFORM) as session:
                callbacks.keep(session, minutes)

        # A new clock for each reading: another one's cache would hide that the sandbox has moved on.
        yield House(
            settings=settings,
            inbox=Inbox(runtime),
            read_clock=lambda: Clock(runtime.database).now(),
            pages_socket=os.environ.get(PAGES_SOCKET_VARIABLE, ""),
            note_alive=note_that_events_can_arrive,
            keep_pulse=keep_pulse,
        )
        runtime.database.dispose()


class _SteadyClock:
    """The application's time without ever making the event loop wait for the database."""

    def __init__(self, read: Callable[[], datetime]) -> None:
        self._read = read
        self._anchor: tuple[float, datetime] | None = None
        self._reading: asyncio.Future[None] | None = None

    @property
    def is_known(self) -> bool:
        return self._anchor is not None

    def now(self) -> datetime:
        """Carries on from the last reading for as long as the database is away."""
        if self._anchor is None:
            raise RuntimeError("the clock was never read")
        at, moment = self._anchor
        return moment + timedelta(seconds=time.monotonic() - at)

    async def refresh(self) -> None:
        """Return when the clock has been read anew; many who ask together share one reading."""
        if self._reading is None or self._reading.done():
            self._reading = asyncio.ensure_future(self._read_anew())
        await asyncio.shield(self._reading)

    async def _read_anew(self) -> None:
        before = time.monotonic()
        try:
            moment = await asyncio.to_thread(self._read)
        except Exception as error:
            log.warning("the clock could not be read", error=type(error).__name__)
            return
        self._anchor = (before, moment)

    async def keep(self) -> None:
        """Read it again and again."""
        while True:
            await self.refresh()
            await asyncio.sleep(CLOCK_REFRESH_S)


class _Open:
    """The front while it is open; built on the event loop."""

    def __init__(self, house: House) -> None:
        self._clock = _SteadyClock(house.read_clock)
        self._edge = CallbackEdge(house.settings, self._clock.now)
        self._batches = Batches(house.inbox)
        self._pulse = Pulse(self._clock.now, house.keep_pulse)
        self._pages = Pages(
            house.pages_socket,
            scheme=urlsplit(house.settings.public_url).scheme,
            trusted_proxies=house.settings.trusted_proxies,
        )
        self._loop = asyncio.get_running_loop()
        self._tasks = [
            asyncio.create_task(self._clock.keep()),
            asyncio.create_task(_again_and_again(house.note_alive)),
            asyncio.create_task(_beat(self._pulse)),
        ]

    async def start(self) -> None:
        await self._clock.refresh()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await self._batches.close()
        await asyncio.to_thread(self._pulse.flush)
        await self._pages.close()

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] != callback.PATH:
            await self._pages.forward(scope, receive, send)
            return
        began = self._loop.time()
        answer = await self._answer(scope, receive)
        self._pulse.note(answer, self._loop.time() - began)
        await send({"type": "http.response.start", "status": answer.status, "headers": _encoded(answer.headers)})
        await send({"type": "http.response.body", "body": answer.body})

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        deadline = self._loop.time() + ANSWER_WITHIN_S
        if not self._clock.is_known:
            return callback.unavailable("clock")
        delivery = await self._opened(scope, receive, deadline)
        if isinstance(delivery, Answer):
            return delivery
        try:
            event = self._edge.parse(delivery)
        except Unusable as flaw:
            return await self._bury(delivery.xml, flaw.reason, deadline)
        try:
            reply = await self._batches.receive(event, deadline=deadline)
        except NotStored as failure:
            return callback.unavailable(failure.reason, failure.detail)
        return self._edge.seal(delivery, reply)

    async def _opened(self, scope: Scope, receive: Receive, deadline: float) -> Answer | Delivery:
        signed = self._screen(scope)
        if signed is callback.STALE:
            # Rightly signed: perhaps it is our clock that is behind, because the sandbox has just moved on.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOCK_REFRESH_S):
                    await self._clock.refresh()
            signed = self._screen(scope)
        if isinstance(signed, Answer):
            return signed
        try:
            async with asyncio.timeout_at(deadline):
                body = await _body(scope, receive)
        except TimeoutError:
            return callback.unavailable("slow_body")
        return self._edge.open(signed, body)

    def _screen(self, scope: Scope) -> Answer | callback.Signed:
        length = encoding = None
        for name, value in scope["headers"]:
            if name == b"content-length":
                length = value.decode("latin-1")
            elif name == b"content-encoding":
                encoding = value.decode("latin-1")
        return self._edge.screen(
            method=scope["method"], query=scope["query_string"], content_length=length, content_encoding=encoding
        )

    async def _bury(self, xml: bytes, reason: str, deadline: float) -> Answer:
        log.warning("a delivery could not be used", reason=reason)
        try:
            await self._batches.bury(xml, reason, deadline=deadline)
        except Exception as error:
            log.exception("a delivery that could not be used could not be kept either")
            return callback.unavailable("dead_letter", type(error).__name__)
        return callback.unusable(reason)


async def _again_and_again(note_alive: Callable[[], None]) -> None:
    while True:
        try:
            await asyncio.to_thread(note_alive)
        except Exception as error:
            log.warning("nobody could be told that events can arrive", error=type(error).__name__)
        await asyncio.sleep(ALIVE_EVERY_S)


async def _beat(pulse: Pulse) -> None:
    while True:
        await asyncio.sleep(EVERY_S)
        await asyncio.to_thread(pulse.flush)


async def _body(scope: Scope, receive: Receive) -> bytes:
    """A request's body, as much of it as shows that it is too large, or nothing if the client left halfway."""
    length = next((int(value) for name, value in scope["headers"] if name == b"content-length"), None)
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b""
        body += bytes(message.get("body", b""))
        # The server says "more" after every piece; the length, where there is one, spares asking once again.
        if len(body) == length or not message.get("more_body", False) or len(body) > callback.MOST_BYTES:
            return body


@lru_cache(maxsize=16)
def _encoded(headers: tuple[tuple[str, str], ...]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in headers]


class Front:
    """The ASGI application; opens at lifespan start-up."""

    def __init__(self, house: Callable[[], contextlib.AbstractContextManager[House]] = _house) -> None:
        self._house = house
        self._open: _Open | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._open is not None:
            await self._open.serve(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        async with contextlib.AsyncExitStack() as stack:
            try:
                house = stack.enter_context(self._house())
                self._open = _Open(house)
                await self._open.start()
            except Exception as error:
                log.exception("the front could not open")
                await send({"type": "lifespan.startup.failed", "message": type(error).__name__})
                return
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await self._open.close()
        await send({"type": "lifespan.shutdown.complete"})


app = Front()
