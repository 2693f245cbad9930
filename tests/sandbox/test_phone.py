"""What somebody sees of a mass send on the phone, and where a tap leads."""

import re

from playwright.sync_api import expect

from tests.e2e.conftest import NewWindow, chromium, new_window  # noqa: F401  # they need the browser, not a machine
from tests.e2e.window import DESK

from .conftest import Box
from .test_mass import article, cover, draft, followers, mpnews, send, text


def test_words_pictures_and_articles_can_be_tapped(box: Box, new_window: NewWindow) -> None:  # noqa: F811
    people = [box.person(name=name, following=True) for name in "安白"]
    elsewhere = f"{box.url}/sandbox/account"
    send(box, people, text(f'新茶到了 <a href="{elsewhere}?a">看茶</a> 或 {elsewhere}?b'))
    send(box, people, {"msgtype": "image", "images": {"media_ids": [cover(box)]}})
    inside = f'<p>尝鲜价 <a href="{elsewhere}?c" target="_blank">去店里</a></p>'
    send(box, people, mpnews(draft(box, article(box, digest="尝鲜", content=inside))))
    page = new_window("phone", DESK).page
    page.goto(f"{box.url}/?person={people[0]}")
    phone = page.get_by_test_id(f"phone-{people[0]}")
    browser = page.get_by_test_id("browser")
    for words, address in (("看茶", "?a"), (f"{elsewhere}?b", "?b")):
        phone.get_by_role("link", name=words, exact=True).click()
        expect(browser).to_have_attribute("data-url", f"{elsewhere}{address}")
        page.get_by_test_id("browser-close").click()
        expect(browser).to_have_count(0)
    expect(phone.get_by_role("img", name="图片")).to_have_js_property("naturalWidth", 8)
    card = phone.get_by_test_id("news")
    expect(card).to_contain_text("春茶")
    expect(card).to_contain_text("尝鲜")
    expect(card.locator("img")).to_have_js_property("naturalWidth", 8)
    card.click()
    frame = page.frame_locator("[data-testid=browser] iframe")
    expect(frame.get_by_role("heading", name="春茶")).to_be_visible()
    frame.get_by_role("link", name="去店里").click()
    expect(frame.locator("body")).to_contain_text(re.compile("callback_url"))
    assert len(page.context.pages) == 1


def test_an_operator_sends_by_hand(box: Box, new_window: NewWindow) -> None:  # noqa: F811
    ann = followers(box, 1)[0]
    page = new_window("phone", DESK).page
    page.goto(f"{box.url}/?person={ann}")
    page.get_by_role("tab", name="故障").click()
    page.get_by_test_id("by-hand-text").fill("店庆开始了")
    page.get_by_test_id("by-hand-send").click()
    expect(page.get_by_test_id("toast")).to_have_text("群发出去了")
    assert box.said(ann) == ["店庆开始了"]
