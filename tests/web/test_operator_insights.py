"""The pages about traffic beside the overview: each shows what was counted, and every table comes as a spreadsheet."""

from __future__ import annotations

import io
from datetime import timedelta

import pytest
from openpyxl import load_workbook
from sqlalchemy import text

from bot.inbox import Inbox
from core.clock import business_day
from core.database import Role
from core.runtime import Runtime
from qrcodes import rollups
from tests.community import Code, Neighbourhood, new_openid, scanned, subscribed
from tests.web.conftest import Crew

ROOMS = ("ranking", "groups", "kept", "costs", "flow", "hours", "rows", "alarms")
WITHOUT_DAYS = {"kept", "costs", "alarms"}
TABLES = ("merchants", "codes", "days", "groups", "kept", "costs", "flow", "hours", "rows", "alarms")


@pytest.fixture
def codes(runtime: Runtime, crew: Crew) -> list[Code]:
    """Two shops; somebody came through the first and went on to the second, whose name is a formula."""
    street = Neighbourhood(runtime)
    codes = [street.code(crew.merchant_id, "收银台"), street.code(street.merchant("=1+1"), "@门口")]
    ann = new_openid()
    inbox = Inbox(runtime)
    inbox.receive([subscribed(ann, street.now - timedelta(minutes=30), codes[0].scene)])
    inbox.receive([scanned(ann, street.now - timedelta(minutes=20), codes[1].scene)])
    rollups.catch_up(runtime)
    return codes


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_are_empty_at_first_and_show_what_was_counted_then(
    runtime: Runtime, crew: Crew, request: pytest.FixtureRequest, room: str
) -> None:
    path = f"/operator/traffic/{room}"
    assert crew.operator.get(path).status_code == 200
    codes: list[Code] = request.getfixturevalue("codes")
    page = crew.operator.get(path)
    assert page.status_code == 200
    wanted = {
        "ranking": "老王豆浆</a>",
        "groups": "柜台",
        "kept": "带来的人",
        "costs": "还没有写了成本的码",
        "flow": "老王豆浆 → =1+1：1",
        "hours": "最忙",
        "rows": "扫码并关注",
        "alarms": "没有异常",
    }
    assert wanted[room] in page.text
    if room not in WITHOUT_DAYS:
        assert crew.operator.get(f"{path}?span=custom&since=2026-02-03&until=2026-02-01").status_code == 422
        assert crew.operator.get(f"{path}?span=today").status_code == 200
    assert crew.operator.get(f"{path}?what=1").status_code == 422
    if room in {"kept", "hours", "rows"}:
        assert "只看 老王豆浆" in crew.operator.get(f"{path}?merchant={codes[0].merchant_id}").text
        assert crew.operator.get(f"{path}?merchant=999999").status_code == 404


def test_a_figure_of_the_overview_opens_its_rows(crew: Crew, codes: list[Code]) -> None:
    page = crew.operator.get("/operator/").text
    today = codes[0].merchant_id
    path = next(
        part.partition('"')[0].replace("&amp;", "&")
        for part in page.split('href="')
        if part.startswith("/operator/traffic/rows?figure=new") and f"merchant={today}" in part
    )
    rows = crew.operator.get(path).text
    assert rows.count("关注者 ") == 1
    assert "收银台</a>" in rows


def test_a_code_with_a_cost_says_what_a_follower_costs_and_has_a_daily_sheet(
    runtime: Runtime, crew: Crew, codes: list[Code]
) -> None:
    with runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("UPDATE sub_qr_code SET cost_fen = 12345 WHERE id = :id"), {"id": codes[0].id})
    page = crew.operator.get("/operator/traffic/costs").text
    assert page.count("¥123.45") == 3
    crew.operator.get("/operator/")
    answer = crew.operator.post("/operator/traffic/export", {"table": "costs"}).data.decode("utf-8")
    assert ",老王豆浆,123.45,1,1,1,123.45,123.45\r\n" in answer
    sheet = crew.operator.get(f"/operator/traffic/sheet?code={codes[0].id}").text
    assert "figure=new&amp;span=custom" in sheet
    answer = crew.operator.post("/operator/traffic/export", {"table": "sheet", "code": str(codes[0].id)})
    assert answer.data.decode("utf-8").count("\r\n") == 8
    assert crew.operator.get("/operator/traffic/sheet?code=999999").status_code == 404
    assert crew.operator.get("/operator/traffic/sheet").status_code == 422


