"""What is stored about an owner: told, given as a file, and deleted when they say so."""

from __future__ import annotations

from typing import Any, Final

from flask import Blueprint, Response, g, make_response, render_template
from flask.typing import ResponseReturnValue

from bot import erasers, stored
from core.errors import Invalid
from web.auth.access import drop_request, owner_required
from web.auth.owner import drop_cookie
from web.context import current_runtime, now
from web.forms import Form, blank, read_form
from web.language import language_tag
from web.security import limiter

blueprint = Blueprint("owner_privacy", __name__, url_prefix="/m/privacy")

AGREED: Final = "删除"
"""What one types to be forgotten."""
AGREED_IN_ENGLISH: Final = "delete"
"""The same on pages that speak English."""


class ForgetForm(Form):
    agreed: str = ""


@blueprint.get("")
@owner_required
def show() -> str:
    """What is stored, in plain words, and the two buttons."""
    return _page(blank())


@blueprint.get("/export")
@owner_required
@limiter.limit("10 per hour")
def export() -> ResponseReturnValue:
    """All of it as JSON, written while it is read."""
    response = Response(stored.written(current_runtime(), g.owner.follower_id), mimetype="application/json")
    response.headers["Content-Disposition"] = f'attachment; filename="quanma-{now():%Y%m%d}.json"'
    return response


@blueprint.post("/delete")
@owner_required
def delete() -> ResponseReturnValue:
    """Forget everything about the person at once, as the chat's request does; this browser is a guest's from here."""
    form = read_form(ForgetForm)
    if form.data is None or not _is_agreed(form.data.agreed):
        form.refuse(Invalid("请在框里写“删除”两个字。", field="agreed"))
        return _page(form), 422
    follower_id = g.owner.follower_id
    drop_request()
    erasers.forget_now(current_runtime(), follower_id)
    response = make_response(render_template("owner/door.html", what="forgotten"))
    drop_cookie(response)
    return response


def _is_agreed(typed: str) -> bool:
    return typed.strip() == AGREED or (language_tag() == "en" and typed.strip().casefold() == AGREED_IN_ENGLISH)


def _page(form: Any) -> str:
    agreed = AGREED_IN_ENGLISH if language_tag() == "en" else AGREED
    return render_template("owner/privacy.html", form=form, agreed=agreed)
