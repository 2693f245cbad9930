"""群发: composing on the phone, whom it reaches, trying it out, handing it in, and what is refused on the way."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import select, text

from campaigns import audience
from campaigns.broadcasts import content, previews
from campaigns.broadcasts.models import Broadcast, BroadcastTemplate
from core.clock import SHANGHAI
from core.database import Role
from core.models import AuditLog, Outbox
from core.runtime import Runtime
from merchants import identities, pictures
from merchants.models import Staff
from qrcodes.codes import new_public_id
from qrcodes.fans import Filter
from tests.community import Neighbourhood
from tests.web.conftest import Crew
from tests.web.shops import Shop, open_shop, photo

HOME = "/merchant/broadcasts"
PLAIN = {"kind": "text", "text": "{商户}的豆浆刚磨好"}


@pytest.fixture
def shop(app: Flask, runtime: Runtime, new_staff: Callable[..., int]) -> Shop:
    """With four fans."""
    opened = open_shop(app, Neighbourhood(runtime), new_staff, "老王豆浆", "wang")
    for days in (1, 3, 10, 40):
        opened.welcomes_somebody(ago=timedelta(days=days))
    return opened


def begin(shop: Shop, **fields: str) -> int:
    shop.owner.get(HOME)
    answer = shop.owner.post(HOME, fields)
    assert answer.status_code == 303, answer.text
    found = re.fullmatch(rf"{HOME}/(\d+)/edit", answer.location)
    assert found
    return int(found[1])


def write(shop: Shop, **fields: str) -> str:
    """A saved draft; returns its page."""
    path = f"{HOME}/{begin(shop)}"
    assert shop.owner.get(f"{path}/edit").status_code == 200
    answer = shop.owner.post(f"{path}/edit", PLAIN | fields)
    assert answer.status_code == 303, answer.text
    assert answer.location == path
    return path


def newest(runtime: Runtime) -> Broadcast:
    with runtime.transaction(Role.PLATFORM) as session:
        return session.scalars(select(Broadcast).order_by(Broadcast.id.desc())).first() or Broadcast()


def test_from_nothing_to_the_operator(shop: Shop) -> None:
    assert "还没有群发过" in shop.owner.get(HOME).text
    path = write(shop, name="豆浆")
    page = shop.owner.get(path).text
    assert "老王豆浆的豆浆刚磨好" in page
    assert "能到 4 人" in page
    assert "共 4 人" in page
    assert f'{path}/people?which=mass">4</a>' in page
    assert "公众号当天的群发次数 1 次" in page
    answer = shop.owner.post(f"{path}/submit")
    assert (answer.status_code, answer.location) == (303, path)
    page = shop.owner.get(path).text
    assert "等运营审批" in page
    assert "通过之前不会发给任何人" in page
    assert "豆浆" in shop.owner.get(HOME).text
    assert newest(shop.runtime).state == "submitted"
    with shop.runtime.transaction(Role.PLATFORM) as session:
        assert "broadcast.submit" in list(session.scalars(select(AuditLog.action)))


def test_every_number_opens_its_list(shop: Shop) -> None:
    muted = shop.numbers()[0]
    with shop.runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("UPDATE fan SET muted_at = app_now() WHERE number = :n"), {"n": muted})
    path = write(shop)
    page = shop.owner.get(path).text
    assert "送不到 1 人" in page
    assert f'{path}/people?which=muted">1</a>' in page
    assert muted in shop.owner.get(f"{path}/people?which=muted").text
    reached = shop.owner.get(f"{path}/people?which=mass").text
    assert muted not in reached
    assert sum(number in reached for number in shop.numbers()) == 3
    assert shop.owner.get(f"{path}/people?which=left").status_code == 200
    for odd in ("which=password", "which=mass&after=1", "which=mass&after=ZZZZZZZZZZ", "which=mass&limit=9"):
        assert shop.owner.get(f"{path}/people?{odd}").status_code == 422, odd


def test_the_composer_counts_its_audience(shop: Shop) -> None:
    with shop.runtime.transaction(Role.MERCHANT, merchant_id=shop.merchant_id) as session:
        group = audience.save(session, merchant_id=shop.merchant_id, name="近来", wanted=Filter(seen_within_days=7))
    counted = f"{HOME}/audience"
    assert "现在是 4 人" in shop.owner.get(counted).text
    assert "现在是 2 人" in shop.owner.get(f"{counted}?audience=group&group={group}").text
    assert "现在是 1 人" in shop.owner.get(f"{counted}?audience=conditions&away=30").text
    assert shop.numbers()[0][:5] in shop.owner.get(counted).text
    path = write(shop, audience="group", group=str(group))
    page = shop.owner.get(path).text
    assert "近来" in page
    assert "共 2 人" in page
    assert 'value="group" checked' in shop.owner.get(f"{path}/edit").text
    path = write(shop, audience="conditions", away="30", code=str(shop.code.id))
    assert "30 天没来" in shop.owner.get(path).text
    assert newest(shop.runtime).wanted == {"away_for_days": 30, "code_id": shop.code.id}


REFUSED: list[tuple[dict[str, str], int]] = [
    ({"text": "豆" * 700}, 422),
    ({"text": "{名字}"}, 422),
    ({"text": "{上次来}"}, 422),
    ({"kind": "video"}, 422),
    ({"name": "名" * 31}, 422),
    ({"when": "later", "scheduled_at": "2020-01-01T10:00"}, 422),
    ({"when": "later", "scheduled_at": "2999-01-01T10:00"}, 422),
    ({"when": "later", "scheduled_at": "2026-02-31T10:00"}, 422),
    ({"when": "later", "scheduled_at": ""}, 422),
    ({"hello_days": "15"}, 422),
    ({"hello_days": "1.0"}, 422),
    ({"held_out_percent": "99"}, 422),
    ({"audience": "conditions", "away": "30; DROP TABLE fan"}, 422),
    ({"audience": "conditions", "tag": "x' UNION SELECT openid FROM follower --"}, 422),
    ({"audience": "conditions", "code": "01"}, 422),
    ({"audience": "everybody"}, 422),
    ({"state": "approved"}, 422),
    ({"merchant_id": "1"}, 422),
    ({"kind": "article", "title": "题" * 33, "body": "正文"}, 422),
    ({"kind": "picture", "picture": "999999999"}, 404),
    ({"audience": "conditions", "code": "999999999"}, 404),
    ({"audience": "group", "group": "999999999"}, 404),
]


def test_what_is_refused_changes_nothing(shop: Shop) -> None:
    """#82, #83, #67."""
    path = write(shop)
    for fields, status in REFUSED:
        shop.owner.get(f"{path}/edit")
        answer = shop.owner.post(f"{path}/edit", PLAIN | {"text_b": "打好的字"} | fields)
        assert answer.status_code == status, fields
        assert status != 422 or "打好的字" in answer.text, fields
        assert "老王豆浆的豆浆刚磨好" in shop.owner.get(path).text
    many = "&".join(["tag=x"] * 5_000)
    assert shop.owner.get(f"{HOME}/audience?{many}").status_code == 422


