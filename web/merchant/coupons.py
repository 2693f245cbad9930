"""优惠券: making a kind of coupons in a minute, handing it in, and looking after it while it lives."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Literal
from urllib.parse import urlencode

from flask import Blueprint, flash, g, redirect, render_template
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from sqlalchemy import select
from sqlalchemy.orm import Session

from campaigns import audience
from campaigns.coupons import alliance, giving, statistics, templates, validity
from campaigns.coupons.giving import Refusal
from campaigns.coupons.models import Coupon, CouponTemplate, TemplateState
from campaigns.points import levels
from core.clock import SHANGHAI, business_day
from core.database import Role
from core.errors import BusinessError, Invalid, NotFound
from merchants.models import StaffRole
from merchants.reviews import ReviewState
from qrcodes import handovers
from web.acts import record
from web.auth.access import merchant_required
from web.benefit_words import KINDS, WEEKDAYS
from web.context import current_runtime, now
from web.exports import Rows, csv_answer, rows_from
from web.forms import Form, OptionalLine, Paragraph, Submission, blank, read_form
from web.language import phrase, refusal_text
from web.merchant import coupon_form
from web.merchant.coupon_form import CouponForm, Whole
from web.merchant.pictures import own_picture_url
from web.merchant.words import show_refusal
from web.query import Id, Query, Words, read_query
from web.register import yuan
from web.security import limiter

blueprint = Blueprint("merchant_coupons", __name__, url_prefix="/merchant/coupons")

HOME = "/merchant/coupons"
REFUSAL_LABELS: dict[Refusal, Any] = {
    Refusal.NOT_LIVE: _l("暂停的时候"),
    Refusal.OVER: _l("已经结束"),
    Refusal.SOLD_OUT: _l("领完了"),
    Refusal.LATER: _l("这一批领完，还有下一批"),
    Refusal.TODAY_FULL: _l("今天的领完了"),
    Refusal.LIMIT: _l("他领过了"),
    Refusal.FIRST_ONLY: _l("他不是第一次"),
    Refusal.SEGMENT: _l("不在分组里"),
    Refusal.LEVEL: _l("等级不够"),
}
ONE = "/<int:coupon_template_id>"
PAGE = 30
DAYS = 30
NOT_IN_NUMBERS = re.compile(r"[\s-]")
"""What a fan's number is written with, to be read more easily."""
OPENS_AS = "%Y-%m-%d %H:%M"
"""How a line of tranches spells a moment; the clock on the wall is Shanghai's."""
STATES: dict[str, tuple[TemplateState, ...]] = {
    "drafts": (TemplateState.DRAFT,),
    "live": (TemplateState.LIVE,),
    "paused": (TemplateState.PAUSED,),
    "ended": (TemplateState.ENDED,),
}


class ListQuery(Query):
    """Which of them."""

    state: Literal["drafts", "live", "paused", "ended"] | None = None
    before: Id | None = None


class NewQuery(Query):
    """What a new one begins with."""

    like: Literal["amount", "percent", "gift"] | None = None


class HandedQuery(Query):
    """Whose coupons, and from where on."""

    q: Words = ""
    before: Id | None = None


class RevokeForm(Form):
    """Why one is taken back."""

    reason: OptionalLine = ""


class StockForm(Form):
    """How many there are, how many a day, and what they may cost altogether."""

    stock: Whole = ""
    per_day: Whole = ""
    budget: Whole = ""


class TranchesForm(Form):
    """When how many of them may be given."""

    tranches: Paragraph = ""


class MannerForm(Form):
    """How it is come by."""

    keyword: OptionalLine = ""
    is_public: Literal["true", ""] = ""


class RefusalsForm(Form):
    """The shop's own words for each reason of not giving one."""

    refusal_not_live: OptionalLine = ""
    refusal_over: OptionalLine = ""
    refusal_sold_out: OptionalLine = ""
    refusal_later: OptionalLine = ""
    refusal_today_full: OptionalLine = ""
    refusal_limit: OptionalLine = ""
    refusal_first_only: OptionalLine = ""
    refusal_segment: OptionalLine = ""
    refusal_level: OptionalLine = ""


class AcceptorForm(Form):
    """Which other shop is asked to redeem it, and for what."""

    merchant: OptionalLine = ""
    pays_percent: Whole = ""
    most: Whole = ""


