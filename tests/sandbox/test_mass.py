"""Drafts and mass sends: what they may hold, who gets them, and what the platform says about it afterwards."""

import signal
import time
from collections.abc import Callable
from typing import Any

import pytest
import requests

from .conftest import QUICK, Box, Receiver, StartBox
from .test_api import picture

SEND = "/cgi-bin/message/mass/send"
SEND_ALL = "/cgi-bin/message/mass/sendall"
FINISHED = "MASSSENDJOBFINISH"
MONTH = 32 * 24 * 3600


def followers(box: Box, count: int) -> list[str]:
    people = [{"following": True, "crowd": True}] * count
    return [str(person["openid"]) for person in box.control("/people", {"people": people})["people"]]


def text(words: str = "茶到了") -> dict[str, Any]:
    return {"msgtype": "text", "text": {"content": words}}


def send(box: Box, openids: object, content: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return box.post(SEND, {"touser": openids, **(content or text()), **more})


def number_of(answer: dict[str, Any]) -> int:
    return int(answer.get("errcode", 0))


def eventually(found: Callable[[], Any]) -> Any:
    end = time.monotonic() + 5
    while not (value := found()):
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)
    return value


def events(receiver: Receiver) -> list[dict[str, Any]]:
    return [received.event for received in receiver.received if received.event.get("Event") == FINISHED]


def status(box: Box, msg_id: object) -> str:
    return str(box.post("/cgi-bin/message/mass/get", {"msg_id": str(msg_id)})["msg_status"])


def cover(box: Box) -> str:
    return str(box.upload("/cgi-bin/material/add_material", "tea.png", picture(), type="image")["media_id"])


def article(box: Box, **changes: Any) -> dict[str, Any]:
    return {"title": "春茶", "content": "<p>新茶<b>到了</b></p>", "thumb_media_id": cover(box)} | changes


def draft(box: Box, *articles: dict[str, Any]) -> str:
    answer = box.post("/cgi-bin/draft/add", {"articles": list(articles or [article(box)])})
    assert "media_id" in answer, answer
    return str(answer["media_id"])


@pytest.fixture
def pushed(box: Box, receiver: Receiver) -> Receiver:
    box.control("/account", {"callback_url": receiver.url})
    return receiver


# Drafts


def test_a_draft_is_kept_changed_counted_and_deleted(box: Box) -> None:
    media_id = draft(box, article(box, author="店主", content_source_url="https://shop.example.com/"))
    (item,) = box.post("/cgi-bin/draft/get", {"media_id": media_id})["news_item"]
    assert (item["title"], item["author"], item["digest"]) == ("春茶", "店主", "新茶到了")
    assert box.http.get(item["thumb_url"]).content == picture()
    changed = {"media_id": media_id, "index": 0, "articles": article(box, title="夏茶", digest="凉的")}
    assert box.post("/cgi-bin/draft/update", changed)["errcode"] == 0
    listed = box.post("/cgi-bin/draft/batchget", {"offset": 0, "count": 20, "no_content": 1})
    assert (listed["total_count"], listed["item_count"]) == (1, 1)
    (item,) = listed["item"][0]["content"]["news_item"]
    assert (item["title"], item["digest"], "content" in item) == ("夏茶", "凉的", False)
    assert box.get("/cgi-bin/draft/count") == {"total_count": 1}
    for _ in range(2):
        assert box.post("/cgi-bin/draft/delete", {"media_id": media_id})["errcode"] == 0
    assert box.get("/cgi-bin/draft/count") == {"total_count": 0}
    assert box.post("/cgi-bin/draft/get", {"media_id": media_id})["errcode"] == 40007
    assert number_of(send(box, followers(box, 2), mpnews(media_id))) == 40007


