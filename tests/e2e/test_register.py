"""Codes by the hundred and codes that change hands, in browsers."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import zxingcpp
from PIL import Image
from playwright.sync_api import expect

from tests.e2e.conftest import NewWindow
from tests.e2e.machine import READY_S, Machine
from tests.e2e.test_story import SOON_MS, Phone, sign_up
from tests.e2e.window import DESK, PHONE, Window

TABLES = 6
DONE_MS = 60_000
HEAD = "名称,用途,份数\n"
GOOD = HEAD + "".join(f"{number} 号桌,桌台,1\n" for number in range(1, TABLES + 1))


def owner_of(machine: Machine, new_window: NewWindow, name: str, *, size: str) -> tuple[str, Window]:
    """A new shop with an owner who is signed in; returns its number, too."""
    merchant_id = machine.quanma("merchant", "add", name)["id"]
    link = machine.quanma("merchant", "invite", merchant_id, f"{name}店主")["url"]
    window = new_window(name, PHONE if size == "phone" else DESK)
    sign_up(window, link, f"owner{merchant_id}")
    return merchant_id, window


def bring(window: Window, machine: Machine, content: str) -> None:
    window.visit(f"{machine.url}/merchant/codes/batches/new")
    window.page.set_input_files(
        "[name=file]", {"name": "list.csv", "mimeType": "text/csv", "buffer": content.encode("gb18030")}
    )
    window.fill(name="大厅")


def test_a_list_becomes_codes_and_a_code_changes_hands(
    new_machine: Callable[..., Machine], new_window: NewWindow, tmp_path: Path
) -> None:
    machine = new_machine()
    machine.skip_demo()
    machine.start()
    machine.wait_for_links(READY_S)
    tea_id, tea = owner_of(machine, new_window, "茶馆", size="desk")
    books_id, books = owner_of(machine, new_window, "书店", size="phone")

    bring(tea, machine, GOOD + "窗边,火箭,1\n")
    with tea.page.expect_response(lambda answer: answer.status == 422):
        tea.page.get_by_role("button", name="检查这个文件").click()
    expect(tea.page.locator(".is-faulty")).to_contain_text("没有“火箭”这种用途")
    tea.complaints.clear()
    assert machine.quanma("code", "list", tea_id)["codes"] == []

    bring(tea, machine, GOOD)
    tea.press("检查这个文件")
    tea.press(f"生成 {TABLES} 个二维码")
    expect(tea.page.locator(".job progress, .job a[download]")).to_be_visible()
    tea.page.reload()
    done = tea.page.get_by_role("link", name="下载", exact=True)
    expect(done).to_be_visible(timeout=DONE_MS)
    with tea.page.expect_download() as downloading:
        done.click()
    downloading.value.save_as(tmp_path / "codes.zip")
    made = machine.quanma("code", "list", tea_id)["codes"]
    assert {(code["batch"], code["state"], code["printed_copies"]) for code in made} == {("大厅", "active", 1)}
    with ZipFile(tmp_path / "codes.zip") as archive:
        assert len(archive.namelist()) == 2 * TABLES + 1
        picture = Image.open(io.BytesIO(archive.read("3 号桌.png")))
        (third,) = (code for code in made if code["label"] == "3 号桌")
        assert zxingcpp.read_barcodes(picture)[0].text == third["url"]

    phone = Phone(new_window("phone", DESK), machine.sandbox_url)
    phone.add("安")
    phone.scan_and_follow(third["url"])
    phone.expect_words("欢迎光临茶馆")
    tea.visit(f"{machine.url}/merchant/codes/{third['id']}")
    tea.fill(merchant="书店")
    tea.press("提出移交")
    books.visit(f"{machine.url}/merchant/codes")
    books.follow("去看看")
    books.press("接收")
    expect(books.page.locator(".deal")).to_contain_text("3 号桌")
    books.page.wait_for_function(
        "async () => (await (await fetch(location.href)).text()).includes('已移交')", timeout=SOON_MS
    )
    (moved,) = machine.quanma("code", "list", books_id)["codes"]
    assert (moved["id"], moved["scene"], moved["batch"]) == (third["id"], third["scene"], "")
    # The moment lies a little ahead.
    phone.page.wait_for_timeout(3_500)
    phone.add("白")
    phone.scan_and_follow(third["url"])
    phone.expect_words("欢迎光临书店")
    counted = {shop["name"]: (shop["scans"], shop["new"]) for shop in machine.quanma("traffic")["merchants"]}
    assert counted == {"茶馆": (1, 1), "书店": (1, 1)}
    assert sum(check["rows"] for check in machine.quanma("check")["checks"]) == 0
    tea.visit(f"{machine.url}/merchant/handovers")
    books.visit(f"{machine.url}/merchant/codes")
