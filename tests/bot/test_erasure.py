"""Forgetting people: when it is due, what goes, what stays, and that nothing is found afterwards (FA-2 to FA-4)."""

from datetime import datetime, timedelta
from typing import Any

import pytest
import redis
from sqlalchemy import LargeBinary, text
from sqlalchemy.dialects.postgresql import JSONB

from bot import erasers, own_words, periodic, retention
from bot.effects import ERASE_AFTER
from bot.events import AuthorizationCancelled
from bot.inbox import Inbox
from bot.jobs import HANDLERS
from core import jobs, migrate, outbox
from core.database import Role
from core.errors import NotFound
from core.outbox import DEFAULT, Task
from core.runtime import Runtime
from core.scheduler import Scheduler
from merchants.models import FollowStatus
from qrcodes import fans
from tests.community import Neighbourhood, new_openid, scanned, subscribed, unsubscribed, wrote
from tests.conftest import advance

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
ANN = new_openid()
SECRET_WORDS = "我家在七栋三零一"


def query(runtime: Runtime, statement: str, **given: Any) -> list[Any]:
    with runtime.transaction(Role.PLATFORM) as session:
        return list(session.execute(text(statement), given))


def run(runtime: Runtime) -> None:
    """What the scheduler starts and the workers do about it."""
    Scheduler(runtime, [task for task in periodic.TASKS if task.name == "due erasures"]).start_due()
    with runtime.transaction(Role.PLATFORM) as session:
        session.execute(
            text("UPDATE outbox SET state = 'done', finished_at = now() WHERE kind <> :erase"), {"erase": erasers.ERASE}
        )
    jobs.drain(runtime, HANDLERS, DEFAULT)


def note(runtime: Runtime, words: str = SECRET_WORDS) -> None:
    """What a merchant writes on the cards of all its fans."""
    with runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("UPDATE fan SET note = :words"), {"words": words})
        session.execute(text("INSERT INTO fan_tag SELECT merchant_id, follower_id, :words FROM fan"), {"words": words})


def status(runtime: Runtime) -> FollowStatus:
    return FollowStatus(query(runtime, "SELECT status FROM follower")[0].status)


def hits(runtime: Runtime, canary: str) -> list[str]:
    """Every column of every table in which the words are found."""
    found = []
    tables = migrate.metadata().sorted_tables
    for table in tables:
        for column in table.columns:
            kind = column.type
            if isinstance(kind, LargeBinary):
                condition = f"position(convert_to(:canary, 'UTF8') IN \"{column.name}\") > 0"
            else:
                condition = f'position(:canary IN "{column.name}"::text) > 0'
            if query(runtime, f'SELECT 1 FROM "{table.name}" WHERE {condition} LIMIT 1', canary=canary):  # noqa: S608
                found.append(f"{table.name}.{column.name}")
    assert any(isinstance(column.type, JSONB) for table in tables for column in table.columns)
    return found


def in_redis(runtime: Runtime, canary: str) -> bool:
    client = redis.Redis.from_url(runtime.redis_url)
    return any(
        canary.encode() in bytes(key) or canary.encode() in (client.dump(key) or b"") for key in client.scan_iter()
    )


# ---- On request ------------------------------------------------------------------------------------------------------


