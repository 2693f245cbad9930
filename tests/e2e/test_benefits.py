"""Coupons and points as neighbours and shops meet them, on phones 390 pixels wide: a neighbour's own page, let in
silently by WeChat, and the till's page on another phone, with nothing between them but what one shows the other."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, expect
from sqlalchemy import text

from campaigns.coupons import alliance, oversight, templates
from campaigns.coupons.models import CouponTemplate
from campaigns.points import adjustments, exchange, levels, proof, rules
from campaigns.points.models import RuleTrigger
from campaigns.points.rules import Rule
from core.clock import business_day
from core.database import Role
from merchants import staff
from merchants.models import StaffRole
from qrcodes import welcomes
from qrcodes.models import WelcomeVariant
from tests.conftest import Live, wait_until
from tests.couponing import OPERATOR, Street
from tests.e2e.conftest import NewWindow
from tests.e2e.test_owner_pages import inside, new_code
from tests.e2e.test_story import SOON_MS, Phone, sign_up
from tests.e2e.window import DESK, PHONE, Window
from tests.web.owner.conftest import counts
from web.auth.owner import PHONE_COOKIE
from web.auth.pages import invitation_url

TYPED = re.compile(r"([0-9A-Z]{4}) ([0-9A-Z]{4})$")
BIG_PX = 32
"""What is read at arm's length over a counter."""
TAPS = """(form, times) => Promise.all(Array.from({length: times}, () =>
    fetch(form.action, {method: "POST", body: new URLSearchParams(new FormData(form))})
        .then((answer) => answer.status)))"""
"""A form sent by impatient taps over a line that answers none of them at once."""


class Neighbour:
    """Somebody with a phone; `page` is the browser within their WeChat."""

    def __init__(self, live: Live, new_window: NewWindow, name: str, *, snapshot: bool = False) -> None:
        self.live = live
        self.name = name
        self.openid = str(live.sandbox.post("/sandbox/people", name=name, snapshot=snapshot)["openid"])
        self.window = new_window(name, PHONE)
        self.page = self.window.page
        self.page.context.add_cookies([{"name": PHONE_COOKIE, "value": self.openid, "url": live.url}])

    def open(self, path: str) -> None:
        """One of the owners' pages, by way of WeChat where they are not in yet."""
        self.window.visit(f"{self.live.url}{path}")
        expect(self.page).to_have_url(re.compile(f"{re.escape(self.live.url)}{re.escape(path)}(#wechat_redirect)?$"))

    def scan(self, code: str) -> None:
        self.live.sandbox.post(f"/sandbox/people/{self.openid}/scan", url=code)

    def say(self, words: str) -> str:
        """Write to the account; its answer."""
        before = len(self.read())
        self.live.sandbox.post(f"/sandbox/people/{self.openid}/say", text=words)
        wait_until(lambda: len(self.read()) > before, what=f"an answer to {words}")
        return self.read()[-1]

    def read(self) -> list[str]:
        """What the account ever said to them."""
        messages = self.live.sandbox.get(f"/sandbox/people/{self.openid}/chat")["messages"]
        return [json.dumps(one, ensure_ascii=False) for one in messages if one["from"] == "account"]

    def shows(self, path: str = "/m/") -> str:
        """The eight characters below the code of the card, or of one coupon."""
        self.open(path)
        typed = self.page.locator(".own-typed")
        expect(typed).to_have_text(TYPED, timeout=SOON_MS)
        self.window.look()
        found = TYPED.search(typed.inner_text())
        assert found is not None
        return found[1] + found[2]

    def take(self, template: CouponTemplate) -> str:
        """Claim a coupon; the path of its page."""
        self.open(f"/m/c/{template.public_id}")
        self.window.press("免费领取")
        expect(self.page.locator("body")).to_contain_text("这张券是您的了")
        return re.sub(r"[?#].*", "", self.page.url.removeprefix(self.live.url))

    def points(self, shop: Shop) -> str:
        """What their page says they have at a shop."""
        self.open(f"/m/points/{shop.id}")
        return self.page.locator(".own-big").inner_text().partition("\n")[0].removesuffix("积分").strip()

    def wallet(self, show: str = "") -> Locator:
        self.open(f"/m/coupons{show}")
        return self.page.locator("a.own-ticket")


