"""What somebody asks for in the chat about coupons and points: 优惠券, 积分, 签到, 会员卡, and shops' own keywords.

What a message asks is decided without the database. It is done within the inbox's transaction, once the batch's own
rows are written: a check-in and a coupon are there exactly when the event is, and a repeat finds its first answer
(EV-3, EV-13, EV-17). Both count by the moment of the event, so that no order of arrival changes them (EV-5).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from bot import own_words, staff_links
from bot.events import Event, TextMessage
from campaigns.broadcasts import mute, offers
from campaigns.broadcasts.mute import Shop
from campaigns.broadcasts.spelling import plain
from campaigns.coupons import giving, validity, wallet
from campaigns.coupons.models import Channel
from campaigns.coupons.templates import KEYWORD_MAX
from campaigns.points import ledger, rules
from campaigns.points.rules import CheckedIn, NoCheckIn
from core.errors import BusinessError
from wechat.limits import TEXT_MAX_BYTES

MOST_COUPONS: Final = 5
MOST_BALANCES: Final = 10
LIST_BYTES: Final = TEXT_MAX_BYTES - 600

_ASKING: Final = (
    "", "看", "看看", "查", "查看", "查询", "我的", "看我的", "查我的", "看看我的", "查看我的", "查询我的",
)  # fmt: skip
_ENDING: Final = ("", "吗", "呢", "么")
COUPONS: Final = frozenset(
    f"{ask}{what}{end}"
    for ask in (*_ASKING, "有", "我有", "有没有", "我有什么", "有什么", "我有哪些", "有哪些")
    for what in ("优惠券", "优惠卷", "优惠劵", "券", "卷", "卡券", "卡包", "券包")
    for end in _ENDING
) - {"卷", "有卷"}  # fmt: skip
POINTS: Final = frozenset(
    f"{ask}{what}{end}"
    for ask in (*_ASKING, "我有多少", "有多少", "多少", "还有多少", "我还有多少")
    for what in ("积分", "积份", "会员积分", "分数", "jf")
    for end in (*_ENDING, "多少", "有多少", "是多少", "余额")
)
CARD: Final = frozenset(
    f"{ask}{what}" for ask in (*_ASKING, "打开", "出示") for what in ("会员卡", "会员", "会员码", "会员中心", "卡片")
)
CHECK_IN: Final = ("签到", "签道", "签倒", "鉴到")
"""What may be followed by a shop."""
CHECK_IN_ONLY: Final = frozenset(
    ("打卡", "签个到", "我要签到", "我来签到", "每日签到", "今日签到", "来签到", "qd", "qiandao")
)
_OF_NO_SHOP: Final = frozenset(("一下", "吧", "了", "啦", "打卡", "领积分", "拿积分", "积分", "成功", "呀", "啊"))
"""What may follow the word and names no shop."""


class Asks(StrEnum):
    """In the order in which they are met, so that two batches never wait for each other's rows."""

    KEYWORD = "1 keyword"
    CHECK_IN = "2 check-in"
    COUPONS = "3 coupons"
    POINTS = "4 points"
    CARD = "5 card"


@dataclass(frozen=True, slots=True)
class Ask:
    """What is asked for: of a check-in where, in plain spelling and empty where nothing was said; of a keyword which
    template is meant, and what it says."""

    what: Asks
    shop: str = ""
    template_id: int = 0


@dataclass(frozen=True, slots=True)
class Asked:
    """An ask with who asks, when, and what is known of them."""

    inbox_id: int
    follower_id: int
    at: datetime
    ask: Ask
    shops: Sequence[Shop] = ()
    """Whose fan one is, by first touch."""
    context_merchant_id: int | None = None


# ---- What a message asks ---------------------------------------------------------------------------------------------


def asked_in(event: Event, *, template_id: int | None = None) -> Ask | None:
    """What a message asks; `template_id` is the coupon whose keyword it is, if it is one."""
    if not isinstance(event, TextMessage):
        return None
    said = plain(event.content)
    for words, what in ((COUPONS, Asks.COUPONS), (POINTS, Asks.POINTS), (CARD, Asks.CARD)):
        if said in words:
            return Ask(what)
    if said in CHECK_IN_ONLY:
        return Ask(Asks.CHECK_IN)
    for copied in mute.TOLD_TO:
        if said.startswith(tuple(copied + word for word in CHECK_IN)):
            said = said.removeprefix(copied)
    for word in CHECK_IN:
        if said.startswith(word):
            shop = said.removeprefix(word)
            return Ask(Asks.CHECK_IN, "" if shop in _OF_NO_SHOP else shop)
    return None if template_id is None else Ask(Asks.KEYWORD, template_id=template_id)


