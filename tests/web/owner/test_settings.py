"""What owners set: a birthday, whose news they want, and where they are signed in."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import text

from bot.inbox import Inbox
from core.database import Role
from core.runtime import Runtime
from tests.community import Neighbourhood, subscribed, wrote
from tests.web.owner.conftest import Phone


def rows(runtime: Runtime, query: str) -> list[tuple[object, ...]]:
    with runtime.transaction(Role.PLATFORM) as session:
        return [tuple(row) for row in session.execute(text(query))]


def test_a_birthday_is_told_and_taken_back(runtime: Runtime, owner_phone: Callable[[], Phone]) -> None:
    phone = owner_phone()
    assert "可以不填" in phone.browser.get("/m/settings").text
    phone.browser.post("/m/settings/birthday", {"month": "2", "day": "29"})
    assert "2 月 29 日" in phone.browser.get("/m/settings").text
    assert rows(runtime, "SELECT birth_month, birth_day, consented_at IS NOT NULL FROM owner_profile") == [
        (2, 29, True)
    ]
    phone.browser.post("/m/settings/birthday/forget")
    assert rows(runtime, "SELECT * FROM owner_profile") == []


@pytest.mark.parametrize(
    "fields",
    [{"month": "2", "day": "31"}, {"month": "4", "day": "31"}, {"month": "13", "day": "1"}, {"month": "0", "day": "1"},
     {"month": "1"}, {"month": "1", "day": "1", "follower_id": "7"}, {"month": "x", "day": "1"}],
)  # fmt: skip
def test_a_day_that_is_none_is_refused(
    runtime: Runtime, owner_phone: Callable[[], Phone], fields: dict[str, str]
) -> None:
    phone = owner_phone()
    phone.browser.get("/m/settings")
    refused = phone.browser.post("/m/settings/birthday", fields)
    assert refused.status_code == 422
    assert 'role="alert"' in refused.text
    assert rows(runtime, "SELECT * FROM owner_profile") == []


def test_leaving_a_shops_news_here_and_in_the_chat_is_the_same(
    runtime: Runtime, street: Neighbourhood, owner_phone: Callable[[], Phone]
) -> None:
    phone, inbox = owner_phone(), Inbox(runtime)
    shop = street.merchant("老王豆浆")
    inbox.receive([subscribed(phone.openid, street.now - timedelta(hours=1), street.code(shop).scene)])
    assert "老王豆浆" in phone.browser.get("/m/settings").text
    assert phone.browser.post(f"/m/settings/shops/{shop}/mute").status_code == 303
    (answer,) = inbox.receive([wrote(phone.openid, street.now, "退订 老王豆浆")])
    assert "已经退订了" in (answer or "")
    inbox.receive([wrote(phone.openid, street.now + timedelta(seconds=1), "恢复 老王豆浆")])
    assert "会收到优惠消息" in phone.browser.get("/m/settings").text
    phone.browser.post(f"/m/settings/shops/{shop}/mute")
    phone.browser.post(f"/m/settings/shops/{shop}/hear")
    assert rows(runtime, "SELECT muted_at FROM fan") == [(None,)]


def test_leaving_everybodys_news_and_coming_back(
    runtime: Runtime, street: Neighbourhood, owner_phone: Callable[[], Phone]
) -> None:
    phone, inbox = owner_phone(), Inbox(runtime)
    inbox.receive([subscribed(phone.openid, street.now, street.code(street.merchant("老王豆浆")).scene)])
    phone.browser.get("/m/settings")
    for _ in range(2):
        assert phone.browser.post("/m/settings/news/mute").status_code == 303
    assert len(rows(runtime, "SELECT * FROM opt_out")) == 1
    assert "哪家店的优惠消息都不发给您" in phone.browser.get("/m/settings").text
    phone.browser.post("/m/settings/news/hear")
    assert rows(runtime, "SELECT * FROM opt_out") == []


def test_nobody_mutes_a_shop_for_somebody_else(
    runtime: Runtime, street: Neighbourhood, owner_phone: Callable[[], Phone]
) -> None:
    """A shop whose fan one is not is as missing as one that never was."""
    phone, other, shop = owner_phone(), owner_phone(), street.merchant("老王豆浆")
    Inbox(runtime).receive([subscribed(other.openid, street.now, street.code(shop).scene)])
    phone.browser.get("/m/settings")
    for merchant_id in (shop, 9_000_000_000_000_001):
        assert phone.browser.post(f"/m/settings/shops/{merchant_id}/mute").status_code == 404
    assert rows(runtime, "SELECT muted_at FROM fan") == [(None,)]


def test_signing_out_here_leaves_the_others_and_everywhere_does_not(owner_phone: Callable[..., Phone]) -> None:
    one = owner_phone()
    second, third = owner_phone(one.openid), owner_phone(one.openid)
    one.browser.get("/m/settings")
    assert "已退出" in one.browser.post("/m/settings/sign-out").text
    assert [phone.browser.get("/m/settings").status_code for phone in (one, second, third)] == [302, 200, 200]
    assert second.browser.post("/m/settings/sign-out-everywhere").status_code == 200
    assert [phone.browser.get("/m/settings").status_code for phone in (second, third)] == [302, 302]
