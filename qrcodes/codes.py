"""Sub-QR codes: giving a merchant one, taking over printed ones, and retiring them for good."""

import re
import secrets
import string
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, func, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from core import outbox
from core.database import rows_changed
from core.errors import BusinessError, Invalid, NotFound, Phrase
from merchants import merchants
from merchants.models import MerchantState
from merchants.wording import clean, refuse_bad_wording
from qrcodes.models import CodeHandover, CodeKind, CodeOwner, CodeState, HandoverState, ScenePool, SubQrCode
from wechat import limits

CREATE: Final = "create_code"
"""The outbox kind of the task that asks the platform for a planned code."""

LABEL_MAX: Final = 30
PLACE_MAX: Final = 30
GROUP_MAX: Final = 30
MOST_COPIES: Final = 1_000_000
MOST_FEN: Final = 1_000_000_000
MOST_A_DAY: Final = 10_000
RESERVE: Final = 1_000
"""Permanent codes of the account that are kept for the operator's emergencies (QR-1)."""
LONGEST_DAYS: Final = limits.TEMPORARY_CODE_MAX.days

CLOCK_TOLERANCE: Final = timedelta(minutes=5)

_BASE62: Final = string.ascii_letters + string.digits
_EVENT_PREFIX: Final = "qrscene_"
"""What the platform puts before the scene when somebody follows by scanning; a scene must not look like that itself."""


class PoolSpent(BusinessError):
    code = "pool_spent"
    message = "公众号的永久二维码已经用完，请改用临时码，或联系运营者。"


class LabelTaken(BusinessError):
    code = "label_taken"


class SceneTaken(BusinessError):
    code = "scene_taken"
    message = "这个场景值已属于别的二维码，不能再接管。"


@dataclass(frozen=True)
class Wanted:
    """What a code is to be. `days` is the life of a temporary code; None makes a permanent one.

    `valid_from` and `valid_to` are the days it is meant to hang, both included; a scan outside them still counts.
    """

    label: str
    kind: CodeKind = CodeKind.COUNTER
    place: str = ""
    days: int | None = None
    group: str = ""
    batch: str = ""
    copies: int = 0
    cost_fen: int = 0
    daily_goal: int = 0
    valid_from: date | None = None
    valid_to: date | None = None

    def checked(self) -> "Wanted":
        """The same with texts as they are stored; raises `Invalid`."""
        if self.days is not None and not 1 <= self.days <= LONGEST_DAYS:
            raise Invalid("临时码的有效期为 1 到 %(longest)s 天。", field="days", longest=LONGEST_DAYS)
        label = clean(self.label, name=Phrase("名称"), field="label", longest=LABEL_MAX, is_required=True)
        place = clean(self.place, name=Phrase("位置"), field="place", longest=PLACE_MAX)
        # Both may be spoken by a welcome.
        refuse_bad_wording(label, field="label")
        refuse_bad_wording(place, field="place")
        _refuse_amount(self.copies, MOST_COPIES, field="copies", name=Phrase("份数"))
        _refuse_amount(self.cost_fen, MOST_FEN, field="cost", name=Phrase("成本"))
        _refuse_amount(self.daily_goal, MOST_A_DAY, field="goal", name=Phrase("每日目标"))
        if self.valid_from is not None and self.valid_to is not None and self.valid_from > self.valid_to:
            raise Invalid("结束的日子不能早于开始的日子。", field="valid_to")
        return replace(self, label=label, place=place, group=checked_group(self.group), batch=checked_batch(self.batch))

    @property
    def values(self) -> dict[str, Any]:
        """The columns that may change as long as the code lives."""
        return {
            "label": self.label,
            "kind": self.kind,
            "place": self.place,
            "group_name": self.group,
            "batch": self.batch,
            "printed_copies": self.copies,
            "cost_fen": self.cost_fen,
            "daily_goal": self.daily_goal or None,
            "valid_from": self.valid_from,
            "valid_to": self.valid_to,
        }


def checked_group(name: str) -> str:
    """The name of a group as it is stored; raises `Invalid`."""
    return clean(name, name=Phrase("分组"), field="group", longest=GROUP_MAX)


