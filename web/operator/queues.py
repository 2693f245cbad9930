"""死信与发件箱: what is owed to the network, what was given up, and deliveries nobody could use."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Literal

from flask import Blueprint, flash, g, redirect
from flask.typing import ResponseReturnValue
from flask_babel import format_timedelta
from flask_babel import gettext as _

from bot.models import DeadLetter
from bot.queries import dead_letters
from core import outbox
from core.errors import BusinessError
from core.models import Outbox, OutboxState
from core.queries import TaskRow, outbox_counts, outbox_page
from web.acts import record
from web.auth.access import operator_required
from web.live import etag_of, live_page
from web.operator.desk import PAGE, Page, here, page_of
from web.query import Id, Query, read_query

blueprint = Blueprint("queues", __name__, url_prefix="/queues")

OPENID = re.compile(r"\bo[A-Za-z0-9_-]{4}[A-Za-z0-9_-]{16,59}")


class QueuesQuery(Query):
    """Which of the lists."""

    show: Literal["pending", "dead", "done", "letters"] = "pending"
    before: Id | None = None


@blueprint.get("")
@operator_required
def index() -> ResponseReturnValue:
    """One of the four lists, with what is waiting in all of them."""
    wanted = read_query(QueuesQuery)
    counts = outbox_counts(g.session)
    totals = {state: sum(one.tasks for one in counts if one.state == state) for state in ("pending", "dead")}
    page: Page[DeadLetter] | Page[TaskRow]
    if wanted.show == "letters":
        page = page_of(dead_letters(g.session, before=wanted.before, limit=PAGE + 1), lambda row: row.id)
        seen = [(row.id, row.deliveries) for row in page.rows]
    else:
        state = OutboxState(wanted.show)
        page = page_of(outbox_page(g.session, state=state, before=wanted.before, limit=PAGE + 1), lambda row: row.id)
        seen = [(row.id, row.attempts) for row in page.rows]
    names = {"pending": _("待办"), "dead": _("放弃了"), "done": _("已完成"), "letters": _("死信")}
    lists = [
        (f"{label} {totals[show]}" if totals.get(show) else label, here(show=show, before=None), wanted.show == show)
        for show, label in names.items()
    ]
    return live_page(
        "operator/queues.html",
        "operator/_queues.html",
        etag=etag_of(wanted, seen, totals),
        is_polling=wanted.before is None and wanted.show in {"pending", "dead"},
        wanted=wanted,
        page=page,
        lists=lists,
        counts=counts,
        span=_in_words,
        masked=_masked,
    )


@blueprint.post("/<int:task_id>/revive")
@operator_required
def revive(task_id: int) -> ResponseReturnValue:
    """Another round of attempts for a task that was given up."""
    if not outbox.revive(g.session, task_id):
        raise BusinessError(_("这项任务不在“放弃了”里，请刷新页面。"))
    record("task.revive", f"task:{task_id}", merchant_id=g.session.get_one(Outbox, task_id).merchant_id)
    flash(_("已重新排队。"), "good")
    return redirect("/operator/queues?show=dead", 303)


def _in_words(length: timedelta) -> str:
    """3 分钟, 2 小时."""
    return str(format_timedelta(length))


def _masked(body: str | None) -> str | None:
    """A delivery to look at, without who sent it."""
    return None if body is None else OPENID.sub(lambda match: f"{match[0][:4]}…", body)
