"""Binding and signing in through WeChat, as the people concerned and as those who would like to be them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from flask import Flask
from sqlalchemy import text

from bot.events import Event
from bot.inbox import Inbox
from core import erasure, jobs
from core.database import Role
from core.outbox import MESSAGES
from core.runtime import Runtime
from merchants import identities, staff
from merchants import jobs as staff_jobs
from merchants.models import StaffRole
from qrcodes import codes
from tests.community import Neighbourhood, new_openid, scanned, subscribed, wrote
from tests.conftest import Sandbox, advance
from tests.web.conftest import Browser
from web.app import create_app


@dataclass
class Phone:
    """Somebody's WeChat, which follows the account."""

    inbox: Inbox
    openid: str
    follower_id: int
    seconds: int = 0

    def scan(self, scene: str) -> str:
        return self._do(scanned(self.openid, self._now(), scene))

    def say(self, words: str) -> str:
        return self._do(wrote(self.openid, self._now(), words))

    def _do(self, event: Event) -> str:
        (reply,) = self.inbox.receive([event])
        return reply or ""

    def _now(self) -> datetime:
        """A second later each time: the platform tells events of one person apart by it."""
        self.seconds += 1
        return self.inbox._runtime.now().replace(microsecond=0) + timedelta(seconds=self.seconds)


@pytest.fixture
def street(runtime: Runtime) -> Neighbourhood:
    return Neighbourhood(runtime)


@pytest.fixture
def new_phone(runtime: Runtime, street: Neighbourhood) -> Callable[[], Phone]:
    inbox = Inbox(runtime)

    def make() -> Phone:
        openid = new_openid()
        inbox.receive([subscribed(openid, street.now - timedelta(minutes=1))])
        with runtime.transaction(Role.PLATFORM) as session:
            found = session.scalars(text("SELECT id FROM follower WHERE openid = :openid"), {"openid": openid})
            return Phone(inbox, openid, found.one())

    return make


@pytest.fixture
def shop(runtime: Runtime, street: Neighbourhood, new_staff: Callable[..., int]) -> int:
    """A shop with an owner; returns the shop's id."""
    merchant_id = street.merchant("老王豆浆")
    new_staff("owner", StaffRole.OWNER, merchant_id)
    return merchant_id


def newest_link(runtime: Runtime) -> tuple[str, str]:
    """Scene and number of the newest staff code, as its worker and its owner know them."""
    with runtime.transaction(Role.PLATFORM) as session:
        row = session.execute(text("SELECT scene, number FROM staff_link ORDER BY id DESC LIMIT 1")).one()
        session.execute(text("UPDATE staff_link SET url = 'http://weixin.qq.com/q/02' || scene WHERE url IS NULL"))
        return row[0], row[1]


def number_in(words: str) -> str:
    found = re.search(r"核对码：(\d\d)", words)
    assert found is not None, words
    return found[1]


def another(number: str) -> str:
    return str((int(number) - 9) % 90 + 10)


def show_binding(runtime: Runtime, browser: Browser) -> str:
    """A code to bind with; returns its scene."""
    browser.get("/auth/binding")
    assert browser.post("/auth/binding").status_code == 303
    scene, _ = newest_link(runtime)
    assert "data:image/png" in browser.get("/auth/binding").text
    return scene


def bind(runtime: Runtime, browser: Browser, phone: Phone) -> None:
    words = phone.scan(show_binding(runtime, browser))
    assert "有人扫了这个码" in browser.get("/auth/binding").text
    browser.post("/auth/binding/confirm", {"number": number_in(words)})
    assert "已绑定微信" in browser.get("/auth/binding").text


def is_bound(runtime: Runtime, login: str) -> bool:
    with runtime.transaction(Role.PLATFORM) as session:
        staff_id = session.scalars(text("SELECT id FROM staff WHERE login = :login"), {"login": login}).one()
        return identities.bound_since(session, staff_id=staff_id) is not None


def show_sign_in(runtime: Runtime, browser: Browser) -> tuple[str, str]:
    """A code to sign in with; returns its scene and number."""
    browser.get("/auth/sign-in?next=/merchant/fans")
    assert browser.post("/auth/scan", {"next": "/merchant/fans"}).location == "/auth/scan"
    scene, number = newest_link(runtime)
    page = browser.get("/auth/scan")
    assert "data:image/png" in page.text
    assert f">{number}<" not in page.text
    return scene, number


