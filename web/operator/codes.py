"""二维码: every merchant's codes, making one, taking over printed ones, and retiring them."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import quote, urlencode

from flask import Blueprint, Response, flash, g, make_response, redirect, render_template
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from pydantic import BeforeValidator, Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from core import outbox
from core.database import Role
from core.errors import Invalid, NotFound
from core.models import Outbox
from merchants import merchants
from merchants.merchants import MerchantSuspended
from merchants.models import Merchant, MerchantState
from qrcodes import codes, handovers, images, queries, traffic, trials
from qrcodes.codes import LONGEST_DAYS, PoolSpent, SceneTaken, Wanted
from qrcodes.models import CodeKind, CodeState, SubQrCode
from qrcodes.posters import looks
from qrcodes.posters.formats import Format
from qrcodes.queries import CodeFilter, CodeRow
from qrcodes.traffic import Range
from web import posters as gallery
from web import register
from web.acts import record
from web.auth.access import operator_required
from web.context import current_runtime, now, sandbox_phone
from web.exports import Rows, csv_answer, rows_from
from web.forms import Form, OneLine, OptionalLine, Submission, blank, read_form
from web.live import etag_of, live_page
from web.operator.desk import PAGE, account, here, page_of
from web.operator.words import word
from web.query import Id, Query, Words, read_query
from web.register import ManyForm, RegisterForm
from web.trials import trial_state

blueprint = Blueprint("codes", __name__, url_prefix="/codes")

MERCHANTS_OFFERED = 1_000
Days = Annotated[
    Annotated[int, Field(ge=1, le=LONGEST_DAYS)] | None, BeforeValidator(lambda typed: typed if typed else None)
]
"""How long a temporary code lives; nothing typed means permanent."""


class Conditions(register.Conditions):
    """What the operator's list is narrowed by."""

    merchant: Id | None = None
    state: CodeState | None = None

    @property
    def filter(self) -> CodeFilter:
        """The codes of the account that meet these conditions."""
        return self.within(CodeFilter(account_id=account().id, merchant_id=self.merchant, state=self.state))


class CodesQuery(Conditions, Query):
    """Which codes."""

    before: Id | None = None


class ManyCodesForm(Conditions, ManyForm):
    """What to do with which codes."""


class NewQuery(Query):
    """For whom."""

    merchant: Id | None = None


class AdoptQuery(Query):
    """Which printed scene."""

    scene: Words = ""


class PictureQuery(Query):
    """How large, and whether to keep it."""

    size: Annotated[int, Field(ge=images.SMALLEST, le=images.LARGEST)] = 600
    download: Literal["1"] | None = None


class CodeForm(Form):
    """A code as it is wanted."""

    merchant: OneLine
    label: OneLine
    kind: CodeKind
    place: OptionalLine = ""
    days: Days = None


class HandOverForm(Form):
    """To whom a code goes."""

    merchant: OneLine


class AdoptForm(Form):
    """Whose a printed scene becomes."""

    scene: OneLine
    merchant: OneLine
    label: OptionalLine = ""


@blueprint.get("")
@operator_required
def index() -> ResponseReturnValue:
    """All codes, newest first; asks again while some are still being made."""
    return _list_page(read_query(CodesQuery), blank(act="change"))


def _list_page(wanted: CodesQuery, form: Submission[Any]) -> Response:
    rows = queries.page(g.session, wanted=wanted.filter, now=now(), before=wanted.before, limit=PAGE + 1)

    def around() -> dict[str, object]:
        """What stands around the list."""
        pool = queries.pool(g.session, account_id=account().id, now=now())
        states = [(_("全部"), here(state=None, before=None), wanted.state is None)]
        states += [
            (word(state, "code_state"), here(state=state, before=None), wanted.state is state) for state in CodeState
        ]
        return {
            "conditions": {name: value for name, value in wanted.model_dump(exclude={"before"}).items() if value},
            "states": states,
            "filters": register.filters(),
            "form": form,
            "pool": pool,
            "lasts_until": pool.lasts_until(now()),
            "ending": register.ending(),
            "merchant": _merchant(wanted.merchant) if wanted.merchant else None,
        }

    return live_page(
        "operator/codes.html",
        "operator/_codes.html",
        is_polling=any(_is_coming(row) for row in rows),
        wanted=wanted,
        is_narrow=wanted.filter.is_narrow,
        page=page_of(rows, lambda row: row.code.id),
        former=handovers.former_owners(g.session, [row.code.id for row in rows]),
        around=around,
    )


