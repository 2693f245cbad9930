"""任务: what this member of staff has asked to be done in the background."""

from __future__ import annotations

from flask import Blueprint, Response
from flask.typing import ResponseReturnValue

from web import jobs
from web.auth.access import merchant_required

blueprint = Blueprint("merchant_jobs", __name__, url_prefix="/merchant/jobs")


@blueprint.get("")
@merchant_required()
def index() -> str:
    """The latest, and their files."""
    return jobs.list_page("merchant/jobs.html")


@blueprint.get("/<int:job_id>")
@merchant_required()
def show(job_id: int) -> Response:
    """How far it is."""
    return jobs.job_page("merchant/job.html", job_id)


@blueprint.post("/<int:job_id>/cancel")
@merchant_required()
def cancel(job_id: int) -> ResponseReturnValue:
    """Stop it."""
    return jobs.cancel(f"/merchant/jobs/{job_id}", job_id)


@blueprint.get("/<int:job_id>/file")
@merchant_required()
def download(job_id: int) -> Response:
    """What came of it."""
    return jobs.download(job_id)
