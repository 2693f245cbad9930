"""Finding what was said, as the merchant, among hundreds of thousands of talks.

A merchant's session passes row-level security, and PostgreSQL lets no operator look at a row before its policy has
said yes unless that operator is marked leakproof: its errors and messages could tell of rows that are somebody
else's. LIKE is not; so `content LIKE '%营业%'` can use no index there, of trigrams or any other kind, and reads every
message of the merchant. Equality of texts and numbers is leakproof. Therefore each two neighbouring characters of a
message are a row of `talk_gram`, found by equality alone in the index (merchant, gram, message): words are found by the
messages that hold all their pairs, the newest first, and then compared as a whole, since the pairs might stand apart.

A single character has no pair and is not looked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from bot.talks.grams import fold
from bot.talks.intake import without_links
from bot.talks.models import Direction, Kind

PAGE: Final = 30
LONGEST: Final = 40
MOST_PAIRS: Final = 4
"""Pairs that are looked up; the comparison does the rest."""
LOOKED_AT: Final = 200
"""Messages with all the pairs that are compared at a time."""
MOST_LOOKS: Final = 10
NUMBER_LEAST: Final = 3
"""Characters of a fan's number that are enough to look for it."""
AROUND: Final = 16
"""Characters shown before what was found."""


@dataclass(frozen=True)
class Found:
    """A message that holds the words."""

    message_id: int
    talk_id: int
    number: str
    direction: Direction
    kind: Kind
    at: datetime
    snippet: str


@dataclass(frozen=True)
class Result:
    messages: tuple[Found, ...]
    before: int | None
    """What to ask for older ones with."""
    talks: tuple[int, ...]
    """Talks whose fan's number, note or tag holds the words; only with the first page."""
    is_too_short: bool
    """A single character: nothing was looked for among the messages."""


def find(session: Session, *, merchant_id: int, words: str, before: int | None = None, limit: int = PAGE) -> Result:
    """The merchant's messages that hold these words, the newest first."""
    wanted = fold(words[:LONGEST])
    talks = _talks(session, merchant_id=merchant_id, words=words, limit=limit) if before is None and wanted else ()
    if len(wanted) < 2:
        return Result((), None, talks, is_too_short=bool(wanted))
    pairs = _telling(wanted)
    found: list[Found] = []
    for _ in range(MOST_LOOKS):
        rows = _holding(session, merchant_id=merchant_id, pairs=pairs, before=before)
        for row in rows:
            if (snippet := _snippet(row.content or "", wanted)) is None:
                continue
            found.append(
                Found(row.id, row.talk_id, row.number, Direction(row.direction), Kind(row.kind), row.at, snippet)
            )
            if len(found) > limit:
                return Result(tuple(found[:limit]), found[limit - 1].message_id, talks, is_too_short=False)
        if len(rows) < LOOKED_AT:
            return Result(tuple(found), None, talks, is_too_short=False)
        before = int(rows[-1].id)
    return Result(tuple(found), before, talks, is_too_short=False)


def _telling(wanted: str) -> list[str]:
    """A few pairs that are spread over the words."""
    pairs = [wanted[i : i + 2] for i in range(len(wanted) - 1)]
    step = max(1, (len(pairs) - 1) // (MOST_PAIRS - 1)) if len(pairs) > MOST_PAIRS else 1
    return list(dict.fromkeys([*pairs[::step][:MOST_PAIRS], pairs[-1]]))[: MOST_PAIRS + 1]


def _holding(session: Session, *, merchant_id: int, pairs: list[str], before: int | None) -> list[Any]:
    """Messages with all the pairs, the newest first."""
    others = "".join(
        f"""
        AND EXISTS (SELECT 1 FROM talk_gram g{number} WHERE g{number}.merchant_id = :merchant_id
                    AND g{number}.gram = :gram{number} AND g{number}.message_id = g.message_id)"""
        for number in range(1, len(pairs))
    )
    older = "AND g.message_id < :before" if before is not None else ""
    statement = text(f"""
        SELECT m.id, m.talk_id, t.number, m.direction, m.kind, m.at, m.content
        FROM (SELECT g.message_id FROM talk_gram g
              WHERE g.merchant_id = :merchant_id AND g.gram = :gram0 {older} {others}
              ORDER BY g.message_id DESC LIMIT :most) found
        JOIN talk_message m ON m.merchant_id = :merchant_id AND m.id = found.message_id
        JOIN talk t ON t.merchant_id = :merchant_id AND t.id = m.talk_id
        ORDER BY m.id DESC""")
    given: dict[str, Any] = {f"gram{number}": pair for number, pair in enumerate(pairs)}
    given |= {"merchant_id": merchant_id, "before": before, "most": LOOKED_AT}
    return list(session.execute(statement, given))


def _snippet(content: str, wanted: str) -> str | None:
    """What is shown of a message, from a little before the words on; None where they stand apart."""
    said = " ".join(without_links(content).split())
    if wanted not in fold(said):
        return None
    start = said.casefold().find(wanted)
    return said if start <= AROUND else "…" + said[start - AROUND :]


def _talks(session: Session, *, merchant_id: int, words: str, limit: int) -> tuple[int, ...]:
    """Talks by their fans' numbers, notes and tags, the latest first. A merchant's own cards are few enough to read."""
    said = words.strip()[:LONGEST]
    is_number = len(said) >= NUMBER_LEAST and said.isascii() and said.isalnum()
    rows = session.execute(
        text("""
            SELECT t.id FROM (
                SELECT f.follower_id FROM fan f
                WHERE f.merchant_id = :merchant_id AND f.note <> '' AND position(lower(:words) IN lower(f.note)) > 0
                UNION
                SELECT g.follower_id FROM fan_tag g
                WHERE g.merchant_id = :merchant_id AND starts_with(lower(g.tag), lower(:words))
                UNION
                SELECT f.follower_id FROM talk f
                WHERE f.merchant_id = :merchant_id AND :is_number AND starts_with(f.number, upper(:words))) who
            JOIN talk t ON t.merchant_id = :merchant_id AND t.follower_id = who.follower_id
            ORDER BY t.last_message_at DESC, t.id DESC LIMIT :limit"""),
        {"merchant_id": merchant_id, "words": said, "is_number": is_number, "limit": limit},
    )
    return tuple(row.id for row in rows)
