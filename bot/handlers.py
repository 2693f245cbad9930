"""What the account says: a handler for each kind of event that is answered. Handlers word replies and write nothing."""

from typing import Final

from bot import own_words
from bot.effects import Outcome, spoken
from bot.events import TextMessage
from bot.robot import Happened, Robot
from qrcodes import welcomes
from wechat.replies import PassiveReply, Reply, TextReply, TransferReply

robot: Final = Robot()

PRIVACY: Final = (
    "这里存着：您在本号的编号，扫过哪些店的码，聊天记录（30 天后自动删除），优惠券、积分和消费记录，"
    "收不收优惠消息，店家给您写的备注，以及您填过的生日和楼栋。"
    "您是商户员工并绑定过微信的，还有这个绑定。不知道您的微信名和手机号。\n"
    f"要立刻全部删除，请回复：{own_words.ERASE}"
)
ERASED: Final = "好的，您的信息正在删除，几秒后就不再保存。以后再发消息或扫码，会从一张新卡开始。"


def reply_to(happened: Happened) -> PassiveReply | None:
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
    if granted is not None:
        return granted.words
    return outcome.found


@robot.on("text", "click", "image", "voice", "video", "shortvideo", "location", "link", "unknown_message")
def answer(happened: Happened) -> PassiveReply | None:
    """The answer to what was written, sent or tapped, whoever had it; None where a person will answer."""
    if (done := _done(happened.outcome)) is not None:
        return TextReply(done)
    if (own := _own(happened)) is not None:
        return TextReply(own)
    given = happened.outcome.answer
    if given.is_transferred:
        return TransferReply()
    if given.rule is not None and given.rule.answers:
        return given.rule.answers[0]
    return TextReply(given.words) if given.words else None


def _own(happened: Happened) -> str | None:
    """The few words that are answered whoever one talks to."""
    said = spoken(happened.event)
    if not isinstance(said, TextMessage):
        return None
    if said is happened.event and own_words.erases(said.content):
        return ERASED
    if own_words.is_among(said.content, (*own_words.PRIVACY, *own_words.ERASES)):
        # A tap never deletes anything.
        return f'{PRIVACY}\n要看全部或下载：<a href="{happened.privacy_url}">我的数据</a>'
    if own_words.is_among(said.content, own_words.DESK):
        return f'商户和运营人员请点这里进入：<a href="{happened.desk_url}">圈码工作台</a>'
    return None
