"""What a coupon promises, as pure functions: when it is valid, what it takes off, and how that is said."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Any, Final, Protocol

from campaigns.coupons.models import CouponKind
from core.clock import SHANGHAI, business_day, start_of_day
from core.errors import Phrase

MINUTES_A_DAY: Final = 1_440
EVERY_DAY: Final = 127
NUMERALS: Final = "零一二三四五六七八九"
WEEKDAYS: Final = (
    Phrase("周一"), Phrase("周二"), Phrase("周三"), Phrase("周四"), Phrase("周五"), Phrase("周六"), Phrase("周日"),
)  # fmt: skip
LOOK_AHEAD: Final = 60
"""Days in which a worked example is looked for."""
USUAL_BILL: Final = 10_000


class Terms(Protocol):
    """What a template and a draft of one have in common: the promise itself."""

    @property
    def kind(self) -> str: ...
    @property
    def value_fen(self) -> int: ...
    @property
    def percent_off(self) -> int | None: ...
    @property
    def uses(self) -> int: ...
    @property
    def min_spend_fen(self) -> int: ...
    @property
    def valid_from(self) -> datetime | None: ...
    @property
    def valid_to(self) -> datetime | None: ...
    @property
    def starts_after_days(self) -> int: ...
    @property
    def lasts_days(self) -> int | None: ...
    @property
    def weekdays(self) -> int: ...
    @property
    def hours(self) -> Sequence[Sequence[int]]: ...
    @property
    def except_dates(self) -> Sequence[date]: ...
    @property
    def per_person(self) -> int: ...
    @property
    def first_only(self) -> bool: ...
    @property
    def is_transferable(self) -> bool: ...


class Refused(StrEnum):
    """Why a coupon cannot be used at a moment."""

    NOT_YET = "not_yet"
    OVER = "over"
    EXCEPT_DATE = "except_date"
    WEEKDAY = "weekday"
    HOURS = "hours"
    MIN_SPEND = "min_spend"


REFUSED_WORDS: Final = {
    Refused.NOT_YET: Phrase("还没到开始使用的时间"),
    Refused.OVER: Phrase("已过有效期"),
    Refused.EXCEPT_DATE: Phrase("例外日期"),
    Refused.WEEKDAY: Phrase("这一天不可用"),
    Refused.HOURS: Phrase("不在可用时段"),
    Refused.MIN_SPEND: Phrase("没到最低消费"),
}


@dataclass(frozen=True)
class Day:
    """A day within a sentence, with its year or a time of day where they matter; spelt in Chinese unless a page knows
    better."""

    date: date
    has_year: bool = False
    time: str = ""

    def __str__(self) -> str:
        year = f"{self.date.year}年" if self.has_year else ""
        return f"{year}{self.date.month}月{self.date.day}日{self.time and ' '}{self.time}"


@dataclass(frozen=True)
class Several:
    """Things listed within a sentence."""

    parts: tuple[Any, ...]

    def __str__(self) -> str:
        return "、".join(str(part) for part in self.parts)


@dataclass(frozen=True)
class Line:
    """A short sentence about a coupon: a gettext id with its values, like a `BusinessError`'s."""

    template: Phrase
    detail: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.template % self.detail if self.detail else str(self.template)


@dataclass(frozen=True)
class Example:
    """One row of a preview: at this moment, with this bill, what the coupon does."""

    at: datetime
    bill_fen: int
    refused: Refused | None
    discount_fen: int
    line: Line


# ---- When ------------------------------------------------------------------------------------------------------------


def window(terms: Terms, *, given_at: datetime) -> tuple[datetime, datetime]:
    """From when until when a coupon given now is valid.

    One that lasts so many days ends with a Shanghai day: "7 天" given on Monday afternoon includes the whole of the
    next Monday; one that starts later starts with a day and lasts exactly so many.
    """
    if terms.valid_from is not None and terms.valid_to is not None:
        return terms.valid_from, terms.valid_to
    assert terms.lasts_days is not None  # noqa: S101
    today = business_day(given_at)
    if terms.starts_after_days == 0:
        return given_at, start_of_day(today + timedelta(days=terms.lasts_days + 1))
    begins = today + timedelta(days=terms.starts_after_days)
    return start_of_day(begins), start_of_day(begins + timedelta(days=terms.lasts_days))


