"""No shop sees another's talks, no owner's page sees any, and what was said is gone when it has to be."""

from __future__ import annotations

import io
from datetime import timedelta
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from bot import erasers, retention
from bot.inbox import Inbox
from bot.talks import answers, media, reading, tending
from bot.talks.intake import FETCH
from bot.talks.models import Kind
from core.database import Role, rows_changed
from core.errors import NotFound
from core.outbox import Task
from core.runtime import Runtime
from tests.bot.talks.conftest import Shop, open_shop
from tests.community import Neighbourhood
from tests.conftest import Sandbox, advance
from wechat.replies import TextReply

TABLES = ("talk", "talk_message", "talk_gram", "talk_media", "enquiry", "canned_reply", "talk_desk", "desk_words")
CANARY = "三号楼张阿姨的悄悄话"
PICTURE = "MEDIA-OF-ANN"


def fill(shop: Shop) -> tuple[int, int]:
    """Every table has a row of this shop's."""
    ann = shop.fan()
    shop.said(ann, CANARY, auto=(TextReply(f"关于{CANARY}"),), auto_by="规则")
    talk_id = shop.said(ann, None, kind=Kind.IMAGE, media=PICTURE)
    with shop.runtime.transaction(Role.MERCHANT, merchant_id=shop.merchant_id) as session:
        for nonce in ("first", "second"):
            answers.write(
                session, merchant_id=shop.merchant_id, staff_id=shop.owner, talk_id=talk_id,
                answer=answers.TextAnswer(f"{CANARY}，知道了"), nonce=nonce, hosts=frozenset(), public_url="http://x",
                now=shop.runtime.now(),
            )  # fmt: skip
        answers.note(
            session, merchant_id=shop.merchant_id, staff_id=shop.owner, talk_id=talk_id, words=CANARY, now=shop.now
        )
        for statement in (
            "INSERT INTO canned_reply (merchant_id, title, text) VALUES (:id, '好', '好的')",
            "INSERT INTO talk_desk (merchant_id) VALUES (:id)",
            "INSERT INTO desk_words (merchant_id, kind, text) VALUES (:id, 'away', '打烊')",
        ):
            session.execute(text(statement), {"id": shop.merchant_id})
    return ann, talk_id


def denied(shop: Shop, statement: str, **given: Any) -> bool:
    """Whether the shop can do nothing by this statement."""
    refusal = ""
    try:
        with shop.runtime.transaction(Role.MERCHANT, merchant_id=shop.merchant_id) as session:
            return not rows_changed(session.execute(text(statement), given))
    except DBAPIError as error:
        refusal = str(error.orig)
    return any(words in refusal for words in ("row-level security", "permission denied", "platform's"))


@pytest.mark.parametrize("table", TABLES)
def test_a_shop_sees_and_touches_only_its_own(shop: Shop, other_shop: Shop, table: str) -> None:
    fill(shop)
    with shop.runtime.transaction(Role.MERCHANT, merchant_id=shop.merchant_id) as session:
        assert session.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() > 0
    with shop.runtime.transaction(Role.MERCHANT, merchant_id=other_shop.merchant_id) as session:
        assert session.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() == 0
    with shop.runtime.transaction(Role.MERCHANT) as session:
        assert session.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() == 0, "who says nothing sees nothing"
    with pytest.raises(DBAPIError), shop.runtime.transaction(Role.FAN, follower_id=1) as session:
        session.execute(text(f"SELECT count(*) FROM {table}"))
    assert denied(other_shop, f"DELETE FROM {table}")
    assert denied(other_shop, f"UPDATE {table} SET merchant_id = :mine", mine=other_shop.merchant_id)


