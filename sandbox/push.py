"""Deliveries to the developer's server, with the platform's timeout, repeats and order."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import urlencode
from weakref import WeakValueDictionary

import aiohttp

from sandbox import events, replies
from sandbox.account import Account, Mode
from sandbox.clock import Clock
from sandbox.crypto import MessageCipher, signature
from sandbox.faults import Faults
from sandbox.journal import Journal
from sandbox.jsontext import JsonObject
from sandbox.log import Log
from sandbox.state import State

UNAVAILABLE = "该公众号暂时无法提供服务，请稍后再试"
TRANSFERRED = "已转人工"


class Verdict(StrEnum):
    """What came of one delivery."""

    OK = "ok"
    TIMEOUT = "timeout"
    MALFORMED = "malformed"
    REFUSED = "refused"


@dataclass
class Delivery:
    """One attempt at the developer's server."""

    status: int | None
    ms: int
    verdict: Verdict
    why: str = ""


@dataclass
class Outcome:
    """A push and all that became of it."""

    event: JsonObject
    deliveries: list[Delivery] = field(default_factory=list)
    reply: JsonObject | None = None


class Pusher:
    """Sends pushes: one person's in order, different people's side by side."""

    def __init__(
        self, *, account: Account, state: State, clock: Clock, faults: Faults, log: Log, journal: Journal
    ) -> None:
        self._account = account
        self._state = state
        self._clock = clock
        self._faults = faults
        self._log = log
        self._journal = journal
        self._session: aiohttp.ClientSession | None = None
        self._slots = asyncio.Semaphore(account.limits.push_concurrency)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._held: dict[str, deque[JsonObject]] = {}
        self.cipher = MessageCipher(aes_key=account.aes_key, app_id=account.app_id)

    async def open(self) -> None:
        """Be ready to send."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._account.limits.push_concurrency),
            headers={"User-Agent": "Mozilla/4.0"},
            auto_decompress=True,
        )

    async def close(self) -> None:
        """Drop the connections."""
        if self._session is not None:
            await self._session.close()

    @property
    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("open() comes first")
        return self._session

    async def push(
        self, openid: str, event: JsonObject, *, turn_of: str = "", leaving: Callable[[], None] = lambda: None
    ) -> Outcome:
        """Deliver an event in its turn and show the reply in the person's chat; `leaving` is called as it sets off."""
        turn = self._turns.setdefault(turn_of or openid, asyncio.Lock())
        async with turn:
            fault = self._faults.take_push(_kind(event))
            if fault.get("reorder"):
                self._held.setdefault(openid, deque()).append(event)
                self._note(openid, event, verdict="held", fault=fault)
                leaving()
                return Outcome(event)
            await asyncio.sleep(fault.get("latency_ms", 0) / 1000)
            leaving()
            outcome = await self._with_fault(openid, event, fault)
            for held in self._held.pop(openid, ()):
                await self._deliver(openid, held, lose_reply=False)
            return outcome

    async def _with_fault(self, openid: str, event: JsonObject, fault: JsonObject) -> Outcome:
        if fault.get("drop"):
            self._note(openid, event, verdict="dropped", fault=fault)
            return Outcome(event)
        outcome = await self._deliver(openid, event, lose_reply=bool(fault.get("lost_reply")))
        for _ in range(fault.get("duplicate", 0) if self._account.callback_url else 0):
            outcome.deliveries.append(await self._attempt(openid, event, len(outcome.deliveries) + 1, Outcome(event)))
        return outcome

    async def _deliver(self, openid: str, event: JsonObject, *, lose_reply: bool) -> Outcome:
        limits = self._account.limits
        outcome = Outcome(event)
        if not self._account.callback_url:
            self._note(openid, event, verdict="nowhere")
            return outcome
        for number in range(1, limits.push_deliveries + 1):
            began = time.monotonic()
            delivery = await self._attempt(openid, event, number, outcome)
            if lose_reply and number == 1:
                delivery.verdict, delivery.why, outcome.reply = Verdict.TIMEOUT, "the reply was lost on the way", None
            outcome.deliveries.append(delivery)
            if delivery.verdict is Verdict.OK or not _is_tried_again(delivery):
                break
            if number < limits.push_deliveries:
                await asyncio.sleep(max(0.0, limits.push_timeout_ms / 1000 - (time.monotonic() - began)))
        self._show(openid, event, outcome)
        self._journal.flush()
        return outcome

    async def _attempt(self, openid: str, event: JsonObject, number: int, outcome: Outcome) -> Delivery:
        """One delivery; a reply it brings is put into the outcome."""
        url, body = self._wrap(event)
        timeout = aiohttp.ClientTimeout(total=self._account.limits.push_timeout_ms / 1000)
        delivery = Delivery(None, 0, Verdict.OK)
        async with self._slots:
            began = time.monotonic()
            try:
                async with self._client.post(
                    url, data=body, headers={"Content-Type": "text/xml"}, timeout=timeout, allow_redirects=False
                ) as response:
                    delivery.status = response.status
                    answer = await response.read()
                if delivery.status == 200:
                    outcome.reply = self._parse(openid, answer)
                else:
                    delivery.verdict, delivery.why = Verdict.REFUSED, f"HTTP {delivery.status}"
            except TimeoutError:
                delivery.verdict = Verdict.TIMEOUT
            except replies.Malformed as error:
                delivery.verdict, delivery.why = Verdict.MALFORMED, str(error)
            except aiohttp.ClientError as error:
                delivery.verdict, delivery.why = Verdict.REFUSED, str(error)
            delivery.ms = round((time.monotonic() - began) * 1000)
        self._note(
            openid,
            event,
            delivery=number,
            mode=self._account.mode,
            status=delivery.status,
            ms=delivery.ms,
            verdict=delivery.verdict,
            why=delivery.why,
            reply_type=outcome.reply["type"] if outcome.reply and delivery.verdict is Verdict.OK else None,
        )
        return delivery

    def _wrap(self, event: JsonObject) -> tuple[str, bytes]:
        """The address with fresh signatures, and the body as the account's mode wants it."""
        account = self._account
        clear = events.to_xml(event)
        timestamp, nonce = str(int(self._clock.now())), str(secrets.randbelow(2_000_000_000))
        query = {
            "signature": signature(account.token, timestamp, nonce),
            "timestamp": timestamp,
            "nonce": nonce,
            "openid": event["FromUserName"],
        }
        if account.mode is not Mode.PLAIN:
            encrypted = self.cipher.encrypt(clear)
            query["encrypt_type"] = "aes"
            query["msg_signature"] = signature(account.token, timestamp, nonce, encrypted)
            shown = event if account.mode is Mode.COMPATIBLE else {"ToUserName": event["ToUserName"]}
            clear = events.to_xml({**shown, "Encrypt": encrypted})
        joint = "&" if "?" in account.callback_url else "?"
        return account.callback_url + joint + urlencode(query), clear.encode()

    def _parse(self, openid: str, answer: bytes) -> JsonObject | None:
        return replies.parse(
            answer,
            openid=openid,
            original_id=self._account.original_id,
            token=self._account.token,
            cipher=self.cipher,
            must_be_encrypted=self._account.mode is Mode.SECURE,
        )

    def _show(self, openid: str, event: JsonObject, outcome: Outcome) -> None:
        """Put the reply, or the platform's apology, into the chat."""
        person = self._state.people.get(openid)
        if person is None or not person.following or _kind(event) in events.WITHOUT_REPLY:
            return
        if outcome.deliveries[-1].verdict is not Verdict.OK:
            self._state.say(openid, "system", "text", text=UNAVAILABLE)
        elif outcome.reply and outcome.reply["type"] == "transfer_customer_service":
            self._state.say(openid, "system", "text", text=TRANSFERRED, transferred=True)
        elif outcome.reply:
            shown = dict(outcome.reply)
            if "articles" in shown and event["MsgType"] != "event":
                shown["articles"] = shown["articles"][:1]
            self._state.say(openid, "account", shown.pop("type"), **_shown(shown, self._account))

    def _note(self, openid: str, event: JsonObject, **facts: object) -> None:
        self._log.add(
            "push",
            openid=openid,
            msg_type=event.get("MsgType"),
            event=event.get("Event"),
            event_key=event.get("EventKey"),
            msg_id=event.get("MsgId", event.get("MsgID")),
            create_time=event.get("CreateTime"),
            **facts,
        )

    async def verify(self) -> bool:
        """What the console does when the server address is saved: a signed GET that must echo."""
        if not self._account.callback_url:
            return False
        timestamp, nonce, echo = str(int(self._clock.now())), str(secrets.randbelow(10**9)), str(secrets.randbits(60))
        query = {
            "signature": signature(self._account.token, timestamp, nonce),
            "timestamp": timestamp,
            "nonce": nonce,
            "echostr": echo,
        }
        timeout = aiohttp.ClientTimeout(total=self._account.limits.push_timeout_ms / 1000)
        try:
            async with self._client.get(self._account.callback_url, params=query, timeout=timeout) as response:
                return response.status == 200 and await response.read() == echo.encode()
        except (aiohttp.ClientError, TimeoutError):
            return False


def media_content(content: JsonObject, account: Account) -> JsonObject:
    """Chat content with an address for the phone where a media id was named."""
    media_id = content.get("media_id")
    return content if not media_id else {**content, "image_url": f"{account.public_url}/sandbox/media/{media_id}"}


def _shown(content: JsonObject, account: Account) -> JsonObject:
    articles = content.pop("articles", None)
    if articles:
        content = {**articles[0], "articles": articles}
    return media_content(content, account)


def _kind(event: JsonObject) -> str:
    return str(event.get("Event") or event.get("MsgType"))


def _is_tried_again(delivery: Delivery) -> bool:
    """Silence, a dead server and a server error are tried again; a clear answer is final."""
    if delivery.verdict is Verdict.TIMEOUT:
        return True
    return delivery.verdict is Verdict.REFUSED and (delivery.status is None or delivery.status >= 500)
