"""Owners call whom they need, read what is posted for them, and say where they live if they like."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import text

from bot.inbox import Inbox
from community.directory.writing import Draft, add, add_category
from community.notices import buildings, writing
from community.notices.writing import Place
from core.database import Role
from core.runtime import Runtime
from merchants import merchants, owners
from tests.community import Neighbourhood, subscribed
from tests.web.conftest import Browser
from tests.web.owner.conftest import Phone, counts

HOSTS = frozenset({"127.0.0.1:8000"})


@pytest.fixture
def guest(app: Flask, street: Neighbourhood) -> Browser:
    return Browser(app.test_client())


def listed(street: Neighbourhood, name: str, phone: str, **more: object) -> None:
    with street.runtime.transaction(Role.PLATFORM) as session:
        known = session.execute(text("SELECT id FROM directory_category")).scalar()
        account = {"account_id": street.account_id}
        category_id = known or add_category(session, **account, name="锁匠", aliases="开锁")
        draft = Draft(name, phone, category_id, **more)  # type: ignore[arg-type]
        add(session, **account, draft=draft, now=street.now)


def posted(street: Neighbourhood, title: str, *places: Place, words: str = "请大家留意") -> int:
    with street.runtime.transaction(Role.PLATFORM) as session:
        draft = writing.Draft(title, words, street.now, places=places)
        account = {"account_id": street.account_id}
        made = writing.create(session, **account, draft=draft, operator_id=1, hosts=HOSTS, now=street.now)
        writing.publish(session, **account, notice_id=made, operator_id=1, now=street.now)
        return made


def built(street: Neighbourhood, names: str) -> list[int]:
    with street.runtime.transaction(Role.PLATFORM) as session:
        buildings.add_many(session, account_id=street.account_id, community_id=street.community_id, names=names)
        return [one.id for one in buildings.listed(session, community_id=street.community_id)]


def test_anybody_finds_a_number_by_category_or_by_a_word_and_taps_it(street: Neighbourhood, guest: Browser) -> None:
    assert "电话还在整理" in guest.get("/m/directory").text
    listed(street, "老张", "055165550000-8", what="换锁芯")
    soon = {"paid_from": street.now - timedelta(days=1), "paid_until": street.now + timedelta(days=1)}
    listed(street, "快开锁", "4008208820", **soon)
    front = guest.get("/m/directory").text
    assert "2 个电话" in front
    page = guest.get("/m/directory?q=%E5%BC%80%E9%94%81").text
    assert 'href="tel:055165550000,8"' in page
    assert page.index("快开锁") < page.index("老张")
    assert '<span class="own-paid">推广</span>快开锁' in page
    assert "没有找到" in guest.get("/m/directory?q=%E7%90%86%E5%8F%91").text
    assert guest.get("/m/directory?category=999").status_code == 404
    assert guest.get("/m/directory?community=999").status_code == 404


def test_who_serves_elsewhere_is_listed_elsewhere(street: Neighbourhood, guest: Browser) -> None:
    with street.runtime.transaction(Role.PLATFORM) as session:
        there = merchants.add_community(session, account_id=street.account_id, name="对岸", intro="")
    listed(street, "到处去", "110")
    listed(street, "只到对岸", "119", community_ids=(there,))
    found = guest.get(f"/m/directory?community={there}&q=%E9%94%81").text
    assert "只到对岸" in found
    assert "服务：对岸" in found
    assert "只到对岸" not in guest.get(f"/m/directory?community={street.community_id}&q=%E9%94%81").text


def test_a_notice_is_unread_until_it_is_opened(
    runtime: Runtime, street: Neighbourhood, owner_phone: Callable[[], Phone]
) -> None:
    phone, notice_id = owner_phone(), posted(street, "停水通知", words="见 http://127.0.0.1:8000/m/shops 和 <b>")
    assert "1 条没看" in phone.browser.get("/m/").text
    assert "没看过" in phone.browser.get("/m/notices").text
    page = phone.browser.get(f"/m/notices/{notice_id}").text
    assert '<a href="http://127.0.0.1:8000/m/shops">' in page
    assert "&lt;b&gt;" in page
    assert counts(runtime, "notice_read") == [0]
    assert f'hx-post="/m/notices/{notice_id}/read" hx-trigger="load"' in page
    for _ in range(2):
        assert phone.browser.post(f"/m/notices/{notice_id}/read").status_code == 204
    assert counts(runtime, "notice_read") == [1]
    assert "hx-post" not in phone.browser.get(f"/m/notices/{notice_id}").text.partition("<article")[2][:200]
    assert phone.browser.post("/m/notices/999999/read").status_code == 404
    assert "没看过" not in phone.browser.get("/m/notices").text
    assert "条没看" not in phone.browser.get("/m/").text


def test_guests_and_snapshot_visitors_read_and_are_not_counted(
    runtime: Runtime, app: Flask, street: Neighbourhood, guest: Browser
) -> None:
    notice_id = posted(street, "停水通知")
    with runtime.transaction(Role.PLATFORM) as session:
        token = owners.begin(session, follower_id=None, now=runtime.now())
    snapshot = Browser(app.test_client())
    snapshot.client.set_cookie("owner", token)
    for visitor in (guest, snapshot):
        assert "停水通知" in visitor.get("/m/notices").text
        page = visitor.get(f"/m/notices/{notice_id}").text
        assert "请大家留意" in page
        assert "/read" not in page
        assert visitor.post(f"/m/notices/{notice_id}/read").status_code != 204
    assert counts(runtime, "notice_read") == [0]
    with runtime.transaction(Role.PLATFORM) as session:
        writing.withdraw(session, account_id=street.account_id, notice_id=notice_id, now=street.now)
    assert guest.get(f"/m/notices/{notice_id}").status_code == 404
    assert "现在没有公告" in guest.get("/m/notices").text


def test_an_owner_says_where_they_live_and_sees_that_buildings_notices(
    runtime: Runtime, street: Neighbourhood, owner_phone: Callable[[], Phone]
) -> None:
    one, two = built(street, "1-2号楼")
    here = street.community_id
    posted(street, "一号楼换电梯", Place(here, one))
    phone = owner_phone()
    assert "只用来给您看本小区、本楼的公告" in phone.browser.get("/m/settings").text
    assert "换电梯" not in phone.browser.get("/m/notices").text
    assert phone.browser.post("/m/settings/home", {"home": f"{here}-{one}"}).status_code == 303
    assert "我们的社区 1号楼" in phone.browser.get("/m/settings").text
    assert "换电梯" in phone.browser.get("/m/notices").text
    stored = json.loads(phone.browser.get("/m/privacy/export").text)
    assert [(home["community"], home["building"]) for home in stored["home"]] == [("我们的社区", "1号楼")]
    phone.browser.post("/m/settings/home", {"home": f"{here}-{two}"})
    assert "换电梯" not in phone.browser.get("/m/notices").text
    phone.browser.post("/m/settings/home/forget")
    assert counts(runtime, "owner_home") == [0]


@pytest.mark.parametrize("home", ["999999", "1-999999", "x", ""])
def test_a_place_that_is_none_is_refused(
    runtime: Runtime, street: Neighbourhood, owner_phone: Callable[[], Phone], home: str
) -> None:
    phone = owner_phone()
    phone.browser.get("/m/settings")
    refused = phone.browser.post("/m/settings/home", {"home": home.replace("1-", f"{street.community_id}-")})
    assert refused.status_code == 422
    assert 'id="home-error"' in refused.text
    assert counts(runtime, "owner_home") == [0]


def test_without_a_choice_the_shops_one_goes_to_say_which_community(
    street: Neighbourhood, owner_phone: Callable[[], Phone]
) -> None:
    phone, shop = owner_phone(), street.merchant("茶馆")
    posted(street, "东门修路", Place(street.community_id))
    assert "东门修路" not in phone.browser.get("/m/notices").text
    Inbox(street.runtime).receive([subscribed(phone.openid, street.now, street.code(shop).scene)])
    assert "东门修路" in phone.browser.get("/m/notices").text
