"""What somebody looks up in the chat: shops around here, a phone number of the neighbourhood, notices.

What a message asks is decided without the database; it is looked up within the inbox's transaction, after the batch's
own rows, so that a repeat finds its first answer.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from bot.context import Shops
from campaigns.broadcasts import mute
from campaigns.broadcasts.spelling import LONGEST, plain

SHOP_WORDS: Final = frozenset(
    f"{ask}{what}{end}"
    for ask in ("", "看", "看看", "查", "查看", "附近", "附近的", "附近有", "附近有什么", "附近有哪些", "周边",
                "周边的", "有哪些", "有什么")
    for what in ("商家", "商户", "店", "店铺", "店家", "小店", "好店")
    for end in ("", "吗", "呢", "列表", "大全")
) - {"店", "店吗", "店呢", "看店", "查店", "店家"} | {"附近", "周边", "附近有什么", "商店", "附近有哪些"}  # fmt: skip
_SHOPS_OF_A_KIND: Final = re.compile(
    r"(?:附近商家|商家|商户|附近有没有|附近有什么|附近有哪些|附近哪里有|附近哪有|附近有|附近的|附近|周边的|周边)"
    r"(.{1,10}?)(?:店|的店|店铺|商家)?[吗呢]?"
)
PHONE_WORDS: Final = frozenset((
    "电话", "电话本", "电话簿", "便民电话", "便民", "查电话", "常用电话", "社区电话", "小区电话", "黄页", "便民信息",
    "便民服务", "电话大全", "dh", "打电话",
))  # fmt: skip
_PHONE_FIRST: Final = re.compile(r"(?:查|找)?(?:便民)?电话(.{1,12})")
_PHONE_LAST: Final = re.compile(r"(?:查|找|要|有没有|有)?(.{2,8}?)的?电话(?:号码)?[吗呢]?")
_SEPARATED: Final = re.compile(r"\s*(?:便民电话|电话|電話|商家|商户)[\s:,、+—-]+\S")
_NOT_WHOSE: Final = re.compile(
    r"(?:号码)?(?:是|有)?(?:多少|几号|什么|呢|吗|号|号码|打不通|没人接|没人|不通|占线|给我|发我|联系|我|呢吗)+.*"
)
"""What may follow the word and names nobody to call."""
_OF_ONESELF: Final = frozenset((
    "你们", "你", "老板", "店家", "店里", "你家", "店主", "商家", "联系", "客服", "平台", "贵店", "打不通",
))  # fmt: skip
NOTICE_WORDS: Final = frozenset(
    f"{ask}{what}{end}"
    for ask in ("", "看", "看看", "查", "查看", "最新", "小区", "社区", "物业", "小区最新", "有什么", "今天有什么")
    for what in ("公告", "通知", "公告栏", "通告")
    for end in ("", "吗", "呢")
) | {"gg"}  # fmt: skip


class Lookup(StrEnum):
    SHOPS = "shops"
    PHONE = "phone"
    NOTICES = "notices"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked up, and about what; where the person is, if they said so with it."""

    what: Lookup
    words: str = ""
    latitude: float | None = None
    longitude: float | None = None


def wanted_in(text: str, *, shops: Shops, is_with_shop: bool) -> Wanted | None:
    """What a text looks up. Talking to a shop, "老板电话" is the shop's to answer; "电话 老板" is not."""
    said = plain(text)
    for copied in mute.TOLD_TO:
        said = said.removeprefix(copied)
    if said in SHOP_WORDS:
        return Wanted(Lookup.SHOPS)
    if said in NOTICE_WORDS:
        return Wanted(Lookup.NOTICES)
    if said in PHONE_WORDS:
        return Wanted(Lookup.PHONE)
    is_separated = _SEPARATED.match(unicodedata.normalize("NFKC", text[:LONGEST])) is not None
    kind = _SHOPS_OF_A_KIND.fullmatch(said)
    if kind is not None and (is_separated or _is_a_kind(kind[1], shops)):
        return Wanted(Lookup.SHOPS, kind[1])
    whose = _whose_phone(said, is_separated=is_separated, is_with_shop=is_with_shop)
    return Wanted(Lookup.PHONE, whose) if whose else None


def _is_a_kind(word: str, shops: Shops) -> bool:
    """Whether shops of that kind exist: else the sentence is about something else."""
    return any(word in kind or kind in word for kind in shops.kinds)


def _whose_phone(said: str, *, is_separated: bool, is_with_shop: bool) -> str:
    """Whose number is asked for; empty where nobody's is."""
    if (found := _PHONE_FIRST.fullmatch(said)) is not None:
        is_clear = is_separated or not is_with_shop
        return found[1] if is_clear and _NOT_WHOSE.fullmatch(found[1]) is None else ""
    if is_with_shop or (found := _PHONE_LAST.fullmatch(said)) is None or found[1] in _OF_ONESELF:
        return ""
    return found[1]
