"""Broadcasts in browsers: written on a phone, agreed to at a desk, and read by whoever the sandbox says has them.

Every story has a shop and fans of its own; they share one machine, its operator and its clock.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import expect

from core.clock import SHANGHAI
from tests.conftest import wait_until
from tests.e2e.conftest import NewWindow
from tests.e2e.machine import READY_S, Machine
from tests.e2e.test_story import Phone, save_picture, sign_up
from tests.e2e.window import DESK, PHONE, Window

SENT_MS = 45_000
EARLIER = timedelta(minutes=25)
"""Enough for the other stories, and too little for a session to end when the clock is moved over it."""
MASS_SEND = "/cgi-bin/message/mass/send"


class Town:
    """A machine with an operator, `EARLIER` than a month ends, and no quiet hours at that time of night."""

    def __init__(self, machine: Machine, chromium: Chromium) -> None:
        self.machine = machine
        now = datetime.fromisoformat(machine.quanma("clock", "show")["now"]).astimezone(SHANGHAI)
        self.advance(next_month(next_month(now)) - EARLIER - now)
        self.operator = Window(chromium, "operator", DESK)
        sign_up(self.operator, machine.quanma("operator", "invite", "小李")["url"], "运营小李")
        self.set_policy(quiet_from="03:00", quiet_until="03:01", week_most="4")

    def advance(self, by: timedelta) -> None:
        self.machine.quanma("clock", "advance", f"{round(by.total_seconds())}s")

    def now(self) -> datetime:
        return datetime.fromisoformat(self.sandbox("GET", "account")["now"]).astimezone(SHANGHAI)

    def set_policy(self, **fields: str) -> None:
        self.operator.visit(f"{self.machine.url}/operator/quota/policy")
        self.operator.fill(**fields)
        self.operator.press("保存")
        expect(self.operator.page).to_have_url(re.compile("/operator/quota$"))

    def sandbox(self, method: str, path: str, **wish: Any) -> Any:
        """What the sandbox's control API answers."""
        address = f"{self.machine.sandbox_url}/sandbox/{path}"
        answer = requests.request(method, address, json=wish if method != "GET" else None, timeout=30)
        assert answer.ok, f"{path}: {answer.text}"
        return answer.json()

    def mass_sends(self, words: str) -> list[dict[str, Any]]:
        """Every mass send that said this, as the platform's diary has it."""
        log = requests.get(f"{self.machine.sandbox_url}/sandbox/log", timeout=30).text
        lines = [json.loads(line) for line in log.splitlines() if '"mass"' in line]
        return [line for line in lines if line["kind"] == "mass" and words in json.dumps(line, ensure_ascii=False)]

    def fan(self, name: str) -> Fan:
        """Somebody who has not met the account yet."""
        return Fan(self, self.sandbox("POST", "people", name=name)["openid"], name)

    def promises_hold(self) -> None:
        assert {check["name"]: check["rows"] for check in self.machine.quanma("check")["checks"] if check["rows"]} == {}


class Fan:
    """Somebody with a phone."""

    def __init__(self, town: Town, openid: str, name: str) -> None:
        self.town = town
        self.openid = openid
        self.name = name

    def scan(self, url: str) -> None:
        self.town.sandbox("POST", f"people/{self.openid}/scan", url=url)

    def say(self, words: str) -> None:
        self.town.sandbox("POST", f"people/{self.openid}/say", text=words)

    def read(self) -> list[str]:
        """What the account ever said to them."""
        messages = self.town.sandbox("GET", f"people/{self.openid}/chat")["messages"]
        return [json.dumps(one, ensure_ascii=False) for one in messages if one["from"] == "account"]

    def times(self, words: str) -> int:
        """How many of these messages say this."""
        return sum(words in one for one in self.read())


