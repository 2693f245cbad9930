"""A merchant's card: handed in with the merchant's own rights, shown once the operator agrees."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from core.database import Role
from core.errors import Invalid, NotFound
from core.runtime import Runtime
from merchants import cards
from merchants.cards import Card
from merchants.models import Merchant
from merchants.reviews import NotWaiting, ReviewState
from merchants.wording import PLATFORM_HOSTS
from tests.community import Neighbourhood

CARD = Card("每天现采\n新鲜", "3 号楼", "8:00-20:00")


@pytest.fixture
def shop(runtime: Runtime) -> int:
    return Neighbourhood(runtime).merchant("花店")


def propose(runtime: Runtime, shop: int, card: Card = CARD) -> int:
    with runtime.transaction(Role.MERCHANT, merchant_id=shop) as session:
        return cards.propose(session, merchant_id=shop, card=card, hosts=PLATFORM_HOSTS)


def shown(runtime: Runtime, shop: int) -> str:
    with runtime.transaction(Role.PLATFORM) as session:
        return session.get_one(Merchant, shop).intro


def approve(runtime: Runtime, card_id: int, was: ReviewState = ReviewState.PENDING) -> None:
    with runtime.transaction(Role.PLATFORM) as session:
        cards.approve(session, card_id=card_id, operator_id=1, now=runtime.now(), was=was)


def reject(runtime: Runtime, card_id: int, was: ReviewState = ReviewState.PENDING) -> None:
    with runtime.transaction(Role.PLATFORM) as session:
        cards.reject(session, card_id=card_id, operator_id=1, reason="写清楚卖什么", now=runtime.now(), was=was)


def test_a_card_changes_what_is_shown_once_it_is_approved(runtime: Runtime, shop: int) -> None:
    first = propose(runtime, shop)
    assert shown(runtime, shop) == ""
    second = propose(runtime, shop, Card("新的介绍"))
    with pytest.raises(NotWaiting):
        approve(runtime, first)
    approve(runtime, second)
    assert shown(runtime, shop) == "新的介绍"
    with runtime.transaction(Role.PLATFORM) as session:
        assert cards.newest(session, merchant_id=shop) is None
        assert cards.count_waiting(session) == 0


def test_a_refused_card_tells_why_and_can_be_taken_back_from_show(runtime: Runtime, shop: int) -> None:
    card_id = propose(runtime, shop)
    reject(runtime, card_id)
    with runtime.transaction(Role.MERCHANT, merchant_id=shop) as session:
        newest = cards.newest(session, merchant_id=shop)
        assert newest is not None
        assert (newest.review, newest.review_reason) == (ReviewState.REJECTED, "写清楚卖什么")
    approve(runtime, card_id, was=ReviewState.REJECTED)
    assert shown(runtime, shop) == CARD.intro
    reject(runtime, card_id, was=ReviewState.APPROVED)
    assert shown(runtime, shop) == ""


def test_what_may_not_be_said_or_is_somebody_elses_is_refused(runtime: Runtime, shop: int) -> None:
    for card, refusal in ((Card("关注送花"), Invalid), (Card("字" * 501), Invalid), (Card(picture_id=1), NotFound)):
        with pytest.raises(refusal):
            propose(runtime, shop, card)


@pytest.mark.parametrize(
    "act",
    [
        "UPDATE merchant SET intro = '自己改的'",
        "UPDATE merchant_card SET review = 'approved'",
        "INSERT INTO merchant_card (merchant_id, intro, review) SELECT id, '', 'approved' FROM merchant",
    ],
)
def test_a_merchant_cannot_put_a_card_in_force(runtime: Runtime, shop: int, act: str) -> None:
    propose(runtime, shop)
    with pytest.raises(ProgrammingError), runtime.transaction(Role.MERCHANT, merchant_id=shop) as session:
        session.execute(text(act))


def test_merchants_see_their_own_versions_only(runtime: Runtime, shop: int) -> None:
    propose(runtime, shop)
    other = Neighbourhood(runtime).merchant("书店")
    with runtime.transaction(Role.MERCHANT, merchant_id=other) as session:
        assert session.execute(text("SELECT count(*) FROM merchant_card")).scalar_one() == 0
