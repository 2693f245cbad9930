"""The whole story in browsers: a shop opens, a neighbour scans, is greeted, is counted, and leaves."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
import zxingcpp
from PIL import Image
from playwright.sync_api import expect

from core.servers import ServerUrls
from tests.conftest import SECRET_KEY, create_database, drop_database, numbered_redis, wait_until
from tests.e2e.conftest import NewWindow
from tests.e2e.machine import READY_S, Machine
from tests.e2e.window import DESK, PHONE, Window

SHOP, LABEL = "老王豆浆", "收银台"
PASSWORD = "seven lemons on a bicycle"
SOON_MS = 20_000
"""A greeting is there in a moment; the bound is for a machine that has much else to do."""


@pytest.fixture
def addresses(servers: ServerUrls, worker_number: int) -> Iterator[dict[str, str]]:
    """An empty database and a Redis that somebody else runs."""
    name = f"quanma_test_{worker_number}_story"
    yield {
        # The login roles belong to the whole server, and their passwords come from this key.
        "SECRET_KEY": SECRET_KEY,
        "DATABASE_URL": create_database(servers, name),
        "REDIS_URL": numbered_redis(servers, 2 * worker_number + 1),
    }
    drop_database(servers, name)


def running(machine: Machine) -> Machine:
    """Up and ready, with nobody in it yet."""
    machine.skip_demo()
    machine.start()
    machine.wait_for_links(READY_S)
    return machine


class Phone:
    """The sandbox's phone, which several people hold in turn."""

    def __init__(self, window: Window, url: str) -> None:
        self.page = window.page
        self.page.goto(url)

    def add(self, name: str) -> None:
        """A new person, who now holds the phone."""
        self.page.get_by_test_id("add-person-name").fill(name)
        self.page.get_by_test_id("add-person").click()
        expect(self.page.locator(".handset h2")).to_have_text(name)

    def hand_to(self, name: str) -> None:
        self.page.locator(".people-list button", has_text=name).click()
        expect(self.page.locator(".handset h2")).to_have_text(name)

    def scan_and_follow(self, text: str) -> None:
        self.page.get_by_test_id("scan-open").click()
        self.page.get_by_test_id("scan-input").fill(text)
        self.page.get_by_test_id("scan-go").click()
        self.page.get_by_test_id("follow").click()

    def expect_words(self, words: str) -> None:
        expect(self.page.get_by_test_id("chat")).to_contain_text(words, timeout=SOON_MS)

    def expect_picture(self) -> None:
        cover = self.page.locator(".news-cover")
        expect(cover).to_be_visible(timeout=SOON_MS)
        wait_until(lambda: bool(cover.evaluate("(image) => image.naturalWidth > 0")), what="the card's picture")

    def unfollow(self) -> None:
        self.page.get_by_test_id("profile-open").click()
        self.page.get_by_test_id("unfollow").click()
        self.page.get_by_test_id("confirm").click()
        expect(self.page.locator("[data-part=caption-state]")).to_have_text("未关注", timeout=SOON_MS)


