"""Where a shop is."""

from __future__ import annotations

import pytest

from core.database import Role
from core.errors import Invalid
from core.runtime import Runtime
from merchants import cards, positions
from merchants.cards import Card
from merchants.models import Merchant
from tests.community import Neighbourhood


@pytest.mark.parametrize(
    "typed", ["31.8206,117.2272", "117.2272 31.8206", "31.8206，117.2272", " 31.820600, 117.227200 "]
)
def test_either_order_is_understood(typed: str) -> None:
    assert positions.read(typed) == (31.8206, 117.2272)
    assert positions.written(31.8206, 117.2272) == "31.820600,117.227200"


def test_nothing_is_nowhere() -> None:
    assert positions.read(" ") == (None, None)
    assert positions.written(None, None) == ""


@pytest.mark.parametrize("typed", ["31.8", "东门", "31.8,31.9", "1,2,3", "nan,117", "-31.8,117.2"])
def test_what_is_no_place_in_china_is_refused(typed: str) -> None:
    with pytest.raises(Invalid):
        positions.read(typed)


def test_a_place_waits_with_its_card_and_the_operator_sets_it_at_once(runtime: Runtime) -> None:
    street = Neighbourhood(runtime)
    shop = street.merchant("茶馆")

    def place() -> tuple[float | None, float | None]:
        with runtime.transaction(Role.PLATFORM) as session:
            merchant = session.get_one(Merchant, shop)
            return merchant.latitude, merchant.longitude

    with runtime.transaction(Role.MERCHANT, merchant_id=shop) as session:
        card = Card("好茶", latitude=31.8206, longitude=117.2272)
        version = cards.propose(session, merchant_id=shop, card=card, hosts=frozenset())
    assert place() == (None, None)
    with runtime.transaction(Role.PLATFORM) as session:
        cards.place(session, merchant_id=shop, latitude=31.9, longitude=117.3)
    assert place() == (31.9, 117.3)
    with runtime.transaction(Role.PLATFORM) as session:
        cards.approve(session, card_id=version, operator_id=1, now=street.now)
    assert place() == (31.9, 117.3)
