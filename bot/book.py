"""What answers are made of, kept by each process page by page: whom one can talk to with the platform's rules, and of
each merchant its rules and its desk.

Every change numbers its page when it commits, in the order of the commits (`page_has_changed`, migration 0025). The
inbox asks, with what else it reads, for the pages whose number is larger than the one this process has read up to, and
those alone are read again. What is read may be newer than the number, never older.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from bot.context import Shops
from bot.rules import book as rule_book
from bot.rules.matching import Rule
from bot.talks import desk as desks
from bot.talks.desk import Desk
from campaigns.broadcasts.spelling import plain

EVERYBODYS: Final = 0
"""The page that is no merchant's."""
_SHOPS: Final = text("SELECT id, name, kind FROM merchant WHERE account_id = :account AND state = 'active' ORDER BY id")


@dataclass(frozen=True, slots=True)
class Book:
    """One state of it."""

    number: int = -1
    """Every change up to this one is in it."""
    shops: Shops = field(default_factory=Shops)
    rules: Mapping[int | None, tuple[Rule, ...]] = field(default_factory=dict)
    desks: Mapping[int, Desk] = field(default_factory=dict)

    def desk(self, merchant_id: int) -> Desk:
        return self.desks.get(merchant_id, desks.PLAIN)


EMPTY: Final = Book()


class Keeper:
    """The book as this process read it last; safe to use from several threads, of which one reads at a time."""

    def __init__(self) -> None:
        self._book = EMPTY
        self._reading = Lock()

    @property
    def number(self) -> int:
        """Up to which change it has been read."""
        return self._book.number

    def at(self, session: Session, account_id: int, number: int, pages: Collection[int]) -> Book:
        """The book with all changes up to that number, or one that another thread is just reading on from; `pages`
        are those that changed since `number` of this keeper, or since before."""
        book = self._book
        if book.number >= number or not self._reading.acquire(blocking=book is EMPTY):
            return book
        try:
            if self._book.number < number:
                self._book = _read_on(session, account_id, self._book, number, pages)
            return self._book
        finally:
            self._reading.release()


def _read_on(session: Session, account_id: int, book: Book, number: int, pages: Collection[int]) -> Book:
    """The book with these pages read again; of a shop that was not in it, its page too."""
    is_everybodys = book is EMPTY or EVERYBODYS in pages
    shops = _shops(session, account_id) if is_everybodys else book.shops
    wanted = [one for one in shops.names if one in pages or not book.shops.has(one)]
    rules = rule_book.load(session, account_id, [*wanted, None] if is_everybodys else wanted)
    return Book(
        number,
        shops,
        {owner: kept for owner, kept in book.rules.items() if owner is None or shops.has(owner)} | rules,
        {owner: kept for owner, kept in book.desks.items() if shops.has(owner)} | desks.load(session, wanted),
    )


def _shops(session: Session, account_id: int) -> Shops:
    rows = session.execute(_SHOPS, {"account": account_id}).all()
    return Shops({row.id: row.name for row in rows}, frozenset(kind for row in rows if (kind := plain(row.kind))))
