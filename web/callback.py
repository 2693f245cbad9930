"""The edge of the callback: who may speak, what is opened, and in which words we answer.

Knows no web framework. The front asks it from the event loop, the view below from a Flask worker; both get the same
answers. A sender who cannot prove to be the platform learns nothing: every refusal looks alike, and no byte of
theirs is parsed (EV-12).
"""

import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPMethod
from typing import Protocol
from urllib.parse import unquote

import structlog
from flask import Blueprint, Response, request

from bot.events import Event
from bot.parser import Unusable, parse
from core.settings import Settings
from wechat.crypto import MessageCrypto, Reason, Unauthentic, is_signed

PATH = "/wechat/callback"
MOST_BYTES = 256 * 1024
MOST_QUERY_BYTES = 4 * 1024
MOST_AGE_S = 600

_SIGNATURE = re.compile(r"[0-9a-f]{40}")
_TIMESTAMP = re.compile(r"[0-9]{1,10}")
_NONCE = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ECHO = re.compile(r"[0-9A-Za-z+/=_-]{1,512}")
# Found without parsing: what is around it has not proved anything yet. In compatible mode a fan's own words stand
# around it too and may imitate it; the signature tells which one is real.
_ENCRYPT = re.compile(rb"<Encrypt>\s*(?:<!\[CDATA\[)?([A-Za-z0-9+/=]+)(?:\]\]>)?\s*</Encrypt>")
_MOST_IMITATIONS = 8

HEADERS = (
    ("content-type", "text/plain; charset=utf-8"),
    ("x-content-type-options", "nosniff"),
    ("cache-control", "no-store"),
)

log = structlog.get_logger(__name__)


class Receiver(Protocol):
    """Where events go; `bot.inbox.Inbox` is the one."""

    def receive(self, events: Sequence[Event]) -> list[str | None]:
        """Apply and commit all of them, or raise and have stored nothing; the reply of each as XML, or None."""

    def bury(self, body: bytes, reason: str) -> None:
        """Keep an authentic delivery that no event can be made of."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A finished response."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = HEADERS
    reason: str = field(default="", compare=False)
    """Why it is no plain success; for the operator, never sent."""
    detail: str = field(default="", compare=False)


SUCCESS = Answer(200, b"success")
FORBIDDEN = Answer(403, reason="signature")
SEALED_OTHERWISE = Answer(403, reason="sealed")
STALE = Answer(403, reason="stale")
"""Looks like any other refusal; tells the caller that the signature was right and only the time was not."""
NOT_ALLOWED = Answer(405, headers=(*HEADERS, ("allow", "GET, POST")), reason="method")
TOO_LARGE = Answer(413, reason="too_large")
UNSUPPORTED = Answer(415, reason="encoding")


def unavailable(reason: str, detail: str = "") -> Answer:
    """Our own failure: the platform sends again."""
    return Answer(503, headers=(*HEADERS, ("retry-after", "1")), reason=reason, detail=detail)


def unusable(reason: str) -> Answer:
    """The platform hears `success`, for sending it again would not help."""
    return Answer(200, b"success", reason="unusable", detail=reason)


@dataclass(frozen=True, slots=True)
class Signed:
    """The query of a POST that somebody who knows our token has made, and recently."""

    timestamp: str
    nonce: str
    encrypt_type: str
    msg_signature: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """What the platform wanted to tell us, and the key under which it waits for the reply."""

    xml: bytes
    crypto: MessageCrypto | None


class CallbackEdge:
    """Believes the platform and nobody else. Built once; safe to share between threads."""

    def __init__(self, settings: Settings, now: Callable[[], datetime]) -> None:
        self._token = settings.wechat_token.get_secret_value()
        self._account = settings.wechat_account
        keys = (settings.wechat_aes_key, settings.wechat_aes_key_previous)
        self._cryptos = tuple(
            MessageCrypto(settings.wechat_app_id, self._token, key.get_secret_value()) for key in keys if key
        )
        self._now = now

    def screen(
        self, *, method: str, query: bytes, content_length: str | None = None, content_encoding: str | None = None
    ) -> Answer | Signed:
        """Everything that can be decided before a body is read, the whole answer to a GET included."""
        if method not in {HTTPMethod.GET, HTTPMethod.POST}:
            return NOT_ALLOWED
        if content_length is not None and content_length.isdecimal() and int(content_length) > MOST_BYTES:
            return TOO_LARGE
        if content_encoding is not None and content_encoding.lower() != "identity":
            return UNSUPPORTED
        parameters = _parameters(query)
        if not self._is_signed(parameters):
            return FORBIDDEN
        if abs(int(parameters["timestamp"]) - self._now().timestamp()) > MOST_AGE_S:
            return STALE
        return _echo(parameters) if method == HTTPMethod.GET else _signed(parameters)

    def _is_signed(self, parameters: dict[str, str]) -> bool:
        timestamp, nonce = parameters.get("timestamp", ""), parameters.get("nonce", "")
        return (
            _SIGNATURE.fullmatch(parameters.get("signature", "")) is not None
            and _TIMESTAMP.fullmatch(timestamp) is not None
            and _NONCE.fullmatch(nonce) is not None
            and is_signed(parameters["signature"], self._token, timestamp, nonce)
        )

    def open(self, signed: Signed, body: bytes) -> Answer | Delivery:
        """The authentic XML of a POST. With a key configured only what that key sealed counts."""
        if len(body) > MOST_BYTES:
            return TOO_LARGE
        if not self._cryptos:
            return Delivery(body, None) if signed.encrypt_type == "raw" and body.strip() else SEALED_OTHERWISE
        if signed.encrypt_type != "aes" or _SIGNATURE.fullmatch(signed.msg_signature) is None:
            return SEALED_OTHERWISE
        for candidate in _ENCRYPT.findall(body)[:_MOST_IMITATIONS]:
            encrypt = candidate.decode()
            if is_signed(signed.msg_signature, self._token, signed.timestamp, signed.nonce, encrypt):
                return self._decrypt(encrypt)
        return FORBIDDEN

    def _decrypt(self, encrypt: str) -> Answer | Delivery:
        for crypto in self._cryptos:
            try:
                return Delivery(crypto.decrypt(encrypt), crypto)
            except Unauthentic as refusal:
                if refusal.reason is Reason.FOREIGN_APP_ID:
                    log.error("a delivery was sealed for another app id")
        return SEALED_OTHERWISE

    def parse(self, delivery: Delivery) -> Event:
        """The event in a delivery; raises `Unusable`."""
        return parse(delivery.xml, account=self._account, now=self._now())

    def seal(self, delivery: Delivery, reply: str | None) -> Answer:
        """The response that carries a reply, under the key that opened the delivery."""
        if reply is None:
            return SUCCESS
        if delivery.crypto is None:
            return Answer(200, reply.encode())
        sealed = delivery.crypto.encrypt(
            reply.encode(), timestamp=int(self._now().timestamp()), nonce=secrets.token_hex(8)
        )
        return Answer(200, sealed.encode())


def _parameters(query: bytes) -> dict[str, str]:
    """A query's parameters; none at all if one comes twice or anything is not plain text."""
    if len(query) > MOST_QUERY_BYTES or not query.isascii():
        return {}
    parameters: dict[str, str] = {}
    for pair in query.decode().split("&"):
        name, _, value = pair.partition("=")
        if name in parameters:
            return {}
        parameters[name] = unquote(value) if "%" in value else value
    return parameters