def test_nothing_is_found_of_who_asked_to_be_forgotten(
    runtime: Runtime, street: Neighbourhood, inbox: Inbox, capfd: pytest.CaptureFixture[str]
) -> None:
    tea, noodles = street.code(street.merchant("茶馆")), street.code(street.merchant("面馆"))
    openid, phone = new_openid(), "13912345678"
    inbox.receive([subscribed(openid, street.now - DAY, tea.scene)])
    inbox.receive([scanned(openid, street.now - HOUR, noodles.scene)])
    inbox.receive([wrote(openid, street.now - HOUR, f"{SECRET_WORDS} {phone}")])
    inbox.bury(f"<xml><FromUserName>{openid}</FromUserName><Content>{phone}</Content></xml>".encode(), "not usable")
    note(runtime)
    canaries = (openid, phone, SECRET_WORDS)
    assert [set(hits(runtime, canary)) for canary in canaries] == [
        {"follower.openid", "dead_letter.body"},
        {"inbox_event.body", "talk_message.content", "talk.preview", "dead_letter.body"},
        {"inbox_event.body", "talk_message.content", "talk.preview", "fan.note", "fan_tag.tag"},
    ]
    inbox.receive([wrote(openid, street.now, own_words.ERASE)])
    run(runtime)
    runtime.bell.flush()
    assert [hits(runtime, canary) for canary in canaries] == [[], [], []]
    assert not any(in_redis(runtime, canary) for canary in canaries)
    printed = "".join(capfd.readouterr())
    assert not any(canary in printed for canary in canaries)


@pytest.mark.parametrize(
    "said",
    [
        f"{own_words.ERASE}？",
        f"“{own_words.ERASE}”是什么意思",
        f"怎么{own_words.ERASE}",
        f"{own_words.ERASE}" + "。" * 3 + "？",
    ],
)
def test_who_asks_about_the_words_of_deletion_loses_nothing(
    runtime: Runtime, street: Neighbourhood, inbox: Inbox, said: str
) -> None:
    inbox.receive([subscribed(ANN, street.now - timedelta(minutes=5), None)])
    inbox.receive([wrote(ANN, street.now, said)])
    run(runtime)
    assert query(runtime, "SELECT openid FROM follower") == [(ANN,)]


def test_a_request_that_comes_late_is_met_all_the_same(runtime: Runtime, street: Neighbourhood, inbox: Inbox) -> None:
    code = street.code(street.merchant("茶馆"))
    inbox.receive([subscribed(ANN, street.now - timedelta(minutes=5), code.scene)])
    inbox.receive([wrote(ANN, street.now, "在吗")])
    inbox.receive([wrote(ANN, street.now - timedelta(seconds=2), own_words.ERASE)])
    run(runtime)
    assert query(runtime, "SELECT openid FROM follower") == [(None,)]


def test_who_closes_the_wechat_account_has_left_and_is_forgotten(
    runtime: Runtime, street: Neighbourhood, inbox: Inbox
) -> None:
    code = street.code(street.merchant("茶馆"))
    inbox.receive([subscribed(ANN, street.now - timedelta(minutes=5), code.scene)])
    inbox.receive([AuthorizationCancelled(openid=ANN, occurred_at=street.now, dedupe_key="e:closed", fields={})])
    run(runtime)
    assert query(runtime, "SELECT openid, status FROM follower") == [(None, FollowStatus.GONE)]
    assert query(runtime, "SELECT count(*) FROM follow_episode WHERE ended_at IS NULL") == [(0,)]


def test_what_was_counted_stays_counted(runtime: Runtime, street: Neighbourhood, inbox: Inbox) -> None:
    tea = street.code(street.merchant("茶馆"))
    openid = new_openid()
    inbox.receive([subscribed(openid, street.now - DAY, tea.scene)])
    inbox.receive([wrote(openid, street.now, own_words.ERASE)])
    tables = ("scan", "follow_episode", "attribution", "inbox_event", "fan", "message_window")
    before = [query(runtime, f"SELECT count(*) FROM {table}") for table in tables]  # noqa: S608
    run(runtime)
    assert [query(runtime, f"SELECT count(*) FROM {table}") for table in tables] == before  # noqa: S608
    assert status(runtime) is FollowStatus.FOLLOWING
    assert query(runtime, "SELECT reason FROM erasure_log") == [("request",)]


