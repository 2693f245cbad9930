"""Reply rules within the approvals: what merchants want the account to answer, let through or sent back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flask import Blueprint, flash, g, redirect
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from sqlalchemy import select

from bot.rules import reading, writing
from bot.rules.content import Content
from bot.rules.models import ReplyRule, ReplyRuleVersion
from core.errors import Invalid, NotFound
from merchants import merchants, notices
from merchants.models import NoticeKind, Staff
from merchants.notices import News
from merchants.reviews import NotWaiting, ReviewState
from merchants.wording import Finding, ListedWord
from web import reply_rules
from web.acts import record
from web.auth.access import operator_required
from web.context import now, own_hosts
from web.forms import read_form
from web.operator import approvals
from web.operator.approvals import DECISIONS, QUEUE, DecisionForm, RefusalForm
from web.operator.desk import PAGE
from web.reply_rules import Bubble

blueprint = Blueprint("rule_approvals", __name__, url_prefix="/approvals/rules")
blueprint.register_error_handler(NotWaiting, approvals.back_to_queue)


@dataclass(frozen=True)
class Review:
    """A version of a rule, with whose it is and what is in force meanwhile."""

    version: ReplyRuleVersion
    name: str
    merchant_name: str
    content: Content
    said: list[Bubble]
    before: Content | None
    reviewer: str | None
    doubts: list[Finding]


def waiting(listed: Sequence[ListedWord]) -> list[Review]:
    """What merchants have handed in, the oldest first."""
    return _reviews(reading.waiting_for_review(g.session, limit=PAGE), listed)


def decided(listed: Sequence[ListedWord]) -> list[Review]:
    """The latest decisions."""
    return _reviews(reading.decided(g.session, limit=DECISIONS), listed)


def _reviews(versions: Sequence[ReplyRuleVersion], listed: Sequence[ListedWord]) -> list[Review]:
    shops = merchants.names_of(g.session, {one.merchant_id for one in versions if one.merchant_id is not None})
    rule_ids = {one.rule_id for one in versions}
    names = {row.id: row.name for row in g.session.scalars(select(ReplyRule).where(ReplyRule.id.in_(rule_ids)))}
    in_force = select(ReplyRuleVersion).where(
        ReplyRuleVersion.rule_id.in_(rule_ids), ReplyRuleVersion.review == ReviewState.APPROVED
    )
    speaking = {row.rule_id: row for row in g.session.scalars(in_force)}
    people = select(Staff).where(Staff.id.in_({one.reviewed_by for one in versions}))
    reviewers = {row.id: row.name for row in g.session.scalars(people)}
    hosts = own_hosts()
    reviews = []
    for one in versions:
        content, before = writing.content_of(one), speaking.get(one.rule_id)
        reviews.append(
            Review(
                one,
                names[one.rule_id],
                shops.get(one.merchant_id or 0, ""),
                content,
                reply_rules.bubbles(content, _picture_url),
                None if before is None or before.id == one.id else writing.content_of(before),
                reviewers.get(one.reviewed_by or 0),
                writing.doubts(content, hosts=hosts, listed=listed),
            )
        )
    return reviews


def _picture_url(picture_id: object) -> str | None:
    return None if picture_id is None else f"/operator/approvals/pictures/{picture_id}"


@blueprint.post("/<int:rule_version_id>/approve")
@operator_required
def approve(rule_version_id: int) -> ResponseReturnValue:
    """Let it answer."""
    version = _known(rule_version_id)
    form = read_form(DecisionForm)
    if form.data is None:
        return approvals.page(approvals.Refused("rule", rule_version_id, form)), 422
    was = ReviewState(form.data.was)
    writing.approve(g.session, version_id=version.id, operator_id=g.staff.id, now=now(), was=was)
    _note("reply_rule.approve", version, was)
    _tell(version, NoticeKind.APPROVED)
    flash(_("已通过，从现在起自动回答。"), "good")
    return redirect(QUEUE, 303)


@blueprint.post("/<int:rule_version_id>/reject")
@operator_required
def reject(rule_version_id: int) -> ResponseReturnValue:
    """Send it back with a reason."""
    version = _known(rule_version_id)
    form = read_form(RefusalForm)
    if form.data is None:
        return approvals.page(approvals.Refused("rule", rule_version_id, form)), 422
    was, reason = ReviewState(form.data.was), form.data.reason
    try:
        writing.reject(g.session, version_id=version.id, operator_id=g.staff.id, reason=reason, now=now(), was=was)
    except Invalid as refusal:
        form.refuse(refusal)
        return approvals.page(approvals.Refused("rule", rule_version_id, form)), 422
    _note("reply_rule.reject", version, was)
    _tell(version, NoticeKind.REFUSED, reason)
    flash(_("已驳回，商户会看到原因。"), "good")
    return redirect(QUEUE, 303)


def _known(rule_version_id: int) -> ReplyRuleVersion:
    """A merchant's version; the platform's own need no decision."""
    found: ReplyRuleVersion | None = g.session.get(ReplyRuleVersion, rule_version_id)
    if found is None or found.merchant_id is None:
        raise NotFound
    return found


def _note(action: str, version: ReplyRuleVersion, was: ReviewState) -> None:
    doubts = sorted({one.rule for one in reply_rules.doubts(writing.content_of(version))})
    record(action, f"reply_rule:{version.rule_id}", merchant_id=version.merchant_id, was=was, doubts=doubts)


def _tell(version: ReplyRuleVersion, kind: NoticeKind, reason: str = "") -> None:
    """Let the merchant's people know what became of it."""
    assert version.merchant_id is not None  # noqa: S101
    news = News(
        kind,
        cause=f"{notices.RULE}{version.id}:{kind}",
        path=f"/merchant/rules/{version.rule_id}",
        subject=g.session.get_one(ReplyRule, version.rule_id).name,
        reason=reason,
    )
    notices.tell(g.session, merchant_id=version.merchant_id, news=news, now=now())
