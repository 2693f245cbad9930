"""Coming in from WeChat as an owner, as the people concerned and as those who would like to be them (#52 to #62)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from flask import Flask
from sqlalchemy import text
from sqlalchemy.orm import Session

from core.database import Role
from core.runtime import Runtime
from merchants import owners, staff
from tests.community import Neighbourhood, new_openid
from tests.conftest import Sandbox, advance
from tests.web.conftest import Browser
from tests.web.owner.conftest import Phone, counts
from web.app import create_app
from web.auth import owner as door


@pytest.fixture
def connected(runtime: Runtime, sandbox: Sandbox) -> Runtime:
    """The same runtime, whose WeChat is the sandbox."""
    urls = {f"wechat_{host}_url": sandbox.url for host in ("api", "mp", "open")}
    return replace(runtime, settings=runtime.settings.model_copy(update=urls))


@pytest.fixture
def browser(connected: Runtime) -> Browser:
    app = create_app(connected)
    app.config["TESTING"] = False
    return Browser(app.test_client())


@pytest.fixture
def openid(sandbox: Sandbox, runtime: Runtime) -> str:
    """Somebody with WeChat who does not follow."""
    Neighbourhood(runtime)
    openid = new_openid()
    sandbox.post("/sandbox/people", openid=openid)
    return openid


def way_back(browser: Browser, openid: str, path: str = "/m/enter") -> str:
    """What the phone does between leaving for WeChat and coming back; returns where it comes back to."""
    left = browser.get(path)
    assert left.status_code == 302, left.text
    address = left.location.partition("#")[0]
    answer = requests.get(address, cookies={"sandbox_person": openid}, allow_redirects=False, timeout=10)
    assert answer.status_code == 302, answer.text
    back = urlsplit(answer.headers["Location"])
    return f"{back.path}?{back.query}"


def state_of(address: str) -> str:
    return parse_qs(urlsplit(address.partition("#")[0]).query)["state"][0]


def people(runtime: Runtime) -> list[tuple[str | None, str]]:
    with runtime.transaction(Role.PLATFORM) as session:
        return [tuple(row) for row in session.execute(text("SELECT openid, status FROM follower ORDER BY id"))]


def test_whoever_opens_the_card_in_wechat_is_let_in_without_typing(
    connected: Runtime, browser: Browser, openid: str
) -> None:
    guest = browser.get("/m/settings?from=menu")
    assert guest.location == "/m/enter?next=/m/settings%3Ffrom%3Dmenu"
    back = way_back(browser, openid, guest.location)
    assert re.fullmatch("[0-9a-f]{64}", state_of(back))
    # Another browser that was handed the address gets nothing, and does not use it up (#52).
    assert Browser(browser.client.application.test_client()).get(back).status_code == 400
    arrived = browser.get(back)
    assert (arrived.status_code, arrived.location) == (303, "/m/settings?from=menu")
    assert browser.get("/m/").status_code == 200
    assert browser.get("/m/enter?next=/m/points").location == "/m/points"
    # A state works once (#53).
    assert browser.get(back).status_code == 400
    assert people(connected) == [(openid, "unknown")]


@pytest.mark.parametrize(
    "query",
    ["", "code=abc", "code=abc&state=" + "0" * 64, "code=abc&state=%2e%2e", "code=abc&state=" + "a" * 200,
     "code=abc&state=" + "0" * 63 + "%0a"],
)  # fmt: skip
def test_a_return_that_nobody_left_for_is_refused(runtime: Runtime, browser: Browser, query: str) -> None:
    """#52, #54."""
    page = browser.get(f"/m/back?{query}")
    assert (page.status_code, "请重新打开" in page.text) == (400, True)
    assert counts(runtime, "follower", "owner_session") == [0, 0]


@pytest.mark.parametrize("code", [None, "", "authdeny", "a" * 1024, "a b", "a%26secret%3Dx"])
def test_a_return_without_a_proper_code_is_refused(
    runtime: Runtime, browser: Browser, openid: str, code: str | None
) -> None:
    """#55."""
    state = state_of(browser.get("/m/enter").location)
    query = f"state={state}" if code is None else f"code={code}&state={state}"
    assert browser.get(f"/m/back?{query}").status_code == 400
    assert counts(runtime, "follower", "owner_session") == [0, 0]


def test_a_used_code_goes_round_once_and_then_ends(browser: Browser, openid: str) -> None:
    """#56: no loop of redirects, whatever the code is."""
    state = state_of(way_back(browser, openid))
    again = browser.get(f"/m/back?code=usedusedused&state={state}")
    assert again.status_code == 302
    assert browser.get(f"/m/back?code=usedusedused&state={state_of(again.location)}").status_code == 400


