"""Asking a merchant for its offers: only a conversation in which somebody did so may carry a broadcast (BC-10)."""

from typing import Final

from campaigns.broadcasts.mute import Shop
from campaigns.broadcasts.spelling import plain

ASKING: Final = frozenset(
    f"{ask}{what}{end}"
    for ask in ("", "看", "看看", "要", "我要", "想要", "领", "领取", "查看", "有", "有什么", "有啥", "有没有",
                "今天有什么", "最近有什么", "现在有什么")
    for what in ("优惠", "优惠券", "优惠卷", "活动", "优惠活动", "折扣", "打折", "特价", "团购券", "代金券", "福利")
    for end in ("", "吗", "么", "呢")
)  # fmt: skip
"""Whole messages, in plain spelling."""


def are_wanted(text: str) -> bool:
    """Whether a message asks for offers and says nothing else."""
    return plain(text) in ASKING


def words(shop: Shop | None, *, has_opted_out: bool) -> str:
    """What is answered, `shop` being the merchant whose conversation it is."""
    if shop is None:
        return "您想看哪家店的优惠？请先扫一下那家店的二维码，再发“优惠”。"
    if has_opted_out:
        return "您退订了全部商户的优惠消息。要再收到，请回复：恢复全部"
    if shop.is_muted:
        return f"您退订了{shop.name}的优惠消息。要再收到，请回复：恢复 {shop.name}"
    return f"好的，{shop.name}有优惠的话，48 小时内会从这里发给您。想停，回复：退订 {shop.name}"
