"""公众号菜单: the editor keeps a draft, refuses with sentences, publishes, and shows what the account has."""

from __future__ import annotations

import dataclasses
import json
import re
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from core.database import Role
from core.models import AuditLog
from core.runtime import Runtime
from tests.bot.menus.bad import BAD, GOOD, above, click, view
from tests.conftest import Sandbox, advance
from tests.web.conftest import Browser, Crew
from web.app import create_app
from wechat.client import client_of

PAGE = "/operator/menu"
FIRST = [click(), view("https://example.com/shops")]
SECOND = [above(click(name="积分", key="words:积分"), name="我的")]


@pytest.fixture
def connected(runtime: Runtime, sandbox: Sandbox) -> Runtime:
    sandbox.post("/sandbox/reset")
    sandbox.post("/sandbox/faults", mode="replace", rules=[])
    hosts = {f"wechat_{host}_url": sandbox.url for host in ("api", "mp", "open")}
    return dataclasses.replace(runtime, settings=runtime.settings.model_copy(update=hosts))


@pytest.fixture
def operator(connected: Runtime, crew: Crew) -> Browser:
    """The operator of the crew, at pages that reach the sandbox."""
    browser = Browser(create_app(connected).test_client())
    assert browser.sign_in("operator").status_code == 303
    browser.get(PAGE)
    return browser


def send(browser: Browser, act: str, menu: Any, version: int = 0, **fields: str) -> Any:
    return browser.post(f"{PAGE}/{act}", {"buttons": json.dumps(menu), "version": str(version), **fields})


def on_the_account(sandbox: Sandbox) -> Any:
    return sandbox.get("/sandbox/menu")["button"]


def shown(page: str) -> Any:
    """What the editor is given."""
    found = re.search(r'id="menu-data"[^>]*>(.*?)</script>', page, re.DOTALL)
    assert found
    return json.loads(found[1])


def text_of(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page))


def test_a_menu_is_drafted_published_and_read_back(operator: Browser, sandbox: Sandbox, runtime: Runtime) -> None:
    assert send(operator, "draft", FIRST).status_code == 303
    assert on_the_account(sandbox) == []
    assert send(operator, "publish", GOOD, 1, note="开业").status_code == 303
    assert on_the_account(sandbox) == GOOD
    page = text_of(operator.get(PAGE).text)
    assert "已发布，并已读回核对" in page
    assert "公众号上就是 员工operator 发布的这一份" in page
    assert "开业" in page
    with runtime.transaction(Role.PLATFORM) as session:
        actions = session.scalars(select(AuditLog.action).where(AuditLog.action.startswith("menu."))).all()
    assert actions == ["menu.save", "menu.publish"]


def test_every_limit_is_refused_before_the_platform_is_asked(operator: Browser, sandbox: Sandbox) -> None:
    for menu, _errcode, sentence in BAD.values():
        told = operator.post(f"{PAGE}/check", {"buttons": json.dumps(menu)}).json
        assert told is not None
        assert [sentence in fault["text"] for fault in told["faults"]] == [True]
    refused = send(operator, "publish", BAD["no action above"][0])
    assert refused.status_code == 422
    assert "菜单还有要改的地方，没有发布" in refused.text
    assert "还没有选点了以后做什么" in shown(refused.text)["faults"][0]["text"]
    assert on_the_account(sandbox) == []


def test_a_draft_may_be_unfinished(operator: Browser) -> None:
    assert send(operator, "draft", [{"name": "优惠"}]).status_code == 303
    data = shown(operator.get(PAGE).text)
    assert data["buttons"] == [{"name": "优惠"}]
    assert [fault["place"] for fault in data["faults"]] == [[0]]


NO_MENUS = (
    "", "x", "{}", '[{"name": 1}]', '[{"nam": ""}]', '[{"sub_button": {}}]', json.dumps([{}] * 21),
    json.dumps([{"name": "长" * 501}]), "[" * 3000,
)  # fmt: skip


def test_what_is_no_menu_is_not_read(operator: Browser) -> None:
    for sent in NO_MENUS:
        for act in ("draft", "publish"):
            answer = operator.post(f"{PAGE}/{act}", {"buttons": sent, "version": "0"})
            assert answer.status_code == 422
            assert "菜单的内容读不懂" in answer.text
        assert operator.post(f"{PAGE}/check", {"buttons": sent}).status_code == 422


def test_a_name_is_shown_as_it_was_written(operator: Browser) -> None:
    name = "</script><b>'\""
    assert send(operator, "draft", [click(name=name)]).status_code == 303
    page = operator.get(PAGE).text
    assert "</script><b>" not in page
    assert shown(page)["buttons"][0]["name"] == name