@dataclass
class Shop:
    """A shop with a code at its door and a clerk behind its till."""

    live: Live
    street: Street
    id: int
    name: str
    code: str
    till: Window

    @property
    def url(self) -> str:
        return self.live.url

    def coupon(self, **fields: Any) -> CouponTemplate:
        return self.street.template(self.street.live(self.id, **fields))

    def rule(self, trigger: RuleTrigger, points: int, **fields: Any) -> None:
        with self.live.runtime.transaction(Role.MERCHANT, merchant_id=self.id) as session:
            rule = Rule(trigger, points, points * 10, points * 100, **fields)
            rules.save(session, merchant_id=self.id, rule=rule, now=self.live.runtime.now())

    def offer(self, template: CouponTemplate, price: int) -> None:
        with self.live.runtime.transaction(Role.MERCHANT, merchant_id=self.id) as session:
            exchange.add(session, merchant_id=self.id, template_id=template.id, price=price, stock=5)

    def greet(self, words: str, template: CouponTemplate) -> None:
        """With these words and the coupon's card."""
        with self.live.runtime.transaction(Role.PLATFORM) as session:
            welcomes.save(
                session, merchant_id=self.id, code_id=None, variant=WelcomeVariant.FIRST, position=0,
                draft=welcomes.Draft(text=words, template_id=template.id), hosts=frozenset(),
                now=self.live.runtime.now(), operator_id=OPERATOR,
            )  # fmt: skip

    def look(self, typed: str) -> None:
        """The clerk types what a phone shows, in whichever case."""
        self.till.visit(f"{self.url}/merchant/till")
        self.till.fill(shown=typed.lower())
        self.till.press("看看能用什么")

    def redeem(self, typed: str, *, bill: str = "") -> None:
        self.look(typed)
        usable = self.till.page.locator(".usable").first
        usable.locator("[name=bill]").fill(bill)
        self.till.press("用掉这张券")
        self.expect_verdict("核销成功")

    def expect_verdict(self, *words: str, is_good: bool = True, page: Any = None) -> None:
        verdict = (page or self.till.page).locator(f".verdict.{'is-good' if is_good else 'is-bad'}")
        for one in words:
            expect(verdict).to_contain_text(one)
        size = verdict.locator("h1").evaluate("(title) => parseFloat(getComputedStyle(title).fontSize)")
        assert size >= BIG_PX


class Town:
    """One running system, and the shops in it."""

    def __init__(self, live: Live) -> None:
        self.live = live
        self.street = Street.open(live.runtime)

    def shop(self, name: str, new_window: NewWindow, role: StaffRole = StaffRole.CLERK) -> Shop:
        runtime = self.live.runtime
        shop_id = self.street.shop(name)
        with runtime.transaction(Role.PLATFORM) as session:
            token = staff.invite(session, name=f"{name}的人", role=role, merchant_id=shop_id, now=runtime.now())
        till = new_window(f"till of {name}", PHONE)
        sign_up(till, invitation_url(self.live.settings, token), f"till{shop_id}")
        return Shop(self.live, self.street, shop_id, name, new_code(self.live, shop_id), till)

    def operator(self, new_window: NewWindow) -> Window:
        runtime = self.live.runtime
        with runtime.transaction(Role.PLATFORM) as session:
            token = staff.invite(session, name="运营小李", role=StaffRole.OPERATOR, merchant_id=None, now=runtime.now())
        desk = new_window("the operator's desk", DESK)
        sign_up(desk, invitation_url(self.live.settings, token), "desk")
        return desk


@pytest.fixture(scope="module")
def quarter(live: Live) -> Town:
    return Town(live)


def excused(window: Window, status: int) -> None:
    """The browser's own note of a refusal that the story asked for; nothing else is forgiven."""
    assert [one for one in window.complaints if f"status of {status}" not in one] == []
    assert window.complaints
    window.complaints.clear()


