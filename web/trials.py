"""How a code's trial stands, for the pages that show it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from qrcodes import trials
from web.context import now


@dataclass(frozen=True)
class TrialState:
    """Waiting for its scan, made, or run out."""

    expires_at: datetime
    used_at: datetime | None

    @property
    def is_armed(self) -> bool:
        return self.used_at is None and now() < self.expires_at


def trial_state(session: Session, *, code_id: int) -> TrialState | None:
    """The newest trial of a code, while it is news."""
    found = trials.latest(session, code_id=code_id, now=now())
    return None if found is None else TrialState(found.expires_at, found.used_at)
