"""The tester: what would happen if somebody wrote this now, or then, and why every other rule stays silent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from bot.rules import reading, shadows
from bot.rules.matching import TEXT, Judged, Question, explain


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of the question. `own` and `coupon` come before any rule; the rules are judged all the same."""

    question: Question
    judged: Sequence[Judged]
    is_own: bool = False
    """The account answers these words itself."""
    coupon: str = ""
    """The coupon whose keyword it is."""

    @property
    def winner(self) -> Judged | None:
        """The rule that answers; None where something else does, or nothing."""
        if self.is_own or self.coupon:
            return None
        return next((one for one in self.judged if one.why is None), None)


def ask(session: Session, merchant_id: int | None, question: Question) -> Verdict:
    """Judge the rules of a merchant and the platform's, or the platform's own, drafts included for their author."""
    own = [one.asked() for one in reading.listed(session, merchant_id, now=question.at)]
    others = [] if merchant_id is None else reading.in_force_of_platform(session)
    judged = explain([*own, *others], question)
    if question.kind != TEXT:
        return Verdict(question, judged)
    said = question.text.strip()
    coupon = shadows.coupons_of(session, [said]).get(said, "") if said else ""
    return Verdict(question, judged, is_own=shadows.is_own(said, is_platform=merchant_id is None), coupon=coupon)
