"""The operators' second factor: six digits of an authenticator app (RFC 6238), and codes for the day the phone is lost.

The app's clock is the world's, so codes are judged by real time, which a moved clock of ours does not change.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable
from typing import Final
from urllib.parse import quote, urlencode

from sqlalchemy import delete, func, select, text, update
from sqlalchemy.orm import Session

from core import audit
from core.database import rows_changed
from core.errors import Invalid
from core.runtime import CODE_ALPHABET
from merchants.models import RecoveryCode, SecondFactor

STEP_S: Final = 30
DIGITS: Final = 6
SLACK: Final = 1
"""Steps by which the phone's clock may be off."""
RECOVERY_CODES: Final = 10
RECOVERY_LENGTH: Final = 10

KeyedId = Callable[..., bytes]
"""`Runtime.keyed_id`: what makes the rows here worthless without SECRET_KEY."""


def code_at(secret: bytes, step: int) -> str:
    """The six digits of one half minute."""
    digest = hmac.new(secret, step.to_bytes(8), hashlib.sha1).digest()
    offset = digest[-1] & 15
    number = int.from_bytes(digest[offset : offset + 4]) & 0x7FFFFFFF
    return f"{number % 10**DIGITS:0{DIGITS}d}"


def secret_of(factor: SecondFactor, keyed_id: KeyedId) -> bytes:
    """What the app is told once."""
    return keyed_id("second factor", factor.staff_id, factor.seed)[:20]


def secret_text(secret: bytes) -> str:
    """The secret as it is typed into an app that cannot scan."""
    return base64.b32encode(secret).decode()


def app_url(secret: bytes, *, account: str) -> str:
    """What the app scans."""
    label = quote(f"Quanma:{account}", safe="")
    return f"otpauth://totp/{label}?{urlencode({'secret': secret_text(secret), 'issuer': 'Quanma'})}"


def is_on(session: Session, staff_id: int) -> bool:
    """Whether signing in by password needs the second factor."""
    confirmed = select(SecondFactor.confirmed_at).where(SecondFactor.staff_id == staff_id)
    return session.scalar(confirmed) is not None


def pending(session: Session, staff_id: int) -> SecondFactor | None:
    """An enrolment that waits for its first code."""
    begun = select(SecondFactor).where(SecondFactor.staff_id == staff_id, SecondFactor.confirmed_at.is_(None))
    return session.scalars(begun).first()


def begin(session: Session, staff_id: int) -> None:
    """Start to enrol, with a new secret; nothing changes for one whose factor is on."""
    if is_on(session, staff_id):
        return
    reset(session, staff_id)
    session.add(SecondFactor(staff_id=staff_id, seed=secrets.token_hex(16)))
    session.flush()


def confirm(session: Session, staff_id: int, code: str, keyed_id: KeyedId) -> list[str]:
    """Switch it on with a first code of the app; returns the recovery codes, which nobody can show again."""
    if pending(session, staff_id) is None or not _accept(session, staff_id, code, keyed_id):
        raise Invalid("验证码不对。请看看手机的时间准不准，再输入最新的 6 位数字。", field="code")
    session.execute(update(SecondFactor).where(SecondFactor.staff_id == staff_id).values(confirmed_at=func.app_now()))
    codes = [_new_recovery_code() for _ in range(RECOVERY_CODES)]
    session.add_all(RecoveryCode(code_hash=_recovery_hash(staff_id, one, keyed_id), staff_id=staff_id) for one in codes)
    _record(session, staff_id, "second_factor.on")
    return codes


def check(session: Session, staff_id: int, code: str, keyed_id: KeyedId) -> bool:
    """Whether this is a code of the app that was not used yet, or a recovery code, which is used up by this."""
    if _accept(session, staff_id, code, keyed_id):
        return True
    spent = (
        update(RecoveryCode)
        .where(
            RecoveryCode.code_hash == _recovery_hash(staff_id, code, keyed_id),
            RecoveryCode.staff_id == staff_id,
            RecoveryCode.used_at.is_(None),
        )
        .values(used_at=func.app_now())
    )
    if rows_changed(session.execute(spent)) == 0:
        return False
    _record(session, staff_id, "second_factor.recovery_used")
    return True


def codes_left(session: Session, staff_id: int) -> int:
    """How many recovery codes are still good."""
    unused = select(func.count()).where(RecoveryCode.staff_id == staff_id, RecoveryCode.used_at.is_(None))
    return session.scalar(unused) or 0


def switch_off(session: Session, staff_id: int, code: str, keyed_id: KeyedId) -> None:
    """Back to the password alone, by who holds the second factor."""
    if not check(session, staff_id, code, keyed_id):
        raise Invalid("验证码不对。", field="code")
    reset(session, staff_id)
    _record(session, staff_id, "second_factor.off")


def reset(session: Session, staff_id: int) -> bool:
    """Forget the factor and its recovery codes: for somebody who enrols anew, or was let in by a new invitation."""
    session.execute(delete(RecoveryCode).where(RecoveryCode.staff_id == staff_id))
    return rows_changed(session.execute(delete(SecondFactor).where(SecondFactor.staff_id == staff_id))) == 1


def _accept(session: Session, staff_id: int, code: str, keyed_id: KeyedId) -> bool:
    """Whether it is a code of now; its half minute and all before it are over with this."""
    factor = session.get(SecondFactor, staff_id, populate_existing=True)
    typed = "".join(code.split())
    if factor is None or len(typed) != DIGITS or not (typed.isascii() and typed.isdecimal()):
        return False
    secret = secret_of(factor, keyed_id)
    now_step = int(session.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one()) // STEP_S
    for step in range(now_step - SLACK, now_step + SLACK + 1):
        if hmac.compare_digest(code_at(secret, step), typed):
            # The row decides between two that come at once with the same code.
            newer = update(SecondFactor).where(SecondFactor.staff_id == staff_id, SecondFactor.last_step < step)
            return rows_changed(session.execute(newer.values(last_step=step))) == 1
    return False


def _new_recovery_code() -> str:
    return "".join(secrets.choice(CODE_ALPHABET) for _ in range(RECOVERY_LENGTH))


def _recovery_hash(staff_id: int, code: str, keyed_id: KeyedId) -> bytes:
    """The same for a code that was typed with a dash, in small letters, or with O for 0."""
    plain = "".join(code.upper().split()).replace("-", "").translate(str.maketrans("OIL", "011"))
    return keyed_id("recovery code", staff_id, plain)


def _record(session: Session, staff_id: int, action: str) -> None:
    audit.record(session, actor_kind="operator", actor_id=staff_id, action=action, subject=f"staff:{staff_id}")
