"""审计日志: who did what; append-only, and chained so that a change would show (AU-9)."""

from __future__ import annotations

from typing import Literal

from flask import Blueprint, Response, g, render_template
from flask_babel import gettext as _
from sqlalchemy.orm import Session

from core.database import Role
from core.queries import EntryFilter, audit_chain, audit_everything, audit_page
from merchants.models import Merchant
from web.acts import record
from web.auth.access import operator_required
from web.exports import Rows, csv_answer, rows_from
from web.operator.desk import PAGE, here, page_of
from web.operator.words import ACTIONS, ACTORS, word
from web.query import Id, Query, Words, read_query

blueprint = Blueprint("audit", __name__, url_prefix="/audit")


class AuditQuery(Query):
    """Which entries."""

    actor: Literal["operator", "merchant", "follower", "system"] | None = None
    action: Words = ""
    merchant: Id | None = None
    q: Words = ""
    before: Id | None = None

    @property
    def filter(self) -> EntryFilter:
        return EntryFilter(self.actor, self.action or None, self.merchant, self.q)


@blueprint.get("")
@operator_required
def index() -> str:
    """Newest first, with the state of the chain."""
    wanted = read_query(AuditQuery)
    rows = audit_page(g.session, wanted.filter, before=wanted.before, limit=PAGE + 1)
    actors = [(_("全部"), here(actor=None, before=None), wanted.actor is None)]
    actors += [(str(label), here(actor=kind, before=None), wanted.actor == kind) for kind, label in ACTORS.items()]
    return render_template(
        "operator/audit.html",
        wanted=wanted,
        page=page_of(rows, lambda row: row.id),
        actors=actors,
        actions=[("", _("所有操作")), *((action, str(label)) for action, label in ACTIONS.items())],
        chain=audit_chain(g.session),
        merchant=g.session.get(Merchant, wanted.merchant) if wanted.merchant else None,
    )


@blueprint.post("/export")
@operator_required
def export() -> Response:
    """The entries as a table; exporting them is one more."""
    wanted = read_query(AuditQuery)
    record("export", "audit")
    heads = [_("编号"), _("时间"), _("身份"), _("谁"), _("操作"), _("对象"), _("商户"), _("细节")]

    def rows(session: Session) -> Rows:
        for row in audit_everything(session, wanted.filter):
            detail = " ".join(f"{name}={value}" for name, value in row.detail.items())
            yield (
                row.id, row.at, word(row.actor_kind, "actor"), row.actor_name, word(row.action, "action"), row.subject,
                row.merchant_name, detail,
            )  # fmt: skip

    return csv_answer(_("审计日志"), heads, rows_from(rows, role=Role.PLATFORM))
