"""商户: who is admitted, one merchant's card, its people, and suspending it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flask import Blueprint, Response, flash, g, redirect, render_template
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from sqlalchemy import select
from sqlalchemy.orm import Session

from bot.queries import numbers_of
from core.database import Role
from core.errors import BusinessError, Invalid, NotFound
from merchants import cards, merchants, positions, staff
from merchants.merchants import MerchantExists
from merchants.models import Community, Merchant, MerchantState, Staff, StaffRole
from qrcodes import codes, traffic
from qrcodes.traffic import Range
from web import months
from web.acts import record
from web.auth.access import operator_required
from web.auth.pages import invitation_url, role_name
from web.context import current_runtime, now
from web.exports import Rows, csv_answer, rows_from
from web.forms import Form, OneLine, OptionalLine, Submission, blank, read_form
from web.operator.desk import PAGE, Page, account, here
from web.operator.words import word
from web.query import Id, Query, Words, read_query

blueprint = Blueprint("merchants", __name__, url_prefix="/merchants")

CODES_SHOWN = 10


class MerchantsQuery(Query):
    """Which merchants."""

    q: Words = ""
    state: MerchantState | None = None
    before: Id | None = None


class MerchantForm(Form):
    """The five fields of an admission."""

    name: OneLine
    kind: OptionalLine = ""
    contact_name: OptionalLine = ""
    phone: OptionalLine = ""
    community: OptionalLine = ""


class PlaceForm(Form):
    """Where the shop is, as the map shows it."""

    position: OptionalLine = ""


class InviteForm(Form):
    """Somebody who is to sign in for the merchant."""

    staff_name: OneLine
    role: StaffRole


@blueprint.get("")
@operator_required
def index() -> str:
    """Everybody who is here, newest first."""
    wanted = read_query(MerchantsQuery)
    found = merchants.list_merchants(
        g.session,
        account_id=account().id,
        search=wanted.q,
        state=wanted.state,
        before=wanted.before,
        limit=PAGE,
    )
    states = [(_("全部"), here(state=None, before=None), wanted.state is None)]
    states += [
        (word(state, "merchant_state"), here(state=state, before=None), wanted.state is state)
        for state in MerchantState
    ]
    return render_template(
        "operator/merchants.html",
        wanted=wanted,
        page=Page(
            found.merchants,
            here(before=None) if wanted.before else None,
            here(before=found.before) if found.before else None,
        ),
        states=states,
        numbers=numbers_of(g.session, [one.id for one in found.merchants]),
        communities=_community_names(g.session),
    )


@blueprint.post("/export")
@operator_required
def export() -> Response:
    """The list as a table; with the contacts, which is why it is audited."""
    wanted = read_query(MerchantsQuery)
    account_id = account().id
    record("export", "merchants")
    heads = [_("编号"), _("商户"), _("行业"), _("社区"), _("联系人"), _("手机"), _("状态"), _("登记时间")]

    def rows(session: Session) -> Rows:
        communities = _community_names(session)
        for one in _all(session, account_id, wanted):
            yield (
                one.id, one.name, one.kind, communities[one.community_id], one.contact_name, one.phone,
                word(one.state, "merchant_state"), one.created_at,
            )  # fmt: skip

    return csv_answer(_("商户"), heads, rows_from(rows, role=Role.PLATFORM))


def _all(session: Session, account_id: int, wanted: MerchantsQuery) -> Iterator[Merchant]:
    before: int | None = None
    while True:
        page = merchants.list_merchants(
            session, account_id=account_id, search=wanted.q, state=wanted.state, before=before, limit=1_000
        )
        yield from page.merchants
        before = page.before
        if before is None:
            return


def _community_names(session: Session) -> dict[int, str]:
    return {one.id: one.name for one in session.scalars(select(Community))}


@blueprint.get("/new")
@operator_required
def new() -> str:
    """The five fields."""
    communities = merchants.list_communities(g.session, account_id=account().id)
    return _new_page(blank(community=communities[0].name if communities else ""))


@blueprint.post("/new")
@operator_required
def admit() -> ResponseReturnValue:
    """Admit a merchant; a community that was typed anew is made."""
    form = read_form(MerchantForm)
    if form.data is not None:
        try:
            merchant = _admit(form.data)
        except Invalid as refusal:
            form.refuse(refusal)
        except MerchantExists as refusal:
            form.refuse(Invalid(refusal.message, field="name"))
        else:
            flash(_("已登记“%(name)s”。接下来给它一个二维码，再邀请店主登录。", name=merchant.name), "good")
            return redirect(f"/operator/merchants/{merchant.id}", 303)
    return _new_page(form), 422


def _admit(data: MerchantForm) -> Merchant:
    account_id = account().id
    merchant = merchants.add(
        g.session,
        account_id=account_id,
        community_id=merchants.ensure_community(g.session, account_id=account_id, name=data.community),
        name=data.name,
        kind=data.kind,
        contact_name=data.contact_name,
        phone=data.phone,
        now=now(),
    )
    record("merchant.add", f"merchant:{merchant.id}", merchant_id=merchant.id)
    return merchant


def _new_page(form: Submission[Any]) -> str:
    communities = merchants.list_communities(g.session, account_id=account().id)
    return render_template("operator/merchant_new.html", form=form, communities=communities)


@blueprint.get("/<int:merchant_id>")
@operator_required
def show(merchant_id: int) -> str:
    """One merchant: what it brings, its codes and its people."""
    return _merchant_page(_merchant(merchant_id), blank(role=StaffRole.OWNER))


@blueprint.get("/<int:merchant_id>/months/<month>.pdf")
@operator_required
def report(merchant_id: int, month: str) -> Response:
    """The merchant's month, to hand to its owner."""
    return months.answer(_merchant(merchant_id), month)


