"""What somebody looks up in the chat: shops around here, a phone number of the neighbourhood, notices.

What a message asks is decided without the database; it is looked up within the inbox's transaction, after the batch's
own rows, so that a repeat finds its first answer.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from sqlalchemy import text as text_of
from sqlalchemy.orm import Session

from bot.context import NO_MARKUP, Shops
from campaigns.broadcasts import mute
from campaigns.broadcasts.spelling import LONGEST, plain
from community import near
from community.directory import finding
from community.notices import reading as notices

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

_NOTICES_ABOUT: Final = re.compile(r"\s*公告[\s:,、+—-]+(\S.{0,19})")


class Lookup(StrEnum):
    SHOPS = "shops"
    PHONE = "phone"
    NOTICES = "notices"
    WAY = "way"
    """How far a shop is from a place."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked up, and about what; where the person is, if they said so with it. Of a way, `words` are said
    before it."""

    what: Lookup
    words: str = ""
    latitude: float | None = None
    longitude: float | None = None
    merchant_id: int | None = None


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
    if (about := _NOTICES_ABOUT.fullmatch(unicodedata.normalize("NFKC", text[:LONGEST]))) is not None:
        return Wanted(Lookup.NOTICES, plain(about[1])) if plain(about[1]) else None
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


# ---- Looking it up ---------------------------------------------------------------------------------------------------

MOST_SHOPS: Final = 5
MOST_NUMBERS: Final = 5
MOST_NOTICES: Final = 3
MOST_SEARCHED: Final = 50
"""Notices among which words are looked for."""
PLACE_LASTS: Final = timedelta(hours=12)
"""How long a place that was sent still says where somebody is."""
LINE_BYTES: Final = 240
_PLACES: Final = text_of("""
    SELECT DISTINCT ON (follower_id) follower_id, body->>'Location_X', body->>'Location_Y'
    FROM inbox_event
    WHERE follower_id = ANY(:ids) AND kind = 'location' AND body IS NOT NULL
      AND event_at <= :until AND event_at > :since
    ORDER BY follower_id, event_at DESC""")


@dataclass(frozen=True, slots=True)
class Asked:
    """Who looks up what, and when."""

    inbox_id: int
    follower_id: int
    at: datetime
    wanted: Wanted


def act(session: Session, asked: Sequence[Asked], *, account_id: int, public_url: str) -> dict[int, str]:
    """What a batch's messages look up; the answer to each that has one, by inbox id."""
    chat = _Chat(session, account_id, public_url)
    answers = {one.inbox_id: chat.answer(one) for one in asked}
    return {inbox_id: words for inbox_id, words in answers.items() if words is not None}


