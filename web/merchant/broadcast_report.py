"""群发进度: where one broadcast is, stopping and going on, what became of it, and the people behind each number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Literal

from flask import Blueprint, flash, g, redirect, render_template
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from sqlalchemy.orm import Session

from campaigns.broadcasts import aftermath, control, digest, report
from campaigns.broadcasts.models import Broadcast, BroadcastState
from core.clock import SHANGHAI
from core.database import Role
from core.errors import BusinessError, Invalid
from merchants.models import StaffRole
from web.acts import record
from web.auth.access import merchant_required
from web.broadcasts import (
    PeopleWishes,
    Place,
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
from web.exports import Cell, csv_answer, rows_from
from web.forms import Form, read_form
from web.language import refusal_text
from web.query import read_query
from web.security import limiter

blueprint = Blueprint(
    "merchant_broadcast_report", __name__, url_prefix="/merchant/broadcasts/<int:broadcast_id>/report"
)

PAGE = 50
TO_CANCEL = frozenset({
    BroadcastState.SUBMITTED, BroadcastState.APPROVED, BroadcastState.LATE, BroadcastState.FREEZING,
    BroadcastState.RUNNING, BroadcastState.PAUSED,
})  # fmt: skip


class PeopleQuery(PeopleWishes):
    """One page of a list of people."""

    after: Place | None = None


class LateForm(Form):
    """Whether a broadcast that missed its time is still wanted: now, or at a time as the browser writes it."""

    when: Literal["now", "at"]
    at: str = ""

    @property
    def moment(self) -> datetime | None:
        if self.when == "now":
            return None
        try:
            return datetime.fromisoformat(self.at).replace(tzinfo=SHANGHAI)
        except ValueError:
            raise Invalid("请选一个将来的时间。", field="at") from None


@blueprint.get("")
@merchant_required()
def show(broadcast_id: int) -> ResponseReturnValue:
    """How far it is, and what became of it."""
    broadcast = _own(broadcast_id)
    return progress_page(
        "merchant/broadcast_report.html",
        "merchant/_broadcast_report.html",
        broadcast,
        path=_path(broadcast_id),
        # Who was late is asked above, and says no there.
        can_cancel=broadcast.state in TO_CANCEL - {BroadcastState.LATE},
        can_resume=broadcast.state == BroadcastState.PAUSED and broadcast.paused_by == "merchant",
        outcome=digest.outcome(g.session, broadcast),
    )


@blueprint.post("/pause")
@merchant_required()
def pause(broadcast_id: int) -> ResponseReturnValue:
    """Stop; clerks may, since who sees a mistake has no time to look for the owner."""
    control.pause(g.session, _own(broadcast_id).id, by="merchant")
    return _done(broadcast_id, "broadcast.pause")


@blueprint.post("/resume")
@merchant_required(StaffRole.OWNER)
def resume(broadcast_id: int) -> ResponseReturnValue:
    """Go on, where it was the merchant who stopped it."""
    control.resume(g.session, _own(broadcast_id).id, by="merchant")
    return _done(broadcast_id, "broadcast.resume")


@blueprint.post("/cancel")
@merchant_required(StaffRole.OWNER)
def cancel(broadcast_id: int) -> ResponseReturnValue:
    """Send nothing more of it. One that is part of a digest is the operator's to take out."""
    broadcast = _own(broadcast_id)
    if broadcast.state not in TO_CANCEL:
        raise control.WrongState
    control.cancel(g.session, broadcast.id)
    return _done(broadcast_id, "broadcast.cancel")


@blueprint.post("/still-wanted")
@merchant_required(StaffRole.OWNER)
def still_wanted(broadcast_id: int) -> ResponseReturnValue:
    """Send it although its time went by."""
    broadcast = _own(broadcast_id)
    form = read_form(LateForm)
    try:
        if form.data is None:
            raise Invalid("请选一个将来的时间。")
        control.still_wanted(g.session, broadcast.id, now=now(), at=form.data.moment)
    except BusinessError as refusal:
        flash(refusal_text(refusal), "bad")
        return redirect(_path(broadcast_id), 303)
    return _done(broadcast_id, "broadcast.still_wanted")


@blueprint.get("/people")
@merchant_required()
def people(broadcast_id: int) -> str:
    """The fans behind one of our own numbers."""
    broadcast = _own(broadcast_id)
    wishes = read_query(PeopleQuery)
    after = report.follower_at(g.session, g.staff.merchant_id, wishes.after) if wishes.after else 0
    found = some_people(g.session, broadcast, wishes, after=after, limit=PAGE + 1)
    shown = found[:PAGE]
    return render_template(
        "merchant/broadcast_people.html",
        broadcast=broadcast,
        path=_path(broadcast_id),
        wishes=wishes,
        people=[(one, outcome_words(one), why(one)) for one in shown],
        older=shown[-1].place if len(found) > PAGE else None,
    )


@blueprint.post("/people/export")
@merchant_required(StaffRole.OWNER)
@limiter.limit("10 per minute")
def export_people(broadcast_id: int) -> ResponseReturnValue:
    """The same as a spreadsheet."""
    broadcast = _own(broadcast_id)
    wishes = read_query(PeopleWishes)
    record("export", f"broadcast:{broadcast.id}", people=wishes.given)

    def read(session: Session) -> Iterator[Sequence[Cell]]:
        return map(person_row, all_people(session, broadcast, wishes))

    name = _("群发 %(id)s %(what)s", id=broadcast.id, what=wishes.title)
    return csv_answer(name, people_heads(), rows_from(read, role=Role.MERCHANT, merchant_id=g.staff.merchant_id))


@blueprint.post("/export")
@merchant_required(StaffRole.OWNER)
@limiter.limit("10 per minute")
def export(broadcast_id: int) -> ResponseReturnValue:
    """Every figure of the page as a spreadsheet."""
    broadcast = _own(broadcast_id)
    record("export", f"broadcast:{broadcast.id}")
    done = report.progress(g.session, broadcast, now=now())
    after = aftermath.aftermath(g.session, broadcast, now=now()) if broadcast.started_at else None
    return csv_answer(_("群发 %(id)s", id=broadcast.id), figures_heads(), list(figures(broadcast, done, after)))


def _own(broadcast_id: int) -> Broadcast:
    return report.find(g.session, broadcast_id, merchant_id=g.staff.merchant_id)


def _path(broadcast_id: int) -> str:
    return f"/merchant/broadcasts/{broadcast_id}/report"


def _done(broadcast_id: int, action: str) -> ResponseReturnValue:
    record(action, f"broadcast:{broadcast_id}")
    return redirect(_path(broadcast_id), 303)
