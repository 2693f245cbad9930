"""欢迎语: what a scan is answered with, for the whole shop or for one code, in three situations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from flask import Blueprint, flash, g, redirect, render_template
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from sqlalchemy import select

from campaigns.coupons import cards
from core.errors import Invalid, NotFound
from merchants import sensitive_words
from merchants.models import Community, Merchant, StaffRole
from merchants.wording import Finding
from qrcodes import codes, welcomes
from qrcodes.models import SubQrCode, Welcome, WelcomeVariant
from qrcodes.welcomes import Draft, Message, Owner, Place
from web.acts import record
from web.auth.access import merchant_required
from web.context import now, own_hosts
from web.forms import Form, Paragraph, Submission, blank, read_form
from web.merchant.pictures import PictureId, own_picture_url
from web.merchant.words import MESSAGE_KINDS, POSITIONS, VARIANT_HINTS, VARIANTS, show_refusal
from wechat.limits import TEXT_MAX_BYTES

blueprint = Blueprint("merchant_welcome", __name__, url_prefix="/merchant/welcome")

SHOP = {"code_id": None}
CODE = "/codes/<int:code_id>"
SPOT = "/<variant>/<int:position>"


class WelcomeForm(Form):
    """One message."""

    kind: Literal["text", "image", "news"]
    text: Paragraph = ""
    title: Paragraph = ""
    description: Paragraph = ""
    url: Paragraph = ""
    picture: PictureId = ""
    template: PictureId = ""


@dataclass(frozen=True)
class Bubble:
    """A message as the phone shows it."""

    kind: str
    text: str
    title: str = ""
    description: str = ""
    picture: str | None = None
    coupon: str = ""
    """What the link to the coupon says."""


@dataclass(frozen=True)
class Line:
    """One of the three messages of a situation, with what its author may do about it."""

    position: int
    place: Place
    waiting: Bubble | None
    rejected: Bubble | None
    can_be_written: bool
    """A second message needs a first one before it."""


@dataclass(frozen=True)
class Situation:
    """One of the three situations: what is said in it now, and the lines that say it."""

    variant: WelcomeVariant
    spoken: list[Bubble]
    is_own: bool
    """The words are those of this shop, or this code; else they are what it falls back to."""
    lines: list[Line]


@blueprint.get("", defaults=SHOP)
@blueprint.get(CODE)
@merchant_required()
def overview(code_id: int | None) -> ResponseReturnValue:
    """What people who scan read now, and what waits for the operator."""
    code = _code(code_id)
    values = _values(code)
    owner: Owner = (g.staff.merchant_id, code_id)
    places = welcomes.current(g.session, merchant_id=owner[0], code_id=owner[1])
    spoken = welcomes.resolve_many(g.session, {owner})
    return render_template(
        "merchant/welcome.html",
        code=code,
        codes=codes.list_codes(g.session, merchant_id=g.staff.merchant_id, retired=False),
        situations=[
            _situation(variant, [one for one in places if one.variant is variant], spoken[*owner, variant], values)
            for variant in WelcomeVariant
        ],
        names=VARIANTS,
        hints=VARIANT_HINTS,
        positions=POSITIONS,
    )


def _situation(
    variant: WelcomeVariant, places: list[Place], spoken: Sequence[Message], values: dict[str, str]
) -> Situation:
    lines = []
    has_words_before = True
    for place in places:
        lines.append(
            Line(
                place.position,
                place,
                waiting=_bubble(place.waiting, values),
                rejected=_bubble(place.rejected, values),
                can_be_written=has_words_before,
            )
        )
        has_words_before = has_words_before and bool(place.speaking or place.waiting)
    return Situation(
        variant,
        [_spoken_bubble(message, places, values) for message in spoken],
        is_own=places[0].speaking is not None,
        lines=lines,
    )


def _spoken_bubble(message: Message, places: list[Place], values: dict[str, str]) -> Bubble:
    """A message in force; its picture can be shown where it is one of ours."""
    own = next((place.speaking for place in places if place.speaking and place.speaking.id == message.id), None)
    shown = _bubble(own, values) or Bubble(
        message.kind,
        welcomes.fill(message.text, values),
        welcomes.fill(message.title, values),
        welcomes.fill(message.description, values),
    )
    offer = _offer(message.template_id)
    # Where a coupon goes with it, a picture is said as its text.
    return replace(shown, coupon=offer, kind="text" if offer and shown.kind == "image" else shown.kind)


def _bubble(welcome: Welcome | None, values: dict[str, str]) -> Bubble | None:
    if welcome is None:
        return None
    return Bubble(
        welcome.kind,
        welcomes.fill(welcome.text, values),
        welcomes.fill(welcome.title, values),
        welcomes.fill(welcome.description, values),
        own_picture_url(welcome.picture_id),
        _offer(welcome.template_id),
    )


@blueprint.get(SPOT, defaults=SHOP)
@blueprint.get(CODE + SPOT)
@merchant_required(StaffRole.OWNER)
def write(code_id: int | None, variant: str, position: int) -> ResponseReturnValue:
    """The form of one message, with its newest version in it."""
    code = _code(code_id)
    place = _place(code_id, variant, position)
    newest = place.rejected or place.waiting or place.speaking
    if newest is None:
        return _form_page(code, place, blank(kind="text"))
    return _form_page(
        code,
        place,
        blank(
            kind=newest.kind,
            text=newest.text,
            title=newest.title,
            description=newest.description,
            url=newest.url,
            picture=newest.picture_id,
            template=newest.template_id,
        ),
    )


@blueprint.post(SPOT, defaults=SHOP)
@blueprint.post(CODE + SPOT)
@merchant_required(StaffRole.OWNER)
def save(code_id: int | None, variant: str, position: int) -> ResponseReturnValue:
    """Hand a new version to the operator; what is in force stays so until it is approved."""
    code = _code(code_id)
    place = _place(code_id, variant, position)
    form = read_form(WelcomeForm)
    if form.data is None:
        return _form_page(code, place, form), 422
    try:
        welcome_id = welcomes.save(
            g.session,
            merchant_id=g.staff.merchant_id,
            code_id=code_id,
            variant=place.variant,
            position=position,
            draft=Draft(
                kind=form.data.kind,
                text=form.data.text,
                title=form.data.title,
                description=form.data.description,
                url=form.data.url,
                picture_id=int(form.data.picture) if form.data.picture else None,
                template_id=int(form.data.template) if form.data.template and position == 0 else None,
            ),
            hosts=own_hosts(),
            now=now(),
        )
    except Invalid as refusal:
        show_refusal(form, refusal)
        return _form_page(code, place, form), 422
    record("welcome.save", f"welcome:{welcome_id}")
    flash(_("已交给运营审批，通过后就会对顾客说。"), "good")
    if doubts := _doubts(g.session.get_one(Welcome, welcome_id)):
        words = _("、").join(f"“{one.text}”" for one in doubts)
        flash(_("有些说法运营可能不会通过：%(words)s。点进去看看怎么改。", words=words), "wait")
    return redirect(_home(code), 303)


@blueprint.post(f"{SPOT}/withdraw", defaults=SHOP)
@blueprint.post(f"{CODE}{SPOT}/withdraw")
@merchant_required(StaffRole.OWNER)
def withdraw(code_id: int | None, variant: str, position: int) -> ResponseReturnValue:
    """Take everything back that is said here; what it falls back to speaks."""
    code = _code(code_id)
    place = _place(code_id, variant, position)
    taken_back = welcomes.withdraw(
        g.session,
        merchant_id=g.staff.merchant_id,
        code_id=code_id,
        variant=place.variant,
        position=position,
    )
    if taken_back:
        owner = f"code:{code.id}" if code else f"merchant:{g.staff.merchant_id}"
        record("welcome.withdraw", f"{owner}/{variant}/{position}")
    flash(_("已撤回，这一条不再说了。"), "good")
    return redirect(_home(code), 303)


def _doubts(welcome: Welcome | None) -> list[Finding]:
    """What the linter would have reworded."""
    if welcome is None:
        return []
    return welcomes.doubts(welcome, hosts=own_hosts(), listed=sensitive_words.listed(g.session))


def _code(code_id: int | None) -> SubQrCode | None:
    """The code these words are for; None for the whole shop. Somebody else's is missing (TN-3)."""
    if code_id is None:
        return None
    mine = select(SubQrCode).where(SubQrCode.id == code_id, SubQrCode.merchant_id == g.staff.merchant_id)
    code: SubQrCode | None = g.session.scalar(mine)
    if code is None:
        raise NotFound(_("没有这个二维码。"))
    return code


