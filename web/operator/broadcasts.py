"""群发的审批: a merchant's message as phones show it, whom it reaches and what it costs, agreed to or sent back."""

from __future__ import annotations

import json
from typing import Literal

from flask import Blueprint, Response, flash, g, redirect, render_template
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from sqlalchemy import select

from campaigns import audience
from campaigns.broadcasts import approval, content, writing
from campaigns.broadcasts.approval import Review
from campaigns.broadcasts.models import Broadcast, BroadcastState, NotReached, Route
from campaigns.broadcasts.reach import Forecast
from core.errors import BusinessError, Invalid, NotFound
from merchants import merchants
from merchants.models import Staff
from merchants.wording import Finding, Severity
from qrcodes import codes
from qrcodes.fans import Filter
from web.acts import record
from web.auth.access import operator_required
from web.broadcast_desk import audience_words, on_phone, reach_of
from web.context import current_runtime, now
from web.forms import Form, Paragraph, blank, read_form
from web.language import refusal_text
from web.merchant.benefit_conditions import coupon_name
from web.operator.desk import PAGE
from web.query import Id, Query, read_query

blueprint = Blueprint("broadcasts", __name__, url_prefix="/approvals/broadcasts")

HOME = "/operator/approvals/broadcasts"
ONE = "/<int:broadcast_id>"
DECISIONS = 20


class QueueQuery(Query):
    """Where in the queue, and where in the decisions."""

    after: Id | None = None
    before: Id | None = None


class ApproveForm(Form):
    """What the operator saw: its author may have changed it, and somebody else may have been faster."""

    seen: Paragraph


class ReturnForm(Form):
    """A reason, which the merchant reads."""

    was: Literal["submitted", "approved"]
    reason: Paragraph = ""


@blueprint.get("")
@operator_required
def index() -> str:
    """What waits, oldest first, and the latest decisions."""
    query = read_query(QueueQuery)
    waiting = approval.waiting(g.session, after=query.after or 0, limit=PAGE + 1)
    decided = approval.decided(g.session, before=query.before, limit=DECISIONS + 1)
    shown, past = waiting[:PAGE], decided[:DECISIONS]
    return render_template(
        "operator/broadcasts.html",
        waiting=[(one, _said(one)) for one in shown],
        decided=[(one, _said(one)) for one in past],
        names=merchants.names_of(g.session, {one.merchant_id for one in (*shown, *past) if one.merchant_id}),
        reviewers=_names({one.decided_by for one in past}),
        more_waiting=f"{HOME}?after={shown[-1].id}" if len(waiting) > PAGE else None,
        older=f"{HOME}?before={past[-1].id}" if len(decided) > DECISIONS else None,
        first=HOME if query.after or query.before else None,
    )


def _said(broadcast: Broadcast) -> str:
    words = content.load(g.session, broadcast.id).get("a")
    return "" if words is None else words.title or content.in_plain(words.text) or _("[图片]")


def _names(staff_ids: set[int | None]) -> dict[int, str]:
    rows = g.session.execute(select(Staff.id, Staff.name).where(Staff.id.in_(staff_ids - {None})))
    return {row[0]: row[1] for row in rows}


@blueprint.get(ONE)
@operator_required
def show(broadcast_id: int) -> str:
    """Words, reach and cost together, or what was agreed to."""
    return _page(_review(broadcast_id))


@blueprint.post(f"{ONE}/approve")
@operator_required
def approve(broadcast_id: int) -> ResponseReturnValue:
    """Agree to what was seen."""
    form = read_form(ApproveForm)
    if form.data is None:
        return _page(_review(broadcast_id)), 422
    try:
        approval.approve(
            g.session,
            broadcast_id=broadcast_id,
            operator_id=g.staff.id,
            operator_name=g.staff.name,
            seen=form.data.seen,
            public_url=_public_url(),
            new_code=current_runtime().new_code,
            now=now(),
        )
    except NotFound:
        raise
    except BusinessError as refusal:
        return _page(_review(broadcast_id), refusal), refusal.status
    review = _review(broadcast_id)
    record(
        "broadcast.approve",
        f"broadcast:{broadcast_id}",
        merchant_id=review.broadcast.merchant_id,
        hash=(review.broadcast.content_hash or b"").hex(),
        reached=review.forecast.reached,
        doubts=sorted({one.rule for one in review.findings}),
    )
    flash(_("已通过。到时间、又不是安静时间，就会发出。"), "good")
    return redirect(HOME, 303)


