"""The self-test, settling whose fan somebody is, forgetting people, and the platform's own words."""

from __future__ import annotations

import dataclasses
import re
from datetime import timedelta

import pytest
from sqlalchemy import select, text

from bot.erasers import erase_follower
from bot.inbox import Inbox
from core import outbox
from core.database import Role
from core.models import AuditLog
from core.runtime import Runtime
from merchants.models import Community, OfficialAccount
from qrcodes.models import WelcomeVariant
from qrcodes.welcomes import resolve_many
from tests.community import Neighbourhood, new_openid, subscribed, unsubscribed
from tests.conftest import Sandbox
from tests.web.conftest import Browser, Crew
from web.app import create_app
from web.operator.health import LINES


def look(crew: Crew, name: str) -> str:
    return crew.operator.get(f"/operator/health/lines/{name}").text


def ask(browser: Browser, name: str) -> str:
    return browser.post(f"/operator/health/lines/{name}").text


def test_every_line_of_our_own_says_something(runtime: Runtime, crew: Crew) -> None:
    page = crew.operator.get("/operator/health").text
    assert runtime.settings.wechat_app_id in page
    assert runtime.settings.wechat_app_secret.get_secret_value() not in page
    for name, line in LINES.items():
        if not line.calls_platform:
            assert re.search("正常|留意|异常", look(crew, name)), name
    assert "正常" in look(crew, "database")
    assert "正常" in look(crew, "redis")
    assert "quanma worker" in look(crew, "workers")
    assert "quanma scheduler" in look(crew, "scheduler")


def test_a_platform_out_of_reach_is_told_with_advice_and_without_secrets(runtime: Runtime, crew: Crew) -> None:
    crew.operator.get("/operator/health")
    for name in ("token", "addresses", "callback"):
        line = ask(crew.operator, name)
        assert "异常" in line
        assert "连不上微信" in line
        assert runtime.settings.wechat_app_secret.get_secret_value() not in line


def test_lines_that_ask_the_platform_are_not_asked_by_looking(crew: Crew) -> None:
    for name in ("token", "nothing"):
        assert crew.operator.get(f"/operator/health/lines/{name}").status_code == 404
    assert crew.operator.client.post("/operator/health/lines/token").status_code == 403


def test_against_the_sandbox_all_is_well(runtime: Runtime, crew: Crew, sandbox: Sandbox) -> None:
    hosts = {f"wechat_{host}_url": sandbox.url for host in ("api", "mp", "open")}
    settings = runtime.settings.model_copy(update=hosts)
    operator = Browser(create_app(dataclasses.replace(runtime, settings=settings)).test_client())
    assert operator.sign_in("operator").status_code == 303
    operator.get("/operator/health")
    for name in ("token", "addresses", "callback"):
        assert "正常" in ask(operator, name), name
    assert "有效，到" in operator.get("/operator/health").text


def test_a_quiet_day_and_a_stopped_reconcile_are_noticed(runtime: Runtime, crew: Crew) -> None:
    assert "还没有收到过" in look(crew, "events")
    street = Neighbourhood(runtime)
    Inbox(runtime).receive([subscribed(new_openid(), street.now)])
    assert "正常" in look(crew, "events")
    with runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("UPDATE official_account SET reconciled_at = app_now() - interval '1 hour'"))
    assert "正常" in look(crew, "reconcile")
    with runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("INSERT INTO audit_log (actor_kind, action) VALUES ('system', 'reconcile.stopped')"))
    assert "quanma reconcile --force" in look(crew, "reconcile")


@pytest.fixture
def follower_path(runtime: Runtime, crew: Crew) -> str:
    """Somebody who came through the shop, left, and came back through another one within 30 days."""
    street = Neighbourhood(runtime)
    code, other = street.code(crew.merchant_id, "收银台"), street.code(street.merchant("小李花店"), "花架")
    inbox, person = Inbox(runtime), new_openid()
    inbox.receive([subscribed(person, street.now - timedelta(days=9), code.scene)])
    inbox.receive([unsubscribed(person, street.now - timedelta(days=5))])
    inbox.receive([subscribed(person, street.now - timedelta(days=1), other.scene)])
    with runtime.transaction(Role.PLATFORM) as session:
        number = session.execute(
            text("SELECT number FROM fan WHERE merchant_id = :id"), {"id": crew.merchant_id}
        ).scalar_one()
    page = crew.operator.get(f"/operator/followers?q={number[:5].lower()}").text
    found = re.search(r'href="(/operator/followers/\d+)"', page)
    assert found
    assert person not in page
    return found[1]


def test_whose_fan_is_answered_with_the_rule(crew: Crew, follower_path: str) -> None:
    page = crew.operator.get(follower_path).text
    assert "取关后，在保护期内又关注：仍归原来的商户" in page
    assert "第一次关注：归让他关注的那个码" in page
    assert "小李花店" in page
    assert "花架" in page


