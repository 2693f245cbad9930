"""优惠与积分 for the operator: all coupons, what is promised, settlement, self-dealing, and people who are blocked."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import text

from campaigns.coupons import alliance, templates
from campaigns.coupons.giving import NotGiven
from campaigns.points import rules
from campaigns.points.models import RuleTrigger
from campaigns.points.rules import Rule
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


def test_what_the_pages_show_is_taken_away_as_tables(till: Till, operator: Browser) -> None:
    """Each is narrowed as its page is, carries the page's figures, and is written down."""
    other = till.neighbour("面馆")
    template = till.live(name="=立减五元", value_fen=500, min_spend_fen=0)
    ended = till.live(name="停了的")
    with till.runtime.transaction(Role.PLATFORM) as session:
        asked = {"merchant_id": till.id, "template_id": template, "acceptor_id": other.id}
        alliance.ask(session, **asked, pays_percent=60, most=None, now=till.runtime.now())
        alliance.agree(session, merchant_id=other.id, template_id=template, pays_percent=60, now=till.runtime.now())
        rule = Rule(RuleTrigger.SPEND, 1, 200, 5_000, per_fen=100)
        rules.save(session, merchant_id=other.id, rule=rule, now=till.runtime.now())
        templates.end(session, merchant_id=till.id, template_id=ended, staff_id=1)
    follower, given = till.holder(template)
    other.owner.get("/merchant/till")
    fields = {"shown": till.shows(follower), "coupon": given.public_id, "nonce": "n1", "bill": "20"}
    assert other.owner.post("/merchant/till/redeem", fields).status_code == 200
    operator.get(HOME)
    day = (till.runtime.now() + timedelta(hours=8)).date()
    month = f"{day:%Y-%m}"

    def taken(**wanted: str) -> list[dict[str, str]]:
        answer = operator.post(f"{HOME}/export", wanted)
        assert answer.status_code == 200, answer.text
        assert answer.mimetype == "text/csv"
        return list(csv.DictReader(io.StringIO(answer.get_data(as_text=True).removeprefix("\ufeff"))))

    assert [row["券"] for row in taken(table="kinds")] == ["停了的", "'=立减五元"]
    (kind,) = taken(table="kinds", state="live")
    figures = ("商户", "已发", "核销", "用完了", "让了（元）", "带来的账单（元）", "预算用了（元）")
    assert [kind[one] for one in figures] == ["老王豆浆", "1", "1", "1", "5.00", "20.00", "5.00"]
    (used,) = taken(table="redemptions", since=str(day), until=str(day))
    assert (used["在哪家"], used["发券的店"], used["让了（元）"]) == ("面馆", "老王豆浆", "5.00")
    yesterday = str(day - timedelta(days=1))
    assert taken(table="redemptions", until=yesterday) == []
    assert taken(table="redemptions", own="1") == []
    (earned,) = taken(table="journal", since=str(day))
    assert (earned["什么"], earned["凭什么"], earned["商户"]) == ("得到", "消费", "面馆")
    sides = [int(earned[one].lstrip("'")) for one in ("能用的积分", "还没到账", "店里")]
    assert sides == [20, 0, -20]
    assert taken(table="journal", until=yesterday) == []
    (owed,) = taken(table="settlement", month=month)
    assert (owed["该付的"], owed["该收的"], owed["多少（元）"]) == ("老王豆浆", "面馆", "3.00")
    (settled,) = taken(table="settled", month=month)
    assert (settled["核销的店"], settled["结算（分）"]) == ("面馆", "300")
    assert taken(table="settled", month="2026-01") == []
    for odd in ({"table": "staff"}, {"table": "journal", "since": "2026-02-31"}, {"table": "settlement", "month": "1"},
                {"table": "redemptions", "since": str(day), "until": yesterday}, {}):  # fmt: skip
        assert operator.post(f"{HOME}/export", odd).status_code == 422, odd
    assert operator.post(f"{HOME}/export", {"table": "settlement", "month": "2026-13"}).status_code == 404
    assert "benefits.journal" in operator.get("/operator/audit?action=export").text
    assert till.owner.post(f"{HOME}/export", {"table": "kinds"}).status_code == 403


def test_the_list_of_redemptions_is_narrowed_to_days(till: Till, operator: Browser) -> None:
    follower, given = till.holder(till.live(min_spend_fen=0))
    till.owner.get("/merchant/till")
    fields = {"shown": till.shows(follower), "coupon": given.public_id, "nonce": "n1"}
    assert till.owner.post("/merchant/till/redeem", fields).status_code == 200
    day = (till.runtime.now() + timedelta(hours=8)).date()
    yesterday = day - timedelta(days=1)
    list_ = f"{HOME}/redemptions"
    assert "满百减二十" in operator.get(f"{list_}?since={day}&until={day}").text
    page = operator.get(f"{list_}?until={yesterday}").text
    assert "没有这样的核销" in page
    assert f'value="{yesterday}"' in page
    assert "不能晚于" in operator.get(f"{list_}?since={day}&until={yesterday}").text


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
