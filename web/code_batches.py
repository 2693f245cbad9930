"""Codes by the hundred: a file comes in, every line is looked at, and one click makes them all.

Operators and merchants have the same pages in layouts of their own; `web/operator/batches.py` and
`web/merchant/batches.py` are their doors.
"""

from __future__ import annotations

from typing import Any, Final

from flask import Response, g, make_response, redirect, render_template
from flask.typing import ResponseReturnValue
from flask_babel import force_locale
from flask_babel import gettext as _

from core import long_jobs, sheets
from core.errors import Invalid
from core.models import LongJob
from merchants.merchants import names_of
from qrcodes import batches, queries
from qrcodes.models import BY_HAND, CodeKind
from web import posters
from web.acts import record
from web.context import now
from web.exports import csv_answer
from web.forms import Form, OptionalLine, Submission, blank, read_form, the_file
from web.language import LOCALES, refusal_text
from web.words import CODE_KINDS

SHOWN: Final = 100
"""Lines of a preview; of a list with faults, the faulty ones come first."""


class BatchForm(Form):
    """What a batch is called; the file comes beside it."""

    name: OptionalLine = ""


def new_page(template: str) -> str:
    """Where the file is chosen."""
    return _upload_page(template, blank())


def _upload_page(template: str, form: Submission[Any], checked: batches.Checked | None = None) -> str:
    lines = [] if checked is None else [*checked.faulty, *(line for line in checked.lines if not line.faults)]
    return render_template(
        template,
        form=form,
        checked=checked,
        lines=lines[:SHOWN],
        faults_of=_faults_of,
        most=batches.MOST_ROWS,
        kinds="、".join(_kinds()),
    )


def template_file() -> Response:
    """An example to fill in: a spreadsheet opens it."""
    with_merchant = g.staff.merchant_id is None
    heads = [*batches.COLUMNS, *([batches.MERCHANT] if with_merchant else [])]
    return csv_answer(_("批量建码模板"), heads, (_example(line, with_merchant) for line in batches.EXAMPLES))


def _example(line: tuple[str, ...], with_merchant: bool) -> tuple[str, ...]:
    return (*line, _("老王豆浆")) if with_merchant else line


def upload(template: str, path: str, account_id: int) -> ResponseReturnValue:
    """Look at a list; one without faults is kept for the one click, any other is shown with what is wrong."""
    form = read_form(BatchForm)
    checked = None
    if form.data is not None:
        try:
            checked = _checked(account_id)
            if not checked.faulty:
                return redirect(f"{path}/{_keep(checked, form.data.name, account_id)}", 303)
        except Invalid as refusal:
            form.refuse(refusal)
            form.errors.setdefault("file", form.errors.pop("", refusal_text(refusal)))
    return make_response(_upload_page(template, form, checked), 422)


def _checked(account_id: int) -> batches.Checked:
    sheet = sheets.read(the_file(), most_rows=batches.MOST_ROWS)
    checked = batches.check(
        g.session, sheet, kinds=_kinds(), merchant_id=g.staff.merchant_id, account_id=account_id, now=now()
    )
    permanent = sum(wanted.days is None for _whose, wanted in checked.wishes)
    left = queries.pool(g.session, account_id=account_id, now=now()).left
    if permanent > left:
        raise Invalid(
            "永久码只剩 %(left)s 个，不够这 %(permanent)s 个用。", field="file", left=left, permanent=permanent
        )
    return checked


def _keep(checked: batches.Checked, name: str, account_id: int) -> int:
    return batches.keep(
        g.session,
        checked,
        name=name,
        account_id=account_id,
        merchant_id=g.staff.merchant_id,
        created_by=g.staff.id,
        now=now(),
    )


def show(template: str, batch_id: int) -> str:
    """The kept list, what it will become, and how far that is."""
    batch = batches.find(g.session, batch_id=batch_id, merchant_id=g.staff.merchant_id, created_by=g.staff.id)
    wishes = batches.wishes(batch)
    merchant_ids = {whose for whose, _wanted in wishes}
    return render_template(
        template,
        batch=batch,
        wishes=wishes[:SHOWN],
        count=len(wishes),
        temporary=sum(wanted.days is not None for _whose, wanted in wishes),
        names=names_of(g.session, merchant_ids),
        job=_job_of(batch.job_id),
        **posters.pack_choices(),
    )


def pack_posters(batch_id: int, jobs_path: str) -> ResponseReturnValue:
    """Have posters made of the codes of a list."""
    batch = batches.find(g.session, batch_id=batch_id, merchant_id=g.staff.merchant_id, created_by=g.staff.id)
    return posters.pack_batch(batch, jobs_path=jobs_path)


def _job_of(job_id: int | None) -> LongJob | None:
    """The last job of a batch, while it is kept."""
    jobs = long_jobs.recent(g.session, merchant_id=g.staff.merchant_id, requested_by=g.staff.id, now=now())
    return next((job for job in jobs if job.id == job_id), None)


def start(path: str, batch_id: int) -> ResponseReturnValue:
    """Make them, or pack them once more."""
    batch = batches.find(
        g.session, batch_id=batch_id, merchant_id=g.staff.merchant_id, created_by=g.staff.id, is_locked=True
    )
    is_new = batch.job_id is None
    batches.start(g.session, batch, now=now())
    if is_new:
        record("code.add_batch", f"batch:{batch.id}", codes=len(batch.rows))
    return redirect(f"{path}/{batch.id}", 303)


def _kinds() -> dict[str, CodeKind]:
    """What people may call the kinds: in Chinese, and in the language they read."""
    with force_locale(LOCALES["zh"]):
        chinese: dict[str, CodeKind] = {str(CODE_KINDS[kind]): kind for kind in BY_HAND}
    return chinese | {str(CODE_KINDS[kind]): kind for kind in BY_HAND}


def _faults_of(line: batches.Line) -> list[str]:
    return [refusal_text(fault) for fault in line.faults]
