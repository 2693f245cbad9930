"""Accepting an invitation, signing in and out, and one's own account."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, flash, g, make_response, redirect, render_template, request
from flask import session as form_session
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from pydantic import SecretStr
from sqlalchemy.orm import Session

from core.database import Role
from core.errors import Invalid
from core.settings import Settings
from merchants import identities, second_factor, staff, steps
from merchants.models import Staff, StaffRole, StepPurpose
from web.auth.access import drop_cookie, public, set_cookie, signed_in
from web.auth.browser import begin_browser, keep_browser
from web.auth.entry import go, let_in
from web.context import current_runtime, now
from web.forms import Form, Submission, blank, read_form
from web.security import client_address, limiter, safe_path

blueprint = Blueprint("auth", __name__, url_prefix="/auth")

LAYOUTS = {
    StaffRole.OPERATOR: "layouts/operator.html",
    StaffRole.OWNER: "layouts/merchant.html",
    StaffRole.CLERK: "layouts/merchant.html",
}


class InvitationForm(Form):
    """Choosing how to sign in from now on."""

    login: str
    password: SecretStr
    again: SecretStr


class SignInForm(Form):
    """Name and password, and where to go afterwards."""

    login: str
    password: SecretStr
    next: str = ""


class PasswordForm(Form):
    """A new password, by somebody who knows the current one."""

    current: SecretStr
    new: SecretStr
    again: SecretStr


def invitation_url(settings: Settings, token: str) -> str:
    """The one-time link to hand to somebody."""
    return f"{settings.public_url}/auth/invitation/{token}"


def login_and_address() -> str:
    """Sign-in tries are counted per name and address, so that a stranger elsewhere locks nobody out."""
    return f"{staff.normal_login(request.form.get('login', ''))[:64]}|{client_address()}"


@blueprint.get("/invitation/<token>")
@public
@limiter.limit("30 per minute")
def invitation(token: str) -> ResponseReturnValue:
    """Who is invited, and the form to choose a name and password."""
    with current_runtime().transaction(Role.PLATFORM) as session:
        member = staff.invited(session, token=token, now=now())
        return render_template("auth/invitation.html", form=blank(login=member.login), member=member)


@blueprint.post("/invitation/<token>")
@public
@limiter.limit("10 per minute")
def accept_invitation(token: str) -> ResponseReturnValue:
    """Use the link up and sign in."""
    form = read_form(InvitationForm)
    with current_runtime().transaction(Role.PLATFORM) as session:
        member = staff.invited(session, token=token, now=now())
    if form.data is not None:
        try:
            return _accept(token, form.data)
        except Invalid as refusal:
            form.refuse(refusal)
    return render_template("auth/invitation.html", form=form, member=member), 422


def _accept(token: str, data: InvitationForm) -> Response:
    password = _twice_the_same(data.password, data.again)
    with current_runtime().transaction(Role.PLATFORM) as session:
        member = staff.accept(session, token=token, login=data.login, password=password, now=now())
        return let_in(session, member, by="invitation")


@blueprint.get("/sign-in")
@public
def sign_in() -> ResponseReturnValue:
    """Name and password; who was here and stayed away too long is told why they are asked again."""
    form = blank(next=safe_path(request.args.get("next"), ""))
    return _sign_in_page(form, has_expired=bool(request.args.get("expired")))


@blueprint.post("/sign-in")
@public
@limiter.limit("5 per minute", key_func=login_and_address)
@limiter.limit("60 per minute")
def check_sign_in() -> ResponseReturnValue:
    """Let in, or say the same about a wrong password and an unknown name (#85)."""
    form = read_form(SignInForm)
    if form.data is None:
        return _sign_in_page(form), 422
    with current_runtime().transaction(Role.PLATFORM) as session:
        member = staff.sign_in(
            session, login=form.data.login, password=form.data.password.get_secret_value(), now=now()
        )
        if member is not None:
            return _go_on(session, member, form.data.next)
    form.errors[""] = _("登录名或密码不对。")
    return _sign_in_page(form), 401


def _sign_in_page(form: Submission[Any], *, has_expired: bool = False) -> str:
    is_in_wechat = "MicroMessenger" in request.user_agent.string or current_runtime().settings.is_sandbox
    return render_template("auth/sign_in.html", form=form, is_in_wechat=is_in_wechat, has_expired=has_expired)


def _go_on(session: Session, member: Staff, target: str) -> Response:
    """The password was right: let them in, or ask for the second factor first."""
    if not second_factor.is_on(session, member.id):
        return let_in(session, member, by="password", target=target)
    steps.begin(
        session,
        purpose=StepPurpose.SECOND_FACTOR,
        browser_hash=begin_browser(),
        now=now(),
        target=target,
        by="password",
        staff_id=member.id,
    )
    return keep_browser(go("/auth/second-step"))


@blueprint.post("/sign-out")
@signed_in
def sign_out() -> ResponseReturnValue:
    """End this session."""
    staff.end_session(g.session, staff_id=g.staff.id, session_id=g.staff.login_session_id)
    form_session.clear()
    flash(_("您已退出登录。"), "good")
    response = make_response(redirect("/auth/sign-in", 303))
    drop_cookie(response)
    return response


@blueprint.get("/account")
@signed_in
def account() -> ResponseReturnValue:
    """Oneself: name, password, and where one is signed in."""
    return _account_page(blank())


@blueprint.post("/account/password")
@signed_in
@limiter.limit("10 per minute")
def change_password() -> ResponseReturnValue:
    """Change the password; this browser stays signed in under a new token, all others are out."""
    form = read_form(PasswordForm)
    if form.data is None:
        return _account_page(form), 422
    try:
        staff.change_password(
            g.session,
            staff_id=g.staff.id,
            current=form.data.current.get_secret_value(),
            new=_twice_the_same(form.data.new, form.data.again),
            keep_session_id=g.staff.login_session_id,
        )
    except Invalid as refusal:
        form.refuse(refusal)
        return _account_page(form), 422
    flash(_("密码已修改，其他地方的登录都已退出。"), "good")
    response = make_response(redirect("/auth/account", 303))
    set_cookie(response, staff.rotate(g.session, session_id=g.staff.login_session_id))
    return response


@blueprint.post("/account/sessions/<int:session_id>/end")
@signed_in
def end_session(session_id: int) -> ResponseReturnValue:
    """Sign oneself out somewhere else."""
    staff.end_session(g.session, staff_id=g.staff.id, session_id=session_id)
    flash(_("已退出那一处登录。"), "good")
    return redirect("/auth/account", 303)


def _twice_the_same(password: SecretStr, again: SecretStr) -> str:
    if password != again:
        raise Invalid("两次输入的密码不一样。", field="again")
    return password.get_secret_value()


def _account_page(form: Submission[Any]) -> str:
    return render_template(
        "auth/account.html",
        layout=LAYOUTS[g.staff.role],
        form=form,
        login=g.session.get_one(Staff, g.staff.id).login,
        sessions=staff.sessions_of(g.session, staff_id=g.staff.id, now=now()),
        role_name=role_name(g.staff.role),
        bound_at=identities.bound_since(g.session, staff_id=g.staff.id),
        has_second_factor=second_factor.is_on(g.session, g.staff.id),
    )


@blueprint.app_template_filter()
def role_name(role: StaffRole) -> str:
    """What a role is called on pages."""
    match role:
        case StaffRole.OPERATOR:
            return str(_("运营人员"))
        case StaffRole.OWNER:
            return str(_("店主"))
        case StaffRole.CLERK:
            return str(_("店员"))