def keyword_in(event: Event) -> str | None:
    """What may be a shop's keyword, in its exact spelling: whatever the account answers itself is none."""
    if not isinstance(event, TextMessage):
        return None
    said = event.content.strip()
    if not 0 < len(said) <= KEYWORD_MAX:
        return None
    return None if own_words.is_one(said) or is_claimed(event) else said


def is_claimed(event: TextMessage) -> bool:
    """Whether offers, wishes about broadcasts, sign-ins, coupons or points answer it: no keyword ever does."""
    said = event.content.strip()
    return (
        offers.are_wanted(said)
        or mute.wish_in(said) is not None
        or staff_links.number_in(event) is not None
        or asked_in(event) is not None
    )


# ---- Where a check-in is ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Place:
    """Where to check in, or between which shops one has to choose."""

    shop: Shop | None = None
    choice: tuple[tuple[int, Shop], ...] = ()
    is_unknown: bool = False
    """A name was written that is none of theirs."""


def place_of(asked: Asked, *, open_at: Iterable[int]) -> Place:
    """The shop of a check-in; only those in `open_at` take part, but who names another is told so."""
    numbered = list(enumerate(asked.shops, start=1))
    taking_part = set(open_at)
    choice = tuple(one for one in numbered if one[1].merchant_id in taking_part)
    if asked.ask.shop:
        meant, is_sure = mute.shops_meant(asked.ask.shop, numbered)
        meant = [one for one in meant if one in choice] or meant
        if is_sure and len(meant) == 1:
            return Place(meant[0][1])
        return Place(choice=tuple(one for one in meant if one in choice) or choice, is_unknown=not meant)
    near = next((shop for _, shop in numbered if shop.merchant_id == asked.context_merchant_id), None)
    if near is not None:
        return Place(near)
    return Place(choice[0][1]) if len(choice) == 1 else Place(choice=choice)


# ---- Doing it --------------------------------------------------------------------------------------------------------


def act(session: Session, asked: Sequence[Asked], *, public_url: str) -> dict[int, str]:
    """Do what a batch's messages ask; what is answered to each, by inbox id.

    In one order of shops and coupons, so that two batches that want the same rows come to them one after the other.
    """
    if not asked:
        return {}
    chat = _Chat(session, public_url)
    places = chat.places([one for one in asked if one.ask.what is Asks.CHECK_IN])

    def turn(one: Asked) -> tuple[str, int, int]:
        place = places.get(one.inbox_id)
        where = one.ask.template_id if place is None or place.shop is None else place.shop.merchant_id
        return one.ask.what, where, one.follower_id

    answers = {}
    for one in sorted(asked, key=turn):
        match one.ask.what:
            case Asks.KEYWORD:
                answers[one.inbox_id] = chat.give(one)
            case Asks.CHECK_IN:
                answers[one.inbox_id] = chat.check_in(one, places[one.inbox_id])
            case Asks.COUPONS:
                answers[one.inbox_id] = chat.coupons(one)
            case Asks.POINTS:
                answers[one.inbox_id] = chat.points(one)
            case Asks.CARD:
                answers[one.inbox_id] = f"这是您的会员卡，每家店通用：{chat.link('/m/', '打开会员卡')}"
    return answers


