"""Rules go out as a table and come back the same; a table with a wrong line is not taken in at all."""

import csv
import io
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.rules import hours, porting, reading, writing
from bot.rules.content import Answer
from bot.rules.matching import DAY, Hours, Mode, Pattern, Span
from core import sheets
from core.database import Role
from core.errors import Invalid
from tests.bot.rules.desk import HOSTS, author, create, draft
from tests.community import Neighbourhood

WEEK = frozenset(range(7))


@pytest.fixture
def tea(street: Neighbourhood) -> int:
    return street.merchant("茶馆")


def table(street: Neighbourhood, merchant_id: int) -> str:
    with street.runtime.transaction(Role.MERCHANT, merchant_id=merchant_id) as session:
        return "".join(
            sheets.csv_text(porting.HEADS, map(porting.row, reading.listed(session, merchant_id, now=street.now)))
        )


def bring_in(street: Neighbourhood, merchant_id: int, content: str | bytes) -> int:
    content = content.encode() if isinstance(content, str) else content
    with street.runtime.transaction(Role.MERCHANT, merchant_id=merchant_id) as session:
        writer = author(session, merchant_id)
        return porting.bring_in(session, writer, content, hosts=HOSTS, now=street.now)


def rows(**columns: str) -> str:
    """A table of one line."""
    cells = {"规则名": "地址", "完全相同": "地址", "回复1": "东门"} | columns
    return f"{','.join(cells)}\n{','.join(cells.values())}\n"


def count(street: Neighbourhood, merchant_id: int) -> int:
    with street.runtime.transaction(Role.MERCHANT, merchant_id=merchant_id) as session:
        return writing.count(session, merchant_id)


def test_rules_come_back_as_they_went_out(street: Neighbourhood, tea: int) -> None:
    card = Answer("news", title="新店", description="来坐坐\n就在东门", url="https://mp.weixin.qq.com/s/1")
    create(
        street,
        tea,
        draft(
            "WiFi密码",
            patterns=(Pattern(Mode.CONTAINS, "无线"), Pattern(Mode.WILDCARD, "*网?密码*")),
            says=(Answer(text="=八个八，\n“小写”"), card, Answer(text="[图文]不是图文")),
            occasions=("image", "location"),
            hours=Hours(
                (Span(WEEK, 540, 1080), Span(frozenset({5, 6}), 1200, 120)), not_on=frozenset({date(2026, 10, 1)})
            ),
            priority=7,
        ),
        is_on=False,
    )
    create(street, tea, draft("订位", says=(), hands_over=True, name="订位"))
    noodles = street.merchant("面馆")
    written = table(street, tea)
    assert written.startswith("\ufeff")
    assert bring_in(street, noodles, written) == 2
    assert table(street, noodles) == written
    with street.runtime.transaction(Role.MERCHANT, merchant_id=noodles) as session:
        kept = {one.rule.name: one for one in reading.listed(session, noodles, now=street.now)}
        assert kept["地址"].newest.answers[0].text == "=八个八，\n“小写”"
        assert kept["地址"].newest.answers[1] == card
        assert not kept["地址"].rule.is_on
        assert all(one.speaking is None and one.waiting is not None for one in kept.values())


def test_what_a_spreadsheet_would_run_is_written_as_text(street: Neighbourhood, tea: int) -> None:
    create(street, tea, draft("地址", says="=1+1", name="@规则"))
    line = list(csv.reader(io.StringIO(table(street, tea))))[1]
    assert {line[0], line[5]} == {"'@规则", "'=1+1"}


def test_a_table_from_a_chinese_spreadsheet_is_understood(street: Neighbourhood, tea: int) -> None:
    assert bring_in(street, tea, rows().encode("gb18030")) == 1


def test_the_example_is_a_table_that_can_be_brought_in(street: Neighbourhood, tea: int) -> None:
    assert bring_in(street, tea, "".join(sheets.csv_text(porting.HEADS, porting.EXAMPLES))) == 2


