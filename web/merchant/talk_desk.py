"""接待设置: when somebody sits at the desk, what the account says until they answer, and the words said most often."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, time, timedelta
from typing import Annotated, Any, Literal

from flask import Blueprint, flash, g, redirect, render_template
from flask.typing import ResponseReturnValue
from flask_babel import format_date
from flask_babel import gettext as _
from pydantic import StringConstraints

from bot.talks import canned, desk, enquiries
from bot.talks.desk import RANGES_A_DAY, Desk, Hours, Range
from bot.talks.models import WordsKind
from core.clock import business_day, start_of_day
from core.errors import Invalid
from merchants.models import StaffRole
from web.acts import record
from web.auth.access import limit_acts, merchant_required
from web.context import now, own_hosts
from web.forms import Form, OneLine, OptionalLine, Paragraph, Submission, blank, read_form
from web.merchant.words import show_refusal
from web.query import Query, read_query

blueprint = Blueprint("merchant_talk_desk", __name__, url_prefix="/merchant/talks")
limit_acts(blueprint)

SETTINGS = "/merchant/talks/settings"
REPLIES = "/merchant/talks/replies"
A_MONDAY = date(2024, 1, 1)

Clock = Annotated[str, StringConstraints(strip_whitespace=True, pattern=r"^(?:(?:[01][0-9]|2[0-3]):[0-5][0-9])?$")]
"""When within a day, as a browser's time field writes it; empty for none."""


class DeskForm(Form):
    """Everything about the desk but its words. `opens` and `closes` go through the week, two of each a day."""

    opens: tuple[Clock, ...] = ()
    closes: tuple[Clock, ...] = ()
    closed_days: Paragraph = ""
    notify_after: OptionalLine = "2"
    asks_satisfaction: Literal["true"] | None = None
    hands_over: Literal["true"] | None = None


class WordsForm(Form):
    """What the account says; empty for our words."""

    text: Paragraph = ""


class ReplyForm(Form):
    """Words that are said often, and what they are called."""

    title: OneLine
    text: Paragraph = ""


class FiguresQuery(Query):
    """Which days."""

    days: Literal["7", "30"] = "7"


# ---- Settings --------------------------------------------------------------------------------------------------------


@blueprint.get("/settings")
@merchant_required()
def settings() -> str:
    """The desk as it is."""
    return _settings_page()


@blueprint.post("/settings")
@merchant_required(StaffRole.OWNER)
def save_settings() -> ResponseReturnValue:
    """Keep hours and habits; they count from now on."""
    form = read_form(DeskForm)
    if form.data is None:
        return _settings_page(form), 422
    data = form.data
    try:
        desk.save(
            g.session,
            merchant_id=g.staff.merchant_id,
            hours=Hours(_ranges(data), frozenset(_days(data.closed_days))),
            asks_satisfaction=data.asks_satisfaction is not None,
            hands_over=data.hands_over is not None,
            notify_after=_minutes(data.notify_after),
            now=now(),
        )
    except Invalid as refusal:
        form.refuse(refusal)
        if refusal.field == "hours":
            form.errors = {"opens": form.errors.pop("")} | form.errors
        return _settings_page(form), 422
    record("desk.save")
    flash(_("已保存，从现在起算数。"), "good")
    return redirect(SETTINGS, 303)


@blueprint.post("/settings/words/<any(first, away):words_kind>")
@merchant_required(StaffRole.OWNER)
def save_words(words_kind: str) -> ResponseReturnValue:
    """Hand the operator new words; what is said now stays until they agree."""
    form, kind = read_form(WordsForm), WordsKind(words_kind)
    if form.data is None:
        return _settings_page(words_form=(kind, form)), 422
    before = desk.words_of(g.session, merchant_id=g.staff.merchant_id, kind=kind)
    try:
        desk.save_words(g.session, merchant_id=g.staff.merchant_id, kind=kind, words=form.data.text, hosts=own_hosts())
    except Invalid as refusal:
        show_refusal(form, refusal)
        return _settings_page(words_form=(kind, form)), 422
    record("desk.words", kind)
    if form.data.text:
        flash(_("已交给运营审批，通过后就这样说。"), "good")
    elif before.speaking or before.waiting:
        flash(_("已改回默认的话。"), "good")
    else:
        flash(_("没有改动，说的还是默认的话。"), "good")
    return redirect(SETTINGS, 303)