class EndForm(Query):
    """Which shop redeems it no longer."""

    shop: Id


@blueprint.get("")
@merchant_required()
def index() -> str:
    """One's coupons with what became of them, or what to begin with."""
    query = read_query(ListQuery)
    merchant_id = g.staff.merchant_id
    states = STATES[query.state] if query.state else ()
    found = templates.listed(
        g.session, merchant_id=merchant_id, states=states, before=query.before, limit=PAGE + 1
    )  # fmt: skip
    shown = found[:PAGE]
    here = f"{HOME}?state={query.state}&" if query.state else f"{HOME}?"
    return render_template(
        "merchant/coupons.html",
        query=query,
        rows=shown,
        states=[
            (name, f"{HOME}?state={state}", query.state == state)
            for state, name in (
                ("drafts", _("草稿")), ("live", _("正在发")), ("paused", _("已暂停")), ("ended", _("已结束")),
            )
        ],
        examples=coupon_form.examples(),
        asked=len(asked_of_me(merchant_id)),
        older=f"{here}before={shown[-1].template.id}" if len(found) > PAGE else None,
        first=here.rstrip("?&") if query.before else None,
    )  # fmt: skip


def asked_of_me(merchant_id: int) -> list[alliance.Partner]:
    """Other shops' questions that wait for this shop's answer."""
    asked = alliance.partners(g.session, merchant_id=merchant_id, asked_only=True)
    return [one for one in asked if one.acceptor_id == merchant_id]


@blueprint.get("/new")
@merchant_required(StaffRole.OWNER)
def begin() -> str:
    """The form for a new one, empty or with an example in it."""
    return _form_page(None, coupon_form.begun(read_query(NewQuery).like))


@blueprint.post("/new")
@merchant_required(StaffRole.OWNER)
def create() -> ResponseReturnValue:
    """Keep it as a draft and look at it as a whole."""
    form = read_form(CouponForm)
    if form.data is None:
        return _form_page(None, coupon_form.shown_again(form)), 422
    try:
        template_id = templates.create(
            g.session,
            merchant_id=g.staff.merchant_id,
            staff_id=g.staff.id,
            draft=coupon_form.as_draft(form.data),
            now=now(),
        )
    except Invalid as refusal:
        show_refusal(form, coupon_form.at_its_field(refusal, form.data.kind))
        return _form_page(None, coupon_form.shown_again(form)), 422
    return redirect(f"{HOME}/{template_id}", 303)


@blueprint.post("/preview")
@merchant_required(StaffRole.OWNER)
@limiter.limit("240 per minute")
def preview() -> str:
    """The coupon that is being typed, as its holder will see it, with examples; nothing is kept."""
    form = read_form(CouponForm)
    return _preview(form.data)


def _preview(data: CouponForm | None) -> str:
    draft, why = None, ""
    if data is not None:
        try:
            draft = templates.check(coupon_form.as_draft(data), now=now())
        except Invalid as refusal:
            why = refusal_text(refusal)
    return render_template(
        "merchant/_coupon_preview.html",
        draft=draft,
        why=why,
        costs=templates.budget_of(draft) if draft else 0,
        worked=validity.worked_examples(draft, now=now()) if draft else [],
    )


@blueprint.get(f"{ONE}/edit")
@merchant_required(StaffRole.OWNER)
def edit(coupon_template_id: int) -> str:
    """The form again; what is not a draft any more is shown as it is."""
    template = _own(coupon_template_id)
    if not is_writable(template):
        return _page(template)
    return _form_page(template, coupon_form.as_typed(template))


@blueprint.post(f"{ONE}/edit")
@merchant_required(StaffRole.OWNER)
def save(coupon_template_id: int) -> ResponseReturnValue:
    """Keep the draft."""
    template = _own(coupon_template_id)
    form = read_form(CouponForm)
    if form.data is None:
        return _form_page(template, coupon_form.shown_again(form)), 422
    try:
        templates.save(
            g.session,
            merchant_id=g.staff.merchant_id,
            template_id=coupon_template_id,
            draft=coupon_form.as_draft(form.data),
            now=now(),
        )
    except Invalid as refusal:
        show_refusal(form, coupon_form.at_its_field(refusal, form.data.kind))
        return _form_page(template, coupon_form.shown_again(form)), 422
    return redirect(f"{HOME}/{coupon_template_id}", 303)


