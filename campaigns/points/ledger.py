"""The points ledger: what a person has at a merchant, and the only ways in which it changes.

Every change is a transfer whose entries sum to zero (PT-1): the merchant's own side, whose balance nobody keeps, and
the person's account or what is pending for them. Whoever changes something first locks the person's accounts in the
order of their ids (PT-11), then writes the whole transfer by one statement that holds its own condition (PT-2). A cause
moves points once (PT-5): the same cause again changes nothing and gives the first outcome.

Points come as lots and go by the oldest expiry first (PT-9). A lot whose time is over cannot be spent, whether or not
the job that takes it away has been there.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from campaigns.points.models import TransferKind
from core.clock import business_day, start_of_day
from core.errors import BusinessError, NotFound

VESTING: Final = "vest"
LOT: Final = "lot"
REVERSAL: Final = "reversal"
DEBT: Final = "debt"
ERASED: Final = "erased"
AT_ONCE: Final = 500
"""How many transfers a job makes in one transaction."""


class NotEnoughPoints(BusinessError):
    code = "not_enough_points"
    message = "积分不够。"


@dataclass(frozen=True, slots=True)
class Cause:
    """What happened, and the rule that pays for it."""

    source_type: str
    source_id: int
    rule_id: int | None = None


@dataclass(frozen=True, slots=True)
class Moved:
    """A transfer. `is_new` is False where the cause had moved its points before."""

    transfer_id: int
    points: int
    at: datetime
    vests_at: datetime | None = None
    is_new: bool = True


@dataclass(frozen=True, slots=True)
class Reversed:
    """What a reversal took back, and what it could not and is owed now; both may be 0 where the points had expired."""

    points: int
    owed: int
    is_new: bool = True


@dataclass(frozen=True, slots=True)
class Balance:
    """What a person has at a merchant: to spend now, on its way, and owed; and what expires next."""

    points: int = 0
    pending: int = 0
    debt: int = 0
    expiring: int = 0
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a person's statement. `points` is what it changed of what they can spend, `pending` of what is on its
    way."""

    transfer_id: int
    kind: TransferKind
    points: int
    pending: int
    source_type: str
    source_id: int
    trigger: str | None
    at: datetime
    vests_at: datetime | None
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Accounts:
    """A person's accounts at a merchant, locked until the transaction ends."""

    merchant_id: int
    follower_id: int
    fan: int
    pending: int
    issued: int
    debt: int


def expiry(now: datetime, lives_days: int | None) -> datetime | None:
    """Points last through the Shanghai day that many days on; None: for ever."""
    return None if lives_days is None else start_of_day(business_day(now) + timedelta(days=lives_days + 1))


def hold(session: Session, *, merchant_id: int, follower_ids: Collection[int]) -> dict[int, Accounts]:
    """Make the accounts that are missing and lock all of them, in the order of their ids (PT-11).

    Whoever pays several people within one transaction calls this first with all of them: nobody may wait for an
    account while holding what others wait for, such as the day's limit of a rule.
    """
    wanted = {"merchant_id": merchant_id, "follower_ids": sorted(set(follower_ids))}
    held = _locked(session, wanted)
    if len(held) < len(wanted["follower_ids"]):  # type: ignore[arg-type]
        session.execute(_OPEN, wanted)
        held = _locked(session, wanted)
    return held


def _locked(session: Session, wanted: dict[str, Any]) -> dict[int, Accounts]:
    rows: dict[int, dict[str, Any]] = {}
    for row in session.execute(_LOCK, wanted):
        person = rows.setdefault(row.follower_id, {"issued": row.issued_id, "debt": 0})
        person[row.kind] = row.id
        person["debt"] += row.debt
    return {
        follower_id: Accounts(merchant_id=wanted["merchant_id"], follower_id=follower_id, **person)
        for follower_id, person in rows.items()
    }