def _ranges(data: DeskForm) -> dict[int, tuple[Range, ...]]:
    """Every weekday's ranges; half a range is a slip of the finger."""
    if len(data.opens) != len(data.closes) or len(data.opens) > 7 * RANGES_A_DAY:
        raise Invalid("表单内容不对，请刷新页面再试。", field="hours")
    found: dict[int, tuple[Range, ...]] = {}
    for place, (opens, closes) in enumerate(zip(data.opens, data.closes, strict=True)):
        if bool(opens) != bool(closes):
            raise Invalid("每段时间都要写开始和结束；不开门的就都空着。", field="hours")
        if opens:
            weekday = place // RANGES_A_DAY + 1
            found[weekday] = (*found.get(weekday, ()), (time.fromisoformat(opens), time.fromisoformat(closes)))
    return found


def _minutes(typed: str) -> int:
    """A number as it was typed; 0, which the desk refuses, where it is none."""
    return int(typed) if re.fullmatch(r"\d{1,4}", typed, re.ASCII) else 0


def _days(typed: str) -> list[date]:
    """Days as people write them: 2026-10-01, 2026年10月1日, 10月1日; those without a year are the next there are."""
    found = []
    for part in re.split(r"[\s,，、;；]+", typed):
        if not part:
            continue
        written = re.fullmatch(r"(?:(\d{4})\s*[-年/.])?(\d{1,2})[-月/.](\d{1,2})日?", part, re.ASCII)
        try:
            if written is None:
                raise ValueError(part)
            year, month, day = written.groups()
            today = business_day(now())
            meant = date(int(year or today.year), int(month), int(day))
            found.append(meant if year or meant >= today else meant.replace(year=today.year + 1))
        except ValueError:
            raise Invalid("“%(day)s”不是日期，请写成 10月1日 或 2026-10-01。", field="closed_days", day=part) from None
    return found


def _settings_page(
    form: Submission[Any] | None = None, words_form: tuple[WordsKind, Submission[Any]] | None = None
) -> str:
    merchant_id = g.staff.merchant_id
    kept = desk.of(g.session, merchant_id)
    words = {kind: desk.words_of(g.session, merchant_id=merchant_id, kind=kind) for kind in WordsKind}
    forms = {
        kind: blank(text=newest.text if (newest := one.refused or one.waiting or one.speaking) else "")
        for kind, one in words.items()
    }
    if words_form is not None:
        forms[words_form[0]] = words_form[1]
    today = business_day(now())
    return render_template(
        "merchant/talk_settings.html",
        form=form
        or blank(
            closed_days="\n".join(day.isoformat() for day in sorted(kept.hours.closed_days) if day >= today),
            notify_after=kept.notify_after,
            asks_satisfaction=kept.asks_satisfaction,
            hands_over=kept.hands_over,
        ),
        week=_week(form, kept),
        are_set=kept.hours.are_set,
        is_open=kept.hours.is_open(now()),
        opens_next=kept.hours.opens_next(now()),
        words=words,
        words_forms=forms,
        words_max=desk.WORDS_MAX,
    )


def _week(form: Submission[Any] | None, kept: Desk) -> list[tuple[str, list[tuple[str, str]]]]:
    """Seven days by name with what stands in their fields: as typed where the form was refused."""
    typed = list(zip(form.lists.get("opens", ()), form.lists.get("closes", ()), strict=False)) if form else None
    days = []
    for weekday in desk.WEEKDAYS:
        if typed is not None:
            shown = typed[(weekday - 1) * RANGES_A_DAY : weekday * RANGES_A_DAY]
        else:
            shown = [(f"{start:%H:%M}", f"{end:%H:%M}") for start, end in kept.hours.ranges.get(weekday, ())]
        shown = [*shown, *[("", "")] * RANGES_A_DAY][:RANGES_A_DAY]
        days.append((format_date(A_MONDAY + timedelta(days=weekday - 1), "EEEE"), shown))
    return days


