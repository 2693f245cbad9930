"""Giving the account a menu: the draft, publishing, history, and what the account has by now.

A version is written down before the platform is called and settled after; the menu is then read back, because only
the platform can say what it has. Never call what asks the platform inside a transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import structlog
from sqlalchemy import func, insert, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from bot.menus.buttons import Button, all_of, merchant_of, read, told
from bot.menus.limits import Fault, called, check
from bot.menus.models import MenuDraft, MenuSeen, MenuVersion, Origin, VersionState
from core import outbox
from core.database import Role, rows_changed
from core.errors import BusinessError, Invalid, NotFound
from core.outbox import Task
from core.runtime import Runtime
from merchants.models import Merchant, MerchantState, OfficialAccount, Staff
from wechat.client import WeChatClient, client_of
from wechat.errors import OutcomeUnknown, WeChatError

LOOK: Final = "look_at_menu"
CALL_LASTS: Final = timedelta(minutes=2)
"""A call that has not been settled for so long was lost, and nobody knows whether it was heard."""

log = structlog.get_logger(__name__)

Buttons = Sequence[Button]


class DraftChanged(BusinessError):
    """Somebody else has saved the draft since it was opened."""

    code = "menu_draft_changed"
    message = "%(name)s刚刚也改了菜单（%(when)s），您的改动没有保存。请先看看新的草稿，再决定要不要再改。"


class NotPublishable(BusinessError):
    """The platform would refuse this menu."""

    code = "menu_not_publishable"
    message = "菜单还有要改的地方，没有发布。"

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__()
        self.faults = faults


class BeingPublished(BusinessError):
    """Two menus are not published at once: the later answer would say nothing about which one is there."""

    code = "menu_being_published"
    message = "另一位同事正在发布菜单，请等一分钟再看。"


class NothingToAdopt(BusinessError):
    """The account has no menu."""

    code = "no_menu_to_adopt"
    message = "公众号上现在没有菜单，没有可采用的。"


@dataclass(frozen=True, slots=True)
class Draft:
    """What is worked at; version 0 was never saved."""

    buttons: tuple[Button, ...]
    version: int
    edited_by: int | None = None
    edited_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a publication; `error` is the platform's where it refused or was not heard."""

    version_id: int
    state: VersionState
    is_as_published: bool | None = None
    """Read back and found the same; None: it could not be read."""
    error: WeChatError | None = None


# ---- What there is ---------------------------------------------------------------------------------------------------


def in_force(session: Session, account_id: int) -> MenuVersion | None:
    """The version published last."""
    wanted = select(MenuVersion).where(
        MenuVersion.account_id == account_id,
        MenuVersion.state == VersionState.PUBLISHED,
        MenuVersion.replaced_at.is_(None),
    )
    found: MenuVersion | None = session.scalar(wanted)
    return found


def draft(session: Session, account_id: int) -> Draft:
    """The draft; before the first one, what the account has."""
    row = session.get(MenuDraft, account_id)
    if row is not None:
        return Draft(read(row.buttons), row.version, row.edited_by, row.edited_at)
    had = in_force(session, account_id) or seen(session, account_id)
    return Draft(read(had.buttons) if had is not None else (), 0)


def seen(session: Session, account_id: int) -> MenuSeen | None:
    """The menu the account was last seen with."""
    return session.get(MenuSeen, account_id)


def differs(ours: MenuVersion | None, account_has: MenuSeen | None) -> bool:
    """The account has another menu than the one we gave it, or one although we gave it none."""
    return account_has is not None and not same(ours.buttons if ours else [], account_has.buttons)


def same(one: Sequence[Mapping[str, Any]], other: Sequence[Mapping[str, Any]]) -> bool:
    """The same menu, whatever the platform adds to how it is told."""
    return told(read(one)) == told(read(other))


