"""What the operator reads about the conversation: the latest events, unusable deliveries, and one person's story."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from bot.models import DeadLetter
from core.models import AuditHead

NEWEST = 100


def state_of_affairs(session: Session) -> str:
    """Changes whenever an event was taken in or somebody on the staff changed something; cheap enough to ask often.

    Events commit in another order than they are numbered, so not the newest number alone but the newest hundred tell.
    """
    newest = session.execute(
        text("SELECT array_agg(id) FROM (SELECT id FROM inbox_event ORDER BY id DESC LIMIT :newest) events"),
        {"newest": NEWEST},
    ).scalar()
    acts = session.scalar(select(AuditHead.hash)) or b""
    return sha256(repr(newest).encode() + bytes(acts)).hexdigest()[:32]


@dataclass(frozen=True)
class EventRow:
    """One event with the code it was about; the follower is known by internal number only."""

    id: int
    kind: str
    source: str
    event_at: datetime
    received_at: datetime
    follower_id: int | None
    scene: str | None
    has_reply: bool
    code_id: int | None
    code_label: str | None
    merchant_id: int | None
    merchant_name: str | None
    by_staff: bool
    is_test: bool


def latest_events(
    session: Session,
    *,
    kinds: Sequence[str] = (),
    merchant_id: int | None = None,
    follower_id: int | None = None,
    before: int | None = None,
    limit: int = 50,
) -> list[EventRow]:
    """Events by the order in which they were taken in, newest first; no kinds means all."""
    rows = session.execute(
        text("""
            SELECT e.id, e.kind, e.source, e.event_at, e.received_at, e.follower_id, e.scene,
                   e.reply IS NOT NULL AS has_reply, c.id AS code_id, c.label AS code_label,
                   m.id AS merchant_id, m.name AS merchant_name,
                   coalesce(s.by_staff, false) AS by_staff, coalesce(s.is_test, false) AS is_test
            FROM inbox_event e
            LEFT JOIN scan s ON s.inbox_id = e.id AND s.month = e.month
            LEFT JOIN sub_qr_code c ON c.id = s.code_id
            LEFT JOIN merchant m ON m.id = s.merchant_id
            WHERE (:is_any_kind OR e.kind = ANY(:kinds))
              AND (CAST(:merchant_id AS bigint) IS NULL OR s.merchant_id = :merchant_id)
              AND (CAST(:follower_id AS bigint) IS NULL OR e.follower_id = :follower_id)
              AND (CAST(:before AS bigint) IS NULL OR e.id < :before)
            ORDER BY e.id DESC LIMIT :limit"""),
        {
            "is_any_kind": not kinds,
            "kinds": list(kinds),
            "merchant_id": merchant_id,
            "follower_id": follower_id,
            "before": before,
            "limit": limit,
        },
    )
    return [EventRow(**row._mapping) for row in rows]


def last_received_at(session: Session) -> datetime | None:
    """When the platform last told us anything."""
    newest: datetime | None = session.execute(
        text("SELECT received_at FROM inbox_event WHERE source = 'event' ORDER BY id DESC LIMIT 1")
    ).scalar()
    return newest


def dead_letters(session: Session, *, before: int | None = None, limit: int = 50) -> list[DeadLetter]:
    """Authentic deliveries that could not be used, newest first."""
    statement = select(DeadLetter).order_by(DeadLetter.id.desc()).limit(limit)
    if before is not None:
        statement = statement.where(DeadLetter.id < before)
    return list(session.scalars(statement))


@dataclass(frozen=True)
class Card:
    """A follower in one merchant's list."""

    merchant_id: int
    merchant_name: str
    number: str
    first_touch_at: datetime
    last_touch_at: datetime
    is_erased: bool
    is_muted: bool


def find_cards(session: Session, number: str) -> list[tuple[int, Card]]:
    """Followers whose fan number starts with these characters, with the merchant who calls them so."""
    rows = session.execute(
        text("""
            SELECT f.follower_id, f.merchant_id, m.name, f.number, f.first_touch_at, f.last_touch_at,
                   f.erased_at IS NOT NULL, f.muted_at IS NOT NULL
            FROM fan f JOIN merchant m ON m.id = f.merchant_id
            WHERE f.number LIKE :number || '%' ORDER BY f.number, f.merchant_id LIMIT 50"""),
        {"number": number},
    )
    return [(row[0], Card(*row[1:])) for row in rows]


