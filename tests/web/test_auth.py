"""Invitations, signing in, sessions and passwords, as the people concerned see them."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import select

from core.database import Role
from core.models import AuditLog
from core.runtime import Runtime
from merchants import passwords, staff
from merchants.models import LoginSession, Staff, StaffRole
from tests.community import Neighbourhood
from tests.conftest import advance
from tests.web.conftest import PASSWORD, Browser, Crew
from web.auth.pages import invitation_url


def link(runtime: Runtime, role: StaffRole = StaffRole.OPERATOR, merchant_id: int | None = None) -> str:
    with runtime.transaction(Role.PLATFORM) as session:
        token = staff.invite(session, name="小李", role=role, merchant_id=merchant_id, now=runtime.now())
    return invitation_url(runtime.settings, token).removeprefix(runtime.settings.public_url)


def choice(**changes: str) -> dict[str, str]:
    return {"login": "xiaoli", "password": PASSWORD, "again": PASSWORD, **changes}


def test_an_invitation_makes_an_operator_who_can_come_back(runtime: Runtime, app: Flask, browser: Browser) -> None:
    path = link(runtime)
    page = browser.get(path)
    assert page.status_code == 200
    assert "小李" in page.text
    accepted = browser.post(path, choice())
    assert (accepted.status_code, accepted.location) == (303, "/operator/")
    assert browser.get("/auth/account").status_code == 200
    again = Browser(app.test_client())
    assert again.sign_in("ＸiaoLI").location == "/operator/"


def test_a_merchants_staff_lands_on_the_merchants_pages(runtime: Runtime, browser: Browser) -> None:
    path = link(runtime, StaffRole.CLERK, Neighbourhood(runtime).merchant("老王豆浆"))
    browser.get(path)
    assert browser.post(path, choice()).location == "/merchant/"
    page = browser.get("/auth/account")
    assert "老王豆浆" in page.text
    assert "店员" in page.text


def test_an_invitation_works_once(runtime: Runtime, app: Flask, browser: Browser) -> None:
    path = link(runtime)
    browser.get(path)
    browser.post(path, choice())
    second = Browser(app.test_client())
    second.get("/auth/sign-in")
    assert second.get(path).status_code == 410
    assert second.post(path, choice(login="other")).status_code == 410


def test_an_invitation_expires_after_three_days(runtime: Runtime, browser: Browser) -> None:
    path = link(runtime)
    advance(runtime, timedelta(hours=72, seconds=1))
    assert browser.get(path).status_code == 410


def test_only_the_newest_link_of_a_person_works(runtime: Runtime, browser: Browser) -> None:
    first, second = link(runtime), link(runtime)
    assert browser.get(first).status_code == 410
    assert browser.get(second).status_code == 200
    with runtime.transaction(Role.PLATFORM) as session:
        assert len(list(session.scalars(select(Staff)))) == 1


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"again": "something else"}, "两次输入的密码不一样。"),
        ({"password": "short12", "again": "short12"}, "密码至少 8 位"),
        ({"password": "x" * 129, "again": "x" * 129}, "密码最多 128 位。"),
        ({"password": "P@ssw0rd2026", "again": "P@ssw0rd2026"}, "太容易被猜到"),
        ({"password": "Quanma2026", "again": "Quanma2026"}, "太容易被猜到"),
        ({"password": "xiaoli1234", "again": "xiaoli1234"}, "太容易被猜到"),
        ({"login": "x"}, "登录名要 2 到 64 个字"),
        ({"login": "li xiao"}, "不能有空格"),
        ({"login": "taken"}, "已经有人用了"),
        ({"role": "operator"}, "不认识的内容"),
        ({"password": "", "again": ""}, "密码至少 8 位"),
    ],
)
def test_a_bad_choice_is_explained_and_the_link_stays_good(
    runtime: Runtime, browser: Browser, new_staff: Callable[..., int], changes: dict[str, str], sentence: str
) -> None:
    new_staff("taken")
    path = link(runtime)
    browser.get(path)
    refused = browser.post(path, choice(**changes))
    assert refused.status_code == 422
    assert sentence in refused.text
    assert PASSWORD not in refused.text
    assert browser.post(path, choice()).status_code == 303


@pytest.mark.parametrize(
    "password", [" 两 边 有 空 格 ", "".join(map(chr, range(0x1F330, 0x1F3B0))), "x7#kQ2p" * 18, "中文密码也可以用"]
)
def test_any_characters_make_a_password(runtime: Runtime, app: Flask, browser: Browser, password: str) -> None:
    path = link(runtime)
    browser.get(path)
    assert browser.post(path, choice(password=password, again=password)).status_code == 303
    assert Browser(app.test_client()).sign_in("xiaoli", password).status_code == 303
    assert Browser(app.test_client()).sign_in("xiaoli", password + " ").status_code == 401


@pytest.mark.parametrize(
    "password",
    [
        "12345678", "87654321", "qwertyuiop", "1qaz2wsx", "iloveyou1", "woaini1314", "5201314a", "aa123456", "a1234567",
        "19900101", "11111111", "abcd1234", "1q2w3e4r", "letmein1!", "Football2026", "qq123456789", "admin888",
    ],
)  # fmt: skip
def test_what_everybody_tries_first_is_guessable(password: str) -> None:
    assert passwords.is_guessable(password)


@pytest.mark.parametrize("password", ["红烧肉配米饭三碗", "correct horse battery", "x7#kQ2pLw", "7 lemons, 1 bicycle"])
def test_what_nobody_tries_first_is_not(password: str) -> None:
    assert not passwords.is_guessable(password)


def test_wrong_password_and_unknown_name_get_the_same_answer(browser: Browser, new_staff: Callable[..., int]) -> None:
    new_staff("ann")
    wrong = browser.sign_in("ann", "not this one")
    unknown = browser.sign_in("bob", "not this one")
    assert (wrong.status_code, unknown.status_code) == (401, 401)
    blind = [re.sub(r'(csrf[-_]token" (content|value)|nonce)="[^"]+"', "", page.text) for page in (wrong, unknown)]
    assert blind[0].replace("ann", "bob") == blind[1]


@pytest.mark.parametrize("login", ["' OR 1=1 --", "an\0n", "аnn", "a" * 5000, ""])
def test_odd_names_sign_nobody_in(browser: Browser, new_staff: Callable[..., int], login: str) -> None:
    new_staff("ann")
    assert browser.sign_in(login).status_code in {401, 422}


def test_tries_are_counted_per_name_and_address(app: Flask, browser: Browser, new_staff: Callable[..., int]) -> None:
    new_staff("ann")
    answers = [browser.sign_in("ann", "wrong password").status_code for _ in range(6)]
    assert answers == [401] * 5 + [429]
    assert browser.sign_in("ANN").status_code == 429
    from_elsewhere = Browser(app.test_client())
    from_elsewhere.client.environ_base["REMOTE_ADDR"] = "10.1.1.1"
    assert from_elsewhere.sign_in("ann").status_code == 303


def test_after_signing_in_one_goes_on_where_one_wanted(browser: Browser, new_staff: Callable[..., int]) -> None:
    new_staff("ann")
    sent_away = browser.get("/auth/account?tab=2")
    assert sent_away.location == "/auth/sign-in?next=/auth/account%3Ftab%3D2"
    assert browser.sign_in("ann", next="/auth/account?tab=2").location == "/auth/account?tab=2"


def test_who_stayed_away_too_long_is_told_so_and_goes_back_to_the_page_they_were_on(
    browser: Browser, runtime: Runtime, new_staff: Callable[..., int]
) -> None:
    new_staff("ann")
    browser.sign_in("ann")
    browser.get("/auth/account")
    advance(runtime, timedelta(minutes=31))
    opened = browser.get("/auth/account?tab=2")
    assert opened.location == "/auth/sign-in?expired=1&next=/auth/account%3Ftab%3D2"
    here = {"Referer": "http://localhost/operator/reply-rules/new?a=1"}
    typed = browser.post("/operator/reply-rules", {"title": "停水"}, headers={"Accept": "text/html", **here})
    assert (typed.status_code, typed.location) == (
        303,
        "/auth/sign-in?expired=1&next=/operator/reply-rules/new%3Fa%3D1",
    )
    page = browser.get(typed.location).text
    assert "登录过期了，请重新登录" in page
    assert 'name="next" value="/operator/reply-rules/new?a=1"' in page
    elsewhere = {"Accept": "text/html", "Referer": "https://evil.example/operator/"}
    assert browser.post("/operator/reply-rules", headers=elsewhere).location == "/auth/sign-in?expired=1"
    twice = {"Accept": "text/html", "Referer": "http://localhost//evil.example/"}
    assert browser.post("/operator/reply-rules", headers=twice).location == "/auth/sign-in?expired=1"
    broken = {"Accept": "text/html", "Referer": "http://["}
    assert browser.post("/operator/reply-rules", headers=broken).location == "/auth/sign-in?expired=1"
    assert browser.post("/operator/reply-rules", headers={"Origin": "http://["}).status_code == 403
    answer_to_a_form = {"Accept": "text/html", "Referer": "http://localhost/operator/approvals/5/reject"}
    assert browser.post("/operator/approvals/5/reject", headers=answer_to_a_form).location == "/auth/sign-in?expired=1"
    by_htmx = browser.get("/auth/account", headers={"HX-Request": "true", "HX-Current-URL": "http://localhost/a"})
    assert by_htmx.headers["HX-Redirect"] == "/auth/sign-in?expired=1&next=/a"
    assert browser.post("/operator/reply-rules", headers={"Accept": "application/json", **here}).status_code == 401


def test_signing_in_never_leads_to_another_site(browser: Browser, new_staff: Callable[..., int]) -> None:
    new_staff("ann")
    assert browser.sign_in("ann", next="//evil.example/").location == "/operator/"


def test_a_session_set_before_signing_in_is_worth_nothing(browser: Browser, new_staff: Callable[..., int]) -> None:
    new_staff("ann")
    browser.client.set_cookie("sid", "chosen-by-somebody-else")
    browser.sign_in("ann")
    cookie = browser.client.get_cookie("sid")
    assert cookie is not None
    assert cookie.value != "chosen-by-somebody-else"
    first = cookie.value
    browser.sign_in("ann")
    browser.client.set_cookie("sid", first)
    assert browser.get("/auth/account").status_code == 302


def test_the_cookie_is_for_our_server_only(browser: Browser, new_staff: Callable[..., int]) -> None:
    new_staff("ann")
    cookies = [line for line in browser.sign_in("ann").headers.getlist("Set-Cookie") if line.startswith("sid=")]
    assert len(cookies) == 1
    assert "HttpOnly" in cookies[0]
    assert "SameSite=Lax" in cookies[0]
    assert "Path=/" in cookies[0]


def test_the_database_holds_no_token(runtime: Runtime, browser: Browser, new_staff: Callable[..., int]) -> None:
    new_staff("ann")
    browser.sign_in("ann")
    cookie = browser.client.get_cookie("sid")
    assert cookie is not None
    with runtime.transaction(Role.PLATFORM) as session:
        row = session.scalars(select(LoginSession)).one()
        member = session.scalars(select(Staff)).one()
    assert row.token_hash == staff.token_hash(cookie.value)
    assert (member.password_hash or "").startswith("$argon2id$")


def test_a_session_ends_after_half_an_hour_unused(runtime: Runtime, crew: Crew) -> None:
    for _ in range(3):
        advance(runtime, timedelta(minutes=25))
        assert crew.owner.get("/auth/account").status_code == 200
    assert crew.operator.get("/auth/account").status_code == 302
    advance(runtime, timedelta(minutes=31))
    assert crew.owner.get("/auth/account").status_code == 302


def test_a_session_ends_after_twelve_hours_of_use(runtime: Runtime, crew: Crew) -> None:
    for _ in range(28):
        advance(runtime, timedelta(minutes=25))
        assert crew.owner.get("/auth/account").status_code == 200
    advance(runtime, timedelta(minutes=25))
    assert crew.owner.get("/auth/account").status_code == 302


def test_a_disabled_person_is_out_with_the_next_request(
    runtime: Runtime, browser: Browser, new_staff: Callable[..., int]
) -> None:
    staff_id = new_staff("ann")
    browser.sign_in("ann")
    with runtime.transaction(Role.PLATFORM) as session:
        staff.disable(session, staff_id=staff_id, now=runtime.now())
    assert browser.get("/auth/account").status_code == 302
    assert browser.sign_in("ann").status_code == 401


def test_signing_out_ends_the_session_itself(browser: Browser, crew: Crew) -> None:
    cookie = crew.owner.client.get_cookie("sid")
    assert cookie is not None
    crew.owner.get("/auth/account")
    assert crew.owner.post("/auth/sign-out").location == "/auth/sign-in"
    browser.client.set_cookie("sid", cookie.value)
    assert browser.get("/auth/account").status_code == 302


def test_a_new_password_signs_every_other_browser_out(app: Flask, crew: Crew) -> None:
    other = Browser(app.test_client())
    other.sign_in("owner")
    before = crew.owner.client.get_cookie("sid")
    crew.owner.get("/auth/account")
    new = "eight lemons on a tram"
    changed = crew.owner.post("/auth/account/password", {"current": PASSWORD, "new": new, "again": new})
    assert changed.status_code == 303
    assert crew.owner.client.get_cookie("sid") != before
    assert crew.owner.get("/auth/account").status_code == 200
    assert other.get("/auth/account").status_code == 302
    assert other.sign_in("owner").status_code == 401
    assert other.sign_in("owner", new).status_code == 303


def test_a_password_is_changed_only_by_who_knows_it(crew: Crew) -> None:
    crew.owner.get("/auth/account")
    new = "eight lemons on a tram"
    refused = crew.owner.post("/auth/account/password", {"current": "a guess", "new": new, "again": new})
    assert refused.status_code == 422
    assert "现在的密码不对。" in refused.text


def test_one_ends_ones_own_sessions_and_nobody_elses(runtime: Runtime, app: Flask, crew: Crew) -> None:
    other = Browser(app.test_client())
    other.sign_in("owner")
    with runtime.transaction(Role.PLATFORM) as session:
        sessions = list(session.scalars(select(LoginSession).order_by(LoginSession.id)))
    operators, newest = sessions[0], sessions[-1]
    crew.owner.get("/auth/account")
    assert crew.owner.post(f"/auth/account/sessions/{operators.id}/end").status_code == 404
    assert crew.owner.post(f"/auth/account/sessions/{newest.id}/end").status_code == 303
    assert other.get("/auth/account").status_code == 302
    assert crew.operator.get("/auth/account").status_code == 200


def test_what_happened_is_in_the_audit_log(runtime: Runtime, crew: Crew) -> None:
    crew.clerk.get("/auth/account")
    crew.clerk.post("/auth/sign-out")
    with runtime.transaction(Role.PLATFORM) as session:
        actions = list(session.scalars(select(AuditLog.action).where(AuditLog.merchant_id == crew.merchant_id)))
    assert actions == ["invitation accepted", "invitation accepted", "signed in", "signed in", "session ended"]


def test_programs_are_told_in_json(browser: Browser) -> None:
    browser.get("/auth/sign-in")
    answer = browser.post("/auth/sign-out", headers={"Accept": "application/json"})
    assert (answer.status_code, answer.json) == (
        401,
        {"error": "http_401", "message": "您还没有登录，或者登录已经过期。"},
    )
    by_htmx = browser.get("/auth/account", headers={"HX-Request": "true"})
    assert (by_htmx.status_code, by_htmx.headers["HX-Redirect"]) == (401, "/auth/sign-in")


def test_pages_speak_english_to_who_wants_it(browser: Browser) -> None:
    assert "<h1>登录</h1>" in browser.get("/auth/sign-in").text
    assert "<h1>登录</h1>" in browser.get("/auth/sign-in", headers={"Accept-Language": "zh-HK, en;q=0.5"}).text
    page = browser.get("/auth/sign-in", headers={"Accept-Language": "en-GB, fr;q=0.5"})
    assert "<h1>Sign in</h1>" in page.text
    assert '<html lang="en">' in page.text
    picked = browser.get("/language/en?next=/auth/sign-in")
    assert picked.location == "/auth/sign-in"
    assert "<h1>Sign in</h1>" in browser.get("/auth/sign-in").text
    assert "Wrong name or password." in browser.sign_in("nobody").text
