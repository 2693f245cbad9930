"""便民电话 for owners: by category or by a word, each number one tap away. Guests may look, too."""

from __future__ import annotations

from flask import Blueprint, g, render_template

from community import near
from community.directory import finding
from core.errors import NotFound
from web.auth.access import owner_or_guest
from web.context import current_runtime, now
from web.owner import queries
from web.query import Id, Query, Words, read_query
from web.site import queries as doors

blueprint = Blueprint("owner_directory", __name__, url_prefix="/m/directory")

SHOWN = 50


class DirectoryQuery(Query):
    """What is looked for, and where."""

    q: Words = ""
    category: Id | None = None
    community: Id | None = None
    after: Id | None = None


@blueprint.get("")
@owner_or_guest
def show() -> str:
    """The categories, and who stands in one of them or answers to a word."""
    query = read_query(DirectoryQuery)
    app_id = current_runtime().settings.wechat_app_id
    places = doors.communities(g.session, app_id=app_id)
    wanted = query.community or _where_one_shops()
    community = next((one for one in places if one.id == wanted), None)
    if query.community is not None and community is None:
        raise NotFound("没有这个社区。")
    here = {
        "community_id": community.id if community else None,
        "account_id": queries.account_id(g.session, app_id=app_id) if places else None,
    }
    known = finding.categories(g.session, **here)
    category = next((one for one in known if one.id == query.category), None)
    if query.category is not None and category is None:
        raise NotFound("这个分类里现在没有电话。")
    found: list[finding.Found] = []
    skip = query.after or 0
    if query.q:
        found = finding.find(g.session, words=query.q, **here, now=now(), limit=SHOWN)
    elif category is not None:
        found = finding.in_category(g.session, category_id=category.id, **here, now=now(), limit=SHOWN + 1, skip=skip)
    return render_template(
        "owner/directory.html",
        query=query,
        communities=places,
        community=community,
        categories=known,
        category=category,
        found=found[:SHOWN],
        more=skip + SHOWN if len(found) > SHOWN else None,
    )


def _where_one_shops() -> int | None:
    """The community of the shop this person turned to last."""
    if g.owner is None or g.owner.is_snapshot:
        return None
    return near.community_of(g.session, follower_id=g.owner.follower_id)
