"""What a callback may be answered with, apart from how it is sent: as passive XML or as a customer-service message."""

from dataclasses import asdict, dataclass
from typing import Any, assert_never


@dataclass(frozen=True)
class TextReply:
    """Text, at most 2,048 bytes of UTF-8."""

    content: str


@dataclass(frozen=True)
class ImageReply:
    """A picture of the account's permanent material."""

    media_id: str


@dataclass(frozen=True)
class NewsReply:
    """One card with a link; the platform shows no more than one. `picurl` may be empty."""

    title: str
    description: str
    picurl: str
    url: str


Reply = TextReply | ImageReply | NewsReply


@dataclass(frozen=True)
class TransferReply:
    """No words: the platform's own human service takes the conversation from here. Only a callback's answer can be
    one."""


PassiveReply = Reply | TransferReply


def to_json(reply: PassiveReply) -> dict[str, Any]:
    """A form to store, so that a repeated delivery gets the same words again."""
    match reply:
        case TextReply():
            kind = "text"
        case ImageReply():
            kind = "image"
        case NewsReply():
            kind = "news"
        case TransferReply():
            kind = "transfer"
        case _:
            assert_never(reply)
    return {"kind": kind, **asdict(reply)}


def from_json(stored: dict[str, Any]) -> PassiveReply:
    """The reply that `to_json` stored."""
    fields = {name: value for name, value in stored.items() if name != "kind"}
    match stored["kind"]:
        case "text":
            return TextReply(**fields)
        case "image":
            return ImageReply(**fields)
        case "news":
            return NewsReply(**fields)
        case "transfer":
            return TransferReply()
        case kind:
            raise ValueError(f"no such kind of reply: {kind}")