class Shop:
    """A shop with a code, its owner at a phone, and fans who scanned it."""

    def __init__(self, town: Town, new_window: NewWindow, name: str, *, fans: int) -> None:
        self.town = town
        self.name = name
        machine = town.machine
        self.id = machine.quanma("merchant", "add", name)["id"]
        self.code = machine.quanma("code", "add", self.id, "--label", "收银台")["url"]
        self.owner = new_window(f"owner of {name}", PHONE)
        sign_up(self.owner, machine.quanma("merchant", "invite", self.id, "店主")["url"], f"店主{self.id}")
        self.fans = [town.fan(f"{name}客{n}") for n in range(1, fans + 1)]
        for fan in self.fans:
            fan.scan(self.code)

    def write(self, text: str, *, name: str, **choices: str) -> str:
        """A text to all fans, saved; the page with its forecast. Returns its address."""
        self.owner.visit(f"{self.town.machine.url}/merchant/broadcasts")
        self.owner.press("写一条群发")
        self.owner.fill(name=name, text=text)
        for field, value in choices.items():
            self.owner.page.locator(f"select[name={field}]").select_option(value)
        self.owner.press("保存，看看能到多少人")
        return self.owner.page.url

    def write_item(self, title: str, cover: Path) -> None:
        """An article for the next digest, submitted."""
        self.owner.visit(f"{self.town.machine.url}/merchant/broadcasts")
        self.owner.press("写一条群发")
        self.owner.page.get_by_text("图文", exact=True).click()
        self.owner.page.get_by_text("放进合集", exact=True).click()
        self.owner.fill(name=title, title=title, summary="街坊的消息", body="欢迎来坐坐。")
        self.owner.page.locator("input[type=file]").set_input_files(cover)
        expect(self.owner.page.locator(".picture-shown")).to_be_visible(timeout=SENT_MS)
        self.owner.press("保存，看看能到多少人")
        self.submit()

    def expect_forecast(self, *, reached: int, audience: int, **routes: int) -> None:
        page = self.owner.page
        expect(page.locator(".reach-sum")).to_contain_text(f"能到 {reached} 人")
        expect(page.locator(".reach-sum")).to_contain_text(f"共 {audience} 人")
        for route in ("mass", "window", "hello"):
            number = page.locator(f".reach-list a[href$='which={route}']")
            if count := routes.get(route, 0):
                expect(number).to_have_text(str(count))
            else:
                expect(number).to_have_count(0)

    def submit(self) -> None:
        agree(self.owner, "提交审批")
        expect(self.owner.page.locator(".page-head")).to_contain_text("等运营审批")

    def send(self, text: str, *, name: str, **choices: str) -> str:
        """Written, submitted, agreed to. Returns its address."""
        path = self.write(text, name=name, **choices)
        self.submit()
        approve(self.town, self.name)
        return path

    def report(self, path: str, state: str) -> None:
        """Open a broadcast's report and let it come to this state by itself."""
        self.owner.visit(f"{path}/report")
        expect(self.owner.page.locator(".job-head")).to_contain_text(state, timeout=SENT_MS)

    def all_have(self, words: str, *, times: int = 1) -> bool:
        return all(fan.times(words) == times for fan in self.fans)

    def wait_for(self, words: str) -> None:
        wait_until(lambda: self.all_have(words), seconds=SENT_MS / 1000, what=f"“{words}” for every fan")


def next_month(moment: datetime) -> datetime:
    """The first moment of the month after."""
    return (moment.replace(day=1) + timedelta(days=32)).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def agree(window: Window, button: str, *, answer: str = "") -> None:
    """Press a button that asks first, and say yes, in the same words unless others are given."""
    window.page.get_by_role("button", name=button, exact=True).first.click()
    window.page.get_by_role("dialog").get_by_role("button", name=answer or button, exact=True).click()
    expect(window.page.get_by_role("dialog")).to_have_count(0)
    window.page.wait_for_load_state()
    window.look()


