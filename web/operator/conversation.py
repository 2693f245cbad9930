"""对话观察: how soon the callback answers, what went wrong, who answers, and the questions nobody could answer."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final, Literal
from urllib.parse import urlencode

from flask import Blueprint, g, render_template
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l

from bot import insight
from bot.answering import Answered
from bot.callbacks import LATE_MS
from bot.insight import Slot
from bot.rules import writing
from core.clock import SHANGHAI
from merchants.merchants import names_of
from web.auth.access import operator_required
from web.context import now
from web.formats import day
from web.operator.desk import here
from web.operator.spans import merchant_named
from web.operator.words import word
from web.query import Id, Query, read_query

blueprint = Blueprint("conversation", __name__, url_prefix="/conversation")

SHOWN: Final = 50
RULES_SHOWN: Final = 100
NEW_RULE: Final = "/operator/reply-rules/new"
"""Where a question becomes a rule."""
KEYWORD_MAX: Final = 30

ANSWERS: Final[Mapping[str, Any]] = {
    Answered.RULE: _l("自动回复的规则"),
    Answered.TALK: _l("转给了商户"),
    Answered.LINE: _l("没人会答，给了一句提示"),
    Answered.ASKED: _l("先问是找哪一家"),
    Answered.CHOICE: _l("选了要找的店"),
    Answered.SWITCH: _l("换了要找的店"),
    Answered.WELCOME: _l("欢迎语"),
    Answered.BENEFIT: _l("优惠券、积分、签到、会员卡"),
    Answered.KEYWORD: _l("领券口令"),
    Answered.LOOKUP: _l("商家、电话、公告"),
    Answered.WISH: _l("退订和优惠"),
    Answered.WORD: _l("帮助、人工、我的数据"),
    Answered.RATING: _l("评价"),
    Answered.STAFF: _l("员工验证"),
}
REASONS: Final[Mapping[str, Any]] = {
    "signature": _l("签名不对：不是微信发来的，或者 Token 填错了"),
    "sealed": _l("解不开：加密方式或 EncodingAESKey 和公众平台上的不一样"),
    "stale": _l("时间差得太远：服务器的钟可能不准"),
    "method": _l("请求方式不对"),
    "encoding": _l("内容编码不对"),
    "too_large": _l("内容太大"),
    "clock": _l("刚启动，还没有读到时间"),
    "slow_body": _l("网络太慢，内容没有收完"),
    "busy": _l("同时来的消息太多，排不下了"),
    "late": _l("处理超过 4.5 秒，请微信重发"),
    "inbox": _l("没有存下来，请微信重发"),
    "dead_letter": _l("看不懂的消息，也没有存下来"),
    "unusable": _l("看不懂的消息，放进了死信"),
}


class ConversationQuery(Query):
    """Which hours or days of the callback, and whose questions of how many days."""

    span: Literal["day", "month"] = "day"
    days: Literal["7", "30"] = "7"
    merchant: Id | None = None


@blueprint.get("")
@operator_required
def index() -> str:
    """All of it on one page."""
    wanted = read_query(ConversationQuery)
    at = now()
    merchant = merchant_named(wanted.merchant)
    is_day = wanted.span == "day"
    # A minute ahead of the request, so that what was counted just now is in.
    until = at + timedelta(minutes=1)
    since = at - (timedelta(hours=23) if is_day else timedelta(days=29))
    slots = insight.latency(g.session, since=since, until=until, step="hour" if is_day else "day")
    asked_since = at - timedelta(days=int(wanted.days))
    questions = insight.unanswered(g.session, since=asked_since, merchant_id=wanted.merchant, limit=SHOWN)
    rules = insight.silent_rules(g.session, now=at, limit=RULES_SHOWN)
    shares = insight.answered(g.session, since=asked_since)
    answered = sum(count for _name, count in shares)
    whose = {one for question in questions.groups for one in question.merchants} | {one.merchant_id for one in rules}
    return render_template(
        "operator/conversation.html",
        wanted=wanted,
        merchant=merchant,
        slots=slots,
        total=insight.total(g.session, since=slots[0].at, until=until),
        late_s=LATE_MS / 1000,
        categories=[_name(slot, is_day=is_day) for slot in slots],
        latencies=[
            {"name": _("一半的回答在这以内（毫秒）"), "values": [_whole(slot.p50_ms) for slot in slots]},
            {"name": _("百分之九十九的回答在这以内（毫秒）"), "values": [_whole(slot.p99_ms) for slot in slots]},
        ],
        outcomes=[
            {"name": _("答上了"), "values": [slot.ok for slot in slots]},
            {"name": _("没存下，请微信重发"), "values": [slot.unavailable for slot in slots]},
            {"name": _("拒之门外"), "values": [slot.turned_away for slot in slots]},
            {"name": _("超过 4.5 秒"), "values": [slot.late for slot in slots]},
        ],
        spans=[(_("最近 24 小时"), here(span="day"), is_day), (_("最近 30 天"), here(span="month"), not is_day)],
        failures=[
            (one, REASONS.get(one.reason, one.reason), _detail(one.reason, one.detail))
            for one in insight.failures(g.session, since=slots[0].at, limit=SHOWN)
        ],
        days=[(_("最近 %(n)s 天", n=n), here(days=n), wanted.days == n) for n in ("7", "30")],
        shares=[(ANSWERS.get(name, name), count, _share(count, answered)) for name, count in shares],
        questions=questions,
        rules=rules,
        has_rules=writing.count_on(g.session) > 0,
        names=names_of(g.session, whose),
        new_rule=_new_rule,
    )


def _new_rule(question: insight.Question) -> str:
    """Where it becomes a rule: in one line, as keywords are written."""
    keyword = " ".join(question.example.split())[:KEYWORD_MAX]
    return f"{NEW_RULE}?{urlencode({'keyword': keyword})}"


def _name(slot: Slot, *, is_day: bool) -> str:
    return f"{slot.at.astimezone(SHANGHAI):%H:00}" if is_day else day(slot.at.astimezone(SHANGHAI).date())


def _share(count: int, of: int) -> str:
    """Of something that happened, never nothing."""
    return "<1%" if 100 * count < of else f"{100 * count / of:.0f}%"


def _whole(milliseconds: float | None) -> int | None:
    return None if milliseconds is None else round(milliseconds)


def _detail(reason: str, detail: str) -> str:
    """What made it so: our word for an unusable delivery, or the kind of the fault."""
    if reason == "unusable":
        return word(detail, "dead_letter")
    return word(detail, "task_error") if detail else ""
