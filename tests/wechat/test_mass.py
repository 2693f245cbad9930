"""Mass sends as documented: what is handed over, what is checked before, and what the answers may be."""

from typing import Any

import pytest

from tests.wechat.conftest import Answer, FakePlatform, LostReply
from wechat import limits
from wechat.client import WeChatClient
from wechat.errors import (
    AlreadyAccepted,
    BadRequest,
    OutcomeUnknown,
    QuotaSpent,
    Refused,
    WaitAMinute,
    WeChatError,
)
from wechat.mass import (
    DraftArticle,
    MassAccepted,
    MassArticles,
    MassContent,
    MassImage,
    MassState,
    MassText,
    Quota,
)

SEND = "/cgi-bin/message/mass/send"
GET = "/cgi-bin/message/mass/get"
PREVIEW = "/cgi-bin/message/mass/preview"
DELETE = "/cgi-bin/message/mass/delete"
QUOTA = "/cgi-bin/openapi/quota/get"
DRAFT = "/cgi-bin/draft/add"
PICTURE = "/cgi-bin/media/uploadimg"
PNG = b"\x89PNG\r\n\x1a\n picture"
PEOPLE = ["o-ann", "o-bob"]
TEA = DraftArticle(title="春茶", content="<p>新茶</p>", thumb_media_id="m-1")

KINDS: list[tuple[MassContent, dict[str, Any]]] = [
    (MassText("茶到了"), {"msgtype": "text", "text": {"content": "茶到了"}}),
    (MassImage("m-1"), {"msgtype": "image", "images": {"media_ids": ["m-1"]}}),
    (MassArticles("d-1"), {"msgtype": "mpnews", "mpnews": {"media_id": "d-1"}, "send_ignore_reprint": 1}),
]


def only(platform: FakePlatform, path: str) -> Any:
    [request] = platform.calls(path)
    return request.json


@pytest.mark.parametrize(("content", "body"), KINDS)
def test_a_batch_is_written_as_documented(
    platform: FakePlatform, client: WeChatClient, content: MassContent, body: dict[str, Any]
) -> None:
    platform.next(SEND, {"errcode": 0, "errmsg": "send job submission success", "msg_id": 3147494276})
    assert client.mass_send(PEOPLE, content, "b7-0001") == MassAccepted(3147494276, None)
    assert only(platform, SEND) == {"touser": PEOPLE, "clientmsgid": "b7-0001", **body}


def test_articles_have_a_second_number(platform: FakePlatform, client: WeChatClient) -> None:
    platform.next(SEND, {"errcode": 0, "errmsg": "ok", "msg_id": 1, "msg_data_id": 2455891298})
    assert client.mass_send(PEOPLE, MassArticles("d-1"), "b7-0001").msg_data_id == 2455891298


@pytest.mark.parametrize(
    ("openids", "content", "clientmsgid"),
    [
        (["o-ann"], MassText("a"), "x"),
        ([f"o-{number}" for number in range(10_001)], MassText("a"), "x"),
        (["o-ann", "o-ann"], MassText("a"), "x"),
        (PEOPLE, MassText(""), "x"),
        (PEOPLE, MassText("长" * 683), "x"),
        (PEOPLE, MassText("a"), ""),
        (PEOPLE, MassText("a"), "x" * 33),
        (PEOPLE, MassText("a"), "茶"),
        (PEOPLE, MassText("a"), "a\nb"),
    ],
)
def test_what_would_be_refused_is_not_sent(
    platform: FakePlatform, client: WeChatClient, openids: list[str], content: MassContent, clientmsgid: str
) -> None:
    with pytest.raises(BadRequest):
        client.mass_send(openids, content, clientmsgid)
    assert platform.requests == []


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ({"errcode": -1, "errmsg": "system busy"}, OutcomeUnknown),
        (LostReply(), OutcomeUnknown),
        (Answer(b"<html>busy</html>"), OutcomeUnknown),
        (Answer(b"", status=500), OutcomeUnknown),
        ({}, OutcomeUnknown),
        ({"msg_id": 7}, OutcomeUnknown),
        ({"errcode": 0}, OutcomeUnknown),
        ({"errcode": 0, "msg_id": "7"}, OutcomeUnknown),
        ({"errcode": 0, "msg_id": 0}, OutcomeUnknown),
        ({"errcode": 0, "msg_id": 7, "msg_data_id": None}, OutcomeUnknown),
        ({"errcode": 45065, "errmsg": "clientmsgid exist", "msg_id": 7}, AlreadyAccepted),
        ({"errcode": 45066, "errmsg": "too fast"}, WaitAMinute),
        ({"errcode": 45011, "errmsg": "minute"}, WaitAMinute),
        ({"errcode": 45028, "errmsg": "month"}, QuotaSpent),
        ({"errcode": 40130, "errmsg": "openids"}, BadRequest),
        ({"errcode": 99999, "errmsg": "new"}, Refused),
    ],
)
def test_a_batch_is_handed_over_once_whatever_comes_back(
    platform: FakePlatform, client: WeChatClient, answer: Any, kind: type[WeChatError]
) -> None:
    platform.always(SEND, answer)
    with pytest.raises(kind) as raised:
        client.mass_send(PEOPLE, MassText("茶"), "x")
    assert raised.type is kind
    assert len(platform.calls(SEND)) == 1