def earn(
    session: Session,
    *,
    merchant_id: int,
    follower_id: int,
    points: int,
    cause: Cause,
    now: datetime,
    vests_at: datetime | None = None,
    expires_at: datetime | None = None,
) -> Moved:
    """Give points for a cause, once: to spend now until `expires_at`, or on `vests_at`.

    What can be spent pays what is owed first.
    """
    accounts = _one(session, merchant_id, follower_id)
    return _give(session, accounts, TransferKind.EARN, points, cause, now, vests_at=vests_at, expires_at=expires_at)


def spend(
    session: Session,
    *,
    merchant_id: int,
    follower_id: int,
    points: int,
    cause: Cause,
    now: datetime,
    staff_id: int | None = None,
) -> Moved:
    """Take exactly so many points, the oldest first; `NotEnoughPoints` where there are fewer (PT-2)."""
    accounts = _one(session, merchant_id, follower_id)
    return _take_all(session, accounts, TransferKind.SPEND, points, cause, now, staff_id=staff_id)


def adjust(
    session: Session,
    *,
    merchant_id: int,
    follower_id: int,
    points: int,
    cause: Cause,
    now: datetime,
    staff_id: int | None,
    expires_at: datetime | None = None,
) -> Moved:
    """Add points by hand, or take them where `points` is negative, no more than there are."""
    accounts = _one(session, merchant_id, follower_id)
    if points > 0:
        return _give(
            session, accounts, TransferKind.ADJUST, points, cause, now, expires_at=expires_at, staff_id=staff_id
        )
    return _take_all(session, accounts, TransferKind.ADJUST, -points, cause, now, staff_id=staff_id)


def reverse(
    session: Session, *, merchant_id: int, transfer_id: int, now: datetime, staff_id: int | None = None
) -> Reversed:
    """Take back what a transfer earned, once (PT-8).

    What is still pending goes as a whole. Of the rest: what is left of its own lot, then the oldest others; what is not
    there any more is owed. What expired was of no use to anybody and is not asked for.
    """
    original = session.execute(_EARNED, {"merchant_id": merchant_id, "transfer_id": transfer_id}).one_or_none()
    if original is None:
        raise NotFound
    accounts = _one(session, merchant_id, original.follower_id)
    # What became of it, once nobody else can change it.
    fate = session.execute(_FATE, {"merchant_id": merchant_id, "transfer_id": transfer_id}).one()
    if fate.was_reversed:
        return Reversed(fate.taken, fate.owed, is_new=False)
    cause = Cause(REVERSAL, transfer_id)
    if fate.is_pending:
        _move(session, accounts, TransferKind.REVERSE, original.points, cause, now,
              giver=accounts.pending, taker=accounts.issued, reverses_id=transfer_id, staff_id=staff_id)  # fmt: skip
        return Reversed(original.points, 0)
    wanted = original.points - fate.expired
    if wanted <= 0:
        return Reversed(0, 0)
    taken = _take(session, accounts, TransferKind.REVERSE, wanted, cause, now,
                  least=1, first=fate.lot_id, reverses_id=transfer_id, staff_id=staff_id)  # fmt: skip
    points = 0 if taken is None else taken.points
    if (owed := wanted - points) > 0:
        session.execute(
            _OWE,
            {"transfer_id": transfer_id, "merchant_id": merchant_id, "fan": accounts.fan, "owed": owed, "now": now},
        )
    return Reversed(points, owed)


def balance_of(session: Session, *, merchant_id: int, follower_id: int, now: datetime) -> Balance:
    """What a person has at one merchant."""
    return balances_of(session, follower_id=follower_id, now=now, merchant_id=merchant_id).get(merchant_id, Balance())


def balances_of(
    session: Session, *, follower_id: int, now: datetime, merchant_id: int | None = None
) -> dict[int, Balance]:
    """What a person has, by merchant; of those where they ever had something."""
    rows = session.execute(_BALANCES, {"follower_id": follower_id, "merchant_id": merchant_id, "now": now})
    return {
        row.merchant_id: Balance(row.points, row.pending, row.debt, row.expiring or 0, row.expires_at) for row in rows
    }