class Story:
    """One shop, from its admission on; each step looks at what it leads to."""

    def __init__(self, machine: Machine, new_window: NewWindow) -> None:
        self.machine = machine
        self.new_window = new_window
        self.operator = new_window("operator", DESK)
        sign_up(self.operator, machine.links["sign_in"], "运营小李")
        expect(self.operator.page).to_have_url(f"{machine.url}/operator/")
        self.phone = Phone(new_window("phone", DESK), machine.sandbox_url)
        self.merchant_id = self._admit()
        self.code_id, self.code_url, self.public_url = self._add_code()
        self.owner = self._invite_owner()

    def _admit(self) -> str:
        """Five fields."""
        self.operator.visit(f"{self.machine.url}/operator/merchants")
        self.operator.follow("登记商户")
        self.operator.fill(name=SHOP, kind="早餐", contact_name="王建国", phone="13800138000", community="桂花里")
        self.operator.press("登记")
        expect(self.operator.page.get_by_role("heading", level=1)).to_have_text(SHOP)
        return self.operator.page.url.rpartition("/")[2]

    def _add_code(self) -> tuple[str, str, str]:
        """Its id, what it says, and its public page."""
        self.operator.follow("新建二维码")
        self.operator.fill(label=LABEL, place="门口")
        self.operator.press("新建")
        page = self.operator.page
        image = page.locator("img.qr")
        expect(image).to_be_visible(timeout=SOON_MS)
        says = words_of(self.operator, self.machine.url + str(image.get_attribute("src")))
        assert urlsplit(says).netloc == "weixin.qq.com"
        return page.url.rpartition("/")[2], says, page.get_by_role("link", name="/q/").inner_text()

    def _invite_owner(self) -> Window:
        self.operator.visit(f"{self.machine.url}/operator/merchants/{self.merchant_id}")
        self.operator.fill(staff_name="王建国")
        self.operator.page.locator("[name=role]").select_option("owner")
        self.operator.press("生成登录链接")
        owner = self.new_window("owner", PHONE)
        sign_up(owner, self.operator.page.locator("#invitation").inner_text(), "王建国")
        expect(owner.page).to_have_url(f"{self.machine.url}/merchant/")
        return owner

    def neighbour_comes(self, name: str, greeting: str) -> None:
        """Scans, follows, and is greeted."""
        self.phone.add(name)
        self.phone.scan_and_follow(self.code_url)
        self.phone.expect_words(greeting)

    def shop_sees_its_first_fan(self) -> None:
        """Today, in the list, and in the fan's own story."""
        page = self.owner.page
        self.owner.visit(f"{self.machine.url}/merchant/")
        for name in ("扫码", "来的人", "新关注", "净增"):
            # What has just happened is counted at the scheduler's next beat, and the page looks again by itself.
            stat = page.locator(".stat", has_text=name)
            expect(stat).to_contain_text(re.compile(rf"{name}\s*\+?1\b"), timeout=SOON_MS)
        self.owner.visit(f"{self.machine.url}/merchant/fans")
        rows = page.locator(".row-list li")
        expect(rows).to_have_count(1)
        expect(rows).to_contain_text("本店带来")
        rows.get_by_role("link").click()
        for word in ("扫码", "关注", LABEL):
            expect(page.locator(".timeline")).to_contain_text(word)
        self.owner.look()

    def figures(self) -> dict[str, str]:
        """The shop's line in the operator's table, by column."""
        self.operator.visit(f"{self.machine.url}/operator/")
        table = self.operator.page.locator("#merchants table")
        heads = table.locator("thead th").all_inner_texts()
        cells = table.locator("tbody tr", has_text=SHOP).locator("td").all_inner_texts()
        line = {head.strip(): cell.strip() for head, cell in zip(heads, cells, strict=True)}
        return {name: line[name].replace("+", "") for name in ("扫码", "新关注", "取关", "净增")}

    def operator_sees(self, figures: dict[str, str]) -> None:
        """Within a beat: the scheduler may be counting just then."""
        wait_until(lambda: self.figures() == figures, what=f"the figures {figures}")

    def approve(self, words: str) -> None:
        """What waits says so, and then waits no more."""
        self.operator.visit(f"{self.machine.url}/operator/approvals")
        expect(self.operator.page.locator(".review")).to_contain_text(words)
        self.operator.press("通过")
        expect(self.operator.page.locator(".review")).to_have_count(0)

    def write_words(self, text: str) -> None:
        self.owner.visit(f"{self.machine.url}/merchant/welcome")
        self.owner.follow("写一条")
        self.owner.fill(text=text)
        self.owner.press("保存并送审")
        expect(self.owner.page.get_by_text("等待审批")).to_be_visible()

    def write_card(self, title: str, picture: Path) -> None:
        self.owner.visit(f"{self.machine.url}/merchant/welcome/first/0")
        self.owner.page.get_by_text("图文卡片").click()
        self.owner.fill(title=title, description="现磨，不加糖")
        self.owner.page.locator("input[type=file]").set_input_files(picture)
        expect(self.owner.page.locator(".picture-shown")).to_be_visible(timeout=SOON_MS)
        self.owner.press("保存并送审")

    def commands_agree(self, *, came: int, left: int) -> None:
        """What the commands say is what the pages say."""
        (shop,) = self.machine.quanma("traffic")["merchants"]
        wanted = {"name": SHOP, "scans": came, "scanners": came, "new": came, "returning": 0, "lost": left}
        assert {name: shop[name] for name in wanted} == wanted
        assert shop["net"] == came - left
        fans = self.machine.quanma("fans", self.merchant_id)
        assert (fans["total"], fans["following"]) == (came, came - left)
        assert all(fan["acquired"] for fan in fans["fans"] if fan["following"])
        assert {fan["first_code"] for fan in fans["fans"]} == {self.code_id}
        assert sum(check["rows"] for check in self.machine.quanma("check")["checks"]) == 0


