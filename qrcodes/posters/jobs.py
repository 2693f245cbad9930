"""Posters of many codes in one format as a long job: ordered on a page, packed by a worker."""

from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from itertools import groupby
from typing import IO, Any, Final, Literal, cast

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from core import long_jobs
from core.errors import NotFound
from core.long_jobs import Progress, RunningJob
from core.runtime import Runtime
from merchants.models import Merchant
from qrcodes.models import CodeBatch, CodeState, SubQrCode
from qrcodes.posters import looks
from qrcodes.posters.batch import Item, safe_name, write_zip
from qrcodes.posters.formats import SHEETS, Design, Format, boxes
from qrcodes.posters.press import Look, PosterCode

PACK: Final = "posters"
"""The kind of the long job."""
FileKind = Literal["pdf", "marks", "png"]
"""A PDF, a PDF with bleed and crop marks, or a picture."""


def order_for_merchant(
    session: Session,
    *,
    merchant_id: int,
    format_: Format,
    kind: FileKind,
    requested_by: int,
    is_operators: bool,
    now: datetime,
) -> int:
    """Owe the posters of all codes a merchant could hang up; returns the job's id."""
    whose = {"merchant_id": merchant_id}
    return long_jobs.start(
        session,
        kind=PACK,
        requested_by=requested_by,
        merchant_id=None if is_operators else merchant_id,
        payload={**whose, "format": format_.value, "kind": kind},
        subject=session.get_one(Merchant, merchant_id).name,
        total=len(_sheets(session, whose, format_)),
        now=now,
    )


def order_for_batch(session: Session, batch: CodeBatch, *, format_: Format, kind: FileKind, now: datetime) -> int:
    """The same for the codes that one list made, each in its merchant's look."""
    whose = {"batch_id": batch.id}
    return long_jobs.start(
        session,
        kind=PACK,
        requested_by=batch.created_by,
        merchant_id=batch.merchant_id,
        payload={**whose, "format": format_.value, "kind": kind},
        subject=batch.name,
        total=len(_sheets(session, whose, format_)),
        now=now,
    )


def pack(runtime: Runtime, job: RunningJob) -> Iterator[Progress]:
    """Print them all into a ZIP, in the looks that are saved when the work begins."""
    format_, kind = Format(job.payload["format"]), job.payload["kind"]
    with job.transaction() as session:
        items = _items(session, job.payload, format_)
    with job.file(f"{safe_name(job.subject)}.zip", "application/zip") as file:
        done = write_zip(
            cast(IO[bytes], file),
            items,
            at=runtime.now(),
            kind="png" if kind == "png" else "pdf",
            with_marks=kind == "marks",
        )
        with closing(done) as steps:
            for number in steps:
                yield Progress(number, len(items))


def offered() -> tuple[Format, ...]:
    """What is worth packing for many: all that is printed."""
    return tuple(format_ for format_, sheet in SHEETS.items() if sheet.is_printed)


def _sheets(session: Session, whose: dict[str, Any], format_: Format) -> list[tuple[int, tuple[PosterCode, ...]]]:
    """The codes as they share sheets, with their merchant: eight tables on one of stickers, else each by itself.

    Only codes that last and have a picture, in the order they were made.
    """
    room = len(boxes(format_, Design.VIVID, has_picture=False))
    sheets = []
    for merchant_id, codes in groupby(session.scalars(_codes(session, whose)), lambda code: code.merchant_id):
        printed = list(map(looks.on_poster, codes))
        sheets += [(merchant_id, tuple(printed[start : start + room])) for start in range(0, len(printed), room)]
    if not sheets:
        raise NotFound("没有能印的永久码。")
    return sheets


def _codes(session: Session, whose: dict[str, Any]) -> Select[SubQrCode]:
    lasting = select(SubQrCode).where(
        SubQrCode.state == CodeState.ACTIVE, SubQrCode.permanent, SubQrCode.url.is_not(None)
    )
    if "batch_id" in whose:
        batch = session.get(CodeBatch, int(whose["batch_id"]))
        lasting = lasting.where(SubQrCode.id.in_((batch.code_ids if batch else None) or []))
    else:
        lasting = lasting.where(SubQrCode.merchant_id == int(whose["merchant_id"]))
    return lasting.order_by(SubQrCode.merchant_id, SubQrCode.id)


def _items(session: Session, payload: dict[str, Any], format_: Format) -> list[Item]:
    sheets = _sheets(session, payload, format_)
    shops = {merchant_id: _look(session, merchant_id) for merchant_id, _sheet in sheets}
    items = []
    for merchant_id, sheet in sheets:
        first, last = sheet[0].label, sheet[-1].label
        name = first if len(sheet) == 1 else f"{first} - {last}"
        look = shops[merchant_id]
        items.append(Item(look, format_, sheet, name if len(shops) == 1 else f"{look.name} {name}"))
    return items


def _look(session: Session, merchant_id: int) -> Look:
    return looks.look(session, merchant_id=merchant_id, wanted=looks.wishes(session, merchant_id=merchant_id))
