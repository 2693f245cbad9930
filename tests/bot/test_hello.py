"""The next hello: what waited is added once, after the answer, where it belongs, and never twice (BC-2, BC-10)."""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
import requests
from sqlalchemy import text

import worker
from bot import own_words
from bot.erasers import ERASE, erase_follower
from bot.inbox import Inbox
from campaigns.broadcasts import control, hello
from core import jobs, outbox
from core.database import Role
from core.outbox import MESSAGES, Task
from core.runtime import Runtime
from core.servers import ServerUrls
from core.settings import Settings
from qrcodes import welcomes
from qrcodes.models import WelcomeVariant
from tests.campaigns.desk import Desk
from tests.community import clicked, scanned, unsubscribed, wrote
from tests.conftest import Sandbox, advance, wait_until
from wechat.client import WeChatClient
from wechat.replies import Reply

SEND = "/cgi-bin/message/custom/send"
SECOND, MINUTE, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(days=1)
OPERATOR = 1


@dataclass
class Shop:
    """A tea house with one fan, and messages that wait for the fan's next hello."""

    runtime: Runtime
    sandbox: Sandbox
    desk: Desk
    inbox: Inbox
    openid: str

    def waits(self, words: str = "新茶到了", *, started: timedelta = timedelta(0)) -> None:
        """A broadcast that runs and has nobody but who comes by within seven days."""
        broadcast_id = self.desk.approved(words)
        with self.runtime.transaction(Role.PLATFORM) as session:
            given = {"id": broadcast_id, "ago": started}
            session.execute(text("UPDATE broadcast SET state = 'freezing' WHERE id = :id"), given)
            session.execute(
                text("""
                    INSERT INTO broadcast_recipient (broadcast_id, follower_id, merchant_id, route, state)
                    SELECT b.id, f.follower_id, b.merchant_id, 'hello', 'planned'
                    FROM broadcast b JOIN fan f ON f.merchant_id = b.merchant_id WHERE b.id = :id"""),
                given,
            )
            session.execute(
                text("UPDATE broadcast SET state = 'running', started_at = app_now() - :ago WHERE id = :id"), given
            )

    @property
    def now(self) -> Any:
        return self.runtime.now().replace(microsecond=0)

    def scans(self, *, after: timedelta = timedelta(0)) -> None:
        """The fan scans the shop's code; the platform gets to see a message, which opens a window, too."""
        self.sandbox.post(f"/sandbox/people/{self.openid}/say?wait=0", text="在吗")
        self.inbox.receive([scanned(self.openid, self.now + after, self.desk.code.scene)])

    def writes(self, words: str = "在吗", *, after: timedelta = timedelta(0)) -> None:
        self.sandbox.post(f"/sandbox/people/{self.openid}/say?wait=0", text=words)
        self.inbox.receive([wrote(self.openid, self.now + after, words)])

    def work(self) -> None:
        """The worker of the messages, as often as it is woken."""
        for _ in range(4):
            with self.runtime.transaction(Role.PLATFORM) as session:
                session.execute(text("UPDATE outbox SET next_try_at = clock_timestamp() WHERE state = 'pending'"))
            jobs.drain(self.runtime, worker.HANDLERS, MESSAGES)

    def said(self) -> list[str]:
        """What the platform took for the fan, in its own words."""
        answer = requests.get(f"{self.sandbox.url}/sandbox/log", params={"after": 0, "limit": 100_000}, timeout=10)
        lines = [json.loads(line) for line in answer.text.splitlines()]
        calls = [line for line in lines if line.get("path") == SEND and line["accepted"]]
        return [call["body"]["text"]["content"] for call in calls if call["body"]["touser"] == self.openid]

    def rows(self, statement: str) -> list[Any]:
        with self.runtime.transaction(Role.PLATFORM) as session:
            return [tuple(row) for row in session.execute(text(statement))]

    def do(self, statement: str) -> None:
        with self.runtime.transaction(Role.PLATFORM) as session:
            session.execute(text(statement))

    def states(self) -> list[str]:
        found = self.rows("SELECT coalesce(reason, state) FROM broadcast_recipient ORDER BY broadcast_id")
        return [state for (state,) in found]

    def owed(self) -> int:
        return len(self.rows("SELECT 1 FROM outbox WHERE kind = 'send_hello' AND state = 'pending'"))

    def used(self) -> int:
        ((used,),) = self.rows("SELECT sum(used) FROM message_window")
        return int(used)

    def misbehave(self, **deed: int | bool) -> None:
        self.sandbox.post("/sandbox/faults", rules=[{"match": {"path": SEND}, "next": 1, "do": deed}])


