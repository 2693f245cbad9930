"""名次与互荐: the pages that say where shops stand, why, and who brought whom."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from flask import Flask

from bot.inbox import Inbox
from core import jobs
from core.clock import business_day, start_of_day
from core.outbox import SLOW
from core.runtime import Runtime
from qrcodes import standing
from tests.community import Code, Neighbourhood, new_openid, scanned, subscribed
from tests.web.conftest import Crew
from worker import HANDLERS

DAY = timedelta(days=1)
STANDING = "/operator/traffic/standing"
EXCHANGE = "/operator/traffic/exchange"


@pytest.fixture
def florist(runtime: Runtime, crew: Crew) -> Code:
    """The shop brought three people, of whom two went on to the florist's; she brought one."""
    street, inbox = Neighbourhood(runtime), Inbox(runtime)
    then = start_of_day(business_day(street.now)) - 10 * DAY
    soy, flowers = street.code(crew.merchant_id, "收银台"), street.code(street.merchant("小李花店"), "花架")
    people = [new_openid() for _ in range(3)]
    for person in people:
        inbox.receive([subscribed(person, then, soy.scene)])
    for person in people[:2]:
        inbox.receive([scanned(person, then + DAY, flowers.scene)])
    inbox.receive([subscribed(new_openid(), then, flowers.scene)])
    standing.recount(runtime)
    return flowers


def rows(page: str) -> list[list[str]]:
    """The cells of the first table."""
    body = re.search(r"<tbody>(.*?)</tbody>", page, re.DOTALL)
    assert body
    return [
        [re.sub(r"<[^>]+>|\s+", "", cell) for cell in re.findall(r"<td.*?</td>", row, re.DOTALL)]
        for row in body[1].split("</tr>")
        if "<td" in row
    ]


def test_before_the_first_night_the_pages_say_so(crew: Crew) -> None:
    assert "还没有名次" in crew.operator.get(STANDING).text
    assert "还没有互荐" in crew.operator.get(EXCHANGE).text
    assert crew.operator.get(f"{STANDING}/{crew.merchant_id}").status_code == 404
    assert "明天凌晨之后就有名次" in crew.owner.get("/merchant/me/standing").text


def test_every_figure_opens_as_many_rows(crew: Crew, florist: Code) -> None:
    shop = crew.merchant_id
    assert rows(crew.operator.get(STANDING).text) == [
        ["1老王豆浆", "3", "3", "0", "0", "0", "2", "0"],
        ["2小李花店", "1", "1", "0", "0", "0", "0", "2"],
    ]
    assert len(rows(crew.operator.get(f"{STANDING}/{shop}?verdict=counted").text)) == 3
    assert "没有这样的人" in crew.operator.get(f"{STANDING}/{shop}?verdict=left_soon").text
    pair = ["老王豆浆", "小李花店", "2", "0", "+2", "2", "0"]
    assert rows(crew.operator.get(EXCHANGE).text) == [pair]
    mirrored = ["小李花店", "老王豆浆", "0", "2", "−2", "0", "2"]
    assert rows(crew.operator.get(f"{EXCHANGE}?merchant={florist.merchant_id}").text) == [mirrored]
    assert len(rows(crew.operator.get(f"{EXCHANGE}/{shop}/{florist.merchant_id}").text)) == 2
    assert "这些天没有" in crew.operator.get(f"{EXCHANGE}/{florist.merchant_id}/{shop}").text


@pytest.mark.parametrize(
    "path",
    [f"{STANDING}?community=99", f"{STANDING}/99", f"{EXCHANGE}?merchant=99", f"{EXCHANGE}/99/98"],
)
def test_what_there_is_not_is_not_found(crew: Crew, florist: Code, path: str) -> None:
    assert crew.operator.get(path).status_code == 404


def test_a_place_that_nobody_can_have_is_refused(crew: Crew) -> None:
    assert crew.operator.get(f"{STANDING}?after={2**31 - 1}").status_code == 200
    assert crew.operator.get(f"{STANDING}?after={2**31}").status_code == 422


def test_both_tables_can_be_taken_along(crew: Crew, florist: Code) -> None:
    crew.operator.get(STANDING)
    exported = crew.operator.post("/operator/traffic/export", {"table": "standing", "form": "csv"}).text
    assert "老王豆浆,3,3,0,0,0,2,0" in exported
    exported = crew.operator.post("/operator/traffic/export", {"table": "exchange", "form": "csv"}).text
    assert "老王豆浆,小李花店,2,2,0,0,2" in exported


def test_the_operator_changes_the_formula_and_everybody_reads_it(
    crew: Crew, florist: Code, runtime: Runtime, app: Flask
) -> None:
    wanted = {"most_people": "2", "most_an_hour": "10", "points_for_given": "3", "most_for_given": "20"}
    crew.operator.get(STANDING)
    refused = crew.operator.post(f"{STANDING}/policy", wanted | {"most_people": "0"})
    assert refused.status_code == 422
    assert "请填 1 到 10000 之间的整数" in refused.text
    assert crew.operator.post(f"{STANDING}/policy", wanted | {"most_people": "许多"}).status_code == 422
    assert crew.operator.post(f"{STANDING}/policy", wanted).status_code == 303
    assert "修改名次公式" in crew.operator.get("/operator/audit").text
    jobs.drain(runtime, HANDLERS, SLOW)
    assert rows(crew.operator.get(STANDING).text)[0][:3] == ["1老王豆浆", "8", "3"]
    for page in (app.test_client().get("/ranking").text, crew.owner.get("/merchant/me/standing").text):
        assert "一人一分，最多 2 分" in page
        assert "每多一位加 3 分" in page


def test_a_merchant_sees_where_it_stands_and_its_neighbours_names(crew: Crew, florist: Code) -> None:
    page = crew.clerk.get("/merchant/me/standing").text
    assert "送出 2 位，收到 0 位" in page
    assert rows(page) == [["小李花店", "2位到访2次", "0位到访0次"]]


def test_the_front_page_follows_the_standings(crew: Crew, florist: Code, runtime: Runtime, app: Flask) -> None:
    street, inbox = Neighbourhood(runtime), Inbox(runtime)
    barber = street.code(street.merchant("阿强理发"))
    then = start_of_day(business_day(street.now)) - 5 * DAY
    for _ in range(2):
        inbox.receive([subscribed(new_openid(), then, barber.scene)])
    standing.recount(runtime)
    street.merchant("新来的店")
    page = app.test_client().get("/").text
    names = re.findall(r"<h3>([^< ]+)", page)
    assert names == ["老王豆浆", "阿强理发", "小李花店", "新来的店"]
    assert page.count("人气第") == 3


def test_the_front_page_goes_on_where_it_stopped(
    crew: Crew, florist: Code, runtime: Runtime, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    Neighbourhood(runtime).merchant("新来的店")
    monkeypatch.setattr("web.site.community.PAGE", 1)
    visitor, path, names = app.test_client(), "/", []
    while path:
        page = visitor.get(path).text
        names += re.findall(r"<h3>([^< ]+)", page)
        found = re.search(r'rel="next" href="([^"]+)"', page)
        path = found[1].replace("&amp;", "&") if found else ""
    assert names == ["老王豆浆", "小李花店", "新来的店"]
