"""核销: a code is typed, what can be used is seen, and one tap uses it up, once (#76–#78, #87, #88)."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import text

from campaigns.coupons import alliance, redeeming
from core.clock import SHANGHAI
from core.database import Role
from core.runtime import Runtime
from tests.web.conftest import Browser
from tests.web.till import Till, nonce_in

HOME = "/merchant/till"
REDEEM = f"{HOME}/redeem"


@pytest.fixture
def till(app: Flask, runtime: Runtime, new_staff: Callable[..., int]) -> Till:
    return Till.open(app, runtime, new_staff)


def look(browser: Browser, shown: str) -> str:
    answer = browser.post(f"{HOME}/look", {"shown": shown})
    assert answer.status_code == 200, answer.text
    return answer.text


def form_of(page: str, shown: str, bill: str = "") -> dict[str, str]:
    """What tapping the first coupon sends."""
    coupon = re.search(r'name="coupon" value="([^"]+)"', page)
    assert coupon, page
    return {"shown": shown, "coupon": coupon[1], "bill": bill, "nonce": nonce_in(page, REDEEM)}


def test_a_coupon_is_used_up_with_one_tap_and_taken_back(till: Till) -> None:
    follower, _given = till.holder(till.live(name="立减两元", value_fen=200, min_spend_fen=0))
    till.owner.get(HOME)
    shown = till.shows(follower)
    page = look(till.owner, shown)
    assert till.number(follower)[:5] in page
    assert "立减2元" in page
    answer = till.owner.post(REDEEM, form_of(page, shown, "18.50"))
    assert answer.status_code == 200
    assert "核销成功" in answer.text
    assert "实付 ¥16.50" in answer.text
    assert 'class="verdict is-good"' in answer.text
    log = till.owner.get("/merchant/redemptions").text
    assert "让了 ¥2" in log
    undo = re.search(r"/merchant/redemptions/\d+/undo", log)
    assert undo
    assert till.owner.post(undo[0], {"reason": ""}).status_code == 422
    assert till.owner.post(undo[0], {"reason": "点错了"}).status_code == 303
    assert till.owner.post(undo[0], {"reason": "点错了"}).status_code == 409
    log = till.owner.get("/merchant/redemptions").text
    assert "已撤销" in log
    assert "点错了" in log
    assert "立减2元" in look(till.owner, till.shows(follower))


def test_tapping_twice_is_one_redemption_with_one_answer(till: Till) -> None:
    follower, _given = till.holder(till.live(min_spend_fen=0))
    till.owner.get(HOME)
    shown = till.shows(follower)
    fields = form_of(look(till.owner, shown), shown)
    first, again = till.owner.post(REDEEM, fields), till.owner.post(REDEEM, fields)
    assert (first.status_code, again.status_code) == (200, 200)
    assert "核销成功" in again.text
    assert till.count("redemption") == 1
    other = till.owner.post(REDEEM, fields | {"nonce": "another"})
    assert other.status_code == 409, "#77"
    assert "已经用过了" in other.text
    assert 'class="verdict is-bad" role="alert"' in other.text


def test_what_a_nonce_may_be(till: Till) -> None:
    """#78, #88."""
    follower, _given = till.holder(till.live(min_spend_fen=0))
    till.owner.get(HOME)
    shown = till.shows(follower)
    fields = form_of(look(till.owner, shown), shown)
    assert till.owner.post(REDEEM, fields | {"nonce": ""}).status_code == 400
    assert till.owner.post(REDEEM, fields | {"nonce": "n" * 300}).status_code == 400
    assert till.owner.post(REDEEM, fields).status_code == 200
    assert till.owner.post(REDEEM, fields | {"coupon": "SOMETHINGELSE"}).status_code == 422
    assert till.owner.post(f"{HOME}/visit", {"shown": shown, "nonce": ""}).status_code == 400
    assert till.count("redemption") == 1


