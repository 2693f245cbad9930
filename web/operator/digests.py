"""合集: approved items of several merchants gathered into one message, who gets what, and the operator's consent."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from flask import Blueprint, flash, g, redirect, render_template
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from markupsafe import Markup

from campaigns.broadcasts import bank, control, digest
from campaigns.broadcasts.digest import Unserved
from campaigns.broadcasts.models import Broadcast, BroadcastState, NotReached
from core.clock import SHANGHAI
from core.errors import Invalid
from web.acts import record
from web.auth.access import operator_required
from web.broadcast_words import REASONS
from web.context import now
from web.forms import Form, OneLine, OptionalLine, Submission, blank, read_form
from web.operator.desk import PAGE, account, page_of
from web.query import Id, Query, read_query

blueprint = Blueprint("digests", __name__, url_prefix="/digests")

ROOM = "/operator/digests"
AHEAD = frozenset({BroadcastState.DRAFT, BroadcastState.APPROVED, BroadcastState.LATE, BroadcastState.FREEZING})
"""Nothing is frozen yet: who gets what is looked up anew."""
WHY: dict[str, Any] = {
    **REASONS,
    NotReached.MUTED: _l("退订了这家店"),
    NotReached.NO_MERCHANT: _l("没有一组里全是他的店"),
    Unserved.HAD: _l("在停下的合集里收到过了"),
    Unserved.LEFT_OUT: _l("他那一组没放这一条"),
}


class ListQuery(Query):
    before: Id | None = None


class NewForm(Form):
    name: OneLine


class ItemForm(Form):
    item: Id


class MoveForm(Form):
    by: Literal["up", "down"]


class WhenForm(Form):
    """When it is to go out: at once, or at a time as the browser writes it."""

    when: Literal["now", "at"] = "now"
    at: str = ""

    @property
    def moment(self) -> datetime | None:
        if self.when == "now":
            return None
        try:
            return datetime.fromisoformat(self.at).replace(tzinfo=SHANGHAI)
        except ValueError:
            raise Invalid("请选一个将来的时间。", field="at") from None


class ConsentForm(WhenForm):
    """And what the operator saw."""

    seen: OptionalLine


@blueprint.app_template_filter("digest_why")
def why(reason: str) -> str:
    """Why a fan goes without an item."""
    return str(WHY.get(reason, reason))


@blueprint.get("")
@operator_required
def index() -> str:
    """All digests, and what waits for one."""
    return _list(blank())


@blueprint.post("")
@operator_required
def create() -> ResponseReturnValue:
    """Begin a digest."""
    form = read_form(NewForm)
    if form.data is not None:
        try:
            digest_id = digest.create(
                g.session, account_id=account().id, name=form.data.name, operator_id=g.staff.id, now=now()
            )
        except Invalid as refusal:
            form.refuse(refusal)
        else:
            record("digest.add", f"broadcast:{digest_id}", name=form.data.name)
            return redirect(f"{ROOM}/{digest_id}", 303)
    return _list(form), 422


@blueprint.get("/<int:digest_id>")
@operator_required
def show(digest_id: int) -> str:
    """What is in it; while it is a draft, what could be added."""
    return _page(digest.get(g.session, digest_id))


@blueprint.get("/<int:digest_id>/reach")
@operator_required
def reach(digest_id: int) -> str:
    """Who gets what and what it costs: the part that has to look at every fan."""
    return _reach(digest.get(g.session, digest_id), blank(when="now"))


@blueprint.post("/<int:digest_id>/items")
@operator_required
def add(digest_id: int) -> ResponseReturnValue:
    """Put an item in."""
    form = read_form(ItemForm)
    if form.data is None:
        raise Invalid("请从列出的选项里选。")
    digest.add(g.session, digest_id=digest_id, item_id=form.data.item)
    return redirect(f"{ROOM}/{digest_id}#item-{form.data.item}", 303)


@blueprint.post("/<int:digest_id>/items/<int:item_id>/move")
@operator_required
def move(digest_id: int, item_id: int) -> ResponseReturnValue:
    """Up or down by one."""
    form = read_form(MoveForm)
    if form.data is None:
        raise Invalid("请从列出的选项里选。")
    digest.move(g.session, digest_id=digest_id, item_id=item_id, by=-1 if form.data.by == "up" else 1)
    return redirect(f"{ROOM}/{digest_id}#item-{item_id}", 303)


@blueprint.post("/<int:digest_id>/items/<int:item_id>/remove")
@operator_required
def remove(digest_id: int, item_id: int) -> ResponseReturnValue:
    """Take it out; it waits for another digest."""
    digest.remove(g.session, digest_id=digest_id, item_id=item_id)
    return redirect(f"{ROOM}/{digest_id}", 303)


@blueprint.post("/<int:digest_id>/approve")
@operator_required
def approve(digest_id: int) -> ResponseReturnValue:
    """Agree to content, reach and cost together."""
    form = read_form(ConsentForm)
    found = digest.get(g.session, digest_id)
    if form.data is not None:
        try:
            agreed = digest.approve(
                g.session,
                digest_id=digest_id,
                seen=form.data.seen,
                scheduled_at=form.data.moment,
                operator_id=g.staff.id,
                now=now(),
            )
        except Invalid as refusal:
            form.refuse(refusal)
        else:
            record(
                "digest.approve",
                f"broadcast:{digest_id}",
                reached=agreed.reached,
                calls=agreed.calls,
                groups=len(agreed.groups),
                items=[one.item.id for one in agreed.items],
                scheduled_at=found.scheduled_at.isoformat() if found.scheduled_at else None,
            )
            flash(_("已确认，会发给 %(count)s 人。", count=agreed.reached), "good")
            return redirect(f"{ROOM}/{digest_id}", 303)
    return _page(found, form), 422


@blueprint.post("/<int:digest_id>/still-wanted")
@operator_required
def still_wanted(digest_id: int) -> ResponseReturnValue:
    """Send one that missed its time after all."""
    form = read_form(WhenForm)
    found = digest.get(g.session, digest_id)
    if form.data is not None:
        try:
            control.still_wanted(g.session, digest_id, now=now(), at=form.data.moment)
        except Invalid as refusal:
            form.refuse(refusal)
        else:
            record("digest.still_wanted", f"broadcast:{digest_id}", when=form.data.at or "now")
            flash(_("好的，照新的时间发。"), "good")
            return redirect(f"{ROOM}/{digest_id}", 303)
    return _page(found, form), 422


@blueprint.post("/<int:digest_id>/cancel")
@operator_required
def cancel(digest_id: int) -> ResponseReturnValue:
    """Give it up before anybody was written to."""
    digest.cancel(g.session, digest_id=digest_id, now=now())
    record("digest.cancel", f"broadcast:{digest_id}")
    flash(_("已取消，里面的内容可以放进别的合集。"), "good")
    return redirect(ROOM, 303)


def _list(form: Submission[NewForm]) -> str:
    wanted = read_query(ListQuery) if form.data is None and not form.errors else ListQuery()
    rows = digest.page(g.session, before=wanted.before, limit=PAGE + 1)
    return render_template(
        "operator/digests.html",
        form=form,
        page=page_of(rows, lambda row: row.id),
        counts=digest.sizes(g.session, [row.id for row in rows]),
        waiting=digest.waiting(g.session),
        longest=digest.NAME_MAX,
    )


def _reach(found: Broadcast, form: Submission[Any]) -> str:
    is_ahead = found.state in AHEAD
    items = digest.items(g.session, found.id)
    policy = bank.policy(g.session)
    return render_template(
        "operator/_digest_reach.html",
        digest=found,
        told=digest.forecast(g.session, found.id, now=now()) if is_ahead else digest.told(g.session, found.id),
        is_draft=found.state == BroadcastState.DRAFT,
        is_ahead=is_ahead,
        seen=digest.signature(items),
        not_ready=[item for item in items if not item.is_ready] if is_ahead else [],
        form=form,
        policy=policy,
        is_quiet=policy.is_quiet(now()),
    )


def _page(found: Broadcast, form: Submission[Any] | None = None) -> str:
    """`form` is a refused consent: it is shown with the reach it is about."""
    is_draft = found.state == BroadcastState.DRAFT
    return render_template(
        "operator/digest.html",
        digest=found,
        items=digest.items(g.session, found.id),
        waiting=digest.waiting(g.session) if is_draft else [],
        is_draft=is_draft,
        can_cancel=found.state in digest.TO_BE_CANCELLED,
        most=digest.MOST_ITEMS,
        reach=Markup(_reach(found, form)) if form else None,  # noqa: S704  a template of ours, escaped by itself
    )
