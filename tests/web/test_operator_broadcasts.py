"""群发审批: what the operator sees, decides once, and can show afterwards."""

from __future__ import annotations

import json
import re

import pytest
from flask import Flask
from sqlalchemy import select

from campaigns.broadcasts.content import Words
from campaigns.broadcasts.models import WordsKind
from campaigns.broadcasts.writing import Draft
from core.database import Role
from core.models import AuditLog
from core.runtime import Runtime
from tests.campaigns.desk import Desk
from tests.web.conftest import Browser

HOME = "/operator/approvals/broadcasts"


@pytest.fixture
def desk(runtime: Runtime) -> Desk:
    return Desk(runtime)


@pytest.fixture
def operator(app: Flask, new_staff: object) -> Browser:
    new_staff("operator")  # type: ignore[operator]
    signed_in = Browser(app.test_client())
    assert signed_in.sign_in("operator").status_code == 303
    return signed_in


def seen_in(page: str) -> str:
    found = re.search(r'name="seen" value="([^"]+)"', page)
    assert found
    return found[1]


def handed_in(desk: Desk, words: str = "{商户}全城最好，看 https://mp.weixin.qq.com/s/new") -> int:
    broadcast_id = desk.write(words)
    desk.submit(broadcast_id)
    return broadcast_id


def actions(runtime: Runtime) -> list[str]:
    with runtime.transaction(Role.PLATFORM) as session:
        return list(session.scalars(select(AuditLog.action).order_by(AuditLog.id)))


def test_words_reach_and_cost_are_before_the_operator_together(desk: Desk, operator: Browser) -> None:
    assert "没有要审批的群发" in operator.get(HOME).text
    broadcast_id = handed_in(desk)
    assert "有 1 条群发等审批" in operator.get("/operator/approvals").text
    assert f"{HOME}/{broadcast_id}" in operator.get(HOME).text
    page = operator.get(f"{HOME}/{broadcast_id}").text
    for shown in (
        "茶馆全城最好",
        "https://mp.weixin.qq.com/s/new",
        "能到 3 人",
        "群发次数 1 次",
        "广告法不许用",
        "全部粉丝",
    ):
        assert shown in page, shown


def test_approving_keeps_the_evidence_to_be_looked_at_and_carried_away(desk: Desk, operator: Browser) -> None:
    broadcast_id = handed_in(desk)
    path = f"{HOME}/{broadcast_id}"
    seen = seen_in(operator.get(path).text)
    assert operator.post(f"{path}/approve", {"seen": seen}).status_code == 303
    desk.welcome()
    page = operator.get(path).text
    evidence = desk.get(broadcast_id).evidence
    assert evidence
    for shown in ("通过时看到的", "能到 3 人", evidence["hash"], "/s/", "员工operator"):
        assert shown in page, shown
    exported = operator.post(f"{path}/evidence")
    assert exported.mimetype == "application/json"
    assert json.loads(exported.text)["hash"] == evidence["hash"]
    assert actions(desk.runtime)[-2:] == ["broadcast.approve", "broadcast.export"]


def test_the_second_operator_is_told(desk: Desk, operator: Browser) -> None:
    broadcast_id = handed_in(desk)
    path = f"{HOME}/{broadcast_id}"
    seen = seen_in(operator.get(path).text)
    desk.approve(broadcast_id)
    answer = operator.post(f"{path}/approve", {"seen": seen})
    assert answer.status_code == 409
    assert "刚刚被别人处理过" in answer.text
    operator.get(path)
    answer = operator.post(f"{path}/return", {"was": "submitted", "reason": "晚了"})
    assert answer.status_code == 409
    assert desk.get(broadcast_id).state == "approved"


def test_what_changed_meanwhile_has_to_be_read_again(desk: Desk, operator: Browser) -> None:
    broadcast_id = handed_in(desk)
    path = f"{HOME}/{broadcast_id}"
    operator.get(path)
    answer = operator.post(f"{path}/approve", {"seen": "2026-01-01 0000"})
    assert answer.status_code == 409
    assert "商户刚才改过" in answer.text
    assert operator.post(f"{path}/approve", {}).status_code == 422
    assert desk.get(broadcast_id).state == "submitted"


def test_sending_back_says_why_and_works_on_an_approved_one(desk: Desk, operator: Browser) -> None:
    broadcast_id = handed_in(desk)
    path = f"{HOME}/{broadcast_id}"
    operator.get(path)
    assert operator.post(f"{path}/return", {"was": "submitted", "reason": " "}).status_code == 422
    assert operator.post(f"{path}/return", {"was": "running", "reason": "x"}).status_code == 422
    desk.approve(broadcast_id)
    operator.get(path)
    assert operator.post(f"{path}/return", {"was": "approved", "reason": "请写上价钱"}).status_code == 303
    assert desk.get(broadcast_id).decision_reason == "请写上价钱"
    assert "请写上价钱" in operator.get(HOME).text
    assert "broadcast.return" in actions(desk.runtime)


def test_an_article_as_the_phone_shows_it(desk: Desk, operator: Browser) -> None:
    words = Words(WordsKind.ARTICLE, "第一段<script>\n第二段", title="题", summary="摘", picture_id=desk.picture())
    broadcast_id = desk.write(Draft({"a": words}))
    desk.submit(broadcast_id)
    page = operator.get(f"{HOME}/{broadcast_id}").text
    assert f"/operator/approvals/pictures/{words.picture_id}" in page
    assert "第一段&lt;script&gt;" in page


def test_what_is_not_there(desk: Desk, operator: Browser) -> None:
    assert operator.get(f"{HOME}/999").status_code == 404
    broadcast_id = handed_in(desk)
    operator.get(f"{HOME}/{broadcast_id}")
    assert operator.post(f"{HOME}/{broadcast_id}/evidence").status_code == 404
    assert operator.get(f"{HOME}?after=0").status_code == 422
