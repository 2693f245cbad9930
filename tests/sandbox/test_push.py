"""What reaches the developer's server, how often, and what the person sees of it."""

import itertools
import time
from typing import Any

import pytest

from sandbox.crypto import signature
from sandbox.events import EVENTS, MESSAGES

from .conftest import APP_ID, CIPHER, GH, QUICK, TOKEN, Box, Received, Receiver, StartBox

SORRY = "该公众号暂时无法提供服务，请稍后再试"


@pytest.fixture
def pushed(box: Box, receiver: Receiver) -> Receiver:
    box.control("/account", {"callback_url": receiver.url})
    return receiver


def sealed(text: str, timestamp: str = "1700000001", nonce: str = "24680") -> bytes:
    encrypted = CIPHER.encrypt(text)
    return (
        f"<xml><Encrypt><![CDATA[{encrypted}]]></Encrypt>"
        f"<MsgSignature>{signature(TOKEN, timestamp, nonce, encrypted)}</MsgSignature>"
        f"<TimeStamp>{timestamp}</TimeStamp><Nonce>{nonce}</Nonce></xml>"
    ).encode()


def test_the_address_is_verified_as_the_console_does(box: Box, pushed: Receiver) -> None:
    assert box.control("/verify") == {"ok": True}


# The three modes


def test_plain_mode(box: Box, pushed: Receiver) -> None:
    box.control("/account", {"mode": "plain"})
    code, ann = box.code("door"), box.person()
    pushed.answer = pushed.words("欢迎")
    answer = box.act(ann, "scan", url=code["url"])
    (received,) = pushed.received
    query = received.query
    assert query["signature"] == signature(TOKEN, query["timestamp"], query["nonce"])
    assert query["openid"] == ann
    assert "encrypt_type" not in query
    assert received.fields == {
        "ToUserName": GH,
        "FromUserName": ann,
        "CreateTime": str(answer["event"]["CreateTime"]),
        "MsgType": "event",
        "Event": "subscribe",
        "EventKey": "qrscene_door",
        "Ticket": code["ticket"],
    }
    assert answer["reply"] == {"type": "text", "text": "欢迎"}
    assert answer["deliveries"][0]["verdict"] == "ok"
    assert box.said(ann) == ["欢迎"]


def test_secure_mode(box: Box, pushed: Receiver) -> None:
    ann = box.person(following=True)
    pushed.answer = lambda received: sealed(pushed.words("在的")(received).decode())
    answer = box.act(ann, "say", text="在吗 ]]> <b>")
    (received,) = pushed.received
    query = received.query
    assert set(received.fields) == {"ToUserName", "Encrypt"}
    assert query["encrypt_type"] == "aes"
    assert query["msg_signature"] == signature(TOKEN, query["timestamp"], query["nonce"], received.fields["Encrypt"])
    assert received.event["Content"] == "在吗 ]]> <b>"
    assert received.event["MsgId"].isdigit()
    assert answer["reply"] == {"type": "text", "text": "在的"}
    assert box.said(ann) == ["在的"]


@pytest.mark.parametrize("is_sealed", [True, False])
def test_compatible_mode_takes_both_kinds_of_reply(box: Box, pushed: Receiver, is_sealed: bool) -> None:
    box.control("/account", {"mode": "compatible"})
    ann = box.person(following=True)
    clear = pushed.words("在的")
    pushed.answer = (lambda received: sealed(clear(received).decode())) if is_sealed else clear
    box.act(ann, "say", text="在吗")
    (received,) = pushed.received
    assert received.fields["Content"] == "在吗"
    assert received.event["Content"] == "在吗"
    assert box.said(ann) == ["在的"]


# Replies that do not arrive


@pytest.mark.parametrize(
    "answer",
    [
        b'{"ok":true}',
        b"<html><body>error</body></html>",
        b"<xml><Encrypt>AAAA</Encrypt></xml>",
        b"<xml><Encrypt>AAAA</Encrypt><MsgSignature>x</MsgSignature><TimeStamp>1</TimeStamp><Nonce>2</Nonce></xml>",
        b"<xml><ToUserName>nobody</ToUserName></xml>",
        b"Success",
    ],
)
def test_a_malformed_reply_becomes_an_apology(box: Box, pushed: Receiver, answer: bytes) -> None:
    ann = box.person(following=True)
    pushed.answer = lambda _: answer
    deliveries = box.act(ann, "say", text="在吗")["deliveries"]
    assert [delivery["verdict"] for delivery in deliveries] == ["malformed"]
    assert box.said(ann) == [SORRY]


def test_a_clear_reply_in_secure_mode_is_malformed(box: Box, pushed: Receiver) -> None:
    ann = box.person(following=True)
    pushed.answer = pushed.words("在的")
    assert box.act(ann, "say", text="在吗")["deliveries"][0]["verdict"] == "malformed"


