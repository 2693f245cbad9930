"""Signing in inside WeChat without typing: to the platform's authorization page and back (AU-1, AU-2).

The way back is the one GET that lets somebody in, since WeChat comes back by GET; the state, which only this browser
holds and which works once, is what the form token is elsewhere.
"""

from __future__ import annotations

import re

import structlog
from flask import Blueprint, Response, redirect, render_template, request
from flask.typing import ResponseReturnValue

from core.database import Role
from merchants import identities, staff, steps
from merchants.models import StaffRole
from web.auth.access import public, session_hash
from web.auth.browser import begin_browser, browser_hash, keep_browser
from web.auth.entry import let_in_by_wechat
from web.context import current_runtime, now
from web.errors import home_of
from web.security import limiter, safe_path
from wechat.errors import SignInAgain, WeChatError
from wechat.oauth import OAuth, OAuthIdentity

blueprint = Blueprint("wechat_sign_in", __name__, url_prefix="/auth/wechat")

log = structlog.get_logger(__name__)

_CODE = re.compile(r"[A-Za-z0-9_-]{1,512}")


@blueprint.get("")
@public
@limiter.limit("30 per minute")
def leave() -> ResponseReturnValue:
    """To WeChat, which knows who is holding the phone; whoever is signed in already goes straight on."""
    target = safe_path(request.args.get("next"), "")
    key = session_hash()
    if key is not None:
        with current_runtime().transaction(Role.PLATFORM) as session:
            found = staff.resume(session, token_hash=key, now=now())
        if found is not None:
            return redirect(safe_path(target, home_of(StaffRole(found[1].role))), 303)
    return _to_wechat(target, tries=0)


@blueprint.get("/back")
@public
@limiter.limit("30 per minute")
def come_back() -> ResponseReturnValue:
    """From WeChat: a known state is used up, its code exchanged once, and a bound identity let in."""
    state, code = request.args.get("state", ""), request.args.get("code", "")
    with current_runtime().transaction(Role.PLATFORM) as session:
        known = steps.use_oauth(session, state=state, browser_hash=browser_hash(), now=now())
    if known is None:
        return _page("reopen", 400)
    target, tries = known
    if _CODE.fullmatch(code) is None or code == "authdeny":
        return _page("refused", 400)
    try:
        identity = OAuth.build(current_runtime().settings).exchange(code)
    except SignInAgain:
        # The Back button brings a used code; once round again is enough for that.
        return _to_wechat(target, tries=1) if tries == 0 else _page("reopen", 400)
    except WeChatError as error:
        log.error("web authorization failed", kind=type(error).__name__, errcode=error.errcode)
        return _page("away", 503)
    if identity.snapshot:
        return _page("snapshot", 200)
    return _enter(identity, target)


def _enter(identity: OAuthIdentity, target: str) -> ResponseReturnValue:
    runtime = current_runtime()
    key = identities.person_key(runtime, identity.openid)
    with runtime.transaction(Role.PLATFORM) as session:
        follower_id = identities.follower_of(session, person_key=key)
        response = None
        if follower_id is not None:
            response = let_in_by_wechat(session, follower_id=follower_id, by="wechat", target=target)
    return _page("unbound", 200) if response is None else response


def _to_wechat(target: str, *, tries: int) -> Response:
    runtime = current_runtime()
    with runtime.transaction(Role.PLATFORM) as session:
        state = steps.begin_oauth(session, browser_hash=begin_browser(), target=target, now=now(), tries=tries)
    back = f"{runtime.settings.public_url}/auth/wechat/back"
    response = redirect(OAuth.build(runtime.settings).authorize_url(back, state))
    assert isinstance(response, Response)  # noqa: S101
    return keep_browser(response)


def _page(what: str, status: int) -> ResponseReturnValue:
    return render_template("auth/wechat.html", what=what), status
