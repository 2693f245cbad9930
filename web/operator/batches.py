"""批量建码: codes by the hundred out of a file for any merchant."""

from __future__ import annotations

from flask import Blueprint, Response
from flask.typing import ResponseReturnValue

from core import sheets
from web import code_batches
from web.auth.access import operator_required
from web.operator.desk import account
from web.security import limiter, upload_cap

blueprint = Blueprint("batches", __name__, url_prefix="/codes/batches")
PATH = "/operator/codes/batches"


@blueprint.get("/new")
@operator_required
def new() -> str:
    """Choose the file."""
    return code_batches.new_page("operator/batch_new.html")


@blueprint.post("")
@operator_required
@upload_cap(sheets.MOST_BYTES)
@limiter.limit("20 per minute")
def upload() -> ResponseReturnValue:
    """Look at every line of it."""
    return code_batches.upload("operator/batch_new.html", PATH, account().id)


@blueprint.get("/template.csv")
@operator_required
def template() -> Response:
    """A file to fill in."""
    return code_batches.template_file()


@blueprint.get("/<int:batch_id>")
@operator_required
def show(batch_id: int) -> str:
    """What it will become, and how far that is."""
    return code_batches.show("operator/batch.html", batch_id)


@blueprint.post("/<int:batch_id>/start")
@operator_required
def start(batch_id: int) -> ResponseReturnValue:
    """Make them all."""
    return code_batches.start(PATH, batch_id)


@blueprint.post("/<int:batch_id>/posters")
@operator_required
def pack_posters(batch_id: int) -> ResponseReturnValue:
    """Posters of all its codes, as a ZIP."""
    return code_batches.pack_posters(batch_id, "/operator/jobs")
