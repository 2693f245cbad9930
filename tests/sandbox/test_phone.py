"""What somebody sees of a mass send on the phone, and where a tap leads."""

import json
import re
from pathlib import Path

from playwright.sync_api import expect

from tests.e2e.conftest import NewWindow, chromium, new_window  # noqa: F401  # they need the browser, not a machine
from tests.e2e.window import DESK, PHONE

from .conftest import Box, Receiver
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


def test_several_phones_stand_side_by_side_and_all_can_be_seen(box: Box, new_window: NewWindow) -> None:  # noqa: F811
    for name in ("安安", "白白", "陈陈", "丁丁"):
        box.person(name=name, following=True)
    page = new_window("phones", DESK).page
    page.goto(box.url)
    for count in (2, 3, 4, 1):
        page.get_by_test_id(f"phones-{count}").click()
        handsets = page.locator(".handset")
        expect(handsets).to_have_count(count)
        boxes = [handset.bounding_box() for handset in handsets.all()]
        stage = page.locator(".stage").bounding_box()
        assert stage is not None
        for one in boxes:
            assert one is not None
            assert one["x"] >= stage["x"] - 1
            assert one["x"] + one["width"] <= stage["x"] + stage["width"] + 1


def test_two_messages_are_typed_in_a_row_and_the_chat_stays_at_its_end(
    box: Box,
    receiver: Receiver,
    new_window: NewWindow,  # noqa: F811
) -> None:
    box.control("/account", {"callback_url": receiver.url, "mode": "plain"})
    receiver.answer = receiver.words("好的。" * 60)
    ann, bai = box.person(name="安安", following=True), box.person(name="白白", following=True)
    page = new_window("phones", DESK).page
    page.goto(f"{box.url}/?people={ann},{bai}")
    phone = page.get_by_test_id(f"phone-{ann}")
    phone.get_by_test_id("say-input").click()
    for number, words in enumerate(("第一句", "第二句", "第三句"), start=1):
        with page.expect_response("**/sandbox/people?*"):
            page.keyboard.type(words)
            page.keyboard.press("Enter")
        expect(phone.locator("[data-testid=message][data-from=account]")).to_have_count(number)
    expect(phone.locator("[data-testid=message][data-from=person]")).to_contain_text(["第一句", "第二句", "第三句"])
    expect(phone.get_by_test_id("say-input")).to_be_focused()
    chat = phone.get_by_test_id("chat")
    assert chat.evaluate("list => list.scrollTop > 0 && list.scrollHeight - list.scrollTop - list.clientHeight < 5")


def test_on_a_small_screen_one_phone_is_in_view_and_tabs_lead_to_the_others(
    box: Box,
    new_window: NewWindow,  # noqa: F811
) -> None:
    ann, bai = box.person(name="安安", following=True), box.person(name="白白", following=True)
    page = new_window("phones", PHONE).page
    page.goto(f"{box.url}/?people={ann},{bai}")
    page.get_by_test_id(f"phone-tab-{bai}").click()
    expect(page.get_by_test_id(f"phone-{bai}")).to_be_visible()
    expect(page.get_by_test_id(f"phone-{ann}")).to_be_hidden()
    page.get_by_test_id(f"phone-tab-{ann}").click()
    expect(page.get_by_test_id(f"phone-{ann}")).to_be_visible()
    assert page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth")


def test_a_script_is_played_on_the_page(
    box: Box,
    receiver: Receiver,
    new_window: NewWindow,  # noqa: F811
    tmp_path: Path,
) -> None:
    box.control("/account", {"callback_url": receiver.url, "mode": "plain"})
    receiver.answer = receiver.words('今晚九点关门，<a href="https://example.com/">看营业时间</a>')
    script = tmp_path / "hours.toml"
    script.write_text(
        'name = "问几点关门"\npeople = [{ name = "安安", following = true }, { name = "白白", following = true }]\n'
        'steps = [{ say = "几点关门", contains = "九点" }, { person = "白白", say = "明天呢", contains = "十点" }]'
    )
    page = new_window("phones", DESK).page
    errors: list[str] = []
    page.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
    page.goto(box.url)
    page.get_by_role("tab", name="剧本").click()
    page.get_by_test_id("script-file").set_input_files(script)
    page.get_by_test_id("play-step").click()
    rows = page.get_by_test_id("play-step-row")
    expect(rows.nth(0)).to_have_attribute("data-state", "passed")
    expect(rows.nth(1)).to_have_attribute("data-state", "waiting")
    expect(page.get_by_test_id("play-state")).to_have_text("1 / 2 · 演到这里")
    expect(rows.nth(0)).to_contain_text("看营业时间")
    expect(rows.nth(0)).not_to_contain_text("href")
    expect(page.locator(".handset")).to_have_count(2)
    page.get_by_test_id("play-all").click()
    expect(rows.nth(1)).to_contain_text("没有说到“十点”")
    expect(page.get_by_test_id("play-state")).to_contain_text("有的不如所料")
    page.get_by_text("或者直接写").click()
    page.get_by_test_id("script-text").fill("steps = [{ shout = '在吗' }]")
    page.get_by_test_id("script-use").click()
    expect(page.get_by_test_id("toast")).to_contain_text("正好有一件事")
    page.get_by_test_id("script-file").set_input_files(script)
    expect(page.get_by_test_id("play-state")).not_to_be_visible()
    assert errors == []


def test_a_day_is_recorded_and_the_clock_and_faults_are_set_on_the_page(
    box: Box,
    receiver: Receiver,
    new_window: NewWindow,  # noqa: F811
) -> None:
    box.control("/account", {"callback_url": receiver.url, "mode": "plain"})
    ann = box.person(name="安安", following=True)
    page = new_window("phones", DESK).page
    page.goto(f"{box.url}/?person={ann}")
    page.get_by_role("tab", name="剧本").click()
    page.get_by_test_id("recording-toggle").click()
    expect(page.get_by_test_id("recording-toggle")).to_have_text("停止记录")
    page.get_by_test_id("say-more").click()
    page.get_by_test_id("human").click()
    expect(page.get_by_test_id("chat")).to_contain_text("人工客服接入了会话")
    page.get_by_test_id("say-more").click()
    page.get_by_test_id("send-voice").click()
    expect(page.get_by_test_id("chat")).to_contain_text("[语音]")
    with page.expect_download() as download:
        page.get_by_test_id("recording-file").click()
    recorded = [json.loads(line) for line in download.value.path().read_text().splitlines()]
    assert [sorted(set(line) - {"at", "person"}) for line in recorded[1:]] == [["human"], ["say"]]
    page.get_by_role("tab", name="时钟").click()
    page.get_by_test_id("clock-minute").click()
    expect(page.get_by_test_id("clock-offset")).to_contain_text("快 1 分")
    page.get_by_test_id("clock-to").fill("2099-05-01T08:30")
    page.get_by_test_id("clock-to-go").click()
    expect(page.get_by_test_id("clock-time")).to_contain_text("08:30")
    page.get_by_role("tab", name="故障").click()
    page.get_by_test_id("fault-drop").click()
    expect(page.locator("[data-part=trouble-words]")).to_have_text("所有推送：事件丢失（还有 1 次）")
    page.get_by_test_id("trouble-clear").click()
    expect(page.locator(".trouble")).to_be_hidden()
    assert box.look("/faults") == {"rules": []}
