"""Two shops on one street for page tests, with owners who are signed in and people who scan."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from flask import Flask
from PIL import Image

from bot.events import Event
from bot.inbox import Inbox
from core.database import Role
from core.runtime import Runtime
from merchants.models import StaffRole
from qrcodes import fans, rollups
from tests.community import Code, Neighbourhood, new_openid, scanned, subscribed, unsubscribed
from tests.web.conftest import Browser


@dataclass
class Shop:
    """A shop, its owner's browser, and the people who come."""

    street: Neighbourhood
    merchant_id: int
    owner: Browser
    code: Code

    @property
    def runtime(self) -> Runtime:
        return self.street.runtime

    def welcomes_somebody(self, *, ago: timedelta = timedelta(0), code: Code | None = None) -> str:
        """A new person follows by scanning; returns the openid."""
        openid = new_openid()
        at = self.street.now - ago
        self._sees(subscribed(openid, at, (code or self.code).scene))
        return openid

    def sees_again(self, openid: str, *, ago: timedelta = timedelta(0)) -> None:
        self._sees(scanned(openid, self.street.now - ago, self.code.scene))

    def welcomes_somebody_again(self, openid: str, *, ago: timedelta = timedelta(0)) -> None:
        self._sees(subscribed(openid, self.street.now - ago, self.code.scene))

    def loses(self, openid: str, *, ago: timedelta = timedelta(0)) -> None:
        self._sees(unsubscribed(openid, self.street.now - ago))

    def _sees(self, event: Event) -> None:
        Inbox(self.runtime).receive([event])
        rollups.catch_up(self.runtime)

    def numbers(self) -> list[str]:
        """Fan numbers, the latest seen first."""
        with self.runtime.transaction(Role.MERCHANT, merchant_id=self.merchant_id) as session:
            return [fan.number for fan in fans.page(session, self.merchant_id)]


def open_shop(
    app: Flask, street: Neighbourhood, new_staff: Callable[..., int], name: str, login: str, *, label: str = "收银台"
) -> Shop:
    """A shop with one code and an owner who is signed in."""
    merchant_id = street.merchant(name)
    code = street.code(merchant_id, label)
    new_staff(login, StaffRole.OWNER, merchant_id)
    owner = Browser(app.test_client())
    assert owner.sign_in(login).status_code == 303
    owner.get("/merchant/")
    owner.get("/merchant/me")
    return Shop(street, merchant_id, owner, code)


def without_chance(page: str) -> str:
    """A page without what differs every time: nonces and form tokens."""
    page = re.sub(r'nonce="[^"]*"', "", page)
    return re.sub(r'(name="csrf_token" value|name="csrf-token" content)="[^"]*"', "", page)


def photo(size: tuple[int, int] = (640, 480), colour: str = "teal", form: str = "JPEG") -> bytes:
    content = io.BytesIO()
    Image.new("RGB", size, colour).save(content, form)
    return content.getvalue()
