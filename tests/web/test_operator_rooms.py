"""Approvals, events, queues and the audit log, as an operator works with them."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, text

import web
from bot.inbox import Inbox
from core import outbox
from core.database import Role
from core.models import AuditLog
from core.runtime import Runtime
from merchants import cards
from merchants.reviews import ReviewState
from merchants.wording import PLATFORM_HOSTS
from qrcodes import welcomes
from qrcodes.models import Welcome, WelcomeVariant
from qrcodes.welcomes import Draft
from tests.community import Neighbourhood, new_openid, scanned, subscribed, unsubscribed, wrote
from tests.web.conftest import Crew
from web.operator import words
from worker import HANDLERS


def write(runtime: Runtime, crew: Crew, words: str = "您好，{商户}欢迎您！") -> int:
    """What the shop's owner saves on their own page."""
    with runtime.transaction(Role.PLATFORM) as session:
        return welcomes.save(
            session,
            merchant_id=crew.merchant_id,
            code_id=None,
            variant=WelcomeVariant.FIRST,
            position=0,
            draft=Draft(text=words),
            hosts=PLATFORM_HOSTS,
            now=runtime.now(),
        )


def review_of(runtime: Runtime, welcome_id: int) -> tuple[str, str]:
    with runtime.transaction(Role.PLATFORM) as session:
        row = session.get_one(Welcome, welcome_id)
        return row.review, row.review_reason


def test_what_waits_is_shown_as_the_phone_shows_it_and_counted_in_the_menu(runtime: Runtime, crew: Crew) -> None:
    assert "没有要审批的" in crew.operator.get("/operator/approvals").text
    write(runtime, crew)
    page = crew.operator.get("/operator/approvals").text
    assert "您好，老王豆浆欢迎您！" in page
    assert '<span class="badge badge-wait">1</span>' in page


def test_a_card_is_looked_at_beside_the_one_in_force_and_decided(runtime: Runtime, crew: Crew) -> None:
    with runtime.transaction(Role.MERCHANT, merchant_id=crew.merchant_id) as session:
        card = cards.Card("全城最好的豆浆")
        card_id = cards.propose(session, merchant_id=crew.merchant_id, card=card, hosts=PLATFORM_HOSTS)
    page = crew.operator.get("/operator/approvals").text
    assert "全城最好的豆浆" in page
    assert "绝对化用语" in page
    assert '<span class="badge badge-wait">1</span>' in page
    path = f"/operator/approvals/cards/{card_id}"
    assert crew.operator.post(f"{path}/reject", {"was": "pending", "reason": ""}).status_code == 422
    assert crew.operator.post(f"{path}/reject", {"was": "pending", "reason": "去掉“最好”"}).status_code == 303
    assert "去掉“最好”" in crew.owner.get("/merchant/me/card").text
    crew.operator.get("/operator/approvals")
    assert crew.operator.post(f"{path}/approve", {"was": "pending"}).location == "/operator/approvals"
    assert "已经处理过了" in crew.operator.get("/operator/approvals").text
    assert crew.operator.post(f"{path}/approve", {"was": "rejected"}).status_code == 303
    assert "全城最好的豆浆" in crew.operator.client.get("/").text


def test_a_decision_can_be_followed_by_another_one(runtime: Runtime, crew: Crew) -> None:
    welcome_id = write(runtime, crew)
    path = f"/operator/approvals/{welcome_id}"
    crew.operator.get("/operator/approvals")
    assert crew.operator.post(f"{path}/approve", {"was": "pending"}).status_code == 303
    assert review_of(runtime, welcome_id) == (ReviewState.APPROVED, "")
    refused = crew.operator.post(f"{path}/reject", {"was": "approved", "reason": "图不对"})
    assert refused.status_code == 303
    assert review_of(runtime, welcome_id) == (ReviewState.REJECTED, "图不对")
    assert crew.operator.post(f"{path}/approve", {"was": "rejected"}).status_code == 303
    assert review_of(runtime, welcome_id) == (ReviewState.APPROVED, "")
    with runtime.transaction(Role.PLATFORM) as session:
        acts = list(session.scalars(select(AuditLog.action).where(AuditLog.subject == f"welcome:{welcome_id}")))
    assert acts == ["welcome.approve", "welcome.reject", "welcome.approve"]


