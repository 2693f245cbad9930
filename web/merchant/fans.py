"""粉丝: the list with search and filters, its export, and one fan's story, note and tags."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlencode

from flask import Blueprint, flash, g, redirect, render_template
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from pydantic import StringConstraints
from sqlalchemy.orm import Session

from bot.talks import reading
from campaigns import audience
from campaigns.points import ledger, levels
from core.clock import business_day
from core.database import Role
from core.errors import Invalid, NotFound
from merchants.models import StaffRole
from qrcodes import codes, fans
from qrcodes.fans import FanRow, Filter
from web.acts import record
from web.auth.access import merchant_required
from web.context import now
from web.exports import Cell, csv_answer, rows_from
from web.forms import Form, Paragraph, Submission, blank, read_form
from web.language import refusal_text
from web.live import live_page
from web.merchant import benefit_conditions
from web.merchant.benefit_conditions import Coupon, Level, Points, Redeemed
from web.merchant.words import fan_number, show_refusal
from web.query import Id, Query, Words, read_query
from web.security import limiter

blueprint = Blueprint("merchant_fans", __name__, url_prefix="/merchant/fans")

PAGE = 50
MICROSECONDS = 1_000_000
TAG_SEPARATORS = re.compile(r"[,，、;；\n]+")

Cursor = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,17}-[0-9A-Z]{10}$")]
"""When the last fan of the page before was seen, and that fan's number: nothing of ours inside."""


Days = Literal["7", "30", "90", "180"]
Visits = Literal["2", "3", "5", "10"]


class Wishes(Query):
    """Whom to list."""

    q: Words = ""
    code: Id | None = None
    following: Literal["1"] | None = None
    acquired: Literal["1"] | None = None
    came: Days | None = None
    seen: Days | None = None
    away: Days | None = None
    visits: Visits | None = None
    coupon: Coupon | None = None
    redeemed: Redeemed | None = None
    points: Points | None = None
    level: Level | None = None
    tag: Words = ""

    @property
    def filter(self) -> Filter:
        return Filter(
            search=self.q,
            code_id=self.code,
            following_only=self.following is not None,
            acquired_only=self.acquired is not None,
            came_within_days=_number(self.came),
            seen_within_days=_number(self.seen),
            away_for_days=_number(self.away),
            visits_at_least=_number(self.visits),
            tag=self.tag,
            **benefit_conditions.chosen(self),
        )

    @property
    def given(self) -> dict[str, str]:
        """The wishes that are not empty, as an address or a hidden field carries them."""
        return {name: str(value) for name in Wishes.model_fields if (value := getattr(self, name))}

    def path(self, **changes: object) -> str:
        """The list with some wishes changed; a page starts over with them."""
        given = {name: value for name, value in {**self.given, **changes}.items() if value}
        return "/merchant/fans" + (f"?{urlencode(given)}" if given else "")


def path_of(wanted: Filter) -> str:
    """The list that a group's conditions mean."""
    given = {
        "q": wanted.search,
        "code": wanted.code_id,
        "following": "1" if wanted.following_only else "",
        "acquired": "1" if wanted.acquired_only else "",
        "came": wanted.came_within_days,
        "seen": wanted.seen_within_days,
        "away": wanted.away_for_days,
        "visits": wanted.visits_at_least,
        **benefit_conditions.as_chosen(wanted),
        "tag": wanted.tag,
    }
    return Wishes().path(**given)


def _number(text: str | None) -> int | None:
    return None if text is None else int(text)


class FansQuery(Wishes):
    before: Cursor | None = None


class GroupForm(Wishes):
    """The conditions of the list as it is shown, and what to call them."""

    name: Words = ""
    is_tag: Literal["true"] | None = None


class TagForm(Query):
    """Whether a group's name is shown at its fans."""

    is_tag: Literal["true"] | None = None


class FanForm(Form):
    """What a shop remembers of a fan."""

    note: Paragraph = ""
    tags: Paragraph = ""


@blueprint.get("")
@merchant_required()
def list_fans() -> ResponseReturnValue:
    """One page of fans, the latest seen first."""
    query = read_query(FansQuery)
    merchant_id = g.staff.merchant_id
    found = fans.page(g.session, merchant_id, query.filter, before=_before(merchant_id, query.before), limit=PAGE + 1)
    shown = found[:PAGE]

    def around() -> dict[str, object]:
        """What stands above the list."""
        groups = audience.groups(g.session, merchant_id=merchant_id)
        here = query.path()
        return {
            "matching": fans.count(g.session, merchant_id, query.filter) if query.given else None,
            "codes": codes.list_codes(g.session, merchant_id=merchant_id),
            "tags": fans.known_tags(g.session, merchant_id),
            "groups": [(group, path_of(group.wanted), path_of(group.wanted) == here) for group in groups],
            "day_choices": [(days, _("%(days)s 天", days=days)) for days in get_args(Days)],
            "visit_choices": [(visits, _("%(count)s 次", count=visits)) for visits in get_args(Visits)],
            **benefit_conditions.choices(),
        }

    return live_page(
        "merchant/fans.html",
        "merchant/_fans.html",
        is_polling=query.before is None,
        query=query,
        counts=fans.counts(g.session, merchant_id),
        fans=shown,
        older=_cursor(shown[-1]) if len(found) > PAGE else None,
        rule_tags=audience.tags_by_rule(
            g.session, merchant_id=merchant_id, follower_ids=[fan.follower_id for fan in shown]
        ),
        around=around,
    )


