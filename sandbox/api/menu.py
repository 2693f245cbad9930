"""The account's menu."""

from __future__ import annotations

from typing import Any

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


async def create(call: Call) -> Answer:
    """POST /cgi-bin/menu/create: takes the place of the menu before."""
    fields = call.fields()
    buttons = fields.objects("button", missing=(40016, "invalid button size"))
    fields.done()
    require(1 <= len(buttons) <= 3, 40016, "invalid button size")
    for button in buttons:
        _check(button, is_top=True)
    body: Any = call.body
    call.platform.state.values.put("menu", body["button"])
    return OK


async def get(call: Call) -> Answer:
    """GET /cgi-bin/menu/get."""
    return {"menu": {"button": _menu(call)}}


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


def _check(button: Fields, *, is_top: bool) -> None:
    name = button.text("name", missing=(40018, "invalid button name size"))
    longest, errcode = (16, 40018) if is_top else (60, 40025)
    require(1 <= len(name.encode()) <= longest, errcode, "invalid button name size")
    subs = button.objects("sub_button") if is_top and button.has("sub_button") else []
    if subs:
        require(len(subs) <= 5, 40023, "invalid sub button size")
        if button.has("type"):
            button.text("type")
        for sub in subs:
            _check(sub, is_top=False)
    else:
        _check_action(button, is_top=is_top)
    button.done()


def _check_action(button: Fields, *, is_top: bool) -> None:
    kind = button.text("type", missing=(40017 if is_top else 40024, "invalid button type"))
    if button.has("sub_button"):
        require(button.items("sub_button") == [], 40023, "invalid sub button size")
    if kind in WITH_KEY:
        key = button.text("key", missing=(40019 if is_top else 40026, "invalid button key size"))
        require(1 <= len(key.encode()) <= 128, 40019 if is_top else 40026, "invalid button key size")
    elif kind in ("view", "miniprogram"):
        errcode = 40020 if is_top else 40027
        url = button.text("url", missing=(errcode, "invalid button url size"))
        require(1 <= len(url.encode()) <= 1024, errcode, "invalid button url size")
        require(url.startswith(("http://", "https://")), 40054 if is_top else 40055, "invalid button url domain")
        if kind == "miniprogram":
            button.text("appid", missing=(40013, "invalid appid"))
            button.text("pagepath")
    elif kind in WITH_MEDIA:
        button.text("media_id", missing=(40007, "invalid media_id"))
    elif kind in WITH_ARTICLE:
        button.text("article_id", missing=(53600, "Article ID invalid"))
    else:
        raise Refused(40017 if is_top else 40024, "invalid button type")


endpoints = [
    Endpoint("POST", "/cgi-bin/menu/create", create, per_day=1000),
    Endpoint("GET", "/cgi-bin/menu/get", get, per_day=10_000),
    Endpoint("GET", "/cgi-bin/get_current_selfmenu_info", get_current, per_day=10_000),
    Endpoint("GET", "/cgi-bin/menu/delete", delete, per_day=1000),
]