@pytest.mark.parametrize(
    ("changes", "errcode"),
    [
        ({"title": "字" * 33}, 45003),
        ({"title": ""}, 45003),
        ({"author": "字" * 17}, 45110),
        ({"digest": "字" * 129}, 45004),
        ({"content": "字" * 20_000}, 45002),
        ({"content": ""}, 44004),
        ({"content": '<img src="https://elsewhere.example.com/a.png">'}, 45166),
        ({"content": "<p>a</p><script>1</script>"}, 45166),
        ({"thumb_media_id": "nothing"}, 40007),
        ({"article_type": "poem"}, 40035),
        ({"colour": "red"}, 40035),
    ],
)
def test_what_an_article_may_not_hold(box: Box, changes: dict[str, Any], errcode: int) -> None:
    assert box.post("/cgi-bin/draft/add", {"articles": [article(box, **changes)]})["errcode"] == errcode


def test_the_longest_article_and_the_most_of_them(box: Box) -> None:
    longest = article(box, title="字" * 32, author="字" * 16, digest="字" * 128, content="字" * 19_999)
    assert draft(box, *[longest] * 8)
    assert box.post("/cgi-bin/draft/add", {"articles": [longest] * 9})["errcode"] == 45008
    assert box.post("/cgi-bin/draft/add", {"articles": []})["errcode"] == 44003


def test_a_cover_is_permanent_and_a_picture_inside_is_uploaded_for_it(box: Box) -> None:
    temporary = box.upload("/cgi-bin/media/upload", "tea.png", picture(), type="image")["media_id"]
    refused = {"articles": [article(box, thumb_media_id=temporary)]}
    assert box.post("/cgi-bin/draft/add", refused)["errcode"] == 40007
    material = box.upload("/cgi-bin/material/add_material", "tea.png", picture(), type="image")["url"]
    refused = {"articles": [article(box, content=f'<img src="{material}">')]}
    assert box.post("/cgi-bin/draft/add", refused)["errcode"] == 45166
    inside = box.upload("/cgi-bin/media/uploadimg", "tea.png", picture())["url"]
    assert draft(box, article(box, content=f'<img src="{inside}">'))


# Whom a send may name, and what it may say


def test_how_many_openids(box: Box) -> None:
    people = followers(box, 3)
    for touser, errcode in [
        ([], 40130),
        (people[:1], 40130),
        ("o1", 40031),
        ([people[0], 7], 40031),
        ([people[0], people[0]], 40031),
        ([people[0], "oNobody"], 40003),
        ([f"o{number}" for number in range(10_001)], 40032),
    ]:
        assert number_of(send(box, touser)) == errcode
    assert number_of(box.post(SEND, {"filter": {"is_to_all": True}, **text()})) == 40130
    assert number_of(send(box, people[:2])) == 0


def mpnews(media_id: str) -> dict[str, Any]:
    return {"msgtype": "mpnews", "mpnews": {"media_id": media_id}, "send_ignore_reprint": 0}


@pytest.mark.parametrize(
    ("content", "errcode"),
    [
        ({"msgtype": "poem", "poem": {}}, 40008),
        ({"msgtype": "news", "news": {"articles": []}}, 40008),
        ({"msgtype": "text"}, 44004),
        ({"msgtype": "text", "text": {"content": ""}}, 44004),
        ({"msgtype": "text", "text": {"content": "字" * 683}}, 45002),
        ({"msgtype": "text", "text": {"content": "a", "colour": "red"}}, 40035),
        ({"msgtype": "text", "text": {"content": "a"}, "send_ignore_reprint": 2}, 40035),
        ({"msgtype": "image", "images": {"media_ids": ["nothing"]}}, 40007),
        ({"msgtype": "image", "images": {"media_ids": []}}, 40007),
        ({"msgtype": "mpnews", "mpnews": {"media_id": "nothing"}}, 40007),
        ({"msgtype": "voice", "voice": {"media_id": "nothing"}}, 40007),
    ],
)
def test_what_a_send_may_not_say(box: Box, content: dict[str, Any], errcode: int) -> None:
    assert number_of(send(box, followers(box, 2), content)) == errcode


