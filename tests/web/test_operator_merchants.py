"""Admitting merchants, inviting their people, suspending and readmitting them."""

from __future__ import annotations

import re

import pytest
from flask import Flask
from sqlalchemy import select

from core.database import Role
from core.models import AuditLog
from core.runtime import Runtime
from merchants.models import Community, Merchant, MerchantState
from qrcodes.models import CodeState, SubQrCode
from tests.community import Neighbourhood
from tests.web.conftest import PASSWORD, Browser, Crew

FIVE = {"name": "小李花店", "kind": "花店", "contact_name": "小李", "phone": "138 0000 0001", "community": "梧桐苑"}


def admit(operator: Browser, **changes: str) -> str:
    operator.get("/operator/merchants/new")
    answer = operator.post("/operator/merchants/new", {**FIVE, **changes})
    assert answer.status_code == 303, answer.text
    return str(answer.location)


def actions(runtime: Runtime) -> list[str]:
    with runtime.transaction(Role.PLATFORM) as session:
        return list(session.scalars(select(AuditLog.action).order_by(AuditLog.id)))


def test_five_fields_admit_a_merchant_into_a_new_community(runtime: Runtime, crew: Crew) -> None:
    path = admit(crew.operator)
    page = crew.operator.get(path).text
    for shown in ("小李花店", "梧桐苑", "138 0000 0001", "还没有二维码"):
        assert shown in page
    with runtime.transaction(Role.PLATFORM) as session:
        assert session.scalar(select(Community.id).where(Community.name == "梧桐苑")) is not None
    assert actions(runtime)[-1] == "merchant.add"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"name": ""}, "请填写这一项。"),
        ({"name": "很" * 31}, "最多 30 个字"),
        ({"phone": "12"}, "电话应为"),
        ({"name": "a\u200bb"}, "看不见的特殊字符"),
        ({"state": "suspended"}, "不认识的内容"),
        ({"name": "老王豆浆", "community": "我们的社区"}, "已经有同名的商户"),
    ],
)
def test_a_field_that_is_wrong_is_explained(crew: Crew, changes: dict[str, str], sentence: str) -> None:
    crew.operator.get("/operator/merchants/new")
    answer = crew.operator.post("/operator/merchants/new", {**FIVE, **changes})
    assert answer.status_code == 422
    assert sentence in answer.text
    assert changes.get("contact_name", "小李") in answer.text


def test_names_are_shown_as_they_were_typed_and_never_run(crew: Crew) -> None:
    path = admit(crew.operator, name="<img src=x onerror=1>")
    for page in (path, "/operator/merchants", "/operator/"):
        text = crew.operator.get(page).text
        assert "<img src=x" not in text
        assert "&lt;img src=x" in text


def test_the_list_is_searched_filtered_and_paged_by_key(runtime: Runtime, crew: Crew) -> None:
    street = Neighbourhood(runtime)
    for number in range(60):
        street.merchant(f"店{number:02d}")
    first = crew.operator.get("/operator/merchants").text
    assert "店59" in first
    assert "店05" not in first
    older = re.search(r'rel="next" href="([^"]+)"', first)
    assert older
    assert "店05" in crew.operator.get(older[1]).text
    assert "店07" in crew.operator.get("/operator/merchants?q=店07").text
    assert "没有找到" in crew.operator.get("/operator/merchants?state=suspended").text
    for query in ("before=0", "before=x", f"before={2**63}", "state=gone", "sort=id"):
        assert crew.operator.get(f"/operator/merchants?{query}").status_code == 422


@pytest.mark.parametrize("number", ["0", "-1", "01", "1.0", "1e3", str(2**63), str(2**64), "999999", "x"])
def test_numbers_of_nobody_are_not_found(crew: Crew, number: str) -> None:
    assert crew.operator.get(f"/operator/merchants/{number}").status_code == 404


def test_an_invitation_link_is_shown_once_and_works(app: Flask, crew: Crew) -> None:
    path = f"/operator/merchants/{crew.merchant_id}"
    crew.operator.get(path)
    answer = crew.operator.post(f"{path}/staff", {"staff_name": "王老板", "role": "owner"})
    link = re.search(r'id="invitation">[^<]*?(/auth/invitation/[^<]+)<', answer.text)
    assert link
    assert "/auth/invitation/" not in crew.operator.get(path).text
    owner = Browser(app.test_client())
    assert "王老板" in owner.get(link[1]).text
    assert owner.post(link[1], {"login": "wang", "password": PASSWORD, "again": PASSWORD}).location == "/merchant/"


def test_an_operator_cannot_be_made_from_a_merchants_page(crew: Crew) -> None:
    path = f"/operator/merchants/{crew.merchant_id}"
    crew.operator.get(path)
    assert crew.operator.post(f"{path}/staff", {"staff_name": "x", "role": "operator"}).status_code == 422


def test_a_disabled_person_is_out(runtime: Runtime, crew: Crew) -> None:
    path = f"/operator/merchants/{crew.merchant_id}"
    page = crew.operator.get(path).text
    staff_id = re.findall(r"/staff/(\d+)/disable", page)[0]
    assert crew.operator.post(f"{path}/staff/{staff_id}/disable").status_code == 303
    assert crew.owner.get("/auth/account").status_code == 302
    assert crew.operator.post(f"{path}/staff/{staff_id}/disable").status_code == 404
    assert actions(runtime)[-1] == "staff.disable"


def test_suspending_retires_the_codes_and_resuming_does_not_bring_them_back(runtime: Runtime, crew: Crew) -> None:
    Neighbourhood(runtime).code(crew.merchant_id)
    path = f"/operator/merchants/{crew.merchant_id}"
    assert "1 个二维码会全部作废" in crew.operator.get(path).text
    assert crew.operator.post(f"{path}/suspend").status_code == 303
    assert "这家商户已停用" in crew.operator.get(path).text
    assert crew.operator.post(f"{path}/resume").status_code == 303
    assert crew.operator.post(f"{path}/resume").status_code == 409
    with runtime.transaction(Role.PLATFORM) as session:
        assert session.scalars(select(SubQrCode.state)).all() == [CodeState.RETIRED]
        assert session.scalars(select(Merchant.state)).all() == [MerchantState.ACTIVE]
    assert actions(runtime)[-2:] == ["merchant.suspend", "merchant.resume"]


def test_without_its_token_a_form_does_nothing(crew: Crew) -> None:
    answer = crew.operator.client.post("/operator/merchants/new", data=FIVE)
    assert answer.status_code == 403
    assert "小李花店" not in crew.operator.get("/operator/merchants").text


def test_the_list_as_a_table(crew: Crew) -> None:
    admit(crew.operator)
    crew.operator.get("/operator/merchants")
    rows = crew.operator.post("/operator/merchants/export", {"q": "花店"}).data.decode()
    assert rows.splitlines()[1].split(",")[1:7] == ["小李花店", "花店", "梧桐苑", "小李", "138 0000 0001", "营业中"]
    assert len(rows.splitlines()) == 2
