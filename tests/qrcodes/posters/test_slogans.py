"""A slogan: handed in with the merchant's own rights, printed once the operator agrees."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from core.database import Role
from core.runtime import Runtime
from merchants.reviews import NotWaiting, ReviewState
from qrcodes.posters import slogans
from tests.community import Neighbourhood


@pytest.fixture
def shop(runtime: Runtime) -> int:
    return Neighbourhood(runtime).merchant("花店")


def propose(runtime: Runtime, shop: int, slogan: str) -> int | None:
    """The id of the version that its author sees."""
    with runtime.transaction(Role.MERCHANT, merchant_id=shop) as session:
        slogans.propose(session, merchant_id=shop, slogan=slogan)
        version = slogans.newest(session, merchant_id=shop)
        return version.id if version else None


def approve(runtime: Runtime, slogan_id: int | None, was: ReviewState = ReviewState.PENDING) -> None:
    assert slogan_id is not None
    with runtime.transaction(Role.PLATFORM) as session:
        slogans.approve(session, slogan_id=slogan_id, operator_id=1, now=runtime.now(), was=was)


def reject(runtime: Runtime, slogan_id: int | None, was: ReviewState = ReviewState.PENDING) -> None:
    assert slogan_id is not None
    with runtime.transaction(Role.PLATFORM) as session:
        slogans.reject(session, slogan_id=slogan_id, operator_id=1, reason="别夸大", now=runtime.now(), was=was)


def printed(runtime: Runtime, shop: int) -> str:
    with runtime.transaction(Role.MERCHANT, merchant_id=shop) as session:
        return slogans.in_force(session, merchant_id=shop)


def test_the_approved_one_is_printed_while_the_next_waits(runtime: Runtime, shop: int) -> None:
    first = propose(runtime, shop, "新鲜")
    assert printed(runtime, shop) == ""
    second = propose(runtime, shop, "每天新鲜")
    with pytest.raises(NotWaiting):
        approve(runtime, first)
    approve(runtime, second)
    assert printed(runtime, shop) == "每天新鲜"
    third = propose(runtime, shop, "越来越新鲜")
    assert printed(runtime, shop) == "每天新鲜"
    reject(runtime, third)
    assert printed(runtime, shop) == "每天新鲜"
    # What is printed needs nobody's word, and ends the talk about anything else.
    assert propose(runtime, shop, "每天新鲜") is None
    with runtime.transaction(Role.PLATFORM) as session:
        assert slogans.count_waiting(session) == 0
        assert session.execute(text("SELECT count(*) FROM poster_slogan")).scalar_one() == 3


def test_the_same_words_are_not_handed_in_twice(runtime: Runtime, shop: int) -> None:
    first = propose(runtime, shop, "新鲜")
    assert propose(runtime, shop, "新鲜") == first
    reject(runtime, first)
    assert propose(runtime, shop, "新鲜") == first
    assert propose(runtime, shop, "很新鲜") != first


@pytest.mark.parametrize("second", ["新鲜", "很新鲜"])
def test_of_two_handed_in_at_once_one_waits(runtime: Runtime, shop: int, second: str) -> None:
    with ThreadPoolExecutor() as elsewhere:
        with runtime.transaction(Role.MERCHANT, merchant_id=shop) as session:
            slogans.propose(session, merchant_id=shop, slogan="新鲜")
            other = elsewhere.submit(propose, runtime, shop, second)
            with pytest.raises(TimeoutError):
                other.result(timeout=0.5)
        other.result(timeout=10)
    with runtime.transaction(Role.PLATFORM) as session:
        assert [one.slogan for one in slogans.waiting_for_review(session)] == [second]


def test_an_operator_may_change_its_mind(runtime: Runtime, shop: int) -> None:
    first = propose(runtime, shop, "新鲜")
    approve(runtime, first)
    reject(runtime, first, was=ReviewState.APPROVED)
    assert printed(runtime, shop) == ""
    approve(runtime, first, was=ReviewState.REJECTED)
    assert printed(runtime, shop) == "新鲜"


def test_none_takes_everything_back(runtime: Runtime, shop: int) -> None:
    approve(runtime, propose(runtime, shop, "新鲜"))
    propose(runtime, shop, "更新鲜")
    assert propose(runtime, shop, "") is None
    assert printed(runtime, shop) == ""
    with runtime.transaction(Role.PLATFORM) as session:
        assert slogans.count_waiting(session) == 0


def test_what_an_operator_writes_is_printed_at_once(runtime: Runtime, shop: int) -> None:
    propose(runtime, shop, "新鲜")
    with runtime.transaction(Role.PLATFORM) as session:
        slogans.put_in_force(session, merchant_id=shop, slogan="每天新鲜", operator_id=1, now=runtime.now())
        assert slogans.count_waiting(session) == 0
    assert printed(runtime, shop) == "每天新鲜"


@pytest.mark.parametrize(
    "act",
    [
        "UPDATE poster_slogan SET review = 'approved'",
        "UPDATE poster_slogan SET slogan = '别的'",
        "INSERT INTO poster_slogan (merchant_id, slogan, review) SELECT id, '', 'approved' FROM merchant",
    ],
)
def test_a_merchant_cannot_approve_its_own_words(runtime: Runtime, shop: int, act: str) -> None:
    propose(runtime, shop, "新鲜")
    with pytest.raises(ProgrammingError), runtime.transaction(Role.MERCHANT, merchant_id=shop) as session:
        session.execute(text(act))


def test_merchants_see_their_own_versions_only(runtime: Runtime, shop: int) -> None:
    propose(runtime, shop, "新鲜")
    other = Neighbourhood(runtime).merchant("书店")
    with runtime.transaction(Role.MERCHANT, merchant_id=other) as session:
        assert session.execute(text("SELECT count(*) FROM poster_slogan")).scalar_one() == 0
