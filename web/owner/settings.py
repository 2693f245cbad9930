"""What an owner has said of themselves, whose news they want, and the way out."""

from __future__ import annotations

from typing import Annotated

from flask import Blueprint, g, make_response, redirect, render_template
from flask.typing import ResponseReturnValue
from pydantic import Field, StringConstraints

from campaigns.broadcasts import wishes
from community.notices import buildings, homes
from core.errors import Invalid
from merchants import owners
from web.auth.access import owner_required
from web.auth.owner import drop_cookie, session_hash
from web.context import current_runtime, now
from web.forms import Form, Submission, blank, read_form
from web.language import refusal_text
from web.owner import queries
from web.site import queries as doors

blueprint = Blueprint("owner_settings", __name__, url_prefix="/m/settings")


class BirthdayForm(Form):
    month: Annotated[int, Field(ge=1, le=12)]
    day: Annotated[int, Field(ge=1, le=31)]


class HomeForm(Form):
    """A community, or one building of it: 3, or 3-17."""

    home: Annotated[str, StringConstraints(pattern=r"^[1-9]\d{0,17}(-[1-9]\d{0,17})?$")]


@blueprint.get("")
@owner_required
def show() -> str:
    """Everything that can be set."""
    return _page(blank())


@blueprint.post("/birthday")
@owner_required
def set_birthday() -> ResponseReturnValue:
    """Keep month and day; sending it is the consent."""
    form = read_form(BirthdayForm)
    if form.data is not None:
        try:
            owners.set_birthday(
                g.session, follower_id=g.owner.follower_id, month=form.data.month, day=form.data.day, now=now()
            )
        except Invalid as refusal:
            form.refuse(refusal)
        else:
            return redirect("/m/settings", 303)
    return _page(form), 422


@blueprint.post("/birthday/forget")
@owner_required
def forget_birthday() -> ResponseReturnValue:
    """As easily as it was given."""
    owners.take_birthday_back(g.session, follower_id=g.owner.follower_id)
    return redirect("/m/settings", 303)


@blueprint.post("/home")
@owner_required
def choose_home() -> ResponseReturnValue:
    """Keep community and building; sending it is the consent."""
    form = read_form(HomeForm)
    if form.data is not None:
        community_id, _dash, building_id = form.data.home.partition("-")
        try:
            homes.choose(
                g.session,
                follower_id=g.owner.follower_id,
                account_id=_account_id(),
                community_id=int(community_id),
                building_id=int(building_id) if building_id else None,
                now=now(),
            )
        except Invalid as refusal:
            form.errors["home"] = refusal_text(refusal)
        else:
            return redirect("/m/settings#home", 303)
    return _page(blank(), form), 422


@blueprint.post("/home/forget")
@owner_required
def forget_home() -> ResponseReturnValue:
    """As easily as it was given."""
    homes.forget(g.session, follower_id=g.owner.follower_id)
    return redirect("/m/settings#home", 303)


@blueprint.post("/shops/<int:merchant_id>/<any(mute, hear):wish>")
@owner_required
def mute(merchant_id: int, wish: str) -> ResponseReturnValue:
    """No more, or again, news of one shop: what 退订 and 恢复 do in the chat."""
    is_muted = wish == "mute"
    wishes.mute(g.session, merchant_id=merchant_id, follower_id=g.owner.follower_id, is_muted=is_muted, at=now())
    return redirect("/m/settings#news", 303)


@blueprint.post("/news/<any(mute, hear):wish>")
@owner_required
def mute_all(wish: str) -> ResponseReturnValue:
    """The same for all of them."""
    if wish == "mute":
        wishes.opt_out(g.session, follower_id=g.owner.follower_id, at=now())
    else:
        wishes.opt_in(g.session, follower_id=g.owner.follower_id, at=now())
    return redirect("/m/settings#news", 303)


@blueprint.post("/sign-out")
@owner_required
def sign_out() -> ResponseReturnValue:
    """Out of this phone's browser."""
    key = session_hash()
    assert key is not None  # noqa: S101
    owners.end(g.session, token_hash=key)
    return _out()


@blueprint.post("/sign-out-everywhere")
@owner_required
def sign_out_everywhere() -> ResponseReturnValue:
    """Out of every browser, this one too."""
    owners.end_all(g.session, follower_id=g.owner.follower_id)
    return _out()


def _out() -> ResponseReturnValue:
    response = make_response(render_template("owner/door.html", what="out", again="/m/enter"))
    drop_cookie(response)
    return response


def _account_id() -> int:
    return queries.account_id(g.session, app_id=current_runtime().settings.wechat_app_id)


def _page(form: Submission[BirthdayForm], home_form: Submission[HomeForm] | None = None) -> str:
    me = g.owner.follower_id
    communities = doors.communities(g.session, app_id=current_runtime().settings.wechat_app_id)
    built = buildings.by_community(g.session, account_id=_account_id()) if communities else {}
    return render_template(
        "owner/settings.html",
        form=form,
        home=homes.of(g.session, follower_id=me),
        home_form=home_form or blank(),
        places=[(one, built.get(one.id, [])) for one in communities],
        birthday=owners.birthday(g.session, follower_id=me),
        shops=wishes.shops(g.session, follower_id=me),
        has_opted_out=wishes.has_opted_out(g.session, follower_id=me),
    )
