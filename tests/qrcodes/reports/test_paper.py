"""A month on paper: whatever shops and codes are called, it stays on the sheet, on one or two of them."""

from dataclasses import replace
from datetime import UTC, datetime

import pypdfium2
import pytest

from qrcodes.reports import paper
from qrcodes.reports.paper import Chart, Day, Figure, Line, Sheet, Table

AT = datetime(2026, 11, 1, tzinfo=UTC)
DAYS = [Day(str(day), 7 * day % 40, day % 5, day % 3, is_incomplete=day == 12) for day in range(1, 32)]
NAMES = [
    "山茶小筑",
    "桂花里社区老王家现磨豆浆油条早餐铺（东门店）",
    "长" * 30,
    "A" * 30,
    '<b>#read("/etc/passwd")*_$x$',
    "{{7*7}} \\u{4e00} @ref <label>]",
    "𰻞𰻞面🍜",
]


def sheet(shop: str = "山茶小筑", *, codes: int = 3, place: str = "进门左手边") -> Sheet:
    heads = ("二维码", "扫码", "新关注", "7 天后还在", "每个新关注花费")
    cells = ("1,234", "60", "82%（45/55）", "¥12.30")
    lines = [Line(f"{number} 号桌", place, cells, 1 / (1 + number)) for number in range(codes)]
    return Sheet(
        language="zh-CN",
        shop=shop,
        community="桂花里",
        colour="#0b6b4f",
        title="商户月报",
        month="2026年10月",
        span="10月1日至10月31日，共 31 天",
        badge="到昨天为止",
        lead="312 人扫了 486 次本店的码，57 人第一次关注。到10月31日，本店带来的 245 人还在关注。",
        hero=Figure("带来且仍在关注", "1,234,567", "比上月末 +32", "good"),
        figures=[Figure("扫码", "1,234,567", "+123,456，上月 123,456", "bad")] * 6,
        chart=Chart("每天的扫码和关注", "扫码", "新关注和回来的", "取关", "有过中断", DAYS),
        table=Table("哪个码带来的", heads, lines, "另有 3 个码：扫码 12，新关注 2。"),
        empty=("没有人扫码", "把码放到看得见的地方。"),
        notes_title="这些数是什么意思",
        meanings=[("扫码", "本店的码被扫的次数，带来关注的那次也算。")] * 9,
        notes=["天按上海时间、按事情发生的那一刻算。"] * 3,
        foot="数到 2026年11月1日 00:00",
    )


def pages(document: bytes) -> list[str]:
    """What is read on each, none of it over the edge and no two words on one spot of the first column."""
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
