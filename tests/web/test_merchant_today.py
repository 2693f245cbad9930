"""今日: the first steps, the numbers of the day, and a page that keeps itself up to date."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import select

from core.database import Role
from core.runtime import Runtime
from qrcodes.models import SubQrCode
from tests.community import Neighbourhood
from tests.web.conftest import Crew
from tests.web.shops import Shop, open_shop


@pytest.fixture
def shop(app: Flask, runtime: Runtime, new_staff: Callable[..., int]) -> Shop:
    return open_shop(app, Neighbourhood(runtime), new_staff, "老王豆浆", "wang")


def figure(page: str, label: str) -> str:
    found = re.search(rf'stat-label">{label}</span>\s*<span class="stat-value">([^<]+)', page)
    assert found, label
    return found[1]


def test_a_new_shop_is_told_what_to_do_first(crew: Crew) -> None:
    page = crew.owner.get("/merchant/")
    assert page.status_code == 200
    assert "开张第一周" in page.text
    assert 'href="/merchant/codes/new"' in page.text
    clerks = crew.clerk.get("/merchant/").text
    assert "开张第一周" not in clerks
    assert "还没有粉丝" in clerks


def test_steps_are_ticked_off_and_then_gone(shop: Shop) -> None:
    assert shop.owner.get("/merchant/").text.count('class="is-done"') == 1
    shop.welcomes_somebody()
    assert shop.owner.get("/merchant/").text.count('class="is-done"') == 2
    shop.owner.get("/merchant/welcome/first/0")
    assert shop.owner.post("/merchant/welcome/first/0", {"kind": "text", "text": "欢迎"}).status_code == 303
    assert shop.owner.get("/merchant/").text.count('class="is-done"') == 3
    for _ in range(9):
        shop.welcomes_somebody()
    assert "开张第一周" not in shop.owner.get("/merchant/").text


def test_the_numbers_of_the_day_beside_yesterdays(shop: Shop) -> None:
    leaver = shop.welcomes_somebody(ago=timedelta(days=1))
    comer = shop.welcomes_somebody()
    shop.sees_again(comer)
    shop.loses(leaver)
    page = shop.owner.get("/merchant/").text
    labels = ("扫码", "来的人", "新关注", "回来的", "取关", "净增")
    assert [figure(page, label) for label in labels] == ["2", "1", "1", "0", "1", "0"]
    assert "粉丝 2 人，其中 1 人在关注" in page
    assert "收银台" in page
    assert all(f"/merchant/fans/{number}" in page for number in shop.numbers())


def test_the_part_is_sent_again_only_when_it_looks_different(shop: Shop) -> None:
    page = shop.owner.get("/merchant/")
    assert 'hx-get="/merchant/"' in page.text
    etag = page.headers["ETag"]
    ask = {"HX-Request": "true", "If-None-Match": etag}
    assert shop.owner.get("/merchant/", headers=ask).status_code == 304
    shop.welcomes_somebody()
    part = shop.owner.get("/merchant/", headers=ask)
    assert part.status_code == 200
    assert part.headers["ETag"] != etag
    assert figure(part.text, "扫码") == "1"
    assert "<html" not in part.text


def test_a_code_retired_is_still_counted(shop: Shop) -> None:
    shop.welcomes_somebody()
    shop.owner.get(f"/merchant/codes/{shop.code.id}")
    assert shop.owner.post(f"/merchant/codes/{shop.code.id}/retire").status_code == 303
    page = shop.owner.get("/merchant/").text
    assert "收银台" in page
    with shop.runtime.transaction(Role.PLATFORM) as session:
        assert session.scalar(select(SubQrCode.state)) == "retired"
