"""What the platform's refusals mean for us, sorted by what to do next.

Callers catch kinds and never compare error numbers. Two families matter most: a `Refused` call had no effect,
an `OutcomeUnknown` one may have had. No secret ever gets in here: texts of the platform are cleaned before
they arrive, and no exception of the HTTP library hangs behind ours, since those carry the whole URL.
"""

from collections.abc import Iterable
from typing import Final


class WeChatError(Exception):
    """A call to the platform did not succeed; `rid` is the number to quote when asking Tencent about it."""

    def __init__(self, path: str, errmsg: str, *, errcode: int | None = None, rid: str | None = None) -> None:
        super().__init__(path, errmsg, errcode, rid)
        self.path = path
        self.errmsg = errmsg
        self.errcode = errcode
        self.rid = rid

    def __str__(self) -> str:
        code = "" if self.errcode is None else f"{self.errcode} "
        rid = "" if self.rid is None else f" (rid {self.rid})"
        return f"{self.path}: {code}{self.errmsg}{rid}"

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuilt, (type(self), self.path, self.errmsg, self.errcode, self.rid), vars(self))


def _rebuilt(kind: type[WeChatError], path: str, errmsg: str, errcode: int | None, rid: str | None) -> WeChatError:
    """What unpickling calls, so that an error survives the way out of another process."""
    return kind(path, errmsg, errcode=errcode, rid=rid)


class OutcomeUnknown(WeChatError):
    """The call may or may not have had its effect: never repeat a send blindly."""


class AlreadyAccepted(WeChatError):
    """A mass send with this clientmsgid was accepted, as `msg_id`: ask for its state instead of sending again.

    The platform was seen to say so of first tries too, with the number of another batch: believe a number only after
    comparing it with those already known.
    """

    def __init__(
        self, path: str, errmsg: str, *, errcode: int | None = None, rid: str | None = None, msg_id: int | None = None
    ) -> None:
        super().__init__(path, errmsg, errcode=errcode, rid=rid)
        self.msg_id = msg_id


class Refused(WeChatError):
    """The call definitely had no effect. Raised as such for a code we do not know: stop and let a person look."""


class WaitAMinute(Refused):
    """Too fast, the platform could not be reached at all, or the next token is not due: try again in a minute."""


class TooLate(Refused):
    """Not begun, since the time in which it was to begin had gone by (`begin_by`)."""


class QuotaSpent(Refused):
    """The day's, the month's or the account's allowance is used up: stop until it is renewed."""


class RecipientRefused(Refused):
    """This person cannot be reached (no longer follows, window closed, switched messages off): go on with the next."""


class Misconfigured(Refused):
    """Secret, IP list, permission or the account itself: nothing will work until the operator acts."""


class TokenRejected(Refused):
    """The access token was refused, and one replacement did not help."""


class BadRequest(Refused):
    """We asked for something that cannot be: our mistake, repeating it is pointless."""


class SignInAgain(Refused):
    """The sign-in code was used, expired or made up: send the visitor through OAuth once more."""


class NoSuchMenu(Refused):
    """The account has no menu yet."""


def _codes(kind: type[WeChatError], codes: Iterable[int]) -> dict[int, type[WeChatError]]:
    return dict.fromkeys(codes, kind)


ALREADY_ACCEPTED: Final = 45065

KIND_BY_ERRCODE: dict[int, type[WeChatError]] = {
    -1: OutcomeUnknown,  # "system busy": like a timeout, it may have been done
    ALREADY_ACCEPTED: AlreadyAccepted,
    46003: NoSuchMenu,
    **_codes(TokenRejected, (40001, 40014, 42001)),
    **_codes(
        WaitAMinute,
        (
            42010,  # mass sends in too quick succession
            45011,  # per-minute limit
            45066,  # the same clientmsgid retried too fast
        ),
    ),
    **_codes(
        QuotaSpent,
        (
            45009,  # the day's calls
            45028,  # mass sends
            45029,  # permanent codes
            48006,  # resets of the counters
        ),
    ),
    **_codes(
        RecipientRefused,
        (
            40003,  # not an openid of a follower
            43004,  # does not follow
            43019,  # blacklisted
            43101,  # refused, or no consent left
            45015,  # the window has closed, or no longer follows
            45047,  # the window's messages are used up
            45080,  # wrote nothing in the last 30 seconds
            46004,  # no such user
            48002,  # switched our messages off
            49003,  # openid of another account
            50001,  # did not authorise
            50005,  # does not follow
            62751,  # blacklisted
            70000,  # protection of minors
        ),
    ),
    **_codes(
        Misconfigured,
        (
            40013,  # app id
            40125,  # secret
            40164,  # IP not on the list
            61004,  # IP not on the list, in newer guides
            40243,  # secret frozen
            48001,  # interface not authorised for the account
            48004,  # interface banned
            48008,  # no right for this type of message
            50002,  # account banned
            89503,  # IP waits for the administrator
            89506,  # IP refused for a day
            89507,  # IP refused for an hour
        ),
    ),
    **_codes(
        SignInAgain,
        (
            40029,  # invalid code
            40030,  # invalid refresh token
            40163,  # code used before
            41008,  # no code
            42003,  # code expired
            42007,  # password changed since
        ),
    ),
    **_codes(
        BadRequest,
        (
            40002,  # grant type
            *range(40004, 40013),  # media type, size, id
            *range(40015, 40028),  # menu
            *(40031, 40032, 40130),  # openid list
            40033,  # escaped characters
            *(40035, 40038, 47001),  # parameters, format, JSON
            *(40037, 47003, 40246, 200012),  # templates
            *(40052, 40053),  # QR action
            *range(41001, 41008),  # something is missing
            41009,
            *range(43001, 43004),  # GET, POST, HTTPS
            *range(44001, 44005),  # empty body
            *range(45001, 45009),  # too large
            *range(45056, 45060),  # tags
            *(40059, 45110, 45166),  # no such mass send; an article's author, its content
            *range(45157, 45160),
            45067,  # clientmsgid too long
            *(45072, 45081),  # typing state
            *(45083, 45084),  # mass speed
            *range(61450, 61458),  # customer-service accounts
            63178,  # change of openid
            *range(65301, 65318),  # conditional menu
        ),
    ),
}


def error_for(
    path: str, *, errcode: int, errmsg: str, rid: str | None = None, msg_id: int | None = None
) -> WeChatError:
    """The error of the right kind for a non-zero errcode; `msg_id` is what the answer said beside it."""
    if errcode == ALREADY_ACCEPTED:
        return AlreadyAccepted(path, errmsg, errcode=errcode, rid=rid, msg_id=msg_id)
    return KIND_BY_ERRCODE.get(errcode, Refused)(path, errmsg, errcode=errcode, rid=rid)