@blueprint.get(ONE)
@merchant_required()
def show(coupon_template_id: int) -> str:
    """One kind of coupons: what it promises, what became of it, and what may be done with it."""
    return _page(_own(coupon_template_id))


@blueprint.post(f"{ONE}/submit")
@merchant_required(StaffRole.OWNER)
def submit(coupon_template_id: int) -> ResponseReturnValue:
    """Hand it to the operator, unless something stops it; then the page says what."""
    template = _own(coupon_template_id)
    try:
        templates.submit(g.session, merchant_id=g.staff.merchant_id, template_id=template.id, now=now())
    except (Invalid, templates.BadWording) as refusal:
        return _page(template, refusal), 422
    record("coupon.submit", f"coupon_template:{template.id}")
    flash(_("已交给运营审批，结果会通知您。"), "good")
    return redirect(f"{HOME}/{template.id}", 303)


@blueprint.post(f"{ONE}/withdraw")
@merchant_required(StaffRole.OWNER)
def withdraw(coupon_template_id: int) -> ResponseReturnValue:
    """Back to a draft."""
    templates.withdraw(g.session, merchant_id=g.staff.merchant_id, template_id=coupon_template_id)
    flash(_("已撤回成草稿，改好再提交。"), "good")
    return redirect(f"{HOME}/{coupon_template_id}/edit", 303)


@blueprint.post(f"{ONE}/discard")
@merchant_required(StaffRole.OWNER)
def discard(coupon_template_id: int) -> ResponseReturnValue:
    """Give a draft up."""
    templates.throw_away(g.session, merchant_id=g.staff.merchant_id, template_id=coupon_template_id)
    flash(_("已删掉。"), "good")
    return redirect(HOME, 303)


def _mine(coupon_template_id: int) -> dict[str, int]:
    """Whose template it is and who does something to it."""
    return {"merchant_id": g.staff.merchant_id, "template_id": coupon_template_id, "staff_id": g.staff.id}


@blueprint.post(f"{ONE}/pause")
@merchant_required(StaffRole.OWNER)
def pause(coupon_template_id: int) -> ResponseReturnValue:
    """Give no more for now."""
    templates.pause(g.session, **_mine(coupon_template_id))
    flash(_("已暂停，发出去的照样能用。"), "good")
    return redirect(f"{HOME}/{coupon_template_id}", 303)


@blueprint.post(f"{ONE}/resume")
@merchant_required(StaffRole.OWNER)
def resume(coupon_template_id: int) -> ResponseReturnValue:
    """Give them again."""
    templates.resume(g.session, **_mine(coupon_template_id))
    flash(_("接着发了。"), "good")
    return redirect(f"{HOME}/{coupon_template_id}", 303)


@blueprint.post(f"{ONE}/end")
@merchant_required(StaffRole.OWNER)
def end(coupon_template_id: int) -> ResponseReturnValue:
    """Give none ever again."""
    templates.end(g.session, **_mine(coupon_template_id))
    flash(_("已结束，不再发了。"), "good")
    return redirect(f"{HOME}/{coupon_template_id}", 303)


@blueprint.post(f"{ONE}/copy")
@merchant_required(StaffRole.OWNER)
def copy(coupon_template_id: int) -> ResponseReturnValue:
    """The same promise once more, to be changed."""
    return redirect(f"{HOME}/{templates.copy(g.session, **_mine(coupon_template_id), now=now())}/edit", 303)


@blueprint.post(f"{ONE}/stock")
@merchant_required(StaffRole.OWNER)
def set_stock(coupon_template_id: int) -> ResponseReturnValue:
    """Other numbers, never fewer than were given (#73)."""
    template = _own(coupon_template_id)
    form = read_form(StockForm)
    if form.data is None:
        return _page(template, parts={"stock": form}), 422
    try:
        stock = coupon_form.whole_of(form.data.stock, "stock")
        if stock is None:
            raise Invalid("请填一共发多少张。", field="stock")
        templates.set_stock(
            g.session,
            merchant_id=g.staff.merchant_id,
            template_id=template.id,
            staff_id=g.staff.id,
            stock=stock,
            budget_fen=coupon_form.money_of(form.data.budget, "budget") if form.data.budget else None,
            per_day=coupon_form.whole_of(form.data.per_day, "per_day"),
        )
    except Invalid as refusal:
        form.refuse(coupon_form.at_its_field(refusal, template.kind))
        return _page(template, parts={"stock": form}), 422
    return _saved(template)