def statement_of(
    session: Session, *, merchant_id: int, follower_id: int, before: int | None = None, most: int = 50
) -> list[Line]:
    """What happened to a person's points, the newest first; `before` is the transfer where the last page ended."""
    rows = session.execute(
        _STATEMENT, {"merchant_id": merchant_id, "follower_id": follower_id, "before": before, "most": most}
    )
    return [
        Line(
            row.id, TransferKind(row.kind), row.points, row.pending, row.source_type, row.source_id, row.trigger,
            row.at, row.vests_at, row.expires_at,
        )
        for row in rows
    ]  # fmt: skip


def vest_due(session: Session, now: datetime) -> None:
    """Make what has waited long enough people's own. Whose accounts somebody holds is left to the next time."""
    held = session.execute(_HOLD_VESTING, {"now": now, "most": AT_ONCE}).scalars().all()
    for row in session.execute(_VEST, {"held": held, "now": now}).all():
        if row.debt > 0:  # read again: an earlier one of these may have paid it
            _pay_debt(session, _one(session, row.merchant_id, row.follower_id), row.transfer_id, row.points, now)


def expire_due(session: Session, now: datetime) -> None:
    """Take away what has not been spent in time. Whose accounts somebody holds is left to the next time."""
    held = session.execute(_HOLD_EXPIRING, {"now": now, "most": AT_ONCE}).scalars().all()
    session.execute(_EXPIRE, {"held": held, "now": now, "source": LOT, "whatever_is_left": False})


def forget(session: Session, *, follower_id: int, now: datetime) -> None:
    """Empty a person's accounts by balanced transfers; what was owed stays owed."""
    merchants = session.execute(
        text("SELECT DISTINCT merchant_id FROM points_account WHERE follower_id = :id ORDER BY 1"), {"id": follower_id}
    ).scalars()
    for merchant_id in merchants.all():
        accounts = _one(session, merchant_id, follower_id)
        for waiting in session.execute(_WAITING, {"merchant_id": merchant_id, "follower_id": follower_id}).all():
            _move(session, accounts, TransferKind.REVERSE, waiting.points, Cause(REVERSAL, waiting.id), now,
                  giver=accounts.pending, taker=accounts.issued, reverses_id=waiting.id)  # fmt: skip
        session.execute(_EXPIRE, {"held": [accounts.fan], "now": now, "source": ERASED, "whatever_is_left": True})
        session.execute(
            text("UPDATE points_account SET emptied_at = :now WHERE id = :id"), {"now": now, "id": accounts.fan}
        )


def _one(session: Session, merchant_id: int, follower_id: int) -> Accounts:
    return hold(session, merchant_id=merchant_id, follower_ids=(follower_id,))[follower_id]


def _give(
    session: Session,
    accounts: Accounts,
    kind: TransferKind,
    points: int,
    cause: Cause,
    now: datetime,
    *,
    vests_at: datetime | None = None,
    expires_at: datetime | None = None,
    staff_id: int | None = None,
) -> Moved:
    moved = _move(
        session, accounts, kind, points, cause, now,
        giver=accounts.issued, taker=accounts.fan if vests_at is None else accounts.pending,
        vests_at=vests_at, expires_at=expires_at, staff_id=staff_id, is_lot=vests_at is None,
    )  # fmt: skip
    if moved is None:
        return _first(session, accounts, cause)
    if vests_at is None:
        _pay_debt(session, accounts, moved.transfer_id, points, now)
    return moved


def _move(
    session: Session,
    accounts: Accounts,
    kind: TransferKind,
    points: int,
    cause: Cause,
    now: datetime,
    *,
    giver: int,
    taker: int,
    vests_at: datetime | None = None,
    expires_at: datetime | None = None,
    reverses_id: int | None = None,
    staff_id: int | None = None,
    is_lot: bool = False,
) -> Moved | None:
    row = session.execute(
        _MOVE,
        {
            **_transfer(accounts, kind, points, cause, now, reverses_id, staff_id), "giver": giver, "taker": taker,
            "vests_at": vests_at, "expires_at": expires_at, "is_lot": is_lot,
        },
    ).one_or_none()  # fmt: skip
    return None if row is None else Moved(row.id, points, now, vests_at)


