"""便民电话 and 公告 as the operator keeps them."""

from __future__ import annotations

import io
import re
from datetime import timedelta
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import text

from community.directory import finding
from core.database import Role
from core.runtime import Runtime
from tests.conftest import advance
from tests.web.conftest import Browser, Crew

DIRECTORY, NOTICES = "/operator/directory", "/operator/notices"


def rows(runtime: Runtime, query: str) -> list[tuple[Any, ...]]:
    with runtime.transaction(Role.PLATFORM) as session:
        return [tuple(row) for row in session.execute(text(query))]


def send(browser: Browser, path: str, **fields: object) -> Any:
    browser.get(DIRECTORY)
    answer = browser.post(path, {name: str(value) for name, value in fields.items()})
    assert answer.status_code == 303, answer.text[:2000]
    return browser.get(answer.location)


def category(crew: Crew, runtime: Runtime, name: str = "锁匠", aliases: str = "开锁 换锁") -> int:
    send(crew.operator, f"{DIRECTORY}/categories", name=name, aliases=aliases)
    return int(rows(runtime, "SELECT max(id) FROM directory_category")[0][0])


def upload(browser: Browser, path: str, content: str | bytes, **fields: str) -> Any:
    browser.get(DIRECTORY)
    data = content.encode() if isinstance(content, str) else content
    name = "file" if path == f"{DIRECTORY}/import" else "picture"
    file = (io.BytesIO(data), "电话.csv")
    return browser.client.post(path, data={"csrf_token": browser.token, name: file, **fields})


def test_a_directory_is_begun_ordered_and_corrected(crew: Crew, runtime: Runtime) -> None:
    page = send(crew.operator, f"{DIRECTORY}/categories/usual")
    assert "放好了 10 个分类" in page.text
    locks, plumbers = (row[0] for row in rows(runtime, "SELECT id FROM directory_category ORDER BY position LIMIT 2"))
    send(crew.operator, f"{DIRECTORY}/categories/{plumbers}/move/up")
    assert rows(runtime, "SELECT name FROM directory_category ORDER BY position LIMIT 2") == [("水电维修",), ("锁匠",)]
    for name in ("老张", "老李"):
        send(crew.operator, f"{DIRECTORY}/new", category=locks, name=name, phone="0551-65550000 转 8", what="换锁芯")
    page = crew.operator.get(f"{DIRECTORY}?category={locks}").text
    assert "0551-65550000-8" in page
    assert 'href="tel:055165550000,8"' in page
    zhang, li = (row[0] for row in rows(runtime, "SELECT id FROM directory_entry ORDER BY id"))
    send(crew.operator, f"{DIRECTORY}/{li}/move/up")
    send(crew.operator, f"{DIRECTORY}/{zhang}/off")
    send(crew.operator, f"{DIRECTORY}/{li}", category=locks, name="小李", phone="110", merchant="老王豆浆")
    found = "SELECT name, phone, is_on, merchant_id FROM directory_entry ORDER BY position"
    assert rows(runtime, found) == [("小李", "110", True, crew.merchant_id), ("老张", "055165550000-8", False, None)]
    moved = [
        row[0] for row in rows(runtime, "SELECT subject FROM audit_log WHERE action = 'directory.move' ORDER BY id")
    ]
    assert moved == [f"directory_category:{plumbers}", f"directory_entry:{li}"]
    send(crew.operator, f"{DIRECTORY}/{zhang}/remove")
    send(crew.operator, f"{DIRECTORY}/{li}/remove")
    send(crew.operator, f"{DIRECTORY}/categories/{locks}/remove")
    assert rows(runtime, "SELECT count(*) FROM directory_category") == [(9,)]


def test_a_category_with_numbers_in_it_stays(crew: Crew, runtime: Runtime) -> None:
    locks = category(crew, runtime)
    send(crew.operator, f"{DIRECTORY}/new", category=locks, name="老张", phone="110")
    refused = crew.operator.post(f"{DIRECTORY}/categories/{locks}/remove")
    assert refused.status_code == 409
    assert "里还有电话" in refused.text


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"phone": "微信联系"}, "拨不通"),
        ({"paid_from": "2026-12-01"}, "开始和结束"),
        ({"paid_from": "2026-12-09", "paid_until": "2026-12-01"}, "结束日期"),
        ({"paid_from": "2026-12-01", "paid_until": "9999-12-31"}, "日期看不懂"),
        ({"paid_from": "0001-01-01", "paid_until": "2026-12-01"}, "日期看不懂"),
        ({"merchant": "没有的店"}, "没有这家商户"),
        ({"communities": "999999"}, "没有这个社区"),
        ({"communities": "9" * 5000}, "没有保存"),
        ({"name": "关注送红包"}, "诱导关注"),
    ],
)
def test_what_is_wrong_is_said_at_its_field(crew: Crew, runtime: Runtime, fields: dict[str, str], says: str) -> None:
    locks = category(crew, runtime)
    refused = crew.operator.post(f"{DIRECTORY}/new", {"category": str(locks), "name": "老张", "phone": "110", **fields})
    assert refused.status_code == 422
    assert says in refused.text
    assert rows(runtime, "SELECT * FROM directory_entry") == []