def _echo(parameters: dict[str, str]) -> Answer:
    """How the platform checks that the address it was given is ours."""
    echo = parameters.get("echostr", "")
    return FORBIDDEN if _ECHO.fullmatch(echo) is None else Answer(200, echo.encode())


def _signed(parameters: dict[str, str]) -> Signed:
    return Signed(
        timestamp=parameters["timestamp"],
        nonce=parameters["nonce"],
        encrypt_type=parameters.get("encrypt_type", "raw"),
        msg_signature=parameters.get("msg_signature", ""),
    )


def bury(inbox: Receiver, delivery: Delivery, reason: str) -> Answer:
    """Keep what cannot be used."""
    log.warning("a delivery could not be used", reason=reason)
    try:
        inbox.bury(delivery.xml, reason)
    except Exception as error:
        log.exception("a delivery that could not be used could not be kept either")
        return unavailable("dead_letter", type(error).__name__)
    return unusable(reason)


def create_callback(edge: CallbackEdge, inbox: Receiver) -> Blueprint:
    """The callback as a plain view, one event per transaction, for servers that run `wsgi.py` alone.

    It authenticates by signature: leave it out of CSRF protection and rate limits.
    """
    blueprint = Blueprint("callback", __name__)

    # Every method is ours to answer: the framework's own refusals are pages.
    @blueprint.route(PATH, methods=list(HTTPMethod), provide_automatic_options=False)
    def callback() -> Response:
        answer = _answer(edge, inbox)
        response = Response(answer.body, answer.status)
        response.headers.extend(answer.headers)
        return response

    return blueprint


def _answer(edge: CallbackEdge, inbox: Receiver) -> Answer:
    signed = edge.screen(
        method=request.method,
        query=request.query_string,
        content_length=request.headers.get("Content-Length"),
        content_encoding=request.headers.get("Content-Encoding"),
    )
    if isinstance(signed, Answer):
        return signed
    delivery = edge.open(signed, request.stream.read(MOST_BYTES + 1))
    if isinstance(delivery, Answer):
        return delivery
    try:
        event = edge.parse(delivery)
    except Unusable as flaw:
        return bury(inbox, delivery, flaw.reason)
    try:
        [reply] = inbox.receive([event])
    except Exception as error:
        log.exception("an event could not be stored", kind=event.kind)
        return unavailable("inbox", type(error).__name__)
    return edge.seal(delivery, reply)
