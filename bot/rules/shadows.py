"""Words that never reach a rule: the account's own, and keywords of coupons."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from bot import answering, benefits
from bot.events import TextMessage
from bot.rules.content import Content

_COUPONS: Final = text("""
    SELECT keyword, name FROM coupon_template
    WHERE keyword = ANY(:words) AND keyword <> '' AND state IN ('live', 'paused') ORDER BY id""")
_WILD: Final = str.maketrans("", "", "*?＊？")


@dataclass(frozen=True, slots=True)
class Taken:
    """A keyword that something else answers first: a coupon, or, without one, the account itself."""

    words: str
    coupon: str = ""


def is_own(words: str, *, is_platform: bool) -> bool:
    """Whether the account answers these words itself, whatever a rule says: a merchant's rule, asked in a conversation
    with that merchant, or the platform's."""
    said = words.strip()
    event = TextMessage(openid="", occurred_at=datetime(2026, 1, 1, tzinfo=UTC), dedupe_key="", fields={}, content=said)
    return answering.is_reserved(said, is_with_shop=not is_platform) or benefits.is_claimed(event)


def coupons_of(session: Session, words: Iterable[str]) -> dict[str, str]:
    """The coupons whose keywords these are, by keyword; as far as whoever asks may see them."""
    rows = session.execute(_COUPONS, {"words": sorted({one.strip() for one in words})})
    return {row.keyword: row.name for row in rows}


def taken(session: Session, content: Content, *, is_platform: bool) -> list[Taken]:
    """The keywords of a rule that something else answers where they are written alone."""
    words = list(dict.fromkeys(one.words.translate(_WILD) for one in content.patterns))
    offered = coupons_of(session, words)
    return [Taken(one, offered.get(one, "")) for one in words if one in offered or is_own(one, is_platform=is_platform)]