def test_a_state_of_staff_lets_no_owner_in_nor_the_other_way_round(
    runtime: Runtime, browser: Browser, openid: str
) -> None:
    owners_back = way_back(browser, openid)
    assert browser.get("/auth/wechat/back?" + urlsplit(owners_back).query).status_code == 400
    staffs_back = way_back(browser, openid, "/auth/wechat")
    assert browser.get("/m/back?" + urlsplit(staffs_back).query).status_code == 400
    assert counts(runtime, "owner_session", "login_session") == [0, 0]


def test_a_snapshot_visitor_only_looks(runtime: Runtime, sandbox: Sandbox, browser: Browser, openid: str) -> None:
    """AU-2, #57."""
    sandbox.post("/sandbox/people", openid=openid, snapshot=True)
    assert browser.get(way_back(browser, openid, "/m/enter?next=/m/settings")).status_code == 303
    before = counts(runtime, "follower", "owner_profile", "opt_out")
    page = browser.get("/m/settings")
    assert (page.status_code, "现在是预览" in page.text) == (200, True)
    found = re.search('csrf-token" content="([^"]+)', page.text)
    assert found is not None
    browser.token = found[1]
    refused = browser.post("/m/settings/birthday", {"month": "2", "day": "3"})
    assert (refused.status_code, "预览" in refused.text) == (403, True)
    assert counts(runtime, "follower", "owner_profile", "opt_out") == before == [0, 0, 0]
    # With the full service it is somebody.
    sandbox.post("/sandbox/people", openid=openid, snapshot=False)
    browser.get(way_back(browser, openid))
    assert "现在是预览" not in browser.get("/m/settings").text
    assert people(runtime) == [(openid, "unknown")]


def test_an_answer_that_names_nobody_lets_nobody_in_and_is_told(
    runtime: Runtime, browser: Browser, monkeypatch: pytest.MonkeyPatch, openid: str
) -> None:
    """#58: without an openid, and with one that no account gives."""
    for answer in ({"openid": ""}, {"openid": "o-short"}, {"openid": openid, "unionid": "not one"}):
        monkeypatch.setattr("wechat.transport.Transport.call", lambda *_args, answer=answer, **_named: answer)
        state = state_of(browser.get("/m/enter").location)
        assert browser.get(f"/m/back?code=abc&state={state}").status_code == 403
    assert counts(runtime, "follower", "owner_session") == [0, 0]
    with runtime.transaction(Role.PLATFORM) as session:
        told = session.scalars(text("SELECT count(*) FROM audit_log WHERE action = 'owner.no_identity'")).one()
    assert told == 3


def test_another_unionid_is_the_same_person(
    runtime: Runtime, browser: Browser, monkeypatch: pytest.MonkeyPatch, openid: str
) -> None:
    """#58: a person is an openid of this account; the unionid decides nothing."""
    for unionid in ("u-one", "u-two"):
        answer = {"openid": openid, "unionid": unionid}
        monkeypatch.setattr("wechat.transport.Transport.call", lambda *_args, answer=answer, **_named: answer)
        browser.client.delete_cookie("owner")
        state = state_of(browser.get("/m/enter").location)
        assert browser.get(f"/m/back?code=abc&state={state}").status_code == 303
    assert people(runtime) == [(openid, "unknown")]


@pytest.mark.parametrize(
    "target",
    ["//evil.com", "/\\evil", "https:evil", "%2f%2fevil", "/%2f%2fevil", "\t//evil", "javascript:alert(1)", "data:x",
     "/ok\r\nSet-Cookie: a=b", "/m/../merchant/", "/merchant/", "/m/enter?next=/m/enter", "/m/back?state=x", "/m",
     "m/"],
)  # fmt: skip
def test_one_comes_back_to_owners_pages_only(owner_phone: Callable[[], Phone], target: str) -> None:
    """AU-5, #59."""
    phone = owner_phone()
    went = phone.browser.get("/m/enter", query_string={"next": target})
    assert (went.status_code, went.location) == (303, "/m/")


@pytest.mark.parametrize("path", ["/m/", "/m/settings"])
def test_a_cookie_that_is_not_ours_is_a_guests(app: Flask, path: str) -> None:
    """#60."""
    browser = Browser(app.test_client())
    for token in ("", "x", "é", "a" * 5_000, staff.new_token()):
        browser.client.set_cookie("owner", token)
        assert browser.get(path).location.startswith("/m/enter?next=/m/")
        asked = browser.get(path, headers={"HX-Request": "true", "HX-Current-URL": f"http://localhost{path}?a=1"})
        assert (asked.status_code, asked.headers["HX-Redirect"]) == (401, f"/m/enter?next={path}%3Fa%3D1")


