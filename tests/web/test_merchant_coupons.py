"""优惠券: made in a minute, approved, looked after while it lives; what is refused (#66–#68, #72, #73, #87)."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import select
from werkzeug.datastructures import MultiDict
from werkzeug.test import TestResponse

from campaigns.coupons import wallet
from core.clock import business_day
from core.database import Role
from core.models import AuditLog
from core.runtime import Runtime
from merchants.models import StaffRole
from tests.web.shops import without_chance
from tests.web.till import COUPON, DAYS, Till

HOME = "/merchant/coupons"


@pytest.fixture
def till(app: Flask, runtime: Runtime, new_staff: Callable[..., int]) -> Till:
    return Till.open(app, runtime, new_staff)


def send(till: Till, path: str, fields: dict[str, str], days: tuple[str, ...] = DAYS) -> TestResponse:
    """A form with its boxes."""
    data = MultiDict([("csrf_token", till.owner.token), *fields.items(), *(("weekday", one) for one in days)])
    return till.owner.client.post(path, data=data)


def write(till: Till, **fields: str) -> str:
    """A saved draft; returns its address."""
    assert till.owner.get(f"{HOME}/new").status_code == 200
    answer = send(till, f"{HOME}/new", COUPON | fields)
    assert answer.status_code == 303, answer.text
    return str(answer.location)


def test_an_example_becomes_a_live_coupon(till: Till) -> None:
    page = till.owner.get(HOME).text
    assert "还没有优惠券" in page
    for like in re.findall(r"/merchant/coupons/new\?like=\w+", page):
        assert till.owner.get(like).status_code == 200
    assert 'value="满 30 减 5"' in till.owner.get(f"{HOME}/new?like=amount").text
    path = write(till)
    page = till.owner.get(path).text
    assert "还是草稿" in page
    assert "满30元减5元" in page
    assert till.owner.post(f"{path}/submit").status_code == 303
    assert "等运营看一眼" in till.owner.get(path).text
    operator = till.signed_in("boss", StaffRole.OPERATOR)
    queue = operator.get("/operator/approvals").text
    seen = re.search(rf'coupons/{path.rpartition("/")[2]}/approve".*?name="seen" value="([^"]+)"', queue, re.DOTALL)
    assert seen
    assert "满30元减5元" in queue
    approve = f"/operator/approvals/coupons/{path.rpartition('/')[2]}/approve"
    assert operator.post(approve, {"seen": seen[1]}).status_code == 303
    assert operator.post(approve, {"seen": seen[1]}).location == "/operator/approvals"
    assert "已经处理过了" in operator.get("/operator/approvals").text
    assert "正在发" in till.owner.get(path).text
    assert "已发" in till.owner.get(HOME).text
    assert "通过了，从现在起就能领" in till.owner.get("/merchant/notices").text


def test_a_refusal_comes_back_with_its_reason_and_can_be_mended(till: Till) -> None:
    path = write(till)
    till.owner.post(f"{path}/submit")
    operator = till.signed_in("boss", StaffRole.OPERATOR)
    queue = operator.get("/operator/approvals").text
    seen = re.search(r'name="seen" value="([^"]+)"', queue)
    assert seen
    reject = f"/operator/approvals/coupons/{path.rpartition('/')[2]}/reject"
    answer = operator.post(reject, {"seen": seen[1], "reason": ""})
    assert answer.status_code == 422
    assert operator.post(reject, {"seen": seen[1], "reason": "请写清楚哪几种豆浆"}).status_code == 303
    assert "请写清楚哪几种豆浆" in till.owner.get(path).text
    assert "请写清楚哪几种豆浆" in till.owner.get(f"{path}/edit").text
    assert send(till, f"{path}/edit", COUPON | {"terms": "只限咸豆浆"}).status_code == 303
    assert till.owner.post(f"{path}/submit").status_code == 303


def test_the_preview_tells_what_a_bill_would_come_to_and_keeps_nothing(till: Till) -> None:
    till.owner.get(f"{HOME}/new")
    day = business_day(till.runtime.now()) + timedelta(days=3)
    answer = send(till, f"{HOME}/preview", COUPON | {"except_dates": f"{day}"})
    assert answer.status_code == 200
    assert "消费 100 元：减 5 元，付 95 元" in answer.text
    assert "18:00，消费 100 元：不可用（例外日期）" in answer.text
    assert "没到最低消费" in answer.text
    assert "最多花 ¥250" in answer.text
    assert "请填整数" in send(till, f"{HOME}/preview", COUPON | {"stock": "1.5"}).text
    assert till.count("coupon_template") == 0


REFUSED = [
    ({"stock": "-1"}, "stock"),
    ({"stock": "0"}, "stock"),
    ({"stock": "1000000000000"}, "stock"),
    ({"stock": "1.5"}, "stock"),
    ({"stock": "１２"}, "stock"),
    ({"stock": "5", "per_person": "6"}, "per_person"),
    ({"per_person": "0"}, "per_person"),
    ({"value": "0"}, "value"),
    ({"value": "-5"}, "value"),
    ({"value": "5.001"}, "value"),
    ({"value": "1e3"}, "value"),
    ({"value": "40"}, "min_spend"),
    ({"budget": "4"}, "budget"),
    ({"validity": "dates", "valid_from": "2027-02-10", "valid_to": "2027-02-09"}, "valid_to"),
    ({"validity": "dates", "valid_from": "2027-02-10", "valid_to": "2027-02-31"}, "valid_to"),
    ({"validity": "dates", "valid_from": "2020-01-01", "valid_to": "2020-01-02"}, "valid_to"),
    ({"lasts_days": "0"}, "lasts_days"),
    ({"hours": "14:00-11:00"}, "hours"),
    ({"hours": "25:00-26:00"}, "hours"),
    ({"except_dates": "2027-02-31"}, "except_dates"),
    ({"kind": "percent", "zhe": "10"}, "zhe"),
    ({"kind": "visits", "uses": "101", "worth": "5"}, "uses"),
    ({"keyword": "签到"}, "keyword"),
    ({"name": "关注送豆浆"}, "name"),
]


@pytest.mark.parametrize(("fields", "at"), REFUSED, ids=[f"{at}-{n}" for n, (_fields, at) in enumerate(REFUSED)])
def test_what_cannot_be_promised_is_refused_at_its_field(till: Till, fields: dict[str, str], at: str) -> None:
    """#72."""
    till.owner.get(f"{HOME}/new")
    answer = send(till, f"{HOME}/new", COUPON | fields)
    assert answer.status_code == 422
    assert f'id="{at}-error"' in answer.text, answer.text
    assert till.count("coupon_template") == 0