@blueprint.post(f"{ONE}/tranches")
@merchant_required(StaffRole.OWNER)
def set_tranches(coupon_template_id: int) -> ResponseReturnValue:
    """Other releases."""
    template = _own(coupon_template_id)
    form = read_form(TranchesForm)
    if form.data is None:
        return _page(template, parts={"tranches": form}), 422
    try:
        templates.set_tranches(
            g.session,
            merchant_id=g.staff.merchant_id,
            template_id=template.id,
            tranches=_tranches_of(form.data.tranches),
            now=now(),
        )
    except Invalid as refusal:
        form.refuse(refusal)
        return _page(template, parts={"tranches": form}), 422
    record("coupon.tranches", f"coupon_template:{template.id}")
    return _saved(template)


def _tranches_of(typed: str) -> list[templates.Tranche]:
    """Lines such as 2026-12-01 10:00 20."""
    found = []
    for line in filter(None, (line.strip() for line in typed.replace("：", ":").splitlines())):
        opens, _space, pieces = line.rpartition(" ")
        try:
            at = datetime.strptime(opens.strip(), OPENS_AS).replace(tzinfo=SHANGHAI)
        except ValueError:
            raise Invalid("看不懂“%(line)s”，请写成 2026-12-01 10:00 20。", field="tranches", line=line[:40]) from None
        found.append(templates.Tranche(at, coupon_form.whole_of(pieces, "tranches") or 0))
    return found


@blueprint.post(f"{ONE}/keyword")
@merchant_required(StaffRole.OWNER)
def set_keyword(coupon_template_id: int) -> ResponseReturnValue:
    """Another word, and whether everybody may take one."""
    template = _own(coupon_template_id)
    form = read_form(MannerForm)
    if form.data is None:
        return _page(template, parts={"keyword": form}), 422
    manner = {"keyword": form.data.keyword, "is_public": bool(form.data.is_public), "refusals": template.refusals}
    return _set_manner(template, "keyword", form, manner)


@blueprint.post(f"{ONE}/refusals")
@merchant_required(StaffRole.OWNER)
def set_refusals(coupon_template_id: int) -> ResponseReturnValue:
    """Other words where none is given."""
    template = _own(coupon_template_id)
    form = read_form(RefusalsForm)
    if form.data is None:
        return _page(template, parts={"refusals": form}), 422
    own = {one: getattr(form.data, f"refusal_{one}") for one in giving.WORDED}
    manner = {"keyword": template.keyword, "is_public": template.is_public, "refusals": own}
    return _set_manner(template, "refusals", form, manner)


def _set_manner(
    template: CouponTemplate, part: str, form: Submission[Any], manner: dict[str, Any]
) -> ResponseReturnValue:
    try:
        templates.set_manner(g.session, merchant_id=g.staff.merchant_id, template_id=template.id, **manner)
    except Invalid as refusal:
        show_refusal(form, refusal)
        return _page(template, parts={part: form}), 422
    except templates.KeywordTaken as refusal:
        form.errors["keyword"] = refusal_text(refusal)
        return _page(template, parts={part: form}), 422
    record("coupon.keyword", f"coupon_template:{template.id}")
    return _saved(template)


def _saved(template: CouponTemplate) -> ResponseReturnValue:
    flash(_("已保存。"), "good")
    return redirect(f"{HOME}/{template.id}", 303)


@blueprint.post(f"{ONE}/acceptors")
@merchant_required(StaffRole.OWNER)
def ask(coupon_template_id: int) -> ResponseReturnValue:
    """Ask another shop to redeem it, too."""
    template = _own(coupon_template_id)
    form = read_form(AcceptorForm)
    if form.data is None:
        return _page(template, parts={"acceptor": form}), 422
    try:
        # Whom there is to ask is what everybody sees on the front page.
        with current_runtime().transaction(Role.FAN) as street:
            other = handovers.find_receiver(street, wanted=form.data.merchant)
        percent = coupon_form.whole_of(form.data.pays_percent, "pays_percent")
        if percent is None:
            raise Invalid("请填整数。", field="pays_percent")
        alliance.ask(
            g.session,
            merchant_id=g.staff.merchant_id,
            template_id=template.id,
            acceptor_id=other.id,
            pays_percent=percent,
            most=coupon_form.whole_of(form.data.most, "most"),
            now=now(),
        )
    except Invalid as refusal:
        if refusal.field == "acceptor_id":
            refusal.field = "merchant"
        form.refuse(refusal)
        return _page(template, parts={"acceptor": form}), 422
    record("alliance.ask", f"coupon_template:{template.id}", to=other.id)
    flash(_("已问“%(name)s”，对方同意后就能收这张券。", name=other.name), "good")
    return redirect(f"{HOME}/{template.id}#acceptors", 303)