def test_every_kind_arrives_in_the_chat(box: Box) -> None:
    people = followers(box, 2)
    image = cover(box)
    voice = box.upload("/cgi-bin/material/add_material", "a.mp3", b"ID3", type="voice")["media_id"]
    assert number_of(send(box, people, {"msgtype": "image", "images": {"media_ids": [image], "recommend": "看"}})) == 0
    assert number_of(send(box, people, {"msgtype": "voice", "voice": {"media_id": voice}})) == 0
    answer = send(box, people, mpnews(draft(box, article(box, digest="尝鲜"), article(box, title="二"))))
    assert answer["msg_data_id"] > 0
    image_shown, words, heard, card = box.chat(people[1])
    assert box.http.get(image_shown["image_url"]).content == picture()
    assert (words["text"], heard["type"], card["type"], card["msg_id"]) == ("看", "voice", "news", answer["msg_id"])
    assert [one["title"] for one in card["articles"]] == ["春茶", "二"]
    assert (card["title"], card["description"]) == ("春茶", "尝鲜")
    assert box.http.get(card["picurl"]).content == picture()


def test_an_article_is_read_on_its_page_until_it_is_deleted(box: Box) -> None:
    people = followers(box, 2)
    link = '<p><a href="https://shop.example.com/tea">去看看</a></p>'
    media_id = draft(box, article(box, content=link, content_source_url="https://shop.example.com/"), article(box))
    first = send(box, people, mpnews(media_id), clientmsgid="one")["msg_id"]
    assert number_of(box.post("/cgi-bin/draft/get", {"media_id": media_id})) == 40007, "it left the box"
    again = send(box, people, mpnews(media_id), clientmsgid="two")["msg_id"]
    one, other = (card["articles"] for card in box.chat(people[0]))
    assert [card["url"] for card in one] == [card["url"] for card in other], "one page however often it is sent"
    page = box.http.get(one[0]["url"])
    assert link in page.text
    assert "春茶" in page.text
    assert 'href="https://shop.example.com/"' in page.text
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    wish = {"msg_id": first}
    assert box.post("/cgi-bin/message/mass/delete", wish)["errcode"] == 40059, "not before it is sent"
    eventually(lambda: {status(box, first), status(box, again)} == {"SEND_SUCCESS"})
    assert box.post("/cgi-bin/message/mass/delete", {**wish, "article_idx": 3})["errcode"] == 40035
    assert box.post("/cgi-bin/message/mass/delete", {**wish, "article_idx": 2})["errcode"] == 0
    assert "已被发布者删除" in box.http.get(one[1]["url"]).text
    assert "已被发布者删除" not in box.http.get(one[0]["url"]).text
    assert status(box, first) == "SEND_SUCCESS"
    assert box.post("/cgi-bin/message/mass/delete", wish)["errcode"] == 0
    assert "已被发布者删除" in box.http.get(one[0]["url"]).text
    assert {status(box, first), status(box, again)} == {"DELETE"}
    assert len(box.chat(people[0])) == 2, "cards stay"
    words = send(box, people, text())["msg_id"]
    eventually(lambda: status(box, words) == "SEND_SUCCESS")
    assert box.post("/cgi-bin/message/mass/delete", {"msg_id": words})["errcode"] == 40059
    assert box.http.get(f"{box.url}/s/nothing").status_code == 404


# Who gets it


