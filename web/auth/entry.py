"""The door: whoever has proved who they are, by whatever means, gets a session here and goes on."""

from __future__ import annotations

from flask import Response, make_response, redirect, request
from flask import session as form_session
from sqlalchemy.orm import Session

from core.errors import BusinessError
from merchants import identities, staff, steps
from merchants.models import Staff, StaffRole, StepPurpose
from web.auth.access import session_hash, set_cookie
from web.auth.browser import begin_browser, drop_browser, keep_browser
from web.context import now
from web.errors import home_of
from web.security import safe_path


class KeptOut(BusinessError):
    """Disabled, or of a merchant that was suspended, since the first step of the sign-in."""

    code = "kept_out"
    status = 403
    message = "这个账号现在不能登录，请联系运营人员。"


def let_in(session: Session, member: Staff, *, by: str, target: str = "") -> Response:
    """A new session in place of whatever this browser had, a new form token, and on to where they wanted to go."""
    if not staff.may_sign_in(session, member):
        raise KeptOut
    former = session_hash()
    if former is not None:
        staff.forget_session(session, token_hash=former)
    staff.record_sign_in(session, member, by=by)
    token = staff.open_session(session, member, user_agent=request.user_agent.string, now=now())
    form_session.clear()
    response = go(safe_path(target, home_of(StaffRole(member.role))))
    set_cookie(response, token)
    return drop_browser(response)


def let_in_by_wechat(session: Session, *, follower_id: int, by: str, target: str) -> Response | None:
    """Let a WeChat identity in: at once with one job, by a choice with several; None for one that has none."""
    jobs = identities.jobs_of(session, follower_id=follower_id)
    if not jobs:
        return None
    if len(jobs) == 1:
        return let_in(session, session.get_one(Staff, jobs[0].staff_id), by=by, target=target)
    steps.begin(
        session,
        purpose=StepPurpose.CHOOSE,
        browser_hash=begin_browser(),
        now=now(),
        target=target,
        by=by,
        follower_id=follower_id,
    )
    return keep_browser(go("/auth/choose"))


def go(path: str) -> Response:
    """On to a page, whether the browser or htmx asked."""
    if request.headers.get("HX-Request"):
        return Response(status=204, headers={"HX-Redirect": path})
    return make_response(redirect(path, 303))