def test_from_a_scan_to_the_till_and_back_again(quarter: Town, new_window: NewWindow) -> None:
    shop = quarter.shop("老王豆浆", new_window)
    coupon = shop.coupon(name="立减两元", value_fen=200, min_spend_fen=0, per_person=5)
    shop.greet("豆浆刚磨好", coupon)
    ann = Neighbour(quarter.live, new_window, "小安")

    phone = Phone(new_window("phone", DESK), quarter.live.sandbox.url)
    phone.hand_to(ann.name)
    phone.scan_and_follow(shop.code)
    phone.expect_words("豆浆刚磨好")
    phone.page.get_by_test_id("chat").get_by_role("link", name="领取“立减两元”").click(timeout=SOON_MS)
    page = inside(phone)
    expect(page.get_by_role("heading", level=1)).to_have_text("立减两元", timeout=SOON_MS)
    form = page.locator("form", has=page.get_by_role("button", name="免费领取"))
    assert form.evaluate(TAPS, 2) == [200, 200]
    page.get_by_role("button", name="免费领取").dblclick()
    expect(page.locator("body")).to_contain_text("这张券是您的了", timeout=SOON_MS)
    # She may have five; four taps of one intent are one coupon.
    expect(ann.wallet()).to_have_count(1)

    path = str(ann.wallet().get_attribute("href"))
    typed = ann.shows(path)
    shop.look(typed)
    till = shop.till.page
    expect(till.locator(".usable")).to_have_count(1)
    other = till.context.new_page()
    other.set_viewport_size(PHONE)
    other.goto(f"{quarter.live.url}/merchant/till")
    other.locator("#shown").fill(typed)
    other.get_by_role("button", name="看看能用什么").click()

    till.locator(".usable [name=bill]").fill("18.50")
    shop.till.press("用掉这张券")
    shop.expect_verdict("核销成功", "立减两元", "实付 ¥16.50", "账单 ¥18.50，减 ¥2")
    expect(ann.wallet()).to_have_count(0)
    expect(ann.wallet("?show=used")).to_have_count(1)

    # The other phone had the card open all the while.
    other.get_by_role("button", name="用掉这张券").click()
    at = re.compile(r"这张券已经用过了：.*\d{1,2}:\d\d，在老王豆浆")
    expect(other.locator(".verdict.is-bad")).to_contain_text(at)
    shop.expect_verdict("没有核销", is_good=False, page=other)
    other.goto(f"{quarter.live.url}/merchant/redemptions")
    expect(other.locator(".row-list li")).to_have_count(1)
    other.close()

    till.get_by_text("弄错了，撤销这一次").click()
    shop.till.fill(reason="点错了一张")
    shop.till.press("撤销核销")
    expect(till.locator("body")).to_contain_text("已撤销，这张券又能用了。")
    row = till.locator(".row-list li")
    expect(row).to_contain_text("已撤销")
    expect(row).to_contain_text("撤销原因：点错了一张")
    expect(ann.wallet()).to_have_count(1)
    shop.redeem(ann.shows(path))


def test_points_come_from_a_word_and_a_visit_and_buy_a_coupon(quarter: Town, new_window: NewWindow) -> None:
    shop = quarter.shop("慢火煲汤", new_window)
    soup = shop.coupon(name="例汤一份", is_public=False, value_fen=800, min_spend_fen=0)
    shop.rule(RuleTrigger.CHECK_IN, 5)
    shop.rule(RuleTrigger.VISIT, 10)
    shop.offer(soup, 12)
    ann = Neighbour(quarter.live, new_window, "小汤")
    ann.scan(shop.code)
    wait_until(lambda: any("慢火煲汤" in one for one in ann.read()), what="the welcome")

    assert "签到成功，得 5 积分" in ann.say("签到")
    assert "签到过了" in ann.say("签到")
    assert ann.points(shop) == "5"
    expect(ann.page.locator("body")).to_contain_text("今天已签到")
    expect(ann.page.locator("#offers ~ ul")).to_contain_text("还差 7 分")
    expect(ann.page.get_by_role("button", name="兑换")).to_have_count(0)

    shop.look(ann.shows())
    shop.till.press("记一次到店")
    shop.expect_verdict("已记到店", "得到 10 积分")
    assert ann.points(shop) == "15"
    ann.page.get_by_role("button", name="兑换 例汤一份").click()
    asked = ann.page.get_by_role("dialog")
    expect(asked).to_contain_text("用 12 积分换“例汤一份”吗？")
    asked.get_by_role("button", name="兑换", exact=True).click()
    expect(ann.page.locator("body")).to_contain_text("这张券是您的了", timeout=SOON_MS)
    ann.window.look()
    assert ann.points(shop) == "3"
    expect(ann.page.locator("#offers ~ ul")).to_contain_text("已换过")
    sums = ann.page.locator("#lines ~ ul .own-sum").all_inner_texts()
    assert [one.replace("−", "-") for one in sums] == ["-12", "+10", "+5"]
    expect(ann.wallet()).to_have_count(1)
    shop.redeem(ann.shows(str(ann.wallet().get_attribute("href"))))


