"""Uploaded files: temporary ones for three days, permanent material, pictures for articles."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from aiohttp import web

from sandbox.api.call import OK, Answer, Call, Endpoint, Fields, Refused, Upload, one_of, parse_body, require
from sandbox.files import image_type
from sandbox.jsontext import JsonObject
from sandbox.platform import Platform
from sandbox.state import Media

MB = 1 << 20
PERMANENT_LIMITS = {"image": 100_000, "voice": 1000, "video": 1000, "thumb": 1000}
MOST_LISTED = 20


@dataclass(frozen=True)
class _Kind:
    limit: int
    endings: dict[str, str]  # file name ending: content type


_IMAGES = {"png": "image/png", "jpeg": "image/jpeg", "jpg": "image/jpeg", "gif": "image/gif"}
_TEMPORARY = {
    "image": _Kind(10 * MB, _IMAGES),
    "voice": _Kind(2 * MB, {"amr": "audio/amr", "mp3": "audio/mpeg"}),
    "video": _Kind(10 * MB, {"mp4": "video/mp4"}),
    "thumb": _Kind(64 * 1024, {"jpg": "image/jpeg", "jpeg": "image/jpeg"}),
}
_PERMANENT = _TEMPORARY | {
    "image": _Kind(10 * MB, _IMAGES | {"bmp": "image/bmp"}),
    "voice": _Kind(2 * MB, {"mp3": "audio/mpeg", "wma": "audio/x-ms-wma", "wav": "audio/wav", "amr": "audio/amr"}),
}
_ARTICLE_PICTURE = _Kind(1 * MB, {"jpg": "image/jpeg", "jpeg": "image/jpeg", "png": "image/png"})


async def upload(call: Call) -> Answer:
    """POST /cgi-bin/media/upload: kept for three days."""
    kind = one_of(call.query.get("type", ""), _TEMPORARY, 40004, "invalid media type")
    media = _keep(call, call.upload(), kind, _TEMPORARY[kind], permanent=False)
    name = "thumb_media_id" if kind == "thumb" else "media_id"
    return {"type": kind, name: media.media_id, "created_at": media.created_at}


async def download(call: Call) -> Answer:
    """GET /cgi-bin/media/get: the bytes, or an address for a video."""
    media = _known(call, call.query.get("media_id", ""))
    require(not media.permanent, 40007, "invalid media_id")
    if media.kind == "video":
        return {"video_url": media_url(call.platform, media.media_id)}
    return _file(call, media)


async def add_material(call: Call) -> Answer:
    """POST /cgi-bin/material/add_material: kept until deleted."""
    kind = one_of(call.query.get("type", ""), _PERMANENT, 40004, "invalid media type")
    file = call.upload()
    title = introduction = ""
    if kind == "video":
        description = Fields(parse_body(file.fields.get("description", "").encode()))
        title, introduction = description.text("title"), description.text("introduction", default="")
        description.done()
    used = sum(media.permanent and media.kind == kind for media in call.platform.state.media.rows.values())
    require(
        used < PERMANENT_LIMITS[kind], 45007, "playtime out of limit" if kind == "voice" else "media count out of limit"
    )
    media = _keep(call, file, kind, _PERMANENT[kind], permanent=True, title=title, introduction=introduction)
    if kind in ("image", "thumb"):
        return {"media_id": media.media_id, "url": picture_url(call.platform, media)}
    return {"media_id": media.media_id}


async def get_material(call: Call) -> Answer:
    """POST /cgi-bin/material/get_material."""
    media = _material(call)
    if media.kind == "video":
        return {
            "title": media.title,
            "description": media.introduction,
            "down_url": media_url(call.platform, media.media_id),
        }
    return _file(call, media)


async def delete_material(call: Call) -> Answer:
    """POST /cgi-bin/material/del_material."""
    media = _material(call)
    call.platform.state.media.remove(media.media_id)
    call.platform.files.remove(media.media_id)
    return OK


async def count_material(call: Call) -> Answer:
    """GET /cgi-bin/material/get_materialcount."""
    kinds = [media.kind for media in call.platform.state.media.rows.values() if media.permanent]
    return {f"{kind}_count": kinds.count(kind) for kind in ("voice", "video", "image", "news")}


async def list_material(call: Call) -> Answer:
    """POST /cgi-bin/material/batchget_material: newest first."""
    fields = call.fields()
    kind = one_of(fields.text("type"), ("image", "voice", "video", "news"), 40004, "invalid media type")
    offset, count = fields.integer("offset"), fields.integer("count")
    fields.done()
    require(offset >= 0 and 1 <= count <= MOST_LISTED, 40035, "invalid parameter")
    all_of_kind = [media for media in call.platform.state.media.rows.values() if media.permanent and media.kind == kind]
    page = all_of_kind[::-1][offset : offset + count]
    items: list[JsonObject] = []
    for media in page:
        item: JsonObject = {"media_id": media.media_id, "name": media.filename, "update_time": media.created_at}
        items.append({**item, "url": picture_url(call.platform, media)} if kind == "image" else item)
    return {"item": items, "total_count": len(all_of_kind), "item_count": len(items)}


async def upload_article_picture(call: Call) -> Answer:
    """POST /cgi-bin/media/uploadimg: a picture for the inside of articles; not counted as material."""
    media = _keep(call, call.upload(), "article picture", _ARTICLE_PICTURE, permanent=True)
    return {"url": picture_url(call.platform, media)}


def media_url(platform: Platform, media_id: str) -> str:
    """Where a phone can play or show a file."""
    return f"{platform.account.public_url}/sandbox/media/{media_id}"


def picture_url(platform: Platform, media: Media) -> str:
    """Where a permanent picture lies; the real address is on a picture host of the platform."""
    ending = media.content_type.removeprefix("image/")
    return f"{platform.account.public_url}/mmbiz_{ending}/{media.media_id}/0?wx_fmt={ending}"


def _keep(
    call: Call,
    file: Upload,
    kind: str,
    rules: _Kind,
    *,
    permanent: bool,
    title: str = "",
    introduction: str = "",
) -> Media:
    ending = file.filename.rpartition(".")[2].lower()
    content_type = rules.endings.get(ending)
    if content_type is None:
        raise Refused(40005, "invalid file type")
    if content_type.startswith("image/"):
        # The name's ending is not believed: the platform looks into the file.
        actual = image_type(file.content)
        if actual not in rules.endings.values():
            raise Refused(40005, "invalid file type")
        content_type = str(actual)
        require(len(file.content) <= rules.limit, 40009, "invalid image size")
    require(len(file.content) <= rules.limit, 45001, "media size out of limit")
    media = Media(
        media_id=secrets.token_urlsafe(48),
        kind=kind,
        permanent=permanent,
        filename=file.filename,
        content_type=content_type,
        size=len(file.content),
        created_at=int(call.platform.clock.now()),
        title=title,
        introduction=introduction,
    )
    call.platform.files.write(media.media_id, file.content)
    return call.platform.state.media.put(media.media_id, media)


def _known(call: Call, media_id: str) -> Media:
    media = call.platform.media(media_id)
    if media is None:
        raise Refused(40007, "invalid media_id")
    return media


def _material(call: Call) -> Media:
    fields = call.fields()
    media = _known(call, fields.text("media_id", missing=(40007, "invalid media_id")))
    fields.done()
    require(media.permanent, 40007, "invalid media_id")
    return media


def _file(call: Call, media: Media) -> web.Response:
    return web.Response(
        body=call.platform.files.read(media.media_id),
        content_type=media.content_type,
        headers={"Content-Disposition": f'attachment; filename="{media.media_id[:16]}"'},
    )


endpoints = [
    Endpoint("POST", "/cgi-bin/media/upload", upload, per_day=100_000, is_upload=True),
    Endpoint("GET", "/cgi-bin/media/get", download, per_day=200_000),
    Endpoint("POST", "/cgi-bin/media/uploadimg", upload_article_picture, per_day=100_000, is_upload=True),
    Endpoint("POST", "/cgi-bin/material/add_material", add_material, per_day=100_000, is_upload=True),
    Endpoint("POST", "/cgi-bin/material/get_material", get_material, per_day=200_000),
    Endpoint("POST", "/cgi-bin/material/del_material", delete_material, per_day=100_000),
    Endpoint("GET", "/cgi-bin/material/get_materialcount", count_material, per_day=100_000),
    Endpoint("POST", "/cgi-bin/material/batchget_material", list_material, per_day=100_000),
]
