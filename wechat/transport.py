"""One way out to the platform: every call has timeouts, is made once, and answers with checked JSON or our error.

The platform's replies are untrusted input (a proxy, a portal or an outage page may speak in its place):
whatever is not a JSON object as documented leaves the outcome unknown, never "success".
"""

import ipaddress
import json
import logging
import os
import re
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import requests.utils
import structlog
import urllib3
from requests.utils import get_auth_from_url, get_environ_proxies, select_proxy

from wechat.errors import BadRequest, OutcomeUnknown, WaitAMinute, WeChatError, error_for

CONNECT_SECONDS: Final = 3.0
READ_SECONDS: Final = 10.0
MAX_REPLY_BYTES: Final = 4 * 1024 * 1024
"""Ten times the largest reply we ask for, a page of 10,000 openids."""

_HEADERS: Final = {
    "Accept": "*/*",
    # Nothing to unpack means that a reply cannot be larger than what was read.
    "Accept-Encoding": "identity",
    "User-Agent": "quanma",
}
_CONNECTIONS: Final = 32

_FILES: Final = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"#!AMR\n", "audio/amr"),
    (b"#!AMR-WB\n", "audio/amr-wb"),
    (b"ID3", "audio/mpeg"),
    (b"\xff\xfb", "audio/mpeg"),
    (b"\xff\xf3", "audio/mpeg"),
)
"""How files begin that people send and that can be shown as what they are."""
_SECRET_FIELDS = ("access_token", "secret", "code", "refresh_token")
_RID = re.compile(r"\s*\brid: ?([0-9A-Za-z-]{1,64})")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_ERRMSG_MAX = 300

log = structlog.get_logger(__name__)

# They write whole URLs, and ours carry the access token: of every call, and of replies with odd headers.
logging.getLogger("urllib3.connectionpool").setLevel(logging.INFO)
logging.getLogger("urllib3.connection").setLevel(logging.ERROR)

Files = Mapping[str, tuple[str, bytes, str]]