@pytest.fixture
def tea(connected: Runtime, sandbox: Sandbox) -> Shop:
    desk = Desk(connected, "茶馆", fans=1)
    (openid,) = desk.openids
    sandbox.post("/sandbox/people", openid=openid)
    sandbox.post(f"/sandbox/people/{openid}/follow?wait=0")
    with connected.transaction(Role.PLATFORM) as session:
        session.execute(text("DELETE FROM outbox"))
    return Shop(connected, sandbox, desk, Inbox(connected), openid)


@pytest.mark.parametrize("how", ["scan", "message", "menu"])
def test_it_is_added_once_after_the_answer(tea: Shop, how: str) -> None:
    tea.waits()
    match how:
        case "scan":
            tea.scans()
        case "message":
            tea.scans()
            tea.do("DELETE FROM outbox")
            tea.do("DELETE FROM message_window")
            tea.writes(after=SECOND)
        case _:
            tea.scans()
            tea.do("DELETE FROM outbox")
            tea.do("DELETE FROM message_window")
            tea.inbox.receive([clicked(tea.openid, tea.now + SECOND)])
    jobs.drain(tea.runtime, worker.HANDLERS, MESSAGES)
    assert tea.said() == []  # The answer goes first.
    tea.work()
    assert (tea.said(), tea.states(), tea.used()) == (["新茶到了"], ["sent"], 1)
    tea.scans(after=MINUTE)
    tea.work()
    assert (tea.said(), tea.owed()) == (["新茶到了"], 0)
    attempts = tea.rows("""
        SELECT a.moment, a.attempt, a.outcome, a.content_hash = b.content_hash
        FROM send_attempt a JOIN broadcast b ON b.id = a.broadcast_id ORDER BY a.id""")
    assert attempts == [("before", 1, None, True), ("after", 1, "sent", True)]


def test_a_repeated_event_is_one_hello(tea: Shop) -> None:
    for words in ("新茶到了", "明天打折"):
        tea.waits(words)
    event = scanned(tea.openid, tea.now, tea.desk.code.scene)
    tea.scans()
    for _ in range(3):
        tea.inbox.receive([event])
        tea.work()
    assert tea.said() == ["新茶到了"]


def test_of_several_the_oldest_comes_first_one_for_each_hello(tea: Shop) -> None:
    tea.waits("第二条", started=MINUTE)
    tea.waits("第一条", started=2 * MINUTE)
    tea.scans()
    tea.work()
    assert tea.said() == ["第一条"]
    tea.scans(after=MINUTE)
    tea.work()
    assert tea.said() == ["第一条", "第二条"]


def test_nothing_is_owed_where_nothing_waits(tea: Shop) -> None:
    tea.scans()
    assert tea.owed() == 0
    tea.waits()
    # Nobody's conversation is not this merchant's.
    noodles = tea.desk.street.code(tea.desk.street.merchant("面馆"))
    tea.inbox.receive([scanned(tea.openid, tea.now + SECOND, noodles.scene)])
    tea.inbox.receive([wrote(tea.openid, tea.now + 2 * SECOND)])
    assert tea.owed() == 0


@pytest.mark.parametrize("words", ["退订", "退订 茶馆", "恢复 茶馆", own_words.ERASE])
def test_who_wants_to_be_left_alone_is_not_told_offers(tea: Shop, words: str) -> None:
    tea.waits()
    tea.scans()
    tea.do("DELETE FROM outbox")
    tea.writes(words, after=SECOND)
    assert tea.owed() == 0


