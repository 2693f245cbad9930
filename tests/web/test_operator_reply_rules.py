"""The platform's own rules, and the approvals of the merchants': what is let through answers, what is not says why."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from sqlalchemy import select, text

from bot.rules import book, writing
from bot.rules.content import Answer, Content
from bot.rules.matching import Mode, Pattern
from bot.rules.models import ReplyRule, ReplyRuleVersion
from bot.rules.writing import Author, Draft
from core.database import Role
from core.models import AuditLog
from core.runtime import Runtime
from tests.web.conftest import Crew
from web.auth import access

HOME = "/operator/reply-rules"
QUEUE = "/operator/approvals"


ESTATE = {"name": "物业", "exact": "物业", "kind1": "text", "text1": "东门"}


@pytest.fixture(autouse=True)
def looked_around(crew: Crew) -> None:
    """Forms are sent from pages that were opened."""
    crew.operator.get(HOME)


def account_id(runtime: Runtime) -> int:
    with runtime.transaction(Role.PLATFORM) as session:
        found: int = session.execute(text("SELECT id FROM official_account")).scalar_one()
    return found


def in_force(runtime: Runtime, merchant_id: int | None) -> list[str]:
    account = account_id(runtime)
    with runtime.transaction(Role.PLATFORM) as session:
        rules = book.load(session, account, [merchant_id])[merchant_id]
    return [rule.name for rule in rules]


@pytest.fixture
def waiting(runtime: Runtime, crew: Crew) -> ReplyRuleVersion:
    """A rule that a merchant has handed in."""
    patterns = (Pattern(Mode.EXACT, "地址"), Pattern(Mode.WILDCARD, "几点*门"))
    content = Content(patterns, (), (Answer(text="<b>东门</b>"),))
    author = Author(account_id(runtime), merchant_id=crew.merchant_id)
    with runtime.transaction(Role.MERCHANT, merchant_id=crew.merchant_id) as session:
        writing.create(session, author, Draft("店址", content), hosts=frozenset(), now=runtime.now())
    with runtime.transaction(Role.PLATFORM) as session:
        return session.scalars(select(ReplyRuleVersion)).one()


def test_only_so_many_rules_are_written_a_minute(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "ACTS_A_MINUTE", 1)
    assert [crew.operator.post(HOME, ESTATE).status_code for _ in range(2)] == [303, 429]


def test_the_platforms_rule_answers_at_once(runtime: Runtime, crew: Crew) -> None:
    assert "平台还没有自动回复" in crew.operator.get(HOME).text
    assert crew.operator.get(f"{HOME}/new").status_code == 200
    wanted = {
        "name": "物业",
        "exact": "物业费怎么交",
        "menu_keys": "estate",
        "kind1": "text",
        "text1": "找物业请拨 12345678",
    }
    assert crew.operator.post(HOME, wanted).status_code == 303
    assert in_force(runtime, None) == ["物业"]
    with runtime.transaction(Role.PLATFORM) as session:
        rule_id = session.execute(select(ReplyRule.id)).scalar_one()
        occasions = session.execute(select(ReplyRuleVersion.occasions)).scalar_one()
    assert occasions == ["click:estate"]
    form = crew.operator.get(f"{HOME}/{rule_id}").text
    assert "estate</textarea>" in form
    assert "转给店里的人" not in form.split("<aside")[0]
    (seen,) = re.findall(r'name="seen" value="(\w+)"', form)
    changed = wanted | {"text1": "找物业请到东门", "seen": seen}
    assert crew.operator.post(f"{HOME}/{rule_id}", changed).status_code == 303
    page = crew.operator.get(f"{HOME}/try?words=物业费怎么交").text
    assert "由“物业”回答" in page
    assert "找物业请到东门" in page


def test_it_is_switched_moved_copied_deleted_and_taken_back(runtime: Runtime, crew: Crew) -> None:
    crew.operator.post(HOME, ESTATE)
    with runtime.transaction(Role.PLATFORM) as session:
        rule_id = session.execute(select(ReplyRule.id)).scalar_one()
    for act, fields in (("switch", {}), ("order", {"step": "down"}), ("copy", {}), ("delete", {})):
        assert crew.operator.post(f"{HOME}/{rule_id}/{act}", fields).status_code == 303, act
    assert in_force(runtime, None) == []
    assert crew.operator.post(f"{HOME}/{rule_id}/restore").status_code == 303
    assert crew.operator.post(f"{HOME}/{rule_id}/switch", {"is_on": "true"}).status_code == 303
    assert in_force(runtime, None) == ["物业"]
    sent = crew.operator.post(f"{HOME}/table/export")
    assert "物业 副本" in sent.text
    table: dict[str, Any] = {"file": (io.BytesIO(sent.data), "a.csv")}
    assert crew.operator.post(f"{HOME}/table", table).status_code == 303
    assert len(in_force(runtime, None)) == 2


def test_what_cannot_be_is_said(crew: Crew) -> None:
    wrongs = [
        ({"hands_over": "true"}, "不能转给店家"),
        ({"text1": ""}, "请填写文字"),
        ({"kind1": "image"}, "请选择图片"),
    ]
    for wrong, words in wrongs:
        answer = crew.operator.post(HOME, ESTATE | wrong)
        assert answer.status_code == 422
        assert words in answer.text


def test_an_approved_rule_answers_and_its_author_is_told(
    runtime: Runtime, crew: Crew, waiting: ReplyRuleVersion
) -> None:
    page = crew.operator.get(QUEUE).text
    assert "店址" in page
    assert "几点*门" in page
    assert "<b>东门" not in page
    assert in_force(runtime, crew.merchant_id) == []
    assert crew.operator.post(f"{QUEUE}/rules/{waiting.id}/approve", {"was": "pending"}).status_code == 303
    assert in_force(runtime, crew.merchant_id) == ["店址"]
    again = crew.operator.post(f"{QUEUE}/rules/{waiting.id}/approve", {"was": "pending"})
    assert (again.status_code, again.location) == (303, QUEUE)
    assert "operator已经处理过了" in crew.operator.get(QUEUE).text
    assert "自动回复“店址”通过了" in crew.owner.get("/merchant/notices").text
    with runtime.transaction(Role.PLATFORM) as session:
        actions = list(session.scalars(select(AuditLog.action).where(AuditLog.action.startswith("reply_rule"))))
    assert actions == ["reply_rule.approve"]


def test_a_refusal_has_a_reason_that_its_author_reads(runtime: Runtime, crew: Crew, waiting: ReplyRuleVersion) -> None:
    refused = crew.operator.post(f"{QUEUE}/rules/{waiting.id}/reject", {"was": "pending", "reason": ""})
    assert refused.status_code == 422
    assert "请填写原因" in refused.text
    answer = crew.operator.post(f"{QUEUE}/rules/{waiting.id}/reject", {"was": "pending", "reason": "请写全地址"})
    assert answer.status_code == 303
    assert in_force(runtime, crew.merchant_id) == []
    assert "请写全地址" in crew.owner.get("/merchant/rules").text
    assert "请写全地址" in crew.owner.get(f"/merchant/rules/{waiting.rule_id}").text
    # A change of mind.
    assert crew.operator.post(f"{QUEUE}/rules/{waiting.id}/approve", {"was": "rejected"}).status_code == 303
    assert in_force(runtime, crew.merchant_id) == ["店址"]


def test_the_platforms_own_versions_are_nobodys_to_decide(runtime: Runtime, crew: Crew) -> None:
    crew.operator.post(HOME, ESTATE)
    with runtime.transaction(Role.PLATFORM) as session:
        version_id = session.execute(select(ReplyRuleVersion.id)).scalar_one()
    refusal = {"was": "approved", "reason": "不行"}
    assert crew.operator.post(f"{QUEUE}/rules/{version_id}/reject", refusal).status_code == 404
    assert crew.operator.get(f"{HOME}/999999").status_code == 404


def test_a_merchants_rule_is_not_among_the_platforms(crew: Crew, waiting: ReplyRuleVersion) -> None:
    assert "店址" not in crew.operator.get(HOME).text
    assert crew.operator.get(f"{HOME}/{waiting.rule_id}").status_code == 404
