"""Two shops know nothing of each other, not even that the other's things exist (TN-3, TN-5)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import select

from core.database import Role
from core.runtime import Runtime
from merchants import pictures, staff
from merchants.models import Fan, Merchant, Picture, Staff, StaffRole
from qrcodes.codes import new_public_id
from qrcodes.models import SubQrCode, Welcome
from tests.community import Neighbourhood
from tests.web.shops import Shop, open_shop, photo, without_chance

MISSING_ID = 987_654
PAGES = ("/merchant/", "/merchant/codes", "/merchant/fans", "/merchant/welcome", "/merchant/me", "/merchant/me/staff")


@dataclass
class Neighbours:
    """We look, they are looked for."""

    we: Shop
    they: Shop


@pytest.fixture
def neighbours(app: Flask, runtime: Runtime, new_staff: Callable[..., int]) -> Neighbours:
    street = Neighbourhood(runtime)
    we = open_shop(app, street, new_staff, "老王豆浆", "wang")
    they = open_shop(app, street, new_staff, "绿叶花坊", "lin", label="花架")
    for shop in (we, they):
        shop.welcomes_somebody(ago=timedelta(hours=1))
    return Neighbours(we, they)


def rows(runtime: Runtime, merchant_id: int) -> list[tuple[object, ...]]:
    """Everything a page could have changed of a shop."""
    found: list[tuple[object, ...]] = []
    with runtime.transaction(Role.PLATFORM) as session:
        for table in (SubQrCode, Welcome, Fan, Staff, Picture):
            columns = table.__table__.c
            found += [tuple(row) for row in session.execute(select(*columns).where(columns.merchant_id == merchant_id))]
        columns = Merchant.__table__.c
        found += [tuple(row) for row in session.execute(select(*columns).where(columns.id == merchant_id))]
    return sorted(found, key=repr)


def test_what_is_theirs_looks_like_what_is_not_there(neighbours: Neighbours) -> None:
    we, they = neighbours.we, neighbours.they
    with we.runtime.transaction(Role.PLATFORM) as session:
        token = staff.invite(
            session, name="小林", role=StaffRole.CLERK, merchant_id=they.merchant_id, now=we.runtime.now()
        )
        clerk_id = staff.invited(session, token=token, now=we.runtime.now()).id
        picture_id = pictures.save(
            session, merchant_id=they.merchant_id, picture=pictures.prepare(photo()), public_id=new_public_id()
        )
    before = rows(we.runtime, they.merchant_id)
    (number,) = they.numbers()
    code = {"label": "我的", "kind": "counter", "place": ""}
    words: dict[str, str] = {"kind": "text", "text": "你好"}
    asked: list[tuple[str, object, object, dict[str, str] | None]] = [
        ("/merchant/codes/{}", they.code.id, MISSING_ID, None),
        ("/merchant/codes/{}/show", they.code.id, MISSING_ID, None),
        ("/merchant/codes/{}/code.png", they.code.id, MISSING_ID, None),
        ("/merchant/codes/{}/code.svg", they.code.id, MISSING_ID, None),
        ("/merchant/codes/{}", they.code.id, MISSING_ID, code),
        ("/merchant/codes/{}/retire", they.code.id, MISSING_ID, {}),
        ("/merchant/welcome/codes/{}", they.code.id, MISSING_ID, None),
        ("/merchant/welcome/codes/{}/first/0", they.code.id, MISSING_ID, None),
        ("/merchant/welcome/codes/{}/first/0", they.code.id, MISSING_ID, words),
        ("/merchant/welcome/codes/{}/first/0/withdraw", they.code.id, MISSING_ID, {}),
        ("/merchant/fans/{}", number, "ZZZZZZZZZZ", None),
        ("/merchant/fans/{}", number, "ZZZZZZZZZZ", {"note": "我的", "tags": ""}),
        ("/merchant/me/staff/{}/disable", clerk_id, MISSING_ID, {}),
    ]
    for path, theirs, missing, fields in asked:
        answers = []
        for which in (theirs, missing):
            we.owner.get("/merchant/me")
            address = path.format(which)
            answers.append(we.owner.get(address) if fields is None else we.owner.post(address, fields))
        first, second = answers
        assert first.status_code == second.status_code == 404, path
        assert without_chance(first.text) == without_chance(second.text), path
    for path, fields in (("/merchant/me/card", {"intro": ""}), ("/merchant/welcome/first/0", {"kind": "image"})):
        first, second = (we.owner.post(path, {**fields, "picture": str(one)}) for one in (picture_id, MISSING_ID))
        assert first.status_code == second.status_code == 404, path
        assert without_chance(first.text) == without_chance(second.text), path
        we.owner.get("/merchant/me")
    assert rows(we.runtime, they.merchant_id) == before


def test_filters_by_what_is_theirs_find_what_nothing_finds(neighbours: Neighbours) -> None:
    we, they = neighbours.we, neighbours.they
    (number,) = they.numbers()
    for query, missing in (
        (f"code={they.code.id}", f"code={MISSING_ID}"),
        (f"q={number}", "q=ZZZZZZZZZZ"),
        (f"before=1-{number}", "before=1-ZZZZZZZZZZ"),
    ):
        pages = [we.owner.get(f"/merchant/fans?{one}").text for one in (query, missing)]
        shown = [without_chance(page).replace(query, "…").replace(missing, "…") for page in pages]
        for secret in (number, str(they.code.id), str(MISSING_ID), "ZZZZZZZZZZ"):
            shown = [page.replace(f'value="{secret}"', "").replace(f"={secret}", "=") for page in shown]
        assert "没有符合条件的粉丝" in shown[0]
        assert shown[0] == shown[1], query


def test_whatever_happens_next_door_changes_no_byte_here(neighbours: Neighbours) -> None:
    we, they = neighbours.we, neighbours.they
    paths = (*PAGES, f"/merchant/codes/{we.code.id}", f"/merchant/fans/{we.numbers()[0]}")
    before = [without_chance(we.owner.get(path).text) for path in paths]
    guest = they.welcomes_somebody()
    they.sees_again(guest)
    they.loses(they.welcomes_somebody(ago=timedelta(minutes=9)))
    they.owner.get("/merchant/codes/new")
    assert they.owner.post("/merchant/codes", {"label": "收银台", "kind": "counter"}).status_code == 303
    they.owner.get("/merchant/welcome/first/0")
    assert they.owner.post("/merchant/welcome/first/0", {"kind": "text", "text": "花来了"}).status_code == 303
    assert [without_chance(we.owner.get(path).text) for path in paths] == before


def test_the_same_person_has_two_numbers(neighbours: Neighbours) -> None:
    """FA-8: two shops cannot compare their lists."""
    we, they = neighbours.we, neighbours.they
    guest = we.welcomes_somebody()
    they.sees_again(guest)
    assert not set(we.numbers()) & set(they.numbers())
    for shop in (we, they):
        for path in (*PAGES, *(f"/merchant/fans/{number}" for number in shop.numbers())):
            assert guest not in shop.owner.get(path).text
