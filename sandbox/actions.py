"""What a person does with the phone, and what the platform makes of it."""

from __future__ import annotations

import base64
import io
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

from sandbox import events
from sandbox.files import image_type
from sandbox.jsontext import JsonObject
from sandbox.platform import Platform
from sandbox.push import Outcome
from sandbox.state import Code, Media, Person, Trigger

MENU_WINDOWS = frozenset({"CLICK", "scancode_push", "scancode_waitmsg"})
FIRST_MSG_ID = 24_000_000_000_000_000
FILES = {"image": "图片", "voice": "语音", "video": "视频"}
SILENCE = b"#!AMR\n" + (b"\x3c" + bytes(31)) * 50
"""A second of a voice that says nothing: frames of 20 ms."""
NO_FILM = b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom"


class Impossible(Exception):
    """Nobody could do this with a phone; the text tells the person why."""

    def __init__(self, sentence: str, status: int = 409) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass(frozen=True)
class Push:
    """An event about to leave for the developer's server."""

    openid: str
    event: JsonObject


def scan(platform: Platform, person: Person, wish: JsonObject) -> Push | None:
    """Point the phone at a code. None: somebody who does not follow looked and went away."""
    code = _code(platform, wish)
    if not person.following:
        return _follow(platform, person, code, wish) if wish.get("follow", True) else None
    state = platform.state
    _tell(platform, person, "SCAN", "扫描二维码")
    state.open_window(person, Trigger.SCAN)
    return _push(platform, person, {"Event": "SCAN", "EventKey": code.scene, "Ticket": code.ticket}, wish)


def follow(platform: Platform, person: Person, wish: JsonObject) -> Push:
    """Press 关注, after a scan where a scene is given, else after a search."""
    if person.following:
        raise Impossible(f"{person.name}已经关注了公众号。")
    has_code = any(wish.get(name) for name in ("scene", "ticket", "url"))
    return _follow(platform, person, _code(platform, wish) if has_code else None, wish)


def unfollow(platform: Platform, person: Person, wish: JsonObject) -> Push:
    """Press 取消关注."""
    _require_following(person)
    platform.state.unfollow(person)
    _tell(platform, person, "unsubscribe", "取消关注")
    return _push(platform, person, {"Event": "unsubscribe", "EventKey": ""}, wish)


def say(platform: Platform, person: Person, wish: JsonObject) -> Push | None:
    """Send a message to the account; a tapped item of a message menu counts as a menu tap.

    None: a clerk of the platform's human service has the person, and the developer's server hears nothing.
    """
    _require_following(person)
    kind = str(wish.get("type", "text"))
    fields, shown = _message(platform, kind, wish)
    fields = {"MsgType": kind, **fields, **wish.get("fields", {})}
    if kind == "text":
        shown["text"] = fields["Content"]
    menu_item = wish.get("bizmsgmenuid")
    if menu_item is not None:
        fields["bizmsgmenuid"] = str(menu_item)
    fields.setdefault("MsgId", FIRST_MSG_ID + platform.state.count("messages"))
    platform.state.say(person.openid, "person", kind, **shown)
    platform.state.open_window(person, Trigger.MESSAGE if menu_item is None else Trigger.MENU)
    if platform.state.is_with_clerk(person):
        return None
    return _push(platform, person, fields, wish)


def human(platform: Platform, person: Person, wish: JsonObject) -> Push:
    """A clerk of the platform's human service takes the person ({"begins": true}) or is done with them."""
    _require_following(person)
    state = platform.state
    if wish.get("begins", True):
        if state.is_with_clerk(person):
            raise Impossible(f"{person.name}已经在和人工客服说话。")
        clerk = str(wish.get("clerk") or f"kf2001@{platform.account.original_id}")
        state.hand_over(person, clerk)
        state.say(person.openid, "system", "text", text="人工客服接入了会话")
        return _push(platform, person, {"Event": "kf_create_session", "KfAccount": clerk}, wish)
    if not state.is_with_clerk(person):
        raise Impossible(f"{person.name}没有在和人工客服说话。")
    clerk = state.take_back(person)
    state.say(person.openid, "system", "text", text="人工会话结束了")
    return _push(platform, person, {"Event": "kf_close_session", "KfAccount": clerk}, wish)


