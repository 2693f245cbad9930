"""核销: whoever stands at the till shows a code; the staff sees what can be used, and uses it up with one tap.

Everything works without JavaScript. Each button carries a nonce of its own, so that tapping twice, or again after a
bad line, is one redemption with one answer (CO-6).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, TypeVar

from flask import Blueprint, g, render_template
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from pydantic import StringConstraints
from sqlalchemy import select

from campaigns.coupons import giving, redeeming, templates
from campaigns.coupons.giving import Given
from campaigns.coupons.models import Channel, TemplateState
from campaigns.coupons.redeeming import Card, Redeemed, Visited
from campaigns.points.models import Visit
from core import nonces
from core.errors import BusinessError, Invalid, NotFound
from web.acts import record
from web.auth.access import merchant_required
from web.benefit_words import money, until_words
from web.context import current_runtime, now
from web.forms import Form, OptionalLine, Submission, blank, read_form
from web.language import refusal_text
from web.merchant.coupon_form import Whole, money_of
from web.query import Id
from web.security import limiter, with_camera

blueprint = Blueprint("merchant_till", __name__, url_prefix="/merchant/till")

HOME = "/merchant/till"
SHOWABLE = 50
Shown = Annotated[str, StringConstraints(strip_whitespace=True, max_length=600)]
"""What was scanned or typed; what it may be is `redeeming`'s business."""
Nonce = Annotated[str, StringConstraints(max_length=400)]
"""One intent of the staff; its length is `nonces`' business (#88)."""
Public = Annotated[str, StringConstraints(max_length=40)]
"""A coupon's name in addresses."""


class LookForm(Form):
    """The code that is shown."""

    shown: Shown = ""


class UndoForm(Form):
    """Why it is taken back."""

    reason: OptionalLine = ""


class VisitForm(LookForm):
    """That they were here, and what they paid."""

    bill: Whole = ""
    nonce: Nonce = ""


class RedeemForm(VisitForm):
    """Which coupon of whoever shows the code, for which bill."""

    coupon: Public = ""


FormT = TypeVar("FormT", bound=VisitForm)


class GiveForm(LookForm):
    """Which coupon they get as a present."""

    coupon_template: Id
    nonce: Nonce = ""


@dataclass(frozen=True)
class Verdict:
    """What the staff reads at arm's length."""

    title: str
    sum: str = ""
    lines: tuple[str, ...] = ()
    undo_path: str | None = None
    undo_label: str = ""
    is_good: bool = True


@blueprint.get("")
@merchant_required()
@with_camera
def index() -> str:
    """Where a code is scanned or typed."""
    return _entry(blank())


@blueprint.post("/look")
@merchant_required()
@limiter.limit("120 per minute")
@with_camera
def look() -> ResponseReturnValue:
    """The card of whoever shows the code."""
    form = read_form(LookForm)
    if form.data is None:
        return _entry(form), 422
    try:
        card = _card(form.data.shown)
    except BusinessError as refusal:
        form.errors["shown"] = refusal_text(refusal)
        return _entry(form), refusal.status
    return _card_page(form.data.shown, card)


@blueprint.post("/redeem")
@merchant_required()
def redeem() -> ResponseReturnValue:
    """Use a coupon up, once."""

    def work(data: RedeemForm, bill_fen: int | None) -> Verdict:
        done = redeeming.redeem(
            g.session,
            current_runtime(),
            merchant_id=g.staff.merchant_id,
            staff_id=g.staff.id,
            shown=data.shown,
            coupon_public_id=data.coupon,
            bill_fen=bill_fen,
            nonce=data.nonce,
            now=now(),
        )
        return _redeemed(done)

    return _with_bill(read_form(RedeemForm), work, refused=_("没有核销"))


@blueprint.post("/reserve")
@merchant_required()
@limiter.limit("120 per minute")
def reserve() -> ResponseReturnValue:
    """Hold a coupon for this till while the bill is paid."""
    form = read_form(RedeemForm)
    if form.data is None:
        return _entry(form), 422
    data = form.data
    try:
        redeeming.reserve(
            g.session,
            current_runtime(),
            merchant_id=g.staff.merchant_id,
            staff_id=g.staff.id,
            shown=data.shown,
            coupon_public_id=data.coupon,
            now=now(),
        )
        card = _card(data.shown)
    except BusinessError as refusal:
        return _refused(_("没有锁定"), refusal)
    return _card_page(data.shown, card, bill_typed=data.bill)


