"""Pictures a merchant uploads, for its card and its welcomes."""

from __future__ import annotations

from typing import Annotated

from flask import Blueprint, g, jsonify, request
from flask.typing import ResponseReturnValue
from pydantic import StringConstraints

from core.errors import Invalid
from merchants import pictures
from merchants.models import Picture, StaffRole
from qrcodes.codes import new_public_id
from web.acts import record
from web.auth.access import merchant_required
from web.query import id_of
from web.security import limiter, upload_cap

blueprint = Blueprint("merchant_pictures", __name__, url_prefix="/merchant/pictures")

PictureId = Annotated[str, StringConstraints(pattern=r"^([1-9][0-9]{0,17})?$")]
"""The picture a form names; empty for none."""


@blueprint.post("")
@merchant_required(StaffRole.OWNER)
@upload_cap(pictures.MAX_UPLOAD_BYTES)
@limiter.limit("20 per minute")
def upload() -> ResponseReturnValue:
    """Keep a picture, drawn anew; what the file was called is of no interest (#92)."""
    file = request.files.get("picture")
    if file is None or len(request.files) > 1:
        raise Invalid("请选择一张图片。", field="picture")
    prepared = pictures.prepare(file.stream.read())
    picture_id = pictures.save(g.session, merchant_id=g.staff.merchant_id, picture=prepared, public_id=new_public_id())
    record("picture.add", f"picture:{picture_id}")
    picture = g.session.get_one(Picture, picture_id)
    return jsonify(id=str(picture_id), url=picture_url(picture)), 201


def own_picture_url(picture_id: object) -> str | None:
    """The address of one of the shop's own pictures; what is no such picture has none."""
    number = id_of(str(picture_id or ""))
    picture = None if number is None else g.session.get(Picture, number)
    return None if picture is None else picture_url(picture)


def picture_url(picture: Picture) -> str:
    """Where anybody sees it."""
    return f"/p/{picture.public_id}.jpg"
