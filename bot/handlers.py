"""What the account says: a handler for each kind of event that is answered. Handlers word replies and write nothing."""

from typing import Final

from bot import own_words
from bot.effects import ERASE_WORDS, Outcome
from bot.events import TextMessage
from bot.robot import Happened, Robot
from qrcodes import welcomes
from wechat.replies import Reply, TextReply

robot: Final = Robot()

PRIVACY: Final = (
    "我们只保存您在本号的编号、扫过哪些店的码、店家给您写的备注，和聊天记录（30 天后自动删除）；"
    "您是商户员工并绑定过微信的，还有这个绑定。不知道您的微信名和手机号。\n"
    f"要立刻全部删除，请回复：{ERASE_WORDS}"
)
ERASED: Final = "好的，您的信息正在删除，几秒后就不再保存。以后再发消息或扫码，会从一张新卡开始。"


def reply_to(happened: Happened) -> Reply | None:
    """The words for an event just applied; None means `success` without words."""
    return robot.reply_to(happened)


@robot.on("subscribe", "scan")
def greet(happened: Happened) -> Reply | None:
    """The welcome of the code's merchant, or the platform's where the code was nobody's."""
    if happened.outcome.staff is not None:
        return TextReply(happened.outcome.staff.words)
    if not happened.welcome:
        return None
    code = happened.outcome.code
    if code is None:
        return welcomes.render(happened.welcome[0], community=happened.account_name)
    return welcomes.render(
        happened.welcome[0],
        merchant_name=code.merchant_name,
        community=code.community_name,
        code_label=code.label,
        place=code.place,
        page_url=happened.page_url,
        coupon=happened.coupon,
    )


def _done(outcome: Outcome) -> str | None:
    """What is said of something that the message did."""
    if outcome.staff is not None:
        return outcome.staff.words
    granted = outcome.granted
    if outcome.benefit is not None:
        # Who asks for coupons asks for offers as well; a shop's offers come later, by themselves.
        later = granted.words if granted is not None and granted.wants_offers else ""
        return "\n".join(part for part in (outcome.benefit, later) if part)
    return None if granted is None else granted.words


@robot.on("text")
def answer(happened: Happened) -> Reply | None:
    """The few words the account understands; anything else gets one friendly line."""
    assert isinstance(happened.event, TextMessage)  # noqa: S101
    if (done := _done(happened.outcome)) is not None:
        return TextReply(done)
    words = happened.event.content.strip()
    if words == ERASE_WORDS:
        return TextReply(ERASED)
    if words in own_words.PRIVACY:
        return TextReply(PRIVACY)
    if words in own_words.DESK:
        return TextReply(f'商户和运营人员请点这里进入：<a href="{happened.desk_url}">圈码工作台</a>')
    name = happened.account_name or "本号"
    return TextReply(
        f"您好，这里是{name}。扫店里的二维码，就能收到那家店的消息。想知道我们保存了什么，请回复：我的信息"
    )
