"""账本: what the last proof of all ledgers found, what people hold at each merchant, and points by hand that wait for a
second person (PT-1 to PT-3, PT-9, AU-9)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from flask import Blueprint, flash, g, redirect, render_template
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l

from campaigns.points import adjustments, proof
from campaigns.points.models import LedgerProof
from core.errors import BusinessError
from merchants import merchants
from web.acts import record
from web.auth.access import operator_required
from web.context import now
from web.formats import short_time
from web.language import refusal_text

blueprint = Blueprint("ledgers", __name__, url_prefix="/benefits/ledgers")

HOME: Final = "/operator/benefits/ledgers"
NIGHTS: Final = 14
PROVED_WITHIN: Final = timedelta(hours=26)
WRONGS: Final[dict[str, Any]] = {
    "unbalanced": _l("一笔积分的进出不相等"),
    "money": _l("一笔联盟结算的进出不相等"),
    "drifting": _l("账户余额和流水对不上"),
    "lot": _l("一批积分用掉的加剩下的，不等于当初得到的"),
}


@blueprint.get("")
@operator_required
def index() -> str:
    """Whether all ledgers are right, and who holds how much."""
    return _page()


@blueprint.post("/prove")
@operator_required
def prove() -> ResponseReturnValue:
    """Have everything counted anew now."""
    proof.ask(g.session, now())
    record("ledgers.prove")
    flash(_("开始核对了，过一会儿刷新这一页看结果。"), "good")
    return redirect(HOME, 303)


@blueprint.post("/adjustments/<int:adjustment_id>/<any(agree, refuse):answer>")
@operator_required
def decide(adjustment_id: int, answer: str) -> ResponseReturnValue:
    """The second person's word, where it is the operator's."""
    try:
        adjustments.decide(
            g.session, adjustment_id=adjustment_id, staff_id=g.staff.id, approve=answer == "agree", now=now()
        )
    except BusinessError as refusal:
        if refusal.status == 404:
            raise
        return _page(refusal_text(refusal)), refusal.status
    flash(_("已同意，积分改好了。") if answer == "agree" else _("没有同意，积分没有动。"), "good")
    return redirect(HOME, 303)


def _page(complaint: str = "") -> str:
    history = proof.history(g.session, limit=NIGHTS)
    latest = history[0] if history else None
    # Row by row it is slow, and there is nothing to see where the proof found nothing.
    wrong = proof.what_is_wrong(g.session) if latest and not proof.is_right(latest) else []
    names = merchants.names_of(g.session, {one.merchant_id for one in wrong if one.merchant_id})
    held = proof.outstanding(g.session)
    tone, verdict = _verdict(latest)
    return render_template(
        "operator/ledgers.html",
        complaint=complaint,
        latest=latest,
        tone=tone,
        verdict=verdict,
        is_asked=proof.is_asked(g.session),
        wrong=[(one, str(WRONGS[one.kind]), names.get(one.merchant_id or 0, "")) for one in wrong],
        most_shown=proof.SHOWN,
        history=[(one, proof.is_right(one)) for one in history],
        held=held,
        waiting=adjustments.waiting(g.session),
    )


def _verdict(latest: LedgerProof | None) -> tuple[str, str]:
    """The tone and the words of the line at the top."""
    if latest is None:
        return "wait", _("还没有核对过；每天凌晨会自动核对一次，也可以现在就核对。")
    when = short_time(latest.at)
    if not proof.is_right(latest):
        many = latest.unbalanced + latest.drifting + latest.odd_lots
        return "bad", _(
            "%(when)s 核对：有 %(many)s 处不平。请把这一页交给技术人员，查清以前先不要手工改积分。",
            when=when,
            many=many,
        )
    if now() - latest.at > PROVED_WITHIN:
        return "wait", _(
            "%(when)s 核对：全部平衡。可是已经超过一天没有核对了，请看调度进程和工作进程是否在运行。", when=when
        )
    return "good", _("%(when)s 核对：全部平衡", when=when)
