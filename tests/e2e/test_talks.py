"""Talking with customers in browsers: a message from the phone is in the open inbox at once, and the answer is back.

With QUANMA_SCREENSHOTS set to a folder, what the browsers show is kept there for people to look at.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis
from playwright.sync_api import Dialog, Locator, expect

from bot.talks import canned, desk
from bot.talks.desk import Hours
from core.database import Role
from merchants import staff
from merchants.models import StaffRole
from tests.conftest import Live, wait_until
from tests.couponing import Street
from tests.e2e.conftest import NewWindow
from tests.e2e.test_benefits import Examiner, Neighbour, excused
from tests.e2e.test_owner_pages import new_code
from tests.e2e.test_story import PASSWORD, SOON_MS, save_picture, sign_up
from tests.e2e.window import DESK, PHONE, Window
from web.auth.pages import invitation_url

AT_ONCE_MS = 2_000
"""From the phone into the open inbox: what the pages promise."""
WIDTHS = {"phone": PHONE, "desk": DESK}


@dataclass
class Counter:
    """A shop whose owner sits at a desk and whose clerk has a phone."""

    live: Live
    street: Street
    id: int
    name: str
    code: str
    people: dict[str, Window] = field(default_factory=dict)

    def sees(self, who: str, path: str = "") -> Window:
        """One of them opens a page of the talks."""
        window = self.people[who]
        window.visit(f"{self.live.url}/merchant/talks{path}")
        return window

    def asks_how_it_was(self) -> None:
        with self.live.runtime.transaction(Role.MERCHANT, merchant_id=self.id) as session:
            desk.save(
                session, merchant_id=self.id, hours=Hours(), asks_satisfaction=True, hands_over=False, notify_after=2,
                now=self.live.runtime.now(),
            )  # fmt: skip

    def often_says(self, title: str, words: str) -> None:
        with self.live.runtime.transaction(Role.MERCHANT, merchant_id=self.id) as session:
            canned.add(session, merchant_id=self.id, title=title, words=words, hosts=frozenset())


class Customer(Neighbour):
    """Somebody who writes to the account from their phone."""

    def writes(self, words: str) -> None:
        self.live.sandbox.post(f"/sandbox/people/{self.openid}/say", text=words)

    def has(self, words: str) -> None:
        """The phone shows it, sooner or later, once."""
        wait_until(lambda: any(words in one for one in self.read()), seconds=SOON_MS / 1000, what=f"“{words}”")
        assert sum(words in one for one in self.read()) == 1

    def kinds(self) -> list[str]:
        messages = self.live.sandbox.get(f"/sandbox/people/{self.openid}/chat")["messages"]
        return [json.dumps(one) for one in messages if one["from"] == "account" and '"image"' in json.dumps(one)]


@pytest.fixture(scope="module")
def street(live: Live) -> Street:
    return Street.open(live.runtime)


def forget_the_rush(live: Live) -> None:
    """More people sign up here in a minute than a house's door lets in."""
    drawer = redis.Redis.from_url(live.runtime.redis_url)
    assert drawer.delete(*drawer.scan_iter("*limit:*auth*")), "the door counts who comes in"


def open_counter(live: Live, street: Street, name: str, new_window: NewWindow) -> Counter:
    shop_id = street.shop(name)
    shop = Counter(live, street, shop_id, name, new_code(live, shop_id))
    for who, role, size in (("owner", StaffRole.OWNER, DESK), ("clerk", StaffRole.CLERK, PHONE)):
        with live.runtime.transaction(Role.PLATFORM) as session:
            token = staff.invite(session, name=f"{name}{who}", role=role, merchant_id=shop_id, now=live.runtime.now())
        shop.people[who] = new_window(f"{who} of {name}", size)
        sign_up(shop.people[who], invitation_url(live.settings, token), f"{who}{shop_id}")
    forget_the_rush(live)
    return shop


