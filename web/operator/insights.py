"""流量的各个角度: ranking, kinds of codes, who stays, where people go, when they come, and alarms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from flask import Blueprint, g, render_template
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from core.clock import business_day
from core.errors import NotFound
from qrcodes import alarms, goals, insights, queries, traffic
from qrcodes.insights import Grouping
from qrcodes.models import SubQrCode
from qrcodes.traffic import Sort
from web.auth.access import operator_required
from web.context import now
from web.formats import day
from web.operator.desk import PAGE, account, here, page_of
from web.operator.flows import sankey
from web.operator.spans import MerchantSpanQuery, SpanQuery, before, merchant_named, rooms, with_days
from web.operator.traffic import FIGURES, TrafficQuery, figure, figure_name
from web.operator.words import weekdays, word
from web.query import Id, Query, read_query

blueprint = Blueprint("insights", __name__, url_prefix="/traffic")

GROUPS_CHARTED = 12
HEATS = 9
"""Shades of the tables of hours and of those who stayed."""
WEEKS = {"12": 12, "26": 26, "52": 52}


class RankingQuery(TrafficQuery):
    """The overview's query, and the place after which to go on."""

    after: Id | None = None


class GroupsQuery(SpanQuery):
    by: Literal["kind", "place", "promoter", "community"] = "kind"


class SheetQuery(SpanQuery):
    """Which code's days."""

    span: Literal["today", "week", "month", "custom"] = "month"
    code: Id


class CostsQuery(Query):
    """Nothing to choose."""


class KeptQuery(Query):
    weeks: Literal["12", "26", "52"] = "12"
    merchant: Id | None = None


class AlarmsQuery(Query):
    before: Id | None = None


@blueprint.get("/ranking")
@operator_required
def ranking() -> ResponseReturnValue:
    """Every merchant by the chosen figure, with its change."""
    wanted = read_query(RankingQuery)

    def show(span: traffic.Range) -> dict[str, Any]:
        start = wanted.after or 0
        shown, found = traffic.ranking(g.session, span, sort=Sort(wanted.sort), words=wanted.q, limit=PAGE, skip=start)
        former = traffic.of_merchants(g.session, before(span), [one.merchant_id for one in shown])
        return {
            "heads": [(name, figure_name(name)) for name in FIGURES],
            "rows": [
                (start + place, one, figure(one.counts, wanted.sort) - figure(former[one.merchant_id], wanted.sort))
                for place, one in enumerate(shown, start=1)
            ],
            "sort_name": figure_name(wanted.sort),
            "first": here(after=None) if start else None,
            "next": here(after=start + PAGE) if found > start + PAGE else None,
        }

    return with_days("operator/ranking.html", wanted, show)


def group_name(name: str, by: Grouping) -> str:
    """What a group is called."""
    if by is Grouping.KIND:
        return word(name, "code_kind")
    return name or _("没写位置")


@blueprint.get("/groups")
@operator_required
def groups() -> ResponseReturnValue:
    """Codes put together by kind, place, promoter or community."""
    wanted = read_query(GroupsQuery)
    by = Grouping(wanted.by)

    def show(span: traffic.Range) -> dict[str, Any]:
        found = insights.by_group(g.session, span, by)
        charted = found[:GROUPS_CHARTED]
        return {
            "by": by,
            "rows": [(group_name(one.name, by), one) for one in found],
            "pursuits": goals.pursuits(g.session, span) if by is Grouping.PROMOTER else {},
            "spans_kept": insights.SPANS,
            "categories": [group_name(one.name, by) for one in charted],
            "series": [
                {"name": figure_name("scans"), "values": [one.scans for one in charted]},
                {"name": figure_name("new"), "values": [one.new for one in charted]},
            ],
        }

    names = {"kind": _("用途"), "place": _("位置"), "promoter": _("推广员与店员"), "community": _("社区")}
    chips = [(label, here(by=name), wanted.by == name) for name, label in names.items()]
    return with_days("operator/groups.html", wanted, lambda span: {"chips": chips, "title": names[by], **show(span)})


