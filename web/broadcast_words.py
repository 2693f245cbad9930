"""What the fates of a broadcast are called, in front of merchants and operators alike.

"已被微信接收" is as far as anybody can see: whether a phone showed it, the platform does not tell.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from flask import Flask
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l

from campaigns.broadcasts.aftermath import Followed
from campaigns.broadcasts.lift import Lift, Verdict
from campaigns.broadcasts.models import BatchState, BroadcastKind, BroadcastState, NotReached, Route
from campaigns.broadcasts.report import Outcome, Wait, WaitKind
from web.formats import short_time

STATES: dict[str, Any] = {
    BroadcastState.DRAFT: _l("草稿"),
    BroadcastState.SUBMITTED: _l("等运营审批"),
    BroadcastState.RETURNED: _l("退回修改"),
    BroadcastState.APPROVED: _l("已通过，等着发"),
    BroadcastState.LATE: _l("时间过了，还没发"),
    BroadcastState.GATHERED: _l("已并入合集"),
    BroadcastState.FREEZING: _l("正在准备名单"),
    BroadcastState.RUNNING: _l("正在发"),
    BroadcastState.PAUSED: _l("已暂停"),
    BroadcastState.FINISHED: _l("已发完"),
    BroadcastState.CANCELLED: _l("已取消"),
}
TONES: dict[str, str] = {
    BroadcastState.SUBMITTED: "wait", BroadcastState.RETURNED: "bad", BroadcastState.APPROVED: "info",
    BroadcastState.LATE: "bad", BroadcastState.FREEZING: "info", BroadcastState.RUNNING: "info",
    BroadcastState.PAUSED: "wait", BroadcastState.FINISHED: "good",
}  # fmt: skip
KINDS: dict[str, Any] = {
    BroadcastKind.SINGLE: _l("单独群发"),
    BroadcastKind.ITEM: _l("合集里的一条"),
    BroadcastKind.DIGEST: _l("合集"),
}
ROUTES: dict[str, Any] = {
    Route.MASS: _l("群发名额"),
    Route.WINDOW: _l("聊天窗口"),
    Route.HELLO: _l("下次来访"),
    Route.NONE: _l("没有办法送到"),
}
OUTCOMES: dict[str, Any] = {
    Outcome.ACCEPTED: _l("已被微信接收"),
    Outcome.REJECTED: _l("微信拒绝"),
    Outcome.UNKNOWN: _l("结果未知"),
    Outcome.UNDERWAY: _l("正在交给微信"),
    Outcome.WAITING: _l("等着发"),
    Outcome.HELLO: _l("等下次来访"),
    Outcome.HELD_OUT: _l("特意没发（对照）"),
    Outcome.SKIPPED: _l("未发"),
    Outcome.CANCELLED: _l("已取消"),
}
REASONS: dict[str, Any] = {
    NotReached.LEFT: _l("已取消关注"),
    NotReached.AMBIGUOUS: _l("是否还在关注，等微信核对"),
    NotReached.MUTED: _l("退订了本店"),
    NotReached.OPTED_OUT: _l("不收任何商户的群发"),
    NotReached.UNREACHABLE: _l("微信说收不到"),
    NotReached.MONTH: _l("这个月的群发名额用完了"),
    NotReached.WEEK: _l("这周收到的群发够多了"),
    NotReached.SHARE: _l("本店这个月的份额用完了"),
    NotReached.ALONE: _l("只剩一个人，微信要求群发至少两人"),
    NotReached.HELD_OUT: _l("特意没发（对照）"),
    NotReached.NO_HELLO: _l("到期前没有来访"),
    NotReached.WINDOW_CLOSED: _l("聊天窗口关了"),
    NotReached.NO_MERCHANT: _l("合集里没有他是粉丝的店"),
}
BATCH_STATES: dict[str, Any] = {
    BatchState.PLANNED: _l("等着发"),
    BatchState.CLAIMED: _l("等着发"),
    BatchState.CALLING: _l("正在交给微信"),
    BatchState.ACCEPTED: _l("已被微信接收"),
    BatchState.REJECTED: _l("微信拒绝"),
    BatchState.UNKNOWN: _l("结果未知"),
    BatchState.CANCELLED: _l("已取消"),
}
FOLLOWED: dict[str, Any] = {
    Followed.ANSWERED: _l("在聊天里回了话"),
    Followed.VISITED: _l("7 天内来过"),
    Followed.LEFT: _l("48 小时内取关"),
    Followed.MUTED: _l("48 小时内退订"),
}
_GONE = _l("对方已取消关注或拉黑")
_TOO_FAST = _l("发得太快，微信没收")
_NO_RIGHT = _l("公众号没有群发权限")
_UNFIT = _l("内容没有通过微信的检查")
REFUSALS: dict[int, Any] = {
    40003: _l("微信不认识这位粉丝了"),
    43004: _GONE,
    45015: _l("聊天窗口已经关了"),
    45047: _l("这个窗口里能发的条数用完了"),
    45009: _l("公众号今天的次数用完了"),
    45028: _l("公众号这段时间的群发次数用完了"),
    45066: _TOO_FAST,
    42010: _TOO_FAST,
    48001: _NO_RIGHT,
    48004: _NO_RIGHT,
    50002: _l("公众号被微信限制了"),
    40007: _l("图片或图文在微信那里找不到了"),
    40008: _l("微信不接受这种消息"),
    45002: _l("内容太长"),
    87014: _UNFIT,
    45008: _UNFIT,
}
PAUSERS: dict[str, Any] = {
    "merchant": _l("店里的人按了暂停"),
    "operator": _l("运营人员按了暂停"),
    "platform": _l("系统自动暂停了"),
}
WAITS: dict[tuple[WaitKind, bool], Any] = {
    (WaitKind.ACCOUNT, True): _l("整个公众号的发送暂停了（%(why)s），%(until)s 自动恢复。"),
    (WaitKind.ACCOUNT, False): _l("整个公众号的发送暂停了（%(why)s），等运营人员恢复。"),
    (WaitKind.QUIET, True): _l("现在是安静时间，%(until)s 起再发，不打扰大家休息。"),
    (WaitKind.CALLS, True): _l("今天的群发次数用完了，%(until)s 接着发。"),
    (WaitKind.CALLS, False): _l("分到的群发次数用完了，排队等下一次。"),
    (WaitKind.ASKED, False): _l("微信让稍等一会儿，马上接着发。"),
    (WaitKind.SCHEDULED, True): _l("定在 %(until)s 发。"),
}
"""By what it waits for, and whether the end is known."""


def register(app: Flask) -> None:
    """Make the words known to templates."""
    for name, table in (
        ("broadcast_state", STATES),
        ("broadcast_kind", KINDS),
        ("send_route", ROUTES),
        ("send_outcome", OUTCOMES),
        ("not_reached", REASONS),
        ("batch_state", BATCH_STATES),
        ("followed_by", FOLLOWED),
    ):
        app.add_template_filter(_reader(table), name)
    for filter_ in (refusal, wait_words, left_words, lift_words, state_tone):
        app.add_template_filter(filter_)


def _reader(table: dict[str, Any]) -> Any:
    return lambda value: str(table.get(value, value))


def state_tone(state: str) -> str:
    """The colour of a state's badge."""
    return TONES.get(state, "")


