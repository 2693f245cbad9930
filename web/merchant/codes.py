"""二维码: the shop's codes, one of them large enough to be scanned from the screen, and its files for printing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Literal
from urllib.parse import quote, urlencode

from flask import Blueprint, Response, flash, g, redirect, render_template
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from pydantic import Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.database import Role
from core.errors import BusinessError, Invalid, NotFound
from merchants.models import StaffRole
from merchants.reviews import ReviewState
from qrcodes import codes, handovers, images, queries, traffic, trials
from qrcodes.models import CodeKind, CodeState, SubQrCode
from qrcodes.posters import looks, slogans
from qrcodes.posters.formats import Format
from qrcodes.queries import CodeFilter
from qrcodes.traffic import Counts, Range
from web import posters as gallery
from web import register
from web.acts import record
from web.auth.access import merchant_required
from web.context import current_runtime, now, sandbox_phone
from web.exports import Rows, csv_answer, rows_from
from web.forms import Form, OneLine, OptionalLine, Submission, blank, read_form
from web.language import refusal_text
from web.live import live_page
from web.merchant.words import show_refusal
from web.query import Id, Query, read_query
from web.register import ManyForm, RegisterForm
from web.security import limiter
from web.trials import trial_state

blueprint = Blueprint("merchant_codes", __name__, url_prefix="/merchant/codes")

PAGE = 40
DAYS = 30
SOON = timedelta(days=3)
"""A temporary code that ends within this time is pointed out in the list."""


class Condition(StrEnum):
    """What a code is good for at this moment."""

    IN_THE_MAKING = "in the making"
    GOOD = "good"
    ENDING = "ending"
    OVER = "over"
    RETIRED = "retired"


CONDITIONS: dict[Condition, Any] = {
    Condition.IN_THE_MAKING: _l("生成中"),
    Condition.GOOD: _l("使用中"),
    Condition.ENDING: _l("快到期"),
    Condition.OVER: _l("已过期"),
    Condition.RETIRED: _l("已停用"),
}


def condition(code: SubQrCode, at: datetime) -> Condition:
    """The condition of a code at a moment."""
    if code.state == CodeState.RETIRED:
        return Condition.RETIRED
    if code.state == CodeState.PLANNED:
        return Condition.IN_THE_MAKING
    if codes.is_expired(code, at):
        return Condition.OVER
    if codes.is_expired(code, at + SOON):
        return Condition.ENDING
    return Condition.GOOD


@dataclass(frozen=True)
class Card:
    """One code as a page shows it."""

    code: SubQrCode
    condition: Condition
    counts: Counts

    @property
    def days_left(self) -> int:
        """Whole days until a temporary code ends; 0 is today."""
        return register.days_left(self.code)


class Conditions(register.Conditions):
    """What a shop's list is narrowed by."""

    state: Literal["retired"] | None = None

    @property
    def filter(self) -> CodeFilter:
        """This shop's codes that meet these conditions."""
        return self.within(CodeFilter(merchant_id=g.staff.merchant_id, is_retired=self.state == "retired"))


class CodesQuery(Conditions, Query):
    """Which codes."""

    before: Id | None = None


class ManyCodesForm(Conditions, ManyForm):
    """What to do with which codes."""


class HandOverForm(Form):
    """To whom a code goes: a shop's whole name, or its number."""

    merchant: OneLine


class ImageQuery(Query):
    size: Literal["600", "1200", "2400"] = "600"


class NewForm(Form):
    """A code to be made; without days it is permanent."""

    label: OneLine
    kind: CodeKind
    place: OptionalLine = ""
    life: Literal["permanent", "temporary"] = "permanent"
    days: int | Literal[""] = Field(default="")


