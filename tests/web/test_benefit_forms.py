"""Coupons where messages are written and fans are looked for: what can be chosen, what is shown, and what is kept."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import select, text

from core.database import Role
from core.runtime import Runtime
from qrcodes.models import Welcome
from tests import couponing
from tests.community import Neighbourhood
from tests.web.shops import Shop, open_shop


@pytest.fixture
def shop(app: Flask, runtime: Runtime, new_staff: Callable[..., int]) -> Shop:
    opened = open_shop(app, Neighbourhood(runtime), new_staff, "老王豆浆", "wang")
    for days in (1, 3):
        opened.welcomes_somebody(ago=timedelta(days=days))
    return opened


def test_a_broadcast_is_written_with_a_coupon(shop: Shop) -> None:
    number = couponing.live_template(shop.runtime, shop.merchant_id, "豆浆券")
    couponing.live_template(shop.runtime, shop.merchant_id, "停的券", state="paused")
    shop.owner.get("/merchant/broadcasts")
    edit = shop.owner.post("/merchant/broadcasts", {}).location
    form = shop.owner.get(edit).text
    chosen = re.search(r'<select[^>]*name="template".*?</select>', form, re.DOTALL)
    assert chosen
    assert ("豆浆券" in chosen[0], "停的券" in chosen[0]) == (True, False)
    answer = shop.owner.post(edit, {"kind": "text", "text": "豆浆刚磨好", "template": str(number)})
    assert answer.status_code == 303, answer.text
    page = shop.owner.get(answer.location).text
    assert "领取“豆浆券”" in page
    assert f'<option value="{number}" selected>豆浆券' in shop.owner.get(edit).text
    shop.owner.post(edit, {"kind": "text", "text": "谢谢关注", "template": str(number)})
    assert "不提关注" in shop.owner.get(answer.location).text
    refusal = shop.owner.post(edit, {"kind": "text", "text": "豆浆", "template": "999999"})
    assert refusal.status_code == 404


def test_a_welcome_is_written_with_a_coupon(shop: Shop) -> None:
    number = couponing.live_template(shop.runtime, shop.merchant_id, "豆浆券")
    path = "/merchant/welcome/first/0"
    assert 'name="template"' in shop.owner.get(path).text
    answer = shop.owner.post(path, {"kind": "text", "text": "谢谢关注", "template": str(number)})
    assert answer.status_code == 422
    answer = shop.owner.post(path, {"kind": "text", "text": "豆浆刚磨好", "template": str(number)})
    assert answer.status_code == 303, answer.text
    with shop.runtime.transaction(Role.PLATFORM) as session:
        assert session.scalars(select(Welcome.template_id)).one() == number
    assert "领取“豆浆券”" in shop.owner.get("/merchant/welcome").text
    assert f'<option value="{number}" selected>豆浆券' in shop.owner.get(path).text
    assert 'name="template"' not in shop.owner.get("/merchant/welcome/first/1").text


@pytest.mark.plants_violation  # a coupon that the grant call did not write
def test_fans_are_found_by_coupons_and_points(shop: Shop) -> None:
    assert 'name="coupon"' not in shop.owner.get("/merchant/fans").text
    number = couponing.live_template(shop.runtime, shop.merchant_id, "豆浆券")
    with shop.runtime.transaction(Role.PLATFORM) as session:
        first, second = session.execute(text("SELECT follower_id FROM fan ORDER BY follower_id")).scalars()
        session.execute(
            text("INSERT INTO member_level (merchant_id, level, name, from_points) VALUES (:id, 1, '常客', 10)"),
            {"id": shop.merchant_id},
        )
    couponing.hold(shop.runtime, number, first)
    couponing.redeem(shop.runtime, couponing.hold(shop.runtime, number, second))
    page = shop.owner.get("/merchant/fans").text
    assert all(words in page for words in ("手里有券", "还没用过", "常客", "1000 分"))
    for query, count in (
        ("coupon=any", 1), (f"coupon={number}", 1), ("coupon=999999", 0), ("redeemed=7", 1), ("redeemed=never", 1),
        ("points=100", 0), ("level=1", 0), (f"coupon={number}&redeemed=never", 1),
    ):  # fmt: skip
        answer = shop.owner.get(f"/merchant/fans?{query}")
        assert answer.status_code == 200, query
        assert f"符合条件的 {count} 人" in answer.text, query
        counted = shop.owner.get(f"/merchant/broadcasts/audience?audience=conditions&{query}")
        assert counted.status_code == (404 if "999999" in query else 200), query
        assert counted.status_code == 404 or f"现在是 {count} 人" in counted.text, query
    for odd in ("coupon=x", "coupon=-1", "redeemed=8", "points=1", "level=0"):
        assert shop.owner.get(f"/merchant/fans?{odd}").status_code == 422, odd
    shop.owner.post("/merchant/fans/groups", {"name": "有券", "coupon": str(number), "redeemed": "never"})
    assert "有券" in shop.owner.get("/merchant/fans").text
    foreign = shop.owner.post("/merchant/fans/groups", {"name": "别家", "coupon": "999999"})
    assert foreign.status_code == 404