def enter(browser: Browser) -> str:
    """What the page does by itself once the number has come."""
    browser.get("/auth/scan")
    return str(browser.post("/auth/scan/enter", headers={"HX-Request": "true"}).headers.get("HX-Redirect"))


@pytest.fixture
def owner(runtime: Runtime, app: Flask, shop: int) -> Browser:
    browser = Browser(app.test_client())
    assert browser.sign_in("owner").status_code == 303
    return browser


# ---- binding ----


def test_one_binds_ones_own_wechat_and_ends_it(
    runtime: Runtime, owner: Browser, new_phone: Callable[[], Phone]
) -> None:
    bind(runtime, owner, new_phone())
    owner.get("/auth/binding")
    assert owner.post("/auth/binding/end").status_code == 303
    assert not is_bound(runtime, "owner")
    with runtime.transaction(Role.PLATFORM) as session:
        actions = session.scalars(text("SELECT action FROM audit_log WHERE action LIKE 'wechat%' ORDER BY id")).all()
    assert actions == ["wechat.bind", "wechat.unbind"]


def test_who_scans_over_a_shoulder_binds_nothing(
    runtime: Runtime, app: Flask, owner: Browser, new_phone: Callable[[], Phone]
) -> None:
    """The stranger has a number but no browser; the owner has the browser but sees no number on the own phone."""
    stranger, own = new_phone(), new_phone()
    scene = show_binding(runtime, owner)
    number = number_in(stranger.scan(scene))
    assert "过期" in own.scan(scene)
    elsewhere = Browser(app.test_client())
    elsewhere.sign_in("owner")
    elsewhere.get("/auth/account")
    elsewhere.post("/auth/binding/confirm", {"number": number})
    assert not is_bound(runtime, "owner")
    owner.get("/auth/binding")
    owner.post("/auth/binding/confirm", {"number": another(number)})
    assert "作废" in owner.get("/auth/binding").text
    # The guess has ended the code, so that not even the right number is worth anything now.
    owner.post("/auth/binding/confirm", {"number": number})
    assert not is_bound(runtime, "owner")


def test_a_binding_code_ends_and_works_once(runtime: Runtime, owner: Browser, new_phone: Callable[[], Phone]) -> None:
    phone = new_phone()
    number = number_in(phone.scan(show_binding(runtime, owner)))
    advance(runtime, timedelta(minutes=10))
    owner.get("/auth/binding")
    owner.post("/auth/binding/confirm", {"number": number})
    assert not is_bound(runtime, "owner")
    scene = show_binding(runtime, owner)
    number = number_in(phone.scan(scene))
    owner.get("/auth/binding")
    owner.post("/auth/binding/confirm", {"number": number})
    assert is_bound(runtime, "owner")
    assert "过期" in phone.scan(scene)
    owner.get("/auth/binding")
    owner.post("/auth/binding/end")
    owner.post("/auth/binding/confirm", {"number": number})
    assert not is_bound(runtime, "owner")


def test_who_is_forgotten_is_bound_no_more(
    runtime: Runtime, app: Flask, owner: Browser, new_phone: Callable[[], Phone]
) -> None:
    phone = new_phone()
    bind(runtime, owner, phone)
    browser = Browser(app.test_client())
    show_sign_in(runtime, browser)
    with runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("SELECT 1 FROM follower WHERE id = :id FOR UPDATE"), {"id": phone.follower_id})
        erasure.erase(session, follower_id=phone.follower_id, reason="request")
        left = session.execute(
            text("""
                SELECT (SELECT count(*) FROM staff_identity WHERE follower_id = :id),
                       (SELECT count(*) FROM staff_link WHERE follower_id = :id)"""),
            {"id": phone.follower_id},
        ).one()
    assert tuple(left) == (0, 0)
    assert not is_bound(runtime, "owner")


# ---- signing in by scan ----


def test_the_browser_with_the_number_is_let_in_and_no_other(
    runtime: Runtime, app: Flask, owner: Browser, new_phone: Callable[[], Phone]
) -> None:
    phone = new_phone()
    bind(runtime, owner, phone)
    desk, other = Browser(app.test_client()), Browser(app.test_client())
    scene, number = show_sign_in(runtime, desk)
    assert enter(desk) == "/auth/sign-in"
    phone.scan(scene)
    assert f">{number}<" in desk.get("/auth/scan").text
    assert enter(desk) == "/auth/sign-in"
    other.get("/auth/sign-in")
    assert f">{number}<" not in other.get("/auth/scan").text
    assert "好了" in phone.say(number)
    assert other.post("/auth/scan/enter").status_code == 410
    assert enter(desk) == "/merchant/fans"
    assert desk.get("/merchant/fans").status_code == 200
    # The code is used up, for this browser as well.
    desk.get("/auth/account")
    assert desk.post("/auth/scan/enter").status_code in {303, 410}
    with runtime.transaction(Role.PLATFORM) as session:
        by = session.scalars(
            text("SELECT detail->>'by' FROM audit_log WHERE action = 'signed in' ORDER BY id DESC LIMIT 1")
        ).one()
    assert by == "scan"


