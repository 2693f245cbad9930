"""欢迎语: writing, seeing, being approved or refused, taking back."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask import Flask
from sqlalchemy import select

from core.database import Role
from core.models import AuditLog
from core.runtime import Runtime
from merchants import pictures
from merchants.reviews import ReviewState
from qrcodes import welcomes
from qrcodes.codes import new_public_id
from qrcodes.models import Welcome, WelcomeVariant
from qrcodes.welcomes import Draft
from tests.community import Neighbourhood
from tests.web.conftest import Crew
from tests.web.shops import Shop, open_shop, photo

HOME = "/merchant/welcome"
FIRST = f"{HOME}/first/0"


@pytest.fixture
def shop(app: Flask, runtime: Runtime, new_staff: Callable[..., int]) -> Shop:
    return open_shop(app, Neighbourhood(runtime), new_staff, "老王豆浆", "wang")


def versions(runtime: Runtime) -> list[Welcome]:
    with runtime.transaction(Role.PLATFORM) as session:
        return list(session.scalars(select(Welcome).order_by(Welcome.id)))


def review(runtime: Runtime, *, refuse: str = "") -> None:
    """The operator decides about the newest version."""
    newest = versions(runtime)[-1]
    with runtime.transaction(Role.PLATFORM) as session:
        if refuse:
            welcomes.reject(session, welcome_id=newest.id, operator_id=1, reason=refuse, now=runtime.now())
        else:
            welcomes.approve(session, welcome_id=newest.id, operator_id=1, now=runtime.now())


def write(shop: Shop, path: str = FIRST, **fields: str) -> None:
    assert shop.owner.get(path).status_code == 200
    answer = shop.owner.post(path, {"kind": "text", **fields})
    assert answer.status_code == 303, answer.text


def test_words_wait_for_the_operator_and_then_speak(shop: Shop) -> None:
    page = shop.owner.get(HOME).text
    assert "您好，欢迎光临老王豆浆！" in page
    assert "现在说的是默认的话" in page
    write(shop, text="{商户}的豆浆刚磨好，欢迎到{位置|本店}")
    (waiting,) = versions(shop.runtime)
    assert (waiting.review, waiting.text) == (ReviewState.PENDING, "{商户}的豆浆刚磨好，欢迎到{位置|本店}")
    page = shop.owner.get(HOME).text
    assert "等待审批" in page
    assert "老王豆浆的豆浆刚磨好，欢迎到本店" in page
    assert "现在说的是默认的话" in page
    review(shop.runtime)
    page = shop.owner.get(HOME).text
    assert "生效中" in page
    assert "等待审批" not in page
    assert "老王豆浆的豆浆刚磨好，欢迎到本店" in page


def test_a_refusal_is_shown_with_its_reason_and_the_words_to_mend(shop: Shop) -> None:
    write(shop, text="快来快来")
    review(shop.runtime, refuse="请写上店名")
    page = shop.owner.get(HOME).text
    assert "未通过" in page
    assert "原因：请写上店名" in page
    form = shop.owner.get(FIRST).text
    assert "上次没有通过：请写上店名" in form
    assert "快来快来</textarea>" in form


def test_a_second_message_follows_a_first_one(shop: Shop) -> None:
    assert "随后第二条" not in shop.owner.get(HOME).text
    write(shop, text="欢迎")
    assert "随后第二条" in shop.owner.get(HOME).text
    write(shop, f"{HOME}/first/1", kind="news", title="{商户}的菜单", description="每天都有")
    assert [one.position for one in versions(shop.runtime)] == [0, 1]
    assert "老王豆浆的菜单" in shop.owner.get(HOME).text


def test_a_code_has_words_of_its_own_and_falls_back_to_the_shops(shop: Shop) -> None:
    write(shop, text="全店的话")
    review(shop.runtime)
    home = f"{HOME}/codes/{shop.code.id}"
    assert "全店的话" in shop.owner.get(home).text
    write(shop, f"{home}/first/0", text="只在{码}说")
    review(shop.runtime)
    page = shop.owner.get(home).text
    assert "只在收银台说" in page
    assert "全店的话" not in page
    assert "只在收银台说" not in shop.owner.get(HOME).text


def test_the_operators_words_are_what_everybody_falls_back_to(shop: Shop) -> None:
    with shop.runtime.transaction(Role.PLATFORM) as session:
        welcomes.save(
            session,
            merchant_id=None,
            code_id=None,
            variant=WelcomeVariant.FIRST,
            position=0,
            draft=Draft(text="翠园社区欢迎您到{商户}"),
            hosts=frozenset(),
            now=shop.runtime.now(),
            operator_id=1,
        )
    assert "翠园社区欢迎您到老王豆浆" in shop.owner.get(HOME).text


def test_taking_back_lets_the_default_speak(shop: Shop) -> None:
    write(shop, text="先说这个")
    review(shop.runtime)
    assert "先说这个" in shop.owner.get(HOME).text
    assert shop.owner.post(f"{FIRST}/withdraw").status_code == 303
    page = shop.owner.get(HOME).text
    assert "先说这个" not in page
    assert "现在说的是默认的话" in page
    with shop.runtime.transaction(Role.PLATFORM) as session:
        assert list(session.scalars(select(AuditLog.action)))[-2:] == ["welcome.save", "welcome.withdraw"]


def test_a_picture_of_ones_own_is_sent(shop: Shop) -> None:
    with shop.runtime.transaction(Role.PLATFORM) as session:
        picture = pictures.prepare(photo())
        picture_id = pictures.save(session, merchant_id=shop.merchant_id, picture=picture, public_id=new_public_id())
    write(shop, kind="image", picture=str(picture_id))
    assert versions(shop.runtime)[-1].picture_id == picture_id
    assert "/p/" in shop.owner.get(HOME).text


# What is refused, and at which field it is said why.
REFUSED: list[tuple[dict[str, str], str]] = [
    ({"text": ""}, "请填写文字"),
    ({"text": "关注送豆浆一杯"}, "微信禁止用好处换关注"),
    ({"text": "转发朋友圈领红包"}, "微信禁止用好处换转发"),
    ({"text": "详情看 http://evil.example/phish"}, "只能放本系统和公众号文章的链接"),
    ({"text": '<a href="javascript:alert(1)">点我</a>'}, "只能放本系统和公众号文章的链接"),
    ({"text": "你好{名字}"}, "没有“{名字}”这个占位"),
    ({"text": "豆" * 700}, "文字太长"),
    ({"text": "x" * 2001}, "最多 2000 个字"),
    ({"kind": "news", "title": ""}, "请填写标题"),
    ({"kind": "news", "title": "好", "url": "javascript:alert(1)"}, "链接只能指向本系统或公众号文章"),
    ({"kind": "news", "title": "好", "url": "data:text/html,hi"}, "链接只能指向本系统或公众号文章"),
    (
        {"kind": "news", "title": "好", "url": "https://mp.weixin.qq.com.evil.example/s"},
        "链接只能指向本系统或公众号文章",
    ),
    ({"kind": "news", "title": "好", "url": "http://127.0.0.1:6379/"}, "链接只能指向本系统或公众号文章"),
    ({"kind": "image"}, "请选择图片"),
    ({"kind": "video", "text": "好"}, "请从列出的选项里选"),
    ({"text": "好", "picture": "1.0"}, "格式不对"),
    ({"text": "好", "review": "approved"}, "不认识的内容"),
    ({"text": "好", "merchant_id": "1"}, "不认识的内容"),
    ({"text": "好", "reviewed_by": "1"}, "不认识的内容"),
]


def test_what_may_not_be_said_is_explained_and_nothing_typed_is_lost(shop: Shop) -> None:
    shop.owner.get(FIRST)
    for changes, sentence in REFUSED:
        answer = shop.owner.post(FIRST, {"kind": "text", "description": "打好的字", **changes})
        assert answer.status_code == 422, changes
        assert sentence in answer.text, changes
        assert "打好的字" in answer.text
        shown = answer.text.replace("&#34;", '"').replace("&lt;", "<").replace("&gt;", ">")
        assert changes.get("text", "") in shown
        assert 'javascript:alert(1)">' not in answer.text.replace("&#34;", "&quot;")
    assert versions(shop.runtime) == []


def test_every_finding_is_told_at_once(shop: Shop) -> None:
    shop.owner.get(FIRST)
    answer = shop.owner.post(FIRST, {"kind": "text", "text": "关注送豆浆。转发领红包。看 http://evil.example"})
    assert answer.status_code == 422
    for advice in ("微信禁止用好处换关注", "微信禁止用好处换转发", "只能放本系统和公众号文章的链接"):
        assert advice in answer.text


def test_markup_is_text(shop: Shop) -> None:
    write(shop, text='豆浆<img src=x onerror=a()>"')
    for path in (HOME, FIRST):
        page = shop.owner.get(path).text
        assert "<img src=x" not in page
        assert "&lt;img src=x onerror=a()&gt;" in page


def test_odd_places_do_not_exist(shop: Shop) -> None:
    for place in (
        "first/3",
        "first/-1",
        "first/00",
        "second/0",
        "first/1.0",
        "codes/01/first/0",
        f"codes/{2**63}/first/0",
    ):
        assert shop.owner.get(f"{HOME}/{place}").status_code == 404, place
        assert shop.owner.post(f"{HOME}/{place}", {"kind": "text", "text": "好"}).status_code == 404, place
    assert versions(shop.runtime) == []


def test_a_clerk_reads_and_writes_nothing(crew: Crew, runtime: Runtime) -> None:
    page = crew.clerk.get(HOME)
    assert page.status_code == 200
    assert "写一条" not in page.text
    crew.clerk.get("/merchant/me")
    assert crew.clerk.get(FIRST).status_code == 403
    assert crew.clerk.post(FIRST, {"kind": "text", "text": "好"}).status_code == 403
    assert crew.clerk.post(f"{FIRST}/withdraw").status_code == 403
    assert versions(runtime) == []
