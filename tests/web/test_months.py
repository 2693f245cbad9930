"""月报: the month as a PDF tells what the pages tell, for whole days, to its own shop and the operator."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, timedelta

import pypdfium2
import pytest
from flask import Flask
from sqlalchemy import text

from bot.inbox import Inbox
from core.clock import business_day, start_of_day
from core.database import Role
from core.runtime import Runtime
from qrcodes import handovers, rollups
from qrcodes.reports.months import Month
from tests.community import Code, Neighbourhood, new_openid, scanned, subscribed, unsubscribed
from tests.conftest import advance
from tests.web.conftest import Browser
from tests.web.shops import Shop, open_shop

NAME = '王#记$"早餐]铺🍜@x'


@pytest.fixture
def today(runtime: Runtime) -> date:
    """The tenth of a month, so that the running month has days and the one before can be compared with."""
    now = runtime.now()
    tenth = start_of_day(Month.of(business_day(now)).next.first + timedelta(days=9)) + timedelta(hours=12)
    advance(runtime, tenth - now)
    return business_day(runtime.now())


@pytest.fixture
def shop(app: Flask, runtime: Runtime, new_staff: Callable[..., int], today: date) -> Shop:
    shop = open_shop(app, Neighbourhood(runtime), new_staff, NAME, "wang", label="收银台$")
    admitted(runtime, shop, Month.of(today).former.former.first + timedelta(days=14))
    return shop


@pytest.fixture
def operator(app: Flask, new_staff: Callable[..., int]) -> Browser:
    new_staff("operator")
    browser = Browser(app.test_client())
    assert browser.sign_in("operator").status_code == 303
    return browser


def admitted(runtime: Runtime, shop: Shop, day: date) -> None:
    with runtime.transaction(Role.PLATFORM) as session:
        at = start_of_day(day) + timedelta(hours=9)
        session.execute(text("UPDATE merchant SET created_at = :at WHERE id = :id"), {"at": at, "id": shop.merchant_id})


def happen(runtime: Runtime, *events: object) -> None:
    for event in events:
        Inbox(runtime).receive([event])  # type: ignore[list-item]
    rollups.catch_up(runtime)
    with runtime.transaction(Role.PLATFORM) as session:
        # That who left long ago is to be forgotten is another story.
        session.execute(text("UPDATE follower SET erase_due_at = NULL"))


def noon(day: date) -> datetime:
    return start_of_day(day) + timedelta(hours=12)


def comes(code: Code, day: date, *, leaves: date | None = None) -> list[object]:
    person = new_openid()
    return [subscribed(person, noon(day), code.scene), *([unsubscribed(person, noon(leaves))] if leaves else [])]


def words(document: bytes) -> str:
    """All that can be read on it, without the spaces a typesetter puts between scripts."""
    pages = pypdfium2.PdfDocument(document)
    return "".join("".join(page.get_textpage().get_text_bounded().split()) for page in pages)


def report(browser: Browser, shop: Shop, month: Month) -> str:
    area = f"/operator/merchants/{shop.merchant_id}" if browser is not shop.owner else "/merchant"
    answer = browser.get(f"{area}/months/{month.name}.pdf")
    assert answer.status_code == 200, answer.text
    assert answer.mimetype == "application/pdf"
    return words(answer.data)


@pytest.fixture
def busy(runtime: Runtime, shop: Shop, today: date) -> Shop:
    """A full month with its neighbours: 3 won in it (one returning), 1 lost; 2 won the month before; 1 this month."""
    month = Month.of(today).former
    door = shop.street.code(shop.merchant_id, "门口")
    back = new_openid()
    early, mid = month.first + timedelta(days=2), month.first + timedelta(days=14)
    happen(
        runtime,
        subscribed(back, noon(month.former.last), shop.code.scene),
        unsubscribed(back, noon(month.former.last) + timedelta(hours=1)),
        *comes(shop.code, month.former.last),
        subscribed(back, noon(early), shop.code.scene),
        *comes(shop.code, early),
        *comes(door, mid, leaves=mid + timedelta(days=1)),
        *(scanned(back, noon(mid) + timedelta(hours=hour), door.scene) for hour in range(3)),
        *comes(door, month.next.first),
        *comes(door, today),
    )
    return shop


def test_the_report_tells_what_the_pages_tell(busy: Shop, operator: Browser, today: date) -> None:
    month = Month.of(today).former
    operators, own = report(operator, busy, month), report(busy.owner, busy, month)
    assert operators == own
    span = f"?span=custom&since={month.first}&until={month.last}"
    page = operator.get(f"/operator/traffic/ranking{span}").text
    row = re.search(r"<tr>(?:(?!</tr>).)*?王#记.*?</tr>", page, re.DOTALL)
    assert row
    # Its place in front, its change at the end.
    _, scans, people, new, returning, lost, net, _ = re.findall(r">\s*([+−]?\d+)\s*<", row[0])
    assert (scans, people, new, returning, lost, net) == ("6", "3", "2", "1", "1", "+2")
    for told in (f"来的人{people}", f"扫码{scans}", f"新关注{new}", f"回来的{returning}", f"取关{lost}", "净增2"):
        assert told in own
    assert "3人扫了6次本店的码，2人第一次关注" in own
    # One stayed of the two the month before had won; two more did of the three of this one.
    assert "带来且仍在关注3比上月末+2" in own
    assert "+4，上月2" in own
    former = month.former
    assert f"变化是与{former.first.month}月1日至{former.first.month}月{former.last.day}日相比" in own
    assert f"{month.first.month}月1日至{month.last.month}月{month.last.day}日" in own


def test_a_name_is_printed_as_it_is_written(busy: Shop, today: date) -> None:
    own = report(busy.owner, busy, Month.of(today).former)
    assert '王#记$"早餐]铺@x' in own
    assert "收银台$" in own


def test_codes_say_who_stayed_and_what_a_follower_cost(runtime: Runtime, busy: Shop, today: date) -> None:
    month = Month.of(today).former
    assert "每个新关注花费" not in report(busy.owner, busy, month)
    with runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("UPDATE sub_qr_code SET cost_fen = 1250 WHERE label = '门口'"))
    own = report(busy.owner, busy, month)
    # Of the two that came by the counter both were there a week later; the one by the door left the next day.
    assert "收银台$柜台21100%（2/2）—" in own
    assert "门口柜台410%（0/1）¥12.50" in own
    # One more came by the door since, and the same cost is shared by two.
    assert "门口柜台11100%（1/1）¥6.25" in report(busy.owner, busy, Month.of(today))


def test_the_running_month_ends_yesterday_and_is_compared_with_as_many_days(busy: Shop, today: date) -> None:
    running = report(busy.owner, busy, Month.of(today))
    assert "到昨天为止" in running
    # Who came today is not in it; nine days of the month before saw five scans less than the whole of it.
    assert "1人扫了1次本店的码" in running
    former = Month.of(today).former.first.month
    assert f"变化是与{former}月1日至{former}月9日相比" in running
    assert "−1，上月同期2" in running


def test_a_code_that_was_handed_over_still_counts_where_it_counted(
    runtime: Runtime, busy: Shop, operator: Browser, today: date
) -> None:
    other = busy.street.merchant("面馆")
    with runtime.transaction(Role.PLATFORM) as session:
        door = session.execute(text("SELECT id FROM sub_qr_code WHERE label = '门口'")).scalar_one()
        receiver = handovers.Receiver(other, "面馆")
        handovers.hand_over(session, code_id=door, receiver=receiver, operator_id=1, now=runtime.now())
    month = Month.of(today).former
    assert "已移交的码41" in report(busy.owner, busy, month)
    assert report(busy.owner, busy, month) == report(operator, busy, month)


def test_an_outage_is_marked_on_its_days(runtime: Runtime, busy: Shop, operator: Browser, today: date) -> None:
    month = Month.of(today).former
    assert "中断" not in report(busy.owner, busy, month)
    with runtime.transaction(Role.PLATFORM) as session:
        session.execute(
            text("INSERT INTO outage (who, began_at, ended_at) VALUES ('web', :began, :ended)"),
            {"began": noon(month.first), "ended": noon(month.first) + timedelta(minutes=77)},
        )
    for browser in (busy.owner, operator):
        told = report(browser, busy, month)
        assert "有过中断，数可能偏少" in told
        assert f"{month.first.month}月1日12:00–13:17" in told


def test_a_month_without_anything_says_so(shop: Shop, today: date) -> None:
    own = report(shop.owner, shop, Month.of(today).former)
    assert "这段时间没有人扫码" in own
    assert "来的人0持平，上月0" in own
    first = report(shop.owner, shop, Month.of(today).former.former)
    assert "还没有上个月可以比" in first


def test_there_is_no_report_of_what_has_not_been(shop: Shop, operator: Browser, today: date) -> None:
    month = Month.of(today)
    area = f"/operator/merchants/{shop.merchant_id}"
    cases = {
        month.next.name: "还没有过完一天",
        month.former.former.former.name: "还没有入驻",
        "2026-13": "没有这个月份",
        "2026-1": "没有这个月份",
        "x": "没有这个月份",
    }
    for name, sentence in cases.items():
        for browser, path in ((shop.owner, "/merchant"), (operator, area)):
            answer = browser.get(f"{path}/months/{name}.pdf")
            assert answer.status_code == 404, name
            assert sentence in answer.text
    assert operator.get(f"/operator/merchants/999999/months/{month.name}.pdf").status_code == 404


def test_the_months_are_offered_where_people_look(runtime: Runtime, shop: Shop, operator: Browser, today: date) -> None:
    month = Month.of(today)
    names = [month.name, month.former.name, month.former.former.name]
    own = shop.owner.get("/merchant/months").text
    assert re.findall(r"/merchant/months/([\d-]+)\.pdf", own) == names
    assert own.count("到昨天为止") == 1
    for path in ("/merchant/", "/merchant/me"):
        assert 'href="/merchant/months"' in shop.owner.get(path).text
    page = operator.get(f"/operator/merchants/{shop.merchant_id}").text
    assert re.findall(r"/months/([\d-]+)\.pdf", page) == names
    admitted(runtime, shop, today)
    assert "还没有月报" in shop.owner.get("/merchant/months").text
    assert "/months/" not in operator.get(f"/operator/merchants/{shop.merchant_id}").text
    assert shop.owner.get(f"/merchant/months/{month.name}.pdf").status_code == 404