@pytest.mark.parametrize(
    ("what", "state"),
    [
        ("muted", "muted"), ("opted out", "opted_out"), ("left", "left"), ("forgotten", "left"), ("paused", "planned"),
        ("cancelled", "planned"), ("account paused", "planned"), ("too late", "planned"), ("refused", "planned"),
        ("few messages", "planned"), ("window over", "planned"),
    ],
)  # fmt: skip
def test_what_happens_in_between_is_seen_before_the_call(tea: Shop, what: str, state: str) -> None:
    tea.waits()
    tea.scans()
    match what:
        case "muted":
            tea.inbox.receive([wrote(tea.openid, tea.now + SECOND, "退订 茶馆")])
        case "opted out":
            tea.inbox.receive([wrote(tea.openid, tea.now + SECOND, "退订全部")])
        case "left":
            tea.inbox.receive([unsubscribed(tea.openid, tea.now + SECOND)])
        case "forgotten":
            tea.inbox.receive([wrote(tea.openid, tea.now + SECOND, own_words.ERASE)])
            jobs.drain(tea.runtime, {ERASE: erase_follower}, outbox.DEFAULT)
        case "paused":
            tea.do("UPDATE broadcast SET state = 'paused', paused_by = 'merchant'")
        case "cancelled":
            tea.do("UPDATE broadcast SET state = 'cancelled'")
        case "account paused":
            tea.do("UPDATE sending_state SET paused_at = app_now()")
        case "too late":
            tea.do("UPDATE broadcast SET started_at = app_now() - interval '7 days'")
        case "refused":
            tea.do("""INSERT INTO unreachable (follower_id, channel, since)
                      SELECT id, 'window', last_seen_at + interval '1 second' FROM follower""")
        case "few messages":
            tea.do("UPDATE message_window SET used = allowance - 2")
        case _:
            advance(tea.runtime, 2 * MINUTE)
    before = tea.used()
    tea.work()
    assert (tea.said(), tea.states(), tea.owed(), tea.used()) == ([], [state], 0, before)


def test_messages_that_follow_the_welcome_go_first(tea: Shop) -> None:
    """They are part of the answer; what is left of a scan's window then is kept, and the hello waits for the next."""
    with tea.runtime.transaction(Role.PLATFORM) as session:
        for position, words in enumerate(["又见面了", "今天有新茶"]):
            welcomes.save(
                session,
                merchant_id=tea.desk.id,
                code_id=None,
                variant=WelcomeVariant.ALREADY,
                position=position,
                draft=welcomes.Draft(text=words),
                hosts=frozenset(),
                now=tea.now,
                operator_id=OPERATOR,
            )
        session.execute(text("DELETE FROM outbox"))
    tea.waits()
    tea.scans()
    with tea.runtime.transaction(Role.PLATFORM) as session:
        ((payload,),) = session.execute(text("SELECT payload FROM outbox WHERE kind = 'send_hello'")).all()
    with pytest.raises(outbox.TryLater):
        hello.send_hello(tea.runtime, Task(0, hello.SEND, payload, None, 1, 0))
    tea.work()
    assert (tea.said(), tea.states()) == (["今天有新茶"], ["planned"])
    tea.writes(after=SECOND)
    tea.work()
    assert (tea.said(), tea.states()) == (["今天有新茶", "新茶到了"], ["sent"])


@pytest.mark.parametrize(
    ("deed", "state", "errcode", "used"),
    [
        ({"errcode": 45015}, "planned", None, 1),
        ({"errcode": 45047}, "planned", None, 1),
        ({"errcode": 45009}, "planned", None, 0),
        ({"errcode": 48001}, "planned", None, 0),
        ({"errcode": 43004}, "rejected", 43004, 1),
        ({"errcode": 40003}, "rejected", 40003, 1),
        ({"errcode": 99999}, "rejected", 99999, 1),
        ({"errcode": -1}, "unknown", -1, 1),
        ({"html": True}, "unknown", None, 1),
        ({"status": 502}, "unknown", None, 1),
    ],
)
def test_what_every_answer_does(
    tea: Shop, deed: dict[str, int | bool], state: str, errcode: int | None, used: int
) -> None:
    tea.waits()
    tea.misbehave(**deed)
    tea.scans()
    tea.work()
    assert (tea.states(), tea.owed(), tea.used()) == ([state], 0, used)
    assert tea.rows("SELECT errcode, lease_until FROM broadcast_recipient") == [(errcode, None)]
    refused = [(errcode,)] if errcode in (43004, 40003) else []
    assert tea.rows("SELECT errcode FROM unreachable WHERE channel = 'window'") == refused
    # Whatever it was, the next hello brings what still waits, and nothing else.
    tea.do("UPDATE sending_state SET paused_at = NULL")
    tea.scans(after=MINUTE)
    tea.work()
    assert tea.states() == ["sent" if state == "planned" else state]
    assert tea.said() == (["新茶到了"] if state == "planned" else [])


def test_a_reply_lost_after_the_message_went_out_sends_nothing_twice(tea: Shop) -> None:
    tea.waits()
    tea.misbehave(lost_reply=True)
    for second in range(3):
        tea.scans(after=second * SECOND)
        tea.work()
    assert (tea.said(), tea.states()) == (["新茶到了"], ["unknown"])


