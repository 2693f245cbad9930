"""A month on paper: whatever shops and codes are called, it stays on the sheet, on one or two of them."""

from dataclasses import replace

import pypdfium2
import pytest
from PIL import Image

from qrcodes.reports import paper
from qrcodes.reports.paper import Day
from tests.qrcodes.posters.references import distance
from tests.qrcodes.reports.sheets import AT, DAYS, MEANT, draw, sheet

NAMES = [
    "山茶小筑",
    "桂花里社区老王家现磨豆浆油条早餐铺（东门店）",
    "长" * 30,
    "A" * 30,
    '<b>#read("/etc/passwd")*_$x$',
    "{{7*7}} \\u{4e00} @ref <label>]",
    "𰻞𰻞面🍜",
]


def pages(document: bytes) -> list[str]:
    """What is read on each, none of it over the edge."""
    opened = pypdfium2.PdfDocument(document)
    found = []
    for page in opened:
        text, (width, height) = page.get_textpage(), page.get_size()
        for index in range(text.count_chars()):
            left, bottom, right, top = text.get_charbox(index)
            assert left >= 0 <= bottom
            assert right <= width
            assert top <= height
        found.append("".join(text.get_text_bounded().split()).replace("\u200b", ""))
    return found


@pytest.mark.parametrize("name", NAMES)
def test_no_name_is_cut_off_or_understood(name: str) -> None:
    given = sheet(name, codes=2, place="B" * 64)
    (told,) = pages(paper.pdf(replace(given, meanings=given.meanings[:1], notes=[]), at=AT))
    expected = name.replace("🍜", "").replace("𰻞", "biáng").replace("（东门店）", "")
    assert "".join(expected.split()) in told
    assert "root:" not in told
    assert told.count("B" * 64) == 2


@pytest.mark.parametrize(("codes", "sheets"), [(1, 1), (5, 1), (6, 2), (24, 2)])
def test_a_month_is_one_sheet_or_two(codes: int, sheets: int) -> None:
    told = pages(paper.pdf(sheet(codes=codes), at=AT))
    assert len(told) == sheets
    assert f"{codes - 1}号桌" in told[-1]
    assert "这些数是什么意思" in told[-1]


@pytest.mark.parametrize("days", [[], DAYS[:1], [Day("1", 0, 0, 3, is_incomplete=False)]])
def test_a_short_or_quiet_month_has_its_chart(days: list[Day]) -> None:
    given = sheet()
    assert given.chart is not None
    chart = replace(given.chart, days=days) if days else None
    (told,) = pages(paper.pdf(replace(given, chart=chart, table=None), at=AT))
    assert ("每天的扫码和关注" in told) == bool(days)
    assert ("没有人扫码" in told) != bool(days)


def test_the_same_month_is_the_same_file() -> None:
    assert paper.pdf(sheet(), at=AT) == paper.pdf(sheet(), at=AT)


def test_it_looks_as_it_is_meant_to() -> None:
    meant = Image.open(MEANT).convert("RGB")
    assert distance(draw(sheet()), meant) < 12
    assert distance(draw(replace(sheet(), badge="")), meant) > 20
    assert distance(draw(replace(sheet(), lead="")), meant) > 20
