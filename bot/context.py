"""Whom an owner talks to, decided without the database: what a text says about it, and what the chat answers.

A scan, a tap or a name sets it. Numbers answer the question that was put last, and only while that is open.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from heapq import nlargest
from typing import Any, Final

from campaigns.broadcasts import mute
from campaigns.broadcasts.mute import Shop
from campaigns.broadcasts.spelling import plain

ASKED_ONCE_IN: Final = timedelta(hours=12)
"""How long a question is open, and not asked again."""
MOST_OPTIONS: Final = 9
MOST_WAITING: Final = 10
"""Messages that a question keeps for whoever is chosen."""
NAME_SHOWN: Final = 30

TO_PLATFORM: Final = frozenset((
    "退出", "退出聊天", "结束聊天", "离开", "离开聊天", "不聊了", "平台", "找平台", "回平台", "回到平台", "联系平台",
    "切换到平台", "和平台聊", "我要找平台", "返回", "返回平台",
))  # fmt: skip
TO_CHOOSE: Final = frozenset((
    "换一家", "换家店", "换一家店", "换店", "换商家", "切换", "切换店铺", "切换商家", "找店", "找店家", "找商家",
    "选店", "选商家", "找别家", "找别的店", "找另一家", "找", "找店名",
))  # fmt: skip
"""Who writes this wants to talk to somebody else and does not say to whom."""

_CALLED: Final = re.compile(
    r"(?:请?回复)?(?:我)?(?:要|想)?"
    r"(?:(?:找一下|找下|找|联系一下|联系|切换到|切换|换到|换成|转到|转接|接通)(?P<found>.+?)"
    r"(?:聊天|聊聊|聊一下|聊|说话|吧)?"
    r"|(?:和|跟|同|与)(?P<with>.+?)(?:聊天|聊聊|聊一聊|聊一下|聊|说话|说))"
)
_NUMBER: Final = re.compile(
    r"(?:请?回复)?(?:我?(?:要|想)?(?:选择|选|找)|我?(?:要|想)(?=第|[0-9]{1,2}$)|是|就)?第?(?:(?P<digits>[0-9]{1,3})|(?P<word>[一二三四五六七八九十两])"
    r"(?=第|家|号|个|店|$|吧))[家号个店]?(?:店|吧|的)?"
)
_NUMERALS: Final = {"两": 2} | {word: number for number, word in enumerate("一二三四五六七八九十", start=1)}
_THAT_ONE: Final = re.compile(
    r"(?:就|是|要|选|我要|我选|我说的是)?(?P<part>.{2,}?)(?:的?[那这]一?[家个]店?|的?店|家)(?:吧|呀|啊|的)?"
)
"""A part of a name, said of a list: "水果那家"."""
_APART: Final = re.compile(r"\s*找\s+\S")
_ADDRESSED: Final = re.compile(r"(?:[那这]一?[家个边]|店里?|商家|店家|老板|客服|的|人|吗|呢|吧|啊|呀|谢谢)*")
"""What may stand around a name and says nothing to the shop."""
NO_MARKUP: Final = str.maketrans("<>\n", "〈〉 ")
NAMED_AT_LEAST: Final = 2
"""Characters of a name that is looked for among all shops."""
MOST_COMPARED: Final = 50
"""Of many alike names those that share the most characters with what was said are compared with it."""


class By(StrEnum):
    """How somebody said whom they talk to."""

    NAME = "name"
    NUMBER = "number"
    MENU = "menu"
    ONLY = "only"
    """There is one shop that it can be."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A merchant, or (None) the platform."""

    merchant_id: int | None
    by: By


@dataclass(frozen=True, slots=True)
class Context:
    """Whom somebody talked to last: a merchant, or (None) the platform, because they said so."""

    merchant_id: int | None
    chosen_at: datetime | None = None
    """When they said so; None where it comes from a scan."""


class Asks(StrEnum):
    MERCHANT = "merchant"
    SATISFACTION = "satisfaction"


@dataclass(frozen=True, slots=True)
class Question:
    """What somebody was asked last, and which of their messages wait for the answer."""

    kind: Asks
    asked_at: datetime
    expires_at: datetime
    options: tuple[Shop, ...] = ()
    inbox_ids: tuple[int, ...] = ()
    enquiry_id: int | None = None

    @property
    def is_silent(self) -> bool:
        """Whether messages wait although nobody was asked which shop they are for: they came in too late for that."""
        return self.kind is Asks.MERCHANT and not self.options

    @property
    def is_put(self) -> bool:
        """Whether somebody was asked which shop they mean."""
        return self.kind is Asks.MERCHANT and bool(self.options)

    def unasked(self) -> Question:
        """The same messages, waiting without a question."""
        return replace(self, options=())

    @property
    def is_overtaken(self) -> bool:
        """Whether a scan said whom they talk to before they answered."""
        return self.kind is Asks.MERCHANT and self.expires_at < self.asked_at + ASKED_ONCE_IN

    def is_open(self, at: datetime) -> bool:
        """Whether something said at that moment, which the platform tells in whole seconds, may answer it."""
        return self.asked_at.replace(microsecond=0) <= at < self.expires_at

    def may_pass(self, at: datetime) -> bool:
        """Whether what is said or chosen at that moment may tell for which shop the messages are."""
        return self.kind is Asks.MERCHANT and (at < self.expires_at or self.is_overtaken)

    @classmethod
    def which(cls, options: Sequence[Shop], *, at: datetime, inbox_ids: Sequence[int] = ()) -> Question:
        """Which shop is meant."""
        return cls(Asks.MERCHANT, at, at + ASKED_ONCE_IN, tuple(options[:MOST_OPTIONS]), tuple(inbox_ids))

    def keeping(self, inbox_id: int) -> Question:
        """The same, with one more message that waits; of many the first ones do."""
        kept = (*self.inbox_ids, inbox_id)[:MOST_WAITING]
        return Question(self.kind, self.asked_at, self.expires_at, self.options, kept, self.enquiry_id)

    @property
    def stored_options(self) -> list[dict[str, Any]]:
        return [{"id": shop.merchant_id, "name": shop.name} for shop in self.options]


