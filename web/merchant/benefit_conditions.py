"""Conditions on fans by their coupons and points, as the fans' list and the composer of broadcasts ask for them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Protocol, get_args

from flask import g
from flask_babel import gettext as _
from pydantic import StringConstraints
from sqlalchemy import select

from campaigns.coupons.models import CouponTemplate, TemplateState
from campaigns.points.models import MemberLevel
from qrcodes.fans import Filter

ANY = "any"
NEVER = "never"
Coupon = Annotated[str, StringConstraints(pattern=rf"^({ANY}|[1-9][0-9]{{0,17}})$")]
"""Any coupon of the shop's, or the template's number."""
Redeemed = Literal["7", "30", "90", "180", "never"]
Points = Literal["100", "500", "1000", "5000"]
Level = Literal["1", "2", "3", "4", "5", "6", "7", "8", "9"]
SHOWN = 50
"""So many coupons can be chosen from, the newest ones."""


class Asked(Protocol):
    """Where the conditions are chosen; an empty one is none."""

    @property
    def coupon(self) -> str | None: ...
    @property
    def redeemed(self) -> str | None: ...
    @property
    def points(self) -> str | None: ...
    @property
    def level(self) -> str | None: ...


def chosen(asked: Asked) -> dict[str, Any]:
    """The fields of a `Filter` that were chosen."""
    coupon, redeemed = asked.coupon or "", asked.redeemed or ""
    return {
        "holds_coupon": coupon == ANY,
        "holds_template_id": int(coupon) if coupon not in ("", ANY) else None,
        "redeemed_within_days": int(redeemed) if redeemed not in ("", NEVER) else None,
        "never_redeemed": redeemed == NEVER,
        "points_at_least": int(asked.points) if asked.points else None,
        "level_at_least": int(asked.level) if asked.level else None,
    }


def as_chosen(wanted: Filter) -> dict[str, Any]:
    """What was chosen for a `Filter` to be so."""
    return {
        "coupon": wanted.holds_template_id or (ANY if wanted.holds_coupon else ""),
        "redeemed": wanted.redeemed_within_days or (NEVER if wanted.never_redeemed else ""),
        "points": wanted.points_at_least or "",
        "level": wanted.level_at_least or "",
    }


def choices() -> dict[str, list[tuple[str, str]]]:
    """What the shop that is signed in can choose from; a shop without coupons is shown nothing about them."""
    merchant_id = g.staff.merchant_id
    given = (
        select(CouponTemplate.id, CouponTemplate.name)
        .where(CouponTemplate.merchant_id == merchant_id, CouponTemplate.state != TemplateState.DRAFT)
        .order_by(CouponTemplate.id.desc())
        .limit(SHOWN)
    )
    coupons = [(str(number), name) for number, name in g.session.execute(given)]
    levels = g.session.execute(
        select(MemberLevel.level, MemberLevel.name)
        .where(MemberLevel.merchant_id == merchant_id)
        .order_by(MemberLevel.level)
    )
    return {
        "coupon_choices": [(ANY, _("手里有券")), *coupons] if coupons else [],
        "redeemed_choices": [
            *((days, _("%(days)s 天内用过", days=days)) for days in get_args(Redeemed) if days != NEVER),
            (NEVER, _("还没用过")),
        ]
        if coupons
        else [],
        "points_choices": [(points, _("%(points)s 分", points=points)) for points in get_args(Points)],
        "level_choices": [(str(number), name) for number, name in levels],
    }


def coupon_name(wanted: Filter, *, merchant_id: int | None) -> str | None:
    """What the coupon is called that a filter asks for."""
    mine = select(CouponTemplate.name).where(
        CouponTemplate.id == wanted.holds_template_id, CouponTemplate.merchant_id == merchant_id
    )
    return g.session.scalar(mine) if wanted.holds_template_id else None
