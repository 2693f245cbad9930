"""One token for everybody: fetched once however many ask, replaced once however many are refused (AU-7)."""

import logging
import multiprocessing
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from core.database import Database, Role
from core.logging import scrubber
from tests.wechat.conftest import CANARY, Answer, FakePlatform, LostReply
from tests.wechat.test_transport import assert_clean
from wechat import tokens as tokens_module
from wechat import transport as transport_module
from wechat.client import WeChatClient
from wechat.errors import Misconfigured, OutcomeUnknown, TokenRejected, WaitAMinute
from wechat.tokens import Token, TokenStore
from wechat.transport import Transport

TOKEN_PATH = "/cgi-bin/stable_token"
NewStore = Callable[[], TokenStore]


def let_pass(database: Database, app_id: str, passed: timedelta) -> None:
    """Real time cannot be moved, so what the row remembers is moved into the past."""
    with database.transaction(Role.PLATFORM) as session:
        session.execute(
            text(
                "UPDATE wechat_token SET expires_at = expires_at - :passed, refreshed_at = refreshed_at - :passed,"
                " replaced_at = replaced_at - :passed, last_forced_at = last_forced_at - :passed WHERE app_id = :app_id"
            ),
            {"passed": passed, "app_id": app_id},
        )


def forced(platform: FakePlatform) -> list[bool]:
    return [request.json["force_refresh"] for request in platform.calls(TOKEN_PATH)]


def test_a_token_is_asked_for_once_and_kept(platform: FakePlatform, new_store: NewStore) -> None:
    store = new_store()
    assert store.current() == store.current() == new_store().current() == Token(platform.token, 1)
    assert forced(platform) == [False]


def test_logs_know_the_token_wherever_it_stands(platform: FakePlatform, new_store: NewStore) -> None:
    new_store().current()
    assert platform.token not in scrubber.text(f"surprise: <{platform.token}>")


def test_the_request_is_as_documented(platform: FakePlatform, new_store: NewStore, app_id: str) -> None:
    new_store().current()
    assert platform.requests[0].method == "POST"
    assert platform.requests[0].json == {
        "grant_type": "client_credential",
        "appid": app_id,
        "secret": CANARY,
        "force_refresh": False,
    }
    assert platform.requests[0].query == {}


def test_eight_processes_with_a_cold_token_make_one_call(
    platform: FakePlatform, new_store: NewStore, database: Database
) -> None:
    platform.token_delay = 0.3
    store = new_store()
    processes = multiprocessing.get_context("fork")
    answers: Any = processes.SimpleQueue()

    def ask() -> None:
        database.engine(Role.PLATFORM).dispose(close=False)  # the parent's connections are not ours
        answers.put(store.current())

    workers = [processes.Process(target=ask) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert [worker.exitcode for worker in workers] == [0] * 8
    assert {answers.get() for _ in workers} == {Token(platform.token, 1)}
    assert forced(platform) == [False]


def test_a_storm_of_refusals_ends_after_one_replacement(
    platform: FakePlatform, client: WeChatClient, new_store: NewStore, transport: Transport, app_id: str
) -> None:
    """F19: whatever the token, the platform refuses it."""
    platform.always("/cgi-bin/user/info", {"errcode": 42001, "errmsg": "access_token expired rid: 1-2"})
    clients = [client, *(WeChatClient(app_id=app_id, transport=transport, tokens=new_store()) for _ in range(3))]

    def ask(number: int) -> type[BaseException]:
        with pytest.raises((TokenRejected, WaitAMinute)) as refused:
            clients[number % 4].user_info("o-ann")
        return refused.type

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(ask, range(40))) == {TokenRejected, WaitAMinute}
    assert len(platform.calls(TOKEN_PATH)) <= 2
    assert len(platform.calls("/cgi-bin/user/info")) <= 2 * 40


def test_a_revoked_token_is_replaced_without_force(
    platform: FakePlatform, new_store: NewStore, database: Database, app_id: str
) -> None:
    store, other = new_store(), new_store()
    old = store.current()
    assert other.current() == old
    let_pass(database, app_id, timedelta(minutes=10))
    platform.revoke()
    assert store.replacement(old) == Token(platform.token, 2)
    assert other.replacement(old) == Token(platform.token, 2)
    assert forced(platform) == [False, False]


def test_force_is_used_when_the_platform_hands_out_the_refused_token_again(
    platform: FakePlatform, new_store: NewStore, database: Database, app_id: str
) -> None:
    store = new_store()
    old = store.current()
    let_pass(database, app_id, timedelta(minutes=10))
    assert store.replacement(old) == Token(platform.token, 2)
    assert forced(platform) == [False, False, True]


def test_a_token_refused_right_after_it_came_is_replaced_by_force(platform: FakePlatform, new_store: NewStore) -> None:
    store = new_store()
    assert store.replacement(store.current()).version == 2
    assert forced(platform) == [False, True]


def test_a_second_replacement_has_to_wait_half_a_minute(
    platform: FakePlatform, new_store: NewStore, database: Database, app_id: str
) -> None:
    store = new_store()
    second = store.replacement(store.current())
    with pytest.raises(WaitAMinute, match="moments ago"):
        store.replacement(second)
    with pytest.raises(WaitAMinute, match="moments ago"):
        new_store().replacement(second)
    assert len(forced(platform)) == 2
    let_pass(database, app_id, timedelta(seconds=31))
    assert store.replacement(second).version == 3


def test_a_failed_replacement_counts_too(platform: FakePlatform, new_store: NewStore) -> None:
    store = new_store()
    first = store.current()
    platform.next(TOKEN_PATH, LostReply())
    with pytest.raises(WaitAMinute):
        store.replacement(first)
    with pytest.raises(WaitAMinute, match="moments ago"):
        store.replacement(first)
    assert len(forced(platform)) == 2


