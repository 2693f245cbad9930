"""Hands requests on to the pages, which live in processes of their own, and streams their answers back."""

from collections.abc import AsyncIterator, Awaitable, Callable
from http import HTTPStatus
from typing import Any

import aiohttp
import structlog
from multidict import CIMultiDict
from yarl import URL

Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

MOST_REQUEST_BYTES = 32 * 1024 * 1024
MOST_CONNECTIONS = 128
TIMEOUT = aiohttp.ClientTimeout(total=300, connect=5, sock_read=60)

# A connection's own business, by RFC 9110 section 7.6.1; `expect` has been answered by our server already.
_HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer transfer-encoding"
    b" upgrade expect".split()
)
# What only we may say: the pages believe these.
_OURS = frozenset(b"forwarded x-forwarded-for x-forwarded-proto x-forwarded-host x-forwarded-port x-real-ip".split())
_NOTHING_ADDED = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")

_PAGE = """<!doctype html>
<html lang="zh-CN"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="3"><title>稍候 · 圈码</title></head>
<body><h1>{title}</h1><p>{text}</p></body></html>
"""
_RESTARTING = _PAGE.format(title="页面正在启动", text="几秒后会自动刷新，您不用做什么。").encode()
_BROKEN = _PAGE.format(title="页面没有回应", text="刚才的操作可能没有完成，请稍候再试。").encode()
_PAGE_HEADERS = [
    (b"content-type", b"text/html; charset=utf-8"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
    (b"retry-after", b"3"),
]

log = structlog.get_logger(__name__)


class _TooLarge(Exception):
    pass


class _ClientLeft(Exception):
    pass


class Pages:
    """The pages behind a unix socket. Build on the event loop."""

    def __init__(self, socket: str, *, scheme: str, trusted_proxies: int = 0) -> None:
        """`scheme` is the one people reach us by, which a proxy in front of us may have ended."""
        self._scheme = scheme
        self._trusted_proxies = trusted_proxies
        self._session = aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(socket, limit=MOST_CONNECTIONS),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=TIMEOUT,
            auto_decompress=False,
            skip_auto_headers=_NOTHING_ADDED,
        )

    async def close(self) -> None:
        await self._session.close()

    async def forward(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request with what the pages say, or with a page of our own while they cannot."""
        sent = _Body(scope, receive)
        if sent.length > MOST_REQUEST_BYTES:
            return await _say(send, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        has_started = False
        try:
            async with self._session.request(
                scope["method"],
                URL.build(
                    scheme="http",
                    host="pages",
                    path=scope["raw_path"].decode("ascii", "replace"),
                    query_string=scope["query_string"].decode("ascii", "replace"),
                    encoded=True,
                ),
                headers=self._headers(scope),
                data=sent.chunks() if sent.exists else None,
                allow_redirects=False,
            ) as answer:
                has_started = True
                await _stream(answer, send)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            if sent.failure is not None:
                # It was the request that broke off, not the pages.
                return await _say(send, sent.failure)
            if has_started:
                # A cut answer must not look like a whole one.
                raise
            log.warning("the pages did not answer", error=type(error).__name__)
            if isinstance(error, aiohttp.ClientConnectorError | TimeoutError):
                return await _say(send, HTTPStatus.SERVICE_UNAVAILABLE, _RESTARTING)
            return await _say(send, HTTPStatus.BAD_GATEWAY, _BROKEN)

    def _headers(self, scope: Scope) -> CIMultiDict[str]:
        given: list[tuple[bytes, bytes]] = scope["headers"]
        named = {name.strip() for key, value in given if key == b"connection" for name in value.lower().split(b",")}
        headers = CIMultiDict(
            (key.decode("latin-1"), value.decode("utf-8", "replace"))
            for key, value in given
            if key not in _HOP_BY_HOP and key not in _OURS and key not in named
        )
        headers["X-Forwarded-For"] = self._client(scope)
        headers["X-Forwarded-Proto"] = self._scheme
        headers["X-Forwarded-Host"] = headers.get("Host", "")
        return headers

    def _client(self, scope: Scope) -> str:
        """Who asks: whoever our own proxies saw, or whoever is connected. What strangers add before that is theirs."""
        said = [
            address.strip()
            for name, value in scope["headers"]
            if name == b"x-forwarded-for"
            for address in value.decode("latin-1").split(",")
        ]
        if 0 < self._trusted_proxies <= len(said):
            return str(said[-self._trusted_proxies])
        client = scope.get("client")
        return str(client[0]) if client else "127.0.0.1"


class _Body:
    """A request's body on its way through."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        headers = dict(scope["headers"])
        length = headers.get(b"content-length", b"")
        self.length = int(length) if length.isdigit() else 0
        self.exists = self.length > 0 or b"transfer-encoding" in headers
        self.failure: HTTPStatus | None = None
        self._receive = receive

    async def chunks(self) -> AsyncIterator[bytes]:
        size = 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self.failure = HTTPStatus.BAD_REQUEST
                raise _ClientLeft
            chunk = message.get("body", b"")
            size += len(chunk)
            if size > MOST_REQUEST_BYTES:
                self.failure = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
                raise _TooLarge
            if chunk:
                yield chunk
            if not message.get("more_body", False):
                return


async def _stream(answer: aiohttp.ClientResponse, send: Send) -> None:
    headers = [(name.lower(), value) for name, value in answer.raw_headers if name.lower() not in _HOP_BY_HOP]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    async for chunk in answer.content.iter_any():
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _say(send: Send, status: HTTPStatus, page: bytes = b"") -> None:
    await send({"type": "http.response.start", "status": status.value, "headers": _PAGE_HEADERS})
    await send({"type": "http.response.body", "body": page})
