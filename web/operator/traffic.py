"""总览: who brings whom, over a range of days, beside the range before it; the page keeps itself up to date."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from flask import Blueprint, g, render_template
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from sqlalchemy.orm import Session

from core.clock import business_day
from core.errors import Invalid
from qrcodes import alarms, insights, queries, rollups, traffic
from qrcodes.alarms import Alarm
from qrcodes.queries import Pool
from qrcodes.traffic import CodeTraffic, Counts, MerchantTraffic, Range, Sort
from web.auth.access import operator_required
from web.context import now
from web.formats import day
from web.language import refusal_text
from web.live import asks_for_part, live_page
from web.operator.desk import account
from web.operator.live import fingerprint, unchanged
from web.operator.spans import SpanQuery, bands, before, rows_path, span_of, toolbar
from web.query import Words, read_query

blueprint = Blueprint("traffic", __name__)

MERCHANTS_SHOWN = 20
CODES_SHOWN = 20
ALARMS_SHOWN = 5
FIGURES = ("scans", "scanners", "new", "returning", "lost", "net")


class TrafficQuery(SpanQuery):
    """Which days, and how the merchants are looked at."""

    q: Words = ""
    sort: Literal["net", "scans", "scanners", "new", "returning", "lost"] = "net"


@dataclass(frozen=True)
class Brief:
    """What an operator should look at this morning."""

    yesterday: Counts
    alarms: list[Alarm]
    alarms_noted: int
    expiring: int
    pool: Pool

    @property
    def is_quiet(self) -> bool:
        return not (self.alarms_noted or self.expiring or self.pool.is_low)


@dataclass(frozen=True)
class Figures:
    """Everything the living part shows."""

    span: Range
    before: Range
    counts: Counts
    former: Counts
    days: list[traffic.DayTraffic]
    gaps: list[insights.Gap]
    restatements: list[rollups.Restatement]
    merchants: list[MerchantTraffic]
    merchants_found: int
    unattributed: Counts
    codes: list[CodeTraffic]
    codes_counted: int
    brief: Brief


@blueprint.get("/")
@operator_required
def overview() -> ResponseReturnValue:
    """The morning brief, stat cards, the days, the merchants and the codes."""
    wanted = read_query(TrafficQuery)
    try:
        span = span_of(wanted)
    except Invalid as refusal:
        return render_template("operator/traffic.html", error=refusal_text(refusal), **toolbar(wanted, None)), 422
    if not asks_for_part():
        # Who opens the page sees what has just happened; the page itself follows a beat later.
        rollups.count(g.session)
    etag = fingerprint()
    if (same := unchanged(etag)) is not None:
        return same
    return live_page(
        "operator/traffic.html",
        "operator/_traffic.html",
        etag=etag,
        error=None,
        **toolbar(wanted, span),
        **_shown(read(g.session, wanted, span)),
    )


def read(session: Session, wanted: TrafficQuery, span: Range) -> Figures:
    """The figures of a range and the totals of the equally long one before it."""
    merchants, found = traffic.ranking(session, span, sort=Sort(wanted.sort), words=wanted.q, limit=MERCHANTS_SHOWN)
    codes, codes_counted = traffic.busiest_codes(session, span, limit=CODES_SHOWN)
    return Figures(
        span=span,
        before=before(span),
        counts=traffic.total(session, span),
        former=traffic.total(session, before(span)),
        days=traffic.by_day(session, span),
        gaps=insights.gaps(session, span),
        restatements=rollups.restatements(session, since=span.since, until=span.until),
        merchants=merchants,
        merchants_found=found,
        unattributed=traffic.of_nobody(session, span),
        codes=codes,
        codes_counted=codes_counted,
        brief=brief(session),
    )


def brief(session: Session) -> Brief:
    """What was unusual yesterday, and what will run out."""
    yesterday = business_day(now()) - timedelta(days=1)
    noted, count = alarms.of_day(session, yesterday, limit=ALARMS_SHOWN)
    return Brief(
        yesterday=traffic.total(session, Range(yesterday, yesterday)),
        alarms=noted,
        alarms_noted=count,
        expiring=len(queries.expiring(session, now())),
        pool=queries.pool(session, account_id=account().id, now=now()),
    )


def figure(counts: Counts, name: str) -> int:
    """One of the six figures."""
    value: int = getattr(counts, name)
    return value


def figure_name(name: str) -> str:
    """What a figure is called, one of the six or any that has rows behind it."""
    names: dict[str, str] = {
        "scans": _("扫码"),
        "scanners": _("扫码人数"),
        "new": _("新关注"),
        "returning": _("回归"),
        "lost": _("取关"),
        "net": _("净增"),
        "won": _("带来的人"),
        "kept": _("还在的人"),
        "goal": _("算进目标的新关注"),
        "onward": _("接着去的人"),
    }
    return names[name]


def _shown(figures: Figures) -> dict[str, Any]:
    return {
        "figures": figures,
        "brief": figures.brief,
        "stats": [
            {
                "name": name,
                "label": figure_name(name),
                "value": figure(figures.counts, name),
                "change": figure(figures.counts, name) - figure(figures.former, name),
                "better": "down" if name == "lost" else "up",
                # The net has no rows of its own.
                "path": None if name == "net" else rows_path(name, figures.span.since, figures.span.until),
            }
            for name in FIGURES
        ],
        "heads": [(name, figure_name(name)) for name in FIGURES],
        "categories": [day(one.day) for one in figures.days],
        "series": {name: [figure(one.counts, name) for one in figures.days] for name in FIGURES},
        "gaps": bands(figures.gaps, figures.span),
        "merchants": figures.merchants,
        "merchants_left": figures.merchants_found - len(figures.merchants),
        "codes": figures.codes,
        "codes_left": figures.codes_counted - len(figures.codes),
    }
