"""Codes as the operator makes, shows, retires and adopts them."""

from __future__ import annotations

import io
import re
from datetime import timedelta

import pytest
import zxingcpp
from PIL import Image
from sqlalchemy import select, text, update

from bot.inbox import Inbox
from core.database import Role
from core.models import AuditLog
from core.runtime import Runtime
from merchants.models import Merchant
from qrcodes.models import CodeState, ScenePool, SubQrCode
from tests.community import Neighbourhood, new_openid, scanned, subscribed
from tests.web.conftest import Crew

NEW = {"merchant": "老王豆浆", "label": "收银台", "kind": "counter", "place": "进门左手", "days": ""}


def add(crew: Crew, **changes: str) -> str:
    crew.operator.get("/operator/codes/new")
    answer = crew.operator.post("/operator/codes/new", {**NEW, **changes})
    assert answer.status_code == 303, answer.text
    return str(answer.location)


def make_ready(runtime: Runtime) -> None:
    """What the worker does once the platform has answered."""
    with runtime.transaction(Role.PLATFORM) as session:
        session.execute(
            update(SubQrCode)
            .where(SubQrCode.state == CodeState.PLANNED)
            .values(state=CodeState.ACTIVE, ticket="gQ", url="http://weixin.qq.com/q/abcdef")
        )


def test_a_new_code_shows_itself_as_soon_as_it_is_ready(runtime: Runtime, crew: Crew) -> None:
    path = add(crew)
    waiting = crew.operator.get(path).text
    assert "生成中" in waiting
    assert 'hx-trigger="every' in waiting
    make_ready(runtime)
    part = crew.operator.get(path, headers={"HX-Request": "true"}).text
    assert f'src="{path}.png' in part
    assert "hx-trigger" not in part


def test_the_picture_holds_the_codes_address(runtime: Runtime, crew: Crew) -> None:
    path = add(crew)
    assert crew.operator.get(f"{path}.png").status_code == 404
    make_ready(runtime)
    picture = crew.operator.get(f"{path}.png?size=600&download=1")
    assert "attachment" in picture.headers["Content-Disposition"]
    found = zxingcpp.read_barcodes(Image.open(io.BytesIO(picture.data)))
    assert [one.text for one in found] == ["http://weixin.qq.com/q/abcdef"]
    assert crew.operator.get(f"{path}.svg").mimetype == "image/svg+xml"
    for query in ("size=1", "size=999999", "size=x", "width=5"):
        assert crew.operator.get(f"{path}.png?{query}").status_code == 422


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"merchant": "没有这家"}, "没有这个商户"),
        ({"label": ""}, "请填写这一项"),
        ({"kind": "tattoo"}, "请从列出的选项里选"),
        ({"days": "0"}, "不能小于 1"),
        ({"days": "31"}, "不能大于 30"),
        ({"days": "1.5"}, "请填整数"),
        ({"label": "关注送鸡蛋"}, "不能这样写"),
        ({"scene": "mine"}, "不认识的内容"),
    ],
)
def test_a_code_that_cannot_be_is_explained(crew: Crew, changes: dict[str, str], sentence: str) -> None:
    crew.operator.get("/operator/codes/new")
    answer = crew.operator.post("/operator/codes/new", {**NEW, **changes})
    assert answer.status_code == 422
    assert sentence in answer.text


def test_a_spent_pool_is_explained(runtime: Runtime, crew: Crew) -> None:
    add(crew)
    with runtime.transaction(Role.PLATFORM) as session:
        session.execute(update(ScenePool).values(capacity=1))
    crew.operator.get("/operator/codes/new")
    answer = crew.operator.post("/operator/codes/new", {**NEW, "label": "第二个"})
    assert (answer.status_code, "已经用完" in answer.text) == (422, True)
    assert "已用 1 / 1" in crew.operator.get("/operator/codes").text


def test_why_a_code_is_not_ready_is_said_in_words_and_can_be_tried_again(runtime: Runtime, crew: Crew) -> None:
    path = add(crew)
    with runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("UPDATE outbox SET state = 'dead', attempts = 12, last_error = 'Misconfigured'"))
    for page in (path, "/operator/codes"):
        assert "公众号的设置或权限不对" in crew.operator.get(page).text
    assert crew.operator.post(f"{path}/retry").status_code == 303
    assert "生成中" in crew.operator.get(path).text


def test_retiring_is_for_good(runtime: Runtime, crew: Crew) -> None:
    path = add(crew)
    make_ready(runtime)
    crew.operator.get(path)
    assert crew.operator.post(f"{path}/retire").status_code == 303
    page = crew.operator.get(path).text
    assert "已作废" in page
    assert f"{path}/retire" not in page
    with runtime.transaction(Role.PLATFORM) as session:
        assert "code.retire" in session.scalars(select(AuditLog.action)).all()


def test_a_code_is_renamed_but_not_to_a_name_that_is_taken(crew: Crew) -> None:
    path = add(crew)
    add(crew, label="门口")
    crew.operator.get(path)
    change = {"label": "前台", "kind": "poster", "place": "墙上"}
    assert crew.operator.post(path, change).status_code == 303
    assert "前台" in crew.operator.get(path).text
    refused = crew.operator.post(path, {**change, "label": "门口"})
    assert (refused.status_code, "已经有一个同名" in refused.text) == (422, True)


def test_a_printed_scene_nobody_owns_is_seen_and_adopted(runtime: Runtime, crew: Crew) -> None:
    street = Neighbourhood(runtime)
    inbox, person = Inbox(runtime), new_openid()
    inbox.receive([subscribed(person, street.now - timedelta(hours=2))])
    inbox.receive([scanned(person, street.now - timedelta(hours=1), "old_table_7")])
    page = crew.operator.get("/operator/unmatched").text
    adopt = re.search(r'href="(/operator/codes/adopt\?scene=old_table_7)"', page)
    assert adopt
    assert 'value="old_table_7"' in crew.operator.get(adopt[1]).text
    answer = crew.operator.post("/operator/codes/adopt", {"scene": "old_table_7", "merchant": "老王豆浆", "label": ""})
    assert answer.status_code == 303
    assert "只有印好的图" in crew.operator.get(str(answer.location)).text
    assert (
        crew.operator.post("/operator/codes/adopt", {"scene": "bad scene", "merchant": "老王豆浆"}).status_code == 422
    )


def test_codes_of_one_merchant(runtime: Runtime, crew: Crew) -> None:
    add(crew)
    street = Neighbourhood(runtime)
    street.code(street.merchant("小李花店"), "花架")
    everything = crew.operator.get("/operator/codes").text
    assert "收银台" in everything
    assert "花架" in everything
    mine = crew.operator.get(f"/operator/codes?merchant={crew.merchant_id}").text
    assert "花架" not in mine
    assert "花架" in crew.operator.get("/operator/codes?q=花店").text
    rows = crew.operator.post("/operator/codes/export", {"state": "active"}).data.decode().splitlines()
    assert len(rows) == 2
    assert ",花架,小李花店,柜台," in rows[1]


def test_a_suspended_merchant_gets_no_code(runtime: Runtime, crew: Crew) -> None:
    with runtime.transaction(Role.PLATFORM) as session:
        session.execute(update(Merchant).values(state="suspended"))
    crew.operator.get("/operator/codes/new")
    answer = crew.operator.post("/operator/codes/new", NEW)
    assert (answer.status_code, "已停用" in answer.text) == (422, True)
