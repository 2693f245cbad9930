"""What protects every page: headers, CSRF and origin, known hosts, size caps, rate limits, safe redirects."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any, Final, TypeVar
from urllib.parse import SplitResult, urlsplit

from flask import Flask, Response, abort, current_app, g, request
from flask_limiter import Limiter
from flask_wtf.csrf import CSRFProtect
from werkzeug.routing import IntegerConverter, Map

from core.runtime import Runtime
from core.settings import Settings
from web.context import current_runtime

MAX_BODY = 1024 * 1024
FRAMEABLE = ("/q/", "/m/", "/s/", "/read/", "/auth/", "/merchant/", "/operator/")
"""Pages which the phone of a sandbox shows in its built-in browser, beside the front page: all that a chat leads to."""
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
CALLBACK = "callback"
"""The blueprint of the platform's callback."""
WECHAT_SCRIPTS = "https://res.wx.qq.com"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

View = TypeVar("View", bound=Callable[..., Any])

csrf = CSRFProtect()


def client_address() -> str:
    """Who asks, for rate limits."""
    return request.remote_addr or "unknown"


limiter = Limiter(
    client_address,
    strategy="moving-window",
    key_prefix="limit:",
    # A dead Redis costs the sharing of limits between processes, never a page.
    in_memory_fallback_enabled=True,
)


def register(app: Flask, runtime: Runtime) -> None:
    """Put every page of this application behind the same protection."""
    settings = runtime.settings
    is_secure = settings.has_secure_cookies
    app.config.update(
        SECRET_KEY=runtime.keyed_id("page forms").hex(),
        TRUSTED_HOSTS=trusted_hosts(settings),
        MAX_CONTENT_LENGTH=MAX_BODY,
        MAX_FORM_MEMORY_SIZE=MAX_BODY,
        # This cookie carries the form token and messages for the next page, never who somebody is.
        SESSION_COOKIE_NAME="__Host-form" if is_secure else "form",
        SESSION_COOKIE_SECURE=is_secure,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        WTF_CSRF_TIME_LIMIT=None,
        WTF_CSRF_HEADERS=["X-CSRFToken"],
        RATELIMIT_STORAGE_URI=limits_storage(runtime.redis_url),
        RATELIMIT_STORAGE_OPTIONS={"socket_connect_timeout": 1, "socket_timeout": 1},
    )
    app.url_map.converters["int"] = Id
    app.before_request(make_nonce)
    app.before_request(refuse_nul)
    app.before_request(raise_upload_cap)
    app.before_request(refuse_foreign_origin)
    csrf.init_app(app)
    limiter.init_app(app)
    app.after_request(set_headers)
    app.context_processor(lambda: {"csp_nonce": g.get("csp_nonce", "")})


class Id(IntegerConverter):
    """`<int:…>` in an address: written one way only and within a bigint, so that odd spellings are plain 404s (#68)."""

    # Eighteen digits: what does not fit into a bigint is refused by the spelling already, whatever the method.
    regex = "0|[1-9][0-9]{0,17}"

    def __init__(self, url_map: Map, **options: Any) -> None:
        super().__init__(url_map, **{"max": 2**63 - 1, **options})


def trusted_hosts(settings: Settings) -> list[str]:
    """The name we are reached under; beside a sandbox also this machine's own."""
    host = urlsplit(settings.public_url).hostname or ""
    own = [f"[{host}]" if ":" in host else host]
    return [*own, *(name for name in LOOPBACK if settings.is_sandbox and name not in own)]


def limits_storage(redis_url: str) -> str:
    """Redis, as the limiter spells it."""
    return f"redis+{redis_url}" if redis_url.startswith("unix://") else redis_url


def make_nonce() -> None:
    """A fresh nonce for the scripts of this page."""
    g.csp_nonce = secrets.token_urlsafe(16)


def refuse_nul() -> None:
    """No text of ours holds a NUL, and the database takes none."""
    if is_callback():
        return
    if "\0" in request.path or any("\0" in value for _, value in request.args.items(multi=True)):
        abort(400)


ENVELOPE: Final = 64 * 1024
"""What a form adds around the file it carries."""