def _message(platform: Platform, kind: str, wish: JsonObject) -> tuple[JsonObject, JsonObject]:
    """The XML fields of what a person sends, and how it looks in the chat."""
    given = wish.get("fields", {})
    match kind:
        case "text":
            text = str(wish.get("text") or given.get("Content") or "")
            if not text:
                raise Impossible("请先写点什么。", 400)
            return {"Content": text}, {}
        case "image":
            media = _picture(platform, str(wish.get("image", "")))
            url = f"{platform.account.public_url}/sandbox/media/{media.media_id}"
            return {"PicUrl": url, "MediaId": media.media_id}, {"image_url": url}
        case "voice":
            media = _keep(platform, "voice", "audio/amr", _content(wish, "voice") or SILENCE)
            return {"MediaId": media.media_id}, {"media_id": media.media_id}
        case "video" | "shortvideo":
            media = _keep(platform, "video", "video/mp4", _content(wish, "video") or NO_FILM)
            thumb = _keep(platform, "thumb", "image/png", _green_picture())
            return {"MediaId": media.media_id, "ThumbMediaId": thumb.media_id}, {"media_id": media.media_id}
        case "location":
            names = {"latitude": "Location_X", "longitude": "Location_Y", "scale": "Scale", "label": "Label"}
            place: JsonObject = {name: wish[name] for name in names if name in wish}
            # Coordinates stand bare in the XML, as numbers do.
            return {names[name]: value for name, value in place.items()}, place
        case "link":
            link: JsonObject = {name: str(wish[name]) for name in ("title", "description", "url") if name in wish}
            return {name.capitalize(): value for name, value in link.items()}, link
        case _:
            raise Impossible(f"没有“{kind}”这种消息。", 400)


def tap(platform: Platform, person: Person, wish: JsonObject) -> Push:
    """Tap a button of the menu: {key} for a click, else {event, key | url, fields}."""
    _require_following(person)
    event = str(wish.get("event", "CLICK"))
    if event not in events.EVENTS:
        raise Impossible(f"菜单没有“{event}”这种按钮。", 400)
    key = str(wish.get("key") or wish.get("url") or "")
    if not key:
        raise Impossible("要说明点的是哪个按钮。", 400)
    fields: JsonObject = {"Event": event, "EventKey": key, **wish.get("fields", {})}
    if "scan_result" in wish:
        fields["ScanCodeInfo"] = {"ScanType": "qrcode", "ScanResult": str(wish["scan_result"])}
    _tell(platform, person, event, f"点击菜单“{_button_name(platform, key)}”")
    if event in MENU_WINDOWS:
        platform.state.open_window(person, Trigger.MENU)
    return _push(platform, person, fields, wish)


def raw(platform: Platform, person: Person, wish: JsonObject) -> Push:
    """Push any event or message; what the fields leave out comes from the sample of its kind."""
    event = _compose(platform, person, wish)
    return Push(person.openid, event)


Action = Callable[[Platform, Person, JsonObject], Push | None]
ACTIONS: dict[str, Action] = {
    "scan": scan,
    "follow": follow,
    "unfollow": unfollow,
    "say": say,
    "tap": tap,
    "human": human,
    "raw": raw,
}


def perform(platform: Platform, person: Person, action: str, wish: JsonObject) -> Push | None:
    """Do one of these with a person's phone; what it pushes has yet to be delivered."""
    if not isinstance(wish.get("fields", {}), dict) or not isinstance(wish.get("create_time", 0), int):
        raise Impossible("fields 是一个对象，create_time 是一个数。", 400)
    push = ACTIONS[action](platform, person, wish)
    # The log keeps what was done, not the files sent with it.
    told = {name: value for name, value in wish.items() if name not in FILES}
    platform.log.add("action", action=action, openid=person.openid, wish=told)
    platform.journal.flush()
    return push


async def deliver(platform: Platform, push: Push) -> Outcome:
    """Send the push off; the journal is safe before anybody hears of it."""
    platform.journal.flush()
    return await platform.pusher.push(push.openid, push.event)