def test_a_wrong_line_leaves_everything_out_and_is_named(street: Neighbourhood, tea: int) -> None:
    lines = [
        "规则名,完全相同,回复1,优先级,时间",
        "地址,地址,东门,5,",
        "网,无线,,5,",
        "券,优惠券,有的,5,",
        "高,高,好,99,",
        "晚,晚安,好,5,二十二点",
    ]
    with pytest.raises(porting.Refused) as refusal:
        bring_in(street, tea, "\n".join(lines))
    faults = [(one.line, one.column) for one in refusal.value.faults]
    assert faults == [(3, "回复1"), (4, "完全相同"), (5, "优先级"), (6, "时间")]
    assert "分号" in str(refusal.value.faults[-1].refusal)
    assert count(street, tea) == 0


@pytest.mark.parametrize(
    "content",
    [
        "",
        "规则名,回复1\n",
        "名字,回复1\n地址,东门\n",
        "规则名,回复1,别的\n地址,东门,x\n",
        b"\x00\x01",
        b"PK\x03\x04broken",
    ],
)
def test_what_is_no_such_table_is_refused(street: Neighbourhood, tea: int, content: str | bytes) -> None:
    with pytest.raises(Invalid):
        bring_in(street, tea, content)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("启用", "也许"),
        ("转人工", "也许"),
        ("消息种类", "红包"),
        ("只在日期", "国庆"),
        ("优先级", "１"),
        ("优先级", "-1"),
        ("回复1", "[图片:99999]"),
        ("回复1", "[图文]新店"),
        ("回复1", '"[图文]新店\nhttps://evil.example"'),
        ("完全相同", "👍"),
    ],
)
def test_a_cell_that_makes_no_sense_is_refused(street: Neighbourhood, tea: int, column: str, value: str) -> None:
    with pytest.raises(porting.Refused) as refusal:
        bring_in(street, tea, rows(**{column: value}))
    assert [one.line for one in refusal.value.faults] == [2]


def test_a_table_does_not_get_around_the_limit(
    street: Neighbourhood, tea: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "MOST_RULES", 1)
    with pytest.raises(Invalid):
        bring_in(street, tea, "规则名,完全相同,回复1\n一,一,好\n二,二,好")
    assert bring_in(street, tea, rows()) == 1
    with pytest.raises(writing.TooManyRules):
        bring_in(street, tea, rows())


# ---- Hours as people write them --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "days", "begins", "ends"),
    [
        ("周一至周五 09:00-18:00", {0, 1, 2, 3, 4}, 540, 1080),
        ("每天 9:00-18:00", set(range(7)), 540, 1080),
        ("9：00～18：00", set(range(7)), 540, 1080),
        ("周末 22:00-02:00", {5, 6}, 1320, 120),
        ("周一、周三 00:00-24:00", {0, 2}, 0, DAY),
        ("星期六星期天 8:30到12:00", {5, 6}, 510, 720),
        ("周五至周一 10:00-11:00", {4, 5, 6, 0}, 600, 660),
        ("工作日，周日 10:00—11:00", {0, 1, 2, 3, 4, 6}, 600, 660),
    ],
)
def test_hours_are_read_as_people_write_them(written: str, days: set[int], begins: int, ends: int) -> None:
    assert hours.parse_spans(written, field="hours") == (Span(frozenset(days), begins, ends),)


@pytest.mark.parametrize(
    "written", ["早上", "周八 9:00-10:00", "9:00", "9:00-9:00", "24:00-9:00", "9:60-10:00", "25:00-26:00", "9-10"]
)
def test_hours_that_make_no_sense_are_refused(written: str) -> None:
    with pytest.raises(Invalid):
        hours.parse_spans(written, field="hours")


@pytest.mark.parametrize("written", ["国庆", "2026-02-30", "2026-10-07~2026-10-01", "2026-01-01~2028-01-01", "2026-1"])
def test_days_that_make_no_sense_are_refused(written: str) -> None:
    with pytest.raises(Invalid):
        hours.parse_dates(written, field="only_on")


spans = st.builds(
    Span, st.frozensets(st.integers(0, 6), min_size=1), st.integers(0, DAY - 1), st.integers(1, DAY)
).filter(lambda one: one.begins != one.ends)


@given(st.lists(spans, max_size=5), st.frozensets(st.dates(date(2026, 1, 1), date(2026, 12, 31)), max_size=20))
def test_hours_are_read_as_they_were_written(listed: list[Span], days: frozenset[date]) -> None:
    assert hours.parse_spans(hours.spans_text(tuple(listed)), field="hours") == tuple(listed)
    assert hours.parse_dates(hours.dates_text(days), field="only_on") == days
