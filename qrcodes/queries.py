"""What lists of codes read: codes that match, those about to end, and how full the pool is.

Runs under the merchant role as well as the platform's: only what row-level security shows is read.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Final

from sqlalchemy import ColumnElement, Row, Select, Text, and_, cast, func, literal, or_, select
from sqlalchemy.orm import Session

from core.clock import business_day
from core.models import Outbox, OutboxState
from merchants.models import Merchant
from qrcodes import traffic
from qrcodes.codes import CREATE, RESERVE
from qrcodes.models import CodeKind, CodeState, ScenePool, SubQrCode
from wechat import limits

NAMES_OFFERED: Final = 500
ALARM_DAYS: Final = (1, 3, 7)
"""How long before its end a temporary code gives notice."""
ENDING: Final = timedelta(days=ALARM_DAYS[-1])
PACE_DAYS: Final = 30
LOW_POOL_PERCENT: Final = 90
FORECAST_DAYS: Final = 3_650


@dataclass(frozen=True)
class CodeRow:
    """A code with its merchant, and how asking the platform for it goes."""

    code: SubQrCode
    merchant_name: str
    error: str | None
    """Why the last attempt failed; None before the first one and once the code works."""
    has_given_up: bool


class Life(StrEnum):
    """How long a code lasts, as lists are narrowed by it."""

    PERMANENT = "permanent"
    TEMPORARY = "temporary"
    ENDING = "ending"
    """Temporary, and over within `ENDING`."""
    OVER = "over"


@dataclass(frozen=True)
class CodeFilter:
    """What to look for; empty fields leave all in. `is_retired` asks for retired ones only, or for all others."""

    search: str = ""
    account_id: int | None = None
    merchant_id: int | None = None
    state: CodeState | None = None
    is_retired: bool | None = None
    kind: CodeKind | None = None
    group: str = ""
    batch: str = ""
    life: Life | None = None

    @property
    def is_narrow(self) -> bool:
        """More than a state or a merchant is asked for."""
        return bool(self.search or self.kind or self.group or self.batch or self.life)


def page(
    session: Session, *, wanted: CodeFilter, now: datetime, before: int | None = None, limit: int = 50
) -> list[CodeRow]:
    """Codes of the merchants that the session sees, newest first."""
    statement = _rows().where(*_conditions(wanted, now))
    if before is not None:
        statement = statement.where(SubQrCode.id < before)
    return [_row(row) for row in session.execute(statement.order_by(SubQrCode.id.desc()).limit(limit))]


def everything(session: Session, *, wanted: CodeFilter, now: datetime) -> Iterator[CodeRow]:
    """All codes that match, page by page, for exports."""
    before: int | None = None
    while rows := page(session, wanted=wanted, now=now, before=before, limit=1_000):
        yield from rows
        before = rows[-1].code.id


def matching(session: Session, *, wanted: CodeFilter, now: datetime, limit: int) -> list[int]:
    """The ids of codes that match, newest first."""
    found = select(SubQrCode.id).join(Merchant, Merchant.id == SubQrCode.merchant_id)
    found = found.where(*_conditions(wanted, now))
    return list(session.scalars(found.order_by(SubQrCode.id.desc()).limit(limit)))


def groups_and_batches(session: Session, *, merchant_id: int | None = None) -> tuple[list[str], list[str]]:
    """Groups and batches of living codes, of one merchant or of all: groups by name, the newest batch first."""
    living = SubQrCode.state != CodeState.RETIRED
    of_whom = living if merchant_id is None else and_(living, SubQrCode.merchant_id == merchant_id)
    groups = select(SubQrCode.group_name).where(of_whom, SubQrCode.group_name != "").distinct()
    batches = select(SubQrCode.batch).where(of_whom, SubQrCode.batch != "").group_by(SubQrCode.batch)
    return (
        list(session.scalars(groups.order_by(SubQrCode.group_name).limit(NAMES_OFFERED))),
        list(session.scalars(batches.order_by(func.max(SubQrCode.id).desc()).limit(NAMES_OFFERED))),
    )


def one(session: Session, code_id: int) -> CodeRow | None:
    """One code, whoever's it is."""
    row = session.execute(_rows().where(SubQrCode.id == code_id)).one_or_none()
    return None if row is None else _row(row)


def _rows() -> Select[SubQrCode, str, str | None, str | None]:
    task = Outbox.dedupe_key == literal(f"{CREATE}:").concat(cast(SubQrCode.id, Text))
    return (
        select(SubQrCode, Merchant.name, Outbox.last_error, Outbox.state)
        .join(Merchant, Merchant.id == SubQrCode.merchant_id)
        .outerjoin(Outbox, task)
    )


def _row(row: Row[SubQrCode, str, str | None, str | None]) -> CodeRow:
    code, merchant_name, error, task_state = row
    is_planned = code.state == CodeState.PLANNED
    return CodeRow(code, merchant_name, error if is_planned else None, is_planned and task_state == OutboxState.DEAD)


