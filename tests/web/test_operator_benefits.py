"""优惠与积分 for the operator: all coupons, what is promised, settlement, self-dealing, and people who are blocked."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask import Flask
from sqlalchemy import text

from campaigns.coupons import alliance
from campaigns.coupons.giving import NotGiven
from core.database import Role
from core.runtime import Runtime
from merchants.models import StaffRole
from tests.web.conftest import Browser
from tests.web.till import Till

HOME = "/operator/benefits"


@pytest.fixture
def till(app: Flask, runtime: Runtime, new_staff: Callable[..., int]) -> Till:
    return Till.open(app, runtime, new_staff)


@pytest.fixture
def operator(till: Till) -> Browser:
    return till.signed_in("boss", StaffRole.OPERATOR)


def test_all_coupons_and_what_they_promise(till: Till, operator: Browser) -> None:
    assert "还没有券" in operator.get(HOME).text
    template = till.live(name="满百减二十")
    till.holder(template)
    page = operator.get(HOME).text
    assert "满百减二十" in page
    assert "老王豆浆" in page
    assert "满百减二十" in operator.get(f"{HOME}?state=live").text
    assert "满百减二十" not in operator.get(f"{HOME}?state=ended").text
    for odd in ("state=open", "before=0", "sort=name"):
        assert operator.get(f"{HOME}?{odd}").status_code == 422, odd
    owed = operator.get(f"{HOME}/owed").text
    assert "¥20" in owed
    stop = f"/operator/approvals/coupons/{template}/stop"
    assert operator.post(stop, {"reason": ""}).status_code == 422
    assert operator.post(stop, {"reason": "投诉太多"}).status_code == 303
    assert operator.post(stop, {"reason": "投诉太多"}).status_code == 409
    assert "已结束" in till.owner.get(f"/merchant/coupons/{template}").text
    assert operator.post("/operator/approvals/coupons/9000000001/stop", {"reason": "x"}).status_code == 404


def test_who_owes_whom_and_who_redeemed_their_own(till: Till, operator: Browser) -> None:
    other = till.neighbour("面馆")
    template = till.live(value_fen=500, min_spend_fen=0)
    with till.runtime.transaction(Role.PLATFORM) as session:
        asked = {"merchant_id": till.id, "template_id": template, "acceptor_id": other.id}
        alliance.ask(session, **asked, pays_percent=60, most=None, now=till.runtime.now())
        alliance.agree(session, merchant_id=other.id, template_id=template, pays_percent=60, now=till.runtime.now())
    follower, given = till.holder(template)
    other.owner.get("/merchant/till")
    fields = {"shown": till.shows(follower), "coupon": given.public_id, "nonce": "n1", "bill": "20"}
    assert other.owner.post("/merchant/till/redeem", fields).status_code == 200
    page = operator.get(f"{HOME}/alliance").text
    assert "¥3" in page
    month = f"{till.runtime.now():%Y-%m}"
    behind = f"{HOME}/alliance/{month}/{till.id}/{other.id}"
    assert behind in page
    assert "满百减二十" in operator.get(behind).text
    assert operator.get(f"{HOME}/alliance/{month}/{till.id}/9000000001").status_code == 404
    for odd in ("2026-13", "2099-01", "26-1", "２０２６-01"):
        assert operator.get(f"{HOME}/alliance/{odd}").status_code == 404, odd
    assert "满百减二十" in operator.get(f"{HOME}/redemptions").text
    assert "没有这样的核销" in operator.get(f"{HOME}/redemptions?own=1").text


def test_somebody_is_blocked_and_let_back(till: Till, operator: Browser) -> None:
    """CO-9."""
    template = till.live()
    follower = till.street.fan(till.id)
    page = operator.get(f"/operator/followers/{follower}").text
    path = f"{HOME}/blocked/{follower}"
    assert path in page
    assert operator.get(path).status_code == 200
    assert operator.post(f"{path}/block", {"reason": ""}).status_code == 422
    assert operator.post(f"{path}/block", {"reason": "冒领", "follower_id": "1"}).status_code == 422
    assert operator.post(f"{path}/block", {"reason": "换着手机冒领"}).status_code == 303
    assert operator.post(f"{path}/block", {"reason": "换着手机冒领"}).status_code == 409
    assert "换着手机冒领" in operator.get(f"{HOME}/blocked").text
    with pytest.raises(NotGiven):
        till.street.grant(template, follower)
    assert operator.post(f"{path}/lift", {"reason": ""}).status_code == 422
    assert operator.post(f"{path}/lift", {"reason": "说清楚了"}).status_code == 303
    assert operator.post(f"{path}/lift", {"reason": "说清楚了"}).status_code == 404
    assert till.street.grant(template, follower).is_new
    log = operator.get("/operator/audit").text
    assert "停领" in log
    assert "恢复领券" in log
    assert operator.post(f"{HOME}/blocked/9000000001/block", {"reason": "x"}).status_code == 404


def test_merchants_do_not_enter(till: Till) -> None:
    """#87."""
    for path in ("", "/owed", "/alliance", "/redemptions", "/blocked"):
        assert till.owner.get(f"{HOME}{path}").status_code == 403, path
    with till.runtime.transaction(Role.PLATFORM) as session:
        follower = session.execute(text("SELECT id FROM follower LIMIT 1")).scalar() or 1
    assert till.owner.post(f"{HOME}/blocked/{follower}/block", {"reason": "x"}).status_code == 403
