"""The tables of the pages about traffic as spreadsheets."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, Literal

from flask import Blueprint, Response
from flask_babel import gettext as _
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.database import Role
from merchants.models import Community, Merchant
from qrcodes import alarms, goals, happenings, insights, neighbours, standing, traffic
from qrcodes.insights import Grouping, Kept
from qrcodes.standing import Verdict
from qrcodes.traffic import Counts, Range, Sort
from web.acts import record
from web.auth.access import operator_required
from web.context import now
from web.exports import Cell, Rows, csv_answer, rows_from, xlsx_answer
from web.operator.insights import WEEKS, group_name
from web.operator.rows import RowsQuery, behind, refuse_odd
from web.operator.spans import LONGEST_DAYS, span_of
from web.operator.traffic import FIGURES, TrafficQuery, figure, figure_name
from web.operator.words import weekdays, word
from web.query import read_query

blueprint = Blueprint("traffic_exports", __name__, url_prefix="/traffic")

MOST_ROWS = 100_000


class ExportQuery(TrafficQuery, RowsQuery):
    """What the page shows, which of its tables, and as what."""

    table: Literal[
        "merchants", "codes", "days", "groups", "kept", "costs", "sheet", "flow", "hours", "rows", "alarms",
        "standing", "exchange",
    ]  # fmt: skip
    form: Literal["csv", "xlsx"] = "csv"
    weeks: Literal["12", "26", "52"] = "12"


@blueprint.post("/export")
@operator_required
def export() -> Response:
    """One table, whole."""
    wanted = read_query(ExportQuery)
    if wanted.table == "rows":
        refuse_odd(wanted)
    span = span_of(wanted, longest=wanted.longest_days if wanted.table == "rows" else LONGEST_DAYS)
    record("export", f"traffic:{wanted.table}", since=span.since.isoformat(), until=span.until.isoformat())
    name, heads = _name_and_heads(wanted)

    def rows(session: Session) -> Rows:
        return islice(_ROWS[wanted.table](session, wanted, span), MOST_ROWS)

    answer = xlsx_answer if wanted.form == "xlsx" else csv_answer
    return answer(f"{name} {span.since} {span.until}", heads, rows_from(rows, role=Role.PLATFORM))


def _name_and_heads(wanted: ExportQuery) -> tuple[str, list[str]]:
    six = [figure_name(name) for name in FIGURES]
    without_people = [figure_name(name) for name in FIGURES if name != "scanners"]
    kept = [title for days in insights.SPANS for title in (_("%(n)s 天后还在", n=days), _("满 %(n)s 天的", n=days))]
    cohorts = [_("%(n)s 天后还在", n=days) for days in insights.COHORT_SPANS]
    goal = [_("每日目标")]
    tables = {
        "merchants": (_("商户流量"), [_("编号"), _("商户"), *six]),
        "codes": (_("二维码流量"), [_("编号"), _("二维码"), _("用途"), _("位置"), _("商户"), *six]),
        "days": (_("每日流量"), [_("日期"), *six]),
        "groups": (
            _("来源"),
            [_("名称"), _("商户"), _("码数"), *without_people, *kept, *goal, _("达标天数"), _("有人扫的天数")],
        ),
        "kept": (_("留存"), [_("那一周的周一"), _("带来的人"), *cohorts]),
        "costs": (
            _("成本"),
            [
                _("编号"),
                _("二维码"),
                _("用途"),
                _("位置"),
                _("商户"),
                _("成本（元）"),
                _("扫码"),
                _("新关注"),
                _("还在的人"),
                _("每个新关注（元）"),
                _("每个还在的人（元）"),
            ],
        ),
        "sheet": (
            _("日报"),
            [_("日期"), _("扫码"), _("新关注"), _("回归"), *kept, *goal, figure_name("goal"), _("达标")],
        ),
        "flow": (_("流向"), [_("谁带来的"), _("接着扫了谁的"), _("人数")]),
        "hours": (_("时段"), [_("星期"), *(f"{hour}:00" for hour in range(24))]),
        "rows": (_("明细"), [_("时间"), _("事情"), _("关注者"), _("商户"), _("二维码"), _("规则"), _("接着扫了谁的")]),
        "standing": (
            _("名次"),
            [
                _("社区"),
                _("名次"),
                _("编号"),
                _("商户"),
                _("得分"),
                *(word(one, "verdict") for one in Verdict),
                _("送出"),
                _("收到"),
            ],
        ),
        "exchange": (
            _("互荐"),
            [_("商户"), _("邻居"), _("送出粉丝"), _("送出到访"), _("收到粉丝"), _("收到到访"), _("净送出")],
        ),
        "alarms": (_("提醒"), [_("日期"), _("提醒"), _("商户"), _("二维码"), _("扫码"), _("平时")]),
    }
    return tables[wanted.table]


def _cells(counts: Counts) -> tuple[int, ...]:
    return tuple(figure(counts, name) for name in FIGURES)


def _merchants(session: Session, wanted: ExportQuery, span: Range) -> Iterator[tuple[Cell, ...]]:
    merchants, _found = traffic.ranking(session, span, sort=Sort(wanted.sort), words=wanted.q, limit=MOST_ROWS)
    for merchant in merchants:
        yield (merchant.merchant_id, merchant.name, *_cells(merchant.counts))
    if not wanted.q:
        yield ("", _("未归属"), *_cells(traffic.of_nobody(session, span)))


def _codes(session: Session, _wanted: ExportQuery, span: Range) -> Iterator[tuple[Cell, ...]]:
    for code in traffic.busiest_codes(session, span)[0]:
        kind = word(code.kind, "code_kind")
        yield (code.code_id, code.label, kind, code.place, code.merchant_name, *_cells(code.counts))


def _days(session: Session, _wanted: ExportQuery, span: Range) -> Iterator[tuple[Cell, ...]]:
    for one in traffic.by_day(session, span):
        yield (one.day, *_cells(one.counts))


def _groups(session: Session, wanted: ExportQuery, span: Range) -> Iterator[tuple[Cell, ...]]:
    by = wanted.by or Grouping.KIND
    pursuits = goals.pursuits(session, span) if by is Grouping.PROMOTER else {}
    for one in insights.by_group(session, span, by):
        kept = [number for share in one.kept for number in (share.people, share.of)]
        counts = (one.scans, one.new, one.returning, one.lost, one.net)
        goal: tuple[int | None, ...] = (None, None, None)
        pursuit = pursuits.get(one.code_id or 0)
        if pursuit is not None and pursuit.merchant_id == one.merchant_id:
            goal = (pursuit.goal, pursuit.reached, pursuit.worked)
        yield (group_name(one.name, by), one.merchant_name, one.codes, *counts, *kept, *goal)


def _kept(session: Session, wanted: ExportQuery, _span: Range) -> Iterator[tuple[Cell, ...]]:
    def known(share: Kept) -> int | None:
        return share.people if share.of else None

    for week in insights.cohorts(session, weeks=WEEKS[wanted.weeks], now=now(), merchant_id=wanted.merchant):
        yield (week.first_day, week.won, *map(known, week.kept))


def _costs(session: Session, _wanted: ExportQuery, _span: Range) -> Iterator[tuple[Cell, ...]]:
    def yuan(fen: int | None) -> float | None:
        return None if fen is None else fen / 100

    for one in insights.costs(session):
        kind = word(one.kind, "code_kind")
        yield (
            one.code_id, one.label, kind, one.place, one.merchant_name, yuan(one.cost_fen), one.scans, one.new,
            one.staying, yuan(one.fen_per_new), yuan(one.fen_per_staying),
        )  # fmt: skip


def _sheet(session: Session, wanted: ExportQuery, span: Range) -> Iterator[tuple[Cell, ...]]:
    code_id = wanted.code or 0
    pursuit = goals.pursuits(session, span, code_id=code_id).get(code_id)
    for one in insights.sheet(session, span, code_id=code_id, now=now()):
        kept = [number for share in one.kept for number in (share.people, share.of)]
        goal: tuple[Cell, ...] = (None, None, None)
        if pursuit is not None:
            goal = (pursuit.goal, pursuit.won.get(one.day, 0), _("是") if pursuit.is_reached(one.day) else _("否"))
        yield (one.day, one.scans, one.new, one.returning, *kept, *goal)


def _flow(session: Session, _wanted: ExportQuery, span: Range) -> Iterator[tuple[Cell, ...]]:
    flow = insights.flow(session, span)
    for source, line in zip(flow.sources, flow.people, strict=True):
        for target, people in zip(flow.targets, line, strict=True):
            if people:
                yield (source.name or _("其他商户"), target.name or _("其他商户"), people)


def _hours(session: Session, wanted: ExportQuery, span: Range) -> Iterator[tuple[Cell, ...]]:
    for name, line in zip(weekdays(), insights.hours(session, span, merchant_id=wanted.merchant), strict=True):
        yield (name, *line)


def _happenings(session: Session, wanted: ExportQuery, span: Range) -> Iterator[tuple[Cell, ...]]:
    what = figure_name(wanted.figure)
    for one in happenings.everything(session, behind(session, wanted, span)):
        rule = word(one.rule, "rule") if one.rule else ""
        yield (one.at, what, one.follower_id, one.merchant_name, one.code_label, rule, one.next_name)


def _alarms(session: Session, _wanted: ExportQuery, _span: Range) -> Iterator[tuple[Cell, ...]]:
    before: int | None = None
    while found := alarms.page(session, before=before, limit=1_000):
        for one in found:
            kind = word(one.kind, "alarm")
            yield (one.day, kind, one.merchant_name, one.code_label, one.scans, round(one.usual, 1))
        before = found[-1].id


def _standing(session: Session, _wanted: ExportQuery, _span: Range) -> Iterator[tuple[Cell, ...]]:
    for community in session.scalars(select(Community).order_by(Community.id)):
        for row, name in standing.page(session, community_id=community.id, limit=MOST_ROWS):
            verdicts = (row.people, row.by_staff, row.left_soon, row.in_bursts)
            place = (community.name, row.rank, row.merchant_id, name, row.points)
            yield (*place, *verdicts, row.given, row.received)


def _exchange(session: Session, wanted: ExportQuery, _span: Range) -> Iterator[tuple[Cell, ...]]:
    names = {row[0]: row[1] for row in session.execute(select(Merchant.id, Merchant.name))}
    if wanted.merchant is None:
        found = neighbours.liveliest(session, limit=MOST_ROWS)
    else:
        found = neighbours.of_merchant(session, wanted.merchant, limit=MOST_ROWS)
    for one in found:
        given, received = (one.followers_given, one.visits_given), (one.followers_received, one.visits_received)
        yield (names[one.merchant_id], names[one.neighbour_id], *given, *received, one.balance)


_ROWS: dict[str, Any] = {
    "merchants": _merchants,
    "codes": _codes,
    "days": _days,
    "groups": _groups,
    "kept": _kept,
    "costs": _costs,
    "sheet": _sheet,
    "flow": _flow,
    "hours": _hours,
    "rows": _happenings,
    "alarms": _alarms,
    "standing": _standing,
    "exchange": _exchange,
}
