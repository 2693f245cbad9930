"""Coupons within the approvals: what merchants want to promise, with worked examples, let through or sent back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from flask import Blueprint, flash, g, redirect
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from pydantic import AwareDatetime, Field

from campaigns.coupons import templates, validity
from campaigns.coupons.models import CouponTemplate
from core.errors import Invalid, NotFound
from merchants import merchants, notices
from merchants.models import NoticeKind
from merchants.notices import News
from merchants.reviews import NotWaiting, ReviewState
from merchants.wording import Finding
from web.auth.access import operator_required
from web.context import now
from web.forms import Form, Paragraph, Submission, read_form
from web.operator import approvals
from web.operator.desk import PAGE

blueprint = Blueprint("coupon_approvals", __name__, url_prefix="/approvals/coupons")
blueprint.register_error_handler(NotWaiting, approvals.back_to_queue)

Moment = Annotated[AwareDatetime, Field()]


class DecisionForm(Form):
    """What the operator saw: when it was handed in."""

    seen: Moment


class RefusalForm(DecisionForm):
    """A refusal has a reason, which the merchant reads."""

    reason: Paragraph = ""


class StopForm(Form):
    """Why one must not be given any more."""

    reason: Paragraph = ""


@dataclass(frozen=True)
class Review:
    """One that waits, with whose it is and what it would come to."""

    template: CouponTemplate
    merchant_name: str
    worked: list[validity.Example]
    doubts: list[Finding]


def waiting() -> list[Review]:
    """What merchants have handed in, the oldest first."""
    rows = templates.waiting(g.session, limit=PAGE)
    names = merchants.names_of(g.session, {row.merchant_id for row in rows})
    return [
        Review(
            row,
            names[row.merchant_id],
            validity.worked_examples(row, now=now()),
            templates.doubts(g.session, row),
        )
        for row in rows
    ]


@blueprint.post("/<int:coupon_template_id>/approve")
@operator_required
def approve(coupon_template_id: int) -> ResponseReturnValue:
    """Let it be given."""
    _known(coupon_template_id)
    form = read_form(DecisionForm)
    if form.data is None:
        return approvals.page(approvals.Refused("coupon", coupon_template_id, form)), 422
    try:
        template = templates.approve(
            g.session, template_id=coupon_template_id, operator_id=g.staff.id, seen=form.data.seen, now=now()
        )
    except Invalid as refusal:
        form.errors[""] = refusal.message
        return approvals.page(approvals.Refused("coupon", coupon_template_id, form)), 422
    _tell(template, NoticeKind.APPROVED, form.data.seen)
    flash(_("已通过，从现在起就能领。"), "good")
    return redirect(approvals.QUEUE, 303)


@blueprint.post("/<int:coupon_template_id>/reject")
@operator_required
def reject(coupon_template_id: int) -> ResponseReturnValue:
    """Send it back with a reason."""
    _known(coupon_template_id)
    form = read_form(RefusalForm)
    if form.data is None:
        return approvals.page(approvals.Refused("coupon", coupon_template_id, form)), 422
    try:
        template = templates.reject(
            g.session,
            template_id=coupon_template_id,
            operator_id=g.staff.id,
            seen=form.data.seen,
            reason=form.data.reason,
            now=now(),
        )
    except Invalid as refusal:
        form.refuse(refusal)
        return approvals.page(approvals.Refused("coupon", coupon_template_id, form)), 422
    _tell(template, NoticeKind.REFUSED, form.data.seen, form.data.reason)
    flash(_("已驳回，商户会看到原因。"), "good")
    return redirect(approvals.QUEUE, 303)


@blueprint.post("/<int:coupon_template_id>/stop")
@operator_required
def stop(coupon_template_id: int) -> ResponseReturnValue:
    """End one that must not be given any more; what was given is honoured."""
    _known(coupon_template_id)
    form: Submission[StopForm] = read_form(StopForm)
    if form.data is None:
        raise Invalid(_("请写明原因。"), field="reason")
    template = templates.stop(
        g.session, template_id=coupon_template_id, operator_id=g.staff.id, reason=form.data.reason
    )
    _tell(template, NoticeKind.REFUSED, now(), form.data.reason)
    flash(_("已停掉，不再发；发出去的照样能用。"), "good")
    return redirect("/operator/benefits", 303)


def _known(coupon_template_id: int) -> CouponTemplate:
    found: CouponTemplate | None = g.session.get(CouponTemplate, coupon_template_id)
    if found is None or found.review == ReviewState.WITHDRAWN:
        raise NotFound("没有这张券。")
    return found


def _tell(template: CouponTemplate, kind: NoticeKind, seen: datetime, reason: str = "") -> None:
    """Let the merchant's people know; each handing in is a cause of its own."""
    news = News(
        kind,
        cause=f"{notices.COUPON}{template.id}:{kind}:{seen:%Y%m%dT%H%M%S}",
        path=f"/merchant/coupons/{template.id}",
        subject=template.name,
        reason=reason,
    )
    notices.tell(g.session, merchant_id=template.merchant_id, news=news, now=now())
