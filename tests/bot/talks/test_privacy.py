"""No shop sees another's talks, no owner's page sees any, and what was said is gone when it has to be."""

from __future__ import annotations

import io
import json
from datetime import timedelta
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from bot import erasers, retention, stored
from bot.inbox import Inbox
from bot.talks import answers, media, reading, tending
from bot.talks.intake import FETCH
from bot.talks.models import Kind
from core import checks
from core.database import Role, rows_changed
from core.errors import NotFound
from core.outbox import Task, TryLater
from core.runtime import Runtime
from merchants.pictures import Prepared
from tests.bot.talks.conftest import Shop, open_shop
from tests.community import Neighbourhood
from tests.conftest import Sandbox, advance
from wechat.errors import BadRequest, OutcomeUnknown, Refused
from wechat.replies import TextReply

TABLES = ("talk", "talk_message", "talk_gram", "talk_media", "enquiry", "canned_reply", "talk_desk", "desk_words")
OF_PEOPLE = TABLES[:2] + TABLES[3:5]
"""Those of whose rows people see their own."""
CANARY = "三号楼张阿姨的悄悄话"
PICTURE = "MEDIA-OF-ANN"


def fill(shop: Shop) -> tuple[int, int]:
    """Every table has a row of this shop's."""
    ann = shop.fan()
    shop.said(ann, CANARY, auto=(TextReply(f"关于{CANARY}"),), auto_by="规则")
    talk_id = shop.said(ann, None, kind=Kind.IMAGE, media=PICTURE)
    with shop.runtime.transaction(Role.MERCHANT, merchant_id=shop.merchant_id) as session:
        picture = answers.PictureAnswer(Prepared(CANARY.encode(), b"its hash", 1, 1))
        for nonce, answer in (("first", picture), ("second", answers.TextAnswer(f"{CANARY}，知道了"))):
            answers.write(
                session, merchant_id=shop.merchant_id, staff_id=shop.owner, talk_id=talk_id, answer=answer,
                nonce=nonce, hosts=frozenset(), public_url="http://x", now=shop.runtime.now(),
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
    stranger = shop.fan()
    with shop.runtime.transaction(Role.FAN, follower_id=stranger) as session:
        if table in OF_PEOPLE:
            assert session.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() == 0
        else:
            with pytest.raises(DBAPIError):
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
        "INSERT INTO talk_media (merchant_id, message_id, state, mime, content) SELECT merchant_id, id, 'kept', '', 'x'"
        " FROM talk_message WHERE direction = 'in'",
        "INSERT INTO talk_media (merchant_id, message_id, state, mime, content) VALUES (:theirs, :message, 'kept', '',"
        " 'x')",
        "UPDATE talk_media SET content = 'x'",
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
        lambda s: tending.assign(s, staff_id=other_shop.owner, to=None, now=now, **other),
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


def shown(shop: Shop, talk_id: int, message_id: int) -> media.File:
    with shop.runtime.transaction(Role.MERCHANT, merchant_id=shop.merchant_id) as session:
        return media.file(session, merchant_id=shop.merchant_id, talk_id=talk_id, message_id=message_id)


# ---- One's own -------------------------------------------------------------------------------------------------------


def talked(shop: Shop) -> int:
    """Somebody whose talk has a message of every kind; who it is."""
    ann, talk_id = fill(shop)
    with shop.runtime.transaction(Role.MERCHANT, merchant_id=shop.merchant_id) as session:
        answers.note(
            session, merchant_id=shop.merchant_id, staff_id=shop.owner, talk_id=talk_id, words="爱砍价", now=shop.now
        )
    with shop.runtime.transaction(Role.PLATFORM) as session:
        window = session.execute(text("SELECT min(inbox_id) FROM message_window")).scalar_one()
        for state in ("calling", "sent"):
            session.execute(
                text("""
                    UPDATE talk_message SET state = :state, window_id = :window, calling_at = app_now()
                    WHERE direction = 'out' AND kind = 'image'"""),
                {"state": state, "window": window},
            )
        session.execute(text("UPDATE message_window SET used = 1 WHERE inbox_id = :id"), {"id": window})
    return ann


def test_people_see_what_was_said_and_no_notes_and_nothing_that_has_not_gone_out(shop: Shop) -> None:
    ann, ben = talked(shop), shop.fan()
    said = text("SELECT direction, kind FROM talk_message ORDER BY id")
    with shop.runtime.transaction(Role.FAN, follower_id=ann) as session:
        seen = [tuple(row) for row in session.execute(said)]
        assert seen == [("in", "text"), ("auto", "text"), ("in", "image"), ("out", "image")]
        assert session.execute(text("SELECT state FROM talk_media ORDER BY message_id")).scalars().all() == [
            "wanted",
            "kept",
        ]
        assert session.execute(text("SELECT count(*) FROM enquiry")).scalar_one() == 1
    with shop.runtime.transaction(Role.FAN, follower_id=ben) as session:
        assert session.execute(said).all() == []
    for columns in (
        "staff_id FROM talk_message",
        "content FROM talk_media",
        "preview FROM talk",
        "told_at FROM enquiry",
    ):
        with (
            pytest.raises(DBAPIError, match="permission denied"),
            shop.runtime.transaction(Role.FAN, follower_id=ann) as session,
        ):
            session.execute(text(f"SELECT {columns}"))


def test_the_copy_of_ones_own_has_the_conversations(shop: Shop) -> None:
    ann, ben = talked(shop), shop.fan()
    with shop.runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("UPDATE enquiry SET satisfaction = 3, rated_at = app_now()"))
    copy = "".join(stored.written(shop.runtime, ann))
    told = json.loads(copy)
    assert [(one["shop"], one["direction"], one["content"], one["file"]) for one in told["conversations"]] == [
        ("王记水果", "in", CANARY, None),
        ("王记水果", "auto", f"关于{CANARY}", None),
        ("王记水果", "in", None, "wanted"),
        ("王记水果", "out", None, "kept"),
    ]
    assert [one["satisfaction"] for one in told["how_answers_were"]] == [3]
    assert "爱砍价" not in copy
    assert CANARY not in "".join(stored.written(shop.runtime, ben))


