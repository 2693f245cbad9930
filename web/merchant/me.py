"""我的: the shop's card, its staff, and oneself."""

from __future__ import annotations

from typing import Annotated, Any

from flask import Blueprint, flash, g, redirect, render_template
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from pydantic import StringConstraints

from core.errors import Invalid, NotFound
from merchants import cards, identities, positions, staff
from merchants.cards import Card
from merchants.models import Community, Merchant, Staff, StaffRole
from web.acts import record
from web.auth.access import merchant_required
from web.auth.pages import invitation_url, role_name
from web.context import current_runtime, now, own_hosts
from web.forms import Form, OptionalLine, Paragraph, Submission, blank, read_form
from web.merchant.pictures import PictureId, own_picture_url
from web.merchant.words import show_refusal
from web.security import limiter

COORDINATES = "https://lbs.qq.com/getPoint/"
"""Where one click on a map gives the two numbers of a place."""

blueprint = Blueprint("merchant_me", __name__, url_prefix="/merchant/me")

Name = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=20, pattern=r"^[^\x00-\x1f\x7f]*$")
]
Address = Annotated[str, StringConstraints(strip_whitespace=True, max_length=100, pattern=r"^[^\x00-\x1f\x7f]*$")]


class CardForm(Form):
    """What the public reads about a shop."""

    intro: Paragraph = ""
    address: Address = ""
    hours: Address = ""
    public_phone: OptionalLine = ""
    picture: PictureId = ""
    position: Address = ""


class InviteForm(Form):
    """A clerk to be."""

    name: Name


@blueprint.get("")
@merchant_required()
def me() -> ResponseReturnValue:
    """Everything that is not daily business."""
    merchant = _merchant()
    return render_template(
        "merchant/me.html",
        merchant=merchant,
        community=g.session.get(Community, merchant.community_id),
        picture=own_picture_url(merchant.picture_id),
        newest=cards.newest(g.session, merchant_id=merchant.id),
        role_name=role_name(g.staff.role),
        bound_at=identities.bound_since(g.session, staff_id=g.staff.id),
    )


@blueprint.get("/card")
@merchant_required(StaffRole.OWNER)
def card() -> ResponseReturnValue:
    """The form of the card."""
    latest = cards.newest(g.session, merchant_id=g.staff.merchant_id) or _merchant()
    return _card_page(
        blank(
            intro=latest.intro,
            address=latest.address,
            hours=latest.hours,
            public_phone=latest.public_phone,
            picture=latest.picture_id,
            position=positions.written(latest.latitude, latest.longitude),
        )
    )


@blueprint.post("/card")
@merchant_required(StaffRole.OWNER)
def save_card() -> ResponseReturnValue:
    """Hand it to the operator; what the public sees stays so until it is approved."""
    form = read_form(CardForm)
    if form.data is None:
        return _card_page(form), 422
    try:
        picture_id = int(form.data.picture) if form.data.picture else None
        latitude, longitude = positions.read(form.data.position)
        cards.propose(
            g.session,
            merchant_id=g.staff.merchant_id,
            card=Card(
                intro=form.data.intro,
                address=form.data.address,
                hours=form.data.hours,
                picture_id=picture_id,
                public_phone=form.data.public_phone,
                latitude=latitude,
                longitude=longitude,
            ),
            hosts=own_hosts(),
        )
    except Invalid as refusal:
        show_refusal(form, refusal)
        return _card_page(form), 422
    record("card.edit", f"merchant:{g.staff.merchant_id}")
    flash(_("已交给运营审批，通过后邻居们看到的就是新的。"), "good")
    return redirect("/merchant/me", 303)


def _card_page(form: Submission[Any]) -> str:
    return render_template(
        "merchant/card.html",
        form=form,
        newest=cards.newest(g.session, merchant_id=g.staff.merchant_id),
        picture=own_picture_url(form.values.get("picture")),
        coordinates_url=COORDINATES,
    )


def _merchant() -> Merchant:
    merchant: Merchant = g.session.get_one(Merchant, g.staff.merchant_id)
    return merchant


@blueprint.get("/staff")
@merchant_required(StaffRole.OWNER)
def people() -> ResponseReturnValue:
    """Who may sign in for this shop."""
    return _people_page(blank())


@blueprint.post("/staff")
@merchant_required(StaffRole.OWNER)
@limiter.limit("20 per minute")
def invite() -> ResponseReturnValue:
    """A one-time link for a clerk, shown this once."""
    form = read_form(InviteForm)
    if form.data is None:
        return _people_page(form), 422
    token = staff.invite(
        g.session, name=form.data.name, role=StaffRole.CLERK, merchant_id=g.staff.merchant_id, now=now()
    )
    record("staff.invite", f"merchant:{g.staff.merchant_id}", role=StaffRole.CLERK.value)
    link = invitation_url(current_runtime().settings, token)
    return _people_page(blank(), invited=form.data.name, link=link), 201


@blueprint.post("/staff/<int:staff_id>/disable")
@merchant_required(StaffRole.OWNER)
def disable(staff_id: int) -> ResponseReturnValue:
    """Keep a clerk out, from the next request on."""
    member = g.session.get(Staff, staff_id)
    if member is None or member.merchant_id != g.staff.merchant_id or member.role != StaffRole.CLERK:
        raise NotFound(_("没有这位店员。"))
    staff.disable(g.session, staff_id=staff_id, now=now())
    record("staff.disable", f"staff:{staff_id}")
    flash(_("%(name)s 已停用，不能再登录了。", name=member.name), "good")
    return redirect("/merchant/me/staff", 303)


def _people_page(form: Submission[Any], *, invited: str = "", link: str = "") -> str:
    return render_template(
        "merchant/staff.html",
        form=form,
        members=staff.members(g.session, merchant_id=g.staff.merchant_id),
        role_name=role_name,
        invited=invited,
        link=link,
    )