def approve(town: Town, shop: str, *says: str) -> None:
    """The operator looks at the one that waits, with what it says, reaches and costs on one page, and agrees."""
    operator = town.operator
    operator.visit(f"{town.machine.url}/operator/approvals/broadcasts")
    row = operator.page.locator("tr", has_text=shop).filter(has=operator.page.get_by_role("link", name="去看"))
    row.get_by_role("link", name="去看").click()
    operator.page.wait_for_load_state()
    operator.look()
    for words in says:
        expect(operator.page.locator("main")).to_contain_text(words)
    agree(operator, "通过")


@pytest.fixture(scope="module")
def chronicle(test_home: Path, worker_number: int, chromium: Chromium) -> Iterator[Town]:
    machine = Machine(test_home / f"run-broadcasts-{worker_number}")
    try:
        machine.skip_demo()
        machine.start()
        machine.wait_for_links(READY_S)
        yield Town(machine, chromium)
    finally:
        machine.stop()


@pytest.fixture
def town(chronicle: Town) -> Iterator[Town]:
    """As it is between two stories: every promise holds, and no page was wrong."""
    yield chronicle
    chronicle.sandbox("DELETE", "faults")
    chronicle.promises_hold()
    complaints, chronicle.operator.complaints = chronicle.operator.complaints, []
    assert complaints == []


def test_from_the_first_word_to_the_last_count(town: Town, new_window: NewWindow) -> None:
    shop = Shop(town, new_window, "老王豆浆", fans=4)
    path = shop.write("新磨的豆浆到了。关注就送一杯！", name="新豆浆")
    shop.expect_forecast(reached=4, audience=4, mass=4)
    page = shop.owner.page
    expect(page.locator(".findings")).to_contain_text("诱导关注")
    agree(shop.owner, "提交审批")
    assert page.url.startswith(path)
    expect(page.locator(".page-head")).to_contain_text("草稿")
    shop.owner.complaints.clear()  # the refusal's 422

    shop.owner.follow("修改")
    shop.owner.fill(text="新磨的豆浆到了，早上七点开门。")
    shop.owner.press("保存，看看能到多少人")
    expect(page.locator(".findings")).to_have_count(0)
    shop.submit()
    assert not any(fan.times("新磨的豆浆") for fan in shop.fans)
    approve(town, shop.name, "新磨的豆浆到了，早上七点开门。", "能到 4 人", "用掉本月份额 4 个", "没有发现问题")

    shop.wait_for("新磨的豆浆到了，早上七点开门。")
    shop.report(path, "已发完")
    (told,) = town.mass_sends("新磨的豆浆到了")
    assert sorted(told["delivered"]) == sorted(fan.openid for fan in shop.fans)
    expect(page.locator(".stat", has_text="已被微信接收")).to_contain_text(re.compile(r"\b4\b"))
    expect(page.locator(".stat", has_text="结果未知")).to_contain_text(re.compile(r"\b0\b"))
    batch = page.locator("section", has_text="群发的每一批").locator("tbody tr")
    expect(batch).to_have_count(1)
    numbers = [str(len(told["openids"])), str(len(told["left"])), str(len(told["delivered"])), "0"]
    wait_until(lambda: batch.locator("td.num").all_inner_texts() == numbers, what=f"the report's {numbers}")
    shop.owner.look()
    shop.owner.visit(f"{path}/report")
    page.locator("a.stat", has_text="已被微信接收").click()
    page.wait_for_load_state()
    shop.owner.look()
    assert shop.all_have("新磨的豆浆")


