"""The operators' second factor: switching it on and off, and the step it adds to signing in by password."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, flash, g, redirect, render_template
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from pydantic import SecretStr

from core.database import Role
from core.errors import Invalid
from merchants import second_factor, steps
from merchants.models import Staff, StepPurpose
from web.auth.access import operator_required, public
from web.auth.browser import browser_hash
from web.auth.entry import let_in
from web.auth.scan import picture_address
from web.context import current_runtime, now
from web.forms import Form, Submission, blank, read_form
from web.security import client_address, limiter

blueprint = Blueprint("second_factor", __name__, url_prefix="/auth")


class CodeForm(Form):
    """Six digits of the app, or a recovery code."""

    code: SecretStr


def browser_and_address() -> str:
    """Tries are counted for who is at the step, wherever they come from."""
    return f"{(browser_hash() or b'').hex()}|{client_address()}"


@blueprint.get("/second-step")
@public
def ask() -> ResponseReturnValue:
    """The password was right; now the code."""
    return _step_page(blank())


@blueprint.post("/second-step")
@public
@limiter.limit("5 per minute", key_func=browser_and_address)
@limiter.limit("30 per minute")
def check() -> ResponseReturnValue:
    """Let in with a code that was never used; a few tries, then it starts over with the password."""
    form = read_form(CodeForm)
    runtime = current_runtime()
    with runtime.transaction(Role.PLATFORM) as session:
        step = steps.find(session, purpose=StepPurpose.SECOND_FACTOR, browser_hash=browser_hash(), now=now())
        if step is None or step.staff_id is None or not steps.count_try(session, step, now=now()):
            flash(_("太久了或试得太多，请过十分钟再登录。"), "bad")
            return redirect("/auth/sign-in", 303)
        if form.data is not None:
            code = form.data.code.get_secret_value()
            member = session.get_one(Staff, step.staff_id)
            if second_factor.check(session, member.id, code, runtime.keyed_id) and steps.finish(session, step):
                return let_in(session, member, by="second factor", target=step.target)
    form.errors.setdefault("code", _("验证码不对或已经用过。请等下一个，或用一个恢复码。"))
    return _step_page(form), 401


def _step_page(form: Submission[Any]) -> str:
    return render_template("auth/second_step.html", form=form)


@blueprint.get("/second-factor")
@operator_required
def settings() -> ResponseReturnValue:
    """On or off; while it is being switched on, the code for the app."""
    return _settings_page(blank())


@blueprint.post("/second-factor")
@operator_required
@limiter.limit("10 per minute")
def begin() -> ResponseReturnValue:
    """A new secret to scan; nothing changes until its first code was right."""
    second_factor.begin(g.session, g.staff.id)
    return redirect("/auth/second-factor", 303)


@blueprint.post("/second-factor/confirm")
@operator_required
@limiter.limit("10 per minute")
def confirm() -> ResponseReturnValue:
    """The first code: from now on it is asked for, and this answer alone shows the recovery codes."""
    form = read_form(CodeForm)
    if form.data is not None:
        try:
            codes = second_factor.confirm(
                g.session, g.staff.id, form.data.code.get_secret_value(), current_runtime().keyed_id
            )
        except Invalid as refusal:
            form.refuse(refusal)
        else:
            return render_template("auth/recovery_codes.html", codes=codes)
    return _settings_page(form), 422


@blueprint.post("/second-factor/end")
@operator_required
@limiter.limit("5 per minute")
def end() -> ResponseReturnValue:
    """Off again, by who can still give a code."""
    form = read_form(CodeForm)
    if form.data is not None:
        try:
            second_factor.switch_off(
                g.session, g.staff.id, form.data.code.get_secret_value(), current_runtime().keyed_id
            )
        except Invalid as refusal:
            form.refuse(refusal)
        else:
            flash(_("两步验证已关闭。"), "good")
            return redirect("/auth/second-factor", 303)
    return _settings_page(form), 422


def _settings_page(form: Submission[Any]) -> str:
    waiting = second_factor.pending(g.session, g.staff.id)
    secret = second_factor.secret_of(waiting, current_runtime().keyed_id) if waiting else b""
    login = g.session.get_one(Staff, g.staff.id).login or g.staff.name
    url = second_factor.app_url(secret, account=login)
    return render_template(
        "auth/second_factor.html",
        form=form,
        is_on=second_factor.is_on(g.session, g.staff.id),
        is_waiting=waiting is not None,
        secret=second_factor.secret_text(secret),
        picture=picture_address(url) if waiting else "",
        codes_left=second_factor.codes_left(g.session, g.staff.id),
    )
