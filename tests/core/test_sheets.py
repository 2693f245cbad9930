"""Tables that people bring: read as text, and refused with words whatever is wrong with the file (#95, #96, #98)."""

import io
from collections.abc import Callable
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import pytest
from openpyxl import Workbook

from core import sheets
from core.errors import Invalid

FORMULAS = ("=HYPERLINK(\"http://x\")", "+cmd", "-1+1", "@SUM(A1)", "＝1+1")  # fmt: skip


def workbook(*rows: tuple[Any, ...]) -> bytes:
    book = Workbook(write_only=True)
    sheet = book.create_sheet()
    for row in rows:
        sheet.append(row)
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def altered(content: bytes, change: Callable[[str, bytes], bytes], extra: dict[str, bytes] | None = None) -> bytes:
    """A workbook with something done to its parts."""
    file = io.BytesIO()
    with ZipFile(io.BytesIO(content)) as old, ZipFile(file, "w", ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
        for name, part in (extra or {}).items():
            new.writestr(name, part)
    return file.getvalue()


def read(content: bytes, most_rows: int = 10) -> sheets.Sheet:
    return sheets.read(content, most_rows=most_rows)


def test_a_workbook_is_read_as_people_see_it() -> None:
    sheet = read(workbook(("名称", "份数"), ("收银台", 3.0), (None, None), ("门口", 12.5), ("004", True)))
    assert sheet.heads == ["名称", "份数"]
    assert sheet.rows == [(2, ["收银台", "3"]), (4, ["门口", "12.5"]), (5, ["004", "True"])]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
def test_text_comes_in_either_encoding(encoding: str) -> None:
    sheet = read('名称,位置\r\n收银台,"一楼,左手"\r\n\r\n門口龘,\r\n'.encode(encoding))
    assert sheet.rows == [(2, ["收银台", "一楼,左手"]), (4, ["門口龘"])]


def test_formulas_are_text() -> None:
    wanted = [[formula] for formula in FORMULAS]
    lines = ["名称", *(f'"{formula.replace(chr(34), chr(34) * 2)}"' for formula in FORMULAS)]
    for content in (workbook(("名称",), *((formula,) for formula in FORMULAS)), "\n".join(lines).encode()):
        assert [cells for _number, cells in read(content).rows] == wanted


DOCTYPE = b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
PLAIN = workbook(("名称",), ("收银台",))
ODD_FILES: dict[str, bytes] = {
    "empty": b"",
    "spaces": b" \n \n",
    "heads only": "名称,位置\n".encode(),
    "UTF-16": "名称\n门口\n".encode("utf-16"),
    "a NUL": "名称\n门\0口\n".encode(),
    "no encoding": b"\xff\xfa\x81",
    "an open quote": '名称\n"门口\n'.encode(),
    "the same head twice": "名称,名称\n门口,x\n".encode(),
    "too many columns": (",".join(f"c{n}" for n in range(60)) + "\nx\n").encode(),
    "too many rows": ("名称\n" + "门口\n" * 11).encode(),
    "a million rows": ("名称\n" + "门\n" * 1_000_000).encode(),
    "too large": b"x" * (sheets.MOST_BYTES + 1),
    "old Excel": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600),
    "half a zip": PLAIN[: len(PLAIN) // 2],
    "another zip": altered(PLAIN, lambda _name, part: part)[:0] + b"PK\x03\x04" + bytes(100),
    "a bomb": altered(PLAIN, lambda _name, part: part, {"xl/media/a.bin": bytes(sheets.UNPACKED_BYTES)}),
    "many parts": altered(PLAIN, lambda _name, part: part, {f"xl/p{n}.xml": b"" for n in range(300)}),
    "macros": altered(PLAIN, lambda _name, part: part, {"xl/vbaProject.bin": b"x"}),
    "links to elsewhere": altered(PLAIN, lambda _name, part: part, {"xl/externalLinks/externalLink1.xml": b"<a/>"}),
    "an outer entity": altered(
        PLAIN, lambda name, part: DOCTYPE + part.partition(b"?>")[2] if name.endswith("sheet1.xml") else part
    ),
    "broken XML": altered(PLAIN, lambda name, part: part[:-30] if name.endswith("sheet1.xml") else part),
}


@pytest.mark.parametrize("what", ODD_FILES)
def test_what_is_no_table_is_refused_with_words(what: str) -> None:
    with pytest.raises(Invalid) as refusal:
        read(ODD_FILES[what])
    assert refusal.value.field == "file"
    assert refusal.value.message


def test_a_file_that_lies_about_its_size_is_cut_short() -> None:
    """The process that reads it uses little memory, whatever it finds."""
    rows = b"".join(b"<row>" + b"<c><v>1</v></c>" * 40 + b"</row>" for _ in range(60_000))
    sheet = b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><dimension ref="A1"/>'
    content = altered(
        PLAIN,
        lambda name, part: (
            sheet + b"<sheetData>" + rows + b"</sheetData></worksheet>" if name.endswith("sheet1.xml") else part
        ),
    )
    with pytest.raises(Invalid, match=r"重复的列名|太多"):
        read(content)


def test_the_reading_process_has_limits() -> None:
    with pytest.raises(MemoryError):
        _run_limited()


def _run_limited() -> None:
    import subprocess
    import sys

    code = "import core.sheets as s, resource; s.take_apart = lambda *_: bytearray(2 * s.MEMORY_BYTES); s.main()"
    done = subprocess.run([sys.executable, "-c", code, "1"], capture_output=True, check=False, text=True)
    if "MemoryError" in done.stderr:
        raise MemoryError
