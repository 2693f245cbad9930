"""Signing in on a desk by scanning, and choosing as whom (the protocol and its reasons: `merchants.links`)."""

from __future__ import annotations

from base64 import b64encode

from flask import Blueprint, flash, redirect, render_template, request
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from pydantic import Field

from core.database import Role
from core.errors import BusinessError
from merchants import identities, links, steps
from merchants.models import LinkPurpose, LinkState, Staff, StaffLink, StepPurpose
from qrcodes import images
from web.auth.access import public
from web.auth.browser import begin_browser, browser_hash, keep_browser
from web.auth.entry import go, let_in, let_in_by_wechat
from web.context import current_runtime, now, sandbox_phone
from web.formats import device
from web.forms import Form, read_form
from web.language import refusal_text
from web.live import live_page
from web.security import limiter, safe_path

blueprint = Blueprint("scan", __name__, url_prefix="/auth")


class TargetForm(Form):
    """Where to go afterwards."""

    next: str = ""


class ChoiceForm(Form):
    """As whom."""

    staff_id: int = Field(ge=1, le=2**63 - 1)


def everybody() -> str:
    """One count for all: codes come out of the account's daily allowance, which strangers must not use up."""
    return "everybody"


@blueprint.post("/scan")
@public
@limiter.limit("10 per minute")
@limiter.limit("1000 per hour", key_func=everybody)
def begin() -> ResponseReturnValue:
    """A code for this browser; a worker asks the platform for it."""
    form = read_form(TargetForm)
    target = safe_path(form.data.next, "") if form.data else ""
    with current_runtime().transaction(Role.PLATFORM) as session:
        links.begin(
            session,
            purpose=LinkPurpose.SIGN_IN,
            browser_hash=begin_browser(),
            device=device(request.user_agent.string),
            target=target,
            now=now(),
        )
    return keep_browser(go("/auth/scan"))


@blueprint.get("/scan")
@public
def look() -> ResponseReturnValue:
    """The code, then the number to send, then the way in; asks again until something is decided."""
    with current_runtime().transaction(Role.PLATFORM) as session:
        link = links.of_browser(session, purpose=LinkPurpose.SIGN_IN, browser_hash=browser_hash())
    is_over = link is None or links.is_over(link, now())
    return live_page(
        "auth/scan.html",
        "auth/_scan.html",
        is_polling=not is_over and link is not None and link.state != LinkState.CONFIRMED,
        link=link,
        is_over=is_over,
        picture=picture_of(link),
        sandbox_url=sandbox_phone(link.url) if link and link.url else None,
    )


@blueprint.post("/scan/enter")
@public
@limiter.limit("20 per minute")
def enter() -> ResponseReturnValue:
    """In, for the browser whose number was sent from a bound WeChat."""
    mine = browser_hash()
    if mine is None:
        raise links.LinkOver
    with current_runtime().transaction(Role.PLATFORM) as session:
        try:
            follower_id, target = links.use_for_sign_in(session, browser_hash=mine, now=now())
        except links.LinkOver as refusal:
            flash(refusal_text(refusal), "bad")
            return go("/auth/sign-in")
        response = let_in_by_wechat(session, follower_id=follower_id, by="scan", target=target)
    if response is None:
        flash(_("这个微信现在不能登录。请用密码登录，或联系运营人员。"), "bad")
        return go("/auth/sign-in")
    return response


@blueprint.get("/choose")
@public
def choose() -> ResponseReturnValue:
    """The places where this person works."""
    with current_runtime().transaction(Role.PLATFORM) as session:
        step = steps.find(session, purpose=StepPurpose.CHOOSE, browser_hash=browser_hash(), now=now())
        if step is None or step.follower_id is None:
            return redirect("/auth/sign-in", 303)
        jobs = identities.jobs_of(session, follower_id=step.follower_id)
    return render_template("auth/choose.html", jobs=jobs)


@blueprint.post("/choose")
@public
@limiter.limit("20 per minute")
def chosen() -> ResponseReturnValue:
    """In, as one of them."""
    form = read_form(ChoiceForm)
    with current_runtime().transaction(Role.PLATFORM) as session:
        step = steps.find(session, purpose=StepPurpose.CHOOSE, browser_hash=browser_hash(), now=now())
        if step is None or step.follower_id is None or form.data is None:
            raise links.LinkOver
        jobs = identities.jobs_of(session, follower_id=step.follower_id)
        if form.data.staff_id not in {job.staff_id for job in jobs}:
            raise NotYours
        if not steps.finish(session, step):
            raise links.LinkOver
        return let_in(session, session.get_one(Staff, form.data.staff_id), by=step.by, target=step.target)


class NotYours(BusinessError):
    """A place where this person does not work, or not any more."""

    code = "not_yours"
    status = 404
    message = "没有这个人。"


def picture_of(link: StaffLink | None) -> str | None:
    """The code as an address that holds its own picture."""
    return None if link is None or link.url is None else picture_address(link.url)


def picture_address(says: str) -> str:
    """A code that says this; in pixels, since a phone recognises those when the picture is held down."""
    return "data:image/png;base64," + b64encode(images.png(says, size=480)).decode()
