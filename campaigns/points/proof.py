"""The nightly proof that all ledgers are right (PT-1 to PT-3, PT-9): every merchant's points, and the alliance's money.

The database refuses what would make them wrong; the proof counts it all anew and says so to the operator.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, time
from typing import Final

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from campaigns.points.models import LedgerProof
from core import outbox
from core.clock import business_day
from core.database import Role
from core.jobs import Handler
from core.models import Outbox, OutboxState
from core.outbox import Task
from core.runtime import Runtime

PROVE: Final = "prove_ledgers"
PROVED_AT: Final = time(3, 20)
SHOWN: Final = 100


@dataclass(frozen=True, slots=True)
class Wrong:
    """Something that is not as it has to be. `kind` is unbalanced, money, drifting or lot; `should` and `found` are
    points, or fen where it is money."""

    kind: str
    merchant_id: int | None
    id: int
    should: int
    found: int


@dataclass(frozen=True, slots=True)
class Outstanding:
    """Points that people hold at a merchant, vested and pending, and what they owe."""

    merchant_id: int
    merchant: str
    people: int
    points: int
    pending: int
    debt: int


def owe(session: Session, now: datetime) -> None:
    """Have a worker prove the ledgers, once a night."""
    day = business_day(now).isoformat()
    outbox.add(session, kind=PROVE, dedupe_key=f"{PROVE}:{day}", payload={}, queue=outbox.SLOW)


def ask(session: Session, now: datetime) -> None:
    """Have a worker prove the ledgers soon, unless it is about to."""
    if not is_asked(session):
        outbox.add(session, kind=PROVE, dedupe_key=f"{PROVE}:{now.isoformat()}", payload={}, queue=outbox.SLOW)


def is_asked(session: Session) -> bool:
    """Whether a worker has yet to prove the ledgers, or is at it."""
    waits = select(Outbox.id).where(Outbox.kind == PROVE, Outbox.state == OutboxState.PENDING).exists()
    return bool(session.scalar(select(waits)))


def prove_ledgers(runtime: Runtime, task: Task) -> None:
    """The task."""
    with runtime.transaction(Role.PLATFORM, statement_timeout_s=120) as session:
        if outbox.finish(session, task):
            prove(session, runtime.now())


def prove(session: Session, now: datetime) -> LedgerProof:
    """Count everything anew and write down what was found."""
    # One look at everything: what others write meanwhile is in all counts or in none.
    found = session.execute(_PROOF).one()
    proof = LedgerProof(
        at=now,
        ledgers=found.ledgers,
        transfers=found.transfers,
        unbalanced=found.unbalanced,
        drifting=found.drifting,
        odd_lots=found.odd_lots,
        outstanding=found.outstanding,
    )
    session.add(proof)
    session.flush()
    return proof


def is_right(proof: LedgerProof) -> bool:
    """Whether the proof found nothing wrong."""
    return proof.unbalanced == proof.drifting == proof.odd_lots == 0


def latest(session: Session) -> LedgerProof | None:
    """What the last proof found."""
    return session.scalar(select(LedgerProof).order_by(LedgerProof.id.desc()).limit(1))


def history(session: Session, *, limit: int = 30) -> list[LedgerProof]:
    """The last proofs, the newest first."""
    return list(session.scalars(select(LedgerProof).order_by(LedgerProof.id.desc()).limit(limit)))


def what_is_wrong(session: Session, *, limit: int = SHOWN) -> list[Wrong]:
    """What is wrong at this moment, row by row."""
    rows = session.execute(_WRONG, {"limit": limit})
    return [Wrong(row.kind, row.merchant_id, row.id, row.should, row.found) for row in rows]


def outstanding(session: Session, *, limit: int = 200) -> list[Outstanding]:
    """What people hold, by merchant, the most first."""
    rows = session.execute(_OUTSTANDING, {"limit": limit})
    return [Outstanding(row.id, row.name, row.people, row.points, row.pending, row.debt) for row in rows]


_UNBALANCED: Final = """
    SELECT 'unbalanced' AS kind, t.merchant_id, t.id, CAST(0 AS bigint) AS should,
           CAST(coalesce(sum(e.points), 0) AS bigint) AS found
    FROM points_transfer t LEFT JOIN points_entry e ON e.transfer_id = t.id
    GROUP BY t.merchant_id, t.id HAVING coalesce(sum(e.points), 0) <> 0 OR count(e.transfer_id) < 2
    UNION ALL
    SELECT 'money', t.payer_id, t.id, 0, CAST(coalesce(sum(e.fen), 0) AS bigint)
    FROM alliance_transfer t LEFT JOIN alliance_entry e ON e.transfer_id = t.id
    GROUP BY t.payer_id, t.id HAVING coalesce(sum(e.fen), 0) <> 0 OR count(e.transfer_id) < 2"""

_DRIFTING: Final = """
    SELECT 'drifting' AS kind, a.merchant_id, a.id, CAST(coalesce(sum(e.points), 0) AS bigint) AS should,
           a.balance AS found
    FROM points_account a LEFT JOIN points_entry e ON e.account_id = a.id
    WHERE a.balance IS NOT NULL
    GROUP BY a.id HAVING coalesce(sum(e.points), 0) <> a.balance
    UNION ALL
    SELECT 'drifting', a.merchant_id, a.id, CAST(coalesce(sum(l.remaining), 0) AS bigint), a.balance
    FROM points_account a LEFT JOIN points_lot l ON l.account_id = a.id
    WHERE a.kind = 'fan'
    GROUP BY a.id HAVING coalesce(sum(l.remaining), 0) <> a.balance"""

_ODD_LOTS: Final = """
    SELECT 'lot' AS kind, l.merchant_id, l.id, l.earned AS should,
           CAST(l.remaining + coalesce(sum(u.points), 0) AS bigint) AS found
    FROM points_lot l LEFT JOIN points_lot_use u ON u.lot_id = l.id
    GROUP BY l.id HAVING l.remaining + coalesce(sum(u.points), 0) <> l.earned"""

_PROOF: Final = text(f"""
    SELECT (SELECT count(DISTINCT merchant_id) FROM points_account)
               + (SELECT CAST(count(*) > 0 AS integer) FROM alliance_transfer) AS ledgers,
           (SELECT count(*) FROM points_transfer) + (SELECT count(*) FROM alliance_transfer) AS transfers,
           (SELECT count(*) FROM ({_UNBALANCED}) u) AS unbalanced,
           (SELECT count(DISTINCT id) FROM ({_DRIFTING}) d) AS drifting,
           (SELECT count(*) FROM ({_ODD_LOTS}) l) AS odd_lots,
           (SELECT CAST(coalesce(sum(balance), 0) AS bigint) FROM points_account) AS outstanding""")

_WRONG: Final = text(f"""
    SELECT DISTINCT * FROM ({_UNBALANCED} UNION ALL {_DRIFTING} UNION ALL {_ODD_LOTS}) w
    ORDER BY kind, id, should LIMIT :limit""")

_OUTSTANDING: Final = text("""
    SELECT m.id, m.name, count(*) FILTER (WHERE a.kind = 'fan' AND a.balance > 0) AS people,
           CAST(coalesce(sum(a.balance) FILTER (WHERE a.kind = 'fan'), 0) AS bigint) AS points,
           CAST(coalesce(sum(a.balance) FILTER (WHERE a.kind = 'pending'), 0) AS bigint) AS pending,
           CAST(sum(a.debt) AS bigint) AS debt
    FROM points_account a JOIN merchant m ON m.id = a.merchant_id
    GROUP BY m.id ORDER BY 4 DESC, m.id LIMIT :limit""")

HANDLERS: Final[Mapping[str, Handler]] = {PROVE: prove_ledgers}
