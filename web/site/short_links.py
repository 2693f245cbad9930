"""Short links of broadcasts, counted when somebody opens one, and the public page of an article."""

from __future__ import annotations

import re
import secrets
from typing import Final

from flask import Blueprint, Response, redirect, render_template, request
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from campaigns.broadcasts import content, links
from core.clock import business_day
from core.database import Role
from core.errors import NotFound
from web.auth.access import public
from web.context import current_runtime, now
from web.security import limiter
from web.site.shopfront import missed

blueprint = Blueprint("short_links", __name__)

COOKIE_LASTS_S: Final = 24 * 60 * 60
guesses = limiter.shared_limit("30 per minute", scope="short links", deduct_when=missed)
_MACHINES: Final = re.compile(r"bot|spider|crawl|preview|monitor|curl|python|wget|headless", re.IGNORECASE)


@blueprint.get("/s/<code>")
@public
@guesses
def follow(code: str) -> ResponseReturnValue:
    """Go on to where the link leads; people are counted, machines and mere looks are not."""
    runtime = current_runtime()
    known = request.cookies.get(_cookie(), "")
    token = known if re.fullmatch(r"[\w-]{22}", known) else secrets.token_urlsafe(16)
    with runtime.transaction(Role.FAN) as session:
        found = links.target_of(session, code)
        if found is None:
            raise NotFound(_("这个链接已经没有了。"))
        link_id, merchant_id, target = found
        if _is_somebody():
            visitor = runtime.keyed_id("link taps", business_day(now()).isoformat(), token)[:16]
            links.note_tap(session, link_id=link_id, merchant_id=merchant_id, visitor=visitor)
    response = redirect(target, 302, Response=Response)
    response.headers["Cache-Control"] = "no-store"
    if token != known:
        is_secure = runtime.settings.has_secure_cookies
        response.set_cookie(
            _cookie(), token, max_age=COOKIE_LASTS_S, httponly=True, secure=is_secure, samesite="Lax", path="/"
        )
    return response


@blueprint.get("/read/<code>")
@public
@guesses
def read(code: str) -> ResponseReturnValue:
    """An article, where its card in the chat leads."""
    with current_runtime().transaction(Role.FAN) as session:
        article = links.article(session, code)
    if article is None:
        raise NotFound(_("这个链接已经没有了。"))
    return render_template("site/article.html", article=article, paragraphs=content.paragraphs(article.text))


def _is_somebody() -> bool:
    """Not a robot, and not a browser or a proxy that only looks ahead."""
    looks_ahead = {request.headers.get(name, "").lower() for name in ("Purpose", "Sec-Purpose", "X-Purpose")}
    agent = request.headers.get("User-Agent", "")
    return (
        request.method == "GET"
        and not any("prefetch" in one or "preview" in one for one in looks_ahead)
        and bool(agent)
        and _MACHINES.search(agent) is None
    )


def _cookie() -> str:
    return "__Host-tap" if current_runtime().settings.has_secure_cookies else "tap"
