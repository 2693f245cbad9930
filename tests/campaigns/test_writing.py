"""Writing a broadcast: what may be saved and handed in, what may follow what, and whose it is (#82, #83)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from campaigns.broadcasts import writing
from campaigns.broadcasts.content import Words
from campaigns.broadcasts.models import BroadcastKind, BroadcastState, WordsKind
from campaigns.broadcasts.writing import Draft
from core.database import Role
from core.errors import BusinessError, Invalid, NotFound
from core.runtime import Runtime
from qrcodes.fans import Filter
from tests.campaigns.desk import WRITER, Desk

HELLO = {"a": Words(WordsKind.TEXT, "新茶到了")}


@pytest.fixture
def desk(runtime: Runtime) -> Desk:
    return Desk(runtime)


def refused(kind: type[BusinessError], act: Callable[[], object]) -> BusinessError:
    with pytest.raises(kind) as refusal:
        act()
    return refusal.value


def test_what_is_saved_is_what_was_decided(desk: Desk) -> None:
    at = desk.runtime.now() + timedelta(days=2)
    draft = Draft(
        {"a": Words(WordsKind.TEXT, "新茶到了"), "b": Words(WordsKind.TEXT, "来喝新茶")},
        name="新茶", wanted=Filter(seen_within_days=30, tag="常客"), hello_days=3, held_out_percent=10, scheduled_at=at,
    )  # fmt: skip
    broadcast_id = desk.write(draft)
    saved = desk.get(broadcast_id)
    assert (saved.state, saved.name, saved.written_by) == ("draft", "新茶", WRITER)
    assert (saved.hello_days, saved.held_out_percent, saved.scheduled_at) == (3, 10, at)
    assert saved.wanted == {"seen_within_days": 30, "tag": "常客"}
    assert {variant: one.text for variant, one in desk.words(broadcast_id).items()} == {
        "a": "新茶到了",
        "b": "来喝新茶",
    }
    desk.save(broadcast_id, Draft(HELLO))
    assert set(desk.words(broadcast_id)) == {"a"}
    assert desk.get(broadcast_id).wanted == {}


def test_what_cannot_be_saved(desk: Desk) -> None:
    broadcast_id = desk.write()
    article = Words(WordsKind.ARTICLE, "正文", title="题")
    now = desk.runtime.now()
    cases = [
        (Draft({"a": Words(WordsKind.TEXT, "豆" * 700)}), "text"),
        (Draft({**HELLO, "b": Words(WordsKind.TEXT, "豆" * 700)}), "text_b"),
        (Draft({**HELLO, "b": article}), "text_b"),
        (Draft({**HELLO, "c": Words(WordsKind.TEXT, "三")}), "text"),
        (Draft({}), "text"),
        (Draft(HELLO, kind=BroadcastKind.ITEM), "kind"),
        (Draft({"a": article}, kind=BroadcastKind.DIGEST), "kind"),
        (Draft(HELLO, hello_days=15), "hello_days"),
        (Draft(HELLO, hello_days=-1), "hello_days"),
        (Draft(HELLO, held_out_percent=50), "held_out_percent"),
        (Draft(HELLO, scheduled_at=now - timedelta(minutes=1)), "scheduled_at"),
        (Draft(HELLO, scheduled_at=now + timedelta(days=61)), "scheduled_at"),
        (Draft(HELLO, name="名" * 31), "name"),
    ]
    for draft, field in cases:
        refusal = refused(Invalid, lambda draft=draft: desk.save(broadcast_id, draft))  # type: ignore[misc]
        assert isinstance(refusal, Invalid)
        assert (refusal.field, refusal.status) == (field, 422), draft
    assert desk.words(broadcast_id)["a"].text == "新茶到了"


def test_conditions_nobodys_page_sends(desk: Desk) -> None:
    """#83: no such thing reaches the database."""
    broadcast_id = desk.write()
    odd = [
        Filter(tag="'; DROP TABLE fan; --"),
        Filter(search="(a+)+$" * 20),
        Filter(tag="\0"),
        Filter(came_within_days=10**9),
        Filter(away_for_days=-1),
        Filter(visits_at_least="1; SELECT 1"),  # type: ignore[arg-type]
        Filter(code_id=2**70),
        Filter(tag=["常客"] * 5_000),  # type: ignore[arg-type]
        Filter(following_only="yes"),  # type: ignore[arg-type]
    ]
    for wanted in odd:
        refusal = refused(Invalid, lambda wanted=wanted: desk.save(broadcast_id, Draft(HELLO, wanted=wanted)))  # type: ignore[misc]
        assert refusal.status == 422, wanted
    desk.save(broadcast_id, Draft(HELLO, wanted=Filter(tag="' OR 1=1 --")))
    refused(writing.NobodyReached, lambda: desk.submit(broadcast_id))


