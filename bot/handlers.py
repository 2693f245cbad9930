"""What the account says: a handler for each kind of event that is answered. Handlers word replies and write nothing."""

from typing import Final

from bot.effects import ERASE_WORDS
from bot.events import TextMessage
from bot.robot import Happened, Robot
from qrcodes import welcomes
from wechat.replies import Reply, TextReply

robot: Final = Robot()

PRIVACY_WORDS: Final = ("删除我的信息", "我的信息", "隐私")

DESK_WORDS: Final = ("登录", "后台", "工作台")

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
    )


@robot.on("text")
def answer(happened: Happened) -> Reply | None:
    """The few words the account understands; anything else gets one friendly line."""
    assert isinstance(happened.event, TextMessage)  # noqa: S101
    if happened.outcome.staff is not None:
        return TextReply(happened.outcome.staff.words)
    if happened.outcome.granted is not None:
        return TextReply(happened.outcome.granted.words)
    words = happened.event.content.strip()
    if words == ERASE_WORDS:
        return TextReply(ERASED)
    if words in PRIVACY_WORDS:
        return TextReply(PRIVACY)
    if words in DESK_WORDS:
        return TextReply(f'商户和运营人员请点这里进入：<a href="{happened.desk_url}">圈码工作台</a>')
    name = happened.account_name or "本号"
    return TextReply(
        f"您好，这里是{name}。扫店里的二维码，就能收到那家店的消息。想知道我们保存了什么，请回复：我的信息"
    )
