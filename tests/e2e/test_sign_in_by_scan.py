"""An operator binds the WeChat on the sandbox's phone, is let in on another desk by it, and on the phone itself."""

from __future__ import annotations

import io
import json
import re

import zxingcpp
from PIL import Image
from playwright.sync_api import expect

from tests.conftest import Live
from tests.e2e.conftest import NewWindow
from tests.e2e.test_story import SOON_MS, Phone, sign_up
from tests.e2e.window import DESK, Window


def code_on(window: Window) -> str:
    """What the code on the screen says."""
    image = window.page.locator("img.scan-code")
    expect(image).to_be_visible(timeout=SOON_MS)
    (found,) = zxingcpp.read_barcodes(Image.open(io.BytesIO(image.screenshot())))
    return str(found.text)


def scan(phone: Phone, text: str) -> None:
    """By somebody who follows already."""
    phone.page.get_by_test_id("scan-open").click()
    phone.page.get_by_test_id("scan-input").fill(text)
    phone.page.get_by_test_id("scan-go").click()


def say(phone: Phone, words: str) -> None:
    phone.page.get_by_test_id("say-input").fill(words)
    phone.page.get_by_test_id("say-send").click()


def test_a_scan_lets_in_who_sends_the_number(live: Live, new_window: NewWindow) -> None:
    office = new_window("office", DESK)
    sign_up(office, json.loads(live.quanma("operator", "invite", "小李", "--json"))["url"], "运营小李")
    phone = Phone(new_window("phone", DESK), live.sandbox.url)
    phone.add("小李")

    office.visit(f"{live.url}/auth/binding")
    office.press("显示二维码")
    phone.scan_and_follow(code_on(office))
    phone.expect_words("核对码")
    number = re.search(r"核对码：(\d\d)", phone.page.get_by_test_id("chat").inner_text())
    assert number is not None
    office.page.locator("#number").fill(number[1], timeout=SOON_MS)
    office.press("绑定")
    expect(office.page.locator(".notice-good").first).to_contain_text("已绑定")

    desk = new_window("desk", DESK)
    desk.visit(f"{live.url}/auth/sign-in")
    desk.press("微信扫码登录")
    scan(phone, code_on(desk))
    phone.expect_words("确认登录")
    shown = desk.page.locator("output.scan-number")
    expect(shown).to_be_visible(timeout=SOON_MS)
    desk.look()
    say(phone, shown.inner_text().strip())
    phone.expect_words("好了")
    desk.page.wait_for_url(f"{live.url}/operator/", timeout=SOON_MS)

    say(phone, "登录")
    phone.page.get_by_test_id("chat").get_by_role("link", name="圈码工作台").last.click(timeout=SOON_MS)
    inside = phone.page.frame_locator("[data-testid=browser] iframe")
    expect(inside.locator("body")).to_contain_text("还没有商户", timeout=SOON_MS)