def test_who_writes_again_is_in_no_list_until_a_scan_starts_an_empty_card(
    runtime: Runtime, street: Neighbourhood, inbox: Inbox
) -> None:
    tea = street.code(street.merchant("茶馆"))
    openid = new_openid()
    inbox.receive([subscribed(openid, street.now - DAY, tea.scene)])
    note(runtime)
    inbox.receive([wrote(openid, street.now - HOUR, own_words.ERASE)])
    run(runtime)
    inbox.receive([wrote(openid, street.now, "在吗")])
    assert query(runtime, "SELECT openid, erased_at FROM follower") == [(openid, None)]
    assert query(runtime, "SELECT count(*) FROM fan WHERE erased_at IS NULL") == [(0,)]
    inbox.receive([scanned(openid, street.now, tea.scene)])
    assert query(runtime, "SELECT note, erased_at FROM fan") == [("", None)]
    assert query(runtime, "SELECT count(*) FROM follower") == [(1,)]


def test_what_a_merchant_writes_a_moment_later_finds_no_card(
    runtime: Runtime, street: Neighbourhood, inbox: Inbox
) -> None:
    tea = street.code(street.merchant("茶馆"))
    inbox.receive([subscribed(ann := new_openid(), street.now - DAY, tea.scene)])
    with runtime.transaction(Role.PLATFORM) as session:
        (fan,) = fans.page(session, tea.merchant_id)
    inbox.receive([wrote(ann, street.now, own_words.ERASE)])
    run(runtime)
    with runtime.transaction(Role.MERCHANT, merchant_id=tea.merchant_id) as session:
        with pytest.raises(NotFound):
            fans.set_tags(session, tea.merchant_id, fan.follower_id, [SECRET_WORDS])
        with pytest.raises(NotFound):
            fans.set_note(session, tea.merchant_id, fan.follower_id, SECRET_WORDS)
    assert hits(runtime, SECRET_WORDS) == []


def test_doing_it_twice_takes_nothing_that_came_since(runtime: Runtime, street: Neighbourhood, inbox: Inbox) -> None:
    openid = new_openid()
    inbox.receive([subscribed(openid, street.now - DAY)])
    inbox.receive([wrote(openid, street.now - HOUR, own_words.ERASE)])
    with runtime.transaction(Role.PLATFORM) as session:
        task = outbox.claim(session, DEFAULT)
    assert task is not None
    assert task.kind == erasers.ERASE
    erasers.erase_follower(runtime, task)
    inbox.receive([wrote(openid, street.now, "我回来了")])
    erasers.erase_follower(runtime, task)
    assert query(runtime, "SELECT openid FROM follower") == [(openid,)]
    assert query(runtime, "SELECT count(*) FROM erasure_log") == [(1,)]


def test_a_late_delivery_about_the_forgotten_is_counted_and_not_kept(
    runtime: Runtime, street: Neighbourhood, inbox: Inbox
) -> None:
    tea = street.code(street.merchant("茶馆"))
    openid = new_openid()
    inbox.receive([subscribed(openid, street.now - DAY)])
    inbox.receive([wrote(openid, street.now, own_words.ERASE)])
    run(runtime)
    inbox.receive([wrote(openid, street.now - HOUR, SECRET_WORDS)])
    inbox.receive([scanned(openid, street.now - HOUR, tea.scene)])
    assert hits(runtime, openid) == hits(runtime, SECRET_WORDS) == []
    assert query(runtime, "SELECT count(*) FROM scan") == [(1,)]


def test_a_late_scan_of_who_was_forgotten_and_left_fills_no_card(
    runtime: Runtime, street: Neighbourhood, inbox: Inbox
) -> None:
    tea = street.code(street.merchant("茶馆"))
    openid = new_openid()
    inbox.receive([subscribed(openid, street.now - DAY, tea.scene)])
    inbox.receive([wrote(openid, street.now - HOUR, own_words.ERASE)])
    run(runtime)
    inbox.receive([unsubscribed(openid, street.now)])
    inbox.receive([scanned(openid, street.now - timedelta(seconds=5), tea.scene)])
    assert query(runtime, "SELECT erased_at IS NOT NULL, last_touch_at FROM fan") == [
        (True, street.now - timedelta(seconds=5))
    ]


