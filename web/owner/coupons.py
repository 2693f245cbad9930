"""An owner's coupons: taken, held, shown at the till, and passed on to a neighbour."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from flask import Blueprint, g, redirect, render_template, request
from flask.typing import ResponseReturnValue
from pydantic import StringConstraints

from campaigns.coupons import cards, giving, redeeming, wallet
from campaigns.coupons.cards import Way
from campaigns.coupons.models import Channel, CouponState, CouponTemplate
from core import nonces
from web.auth.access import owner_required
from web.auth.owner import picture_of
from web.context import current_runtime, now
from web.forms import Form, read_form
from web.language import refusal_text
from web.owner import queries
from web.owner.home import code_template
from web.query import Query, read_query
from web.security import limiter

blueprint = Blueprint("owner_coupons", __name__, url_prefix="/m")

SHOWN = {
    "usable": wallet.LIVE,
    "used": (CouponState.REDEEMED, CouponState.GIVEN_AWAY),
    "over": (CouponState.EXPIRED, CouponState.REVOKED),
}
Sent = Annotated[str, StringConstraints(max_length=400)]
"""Something our own page had put there."""


class CouponsQuery(Query):
    show: Literal["usable", "used", "over"] = "usable"


class ClaimForm(Form):
    nonce: Sent = ""
    b: Sent = ""
    q: Sent = ""


# ---- Held ------------------------------------------------------------------------------------------------------------


@blueprint.get("/coupons")
@owner_required
def show_all() -> str:
    """Those that can be used, those that were, those that are over."""
    query = read_query(CouponsQuery)
    me = g.owner.follower_id
    held = wallet.coupons_of(g.session, follower_id=me, now=now(), states=SHOWN[query.show])
    if query.show == "usable":
        held = [one for one in held if one.state in wallet.LIVE]
    return render_template("owner/coupons.html", query=query, coupons=held)


@blueprint.get("/coupons/<public_id>")
@owner_required
def show(public_id: str) -> str:
    """One coupon, with its terms."""
    return _coupon_page(public_id)


@blueprint.post("/coupons/<public_id>/code")
@owner_required
def show_code(public_id: str) -> ResponseReturnValue:
    """A fresh code for this coupon alone."""
    me = g.owner.follower_id
    held = wallet.coupon(g.session, follower_id=me, public_id=public_id, now=now())
    shown = redeeming.show_code(g.session, current_runtime(), follower_id=me, coupon_id=held.id, now=now())
    path = f"/m/coupons/{public_id}"
    return render_template(code_template(), shown=shown, code=picture_of(shown.token), path=f"{path}/code", back=path)


@blueprint.post("/coupons/<public_id>/pass")
@owner_required
def pass_on(public_id: str) -> ResponseReturnValue:
    """A link for one neighbour; whoever opens it first has the coupon."""
    token = giving.offer_gift(g.session, follower_id=g.owner.follower_id, coupon_public_id=public_id, now=now())
    return _coupon_page(public_id, link=f"{current_runtime().settings.public_url}/m/gift/{token}")


@blueprint.post("/coupons/<public_id>/keep")
@owner_required
def keep(public_id: str) -> ResponseReturnValue:
    """Take the links back."""
    wallet.coupon(g.session, follower_id=g.owner.follower_id, public_id=public_id, now=now())
    giving.cancel_gift(g.session, follower_id=g.owner.follower_id, coupon_public_id=public_id, now=now())
    return redirect(f"/m/coupons/{public_id}", 303)


def _coupon_page(public_id: str, link: str = "") -> str:
    held = wallet.coupon(g.session, follower_id=g.owner.follower_id, public_id=public_id, now=now())
    return render_template(
        "owner/coupon.html",
        coupon=held,
        picture=queries.picture(g.session, held.picture_id),
        link=link,
        is_usable=held.state in wallet.LIVE,
    )


# ---- Taken -----------------------------------------------------------------------------------------------------------


@blueprint.get("/c/<public_id>")
@owner_required
def offer(public_id: str) -> str:
    """One coupon to take, and why not where that is so."""
    return _offer_page(queries.template(g.session, public_id), given=request.args)


@blueprint.post("/c/<public_id>")
@owner_required
@limiter.limit("60 per minute", key_func=lambda: f"owner {g.owner.follower_id if g.owner else 0}")
def claim(public_id: str) -> ResponseReturnValue:
    """Take it; the same tap twice is one coupon (CO-6), and what a link says of its way is believed only where the
    merchant's own message bears it out."""
    template = queries.template(g.session, public_id)
    form = read_form(ClaimForm)
    if form.data is None:
        return _offer_page(template, given={}, refusal=next(iter(form.errors.values()))), 422
    wanted, me = form.data, g.owner.follower_id
    given = {"b": wanted.b, "q": wanted.q}

    def take() -> dict[str, Any]:
        way = _way(template, given, wanted.nonce)
        got = giving.grant(
            g.session, template_id=template.id, follower_id=me, cause=way.cause, channel=way.channel,
            code_id=way.code_id, now=now(),
        )  # fmt: skip
        return {"coupon": got.public_id, "is_new": got.is_new}

    try:
        answered = nonces.answer_once(
            g.session, take, actor=f"owner:{me}", route="claim", nonce=wanted.nonce,
            body={"template": public_id, **given}, follower_id=me,
        )  # fmt: skip
    except giving.NotGiven as refusal:
        return _offer_page(template, given=given, refusal=refusal_text(refusal)), refusal.status
    return redirect(f"/m/coupons/{answered.answer['coupon']}?got=1", 303)


def _way(template: CouponTemplate, given: dict[str, str], nonce: str) -> Way:
    return cards.way(g.session, template=template, given=given) or Way(Channel.PAGE, f"page:{nonce}")


def _offer_page(template: CouponTemplate, *, given: Any, refusal: str = "") -> str:
    me = g.owner.follower_id
    way = cards.way(g.session, template=template, given=given)
    channel = way.channel if way else Channel.PAGE
    seen = giving.look(g.session, template=template, follower_id=me, channel=channel, now=now())
    return render_template(
        "owner/offer.html",
        template=template,
        shop=queries.shop(g.session, template.merchant_id),
        picture=queries.picture(g.session, template.picture_id),
        seen=seen,
        refusal=refusal,
        nonce=current_runtime().new_code(26),
        given={name: given.get(name, "") for name in ("b", "q")},
    )


# ---- Given by a neighbour --------------------------------------------------------------------------------------------


@blueprint.get("/gift/<token>")
@owner_required
def gift(token: str) -> str:
    """What a neighbour passes on, before it is taken."""
    offered = giving.offered(g.session, follower_id=g.owner.follower_id, token=token, now=now())
    template = g.session.get_one(CouponTemplate, offered.template_id)
    return render_template(
        "owner/gift.html", offered=offered, template=template, shop=queries.shop(g.session, template.merchant_id),
        token=token,
    )  # fmt: skip


@blueprint.post("/gift/<token>")
@owner_required
def take_gift(token: str) -> ResponseReturnValue:
    """Have it."""
    got = giving.take_gift(g.session, follower_id=g.owner.follower_id, token=token, now=now())
    return redirect(f"/m/coupons/{got.public_id}?got=1", 303)
