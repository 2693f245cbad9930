"""What is said about talks in front of merchants: states, clocks, and how long somebody has waited."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from flask import Flask
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l

from bot.talks.intake import without_links
from bot.talks.models import AnswerState, Direction, Kind, MediaState, TalkState, Why
from core.clock import SHANGHAI
from web.context import now
from wechat.limits import WINDOWS, WindowTrigger

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
LONG_WAIT = timedelta(minutes=30)
WINDOW = WINDOWS[WindowTrigger.MESSAGE].lasts
"""How long after a message its writer can be answered in the chat."""

KINDS: dict[str, Any] = {
    Kind.IMAGE: _l("[图片]"),
    Kind.VOICE: _l("[语音]"),
    Kind.VIDEO: _l("[视频]"),
    Kind.SHORTVIDEO: _l("[小视频]"),
    Kind.LOCATION: _l("[位置]"),
    Kind.LINK: _l("[链接]"),
    Kind.CARD: _l("[图文卡片]"),
    Kind.COUPON: _l("[优惠券]"),
    Kind.RATING: _l("[请客人评价]"),
    Kind.OTHER: _l("[这种消息在这里看不了]"),
}
"""What stands for a message that is no text."""
GONE: dict[tuple[Kind, Direction], Any] = {
    (Kind.IMAGE, Direction.IN): _l("图片没有取到，或已过期删除"),
    (Kind.VOICE, Direction.IN): _l("语音没有取到，或已过期删除"),
    (Kind.IMAGE, Direction.OUT): _l("图片已过期删除"),
}
"""What stands for a file that cannot be seen any more."""
FORGOTTEN = _l("[满 30 天，内容已删除]")
STATES: dict[str, Any] = {
    AnswerState.PLANNED: _l("正在送"),
    AnswerState.CALLING: _l("正在送"),
    AnswerState.WAITING: _l("等客人下次来访时发"),
    AnswerState.SENT: _l("已送达平台"),
    AnswerState.REFUSED: _l("被拒"),
    AnswerState.UNKNOWN: _l("未知：平台没有回音，可能送到了，不会再发一遍"),
    AnswerState.SKIPPED: _l("没有发"),
}
REASONS: dict[str, Any] = {
    Why.LEFT: _l("客人已取关，或要求删除了资料"),
    Why.CLOSED: _l("平台说聊天窗口已经关了"),
    Why.PLATFORM: _l("平台没有接受"),
    Why.WITHDRAWN: _l("您取消了"),
    Why.NOT_READY: _l("图片没有传到平台"),
    Why.NO_ROOM: _l("没有剩下的条数"),
    Why.TOO_LATE: _l("等得太久，内容已按规定删除"),
}
_LEFT = _l("客人已经取消关注了，收不到")
_BLOCKED = _l("客人在公众号的黑名单里，收不到")
CODES: dict[int, Any] = {
    40003: _LEFT,
    43004: _LEFT,
    46004: _LEFT,
    49003: _LEFT,
    50005: _LEFT,
    43019: _BLOCKED,
    62751: _BLOCKED,
    45009: _l("公众号今天能发的次数用完了，明天再发"),
    45015: _l("客人超过 48 小时没有发消息，微信不让再发；等客人再发消息"),
    45047: _l("客人发来消息以后能回的条数已经用完了；等客人再发消息"),
    48002: _l("客人不接收公众号的消息"),
}
"""What the platform's refusal of an answer means to a shopkeeper; any other is told by its number."""
TALK_STATES: dict[TalkState, Any] = {
    TalkState.WAITING: _l("待回复"),
    TalkState.ANSWERED: _l("已回复"),
    TalkState.CLOSED: _l("已结束"),
}
RATINGS: dict[int, Any] = {3: _l("满意"), 2: _l("一般"), 1: _l("不满意")}


def register(app: Flask) -> None:
    """Make the words known to the templates."""
    for filter_ in (waited, clock_minute, message_words, talk_preview, answer_state, lasting, rating):
        app.add_template_filter(filter_)


@dataclass(frozen=True)
class ClockWords:
    """What the window still allows, as one says it."""

    words: str
    is_last: bool = False
    is_closed: bool = False


def clock_words(open_until: datetime | None, left: int) -> ClockWords:
    """Whether an answer goes out now, for how long still, and how many; else what happens instead."""
    if open_until is None or open_until <= now():
        return ClockWords(
            _("现在不能直接回复：客人 48 小时内没有给本店发消息。您写的会存好，等客人下次来访（发消息、扫码）时发出。"),
            is_closed=True,
        )
    if left <= 0:
        return ClockWords(
            _("这次能直接回的条数用完了，等客人再发消息就能接着回；现在写的会存好，在客人下次来访时发出。"),
            is_closed=True,
        )
    until = lasting(open_until - now())
    if left == 1:
        return ClockWords(_("还能在聊天里回复 %(until)s，只剩 1 条：请一次说完", until=until), is_last=True)
    return ClockWords(_("还能在聊天里回复 %(until)s，剩 %(left)s 条", until=until, left=left))


def lasting(span: timedelta) -> str:
    """A stretch of time as one says it: 41 小时, 25 分钟, 3 天."""
    if span >= 3 * DAY:
        return str(_("%(count)s 天", count=span // DAY))
    if span >= HOUR:
        return str(_("%(count)s 小时", count=span // HOUR))
    if span >= MINUTE:
        return str(_("%(count)s 分钟", count=span // MINUTE))
    return str(_("不到 1 分钟"))


def waited(since: datetime) -> str:
    """How long a customer has been waiting for a word."""
    if now() - since < MINUTE:
        return str(_("刚发来"))
    return str(_("等了 %(span)s", span=lasting(now() - since)))


def clock_minute(moment: datetime) -> str:
    """When within a day: 14:03."""
    return f"{moment.astimezone(SHANGHAI):%H:%M}"


def kind_words(kind: str, content: str | None) -> str:
    """A message in a line: its words, after what stands for it where it is no text."""
    if kind == Kind.TEXT and content is None:
        return str(FORGOTTEN)
    mark = str(KINDS.get(kind, ""))
    content = without_links(content or "")
    return f"{mark} {content}".strip() if content else mark


def message_words(message: Any) -> str:
    """What a bubble says."""
    if message.media is MediaState.GONE and not message.content:
        return str(GONE[message.kind, message.direction])
    return kind_words(message.kind, message.content)


def talk_preview(talk: Any) -> str:
    """The last message, with who said it where it was not the customer."""
    words = kind_words(talk.preview_kind, talk.preview)
    match talk.preview_direction:
        case Direction.OUT:
            return str(_("店里：%(words)s", words=words))
        case Direction.AUTO:
            return str(_("自动回复：%(words)s", words=words))
        case Direction.NOTE:
            return str(_("备注：%(words)s", words=words))
        case _:
            return words


def answer_state(message: Any) -> str:
    """What became of an answer, with the reason where there is one."""
    state = str(STATES.get(message.state, ""))
    reason = str(REASONS.get(message.why, "")) if message.why else ""
    if reason and message.errcode in CODES:
        reason = str(CODES[message.errcode])
    elif reason and message.errcode:
        reason = str(_("%(reason)s（微信代码 %(code)s）", reason=reason, code=message.errcode))
    return str(_("%(state)s：%(reason)s", state=state, reason=reason)) if reason else state


def rating(stars: int) -> str:
    """What a customer thought of the answers."""
    return str(RATINGS[stars])
