"""Merchants' pictures, under addresses that nobody guesses and that never change what they show."""

from __future__ import annotations

from flask import Blueprint, Response, request
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from core.database import Role
from core.errors import NotFound
from web.auth.access import public
from web.context import current_runtime
from web.site import queries

blueprint = Blueprint("site_pictures", __name__, url_prefix="/p")


@blueprint.get("/<public_id>.jpg")
@public
def show(public_id: str) -> ResponseReturnValue:
    """The picture, to be kept for good."""
    with current_runtime().transaction(Role.FAN) as session:
        photo = queries.photo(session, public_id=public_id)
    if photo is None:
        raise NotFound(_("没有这张图片。"))
    response = Response(photo.content, mimetype=photo.mime)
    response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
    response.set_etag(photo.sha256.hex())
    return response.make_conditional(request)