def show(window: Window, name: str) -> None:
    """Keep what is in view, in both widths."""
    folder = os.environ.get("QUANMA_SCREENSHOTS")
    if not folder:
        return
    for width, size in WIDTHS.items():
        window.page.set_viewport_size(size)
        window.page.wait_for_timeout(400)
        window.page.screenshot(path=str(Path(folder) / f"{name}-{width}.png"))
    window.page.set_viewport_size(window.size)


def bubble(window: Window, words: str) -> Locator:
    return window.page.locator(".message", has_text=words)


def answer(window: Window, words: str) -> None:
    window.page.locator("textarea[name=text]").fill(words)
    # An impatient finger.
    window.page.get_by_role("button", name="发送", exact=True).dblclick()
    expect(bubble(window, words)).to_be_visible(timeout=SOON_MS)
    expect(bubble(window, words)).to_have_count(1)


def test_a_message_is_in_the_open_inbox_at_once_and_its_answer_on_the_phone(
    live: Live, street: Street, new_window: NewWindow
) -> None:
    shop = open_counter(live, street, "王记水果", new_window)
    ann = Customer(live, new_window, "小安")
    ann.scan(shop.code)
    owner = shop.sees("owner")
    ann.writes("草莓多少钱一斤？")
    expect(owner.page.locator(".talk-row", has_text="草莓多少钱一斤？")).to_be_visible(timeout=AT_ONCE_MS)
    expect(owner.page).to_have_title(re.compile(r"^\(1\) 消息"))
    show(owner, "list")

    owner.page.locator(".talk-row").click()
    owner.page.wait_for_load_state()
    owner.look()
    field_ = owner.page.locator("textarea[name=text]")
    expect(owner.page.locator(".clock")).to_contain_text("还能在聊天里回复 47 小时")
    field_.fill("十五块，")
    ann.writes("要两斤")
    expect(bubble(owner, "要两斤")).to_be_visible(timeout=AT_ONCE_MS)
    expect(field_).to_have_value("十五块，")
    expect(field_).to_be_focused()
    field_.press("End")
    field_.type("今天的")
    field_.press("Shift+Enter")
    field_.type("马上装好")
    field_.press("Enter")
    ann.has("十五块，今天的")
    expect(bubble(owner, "马上装好")).to_contain_text("已送达平台", timeout=SOON_MS)
    expect(field_).to_have_value("")
    show(owner, "thread")

    field_.fill("关注就送草莓")
    field_.press("Enter")
    expect(owner.page.locator("[data-problem]")).not_to_be_empty(timeout=SOON_MS)
    expect(field_).to_have_value("关注就送草莓")
    excused(owner, 422)
    assert not any("关注就送" in one for one in ann.read())
    owner.visit(f"{live.url}/merchant/talks?box=all")
    expect(owner.page.locator(".talk-row .unread")).to_have_count(0)


def test_two_of_the_staff_see_each_others_answers_and_notes_stay_inside(
    live: Live, street: Street, new_window: NewWindow, tmp_path: Path
) -> None:
    shop = open_counter(live, street, "花店", new_window)
    shop.often_says("地址", "北门对面，蓝色门头")
    template = street.template(street.live(shop.id, name="一枝玫瑰", value_fen=300, min_spend_fen=0, per_person=5))
    ben = Customer(live, new_window, "小本")
    ben.scan(shop.code)
    ben.writes("你们在哪儿？")
    owner, clerk = shop.sees("owner"), shop.sees("clerk")
    for window in (owner, clerk):
        window.page.locator(".talk-row", has_text="你们在哪儿？").click(timeout=SOON_MS)
        window.page.wait_for_load_state()

    clerk.page.locator("summary", has_text="常用语").click()
    clerk.page.get_by_role("searchbox", name="找常用语").fill("北门")
    show(clerk, "canned")
    clerk.page.locator("[data-canned] button").click()
    clerk.page.locator("textarea[name=text]").press("End")
    clerk.page.locator("textarea[name=text]").type("，等您")
    clerk.page.get_by_role("button", name="发送", exact=True).click()
    ben.has("北门对面，蓝色门头，等您")
    expect(bubble(owner, "北门对面，蓝色门头，等您")).to_be_visible(timeout=AT_ONCE_MS)

    save = tmp_path / "roses.png"
    save_picture(save)
    owner.page.locator("input[name=picture]").set_input_files(save)
    expect(owner.page.locator(".composer-chosen")).to_be_visible()
    owner.page.get_by_role("button", name="发送", exact=True).click()
    wait_until(lambda: len(ben.kinds()) == 1, seconds=SOON_MS / 1000, what="the picture")
    expect(clerk.page.get_by_alt_text("发给客人的图片")).to_be_visible(timeout=SOON_MS)

    owner.page.get_by_text("内部备注", exact=True).click()
    owner.page.locator("textarea[name=text]").fill("老主顾，多送一枝")
    owner.page.get_by_role("button", name="记下", exact=True).click()
    expect(bubble(clerk, "老主顾，多送一枝")).to_have_class(re.compile("is-note"), timeout=SOON_MS)

    clerk.page.locator("summary", has_text="送券").click()
    clerk.page.get_by_role("button", name=template.name).click()
    ben.has("送您一张“一枝玫瑰”")
    expect(bubble(owner, "送您一张“一枝玫瑰”")).to_contain_text("已送达平台", timeout=SOON_MS)
    show(clerk, "staff")
    assert not any("老主顾" in one for one in ben.read())