def test_four_a_month_each_and_nobody_who_left(box: Box, pushed: Receiver) -> None:
    people = followers(box, 3)
    for turn in range(4):
        assert number_of(send(box, people[:2], text(str(turn)))) == 0
    box.act(people[1], "unfollow")
    answer = send(box, people, text("五"))
    assert "五" not in box.said(people[0])
    assert "五" not in box.said(people[1])
    assert "五" in box.said(people[2])
    event = eventually(lambda: [event for event in events(pushed) if event["MsgID"] == str(answer["msg_id"])])[0]
    counts = [event[name] for name in ("TotalCount", "FilterCount", "SentCount", "ErrorCount")]
    assert counts == ["3", "1", "1", "0"]
    assert event["Status"] == "send success"
    line = box.log("mass")[-1]
    assert (line["left"], line["over_month"], line["delivered"]) == ([people[1]], [people[0]], [people[2]])
    assert (line["openids"], line["msg_id"]) == (people, answer["msg_id"])
    box.clock(advance_seconds=MONTH)
    assert number_of(send(box, [people[0], people[2]], text("六"))) == 0
    assert "六" in box.said(people[0])


def test_everybody_or_those_with_a_tag(box: Box) -> None:
    ann, bob, cat = followers(box, 3)
    tag = box.post("/cgi-bin/tags/create", {"tag": {"name": "茶"}})["tag"]["id"]
    box.post("/cgi-bin/tags/members/batchtagging", {"openid_list": [bob], "tagid": tag})
    assert number_of(box.post(SEND_ALL, {"filter": {"is_to_all": False, "tag_id": tag}, **text("茶客")})) == 0
    assert number_of(box.post(SEND_ALL, {"filter": {"is_to_all": True}, **text("大家")})) == 0
    assert [box.said(one) for one in (ann, bob, cat)] == [["大家"], ["茶客", "大家"], ["大家"]]
    assert number_of(box.post(SEND_ALL, {"filter": {"is_to_all": False, "tag_id": 7}, **text()})) == 45159
    assert number_of(box.post(SEND_ALL, {"filter": {"is_to_all": False}, **text()})) == 45159


def test_to_everybody_once_a_day_and_four_times_a_month(box: Box) -> None:
    followers(box, 2)
    # The first of a month in Beijing, so that four days fit into it.
    box.clock(advance_seconds=MONTH)
    while int(box.look("/account")["now"][8:10]) > 20:
        box.clock(advance_seconds=24 * 3600)

    def to_all(words: str) -> int:
        return number_of(box.post(SEND_ALL, {"filter": {"is_to_all": True}, **text(words)}))

    assert (to_all("一"), to_all("二")) == (0, 45028)
    for words in ("三", "四", "五"):
        box.clock(advance_seconds=24 * 3600)
        assert to_all(words) == 0
    box.clock(advance_seconds=24 * 3600)
    assert to_all("六") == 45028
    box.clock(advance_seconds=MONTH)
    assert to_all("七") == 0


def test_a_hundred_a_day_for_both_together_and_sixty_a_minute(start_box: StartBox) -> None:
    box = start_box(*QUICK, "--limit", f"day:{SEND}=3", "--limit", f"minute:{SEND}=2")
    people = followers(box, 2)
    tag = box.post("/cgi-bin/tags/create", {"tag": {"name": "茶"}})["tag"]["id"]
    to_tag = {"filter": {"is_to_all": False, "tag_id": tag}}
    quota = {"daily_limit": 3, "used": 2, "remain": 1}
    box.clock(advance_seconds=60 - time.time() % 60)
    assert number_of(send(box, people, text("一"))) == 0
    assert number_of(box.post(SEND_ALL, {**to_tag, **text("二")})) == 0
    assert number_of(send(box, people, text("三"))) == 45011
    for path in (SEND, SEND_ALL):
        assert box.post("/cgi-bin/openapi/quota/get", {"cgi_path": path})["quota"] == quota
    box.clock(advance_seconds=60)
    assert number_of(box.post(SEND_ALL, {**to_tag, **text("三")})) == 0
    assert number_of(send(box, people, text("四"))) == 45009
    assert box.post("/cgi-bin/openapi/quota/clear", {"cgi_path": SEND_ALL})["errcode"] == 0
    assert box.post("/cgi-bin/openapi/quota/get", {"cgi_path": SEND})["quota"]["used"] == 0


