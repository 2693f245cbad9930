"""Every figure on every page about traffic opens as many rows as it says, on the page and in its exports."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Final
from urllib.parse import parse_qsl, urlsplit

import pytest
from sqlalchemy import text

from bot.inbox import Inbox
from core.clock import business_day, start_of_day
from core.database import Role
from core.runtime import Runtime
from merchants import merchants
from qrcodes import insights, rollups, trials
from tests.community import Code, Neighbourhood, new_openid, scanned, subscribed, unsubscribed
from tests.web.conftest import Browser, Crew

PAGES = {
    "overview": "/operator/?span=month",
    "ranking": "/operator/traffic/ranking?span=month",
    "kinds": "/operator/traffic/groups?span=month&by=kind",
    "places": "/operator/traffic/groups?span=custom&since={month}&until={today}&by=place",
    "promoters": "/operator/traffic/groups?span=month&by=promoter",
    "communities": "/operator/traffic/groups?span=week&by=community",
    "kept": "/operator/traffic/kept?weeks=12",
    "kept of a merchant": "/operator/traffic/kept?weeks=12&merchant={merchant}",
    "costs": "/operator/traffic/costs",
    "flow": "/operator/traffic/flow?span=month",
    "hours": "/operator/traffic/hours?span=month",
    "hours of a merchant": "/operator/traffic/hours?span=month&merchant={merchant}",
    "sheet": "/operator/traffic/sheet?span=month&code={promoter}",
    "alarms": "/operator/traffic/alarms",
}
FIGURE = re.compile(
    r'<a class="(?:figure|stat)" href="(?P<path>[^"]+)">(?:\s*<span class="stat-label">[^<]*</span>'
    r'\s*<span class="stat-value">)?(?P<value>[\d,−-]+)<'
)  # fmt: skip
ROW = re.compile(r'<td><a href="/operator/followers/(\d+)">')
NEXT = re.compile(r'rel="next" href="([^"]+)"')


class Town:
    """Four shops in two communities; people who come, go, come back, and go on to another shop."""

    def __init__(self, runtime: Runtime, crew: Crew) -> None:
        self.runtime = runtime
        self.street = Neighbourhood(runtime)
        with runtime.transaction(Role.PLATFORM) as session:
            account_id = self.street.account_id
            uptown = merchants.ensure_community(session, account_id=account_id, name="上城 & 下城")
            far = merchants.add(
                session, account_id=account_id, community_id=uptown, name="远处的店", now=self.street.now
            ).id
        shops = [crew.merchant_id, self.street.merchant("茶馆"), self.street.merchant("面馆"), far]
        self.merchant_id = shops[0]
        self.codes = [self.street.code(shop, f"第 {number} 个") for shop in shops for number in range(2)]
        self.promoter = self.codes[1]
        with runtime.transaction(Role.PLATFORM) as session:
            kinds = ("lift", "promoter", "lift", "staff", "counter", "counter", "lift", "online")
            for code, kind in zip(self.codes, kinds, strict=True):
                place = "电梯 & 门口" if kind == "lift" else ""
                session.execute(
                    text("""
                        UPDATE sub_qr_code SET kind = :kind, place = :place, cost_fen = 900,
                            daily_goal = CASE WHEN :kind = 'promoter' THEN 2 END
                        WHERE id = :id"""),
                    {"kind": kind, "place": place, "id": code.id},
                )
        self.live()
        rollups.catch_up(runtime)
        with runtime.transaction(Role.PLATFORM) as session:
            session.execute(text("UPDATE follower SET erase_due_at = NULL"))
            session.execute(
                text("""
                    INSERT INTO traffic_alarm (day, kind, merchant_id, code_id, scans, usual)
                    SELECT d.day, 'drop', d.merchant_id, NULL, d.scans, 40 FROM daily_traffic d
                    WHERE d.level = 'merchant' AND d.merchant_id <> 0
                    UNION ALL
                    SELECT business_day(app_now()) - 5, 'silent', c.merchant_id, c.id, 0, 9 FROM sub_qr_code c""")
            )

    def live(self) -> None:
        inbox = Inbox(self.runtime)
        midnight = start_of_day(business_day(self.street.now))
        for number, days in enumerate((70, 40, 33, 20, 12, 9, 8, 5, 3, 1)):
            code, other = self.codes[number % 8], self.codes[(number * 3 + 2) % 8]
            at = midnight - timedelta(days=days) + timedelta(hours=(7 * number) % 20)
            ann, ben, cat = new_openid(), new_openid(), new_openid()
            inbox.receive([subscribed(ann, at, code.scene)])
            inbox.receive([scanned(ann, at + timedelta(hours=1), other.scene)])
            inbox.receive([scanned(ann, at + timedelta(hours=2), other.scene)])
            inbox.receive([subscribed(ben, at, code.scene)])
            inbox.receive([unsubscribed(ben, at + timedelta(hours=20))])
            inbox.receive([subscribed(cat, at)])
            inbox.receive([scanned(cat, at + timedelta(minutes=1), "nobodys")])
            if days > 5:
                inbox.receive([subscribed(ben, at + timedelta(days=3), other.scene)])
        now = self.street.now
        for _ in range(2):
            inbox.receive([subscribed(new_openid(), now - timedelta(minutes=20), self.promoter.scene)])
        self.try_out(self.promoter)
        inbox.receive([subscribed(new_openid(), now - timedelta(minutes=5), self.promoter.scene)])
        # More than a page holds, and by few people.
        people = [new_openid() for _ in range(3)]
        for step in range(20):
            at = now - timedelta(minutes=10) + timedelta(seconds=step)
            inbox.receive([scanned(person, at, self.codes[0].scene) for person in people])

    def try_out(self, code: Code) -> None:
        with self.runtime.transaction(Role.PLATFORM) as session:
            staff_id = session.execute(
                text("SELECT id FROM staff WHERE merchant_id = :id ORDER BY id LIMIT 1"), {"id": code.merchant_id}
            ).scalar_one()
            armed_at = self.street.now - timedelta(minutes=6)
            trials.arm(session, merchant_id=code.merchant_id, code_id=code.id, staff_id=staff_id, now=armed_at)


@pytest.fixture
def town(runtime: Runtime, crew: Crew, monkeypatch: pytest.MonkeyPatch) -> Town:
    # So that some merchants of the flow are "the others".
    monkeypatch.setattr(insights, "FLOW_PLACES", 2)
    return Town(runtime, crew)


def rows(browser: Browser, path: str) -> Iterator[str]:
    """The followers on the rows' pages, from the first page to the last."""
    while True:
        page = browser.get(path)
        assert page.status_code == 200, path
        yield from ROW.findall(page.text)
        following = NEXT.search(page.text)
        if following is None:
            return
        path = html.unescape(following[1])


