"""名次与互荐: where the shop stands on the front page and why, and what it and its neighbours bring each other."""

from __future__ import annotations

from flask import Blueprint, g, render_template

from core.database import Role
from merchants.merchants import names_of
from qrcodes import neighbours, standing
from web.auth.access import merchant_required
from web.context import current_runtime

blueprint = Blueprint("merchant_standing", __name__, url_prefix="/merchant/me/standing")

SHOWN = 20


@blueprint.get("")
@merchant_required()
def show() -> str:
    """The shop's own numbers; of its neighbours only what everybody may know, their names."""
    found = neighbours.of_merchant(g.session, g.staff.merchant_id, limit=SHOWN)
    with current_runtime().transaction(Role.FAN) as public:
        names = names_of(public, {one.neighbour_id for one in found})
    return render_template(
        "merchant/standing.html",
        mine=standing.standing_of(g.session, g.staff.merchant_id),
        span=standing.counted_span(g.session),
        policy=standing.policy(g.session),
        exchanges=[(names.get(one.neighbour_id), one) for one in found],
    )
