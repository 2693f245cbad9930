"""Owners' pages on the sandbox's phone: opened from the chat, let in silently within the phone's own browser, a coupon
taken, shown at the till's distance, and everything deleted (FA-4)."""

from __future__ import annotations

import io
import re

import zxingcpp
from PIL import Image
from playwright.sync_api import FrameLocator, Locator, expect

from campaigns.coupons import redeeming
from core.database import Role
from qrcodes import codes
from qrcodes.models import SubQrCode
from tests.conftest import Live, wait_until
from tests.couponing import Street
from tests.e2e.conftest import NewWindow
from tests.e2e.test_sign_in_by_scan import say
from tests.e2e.test_story import SOON_MS, Phone
from tests.e2e.window import DESK
from tests.web.owner.conftest import counts


def inside(phone: Phone) -> FrameLocator:
    """What the phone's browser shows."""
    return phone.page.frame_locator("[data-testid=browser] iframe")


def open_card(phone: Phone) -> FrameLocator:
    """By the word in the chat and the link that answers it."""
    say(phone, "会员卡")
    phone.page.get_by_test_id("chat").get_by_role("link", name=re.compile("会员卡")).last.click(timeout=SOON_MS)
    return inside(phone)


def code_in(image: Locator) -> str:
    expect(image).to_be_visible(timeout=SOON_MS)
    (found,) = zxingcpp.read_barcodes(Image.open(io.BytesIO(image.screenshot())))
    return str(found.text)


def new_code(live: Live, merchant_id: int) -> str:
    """A code that the platform has made; returns what it says."""
    with live.runtime.transaction(Role.PLATFORM) as session:
        code_id = codes.add(
            session, merchant_id=merchant_id, wanted=codes.Wanted(label="前台"), now=live.runtime.now()
        ).id

    def url() -> str:
        with live.runtime.transaction(Role.PLATFORM) as session:
            return session.get_one(SubQrCode, code_id, populate_existing=True).url or ""

    wait_until(lambda: bool(url()), what="the code")
    return url()


def test_from_the_chat_to_the_till_and_away(live: Live, new_window: NewWindow) -> None:
    town = Street.open(live.runtime)
    shop = town.shop("老王豆浆")
    town.live(shop, name="满百减二十")
    phone = Phone(new_window("phone", DESK), live.sandbox.url)
    phone.add("小安")
    code = new_code(live, shop)
    phone.scan_and_follow(code)
    page = open_card(phone)
    expect(page.get_by_role("heading", level=1)).to_have_text("我的会员卡", timeout=SOON_MS)
    page.get_by_role("link", name="店铺").click()
    page.get_by_role("link", name="老王豆浆").click()
    page.get_by_role("link", name="满百减二十").click()
    page.get_by_role("button", name="免费领取").click()
    expect(page.locator("body")).to_contain_text("这张券是您的了", timeout=SOON_MS)
    shown = code_in(page.locator("#code img"))
    with live.runtime.transaction(Role.MERCHANT, merchant_id=shop) as session:
        card = redeeming.look_up(
            session, live.runtime, merchant_id=shop, staff_id=1, shown=shown, now=live.runtime.now()
        )
    assert [one.name for one in card.coupons] == ["满百减二十"]

    # Another phone is another person, though both share a browser here.
    phone.page.get_by_test_id("browser-close").click()
    phone.add("小白")
    phone.scan_and_follow(code)
    page = open_card(phone)
    page.get_by_role("link", name="优惠券", exact=True).click()
    expect(page.locator("body")).to_contain_text("这里还没有券", timeout=SOON_MS)
    page.get_by_role("link", name="我的", exact=True).click()
    page.get_by_role("link", name=re.compile("隐私")).click()
    page.get_by_label(re.compile("想好了")).fill("删除")
    page.get_by_role("button", name="删除我的全部信息").click()
    expect(page.locator("body")).to_contain_text("已经删除", timeout=SOON_MS)
    wait_until(lambda: counts(live.runtime, "erasure_log") == [1], what="the erasure")
    assert counts(live.runtime, "owner_session") == [1]
