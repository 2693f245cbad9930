"""公告 for owners: what is up for them, with what they have not opened yet marked. Guests read what is for everybody.

An opened page says by itself, once it is there, that this person has read the notice: looking writes nothing down, and
whatever fetches pages ahead reads nothing. A snapshot visitor and a guest are nobody who could have read.
"""

from __future__ import annotations

from flask import Blueprint, Response, g, render_template, request
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from community.notices import homes, reading, writing
from core.errors import NotFound
from web.auth.access import owner_or_guest, owner_required
from web.context import current_runtime, now
from web.owner import queries
from web.query import Id, Query, read_query

blueprint = Blueprint("owner_notices", __name__, url_prefix="/m/notices")

PAGE = 20
KEPT_S = 300
"""How long a phone keeps a picture of something that can be taken down."""


class NoticesQuery(Query):
    """How many were on the pages before."""

    after: Id | None = None


@blueprint.get("")
@owner_or_guest
def show_all() -> str:
    """Pinned first, then the newest."""
    query = read_query(NoticesQuery)
    me, skip = _me(), query.after or 0
    found = reading.latest(
        g.session,
        follower_id=me,
        now=now(),
        limit=PAGE + 1,
        skip=skip,
        account_id=queries.account_id(g.session, app_id=current_runtime().settings.wechat_app_id),
    )
    return render_template(
        "owner/notices.html",
        notices=found[:PAGE],
        more=skip + PAGE if len(found) > PAGE else None,
        is_somebody=me is not None,
        home=homes.of(g.session, follower_id=me) if me is not None else None,
    )


@blueprint.get("/<int:notice_id>")
@owner_or_guest
def show(notice_id: int) -> str:
    """One notice."""
    me = _me()
    notice = reading.one(g.session, notice_id=notice_id, follower_id=me, now=now())
    return render_template("owner/notice.html", notice=notice, is_unread=me is not None and not notice.is_read)


@blueprint.post("/<int:notice_id>/read")
@owner_required
def read(notice_id: int) -> ResponseReturnValue:
    """This person has it before them; the first time counts."""
    me = g.owner.follower_id
    reading.one(g.session, notice_id=notice_id, follower_id=me, now=now())
    reading.note_opened(g.session, notice_id=notice_id, follower_id=me, now=now())
    return "", 204


@blueprint.get("/pictures/<public_id>.jpg")
@owner_or_guest
def picture(public_id: str) -> ResponseReturnValue:
    """The picture of a notice that is up."""
    found = writing.picture_of(g.session, public_id=public_id)
    if found is None:
        raise NotFound(_("没有这张图片。"))
    response = Response(found.content, mimetype=found.mime)
    response.headers["Cache-Control"] = f"private, max-age={KEPT_S}"
    response.set_etag(found.sha256.hex())
    return response.make_conditional(request)


def _me() -> int | None:
    """Who is reading, if it is somebody."""
    if g.owner is None or g.owner.is_snapshot:
        return None
    return int(g.owner.follower_id)
