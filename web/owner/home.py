"""The first page: the membership card."""

from __future__ import annotations

from flask import Blueprint, render_template

from web.auth.access import owner_required

blueprint = Blueprint("owner_home", __name__, url_prefix="/m")


@blueprint.get("/")
@owner_required
def show() -> str:
    """My card."""
    return render_template("owner/home.html")
