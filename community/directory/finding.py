"""Finding whom to call: by category, by another word for it, or by what somebody does.

A paid position stands first within its dates and nowhere else, and says so wherever it is read.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from campaigns.broadcasts.spelling import plain
from community.directory.phones import shown
from core.errors import Phrase

PAID: Final = Phrase("推广")
SAYS_NOTHING: Final = frozenset(
    ("师傅", "电话", "号码", "联系", "哪里", "哪有", "附近", "上门", "服务", "什么", "怎么", "一个", "有没", "没有")
)
"""Pairs of characters that ask for nobody in particular."""

# Who serves everywhere has no row in directory_entry_community. Where nobody said which community, all are shown.
_IS_THERE: Final = """
    e.is_on AND e.account_id = coalesce(CAST(:account AS bigint),
                                        (SELECT account_id FROM community WHERE id = :community), e.account_id)
    AND (CAST(:community AS bigint) IS NULL
         OR NOT EXISTS (SELECT 1 FROM directory_entry_community s WHERE s.entry_id = e.id)
         OR EXISTS (SELECT 1 FROM directory_entry_community s
                    WHERE s.entry_id = e.id AND s.community_id = :community))"""
_CATEGORIES: Final = f"""
    SELECT c.id, c.name, c.aliases, count(e.id) AS entries
    FROM directory_category c JOIN directory_entry e ON e.category_id = c.id
    WHERE {_IS_THERE} GROUP BY c.id ORDER BY c.position, c.id"""
_ENTRIES: Final = f"""
    SELECT e.id, c.id AS category_id, c.name AS category, e.name, e.phone, e.what, e.hours, e.address,
           coalesce(e.paid_from <= :now AND e.paid_until > :now, false) AS is_paid, m.id AS shop_id,
           coalesce(m.name, '') AS shop_name,
           ARRAY(SELECT k.name FROM directory_entry_community s JOIN community k ON k.id = s.community_id
                 WHERE s.entry_id = e.id ORDER BY k.id) AS serves
    FROM directory_entry e
    JOIN directory_category c ON c.id = e.category_id
    LEFT JOIN merchant m ON m.id = e.merchant_id AND m.state = 'active'
    WHERE {_IS_THERE}
      AND (e.category_id = ANY(CAST(:categories AS bigint[]))
           OR EXISTS (SELECT 1 FROM unnest(CAST(:words AS text[])) word WHERE position(word IN e.comparable) > 0))
    ORDER BY is_paid DESC, e.category_id = ANY(CAST(:categories AS bigint[])) DESC, c.position, e.position, e.id
    OFFSET :skip LIMIT :limit"""


@dataclass(frozen=True)
class Category:
    """A category that has somebody in it here, and how many."""

    id: int
    name: str
    aliases: tuple[str, ...]
    entries: int


@dataclass(frozen=True)
class Found:
    """Somebody to call. `title` and `line` say that a position is paid for; whoever words it otherwise must, too."""

    id: int
    category_id: int
    category: str
    name: str
    phone: str
    what: str
    hours: str
    address: str
    is_paid: bool
    shop_id: int | None
    """The merchant of ours that this is."""
    shop_name: str
    serves: tuple[str, ...]
    """The communities they come to; empty for all."""

    @property
    def label(self) -> str:
        """推广, or nothing."""
        return PAID if self.is_paid else ""

    @property
    def title(self) -> str:
        """The name behind its label."""
        return f"【{PAID}】{self.name}" if self.is_paid else self.name

    @property
    def line(self) -> str:
        """All of it for a chat: 【推广】老张开锁 13800138000（换锁芯，全天）."""
        more = "，".join(part for part in (self.what, self.hours) if part)
        return f"{self.title} {shown(self.phone)}" + (f"（{more}）" if more else "")


def categories(session: Session, *, community_id: int | None = None, account_id: int | None = None) -> list[Category]:
    """The categories that have somebody in them for this community, in the operator's order."""
    rows = session.execute(text(_CATEGORIES), {"community": community_id, "account": account_id})
    return [Category(row.id, row.name, tuple(row.aliases), row.entries) for row in rows]


def find(
    session: Session,
    *,
    words: str,
    community_id: int | None,
    now: datetime,
    limit: int,
    account_id: int | None = None,
) -> list[Found]:
    """Whom one may call about `words`, paid positions first; nobody for words that name nothing.

    First by the whole words; where that finds nobody, by any two characters of them that say something.
    """
    wanted = plain(words)
    if not wanted:
        return []
    known = categories(session, community_id=community_id, account_id=account_id)
    asked: dict[str, Any] = {"community_id": community_id, "account_id": account_id, "now": now, "limit": limit}
    found = _entries(session, matching(known, wanted), [wanted], **asked)
    if not found and (pairs := pairs_of(wanted)):
        similar = {one.id for one in known if any(pair in word for word in _spelled(one) for pair in pairs)}
        found = _entries(session, similar, pairs, **asked)
    return found


def in_category(
    session: Session,
    *,
    category_id: int,
    community_id: int | None,
    now: datetime,
    limit: int,
    skip: int = 0,
    account_id: int | None = None,
) -> list[Found]:
    """Everybody of one category, as they stand."""
    return _entries(
        session, [category_id], [], community_id=community_id, account_id=account_id, now=now, limit=limit, skip=skip
    )


def matching(known: Iterable[Category], wanted: str) -> set[int]:
    """The categories that words in plain spelling name: exactly, else as a part of them or the other way round."""
    spelled = [(one.id, word) for one in known for word in _spelled(one)]
    exact = {category_id for category_id, word in spelled if word == wanted}
    return exact or {
        category_id for category_id, word in spelled if wanted in word or (len(word) > 1 and word in wanted)
    }


def pairs_of(wanted: str) -> list[str]:
    """Every two characters next to each other, but for those that say nothing."""
    return [pair for pair in dict.fromkeys(map("".join, pairwise(wanted))) if pair not in SAYS_NOTHING]


def _spelled(category: Category) -> list[str]:
    return [spelled for word in (category.name, *category.aliases) if (spelled := plain(word))]


def _entries(
    session: Session,
    category_ids: Iterable[int],
    words: list[str],
    *,
    community_id: int | None,
    account_id: int | None,
    now: datetime,
    limit: int,
    skip: int = 0,
) -> list[Found]:
    rows = session.execute(
        text(_ENTRIES),
        {
            "categories": sorted(category_ids), "words": words, "community": community_id, "account": account_id,
            "now": now, "limit": limit, "skip": skip,
        },
    )  # fmt: skip
    return [Found(**{**row, "serves": tuple(row["serves"])}) for row in rows.mappings()]