class Transport:
    """HTTP to the platform's hosts. Shared by threads; after a fork the child opens connections of its own.

    Directly on urllib3: `requests` around it took more than half the time of a call, and a broadcast makes many.
    """

    def __init__(self, *, api_url: str, mp_url: str) -> None:
        self._api_url = api_url.rstrip("/")
        self._mp_url = mp_url.rstrip("/")
        self._pools_of: tuple[int, dict[str, urllib3.PoolManager]] | None = None

    def call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        files: Files | None = None,
    ) -> dict[str, Any]:
        """Call an API once; returns its JSON object, or raises the `WeChatError` that says what to do next."""
        started = time.monotonic()
        try:
            answer = self._call(method, path, params=params or {}, body=body, files=files)
        except WeChatError as error:
            log.info(
                "wechat call failed",
                path=path,
                kind=type(error).__name__,
                errcode=error.errcode,
                rid=error.rid,
                milliseconds=round((time.monotonic() - started) * 1000),
            )
            raise
        log.debug("wechat call", path=path, milliseconds=round((time.monotonic() - started) * 1000))
        return answer

    def code_image(self, ticket: str) -> bytes:
        """The picture of a parametric code, as the platform draws it."""
        path = "cgi-bin/showqrcode"
        status, content = self._exchange("GET", self._mp_url, path, params={"ticket": ticket})
        if status == 404:
            raise BadRequest(path, "no such ticket")
        if status != 200:
            raise OutcomeUnknown(path, f"answered with HTTP {status}")
        if not content.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")):
            raise OutcomeUnknown(path, "answered with something that is not a picture")
        return content

    def file(self, path: str, *, params: Mapping[str, str], most: int) -> tuple[bytes, str]:
        """A file that somebody sent, of at most so many bytes, with its type as the bytes themselves tell it.

        `BadRequest` says that there is none, that it is too large, or none of the kinds that are shown to anybody.
        """
        started = time.monotonic()
        status, content = self._exchange("GET", self._api_url, path, params=params, most=most, too_much=BadRequest)
        if status != 200:
            raise OutcomeUnknown(path, f"answered with HTTP {status}")
        mime = next((mime for magic, mime in _FILES if content.startswith(magic)), None)
        if mime is None:
            if not content.startswith(b"{"):
                # A page of somebody else's is an outage; anything else is a file that nobody can look at.
                kind = OutcomeUnknown if not content or content.lstrip().startswith(b"<") else BadRequest
                raise kind(path, "answered with a file of no kind that is shown")
            self._checked(path, content, params=params, body={})
            raise BadRequest(path, "there is only an address of it")
        log.debug("wechat call", path=path, milliseconds=round((time.monotonic() - started) * 1000))
        return content, mime

    def _call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str],
        body: Mapping[str, Any] | None,
        files: Files | None,
    ) -> dict[str, Any]:
        data = None if body is None else _raw_json(path, body)
        status, content = self._exchange(method, self._api_url, path, params=params, data=data, files=files)
        if status != 200:
            raise OutcomeUnknown(path, f"answered with HTTP {status}")
        return self._checked(path, content, params=params, body=body or {})

    @staticmethod
    def _checked(path: str, content: bytes, *, params: Mapping[str, str], body: Mapping[str, Any]) -> dict[str, Any]:
        """The object that was answered, unless it is an error."""
        answer = _parse(path, content)
        errcode = answer.get("errcode", 0)
        if type(errcode) is not int:  # a bool is an int to isinstance
            raise OutcomeUnknown(path, "answered with an errcode that is not a number")
        if errcode != 0:
            secrets = [str(given[name]) for given in (params, body) for name in _SECRET_FIELDS if given.get(name)]
            errmsg, rid = _cleaned(answer.get("errmsg"), secrets)
            raise error_for(path, errcode=errcode, errmsg=errmsg, rid=rid, msg_id=_number(answer.get("msg_id")))
        return answer

    def _exchange(
        self,
        method: str,
        base: str,
        path: str,
        *,
        params: Mapping[str, str],
        data: bytes | None = None,
        files: Files | None = None,
        most: int = MAX_REPLY_BYTES,
        too_much: type[WeChatError] = OutcomeUnknown,
    ) -> tuple[int, bytes]:
        url = f"{base}/{path}?{urlencode(params)}" if params else f"{base}/{path}"
        headers = _HEADERS
        if data is not None:
            headers = headers | {"Content-Type": "application/json; charset=utf-8"}
        elif files is not None:
            data, content_type = urllib3.encode_multipart_formdata(files)
            headers = headers | {"Content-Type": content_type}
        failure: WeChatError | None = None
        status, content = 0, b""
        try:
            response = self._pools(base).urlopen(
                method,
                url,
                body=data,
                headers=headers,
                timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS),
                retries=False,
                redirect=False,
                preload_content=False,
            )
            with _returned(response):
                status = response.status
                content = _read(path, response, most, too_much)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            if _was_never_sent(error):
                failure = WaitAMinute(path, "the platform cannot be reached")
            else:
                failure = OutcomeUnknown(path, f"no answer ({type(error).__name__})")
        # Raised out here so that the library's exception, which holds the URL with its secrets, is not our context.
        if failure is not None:
            raise failure
        return status, content

    def _pools(self, base: str) -> urllib3.PoolManager:
        """This process's connections to a host, through the proxy there was when the first one was opened."""
        process = os.getpid()
        if self._pools_of is None or self._pools_of[0] != process:
            self._pools_of = (process, {})
        pools = self._pools_of[1]
        if base not in pools:
            # Of two threads that come here at once, one's connections are given up again.
            pools[base] = _new_pools(base)
        return pools[base]