@blueprint.get("/sheet")
@operator_required
def sheet() -> ResponseReturnValue:
    """The daily sheet of one code: for a promoter, a butler, a clerk."""
    wanted = read_query(SheetQuery)
    code = g.session.get(SubQrCode, wanted.code)
    if code is None:
        raise NotFound("没有这个二维码。")
    merchant = merchant_named(code.merchant_id)

    def show(span: traffic.Range) -> dict[str, Any]:
        days = insights.sheet(g.session, span, code_id=wanted.code, now=now())
        return {
            "code": code,
            "merchant": merchant,
            "days": days,
            "pursuit": goals.pursuits(g.session, span, code_id=wanted.code).get(wanted.code),
            "spans_kept": insights.SPANS,
        }

    return with_days("operator/sheet.html", wanted, show)


@blueprint.get("/costs")
@operator_required
def costs() -> ResponseReturnValue:
    """What a new and a staying follower cost, for every code with a cost."""
    read_query(CostsQuery)
    return render_template(
        "operator/costs.html",
        rooms=rooms(),
        rows=insights.costs(g.session),
        ever={"since": traffic.first_day(g.session, now()), "until": business_day(now())},
    )


@blueprint.get("/kept")
@operator_required
def kept() -> ResponseReturnValue:
    """Who was won in a week, and how many stayed for how long."""
    wanted = read_query(KeptQuery)
    merchant = merchant_named(wanted.merchant)
    cohorts = insights.cohorts(g.session, weeks=WEEKS[wanted.weeks], now=now(), merchant_id=wanted.merchant)
    return render_template(
        "operator/kept.html",
        rooms=rooms(),
        merchant=merchant,
        wanted=wanted,
        cohorts=cohorts,
        spans_kept=insights.COHORT_SPANS,
        chips=[
            (_("最近 %(n)s 周", n=number), here(weeks=name), wanted.weeks == name) for name, number in WEEKS.items()
        ],
        heat=lambda share: min(HEATS, int(share / 100 * (HEATS + 1))),
        categories=[day(one.first_day) for one in cohorts],
        series=[
            {
                "name": _("%(n)s 天后还在", n=days),
                "values": [None if (share := one.kept[place].percent) is None else round(share, 1) for one in cohorts],
            }
            for place, days in enumerate(insights.COHORT_SPANS)
            if days in insights.SPANS
        ],
    )


def _heat(most: int) -> Callable[[int], int]:
    """How warm a number is drawn beside the largest: 0 is nothing, `HEATS` the largest itself."""
    return lambda number: 0 if not number else 1 + number * (HEATS - 1) // most


@blueprint.get("/flow")
@operator_required
def flow() -> ResponseReturnValue:
    """Whose code brought people, and whose code they scanned next."""
    wanted = read_query(SpanQuery)

    def show(span: traffic.Range) -> dict[str, Any]:
        found = insights.flow(g.session, span)
        most = max((number for line in found.people for number in line), default=0)
        return {
            "flow": found,
            "drawing": sankey(found, others=_("其他商户")),
            "heat": _heat(most),
        }

    return with_days("operator/flow.html", wanted, show)


@blueprint.get("/hours")
@operator_required
def hours() -> ResponseReturnValue:
    """Scans by weekday and hour."""
    wanted = read_query(MerchantSpanQuery)
    merchant = merchant_named(wanted.merchant)

    def show(span: traffic.Range) -> dict[str, Any]:
        table = insights.hours(g.session, span, merchant_id=wanted.merchant)
        most = max(map(max, table))
        return {
            "merchant": merchant,
            "table": table,
            "weekdays": weekdays(),
            "busiest": max(((number, d, h) for d, line in enumerate(table) for h, number in enumerate(line))),
            "heat": _heat(most),
        }

    return with_days("operator/hours.html", wanted, show)


@blueprint.get("/alarms")
@operator_required
def alarm_list() -> ResponseReturnValue:
    """What was unusual, what ends soon, and how full the pool is."""
    wanted = read_query(AlarmsQuery)
    noted = alarms.page(g.session, before=wanted.before, limit=PAGE + 1)
    return render_template(
        "operator/alarms.html",
        rooms=rooms(),
        page=page_of(noted, lambda one: one.id),
        expiring=[] if wanted.before else queries.expiring(g.session, now()),
        pool=queries.pool(g.session, account_id=account().id, now=now()),
        is_newest=wanted.before is None,
    )
