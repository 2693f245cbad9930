"""What the pages about coupons and points show, as tables: every kind of coupons with its figures, redemptions and the
journal of points over a range of days, and a month's settlement."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Final, Literal

from flask import Blueprint
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from pydantic import StringConstraints
from sqlalchemy.orm import Session

from campaigns.coupons import alliance, oversight, statistics
from campaigns.coupons.models import TemplateState
from campaigns.points import journal
from core.clock import SHANGHAI
from core.database import Role
from core.errors import Invalid
from web.acts import record
from web.auth.access import operator_required
from web.benefit_words import KINDS, TRANSFERS, TRIGGERS, month_named, template_words
from web.context import now
from web.exports import Cell, Rows, csv_answer, rows_from
from web.merchant.words import fan_number
from web.query import Day, Query, read_query
from web.security import limiter

blueprint = Blueprint("benefit_exports", __name__, url_prefix="/benefits")

AT_ONCE: Final = 500
Month = Annotated[str, StringConstraints(pattern=r"^\d{4}-\d{2}$")]


class DaysQuery(Query):
    """Which days; an open end reaches as far as there is anything."""

    since: Day | None = None
    until: Day | None = None

    def check(self) -> None:
        """Raises `Invalid` where the days run backwards."""
        if self.since and self.until and self.since > self.until:
            raise Invalid("开始日期不能晚于结束日期。")

    @property
    def named(self) -> str:
        """As a file's name has it."""
        return " ".join(str(day) for day in (self.since, self.until) if day)


class ExportQuery(DaysQuery):
    """Which table, narrowed as its page is."""

    table: Literal["kinds", "redemptions", "journal", "settlement", "settled"]
    state: Literal["draft", "live", "paused", "ended"] | None = None
    own: Literal["1"] | None = None
    month: Month | None = None


@blueprint.post("/export")
@operator_required
@limiter.limit("30 per minute")
def export() -> ResponseReturnValue:
    """One of the tables; that it was taken away is written down."""
    wanted = read_query(ExportQuery)
    wanted.check()
    if wanted.month is not None:
        month_named(wanted.month)
    name, heads, read = TABLES[wanted.table](wanted)
    asked = wanted.model_dump(mode="json", exclude_none=True, exclude={"table"})
    record("export", f"benefits.{wanted.table}", **asked)
    return csv_answer(f"{name} {wanted.named}".strip(), heads, rows_from(read, role=Role.PLATFORM))


Table = tuple[str, tuple[str, ...], Callable[[Session], Rows]]
"""What it is called, its heads, and what reads it."""


def _kinds(wanted: ExportQuery) -> Table:
    state, at = TemplateState(wanted.state) if wanted.state else None, now()

    def read(session: Session) -> Iterator[tuple[Cell, ...]]:
        before: int | None = None
        while found := oversight.kinds(session, state=state, before=before, limit=AT_ONCE):
            lives = statistics.lives(session, template_ids=[one.template.id for one in found], now=at)
            for one in found:
                kind, life = one.template, lives[one.template.id]
                yield (
                    kind.id, kind.name, one.merchant_name, str(KINDS[kind.kind]), template_words(kind),
                    kind.created_at.astimezone(SHANGHAI), kind.issued, kind.stock, life.live, life.uses, life.redeemed,
                    life.expired, life.revoked, life.passed_on, _yuan(life.discount_fen), _yuan(life.bill_fen),
                    life.first_here, _yuan(kind.committed_fen), _yuan(kind.budget_fen),
                )  # fmt: skip
            before = found[-1].template.id

    heads = (
        _("编号"), _("券"), _("商户"), _("种类"), _("状态"), _("写于"), _("已发"), _("一共"), _("还能用"), _("核销"),
        _("用完了"), _("过期"), _("收回"), _("转送"), _("让了（元）"), _("带来的账单（元）"), _("第一次用券的人"),
        _("预算用了（元）"), _("预算（元）"),
    )  # fmt: skip
    return _("优惠券"), heads, read


def _redemptions(wanted: ExportQuery) -> Table:
    narrowed = statistics.LogFilter(since=wanted.since, until=wanted.until, own=True if wanted.own else None)

    def read(session: Session) -> Iterator[tuple[Cell, ...]]:
        for one in statistics.all_redemptions(session, narrowed):
            yield (
                one.id, one.redeemed_at.astimezone(SHANGHAI), one.merchant_name, one.issuer_name, one.template_name,
                one.staff_name or "", fan_number(one.fan_number) if one.fan_number else "",
                "" if one.bill_fen is None else _yuan(one.bill_fen), _yuan(one.discount_fen),
                _("是") if one.is_own else "", one.reversed_at.astimezone(SHANGHAI) if one.reversed_at else "",
                one.reason or "",
            )  # fmt: skip

    heads = (
        _("编号"), _("时间"), _("在哪家"), _("发券的店"), _("券"), _("谁核销的"), _("粉丝"), _("账单（元）"),
        _("让了（元）"), _("自己的券"), _("撤销"), _("撤销原因"),
    )  # fmt: skip
    return _("核销"), heads, read


def _journal(wanted: ExportQuery) -> Table:
    def read(session: Session) -> Iterator[tuple[Cell, ...]]:
        for one in journal.lines(session, since=wanted.since, until=wanted.until):
            yield (
                one.id, one.at.astimezone(SHANGHAI), one.merchant_id, one.merchant, str(TRANSFERS[one.kind]),
                str(TRIGGERS[one.trigger]) if one.trigger else "", fan_number(one.fan_number) if one.fan_number else "",
                one.usable, one.pending, one.shop, f"{one.source_type}:{one.source_id}",
                "" if one.reverses_id is None else one.reverses_id,
            )  # fmt: skip

    heads = (
        _("编号"), _("时间"), _("商户编号"), _("商户"), _("什么"), _("凭什么"), _("粉丝"), _("能用的积分"),
        _("还没到账"), _("店里"), _("来由"), _("冲的是哪一笔"),
    )  # fmt: skip
    return _("积分流水"), heads, read


def _settlement(wanted: ExportQuery) -> Table:
    first = month_named(wanted.month)

    def read(session: Session) -> Iterator[tuple[Cell, ...]]:
        for one in alliance.statement(session, month=first):
            if one.gets_fen:
                yield (
                    one.partner_id, one.partner_name, one.merchant_id, one.merchant_name, _yuan(one.gets_fen),
                    _yuan(one.net_fen), one.redemptions, one.reversals,
                )  # fmt: skip

    heads = (
        _("该付的编号"), _("该付的"), _("该收的编号"), _("该收的"), _("多少（元）"), _("两相抵（元）"), _("核销"),
        _("撤销"),
    )  # fmt: skip
    return _("联盟结算 %(month)s", month=f"{first:%Y-%m}"), heads, read


def _settled(wanted: ExportQuery) -> Table:
    first = month_named(wanted.month)

    def read(session: Session) -> Rows:
        return alliance.statement_rows(session, month=first)

    return _("联盟结算明细 %(month)s", month=f"{first:%Y-%m}"), alliance.STATEMENT_HEADS, read


TABLES: Final[dict[str, Callable[[ExportQuery], Table]]] = {
    "kinds": _kinds,
    "redemptions": _redemptions,
    "journal": _journal,
    "settlement": _settlement,
    "settled": _settled,
}


def _yuan(fen: int) -> str:
    return f"{fen / 100:.2f}"