@blueprint.post("/release")
@merchant_required()
@limiter.limit("120 per minute")
def release() -> ResponseReturnValue:
    """Hold a coupon no longer; the card again, where its code still shows it."""
    form = read_form(RedeemForm)
    if form.data is None:
        return _entry(form), 422
    data = form.data
    redeeming.release(g.session, merchant_id=g.staff.merchant_id, coupon_public_id=data.coupon)
    try:
        card = _card(data.shown)
    except BusinessError:
        return _done(Verdict(_("已取消锁定"), lines=(_("要核销，请客人再出示一次码。"),)))
    return _card_page(data.shown, card, bill_typed=data.bill)


def _redeemed(done: Redeemed) -> Verdict:
    lines = [done.name if done.issuer_name == "" else _("%(name)s（%(shop)s）", name=done.name, shop=done.issuer_name)]
    if done.to_pay_fen is not None:
        lines.append(_("账单 %(bill)s，减 %(off)s", bill=money(done.bill_fen), off=money(done.discount_fen)))
    if done.uses > 1:
        lines.append(_("还剩 %(count)s 次", count=done.uses_left))
    if done.points:
        lines.append(_("得到 %(points)s 积分", points=done.points))
    if done.is_first_here:
        lines.append(_("这位邻居第一次在本店用券"))
    if done.is_own:
        lines.append(_("这是您自己的券，运营会看到"))
    total = _("实付 %(sum)s", sum=money(done.to_pay_fen)) if done.to_pay_fen is not None else ""
    undo = f"/merchant/redemptions/{done.redemption_id}/undo"
    return Verdict(_("核销成功"), total, tuple(lines), undo_path=undo, undo_label=_("撤销核销"))


@blueprint.post("/visit")
@merchant_required()
def visit() -> ResponseReturnValue:
    """Note that they were here, without a coupon."""

    def work(data: VisitForm, bill_fen: int | None) -> Verdict:
        done = redeeming.record_visit(
            g.session,
            current_runtime(),
            merchant_id=g.staff.merchant_id,
            staff_id=g.staff.id,
            shown=data.shown,
            bill_fen=bill_fen,
            nonce=data.nonce,
            now=now(),
        )
        return _visited(done)

    return _with_bill(read_form(VisitForm), work, refused=_("没有记上"))


def _visited(done: Visited) -> Verdict:
    lines = [_("得到 %(points)s 积分", points=done.points)] if done.points else [_("这次没有积分")]
    if done.bill_fen is not None:
        lines.insert(0, _("账单 %(bill)s", bill=money(done.bill_fen)))
    undo = f"/merchant/till/visits/{done.visit_id}/undo"
    return Verdict(_("已记到店"), lines=tuple(lines), undo_path=undo, undo_label=_("撤销这次到店"))


def _with_bill(
    form: Submission[FormT], work: Callable[[FormT, int | None], Verdict], *, refused: str
) -> ResponseReturnValue:
    """What a till does with a shown code and perhaps a bill, said big and plain; the card again if the bill is odd."""
    if form.data is None:
        return _entry(form), 422
    bill = form.data.bill
    try:
        return _done(work(form.data, money_of(bill, "bill") if bill else None))
    except nonces.UnderWay:
        raise
    except Invalid as refusal:
        return _card_again(form.data.shown, refusal, bill)
    except BusinessError as refusal:
        return _refused(refused, refusal)


