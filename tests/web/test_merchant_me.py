"""我的: the shop's card, its pictures, its clerks."""

from __future__ import annotations

import io
import re
from collections.abc import Callable

import pytest
from flask import Flask
from PIL import Image
from sqlalchemy import func, select, update
from werkzeug.test import TestResponse

from core.database import Role
from core.models import AuditLog, Outbox
from core.runtime import Runtime
from merchants import cards, pictures
from merchants.models import Merchant, Picture, Staff
from qrcodes.models import SubQrCode
from tests.community import Neighbourhood
from tests.web.conftest import PASSWORD, Browser, Crew
from tests.web.shops import Shop, open_shop, photo

CARD = {"intro": "二十年的老味道", "address": "翠园路 18 号", "hours": "每天 5:30–11:00", "picture": ""}


@pytest.fixture
def shop(app: Flask, runtime: Runtime, new_staff: Callable[..., int]) -> Shop:
    return open_shop(app, Neighbourhood(runtime), new_staff, "老王豆浆", "wang")


def upload(browser: Browser, content: bytes, name: str = "门头.jpg", **headers: str) -> TestResponse:
    browser.get("/merchant/me/card")
    data = {"csrf_token": browser.token, "picture": (io.BytesIO(content), name)}
    return browser.client.post("/merchant/pictures", data=data, headers={"Accept": "application/json", **headers})


def merchant(shop: Shop) -> Merchant:
    with shop.runtime.transaction(Role.PLATFORM) as session:
        return session.get_one(Merchant, shop.merchant_id)


def agree(shop: Shop) -> None:
    """The operator lets the public see the card that waits."""
    with shop.runtime.transaction(Role.PLATFORM) as session:
        (waiting,) = cards.waiting_for_review(session)
        cards.approve(session, card_id=waiting.id, operator_id=1, now=shop.runtime.now())


def test_a_card_with_a_picture_is_what_the_public_sees_once_approved(shop: Shop) -> None:
    answer = upload(shop.owner, photo())
    assert answer.status_code == 201
    assert answer.json is not None
    assert shop.owner.post("/merchant/me/card", {**CARD, "picture": answer.json["id"]}).status_code == 303
    assert "等审批" in shop.owner.get("/merchant/me").text
    assert "二十年的老味道" in shop.owner.get("/merchant/me/card").text
    assert "二十年的老味道" not in shop.owner.client.get("/").text
    agree(shop)
    page = shop.owner.get("/merchant/me").text
    for shown in ("二十年的老味道", "翠园路 18 号", "每天 5:30–11:00", answer.json["url"]):
        assert shown in page
    front = shop.owner.client.get("/").text
    assert "二十年的老味道" in front
    assert answer.json["url"] in front
    with shop.runtime.transaction(Role.PLATFORM) as session:
        assert pictures.UPLOAD in list(session.scalars(select(Outbox.kind)))
        assert {"picture.add", "card.edit"} <= set(session.scalars(select(AuditLog.action)))


def test_a_card_that_may_not_be_shown_is_refused_and_stays_typed(shop: Shop) -> None:
    shop.owner.get("/merchant/me/card")
    bad = [
        ({"intro": "关注就送豆浆"}, "微信禁止用好处换关注"),
        ({"intro": "加微信 http://evil.example"}, "只能放本系统和公众号文章的链接"),
        ({"intro": "长" * 501}, "最多 500 个字"),
        ({"address": "长" * 101}, "最多 100 个字"),
        ({"hours": "早\u200b上"}, "看不见的特殊字符"),
        ({"picture": "1.0"}, "格式不对"),
        ({"name": "别人的名字"}, "不认识的内容"),
        ({"state": "active"}, "不认识的内容"),
        ({"id": "2"}, "不认识的内容"),
    ]
    for changes, sentence in bad:
        answer = shop.owner.post("/merchant/me/card", {**CARD, **changes})
        assert answer.status_code == 422, changes
        assert sentence in answer.text, changes
        assert changes.get("hours", "每天 5:30–11:00") in answer.text
    assert merchant(shop).intro == ""