@dataclass(frozen=True, slots=True)
class _Chat:
    session: Session
    account_id: int
    public_url: str

    def answer(self, one: Asked) -> str | None:
        match one.wanted.what:
            case Lookup.SHOPS:
                return self.shops(one)
            case Lookup.PHONE:
                return self.numbers(one) if one.wanted.words else self.categories(one)
            case Lookup.NOTICES:
                return self.notices(one)
            case Lookup.WAY:
                return self.way(one.wanted)

    def link(self, path: str, words: str) -> str:
        return f'<a href="{self.public_url}{path}">{words}</a>'

    def shops(self, one: Asked) -> str:
        """The nearest ones where somebody said where they are, else those of their neighbourhood."""
        kind, (latitude, longitude) = one.wanted.words, self._place(one)
        community_id = near.community_of(self.session, follower_id=one.follower_id)
        found = near.shops(
            self.session, kind=kind, latitude=latitude, longitude=longitude, community_id=community_id,
            limit=MOST_SHOPS, account_id=self.account_id,
        )  # fmt: skip
        all_of_them = self.link("/m/shops", "看全部店铺")
        if not found:
            return f"没有找到“{_plain(kind)}”类的店。{all_of_them}" if kind else f"附近还没有店。{all_of_them}"
        lines = [f"{number}. {_shop_line(shop)}" for number, shop in enumerate(found, start=1)]
        where = "离您近的店" if any(shop.metres is not None for shop in found) else "附近的店"
        nearer = "" if latitude is not None else "发个位置给我，可以按远近排。"
        head = f"{where}（{_plain(kind)}）：" if kind else f"{where}："
        return "\n".join((head, *lines, f"{nearer}想找哪家，请回复：找 店名。{all_of_them}"))

    def way(self, wanted: Wanted) -> str | None:
        """How far it is to the shop from the place that was sent; None where nobody told where the shop is."""
        assert wanted.merchant_id is not None  # noqa: S101  whose way it is
        shop = near.one(self.session, wanted.merchant_id, latitude=wanted.latitude, longitude=wanted.longitude)
        if shop is None or shop.metres is None:
            return None
        where = f"，地址：{_plain(shop.address)}" if shop.address else ""
        away = f"这里离 {_plain(shop.name)} 约 {_distance(shop.metres)}{where}"
        return "\n".join(part for part in (wanted.words, away) if part)

    def _place(self, one: Asked) -> tuple[float | None, float | None]:
        if one.wanted.latitude is not None:
            return one.wanted.latitude, one.wanted.longitude
        given = {"ids": [one.follower_id], "until": one.at, "since": one.at - PLACE_LASTS}
        row = self.session.execute(_PLACES, given).one_or_none()
        try:
            return (float(row[1]), float(row[2])) if row is not None else (None, None)
        except (TypeError, ValueError):
            return None, None

    def numbers(self, one: Asked) -> str:
        """Whom to call about something."""
        community_id = near.community_of(self.session, follower_id=one.follower_id)
        found = finding.find(
            self.session, words=one.wanted.words, community_id=community_id, now=one.at, limit=MOST_NUMBERS,
            account_id=self.account_id,
        )  # fmt: skip
        book = self.link("/m/directory", "便民电话")
        if not found:
            return f"没有找到“{_plain(one.wanted.words)}”的电话。有哪些电话，请回复：电话。{book}"
        return "\n".join((*(_plain(entry.line) for entry in found), book))

    def categories(self, one: Asked) -> str:
        community_id = near.community_of(self.session, follower_id=one.follower_id)
        known = finding.categories(self.session, community_id=community_id, account_id=self.account_id)
        book = self.link("/m/directory", "打开便民电话")
        if not known:
            return "便民电话还在整理，过几天再来看看。"
        names = "、".join(_plain(category.name) for category in known[:20])
        return f"便民电话有：{names}。\n请回复“电话”加类别，比如：电话 {_plain(known[0].name)}\n{book}"

    def notices(self, one: Asked) -> str:
        about = one.wanted.words
        up = notices.latest(
            self.session, follower_id=one.follower_id, now=one.at, limit=MOST_SEARCHED if about else MOST_NOTICES,
            account_id=self.account_id,
        )  # fmt: skip
        if not up:
            return "现在没有公告。"
        meant = [notice for notice in up if _mentions(f"{notice.title}\n{notice.words}", about)]
        head = f"提到“{_plain(about)}”的公告：" if about else "最新公告："
        if not meant:
            head = f"没有提到“{_plain(about)}”的公告。最新公告："
        found = (meant or up)[:MOST_NOTICES]
        lines = [
            f"{number}. {self.link(notice.path, _plain(notice.headline))}\n{_plain(notice.excerpt)}"
            for number, notice in enumerate(found, start=1)
        ]
        return "\n".join((head, *lines, self.link("/m/notices", "看全部公告")))


def _mentions(said: str, about: str) -> bool:
    """Whether a text of any length holds some words in plain spelling."""
    return any(about in plain(said[start : start + LONGEST]) for start in range(0, len(said), LONGEST // 2))


def _shop_line(shop: near.Shop) -> str:
    away = "" if shop.metres is None else _distance(shop.metres)
    return "，".join(part for part in (_plain(shop.name), away, _plain(shop.hours or shop.address)) if part)


def _distance(metres: int) -> str:
    return f"{metres} 米" if metres < 1000 else f"{metres / 1000:.1f} 公里"


def _plain(words: str) -> str:
    """Somebody's words are never markup, and never fill the message."""
    shown = words.translate(NO_MARKUP)
    while len(shown.encode()) > LINE_BYTES:
        shown = shown[: len(shown) * 3 // 4]
    return shown