def test_a_coupon_is_held_while_the_bill_is_paid(till: Till) -> None:
    """Meanwhile the neighbour's till, which takes the coupon as well, is told no; a hold lets go by itself."""
    other = till.neighbour()
    template = till.live(value_fen=500, min_spend_fen=0)
    follower, _given = till.holder(template)
    with till.runtime.transaction(Role.PLATFORM) as session:
        asked = {"merchant_id": till.id, "template_id": template, "acceptor_id": other.id}
        alliance.ask(session, **asked, pays_percent=60, most=None, now=till.runtime.now())
        alliance.agree(session, merchant_id=other.id, template_id=template, pays_percent=60, now=till.runtime.now())
    till.owner.get(HOME)
    other.owner.get(HOME)
    shown = till.shows(follower)
    page = look(till.owner, shown)
    assert "先锁定（收款中）" in page
    assert "取消锁定" not in page
    fields = form_of(page, shown, "20")
    held = till.owner.post(f"{HOME}/reserve", fields)
    assert held.status_code == 200
    until = (till.runtime.now() + redeeming.HELD).astimezone(SHANGHAI)
    assert re.search(rf"已锁定到 \S+ ({until:%H:%M}|{until - timedelta(minutes=1):%H:%M})", held.text)
    assert "先锁定（收款中）" not in held.text
    assert 'value="20"' in held.text, "what was typed stays"
    assert "已锁定到" in look(till.owner, shown), "it is so for whoever looks again"
    assert "正在另一家店使用" in look(other.owner, shown)
    refused = other.owner.post(f"{HOME}/reserve", fields)
    assert refused.status_code == 409
    assert "没有锁定" in refused.text
    other.owner.post(f"{HOME}/release", fields)
    assert "已锁定到" in look(till.owner, shown), "only who holds it lets it go"
    released = till.owner.post(f"{HOME}/release", fields)
    assert "先锁定（收款中）" in released.text
    assert "正在另一家店使用" not in look(other.owner, shown)
    till.owner.post(f"{HOME}/reserve", fields)
    done = till.owner.post(REDEEM, form_of(look(till.owner, shown), shown, "20"))
    assert "实付 ¥15" in done.text


def test_a_hold_is_let_go_after_the_code_is_over_too(till: Till) -> None:
    follower, given = till.holder(till.live(min_spend_fen=0))
    till.owner.get(HOME)
    shown = till.shows(follower)
    fields = form_of(look(till.owner, shown), shown)
    till.owner.post(f"{HOME}/reserve", fields)
    with till.runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("UPDATE shown_code SET expires_at = app_now() - interval '1 second'"))
    assert till.owner.post(f"{HOME}/reserve", fields).status_code == 409, "the code holds nothing any more"
    assert "已取消锁定" in till.owner.post(f"{HOME}/release", fields).text
    assert till.street.state(given.coupon_id) == "issued"


def test_the_bill_is_asked_for_where_it_decides(till: Till) -> None:
    follower, _given = till.holder(till.live(value_fen=500, min_spend_fen=3_000))
    till.owner.get(HOME)
    shown = till.shows(follower)
    page = look(till.owner, shown)
    for bill, status in (("", 422), ("29.99", 422), ("abc", 422), ("-1", 422), ("30", 200)):
        answer = till.owner.post(REDEEM, form_of(page, shown, bill))
        assert answer.status_code == status, bill
    assert "实付 ¥25" in answer.text


def test_codes_as_people_read_them(till: Till) -> None:
    """#76."""
    follower, _given = till.holder(till.live())
    till.owner.get(HOME)
    shown = till.shows(follower)
    for spelling in (shown.lower(), f" {shown[:4]} {shown[4:]} ", f"{shown[:4]}-{shown[4:]}"):
        assert "满百减二十" in look(till.owner, spelling), spelling
    assert till.owner.post(f"{HOME}/look", {"shown": ""}).status_code == 404
    for wrong in ("ZZZZZZZZ", "22222222", "33333333", "44444444", "55555555"):
        answer = till.owner.post(f"{HOME}/look", {"shown": wrong})
        assert answer.status_code == 404, wrong
        assert "没有找到这个码" in answer.text
    answer = till.owner.post(f"{HOME}/look", {"shown": shown})
    assert answer.status_code == 429, "five wrong ones a minute"


