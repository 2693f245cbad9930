"""The front: events share commits without harming each other, and the pages behind it stay behind it."""

import asyncio
import contextlib
import dataclasses
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from sqlalchemy import text as text_of

from bot.events import Event
from bot.inbox import Inbox
from bot.parser import parse
from core.database import Role
from core.runtime import Runtime
from core.settings import Settings
from tests.community import Neighbourhood, new_openid, subscribed
from tests.web.pushes import (
    AT,
    NOW,
    FakeInbox,
    Reply,
    Request,
    account_settings,
    asgi,
    event,
    front_of,
    plain,
    secure,
    signed,
    text,
)
from web import batches, forward, front
from web.batches import Batches, NotStored
from web.front import Front, House
from web.pulse import Minutes


@pytest.fixture
def inbox() -> FakeInbox:
    return FakeInbox()


@pytest.fixture
def account(tmp_path: Path) -> Settings:
    return account_settings(tmp_path, public_url="https://quanma.test")


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(story, 30))


def person(number: int) -> str:
    return f"oTest{number:023d}"


def scans(count: int) -> list[Request]:
    """As many people, one scan each."""
    return [secure(event(sender=person(number))) for number in range(count)]


async def statuses(app: Front, requests: list[Request]) -> list[int]:
    """All at once."""
    return [reply.status for reply in await asyncio.gather(*(asgi(app, request) for request in requests))]


# ---- Batches ---------------------------------------------------------------------------------------------------------


def test_a_lone_event_waits_for_nobody(account: Settings, inbox: FakeInbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "WINDOW_S", 3_600)

    async def story() -> None:
        async with front_of(account, inbox) as app:
            for request in scans(3):
                assert (await asgi(app, request)).status == 200

    run(story())
    assert [len(batch) for batch in inbox.batches] == [1, 1, 1]


def test_concurrent_events_share_batches_of_at_most_sixteen(account: Settings, inbox: FakeInbox) -> None:
    inbox.takes_s = 0.02

    async def story() -> None:
        async with front_of(account, inbox) as app:
            assert set(await statuses(app, scans(100))) == {200}

    run(story())
    assert max(len(batch) for batch in inbox.batches) == batches.MOST_EVENTS
    assert sum(len(batch) for batch in inbox.batches) == len(inbox.stored) == 100


def test_one_person_s_events_stay_in_order_and_apart(account: Settings, inbox: FakeInbox) -> None:
    inbox.takes_s = 0.002
    requests = [
        secure(text(str(turn), msg_id=turn * 10 + who + 1, sender=person(who))) for turn in range(8) for who in range(5)
    ]

    async def story() -> None:
        async with front_of(account, inbox) as app:
            assert set(await statuses(app, requests)) == {200}

    run(story())
    for who in range(5):
        order = [found.content for batch in inbox.batches for found in batch if found.openid == person(who)]  # type: ignore[attr-defined]
        assert order == [str(turn) for turn in range(8)]
    assert all(len({found.openid for found in batch}) == len(batch) for batch in inbox.batches)


def test_repetitions_of_a_job_result_never_meet_in_one_batch(account: Settings, inbox: FakeInbox) -> None:
    inbox.takes_s = 0.01
    result = secure(event("MASSSENDJOBFINISH", "<MsgID>1</MsgID>", sender="mphelper"))

    async def story() -> None:
        async with front_of(account, inbox) as app:
            assert await statuses(app, [result] * 6) == [200] * 6

    run(story())
    assert {len(batch) for batch in inbox.batches} == {1}


def test_what_was_answered_is_counted_with_its_reason_and_nothing_of_the_person(
    account: Settings, inbox: FakeInbox
) -> None:
    inbox.poison = {person(2)}
    kept: list[Minutes] = []

    async def story() -> None:
        async with front_of(account, inbox, keep_pulse=kept.append) as app:
            forged = dataclasses.replace(scans(1)[0], query="signature=x")
            garbled = secure("<xml><no")
            assert await statuses(app, [*scans(3), forged, garbled]) == [200, 200, 503, 403, 200]

    run(story())
    [[(minute, tally)]] = kept
    assert minute == NOW.replace(second=0, microsecond=0)
    assert (tally.ok, tally.unavailable, tally.forbidden, sum(tally.buckets)) == (3, 1, 1, 4)
    assert set(tally.failures) == {
        (503, "inbox", "ConnectionError"), (403, "signature", ""), (200, "unusable", "not well-formed")
    }  # fmt: skip
    assert person(2) not in repr(tally)