def _take_all(
    session: Session,
    accounts: Accounts,
    kind: TransferKind,
    points: int,
    cause: Cause,
    now: datetime,
    *,
    staff_id: int | None = None,
) -> Moved:
    taken = _take(session, accounts, kind, points, cause, now, least=points, staff_id=staff_id)
    if taken is not None:
        return taken
    return _first(session, accounts, cause)


def _take(
    session: Session,
    accounts: Accounts,
    kind: TransferKind,
    points: int,
    cause: Cause,
    now: datetime,
    *,
    least: int,
    first: int | None = None,
    reverses_id: int | None = None,
    staff_id: int | None = None,
) -> Moved | None:
    """Take up to so many points out of lots, lot `first` before the others; None where there are less than `least`, or
    the cause took its points before."""
    row = session.execute(
        _TAKE,
        {
            **_transfer(accounts, kind, points, cause, now, reverses_id, staff_id), "fan": accounts.fan,
            "issued": accounts.issued, "least": least, "first": first,
        },
    ).one_or_none()  # fmt: skip
    return None if row is None else Moved(row.id, row.points, now)


def _transfer(
    accounts: Accounts,
    kind: TransferKind,
    points: int,
    cause: Cause,
    now: datetime,
    reverses_id: int | None,
    staff_id: int | None,
) -> dict[str, Any]:
    if points <= 0:
        raise ValueError("a transfer moves points")
    return {
        "merchant_id": accounts.merchant_id, "follower_id": accounts.follower_id, "kind": kind.value,
        "points": points, "rule_id": cause.rule_id, "source_type": cause.source_type, "source_id": cause.source_id,
        "reverses_id": reverses_id, "staff_id": staff_id, "now": now,
    }  # fmt: skip


def _first(session: Session, accounts: Accounts, cause: Cause) -> Moved:
    """What the cause moved before; without that there was too little to take."""
    found = find(session, merchant_id=accounts.merchant_id, follower_id=accounts.follower_id, cause=cause)
    if found is None:
        raise NotEnoughPoints
    return found


def find(session: Session, *, merchant_id: int, follower_id: int, cause: Cause) -> Moved | None:
    """What a cause has moved, if it has."""
    row = session.execute(
        _FIND,
        {
            "merchant_id": merchant_id, "follower_id": follower_id, "source_type": cause.source_type,
            "source_id": cause.source_id, "rule_id": cause.rule_id,
        },
    ).one_or_none()  # fmt: skip
    return None if row is None else Moved(row.id, row.points, row.at, row.vests_at, is_new=False)


def _pay_debt(session: Session, accounts: Accounts, transfer_id: int, points: int, now: datetime) -> None:
    if accounts.debt == 0:
        return
    cause = Cause(DEBT, transfer_id)
    paid = _take(session, accounts, TransferKind.SPEND, min(accounts.debt, points), cause, now, least=1)
    if paid is not None:
        session.execute(
            text("UPDATE points_account SET debt = debt - :points WHERE id = :id"),
            {"points": paid.points, "id": accounts.fan},
        )


_OPEN: Final = text("""
    INSERT INTO points_account (merchant_id, follower_id, kind, balance)
    SELECT :merchant_id, follower_id, kind, balance
    FROM (SELECT CAST(NULL AS bigint) AS follower_id, 'issued' AS kind, CAST(NULL AS bigint) AS balance
          UNION ALL
          SELECT follower_id, kind, 0
          FROM unnest(CAST(:follower_ids AS bigint[])) follower_id, (VALUES ('fan'), ('pending')) kinds (kind)) wanted
    ORDER BY follower_id NULLS FIRST, kind
    ON CONFLICT (merchant_id, follower_id, kind) DO NOTHING""")

# The fan account has the smaller id of a person's two: whoever holds it holds both.
_LOCK: Final = text("""
    SELECT a.id, a.follower_id, a.kind, a.debt,
           (SELECT i.id FROM points_account i WHERE i.merchant_id = :merchant_id AND i.follower_id IS NULL) AS issued_id
    FROM points_account a
    WHERE a.merchant_id = :merchant_id AND a.follower_id = ANY(:follower_ids)
    ORDER BY a.id FOR NO KEY UPDATE OF a""")

