"""未识别扫码: scenes that people scan and that are nobody's, to be adopted or left alone (EV-10)."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from flask import Blueprint, g
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from qrcodes import queries
from web.auth.access import operator_required
from web.context import now
from web.live import live_page
from web.operator.desk import account, here
from web.query import Query, read_query

blueprint = Blueprint("unmatched", __name__, url_prefix="/unmatched")

SHOWN = 100


class UnmatchedQuery(Query):
    """How far back."""

    days: Literal["1", "7", "30", "90"] = "30"


@blueprint.get("")
@operator_required
def index() -> ResponseReturnValue:
    """The scenes, the one scanned last first."""
    wanted = read_query(UnmatchedQuery)
    names = {"1": _("24 小时"), "7": _("7 天"), "30": _("30 天"), "90": _("90 天")}
    return live_page(
        "operator/unmatched.html",
        "operator/_unmatched.html",
        wanted=wanted,
        rows=queries.unmatched(
            g.session, account_id=account().id, since=now() - timedelta(days=int(wanted.days)), limit=SHOWN
        ),
        shown=SHOWN,
        spans=[(label, here(days=days), wanted.days == days) for days, label in names.items()],
    )
