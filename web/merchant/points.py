"""积分: what earns points and what that would have cost, levels, what points buy, and changes by hand."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from flask import Blueprint, flash, g, redirect, render_template
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from pydantic import StringConstraints
from sqlalchemy import select

from campaigns.coupons import templates
from campaigns.coupons.models import TemplateState
from campaigns.points import adjustments, exchange, ledger, levels, overview, rules
from campaigns.points.exchange import Offer
from campaigns.points.levels import Level
from campaigns.points.models import AdjustmentState, PointsAdjustment, RuleTrigger
from campaigns.points.rules import Cost, Rule
from core import nonces
from core.errors import BusinessError, Invalid, NotFound
from merchants.models import Fan, StaffRole
from qrcodes import fans
from qrcodes.fans import FanRow
from web.acts import record
from web.auth.access import merchant_required
from web.benefit_words import TRIGGERS
from web.context import now
from web.formats import number as number_words
from web.forms import Form, OptionalLine, Paragraph, Submission, blank, read_form
from web.language import refusal_text
from web.merchant.coupon_form import Whole, money_of, whole_of
from web.merchant.till import Nonce, give_by_hand, giveable, new_nonce
from web.query import Id, Query, read_query
from web.register import yuan

blueprint = Blueprint("merchant_points", __name__, url_prefix="/merchant/points")

HOME = "/merchant/points"
PAGE = 50
KEYS: Final[dict[str, tuple[RuleTrigger, int]]] = {
    "check-in": (RuleTrigger.CHECK_IN, 1),
    "visit": (RuleTrigger.VISIT, 1),
    "spend": (RuleTrigger.SPEND, 1),
    "referral": (RuleTrigger.REFERRAL, 1),
    "referral-2": (RuleTrigger.REFERRAL, 2),
}
"""Rules as addresses call them."""
USUAL: Final = {
    "check-in": Rule(RuleTrigger.CHECK_IN, 2, 2, 200, is_on=False),
    "visit": Rule(RuleTrigger.VISIT, 10, 10, 2_000, is_on=False),
    "spend": Rule(RuleTrigger.SPEND, 1, 200, 5_000, per_fen=100, is_on=False),
    "referral": Rule(RuleTrigger.REFERRAL, 100, 500, 2_000, vests_after_days=7, is_on=False),
    "referral-2": Rule(RuleTrigger.REFERRAL, 20, 100, 500, level=2, vests_after_days=7, is_on=False),
}
"""What a rule is proposed as where the merchant has none."""
LEVEL_LINE = re.compile(r"(\S.*?)\s+(\d{1,9})\s+(\d{1,4})%?", re.ASCII)


class RuleForm(Form):
    """What one trigger earns; `act` says whether it is kept or only tried on the last month."""

    per_fen: Whole = ""
    points: Whole = ""
    most_per_person: Whole = ""
    most_per_day: Whole = ""
    vests_after_days: Whole = ""
    lives_days: Whole = ""
    is_on: Literal["true", ""] = ""
    act: Literal["save", "try"] = "save"


class LevelsForm(Form):
    """All levels, a line each."""

    levels: Paragraph = ""


class TermsForm(Form):
    """What an offer costs, how many there are, and how many one person may have."""

    price: Whole = ""
    stock: Whole = ""
    per_person: Whole = ""

    def numbers(self) -> dict[str, int]:
        """As numbers; what was left empty is none."""
        return {name: whole_of(getattr(self, name), name) or 0 for name in ("price", "stock", "per_person")}


class OfferForm(TermsForm):
    """A coupon for points."""

    coupon_template: Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,17}$")]


class SettingsForm(Form):
    """What one member of staff may change alone in a day."""

    alone_most: Whole = ""


class AdjustForm(Form):
    """Points by hand."""

    points: Whole = ""
    reason: OptionalLine = ""
    nonce: Nonce = ""


class GiftForm(Query):
    """A coupon by hand."""

    coupon_template: Id
    nonce: Nonce = ""


class FanQuery(Query):
    """From where on in the statement."""

    before: Id | None = None


@dataclass(frozen=True)
class RuleCard:
    """One rule as its page shows it."""

    key: str
    name: str
    trigger: RuleTrigger
    words: str
    is_on: bool
    cost: str
    form: Submission[Any]


@dataclass(frozen=True)
class OfferCard:
    """One offer, and the form of its terms."""

    key: str
    offer: Offer
    form: Submission[Any]


@blueprint.get("")
@merchant_required()
def index() -> str:
    """Rules, levels, offers and what waits."""
    return _page()


@blueprint.post("/rules/<any('check-in', visit, spend, referral, 'referral-2'):rule>")
@merchant_required(StaffRole.OWNER)
def set_rule(rule: str) -> ResponseReturnValue:
    """Keep a rule, or say what it would have cost."""
    form = read_form(RuleForm)
    if form.data is None:
        return _page(open_=rule, form=form), 422
    try:
        typed = _rule(rule, form.data)
        rules.check(typed)
        if form.data.act == "try":
            cost = rules.simulate(g.session, merchant_id=g.staff.merchant_id, rules=[typed], now=now())[0]
            return _page(open_=rule, form=form, cost=cost)
        rules.save(g.session, merchant_id=g.staff.merchant_id, rule=typed, now=now())
    except Invalid as refusal:
        form.refuse(refusal)
        return _page(open_=rule, form=form), 422
    record("points.rule", rule, points=typed.points, on=typed.is_on)
    flash(_("已保存。"), "good")
    return redirect(HOME, 303)


def _rule(key: str, data: RuleForm) -> Rule:
    trigger, level = KEYS[key]

    def whole(name: str) -> int:
        found = whole_of(getattr(data, name), name)
        if found is None:
            raise Invalid("请填写这一项。", field=name)
        return found

    return Rule(
        trigger=trigger,
        points=whole("points"),
        most_per_person=whole("most_per_person"),
        most_per_day=whole("most_per_day"),
        per_fen=(money_of(data.per_fen, "per_fen") or None) if trigger is RuleTrigger.SPEND else None,
        level=level,
        vests_after_days=whole_of(data.vests_after_days, "vests_after_days") or 0,
        lives_days=whole_of(data.lives_days, "lives_days"),
        is_on=bool(data.is_on),
    )


@blueprint.post("/levels")
@merchant_required(StaffRole.OWNER)
def set_levels() -> ResponseReturnValue:
    """Other levels in the place of all."""
    form = read_form(LevelsForm)
    if form.data is None:
        return _page(open_="levels", form=form), 422
    try:
        found = _levels_of(form.data.levels)
        levels.save(g.session, merchant_id=g.staff.merchant_id, levels=found)
    except Invalid as refusal:
        form.errors["levels"] = refusal_text(refusal)
        return _page(open_="levels", form=form), 422
    record("points.levels", levels=len(found))
    flash(_("已保存。"), "good")
    return redirect(HOME, 303)


def _levels_of(typed: str) -> list[Level]:
    """Lines such as 常客 500 120."""
    found = []
    for line in filter(None, (line.strip() for line in typed.splitlines())):
        parts = LEVEL_LINE.fullmatch(line)
        if parts is None:
            raise Invalid("看不懂“%(line)s”，请写成：常客 500 120。", field="levels", line=line[:40])
        found.append(Level(parts[1], int(parts[2]), int(parts[3])))
    return found


@blueprint.post("/offers")
@merchant_required(StaffRole.OWNER)
def add_offer() -> ResponseReturnValue:
    """Offer a coupon for points."""
    form = read_form(OfferForm)
    if form.data is None:
        return _page(open_="offers", form=form), 422
    template = templates.find(g.session, merchant_id=g.staff.merchant_id, template_id=int(form.data.coupon_template))
    try:
        terms = form.data.numbers()
        exchange.add(g.session, merchant_id=g.staff.merchant_id, template_id=template.id, **terms)
    except Invalid as refusal:
        form.refuse(refusal)
        return _page(open_="offers", form=form), 422
    record("points.offer", f"coupon_template:{template.id}", **terms)
    flash(_("加上了，邻居们现在就能换。"), "good")
    return redirect(HOME, 303)


@blueprint.post("/offers/<int:offer_id>")
@merchant_required(StaffRole.OWNER)
def change_offer(offer_id: int) -> ResponseReturnValue:
    """Another price, and other numbers; what was taken already stays taken."""
    offer, here = _offer(offer_id), f"offer-{offer_id}"
    form = read_form(TermsForm)
    if form.data is None:
        return _page(open_=here, form=form), 422
    try:
        terms = form.data.numbers()
        exchange.change(g.session, merchant_id=g.staff.merchant_id, offer_id=offer_id, is_on=offer.is_on, **terms)
    except Invalid as refusal:
        form.refuse(refusal)
        return _page(open_=here, form=form), 422
    record("points.offer", f"points_offer:{offer_id}", **terms)
    flash(_("已保存。"), "good")
    return redirect(HOME, 303)


def _offer(offer_id: int) -> Offer:
    offer = exchange.find(g.session, merchant_id=g.staff.merchant_id, offer_id=offer_id)
    if offer is None:
        raise NotFound
    return offer


@blueprint.post("/offers/<int:offer_id>/<any(open, close):act>")
@merchant_required(StaffRole.OWNER)
def switch_offer(offer_id: int, act: str) -> ResponseReturnValue:
    """Offer it again, or no longer."""
    offer = _offer(offer_id)
    exchange.change(
        g.session,
        merchant_id=g.staff.merchant_id,
        offer_id=offer_id,
        price=offer.price,
        stock=offer.stock,
        per_person=offer.per_person,
        is_on=act == "open",
    )
    record("points.offer", f"points_offer:{offer_id}", on=act == "open")
    flash(_("已保存。"), "good")
    return redirect(HOME, 303)


@blueprint.post("/settings")
@merchant_required(StaffRole.OWNER)
def set_settings() -> ResponseReturnValue:
    """How much one member of staff may change alone."""
    form = read_form(SettingsForm)
    if form.data is None:
        return _page(open_="settings", form=form), 422
    try:
        most = whole_of(form.data.alone_most, "alone_most")
        if most is None:
            raise Invalid("请填整数。", field="alone_most")
        adjustments.set_alone_most(g.session, merchant_id=g.staff.merchant_id, staff_id=g.staff.id, most=most)
    except Invalid as refusal:
        form.errors["alone_most"] = refusal_text(refusal)
        return _page(open_="settings", form=form), 422
    flash(_("已保存。"), "good")
    return redirect(HOME, 303)


@blueprint.post("/adjustments/<int:adjustment_id>/<any(agree, refuse):answer>")
@merchant_required(StaffRole.OWNER)
def decide(adjustment_id: int, answer: str) -> ResponseReturnValue:
    """The second person's word."""
    merchant_id = g.staff.merchant_id
    mine = select(PointsAdjustment.id).filter_by(id=adjustment_id, merchant_id=merchant_id)
    if g.session.scalar(mine) is None:
        raise NotFound
    try:
        adjustments.decide(
            g.session,
            adjustment_id=adjustment_id,
            staff_id=g.staff.id,
            merchant_id=merchant_id,
            approve=answer == "agree",
            now=now(),
        )
    except BusinessError as refusal:
        return _page(refusal=refusal), refusal.status
    flash(_("已同意，积分改好了。") if answer == "agree" else _("没有同意，积分没有动。"), "good")
    return redirect(HOME, 303)