def test_ending_a_talk_asks_how_it_was_and_shows_what_was_said(
    live: Live, street: Street, new_window: NewWindow
) -> None:
    shop = open_counter(live, street, "面包房", new_window)
    shop.asks_how_it_was()
    cat = Customer(live, new_window, "小猫")
    cat.scan(shop.code)
    cat.writes("牛角包还有吗？")
    owner = shop.sees("owner")
    owner.page.locator(".talk-row", has_text="牛角包").click(timeout=SOON_MS)
    owner.page.wait_for_load_state()
    answer(owner, "还有三个，给您留着")
    cat.has("还有三个，给您留着")
    owner.page.get_by_role("button", name="结束接待").click()
    cat.has("满意吗")
    expect(owner.page.locator(".told", has_text="结束了这次接待")).to_be_visible(timeout=SOON_MS)
    cat.writes("1")
    expect(owner.page.locator(".told", has_text="客人评价：满意")).to_be_visible(timeout=SOON_MS)
    expect(owner.page.get_by_role("button", name="重新打开")).to_be_visible()
    figures = shop.sees("owner", "/figures")
    expect(figures.page.locator("main")).to_contain_text("100%")
    show(figures, "figures")


def test_an_answer_to_a_closed_window_waits_for_the_next_hello(
    live: Live, street: Street, new_window: NewWindow
) -> None:
    shop = open_counter(live, street, "修表铺", new_window)
    dan = Customer(live, new_window, "小丹")
    dan.scan(shop.code)
    dan.writes("表修好了吗？")
    talk_id = the_talk(live, shop)
    with live.runtime.transaction(Role.PLATFORM) as session:
        closed = {"id": shop.id, "at": live.runtime.now() - timedelta(seconds=1)}
        session.connection().exec_driver_sql(
            "UPDATE message_window SET opened_at = %(at)s::timestamptz - interval '2 days', expires_at = %(at)s"
            " WHERE merchant_id = %(id)s",
            closed,
        )
    owner = shop.sees("owner", f"/{talk_id}")
    expect(owner.page.locator(".clock")).to_contain_text("现在不能直接回复")
    answer(owner, "修好了，随时来取")
    expect(bubble(owner, "修好了，随时来取")).to_contain_text("等客人下次来访时发", timeout=SOON_MS)
    answer(owner, "这句不说了")
    expect(bubble(owner, "这句不说了")).to_contain_text("等客人下次来访时发", timeout=SOON_MS)
    show(owner, "closed")
    bubble(owner, "这句不说了").get_by_role("button", name="不发了").click()
    expect(bubble(owner, "这句不说了")).to_contain_text("您取消了", timeout=SOON_MS)
    dan.writes("我来了")
    dan.has("修好了，随时来取")
    assert not any("这句不说了" in one for one in dan.read())


