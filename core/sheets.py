"""Tables as files: what people bring as CSV or XLSX, and the one CSV writer.

What is brought is read as plain text, with a limit to everything (#95, #96, #98). What is written opens in a
spreadsheet without asking, and is never run there (#99).

A workbook is taken apart in a process of its own that may use little memory and time: what somebody packed to exhaust
a server exhausts only that. Nothing in a cell is ever computed: a formula is the text it was typed as.
"""

from __future__ import annotations

import csv
import io
import json
import resource
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final
from zipfile import BadZipFile, ZipFile

from core.clock import SHANGHAI
from core.errors import Invalid

Cell = str | int | float | date | datetime | None
Rows = Iterable[Sequence[Cell]]

BOM: Final = "\ufeff"
"""Without it spreadsheets take UTF-8 for another encoding and show Chinese as nonsense."""
STARTS_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")  # fmt: skip
ROWS_AT_ONCE: Final = 500

MOST_BYTES: Final = 5 * 1024 * 1024
MOST_COLUMNS: Final = 50
LONGEST_CELL: Final = 500
UNPACKED_BYTES: Final = 60 * 1024 * 1024
MOST_PARTS: Final = 200
READ_S: Final = 20
MEMORY_BYTES: Final = 768 * 1024 * 1024
_NOT_TABLES: Final = ("vbaproject", "externallink", "activex", "embeddings")
_ZIP: Final = b"PK\x03\x04"
_OLD_EXCEL: Final = b"\xd0\xcf\x11\xe0"

UNREADABLE: Final = "这个文件打不开，请另存为 xlsx 或 CSV 再试。"


def csv_text(heads: Sequence[str], rows: Rows) -> Iterator[str]:
    """RFC 4180: commas, CRLF, quotes where needed; some hundred rows at a time."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow(heads)
    waiting = BOM + _taken(buffer)
    for count, row in enumerate(rows, start=1):
        writer.writerow([cell_text(cell) for cell in row])
        if count % ROWS_AT_ONCE == 0:
            yield waiting + _taken(buffer)
            waiting = ""
    yield waiting + _taken(buffer)


def cell_text(cell: Cell) -> str:
    """A cell as text; what a spreadsheet would take for a formula starts with an apostrophe."""
    if cell is None:
        return ""
    if isinstance(cell, datetime):
        return f"{cell.astimezone(SHANGHAI):%Y-%m-%d %H:%M:%S}"
    if isinstance(cell, str) and cell.startswith(STARTS_FORMULA):
        return f"'{cell}"
    return str(cell)


def _taken(buffer: io.StringIO) -> str:
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text


@dataclass(frozen=True)
class Sheet:
    """A table as text: its heads, and each filled line with the number it has in front of people."""

    heads: list[str]
    rows: list[tuple[int, list[str]]]


def read(content: bytes, *, most_rows: int) -> Sheet:
    """The first table of a CSV or XLSX file; raises `Invalid` with what to do about it."""
    if len(content) > MOST_BYTES:
        raise Invalid("文件太大了，最多 %(most)s MB。", field="file", most=MOST_BYTES // 1024**2)
    if content.startswith(_OLD_EXCEL):
        raise Invalid("这是旧版 Excel 的文件，请另存为 xlsx 或 CSV 再上传。", field="file")
    lines = _workbook(content, most_rows) if content.startswith(_ZIP) else _csv(content, most_rows)
    return _sheet(lines, most_rows)


def _sheet(lines: list[list[str]], most_rows: int) -> Sheet:
    filled = [(number, _without_end([cell.strip() for cell in line])) for number, line in enumerate(lines, start=1)]
    filled = [(number, line) for number, line in filled if line]
    if not filled:
        raise Invalid("文件里没有内容。", field="file")
    (_, heads), *rows = filled
    if len(heads) > MOST_COLUMNS:
        raise Invalid("列太多了，最多 %(most)s 列。", field="file", most=MOST_COLUMNS)
    if len(set(heads)) != len(heads):
        raise Invalid("表头里有重复的列名。", field="file")
    if len(rows) > most_rows:
        raise _too_many(most_rows)
    if not rows:
        raise Invalid("只有表头，没有内容。", field="file")
    return Sheet(heads, rows)


def _without_end(cells: list[str]) -> list[str]:
    """A line up to its last filled cell: spreadsheets pad theirs."""
    while cells and not cells[-1]:
        cells.pop()
    return cells


def _too_many(most_rows: int) -> Invalid:
    return Invalid("行太多了，一次最多 %(most)s 行，请分几个文件。", field="file", most=most_rows)


def _csv(content: bytes, most_rows: int) -> list[list[str]]:
    text = _decoded(content)
    lines = []
    try:
        for line in csv.reader(io.StringIO(text, newline=""), strict=True):
            lines.append(line)
            # Empty lines are few in a file that somebody meant.
            if len(lines) > 2 * most_rows + 10:
                raise _too_many(most_rows)
    except csv.Error:
        raise Invalid("第 %(line)s 行的引号或格式不对，请检查。", field="file", line=len(lines) + 1) from None
    return lines


def _decoded(content: bytes) -> str:
    """UTF-8 as programs write it, or GB18030 as Chinese spreadsheets do."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in content:
        raise Invalid("认不出文件的编码，请另存为“CSV UTF-8”或 xlsx。", field="file")
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise Invalid("认不出文件的编码，请另存为“CSV UTF-8”或 xlsx。", field="file")


