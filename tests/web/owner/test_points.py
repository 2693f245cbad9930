"""Points on the owners' pages: checked in for, read, and exchanged once."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import text

from campaigns.points import exchange, levels, rules
from campaigns.points.levels import Level
from core.database import Role
from core.runtime import Runtime
from tests.campaigns.points.till import CHECK_IN
from tests.conftest import advance
from tests.couponing import Street
from tests.web.conftest import Browser
from tests.web.owner.conftest import Phone, counts


@pytest.fixture
def town(runtime: Runtime) -> Street:
    return Street.open(runtime)


@pytest.fixture
def shop(runtime: Runtime, town: Street) -> int:
    """A shop where one checks in for five points, and five points buy a coupon."""
    shop = town.shop("老王豆浆")
    template_id = town.live(shop, is_public=False, name="豆浆一杯")
    with runtime.transaction(Role.MERCHANT, merchant_id=shop) as session:
        rules.save(session, merchant_id=shop, rule=CHECK_IN, now=runtime.now())
        levels.save(session, merchant_id=shop, levels=[Level("街坊", 0), Level("老街坊", 10, 150)])
        exchange.add(session, merchant_id=shop, template_id=template_id, price=5, stock=3)
    return shop


def fields_of(page: str) -> dict[str, str]:
    """What the exchange button sends."""
    names = ("offer", "price", "nonce")
    found = {name: re.search(rf'name="{name}" value="([\w-]+)"', page) for name in names}
    assert all(found.values()), page
    return {name: one[1] for name, one in found.items() if one is not None}


def test_one_checks_in_once_a_day_and_exchanges_what_that_gave(
    runtime: Runtime, town: Street, owner_phone: Callable[[], Phone], shop: int
) -> None:
    phone = owner_phone()
    page = phone.browser.get(f"/m/points/{shop}").text
    assert "今天签到" in page
    assert "还差 5 分" in page
    for words in ("得 5 积分", "今天已签到"):
        assert phone.browser.post(f"/m/points/{shop}/check-in").status_code == 303
        assert words in phone.browser.get(f"/m/points/{shop}").text
    assert "老王豆浆" in phone.browser.get("/m/").text
    page = phone.browser.get(f"/m/points/{shop}").text
    assert "街坊" in page
    assert "再得 5 分，升为老街坊" in page
    wanted = fields_of(page)
    first = phone.browser.post(f"/m/points/{shop}/exchange", wanted)
    assert first.status_code == 303
    assert phone.browser.post(f"/m/points/{shop}/exchange", wanted).location == first.location
    assert "豆浆一杯" in phone.browser.get(first.location).text
    assert counts(runtime, "coupon") == [1]
    statement = phone.browser.get(f"/m/points/{shop}").text
    assert "+5" in statement
    assert "−5" in statement
    advance(runtime, timedelta(days=1))
    assert phone.browser.post(f"/m/points/{shop}/check-in").status_code == 303
    assert "已连续 2 天" in phone.browser.get(f"/m/points/{shop}").text


def test_without_points_nothing_is_exchanged(runtime: Runtime, owner_phone: Callable[[], Phone], shop: int) -> None:
    phone = owner_phone()
    phone.browser.get("/m/settings")
    with runtime.transaction(Role.PLATFORM) as session:
        offer = str(session.scalars(text("SELECT id FROM points_offer")).one())
    refused = phone.browser.post(f"/m/points/{shop}/exchange", {"offer": offer, "price": "5", "nonce": "n"})
    assert refused.status_code == 409
    assert "积分不够" in refused.text
    assert counts(runtime, "coupon") == [0]


@pytest.mark.parametrize(
    "changed",
    [{"price": "1"}, {"offer": "0"}, {"offer": "x"}, {"balance": "9"}, {"nonce": ""}, {"price": ""}],
)
def test_a_form_that_was_tampered_with_buys_nothing(
    runtime: Runtime, owner_phone: Callable[[], Phone], shop: int, changed: dict[str, str]
) -> None:
    phone = owner_phone()
    phone.browser.get(f"/m/points/{shop}")
    phone.browser.post(f"/m/points/{shop}/check-in")
    wanted = fields_of(phone.browser.get(f"/m/points/{shop}").text)
    refused = phone.browser.post(f"/m/points/{shop}/exchange", wanted | changed)
    assert refused.status_code in {409, 422}
    assert counts(runtime, "coupon") == [0]


def test_what_one_shop_offers_is_not_had_at_another(
    runtime: Runtime, town: Street, owner_phone: Callable[[], Phone], shop: int
) -> None:
    phone, other = owner_phone(), town.shop("面馆")
    phone.browser.get(f"/m/points/{shop}")
    phone.browser.post(f"/m/points/{shop}/check-in")
    wanted = fields_of(phone.browser.get(f"/m/points/{shop}").text)
    assert phone.browser.post(f"/m/points/{other}/exchange", wanted).status_code == 404
    assert phone.browser.post(f"/m/points/{other}/check-in").status_code == 409
    for path in ("", "/check-in", "/exchange"):
        nowhere = f"/m/points/9000000000000001{path}"
        answer = phone.browser.post(nowhere) if path else phone.browser.get(nowhere)
        assert answer.status_code == 404


def test_nobody_reads_anothers_points(runtime: Runtime, owner_phone: Callable[[], Phone], shop: int) -> None:
    """#63."""
    ann, ben = owner_phone(), owner_phone()
    ben.browser.get(f"/m/points/{shop}")
    ben.browser.post(f"/m/points/{shop}/check-in")
    page = ann.browser.get(f"/m/points/{shop}").text
    assert "在这家店还没有积分记录" in page
    assert "老王豆浆" not in ann.browser.get("/m/points").text


def test_guests_see_shops_and_no_more(app: Flask, town: Street, shop: int) -> None:
    guest = Browser(app.test_client())
    town.live(shop, name="满百减二十")
    assert "老王豆浆" in guest.get("/m/shops").text
    page = guest.get(f"/m/shops/{shop}").text
    assert "点开领取" in page
    assert guest.get("/m/shops?q=没有的").status_code == 200
    assert guest.get("/m/shops/9000000000000001").status_code == 404
    assert guest.get("/m/shops?community=99").status_code == 404
    assert guest.get("/m/shops?colour=red").status_code == 422
