"""核销记录: what was redeemed here and of one's own coupons elsewhere, undoing one, and what is still promised."""

from __future__ import annotations

from urllib.parse import urlencode

from flask import Blueprint, flash, g, redirect, render_template
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from sqlalchemy import select
from sqlalchemy.orm import Session

from campaigns.coupons import redeeming, statistics, templates
from campaigns.coupons.models import Redemption
from campaigns.coupons.statistics import LogFilter, LogRow
from core.clock import SHANGHAI
from core.database import Role
from core.errors import BusinessError, NotFound
from merchants.models import Staff, StaffRole
from web.acts import record
from web.auth.access import merchant_required
from web.benefit_words import money
from web.context import now
from web.exports import Cell, Rows, csv_answer, rows_from
from web.forms import read_form
from web.language import refusal_text
from web.merchant.till import UndoForm
from web.merchant.words import fan_number
from web.query import Day, Id, Query, read_query

blueprint = Blueprint("merchant_redemptions", __name__, url_prefix="/merchant/redemptions")

HOME = "/merchant/redemptions"
PAGE = 50
CHOICES = 200


class LogWishes(Query):
    """Which redemptions."""

    day: Day | None = None
    staff: Id | None = None
    coupon_template: Id | None = None

    @property
    def given(self) -> dict[str, str]:
        """What is not empty, as an address or a hidden field carries it."""
        return {name: str(value) for name in LogWishes.model_fields if (value := getattr(self, name))}

    def filter(self, merchant_id: int) -> LogFilter:
        return LogFilter(
            merchant_id=merchant_id,
            since=self.day,
            until=self.day,
            staff_id=self.staff,
            template_id=self.coupon_template,
        )


class LogQuery(LogWishes):
    before: Id | None = None


@blueprint.get("")
@merchant_required()
def index() -> str:
    """The log, the newest first."""
    return _page(read_query(LogQuery))


def _page(query: LogQuery, refusal: BusinessError | None = None) -> str:
    merchant_id = g.staff.merchant_id
    found = statistics.redemptions(g.session, query.filter(merchant_id), before=query.before, limit=PAGE + 1)
    shown = found[:PAGE]
    here = f"{HOME}?{urlencode(query.given)}&" if query.given else f"{HOME}?"
    people = select(Staff.id, Staff.name).where(Staff.merchant_id == merchant_id).order_by(Staff.id)
    mine = templates.listed(g.session, merchant_id=merchant_id, limit=CHOICES)
    return render_template(
        "merchant/redemptions.html",
        query=query,
        given=query.given,
        rows=shown,
        own_id=merchant_id,
        undoable={one.id for one in shown if _can_undo(one)},
        staff=[(row[0], row[1]) for row in g.session.execute(people)],
        templates=[(row.template.id, row.template.name) for row in mine],
        refusal=refusal_text(refusal) if refusal else None,
        older=f"{here}before={shown[-1].id}" if len(found) > PAGE else None,
        first=here.rstrip("?&") if query.before else None,
    )


def _can_undo(row: LogRow) -> bool:
    """Here, standing, and within the time that this member of staff has for it."""
    within = redeeming.UNDO_WITHIN[StaffRole(g.staff.role)]
    return row.merchant_id == g.staff.merchant_id and row.reversed_at is None and now() - row.redeemed_at <= within


@blueprint.post("/<int:redemption_id>/undo")
@merchant_required()
def undo(redemption_id: int) -> ResponseReturnValue:
    """Take a redemption back, with everything that followed from it."""
    merchant_id = g.staff.merchant_id
    if g.session.scalar(select(Redemption.id).filter_by(id=redemption_id, merchant_id=merchant_id)) is None:
        raise NotFound
    form = read_form(UndoForm)
    try:
        undone = redeeming.undo(
            g.session,
            merchant_id=merchant_id,
            staff_id=g.staff.id,
            redemption_id=redemption_id,
            reason=form.data.reason if form.data else "",
            now=now(),
        )
    except BusinessError as refusal:
        return _page(LogQuery(), refusal), refusal.status
    if undone.is_valid_again:
        flash(_("已撤销，这张券又能用了。"), "good")
    else:
        flash(_("已撤销；这张券已经过期，不能再用。"), "wait")
    return redirect(HOME, 303)


@blueprint.post("/export")
@merchant_required()
def export() -> ResponseReturnValue:
    """The log as a table, narrowed to the same."""
    wanted, merchant_id = read_query(LogWishes), g.staff.merchant_id
    record("redemption.export", wanted=wanted.given)

    def read(session: Session) -> Rows:
        for one in statistics.all_redemptions(session, wanted.filter(merchant_id)):
            yield _cells(one)

    heads = (
        _("时间"), _("券"), _("发券的店"), _("核销的店"), _("粉丝"), _("谁核销的"), _("账单（元）"), _("让了（元）"),
        _("撤销"), _("撤销原因"),
    )  # fmt: skip
    rows = rows_from(read, role=Role.MERCHANT, merchant_id=merchant_id)
    return csv_answer(_("核销记录"), heads, rows)


def _cells(one: LogRow) -> tuple[Cell, ...]:
    return (
        one.redeemed_at.astimezone(SHANGHAI),
        one.template_name,
        one.issuer_name,
        one.merchant_name,
        fan_number(one.fan_number) if one.fan_number else "",
        one.staff_name or "",
        "" if one.bill_fen is None else f"{one.bill_fen / 100:.2f}",
        f"{one.discount_fen / 100:.2f}",
        one.reversed_at.astimezone(SHANGHAI) if one.reversed_at else "",
        one.reason or "",
    )


@blueprint.get("/liability")
@merchant_required()
def liability() -> str:
    """What was given and not used yet, and what it could cost at most."""
    owed = statistics.liability(g.session, merchant_id=g.staff.merchant_id, now=now())
    return render_template("merchant/liability.html", owed=owed, total=money(owed.fen))
