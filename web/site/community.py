"""The front page: a community and its merchants, and by what formula they stand."""

from __future__ import annotations

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from core.database import Role
from core.errors import NotFound
from qrcodes import standing
from web.auth.access import public
from web.context import current_runtime, now
from web.query import Id, Query, Words, read_query
from web.site import queries

blueprint = Blueprint("site", __name__)

PAGE = 48


class FrontQuery(Query):
    community: Id | None = None
    q: Words = ""
    after: Id | None = None


@blueprint.get("/")
@public
def front() -> ResponseReturnValue:
    """The merchants around here; whoever runs several communities lets visitors choose."""
    query = read_query(FrontQuery)
    runtime = current_runtime()
    with runtime.transaction(Role.FAN) as session:
        communities = queries.communities(session, app_id=runtime.settings.wechat_app_id)
        if not communities:
            return render_template("site/front.html", query=query, communities=[], community=None, doors=[])
        community = next((one for one in communities if one.id == (query.community or communities[0].id)), None)
        if community is None:
            raise NotFound(_("没有这个社区。"))
        found = queries.doors(
            session, community_id=community.id, search=query.q, after=query.after, limit=PAGE + 1, now=now()
        )
        total = queries.count_doors(session, community_id=community.id)
    shown = found[:PAGE]
    return render_template(
        "site/front.html",
        query=query,
        communities=communities,
        community=community,
        doors=shown,
        total=total,
        more=shown[-1].id if len(found) > PAGE else None,
    )


@blueprint.get("/ranking")
@public
def ranking() -> str:
    """How shops come to stand where they stand."""
    with current_runtime().transaction(Role.FAN) as session:
        policy = standing.policy(session)
    return render_template("site/ranking.html", policy=policy)
