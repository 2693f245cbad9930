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
from collections.abc import Mapping
from contextlib import suppress
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Final
from urllib.parse import urlsplit

import requests
import structlog
import urllib3
from requests.utils import get_environ_proxies

from wechat.errors import BadRequest, OutcomeUnknown, WaitAMinute, WeChatError, error_for

CONNECT_SECONDS: Final = 3.0
READ_SECONDS: Final = 10.0
MAX_REPLY_BYTES: Final = 4 * 1024 * 1024
"""Ten times the largest reply we ask for, a page of 10,000 openids."""

_SECRET_FIELDS = ("access_token", "secret", "code", "refresh_token")
_RID = re.compile(r"\s*\brid: ?([0-9A-Za-z-]{1,64})")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_ERRMSG_MAX = 300

log = structlog.get_logger(__name__)

# At DEBUG level it writes whole URLs, and ours carry the access token.
logging.getLogger("urllib3.connectionpool").setLevel(logging.INFO)

Files = Mapping[str, tuple[str, bytes, str]]


class Transport:
    """HTTP to the platform's hosts. Shared by threads; after a fork the child opens connections of its own."""

    def __init__(self, *, api_url: str, mp_url: str) -> None:
        self._api_url = api_url.rstrip("/")
        self._mp_url = mp_url.rstrip("/")
        self._session_of: tuple[int, requests.Session] | None = None

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
        answer = _parse(path, content)
        errcode = answer.get("errcode", 0)
        if type(errcode) is not int:  # a bool is an int to isinstance
            raise OutcomeUnknown(path, "answered with an errcode that is not a number")
        if errcode != 0:
            secrets = [str(given[name]) for given in (params, body or {}) for name in _SECRET_FIELDS if given.get(name)]
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
    ) -> tuple[int, bytes]:
        url = f"{base}/{path}"
        failure: WeChatError | None = None
        status, content = 0, b""
        try:
            with self._session().request(
                method,
                url,
                params=params,
                data=data,
                files=files,
                headers={"Content-Type": "application/json; charset=utf-8"} if data is not None else None,
                timeout=(CONNECT_SECONDS, READ_SECONDS),
                allow_redirects=False,
                stream=True,
                proxies=_proxies(url),
            ) as response:
                status = response.status_code
                content = _read(path, response)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            if _was_never_sent(error):
                failure = WaitAMinute(path, "the platform cannot be reached")
            else:
                failure = OutcomeUnknown(path, f"no answer ({type(error).__name__})")
        # Raised out here so that the library's exception, which holds the URL with its secrets, is not our context.
        if failure is not None:
            raise failure
        return status, content

    def _session(self) -> requests.Session:
        process = os.getpid()
        if self._session_of is None or self._session_of[0] != process:
            session = requests.Session()
            # Neither .netrc nor the environment may add credentials or switch verification off.
            session.trust_env = False
            session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
            # Nothing to unpack means that a reply cannot be larger than what was read.
            session.headers.update({"Accept-Encoding": "identity", "User-Agent": "quanma"})
            adapter = requests.adapters.HTTPAdapter(pool_maxsize=32, max_retries=0)
            session.mount("https://", adapter)
            session.mount("http://", adapter)
            self._session_of = (process, session)
        return self._session_of[1]


def _proxies(url: str) -> dict[str, str]:
    """The environment's proxies, except towards this machine, where the sandbox and tests live."""
    host = urlsplit(url).hostname or ""
    try:
        is_here = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_here = host == "localhost"
    return {} if is_here else dict(get_environ_proxies(url))


def _read(path: str, response: requests.Response) -> bytes:
    """The whole body; bounded in size and time however slowly it drips."""
    deadline = time.monotonic() + READ_SECONDS
    content = bytearray()
    while chunk := response.raw.read1(65_536, decode_content=True):
        content += chunk
        if len(content) > MAX_REPLY_BYTES:
            raise OutcomeUnknown(path, "answered with far too much")
        if time.monotonic() > deadline:
            raise OutcomeUnknown(path, "no complete answer in time")
    return bytes(content)


def _was_never_sent(error: Exception) -> bool:
    """Whether the failure came before a connection stood, so that the call certainly had no effect."""
    if isinstance(error, requests.ConnectTimeout):
        return True
    reason = getattr(error.args[0], "reason", None) if error.args else None
    if isinstance(reason, urllib3.exceptions.SSLError):
        return bool(reason.args) and isinstance(reason.args[0], ssl.SSLCertVerificationError)
    return isinstance(reason, urllib3.exceptions.NewConnectionError)


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