def test_nothing_else_can_be_set(till: Till) -> None:
    """#66, #67."""
    till.owner.get(f"{HOME}/new")
    for name in ("merchant_id", "state", "issued", "review", "worth_fen", "committed_fen"):
        assert send(till, f"{HOME}/new", COUPON | {name: "1"}).status_code == 422
    assert send(till, f"{HOME}/new", COUPON, days=()).status_code == 422
    assert till.owner.client.post(f"{HOME}/new", data=COUPON).status_code == 403
    foreign = {"Origin": "https://evil.example"}
    path = write(till)
    assert till.owner.post(f"{path}/submit", headers=foreign).status_code == 403
    assert till.owner.client.post(f"{path}/submit", data="{}", content_type="text/plain").status_code in {403, 415}


def test_somebody_elses_is_missing(till: Till) -> None:
    """#68."""
    foreign = till.neighbour().live()
    till.owner.get(HOME)
    nowhere = till.owner.get(f"{HOME}/9000000000000001").text
    for odd in ("0", "-1", "9223372036854775808", "1.0", "1e3", "01", "6f9619ff-8b86-d011-b42d-00cf4fc964ff"):
        assert till.owner.get(f"{HOME}/{odd}").status_code == 404, odd
    assert till.owner.get(f"{HOME}/{foreign}").status_code == 404
    assert without_chance(till.owner.get(f"{HOME}/{foreign}").text) == without_chance(nowhere)
    for act in ("submit", "pause", "end", "copy", "stock", "tranches", "keyword", "refusals", "acceptors", "edit"):
        assert till.owner.post(f"{HOME}/{foreign}/{act}").status_code == 404, act


def test_a_live_one_is_looked_after(till: Till) -> None:
    path = f"{HOME}/{till.live(stock=10)}"
    for _one in range(3):
        till.holder(int(path.rpartition("/")[2]))
    till.owner.get(path)
    answer = till.owner.post(f"{path}/stock", {"stock": "2", "budget": ""})
    assert answer.status_code == 422, "#73"
    assert "已经发出 3 张" in answer.text
    assert till.owner.post(f"{path}/stock", {"stock": "20", "per_day": "5"}).status_code == 303
    assert till.owner.post(f"{path}/tranches", {"tranches": "明天 5"}).status_code == 422
    assert till.owner.post(f"{path}/tranches", {"tranches": "2027-01-01 10:00 5"}).status_code == 303
    assert "2027-01-01 10:00 5" in till.owner.get(path).text
    assert till.owner.post(f"{path}/keyword", {"keyword": "豆浆来了"}).status_code == 303
    assert till.owner.post(f"{path}/refusals", {"refusal_sold_out": "明早再来"}).status_code == 303
    page = till.owner.get(path).text
    assert "豆浆来了" in page
    assert "明早再来" in page
    assert till.owner.post(f"{path}/pause").status_code == 303
    assert till.owner.post(f"{path}/pause").status_code == 409
    assert till.owner.post(f"{path}/resume").status_code == 303
    assert till.owner.post(f"{path}/end").status_code == 303
    assert till.owner.post(f"{path}/resume").status_code == 409
    copied = till.owner.post(f"{path}/copy")
    assert copied.status_code == 303
    assert "满百减二十" in till.owner.get(copied.location).text
    table = till.owner.post(f"{path}/export")
    assert table.mimetype == "text/csv"
    assert f"{business_day(till.runtime.now())}" in table.get_data(as_text=True)