def upload_cap(size: int) -> Callable[[View], View]:
    """Let a view take a file of so many bytes, and the form around it."""

    def mark(view: View) -> View:
        view.__dict__["upload_cap"] = size + ENVELOPE
        return view

    return mark


def with_camera(view: View) -> View:
    """Let this view's page use the camera, which no other page may."""
    view.__dict__["uses_camera"] = True
    return view


def is_scanning() -> bool:
    """Whether this request's page may use the camera."""
    return bool(getattr(current_app.view_functions.get(request.endpoint or ""), "uses_camera", False))


def raise_upload_cap() -> None:
    """Before anything reads the body."""
    view = current_app.view_functions.get(request.endpoint or "")
    size = getattr(view, "upload_cap", None)
    if size is not None:
        request.max_content_length = size


def upload_limit() -> int | None:
    """How many bytes a file may have that this request brings; None where it may bring none."""
    size = getattr(current_app.view_functions.get(request.endpoint or ""), "upload_cap", None)
    return None if size is None else size - ENVELOPE


def refuse_foreign_origin() -> None:
    """Unsafe requests come from our own pages (AU-4); a browser that says otherwise is believed."""
    if request.method in SAFE_METHODS or is_callback():
        return
    origin = request.headers.get("Origin")
    if origin is not None and parts_of(origin).netloc != request.host:
        abort(403)
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in {"same-origin", "none"}:
        abort(403)


def is_callback() -> bool:
    """The platform proves itself by signature, uses no cookie and is answered by rules of its own."""
    return request.blueprint == CALLBACK


def set_headers(response: Response) -> Response:
    """The same headers on every answer."""
    settings = current_runtime().settings
    headers = response.headers
    headers["Content-Security-Policy"] = content_policy(settings)
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Referrer-Policy"] = "same-origin"
    headers["Cross-Origin-Opener-Policy"] = "same-origin"
    camera = "camera=(self)" if is_scanning() else "camera=()"
    headers["Permissions-Policy"] = f"{camera}, microphone=(), geolocation=(), payment=()"
    if frame_ancestors(settings) == "'none'":
        headers["X-Frame-Options"] = "DENY"
    if settings.has_secure_cookies:
        headers["Strict-Transport-Security"] = "max-age=31536000; includeSubDomains"
    if g.get("staff") is not None or request.path.startswith(("/auth/", "/m/")):
        headers["Cache-Control"] = "no-store"
    return response


def content_policy(settings: Settings) -> str:
    """Own scripts and styles only; nothing inline but what carries this page's nonce."""
    # WeChat's scanner comes from WeChat alone, and only to the page that scans.
    scanner = f" {WECHAT_SCRIPTS}" if is_scanning() else ""
    return (
        f"default-src 'self'; script-src 'self' 'nonce-{g.get('csp_nonce', '')}'{scanner}; style-src 'self';"
        " img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self';"
        f" frame-ancestors {frame_ancestors(settings)}"
    )


def frame_ancestors(settings: Settings) -> str:
    """Nobody may frame us, but a sandbox's phone shows public pages in its built-in browser."""
    if not settings.is_sandbox or not (request.path == "/" or request.path.startswith(FRAMEABLE)):
        return "'none'"
    phone = urlsplit(settings.wechat_open_url)
    hosts = {phone.netloc}
    if phone.hostname in {"127.0.0.1", "localhost"}:
        hosts = {f"{name}:{phone.port}" if phone.port else name for name in ("127.0.0.1", "localhost")}
    return " ".join(sorted(f"{phone.scheme}://{host}" for host in hosts))


def parts_of(address: str) -> SplitResult:
    """An address that a browser sent, in its parts; all of them empty where it is none."""
    try:
        return urlsplit(address)
    except ValueError:
        return urlsplit("")


def safe_path(target: str | None, default: str = "/") -> str:
    """A path of ours to go to, or the default: never another host, another scheme or a second header (AU-5)."""
    if not target or not target.startswith("/") or target.startswith("//"):
        return default
    if "\\" in target or "%2f%2f" in target.lower() or not target.isprintable():
        return default
    parts = urlsplit(target)
    return target if not parts.scheme and not parts.netloc and "//" not in parts.path else default