@dataclass(frozen=True, slots=True)
class _Chat:
    session: Session
    public_url: str

    def link(self, path: str, words: str) -> str:
        return f'<a href="{self.public_url}{path}">{words}</a>'

    def coupons(self, one: Asked) -> str:
        found = wallet.coupons_of(self.session, follower_id=one.follower_id, now=one.at)
        held = [coupon for coupon in found if coupon.state in wallet.LIVE]
        if not held:
            return f"您还没有优惠券。到店里扫一扫码，或者看看附近的店：{self.link('/m/shops', '附近的店')}"
        lines = [
            f"{number}. {_plain(coupon.merchant_name)}“{_plain(coupon.name)}”，"
            f"{validity.period_line(coupon.valid_from, coupon.valid_to)}"
            f"{f'，还能用 {coupon.uses_left} 次' if coupon.uses > 1 else ''}"
            for number, coupon in enumerate(held[:MOST_COUPONS], start=1)
        ]
        more = f"（共 {len(held)} 张，先到期的在前）" if len(held) > len(lines) else ""
        return f"您的优惠券{more}：\n" + "\n".join(lines) + f"\n{self.link('/m/coupons', '打开我的优惠券')}"

    def points(self, one: Asked) -> str:
        balances = ledger.balances_of(self.session, follower_id=one.follower_id, now=one.at)
        held = {number: balance for number, balance in balances.items() if balance.points or balance.pending}
        if not held:
            return f"您还没有积分。到店签到、消费都可以得积分，规则看这里：{self.link('/m/shops', '附近的店')}"
        names = self._names(held)
        lines = [
            f"{names[number]}：{balance.points} 分{f'，另有 {balance.pending} 分待到账' if balance.pending else ''}"
            for number, balance in sorted(held.items(), key=lambda item: (-item[1].points, item[0]))
            if number in names
        ]
        more = [f"……还有 {len(lines) - MOST_BALANCES} 家"] if len(lines) > MOST_BALANCES else []
        said = "\n".join([*lines[:MOST_BALANCES], *more])
        return f"您的积分：\n{said}\n{self.link('/m/points', '查看明细')}"

    def places(self, asked: Sequence[Asked]) -> dict[int, Place]:
        """Where each check-in is."""
        if not asked:
            return {}
        shops = sorted({shop.merchant_id for one in asked for shop in one.shops})
        open_at = set(self.session.execute(_OPEN_FOR_CHECK_IN, {"shops": shops}).scalars())
        return {one.inbox_id: place_of(one, open_at=open_at) for one in asked}

    def check_in(self, one: Asked, place: Place) -> str:
        if not one.shops:
            return "您还没有到过哪家店。到店里扫一扫二维码，就可以签到了。"
        if place.shop is None:
            return _choose(place)
        name = _plain(place.shop.name)
        try:
            done = rules.check_in(
                self.session, merchant_id=place.shop.merchant_id, follower_id=one.follower_id, now=one.at
            )
        except NoCheckIn:
            return f"{name}没有开通签到。"
        return _checked_in(name, done, self.link("/m/points", "查看积分"))

    def give(self, one: Asked) -> str:
        """The coupon of a keyword, or the merchant's refusal."""
        template_id = one.ask.template_id
        try:
            given = giving.grant(
                self.session,
                template_id=template_id,
                follower_id=one.follower_id,
                cause=f"keyword:{template_id}",
                channel=Channel.KEYWORD,
                now=one.at,
            )
        except BusinessError as refusal:
            return refusal.message
        row = self.session.execute(_TEMPLATE, {"id": template_id}).one()
        what = f"{_plain(row.merchant)}“{_plain(row.name)}”"
        link = self.link(f"/m/coupons/{given.public_id}", "打开这张券")
        if not given.is_new:
            return f"您凭这个口令领过{what}了。{link}"
        return f"领到了：{what}，{validity.period_line(given.valid_from, given.valid_to)}。{link}"

    def _names(self, merchant_ids: Iterable[int]) -> dict[int, str]:
        rows = self.session.execute(text("SELECT id, name FROM merchant WHERE id = ANY(:ids)"),
                                    {"ids": list(merchant_ids)})  # fmt: skip
        return {row.id: _plain(row.name) for row in rows}


def _checked_in(name: str, done: CheckedIn, link: str) -> str:
    days = f"连续签到 {done.days} 天，" if done.days > 1 else ""
    if not done.is_new:
        return f"今天已经在{name}签到过了，{days}现有 {done.balance} 积分。{link}"
    if not done.points:
        return f"{name}今天的签到积分送完了，请明天再来。{link}"
    return f"在{name}签到成功，得 {done.points} 积分，{days}现有 {done.balance} 积分。{link}"


def _choose(place: Place) -> str:
    if not place.choice:
        return "您去过的店都还没有开通签到。"
    lines: list[str] = []
    room = LIST_BYTES
    for number, shop in place.choice:
        line = f"{number}. {_plain(shop.name)}"
        room -= len(line.encode()) + 1
        if room < 0:
            lines.append(f"……还有 {len(place.choice) - len(lines)} 家，请直接写店名")
            break
        lines.append(line)
    asks = "没有找到这家店，您要" if place.is_unknown else "您要"
    first = _plain(place.choice[0][1].name)
    return f"{asks}在哪家店签到？请回复“签到”加店名，比如：签到 {first}\n" + "\n".join(lines)


def _plain(name: str) -> str:
    """A name is never markup."""
    return name.translate(_NO_MARKUP)


_NO_MARKUP: Final = str.maketrans("<>", "〈〉")
_OPEN_FOR_CHECK_IN: Final = text("""
    SELECT merchant_id FROM points_rule WHERE trigger = 'check_in' AND is_on AND merchant_id = ANY(:shops)""")
_TEMPLATE: Final = text("""
    SELECT t.name, m.name AS merchant FROM coupon_template t JOIN merchant m ON m.id = t.merchant_id
    WHERE t.id = :id""")