def test_nobody_speaks_with_somebody_elses_picture_or_to_their_codes_people(desk: Desk) -> None:
    """#82, TN-3."""
    other = Desk(desk.runtime, "面馆", fans=0)
    broadcast_id = desk.write()
    foreign = Draft({"a": Words(WordsKind.PICTURE, picture_id=other.picture())})
    assert refused(NotFound, lambda: desk.save(broadcast_id, foreign)).status == 404
    refused(NotFound, lambda: desk.save(broadcast_id, Draft(HELLO, wanted=Filter(code_id=other.code.id))))
    refused(NotFound, lambda: other.save(broadcast_id, Draft(HELLO)))
    refused(NotFound, lambda: other.submit(broadcast_id))


def test_who_is_reached_decides_whether_it_may_be_handed_in(desk: Desk) -> None:
    """#82: an empty audience, and one fan by mass."""
    broadcast_id = desk.write(Draft(HELLO, wanted=Filter(tag="没有人")))
    assert refused(writing.NobodyReached, lambda: desk.submit(broadcast_id)).status == 422
    alone = Desk(desk.runtime, "面馆", fans=1)
    only_one = alone.write(Draft(HELLO, hello_days=0))
    assert refused(writing.OnlyOneReached, lambda: alone.submit(only_one)).status == 422
    alone.save(only_one, Draft(HELLO, hello_days=3))
    alone.submit(only_one)
    assert alone.get(only_one).state == "submitted"


def test_a_hold_out_needs_many(desk: Desk) -> None:
    broadcast_id = desk.write(Draft(HELLO, held_out_percent=10))
    refusal = refused(Invalid, lambda: desk.submit(broadcast_id))
    assert isinstance(refusal, Invalid)
    assert refusal.field == "held_out_percent"


def test_the_linter_stops_a_submission_and_not_a_draft(desk: Desk) -> None:
    broadcast_id = desk.write("关注送豆浆")
    refusal = refused(writing.BadWording, lambda: desk.submit(broadcast_id))
    assert [one.rule for one in refusal.detail["findings"]] == ["follow_for_benefit"]
    assert desk.get(broadcast_id).state == "draft"
    desk.save(broadcast_id, Draft({"a": Words(WordsKind.TEXT, "好"), "b": Words(WordsKind.TEXT, "转发领红包")}))
    refused(writing.BadWording, lambda: desk.submit(broadcast_id))
    desk.save(broadcast_id, Draft({"a": Words(WordsKind.TEXT, "看 http://evil-shop.com")}))
    refused(writing.BadWording, lambda: desk.submit(broadcast_id))
    desk.save(broadcast_id, Draft(HELLO))
    desk.submit(broadcast_id)


@pytest.mark.parametrize(
    ("words", "field"),
    [
        (Words(WordsKind.TEXT), "text"),
        (Words(WordsKind.PICTURE), "picture"),
        (Words(WordsKind.ARTICLE, "正文", title="题"), "picture"),
    ],
)
def test_what_is_unfinished_stays_a_draft(desk: Desk, words: Words, field: str) -> None:
    broadcast_id = desk.write(Draft({"a": words}))
    refusal = refused(Invalid, lambda: desk.submit(broadcast_id))
    assert isinstance(refusal, Invalid)
    assert refusal.field == field


def test_a_time_that_passed_while_it_was_a_draft(desk: Desk) -> None:
    broadcast_id = desk.write(Draft(HELLO, scheduled_at=desk.runtime.now() + timedelta(hours=1)))
    with desk.runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("UPDATE broadcast SET scheduled_at = app_now() - interval '1 minute'"))
    refused(Invalid, lambda: desk.submit(broadcast_id))


