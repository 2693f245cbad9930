"""Customer-service messages: words to one person while a window is open."""

from __future__ import annotations

from collections.abc import Callable

from sandbox.api.call import OK, Answer, Call, Endpoint, Fields, Refused, require
from sandbox.jsontext import JsonObject
from sandbox.push import media_content
from sandbox.state import Spending

TEXT_BYTES = 2048
TYPING_AFTER_EXCHANGE = 30
TYPING_LASTS = 15


async def send(call: Call) -> Answer:
    """POST /cgi-bin/message/custom/send."""
    state = call.platform.state
    fields = call.fields()
    openid = fields.text("touser", missing=(40003, "invalid openid"))
    kind = fields.text("msgtype", missing=(40008, "invalid message type"))
    require(kind in _KINDS, 40008, "invalid message type")
    part = fields.part(kind, missing=(44004, "empty content"))
    content = _KINDS[kind](call, part)
    part.done()
    _read_options(fields)
    fields.done()
    person = call.follower(openid)
    spending = state.window_state(person)
    if spending is Spending.CLOSED:
        raise Refused(45015, "response out of time limit or subscription is canceled")
    if spending is Spending.USED_UP:
        raise Refused(45047, "out of response count limit")
    state.spend_window(person)
    state.say(openid, "account", kind, **media_content(content, call.platform.account))
    return OK


async def typing(call: Call) -> Answer:
    """POST /cgi-bin/message/custom/typing: the three dots, for 15 s."""
    state, now = call.platform.state, call.platform.clock.now()
    fields = call.fields()
    person = call.follower(fields.text("touser", missing=(40003, "invalid openid")))
    command = fields.text("command", missing=(45072, "invalid command"))
    fields.done()
    require(command in ("Typing", "CancelTyping"), 45072, "invalid command")
    if state.window_state(person) is Spending.CLOSED:
        raise Refused(45015, "response out of time limit or subscription is canceled")
    if command == "Typing":
        require(now - person.last_exchange_at <= TYPING_AFTER_EXCHANGE, 45080, "no message between you and user")
        require(person.typing_until <= now, 45081, "already in typing")
    person.typing_until = now + TYPING_LASTS if command == "Typing" else 0
    state.people.put(person.openid, person)
    return OK


def _read_options(fields: Fields) -> None:
    if fields.has("customservice"):
        service = fields.part("customservice")
        service.text("kf_account")
        service.done()
    if fields.has("aimsgcontext"):
        context = fields.part("aimsgcontext")
        context.integer("is_ai_msg")
        context.done()


def _text(_: Call, part: Fields) -> JsonObject:
    content = part.text("content", missing=(44004, "empty content"))
    require(bool(content), 44004, "empty content")
    require(len(content.encode()) <= TEXT_BYTES, 45002, "content size out of limit")
    return {"text": content}


def _media(*kinds: str) -> Callable[[Call, Fields], JsonObject]:
    def read(call: Call, part: Fields) -> JsonObject:
        return {"media_id": read_media_id(call, part, "media_id", *kinds)}

    return read


def read_media_id(call: Call, part: Fields, name: str, *kinds: str) -> str:
    """The id of an uploaded file of one of these kinds; raises Refused."""
    media_id = part.text(name, missing=(40007, "invalid media_id"))
    media = call.platform.media(media_id)
    require(media is not None and media.kind in kinds, 40007, "invalid media_id")
    return media_id


def _video(call: Call, part: Fields) -> JsonObject:
    return {
        "media_id": read_media_id(call, part, "media_id", "video"),
        "thumb_media_id": read_media_id(call, part, "thumb_media_id", "thumb", "image")
        if part.has("thumb_media_id")
        else "",
        "title": part.text("title", default=""),
        "description": part.text("description", default=""),
    }


def _music(call: Call, part: Fields) -> JsonObject:
    return {
        "title": part.text("title", default=""),
        "description": part.text("description", default=""),
        "url": part.text("musicurl"),
        "hq_url": part.text("hqmusicurl"),
        "media_id": read_media_id(call, part, "thumb_media_id", "thumb", "image"),
    }


def _news(_: Call, part: Fields) -> JsonObject:
    articles = part.objects("articles", missing=(44003, "empty news data"))
    require(len(articles) > 0, 44003, "empty news data")
    require(len(articles) == 1, 45008, "article size out of limit")
    (article,) = articles
    content = {
        "title": article.text("title", default=""),
        "description": article.text("description", default=""),
        "url": article.text("url", default=""),
        "picurl": article.text("picurl", default=""),
    }
    article.done()
    return content


def _menu(_: Call, part: Fields) -> JsonObject:
    content: JsonObject = {
        "head_content": part.text("head_content", default=""),
        "tail_content": part.text("tail_content", default=""),
    }
    items = []
    for item in part.objects("list"):
        items.append({"id": item.text("id"), "content": item.text("content")})
        item.done()
    require(len(items) > 0, 44004, "empty content")
    return {**content, "list": items}


def _article(_: Call, part: Fields) -> JsonObject:
    part.text("article_id", missing=(53600, "Article ID invalid"))
    raise Refused(53600, "Article ID invalid")


def _mini_program(call: Call, part: Fields) -> JsonObject:
    return {
        "title": part.text("title", default=""),
        "app_id": part.text("appid", missing=(40013, "invalid appid")),
        "path": part.text("pagepath"),
        "media_id": read_media_id(call, part, "thumb_media_id", "thumb", "image"),
    }


def _card(_: Call, part: Fields) -> JsonObject:
    return {"card_id": part.text("card_id")}


_KINDS: dict[str, Callable[[Call, Fields], JsonObject]] = {
    "text": _text,
    "image": _media("image"),
    "voice": _media("voice"),
    "video": _video,
    "music": _music,
    "news": _news,
    "mpnews": _media("news"),
    "mpnewsarticle": _article,
    "msgmenu": _menu,
    "miniprogrampage": _mini_program,
    "wxcard": _card,
}

endpoints = [
    Endpoint("POST", "/cgi-bin/message/custom/send", send, per_day=500_000),
    Endpoint("POST", "/cgi-bin/message/custom/typing", typing, per_day=500_000),
]