def test_an_invitation_pays_at_the_first_redemption_and_never_again(quarter: Town, new_window: NewWindow) -> None:
    shop = quarter.shop("桂花书店", new_window)
    coupon = shop.coupon(name="书签一枚", value_fen=200, min_spend_fen=0, per_person=5)
    shop.rule(RuleTrigger.REFERRAL, 50)
    ann, ben = (Neighbour(quarter.live, new_window, name) for name in ("安老师", "新来的小本"))
    ann.open(f"/m/shops/{shop.id}")
    ann.window.follow("我的邀请卡")
    ann.window.press("做一张我的卡")
    card = ann.page.get_by_alt_text("我的邀请码")

    def is_made() -> bool:
        ann.open(f"/m/invite/{shop.id}")
        return card.count() == 1

    wait_until(is_made, what="the card's code")
    found = re.search(r"/m/i/\w+", ann.page.locator("main").inner_text())
    assert found is not None

    def expect_numbers(brought: int, spent: int, points: str) -> None:
        ann.open(f"/m/invite/{shop.id}")
        numbers = ann.page.locator("#numbers-title ~ ul li")
        expect(numbers.filter(has_text="凭我的卡来的新邻居").locator("strong")).to_have_text(str(brought))
        expect(numbers.filter(has_text="已经到店消费的").locator("strong")).to_have_text(str(spent))
        assert ann.points(shop) == points

    expect_numbers(0, 0, "0")
    ben.open(found[0])
    expect(ben.page.get_by_role("heading", level=1)).to_have_text(shop.name)
    ben.window.follow("进店看看")
    ben.scan(shop.code)
    first = ben.take(coupon)
    expect_numbers(1, 0, "0")

    shop.redeem(ben.shows(first))
    expect_numbers(1, 1, "50")
    shop.redeem(ben.shows(ben.take(coupon)))
    expect_numbers(1, 1, "50")
    assert ben.points(shop) == "0"


def test_a_snapshot_visitor_looks_and_takes_nothing(quarter: Town, new_window: NewWindow) -> None:
    """Whom WeChat hides, we do not know, and write nothing down for (AU-2, #57)."""
    shop = quarter.shop("早安面馆", new_window)
    coupon = shop.coupon(name="加蛋券", value_fen=200, min_spend_fen=0)
    before = counts(quarter.live.runtime, "follower", "coupon", "shown_code")
    ghost = Neighbour(quarter.live, new_window, "看客", snapshot=True)
    ghost.open(f"/m/c/{coupon.public_id}")
    expect(ghost.page.get_by_role("heading", level=1)).to_have_text("现在是预览")
    examiner = Examiner()
    examiner.look(ghost.window)
    expect(ghost.page.get_by_role("button", name="免费领取")).to_have_count(0)
    ghost.window.follow("先看看店铺")
    ghost.window.page.get_by_role("link", name=shop.name).click()
    expect(ghost.page.locator("a.own-ticket")).to_contain_text("加蛋券")
    expect(ghost.page.locator("form")).to_have_count(0)
    ghost.window.look()
    examiner.look(ghost.window)
    examiner.expect_nothing()

    # By hand, with everything a page of ours would send.
    claim = """async (path) => {
        const token = document.querySelector("meta[name=csrf-token]").content;
        const body = new URLSearchParams({csrf_token: token, nonce: "by-hand"});
        const answer = await fetch(path, {method: "POST", body, headers: {"X-CSRFToken": token}});
        return [answer.status, await answer.text()];
    }"""
    status, words = ghost.page.evaluate(claim, f"/m/c/{coupon.public_id}")
    assert (status, "预览" in words) == (403, True)
    excused(ghost.window, 403)
    assert counts(quarter.live.runtime, "follower", "coupon", "shown_code") == before

    # With the full service the same hand has it.
    quarter.live.sandbox.post("/sandbox/people", openid=ghost.openid, snapshot=False)
    ghost.page.goto(f"{quarter.live.url}/m/enter?next=/m/c/{coupon.public_id}")
    assert ghost.page.evaluate(claim, f"/m/c/{coupon.public_id}")[0] == 200
    expect(ghost.wallet()).to_have_count(1)


