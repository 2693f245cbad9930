"""One person's browser: what is wrong with any page it shows is remembered."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from playwright.sync_api import Browser as Chromium
from playwright.sync_api import Page, ViewportSize
from playwright.sync_api import TimeoutError as PlaywrightTimeout

PHONE: ViewportSize = {"width": 390, "height": 844}
DESK: ViewportSize = {"width": 1440, "height": 900}
CHINESE = re.compile("[\u4e00-\u9fff]")
TELL_OF_VIOLATIONS = """
    document.addEventListener("securitypolicyviolation",
        (event) => console.error("policy " + event.violatedDirective + " " + event.blockedURI));"""
FITS = "() => document.documentElement.scrollWidth <= window.innerWidth"
SETTLES_MS = 5_000
"""Charts are drawn anew when the window changes."""


class Window:
    """A browser of its own, with its cookies."""

    def __init__(self, chromium: Chromium, name: str, size: ViewportSize) -> None:
        self.name = name
        self.size = size
        self._context = chromium.new_context(locale="zh-CN", timezone_id="Asia/Shanghai", viewport=size)
        self._context.add_init_script(TELL_OF_VIOLATIONS)
        self.page: Page = self._context.new_page()
        self.complaints: list[str] = []
        self.visited: list[str] = []
        self.page.on("console", lambda told: self._complain(told.text) if told.type == "error" else None)
        self.page.on("pageerror", lambda error: self._complain(str(error)))

    def _complain(self, text: str) -> None:
        self.complaints.append(f"{self.name} at {self.page.url}: {text}")

    def visit(self, url: str) -> None:
        """Open a page and look at it."""
        self.page.goto(url)
        self.look()

    def look(self) -> None:
        """The page in view speaks Chinese and fits a phone."""
        self.visited.append(urlsplit(self.page.url).path)
        if CHINESE.search(self.page.locator("body").inner_text()) is None:
            self._complain("not in Chinese")
        self.page.set_viewport_size(PHONE)
        try:
            self.page.wait_for_function(FITS, timeout=SETTLES_MS)
        except PlaywrightTimeout:
            self._complain(f"wider than a phone's {PHONE['width']} pixels")
        self.page.set_viewport_size(self.size)

    def press(self, name: str) -> None:
        """A button by its words; then look at where it leads."""
        self.page.get_by_role("button", name=name, exact=True).first.click()
        self.page.wait_for_load_state()
        self.look()

    def follow(self, name: str) -> None:
        """A link by its words."""
        self.page.get_by_role("link", name=name, exact=True).first.click()
        self.page.wait_for_load_state()
        self.look()

    def fill(self, **fields: str) -> None:
        for name, value in fields.items():
            self.page.locator(f"[name={name}]").fill(value)

    def close(self) -> None:
        self._context.close()