@blueprint.post("/many")
@operator_required
def change_many() -> ResponseReturnValue:
    """Change or retire what is ticked, or everything the list shows."""
    form = read_form(ManyCodesForm)
    if form.data is None:
        raise Invalid(next(iter(form.errors.values())))
    done = register.act_on_many(form.data, form.data.filter, merchant_id=None)
    record(done.name, "codes", codes=done.code_ids)
    flash(done.sentence, "good")
    conditions = form.data.model_dump(include=set(Conditions.model_fields))
    return redirect(f"/operator/codes?{urlencode({k: v for k, v in conditions.items() if v})}", 303)


@blueprint.post("/export")
@operator_required
def export() -> Response:
    """The codes as a table."""
    wanted, moment = read_query(CodesQuery).filter, now()
    record("export", "codes")

    def rows(session: Session) -> Rows:
        for row in queries.everything(session, wanted=wanted, now=moment):
            yield (*register.table_row(row, word(row.code.state, "code_state")), row.code.scene)

    heads = [*(str(head) for head in register.HEADS), _("场景值")]
    return csv_answer(_("二维码"), heads, rows_from(rows, role=Role.PLATFORM))


@blueprint.get("/new")
@operator_required
def new() -> str:
    """Label, kind, place, and how long."""
    wanted = read_query(NewQuery)
    merchant = _merchant(wanted.merchant).name if wanted.merchant else ""
    return _new_page(blank(merchant=merchant, kind=CodeKind.COUNTER))


@blueprint.post("/new")
@operator_required
def add() -> ResponseReturnValue:
    """Plan a code; the worker asks the platform for it."""
    form = read_form(CodeForm)
    if form.data is not None:
        try:
            code = _add(form.data)
        except Invalid as refusal:
            form.refuse(refusal)
        except (NotFound, MerchantSuspended) as refusal:
            form.refuse(Invalid(refusal.message, field="merchant"))
        except PoolSpent as refusal:
            form.refuse(Invalid(refusal.message, field="days"))
        else:
            return redirect(f"/operator/codes/{code.id}", 303)
    return _new_page(form), 422


def _add(data: CodeForm) -> SubQrCode:
    merchant = merchants.find(g.session, account_id=account().id, wanted=data.merchant)
    wanted = Wanted(label=data.label, kind=data.kind, place=data.place, days=data.days)
    code = codes.add(g.session, merchant_id=merchant.id, wanted=wanted, now=now())
    record("code.add", f"code:{code.id}", merchant_id=merchant.id)
    return code


def _new_page(form: Submission[Any]) -> str:
    return render_template(
        "operator/code_new.html", form=form, kinds=register.kinds(), merchants=_names(), longest_days=LONGEST_DAYS
    )


@blueprint.get("/adopt")
@operator_required
def choose_owner() -> str:
    """Whose shall a printed scene be?"""
    return _adopt_page(blank(scene=read_query(AdoptQuery).scene))


@blueprint.post("/adopt")
@operator_required
def adopt() -> ResponseReturnValue:
    """Count a printed scene for a merchant from now on."""
    form = read_form(AdoptForm)
    if form.data is not None:
        try:
            code = _adopt(form.data)
        except Invalid as refusal:
            form.refuse(refusal)
        except (NotFound, MerchantSuspended) as refusal:
            form.refuse(Invalid(refusal.message, field="merchant"))
        except SceneTaken as refusal:
            form.refuse(Invalid(refusal.message, field="scene"))
        else:
            flash(_("已接管，从现在起扫这个码都算这家商户的。"), "good")
            return redirect(f"/operator/codes/{code.id}", 303)
    return _adopt_page(form), 422


def _adopt(data: AdoptForm) -> SubQrCode:
    merchant = merchants.find(g.session, account_id=account().id, wanted=data.merchant)
    code = codes.adopt(g.session, merchant_id=merchant.id, scene=data.scene, label=data.label, now=now())
    record("code.adopt", f"code:{code.id}", merchant_id=merchant.id)
    return code


def _adopt_page(form: Submission[Any]) -> str:
    return render_template("operator/code_adopt.html", form=form, merchants=_names())


@blueprint.get("/<int:code_id>")
@operator_required
def show(code_id: int) -> ResponseReturnValue:
    """One code: its picture, where it hangs and what it brings; asks again until it is ready."""
    row = _row(code_id)
    return _code_page(row, register.filled(row.code))


