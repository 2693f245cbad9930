"""What the operator's and the merchants' pages of codes share: filters, forms, acts on many at once, and the table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

from flask import Flask, g
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field

from core.clock import business_day
from core.errors import Invalid
from qrcodes import codes, queries
from qrcodes.codes import MOST_A_DAY, MOST_COPIES, MOST_FEN, Changes, Wanted
from qrcodes.models import BY_HAND, CodeKind, SubQrCode
from qrcodes.queries import ALARM_DAYS, CodeFilter, CodeRow, Life
from web.context import current_runtime, now
from web.exports import Cell
from web.forms import Form, OneLine, OptionalLine, Submission, blank
from web.query import Id, Words
from web.words import CODE_KINDS, CODE_LIVES

AT_ONCE: Final = 5_000
"""Codes that one click may change: everything a filter shows, within reason."""
MOST_TICKED: Final = 200
CHANGED: Final = "code.edit_many"
RETIRED: Final = "code.retire_many"


def _nothing_typed(typed: object) -> object:
    return None if typed == "" else typed


def _by_hand(kind: CodeKind) -> CodeKind:
    if kind not in BY_HAND:
        raise ValueError("made by itself")
    return kind


def _whole_fen(amount: Decimal) -> Decimal:
    if amount != round(amount, 2):
        raise ValueError("finer than a fen")
    return amount


Kind = Annotated[CodeKind, AfterValidator(_by_hand)]
Goal = Annotated[Annotated[int, Field(ge=0, le=MOST_A_DAY)] | None, BeforeValidator(_nothing_typed)]
"""New followers a day; 0 is none."""
Count = Annotated[Annotated[int, Field(ge=0, le=MOST_COPIES)] | None, BeforeValidator(_nothing_typed)]
Yuan = Annotated[
    Annotated[Decimal, Field(ge=0, le=MOST_FEN // 100), AfterValidator(_whole_fen)] | None,
    BeforeValidator(_nothing_typed),
]
"""An amount as people write it; empty is none."""
Day = Annotated[date | None, BeforeValidator(_nothing_typed)]


def fen(amount: Decimal | None) -> int:
    """12.5 → 1250."""
    return 0 if amount is None else int(amount * 100)


def yuan(amount: int) -> str:
    """1250 → 12.50, 1200 → 12; nothing → an empty field."""
    if not amount:
        return ""
    return f"{amount // 100}" if amount % 100 == 0 else f"{amount / 100:.2f}"


class Conditions(BaseModel):
    """What a list of codes is narrowed by, in its address and in the form that acts on what it shows."""

    q: Words = ""
    kind: CodeKind | None = None
    group: Words = ""
    batch: Words = ""
    life: Life | None = None

    def within(self, scope: CodeFilter) -> CodeFilter:
        """The codes of a scope that meet the conditions."""
        return replace(scope, search=self.q, kind=self.kind, group=self.group, batch=self.batch, life=self.life)


class RegisterForm(Form):
    """Everything about a code that may change once it is printed."""

    label: OneLine
    kind: Kind
    place: OptionalLine = ""
    group: OptionalLine = ""
    batch: OptionalLine = ""
    copies: Count = None
    cost: Yuan = None
    goal: Goal = None
    valid_from: Day = None
    valid_to: Day = None

    @property
    def wanted(self) -> Wanted:
        return Wanted(
            self.label,
            self.kind,
            self.place,
            group=self.group,
            batch=self.batch,
            copies=self.copies or 0,
            cost_fen=fen(self.cost),
            daily_goal=self.goal or 0,
            valid_from=self.valid_from,
            valid_to=self.valid_to,
        )


def filled(code: SubQrCode) -> Submission[Any]:
    """The form of a code as it is."""
    return blank(
        label=code.label,
        kind=code.kind,
        place=code.place,
        group=code.group_name,
        batch=code.batch,
        copies=code.printed_copies or "",
        cost=yuan(code.cost_fen),
        goal=code.daily_goal or "",
        valid_from=code.valid_from,
        valid_to=code.valid_to,
    )


class ManyForm(Form):
    """What to do with the codes that are ticked, or with all that the list shows; it comes with the list's conditions.

    `new_…` say what becomes of the codes, an empty one leaves a thing as it is.
    """

    scope: Literal["ticked", "all"] = "ticked"
    code: Annotated[tuple[Id, ...], Field(max_length=MOST_TICKED)] = ()
    act: Literal["change", "retire"]
    new_kind: Annotated[Kind | None, BeforeValidator(_nothing_typed)] = None
    new_place: OptionalLine = ""
    new_group: OptionalLine = ""
    new_batch: OptionalLine = ""
    new_cost: Yuan = None
    new_goal: Goal = None

    @property
    def changes(self) -> Changes:
        return Changes(
            kind=self.new_kind,
            place=self.new_place or None,
            group=self.new_group or None,
            batch=self.new_batch or None,
            cost_fen=None if self.new_cost is None else fen(self.new_cost),
            daily_goal=self.new_goal,
        )


@dataclass(frozen=True)
class Act:
    """What was done to how many codes."""

    name: str
    code_ids: list[int]

    @property
    def sentence(self) -> str:
        if self.name == RETIRED:
            return str(_("已停用 %(count)s 个码。", count=len(self.code_ids)))
        return str(_("已修改 %(count)s 个码。", count=len(self.code_ids)))


def act_on_many(form: ManyForm, wanted: CodeFilter, *, merchant_id: int | None) -> Act:
    """Do what the form of a list says to codes of one merchant, or of any. Raises `Invalid`."""
    code_ids: Sequence[int] = form.code
    if form.scope == "all":
        code_ids = queries.matching(g.session, wanted=wanted, now=now(), limit=AT_ONCE + 1)
    if not code_ids:
        raise Invalid(_("请先勾选要处理的码。"))
    if len(code_ids) > AT_ONCE:
        raise Invalid(_("一次最多处理 %(most)s 个码，请先缩小范围。", most=AT_ONCE))
    if form.act == "retire":
        act = Act(RETIRED, codes.retire_many(g.session, code_ids=code_ids, merchant_id=merchant_id, now=now()))
    else:
        changed = codes.edit_many(g.session, code_ids=code_ids, merchant_id=merchant_id, changes=form.changes)
        act = Act(CHANGED, changed)
    if not act.code_ids:
        raise Invalid(_("选中的码都已经停用了。"))
    return act


HEADS: Final = (
    _l("编号"), _l("二维码"), _l("商户"), _l("用途"), _l("位置"), _l("分组"), _l("批次"), _l("份数"), _l("成本（元）"),
    _l("每日目标"), _l("启用"), _l("停用"), _l("状态"), _l("到期"), _l("公开页面"), _l("新建时间"),
)  # fmt: skip


def table_row(row: CodeRow, state: str) -> tuple[Cell, ...]:
    """A code as a line of an export."""
    code = row.code
    public_url = current_runtime().settings.public_url
    return (
        code.id, code.label, row.merchant_name, str(CODE_KINDS.get(code.kind, code.kind)), code.place, code.group_name,
        code.batch, code.printed_copies, yuan(code.cost_fen), code.daily_goal, code.valid_from, code.valid_to, state,
        code.expires_at, f"{public_url}/q/{code.public_id}", code.created_at,
    )  # fmt: skip


@dataclass(frozen=True)
class Filters:
    """What a list of codes may be narrowed to, for its form of conditions."""

    kinds: list[tuple[str, str]]
    lives: list[tuple[str, str]]
    groups: list[str]
    batches: list[str]


def filters(merchant_id: int | None = None) -> Filters:
    """The choices of one merchant's list, or of the operator's."""
    groups, batches = queries.groups_and_batches(g.session, merchant_id=merchant_id)
    every: list[tuple[str, str]] = [(kind, str(CODE_KINDS[kind])) for kind in CodeKind]
    return Filters(every, [(life, str(CODE_LIVES[life])) for life in Life], groups, batches)


def kinds() -> list[tuple[str, str]]:
    """What somebody may make a code for."""
    return [(kind, str(CODE_KINDS[kind])) for kind in BY_HAND]


def days_left(code: SubQrCode) -> int:
    """Whole days until a temporary code ends; 0 is today."""
    return 0 if code.expires_at is None else max(0, (code.expires_at - now()).days)


def out_of_season(code: SubQrCode) -> str:
    """Why a code should not be hanging today; empty where it may."""
    today = business_day(now())
    if code.valid_from is not None and today < code.valid_from:
        return str(_("还没到启用日"))
    if code.valid_to is not None and today > code.valid_to:
        return str(_("已过停用日，请撤下"))
    return ""


@dataclass(frozen=True)
class Ending:
    """Temporary codes that end soon, for the note above a list."""

    within_a_day: int
    within_three: int
    within_a_week: int
    """Each counts those of the one before."""


def ending(merchant_id: int | None = None) -> Ending | None:
    """What ends within a week, of one merchant or of all; None when nothing does."""
    soon = queries.expiring(g.session, now(), merchant_id=merchant_id, limit=AT_ONCE)
    if not soon:
        return None
    return Ending(*(sum(one.days <= days for one in soon) for days in ALARM_DAYS))


def register(app: Flask) -> None:
    """Make the words about codes known to templates."""
    for filter_ in (days_left, out_of_season, yuan):
        app.add_template_filter(filter_)
