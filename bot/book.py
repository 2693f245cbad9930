"""What answers are made of, kept by each process and read anew when it changed: rules, desks, whom one can talk to.

Every change counts a number up in its own transaction; the inbox reads the number with what else it reads, and the book
only where the number is another one. What is read may be newer than the number, never older.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Lock
from time import monotonic
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from bot.context import Shops
from bot.rules import book as rule_book
from bot.rules.matching import Rule
from bot.talks import desk as desks
from bot.talks.desk import Desk
from campaigns.broadcasts.spelling import plain

_SHOPS: Final = text("SELECT id, name, kind FROM merchant WHERE account_id = :account AND state = 'active' ORDER BY id")


@dataclass(frozen=True, slots=True)
class Book:
    """One state of it."""

    version: int = -1
    shops: Shops = field(default_factory=Shops)
    rules: Mapping[int | None, tuple[Rule, ...]] = field(default_factory=dict)
    desks: Mapping[int, Desk] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """How many shops and rules it holds."""
        return len(self.shops.names) + sum(map(len, self.rules.values()))

    def desk(self, merchant_id: int) -> Desk:
        return self.desks.get(merchant_id, desks.PLAIN)


EMPTY: Final = Book()


LARGE: Final = 2_000
"""Up to so many shops and rules a book is read whenever it changed."""
REST: Final = 10
"""A larger one is left alone for so many times as long as reading it took: reading never takes the callback over."""


class Keeper:
    """The book as this process read it last; safe to use from several threads, of which one reads at a time."""

    def __init__(self) -> None:
        self._book = EMPTY
        self._reading = Lock()
        self._rests_until = 0.0

    def at(self, session: Session, account_id: int, version: int) -> Book:
        """The book of that version, or a newer one; an older one while another thread reads, or a large one rests."""
        book = self._book
        is_first = book is EMPTY
        if book.version == version or (not is_first and monotonic() < self._rests_until):
            return book
        if not self._reading.acquire(blocking=is_first):
            return book
        try:
            if self._book.version != version:
                self._read(session, account_id, version)
            return self._book
        finally:
            self._reading.release()

    def _read(self, session: Session, account_id: int, version: int) -> None:
        began = monotonic()
        self._book = _read(session, account_id, version)
        ended = monotonic()
        self._rests_until = ended + (ended - began) * REST if self._book.size > LARGE else 0.0


def _read(session: Session, account_id: int, version: int) -> Book:
    rows = session.execute(_SHOPS, {"account": account_id}).all()
    shops = Shops({row.id: row.name for row in rows}, frozenset(kind for row in rows if (kind := plain(row.kind))))
    return Book(
        version=version,
        shops=shops,
        rules=rule_book.load(session, account_id, shops.names),
        desks=desks.load(session, list(shops.names)),
    )
