"""The operators' second factor, the page of the operators, and shops that are suspended."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import text

from core.database import Role
from core.runtime import Runtime
from merchants import second_factor, staff
from merchants.models import SecondFactor, StaffRole
from merchants.second_factor import STEP_S, code_at, secret_of
from qrcodes import codes
from tests.conftest import advance
from tests.web.conftest import PASSWORD, Browser, Crew


def test_codes_are_those_of_the_standard() -> None:
    """RFC 6238, appendix B, the last six of the eight digits given there."""
    secret = b"12345678901234567890"
    given = {59: "287082", 1111111109: "081804", 1234567890: "005924", 20000000000: "353130"}
    assert {seconds: code_at(secret, seconds // STEP_S) for seconds in given} == given


@pytest.fixture
def ann(new_staff: Callable[..., int]) -> int:
    return new_staff("ann")


def app_code(runtime: Runtime, staff_id: int, steps: int = 0) -> str:
    """What the phone's app shows now, or some half minutes from now."""
    with runtime.transaction(Role.PLATFORM) as session:
        factor = session.get_one(SecondFactor, staff_id)
        return code_at(secret_of(factor, runtime.keyed_id), int(time.time()) // STEP_S + steps)


def forget_last_step(runtime: Runtime) -> None:
    """As if half a minute had passed."""
    with runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("UPDATE second_factor SET last_step = 0"))


@pytest.fixture
def recovery(runtime: Runtime, app: Flask, ann: int) -> list[str]:
    """Ann has switched it on; her recovery codes."""
    browser = Browser(app.test_client())
    browser.sign_in("ann")
    browser.get("/auth/second-factor")
    assert browser.post("/auth/second-factor").status_code == 303
    assert "data:image/png" in browser.get("/auth/second-factor").text
    wrong = browser.post("/auth/second-factor/confirm", {"code": "12345"})
    assert wrong.status_code == 422
    shown = browser.post("/auth/second-factor/confirm", {"code": app_code(runtime, ann)})
    found = re.findall(r"<code>([0-9A-Z]{5}-[0-9A-Z]{5})</code>", shown.text)
    assert len(set(found)) == second_factor.RECOVERY_CODES
    forget_last_step(runtime)
    return found


def at_the_step(app: Flask) -> Browser:
    """A browser whose password was right."""
    browser = Browser(app.test_client())
    assert browser.sign_in("ann", next="/operator/team").location == "/auth/second-step"
    assert browser.get("/operator/").status_code == 302
    browser.get("/auth/second-step")
    return browser


def test_the_password_alone_lets_nobody_in_any_more(
    runtime: Runtime, app: Flask, ann: int, recovery: list[str]
) -> None:
    browser = at_the_step(app)
    code = app_code(runtime, ann)
    assert browser.post("/auth/second-step", {"code": "000000" if code != "000000" else "000001"}).status_code == 401
    assert browser.post("/auth/second-step", {"code": f"{code[:3]} {code[3:]}"}).location == "/operator/team"
    assert browser.get("/operator/team").status_code == 200
    # The same half minute never again, and none before it.
    second = at_the_step(app)
    assert second.post("/auth/second-step", {"code": code}).status_code == 401
    assert second.post("/auth/second-step", {"code": app_code(runtime, ann, -1)}).status_code == 401
    # Who has not given the password has no step to go.
    assert Browser(app.test_client()).get("/auth/second-step").status_code == 200
    stranger = Browser(app.test_client())
    stranger.get("/auth/second-step")
    assert stranger.post("/auth/second-step", {"code": app_code(runtime, ann, 1)}).location == "/auth/sign-in"


def test_a_recovery_code_works_once_and_is_not_stored(
    runtime: Runtime, app: Flask, ann: int, recovery: list[str]
) -> None:
    with runtime.transaction(Role.PLATFORM) as session:
        stored = session.execute(text("SELECT string_agg(code_hash::text, '') FROM recovery_code")).scalar_one()
    assert recovery[0].replace("-", "") not in stored
    browser = at_the_step(app)
    assert browser.post("/auth/second-step", {"code": recovery[0].lower()}).location == "/operator/team"
    again = at_the_step(app)
    assert again.post("/auth/second-step", {"code": recovery[0]}).status_code == 401
    assert again.post("/auth/second-step", {"code": recovery[1]}).location == "/operator/team"


def test_guessing_ends(runtime: Runtime, app: Flask, ann: int, recovery: list[str]) -> None:
    browser = at_the_step(app)
    answers = [browser.post("/auth/second-step", {"code": "not it"}).status_code for _ in range(6)]
    assert answers == [401] * 5 + [429]
    # Once the limit's minute is over the step is, too: it starts over with the password.
    browser.client.environ_base["REMOTE_ADDR"] = "10.1.1.1"
    assert browser.post("/auth/second-step", {"code": app_code(runtime, ann)}).location == "/auth/sign-in"