def test_what_is_stored_is_handed_over_and_then_deleted(quarter: Town, new_window: NewWindow, tmp_path: Path) -> None:
    shop = quarter.shop("修鞋铺", new_window)
    coupon = shop.coupon(name="鞋油一盒", value_fen=200, min_spend_fen=0)
    shop.rule(RuleTrigger.VISIT, 10)
    ann, ben = (Neighbour(quarter.live, new_window, name) for name in ("阿安", "阿本"))
    for one in (ann, ben):
        one.scan(shop.code)
        one.take(coupon)
    wait_until(lambda: bool(ann.read()), what="the welcome")
    ann.say("安安的一句话")
    ben.say("本本的一句话")
    shop.look(ann.shows())
    shop.till.press("记一次到店")
    assert ann.points(shop) == "10"

    ann.open("/m/privacy")
    with ann.page.expect_download() as handed:
        ann.page.get_by_role("link", name="导出我的信息").click()
    handed.value.save_as(tmp_path / "mine.json")
    told = (tmp_path / "mine.json").read_text(encoding="utf-8")
    mine = json.loads(told)
    for word in (ann.openid, "鞋油一盒", "安安的一句话", shop.name):
        assert word in json.dumps(mine, ensure_ascii=False), word
    for word in (ben.openid, ben.name, "本本的一句话"):
        assert word not in told, word

    ann.page.get_by_label(re.compile("想好了")).fill("好的")
    ann.window.press("删除我的全部信息")
    expect(ann.page.get_by_role("alert")).to_contain_text("请在框里写“删除”两个字")
    excused(ann.window, 422)
    expect(ann.wallet()).to_have_count(1)
    ann.open("/m/privacy")
    ann.page.get_by_label(re.compile("想好了")).fill("删除")
    ann.window.press("删除我的全部信息")
    expect(ann.page.get_by_role("heading", level=1)).to_have_text("已经删除")
    examiner = Examiner()
    examiner.look(ann.window)
    examiner.expect_nothing()
    # Whoever comes again is new here.
    expect(ann.wallet()).to_have_count(0)
    assert ann.points(shop) == "0"
    expect(ben.wallet()).to_have_count(1)


# ---- For everybody ---------------------------------------------------------------------------------------------------


class Examiner:
    """Runs axe over the page in view, and keeps what it finds serious."""

    def __init__(self) -> None:
        self.axe = Axe()
        self.found: list[str] = []
        self.pages: list[str] = []

    def look(self, window: Window, name: str = "") -> None:
        path = name or re.sub(r"https?://[^/]+", "", window.page.url)
        self.pages.append(path)
        for fault in self.axe.run(window.page).response["violations"]:
            if fault["impact"] in ("serious", "critical"):
                places = "; ".join(f"{node['target']} {node['html'][:160]}" for node in fault["nodes"][:4])
                self.found.append(f"{path}: {fault['id']} ({fault['help']}): {places}")

    def open(self, window: Window, url: str) -> None:
        window.visit(url)
        self.look(window)

    def expect_nothing(self) -> None:
        assert not self.found, "\n".join(self.found)