def _follow(platform: Platform, person: Person, code: Code | None, wish: JsonObject) -> Push:
    state = platform.state
    state.follow(person, at=_create_time(platform, wish), code=code)
    state.open_window(person, Trigger.SCAN if code else Trigger.FOLLOW)
    _tell(platform, person, "subscribe", "扫码关注" if code else "关注")
    fields: JsonObject = {"Event": "subscribe", "EventKey": f"qrscene_{code.scene}" if code else ""}
    if code:
        fields["Ticket"] = code.ticket
    return _push(platform, person, fields, wish)


def _push(platform: Platform, person: Person, fields: JsonObject, wish: JsonObject) -> Push:
    return Push(person.openid, _compose(platform, person, fields, create_time=_create_time(platform, wish)))


def _compose(platform: Platform, person: Person, fields: JsonObject, *, create_time: int | None = None) -> JsonObject:
    return events.compose(
        fields,
        original_id=platform.account.original_id,
        app_id=platform.account.app_id,
        openid=person.openid,
        create_time=int(platform.clock.now()) if create_time is None else create_time,
        msg_id=0 if "MsgId" in fields else FIRST_MSG_ID + platform.state.count("messages"),
    )


def _create_time(platform: Platform, wish: JsonObject) -> int:
    """When it happens; scripts that replay a past may say so themselves."""
    return int(wish.get("create_time") or platform.clock.now())


def _code(platform: Platform, wish: JsonObject) -> Code:
    known = {name: str(wish[name]) for name in ("scene", "ticket", "url") if wish.get(name)}
    caption = str(wish.get("caption") or "")
    if not known and not caption:
        raise Impossible("要说明扫的是哪个二维码。", 400)
    code = (platform.state.codes.find(**known) if known else None) or _captioned(platform, caption)
    if code is None:
        raise Impossible("这个二维码不是本公众号的二维码。", 404)
    if code.is_expired(platform.clock.now()):
        raise Impossible("这个二维码已过期。", 410)
    return code


def _captioned(platform: Platform, caption: str) -> Code | None:
    """The code below which these words stand, or the one whose words contain them."""
    captions = platform.state.captions.rows
    fits = [scene for scene, words in captions.items() if words == caption]
    if caption and not fits:
        fits = [scene for scene, words in captions.items() if caption in words]
    return platform.state.codes.find(scene=fits[0]) if len(fits) == 1 else None


def _require_following(person: Person) -> None:
    if not person.following:
        raise Impossible(f"{person.name}还没有关注公众号。")


def _tell(platform: Platform, person: Person, event: str, text: str) -> None:
    platform.state.say(person.openid, "person", "event", event=event, text=text)


def _button_name(platform: Platform, key: str) -> str:
    for button in platform.state.values.get("menu") or []:
        for one in [button, *button.get("sub_button", [])]:
            if key in (one.get("key"), one.get("url")):
                return str(one["name"])
    return key


def _picture(platform: Platform, data: str) -> Media:
    """The picture a person sends: base64 (a data: URL, too) from the phone, else a plain green one."""
    content = _content({"image": data}, "image") or _green_picture()
    content_type = image_type(content)
    if content_type is None:
        raise Impossible("这不是图片。", 400)
    return _keep(platform, "image", content_type, content)


def _content(wish: JsonObject, name: str) -> bytes:
    """A file as base64 or as a data: URL; empty where none was given."""
    try:
        return base64.b64decode(str(wish.get(name, "")).rpartition(",")[2], validate=True)
    except ValueError as error:
        raise Impossible(f"{FILES[name]}读不出来。", 400) from error


def _keep(platform: Platform, kind: str, content_type: str, content: bytes) -> Media:
    """Whatever people send can be fetched for three days."""
    media_id = secrets.token_urlsafe(48)
    platform.files.write(media_id, content)
    return platform.state.media.put(
        media_id,
        Media(
            media_id=media_id,
            kind=kind,
            permanent=False,
            filename=kind,
            content_type=content_type,
            size=len(content),
            created_at=int(platform.clock.now()),
        ),
    )


def _green_picture() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (240, 160), "#07c160").save(out, "PNG")
    return out.getvalue()