def checked_batch(name: str) -> str:
    """The name of a batch as it is stored; raises `Invalid`."""
    return clean(name, name=Phrase("批次"), field="batch", longest=GROUP_MAX)


def _refuse_amount(amount: int, most: int, *, field: str, name: Phrase) -> None:
    if not 0 <= amount <= most:
        raise Invalid("%(name)s不对，请检查。", field=field, name=name)


@dataclass(frozen=True)
class Changes:
    """What is to become of many codes at once; None leaves a thing as it is, a goal of 0 takes it away."""

    kind: CodeKind | None = None
    place: str | None = None
    group: str | None = None
    batch: str | None = None
    cost_fen: int | None = None
    daily_goal: int | None = None

    def values(self) -> dict[str, Any]:
        """As columns; raises `Invalid`."""
        values: dict[str, Any] = {"kind": self.kind, "cost_fen": self.cost_fen}
        if self.place is not None:
            values["place"] = clean(self.place, name=Phrase("位置"), field="place", longest=PLACE_MAX)
            refuse_bad_wording(values["place"], field="place")
        if self.group is not None:
            values["group_name"] = checked_group(self.group)
        if self.batch is not None:
            values["batch"] = checked_batch(self.batch)
        if self.cost_fen is not None:
            _refuse_amount(self.cost_fen, MOST_FEN, field="cost", name=Phrase("成本"))
        known = {name: value for name, value in values.items() if value is not None}
        if self.daily_goal is not None:
            _refuse_amount(self.daily_goal, MOST_A_DAY, field="goal", name=Phrase("每日目标"))
            known["daily_goal"] = self.daily_goal or None
        return known


def new_scene() -> str:
    """An opaque scene of 131 random bits that tells nothing about whose it is (QR-3)."""
    return _random(22)


def new_public_id() -> str:
    """The name under which a code's page or a picture is known outside."""
    return _random(12)


def _random(length: int) -> str:
    return "".join(secrets.choice(_BASE62) for _ in range(length))


def add(
    session: Session,
    *,
    merchant_id: int,
    wanted: Wanted,
    now: datetime,
    delay: timedelta = timedelta(0),
) -> SubQrCode:
    """Plan a code and owe the call that makes it; a live code of the same label is returned instead (QR-4).

    `delay` holds the worker back for a caller who makes the call itself right after the commit.
    """
    wanted = wanted.checked()
    merchant = merchants.require_active(session, merchant_id)
    same = select(SubQrCode).where(
        SubQrCode.merchant_id == merchant_id, SubQrCode.label == wanted.label, SubQrCode.state != CodeState.RETIRED
    )
    live = session.scalar(same)
    if live is not None and live.expires_at is not None and live.expires_at <= now:
        _retire(session, [live.id], now)
        live = None
    if live is None:
        lifetime = None if wanted.days is None else wanted.days * 86_400
        new = insert(SubQrCode).values(
            account_id=merchant.account_id,
            merchant_id=merchant_id,
            public_id=new_public_id(),
            scene=new_scene(),
            permanent=lifetime is None,
            lifetime_seconds=lifetime,
            **wanted.values,
        )
        with session.begin_nested():
            # The unique label settles who of two comes first; only the winner takes a slot of the pool.
            unless_there = new.on_conflict_do_nothing(
                index_elements=["merchant_id", "label"], index_where=text("state <> 'retired'")
            )
            code_id = session.scalar(unless_there.returning(SubQrCode.id))
            if code_id is not None:
                if lifetime is None:
                    _take_slots(session, merchant.account_id, 1)
                _own(session, code_id, merchant_id, _since_its_plan(now))
        live = session.execute(same).scalar_one()
    if live.state == CodeState.PLANNED:
        outbox.add_many(session, [_creation(live.id, merchant_id)], delay=delay)
    return live


