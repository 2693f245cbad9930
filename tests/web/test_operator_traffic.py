"""The operator's first page: figures by range, merchant and code, kept up to date without holding a connection."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from sqlalchemy import text as sql

from bot.inbox import Inbox
from core.clock import business_day
from core.database import Role
from core.runtime import Runtime
from qrcodes import rollups
from tests.community import Neighbourhood, new_openid, scanned, subscribed, unsubscribed
from tests.web.conftest import Crew


def figures(page: str) -> dict[str, str]:
    """The stat cards as they read."""
    return dict(re.findall(r'stat-label">([^<]+)</span>\s*<span class="stat-value">([^<]+)<', page))


def etag_in(page: str) -> str:
    found = re.search(r'If-None-Match": "(\\"[0-9a-f]+\\")"', page)
    assert found
    return found[1].replace("\\", "")


@pytest.fixture
def street(runtime: Runtime, crew: Crew) -> Neighbourhood:
    """Three people came through the shop's code; one of them left."""
    street = Neighbourhood(runtime)
    code = street.code(crew.merchant_id, "收银台")
    inbox = Inbox(runtime)
    people = [new_openid() for _ in range(3)]
    for number, person in enumerate(people):
        inbox.receive([subscribed(person, street.now - timedelta(minutes=30 - number), code.scene)])
    inbox.receive([scanned(people[0], street.now - timedelta(minutes=10), code.scene)])
    inbox.receive([unsubscribed(people[2], street.now - timedelta(minutes=5))])
    rollups.catch_up(runtime)
    return street


def test_figures_say_who_brought_whom(crew: Crew, street: Neighbourhood) -> None:
    page = crew.operator.get("/operator/").text
    assert figures(page) == {"扫码": "4", "扫码人数": "3", "新关注": "3", "回归": "0", "取关": "1", "净增": "2"}
    assert "老王豆浆" in page
    assert "收银台" in page
    assert "未归属" in page


def test_an_own_range_is_inclusive_on_both_ends(crew: Crew, street: Neighbourhood) -> None:
    day = business_day(street.now)
    page = crew.operator.get(f"/operator/?span=custom&since={day}&until={day}").text
    assert figures(page)["扫码"] == "4"
    before = day - timedelta(days=1)
    page = crew.operator.get(f"/operator/?span=custom&since={before}&until={before}").text
    assert figures(page)["扫码"] == "0"


@pytest.mark.parametrize(
    "query",
    [
        "span=custom",
        "span=custom&since=2026-02-03&until=2026-02-01",
        "span=custom&since=2020-01-01&until=2026-01-01",
        "span=custom&since=2026-02-31&until=2026-03-01",
        "span=custom&since=2999-01-01&until=2999-01-02",
        "span=year",
        "sort=password",
        "limit=1000000000",
        "page=-1",
        "span=week&span=month",
        f"q={'a' * 65}",
    ],
)
def test_a_range_that_cannot_be_is_refused(crew: Crew, query: str) -> None:
    assert crew.operator.get(f"/operator/?{query}").status_code == 422


def test_the_living_part_says_when_nothing_has_changed_and_follows_the_count(
    runtime: Runtime, crew: Crew, street: Neighbourhood
) -> None:
    etag = etag_in(crew.operator.get("/operator/").text)
    asking = {"HX-Request": "true", "If-None-Match": etag}
    same = crew.operator.get("/operator/", headers=asking)
    assert (same.status_code, same.data) == (304, b"")
    code = street.code(crew.merchant_id, "门口")
    Inbox(runtime).receive([subscribed(new_openid(), street.now, code.scene)])
    waiting = crew.operator.get("/operator/", headers=asking)
    assert waiting.status_code == 200
    assert "还有新事件正在统计" in waiting.text
    assert figures(waiting.text)["新关注"] == "3"
    rollups.catch_up(runtime)
    changed = crew.operator.get("/operator/", headers={**asking, "If-None-Match": etag_in(waiting.text)})
    assert changed.status_code == 200
    assert figures(changed.text)["新关注"] == "4"
    assert "还有新事件正在统计" not in changed.text
    assert "<html" not in changed.text


def test_who_looks_while_somebody_else_counts_is_told_that_more_is_to_come(
    runtime: Runtime, crew: Crew, street: Neighbourhood
) -> None:
    code = street.code(crew.merchant_id, "门口")
    Inbox(runtime).receive([subscribed(new_openid(), street.now, code.scene)])
    with runtime.transaction(Role.PLATFORM) as session:
        session.execute(sql("SELECT 1 FROM traffic_state FOR UPDATE"))
        page = crew.operator.get("/operator/").text
    assert figures(page)["新关注"] == "3"
    assert "还有新事件正在统计" in page
    assert figures(crew.operator.get("/operator/").text)["新关注"] == "4"


def test_search_and_sort_of_merchants(runtime: Runtime, crew: Crew, street: Neighbourhood) -> None:
    street.merchant("小李花店")
    page = crew.operator.get("/operator/?q=花店&sort=scans").text
    assert "小李花店</a>" in page
    assert "老王豆浆</a></td><td" not in page.split('id="merchants"')[1].split("按二维码")[0]
    assert "没有找到" in crew.operator.get("/operator/?q=没有这家").text


def test_export_is_a_table_for_spreadsheets_and_is_audited(runtime: Runtime, crew: Crew, street: Neighbourhood) -> None:
    street.merchant("=HYPERLINK(1)")
    crew.operator.get("/operator/")
    answer = crew.operator.post("/operator/traffic/export", {"table": "merchants", "span": "week"})
    assert answer.mimetype == "text/csv"
    text = answer.data.decode("utf-8")
    assert text.startswith("\ufeff编号,商户,扫码,扫码人数,新关注,回归,取关,净增\r\n")
    assert ",老王豆浆,4,3,3,0,1,2\r\n" in text
    assert ",'=HYPERLINK(1)," in text
    for table in ("codes", "days"):
        assert crew.operator.post("/operator/traffic/export", {"table": table}).status_code == 200
    with runtime.transaction(Role.PLATFORM) as session:
        assert session.execute(sql("SELECT count(*) FROM audit_log WHERE action = 'export'")).scalar_one() == 3


def test_nobody_else_gets_in(crew: Crew) -> None:
    assert crew.owner.get("/operator/").status_code == 403
    assert crew.clerk.get("/operator/").status_code == 403
