"""月报: the shop's months as PDFs, to read, print and keep."""

from __future__ import annotations

from flask import Blueprint, Response, g, render_template
from flask.typing import ResponseReturnValue

from merchants.models import Merchant
from web import months
from web.auth.access import merchant_required
from web.security import limiter

blueprint = Blueprint("merchant_months", __name__, url_prefix="/merchant/months")


@blueprint.get("")
@merchant_required()
def index() -> ResponseReturnValue:
    """Every month since the shop was admitted."""
    return render_template("merchant/months.html", months=months.offered(_merchant()))


@blueprint.get("/<month>.pdf")
@merchant_required()
@limiter.limit("60 per minute")
def report(month: str) -> Response:
    """One of them."""
    return months.answer(_merchant(), month)


def _merchant() -> Merchant:
    merchant: Merchant = g.session.get_one(Merchant, g.staff.merchant_id)
    return merchant