@blueprint.post("/visits/<int:visit_id>/undo")
@merchant_required()
def undo_visit(visit_id: int) -> ResponseReturnValue:
    """Take a visit back, with the points it earned."""
    merchant_id = g.staff.merchant_id
    if g.session.scalar(select(Visit.id).filter_by(id=visit_id, merchant_id=merchant_id)) is None:
        raise NotFound
    form = read_form(UndoForm)
    try:
        redeeming.undo_visit(
            g.session,
            merchant_id=merchant_id,
            staff_id=g.staff.id,
            visit_id=visit_id,
            reason=form.data.reason if form.data else "",
            now=now(),
        )
    except BusinessError as refusal:
        return _refused(_("没有撤销"), refusal)
    return _done(Verdict(_("已撤销这次到店"), lines=(_("这次的积分也收回了。"),)))


@blueprint.post("/give")
@merchant_required()
def give() -> ResponseReturnValue:
    """Give whoever shows the code a coupon."""
    form = read_form(GiveForm)
    if form.data is None:
        return _entry(form), 422
    try:
        card = _card(form.data.shown)
        name, until = give_by_hand(card.follower_id, form.data.coupon_template, form.data.nonce)
    except nonces.UnderWay:
        raise
    except BusinessError as refusal:
        return _refused(_("没有送出"), refusal)
    return _done(Verdict(_("送出去了"), lines=(name, until_words(until))))


def give_by_hand(follower_id: int, template_id: int, nonce: str) -> tuple[str, datetime]:
    """Give somebody one of one's own coupons; the same nonce gives once."""
    template = templates.find(g.session, merchant_id=g.staff.merchant_id, template_id=template_id)
    body = {"template": template_id, "follower": follower_id}
    actor, route = f"staff:{g.staff.id}", "give"
    answered = nonces.once(g.session, actor=actor, route=route, nonce=nonce, body=body, merchant_id=g.staff.merchant_id)
    # The cause is the intent, so that the answer for a repeat is the coupon of the first time.
    given: Given = giving.grant(
        g.session,
        template_id=template.id,
        follower_id=follower_id,
        cause=f"staff:{g.staff.id}:{nonce}",
        channel=Channel.STAFF,
        now=now(),
    )
    if answered is None:
        nonces.keep(g.session, actor=actor, route=route, nonce=nonce, answer={"coupon": given.public_id})
        record("coupon.give", f"coupon_template:{template.id}", follower=follower_id)
    return template.name, given.valid_to


def new_nonce() -> str:
    """What one button stands for."""
    return secrets.token_urlsafe(12)


def giveable() -> list[tuple[int, str]]:
    """Coupons that may be given by hand now."""
    live = templates.listed(g.session, merchant_id=g.staff.merchant_id, states=(TemplateState.LIVE,), limit=SHOWABLE)
    return [(row.template.id, row.template.name) for row in live]


def _card(shown: str) -> Card:
    return redeeming.look_up(
        g.session,
        current_runtime(),
        merchant_id=g.staff.merchant_id,
        staff_id=g.staff.id,
        shown=shown,
        now=now(),
    )


def _entry(form: Submission[Any]) -> str:
    return render_template("merchant/till.html", form=form)


def _card_page(shown: str, card: Card, refusal: BusinessError | None = None, bill_typed: str = "") -> str:
    return render_template(
        "merchant/till_card.html",
        shown=shown,
        card=card,
        nonces={one.public_id: new_nonce() for one in card.coupons if one.is_usable},
        visit_nonce=new_nonce(),
        give_nonce=new_nonce(),
        gifts=giveable(),
        own_id=g.staff.merchant_id,
        refusal=refusal_text(refusal) if refusal else None,
        bill_typed=bill_typed,
        held_minutes=int(redeeming.HELD.total_seconds()) // 60,
    )


def _card_again(shown: str, refusal: Invalid, bill_typed: str) -> ResponseReturnValue:
    """The card once more, with what to mend; if the code is over by now, where to scan the next one."""
    try:
        card = _card(shown)
    except BusinessError as gone:
        return _refused(_("没有核销"), gone)
    return _card_page(shown, card, refusal, bill_typed), refusal.status


def _done(verdict: Verdict) -> str:
    return render_template("merchant/till_done.html", **vars(verdict))


def _refused(title: str, refusal: BusinessError) -> ResponseReturnValue:
    """Big and red, with the reason."""
    return _done(Verdict(title, lines=(refusal_text(refusal),), is_good=False)), refusal.status
