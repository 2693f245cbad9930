"""A menu's buttons as the platform is told of them, and what a tap on each does, in plain words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

WORDS: Final = "words:"
"""A click key that begins so is answered as if somebody had written what follows."""
MERCHANT: Final = "merchant:"
"""A click key that begins so sets whom one talks to: the merchant of that id."""


class Does(StrEnum):
    """What a tap does, as an operator chooses it."""

    NOTHING = ""
    WORDS = "words"
    PAGE = "page"
    MERCHANT = "merchant"
    SCAN = "scan"
    SCAN_OPEN = "scan_open"
    PLACE = "place"
    PHOTO = "photo"
    MINI = "mini"
    OTHER = "other"
    """Made elsewhere and kept as it is."""


NEEDS: Final[Mapping[str, tuple[str, ...]]] = {
    "click": ("key",),
    "view": ("url",),
    "scancode_push": ("key",),
    "scancode_waitmsg": ("key",),
    "pic_sysphoto": ("key",),
    "pic_photo_or_album": ("key",),
    "pic_weixin": ("key",),
    "location_select": ("key",),
    "media_id": ("media_id",),
    "view_limited": ("media_id",),
    "article_id": ("article_id",),
    "article_view_limited": ("article_id",),
    "miniprogram": ("url", "appid", "pagepath"),
}
"""The platform's types, and the fields each must have (wechat-platform.md §7)."""
FIELDS: Final = ("key", "url", "appid", "pagepath", "media_id", "article_id")

_BY_TYPE: Final = {
    "view": Does.PAGE,
    "scancode_waitmsg": Does.SCAN,
    "scancode_push": Does.SCAN_OPEN,
    "location_select": Does.PLACE,
    "pic_photo_or_album": Does.PHOTO,
    "miniprogram": Does.MINI,
}


@dataclass(frozen=True, slots=True)
class Button:
    """One button; one without a type opens the buttons below it."""

    name: str = ""
    type: str = ""
    key: str = ""
    url: str = ""
    appid: str = ""
    pagepath: str = ""
    media_id: str = ""
    article_id: str = ""
    subs: tuple[Button, ...] = ()

    @property
    def does(self) -> Does:
        """What a tap does."""
        if not self.type:
            return Does.NOTHING
        if self.type == "click":
            if self.key.startswith(WORDS):
                return Does.WORDS
            return Does.MERCHANT if merchant_of(self.key) is not None else Does.OTHER
        return _BY_TYPE.get(self.type, Does.OTHER)

    @property
    def words(self) -> str:
        """What it says for whoever taps it."""
        return self.key.removeprefix(WORDS) if self.does is Does.WORDS else ""


def merchant_of(key: str) -> int | None:
    """The merchant a click key names, None if it names none."""
    number = key.removeprefix(MERCHANT)
    is_id = key.startswith(MERCHANT) and number.isascii() and number.isdecimal() and number[0] != "0"
    return int(number) if is_id and len(number) < 19 else None


def read(told: Iterable[Mapping[str, Any]]) -> tuple[Button, ...]:
    """The buttons of a menu in the platform's form; what a button may not have is not read."""
    return tuple(_read(one) for one in told)


def _read(told: Mapping[str, Any]) -> Button:
    fields = {name: value for name in ("name", "type", *FIELDS) if isinstance(value := told.get(name), str)}
    subs = told.get("sub_button")
    return Button(**fields, subs=read(subs) if isinstance(subs, list) else ())


def told(buttons: Iterable[Button]) -> list[dict[str, Any]]:
    """The platform's form: of each button only what its type needs."""
    return [_told(button) for button in buttons]


def _told(button: Button) -> dict[str, Any]:
    form: dict[str, Any] = {"name": button.name}
    if button.type:
        form["type"] = button.type
        form |= {name: value for name in NEEDS.get(button.type, FIELDS) if (value := getattr(button, name))}
    if button.subs:
        form["sub_button"] = told(button.subs)
    return form


def all_of(buttons: Iterable[Button]) -> Iterable[tuple[tuple[int, ...], Button]]:
    """Every button with its place: (0,) is the first at the bottom, (0, 2) the third above it."""
    for place, button in enumerate(buttons):
        yield (place,), button
        for above, sub in all_of(button.subs):
            yield (place, *above), sub
