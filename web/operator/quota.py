"""额度: what is left of the account's mass calls and of everybody's slots, who uses what, and how it is shared."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import date, time
from typing import Annotated, Literal

from flask import Blueprint, Response, flash, g, redirect, render_template
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from pydantic import Field
from sqlalchemy.orm import Session

from campaigns.broadcasts import bank, calls, control, policy, reports, usage
from campaigns.broadcasts.bank import Policy
from campaigns.broadcasts.reports import Label
from campaigns.broadcasts.usage import Sort
from core.clock import business_day
from core.database import Role
from core.errors import Invalid
from merchants.merchants import names_of
from web.acts import record
from web.auth.access import operator_required
from web.context import now
from web.exports import Cell, csv_answer, rows_from
from web.forms import Form, OneLine, OptionalLine, Paragraph, Submission, blank, read_form
from web.operator.desk import PAGE, here, page_of
from web.operator.words import word
from web.query import Id, Query, Words, read_query
from wechat.limits import MASS_PER_FOLLOWER_MONTH

blueprint = Blueprint("quota", __name__, url_prefix="/quota")

QUOTA = "/operator/quota"
FOREIGN = f"{QUOTA}/foreign"
NEXT_SHOWN = 5


class QuotaQuery(Query):
    """Which merchants, sorted by what, and how many to leave out."""

    q: Words = ""
    sort: Literal["used", "left", "share", "calls"] = "used"
    after: Annotated[Id, Field(le=1_000_000)] | None = None


class ForeignQuery(Query):
    before: Id | None = None


class PolicyForm(Form):
    """The numbers of the policy; what each may be is the policy's business."""

    slots_kept: int
    share_base: int
    share_per_kept: int
    week_most: int
    calls_per_day: int
    calls_kept: int
    batch_size: int
    quiet_from: time
    quiet_until: time
    holidays: Paragraph = ""
    hello_days_most: int
    groups_most: int
    repeats_unknown: bool = False


class PauseForm(Form):
    reason: OneLine


class LabelForm(Form):
    label: Label
    note: OptionalLine = ""


@blueprint.get("")
@operator_required
def index() -> str:
    """What is left of today and of the month, and who used what."""
    return _page(blank())


def _page(pausing: Submission[PauseForm]) -> str:
    wanted = read_query(QuotaQuery)
    at, skip = now(), wanted.after or 0
    month = bank.month_of(at)
    found = usage.merchants(g.session, at, words=wanted.q, sort=Sort(wanted.sort), limit=PAGE + 1, skip=skip)
    turns = calls.turn_order(g.session, at)
    return render_template(
        "operator/quota.html",
        today=calls.today(g.session, at),
        sending=usage.sending(g.session),
        policy=bank.policy(g.session),
        month=month,
        renewed=bank.month_after(month),
        slots=usage.slots(g.session, at),
        everybodys=bank.sends_to_everybody(g.session, month),
        unlabelled=usage.foreign_unlabelled(g.session),
        turns=len(turns),
        next_turns=turns[:NEXT_SHOWN],
        names=names_of(g.session, set(turns[:NEXT_SHOWN])),
        rows=found[:PAGE],
        wanted=wanted,
        pausing=pausing,
        sorts=[(word(one, "quota_sort"), here(sort=one, after=None), one == wanted.sort) for one in Sort],
        first=here(after=None) if skip else None,
        next=here(after=skip + PAGE) if len(found) > PAGE else None,
    )


@blueprint.post("/export")
@operator_required
def export() -> Response:
    """Every merchant's part of the month, as a table."""
    wanted = read_query(QuotaQuery)
    at = now()
    record("export", "quota", sort=wanted.sort, words=wanted.q)

    def rows(session: Session) -> Iterator[tuple[Cell, ...]]:
        for one in usage.merchants(session, at, words=wanted.q, sort=Sort(wanted.sort)):
            yield (
                one.merchant_id, one.name, one.base + one.earned, one.base, one.earned, one.kept_followers,
                one.used, one.left, one.calls, one.allotted,
            )  # fmt: skip

    heads = [
        _("编号"), _("商户"), _("本月份额"), _("基本"), _("挣得"), _("近来带来并留下"), _("已用"), _("还剩"),
        _("今天已群发次数"), _("今天分得次数"),
    ]  # fmt: skip
    return csv_answer(_("群发额度 %(day)s", day=business_day(at)), heads, rows_from(rows, role=Role.PLATFORM))