def test_words_of_the_second_in_which_the_forgotten_left_bring_nobody_back(
    runtime: Runtime, street: Neighbourhood, inbox: Inbox
) -> None:
    tea = street.code(street.merchant("茶馆"))
    openid = new_openid()
    inbox.receive([subscribed(openid, street.now - DAY, tea.scene)])
    inbox.receive([wrote(openid, street.now - HOUR, own_words.ERASE)])
    inbox.receive([unsubscribed(openid, street.now)])
    run(runtime)
    assert inbox.receive([wrote(openid, street.now, SECRET_WORDS)]) == [None]
    assert inbox.receive([scanned(openid, street.now, tea.scene)]) == [None]
    assert hits(runtime, openid) == hits(runtime, SECRET_WORDS) == []
    assert status(runtime) is FollowStatus.GONE


# ---- After leaving ---------------------------------------------------------------------------------------------------


def leave(runtime: Runtime, street: Neighbourhood, inbox: Inbox, openid: str, at: datetime) -> None:
    tea = street.code(street.merchant("茶馆"))
    inbox.receive([subscribed(openid, at - 9 * DAY, tea.scene)])
    note(runtime)
    inbox.receive([unsubscribed(openid, at)])


def test_who_left_is_forgotten_after_a_day(runtime: Runtime, street: Neighbourhood, inbox: Inbox) -> None:
    openid = new_openid()
    leave(runtime, street, inbox, openid, street.now)
    run(runtime)
    assert hits(runtime, openid)
    advance(runtime, ERASE_AFTER + timedelta(minutes=1))
    run(runtime)
    assert hits(runtime, openid) == hits(runtime, SECRET_WORDS) == []
    assert query(runtime, "SELECT status, reason FROM follower JOIN erasure_log l ON l.follower_id = follower.id") == [
        ("gone", "left")
    ]
    run(runtime)
    assert query(runtime, "SELECT count(*) FROM erasure_log") == [(1,)]


def test_who_comes_back_in_time_keeps_everything(runtime: Runtime, street: Neighbourhood, inbox: Inbox) -> None:
    openid = new_openid()
    leave(runtime, street, inbox, openid, street.now - 2 * DAY)
    # The sweep has found them; the worker is only a moment later than they.
    with runtime.transaction(Role.PLATFORM) as session:
        erasers.owe_due(session, runtime.now())
    inbox.receive([subscribed(openid, street.now)])
    run(runtime)
    assert query(runtime, "SELECT openid, erased_at, erase_due_at FROM follower") == [(openid, None, None)]
    assert query(runtime, "SELECT note FROM fan") == [(SECRET_WORDS,)]


def test_who_comes_back_after_it_is_known_by_the_key_and_starts_anew(
    runtime: Runtime, street: Neighbourhood, inbox: Inbox
) -> None:
    openid = new_openid()
    leave(runtime, street, inbox, openid, street.now - 3 * DAY)
    run(runtime)
    inbox.receive([subscribed(openid, street.now)])
    assert query(runtime, "SELECT openid, status, erased_at FROM follower") == [(openid, "following", None)]
    assert query(runtime, "SELECT kind, rule FROM attribution ORDER BY id DESC LIMIT 1") == [
        ("returning", "former-merchant")
    ]
    assert query(runtime, "SELECT note, erased_at FROM fan") == [("", None)]
    assert query(runtime, "SELECT count(*) FROM fan_tag") == [(0,)]


def test_a_leave_told_late_forgets_nobody_who_is_back(runtime: Runtime, street: Neighbourhood, inbox: Inbox) -> None:
    openid = new_openid()
    inbox.receive([subscribed(openid, street.now - HOUR)])
    inbox.receive([unsubscribed(openid, street.now - 2 * DAY)])
    run(runtime)
    assert query(runtime, "SELECT openid, erase_due_at FROM follower") == [(openid, None)]


