"""What staff answer goes out once, in order, in this shop's window or at the next hello, or says why not."""

from __future__ import annotations

import io
import json
import multiprocessing
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import requests
from PIL import Image
from sqlalchemy import text

from bot import periodic, store
from bot.inbox import Inbox
from bot.talks import answers, enquiries, intake, sending, tending
from bot.talks.answers import Answer, CouponAnswer, FanLeft, GoneOut, PictureAnswer, TextAnswer
from core import erasure, jobs, outbox
from core.database import Role
from core.errors import BusinessError, Invalid, NotFound
from core.nonces import NonceReused
from core.outbox import MESSAGES, Task
from core.runtime import Runtime
from core.scheduler import Scheduler
from core.servers import ServerUrls
from core.settings import Settings
from merchants import pictures
from tests.bot.talks.conftest import Shop, open_shop
from tests.community import Neighbourhood, new_openid, unsubscribed
from tests.conftest import Sandbox, advance, wait_until
from tests.couponing import live_template
from wechat.client import WeChatClient
from wechat.replies import Reply
from worker import HANDLERS

SEND = "/cgi-bin/message/custom/send"
UPLOADS = {"temporary": "/cgi-bin/media/upload", "permanent": "/cgi-bin/material/add_material"}
HOSTS = frozenset({"localhost"})
URL = "http://localhost:8000"


@pytest.fixture
def shop(connected: Runtime, street: Neighbourhood) -> Shop:
    """A shop whose fans the platform knows, too."""
    return open_shop(connected, Inbox(connected), street, "王记水果")


def writer(shop: Shop, sandbox: Sandbox, *, says: bool = True) -> tuple[int, int]:
    """A fan and their talk; with `says` a window is open, here and there."""
    openid = new_openid()
    sandbox.post("/sandbox/people", openid=openid)
    sandbox.post(f"/sandbox/people/{openid}/follow?wait=0")
    fan = shop.fan(openid)
    if says:
        sandbox.post(f"/sandbox/people/{openid}/say?wait=0", text="在吗？")
    return fan, shop.said(fan, at=shop.runtime.now().replace(microsecond=0), window=says)


def hello(shop: Shop, sandbox: Sandbox, fan: int) -> None:
    """The fan writes again: a window opens, and what waits is owed as the inbox owes it."""
    sandbox.post(f"/sandbox/people/{shop.openids[fan]}/say?wait=0", text="我又来了")
    talk_id = shop.said(fan, "我又来了", at=shop.runtime.now().replace(microsecond=0))
    with shop.runtime.transaction(Role.PLATFORM) as session:
        if shop.talk(talk_id).waiting_out:
            outbox.add_many(session, [sending.hello_row(talk_id=talk_id, inbox_id=talk_id * 1000)])


def write(shop: Shop, talk_id: int, what: Answer | str, *, nonce: str = "", staff: int | None = None) -> int:
    with shop.runtime.transaction(Role.MERCHANT, merchant_id=shop.merchant_id) as session:
        return answers.write(
            session,
            merchant_id=shop.merchant_id,
            staff_id=staff or shop.owner,
            talk_id=talk_id,
            answer=TextAnswer(what) if isinstance(what, str) else what,
            nonce=nonce or f"n{time.monotonic_ns()}",
            hosts=HOSTS,
            public_url=URL,
            now=shop.runtime.now(),
        )


def send(runtime: Runtime) -> None:
    """The worker of the messages, as often as it is woken."""
    for _ in range(4):
        with runtime.transaction(Role.PLATFORM) as session:
            session.execute(text("UPDATE outbox SET next_try_at = clock_timestamp() WHERE state = 'pending'"))
        jobs.drain(runtime, HANDLERS, MESSAGES)


def heard(sandbox: Sandbox, shop: Shop, fan: int) -> list[str]:
    """What the platform took for this person."""
    answer = requests.get(f"{sandbox.url}/sandbox/log", params={"after": 0, "limit": 100_000}, timeout=10)
    lines = [json.loads(line) for line in answer.text.splitlines()]
    calls = [line for line in lines if line.get("path") == SEND and line["accepted"]]
    mine = [call["body"] for call in calls if call["body"]["touser"] == shop.openids[fan]]
    return [body["text"]["content"] if body["msgtype"] == "text" else body["msgtype"] for body in mine]


