"""合集: the operator gathers items, sees who gets and who loses what, and agrees to content, reach and cost at once."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import text

from campaigns.broadcasts import digest
from campaigns.broadcasts.models import BroadcastState
from core.clock import SHANGHAI
from core.database import Role
from core.runtime import Runtime
from merchants.models import StaffRole
from tests.campaigns.digests import Street
from tests.web.conftest import Browser

LIST = "/operator/digests"


@pytest.fixture
def street(runtime: Runtime) -> Street:
    return Street(runtime)


@pytest.fixture
def operator(app: Flask, street: Street, new_staff: Callable[..., int]) -> Browser:
    new_staff("operator")
    browser = Browser(app.test_client())
    assert browser.sign_in("operator").status_code == 303
    return browser


@pytest.fixture
def owner(app: Flask, street: Street, new_staff: Callable[..., int]) -> Browser:
    new_staff("owner", StaffRole.OWNER, street.merchant("A"))
    browser = Browser(app.test_client())
    assert browser.sign_in("owner").status_code == 303
    return browser


def begin(operator: Browser) -> str:
    operator.get(LIST)
    answer = operator.post(LIST, {"name": "周末好味"})
    assert answer.status_code == 303, answer.text
    return str(answer.location)


def consent(operator: Browser, path: str, **fields: str) -> dict[str, str]:
    shown = operator.get(f"{path}/reach").text
    seen = re.search(r'name="seen" value="(\w+)"', shown)
    assert seen, shown
    return {"seen": seen[1], "when": "now", "at": ""} | fields


def plain(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def test_an_empty_room_says_what_to_do(operator: Browser) -> None:
    page = operator.get(LIST).text
    assert "没有等着的内容" in page
    assert "还没有合集" in page
    path = begin(operator)
    page = operator.get(path).text
    assert "还是空的" in page
    assert "没有别的了" in page
    assert operator.get(f"{path}/reach").status_code == 200
    assert operator.post(LIST, {"name": ""}).status_code == 422
    assert operator.post(LIST, {"name": "合" * 31}).status_code == 422
    assert operator.get(f"{LIST}/999").status_code == 404


def test_from_picking_to_confirming(runtime: Runtime, street: Street, operator: Browser) -> None:
    street.fans(A=2, AB=3, BC=1)
    a, b = street.item("A", colour="#07c160"), street.item("B", colour="#d63939")
    path = begin(operator)
    assert "A有新茶" in operator.get(path).text
    for item in (a, b):
        assert operator.post(f"{path}/items", {"item": str(item)}).status_code == 303
    assert operator.post(f"{path}/items", {"item": str(a)}).status_code == 409
    page = operator.get(path).text
    assert page.index("A有新茶") < page.index("B有新茶")
    assert f'hx-get="{path}/reach"' in page
    operator.post(f"{path}/items/{b}/move", {"by": "up"})
    page = operator.get(path).text
    assert page.index("B有新茶") < page.index("A有新茶")
    shown = plain(operator.get(f"{path}/reach").text)
    assert "能收到 5" in shown
    assert "群发调用 2" in shown
    assert "整条都收不到的人：没有一组里全是他的店 1" in shown
    assert "3 人 店B、店A" in shown
    answer = operator.post(f"{path}/approve", consent(operator, path))
    assert answer.status_code == 303, answer.text
    assert "已确认，会发给 5 人" in operator.get(path).text
    assert "马上开始发" in operator.get(f"{path}/reach").text
    assert operator.post(f"{path}/items/{a}/remove").status_code == 409
    with runtime.transaction(Role.PLATFORM) as session:
        _action, detail = session.execute(
            text("SELECT action, detail FROM audit_log WHERE action = 'digest.approve'")
        ).one()
    assert (detail["reached"], detail["calls"], detail["items"]) == (5, 2, [b, a])
    assert "已通过，等着发" in operator.get(LIST).text


def test_what_was_not_seen_is_not_agreed_to(street: Street, operator: Browser) -> None:
    street.fans(AB=2)
    a, b = street.item("A"), street.item("B")
    path = begin(operator)
    operator.post(f"{path}/items", {"item": str(a)})
    stale = consent(operator, path)
    operator.post(f"{path}/items", {"item": str(b)})
    assert operator.post(f"{path}/approve", stale).status_code == 409
    late = (street.runtime.now() - timedelta(hours=1)).astimezone(SHANGHAI)
    answer = operator.post(f"{path}/approve", consent(operator, path, when="at", at=f"{late:%Y-%m-%dT%H:%M}"))
    assert answer.status_code == 422
    assert "这个时间已经过了" in answer.text
    assert operator.post(f"{path}/approve", consent(operator, path, when="at", at="x")).status_code == 422
    street.step(b, BroadcastState.DRAFT)
    assert "商户撤回了" in operator.get(path).text
    assert "先把它移出去" in operator.get(f"{path}/reach").text
    assert operator.post(f"{path}/items/{b}/remove").status_code == 303
    soon = (street.runtime.now() + timedelta(days=1)).astimezone(SHANGHAI)
    sent = consent(operator, path, when="at", at=f"{soon:%Y-%m-%dT%H:%M}")
    assert operator.post(f"{path}/approve", sent).status_code == 303
    assert "已确认，定在" in operator.get(f"{path}/reach").text


def test_giving_up_frees_the_items_and_a_missed_time_is_asked_about(street: Street, operator: Browser) -> None:
    street.fans(A=2)
    a = street.item("A")
    path = begin(operator)
    operator.post(f"{path}/items", {"item": str(a)})
    operator.post(f"{path}/approve", consent(operator, path))
    street.step(int(path.rpartition("/")[2]), BroadcastState.LATE)
    assert "时间过了还没发" in operator.get(f"{path}/reach").text
    assert operator.post(f"{path}/still-wanted", {"when": "at", "at": "2001-01-01T08:00"}).status_code == 422
    assert operator.post(f"{path}/still-wanted", {"when": "now", "at": ""}).status_code == 303
    assert operator.post(f"{path}/cancel").status_code == 303
    page = operator.get(LIST).text
    assert "已取消" in page
    assert "A有新茶" in page
    assert operator.post(f"{path}/cancel").status_code == 409


def test_what_was_frozen_is_shown_and_the_merchant_sees_its_own(
    street: Street, operator: Browser, owner: Browser
) -> None:
    street.fans(A=2, AB=3)
    a, b = street.item("A"), street.item("B")
    mine = f"/merchant/broadcasts/{a}/report"
    assert "等运营把它放进一个合集" in owner.get(mine).text
    digest_id = street.gather([a, b])
    street.approve(digest_id)
    assert "会和邻居的内容一起发给您的粉丝" in owner.get(mine).text
    street.freeze(digest_id)
    street.step(digest_id, BroadcastState.RUNNING)
    assert "5 位您的粉丝会收到这一条" in owner.get(mine).text
    shown = plain(operator.get(f"{LIST}/{digest_id}/reach").text)
    assert "发给 5" in shown
    assert "分成 2 组" in shown
    assert "看进度" in operator.get(f"{LIST}/{digest_id}").text
    street.do("UPDATE broadcast_recipient SET state = 'sent'")
    street.step(digest_id, BroadcastState.FINISHED)
    street.do("UPDATE broadcast SET finished_at = app_now() WHERE id = :id", id=digest_id)
    with street.runtime.transaction(Role.PLATFORM) as session:
        digest.settle(session)
    page = owner.get(mine).text
    assert "合集已发：您的 5 位粉丝，已被微信接收。" in page
    assert "店B" not in page
    assert owner.get(f"/merchant/broadcasts/{b}/report").status_code == 404