def test_a_paid_position_ends_with_its_last_day(crew: Crew, runtime: Runtime) -> None:
    locks = category(crew, runtime)
    today = f"{runtime.now() + timedelta(hours=8):%Y-%m-%d}"
    entry = {"category": locks, "name": "老张", "phone": "110"}
    page = send(crew.operator, f"{DIRECTORY}/new", **entry, paid_from=today, paid_until=today)
    assert f"推广到 {today}" in page.text
    advance(runtime, timedelta(days=1))
    crew.operator.sign_in("operator")
    assert f"推广已结束（{today}）" in crew.operator.get(DIRECTORY).text
    with runtime.transaction(Role.PLATFORM) as session:
        (found,) = finding.find(session, words="开锁", community_id=None, now=runtime.now(), limit=5)
    assert found.title == "老张"


TABLE = """分类,名称,电话,做什么,时间,地址,服务社区,推广从,推广到,状态
锁匠,老张开锁,138 0013 8000,换锁芯,全天,,我们的社区,2026-12-01,2026-12-31,
家政,小美保洁,0551-65550000,擦玻璃,,,,,,停用
"""


def test_a_table_is_taken_exported_and_taken_again(crew: Crew, runtime: Runtime) -> None:
    category(crew, runtime)
    answer = upload(crew.operator, f"{DIRECTORY}/import", TABLE)
    assert answer.status_code == 303
    assert "新增 2 条，更新 0 条，新建分类 1 个" in crew.operator.get(answer.location).text
    exported = crew.operator.post(f"{DIRECTORY}/export")
    assert [line.split(",")[:3] for line in exported.text.removeprefix("\ufeff").splitlines()][1:] == [
        ["锁匠", "老张开锁", "13800138000"], ["家政", "小美保洁", "0551-65550000"],
    ]  # fmt: skip
    assert upload(crew.operator, f"{DIRECTORY}/import", exported.data).status_code == 303
    assert "新增 0 条，更新 2 条" in crew.operator.get(DIRECTORY).text
    assert rows(runtime, "SELECT name, is_on, paid_until FROM directory_entry ORDER BY id")[1] == (
        "小美保洁", False, None,
    )  # fmt: skip


def test_a_table_with_a_fault_changes_nothing_and_says_which_line(crew: Crew, runtime: Runtime) -> None:
    category(crew, runtime)
    answer = upload(
        crew.operator,
        f"{DIRECTORY}/import",
        "分类,名称,电话,服务社区,推广从\n锁匠,老张,110,,\n锁匠,老李,打不通,,\n锁匠,老王,119,火星,\n锁匠,老赵,120,,明天\n锁匠,老张,110,,\n",
    )
    assert answer.status_code == 422
    faults = re.findall(r'<td class="num">(\d+)</td>', answer.text)
    assert faults == ["3", "4", "5", "6"]
    for words in ("打不通", "“火星”", "推广从", "重复"):
        assert words in answer.text
    assert rows(runtime, "SELECT count(*) FROM directory_entry") == [(0,)]
    assert "不认识的列" in upload(crew.operator, f"{DIRECTORY}/import", "手机\n1\n").text


def notice(crew: Crew, runtime: Runtime, **fields: str) -> int:
    send(crew.operator, f"{NOTICES}/new", **{"title": "停水通知", "words": "明天 9 点停水", **fields})
    return int(rows(runtime, "SELECT max(id) FROM notice")[0][0])