def _home(code: SubQrCode | None) -> str:
    return "/merchant/welcome" if code is None else f"/merchant/welcome/codes/{code.id}"


def _place(code_id: int | None, variant: str, position: int) -> Place:
    """One of the nine places."""
    for place in welcomes.current(g.session, merchant_id=g.staff.merchant_id, code_id=code_id):
        if (place.variant, place.position) == (variant, position):
            return place
    raise NotFound(_("没有这一条欢迎语。"))


def _values(code: SubQrCode | None) -> dict[str, str]:
    """What the placeholders become; for the whole shop, one code stands for all of them."""
    merchant = g.session.get_one(Merchant, g.staff.merchant_id)
    community = g.session.get_one(Community, merchant.community_id)
    shown = code
    if shown is None:
        shown = next(iter(codes.list_codes(g.session, merchant_id=merchant.id, retired=False, limit=1)), None)
    return {
        "商户": merchant.name,
        "社区": community.name,
        "码": shown.label if shown else "",
        "位置": shown.place if shown else "",
    }


def _coupons() -> list[tuple[int, str]]:
    return [(one.template_id, one.name) for one in cards.choices(g.session, merchant_id=g.staff.merchant_id)]


def _offer(template_id: int | None) -> str:
    """What the link to a coupon says, as far as it can be taken now."""
    if template_id is None:
        return ""
    card = cards.own(g.session, merchant_id=g.staff.merchant_id, template_id=template_id)
    return card.words if card.is_live else ""


def _form_page(code: SubQrCode | None, place: Place, form: Submission[Any]) -> str:
    return render_template(
        "merchant/welcome_form.html",
        code=code,
        place=place,
        form=form,
        home=_home(code),
        variant_name=VARIANTS[place.variant],
        position_name=POSITIONS[place.position],
        coupons=_coupons() if place.position == 0 else [],
        kinds=MESSAGE_KINDS.items(),
        placeholders=welcomes.PLACEHOLDERS,
        bytes_per_character=welcomes.BYTES_PER_CHARACTER,
        values=_values(code),
        hosts=sorted(own_hosts()),
        picture=own_picture_url(form.values.get("picture")),
        text_max=TEXT_MAX_BYTES,
        title_max=welcomes.TITLE_MAX,
        description_max=welcomes.DESCRIPTION_MAX,
        doubts=_doubts(place.rejected or place.waiting or place.speaking),
    )
