"""What somebody's first confirmed spend earns who brought them: once, for one level or two, and held where it smells.

Nothing else earns anything: not a follow, not an opened card, not the people brought, not what they spend later (RF-5,
RF-6). The first redemption, or visit with a bill, at the merchant whose card it was; taken back with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Row, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from campaigns.points import ledger, rules
from campaigns.points.models import PointsRule, RuleTrigger
from campaigns.referrals.models import Cause, ReferralReward, RewardState, Suspicion
from merchants import identities

LEVELS: Final = (1, 2)
"""Who brought the person, and who brought that one; there is no third (RF-4)."""
MOST_AN_HOUR: Final = 5
MOST_A_DAY: Final = 15
"""More people than that by one card are a burst."""
MOST_AT_ONE_ADDRESS: Final = 3
"""Neighbours share one network, so this is a hint: it has somebody look, and refuses nothing."""
RING_DEPTH: Final = 4
"""So many who brought each other, one after the other, within a day."""
RING_PEOPLE: Final = 12
"""So many who hang together, and came within a day."""


@dataclass(frozen=True)
class Rewarded:
    """One reward that came of a spend."""

    reward_id: int
    level: int
    beneficiary_id: int
    state: RewardState
    suspicions: tuple[Suspicion, ...] = ()


def source_of(cause: Cause | str) -> str:
    """How the ledger calls what a reward was paid for."""
    return f"referral_{cause}"


def reward_first_spend(
    session: Session, *, merchant_id: int, follower_id: int, cause_type: str, cause_id: int, now: datetime
) -> list[Rewarded]:
    """Reward who brought this person, if that is their first confirmed spend here. Called in its transaction, after
    its row was written and before anything else is paid for it, under the merchant's or the platform's role; empty
    where there is nothing to reward. It holds the accounts of all concerned, the person's own among them (PT-11).
    """
    cause = Cause(cause_type)
    # A follow that is told late is bound under the same lock: one of the two sees what the other did.
    _in_turn(session, follower_id)
    edge = session.execute(
        text("""
            SELECT invitee_id, inviter_id, address_hash, at FROM referral
            WHERE invitee_id = :invitee AND merchant_id = :merchant"""),
        {"invitee": follower_id, "merchant": merchant_id},
    ).one_or_none()
    if edge is None or not _is_first(session, merchant_id, follower_id, cause, cause_id, edge.at):
        return []
    rewarded = []
    beneficiaries = _beneficiaries(session, merchant_id, edge.inviter_id)
    people = [follower_id, *(beneficiary_id for _level, beneficiary_id in beneficiaries)]
    ledger.hold(session, merchant_id=merchant_id, follower_ids=people)
    for level, beneficiary_id in beneficiaries:
        one = _reward(session, merchant_id, edge, level, beneficiary_id, cause, cause_id, now)
        if one is not None:
            rewarded.append(one)
    return rewarded


def take_back(session: Session, *, merchant_id: int, cause_type: str, cause_id: int, now: datetime) -> int:
    """Take back what a redemption or visit earned who brought its person; returns how many rewards.

    The next first spend may earn it anew.
    """
    undone = session.execute(
        update(ReferralReward)
        .where(
            ReferralReward.merchant_id == merchant_id,
            ReferralReward.cause_type == cause_type,
            ReferralReward.cause_id == cause_id,
            ReferralReward.state.in_([RewardState.HELD, RewardState.PAID]),
        )
        .values(state=RewardState.REVERSED)
        .returning(ReferralReward.transfer_id)
    ).all()
    if any(row.transfer_id is not None for row in undone):
        rules.take_back(
            session, merchant_id=merchant_id, source_type=source_of(cause_type), source_id=cause_id, now=now
        )
    return len(undone)


def catch_up(session: Session, *, follower_id: int, now: datetime) -> list[Rewarded]:
    """Reward the first spend of somebody whose coming was told only after it."""
    _in_turn(session, follower_id)
    first = session.execute(
        text("""
            SELECT spent.merchant_id, spent.cause, spent.id
            FROM referral r
            CROSS JOIN LATERAL (
                SELECT d.merchant_id, 'redemption' AS cause, d.id, d.redeemed_at AS at FROM redemption d
                WHERE d.follower_id = r.invitee_id AND d.merchant_id = r.merchant_id AND d.reversed_at IS NULL
                UNION ALL
                SELECT v.merchant_id, 'visit', v.id, v.at FROM visit v
                WHERE v.follower_id = r.invitee_id AND v.merchant_id = r.merchant_id AND v.reversed_at IS NULL
                  AND v.bill_fen > 0) spent
            WHERE r.invitee_id = :invitee AND spent.at >= r.at
            ORDER BY spent.at, spent.cause LIMIT 1"""),
        {"invitee": follower_id},
    ).one_or_none()
    if first is None:
        return []
    return reward_first_spend(
        session, merchant_id=first.merchant_id, follower_id=follower_id, cause_type=first.cause, cause_id=first.id,
        now=now,
    )  # fmt: skip


def pay(session: Session, reward: ReferralReward, *, now: datetime) -> int | None:
    """Move the points of a reward by the merchant's rule and its caps; the transfer's id, or None where the rule is
    off or its cap for the day is reached."""
    paid = rules.pay(
        session,
        merchant_id=reward.merchant_id,
        follower_id=reward.beneficiary_id,
        trigger=RuleTrigger.REFERRAL,
        level=reward.level,
        source_type=source_of(reward.cause_type),
        source_id=reward.cause_id,
        now=now,
    )
    return None if paid is None else paid.transfer_id


def suspicions(
    session: Session, *, merchant_id: int, invitee_id: int, beneficiary_id: int, at: datetime
) -> tuple[Suspicion, ...]:
    """What speaks against paying at once (RF-7); `at` is when the person was brought."""
    about = {
        "merchant": merchant_id, "invitee": invitee_id, "beneficiary": beneficiary_id, "at": at,
        "hour": timedelta(hours=1), "day": timedelta(days=1),
    }  # fmt: skip
    found = []
    brought = session.execute(_BROUGHT, about).one()
    if brought.hour > MOST_AN_HOUR or brought.day > MOST_A_DAY:
        found.append(Suspicion.BURST)
    grown = session.execute(_GROWN, about).one()
    if grown.depth >= RING_DEPTH or grown.people > RING_PEOPLE:
        found.append(Suspicion.RING)
    if brought.address >= MOST_AT_ONE_ADDRESS:
        found.append(Suspicion.ADDRESS)
    people = (invitee_id, beneficiary_id)
    if any(identities.is_staff(session, follower_id=one, merchant_id=merchant_id) for one in people):
        found.append(Suspicion.STAFF)
    return tuple(found)


# The fullest hour and the fullest day that the moment lies in: of one's own card, and of the cards of those one brought
# where one is rewarded for them.
_BROUGHT: Final = text("""
    WITH me AS (SELECT inviter_id, address_hash FROM referral WHERE invitee_id = :invitee AND merchant_id = :merchant),
    near AS (
        SELECT r.at, r.inviter_id, r.address_hash FROM referral r, me
        WHERE r.merchant_id = :merchant AND r.inviter_id IN (me.inviter_id, :beneficiary)
          AND r.at BETWEEN :at - :day AND :at + :day),
    counted AS (
        SELECT at, count(*) OVER (PARTITION BY inviter_id ORDER BY at
                                  RANGE BETWEEN CURRENT ROW AND CAST(:hour AS interval) FOLLOWING) AS hour,
               count(*) OVER (PARTITION BY inviter_id ORDER BY at
                              RANGE BETWEEN CURRENT ROW AND CAST(:day AS interval) FOLLOWING) AS day
        FROM near)
    SELECT coalesce(max(hour) FILTER (WHERE at >= :at - :hour), 0) AS hour, coalesce(max(day), 0) AS day,
           (SELECT count(*) FROM near, me WHERE near.address_hash = me.address_hash) AS address
    FROM counted WHERE at <= :at""")

_GROWN: Final = text("""
    WITH RECURSIVE up AS (
        SELECT inviter_id, 1 AS depth FROM referral WHERE invitee_id = :invitee AND merchant_id = :merchant
        UNION ALL
        SELECT r.inviter_id, up.depth + 1 FROM up JOIN referral r ON r.invitee_id = up.inviter_id
        WHERE r.merchant_id = :merchant AND r.at > :at - :day AND up.depth < 20),
    down AS (
        SELECT r.invitee_id, 1 AS depth
        FROM (SELECT inviter_id FROM up ORDER BY depth DESC LIMIT 1) root JOIN referral r USING (inviter_id)
        WHERE r.merchant_id = :merchant AND r.at BETWEEN :at - :day AND :at + :day
        UNION ALL
        SELECT r.invitee_id, down.depth + 1 FROM down JOIN referral r ON r.inviter_id = down.invitee_id
        WHERE r.merchant_id = :merchant AND r.at BETWEEN :at - :day AND :at + :day AND down.depth < 25)
    SELECT count(*) AS people, coalesce(max(depth), 0) AS depth FROM (SELECT depth FROM down LIMIT 500) found""")


def _in_turn(session: Session, follower_id: int) -> None:
    session.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended('referral', :follower))"), {"follower": follower_id}
    )


def _is_first(
    session: Session, merchant_id: int, follower_id: int, cause: Cause, cause_id: int, since: datetime
) -> bool:
    """Whether the cause stands and nothing confirmed stands before it. Two of one moment are one visit to the till."""
    about = {"cause": cause, "id": cause_id, "merchant": merchant_id, "follower": follower_id, "since": since}
    return bool(session.scalar(_FIRST, about))


_FIRST: Final = text("""
    WITH this AS (
        SELECT redeemed_at AS at FROM redemption
        WHERE :cause = 'redemption' AND id = :id AND merchant_id = :merchant AND follower_id = :follower
          AND reversed_at IS NULL
        UNION ALL
        SELECT at FROM visit
        WHERE :cause = 'visit' AND id = :id AND merchant_id = :merchant AND follower_id = :follower
          AND reversed_at IS NULL AND bill_fen > 0)
    SELECT EXISTS (
        SELECT 1 FROM this
        WHERE this.at >= :since
          AND NOT EXISTS (SELECT 1 FROM redemption d
                          WHERE d.merchant_id = :merchant AND d.follower_id = :follower
                            AND d.reversed_at IS NULL AND d.redeemed_at < this.at)
          AND NOT EXISTS (SELECT 1 FROM visit v
                          WHERE v.merchant_id = :merchant AND v.follower_id = :follower
                            AND v.reversed_at IS NULL AND v.bill_fen > 0 AND v.at < this.at))""")


def _beneficiaries(session: Session, merchant_id: int, inviter_id: int) -> Sequence[tuple[int, int]]:
    """Whom to reward by level: the second one only where its rule is on and both came by this merchant's cards."""
    is_on = select(PointsRule.level).where(
        PointsRule.merchant_id == merchant_id, PointsRule.trigger == RuleTrigger.REFERRAL, PointsRule.is_on
    )
    levels = set(session.scalars(is_on))
    found = [(1, inviter_id)] if 1 in levels else []
    if 2 in levels:
        above = session.scalar(
            text("SELECT inviter_id FROM referral WHERE invitee_id = :inviter AND merchant_id = :merchant"),
            {"inviter": inviter_id, "merchant": merchant_id},
        )
        found += [(2, above)] if above is not None else []
    return found