def test_a_follow_through_another_ticket_than_the_codes_own_is_suspect(runtime: Runtime, crew: Crew) -> None:
    street = Neighbourhood(runtime)
    code = street.code(crew.merchant_id, "收银台")
    inbox = Inbox(runtime)
    for openid, ticket in ((new_openid(), f"gQ{code.scene}"), (new_openid(), "gQanother")):
        inbox.receive([dataclasses.replace(subscribed(openid, street.now, code.scene), ticket=ticket)])
    with runtime.transaction(Role.PLATFORM) as session:
        ids = session.execute(text("SELECT id FROM follower ORDER BY id")).scalars().all()
    marks = [crew.operator.get(f"/operator/followers/{one}").text.count("存疑：凭证与码不符") for one in ids]
    assert marks == [0, 2]


def test_an_unknown_number_is_not_found(crew: Crew) -> None:
    assert "没有这个编号" in crew.operator.get("/operator/followers?q=ZZZZZZ").text
    assert "没有这个编号" not in crew.operator.get("/operator/followers?q=%25%25%25%25").text
    assert crew.operator.get("/operator/followers/999").status_code == 404


def test_somebody_who_asks_is_forgotten(runtime: Runtime, crew: Crew, follower_path: str) -> None:
    crew.operator.get(follower_path)
    assert crew.operator.post(f"{follower_path}/erase").status_code == 303
    with runtime.transaction(Role.PLATFORM) as session:
        task = outbox.claim(session, outbox.DEFAULT)
        while task is not None and task.kind != "erase_follower":
            outbox.finish(session, task)
            task = outbox.claim(session, outbox.DEFAULT)
    assert task is not None
    erase_follower(runtime, task)
    page = crew.operator.get(follower_path).text
    assert "资料删除于" in page
    assert "/erase" not in page
    assert crew.operator.post(f"{follower_path}/erase").status_code == 409
    with runtime.transaction(Role.PLATFORM) as session:
        assert "follower.erase" in session.scalars(select(AuditLog.action)).all()


def test_the_platforms_own_words_speak_at_once_and_can_be_taken_back(runtime: Runtime, crew: Crew) -> None:
    def spoken() -> str:
        with runtime.transaction(Role.PLATFORM) as session:
            return resolve_many(session, {(None, None)})[None, None, WelcomeVariant.FIRST][0].text

    built_in = spoken()
    crew.operator.get("/operator/settings")
    assert (
        crew.operator.post("/operator/settings/welcome/first", {"text": "欢迎来到{社区|我们这里}"}).status_code == 303
    )
    assert spoken() == "欢迎来到{社区|我们这里}"
    crew.operator.get("/operator/settings")
    assert crew.operator.post("/operator/settings/welcome/first/reset").status_code == 303
    assert spoken() == built_in


@pytest.mark.parametrize(
    ("path", "fields", "sentence"),
    [
        ("welcome/first", {"text": ""}, "请填写文字"),
        ("welcome/back", {"text": "{昵称}您好"}, "没有“{昵称}”这个占位"),
        ("welcome/already", {"text": "关注送鸡蛋"}, "不能这样写"),
        ("account", {"account_name": "长" * 31}, "最多 30 个字"),
        ("communities", {"community": "", "intro": ""}, "请填写这一项"),
        ("communities", {"community": "新社区", "intro": "长" * 501}, "最多 500 个字"),
    ],
)
def test_settings_that_cannot_be_are_explained(crew: Crew, path: str, fields: dict[str, str], sentence: str) -> None:
    crew.operator.get("/operator/settings")
    answer = crew.operator.post(f"/operator/settings/{path}", fields)
    assert answer.status_code == 422
    assert sentence in answer.text


def test_names_and_communities_are_kept(runtime: Runtime, crew: Crew) -> None:
    crew.operator.get("/operator/settings")
    assert crew.operator.post("/operator/settings/account", {"account_name": "梧桐苑生活"}).status_code == 303
    crew.operator.get("/operator/settings")
    added = crew.operator.post("/operator/settings/communities", {"community": "梧桐苑", "intro": "老小区"})
    assert added.status_code == 303
    again = crew.operator.post("/operator/settings/communities", {"community": "梧桐苑", "intro": ""})
    assert (again.status_code, "已经有一个同名的社区" in again.text) == (422, True)
    with runtime.transaction(Role.PLATFORM) as session:
        assert session.scalars(select(OfficialAccount.name)).one() == "梧桐苑生活"
        community = session.scalars(select(Community).where(Community.name == "梧桐苑")).one()
        assert community.intro == "老小区"
    crew.operator.get("/operator/settings")
    path = f"/operator/settings/communities/{community.id}"
    taken = crew.operator.post(path, {"community": "我们的社区", "intro": ""})
    assert (taken.status_code, "已经有一个同名的社区" in taken.text) == (422, True)
    assert crew.operator.post(path, {"community": "梧桐苑二期", "intro": ""}).status_code == 303
    assert crew.operator.post("/operator/settings/communities/999", {"community": "x"}).status_code == 404
