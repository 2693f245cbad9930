"""Public pages: the community's front, one code's page, pictures; no cookie, no secret, nothing to guess."""

from __future__ import annotations

import io
from datetime import timedelta

import pytest
import zxingcpp
from flask import Flask
from flask.testing import FlaskClient
from PIL import Image
from sqlalchemy import select, update

from core.database import Role
from core.runtime import Runtime
from merchants import merchants, pictures
from merchants.models import Merchant, MerchantState
from qrcodes import codes
from qrcodes.codes import new_public_id
from qrcodes.models import CodeKind, SubQrCode
from tests.community import Code, Neighbourhood
from tests.web.shops import photo, without_chance
from web.app import create_app


@pytest.fixture
def street(runtime: Runtime) -> Neighbourhood:
    return Neighbourhood(runtime)


@pytest.fixture
def visitor(app: Flask) -> FlaskClient:
    return app.test_client()


def public_id(runtime: Runtime, code: Code) -> str:
    with runtime.transaction(Role.PLATFORM) as session:
        return session.execute(select(SubQrCode.public_id).where(SubQrCode.id == code.id)).scalar_one()


def change(runtime: Runtime, code: Code, **values: object) -> None:
    with runtime.transaction(Role.PLATFORM) as session:
        session.execute(update(SubQrCode).where(SubQrCode.id == code.id).values(**values))


def describe(runtime: Runtime, merchant_id: int, **values: object) -> None:
    with runtime.transaction(Role.PLATFORM) as session:
        session.execute(update(Merchant).where(Merchant.id == merchant_id).values(**values))


def hang_picture(runtime: Runtime, merchant_id: int) -> str:
    name = new_public_id()
    with runtime.transaction(Role.PLATFORM) as session:
        prepared = pictures.prepare(photo())
        picture_id = pictures.save(session, merchant_id=merchant_id, picture=prepared, public_id=name)
        session.execute(update(Merchant).where(Merchant.id == merchant_id).values(picture_id=picture_id))
    return name


def test_before_anybody_is_here_the_front_page_says_so(visitor: FlaskClient) -> None:
    page = visitor.get("/")
    assert page.status_code == 200
    assert "店家们正在路上" in page.text
    assert "Set-Cookie" not in page.headers


def test_the_front_page_shows_the_merchants_around_here(
    runtime: Runtime, street: Neighbourhood, visitor: FlaskClient
) -> None:
    tea, _flowers, closed = (street.merchant(name) for name in ("茶馆", "花店", "歇业的店"))
    describe(runtime, tea, kind="茶", intro="一壶好茶")
    describe(runtime, closed, state=MerchantState.SUSPENDED)
    picture = hang_picture(runtime, tea)
    counter, online = street.code(tea, "柜台"), street.code(tea, "网上")
    change(runtime, online, kind=CodeKind.ONLINE)
    page = visitor.get("/").text
    assert merchants.DEFAULT_COMMUNITY in page
    for shown in ("茶馆", "一壶好茶", f"/p/{picture}.jpg", f'href="/q/{public_id(runtime, online)}"', "花店"):
        assert shown in page
    assert public_id(runtime, counter) not in page
    assert "歇业的店" not in page
    assert page.count('href="/q/') == 1
    found = visitor.get("/", query_string={"q": "好茶"}).text
    assert "茶馆" in found
    assert "花店" not in found
    assert "没有找到" in visitor.get("/?q=火箭").text
    assert "茶馆" not in visitor.get("/?q=%25").text


def test_several_communities_can_be_chosen(runtime: Runtime, street: Neighbourhood, visitor: FlaskClient) -> None:
    street.merchant("茶馆")
    with runtime.transaction(Role.PLATFORM) as session:
        other = merchants.ensure_community(session, account_id=street.account_id, name="翠园")
        merchants.add(session, account_id=street.account_id, community_id=other, name="面馆", now=street.now)
    first, second = visitor.get("/").text, visitor.get(f"/?community={other}").text
    assert "茶馆" in first
    assert f"/?community={other}" in first
    assert "面馆" not in first
    assert "面馆" in second
    assert visitor.get("/?community=999").status_code == 404


def test_a_long_street_is_walked_page_by_page(runtime: Runtime, street: Neighbourhood, visitor: FlaskClient) -> None:
    for number in range(60):
        street.merchant(f"第 {number} 家")
    first = visitor.get("/").text
    assert first.count('class="door-body"') == 48
    with runtime.transaction(Role.PLATFORM) as session:
        last = session.scalars(select(Merchant.id).order_by(Merchant.id).offset(47).limit(1)).one()
    rest = visitor.get(f"/?community={street.community_id}&after={last}").text
    assert rest.count('class="door-body"') == 12
    assert 'rel="next"' not in rest


def test_odd_questions_are_refused(street: Neighbourhood, visitor: FlaskClient) -> None:
    for query in (
        "community=0",
        "community=1.0",
        "community=01",
        "after=-1",
        "after=x",
        "q=" + "x" * 65,
        "sort=name",
        "q=a&q=b",
    ):
        assert visitor.get(f"/?{query}").status_code == 422, query