@blueprint.post("/<int:code_id>")
@operator_required
def edit(code_id: int) -> ResponseReturnValue:
    """Change what it is called, where it hangs, and what it cost."""
    row = _row(code_id)
    form = read_form(RegisterForm)
    if form.data is not None:
        try:
            codes.edit(g.session, merchant_id=row.code.merchant_id, code_id=code_id, wanted=form.data.wanted)
        except Invalid as refusal:
            form.refuse(refusal)
        else:
            record("code.edit", f"code:{code_id}", merchant_id=row.code.merchant_id)
            flash(_("已保存。"), "good")
            return redirect(f"/operator/codes/{code_id}", 303)
    response = make_response(_code_page(row, form))
    response.status_code = 422
    return response


def _code_page(row: CodeRow, form: Submission[Any], *, giving: Submission[Any] | None = None) -> Response:
    def around() -> dict[str, object]:
        """What stands beside the picture."""
        month = Range.last_days(30, now())
        by_code = traffic.by_code(g.session, month, merchant_id=row.code.merchant_id)
        return {
            "form": form,
            "kinds": register.kinds(),
            "filters": register.filters(row.code.merchant_id),
            "giving": giving or blank(),
            "merchants": _names(),
            "owners": handovers.owners(g.session, row.code.id),
            "trial": trial_state(g.session, code_id=row.code.id),
            "public_url": f"{current_runtime().settings.public_url}/q/{row.code.public_id}",
            "month": next(one.counts for one in by_code if one.code_id == row.code.id),
        }

    return live_page(
        "operator/code.html",
        "operator/_code.html",
        is_polling=_is_coming(row),
        etag=etag_of(row.code.state, row.error, row.has_given_up),
        row=row,
        code=row.code,
        is_expired=codes.is_expired(row.code, now()),
        sandbox_url=sandbox_phone(row.code.url) if row.code.url is not None else None,
        around=around,
    )


@blueprint.get("/<int:code_id>.png")
@operator_required
def png(code_id: int) -> Response:
    """The code as a picture of pixels."""
    wanted = read_query(PictureQuery)
    row = _row(code_id)
    return _picture(row, images.png(_url(row.code), size=wanted.size), "png", "image/png", wanted)


@blueprint.get("/<int:code_id>.svg")
@operator_required
def svg(code_id: int) -> Response:
    """The code for any size of print."""
    wanted = read_query(PictureQuery)
    row = _row(code_id)
    return _picture(row, images.svg(_url(row.code)), "svg", "image/svg+xml", wanted)


@blueprint.get("/<int:code_id>/posters")
@operator_required
def posters(code_id: int) -> ResponseReturnValue:
    """Every format in the merchant's look."""
    return _gallery(_row(code_id))


@blueprint.post("/<int:code_id>/posters")
@operator_required
def save_look(code_id: int) -> ResponseReturnValue:
    """Keep a look for all of the merchant's posters."""
    row = _row(code_id)
    gallery.drawable(row.code)
    form = read_form(gallery.LookForm)
    if form.data is not None:
        try:
            looks.save(
                g.session,
                merchant_id=row.code.merchant_id,
                wanted=form.data.wishes,
                now=now(),
                operator_id=g.staff.id,
            )
        except Invalid as refusal:
            form.refuse(refusal)
        else:
            record("posters.look", f"code:{code_id}", merchant_id=row.code.merchant_id)
            flash(_("已保存，这家商户的海报以后都是这个样子。"), "good")
            return redirect(f"/operator/codes/{code_id}/posters", 303)
    return _gallery(row, form), 422


@blueprint.post("/<int:code_id>/posters/all")
@operator_required
def pack_posters(code_id: int) -> ResponseReturnValue:
    """One format for all codes of the merchant, as a ZIP."""
    return gallery.pack(gallery.drawable(_row(code_id).code), jobs_path="/operator/jobs")


@blueprint.get(f"/<int:code_id>/posters/<{gallery.FORMATS}:format_>/preview")
@operator_required
def poster_preview(code_id: int, format_: str) -> Response:
    """One format, small."""
    return gallery.preview(gallery.drawable(_row(code_id).code), Format(format_))


@blueprint.get(f"/<int:code_id>/posters/<{gallery.FORMATS}:format_>/pdf")
@operator_required
def poster_pdf(code_id: int, format_: str) -> Response:
    """One format for the printer."""
    return gallery.pdf(gallery.drawable(_row(code_id).code), Format(format_))