@blueprint.post(f"{ONE}/acceptors/end")
@merchant_required(StaffRole.OWNER)
def end_acceptor(coupon_template_id: int) -> ResponseReturnValue:
    """Let another shop redeem it no longer."""
    template = _own(coupon_template_id)
    wanted = read_query(EndForm)
    alliance.end(
        g.session, merchant_id=g.staff.merchant_id, template_id=template.id, acceptor_id=wanted.shop, now=now()
    )
    record("alliance.end", f"coupon_template:{template.id}", to=wanted.shop)
    flash(_("已说好不再收。"), "good")
    return redirect(f"{HOME}/{template.id}#acceptors", 303)


@blueprint.post(f"{ONE}/export")
@merchant_required()
def export(coupon_template_id: int) -> ResponseReturnValue:
    """Its days as a table."""
    template, merchant_id = _own(coupon_template_id), g.staff.merchant_id
    begins, ends = business_day(template.created_at), business_day(now())
    record("coupon.export", f"coupon_template:{template.id}")

    def read(session: Session) -> Rows:
        found = statistics.by_day(
            session, merchant_id=merchant_id, template_id=coupon_template_id, since=begins, until=ends
        )
        for one in found:
            yield (one.day, one.issued, one.uses, f"{one.discount_fen / 100:.2f}")

    heads = (_("日期"), _("发出"), _("核销"), _("让利（元）"))
    return csv_answer(template.name, heads, rows_from(read, role=Role.MERCHANT, merchant_id=merchant_id))


@blueprint.get(f"{ONE}/given")
@merchant_required()
def handed(coupon_template_id: int) -> str:
    """Every coupon of this kind that was given, and what it is by now."""
    return _handed_page(_own(coupon_template_id), read_query(HandedQuery))


@blueprint.post(f"{ONE}/given/<given>/revoke")
@merchant_required(StaffRole.OWNER)
def revoke(coupon_template_id: int, given: str) -> ResponseReturnValue:
    """Take back one that was given by mistake and has not been used up."""
    template, merchant_id = _own(coupon_template_id), g.staff.merchant_id
    mine = {"merchant_id": merchant_id, "template_id": template.id, "public_id": given}
    if g.session.scalar(select(Coupon.id).filter_by(**mine)) is None:
        raise NotFound("没有这张券。")
    form = read_form(RevokeForm)
    try:
        giving.revoke(
            g.session,
            merchant_id=merchant_id,
            staff_id=g.staff.id,
            coupon_public_id=given,
            reason=form.data.reason if form.data else "",
            now=now(),
        )
    except BusinessError as refusal:
        return _handed_page(template, HandedQuery(), (given, form, refusal)), refusal.status
    flash(_("已收回，客人的页面上写着“已收回”。"), "good")
    return redirect(f"{HOME}/{template.id}/given", 303)


def _handed_page(
    template: CouponTemplate,
    query: HandedQuery,
    refused: tuple[str, Submission[RevokeForm], BusinessError] | None = None,
) -> str:
    """`refused` is the coupon that could not be taken back, what was typed, and why."""
    found = statistics.handed(
        g.session,
        merchant_id=g.staff.merchant_id,
        template_id=template.id,
        now=now(),
        number=NOT_IN_NUMBERS.sub("", query.q).upper() if query.q else None,
        before=query.before,
        limit=PAGE + 1,
    )
    path = f"{HOME}/{template.id}/given"
    here = f"{path}?{urlencode({'q': query.q})}&" if query.q else f"{path}?"
    return render_template(
        "merchant/coupon_given.html",
        template=template,
        rows=found[:PAGE],
        query=query,
        refused=refused,
        refusal=refusal_text(refused[2]) if refused else None,
        older=f"{here}before={found[PAGE - 1].id}" if len(found) > PAGE else None,
        first=here.rstrip("?&") if query.before else None,
    )