def test_force_is_used_twenty_times_a_day_at_most(
    platform: FakePlatform, new_store: NewStore, database: Database, app_id: str
) -> None:
    store = new_store()
    token = store.current()
    for _ in range(20):
        token = store.replacement(token)
        let_pass(database, app_id, timedelta(seconds=31))
    with pytest.raises(TokenRejected, match="its own token"):
        store.replacement(token)
    assert forced(platform).count(True) == 20
    with database.transaction(Role.PLATFORM) as session:
        session.execute(
            text("UPDATE wechat_token SET forced_on = forced_on - 1 WHERE app_id = :app_id"), {"app_id": app_id}
        )
    let_pass(database, app_id, timedelta(seconds=31))
    assert store.replacement(token).version == 22


def test_a_token_is_renewed_five_minutes_before_its_end(
    platform: FakePlatform, new_store: NewStore, database: Database, app_id: str
) -> None:
    new_store().current()
    let_pass(database, app_id, timedelta(seconds=7200 - 310))
    assert new_store().current().version == 1
    let_pass(database, app_id, timedelta(seconds=20))
    platform.revoke()
    assert new_store().current() == Token(platform.token, 2)
    assert forced(platform) == [False, False]


def test_a_token_in_its_last_minutes_is_not_asked_about_all_the_time(
    platform: FakePlatform, new_store: NewStore
) -> None:
    platform.lifetime = 120
    store = new_store()
    assert [store.current() for _ in range(5)] == [Token(platform.token, 1)] * 5
    assert new_store().current() == Token(platform.token, 1)
    assert forced(platform) == [False]


def test_memory_forgets_in_time(
    platform: FakePlatform, new_store: NewStore, monkeypatch: pytest.MonkeyPatch, database: Database, app_id: str
) -> None:
    store = new_store()
    store.current()
    later = time.monotonic() + 7200 - 299
    monkeypatch.setattr("wechat.tokens.time", SimpleNamespace(monotonic=lambda: later))
    let_pass(database, app_id, timedelta(seconds=7200 - 299))
    platform.revoke()
    assert store.current() == Token(platform.token, 2)


@pytest.mark.parametrize(
    "answer",
    [
        LostReply(),
        Answer(b"<html>"),
        {"errcode": -1, "errmsg": "system busy"},
        {"errcode": 45011, "errmsg": "minute"},
        {"access_token": "t"},
        {"access_token": "", "expires_in": 7200},
        {"access_token": "t\x00", "expires_in": 7200},
        {"access_token": "令牌", "expires_in": 7200},
        {"access_token": "t", "expires_in": "7200"},
        {"access_token": "t", "expires_in": 0},
        {"access_token": "t", "expires_in": True},
    ],
)
def test_without_a_token_the_call_was_certainly_not_made(
    platform: FakePlatform, client: WeChatClient, answer: Any
) -> None:
    platform.next(TOKEN_PATH, answer)
    with pytest.raises(WaitAMinute):
        client.send_text("o-ann", "您好")
    assert [request.path for request in platform.requests] == [TOKEN_PATH]


def test_a_slow_token_call_is_given_up(
    platform: FakePlatform, client: WeChatClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport_module, "READ_SECONDS", 0.2)
    platform.next(TOKEN_PATH, Answer(b"{}", after=5))
    with pytest.raises(WaitAMinute):
        client.callback_ips()


@pytest.mark.parametrize("errcode", [40001, 40013, 40125, 40164, 61004, 40243, 89503, 50002])
def test_a_wrong_secret_or_address_is_for_the_operator(
    platform: FakePlatform, new_store: NewStore, errcode: int
) -> None:
    platform.next(TOKEN_PATH, {"errcode": errcode, "errmsg": f"invalid {CANARY} rid: 4-5"})
    with pytest.raises(Misconfigured) as refused:
        new_store().current()
    assert refused.value.errcode == errcode
    assert refused.value.rid == "4-5"
    assert_clean(refused.value)
    assert forced(platform) == [False]


def test_another_process_that_hangs_does_not_hang_us(
    new_store: NewStore, database: Database, app_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens_module, "LOCK_SECONDS", 1)
    with database.transaction(Role.PLATFORM) as session:
        session.execute(
            text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": f"wechat_token {app_id}"}
        )
        with pytest.raises(WaitAMinute):
            new_store().current()


def test_the_token_is_in_no_repr_and_no_log(
    platform: FakePlatform, new_store: NewStore, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    store = new_store()
    assert CANARY not in f"{store.current()!r} {store!r} {vars(store)!r}"
    store.replacement(store.current())
    assert CANARY not in caplog.text + "".join(capsys.readouterr())


def test_a_send_with_an_unknown_outcome_never_touches_the_token(platform: FakePlatform, client: WeChatClient) -> None:
    platform.next("/cgi-bin/message/custom/send", LostReply())
    with pytest.raises(OutcomeUnknown):
        client.send_text("o-ann", "您好")
    assert forced(platform) == [False]


def test_a_failing_statement_does_not_tell_the_token(
    platform: FakePlatform,
    new_store: NewStore,
    database: Database,
    app_id: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tokens_module, "LOCK_SECONDS", 1)
    rejected = new_store().current()
    with database.transaction(Role.PLATFORM) as session:
        session.execute(text("SELECT 1 FROM wechat_token WHERE app_id = :app_id FOR UPDATE"), {"app_id": app_id})
        with pytest.raises(DBAPIError) as failed:
            new_store().replacement(rejected)
    assert "UPDATE wechat_token" in str(failed.value)
    assert CANARY not in "".join(traceback.format_exception(failed.value))