def why_not(
    terms: Terms, *, valid_from: datetime, valid_to: datetime, at: datetime, bill_fen: int | None = None
) -> Refused | None:
    """Why a coupon cannot be used at a moment; None where it can.

    Valid iff valid_from <= at < valid_to (CO-5). Without a bill the minimum is not asked for.
    """
    here = at.astimezone(SHANGHAI)
    minute = here.hour * 60 + here.minute
    is_hour = not terms.hours or any(begins <= minute < ends for begins, ends in terms.hours)
    reasons = (
        (at < valid_from, Refused.NOT_YET),
        (at >= valid_to, Refused.OVER),
        (here.date() in terms.except_dates, Refused.EXCEPT_DATE),
        (not terms.weekdays & 1 << here.weekday(), Refused.WEEKDAY),
        (not is_hour, Refused.HOURS),
        (bill_fen is not None and bill_fen < terms.min_spend_fen, Refused.MIN_SPEND),
    )
    return next((reason for is_so, reason in reasons if is_so), None)


# ---- How much --------------------------------------------------------------------------------------------------------


def worth(terms: Terms) -> int:
    """The most that one use can cost, in fen; 0 for a percentage without a cap, which nobody can know."""
    return terms.value_fen


def discount(terms: Terms, bill_fen: int | None) -> int:
    """What one use takes off the bill, in fen, never more than the bill; without a bill what it is worth at most.

    Of a percentage it is the customer's payment that is rounded, half a fen up: 八折 of 0.63 yuan is 0.50 yuan.
    """
    if bill_fen is None:
        return worth(terms)
    if terms.kind == CouponKind.PERCENT:
        assert terms.percent_off is not None  # noqa: S101
        off = bill_fen - (bill_fen * (100 - terms.percent_off) + 50) // 100
        return min(off, terms.value_fen) if terms.value_fen else off
    return min(terms.value_fen, bill_fen)


# ---- In words --------------------------------------------------------------------------------------------------------


def yuan(fen: int) -> str:
    """An amount as a shop writes it: 20, 0.50, 1234.05."""
    whole, rest = divmod(fen, 100)
    return f"{whole}.{rest:02d}" if rest else str(whole)


def fold(percent_off: int) -> str:
    """20 is 八, 15 is 八五, 97 is 0.3: what stands before 折."""
    tens, ones = divmod(100 - percent_off, 10)
    if tens == 0:
        return f"0.{ones}"
    return NUMERALS[tens] + (NUMERALS[ones] if ones else "")


_HEADLINES: Final = {
    # By kind, and whether there is a minimum.
    (CouponKind.AMOUNT, True): Phrase("满%(least)s元减%(value)s元"),
    (CouponKind.AMOUNT, False): Phrase("立减%(value)s元"),
    (CouponKind.PERCENT, True): Phrase("满%(least)s元%(fold)s折"),
    (CouponKind.PERCENT, False): Phrase("%(fold)s折"),
    (CouponKind.GIFT, True): Phrase("满%(least)s元赠礼"),
    (CouponKind.GIFT, False): Phrase("到店领取，不用消费"),
    (CouponKind.VISITS, True): Phrase("%(uses)s 次卡，每次满%(least)s元可用"),
    (CouponKind.VISITS, False): Phrase("%(uses)s 次卡"),
    (CouponKind.ITEM, True): Phrase("满%(least)s元，其中一项免费"),
    (CouponKind.ITEM, False): Phrase("账单里的一项免费"),
}
_CAPPED: Final = {
    True: Phrase("满%(least)s元%(fold)s折，最高减%(value)s元"),
    False: Phrase("%(fold)s折，最高减%(value)s元"),
}


def headline(terms: Terms) -> Line:
    """What it gives, in one short line."""
    has_least = terms.min_spend_fen > 0
    given = {
        "value": yuan(terms.value_fen), "least": yuan(terms.min_spend_fen), "uses": terms.uses,
        "percent": terms.percent_off, "fold": fold(terms.percent_off) if terms.percent_off else "",
    }  # fmt: skip
    if terms.kind == CouponKind.PERCENT and terms.value_fen:
        return Line(_CAPPED[has_least], given)
    return Line(_HEADLINES[CouponKind(terms.kind), has_least], given)


def validity_line(terms: Terms) -> Line:
    """When it can be used, for who does not have it yet."""
    if terms.valid_from is not None and terms.valid_to is not None:
        return period_line(terms.valid_from, terms.valid_to)
    given = {"days": terms.lasts_days, "after": terms.starts_after_days}
    if terms.starts_after_days:
        return Line(Phrase("领取 %(after)s 天后起 %(days)s 天内有效"), given)
    return Line(Phrase("领取后 %(days)s 天内有效"), given)


def period_line(valid_from: datetime, valid_to: datetime) -> Line:
    """From when until when."""
    given = {"begins": _moment(valid_from), "ends": _moment(valid_to, is_end=True)}
    return Line(Phrase("%(begins)s 至 %(ends)s"), given)