def add_many(
    session: Session,
    *,
    account_id: int,
    wanted: Sequence[tuple[int, Wanted]],
    now: datetime,
    delay: timedelta = timedelta(0),
) -> list[int]:
    """Plan a code for each (merchant, wish), all of them or none; returns their ids in the same order.

    The wishes are checked ones. Raises `LabelTaken`, `PoolSpent`, or what `require_active` raises.
    """
    for merchant_id in sorted({merchant_id for merchant_id, _ in wanted}):
        merchants.require_active(session, merchant_id)
    if taken := taken_labels(session, wanted, now):
        raise LabelTaken("“%(label)s”这个名称已经有码在用了，请换个名称。", label=min(taken)[1])
    of_these = _goes_by({(merchant_id, one.label) for merchant_id, one in wanted})
    _retire(session, list(session.scalars(select(SubQrCode.id).where(of_these))), now)
    if permanent := sum(one.days is None for _, one in wanted):
        _take_slots(session, account_id, permanent)
    rows = [
        {
            "account_id": account_id,
            "merchant_id": merchant_id,
            "public_id": new_public_id(),
            "scene": new_scene(),
            "permanent": one.days is None,
            "lifetime_seconds": None if one.days is None else one.days * 86_400,
            **one.values,
        }
        for merchant_id, one in wanted
    ]
    planned = insert(SubQrCode).returning(SubQrCode.id, sort_by_parameter_order=True)
    code_ids = list(session.scalars(planned, rows))
    owned = [(code_id, merchant_id) for code_id, (merchant_id, _) in zip(code_ids, wanted, strict=True)]
    since = _since_its_plan(now)
    session.execute(
        insert(CodeOwner),
        [{"code_id": code_id, "merchant_id": merchant_id, "from_at": since} for code_id, merchant_id in owned],
    )
    outbox.add_many(session, [_creation(code_id, merchant_id) for code_id, merchant_id in owned], delay=delay)
    return code_ids


def taken_labels(session: Session, wanted: Sequence[tuple[int, Wanted]], now: datetime) -> set[tuple[int, str]]:
    """Those (merchant, label) that a code goes by which can still be scanned."""
    of_these = _goes_by({(merchant_id, one.label) for merchant_id, one in wanted})
    is_alive = SubQrCode.expires_at.is_(None) | (SubQrCode.expires_at > now)
    found = session.execute(select(SubQrCode.merchant_id, SubQrCode.label).where(of_these, is_alive))
    return {(row.merchant_id, row.label) for row in found}


def _goes_by(labels: Set[tuple[int, str]]) -> ColumnElement[bool]:
    is_named = tuple_(SubQrCode.merchant_id, SubQrCode.label).in_(sorted(labels))
    return and_(is_named, SubQrCode.state != CodeState.RETIRED)


def _creation(code_id: int, merchant_id: int) -> dict[str, Any]:
    return outbox.row(
        kind=CREATE, dedupe_key=f"{CREATE}:{code_id}", payload={"code_id": code_id}, merchant_id=merchant_id
    )


def _since_its_plan(now: datetime) -> datetime:
    """When a new code's first owner begins.

    CreateTime is in whole seconds and by the platform's clock, which may be behind ours. Nobody can have owned a scene
    that did not exist, so starting early takes nothing from anybody.
    """
    return now.replace(microsecond=0) - CLOCK_TOLERANCE


