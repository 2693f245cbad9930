"""设置: what the account is called, what it says where no merchant speaks, and the communities it serves."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, flash, g, redirect, render_template
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from sqlalchemy import func, select

from core.errors import Invalid
from merchants import merchants
from merchants.models import Merchant
from qrcodes import welcomes
from qrcodes.models import WelcomeVariant
from qrcodes.welcomes import PLATFORM_WORDS, Draft
from web.acts import record
from web.auth.access import operator_required
from web.context import now, own_hosts
from web.forms import Form, OneLine, Paragraph, Submission, blank, read_form
from web.operator.desk import account
from web.operator.words import word

blueprint = Blueprint("settings", __name__, url_prefix="/settings")


class NameForm(Form):
    """What the account is called."""

    account_name: OneLine


class CommunityForm(Form):
    """A community and what its page says about it."""

    community: OneLine
    intro: Paragraph = ""


class WelcomeForm(Form):
    """The words for one of the three occasions."""

    text: Paragraph


@blueprint.get("")
@operator_required
def index() -> str:
    """All three on one page."""
    return _page({})


@blueprint.post("/account")
@operator_required
def name_account() -> ResponseReturnValue:
    """Rename the account."""
    form = read_form(NameForm)
    if form.data is not None:
        try:
            merchants.name_account(g.session, account_id=account().id, name=form.data.account_name)
        except Invalid as refusal:
            form.refuse(refusal)
        else:
            record("account.rename", f"account:{account().id}")
            return _saved()
    return _page({"account": form}), 422


@blueprint.post("/communities")
@operator_required
def add_community() -> ResponseReturnValue:
    """One more community."""
    form = read_form(CommunityForm)
    if form.data is not None:
        try:
            community_id = merchants.add_community(
                g.session, account_id=account().id, name=form.data.community, intro=form.data.intro
            )
        except Invalid as refusal:
            form.refuse(refusal)
        else:
            record("community.add", f"community:{community_id}")
            return _saved()
    return _page({"community": form}), 422


@blueprint.post("/communities/<int:community_id>")
@operator_required
def edit_community(community_id: int) -> ResponseReturnValue:
    """Rename a community or change what is said about it."""
    form = read_form(CommunityForm)
    if form.data is not None:
        try:
            merchants.edit_community(
                g.session,
                account_id=account().id,
                community_id=community_id,
                name=form.data.community,
                intro=form.data.intro,
            )
        except Invalid as refusal:
            form.refuse(refusal)
        else:
            record("community.edit", f"community:{community_id}")
            return _saved()
    return _page({f"community-{community_id}": form}), 422


@blueprint.post("/welcome/<any(first, back, already):variant>")
@operator_required
def save_welcome(variant: str) -> ResponseReturnValue:
    """New words for one occasion; they speak at once."""
    form = read_form(WelcomeForm)
    if form.data is not None:
        try:
            welcomes.save(
                g.session,
                merchant_id=None,
                code_id=None,
                variant=WelcomeVariant(variant),
                position=0,
                draft=Draft(text=form.data.text),
                hosts=own_hosts(),
                now=now(),
                operator_id=g.staff.id,
            )
        except Invalid as refusal:
            form.refuse(refusal)
        else:
            record("welcome.save", f"welcome:{variant}")
            return _saved()
    return _page({variant: form}), 422


@blueprint.post("/welcome/<any(first, back, already):variant>/reset")
@operator_required
def reset_welcome(variant: str) -> ResponseReturnValue:
    """Back to the words we bring along."""
    welcomes.withdraw(g.session, merchant_id=None, code_id=None, variant=WelcomeVariant(variant), position=0)
    record("welcome.withdraw", f"welcome:{variant}")
    return _saved()


def _saved() -> ResponseReturnValue:
    flash(_("已保存。"), "good")
    return redirect("/operator/settings", 303)


def _page(refused: dict[str, Submission[Any]]) -> str:
    """`refused` holds the form that was sent and could not be kept, by its place on the page."""
    ours = account()
    communities = merchants.list_communities(g.session, account_id=ours.id)
    shops = select(Merchant.community_id, func.count()).group_by(Merchant.community_id)
    counts = {row[0]: row[1] for row in g.session.execute(shops)}
    places = {
        place.variant: place
        for place in welcomes.current(g.session, merchant_id=None, code_id=None)
        if place.position == 0
    }
    occasions = []
    for variant in WelcomeVariant:
        speaking = places[variant].speaking
        words = speaking.text if speaking else PLATFORM_WORDS[variant][0].text
        form = refused.get(variant, blank(text=words))
        occasions.append((variant, word(variant, "variant"), form, speaking is not None))
    return render_template(
        "operator/settings.html",
        account_form=refused.get("account", blank(account_name=ours.name)),
        communities=[
            (
                one,
                counts.get(one.id, 0),
                refused.get(f"community-{one.id}", blank(community=one.name, intro=one.intro)),
                f"community-{one.id}" in refused,
            )
            for one in communities
        ],
        community_form=refused.get("community", blank()),
        occasions=occasions,
    )