def test_a_pause_holds_and_nobody_is_written_to_twice(town: Town, new_window: NewWindow) -> None:
    shop = Shop(town, new_window, "慢火煲汤", fans=12)
    town.set_policy(batch_size="2")
    town.sandbox("POST", "faults", rules=[{"match": {"path": MASS_SEND}, "next": None, "do": {"latency_ms": 1500}}])
    path = shop.send("今天的汤好了", name="今天的汤")
    shop.report(path, "正在发")
    agree(shop.owner, "暂停")
    expect(shop.owner.page.locator(".job-head")).to_contain_text("已暂停")
    # What had begun is finished; nothing else begins.
    shop.owner.page.wait_for_timeout(2_000 + 1_500)
    had = [fan.times("今天的汤好了") for fan in shop.fans]
    assert 0 < sum(had) < len(shop.fans)
    shop.owner.page.wait_for_timeout(3_000)
    assert [fan.times("今天的汤好了") for fan in shop.fans] == had
    shop.owner.look()

    agree(shop.owner, "继续")
    shop.wait_for("今天的汤好了")
    town.set_policy(batch_size="10000")
    expect(shop.owner.page.locator(".job-head")).to_contain_text("已发完", timeout=SENT_MS)
    assert len(town.mass_sends("今天的汤好了")) == 6
    assert shop.all_have("今天的汤好了")


def test_a_fan_leaves_one_shops_broadcasts_and_comes_back(town: Town, new_window: NewWindow) -> None:
    shop = Shop(town, new_window, "桂花书店", fans=3)
    quiet = shop.fans[0]
    phone = Phone(new_window("phone", DESK), town.machine.sandbox_url)
    phone.hand_to(quiet.name)
    say(phone, f"退订 {shop.name}")
    phone.expect_words(f"不再给您发{shop.name}的优惠消息了")
    phone.expect_words(f"恢复 {shop.name}")

    path = shop.write("新到一批连环画", name="连环画")
    shop.expect_forecast(reached=2, audience=3, mass=2)
    missed = shop.owner.page.locator(".reach-missed")
    missed.locator("summary").click()
    expect(missed.locator("li", has_text="退订了本店")).to_contain_text("1")
    shop.submit()
    approve(town, shop.name, "能到 2 人")
    shop.report(path, "已发完")
    assert [fan.times("新到一批连环画") for fan in shop.fans] == [0, 1, 1]

    say(phone, f"恢复 {shop.name}")
    phone.expect_words(f"已恢复{shop.name}的优惠消息")
    path = shop.send("周六下午读书会", name="读书会")
    shop.report(path, "已发完")
    assert shop.all_have("周六下午读书会")
    assert quiet.times("新到一批连环画") == 0


def test_whoever_has_no_slot_left_is_told_at_the_next_hello(town: Town, new_window: NewWindow) -> None:
    shop = Shop(town, new_window, "早安面馆", fans=2)
    town.set_policy(slots_kept="3")
    shop.report(shop.send("第一条：今天有牛肉面", name="牛肉面"), "已发完")
    path = shop.write("第二条：明天有阳春面", name="阳春面")
    shop.expect_forecast(reached=2, audience=2, hello=2)
    shop.submit()
    approve(town, shop.name, "不占用群发份额")
    shop.report(path, "正在发")
    expect(shop.owner.page.locator(".stat", has_text="等下次来访")).to_contain_text("2")
    come, wait = shop.fans
    assert come.times("第二条") == wait.times("第二条") == 0

    greeted = len(come.read())
    come.scan(shop.code)
    wait_until(lambda: come.times("第二条") == 1, seconds=SENT_MS / 1000, what="the next hello")
    said = come.read()[greeted:]
    assert len(said) == 2
    assert "第二条" in said[-1]
    shop.owner.page.wait_for_timeout(1_100)  # events are told to the second
    come.say("你好")
    come.scan(shop.code)
    shop.owner.page.wait_for_timeout(4_000)
    assert come.times("第二条") == 1
    shop.owner.visit(f"{path}/report")
    for name in ("已被微信接收", "等下次来访", "在聊天里回了话", "7 天内来过"):
        expect(shop.owner.page.locator(".stat", has_text=name)).to_contain_text(f"{name} 1", use_inner_text=True)
    wait.scan(shop.code)
    shop.report(path, "已发完")
    assert [fan.times("第二条") for fan in shop.fans] == [1, 1]
    town.set_policy(slots_kept="1")


