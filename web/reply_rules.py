"""What the rules' pages of merchants and operators share: the form, what is done with it, the tester and the table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from flask import flash, g, redirect, render_template, request
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from pydantic import StringConstraints

from bot.rules import hours as written_hours
from bot.rules import porting, reading, shadows, trial, writing
from bot.rules.content import Answer, Content
from bot.rules.matching import CLICK, OCCASIONS, TEXT, Mode, Pattern, Question
from bot.rules.models import NAME_MAX, PRIORITIES, USUAL_PRIORITY
from bot.rules.reading import Kept
from bot.rules.writing import Author, Draft
from campaigns.broadcasts.spelling import plain
from core.errors import BusinessError, Invalid, NotFound
from merchants import sensitive_words
from merchants.wording import Finding
from web.acts import record
from web.context import now, own_hosts
from web.exports import csv_answer
from web.forms import Form, OneLine, Paragraph, Submission, blank, moment_of, read_form, the_file, typed_moment
from web.language import refusal_text
from web.merchant.pictures import PictureId
from web.merchant.words import show_refusal
from web.query import Query, Words, read_query
from web.rule_words import KINDS
from wechat.limits import TEXT_MAX_BYTES

PLACES: Final = (1, 2, 3)
SHORT: Final = 4
"""Characters of a question that becomes a rule for just these words."""
_PRESETS: Final = ("每天 09:00-21:00", "周一至周五 09:00-18:00", "周末 10:00-20:00", "每天 21:00-09:00")

Kind = Literal["text", "image", "news", ""]
Tick = Literal["true", ""]


class RuleForm(Form):
    """One rule with all it hears and says."""

    name: OneLine
    exact: Paragraph = ""
    contains: Paragraph = ""
    wildcard: Paragraph = ""
    occasions: tuple[str, ...] = ()
    menu_keys: Paragraph = ""
    kind1: Kind = "text"
    text1: Paragraph = ""
    title1: Paragraph = ""
    description1: Paragraph = ""
    url1: Paragraph = ""
    picture1: PictureId = ""
    kind2: Kind = ""
    text2: Paragraph = ""
    title2: Paragraph = ""
    description2: Paragraph = ""
    url2: Paragraph = ""
    picture2: PictureId = ""
    kind3: Kind = ""
    text3: Paragraph = ""
    title3: Paragraph = ""
    description3: Paragraph = ""
    url3: Paragraph = ""
    picture3: PictureId = ""
    hands_over: Tick = ""
    hours: Paragraph = ""
    only_on: Paragraph = ""
    not_on: Paragraph = ""
    priority: Annotated[str, StringConstraints(pattern=r"^[0-9]$")] = str(USUAL_PRIORITY)
    seen: Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{16})?$")] = ""
    """The mark of the rule that its author opened; a new one has none."""


class SwitchForm(Form):
    """On or off."""

    is_on: Tick = ""


class OrderForm(Form):
    """A step to the front or to the back."""

    step: Literal["up", "down"]


class EmptyForm(Form):
    """A button."""


class ListQuery(Query):
    """Which rules."""

    q: Words = ""


class NewQuery(Query):
    """What the new rule is to hear: a question that nobody could answer."""

    keyword: Words = ""


class TrialQuery(Query):
    """What somebody sends, and when."""

    words: Words = ""
    kind: Literal["text", "image", "voice", "video", "location", "link"] = "text"
    at: Annotated[str, StringConstraints(pattern=r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}$")] | None = None


@dataclass(frozen=True)
class Room:
    """Where the pages are, and whose rules they are about."""

    home: str
    listing: str
    """The template of the list; all others are shared."""
    layout: str
    author: Callable[[], Author]
    picture_url: Callable[[object], str | None]

    @property
    def merchant_id(self) -> int | None:
        merchant_id: int | None = g.staff.merchant_id
        return merchant_id

    def page(self, name: str, **values: object) -> str:
        return render_template(name, layout=self.layout, home=self.home, is_platform=self.merchant_id is None, **values)


@dataclass(frozen=True)
class Bubble:
    """A message as the phone shows it."""

    kind: str
    text: str
    title: str = ""
    description: str = ""
    picture: str | None = None
    coupon: str = ""


def bubbles(content: Content, picture_url: Callable[[object], str | None]) -> list[Bubble]:
    return [
        Bubble(one.kind, one.text, one.title, one.description, picture_url(one.picture_id)) for one in content.answers
    ]


# ---- The list --------------------------------------------------------------------------------------------------------


def index(room: Room, **values: object) -> str:
    """The rules, those that are asked first before the others."""
    wanted = read_query(ListQuery)
    return room.page(
        room.listing,
        rules=reading.listed(g.session, room.merchant_id, now=now(), search=wanted.q),
        deleted=reading.listed(g.session, room.merchant_id, now=now(), is_deleted=True),
        count=writing.count(g.session, room.merchant_id),
        most=writing.MOST_PLATFORM_RULES if room.merchant_id is None else writing.MOST_RULES,
        wanted=wanted,
        **values,
    )


def switch(room: Room, rule_id: int) -> ResponseReturnValue:
    known(room, rule_id)
    form = _sound(SwitchForm)
    is_on = form.is_on == "true"
    writing.switch(g.session, merchant_id=room.merchant_id, rule_id=rule_id, is_on=is_on)
    record("reply_rule.switch", f"reply_rule:{rule_id}", is_on=is_on)
    flash(_("已启用。") if is_on else _("已停用，不再回答。"), "good")
    return redirect(room.home, 303)


def order(room: Room, rule_id: int) -> ResponseReturnValue:
    priority = known(room, rule_id).priority
    wanted = priority + (1 if _sound(OrderForm).step == "up" else -1)
    if wanted in PRIORITIES:
        writing.prioritise(g.session, merchant_id=room.merchant_id, rule_id=rule_id, priority=wanted)
        record("reply_rule.order", f"reply_rule:{rule_id}", priority=wanted)
        flash(_("优先级改为 %(priority)s。", priority=wanted), "good")
    return redirect(room.home, 303)


def copy(room: Room, rule_id: int) -> ResponseReturnValue:
    known(room, rule_id)
    _sound(EmptyForm)
    copied_id = writing.copy(g.session, room.author(), rule_id, now=now())
    record("reply_rule.copy", f"reply_rule:{copied_id}", like=rule_id)
    flash(_("复制好了，先停用着；改好再启用。"), "good")
    return redirect(f"{room.home}/{copied_id}", 303)


def delete(room: Room, rule_id: int) -> ResponseReturnValue:
    known(room, rule_id)
    _sound(EmptyForm)
    writing.delete(g.session, merchant_id=room.merchant_id, rule_id=rule_id, now=now())
    record("reply_rule.delete", f"reply_rule:{rule_id}")
    flash(_("已删除。%(days)s 天内可以在这一页下面恢复。", days=writing.RESTORABLE.days), "good")
    return redirect(room.home, 303)


def restore(room: Room, rule_id: int) -> ResponseReturnValue:
    writing.find_deleted(g.session, room.merchant_id, rule_id, now=now())
    _sound(EmptyForm)
    writing.restore(g.session, room.author(), rule_id, now=now())
    record("reply_rule.restore", f"reply_rule:{rule_id}")
    flash(_("已恢复。"), "good")
    return redirect(room.home, 303)


def withdraw(room: Room, rule_id: int) -> ResponseReturnValue:
    known(room, rule_id)
    _sound(EmptyForm)
    if writing.withdraw(g.session, merchant_id=room.merchant_id, rule_id=rule_id):
        record("reply_rule.withdraw", f"reply_rule:{rule_id}")
    flash(_("已撤回送审的内容。"), "good")
    return redirect(f"{room.home}/{rule_id}", 303)


# ---- Writing ---------------------------------------------------------------------------------------------------------


def new(room: Room, form: Submission[Any] | None = None) -> str:
    """A form with an example in it, or with a question that nobody could answer."""
    if form is not None:
        return form_page(room, None, form)
    words = read_query(NewQuery).keyword
    # A word as short as "你好" stands in many sentences that mean something else.
    mode = Mode.EXACT if len(plain(words)) <= SHORT else Mode.CONTAINS
    heard = {mode.value: words}
    return form_page(room, None, blank(kind1="text", priority=USUAL_PRIORITY, name=words[:NAME_MAX], **heard))


def create(room: Room) -> ResponseReturnValue:
    """Keep a new rule; a merchant's waits for the operator."""
    form = read_form(RuleForm)
    rule_id = 0

    def keep(draft: Draft) -> None:
        nonlocal rule_id
        rule_id = writing.create(g.session, room.author(), draft, hosts=own_hosts(), now=now())

    if not _keep(form, keep):
        return form_page(room, None, form), 422
    record("reply_rule.create", f"reply_rule:{rule_id}")
    _say(room, rule_id, waits=room.merchant_id is not None)
    return redirect(room.home, 303)