_TRANSFER: Final = """
    INSERT INTO points_transfer (
        merchant_id, follower_id, kind, points, rule_id, source_type, source_id, reverses_id, vests_at, staff_id, at)"""
_SIDES: Final = """
    INSERT INTO points_entry (transfer_id, account_id, merchant_id, points)
    SELECT transfer.id, side.account_id, transfer.merchant_id, side.points"""

_MOVE: Final = text(f"""
    WITH transfer AS (
        {_TRANSFER}
        VALUES (:merchant_id, :follower_id, :kind, :points, :rule_id, :source_type, :source_id, :reverses_id, :vests_at,
                :staff_id, :now)
        ON CONFLICT DO NOTHING
        RETURNING id, merchant_id, points),
    entries AS (
        {_SIDES}
        FROM transfer CROSS JOIN LATERAL (
            VALUES (CAST(:taker AS bigint), transfer.points), (CAST(:giver AS bigint), -transfer.points)
        ) side (account_id, points)),
    lot AS (
        INSERT INTO points_lot (merchant_id, account_id, transfer_id, earned, remaining, expires_at, at)
        SELECT merchant_id, :taker, id, points, points, :expires_at, :now FROM transfer WHERE :is_lot)
    SELECT id FROM transfer""")

_TAKE: Final = text(f"""
    WITH usable AS (
        SELECT id, remaining,
               sum(remaining) OVER (ORDER BY id IS NOT DISTINCT FROM :first DESC, expires_at, id) - remaining AS before
        FROM points_lot
        WHERE account_id = :fan AND remaining > 0
          AND (expires_at > :now OR expires_at IS NULL OR id IS NOT DISTINCT FROM :first)),
    taken AS (
        SELECT id, CAST(least(remaining, :points - before) AS bigint) AS points FROM usable WHERE before < :points),
    transfer AS (
        {_TRANSFER}
        SELECT :merchant_id, :follower_id, :kind, sum(points), :rule_id, :source_type, :source_id, :reverses_id, NULL,
               :staff_id, :now
        FROM taken HAVING sum(points) >= :least
        ON CONFLICT DO NOTHING
        RETURNING id, merchant_id, points),
    entries AS (
        {_SIDES}
        FROM transfer CROSS JOIN LATERAL (
            VALUES (CAST(:fan AS bigint), -transfer.points), (CAST(:issued AS bigint), transfer.points)
        ) side (account_id, points)),
    used AS (
        INSERT INTO points_lot_use (lot_id, transfer_id, merchant_id, points)
        SELECT taken.id, transfer.id, transfer.merchant_id, taken.points FROM taken, transfer),
    lowered AS (
        UPDATE points_lot SET remaining = remaining - taken.points FROM taken, transfer WHERE points_lot.id = taken.id)
    SELECT id, points FROM transfer""")

_FIND: Final = text("""
    SELECT id, points, at, vests_at FROM points_transfer
    WHERE merchant_id = :merchant_id AND follower_id = :follower_id AND source_type = :source_type
      AND source_id = :source_id AND rule_id IS NOT DISTINCT FROM :rule_id""")

_EARNED: Final = text("""
    SELECT follower_id, points FROM points_transfer
    WHERE merchant_id = :merchant_id AND id = :transfer_id AND kind = 'earn'""")

_FATE: Final = text("""
    SELECT reversal.id IS NOT NULL OR debt.transfer_id IS NOT NULL AS was_reversed,
           coalesce(reversal.points, 0) AS taken, coalesce(debt.points, 0) AS owed, lot.id AS lot_id,
           t.vests_at IS NOT NULL AND vest.id IS NULL AS is_pending,
           (SELECT CAST(coalesce(sum(u.points), 0) AS bigint)
            FROM points_lot_use u JOIN points_transfer x ON x.id = u.transfer_id
            WHERE u.lot_id = lot.id AND x.kind = 'expire') AS expired
    FROM points_transfer t
    LEFT JOIN points_transfer vest ON vest.merchant_id = t.merchant_id AND vest.follower_id = t.follower_id
         AND vest.source_type = 'vest' AND vest.source_id = t.id
    LEFT JOIN points_lot lot ON lot.transfer_id = coalesce(vest.id, t.id)
    LEFT JOIN points_transfer reversal ON reversal.reverses_id = t.id
    LEFT JOIN points_debt debt ON debt.transfer_id = t.id
    WHERE t.merchant_id = :merchant_id AND t.id = :transfer_id""")

