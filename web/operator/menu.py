"""公众号菜单: one draft to arrange and to check, published at a press, with every version that ever was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from flask import Blueprint, flash, g, jsonify, redirect, render_template
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError
from sqlalchemy import select

from bot.menus import limits, publishing
from bot.menus.buttons import Button, Does, all_of, merchant_of, read, told
from bot.menus.limits import Fault
from bot.menus.models import MenuVersion, Origin, VersionState
from bot.menus.publishing import BeingPublished, DraftChanged, NothingToAdopt, NotPublishable, Outcome
from core import audit
from core.database import Role
from core.errors import Invalid, NotFound
from merchants.merchants import names_of
from merchants.models import Merchant, MerchantState
from web.acts import record
from web.auth.access import drop_request, keep_request, operator_required
from web.context import current_runtime, now
from web.forms import Form, OptionalLine, Submission, blank, read_form
from web.language import refusal_text
from web.operator.desk import PAGE, account, page_of
from web.operator.words import advice_for
from web.query import Id, Query, read_query
from wechat.errors import WeChatError

blueprint = Blueprint("menu", __name__, url_prefix="/menu")

ROOM = "/operator/menu"
LARGEST = 64 * 1024
"""Bytes of a menu as a page sends it; far more than the platform takes, so that what is too long can be explained."""
RECENT = 5
MERCHANTS_LISTED = 2_000

DOES: Mapping[Does, Any] = {
    Does.WORDS: _l("说一句话"),
    Does.PAGE: _l("打开网页"),
    Does.MERCHANT: _l("找一家商户"),
    Does.SCAN: _l("扫一扫，由我们回答"),
    Does.SCAN_OPEN: _l("扫一扫，直接打开"),
    Does.PLACE: _l("发位置"),
    Does.PHOTO: _l("发照片"),
    Does.MINI: _l("打开小程序"),
}
ORIGINS: Mapping[str, Any] = {
    Origin.WRITTEN: _l("编辑后发布"),
    Origin.ROLLED_BACK: _l("改回以前的"),
    Origin.ADOPTED: _l("采用公众号上的"),
    Origin.DELETED: _l("删除菜单"),
}
STATES: Mapping[str, Any] = {
    VersionState.CALLING: (_l("正在发布"), "wait"),
    VersionState.PUBLISHED: (_l("已发布"), ""),
    VersionState.REFUSED: (_l("微信没有接受"), "bad"),
    VersionState.UNKNOWN: (_l("不知道成没成"), "wait"),
    VersionState.FAILED: (_l("没有发布成功"), "bad"),
}
REFUSALS: Mapping[int, Any] = {
    40054: _l("微信不接受二级按钮里的一个网址：域名可能没有备案，或者被封了。"),
    40055: _l("微信不接受底部按钮里的一个网址：域名可能没有备案，或者被封了。"),
    65316: _l("菜单里的外部域名太多，微信最多允许 3 个。"),
    65318: _l("菜单里有微信不接受的域名。"),
    45009: _l("今天改菜单的次数用完了，请明天再发布。"),
    40013: _l("小程序的 AppID 不对，或者没有和这个公众号关联。"),
}
"""What the platform may still object to in a menu that keeps every limit."""


class ButtonForm(BaseModel):
    """A button as the editor sends it; what it may say is `bot.menus.limits`'s business."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, StringConstraints(max_length=500)] = ""
    type: Annotated[str, StringConstraints(max_length=40)] = ""
    key: Annotated[str, StringConstraints(max_length=1000)] = ""
    url: Annotated[str, StringConstraints(max_length=4000)] = ""
    appid: Annotated[str, StringConstraints(max_length=100)] = ""
    pagepath: Annotated[str, StringConstraints(max_length=2000)] = ""
    media_id: Annotated[str, StringConstraints(max_length=200)] = ""
    article_id: Annotated[str, StringConstraints(max_length=200)] = ""
    sub_button: Annotated[list[ButtonForm], Field(max_length=20)] = []


