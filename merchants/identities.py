"""Who a member of staff is in WeChat: bound, looked up, and unbound; a job is a place on one merchant's staff."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from core import audit
from core.database import rows_changed
from core.errors import BusinessError
from core.runtime import CODE_ALPHABET, Runtime
from merchants.models import Follower, Merchant, Staff, StaffIdentity, StaffRole

MAY_SIGN_IN: Final = "(staff.disabled_at IS NULL AND (staff.merchant_id IS NULL OR merchant.state = 'active'))"
"""Who may act at all, nobody disabled and nobody of a suspended merchant: for every query that joins `staff` with its
`merchant`, in whichever form it is written."""


class NobodyToBind(BusinessError):
    """Whoever scanned has been forgotten meanwhile."""

    code = "nobody_to_bind"
    message = "这个微信的资料已按要求删除，请重新扫码。"


@dataclass(frozen=True)
class Job:
    """One of the places where a WeChat identity may sign in."""

    staff_id: int
    name: str
    role: StaffRole
    merchant_id: int | None
    merchant_name: str


def bind(session: Session, member: Staff, *, follower_id: int, now: datetime) -> None:
    """From now on this WeChat identity is the member's, in place of any earlier one."""
    # The lock an event of this follower takes first of all: whoever is being erased is not bound any more.
    known = select(Follower.id).where(Follower.id == follower_id, Follower.openid.is_not(None))
    if session.scalar(known.with_for_update(read=True, key_share=True)) is None:
        raise NobodyToBind
    unbind(session, staff_id=member.id, now=now)
    session.add(
        StaffIdentity(staff_id=member.id, merchant_id=member.merchant_id, follower_id=follower_id, bound_at=now)
    )
    session.flush()
    _record(session, member.id, member.merchant_id, member.role, "wechat.bind")


def unbind(session: Session, *, staff_id: int, now: datetime) -> bool:
    """Nobody signs in as this person through WeChat any more; False when nobody could before."""
    ended = session.execute(
        update(StaffIdentity)
        .where(StaffIdentity.staff_id == staff_id, StaffIdentity.unbound_at.is_(None))
        .values(unbound_at=func.greatest(now, StaffIdentity.bound_at))
    )
    if rows_changed(ended) == 0:
        return False
    member = session.get_one(Staff, staff_id)
    _record(session, member.id, member.merchant_id, member.role, "wechat.unbind")
    return True


def bound_since(session: Session, *, staff_id: int) -> datetime | None:
    """Since when the member can sign in through WeChat; None where that is not so."""
    return session.scalar(
        select(StaffIdentity.bound_at).where(StaffIdentity.staff_id == staff_id, StaffIdentity.unbound_at.is_(None))
    )


def jobs_of(session: Session, *, follower_id: int) -> list[Job]:
    """Everything this WeChat identity may sign in as: bound, not disabled, and of no merchant that is suspended."""
    rows = session.execute(
        select(Staff.id, Staff.name, Staff.role, Staff.merchant_id, Merchant.name)
        .join(StaffIdentity, StaffIdentity.staff_id == Staff.id)
        .outerjoin(Merchant, Merchant.id == Staff.merchant_id)
        .where(StaffIdentity.follower_id == follower_id, StaffIdentity.unbound_at.is_(None), text(MAY_SIGN_IN))
        .order_by(Merchant.name.nulls_first(), Staff.id)
    )
    return [Job(row[0], row[1], StaffRole(row[2]), row[3], row[4] or "") for row in rows]


def is_staff(
    session: Session, *, follower_id: int, staff_id: int | None = None, merchant_id: int | None = None
) -> bool:
    """Whether somebody is, or was, this member of staff, or is one of this merchant's now.

    A merchant sees of who its staff are in WeChat no more than the answer, for a person whom it names.
    """
    name_holder = text("SELECT set_config('app.holder', :holder, true)")
    session.execute(name_holder, {"holder": str(follower_id)})
    wanted = (
        StaffIdentity.staff_id == staff_id
        if staff_id is not None
        else (StaffIdentity.merchant_id == merchant_id) & StaffIdentity.unbound_at.is_(None)
    )
    found = session.execute(select(StaffIdentity.id).where(wanted).limit(1)).scalar_one_or_none()
    session.execute(name_holder, {"holder": ""})
    return found is not None


def person_key(runtime: Runtime, openid: str) -> bytes:
    """What stays of a person after erasure: a keyed hash of the openid within this account."""
    return runtime.keyed_id("person", runtime.settings.wechat_app_id, openid)


def fan_number(runtime: Runtime, merchant_id: int, follower_id: int) -> str:
    """What a merchant calls a fan; the same person has another number at the next merchant (FA-8)."""
    digest = int.from_bytes(runtime.keyed_id("fan", merchant_id, follower_id)[:7])
    return "".join(CODE_ALPHABET[(digest >> shift) & 31] for shift in range(0, 50, 5))


def follower_of(session: Session, *, person_key: bytes) -> int | None:
    """The follower behind a WeChat identity, if we have met and not forgotten each other."""
    return session.scalar(select(Follower.id).where(Follower.person_key == person_key, Follower.openid.is_not(None)))


def forget(session: Session, follower_id: int) -> None:
    """Take every trace of whom this follower worked for; the person signs in by password from now on."""
    gone = session.execute(
        text("""
            DELETE FROM staff_identity i USING staff s WHERE i.follower_id = :id AND s.id = i.staff_id
            RETURNING i.staff_id, i.merchant_id, s.role, i.unbound_at IS NULL AS was_bound"""),
        {"id": follower_id},
    ).all()
    for row in gone:
        if row.was_bound:
            _record(session, row.staff_id, row.merchant_id, row.role, "wechat.unbind")
    session.execute(text("DELETE FROM staff_link WHERE follower_id = :id"), {"id": follower_id})
    session.execute(text("DELETE FROM sign_in_step WHERE follower_id = :id"), {"id": follower_id})


def _record(session: Session, staff_id: int, merchant_id: int | None, role: str, action: str) -> None:
    audit.record(
        session,
        actor_kind="operator" if role == StaffRole.OPERATOR else "merchant",
        actor_id=staff_id,
        merchant_id=merchant_id,
        action=action,
        subject=f"staff:{staff_id}",
    )
