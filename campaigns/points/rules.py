"""The rules by which a merchant gives points: what each trigger pays, how often, and from when on it counts.

A rule pays a cause once (PT-5). Its two limits, for one person and for everybody within a Shanghai day, are raised by
the statement that pays and cannot be passed (PT-10): what still fits is paid, and `Paid.cut` says what was not.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from campaigns.points import ledger, levels
from campaigns.points.ledger import Cause, Moved
from campaigns.points.models import PointsRule, RuleTrigger
from core.clock import business_day
from core.database import rows_changed
from core.errors import BusinessError, Invalid, NotFound

CHECK_IN: Final = "check_in"
MONTH: Final = timedelta(days=30)
MOST_POINTS: Final = 100_000
MOST_PER_FEN: Final = 10_000_000
MOST_PER_PERSON: Final = 1_000_000
MOST_PER_DAY: Final = 100_000_000
MOST_VESTING_DAYS: Final = 90
MOST_LIFE_DAYS: Final = 3_650


class NoCheckIn(BusinessError):
    code = "no_check_in"
    message = "这家店没有开通签到。"


@dataclass(frozen=True, slots=True)
class Paid:
    """What a rule paid for a cause. `cut` points did not fit into the day's limits any more; of a cause that was paid
    before (`is_new` False) that is not known."""

    points: int
    transfer_id: int | None
    vests_at: datetime | None = None
    cut: int = 0
    is_new: bool = True


@dataclass(frozen=True, slots=True)
class CheckedIn:
    """A check-in: what it paid, on how many days in a row there was one, and what there is to spend now."""

    points: int
    days: int
    balance: int
    is_new: bool


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule as the merchant writes it; for a spend, `points` for every `per_fen` of the bill."""

    trigger: RuleTrigger
    points: int
    most_per_person: int
    most_per_day: int
    per_fen: int | None = None
    level: int = 1
    vests_after_days: int = 0
    lives_days: int | None = 365
    is_on: bool = True

    def worth(self, bill_fen: int | None = None, earn_percent: int = levels.PLAIN_SPEED) -> int:
        """What one cause earns before any limit; of a spend without a bill nothing."""
        plain = self.points if self.per_fen is None else (bill_fen or 0) * self.points // self.per_fen
        return plain * earn_percent // 100


@dataclass(frozen=True, slots=True)
class Cost:
    """What a rule would have paid within a month: to how many causes, and what its limits kept back."""

    rule: Rule
    causes: int
    points: int
    cut: int


def pay(
    session: Session,
    *,
    merchant_id: int,
    follower_id: int,
    trigger: RuleTrigger,
    source_type: str,
    source_id: int,
    bill_fen: int | None = None,
    level: int = 1,
    now: datetime,
) -> Paid | None:
    """Pay what the merchant's rule gives for this cause, once.

    None where there is no such rule, the bill is too small for a point, or the operator lets the person claim nothing.
    Whoever pays several people in one transaction calls `ledger.hold` with all of them first.
    """
    found = session.execute(
        _RULE, {"merchant_id": merchant_id, "trigger": trigger.value, "level": level, "follower_id": follower_id}
    ).one_or_none()
    if found is None:
        return None
    rule, cause = _typed(found), Cause(source_type, source_id, found.id)
    # First the person: whoever waits for the day's limit of a rule must not be waited for here.
    ledger.hold(session, merchant_id=merchant_id, follower_ids=(follower_id,))
    before = ledger.find(session, merchant_id=merchant_id, follower_id=follower_id, cause=cause)
    if before is not None:
        return _repeated(before)
    speed = levels.PLAIN_SPEED
    if found.has_levels:
        speed = levels.standing(session, merchant_id=merchant_id, follower_id=follower_id, now=now).earn_percent
    wanted = rule.worth(bill_fen, speed)
    if wanted == 0:
        return None
    points = _within_limits(session, merchant_id, follower_id, found, business_day(now), wanted)
    if points == 0:
        return Paid(0, None, cut=wanted)
    vests_at = now + timedelta(days=rule.vests_after_days) if rule.vests_after_days else None
    moved = ledger.earn(
        session,
        merchant_id=merchant_id,
        follower_id=follower_id,
        points=points,
        cause=cause,
        now=now,
        vests_at=vests_at,
        expires_at=None if vests_at else ledger.expiry(now, rule.lives_days),
    )
    return Paid(points, moved.transfer_id, vests_at, cut=wanted - points)