def edit(room: Room, rule_id: int) -> str:
    """The form of a rule, with what its author wrote last."""
    kept = reading.one(g.session, room.merchant_id, rule_id, now=now())
    return form_page(room, kept, blank(**_values(kept), seen=writing.mark(g.session, kept.rule)))


def change(room: Room, rule_id: int) -> ResponseReturnValue:
    """Keep a rule as it is now written; what is in force stays so until the new words are approved."""
    kept = reading.one(g.session, room.merchant_id, rule_id, now=now())
    form = read_form(RuleForm)
    waits = False

    def keep(draft: Draft) -> None:
        nonlocal waits
        was = form.data.seen if form.data is not None else ""
        waits = writing.change(g.session, room.author(), rule_id, draft, was=was, hosts=own_hosts(), now=now())

    try:
        is_kept = _keep(form, keep)
    except writing.RuleChanged as refusal:
        # What was typed stays, on top of the newer words: whoever saves once more has been told, and sees them.
        form.values = {**form.values, "seen": writing.mark(g.session, kept.rule)}
        g.session.expire_all()
        kept = reading.one(g.session, room.merchant_id, rule_id, now=now())
        form.errors[""] = refusal_text(refusal)
        return form_page(room, kept, form, is_changed=True), 409
    if not is_kept:
        return form_page(room, kept, form), 422
    record("reply_rule.change", f"reply_rule:{rule_id}")
    _say(room, rule_id, waits=waits)
    return redirect(room.home, 303)