def test_of_two_operators_who_decide_at_once_the_second_is_told(runtime: Runtime, crew: Crew) -> None:
    path = f"/operator/approvals/{write(runtime, crew)}"
    crew.operator.get("/operator/approvals")
    assert crew.operator.post(f"{path}/approve", {"was": "pending"}).status_code == 303
    late = crew.operator.post(f"{path}/reject", {"was": "pending", "reason": "晚了"})
    assert (late.status_code, late.location) == (303, "/operator/approvals")
    assert "operator已经处理过了，不用再审批" in crew.operator.get("/operator/approvals").text
    told = {"Accept": "application/json"}
    program = crew.operator.post(f"{path}/reject", {"was": "pending", "reason": "晚了"}, headers=told)
    assert (program.status_code, (program.json or {}).get("error")) == (409, "not_waiting")


@pytest.mark.parametrize("reason", ["", "  ", "长" * 201])
def test_a_refusal_needs_a_reason(runtime: Runtime, crew: Crew, reason: str) -> None:
    welcome_id = write(runtime, crew)
    crew.operator.get("/operator/approvals")
    answer = crew.operator.post(f"/operator/approvals/{welcome_id}/reject", {"was": "pending", "reason": reason})
    assert answer.status_code == 422
    assert "原因" in answer.text
    assert review_of(runtime, welcome_id)[0] == ReviewState.PENDING


def test_what_its_author_took_back_cannot_be_approved(runtime: Runtime, crew: Crew) -> None:
    former = write(runtime, crew)
    write(runtime, crew, "新的")
    crew.operator.get("/operator/approvals")
    assert crew.operator.post(f"/operator/approvals/{former}/approve", {"was": "pending"}).status_code == 303
    assert "商户已经撤回" in crew.operator.get("/operator/approvals").text
    assert crew.operator.post(f"/operator/approvals/{former}/approve", {"was": "withdrawn"}).status_code == 422


def test_events_say_what_happened_to_whose_code_and_never_who(runtime: Runtime, crew: Crew) -> None:
    street = Neighbourhood(runtime)
    code = street.code(crew.merchant_id, "收银台")
    inbox, person = Inbox(runtime), new_openid()
    inbox.receive([subscribed(person, street.now - timedelta(minutes=3), code.scene)])
    inbox.receive([wrote(person, street.now - timedelta(minutes=2), "秘密的话")])
    inbox.receive([unsubscribed(person, street.now - timedelta(minutes=1))])
    page = crew.operator.get("/operator/events").text
    for shown in ("取消关注", "发来文字", "收银台", "老王豆浆", "关注者 1"):
        assert shown in page
    assert person not in page
    assert "秘密的话" not in page
    leaving = crew.operator.get("/operator/events?group=leave").text
    assert "取消关注" in leaving
    assert "发来文字" not in leaving
    rows = crew.operator.post("/operator/events/export", {"group": "follow"}).data.decode().splitlines()
    assert len(rows) == 2
    assert ",关注,微信推送,1,老王豆浆,收银台," in rows[1]


def test_events_are_paged_by_key(runtime: Runtime, crew: Crew) -> None:
    street = Neighbourhood(runtime)
    inbox, person = Inbox(runtime), new_openid()
    inbox.receive([subscribed(person, street.now - timedelta(hours=2))])
    for number in range(60):
        inbox.receive([scanned(person, street.now - timedelta(minutes=60 - number), f"scene{number:02d}")])
    first = crew.operator.get("/operator/events").text
    assert "scene59" in first
    assert "scene00" not in first
    older = re.search(r'rel="next" href="([^"]+)"', first)
    assert older
    second = crew.operator.get(older[1]).text
    assert "scene00" in second
    assert "hx-trigger" not in second