def test_a_shop_opens_and_a_neighbour_comes_and_leaves(
    addresses: dict[str, str], new_machine: Callable[..., Machine], new_window: NewWindow
) -> None:
    """With PostgreSQL and Redis given by address."""
    machine = running(new_machine(**addresses))
    assert not (machine.home / "postgres").exists()
    story = Story(machine, new_window)
    come_and_go(story)
    story.commands_agree(came=1, left=1)


def come_and_go(story: Story) -> None:
    story.neighbour_comes("安", f"欢迎光临{SHOP}")
    story.shop_sees_its_first_fan()
    story.operator_sees({"扫码": "1", "新关注": "1", "取关": "0", "净增": "1"})
    story.phone.unfollow()
    story.operator_sees({"扫码": "1", "新关注": "1", "取关": "1", "净增": "0"})


def test_the_whole_story(new_machine: Callable[..., Machine], new_window: NewWindow, tmp_path: Path) -> None:
    """On the embedded servers; and what a shop writes waits, is approved, and is what the next neighbour reads."""
    machine = running(new_machine())
    story = Story(machine, new_window)
    come_and_go(story)

    story.write_words("{商户}的豆浆刚磨好，请慢用")
    story.neighbour_comes("白", f"欢迎光临{SHOP}")
    story.approve("豆浆刚磨好")
    story.neighbour_comes("陈", f"{SHOP}的豆浆刚磨好，请慢用")

    story.write_card("今日豆浆", save_picture(tmp_path / "soy.jpg"))
    story.approve("今日豆浆")
    wait_until(lambda: is_uploaded(machine), seconds=30, what="the picture's upload")
    story.neighbour_comes("杜", "今日豆浆")
    story.phone.expect_picture()

    stranger = new_window("stranger", PHONE)
    stranger.visit(f"{machine.url}/")
    expect(stranger.page.locator("body")).to_contain_text(SHOP)
    stranger.visit(story.public_url)
    assert words_of(stranger, f"{story.public_url}.png") == story.code_url

    story.operator_sees({"扫码": "4", "新关注": "4", "取关": "1", "净增": "3"})
    story.commands_agree(came=4, left=1)
    for window in (story.operator, story.owner):
        visit_the_menu(window, machine)


def sign_up(window: Window, link: str, login: str) -> None:
    window.visit(link)
    window.fill(login=login, password=PASSWORD, again=PASSWORD)
    window.press("进入圈码")


def words_of(window: Window, source: str) -> str:
    """What the QR code in a picture of a page says."""
    picture = window.page.context.request.get(source).body()
    (found,) = zxingcpp.read_barcodes(Image.open(io.BytesIO(picture)))
    return str(found.text)


def save_picture(path: Path) -> Path:
    Image.radial_gradient("L").resize((640, 360)).convert("RGB").save(path, "JPEG")
    return path


def is_uploaded(machine: Machine) -> bool:
    """The platform has taken a picture."""
    log = requests.get(f"{machine.sandbox_url}/sandbox/log", timeout=10).text
    return any('"/cgi-bin/material/add_material"' in line and '"accepted":true' in line for line in log.splitlines())


def visit_the_menu(window: Window, machine: Machine) -> None:
    """Every page that was not shown yet."""
    paths = window.page.locator("nav.menu a").evaluate_all("(links) => links.map((link) => link.getAttribute('href'))")
    for path in dict.fromkeys([*paths, "/auth/account"]):
        if path not in window.visited:
            window.visit(machine.url + path)