def misbehave(sandbox: Sandbox, times: int = 1, path: str = SEND, **deed: Any) -> None:
    sandbox.post("/sandbox/faults", rules=[{"match": {"path": path}, "next": times, "do": deed}])


def used(runtime: Runtime) -> list[int]:
    with runtime.transaction(Role.PLATFORM) as session:
        return list(
            session.scalars(text("SELECT used FROM message_window WHERE trigger = 'message' ORDER BY inbox_id"))
        )


def whys(shop: Shop, talk_id: int) -> list[tuple[str, str]]:
    return [(m.state, m.why) for m in sorted(shop.messages(talk_id), key=lambda m: m.id) if m.direction == "out"]


# ---- Going out -------------------------------------------------------------------------------------------------------


def test_an_answer_goes_out_and_the_talk_is_answered(shop: Shop, sandbox: Sandbox) -> None:
    ann, talk_id = writer(shop, sandbox)
    write(shop, talk_id, "在的，今天有榴莲")
    talk = shop.talk(talk_id)
    assert (talk.state, talk.unread, talk.waiting_since, talk.preview) == ("answered", 0, None, "在的，今天有榴莲")
    (enquiry,) = shop.enquiries(talk_id)
    assert enquiry.first_answer_by == shop.owner
    send(shop.runtime)
    assert heard(sandbox, shop, ann) == ["在的，今天有榴莲"]
    assert (shop.states(talk_id), used(shop.runtime)) == (["sent"], [1])


def test_they_go_out_in_the_order_in_which_they_were_written(shop: Shop, sandbox: Sandbox) -> None:
    ann, talk_id = writer(shop, sandbox)
    for number in range(4):
        write(shop, talk_id, f"第{number}句", staff=(shop.owner, shop.clerk)[number % 2])
    with shop.runtime.transaction(Role.PLATFORM) as session:
        # Whichever task comes first.
        session.execute(text("UPDATE outbox SET next_try_at = next_try_at - id * interval '1 second'"))
    send(shop.runtime)
    assert heard(sandbox, shop, ann) == ["第0句", "第1句", "第2句", "第3句"]


def test_all_five_of_a_window_go_and_the_sixth_waits(shop: Shop, sandbox: Sandbox) -> None:
    ann, talk_id = writer(shop, sandbox)
    for number in range(6):
        write(shop, talk_id, f"第{number}句")
    send(shop.runtime)
    assert heard(sandbox, shop, ann) == [f"第{number}句" for number in range(5)]
    assert shop.states(talk_id) == ["sent"] * 5 + ["waiting"]
    assert shop.talk(talk_id).waiting_out == 1


def test_a_double_tap_sends_once(shop: Shop, sandbox: Sandbox) -> None:
    ann, talk_id = writer(shop, sandbox)
    first = write(shop, talk_id, "好的", nonce="tap")
    assert write(shop, talk_id, "好的", nonce="tap") == first
    with pytest.raises(NonceReused):
        write(shop, talk_id, "不好", nonce="tap")
    send(shop.runtime)
    assert heard(sandbox, shop, ann) == ["好的"]


def test_the_window_that_closes_first_is_spent_first(shop: Shop, sandbox: Sandbox) -> None:
    ann, talk_id = writer(shop, sandbox)
    shop.said(ann, "再问一句", at=shop.now - timedelta(hours=40))
    write(shop, talk_id, "好")
    send(shop.runtime)
    with shop.runtime.transaction(Role.PLATFORM) as session:
        spent = (
            session.execute(text("SELECT used FROM message_window WHERE trigger = 'message' ORDER BY expires_at"))
            .scalars()
            .all()
        )
    assert spent == [1, 0]


def test_another_shops_window_carries_no_answer_of_ours(
    shop: Shop, other_shop: Shop, sandbox: Sandbox, connected: Runtime
) -> None:
    ann, talk_id = writer(shop, sandbox, says=False)
    sandbox.post(f"/sandbox/people/{shop.openids[ann]}/say?wait=0", text="面条多少钱")
    other_shop.said(ann, "面条多少钱")
    write(shop, talk_id, "苹果降价了")
    send(connected)
    assert heard(sandbox, shop, ann) == []
    assert (shop.states(talk_id), used(connected)) == (["waiting"], [0])