def test_a_bad_event_fails_alone(account: Settings, inbox: FakeInbox) -> None:
    inbox.takes_s = 0.01
    inbox.poison = {person(7)}

    async def story() -> None:
        async with front_of(account, inbox) as app:
            assert await statuses(app, scans(30)) == [503 if number == 7 else 200 for number in range(30)]

    run(story())
    assert any(len(batch) > 1 and person(7) in {found.openid for found in batch} for batch in inbox.batches)
    assert {found.openid for found in inbox.events} == {person(number) for number in range(30)} - {person(7)}


def test_a_slow_inbox_is_not_waited_for_and_not_interrupted(
    account: Settings, inbox: FakeInbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front, "ANSWER_WITHIN_S", 0.1)
    inbox.takes_s = 0.3

    async def story() -> None:
        async with front_of(account, inbox) as app:
            reply = await asgi(app, scans(1)[0])
            assert (reply.status, reply.headers["retry-after"]) == (503, "1")

    run(story())
    assert len(inbox.stored) == 1


def test_events_whose_time_is_over_are_not_tried_any_more(
    account: Settings, inbox: FakeInbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front, "ANSWER_WITHIN_S", 0.1)
    inbox.takes_s = 0.3
    inbox.is_down = True

    async def story() -> None:
        async with front_of(account, inbox) as app:
            assert set(await statuses(app, scans(100))) == {503}

    run(story())
    # Each thread fails once with what it had taken; neither that nor the rest is then tried one by one.
    assert len(inbox.batches) == batches.THREADS


def test_a_full_queue_turns_newcomers_away(inbox: FakeInbox) -> None:
    inbox.takes_s = 0.05

    async def story() -> None:
        queue = Batches(inbox, threads=1, most_waiting=3)
        deadline = asyncio.get_running_loop().time() + 5
        found = [
            parse(event(sender=person(number)).encode(), account="gh_0123456789ab", now=NOW) for number in range(6)
        ]
        outcomes = await asyncio.gather(
            *(queue.receive(one, deadline=deadline) for one in found), return_exceptions=True
        )
        assert [isinstance(outcome, NotStored) for outcome in outcomes] == [False] * 3 + [True] * 3
        await queue.close()

    run(story())
    assert len(inbox.stored) == 3


def test_who_has_hung_up_is_applied_all_the_same(account: Settings, inbox: FakeInbox) -> None:
    inbox.takes_s = 0.05

    async def story() -> None:
        async with front_of(account, inbox) as app:
            calls = [asyncio.create_task(asgi(app, request)) for request in scans(40)]
            await asyncio.sleep(0.02)
            for call in calls:
                call.cancel()

    run(story())
    assert len(inbox.stored) == 40


def test_an_event_that_breaks_the_transaction_costs_only_itself(runtime: Runtime) -> None:
    street = Neighbourhood(runtime)
    arrivals: list[Event] = [subscribed(new_openid(), street.now) for _ in range(6)]
    arrivals[3] = dataclasses.replace(arrivals[3], fields={"EventKey": "PostgreSQL refuses\0this"})
    outcomes: list[str | BaseException | None] = []

    async def story() -> None:
        queue = Batches(Inbox(runtime))
        deadline = asyncio.get_running_loop().time() + 20
        calls = (queue.receive(one, deadline=deadline) for one in arrivals)
        outcomes.extend(await asyncio.gather(*calls, return_exceptions=True))
        await queue.close()

    run(story())
    assert [isinstance(outcome, NotStored) for outcome in outcomes] == [number == 3 for number in range(6)]
    with runtime.transaction(Role.PLATFORM) as session:
        stored = set(session.execute(text_of("SELECT dedupe_key FROM inbox_event")).scalars())
    assert stored == {one.dedupe_key for one in arrivals} - {arrivals[3].dedupe_key}


# ---- Bodies and time -------------------------------------------------------------------------------------------------


def test_half_a_body_is_no_delivery(tmp_path: Path, inbox: FakeInbox) -> None:
    keyless = account_settings(tmp_path, wechat_aes_key=None, wechat_aes_key_previous=None)
    whole = plain(text())
    halves = Request("POST", whole.query, (whole.parts[0][:100], whole.parts[0][100:]))

    async def story() -> None:
        async with front_of(keyless, inbox) as app:
            assert (await asgi(app, halves, leaves_after=1)).status == 403
            assert (inbox.batches, inbox.buried) == ([], [])
            assert (await asgi(app, halves)).status == 200

    run(story())
    assert len(inbox.stored) == 1


def test_a_body_without_a_length_is_cut_off(account: Settings, inbox: FakeInbox) -> None:
    endless = Request("POST", secure(text()).query, [b"a" * 65_536] * 100)

    async def story() -> None:
        async with front_of(account, inbox) as app:
            assert (await asgi(app, endless)).status == 413

    run(story())


