"""What a shopkeeper types to make a kind of coupons, and what that means: few fields first, the rest folded away."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Final, Literal

from flask import request
from flask_babel import lazy_gettext as _l
from pydantic import BaseModel, StringConstraints

from campaigns.coupons.models import CouponKind, CouponTemplate
from campaigns.coupons.templates import Draft
from core.clock import SHANGHAI, business_day
from core.errors import Invalid
from web.benefit_words import clock, zhe
from web.forms import Form, OneLine, OptionalLine, Paragraph, Submission, blank
from web.merchant.pictures import PictureId
from web.register import yuan

SEPARATORS: Final = re.compile(r"[,，、;；\s]+")
SPAN: Final = re.compile(r"(\d{1,2})[:：](\d{2})\s*[-–—~～到至]\s*(\d{1,2})[:：](\d{2})")
MOST_YUAN: Final = 100_000
VALUE_FIELD: Final = {
    CouponKind.AMOUNT: "value", CouponKind.PERCENT: "cap", CouponKind.GIFT: "worth", CouponKind.VISITS: "worth",
    CouponKind.ITEM: "worth",
}  # fmt: skip
"""Where the money of each kind is typed."""
FIELDS: Final = {
    "min_spend_fen": "min_spend", "budget_fen": "budget", "percent_off": "zhe", "segment_id": "segment",
    "weekdays": "weekday",
}  # fmt: skip

Whole = Annotated[str, StringConstraints(strip_whitespace=True, max_length=12, pattern=r"^[^\x00-\x1f\x7f]*$")]
"""A number as somebody typed it; what it may be is said beside the field, not by a browser."""
Flag = Literal["true", ""]


class CouponForm(Form):
    """Everything that is decided about a kind of coupons before it is approved."""

    kind: Literal["amount", "percent", "gift", "visits", "item"] = "amount"
    name: OneLine
    value: Whole = ""
    min_spend: Whole = ""
    zhe: Whole = ""
    cap: Whole = ""
    worth: Whole = ""
    uses: Whole = ""
    stock: Whole = ""
    validity: Literal["days", "dates"] = "days"
    lasts_days: Whole = ""
    valid_from: Whole = ""
    valid_to: Whole = ""
    budget: Whole = ""
    per_person: Whole = ""
    per_day: Whole = ""
    starts_after_days: Whole = ""
    weekday: tuple[Literal["0", "1", "2", "3", "4", "5", "6"], ...] = ()
    hours: OptionalLine = ""
    except_dates: Paragraph = ""
    first_only: Flag = ""
    is_transferable: Flag = ""
    is_public: Flag = ""
    for_birthdays: Flag = ""
    segment: PictureId = ""
    min_level: Whole = ""
    keyword: OptionalLine = ""
    terms: Paragraph = ""
    picture: PictureId = ""


class Example(BaseModel):
    """A coupon that is ready to be handed in."""

    key: str
    kind: CouponKind
    title: str
    advice: str
    fields: Mapping[str, str]


def examples() -> list[Example]:
    """Three that most shops begin with."""
    return [
        Example(
            key="amount", kind=CouponKind.AMOUNT, title=str(_l("满减：满 30 减 5")),
            advice=str(_l("让人多点一样。五十张最多花 250 元。")),
            fields={"name": str(_l("满 30 减 5")), "value": "5", "min_spend": "30", "stock": "50"},
        ),
        Example(
            key="percent", kind=CouponKind.PERCENT, title=str(_l("打折：八八折")),
            advice=str(_l("结账时打折，每张最多减 20 元。")),
            fields={"name": str(_l("八八折券")), "zhe": "8.8", "cap": "20", "stock": "50"},
        ),
        Example(
            key="gift", kind=CouponKind.GIFT, title=str(_l("赠品：送一份小菜")),
            advice=str(_l("不用买单也能拿，适合第一次来的邻居。")),
            fields={"name": str(_l("送一份小菜")), "worth": "6", "stock": "30", "first_only": "true"},
        ),
    ]  # fmt: skip


DEFAULTS: Final = {
    "kind": "amount", "validity": "days", "lasts_days": "30", "per_person": "1", "is_public": "true", "stock": "50",
    "weekday": "0,1,2,3,4,5,6",
}  # fmt: skip


SIMPLE: Final = {
    "kind", "name", "value", "min_spend", "zhe", "cap", "worth", "uses", "stock", "validity", "lasts_days",
    "valid_from", "valid_to",
}  # fmt: skip
"""The few fields that are not folded away."""


def begun(key: str | None) -> Submission[Any]:
    """A form to start with: one of the examples, or nothing but what is usual."""
    found = next((one for one in examples() if one.key == key), None)
    given = {} if found is None else {"kind": str(found.kind), **found.fields}
    return blank(**{**DEFAULTS, **given})


def as_draft(data: CouponForm) -> Draft:
    """What was typed, as what is promised; raises `Invalid` at the field that cannot be understood."""
    kind = CouponKind(data.kind)
    value = VALUE_FIELD[kind]
    value_fen = money_of(getattr(data, value), value)
    stock = whole_of(data.stock, "stock")
    if stock is None:
        raise Invalid("请填一共发多少张。", field="stock")
    uses = (whole_of(data.uses, "uses") or 0) if kind is CouponKind.VISITS else 1
    valid_from, valid_to, lasts_days = _validity(data)
    weekdays = sum(1 << int(one) for one in set(data.weekday))
    if not weekdays:
        raise Invalid("至少选一天。", field="weekday")
    return Draft(
        name=data.name,
        kind=kind,
        terms=data.terms,
        picture_id=int(data.picture) if data.picture else None,
        value_fen=value_fen,
        percent_off=_percent_of(data.zhe) if kind is CouponKind.PERCENT else None,
        uses=uses,
        min_spend_fen=money_of(data.min_spend, "min_spend"),
        valid_from=valid_from,
        valid_to=valid_to,
        starts_after_days=(whole_of(data.starts_after_days, "starts_after_days") or 0) if lasts_days else 0,
        lasts_days=lasts_days,
        weekdays=weekdays,
        hours=_hours_of(data.hours),
        except_dates=_dates_of(data.except_dates),
        per_person=1 if not data.per_person else whole_of(data.per_person, "per_person") or 0,
        per_day=whole_of(data.per_day, "per_day"),
        first_only=bool(data.first_only),
        segment_id=int(data.segment) if data.segment else None,
        min_level=whole_of(data.min_level, "min_level") or 0,
        is_transferable=bool(data.is_transferable),
        is_public=bool(data.is_public),
        for_birthdays=bool(data.for_birthdays),
        keyword=data.keyword,
        stock=stock,
        budget_fen=money_of(data.budget, "budget") if data.budget else None,
    )


def at_its_field(refusal: Invalid, kind: str) -> Invalid:
    """A refusal of the engine, at the field of this form that it is about."""
    if refusal.field == "value_fen":
        refusal.field = VALUE_FIELD[CouponKind(kind)]
    else:
        refusal.field = FIELDS.get(refusal.field, refusal.field)
    return refusal


def as_typed(template: CouponTemplate) -> Submission[Any]:
    """The fields for what is stored."""
    kind = CouponKind(template.kind)
    has_dates = template.valid_from is not None and template.valid_to is not None
    return blank(
        kind=kind,
        name=template.name,
        value=yuan(template.value_fen) if kind is CouponKind.AMOUNT else "",
        min_spend=yuan(template.min_spend_fen),
        zhe=zhe(template.percent_off) if template.percent_off else "",
        cap=yuan(template.value_fen) if kind is CouponKind.PERCENT else "",
        worth=yuan(template.value_fen),
        uses=template.uses if kind is CouponKind.VISITS else "",
        stock=template.stock,
        validity="dates" if has_dates else "days",
        lasts_days=template.lasts_days or 30,
        valid_from=business_day(template.valid_from) if template.valid_from else "",
        valid_to=business_day(template.valid_to - timedelta(seconds=1)) if template.valid_to else "",
        budget="" if template.budget_fen == everything_costs(template) else yuan(template.budget_fen),
        per_person=template.per_person,
        per_day=template.per_day,
        starts_after_days=template.starts_after_days or "",
        weekday=",".join(str(bit) for bit in range(7) if template.weekdays >> bit & 1),
        hours="，".join(f"{clock(begin)}-{clock(end)}" for begin, end in template.hours),
        except_dates="，".join(f"{one:%Y-%m-%d}" for one in sorted(template.except_dates)),
        first_only=template.first_only,
        is_transferable=template.is_transferable,
        is_public=template.is_public,
        for_birthdays=template.for_birthdays,
        segment=template.segment_id,
        min_level=template.min_level or "",
        keyword=template.keyword,
        terms=template.terms,
        picture=template.picture_id,
    )


def everything_costs(template: CouponTemplate) -> int:
    """What the whole stock can cost, which is the budget where none was given."""
    return template.worth_fen * template.uses * template.stock


def shown_again(form: Submission[Any]) -> Submission[Any]:
    """A refused form keeps what was ticked: boxes of one name are one value, as in `as_typed`."""
    form.values = {**form.values, "weekday": ",".join(request.form.getlist("weekday"))}
    return form


def whole_of(typed: str, field: str) -> int | None:
    """A whole number as people write it, or None where nothing stands (#72)."""
    if not typed:
        return None
    if not (typed.isascii() and typed.isdecimal() and len(typed) <= 9):
        raise Invalid("请填整数。", field=field)
    return int(typed)


def money_of(typed: str, field: str) -> int:
    """12.5 → 1250 fen; nothing → 0."""
    if not typed:
        return 0
    try:
        amount = Decimal(typed) if typed.isascii() and re.fullmatch(r"\d{1,7}(\.\d{1,2})?", typed) else None
    except InvalidOperation:  # pragma: no cover - the pattern lets nothing else through
        amount = None
    if amount is None or amount > MOST_YUAN:
        raise Invalid("请填金额，最多两位小数，例如 12 或 12.50。", field=field)
    return int(amount * 100)


def day_of(typed: str, field: str) -> date:
    """A day as a browser's field for one spells it; 31 February is none (#72)."""
    try:
        return datetime.strptime(typed, "%Y-%m-%d").replace(tzinfo=SHANGHAI).date()
    except ValueError:
        raise Invalid("请选一个日期。", field=field) from None


def morning_of(day: date) -> datetime:
    """When a day begins in Shanghai."""
    return datetime.combine(day, time.min, SHANGHAI)


def _percent_of(typed: str) -> int:
    """8.8 折 → 12 percent off."""
    if not re.fullmatch(r"[1-9](\.\d)?|0\.[1-9]", typed) or not typed.isascii():
        raise Invalid("请填几折，例如 8 或 8.8。", field="zhe")
    return 100 - int(Decimal(typed) * 10)


def _validity(data: CouponForm) -> tuple[datetime | None, datetime | None, int | None]:
    if data.validity == "days":
        days = whole_of(data.lasts_days, "lasts_days")
        if days is None:
            raise Invalid("请填领到后几天内有效。", field="lasts_days")
        return None, None, days
    first, last = day_of(data.valid_from, "valid_from"), day_of(data.valid_to, "valid_to")
    if last < first:
        raise Invalid("结束的日子不能早于开始的日子。", field="valid_to")
    return morning_of(first), morning_of(last + timedelta(days=1)), None


def _hours_of(typed: str) -> list[tuple[int, int]]:
    spans = []
    rest = typed
    for begin_hour, begin, end_hour, end in SPAN.findall(typed):
        span = int(begin_hour) * 60 + int(begin), int(end_hour) * 60 + int(end)
        if int(begin) > 59 or int(end) > 59 or not 0 <= span[0] < span[1] <= 24 * 60:
            raise Invalid("时段要从早到晚，例如 11:00-14:00。", field="hours")
        spans.append(span)
    rest = SPAN.sub("", typed)
    if SEPARATORS.sub("", rest):
        raise Invalid("看不懂这个时段，请写成 11:00-14:00，17:00-21:00。", field="hours")
    return sorted(spans)


def _dates_of(typed: str) -> list[date]:
    return sorted({day_of(one, "except_dates") for one in SEPARATORS.split(typed) if one})


__all__ = ["DEFAULTS", "CouponForm", "as_draft", "as_typed", "begun", "day_of", "examples", "money_of"]
