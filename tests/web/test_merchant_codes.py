"""二维码: adding, showing, printing, naming and retiring codes."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from datetime import timedelta
from urllib.parse import unquote

import pytest
import zxingcpp
from flask import Flask
from PIL import Image
from sqlalchemy import select, update

from core import outbox
from core.database import Role
from core.models import AuditLog, Outbox
from core.runtime import Runtime
from qrcodes import codes
from qrcodes.models import CodeState, SubQrCode
from tests.community import Neighbourhood
from tests.web.conftest import Crew
from tests.web.shops import Shop, open_shop

NEW = {"label": "3 号桌", "kind": "table", "place": "进门左手边"}


@pytest.fixture
def shop(app: Flask, runtime: Runtime, new_staff: Callable[..., int]) -> Shop:
    return open_shop(app, Neighbourhood(runtime), new_staff, "老王豆浆", "wang")


def stored(runtime: Runtime, **which: object) -> list[SubQrCode]:
    with runtime.transaction(Role.PLATFORM) as session:
        return list(session.scalars(select(SubQrCode).filter_by(**which).order_by(SubQrCode.id)))


def make_ready(runtime: Runtime, code: SubQrCode, expires_in: timedelta | None = None) -> None:
    """What a worker does once the platform has answered."""
    expires_at = None if expires_in is None else runtime.now() + expires_in
    with runtime.transaction(Role.PLATFORM) as session:
        codes.record_created(
            session, code_id=code.id, ticket="ticket", url="http://weixin.qq.com/q/02abc", expires_at=expires_at
        )


def test_a_new_code_shows_up_by_itself_when_it_is_ready(shop: Shop) -> None:
    shop.owner.get("/merchant/codes/new")
    added = shop.owner.post("/merchant/codes", NEW)
    assert added.status_code == 303
    (code,) = stored(shop.runtime, label="3 号桌")
    assert added.location == f"/merchant/codes/{code.id}"
    assert (code.kind, code.place, code.permanent, code.state) == ("table", "进门左手边", True, CodeState.PLANNED)
    page = shop.owner.get(added.location)
    assert "生成中" in page.text
    assert "hx-get" in page.text
    with shop.runtime.transaction(Role.PLATFORM) as session:
        assert f"{codes.CREATE}:{code.id}" in list(session.scalars(select(Outbox.dedupe_key)))
        assert "code.add" in list(session.scalars(select(AuditLog.action)))
        assert outbox.due_queues(session) == [outbox.DEFAULT]
    make_ready(shop.runtime, code)
    ask = {"HX-Request": "true", "If-None-Match": page.headers["ETag"]}
    part = shop.owner.get(added.location, headers=ask)
    assert part.status_code == 200
    assert "生成中" not in part.text
    assert f"/merchant/codes/{code.id}/code.png" in part.text


def test_the_same_name_again_is_the_same_code(shop: Shop) -> None:
    shop.owner.get("/merchant/codes/new")
    first, again = (shop.owner.post("/merchant/codes", NEW).location for _ in range(2))
    assert first == again
    assert "已经有一个叫" in shop.owner.get(again).text
    assert len(stored(shop.runtime)) == 2


def test_a_temporary_code_says_how_long_it_lasts(shop: Shop) -> None:
    shop.owner.get("/merchant/codes/new")
    shop.owner.post("/merchant/codes", {**NEW, "life": "temporary", "days": "7"})
    (code,) = stored(shop.runtime, label="3 号桌")
    assert code.lifetime_seconds == 7 * 86_400
    for left, words in (
        (timedelta(days=7), "临时，还剩 6 天"),
        (timedelta(days=2), "还剩 1 天"),
        (timedelta(hours=3), "今天到期"),
    ):
        with shop.runtime.transaction(Role.PLATFORM) as session:
            session.execute(update(SubQrCode).where(SubQrCode.id == code.id).values(state="planned"))
        make_ready(shop.runtime, code, left)
        assert words in shop.owner.get("/merchant/codes").text
    with shop.runtime.transaction(Role.PLATFORM) as session:
        past = {"expires_at": shop.runtime.now() - timedelta(hours=1)}
        session.execute(update(SubQrCode).where(SubQrCode.id == code.id).values(past))
    assert "已过期" in shop.owner.get("/merchant/codes").text
    assert "微信已经不认它了" in shop.owner.get(f"/merchant/codes/{code.id}").text


def test_files_for_printing_say_what_the_code_says(shop: Shop) -> None:
    path = f"/merchant/codes/{shop.code.id}"
    for size in ("600", "1200", "2400"):
        png = shop.owner.get(f"{path}/code.png?size={size}")
        image = Image.open(io.BytesIO(png.data))
        assert image.width <= int(size)
        assert zxingcpp.read_barcode(image.convert("L")).text == f"http://weixin.qq.com/q/{shop.code.scene}"  # type: ignore[union-attr]
        assert unquote(png.headers["Content-Disposition"]).endswith("收银台.png")
    svg = shop.owner.get(f"{path}/code.svg")
    assert svg.mimetype == "image/svg+xml"
    assert svg.text.startswith("<svg")
    assert "打开微信，扫一扫" in shop.owner.get(f"{path}/show").text


def test_a_code_is_renamed_and_the_counts_stay(shop: Shop) -> None:
    shop.welcomes_somebody()
    path = f"/merchant/codes/{shop.code.id}"
    shop.owner.get(path)
    assert shop.owner.post(path, {"label": "外卖窗口", "kind": "counter", "place": "后门"}).status_code == 303
    page = shop.owner.get(path).text
    assert "外卖窗口" in page
    assert "1 次，1 人" in page


def test_retiring_is_for_good(shop: Shop) -> None:
    path = f"/merchant/codes/{shop.code.id}"
    assert "data-confirm" in shop.owner.get(path).text
    assert shop.owner.post(f"{path}/retire").status_code == 303
    assert "还没有二维码" in shop.owner.get("/merchant/codes").text
    assert "收银台" in shop.owner.get("/merchant/codes?state=retired").text
    assert "这个码已停用" in shop.owner.get(path).text
    assert [shop.owner.get(f"{path}/{what}").status_code for what in ("show", "code.png", "code.svg")] == [404] * 3
    with shop.runtime.transaction(Role.PLATFORM) as session:
        assert "code.retire" in list(session.scalars(select(AuditLog.action)))


def test_a_code_printed_before_us_is_shown_without_a_picture(shop: Shop) -> None:
    with shop.runtime.transaction(Role.PLATFORM) as session:
        code = codes.adopt(session, merchant_id=shop.merchant_id, scene="old-1", now=shop.runtime.now(), label="旧招牌")
    page = shop.owner.get(f"/merchant/codes/{code.id}").text
    assert "以前印好的码" in page
    assert "code.png" not in page
    assert shop.owner.get(f"/merchant/codes/{code.id}/show").status_code == 404


def test_codes_are_searched_and_paged_by_key(shop: Shop) -> None:
    with shop.runtime.transaction(Role.PLATFORM) as session:
        for number in range(1, 61):
            wanted = codes.Wanted(f"{number} 号桌", place="大厅" if number % 2 else "包间")
            codes.add(session, merchant_id=shop.merchant_id, wanted=wanted, now=shop.runtime.now())
    assert shop.owner.get("/merchant/codes?q=17").text.count('class="row-title"') == 1
    seen: list[str] = []
    path: str | None = "/merchant/codes"
    while path:
        page = shop.owner.get(path).text
        seen += re.findall(r'<li><a href="/merchant/codes/(\d+)"', page)
        older = re.search(r'rel="next" href="([^"]+)"', page)
        path = older[1].replace("&amp;", "&") if older else None
    assert len(seen) == len(set(seen)) == 61
    assert "没有找到" in shop.owner.get("/merchant/codes?q=屋顶").text


def test_a_clerk_looks_and_changes_nothing(crew: Crew, runtime: Runtime) -> None:
    code = Neighbourhood(runtime).code(crew.merchant_id, "收银台")
    path = f"/merchant/codes/{code.id}"
    for browser in (crew.owner, crew.clerk):
        browser.get(path)
    assert "添加二维码" in crew.owner.get("/merchant/codes").text
    page = crew.clerk.get(path)
    assert page.status_code == 200
    assert "停用这个码" not in page.text
    assert "添加二维码" not in crew.clerk.get("/merchant/codes").text
    crew.clerk.get("/merchant/me")
    assert crew.clerk.get("/merchant/codes/new").status_code == 403
    assert crew.clerk.post("/merchant/codes", NEW).status_code == 403
    assert crew.clerk.post(path, NEW).status_code == 403
    assert crew.clerk.post(f"{path}/retire").status_code == 403
    assert [code.state for code in stored(runtime)] == [CodeState.ACTIVE]


BAD_WISHES: list[dict[str, str]] = [
    {"label": ""},
    {"label": "长" * 31},
    {"label": "收银\n台"},
    {"label": "收银\u202e台"},
    {"label": "关注送豆浆"},
    {"kind": "rocket"},
    {"place": "x" * 31},
    {"life": "temporary", "days": "0"},
    {"life": "temporary", "days": "31"},
    {"life": "temporary", "days": "1.5"},
    {"life": "temporary", "days": ""},
    {"life": "for ever"},
    {"merchant_id": "2"},
    {"state": "active"},
    {"scene": "mine"},
    {"permanent": "true"},
]


def test_bad_wishes_are_refused_and_nothing_typed_is_lost(shop: Shop) -> None:
    shop.owner.get("/merchant/codes/new")
    for changes in BAD_WISHES:
        answer = shop.owner.post("/merchant/codes", {**NEW, **changes})
        assert answer.status_code == 422, changes
        assert 'value="进门左手边"' in answer.text or "place" in changes
    assert len(stored(shop.runtime)) == 1


def test_a_name_is_text_wherever_it_is_shown(shop: Shop) -> None:
    evil = '<img src=x onerror=a()>"'
    shop.welcomes_somebody()
    shop.owner.get("/merchant/codes/new")
    added = shop.owner.post("/merchant/codes", {**NEW, "label": evil})
    assert added.status_code == 303
    (code,) = stored(shop.runtime, label=evil)
    make_ready(shop.runtime, code)
    for path in (added.location, "/merchant/codes", "/merchant/welcome", "/merchant/fans", f"{added.location}/show"):
        page = shop.owner.get(path).text
        assert "<img src=x" not in page, path
        assert "&lt;img src=x" in page, path
    file = shop.owner.get(f"{added.location}/code.png")
    assert '"' not in file.headers["Content-Disposition"].partition("''")[2]


def test_odd_questions_are_refused(shop: Shop) -> None:
    for before in ("0", "-1", "1.0", "1e3", "01", "+1", str(2**63), "abc"):
        assert shop.owner.get("/merchant/codes", query_string={"before": before}).status_code == 422, before
    for query in ("sort=password", "limit=1000000000", "page=-1", "state=active", "q=a&q=b"):
        assert shop.owner.get(f"/merchant/codes?{query}").status_code == 422, query
    for size in ("0", "-1", "1000000", "601", "1e3", "abc"):
        assert shop.owner.get(f"/merchant/codes/{shop.code.id}/code.png?size={size}").status_code == 422, size
