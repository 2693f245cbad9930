"""Who may call what: every view says so with one of these marks, and one gate enforces them (AU-8).

A view without a mark is a fault that the application refuses to start with.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, TypeVar
from urllib.parse import urlencode

from flask import Blueprint, Flask, Response, abort, current_app, g, redirect, request
from flask.typing import ResponseReturnValue
from sqlalchemy import update
from sqlalchemy.orm import Session

from core.database import Role
from core.settings import Settings
from merchants import staff as staff_services
from merchants.models import LoginSession, Merchant, StaffRole
from web.context import current_runtime, now
from web.security import SAFE_METHODS, client_address, limiter, parts_of, safe_path

TOUCH_EVERY = timedelta(minutes=1)
View = TypeVar("View", bound=Callable[..., Any])


ACTS_A_MINUTE = 240
"""More than anybody does by hand, with several pages open."""


class Owners(StrEnum):
    """Views for people who come from WeChat, which `web.auth.owner` guards."""

    REQUIRED = "fan"
    OR_GUEST = "fan or guest"


@dataclass(frozen=True)
class Access:
    """Which roles may call a view, and as whom it then asks the database."""

    roles: frozenset[StaffRole]
    database: Role | None
    owners: Owners | None = None


PUBLIC = Access(frozenset(), None)
SIGNED_IN = Access(frozenset(StaffRole), Role.PLATFORM)
OPERATOR = Access(frozenset({StaffRole.OPERATOR}), Role.PLATFORM)
OWNER = Access(frozenset(), Role.FAN, Owners.REQUIRED)
OWNER_OR_GUEST = Access(frozenset(), Role.FAN, Owners.OR_GUEST)


@dataclass(frozen=True)
class SignedIn:
    """Who is asking; pages find it as `g.staff`."""

    id: int
    name: str
    role: StaffRole
    merchant_id: int | None
    login_session_id: int


def public(view: View) -> View:
    """Anybody may call this; it has no `g.staff` and opens its own transactions."""
    return _mark(view, PUBLIC)


def signed_in(view: View) -> View:
    """Any member of staff, for their own account."""
    return _mark(view, SIGNED_IN)


def operator_required(view: View) -> View:
    """Operators, with the platform's sight: `g.session` sees every merchant."""
    return _mark(view, OPERATOR)


def merchant_required(*roles: StaffRole) -> Callable[[View], View]:
    """Staff of a merchant (both roles unless given); `g.session` sees that merchant and nothing else."""
    access = Access(frozenset(roles or (StaffRole.OWNER, StaffRole.CLERK)), Role.MERCHANT)
    return lambda view: _mark(view, access)


def owner_required(view: View) -> View:
    """People who came from WeChat, as `g.owner`; `g.session` sees what is theirs. A snapshot visitor only reads that
    there is nothing to see (AU-2)."""
    return _mark(view, OWNER)


def owner_or_guest(view: View) -> View:
    """The same for everybody: `g.owner` is None for a guest, and `g.session` then sees what is nobody's."""
    return _mark(view, OWNER_OR_GUEST)


def _mark(view: View, access: Access) -> View:
    view.__dict__["access"] = access
    return view


def access_of(view: Callable[..., Any]) -> Access | None:
    """What a view says about who may call it."""
    access = getattr(view, "access", None)
    return access if isinstance(access, Access) else None


def register(app: Flask) -> None:
    """Put the gate in front of every view."""
    public(app.view_functions["static"])
    app.before_request(gate)
    app.after_request(keep_or_drop)
    app.teardown_request(close)


def refuse_unmarked(app: Flask) -> None:
    """Called last in `create_app`: a view that does not say who may call it must not serve."""
    unmarked = sorted(name for name, view in app.view_functions.items() if access_of(view) is None)
    if unmarked:
        raise RuntimeError(f"these views do not say who may call them: {', '.join(unmarked)}")


def cookie_name(settings: Settings) -> str:
    """A __Host- cookie belongs to exactly this host and came over https."""
    return "__Host-sid" if settings.has_secure_cookies else "sid"


def set_cookie(response: Response, token: str) -> None:
    """Hand the browser its session."""
    settings = current_runtime().settings
    response.set_cookie(
        cookie_name(settings),
        token,
        max_age=int(staff_services.SESSION_LASTS.total_seconds()),
        httponly=True,
        secure=settings.has_secure_cookies,
        samesite="Lax",
        path="/",
    )


def drop_cookie(response: Response) -> None:
    """Take the session back."""
    settings = current_runtime().settings
    response.delete_cookie(
        cookie_name(settings), httponly=True, secure=settings.has_secure_cookies, samesite="Lax", path="/"
    )


def session_hash() -> bytes | None:
    """The database key of the session in this request's cookie."""
    token = request.cookies.get(cookie_name(current_runtime().settings))
    return staff_services.token_hash(token) if token else None


