"""Mass sends: accepted at once, finished a moment later, each remembered for a day by its clientmsgid."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from sandbox import mass
from sandbox.api import drafts
from sandbox.api.call import OK, Answer, Call, Endpoint, Fields, Refused, require
from sandbox.api.messages import read_media_id
from sandbox.jsontext import JsonObject, compact
from sandbox.mass import Content
from sandbox.push import media_content
from sandbox.state import ClientMsgId, JobState, MassJob, Person

SEND = "/cgi-bin/message/mass/send"
PER_DAY = 100
PER_MINUTE = 60
PREVIEWS_PER_DAY = 100
FEWEST_OPENIDS = 2
MOST_OPENIDS = 10_000
TO_ALL_PER_MONTH = 4
TEXT_BYTES = 2048
CLIENTMSGID_CHARACTERS = 32  # documented as 64 bytes, yet 34 characters were refused
REMEMBERED_SECONDS = 24 * 3600
RETRY_SECONDS = 60
SPEEDS = (80, 60, 45, 30, 10)  # tens of thousands a minute
MOST_ARTICLES = 8


async def send(call: Call) -> Answer:
    """POST /cgi-bin/message/mass/send: to these people."""
    fields = call.fields()
    require(fields.has("touser"), 40130, "invalid openid list size, at least two openid")
    openids = fields.items("touser") if isinstance(fields.peek("touser"), list) else None
    if openids is None or not all(isinstance(openid, str) for openid in openids):
        raise Refused(40031, "invalid openid list")
    require(len(openids) >= FEWEST_OPENIDS, 40130, "invalid openid list size, at least two openid")
    require(len(openids) <= MOST_OPENIDS, 40032, "invalid openid list size")
    require(len(set(openids)) == len(openids), 40031, "invalid openid list")
    known = call.platform.state.people.rows
    require(all(openid in known for openid in openids), 40003, "invalid openid")
    return _accept(call, fields, [known[openid] for openid in openids], scope=compact(sorted(openids)))


async def send_all(call: Call) -> Answer:
    """POST /cgi-bin/message/mass/sendall: to everybody, or to those with a tag."""
    state = call.platform.state
    fields = call.fields()
    chosen = fields.part("filter")
    is_to_all = chosen.flag("is_to_all", default=False)
    tag_id = chosen.integer("tag_id", default=0) if is_to_all else chosen.integer("tag_id", missing=(45159, "tag id"))
    chosen.done()
    followers = [person for person in state.people.rows.values() if person.following]
    if is_to_all:
        return _accept(call, fields, followers, scope="everybody", is_to_all=True)
    require(state.tags.get(str(tag_id)) is not None, 45159, "invalid tag id")
    return _accept(call, fields, [person for person in followers if tag_id in person.tags], scope=f"tag {tag_id}")


async def preview(call: Call) -> Answer:
    """POST /cgi-bin/message/mass/preview: one person sees it; nothing is counted."""
    fields = call.fields()
    require(not fields.has("towxname"), 40132, "invalid username")
    openid = fields.text("touser", missing=(40003, "invalid openid"))
    content = _content(call, fields)
    fields.done()
    person = call.follower(openid)
    require(person.following, 43004, "require subscribe")
    for message in content.messages:
        call.platform.state.chats.add_to_all(
            [openid], {"at": int(call.platform.clock.now()), "from": "account", **message}
        )
    return {"errcode": 0, "errmsg": "preview success", "msg_id": call.platform.state.new_msg_id()}


async def get(call: Call) -> Answer:
    """POST /cgi-bin/message/mass/get: how far it is; the numbers come in the event alone."""
    fields = call.fields()
    job = _job(call, fields)
    fields.done()
    return {"msg_id": job.msg_id, "msg_status": job.state}


async def delete(call: Call) -> Answer:
    """POST /cgi-bin/message/mass/delete: the pages go, the cards in the chats stay."""
    state = call.platform.state
    fields = call.fields()
    job = _job(call, fields)
    number = fields.integer("article_idx", default=0)
    fields.text("url", default="")
    fields.done()
    require(job.kind in ("mpnews", "mpvideo") and job.state != JobState.SENDING, 40059, "invalid msg id")
    require(0 <= number <= MOST_ARTICLES, 40035, "invalid parameter: article_idx")
    keys = state.pages_of(job.media_id)
    require(number <= max(len(keys), 1), 40035, "invalid parameter: article_idx")
    for key in keys[number - 1 : number] if number else keys:
        state.pages.rows[key].deleted = True
        state.pages.put(key, state.pages.rows[key])
    if all(state.pages.rows[key].deleted for key in keys):
        # The material is gone, and with it every send that used it.
        for other in state.mass_jobs.rows.values():
            if other is job or (keys and other.media_id == job.media_id and other.state == JobState.SUCCESS):
                other.state = JobState.DELETED
                state.mass_jobs.put(str(other.msg_id), other)
    return OK


async def speed(call: Call) -> Answer:
    """POST /cgi-bin/message/mass/speed/get."""
    call.fields().done()
    level = call.platform.state.values.get("mass_speed") or 0
    return {"speed": level, "realspeed": SPEEDS[level]}


async def set_speed(call: Call) -> Answer:
    """POST /cgi-bin/message/mass/speed/set."""
    fields = call.fields()
    level = fields.integer("speed", missing=(45084, "speed missing"))
    fields.done()
    require(0 <= level < len(SPEEDS), 45083, "speed out of range")
    call.platform.state.values.put("mass_speed", level)
    return OK


def _accept(call: Call, fields: Fields, people: list[Person], *, scope: str, is_to_all: bool = False) -> Answer:
    """Everything of a send but the choice of people."""
    platform = call.platform
    content = _content(call, fields)
    given = fields.text("clientmsgid", default="")
    reprint = fields.integer("send_ignore_reprint", default=0)
    fields.done()
    require(reprint in (0, 1), 40035, "invalid parameter: send_ignore_reprint")
    require(len(given) <= CLIENTMSGID_CHARACTERS, 45067, "clientmsgid size out of limit")
    clientmsgid = given or hashlib.sha256(f"{scope}|{content.fingerprint}".encode()).hexdigest()
    _refuse_repetition(call, clientmsgid)
    if is_to_all:
        _use_allowance(call)
    job = mass.send(
        platform,
        people,
        content,
        by="api",
        clientmsgid=given or None,
        verdict=call.fault.get("mass_status", mass.SUCCESS),
    )
    now = platform.clock.now()
    platform.state.client_msg_ids.put(clientmsgid, ClientMsgId(msg_id=job.msg_id, accepted_at=now, tried_at=now))
    answer: JsonObject = {"errcode": 0, "errmsg": "send job submission success", "msg_id": job.msg_id}
    if content.kind != "mpnews":
        return answer
    draft = platform.state.drafts.rows[content.media_id]
    if draft.in_box:
        draft.in_box = False
        platform.state.drafts.put(draft.media_id, draft)
    return {**answer, "msg_data_id": job.msg_id % 2**31 + 2**31}


def _refuse_repetition(call: Call, clientmsgid: str) -> None:
    names, now = call.platform.state.client_msg_ids, call.platform.clock.now()
    known = names.get(clientmsgid)
    if known is None or known.accepted_at + REMEMBERED_SECONDS <= now:
        return
    is_too_soon = now - known.tried_at < RETRY_SECONDS
    known.tried_at = now
    names.put(clientmsgid, known)
    if is_too_soon:
        raise Refused(45066, "same clientmsgid retry too fast")
    raise Refused(45065, "clientmsgid exist", msg_id=known.msg_id)


def _use_allowance(call: Call) -> None:
    """To everybody: once a day and four times a month."""
    counters = call.platform.state.counters
    month, day = mass.to_all_counters(call.platform)
    is_allowed = (counters.get(month) or 0) < TO_ALL_PER_MONTH and not counters.get(day)
    require(is_allowed, 45028, "has no masssend quota")
    mass.count_to_all(call.platform)


def _content(call: Call, fields: Fields) -> Content:
    kind = fields.text("msgtype", missing=(40008, "invalid message type"))
    require(kind in _KINDS, 40008, "invalid message type")
    name = "images" if kind == "image" and fields.has("images") else kind
    part = fields.part(name, missing=(44004, "empty content"))
    content = _KINDS[kind](call, part)
    part.done()
    return content


def _text(_: Call, part: Fields) -> Content:
    text = part.text("content", missing=(44004, "empty content"))
    require(bool(text), 44004, "empty content")
    require(len(text.encode()) <= TEXT_BYTES, 45002, "content size out of limit")
    return Content("text", [{"type": "text", "text": text}])


def _images(call: Call, part: Fields) -> Content:
    if part.has("media_id"):
        media_ids = [read_media_id(call, part, "media_id", "image")]
    else:
        media_ids = part.texts("media_ids", missing=(40007, "invalid media_id"))
        require(len(media_ids) > 0 and all(_is(call, one, "image") for one in media_ids), 40007, "invalid media_id")
    messages = [_media_message(call, "image", {"media_id": media_id}) for media_id in media_ids]
    recommend = part.text("recommend", default="")
    part.integer("need_open_comment", default=0)
    part.integer("only_fans_can_comment", default=0)
    return Content("image", [*messages, *([{"type": "text", "text": recommend}] if recommend else [])])


def _voice(call: Call, part: Fields) -> Content:
    return Content(
        "voice", [_media_message(call, "voice", {"media_id": read_media_id(call, part, "media_id", "voice")})]
    )


def _video(call: Call, part: Fields) -> Content:
    media_id = read_media_id(call, part, "media_id", "video")
    words = {"title": part.text("title", default=""), "description": part.text("description", default="")}
    return Content("mpvideo", [_media_message(call, "video", {"media_id": media_id, **words})], media_id=media_id)


def _articles(call: Call, part: Fields) -> Content:
    media_id = part.text("media_id", missing=(40007, "invalid media_id"))
    draft = call.platform.state.drafts.get(media_id)
    if draft is None:
        raise Refused(40007, "invalid media_id")
    pages = call.platform.state.pages_of(media_id)
    cards = [
        {
            "title": article["title"],
            "description": article["digest"],
            "picurl": drafts.cover(call.platform, article),
            "url": mass.page_url(call.platform, key),
        }
        for article, key in zip(draft.articles, pages, strict=True)
    ]
    return Content("mpnews", [{"type": "news", **cards[0], "articles": cards}], media_id=media_id)


def _card(_: Call, part: Fields) -> Content:
    part.text("card_ext", default="")
    return Content("wxcard", [{"type": "wxcard", "card_id": part.text("card_id")}])


def _media_message(call: Call, kind: str, content: JsonObject) -> JsonObject:
    return {"type": kind, **media_content(content, call.platform.account)}


def _is(call: Call, media_id: str, *kinds: str) -> bool:
    media = call.platform.media(media_id)
    return media is not None and media.kind in kinds


def _job(call: Call, fields: Fields) -> MassJob:
    """The send that is asked about; its id may come as a number or as text."""
    given = fields.peek("msg_id")
    msg_id = fields.text("msg_id") if isinstance(given, str) else str(fields.integer("msg_id"))
    job = call.platform.state.mass_jobs.get(msg_id)
    if job is None:
        raise Refused(40059, "invalid msg id")
    return job


_KINDS: dict[str, Callable[[Call, Fields], Content]] = {
    "text": _text,
    "image": _images,
    "voice": _voice,
    "mpnews": _articles,
    "mpvideo": _video,
    "wxcard": _card,
}

endpoints = [
    Endpoint("POST", SEND, send, per_day=PER_DAY, per_minute=PER_MINUTE),
    Endpoint(
        "POST",
        "/cgi-bin/message/mass/sendall",
        send_all,
        per_day=PER_DAY,
        per_minute=PER_MINUTE,
        counted_with=SEND,
    ),
    Endpoint("POST", "/cgi-bin/message/mass/preview", preview, per_day=PREVIEWS_PER_DAY),
    Endpoint("POST", "/cgi-bin/message/mass/get", get),
    Endpoint("POST", "/cgi-bin/message/mass/delete", delete),
    Endpoint("POST", "/cgi-bin/message/mass/speed/get", speed),
    Endpoint("POST", "/cgi-bin/message/mass/speed/set", set_speed),
]