def photo(colour: str = "red") -> PictureAnswer:
    content = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(content, "PNG")
    return PictureAnswer(pictures.prepare(content.getvalue()))


Uploads = Callable[[], list[str]]


@pytest.fixture
def uploads(sandbox: Sandbox) -> Uploads:
    """Which pictures were brought to the platform within this test: as what."""

    def brought() -> list[str]:
        answer = requests.get(f"{sandbox.url}/sandbox/log", params={"after": 0, "limit": 100_000}, timeout=10)
        paths = [json.loads(line).get("path") for line in answer.text.splitlines()]
        return [kind for path in paths for kind in ("temporary", "permanent") if path == UPLOADS[kind]]

    before = len(brought())
    return lambda: brought()[before:]


def test_a_picture_goes_out_in_its_turn_and_is_no_material_of_the_account(
    shop: Shop, sandbox: Sandbox, uploads: Uploads
) -> None:
    ann, talk_id = writer(shop, sandbox)
    write(shop, talk_id, photo())
    write(shop, talk_id, "看图")
    send(shop.runtime)
    assert heard(sandbox, shop, ann) == ["image", "看图"]
    assert (uploads(), used(shop.runtime)) == (["temporary"], [2])
    with shop.runtime.transaction(Role.PLATFORM) as session:
        assert session.execute(text("SELECT count(*) FROM picture")).scalar_one() == 0


def test_the_same_picture_again_is_the_same_answer_and_another_is_not(shop: Shop, sandbox: Sandbox) -> None:
    _, talk_id = writer(shop, sandbox)
    assert write(shop, talk_id, photo(), nonce="tap") == write(shop, talk_id, photo(), nonce="tap")
    with pytest.raises(NonceReused):
        write(shop, talk_id, photo("blue"), nonce="tap")


def test_a_picture_that_waits_is_brought_to_the_platform_when_it_goes_out(
    shop: Shop, sandbox: Sandbox, uploads: Uploads
) -> None:
    ann, talk_id = writer(shop, sandbox, says=False)
    write(shop, talk_id, photo())
    send(shop.runtime)
    assert (shop.states(talk_id), uploads()) == (["waiting"], [])
    # Longer than the platform keeps what it was given.
    advance(shop.runtime, timedelta(days=4))
    hello(shop, sandbox, ann)
    send(shop.runtime)
    assert (heard(sandbox, shop, ann), uploads()) == (["image"], ["temporary"])


@pytest.mark.parametrize("errcode", [40009, 45009, 48001])
def test_a_picture_that_the_platform_refuses_says_so_and_holds_up_nothing(
    shop: Shop, sandbox: Sandbox, errcode: int
) -> None:
    ann, talk_id = writer(shop, sandbox)
    write(shop, talk_id, photo())
    write(shop, talk_id, "图发不出来，下次再说")
    misbehave(sandbox, path=UPLOADS["temporary"], errcode=errcode)
    send(shop.runtime)
    assert whys(shop, talk_id) == [("refused", "not_ready"), ("sent", "")]
    assert [m.errcode for m in shop.messages(talk_id) if m.kind == "image"] == [errcode]
    assert (heard(sandbox, shop, ann), used(shop.runtime)) == (["图发不出来，下次再说"], [1])


@pytest.mark.parametrize("deed", [{"errcode": 45011}, {"errcode": -1}, {"html": True}, {"lost_reply": True}])
def test_a_picture_without_an_answer_is_brought_again_and_sent_once(
    shop: Shop, sandbox: Sandbox, deed: dict[str, Any]
) -> None:
    ann, talk_id = writer(shop, sandbox)
    write(shop, talk_id, photo())
    write(shop, talk_id, "看图")
    misbehave(sandbox, path=UPLOADS["temporary"], **deed)
    send(shop.runtime)
    assert heard(sandbox, shop, ann) == ["image", "看图"]
    assert (shop.states(talk_id), used(shop.runtime)) == (["sent", "sent"], [2])


