"""What the operator sees of referrals: rewards that are held, with what is known of the people around them (RF-7)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from campaigns.referrals import rewards
from campaigns.referrals.models import ReferralReward, RewardState, Suspicion
from core.errors import BusinessError, NotFound, Phrase
from merchants.wording import clean

NOTE_MAX: Final = 200


class NotHeld(BusinessError):
    code = "not_held"
    message = "这笔奖励已经处理过，请刷新页面。"


class CapReached(BusinessError):
    code = "cap_reached"
    message = "这家店的邀请规则已关闭，或这位顾客今天的奖励已到上限，暂时放行不了，请改天再放行或拒绝。"


@dataclass(frozen=True)
class Facts:
    """What is known about everybody who hangs together with one invitation, as numbers to judge by."""

    brought: int
    """Whom the inviter has brought here altogether."""
    in_hour: int
    """Of them, within an hour of this one."""
    in_day: int
    came_back: int
    """Of those brought, who spent here on another day again."""
    left: int
    """Of those brought, who follow no more."""
    people: int
    """Who hang together by invitations of one day."""
    depth: int
    """How many brought each other, one after the other."""
    spent: int
    """Of these people, who have spent here."""
    same_minute: int
    """The most of them who came within one minute."""
    same_address: int
    """The most of them who came from one network."""

    @property
    def density(self) -> int:
        """How many of the people brought somebody themselves, of a hundred: a chain is dense, a crowd around one is
        not."""
        return 0 if self.people == 0 else round(100 * min(self.depth, self.people) / self.people)


@dataclass(frozen=True)
class Held:
    """A reward that waits."""

    id: int
    merchant_id: int
    merchant_name: str
    beneficiary_id: int
    invitee_id: int
    level: int
    cause_type: str
    at: datetime
    brought_at: datetime
    came_by: str
    suspicions: tuple[Suspicion, ...]
    facts: Facts


@dataclass(frozen=True)
class Inviter:
    """Somebody who brings people to one merchant."""

    merchant_id: int
    merchant_name: str
    follower_id: int
    brought: int
    in_month: int
    spent: int
    came_back: int
    paid: int
    held: int
    refused: int


def count_held(session: Session) -> int:
    """How many rewards wait."""
    return int(session.execute(text("SELECT count(*) FROM referral_reward WHERE state = 'held'")).scalar_one())


def held(session: Session, *, after: int = 0, limit: int = 20) -> list[Held]:
    """Rewards that wait, the oldest first."""
    rows = session.execute(
        text("""
            SELECT w.id, w.merchant_id, m.name, w.beneficiary_id, w.invitee_id, w.level, w.cause_type, w.at,
                   r.at AS brought_at, r.came_by, w.suspicion
            FROM referral_reward w JOIN merchant m ON m.id = w.merchant_id
            JOIN referral r ON r.invitee_id = w.invitee_id
            WHERE w.state = 'held' AND w.id > :after ORDER BY w.id LIMIT :most"""),
        {"after": after, "most": limit},
    ).all()
    return [
        Held(
            row.id, row.merchant_id, row.name, row.beneficiary_id, row.invitee_id, row.level, row.cause_type, row.at,
            row.brought_at, row.came_by, tuple(Suspicion(one) for one in row.suspicion.split(",") if one),
            facts(session, merchant_id=row.merchant_id, invitee_id=row.invitee_id),
        )
        for row in rows
    ]  # fmt: skip


def how_many_held(session: Session) -> int:
    """How many wait."""
    return int(session.scalar(text("SELECT count(*) FROM referral_reward WHERE state = 'held'")) or 0)


def facts(session: Session, *, merchant_id: int, invitee_id: int) -> Facts:
    """What is known around one invitation."""
    about = {"merchant": merchant_id, "invitee": invitee_id, "hour": timedelta(hours=1), "day": timedelta(days=1)}
    return Facts(*session.execute(_FACTS, about).one())


_FACTS: Final = text("""
    WITH RECURSIVE me AS (SELECT * FROM referral WHERE invitee_id = :invitee AND merchant_id = :merchant),
    brought AS (
        SELECT r.invitee_id, r.at, f.status,
               (SELECT count(DISTINCT (s.at AT TIME ZONE 'Asia/Shanghai')::date) FROM (
                    SELECT redeemed_at AS at FROM redemption d
                    WHERE d.follower_id = r.invitee_id AND d.merchant_id = :merchant AND d.reversed_at IS NULL
                    UNION ALL
                    SELECT v.at FROM visit v
                    WHERE v.follower_id = r.invitee_id AND v.merchant_id = :merchant AND v.reversed_at IS NULL) s
               ) AS days
        FROM me JOIN referral r ON r.inviter_id = me.inviter_id AND r.merchant_id = :merchant
        JOIN follower f ON f.id = r.invitee_id),
    up AS (
        SELECT inviter_id, 1 AS depth FROM me
        UNION ALL
        SELECT r.inviter_id, up.depth + 1 FROM up JOIN referral r ON r.invitee_id = up.inviter_id, me
        WHERE r.merchant_id = :merchant AND r.at > me.at - :day AND up.depth < 20),
    down AS (
        SELECT r.invitee_id, r.at, r.address_hash, 1 AS depth
        FROM (SELECT inviter_id FROM up ORDER BY depth DESC LIMIT 1) root JOIN referral r USING (inviter_id), me
        WHERE r.merchant_id = :merchant AND r.at BETWEEN me.at - :day AND me.at + :day
        UNION ALL
        SELECT r.invitee_id, r.at, r.address_hash, down.depth + 1
        FROM down JOIN referral r ON r.inviter_id = down.invitee_id, me
        WHERE r.merchant_id = :merchant AND r.at BETWEEN me.at - :day AND me.at + :day AND down.depth < 25),
    together AS (SELECT * FROM down LIMIT 500)
    SELECT (SELECT count(*) FROM brought),
           (SELECT max(n) FROM (
                SELECT at, count(*) OVER (ORDER BY at RANGE BETWEEN CURRENT ROW AND CAST(:hour AS interval) FOLLOWING) n
                FROM brought) hours, me WHERE hours.at BETWEEN me.at - :hour AND me.at),
           (SELECT max(n) FROM (
                SELECT at, count(*) OVER (ORDER BY at RANGE BETWEEN CURRENT ROW AND CAST(:day AS interval) FOLLOWING) n
                FROM brought) days, me WHERE days.at BETWEEN me.at - :day AND me.at),
           (SELECT count(*) FROM brought WHERE days > 1),
           (SELECT count(*) FROM brought WHERE status = 'gone'),
           (SELECT count(*) FROM together),
           (SELECT coalesce(max(depth), 0) FROM together),
           (SELECT count(*) FROM together t
            WHERE EXISTS (SELECT 1 FROM redemption d WHERE d.follower_id = t.invitee_id AND d.merchant_id = :merchant
                          AND d.reversed_at IS NULL)
               OR EXISTS (SELECT 1 FROM visit v WHERE v.follower_id = t.invitee_id AND v.merchant_id = :merchant
                          AND v.reversed_at IS NULL AND v.bill_fen > 0)),
           (SELECT coalesce(max(n), 0) FROM (
                SELECT count(*) AS n FROM together GROUP BY date_trunc('minute', at)) minutes),
           (SELECT coalesce(max(n), 0) FROM (
                SELECT count(*) AS n FROM together WHERE address_hash IS NOT NULL GROUP BY address_hash) addresses)""")


def release(session: Session, *, reward_id: int, operator_id: int, note: str, now: datetime) -> ReferralReward:
    """Pay a reward that was held: by the rule and the caps of the day on which it is released."""
    kept = _noted(note)
    reward = _decide(session, reward_id)
    transfer_id = rewards.pay(session, reward, now=now)
    if transfer_id is None:
        raise CapReached
    _settle(session, reward, RewardState.PAID, operator_id, kept, now, transfer_id)
    return reward


def refuse(session: Session, *, reward_id: int, operator_id: int, note: str, now: datetime) -> ReferralReward:
    """Never pay a reward that was held."""
    kept = _noted(note)
    reward = _decide(session, reward_id)
    _settle(session, reward, RewardState.REFUSED, operator_id, kept, now, None)
    return reward


def _noted(note: str) -> str:
    return clean(note, name=Phrase("说明"), field="note", longest=NOTE_MAX, is_required=True)


def _decide(session: Session, reward_id: int) -> ReferralReward:
    reward = session.scalar(select(ReferralReward).where(ReferralReward.id == reward_id).with_for_update())
    if reward is None:
        raise NotFound("没有这笔奖励。")
    if reward.state != RewardState.HELD:
        raise NotHeld
    return reward


def _settle(
    session: Session,
    reward: ReferralReward,
    state: RewardState,
    operator_id: int,
    note: str,
    now: datetime,
    transfer_id: int | None,
) -> None:
    session.execute(
        update(ReferralReward)
        .where(ReferralReward.id == reward.id)
        .values(state=state, transfer_id=transfer_id, decided_by=operator_id, decided_at=now, decision_note=note)
    )


def inviters(session: Session, *, now: datetime, merchant_id: int | None = None, limit: int = 100) -> Sequence[Inviter]:
    """Who brought the most, at every merchant or at one. Under a merchant's role only its own are seen."""
    found = session.execute(
        text("""
            SELECT r.merchant_id, m.name, r.inviter_id, count(*) AS brought,
                   count(*) FILTER (WHERE r.at > :month) AS in_month,
                   count(*) FILTER (WHERE spent.days > 0) AS spent,
                   count(*) FILTER (WHERE spent.days > 1) AS came_back,
                   count(w.id) FILTER (WHERE w.state = 'paid') AS paid,
                   count(w.id) FILTER (WHERE w.state = 'held') AS held,
                   count(w.id) FILTER (WHERE w.state = 'refused') AS refused
            FROM referral r JOIN merchant m ON m.id = r.merchant_id
            LEFT JOIN referral_reward w ON w.invitee_id = r.invitee_id AND w.level = 1
            CROSS JOIN LATERAL (
                SELECT count(DISTINCT (s.at AT TIME ZONE 'Asia/Shanghai')::date) AS days FROM (
                    SELECT d.redeemed_at AS at FROM redemption d
                    WHERE d.follower_id = r.invitee_id AND d.merchant_id = r.merchant_id AND d.reversed_at IS NULL
                    UNION ALL
                    SELECT v.at FROM visit v
                    WHERE v.follower_id = r.invitee_id AND v.merchant_id = r.merchant_id AND v.reversed_at IS NULL
                ) s) spent
            WHERE CAST(:merchant AS bigint) IS NULL OR r.merchant_id = :merchant
            GROUP BY r.merchant_id, m.name, r.inviter_id
            ORDER BY in_month DESC, brought DESC, r.inviter_id LIMIT :most"""),
        {"month": now - timedelta(days=30), "merchant": merchant_id, "most": limit},
    )
    return [Inviter(*row) for row in found]


