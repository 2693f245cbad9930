"""积分: rules in plain sentences and what they would have cost, levels, offers, and changes by hand (#79, #87, #88)."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from flask import Flask
from sqlalchemy import text

from campaigns.points import exchange
from core.database import Role
from core.runtime import Runtime
from merchants.models import StaffRole
from tests.web.till import Till, nonce_in

HOME = "/merchant/points"
SPEND = {
    "per_fen": "1", "points": "2", "most_per_person": "200", "most_per_day": "5000", "vests_after_days": "0",
    "lives_days": "365", "is_on": "true", "act": "save",
}  # fmt: skip


@pytest.fixture
def till(app: Flask, runtime: Runtime, new_staff: Callable[..., int]) -> Till:
    return Till.open(app, runtime, new_staff)


def spends(till: Till, bill: str) -> int:
    """Somebody pays at the till; returns who."""
    follower = till.street.fan(till.id)
    till.owner.get("/merchant/till")
    fields = {"shown": till.shows(follower), "bill": bill, "nonce": f"visit-{follower}"}
    assert till.owner.post("/merchant/till/visit", fields).status_code == 200
    return follower


def test_a_rule_is_tried_on_last_month_before_it_is_kept(till: Till) -> None:
    spends(till, "30")
    page = till.owner.get(HOME).text
    assert "没开" in page
    tried = till.owner.post(f"{HOME}/rules/spend", SPEND | {"act": "try"}).text
    assert "按最近 30 天的 1 次来算，大约要送出 60 积分" in tried
    assert till.count("points_rule") == 0
    assert till.owner.post(f"{HOME}/rules/spend", SPEND).status_code == 303
    page = till.owner.get(HOME).text
    assert "每消费 1 元，得 2 积分" in page
    assert "按最近 30 天的 1 次来算" in page
    follower = spends(till, "20")
    fan = till.owner.get(f"{HOME}/fans/{till.number(follower)}").text
    assert "+40" in fan
    assert "积分 40" in till.owner.get(f"/merchant/fans/{till.number(follower)}").text


@pytest.mark.parametrize(
    ("fields", "at"),
    [
        ({"points": "0"}, "points"),
        ({"points": ""}, "points"),
        ({"points": "1.5"}, "points"),
        ({"points": "9223372036854775808"}, "points"),
        ({"per_fen": ""}, "per_fen"),
        ({"per_fen": "-1"}, "per_fen"),
        ({"most_per_person": "1"}, "most_per_person"),
        ({"vests_after_days": "91"}, "vests_after_days"),
        ({"trigger": "follow"}, ""),
        ({"level": "3"}, ""),
    ],
)
def test_a_rule_that_cannot_be_kept_is_refused(till: Till, fields: dict[str, str], at: str) -> None:
    till.owner.get(HOME)
    answer = till.owner.post(f"{HOME}/rules/spend", SPEND | fields)
    assert answer.status_code == 422
    if at:
        assert f'id="spend-{at}-error"' in answer.text
    assert till.count("points_rule") == 0
    assert till.owner.post(f"{HOME}/rules/follow", SPEND).status_code == 404, "nothing is given for following"


def test_no_two_fields_of_a_page_have_the_same_id(till: Till) -> None:
    path = f"/merchant/coupons/{till.live()}"
    fan = f"{HOME}/fans/{till.number(till.street.fan(till.id))}"
    for page in (HOME, path, fan, "/merchant/coupons/new", "/merchant/redemptions", "/merchant/till"):
        ids = re.findall(r'\sid="([^"]+)"', till.owner.get(page).text)
        assert len(ids) == len(set(ids)), page


def test_levels_and_offers(till: Till) -> None:
    template = till.live(name="一杯豆浆")
    till.owner.get(HOME)
    assert till.owner.post(f"{HOME}/levels", {"levels": "常客 很多"}).status_code == 422
    assert till.owner.post(f"{HOME}/levels", {"levels": "常客 500 120\n老友 2000 150"}).status_code == 303
    assert "积分按 150% 给" in till.owner.get(HOME).text
    offer = {"coupon_template": str(template), "price": "100", "stock": "20", "per_person": "1"}
    assert till.owner.post(f"{HOME}/offers", offer | {"price": "0"}).status_code == 422
    assert till.owner.post(f"{HOME}/offers", offer).status_code == 303
    page = till.owner.get(HOME).text
    assert "100 积分一张" in page
    close = re.search(rf"{HOME}/offers/\d+/close", page)
    assert close
    assert till.owner.post(close[0]).status_code == 303
    assert "/open" in till.owner.get(HOME).text
    foreign = till.neighbour().live()
    assert till.owner.post(f"{HOME}/offers", offer | {"coupon_template": str(foreign)}).status_code == 404


@pytest.mark.plants_violation  # pieces that nobody took
def test_an_offer_is_changed_and_keeps_what_was_typed(till: Till) -> None:
    """Whoever looks pays the new price; there are never fewer than were taken."""
    template = till.live()
    with till.runtime.transaction(Role.MERCHANT, merchant_id=till.id) as session:
        offer = exchange.add(session, merchant_id=till.id, template_id=template, price=30, stock=9, per_person=1)
        path = f"{HOME}/offers/{offer.id}"
    with till.runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("UPDATE points_offer SET taken = 4"))
    page = till.owner.get(HOME).text
    assert f'action="{path}"' in page
    terms = {"price": "45", "stock": "20", "per_person": "2"}
    for wrong, field, said in (
        ({"price": "0"}, "price", "所需积分要在 1 到"), ({"price": ""}, "price", "所需积分要在 1 到"),
        ({"stock": "3"}, "stock", "不能少于已经兑换的"), ({"per_person": "1.5"}, "per_person", "请填整数"),
    ):  # fmt: skip
        answer = till.owner.post(path, terms | wrong)
        assert answer.status_code == 422, wrong
        assert said in answer.text, wrong
        assert f'id="offer-{offer.id}-{field}-error"' in answer.text
        assert f'name="{field}" value="{wrong[field]}"' in answer.text, "what was typed stands there still"
        assert all(f'value="{value}"' in answer.text for name, value in terms.items() if name not in wrong)
    assert till.owner.post(path, terms).status_code == 303
    page = till.owner.get(HOME).text
    assert "45 积分一张" in page
    assert "换走 4 / 20" in page
    till.owner.post(f"{path}/close")
    assert till.owner.post(path, terms | {"price": "50"}).status_code == 303
    assert "没开" in till.owner.get(HOME).text, "a new price opens nothing"
    assert till.neighbour().owner.post(path, terms).status_code == 404
    assert till.signed_in("xiaoli").post(path, terms).status_code == 403


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        ("0", "送错了"),
        ("-50", "扣过头了"),
        ("9223372036854775808", "太多"),
        ("1.5", "零头"),
        ("1e3", "写法"),
        ("５０", "全角"),
        ("50", ""),
    ],
)
def test_changes_by_hand_that_make_no_sense(till: Till, points: str, reason: str) -> None:
    """#79."""
    path = f"{HOME}/fans/{till.number(till.street.fan(till.id))}"
    nonce = nonce_in(till.owner.get(path).text, f"{path}/adjust")
    answer = till.owner.post(f"{path}/adjust", {"points": points, "reason": reason, "nonce": nonce})
    assert answer.status_code == 422
    assert till.count("points_adjustment") == 0