def limit_acts(blueprint: Blueprint) -> None:
    """Let one session change so much a minute on these pages, all of them together; what has a limit of its own keeps
    to that."""
    limiter.shared_limit(
        lambda: f"{ACTS_A_MINUTE} per minute",
        scope="acts",
        key_func=_whose_act,
        exempt_when=lambda: request.method in SAFE_METHODS,
    )(blueprint)


def _whose_act() -> str:
    session = session_hash()
    return client_address() if session is None else session.hex()


def gate() -> ResponseReturnValue | None:
    """Let the request through to its view, or answer in the view's place."""
    g.staff = None
    view = current_app.view_functions.get(request.endpoint or "")
    if view is None:
        return None
    access = access_of(view)
    if access is None or access.database is None or access.owners is not None:
        return None
    key = session_hash()
    if key is None or not _enter(access.database, key):
        return to_sign_in()
    if g.staff.role not in access.roles:
        abort(403)
    return None


def _enter(database: Role, key: bytes) -> bool:
    """Open the request's transaction and learn who asks; False if the session is unknown or has ended."""
    work = contextlib.ExitStack()
    # Under the merchant role the session's hash is what lets row-level security show its row, and nothing else yet.
    g.session = work.enter_context(current_runtime().transaction(database, session_hash=key))
    g.work = work
    found = staff_services.resume(g.session, token_hash=key, now=now())
    if found is None:
        return False
    login_session, member = found
    g.staff = SignedIn(member.id, member.name, StaffRole(member.role), member.merchant_id, login_session.id)
    # A page that keeps itself up to date is not somebody using it (AU-3).
    is_poll = request.method == "GET" and "HX-Request" in request.headers
    if not is_poll and now() - login_session.last_seen_at >= TOUCH_EVERY:
        _touch(database, key, now())
    return True


def _touch(database: Role, key: bytes, at: datetime) -> None:
    """Note that the session is in use: in a transaction of its own, since a GET keeps nothing else."""
    with current_runtime().transaction(database, session_hash=key) as session:
        session.execute(update(LoginSession).where(LoginSession.token_hash == key).values(last_seen_at=at))


def to_sign_in() -> ResponseReturnValue:
    """Send people to the sign-in page and back afterwards to the page they were on; tell programs and htmx in their own
    way. Who comes with a session that has ended is told so."""
    drop_request()
    is_htmx = bool(request.headers.get("HX-Request"))
    if request.method in SAFE_METHODS and not is_htmx:
        return redirect(_sign_in(request.full_path.rstrip("?")))
    way_in = _sign_in(_page_one_was_on())
    if is_htmx:
        return Response(status=401, headers={"HX-Redirect": way_in})
    if session_hash() is not None and request.accept_mimetypes.accept_html:
        return redirect(way_in, 303)
    return abort(401)


def _sign_in(path: str) -> str:
    has_ended = {"expired": "1"} if session_hash() is not None else {}
    asked = urlencode({**has_ended, **({"next": path} if path else {})}, safe="/")
    return f"/auth/sign-in?{asked}" if asked else "/auth/sign-in"


def _page_one_was_on() -> str:
    """The page of ours that sent this request, as far as the browser says; else nothing, as for the answer to a form,
    which has no page of its own."""
    page = parts_of(request.headers.get("HX-Current-URL") or request.headers.get("Referer") or "")
    if page.netloc != request.host or _only_takes_forms(page.path):
        return ""
    return safe_path(f"{page.path}?{page.query}" if page.query else page.path, "")


def _only_takes_forms(path: str) -> bool:
    methods = current_app.url_map.bind("").allowed_methods(path)
    return "POST" in methods and "GET" not in methods


def keep_or_drop(response: Response) -> Response:
    """Commit what a successful unsafe request did; everything else leaves no trace."""
    if request.method not in SAFE_METHODS and response.status_code < 400:
        keep_request()
    return response


def keep_request() -> None:
    """Commit the request's transaction, if it is still open: at its end, or before the platform is asked."""
    work: contextlib.ExitStack | None = g.pop("work", None)
    if work is not None:
        work.close()


def close(_error: BaseException | None) -> None:
    """End a transaction that is still open (streamed answers read from it until here)."""
    drop_request()


def drop_request() -> None:
    """Roll the request's transaction back, if it is still open."""
    work: contextlib.ExitStack | None = g.pop("work", None)
    if work is not None:
        g.session.rollback()
        work.close()


def shop_name() -> str:
    """The signed-in merchant's name, for the top of its pages."""
    if "shop_name" not in g:
        session: Session = g.session
        merchant = session.get(Merchant, g.staff.merchant_id) if g.staff and g.staff.merchant_id else None
        g.shop_name = merchant.name if merchant else ""
    return str(g.shop_name)
