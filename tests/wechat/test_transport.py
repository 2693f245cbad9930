"""Whatever comes back that is not a documented answer leaves the outcome unknown, and secrets stay with us."""

import base64
import json
import logging
import os
import pickle
import socket
import traceback

import pytest

from tests.wechat.conftest import CANARY, Answer, FakePlatform, LostReply
from wechat import transport as transport_module
from wechat.errors import BadRequest, OutcomeUnknown, Refused, WaitAMinute, WeChatError
from wechat.transport import MAX_REPLY_BYTES, Transport

SEND = "cgi-bin/message/custom/send"


@pytest.fixture
def platform(platform: FakePlatform) -> FakePlatform:
    """Tokens are no subject here."""
    platform.always(f"/{SEND}", {"errcode": 0, "errmsg": "ok"})
    return platform


def send(transport: Transport) -> None:
    transport.call("POST", SEND, params={"access_token": CANARY}, body={"touser": "o-ann"})


@pytest.mark.parametrize(
    "body",
    [
        b"<html><body>502 Bad Gateway</body></html>",
        b"",
        b'{"errcode":0,"errmsg":"o',
        b'{"errcode":"0","errmsg":"ok"}',
        b'{"errcode":true}',
        b'{"errcode":0.0}',
        b'{"errcode":null}',
        b'{"errcode":45015,"errcode":0}',
        b'{"errcode":0,"detail":{"a":1,"a":2}}',
        b'{"errcode":NaN}',
        b"[]",
        b"0",
        b'"ok"',
        b"null",
        b'{"errmsg":"\xff\xfe"}',
        "\ufeff{}".encode(),
        '{"errcode":0}'.encode("utf-16"),
        b"[" * 100_000,
        b'{"errcode":0}{"errcode":0}',
        b'{"errcode":' + b"9" * 5_000 + b"}",
    ],
)
def test_a_reply_that_is_not_strict_json_is_unknown(platform: FakePlatform, transport: Transport, body: bytes) -> None:
    platform.next(f"/{SEND}", Answer(body))
    with pytest.raises(OutcomeUnknown):
        send(transport)
    assert len(platform.requests) == 1


@pytest.mark.parametrize("status", [201, 204, 400, 403, 404, 413, 429, 500, 502, 503])
def test_any_other_status_is_unknown(platform: FakePlatform, transport: Transport, status: int) -> None:
    platform.next(f"/{SEND}", Answer(b'{"errcode":0}' if status != 204 else b"", status=status))
    with pytest.raises(OutcomeUnknown, match=str(status)):
        send(transport)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(platform: FakePlatform, transport: Transport, status: int) -> None:
    platform.next(f"/{SEND}", Answer(b"", status=status, headers={"Location": f"{platform.url}/elsewhere"}))
    with pytest.raises(OutcomeUnknown):
        send(transport)
    assert [request.path for request in platform.requests] == [f"/{SEND}"]


def test_a_lost_reply_is_unknown_and_the_call_made_once(platform: FakePlatform, transport: Transport) -> None:
    platform.next(f"/{SEND}", LostReply())
    with pytest.raises(OutcomeUnknown):
        send(transport)
    assert len(platform.requests) == 1


def test_a_reply_that_ends_too_early_is_unknown(platform: FakePlatform, transport: Transport) -> None:
    platform.next(f"/{SEND}", Answer(b'{"errcode":0}', claims=500))
    with pytest.raises(OutcomeUnknown):
        send(transport)


def test_a_slow_reply_is_unknown(platform: FakePlatform, transport: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport_module, "READ_SECONDS", 0.2)
    platform.next(f"/{SEND}", Answer(b'{"errcode":0}', after=5))
    with pytest.raises(OutcomeUnknown, match="no answer"):
        send(transport)


def test_a_reply_without_end_is_cut_off(platform: FakePlatform, transport: Transport) -> None:
    platform.next(f"/{SEND}", Answer(b" " * (MAX_REPLY_BYTES + 1)))
    with pytest.raises(OutcomeUnknown, match="too much"):
        send(transport)


def test_a_platform_that_cannot_be_reached_got_nothing() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nobody = Transport(api_url=f"http://127.0.0.1:{unused.getsockname()[1]}", mp_url="http://127.0.0.1:9")
        with pytest.raises(WaitAMinute):
            send(nobody)


def test_every_call_has_both_timeouts() -> None:
    assert (transport_module.CONNECT_SECONDS, transport_module.READ_SECONDS) == (3, 10)


def test_characters_travel_as_they_are(platform: FakePlatform, transport: Transport) -> None:
    text = "你好🌶 \u2028 \"'</xml>"
    transport.call("POST", SEND, params={"access_token": "t"}, body={"text": {"content": text}})
    request = platform.requests[0]
    assert "你好🌶".encode() in request.body
    assert b"\\u" not in request.body
    assert request.json == {"text": {"content": text}}


def test_text_that_is_not_unicode_is_not_sent(platform: FakePlatform, transport: Transport) -> None:
    with pytest.raises(BadRequest):
        transport.call("POST", SEND, body={"text": "\ud800"})
    assert platform.requests == []


