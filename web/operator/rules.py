"""归属规则: by which rule follows are credited, since when, and who would have moved under another one."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from flask import Blueprint, Response, flash, g, redirect, render_template
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from pydantic import Field
from sqlalchemy import select

from core.errors import BusinessError, Invalid, NotFound
from core.models import JobState, LongJob
from merchants.merchants import names_of
from merchants.models import Staff
from qrcodes import rules
from qrcodes.attribution import Rule
from qrcodes.models import RuleReplay
from web.acts import record
from web.auth.access import operator_required
from web.context import now
from web.forms import Form, Submission, blank, read_form
from web.jobs import EVERY
from web.live import live_page
from web.operator.desk import PAGE, page_of
from web.query import Id, Query, read_query

blueprint = Blueprint("rules", __name__, url_prefix="/rules")


class ReplayForm(Form):
    """The window to try."""

    days: Annotated[int, Field(ge=0, le=rules.LONGEST_PROTECTION_DAYS)]


class AdoptForm(Form):
    """From which day on it holds."""

    effective_on: date


class ReplayQuery(Query):
    """Where in the list of those who would move."""

    before: Id | None = None


@blueprint.get("")
@operator_required
def index() -> str:
    """The rule in words, all its versions, and a window to try."""
    return _page(blank(days=30))


@blueprint.post("/replays")
@operator_required
def start_replay() -> ResponseReturnValue:
    """Try a window on everything that has happened."""
    form = read_form(ReplayForm)
    if form.data is not None:
        try:
            replay_id = rules.start_replay(g.session, protection_days=form.data.days, operator_id=g.staff.id, now=now())
        except Invalid as refusal:
            form.refuse(refusal)
        else:
            record("rule.replay", f"replay:{replay_id}", days=form.data.days)
            return redirect(f"/operator/rules/replays/{replay_id}", 303)
    return _page(form), 422


@blueprint.get("/replays/<int:replay_id>")
@operator_required
def show_replay(replay_id: int) -> Response:
    """How far a replay is, then who would have moved."""
    replay = _replay(replay_id)
    job: LongJob | None = g.session.get(LongJob, replay.job_id) if replay.job_id else None
    if replay.finished_at is None and (job is None or job.state in (JobState.FAILED, JobState.CANCELLED)):
        raise BusinessError(_("这次试算没有做完，请再试一次。"))
    rows = rules.moves(g.session, replay_id, before=read_query(ReplayQuery).before, limit=PAGE + 1)
    shops = {row.merchant_id for row in rows} | {row.former_merchant_id for row in rows}
    return live_page(
        "operator/rule_replay.html",
        "operator/_rule_replay.html",
        is_polling=replay.finished_at is None,
        every=EVERY,
        replay=replay,
        job=job,
        gains=rules.gains(g.session, replay_id),
        page=page_of(rows, lambda row: row.id),
        shops=names_of(g.session, shops),
    )


@blueprint.get("/replays/<int:replay_id>/adopt")
@operator_required
def choose_day(replay_id: int) -> str:
    """From which day what was tried is to hold."""
    return _adopt_page(_replay(replay_id), blank(effective_on=rules.earliest_day(now()).isoformat()))


@blueprint.post("/replays/<int:replay_id>/adopt")
@operator_required
def adopt(replay_id: int) -> ResponseReturnValue:
    """Put what was tried in force from a day on."""
    form = read_form(AdoptForm)
    if form.data is not None:
        try:
            version = rules.adopt(
                g.session,
                replay_id=replay_id,
                effective_on=form.data.effective_on,
                operator_id=g.staff.id,
                now=now(),
            )
        except Invalid as refusal:
            form.refuse(refusal)
        else:
            record("rule.adopt", f"rule:{version}", replay=replay_id, effective_on=form.data.effective_on.isoformat())
            flash(_("第 %(version)s 版已定下，到那天零点自动生效。", version=version), "good")
            return redirect("/operator/rules", 303)
    return _adopt_page(_replay(replay_id), form), 422


@blueprint.post("/<int:version>/withdraw")
@operator_required
def withdraw(version: int) -> ResponseReturnValue:
    """Take a version back that is not in force yet."""
    rules.withdraw(g.session, version=version, now=now())
    record("rule.withdraw", f"rule:{version}")
    flash(_("已撤回，照原来的规则走。"), "good")
    return redirect("/operator/rules", 303)


def _page(form: Submission[ReplayForm]) -> str:
    versions = rules.history(g.session)
    deciders = select(Staff.id, Staff.name).where(Staff.id.in_({one.decided_by for one in versions}))
    return render_template(
        "operator/rules.html",
        versions=versions,
        current=_current(),
        closed_before=now() + rules.NOTICE,
        deciders={row[0]: row[1] for row in g.session.execute(deciders)},
        replays=g.session.scalars(select(RuleReplay).order_by(RuleReplay.id.desc()).limit(5)).all(),
        form=form,
        longest=rules.LONGEST_PROTECTION_DAYS,
    )


def _adopt_page(replay: RuleReplay, form: Submission[AdoptForm]) -> str:
    return render_template(
        "operator/rule_adopt.html", replay=replay, form=form, earliest=rules.earliest_day(now()), current=_current()
    )


def _current() -> Rule:
    return rules.all_versions(g.session).at(now())


def _replay(replay_id: int) -> RuleReplay:
    found: RuleReplay | None = g.session.get(RuleReplay, replay_id)
    if found is None:
        raise NotFound(_("没有这次试算。"))
    return found