_OWE: Final = text("""
    WITH owed AS (
        INSERT INTO points_debt (transfer_id, merchant_id, account_id, points, at)
        VALUES (:transfer_id, :merchant_id, :fan, :owed, :now) RETURNING account_id, points)
    UPDATE points_account SET debt = debt + owed.points FROM owed WHERE points_account.id = owed.account_id""")

_BALANCES: Final = text("""
    SELECT f.merchant_id, f.debt, coalesce(p.balance, 0) AS pending, lots.points, next.points AS expiring,
           next.expires_at
    FROM points_account f
    LEFT JOIN points_account p ON p.merchant_id = f.merchant_id AND p.follower_id = f.follower_id AND p.kind = 'pending'
    CROSS JOIN LATERAL (
        SELECT CAST(coalesce(sum(remaining), 0) AS bigint) AS points FROM points_lot
        WHERE account_id = f.id AND remaining > 0 AND (expires_at > :now OR expires_at IS NULL)) lots
    LEFT JOIN LATERAL (
        SELECT CAST(sum(remaining) AS bigint) AS points, expires_at FROM points_lot
        WHERE account_id = f.id AND remaining > 0 AND expires_at > :now
        GROUP BY expires_at ORDER BY expires_at LIMIT 1) next ON true
    WHERE f.follower_id = :follower_id AND f.kind = 'fan'
      AND (f.merchant_id = :merchant_id OR CAST(:merchant_id AS bigint) IS NULL)
    ORDER BY f.merchant_id""")

_STATEMENT: Final = text("""
    SELECT t.id, t.kind, t.source_type, t.source_id, t.at, t.vests_at, r.trigger, l.expires_at,
           coalesce(fan.points, 0) AS points, coalesce(waiting.points, 0) AS pending
    FROM points_transfer t
    JOIN points_account f ON f.merchant_id = t.merchant_id AND f.follower_id = t.follower_id AND f.kind = 'fan'
    JOIN points_account p ON p.merchant_id = t.merchant_id AND p.follower_id = t.follower_id AND p.kind = 'pending'
    LEFT JOIN points_entry fan ON fan.transfer_id = t.id AND fan.account_id = f.id
    LEFT JOIN points_entry waiting ON waiting.transfer_id = t.id AND waiting.account_id = p.id
    LEFT JOIN points_rule r ON r.id = t.rule_id
    LEFT JOIN points_lot l ON l.transfer_id = t.id
    WHERE t.merchant_id = :merchant_id AND t.follower_id = :follower_id
      AND (t.id < :before OR CAST(:before AS bigint) IS NULL)
      AND (t.at > f.emptied_at OR f.emptied_at IS NULL)
    ORDER BY t.id DESC LIMIT :most""")

# What waits: earned, to vest one day, and neither vested nor reversed.
_IS_WAITING: Final = """
    t.kind = 'earn' AND t.vests_at IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM points_transfer r WHERE r.reverses_id = t.id)
    AND NOT EXISTS (
        SELECT 1 FROM points_transfer v WHERE v.merchant_id = t.merchant_id AND v.follower_id = t.follower_id
        AND v.source_type = 'vest' AND v.source_id = t.id)"""

_WAITING: Final = text(f"""
    SELECT t.id, t.points FROM points_transfer t
    WHERE t.merchant_id = :merchant_id AND t.follower_id = :follower_id AND {_IS_WAITING} ORDER BY t.id""")