@blueprint.post("/<int:merchant_id>/staff")
@operator_required
def invite(merchant_id: int) -> ResponseReturnValue:
    """A one-time link, shown in this answer and never again."""
    merchant = _merchant(merchant_id)
    form = read_form(InviteForm)
    if form.data is not None and form.data.role is StaffRole.OPERATOR:
        form.data, form.errors["role"] = None, _("请从列出的选项里选。")
    if form.data is None:
        return _merchant_page(merchant, form), 422
    token = staff.invite(g.session, name=form.data.staff_name, role=form.data.role, merchant_id=merchant_id, now=now())
    record("staff.invite", merchant_id=merchant_id, role=form.data.role)
    link = invitation_url(current_runtime().settings, token)
    return _merchant_page(merchant, blank(role=StaffRole.OWNER), link=link, invited=form.data.staff_name)


@blueprint.post("/<int:merchant_id>/staff/<int:staff_id>/link")
@operator_required
def new_link(merchant_id: int, staff_id: int) -> ResponseReturnValue:
    """Another link, for somebody who lost theirs or forgot the password."""
    merchant, member = _merchant(merchant_id), _member(merchant_id, staff_id)
    token = staff.issue_link(g.session, member, now=now())
    record("staff.invite", f"staff:{staff_id}", merchant_id=merchant_id, role=member.role)
    link = invitation_url(current_runtime().settings, token)
    return _merchant_page(merchant, blank(role=StaffRole.OWNER), link=link, invited=member.name)


@blueprint.post("/<int:merchant_id>/staff/<int:staff_id>/disable")
@operator_required
def disable_member(merchant_id: int, staff_id: int) -> ResponseReturnValue:
    """Nobody signs in as this person any more."""
    member = _member(merchant_id, staff_id)
    staff.disable(g.session, staff_id=staff_id, now=now())
    record("staff.disable", f"staff:{staff_id}", merchant_id=merchant_id)
    flash(_("“%(name)s”不能再登录了。", name=member.name), "good")
    return redirect(f"/operator/merchants/{merchant_id}", 303)