# ---- Canned replies --------------------------------------------------------------------------------------------------


@blueprint.get("/replies")
@merchant_required()
def replies() -> str:
    """What is said often, in the order in which it is offered."""
    return _replies_page()


@blueprint.post("/replies")
@merchant_required()
def add_reply() -> ResponseReturnValue:
    """One more, at the end."""
    form = read_form(ReplyForm)
    if form.data is None:
        return _replies_page(form), 422
    try:
        reply_id = canned.add(
            g.session,
            merchant_id=g.staff.merchant_id,
            title=form.data.title,
            words=form.data.text,
            hosts=own_hosts(),
        )
    except Invalid as refusal:
        show_refusal(form, refusal)
        return _replies_page(form), 422
    record("canned_reply.add", f"canned_reply:{reply_id}")
    flash(_("已加上。"), "good")
    return redirect(REPLIES, 303)


@blueprint.post("/replies/<int:reply_id>")
@merchant_required()
def edit_reply(reply_id: int) -> ResponseReturnValue:
    """Other words under the same name, or another name."""
    reply = canned.find(g.session, merchant_id=g.staff.merchant_id, reply_id=reply_id)
    form = read_form(ReplyForm)
    if form.data is None:
        return _replies_page(forms={reply.id: form}), 422
    try:
        canned.edit(
            g.session,
            merchant_id=g.staff.merchant_id,
            reply_id=reply.id,
            title=form.data.title,
            words=form.data.text,
            hosts=own_hosts(),
        )
    except Invalid as refusal:
        show_refusal(form, refusal)
        return _replies_page(forms={reply.id: form}), 422
    record("canned_reply.edit", f"canned_reply:{reply.id}")
    flash(_("已保存。"), "good")
    return redirect(f"{REPLIES}#reply-{reply.id}", 303)


@blueprint.post("/replies/<int:reply_id>/<any(up, down):way>")
@merchant_required()
def move_reply(reply_id: int, way: str) -> ResponseReturnValue:
    """One place up or down."""
    canned.move(g.session, merchant_id=g.staff.merchant_id, reply_id=reply_id, is_up=way == "up")
    record("canned_reply.move", f"canned_reply:{reply_id}")
    return redirect(f"{REPLIES}#reply-{reply_id}", 303)


@blueprint.post("/replies/<int:reply_id>/remove")
@merchant_required()
def remove_reply(reply_id: int) -> ResponseReturnValue:
    """It is not offered any more; what was said with it stays said."""
    canned.remove(g.session, merchant_id=g.staff.merchant_id, reply_id=reply_id)
    record("canned_reply.remove", f"canned_reply:{reply_id}")
    flash(_("已删掉。"), "good")
    return redirect(REPLIES, 303)


def _replies_page(form: Submission[Any] | None = None, forms: Mapping[int, Submission[Any]] | None = None) -> str:
    found = canned.listed(g.session, merchant_id=g.staff.merchant_id)
    kept = {one.id: blank(title=one.title, text=one.text) for one in found}
    return render_template(
        "merchant/talk_replies.html",
        replies=found,
        form=form or blank(),
        edited={**kept, **(forms or {})},
        title_max=canned.TITLE_MAX,
        text_max=canned.TEXT_MAX,
    )


# ---- Figures ---------------------------------------------------------------------------------------------------------


@blueprint.get("/figures")
@merchant_required()
def figures() -> str:
    """How soon customers were answered, and how they found it."""
    query = read_query(FiguresQuery)
    merchant_id = g.staff.merchant_id
    until = now()
    since = start_of_day(business_day(until) - timedelta(days=int(query.days) - 1))
    return render_template(
        "merchant/talk_figures.html",
        days=query.days,
        seen=enquiries.figures(g.session, merchant_id=merchant_id, since=since, until=until),
        by_staff=enquiries.by_staff(g.session, merchant_id=merchant_id, since=since, until=until),
    )
