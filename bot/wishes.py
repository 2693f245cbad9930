"""What somebody asks for in the chat about broadcasts: to be left alone by a merchant, or to get its offers.

What a message means is `campaigns.broadcasts.mute`'s and `offers`'s to say; here it becomes rows, and words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from bot.events import Event, TextMessage
from bot.store import Changes
from campaigns.broadcasts import mute, offers
from campaigns.broadcasts.mute import Came, Shop


@dataclass(frozen=True, slots=True)
class Granted:
    """What is answered, and whether the window it opens may carry an offer."""

    words: str
    wants_offers: bool = False


@dataclass(frozen=True, slots=True)
class Subscriptions:
    """Whose fan somebody is, by first touch, and whether they want nobody's broadcasts."""

    shops: Sequence[Shop] = ()
    has_opted_out: bool = False


NO_SUBSCRIPTIONS = Subscriptions()


def is_one(event: Event) -> bool:
    """Whether it may be a wish, so that it is worth a look-up."""
    match event:
        case TextMessage(content=content):
            return offers.are_wanted(content) or mute.wish_in(content) is not None
        case _:
            return False


def act(
    event: Event, follower_id: int, *, known: Subscriptions, context_merchant_id: int | None, changes: Changes
) -> Granted | None:
    """Do what the message wishes; None where it wishes nothing."""
    if not isinstance(event, TextMessage):
        return None
    if offers.are_wanted(event.content):
        shop = next((one for one in known.shops if one.merchant_id == context_merchant_id), None)
        is_open = shop is not None and not (shop.is_muted or known.has_opted_out)
        return Granted(offers.words(shop, has_opted_out=known.has_opted_out), wants_offers=is_open)
    wish = mute.wish_in(event.content)
    if wish is None:
        return None
    answer = mute.decide(wish, known.shops, context_merchant_id=context_merchant_id, has_opted_out=known.has_opted_out)
    if answer is None:
        return None
    _write(answer, event, follower_id, changes)
    return Granted(answer.words)


def _write(answer: mute.Answer, event: Event, follower_id: int, changes: Changes) -> None:
    match answer.came:
        case Came.LEFT | Came.RETURNED:
            assert answer.shop is not None  # noqa: S101
            changes["mutes"].append(
                {"merchant_id": answer.shop.merchant_id, "follower_id": follower_id,
                 "muted_at": event.occurred_at if answer.came is Came.LEFT else None}
            )  # fmt: skip
        case Came.LEFT_ALL:
            changes["opt_outs"].append({"follower_id": follower_id, "at": event.occurred_at})
        case Came.RETURNED_ALL:
            changes["opt_ins"].append({"id": follower_id})
        case (
            Came.LEFT_BEFORE | Came.RETURNED_BEFORE | Came.ASKED | Came.LISTED | Came.UNCLEAR | Came.UNKNOWN
            | Came.NOBODYS | Came.NOTHING
        ):  # fmt: skip
            pass
        case _:
            assert_never(answer.came)
