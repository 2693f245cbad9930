"""Passive replies: what an answer to a push must look like to reach the person."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from xml.parsers.expat import ExpatError

import xmltodict

from sandbox.crypto import DecryptionFailed, MessageCipher, is_same, signature
from sandbox.jsontext import JsonObject

TEXT_BYTES = 2048
MOST_ARTICLES = 8


class Malformed(Exception):
    """The answer is neither empty, nor `success`, nor a reply the platform understands."""


def parse(
    body: bytes, *, openid: str, original_id: str, token: str, cipher: MessageCipher, must_be_encrypted: bool
) -> JsonObject | None:
    """The reply as chat content ({"type": "text", "text": …}), None when there is none; raises Malformed."""
    if body in (b"", b"success"):
        return None
    fields = _xml(body)
    if "Encrypt" in fields:
        fields = _xml(_opened(fields, token=token, cipher=cipher).encode())
    elif must_be_encrypted:
        raise Malformed("the reply is not encrypted")
    if fields.get("ToUserName") != openid or fields.get("FromUserName") != original_id:
        raise Malformed("the reply is addressed to somebody else")
    if not str(fields.get("CreateTime") or "").isdigit():
        raise Malformed("CreateTime is missing")
    return _content(fields)


def _xml(body: bytes) -> JsonObject:
    try:
        tree = xmltodict.parse(body)
    except (ExpatError, ValueError) as error:
        raise Malformed(f"not XML: {error}") from error
    fields = tree.get("xml")
    if not isinstance(fields, dict):
        raise Malformed("there is no <xml> element")
    return fields


def _opened(fields: JsonObject, *, token: str, cipher: MessageCipher) -> str:
    parts = [fields.get(name) for name in ("Encrypt", "TimeStamp", "Nonce", "MsgSignature")]
    if not all(isinstance(part, str) for part in parts):
        raise Malformed("an encrypted reply has Encrypt, MsgSignature, TimeStamp and Nonce")
    encrypted, timestamp, nonce, given = map(str, parts)
    if not is_same(signature(token, timestamp, nonce, encrypted), given):
        raise Malformed("MsgSignature is wrong")
    try:
        return cipher.decrypt(encrypted)
    except DecryptionFailed as error:
        raise Malformed(f"cannot be decrypted: {error}") from error


def _content(fields: JsonObject) -> JsonObject:
    kind = fields.get("MsgType")
    reader = _READERS.get(str(kind))
    if reader is None:
        raise Malformed(f"MsgType {kind!r} is unknown")
    return {"type": kind, **reader(fields)}


def _words(fields: JsonObject) -> JsonObject:
    text = _text(fields, "Content")
    if len(text.encode()) > TEXT_BYTES:
        raise Malformed(f"Content is over {TEXT_BYTES} bytes")
    return {"text": text}


def _image(fields: JsonObject) -> JsonObject:
    return {"media_id": _text(_part(fields, "Image"), "MediaId")}


def _voice(fields: JsonObject) -> JsonObject:
    return {"media_id": _text(_part(fields, "Voice"), "MediaId")}


def _video(fields: JsonObject) -> JsonObject:
    video = _part(fields, "Video")
    return {
        "media_id": _text(video, "MediaId"),
        "title": video.get("Title") or "",
        "description": video.get("Description") or "",
    }


def _music(fields: JsonObject) -> JsonObject:
    music = _part(fields, "Music")
    return {
        "title": music.get("Title") or "",
        "description": music.get("Description") or "",
        "url": music.get("MusicUrl") or "",
        "media_id": _text(music, "ThumbMediaId"),
    }


def _news(fields: JsonObject) -> JsonObject:
    return {"articles": _articles(fields)}


def _transfer(fields: JsonObject) -> JsonObject:
    """Hand the person over to the platform's human service, to a certain clerk where one is named."""
    if "TransInfo" not in fields:
        return {}
    account = _text(_part(fields, "TransInfo"), "KfAccount")
    name, _, of = account.partition("@")
    if not name or not of:
        raise Malformed("KfAccount looks like clerk@account")
    return {"kf_account": account}


_READERS: dict[str, Callable[[JsonObject], JsonObject]] = {
    "text": _words,
    "image": _image,
    "voice": _voice,
    "video": _video,
    "music": _music,
    "news": _news,
    "transfer_customer_service": _transfer,
}


def _articles(fields: JsonObject) -> list[JsonObject]:
    items: Any = _part(fields, "Articles").get("item")
    items = items if isinstance(items, list) else [items]
    if not all(isinstance(item, dict) for item in items) or not str(fields.get("ArticleCount") or "").isdigit():
        raise Malformed("a news reply has ArticleCount and Articles/item")
    if int(fields["ArticleCount"]) != len(items):
        raise Malformed("ArticleCount is not the number of items")
    return [
        {
            "title": _text(item, "Title"),
            "description": item.get("Description") or "",
            "url": item.get("Url") or "",
            "picurl": item.get("PicUrl") or "",
        }
        for item in items[:MOST_ARTICLES]
    ]


def _part(fields: JsonObject, name: str) -> JsonObject:
    part = fields.get(name)
    if not isinstance(part, dict):
        raise Malformed(f"{name} is missing")
    return part


def _text(fields: JsonObject, name: str) -> str:
    text = fields.get(name)
    if not isinstance(text, str) or not text:
        raise Malformed(f"{name} is missing")
    return text
