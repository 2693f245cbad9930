"""What follows a welcome: sent once or not at all, in its turn, inside the window, and never again blindly (BC-10)."""

import json
import multiprocessing
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import requests
from sqlalchemy import text

from bot import erasers, follow_ups, own_words, periodic
from bot.inbox import Inbox
from bot.jobs import HANDLERS
from core import jobs, outbox
from core.database import Role
from core.outbox import MESSAGES, Task
from core.runtime import Runtime
from core.scheduler import Scheduler
from core.servers import ServerUrls
from core.settings import Settings
from qrcodes import welcomes
from qrcodes.models import WelcomeVariant
from tests.community import Code, Neighbourhood, new_openid, subscribed, unsubscribed, wrote
from tests.conftest import Sandbox, advance, wait_until
from wechat.client import WeChatClient
from wechat.replies import Reply

SEND = "/cgi-bin/message/custom/send"
OPERATOR = 1


@pytest.fixture
def tea(street: Neighbourhood) -> Code:
    """A shop that says three things to who comes first."""
    code = street.code(street.merchant("茶馆"))
    with street.runtime.transaction(Role.PLATFORM) as session:
        for position, words in enumerate(["欢迎来{商户}", "今天有新茶，在{码}领", "明天见"]):
            welcomes.save(
                session,
                merchant_id=code.merchant_id,
                code_id=None,
                variant=WelcomeVariant.FIRST,
                position=position,
                draft=welcomes.Draft(text=words),
                hosts=frozenset(),
                now=street.now,
                operator_id=OPERATOR,
            )
        session.execute(text("DELETE FROM outbox"))
    return code


def arrive(runtime: Runtime, inbox: Inbox, sandbox: Sandbox, code: Code) -> str:
    """Somebody follows through the code, there and here."""
    openid = new_openid()
    sandbox.post("/sandbox/people", openid=openid)
    sandbox.post(f"/sandbox/people/{openid}/follow?wait=0")
    inbox.receive([subscribed(openid, runtime.now().replace(microsecond=0), code.scene)])
    return openid


def send(runtime: Runtime) -> None:
    """The worker of the messages, as often as it is woken."""
    for _ in range(4):
        with runtime.transaction(Role.PLATFORM) as session:
            session.execute(text("UPDATE outbox SET next_try_at = clock_timestamp() WHERE state = 'pending'"))
        jobs.drain(runtime, HANDLERS, MESSAGES)


def states(runtime: Runtime) -> list[str]:
    with runtime.transaction(Role.PLATFORM) as session:
        return list(session.scalars(text("SELECT state FROM follow_up ORDER BY id")))


def used(runtime: Runtime) -> int:
    with runtime.transaction(Role.PLATFORM) as session:
        number: int = session.execute(text("SELECT used FROM message_window")).scalar_one()
    return number


def accepted(sandbox: Sandbox, openid: str) -> list[str]:
    """What the platform took for this person, in its own words."""
    answer = requests.get(f"{sandbox.url}/sandbox/log", params={"after": 0, "limit": 100_000}, timeout=10)
    lines = [json.loads(line) for line in answer.text.splitlines()]
    calls = [line for line in lines if line.get("path") == SEND and line["accepted"]]
    return [call["body"]["text"]["content"] for call in calls if call["body"]["touser"] == openid]


def misbehave(sandbox: Sandbox, **deed: int | bool) -> None:
    sandbox.post("/sandbox/faults", rules=[{"match": {"path": SEND}, "next": 1, "do": deed}])


def test_they_are_said_in_turn_in_the_words_of_the_scan(
    connected: Runtime, tea: Code, inbox: Inbox, sandbox: Sandbox
) -> None:
    openid = arrive(connected, inbox, sandbox, tea)
    assert states(connected) == ["planned", "planned"]
    send(connected)
    assert accepted(sandbox, openid) == ["今天有新茶，在前台领", "明天见"]
    assert (states(connected), used(connected)) == (["sent", "sent"], 2)
    send(connected)
    assert len(accepted(sandbox, openid)) == 2