def test_an_old_code_shows_nobody(till: Till) -> None:
    follower, _given = till.holder(till.live())
    shown = till.shows(follower)
    with till.runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("UPDATE shown_code SET expires_at = app_now() - interval '1 second'"))
    till.owner.get(HOME)
    answer = till.owner.post(f"{HOME}/look", {"shown": shown})
    assert answer.status_code == 409
    assert "已经过期" in answer.text


def test_what_cannot_be_used_says_why(till: Till) -> None:
    today = (till.runtime.now() + timedelta(hours=8)).date()
    template = till.live(except_dates=(today,), min_spend_fen=0)
    follower, given = till.holder(template)
    till.owner.get(HOME)
    shown = till.shows(follower)
    page = look(till.owner, shown)
    assert "现在没有能用的券" in page
    assert "例外日期" in page
    fields = {"shown": shown, "coupon": given.public_id, "nonce": "n1"}
    answer = till.owner.post(REDEEM, fields)
    assert answer.status_code == 409
    assert "例外日期" in answer.text
    assert till.owner.post(REDEEM, fields | {"coupon": "NOSUCHCOUPON"}).status_code in {404, 422}
    with till.runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("UPDATE coupon SET state = 'revoked', ended_at = app_now()"))
    answer = till.owner.post(REDEEM, fields | {"nonce": "n2"})
    assert answer.status_code == 409
    assert "已收回" in answer.text


def test_another_shops_coupon_is_taken_only_once_agreed(till: Till) -> None:
    """#76; and the month's statement says who owes whom."""
    other = till.neighbour("面馆")
    template = till.live(value_fen=500, min_spend_fen=0)
    follower, given = till.holder(template)
    other.owner.get(HOME)
    shown = till.shows(follower)
    fields = {"shown": shown, "coupon": given.public_id, "nonce": "n1", "bill": "20"}
    assert other.owner.post(REDEEM, fields).status_code == 404
    with till.runtime.transaction(Role.PLATFORM) as session:
        asked = {"merchant_id": till.id, "template_id": template, "acceptor_id": other.id}
        alliance.ask(session, **asked, pays_percent=60, most=None, now=till.runtime.now())
        alliance.agree(session, merchant_id=other.id, template_id=template, pays_percent=60, now=till.runtime.now())
    page = look(other.owner, shown)
    assert "“老王豆浆”的券" in page
    assert other.owner.post(REDEEM, fields | {"nonce": "n2"}).status_code == 200
    assert "¥3" in other.owner.get("/merchant/alliance").text
    statement = till.owner.get("/merchant/alliance").text
    assert "¥3" in statement
    behind = re.search(r"/merchant/alliance/[\d-]+/entries\?partner=\d+", statement)
    assert behind
    rows = till.owner.get(behind[0]).text
    assert "您的券，在“面馆”用的" in rows
    assert "−¥3" in rows
    assert till.owner.get("/merchant/alliance/2026-13").status_code == 404
    month = behind[0].split("/")[3]
    assert till.owner.post(f"/merchant/alliance/{month}/export").mimetype == "text/csv"
    assert "在“面馆”用的" in till.owner.get("/merchant/redemptions").text


def test_a_visit_without_a_coupon(till: Till) -> None:
    follower, _given = till.holder(till.live())
    till.owner.get(HOME)
    shown = till.shows(follower)
    fields = {"shown": shown, "bill": "12", "nonce": nonce_in(look(till.owner, shown), f"{HOME}/visit")}
    assert "已记到店" in till.owner.post(f"{HOME}/visit", fields).text
    assert till.owner.post(f"{HOME}/visit", fields).status_code == 200, "a bad line repeats"
    again = till.owner.post(f"{HOME}/visit", fields | {"nonce": "other"})
    assert again.status_code == 409
    assert till.count("visit") == 1