def test_an_error_keeps_its_rid_and_loses_the_secret(platform: FakePlatform, transport: Transport) -> None:
    errmsg = f"invalid {CANARY}\r\n\x1b[31m here rid: 66f43076-700f44ff-0465cb1b"
    platform.next(f"/{SEND}", {"errcode": 99999, "errmsg": errmsg})
    with pytest.raises(Refused) as refused:
        send(transport)
    error = refused.value
    assert (error.errcode, error.rid, error.path) == (99999, "66f43076-700f44ff-0465cb1b", SEND)
    assert error.errmsg == "invalid *** [31m here"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301


@pytest.mark.parametrize(
    "answer",
    [
        LostReply(),
        Answer(f"<html>{CANARY}</html>".encode()),
        Answer(b"", status=502, headers={"X-Echo": CANARY}),
        Answer(b"", status=302, headers={"Location": f"/{CANARY}"}),
        Answer(b"{", claims=100),
        {"errcode": 40001, "errmsg": f"bad token {CANARY}"},
        {"errcode": CANARY},
    ],
    ids=lambda answer: type(answer).__name__,
)
def test_no_secret_in_exceptions_or_logs(
    platform: FakePlatform,
    transport: Transport,
    answer: Answer,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    platform.next(f"/{SEND}", answer)
    with pytest.raises(WeChatError) as caught:
        send(transport)
    assert_clean(caught.value)
    assert CANARY not in caplog.text
    assert CANARY not in "".join(capsys.readouterr())


def test_no_secret_when_nobody_answers(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(WaitAMinute) as caught:
        send(Transport(api_url="http://127.0.0.1:9", mp_url="http://127.0.0.1:9"))
    assert_clean(caught.value)
    assert CANARY not in caplog.text


def assert_clean(error: BaseException) -> None:
    """Neither the error nor anything that hangs behind it, hidden or not, knows the secret."""
    link: BaseException | None = error
    while link is not None:
        assert CANARY not in f"{link!r} {link} {link.args} {vars(link)}"
        link = link.__cause__ or link.__context__
    assert CANARY not in "".join(traceback.format_exception(error))


def test_cookies_are_not_kept_and_credentials_not_added(
    platform: FakePlatform,
    transport: Transport,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    netrc = tmp_path_factory.mktemp("home") / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password hidden\n")
    monkeypatch.setenv("NETRC", str(netrc))
    platform.next(f"/{SEND}", Answer(b'{"errcode":0}', headers={"Set-Cookie": "a=b; Path=/"}))
    send(transport)
    send(transport)
    assert not {"Cookie", "Authorization"} & platform.requests[1].headers.keys()


def test_a_proxy_of_the_environment_is_not_used_for_this_machine(
    platform: FakePlatform, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    send(transport)
    assert len(platform.requests) == 1


def test_a_connection_serves_many_calls_and_a_broken_one_no_other(platform: FakePlatform, transport: Transport) -> None:
    for _ in range(3):
        send(transport)
    assert len({request.connection for request in platform.requests}) == 1
    platform.next(f"/{SEND}", Answer(b" " * (2 * MAX_REPLY_BYTES)))
    with pytest.raises(OutcomeUnknown):
        send(transport)
    send(transport)
    assert platform.requests[-1].connection != platform.requests[-2].connection


def test_a_child_opens_connections_of_its_own(platform: FakePlatform, transport: Transport) -> None:
    send(transport)
    child = os.fork()
    if child == 0:
        try:
            send(transport)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    send(transport)
    first, second, third = (request.connection for request in platform.requests)
    assert first == third != second


def test_a_proxy_learns_its_own_credentials(platform: FakePlatform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", platform.url.replace("//", f"//me:{CANARY}@"))
    away = Transport(api_url="http://api.example.test", mp_url="http://api.example.test")
    platform.next(f"/{SEND}", LostReply())
    with pytest.raises(OutcomeUnknown) as lost:
        send(away)
    assert_clean(lost.value)
    basic = base64.b64encode(f"me:{CANARY}".encode()).decode()
    assert platform.requests[0].headers["proxy-authorization"] == f"Basic {basic}"


def test_a_proxy_of_the_environment_is_used_for_others(platform: FakePlatform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", platform.url)
    away = Transport(api_url="http://api.example.test", mp_url="http://api.example.test")
    send(away)
    assert platform.requests[0].headers["Host"] == "api.example.test"


def test_the_picture_of_a_code_is_fetched_with_its_ticket_alone(platform: FakePlatform, transport: Transport) -> None:
    platform.next("/cgi-bin/showqrcode", Answer(b"\xff\xd8\xff rest"))
    assert transport.code_image("gQ/+=&") == b"\xff\xd8\xff rest"
    assert platform.requests[0].query == {"ticket": "gQ/+=&"}


def test_an_unknown_ticket_is_a_bad_request(platform: FakePlatform, transport: Transport) -> None:
    platform.next("/cgi-bin/showqrcode", Answer(b"", status=404))
    with pytest.raises(BadRequest):
        transport.code_image("gQ")


def test_a_page_in_place_of_a_picture_is_refused(platform: FakePlatform, transport: Transport) -> None:
    platform.next("/cgi-bin/showqrcode", Answer(b"<html>", headers={"Content-Type": "image/jpeg"}))
    with pytest.raises(OutcomeUnknown):
        transport.code_image("gQ")


def test_a_success_without_errcode_is_a_success(platform: FakePlatform, transport: Transport) -> None:
    platform.next(
        "/cgi-bin/user/get", Answer(json.dumps({"total": 1}).encode(), headers={"Content-Type": "text/plain"})
    )
    assert transport.call("GET", "cgi-bin/user/get") == {"total": 1}