@blueprint.get("/policy")
@operator_required
def show_policy() -> str:
    """How the common goods are shared, to be changed."""
    current = bank.policy(g.session)
    numbers = asdict(current) | {
        "holidays": "\n".join(day.isoformat() for day in current.holidays),
        "quiet_from": f"{current.quiet_from:%H:%M}",
        "quiet_until": f"{current.quiet_until:%H:%M}",
    }
    return _policy_page(blank(**numbers))


@blueprint.post("/policy")
@operator_required
def set_policy() -> ResponseReturnValue:
    """Share by other rules from this moment on."""
    form = read_form(PolicyForm)
    if form.data is None:
        return _policy_page(form), 422
    try:
        numbers = form.data.model_dump() | {"holidays": _days(form.data.holidays)}
        policy.set_policy(g.session, Policy(**numbers), now=now())
    except Invalid as refusal:
        form.refuse(refusal)
        return _policy_page(form), 422
    record("quota.policy", "quota_policy", policy=form.data.model_dump(mode="json"))
    flash(_("已保存，从现在起按新的分法。"), "good")
    return redirect(QUOTA, 303)


def _days(lines: str) -> tuple[date, ...]:
    """One day a line, as 2026-10-01."""
    found = []
    for line in lines.split():
        try:
            found.append(date.fromisoformat(line))
        except ValueError:
            raise Invalid(
                "“%(line)s”不是日期，请像 2026-10-01 这样写，一行一个。", field="holidays", line=line
            ) from None
    return tuple(sorted(set(found)))


def _policy_page(form: Submission[PolicyForm]) -> str:
    return render_template(
        "operator/quota_policy.html",
        form=form,
        limits=policy.LIMITS,
        policy=bank.policy(g.session),
        slots=MASS_PER_FOLLOWER_MONTH,
    )


@blueprint.post("/pause")
@operator_required
def pause() -> ResponseReturnValue:
    """Nothing is sent any more, of nobody, until somebody says so."""
    form = read_form(PauseForm)
    if form.data is None:
        return _page(form), 422
    control.pause_account(g.session, form.data.reason)
    record("sending.paused", "sending_state", reason=form.data.reason)
    flash(_("已暂停全部群发。正在发出的几条会发完，之后不再发。"), "good")
    return redirect(QUOTA, 303)


@blueprint.post("/resume")
@operator_required
def resume() -> ResponseReturnValue:
    """Sending goes on with what is still planned."""
    control.resume_account(g.session)
    record("sending.resumed", "sending_state")
    flash(_("已恢复群发，从没发的接着发。"), "good")
    return redirect(QUOTA, 303)


@blueprint.get("/foreign")
@operator_required
def foreign() -> str:
    """Mass sends that did not come from here."""
    return _foreign_page({})


@blueprint.post("/foreign/<int:msg_id>")
@operator_required
def label(msg_id: int) -> ResponseReturnValue:
    """Say whom a send from elsewhere reached, and so whose slots it used."""
    form = read_form(LabelForm)
    if form.data is None:
        return _foreign_page({msg_id: form}), 422
    said = form.data
    reports.label(g.session, msg_id, said.label, operator_id=g.staff.id, now=now(), note=said.note)
    record("mass_report.labelled", f"mass_report:{msg_id}", label=said.label.value)
    flash(_("已标注。"), "good")
    return redirect(FOREIGN, 303)


def _foreign_page(typed: dict[int, Submission[LabelForm]]) -> str:
    wanted = read_query(ForeignQuery)
    page = page_of(usage.foreign_sends(g.session, before=wanted.before, limit=PAGE + 1), lambda one: one.msg_id)
    forms = {one.msg_id: typed.get(one.msg_id) or blank(label=one.label or "", note=one.note) for one in page.rows}
    return render_template(
        "operator/quota_foreign.html",
        page=page,
        forms_by_id=forms,
        choices=[(one.value, word(one, "foreign_label")) for one in Label],
        everybodys=bank.sends_to_everybody(g.session, bank.month_of(now())),
    )