def _workbook(content: bytes, most_rows: int) -> list[list[str]]:
    """The first sheet of a workbook, read by a process of its own."""
    _refuse_odd_workbook(content)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "core.sheets", str(2 * most_rows + 10)],
            input=content,
            capture_output=True,
            timeout=READ_S,
            check=False,
            cwd=Path(__file__).resolve().parent.parent,
            env={"PYTHONIOENCODING": "utf-8"},
        )
    except subprocess.TimeoutExpired:
        raise Invalid(UNREADABLE, field="file") from None
    if done.returncode != 0:
        raise Invalid(UNREADABLE, field="file")
    lines: list[list[str]] = json.loads(done.stdout)
    return lines


def _refuse_odd_workbook(content: bytes) -> None:
    """What is not a plain table does not even get unpacked: macros, links to elsewhere, bombs."""
    try:
        with ZipFile(io.BytesIO(content)) as archive:
            parts = archive.infolist()
    except BadZipFile:
        raise Invalid(UNREADABLE, field="file") from None
    names = [part.filename.lower() for part in parts]
    if any(odd in name for name in names for odd in _NOT_TABLES):
        raise Invalid("文件里有宏、外部链接或嵌入的对象，请去掉再上传。", field="file")
    if "xl/workbook.xml" not in names:
        raise Invalid(UNREADABLE, field="file")
    if len(parts) > MOST_PARTS or sum(part.file_size for part in parts) > UNPACKED_BYTES:
        raise Invalid("文件展开后太大了，请只留下要导入的表。", field="file")


def take_apart(file: BinaryIO, most_lines: int) -> list[list[str]]:
    """The lines of a workbook's first sheet; runs in the process with the limits."""
    content = file.read()
    with ZipFile(io.BytesIO(content)) as archive:
        for part in archive.infolist():
            # A table needs no document type, and an entity is the only way for one to grow or to reach out.
            if part.filename.endswith((".xml", ".rels")) and b"<!DOCTYPE" in archive.read(part).replace(b"\0", b""):
                raise ValueError("a document type")
    # Loads much, and only this process needs it.
    from openpyxl import load_workbook

    sheet = load_workbook(io.BytesIO(content), read_only=True, data_only=False, keep_links=False).worksheets[0]
    # What the file says about its own size is not to be believed.
    sheet.reset_dimensions()
    lines = sheet.iter_rows(max_row=most_lines, max_col=MOST_COLUMNS + 1, values_only=True)
    return [[_typed(cell) for cell in line] for line in lines]


def _typed(cell: Any) -> str:
    """A cell as people read it: 3.0 is 3, a day is 2026-11-22, a formula is its own text."""
    if cell is None:
        return ""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    if isinstance(cell, datetime) and cell.time() == datetime.min.time():
        return cell.date().isoformat()
    if isinstance(cell, date):
        return cell.isoformat()
    # One character more than a cell may have, so that it is seen to be too long.
    return str(cell)[: LONGEST_CELL + 1]


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (READ_S, READ_S))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    print(json.dumps(take_apart(sys.stdin.buffer, int(sys.argv[1])), ensure_ascii=False))


if __name__ == "__main__":
    main()