def test_the_linter_stops_it_and_says_why(shop: Shop) -> None:
    path = write(shop, text="关注送豆浆")
    page = shop.owner.get(path).text
    assert "微信禁止用好处换关注" in page
    answer = shop.owner.post(f"{path}/submit")
    assert answer.status_code == 422
    assert "有些话不能这样说" in answer.text
    assert "微信禁止用好处换关注" in answer.text
    assert newest(shop.runtime).state == "draft"


def test_nobody_or_only_one_to_reach(shop: Shop) -> None:
    path = write(shop, audience="conditions", away="180")
    answer = shop.owner.post(f"{path}/submit")
    assert answer.status_code == 422
    assert "一个人也送不到" in answer.text
    path = write(shop, audience="conditions", away="30", hello_days="0")
    answer = shop.owner.post(f"{path}/submit")
    assert answer.status_code == 422
    assert "群发至少要两个人" in answer.text


def test_what_was_handed_in_is_not_edited(shop: Shop) -> None:
    """#82."""
    path = write(shop)
    assert shop.owner.post(f"{path}/submit").status_code == 303
    assert shop.owner.post(f"{path}/edit", PLAIN | {"text": "别的话"}).status_code == 409
    shop.owner.get(path)
    assert shop.owner.post(f"{path}/submit").status_code == 409
    shop.owner.get(path)
    assert shop.owner.post(f"{path}/withdraw").status_code == 303
    assert shop.owner.post(f"{path}/edit", PLAIN | {"text": "别的话"}).status_code == 303
    assert "别的话" in shop.owner.get(path).text
    assert shop.owner.post(f"{path}/discard").status_code == 303
    assert "已取消" in shop.owner.get(path).text
    assert begin(shop)
    assert shop.owner.post(f"{HOME}/{newest(shop.runtime).id}/discard").status_code == 303
    assert "还没写" not in shop.owner.get(HOME).text