# ---- Forgetting ------------------------------------------------------------------------------------------------------


def left_behind(shop: Shop) -> list[str]:
    """The columns in which anything of what was said can still be read."""
    words = [CANARY, PICTURE, "悄悄", CANARY.encode().hex()]
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
    with pytest.raises(NotFound):
        shown(
            shop,
            talk_id,
            next(one.id for one in shop.messages(talk_id) if (one.direction, one.kind) == ("out", "image")),
        )
    assert shop.talk(talk_id).preview is None
    assert set(shop.states(talk_id)) == {"refused"}
    assert len(shop.enquiries(talk_id)) == 1, "that it was asked and answered stays"


def forgotten_while_somebody_writes(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> int:
    """A talk whose fan is erased while what is written there waits for the talk; returns its id."""
    ann = shop.fan()
    talk_id = shop.said(ann)
    lock = answers.lock

    def when_they_are_forgotten(session: Session, **whose: int) -> None:
        erasers.forget_now(shop.runtime, ann)
        lock(session, **whose)

    monkeypatch.setattr(answers, "lock", when_they_are_forgotten)
    return talk_id


def test_an_answer_that_waited_for_an_erasure_is_not_kept(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    talk_id = forgotten_while_somebody_writes(shop, monkeypatch)
    with (
        pytest.raises(answers.FanLeft),
        shop.runtime.transaction(Role.MERCHANT, merchant_id=shop.merchant_id) as session,
    ):
        answers.write(
            session, merchant_id=shop.merchant_id, staff_id=shop.owner, talk_id=talk_id,
            answer=answers.TextAnswer(CANARY), nonce="late", hosts=frozenset(), public_url="http://x", now=shop.now,
        )  # fmt: skip
    assert left_behind(shop) == []


def test_a_note_that_waited_for_an_erasure_is_not_kept(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    talk_id = forgotten_while_somebody_writes(shop, monkeypatch)
    with (
        pytest.raises(answers.FanForgotten),
        shop.runtime.transaction(Role.MERCHANT, merchant_id=shop.merchant_id) as session,
    ):
        answers.note(
            session, merchant_id=shop.merchant_id, staff_id=shop.owner, talk_id=talk_id, words=CANARY, now=shop.now
        )
    assert left_behind(shop) == []


def test_a_picture_that_outlived_its_person_is_seen_by_the_check(shop: Shop) -> None:
    ann, _ = fill(shop)
    erasers.forget_now(shop.runtime, ann)
    with shop.runtime.transaction(Role.PLATFORM) as session:
        session.execute(
            text("""
                UPDATE talk_media d SET state = 'kept', content = 'x' FROM talk_message m
                WHERE m.id = d.message_id AND m.direction = 'out'""")
        )
        found = [one.name for one in checks.run(session) if one.rows]
        session.rollback()
    assert found == ["fa02_nothing_left_of_the_erased"]


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
    media.HANDLERS[FETCH](shop.runtime, Task(0, FETCH, {"inbox_id": message.inbox_id}, None, 1, 0))


def test_a_fans_picture_is_fetched_drawn_anew_and_shown(connected_shop: Shop, sandbox: Sandbox) -> None:
    shop = connected_shop
    original = red_square()
    name = upload(shop, "image", "a.png", original)
    talk_id = shop.said(shop.fan(), None, kind=Kind.IMAGE, media=name)
    version = shop.talk(talk_id).version
    fetch(shop, talk_id)
    (message,) = shop.messages(talk_id)
    found = shown(shop, talk_id, message.id)
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
    assert shown(shop, talk_id, message.id) == media.File(voice, "audio/amr")


@pytest.mark.parametrize(
    ("deed", "raised"),
    [
        ({"errcode": -1}, OutcomeUnknown),
        ({"html": True}, OutcomeUnknown),
        ({"lost_reply": True}, OutcomeUnknown),
        ({"errcode": 45009}, TryLater),
        ({"errcode": 45011}, TryLater),
        ({"errcode": 41006}, BadRequest),
        ({"errcode": 99999}, Refused),
    ],
)
def test_what_the_platform_does_not_say_now_is_asked_again(
    connected_shop: Shop, sandbox: Sandbox, deed: dict[str, Any], raised: type[Exception]
) -> None:
    shop = connected_shop
    name = upload(shop, "image", "a.png", red_square())
    talk_id = shop.said(shop.fan(), None, kind=Kind.IMAGE, media=name)
    # A platform that says it is busy is asked three times at once.
    times = 3 if deed == {"errcode": -1} else 1
    sandbox.post("/sandbox/faults", rules=[{"match": {"path": "/cgi-bin/media/get"}, "next": times, "do": deed}])
    with pytest.raises(raised):
        fetch(shop, talk_id)
    with shop.runtime.transaction(Role.PLATFORM) as session:
        assert session.execute(text("SELECT state FROM talk_media")).scalar_one() == "wanted"
    fetch(shop, talk_id)
    assert shown(shop, talk_id, shop.messages(talk_id)[0].id).mime == "image/jpeg"


def test_what_the_platform_has_no_more_is_gone(connected_shop: Shop, sandbox: Sandbox) -> None:
    shop = connected_shop
    talk_id = shop.said(shop.fan(), None, kind=Kind.IMAGE, media="nothing")
    fetch(shop, talk_id)
    with shop.runtime.transaction(Role.PLATFORM) as session:
        assert session.execute(text("SELECT state, media_id FROM talk_media")).one() == ("gone", None)
