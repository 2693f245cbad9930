"""审批: what merchants want to say to the public, shown as a phone will show it, to be let through or sent back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from flask import Blueprint, Response, flash, g, make_response, redirect, render_template
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from sqlalchemy import select

from core.errors import Invalid, NotFound
from merchants import cards, notices, sensitive_words
from merchants.models import Community, Merchant, MerchantCard, NoticeKind, Picture, Staff
from merchants.notices import News
from merchants.reviews import ReviewState
from merchants.wording import Finding, link_hosts
from qrcodes import welcomes
from qrcodes.models import SubQrCode, Welcome
from web.acts import record
from web.auth.access import operator_required
from web.context import current_runtime, now
from web.forms import Form, Paragraph, Submission, blank, read_form
from web.operator import slogans
from web.operator.desk import PAGE, here
from web.query import Id, Query, read_query

blueprint = Blueprint("approvals", __name__, url_prefix="/approvals")

DECISIONS = 20


class ApprovalsQuery(Query):
    """Where in the queue."""

    after: Id | None = None


class DecisionForm(Form):
    """What the operator saw when deciding: somebody else may have been faster."""

    was: Literal["pending", "approved", "rejected"]


class RefusalForm(DecisionForm):
    """A refusal has a reason, which the merchant reads."""

    reason: Paragraph = ""


@dataclass(frozen=True)
class Preview:
    """A message with its placeholders filled in as for a real scan."""

    welcome: Welcome
    merchant_name: str
    code_label: str | None
    text: str
    title: str
    description: str
    reviewer: str | None
    doubts: list[Finding]


@dataclass(frozen=True)
class CardPreview:
    """A version of a card beside the one that is shown now."""

    card: MerchantCard
    shop: Merchant
    reviewer: str | None
    doubts: list[Finding]


@blueprint.get("")
@operator_required
def index() -> str:
    """What waits, oldest first, and the latest decisions."""
    wanted = read_query(ApprovalsQuery)
    return _page(wanted.after or 0, {})


@blueprint.post("/<int:welcome_id>/approve")
@operator_required
def approve(welcome_id: int) -> ResponseReturnValue:
    """Let it speak."""
    form = read_form(DecisionForm)
    if form.data is None:
        return _page(0, {welcome_id: form}), 422
    welcome = _welcome(welcome_id)
    welcomes.approve(
        g.session, welcome_id=welcome_id, operator_id=g.staff.id, now=now(), was=ReviewState(form.data.was)
    )
    # What the linter had to say at that moment is the evidence; the rules may be others later.
    rules = sorted({one.rule for one in _previews([welcome])[0].doubts})
    record("welcome.approve", f"welcome:{welcome_id}", merchant_id=welcome.merchant_id, was=form.data.was, doubts=rules)
    _tell(welcome, NoticeKind.APPROVED)
    flash(_("已通过，扫码的人从现在起会看到它。"), "good")
    return redirect("/operator/approvals", 303)


@blueprint.post("/<int:welcome_id>/reject")
@operator_required
def reject(welcome_id: int) -> ResponseReturnValue:
    """Send it back with a reason."""
    form = read_form(RefusalForm)
    welcome = _welcome(welcome_id)
    if form.data is not None:
        try:
            welcomes.reject(
                g.session,
                welcome_id=welcome_id,
                operator_id=g.staff.id,
                reason=form.data.reason,
                now=now(),
                was=ReviewState(form.data.was),
            )
        except Invalid as refusal:
            form.refuse(refusal)
        else:
            record("welcome.reject", f"welcome:{welcome_id}", merchant_id=welcome.merchant_id, was=form.data.was)
            _tell(welcome, NoticeKind.REFUSED, form.data.reason)
            flash(_("已驳回，商户会看到原因。"), "good")
            return redirect("/operator/approvals", 303)
    return _page(0, {welcome_id: form}), 422


@blueprint.post("/cards/<int:card_id>/approve")
@operator_required
def approve_card(card_id: int) -> ResponseReturnValue:
    """Show it to the public."""
    form = read_form(DecisionForm)
    if form.data is None:
        return _page(0, {}), 422
    rules = sorted({one.rule for one in cards.doubts(g.session, _card(card_id), hosts=_hosts())})
    version = cards.approve(
        g.session, card_id=card_id, operator_id=g.staff.id, now=now(), was=ReviewState(form.data.was)
    )
    record("card.approve", f"card:{card_id}", merchant_id=version.merchant_id, was=form.data.was, doubts=rules)
    _tell_of_card(version, NoticeKind.APPROVED)
    flash(_("已通过，邻居们现在看到的就是新名片。"), "good")
    return redirect("/operator/approvals", 303)


@blueprint.post("/cards/<int:card_id>/reject")
@operator_required
def reject_card(card_id: int) -> ResponseReturnValue:
    """Send it back with a reason."""
    form = read_form(RefusalForm)
    card = _card(card_id)
    if form.data is not None:
        try:
            cards.reject(
                g.session,
                card_id=card_id,
                operator_id=g.staff.id,
                reason=form.data.reason,
                now=now(),
                was=ReviewState(form.data.was),
            )
        except Invalid as refusal:
            form.refuse(refusal)
        else:
            record("card.reject", f"card:{card_id}", merchant_id=card.merchant_id, was=form.data.was)
            _tell_of_card(card, NoticeKind.REFUSED, form.data.reason)
            flash(_("已驳回，商户会看到原因。"), "good")
            return redirect("/operator/approvals", 303)
    return _page(0, {}, {card_id: form}), 422


@blueprint.get("/pictures/<int:picture_id>")
@operator_required
def picture(picture_id: int) -> Response:
    """A merchant's picture, whether anybody else may see it yet or not."""
    found: Picture | None = g.session.get(Picture, picture_id)
    if found is None:
        raise NotFound
    response = make_response(found.content)
    response.mimetype = found.mime
    return response