def test_after_it_is_handed_in_nothing_changes(desk: Desk) -> None:
    """#82: edit after submit, submit twice; and what the pages refuse, the database refuses too."""
    broadcast_id = desk.write()
    desk.submit(broadcast_id)
    assert refused(writing.NotADraft, lambda: desk.save(broadcast_id, Draft(HELLO))).status == 409
    assert refused(writing.NotPossibleNow, lambda: desk.submit(broadcast_id)).status == 409
    for statement in (
        "UPDATE broadcast_words SET text = '关注送红包'",
        "UPDATE broadcast SET wanted = '{}', hello_days = 1",
        "UPDATE broadcast SET state = 'approved'",
    ):
        with (
            pytest.raises(DBAPIError),
            desk.runtime.transaction(Role.MERCHANT, merchant_id=desk.id) as session,
        ):
            session.execute(text(statement))
    with desk.runtime.transaction(Role.MERCHANT, merchant_id=desk.id) as session:
        writing.withdraw(session, merchant_id=desk.id, broadcast_id=broadcast_id)
    desk.save(broadcast_id, replace(Draft(HELLO), name="改过"))
    assert desk.get(broadcast_id).name == "改过"


def test_giving_up_and_taking_an_old_one_again(desk: Desk) -> None:
    broadcast_id = desk.write(Draft(HELLO, name="旧的", wanted=Filter(seen_within_days=30), hello_days=2))
    desk.submit(broadcast_id)
    with desk.runtime.transaction(Role.MERCHANT, merchant_id=desk.id) as session:
        writing.cancel(session, merchant_id=desk.id, broadcast_id=broadcast_id)
    with desk.runtime.transaction(Role.MERCHANT, merchant_id=desk.id) as session:
        new_id = writing.copy(session, merchant_id=desk.id, broadcast_id=broadcast_id, staff_id=WRITER)
        unwanted = writing.create(session, merchant_id=desk.id, staff_id=WRITER)
        writing.cancel(session, merchant_id=desk.id, broadcast_id=unwanted)
        assert [one.id for one in writing.page(session, merchant_id=desk.id)] == [new_id, broadcast_id]
        assert (
            writing.page(session, merchant_id=desk.id, search="新茶到", states=[BroadcastState.DRAFT])[0].id == new_id
        )
        with pytest.raises(writing.NotPossibleNow):
            writing.withdraw(session, merchant_id=desk.id, broadcast_id=broadcast_id)
    new = desk.get(new_id)
    assert (new.state, new.name, new.wanted, new.hello_days) == ("draft", "旧的", {"seen_within_days": 30}, 2)
    assert desk.words(new_id)["a"].text == "新茶到了"


def test_templates_are_ones_own_and_the_platforms(desk: Desk) -> None:
    other = Desk(desk.runtime, "面馆", fans=0)
    broadcast_id = desk.write()
    with desk.runtime.transaction(Role.MERCHANT, merchant_id=desk.id) as session:
        writing.keep_template(session, merchant_id=desk.id, broadcast_id=broadcast_id, name="新茶")
        writing.keep_template(session, merchant_id=desk.id, broadcast_id=broadcast_id, name="新茶")
        own, *built_in = writing.templates(session, merchant_id=desk.id)
        assert (own.name, own.words.text, own.is_own) == ("新茶", "新茶到了", True)
        assert [one.key for one in built_in] == list(writing.BUILT_IN)
        new_id = writing.create(session, merchant_id=desk.id, staff_id=WRITER, words=own.words)
    assert desk.words(new_id)["a"].text == "新茶到了"
    with desk.runtime.transaction(Role.MERCHANT, merchant_id=other.id) as session:
        with pytest.raises(NotFound):
            writing.template(session, merchant_id=other.id, key=own.key)
        with pytest.raises(NotFound):
            writing.remove_template(session, merchant_id=other.id, template_id=int(own.key))
    with desk.runtime.transaction(Role.MERCHANT, merchant_id=desk.id) as session:
        assert writing.remove_template(session, merchant_id=desk.id, template_id=int(own.key)) == "新茶"


def test_the_platforms_templates_pass_the_linter(desk: Desk) -> None:
    for template in writing.BUILT_IN.values():
        words = template.words
        draft = Draft({"a": replace(words, picture_id=desk.picture()) if words.kind is WordsKind.ARTICLE else words})
        broadcast_id = desk.write(draft)
        desk.submit(broadcast_id)
