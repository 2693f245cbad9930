"""Parametric QR codes."""

from __future__ import annotations

import base64
import secrets
import struct

from sandbox.api.call import Answer, Call, Endpoint, Fields, Refused, require
from sandbox.platform import Platform
from sandbox.state import Code

KINDS = {  # action_name: (permanent, scene is a number)
    "QR_SCENE": (False, True),
    "QR_STR_SCENE": (False, False),
    "QR_LIMIT_SCENE": (True, True),
    "QR_LIMIT_STR_SCENE": (True, False),
}
LONGEST_LIFE = 2_592_000
DEFAULT_LIFE = 60
HIGHEST_PERMANENT_ID = 100_000
HIGHEST_TEMPORARY_ID = 2**32 - 1
LONGEST_SCENE = 64


async def create(call: Call) -> Answer:
    """POST /cgi-bin/qrcode/create. The same permanent scene again: a new ticket, no further slot."""
    fields = call.fields()
    kind = fields.text("action_name", missing=(40052, "invalid action name"))
    require(kind in KINDS, 40052, "invalid action name")
    permanent, is_number = KINDS[kind]
    lifetime = fields.integer("expire_seconds", default=DEFAULT_LIFE)
    scene = _scene(fields.part("action_info", missing=(40053, "invalid action info")), permanent, is_number)
    fields.done()
    if permanent:
        lifetime = 0
    else:
        require(1 <= lifetime <= LONGEST_LIFE, 40035, "invalid parameter: expire_seconds")
    code = _make(call.platform, scene=scene, is_number=is_number, permanent=permanent, lifetime=lifetime)
    if permanent:
        return {"ticket": code.ticket, "url": code.url}
    return {"ticket": code.ticket, "expire_seconds": lifetime, "url": code.url}


def _scene(info: Fields, permanent: bool, is_number: bool) -> str:
    invalid = (40053, "invalid action info")
    scene = info.part("scene", missing=invalid)
    info.done()
    if is_number:
        number = scene.integer("scene_id", missing=invalid)
        highest = HIGHEST_PERMANENT_ID if permanent else HIGHEST_TEMPORARY_ID
        require(1 <= number <= highest, *invalid)
        text = str(number)
    else:
        text = scene.text("scene_str", missing=invalid)
        require(1 <= len(text) <= LONGEST_SCENE, *invalid)
    scene.done()
    return text


def _make(platform: Platform, *, scene: str, is_number: bool, permanent: bool, lifetime: int) -> Code:
    codes, now = platform.state.codes, int(platform.clock.now())
    known = codes.permanent(scene, is_number=is_number) if permanent else None
    if permanent and known is None and codes.permanent_count >= platform.account.limits.permanent_codes:
        raise Refused(45029, "qrcode count out of limit")
    url = known.url if known else _new_url(permanent)
    while (ticket := _new_ticket(url, now, lifetime)) in codes.rows:
        pass
    code = Code(
        ticket=ticket,
        scene=scene,
        is_number=is_number,
        permanent=permanent,
        url=url,
        created_at=now,
        expire_seconds=lifetime,
    )
    return codes.put(ticket, code)


def _new_url(permanent: bool) -> str:
    if permanent:
        slot = "02" + secrets.token_urlsafe(8)[:10] + "10000" + secrets.token_hex(3)[:5]
    else:
        slot = "02" + secrets.token_urlsafe(15)[:20]
    return "http://weixin.qq.com/q/" + slot


def _new_ticket(url: str, created_at: int, lifetime: int) -> str:
    """96 url-safe characters that carry the url, the moment and the lifetime, as real tickets do."""
    head = b"\x81\x01" + secrets.token_bytes(1) + b"\xf0\x3c" + secrets.token_bytes(2) + bytes(5) + b"\x01"
    tail = b"\x00\x02\x04" + struct.pack("<I", created_at) + b"\x03\x04" + struct.pack("<I", lifetime)
    return base64.urlsafe_b64encode(head + bytes([len(url) + 1]) + url.encode() + tail).decode()


endpoints = [Endpoint("POST", "/cgi-bin/qrcode/create", create, per_day=100_000)]
