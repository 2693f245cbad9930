"""账本 for the operator: whether all is right, what is wrong where it is not, and points by hand that wait."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import text

import worker
from campaigns.points import adjustments, ledger, proof
from campaigns.points.models import AdjustmentState, PointsAdjustment
from core import jobs, outbox
from core.database import Role
from core.runtime import Runtime
from merchants.models import StaffRole
from tests.web.conftest import Browser
from tests.web.till import Till

HOME = "/operator/benefits/ledgers"


@pytest.fixture
def till(app: Flask, runtime: Runtime, new_staff: Callable[..., int]) -> Till:
    return Till.open(app, runtime, new_staff)


@pytest.fixture
def operator(till: Till) -> Browser:
    return till.signed_in("boss", StaffRole.OPERATOR)


def asked(till: Till, points: int, reason: str = "补发上次的积分") -> PointsAdjustment:
    """What the owner gave somebody by hand, or wants to."""
    with till.runtime.transaction(Role.PLATFORM) as session:
        owner = session.execute(text("SELECT id FROM staff WHERE merchant_id = :id"), {"id": till.id}).scalar_one()
        return adjustments.ask(
            session,
            merchant_id=till.id,
            follower_id=till.street.fan(till.id),
            staff_id=owner,
            points=points,
            reason=reason,
            now=till.runtime.now(),
        )


def held(till: Till, adjustment: PointsAdjustment) -> int:
    with till.runtime.transaction(Role.PLATFORM) as session:
        return ledger.balance_of(
            session, merchant_id=till.id, follower_id=adjustment.follower_id, now=till.runtime.now()
        ).points


def in_menu(page: str) -> int:
    """What the menu says waits among coupons and points."""
    found = re.search(
        r'<a href="/operator/benefits"[^>]*>.*?优惠与积分(?:<span[^>]*>(\d+)</span>)?</a>', page, re.DOTALL
    )
    assert found
    return int(found[1] or 0)


def proved(till: Till) -> None:
    jobs.drain(till.runtime, worker.HANDLERS, outbox.SLOW)


def test_the_button_proves_that_all_is_right(till: Till, operator: Browser) -> None:
    """PT-1 to PT-3, PT-9."""
    asked(till, 300)
    page = operator.get("/operator/benefits").text
    assert f'href="{HOME}"' in page
    page = operator.get(HOME).text
    assert "还没有核对过" in page
    assert "老王豆浆" in page
    assert "300" in page
    for _twice in range(2):
        assert operator.post(f"{HOME}/prove").status_code == 303
    page = operator.get(HOME).text
    assert "正在核对" in page
    assert f'action="{HOME}/prove"' not in page
    proved(till)
    assert till.count("ledger_proof") == 1, "pressed twice is asked once"
    page = operator.get(HOME).text
    assert re.search(r"notice-good.*?今天 \d\d:\d\d 核对：全部平衡", page, re.DOTALL)
    assert "哪里不平" not in page
    assert "核对账本" in operator.get("/operator/audit").text
    operator.get(HOME)
    assert operator.post(f"{HOME}/prove").status_code == 303
    proved(till)
    assert till.count("ledger_proof") == 2, "and can be asked for again"


def test_a_proof_of_the_day_before_yesterday_is_not_enough(till: Till, operator: Browser) -> None:
    with till.runtime.transaction(Role.PLATFORM) as session:
        proof.prove(session, till.runtime.now() - timedelta(hours=30))
    page = operator.get(HOME).text
    assert "超过一天没有核对" in page
    assert "notice-good" not in page


@pytest.mark.plants_violation
def test_what_is_wrong_is_red_and_said_row_by_row(till: Till, operator: Browser) -> None:
    """A balance that was moved without an entry, and what is left of it when it was put right."""
    asked(till, 300)
    moved = "UPDATE points_account SET balance = balance + :by WHERE kind = 'fan'"
    with till.runtime.database.transaction(Role.MIGRATE) as session:
        session.execute(text("ALTER TABLE points_account DISABLE TRIGGER USER"))
    try:
        with till.runtime.transaction(Role.PLATFORM) as session:
            session.execute(text(moved), {"by": 17})
            proof.prove(session, till.runtime.now())
        assert "有不平的地方" in operator.get("/operator/").text
        assert in_menu(operator.get("/operator/merchants").text) == 1
        page = operator.get(HOME).text
        assert re.search(r"notice-bad.*?有 1 处不平", page, re.DOTALL)
        assert page.count("账户余额和流水对不上") == 1, "however many ways show it"
        assert ">300<" in page
        assert ">317<" in page
        with till.runtime.transaction(Role.PLATFORM) as session:
            session.execute(text(moved), {"by": -17})
    finally:
        with till.runtime.database.transaction(Role.MIGRATE) as session:
            session.execute(text("ALTER TABLE points_account ENABLE TRIGGER USER"))
    page = operator.get(HOME).text
    assert "notice-bad" in page
    assert "已经没有不平的了" in page
    with till.runtime.transaction(Role.PLATFORM) as session:
        proof.prove(session, till.runtime.now())
    assert "有不平的地方" not in operator.get("/operator/").text, "until the next proof says otherwise"
    assert in_menu(operator.get("/operator/merchants").text) == 0


def test_what_waits_is_counted_in_the_menu(till: Till, operator: Browser) -> None:
    assert in_menu(operator.get("/operator/").text) == 0
    wanted, other = asked(till, 800), asked(till, 900)
    page = operator.get("/operator/benefits").text
    assert in_menu(page) == 2
    assert "账本 (2)" in page
    for one, answer in ((wanted, "agree"), (other, "refuse")):
        operator.post(f"{HOME}/adjustments/{one.id}/{answer}")
    page = operator.get("/operator/benefits").text
    assert in_menu(page) == 0
    assert "账本 (" not in page


def test_the_operator_is_the_second_person(till: Till, operator: Browser) -> None:
    """AU-9."""
    wanted, other = asked(till, 800, "<b>搬家</b>补发"), asked(till, 900)
    page = operator.get(HOME).text
    assert "&lt;b&gt;搬家&lt;/b&gt;补发" in page
    agree, refuse = f"{HOME}/adjustments/{wanted.id}/agree", f"{HOME}/adjustments/{other.id}/refuse"
    assert agree in page
    assert held(till, wanted) == 0
    assert operator.post(agree).status_code == 303
    assert held(till, wanted) == 800
    again = operator.post(agree)
    assert again.status_code == 409
    assert "已经处理过了" in again.text
    assert operator.post(refuse).status_code == 303
    assert operator.post(refuse.replace("refuse", "agree")).status_code == 409
    assert (held(till, wanted), held(till, other)) == (800, 0)
    assert "等另一个人同意" not in operator.get(HOME).text
    log = operator.get("/operator/audit").text
    assert "确认手工调整积分" in log
    assert "不同意手工调整积分" in log
    assert operator.post(f"{HOME}/adjustments/9000000001/agree").status_code == 404
    assert operator.post(f"{HOME}/adjustments/{wanted.id}/perhaps").status_code == 404


def test_nobody_decides_on_what_they_asked_for(till: Till, operator: Browser) -> None:
    """Somebody who asked as an operator sees no button, and pressing it all the same is refused."""
    wanted = asked(till, 800)
    with till.runtime.transaction(Role.PLATFORM) as session:
        boss = "UPDATE points_adjustment SET asked_by = (SELECT id FROM staff WHERE role = 'operator')"
        session.execute(text(boss))
    page = operator.get(HOME).text
    assert "要由另一个人定" in page
    agree = f"{HOME}/adjustments/{wanted.id}/agree"
    assert agree not in page
    answer = operator.post(agree)
    assert answer.status_code == 409
    assert "另一个人确认" in answer.text
    assert held(till, wanted) == 0


def test_what_cannot_be_taken_any_more_still_waits(till: Till, operator: Browser) -> None:
    wanted = asked(till, 800)
    operator.get(HOME)
    assert operator.post(f"{HOME}/adjustments/{wanted.id}/agree").status_code == 303
    with till.runtime.transaction(Role.PLATFORM) as session:
        less = adjustments.ask(
            session, merchant_id=till.id, follower_id=wanted.follower_id, staff_id=wanted.asked_by, points=-700,
            reason="多发了", now=till.runtime.now(),
        )  # fmt: skip
        assert less.state == AdjustmentState.WAITING
        spent = ledger.Cause("test", 1)
        ledger.spend(session, merchant_id=till.id, follower_id=wanted.follower_id, points=200, cause=spent,
                     now=till.runtime.now())  # fmt: skip
    agree = f"{HOME}/adjustments/{less.id}/agree"
    answer = operator.post(agree)
    assert answer.status_code == 422
    assert "只有 600 积分" in answer.text
    assert agree in answer.text
    assert agree in operator.get(HOME).text


def test_merchants_do_not_enter(till: Till) -> None:
    """#87."""
    assert till.owner.get(HOME).status_code == 403
    for act in ("prove", "adjustments/1/agree"):
        assert till.owner.post(f"{HOME}/{act}").status_code == 403, act
