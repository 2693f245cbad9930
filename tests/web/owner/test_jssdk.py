"""Which pages are signed."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlsplit

import pytest
from flask import Flask

from core.runtime import Runtime
from tests.conftest import Sandbox
from web.app import create_app
from wechat import jssdk
from wechat.client import client_of


@pytest.mark.parametrize(
    "url",
    ["", "https://evil.com/m/", "//evil.com/", "/m/", "javascript:alert(1)", "{own}.evil.com/m/", "{own}@evil.com/m/",
     "{own}\\@evil.com/", "{own}\t/m/", "{own}", "http://user@{host}/m/", "https://{host}/m/", "http://[/m/",
     "{own}/" + "a" * 2_000],
)  # fmt: skip
def test_nobody_elses_page_is_signed(app: Flask, runtime: Runtime, url: str) -> None:
    """#65."""
    own = runtime.settings.public_url
    wanted = url.format(own=own, host=urlsplit(own).netloc)
    assert app.test_client().get("/m/jssdk", query_string={"url": wanted}).status_code == 403


def test_our_pages_are_signed_with_the_platforms_ticket(runtime: Runtime, sandbox: Sandbox) -> None:
    hosts = {f"wechat_{host}_url": sandbox.url for host in ("api", "mp", "open")}
    connected = replace(runtime, settings=runtime.settings.model_copy(update=hosts))
    url = f"{runtime.settings.public_url}/merchant/till?a=1&b=2"
    answer = create_app(connected).test_client().get("/m/jssdk", query_string={"url": f"{url}#top"})
    assert answer.status_code == 200
    signed = answer.get_json()
    ticket = client_of(connected).page_ticket().text
    assert signed["signature"] == jssdk.signature(ticket, signed["nonceStr"], signed["timestamp"], url)
    assert signed["appId"] == runtime.settings.wechat_app_id


def test_without_a_ticket_one_may_ask_again(app: Flask, runtime: Runtime) -> None:
    wanted = {"url": f"{runtime.settings.public_url}/m/"}
    assert app.test_client().get("/m/jssdk", query_string=wanted).status_code == 503