# ---- One fan ---------------------------------------------------------------------------------------------------------


@blueprint.get("/fans/<number>")
@merchant_required()
def show_fan(number: str) -> str:
    """What one person has and how it came about."""
    fan = fans.by_number(g.session, g.staff.merchant_id, number)
    return _fan_page(fan, blank(nonce=new_nonce()))


@blueprint.post("/fans/<number>/adjust")
@merchant_required()
def adjust(number: str) -> ResponseReturnValue:
    """Give points by hand, or take them, with a reason (#79)."""
    merchant_id = g.staff.merchant_id
    fan = fans.by_number(g.session, merchant_id, number)
    form = read_form(AdjustForm)
    if form.data is None:
        return _fan_page(fan, form), 422
    data = form.data
    actor, route = f"staff:{g.staff.id}", "adjust"
    body = {"fan": number, "points": data.points, "reason": data.reason}
    answered = nonces.once(g.session, actor=actor, route=route, nonce=data.nonce, body=body, merchant_id=merchant_id)
    if answered is None:
        try:
            done = adjustments.ask(
                g.session,
                merchant_id=merchant_id,
                follower_id=fan.follower_id,
                staff_id=g.staff.id,
                points=_signed(data.points),
                reason=data.reason,
                now=now(),
            )
        except Invalid as refusal:
            form.refuse(refusal)
            return _fan_page(fan, form), 422
        is_waiting = done.state == AdjustmentState.WAITING
        answered = nonces.keep(g.session, actor=actor, route=route, nonce=data.nonce, answer={"waiting": is_waiting})
    if answered.answer["waiting"]:
        flash(_("超过一个人能定的数，等另一位店主或运营同意。"), "wait")
    else:
        flash(_("积分改好了。"), "good")
    return redirect(f"{HOME}/fans/{number}", 303)


