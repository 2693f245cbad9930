"""The shops around here, and one shop's page with what it gives. Guests may look, too."""

from __future__ import annotations

from urllib.parse import urlencode

from flask import Blueprint, g, render_template
from flask.typing import ResponseReturnValue

from campaigns.coupons import giving
from core.errors import NotFound
from web.auth.access import owner_or_guest
from web.context import current_runtime, now
from web.owner import queries
from web.query import Id, Query, Words, read_query
from web.site import queries as doors

blueprint = Blueprint("owner_shops", __name__, url_prefix="/m/shops")

PAGE = 30
MARKER = "https://apis.map.qq.com/uri/v1/marker"
MAP = "https://apis.map.qq.com/uri/v1/search"


class ShopsQuery(Query):
    community: Id | None = None
    q: Words = ""
    after: Id | None = None


@blueprint.get("")
@owner_or_guest
def show_all() -> ResponseReturnValue:
    """All of one community, as they stand."""
    query = read_query(ShopsQuery)
    communities = doors.communities(g.session, app_id=current_runtime().settings.wechat_app_id)
    community = next((one for one in communities if query.community in (None, one.id)), None)
    if community is None and query.community is not None:
        raise NotFound("没有这个社区。")
    found = (
        doors.doors(g.session, community_id=community.id, search=query.q, after=query.after, limit=PAGE + 1, now=now())
        if community
        else []
    )
    return render_template(
        "owner/shops.html",
        query=query,
        communities=communities,
        community=community,
        shops=found[:PAGE],
        more=found[PAGE - 1].id if len(found) > PAGE else None,
    )


@blueprint.get("/<int:shop_id>")
@owner_or_guest
def show(shop_id: int) -> str:
    """One shop: what it is, where, when, and what it gives."""
    shop = queries.shop(g.session, shop_id)
    is_somebody = g.owner is not None and not g.owner.is_snapshot
    offers = giving.claimable(
        g.session, merchant_id=shop.id, follower_id=g.owner.follower_id if is_somebody else 0, now=now()
    )
    return render_template(
        "owner/shop.html", shop=shop, offers=offers, is_somebody=is_somebody, map_url=map_of(shop), now=now()
    )


def map_of(shop: queries.Shop) -> str:
    """Where Tencent's map shows the shop, or looks for it."""
    if shop.position:
        return f"{MARKER}?{urlencode({'marker': f'coord:{shop.position};title:{shop.name}', 'referer': 'quanma'})}"
    return f"{MAP}?{urlencode({'keyword': f'{shop.name} {shop.address}', 'referer': 'quanma'})}"
