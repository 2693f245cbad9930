"""Sign-ins that have one more step to go: kept here, for one browser and a few minutes, and used up by going on."""

from __future__ import annotations

import re
import secrets
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from core.database import rows_changed
from merchants.models import SignInStep, StepPurpose
from merchants.staff import token_hash

LASTS: Final = timedelta(minutes=10)
MOST_TRIES: Final = 5
MOST_FOR_ONE: Final = 15
"""Tries at one person's second factor within the time a step lasts, from wherever they come."""
_STATE: Final = re.compile(r"[0-9a-f]{64}")


def begin_oauth(
    session: Session,
    *,
    browser_hash: bytes,
    target: str,
    now: datetime,
    tries: int = 0,
    purpose: StepPurpose = StepPurpose.OAUTH,
) -> str:
    """A state to send to WeChat and expect back: 256 bits, for this browser, once, for ten minutes (AU-1).

    `purpose` is `OAUTH` for staff and `OWNER` for owners.
    """
    state = secrets.token_hex(32)
    session.add(
        SignInStep(
            purpose=purpose,
            browser_hash=browser_hash,
            state_hash=token_hash(state),
            target=target,
            tries=tries,
            expires_at=now + LASTS,
        )
    )
    session.flush()
    return state


def use_oauth(
    session: Session,
    *,
    state: str,
    browser_hash: bytes | None,
    now: datetime,
    purpose: StepPurpose = StepPurpose.OAUTH,
) -> tuple[str, int] | None:
    """Where a state's browser wanted to go, and how often it was sent round before; None for a state that is not
    this browser's, is over, was given out for another purpose, or never. It is used up."""
    if browser_hash is None or _STATE.fullmatch(state) is None:
        return None
    used = session.execute(
        delete(SignInStep)
        .where(
            SignInStep.purpose == purpose,
            SignInStep.state_hash == token_hash(state),
            SignInStep.browser_hash == browser_hash,
            SignInStep.expires_at > now,
        )
        .returning(SignInStep.target, SignInStep.tries)
    ).one_or_none()
    return None if used is None else (used.target, used.tries)


def begin(
    session: Session,
    *,
    purpose: StepPurpose,
    browser_hash: bytes,
    now: datetime,
    target: str,
    by: str,
    staff_id: int | None = None,
    follower_id: int | None = None,
) -> None:
    """This browser has one more step to go: `by` says what let it come this far."""
    session.add(
        SignInStep(
            purpose=purpose,
            browser_hash=browser_hash,
            staff_id=staff_id,
            follower_id=follower_id,
            target=target,
            by=by,
            expires_at=now + LASTS,
        )
    )
    session.flush()


def find(session: Session, *, purpose: StepPurpose, browser_hash: bytes | None, now: datetime) -> SignInStep | None:
    """The step this browser has to go, unless it took too long or tried too often."""
    if browser_hash is None:
        return None
    mine = select(SignInStep).where(
        SignInStep.browser_hash == browser_hash,
        SignInStep.purpose == purpose,
        SignInStep.expires_at > now,
        SignInStep.tries < MOST_TRIES,
    )
    return session.scalars(mine.order_by(SignInStep.id.desc()).limit(1)).first()


def count_try(session: Session, step: SignInStep, *, now: datetime) -> bool:
    """Take one of the step's tries; False when the step has none left, or its person has none."""
    if step.staff_id is not None:
        theirs = select(func.sum(SignInStep.tries)).where(
            SignInStep.staff_id == step.staff_id, SignInStep.expires_at > now
        )
        if (session.scalar(theirs) or 0) >= MOST_FOR_ONE:
            return False
    one_more = update(SignInStep).where(SignInStep.id == step.id, SignInStep.tries < MOST_TRIES)
    return rows_changed(session.execute(one_more.values(tries=SignInStep.tries + 1))) == 1


def finish(session: Session, step: SignInStep) -> bool:
    """The step is gone; False when somebody else went it first."""
    return rows_changed(session.execute(delete(SignInStep).where(SignInStep.id == step.id))) == 1