@pytest.mark.parametrize("page", PAGES)
def test_every_figure_opens_as_many_rows_as_it_says(crew: Crew, town: Town, page: str) -> None:
    today = business_day(town.street.now)
    given = {"merchant": town.merchant_id, "promoter": town.promoter.id, "today": today}
    path = PAGES[page].format(**given, month=today - timedelta(days=45))
    shown = crew.operator.get(path)
    assert shown.status_code == 200
    figures = {html.unescape(one["path"]): int(one["value"].replace(",", "")) for one in FIGURE.finditer(shown.text)}
    assert len(figures) >= 4
    wrong = []
    for figure, value in figures.items():
        found = list(rows(crew.operator, figure))
        wanted = dict(parse_qsl(urlsplit(figure).query))
        if wanted["figure"] == "scanners":
            assert len(set(found)) == len(found)
        table = crew.operator.post("/operator/traffic/export", {**wanted, "table": "rows"}).data.decode("utf-8")
        if not len(found) == table.count("\r\n") - 1 == value:
            wrong.append(f"{figure} says {value}, shows {len(found)} and exports {table.count(chr(13)) - 1}")
    assert wrong == []


def test_the_pages_hold_every_kind_of_figure(crew: Crew, town: Town) -> None:
    """What the test above would not notice: a page that stopped linking."""
    asked: set[str] = set()
    for path in PAGES.values():
        today = business_day(town.street.now)
        given = {"merchant": town.merchant_id, "promoter": town.promoter.id, "today": today, "month": today}
        for one in FIGURE.finditer(crew.operator.get(path.format(**given)).text):
            query = dict(parse_qsl(urlsplit(html.unescape(one["path"])).query))
            asked |= {query["figure"], *query} | {text for text in query.values() if text == "others"}
    assert asked >= {
        "scans", "scanners", "new", "returning", "won", "lost", "kept", "goal", "onward",
        "merchant", "code", "whose", "by", "group", "days", "weekday", "hour", "source", "target", "others",
    }  # fmt: skip