def test_writes_do_not_reach_across(shop: Shop, other_shop: Shop) -> None:
    _, talk_id = fill(shop)
    message_id = shop.messages(talk_id)[0].id
    mine = {"mine": other_shop.merchant_id, "theirs": shop.merchant_id, "talk": talk_id, "message": message_id,
            "staff": other_shop.owner, "their_staff": shop.owner}  # fmt: skip
    own_talk = other_shop.said(other_shop.fan(), "你好")
    columns = "(merchant_id, talk_id, direction, kind, content, staff_id, state, at)"
    for statement in (
        f"INSERT INTO talk_message {columns} "
        "VALUES (:theirs, :talk, 'out', 'text', '好', :staff, 'planned', app_now())",
        f"INSERT INTO talk_message {columns} "
        "VALUES (:mine, :own, 'out', 'text', '好', :their_staff, 'planned', app_now())",
        f"INSERT INTO talk_message {columns} VALUES (:mine, :own, 'out', 'text', '好', :staff, 'sent', app_now())",
        f"INSERT INTO talk_message {columns} VALUES (:mine, :own, 'in', 'text', '好', :staff, NULL, app_now())",
        "INSERT INTO talk_gram (merchant_id, gram, message_id, talk_id) VALUES (:mine, '悄悄', :message, :talk)",
        "UPDATE talk SET assigned_to = :their_staff WHERE id = :own",
        "INSERT INTO talk (merchant_id, follower_id, number, last_message_at, preview_kind, preview_direction)"
        " VALUES (:mine, 1, 'X', app_now(), 'text', 'in')",
        "UPDATE desk_words SET review = 'approved'",
    ):
        assert denied(other_shop, statement, own=own_talk, **mine), statement
    # A composite key keeps tenants apart even where a policy would not.
    note = f"INSERT INTO talk_message {columns} VALUES (:mine, :talk, 'note', 'text', '好', :staff, NULL, app_now())"
    with (
        pytest.raises(DBAPIError, match="fk_talk_message"),
        shop.runtime.transaction(Role.MERCHANT, merchant_id=other_shop.merchant_id) as session,
    ):
        session.execute(text(note), mine)


def test_what_was_said_and_what_became_of_it_is_not_the_shops_to_change(shop: Shop) -> None:
    _, talk_id = fill(shop)
    assert denied(shop, "UPDATE talk_message SET content = '别的话'")
    assert denied(shop, "UPDATE talk_message SET state = 'refused' WHERE state = 'planned'")
    assert denied(shop, "UPDATE enquiry SET satisfaction = 3")
    assert denied(shop, "DELETE FROM talk_message")
    with pytest.raises(DBAPIError, match="stays as it was"), shop.runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("UPDATE talk_message SET content = '别的话' WHERE talk_id = :id"), {"id": talk_id})


def test_functions_call_another_shops_talk_missing(shop: Shop, other_shop: Shop) -> None:
    _, talk_id = fill(shop)
    other: dict[str, Any] = {"merchant_id": other_shop.merchant_id, "talk_id": talk_id}
    now = shop.now
    for work in (
        lambda s: reading.talk(s, **other),
        lambda s: reading.version(s, **other),
        lambda s: tending.assign(s, staff_id=None, **other),
        lambda s: tending.close(s, staff_id=other_shop.owner, now=now, **other),
        lambda s: tending.reopen(s, **other),
        lambda s: answers.note(s, staff_id=other_shop.owner, words="看看", now=now, **other),
        lambda s: answers.cancel(s, message_id=1, **other),
        lambda s: media.file(s, message_id=1, **other),
    ):
        with (
            pytest.raises(NotFound),
            shop.runtime.transaction(Role.MERCHANT, merchant_id=other_shop.merchant_id) as session,
        ):
            work(session)


# ---- Forgetting ------------------------------------------------------------------------------------------------------


def left_behind(shop: Shop) -> list[str]:
    """The columns in which anything of what was said can still be read."""
    words = [CANARY, PICTURE, "悄悄"]
    with shop.runtime.transaction(Role.PLATFORM) as session:
        found = []
        for table in TABLES[:5]:
            rows = session.execute(text(f"SELECT CAST(t AS text) AS row FROM {table} t")).scalars()
            found += [table for row in rows if any(word in row for word in words)]
        return sorted(set(found))


