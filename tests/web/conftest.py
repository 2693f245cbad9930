"""Browsers for page tests: signed out, and signed in as each kind of staff."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from core.database import Role
from core.runtime import Runtime
from merchants import staff
from merchants.models import StaffRole
from tests.community import Neighbourhood
from web.app import create_app

PASSWORD = "seven lemons on a bicycle"


@dataclass
class Browser:
    """Somebody's browser: keeps cookies, and sends the form token of the page it last saw."""

    client: FlaskClient
    token: str = ""

    def get(self, path: str, **options: object) -> TestResponse:
        return self._seen(self.client.get(path, **options))

    def post(self, path: str, data: dict[str, str] | None = None, **options: object) -> TestResponse:
        fields = {"csrf_token": self.token, **(data or {})}
        return self._seen(self.client.post(path, data=fields, **options))

    def sign_in(self, login: str, password: str = PASSWORD, **fields: str) -> TestResponse:
        self.get("/auth/sign-in")
        return self.post("/auth/sign-in", {"login": login, "password": password, **fields})

    def _seen(self, response: TestResponse) -> TestResponse:
        if response.mimetype == "text/html" and (
            found := re.search(r'name="csrf_token" value="([^"]+)', response.text)
        ):
            self.token = found[1]
        return response


@pytest.fixture
def app(runtime: Runtime) -> Flask:
    app = create_app(runtime)
    app.config["TESTING"] = False
    return app


@pytest.fixture
def browser(app: Flask) -> Browser:
    return Browser(app.test_client())


@pytest.fixture
def new_staff(runtime: Runtime) -> Callable[..., int]:
    """Adds somebody who has accepted their invitation; returns their id."""

    def add(login: str, role: StaffRole = StaffRole.OPERATOR, merchant_id: int | None = None) -> int:
        with runtime.transaction(Role.PLATFORM) as session:
            token = staff.invite(session, name=f"员工{login}", role=role, merchant_id=merchant_id, now=runtime.now())
            return staff.accept(session, token=token, login=login, password=PASSWORD, now=runtime.now()).id

    return add


@dataclass
class Crew:
    """One operator, and an owner and a clerk of one shop, each signed in."""

    operator: Browser
    owner: Browser
    clerk: Browser
    merchant_id: int


@pytest.fixture
def crew(app: Flask, runtime: Runtime, new_staff: Callable[..., int]) -> Crew:
    merchant_id = Neighbourhood(runtime).merchant("老王豆浆")
    new_staff("operator")
    new_staff("owner", StaffRole.OWNER, merchant_id)
    new_staff("clerk", StaffRole.CLERK, merchant_id)
    browsers = {role: Browser(app.test_client()) for role in ("operator", "owner", "clerk")}
    for login, browser in browsers.items():
        assert browser.sign_in(login).status_code == 303
    return Crew(**browsers, merchant_id=merchant_id)