@dataclass(frozen=True)
class Brought:
    """Who brought whom."""

    inviter_id: int
    invitee_id: int
    at: datetime
    came_by: str
    state: str | None
    """Of the reward at the first level; None while nothing was spent."""


def brought(session: Session, *, merchant_id: int, before: datetime | None = None, limit: int = 50) -> list[Brought]:
    """Who brought whom to one merchant, the newest first."""
    found = session.execute(
        text("""
            SELECT r.inviter_id, r.invitee_id, r.at, r.came_by, w.state
            FROM referral r LEFT JOIN referral_reward w ON w.invitee_id = r.invitee_id AND w.level = 1
            WHERE r.merchant_id = :merchant AND (CAST(:before AS timestamptz) IS NULL OR r.at < :before)
            ORDER BY r.at DESC, r.invitee_id LIMIT :most"""),
        {"merchant": merchant_id, "before": before, "most": limit},
    )
    return [Brought(*row) for row in found]


@dataclass(frozen=True)
class Mine:
    """What an owner sees of whom they brought: numbers, never people."""

    brought: int
    spent: int
    """Of them, whose first spend was confirmed."""
    held: int


def mine(session: Session, *, merchant_id: int, follower_id: int) -> Mine:
    """The numbers of one person's own card. Under the owner's role."""
    row = session.execute(
        text("""
            SELECT (SELECT count(*) FROM referral WHERE inviter_id = :me AND merchant_id = :merchant),
                   (SELECT count(*) FROM referral_reward
                    WHERE beneficiary_id = :me AND merchant_id = :merchant AND state = 'paid'),
                   (SELECT count(*) FROM referral_reward
                    WHERE beneficiary_id = :me AND merchant_id = :merchant AND state = 'held')"""),
        {"me": follower_id, "merchant": merchant_id},
    ).one()
    return Mine(*row)