def test_a_body_that_never_comes_is_given_up(
    account: Settings, inbox: FakeInbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front, "ANSWER_WITHIN_S", 0.05)
    sent: list[dict[str, Any]] = []

    async def never() -> dict[str, Any]:
        await asyncio.sleep(60)
        raise AssertionError

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/wechat/callback", "headers": []}

    async def story() -> None:
        async with front_of(account, inbox) as app:
            await app({**scope, "query_string": secure(text()).query.encode()}, never, send)

    run(story())
    assert sent[0]["status"] == 503


def test_a_clock_that_moved_on_is_read_again_before_refusing(account: Settings, inbox: FakeInbox) -> None:
    offset = timedelta()

    def read() -> datetime:
        return NOW + offset

    async def story() -> None:
        nonlocal offset
        async with front_of(account, inbox, read_clock=read) as app:
            later = AT + 31 * 86_400
            assert (await asgi(app, secure(event(at=later), at=later))).status == 403
            offset = timedelta(days=31)
            assert (await asgi(app, secure(event(at=later), at=later))).status == 200

    run(story())


def test_without_a_clock_we_ask_to_come_again_and_with_an_old_one_we_carry_on(
    account: Settings, inbox: FakeInbox
) -> None:
    is_away = True

    def read() -> datetime:
        if is_away:
            raise ConnectionError
        return NOW

    async def story() -> None:
        nonlocal is_away
        async with front_of(account, inbox, read_clock=read) as app:
            assert (await asgi(app, Request("GET", signed(echostr="1")))).status == 503
            is_away = False
            while (await asgi(app, Request("GET", signed(echostr="1")))).status == 503:
                await asyncio.sleep(0.05)
            is_away = True
            assert (await asgi(app, secure(event(at=AT), at=AT))).status == 200

    run(story())


def test_a_house_that_does_not_stand_is_reported(inbox: FakeInbox) -> None:
    @contextlib.contextmanager
    def ruin() -> Iterator[House]:
        raise ConnectionError("postgresql://secret")
        yield

    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "lifespan.startup"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    run(Front(ruin)({"type": "lifespan"}, receive, send))
    assert sent == [{"type": "lifespan.startup.failed", "message": "ConnectionError"}]


# ---- The pages behind ------------------------------------------------------------------------------------------------

Page = Callable[[web.Request], Awaitable[web.StreamResponse]]


@contextlib.asynccontextmanager
async def pages_at(socket: Path, page: Page) -> AsyncIterator[None]:
    """Pages that answer everything with one function."""
    application = web.Application(client_max_size=1 << 30)
    application.router.add_route("*", "/{path:.*}", page)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.UnixSite(runner, str(socket)).start()
    try:
        yield
    finally:
        await runner.cleanup()


def ask_pages(account: Settings, inbox: FakeInbox, socket: Path, page: Page, request: Request, **scope: Any) -> Reply:
    replies: list[Reply] = []

    async def story() -> None:
        async with pages_at(socket, page), front_of(account, inbox, pages_socket=str(socket)) as app:
            replies.append(await asgi(app, request, **scope))

    run(story())
    return replies[0]


@pytest.fixture
def socket(tmp_path: Path) -> Path:
    return tmp_path / "pages"


def test_a_request_reaches_the_pages_as_it_was_sent(account: Settings, inbox: FakeInbox, socket: Path) -> None:
    seen: dict[str, Any] = {}

    async def page(request: web.Request) -> web.StreamResponse:
        seen.update(
            method=request.method, target=request.raw_path, headers=request.headers.copy(), body=await request.read()
        )
        return web.Response(status=201, text="done", headers={"X-Own": "1", "Connection": "keep-alive"})

    request = Request(
        "POST",
        "a=1&b=%E4%BA%8C",
        b"x=1",
        {
            "Host": "quanma.test",
            "Cookie": "session=1",
            "Connection": "x-private",
            "X-Private": "1",
            "X-Forwarded-For": "198.51.100.9",
            "X-Forwarded-Proto": "gopher",
            "X-Forwarded-Host": "evil.test",
            "X-Real-IP": "198.51.100.9",
            "Forwarded": "for=198.51.100.9",
            "Content-Type": "application/x-www-form-urlencoded",
        },
        path="/merchant/../x",
    )
    raw = b"/wechat/%2e%2e//admin;a%2Fb"
    reply = ask_pages(account, inbox, socket, page, request, raw_path=raw)
    assert (reply.status, reply.body, reply.headers["x-own"]) == (201, b"done", "1")
    assert "connection" not in reply.headers
    assert (seen["method"], seen["target"], seen["body"]) == ("POST", raw.decode() + "?a=1&b=%E4%BA%8C", b"x=1")
    assert dict(seen["headers"]) == {
        "Host": "quanma.test",
        "Cookie": "session=1",
        "Content-Type": "application/x-www-form-urlencoded",
        "Content-Length": "3",
        "X-Forwarded-For": "203.0.113.7",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "quanma.test",
    }