def _reward(
    session: Session,
    merchant_id: int,
    edge: Row[tuple[int, int, bytes | None, datetime]],
    level: int,
    beneficiary_id: int,
    cause: Cause,
    cause_id: int,
    now: datetime,
) -> Rewarded | None:
    invitee_id, at = edge.invitee_id, edge.at
    earned = select(ReferralReward.state).where(ReferralReward.invitee_id == invitee_id, ReferralReward.level == level)
    if session.scalar(earned) not in (None, RewardState.REVERSED):
        return None
    doubts = suspicions(session, merchant_id=merchant_id, invitee_id=invitee_id, beneficiary_id=beneficiary_id, at=at)
    state = RewardState.HELD if doubts else RewardState.PAID
    values = {
        "merchant_id": merchant_id, "invitee_id": invitee_id, "level": level, "beneficiary_id": beneficiary_id,
        "cause_type": cause, "cause_id": cause_id, "state": state, "suspicion": ",".join(doubts), "at": now,
        "transfer_id": None,
    }  # fmt: skip
    if state is RewardState.PAID:
        values["transfer_id"] = pay(session, ReferralReward(**values), now=now)
        if values["transfer_id"] is None:
            return None
    changing = {name: values[name] for name in ("cause_type", "cause_id", "state", "suspicion", "at", "transfer_id")}
    new = insert(ReferralReward).values(**values)
    reward_id = session.scalar(
        new.on_conflict_do_update(
            index_elements=["invitee_id", "level"], set_=changing, where=ReferralReward.state == RewardState.REVERSED
        ).returning(ReferralReward.id)
    )
    if reward_id is None:
        # The lock lets nobody else get here; a reward that is paid twice must not be.
        raise RuntimeError(f"the reward of {invitee_id} at level {level} was earned by another transaction")
    return Rewarded(reward_id, level, beneficiary_id, state, doubts)
