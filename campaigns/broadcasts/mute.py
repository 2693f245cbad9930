"""Leaving one merchant's broadcasts without leaving the account: what somebody means, decided without the database.

"退订 王记" mutes, "恢复 王记" takes it back, "退订全部" means everybody's; "退订" alone shows a numbered list.
The numbers count all merchants whose fan one is, by first touch, so that they stay the same over several answers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from enum import StrEnum
from typing import Final

from campaigns.broadcasts.spelling import plain
from wechat.limits import TEXT_MAX_BYTES

LEAVE_WORDS: Final = ("退订", "退定", "退丁", "推订", "取消订阅", "取消群发", "免打扰", "td")
RETURN_WORDS: Final = ("恢复", "重新订阅")
EVERYBODY: Final = frozenset(
    f"{all_}{what}" for all_ in ("全部", "所有") for what in ("", "的", "商户", "商家", "店", "店家", "群发", "消息")
)
OF_NOBODY: Final = frozenset(("优惠", "优惠消息", "消息", "群发", "群发消息", "广告", "推送", "一下", "吧", "了"))
"""What may follow the word and names no merchant."""
TOLD_TO: Final = ("请回复", "回复")
"""How our own answers begin what to write; some people copy that, too."""
ALIKE: Final = 0.7
"""From here on a name that was written is taken for one it is not: three of four characters."""
LIST_BYTES: Final = TEXT_MAX_BYTES - 500

_NUMBER: Final = re.compile(r"第?([0-9]{1,3})[家号个店]?|第([一二三四五六七八九十])[家号个店]?")
_NUMERALS: Final = "一二三四五六七八九十"


class Wanted(StrEnum):
    LEAVE = "leave"
    RETURN = "return"


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants, and of whom, in plain spelling; the name is empty where none was written."""

    wanted: Wanted
    name: str = ""
    is_everybody: bool = False


@dataclass(frozen=True, slots=True)
class Shop:
    """A merchant whose fan one is."""

    merchant_id: int
    name: str
    is_muted: bool


class Came(StrEnum):
    """What came of a wish."""

    LEFT = "left"
    LEFT_BEFORE = "left before"
    RETURNED = "returned"
    RETURNED_BEFORE = "returned before"
    LEFT_ALL = "left all"
    RETURNED_ALL = "returned all"
    ASKED = "asked"
    """Whether it is this merchant that is meant."""
    LISTED = "listed"
    UNCLEAR = "unclear"
    """Several may be meant."""
    UNKNOWN = "unknown"
    """No merchant whose fan one is."""
    NOBODYS = "nobody's"
    """One is no merchant's fan."""
    NOTHING = "nothing"
    """There is nothing to take back."""


