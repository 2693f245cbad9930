"""What things are called in front of merchants: plainer and shorter than the operator needs them."""

from __future__ import annotations

from typing import Any

from flask import Flask
from flask_babel import gettext
from flask_babel import lazy_gettext as _l

from core.errors import Invalid
from qrcodes import attribution
from qrcodes.fans import Moment
from qrcodes.models import WelcomeVariant
from web.forms import Submission
from web.words import CODE_KINDS

VARIANTS: dict[str, Any] = {
    WelcomeVariant.FIRST: _l("第一次关注"),
    WelcomeVariant.BACK: _l("再次关注"),
    WelcomeVariant.ALREADY: _l("已关注，再来扫码"),
}
VARIANT_HINTS: dict[str, Any] = {
    WelcomeVariant.FIRST: _l("新邻居扫了您的码，第一次关注公众号时说。"),
    WelcomeVariant.BACK: _l("取关过的人，又扫码关注回来时说。"),
    WelcomeVariant.ALREADY: _l("已经关注公众号的人，到店扫码时说。"),
}
POSITIONS: tuple[Any, ...] = (_l("马上回复"), _l("随后第二条"), _l("随后第三条"))
MESSAGE_KINDS: dict[str, Any] = {"text": _l("文字"), "image": _l("图片"), "news": _l("图文卡片")}
RULES: dict[str, Any] = {
    attribution.FIRST_FOLLOW: _l("第一次关注，算本店带来"),
    attribution.FORMER_MERCHANT: _l("取关不久又关注，仍算本店带来"),
    attribution.AFTER_PROTECTION: _l("再次关注，扫的是本店的码，算本店带来"),
}
NUMBER_HALF = 5


def register(app: Flask) -> None:
    """Make the words known to the merchants' templates."""
    for filter_ in (code_kind, fan_number, follow_rule):
        app.add_template_filter(filter_)


def code_kind(kind: str) -> str:
    """Where a code hangs, in a word."""
    return str(CODE_KINDS.get(kind, kind))


def fan_number(number: str) -> str:
    """K7M2P9QX4T as people read it out: K7M2P-9QX4T. Never mistaken for a quantity by a spreadsheet."""
    return f"{number[:NUMBER_HALF]}-{number[NUMBER_HALF:]}"


def follow_rule(moment: Moment) -> str:
    """Why a follow counts for this merchant, or that it does not."""
    if moment.kind is None:
        return str(gettext("这次关注不是扫本店的码来的"))
    return str(RULES.get(moment.rule or "", ""))


def show_refusal(form: Submission[Any], refusal: Invalid) -> None:
    """Show a refusal at its field; where the wording is to blame, every finding, so that one look mends them all."""
    form.refuse(refusal)
    findings = refusal.detail.get("findings", [])
    if len(findings) > 1 and refusal.field in form.errors:
        lines = (gettext("“%(words)s”：%(advice)s", words=one.text, advice=gettext(one.advice)) for one in findings)
        form.errors[refusal.field] = "\n".join(lines)
