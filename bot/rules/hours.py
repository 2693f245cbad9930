"""Hours as people write them: 周一至周五 09:00-18:00, one line for each, and days such as 2026-10-01~2026-10-07."""

from __future__ import annotations

import re
import unicodedata
from datetime import date, timedelta
from typing import Final

from bot.rules.content import clock, minutes
from bot.rules.matching import DAY, Hours, Span
from core.clock import YEARS
from core.errors import Invalid, Phrase

MOST_SPANS: Final = 14
MOST_DATES: Final = 366
_NAMES: Final = "一二三四五六日"
_SETS: Final = {
    "每天": range(7),
    "天天": range(7),
    "工作日": range(5),
    "平日": range(5),
    "周末": range(5, 7),
    "双休日": range(5, 7),
}
_DAYS: Final = re.compile(
    r"(?:周|星期|礼拜)?([一二三四五六日天])(?:(?:至|到|~|-)(?:周|星期|礼拜)?([一二三四五六日天]))?"
)
_LINE: Final = re.compile(r"(?P<days>[^0-9]*?)\s*(?P<begins>\d{1,2}:\d{2})\s*(?:至|到|~|-)\s*(?P<ends>\d{1,2}:\d{2})")
_BETWEEN: Final = re.compile(r"[\n;,、]+")
_RANGE: Final = re.compile(r"(\d{4}-\d{1,2}-\d{1,2})(?:\s*(?:至|到|~)\s*(\d{4}-\d{1,2}-\d{1,2}))?")
_DASHES: Final = str.maketrans("–—－～〜．./。", "---~~----")


def parse_spans(written: str, *, field: str) -> tuple[Span, ...]:
    """The spans somebody wrote, none for an empty text; raises `Invalid` with the line that is not understood."""
    spans = []
    for line in re.split(r"[\n;]+", _usual(written)):
        if not line.strip():
            continue
        found = _LINE.fullmatch(line.strip())
        days = None if found is None else _days(found["days"])
        if found is None or days is None:
            raise Invalid(
                "没看懂“%(line)s”，请写成：周一至周五 09:00-18:00。几段之间用分号隔开。",
                field=field,
                line=line.strip()[:30],
            )
        try:
            begins, ends = minutes(found["begins"]), minutes(found["ends"])
        except ValueError:
            raise Invalid(
                "“%(line)s”里的时间不对，请写 00:00 到 24:00。", field=field, line=line.strip()[:30]
            ) from None
        if begins in (ends, DAY):
            raise Invalid("“%(line)s”的开始和结束一样。全天请写 00:00-24:00。", field=field, line=line.strip()[:30])
        spans.append(Span(days, begins, ends))
    if len(spans) > MOST_SPANS:
        raise Invalid("时间最多写 %(most)s 段。", field=field, most=MOST_SPANS)
    return tuple(spans)


def parse_dates(written: str, *, field: str) -> frozenset[date]:
    """The days somebody wrote, alone or from one to another."""
    days: set[date] = set()
    for part in _BETWEEN.split(_usual(written)):
        if not part.strip():
            continue
        found = _RANGE.fullmatch(part.strip())
        if found is None:
            raise _odd_date(part, field)
        try:
            first, last = _date(found[1]), _date(found[2] or found[1])
        except ValueError:
            raise _odd_date(part, field) from None
        if not first <= last < first + timedelta(days=MOST_DATES):
            raise Invalid("“%(part)s”的先后不对，或者超过一年。", field=field, part=part.strip()[:30])
        days.update(first + timedelta(days=number) for number in range((last - first).days + 1))
        if len(days) > MOST_DATES:
            raise Invalid("日期最多 %(most)s 天。", field=field, most=MOST_DATES)
    return frozenset(days)


def parse(spans: str, only_on: str, not_on: str) -> Hours:
    """Hours from three texts, in the fields `hours`, `only_on` and `not_on`."""
    return Hours(
        parse_spans(spans, field="hours"),
        parse_dates(only_on, field="only_on"),
        parse_dates(not_on, field="not_on"),
    )


def spans_text(spans: tuple[Span, ...]) -> str:
    return "\n".join(f"{_days_text(one.days)} {clock(one.begins)}-{clock(one.ends)}" for one in spans)


def dates_text(days: frozenset[date]) -> str:
    """Days in order, those in a row as from one to another."""
    runs: list[tuple[date, date]] = []
    for day in sorted(days):
        if runs and runs[-1][1] + timedelta(days=1) == day:
            runs[-1] = runs[-1][0], day
        else:
            runs.append((day, day))
    return "\n".join(f"{first}" if first == last else f"{first}~{last}" for first, last in runs)


def in_a_line(hours: Hours) -> str:
    """The hours in a few words; empty for always."""
    parts = [spans_text(hours.spans).replace("\n", "；")] if hours.spans else []
    if hours.only_on:
        parts.append(f"只在 {dates_text(hours.only_on)}".replace("\n", "、"))
    if hours.not_on:
        parts.append(f"除了 {dates_text(hours.not_on)}".replace("\n", "、"))
    return "，".join(parts)


def _usual(written: str) -> str:
    return unicodedata.normalize("NFKC", written).replace("：", ":").translate(_DASHES)


def _days(written: str) -> frozenset[int] | None:
    """The weekdays a text names; all of them where it names none."""
    rest = "".join(written.split())
    if not rest:
        return frozenset(range(7))
    days: set[int] = set()
    for part in re.split(r"[、,和及]", rest):
        if part in _SETS:
            days.update(_SETS[part])
            continue
        at = 0
        while at < len(part):
            found = _DAYS.match(part, at)
            if found is None:
                return None
            first, last = _day(found[1]), _day(found[2] or found[1])
            days.update(range(first, last + 1) if first <= last else [*range(first, 7), *range(last + 1)])
            at = found.end()
    return frozenset(days)


def _day(name: str) -> int:
    return 6 if name == "天" else _NAMES.index(name)


def _days_text(days: frozenset[int]) -> str:
    if len(days) == len(_NAMES):
        return "每天"
    ordered = sorted(days)
    if len(ordered) > 2 and ordered[-1] - ordered[0] == len(ordered) - 1:
        return f"周{_NAMES[ordered[0]]}至周{_NAMES[ordered[-1]]}"
    return "、".join(f"周{_NAMES[day]}" for day in ordered)


def _date(written: str) -> date:
    year, month, day = map(int, written.split("-"))
    if year not in YEARS:
        raise ValueError(written)
    return date(year, month, day)


def _odd_date(part: str, field: str) -> Invalid:
    return Invalid(
        Phrase("没看懂日期“%(part)s”，请写成 2026-10-01 或 2026-10-01~2026-10-07。"),
        field=field,
        part=part.strip()[:30],
    )
