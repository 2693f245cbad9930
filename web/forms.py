"""Forms as typed models: what a page may send is a pydantic model, everything else is refused (422).

class MerchantForm(Form):
    name: OneLine

form = read_form(MerchantForm)
if form.data is not None:
    try:
        service(..., name=form.data.name)
    except Invalid as refusal:
        form.refuse(refusal)
    else:
        return redirect(...)
return render_template("page.html", form=form), 422
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar, get_origin

from flask import Flask, request
from flask_babel import gettext
from flask_babel import lazy_gettext as _l
from pydantic import BaseModel, ConfigDict, SecretStr, StringConstraints, ValidationError
from pydantic_core import ErrorDetails

from core.clock import SHANGHAI, YEARS
from core.errors import Invalid
from web.language import refusal_text

MOMENT = "%Y-%m-%dT%H:%M"
"""A moment as a browser's field for one spells it; the clock on the wall is Shanghai's."""
NOT_FIELDS = frozenset({"csrf_token"})


def register(app: Flask) -> None:
    """Let forms say above their fields what is wrong."""
    app.add_template_filter(faults_above)


class Form(BaseModel):
    """What one page may send. Field names are those of the HTML inputs; unknown ones are refused (#67)."""

    model_config = ConfigDict(extra="forbid", frozen=True)


OneLine = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]*$")
]
"""A name or label: something is in it, and it has no line breaks."""
OptionalLine = Annotated[str, StringConstraints(strip_whitespace=True, max_length=64, pattern=r"^[^\x00-\x1f\x7f]*$")]
"""The same, but it may be empty."""
PARAGRAPH = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$"
Paragraph = Annotated[str, StringConstraints(strip_whitespace=True, max_length=2000, pattern=PARAGRAPH)]
"""Longer text, with line breaks."""

WRONG = _l("这一项不对，请检查。")
SENTENCES = {
    "missing": _l("请填写这一项。"),
    "string_too_short": _l("至少 %(min_length)s 个字。"),
    "string_too_long": _l("最多 %(max_length)s 个字。"),
    "string_pattern_mismatch": _l("格式不对，请检查。"),
    "extra_forbidden": _l("表单里有不认识的内容，请刷新页面再试。"),
    "enum": _l("请从列出的选项里选。"),
    "literal_error": _l("请从列出的选项里选。"),
    "int_parsing": _l("请填整数。"),
    "greater_than_equal": _l("不能小于 %(ge)s。"),
    "less_than_equal": _l("不能大于 %(le)s。"),
}
"""What people read for each kind of fault that pydantic finds."""

LONG = 6
"""A form of so many fields may not fit a phone's screen."""
_LABEL = re.compile(r'<label class="form-label" for="([^"]+)">([^<]*)')

FormT = TypeVar("FormT", bound=Form)


@dataclass
class Submission(Generic[FormT]):
    """What was sent: as typed (to show it again), what is wrong with it, and the data if nothing is."""

    values: Mapping[str, str]
    errors: dict[str, str] = field(default_factory=dict)
    data: FormT | None = None
    lists: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """As typed, the fields that share one name."""

    def refuse(self, refusal: Invalid) -> None:
        """Show a service's refusal at the field it is about, or above the form."""
        self.errors[refusal.field if refusal.field in self.values else ""] = refusal_text(refusal)


def blank(**values: object) -> Submission[Any]:
    """A form to be filled in, with what is known already."""
    return Submission({name: _shown(value) for name, value in values.items()})


def read_form(model: type[FormT]) -> Submission[FormT]:
    """Read this request's form as `model`; a field sent twice, unknown or wrong ends up in `errors`.

    Boxes to tick share one name: a field of type `tuple[…, ...]` takes all that were ticked.
    """
    sent = {name: request.form.getlist(name) for name in request.form if name not in NOT_FIELDS}
    many = {name for name, info in model.model_fields.items() if get_origin(info.annotation) is tuple}
    lists = {name: tuple(sent.pop(name)) for name in many & sent.keys()}
    values = {name: items[-1] for name, items in sent.items()}
    secret = {name for name, info in model.model_fields.items() if info.annotation is SecretStr}
    typed = {name: "" if name in secret else text for name, text in values.items()}
    submission: Submission[FormT] = Submission(typed, lists=lists)
    if any(len(items) > 1 for items in sent.values()) or any("\0" in text for text in values.values()):
        submission.errors[""] = gettext("表单内容不对，请刷新页面再试。")
        return submission
    try:
        submission.data = model.model_validate(values | lists)
    except ValidationError as refusal:
        for fault in refusal.errors(include_url=False, include_context=True):
            name = str(fault["loc"][0]) if fault["loc"] else ""
            is_field = name in model.model_fields
            submission.errors.setdefault(name if is_field else "", _sentence(fault))
    return submission


@dataclass(frozen=True)
class Fault:
    """What is wrong with one field, as it is said above a long form."""

    name: str
    label: str
    """What the field is called; empty where the form does not say."""
    sentence: str
    is_there: bool
    """Whether the form has a place of this name to go to."""


def faults_above(form: Submission[Any], fields: str) -> list[Fault]:
    """What is said above a form about its fields, in their order; nothing where all of them are in view anyway."""
    if fields.count(' name="') < LONG:
        return []
    labels = {name: text.strip() for name, text in _LABEL.findall(fields)}
    places = {name: fields.find(f' id="{name}"') for name in form.errors if name}
    return [
        Fault(name, labels.get(name, ""), form.errors[name].partition("\n")[0], place >= 0)
        for name, place in sorted(places.items(), key=lambda one: one[1])
    ]


def typed_moment(moment: datetime) -> str:
    """A moment as an input of type datetime-local holds it."""
    return moment.astimezone(SHANGHAI).strftime(MOMENT)


def moment_of(typed: str, field: str) -> datetime:
    """What an input of type datetime-local says; raises Invalid on that field where it says nothing of the kind."""
    try:
        moment = datetime.strptime(typed, MOMENT).replace(tzinfo=SHANGHAI)
    except ValueError:
        moment = None
    if moment is None or moment.year not in YEARS:
        raise Invalid("请选一个日期和时间。", field=field)
    return moment


def the_file() -> bytes:
    """What was uploaded as "file", which is the only one; raises Invalid where there is none, or another beside it."""
    file = request.files.get("file")
    if file is None or len(request.files) > 1 or not file.filename:
        raise Invalid("请选择一个文件。", field="file")
    return file.stream.read()


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else ""
    return "" if value is None else str(value)


def _sentence(fault: ErrorDetails) -> str:
    """One kind of fault in a shopkeeper's words."""
    limits: dict[str, Any] = fault.get("ctx", {})
    is_empty = fault["type"] == "string_too_short" and limits["min_length"] == 1
    return str(SENTENCES.get("missing" if is_empty else fault["type"], WRONG)) % limits