def check_in(session: Session, *, merchant_id: int, follower_id: int, now: datetime) -> CheckedIn:
    """Check in at a merchant, once a Shanghai day; `NoCheckIn` where the merchant has no rule for it."""
    today = business_day(now)
    paid = pay(
        session,
        merchant_id=merchant_id,
        follower_id=follower_id,
        trigger=RuleTrigger.CHECK_IN,
        source_type=CHECK_IN,
        source_id=today.toordinal(),
        now=now,
    )
    if paid is None:
        raise NoCheckIn
    days = session.execute(
        _DAYS_IN_A_ROW, {"merchant_id": merchant_id, "follower_id": follower_id, "today": today.toordinal()}
    ).scalar_one()
    balance = ledger.balance_of(session, merchant_id=merchant_id, follower_id=follower_id, now=now)
    return CheckedIn(paid.points, days, balance.points, paid.is_new)


def take_back(session: Session, *, merchant_id: int, source_type: str, source_id: int, now: datetime) -> int:
    """Reverse whatever rules paid for a cause, to whomever (PT-8); returns how many points were taken or are owed now.

    What a limit of the day counted stays counted: paying and taking back in turn gains nothing.
    """
    paid = session.execute(
        _PAID, {"merchant_id": merchant_id, "source_type": source_type, "source_id": source_id}
    ).all()
    ledger.hold(session, merchant_id=merchant_id, follower_ids=[row.follower_id for row in paid])
    taken = 0
    for row in paid:
        back = ledger.reverse(session, merchant_id=merchant_id, transfer_id=row.id, now=now)
        taken += back.points + back.owed if back.is_new else 0
    return taken


def rules_of(session: Session, *, merchant_id: int) -> list[Rule]:
    """A merchant's rules, on and off."""
    rows = session.execute(
        select(PointsRule).where(PointsRule.merchant_id == merchant_id).order_by(PointsRule.trigger, PointsRule.level)
    ).scalars()
    return [_typed(row) for row in rows]


def rule_of(session: Session, *, merchant_id: int, trigger: RuleTrigger, level: int = 1) -> Rule | None:
    """A merchant's rule for one trigger."""
    found = [r for r in rules_of(session, merchant_id=merchant_id) if (r.trigger, r.level) == (trigger, level)]
    return found[0] if found else None


def save(session: Session, *, merchant_id: int, rule: Rule, now: datetime) -> None:
    """Put this rule in the place of the one of the same trigger and level."""
    check(rule)
    session.execute(
        _SAVE,
        {
            "merchant_id": merchant_id, "trigger": rule.trigger.value, "level": rule.level, "points": rule.points,
            "per_fen": rule.per_fen, "most_per_person": rule.most_per_person, "most_per_day": rule.most_per_day,
            "vests_after_days": rule.vests_after_days, "lives_days": rule.lives_days, "is_on": rule.is_on, "now": now,
        },
    )  # fmt: skip


def switch(session: Session, *, merchant_id: int, trigger: RuleTrigger, level: int = 1, is_on: bool) -> None:
    """Turn a rule on or off."""
    changed = session.execute(
        text("""
            UPDATE points_rule SET is_on = :is_on, changed_at = app_now()
            WHERE merchant_id = :merchant_id AND trigger = :trigger AND level = :level"""),
        {"merchant_id": merchant_id, "trigger": trigger.value, "level": level, "is_on": is_on},
    )
    if rows_changed(changed) == 0:
        raise NotFound


