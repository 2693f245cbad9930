"""Words that the account itself answers, whatever a shop may have chosen as its own."""

from typing import Final

ERASE: Final = "确认删除我的信息"
"""What a follower writes to have everything about them deleted at once."""
PRIVACY: Final = ("删除我的信息", "我的信息", "隐私")
DESK: Final = ("登录", "后台", "工作台")


def is_one(text: str) -> bool:
    """Whether a message is one of them."""
    return text.strip() in (ERASE, *PRIVACY, *DESK)