def test_dead_letters_say_why_in_words_and_show_no_openid(runtime: Runtime, crew: Crew) -> None:
    Neighbourhood(runtime)
    person = new_openid()
    Inbox(runtime).bury(f"<xml><b>{person}</b><script>1</script></xml>".encode(), "for another account")
    page = crew.operator.get("/operator/queues?show=letters").text
    assert "发给别的公众号的" in page
    assert "&lt;script&gt;1" in page
    assert person not in page


def test_a_task_that_was_given_up_is_revived(runtime: Runtime, crew: Crew) -> None:
    with runtime.transaction(Role.PLATFORM) as session:
        outbox.add(session, kind="create_code", dedupe_key="x", payload={"code_id": 1})
        session.execute(text("UPDATE outbox SET state = 'dead', attempts = 12, last_error = 'QuotaSpent'"))
    page = crew.operator.get("/operator/queues?show=dead").text
    assert "生成二维码" in page
    assert "当日额度用完了" in page
    path = re.search(r'action="(/operator/queues/\d+/revive)"', page)
    assert path
    assert crew.operator.post(path[1]).status_code == 303
    assert crew.operator.post(path[1]).status_code == 409
    assert "生成二维码" in crew.operator.get("/operator/queues").text


def test_the_audit_log_shows_filters_and_watches_its_chain(runtime: Runtime, crew: Crew) -> None:
    page = crew.operator.get("/operator/audit").text
    assert "记录完整" in page
    assert "登录" in page
    assert "接受邀请" not in crew.operator.get("/operator/audit?action=signed+in").text.split("<tbody>")[1]
    assert "没有这样的记录" in crew.operator.get("/operator/audit?q=code:99").text
    crew.operator.get("/operator/audit")
    rows = crew.operator.post("/operator/audit/export", {"actor": "operator"}).data.decode()
    assert "导出表格" in rows


@pytest.mark.plants_violation
def test_a_changed_entry_shows(runtime: Runtime, crew: Crew) -> None:
    with runtime.database.transaction(Role.MIGRATE) as session:
        session.execute(text("ALTER TABLE audit_log DISABLE TRIGGER USER"))
        session.execute(text("ALTER TABLE audit_log NO FORCE ROW LEVEL SECURITY"))
        session.execute(text("UPDATE audit_log SET action = 'nothing' WHERE id = (SELECT max(id) FROM audit_log)"))
        session.execute(text("ALTER TABLE audit_log FORCE ROW LEVEL SECURITY"))
        session.execute(text("ALTER TABLE audit_log ENABLE TRIGGER USER"))
    assert "记录对不上" in crew.operator.get("/operator/audit").text


@pytest.mark.parametrize(
    "address",
    [
        "/operator/events?group=secret", "/operator/events?before=-1", "/operator/queues?show=all",
        "/operator/queues?limit=1000", "/operator/audit?actor=nobody", "/operator/audit?sort=hash",
        "/operator/approvals?after=x", "/operator/unmatched?days=9999",
    ],
)  # fmt: skip
def test_conditions_that_do_not_exist_are_refused(crew: Crew, address: str) -> None:
    assert crew.operator.get(address).status_code == 422


def test_every_task_has_a_name() -> None:
    assert HANDLERS.keys() == words.TASK_KINDS.keys()


def test_every_act_that_is_recorded_has_a_name() -> None:
    sources = [path.read_text(encoding="utf-8") for path in Path(web.__file__).parent.rglob("*.py")]
    recorded = {act for source in sources for act in re.findall(r'\brecord\(\s*"([^"]+)"', source)}
    assert "canned_reply.move" in recorded
    assert recorded <= words.ACTIONS.keys()
