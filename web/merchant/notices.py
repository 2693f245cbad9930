"""通知: what happened while one was away, and which kinds one wants to hear of."""

from __future__ import annotations

from typing import Any, Literal

from flask import Blueprint, flash, g, redirect, render_template
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l

from merchants import identities, notices
from merchants.models import NoticeKind, Staff, StaffNotice, StaffRole
from web.auth.access import merchant_required
from web.forms import Form, read_form
from web.query import Id, Query, read_query

blueprint = Blueprint("merchant_notices", __name__, url_prefix="/merchant")

PAGE = 30
KINDS: dict[NoticeKind, Any] = {
    NoticeKind.APPROVED: _l("送审的内容通过了"),
    NoticeKind.REFUSED: _l("送审的内容没有通过"),
    NoticeKind.EXPIRING: _l("临时二维码快到期（提前 7、3、1 天）"),
    NoticeKind.FIRST_FAN: _l("今天的第一位新粉丝"),
    NoticeKind.TALK_WAITS: _l("有客人在等回复"),
}


class NoticesQuery(Query):
    """Which page of them."""

    before: Id | None = None


class WishesForm(Form):
    """The kinds that are switched on."""

    approved: Literal["true", ""] = ""
    refused: Literal["true", ""] = ""
    expiring: Literal["true", ""] = ""
    first_fan: Literal["true", ""] = ""
    talk_waits: Literal["true", ""] = ""


@blueprint.app_template_filter()
def notice_words(notice: StaffNotice) -> str:
    """One notice as a sentence."""
    if notice.cause.startswith(notices.CARD):
        words = _("本店名片")
    elif notice.cause.startswith(notices.SLOGAN):
        words = _("海报上的口号")
    elif notice.cause.startswith(notices.BROADCAST):
        words = _("群发“%(name)s”", name=notice.subject) if notice.subject else _("群发")
    elif notice.cause.startswith(notices.COUPON):
        words = _("优惠券“%(name)s”", name=notice.subject)
    elif notice.cause.startswith(notices.RULE):
        words = _("自动回复“%(name)s”", name=notice.subject)
    elif notice.cause.startswith(notices.DESK):
        words = _("接待时说的话")
    else:
        words = _("“%(label)s”的欢迎语", label=notice.subject) if notice.subject else _("本店的欢迎语")
    match NoticeKind(notice.kind):
        case NoticeKind.APPROVED:
            return str(_approved(notice, words))
        case NoticeKind.REFUSED:
            return str(_("%(words)s没有通过：%(reason)s", words=words, reason=notice.reason))
        case NoticeKind.EXPIRING:
            return str(_("临时二维码“%(subject)s”还有 %(days)s 天到期。", subject=notice.subject, days=notice.days))
        case NoticeKind.FIRST_FAN:
            return str(_("今天的第一位新粉丝来了，扫的是“%(subject)s”。", subject=notice.subject))
        case NoticeKind.TALK_WAITS:
            return str(_("客人 %(subject)s 在等您回复。", subject=notice.subject))


def _approved(notice: StaffNotice, words: str) -> str:
    if notice.cause.startswith(notices.SLOGAN):
        return str(_("%(words)s通过了，再下载的海报会印上它。", words=words))
    if notice.cause.startswith(notices.BROADCAST):
        return str(_("%(words)s通过了，到时间就会发出。", words=words))
    if notice.cause.startswith(notices.COUPON):
        return str(_("%(words)s通过了，从现在起就能领。", words=words))
    return str(_("%(words)s通过了，客人现在就会看到。", words=words))


@blueprint.get("/notices")
@merchant_required()
def index() -> str:
    """Everything one was told, newest first."""
    wanted = read_query(NoticesQuery)
    found = notices.page(
        g.session, merchant_id=g.staff.merchant_id, staff_id=g.staff.id, before=wanted.before, limit=PAGE + 1
    )
    shown = found[:PAGE]
    return render_template(
        "merchant/notices.html",
        notices=shown,
        has_unread=any(one.read_at is None for one in shown),
        first="/merchant/notices" if wanted.before else None,
        older=f"/merchant/notices?before={shown[-1].id}" if len(found) > PAGE else None,
    )


@blueprint.post("/notices/read")
@merchant_required()
def read() -> ResponseReturnValue:
    """One has seen them all."""
    notices.mark_read(g.session, merchant_id=g.staff.merchant_id, staff_id=g.staff.id)
    return redirect("/merchant/notices", 303)


@blueprint.get("/me/notices")
@merchant_required()
def wishes() -> str:
    """One switch for each kind that is one's business."""
    member = g.session.get_one(Staff, g.staff.id)
    return render_template(
        "merchant/notice_wishes.html",
        kinds=[(kind, KINDS[kind], kind.value not in member.muted_notices) for kind in _mine()],
        bound_at=identities.bound_since(g.session, staff_id=g.staff.id),
    )


@blueprint.post("/me/notices")
@merchant_required()
def choose() -> ResponseReturnValue:
    """From now on only those."""
    form = read_form(WishesForm)
    if form.data is None:
        return wishes(), 422
    wanted = {kind for kind in NoticeKind if getattr(form.data, kind.value) == "true" or kind not in _mine()}
    notices.choose(g.session, staff_id=g.staff.id, wanted=wanted)
    flash(_("已保存。"), "good")
    return redirect("/merchant/me/notices", 303)


def _mine() -> list[NoticeKind]:
    return [kind for kind in NoticeKind if StaffRole(g.staff.role) in notices.FOR[kind]]
