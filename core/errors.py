"""Refusals with names. Services raise them; `web/app.py` turns each into one kind of answer."""

from typing import Any


class Phrase(str):
    """A sentence of ours, or words of ours inside one: translated for the reader, unlike what people typed."""

    __slots__ = ()


class BusinessError(Exception):
    """A rule said no. `code` is for programs, `message` a Chinese sentence for people.

    The sentence is written as a `template` (a gettext id); `%(name)s` in it stands for that value of `detail`.
    """

    code = "refused"
    status = 409
    message = "这个操作现在不能做。"
    retry_after_s: int | None = None
    """In how many seconds it may be tried again, where that is known."""

    def __init__(self, message: str | None = None, **detail: Any) -> None:
        self.template = message or self.message
        self.detail = detail
        self.message = self.template % detail if detail else self.template
        super().__init__(self.message)


class NotFound(BusinessError):
    """Missing, or somebody else's: the two look the same on purpose (TN-3)."""

    code = "not_found"
    status = 404
    message = "没有找到。"


class Invalid(BusinessError):
    """Input that breaks a rule. `field` names the form field to show it at."""

    code = "invalid"
    status = 422

    def __init__(self, message: str, *, field: str = "", **detail: Any) -> None:
        super().__init__(message, **detail)
        self.field = field