def test_a_platform_that_never_answers_about_a_picture_is_not_asked_for_ever(shop: Shop, sandbox: Sandbox) -> None:
    ann, talk_id = writer(shop, sandbox)
    write(shop, talk_id, photo())
    write(shop, talk_id, "看图")
    misbehave(sandbox, times=100, path=UPLOADS["temporary"], errcode=-1)
    for _ in range(2):
        send(shop.runtime)
    assert whys(shop, talk_id) == [("refused", "not_ready"), ("sent", "")]
    assert heard(sandbox, shop, ann) == ["看图"]


def test_what_is_gone_before_its_turn_is_passed_over(shop: Shop, sandbox: Sandbox, uploads: Uploads) -> None:
    ann, talk_id = writer(shop, sandbox)
    write(shop, talk_id, photo())
    write(shop, talk_id, "看图")
    with shop.runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("UPDATE talk_media SET state = 'gone', content = NULL, mime = ''"))
    send(shop.runtime)
    assert whys(shop, talk_id) == [("skipped", "too_late"), ("sent", "")]
    assert (heard(sandbox, shop, ann), uploads()) == (["看图"], [])


def test_a_picture_taken_back_while_it_is_brought_is_not_sent(
    shop: Shop, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, uploads: Uploads
) -> None:
    ann, talk_id = writer(shop, sandbox)
    message_id = write(shop, talk_id, photo())
    bring = WeChatClient.add_temporary_image

    def meanwhile(*arguments: Any) -> str:
        with shop.runtime.transaction(Role.MERCHANT, merchant_id=shop.merchant_id) as session:
            answers.cancel(session, merchant_id=shop.merchant_id, talk_id=talk_id, message_id=message_id)
        return bring(*arguments)

    monkeypatch.setattr(WeChatClient, "add_temporary_image", meanwhile)
    send(shop.runtime)
    assert (heard(sandbox, shop, ann), uploads()) == ([], ["temporary"])
    assert (whys(shop, talk_id), used(shop.runtime)) == ([("skipped", "withdrawn")], [0])


def test_a_coupon_is_given_at_once_and_its_link_is_said(shop: Shop, sandbox: Sandbox) -> None:
    ann, talk_id = writer(shop, sandbox)
    template_id = live_template(shop.runtime, shop.merchant_id, "八折券")
    write(shop, talk_id, CouponAnswer(template_id, "给您补一张"), nonce="once")
    write(shop, talk_id, CouponAnswer(template_id, "给您补一张"), nonce="once")
    send(shop.runtime)
    with shop.runtime.transaction(Role.PLATFORM) as session:
        (coupon,) = session.execute(text("SELECT public_id, follower_id, cause, channel FROM coupon")).all()
        given = session.execute(text("SELECT detail FROM audit_log WHERE action = 'coupon.give'")).scalars().all()
    assert (coupon.follower_id, coupon.cause, coupon.channel) == (ann, f"staff:{shop.owner}:once", "staff")
    assert given == [{"follower": ann}]
    (said,) = heard(sandbox, shop, ann)
    assert said == (f'给您补一张\n<a href="{URL}/m/coupons/{coupon.public_id}">送您一张“八折券”，点这里打开</a>')


def test_a_coupon_that_is_not_given_now_says_so_and_nothing_is_sent(shop: Shop, sandbox: Sandbox) -> None:
    _, talk_id = writer(shop, sandbox)
    template_id = live_template(shop.runtime, shop.merchant_id, "八折券", state="paused")
    with pytest.raises(BusinessError, match="不发放"):
        write(shop, talk_id, CouponAnswer(template_id))
    assert shop.states(talk_id) == []


@pytest.mark.parametrize("words", ["", "   ", "看" * 700, "加我：http://evil.example/x"])
def test_what_cannot_be_sent_is_refused_with_a_sentence(shop: Shop, sandbox: Sandbox, words: str) -> None:
    _, talk_id = writer(shop, sandbox)
    with pytest.raises(Invalid):
        write(shop, talk_id, words)


