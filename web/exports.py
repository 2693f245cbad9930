"""Downloads of tables, as CSV and as XLSX: opened without asking, and never run (#99).

Exports are audited, so they are asked for by POST. The rows are written out while they are read, in a transaction of
their own, since the request's has ended by then.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime
from urllib.parse import quote

from flask import Response, stream_with_context
from sqlalchemy.orm import Session

from core.database import Role
from core.sheets import Cell, Rows, cell_text, csv_text
from web.context import current_runtime

__all__ = ["Cell", "Rows", "cell_text", "csv_answer", "rows_from", "xlsx_answer"]

XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
SHEET = "圈码"
NOT_IN_XML = {number: None for number in range(32) if chr(number) not in "\t\n\r"}
EXPORT_SECONDS = 120


def csv_answer(name: str, heads: Sequence[str], rows: Rows) -> Response:
    """A download of `name`.csv, sent as the rows come."""
    response = Response(stream_with_context(csv_text(heads, rows)), mimetype="text/csv")
    response.headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(name)}.csv"
    return response


def xlsx_answer(name: str, heads: Sequence[str], rows: Rows) -> Response:
    """A download of `name`.xlsx: numbers and days stay what they are, and no text is a formula."""
    from openpyxl import Workbook
    from openpyxl.cell import WriteOnlyCell
    from openpyxl.styles import Font
    from openpyxl.utils import get_column_letter

    book = Workbook(write_only=True)
    sheet = book.create_sheet(title=SHEET)
    sheet.freeze_panes = "A2"
    for number in range(1, len(heads) + 1):
        sheet.column_dimensions[get_column_letter(number)].width = 16
    bold = [WriteOnlyCell(sheet, value=cell_text(head)) for head in heads]
    for cell in bold:
        cell.font = Font(bold=True)
    sheet.append(bold)
    for row in rows:
        sheet.append([cell if isinstance(cell, int | float | date) and not isinstance(cell, datetime) else
                      cell_text(cell).translate(NOT_IN_XML) for cell in row])  # fmt: skip
    content = io.BytesIO()
    book.save(content)
    response = Response(content.getvalue(), mimetype=XLSX)
    response.headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(name)}.xlsx"
    return response


def rows_from(
    read: Callable[[Session], Rows], *, role: Role, merchant_id: int | None = None
) -> Iterator[Sequence[Cell]]:
    """What `read` yields, inside a transaction that lasts as long as the download."""
    with current_runtime().transaction(role, merchant_id=merchant_id, statement_timeout_s=EXPORT_SECONDS) as session:
        yield from read(session)
