"""邀请: whether fans have invitation cards, what a first spend earns who brought somebody, and who brought whom."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from flask import Blueprint, flash, g, redirect, render_template
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from pydantic import BeforeValidator, Field

from campaigns.points import rules
from campaigns.points.models import RuleTrigger
from campaigns.points.rules import Rule
from campaigns.referrals import invites, review
from core.errors import Invalid
from merchants import identities
from merchants.models import StaffRole
from web.acts import record
from web.auth.access import merchant_required
from web.context import current_runtime, now
from web.forms import Form, OptionalLine, Submission, blank, read_form

blueprint = Blueprint("merchant_referrals", __name__, url_prefix="/merchant/referrals")

HOME: Final = "/merchant/referrals"
SHOWN: Final = 50

Whole = Annotated[int, Field(ge=0, le=100_000_000)]
Days = Annotated[
    Annotated[int, Field(ge=1, le=3_650)] | None, BeforeValidator(lambda typed: None if typed == "" else typed)
]
Ticked = Literal["true"] | None


class RulesForm(Form):
    """What a first spend earns; with a second level, who brought the one who brought. There is no field for more."""

    is_on: Ticked = None
    points: Whole
    most_per_person: Whole
    most_per_day: Whole
    vests_after_days: Whole = 0
    lives_days: Days = None
    second_is_on: Ticked = None
    second_points: Whole = 0


class WordsForm(Form):
    """What the cards say."""

    words: OptionalLine = ""


@blueprint.get("")
@merchant_required()
def index() -> str:
    """The rules, the words, and who brought whom."""
    return _page()


@blueprint.post("/rules")
@merchant_required(StaffRole.OWNER)
def save_rules() -> ResponseReturnValue:
    """Keep what is earned; switched off, nobody has cards any more and what was earned stays."""
    form = read_form(RulesForm)
    if form.data is not None:
        try:
            _save(form.data)
        except Invalid as refusal:
            form.refuse(refusal)
        else:
            record("referral.rules", "rule:referral", is_on=form.data.is_on is not None, points=form.data.points)
            flash(_("已保存。"), "good")
            return redirect(HOME, 303)
    return _page(rules_form=form), 422


@blueprint.post("/words")
@merchant_required(StaffRole.OWNER)
def save_words() -> ResponseReturnValue:
    """Keep what the cards say; what the platform forbids is refused with the reason (RF-8)."""
    form = read_form(WordsForm)
    if form.data is not None:
        try:
            invites.reword(g.session, merchant_id=g.staff.merchant_id, words=form.data.words, now=now())
        except Invalid as refusal:
            form.refuse(refusal)
        else:
            record("referral.words", "words:referral")
            flash(_("已保存，卡上从现在起就这样写。"), "good")
            return redirect(HOME, 303)
    return _page(words_form=form), 422


def _save(wanted: RulesForm) -> None:
    merchant_id, first = g.staff.merchant_id, _rule(wanted, 1, wanted.points, is_on=wanted.is_on is not None)
    rules.save(g.session, merchant_id=merchant_id, rule=first, now=now())
    has_second = rules.rule_of(g.session, merchant_id=merchant_id, trigger=RuleTrigger.REFERRAL, level=2) is not None
    if wanted.second_is_on is not None:
        second = _rule(wanted, 2, wanted.second_points, is_on=True)
        rules.save(g.session, merchant_id=merchant_id, rule=second, now=now())
    elif has_second:
        rules.switch(g.session, merchant_id=merchant_id, trigger=RuleTrigger.REFERRAL, level=2, is_on=False)


def _rule(wanted: RulesForm, level: int, points: int, *, is_on: bool) -> Rule:
    return Rule(
        RuleTrigger.REFERRAL,
        points,
        wanted.most_per_person,
        wanted.most_per_day,
        level=level,
        vests_after_days=wanted.vests_after_days,
        lives_days=wanted.lives_days,
        is_on=is_on,
    )


def _page(*, rules_form: Submission[Any] | None = None, words_form: Submission[Any] | None = None) -> str:
    merchant_id = g.staff.merchant_id
    first = rules.rule_of(g.session, merchant_id=merchant_id, trigger=RuleTrigger.REFERRAL)
    second = rules.rule_of(g.session, merchant_id=merchant_id, trigger=RuleTrigger.REFERRAL, level=2)
    brought = review.brought(g.session, merchant_id=merchant_id, limit=SHOWN)
    best = review.inviters(g.session, now=now(), merchant_id=merchant_id, limit=20)
    runtime = current_runtime()
    people = {one.inviter_id for one in brought} | {one.invitee_id for one in brought} | {x.follower_id for x in best}
    return render_template(
        "merchant/referrals.html",
        rules_form=rules_form or _filled(first, second),
        words_form=words_form or blank(words=invites.words_of(g.session, merchant_id=merchant_id)),
        is_on=first is not None and first.is_on,
        first=first,
        brought=brought,
        best=best,
        numbers={one: identities.fan_number(runtime, merchant_id, one) for one in people},
    )


def _filled(first: Rule | None, second: Rule | None) -> Submission[Any]:
    known = first or Rule(RuleTrigger.REFERRAL, 50, 200, 2_000, vests_after_days=7)
    return blank(
        is_on=first is not None and first.is_on,
        points=known.points,
        most_per_person=known.most_per_person,
        most_per_day=known.most_per_day,
        vests_after_days=known.vests_after_days,
        lives_days=known.lives_days,
        second_is_on=second is not None and second.is_on,
        second_points=second.points if second else 20,
    )
