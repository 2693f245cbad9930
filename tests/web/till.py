"""A shop with a signed-in owner, coupons, and people who show their codes, for page tests."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flask import Flask
from sqlalchemy import func, select, table, text

from campaigns.coupons import redeeming
from campaigns.coupons.giving import Given
from core.database import Role
from core.runtime import Runtime
from merchants.models import StaffRole
from tests.community import Neighbourhood
from tests.couponing import Street
from tests.web.conftest import Browser
from tests.web.shops import Shop, open_shop

COUPON = {
    "kind": "amount", "name": "满 30 减 5", "value": "5", "min_spend": "30", "stock": "50", "validity": "days",
    "lasts_days": "30", "is_public": "true",
}  # fmt: skip
DAYS = ("0", "1", "2", "3", "4", "5", "6")


@dataclass
class Till:
    """The shop behind the till."""

    app: Flask
    shop: Shop
    street: Street
    new_staff: Callable[..., int]

    @classmethod
    def open(cls, app: Flask, runtime: Runtime, new_staff: Callable[..., int], name: str = "老王豆浆") -> Till:
        neighbourhood = Neighbourhood(runtime)
        shop = open_shop(app, neighbourhood, new_staff, name, f"owner-{name}")
        return cls(app, shop, Street(runtime, neighbourhood), new_staff)

    @property
    def runtime(self) -> Runtime:
        return self.shop.runtime

    @property
    def id(self) -> int:
        return self.shop.merchant_id

    @property
    def owner(self) -> Browser:
        return self.shop.owner

    def neighbour(self, name: str = "面馆") -> Till:
        shop = open_shop(self.app, self.shop.street, self.new_staff, name, f"owner-{name}")
        return Till(self.app, shop, self.street, self.new_staff)

    def signed_in(self, login: str, role: StaffRole = StaffRole.CLERK) -> Browser:
        """Somebody else of this shop, or an operator."""
        self.new_staff(login, role, None if role is StaffRole.OPERATOR else self.id)
        browser = Browser(self.app.test_client())
        assert browser.sign_in(login).status_code == 303
        browser.get("/operator/team" if role is StaffRole.OPERATOR else "/merchant/me")
        return browser

    def live(self, **fields: Any) -> int:
        return self.street.live(self.id, **fields)

    def holder(self, template_id: int) -> tuple[int, Given]:
        """A fan of the shop who holds one of these."""
        follower_id = self.street.fan(self.id)
        return follower_id, self.street.grant(template_id, follower_id)

    def shows(self, follower_id: int, coupon_id: int | None = None) -> str:
        """The eight characters on somebody's phone."""
        with self.runtime.transaction(Role.FAN, follower_id=follower_id) as session:
            shown = redeeming.show_code(
                session, self.runtime, follower_id=follower_id, coupon_id=coupon_id, now=self.runtime.now()
            )
        return shown.typed

    def number(self, follower_id: int) -> str:
        with self.runtime.transaction(Role.PLATFORM) as session:
            found = text("SELECT number FROM fan WHERE merchant_id = :m AND follower_id = :f")
            return str(session.execute(found, {"m": self.id, "f": follower_id}).scalar_one())

    def count(self, what: str) -> int:
        """Rows of a table."""
        with self.runtime.transaction(Role.PLATFORM) as session:
            return int(session.execute(select(func.count()).select_from(table(what))).scalar_one())


def nonce_in(page: str, action: str) -> str:
    """The nonce of the form that goes to `action`."""
    found = re.search(rf'action="{re.escape(action)}".*?name="nonce" value="([^"]+)"', page, re.DOTALL)
    assert found, page
    return found[1]