def test_the_second_of_two_operators_is_told_and_may_insist(operator: Browser) -> None:
    assert send(operator, "draft", FIRST).status_code == 303
    for act in ("draft", "publish"):
        late = send(operator, act, SECOND)
        assert late.status_code == 409
        assert "员工operator刚刚也改了菜单" in late.text
        assert "优惠" in text_of(late.text)
        assert 'name="version" value="1"' in late.text
    assert send(operator, "draft", SECOND, 1).status_code == 303


def test_history_goes_back_and_forth(operator: Browser, sandbox: Sandbox) -> None:
    send(operator, "publish", FIRST)
    send(operator, "publish", SECOND, 1)
    page = operator.get(PAGE).text
    found = re.search(rf'action="({PAGE}/versions/\d+/publish)"', page)
    assert found
    assert operator.post(found[1]).status_code == 303
    assert on_the_account(sandbox) == FIRST
    assert "改回以前的" in text_of(operator.get(f"{PAGE}/versions").text)
    assert operator.post(f"{PAGE}/delete").status_code == 303
    assert on_the_account(sandbox) == []
    assert "公众号上现在没有菜单" in operator.get(PAGE).text


def test_a_menu_from_elsewhere_is_shown_as_differing_and_adopted(
    operator: Browser, connected: Runtime, sandbox: Sandbox
) -> None:
    client_of(connected).create_menu({"button": [click("原有的", "V1001")]})
    assert "还没看过公众号上现在的菜单" in operator.get(PAGE).text
    operator.post(f"{PAGE}/look")
    assert "公众号上已经有一份菜单，不是在这里发布的" in operator.get(PAGE).text
    assert operator.post(f"{PAGE}/adopt").status_code == 303
    page = text_of(operator.get(PAGE).text)
    assert "公众号上就是 员工operator 发布的这一份" in page
    assert "原有的按钮（click）" in page
    client_of(connected).create_menu({"button": [click("又改了", "V1002")]})
    operator.post(f"{PAGE}/look")
    page = operator.get(PAGE).text
    assert "公众号上的菜单和这里发布的不一样" in page
    found = re.search(rf'action="({PAGE}/versions/\d+/publish)"', page)
    assert found
    operator.post(found[1])
    assert [button["name"] for button in on_the_account(sandbox)] == ["原有的"]
    with connected.transaction(Role.PLATFORM) as session:
        acts = list(session.scalars(select(AuditLog.action).where(AuditLog.action.startswith("menu."))))
    assert sorted(acts) == ["menu.adopt", "menu.again", "menu.look", "menu.look"]


def test_a_menu_that_did_not_get_there_is_said_to_have_failed(
    operator: Browser, connected: Runtime, sandbox: Sandbox
) -> None:
    rule = {"match": {"path": "/cgi-bin/menu/create"}, "next": 1, "do": {"html": True}}
    sandbox.post("/sandbox/faults", mode="replace", rules=[rule])
    send(operator, "publish", FIRST)
    advance(connected, timedelta(minutes=3))
    operator.post(f"{PAGE}/look")
    assert "没有发布成功 后来去看，公众号上不是这一份" in text_of(operator.get(PAGE).text)


def test_nothing_to_adopt_is_said(operator: Browser) -> None:
    operator.post(f"{PAGE}/adopt")
    assert "没有可采用的" in operator.get(PAGE).text


OBJECTIONS: tuple[tuple[dict[str, Any], str], ...] = (
    ({"errcode": 65318}, "微信没有接受，公众号上还是原来的菜单。菜单里有微信不接受的域名"),
    ({"errcode": 45009}, "今天改菜单的次数用完了"),
    ({"html": True}, "没等到微信的答复，不知道成没成"),
)


def test_what_the_platform_objects_to_is_said_in_words_and_does_not_come_back(
    operator: Browser, sandbox: Sandbox
) -> None:
    for version, (deed, sentence) in enumerate(OBJECTIONS):
        rule = {"match": {"path": "/cgi-bin/menu/create"}, "next": 1, "do": deed}
        sandbox.post("/sandbox/faults", mode="replace", rules=[rule])
        send(operator, "publish", FIRST, version)
        assert sentence in operator.get(PAGE).text
        assert on_the_account(sandbox) == []
    for version_id in (1, 999_999):
        assert operator.post(f"{PAGE}/versions/{version_id}/publish").status_code == 404
