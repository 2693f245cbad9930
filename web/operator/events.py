"""最新事件: what the platform told us, as it comes in."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Literal

from flask import Blueprint, Response, g
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from sqlalchemy.orm import Session

from bot.queries import EventRow, latest_events
from core.database import Role
from merchants.models import Merchant
from web.acts import record
from web.auth.access import operator_required
from web.exports import Rows, csv_answer, rows_from
from web.live import live_page
from web.operator.desk import PAGE, here, page_of
from web.operator.live import fingerprint, unchanged
from web.operator.words import EVENT_KINDS, word
from web.query import Id, Query, read_query

blueprint = Blueprint("events", __name__, url_prefix="/events")

MOST_EXPORTED = 100_000
GROUPS: dict[str, tuple[str, ...]] = {
    "scan": ("scan",),
    "follow": ("subscribe", "confirmed"),
    "leave": ("unsubscribe",),
    "message": ("text", "image", "voice", "video", "shortvideo", "location", "link", "unknown_message"),
    "menu": ("click", "view", "view_miniprogram", "menu_scan", "menu_photos", "menu_location"),
}
OTHERS = tuple(kind for kind in EVENT_KINDS if all(kind not in kinds for kinds in GROUPS.values()))


class EventsQuery(Query):
    """Which events."""

    group: Literal["scan", "follow", "leave", "message", "menu", "other"] | None = None
    merchant: Id | None = None
    follower: Id | None = None
    before: Id | None = None

    @property
    def kinds(self) -> tuple[str, ...]:
        return GROUPS.get(self.group or "", OTHERS if self.group == "other" else ())


@blueprint.get("")
@operator_required
def index() -> ResponseReturnValue:
    """Newest first; only the newest page keeps asking."""
    wanted = read_query(EventsQuery)
    etag = fingerprint()
    if (same := unchanged(etag)) is not None:
        return same
    rows = latest_events(
        g.session,
        kinds=wanted.kinds,
        merchant_id=wanted.merchant,
        follower_id=wanted.follower,
        before=wanted.before,
        limit=PAGE + 1,
    )
    names = {
        None: _("全部"), "scan": _("扫码"), "follow": _("关注"), "leave": _("取关"), "message": _("消息"),
        "menu": _("菜单"), "other": _("其他"),
    }  # fmt: skip
    return live_page(
        "operator/events.html",
        "operator/_events.html",
        etag=etag,
        is_polling=wanted.before is None,
        wanted=wanted,
        page=page_of(rows, lambda row: row.id),
        groups=[(label, here(group=group, before=None), wanted.group == group) for group, label in names.items()],
        merchant=g.session.get(Merchant, wanted.merchant) if wanted.merchant else None,
    )


@blueprint.post("/export")
@operator_required
def export() -> Response:
    """The events as a table; people are numbers in it."""
    wanted = read_query(EventsQuery)
    record("export", "events")
    heads = [_("编号"), _("时间"), _("收到"), _("事件"), _("来源"), _("关注者"), _("商户"), _("二维码"), _("场景值")]
    heads += [_("员工扫码"), _("试扫")]

    def rows(session: Session) -> Rows:
        for row in islice(_all(session, wanted), MOST_EXPORTED):
            yield (
                row.id, row.event_at, row.received_at, word(row.kind, "event"), word(row.source, "source"),
                row.follower_id, row.merchant_name, row.code_label, row.scene,
                _("是") if row.by_staff else "", _("是") if row.is_test else "",
            )  # fmt: skip

    return csv_answer(_("事件"), heads, rows_from(rows, role=Role.PLATFORM))


def _all(session: Session, wanted: EventsQuery) -> Iterator[EventRow]:
    before: int | None = None
    while rows := latest_events(
        session,
        kinds=wanted.kinds,
        merchant_id=wanted.merchant,
        follower_id=wanted.follower,
        before=before,
        limit=1_000,
    ):
        yield from rows
        before = rows[-1].id