def test_a_phone_for_everybody_is_rung_with_a_tap_once_approved(shop: Shop) -> None:
    """The one the operator was told stays between them."""
    with shop.runtime.transaction(Role.PLATFORM) as session:
        session.execute(update(Merchant).values(phone="13800001234"))
    code = shop.street.code(shop.merchant_id, "门口")
    with shop.runtime.transaction(Role.PLATFORM) as session:
        public_id = session.scalar(select(SubQrCode.public_id).where(SubQrCode.id == code.id))
    pages = (f"/m/shops/{shop.merchant_id}", f"/q/{public_id}")
    shop.owner.get("/merchant/me/card")
    for wrong in ("请加微信", "12345", "0571-8888 6666转2", "1" * 21):
        answer = shop.owner.post("/merchant/me/card", {**CARD, "public_phone": wrong})
        assert answer.status_code == 422, wrong
        assert f'value="{wrong}"' in answer.text
    assert shop.owner.post("/merchant/me/card", {**CARD, "public_phone": "0571-8888 6666"}).status_code == 303
    assert 'value="0571-8888 6666"' in shop.owner.get("/merchant/me/card").text
    assert not any("tel:" in shop.owner.client.get(page).text for page in pages)
    agree(shop)
    for page in pages:
        shown = shop.owner.client.get(page).text
        assert 'href="tel:057188886666"' in shown, page
        assert "0571-8888 6666" in shown
        assert "13800001234" not in shown
    assert "0571-8888 6666" in shop.owner.get("/merchant/me").text
    shop.owner.post("/merchant/me/card", {**CARD, "public_phone": ""})
    agree(shop)
    assert not any("tel:" in shop.owner.client.get(page).text for page in pages)


def test_markup_on_a_card_is_text(shop: Shop) -> None:
    shop.owner.get("/merchant/me/card")
    assert shop.owner.post("/merchant/me/card", {**CARD, "intro": '"><svg/onload=a()>'}).status_code == 303
    agree(shop)
    for page in (
        shop.owner.get("/merchant/me").text,
        shop.owner.get("/merchant/me/card").text,
        shop.owner.client.get("/").text,
    ):
        assert "<svg/onload" not in page
        assert "&lt;svg/onload" in page


def animated() -> bytes:
    content = io.BytesIO()
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "green", "blue")]
    frames[0].save(content, "PNG", save_all=True, append_images=frames[1:])
    return content.getvalue()


def test_what_is_no_picture_is_refused_in_words(shop: Shop) -> None:
    """#90, #91."""
    bad = {
        "html": b"<html><script>a()</script>",
        "php": b"<?php system('id');",
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg" onload="a()"/>',
        "pdf": b"%PDF-1.7",
        "gif": b"GIF89a" + b"\0" * 64,
        "polyglot": b"\x89PNG\r\n\x1a\n<html>",
        "truncated": photo()[:300],
        "animated": animated(),
        "tiny": photo((8, 8)),
        "empty": b"",
    }
    for what, content in bad.items():
        answer = upload(shop.owner, content, f"{what}.png")
        assert answer.status_code == 422, what
        assert answer.json is not None
        assert re.search("[\u4e00-\u9fff]", answer.json["message"]), what
    with shop.runtime.transaction(Role.PLATFORM) as session:
        assert session.scalar(select(func.count()).select_from(Picture)) == 0


def test_the_name_of_a_file_is_of_no_interest(shop: Shop) -> None:
    """#92."""
    for name in ("../../x.py", "x" * 1000, "CON", "😀.jpg", "a\tb;c=d"):
        answer = upload(shop.owner, photo(), name)
        assert answer.status_code == 201, name
        assert answer.json is not None
        assert re.fullmatch(r"/p/[A-Za-z0-9]{12}\.jpg", answer.json["url"])
    # Line breaks end the header that carries the name: there is no file then.
    assert upload(shop.owner, photo(), "a\r\nb").status_code == 422
    with shop.runtime.transaction(Role.PLATFORM) as session:
        assert session.scalar(select(func.count()).select_from(Picture)) == 1