def test_more_than_one_person_may_give_waits_for_a_second(till: Till) -> None:
    """AU-9, #88."""
    path = f"{HOME}/fans/{till.number(till.street.fan(till.id))}"
    nonce = nonce_in(till.owner.get(path).text, f"{path}/adjust")
    fields = {"points": "50", "reason": "等了很久", "nonce": nonce}
    assert till.owner.post(f"{path}/adjust", fields | {"nonce": ""}).status_code == 400
    assert till.owner.post(f"{path}/adjust", fields | {"nonce": "n" * 300}).status_code == 400
    assert till.owner.post(f"{path}/adjust", fields).status_code == 303
    assert till.owner.post(f"{path}/adjust", fields).status_code == 303, "a bad line repeats"
    assert till.owner.post(f"{path}/adjust", fields | {"points": "60"}).status_code == 422
    assert till.count("points_adjustment") == 1
    assert "+50" in till.owner.get(path).text
    assert till.owner.post(f"{path}/adjust", fields | {"points": "800", "nonce": "big"}).status_code == 303
    page = till.owner.get(HOME).text
    assert "等另一位店主" in page
    second = till.signed_in("wang2", StaffRole.OWNER)
    agree = re.search(rf"{HOME}/adjustments/\d+/agree", second.get(HOME).text)
    assert agree
    assert till.owner.post(agree[0]).status_code == 409, "nobody agrees with themselves"
    assert till.signed_in("xiaoli").post(agree[0]).status_code == 403
    assert second.post(agree[0]).status_code == 303
    assert second.post(agree[0]).status_code == 409
    assert "+800" in till.owner.get(path).text
    assert till.owner.post(f"{HOME}/settings", {"alone_most": "-1"}).status_code == 422
    assert till.owner.post(f"{HOME}/settings", {"alone_most": "100"}).status_code == 303


def test_a_coupon_from_the_fans_page(till: Till) -> None:
    template = till.live(name="送豆浆")
    path = f"{HOME}/fans/{till.number(till.street.fan(till.id))}"
    fields = {"coupon_template": str(template), "nonce": nonce_in(till.owner.get(path).text, f"{path}/give")}
    assert till.owner.post(f"{path}/give", fields).status_code == 303
    assert till.owner.post(f"{path}/give", fields).status_code == 303
    assert till.count("coupon") == 1
    refused = till.owner.post(f"{path}/give", fields | {"nonce": "again"})
    assert refused.status_code == 409
    assert "到上限" in refused.text
    assert till.owner.get(f"{HOME}/fans/ZZZZZZZZZZ").status_code == 404


def test_a_clerk_reads_rules_and_writes_none(till: Till) -> None:
    """#87."""
    clerk = till.signed_in("xiaoli")
    page = clerk.get(HOME)
    assert page.status_code == 200
    assert 'name="most_per_day"' not in page.text
    for path in ("rules/spend", "levels", "offers", "settings"):
        assert clerk.post(f"{HOME}/{path}", SPEND).status_code == 403, path