def test_axe_finds_no_serious_fault_on_any_page(quarter: Town, new_window: NewWindow) -> None:
    """On a phone's width, with data in every list, and everything that folds unfolded."""
    examiner = Examiner()
    shop, ally = (quarter.shop(name, new_window, StaffRole.OWNER) for name in ("面包房", "花店"))
    coupon = shop.coupon(name="满二十减五", value_fen=500, min_spend_fen=2_000, per_person=5, is_transferable=True,
                         keyword="面包", terms="每桌一张")  # fmt: skip
    gift = shop.coupon(name="小圆饼", value_fen=200, min_spend_fen=0, per_person=9)
    foreign = ally.coupon(name="一枝玫瑰", value_fen=300, min_spend_fen=0)
    draft = quarter.street.written(shop.id, name="还没想好")
    for trigger in (RuleTrigger.CHECK_IN, RuleTrigger.VISIT, RuleTrigger.REFERRAL):
        shop.rule(trigger, 20)
    shop.rule(RuleTrigger.SPEND, 1, per_fen=100)
    shop.offer(gift, 15)
    ann, ben = (Neighbour(quarter.live, new_window, name) for name in ("面包安", "面包本"))
    ann.scan(shop.code)
    look_at_owner_pages(examiner, shop, ann, ben, coupon, gift)

    runtime = quarter.live.runtime
    with runtime.transaction(Role.MERCHANT, merchant_id=ally.id) as session:
        alliance.ask(session, merchant_id=ally.id, template_id=foreign.id, acceptor_id=shop.id, pays_percent=80,
                     most=9, now=runtime.now())  # fmt: skip
    examiner.open(shop.till, f"{shop.url}/merchant/alliance")
    with runtime.transaction(Role.MERCHANT, merchant_id=shop.id) as session:
        alliance.agree(session, merchant_id=shop.id, template_id=foreign.id, pays_percent=80, now=runtime.now())
        levels.save(session, merchant_id=shop.id, levels=[levels.Level("常客", 30, 120)])
        adjustments.set_alone_most(session, merchant_id=shop.id, staff_id=1, most=5)
    look_at_merchant_pages(examiner, shop, ann, ben, foreign, [coupon.id, draft])
    look_at_operator_pages(examiner, quarter.operator(new_window), shop, ally)

    assert len(examiner.pages) >= 55
    examiner.expect_nothing()


def look_at_owner_pages(
    examiner: Examiner, shop: Shop, ann: Neighbour, ben: Neighbour, coupon: CouponTemplate, gift: CouponTemplate
) -> None:
    ann.open(f"/m/c/{coupon.public_id}")
    examiner.look(ann.window)
    held = ann.take(coupon)
    examiner.look(ann.window)
    ann.take(gift)
    ann.open(f"/m/points/{shop.id}")
    examiner.look(ann.window)
    ann.window.press("今天签到")
    examiner.look(ann.window, "checked in")
    ann.page.get_by_role("button", name=re.compile("兑换")).click()
    expect(ann.page.get_by_role("dialog")).to_be_visible()
    examiner.look(ann.window, "the question before an exchange")
    ann.page.get_by_role("dialog").get_by_role("button", name="取消").click()
    ann.open(f"/m/invite/{shop.id}")
    examiner.look(ann.window, "no card yet")
    ann.window.press("做一张我的卡")
    wait_until(lambda: has_card(ann, shop), what="the card's code")
    examiner.look(ann.window)
    found = re.search(r"/m/i/\w+", ann.page.locator("main").inner_text())
    assert found is not None
    for path in (found[0], "/m/i/" + "x" * 14):
        ben.open(path)
        examiner.look(ben.window)
    for path in ("/m/", held):
        ann.shows(path)
        examiner.look(ann.window)
    ann.window.press("转给邻居")
    examiner.look(ann.window, "passing on")
    link = ann.page.locator("#gift-link").inner_text()
    for one in (ann, ben):
        examiner.open(one.window, link)
    shop.redeem(ann.shows(held), bill="30")
    examiner.look(shop.till, "a redemption")
    for path in ("/m/coupons", "/m/coupons?show=used", "/m/coupons?show=over", held, "/m/points", "/m/shops",
                 f"/m/shops/{shop.id}", "/m/settings", "/m/privacy", f"/m/c/{coupon.public_id}"):  # fmt: skip
        ann.open(path)
        examiner.look(ann.window)
    ben.take(coupon)
    ben.open("/m/settings")
    ben.window.press("在这部手机上退出")
    examiner.look(ben.window, "signed out")


def has_card(ann: Neighbour, shop: Shop) -> bool:
    ann.open(f"/m/invite/{shop.id}")
    return ann.page.get_by_alt_text("我的邀请码").count() == 1


