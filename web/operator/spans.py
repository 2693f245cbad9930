"""What the pages about traffic share: the days they look at, the way from one to the next, the merchant meant."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from typing import Any, Literal
from urllib.parse import urlencode

from flask import g, render_template, request
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from core.clock import business_day
from core.errors import Invalid, NotFound
from merchants.models import Merchant
from qrcodes import insights, rollups
from qrcodes.traffic import Range
from web.context import now
from web.formats import day
from web.language import refusal_text
from web.operator.desk import here
from web.query import Id, Query

LONGEST_DAYS = 366
EARLIEST = date(2011, 1, 1)
"""WeChat is no older."""


class SpanQuery(Query):
    """Which days."""

    span: Literal["today", "week", "month", "custom"] = "week"
    since: date | None = None
    until: date | None = None


class MerchantSpanQuery(SpanQuery):
    """Which days, and of one merchant alone."""

    merchant: Id | None = None


def span_of(wanted: SpanQuery, *, longest: int | None = LONGEST_DAYS) -> Range:
    """The days that were asked for; raises `Invalid` for a range of one's own that cannot be."""
    today = business_day(now())
    match wanted.span:
        case "today":
            return Range(today, today)
        case "week":
            return Range.last_days(7, now())
        case "month":
            return Range.last_days(30, now())
    if wanted.since is None or wanted.until is None:
        raise Invalid("请选开始和结束的日期。")
    if wanted.since > wanted.until:
        raise Invalid("开始日期不能晚于结束日期。")
    if wanted.until > today:
        raise Invalid("结束日期不能晚于今天。")
    if longest is not None and (wanted.until - wanted.since).days >= longest:
        raise Invalid("一次最多看 %(days)s 天。", days=longest)
    if wanted.since < EARLIEST:
        raise Invalid("开始日期太早了。")
    return Range(wanted.since, wanted.until)


def before(span: Range) -> Range:
    """The equally long range before."""
    length = span.until - span.since
    until = date.fromordinal(span.since.toordinal() - 1)
    return Range(until - length, until)


def with_days(
    page: str, wanted: SpanQuery, show: Callable[[Range], dict[str, Any]], *, longest: int | None = LONGEST_DAYS
) -> ResponseReturnValue:
    """A page about a range of days, or the refusal of one that cannot be."""
    try:
        span = span_of(wanted, longest=longest)
    except Invalid as refusal:
        return render_template(page, error=refusal_text(refusal), **toolbar(wanted, None)), 422
    return render_template(page, error=None, **toolbar(wanted, span), **show(span))


def toolbar(wanted: SpanQuery, span: Range | None) -> dict[str, Any]:
    """What the choice of days shows."""
    names = {"today": _("今日"), "week": _("最近 7 天"), "month": _("最近 30 天")}
    return {
        "wanted": wanted,
        "span": span,
        "today": business_day(now()),
        "typed": {name: request.args.get(name, "") for name in ("since", "until")},
        "kept_along": {
            name: text
            for name, text in request.args.items()
            if text and name not in {"span", "since", "until", "after", "before"}
        },
        "spans": [
            (label, here(span=name, since=None, until=None, after=None, before=None), wanted.span == name)
            for name, label in names.items()
        ],
        "rooms": rooms(wanted),
        "counted_at": rollups.counted_at(g.session),
        "is_behind": rollups.is_behind(g.session),
    }


def rooms(wanted: SpanQuery | None = None) -> list[tuple[str, str, bool]]:
    """The pages about traffic, the days kept on the way."""
    days: dict[str, object] = {}
    if wanted is not None and wanted.span != "week":
        days = {"span": wanted.span, "since": wanted.since or "", "until": wanted.until or ""}
    query = urlencode({name: text for name, text in days.items() if text})
    names = {
        "/operator/": _("总览"),
        "/operator/traffic/ranking": _("排行"),
        "/operator/traffic/standing": _("名次"),
        "/operator/traffic/groups": _("来源"),
        "/operator/traffic/kept": _("留存"),
        "/operator/traffic/costs": _("成本"),
        "/operator/traffic/flow": _("流向"),
        "/operator/traffic/exchange": _("互荐"),
        "/operator/traffic/hours": _("时段"),
        "/operator/traffic/alarms": _("提醒"),
    }
    without_days = {f"/operator/traffic/{name}" for name in ("standing", "kept", "costs", "exchange", "alarms")}
    return [
        (label, f"{path}?{query}" if query and path not in without_days else path, request.path == path)
        for path, label in names.items()
    ]


def rows_path(figure: str, since: date, until: date, **about: object) -> str:
    """Where the rows behind a figure are."""
    wanted = {"figure": figure, "span": "custom", "since": since, "until": until, **about}
    return f"/operator/traffic/rows?{urlencode({name: it for name, it in wanted.items() if it not in (None, '')})}"


def merchant_named(merchant_id: int | None) -> Merchant | None:
    """The merchant a page is about; raises `NotFound` for one there is not."""
    if merchant_id is None:
        return None
    merchant: Merchant | None = g.session.get(Merchant, merchant_id)
    if merchant is None:
        raise NotFound("没有这个商户。")
    return merchant


def bands(gaps: list[insights.Gap], span: Range) -> list[dict[str, str]]:
    """Outages as a chart of days shows them."""

    def shown(moment: datetime) -> str:
        return day(min(max(business_day(moment), span.since), span.until))

    return [
        {"from": shown(gap.began_at), "to": shown(gap.ended_at), "label": _("中断 %(n)s 分钟", n=gap.minutes)}
        for gap in gaps
    ]
