"""What coupons and points are called, in front of merchants, operators and the till."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any, Final

from flask import Flask
from flask_babel import gettext
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l

from campaigns.coupons import validity
from campaigns.coupons.models import AcceptorState, Channel, CouponKind, CouponState, TemplateState
from campaigns.coupons.validity import REFUSED_WORDS, Day, Line, Refused, Several, Terms
from campaigns.points.models import RuleTrigger, TransferKind
from core.clock import SHANGHAI, business_day
from core.errors import NotFound
from merchants.reviews import ReviewState
from web.context import now
from web.formats import day, month, plain_day, short_time
from web.language import phrase
from web.register import yuan

KINDS: dict[str, Any] = {
    CouponKind.AMOUNT: _l("满减券"),
    CouponKind.PERCENT: _l("折扣券"),
    CouponKind.GIFT: _l("赠品券"),
    CouponKind.VISITS: _l("次卡"),
    CouponKind.ITEM: _l("单品券"),
}
STATES: dict[str, Any] = {
    "draft": _l("草稿"),
    "waiting": _l("等运营审批"),
    "refused": _l("没有通过"),
    "live": _l("正在发"),
    "paused": _l("已暂停"),
    "ended": _l("已结束"),
}
STATE_TONES: dict[str, str] = {
    "waiting": "wait", "refused": "bad", "live": "good", "paused": "wait",
}  # fmt: skip
COUPON_STATES: dict[str, Any] = {
    CouponState.ISSUED: _l("可用"),
    CouponState.RESERVED: _l("收银台正在用"),
    CouponState.REDEEMED: _l("已核销"),
    CouponState.EXPIRED: _l("已过期"),
    CouponState.REVOKED: _l("已收回"),
    CouponState.GIVEN_AWAY: _l("已转送"),
}
CHANNELS: dict[str, Any] = {
    Channel.PAGE: _l("自己领的"),
    Channel.SCAN: _l("扫码"),
    Channel.KEYWORD: _l("发口令"),
    Channel.BROADCAST: _l("群发"),
    Channel.POINTS: _l("积分兑换"),
    Channel.BIRTHDAY: _l("生日"),
    Channel.STAFF: _l("店员送的"),
    Channel.REFERRAL: _l("邻居介绍"),
}
ACCEPTORS: dict[str, Any] = {
    AcceptorState.ASKED: _l("等对方同意"),
    AcceptorState.AGREED: _l("已同意"),
    AcceptorState.ENDED: _l("已结束"),
}
TRIGGERS: dict[str, Any] = {
    RuleTrigger.CHECK_IN: _l("签到"),
    RuleTrigger.VISIT: _l("到店"),
    RuleTrigger.SPEND: _l("消费"),
    RuleTrigger.REFERRAL: _l("介绍来的邻居第一次消费"),
}
TRANSFERS: dict[str, Any] = {
    TransferKind.EARN: _l("得到"),
    TransferKind.VEST: _l("到账"),
    TransferKind.SPEND: _l("兑换"),
    TransferKind.EXPIRE: _l("过期"),
    TransferKind.REVERSE: _l("退回"),
    TransferKind.ADJUST: _l("手工调整"),
}
MONTHS: Final = 6
WEEKDAYS: Final = (_l("周一"), _l("周二"), _l("周三"), _l("周四"), _l("周五"), _l("周六"), _l("周日"))


def register(app: Flask) -> None:
    """Make the words known to templates."""
    tables = {
        "coupon_kind": KINDS, "coupon_state": COUPON_STATES, "coupon_channel": CHANNELS, "acceptor_state": ACCEPTORS,
        "points_trigger": TRIGGERS, "points_transfer": TRANSFERS,
    }  # fmt: skip
    for name, table in tables.items():
        app.add_template_filter(_reader(table), name)
    for filter_ in (
        template_state,
        template_words,
        template_tone,
        worth_words,
        promise_words,
        line_words,
        money,
        until_words,
        coupon_refused,
    ):
        app.add_template_filter(filter_)


def _reader(table: dict[str, Any]) -> Callable[[str], str]:
    return lambda value: str(table.get(value, value))


def money(fen: int | None) -> str:
    """1250 → ¥12.50, 1200 → ¥12; unknown → a dash."""
    if fen is None:
        return "—"
    return f"{'−' if fen < 0 else ''}¥{yuan(abs(fen)) or '0'}"


def template_state(template: Any) -> str:
    """Where a kind of coupons is, as its merchant sees it: the draft that waits is not the draft that was refused."""
    if template.state != TemplateState.DRAFT:
        return str(template.state)
    if template.review == ReviewState.REJECTED:
        return "refused"
    return "waiting" if template.submitted_at is not None and template.review == ReviewState.PENDING else "draft"


def template_words(template: Any) -> str:
    return str(STATES[template_state(template)])


def template_tone(template: Any) -> str:
    return STATE_TONES.get(template_state(template), "")


def zhe(percent_off: int) -> str:
    """20 → 8, 15 → 8.5: what is left of ten parts, as shops say it."""
    left = 100 - percent_off
    return f"{left // 10}" if left % 10 == 0 else f"{left / 10:.1f}"


def worth_words(terms: Terms) -> str:
    """What one use is good for, in a word: ¥8, 8 折, 5 次."""
    if terms.kind == CouponKind.AMOUNT:
        return money(terms.value_fen)
    said = {
        CouponKind.PERCENT: _("%(zhe)s 折", zhe=zhe(terms.percent_off or 0)),
        CouponKind.VISITS: _("%(count)s 次", count=terms.uses),
        CouponKind.GIFT: _("赠品"),
    }
    return str(said.get(CouponKind(terms.kind), _("免单一件")))


def line_words(line: Line) -> str:
    """One of `validity`'s sentences, in the reader's language."""
    return str(gettext(line.template, **{name: _in_words(value) for name, value in line.detail.items()}))


def _in_words(value: object) -> str:
    match value:
        case Day():
            return f"{plain_day(value.date, has_year=value.has_year)} {value.time}".rstrip()
        case Several():
            return str(_("、")).join(_in_words(part) for part in value.parts)
        case str():
            return phrase(value)
        case _:
            return str(value)


def promise_words(terms: Terms) -> list[str]:
    """Everything a coupon promises, the benefit first."""
    return [line_words(one) for one in validity.describe(terms)]


def clock(minutes: int) -> str:
    """690 → 11:30."""
    return f"{minutes // 60:02}:{minutes % 60:02}"


def until_words(moment: datetime) -> str:
    """Until when something is good; what ends at midnight is good through the day before."""
    here = moment.astimezone(SHANGHAI)
    if (here.hour, here.minute) == (0, 0):
        return str(_("有效到 %(day)s", day=day((here - timedelta(days=1)).date())))
    return str(_("%(when)s 前有效", when=short_time(moment)))


def coupon_refused(why: Refused) -> str:
    """Why a coupon cannot be used at this moment."""
    return phrase(REFUSED_WORDS[why])


def month_named(wanted: str | None) -> date:
    """The first day of a month spelt 2026-11; this month where none is named. Raises `NotFound`."""
    today = business_day(now())
    if wanted is None:
        return today.replace(day=1)
    if not (wanted.isascii() and re.fullmatch(r"20[2-9]\d-(0[1-9]|1[0-2])", wanted)):
        raise NotFound
    first = date(int(wanted[:4]), int(wanted[5:]), 1)
    if first > today:
        raise NotFound
    return first


def month_chips(path: str, current: date) -> list[tuple[str, str, bool]]:
    """The latest months as choices."""
    chips, first = [], business_day(now()).replace(day=1)
    for _number in range(MONTHS):
        chips.append((month(first), f"{path}/{first:%Y-%m}", first == current))
        first = (first - timedelta(days=1)).replace(day=1)
    return chips
