"""An owner's points: what there is at each shop, how it came, what ends when, and what it buys."""

from __future__ import annotations

from typing import Annotated

from flask import Blueprint, flash, g, redirect, render_template
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from pydantic import StringConstraints

from campaigns.points import exchange, ledger, levels, rules
from campaigns.points.models import RuleTrigger
from core.clock import business_day
from core.errors import BusinessError, Invalid, NotFound
from web.auth.access import owner_required
from web.context import current_runtime, now
from web.forms import Form, read_form
from web.language import refusal_text
from web.owner import queries
from web.owner.home import memberships
from web.query import Id, Query, read_query

blueprint = Blueprint("owner_points", __name__, url_prefix="/m/points")

PAGE = 30


class StatementQuery(Query):
    before: Id | None = None


class ExchangeForm(Form):
    offer: Id
    price: Id
    nonce: Annotated[str, StringConstraints(max_length=64)] = ""


@blueprint.get("")
@owner_required
def show_all() -> str:
    """What there is at each shop."""
    return render_template("owner/points.html", memberships=memberships(g.session, g.owner.follower_id))


@blueprint.get("/<int:shop_id>")
@owner_required
def show(shop_id: int) -> str:
    """One shop's: balance, level, what it buys, and the statement."""
    return _page(queries.shop(g.session, shop_id), before=read_query(StatementQuery).before)


@blueprint.post("/<int:shop_id>/check-in")
@owner_required
def check_in(shop_id: int) -> ResponseReturnValue:
    """Once a day."""
    shop = queries.shop(g.session, shop_id)
    done = rules.check_in(g.session, merchant_id=shop.id, follower_id=g.owner.follower_id, now=now())
    if not done.is_new:
        flash(_("今天已经签过到了。"), "good")
    elif done.points:
        flash(_("签到成功，得 %(points)s 积分，已连续 %(days)s 天。", points=done.points, days=done.days), "good")
    else:
        flash(_("签到成功，今天的积分已经发完了。"), "good")
    return redirect(f"/m/points/{shop.id}", 303)


@blueprint.post("/<int:shop_id>/exchange")
@owner_required
def buy(shop_id: int) -> ResponseReturnValue:
    """Points for a coupon; the same tap twice is one exchange."""
    shop = queries.shop(g.session, shop_id)
    form = read_form(ExchangeForm)
    if form.data is None:
        raise Invalid("表单内容不对，请刷新页面再试。")
    if exchange.find(g.session, merchant_id=shop.id, offer_id=form.data.offer) is None:
        raise NotFound
    try:
        bought = exchange.exchange(
            g.session, offer_id=form.data.offer, follower_id=g.owner.follower_id, nonce=form.data.nonce,
            price=form.data.price, now=now(),
        )  # fmt: skip
    except BusinessError as refusal:
        return _page(shop, refusal=refusal_text(refusal)), refusal.status
    return redirect(f"/m/coupons/{bought.coupon.public_id}?got=1", 303)


def _page(shop: queries.Shop, *, before: int | None = None, refusal: str = "") -> str:
    me = g.owner.follower_id
    lines = ledger.statement_of(g.session, merchant_id=shop.id, follower_id=me, before=before, most=PAGE + 1)
    rule = rules.rule_of(g.session, merchant_id=shop.id, trigger=RuleTrigger.CHECK_IN)
    return render_template(
        "owner/points_shop.html",
        shop=shop,
        balance=ledger.balance_of(g.session, merchant_id=shop.id, follower_id=me, now=now()),
        standing=levels.standing(g.session, merchant_id=shop.id, follower_id=me, now=now()),
        check_in=rule if rule is not None and rule.is_on else None,
        offers=exchange.open_offers(g.session, merchant_id=shop.id, follower_id=me),
        lines=lines[:PAGE],
        has_checked_in=any(
            line.trigger == RuleTrigger.CHECK_IN and business_day(line.at) == business_day(now()) for line in lines
        ),
        more=lines[PAGE - 1].transfer_id if len(lines) > PAGE else None,
        is_first_page=before is None,
        refusal=refusal,
        nonce=current_runtime().new_code(26),
    )