@blueprint.post("/<int:merchant_id>/position")
@operator_required
def place(merchant_id: int) -> ResponseReturnValue:
    """Where it is, for those who ask what is near."""
    merchant = _merchant(merchant_id)
    form = read_form(PlaceForm)
    if form.data is not None:
        try:
            latitude, longitude = positions.read(form.data.position)
        except Invalid as refusal:
            form.refuse(refusal)
        else:
            cards.place(g.session, merchant_id=merchant_id, latitude=latitude, longitude=longitude)
            record("merchant.place", f"merchant:{merchant_id}", merchant_id=merchant_id)
            flash(_("已保存。"), "good")
            return redirect(f"/operator/merchants/{merchant_id}", 303)
    return _merchant_page(merchant, blank(role=StaffRole.OWNER), place_form=form), 422


@blueprint.post("/<int:merchant_id>/suspend")
@operator_required
def suspend(merchant_id: int) -> ResponseReturnValue:
    """Suspend, and retire its codes for good."""
    retired = codes.suspend_merchant(g.session, merchant_id=merchant_id, now=now())
    record("merchant.suspend", f"merchant:{merchant_id}", merchant_id=merchant_id, retired_codes=retired)
    flash(_("已停用，%(count)s 个二维码同时作废。", count=retired), "good")
    return redirect(f"/operator/merchants/{merchant_id}", 303)


@blueprint.post("/<int:merchant_id>/resume")
@operator_required
def resume(merchant_id: int) -> ResponseReturnValue:
    """Let it work again, with new codes."""
    if not merchants.set_state(g.session, merchant_id=merchant_id, state=MerchantState.ACTIVE):
        raise BusinessError(_("这家商户没有停用。"))
    record("merchant.resume", f"merchant:{merchant_id}", merchant_id=merchant_id)
    flash(_("已恢复。以前的二维码不会回来，请给它新建。"), "good")
    return redirect(f"/operator/merchants/{merchant_id}", 303)


def _merchant(merchant_id: int) -> Merchant:
    merchant: Merchant | None = g.session.get(Merchant, merchant_id)
    if merchant is None:
        raise NotFound(_("没有这个商户。"))
    return merchant


def _member(merchant_id: int, staff_id: int) -> Staff:
    member: Staff | None = g.session.get(Staff, staff_id)
    if member is None or member.merchant_id != merchant_id or member.disabled_at is not None:
        raise NotFound(_("没有这个人。"))
    return member


def _merchant_page(
    merchant: Merchant,
    form: Submission[Any],
    *,
    link: str = "",
    invited: str = "",
    place_form: Submission[PlaceForm] | None = None,
) -> str:
    """`link` is the one-time link that was just made, for `invited`."""
    shown = codes.list_codes(g.session, merchant_id=merchant.id, limit=CODES_SHOWN)
    month = Range.last_days(30, now())
    people = select(Staff).where(Staff.merchant_id == merchant.id, Staff.disabled_at.is_(None)).order_by(Staff.id)
    return render_template(
        "operator/merchant.html",
        merchant=merchant,
        community=g.session.get_one(Community, merchant.community_id).name,
        form=form,
        place_form=place_form or blank(position=positions.written(merchant.latitude, merchant.longitude)),
        link=link,
        invited=invited,
        today=traffic.total(g.session, Range.last_days(1, now()), merchant_id=merchant.id),
        month=traffic.total(g.session, month, merchant_id=merchant.id),
        days=traffic.by_day(g.session, month, merchant_id=merchant.id),
        following=traffic.following_now(g.session, merchant_id=merchant.id),
        numbers=numbers_of(g.session, [merchant.id])[merchant.id],
        months=months.offered(merchant),
        codes=shown,
        staff=[(member, role_name(StaffRole(member.role))) for member in g.session.scalars(people)],
        roles=[(role, role_name(role)) for role in (StaffRole.OWNER, StaffRole.CLERK)],
    )
