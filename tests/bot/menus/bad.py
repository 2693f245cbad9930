"""Menus that the platform refuses, one for each of its limits (wechat-platform.md §7)."""

from __future__ import annotations

from typing import Any, Final

Told = dict[str, Any]


def click(name: str = "优惠", key: str = "words:优惠券") -> Told:
    return {"type": "click", "name": name, "key": key}


def view(url: str, name: str = "店铺") -> Told:
    return {"type": "view", "name": name, "url": url}


def above(*subs: Told, name: str = "更多", **more: str) -> Told:
    return {"name": name, "sub_button": list(subs), **more}


MINI: Final = {
    "type": "miniprogram", "name": "小程序", "url": "https://example.com/old", "appid": "wx0123456789abcdef",
    "pagepath": "pages/index",
}  # fmt: skip
LONG_URL: Final = "https://example.com/" + "a" * 1005
ASKING: Final = {
    kind: {"type": kind, "name": "按钮"}
    for kind in ("click", "scancode_push", "scancode_waitmsg", "pic_sysphoto", "pic_photo_or_album", "pic_weixin",
                 "location_select")
}  # fmt: skip

BAD: Final[dict[str, tuple[list[Told], int, str]]] = {
    "no button": ([], 40016, "菜单里还没有按钮"),
    "four at the bottom": ([click()] * 4, 40016, "底部最多 3 个按钮，现在有 4 个"),
    "six above one": ([above(*[click()] * 6)], 40023, "按钮 1“更多”：上面最多 5 个按钮，现在有 6 个"),
    "three levels": ([above(above(click()))], 40022, "按钮 1-1“更多”：上面这一层的按钮下面不能再有按钮"),
    "an action beside children": ([above(click(), type="click", key="words:x")], 40017, "按钮 1“更多”：点它会展开"),
    "no name": ([click(name="")], 40018, "按钮 1：还没有名字"),
    "no name above": ([above(click(name=" "))], 40025, "按钮 1-1：还没有名字"),
    "a line break in a name": ([click(name="优\n惠")], 40018, "名字里有换行"),
    "17 bytes at the bottom": ([click(name="一二三四五67")], 40018, "最多 16 个字节（约 5 个汉字），现在 17 个"),
    "61 bytes above": ([above(click(name="一" * 20 + "x"))], 40025, "最多 60 个字节（约 20 个汉字），现在 61 个"),
    "no action": ([{"name": "优惠"}], 40017, "按钮 1“优惠”：还没有选点了以后做什么"),
    "no action above": ([above({"name": "优惠"})], 40024, "按钮 1-1“优惠”：还没有选点了以后做什么"),
    "an unknown type": ([{"type": "poem", "name": "诗", "key": "K"}], 40017, "按钮 1“诗”：微信没有“poem”这种按钮"),
    "an unknown type above": ([above({"type": "poem", "name": "诗", "key": "K"})], 40024, "微信没有“poem”这种按钮"),
    **{f"{kind} without a key": ([told], 40019, "按钮 1“按钮”：缺少按钮的代号") for kind, told in ASKING.items()},
    "no key above": ([above({"type": "click", "name": "优惠"})], 40026, "按钮 1-1“优惠”：缺少按钮的代号"),
    "129 bytes of key": ([click(key="k" * 129)], 40019, "代号太长，最多 128 个字节，现在 129 个"),
    "words of 123 bytes": ([click(key="words:" + "券" * 41)], 40019, "要说的话最多 122 个字节（约 40 个汉字）"),
    "129 bytes of key above": ([above(click(key="k" * 129))], 40026, "代号太长"),
    "no address": ([{"type": "view", "name": "店铺"}], 40020, "按钮 1“店铺”：还没有填网址"),
    "no address above": ([above({"type": "view", "name": "店铺"})], 40027, "按钮 1-1“店铺”：还没有填网址"),
    "1025 bytes of address": ([view(LONG_URL)], 40020, "网址太长，最多 1024 个字节，现在 1025 个"),
    "1025 bytes of address above": ([above(view(LONG_URL))], 40027, "网址太长"),
    "a script as address": ([view("javascript:alert(1)")], 40055, "网址不对，要以 https:// 或 http:// 开头"),
    "an address without a host": ([above(view("https:///x"))], 40054, "网址不对"),
    "a space in an address": ([view("https://example.com/a b")], 40055, "中间不能有空格"),
    "four outside domains": (
        [above(*(view(f"https://{one}.example.com/") for one in "abc")), view("https://d.example.com/")],
        65316,
        "菜单里的网址分属 4 个外部域名，微信最多允许 3 个：a.example.com、b.example.com、c.example.com、d.example.com",
    ),
    "a mini program without an address": ([{**MINI, "url": ""}], 40020, "还没有填网址"),
    "a mini program's id": ([{**MINI, "appid": "gh_0123"}], 40013, "小程序的 AppID 不对"),
    "a mini program without a page": ([{**MINI, "pagepath": ""}], 40035, "还没有填小程序的页面路径"),
    "media without an id": ([{"type": "media_id", "name": "图"}], 40007, "缺少素材的编号"),
    "an article without an id": ([{"type": "article_id", "name": "文"}], 53600, "缺少文章的编号"),
}  # fmt: skip
"""By what is wrong: the menu, the platform's answer, and the beginning of our sentence."""

GOOD: Final[list[Told]] = [
    click(name="一二三四五6", key="k" * 128),
    above(
        click(name="一" * 20, key="words:" + "券" * 40 + "ab"),
        view("https://example.com/" + "a" * 1004),
        view("https://a.example.com/"),
        view("http://b.example.com/"),
        view("https://mp.weixin.qq.com/s/abc"),
    ),
    above(
        *(told | {"key": "K"} for kind, told in ASKING.items() if kind not in ("click", "pic_weixin", "pic_sysphoto")),
        MINI,
        name="按钮",
    ),
]  # fmt: skip
"""At the very edge of every limit."""
