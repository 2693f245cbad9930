"""The book of answers: only pages that changed are read again, by one at a time, and whoever changes one waits for
nobody."""

import threading
import time
from collections.abc import Callable, Collection
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from bot import book, store
from bot.book import Book, Keeper
from bot.inbox import Inbox
from bot.rules import book as rule_book
from bot.rules import porting, writing
from bot.talks import desk
from core.clock import month_of
from core.database import Role
from core.runtime import Runtime
from merchants.models import EpisodeSource, Merchant, MerchantState
from tests.bot.rules.desk import HOSTS, OPERATOR, approve, author, create, draft
from tests.community import Neighbourhood, new_openid, scanned, subscribed


def at(runtime: Runtime, keeper: Keeper) -> Book:
    """The book as the inbox has it now."""
    with runtime.transaction(Role.PLATFORM) as session:
        keys = {"e:1": month_of(runtime.now())}
        seen = store.glimpse(store.driver(session), 1, book_read=keeper.number, keys=keys, follower_ids=[], scans=[],
                             messages={})  # fmt: skip
        return keeper.at(session, 1, seen.book_number, seen.book_pages)


@pytest.fixture
def tea(street: Neighbourhood) -> int:
    return street.merchant("茶馆")


@pytest.fixture
def noodles(street: Neighbourhood) -> int:
    return street.merchant("面馆")


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Callable[[], set[int | None]]:
    """Whose rules were read since one asked last."""
    load, owners = rule_book.load, set[int | None]()

    def noted(session: Session, account_id: int, wanted: Collection[int | None]) -> Any:
        owners.update(wanted)
        return load(session, account_id, wanted)

    def asked() -> set[int | None]:
        found = set(owners)
        owners.clear()
        return found

    monkeypatch.setattr(rule_book, "load", noted)
    return asked


def keywords(found: Book, owner: int | None) -> list[str]:
    return [pattern.words for rule in found.rules.get(owner, ()) for pattern in rule.patterns]


def save_desk(session: Session, street: Neighbourhood, merchant_id: int) -> None:
    desk.save(session, merchant_id=merchant_id, hours=desk.Hours(), asks_satisfaction=False, hands_over=True,
              notify_after=2, now=street.now)  # fmt: skip


def test_of_many_shops_only_the_pages_that_changed_are_read_again(
    runtime: Runtime, street: Neighbourhood, tea: int, noodles: int, read: Callable[[], set[int | None]]
) -> None:
    keeper = Keeper()
    first = at(runtime, keeper)
    assert (read(), first.shops.names) == ({None, tea, noodles}, {tea: "茶馆", noodles: "面馆"})
    assert (at(runtime, keeper) is first, read()) == (True, set())
    approve(street, create(street, tea, draft("地址")))
    found = at(runtime, keeper)
    assert (keywords(found, tea), read(), found.shops is first.shops) == (["地址"], {tea}, True)
    create(street, None, draft("物业"))
    found = at(runtime, keeper)
    assert (keywords(found, None), keywords(found, tea), read()) == (["物业"], ["地址"], {None})
    with runtime.transaction(Role.MERCHANT, merchant_id=noodles) as session:
        save_desk(session, street, noodles)
    found = at(runtime, keeper)
    assert (found.desk(noodles).hands_over, found.desk(tea).hands_over, read()) == (True, False, {noodles})


def test_a_shop_comes_with_its_page_and_goes_with_it(
    runtime: Runtime, street: Neighbourhood, tea: int, read: Callable[[], set[int | None]]
) -> None:
    approve(street, create(street, tea, draft("地址")))
    keeper = Keeper()
    at(runtime, keeper)

    def becomes(state: MerchantState) -> Book:
        with runtime.transaction(Role.PLATFORM) as session:
            session.get_one(Merchant, tea).state = state
        return at(runtime, keeper)

    read()
    closed = becomes(MerchantState.SUSPENDED)
    assert (closed.shops.has(tea), keywords(closed, tea), read()) == (False, [], {None})
    again = becomes(MerchantState.ACTIVE)
    assert (again.shops.has(tea), keywords(again, tea), read()) == (True, ["地址"], {None, tea})


def test_what_is_not_answered_needs_no_book(
    runtime: Runtime, street: Neighbourhood, tea: int, read: Callable[[], set[int | None]]
) -> None:
    """The reconciler takes in thousands of people in processes that live for one task."""
    inbox, event = Inbox(runtime), subscribed(new_openid(), street.now)
    with runtime.transaction(Role.PLATFORM) as session:
        inbox.record(session, [event], EpisodeSource.RECONCILE)
    assert read() == set()
    inbox.receive([scanned(event.openid, street.now, "q1")])
    assert read() == {None, tea}