def history(session: Session, account_id: int, *, before: int | None, limit: int) -> list[MenuVersion]:
    """All versions, the newest first."""
    wanted = select(MenuVersion).where(MenuVersion.account_id == account_id)
    if before is not None:
        wanted = wanted.where(MenuVersion.id < before)
    return list(session.scalars(wanted.order_by(MenuVersion.id.desc()).limit(limit)))


def version(session: Session, account_id: int, version_id: int) -> MenuVersion:
    """One of them; raises `NotFound`."""
    found = session.get(MenuVersion, version_id)
    if found is None or found.account_id != account_id:
        raise NotFound
    return found


def names(session: Session, staff_ids: Collection[int | None]) -> dict[int, str]:
    """What operators are called."""
    rows = session.execute(select(Staff.id, Staff.name).where(Staff.id.in_(staff_ids)))
    return {row[0]: row[1] for row in rows}


def faults(session: Session, account_id: int, buttons: Buttons) -> list[Fault]:
    """Everything that keeps a menu from being published: the platform's limits, and merchants that are not there."""
    named = {place: merchant_of(button.key) for place, button in all_of(buttons) if button.type == "click"}
    wanted = select(Merchant.id).where(
        Merchant.id.in_({one for one in named.values() if one is not None}),
        Merchant.account_id == account_id,
        Merchant.state == MerchantState.ACTIVE,
    )
    there = set(session.scalars(wanted))
    missing = [
        Fault(place, "key", 0, Invalid("按钮 %(button)s：没有这家商户，或者它已停用。", button=called(place, button)))
        for place, button in all_of(buttons)
        if (one := named.get(place)) is not None and one not in there
    ]
    return check(buttons) + missing


# ---- The draft -------------------------------------------------------------------------------------------------------


def save_draft(
    session: Session, *, account_id: int, buttons: Buttons, was: int, staff_id: int | None, now: datetime
) -> int:
    """Keep the draft, faults and all, if it is still the one of version `was`; returns its new version."""
    values = {"buttons": told(buttons), "edited_by": staff_id, "edited_at": now}
    if was == 0:
        first = upsert(MenuDraft).values(account_id=account_id, version=1, **values).on_conflict_do_nothing()
        if session.execute(first.returning(MenuDraft.version)).first():
            return 1
    else:
        mine = update(MenuDraft).where(MenuDraft.account_id == account_id, MenuDraft.version == was)
        if rows_changed(session.execute(mine.values(version=was + 1, **values))):
            return was + 1
    by, when = session.execute(
        select(Staff.name, func.to_char(func.timezone("Asia/Shanghai", MenuDraft.edited_at), "HH24:MI"))
        .join_from(MenuDraft, Staff, Staff.id == MenuDraft.edited_by, isouter=True)
        .where(MenuDraft.account_id == account_id)
    ).one()
    raise DraftChanged(name=by or "", when=when)


# ---- Publishing ------------------------------------------------------------------------------------------------------


def publish(
    runtime: Runtime,
    *,
    account_id: int,
    buttons: Buttons,
    staff_id: int | None,
    note: str = "",
    origin: Origin = Origin.WRITTEN,
    of_id: int | None = None,
) -> Outcome:
    """Give the account this menu, or take its menu away where there is no button; raises `NotPublishable`."""
    with runtime.transaction(Role.PLATFORM) as session:
        if origin is not Origin.DELETED and (found := faults(session, account_id, buttons)):
            raise NotPublishable(found)
    version_id = _begin(
        runtime,
        account_id=account_id, origin=origin, of_id=of_id, buttons=told(buttons), note=note, made_by=staff_id,
    )  # fmt: skip
    client, state = client_of(runtime), VersionState.PUBLISHED
    error: WeChatError | None = None
    try:
        if buttons:
            client.create_menu({"button": told(buttons)})
        else:
            client.delete_menu()
    except OutcomeUnknown as unknown:
        state, error = VersionState.UNKNOWN, unknown
    except WeChatError as refusal:
        state, error = VersionState.REFUSED, refusal
    has = _ask(client) if state is not VersionState.REFUSED else None
    is_same = None if has is None else same(told(buttons), has)
    if state is VersionState.UNKNOWN and is_same:
        state, error = VersionState.PUBLISHED, None
    with runtime.transaction(Role.PLATFORM) as session:
        _settle(session, account_id, version_id, state, errcode=error.errcode if error else None, now=runtime.now())
        if state is not VersionState.REFUSED:
            _note_seen(session, account_id, has, runtime.now())
    log.info("a menu was published", version=version_id, state=state, is_same=is_same)
    return Outcome(version_id, state, is_same, error)