def check(rule: Rule) -> None:
    """Refuse a rule that cannot be kept, in words that a shopkeeper understands."""
    _within(rule.points, 1, MOST_POINTS, "points", "每次的积分要在 %(least)s 到 %(most)s 之间。")
    if rule.trigger is RuleTrigger.SPEND:
        if rule.per_fen is None:
            raise Invalid("请填写每消费多少元得积分。", field="per_fen")
        _within(rule.per_fen, 1, MOST_PER_FEN, "per_fen", "消费金额要在 0.01 元到 10 万元之间。")
    elif rule.per_fen is not None:
        raise Invalid("只有消费积分按金额计算。", field="per_fen")
    most = MOST_PER_PERSON
    _within(rule.most_per_person, 1, most, "most_per_person", "每人每天的上限要在 %(least)s 到 %(most)s 之间。")
    _within(rule.most_per_day, 1, MOST_PER_DAY, "most_per_day", "全店每天的上限要在 %(least)s 到 %(most)s 之间。")
    if rule.points > rule.most_per_person:
        raise Invalid("一次的积分不能超过每人每天的上限。", field="most_per_person")
    if rule.most_per_person > rule.most_per_day:
        raise Invalid("全店每天的上限不能小于每人每天的上限。", field="most_per_day")
    days = MOST_VESTING_DAYS
    _within(rule.vests_after_days, 0, days, "vests_after_days", "到账天数要在 %(least)s 到 %(most)s 之间。")
    if rule.lives_days is not None:
        _within(rule.lives_days, 1, MOST_LIFE_DAYS, "lives_days", "有效天数要在 %(least)s 到 %(most)s 之间。")
    if rule.level not in (1, 2) or (rule.level == 2 and rule.trigger is not RuleTrigger.REFERRAL):
        raise Invalid("邀请奖励最多两级。", field="level")


def simulate(session: Session, *, merchant_id: int, rules: Sequence[Rule], now: datetime) -> list[Cost]:
    """What the last 30 days would have cost with these rules: from the visits, bills, check-ins and first spends of
    invited people that were recorded, within the rules' limits and at plain speed. Saves nothing."""
    causes: dict[tuple[str, int], list[Any]] = defaultdict(list)
    for row in session.execute(_LAST_MONTH, {"merchant_id": merchant_id, "since": now - MONTH, "now": now}):
        causes[row.trigger, row.level].append(row)
    return [_cost(rule, causes[rule.trigger.value, rule.level]) for rule in rules]


def _cost(rule: Rule, causes: Sequence[Any]) -> Cost:
    by_person: dict[tuple[date, int], int] = defaultdict(int)
    by_day: dict[date, int] = defaultdict(int)
    paid = cut = counted = 0
    for cause in causes:
        wanted = rule.worth(cause.bill_fen)
        day = business_day(cause.at)
        person = (day, cause.follower_id)
        points = min(wanted, rule.most_per_person - by_person[person], rule.most_per_day - by_day[day])
        by_person[person] += points
        by_day[day] += points
        paid, cut, counted = paid + points, cut + wanted - points, counted + (wanted > 0)
    return Cost(rule, counted, paid, cut) if rule.is_on else Cost(rule, counted, 0, 0)


def _within(value: int, least: int, most: int, field: str, message: str) -> None:
    if type(value) is not int or not least <= value <= most:
        raise Invalid(message, field=field, least=least, most=most)


def _typed(row: Any) -> Rule:
    return Rule(
        RuleTrigger(row.trigger), row.points, row.most_per_person, row.most_per_day, row.per_fen, row.level,
        row.vests_after_days, row.lives_days, row.is_on,
    )  # fmt: skip


def _repeated(before: Moved) -> Paid:
    return Paid(before.points, before.transfer_id, before.vests_at, is_new=False)


def _within_limits(session: Session, merchant_id: int, follower_id: int, rule: Any, day: date, wanted: int) -> int:
    """Raise the day's two counts by what still fits into both, and return that."""
    whose = {"merchant_id": merchant_id, "rule_id": rule.id, "day": day}
    # The person's own count cannot move meanwhile: every payment holds the account.
    mine = session.execute(_PAID_TODAY, {**whose, "follower_id": follower_id}).scalar() or 0
    points: int = min(wanted, rule.most_per_person - mine)
    if points <= 0:
        return 0
    everybody = {**whose, "follower_id": None, "most": rule.most_per_day}
    if points > rule.most_per_day or not rows_changed(session.execute(_COUNT, {**everybody, "points": points})):
        left = rule.most_per_day - (session.execute(_HOLD_DAY, everybody).scalar() or 0)
        points = min(points, left)
        if points <= 0 or not rows_changed(session.execute(_COUNT, {**everybody, "points": points})):
            return 0
    own = {**whose, "follower_id": follower_id, "most": rule.most_per_person, "points": points}
    if not rows_changed(session.execute(_COUNT, own)):
        raise RuntimeError("a person's count of the day moved while their account was held")
    return points


