"""The owners' door: signed in by opening a page inside WeChat, without typing (AU-1, AU-2), and the gate before `/m/`.

Like the staff's, the way back is a GET that lets somebody in, since WeChat comes back by GET; the state, which only
this browser holds and which works once, is what the form token is elsewhere. An owner's state lets no staff in.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import quote

import structlog
from flask import Blueprint, Flask, Response, current_app, g, redirect, render_template, request
from flask import session as form_session
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from core import audit
from core.database import Role
from core.errors import BusinessError
from merchants import owners, steps
from merchants.models import StepPurpose
from merchants.staff import token_hash
from qrcodes import images
from web.auth.access import Owners, access_of, drop_request, public
from web.auth.browser import begin_browser, browser_hash, drop_browser, keep_browser
from web.context import current_runtime, now
from web.security import SAFE_METHODS, limiter, parts_of, safe_path
from wechat.errors import OutcomeUnknown, SignInAgain, WeChatError
from wechat.oauth import ImproperIdentity, OAuth, OAuthIdentity

blueprint = Blueprint("owner_door", __name__, url_prefix="/m")

log = structlog.get_logger(__name__)

HOME: Final = "/m/"
PHONE_COOKIE: Final = "sandbox_person"
"""By it a sandbox's page knows whose phone opens it."""
ENTRIES: Final = "600 per minute"
"""From one address: a whole street may share one of its mobile network's."""
_CODE: Final = re.compile(r"[A-Za-z0-9_-]{1,512}")

Arrival = Callable[[Session, int, bool, str, datetime], None]
on_arrival: Final[list[Arrival]] = []
"""Called with (session, follower_id, is_new, target, now) whenever somebody has come from WeChat, in the transaction
that meets them, as the platform."""


class Snapshot(BusinessError):
    """WeChat shows the page to somebody without saying who it is: nothing is written for them (AU-2)."""

    code = "snapshot"
    status = 403
    message = "现在是预览，微信没有告诉我们您是谁。请点屏幕右下角的“使用完整服务”，再试一次。"


@dataclass(frozen=True)
class Owner:
    """Who is looking at a page; views find it as `g.owner`. A snapshot visitor has no follower."""

    follower_id: int
    is_snapshot: bool = False


NOBODY: Final = Owner(0, is_snapshot=True)


def register(app: Flask) -> None:
    """Put the owners' gate behind the staff's."""
    app.register_blueprint(blueprint)
    app.before_request(gate)


# ---- The gate ----


def gate() -> ResponseReturnValue | None:
    """Let an owner through to the view, or answer in the view's place."""
    g.owner = None
    view = current_app.view_functions.get(request.endpoint or "")
    access = None if view is None else access_of(view)
    if access is None or access.owners is None:
        return None
    key = session_hash()
    is_known = _enter(key)
    if not is_known and access.owners is Owners.REQUIRED:
        return to_wechat()
    if g.owner is not None and g.owner.is_snapshot:
        if request.method not in SAFE_METHODS:
            raise Snapshot
        if access.owners is Owners.REQUIRED:
            return render_template("owner/door.html", what="snapshot", again=_way_in(request.full_path.rstrip("?")))
    return None


def _enter(key: bytes | None) -> bool:
    """Open the request's transaction and learn who asks; False for a guest."""
    work = contextlib.ExitStack()
    g.session = work.enter_context(current_runtime().transaction(Role.FAN, session_hash=key))
    g.work = work
    found = None if key is None else owners.resume(g.session, token_hash=key, now=now())
    if found is None or key is None:
        return False
    g.owner = NOBODY if found.follower_id is None else Owner(found.follower_id)
    if now() - found.last_seen_at >= owners.TOUCH_EVERY:
        # In a transaction of its own, since a GET keeps nothing else.
        with current_runtime().transaction(Role.FAN, session_hash=key) as session:
            owners.touch(session, token_hash=key, now=now())
    return True


def to_wechat() -> ResponseReturnValue:
    """Send a guest to the door and back to this page afterwards; a form that was sent is not sent again."""
    drop_request()
    if request.headers.get("HX-Request"):
        page = parts_of(request.headers.get("HX-Current-URL", ""))
        path = f"{page.path}?{page.query}" if page.query else page.path
        return Response(status=401, headers={"HX-Redirect": _way_in(path)})
    if request.method in SAFE_METHODS:
        return redirect(_way_in(request.full_path.rstrip("?")))
    return redirect(_way_in(HOME), 303)


def _way_in(path: str) -> str:
    return f"/m/enter?next={quote(target_of(path), safe='/')}"


def target_of(path: str | None) -> str:
    """One of the owners' own pages, or the first of them (AU-5)."""
    wanted = safe_path(path, HOME)
    is_page = wanted.startswith("/m/") and not wanted.startswith(("/m/enter", "/m/back"))
    return wanted if is_page and "/." not in wanted else HOME


# ---- The cookie ----