def test_one_given_by_mistake_is_taken_back(till: Till) -> None:
    """Its holder reads so, the till says so, the log keeps why; what was given stays counted."""
    template = till.live(min_spend_fen=0)
    mistaken, coupon = till.holder(template)
    _other, kept = till.holder(template)
    path = f"{HOME}/{template}"
    assert f"{path}/given" in till.owner.get(path).text
    page = till.owner.get(f"{path}/given").text
    assert page.count("给错了，收回") == 2
    number = till.number(mistaken)
    found = till.owner.get(f"{path}/given?q={number[:5].lower()}-{number[5:].lower()}").text
    assert (coupon.public_id in found, kept.public_id in found) == (True, False)
    revoke = f"{path}/given/{coupon.public_id}/revoke"
    refused = till.owner.post(revoke, {"reason": " "})
    assert refused.status_code == 422
    assert till.street.state(coupon.coupon_id) == "issued"
    assert till.signed_in("xiaoli").post(revoke, {"reason": "给错了"}).status_code == 403
    assert till.owner.post(revoke, {"reason": "给错了人"}).status_code == 303
    again = till.owner.post(revoke, {"reason": "给错了人"})
    assert again.status_code == 409
    assert "已经用掉、过期或收回了" in again.text
    page = till.owner.get(f"{path}/given").text
    assert page.count("给错了，收回") == 1
    assert "已收回" in page
    assert "收回 1 张" in till.owner.get(path).text
    with till.runtime.transaction(Role.FAN, follower_id=mistaken) as session:
        seen = wallet.coupon(session, follower_id=mistaken, public_id=coupon.public_id, now=till.runtime.now())
        assert seen.state_words == "已收回"
    why = select(AuditLog.detail).where(AuditLog.action == "coupon.revoke")
    with till.runtime.transaction(Role.PLATFORM) as session:
        assert [one["reason"] for one in session.scalars(why)] == ["给错了人"]
    assert till.street.template(template).issued == 2
    assert till.street.state(kept.coupon_id) == "issued"
    till.owner.get("/merchant/till")
    assert "已收回" in till.owner.post("/merchant/till/look", {"shown": till.shows(mistaken)}).text


def test_only_ones_own_coupons_are_taken_back(till: Till) -> None:
    other = till.neighbour()
    _follower, foreign = till.holder(other.live())
    _follower, second = till.holder(till.live(name="另一种"))
    template = till.live()
    till.owner.get(HOME)
    for given in (foreign.public_id, second.public_id, "NOSUCHCOUPON"):
        answer = till.owner.post(f"{HOME}/{template}/given/{given}/revoke", {"reason": "给错了"})
        assert answer.status_code == 404, given
    assert till.owner.get(f"{HOME}/{foreign.template_id}/given").status_code == 404
    assert {till.street.state(one.coupon_id) for one in (foreign, second)} == {"issued"}


def test_a_neighbour_is_asked_and_agrees(till: Till) -> None:
    other = till.neighbour("面馆")
    path = f"{HOME}/{till.live()}"
    till.owner.get(path)
    assert till.owner.post(f"{path}/acceptors", {"merchant": "没有这家", "pays_percent": "50"}).status_code == 422
    assert till.owner.post(f"{path}/acceptors", {"merchant": "面馆", "pays_percent": "101"}).status_code == 422
    assert till.owner.post(f"{path}/acceptors", {"merchant": "面馆", "pays_percent": "50"}).status_code == 303
    assert "等对方同意" in till.owner.get(path).text
    page = other.owner.get("/merchant/alliance").text
    assert "想请您也收" in page
    agree = f"/merchant/alliance/{path.rpartition('/')[2]}/agree"
    assert other.owner.post(agree, {"pays_percent": "60"}).status_code == 409
    assert other.owner.post(agree, {"pays_percent": "50"}).status_code == 303
    assert "已同意" in till.owner.get(path).text
    clerk = other.signed_in("mian-clerk")
    assert clerk.post(agree, {"pays_percent": "50"}).status_code == 403
    assert other.owner.post(agree.replace("agree", "refuse")).status_code == 303
    assert till.owner.post(agree, {"pays_percent": "50"}).status_code == 404, "only who was asked"


def test_a_clerk_looks_and_does_not_write(till: Till) -> None:
    """#87."""
    path = f"{HOME}/{till.live()}"
    clerk = till.signed_in("xiaoli")
    assert clerk.get(HOME).status_code == 200
    page = clerk.get(path).text
    assert "/pause" not in page
    assert clerk.get(f"{HOME}/new").status_code == 403
    assert clerk.get(f"{path}/edit").status_code == 403
    for act in ("submit", "pause", "end", "copy", "stock", "acceptors"):
        assert clerk.post(f"{path}/{act}").status_code == 403, act
    assert clerk.get("/operator/benefits").status_code == 403
