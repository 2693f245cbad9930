"""Every limit the platform sets to a menu (wechat-platform.md §7), as sentences that name the button. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from bot.menus.buttons import MERCHANT, NEEDS, WORDS, Button, Does, all_of
from core.errors import Invalid, Phrase

TOP_MOST: Final = 3
SUB_MOST: Final = 5
TOP_NAME_BYTES: Final = 16
SUB_NAME_BYTES: Final = 60
TOP_NAME_SHOWN: Final = 4
SUB_NAME_SHOWN: Final = 8
"""Chinese characters that a phone shows; what is longer ends in dots."""
KEY_BYTES: Final = 128
WORDS_BYTES: Final = KEY_BYTES - len(WORDS)
URL_BYTES: Final = 1024
OUTSIDE_MOST: Final = 3
INSIDE: Final = frozenset({"mp.weixin.qq.com"})
"""Links to the platform's own articles are not counted as leading outside."""

_APP_ID: Final = re.compile(r"wx[0-9a-f]{16}")
# What the platform answers: for a button at the bottom, and for one above it.
_TYPE, _NAME, _KEY, _URL, _DOMAIN = (40017, 40024), (40018, 40025), (40019, 40026), (40020, 40027), (40055, 40054)


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with one button, or with the whole menu (no place); `errcode` is the platform's word for it."""

    place: tuple[int, ...]
    field: str
    errcode: int
    refusal: Invalid


def check(buttons: Sequence[Button]) -> list[Fault]:
    """Everything for which the platform would refuse this menu, in the order in which one reads it."""
    found: list[Fault] = []
    if not buttons:
        found.append(Fault((), "", 40016, Invalid("菜单里还没有按钮，至少要有一个。")))
    if len(buttons) > TOP_MOST:
        refusal = Invalid("底部最多 %(most)s 个按钮，现在有 %(count)s 个。", most=TOP_MOST, count=len(buttons))
        found.append(Fault((), "", 40016, refusal))
    for place, button in all_of(buttons):
        found += _Judge(place, button).faults()
    outside = sorted({host for _, button in all_of(buttons) if (host := _host(button)) and host not in INSIDE})
    if len(outside) > OUTSIDE_MOST:
        refusal = Invalid(
            "菜单里的网址分属 %(count)s 个外部域名，微信最多允许 %(most)s 个：%(hosts)s",
            count=len(outside), most=OUTSIDE_MOST, hosts="、".join(outside),
        )  # fmt: skip
        found.append(Fault((), "url", 65316, refusal))
    return found


def advice(buttons: Sequence[Button]) -> list[Fault]:
    """What the platform takes and a phone does not show well."""
    return [
        Fault(
            place, "name", 0,
            Invalid(
                "按钮 %(button)s：名字较长，手机上大约只显示前 %(shown)s 个字。",
                button=called(place, button), shown=shown,
            ),
        )
        for place, button in all_of(buttons)
        if len(place) <= 2 and width(button.name) > (shown := TOP_NAME_SHOWN if len(place) == 1 else SUB_NAME_SHOWN)
    ]  # fmt: skip


def called(place: Sequence[int], button: Button) -> str:
    """How a sentence names a button: 2 is the second at the bottom, 2-3 the third above it."""
    number = "-".join(str(one + 1) for one in place)
    return f"{number}“{button.name}”" if button.name.strip() else number


def width(name: str) -> float:
    """How many Chinese characters wide a name is."""
    return sum(1 if unicodedata.east_asian_width(one) in "WFA" else 0.5 for one in name)


def _host(button: Button) -> str:
    try:
        return (urlsplit(button.url).hostname or "") if "url" in NEEDS.get(button.type, ()) else ""
    except ValueError:
        return ""