def _signed(typed: str) -> int:
    """+50 or -50; nothing, 1.5 and words are none."""
    if not re.fullmatch(r"[+-]?\d{1,9}", typed, re.ASCII):
        raise Invalid("请填要加减多少积分，例如 50 或 -50。", field="points")
    return int(typed)


@blueprint.post("/fans/<number>/give")
@merchant_required()
def give(number: str) -> ResponseReturnValue:
    """Give them one of one's coupons."""
    fan = fans.by_number(g.session, g.staff.merchant_id, number)
    wanted = read_query(GiftForm)
    try:
        name, _until = give_by_hand(fan.follower_id, wanted.coupon_template, wanted.nonce)
    except NotFound:
        raise
    except BusinessError as refusal:
        return _fan_page(fan, blank(nonce=new_nonce()), refusal), refusal.status
    flash(_("已送出“%(name)s”。", name=name), "good")
    return redirect(f"{HOME}/fans/{number}", 303)


def _fan_page(fan: FanRow, form: Submission[Any], refusal: BusinessError | None = None) -> str:
    query = read_query(FanQuery) if refusal is None and form.data is None and not form.errors else FanQuery()
    merchant_id = g.staff.merchant_id
    whose = {"merchant_id": merchant_id, "follower_id": fan.follower_id}
    lines = ledger.statement_of(g.session, **whose, before=query.before, most=PAGE + 1)
    path = f"{HOME}/fans/{fan.number}"
    return render_template(
        "merchant/points_fan.html",
        fan=fan,
        form=form,
        refusal=refusal_text(refusal) if refusal else None,
        balance=ledger.balance_of(g.session, **whose, now=now()),
        standing=levels.standing(g.session, **whose, now=now()),
        lines=lines[:PAGE],
        gifts=giveable(),
        give_nonce=new_nonce(),
        alone_most=adjustments.alone_most(g.session, merchant_id=merchant_id),
        older=f"{path}?before={lines[PAGE - 1].transfer_id}" if len(lines) > PAGE else None,
        newest=path if query.before else None,
    )


