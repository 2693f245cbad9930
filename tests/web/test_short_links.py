"""Short links: where they lead, whom they count, and that nothing in them says who somebody is."""

from __future__ import annotations

from datetime import timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select, text
from sqlalchemy.exc import ProgrammingError

from campaigns.broadcasts.content import Words
from campaigns.broadcasts.models import LinkTap, ShortLink, WordsKind
from campaigns.broadcasts.writing import Draft
from core.database import Role
from core.runtime import Runtime
from qrcodes import codes
from tests.campaigns.desk import Desk
from tests.conftest import advance

PHONE = {"User-Agent": "Mozilla/5.0 (iPhone) MicroMessenger/8.0"}
TARGET = "https://mp.weixin.qq.com/s/new"


@pytest.fixture
def desk(runtime: Runtime) -> Desk:
    return Desk(runtime)


@pytest.fixture
def visitor(app: Flask) -> FlaskClient:
    return app.test_client()


def path_of(desk: Desk) -> str:
    with desk.runtime.transaction(Role.PLATFORM) as session:
        return f"/s/{session.scalar(select(ShortLink.code))}"


def taps(desk: Desk) -> list[bytes]:
    with desk.runtime.transaction(Role.PLATFORM) as session:
        return list(session.scalars(select(LinkTap.visitor).order_by(LinkTap.id)))


def test_a_link_leads_on_and_counts_people_by_the_day(desk: Desk, app: Flask, visitor: FlaskClient) -> None:
    desk.approved(f"看 {TARGET}")
    path = path_of(desk)
    answer = visitor.get(path, headers=PHONE)
    assert (answer.status_code, answer.location) == (302, TARGET)
    assert answer.headers["Cache-Control"] == "no-store"
    visitor.get(path, headers=PHONE)
    app.test_client().get(path, headers=PHONE)
    first, again, other = taps(desk)
    assert first == again != other
    advance(desk.runtime, timedelta(days=1))
    visitor.get(path, headers=PHONE)
    assert taps(desk)[-1] not in (first, other)


def test_machines_and_looks_ahead_are_not_counted(desk: Desk, visitor: FlaskClient) -> None:
    desk.approved(f"看 {TARGET}")
    path = path_of(desk)
    assert visitor.head(path, headers=PHONE).status_code == 302
    for headers in (
        {"User-Agent": "Mozilla/5.0 (compatible; Baiduspider/2.0)"},
        {"User-Agent": "curl/8.5"},
        {"User-Agent": ""},
        {**PHONE, "Sec-Purpose": "prefetch;prerender"},
        {**PHONE, "Purpose": "prefetch"},
    ):
        assert visitor.get(path, headers=headers).status_code == 302
    assert taps(desk) == []


def test_unknown_codes_are_all_the_same(desk: Desk, visitor: FlaskClient) -> None:
    for path in ("/s/ZZZZZZZZZZ", "/s/x", "/s/'--", "/read/ZZZZZZZZZZ"):
        answer = visitor.get(path, headers=PHONE)
        assert answer.status_code == 404, path
        assert "这个链接已经没有了" in answer.text


def test_an_article_is_read_by_anybody_who_has_its_address(desk: Desk, visitor: FlaskClient) -> None:
    picture = desk.picture()
    words = Words(WordsKind.ARTICLE, f"第一段<b>\n看 {TARGET}", title="新茶", summary="摘", picture_id=picture)
    broadcast_id = desk.write(Draft({"a": words}))
    desk.submit(broadcast_id)
    desk.approve(broadcast_id)
    card = desk.words(broadcast_id)["a"].page.removeprefix(desk.public_url)
    opened = visitor.get(card, headers=PHONE)
    assert opened.location.startswith(f"{desk.public_url}/read/")
    path = opened.location.removeprefix(desk.public_url)
    page = visitor.get(path, headers=PHONE)
    assert page.status_code == 200
    for shown in ("新茶", "茶馆", "第一段&lt;b&gt;", f'href="{desk.public_url}/s/', "/p/"):
        assert shown in page.text, shown
    assert len(taps(desk)) == 1
    with desk.runtime.transaction(Role.PLATFORM) as session:
        codes.suspend_merchant(session, merchant_id=desk.id, now=desk.runtime.now())
    assert visitor.get(path, headers=PHONE).status_code == 404


def test_the_public_sees_no_other_words(desk: Desk) -> None:
    """What is still being written is in no table the public may read."""
    desk.approved(f"看 {TARGET}")
    for statement in (
        "SELECT text FROM broadcast_words",
        "SELECT evidence FROM broadcast",
        "SELECT variant FROM short_link",
        "SELECT visitor FROM link_tap",
    ):
        with pytest.raises(ProgrammingError), desk.runtime.transaction(Role.FAN) as session:
            session.execute(text(statement))