CONDITIONS: Final = {
    "figure=scans&days=7": 422,
    "figure=won&days=0": 422,
    "figure=new&weekday=1": 422,
    "figure=scans&weekday=7": 422,
    "figure=scans&hour=24": 422,
    "figure=scans&source=1": 422,
    "figure=onward&code={code}": 422,
    "figure=onward&source=somebody": 422,
    "figure=onward&source=999999": 404,
    "figure=scans&by=promoter&group=1": 422,
    "figure=scans&by=kind&group=nonsense": 404,
    "figure=scans&by=community&group=99999999999999999999": 404,
    "figure=scans&by=community": 404,
    "figure=scans&code=999999": 404,
    "figure=scans&span=custom&since=0001-01-01&until=0001-01-02": 422,
    "figure=scans&hour=3&span=custom&since=2020-01-01&until=2026-01-01": 422,
    "figure=scans&span=custom&since=2020-01-01&until=2026-01-01": 200,
    "figure=scans&by=place": 200,
}


def test_conditions_that_do_not_go_together_are_refused(crew: Crew, town: Town) -> None:
    path = "/operator/traffic/rows"
    answers = {
        query: crew.operator.get(f"{path}?{query.format(code=town.promoter.id)}").status_code for query in CONDITIONS
    }
    assert answers == CONDITIONS


@pytest.mark.parametrize("group", ["", "nonsense", "99999999999999999999"])
def test_what_the_page_has_no_rows_for_is_not_exported_either(crew: Crew, group: str) -> None:
    crew.operator.get("/operator/traffic/rows")
    wanted = {"table": "rows", "by": "community", "group": group}
    assert crew.operator.post("/operator/traffic/export", wanted).status_code == 404


def test_a_sheet_says_on_which_days_a_goal_was_reached(crew: Crew, town: Town) -> None:
    sheet = crew.operator.get(f"/operator/traffic/sheet?span=today&code={town.promoter.id}").text
    # Three came today, one of them on trial.
    assert "1 / 1 天达标" in sheet
    assert re.search(r"达标</span> <a class=\"figure\"[^>]*>2</a> / 2<", sheet)
    promoters = crew.operator.get("/operator/traffic/groups?span=today&by=promoter").text
    assert re.search(r"1 / 1<small>每天 2 人", promoters)
    with town.runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("UPDATE sub_qr_code SET daily_goal = 3"))
    sheet = crew.operator.get(f"/operator/traffic/sheet?span=today&code={town.promoter.id}").text
    assert "0 / 1 天达标" in sheet
    assert "达标</span>" not in sheet
    wanted = {"table": "sheet", "span": "today", "code": str(town.promoter.id)}
    assert crew.operator.post("/operator/traffic/export", wanted).text.endswith(",3,2,否\r\n")
    with town.runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("UPDATE sub_qr_code SET daily_goal = NULL"))
    assert "还没有定目标" in crew.operator.get(f"/operator/traffic/sheet?code={town.promoter.id}").text
