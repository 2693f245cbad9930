"""Binding one's WeChat to one's account, and ending it (the protocol and its reasons: `merchants.links`)."""

from __future__ import annotations

from flask import Blueprint, flash, g, redirect, request
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from core.errors import BusinessError
from merchants import identities, links
from merchants.models import LinkPurpose, LinkState, Staff
from web.acts import record
from web.auth.access import session_hash, signed_in
from web.auth.entry import go
from web.auth.pages import LAYOUTS
from web.auth.scan import picture_of
from web.context import now, sandbox_phone
from web.formats import device
from web.forms import Form, OneLine, read_form
from web.language import refusal_text
from web.live import live_page
from web.security import limiter

blueprint = Blueprint("binding", __name__, url_prefix="/auth/binding")


class NumberForm(Form):
    """The number the chat shows."""

    number: OneLine


@blueprint.get("")
@signed_in
def look() -> ResponseReturnValue:
    """Bound or not; a code to scan, and then the field for its number."""
    link = links.of_browser(g.session, purpose=LinkPurpose.BIND, browser_hash=session_hash())
    is_over = link is None or links.is_over(link, now())
    return live_page(
        "auth/binding.html",
        "auth/_binding.html",
        # Once somebody has scanned, the next step is a field, which must not be replaced while it is filled in.
        is_polling=not is_over and link is not None and link.state == LinkState.OPEN,
        layout=LAYOUTS[g.staff.role],
        bound_at=identities.bound_since(g.session, staff_id=g.staff.id),
        link=link,
        is_over=is_over,
        picture=picture_of(link),
        sandbox_url=sandbox_phone(link.url) if link and link.url else None,
    )


@blueprint.post("")
@signed_in
@limiter.limit("10 per minute")
def begin() -> ResponseReturnValue:
    """A code for this session."""
    key = session_hash()
    assert key is not None  # noqa: S101
    links.begin(
        g.session,
        purpose=LinkPurpose.BIND,
        browser_hash=key,
        device=device(request.user_agent.string),
        member=g.session.get_one(Staff, g.staff.id),
        now=now(),
    )
    return go("/auth/binding")


@blueprint.post("/confirm")
@signed_in
@limiter.limit("10 per minute")
def confirm() -> ResponseReturnValue:
    """The number from the chat: with the right one the WeChat is bound, with a wrong one the code is over."""
    form, key = read_form(NumberForm), session_hash()
    if form.data is None or key is None:
        flash(_("请输入微信里收到的两位核对码。"), "bad")
        return redirect("/auth/binding", 303)
    try:
        follower_id = links.use_for_binding(
            g.session, browser_hash=key, staff_id=g.staff.id, number=form.data.number, now=now()
        )
        identities.bind(g.session, g.session.get_one(Staff, g.staff.id), follower_id=follower_id, now=now())
    except links.WrongNumber as refusal:
        # Kept, unlike what other refusals began: the code is over, and the log says so.
        record("wechat.bind_refused", f"staff:{g.staff.id}")
        flash(refusal_text(refusal), "bad")
    except BusinessError as refusal:
        flash(refusal_text(refusal), "bad")
    else:
        flash(_("微信已绑定，以后扫一扫就能登录。"), "good")
    return redirect("/auth/binding", 303)


@blueprint.post("/end")
@signed_in
def end() -> ResponseReturnValue:
    """By password only, from now on."""
    if identities.unbind(g.session, staff_id=g.staff.id, now=now()):
        flash(_("已解除绑定，以后用密码登录。"), "good")
    return redirect("/auth/binding", 303)