def test_no_slot_of_one_month_is_used_in_the_next(town: Town, new_window: NewWindow) -> None:
    """With the clock moved; the fans have two slots a month, and used one of this month's."""
    shop = Shop(town, new_window, "月月红花店", fans=3)
    town.set_policy(slots_kept="2")
    shop.report(shop.send("玫瑰开了", name="玫瑰"), "已发完")
    path = shop.write("月季开了", name="月季")
    shop.expect_forecast(reached=3, audience=3, mass=3)
    shop.submit()
    ends = next_month(town.now())
    town.advance(ends - timedelta(seconds=110) - town.now())
    approve(town, shop.name, "能到 3 人")
    shop.report(path, "正在发")
    shop.owner.page.wait_for_timeout(4_000)
    assert town.now() < ends
    assert town.mass_sends("月季开了") == []

    town.advance(ends + timedelta(seconds=121) - town.now())
    shop.wait_for("月季开了")
    shop.report(path, "已发完")
    (told,) = town.mass_sends("月季开了")
    assert datetime.fromisoformat(told["at"]) > ends
    assert sorted(told["delivered"]) == sorted(fan.openid for fan in shop.fans)
    # Of the new month's slots one is used: with one a month nothing is left, with two one more message comes.
    town.set_policy(slots_kept="3")
    shop.write("茉莉开了", name="茉莉")
    shop.expect_forecast(reached=3, audience=3, hello=3)
    town.set_policy(slots_kept="2")
    shop.submit()
    approve(town, shop.name, "能到 3 人")
    shop.wait_for("茉莉开了")
    town.set_policy(slots_kept="1")


def test_a_digest_shows_everybody_only_their_own_shops(town: Town, new_window: NewWindow, tmp_path: Path) -> None:
    cover = save_picture(tmp_path / "cover.jpg")
    bakery, cobbler = (Shop(town, new_window, name, fans=2) for name in ("面包房", "修鞋铺"))
    both = [town.fan(f"两家的客{n}") for n in (1, 2)]
    for fan in both:
        fan.scan(bakery.code)
        fan.scan(cobbler.code)
    titles = {bakery: "新出炉的面包", cobbler: "修鞋铺搬家了"}
    for shop, title in titles.items():
        shop.write_item(title, cover)
        approve(town, shop.name, title)

    operator = town.operator
    operator.visit(f"{town.machine.url}/operator/digests")
    operator.fill(name="本周合集")
    operator.press("开始挑内容")
    for title in titles.values():
        operator.press(f"加进“{title}”")
    expect(operator.page.locator("#reach .stat").first).to_contain_text("6", timeout=SENT_MS)
    operator.look()
    agree(operator, "确认并发送", answer="确认")

    def saw() -> list[list[int]]:
        everybody = [*bakery.fans, *cobbler.fans, *both]
        return [[fan.times(title) for title in titles.values()] for fan in everybody]

    expected = [[1, 0], [1, 0], [0, 1], [0, 1], [1, 1], [1, 1]]
    wait_until(lambda: saw() == expected, seconds=SENT_MS / 1000, what="the digest")
    operator.visit(operator.page.url)
    operator.follow("看进度")
    expect(operator.page.locator(".job-head")).to_contain_text("已发完", timeout=SENT_MS)
    operator.look()
    bakery.owner.visit(f"{town.machine.url}/merchant/broadcasts")
    bakery.owner.page.locator(".row-list a", has_text=titles[bakery]).click()
    expect(bakery.owner.page.locator("main")).to_contain_text("您的 4 位粉丝，已被微信接收")
    bakery.owner.look()
    assert saw() == expected


def say(phone: Phone, words: str) -> None:
    phone.page.get_by_test_id("say-input").fill(words)
    phone.page.get_by_test_id("say-send").click()
