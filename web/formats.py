"""How numbers and moments are written: Shanghai time, Chinese forms first."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any, Final

from flask import Flask
from flask_babel import format_date, format_decimal, gettext
from flask_babel import lazy_gettext as _l

from core.clock import SHANGHAI, business_day
from web.context import now

# Every browser claims to be those before it, so the more particular mark comes first.
_PROGRAMS: Final[tuple[tuple[str, Any], ...]] = (
    ("MicroMessenger", _l("微信")),
    ("Edg", "Edge"),
    ("Firefox", "Firefox"),
    ("FxiOS", "Firefox"),
    ("Chrome", "Chrome"),
    ("CriOS", "Chrome"),
    ("Safari", "Safari"),
)
_MACHINES: Final[tuple[tuple[str, Any], ...]] = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", _l("安卓手机")),
    ("HarmonyOS", _l("鸿蒙手机")),
    ("Windows", _l("Windows 电脑")),
    ("Macintosh", _l("Mac 电脑")),
    ("Linux", _l("Linux 电脑")),
)


def register(app: Flask) -> None:
    """Make the forms available to templates as filters."""
    for filter_ in (number, signed, short_time, full_time, clock_time, day, month, device, phone_link):
        app.add_template_filter(filter_)


def number(value: float | None) -> str:
    """1234567 → 1,234,567; nothing known → a dash."""
    return "—" if value is None else str(format_decimal(value))


def signed(change: int) -> str:
    """A change: +12, −3, or that nothing changed."""
    if change == 0:
        return str(gettext("持平"))
    return f"{'+' if change > 0 else '−'}{number(abs(change))}"


def phone_link(phone: str) -> str:
    """What a tap on a number rings: 0571-8888 6666 → tel:057188886666."""
    return "tel:" + "".join(one for one in phone if one.isdecimal() or one == "+")


def device(user_agent: str) -> str:
    """A browser as its owner would call it: 微信 · 安卓手机."""
    names = (next((name for mark, name in table if mark in user_agent), None) for table in (_PROGRAMS, _MACHINES))
    return " · ".join(str(name) for name in names if name is not None) or gettext("未知的浏览器")


def short_time(moment: datetime) -> str:
    """今天 14:03, 昨天 09:12, 11月22日 14:03, in another year 2025年11月22日 14:03."""
    local = moment.astimezone(SHANGHAI)
    return f"{_day_relative_to(local.date(), business_day(now()))} {local:%H:%M}"


def full_time(moment: datetime) -> str:
    """To the second, for tooltips and logs: 2026年11月22日 14:03:05."""
    local = moment.astimezone(SHANGHAI)
    return f"{_date(local.date(), 'full')} {local:%H:%M:%S}"


def clock_time(moment: datetime) -> str:
    """When within a day, to the second: 14:03:05."""
    return f"{moment.astimezone(SHANGHAI):%H:%M:%S}"


def day(value: date) -> str:
    """11月22日 周日."""
    return f"{_date(value, 'year' if value.year != business_day(now()).year else 'short')} {format_date(value, 'EEE')}"


def plain_day(value: date, *, has_year: bool) -> str:
    """11月22日, 2026年11月22日."""
    return _date(value, "full" if has_year else "short")


def month(value: date) -> str:
    """2026年11月."""
    return str(format_date(value, gettext("y年M月")))


def _day_relative_to(value: date, today: date) -> str:
    if value == today:
        return str(gettext("今天"))
    if value == today - timedelta(days=1):
        return str(gettext("昨天"))
    return _date(value, "short" if value.year == today.year else "full")


def _date(value: date, form: str) -> str:
    """The pattern is text like any other, so that each language orders day and month its own way."""
    pattern = gettext("M月d日") if form == "short" else gettext("y年M月d日")
    return str(format_date(value, pattern))