def _keep(form: Submission[RuleForm], keep: Callable[[Draft], None]) -> bool:
    if form.data is None:
        return False
    try:
        keep(_draft(form.data))
    except Invalid as refusal:
        show_refusal(form, refusal)
        return False
    except writing.TooManyRules as refusal:
        form.errors[""] = refusal_text(refusal)
        return False
    return True


def _say(room: Room, rule_id: int, *, waits: bool) -> None:
    """What came of it, and what is worth knowing about its words."""
    flash(_("已交给运营审批，通过后就会自动回答。") if waits else _("已保存，现在就生效。"), "good")
    kept = reading.one(g.session, room.merchant_id, rule_id, now=now())
    for one in shadows.taken(g.session, kept.newest, is_platform=room.merchant_id is None):
        if one.coupon:
            flash(_("“%(words)s”是优惠券“%(coupon)s”的口令：单发这个词是领券，不走这条规则。",
                    words=one.words, coupon=one.coupon), "wait")  # fmt: skip
        else:
            flash(_("单发“%(words)s”由公众号自己回答，不走这条规则。", words=one.words), "wait")
    if found := doubts(kept.newest):
        words = _("、").join(f"“{one.text}”" for one in found)
        flash(_("有些说法运营可能不会通过：%(words)s。点进去看看怎么改。", words=words), "wait")


def _draft(data: RuleForm) -> Draft:
    patterns = [
        Pattern(mode, words)
        for mode, written in ((Mode.EXACT, data.exact), (Mode.CONTAINS, data.contains), (Mode.WILDCARD, data.wildcard))
        for words in porting.parts(written)
    ]
    occasions = [*data.occasions, *(f"{CLICK}{key}" for key in porting.parts(data.menu_keys))]
    answers = []
    for place in PLACES:
        kind, text, title, about, url, picture = (
            getattr(data, f"{name}{place}") for name in ("kind", "text", "title", "description", "url", "picture")
        )
        # Who hands over may leave the words to the human.
        if not kind or (kind == "text" and not text and place == 1 and data.hands_over):
            continue
        answers.append(Answer(kind, text, title, about, url, int(picture) if picture else None))
    content = Content(tuple(patterns), tuple(occasions), tuple(answers), data.hands_over == "true")
    return Draft(data.name, content, int(data.priority), written_hours.parse(data.hours, data.only_on, data.not_on))


def _values(kept: Kept) -> dict[str, object]:
    """A rule as its form shows it."""
    said, hours = kept.newest, kept.hours
    values: dict[str, object] = {
        "name": kept.rule.name,
        "priority": kept.rule.priority,
        "hands_over": said.hands_over,
        "hours": written_hours.spans_text(hours.spans),
        "only_on": written_hours.dates_text(hours.only_on),
        "not_on": written_hours.dates_text(hours.not_on),
        "menu_keys": "\n".join(one.removeprefix(CLICK) for one in said.occasions if one.startswith(CLICK)),
    }
    for mode in Mode:
        values[mode.value] = "\n".join(one.words for one in said.patterns if one.mode is mode)
    for place, one in enumerate(said.answers, start=1):
        values |= {
            f"kind{place}": one.kind,
            f"text{place}": one.text,
            f"title{place}": one.title,
            f"description{place}": one.description,
            f"url{place}": one.url,
            f"picture{place}": one.picture_id,
        }
    values.setdefault("kind1", "text")
    return values