def test_a_notice_is_written_looked_at_put_up_taken_down_and_put_up_again(crew: Crew, runtime: Runtime) -> None:
    notice_id = notice(crew, runtime, words="详见 http://127.0.0.1:8000/m/shops 和 evil", is_pinned="true")
    path = f"{NOTICES}/{notice_id}"
    page = crew.operator.get(path).text
    assert "手机上的样子" in page
    assert "草稿" in page
    assert "贴着" in send(crew.operator, f"{path}/publish").text
    assert crew.operator.get(f"{path}/edit").status_code == 409
    assert "重新贴出" in send(crew.operator, f"{path}/withdraw").text
    send(crew.operator, f"{path}/edit", title="停电通知", words="明天停电")
    assert "贴着" in send(crew.operator, f"{path}/publish").text
    assert crew.operator.post(f"{path}/publish").status_code == 409
    send(crew.operator, f"{path}/unpin")
    assert rows(runtime, "SELECT title, state, is_pinned FROM notice") == [("停电通知", "published", False)]
    acts = [row[0] for row in rows(runtime, "SELECT action FROM audit_log ORDER BY id") if row[0].startswith("notice")]
    assert acts == ["notice.write", "notice.publish", "notice.withdraw", "notice.write", "notice.publish",
                    "notice.unpin"]  # fmt: skip


def test_a_paid_notice_needs_an_end_and_a_foreign_link_is_refused(crew: Crew, runtime: Runtime) -> None:
    crew.operator.get(NOTICES)
    refused = crew.operator.post(f"{NOTICES}/new", {"title": "开张", "words": "来看看", "is_paid": "true"})
    assert refused.status_code == 422
    assert "收费的公告要写结束时间" in refused.text
    refused = crew.operator.post(f"{NOTICES}/new", {"title": "开张", "words": "见 http://evil-shop.com/x"})
    assert refused.status_code == 422
    assert "外站链接" in refused.text
    assert rows(runtime, "SELECT * FROM notice") == []


@pytest.mark.parametrize("typed", ["0001-01-01T00:00", "9999-12-31T23:59", "2026-02-30T10:00"])
def test_a_moment_that_cannot_be_meant_is_said_at_its_field(crew: Crew, runtime: Runtime, typed: str) -> None:
    crew.operator.get(NOTICES)
    refused = crew.operator.post(f"{NOTICES}/new", {"title": "停水", "words": "明天", "shown_until": typed})
    assert refused.status_code == 422
    assert "请选一个日期和时间" in refused.text
    assert rows(runtime, "SELECT * FROM notice") == []


def test_a_notice_has_a_picture_that_stays_when_it_is_reworded(crew: Crew, runtime: Runtime) -> None:
    content = io.BytesIO()
    Image.new("RGB", (320, 240), "#07c160").save(content, "PNG")
    answer = upload(crew.operator, f"{NOTICES}/new", content.getvalue(), title="换电梯", words="看图")
    assert answer.status_code == 303
    page = crew.operator.get(answer.location).text
    picture = re.search(r"/operator/notices/pictures/[\w-]+\.jpg", page)
    assert picture is not None
    assert crew.operator.get(picture[0]).mimetype == "image/jpeg"
    picture_id = rows(runtime, "SELECT picture_id FROM notice")[0][0]
    edit = f"{answer.location}/edit"
    assert picture[0] in crew.operator.get(edit).text
    send(crew.operator, edit, title="换电梯", words="看图二", keeps_picture=str(picture_id))
    assert rows(runtime, "SELECT picture_id FROM notice") == [(picture_id,)]
    send(crew.operator, edit, title="换电梯", words="没图了")
    assert rows(runtime, "SELECT picture_id FROM notice") == [(None,)]


def test_buildings_are_listed_renamed_and_chosen_for_a_notice(crew: Crew, runtime: Runtime) -> None:
    community = rows(runtime, "SELECT id FROM community")[0][0]
    send(crew.operator, f"{NOTICES}/buildings/communities/{community}", names="1-3号楼")
    first = rows(runtime, "SELECT min(id) FROM building")[0][0]
    send(crew.operator, f"{NOTICES}/buildings/{first}", name="一号楼")
    refused = crew.operator.post(f"{NOTICES}/buildings/{first}", {"name": "2号楼"})
    assert refused.status_code == 422
    assert "已经有一栋" in refused.text
    assert crew.operator.post(f"{NOTICES}/buildings/communities/999999", {"names": ""}).status_code == 404
    notice(crew, runtime, places=f"{community}-{first}")
    assert "我们的社区 一号楼" in crew.operator.get(NOTICES).text
    assert crew.operator.post(f"{NOTICES}/buildings/{first}/remove").status_code == 409
    assert crew.operator.post(f"{NOTICES}/export").status_code == 200
