"""Shops around here."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from community import near
from core.database import Role
from core.runtime import Runtime
from merchants import cards, merchants
from merchants.cards import Card
from tests.community import Neighbourhood

GATE = (31.8206, 117.2272)
"""Hefei's middle."""


@pytest.fixture
def street(runtime: Runtime) -> Neighbourhood:
    return Neighbourhood(runtime)


def opened(street: Neighbourhood, name: str, kind: str, at: tuple[float, float] | None = None) -> int:
    shop = street.merchant(name)
    with street.runtime.transaction(Role.PLATFORM) as session:
        latitude, longitude = at or (None, None)
        cards.show(session, merchant_id=shop, card=Card(latitude=latitude, longitude=longitude), hosts=frozenset())
        session.execute(text("UPDATE merchant SET kind = :kind WHERE id = :id"), {"kind": kind, "id": shop})
    return shop


def test_the_nearest_shop_of_a_kind_comes_first(street: Neighbourhood) -> None:
    opened(street, "远茶", "奶茶", (31.8406, 117.2272))
    opened(street, "近茶", "奶茶", (31.8216, 117.2272))
    opened(street, "面馆", "面食", GATE)
    opened(street, "不知在哪的茶", "奶茶")
    with street.runtime.transaction(Role.PLATFORM) as session:
        found = near.shops(session, kind="奶茶", latitude=GATE[0], longitude=GATE[1], limit=5)
    assert [(shop.name, shop.metres) for shop in found] == [("近茶", 111), ("远茶", 2224), ("不知在哪的茶", None)]


def test_without_a_place_it_is_the_community_that_counts(street: Neighbourhood) -> None:
    opened(street, "茶馆", "奶茶", GATE)
    with street.runtime.transaction(Role.PLATFORM) as session:
        there = merchants.add_community(session, account_id=street.account_id, name="对岸", intro="")
        merchants.add(session, account_id=street.account_id, community_id=there, name="对岸茶", kind="奶茶",
                      now=street.now)  # fmt: skip
        here = near.shops(session, kind="茶", community_id=street.community_id, limit=5)
        assert [(shop.name, shop.community_name, shop.metres) for shop in here] == [("茶馆", "我们的社区", None)]
        assert [shop.name for shop in near.shops(session, community_id=there, limit=5)] == ["对岸茶"]
        assert near.shops(session, kind="100%", community_id=there, limit=5) == []


def test_a_closed_shop_is_not_near(street: Neighbourhood) -> None:
    opened(street, "茶馆", "奶茶", GATE)
    with street.runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("UPDATE merchant SET state = 'suspended'"))
        assert near.shops(session, latitude=GATE[0], longitude=GATE[1], limit=5) == []
