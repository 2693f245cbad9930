"""批量建码: codes by the hundred out of a file."""

from __future__ import annotations

from flask import Blueprint, Response, g
from flask.typing import ResponseReturnValue
from sqlalchemy import select

from core import sheets
from merchants.models import Merchant, StaffRole
from web import code_batches
from web.auth.access import merchant_required
from web.security import limiter, upload_cap

blueprint = Blueprint("merchant_batches", __name__, url_prefix="/merchant/codes/batches")
PATH = "/merchant/codes/batches"


@blueprint.get("/new")
@merchant_required(StaffRole.OWNER)
def new() -> str:
    """Choose the file."""
    return code_batches.new_page("merchant/batch_new.html")


@blueprint.post("")
@merchant_required(StaffRole.OWNER)
@upload_cap(sheets.MOST_BYTES)
@limiter.limit("20 per minute")
def upload() -> ResponseReturnValue:
    """Look at every line of it."""
    return code_batches.upload("merchant/batch_new.html", PATH, _account_id())


@blueprint.get("/template.csv")
@merchant_required(StaffRole.OWNER)
def template() -> Response:
    """A file to fill in."""
    return code_batches.template_file()


@blueprint.get("/<int:batch_id>")
@merchant_required(StaffRole.OWNER)
def show(batch_id: int) -> str:
    """What it will become, and how far that is."""
    return code_batches.show("merchant/batch.html", batch_id)


@blueprint.post("/<int:batch_id>/start")
@merchant_required(StaffRole.OWNER)
def start(batch_id: int) -> ResponseReturnValue:
    """Make them all."""
    return code_batches.start(PATH, batch_id)


@blueprint.post("/<int:batch_id>/posters")
@merchant_required(StaffRole.OWNER)
def pack_posters(batch_id: int) -> ResponseReturnValue:
    """Posters of all its codes, as a ZIP."""
    return code_batches.pack_posters(batch_id, "/merchant/jobs")


def _account_id() -> int:
    account_id: int = g.session.execute(
        select(Merchant.account_id).where(Merchant.id == g.staff.merchant_id)
    ).scalar_one()
    return account_id