@dataclass(frozen=True, slots=True)
class Shops:
    """The shops somebody can talk to: the active ones."""

    names: Mapping[int, str] = field(default_factory=dict)
    kinds: frozenset[str] = frozenset()
    """What they are, in plain spelling."""
    _spelt: Mapping[str, tuple[int, ...]] = field(init=False, repr=False, compare=False)
    _characters: Mapping[str, frozenset[str]] = field(init=False, repr=False, compare=False)
    """Of each name in plain spelling."""

    def __post_init__(self) -> None:
        spelt: dict[str, tuple[int, ...]] = {}
        for merchant_id, name in self.names.items():
            own = plain(name)
            if len(own) >= NAMED_AT_LEAST:
                spelt[own] = (*spelt.get(own, ()), merchant_id)
        object.__setattr__(self, "_spelt", spelt)
        object.__setattr__(self, "_characters", {own: frozenset(own) for own in spelt})

    def has(self, merchant_id: int | None) -> bool:
        return merchant_id in self.names

    def shop(self, merchant_id: int) -> Shop:
        return Shop(merchant_id, self.names[merchant_id], is_muted=False)

    def exactly(self, said: str) -> list[Shop]:
        """Those of that name, in plain spelling."""
        return [self.shop(one) for one in self._spelt.get(said, ())]

    def like(self, said: str) -> list[Shop]:
        """Those whose name holds what was said, or else is held by it, the longest names first."""
        if len(said) < NAMED_AT_LEAST:
            return []
        part = [one for own, ids in self._spelt.items() if said in own for one in ids]
        if not part:
            inside = sorted((own for own in self._spelt if own in said), key=len, reverse=True)
            part = [one for own in inside if len(own) == len(inside[0]) for one in self._spelt[own]]
        return [self.shop(one) for one in sorted(part)]

    def holding(self, character: str) -> list[Shop]:
        """Those with that character in their name."""
        part = [one for own, ids in self._spelt.items() if character in own for one in ids]
        return [self.shop(one) for one in sorted(part)]

    def nearest(self, said: str) -> Shop | None:
        """The one whose name is nearly what was said, if just one is."""
        if not NAMED_AT_LEAST < len(said) <= NAME_SHOWN:
            return None
        characters = frozenset(said)
        shared = {
            own: many
            for own, others in self._characters.items()
            if abs(len(own) - len(said)) <= 1 and (many := len(characters & others)) >= mute.ALIKE * len(others)
        }
        likely = nlargest(MOST_COMPARED, shared, key=shared.__getitem__)
        numbered = [(number, self.shop(self._spelt[own][0])) for number, own in enumerate(likely)]
        meant, is_sure = mute.shops_meant(said, numbered)
        return meant[0][1] if is_sure and len(meant) == 1 else None


@dataclass(frozen=True, slots=True)
class Meant:
    """Whom a text names."""

    shops: tuple[Shop, ...] = ()
    """One: it is that one. Several: one of them. None: nobody of that name."""
    is_platform: bool = False
    is_open: bool = False
    """Somebody else, whoever that is."""
    unknown: str = ""
    """A name that is nobody's."""
    says_more: bool = False
    """More than a name was written: the shop has to read it."""
    is_short: bool = False
    """One character of names: too little to be sure of one."""


# ---- What a text says ------------------------------------------------------------------------------------------------


def number_in(text: str) -> int | None:
    """A number and nothing else: 2, ２, ②, 二, 第二家, 2号, 选2."""
    found = _NUMBER.fullmatch(plain(text))
    if found is None:
        return None
    return int(found["digits"]) if found["digits"] else _NUMERALS[found["word"]]


def name_called(text: str) -> str:
    """The name in "找 王记", "和王记聊", "我要找王记水果", in plain spelling; empty where there is none."""
    found = _CALLED.fullmatch(plain(text))
    return "" if found is None else found["found"] or found["with"] or ""