# ---- The page --------------------------------------------------------------------------------------------------------


def _page(
    *,
    open_: str = "",
    form: Submission[Any] | None = None,
    cost: Cost | None = None,
    refusal: BusinessError | None = None,
) -> str:
    """`form` is a refused or tried one of the part that is open, `cost` what trying it said."""
    merchant_id = g.staff.merchant_id
    stored = {(one.trigger, one.level): one for one in rules.rules_of(g.session, merchant_id=merchant_id)}
    kept = list(stored.values())
    costs = {
        (one.rule.trigger, one.rule.level): one
        for one in rules.simulate(g.session, merchant_id=merchant_id, rules=kept, now=now())
    }
    found = levels.levels_of(g.session, merchant_id=merchant_id)
    cards = [
        _rule_card(
            key,
            stored.get(which),
            cost if key == open_ and cost is not None else costs.get(which),
            form if key == open_ else None,
        )
        for key, which in KEYS.items()
    ]
    alone = adjustments.alone_most(g.session, merchant_id=merchant_id)
    live = templates.listed(g.session, merchant_id=merchant_id, states=(TemplateState.LIVE,), limit=PAGE)
    waiting = adjustments.waiting(g.session, merchant_id=merchant_id)
    numbers = select(Fan.follower_id, Fan.number).where(
        Fan.merchant_id == merchant_id, Fan.follower_id.in_({one.follower_id for one in waiting})
    )
    return render_template(
        "merchant/points.html",
        refusal=refusal_text(refusal) if refusal else None,
        seen=overview.overview(g.session, merchant_id=merchant_id, now=now()),
        simulated=sum(one.points for one in costs.values()),
        rules=cards,
        levels=found,
        level_form=form
        if form and open_ == "levels"
        else blank(levels="\n".join(f"{one.name} {one.from_points} {one.earn_percent}" for one in found)),
        offers=[
            _offer_card(one, form if open_ == f"offer-{one.id}" else None)
            for one in exchange.offers_of(g.session, merchant_id=merchant_id)
        ],
        offer_form=form if form and open_ == "offers" else blank(price=100, stock=20, per_person=1),
        exchangeable=[(row.template.id, row.template.name) for row in live],
        waiting=waiting,
        numbers={row[0]: row[1] for row in g.session.execute(numbers)},
        alone_most=alone,
        settings_form=form if form and open_ == "settings" else blank(alone_most=alone),
        open=open_,
    )