def test_what_staff_write_is_never_markup(shop: Shop, sandbox: Sandbox) -> None:
    ann, talk_id = writer(shop, sandbox)
    write(shop, talk_id, '<a data-miniprogram-appid="wx1">领奖</a>')
    send(shop.runtime)
    assert heard(sandbox, shop, ann) == ['〈a data-miniprogram-appid="wx1"〉领奖〈/a〉']


# ---- Waiting ---------------------------------------------------------------------------------------------------------


def test_what_waits_goes_out_at_the_next_hello_in_order_as_many_as_it_allows(shop: Shop, sandbox: Sandbox) -> None:
    ann, talk_id = writer(shop, sandbox, says=False)
    for number in range(7):
        write(shop, talk_id, f"第{number}句")
    send(shop.runtime)
    assert shop.states(talk_id) == ["waiting"] * 7
    assert shop.talk(talk_id).waiting_out == 7
    hello(shop, sandbox, ann)
    send(shop.runtime)
    assert heard(sandbox, shop, ann) == [f"第{number}句" for number in range(5)]
    assert shop.states(talk_id) == ["sent"] * 5 + ["waiting"] * 2
    assert shop.talk(talk_id).waiting_out == 2


def test_what_waits_can_be_taken_back_and_what_went_out_cannot(shop: Shop, sandbox: Sandbox) -> None:
    ann, talk_id = writer(shop, sandbox, says=False)
    first, second = write(shop, talk_id, "第一句"), write(shop, talk_id, "第二句")
    send(shop.runtime)

    def take_back(message_id: int) -> None:
        with shop.runtime.transaction(Role.MERCHANT, merchant_id=shop.merchant_id) as session:
            answers.cancel(session, merchant_id=shop.merchant_id, talk_id=talk_id, message_id=message_id)

    take_back(first)
    assert whys(shop, talk_id) == [("skipped", "withdrawn"), ("waiting", "")]
    assert shop.talk(talk_id).waiting_out == 1
    hello(shop, sandbox, ann)
    send(shop.runtime)
    assert heard(sandbox, shop, ann) == ["第二句"]
    with pytest.raises(GoneOut):
        take_back(second)
    with pytest.raises(NotFound):
        take_back(second + 100)


def test_a_hello_whose_task_got_lost_is_noticed(shop: Shop, sandbox: Sandbox) -> None:
    ann, talk_id = writer(shop, sandbox, says=False)
    write(shop, talk_id, "等您来")
    send(shop.runtime)
    hello(shop, sandbox, ann)
    with shop.runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("DELETE FROM outbox"))
    advance(shop.runtime, timedelta(minutes=3))
    Scheduler(shop.runtime, [task for task in periodic.TASKS if task.name == "forgotten answers"]).start_due()
    send(shop.runtime)
    assert heard(sandbox, shop, ann) == ["等您来"]


def test_the_clock_says_until_when_and_how_often(shop: Shop, sandbox: Sandbox) -> None:
    ann, talk_id = writer(shop, sandbox)

    def clock() -> answers.Clock:
        with shop.runtime.transaction(Role.MERCHANT, merchant_id=shop.merchant_id) as session:
            return answers.clock(session, merchant_id=shop.merchant_id, follower_id=ann, now=shop.runtime.now())

    assert (clock().left, clock().is_open) == (5, True)
    until = clock().open_until
    assert until is not None
    assert timedelta(hours=47) < until - shop.runtime.now() <= timedelta(hours=48)
    write(shop, talk_id, "好")
    send(shop.runtime)
    assert clock().left == 4
    with shop.runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("UPDATE message_window SET used = allowance WHERE follower_id = :id"), {"id": ann})
    assert (clock().open_until, clock().left, clock().is_open) == (until, 0, False), "open, and used up"
    advance(shop.runtime, timedelta(hours=49))
    write(shop, talk_id, "还在吗")
    send(shop.runtime)
    assert clock() == answers.Clock(None, 0, 1)