def test_a_time_is_shanghais(shop: Shop) -> None:
    at = (shop.runtime.now() + timedelta(days=2)).astimezone(SHANGHAI).replace(second=0, microsecond=0)
    path = write(shop, when="later", scheduled_at=f"{at:%Y-%m-%dT%H:%M}")
    assert newest(shop.runtime).scheduled_at == at
    assert f'value="{at:%Y-%m-%dT%H:%M}"' in shop.owner.get(f"{path}/edit").text
    write(shop, when="now", scheduled_at=f"{at:%Y-%m-%dT%H:%M}")
    assert newest(shop.runtime).scheduled_at is None


def test_an_article_with_its_cover(shop: Shop) -> None:
    with shop.runtime.transaction(Role.PLATFORM) as session:
        prepared = pictures.prepare(photo())
        picture = pictures.save(session, merchant_id=shop.merchant_id, picture=prepared, public_id=new_public_id())
    path = write(
        shop, kind="article", title="{商户}十周年", summary="来坐坐", picture=str(picture), way="item",
        body="第一段<script>alert(1)</script>\n\n看 https://mp.weixin.qq.com/s/x",
    )  # fmt: skip
    page = shop.owner.get(path).text
    assert "老王豆浆十周年" in page
    assert "/p/" in page
    assert "<script>alert(1)" not in page
    assert "随下一期合集" in page
    assert newest(shop.runtime).kind == "item"
    assert shop.owner.post(f"{path}/submit").status_code == 303


def test_two_texts_and_no_hold_out_for_few(shop: Shop) -> None:
    path = write(shop, text_b="豆浆，趁热")
    page = shop.owner.get(path).text
    assert "说法 A" in page
    assert "说法 B" in page
    assert "留出一部分人不发" not in shop.owner.get(f"{path}/edit").text


def test_templates(shop: Shop) -> None:
    path = write(shop)
    assert shop.owner.post(f"{path}/template", {"name": "豆浆"}).status_code == 303
    with shop.runtime.transaction(Role.PLATFORM) as session:
        (template,) = session.scalars(select(BroadcastTemplate)).all()
    new_id = begin(shop, template=str(template.id))
    assert "的豆浆刚磨好" in shop.owner.get(f"{HOME}/{new_id}/edit").text
    built_in = begin(shop, built_in="hours")
    assert "营业时间有变" in shop.owner.get(f"{HOME}/{built_in}/edit").text
    shop.owner.get(HOME)
    assert shop.owner.post(f"{HOME}/templates/{template.id}/remove").status_code == 303
    assert shop.owner.post(f"{HOME}/templates/{template.id}/remove").status_code == 404
    shop.owner.get(HOME)
    assert shop.owner.post(HOME, {"template": str(template.id)}).status_code == 404