def test_the_limits_of_an_account_nobody_changed(box: Box) -> None:
    for path in (SEND, SEND_ALL, "/cgi-bin/message/mass/preview"):
        assert box.post("/cgi-bin/openapi/quota/get", {"cgi_path": path})["quota"]["daily_limit"] == 100


def test_a_preview_shows_it_to_one_person_and_counts_for_nobody(box: Box) -> None:
    ann, bob = followers(box, 2)
    for turn in range(5):
        answer = box.post("/cgi-bin/message/mass/preview", {"touser": ann, **text(str(turn))})
        assert answer["errmsg"] == "preview success"
    media_id = draft(box)
    shown = {"touser": ann, "msgtype": "mpnews", "mpnews": {"media_id": media_id}}
    assert box.post("/cgi-bin/message/mass/preview", shown)["errcode"] == 0
    assert box.get("/cgi-bin/draft/count") == {"total_count": 1}, "it is still a draft"
    assert number_of(send(box, [ann, bob], text("大家"))) == 0
    assert box.chat(ann)[-1]["text"] == "大家"
    box.act(ann, "unfollow")
    assert box.post("/cgi-bin/message/mass/preview", {"touser": ann, **text()})["errcode"] == 43004
    assert box.post("/cgi-bin/message/mass/preview", {"touser": "oNobody", **text()})["errcode"] == 40003


def test_the_speed(box: Box) -> None:
    assert box.post("/cgi-bin/message/mass/speed/set", {"speed": 3})["errcode"] == 0
    assert box.post("/cgi-bin/message/mass/speed/get", {}) == {"speed": 3, "realspeed": 30}
    assert box.post("/cgi-bin/message/mass/speed/set", {"speed": 5})["errcode"] == 45083
    assert box.post("/cgi-bin/message/mass/speed/set", {})["errcode"] == 45084


# clientmsgid


def test_a_repeated_name_is_told_which_send_has_it(box: Box) -> None:
    people = followers(box, 2)
    first = send(box, people, text("一"), clientmsgid="b1-chunk-1")
    assert send(box, people, text("一"), clientmsgid="b1-chunk-1")["errcode"] == 45066
    box.clock(advance_seconds=59)
    assert send(box, people, text("一"), clientmsgid="b1-chunk-1")["errcode"] == 45066, "a minute from the last try"
    box.clock(advance_seconds=60)
    again = send(box, people, text("二"), clientmsgid="b1-chunk-1")
    assert (again["errcode"], again["msg_id"]) == (45065, first["msg_id"])
    assert "clientmsgid exist" in again["errmsg"]
    assert box.said(people[0]) == ["一"]
    assert number_of(send(box, people, text("三"), clientmsgid="b1-chunk-2")) == 0
    box.clock(advance_seconds=24 * 3600)
    assert number_of(send(box, people, text("四"), clientmsgid="b1-chunk-1")) == 0


def test_without_a_name_the_same_words_to_the_same_people_are_a_repetition(box: Box) -> None:
    people = followers(box, 3)
    first = send(box, people)
    box.clock(advance_seconds=61)
    again = send(box, people[::-1])
    assert (again["errcode"], again["msg_id"]) == (45065, first["msg_id"])
    assert number_of(send(box, people[:2])) == 0
    assert number_of(send(box, people, text("别的"))) == 0


def test_a_name_has_thirty_two_characters(box: Box) -> None:
    people = followers(box, 2)
    assert send(box, people, text("一"), clientmsgid="a" * 33)["errcode"] == 45067
    assert number_of(send(box, people, text("一"), clientmsgid="a" * 32)) == 0


def test_a_refused_send_leaves_its_name_free(box: Box) -> None:
    people = followers(box, 2)
    assert number_of(send(box, [people[0], "oNobody"], clientmsgid="x")) == 40003
    box.fault({"errcode": -1}, path=SEND)
    assert number_of(send(box, people, clientmsgid="x")) == -1
    assert number_of(send(box, people, clientmsgid="x")) == 0


# What the platform says about it


