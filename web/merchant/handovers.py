"""移交: codes offered to this shop or by it, and what became of them."""

from __future__ import annotations

from collections.abc import Callable

from flask import Blueprint, flash, g, redirect, render_template
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from merchants.models import StaffRole
from qrcodes import handovers
from web.acts import record
from web.auth.access import merchant_required
from web.context import now

blueprint = Blueprint("merchant_handovers", __name__, url_prefix="/merchant/handovers")


@blueprint.get("")
@merchant_required()
def index() -> str:
    """What waits for an answer first, then the past."""
    deals = handovers.of_merchant(g.session, g.staff.merchant_id)
    return render_template("merchant/handovers.html", deals=deals, at=now())


@blueprint.post("/<int:handover_id>/accept")
@merchant_required(StaffRole.OWNER)
def accept(handover_id: int) -> ResponseReturnValue:
    """Take a code over."""
    _answer(handovers.accept, handover_id, "handover.accept")
    flash(_("已接收。几秒钟后它就是本店的码，从那时起扫码都算本店的。"), "good")
    return redirect("/merchant/handovers", 303)


@blueprint.post("/<int:handover_id>/decline")
@merchant_required(StaffRole.OWNER)
def decline(handover_id: int) -> ResponseReturnValue:
    """Leave it where it is."""
    _answer(handovers.decline, handover_id, "handover.decline")
    flash(_("已谢绝，码还是对方的。"), "good")
    return redirect("/merchant/handovers", 303)


@blueprint.post("/<int:handover_id>/withdraw")
@merchant_required(StaffRole.OWNER)
def withdraw(handover_id: int) -> ResponseReturnValue:
    """Keep a code after all."""
    _answer(handovers.withdraw, handover_id, "handover.withdraw")
    flash(_("已撤回，码还是本店的。"), "good")
    return redirect("/merchant/handovers", 303)


def _answer(decide: Callable[..., int], handover_id: int, action: str) -> None:
    code_id = decide(
        g.session, handover_id=handover_id, merchant_id=g.staff.merchant_id, staff_id=g.staff.id, now=now()
    )
    record(action, f"code:{code_id}")