def test_who_is_sent_somebody_elses_code_lets_nobody_in(
    runtime: Runtime, app: Flask, owner: Browser, new_phone: Callable[[], Phone]
) -> None:
    """QR phishing: the victim scans, reads which browser asks, and has no number to send."""
    victim = new_phone()
    bind(runtime, owner, victim)
    thief = Browser(app.test_client())
    scene, number = show_sign_in(runtime, thief)
    assert "不要回复" in victim.scan(scene)
    victim.say(another(number))
    victim.say(number)
    assert enter(thief) == "/auth/sign-in"
    assert thief.get("/merchant/").status_code == 302


def test_a_sign_in_code_lasts_five_minutes(
    runtime: Runtime, app: Flask, owner: Browser, new_phone: Callable[[], Phone]
) -> None:
    phone = new_phone()
    bind(runtime, owner, phone)
    desk = Browser(app.test_client())
    scene, number = show_sign_in(runtime, desk)
    phone.scan(scene)
    phone.say(number)
    advance(runtime, timedelta(minutes=5))
    assert enter(desk) == "/auth/sign-in"


@pytest.mark.parametrize("how", ["suspended", "disabled"])
def test_who_may_not_sign_in_is_not_let_in_by_wechat(
    runtime: Runtime, app: Flask, owner: Browser, shop: int, new_phone: Callable[[], Phone], how: str
) -> None:
    """Between the number and the door, and before the scan."""
    phone = new_phone()
    bind(runtime, owner, phone)
    desk = Browser(app.test_client())
    scene, number = show_sign_in(runtime, desk)
    phone.scan(scene)
    phone.say(number)
    with runtime.transaction(Role.PLATFORM) as session:
        if how == "suspended":
            codes.suspend_merchant(session, merchant_id=shop, now=runtime.now())
        else:
            staff_id = session.scalars(text("SELECT id FROM staff WHERE login = 'owner'")).one()
            staff.disable(session, staff_id=staff_id, now=runtime.now())
    assert enter(desk) == "/auth/sign-in"
    assert desk.get("/merchant/").status_code == 302
    scene, _ = show_sign_in(runtime, desk)
    assert "还没有绑定" in phone.scan(scene)


def test_who_works_in_two_places_chooses(
    runtime: Runtime, app: Flask, owner: Browser, street: Neighbourhood, new_staff: Callable[..., int],
    new_phone: Callable[[], Phone],
) -> None:  # fmt: skip
    phone = new_phone()
    bind(runtime, owner, phone)
    noodles = street.merchant("面馆")
    clerk_id = new_staff("clerk", StaffRole.CLERK, noodles)
    stranger_id = new_staff("stranger", StaffRole.CLERK, noodles)
    clerk = Browser(app.test_client())
    clerk.sign_in("clerk")
    bind(runtime, clerk, phone)
    desk = Browser(app.test_client())
    scene, number = show_sign_in(runtime, desk)
    phone.scan(scene)
    phone.say(number)
    assert enter(desk) == "/auth/choose"
    page = desk.get("/auth/choose")
    assert "老王豆浆" in page.text
    assert "面馆" in page.text
    assert desk.post("/auth/choose", {"staff_id": str(stranger_id)}).status_code == 404
    desk.get("/auth/choose")
    assert desk.post("/auth/choose", {"staff_id": str(clerk_id)}).location == "/merchant/fans"
    assert "面馆" in desk.get("/merchant/fans").text
    assert Browser(app.test_client()).get("/auth/choose").location == "/auth/sign-in"


def test_codes_for_strangers_are_rationed(app: Flask) -> None:
    browser = Browser(app.test_client())
    browser.get("/auth/sign-in")
    answers = [browser.post("/auth/scan").status_code for _ in range(11)]
    assert answers == [303] * 10 + [429]


# ---- signing in inside WeChat, against WeChat in a box ----


