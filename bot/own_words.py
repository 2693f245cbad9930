"""Words that the account itself answers, whatever a shop may have chosen as its own."""

from typing import Final

from campaigns.broadcasts.spelling import plain

ERASE: Final = "确认删除我的信息"
"""What a follower writes to have everything about them deleted at once."""
ERASES: Final = (ERASE, "确认删除我的数据")
PRIVACY: Final = ("删除我的信息", "我的信息", "隐私", "我的数据", "删除我的数据", "导出我的数据")
DESK: Final = ("登录", "后台", "工作台")
HELP: Final = ("帮助", "help", "使用帮助", "帮助中心", "指令")
HELP_ALONE: Final = (
    "怎么用", "功能", "有什么功能", "使用说明", "说明", "菜单", "你能做什么", "能做什么", "你会什么", "怎么玩", "介绍",
)  # fmt: skip
"""Asks for help where it cannot be a shop that is asked."""
HUMAN: Final = (
    "人工", "转人工", "人工客服", "人工服务", "客服", "找客服", "找人工", "真人", "在线客服", "真人客服", "我要人工",
    "联系客服", "转客服",
)  # fmt: skip
"""Who writes this wants a person: the shop's in a conversation with a shop, else the platform's."""

KNOWN: Final = (
    "优惠券", "积分", "签到", "会员卡", "商家", "附近的店", "电话", "公告", "人工", "退订", "退出", "我的数据",
    "删除我的数据", "帮助", "优惠",
)  # fmt: skip
"""What may have been meant by something that is nearly one of these."""


def is_one(text: str) -> bool:
    """Whether a message is one of those about one's own data and sign-ins."""
    return any(is_among(text, words) for words in (ERASES, PRIVACY, DESK))


def erases(text: str) -> bool:
    """Whether a message asks for the deletion itself, which nothing brings back: just these words, so that whoever
    quotes them or asks about them loses nothing."""
    return text.strip().rstrip("。．.！!") in ERASES


def is_among(text: str, words: tuple[str, ...]) -> bool:
    """Whether a message is one of them, however it is spelt."""
    return plain(text) in words


def nearest(text: str) -> str | None:
    """The known word that a message is nearly: one character off, or two of them swapped."""
    said = plain(text)
    return next((word for word in KNOWN if said != word and _is_nearly(said, word)), None)


def _is_nearly(said: str, word: str) -> bool:
    if len(said) == len(word):
        if sorted(said) == sorted(word):
            return True
        return len(word) > 2 and sum(one != other for one, other in zip(said, word, strict=True)) == 1
    if abs(len(said) - len(word)) != 1 or len(word) < 3:
        return False
    short, long = sorted((said, word), key=len)
    return any(long[:place] + long[place + 1 :] == short for place in range(len(long)))
