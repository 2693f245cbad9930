"""What answers are made of, kept by each process and read anew when it changed: rules, desks, whom one can talk to.

Every change counts a number up in its own transaction; the inbox reads the number with what else it reads, and the book
only where the number is another one. What is read may be newer than the number, never older.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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

    def desk(self, merchant_id: int) -> Desk:
        return self.desks.get(merchant_id, desks.PLAIN)


EMPTY: Final = Book()


class Keeper:
    """The book as this process read it last; safe to use from several threads."""

    def __init__(self) -> None:
        self._book = EMPTY

    def at(self, session: Session, account_id: int, version: int) -> Book:
        """The book of that version, or a newer one."""
        book = self._book
        if book.version != version:
            book = self._book = _read(session, account_id, version)
        return book


def _read(session: Session, account_id: int, version: int) -> Book:
    rows = session.execute(_SHOPS, {"account": account_id}).all()
    shops = Shops({row.id: row.name for row in rows}, frozenset(kind for row in rows if (kind := plain(row.kind))))
    return Book(
        version=version,
        shops=shops,
        rules=rule_book.load(session, account_id, shops.names),
        desks=desks.load(session, list(shops.names)),
    )
