"""What became of one message that must never be sent twice."""

from collections.abc import Callable
from datetime import timedelta
from enum import StrEnum
from typing import Final

from wechat.errors import Refused, WaitAMinute, WeChatError

CALL_LASTS: Final = timedelta(seconds=60)
"""No call takes longer, a replaced token and its repetition included: one that was begun before and of which nothing
was heard is unknown for good."""


class Outcome(StrEnum):
    SENT = "sent"
    REFUSED = "refused"
    """It had no effect, and would have none again."""
    UNKNOWN = "unknown"
    """Nobody knows: it may have arrived, so it is not repeated (F16)."""


def of(send: Callable[[], object]) -> tuple[Outcome, int | None]:
    """Make one call; what came of it, with the platform's code for a failure.

    Raises `WaitAMinute` where the platform was too busy to take the message: only then may it be sent again.
    """
    try:
        send()
    except WaitAMinute:
        raise
    except Refused as refusal:
        return Outcome.REFUSED, refusal.errcode
    except WeChatError as failure:
        return Outcome.UNKNOWN, failure.errcode
    return Outcome.SENT, None
