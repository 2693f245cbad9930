"""Invitation cards: what whoever opens one sees, and one's own card of a shop.

A card is an address to come to. Nothing is asked of whoever opens it, and nothing is given for passing it on.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final
from urllib.parse import urlsplit

from flask import Blueprint, Response, g, redirect, render_template, request
from flask.typing import ResponseReturnValue
from sqlalchemy import select
from sqlalchemy.orm import Session

from campaigns.points import rules
from campaigns.points.models import RuleTrigger
from campaigns.referrals import binding, invites, review
from campaigns.referrals.models import CameBy
from core.database import Role
from core.errors import NotFound
from merchants.models import Follower
from web.auth.access import owner_or_guest, owner_required
from web.auth.owner import PHONE_COOKIE, on_arrival, picture_of, to_wechat
from web.context import current_runtime, now
from web.owner import queries
from web.security import limiter

blueprint = Blueprint("owner_invites", __name__, url_prefix="/m")

_CARD: Final = re.compile(r"/m/i/([A-Za-z0-9]{14})")


# ---- Coming by a card ----


def bring(session: Session, follower_id: int, is_new: bool, target: str, at: datetime) -> None:
    """Note who brought somebody whom WeChat has just named for the first time; called where they are met."""
    card = _CARD.fullmatch(urlsplit(target).path)
    if card is None or not is_new:
        return
    # They were met for the first time just now, because they opened it.
    opened_at = session.scalar(select(Follower.first_seen_at).where(Follower.id == follower_id))
    binding.bind(
        session,
        invite_public_id=card[1],
        follower_id=follower_id,
        came_by=CameBy.PAGE,
        now=at,
        opened_at=opened_at,
        address_hash=current_runtime().keyed_id("address", request.remote_addr or "")[:16],
    )


on_arrival.append(bring)


@blueprint.get("/i/<public_id>")
@owner_or_guest
def opened(public_id: str) -> ResponseReturnValue:
    """What a card shows: the shop, and what there is for those who come. The same to everybody, whoever brought whom;
    a card that is over, or never was, says so as politely (#81)."""
    if g.owner is None and _is_in_wechat():
        return to_wechat()
    found = invites.welcome(g.session, public_id=public_id, now=now())
    if found is None:
        return render_template("owner/invite_over.html")
    return render_template(
        "owner/invite_opened.html",
        shop=queries.shop(g.session, found.merchant_id),
        words=found.words,
        earns=_earns(found.merchant_id),
    )


@blueprint.app_template_global("has_invites")
def has_invites(shop_id: int) -> bool:
    """Whether a shop's page shows the way to one's own card."""
    return invites.is_offered(g.session, merchant_id=shop_id)


def _is_in_wechat() -> bool:
    is_sandbox_phone = current_runtime().settings.is_sandbox and PHONE_COOKIE in request.cookies
    return is_sandbox_phone or "micromessenger" in request.user_agent.string.lower()


# ---- One's own card ----


@blueprint.get("/invite/<int:shop_id>")
@owner_required
def mine(shop_id: int) -> str:
    """My card of one shop, and what came of it, in numbers."""
    shop, me = queries.shop(g.session, shop_id), g.owner.follower_id
    is_offered = invites.is_offered(g.session, merchant_id=shop_id)
    if not is_offered:
        raise NotFound("这家店没有邀请卡。")
    card = invites.mine(g.session, merchant_id=shop_id, follower_id=me)
    address = f"{current_runtime().settings.public_url}/m/i/{card.public_id}" if card else ""
    return render_template(
        "owner/invite.html",
        shop=shop,
        card=card,
        is_over=card is not None and card.is_over(now()),
        address=address,
        code=picture_of(card.code_url) if card and card.code_url else None,
        words=invites.words_of(g.session, merchant_id=shop_id),
        numbers=review.mine(g.session, merchant_id=shop_id, follower_id=me),
        first=rules.rule_of(g.session, merchant_id=shop_id, trigger=RuleTrigger.REFERRAL),
    )


@blueprint.post("/invite/<int:shop_id>")
@owner_required
@limiter.limit("60 per minute")
def make(shop_id: int) -> ResponseReturnValue:
    """Make my card, or begin an expired one anew."""
    runtime, me = current_runtime(), g.owner.follower_id
    # The card is kept before its code is owed: a worker may be faster than this answer.
    with runtime.transaction(Role.FAN, follower_id=me) as session:
        card = invites.take(session, merchant_id=shop_id, follower_id=me, now=now())
    with runtime.transaction(Role.PLATFORM) as session:
        invites.owe_code(session, card)
    return redirect(f"/m/invite/{shop_id}", 303)


@blueprint.get("/invite/<int:shop_id>/poster.png")
@owner_required
@limiter.limit("30 per minute")
def poster(shop_id: int) -> ResponseReturnValue:
    """My card as a picture to keep."""
    card = invites.mine(g.session, merchant_id=shop_id, follower_id=g.owner.follower_id)
    if card is None or card.is_over(now()) or card.code_url is None:
        raise NotFound("二维码还在生成，请过一会儿再来。")
    # How a shop's posters look is the shop's alone to read.
    with current_runtime().transaction(Role.PLATFORM) as session:
        picture = invites.poster(session, card)
    response = Response(picture, mimetype="image/png")
    response.headers["Cache-Control"] = "private, max-age=3600"
    return response


def _earns(shop_id: int) -> set[RuleTrigger]:
    """By what members earn points here."""
    return {rule.trigger for rule in rules.rules_of(g.session, merchant_id=shop_id) if rule.is_on}
