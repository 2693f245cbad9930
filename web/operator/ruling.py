"""A ruling in words: what a person did, in order, and what followed from it for whom, so that two merchants who
quarrel about a fan read the same sentences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from flask_babel import gettext

from bot.queries import ScanRow, Stretch, Verdict
from merchants.models import EpisodeSource
from qrcodes import attribution


def _(sentence: str, **values: object) -> str:
    return str(gettext(sentence, **values))


@dataclass(frozen=True)
class Line:
    """One thing that happened, and what was concluded from it."""

    at: datetime
    what: str
    conclusion: str = ""
    note: str = ""
    """Which version of the rule, and how we know."""


def story(stretches: Sequence[Stretch], scans: Sequence[ScanRow]) -> list[Line]:
    """Everything that bears on whose fan this is, the oldest first. Takes what `bot.queries` reads."""
    standing = sorted((one for one in stretches if not one.is_void), key=lambda one: one.started_at)
    through = {one.at: one for one in scans if one.led_to_follow}
    lines = []
    former: Stretch | None = None
    for stretch in standing:
        verdict = verdict_of(stretch)
        lines.append(_follow(stretch, verdict, through.get(stretch.started_at), former))
        if stretch.ended_at is not None:
            lines.append(Line(stretch.ended_at, _("取消关注")))
        former = stretch
    lines += [
        Line(scan.at, _("再扫%(code)s", code=_code(scan)), _scan_conclusion(scan))
        for scan in scans
        if not scan.led_to_follow
    ]
    return sorted(lines, key=lambda line: line.at)


def verdict_of(stretch: Stretch) -> Verdict | None:
    """The verdict in force over one stretch."""
    return next((one for one in stretch.verdicts if one.in_force), None)


def verdict_now(stretches: Sequence[Stretch]) -> str:
    """Whose fan this is today, in one sentence."""
    current = next((one for one in stretches if not one.is_void and one.ended_at is None), None)
    if current is None:
        return _("现在没有关注公众号，不算任何商户的关注者。")
    verdict = verdict_of(current)
    if verdict is None or verdict.merchant_name is None:
        return _("现在关注着公众号，不归任何商户。")
    return _("现在关注着公众号，归“%(merchant)s”。", merchant=verdict.merchant_name)


def _follow(stretch: Stretch, verdict: Verdict | None, scan: ScanRow | None, former: Stretch | None) -> Line:
    if scan is not None:
        what = _("扫%(code)s，关注公众号", code=_code(scan))
    elif stretch.source == EpisodeSource.PRE_EXISTING:
        what = _("已经关注公众号（在本系统接入之前）")
    elif stretch.source == EpisodeSource.IMPLIED:
        what = _("在公众号里说话，可见已经关注")
    else:
        what = _("关注公众号，没有扫商户的码")
    if verdict is None:
        return Line(stretch.started_at, what)
    owner = _("不归任何商户") if verdict.merchant_name is None else _("归“%(name)s”", name=verdict.merchant_name)
    note = _("规则第 %(version)s 版", version=verdict.rule_version)
    if stretch.source == EpisodeSource.RECONCILE:
        note += _("；微信的推送没有到，是和微信的名单核对时补记的")
    if verdict.suspect:
        note += _("；扫码凭证与这个码不符，存疑")
    return Line(
        stretch.started_at, what, _("%(owner)s：%(why)s", owner=owner, why=_why(stretch, verdict, former)), note
    )


def _why(stretch: Stretch, verdict: Verdict, former: Stretch | None) -> str:
    times = {"away": _away(former, stretch), "days": verdict.protection_days}
    was_nobodys = former is not None and _merchant_of(former) is None
    match verdict.rule:
        case attribution.FIRST_FOLLOW:
            reason = _("第一次关注，谁的码让他关注，就归谁。")
        case attribution.FORMER_MERCHANT:
            reason = _("离开了%(away)s，在 %(days)s 天保护期内回来，仍归原来的商户，不管这次扫了谁的码。", **times)
        case attribution.AFTER_PROTECTION if was_nobodys:
            reason = _("以前关注过，但那时不归任何商户，所以归这次扫的码。")
        case attribution.AFTER_PROTECTION:
            reason = _("离开了%(away)s，超过 %(days)s 天保护期，归这次扫的码。", **times)
        case attribution.PRE_EXISTING:
            reason = _("接入之前就关注了，不是任何商户带来的。")
        case _:
            reason = _("是新来的还是早就关注了，等微信核对。")
    return reason


def _merchant_of(stretch: Stretch) -> int | None:
    verdict = verdict_of(stretch)
    return None if verdict is None else verdict.merchant_id


def _away(former: Stretch | None, stretch: Stretch) -> str:
    """How long somebody was gone: whole days, hours below two of them."""
    if former is None or former.ended_at is None:
        return ""
    gone = stretch.started_at - former.ended_at
    if gone >= timedelta(days=2):
        return _(" %(days)s 天", days=gone.days)
    hours = gone // timedelta(hours=1)
    return _(" %(hours)s 小时", hours=hours) if hours else _("不到一小时")


def _code(scan: ScanRow) -> str:
    if scan.merchant_name is None:
        return _("一个没有商户认领的码")
    return _("“%(merchant)s”的码“%(code)s”", merchant=scan.merchant_name, code=scan.code_label or scan.scene)


def _scan_conclusion(scan: ScanRow) -> str:
    if scan.merchant_name is None:
        return ""
    return _("进“%(merchant)s”的粉丝名单；已经关注的人扫码，不改归属。", merchant=scan.merchant_name)