def test_rows_are_paged_by_key(runtime: Runtime, crew: Crew, codes: list[Code]) -> None:
    street = Neighbourhood(runtime)
    Inbox(runtime).receive([scanned(new_openid(), street.now, codes[0].scene) for _ in range(60)])
    first = crew.operator.get("/operator/traffic/rows").text
    older = next(part.partition('"')[0].replace("&amp;", "&") for part in first.split('rel="next" href="')[1:])
    second = crew.operator.get(older).text
    assert (first.count("已关注的人扫码") + first.count("扫码并关注"), second.count("已关注的人扫码")) == (50, 11)
    for key in ("1", "x-1", "1-", "99999999999999999999-1"):
        assert crew.operator.get(f"/operator/traffic/rows?before={key}").status_code == 422


def test_the_brief_says_what_to_look_at(runtime: Runtime, crew: Crew, codes: list[Code]) -> None:
    assert "没有异常" in crew.operator.get("/operator/").text
    yesterday = business_day(runtime.now()) - timedelta(days=1)
    with runtime.transaction(Role.PLATFORM) as session:
        session.execute(
            text("""
                INSERT INTO traffic_alarm (day, kind, merchant_id, scans, usual)
                VALUES (:day, 'drop', :merchant, 2, 20)"""),
            {"day": yesterday, "merchant": codes[0].merchant_id},
        )
        session.execute(
            text("UPDATE sub_qr_code SET expires_at = app_now() + interval '2 days' WHERE id = :id"),
            {"id": codes[1].id},
        )
        session.execute(
            text("""
                INSERT INTO outage (who, began_at, ended_at)
                VALUES ('web', app_now() - interval '5 minutes', app_now())""")
        )
        session.execute(text("UPDATE traffic_state SET counted_at = counted_at + interval '1 second'"))
    page = crew.operator.get("/operator/").text
    for words in ("突然变少", "2 次，平时约 20.0 次", "1 个临时码一周内到期", "这段时间有 1 次中断"):
        assert words in page
    page = crew.operator.get("/operator/traffic/alarms").text
    assert "突然变少" in page
    assert "3 天内" in page


@pytest.mark.parametrize("table", TABLES)
def test_every_table_comes_as_csv_and_as_xlsx_and_no_cell_is_a_formula(
    runtime: Runtime, crew: Crew, codes: list[Code], table: str
) -> None:
    crew.operator.get("/operator/")
    wanted = {"table": table, "span": "week"}
    text_of_csv = crew.operator.post("/operator/traffic/export", wanted).data.decode("utf-8")
    answer = crew.operator.post("/operator/traffic/export", {**wanted, "form": "xlsx"})
    assert answer.status_code == 200
    (sheet,) = load_workbook(io.BytesIO(answer.data)).worksheets
    rows = list(sheet.iter_rows())
    assert len(rows) == len(text_of_csv.splitlines())
    assert len(rows) > 1 or table in {"alarms", "costs"}
    cells = [cell for row in rows for cell in row]
    assert not [cell for cell in cells if cell.data_type == "f"]
    if table in {"merchants", "codes", "flow", "rows"}:
        assert "'=1+1" in {cell.value for cell in cells}
        assert "'=1+1" in text_of_csv
    if table == "merchants":
        assert [cell.value for cell in rows[1]][1:4] == ["老王豆浆", 1, 1]
