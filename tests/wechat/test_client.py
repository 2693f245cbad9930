"""Each call in its documented form, each answer checked, and nothing sent twice."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.wechat.conftest import Answer, FakePlatform, LostReply
from wechat.client import (
    CallbackCheck,
    CreatedCode,
    FollowerPage,
    MenuItem,
    Ping,
    UploadedImage,
    UserInfo,
    WeChatClient,
)
from wechat.errors import (
    BadRequest,
    OutcomeUnknown,
    QuotaSpent,
    RecipientRefused,
    Refused,
    TokenRejected,
    WaitAMinute,
    WeChatError,
)

SEND = "/cgi-bin/message/custom/send"
INFO = "/cgi-bin/user/info"
BATCH = "/cgi-bin/user/info/batchget"
CODE = "/cgi-bin/qrcode/create"
PNG = b"\x89PNG\r\n\x1a\n picture"
TOKEN_PATH = "/cgi-bin/stable_token"

SENDS: dict[str, Callable[[WeChatClient], None]] = {
    "text": lambda client: client.send_text("o-ann", "您好"),
    "image": lambda client: client.send_image("o-ann", "media-1"),
    "news": lambda client: client.send_news(
        "o-ann", title="茶", description="新到", url="https://a", picurl="https://b"
    ),
    "menu": lambda client: client.send_menu("o-ann", head="选？", items=[MenuItem("1", "好")], tail="谢谢"),
}
every_send = pytest.mark.parametrize("send", SENDS.values(), ids=SENDS.keys())

FOLLOWER = {
    "subscribe": 1,
    "openid": "o-ann",
    "nickname": "",
    "headimgurl": "",
    "language": "zh_CN",
    "subscribe_time": 1_700_000_000,
    "unionid": "u-ann",
    "remark": "",
    "groupid": 0,
    "tagid_list": [],
    "subscribe_scene": "ADD_SCENE_QR_CODE",
    "qr_scene": 0,
    "qr_scene_str": "s-1",
}


def only(platform: FakePlatform, path: str) -> Any:
    """The body of the one call made to this path."""
    [request] = platform.calls(path)
    assert request.query["access_token"] == platform.token
    return request.json


# Codes


def test_a_permanent_code(platform: FakePlatform, client: WeChatClient) -> None:
    platform.next(CODE, {"ticket": "gQ1", "url": "http://weixin.qq.com/q/02a"})
    assert client.create_code("s-1", permanent=True) == CreatedCode("gQ1", "http://weixin.qq.com/q/02a", None)
    assert only(platform, CODE) == {
        "action_name": "QR_LIMIT_STR_SCENE",
        "action_info": {"scene": {"scene_str": "s-1"}},
    }


def test_a_temporary_code(platform: FakePlatform, client: WeChatClient) -> None:
    platform.next(CODE, {"ticket": "gQ1", "url": "http://weixin.qq.com/q/02a", "expire_seconds": 604800})
    assert client.create_code("s-1", permanent=False, expire_seconds=604800).expire_seconds == 604800
    assert only(platform, CODE) == {
        "expire_seconds": 604800,
        "action_name": "QR_STR_SCENE",
        "action_info": {"scene": {"scene_str": "s-1"}},
    }


@pytest.mark.parametrize("expire_seconds", [None, 0, 59, 2_592_001])
def test_a_temporary_code_without_a_proper_end_is_not_asked_for(
    platform: FakePlatform, client: WeChatClient, expire_seconds: int | None
) -> None:
    with pytest.raises(BadRequest):
        client.create_code("s-1", permanent=False, expire_seconds=expire_seconds)
    assert platform.requests == []


@pytest.mark.parametrize("scene", ["", "a" * 65, "a b", "场景", "a\n"])
def test_a_scene_that_could_not_come_back_is_not_asked_for(
    platform: FakePlatform, client: WeChatClient, scene: str
) -> None:
    with pytest.raises(BadRequest):
        client.create_code(scene, permanent=True)
    assert platform.requests == []


@pytest.mark.parametrize(
    "answer", [{}, {"errcode": 0}, {"ticket": "gQ"}, {"ticket": "", "url": "u"}, {"ticket": 1, "url": "u"}]
)
def test_a_code_without_ticket_or_url_is_no_code(
    platform: FakePlatform, client: WeChatClient, answer: dict[str, Any]
) -> None:
    platform.next(CODE, answer)
    with pytest.raises(OutcomeUnknown):
        client.create_code("s-1", permanent=True)


def test_the_hundred_thousandth_and_first_code(platform: FakePlatform, client: WeChatClient) -> None:
    platform.next(CODE, {"errcode": 45029, "errmsg": "qrcode count out of limit rid: 1-2"})
    with pytest.raises(QuotaSpent):
        client.create_code("s-1", permanent=True)


def test_the_picture_of_a_code(platform: FakePlatform, client: WeChatClient) -> None:
    platform.next("/cgi-bin/showqrcode", Answer(PNG))
    assert client.code_image("gQ1") == PNG
    assert platform.calls(TOKEN_PATH) == []


# People


def test_pages_of_followers(platform: FakePlatform, client: WeChatClient) -> None:
    path = "/cgi-bin/user/get"
    platform.next(
        path,
        {"total": 3, "count": 2, "data": {"openid": ["o-1", "o-2"]}, "next_openid": "o-2"},
        {"total": 3, "count": 1, "data": {"openid": ["o-3"]}, "next_openid": "o-3"},
        {"total": 3, "count": 0, "next_openid": ""},
    )
    assert client.follower_ids() == FollowerPage(3, ("o-1", "o-2"), "o-2")
    assert client.follower_ids("o-2") == FollowerPage(3, ("o-3",), "o-3")
    assert client.follower_ids("o-3") == FollowerPage(3, (), None)
    assert [request.query.get("next_openid") for request in platform.calls(path)] == [None, "o-2", "o-3"]


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"total": 2, "count": 2, "next_openid": ""},
        {"total": 2, "count": 2, "data": {"openid": ["o-1"]}, "next_openid": "o-1"},
        {"total": 1, "count": 1, "data": {"openid": [7]}, "next_openid": ""},
        {"total": 1, "count": 1, "data": {"openid": "o"}, "next_openid": ""},
        {"total": "1", "count": 1, "data": {"openid": ["o-1"]}, "next_openid": ""},
    ],
)
def test_a_page_that_does_not_add_up_is_refused(
    platform: FakePlatform, client: WeChatClient, answer: dict[str, Any]
) -> None:
    platform.next("/cgi-bin/user/get", answer)
    with pytest.raises(OutcomeUnknown):
        client.follower_ids()


def test_what_is_known_about_a_follower(platform: FakePlatform, client: WeChatClient) -> None:
    platform.next(INFO, FOLLOWER)
    assert client.user_info("o-ann") == UserInfo(
        openid="o-ann",
        following=True,
        subscribe_time=datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC),
        scene="s-1",
        subscribe_scene="ADD_SCENE_QR_CODE",
        unionid="u-ann",
    )
    assert platform.calls(INFO)[0].query == {"access_token": platform.token, "openid": "o-ann", "lang": "zh_CN"}


def test_of_somebody_else_only_the_openid_is_known(platform: FakePlatform, client: WeChatClient) -> None:
    platform.next(INFO, {"subscribe": 0, "openid": "o-bob", "tagid_list": []})
    assert client.user_info("o-bob") == UserInfo(
        "o-bob", following=False, subscribe_time=None, scene=None, subscribe_scene=None, unionid=None
    )


@pytest.mark.parametrize(
    ("fields", "scene"),
    [
        ({"qr_scene": 98765, "qr_scene_str": ""}, "98765"),
        ({"qr_scene": 0, "qr_scene_str": ""}, None),
        ({"qr_scene": 5, "qr_scene_str": "s-9"}, "s-9"),
    ],
)
def test_the_scene_of_a_follow(
    platform: FakePlatform, client: WeChatClient, fields: dict[str, Any], scene: str | None
) -> None:
    platform.next(INFO, {**FOLLOWER, **fields})
    assert client.user_info("o-ann").scene == scene


@pytest.mark.parametrize(
    "fields",
    [
        {"subscribe": "1"},
        {"subscribe": True},
        {"subscribe": 2},
        {"subscribe_time": None},
        {"subscribe_time": 0},
        {"subscribe_time": 10**18},
        {"openid": "o-bob"},
        {"openid": None},
        {"qr_scene_str": 7},
        {"qr_scene": "7"},
    ],
)
def test_a_doubtful_answer_about_a_person_is_refused(
    platform: FakePlatform, client: WeChatClient, fields: dict[str, Any]
) -> None:
    platform.next(INFO, {**FOLLOWER, **fields})
    with pytest.raises(OutcomeUnknown):
        client.user_info("o-ann")


def test_many_people_at_once_in_the_order_asked(platform: FakePlatform, client: WeChatClient) -> None:
    platform.next(BATCH, {"user_info_list": [{"subscribe": 0, "openid": "o-bob"}, FOLLOWER]})
    assert [info.openid for info in client.users_info(["o-ann", "o-bob"])] == ["o-ann", "o-bob"]
    assert only(platform, BATCH) == {"user_list": [{"openid": "o-ann"}, {"openid": "o-bob"}]}


def test_nobody_is_asked_about_for_free(platform: FakePlatform, client: WeChatClient) -> None:
    assert client.users_info([]) == []
    with pytest.raises(BadRequest):
        client.users_info([f"o-{number}" for number in range(101)])
    assert platform.requests == []


@pytest.mark.parametrize(
    "answer",
    [
        {"errcode": 0},
        {"user_info_list": {}},
        {"user_info_list": ["o-ann"]},
        {"user_info_list": []},
        {"user_info_list": [{**FOLLOWER, "openid": "o-eve"}]},
    ],
)
def test_an_incomplete_answer_about_many_is_refused(
    platform: FakePlatform, client: WeChatClient, answer: dict[str, Any]
) -> None:
    platform.next(BATCH, answer)
    with pytest.raises(OutcomeUnknown):
        client.users_info(["o-ann"])


# Messages


def test_messages_are_written_as_documented(platform: FakePlatform, client: WeChatClient) -> None:
    for send in SENDS.values():
        send(client)
    article = {"title": "茶", "description": "新到", "url": "https://a", "picurl": "https://b"}
    menu = {"head_content": "选？", "list": [{"id": "1", "content": "好"}], "tail_content": "谢谢"}
    assert [request.json for request in platform.calls(SEND)] == [
        {"touser": "o-ann", "msgtype": "text", "text": {"content": "您好"}},
        {"touser": "o-ann", "msgtype": "image", "image": {"media_id": "media-1"}},
        {"touser": "o-ann", "msgtype": "news", "news": {"articles": [article]}},
        {"touser": "o-ann", "msgtype": "msgmenu", "msgmenu": menu},
    ]
    assert "您好".encode() in platform.calls(SEND)[0].body


@every_send
@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ({"errcode": -1, "errmsg": "system busy"}, OutcomeUnknown),
        (LostReply(), OutcomeUnknown),
        (Answer(b"<html>busy</html>"), OutcomeUnknown),
        (Answer(b"", status=500), OutcomeUnknown),
        ({}, OutcomeUnknown),
        ({"errcode": 45015, "errmsg": "response out of time limit"}, RecipientRefused),
        ({"errcode": 45011, "errmsg": "minute"}, WaitAMinute),
        ({"errcode": 45009, "errmsg": "day"}, QuotaSpent),
        ({"errcode": 99999, "errmsg": "new"}, Refused),
    ],
)
def test_a_send_is_made_once_whatever_comes_back(
    platform: FakePlatform,
    client: WeChatClient,
    send: Callable[[WeChatClient], None],
    answer: Any,
    kind: type[WeChatError],
) -> None:
    platform.always(SEND, answer)
    with pytest.raises(kind) as raised:
        send(client)
    assert raised.type is kind
    assert len(platform.calls(SEND)) == 1


@every_send
@pytest.mark.parametrize("errcode", [40001, 40014, 42001])
def test_a_refused_token_costs_one_replacement_and_one_repetition(
    platform: FakePlatform, client: WeChatClient, send: Callable[[WeChatClient], None], errcode: int
) -> None:
    platform.next(SEND, {"errcode": errcode, "errmsg": "token"})
    send(client)
    tokens = [request.query["access_token"] for request in platform.calls(SEND)]
    assert len(set(tokens)) == 2
    assert tokens[1] == platform.token
    assert len(platform.calls(TOKEN_PATH)) == 2


@every_send
def test_a_token_refused_twice_is_given_up(
    platform: FakePlatform, client: WeChatClient, send: Callable[[WeChatClient], None]
) -> None:
    platform.always(SEND, {"errcode": 40001, "errmsg": "token"})
    with pytest.raises(TokenRejected):
        send(client)
    assert len(platform.calls(SEND)) == 2
    assert len(platform.calls(TOKEN_PATH)) == 2


def test_a_text_too_long_is_not_sent(platform: FakePlatform, client: WeChatClient) -> None:
    client.send_text("o-ann", "长" * 682)
    with pytest.raises(BadRequest):
        client.send_text("o-ann", "长" * 683)
    assert len(platform.calls(SEND)) == 1


def test_a_message_appears_in_no_log(
    platform: FakePlatform, client: WeChatClient, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    platform.next(SEND, {"errcode": 45015, "errmsg": "out of time"})
    with pytest.raises(RecipientRefused):
        client.send_text("o-ann-openid", "您的手机号")
    written = caplog.text + "".join(capsys.readouterr())
    assert "您的手机号" not in written
    assert "o-ann-openid" not in written


# Reads may be repeated while the platform is busy


def test_a_read_is_repeated_while_the_platform_is_busy(platform: FakePlatform, client: WeChatClient) -> None:
    busy = {"errcode": -1, "errmsg": "system busy"}
    platform.next(INFO, busy, busy, FOLLOWER)
    assert client.user_info("o-ann").following
    assert len(platform.calls(INFO)) == 3


def test_a_platform_that_stays_busy_is_left_alone(platform: FakePlatform, client: WeChatClient) -> None:
    platform.always(INFO, {"errcode": -1, "errmsg": "system busy"})
    with pytest.raises(OutcomeUnknown):
        client.user_info("o-ann")
    assert len(platform.calls(INFO)) == 3


@pytest.mark.parametrize("answer", [LostReply(), Answer(b"<html>")])
def test_a_read_is_not_repeated_for_other_reasons(platform: FakePlatform, client: WeChatClient, answer: Any) -> None:
    platform.next(INFO, answer)
    with pytest.raises(OutcomeUnknown):
        client.user_info("o-ann")
    assert len(platform.calls(INFO)) == 1


# Material, menu, the account


def test_a_picture_is_uploaded_whole_even_after_a_refused_token(platform: FakePlatform, client: WeChatClient) -> None:
    path = "/cgi-bin/material/add_material"
    platform.next(path, {"errcode": 40001, "errmsg": "token"}, {"media_id": "m-1", "url": "http://mmbiz.qpic.cn/1"})
    assert client.add_permanent_image(PNG * 100, "茶.png") == UploadedImage("m-1", "http://mmbiz.qpic.cn/1")
    for request in platform.calls(path):
        assert request.query["type"] == "image"
        assert request.headers["Content-Type"].startswith("multipart/form-data")
        assert b'name="media"' in request.body
        assert PNG * 100 in request.body
    assert platform.calls(path)[1].query["access_token"] == platform.token


def test_a_picture_for_three_days_is_uploaded_whole_even_after_a_refused_token(
    platform: FakePlatform, client: WeChatClient
) -> None:
    path = "/cgi-bin/media/upload"
    platform.next(path, {"errcode": 40001, "errmsg": "token"}, {"type": "image", "media_id": "m-1", "created_at": 1})
    assert client.add_temporary_image(PNG * 100, "7.jpg") == "m-1"
    for request in platform.calls(path):
        assert request.query["type"] == "image"
        assert b'name="media"' in request.body
        assert PNG * 100 in request.body


@pytest.mark.parametrize("content", [b"", b"x" * (10 * 1024 * 1024 + 1)], ids=["empty", "too large"])
def test_a_picture_of_no_proper_size_is_not_uploaded(
    platform: FakePlatform, client: WeChatClient, content: bytes
) -> None:
    with pytest.raises(BadRequest):
        client.add_permanent_image(content, "a.png")
    with pytest.raises(BadRequest):
        client.add_temporary_image(content, "a.png")
    assert platform.requests == []


def test_the_menu_goes_out_and_comes_back(platform: FakePlatform, client: WeChatClient) -> None:
    menu = {"button": [{"type": "click", "name": "附近好店", "key": "SHOPS"}]}
    client.create_menu(menu)
    assert only(platform, "/cgi-bin/menu/create") == menu
    platform.next("/cgi-bin/menu/get", {"menu": menu}, {"errcode": 46003, "errmsg": "menu no exist"})
    assert client.get_menu() == menu
    assert client.get_menu() is None


def test_where_callbacks_come_from(platform: FakePlatform, client: WeChatClient) -> None:
    platform.next("/cgi-bin/getcallbackip", {"ip_list": ["101.226.62.77"]}, {"errcode": 0}, {"ip_list": [1]})
    assert client.callback_ips() == ["101.226.62.77"]
    for _ in range(2):
        with pytest.raises(OutcomeUnknown):
            client.callback_ips()


def test_the_platform_looks_at_our_callback(platform: FakePlatform, client: WeChatClient) -> None:
    path = "/cgi-bin/callback/check"
    platform.next(
        path,
        {
            "dns": [{"ip": "203.0.113.7", "real_operator": "UNICOM"}],
            "ping": [{"ip": "203.0.113.7", "from_operator": "CAP", "package_loss": "0%", "time": "23.079ms"}],
        },
    )
    assert client.check_callback() == CallbackCheck(("203.0.113.7",), (Ping("203.0.113.7", "CAP", "0%", "23.079ms"),))
    assert only(platform, path) == {"action": "all", "check_operator": "DEFAULT"}
