"""What protects every page."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from flask import Flask, request
from werkzeug.test import TestResponse

from core.errors import BusinessError, NotFound
from core.runtime import Runtime
from core.settings import Settings
from tests.web.conftest import PASSWORD, Browser, Crew
from web.app import create_app
from web.auth.access import public
from web.security import safe_path, upload_cap


def over_https(settings: Settings) -> Settings:
    return settings.model_copy(
        update={"public_url": "https://quanma.example", "wechat_api_url": "https://api.weixin.qq.com"}
    )


@pytest.fixture
def secure_app(runtime: Runtime) -> Flask:
    """The pages as a real account has them."""
    app = create_app(replace(runtime, settings=over_https(runtime.settings)))
    app.config["SERVER_NAME"] = None
    return app


@pytest.fixture
def odd_app(app: Flask) -> Flask:
    """The pages with views that fail in every way."""

    def add(path: str, view: Callable[[], object]) -> None:
        app.add_url_rule(path, path, public(view), methods=["GET", "POST"])  # type: ignore[arg-type]

    def refuse() -> None:
        raise BusinessError("今天的名额已经满了。")

    def miss() -> None:
        raise NotFound

    def break_down() -> None:
        raise ValueError("app secret 0123456789abcdef")

    def count_body() -> str:
        return str(len(request.get_data()))

    add("/odd/refuse", refuse)
    add("/odd/miss", miss)
    add("/odd/break", break_down)
    add("/odd/upload", upload_cap(3 * 1024 * 1024)(count_body))
    return app


HTTPS = {"base_url": "https://quanma.example"}


def cookies_of(response: TestResponse) -> list[str]:
    return response.headers.getlist("Set-Cookie")


def test_every_answer_carries_the_headers(app: Flask) -> None:
    for path in ("/auth/sign-in", "/nowhere", "/healthz", "/static/quanma.js"):
        headers = app.test_client().get(path).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy
        assert "style-src 'self'" in policy
        assert "object-src 'none'; base-uri 'none'" in policy
        assert "frame-ancestors " in policy
        assert "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert ("X-Frame-Options" in headers) is ("frame-ancestors 'none'" in policy)
        assert headers["Referrer-Policy"] == "same-origin"
        assert "Strict-Transport-Security" not in headers


def test_inline_scripts_carry_this_pages_nonce(app: Flask) -> None:
    first, second = (app.test_client().get("/auth/sign-in") for _ in range(2))
    nonces = [re.search(r"'nonce-([^']+)'", page.headers["Content-Security-Policy"]) for page in (first, second)]
    assert nonces[0] is not None
    assert nonces[1] is not None
    assert nonces[0][1] != nonces[1][1]
    for script in re.findall(r"<script(?![^>]*src=)[^>]*>", first.text):
        assert f'nonce="{nonces[0][1]}"' in script
    assert "style=" not in first.text
    assert not re.search(r"\son\w+=", first.text)


@pytest.mark.parametrize("path", ["/q/anything", "/auth/sign-in", "/merchant/"])
def test_only_the_sandboxs_phone_may_frame_pages(app: Flask, secure_app: Flask, path: str) -> None:
    beside_sandbox = app.test_client().get(path).headers
    assert "frame-ancestors http://127.0.0.1:9 http://localhost:9" in beside_sandbox["Content-Security-Policy"]
    real = secure_app.test_client().get(path, **HTTPS).headers
    assert "frame-ancestors 'none'" in real["Content-Security-Policy"]
    assert real["X-Frame-Options"] == "DENY"
    assert "frame-ancestors 'none'" in app.test_client().get("/healthz").headers["Content-Security-Policy"]


def test_over_https_cookies_are_bound_to_the_host(secure_app: Flask, new_staff: Callable[..., int]) -> None:
    new_staff("ann")
    client = secure_app.test_client()
    page = client.get("/auth/sign-in", **HTTPS)
    assert page.headers["Strict-Transport-Security"] == "max-age=31536000; includeSubDomains"
    token = re.search(r'name="csrf_token" value="([^"]+)', page.text)
    assert token is not None
    signed_in = client.post(
        "/auth/sign-in",
        data={"csrf_token": token[1], "login": "ann", "password": PASSWORD},
        headers={"Referer": "https://quanma.example/auth/sign-in"},
        **HTTPS,
    )
    assert signed_in.status_code == 303
    cookies = [*cookies_of(page), *cookies_of(signed_in)]
    assert {cookie.partition("=")[0] for cookie in cookies} == {"__Host-form", "__Host-sid"}
    for cookie in cookies:
        assert "Secure" in cookie
        assert "HttpOnly" in cookie
        assert "SameSite=Lax" in cookie
        assert "Path=/" in cookie
        assert "Domain" not in cookie


def test_pages_of_signed_in_people_are_not_kept(crew: Crew) -> None:
    assert crew.owner.get("/auth/account").headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("token", ["", "made-up", "IjAi.aaaaaa.bbbbbbbbbbb"])
def test_a_form_without_its_token_changes_nothing(crew: Crew, token: str) -> None:
    refused = crew.owner.post("/auth/sign-out", {"csrf_token": token})
    assert refused.status_code == 403
    assert "页面放得太久了" in refused.text
    assert crew.owner.get("/auth/account").status_code == 200


def test_another_browsers_token_changes_nothing(crew: Crew) -> None:
    crew.clerk.get("/auth/account")
    assert crew.owner.post("/auth/sign-out", {"csrf_token": crew.clerk.token}).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_another_site_changes_nothing(crew: Crew, headers: dict[str, str]) -> None:
    crew.owner.get("/auth/account")
    assert crew.owner.post("/auth/sign-out", headers=headers).status_code == 403
    assert crew.owner.post("/auth/sign-out", headers={"Origin": "http://localhost"}).status_code == 303


def test_unknown_hosts_are_refused(app: Flask, secure_app: Flask) -> None:
    assert app.test_client().get("/healthz", base_url="http://evil.example").status_code == 400
    assert app.test_client().get("/healthz", base_url="http://localhost:12345").status_code == 200
    assert secure_app.test_client().get("/healthz", base_url="http://localhost").status_code == 400
    forged = app.test_client().get("/auth/sign-in", headers={"X-Forwarded-Host": "evil.example"})
    assert "evil.example" not in forged.text


@pytest.mark.parametrize("size", [1024 * 1024 + 1, 10 * 1024 * 1024])
def test_a_body_too_large_is_refused(browser: Browser, size: int) -> None:
    browser.get("/auth/sign-in")
    refused = browser.post("/auth/sign-in", {"login": "ann", "password": "x" * size})
    assert refused.status_code == 413
    assert "内容太大了" in refused.text


def test_a_view_may_take_more(odd_app: Flask) -> None:
    browser = Browser(odd_app.test_client())
    browser.get("/auth/sign-in")
    assert browser.post("/odd/upload", {"file": "x" * 2 * 1024 * 1024}).status_code == 200
    assert browser.post("/odd/upload", {"file": "x" * 4 * 1024 * 1024}).status_code == 413


@pytest.mark.parametrize(
    "target",
    [
        "//evil.example", "/\\evil.example", "\\/evil", "https:evil.example", "https://evil.example/",
        "%2f%2fevil.example", "/%2F%2fevil", "\t//evil.example", "/\t/evil.example", "javascript:alert(1)",
        "data:text/html,x", "/ok\r\nSet-Cookie: a=b", "/ok\x00", "", None, "relative",
    ],
)  # fmt: skip
def test_redirects_stay_with_us(target: str | None) -> None:
    assert safe_path(target) == "/"


@pytest.mark.parametrize("target", ["/operator/", "/merchant/fans?q=王&tag=a%2Fb", "/m/shop#top"])
def test_our_own_paths_are_fine(target: str) -> None:
    assert safe_path(target) == target


@pytest.mark.parametrize("odd", ["01", "9999999999999999999", "-1", "1e3", "1.0", "٣", "9223372036854775808"])
def test_odd_ids_are_plainly_not_found(crew: Crew, odd: str) -> None:
    crew.owner.get("/auth/account")
    assert crew.owner.post(f"/auth/account/sessions/{odd}/end").status_code == 404


def test_a_rule_that_says_no_is_told_once_in_its_own_words(odd_app: Flask) -> None:
    client = odd_app.test_client()
    page = client.get("/odd/refuse")
    assert (page.status_code, "今天的名额已经满了。" in page.text) == (409, True)
    as_json = client.get("/odd/refuse", headers={"Accept": "application/json"})
    assert (as_json.status_code, as_json.json) == (409, {"error": "refused", "message": "今天的名额已经满了。"})
    assert client.get("/odd/miss").status_code == 404


def test_our_own_fault_tells_nothing_of_the_inside(odd_app: Flask) -> None:
    page = odd_app.test_client().get("/odd/break")
    assert page.status_code == 500
    assert "出了点问题" in page.text
    assert "0123456789abcdef" not in page.text


def test_a_nul_anywhere_is_refused(app: Flask) -> None:
    assert app.test_client().get("/auth/sign-in?next=%00").status_code == 400


def test_public_errors_set_no_cookie(app: Flask) -> None:
    assert cookies_of(app.test_client().get("/nowhere")) == []


def test_the_callback_needs_no_token_and_gets_no_cookie(app: Flask) -> None:
    answer = app.test_client().post("/wechat/callback", data=b"<xml></xml>", headers={"Origin": "https://evil.example"})
    assert answer.status_code == 403
    assert answer.data == b""
    assert cookies_of(answer) == []


def test_limits_survive_a_dead_redis(runtime: Runtime, new_staff: Callable[..., int]) -> None:
    new_staff("ann")
    browser = Browser(create_app(replace(runtime, redis_url="redis://127.0.0.1:9")).test_client())
    assert [browser.sign_in("ann", "wrong password").status_code for _ in range(6)] == [401] * 5 + [429]