def test_the_later_one_waits_for_the_earlier(connected: Runtime, tea: Code, inbox: Inbox, sandbox: Sandbox) -> None:
    openid = arrive(connected, inbox, sandbox, tea)
    with connected.transaction(Role.PLATFORM) as session:
        inbox_id = session.execute(text("SELECT inbox_id FROM message_window")).scalar_one()
    task = Task(0, follow_ups.SEND, {"inbox_id": inbox_id, "position": 2}, None, 1, 0)
    with pytest.raises(outbox.TryLater):
        follow_ups.send_follow_up(connected, task)
    assert accepted(sandbox, openid) == []
    send(connected)
    assert accepted(sandbox, openid) == ["今天有新茶，在前台领", "明天见"]


def test_nothing_is_said_after_the_window_closed(connected: Runtime, tea: Code, inbox: Inbox, sandbox: Sandbox) -> None:
    openid = arrive(connected, inbox, sandbox, tea)
    advance(connected, timedelta(seconds=61))
    send(connected)
    assert (states(connected), used(connected), accepted(sandbox, openid)) == (["skipped", "skipped"], 0, [])


def test_nobody_waits_for_an_earlier_one_once_the_window_has_closed(
    connected: Runtime, tea: Code, inbox: Inbox, sandbox: Sandbox
) -> None:
    arrive(connected, inbox, sandbox, tea)
    with connected.transaction(Role.PLATFORM) as session:
        session.execute(text("UPDATE outbox SET state = 'dead' WHERE payload ->> 'position' = '1'"))
    advance(connected, timedelta(seconds=61))
    send(connected)
    assert states(connected) == ["planned", "skipped"]
    with connected.transaction(Role.PLATFORM) as session:
        assert outbox.due_queues(session) == []


def test_a_window_gives_no_more_than_its_allowance(
    connected: Runtime, tea: Code, inbox: Inbox, sandbox: Sandbox
) -> None:
    openid = arrive(connected, inbox, sandbox, tea)
    with connected.transaction(Role.PLATFORM) as session:
        session.execute(text("UPDATE message_window SET used = allowance - 1"))
    send(connected)
    assert states(connected) == ["sent", "skipped"]
    assert len(accepted(sandbox, openid)) == 1


@pytest.mark.parametrize("change", ["left", "left and came in one second", "forgotten", "withdrawn"])
def test_who_or_what_is_gone_meanwhile_ends_it(
    connected: Runtime, street: Neighbourhood, tea: Code, inbox: Inbox, sandbox: Sandbox, change: str
) -> None:
    openid = arrive(connected, inbox, sandbox, tea)
    at = connected.now().replace(microsecond=0)
    match change:
        case "left":
            inbox.receive([unsubscribed(openid, at + timedelta(seconds=1))])
        case "left and came in one second":
            inbox.receive([subscribed(openid, at + timedelta(seconds=1))])
            inbox.receive([unsubscribed(openid, at + timedelta(seconds=1))])
        case "forgotten":
            inbox.receive([wrote(openid, at + timedelta(seconds=1), own_words.ERASE)])
            jobs.drain(connected, {erasers.ERASE: erasers.erase_follower}, outbox.DEFAULT)
        case _:
            with connected.transaction(Role.PLATFORM) as session:
                for position in (1, 2):
                    welcomes.withdraw(
                        session,
                        merchant_id=tea.merchant_id,
                        code_id=None,
                        variant=WelcomeVariant.FIRST,
                        position=position,
                    )
    send(connected)
    assert accepted(sandbox, openid) == []
    assert states(connected)[:2] == ["skipped", "skipped"]


@pytest.mark.parametrize(
    ("deed", "state", "errcode"),
    [
        ({"errcode": 45015}, "refused", 45015),
        ({"errcode": 43004}, "refused", 43004),
        ({"errcode": 48001}, "refused", 48001),
        ({"errcode": 99999}, "refused", 99999),
        ({"errcode": -1}, "unknown", -1),
        ({"html": True}, "unknown", None),
        ({"truncate": True}, "unknown", None),
        ({"status": 502}, "unknown", None),
    ],
)
def test_every_answer_ends_it_for_good(
    connected: Runtime,
    tea: Code,
    inbox: Inbox,
    sandbox: Sandbox,
    deed: dict[str, int | bool],
    state: str,
    errcode: int | None,
) -> None:
    openid = arrive(connected, inbox, sandbox, tea)
    misbehave(sandbox, **deed)
    send(connected)
    assert states(connected) == [state, "sent"]
    with connected.transaction(Role.PLATFORM) as session:
        assert session.execute(text("SELECT errcode FROM follow_up ORDER BY id LIMIT 1")).scalar() == errcode
    assert accepted(sandbox, openid).count("今天有新茶，在前台领") <= 1


