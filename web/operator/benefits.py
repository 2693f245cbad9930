"""优惠与积分: what all merchants have promised, who owes whom in the alliance, who redeemed their own coupons, and
whom the operator lets claim nothing."""

from __future__ import annotations

from typing import Literal

from flask import Blueprint, flash, g, redirect, render_template
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from campaigns.coupons import alliance as allied
from campaigns.coupons import oversight, statistics
from campaigns.coupons.models import TemplateState
from core.errors import Invalid, NotFound
from merchants import merchants
from web.acts import record
from web.auth.access import operator_required
from web.benefit_words import month_chips, month_named
from web.context import now
from web.forms import Form, Paragraph, Submission, blank, read_form
from web.operator.benefit_exports import DaysQuery
from web.operator.desk import PAGE, here, page_of
from web.query import Id, Query, read_query

blueprint = Blueprint("benefits", __name__, url_prefix="/benefits")

HOME = "/operator/benefits"
SHOWN = 500


class KindsQuery(Query):
    """Which kinds of coupons."""

    state: Literal["draft", "live", "paused", "ended"] | None = None
    before: Id | None = None


class RedemptionsQuery(DaysQuery):
    """Which redemptions."""

    own: Literal["1"] | None = None
    before: Id | None = None


class BlockForm(Form):
    """Why somebody may claim nothing."""

    reason: Paragraph = ""


@blueprint.get("")
@operator_required
def index() -> str:
    """Every merchant's kinds of coupons."""
    query = read_query(KindsQuery)
    found = oversight.kinds(
        g.session,
        state=TemplateState(query.state) if query.state else None,
        before=query.before,
        limit=PAGE + 1,
    )
    page = page_of(found, lambda kind: kind.template.id)
    return render_template(
        "operator/benefits.html",
        page=page,
        state=query.state,
        states=[
            (_("全部"), here(state=None, before=None), not query.state),
            *(
                (name, here(state=state, before=None), query.state == state)
                for state, name in (
                    ("live", _("正在发")), ("paused", _("已暂停")), ("ended", _("已结束")), ("draft", _("草稿")),
                )
            ),
        ],
    )  # fmt: skip


@blueprint.get("/owed")
@operator_required
def owed() -> str:
    """What every merchant has promised and not yet kept."""
    rows = oversight.owed(g.session)
    return render_template(
        "operator/benefits_owed.html",
        rows=rows,
        coupons=sum(row.coupons for row in rows),
        fen=sum(row.fen for row in rows),
        points=sum(row.points for row in rows),
    )


@blueprint.get("/alliance", defaults={"month": None})
@blueprint.get("/alliance/<month>")
@operator_required
def alliance(month: str | None) -> str:
    """Who owes whom for a month."""
    first = month_named(month)
    return render_template(
        "operator/benefits_alliance.html",
        rows=[one for one in allied.statement(g.session, month=first) if one.gets_fen],
        month=f"{first:%Y-%m}",
        first=first,
        months=month_chips(f"{HOME}/alliance", first),
    )


@blueprint.get("/alliance/<month>/<int:from_id>/<int:to_id>")
@operator_required
def alliance_redemptions(month: str, from_id: int, to_id: int) -> str:
    """The redemptions behind what one merchant owes another."""
    first = month_named(month)
    names = merchants.names_of(g.session, {from_id, to_id})
    if len(names) < 2:
        raise NotFound
    return render_template(
        "operator/benefits_alliance_rows.html",
        rows=[
            one
            for one in allied.entries(g.session, month=first, merchant_id=to_id, partner_id=from_id, limit=SHOWN)
            if one.issuer_id == from_id
        ],
        payer=names[from_id],
        earner=names[to_id],
        month=f"{first:%Y-%m}",
        first=first,
    )


@blueprint.get("/redemptions")
@operator_required
def redemptions() -> str:
    """The latest redemptions everywhere, or those of people who redeemed their own."""
    query = read_query(RedemptionsQuery)
    query.check()
    wanted = statistics.LogFilter(since=query.since, until=query.until, own=True if query.own else None)
    found = statistics.redemptions(g.session, wanted, before=query.before, limit=PAGE + 1)
    return render_template(
        "operator/benefits_redemptions.html",
        page=page_of(found, lambda row: row.id),
        query=query,
        only=[
            (_("全部"), here(own=None, before=None), query.own is None),
            (_("自己核销自己的"), here(own="1", before=None), query.own is not None),
        ],
    )


@blueprint.get("/blocked")
@operator_required
def blocked() -> str:
    """Whom the operator lets claim nothing."""
    return render_template("operator/benefits_blocked.html", rows=oversight.blocked(g.session))


@blueprint.get("/blocked/<int:follower_id>")
@operator_required
def asked(follower_id: int) -> str:
    """The form that blocks somebody, or lets them claim again."""
    return _person(follower_id, blank())


@blueprint.post("/blocked/<int:follower_id>/block")
@operator_required
def block(follower_id: int) -> ResponseReturnValue:
    """Let somebody claim nothing any more, for a reason."""
    oversight.person(g.session, follower_id)
    form = read_form(BlockForm)
    if form.data is None:
        return _person(follower_id, form), 422
    try:
        oversight.block(g.session, follower_id=follower_id, reason=form.data.reason, operator_id=g.staff.id, now=now())
    except Invalid as refusal:
        form.refuse(refusal)
        return _person(follower_id, form), 422
    record("benefit.block", f"follower:{follower_id}")
    flash(_("已停领：这个人不能再领券、得积分和兑换，手里已有的券照样能用。"), "good")
    return redirect(f"{HOME}/blocked", 303)


@blueprint.post("/blocked/<int:follower_id>/lift")
@operator_required
def lift(follower_id: int) -> ResponseReturnValue:
    """Let somebody claim again, for a reason."""
    oversight.person(g.session, follower_id)
    form = read_form(BlockForm)
    try:
        if form.data is None:
            return _person(follower_id, form), 422
        reason = oversight.lift(g.session, follower_id=follower_id, reason=form.data.reason)
    except Invalid as refusal:
        form.refuse(refusal)
        return _person(follower_id, form), 422
    record("benefit.unblock", f"follower:{follower_id}", reason=reason)
    flash(_("已恢复，这个人又可以领券了。"), "good")
    return redirect(f"{HOME}/blocked", 303)


def _person(follower_id: int, form: Submission[BlockForm]) -> str:
    oversight.person(g.session, follower_id)
    return render_template(
        "operator/benefits_person.html",
        follower_id=follower_id,
        form=form,
        block=oversight.block_of(g.session, follower_id),
    )