def _offer_card(offer: Offer, form: Submission[Any] | None) -> OfferCard:
    stored = blank(price=offer.price, stock=offer.stock, per_person=offer.per_person)
    return OfferCard(f"offer-{offer.id}", offer, form or stored)


def _rule_card(key: str, stored: Rule | None, cost: Cost | None, form: Submission[Any] | None) -> RuleCard:
    rule = stored or USUAL[key]
    trigger, level = KEYS[key]
    name = _("介绍人的介绍人") if level == 2 else str(TRIGGERS[trigger])
    return RuleCard(
        key=key,
        name=name,
        trigger=trigger,
        words=_rule_words(rule),
        is_on=stored is not None and stored.is_on,
        cost=_cost_words(cost) if cost else "",
        form=form
        or blank(
            per_fen=yuan(rule.per_fen or 0),
            points=rule.points,
            most_per_person=rule.most_per_person,
            most_per_day=rule.most_per_day,
            vests_after_days=rule.vests_after_days,
            lives_days=rule.lives_days,
            is_on=rule.is_on,
        ),
    )


def _rule_words(rule: Rule) -> str:
    """A rule as one says it."""
    points = number_words(rule.points)
    match rule.trigger:
        case RuleTrigger.CHECK_IN:
            said = _("每天签到一次，得 %(points)s 积分", points=points)
        case RuleTrigger.VISIT:
            said = _("每次到店，店员扫一下会员码，得 %(points)s 积分", points=points)
        case RuleTrigger.SPEND:
            said = _("每消费 %(yuan)s 元，得 %(points)s 积分", yuan=yuan(rule.per_fen or 0), points=points)
        case RuleTrigger.REFERRAL if rule.level == 1:
            said = _("介绍来的邻居第一次在本店消费，介绍人得 %(points)s 积分", points=points)
        case _:
            said = _("再上一位介绍人，得 %(points)s 积分", points=points)
    said += _("；每人每天最多 %(most)s", most=number_words(rule.most_per_person))
    if rule.vests_after_days:
        said += _("，%(days)s 天后到账", days=rule.vests_after_days)
    if rule.lives_days:
        said += _("，%(days)s 天后过期", days=rule.lives_days)
    return str(said)


def _cost_words(cost: Cost) -> str:
    said = _(
        "按最近 30 天的 %(causes)s 次来算，大约要送出 %(points)s 积分",
        causes=number_words(cost.causes),
        points=number_words(cost.points),
    )
    return str(said + (_("；上限挡住了 %(cut)s。", cut=number_words(cost.cut)) if cost.cut else _("。")))