def test_a_codes_page_shows_the_shop_and_the_code(
    runtime: Runtime, street: Neighbourhood, visitor: FlaskClient
) -> None:
    shop = street.merchant("茶馆")
    describe(runtime, shop, intro="一壶好茶", hours="9:00–21:00", address="翠园路 18 号", phone="13800000001")
    picture = hang_picture(runtime, shop)
    code = street.code(shop)
    name = public_id(runtime, code)
    page = visitor.get(f"/q/{name}")
    assert page.status_code == 200
    for shown in ("茶馆", "一壶好茶", "9:00–21:00", "翠园路 18 号", f"/p/{picture}.jpg", f"/q/{name}.png", "长按"):
        assert shown in page.text
    assert "13800000001" not in page.text
    assert "Set-Cookie" not in page.headers
    url = f"http://weixin.qq.com/q/{code.scene}"
    assert f"/?scan=http%3A%2F%2Fweixin.qq.com%2Fq%2F{code.scene}" in page.text
    png = visitor.get(f"/q/{name}.png")
    assert png.mimetype == "image/png"
    assert zxingcpp.read_barcode(Image.open(io.BytesIO(png.data)).convert("L")).text == url  # type: ignore[union-attr]


def test_the_sandboxs_phone_may_show_public_pages_and_nobody_else_may(
    street: Neighbourhood, visitor: FlaskClient
) -> None:
    assert "frame-ancestors http://127.0.0.1" in visitor.get("/").headers["Content-Security-Policy"]


def test_with_a_real_account_nothing_leads_to_a_sandbox(runtime: Runtime, street: Neighbourhood) -> None:
    name = public_id(runtime, street.code(street.merchant("茶馆")))
    real = runtime.settings.model_copy(update={"wechat_api_url": "https://api.weixin.qq.com"})
    visitor = create_app(Runtime(real, runtime.database, runtime.clock, runtime.bell, runtime.redis_url)).test_client()
    page = visitor.get(f"/q/{name}", base_url=real.public_url)
    assert page.status_code == 200
    assert "?scan=" not in page.text


def test_a_printed_code_without_a_picture_says_where_to_scan_it(
    runtime: Runtime, street: Neighbourhood, visitor: FlaskClient
) -> None:
    shop = street.merchant("茶馆")
    with runtime.transaction(Role.PLATFORM) as session:
        name = codes.adopt(session, merchant_id=shop, scene="old-1", now=street.now).public_id
    page = visitor.get(f"/q/{name}")
    assert page.status_code == 200
    assert "请到店里扫码" in page.text
    assert visitor.get(f"/q/{name}.png").status_code == 404


def test_what_does_not_work_any_more_is_what_never_was(
    runtime: Runtime, street: Neighbourhood, visitor: FlaskClient
) -> None:
    closed = street.merchant("歇业的店")
    retired, suspended = street.code(street.merchant("茶馆")), street.code(closed)
    florist, noodles = street.merchant("花店"), street.merchant("面馆")
    with runtime.transaction(Role.PLATFORM) as session:
        codes.retire(session, merchant_id=retired.merchant_id, code_id=retired.id, now=street.now)
        codes.suspend_merchant(session, merchant_id=closed, now=street.now)
        wanted = codes.Wanted("传单", days=1)
        expired = codes.add(session, merchant_id=florist, wanted=wanted, now=street.now - timedelta(days=2))
        codes.record_created(
            session,
            code_id=expired.id,
            ticket="ticket",
            url="http://weixin.qq.com/q/02abc",
            expires_at=street.now - timedelta(seconds=1),
        )
        planned = codes.add(session, merchant_id=noodles, wanted=codes.Wanted("前台"), now=street.now)
    names = [public_id(runtime, code) for code in (retired, suspended)] + [expired.public_id, planned.public_id]
    for kind in ("", ".png"):
        pages = [visitor.get(f"/q/{name}{kind}") for name in (*names, "nothing", "' OR 1=1")]
        assert {page.status_code for page in pages} == {404}
        assert len({without_chance(page.text) for page in pages}) == 1


def test_guessing_is_slowed_and_looking_is_not(runtime: Runtime, street: Neighbourhood, visitor: FlaskClient) -> None:
    name = public_id(runtime, street.code(street.merchant("茶馆")))
    assert {visitor.get(f"/q/{name}").status_code for _ in range(40)} == {200}
    statuses = [visitor.get(f"/q/guess{number}").status_code for number in range(32)]
    assert statuses == [404] * 30 + [429] * 2


def test_pictures_are_kept_by_browsers(runtime: Runtime, street: Neighbourhood, visitor: FlaskClient) -> None:
    shop = street.merchant("茶馆")
    name = hang_picture(runtime, shop)
    picture = visitor.get(f"/p/{name}.jpg")
    assert picture.mimetype == "image/jpeg"
    assert picture.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    again = visitor.get(f"/p/{name}.jpg", headers={"If-None-Match": picture.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    assert visitor.get("/p/nothing.jpg").status_code == 404
    describe(runtime, shop, state=MerchantState.SUSPENDED)
    assert visitor.get(f"/p/{name}.jpg").status_code == 404


def test_what_merchants_write_is_text(runtime: Runtime, street: Neighbourhood, visitor: FlaskClient) -> None:
    shop = street.merchant("茶馆")
    describe(runtime, shop, name='<img src=x onerror=a()>"', kind="<b>", intro='"><svg/onload=a()>', address="<i>")
    name = public_id(runtime, street.code(shop))
    for path in ("/", f"/q/{name}"):
        page = visitor.get(path).text
        assert "<img src=x" not in page
        assert "<svg/onload" not in page
        assert "&lt;img src=x onerror=a()&gt;" in page


def test_english_is_offered_everywhere(street: Neighbourhood, visitor: FlaskClient) -> None:
    page = visitor.get("/").text
    assert "/language/en" in page
    assert 'lang="zh-CN"' in page