def test_a_visit_is_taken_back_with_a_reason(till: Till) -> None:
    follower, _given = till.holder(till.live())
    till.owner.get(HOME)
    shown = till.shows(follower)
    fields = {"shown": shown, "bill": "12", "nonce": nonce_in(look(till.owner, shown), f"{HOME}/visit")}
    undo = re.search(rf"{HOME}/visits/\d+/undo", till.owner.post(f"{HOME}/visit", fields).text)
    assert undo
    assert "没有撤销" in till.owner.post(undo[0], {"reason": ""}).text
    assert "已撤销这次到店" in till.owner.post(undo[0], {"reason": "扫错人了"}).text
    assert till.owner.post(undo[0], {"reason": "扫错人了"}).status_code == 409
    assert till.neighbour().owner.post(undo[0], {"reason": "别家的"}).status_code == 404


def test_a_coupon_given_by_hand(till: Till) -> None:
    template = till.live(name="送豆浆")
    follower = till.street.fan(till.id)
    till.owner.get(HOME)
    shown = till.shows(follower)
    page = look(till.owner, shown)
    fields = {"shown": shown, "coupon_template": str(template), "nonce": nonce_in(page, f"{HOME}/give")}
    assert "送出去了" in till.owner.post(f"{HOME}/give", fields).text
    assert till.owner.post(f"{HOME}/give", fields).status_code == 200
    assert till.count("coupon") == 1
    limit = till.owner.post(f"{HOME}/give", fields | {"nonce": "second"})
    assert limit.status_code == 409
    assert "到上限" in limit.text
    foreign = till.neighbour().live()
    assert till.owner.post(f"{HOME}/give", fields | {"coupon_template": str(foreign), "nonce": "x"}).status_code == 404


def test_a_clerk_works_the_till_and_the_camera_is_its_alone(till: Till) -> None:
    """#87."""
    clerk = till.signed_in("xiaoli")
    page = clerk.get(HOME)
    assert page.headers["Permissions-Policy"].startswith("camera=(self)")
    assert "https://res.wx.qq.com" in page.headers["Content-Security-Policy"]
    elsewhere = clerk.get("/merchant/redemptions")
    assert elsewhere.headers["Permissions-Policy"].startswith("camera=()")
    assert "res.wx.qq.com" not in elsewhere.headers["Content-Security-Policy"]
    follower, _given = till.holder(till.live(min_spend_fen=0))
    shown = till.shows(follower)
    assert clerk.post(REDEEM, form_of(look(clerk, shown), shown)).status_code == 200
    with till.runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("UPDATE staff SET disabled_at = app_now() WHERE role = 'clerk'"))
    assert clerk.post(f"{HOME}/look", {"shown": shown}).status_code in {302, 401}
    assert till.app.test_client().get(HOME).status_code == 302


def test_the_log_is_narrowed_and_taken_away_as_a_table(till: Till) -> None:
    template = till.live(min_spend_fen=0)
    follower, _given = till.holder(template)
    till.owner.get(HOME)
    shown = till.shows(follower)
    till.owner.post(REDEEM, form_of(look(till.owner, shown), shown))
    log = "/merchant/redemptions"
    today = (till.runtime.now() + timedelta(hours=8)).date()
    assert "让了" in till.owner.get(f"{log}?day={today}&coupon_template={template}").text
    assert "没有符合条件的核销" in till.owner.get(f"{log}?day={today - timedelta(days=1)}").text
    for odd in ("day=2026-02-31", "staff=0", "staff=1.0", "sort=password", "before=-1", "day=1&day=2"):
        assert till.owner.get(f"{log}?{odd}").status_code == 422, odd
    table = till.owner.post(f"{log}/export", {"coupon_template": str(template)})
    assert table.mimetype == "text/csv"
    assert "满百减二十" in table.get_data(as_text=True)
    second, _given = till.holder(template)
    assert second
    owed = till.owner.get(f"{log}/liability").text
    assert "满百减二十" in owed
    assert "¥20" in owed