@blueprint.post("/groups")
@merchant_required()
def save_group() -> ResponseReturnValue:
    """Keep the conditions of the list under a name."""
    wishes = read_query(GroupForm)
    merchant_id = g.staff.merchant_id
    path = path_of(wishes.filter)
    try:
        segment_id = audience.save(
            g.session,
            merchant_id=merchant_id,
            name=wishes.name,
            wanted=wishes.filter,
            is_tag=wishes.is_tag is not None,
        )
    except (Invalid, audience.NothingWanted) as refusal:
        flash(refusal_text(refusal), "bad")
        return redirect(path, 303)
    group = audience.group(g.session, merchant_id=merchant_id, segment_id=segment_id)
    flash(_("已存成分组“%(name)s”，现在有 %(count)s 人。", name=group.name, count=group.count), "good")
    return redirect(path, 303)


@blueprint.post("/groups/<int:segment_id>/remove")
@merchant_required()
def remove_group(segment_id: int) -> ResponseReturnValue:
    """Forget a group; its fans stay."""
    name = audience.remove(g.session, merchant_id=g.staff.merchant_id, segment_id=segment_id)
    flash(_("已删掉分组“%(name)s”，粉丝都还在。", name=name), "good")
    return redirect("/merchant/fans", 303)


@blueprint.post("/groups/<int:segment_id>/tag")
@merchant_required()
def tag_group(segment_id: int) -> ResponseReturnValue:
    """Show the group's name at its fans, or no longer."""
    form = read_query(TagForm)
    merchant_id = g.staff.merchant_id
    audience.set_tag(g.session, merchant_id=merchant_id, segment_id=segment_id, is_tag=form.is_tag is not None)
    return redirect(path_of(audience.group(g.session, merchant_id=merchant_id, segment_id=segment_id).wanted), 303)


def _cursor(last: FanRow) -> str:
    return f"{round(last.last_seen_at.timestamp() * MICROSECONDS)}-{last.number}"


def _before(merchant_id: int, cursor: str | None) -> tuple[datetime, int] | None:
    if cursor is None:
        return None
    moment, _dash, number = cursor.partition("-")
    try:
        at = datetime.fromtimestamp(int(moment) / MICROSECONDS, UTC)
    except (OverflowError, ValueError, OSError):
        raise Invalid("网址里的条件不对，请返回再试。") from None
    try:
        return at, fans.by_number(g.session, merchant_id, number).follower_id
    except NotFound:
        # Erased since: who was seen in the same moment has been shown, or comes with the next visit.
        return at, 0


@blueprint.post("/export")
@merchant_required(StaffRole.OWNER)
@limiter.limit("10 per minute")
def export() -> ResponseReturnValue:
    """The fans that match as a spreadsheet."""
    wishes = read_query(Wishes)
    merchant_id = g.staff.merchant_id
    record("export", "fans")
    heads = (
        *(_("编号"), _("在关注"), _("本店带来"), _("第一次来"), _("第一次扫的码"), _("最近一次"), _("最近扫的码")),
        *(_("标签"), _("备注")),
    )
    yes, no = _("是"), _("否")

    def read(session: Session) -> Iterator[Sequence[Cell]]:
        for fan in fans.everybody(session, merchant_id, wishes.filter):
            yield (
                fan_number(fan.number),
                yes if fan.following else no,
                yes if fan.acquired else no,
                fan.first_seen_at,
                fan.first_code,
                fan.last_seen_at,
                fan.last_code,
                "、".join(fan.tags),
                fan.note,
            )

    name = _("粉丝 %(day)s", day=business_day(now()).isoformat())
    return csv_answer(name, heads, rows_from(read, role=Role.MERCHANT, merchant_id=merchant_id))


@blueprint.get("/<number>")
@merchant_required()
def show(number: str) -> ResponseReturnValue:
    """One fan."""
    fan = fans.by_number(g.session, g.staff.merchant_id, number)
    return _fan_page(fan, blank(note=fan.note, tags="，".join(fan.tags)))


@blueprint.post("/<number>")
@merchant_required()
def remember(number: str) -> ResponseReturnValue:
    """Keep a note and tags."""
    merchant_id = g.staff.merchant_id
    fan = fans.by_number(g.session, merchant_id, number)
    form = read_form(FanForm)
    if form.data is None:
        return _fan_page(fan, form), 422
    try:
        fans.set_note(g.session, merchant_id, fan.follower_id, form.data.note)
        fans.set_tags(g.session, merchant_id, fan.follower_id, TAG_SEPARATORS.split(form.data.tags))
    except Invalid as refusal:
        show_refusal(form, refusal)
        return _fan_page(fan, form), 422
    flash(_("已保存。"), "good")
    return redirect(f"/merchant/fans/{number}", 303)


def _fan_page(fan: FanRow, form: Submission[Any]) -> str:
    merchant_id = g.staff.merchant_id
    return render_template(
        "merchant/fan.html",
        fan=fan,
        form=form,
        moments=fans.timeline(g.session, merchant_id, fan.follower_id),
        balance=ledger.balance_of(g.session, merchant_id=merchant_id, follower_id=fan.follower_id, now=now()),
        standing=levels.standing(g.session, merchant_id=merchant_id, follower_id=fan.follower_id, now=now()),
        rule_tags=audience.tags_by_rule(g.session, merchant_id=merchant_id, follower_ids=[fan.follower_id]),
        talk_id=reading.talk_of(g.session, merchant_id=merchant_id, follower_id=fan.follower_id),
        known_tags=[tag for tag in fans.known_tags(g.session, merchant_id) if tag not in fan.tags],
    )