def refusal(errcode: int | None) -> str:
    """Why the platform refused, for somebody who keeps a shop."""
    known = REFUSALS.get(errcode or 0)
    return str(known or _("微信拒绝了，代码 %(code)s", code=errcode or "—"))


def wait_words(wait: Wait) -> str:
    """What a broadcast waits for."""
    if wait.kind is WaitKind.PAUSED:
        who = str(PAUSERS.get(wait.by or "", ""))
        return str(_("%(who)s：%(why)s", who=who, why=wait.reason)) if wait.reason else who
    words = str(WAITS[wait.kind, wait.until is not None])
    return str(words % {"until": short_time(wait.until) if wait.until else "", "why": wait.reason or _("微信连续拒绝")})


def left_words(left: timedelta | None) -> str:
    """How long it will take, as roughly as it is known."""
    if left is None:
        return ""
    minutes = left.total_seconds() / 60
    if minutes < 1:
        return str(_("不到 1 分钟就发完"))
    if minutes < 90:
        return str(_("大约还要 %(n)s 分钟", n=round(minutes)))
    return str(_("大约还要 %(n)s 小时", n=round(minutes / 60)))


def lift_words(lift: Lift, names: tuple[str, str]) -> str:
    """What a comparison allows to say, and nothing more. `names` are those of the two sides."""
    one, other = names
    if lift.verdict is Verdict.TOO_SMALL:
        return str(_("人太少，看不出来：两边都要有 100 人以上。"))
    low, high = (f"{100 * value:+.1f}".replace("-", "−") for value in (lift.low, lift.high))
    if lift.verdict is Verdict.UNSURE:
        return str(
            _("人太少，看不出来：每 100 人相差 %(low)s 到 %(high)s 人都有可能，里面包括没有差别。", low=low, high=high)
        )
    size = f"{abs(100 * lift.difference):.1f}"
    if lift.verdict is Verdict.MORE:
        return str(_(
            "%(one)s比%(other)s多：每 100 人多 %(size)s 人（很可能在 %(low)s 到 %(high)s 之间）。",
            one=one, other=other, size=size, low=low, high=high,
        ))  # fmt: skip
    return str(_(
        "%(one)s比%(other)s少：每 100 人少 %(size)s 人（很可能在 %(low)s 到 %(high)s 之间）。",
        one=one, other=other, size=size, low=low, high=high,
    ))  # fmt: skip
