"""群发额度: what the shop may still send this month and today, and why it is as much."""

from __future__ import annotations

from flask import Blueprint, g, render_template

from campaigns.broadcasts import bank, usage
from web.auth.access import merchant_required
from web.context import now

blueprint = Blueprint("merchant_quota", __name__, url_prefix="/merchant/me/quota")


@blueprint.get("")
@merchant_required()
def show() -> str:
    """The shop's share of the month, its calls of today, and how many messages its fans can still get."""
    at, merchant_id = now(), g.staff.merchant_id
    policy = bank.policy(g.session)
    return render_template(
        "merchant/quota.html",
        mine=usage.merchants(g.session, at, merchant_id=merchant_id)[0],
        slots=usage.slots(g.session, at, merchant_id=merchant_id),
        for_merchants=policy.slots(merchant_id),
        policy=policy,
        sending=usage.sending(g.session),
        renewed=bank.month_after(bank.month_of(at)),
    )