# ---- What the platform says ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("deed", "became", "errcode"),
    [
        ({"errcode": 43004}, ("refused", "left"), 43004),
        ({"errcode": 48001}, ("refused", "platform"), 48001),
        ({"errcode": 99999}, ("refused", "platform"), 99999),
        ({"errcode": -1}, ("unknown", ""), -1),
        ({"html": True}, ("unknown", ""), None),
        ({"lost_reply": True}, ("unknown", ""), None),
    ],
)
def test_every_answer_of_the_platform_ends_it_for_good(
    shop: Shop, sandbox: Sandbox, deed: dict[str, Any], became: tuple[str, str], errcode: int | None
) -> None:
    ann, talk_id = writer(shop, sandbox)
    write(shop, talk_id, "第一句")
    write(shop, talk_id, "第二句")
    misbehave(sandbox, **deed)
    send(shop.runtime)
    send(shop.runtime)
    assert whys(shop, talk_id) == [became, ("sent", "")]
    assert shop.messages(talk_id)[-2].errcode == errcode
    assert heard(sandbox, shop, ann).count("第一句") == ("lost_reply" in deed)


@pytest.mark.parametrize("errcode", [45015, 45047])
def test_a_window_that_the_platform_calls_closed_makes_it_wait_once(shop: Shop, sandbox: Sandbox, errcode: int) -> None:
    ann, talk_id = writer(shop, sandbox)
    write(shop, talk_id, "第一句")
    write(shop, talk_id, "第二句")
    misbehave(sandbox, errcode=errcode)
    send(shop.runtime)
    assert shop.states(talk_id) == ["waiting", "waiting"]
    assert used(shop.runtime) == [5], "nothing more goes into that window"
    hello(shop, sandbox, ann)
    misbehave(sandbox, errcode=errcode)
    send(shop.runtime)
    assert whys(shop, talk_id) == [("refused", "closed"), ("waiting", "")]
    hello(shop, sandbox, ann)
    with shop.runtime.transaction(Role.PLATFORM) as session:
        outbox.add_many(session, [sending.hello_row(talk_id=talk_id, inbox_id=7)])
    send(shop.runtime)
    assert heard(sandbox, shop, ann) == ["第二句"]


def test_a_platform_too_busy_is_asked_again(shop: Shop, sandbox: Sandbox) -> None:
    ann, talk_id = writer(shop, sandbox)
    write(shop, talk_id, "第一句")
    misbehave(sandbox, errcode=45011)
    send(shop.runtime)
    assert heard(sandbox, shop, ann) == ["第一句"]
    assert (shop.states(talk_id), used(shop.runtime)) == (["sent"], [1])


@pytest.mark.parametrize("change", ["left", "forgotten"])
def test_who_is_gone_gets_nothing_and_the_answer_says_so(shop: Shop, sandbox: Sandbox, change: str) -> None:
    ann, talk_id = writer(shop, sandbox)
    write(shop, talk_id, "在的")
    if change == "left":
        shop.inbox.receive([unsubscribed(shop.openids[ann], shop.runtime.now().replace(microsecond=0))])
    else:
        with shop.runtime.transaction(Role.PLATFORM) as session:
            session.execute(text("SELECT 1 FROM follower WHERE id = :id FOR UPDATE"), {"id": ann})
            erasure.erase(session, follower_id=ann, reason="request")
    send(shop.runtime)
    assert heard(sandbox, shop, ann) == []
    assert whys(shop, talk_id) == [("refused", "left")]
    with pytest.raises(FanLeft):
        write(shop, talk_id, "还在吗")


def test_who_is_suspended_says_nothing_more_in_the_accounts_name(shop: Shop, sandbox: Sandbox) -> None:
    ann, talk_id = writer(shop, sandbox)
    write(shop, talk_id, "加我私人微信")
    suspend = text("UPDATE merchant SET state = :state WHERE id = :id")
    with shop.runtime.transaction(Role.PLATFORM) as session:
        session.execute(suspend, {"state": "suspended", "id": shop.merchant_id})
    send(shop.runtime)
    assert (heard(sandbox, shop, ann), shop.states(talk_id), used(shop.runtime)) == ([], ["planned"], [0])
    advance(shop.runtime, sending.FORGOTTEN_AFTER * 2)
    with shop.runtime.transaction(Role.PLATFORM) as session:
        sending.owe_forgotten(session, shop.runtime.now())
        assert session.scalar(text("SELECT count(*) FROM outbox WHERE kind = :kind AND state = 'pending'"),
                              {"kind": sending.SEND}) == 0  # fmt: skip
        session.execute(suspend, {"state": "active", "id": shop.merchant_id})