def test_guessing_from_everywhere_ends_too(runtime: Runtime, app: Flask, ann: int, recovery: list[str]) -> None:
    for number in range(4):
        browser = Browser(app.test_client())
        browser.client.environ_base["REMOTE_ADDR"] = f"10.1.1.{number}"
        browser.sign_in("ann")
        browser.get("/auth/second-step")
        if number < 3:
            assert [browser.post("/auth/second-step", {"code": "x"}).status_code for _ in range(5)] == [401] * 5
    assert browser.post("/auth/second-step", {"code": app_code(runtime, ann)}).location == "/auth/sign-in"
    advance(runtime, timedelta(minutes=10))
    assert at_the_step(app).post("/auth/second-step", {"code": app_code(runtime, ann)}).location == "/operator/team"


def test_it_goes_off_by_code_or_by_a_new_invitation(
    runtime: Runtime, app: Flask, ann: int, recovery: list[str]
) -> None:
    browser = at_the_step(app)
    browser.post("/auth/second-step", {"code": recovery[0]})
    browser.get("/auth/second-factor")
    assert browser.post("/auth/second-factor/end", {"code": "wrong"}).status_code == 422
    assert second_factor_is_on(runtime, ann)
    with runtime.transaction(Role.PLATFORM) as session:
        token = staff.invite(session, name="员工ann", role=StaffRole.OPERATOR, now=runtime.now())
        staff.accept(session, token=token, login="ann", password=PASSWORD, now=runtime.now())
    assert not second_factor_is_on(runtime, ann)
    assert Browser(app.test_client()).sign_in("ann").location == "/operator/"


def second_factor_is_on(runtime: Runtime, staff_id: int) -> bool:
    with runtime.transaction(Role.PLATFORM) as session:
        return second_factor.is_on(session, staff_id)


def test_operators_invite_and_disable_each_other(runtime: Runtime, app: Flask, crew: Crew) -> None:
    page = crew.operator.get("/operator/team")
    assert "员工operator" in page.text
    invited = crew.operator.post("/operator/team", {"operator_name": "小周"})
    found = re.search(r"/auth/invitation/[\w-]+", invited.text)
    assert found is not None
    newcomer = Browser(app.test_client())
    newcomer.get(found[0])
    choice = {"login": "zhou", "password": PASSWORD, "again": PASSWORD}
    assert newcomer.post(found[0], choice).location == "/operator/"
    with runtime.transaction(Role.PLATFORM) as session:
        rows = {row.login: row.id for row in session.execute(text("SELECT login, id FROM staff"))}
    assert newcomer.get("/operator/team").status_code == 200
    assert newcomer.post(f"/operator/team/{rows['zhou']}/disable").status_code == 409
    newcomer.get("/operator/team")
    assert newcomer.post(f"/operator/team/{rows['owner']}/disable").status_code == 404
    newcomer.get("/operator/team")
    assert newcomer.post(f"/operator/team/{rows['operator']}/disable").status_code == 303
    assert crew.operator.get("/operator/team").status_code == 302


def test_the_people_of_a_suspended_shop_are_out_and_stay_out(runtime: Runtime, app: Flask, crew: Crew) -> None:
    with runtime.transaction(Role.PLATFORM) as session:
        open_link = staff.invite(
            session, name="新人", role=StaffRole.CLERK, merchant_id=crew.merchant_id, now=runtime.now()
        )
        codes.suspend_merchant(session, merchant_id=crew.merchant_id, now=runtime.now())
    assert crew.owner.get("/merchant/").status_code == 302
    assert Browser(app.test_client()).sign_in("owner").status_code == 401
    assert Browser(app.test_client()).get(f"/auth/invitation/{open_link}").status_code == 410
    crew.operator.get("/operator/")
    crew.operator.get("/auth/account")
    assert crew.operator.post(f"/operator/merchants/{crew.merchant_id}/resume").status_code == 303
    # What was open before stays closed; with the password they come back.
    assert crew.owner.get("/merchant/").status_code == 302
    assert Browser(app.test_client()).sign_in("owner").status_code == 303


def test_a_session_that_outlived_the_suspension_is_refused(runtime: Runtime, crew: Crew) -> None:
    """Even where the row is still there, as a restored backup may have it."""
    with runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("UPDATE sub_qr_code SET state = 'retired'"))
        session.execute(text("UPDATE merchant SET state = 'suspended'"))
    assert crew.owner.get("/merchant/").status_code == 302
