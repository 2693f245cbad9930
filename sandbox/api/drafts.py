"""Drafts: articles put together for a mass send."""

from __future__ import annotations

import secrets

from sandbox import articles
from sandbox.api.call import OK, Answer, Call, Endpoint, Fields, Refused, require
from sandbox.api.media import picture_url
from sandbox.jsontext import JsonObject
from sandbox.mass import page_url
from sandbox.platform import Platform
from sandbox.state import Draft, Page

MOST_ARTICLES = 8
TITLE_CHARACTERS = 32
AUTHOR_CHARACTERS = 16
DIGEST_CHARACTERS = 128
DIGEST_BY_ITSELF = 54
CONTENT_CHARACTERS = 20_000
CONTENT_BYTES = 1 << 20
MOST_LISTED = 20


async def add(call: Call) -> Answer:
    """POST /cgi-bin/draft/add."""
    state, now = call.platform.state, int(call.platform.clock.now())
    fields = call.fields()
    given = fields.objects("articles", missing=(44003, "empty news data"))
    fields.done()
    require(len(given) > 0, 44003, "empty news data")
    require(len(given) <= MOST_ARTICLES, 45008, "article size out of limit")
    read = [_article(call, one, is_alone=len(given) == 1) for one in given]
    media_id = secrets.token_urlsafe(48)
    for index in range(len(read)):
        state.pages.put(secrets.token_urlsafe(16), Page(media_id=media_id, index=index))
    state.drafts.put(media_id, Draft(media_id=media_id, articles=read, created_at=now, updated_at=now))
    return {"media_id": media_id}


async def get(call: Call) -> Answer:
    """POST /cgi-bin/draft/get."""
    draft = _in_box(call, call.fields())
    return {
        "news_item": _items(call.platform, draft),
        "create_time": draft.created_at,
        "update_time": draft.updated_at,
    }


async def delete(call: Call) -> Answer:
    """POST /cgi-bin/draft/delete: doing it twice is no mistake."""
    state = call.platform.state
    fields = call.fields()
    media_id = fields.text("media_id", missing=(40007, "invalid media_id"))
    fields.done()
    draft = state.drafts.get(media_id)
    if draft is not None and draft.in_box:
        state.drafts.remove(media_id)
        for key in state.pages_of(media_id):
            state.pages.remove(key)
    return OK


async def update(call: Call) -> Answer:
    """POST /cgi-bin/draft/update: one article, by its number from 0."""
    fields = call.fields()
    index = fields.integer("index")
    given = fields.part("articles", missing=(44003, "empty news data"))
    draft = _in_box(call, fields)
    require(0 <= index < len(draft.articles), 40035, "invalid parameter: index")
    draft.articles[index] = _article(call, given, is_alone=len(draft.articles) == 1)
    draft.updated_at = int(call.platform.clock.now())
    call.platform.state.drafts.put(draft.media_id, draft)
    return OK


async def count(call: Call) -> Answer:
    """GET /cgi-bin/draft/count."""
    return {"total_count": len(_box(call.platform))}


async def listed(call: Call) -> Answer:
    """POST /cgi-bin/draft/batchget: newest first."""
    fields = call.fields()
    offset, wanted = fields.integer("offset"), fields.integer("count")
    no_content = fields.integer("no_content", default=0)
    fields.done()
    require(offset >= 0 and 1 <= wanted <= MOST_LISTED and no_content in (0, 1), 40035, "invalid parameter")
    box = _box(call.platform)
    page = box[::-1][offset : offset + wanted]
    items = [
        {
            "media_id": draft.media_id,
            "content": {"news_item": _items(call.platform, draft, no_content=no_content == 1)},
            "update_time": draft.updated_at,
        }
        for draft in page
    ]
    return {"total_count": len(box), "item_count": len(items), "item": items}


def _article(call: Call, given: Fields, *, is_alone: bool) -> JsonObject:
    kind = given.text("article_type", default="news")
    require(kind == "news", 40035, "invalid parameter: article_type")
    title = given.text("title", missing=(45003, "title size out of limit"))
    require(1 <= len(title) <= TITLE_CHARACTERS, 45003, "title size out of limit")
    author, digest = given.text("author", default=""), given.text("digest", default="")
    require(len(author) <= AUTHOR_CHARACTERS, 45110, "author size out of limit")
    require(len(digest) <= DIGEST_CHARACTERS, 45004, "description size out of limit")
    content = given.text("content", missing=(44004, "empty content"))
    require(bool(content), 44004, "empty content")
    fits = len(content) < CONTENT_CHARACTERS and len(content.encode()) < CONTENT_BYTES
    require(fits, 45002, "content size out of limit")
    require(articles.is_allowed(call.platform, content), 45166, "invalid content")
    thumb_media_id = given.text("thumb_media_id", missing=(40007, "invalid media_id"))
    thumb = call.platform.media(thumb_media_id)
    require(thumb is not None and thumb.permanent and thumb.kind in ("image", "thumb"), 40007, "invalid media_id")
    article: JsonObject = {
        "article_type": kind,
        "title": title,
        "author": author,
        "digest": digest or (articles.beginning(content, DIGEST_BY_ITSELF) if is_alone else ""),
        "content": content,
        "content_source_url": given.text("content_source_url", default=""),
        "thumb_media_id": thumb_media_id,
        "need_open_comment": given.integer("need_open_comment", default=0),
        "only_fans_can_comment": given.integer("only_fans_can_comment", default=0),
        "pic_crop_235_1": given.text("pic_crop_235_1", default=""),
        "pic_crop_1_1": given.text("pic_crop_1_1", default=""),
    }
    given.done()
    return article


def _items(platform: Platform, draft: Draft, *, no_content: bool = False) -> list[JsonObject]:
    return [
        {
            **{name: value for name, value in article.items() if name != "content" or not no_content},
            "thumb_url": cover(platform, article),
            "url": page_url(platform, key),
        }
        for article, key in zip(draft.articles, platform.state.pages_of(draft.media_id), strict=True)
    ]


def cover(platform: Platform, article: JsonObject) -> str:
    """The address of an article's cover, empty once its material was deleted."""
    media = platform.media(article["thumb_media_id"])
    return picture_url(platform, media) if media else ""


def _box(platform: Platform) -> list[Draft]:
    return [draft for draft in platform.state.drafts.rows.values() if draft.in_box]


def _in_box(call: Call, fields: Fields) -> Draft:
    media_id = fields.text("media_id", missing=(40007, "invalid media_id"))
    fields.done()
    draft = call.platform.state.drafts.get(media_id)
    if draft is None or not draft.in_box:
        raise Refused(40007, "invalid media_id")
    return draft


endpoints = [
    Endpoint("POST", "/cgi-bin/draft/add", add, per_day=1000),
    Endpoint("POST", "/cgi-bin/draft/get", get, per_day=500),
    Endpoint("POST", "/cgi-bin/draft/delete", delete, per_day=1000),
    Endpoint("POST", "/cgi-bin/draft/update", update, per_day=1000),
    Endpoint("GET", "/cgi-bin/draft/count", count, per_day=1000),
    Endpoint("POST", "/cgi-bin/draft/batchget", listed, per_day=1000),
]
