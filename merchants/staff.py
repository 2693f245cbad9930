"""People who sign in: invitations, passwords and sessions.

Tokens are 256 random bits; the database keeps only their sha256, so that a copy of it signs nobody in.
"""

from __future__ import annotations

import hashlib
import secrets
import unicodedata
from datetime import datetime, timedelta
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import ColumnElement, delete, exists, select, text, update
from sqlalchemy.orm import Session

from core import audit
from core.database import set_tenant
from core.errors import BusinessError, Invalid, NotFound
from merchants import identities, passwords, second_factor
from merchants.models import Invitation, LoginSession, Merchant, Staff, StaffRole

INVITATION_LASTS = timedelta(hours=72)
SESSION_LASTS = timedelta(hours=12)
SESSION_IDLES = timedelta(minutes=30)
LOGIN_LENGTH = range(2, 65)
USER_AGENT_LENGTH = 200

_hasher = PasswordHasher()


class InvitationSpent(BusinessError):
    """The link was used, has expired, or never existed: the three look the same."""

    code = "invitation_spent"
    status = 410
    message = "这个邀请链接已经用过或者过期了，请向邀请您的人再要一个。"


class WrongPassword(Invalid):
    """The current password, asked again before it is changed, is wrong."""

    code = "wrong_password"


def new_token() -> str:
    """256 bits that nobody guesses."""
    return secrets.token_urlsafe(32)