@pytest.mark.parametrize(
    ("proxies", "said", "client"),
    [
        (0, "198.51.100.1, 198.51.100.2", "203.0.113.7"),
        (1, "198.51.100.1, 198.51.100.2", "198.51.100.2"),
        (2, "198.51.100.1, 198.51.100.2", "198.51.100.1"),
        (3, "198.51.100.1, 198.51.100.2", "203.0.113.7"),
        (1, "", "203.0.113.7"),
    ],
)
def test_only_our_own_proxies_say_who_asks(
    tmp_path: Path, inbox: FakeInbox, socket: Path, proxies: int, said: str, client: str
) -> None:
    async def page(request: web.Request) -> web.StreamResponse:
        return web.Response(text=request.headers["X-Forwarded-For"])

    behind = account_settings(tmp_path, trusted_proxies=proxies)
    headers = {"X-Forwarded-For": said} if said else {}
    reply = ask_pages(behind, inbox, socket, page, Request("GET", "", headers=headers, path="/"))
    assert reply.body.decode() == client


def test_an_answer_returns_as_the_pages_gave_it(account: Settings, inbox: FakeInbox, socket: Path) -> None:
    packed = gzip.compress("页面".encode() * 1_000)

    async def page(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(status=302, headers={"Location": "/elsewhere", "Content-Encoding": "gzip"})
        answer.headers.add("Set-Cookie", "a=1")
        answer.headers.add("Set-Cookie", "b=2")
        answer.enable_chunked_encoding()
        await answer.prepare(request)
        for start in range(0, len(packed), 10):
            await answer.write(packed[start : start + 10])
        return answer

    seen: list[tuple[bytes, bytes]] = []

    async def story() -> None:
        async with pages_at(socket, page), front_of(account, inbox, pages_socket=str(socket)) as app:
            reply = await asgi(app, Request("GET", "", path="/"), seen=seen)
            assert (reply.status, reply.body) == (302, packed)
            assert reply.headers["location"] == "/elsewhere"
            assert "transfer-encoding" not in reply.headers
            assert [value for name, value in seen if name == b"set-cookie"] == [b"a=1", b"b=2"]

    run(story())


def test_a_body_is_streamed_to_the_pages(account: Settings, inbox: FakeInbox, socket: Path) -> None:
    parts = [b"a" * 100_000] * 20

    async def page(request: web.Request) -> web.StreamResponse:
        return web.Response(text=str(len(await request.read())))

    request = Request("POST", "", parts, {"Transfer-Encoding": "chunked"}, path="/upload")
    assert ask_pages(account, inbox, socket, page, request).body == b"2000000"


@pytest.mark.parametrize("headers", [{"Content-Length": str(1 << 40)}, {"Transfer-Encoding": "chunked"}])
def test_too_large_a_body_does_not_pass(
    account: Settings, inbox: FakeInbox, socket: Path, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forward, "MOST_REQUEST_BYTES", 1_000_000)

    async def page(request: web.Request) -> web.StreamResponse:
        return web.Response(text=str(len(await request.read())))

    request = Request("POST", "", [b"a" * 100_000] * 20, headers, path="/upload")
    assert ask_pages(account, inbox, socket, page, request).status == 413


def test_while_the_pages_restart_there_is_a_page_that_says_so(
    account: Settings, inbox: FakeInbox, socket: Path
) -> None:
    async def story() -> None:
        async with front_of(account, inbox, pages_socket=str(socket)) as app:
            reply = await asgi(app, Request("GET", "", path="/"))
            assert (reply.status, reply.headers["retry-after"]) == (503, "3")
            assert "页面正在启动" in reply.body.decode()

    run(story())


def test_pages_that_break_off_are_a_bad_gateway(account: Settings, inbox: FakeInbox, socket: Path) -> None:
    async def page(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    reply = ask_pages(account, inbox, socket, page, Request("POST", "", b"a", path="/"))
    assert reply.status == 502
    assert "没有回应" in reply.body.decode()


def test_slow_pages_do_not_hold_up_the_callback(account: Settings, inbox: FakeInbox, socket: Path) -> None:
    is_over = asyncio.Event()

    async def page(request: web.Request) -> web.StreamResponse:
        await is_over.wait()
        return web.Response(text="late")

    async def story() -> None:
        async with pages_at(socket, page), front_of(account, inbox, pages_socket=str(socket)) as app:
            count = forward.MOST_CONNECTIONS + 20
            waiting = [asyncio.create_task(asgi(app, Request("GET", "", path="/"))) for _ in range(count)]
            await asyncio.sleep(0.1)
            assert set(await statuses(app, scans(20))) == {200}
            assert not any(task.done() for task in waiting)
            is_over.set()
            assert {reply.status for reply in await asyncio.gather(*waiting)} == {200}

    run(story())