def test_a_reply_lost_after_the_message_went_out_sends_nothing_twice(
    connected: Runtime, tea: Code, inbox: Inbox, sandbox: Sandbox
) -> None:
    openid = arrive(connected, inbox, sandbox, tea)
    misbehave(sandbox, lost_reply=True)
    send(connected)
    assert accepted(sandbox, openid) == ["今天有新茶，在前台领", "明天见"]
    assert states(connected) == ["unknown", "sent"]


def test_a_platform_too_busy_is_tried_again_while_the_window_is_open(
    connected: Runtime, tea: Code, inbox: Inbox, sandbox: Sandbox
) -> None:
    openid = arrive(connected, inbox, sandbox, tea)
    misbehave(sandbox, errcode=45011)
    send(connected)
    assert (states(connected), used(connected)) == (["sent", "sent"], 2)
    assert accepted(sandbox, openid) == ["今天有新茶，在前台领", "明天见"]


def test_a_platform_too_busy_for_too_long_is_left_alone(runtime: Runtime, tea: Code, inbox: Inbox) -> None:
    openid = new_openid()
    inbox.receive([subscribed(openid, runtime.now().replace(microsecond=0), tea.scene)])
    send(runtime)
    assert (states(runtime), used(runtime)) == (["planned", "planned"], 0)
    advance(runtime, timedelta(seconds=61))
    send(runtime)
    assert (states(runtime), used(runtime)) == (["skipped", "skipped"], 0)


def send_in_another_process(settings: Settings, urls: ServerUrls, *, stop_after_call: bool) -> None:
    """A worker that gets stuck right before or right after the platform has taken its first message."""
    call = follow_ups._send

    def get_stuck(client: WeChatClient, openid: str, reply: Reply) -> None:
        if stop_after_call:
            call(client, openid, reply)
        time.sleep(60)

    follow_ups._send = get_stuck
    jobs.drain(Runtime.build(settings, urls, pooled=False), HANDLERS, MESSAGES)


@pytest.mark.parametrize("stop_after_call", [False, True])
def test_killed_in_the_middle_of_a_call_it_is_never_sent_again(
    connected: Runtime, urls: ServerUrls, tea: Code, inbox: Inbox, sandbox: Sandbox, stop_after_call: bool
) -> None:
    openid = arrive(connected, inbox, sandbox, tea)
    worker = multiprocessing.get_context("fork").Process(
        target=send_in_another_process, args=(connected.settings, urls), kwargs={"stop_after_call": stop_after_call}
    )
    worker.start()
    wait_until(lambda: states(connected)[0] == "calling", what="the call")
    if stop_after_call:
        wait_until(lambda: bool(accepted(sandbox, openid)), what="the acceptance")
    worker.kill()
    worker.join()
    send(connected)
    assert states(connected) == ["calling", "planned"]
    with connected.transaction(Role.PLATFORM) as session:
        session.execute(
            text("UPDATE follow_up SET calling_at = calling_at - interval '61 seconds' WHERE state = 'calling'")
        )
    Scheduler(connected, [task for task in periodic.TASKS if task.name == "lost follow-ups"]).start_due()
    send(connected)
    assert states(connected) == ["unknown", "sent"]
    told = ["今天有新茶，在前台领"] if stop_after_call else []
    assert accepted(sandbox, openid) == [*told, "明天见"]


def test_two_workers_with_the_same_task_send_it_once(
    connected: Runtime, tea: Code, inbox: Inbox, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    openid = arrive(connected, inbox, sandbox, tea)
    with connected.transaction(Role.PLATFORM) as session:
        task = outbox.claim(session, MESSAGES)
    assert task is not None
    call: Callable[..., None] = follow_ups._send

    def meanwhile(*arguments: Any) -> None:
        monkeypatch.setattr(follow_ups, "_send", call)
        follow_ups.send_follow_up(connected, task)
        call(*arguments)

    monkeypatch.setattr(follow_ups, "_send", meanwhile)
    follow_ups.send_follow_up(connected, task)
    assert accepted(sandbox, openid) == ["今天有新茶，在前台领"]
