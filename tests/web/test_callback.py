"""What strangers and the platform may send to the callback, through both doors; the numbers are the catalogue's."""

import asyncio
import base64
import gzip
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC

from bot import events
from bot.parser import parse
from core.settings import Settings
from tests.web.pushes import (
    ANN,
    APP_ID,
    AT,
    CRYPTO,
    KEY,
    NOW,
    PREVIOUS_KEY,
    TOKEN,
    Door,
    FakeInbox,
    FrontDoor,
    PlainView,
    Reply,
    Request,
    account_settings,
    event,
    opened,
    plain,
    query,
    sealed,
    secure,
    signed,
    text,
)
from tests.wechat.test_crypto import VECTORS
from web.callback import MOST_BYTES
from wechat.crypto import MessageCrypto, signature

MakeDoor = Callable[..., Door]


@pytest.fixture
def inbox() -> FakeInbox:
    return FakeInbox()


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Whatever reaches the XML parser."""
    seen: list[bytes] = []

    def counted(xml: bytes, **rest: Any) -> events.Event:
        seen.append(xml)
        return parse(xml, **rest)

    monkeypatch.setattr("web.callback.parse", counted)
    return seen


@pytest.fixture(params=["front", "view"])
def make_door(request: pytest.FixtureRequest, inbox: FakeInbox, parsed: list[bytes]) -> Iterator[MakeDoor]:
    opened: list[FrontDoor] = []
    with asyncio.Runner() as runner:

        def make(settings: Settings, now: datetime = NOW) -> Door:
            if request.param == "view":
                return PlainView(settings, inbox, lambda: now)
            opened.append(FrontDoor(settings, inbox, lambda: now, runner))
            return opened[-1]

        yield make
        for door in opened:
            door.close()


@pytest.fixture
def door(make_door: MakeDoor, tmp_path: Path) -> Door:
    """Where a key is configured, and the one before it."""
    return make_door(account_settings(tmp_path))


@pytest.fixture
def keyless(make_door: MakeDoor, tmp_path: Path) -> Door:
    """Where no key is configured: plain mode."""
    return make_door(account_settings(tmp_path, wechat_aes_key=None, wechat_aes_key_previous=None))


def assert_silent(reply: Reply, status: int = 403) -> None:
    """An answer that tells nothing."""
    assert (reply.status, reply.body) == (status, b"")
    assert reply.headers["content-type"] == "text/plain; charset=utf-8"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert "set-cookie" not in reply.headers


# ---- #1 to #10: the query --------------------------------------------------------------------------------------------


def test_1_a_signed_echo_is_returned_as_plain_text(door: Door) -> None:
    reply = door.send(Request("GET", signed(echostr="5927782489442352469")))
    assert (reply.status, reply.body) == (200, b"5927782489442352469")
    assert reply.headers["content-type"] == "text/plain; charset=utf-8"
    assert reply.headers["x-content-type-options"] == "nosniff"


def test_1_an_echo_may_be_base64(door: Door) -> None:
    assert door.send(Request("GET", signed(echostr="aB+/=_-"))).body == b"aB+/=_-"


@pytest.mark.parametrize(
    "echo", ["<script>alert(1)</script>", "", "a" * 513, "a b", "二", "a\r\nSet-Cookie:b", "\ud800"]
)
def test_2_an_echo_that_is_not_one_is_refused(door: Door, echo: str) -> None:
    given = "".join(f"%{byte:02X}" for byte in echo.encode("utf-8", "surrogatepass"))
    assert_silent(door.send(Request("GET", f"{signed()}&echostr={given}")))


ECHO = {"signature": signature(TOKEN, str(AT), "1"), "timestamp": str(AT), "nonce": "1", "echostr": "1"}


@pytest.mark.parametrize("missing", ECHO)
def test_3_a_missing_parameter_is_refused(door: Door, missing: str) -> None:
    assert_silent(door.send(Request("GET", query(**{name: value for name, value in ECHO.items() if name != missing}))))


@pytest.mark.parametrize(
    "given",
    [
        ECHO["signature"][:-1] + ("0" if ECHO["signature"][-1] != "0" else "1"),  # 4
        ECHO["signature"].upper(),  # 5
        ECHO["signature"][:20] + " " + ECHO["signature"][21:],
        " " + ECHO["signature"],
        ECHO["signature"] + "\n",
        ECHO["signature"] * 2,
        "",
    ],
)
def test_4_5_any_other_signature_is_refused(door: Door, given: str) -> None:
    assert_silent(door.send(Request("GET", query(**ECHO | {"signature": given}))))
    assert_silent(door.send(Request("POST", query(**ECHO | {"signature": given}), secure(text()).body)))


@pytest.mark.parametrize("repeated", ECHO)
def test_6_a_repeated_parameter_is_refused(door: Door, repeated: str) -> None:
    assert_silent(door.send(Request("GET", f"{query(**ECHO)}&{repeated}={ECHO[repeated]}")))


@pytest.mark.parametrize("at", ["1e9", "-1", "17000000000", "١٧٠٠٠٠٠٠٠٠", "", "1700000000.0", "+1700000000"])
def test_7_a_timestamp_that_is_not_one_is_refused(door: Door, at: str) -> None:
    assert_silent(door.send(Request("GET", signed(at=at, echostr="1"))))
    assert_silent(door.send(secure(text(), at=at)))


@pytest.mark.parametrize("at", [1_500_000_000, AT + 3_600, AT - 3_600, AT - 571, AT + 631])
def test_8_9_what_was_signed_at_another_time_is_refused(door: Door, inbox: FakeInbox, at: int) -> None:
    assert_silent(door.send(Request("GET", signed(at=at, echostr="1"))))
    assert_silent(door.send(secure(text(), at=at)))
    assert inbox.batches == []


@pytest.mark.parametrize("at", [AT - 569, AT + 629])
def test_8_9_ten_minutes_are_allowed(door: Door, at: int) -> None:
    assert door.send(secure(event(), at=at)).status == 200


@pytest.mark.parametrize("nonce", ["a\0b", "", "a b", "a" * 65, "a" * 1_000_000, "<b>", "é"])
def test_10_a_nonce_that_is_not_one_is_refused(door: Door, nonce: str) -> None:
    assert_silent(door.send(Request("GET", signed(nonce=nonce, echostr="1"))))


# ---- #11 to #22: the envelope ----------------------------------------------------------------------------------------


def padded(content: bytes, last: int | None = None) -> str:
    """An Encrypt text under our key with any padding byte."""
    size = 32 - len(content) % 32
    key = base64.b64decode(KEY + "=")
    encryptor = Cipher(AES(key), CBC(key[:16])).encryptor()
    whole = content + bytes([size]) * (size - 1) + bytes([size if last is None else last])
    return base64.b64encode(encryptor.update(whole) + encryptor.finalize()).decode()


def framed(xml: str, *, more: int = 0) -> bytes:
    plain = xml.encode()
    return b"r" * 16 + (len(plain) + more).to_bytes(4, "big") + plain + APP_ID.encode()


def without(request: Request, name: str) -> Request:
    kept = [pair for pair in request.query.split("&") if not pair.startswith(f"{name}=")]
    return Request(request.method, "&".join(kept), request.body)


FOREIGN = MessageCrypto("wxfedcba9876543210", TOKEN, KEY)
STRANGE = MessageCrypto(APP_ID, TOKEN, "Z" * 43)
WHOLE = framed(text())

REFUSED = {
    "11 clear body although there is a key": plain(text()),
    "11 clear body that says it is sealed": Request("POST", signed(encrypt_type="aes"), text().encode()),
    "12 sealed body that says it is raw": Request("POST", signed(encrypt_type="raw"), secure(text()).body),
    "12 sealed body that does not say so": without(secure(text()), "encrypt_type"),
    "13 no signature over the body": without(secure(text()), "msg_signature"),
    "13 wrong signature over the body": Request(
        "POST", signed(encrypt_type="aes", msg_signature="0" * 40), secure(text()).body
    ),
    "13 the body of another delivery": Request("POST", secure(text()).query, secure(event()).body),
    "15 not base64": secure(encrypt="不是"),
    "15 wrong alphabet": secure(encrypt="-_-_"),
    "15 half a block": secure(encrypt=base64.b64encode(b"a" * 24).decode()),
    "15 empty": secure(encrypt=""),
    "15 no Encrypt at all": Request("POST", secure(text()).query, b"<xml></xml>"),
    "16 padding byte 0": secure(encrypt=padded(WHOLE, 0)),
    "16 padding byte 33": secure(encrypt=padded(WHOLE, 33)),
    "17 inner length beyond the content": secure(encrypt=padded(framed(text(), more=1_000))),
    "17 inner length that swallows the app id": secure(encrypt=padded(framed(text(), more=18))),
    "18 sealed for another app": secure(encrypt=sealed(text(), FOREIGN)),
    "18 sealed under a key we never had": secure(encrypt=sealed(text(), STRANGE)),
    "21 empty body": Request("POST", secure(text()).query, b""),
    "21 whitespace": Request("POST", secure(text()).query, b" \r\n "),
    "51 JSON": Request("POST", secure(text()).query, b'{"ToUserName": "gh_0123456789ab"}'),
}


@pytest.mark.parametrize("request_", REFUSED.values(), ids=REFUSED)
def test_11_to_21_what_is_not_proved_is_not_read(
    door: Door, inbox: FakeInbox, parsed: list[bytes], request_: Request
) -> None:
    assert_silent(door.send(request_))
    assert (parsed, inbox.batches, inbox.buried) == ([], [], [])


def test_11_without_a_key_a_clear_body_is_what_we_expect(keyless: Door, inbox: FakeInbox) -> None:
    reply = keyless.send(plain(text()))
    assert (reply.status, reply.body) == (200, b"<xml>m:24000000000000001</xml>")
    assert len(inbox.events) == 1


@pytest.mark.parametrize("request_", [secure(text()), Request("POST", signed(), b""), Request("POST", signed(), b" ")])
def test_11_21_without_a_key_nothing_sealed_or_empty_is_read(
    keyless: Door, parsed: list[bytes], request_: Request
) -> None:
    assert_silent(keyless.send(request_))
    assert parsed == []


def test_14_a_repetition_gets_the_same_words_freshly_sealed(door: Door, inbox: FakeInbox) -> None:
    replies = [door.send(secure(text())) for _ in range(3)]
    assert {reply.status for reply in replies} == {200}
    assert {opened(reply.body) for reply in replies} == {"<xml>m:24000000000000001</xml>"}
    assert len({reply.body for reply in replies}) == 3
    assert len(inbox.events) == 1


def test_19_the_reply_is_sealed_under_the_key_that_opened(door: Door) -> None:
    previous = MessageCrypto(APP_ID, TOKEN, PREVIOUS_KEY)
    reply = door.send(secure(encrypt=sealed(text(), previous)))
    assert opened(reply.body, previous) == "<xml>m:24000000000000001</xml>"


def test_compatible_mode_believes_only_what_is_sealed(door: Door, inbox: FakeInbox) -> None:
    fake = sealed(text("forged"), STRANGE)
    around = (
        f"<FromUserName>oVictim000000000000000000000</FromUserName><CreateTime>{AT}</CreateTime><MsgType>text</MsgType>"
        f"<Content><![CDATA[<Encrypt>{fake}</Encrypt>]]></Content><MsgId>1</MsgId>"
    )
    assert door.send(secure(text("meant"), around=around)).status == 200
    [found] = inbox.events
    assert isinstance(found, events.TextMessage)
    assert (found.openid, found.content) == (ANN, "meant")


@pytest.mark.parametrize("size", [MOST_BYTES + 1, 5_000_000])
def test_20_too_large_a_body_is_not_taken(door: Door, inbox: FakeInbox, size: int) -> None:
    assert_silent(door.send(Request("POST", secure(text()).query, b"a" * size)), 413)
    assert inbox.batches == []


def test_20_a_large_body_that_fits_is_read(door: Door) -> None:
    around = f"<Content><![CDATA[{'a' * 200_000}]]></Content>"
    assert door.send(secure(text(), around=around)).status == 200


def test_22_a_packed_body_is_not_unpacked(door: Door, inbox: FakeInbox) -> None:
    bomb = gzip.compress(b"a" * 10_000_000)
    assert_silent(door.send(Request("POST", secure(text()).query, bomb, {"Content-Encoding": "gzip"})), 415)
    assert inbox.buried == []


# ---- #23 to #48: authentic, in both modes ----------------------------------------------------------------------------


@pytest.fixture(params=["secure", "plain"])
def deliver(request: pytest.FixtureRequest, make_door: MakeDoor, tmp_path: Path) -> Callable[[str | bytes], Reply]:
    """Delivers authentic XML, sealed or clear."""
    if request.param == "secure":
        sealed_door = make_door(account_settings(tmp_path))
        return lambda xml: sealed_door.send(secure(xml))
    open_door = make_door(account_settings(tmp_path, wechat_aes_key=None, wechat_aes_key_previous=None))
    return lambda xml: open_door.send(plain(xml))


SENDER = f"<FromUserName>{ANN}</FromUserName>"
UNUSABLE: dict[str, str | bytes] = {
    "23 external entity": '<!DOCTYPE xml [<!ENTITY x SYSTEM "file:///etc/passwd">]>' + text("&x;"),
    "24 parameter entity": '<!DOCTYPE xml [<!ENTITY % p SYSTEM "http://127.0.0.1:9/">%p;]>' + text(),
    "25 laughs": '<!DOCTYPE xml [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]>' + text("&b;"),
    "26 nesting": "<xml>" + "<a>" * 60_000,
    "27 UTF-16": text().encode("utf-16"),
    "27 GBK": ('<?xml version="1.0" encoding="GBK"?>' + text()).encode("gbk"),
    "27 invalid UTF-8": text("\xff").encode("latin-1"),
    "28 another root": text().replace("xml>", "html>"),
    "28 empty root": "<xml/>",
    "28 text": "<xml>text</xml>",
    "29 no MsgType": text().replace("<MsgType>text</MsgType>", ""),
    "29 no FromUserName": text().replace(SENDER, ""),
    "29 no CreateTime": text().replace(f"<CreateTime>{AT}</CreateTime>", ""),
    "30 two senders": text().replace(SENDER, SENDER * 2),
    "31 sender with an attribute": text().replace("<FromUserName>", '<FromUserName a="b">'),
    "31 sender with a child": text().replace(SENDER, f"<FromUserName><b>{ANN}</b></FromUserName>"),
    "34 no time": event(at="abc"),
    "34 negative time": event(at=-1),
    "34 endless time": event(at="1" * 20),
    "34 tomorrow": event(at=AT + 86_400),
    "34 last week": event(at=AT - 8 * 86_400),
    "39 two keys": event(rest="<EventKey>a</EventKey><EventKey>b</EventKey>"),
    "42 another account": event().replace("gh_0123456789ab", "gh_another00000"),
    "43 id 0": text(msg_id=0),
    "43 id of 65 bits": text(msg_id=2**64),
    "43 id of letters": text(msg_id="abc"),
    "46 NaN": event("LOCATION", "<Latitude>NaN</Latitude><Longitude>1</Longitude>"),
    "46 1e999": event("LOCATION", "<Latitude>1e999</Latitude><Longitude>1</Longitude>"),
    "46 91 degrees": event("LOCATION", "<Latitude>91</Latitude><Longitude>1</Longitude>"),
    "51 JSON": '{"MsgType": "text"}',
}


@pytest.mark.parametrize("xml", UNUSABLE.values(), ids=UNUSABLE)
def test_23_to_46_what_cannot_be_used_is_kept_and_not_asked_for_again(
    deliver: Callable[[str | bytes], Reply], inbox: FakeInbox, xml: str | bytes
) -> None:
    reply = deliver(xml)
    assert (reply.status, reply.body) == (200, b"success")
    [(body, reason)] = inbox.buried
    assert body == (xml if isinstance(xml, bytes) else xml.encode())
    assert reason
    assert inbox.batches == []


TAKEN: dict[str, tuple[str | bytes, str, dict[str, Any]]] = {
    "27 byte order mark": (b"\xef\xbb\xbf" + text().encode(), "text", {"content": "你好"}),
    "32 another source": (
        text().replace("</xml>", "<source>oVictim000000000000000000000</source></xml>"), "text", {"openid": ANN}),
    "33 names of machinery": (
        text().replace("</xml>", "<raw>a</raw><type>b</type><__class__>c</__class__><handlers/></xml>"), "text", {}),
    "35 unknown": (event("zzz"), "unknown_event", {"name": "zzz"}),
    "35 mixed case": (event("SubScribe", ""), "subscribe", {"scene": None}),
    "36 empty scene": (event("subscribe", "<EventKey>qrscene_</EventKey>"), "subscribe", {"scene": None}),
    "36 prefix twice": (
        event("subscribe", "<EventKey>qrscene_qrscene_1</EventKey>"), "subscribe", {"scene": "qrscene_1"}),
    "36 payment": (event("subscribe", "<EventKey>last_trade_no_40027</EventKey>"), "subscribe", {"scene": None}),
    "36 10 KB": (event("SCAN", f"<EventKey>{'a' * 10_240}</EventKey>"), "scan", {"scene": None}),
    "37 a code that was": (event("SCAN", "<EventKey>retired</EventKey>"), "scan", {"scene": "retired"}),
    "38 SQL": (event("SCAN", "<EventKey>qrscene_1' OR 1=1--</EventKey>"), "scan", {"scene": None}),
    "38 NUL": (event("SCAN", "<EventKey>qrscene_%00</EventKey>"), "scan", {"scene": None}),
    "38 path": (event("SCAN", "<EventKey>../../</EventKey>"), "scan", {"scene": None}),
    "41 old": (event("unsubscribe", "", at=AT - 500_000), "unsubscribe", {}),
    "44 controls": (text("a\x01b\u202ec\u200bd&#0;e"), "text", {"content": "abcde"}),
    "44 end of CDATA": (text("]]&gt;&lt;/xml&gt;"), "text", {"content": "]]></xml>"}),
    "44 long": (text("字" * 20_000), "text", {"content": "字" * 2_048}),
    "45 templates": (text("{{7*7}}{0.__class__}%s%n"), "text", {"content": "{{7*7}}{0.__class__}%s%n"}),
    "47 no pictures": (event("pic_weixin", "<EventKey>6</EventKey>"), "menu_photos", {"count": 0}),
    "48 odd counts": (
        event("MASSSENDJOBFINISH", "<MsgID>9</MsgID><TotalCount>-1</TotalCount><SentCount>5</SentCount>"),
        "mass_send_finished", {"total": -1, "sent": 5}),
}  # fmt: skip


@pytest.mark.parametrize(("xml", "kind", "values"), TAKEN.values(), ids=TAKEN)
def test_27_to_48_what_can_be_used_is_taken(
    deliver: Callable[[str | bytes], Reply], inbox: FakeInbox, xml: str | bytes, kind: str, values: dict[str, Any]
) -> None:
    reply = deliver(xml)
    assert reply.status == 200
    [found] = inbox.events
    assert found.kind == kind
    assert {name: getattr(found, name) for name in values} == values
    assert inbox.buried == []


def test_40_two_events_of_one_second_are_both_taken(deliver: Callable[[str | bytes], Reply], inbox: FakeInbox) -> None:
    for xml in (event("SCAN"), event("CLICK")):
        assert deliver(xml).status == 200
    assert [found.kind for found in inbox.events] == ["scan", "click"]


# ---- #49 to #51, and our own failures --------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["PUT", "DELETE", "TRACE", "HEAD", "PATCH", "OPTIONS"])
def test_49_other_methods_are_not_allowed(door: Door, method: str) -> None:
    reply = door.send(Request(method, signed(echostr="1")))
    assert_silent(reply, 405)
    assert reply.headers["allow"] == "GET, POST"


@pytest.mark.parametrize(
    "path", ["/wechat/../admin", "/wechat/callback/", "/wechat/callback/x", "/wechat/callbackx", "/WECHAT/CALLBACK"]
)
def test_50_another_path_is_not_the_callback(tmp_path: Path, inbox: FakeInbox, path: str) -> None:
    door = PlainView(account_settings(tmp_path), inbox, lambda: NOW)
    assert door.send(Request("GET", signed(echostr="1"), path=path)).status == 404


def test_our_own_failure_asks_for_another_delivery(door: Door, inbox: FakeInbox) -> None:
    inbox.is_down = True
    for xml in (text(), "<xml/>"):
        reply = door.send(secure(xml))
        assert_silent(reply, 503)
        assert reply.headers["retry-after"] == "1"
    inbox.is_down = False
    assert door.send(secure(text())).status == 200


# ---- The documented samples ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.name)
def test_every_documented_sample_passes_the_edge(
    vector: Any, make_door: MakeDoor, inbox: FakeInbox, tmp_path: Path
) -> None:
    at = int(vector.timestamp)
    edge = account_settings(
        tmp_path, wechat_token=vector.token, wechat_app_id=vector.app_id, wechat_aes_key=vector.aes_key
    )
    body = f"<xml><ToUserName>x</ToUserName><Encrypt><![CDATA[{vector.encrypt}]]></Encrypt></xml>"
    parameters = {"encrypt_type": "aes", "msg_signature": vector.msg_signature}
    reply = make_door(edge, datetime.fromtimestamp(at + 5, UTC)).send(
        Request("POST", signed(at=at, nonce=vector.nonce, token=vector.token, **parameters), body.encode())
    )
    assert reply.status == 200
    # Two of them are events; the others are authentic and not for an inbox.
    is_event = vector.message.startswith("<xml><ToUserName><![CDATA[gh_")
    assert [len(inbox.events), len(inbox.buried)] == ([1, 0] if is_event else [0, 1])


def test_a_reply_opens_with_our_key_alone(door: Door) -> None:
    assert opened(door.send(secure(text())).body, CRYPTO) == "<xml>m:24000000000000001</xml>"
