"""What somebody asks for in the chat about broadcasts: to be left alone by a merchant, or to get its offers.

What a message means is `campaigns.broadcasts.mute`'s and `offers`'s to say; here it becomes rows, and words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from bot.changes import Changes
from bot.events import Event, TextMessage
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


def act(
    event: Event,
    follower_id: int,
    *,
    known: Subscriptions,
    context_merchant_id: int | None,
    is_late: bool,
    changes: Changes,
) -> Granted | None:
    """Do what the message wishes, unless it came late and something else was wished since; None where it wishes
    nothing."""
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
    _write(answer, event, follower_id, known, is_late=is_late, changes=changes)
    return Granted(answer.words)


def _write(
    answer: mute.Answer, event: Event, follower_id: int, known: Subscriptions, *, is_late: bool, changes: Changes
) -> None:
    said = {"at": event.occurred_at, "is_late": is_late}
    match answer.came:
        case Came.LEFT | Came.LEFT_BEFORE | Came.RETURNED | Came.RETURNED_BEFORE | Came.NOTHING:
            # Who has nothing to take back wants what every shop sends, from that moment on.
            shops = known.shops if answer.shop is None else (answer.shop,)
            is_muted = answer.wanted is mute.Wanted.LEAVE
            changes["mutes"].extend(
                {"merchant_id": shop.merchant_id, "follower_id": follower_id, "is_muted": is_muted, **said}
                for shop in shops
            )
        case Came.LEFT_ALL:
            changes["opt_outs"].append({"id": follower_id, **said})
        case Came.RETURNED_ALL:
            changes["opt_ins"].append({"id": follower_id, **said})
        case Came.ASKED | Came.LISTED | Came.UNCLEAR | Came.UNKNOWN | Came.NOBODYS:
            pass
        case _:
            assert_never(answer.came)
