"""People who come by the pages: one row for each, whatever the inbox, the erasure and the pages do to it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from bot import erasers
from bot.inbox import Inbox
from bot.reconcile import take_in
from core.database import Role
from core.errors import Invalid
from core.runtime import Runtime
from merchants import owners
from merchants.owners import Met
from merchants.staff import token_hash
from tests.community import Neighbourhood, new_openid, scanned, subscribed, unsubscribed, wrote

LONG = timedelta(days=3)


@pytest.fixture
def street(runtime: Runtime) -> Neighbourhood:
    return Neighbourhood(runtime)


def arrive(runtime: Runtime, openid: str) -> Met:
    with runtime.transaction(Role.PLATFORM) as session:
        return owners.arrive(session, runtime, openid=openid, now=runtime.now())


def row_of(runtime: Runtime, follower_id: int) -> Any:
    with runtime.transaction(Role.PLATFORM) as session:
        return session.execute(
            text("SELECT openid, status, erased_at, state_as_of FROM follower WHERE id = :id"), {"id": follower_id}
        ).one()


def test_who_comes_by_the_pages_is_one_person_and_follows_nobody(runtime: Runtime, street: Neighbourhood) -> None:
    openid = new_openid()
    first = arrive(runtime, openid)
    assert arrive(runtime, openid) == Met(first.follower_id, is_new=False)
    assert first.is_new
    assert tuple(row_of(runtime, first.follower_id)) == (openid, "unknown", None, None)


def test_who_follows_later_is_new_and_credited(runtime: Runtime, street: Neighbourhood) -> None:
    """The visit before counts for nobody and against nobody."""
    openid, code = new_openid(), street.code(street.merchant("老王豆浆"))
    follower_id = arrive(runtime, openid).follower_id
    Inbox(runtime).receive([subscribed(openid, street.now, code.scene)])
    with runtime.transaction(Role.PLATFORM) as session:
        credited = session.execute(
            text("SELECT follower_id, kind, merchant_id, code_id FROM attribution WHERE supersedes IS NULL")
        ).one()
    assert tuple(credited) == (follower_id, "new", code.merchant_id, code.id)
    assert row_of(runtime, follower_id).status == "following"
    assert arrive(runtime, openid) == Met(follower_id, is_new=False)
    assert row_of(runtime, follower_id).status == "following"


def test_who_has_followed_is_met_as_the_same_person(runtime: Runtime, street: Neighbourhood) -> None:
    openid = new_openid()
    Inbox(runtime).receive([subscribed(openid, street.now)])
    assert not arrive(runtime, openid).is_new
    with runtime.transaction(Role.PLATFORM) as session:
        assert session.scalars(text("SELECT count(*) FROM follower")).one() == 1


@pytest.mark.parametrize(("has_left", "status"), [(False, "following"), (True, "unknown")])
def test_who_was_forgotten_and_comes_back_is_known_again(
    runtime: Runtime, street: Neighbourhood, has_left: bool, status: str
) -> None:
    openid, inbox = new_openid(), Inbox(runtime)
    inbox.receive([subscribed(openid, street.now - LONG)])
    if has_left:
        inbox.receive([unsubscribed(openid, street.now - LONG / 2)])
    follower_id = arrive(runtime, openid).follower_id
    erasers.forget_now(runtime, follower_id)
    assert row_of(runtime, follower_id).openid is None
    assert arrive(runtime, openid) == Met(follower_id, is_new=False)
    assert tuple(row_of(runtime, follower_id))[:3] == (openid, status, None)
    # And the chat goes on from there.
    inbox.receive([scanned(openid, street.now + timedelta(seconds=5), None)])
    assert row_of(runtime, follower_id).status == "following"
    inbox.receive([unsubscribed(openid, street.now + timedelta(seconds=9))])
    assert row_of(runtime, follower_id).status == "gone"


def test_a_visit_does_not_keep_what_is_due_to_be_forgotten(runtime: Runtime, street: Neighbourhood) -> None:
    """Who has just left and looks at the card is forgotten a day after leaving all the same."""
    openid, inbox = new_openid(), Inbox(runtime)
    inbox.receive([subscribed(openid, street.now - LONG)])
    inbox.receive([unsubscribed(openid, street.now - timedelta(hours=1))])
    follower_id = arrive(runtime, openid).follower_id
    with runtime.transaction(Role.PLATFORM) as session:
        due = session.scalars(text("SELECT erase_due_at FROM follower")).one()
    assert due == street.now + timedelta(hours=23)
    assert row_of(runtime, follower_id).status == "gone"


def test_who_stays_unknown_is_left_alone_by_the_reconciler(runtime: Runtime, street: Neighbourhood) -> None:
    follower_id = arrive(runtime, new_openid()).follower_id
    take_in(runtime, Inbox(runtime), [])
    assert row_of(runtime, follower_id).status == "unknown"


def test_many_taps_at_once_meet_one_person(runtime: Runtime, street: Neighbourhood) -> None:
    """Ten times over, five taps and an event of theirs at the same moment."""
    inbox = Inbox(runtime)
    _ = inbox.account
    for _round in range(10):
        openid = new_openid()
        follow = subscribed(openid, street.now)
        with ThreadPoolExecutor(6) as pool:
            taps = [pool.submit(arrive, runtime, openid) for _ in range(5)]
            event = pool.submit(inbox.receive, [follow])
            met = [tap.result() for tap in taps]
            event.result()
        assert len({one.follower_id for one in met}) == 1
        assert sum(one.is_new for one in met) <= 1
        assert row_of(runtime, met[0].follower_id).status == "following"


def test_a_new_secret_key_finds_the_same_people(runtime: Runtime, street: Neighbourhood) -> None:
    openid = new_openid()
    known = arrive(runtime, openid)
    other = replace(
        runtime,
        settings=runtime.settings.model_copy(update={"secret_key": SecretStr("another secret key, just as long")}),
    )
    assert arrive(other, openid) == Met(known.follower_id, is_new=False)


def test_a_message_id_used_again_takes_no_owner_away(runtime: Runtime, street: Neighbourhood) -> None:
    """The impostor was met by the pages before: what is dropped is only who came with that message."""
    ann, ben, inbox = new_openid(), new_openid(), Inbox(runtime)
    first = wrote(ann, street.now)
    inbox.receive([first])
    follower_id = arrive(runtime, ben).follower_id
    inbox.receive([replace(first, openid=ben)])
    assert row_of(runtime, follower_id).openid == ben
    inbox.receive([replace(first, openid=new_openid())])
    with runtime.transaction(Role.PLATFORM) as session:
        assert session.scalars(text("SELECT count(*) FROM follower")).one() == 2


@pytest.mark.parametrize("openid", ["", "o-short", "o" * 65, "o" * 27 + " ", "圈" * 28])
def test_nobody_is_met_under_an_odd_openid(runtime: Runtime, street: Neighbourhood, openid: str) -> None:
    with pytest.raises(owners.NoIdentity):
        arrive(runtime, openid)


def test_sessions_end_one_by_one_all_together_and_with_an_erasure(runtime: Runtime, street: Neighbourhood) -> None:
    ann, ben = (arrive(runtime, new_openid()).follower_id for _ in range(2))

    def begin(follower_id: int) -> bytes:
        with runtime.transaction(Role.PLATFORM) as session:
            return token_hash(owners.begin(session, follower_id=follower_id, now=runtime.now()))

    def is_alive(key: bytes) -> bool:
        with runtime.transaction(Role.FAN, session_hash=key) as session:
            return owners.resume(session, token_hash=key, now=runtime.now()) is not None

    first, second, third, bens = begin(ann), begin(ann), begin(ann), begin(ben)
    with runtime.transaction(Role.FAN, session_hash=first) as session:
        owners.end(session, token_hash=first)
    assert [is_alive(key) for key in (first, second, third, bens)] == [False, True, True, True]
    with runtime.transaction(Role.FAN, session_hash=second) as session:
        owners.resume(session, token_hash=second, now=runtime.now())
        owners.end_all(session, follower_id=ann)
        owners.end_all(session, follower_id=ben)
    assert [is_alive(key) for key in (second, third, bens)] == [False, False, True]
    erasers.forget_now(runtime, ben)
    assert not is_alive(bens)


def test_a_session_is_seen_with_its_own_cookie_only(runtime: Runtime, street: Neighbourhood) -> None:
    """TN-2: plain SQL as a guest sees no session, and another's key shows that one alone."""
    with runtime.transaction(Role.PLATFORM) as session:
        for _ in range(2):
            follower_id = owners.meet(session, runtime, openid=new_openid(), now=runtime.now())
            token = owners.begin(session, follower_id=follower_id, now=runtime.now())
    for key, seen in ((None, 0), (token_hash(token), 1), (token_hash("x"), 0)):
        with runtime.transaction(Role.FAN, session_hash=key) as session:
            assert session.scalars(text("SELECT count(*) FROM owner_session")).one() == seen


def test_a_birthday_is_a_day_that_exists_and_is_taken_back(runtime: Runtime, street: Neighbourhood) -> None:
    me = arrive(runtime, new_openid()).follower_id
    with runtime.transaction(Role.FAN, follower_id=me) as session:
        for month, day in ((2, 31), (2, 30), (4, 31), (13, 1), (0, 1)):
            with pytest.raises(Invalid):
                owners.set_birthday(session, follower_id=me, month=month, day=day, now=runtime.now())
        for month, day in ((2, 29), (12, 31)):
            owners.set_birthday(session, follower_id=me, month=month, day=day, now=runtime.now())
            assert owners.birthday(session, follower_id=me) == (month, day)
        owners.take_birthday_back(session, follower_id=me)
        assert owners.birthday(session, follower_id=me) is None
