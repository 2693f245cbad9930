"""名次与互荐: where merchants stand on the front page and why, and what neighbours bring each other."""

from __future__ import annotations

from typing import Annotated, Literal

from flask import Blueprint, flash, g, redirect, render_template
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from pydantic import Field

from core.errors import Invalid, NotFound
from merchants import merchants
from qrcodes import neighbours, standing
from qrcodes.happenings import Key
from qrcodes.standing import Policy, Verdict
from web.acts import record
from web.auth.access import operator_required
from web.context import now
from web.forms import Form, Submission, blank, read_form
from web.operator.desk import PAGE, account, here
from web.operator.spans import merchant_named, rooms
from web.operator.words import word
from web.query import Id, Query, RowKey, Words, read_query
from web.site.queries import LAST

blueprint = Blueprint("standing", __name__, url_prefix="/traffic")


class StandingQuery(Query):
    """Whose standings, and after which place."""

    community: Id | None = None
    q: Words = ""
    after: Annotated[Id, Field(le=LAST)] | None = None


class PeopleQuery(Query):
    """Which of the people a merchant won."""

    verdict: Literal["counted", "by_staff", "left_soon", "in_burst"] = "counted"
    before: RowKey | None = None


class ExchangeQuery(Query):
    """Of one merchant alone, and how many pairs to leave out."""

    merchant: Id | None = None
    after: Id | None = None


class VisitsQuery(Query):
    before: RowKey | None = None


class PolicyForm(Form):
    """The formula's numbers; what each may be is the formula's business."""

    most_people: int
    most_an_hour: int
    points_for_given: int
    most_for_given: int


@blueprint.get("/standing")
@operator_required
def index() -> str:
    """A community's merchants as they stand, and the formula."""
    return _page(blank(**vars(standing.policy(g.session))), read_query(StandingQuery))


@blueprint.post("/standing/policy")
@operator_required
def set_policy() -> ResponseReturnValue:
    """Another formula; all standings are counted by it at once."""
    form = read_form(PolicyForm)
    if form.data is None:
        return _page(form, StandingQuery()), 422
    try:
        standing.set_policy(g.session, Policy(**form.data.model_dump()), now=now())
    except Invalid as refusal:
        form.refuse(refusal)
        return _page(form, StandingQuery()), 422
    record("rank.policy", "rank_policy", **form.data.model_dump())
    flash(_("已保存，几秒后按新公式重新排。"), "good")
    return redirect("/operator/traffic/standing", 303)


def _page(form: Submission[PolicyForm], wanted: StandingQuery) -> str:
    communities = merchants.list_communities(g.session, account_id=account().id)
    chosen = next((one for one in communities if one.id == wanted.community), None)
    if chosen is None:
        if wanted.community is not None:
            raise NotFound("没有这个社区。")
        chosen = communities[0] if communities else None
    found = (
        standing.page(g.session, community_id=chosen.id, words=wanted.q, after=wanted.after or 0, limit=PAGE + 1)
        if chosen
        else []
    )
    shown = found[:PAGE]
    return render_template(
        "operator/standing.html",
        rooms=rooms(),
        form=form,
        limits=standing.LIMITS,
        policy=standing.policy(g.session),
        wanted=wanted,
        rows=shown,
        span=standing.counted_span(g.session),
        chips=[
            (one.name, here(community=one.id, after=None, q=None), one is chosen) for one in communities
        ] if len(communities) > 1 else [],
        first=here(after=None) if wanted.after else None,
        next=here(after=shown[-1][0].rank) if len(found) > PAGE else None,
    )  # fmt: skip


@blueprint.get("/standing/<int:merchant_id>")
@operator_required
def people(merchant_id: int) -> str:
    """Who counts for a merchant, or why not."""
    wanted = read_query(PeopleQuery)
    merchant = merchant_named(merchant_id)
    span = standing.counted_span(g.session)
    if span is None:
        raise NotFound(_("名次还没有算过，过几分钟再看。"))
    found = standing.people(
        g.session,
        span,
        merchant_id=merchant_id,
        verdict=Verdict(wanted.verdict),
        before=Key.parse(wanted.before) if wanted.before else None,
        limit=PAGE + 1,
    )
    return render_template(
        "operator/standing_people.html",
        rooms=rooms(),
        merchant=merchant,
        standing=standing.standing_of(g.session, merchant_id),
        span=span,
        rows=found[:PAGE],
        chips=[(word(one, "verdict"), here(verdict=one, before=None), one == wanted.verdict) for one in Verdict],
        newest=here(before=None) if wanted.before else None,
        older=here(before=found[PAGE - 1].key) if len(found) > PAGE else None,
    )


@blueprint.get("/exchange")
@operator_required
def exchange() -> str:
    """What neighbours bring each other: the greatest gifts, or all of one merchant's."""
    wanted = read_query(ExchangeQuery)
    skip = wanted.after or 0
    merchant = merchant_named(wanted.merchant)
    if merchant is None:
        found = neighbours.liveliest(g.session, limit=PAGE + 1, skip=skip)
    else:
        found = neighbours.of_merchant(g.session, merchant.id, limit=PAGE + 1, skip=skip)
    return render_template(
        "operator/exchange.html",
        rooms=rooms(),
        merchant=merchant,
        rows=found[:PAGE],
        names=merchants.names_of(g.session, {one.merchant_id for one in found} | {one.neighbour_id for one in found}),
        span=standing.counted_span(g.session),
        first=here(after=None) if skip else None,
        next=here(after=skip + PAGE) if len(found) > PAGE else None,
    )


@blueprint.get("/exchange/<int:from_id>/<int:to_id>")
@operator_required
def visits(from_id: int, to_id: int) -> str:
    """The days on which one merchant's people came to another."""
    wanted = read_query(VisitsQuery)
    giver, taker = merchant_named(from_id), merchant_named(to_id)
    span = standing.counted_span(g.session)
    if span is None:
        raise NotFound(_("互荐还没有算过，过几分钟再看。"))
    before = Key.parse(wanted.before) if wanted.before else None
    found = neighbours.visits(g.session, span, from_id=from_id, to_id=to_id, before=before, limit=PAGE + 1)
    return render_template(
        "operator/exchange_visits.html",
        rooms=rooms(),
        giver=giver,
        taker=taker,
        span=span,
        rows=found[:PAGE],
        newest=here(before=None) if wanted.before else None,
        older=here(before=found[PAGE - 1].key) if len(found) > PAGE else None,
    )