def the_talk(live: Live, shop: Counter) -> int:
    def found() -> list[int]:
        with live.runtime.transaction(Role.PLATFORM) as session:
            rows = session.connection().exec_driver_sql("SELECT id FROM talk WHERE merchant_id = %s", (shop.id,))
            return [row[0] for row in rows]

    wait_until(lambda: bool(found()), what="the talk")
    return found()[0]


BEFORE_SAFARI_15_4 = """
    delete SubmitEvent.prototype.submitter;
    delete HTMLFormElement.prototype.requestSubmit;
    delete HTMLDialogElement.prototype.showModal;
    delete Array.prototype.at;"""


def test_on_a_phone_of_some_years_ago_every_button_does_what_it_says(
    live: Live, street: Street, new_window: NewWindow
) -> None:
    shop = open_counter(live, street, "钟表铺", new_window)
    shop.often_says("地址", "北门对面")
    template = street.template(street.live(shop.id, name="换电池", value_fen=300, min_spend_fen=0, per_person=5))
    gus = Customer(live, new_window, "小顾")
    gus.scan(shop.code)
    gus.writes("能换电池吗？")
    clerk, owner = shop.people["clerk"], shop.people["owner"]
    for window in (clerk, owner):
        window.page.add_init_script(BEFORE_SAFARI_15_4)
    clerk.visit(f"{live.url}/merchant/talks/{the_talk(live, shop)}")
    clerk.page.locator("textarea[name=text]").fill("能换的")
    clerk.page.locator("summary", has_text="送券").click()
    clerk.page.get_by_role("button", name=template.name).click()
    gus.has("送您一张“换电池”")
    expect(clerk.page.locator("textarea[name=text]")).to_have_value("能换的")
    clerk.page.get_by_role("button", name="发送", exact=True).click()
    gus.has("能换的")
    clerk.page.get_by_role("button", name="结束接待").click()
    expect(clerk.page.get_by_role("button", name="重新打开")).to_be_visible(timeout=SOON_MS)

    asked: list[str] = []

    def agree(dialog: Dialog) -> None:
        asked.append(dialog.message)
        dialog.accept()

    owner.page.on("dialog", agree)
    owner.visit(f"{live.url}/merchant/talks/replies")
    owner.page.get_by_role("button", name=re.compile("删")).first.click()
    expect(owner.page.locator(".toasts")).to_contain_text("已删掉", timeout=SOON_MS)
    assert len(asked) == 1


def test_a_note_that_was_begun_is_still_a_note_when_one_comes_back(
    live: Live, street: Street, new_window: NewWindow
) -> None:
    shop = open_counter(live, street, "伞店", new_window)
    hal = Customer(live, new_window, "小何")
    hal.scan(shop.code)
    hal.writes("伞修好了吗？")
    talk_id = the_talk(live, shop)
    owner = shop.sees("owner", f"/{talk_id}")
    owner.page.get_by_text("内部备注", exact=True).click()
    owner.page.locator("textarea[name=text]").fill("他上次没付钱")
    shop.sees("owner")
    shop.sees("owner", f"/{talk_id}")
    expect(owner.page.locator("textarea[name=text]")).to_have_value("他上次没付钱")
    expect(owner.page.get_by_label("内部备注")).to_be_checked()
    expect(owner.page.get_by_role("button", name="记下", exact=True)).to_be_visible()
    owner.page.get_by_text("内部备注", exact=True).click()
    owner.page.locator("textarea[name=text]").fill("修好了")
    shop.sees("owner", f"/{talk_id}")
    expect(owner.page.get_by_label("内部备注")).not_to_be_checked()
    expect(owner.page.locator("textarea[name=text]")).to_have_value("修好了")