@blueprint.get(f"/<int:code_id>/posters/<{gallery.FORMATS}:format_>/png")
@operator_required
def poster_png(code_id: int, format_: str) -> Response:
    """One format as a picture."""
    return gallery.png(gallery.drawable(_row(code_id).code), Format(format_))


def _gallery(row: CodeRow, form: Submission[Any] | None = None) -> Response:
    return gallery.gallery(
        gallery.drawable(row.code),
        path=f"/operator/codes/{row.code.id}/posters",
        page="operator/posters.html",
        form=form,
        merchant_name=row.merchant_name,
    )


@blueprint.post("/<int:code_id>/retire")
@operator_required
def retire(code_id: int) -> ResponseReturnValue:
    """Stop counting it, for good."""
    code = _row(code_id).code
    if codes.retire(g.session, merchant_id=code.merchant_id, code_id=code_id, now=now()):
        record("code.retire", f"code:{code_id}", merchant_id=code.merchant_id)
        flash(_("二维码“%(label)s”已作废。", label=code.label), "good")
    return redirect(f"/operator/codes/{code_id}", 303)


@blueprint.post("/<int:code_id>/try")
@operator_required
def try_out(code_id: int) -> ResponseReturnValue:
    """The next scan of this code is a test."""
    code = _row(code_id).code
    if trials.arm(g.session, merchant_id=code.merchant_id, code_id=code_id, staff_id=g.staff.id, now=now()):
        record("code.try", f"code:{code_id}", merchant_id=code.merchant_id)
    flash(_("已准备好，请用微信扫这个码。"), "good")
    return redirect(f"/operator/codes/{code_id}", 303)


@blueprint.post("/<int:code_id>/hand-over")
@operator_required
def hand_over(code_id: int) -> ResponseReturnValue:
    """Give it to another merchant at once."""
    row = _row(code_id)
    form = read_form(HandOverForm)
    if form.data is not None:
        try:
            receiver = handovers.find_receiver(g.session, wanted=form.data.merchant)
            deal = handovers.hand_over(g.session, code_id=code_id, receiver=receiver, operator_id=g.staff.id, now=now())
        except Invalid as refusal:
            form.refuse(refusal)
        else:
            for merchant_id in (deal.from_merchant_id, deal.to_merchant_id):
                told = {"from": deal.from_merchant_id, "to": deal.to_merchant_id}
                record("code.hand_over", f"code:{code_id}", merchant_id=merchant_id, **told)
            flash(_("已移交给“%(name)s”，从现在起的扫码算它的。", name=receiver.name), "good")
            return redirect(f"/operator/codes/{code_id}", 303)
    response = _code_page(row, register.filled(row.code), giving=form)
    response.status_code = 422
    return response


@blueprint.post("/<int:code_id>/retry")
@operator_required
def retry(code_id: int) -> ResponseReturnValue:
    """Ask the platform once more for a code it refused too often."""
    code = _row(code_id).code
    task_id = g.session.scalar(select(Outbox.id).where(Outbox.dedupe_key == f"{codes.CREATE}:{code_id}"))
    if task_id is not None and outbox.revive(g.session, task_id):
        record("task.revive", f"task:{task_id}", merchant_id=code.merchant_id)
        flash(_("正在重新生成。"), "good")
    return redirect(f"/operator/codes/{code_id}", 303)


def _picture(row: CodeRow, content: bytes | str, kind: str, mime: str, wanted: PictureQuery) -> Response:
    response = make_response(content)
    response.mimetype = mime
    if wanted.download:
        name = quote(f"{row.merchant_name}-{row.code.label}")
        response.headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{name}.{kind}"
    return response


def _url(code: SubQrCode) -> str:
    if code.url is None:
        raise NotFound(_("这个二维码没有图片。"))
    return code.url


def _row(code_id: int) -> CodeRow:
    row = queries.one(g.session, code_id)
    if row is None:
        raise NotFound(_("没有这个二维码。"))
    return row


def _merchant(merchant_id: int) -> Merchant:
    merchant: Merchant | None = g.session.get(Merchant, merchant_id)
    if merchant is None:
        raise NotFound(_("没有这个商户。"))
    return merchant


def _is_coming(row: CodeRow) -> bool:
    return row.code.state == CodeState.PLANNED and not row.has_given_up


def _names() -> list[str]:
    """Merchants to choose from while typing."""
    active = merchants.list_merchants(
        g.session, account_id=account().id, state=MerchantState.ACTIVE, limit=MERCHANTS_OFFERED
    )
    return [one.name for one in active.merchants]