_HOLD_VESTING: Final = text(f"""
    SELECT f.id FROM points_account f
    WHERE f.kind = 'fan' AND (f.merchant_id, f.follower_id) IN (
        SELECT p.merchant_id, p.follower_id FROM points_account p
        JOIN points_transfer t ON t.merchant_id = p.merchant_id AND t.follower_id = p.follower_id
        WHERE p.kind = 'pending' AND p.balance > 0 AND t.vests_at <= :now AND {_IS_WAITING}
        LIMIT :most)
    FOR NO KEY UPDATE SKIP LOCKED""")

_VEST: Final = text(f"""
    WITH due AS (
        SELECT t.id, t.merchant_id, t.follower_id, t.points, t.vests_at, f.id AS fan, f.debt, p.id AS pending,
               r.lives_days
        FROM points_account f
        JOIN points_account p ON p.merchant_id = f.merchant_id AND p.follower_id = f.follower_id AND p.kind = 'pending'
        JOIN points_transfer t ON t.merchant_id = f.merchant_id AND t.follower_id = f.follower_id
        LEFT JOIN points_rule r ON r.id = t.rule_id
        WHERE f.id = ANY(:held) AND t.vests_at <= :now AND {_IS_WAITING}),
    transfer AS (
        INSERT INTO points_transfer (merchant_id, follower_id, kind, points, source_type, source_id, at)
        SELECT merchant_id, follower_id, 'vest', points, 'vest', id, :now FROM due ORDER BY vests_at, id
        RETURNING id, merchant_id, source_id),
    entries AS (
        {_SIDES}
        FROM transfer JOIN due ON due.id = transfer.source_id CROSS JOIN LATERAL (
            VALUES (due.pending, -due.points), (due.fan, due.points)) side (account_id, points)),
    lots AS (
        INSERT INTO points_lot (merchant_id, account_id, transfer_id, earned, remaining, expires_at, at)
        SELECT due.merchant_id, due.fan, transfer.id, due.points, due.points,
               CAST(CAST(due.vests_at AT TIME ZONE 'Asia/Shanghai' AS date) + due.lives_days + 1 AS timestamp)
                   AT TIME ZONE 'Asia/Shanghai', :now
        FROM transfer JOIN due ON due.id = transfer.source_id ORDER BY transfer.id)
    SELECT transfer.id AS transfer_id, due.merchant_id, due.follower_id, due.points, due.debt
    FROM transfer JOIN due ON due.id = transfer.source_id ORDER BY transfer.id""")

_HOLD_EXPIRING: Final = text("""
    SELECT id FROM points_account
    WHERE id IN (
        SELECT account_id FROM points_lot WHERE remaining > 0 AND expires_at <= :now ORDER BY expires_at LIMIT :most)
    FOR NO KEY UPDATE SKIP LOCKED""")

_EXPIRE: Final = text(f"""
    WITH due AS (
        SELECT l.id, l.merchant_id, l.account_id, l.remaining, f.follower_id,
               (SELECT i.id FROM points_account i WHERE i.merchant_id = l.merchant_id AND i.follower_id IS NULL)
                   AS issued
        FROM points_lot l JOIN points_account f ON f.id = l.account_id
        WHERE l.account_id = ANY(:held) AND l.remaining > 0 AND (:whatever_is_left OR l.expires_at <= :now)),
    transfer AS (
        INSERT INTO points_transfer (merchant_id, follower_id, kind, points, source_type, source_id, at)
        SELECT merchant_id, follower_id, 'expire', remaining, :source, id, :now FROM due
        RETURNING id, merchant_id, source_id),
    entries AS (
        {_SIDES}
        FROM transfer JOIN due ON due.id = transfer.source_id CROSS JOIN LATERAL (
            VALUES (due.account_id, -due.remaining), (due.issued, due.remaining)) side (account_id, points)),
    used AS (
        INSERT INTO points_lot_use (lot_id, transfer_id, merchant_id, points)
        SELECT due.id, transfer.id, transfer.merchant_id, due.remaining
        FROM transfer JOIN due ON due.id = transfer.source_id)
    UPDATE points_lot SET remaining = 0 FROM due WHERE points_lot.id = due.id""")