BUTTONS: TypeAdapter[list[ButtonForm]] = TypeAdapter(Annotated[list[ButtonForm], Field(max_length=20)])

Sent = Annotated[str, StringConstraints(max_length=LARGEST)]


class CheckForm(Form):
    """A menu to look at, as JSON in the platform's form."""

    buttons: Sent


class DraftForm(CheckForm):
    """A draft, the version it was made from, and what is said about it in the history."""

    version: Annotated[int, Field(ge=0, le=2**31 - 1)]
    note: OptionalLine = ""


class HistoryQuery(Query):
    before: Id | None = None


@dataclass(frozen=True)
class Line:
    """A button in words: its name, what it does, and the buttons above it."""

    name: str
    does: str
    above: Sequence[Line] = ()


@blueprint.get("")
@operator_required
def index() -> str:
    """The editor, what the account has, and the last versions."""
    draft = publishing.draft(g.session, account().id)
    return _page(blank(version=draft.version), draft.buttons)


@blueprint.post("/check")
@operator_required
def check() -> ResponseReturnValue:
    """What is wrong with a menu, while it is being made; nothing is kept of it."""
    form = read_form(CheckForm)
    buttons = None if form.data is None else _buttons(form)
    if buttons is None:
        return jsonify(error=form.errors.get("buttons") or form.errors.get("")), 422
    found = publishing.faults(g.session, account().id, buttons)
    return jsonify(faults=_told(found), advice=_told(limits.advice(buttons)))


@blueprint.post("/draft")
@operator_required
def save() -> ResponseReturnValue:
    """Keep the draft, whatever is still missing in it."""
    form = read_form(DraftForm)
    buttons = None if form.data is None else _buttons(form)
    if form.data is None or buttons is None:
        return _page(form, buttons or ()), 422
    try:
        _save(form.data, buttons)
    except DraftChanged as refusal:
        return _conflict(form, buttons, refusal)
    record("menu.save", "menu")
    flash(_("草稿已保存，公众号上的菜单还没有变。"), "good")
    return redirect(ROOM, 303)


@blueprint.post("/publish")
@operator_required
def publish() -> ResponseReturnValue:
    """Keep the draft and give it to the account."""
    form = read_form(DraftForm)
    buttons = None if form.data is None else _buttons(form)
    if form.data is None or buttons is None:
        return _page(form, buttons or ()), 422
    found = publishing.faults(g.session, account().id, buttons)
    if found:
        form.errors[""] = refusal_text(NotPublishable(found))
        return _page(form, buttons, found), 422
    try:
        version = _save(form.data, buttons)
    except DraftChanged as refusal:
        return _conflict(form, buttons, refusal)
    ours, note = account().id, form.data.note
    keep_request()
    return _published(
        lambda staff_id: publishing.publish(
            current_runtime(), account_id=ours, buttons=buttons, staff_id=staff_id, note=note
        ),
        "menu.publish",
        draft=version,
    )


@blueprint.post("/versions/<int:menu_version_id>/publish")
@operator_required
def publish_again(menu_version_id: int) -> ResponseReturnValue:
    """An old version becomes the newest."""
    ours = account().id
    if publishing.version(g.session, ours, menu_version_id).state != VersionState.PUBLISHED:
        raise NotFound
    drop_request()
    return _published(
        lambda staff_id: publishing.publish_again(
            current_runtime(), account_id=ours, version_id=menu_version_id, staff_id=staff_id
        ),
        "menu.again",
        of=menu_version_id,
    )


@blueprint.post("/delete")
@operator_required
def delete() -> ResponseReturnValue:
    """Take the account's menu away."""
    ours = account().id
    drop_request()
    return _published(
        lambda staff_id: publishing.delete(current_runtime(), account_id=ours, staff_id=staff_id), "menu.delete"
    )


@blueprint.post("/look")
@operator_required
def look() -> ResponseReturnValue:
    """Ask the platform which menu it has."""
    ours = account().id
    record("menu.look", "menu")
    keep_request()
    try:
        publishing.look(current_runtime(), account_id=ours)
    except WeChatError as error:
        flash(_("没能看到公众号的菜单：%(why)s", why=advice_for(error)), "bad")
    else:
        flash(_("已经看过公众号上的菜单。"), "good")
    return redirect(ROOM, 303)


