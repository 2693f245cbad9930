"""The menu's editor in a real browser: keys and buttons and dragging arrange, the phone follows, nothing is lost."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import Page, ViewportSize, expect, sync_playwright
from werkzeug.serving import make_server

from core.runtime import Runtime
from tests.community import Neighbourhood
from tests.conftest import Sandbox
from tests.web.conftest import PASSWORD
from tools.browser import launch
from web.app import create_app

PHONE: ViewportSize = {"width": 390, "height": 844}
DESK: ViewportSize = {"width": 1440, "height": 900}
FITS = "() => document.documentElement.scrollWidth <= window.innerWidth"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    with sync_playwright() as playwright:
        browser = launch(playwright, os.environ.get("CHROMIUM", "/usr/bin/chromium"))
        yield browser
        browser.close()


@pytest.fixture
def page(runtime: Runtime, sandbox: Sandbox, new_staff: Callable[..., int], chromium: Chromium) -> Iterator[Page]:
    """The editor as an operator sees it; nothing may have been wrong with the page."""
    Neighbourhood(runtime).merchant("老王豆浆")
    new_staff("operator")
    sandbox.post("/sandbox/reset")
    server = make_server("127.0.0.1", 0, create_app(runtime), threaded=True)
    address = f"http://127.0.0.1:{server.server_port}"
    hosts = {f"wechat_{host}_url": sandbox.url for host in ("api", "mp", "open")}
    settings = runtime.settings.model_copy(update=hosts | {"public_url": address})
    server.app = create_app(dataclasses.replace(runtime, settings=settings))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    context = chromium.new_context(locale="zh-CN", viewport=DESK)
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda told: complaints.append(told.text) if told.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(f"{address}/auth/sign-in")
    page.fill("[name=login]", "operator")
    page.fill("[name=password]", PASSWORD)
    page.locator("form:has([name=password]) button").first.click()
    page.wait_for_url("**/operator/**")
    page.goto(f"{address}/operator/menu")
    yield page
    context.close()
    server.shutdown()
    thread.join()
    assert complaints == []


def keep_picture(page: Page, name: str) -> None:
    if folder := os.environ.get("QUANMA_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def choice(page: Page, place: str) -> Any:
    return page.locator(f'[data-place="{place}"]')


def names(page: Page) -> list[str]:
    """The list from top to bottom."""
    return page.locator("[data-place] strong").all_inner_texts()


def write(page: Page, name: str, does: str, **fields: str) -> None:
    """Fill in the button that has just been added."""
    page.fill("#menu-name", name)
    page.select_option("#menu-does", does)
    for field, value in fields.items():
        page.fill(f"#menu-{field}", value)


def test_a_menu_is_made_arranged_and_published(page: Page, sandbox: Sandbox) -> None:
    page.get_by_role("button", name="加一个底部按钮").click()
    write(page, "优惠券", "words", words="优惠券")
    page.get_by_role("button", name="加一个底部按钮").click()
    page.fill("#menu-name", "找店")
    page.get_by_role("button", name="加一个上面的按钮 “找店”").click()
    write(page, "老王豆浆", "merchant", merchant="1 老王豆浆")
    page.get_by_role("button", name="加一个上面的按钮 “找店”").click()
    write(page, "所有商家", "page", url="ftp://example.com")
    expect(page.locator("[data-faults]")).to_contain_text("按钮 2-2“所有商家”：网址不对")
    expect(page.locator('[data-fault="url"]')).to_contain_text("网址不对")
    page.fill("#menu-url", "https://example.com/shops")
    expect(page.locator("[data-faults]")).to_contain_text("没有问题，可以发布")
    expect(page.locator("[data-dirty]")).to_be_visible()
    assert names(page) == ["优惠券", "找店", "老王豆浆", "所有商家"]

    choice(page, "1-1").focus()
    page.keyboard.press("Alt+ArrowUp")
    assert names(page) == ["优惠券", "找店", "所有商家", "老王豆浆"]
    expect(choice(page, "1-0")).to_be_focused()
    expect(page.locator("[data-told]")).to_have_text("“所有商家”移到了第 1 个")
    page.keyboard.press("Alt+ArrowUp")
    assert names(page) == ["优惠券", "找店", "所有商家", "老王豆浆"]
    page.get_by_role("button", name="上移 “找店”").click()
    assert names(page) == ["找店", "所有商家", "老王豆浆", "优惠券"]
    choice(page, "1").drag_to(choice(page, "0"))
    assert names(page) == ["优惠券", "找店", "所有商家", "老王豆浆"]
    choice(page, "1-1").drag_to(choice(page, "1-0"))
    assert names(page) == ["优惠券", "找店", "老王豆浆", "所有商家"]

    phone = page.locator(".handset")
    expect(phone.locator("[data-bar] button")).to_have_text(["优惠券", "找店"])
    expect(phone.locator("[data-above] button")).to_have_text(["老王豆浆", "所有商家"])
    for size, name in ((PHONE, "menu-390"), (DESK, "menu-1440")):
        page.set_viewport_size(size)
        page.wait_for_function(FITS)
        keep_picture(page, name)

    page.get_by_role("button", name="发布到公众号").click()
    page.locator("dialog").get_by_role("button", name="发布", exact=True).click()
    page.wait_for_load_state()
    expect(page.locator(".toasts")).to_contain_text("已发布，并已读回核对")
    keep_picture(page, "menu-published-1440")
    assert sandbox.get("/sandbox/menu")["button"] == [
        {"name": "优惠券", "type": "click", "key": "words:优惠券"},
        {
            "name": "找店",
            "sub_button": [
                {"name": "老王豆浆", "type": "click", "key": "merchant:1"},
                {"name": "所有商家", "type": "view", "url": "https://example.com/shops"},
            ],
        },
    ]


def test_changes_that_were_not_saved_are_asked_about(page: Page) -> None:
    page.get_by_role("button", name="加一个底部按钮").click()
    write(page, "优惠券优惠券", "words", words="优惠券")
    expect(page.locator(".menu-count").first).to_have_text("18 / 16 字节")
    page.get_by_role("button", name="发布到公众号").click()
    expect(page.locator("[data-told]")).to_contain_text("名字太长")
    expect(page.locator("dialog")).to_have_count(0)
    asked: list[str] = []

    def stay(dialog: Any) -> None:
        asked.append(dialog.type)
        dialog.dismiss()

    page.once("dialog", stay)
    page.get_by_role("link", name="最新事件").click(no_wait_after=True)
    page.wait_for_timeout(300)
    assert asked == ["beforeunload"]
    expect(page.locator("#menu-name")).to_have_value("优惠券优惠券")
    page.get_by_role("button", name="保存草稿").click()
    expect(page.locator(".toasts")).to_contain_text("草稿已保存")
    expect(page.locator("[data-dirty]")).to_be_hidden()
    page.get_by_role("link", name="最新事件").click()
    page.wait_for_url("**/operator/events")


def test_removing_the_last_button_above_gives_the_lower_one_its_action_back(page: Page) -> None:
    page.get_by_role("button", name="加一个底部按钮").click()
    write(page, "优惠", "words", words="优惠券")
    page.get_by_role("button", name="加一个上面的按钮 “优惠”").click()
    expect(page.locator("[data-told]")).to_contain_text("它自己的动作已经去掉")
    page.get_by_role("button", name="删除 “（没有名字）”").click()
    expect(page.locator("#menu-does")).to_have_value("")
    expect(page.locator("[data-faults]")).to_contain_text("按钮 1“优惠”：还没有选点了以后做什么")
    page.get_by_role("button", name="删除 “优惠”").click()
    expect(page.locator("[data-faults]")).to_contain_text("菜单里还没有按钮")
    expect(page.get_by_role("button", name="加一个底部按钮")).to_be_focused()