def _page(
    after: int,
    forms: dict[int, Submission[RefusalForm]] | dict[int, Submission[DecisionForm]],
    card_forms: dict[int, Submission[RefusalForm]] | None = None,
) -> str:
    """`forms` holds the refused form of one of the messages, `card_forms` of one of the cards."""
    waiting = welcomes.waiting_for_review(g.session, after=after, limit=PAGE + 1)
    shown = waiting[:PAGE]
    return render_template(
        "operator/approvals.html",
        waiting=_previews(shown),
        decided=_previews(welcomes.decided(g.session, limit=DECISIONS)),
        count=welcomes.count_waiting(g.session),
        waiting_cards=_card_previews(cards.waiting_for_review(g.session, limit=PAGE)),
        decided_cards=_card_previews(cards.decided(g.session, limit=DECISIONS)),
        card_forms=card_forms or {},
        **slogans.queue(waiting=PAGE, decided=DECISIONS),
        older=here(after=shown[-1].id) if len(waiting) > PAGE else None,
        newest=here(after=None) if after else None,
        forms=forms,
        form=blank(),
    )


def _previews(rows: Sequence[Welcome]) -> list[Preview]:
    shops = {
        row[0]: row
        for row in g.session.execute(
            select(Merchant.id, Merchant.name, Community.name)
            .join(Community, Community.id == Merchant.community_id)
            .where(Merchant.id.in_({row.merchant_id for row in rows}))
        )
    }
    codes = {
        code.id: code
        for code in g.session.scalars(select(SubQrCode).where(SubQrCode.id.in_({row.code_id for row in rows})))
    }
    reviewers = {
        row[0]: row[1]
        for row in g.session.execute(
            select(Staff.id, Staff.name).where(Staff.id.in_({row.reviewed_by for row in rows}))
        )
    }
    previews = []
    hosts = _hosts()
    listed = sensitive_words.listed(g.session)
    for row in rows:
        shop, code = shops[row.merchant_id], codes.get(row.code_id)
        values = {
            "商户": shop[1],
            "社区": shop[2],
            "码": code.label if code else _("收银台"),
            "位置": code.place if code else "",
        }
        previews.append(
            Preview(
                welcome=row,
                merchant_name=shop[1],
                code_label=code.label if code else None,
                text=welcomes.fill(row.text, values),
                title=welcomes.fill(row.title, values),
                description=welcomes.fill(row.description, values),
                reviewer=reviewers.get(row.reviewed_by),
                doubts=welcomes.doubts(row, hosts=hosts, listed=listed),
            )
        )
    return previews


def _card_previews(rows: Sequence[MerchantCard]) -> list[CardPreview]:
    shops = {
        shop.id: shop
        for shop in g.session.scalars(select(Merchant).where(Merchant.id.in_({row.merchant_id for row in rows})))
    }
    names = select(Staff.id, Staff.name).where(Staff.id.in_({row.reviewed_by for row in rows}))
    reviewers = {row[0]: row[1] for row in g.session.execute(names)}
    return [
        CardPreview(
            row,
            shops[row.merchant_id],
            reviewers.get(row.reviewed_by or 0),
            cards.doubts(g.session, row, hosts=_hosts()),
        )
        for row in rows
    ]


def _hosts() -> frozenset[str]:
    return link_hosts(current_runtime().settings.public_url)


def _card(card_id: int) -> MerchantCard:
    found: MerchantCard | None = g.session.get(MerchantCard, card_id)
    if found is None:
        raise NotFound
    return found


def _tell_of_card(card: MerchantCard, kind: NoticeKind, reason: str = "") -> None:
    """Let the merchant's people know what became of their card."""
    news = News(kind, cause=f"{notices.CARD}{card.id}:{kind}", path="/merchant/me/card", reason=reason)
    notices.tell(g.session, merchant_id=card.merchant_id, news=news, now=now())


def _tell(welcome: Welcome, kind: NoticeKind, reason: str = "") -> None:
    """Let the merchant's people know."""
    assert welcome.merchant_id is not None  # noqa: S101
    code = g.session.get(SubQrCode, welcome.code_id) if welcome.code_id is not None else None
    news = News(
        kind,
        cause=f"welcome:{welcome.id}:{kind}",
        path="/merchant/welcome" if code is None else f"/merchant/welcome/codes/{code.id}",
        subject="" if code is None else code.label,
        reason=reason,
    )
    notices.tell(g.session, merchant_id=welcome.merchant_id, news=news, now=now())


def _welcome(welcome_id: int) -> Welcome:
    found: Welcome | None = g.session.get(Welcome, welcome_id)
    if found is None or found.merchant_id is None:
        raise NotFound
    return found