@blueprint.post(f"{ONE}/return")
@operator_required
def send_back(broadcast_id: int) -> ResponseReturnValue:
    """Ask for changes."""
    form = read_form(ReturnForm)
    review = _review(broadcast_id)
    if form.data is None:
        return _page(review), 422
    try:
        approval.send_back(
            g.session,
            broadcast_id=broadcast_id,
            operator_id=g.staff.id,
            reason=form.data.reason,
            was=BroadcastState(form.data.was),
            now=now(),
        )
    except (Invalid, approval.AlreadyDecided) as refusal:
        return _page(review, refusal), refusal.status
    record("broadcast.return", f"broadcast:{broadcast_id}", merchant_id=review.broadcast.merchant_id, was=form.data.was)
    flash(_("已退回，商户会看到原因。"), "good")
    return redirect(HOME, 303)


@blueprint.post(f"{ONE}/evidence")
@operator_required
def export(broadcast_id: int) -> ResponseReturnValue:
    """What was agreed to, as a file."""
    broadcast = _review(broadcast_id).broadcast
    if broadcast.evidence is None:
        raise NotFound(_("还没有通过过，没有依据。"))
    record("broadcast.export", f"broadcast:{broadcast_id}", merchant_id=broadcast.merchant_id)
    kept = {"broadcast": broadcast_id, "merchant": broadcast.merchant_id, **broadcast.evidence}
    response = Response(json.dumps(kept, ensure_ascii=False, indent=2), mimetype="application/json")
    response.headers["Content-Disposition"] = f'attachment; filename="broadcast-{broadcast_id}.json"'
    return response


def _public_url() -> str:
    return current_runtime().settings.public_url


def _review(broadcast_id: int) -> Review:
    return approval.review(g.session, broadcast_id=broadcast_id, public_url=_public_url(), now=now())


def _picture_url(picture_id: int | None) -> str | None:
    return None if picture_id is None else f"/operator/approvals/pictures/{picture_id}"


def _page(review: Review, refusal: BusinessError | None = None) -> str:
    broadcast = review.broadcast
    is_waiting = broadcast.state == BroadcastState.SUBMITTED
    has_evidence = broadcast.evidence is not None and not is_waiting and broadcast.state not in writing.WRITABLE
    kept = broadcast.evidence if has_evidence else None
    return render_template(
        "operator/broadcast.html",
        broadcast=broadcast,
        seen=review.seen,
        merchant_name=merchants.names_of(g.session, {broadcast.merchant_id or 0}).get(broadcast.merchant_id or 0, ""),
        messages=on_phone(review.words, _picture_url),
        targets=sorted({target for one in review.words.values() for target in content.targets(one.text)}),
        reach=reach_of(_kept_forecast(kept["forecast"]) if kept else review.forecast),
        findings=[Finding(**{**one, "severity": Severity(one["severity"])}) for one in kept["findings"]]
        if kept
        else review.findings,
        evidence=kept,
        reviewer=_names({broadcast.decided_by}).get(broadcast.decided_by or 0, ""),
        audience=_audience(broadcast),
        is_waiting=is_waiting,
        can_approve=is_waiting and not any(one.severity is Severity.REFUSED for one in review.findings),
        can_return=is_waiting or broadcast.state == BroadcastState.APPROVED,
        refusal=refusal_text(refusal) if refusal else None,
        form=blank(),
    )


def _kept_forecast(kept: dict[str, object]) -> Forecast:
    """A forecast as it was shown then."""
    routes, missed = kept["routes"], kept["missed"]
    assert isinstance(routes, dict)  # noqa: S101
    assert isinstance(missed, dict)  # noqa: S101
    return Forecast(
        audience=int(str(kept["audience"])),
        routes={Route(route): count for route, count in routes.items()},
        missed={NotReached(reason): count for reason, count in missed.items()},
        calls=int(str(kept["calls"])),
        share_left=int(str(kept["share_left"])),
    )


def _audience(broadcast: Broadcast) -> str:
    """Whom it is for, in one line."""
    label = None
    wanted: Filter = audience.as_filter(broadcast.wanted)
    if wanted.code_id and broadcast.merchant_id:
        found = codes.list_codes(g.session, merchant_id=broadcast.merchant_id)
        label = next((one.label for one in found if one.id == wanted.code_id), None)
    coupon = coupon_name(wanted, merchant_id=broadcast.merchant_id)
    return audience_words(wanted, code=label, coupon=coupon)