def test_searching_and_paging(shop: Shop) -> None:
    first = write(shop, text="卖豆花")
    write(shop, name="第二条")
    page = shop.owner.get(f"{HOME}?q=豆花").text
    assert first in page
    assert "第二条" not in page
    assert "没有符合条件的群发" in shop.owner.get(f"{HOME}?state=done").text
    assert "没有符合条件的群发" in shop.owner.get(f"{HOME}?before=1").text
    for odd in ("state=all", "sort=password", "before=-1", "q=a&q=b"):
        assert shop.owner.get(f"{HOME}?{odd}").status_code == 422, odd


def test_copying(shop: Shop) -> None:
    path = write(shop, name="旧的", audience="conditions", seen="30")
    answer = shop.owner.post(f"{path}/copy")
    assert answer.status_code == 303
    assert "的豆浆刚磨好" in shop.owner.get(answer.location).text
    assert newest(shop.runtime).wanted == {"seen_within_days": 30}


def bind_owner(shop: Shop) -> tuple[int, str]:
    """The owner is one of the fans; returns the staff id and the openid."""
    with shop.runtime.transaction(Role.PLATFORM) as session:
        member = session.scalars(select(Staff).where(Staff.merchant_id == shop.merchant_id)).one()
        found = session.execute(text("SELECT id, openid FROM follower ORDER BY id")).first()
        assert found is not None
        identities.bind(session, member, follower_id=found[0], now=shop.runtime.now())
        return member.id, found[1]


def test_a_test_goes_to_ones_own_bound_people_only(shop: Shop, app: Flask, new_staff: Callable[..., int]) -> None:
    path = write(shop)
    assert "去绑定微信" in shop.owner.get(path).text
    staff_id, _openid = bind_owner(shop)
    other = open_shop(app, shop.street, new_staff, "面馆", "noodles")
    with shop.runtime.transaction(Role.PLATFORM) as session:
        stranger = session.scalars(select(Staff).where(Staff.merchant_id == other.merchant_id)).one()
        identities.bind(session, stranger, follower_id=_first_follower(session), now=shop.runtime.now())
    shop.owner.get(path)
    assert shop.owner.post(f"{path}/test", {"staff": str(stranger.id)}).status_code == 404
    shop.owner.get(path)
    assert shop.owner.post(f"{path}/test", {"staff": str(staff_id)}).status_code == 303
    with shop.runtime.transaction(Role.PLATFORM) as session:
        owed = session.scalars(select(Outbox).where(Outbox.kind == previews.SEND)).all()
    assert [one.payload["staff_id"] for one in owed] == [staff_id]
    for _ in range(previews.MOST_A_DAY - 1):
        shop.owner.get(path)
        shop.owner.post(f"{path}/test", {"staff": str(staff_id)})
    shop.owner.get(path)
    assert shop.owner.post(f"{path}/test", {"staff": str(staff_id)}).status_code == 429


def _first_follower(session: object) -> int:
    return int(session.execute(text("SELECT min(id) FROM follower")).scalar_one())  # type: ignore[attr-defined]


def test_words_the_linter_refuses_are_not_even_tried_out(shop: Shop) -> None:
    path = write(shop, text="转发领红包")
    staff_id, _openid = bind_owner(shop)
    shop.owner.get(path)
    assert shop.owner.post(f"{path}/test", {"staff": str(staff_id)}).status_code == 422


def test_a_clerk_looks_and_does_nothing(crew: Crew, runtime: Runtime) -> None:
    crew.owner.get(HOME)
    answer = crew.owner.post(HOME)
    path = answer.location.removesuffix("/edit")
    page = crew.clerk.get(path)
    assert page.status_code == 200
    assert "提交审批" not in page.text
    crew.clerk.get("/merchant/me")
    assert crew.clerk.get(f"{path}/edit").status_code == 403
    for act in ("edit", "submit", "withdraw", "discard", "copy", "test", "template"):
        assert crew.clerk.post(f"{path}/{act}", PLAIN).status_code == 403, act
    with runtime.transaction(Role.PLATFORM) as session:
        assert content.load(session, int(path.rpartition("/")[2]))["a"].text == ""