def test_a_forged_reply_signature_is_malformed(box: Box, pushed: Receiver) -> None:
    ann = box.person(following=True)
    pushed.answer = lambda received: sealed(pushed.words("在的")(received).decode()).replace(b"<Nonce>2", b"<Nonce>3")
    assert box.act(ann, "say", text="在吗")["deliveries"][0]["verdict"] == "malformed"


def test_silence_is_met_with_three_deliveries(box: Box, pushed: Receiver) -> None:
    def too_late(_: Received) -> bytes:
        time.sleep(0.5)
        return b"success"

    pushed.answer = too_late
    ann = box.person(following=True)
    deliveries = box.act(ann, "say", text="在吗")["deliveries"]
    assert [delivery["verdict"] for delivery in deliveries] == ["timeout"] * 3
    assert len({received.event["MsgId"] for received in pushed.received}) == 1
    assert len({received.event["CreateTime"] for received in pushed.received}) == 1
    assert len({received.query["nonce"] for received in pushed.received}) == 3
    assert len({received.query["msg_signature"] for received in pushed.received}) == 3
    starts = [received.at for received in pushed.received]
    assert all(later - earlier > 0.28 for earlier, later in itertools.pairwise(starts))
    assert box.said(ann) == [SORRY]


def test_a_server_error_is_tried_again_and_a_late_answer_counts(box: Box, pushed: Receiver) -> None:
    pushed.answer = lambda _: 503 if len(pushed.received) < 3 else b"success"
    ann = box.person(following=True)
    deliveries = box.act(ann, "say", text="在吗")["deliveries"]
    assert [(delivery["status"], delivery["verdict"]) for delivery in deliveries] == [
        (503, "refused"),
        (503, "refused"),
        (200, "ok"),
    ]
    assert box.said(ann) == []


def test_a_clear_refusal_is_final(box: Box, pushed: Receiver) -> None:
    pushed.answer = lambda _: 403
    ann = box.person(following=True)
    assert len(box.act(ann, "say", text="在吗")["deliveries"]) == 1
    assert box.said(ann) == [SORRY]


# What people can do


def test_scan_follow_scan_leave(box: Box, pushed: Receiver) -> None:
    code, ann = box.code("door"), box.person()
    assert box.act(ann, "scan", scene="door", follow=False) == {"event": None, "deliveries": [], "reply": None}
    assert pushed.received == []
    box.act(ann, "scan", ticket=code["ticket"])
    box.act(ann, "scan", scene="door")
    box.act(ann, "unfollow")
    box.act(ann, "follow")
    events = [(received.event["Event"], received.event["EventKey"]) for received in pushed.received]
    assert events == [("subscribe", "qrscene_door"), ("SCAN", "door"), ("unsubscribe", None), ("subscribe", None)]


def test_what_nobody_can_do(box: Box, pushed: Receiver) -> None:
    ann = box.person(name="安")
    box.code("today", seconds=60)
    box.clock(advance_seconds=60)
    assert box.act(ann, "scan", scene="today", expect=410) == {"error": "这个二维码已过期。"}
    assert "error" in box.act(ann, "scan", scene="nowhere", expect=404)
    assert "error" in box.act(ann, "scan", url="https://example.com/", expect=404)
    assert box.act(ann, "say", text="在吗", expect=409) == {"error": "安还没有关注公众号。"}
    assert "error" in box.act(ann, "unfollow", expect=409)
    assert "error" in box.act("o" * 28, "follow", expect=404)
    assert pushed.received == []


def test_seeding_is_silent(box: Box, pushed: Receiver) -> None:
    ann = box.person(following=True, subscribe_time=1_600_000_000, qr_scene_str="door")
    info = box.get("/cgi-bin/user/info", openid=ann)
    assert (info["subscribe_time"], info["qr_scene_str"]) == (1_600_000_000, "door")
    box.control("/people", {"openid": ann, "following": False})
    assert box.get("/cgi-bin/user/info", openid=ann)["subscribe"] == 0
    assert pushed.received == []


def test_a_tapped_message_menu_is_a_menu_tap(box: Box, pushed: Receiver) -> None:
    ann = box.person(following=True)
    box.act(ann, "say", text="喜欢", bizmsgmenuid="101")
    assert pushed.received[0].event["bizmsgmenuid"] == "101"
    assert [box.send_text(ann) for _ in range(4)] == [0, 0, 0, 45047]


def test_messages_of_every_kind(box: Box, pushed: Receiver) -> None:
    ann = box.person(following=True)
    box.act(ann, "say", type="image")
    box.act(ann, "say", type="location", latitude=23.1, longitude=113.3, scale=16, label="南门")
    box.act(ann, "say", type="link", title="茶", description="新茶", url="https://example.com/")
    box.act(ann, "say", type="voice")
    image, place, link, voice = (received.event for received in pushed.received)
    assert image["PicUrl"].endswith(image["MediaId"])
    assert (place["Location_X"], place["Label"]) == ("23.1", "南门")
    assert (link["Title"], link["Url"]) == ("茶", "https://example.com/")
    assert voice["Format"] == "amr"


