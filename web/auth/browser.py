"""A browser that is not signed in yet, told from all others by a secret of its own while it is on its way in."""

from __future__ import annotations

from flask import Response, g, request

from merchants import staff
from web.context import current_runtime

LASTS_S = 15 * 60


def browser_hash() -> bytes | None:
    """What the database knows of this browser; None for one that has not begun anything."""
    token = g.get("browser_token") or request.cookies.get(_name())
    return staff.token_hash(token) if token else None


def begin_browser() -> bytes:
    """The same for a browser that begins something: it gets a new secret with this answer (`keep_browser`)."""
    g.browser_token = staff.new_token()
    return staff.token_hash(g.browser_token)


def keep_browser(response: Response) -> Response:
    """Hand the browser its secret."""
    response.set_cookie(
        _name(), g.browser_token, max_age=LASTS_S, httponly=True,
        secure=current_runtime().settings.has_secure_cookies, samesite="Lax", path="/",
    )  # fmt: skip
    return response


def drop_browser(response: Response) -> Response:
    """It has arrived, if it was on its way."""
    if "browser_token" not in g and _name() not in request.cookies:
        return response
    settings = current_runtime().settings
    response.delete_cookie(_name(), httponly=True, secure=settings.has_secure_cookies, samesite="Lax", path="/")
    return response


def _name() -> str:
    return "__Host-way" if current_runtime().settings.has_secure_cookies else "way"