def adopt(session: Session, *, merchant_id: int, scene: str, now: datetime, label: str = "") -> SubQrCode:
    """Take over a scene that was printed before us; its scans count for the merchant from now on.

    Such a code has neither ticket nor url: only its printed picture exists. It takes no slot of the pool, which
    counts what we ask the platform for.
    """
    if not re.fullmatch(limits.SCENE_PATTERN, scene):
        raise Invalid("场景值应为 1 到 64 个字母、数字、横线或下划线。", field="scene")
    if scene.startswith(_EVENT_PREFIX):
        raise Invalid("请去掉场景值开头的 %(prefix)s，那是微信在事件里加的。", field="scene", prefix=_EVENT_PREFIX)
    wanted = Wanted(label.strip() or f"旧码 {scene}"[:LABEL_MAX]).checked()
    merchant = merchants.require_active(session, merchant_id)
    same = select(SubQrCode).where(SubQrCode.account_id == merchant.account_id, SubQrCode.scene == scene)
    new = insert(SubQrCode).values(
        account_id=merchant.account_id,
        merchant_id=merchant_id,
        public_id=new_public_id(),
        scene=scene,
        label=wanted.label,
        kind=wanted.kind,
        permanent=True,
        adopted=True,
        state=CodeState.ACTIVE,
    )
    code_id = session.scalar(new.on_conflict_do_nothing().returning(SubQrCode.id))
    if code_id is not None:
        # No tolerance here: what was scanned before the adoption was nobody's, and stays so.
        _own(session, code_id, merchant_id, now.replace(microsecond=0))
    code = session.scalar(same)
    if code is None:
        # Row-level security may hide whose scene it is, and a label of our own may be in the way.
        taken = select(SubQrCode.id).where(
            SubQrCode.merchant_id == merchant_id,
            SubQrCode.label == wanted.label,
            SubQrCode.state != CodeState.RETIRED,
        )
        if session.scalar(taken) is not None:
            raise Invalid("已经有一个同名的二维码，请换个名称。", field="label")
        raise SceneTaken
    if code.merchant_id != merchant_id or code.state == CodeState.RETIRED:
        raise SceneTaken
    return code


def retire(session: Session, *, merchant_id: int, code_id: int, now: datetime) -> bool:
    """Stop counting a code for anybody, for good: its scene is never given out again (QR-2, QR-8).

    False when it was retired before.
    """
    if session.scalar(select(SubQrCode.id).filter_by(id=code_id, merchant_id=merchant_id)) is None:
        raise NotFound("没有这个二维码。")
    return _retire(session, [code_id], now) == [code_id]


def suspend_merchant(session: Session, *, merchant_id: int, now: datetime) -> int:
    """Suspend a merchant and retire all its codes: their scans become nobody's (QR-8). Returns how many codes."""
    merchants.set_state(session, merchant_id=merchant_id, state=MerchantState.SUSPENDED)
    live = select(SubQrCode.id).where(SubQrCode.merchant_id == merchant_id, SubQrCode.state != CodeState.RETIRED)
    return len(_retire(session, list(session.scalars(live)), now))


def retire_many(session: Session, *, code_ids: Sequence[int], merchant_id: int | None, now: datetime) -> list[int]:
    """Retire those of these codes that live, of one merchant or of any; returns which."""
    return _retire(session, _living(session, code_ids, merchant_id), now)


def edit_many(session: Session, *, code_ids: Sequence[int], merchant_id: int | None, changes: Changes) -> list[int]:
    """Change those of these codes that live, of one merchant or of any; returns which. Raises `Invalid`."""
    values = changes.values()
    if not values:
        raise Invalid("请先选要改什么。")
    living = _living(session, code_ids, merchant_id)
    # A fan's card stays one.
    by_hand = SubQrCode.kind != CodeKind.INVITE
    session.execute(update(SubQrCode).where(SubQrCode.id.in_(living), by_hand).values(values))
    return living


def _living(session: Session, code_ids: Sequence[int], merchant_id: int | None) -> list[int]:
    living = select(SubQrCode.id).where(SubQrCode.id.in_(code_ids), SubQrCode.state != CodeState.RETIRED)
    if merchant_id is not None:
        living = living.where(SubQrCode.merchant_id == merchant_id)
    return list(session.scalars(living.order_by(SubQrCode.id).with_for_update()))


def edit(session: Session, *, merchant_id: int, code_id: int, wanted: Wanted) -> None:
    """Change everything about a code but how long it lives, which is decided when it is made."""
    wanted = wanted.checked()
    others = select(SubQrCode.id).where(
        SubQrCode.merchant_id == merchant_id,
        SubQrCode.label == wanted.label,
        SubQrCode.state != CodeState.RETIRED,
        SubQrCode.id != code_id,
    )
    if session.scalar(others) is not None:
        raise Invalid("已经有一个同名的二维码，请换个名称。", field="label")
    statement = (
        update(SubQrCode)
        .where(
            SubQrCode.id == code_id,
            SubQrCode.merchant_id == merchant_id,
            SubQrCode.state != CodeState.RETIRED,
            SubQrCode.kind != CodeKind.INVITE,
        )
        .values(wanted.values)
    )
    if not rows_changed(session.execute(statement)):
        raise NotFound("没有这个二维码。")


