"""自动回复: writing, waiting, trying out, carrying as a table; and that nobody sees another's."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from bot.rules import writing
from bot.rules.content import Answer
from bot.rules.models import ReplyRule, ReplyRuleVersion
from bot.rules.writing import Author, Draft
from core.database import Role
from core.models import AuditLog
from core.runtime import Runtime
from merchants.models import StaffRole
from tests.community import Neighbourhood
from tests.web.conftest import Browser
from tests.web.shops import Shop, open_shop

HOME = "/merchant/rules"
SEEN = re.compile(r'name="seen" value="([0-9a-f]{16})"')
ARTICLE = "https://mp.weixin.qq.com/s/1"


@pytest.fixture
def shop(app: Flask, runtime: Runtime, new_staff: Callable[..., int]) -> Shop:
    return open_shop(app, Neighbourhood(runtime), new_staff, "老王豆浆", "wang")


def rules(runtime: Runtime) -> list[ReplyRule]:
    with runtime.transaction(Role.PLATFORM) as session:
        return list(session.scalars(select(ReplyRule).order_by(ReplyRule.id)))


def versions(runtime: Runtime) -> list[ReplyRuleVersion]:
    with runtime.transaction(Role.PLATFORM) as session:
        return list(session.scalars(select(ReplyRuleVersion).order_by(ReplyRuleVersion.id)))


def fields(**changed: Any) -> dict[str, Any]:
    return {"name": "地址", "exact": "地址\n在哪里", "kind1": "text", "text1": "小区东门", "priority": "5"} | changed


def write(shop: Shop, **changed: Any) -> int:
    assert shop.owner.get(f"{HOME}/new").status_code == 200
    answer = shop.owner.post(HOME, fields(**changed))
    assert answer.status_code == 303, answer.text
    return rules(shop.runtime)[-1].id


def seen(shop: Shop, rule_id: int) -> str:
    """What the opened form says it shows."""
    return str(SEEN.findall(shop.owner.get(f"{HOME}/{rule_id}").text)[0])


def approve(runtime: Runtime) -> None:
    """The operator agrees to the newest version."""
    newest = versions(runtime)[-1]
    with runtime.transaction(Role.PLATFORM) as session:
        writing.approve(session, version_id=newest.id, operator_id=1, now=runtime.now())


def test_an_empty_page_offers_three_to_begin_with(shop: Shop) -> None:
    with shop.runtime.transaction(Role.PLATFORM) as session:
        session.execute(
            text("UPDATE merchant SET hours = '6:00 到 20:00', address = '东门', public_phone = '13800000001'")
        )
    page = shop.owner.get(HOME).text
    assert "还没有自动回复" in page
    for example, said in (
        ("hours", "老王豆浆的营业时间：6:00 到 20:00"),
        ("address", "老王豆浆在东门"),
        ("phone", "13800000001"),
    ):
        form = shop.owner.get(f"{HOME}/new?example={example}")
        assert f"{HOME}/new?example={example}" in page
        assert said in form.text
    assert shop.owner.get(f"{HOME}/new?example=other").status_code == 422


def test_a_rule_waits_and_then_answers(shop: Shop) -> None:
    write(shop)
    page = shop.owner.get(HOME).text
    assert "等待审批" in page
    assert "生效中" not in page
    approve(shop.runtime)
    page = shop.owner.get(HOME).text
    assert "生效中" in page
    assert "近 30 天没有用上" in page


def test_a_rule_is_written_with_everything_it_can_have(shop: Shop) -> None:
    rule_id = write(
        shop,
        contains="怎么走、路线",
        wildcard="几点*门",
        occasions=["image", "location"],
        kind2="news",
        title2="新店",
        description2="来坐坐",
        url2=ARTICLE,
        hours="周一至周五 09:00-18:00",
        not_on="2026-10-01~2026-10-07",
        hands_over="true",
        priority="8",
    )
    form = shop.owner.get(f"{HOME}/{rule_id}").text
    for words in ("地址\n在哪里</textarea>", "怎么走\n路线</textarea>", "几点*门</textarea>", "2026-10-01~2026-10-07"):
        assert words in form
    (version,) = versions(shop.runtime)
    assert (len(version.patterns), version.occasions, len(version.answers), version.hands_over) == (
        5,
        ["image", "location"],
        2,
        True,
    )
    same = {"contains": "怎么走、路线", "wildcard": "几点*门", "occasions": ["image", "location"], "hands_over": "true"}
    card = {"kind2": "news", "title2": "新店", "description2": "来坐坐", "url2": ARTICLE}
    again = fields(**same, **card, name="路", seen=seen(shop, rule_id))
    assert shop.owner.post(f"{HOME}/{rule_id}", again).status_code == 303
    assert len(versions(shop.runtime)) == 1
    assert [(one.name, one.priority, one.hours) for one in rules(shop.runtime)] == [("路", 5, {})]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"name": ""}, "请填写这一项"),
        ({"exact": ""}, "请写关键词，或者选一种消息"),
        ({"exact": "优惠券"}, "由公众号自己回答"),
        ({"exact": "退订"}, "由公众号自己回答"),
        ({"text1": ""}, "请填写文字"),
        ({"text1": "关注送鸡蛋"}, "不能这样写"),
        ({"kind2": "news", "title2": "店", "url2": "javascript:alert(1)"}, "链接只能指向本系统或公众号文章"),
        ({"kind2": "news", "title2": "店", "url2": "https://evil.example/"}, "链接只能指向本系统或公众号文章"),
        ({"kind2": "image"}, "请选择图片"),
        ({"hours": "早上"}, "没看懂"),
        ({"only_on": "国庆"}, "没看懂日期"),
        ({"only_on": "9999-12-31"}, "没看懂日期"),
        ({"priority": "99"}, "格式不对"),
        ({"occasions": ["red_packet"]}, "请从列出的消息种类里选"),
        ({"menu_keys": "hours"}, "请从列出的消息种类里选"),
    ],
)
def test_what_cannot_be_is_said_and_nothing_is_lost(shop: Shop, changed: dict[str, Any], words: str) -> None:
    answer = shop.owner.post(HOME, fields(**changed))
    assert answer.status_code == 422
    assert words in answer.text
    assert "小区东门" in answer.text or "text1" in changed
    assert rules(shop.runtime) == []


def test_a_keyword_of_a_coupon_or_of_the_account_is_named(shop: Shop) -> None:
    with shop.runtime.transaction(Role.PLATFORM) as session:
        session.execute(
            text("""
                INSERT INTO coupon_template (merchant_id, public_id, name, kind, value_fen, worth_fen, lasts_days,
                    stock, budget_fen, review, state, keyword)
                VALUES (:shop, 'tea', '立减十元', 'amount', 1000, 1000, 30, 9, 9000, 'approved', 'live', '喝豆浆')"""),
            {"shop": shop.merchant_id},
        )
    write(shop, exact="喝豆浆", contains="优惠券")
    page = shop.owner.get(HOME).text
    assert "“喝豆浆”是优惠券“立减十元”的口令" in page
    assert "单发“优惠券”由公众号自己回答" in page


def test_a_name_is_never_markup(shop: Shop) -> None:
    evil = "<script>alert(1)</script>"
    write(shop, name=evil[:30], exact="<b>址</b>", text1="<img src=x onerror=alert(1)>")
    rule_id = rules(shop.runtime)[0].id
    for path in (HOME, f"{HOME}/{rule_id}", f"{HOME}/try?words=<b>址</b>"):
        page = shop.owner.get(path).text
        assert "<script>alert" not in page
        assert "<b>址" not in page
        assert "<img src=x" not in page


def test_it_is_switched_moved_copied_deleted_and_taken_back(shop: Shop) -> None:
    rule_id = write(shop)
    assert shop.owner.post(f"{HOME}/{rule_id}/switch", {"is_on": ""}).status_code == 303
    assert "停用" in shop.owner.get(HOME).text
    assert shop.owner.post(f"{HOME}/{rule_id}/order", {"step": "up"}).status_code == 303
    assert [(one.is_on, one.priority) for one in rules(shop.runtime)] == [(False, 6)]
    copied = shop.owner.post(f"{HOME}/{rule_id}/copy")
    assert "地址 副本" in shop.owner.get(copied.location).text
    assert shop.owner.post(f"{HOME}/{rule_id}/delete").status_code == 303
    assert shop.owner.get(f"{HOME}/{rule_id}").status_code == 404
    assert f"{HOME}/{rule_id}/restore" in shop.owner.get(HOME).text
    assert shop.owner.post(f"{HOME}/{rule_id}/restore").status_code == 303
    assert shop.owner.get(f"{HOME}/{rule_id}").status_code == 200
    with shop.runtime.transaction(Role.PLATFORM) as session:
        actions = set(session.scalars(select(AuditLog.action).where(AuditLog.action.startswith("reply_rule"))))
    assert actions == {f"reply_rule.{act}" for act in ("create", "switch", "order", "copy", "delete", "restore")}


def test_what_waits_is_taken_back(shop: Shop) -> None:
    rule_id = write(shop)
    approve(shop.runtime)
    shop.owner.post(f"{HOME}/{rule_id}", fields(text1="小区西门", seen=seen(shop, rule_id)))
    page = shop.owner.get(HOME).text
    assert "改动等待审批" in page
    now_given, waiting = page.split('<details class="rule-next">')
    assert "小区东门" in now_given, "customers still get what was approved"
    assert "小区西门" not in now_given
    assert "小区西门" in waiting
    assert "小区东门" in shop.owner.get(f"{HOME}/{rule_id}").text
    shop.owner.post(f"{HOME}/{rule_id}/withdraw")
    assert "等待审批" not in shop.owner.get(HOME).text
    assert [one.review for one in versions(shop.runtime)] == ["approved", "withdrawn"]


def test_of_two_windows_the_second_is_told_and_loses_nothing(shop: Shop) -> None:
    rule_id = write(shop)
    opened = seen(shop, rule_id)
    assert shop.owner.post(f"{HOME}/{rule_id}", fields(text1="小区西门", seen=opened)).status_code == 303
    told = shop.owner.post(f"{HOME}/{rule_id}", fields(text1="小区北门", seen=opened))
    assert told.status_code == 409
    assert "在您打开以后又被改过" in told.text
    assert "小区北门</textarea>" in told.text, "what was typed stays"
    assert "小区西门" in told.text, "and what the other window saved is shown"
    assert versions(shop.runtime)[-1].answers[0]["text"] == "小区西门"
    assert shop.owner.post(f"{HOME}/{rule_id}", fields(text1="小区北门")).status_code == 409
    again = fields(text1="小区北门", seen=SEEN.findall(told.text)[0])
    assert shop.owner.post(f"{HOME}/{rule_id}", again).status_code == 303
    assert versions(shop.runtime)[-1].answers[0]["text"] == "小区北门"


def test_who_is_told_of_a_change_sees_that_change_however_late_it_came(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule_id = write(shop)
    opened = seen(shop, rule_id)
    change = writing.change

    def a_moment_later(session: Session, author: Author, rule_id: int, draft: Draft, **named: Any) -> bool:
        west = replace(draft, content=replace(draft.content, answers=(Answer("text", text="小区西门"),)))
        with shop.runtime.transaction(Role.MERCHANT, merchant_id=shop.merchant_id) as another:
            change(another, author, rule_id, west, **named)
        return change(session, author, rule_id, draft, **named)

    monkeypatch.setattr(writing, "change", a_moment_later)
    told = shop.owner.post(f"{HOME}/{rule_id}", fields(text1="小区北门", seen=opened))
    assert told.status_code == 409
    assert "小区西门" in told.text


def test_the_tester_says_who_answers_and_why_the_others_do_not(shop: Shop) -> None:
    write(shop)
    approve(shop.runtime)
    write(shop, name="新地址", exact="地址", text1="西门")
    page = shop.owner.get(f"{HOME}/try?words=地 址！").text
    assert "由“地址”回答" in page
    assert "小区东门" in page
    assert "还没通过审批" in page
    assert "没有规则回答" in shop.owner.get(f"{HOME}/try?words=你好").text
    assert "由公众号自己回答" in shop.owner.get(f"{HOME}/try?words=优惠券").text
    assert "没有规则回答" in shop.owner.get(f"{HOME}/try?kind=voice&at=2026-10-01T21:30").text
    for at in ("2026-13-01T21:30", "0001-01-01T00:00", "9999-12-31T23:59"):
        assert shop.owner.get(f"{HOME}/try?kind=voice&at={at}").status_code == 422
    assert shop.owner.get(f"{HOME}/try?kind=red_packet").status_code == 422


def test_the_table_goes_out_and_comes_in(shop: Shop) -> None:
    write(shop)
    assert shop.owner.get(f"{HOME}/table").status_code == 200
    sent = shop.owner.post(f"{HOME}/table/export")
    assert sent.mimetype == "text/csv"
    assert "小区东门" in sent.text
    assert "营业时间" in shop.owner.get(f"{HOME}/table/example").text
    table = io.BytesIO("规则名,完全相同,回复1\n券,优惠券,有".encode())
    sheet: dict[str, Any] = {"file": (table, "a.csv")}
    wrong = shop.owner.post(f"{HOME}/table", sheet)
    assert wrong.status_code == 422
    assert "一行都没有导入" in wrong.text
    assert "由公众号自己回答" in wrong.text
    assert len(rules(shop.runtime)) == 1
    assert shop.owner.post(f"{HOME}/table").status_code == 422
    sheet = {"file": (io.BytesIO(sent.data), "规则.csv")}
    came = shop.owner.post(f"{HOME}/table", sheet)
    assert came.status_code == 303
    assert len(rules(shop.runtime)) == 2


def test_nobody_opens_anothers_rule(app: Flask, shop: Shop, new_staff: Callable[..., int]) -> None:
    other = open_shop(app, shop.street, new_staff, "面馆", "mian")
    rule_id = write(other)
    assert "小区东门" not in shop.owner.get(HOME).text
    assert shop.owner.get(f"{HOME}/{rule_id}").status_code == 404
    assert shop.owner.post(f"{HOME}/{rule_id}", fields()).status_code == 404
    for act in ("switch", "order", "copy", "withdraw", "delete", "restore"):
        assert shop.owner.post(f"{HOME}/{rule_id}/{act}").status_code == 404, act


def test_a_clerk_looks_and_tries_and_changes_nothing(app: Flask, shop: Shop, new_staff: Callable[..., int]) -> None:
    rule_id = write(shop)
    new_staff("xiaoli", StaffRole.CLERK, shop.merchant_id)
    clerk = Browser(app.test_client())
    assert clerk.sign_in("xiaoli").status_code == 303
    page = clerk.get(HOME)
    assert page.status_code == 200
    assert f"{HOME}/{rule_id}" not in page.text
    assert clerk.get(f"{HOME}/try?words=地址").status_code == 200
    assert clerk.post(f"{HOME}/{rule_id}/delete").status_code in (403, 404)


def test_the_tab_of_welcomes_leads_there(shop: Shop) -> None:
    assert f'href="{HOME}"' in shop.owner.get("/merchant/welcome").text