def _own(coupon_template_id: int) -> CouponTemplate:
    return templates.find(g.session, merchant_id=g.staff.merchant_id, template_id=coupon_template_id)


def is_writable(template: CouponTemplate) -> bool:
    """Whether its author may change everything in it."""
    return template.state == TemplateState.DRAFT and template.submitted_at is None


def _page(
    template: CouponTemplate, refusal: BusinessError | None = None, parts: dict[str, Submission[Any]] | None = None
) -> str:
    """`refusal` is why it could not be handed in, `parts` a refused form of one of the settings."""
    merchant_id = g.staff.merchant_id
    found = list(refusal.detail.get("findings", [])) if refusal is not None else []
    if is_writable(template):
        found = templates.doubts(g.session, template)
    tranches = templates.tranches_of(g.session, template.id)
    opened = next(iter(parts), "") if parts else ""
    return render_template(
        "merchant/coupon.html",
        template=template,
        refusal=refusal_text(refusal) if refusal else None,
        findings=found,
        worked=validity.worked_examples(template, now=now()),
        tranches=tranches,
        acceptors=[
            one
            for one in alliance.partners(g.session, merchant_id=merchant_id, template_id=template.id)
            if one.issuer_id == merchant_id
        ],
        parts_=_settings(template, tranches) | (parts or {}),
        open=opened,
        refusal_fields=[
            (f"refusal_{one}", REFUSAL_LABELS[one], phrase(giving.REFUSAL_WORDS[one])) for one in giving.WORDED
        ],
        **(_life(template) if template.review == ReviewState.APPROVED else {}),
    )


def _life(template: CouponTemplate) -> dict[str, Any]:
    """What became of its coupons: now, by day, and by the ways they came."""
    whose = {"merchant_id": g.staff.merchant_id, "template_id": template.id}
    today = business_day(now())
    return {
        "life": statistics.life(g.session, **whose, now=now()),
        "days": statistics.by_day(g.session, **whose, since=today - timedelta(days=DAYS - 1), until=today),
        "channels": statistics.by_channel(g.session, **whose),
        "codes": [one for one in statistics.by_code(g.session, **whose) if one.code_id is not None],
    }


def _settings(template: CouponTemplate, tranches: Sequence[templates.Tranche]) -> dict[str, Submission[Any]]:
    """The forms of what may still change, with what is stored."""
    own_budget = template.budget_fen != coupon_form.everything_costs(template)
    return {
        "stock": blank(
            stock=template.stock, per_day=template.per_day, budget=yuan(template.budget_fen) if own_budget else ""
        ),
        "tranches": blank(
            tranches="\n".join(f"{one.opens_at.astimezone(SHANGHAI):{OPENS_AS}} {one.pieces}" for one in tranches)
        ),
        "keyword": blank(keyword=template.keyword, is_public=template.is_public),
        "refusals": blank(**{f"refusal_{one}": template.refusals.get(one, "") for one in giving.WORDED}),
        "acceptor": blank(merchant="", pays_percent=100, most=""),
    }


def _form_page(template: CouponTemplate | None, form: Submission[Any]) -> str:
    merchant_id = g.staff.merchant_id
    usual = {**coupon_form.DEFAULTS, "budget": "", "min_level": "", "segment": ""}
    folded = {name for name, value in form.values.items() if value and value != usual.get(name, "")}
    path = f"{HOME}/{template.id}" if template else HOME
    return render_template(
        "merchant/coupon_form.html",
        template=template,
        form=form,
        action=f"{path}/edit" if template else f"{HOME}/new",
        back=path,
        kinds=[(str(kind), str(name)) for kind, name in KINDS.items()],
        weekdays=[str(name) for name in WEEKDAYS],
        is_open=bool((folded | form.errors.keys()) - coupon_form.SIMPLE - {"", "csrf_token"}),
        groups=[("", _("谁都可以"))]
        + [(one.id, one.name) for one in audience.groups(g.session, merchant_id=merchant_id)],
        levels=[("", _("不限"))]
        + [
            (number, _("“%(name)s”以上", name=one.name))
            for number, one in enumerate(levels.levels_of(g.session, merchant_id=merchant_id), start=1)
        ],
        picture=own_picture_url(form.values.get("picture")),
        preview="",
    )
