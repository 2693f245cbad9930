"""The account's menu: taken as strictly as the platform takes it."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from sandbox.api.call import OK, Answer, Call, Endpoint, Fields, Refused, require

WITH_KEY = frozenset(
    {
        "click",
        "scancode_push",
        "scancode_waitmsg",
        "pic_sysphoto",
        "pic_photo_or_album",
        "pic_weixin",
        "location_select",
    }
)
WITH_MEDIA = frozenset({"media_id", "view_limited"})
WITH_ARTICLE = frozenset({"article_id", "article_view_limited"})
OUTSIDE_MOST = 3
INSIDE = frozenset({"mp.weixin.qq.com"})
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


async def create(call: Call) -> Answer:
    """POST /cgi-bin/menu/create: takes the place of the menu before."""
    fields = call.fields()
    buttons = fields.objects("button", missing=(40016, "invalid button size"))
    fields.done()
    require(1 <= len(buttons) <= 3, 40016, "invalid button size")
    hosts: set[str] = set()
    for button in buttons:
        _check(button, hosts, is_top=True)
    require(len(hosts - INSIDE) <= OUTSIDE_MOST, 65316, "menu links to too many outside domains")
    body: Any = call.body
    call.platform.state.values.put("menu", body["button"])
    return OK


async def get(call: Call) -> Answer:
    """GET /cgi-bin/menu/get: a button that opens nothing has an empty list of sub-buttons."""
    return {"menu": {"button": [_shown(button) for button in _menu(call)]}}


async def get_current(call: Call) -> Answer:
    """GET /cgi-bin/get_current_selfmenu_info."""
    buttons = call.platform.state.values.get("menu")
    if not buttons:
        return {"is_menu_open": 0, "selfmenu_info": {}}
    shown = [
        {**button, "sub_button": {"list": button["sub_button"]}} if button.get("sub_button") else button
        for button in buttons
    ]
    return {"is_menu_open": 1, "selfmenu_info": {"button": shown}}


async def delete(call: Call) -> Answer:
    """GET /cgi-bin/menu/delete."""
    call.platform.state.values.remove("menu")
    return OK


def _menu(call: Call) -> Any:
    buttons = call.platform.state.values.get("menu")
    if not buttons:
        raise Refused(46003, "menu no exist")
    return buttons


def _shown(button: Any) -> Any:
    return {**button, "sub_button": [_shown(sub) for sub in button.get("sub_button", [])]}


def _check(button: Fields, hosts: set[str], *, is_top: bool) -> None:
    longest, errcode = (16, 40018) if is_top else (60, 40025)
    name = button.text("name", missing=(errcode, "invalid button name size"))
    require(bool(name.strip()) and len(name.encode()) <= longest, errcode, "invalid button name size")
    require(CONTROL.search(name) is None, errcode, "invalid button name size")
    subs = button.objects("sub_button") if button.has("sub_button") else []
    if subs:
        require(is_top, 40022, "invalid sub button level")
        require(not button.has("type"), 40017, "invalid button type")
        require(len(subs) <= 5, 40023, "invalid sub button size")
        for sub in subs:
            _check(sub, hosts, is_top=False)
    else:
        _check_action(button, hosts, is_top=is_top)
    button.done()


def _check_action(button: Fields, hosts: set[str], *, is_top: bool) -> None:
    kind = button.text("type", missing=(40017 if is_top else 40024, "invalid button type"))
    if kind in WITH_KEY:
        key = button.text("key", missing=(40019 if is_top else 40026, "invalid button key size"))
        require(1 <= len(key.encode()) <= 128, 40019 if is_top else 40026, "invalid button key size")
    elif kind in ("view", "miniprogram"):
        errcode = 40020 if is_top else 40027
        url = button.text("url", missing=(errcode, "invalid button url size"))
        require(1 <= len(url.encode()) <= 1024, errcode, "invalid button url size")
        hosts.add(_host(url, errcode=40055 if is_top else 40054))
        if kind == "miniprogram":
            appid = button.text("appid", missing=(40013, "invalid appid"))
            require(re.fullmatch(r"wx[0-9a-f]{16}", appid) is not None, 40013, "invalid appid")
            require(bool(button.text("pagepath")), 40035, "invalid parameter: pagepath")
    elif kind in WITH_MEDIA:
        button.text("media_id", missing=(40007, "invalid media_id"))
    elif kind in WITH_ARTICLE:
        button.text("article_id", missing=(53600, "Article ID invalid"))
    else:
        raise Refused(40017 if is_top else 40024, "invalid button type")


def _host(url: str, *, errcode: int) -> str:
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        host = ""
    is_address = url.startswith(("http://", "https://")) and re.search(r"[\s\x00-\x1f]", url) is None
    require(is_address and bool(host), errcode, "invalid button url domain")
    return host


endpoints = [
    Endpoint("POST", "/cgi-bin/menu/create", create, per_day=1000),
    Endpoint("GET", "/cgi-bin/menu/get", get, per_day=10_000),
    Endpoint("GET", "/cgi-bin/get_current_selfmenu_info", get_current, per_day=10_000),
    Endpoint("GET", "/cgi-bin/menu/delete", delete, per_day=1000),
]