def test_an_erasure_leaves_no_word_of_a_talk(shop: Shop) -> None:
    ann, talk_id = fill(shop)
    assert left_behind(shop) == ["talk", "talk_gram", "talk_media", "talk_message"]
    erasers.forget_now(shop.runtime, ann)
    assert left_behind(shop) == []
    assert shop.talk(talk_id).preview is None
    assert set(shop.states(talk_id)) == {"refused"}
    assert len(shop.enquiries(talk_id)) == 1, "that it was asked and answered stays"


def test_words_and_files_go_after_thirty_days_and_what_still_waits_is_given_up(shop: Shop) -> None:
    _, talk_id = fill(shop)
    with shop.runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("UPDATE talk_message SET state = 'waiting' WHERE state = 'planned'"))
    forget = Task(0, retention.FORGET, {}, None, 1, 0)
    advance(shop.runtime, timedelta(days=29))
    retention.forget_old(shop.runtime, forget)
    assert "talk_message" in left_behind(shop)
    advance(shop.runtime, timedelta(days=2))
    retention.forget_old(shop.runtime, forget)
    assert left_behind(shop) == []
    assert shop.states(talk_id) == ["skipped", "skipped"]
    assert shop.talk(talk_id).waiting_out == 0


# ---- Pictures and voices ---------------------------------------------------------------------------------------------


@pytest.fixture
def connected_shop(connected: Runtime, street: Neighbourhood) -> Shop:
    return open_shop(connected, Inbox(connected), street, "王记水果")


def red_square() -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(content, "PNG")
    return content.getvalue()


def upload(shop: Shop, kind: str, name: str, content: bytes) -> str:
    """A file at the platform, as a phone would have sent it."""
    from wechat.client import client_of

    calls = client_of(shop.runtime)._calls
    answer = calls.post("media/upload", params={"type": kind}, files={"media": (name, content, "image/png")})
    return str(answer["media_id"])


def fetch(shop: Shop, talk_id: int) -> None:
    (message,) = shop.messages(talk_id)
    media.fetch(shop.runtime, Task(0, FETCH, {"inbox_id": message.inbox_id}, None, 1, 0))


def test_a_fans_picture_is_fetched_drawn_anew_and_shown(connected_shop: Shop, sandbox: Sandbox) -> None:
    shop = connected_shop
    original = red_square()
    name = upload(shop, "image", "a.png", original)
    talk_id = shop.said(shop.fan(), None, kind=Kind.IMAGE, media=name)
    version = shop.talk(talk_id).version
    fetch(shop, talk_id)
    (message,) = shop.messages(talk_id)
    with shop.runtime.transaction(Role.MERCHANT, merchant_id=shop.merchant_id) as session:
        found = media.file(session, merchant_id=shop.merchant_id, talk_id=talk_id, message_id=message.id)
    assert found.mime == "image/jpeg"
    assert found.content != original
    assert Image.open(io.BytesIO(found.content)).size == (64, 64)
    assert shop.talk(talk_id).version > version, "an open page shows it"
    fetch(shop, talk_id)


def test_a_voice_is_kept_as_it_is(connected_shop: Shop, sandbox: Sandbox) -> None:
    shop = connected_shop
    voice = b"#!AMR\n" + bytes(100)
    talk_id = shop.said(shop.fan(), None, kind=Kind.VOICE, media=upload(shop, "voice", "a.amr", voice))
    fetch(shop, talk_id)
    (message,) = shop.messages(talk_id)
    with shop.runtime.transaction(Role.MERCHANT, merchant_id=shop.merchant_id) as session:
        found = media.file(session, merchant_id=shop.merchant_id, talk_id=talk_id, message_id=message.id)
    assert found == media.File(voice, "audio/amr")


def test_what_the_platform_has_no_more_is_gone(connected_shop: Shop, sandbox: Sandbox) -> None:
    shop = connected_shop
    talk_id = shop.said(shop.fan(), None, kind=Kind.IMAGE, media="nothing")
    fetch(shop, talk_id)
    with shop.runtime.transaction(Role.PLATFORM) as session:
        assert session.execute(text("SELECT state, media_id FROM talk_media")).one() == ("gone", None)