def look_at_merchant_pages(
    examiner: Examiner, shop: Shop, ann: Neighbour, ben: Neighbour, foreign: CouponTemplate, kinds: list[int]
) -> None:
    till = shop.till
    ben.take(foreign)
    examiner.open(till, f"{shop.url}/merchant/till")
    till.fill(shown="ABCD")
    till.press("看看能用什么")
    examiner.look(till, "a code that is none")
    till.complaints.clear()
    shop.look(ben.shows())
    examiner.look(till, "the card at the till")
    till.press("先锁定（收款中）")
    expect(till.page.locator(".held")).to_contain_text("已锁定到")
    examiner.look(till, "a coupon that is held")
    till.press("取消锁定")
    till.press("记一次到店")
    examiner.look(till, "a visit")
    shop.look(ben.shows())
    theirs = till.page.locator(".usable", has_text="一枝玫瑰")
    theirs.locator("[name=bill]").fill("12")
    theirs.get_by_role("button", name="用掉这张券").click()
    shop.expect_verdict("核销成功")

    home = f"{shop.url}/merchant"
    month = f"{business_day(shop.live.runtime.now()):%Y-%m}"
    written = [f"/coupons/{one}" for one in kinds]
    for path in ("/coupons", "/coupons/new", "/coupons/new?like=percent", *written, f"{written[0]}/given",
                 f"{written[1]}/edit", "/points", "/redemptions", "/redemptions/liability", "/referrals", "/alliance",
                 f"/alliance/{month}", f"/alliance/{month}/entries"):  # fmt: skip
        till.visit(home + path)
        unfold(till)
        examiner.look(till)
    for path in ("/", "/broadcasts", "/codes", "/codes/new", "/codes/batches/new", "/handovers", "/jobs", "/me",
                 "/me/card", "/me/notices", "/me/quota", "/me/staff", "/me/standing", "/months", "/notices",
                 "/welcome", "/fans"):  # fmt: skip
        till.visit(home + path)
        unfold(till)
        examiner.look(till)
    till.page.locator(".row-list a").first.click()
    till.page.wait_for_load_state()
    number = till.page.url.rpartition("/")[2]
    till.visit(f"{home}/points/fans/{number}")
    unfold(till)
    examiner.look(till, "a fan's points")
    till.fill(points="50", reason="店庆")
    till.page.locator("form[action$='/adjust'] button").click()
    till.page.wait_for_load_state()
    examiner.look(till, "asked for a second person's word")
    till.visit(f"{home}/points")
    examiner.look(till, "points with an adjustment that waits")


def unfold(window: Window) -> None:
    window.page.evaluate("() => document.querySelectorAll('details').forEach((one) => { one.open = true; })")


def look_at_operator_pages(examiner: Examiner, desk: Window, shop: Shop, ally: Shop) -> None:
    """With a coupon that waits, a settlement, somebody who is blocked and ledgers that were proved."""
    runtime = shop.live.runtime
    waiting = shop.street.written(shop.id, name="等您看的")
    with runtime.transaction(Role.MERCHANT, merchant_id=shop.id) as session:
        templates.submit(session, merchant_id=shop.id, template_id=waiting, now=runtime.now())
    with runtime.transaction(Role.PLATFORM) as session:
        proof.prove(session, runtime.now())
        somebody = session.execute(text("SELECT max(follower_id) FROM fan")).scalar_one()
        oversight.block(session, follower_id=somebody, reason="换着手机冒领", operator_id=1, now=runtime.now())
    month = f"{business_day(runtime.now()):%Y-%m}"
    benefits = f"{shop.url}/operator/benefits"
    for path in ("", "?state=live", "/owed", "/alliance", f"/alliance/{month}/{ally.id}/{shop.id}", "/redemptions",
                 "/redemptions?own=1", "/referrals", "/referrals/inviters", "/ledgers", "/blocked",
                 f"/blocked/{somebody}"):  # fmt: skip
        desk.visit(benefits + path)
        unfold(desk)
        examiner.look(desk)
    for path in ("/operator/", "/operator/approvals"):
        desk.visit(shop.url + path)
        unfold(desk)
        examiner.look(desk)
    with runtime.transaction(Role.PLATFORM) as session:
        oversight.lift(session, follower_id=somebody, reason="看过了")
