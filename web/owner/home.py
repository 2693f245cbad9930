"""The membership card, one for all shops: the code that the till scans, and where one stands at each shop."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Blueprint, g, render_template, request
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from campaigns.coupons import redeeming, wallet
from campaigns.points import ledger, levels
from campaigns.points.ledger import Balance
from campaigns.points.levels import Standing
from community.notices import reading
from web.auth.access import owner_required
from web.auth.owner import picture_of
from web.context import current_runtime, now
from web.owner import queries

blueprint = Blueprint("owner_home", __name__, url_prefix="/m")


@dataclass(frozen=True)
class Membership:
    """Where somebody stands at one shop."""

    shop_id: int
    shop_name: str
    balance: Balance
    standing: Standing


@blueprint.get("/")
@owner_required
def show() -> str:
    """My card; the code comes by itself a moment later, since showing it writes it down."""
    return render_template(
        "owner/home.html",
        memberships=memberships(g.session, g.owner.follower_id),
        unread=reading.count_unread(g.session, follower_id=g.owner.follower_id, now=now()),
        live=wallet.count_live(g.session, follower_id=g.owner.follower_id, now=now()),
        shown=None,
    )


@blueprint.post("/code")
@owner_required
def show_code() -> ResponseReturnValue:
    """A fresh code of the card: five minutes good, and renewed after four."""
    shown = redeeming.show_code(g.session, current_runtime(), follower_id=g.owner.follower_id, now=now())
    return render_template(code_template(), shown=shown, code=picture_of(shown.token), path="/m/code", back="/m/")


def code_template() -> str:
    """The part of a page, or a page of its own where there is no JavaScript."""
    return "owner/_code.html" if request.headers.get("HX-Request") else "owner/code.html"


def memberships(session: Session, follower_id: int) -> list[Membership]:
    """Every open shop where somebody ever had points."""
    held = ledger.balances_of(session, follower_id=follower_id, now=now())
    names = queries.shop_names(session, held)
    return [
        Membership(
            shop_id,
            name,
            held[shop_id],
            levels.standing(session, merchant_id=shop_id, follower_id=follower_id, now=now()),
        )
        for shop_id, name in names
    ]
