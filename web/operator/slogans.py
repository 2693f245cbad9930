"""口号 in the queue of approvals: the words of a merchant's posters, beside those that are printed now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from flask import Blueprint, flash, g, redirect
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from sqlalchemy import select

from core.errors import Invalid, NotFound
from merchants import notices, sensitive_words
from merchants.models import Merchant, NoticeKind, Staff
from merchants.notices import News
from merchants.reviews import ReviewState
from merchants.wording import Finding, ListedWord
from qrcodes import codes
from qrcodes.models import PosterSlogan
from qrcodes.posters import slogans
from web.acts import record
from web.auth.access import operator_required
from web.context import now
from web.forms import Form, Paragraph, read_form

blueprint = Blueprint("slogans", __name__, url_prefix="/approvals/slogans")


class Decision(Form):
    """What the operator saw when deciding, since somebody else may have been faster; a refusal has a reason."""

    was: Literal["pending", "approved", "rejected"]
    reason: Paragraph = ""


@dataclass(frozen=True)
class SloganPreview:
    """A version of a slogan beside the one that is printed now."""

    version: PosterSlogan
    merchant_name: str
    printed: str
    reviewer: str | None
    doubts: list[Finding]


def queue(listed: Sequence[ListedWord], *, waiting: int, decided: int) -> dict[str, Any]:
    """What the page of approvals shows of slogans, as many as there is room for."""
    return {
        "waiting_slogans": _previews(slogans.waiting_for_review(g.session, limit=waiting), listed),
        "decided_slogans": _previews(slogans.decided(g.session, limit=decided), listed),
    }


@blueprint.post("/<int:slogan_id>/approve")
@operator_required
def approve(slogan_id: int) -> ResponseReturnValue:
    """Let it be printed."""
    was, _reason = _decision()
    # What the linter had to say at that moment is the evidence; the rules may be others later.
    rules = _doubted_rules(slogan_id)
    version = slogans.approve(g.session, slogan_id=slogan_id, operator_id=g.staff.id, now=now(), was=was)
    record("slogan.approve", f"slogan:{slogan_id}", merchant_id=version.merchant_id, was=was, doubts=rules)
    _tell(version, NoticeKind.APPROVED)
    flash(_("已通过，海报从现在起会印上它。"), "good")
    return redirect("/operator/approvals", 303)


@blueprint.post("/<int:slogan_id>/reject")
@operator_required
def reject(slogan_id: int) -> ResponseReturnValue:
    """Send it back with a reason."""
    was, reason = _decision()
    rules = _doubted_rules(slogan_id)
    version = slogans.reject(g.session, slogan_id=slogan_id, operator_id=g.staff.id, reason=reason, now=now(), was=was)
    record("slogan.reject", f"slogan:{slogan_id}", merchant_id=version.merchant_id, was=was, doubts=rules)
    _tell(version, NoticeKind.REFUSED, reason)
    flash(_("已驳回，商户会看到原因。"), "good")
    return redirect("/operator/approvals", 303)


def _decision() -> tuple[ReviewState, str]:
    form = read_form(Decision)
    if form.data is None:
        raise Invalid("表单内容不对，请刷新页面再试。")
    return ReviewState(form.data.was), form.data.reason


def _previews(rows: Sequence[PosterSlogan], listed: Sequence[ListedWord]) -> list[SloganPreview]:
    shops = select(Merchant.id, Merchant.name).where(Merchant.id.in_({row.merchant_id for row in rows}))
    names = {row[0]: row[1] for row in g.session.execute(shops)}
    people = select(Staff.id, Staff.name).where(Staff.id.in_({row.reviewed_by for row in rows}))
    reviewers = {row[0]: row[1] for row in g.session.execute(people)}
    printed = slogans.all_in_force(g.session, {row.merchant_id for row in rows})
    return [
        SloganPreview(
            row,
            names[row.merchant_id],
            printed.get(row.merchant_id, ""),
            reviewers.get(row.reviewed_by or 0),
            slogans.doubts(row, listed=listed),
        )
        for row in rows
    ]


def _doubted_rules(slogan_id: int) -> list[str]:
    found: PosterSlogan | None = g.session.get(PosterSlogan, slogan_id)
    if found is None:
        raise NotFound
    return sorted({one.rule for one in slogans.doubts(found, listed=sensitive_words.listed(g.session))})


def _tell(version: PosterSlogan, kind: NoticeKind, reason: str = "") -> None:
    """Let the merchant's people know; they read on with a poster of theirs."""
    newest = next(iter(codes.list_codes(g.session, merchant_id=version.merchant_id, retired=False, limit=1)), None)
    path = f"/merchant/codes/{newest.id}/posters" if newest and newest.url else "/merchant/codes"
    news = News(kind, cause=f"{notices.SLOGAN}{version.id}:{kind}", path=path, reason=reason)
    notices.tell(g.session, merchant_id=version.merchant_id, news=news, now=now())