def test_the_event_comes_later_and_says_it_of_nobody(box: Box, pushed: Receiver) -> None:
    box.fault({"latency_ms": 300}, event=FINISHED)
    people = followers(box, 2)
    began = time.monotonic()
    answer = send(box, people, mpnews(draft(box)))
    assert answer["errmsg"] == "send job submission success"
    assert status(box, answer["msg_id"]) == "SENDING"
    event = eventually(lambda: events(pushed))[0]
    assert time.monotonic() - began >= 0.6
    assert status(box, answer["msg_id"]) == "SEND_SUCCESS"
    assert event["MsgID"] == str(answer["msg_id"])
    assert event["FromUserName"] not in people
    assert event["ArticleUrlResult"]["ResultList"]["item"]["ArticleUrl"] == box.chat(people[0])[0]["url"]


def test_events_are_lost_or_come_twice(box: Box, pushed: Receiver) -> None:
    people = followers(box, 2)
    box.fault({"drop": True}, event=FINISHED)
    box.fault({"duplicate": 1}, event=FINISHED)
    lost = send(box, people, text("一"))["msg_id"]
    eventually(lambda: status(box, lost) == "SEND_SUCCESS")
    twice = send(box, people, text("二"))["msg_id"]
    eventually(lambda: len(events(pushed)) == 2)
    one, other = events(pushed)
    assert one == other
    assert one["MsgID"] == str(twice)


def test_one_late_event_does_not_hold_up_another(box: Box, pushed: Receiver) -> None:
    people = followers(box, 2)
    box.fault({"latency_ms": 700}, event=FINISHED)
    late, soon = (send(box, people, text(words))["msg_id"] for words in "一二")
    eventually(lambda: len(events(pushed)) == 2)
    assert [event["MsgID"] for event in events(pushed)] == [str(soon), str(late)]


def test_a_send_that_is_judged_unfit_reaches_nobody(box: Box, pushed: Receiver) -> None:
    people = followers(box, 2)
    box.fault({"mass_status": "err(20001)"}, path=SEND)
    answer = send(box, people)
    event = eventually(lambda: events(pushed))[0]
    counts = [event[name] for name in ("Status", "TotalCount", "FilterCount", "SentCount", "ErrorCount")]
    assert counts == ["err(20001)", "2", "2", "0", "2"]
    assert status(box, answer["msg_id"]) == "SEND_FAIL"
    assert box.said(people[0]) == []


def test_a_first_try_may_be_accepted_and_yet_called_a_repetition(box: Box) -> None:
    people = followers(box, 2)
    box.fault({"errcode": 45065, "accept": True}, path=SEND)
    answer = send(box, people, clientmsgid="x")
    assert answer["errcode"] == 45065
    assert box.said(people[0]) == ["茶到了"]
    assert eventually(lambda: status(box, answer["msg_id"]) == "SEND_SUCCESS")
    (line,) = [line for line in box.log("api") if line["path"] == SEND and line["answer"] == answer]
    assert (line["accepted"], line["errcode"]) == (True, 45065)


def test_a_first_try_may_be_refused_under_the_name_of_another_batch(box: Box) -> None:
    people = followers(box, 2)
    first = send(box, people, text("一"), clientmsgid="one")["msg_id"]
    box.fault({"errcode": 45065}, path=SEND)
    box.fault({"errcode": 45065, "msg_id": 77}, path=SEND)
    other = send(box, people, text("二"), clientmsgid="two")
    assert (other["errcode"], other["msg_id"]) == (45065, first)
    assert send(box, people, text("二"), clientmsgid="two")["msg_id"] == 77
    assert box.said(people[0]) == ["一"]
    assert number_of(send(box, people, text("二"), clientmsgid="two")) == 0


@pytest.mark.parametrize("do", [{"accept": True}, {"msg_id": 7}, {"mass_status": 7}, {"errcode": 1, "msg_id": "7"}])
def test_half_a_fault_is_refused(box: Box, do: dict[str, Any]) -> None:
    box.control("/faults", {"rules": [{"match": {"path": SEND}, "do": do}]}, expect=400)


