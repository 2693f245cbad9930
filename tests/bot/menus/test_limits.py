"""Every limit of the platform is refused with a sentence that names the button."""

from __future__ import annotations

import pytest

from bot.menus import limits
from bot.menus.buttons import Button, Does, merchant_of, read, told
from tests.bot.menus.bad import BAD, GOOD, MINI, Told, click, view


@pytest.mark.parametrize("name", BAD)
def test_what_the_platform_refuses_we_refuse_first(name: str) -> None:
    menu, errcode, sentence = BAD[name]
    faults = limits.check(read(menu))
    assert [fault.errcode for fault in faults] == [errcode]
    assert sentence in faults[0].refusal.message


def test_the_edge_of_every_limit_is_allowed() -> None:
    assert limits.check(read(GOOD)) == []


def test_each_button_that_is_wrong_is_named() -> None:
    menu = [click(name=""), {"name": "更多", "sub_button": [click(), view("")]}]
    assert [(fault.place, fault.field) for fault in limits.check(read(menu))] == [((0,), "name"), ((1, 1), "url")]


def test_a_name_that_a_phone_shortens_is_advised_against_but_taken() -> None:
    buttons = read([click(name="一二三四五"), click(name="店铺AB12")])
    assert limits.check(buttons) == []
    assert [fault.refusal.message for fault in limits.advice(buttons)] == [
        "按钮 1“一二三四五”：名字较长，手机上大约只显示前 4 个字。"
    ]


@pytest.mark.parametrize(
    ("menu", "does"),
    [
        (click(), Does.WORDS),
        (click(key="merchant:7"), Does.MERCHANT),
        (click(key="merchant:seven"), Does.OTHER),
        (click(key="V1001"), Does.OTHER),
        (view("https://example.com"), Does.PAGE),
        (MINI, Does.MINI),
        ({"name": "更多", "sub_button": [click()]}, Does.NOTHING),
        ({"type": "media_id", "name": "图", "media_id": "m"}, Does.OTHER),
    ],
)
def test_what_a_tap_does_is_told_in_plain_words(menu: Told, does: Does) -> None:
    assert read([menu])[0].does is does


@pytest.mark.parametrize(
    "key", ["merchant:", "merchant:0", "merchant:07", "merchant:１", "merchant:-1", "m:1", "merchant:" + "9" * 19]
)
def test_only_an_id_names_a_merchant(key: str) -> None:
    assert merchant_of(key) is None


def test_a_menu_is_told_as_it_was_read() -> None:
    assert told(read(GOOD)) == GOOD


def test_what_a_type_does_not_need_is_not_told() -> None:
    assert told([Button(name="店铺", type="view", url="https://example.com", key="words:x")]) == [
        {"name": "店铺", "type": "view", "url": "https://example.com"}
    ]