@blueprint.post("/adopt")
@operator_required
def adopt() -> ResponseReturnValue:
    """Take the menu the account has for ours."""
    ours, staff_id = account().id, g.staff.id
    drop_request()
    try:
        version_id = publishing.adopt(current_runtime(), account_id=ours, staff_id=staff_id)
    except NothingToAdopt as refusal:
        flash(refusal_text(refusal), "bad")
    except WeChatError as error:
        flash(_("没能看到公众号的菜单：%(why)s", why=advice_for(error)), "bad")
    else:
        _record(staff_id, "menu.adopt", version_id)
        flash(_("已采用公众号上的菜单，以后从它改起。"), "good")
    return redirect(ROOM, 303)


@blueprint.get("/versions")
@operator_required
def versions() -> str:
    """Every menu the account was to have."""
    wanted = read_query(HistoryQuery)
    found = publishing.history(g.session, account().id, before=wanted.before, limit=PAGE + 1)
    return render_template(
        "operator/menu_versions.html",
        page=page_of(found, lambda one: one.id),
        **_words_for(found),
        lines=_lines_of(found),
    )


# ---- The same for several views --------------------------------------------------------------------------------------


def _buttons(form: Submission[Any]) -> tuple[Button, ...] | None:
    """The menu that was sent; None, with a word to the form, where it is none at all."""
    try:
        sent = BUTTONS.validate_json(form.values.get("buttons", ""))
    except ValidationError:
        form.refuse(Invalid("菜单的内容读不懂，请刷新页面再试。", field="buttons"))
        return None
    return read(one.model_dump() for one in sent)


def _save(data: DraftForm, buttons: Sequence[Button]) -> int:
    return publishing.save_draft(
        g.session, account_id=account().id, buttons=buttons, was=data.version, staff_id=g.staff.id, now=now()
    )


def _conflict(form: Submission[Any], buttons: Sequence[Button], refusal: DraftChanged) -> ResponseReturnValue:
    """What was not kept stays on the page, on top of the newer draft: whoever saves once more has been told."""
    current = publishing.draft(g.session, account().id)
    form.values = {**form.values, "version": str(current.version)}
    form.errors[""] = refusal_text(refusal)
    return _page(form, buttons, conflict=_lines(current.buttons)), 409


def _published(call: Any, action: str, **detail: Any) -> ResponseReturnValue:
    """Do it, say what came of it, and note who did it."""
    staff_id = g.staff.id
    try:
        outcome: Outcome = call(staff_id)
    except (BeingPublished, NotPublishable) as refusal:
        sentences = [refusal_text(refusal)]
        if isinstance(refusal, NotPublishable):
            sentences += [refusal_text(one.refusal) for one in refusal.faults]
        flash("".join(sentences), "bad")
        return redirect(ROOM, 303)
    _record(staff_id, action, outcome.version_id, state=outcome.state, **detail)
    flash(*_came_of(outcome))
    return redirect(ROOM, 303)


def _came_of(outcome: Outcome) -> tuple[str, str]:
    if outcome.state is VersionState.REFUSED and outcome.error is not None:
        why = REFUSALS.get(outcome.error.errcode or 0) or advice_for(outcome.error)
        return _("微信没有接受，公众号上还是原来的菜单。%(why)s", why=why), "bad"
    if outcome.state is VersionState.UNKNOWN:
        return _("没等到微信的答复，不知道成没成。请过两分钟按“看看公众号上的”，就知道了。"), "bad"
    if outcome.is_as_published is False:
        return _("微信收下了，但读回来的和我们发的不一样，请核对下面两份菜单。"), "wait"
    if outcome.is_as_published is None:
        return _("微信收下了，但没能读回来核对。请过一会儿再看一看。"), "wait"
    return _("已发布，并已读回核对。手机上最多 5 分钟后看到，重新进入公众号会快一些。"), "good"


