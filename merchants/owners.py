"""Owners, who come by the pages instead of the chat: how they are met, their browsers, and what they tell us.

An owner is a follower row like everybody else's, whether they follow or not: pages, inbox, reconciler and erasure all
find a person by the same key.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from sqlalchemy import delete, insert, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from core.database import set_tenant
from core.errors import BusinessError, Invalid
from core.runtime import Runtime
from merchants import identities, merchants
from merchants.models import FollowStatus, OwnerProfile, OwnerSession
from merchants.staff import new_token, token_hash

SESSION_LASTS: Final = timedelta(days=7)
SNAPSHOT_LASTS: Final = timedelta(hours=1)
TOUCH_EVERY: Final = timedelta(minutes=10)
LEAP_YEAR: Final = 2000
"""The 29th of February is somebody's birthday."""
_OPENID: Final = re.compile(r"[A-Za-z0-9_-]{20,64}")


class NoIdentity(BusinessError):
    """What WeChat answered names nobody that we could keep (#58)."""

    code = "no_identity"
    status = 403
    message = "微信没有给出可用的身份，没有登录。请关掉页面，从公众号里重新打开。"


@dataclass(frozen=True)
class Met:
    """Somebody who came by the pages, and whether we have never seen them before."""

    follower_id: int
    is_new: bool


# ---- Meeting ----


def meet(session: Session, runtime: Runtime, *, openid: str, now: datetime) -> int:
    """The follower id of a WeChat identity, made if it is new; see `arrive`."""
    return arrive(session, runtime, openid=openid, now=now).follower_id


def arrive(session: Session, runtime: Runtime, *, openid: str, now: datetime) -> Met:
    """Find or add the person behind a WeChat identity, and hold their row until the transaction ends.

    Who comes by the pages has not followed by that. Who was forgotten and comes back is known again from now on, as
    after an event of theirs: as a follower if they never left, else as somebody of whom only the visit is known.
    Called as the platform.
    """
    if _OPENID.fullmatch(openid) is None:
        raise NoIdentity
    account_id = merchants.ensure_account(session, runtime.settings)
    person = {
        "account": account_id,
        "openid": openid,
        "key": identities.person_key(runtime, openid),
        "now": now,
        "gone": FollowStatus.GONE,
        "unknown": FollowStatus.UNKNOWN,
    }
    known = _known(session, person)
    if known is None:
        added = session.scalar(
            text("""
                INSERT INTO follower (account_id, openid, person_key, first_seen_at, last_seen_at)
                VALUES (:account, :openid, :key, :now, :now) ON CONFLICT DO NOTHING RETURNING id"""),
            person,
        )
        if added is not None:
            return Met(added, is_new=True)
        # An event of theirs came in between, or they are known by the key that a former SECRET_KEY made.
        session.execute(
            text("""
                UPDATE follower SET person_key = :key
                WHERE account_id = :account AND openid = :openid AND person_key <> :key"""),
            person,
        )
        known = _known(session, person)
        assert known is not None  # noqa: S101
    session.execute(
        text("""
            UPDATE follower SET
                status = CASE WHEN erased_at IS NOT NULL AND status = :gone THEN :unknown ELSE status END,
                openid = :openid, erased_at = NULL, last_seen_at = greatest(last_seen_at, :now)
            WHERE id = :id"""),
        person | {"id": known},
    )
    return Met(known, is_new=False)


def _known(session: Session, person: dict[str, object]) -> int | None:
    found: int | None = session.scalar(
        text("SELECT id FROM follower WHERE account_id = :account AND person_key = :key FOR UPDATE"), person
    )
    return found


# ---- Sessions ----


def begin(session: Session, *, follower_id: int | None, now: datetime, former: bytes | None = None) -> str:
    """Sign a browser in and return the token for its cookie; what the browser had before (`former`) ends (AU-3).

    Without a follower it is a snapshot visitor, who has nothing and writes nothing (AU-2).
    """
    if former is not None:
        end(session, token_hash=former)
    token = new_token()
    lasts = SNAPSHOT_LASTS if follower_id is None else SESSION_LASTS
    session.execute(
        insert(OwnerSession).values(
            token_hash=token_hash(token), follower_id=follower_id, created_at=now, last_seen_at=now,
            expires_at=now + lasts,
        )
    )  # fmt: skip
    return token


def resume(session: Session, *, token_hash: bytes, now: datetime) -> OwnerSession | None:
    """A browser's session, unless it has ended; from here on the transaction serves its owner."""
    found = session.scalars(
        select(OwnerSession).where(OwnerSession.token_hash == token_hash, OwnerSession.expires_at > now)
    ).first()
    if found is not None and found.follower_id is not None:
        set_tenant(session, follower_id=found.follower_id)
    return found


def touch(session: Session, *, token_hash: bytes, now: datetime) -> None:
    """Note that a session is in use."""
    session.execute(update(OwnerSession).where(OwnerSession.token_hash == token_hash).values(last_seen_at=now))


def end(session: Session, *, token_hash: bytes) -> None:
    """Sign one browser out."""
    session.execute(delete(OwnerSession).where(OwnerSession.token_hash == token_hash))


def end_all(session: Session, *, follower_id: int) -> None:
    """Sign a person out everywhere."""
    session.execute(delete(OwnerSession).where(OwnerSession.follower_id == follower_id))


# ---- What they tell of themselves ----


def birthday(session: Session, *, follower_id: int) -> tuple[int, int] | None:
    """Month and day, if they told."""
    found = session.get(OwnerProfile, follower_id)
    if found is None or found.birth_month is None or found.birth_day is None:
        return None
    return found.birth_month, found.birth_day


def set_birthday(session: Session, *, follower_id: int, month: int, day: int, now: datetime) -> None:
    """Keep a birthday without its year. Giving it is the consent: it is optional, and taken back at any time."""
    try:
        date(LEAP_YEAR, month, day)
    except ValueError:
        raise Invalid("没有这一天，请检查月份和日期。", field="day") from None
    values = {"birth_month": month, "birth_day": day, "consented_at": now}
    told = upsert(OwnerProfile).values(follower_id=follower_id, **values)
    session.execute(told.on_conflict_do_update(index_elements=["follower_id"], set_=values))


def take_birthday_back(session: Session, *, follower_id: int) -> None:
    """Nothing of it stays."""
    session.execute(delete(OwnerProfile).where(OwnerProfile.follower_id == follower_id))


def forget(session: Session, follower_id: int) -> None:
    """Forget what they told, and sign them out everywhere."""
    take_birthday_back(session, follower_id=follower_id)
    end_all(session, follower_id=follower_id)