def test_a_session_lasts_seven_days_whatever_happens(runtime: Runtime, owner_phone: Callable[[], Phone]) -> None:
    """AU-3, #60."""
    phone = owner_phone()
    advance(runtime, timedelta(days=6, hours=23))
    assert phone.browser.get("/m/settings").status_code == 200
    advance(runtime, timedelta(hours=1))
    assert phone.browser.get("/m/settings").status_code == 302


def test_the_cookie_changes_at_every_arrival_and_the_former_is_worth_nothing(
    runtime: Runtime, browser: Browser, openid: str
) -> None:
    """#61: whoever planted a session is not in the one that comes of it."""
    planted = staff.new_token()
    browser.client.set_cookie("owner", planted)
    assert browser.get("/m/").status_code == 302
    browser.get(way_back(browser, openid))
    first = browser.client.get_cookie("owner")
    assert first is not None
    assert first.value not in ("", planted)
    with runtime.transaction(Role.PLATFORM) as session:
        follower_id = session.scalars(text("SELECT id FROM follower")).one()
        again = owners.begin(session, follower_id=follower_id, now=runtime.now(), former=staff.token_hash(first.value))
    assert again != first.value
    assert browser.get("/m/").status_code == 302
    browser.client.set_cookie("owner", again)
    assert browser.get("/m/").status_code == 200


@pytest.mark.parametrize("headers", [{"Host": "evil.com"}, {"Host": "localhost.evil.com"}])
def test_another_hosts_name_is_refused(app: Flask, headers: dict[str, str]) -> None:
    """#62."""
    assert app.test_client().get("/m/enter", headers=headers).status_code == 400


def test_a_forwarded_host_changes_no_address(app: Flask) -> None:
    """#62."""
    left = app.test_client().get("/m/enter", headers={"X-Forwarded-Host": "evil.com"})
    assert "evil" not in left.location


def test_the_cookie_is_a_host_cookie_where_pages_are_https(runtime: Runtime) -> None:
    settings = runtime.settings.model_copy(update={"public_url": "https://q.example.test"})
    app = create_app(replace(runtime, settings=settings))
    with app.test_request_context("/m/", base_url="https://q.example.test"):
        response = app.response_class()
        door.set_cookie(response, "t")
    cookie = response.headers["Set-Cookie"]
    assert cookie.startswith("__Host-owner=t;")
    for mark in ("Secure", "HttpOnly", "SameSite=Lax", "Path=/"):
        assert mark in cookie


def test_outside_wechat_one_is_told_where_to_open_it(runtime: Runtime) -> None:
    settings = runtime.settings.model_copy(update={"wechat_api_url": "https://api.weixin.qq.com"})
    assert not settings.is_sandbox
    app = create_app(replace(runtime, settings=settings))
    page = app.test_client().get("/m/enter?next=/m/points", base_url=settings.public_url)
    assert (page.status_code, "请在微信里打开" in page.text) == (200, True)
    agent = {"User-Agent": "Mozilla/5.0 MicroMessenger/8.0"}
    inside = app.test_client().get("/m/enter", base_url=settings.public_url, headers=agent)
    assert inside.status_code == 302
    assert counts(runtime, "owner_session") == [0]


def test_two_phones_of_a_sandbox_are_two_people(
    runtime: Runtime, browser: Browser, openid: str, sandbox: Sandbox
) -> None:
    """They share a browser, which real phones do not."""
    other = new_openid()
    sandbox.post("/sandbox/people", openid=other)
    for one in (openid, other):
        browser.client.set_cookie("sandbox_person", one)
        assert browser.get("/m/").status_code == 302
        browser.get(way_back(browser, one))
        assert browser.get("/m/").status_code == 200
    browser.client.set_cookie("sandbox_person", openid)
    assert browser.get("/m/").status_code == 200
    assert counts(runtime, "owner_session") == [2]


def test_whoever_waits_for_arrivals_hears_of_each(
    connected: Runtime, browser: Browser, openid: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[tuple[bool, str]] = []

    def note(_session: Session, _follower_id: int, is_new: bool, target: str, _now: datetime) -> None:
        heard.append((is_new, target))

    monkeypatch.setattr(door, "on_arrival", [note])
    for _ in range(2):
        browser.client.delete_cookie("owner")
        browser.get(way_back(browser, openid, "/m/enter?next=/m/shops"))
    assert heard == [(True, "/m/shops"), (False, "/m/shops")]


def test_a_form_without_its_token_is_refused(owner_phone: Callable[[], Phone]) -> None:
    """#66."""
    phone = owner_phone()
    assert phone.browser.client.post("/m/settings/birthday", data={"month": "2", "day": "3"}).status_code == 403