def meant_by(text: str, *, known: Iterable[Shop], shops: Shops) -> Meant | None:
    """Whom a text wants to talk to, of all shops and first of those whose fan the writer is; None where it says
    nothing of it."""
    said = plain(text)
    for copied in mute.TOLD_TO:
        said = said.removeprefix(copied)
    if said in TO_PLATFORM or said in TO_CHOOSE:
        return Meant(is_platform=said in TO_PLATFORM, is_open=said in TO_CHOOSE)
    if exact := shops.exactly(said):
        return Meant(tuple(exact))
    name = name_called(text)
    return _called(name, known, shops) if name else None


def is_apart(text: str) -> bool:
    """Whether a name stands apart from the word before it, as the chat asks for it: "找 面"."""
    return _APART.match(text) is not None


def _called(name: str, known: Iterable[Shop], shops: Shops) -> Meant:
    if exact := shops.exactly(name):
        return Meant(tuple(exact))
    numbered = [(number, shop) for number, shop in enumerate(known, start=1) if shops.has(shop.merchant_id)]
    meant, is_sure = mute.shops_meant(name, numbered)
    found = [shop for _, shop in meant] if is_sure and meant else shops.like(name)
    if not found and len(name) < NAMED_AT_LEAST:
        found = shops.holding(name)
        return Meant(tuple(found), unknown=name, is_short=bool(found))
    return Meant(tuple(found), unknown=name, says_more=len(found) == 1 and _says_more(name, found[0]))


def _says_more(said: str, shop: Shop) -> bool:
    """Whether something stands beside the shop's whole name that is meant for the shop."""
    before, own, after = said.partition(plain(shop.name))
    return bool(own) and _ADDRESSED.fullmatch(before + after) is None


@dataclass(frozen=True, slots=True)
class Reply:
    """What a text answers to the question which shop is meant."""

    shop: Shop | None
    """None: a number that the list does not have."""
    by: By
    is_only_that: bool = True
    """It says nothing else, so that nobody needs to read it."""


def reply_to(question: Question, text: str, *, at: datetime, shops: Shops) -> Reply | None:
    """What a text answers to a question about the merchant; None where it is no answer."""
    if question.kind is not Asks.MERCHANT or not question.is_open(at):
        return None
    number = number_in(text)
    if number is not None:
        shop = question.options[number - 1] if 0 < number <= len(question.options) else None
        return Reply(shop if shop is not None and shops.has(shop.merchant_id) else None, By.NUMBER)
    said = name_called(text) or plain(text)
    if not said:
        return None
    numbered = [(number, shop) for number, shop in enumerate(question.options, 1) if shops.has(shop.merchant_id)]
    meant, is_sure = mute.shops_meant(said, numbered)
    if not is_sure and (part := _THAT_ONE.fullmatch(said)) is not None:
        meant = [one for one in numbered if part["part"] in plain(one[1].name)]
        is_sure = True
    if not is_sure or len(meant) != 1:
        return None
    return Reply(meant[0][1], By.NAME, is_only_that=not _says_more(said, meant[0][1]))


def may_be_meant(known: Iterable[Shop], shops: Shops) -> list[Shop]:
    """The shops that a message without a name may be for: those whose fan the writer is and has not left."""
    return [shop for shop in known if not shop.is_muted and shops.has(shop.merchant_id)]


# ---- What the chat says ----------------------------------------------------------------------------------------------


def shown(name: str) -> str:
    """A name as the chat may say it: never markup, never a second line, not too long."""
    name = name.translate(NO_MARKUP)
    return name if len(name) <= NAME_SHOWN else f"{name[: NAME_SHOWN - 1]}…"


def talking_to(passed_on: str, *, passed: int = 0) -> str:
    """What is said once it is clear whom one talks to, after the desk's own words (`desk.passed_on`); `passed`
    messages had waited for that."""
    before = "刚才的话已经转给店家。\n" if passed else ""
    return f"{before}{passed_on}；不聊了请回复：退出"


def with_platform(account_name: str) -> str:
    """What is said to who has left a conversation."""
    return f"好的，现在是{shown(account_name) or '平台'}和您聊天。找店家请回复：找 店名；能问什么请回复：帮助"


def which_one(options: Sequence[Shop], *, keeps: bool) -> str:
    """The question which shop is meant; `keeps` says that what was written is passed on."""
    lines = [f"{number}. {shown(shop.name)}" for number, shop in enumerate(options[:MOST_OPTIONS], start=1)]
    then = "，刚才的话就转给那家店" if keeps else ""
    more = "\n不在里面的，请回复：找 店名" if keeps or len(options) > MOST_OPTIONS else ""
    return f"您想找哪家店？请回复数字{then}：\n" + "\n".join(lines) + more


def no_such_number(question: Question) -> str:
    return f"没有这个数字。请回复 1 到 {len(question.options)} 里的一个，或者直接写店名。"


def no_such_name(name: str) -> str:
    return f"没有找到“{shown(name)}”这家店。请把店名写全一点，或者回复“商家”看看附近的店。"


NO_SHOPS: Final = "您还没有扫过哪家店的码。请回复“找”加店名，比如：找 王记；也可以回复“商家”看看附近的店。"