def _record(staff_id: int, action: str, version_id: int, **detail: Any) -> None:
    with current_runtime().transaction(Role.PLATFORM) as session:
        audit.record(
            session,
            actor_kind="operator", actor_id=staff_id, action=action, subject=f"menu:{version_id}", detail=detail,
        )  # fmt: skip


def _told(found: Sequence[Fault]) -> list[dict[str, Any]]:
    return [{"place": fault.place, "field": fault.field, "text": refusal_text(fault.refusal)} for fault in found]


def _page(
    form: Submission[Any],
    buttons: Sequence[Button],
    found: Sequence[Fault] | None = None,
    conflict: Sequence[Line] | None = None,
) -> str:
    ours = account()
    draft = publishing.draft(g.session, ours.id)
    in_force, account_has = publishing.in_force(g.session, ours.id), publishing.seen(g.session, ours.id)
    recent = publishing.history(g.session, ours.id, before=None, limit=RECENT + 1)
    if found is None:
        found = publishing.faults(g.session, ours.id, buttons)
    return render_template(
        "operator/menu.html",
        form=form,
        account=ours,
        draft=draft,
        in_force=in_force,
        account_has=account_has,
        differs=publishing.differs(in_force, account_has),
        ours_lines=_lines(read(in_force.buttons)) if in_force else [],
        has_lines=_lines(read(account_has.buttons)) if account_has else [],
        conflict=conflict,
        is_unsaved=conflict is not None or bool(form.errors),
        recent=recent[:RECENT],
        has_more=len(recent) > RECENT,
        lines=_lines_of(recent),
        **_words_for([*recent, *([in_force] if in_force else [])], draft.edited_by),
        data={
            "buttons": told(buttons),
            "faults": _told(found),
            "advice": _told(limits.advice(buttons)),
            "merchants": _merchants(ours.id),
            "does": {name: str(words) for name, words in DOES.items()},
            "limits": {
                "top": limits.TOP_MOST, "sub": limits.SUB_MOST, "topName": limits.TOP_NAME_BYTES,
                "subName": limits.SUB_NAME_BYTES, "words": limits.WORDS_BYTES, "url": limits.URL_BYTES,
            },
        },
    )  # fmt: skip


def _merchants(account_id: int) -> list[tuple[int, str]]:
    wanted = select(Merchant.id, Merchant.name).where(
        Merchant.account_id == account_id, Merchant.state == MerchantState.ACTIVE
    )
    return [(row[0], row[1]) for row in g.session.execute(wanted.order_by(Merchant.id).limit(MERCHANTS_LISTED))]


def _words_for(found: Sequence[MenuVersion], *more: int | None) -> dict[str, Any]:
    people = {one.made_by for one in found} | set(more)
    return {"people": publishing.names(g.session, people), "origins": ORIGINS, "states": STATES}


def _lines_of(found: Sequence[MenuVersion]) -> dict[int, Sequence[Line]]:
    return {one.id: _lines(read(one.buttons)) for one in found}


def _lines(buttons: Sequence[Button]) -> list[Line]:
    named = {merchant_of(button.key) for _place, button in all_of(buttons)} - {None}
    return _in_words(buttons, names_of(g.session, named))


def _in_words(buttons: Sequence[Button], names: Mapping[int, str]) -> list[Line]:
    return [Line(one.name or "—", _does(one, names), _in_words(one.subs, names)) for one in buttons]


def _does(button: Button, names: Mapping[int, str]) -> str:
    """What a tap does, in plain words."""
    does = button.does
    if does is Does.WORDS:
        return str(_("说“%(words)s”", words=button.words))
    if does is Does.PAGE:
        return str(_("打开 %(url)s", url=button.url))
    if does is Does.MERCHANT:
        return str(_("找 %(name)s", name=names.get(merchant_of(button.key) or 0, "—")))
    if does is Does.OTHER:
        return str(_("原有的按钮（%(type)s）", type=button.type))
    return str(DOES.get(does, ""))
