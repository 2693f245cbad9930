"""Phones of owners: signed in, with the follower behind them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from flask import Flask
from sqlalchemy import func, select, table
from werkzeug.test import TestResponse

from core.database import Role
from core.runtime import Runtime
from merchants import owners
from tests.community import Neighbourhood, new_openid
from tests.web.conftest import Browser


class PhoneBrowser(Browser):
    """Takes the form token from the head of any page."""

    def _seen(self, response: TestResponse) -> TestResponse:
        if response.mimetype == "text/html" and (found := re.search('csrf-token" content="([^"]+)', response.text)):
            self.token = found[1]
        return response


@dataclass
class Phone:
    """Somebody's WeChat with our pages open in it."""

    browser: Browser
    openid: str
    follower_id: int


def counts(runtime: Runtime, *tables: str) -> list[int]:
    """How many rows each of these tables has."""
    with runtime.transaction(Role.PLATFORM) as session:
        return [session.execute(select(func.count()).select_from(table(name))).scalar_one() for name in tables]


@pytest.fixture
def street(runtime: Runtime) -> Neighbourhood:
    return Neighbourhood(runtime)


@pytest.fixture
def owner_phone(runtime: Runtime, app: Flask, street: Neighbourhood) -> Callable[[], Phone]:
    """Signs somebody new in."""

    def make(openid: str | None = None) -> Phone:
        openid = openid or new_openid()
        with runtime.transaction(Role.PLATFORM) as session:
            follower_id = owners.meet(session, runtime, openid=openid, now=runtime.now())
            token = owners.begin(session, follower_id=follower_id, now=runtime.now())
        browser = PhoneBrowser(app.test_client())
        browser.client.set_cookie("owner", token)
        return Phone(browser, openid, follower_id)

    return make
