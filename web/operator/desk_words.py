"""What the account says for a merchant's desk within the approvals: let through, or sent back with a reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from flask import Blueprint, flash, g, redirect
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from bot.talks import desk
from bot.talks.desk import Pending
from bot.talks.models import DeskWords
from core.errors import Invalid, NotFound
from merchants import notices
from merchants.models import NoticeKind
from merchants.notices import News
from merchants.reviews import NotWaiting, ReviewState
from merchants.wording import Finding, ListedWord
from web.acts import record
from web.auth.access import operator_required
from web.context import now, own_hosts
from web.forms import Form, Paragraph, Submission, read_form
from web.operator import approvals
from web.operator.desk import PAGE

blueprint = Blueprint("desk_words", __name__, url_prefix="/approvals/desk-words")
blueprint.register_error_handler(NotWaiting, approvals.back_to_queue)


class DecisionForm(Form):
    """What the operator saw when deciding; only what waits can be decided here."""

    was: Literal["pending"]


class RefusalForm(DecisionForm):
    """A refusal has a reason, which the merchant reads."""

    reason: Paragraph = ""


@dataclass(frozen=True)
class Review:
    """Words that wait, with what the linter has to say."""

    pending: Pending
    doubts: list[Finding]


def waiting(listed: Sequence[ListedWord]) -> list[Review]:
    """What merchants have handed in, the oldest first."""
    hosts = own_hosts()
    found = desk.pending(g.session, limit=PAGE)
    return [Review(one, desk.doubts(one.words, hosts=hosts, listed=listed)) for one in found]


@blueprint.post("/<int:desk_words_id>/approve")
@operator_required
def approve(desk_words_id: int) -> ResponseReturnValue:
    """From now on it is said."""
    _known(desk_words_id)
    form = read_form(DecisionForm)
    if form.data is None:
        return approvals.page(approvals.Refused("desk_words", desk_words_id, form)), 422
    words = desk.judge(
        g.session,
        desk_words_id,
        was=ReviewState(form.data.was),
        now_is=ReviewState.APPROVED,
        operator_id=g.staff.id,
        now=now(),
    )
    _note("desk_words.approve", words, NoticeKind.APPROVED)
    flash(_("已通过，从现在起这样说。"), "good")
    return redirect(approvals.QUEUE, 303)


@blueprint.post("/<int:desk_words_id>/reject")
@operator_required
def reject(desk_words_id: int) -> ResponseReturnValue:
    """Send it back with a reason."""
    _known(desk_words_id)
    form: Submission[Any] = read_form(RefusalForm)
    if form.data is None:
        return approvals.page(approvals.Refused("desk_words", desk_words_id, form)), 422
    try:
        words = desk.judge(
            g.session,
            desk_words_id,
            was=ReviewState(form.data.was),
            now_is=ReviewState.REJECTED,
            operator_id=g.staff.id,
            now=now(),
            reason=form.data.reason,
        )
    except Invalid as refusal:
        form.refuse(refusal)
        return approvals.page(approvals.Refused("desk_words", desk_words_id, form)), 422
    _note("desk_words.reject", words, NoticeKind.REFUSED, words.review_reason)
    flash(_("已驳回，商户会看到原因。"), "good")
    return redirect(approvals.QUEUE, 303)


def _known(desk_words_id: int) -> DeskWords:
    found: DeskWords | None = g.session.get(DeskWords, desk_words_id)
    if found is None:
        raise NotFound
    return found


def _note(action: str, words: DeskWords, kind: NoticeKind, reason: str = "") -> None:
    """Into the audit log, and to the merchant's people."""
    subject = f"{notices.DESK}{words.id}"
    record(action, subject, merchant_id=words.merchant_id)
    news = News(kind, cause=f"{subject}:{kind}", path="/merchant/talks/settings", reason=reason)
    notices.tell(g.session, merchant_id=words.merchant_id, news=news, now=now())