def publish_again(runtime: Runtime, *, account_id: int, version_id: int, staff_id: int | None) -> Outcome:
    """Roll back: an old version becomes a new one."""
    with runtime.transaction(Role.PLATFORM) as session:
        old = version(session, account_id, version_id)
    if not old.buttons:
        return delete(runtime, account_id=account_id, staff_id=staff_id)
    return publish(
        runtime,
        account_id=account_id, buttons=read(old.buttons), staff_id=staff_id, note=old.note,
        origin=Origin.ROLLED_BACK, of_id=old.id,
    )  # fmt: skip


def delete(runtime: Runtime, *, account_id: int, staff_id: int | None) -> Outcome:
    """Take the account's menu away; the draft stays."""
    return publish(runtime, account_id=account_id, buttons=(), staff_id=staff_id, origin=Origin.DELETED)


def _begin(runtime: Runtime, *, account_id: int, **values: Any) -> int:
    now = runtime.now()
    try:
        with runtime.transaction(Role.PLATFORM) as session:
            _give_up_lost_call(session, account_id, now)
            row = {"account_id": account_id, "made_at": now, **values}
            return int(session.execute(insert(MenuVersion).returning(MenuVersion.id), row).scalar_one())
    except IntegrityError as taken:
        if "uq_menu_version_calling" in str(taken.orig):
            raise BeingPublished from None
        raise


def _give_up_lost_call(session: Session, account_id: int, now: datetime) -> None:
    lost = update(MenuVersion).where(
        MenuVersion.account_id == account_id,
        MenuVersion.state == VersionState.CALLING,
        MenuVersion.made_at < now - CALL_LASTS,
    )
    session.execute(lost.values(state=VersionState.UNKNOWN))


def _settle(
    session: Session, account_id: int, version_id: int, state: VersionState, *, errcode: int | None, now: datetime
) -> None:
    if state is VersionState.PUBLISHED:
        _replace(session, account_id, now)
    published_at = now if state is VersionState.PUBLISHED else None
    session.execute(
        update(MenuVersion)
        .where(MenuVersion.id == version_id)
        .values(state=state, errcode=errcode, published_at=published_at)
    )


def _replace(session: Session, account_id: int, now: datetime) -> None:
    former = update(MenuVersion).where(
        MenuVersion.account_id == account_id,
        MenuVersion.state == VersionState.PUBLISHED,
        MenuVersion.replaced_at.is_(None),
    )
    session.execute(former.values(replaced_at=func.greatest(MenuVersion.published_at, now)))


# ---- What the account has --------------------------------------------------------------------------------------------


def look(runtime: Runtime, *, account_id: int) -> MenuSeen:
    """Ask the platform which menu it has, and note it: that tells what became of calls whose answer nobody heard.

    Raises `WeChatError`.
    """
    asked_at = runtime.now()
    with runtime.transaction(Role.PLATFORM) as session:
        _give_up_lost_call(session, account_id, asked_at)
    has = _buttons_of(client_of(runtime).get_menu())
    with runtime.transaction(Role.PLATFORM) as session:
        _settle_unknown(session, account_id, has, asked_at=asked_at, now=runtime.now())
        _note_seen(session, account_id, has, runtime.now())
        return session.execute(select(MenuSeen).where(MenuSeen.account_id == account_id)).scalar_one()