def test_a_platform_too_busy_is_tried_again_in_the_same_hello(tea: Shop) -> None:
    tea.waits()
    tea.misbehave(errcode=45011)
    tea.scans()
    tea.work()
    assert (tea.said(), tea.states(), tea.used()) == (["新茶到了"], ["sent"], 1)
    outcomes = tea.rows("SELECT attempt, outcome FROM send_attempt WHERE moment = 'after' ORDER BY id")
    assert outcomes == [(1, "wait"), (2, "sent")]


def work_in_another_process(settings: Settings, urls: ServerUrls, *, stop_after_call: bool) -> None:
    """A worker that gets stuck right before or right after the platform has taken its message."""
    call = WeChatClient.send_reply

    def get_stuck(client: WeChatClient, openid: str, reply: Reply) -> None:
        if stop_after_call:
            call(client, openid, reply)
        time.sleep(60)

    WeChatClient.send_reply = get_stuck  # type: ignore[method-assign, assignment]
    jobs.drain(Runtime.build(settings, urls, pooled=False), worker.HANDLERS, MESSAGES)


@pytest.mark.parametrize("stop_after_call", [False, True])
def test_killed_in_the_middle_of_a_call_it_is_never_sent_again(
    tea: Shop, urls: ServerUrls, stop_after_call: bool
) -> None:
    for words in ("新茶到了", "明天打折"):
        tea.waits(words)
    tea.scans()
    tea.do("UPDATE outbox SET next_try_at = clock_timestamp()")
    stuck = multiprocessing.get_context("fork").Process(
        target=work_in_another_process,
        args=(tea.runtime.settings, urls),
        kwargs={"stop_after_call": stop_after_call},
    )
    stuck.start()
    wait_until(lambda: tea.states()[0] == "calling", what="the call")
    if stop_after_call:
        wait_until(lambda: bool(tea.said()), what="the acceptance")
    stuck.kill()
    stuck.join()
    tea.work()
    # The hello has had its message, whatever became of it.
    assert tea.states() == ["calling", "planned"]
    tea.do("UPDATE broadcast_recipient SET lease_until = clock_timestamp() - interval '1 s' WHERE state = 'calling'")
    with tea.runtime.transaction(Role.PLATFORM) as session:
        control.tidy(session, tea.now)
    tea.scans(after=MINUTE)
    tea.work()
    assert tea.states() == ["unknown", "sent"]
    assert tea.said() == [*(["新茶到了"] if stop_after_call else []), "明天打折"]


def test_a_worker_that_comes_back_late_knows_better_than_the_sweep(tea: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    tea.waits()
    tea.scans()
    call: Callable[..., None] = WeChatClient.send_reply

    def late(*arguments: Any) -> None:
        call(*arguments)
        tea.do("UPDATE broadcast_recipient SET state = 'unknown'")

    monkeypatch.setattr(WeChatClient, "send_reply", late)
    tea.work()
    assert (tea.states(), tea.said()) == (["sent"], ["新茶到了"])


def test_two_workers_with_the_same_task_send_it_once(tea: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    for words in ("新茶到了", "明天打折"):
        tea.waits(words)
    tea.scans()
    with tea.runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("UPDATE outbox SET next_try_at = clock_timestamp() WHERE kind <> 'send_hello'"))
        session.execute(text("UPDATE outbox SET next_try_at = 'epoch' WHERE kind = 'send_hello'"))
        task = outbox.claim(session, MESSAGES)
    assert task is not None
    assert task.kind == hello.SEND
    call: Callable[..., None] = WeChatClient.send_reply

    def meanwhile(*arguments: Any) -> None:
        monkeypatch.setattr(WeChatClient, "send_reply", call)
        hello.send_hello(tea.runtime, task)
        call(*arguments)

    monkeypatch.setattr(WeChatClient, "send_reply", meanwhile)
    hello.send_hello(tea.runtime, task)
    assert (tea.said(), tea.states()) == (["新茶到了"], ["sent", "planned"])


def test_who_does_not_come_by_in_time_is_not_waited_for(tea: Shop) -> None:
    tea.waits("第一条", started=DAY)
    tea.waits("第二条")
    for after, states in (
        (6 * DAY - MINUTE, ["planned", "planned"]),
        (6 * DAY + MINUTE, ["no_hello", "planned"]),
        (7 * DAY + MINUTE, ["no_hello", "no_hello"]),
    ):
        with tea.runtime.transaction(Role.PLATFORM) as session:
            hello.expire(session, tea.now + after)
        assert tea.states() == states
