"""异业联盟: whose coupons this shop redeems for whom, and who owes whom for a month."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from flask import Blueprint, flash, g, redirect, render_template
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from pydantic import Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from campaigns.coupons import alliance
from campaigns.coupons.alliance import Partner
from campaigns.coupons.models import CouponTemplate
from core.database import Role
from core.errors import NotFound
from merchants.models import StaffRole
from web.acts import record
from web.auth.access import merchant_required
from web.benefit_words import month_chips, month_named
from web.context import now
from web.exports import Rows, csv_answer, rows_from
from web.forms import Form, read_form
from web.query import Id, Query, read_query

blueprint = Blueprint("merchant_alliance", __name__, url_prefix="/merchant/alliance")

HOME = "/merchant/alliance"
PAGE = 50


class AgreeForm(Form):
    """The share that was read: another one is another question."""

    pays_percent: Annotated[int, Field(ge=0, le=100)]


class EntriesQuery(Query):
    """With whom, and from where on."""

    partner: Id | None = None
    before: Id | None = None


@blueprint.get("", defaults={"month": None})
@blueprint.get("/<month>")
@merchant_required()
def index(month: str | None) -> str:
    """Questions, the month's statement, and what has been agreed."""
    first = month_named(month)
    merchant_id = g.staff.merchant_id
    found = alliance.partners(g.session, merchant_id=merchant_id)
    templates = _templates(found)
    return render_template(
        "merchant/alliance.html",
        asked=[one for one in found if one.acceptor_id == merchant_id and one.state == "asked"],
        theirs=[one for one in found if one.acceptor_id == merchant_id and one.state == "agreed"],
        mine=[one for one in found if one.issuer_id == merchant_id and one.state != "ended"],
        templates=templates,
        statement=alliance.statement(g.session, month=first, merchant_id=merchant_id),
        month=f"{first:%Y-%m}",
        months=month_chips(HOME, first),
    )


def _templates(found: Sequence[Partner]) -> dict[int, CouponTemplate]:
    wanted = select(CouponTemplate).where(CouponTemplate.id.in_({one.template_id for one in found}))
    return {one.id: one for one in g.session.scalars(wanted)}


@blueprint.get("/<month>/entries")
@merchant_required()
def entries(month: str) -> str:
    """The redemptions behind what this shop and others owe each other, or one of them."""
    first, query = month_named(month), read_query(EntriesQuery)
    merchant_id = g.staff.merchant_id
    owed = alliance.statement(g.session, month=first, merchant_id=merchant_id)
    name = None
    if query.partner is not None:
        owed = [one for one in owed if one.partner_id == query.partner]
        if not owed:
            raise NotFound
        name = owed[0].partner_name
    found = alliance.entries(
        g.session, month=first, merchant_id=merchant_id, partner_id=query.partner, before=query.before, limit=PAGE + 1
    )
    path = f"{HOME}/{first:%Y-%m}/entries?" + (f"partner={query.partner}&" if query.partner else "")
    return render_template(
        "merchant/alliance_entries.html",
        name=name,
        gets=sum(one.gets_fen for one in owed),
        gives=sum(one.gives_fen for one in owed),
        rows=found[:PAGE],
        own_id=merchant_id,
        month=f"{first:%Y-%m}",
        first=first,
        older=f"{path}before={found[PAGE - 1].transfer_id}" if len(found) > PAGE else None,
        newest=path.rstrip("?&") if query.before else None,
    )


@blueprint.post("/<month>/export")
@merchant_required()
def export(month: str) -> ResponseReturnValue:
    """A month's redemptions of others' coupons here and of own ones elsewhere, as a table."""
    first, merchant_id = month_named(month), g.staff.merchant_id
    record("alliance.export", f"{first:%Y-%m}")

    def read(session: Session) -> Rows:
        yield from alliance.statement_rows(session, month=first, merchant_id=merchant_id)

    rows = rows_from(read, role=Role.MERCHANT, merchant_id=merchant_id)
    return csv_answer(_("联盟对账单 %(month)s", month=f"{first:%Y-%m}"), alliance.STATEMENT_HEADS, rows)


@blueprint.post("/<int:coupon_template_id>/agree")
@merchant_required(StaffRole.OWNER)
def agree(coupon_template_id: int) -> ResponseReturnValue:
    """Redeem another shop's coupon from now on, for the share that was read."""
    asked = _asked(coupon_template_id)
    form = read_form(AgreeForm)
    if form.data is None:
        raise alliance.NotAsked
    alliance.agree(
        g.session,
        merchant_id=g.staff.merchant_id,
        template_id=asked.template_id,
        pays_percent=form.data.pays_percent,
        now=now(),
    )
    record("alliance.agree", f"coupon_template:{asked.template_id}", percent=form.data.pays_percent)
    flash(_("说好了：“%(name)s”在本店也能用。", name=asked.template_name), "good")
    return redirect(HOME, 303)


@blueprint.post("/<int:coupon_template_id>/refuse")
@merchant_required(StaffRole.OWNER)
def refuse(coupon_template_id: int) -> ResponseReturnValue:
    """Say no, or redeem it no longer."""
    asked, merchant_id = _asked(coupon_template_id), g.staff.merchant_id
    alliance.end(g.session, merchant_id=merchant_id, template_id=asked.template_id, acceptor_id=merchant_id, now=now())
    record("alliance.end", f"coupon_template:{asked.template_id}")
    flash(_("以后不收“%(name)s”。", name=asked.template_name), "good")
    return redirect(HOME, 303)


def _asked(coupon_template_id: int) -> Partner:
    """What another shop offers this one; nobody else's business (TN-3)."""
    merchant_id = g.staff.merchant_id
    for one in alliance.partners(g.session, merchant_id=merchant_id, template_id=coupon_template_id):
        if one.acceptor_id == merchant_id:
            return one
    raise NotFound("没有这张券。")
