"""What staff see: notices on the pages, their switches, and codes that are tried out."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import text

from bot.inbox import Inbox
from core.database import Role
from core.runtime import Runtime
from qrcodes import welcomes
from qrcodes.models import WelcomeVariant
from tests.community import Neighbourhood, new_openid, subscribed
from tests.web.conftest import Browser
from tests.web.shops import Shop, open_shop


@pytest.fixture
def tea(app: Flask, runtime: Runtime, new_staff: Callable[..., int]) -> Shop:
    return open_shop(app, Neighbourhood(runtime), new_staff, "茶馆", "tea")


@pytest.fixture
def operator(app: Flask, new_staff: Callable[..., int]) -> Browser:
    new_staff("operator")
    browser = Browser(app.test_client())
    assert browser.sign_in("operator").status_code == 303
    return browser


def submit(shop: Shop, words: str) -> int:
    """A welcome that waits for the operator."""
    with shop.runtime.transaction(Role.MERCHANT, merchant_id=shop.merchant_id) as session:
        welcomes.save(
            session, merchant_id=shop.merchant_id, code_id=None, variant=WelcomeVariant.FIRST, position=0,
            draft=welcomes.Draft(text=words), hosts=frozenset(), now=shop.runtime.now(),
        )  # fmt: skip
        welcome_id: int = session.execute(text("SELECT max(id) FROM welcome")).scalar_one()
        return welcome_id


def refuse(operator: Browser, welcome_id: int, reason: str) -> None:
    operator.get("/operator/approvals")
    path = f"/operator/approvals/{welcome_id}/reject"
    assert operator.post(path, {"was": "pending", "reason": reason}).status_code == 303


def test_a_decision_is_news_until_it_is_read(tea: Shop, operator: Browser) -> None:
    refuse(operator, submit(tea, "来喝茶"), "请写清楚是哪种茶")
    today = tea.owner.get("/merchant/")
    assert "请写清楚是哪种茶" in today.text
    page = tea.owner.get("/merchant/notices")
    assert "未读" in page.text
    assert tea.owner.post("/merchant/notices/read").status_code == 303
    assert "请写清楚是哪种茶" not in tea.owner.get("/merchant/").text
    assert "请写清楚是哪种茶" in tea.owner.get("/merchant/notices").text
    assert "未读" not in tea.owner.get("/merchant/notices").text


def test_a_kind_that_is_switched_off_is_not_told(tea: Shop, operator: Browser) -> None:
    tea.owner.get("/merchant/me/notices")
    kept = {"approved": "true", "expiring": "true", "first_fan": "true"}
    assert tea.owner.post("/merchant/me/notices", kept).status_code == 303
    assert tea.owner.get("/merchant/me/notices").text.count("checked") == 3
    refuse(operator, submit(tea, "来喝茶"), "请写清楚是哪种茶")
    assert "请写清楚是哪种茶" not in tea.owner.get("/merchant/").text


@pytest.mark.parametrize("who", ["owner", "operator"])
def test_a_code_is_tried_out_and_the_scan_is_marked(tea: Shop, operator: Browser, who: str) -> None:
    browser, path = {
        "owner": (tea.owner, f"/merchant/codes/{tea.code.id}"),
        "operator": (operator, f"/operator/codes/{tea.code.id}"),
    }[who]
    browser.get(path)
    assert browser.post(f"{path}/try").location == path
    assert "等您扫" in browser.get(path).text
    at = tea.runtime.now().replace(microsecond=0) + timedelta(seconds=1)
    Inbox(tea.runtime).receive([subscribed(new_openid(), at, tea.code.scene)])
    assert "刚才的试扫记上了" in browser.get(path).text
    (number,) = tea.numbers()
    assert "试扫" in tea.owner.get(f"/merchant/fans/{number}").text
    assert "试扫" in operator.get("/operator/events").text


def test_a_code_that_cannot_be_scanned_is_not_tried(tea: Shop) -> None:
    tea.owner.get(f"/merchant/codes/{tea.code.id}")
    tea.owner.post(f"/merchant/codes/{tea.code.id}/retire")
    assert tea.owner.post(f"/merchant/codes/{tea.code.id}/try").status_code == 409
    assert tea.owner.post("/merchant/codes/999999/try").status_code == 404