@blueprint.get("")
@merchant_required()
def list_codes() -> ResponseReturnValue:
    """The codes with what each brought in thirty days; one in the making shows up when it is ready."""
    query = read_query(CodesQuery)
    merchant_id = g.staff.merchant_id
    found = queries.page(g.session, wanted=query.filter, now=now(), before=query.before, limit=PAGE + 1)
    shown, counts = found[:PAGE], _counts(merchant_id)

    def around() -> dict[str, object]:
        """What stands around the list."""
        return {
            "filters": register.filters(merchant_id),
            "form": blank(act="change"),
            "ending": register.ending(merchant_id),
            "offers": handovers.waiting_for(g.session, merchant_id, now()),
        }

    return live_page(
        "merchant/codes.html",
        "merchant/_codes.html",
        query=query,
        conditions={name: value for name, value in query.model_dump(exclude={"before"}).items() if value},
        is_narrow=query.filter.is_narrow,
        cards=[_card(row.code, counts) for row in shown],
        older=shown[-1].code.id if len(found) > PAGE else None,
        former=handovers.former_owners(g.session, [row.code.id for row in shown]),
        around=around,
    )


@blueprint.post("/many")
@merchant_required(StaffRole.OWNER)
def change_many() -> ResponseReturnValue:
    """Change or retire what is ticked, or everything the list shows."""
    form = read_form(ManyCodesForm)
    if form.data is None:
        raise Invalid(next(iter(form.errors.values())))
    done = register.act_on_many(form.data, form.data.filter, merchant_id=g.staff.merchant_id)
    record(done.name, "codes", codes=done.code_ids)
    flash(done.sentence, "good")
    conditions = form.data.model_dump(include=set(Conditions.model_fields))
    return redirect(f"/merchant/codes?{urlencode({k: v for k, v in conditions.items() if v})}", 303)


@blueprint.post("/export")
@merchant_required(StaffRole.OWNER)
def export() -> Response:
    """The codes as a table."""
    wanted, moment = read_query(CodesQuery).filter, now()
    record("export", "codes")

    def rows(session: Session) -> Rows:
        for row in queries.everything(session, wanted=wanted, now=moment):
            yield register.table_row(row, str(CONDITIONS[condition(row.code, moment)]))

    heads = [str(head) for head in register.HEADS]
    return csv_answer(_("二维码"), heads, rows_from(rows, role=Role.MERCHANT, merchant_id=g.staff.merchant_id))


@blueprint.get("/new")
@merchant_required(StaffRole.OWNER)
def new() -> ResponseReturnValue:
    """A form for one more code."""
    return _new_page(blank(kind=CodeKind.COUNTER, life="permanent", days=30))


@blueprint.post("")
@merchant_required(StaffRole.OWNER)
def add() -> ResponseReturnValue:
    """Plan the code; a worker asks the platform for it at once. One that already has this name is shown instead."""
    form = read_form(NewForm)
    if form.data is None:
        return _new_page(form), 422
    try:
        wanted = codes.Wanted(form.data.label, form.data.kind, form.data.place, _days(form.data)).checked()
        is_known = _goes_by(wanted.label)
        code = codes.add(g.session, merchant_id=g.staff.merchant_id, wanted=wanted, now=now())
    except Invalid as refusal:
        show_refusal(form, refusal)
        return _new_page(form), 422
    except BusinessError as refusal:
        form.errors[""] = refusal_text(refusal)
        return _new_page(form), refusal.status
    if is_known:
        flash(_("已经有一个叫“%(label)s”的码，就是这一个。", label=code.label), "info")
    else:
        record("code.add", f"code:{code.id}")
        flash(_("新的二维码好了，打印出来贴上吧。"), "good")
    return redirect(f"/merchant/codes/{code.id}", 303)


def _days(data: NewForm) -> int | None:
    if data.life == "permanent":
        return None
    return data.days or 0


def _goes_by(label: str) -> bool:
    """Whether a code of this name is in use."""
    named = codes.list_codes(g.session, merchant_id=g.staff.merchant_id, search=label, retired=False)
    return any(code.label == label and not codes.is_expired(code, now()) for code in named)


def _new_page(form: Submission[Any]) -> str:
    return render_template("merchant/code_new.html", form=form, kinds=register.kinds())


@blueprint.get("/<int:code_id>")
@merchant_required()
def show(code_id: int) -> ResponseReturnValue:
    """One code: its picture, its files, its thirty days; for the owner also its name, and its end."""
    code = _own(code_id)
    return _code_page(code, register.filled(code))


