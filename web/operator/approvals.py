"""审批: what merchants want to say to the public, shown as a phone will show it, to be let through or sent back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from flask import Blueprint, Response, flash, g, make_response, redirect, render_template
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from sqlalchemy import select

from campaigns.broadcasts import approval
from campaigns.coupons.models import CouponTemplate
from core.errors import Invalid, NotFound
from merchants import cards, merchants, notices, sensitive_words
from merchants.models import Community, Merchant, MerchantCard, NoticeKind, Picture, Staff
from merchants.notices import News
from merchants.reviews import NotWaiting, ReviewState
from merchants.wording import Finding, ListedWord
from qrcodes import codes, welcomes
from qrcodes.models import PosterSlogan, SubQrCode, Welcome
from qrcodes.posters import slogans
from web.acts import record
from web.auth.access import drop_request, operator_required
from web.context import now, own_hosts
from web.errors import refused, wants_json
from web.forms import Form, Paragraph, Submission, blank, read_form
from web.language import refusal_text
from web.operator.desk import PAGE, here
from web.query import Id, Query, read_query

blueprint = Blueprint("approvals", __name__, url_prefix="/approvals")

DECISIONS = 20
QUEUE = "/operator/approvals"

Proposal = Welcome | MerchantCard | PosterSlogan
"""What a merchant wants to say to the public."""


def back_to_queue(error: NotWaiting) -> ResponseReturnValue:
    """Somebody else was faster, or its author took it back: say so where the rest waits."""
    if wants_json():
        return refused(error)
    drop_request()
    flash(refusal_text(error), "wait")
    return redirect(QUEUE, 303)


blueprint.register_error_handler(NotWaiting, back_to_queue)


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
    coupon: str | None
    """What the coupon is called that goes with it."""


@dataclass(frozen=True)
class CardPreview:
    """A version of a card beside the one that is shown now."""

    card: MerchantCard
    shop: Merchant
    reviewer: str | None
    doubts: list[Finding]


@dataclass(frozen=True)
class SloganPreview:
    """A version of a slogan beside the one that is printed now."""

    version: PosterSlogan
    merchant_name: str
    printed: str
    reviewer: str | None
    doubts: list[Finding]


@blueprint.get("")
@operator_required
def index() -> str:
    """What waits, oldest first, and the latest decisions."""
    wanted = read_query(ApprovalsQuery)
    return page(after=wanted.after or 0)


@blueprint.post("/<int:welcome_id>/approve")
@operator_required
def approve(welcome_id: int) -> ResponseReturnValue:
    """Let it speak."""
    form = read_form(DecisionForm)
    if form.data is None:
        return page(Refused("welcome", welcome_id, form)), 422
    welcome, was = _welcome(welcome_id), ReviewState(form.data.was)
    welcomes.approve(g.session, welcome_id=welcome_id, operator_id=g.staff.id, now=now(), was=was)
    _note_approval("welcome.approve", welcome, was)
    flash(_("已通过，扫码的人从现在起会看到它。"), "good")
    return redirect(QUEUE, 303)


@blueprint.post("/<int:welcome_id>/reject")
@operator_required
def reject(welcome_id: int) -> ResponseReturnValue:
    """Send it back with a reason."""
    form, welcome = read_form(RefusalForm), _welcome(welcome_id)
    if _send_back("welcome.reject", welcome, form, partial(welcomes.reject, welcome_id=welcome_id)):
        return redirect(QUEUE, 303)
    return page(Refused("welcome", welcome_id, form)), 422


@blueprint.post("/cards/<int:card_id>/approve")
@operator_required
def approve_card(card_id: int) -> ResponseReturnValue:
    """Show it to the public."""
    form = read_form(DecisionForm)
    if form.data is None:
        return page(Refused("card", card_id, form)), 422
    card, was = _card(card_id), ReviewState(form.data.was)
    cards.approve(g.session, card_id=card_id, operator_id=g.staff.id, now=now(), was=was)
    _note_approval("card.approve", card, was)
    flash(_("已通过，邻居们现在看到的就是新名片。"), "good")
    return redirect(QUEUE, 303)


@blueprint.post("/cards/<int:card_id>/reject")
@operator_required
def reject_card(card_id: int) -> ResponseReturnValue:
    """Send it back with a reason."""
    form, card = read_form(RefusalForm), _card(card_id)
    if _send_back("card.reject", card, form, partial(cards.reject, card_id=card_id)):
        return redirect(QUEUE, 303)
    return page(Refused("card", card_id, form)), 422


@blueprint.post("/slogans/<int:slogan_id>/approve")
@operator_required
def approve_slogan(slogan_id: int) -> ResponseReturnValue:
    """Let it be printed."""
    form = read_form(DecisionForm)
    if form.data is None:
        return page(Refused("slogan", slogan_id, form)), 422
    slogan, was = _slogan(slogan_id), ReviewState(form.data.was)
    slogans.approve(g.session, slogan_id=slogan_id, operator_id=g.staff.id, now=now(), was=was)
    _note_approval("slogan.approve", slogan, was)
    flash(_("已通过，海报从现在起会印上它。"), "good")
    return redirect(QUEUE, 303)


@blueprint.post("/slogans/<int:slogan_id>/reject")
@operator_required
def reject_slogan(slogan_id: int) -> ResponseReturnValue:
    """Send it back with a reason."""
    form, slogan = read_form(RefusalForm), _slogan(slogan_id)
    if _send_back("slogan.reject", slogan, form, partial(slogans.reject, slogan_id=slogan_id)):
        return redirect(QUEUE, 303)
    return page(Refused("slogan", slogan_id, form)), 422


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


@dataclass(frozen=True)
class Refused:
    """The form of one proposal as it was sent, with what is wrong in it."""

    kind: Literal["welcome", "card", "slogan", "coupon", "rule", "desk_words"]
    number: int
    form: Submission[Any]


def page(refused: Refused | None = None, *, after: int = 0) -> str:
    """The queue, with the refused form beside its proposal."""
    from web.operator import coupon_approvals, desk_words, rule_approvals

    untouched = blank()

    def form_of(kind: str, number: int) -> Submission[Any]:
        return refused.form if refused and (refused.kind, refused.number) == (kind, number) else untouched

    waiting = welcomes.waiting_for_review(g.session, after=after, limit=PAGE + 1)
    shown = waiting[:PAGE]
    listed = sensitive_words.listed(g.session)
    return render_template(
        "operator/approvals.html",
        waiting=_previews(shown, listed),
        decided=_previews(welcomes.decided(g.session, limit=DECISIONS), listed),
        count=welcomes.count_waiting(g.session),
        waiting_broadcasts=approval.count_waiting(g.session),
        waiting_cards=_card_previews(cards.waiting_for_review(g.session, limit=PAGE), listed),
        decided_cards=_card_previews(cards.decided(g.session, limit=DECISIONS), listed),
        waiting_slogans=_slogan_previews(slogans.waiting_for_review(g.session, limit=PAGE), listed),
        decided_slogans=_slogan_previews(slogans.decided(g.session, limit=DECISIONS), listed),
        waiting_coupons=coupon_approvals.waiting(),
        waiting_rules=rule_approvals.waiting(listed),
        decided_rules=rule_approvals.decided(listed),
        waiting_desk_words=desk_words.waiting(listed),
        older=here(after=shown[-1].id) if len(waiting) > PAGE else None,
        newest=here(after=None) if after else None,
        form_of=form_of,
    )


def _previews(rows: Sequence[Welcome], listed: Sequence[ListedWord]) -> list[Preview]:
    shops = {
        row[0]: row
        for row in g.session.execute(
            select(Merchant.id, Merchant.name, Community.name)
            .join(Community, Community.id == Merchant.community_id)
            .where(Merchant.id.in_({row.merchant_id for row in rows}))
        )
    }
    coded = {
        code.id: code
        for code in g.session.scalars(select(SubQrCode).where(SubQrCode.id.in_({row.code_id for row in rows})))
    }
    reviewers = _reviewers(rows)
    offered = select(CouponTemplate.id, CouponTemplate.name)
    carried = {row.template_id for row in rows if row.template_id is not None}
    coupons = {row.id: row.name for row in g.session.execute(offered.where(CouponTemplate.id.in_(carried)))}
    previews = []
    hosts = own_hosts()
    for row in rows:
        shop, code = shops[row.merchant_id], coded.get(row.code_id)
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
                coupon=coupons.get(row.template_id),
            )
        )
    return previews


def _card_previews(rows: Sequence[MerchantCard], listed: Sequence[ListedWord]) -> list[CardPreview]:
    shops = {
        shop.id: shop
        for shop in g.session.scalars(select(Merchant).where(Merchant.id.in_({row.merchant_id for row in rows})))
    }
    reviewers = _reviewers(rows)
    hosts = own_hosts()
    return [
        CardPreview(
            row,
            shops[row.merchant_id],
            reviewers.get(row.reviewed_by),
            cards.doubts(row, hosts=hosts, listed=listed),
        )
        for row in rows
    ]


def _slogan_previews(rows: Sequence[PosterSlogan], listed: Sequence[ListedWord]) -> list[SloganPreview]:
    shops = {row.merchant_id for row in rows}
    names = merchants.names_of(g.session, shops)
    reviewers = _reviewers(rows)
    printed = slogans.all_in_force(g.session, shops)
    return [
        SloganPreview(
            row,
            names[row.merchant_id],
            printed.get(row.merchant_id, ""),
            reviewers.get(row.reviewed_by),
            slogans.doubts(row, listed=listed),
        )
        for row in rows
    ]


def _reviewers(rows: Sequence[Proposal]) -> dict[int | None, str]:
    names = select(Staff.id, Staff.name).where(Staff.id.in_({row.reviewed_by for row in rows}))
    return {row[0]: row[1] for row in g.session.execute(names)}


def _card(card_id: int) -> MerchantCard:
    found: MerchantCard | None = g.session.get(MerchantCard, card_id)
    if found is None:
        raise NotFound
    return found


def _welcome(welcome_id: int) -> Welcome:
    found: Welcome | None = g.session.get(Welcome, welcome_id)
    if found is None or found.merchant_id is None:
        raise NotFound
    return found


def _slogan(slogan_id: int) -> PosterSlogan:
    found: PosterSlogan | None = g.session.get(PosterSlogan, slogan_id)
    if found is None:
        raise NotFound
    return found


def _doubted_rules(proposal: Proposal) -> list[str]:
    """What the linter has to say at the moment of the decision; its rules may be others later."""
    listed = sensitive_words.listed(g.session)
    match proposal:
        case Welcome():
            doubts = welcomes.doubts(proposal, hosts=own_hosts(), listed=listed)
        case MerchantCard():
            doubts = cards.doubts(proposal, hosts=own_hosts(), listed=listed)
        case PosterSlogan():
            doubts = slogans.doubts(proposal, listed=listed)
    return sorted({one.rule for one in doubts})


def _note_approval(action: str, proposal: Proposal, was: ReviewState) -> None:
    """Keep that it was let through, in spite of which doubts."""
    rules = _doubted_rules(proposal)
    record(action, _subject(proposal), merchant_id=proposal.merchant_id, was=was, doubts=rules)
    _tell(proposal, NoticeKind.APPROVED)


def _send_back(action: str, proposal: Proposal, form: Submission[RefusalForm], reject: Callable[..., object]) -> bool:
    """Refuse it for the reason in the form; False where that cannot be, and the form says why."""
    if form.data is None:
        return False
    was, reason = ReviewState(form.data.was), form.data.reason
    try:
        reject(g.session, operator_id=g.staff.id, reason=reason, now=now(), was=was)
    except Invalid as refusal:
        form.refuse(refusal)
        return False
    rules = _doubted_rules(proposal)
    record(action, _subject(proposal), merchant_id=proposal.merchant_id, was=was, doubts=rules)
    _tell(proposal, NoticeKind.REFUSED, reason)
    flash(_("已驳回，商户会看到原因。"), "good")
    return True


def _subject(proposal: Proposal) -> str:
    kinds = {Welcome: "welcome:", MerchantCard: notices.CARD, PosterSlogan: notices.SLOGAN}
    return f"{kinds[type(proposal)]}{proposal.id}"


def _tell(proposal: Proposal, kind: NoticeKind, reason: str = "") -> None:
    """Let the merchant's people know what became of their proposal."""
    assert proposal.merchant_id is not None  # noqa: S101
    path, label = "/merchant/me/card", ""
    if isinstance(proposal, Welcome):
        code = g.session.get(SubQrCode, proposal.code_id) if proposal.code_id is not None else None
        path = "/merchant/welcome" if code is None else f"/merchant/welcome/codes/{code.id}"
        label = "" if code is None else code.label
    elif isinstance(proposal, PosterSlogan):
        # They read on with a poster of theirs.
        newest = next(iter(codes.list_codes(g.session, merchant_id=proposal.merchant_id, retired=False, limit=1)), None)
        path = f"/merchant/codes/{newest.id}/posters" if newest and newest.url else "/merchant/codes"
    news = News(kind, cause=f"{_subject(proposal)}:{kind}", path=path, subject=label, reason=reason)
    notices.tell(g.session, merchant_id=proposal.merchant_id, news=news, now=now())