def list_codes(
    session: Session,
    *,
    merchant_id: int,
    search: str = "",
    retired: bool | None = None,
    before: int | None = None,
    limit: int = 200,
) -> list[SubQrCode]:
    """Codes of a merchant, newest first; `before` is the last id of the page before.

    `retired` asks for retired ones only, or for all others; None for both.
    """
    statement = select(SubQrCode).where(SubQrCode.merchant_id == merchant_id)
    if retired is not None:
        state = SubQrCode.state == CodeState.RETIRED
        statement = statement.where(state if retired else ~state)
    if words := search.strip():
        columns = (SubQrCode.label, SubQrCode.place)
        found = [column.icontains(words, autoescape=True) for column in columns]
        statement = statement.where(found[0] | found[1])
    if before is not None:
        statement = statement.where(SubQrCode.id < before)
    return list(session.scalars(statement.order_by(SubQrCode.id.desc()).limit(limit)))


@dataclass(frozen=True)
class Planned:
    """What the platform must be asked for."""

    code_id: int
    scene: str
    permanent: bool
    expire_seconds: int | None


def planned(session: Session, code_id: int) -> Planned | None:
    """The call that is still owed for a code; None when there is none."""
    columns = (SubQrCode.id, SubQrCode.scene, SubQrCode.permanent, SubQrCode.lifetime_seconds)
    row = session.execute(
        select(*columns).where(SubQrCode.id == code_id, SubQrCode.state == CodeState.PLANNED)
    ).one_or_none()
    return None if row is None else Planned(*row)


def record_created(session: Session, *, code_id: int, ticket: str, url: str, expires_at: datetime | None) -> bool:
    """Keep what the platform answered; False when somebody else's answer for the same scene came first."""
    statement = (
        update(SubQrCode)
        .where(SubQrCode.id == code_id, SubQrCode.state == CodeState.PLANNED)
        .values(ticket=ticket, url=url, expires_at=expires_at, state=CodeState.ACTIVE)
    )
    return rows_changed(session.execute(statement)) == 1


def is_expired(code: SubQrCode, now: datetime) -> bool:
    """Whether WeChat has stopped recognising a temporary code."""
    return code.expires_at is not None and code.expires_at.astimezone(UTC) <= now


def _take_slots(session: Session, account_id: int, many: int) -> None:
    """Use some of the account's permanent codes, or raise `PoolSpent` (QR-1)."""
    more = (
        update(ScenePool)
        .where(ScenePool.account_id == account_id, ScenePool.used + many <= ScenePool.capacity)
        .values(used=ScenePool.used + many)
    )
    if rows_changed(session.execute(more)):
        return
    pool = insert(ScenePool).values(account_id=account_id, capacity=limits.PERMANENT_CODES - RESERVE)
    session.execute(pool.on_conflict_do_nothing())
    if not rows_changed(session.execute(more)):
        raise PoolSpent


def _own(session: Session, code_id: int, merchant_id: int, since: datetime) -> None:
    session.execute(insert(CodeOwner).values(code_id=code_id, merchant_id=merchant_id, from_at=since))


def _retire(session: Session, code_ids: Sequence[int], now: datetime) -> list[int]:
    if not code_ids:
        return []
    living = update(SubQrCode).where(SubQrCode.id.in_(code_ids), SubQrCode.state != CodeState.RETIRED)
    retired = session.scalars(living.values(state=CodeState.RETIRED, retired_at=now).returning(SubQrCode.id)).all()
    open_rows = update(CodeOwner).where(CodeOwner.code_id.in_(code_ids), CodeOwner.to_at.is_(None))
    # Whose time has not begun yet, a moment after a hand-over, has none.
    session.execute(open_rows.values(to_at=func.greatest(CodeOwner.from_at, now)))
    offers = update(CodeHandover).where(CodeHandover.code_id.in_(code_ids), CodeHandover.state == HandoverState.OFFERED)
    session.execute(offers.values(state=HandoverState.WITHDRAWN, decided_at=now))
    return sorted(retired)
