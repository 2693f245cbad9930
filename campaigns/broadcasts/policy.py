"""How the account's common goods are shared: what the operator may set, and what follows from it."""

from dataclasses import asdict
from datetime import datetime
from typing import Final

from sqlalchemy import update
from sqlalchemy.orm import Session

from campaigns.broadcasts import calls
from campaigns.broadcasts.bank import Policy
from campaigns.broadcasts.models import QuotaPolicy
from core.errors import Invalid

LIMITS: Final = {
    "slots_kept": (0, 3),
    "share_base": (0, 1_000_000),
    "share_per_kept": (0, 1_000),
    "week_most": (1, 4),
    "calls_per_day": (1, 1_000),
    "calls_kept": (0, 1_000),
    "batch_size": (2, 10_000),
    "hello_days_most": (0, 14),
    "groups_most": (1, 50),
}
"""What each of the numbers may be, both ends included."""
HOLIDAYS_MOST: Final = 60


def set_policy(session: Session, wanted: Policy, *, now: datetime) -> None:
    """Share by other rules from now on, today's calls included; raises `Invalid` for what cannot be.

    What was reserved before stays reserved, even where the new rules would have refused it.
    """
    numbers = asdict(wanted)
    for name, (least, most) in LIMITS.items():
        if not least <= numbers[name] <= most:
            raise Invalid("请填 %(least)s 到 %(most)s 之间的整数。", field=name, least=least, most=most)
    if wanted.calls_kept > wanted.calls_per_day:
        raise Invalid("留给平台的次数不能比一天的总次数还多。", field="calls_kept")
    if wanted.quiet_from == wanted.quiet_until:
        raise Invalid("免打扰的开始和结束不能是同一时刻。", field="quiet_until")
    if len(wanted.holidays) > HOLIDAYS_MOST:
        raise Invalid("最多填 %(most)s 个日子。", field="holidays", most=HOLIDAYS_MOST)
    session.execute(update(QuotaPolicy).values(**{**numbers, "holidays": sorted(set(wanted.holidays))}))
    calls.follow_policy(session, wanted, now)