def _settle_unknown(
    session: Session, account_id: int, has: Sequence[Mapping[str, Any]], *, asked_at: datetime, now: datetime
) -> None:
    """Of the calls that must be over, the last one was heard if its menu stands there and nothing was published since;
    every other one has failed, or was overtaken."""
    ours = in_force(session, account_id)
    wanted = select(MenuVersion).where(
        MenuVersion.account_id == account_id,
        MenuVersion.state == VersionState.UNKNOWN,
        MenuVersion.made_at < asked_at - CALL_LASTS,
    )
    for number, lost in enumerate(session.scalars(wanted.order_by(MenuVersion.id.desc()).with_for_update())):
        stands = number == 0 and (ours is None or ours.id < lost.id) and same(lost.buttons, has)
        state = VersionState.PUBLISHED if stands else VersionState.FAILED
        _settle(session, account_id, lost.id, state, errcode=lost.errcode, now=now)
        log.info("a menu was settled", version=lost.id, state=state)


def adopt(runtime: Runtime, *, account_id: int, staff_id: int | None) -> int:
    """Take over the menu the account has as a version of ours; nothing is sent. Returns the version's id.

    The draft follows unless somebody is at work on another one.
    """
    account_has = look(runtime, account_id=account_id)
    if not account_has.buttons:
        raise NothingToAdopt
    now, buttons = runtime.now(), told(read(account_has.buttons))
    with runtime.transaction(Role.PLATFORM) as session:
        ours, kept = in_force(session, account_id), session.get(MenuDraft, account_id, with_for_update=True)
        if kept is None or (ours is not None and same(kept.buttons, ours.buttons)):
            was = 0 if kept is None else kept.version
            save_draft(session, account_id=account_id, buttons=read(buttons), was=was, staff_id=staff_id, now=now)
        _replace(session, account_id, now)
        row = {
            "account_id": account_id, "origin": Origin.ADOPTED, "buttons": buttons, "made_by": staff_id,
            "made_at": now, "state": VersionState.PUBLISHED, "published_at": now,
        }  # fmt: skip
        return int(session.execute(insert(MenuVersion).returning(MenuVersion.id), row).scalar_one())


def owe_look(session: Session, now: datetime) -> None:
    """Have the account's menu looked at, so that a change made elsewhere is seen without anybody asking."""
    outbox.add(session, kind=LOOK, dedupe_key=f"{LOOK}:{now:%Y-%m-%dT%H:%M}", payload={})


def look_by_itself(runtime: Runtime, task: Task) -> None:  # noqa: ARG001
    """The task of `owe_look`."""
    app_id = runtime.settings.wechat_app_id
    with runtime.transaction(Role.PLATFORM) as session:
        account_id = session.scalar(select(OfficialAccount.id).where(OfficialAccount.app_id == app_id))
    if account_id is not None:
        look(runtime, account_id=account_id)


def _ask(client: WeChatClient) -> list[dict[str, Any]] | None:
    try:
        return _buttons_of(client.get_menu())
    except WeChatError as error:
        log.warning("the menu could not be read back", error=type(error).__name__)
        return None


def _buttons_of(menu: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    buttons = menu.get("button") if menu else None
    return [one for one in buttons if isinstance(one, dict)] if isinstance(buttons, list) else []


def _note_seen(session: Session, account_id: int, buttons: list[dict[str, Any]] | None, now: datetime) -> None:
    """None: nobody knows, and what was known before is no longer true."""
    if buttons is None:
        session.execute(text("DELETE FROM menu_seen WHERE account_id = :id"), {"id": account_id})
        return
    values = {"buttons": buttons, "seen_at": now}
    statement = upsert(MenuSeen).values(account_id=account_id, **values)
    session.execute(
        statement.on_conflict_do_update(index_elements=[MenuSeen.account_id], set_=values).execution_options(
            populate_existing=True
        )
    )