_RULE: Final = text("""
    SELECT r.id, r.trigger, r.level, r.points, r.per_fen, r.most_per_person, r.most_per_day, r.vests_after_days,
           r.lives_days, r.is_on,
           EXISTS (SELECT 1 FROM member_level l WHERE l.merchant_id = r.merchant_id) AS has_levels
    FROM points_rule r
    WHERE r.merchant_id = :merchant_id AND r.trigger = :trigger AND r.level = :level AND r.is_on
      AND NOT EXISTS (SELECT 1 FROM benefit_block b WHERE b.follower_id = :follower_id)""")

_PAID_TODAY: Final = text("""
    SELECT paid FROM points_rule_day
    WHERE rule_id = :rule_id AND day = :day AND follower_id IS NOT DISTINCT FROM :follower_id""")

_HOLD_DAY: Final = text(f"{_PAID_TODAY.text} FOR NO KEY UPDATE")

_COUNT: Final = text("""
    INSERT INTO points_rule_day AS d (merchant_id, rule_id, day, follower_id, paid, most)
    VALUES (:merchant_id, :rule_id, :day, :follower_id, :points, :most)
    ON CONFLICT (rule_id, day, follower_id) DO UPDATE SET paid = d.paid + excluded.paid, most = excluded.most
    WHERE d.paid + excluded.paid <= excluded.most""")

_DAYS_IN_A_ROW: Final = text("""
    WITH days AS (
        SELECT DISTINCT source_id FROM points_transfer
        WHERE merchant_id = :merchant_id AND follower_id = :follower_id AND source_type = 'check_in'
          AND source_id <= :today AND source_id > :today - 400)
    SELECT count(*) FROM (SELECT source_id + row_number() OVER (ORDER BY source_id DESC) AS run FROM days) d
    WHERE run = :today + 1""")

_PAID: Final = text("""
    SELECT id, follower_id FROM points_transfer
    WHERE merchant_id = :merchant_id AND source_type = :source_type AND source_id = :source_id AND kind = 'earn'
    ORDER BY id""")

_SAVE: Final = text("""
    INSERT INTO points_rule (merchant_id, trigger, level, points, per_fen, most_per_person, most_per_day,
                             vests_after_days, lives_days, is_on, changed_at)
    VALUES (:merchant_id, :trigger, :level, :points, :per_fen, :most_per_person, :most_per_day, :vests_after_days,
            :lives_days, :is_on, :now)
    ON CONFLICT (merchant_id, trigger, level) DO UPDATE SET
        points = excluded.points, per_fen = excluded.per_fen, most_per_person = excluded.most_per_person,
        most_per_day = excluded.most_per_day, vests_after_days = excluded.vests_after_days,
        lives_days = excluded.lives_days, is_on = excluded.is_on, changed_at = excluded.changed_at""")

_LAST_MONTH: Final = text("""
    SELECT 'visit' AS trigger, 1 AS level, follower_id, NULL AS bill_fen, at FROM visit
    WHERE merchant_id = :merchant_id AND at > :since AND at <= :now AND reversed_at IS NULL
    UNION ALL
    SELECT 'spend', 1, follower_id, bill_fen, at FROM visit
    WHERE merchant_id = :merchant_id AND at > :since AND at <= :now AND reversed_at IS NULL AND bill_fen > 0
    UNION ALL
    SELECT 'spend', 1, follower_id, bill_fen, redeemed_at FROM redemption
    WHERE merchant_id = :merchant_id AND redeemed_at > :since AND redeemed_at <= :now AND reversed_at IS NULL
      AND bill_fen > 0
    UNION ALL
    SELECT 'check_in', 1, follower_id, NULL, at FROM points_transfer
    WHERE merchant_id = :merchant_id AND at > :since AND at <= :now AND source_type = 'check_in'
    UNION ALL
    SELECT 'referral', level, beneficiary_id, NULL, at FROM referral_reward
    WHERE merchant_id = :merchant_id AND at > :since AND at <= :now AND state IN ('held', 'paid')
    ORDER BY at""")