def cards_of(session: Session, follower_id: int) -> list[Card]:
    """Every merchant's list this follower is in, the first touched first."""
    rows = session.execute(
        text("""
            SELECT f.merchant_id, m.name, f.number, f.first_touch_at, f.last_touch_at,
                   f.erased_at IS NOT NULL, f.muted_at IS NOT NULL
            FROM fan f JOIN merchant m ON m.id = f.merchant_id
            WHERE f.follower_id = :follower_id ORDER BY f.first_touch_at, f.merchant_id"""),
        {"follower_id": follower_id},
    )
    return [Card(*row) for row in rows]


@dataclass(frozen=True)
class Verdict:
    """One attribution: who was credited with a follow, by which rule, and whether it still holds."""

    id: int
    merchant_id: int | None
    merchant_name: str | None
    code_id: int | None
    code_label: str | None
    kind: str
    rule: str
    rule_version: int
    protection_days: int
    source: str
    recorded_at: datetime
    in_force: bool
    suspect: bool
    """The scan that earned it carried another ticket than the code's own (QR-7)."""


@dataclass(frozen=True)
class Stretch:
    """One stretch of following with every verdict over it, the newest first."""

    id: int
    started_at: datetime
    ended_at: datetime | None
    source: str
    scene: str | None
    is_void: bool
    verdicts: list[Verdict]


def stretches_of(session: Session, follower_id: int) -> list[Stretch]:
    """A follower's episodes, voided ones included, newest first."""
    verdicts: dict[int, list[Verdict]] = {}
    for row in session.execute(
        text("""
            SELECT a.episode_id, a.id, a.merchant_id, m.name, a.code_id, c.label, a.kind, a.rule, a.rule_version,
                   r.protection_days, a.source, a.recorded_at, e.attribution_id = a.id AND e.voided_at IS NULL,
                   EXISTS (SELECT 1 FROM scan s WHERE s.follower_id = a.follower_id AND s.code_id = a.code_id
                           AND s.scanned_at = a.followed_at AND s.suspect)
            FROM attribution a
            JOIN follow_episode e ON e.id = a.episode_id
            JOIN attribution_rule r ON r.version = a.rule_version
            LEFT JOIN merchant m ON m.id = a.merchant_id
            LEFT JOIN sub_qr_code c ON c.id = a.code_id
            WHERE a.follower_id = :follower_id ORDER BY a.id DESC"""),
        {"follower_id": follower_id},
    ):
        verdicts.setdefault(row[0], []).append(Verdict(*row[1:]))
    episodes = session.execute(
        text("""
            SELECT id, started_at, ended_at, source, scene, voided_at IS NOT NULL
            FROM follow_episode WHERE follower_id = :follower_id ORDER BY started_at DESC, id DESC"""),
        {"follower_id": follower_id},
    )
    return [Stretch(row[0], row[1], row[2], row[3], row[4], row[5], verdicts.get(row[0], [])) for row in episodes]


@dataclass(frozen=True)
class ScanRow:
    """One scan, of whosever code."""

    at: datetime
    scene: str
    code_id: int | None
    code_label: str | None
    merchant_id: int | None
    merchant_name: str | None
    led_to_follow: bool
    suspect: bool
    by_staff: bool
    is_test: bool


def scans_of(session: Session, follower_id: int, *, limit: int = 100) -> list[ScanRow]:
    """A follower's latest scans."""
    rows = session.execute(
        text("""
            SELECT s.scanned_at, s.scene, s.code_id, c.label, s.merchant_id, m.name, s.led_to_follow, s.suspect,
                   s.by_staff, s.is_test
            FROM scan s
            LEFT JOIN sub_qr_code c ON c.id = s.code_id
            LEFT JOIN merchant m ON m.id = s.merchant_id
            WHERE s.follower_id = :follower_id ORDER BY s.scanned_at DESC, s.id DESC LIMIT :limit"""),
        {"follower_id": follower_id, "limit": limit},
    )
    return [ScanRow(*row) for row in rows]


@dataclass(frozen=True)
class ShopNumbers:
    """How much there is of a merchant's."""

    codes: int
    fans: int


def numbers_of(session: Session, merchant_ids: Sequence[int]) -> dict[int, ShopNumbers]:
    """Codes in use and people in the list, for each of these merchants."""
    rows = session.execute(
        text("""
            SELECT m.id,
                   (SELECT count(*) FROM sub_qr_code c WHERE c.merchant_id = m.id AND c.state <> 'retired'),
                   (SELECT count(*) FROM fan f WHERE f.merchant_id = m.id AND f.erased_at IS NULL)
            FROM unnest(CAST(:ids AS bigint[])) AS m(id)"""),
        {"ids": list(merchant_ids)},
    )
    return {row[0]: ShopNumbers(row[1], row[2]) for row in rows}
