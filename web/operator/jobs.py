"""任务: what this operator has asked to be done in the background."""

from __future__ import annotations

from flask import Blueprint, Response
from flask.typing import ResponseReturnValue

from web import jobs
from web.auth.access import operator_required

blueprint = Blueprint("jobs", __name__, url_prefix="/jobs")


@blueprint.get("")
@operator_required
def index() -> str:
    """The latest, and their files."""
    return jobs.list_page("operator/jobs.html")


@blueprint.get("/<int:job_id>")
@operator_required
def show(job_id: int) -> Response:
    """How far it is."""
    return jobs.job_page("operator/job.html", job_id)


@blueprint.post("/<int:job_id>/cancel")
@operator_required
def cancel(job_id: int) -> ResponseReturnValue:
    """Stop it."""
    return jobs.cancel(f"/operator/jobs/{job_id}", job_id)


@blueprint.get("/<int:job_id>/file")
@operator_required
def download(job_id: int) -> Response:
    """What came of it."""
    return jobs.download(job_id)
