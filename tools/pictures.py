"""Take the handbooks' pictures anew: `make pictures`, with a demo community in a home of its own.

Each picture is a page as somebody sees it; what stands on it is the demo's, so that the pictures stay true as the pages
change. Names given on the command line limit what is taken.
"""

from __future__ import annotations

import base64
import io
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.e2e.machine import DEMO_S, Machine
from tools.browser import launch, on_path

IMAGES: Final = Path(__file__).resolve().parent.parent / "docs" / "images"
PASSWORD: Final = "seven lemons on a bicycle"  # noqa: S105  of a home that is thrown away
SETTLE_MS: Final = 1_500
"""Charts and previews have drawn themselves by then."""
PERSON: Final = "陈先生"

# A date field shows itself in the machine's language, not the page's.
CHINESE_DATES: Final = """() => document.querySelectorAll("input[type=date]").forEach(
    (field) => { const value = field.value.replaceAll("-", "/"); field.type = "text"; field.value = value; })"""

OPERATOR: Final = {
    "traffic": "/operator/?span=week",
    "sources": "/operator/traffic/groups",
    "kept": "/operator/traffic/kept",
    "flow": "/operator/traffic/flow",
    "hours": "/operator/traffic/hours",
    "approvals": "/operator/approvals",
    "codes": "/operator/codes",
    "code": "/operator/codes/1",
    "posters": "/operator/codes/1/posters",
    "unmatched": "/operator/unmatched",
    "wording": "/operator/wording",
    "rules": "/operator/rules",
    "menu": "/operator/menu",
}
MERCHANT: Final = {
    "today": "/merchant/",
    "codes": "/merchant/codes/1",
    "posters": "/merchant/codes/1/posters",
    "welcome": "/merchant/welcome",
    "write": "/merchant/welcome/first/0",
    "fans": "/merchant/fans",
    "talks": "/merchant/talks",
    "rules": "/merchant/rules",
    "staff": "/merchant/me/staff",
}


class Studio:
    """A running demo community, and browsers that look at it."""

    def __init__(self, machine: Machine, browser: Browser, wanted: set[str]) -> None:
        self._machine = machine
        self._browser = browser
        self._wanted = wanted

    def context(self, width: int, height: int, *, scale: float = 1, is_phone: bool = False) -> BrowserContext:
        return self._browser.new_context(
            locale="zh-CN",
            timezone_id="Asia/Shanghai",
            viewport={"width": width, "height": height},
            device_scale_factor=scale,
            is_mobile=is_phone,
            has_touch=is_phone,
            bypass_csp=True,
        )

    def signed_in(self, context: BrowserContext, link: str, login: str) -> Page:
        page = context.new_page()
        page.goto(link)
        page.fill("input[name=login]", login)
        for field in page.locator("input[type=password]").all():
            field.fill(PASSWORD)
        page.locator("form button").first.click()
        page.wait_for_load_state("networkidle")
        return page

    def look(self, page: Page, path: str) -> None:
        page.goto(self._machine.url + path)
        page.wait_for_timeout(SETTLE_MS)
        page.evaluate(CHINESE_DATES)

    def keep(self, name: str, content: bytes) -> None:
        """Write a picture with as few colours as it needs, unless only others were asked for."""
        if self._wanted and name not in self._wanted:
            return
        picture = Image.open(io.BytesIO(content)).convert("RGB")
        if name != "overview":
            picture = picture.quantize(256, Image.Quantize.MEDIANCUT, kmeans=2, dither=Image.Dither.NONE)
        picture.save(IMAGES / f"{name}.png", optimize=True)
        print(name)

    # ---- Scenes ------------------------------------------------------------------------------------------------------

    def phone(self) -> bytes:
        """The sandbox: somebody scans a tea house's code and is greeted. Returns the phone alone."""
        page = self.context(1440, 900).new_page()
        page.goto(self._machine.sandbox_url)
        page.wait_for_timeout(SETTLE_MS)
        page.locator(".people >> text=" + PERSON).first.click()
        page.fill("[placeholder^=找码]", "山茶小筑 收银台")
        page.click(".codes >> text=山茶小筑 收银台")
        page.get_by_role("button", name="关注公众号").click()
        page.wait_for_timeout(2 * SETTLE_MS)
        page.fill("[placeholder^=找码]", "")
        page.wait_for_timeout(SETTLE_MS)
        self.keep("operator-sandbox", page.screenshot())
        page.get_by_role("tab", name="故障").click()
        page.wait_for_timeout(SETTLE_MS)
        self.keep("operator-faults", page.screenshot())
        closer = self.context(1440, 960, scale=1.5).new_page()
        closer.goto(self._machine.sandbox_url)
        closer.wait_for_timeout(SETTLE_MS)
        closer.locator(".people >> text=" + PERSON).first.click()
        closer.wait_for_timeout(SETTLE_MS)
        return closer.locator(".frame").first.screenshot(omit_background=True)

    def shop(self) -> str:
        """A shop's pages on a phone. Returns the number of one of its regulars."""
        link = self._machine.links["merchant_sign_in"]
        page = self.signed_in(self.context(390, 844, scale=2, is_phone=True), link, "tea-house")
        for name, path in MERCHANT.items():
            self.look(page, path)
            self.keep(f"merchant-{name}", page.screenshot())
        self.look(page, "/merchant/talks?box=all")
        page.locator('main a[href^="/merchant/talks/"]:has-text("待回复")').first.click()
        page.wait_for_timeout(SETTLE_MS)
        self.keep("merchant-talk", page.screenshot())
        self.look(page, "/merchant/fans?tag=常客")
        page.locator('main a[href^="/merchant/fans/"]:has-text("常客")').first.click()
        page.wait_for_timeout(SETTLE_MS)
        number = page.inner_text("h1")
        self.keep("merchant-fan", page.screenshot())
        self.look(page, "/merchant/welcome/back/1")
        page.fill("textarea[name=text]", "关注就送红包，集赞 20 个再减 5 元！")
        page.get_by_role("button", name="保存并送审").click()
        page.wait_for_timeout(SETTLE_MS)
        self.keep("merchant-refused", page.screenshot())
        return number

    def desk(self, fan_number: str) -> bytes:
        """The operator's pages. Returns the overview for the README's picture."""
        page = self.signed_in(self.context(1440, 900), self._machine.links["sign_in"], "operator")
        for name, path in OPERATOR.items():
            self.look(page, path)
            self.keep(f"operator-{name}", page.screenshot())
        self.look(page, "/operator/health")
        page.get_by_role("button", name="开始体检").click()
        page.wait_for_timeout(4 * SETTLE_MS)
        self.keep("operator-health", page.screenshot())
        self.look(page, f"/operator/followers?q={fan_number}")
        page.locator('a:has-text("关注者")').first.click()
        page.wait_for_timeout(SETTLE_MS)
        self.keep("operator-follower", page.screenshot())
        self.look(page, page.url.removeprefix(self._machine.url) + "/ruling")
        self.keep("operator-ruling", page.screenshot())
        page.set_viewport_size({"width": 1280, "height": 900})
        self.look(page, OPERATOR["traffic"])
        return page.screenshot()

    def overview(self, desk: bytes, phone: bytes) -> None:
        """The operator's page with a phone before it."""
        page = self.context(1600, 900).new_page()
        page.set_content(OVERVIEW.format(desk=_inline(desk), phone=_inline(phone)))
        page.wait_for_timeout(SETTLE_MS)
        self.keep("overview", page.screenshot())


