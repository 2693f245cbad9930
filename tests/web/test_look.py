"""The parts of pages in a real browser: nothing forbidden, nothing too wide, readable, and the scripts do their work.

With QUANMA_SCREENSHOTS set to a folder, what the browser shows is kept there for people to look at.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import g, render_template, request
from jinja2 import ChoiceLoader, FileSystemLoader
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import Page, expect, sync_playwright
from werkzeug.serving import make_server

from core.errors import Invalid
from core.runtime import Runtime
from merchants.models import StaffRole
from tools.browser import launch
from web.app import create_app
from web.auth.access import SignedIn, public
from web.forms import blank
from web.navigation import Benefits

SAMPLES = Path(__file__).with_name("templates")
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1440, "height": 900}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    with sync_playwright() as playwright:
        browser = launch(playwright, os.environ.get("CHROMIUM", "/usr/bin/chromium"))
        yield browser
        browser.close()


@pytest.fixture
def address(runtime: Runtime) -> Iterator[str]:
    """The pages with samples of every part, served on this machine."""
    app = create_app(runtime)
    app.jinja_loader = ChoiceLoader([FileSystemLoader(SAMPLES), app.jinja_loader])  # type: ignore[list-item]
    tried: list[str] = []

    @public
    def sample(name: str) -> str:
        g.staff = SignedIn(1, "王小明", StaffRole.OPERATOR, None, 1)
        g.shop_name = "老王豆浆"
        g.waiting_approvals = 3
        g.waiting_customers = 2
        g.foreign_sends = 1
        g.benefits_waiting = Benefits()
        form = blank(label="收银台", kind="door", notify=True)
        form.refuse(Invalid("已经有一个同名的二维码，请换个名称。", field="label"))
        days = [f"11月{day}日" for day in range(9, 23)]
        scans = [61, 75, 58, 90, 12, 8, 97, 110, 84, 79, 101, 120, 99, 128]
        return render_template(
            f"{name}.html",
            form=form,
            moment=runtime.now(),
            days=days,
            scans=scans,
            joins=[value // 7 for value in scans],
        )

    @public
    def try_it() -> str:
        tried.append(request.method)
        return f"tried {len(tried)}"

    app.add_url_rule("/sample/<name>", "sample", sample)
    app.add_url_rule("/try", "try", try_it, methods=["POST"])
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()


@pytest.fixture
def page(chromium: Chromium) -> Iterator[Page]:
    context = chromium.new_context(locale="zh-CN", viewport=DESK)  # type: ignore[arg-type]
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    context.close()
    assert complaints == []


def show(page: Page, name: str) -> None:
    folder = os.environ.get("QUANMA_SCREENSHOTS")
    if folder:
        page.wait_for_timeout(600)
        page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)


WIDEST = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
# Colours that are still fading in are nobody's to judge.
SETTLED = "() => Promise.all(document.getAnimations().map((one) => one.finished))"
UNREADABLE = """() => {
  const channel = (value) => value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (color) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
    return canvas.getImageData(0, 0, 1, 1).data;
  };
  const light = ([r, g, b]) => 0.2126 * channel(r / 255) + 0.7152 * channel(g / 255) + 0.0722 * channel(b / 255);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = rgba(getComputedStyle(at).backgroundColor);
      if (color[3] > 200) return color;
    }
    return [255, 255, 255];
  };
  const found = [];
  const words = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (words.nextNode()) {
    const element = words.currentNode.parentElement;
    if (!words.currentNode.textContent.trim() || !element.checkVisibility()) continue;
    if (["SCRIPT", "OPTION"].includes(element.tagName) || element.closest(".visually-hidden, .skip-link")) continue;
    const [a, b] = [light(rgba(getComputedStyle(element).color)), light(ground(element))].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) found.push(element.className + ": " + words.currentNode.textContent.trim());
  }
  return found;
}"""


@pytest.mark.parametrize("path", ["/sample/desk", "/sample/shop", "/sample/street", "/auth/sign-in", "/nowhere"])
def test_pages_fit_phone_and_desk_and_can_be_read(address: str, page: Page, path: str) -> None:
    for name, size in (("phone", PHONE), ("desk", DESK)):
        page.set_viewport_size(size)  # type: ignore[arg-type]
        # A page that is not there is an error to the console, too.
        page.goto(address + path) if path != "/nowhere" else page.set_content(_fetched(page, address + path))
        show(page, f"{path.strip('/').replace('/', '-')}-{name}")
        page.wait_for_load_state("networkidle")
        page.evaluate(SETTLED)
        assert page.evaluate(WIDEST) <= 0
        assert page.evaluate(UNREADABLE) == []


def _fetched(page: Page, url: str) -> str:
    text: str = page.request.get(url).text()
    return text.replace("<head>", f'<head><base href="{url}">')


def test_charts_are_drawn_with_their_table_behind_them(address: str, page: Page) -> None:
    page.goto(f"{address}/sample/desk")
    expect(page.locator("[data-chart] canvas")).to_be_visible()
    page.get_by_text("查看数据表").click()
    expect(page.locator(".chart-block tbody tr")).to_have_count(14)


def test_what_cannot_be_undone_asks_first(address: str, page: Page) -> None:
    page.goto(f"{address}/sample/desk")
    page.get_by_role("button", name="停用这个商户").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("确定停用？")
    show(page, "confirm")
    dialog.get_by_role("button", name="取消").click()
    expect(dialog).to_have_count(0)
    page.get_by_role("button", name="停用这个商户").click()
    page.get_by_role("dialog").get_by_role("button", name="停用这个商户").click()
    expect(page.locator("body")).to_have_text("tried 1")


def test_a_link_is_copied_at_a_click(address: str, page: Page) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(f"{address}/sample/desk")
    page.get_by_role("button", name="复制").click()
    expect(page.get_by_role("status").filter(has_text="已复制")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == "http://127.0.0.1:8000/auth/invitation/Zx81_sdf-3kd9"


def test_the_menu_unfolds_on_a_phone(address: str, page: Page) -> None:
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    page.goto(f"{address}/sample/desk")
    entry = page.get_by_role("link", name="审计日志")
    expect(entry).to_be_hidden()
    page.locator(".desk-bar summary").click()
    expect(entry).to_be_visible()
    show(page, "menu-phone")