@blueprint.post("/<int:code_id>")
@merchant_required(StaffRole.OWNER)
def edit(code_id: int) -> ResponseReturnValue:
    """Call it something else, hang it elsewhere, note what it cost."""
    code = _own(code_id)
    form = read_form(RegisterForm)
    if form.data is None:
        return _code_page(code, form), 422
    try:
        codes.edit(g.session, merchant_id=g.staff.merchant_id, code_id=code_id, wanted=form.data.wanted)
    except Invalid as refusal:
        show_refusal(form, refusal)
        return _code_page(code, form), 422
    record("code.edit", f"code:{code_id}")
    flash(_("已保存。"), "good")
    return redirect(f"/merchant/codes/{code_id}", 303)


@blueprint.post("/<int:code_id>/retire")
@merchant_required(StaffRole.OWNER)
def retire(code_id: int) -> ResponseReturnValue:
    """Stop counting it, for good."""
    if codes.retire(g.session, merchant_id=g.staff.merchant_id, code_id=code_id, now=now()):
        record("code.retire", f"code:{code_id}")
    flash(_("这个码已经停用，再有人扫也不计在本店名下了。"), "good")
    return redirect("/merchant/codes", 303)


@blueprint.post("/<int:code_id>/try")
@merchant_required()
def try_out(code_id: int) -> ResponseReturnValue:
    """The next scan of this code is a test."""
    if trials.arm(g.session, merchant_id=g.staff.merchant_id, code_id=code_id, staff_id=g.staff.id, now=now()):
        record("code.try", f"code:{code_id}")
    flash(_("已准备好，请用微信扫这个码。"), "good")
    return redirect(f"/merchant/codes/{code_id}", 303)


@blueprint.post("/<int:code_id>/hand-over")
@merchant_required(StaffRole.OWNER)
def hand_over(code_id: int) -> ResponseReturnValue:
    """Offer it to another shop, which has a week to take it."""
    code = _own(code_id)
    form = read_form(HandOverForm)
    if form.data is None:
        return _code_page(code, register.filled(code), giving=form), 422
    try:
        # Whom there is to give it to is what everybody sees on the front page.
        with current_runtime().transaction(Role.FAN) as street:
            receiver = handovers.find_receiver(street, wanted=form.data.merchant)
        handovers.offer(g.session, code_id=code_id, merchant_id=g.staff.merchant_id, receiver=receiver, now=now())
    except Invalid as refusal:
        form.refuse(refusal)
        return _code_page(code, register.filled(code), giving=form), 422
    record("handover.offer", f"code:{code_id}", to=receiver.id)
    flash(_("已向“%(name)s”提出移交，对方接收后生效。", name=receiver.name), "good")
    return redirect("/merchant/handovers", 303)


@blueprint.get("/<int:code_id>/show")
@merchant_required()
def show_large(code_id: int) -> ResponseReturnValue:
    """The code alone on a white page, to be scanned from this screen at the counter."""
    code = _drawable(code_id)
    return render_template("merchant/code_large.html", code=code)


@blueprint.get("/<int:code_id>/code.png")
@merchant_required()
def png(code_id: int) -> ResponseReturnValue:
    """The code as dots."""
    query = read_query(ImageQuery)
    code = _drawable(code_id)
    return _file(images.png(str(code.url), size=int(query.size)), "image/png", f"{code.label}.png")


@blueprint.get("/<int:code_id>/code.svg")
@merchant_required()
def svg(code_id: int) -> ResponseReturnValue:
    """The code as lines, for a printer's shop."""
    code = _drawable(code_id)
    return _file(images.svg(str(code.url)), "image/svg+xml", f"{code.label}.svg")


@blueprint.get("/<int:code_id>/posters")
@merchant_required()
def posters(code_id: int) -> ResponseReturnValue:
    """Every format in the shop's look; the owner may change the look."""
    return _gallery(gallery.drawable(_own(code_id)))


