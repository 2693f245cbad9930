"""今日: who came today, the last thirty days, and what to do first."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Blueprint, g
from flask.typing import ResponseReturnValue

from merchants import notices
from merchants.models import StaffRole
from qrcodes import codes, fans, traffic, welcomes
from qrcodes.traffic import Range
from web.auth.access import merchant_required
from web.context import now
from web.live import live_page
from web.navigation import waiting_customers

blueprint = Blueprint("merchant_today", __name__, url_prefix="/merchant")

DAYS = 30
LATEST = 6
BUSIEST = 6
NEWS = 3
FIRST_FANS = 10


@dataclass(frozen=True)
class FirstSteps:
    """What a shop does in its first week."""

    has_code: bool
    has_scan: bool
    has_welcome: bool
    has_ten_fans: bool

    @property
    def are_done(self) -> bool:
        return self.has_code and self.has_scan and self.has_welcome and self.has_ten_fans


@blueprint.get("/")
@merchant_required()
def today() -> ResponseReturnValue:
    """The numbers of today beside yesterday's, thirty days as a chart, the codes, the latest fans."""
    merchant_id = g.staff.merchant_id
    month = Range.last_days(DAYS, now())
    days = traffic.by_day(g.session, month, merchant_id=merchant_id)
    by_code = traffic.by_code(g.session, month, merchant_id=merchant_id)
    counts = fans.counts(g.session, merchant_id)
    return live_page(
        "merchant/today.html",
        "merchant/_today.html",
        days=days,
        today=days[-1].counts,
        yesterday=days[-2].counts,
        by_code=[one for one in by_code if one.counts != traffic.Counts()][:BUSIEST],
        latest=fans.page(g.session, merchant_id, limit=LATEST),
        fan_counts=counts,
        waiting=waiting_customers(),
        notices=notices.unread(g.session, merchant_id=merchant_id, staff_id=g.staff.id, limit=NEWS),
        steps=_first_steps(merchant_id, fans_so_far=counts.total),
    )


def _first_steps(merchant_id: int, *, fans_so_far: int) -> FirstSteps | None:
    """Only for owners, who can take them, and only until all are taken."""
    if g.staff.role is not StaffRole.OWNER:
        return None
    places = welcomes.current(g.session, merchant_id=merchant_id, code_id=None)
    steps = FirstSteps(
        has_code=bool(codes.list_codes(g.session, merchant_id=merchant_id, retired=False, limit=1)),
        has_scan=fans_so_far > 0,
        has_welcome=any(place.speaking or place.waiting for place in places),
        has_ten_fans=fans_so_far >= FIRST_FANS,
    )
    return None if steps.are_done else steps