@pytest.mark.parametrize("name", EVENTS)
def test_every_documented_event_can_be_pushed(box: Box, pushed: Receiver, name: str) -> None:
    ann = box.person(following=True)
    box.act(ann, "raw", Event=name)
    event = pushed.received[0].event
    assert (event["Event"], event["MsgType"], event["FromUserName"]) == (name, "event", ann)
    assert set(EVENTS[name]) <= set(event)
    assert "MsgId" not in event
    if "OpenID" in event:
        assert (event["OpenID"], event["AppID"]) == (ann, APP_ID)


@pytest.mark.parametrize("name", MESSAGES)
def test_every_documented_message_can_be_pushed(box: Box, pushed: Receiver, name: str) -> None:
    box.act(box.person(following=True), "raw", MsgType=name)
    event = pushed.received[0].event
    assert set(MESSAGES[name]) | {"MsgId"} <= set(event)


def test_raw_fields_win_over_the_sample(box: Box, pushed: Receiver) -> None:
    lists = {"List": [{"TemplateId": "a", "PopupScene": "1"}, {"TemplateId": "b", "PopupScene": "2"}]}
    fields: dict[str, Any] = {"SubscribeMsgPopupEvent": lists, "CreateTime": 1_600_000_000, "FromUserName": "mphelper"}
    box.act(box.person(), "raw", Event="subscribe_msg_popup_event", **fields)
    event = pushed.received[0].event
    assert (event["CreateTime"], event["FromUserName"]) == ("1600000000", "mphelper")
    assert [item["TemplateId"] for item in event["SubscribeMsgPopupEvent"]["List"]] == ["a", "b"]


def test_one_person_in_order_many_people_at_once(start_box: StartBox, receiver: Receiver) -> None:
    def slow(_: Received) -> bytes:
        time.sleep(0.2)
        return b"success"

    receiver.answer = slow
    box = start_box("--callback-url", receiver.url, "--limit", "push_timeout_ms=2000")
    people = [person["openid"] for person in box.control("/people", {"people": [{"following": True}] * 12})["people"]]
    for text in ("一", "二"):
        for openid in people:
            box.control(f"/people/{openid}/say?wait=0", {"text": text})
    began = time.monotonic()
    while len(receiver.received) < 24 and time.monotonic() - began < 5:
        time.sleep(0.02)
    assert time.monotonic() - began < 2, "24 pushes one after the other would take 4.8 s"
    for openid in people:
        mine = [one.event["Content"] for one in receiver.received if one.event["FromUserName"] == openid]
        assert mine == ["一", "二"]


# Faults on the way


def test_a_push_is_lost(box: Box, pushed: Receiver) -> None:
    ann = box.person()
    box.fault({"drop": True}, push=True, event="subscribe")
    assert box.act(ann, "follow")["deliveries"] == []
    box.act(ann, "say", text="在吗")
    assert [received.event["MsgType"] for received in pushed.received] == ["text"]


def test_a_push_comes_several_times(box: Box, pushed: Receiver) -> None:
    box.fault({"duplicate": 2}, push=True)
    box.act(box.person(following=True), "say", text="在吗")
    assert len(pushed.received) == 3
    assert len({received.event["MsgId"] for received in pushed.received}) == 1


def test_pushes_change_places(box: Box, pushed: Receiver) -> None:
    ann = box.person()
    box.fault({"reorder": True}, push=True, event="subscribe")
    box.act(ann, "follow")
    assert pushed.received == []
    box.act(ann, "unfollow")
    assert [received.event["Event"] for received in pushed.received] == ["unsubscribe", "subscribe"]


def test_a_reply_is_lost_and_the_push_comes_again(box: Box, pushed: Receiver) -> None:
    box.fault({"lost_reply": True}, push=True)
    deliveries = box.act(box.person(following=True), "say", text="在吗")["deliveries"]
    assert [delivery["verdict"] for delivery in deliveries] == ["timeout", "ok"]


def test_a_push_is_slow(box: Box, pushed: Receiver) -> None:
    box.fault({"latency_ms": 150}, push=True)
    began = time.monotonic()
    box.act(box.person(following=True), "say", text="在吗")
    assert pushed.received[0].at - began >= 0.15


def test_without_an_address_nothing_is_pushed(start_box: StartBox) -> None:
    box = start_box(*QUICK)
    ann = box.person()
    assert box.act(ann, "follow")["deliveries"] == []
    assert box.said(ann) == []
    assert box.control("/verify") == {"ok": False}