# ---- Dying on the way ------------------------------------------------------------------------------------------------


def send_in_another_process(settings: Settings, urls: ServerUrls, *, stop_after_call: bool) -> None:
    """A worker that gets stuck right before or right after the platform has taken its first message."""
    call = sending._send

    def get_stuck(client: WeChatClient, openid: str, reply: Reply) -> None:
        if stop_after_call:
            call(client, openid, reply)
        time.sleep(60)

    sending._send = get_stuck
    jobs.drain(Runtime.build(settings, urls, pooled=False), HANDLERS, MESSAGES)


def bring_in_another_process(settings: Settings, urls: ServerUrls) -> None:
    """A worker that gets stuck right after the platform has taken a picture."""
    bring = WeChatClient.add_temporary_image

    def get_stuck(*arguments: Any) -> None:
        bring(*arguments)
        time.sleep(60)

    setattr(WeChatClient, "add_temporary_image", get_stuck)  # noqa: B010  the type checker allows it so
    jobs.drain(Runtime.build(settings, urls, pooled=False), HANDLERS, MESSAGES)


def test_killed_between_a_picture_and_its_message_it_is_sent_by_the_next_worker(
    shop: Shop, urls: ServerUrls, sandbox: Sandbox, uploads: Uploads
) -> None:
    ann, talk_id = writer(shop, sandbox)
    write(shop, talk_id, photo())
    worker = multiprocessing.get_context("fork").Process(
        target=bring_in_another_process, args=(shop.runtime.settings, urls)
    )
    worker.start()
    wait_until(lambda: bool(uploads()), what="the picture")
    worker.kill()
    worker.join()
    assert (shop.states(talk_id), used(shop.runtime)) == (["planned"], [0])
    send(shop.runtime)
    assert heard(sandbox, shop, ann) == ["image"]
    assert (shop.states(talk_id), used(shop.runtime)) == (["sent"], [1])


@pytest.mark.parametrize("stop_after_call", [False, True])
def test_killed_in_the_middle_of_a_call_it_is_unknown_and_never_sent_again(
    shop: Shop, urls: ServerUrls, sandbox: Sandbox, stop_after_call: bool
) -> None:
    ann, talk_id = writer(shop, sandbox)
    write(shop, talk_id, "第一句")
    write(shop, talk_id, "第二句")
    worker = multiprocessing.get_context("fork").Process(
        target=send_in_another_process, args=(shop.runtime.settings, urls), kwargs={"stop_after_call": stop_after_call}
    )
    worker.start()
    wait_until(lambda: shop.states(talk_id)[0] == "calling", what="the call")
    if stop_after_call:
        wait_until(lambda: bool(heard(sandbox, shop, ann)), what="the acceptance")
    worker.kill()
    worker.join()
    send(shop.runtime)
    assert shop.states(talk_id) == ["calling", "planned"], "the second one waits for its turn"
    with shop.runtime.transaction(Role.PLATFORM) as session:
        session.execute(
            text("UPDATE talk_message SET calling_at = calling_at - interval '61 seconds' WHERE state = 'calling'")
        )
    Scheduler(shop.runtime, [task for task in periodic.TASKS if task.name == "lost answers"]).start_due()
    send(shop.runtime)
    assert shop.states(talk_id) == ["unknown", "sent"]
    told = ["第一句"] if stop_after_call else []
    assert heard(sandbox, shop, ann) == [*told, "第二句"]


