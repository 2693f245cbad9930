"""One code's page: whose it is, and the code to scan in WeChat."""

from __future__ import annotations

from urllib.parse import quote

from flask import Blueprint, Response, render_template
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from core.database import Role
from core.errors import NotFound
from qrcodes import images
from web.auth.access import public
from web.context import current_runtime, now
from web.security import limiter
from web.site import queries
from web.site.queries import Sign

blueprint = Blueprint("shopfront", __name__, url_prefix="/q")

PICTURE_SIZE = 720
PICTURE_LASTS_S = 300
"""Not for long: the code may be retired, and then this picture is nobody's."""


def missed(response: Response) -> bool:
    """Guessing is what is limited; neighbours behind one address may all look at real pages."""
    return response.status_code == 404


guesses = limiter.shared_limit("30 per minute", scope="public codes", deduct_when=missed)


@blueprint.get("/<public_id>")
@public
@guesses
def show(public_id: str) -> ResponseReturnValue:
    """The merchant and its code; what does not work any more is the same as what never was."""
    settings = current_runtime().settings
    sign = _sign(public_id)
    return render_template(
        "site/shopfront.html",
        sign=sign,
        sandbox_url=f"{settings.wechat_open_url}/?scan={quote(sign.url, safe='')}"
        if settings.is_sandbox and sign.url
        else None,
    )


@blueprint.get("/<public_id>.png")
@public
@guesses
def png(public_id: str) -> ResponseReturnValue:
    """The code as a picture, to be held down or scanned."""
    sign = _sign(public_id)
    if sign.url is None:
        raise NotFound(_("这个二维码已经不用了，请到店里看看新的。"))
    response = Response(images.png(sign.url, size=PICTURE_SIZE), mimetype="image/png")
    response.headers["Cache-Control"] = f"public, max-age={PICTURE_LASTS_S}"
    return response


def _sign(public_id: str) -> Sign:
    with current_runtime().transaction(Role.FAN) as session:
        sign = queries.sign(session, public_id=public_id, now=now())
    if sign is None:
        raise NotFound(_("这个二维码已经不用了，请到店里看看新的。"))
    return sign