def test_whose_session_ended_signs_in_and_is_back_in_the_talk(
    live: Live, street: Street, new_window: NewWindow
) -> None:
    shop = open_counter(live, street, "鞋铺", new_window)
    ivy = Customer(live, new_window, "小伊")
    ivy.scan(shop.code)
    ivy.writes("鞋跟能换吗？")
    talk_id = the_talk(live, shop)
    owner = shop.sees("owner", f"/{talk_id}")
    owner.page.locator("textarea[name=text]").fill("能，二十块")
    owner.page.context.clear_cookies()
    owner.page.wait_for_url(re.compile("/auth/sign-in"), timeout=SOON_MS)
    excused(owner, 401)
    owner.fill(login=f"owner{shop.id}", password=PASSWORD)
    owner.press("登录")
    assert urlsplit(owner.page.url).path == f"/merchant/talks/{talk_id}"
    expect(owner.page.locator("textarea[name=text]")).to_have_value("能，二十块")


def test_older_messages_come_above_what_is_read(live: Live, street: Street, new_window: NewWindow) -> None:
    shop = open_counter(live, street, "书店", new_window)
    fay = Customer(live, new_window, "小菲")
    fay.scan(shop.code)
    fay.writes("有词典吗？")
    talk_id = the_talk(live, shop)
    with live.runtime.transaction(Role.PLATFORM) as session:
        session.connection().exec_driver_sql(
            "INSERT INTO talk_message (merchant_id, talk_id, direction, kind, content, at)"
            " SELECT %(shop)s, %(talk)s, 'note', 'text', '记' || n, app_now() - n * interval '1 hour'"
            " FROM generate_series(1, 70) n",
            {"shop": shop.id, "talk": talk_id},
        )
    owner = shop.sees("owner", f"/{talk_id}")
    expect(bubble(owner, "有词典吗？")).to_be_in_viewport()
    expect(bubble(owner, "记70")).to_have_count(0)
    owner.page.locator("[data-scroll]").evaluate("(scroll) => { scroll.scrollTop = 0; }")
    owner.page.get_by_role("link", name="更早的消息").click()
    expect(bubble(owner, "记70")).to_have_count(1, timeout=SOON_MS)
    expect(bubble(owner, "记70")).not_to_be_in_viewport()
    fay.writes("英汉的")
    expect(bubble(owner, "英汉的")).to_have_count(1, timeout=SOON_MS)
    keys = owner.page.locator("[data-part=messages] > li").evaluate_all(
        "(items) => items.map((one) => one.dataset.key)"
    )
    assert len(keys) == len(set(keys))
    moments = owner.page.locator("[data-part=messages] > .message").evaluate_all(
        "(all) => all.map((one) => one.innerText)"
    )
    assert [n for text in moments for n in re.findall(r"记(\d+)", text)] == [str(n) for n in range(70, 0, -1)]
    owner.page.get_by_role("button", name="有新消息").click()
    expect(bubble(owner, "英汉的")).to_be_in_viewport()


def test_axe_finds_nothing_serious_and_the_keyboard_reaches_everything(
    live: Live, street: Street, new_window: NewWindow
) -> None:
    shop = open_counter(live, street, "茶馆", new_window)
    shop.often_says("营业时间", "早上七点到晚上九点")
    street.live(shop.id, name="一壶茶", value_fen=200, min_spend_fen=0)
    eve = Customer(live, new_window, "小夏")
    eve.scan(shop.code)
    eve.writes("有龙井吗？")
    talk_id = the_talk(live, shop)
    examiner = Examiner()
    for who in ("owner", "clerk"):
        window = shop.people[who]
        for path in ("", "?box=closed", "?q=龙井", f"/{talk_id}", "/settings", "/replies", "/figures?days=30"):
            examiner.open(window, f"{live.url}/merchant/talks{path}")
            show(window, f"axe-{path.strip('/?').replace('/', '-').replace('=', '-')}-{who}")
    owner = shop.sees("owner", f"/{talk_id}")
    answer(owner, "有，今年的新茶")
    for words in ("备注、标签、转交", "常用语", "送券"):
        owner.page.locator("summary", has_text=words).focus()
        owner.page.keyboard.press("Enter")
        examiner.look(owner, words)
        show(owner, f"open-{words[:2]}")
        owner.page.keyboard.press("Escape")
    examiner.open(owner, f"{live.url}/merchant/welcome")
    examiner.expect_nothing()
