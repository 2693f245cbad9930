"""邀请奖励: what is held with what is known of the people around it, released or refused with a note; and who brings
the most (RF-7)."""

from __future__ import annotations

from typing import Any, Final

from flask import Blueprint, flash, g, redirect, render_template
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l

from campaigns.referrals import review
from campaigns.referrals.models import ReferralReward, Suspicion
from core.errors import Invalid, NotFound
from web.acts import record
from web.auth.access import operator_required
from web.context import now
from web.forms import Form, Paragraph, Submission, blank, read_form
from web.query import Id, Query, read_query

blueprint = Blueprint("referrals", __name__, url_prefix="/benefits/referrals")

HOME: Final = "/operator/benefits/referrals"
PAGE: Final = 20
SUSPICIONS: Final[dict[Suspicion, Any]] = {
    Suspicion.BURST: _l("来得太集中"),
    Suspicion.RING: _l("一串人互相介绍"),
    Suspicion.ADDRESS: _l("来自同一网络"),
    Suspicion.STAFF: _l("涉及本店员工"),
}


class HeldQuery(Query):
    """Where in the list."""

    after: Id | None = None


class DecisionForm(Form):
    """Why it is released or refused."""

    note: Paragraph = ""


@blueprint.get("")
@operator_required
def index() -> str:
    """What waits, the oldest first."""
    return _page(read_query(HeldQuery).after or 0, {})


@blueprint.get("/inviters")
@operator_required
def inviters() -> str:
    """Who brings the most, and whether those they bring come back."""
    return render_template("operator/referral_inviters.html", rows=review.inviters(g.session, now=now()))


@blueprint.post("/<int:reward_id>/release")
@operator_required
def release(reward_id: int) -> ResponseReturnValue:
    """Pay it by the merchant's rule."""
    reward, form = _reward(reward_id), read_form(DecisionForm)
    if form.data is None:
        return _page(reward_id - 1, {reward_id: form}), 422
    try:
        review.release(g.session, reward_id=reward_id, operator_id=g.staff.id, note=form.data.note, now=now())
    except Invalid as refusal:
        form.refuse(refusal)
        return _page(reward_id - 1, {reward_id: form}), 422
    record("referral.release", f"reward:{reward_id}", merchant_id=reward.merchant_id, note=form.data.note)
    flash(_("已放行，积分已按商户的规则发出。"), "good")
    return redirect(HOME, 303)


@blueprint.post("/<int:reward_id>/refuse")
@operator_required
def refuse(reward_id: int) -> ResponseReturnValue:
    """Never pay it."""
    reward, form = _reward(reward_id), read_form(DecisionForm)
    if form.data is None:
        return _page(reward_id - 1, {reward_id: form}), 422
    try:
        review.refuse(g.session, reward_id=reward_id, operator_id=g.staff.id, note=form.data.note, now=now())
    except Invalid as refusal:
        form.refuse(refusal)
        return _page(reward_id - 1, {reward_id: form}), 422
    record("referral.refuse", f"reward:{reward_id}", merchant_id=reward.merchant_id, note=form.data.note)
    flash(_("已拒绝，不发积分。"), "good")
    return redirect(HOME, 303)


def _reward(reward_id: int) -> ReferralReward:
    reward: ReferralReward | None = g.session.get(ReferralReward, reward_id)
    if reward is None:
        raise NotFound("没有这笔奖励。")
    return reward


def _page(after: int, forms: dict[int, Submission[Any]]) -> str:
    found = review.held(g.session, after=after, limit=PAGE + 1)
    shown = found[:PAGE]
    return render_template(
        "operator/referrals.html",
        held=[(one, forms.get(one.id) or blank(), _why(one)) for one in shown],
        waiting=review.how_many_held(g.session),
        older=f"{HOME}?after={shown[-1].id}" if len(found) > PAGE else None,
    )


def _why(one: review.Held) -> list[str]:
    return [str(SUSPICIONS[suspicion]) for suspicion in one.suspicions]