def describe(terms: Terms) -> list[Line]:
    """What pages and chat say about a coupon, the benefit first."""
    lines = [headline(terms), validity_line(terms)]
    if terms.weekdays != EVERY_DAY:
        days = tuple(name for bit, name in enumerate(WEEKDAYS) if terms.weekdays & 1 << bit)
        lines.append(Line(Phrase("仅%(days)s可用"), {"days": Several(days)}))
    if terms.hours:
        spans = tuple(f"{_clock(begins)}–{_clock(ends)}" for begins, ends in terms.hours)
        lines.append(Line(Phrase("每天 %(hours)s 可用"), {"hours": Several(spans)}))
    if terms.except_dates:
        dates = tuple(Day(day) for day in sorted(terms.except_dates))
        lines.append(Line(Phrase("%(days)s不可用"), {"days": Several(dates)}))
    if terms.first_only:
        lines.append(Line(Phrase("限第一次在本店用券的顾客")))
    lines.append(Line(Phrase("每人限 %(most)s 张"), {"most": terms.per_person}))
    if terms.is_transferable:
        lines.append(Line(Phrase("可以转给邻居")))
    return lines


def worked_examples(terms: Terms, *, now: datetime) -> list[Example]:
    """Three to five moments with a bill each: where it can be used, and each way in which it cannot."""
    begins, ends = window(terms, given_at=now)
    bill = max(USUAL_BILL, terms.min_spend_fen)
    found: list[Example] = []

    def add(at: datetime | None, bill_fen: int) -> None:
        if at is None or len(found) == 5 or any((one.at, one.bill_fen) == (at, bill_fen) for one in found):
            return
        refused = why_not(terms, valid_from=begins, valid_to=ends, at=at, bill_fen=bill_fen)
        off = 0 if refused else discount(terms, bill_fen)
        found.append(Example(at, bill_fen, refused, off, _example_line(terms, at, bill_fen, refused, off)))

    def moment(wanted: Callable[[Refused | None], bool]) -> datetime | None:
        return _first(terms, max(begins, now), ends, wanted)

    good = moment(lambda refused: refused is None)
    add(good, bill)
    if terms.min_spend_fen > 1:
        add(good, terms.min_spend_fen - 1)
    add(moment(lambda refused: refused is Refused.EXCEPT_DATE), bill)
    add(moment(lambda refused: refused is Refused.WEEKDAY), bill)
    add(moment(lambda refused: refused is Refused.HOURS), bill)
    add(ends, bill)
    for times in (3, 10):
        if len(found) < 3:
            add(good, bill * times)
    return found


def _first(terms: Terms, begins: datetime, ends: datetime, wanted: Callable[[Refused | None], bool]) -> datetime | None:
    """The first hour of the window at which the answer is such a one, evenings first: that is when a shop asks."""
    first = business_day(begins)
    for hour in (18, *range(24)):
        for ahead in range(LOOK_AHEAD):
            at = start_of_day(first + timedelta(days=ahead)) + timedelta(hours=hour)
            if begins <= at < ends and wanted(why_not(terms, valid_from=begins, valid_to=ends, at=at)):
                return at
    return None


def _example_line(terms: Terms, at: datetime, bill_fen: int, refused: Refused | None, off: int) -> Line:
    here = at.astimezone(SHANGHAI)
    given = {
        "day": Day(here.date()), "weekday": WEEKDAYS[here.weekday()], "time": f"{here:%H:%M}",
        "bill": yuan(bill_fen), "off": yuan(off), "pays": yuan(bill_fen - off),
    }  # fmt: skip
    if refused is not None:
        given["reason"] = REFUSED_WORDS[refused]
        return Line(Phrase("%(day)s（%(weekday)s）%(time)s，消费 %(bill)s 元：不可用（%(reason)s）"), given)
    if terms.kind in {CouponKind.AMOUNT, CouponKind.PERCENT}:
        return Line(Phrase("%(day)s（%(weekday)s）%(time)s，消费 %(bill)s 元：减 %(off)s 元，付 %(pays)s 元"), given)
    return Line(Phrase("%(day)s（%(weekday)s）%(time)s，消费 %(bill)s 元：可用"), given)


def _clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"


def _moment(at: datetime, *, is_end: bool = False) -> Day:
    """A day, with its time where it is not the day's beginning; an end at midnight is the end of the day before."""
    here = at.astimezone(SHANGHAI)
    if at.astimezone(UTC) == start_of_day(here.date()):
        return Day(here.date() - timedelta(days=1) if is_end else here.date(), has_year=True)
    return Day(here.date(), has_year=True, time=f"{here:%H:%M}")