OVERVIEW: Final = """
<body style="margin:0;width:1600px;height:900px;background:#e9f1e8;position:relative;overflow:hidden">
<div style="position:absolute;left:44px;top:48px;width:1200px;border-radius:16px;overflow:hidden;background:#fff;
            box-shadow:0 24px 60px rgba(22,56,38,.2)">
<div style="height:34px;background:#eef1ec;display:flex;align-items:center;gap:8px;padding:0 14px">
<i style="width:11px;height:11px;border-radius:9px;background:#e2786b"></i>
<i style="width:11px;height:11px;border-radius:9px;background:#e5b95a"></i>
<i style="width:11px;height:11px;border-radius:9px;background:#74b783"></i></div>
<img src="{desk}" style="display:block;width:1200px"></div>
<img src="{phone}" style="position:absolute;right:40px;top:84px;height:770px;border-radius:50px;
                          box-shadow:0 30px 70px rgba(22,56,38,.34)">
</body>"""


def _inline(picture: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(picture).decode()


@contextmanager
def running() -> Iterator[Machine]:
    """A demo community that has settled in."""
    with tempfile.TemporaryDirectory(prefix="quanma-pictures-") as folder:
        # As root the database runs as nobody, who has to get in.
        Path(folder).chmod(0o755)
        machine = Machine(Path(folder) / "home")
        machine.start()
        try:
            machine.wait_for_links(DEMO_S)
            yield machine
        finally:
            machine.stop()


def main(wanted: set[str]) -> None:
    program = on_path()
    if program is None:
        raise SystemExit("没有找到 Chromium。 No Chromium: tools/browser.py finds or fetches one.")
    with running() as machine, sync_playwright() as playwright:
        browser = launch(playwright, program, "--lang=zh-CN")
        studio = Studio(machine, browser, wanted)
        phone = studio.phone()
        number = studio.shop()
        studio.overview(studio.desk(number), phone)
        browser.close()


if __name__ == "__main__":
    main(set(sys.argv[1:]))