_WORDS: Final = {
    Came.LEFT: "好的，不再给您发{name}的优惠消息了。回复“恢复 {name}”可随时恢复。",
    Came.LEFT_BEFORE: "{name}的优惠消息已经退订了，不会再发给您。回复“恢复 {name}”可随时恢复。",
    Came.RETURNED: "已恢复{name}的优惠消息。想停，回复：退订 {name}",
    Came.RETURNED_BEFORE: "{name}没有退订，有优惠会照常发给您。想停，回复：退订 {name}",
    Came.LEFT_ALL: "好的，所有商户的优惠消息都不再发给您。回复“恢复全部”可随时恢复。",
    Came.RETURNED_ALL: "已恢复，各家的优惠消息会再发给您；单独退订过的店除外。想停，回复：退订全部",
    Came.ASKED: "要退订{name}的优惠消息吗？是的话，请回复：退订 {name}\n退订别家，请回复“退订”加店名；"
    "全都不要，请回复：退订全部",
    Came.LISTED: "您要{word}哪一家？请回复“{word}”加数字，比如：{word} {first}\n{list}\n"
    "{word}所有店，请回复：{word}全部",
    Came.UNCLEAR: "您说的是哪一家？请回复“{word}”加数字，比如：{word} {first}\n{list}",
    Came.UNKNOWN: "没有找到这家店。请回复“{word}”加数字，比如：{word} {first}\n{list}",
    Came.NOBODYS: "您还没有扫过哪家店的码，没有店会给您发优惠消息。",
    Came.NOTHING: "您没有退订任何一家店。",
}
_WORDS_OPTED_OUT: Final = {
    Came.RETURNED: "已恢复{name}。不过您还退订着全部商户，要再收到，请回复：恢复全部",
    Came.RETURNED_BEFORE: "您退订了全部商户。要再收到，请回复：恢复全部",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a wish, about which merchant, or between which one has to choose."""

    came: Came
    wanted: Wanted
    shop: Shop | None = None
    choice: tuple[tuple[int, Shop], ...] = ()
    has_opted_out: bool = False

    @property
    def words(self) -> str:
        """What the chat says of it."""
        said = (_WORDS_OPTED_OUT if self.has_opted_out else {}).get(self.came, _WORDS[self.came])
        return said.format(
            name="" if self.shop is None else self.shop.name,
            word="退订" if self.wanted is Wanted.LEAVE else "恢复",
            first=self.choice[0][0] if self.choice else "",
            list=self._list,
        )

    @property
    def _list(self) -> str:
        lines: list[str] = []
        room = LIST_BYTES
        for number, shop in self.choice:
            line = f"{number}. {shop.name}{'（已退订）' if shop.is_muted and self.wanted is Wanted.LEAVE else ''}"
            room -= len(line.encode()) + 1
            if room < 0:
                lines.append(f"……还有 {len(self.choice) - len(lines)} 家，请直接写店名")
                break
            lines.append(line)
        return "\n".join(lines)


def wish_in(text: str) -> Wish | None:
    """What a message wishes; None where it does not begin with one of the words."""
    said = plain(text)
    for copied in TOLD_TO:
        if said.startswith(tuple(copied + word for word in (*LEAVE_WORDS, *RETURN_WORDS))):
            said = said.removeprefix(copied)
    for wanted, words in ((Wanted.LEAVE, LEAVE_WORDS), (Wanted.RETURN, RETURN_WORDS)):
        for word in words:
            if said in (f"全部{word}", f"全{word}", f"都{word}", f"全都{word}"):
                return Wish(wanted, is_everybody=True)
            if said.startswith(word):
                name = "" if said.removeprefix(word) in OF_NOBODY else said.removeprefix(word)
                return Wish(wanted, name, is_everybody=name in EVERYBODY)
    return None


def decide(
    wish: Wish, shops: Sequence[Shop], *, context_merchant_id: int | None, has_opted_out: bool = False
) -> Answer | None:
    """What comes of a wish, of somebody who is a fan of `shops`, given by first touch; the caller writes it down.

    None where it was no wish after all: other sentences begin with "恢复", too.
    """
    if wish.is_everybody:
        return Answer(Came.LEFT_ALL if wish.wanted is Wanted.LEAVE else Came.RETURNED_ALL, wish.wanted)
    numbered = list(enumerate(shops, start=1))
    if wish.wanted is Wanted.LEAVE:
        return _leave(wish.name, numbered, context_merchant_id)
    return _return(wish.name, numbered, has_opted_out)


Numbered = list[tuple[int, Shop]]


def _leave(name: str, shops: Numbered, context_merchant_id: int | None) -> Answer:
    leave = Wanted.LEAVE
    if not shops:
        return Answer(Came.NOBODYS, leave)
    if not name:
        near = [shop for _, shop in shops if not shop.is_muted and shop.merchant_id == context_merchant_id]
        near = near or [shop for _, shop in shops if len(shops) == 1 and not shop.is_muted]
        return Answer(Came.ASKED, leave, near[0]) if near else Answer(Came.LISTED, leave, choice=tuple(shops))
    meant, is_sure = shops_meant(name, shops)
    if not (is_sure and len(meant) == 1):
        return Answer(Came.UNCLEAR if meant else Came.UNKNOWN, leave, choice=tuple(meant or shops))
    shop = meant[0][1]
    return Answer(Came.LEFT_BEFORE if shop.is_muted else Came.LEFT, leave, shop)


def _return(name: str, shops: Numbered, has_opted_out: bool) -> Answer | None:
    back = Wanted.RETURN
    muted = [(number, shop) for number, shop in shops if shop.is_muted]
    if not name:
        if len(muted) > 1:
            return Answer(Came.LISTED, back, choice=tuple(muted))
        if muted:
            return Answer(Came.RETURNED, back, muted[0][1], has_opted_out=has_opted_out)
        return Answer(Came.RETURNED_BEFORE if has_opted_out else Came.NOTHING, back, has_opted_out=has_opted_out)
    meant, is_sure = shops_meant(name, shops)
    # Of two that may be meant, it is the one that was muted.
    meant = [one for one in meant if one[1].is_muted] or meant
    if not is_sure:
        meant = [one for one in meant if one[1].is_muted]
    if not meant:
        return None
    if len(meant) > 1 or not is_sure:
        return Answer(Came.UNCLEAR, back, choice=tuple(meant))
    shop = meant[0][1]
    came = Came.RETURNED if shop.is_muted else Came.RETURNED_BEFORE
    return Answer(came, back, shop, has_opted_out=has_opted_out)


def shops_meant(name: str, shops: Numbered) -> tuple[Numbered, bool]:
    """The merchants that a written name or number may mean, and whether it can be taken as said."""
    spelt = [(plain(shop.name), (number, shop)) for number, shop in shops]
    exact = [one for own, one in spelt if own == name]
    if not exact and (found := _NUMBER.fullmatch(name)) is not None:
        number = int(found[1]) if found[1] else _NUMERALS.index(found[2]) + 1
        return [one for one in shops if one[0] == number], True
    if part := exact or [one for own, one in spelt if name in own]:
        return part, True
    if inside := [(own, one) for own, one in spelt if own and own in name]:
        longest = max(len(own) for own, _ in inside)
        return [one for own, one in inside if len(own) == longest], True
    short = [one for own, one in spelt if len(name) > 1 and _is_short_for(name, own)]
    return (short, True) if short else _alike(name, shops)


def _alike(name: str, shops: Numbered) -> tuple[Numbered, bool]:
    alike = {one[0]: SequenceMatcher(None, name, plain(one[1].name), autojunk=False).ratio() for one in shops}
    if near := [one for one in shops if alike[one[0]] >= ALIKE]:
        return near, True
    return [one for one in shops if alike[one[0]] > 0], False


def _is_short_for(name: str, own: str) -> bool:
    """Whether all of it is in the full name, in that order."""
    rest = iter(own)
    return all(character in rest for character in name)