@blueprint.post("/<int:code_id>/posters")
@merchant_required(StaffRole.OWNER)
def save_look(code_id: int) -> ResponseReturnValue:
    """Keep the look for all of the shop's posters."""
    code = gallery.drawable(_own(code_id))
    form = read_form(gallery.LookForm)
    if form.data is not None:
        try:
            looks.save(g.session, merchant_id=g.staff.merchant_id, wanted=form.data.wishes, now=now())
        except Invalid as refusal:
            show_refusal(form, refusal)
        else:
            record("posters.look", f"code:{code_id}")
            version = slogans.newest(g.session, merchant_id=g.staff.merchant_id)
            if version is not None and version.review == ReviewState.PENDING:
                flash(_("已保存。新口号交给运营审批，通过后才会印出来。"), "wait")
            else:
                flash(_("已保存，本店的海报以后都是这个样子。"), "good")
            return redirect(f"/merchant/codes/{code_id}/posters", 303)
    return _gallery(code, form), 422


@blueprint.post("/<int:code_id>/posters/all")
@merchant_required()
def pack_posters(code_id: int) -> ResponseReturnValue:
    """One format for all of the shop's codes, as a ZIP."""
    return gallery.pack(gallery.drawable(_own(code_id)), jobs_path="/merchant/jobs")


@blueprint.get(f"/<int:code_id>/posters/<{gallery.FORMATS}:format_>/preview")
@merchant_required()
@limiter.limit("600 per minute")
def poster_preview(code_id: int, format_: str) -> ResponseReturnValue:
    """One format, small."""
    return gallery.preview(gallery.drawable(_own(code_id)), Format(format_))


@blueprint.get(f"/<int:code_id>/posters/<{gallery.FORMATS}:format_>/pdf")
@merchant_required()
@limiter.limit("60 per minute")
def poster_pdf(code_id: int, format_: str) -> ResponseReturnValue:
    """One format for the printer."""
    return gallery.pdf(gallery.drawable(_own(code_id)), Format(format_))


@blueprint.get(f"/<int:code_id>/posters/<{gallery.FORMATS}:format_>/png")
@merchant_required()
@limiter.limit("60 per minute")
def poster_png(code_id: int, format_: str) -> ResponseReturnValue:
    """One format as a picture."""
    return gallery.png(gallery.drawable(_own(code_id)), Format(format_))


def _gallery(code: SubQrCode, form: Submission[Any] | None = None) -> Response:
    return gallery.gallery(code, path=f"/merchant/codes/{code.id}/posters", page="merchant/posters.html", form=form)


def _file(content: bytes | str, mime: str, name: str) -> Response:
    response = Response(content, mimetype=mime)
    response.headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(name, safe='')}"
    return response


def _own(code_id: int) -> SubQrCode:
    mine = select(SubQrCode).where(SubQrCode.id == code_id, SubQrCode.merchant_id == g.staff.merchant_id)
    code: SubQrCode | None = g.session.scalar(mine)
    if code is None:
        raise NotFound(_("没有这个二维码。"))
    return code


def _drawable(code_id: int) -> SubQrCode:
    """A code that can be scanned; printed ones that were taken over have no picture, and nobody needs a retired one."""
    code = _own(code_id)
    if code.url is None or code.state == CodeState.RETIRED:
        raise NotFound(_("没有这个二维码。"))
    return code


def _counts(merchant_id: int) -> dict[int, Counts]:
    month = Range.last_days(DAYS, now())
    return {one.code_id: one.counts for one in traffic.by_code(g.session, month, merchant_id=merchant_id)}


def _card(code: SubQrCode, counts: dict[int, Counts]) -> Card:
    return Card(code, condition(code, now()), counts.get(code.id, Counts()))


def _code_page(code: SubQrCode, form: Submission[Any], *, giving: Submission[Any] | None = None) -> Response:
    settings = current_runtime().settings

    def around() -> dict[str, object]:
        """What stands below the picture."""
        return {
            "form": form,
            "kinds": register.kinds(),
            "filters": register.filters(g.staff.merchant_id),
            "giving": giving or blank(),
            "deals": handovers.of_code(g.session, code.id),
        }

    return live_page(
        "merchant/code.html",
        "merchant/_code.html",
        code=code,
        card=_card(code, _counts(g.staff.merchant_id)),
        trial=trial_state(g.session, code_id=code.id),
        public_url=f"{settings.public_url}/q/{code.public_id}",
        sandbox_url=sandbox_phone(code.url) if code.url is not None and code.state == CodeState.ACTIVE else None,
        around=around,
    )
