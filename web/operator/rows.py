"""明细: the scans, people, follows or leaves behind a figure of any page about traffic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from flask import Blueprint, g
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from pydantic import Field
from sqlalchemy.orm import Session

from core.errors import Invalid, NotFound
from merchants.models import Community
from qrcodes import happenings, insights
from qrcodes.counted import NOBODY
from qrcodes.happenings import Behind, Figure, Key, Side
from qrcodes.insights import Grouping
from qrcodes.models import CodeKind, SubQrCode
from qrcodes.traffic import Range
from web.auth.access import operator_required
from web.operator.desk import PAGE, here
from web.operator.insights import group_name
from web.operator.spans import LONGEST_DAYS, SpanQuery, merchant_named, with_days
from web.operator.traffic import figure_name
from web.operator.words import weekdays
from web.query import Id, RowKey, Words, read_query

blueprint = Blueprint("rows", __name__, url_prefix="/traffic")

REST: Final = "others"
"""In place of a merchant of the flow: all those that have no line or column of their own."""
OF_PAGES: Final = frozenset({"span", "since", "until", "before"})
"""What an export is not asked for: it says its days itself, and is of all pages."""
SHARES: Final = frozenset({Figure.WON, Figure.KEPT})


class RowsQuery(SpanQuery):
    """Which rows: of everybody, of one merchant or code, of a group of codes, or of nobody."""

    figure: Figure = Figure.SCANS
    merchant: Id | None = None
    code: Id | None = None
    whose: Literal["nobody"] | None = None
    by: Grouping | None = None
    group: Words = ""
    days: Annotated[int, Field(ge=1, le=366)] | None = None
    weekday: Annotated[int, Field(ge=0, le=6)] | None = None
    hour: Annotated[int, Field(ge=0, le=23)] | None = None
    source: Id | Literal["others"] | None = None
    target: Id | Literal["others"] | None = None
    before: RowKey | None = None

    @property
    def is_of_hours(self) -> bool:
        return self.weekday is not None or self.hour is not None

    @property
    def longest_days(self) -> int | None:
        """Rows come page by page, however many days they are of; hours are looked up day by day."""
        return LONGEST_DAYS if self.is_of_hours else None


@dataclass(frozen=True)
class Narrowing:
    """One condition, and the page without it."""

    words: str
    without: str


@blueprint.get("/rows")
@operator_required
def rows() -> ResponseReturnValue:
    """The rows behind a figure, the latest first."""
    wanted = read_query(RowsQuery)
    refuse_odd(wanted)
    narrowings = _narrowings(wanted)

    def show(span: Range) -> dict[str, Any]:
        key = Key.parse(wanted.before) if wanted.before else None
        found = happenings.page(g.session, behind(g.session, wanted, span), before=key, limit=PAGE + 1)
        return {
            "narrowings": narrowings,
            "rows": found[:PAGE],
            "newest": here(before=None) if wanted.before else None,
            "older": here(before=str(found[PAGE - 1].key)) if len(found) > PAGE else None,
            "chips": _chips(wanted),
            "asked": {name: str(value) for name, value in wanted if value is not None and name not in OF_PAGES},
        }

    return with_days("operator/rows.html", wanted, show, longest=wanted.longest_days)


def refuse_odd(wanted: RowsQuery) -> None:
    """Raise `Invalid` for conditions that do not go together, `NotFound` for a group there is not."""
    is_onward = wanted.figure is Figure.ONWARD
    fits = (
        (wanted.days is None or wanted.figure in SHARES)
        and (not wanted.is_of_hours or wanted.figure is Figure.SCANS)
        and (is_onward or (wanted.source is None and wanted.target is None))
        and not (is_onward and (wanted.code or wanted.by))
        and wanted.by is not Grouping.PROMOTER
    )
    if not fits:
        raise Invalid(_("网址里的条件不对，请返回再试。"))
    if wanted.by:
        _group_words(wanted.by, wanted.group)


def behind(session: Session, wanted: RowsQuery, span: Range) -> Behind:
    """What the asked for figure is about."""
    codes, merchants = _members(session, wanted)
    flow = insights.flow(session, span) if REST in (wanted.source, wanted.target) else None
    return Behind(
        wanted.figure,
        span,
        merchant_id=NOBODY if wanted.whose else wanted.merchant,
        code_id=wanted.code,
        merchant_ids=merchants,
        code_ids=codes,
        after=wanted.days,
        weekday=wanted.weekday,
        hour=wanted.hour,
        source=_side(wanted.source, flow.sources if flow else ()),
        target=_side(wanted.target, flow.targets if flow else ()),
    )


def _members(session: Session, wanted: RowsQuery) -> tuple[list[int] | None, list[int] | None]:
    """The codes or the merchants of the asked for group."""
    if wanted.by is None:
        return None, None
    found = insights.members(session, wanted.by, wanted.group)
    return (None, found) if wanted.by is Grouping.COMMUNITY else (found, None)


def _side(chosen: int | str | None, places: tuple[insights.Place, ...]) -> Side | None:
    if chosen is None:
        return None
    if isinstance(chosen, int):
        return Side([chosen])
    return Side([place.merchant_id for place in places if place.merchant_id is not None], is_rest=True)


def _chips(wanted: RowsQuery) -> list[tuple[str, str, bool]]:
    """Other figures of the same, and the one that is shown."""
    everybodys = [Figure.SCANS, Figure.SCANNERS, Figure.NEW, Figure.RETURNING, Figure.LOST]
    if wanted.figure not in everybodys:
        everybodys.append(wanted.figure)
    narrow = dict.fromkeys(("days", "weekday", "hour", "source", "target", "before"))
    return [
        (figure_name(one), here() if one is wanted.figure else here(**narrow, figure=one), one is wanted.figure)
        for one in everybodys
    ]


def _narrowings(wanted: RowsQuery) -> list[Narrowing]:
    """What the rows are narrowed to, in words; raises `NotFound` for a merchant or code there is not."""
    found = []

    def note(words: str, *names: str) -> None:
        found.append(Narrowing(words, here(before=None, **dict.fromkeys(names))))

    if merchant := merchant_named(wanted.merchant):
        note(_("只看 %(name)s", name=merchant.name), "merchant")
    if wanted.code:
        code = g.session.get(SubQrCode, wanted.code)
        if code is None:
            raise NotFound("没有这个二维码。")
        note(_("只看码 %(name)s", name=code.label), "code")
    if wanted.whose:
        note(_("只看未归属"), "whose")
    if wanted.by:
        note(_("只看 %(name)s", name=_group_words(wanted.by, wanted.group)), "by", "group")
    if wanted.days:
        asked = _("只看满 %(n)s 天还在的") if wanted.figure is Figure.KEPT else _("只看已经满 %(n)s 天的")
        note(asked % {"n": wanted.days}, "days")
    if wanted.weekday is not None:
        note(_("只看 %(name)s", name=weekdays()[wanted.weekday]), "weekday")
    if wanted.hour is not None:
        note(_("只看 %(hour)s 点", hour=wanted.hour), "hour")
    if wanted.source:
        note(_("%(name)s带来的", name=_place_words(wanted.source)), "source")
    if wanted.target:
        note(_("接着扫了%(name)s的码", name=_place_words(wanted.target)), "target")
    return found


def _group_words(by: Grouping, key: str) -> str:
    if by is Grouping.COMMUNITY:
        community = g.session.get(Community, int(key)) if key.isascii() and key.isdecimal() and len(key) < 19 else None
        if community is None:
            raise NotFound("没有这个社区。")
        return str(community.name)
    if by is Grouping.KIND and key not in set(CodeKind):
        raise NotFound("没有这种用途。")
    return group_name(key, by)


def _place_words(chosen: int | str) -> str:
    if not isinstance(chosen, int):
        return str(_("其他商户"))
    merchant = merchant_named(chosen)
    return str(merchant.name) if merchant else ""
