"""群发: every merchant's broadcasts and the digests, where each is, stopping and going on, and lost answers."""

from __future__ import annotations

from typing import Annotated

from flask import Blueprint, Response, flash, g, redirect, render_template
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from pydantic import StringConstraints
from sqlalchemy import select
from sqlalchemy.orm import Session

from campaigns.broadcasts import aftermath, control, mass, report
from campaigns.broadcasts.models import BatchState, Broadcast, BroadcastState, SendBatch
from core.database import Role
from core.errors import NotFound
from merchants.models import Merchant
from web.acts import record
from web.auth.access import operator_required
from web.broadcast_words import KINDS, STATES
from web.broadcasts import (
    PeopleWishes,
    all_people,
    figures,
    figures_heads,
    outcome_words,
    people_heads,
    person_row,
    progress_page,
    some_people,
    why,
)
from web.context import now
from web.exports import Rows, csv_answer, rows_from
from web.forms import Form, read_form
from web.operator.desk import PAGE, here, page_of
from web.query import Id, Query, Words, read_query

blueprint = Blueprint("broadcast_reports", __name__, url_prefix="/broadcasts")

TO_CANCEL = frozenset({
    BroadcastState.APPROVED, BroadcastState.LATE, BroadcastState.FREEZING, BroadcastState.RUNNING,
    BroadcastState.PAUSED,
})  # fmt: skip
ONE = "/<int:broadcast_id>/report"


class ListQuery(Query):
    """Which broadcasts."""

    q: Words = ""
    state: BroadcastState | None = None
    merchant: Id | None = None
    before: Id | None = None


class PeopleQuery(PeopleWishes):
    """One page of a list of people."""

    after: Id | None = None


class PauseForm(Form):
    """Why; the merchant reads it."""

    reason: Annotated[str, StringConstraints(strip_whitespace=True, max_length=100)] = ""


@blueprint.get("/all")
@operator_required
def index() -> str:
    """The newest first."""
    wanted = read_query(ListQuery)
    rows = report.all_broadcasts(
        g.session,
        state=wanted.state,
        search=wanted.q,
        merchant_id=wanted.merchant,
        before=wanted.before,
        limit=PAGE + 1,
    )
    states = [(_("全部"), here(state=None, before=None), wanted.state is None)]
    states += [
        (str(label), here(state=state, before=None), wanted.state == state)
        for state, label in STATES.items()
        if state != BroadcastState.DRAFT
    ]
    return render_template(
        "operator/broadcast_reports.html",
        wanted=wanted,
        page=page_of(rows, lambda row: row.id),
        states=states,
        merchant=g.session.get(Merchant, wanted.merchant) if wanted.merchant else None,
        muting=aftermath.muting_now(g.session, wanted.merchant) if wanted.merchant else None,
        muted_by=aftermath.muting_by_broadcast(g.session, wanted.merchant) if wanted.merchant else [],
    )


@blueprint.post("/all/export")
@operator_required
def export_list() -> Response:
    """The list as a table."""
    wanted = read_query(ListQuery)
    record("export", "broadcasts")
    heads = [
        _("编号"),
        _("商户"),
        _("名称"),
        _("种类"),
        _("状态"),
        _("定在"),
        _("开始"),
        _("结束"),
        _("结果未知的批次"),
    ]

    def rows(session: Session) -> Rows:
        before = None
        while found := report.all_broadcasts(
            session, state=wanted.state, search=wanted.q, merchant_id=wanted.merchant, before=before, limit=500
        ):
            for row in found:
                yield (
                    row.id, row.merchant_name, row.name, str(KINDS[row.kind]), str(STATES[row.state]),
                    row.scheduled_at, row.started_at, row.finished_at, row.unknown_batches,
                )  # fmt: skip
            before = found[-1].id

    return csv_answer(_("群发"), heads, rows_from(rows, role=Role.PLATFORM))


@blueprint.get(ONE)
@operator_required
def show(broadcast_id: int) -> ResponseReturnValue:
    """How far one is, and what became of it."""
    broadcast = _known(broadcast_id)
    merchant = g.session.get(Merchant, broadcast.merchant_id) if broadcast.merchant_id else None
    return progress_page(
        "operator/broadcast_report.html",
        "operator/_broadcast_report.html",
        broadcast,
        path=_path(broadcast_id),
        merchant=merchant,
        lost=_lost(broadcast_id),
        can_cancel=broadcast.state in TO_CANCEL,
        can_resume=broadcast.state == BroadcastState.PAUSED,
    )