def test_while_one_thread_reads_the_others_go_on_with_the_book_they_have(
    runtime: Runtime, street: Neighbourhood, tea: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = Keeper()
    first = at(runtime, keeper)
    begun, may_end, read_on = threading.Event(), threading.Event(), book._read_on
    readings = []

    def slowly(*given: Any) -> Book:
        readings.append(given)
        begun.set()
        assert may_end.wait(30)
        return read_on(*given)

    monkeypatch.setattr(book, "_read_on", slowly)
    create(street, None, draft("物业"))
    found: list[Book] = []
    reader = threading.Thread(target=lambda: found.append(at(runtime, keeper)))
    reader.start()
    assert begun.wait(30)
    assert [at(runtime, keeper) for _ in range(3)] == [first] * 3
    may_end.set()
    reader.join()
    assert (len(readings), keywords(found[0], None), at(runtime, keeper)) == (1, ["物业"], found[0])


# ---- Several who change it -------------------------------------------------------------------------------------------


def pending(street: Neighbourhood, merchant_id: int, *exact: str) -> int:
    """The version of a new rule that waits for the operator."""
    rule_id = create(street, merchant_id, draft(*exact))
    with street.runtime.transaction(Role.PLATFORM) as session:
        return writing.newest_of(session, rule_id).id


def agree(session: Session, street: Neighbourhood, version_id: int) -> None:
    writing.approve(session, version_id=version_id, operator_id=OPERATOR, now=street.now)


def test_a_long_import_keeps_nobody_from_saving(
    runtime: Runtime, street: Neighbourhood, tea: int, noodles: int
) -> None:
    """Neither another shop, nor the operator who agrees to a rule of the same one meanwhile."""
    keeper = Keeper()
    at(runtime, keeper)
    ours, theirs = pending(street, tea, "地址"), pending(street, noodles, "地址")
    table = "规则名,完全相同,回复1\n" + "".join(f"问{number},问{number},答\n" for number in range(20))
    with runtime.transaction(Role.MERCHANT, merchant_id=tea) as importing:
        writer = author(importing, tea)
        assert porting.bring_in(importing, writer, table.encode(), hosts=HOSTS, now=street.now) == 20
        with runtime.transaction(Role.MERCHANT, merchant_id=noodles) as saving:
            saving.execute(text("SET LOCAL lock_timeout = '5s'"))
            save_desk(saving, street, noodles)
            writing.create(saving, author(saving, noodles), draft("营业时间"), hosts=HOSTS, now=street.now)
        with runtime.transaction(Role.PLATFORM) as agreeing:
            agreeing.execute(text("SET LOCAL lock_timeout = '5s'"))
            agree(agreeing, street, theirs)
            agree(agreeing, street, ours)
        found = at(runtime, keeper)
        assert (keywords(found, tea), keywords(found, noodles)) == (["地址"], ["地址"])
        assert found.desk(noodles).hands_over
    assert at(runtime, keeper).number == found.number + 1, "its twenty rules are one change of one page"


def test_who_changes_shops_in_one_order_and_in_another_wait_in_no_circle_and_none_is_overlooked(
    runtime: Runtime, street: Neighbourhood, tea: int, noodles: int
) -> None:
    """The second to commit is numbered after the first: a reader that has seen the larger number has both."""
    versions = [pending(street, shop, words) for words in ("地址", "电话号") for shop in (tea, noodles)]
    keeper = Keeper()
    at(runtime, keeper)

    def the_other_way_round() -> None:
        with runtime.transaction(Role.PLATFORM) as session:
            agree(session, street, versions[3])
            agree(session, street, versions[2])

    second = threading.Thread(target=the_other_way_round)
    with runtime.transaction(Role.PLATFORM) as first:
        agree(first, street, versions[0])
        agree(first, street, versions[1])
        # What the commit does first.
        first.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))
        second.start()
        wait_for_the_lock(runtime, second)
        found = at(runtime, keeper)
        assert (keywords(found, tea), keywords(found, noodles)) == ([], [])
    second.join()
    found = at(runtime, keeper)
    assert [sorted(keywords(found, shop)) for shop in (tea, noodles)] == [["地址", "电话号"]] * 2


def wait_for_the_lock(runtime: Runtime, waiting: threading.Thread) -> None:
    until = time.monotonic() + 30
    there = text("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'answer_book'::regclass")
    while waiting.is_alive():
        with runtime.transaction(Role.PLATFORM) as session:
            if session.execute(there).scalar_one():
                return
        assert time.monotonic() < until
        time.sleep(0.02)
    pytest.fail("it did not wait for its turn")