def cookie_name() -> str:
    """The cookie of this browser. A sandbox's phones share one browser, and each has a cookie of its own."""
    settings = current_runtime().settings
    name = "__Host-owner" if settings.has_secure_cookies else "owner"
    phone = request.cookies.get(PHONE_COOKIE, "") if settings.is_sandbox else ""
    return f"{name}-{hashlib.sha256(phone.encode()).hexdigest()[:12]}" if phone else name


def session_hash() -> bytes | None:
    """The database key of the session in this request's cookie."""
    token = request.cookies.get(cookie_name())
    return token_hash(token) if token else None


def set_cookie(response: Response, token: str) -> None:
    """Hand the browser its session."""
    response.set_cookie(
        cookie_name(), token, max_age=int(owners.SESSION_LASTS.total_seconds()), httponly=True,
        secure=current_runtime().settings.has_secure_cookies, samesite="Lax", path="/",
    )  # fmt: skip


def drop_cookie(response: Response) -> None:
    """Take the session back."""
    secure = current_runtime().settings.has_secure_cookies
    response.delete_cookie(cookie_name(), httponly=True, secure=secure, samesite="Lax", path="/")


# ---- To WeChat and back ----


@blueprint.get("/enter")
@public
@limiter.limit(ENTRIES)
def enter() -> ResponseReturnValue:
    """To WeChat, which knows who is holding the phone; whoever is signed in already goes straight on."""
    target = target_of(request.args.get("next"))
    key = session_hash()
    if key is not None:
        with current_runtime().transaction(Role.FAN, session_hash=key) as session:
            found = owners.resume(session, token_hash=key, now=now())
        if found is not None and found.follower_id is not None:
            return redirect(target, 303)
    settings = current_runtime().settings
    if not settings.is_sandbox and "micromessenger" not in request.user_agent.string.lower():
        address = f"{settings.public_url}{target}"
        return render_template("owner/door.html", what="outside", address=address, code=picture_of(address))
    return _leave(target, tries=0)


@blueprint.get("/back")
@public
@limiter.limit(ENTRIES)
def come_back() -> ResponseReturnValue:
    """From WeChat: a known state is used up, its code exchanged once, and whoever comes is met and let in."""
    state, code = request.args.get("state", ""), request.args.get("code", "")
    with current_runtime().transaction(Role.PLATFORM) as session:
        known = steps.use_oauth(session, state=state, browser_hash=browser_hash(), now=now(), purpose=StepPurpose.OWNER)
    if known is None:
        return _page("reopen", 400)
    target, tries = known
    if _CODE.fullmatch(code) is None or code == "authdeny":
        return _page("refused", 400, target)
    try:
        identity = OAuth.build(current_runtime().settings).exchange(code)
    except SignInAgain:
        # The Back button brings a used code; once round again is enough for that.
        return _leave(target, tries=1) if tries == 0 else _page("reopen", 400)
    except ImproperIdentity:
        _tell_of_no_identity()
        raise owners.NoIdentity from None
    except WeChatError as error:
        kind = "no answer" if isinstance(error, OutcomeUnknown) else type(error).__name__
        log.error("web authorization failed", kind=kind, errcode=error.errcode)
        return _page("away", 503, target)
    return _let_in(identity, target)


def _let_in(identity: OAuthIdentity, target: str) -> ResponseReturnValue:
    """A new session in place of whatever this browser had, a new form token, and on to where they wanted to go."""
    runtime = current_runtime()
    try:
        with runtime.transaction(Role.PLATFORM) as session:
            follower_id: int | None = None
            if not identity.snapshot:
                met = owners.arrive(session, runtime, openid=identity.openid, now=now())
                follower_id = met.follower_id
                for hook in on_arrival:
                    hook(session, met.follower_id, met.is_new, target, now())
            token = owners.begin(session, follower_id=follower_id, now=now(), former=session_hash())
    except owners.NoIdentity:
        _tell_of_no_identity()
        raise
    form_session.clear()
    response = Response(status=303, headers={"Location": target})
    set_cookie(response, token)
    return drop_browser(response)


def picture_of(words: str) -> str:
    """A code that says this, for a page's img."""
    return "data:image/png;base64," + b64encode(images.png(words, size=480)).decode()


def _tell_of_no_identity() -> None:
    log.error("web authorization named nobody")
    with current_runtime().transaction(Role.PLATFORM) as session:
        audit.record(session, actor_kind="system", action="owner.no_identity")


def _leave(target: str, *, tries: int) -> Response:
    runtime = current_runtime()
    with runtime.transaction(Role.PLATFORM) as session:
        state = steps.begin_oauth(
            session, browser_hash=begin_browser(), target=target, now=now(), tries=tries, purpose=StepPurpose.OWNER
        )
    back = f"{runtime.settings.public_url}/m/back"
    address = OAuth.build(runtime.settings).authorize_url(back, state)
    return keep_browser(Response(status=302, headers={"Location": address}))


def _page(what: str, status: int, target: str = HOME) -> ResponseReturnValue:
    return render_template("owner/door.html", what=what, again=_way_in(target)), status