def form_page(room: Room, kept: Kept | None, form: Submission[Any], *, is_changed: bool = False) -> str:
    ticked = request.form.getlist("occasions") if request.method == "POST" else []
    if request.method == "GET" and kept is not None:
        ticked = list(kept.newest.occasions)
    return room.page(
        "rules/form.html",
        kept=kept,
        is_changed=is_changed,
        form=form,
        ticked=ticked,
        kinds=[(one, KINDS[one]) for one in OCCASIONS],
        places=PLACES,
        pictures={place: room.picture_url(form.values.get(f"picture{place}")) for place in PLACES},
        hosts=sorted(own_hosts()),
        presets=_PRESETS,
        limits={"text": writing.ANSWER_MAX, "bytes": TEXT_MAX_BYTES, "patterns": writing.MOST_PATTERNS},
        doubts=doubts(kept.newest) if kept is not None else [],
    )


def doubts(content: Content) -> list[Finding]:
    """What the linter would have reworded."""
    return writing.doubts(content, hosts=own_hosts(), listed=sensitive_words.listed(g.session))


# ---- The tester ------------------------------------------------------------------------------------------------------


def try_out(room: Room) -> str:
    """What would happen if somebody sent this at that moment; nothing is kept of it."""
    wanted = read_query(TrialQuery)
    at = moment_of(wanted.at, "at") if wanted.at else now()
    verdict = None
    if wanted.words or wanted.kind != TEXT:
        verdict = trial.ask(g.session, room.merchant_id, Question(wanted.kind, wanted.words, at=at))
    said: list[Bubble] = []
    if verdict is not None and (winner := verdict.winner) is not None and winner.rule.merchant_id == room.merchant_id:
        kept = reading.one(g.session, room.merchant_id, winner.rule.id, now=now())
        said = bubbles(kept.shown, room.picture_url)
    return room.page(
        "rules/try.html",
        wanted=wanted,
        verdict=verdict,
        said=said,
        at=typed_moment(at),
        kinds=KINDS.items(),
    )


# ---- The table -------------------------------------------------------------------------------------------------------


def table(room: Room, form: Submission[Any] | None = None, faults: list[tuple[int, str, str]] | None = None) -> str:
    return room.page("rules/table.html", form=form or blank(), faults=faults or [], heads=porting.HEADS)


def bring_in(room: Room) -> ResponseReturnValue:
    """Take a table in whole, or show every line that is wrong."""
    form, faults = read_form(EmptyForm), []
    if form.data is not None:
        try:
            content = the_file()
            with g.session.begin_nested():
                many = porting.bring_in(g.session, room.author(), content, hosts=own_hosts(), now=now())
        except porting.Refused as refusal:
            faults = [(one.line, one.column, refusal_text(one.refusal)) for one in refusal.faults]
            form.errors[""] = refusal_text(refusal)
        except NotFound:
            raise
        except BusinessError as refusal:
            form.errors["file"] = refusal_text(refusal)
        else:
            record("reply_rule.import", many=many)
            flash(_("导入了 %(many)s 条，已交给运营审批。", many=many) if room.merchant_id is not None
                  else _("导入了 %(many)s 条，现在就生效。", many=many), "good")  # fmt: skip
            return redirect(room.home, 303)
    return table(room, form, faults), 422


def export(room: Room) -> ResponseReturnValue:
    """The rules as a table for a spreadsheet."""
    _sound(EmptyForm)
    rules = reading.listed(g.session, room.merchant_id, now=now())
    record("reply_rule.export", rules=len(rules))
    return csv_answer(_("自动回复"), porting.HEADS, [porting.row(one) for one in rules])


def example() -> ResponseReturnValue:
    """A table to begin with."""
    return csv_answer(_("自动回复模板"), porting.HEADS, porting.EXAMPLES)


def known(room: Room, rule_id: int) -> Any:
    """A rule of this room; anybody else's is missing (TN-3)."""
    return writing.find(g.session, room.merchant_id, rule_id)


def _sound(model: type[Any]) -> Any:
    """The form of a button; whoever sends anything else is told so."""
    form = read_form(model)
    if form.data is None:
        raise Invalid("表单内容不对，请刷新页面再试。")
    return form.data
