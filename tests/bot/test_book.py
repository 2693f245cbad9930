"""The book of answers: read anew for every change, by one at a time, and a large one not all the time."""

import threading
from typing import Any

import pytest

from bot import book
from bot.book import Book, Keeper
from core.database import Role
from core.runtime import Runtime
from tests.community import Neighbourhood


def at(runtime: Runtime, keeper: Keeper, version: int) -> Book:
    with runtime.transaction(Role.PLATFORM) as session:
        return keeper.at(session, 1, version)


def test_a_changed_book_is_read_and_an_unchanged_one_is_not(runtime: Runtime, street: Neighbourhood) -> None:
    keeper = Keeper()
    first = at(runtime, keeper, 1)
    tea = street.merchant("茶馆")
    assert at(runtime, keeper, 1) is first
    assert at(runtime, keeper, 2).shops.has(tea)


def test_a_large_book_rests_between_readings(
    runtime: Runtime, street: Neighbourhood, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(book, "LARGE", -1)
    monkeypatch.setattr(book, "REST", 1_000_000)
    keeper = Keeper()
    first = at(runtime, keeper, 1)
    assert at(runtime, keeper, 2) is first


def test_while_one_thread_reads_the_others_go_on_with_the_book_they_have(
    runtime: Runtime, street: Neighbourhood, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = Keeper()
    first = at(runtime, keeper, 1)
    begun, may_end, read = threading.Event(), threading.Event(), book._read
    readings = []

    def slowly(*given: Any) -> Book:
        readings.append(given)
        begun.set()
        assert may_end.wait(30)
        return read(*given)

    monkeypatch.setattr(book, "_read", slowly)
    found: list[Book] = []
    reader = threading.Thread(target=lambda: found.append(at(runtime, keeper, 2)))
    reader.start()
    assert begun.wait(30)
    assert [at(runtime, keeper, 2) for _ in range(3)] == [first] * 3
    may_end.set()
    reader.join()
    assert (len(readings), found[0].version, at(runtime, keeper, 2)) == (1, 2, found[0])