def test_two_workers_with_the_same_talk_send_each_message_once(
    shop: Shop, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, talk_id = writer(shop, sandbox)
    write(shop, talk_id, "第一句")
    write(shop, talk_id, "第二句")
    task = Task(0, sending.SEND, {"talk_id": talk_id}, None, 1, 0)
    call: Callable[..., None] = sending._send

    def meanwhile(*arguments: Any) -> None:
        monkeypatch.setattr(sending, "_send", call)
        with pytest.raises(outbox.TryLater):
            sending.send_answers(shop.runtime, task)
        call(*arguments)

    monkeypatch.setattr(sending, "_send", meanwhile)
    sending.send_answers(shop.runtime, task)
    assert heard(sandbox, shop, ann) == ["第一句", "第二句"]


def test_closing_while_an_answer_waits_leaves_it_waiting(shop: Shop, sandbox: Sandbox) -> None:
    ann, talk_id = writer(shop, sandbox, says=False)
    write(shop, talk_id, "明天到货")
    send(shop.runtime)
    with shop.runtime.transaction(Role.MERCHANT, merchant_id=shop.merchant_id) as session:
        tending.close(
            session, merchant_id=shop.merchant_id, staff_id=shop.clerk, talk_id=talk_id, now=shop.runtime.now()
        )
    advance(shop.runtime, timedelta(hours=1))
    hello(shop, sandbox, ann)
    send(shop.runtime)
    assert heard(sandbox, shop, ann) == ["明天到货"]
    assert shop.talk(talk_id).state == "waiting"


# ---- How it was ------------------------------------------------------------------------------------------------------


def close(shop: Shop, talk_id: int) -> None:
    with shop.runtime.transaction(Role.MERCHANT, merchant_id=shop.merchant_id) as session:
        tending.close(
            session,
            merchant_id=shop.merchant_id,
            staff_id=shop.owner,
            talk_id=talk_id,
            now=shop.runtime.now(),
            asks=True,
        )


def pending(shop: Shop) -> list[int]:
    with shop.runtime.transaction(Role.PLATFORM) as session:
        return list(session.scalars(text("SELECT enquiry_id FROM pending_question")))


def test_the_fan_is_asked_how_it_was_and_the_next_number_is_the_answer(shop: Shop, sandbox: Sandbox) -> None:
    ann, talk_id = writer(shop, sandbox)
    write(shop, talk_id, "在的")
    close(shop, talk_id)
    send(shop.runtime)
    assert heard(sandbox, shop, ann) == ["在的", enquiries.QUESTION]
    (enquiry,) = shop.enquiries(talk_id)
    assert enquiry.asked_at is not None
    assert pending(shop) == [enquiry.id]
    with shop.runtime.transaction(Role.PLATFORM) as session:
        for satisfaction in (3, 1):
            rows = intake.rating(enquiry_id=enquiry.id, satisfaction=satisfaction, at=shop.now)["ratings"]
            store.driver(session).execute(intake.WRITES["ratings"], {"rows": store.as_json(rows)})
    assert [e.satisfaction for e in shop.enquiries(talk_id)] == [3], "the first one counts"


def test_how_it_was_is_not_asked_without_a_message_left_and_does_not_wait(shop: Shop, sandbox: Sandbox) -> None:
    ann, talk_id = writer(shop, sandbox)
    for number in range(5):
        write(shop, talk_id, f"第{number}句")
    close(shop, talk_id)
    send(shop.runtime)
    assert whys(shop, talk_id)[-1] == ("skipped", "no_room")
    assert (pending(shop), shop.enquiries(talk_id)[0].asked_at) == ([], None)
    assert len(heard(sandbox, shop, ann)) == 5


def test_behind_an_answer_that_waits_nobody_is_asked_later_how_it_was(shop: Shop, sandbox: Sandbox) -> None:
    ann, talk_id = writer(shop, sandbox, says=False)
    write(shop, talk_id, "明天到货")
    close(shop, talk_id)
    send(shop.runtime)
    assert whys(shop, talk_id) == [("waiting", ""), ("skipped", "no_room")]
    advance(shop.runtime, timedelta(hours=1))
    hello(shop, sandbox, ann)
    send(shop.runtime)
    assert (heard(sandbox, shop, ann), pending(shop)) == (["明天到货"], [])


def test_a_question_that_the_platform_refused_was_not_put(shop: Shop, sandbox: Sandbox) -> None:
    _, talk_id = writer(shop, sandbox)
    write(shop, talk_id, "在的")
    send(shop.runtime)
    close(shop, talk_id)
    misbehave(sandbox, errcode=45015)
    send(shop.runtime)
    assert whys(shop, talk_id)[-1] == ("refused", "closed")
    assert (pending(shop), shop.enquiries(talk_id)[0].asked_at) == ([], None)