@pytest.fixture
def connected(runtime: Runtime, sandbox: Sandbox) -> Runtime:
    hosts = {f"wechat_{host}_url": sandbox.url for host in ("api", "mp", "open")}
    return replace(runtime, settings=runtime.settings.model_copy(update=hosts))


@pytest.fixture
def phones_browser(connected: Runtime) -> Browser:
    return Browser(create_app(connected).test_client())


def authorize(browser: Browser, phone: Phone, path: str = "/auth/wechat") -> str:
    """To WeChat with this phone; returns the path it comes back to."""
    leaving = browser.get(path)
    assert leaving.status_code == 302
    answer = requests.get(
        f"{leaving.location.partition('#')[0]}&sandbox_openid={phone.openid}", allow_redirects=False, timeout=10
    )
    back = urlsplit(answer.headers["Location"])
    return f"{back.path}?{back.query}"


def test_inside_wechat_one_is_let_in_without_typing(
    connected: Runtime, sandbox: Sandbox, owner: Browser, phones_browser: Browser, new_phone: Callable[[], Phone]
) -> None:
    phone = new_phone()
    sandbox.post("/sandbox/people", openid=phone.openid)
    bind(connected, owner, phone)
    back = authorize(phones_browser, phone, "/auth/wechat?next=/merchant/codes")
    (state,) = parse_qs(urlsplit(back).query)["state"]
    assert re.fullmatch("[0-9a-f]{64}", state)
    # Another browser that was handed the address gets nothing, and does not use it up.
    assert Browser(phones_browser.client.application.test_client()).get(back).status_code == 400
    assert phones_browser.get(back).location == "/merchant/codes"
    assert phones_browser.get("/merchant/codes").status_code == 200
    assert phones_browser.get("/auth/wechat").location == "/merchant/"
    assert phones_browser.get(back).status_code == 400


@pytest.mark.parametrize(
    "query", ["", "code=abc", "code=abc&state=" + "0" * 64, "code=abc&state=%2e%2e", "code=abc&state=" + "a" * 200]
)
def test_a_return_that_nobody_left_for_is_refused(phones_browser: Browser, query: str) -> None:
    assert phones_browser.get(f"/auth/wechat/back?{query}").status_code == 400


def test_a_used_code_goes_round_once_and_a_refusal_ends(
    sandbox: Sandbox, phones_browser: Browser, new_phone: Callable[[], Phone]
) -> None:
    phone = new_phone()
    sandbox.post("/sandbox/people", openid=phone.openid)
    state = parse_qs(urlsplit(authorize(phones_browser, phone)).query)["state"][0]
    again = phones_browser.get(f"/auth/wechat/back?code=usedusedused&state={state}")
    assert again.status_code == 302
    state = parse_qs(urlsplit(again.location.partition("#")[0]).query)["state"][0]
    assert phones_browser.get(f"/auth/wechat/back?code=usedusedused&state={state}").status_code == 400
    state = parse_qs(urlsplit(authorize(phones_browser, phone)).query)["state"][0]
    assert phones_browser.get(f"/auth/wechat/back?code=authdeny&state={state}").status_code == 400


def test_a_snapshot_and_a_stranger_see_a_page_and_nothing_is_written(
    runtime: Runtime, sandbox: Sandbox, phones_browser: Browser, new_phone: Callable[[], Phone]
) -> None:
    phone = new_phone()
    sandbox.post("/sandbox/people", openid=phone.openid)
    page = phones_browser.get(authorize(phones_browser, phone))
    assert (page.status_code, "还没有绑定" in page.text) == (200, True)
    sandbox.post("/sandbox/people", openid=phone.openid, snapshot=True)
    page = phones_browser.get(authorize(phones_browser, phone))
    assert (page.status_code, "预览" in page.text) == (200, True)
    with runtime.transaction(Role.PLATFORM) as session:
        assert session.scalars(text("SELECT count(*) FROM login_session")).one() == 0


def test_a_worker_makes_the_code_at_the_platform(connected: Runtime, sandbox: Sandbox, owner: Browser) -> None:
    owner.get("/auth/binding")
    owner.post("/auth/binding")
    jobs.drain(connected, staff_jobs.HANDLERS, MESSAGES)
    with connected.transaction(Role.PLATFORM) as session:
        url = session.scalars(text("SELECT url FROM staff_link")).one()
    assert url.startswith("http://weixin.qq.com/q/")
    assert "data:image/png" in owner.get("/auth/binding").text