def test_too_large_and_too_often_are_told_apart(shop: Shop) -> None:
    """#93."""
    answer = upload(shop.owner, photo() + b"\0" * (11 * 1024 * 1024))
    assert answer.status_code == 413
    assert answer.json is not None
    assert answer.json["message"] == "文件最多 10 MB，请换一个小一点的。"
    statuses = [upload(shop.owner, photo()).status_code for _ in range(22)]
    assert statuses[0] == 201
    assert statuses[-1] == 429


def test_uploads_need_the_form_token_and_an_owner(crew: Crew) -> None:
    file = {"picture": (io.BytesIO(photo()), "x.jpg")}
    assert crew.owner.client.post("/merchant/pictures", data=file).status_code == 403
    crew.clerk.get("/merchant/me")
    assert upload(crew.clerk, photo()).status_code == 403


def test_an_owner_invites_a_clerk_and_lets_them_go(shop: Shop, app: Flask) -> None:
    shop.owner.get("/merchant/me/staff")
    invited = shop.owner.post("/merchant/me/staff", {"name": "小李"})
    assert invited.status_code == 201
    assert invited.headers["Cache-Control"] == "no-store"
    found = re.search(r'id="invitation">[^<]*(/auth/invitation/[^<]+)<', invited.text)
    assert found
    assert found[1] not in shop.owner.get("/merchant/me/staff").text
    clerk = Browser(app.test_client())
    clerk.get(found[1])
    accepted = clerk.post(found[1], {"login": "xiaoli", "password": PASSWORD, "again": PASSWORD})
    assert accepted.location == "/merchant/"
    assert clerk.get("/merchant/fans").status_code == 200
    with shop.runtime.transaction(Role.PLATFORM) as session:
        clerk_id = session.scalar(select(Staff.id).where(Staff.login == "xiaoli"))
    assert shop.owner.post(f"/merchant/me/staff/{clerk_id}/disable").status_code == 303
    assert "已停用" in shop.owner.get("/merchant/me/staff").text
    assert clerk.get("/merchant/fans").status_code == 302
    with shop.runtime.transaction(Role.PLATFORM) as session:
        assert {"staff.invite", "staff.disable"} <= set(session.scalars(select(AuditLog.action)))


def test_only_clerks_are_let_go(shop: Shop) -> None:
    with shop.runtime.transaction(Role.PLATFORM) as session:
        owner_id = session.scalar(select(Staff.id).where(Staff.login == "wang"))
    shop.owner.get("/merchant/me/staff")
    for who in (owner_id, 0, 999_999):
        assert shop.owner.post(f"/merchant/me/staff/{who}/disable").status_code == 404
    assert shop.owner.get("/merchant/").status_code == 200


def test_nobody_is_invited_as_more_than_a_clerk(shop: Shop) -> None:
    """#67."""
    shop.owner.get("/merchant/me/staff")
    for more in ({"role": "owner"}, {"role": "operator"}, {"merchant_id": "2"}, {"is_operator": "true"}):
        assert shop.owner.post("/merchant/me/staff", {"name": "小李", **more}).status_code == 422
    for name in ("", "长" * 21, "小\n李"):
        assert shop.owner.post("/merchant/me/staff", {"name": name}).status_code == 422
    with shop.runtime.transaction(Role.PLATFORM) as session:
        assert session.scalar(select(func.count()).select_from(Staff)) == 1


def test_a_clerk_finds_their_own_things_only(crew: Crew) -> None:
    page = crew.clerk.get("/merchant/me").text
    assert "/auth/account" in page
    assert "退出登录" in page
    assert "/merchant/me/staff" not in page
    for path in ("/merchant/me/staff", "/merchant/me/card"):
        assert crew.clerk.get(path).status_code == 403
    crew.clerk.get("/merchant/me")
    assert crew.clerk.post("/merchant/me/card", CARD).status_code == 403
    assert crew.clerk.post("/merchant/me/staff", {"name": "小王"}).status_code == 403
