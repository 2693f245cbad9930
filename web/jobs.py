"""Long jobs in front of whoever asked for them: a bar that survives a reload, a list, and the file at the end.

Operators and merchants have the same pages in layouts of their own; `web/operator/jobs.py` and `web/merchant/jobs.py`
are their doors. A page that starts a job sends people on to `/operator/jobs/<id>` or `/merchant/jobs/<id>`.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Final
from urllib.parse import quote

from flask import Flask, Response, g, redirect, render_template, stream_with_context
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from core import long_jobs
from core.database import Role
from core.errors import BusinessError, NotFound
from core.models import JobState, LongJob
from web.acts import record
from web.context import current_runtime, now
from web.language import refusal_text
from web.live import live_page
from web.words import JOB_KINDS

EVERY: Final = timedelta(seconds=1)


def register(app: Flask) -> None:
    """Make the words about jobs known to templates."""
    app.add_template_filter(job_kind)
    app.add_template_filter(job_error)
    app.add_template_filter(file_size)


def job_kind(kind: str) -> str:
    """What a kind of job is called."""
    return str(JOB_KINDS.get(kind, kind))


def job_error(job: LongJob) -> str:
    """Why a job failed, in the reader's language."""
    return refusal_text(BusinessError(job.error, **job.error_detail))


def file_size(size: int) -> str:
    """734 KB, 12.4 MB."""
    return f"{size / 1024**2:.1f} MB" if size >= 1024**2 else f"{max(1, round(size / 1024))} KB"


def list_page(template: str) -> str:
    """What this person asked for lately."""
    rows = long_jobs.recent(g.session, merchant_id=g.staff.merchant_id, requested_by=g.staff.id, now=now())
    return render_template(template, rows=rows)


def job_page(template: str, job_id: int) -> Response:
    """How far one job is; asks again while it is under way."""
    job = _own(job_id)
    return live_page(template, "parts/job.html", is_polling=job.state in long_jobs.OPEN, every=EVERY, job=job)


def cancel(path: str, job_id: int) -> ResponseReturnValue:
    """Stop one; `path` is where its page is."""
    job = _own(job_id)
    if long_jobs.cancel(g.session, job_id=job.id, now=now()):
        record("job.cancel", f"job:{job.id}")
    return redirect(path, 303)


def download(job_id: int) -> Response:
    """The file, read from the database as it is sent."""
    job = _own(job_id)
    if job.state != JobState.DONE or not job.file_name:
        raise NotFound(_("这个任务没有文件可以下载。"))
    content = _content(job.id, job.attempt, merchant_id=job.merchant_id)
    response = Response(stream_with_context(content), mimetype=job.file_mime)
    response.headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(job.file_name, safe='')}"
    response.content_length = job.file_size
    return response


def _content(job_id: int, attempt: int, *, merchant_id: int | None) -> Iterator[bytes]:
    """In a transaction of its own, since the request's has ended when the last part leaves."""
    role = Role.PLATFORM if merchant_id is None else Role.MERCHANT
    with current_runtime().transaction(role, merchant_id=merchant_id) as session:
        yield from long_jobs.parts(session, job_id=job_id, attempt=attempt)


def _own(job_id: int) -> LongJob:
    asked_by = {"merchant_id": g.staff.merchant_id, "requested_by": g.staff.id}
    return long_jobs.find(g.session, job_id=job_id, now=now(), **asked_by)