def _conditions(wanted: CodeFilter, now: datetime) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if words := wanted.search.strip():
        columns = (SubQrCode.label, SubQrCode.place, SubQrCode.group_name, SubQrCode.batch, Merchant.name)
        exact = SubQrCode.scene == words
        conditions.append(or_(exact, *(column.icontains(words, autoescape=True) for column in columns)))
    if wanted.account_id is not None:
        conditions.append(SubQrCode.account_id == wanted.account_id)
    if wanted.merchant_id is not None:
        conditions.append(SubQrCode.merchant_id == wanted.merchant_id)
    if wanted.state is not None:
        conditions.append(SubQrCode.state == wanted.state)
    if wanted.is_retired is not None:
        is_retired = SubQrCode.state == CodeState.RETIRED
        conditions.append(is_retired if wanted.is_retired else ~is_retired)
    if wanted.kind != CodeKind.INVITE:
        # Fans' cards would bury the codes that somebody hung up.
        conditions.append(SubQrCode.kind != CodeKind.INVITE)
    exact_names = ((SubQrCode.kind, wanted.kind), (SubQrCode.group_name, wanted.group), (SubQrCode.batch, wanted.batch))
    conditions += [column == name for column, name in exact_names if name]
    match wanted.life:
        case Life.PERMANENT:
            conditions.append(SubQrCode.permanent.is_(True))
        case Life.TEMPORARY:
            conditions.append(SubQrCode.permanent.is_(False))
        case Life.ENDING:
            conditions += _ending(now)
        case Life.OVER:
            conditions.append(SubQrCode.expires_at <= now)
    return conditions


def _ending(now: datetime) -> list[ColumnElement[bool]]:
    soon = SubQrCode.expires_at.between(now, now + ENDING)
    return [SubQrCode.state == CodeState.ACTIVE, soon]


@dataclass(frozen=True)
class Expiring:
    """A temporary code that is about to end. `days` is the alarm it has reached: 7, 3 or 1."""

    code_id: int
    label: str
    merchant_id: int
    merchant_name: str
    expires_at: datetime
    days: int


def expiring(session: Session, now: datetime, *, merchant_id: int | None = None, limit: int = 200) -> list[Expiring]:
    """Temporary codes that end within a week, of one merchant or of all, the first to end first."""
    columns = (SubQrCode.id, SubQrCode.label, Merchant.id, Merchant.name, SubQrCode.expires_at)
    found = select(*columns).join(Merchant, Merchant.id == SubQrCode.merchant_id).where(*_ending(now))
    # A fan's card is renewed by the fan.
    found = found.where(SubQrCode.kind != CodeKind.INVITE)
    if merchant_id is not None:
        found = found.where(SubQrCode.merchant_id == merchant_id)
    rows = session.execute(found.order_by(SubQrCode.expires_at, SubQrCode.id).limit(limit))
    return [
        Expiring(code_id, label, whose, name, ends, next(days for days in ALARM_DAYS if ends - now <= timedelta(days)))
        for code_id, label, whose, name, ends in rows
        if ends is not None
    ]


@dataclass(frozen=True)
class Pool:
    """How many permanent codes are taken, of those we may take, and how many went lately."""

    used: int
    capacity: int
    lately: int
    """Taken within the last `PACE_DAYS` days."""

    @property
    def left(self) -> int:
        return self.capacity - self.used

    @property
    def reserve(self) -> int:
        """What the platform gives beyond what we take ourselves."""
        return max(0, limits.PERMANENT_CODES - self.capacity)

    @property
    def percent(self) -> int:
        return round(100 * self.used / self.capacity)

    @property
    def is_low(self) -> bool:
        return self.percent >= LOW_POOL_PERCENT

    def lasts_until(self, now: datetime) -> date | None:
        """The day the last one is taken if it goes on like this; None when that is more than ten years away."""
        if not self.lately:
            return None
        days = self.left * PACE_DAYS // self.lately
        return business_day(now) + timedelta(days=days) if days <= FORECAST_DAYS else None


def pool(session: Session, *, account_id: int, now: datetime) -> Pool:
    """The account's permanent codes; the platform gives 100,000, of which some are kept in reserve."""
    row = session.execute(
        select(ScenePool.used, ScenePool.capacity).where(ScenePool.account_id == account_id)
    ).one_or_none()
    taken = select(func.count()).where(
        SubQrCode.account_id == account_id,
        SubQrCode.permanent,
        SubQrCode.adopted.is_(False),
        SubQrCode.created_at > now - timedelta(days=PACE_DAYS),
    )
    used, capacity = (0, limits.PERMANENT_CODES - RESERVE) if row is None else row
    return Pool(used, capacity, session.execute(taken).scalar_one())


@dataclass(frozen=True)
class UnmatchedScene:
    """A scene whose scans were nobody's; the code is known where it was retired or adopted since."""

    scene: str
    scans: int
    scanners: int
    last_at: datetime
    code_id: int | None
    label: str | None
    merchant_name: str | None


def unmatched(session: Session, *, account_id: int, since: datetime, limit: int) -> list[UnmatchedScene]:
    """Scenes that were scanned and were nobody's, the latest first."""
    scenes = traffic.unmatched(session, since=since, limit=limit)
    known = select(SubQrCode.scene, SubQrCode.id, SubQrCode.label, Merchant.name).join(Merchant)
    of_ours = known.where(SubQrCode.account_id == account_id, SubQrCode.scene.in_([one.scene for one in scenes]))
    codes = {row[0]: (row[1], row[2], row[3]) for row in session.execute(of_ours)}
    return [
        UnmatchedScene(one.scene, one.scans, one.scanners, one.last_at, *codes.get(one.scene, (None, None, None)))
        for one in scenes
    ]


def planned_since(session: Session, *, account_id: int, since: datetime) -> int:
    """How many codes were planned from a moment on: each is one call that the platform counts by the day (QR-6)."""
    planned = select(func.count()).where(
        SubQrCode.account_id == account_id, SubQrCode.created_at >= since, SubQrCode.adopted.is_(False)
    )
    return session.execute(planned).scalar_one()