@pytest.mark.parametrize(("msg_id", "known"), [(7, 7), (None, None), ("7", None), (0, None), (True, None)])
def test_a_repetition_tells_the_number_if_there_is_one(
    platform: FakePlatform, client: WeChatClient, msg_id: object, known: int | None
) -> None:
    platform.next(SEND, {"errcode": 45065, "errmsg": "clientmsgid exist", "msg_id": msg_id})
    with pytest.raises(AlreadyAccepted) as raised:
        client.mass_send(PEOPLE, MassText("茶"), "x")
    assert raised.value.msg_id == known


@pytest.mark.parametrize("state", list(MassState))
def test_how_far_a_batch_is(platform: FakePlatform, client: WeChatClient, state: MassState) -> None:
    busy = {"errcode": -1, "errmsg": "system busy"}
    platform.next(GET, busy, {"msg_id": 7, "msg_status": state.value})
    assert client.mass_state(7) is state
    assert [request.json for request in platform.calls(GET)] == [{"msg_id": "7"}] * 2


@pytest.mark.parametrize("answer", [{}, {"msg_status": "SENT"}, {"msg_status": 1}, {"msg_status": ""}])
def test_a_state_nobody_knows_is_no_state(platform: FakePlatform, client: WeChatClient, answer: dict[str, Any]) -> None:
    platform.next(GET, answer)
    with pytest.raises(OutcomeUnknown):
        client.mass_state(7)


def test_pages_are_deleted_one_or_all(platform: FakePlatform, client: WeChatClient) -> None:
    client.mass_delete(7)
    client.mass_delete(7, 8)
    assert [request.json for request in platform.calls(DELETE)] == [
        {"msg_id": 7, "article_idx": 0},
        {"msg_id": 7, "article_idx": 8},
    ]
    for number in (-1, 9):
        with pytest.raises(BadRequest):
            client.mass_delete(7, number)


def test_a_preview(platform: FakePlatform, client: WeChatClient) -> None:
    client.mass_preview("o-ann", MassArticles("d-1"))
    assert only(platform, PREVIEW) == {"touser": "o-ann", "msgtype": "mpnews", "mpnews": {"media_id": "d-1"}}
    with pytest.raises(BadRequest):
        client.mass_preview("o-ann", MassText(""))


def test_the_speed(platform: FakePlatform, client: WeChatClient) -> None:
    platform.next("/cgi-bin/message/mass/speed/get", {"speed": 3, "realspeed": 15})
    assert client.mass_speed() == 3
    client.set_mass_speed(4)
    assert only(platform, "/cgi-bin/message/mass/speed/set") == {"speed": 4}
    for level in (-1, 5):
        with pytest.raises(BadRequest):
            client.set_mass_speed(level)


def test_what_is_left_of_a_quota(platform: FakePlatform, client: WeChatClient) -> None:
    platform.next(QUOTA, {"errcode": 0, "quota": {"daily_limit": 100, "used": 3, "remain": 97}}, {"errcode": 0})
    assert client.quota(SEND) == Quota(100, 3, 97)
    assert only(platform, QUOTA) == {"cgi_path": SEND}
    with pytest.raises(OutcomeUnknown):
        client.quota(SEND)
    with pytest.raises(BadRequest):
        client.quota("message/mass/send")


def test_a_draft_is_written_as_documented(platform: FakePlatform, client: WeChatClient) -> None:
    platform.next(DRAFT, {"media_id": "d-1"}, {"errcode": 0})
    article = DraftArticle("春茶", "<p>新茶</p>", "m-1", author="店主", digest="尝鲜", source_url="https://a")
    assert client.add_draft([article]) == "d-1"
    [sent] = only(platform, DRAFT)["articles"]
    assert sent == {
        "article_type": "news",
        "title": "春茶",
        "author": "店主",
        "digest": "尝鲜",
        "content": "<p>新茶</p>",
        "content_source_url": "https://a",
        "thumb_media_id": "m-1",
    }
    with pytest.raises(OutcomeUnknown):
        client.add_draft([article])


@pytest.mark.parametrize(
    "articles",
    [
        [],
        [TEA] * 9,
        [DraftArticle("", "a", "m")],
        [DraftArticle("字" * 33, "a", "m")],
        [DraftArticle("a", "", "m")],
        [DraftArticle("a", "字" * 20_000, "m")],
        [DraftArticle("a", "a", "m", author="字" * 17)],
        [DraftArticle("a", "a", "m", digest="字" * 129)],
    ],
    ids=range(8),
)
def test_an_article_that_would_be_refused_is_not_sent(
    platform: FakePlatform, client: WeChatClient, articles: list[DraftArticle]
) -> None:
    with pytest.raises(BadRequest):
        client.add_draft(articles)
    assert platform.requests == []


def test_a_picture_for_the_inside_of_articles(platform: FakePlatform, client: WeChatClient) -> None:
    platform.next(PICTURE, {"errcode": 40001, "errmsg": "token"}, {"url": "http://mmbiz.qpic.cn/1"})
    assert client.upload_content_image(PNG * 100, "茶.png") == "http://mmbiz.qpic.cn/1"
    for request in platform.calls(PICTURE):
        assert b'name="media"' in request.body
        assert PNG * 100 in request.body


@pytest.mark.parametrize("content", [b"", b"x" * (limits.CONTENT_IMAGE_MAX_BYTES + 1), b"GIF89a"], ids=range(3))
def test_a_picture_no_article_may_show_is_not_uploaded(
    platform: FakePlatform, client: WeChatClient, content: bytes
) -> None:
    with pytest.raises(BadRequest):
        client.upload_content_image(content, "a.png")
    assert platform.requests == []
