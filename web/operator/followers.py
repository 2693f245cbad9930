"""粉丝归属: whose fan is this? The whole story with the printed reason, and forgetting somebody who asks for it."""

from __future__ import annotations

from flask import Blueprint, flash, g, redirect, render_template
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from bot.erasers import ERASE
from bot.queries import cards_of, find_cards, scans_of, stretches_of
from core import outbox
from core.errors import BusinessError, NotFound
from merchants.models import Follower
from web.acts import record
from web.auth.access import operator_required
from web.context import now
from web.operator.desk import account
from web.operator.ruling import story, verdict_now
from web.query import Query, Words, read_query

blueprint = Blueprint("followers", __name__, url_prefix="/followers")

SHORTEST = 4
LONGEST_STORY = 200
READ_AS = str.maketrans("ILO", "110")
"""Letters that fan numbers leave out, as people read them from a screen."""


class FollowersQuery(Query):
    """A fan number, or its beginning."""

    q: Words = ""


@blueprint.get("")
@operator_required
def index() -> str:
    """Search by the number a merchant sees."""
    wanted = read_query(FollowersQuery)
    number = "".join(character for character in wanted.q.upper() if character.isalnum()).translate(READ_AS)
    is_searching = len(number) >= SHORTEST
    return render_template(
        "operator/followers.html",
        wanted=wanted,
        is_searching=is_searching,
        found=find_cards(g.session, number) if is_searching else [],
        shortest=SHORTEST,
    )


@blueprint.get("/<int:follower_id>")
@operator_required
def show(follower_id: int) -> str:
    """Who it is for us, every stretch of following with every verdict over it, and the latest scans."""
    return render_template(
        "operator/follower.html",
        follower=_follower(follower_id),
        cards=cards_of(g.session, follower_id),
        stretches=stretches_of(g.session, follower_id),
        scans=scans_of(g.session, follower_id),
    )


@blueprint.get("/<int:follower_id>/ruling")
@operator_required
def ruling(follower_id: int) -> str:
    """The same as a page to be printed and laid before both merchants: what happened, and what followed from it."""
    stretches, scans = stretches_of(g.session, follower_id), scans_of(g.session, follower_id, limit=LONGEST_STORY)
    return render_template(
        "operator/ruling.html",
        follower=_follower(follower_id),
        account=account(),
        cards=cards_of(g.session, follower_id),
        story=story(stretches, scans),
        verdict=verdict_now(stretches),
        is_cut=len(scans) == LONGEST_STORY,
        printed_by=g.staff.name,
    )


@blueprint.post("/<int:follower_id>/erase")
@operator_required
def erase(follower_id: int) -> ResponseReturnValue:
    """Forget who this is, because the person asked; the same task as when they ask in the chat."""
    follower = _follower(follower_id)
    if follower.openid is None:
        raise BusinessError(_("这个人的资料已经删除了。"))
    outbox.add(
        g.session,
        kind=ERASE,
        dedupe_key=f"{ERASE}:{follower_id}:asked:{now():%Y%m%dT%H%M%S}",
        payload={"follower_id": follower_id, "reason": "request"},
    )
    record("follower.erase", f"follower:{follower_id}")
    flash(_("正在删除，几秒后刷新就能看到结果。"), "good")
    return redirect(f"/operator/followers/{follower_id}", 303)


def _follower(follower_id: int) -> Follower:
    found: Follower | None = g.session.get(Follower, follower_id)
    if found is None:
        raise NotFound(_("没有这个人。"))
    return found
