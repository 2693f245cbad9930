"""A ZIP of posters: progress as it goes, names any system takes, nothing that does not read."""

import io
import zipfile
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from qrcodes import images
from qrcodes.posters import batch
from qrcodes.posters.batch import Item, write_zip
from qrcodes.posters.formats import Format
from qrcodes.posters.press import NotForPrint, PosterCode, Unreadable
from tests.qrcodes.posters.shops import BREAKFAST, FRUIT, URL, drawn, read_by_another

AT = datetime(2026, 3, 4, 5, 6, 8, tzinfo=ZoneInfo("Asia/Shanghai"))


def tables(number: int) -> list[Item]:
    codes = [PosterCode(f"{URL}{table}", f"{table} 号桌") for table in range(number)]
    return [Item(FRUIT, Format.BADGE, (code,), code.label) for code in codes]


def test_every_code_has_its_file_and_each_step_is_told() -> None:
    file = io.BytesIO()
    items = [*tables(3), Item(BREAKFAST, Format.BADGE, (PosterCode(URL),), "早餐铺")]
    assert list(write_zip(file, items, at=AT)) == [1, 2, 3, 4]
    with zipfile.ZipFile(file) as archive:
        assert archive.namelist() == ["0 号桌.pdf", "1 号桌.pdf", "2 号桌.pdf", "早餐铺.pdf"]
        assert archive.infolist()[0].date_time == (2026, 3, 4, 5, 6, 8)
        read = [read_by_another(drawn(archive.read(name), ppi=200)) for name in archive.namelist()]
    assert read == [{f"{URL}0"}, {f"{URL}1"}, {f"{URL}2"}, {URL}]


def test_pictures_too() -> None:
    file = io.BytesIO()
    assert list(write_zip(file, tables(1), at=AT, kind="png")) == [1]
    with zipfile.ZipFile(file) as archive:
        assert archive.read("0 号桌.png").startswith(b"\x89PNG")


def test_the_caller_may_stop_in_between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    progress = write_zip(io.BytesIO(), tables(3), at=AT)
    assert next(progress) == 1
    assert list(tmp_path.iterdir())
    progress.close()
    assert not list(tmp_path.iterdir())


def test_one_temporary_code_stops_the_printing_before_it_begins() -> None:
    items = tables(3)
    items[2] = replace(items[2], codes=(replace(items[2].codes[0], is_permanent=False),))
    file = io.BytesIO()
    with pytest.raises(NotForPrint):
        next(write_zip(file, items, at=AT))
    assert not file.getvalue()


def test_a_code_that_reads_wrong_stops_the_press(monkeypatch: pytest.MonkeyPatch) -> None:
    progress = write_zip(io.BytesIO(), tables(2), at=AT)
    assert next(progress) == 1
    other = images.svg(f"{URL}other")
    monkeypatch.setattr(images, "svg", lambda *_: other)
    with pytest.raises(Unreadable):
        next(progress)


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("3 号桌", "3 号桌"),
        ("../../x.py", "-..-x.py"),
        ("a\r\nb", "a--b"),
        ("CON", "_CON"),
        ("nul.txt", "_nul.txt"),
        (" . ", "_"),
        ("", "_"),
        ("收银\u202e台", "收银台"),
        ("x" * 1000, "x" * 60),
        ("c:\\d/e", "c--d-e"),
        (".hidden", "hidden"),
    ],
)
def test_names_are_safe_on_every_system(name: str, safe: str) -> None:
    assert batch.safe_name(name) == safe


def test_names_are_distinct_even_where_capitals_do_not_count() -> None:
    assert batch._distinct(["a", "A", "a-2", "a", "b"]) == ["a", "A-2", "a-2-2", "a-3", "b"]
