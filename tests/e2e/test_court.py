"""A quarrel about a fan, settled in a browser: the ruling, another rule tried and adopted, and the rows taken along."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path

from openpyxl import load_workbook
from playwright.sync_api import expect

from tests.e2e.conftest import NewWindow
from tests.e2e.machine import READY_S, Machine
from tests.e2e.test_story import SOON_MS, Phone, sign_up
from tests.e2e.window import DESK, Window

DONE_MS = 60_000
FORMULA = "=1+1"


def a_quarrel(machine: Machine, phone: Phone) -> str:
    """Ann comes through the tea house, leaves, and comes back through the bookshop on the same day.

    Returns the number by which the bookshop knows her.
    """
    codes = {}
    for shop, label in (("茶馆", FORMULA), ("书店", "书架")):
        merchant_id = machine.quanma("merchant", "add", shop)["id"]
        codes[shop] = machine.quanma("code", "add", merchant_id, "--label", label)["url"]
    phone.add("安")
    phone.scan_and_follow(codes["茶馆"])
    phone.expect_words("欢迎光临茶馆")
    phone.unfollow()
    # Within one second nobody could tell what came first.
    phone.page.wait_for_timeout(1_500)
    phone.scan_and_follow(codes["书店"])
    phone.expect_words("欢迎")
    (fan,) = machine.quanma("fans", merchant_id)["fans"]
    return str(fan["number"])


def take(window: Window, button: str, into: Path) -> Path:
    """Press an export's button and keep what comes."""
    with window.page.expect_download() as downloading:
        window.page.get_by_role("button", name=button, exact=True).first.click()
    assert re.search("[\u4e00-\u9fff]", downloading.value.suggested_filename)
    downloading.value.save_as(into)
    return into


def test_a_quarrel_is_settled_and_a_rule_is_changed_for_the_days_to_come(
    new_machine: Callable[..., Machine], new_window: NewWindow, tmp_path: Path
) -> None:
    machine = new_machine()
    machine.skip_demo()
    machine.start()
    machine.wait_for_links(READY_S)
    operator = new_window("operator", DESK)
    sign_up(operator, machine.links["sign_in"], "运营小李")
    number = a_quarrel(machine, Phone(new_window("phone", DESK), machine.sandbox_url))
    page = operator.page

    # The commands count first, so the page need not be waited for.
    assert {shop["returning"] for shop in machine.quanma("traffic")["merchants"] if shop["name"] == "茶馆"} == {1}
    operator.visit(f"{machine.url}/operator/followers?q={number}")
    page.locator("a[href^='/operator/followers/']").first.click()
    operator.follow("判定书")
    expect(page.locator(".ruling-verdict")).to_contain_text("茶馆")
    expect(page.locator(".ruling-story")).to_contain_text("30 天")
    operator.look()

    operator.visit(f"{machine.url}/operator/rules")
    operator.fill(days="0")
    operator.press("开始试算")
    expect(page.get_by_role("link", name="采用这个规则…")).to_be_visible(timeout=DONE_MS)
    expect(page.locator("table").last).to_contain_text("书店")
    operator.follow("采用这个规则…")
    earliest = page.locator("[name=effective_on]").get_attribute("min")
    operator.fill(effective_on=str(earliest))
    operator.press("采用")
    expect(page.get_by_text("还没生效")).to_be_visible()
    # What has happened stays as it was judged.
    assert {shop["returning"] for shop in machine.quanma("traffic")["merchants"] if shop["name"] == "茶馆"} == {1}

    operator.visit(f"{machine.url}/operator/traffic/rows?figure=scans")
    expect(page.locator("tbody tr")).to_have_count(2, timeout=SOON_MS)
    with take(operator, "CSV", tmp_path / "rows.csv").open(encoding="utf-8-sig", newline="") as file:
        lines = list(csv.reader(file))
    assert len(lines) == 3
    assert f"'{FORMULA}" in {cell for line in lines for cell in line}
    sheet = load_workbook(take(operator, "Excel", tmp_path / "rows.xlsx")).active
    assert sheet is not None
    cells = [cell for row in sheet.iter_rows() for cell in row]
    assert FORMULA not in {cell.value for cell in cells}
    assert "f" not in {cell.data_type for cell in cells}
    assert sum(check["rows"] for check in machine.quanma("check")["checks"]) == 0
