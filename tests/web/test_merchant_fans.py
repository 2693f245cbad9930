"""粉丝: the list, its filters and pages, the export, and one fan's story."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import select, update

from core.database import Role
from core.models import AuditLog
from core.runtime import Runtime
from merchants.models import Fan, Follower
from tests.community import Neighbourhood
from tests.web.conftest import Crew
from tests.web.shops import Shop, open_shop
from web.merchant.words import fan_number

HOME = "/merchant/fans"


@pytest.fixture
def shop(app: Flask, runtime: Runtime, new_staff: Callable[..., int]) -> Shop:
    return open_shop(app, Neighbourhood(runtime), new_staff, "老王豆浆", "wang")


def listed(page: str) -> list[str]:
    return re.findall(r'<li><a href="/merchant/fans/([0-9A-Z]{10})"', page)


def remember(shop: Shop, number: str, **fields: str) -> int:
    shop.owner.get(f"{HOME}/{number}")
    return shop.owner.post(f"{HOME}/{number}", {"note": "", "tags": "", **fields}).status_code


def test_an_empty_list_says_what_to_do(shop: Shop) -> None:
    page = shop.owner.get(HOME).text
    assert "还没有粉丝" in page
    assert "去拿二维码" in page


def test_the_list_tells_who_came_from_where(shop: Shop) -> None:
    table = shop.street.code(shop.merchant_id, "3 号桌")
    first = shop.welcomes_somebody(ago=timedelta(hours=3), code=table)
    shop.welcomes_somebody(ago=timedelta(hours=2))
    shop.sees_again(first)
    shop.loses(first)
    page = shop.owner.get(HOME).text
    newest, other = shop.numbers()
    assert listed(page) == [newest, other]
    assert f"{newest[:5]}-{newest[5:]}" in page
    assert page.count("本店带来</span>") == 2
    assert page.count("已取关") == 1
    assert "共 2 人，1 人在关注" in page
    assert first not in page
    assert listed(shop.owner.get(f"{HOME}?code={table.id}").text) == [newest]
    assert listed(shop.owner.get(f"{HOME}?following=1").text) == [other]


def test_acquired_is_whom_this_shop_made_follow(shop: Shop, runtime: Runtime) -> None:
    florist = shop.street.code(shop.street.merchant("花店"))
    guest = shop.welcomes_somebody(code=florist, ago=timedelta(hours=1))
    shop.sees_again(guest)
    own = shop.welcomes_somebody(ago=timedelta(minutes=5))
    assert len(listed(shop.owner.get(HOME).text)) == 2
    page = shop.owner.get(f"{HOME}?acquired=1").text
    assert len(listed(page)) == 1
    assert own not in page
    (guest_number,) = set(shop.numbers()) - set(listed(page))
    story = shop.owner.get(f"{HOME}/{guest_number}").text
    assert "这次关注不是扫本店的码来的" in story
    assert "花店" not in story


def test_search_finds_number_note_and_tag(shop: Shop) -> None:
    for hours in range(3):
        shop.welcomes_somebody(ago=timedelta(hours=hours))
    one, two, _three = shop.numbers()
    assert remember(shop, one, note="爱喝不加糖的", tags="常客，8 号楼") == 303
    assert remember(shop, two, tags="8号楼、老师") == 303
    for words, found in (
        ("不加糖", [one]),
        ("老师", [two]),
        (two[:6], [two]),
        (fan_number(one).lower(), [one]),
        ("%", []),
        ("没有", []),
    ):
        page = shop.owner.get(HOME, query_string={"q": words}).text
        assert listed(page) == found, words
    assert "没有符合条件的粉丝" in page


def test_pages_by_key_show_everybody_once_while_people_keep_coming(shop: Shop) -> None:
    for minutes in range(120):
        # Many in one second: the key decides.
        shop.welcomes_somebody(ago=timedelta(minutes=minutes // 40))
    expected = set(shop.numbers())
    seen: list[str] = []
    path: str | None = HOME
    while path:
        page = shop.owner.get(path).text
        seen += listed(page)
        if len(seen) == 50:
            shop.welcomes_somebody()
        older = re.search(r'rel="next" href="([^"]+)"', page)
        path = older[1].replace("&amp;", "&") if older else None
    assert len(seen) == len(set(seen)) == 120
    assert expected <= set(seen)


def test_a_fans_story_in_words(shop: Shop) -> None:
    openid = shop.welcomes_somebody(ago=timedelta(days=9))
    shop.loses(openid, ago=timedelta(days=5))
    shop.welcomes_somebody_again(openid, ago=timedelta(days=2))
    (number,) = shop.numbers()
    story = re.sub(r"<[^>]+>|\s+", " ", shop.owner.get(f"{HOME}/{number}").text)
    order = ["取关不久又关注，仍算本店带来", "不再关注公众号", "第一次关注，算本店带来"]
    assert [story.find(words) for words in order] == sorted(story.find(words) for words in order)
    assert all(words in story for words in order)
    assert openid not in story


def test_notes_and_tags_are_kept_and_shown(shop: Shop) -> None:
    shop.welcomes_somebody()
    (number,) = shop.numbers()
    assert remember(shop, number, note="住 8 号楼\n周末来", tags="常客, 老师；常客、8 号楼") == 303
    page = shop.owner.get(f"{HOME}/{number}").text
    assert "住 8 号楼\n周末来</textarea>" in page.replace("\r", "")
    assert 'value="8 号楼，常客，老师"' in page
    assert "常客" in shop.owner.get(HOME).text


def test_bad_notes_are_refused_and_stay_typed(shop: Shop) -> None:
    shop.welcomes_somebody()
    (number,) = shop.numbers()
    shop.owner.get(f"{HOME}/{number}")
    bad = [
        {"note": "长" * 201},
        {"tags": "，".join(f"标签{one}" for one in range(11))},
        {"tags": "十三个字的标签实在是太长了啊"},
        {"note": "a\x01b"},
        {"merchant_id": "1"},
        {"number": "AAAAAAAAAA"},
        {"acquired": "true"},
    ]
    for fields in bad:
        answer = shop.owner.post(f"{HOME}/{number}", {"note": "爱豆浆", **fields})
        assert answer.status_code == 422, fields
        assert fields.get("note", "爱豆浆") in answer.text
    with shop.runtime.transaction(Role.PLATFORM) as session:
        assert session.scalar(select(Fan.note)) == ""


def test_the_export_is_what_the_list_shows_and_runs_nothing(shop: Shop) -> None:
    for minutes in range(7):
        shop.welcomes_somebody(ago=timedelta(minutes=minutes))
    evil = ["=HYPERLINK(1)", "+cmd|' /C calc'!A0", "-1+1", "@SUM(A1)", "\tTAB", "＝1+1", '逗号,引号"和\n换行']
    numbers = shop.numbers()
    with shop.runtime.transaction(Role.PLATFORM) as session:
        for number, note in zip(numbers, evil, strict=True):
            session.execute(update(Fan).where(Fan.number == number).values(note=note))
    shop.owner.get(HOME)
    answer = shop.owner.post(f"{HOME}/export")
    assert answer.status_code == 200
    assert answer.mimetype == "text/csv"
    raw = answer.data.decode("utf-8")
    assert raw.startswith("\ufeff")
    heads, *rows = list(csv.reader(io.StringIO(raw.removeprefix("\ufeff"), newline="")))
    assert heads[0] == "编号"
    assert [row[0] for row in rows] == [fan_number(number) for number in numbers]
    assert [row[-1] for row in rows] == [f"'{note}" for note in evil[:6]] + [evil[6]]
    assert "oTest" not in raw
    assert raw.count("\r\n") == 8
    some = shop.owner.post(f"{HOME}/export", {"q": numbers[2]}).data.decode("utf-8")
    assert len(some.splitlines()) == 2
    with shop.runtime.transaction(Role.PLATFORM) as session:
        assert list(session.scalars(select(AuditLog.action))).count("export") == 2


def test_odd_questions_are_refused(shop: Shop) -> None:
    shop.welcomes_somebody()
    (number,) = shop.numbers()
    odd = [f"code={one}" for one in ("0", "-1", "1.0", "1e3", "01", str(2**63), "x")]
    odd += [f"before={one}" for one in ("1", "x", f"-1-{number}", f"1.5-{number}", "1-" + "i" * 10)]
    odd += ["following=2", "acquired=yes", "sort=password", "limit=1000000000", "page=-1", "q=" + "x" * 65, "q=1&q=2"]
    for query in odd:
        assert shop.owner.get(f"{HOME}?{query}").status_code == 422, query
    assert listed(shop.owner.get(f"{HOME}?before=1-ZZZZZZZZZZ").text) == []
    for unknown in ("ZZZZZZZZZZ", "1", number.lower(), f"{number}0", "%25", "..%2F"):
        assert shop.owner.get(f"{HOME}/{unknown}").status_code == 404, unknown


def test_whom_we_forgot_is_in_no_list(shop: Shop) -> None:
    shop.welcomes_somebody()
    (number,) = shop.numbers()
    with shop.runtime.transaction(Role.PLATFORM) as session:
        session.execute(update(Fan).values(erased_at=shop.runtime.now()))
    assert listed(shop.owner.get(HOME).text) == []
    shop.owner.get("/merchant/me")
    assert shop.owner.get(f"{HOME}/{number}").status_code == 404
    assert shop.owner.post(f"{HOME}/{number}", {"note": "还记得"}).status_code == 404
    with shop.runtime.transaction(Role.PLATFORM) as session:
        assert session.scalar(select(Fan.note)) == ""
        session.execute(update(Fan).values(erased_at=None))
        assert session.scalar(select(Follower.status)) == "following"


def test_a_clerk_reads_and_notes_but_takes_no_list_away(crew: Crew, runtime: Runtime) -> None:
    street = Neighbourhood(runtime)
    shop = Shop(street, crew.merchant_id, crew.clerk, street.code(crew.merchant_id))
    shop.welcomes_somebody()
    (number,) = shop.numbers()
    assert "导出表格" not in crew.clerk.get(HOME).text
    assert remember(shop, number, note="熟客") == 303
    assert crew.clerk.post(f"{HOME}/export").status_code == 403


def test_conditions_are_kept_as_a_group_and_shown_as_a_tag(shop: Shop) -> None:
    regular = shop.welcomes_somebody(ago=timedelta(days=3))
    shop.sees_again(regular)
    shop.welcomes_somebody(ago=timedelta(hours=1))
    page = shop.owner.get(f"{HOME}?visits=2").text
    assert "符合条件的 1 人" in page
    answer = shop.owner.post(f"{HOME}/groups", {"visits": "2", "name": "常客", "is_tag": "true"})
    assert answer.headers["Location"] == f"{HOME}?visits=2"
    page = shop.owner.get(HOME).text
    assert "常客 <small>1</small>" in page
    assert page.count('<span class="fan-tag is-by-rule">常客</span>') == 1
    page = shop.owner.get(f"{HOME}?visits=2").text
    segment = re.search(r"/merchant/fans/groups/(\d+)/remove", page)
    assert segment
    assert shop.owner.post(f"{HOME}/groups/{segment[1]}/tag").status_code == 303
    assert "is-by-rule" not in shop.owner.get(HOME).text
    shop.owner.post(f"{HOME}/groups/{segment[1]}/remove")
    assert "粉丝都还在" in shop.owner.get(HOME).text


def test_a_group_needs_a_condition_and_a_name(shop: Shop) -> None:
    shop.welcomes_somebody()
    shop.owner.get(HOME)
    shop.owner.post(f"{HOME}/groups", {"name": "所有人"})
    assert "请先选一个条件" in shop.owner.get(HOME).text
    shop.owner.post(f"{HOME}/groups", {"following": "1"})
    assert "请填写分组名" in shop.owner.get(HOME).text
    assert shop.owner.get(f"{HOME}?visits=4").status_code == 422
