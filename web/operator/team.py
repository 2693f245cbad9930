"""运营人员: who runs the platform, inviting more of them, and keeping one out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask import Blueprint, flash, g, redirect, render_template
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from core.errors import BusinessError, NotFound
from merchants import identities, second_factor, staff
from merchants.models import Staff, StaffRole
from web.acts import record
from web.auth.access import operator_required
from web.auth.pages import invitation_url
from web.context import current_runtime, now
from web.forms import Form, OneLine, Submission, blank, read_form
from web.security import limiter

blueprint = Blueprint("team", __name__, url_prefix="/team")


class InviteForm(Form):
    """An operator to be."""

    operator_name: OneLine


@dataclass(frozen=True)
class Colleague:
    """An operator, and how safely they sign in."""

    member: Staff
    has_second_factor: bool
    is_bound: bool


@blueprint.get("")
@operator_required
def index() -> str:
    """Everybody who may sign in here, and who may not any more."""
    return _team_page(blank())


@blueprint.post("")
@operator_required
@limiter.limit("20 per minute")
def invite() -> ResponseReturnValue:
    """A one-time link, shown in this answer and never again."""
    form = read_form(InviteForm)
    if form.data is None:
        return _team_page(form), 422
    token = staff.invite(g.session, name=form.data.operator_name, role=StaffRole.OPERATOR, now=now())
    record("staff.invite", role=StaffRole.OPERATOR)
    return _team_page(blank(), link=invitation_url(current_runtime().settings, token), invited=form.data.operator_name)


@blueprint.post("/<int:staff_id>/link")
@operator_required
@limiter.limit("20 per minute")
def new_link(staff_id: int) -> ResponseReturnValue:
    """Another link, for who lost the password or the phone: taking it starts afresh, without a second factor."""
    member = _operator(staff_id)
    token = staff.issue_link(g.session, member, now=now())
    record("staff.invite", f"staff:{staff_id}", role=StaffRole.OPERATOR)
    return _team_page(blank(), link=invitation_url(current_runtime().settings, token), invited=member.name)


@blueprint.post("/<int:staff_id>/disable")
@operator_required
def disable(staff_id: int) -> ResponseReturnValue:
    """Keep a colleague out from the next request on; never oneself, so that somebody is always left."""
    member = _operator(staff_id)
    if staff_id == g.staff.id:
        raise BusinessError(_("不能停用自己。请让另一位运营人员来做。"))
    staff.disable(g.session, staff_id=staff_id, now=now())
    record("staff.disable", f"staff:{staff_id}")
    flash(_("“%(name)s”不能再登录了。", name=member.name), "good")
    return redirect("/operator/team", 303)


def _operator(staff_id: int) -> Staff:
    member: Staff | None = g.session.get(Staff, staff_id)
    if member is None or member.role != StaffRole.OPERATOR or member.disabled_at is not None:
        raise NotFound(_("没有这个人。"))
    return member


def _team_page(form: Submission[Any], *, link: str = "", invited: str = "") -> str:
    """`link` is the one-time link that was just made, for `invited`."""
    return render_template(
        "operator/team.html",
        form=form,
        link=link,
        invited=invited,
        team=[
            Colleague(
                member,
                second_factor.is_on(g.session, member.id),
                identities.bound_since(g.session, staff_id=member.id) is not None,
            )
            for member in staff.operators(g.session)
        ],
    )