class _Judge:
    """One button and what is said about it."""

    def __init__(self, place: tuple[int, ...], button: Button) -> None:
        self._place = place
        self._button = button
        self._is_sub = len(place) > 1
        self._called = called(place, button)

    def faults(self) -> Iterator[Fault]:
        yield from self._name()
        button = self._button
        if not button.subs:
            yield from self._action()
            return
        if self._is_sub:
            yield self._fault(40022, "", Phrase("按钮 %(button)s：上面这一层的按钮下面不能再有按钮。"))
            return
        if button.type:
            yield self._fault(_TYPE, "type", Phrase("按钮 %(button)s：点它会展开上面的按钮，自己就不能再有别的动作。"))
        if len(button.subs) > SUB_MOST:
            yield self._fault(
                40023, "", Phrase("按钮 %(button)s：上面最多 %(most)s 个按钮，现在有 %(count)s 个。"),
                most=SUB_MOST, count=len(button.subs),
            )  # fmt: skip

    def _name(self) -> Iterator[Fault]:
        name, most = self._button.name, SUB_NAME_BYTES if self._is_sub else TOP_NAME_BYTES
        if not name.strip():
            yield self._fault(_NAME, "name", Phrase("按钮 %(button)s：还没有名字。"))
        elif any(unicodedata.category(one) in ("Cc", "Cs") for one in name):
            yield self._fault(_NAME, "name", Phrase("按钮 %(button)s：名字里有换行或看不见的字符。"))
        elif (size := _bytes(name)) > most:
            yield self._fault(
                _NAME, "name",
                Phrase("按钮 %(button)s：名字太长，最多 %(most)s 个字节（约 %(words)s 个汉字），现在 %(size)s 个。"),
                most=most, words=most // 3, size=size,
            )  # fmt: skip

    def _action(self) -> Iterator[Fault]:
        button = self._button
        if not button.type:
            yield self._fault(_TYPE, "type", Phrase("按钮 %(button)s：还没有选点了以后做什么。"))
        elif button.type not in NEEDS:
            yield self._fault(_TYPE, "type", Phrase("按钮 %(button)s：微信没有“%(type)s”这种按钮。"), type=button.type)
        for field in NEEDS.get(button.type, ()):
            yield from getattr(self, f"_{field}")()

    def _key(self) -> Iterator[Fault]:
        key, does = self._button.key, self._button.does
        if does is Does.WORDS:
            if not self._button.words.strip():
                yield self._fault(_KEY, "key", Phrase("按钮 %(button)s：还没有填要说的话。"))
            elif (size := _bytes(self._button.words)) > WORDS_BYTES:
                yield self._fault(
                    _KEY, "key",
                    Phrase("按钮 %(button)s：要说的话最多 %(most)s 个字节（约 %(words)s 个汉字），现在 %(size)s 个。"),
                    most=WORDS_BYTES, words=WORDS_BYTES // 3, size=size,
                )  # fmt: skip
        elif not key or key == MERCHANT:
            yield self._fault(
                _KEY, "key", Phrase("按钮 %(button)s：还没有选商户。" if key else "按钮 %(button)s：缺少按钮的代号。")
            )
        elif (size := _bytes(key)) > KEY_BYTES:
            yield self._fault(
                _KEY, "key", Phrase("按钮 %(button)s：代号太长，最多 %(most)s 个字节，现在 %(size)s 个。"),
                most=KEY_BYTES, size=size,
            )  # fmt: skip

    def _url(self) -> Iterator[Fault]:
        url = self._button.url
        if not url:
            yield self._fault(_URL, "url", Phrase("按钮 %(button)s：还没有填网址。"))
        elif (size := _bytes(url)) > URL_BYTES:
            yield self._fault(
                _URL,
                "url",
                Phrase("按钮 %(button)s：网址太长，最多 %(most)s 个字节，现在 %(size)s 个。"),
                most=URL_BYTES,
                size=size,
            )
        elif not url.startswith(("http://", "https://")) or not _host(self._button) or re.search(r"[\s\x00-\x1f]", url):
            yield self._fault(
                _DOMAIN, "url", Phrase("按钮 %(button)s：网址不对，要以 https:// 或 http:// 开头，中间不能有空格。")
            )

    def _appid(self) -> Iterator[Fault]:
        if _APP_ID.fullmatch(self._button.appid) is None:
            yield self._fault(40013, "appid", Phrase("按钮 %(button)s：小程序的 AppID 不对，是 wx 开头的 18 个字符。"))

    def _pagepath(self) -> Iterator[Fault]:
        if not self._button.pagepath:
            yield self._fault(40035, "pagepath", Phrase("按钮 %(button)s：还没有填小程序的页面路径。"))

    def _media_id(self) -> Iterator[Fault]:
        if not self._button.media_id:
            yield self._fault(40007, "media_id", Phrase("按钮 %(button)s：缺少素材的编号。"))

    def _article_id(self) -> Iterator[Fault]:
        if not self._button.article_id:
            yield self._fault(53600, "article_id", Phrase("按钮 %(button)s：缺少文章的编号。"))

    def _fault(self, errcode: int | tuple[int, int], field: str, template: Phrase, **detail: Any) -> Fault:
        code = errcode if isinstance(errcode, int) else errcode[self._is_sub]
        return Fault(self._place, field, code, Invalid(template, button=self._called, **detail))


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))