# ---- After a restored backup -----------------------------------------------------------------------------------------


def test_a_restored_backup_forgets_again(runtime: Runtime, street: Neighbourhood, inbox: Inbox) -> None:
    forgotten, back, other = new_openid(), new_openid(), new_openid()
    for openid in (forgotten, back, other):
        inbox.receive([subscribed(openid, street.now - DAY)])
    for openid in (forgotten, back):
        inbox.receive([wrote(openid, street.now - HOUR, own_words.ERASE)])
    # As restored: the log is newer than everything else.
    with runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("UPDATE outbox SET state = 'done', finished_at = now()"))
        session.execute(
            text("""
                INSERT INTO erasure_log (at, follower_id, person_key, reason)
                SELECT :at, id + 1000, person_key, 'request' FROM follower WHERE openid IN (:forgotten, :back)"""),
            {"at": street.now - timedelta(minutes=30), "forgotten": forgotten, "back": back},
        )
    inbox.receive([wrote(back, street.now, "我又来了")])
    with runtime.transaction(Role.PLATFORM) as session:
        assert erasers.replay_erasures(session) == 1
    with runtime.transaction(Role.PLATFORM) as session:
        assert erasers.replay_erasures(session) == 0
    known = {row.openid for row in query(runtime, "SELECT openid FROM follower")}
    assert known == {None, back, other}


# ---- Retention -------------------------------------------------------------------------------------------------------


def test_texts_are_kept_for_thirty_days(runtime: Runtime, street: Neighbourhood, inbox: Inbox) -> None:
    old, new = new_openid(), new_openid()
    inbox.receive([subscribed(old, street.now)])
    inbox.receive([wrote(old, street.now, SECRET_WORDS)])
    inbox.bury(SECRET_WORDS.encode(), "not usable")
    advance(runtime, 31 * DAY)
    inbox.receive([subscribed(new, runtime.now().replace(microsecond=0))])
    forget(runtime)
    assert hits(runtime, SECRET_WORDS) == []
    assert query(runtime, "SELECT count(*), count(body), count(reply) FROM inbox_event") == [(3, 1, 1)]
    assert query(runtime, "SELECT count(*) FROM message_window") == [(3,)]
    advance(runtime, 80 * DAY)
    forget(runtime)
    assert query(runtime, "SELECT count(*) FROM message_window") == [(0,)]


def test_many_rows_are_forgotten_a_few_at_a_time(
    runtime: Runtime, street: Neighbourhood, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "ROWS_AT_ONCE", 2)
    inbox.receive([wrote(new_openid(), street.now, SECRET_WORDS) for _ in range(5)])
    advance(runtime, 31 * DAY)
    forget(runtime)
    assert query(runtime, "SELECT count(body) FROM inbox_event") == [(0,)]


def test_sessions_and_invitations_end(runtime: Runtime, street: Neighbourhood) -> None:
    with runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("INSERT INTO staff (role, name) VALUES ('operator', '老王')"))
        for days in (-1, 1):
            given = {"token": str(days).encode(), "at": street.now + days * DAY}
            session.execute(
                text("INSERT INTO invitation (staff_id, token_hash, expires_at) SELECT id, :token, :at FROM staff"),
                given,
            )
            session.execute(
                text("""
                    INSERT INTO login_session (staff_id, token_hash, role, expires_at)
                    SELECT id, :token, 'operator', :at FROM staff"""),
                given,
            )
    forget(runtime)
    for table in ("invitation", "login_session"):
        assert query(runtime, f"SELECT token_hash FROM {table}") == [(b"1",)]  # noqa: S608


def forget(runtime: Runtime) -> None:
    retention.forget_old(runtime, Task(0, retention.FORGET, {}, None, 1, 0))
