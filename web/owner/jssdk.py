"""Signatures for pages that use WeChat's scanner; also the till's, which staff open inside WeChat."""

from __future__ import annotations

from urllib.parse import urlsplit

import structlog
from flask import Blueprint, abort, jsonify, request
from flask.typing import ResponseReturnValue

from web.auth.access import public
from web.context import current_runtime, now
from web.security import limiter
from wechat import jssdk
from wechat.errors import WeChatError

blueprint = Blueprint("owner_jssdk", __name__, url_prefix="/m")

LONGEST = 2_000
log = structlog.get_logger(__name__)


@blueprint.get("/jssdk")
@public
@limiter.limit("600 per minute")
def sign() -> ResponseReturnValue:
    """The signature of one of our own pages, none of anybody else's (#65)."""
    url = request.args.get("url", "")
    if not _is_ours(url):
        abort(403)
    try:
        signed = jssdk.sign(current_runtime(), url, now=now())
    except WeChatError as error:
        log.warning("no page ticket", kind=type(error).__name__, errcode=error.errcode)
        abort(503)
    return jsonify(appId=signed.app_id, timestamp=signed.timestamp, nonceStr=signed.nonce, signature=signed.signature)


def _is_ours(url: str) -> bool:
    if not url.isprintable() or "\\" in url or len(url) > LONGEST:
        return False
    own = urlsplit(current_runtime().settings.public_url)
    try:
        page = urlsplit(url)
    except ValueError:
        return False
    return (page.scheme, page.netloc) == (own.scheme, own.netloc) and page.path.startswith("/")