def test_a_lost_reply_is_a_send_all_the_same(box: Box) -> None:
    people = followers(box, 2)
    box.fault({"lost_reply": True}, path=SEND)
    with pytest.raises(requests.ConnectionError):
        send(box, people, clientmsgid="x")
    line = [line for line in box.log("api") if line["path"] == SEND][-1]
    mass = box.log("mass")[-1]
    assert (line["accepted"], line["lost_reply"], line["body"]["touser"]) == (True, True, people)
    assert (mass["clientmsgid"], mass["msg_id"], mass["delivered"]) == ("x", line["answer"]["msg_id"], people)
    box.clock(advance_seconds=61)
    assert send(box, people, clientmsgid="x")["msg_id"] == mass["msg_id"]


# By hand, at the console


def test_a_send_by_hand_uses_up_the_month(box: Box, pushed: Receiver) -> None:
    ann, bob, cat = followers(box, 3)
    box.act(cat, "unfollow")
    sent = box.control("/console-send", {"text": "店庆", "openids": None})
    event = eventually(lambda: events(pushed))[0]
    assert (event["MsgID"], event["TotalCount"], event["SentCount"]) == (str(sent["msg_id"]), "2", "2")
    for _ in range(3):
        box.control("/console-send", {"text": "又来了", "openids": [ann]})
    assert number_of(send(box, [ann, bob])) == 0
    assert "茶到了" not in box.said(ann)
    assert "茶到了" in box.said(bob)
    assert box.post(SEND_ALL, {"filter": {"is_to_all": True}, **text()})["errcode"] == 45028
    assert {line["by"] for line in box.log("mass") if line["msg_id"] == sent["msg_id"]} == {"console"}


@pytest.mark.parametrize("wish", [{}, {"text": ""}, {"text": "a", "openids": ["oNobody"]}, {"text": "a", "to": 1}])
def test_a_send_by_hand_needs_words_and_people(box: Box, wish: dict[str, Any]) -> None:
    box.control("/console-send", wish, expect=400)


# What lasts, and how long it takes


def test_sends_and_months_survive_a_kill(start_box: StartBox, receiver: Receiver) -> None:
    box = start_box(*QUICK, "--callback-url", receiver.url)
    people = followers(box, 2)
    media_id = draft(box)
    for words in "一二三":
        send(box, people, text(words))
    answer = send(box, people, mpnews(media_id), clientmsgid="x")
    before = [box.chat(one) for one in people]
    box.restart(signal.SIGKILL)
    assert status(box, answer["msg_id"]) == "SENDING"
    eventually(lambda: str(answer["msg_id"]) in [event["MsgID"] for event in events(receiver)])
    (event,) = [event for event in events(receiver) if event["MsgID"] == str(answer["msg_id"])]
    assert event["ArticleUrlResult"]["Count"] == "1"
    assert status(box, answer["msg_id"]) == "SEND_SUCCESS"
    assert [box.chat(one) for one in people] == before
    assert "春茶" in box.http.get(before[0][-1]["url"]).text
    box.clock(advance_seconds=61)
    assert send(box, people, mpnews(media_id), clientmsgid="x")["msg_id"] == answer["msg_id"]
    assert number_of(send(box, people, text("五"))) == 0
    assert box.log("mass")[-1]["over_month"] == people


def test_ten_thousand_people_do_not_hold_up_the_others(box: Box) -> None:
    people = followers(box, 10_000)
    began = time.monotonic()
    assert number_of(send(box, people)) == 0
    assert time.monotonic() - began < 1.5
    assert box.said(people[-1]) == ["茶到了"]
    line = [line for line in box.log("api") if line["path"] == SEND][-1]
    assert line["body"]["touser"] == "(10000 openids)"
    assert len(box.log("mass")[-1]["delivered"]) == 10_000