def _new_pools(url: str) -> urllib3.PoolManager:
    """Certificates are verified against the bundle we ship; the environment can neither replace nor ignore it."""
    ca_certs, proxy = requests.utils.DEFAULT_CA_BUNDLE_PATH, _proxy(url)
    if proxy is None:
        return urllib3.PoolManager(maxsize=_CONNECTIONS, cert_reqs="CERT_REQUIRED", ca_certs=ca_certs)
    user, password = get_auth_from_url(proxy)
    return urllib3.ProxyManager(
        proxy if "://" in proxy else f"http://{proxy}",
        maxsize=_CONNECTIONS,
        cert_reqs="CERT_REQUIRED",
        ca_certs=ca_certs,
        proxy_headers=urllib3.make_headers(proxy_basic_auth=f"{user}:{password}") if user else None,
    )


def _proxy(url: str) -> str | None:
    """The environment's proxy, except towards this machine, where the sandbox and tests live."""
    host = urlsplit(url).hostname or ""
    try:
        is_here = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_here = host == "localhost"
    if is_here:
        return None
    proxy: str | None = select_proxy(url, get_environ_proxies(url))
    return proxy


@contextmanager
def _returned(response: urllib3.BaseHTTPResponse) -> Iterator[None]:
    """Give the connection back when all was read, and give it up when not."""
    try:
        yield
    except BaseException:
        response.close()
        raise
    finally:
        response.release_conn()


def _read(path: str, response: urllib3.BaseHTTPResponse, most: int, too_much: type[WeChatError]) -> bytes:
    """The whole body; bounded in size and time however slowly it drips."""
    deadline = time.monotonic() + READ_SECONDS
    content = bytearray()
    while chunk := response.read1(65_536, decode_content=True):
        content += chunk
        if len(content) > most:
            raise too_much(path, "answered with far too much")
        if time.monotonic() > deadline:
            raise OutcomeUnknown(path, "no complete answer in time")
    return bytes(content)


def _was_never_sent(error: Exception) -> bool:
    """Whether the failure came before a connection stood, so that the call certainly had no effect."""
    if isinstance(error, urllib3.exceptions.SSLError):
        return bool(error.args) and isinstance(error.args[0], ssl.SSLCertVerificationError)
    return isinstance(error, urllib3.exceptions.ConnectTimeoutError | urllib3.exceptions.NewConnectionError)


def _raw_json(path: str, body: Mapping[str, Any]) -> bytes:
    """JSON as the platform wants it: characters as they are, since it refuses or shows `\\uXXXX` escapes."""
    with suppress(UnicodeEncodeError):
        return json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
    raise BadRequest(path, "the text is not valid Unicode")


class _NotAsDocumented(ValueError):
    """JSON that a lenient parser would let pass."""


def _object_without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _NotAsDocumented
    return found


def _no_constant(_: str) -> None:
    raise _NotAsDocumented


def _parse(path: str, content: bytes) -> dict[str, Any]:
    answer: object = None
    with suppress(ValueError, RecursionError):  # ValueError covers bad UTF-8, bad JSON and our own complaint
        answer = json.loads(content.decode(), object_pairs_hook=_object_without_repeats, parse_constant=_no_constant)
    if not isinstance(answer, dict):
        raise OutcomeUnknown(path, "answered with something that is not a JSON object")
    return answer


def _number(value: object) -> int | None:
    """A number the platform gave something, None where it gave none."""
    return value if type(value) is int and value > 0 else None


def _cleaned(errmsg: object, secrets: list[str]) -> tuple[str, str | None]:
    """The platform's words without our secrets and control characters, and the `rid` they carried."""
    text = errmsg if isinstance(errmsg, str) else ""
    for secret in secrets:
        text = text.replace(secret, "***")
    rid = _RID.search(text)
    text = _UNPRINTABLE.sub(" ", _RID.sub("", text)).strip()[:_ERRMSG_MAX]
    return text or "no message", rid[1] if rid else None