@blueprint.post(f"{ONE}/pause")
@operator_required
def pause(broadcast_id: int) -> ResponseReturnValue:
    """Stop it; only operators can let it go on then."""
    broadcast = _known(broadcast_id)
    form = read_form(PauseForm)
    control.pause(g.session, broadcast.id, by="operator", reason=form.data.reason if form.data else "")
    return _done(broadcast, "broadcast.pause")


@blueprint.post(f"{ONE}/resume")
@operator_required
def resume(broadcast_id: int) -> ResponseReturnValue:
    """Go on, whoever stopped it."""
    broadcast = _known(broadcast_id)
    control.resume(g.session, broadcast.id, by="operator")
    return _done(broadcast, "broadcast.resume")


@blueprint.post(f"{ONE}/cancel")
@operator_required
def cancel(broadcast_id: int) -> ResponseReturnValue:
    """Send nothing more of it."""
    broadcast = _known(broadcast_id)
    if broadcast.state not in TO_CANCEL:
        raise control.WrongState
    control.cancel(g.session, broadcast.id)
    return _done(broadcast, "broadcast.cancel")


@blueprint.post(f"{ONE}/batches/<int:send_batch_id>/ask")
@operator_required
def ask(broadcast_id: int, send_batch_id: int) -> ResponseReturnValue:
    """Ask the platform again what became of a batch, under the number it had."""
    broadcast = _known(broadcast_id)
    if g.session.scalar(select(SendBatch.id).filter_by(id=send_batch_id, broadcast_id=broadcast.id)) is None:
        raise NotFound("没有这一批。")
    mass.ask_to_repeat(g.session, send_batch_id, now=now())
    flash(_("会用原来的编号再问微信一次：它收过就不会再发，没收过就现在发。"), "good")
    return _done(broadcast, "broadcast.ask", batch=send_batch_id)


@blueprint.get(f"{ONE}/people")
@operator_required
def people(broadcast_id: int) -> str:
    """The followers behind one of our own numbers."""
    broadcast = _known(broadcast_id)
    wishes = read_query(PeopleQuery)
    found = some_people(g.session, broadcast, wishes, after=wishes.after or 0, limit=PAGE + 1)
    shown = found[:PAGE]
    return render_template(
        "operator/broadcast_people.html",
        broadcast=broadcast,
        path=_path(broadcast_id),
        wishes=wishes,
        people=[(one, outcome_words(one), why(one)) for one in shown],
        newest=here(after=None) if wishes.after else None,
        older=here(after=shown[-1].follower_id) if len(found) > PAGE else None,
    )


@blueprint.post(f"{ONE}/people/export")
@operator_required
def export_people(broadcast_id: int) -> Response:
    """The same as a table, by fan number."""
    broadcast = _known(broadcast_id)
    wishes = read_query(PeopleWishes)
    record("export", f"broadcast:{broadcast.id}", merchant_id=broadcast.merchant_id, people=wishes.given)

    def rows(session: Session) -> Rows:
        return map(person_row, all_people(session, broadcast, wishes))

    name = _("群发 %(id)s %(what)s", id=broadcast.id, what=wishes.title)
    return csv_answer(name, people_heads(), rows_from(rows, role=Role.PLATFORM))


@blueprint.post(f"{ONE}/export")
@operator_required
def export(broadcast_id: int) -> Response:
    """Every figure of the page as a table."""
    broadcast = _known(broadcast_id)
    record("export", f"broadcast:{broadcast.id}", merchant_id=broadcast.merchant_id)
    done = report.progress(g.session, broadcast, now=now())
    after = aftermath.aftermath(g.session, broadcast, now=now()) if broadcast.started_at else None
    return csv_answer(_("群发 %(id)s", id=broadcast.id), figures_heads(), list(figures(broadcast, done, after)))


def _known(broadcast_id: int) -> Broadcast:
    """Any but a draft, which is its merchant's alone."""
    found = report.find(g.session, broadcast_id)
    if found.state == BroadcastState.DRAFT:
        raise NotFound("没有这次群发。")
    return found


def _lost(broadcast_id: int) -> list[SendBatch]:
    """Batches whose answer never came."""
    lost = select(SendBatch).filter_by(broadcast_id=broadcast_id, state=BatchState.UNKNOWN).order_by(SendBatch.no)
    return list(g.session.scalars(lost))


def _path(broadcast_id: int) -> str:
    return f"/operator/broadcasts/{broadcast_id}/report"


def _done(broadcast: Broadcast, action: str, **detail: object) -> ResponseReturnValue:
    record(action, f"broadcast:{broadcast.id}", merchant_id=broadcast.merchant_id, **detail)
    return redirect(_path(broadcast.id), 303)
