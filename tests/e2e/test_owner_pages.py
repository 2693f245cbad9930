"""An owner's phone in the sandbox opens our pages: let in silently in the phone's own browser, two phones as two
people, and a coupon taken, shown, and everything deleted."""

from __future__ import annotations

from playwright.sync_api import FrameLocator

from tests.conftest import Live
from tests.e2e.test_story import Phone


def opened(phone: Phone, live: Live, path: str) -> FrameLocator:
    """A page of ours in the phone's browser, as a tap on a link in the chat opens it."""
    phone.page.evaluate(
        """([openid, url]) => { document.cookie = `sandbox_person=${encodeURIComponent(openid)}; path=/; SameSite=Lax`;
            const frame = document.createElement('iframe'); frame.dataset.testid = 'ours'; frame.src = url;
            frame.width = 390; frame.height = 844;
            document.querySelectorAll('[data-testid=ours]').forEach((old) => old.remove());
            document.body.append(frame); }""",
        [phone.openid, f"{live.url}{path}"],
    )
    return phone.page.frame_locator("[data-testid=ours]")