def token_hash(token: str) -> bytes:
    """What the database knows of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def normal_login(login: str) -> str:
    """One spelling for names that look alike: width and case do not matter."""
    return unicodedata.normalize("NFKC", login).strip().casefold()


# ---- invitations ----


def invite(session: Session, *, name: str, role: StaffRole, merchant_id: int | None = None, now: datetime) -> str:
    """Add somebody (or find them by name among the same merchant's staff) and return the token of a one-time link.

    For somebody who already signs in, the link lets them choose a new password. Earlier links stop working.
    """
    of_same_place = Staff.merchant_id.is_(None) if merchant_id is None else Staff.merchant_id == merchant_id
    member = session.scalars(
        select(Staff)
        .where(of_same_place, Staff.role == role, Staff.name == name, Staff.disabled_at.is_(None))
        .order_by(Staff.id)
        .limit(1)
    ).first()
    if member is None:
        member = Staff(name=name, role=role, merchant_id=merchant_id)
        session.add(member)
        session.flush()
    return issue_link(session, member, now=now)


def issue_link(session: Session, member: Staff, *, now: datetime) -> str:
    """A fresh one-time link for a member of staff; only the newest link of a person works."""
    token = new_token()
    session.add(
        Invitation(
            staff_id=member.id,
            merchant_id=member.merchant_id,
            token_hash=token_hash(token),
            expires_at=now + INVITATION_LASTS,
        )
    )
    session.flush()
    return token


def invited(session: Session, *, token: str, now: datetime) -> Staff:
    """Whom an invitation is for."""
    member = session.scalars(
        select(Staff).join(Invitation, Invitation.staff_id == Staff.id).where(*_open_invitation(token, now))
    ).first()
    if member is None or not may_sign_in(session, member):
        raise InvitationSpent
    return member


def accept(session: Session, *, token: str, login: str, password: str, now: datetime) -> Staff:
    """Use an invitation up: the person now signs in with this name and password, and in no other way.

    Whoever takes a new link starts afresh: signed in nowhere else, without a second factor and without WeChat.
    """
    staff_id = session.scalar(
        update(Invitation).where(*_open_invitation(token, now)).values(used_at=now).returning(Invitation.staff_id)
    )
    member = session.get(Staff, staff_id) if staff_id is not None else None
    if member is None or not may_sign_in(session, member):
        raise InvitationSpent
    member.login = _free_login(session, login, member)
    _set_password(session, member, password)
    end_sessions(session, staff_id=member.id)
    identities.unbind(session, staff_id=member.id, now=now)
    second_factor.reset(session, member.id)
    _record(session, member, "invitation accepted")
    return member


def _open_invitation(token: str, now: datetime) -> tuple[ColumnElement[bool], ...]:
    newer = Invitation.__table__.alias("newer")
    return (
        Invitation.token_hash == token_hash(token),
        Invitation.used_at.is_(None),
        Invitation.expires_at > now,
        ~exists().where(newer.c.staff_id == Invitation.staff_id, newer.c.id > Invitation.id),
    )


def _free_login(session: Session, login: str, member: Staff) -> str:
    name = normal_login(login)
    if len(name) not in LOGIN_LENGTH or not name.isprintable() or " " in name:
        raise Invalid("登录名要 2 到 64 个字，不能有空格。", field="login")
    taken = session.scalar(select(Staff.id).where(Staff.login == name, Staff.id != member.id))
    if taken is not None:
        raise Invalid("这个登录名已经有人用了，请换一个。", field="login")
    return name


# ---- signing in ----


def may_sign_in(session: Session, member: Staff) -> bool:
    """Whether this person may act at all: not disabled, and of no merchant that is suspended."""
    everybody = select(Staff.id).outerjoin(Merchant, Merchant.id == Staff.merchant_id)
    allowed = everybody.where(Staff.id == member.id, text(identities.MAY_SIGN_IN))
    return session.scalar(allowed) is not None


def record_sign_in(session: Session, member: Staff, *, by: str) -> None:
    """Write down that somebody was let in, and by what: "password", "second factor", "scan" or "wechat"."""
    _record(session, member, "signed in", by=by)


def sign_in(session: Session, *, login: str, password: str, now: datetime) -> Staff | None:
    """The person, if name and password belong together. A name nobody has costs the same work as a wrong password.

    Letting them in is the caller's, who may want a second factor first.
    """
    member = session.scalars(
        select(Staff).where(Staff.login == normal_login(login), Staff.disabled_at.is_(None))
    ).first()
    stored = member.password_hash if member is not None else None
    is_right = _is_password(stored or _nobodys_hash(), password)
    if member is None or stored is None or not is_right or not may_sign_in(session, member):
        return None
    if _hasher.check_needs_rehash(stored):
        member.password_hash = _hasher.hash(password)
    session.execute(delete(LoginSession).where(LoginSession.expires_at <= now))
    return member


# ---- passwords ----


def change_password(session: Session, *, staff_id: int, current: str, new: str, keep_session_id: int) -> None:
    """Change one's own password; every other session of the person ends."""
    member = session.get_one(Staff, staff_id)
    if not _is_password(member.password_hash or _nobodys_hash(), current):
        raise WrongPassword("现在的密码不对。", field="current")
    _set_password(session, member, new, field="new")
    end_sessions(session, staff_id=staff_id, keep_session_id=keep_session_id)
    _record(session, member, "password changed")


def _set_password(session: Session, member: Staff, password: str, *, field: str = "password") -> None:
    merchant = session.get(Merchant, member.merchant_id) if member.merchant_id is not None else None
    context = [member.name, member.login or "", merchant.name if merchant else ""]
    passwords.check(password, context=context, field=field)
    member.password_hash = _hasher.hash(password)


def _is_password(stored: str, password: str) -> bool:
    if len(password) > passwords.MAX_LENGTH:
        return False
    try:
        return _hasher.verify(stored, password)
    except (VerificationError, InvalidHashError):
        return False


@cache
def _nobodys_hash() -> str:
    return _hasher.hash(new_token())


# ---- sessions ----


def open_session(session: Session, member: Staff, *, user_agent: str, now: datetime) -> str:
    """Sign a browser in; returns the token for its cookie."""
    token = new_token()
    session.add(
        LoginSession(
            token_hash=token_hash(token),
            staff_id=member.id,
            merchant_id=member.merchant_id,
            role=member.role,
            created_at=now,
            last_seen_at=now,
            expires_at=now + SESSION_LASTS,
            user_agent=user_agent[:USER_AGENT_LENGTH],
        )
    )
    session.flush()
    return token


def resume(session: Session, *, token_hash: bytes, now: datetime) -> tuple[LoginSession, Staff] | None:
    """Who a session belongs to, unless it has ended, idled away, or its owner may no longer sign in (AU-3).

    From here on the transaction serves the session's merchant, if it has one.
    """
    login_session = session.scalars(
        select(LoginSession).where(LoginSession.token_hash == token_hash, *_alive(now))
    ).first()
    if login_session is None:
        return None
    if login_session.merchant_id is not None:
        set_tenant(session, merchant_id=login_session.merchant_id)
    member = session.get(Staff, login_session.staff_id)
    if member is None or member.role != login_session.role or not may_sign_in(session, member):
        return None
    return login_session, member


def rotate(session: Session, *, session_id: int) -> str:
    """Give a session a new token; the old one is worth nothing from now on."""
    token = new_token()
    session.execute(update(LoginSession).where(LoginSession.id == session_id).values(token_hash=token_hash(token)))
    return token


def sessions_of(session: Session, *, staff_id: int, now: datetime) -> list[LoginSession]:
    """Where a person is signed in, latest use first."""
    query = select(LoginSession).where(LoginSession.staff_id == staff_id, *_alive(now))
    return list(session.scalars(query.order_by(LoginSession.last_seen_at.desc(), LoginSession.id.desc())))


def end_session(session: Session, *, staff_id: int, session_id: int) -> None:
    """End one of a person's own sessions."""
    ended = session.scalar(
        delete(LoginSession)
        .where(LoginSession.id == session_id, LoginSession.staff_id == staff_id)
        .returning(LoginSession.id)
    )
    if ended is None:
        raise NotFound
    _record(session, session.get_one(Staff, staff_id), "session ended", session_id=session_id)


def forget_session(session: Session, *, token_hash: bytes) -> None:
    """End the session a browser had before it signed in anew."""
    session.execute(delete(LoginSession).where(LoginSession.token_hash == token_hash))


def end_sessions(session: Session, *, staff_id: int, keep_session_id: int | None = None) -> None:
    """Sign a person out everywhere, or everywhere else."""
    query = delete(LoginSession).where(LoginSession.staff_id == staff_id)
    if keep_session_id is not None:
        query = query.where(LoginSession.id != keep_session_id)
    session.execute(query)


def end_sessions_of_merchant(session: Session, *, merchant_id: int) -> None:
    """Sign a merchant's whole staff out."""
    session.execute(delete(LoginSession).where(LoginSession.merchant_id == merchant_id))


def disable(session: Session, *, staff_id: int, now: datetime) -> None:
    """Nobody signs in as this person any more, and whoever is signed in is out with the next request."""
    disabled = session.scalar(
        update(Staff)
        .where(Staff.id == staff_id, Staff.disabled_at.is_(None))
        .values(disabled_at=now)
        .returning(Staff.id)
    )
    if disabled is None:
        raise NotFound
    end_sessions(session, staff_id=staff_id)
    identities.unbind(session, staff_id=staff_id, now=now)


def operators(session: Session) -> list[Staff]:
    """Those who run the platform: who may sign in first, in the order they were invited."""
    mine = select(Staff).where(Staff.role == StaffRole.OPERATOR)
    return list(session.scalars(mine.order_by(Staff.disabled_at.is_not(None), Staff.id)))


def members(session: Session, *, merchant_id: int) -> list[Staff]:
    """A merchant's staff: those who may sign in first, in the order they were invited."""
    mine = select(Staff).where(Staff.merchant_id == merchant_id)
    return list(session.scalars(mine.order_by(Staff.disabled_at.is_not(None), Staff.id)))


def _alive(now: datetime) -> tuple[ColumnElement[bool], ...]:
    return (LoginSession.expires_at > now, LoginSession.last_seen_at > now - SESSION_IDLES)


def _record(session: Session, member: Staff, action: str, **detail: int | str) -> None:
    audit.record(
        session,
        actor_kind="operator" if member.role == StaffRole.OPERATOR else "merchant",
        actor_id=member.id,
        merchant_id=member.merchant_id,
        action=action,
        subject=f"staff:{member.id}",
        detail=dict(detail),
    )
