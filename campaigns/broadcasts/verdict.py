"""What the platform's answer to one send means: for the row, for the broadcast, and for all sending."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import structlog

from wechat.errors import (
    AlreadyAccepted,
    Misconfigured,
    QuotaSpent,
    RecipientRefused,
    Refused,
    TokenRejected,
    TooLate,
    WaitAMinute,
    WeChatError,
)

WINDOW_CODES: Final = frozenset({45015, 45047})
"""The window has closed or is used up, whatever we counted: the fan can still be reached at the next hello."""


log = structlog.get_logger(__name__)


class Verdict(StrEnum):
    SENT = "sent"
    KNOWN = "known"
    """The platform has this clientmsgid already."""
    NOBODY = "nobody"
    """This person cannot be reached on this channel."""
    CLOSED = "closed"
    """Their window is not open."""
    WAIT = "wait"
    """Too fast, or not reached at all; certainly not sent."""
    STOP = "stop"
    """The account may not send; certainly not sent (BC-17)."""
    WRONG = "wrong"
    """These words cannot be sent to anybody."""
    UNKNOWN = "unknown"
    """It may have been sent: never again (F16)."""
    NOT_CALLED = "not_called"
    """Begun too late after it was committed, so not begun at all (BC-11)."""


@dataclass(frozen=True)
class Answer:
    verdict: Verdict
    errcode: int | None = None
    msg_id: int | None = None


def of(send: Callable[[], int | None]) -> Answer:
    """Make one call; what came of it. Nothing is raised: whatever goes wrong after the start leaves it unknown."""
    try:
        return Answer(Verdict.SENT, msg_id=send())
    except AlreadyAccepted as known:
        return Answer(Verdict.KNOWN, known.errcode, known.msg_id)
    except WeChatError as error:
        return Answer(_meaning(error), error.errcode)
    except Exception:
        # Whatever it was, the call had begun.
        log.exception("send failed in a way of our own")
        return Answer(Verdict.UNKNOWN)


def _meaning(error: WeChatError) -> Verdict:
    match error:
        case TooLate():
            return Verdict.NOT_CALLED
        case WaitAMinute():
            return Verdict.WAIT
        case RecipientRefused():
            return Verdict.CLOSED if error.errcode in WINDOW_CODES else Verdict.NOBODY
        case QuotaSpent() | Misconfigured() | TokenRejected():
            return Verdict.STOP
        case Refused():
            return Verdict.WRONG
        case _:
            return Verdict.UNKNOWN
