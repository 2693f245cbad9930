"""Scripted conversations, recordings, the platform's human service, and files that people send."""

import base64
import json
import time
from typing import Any

import pytest

from sandbox.scripts import BadScript, read

from .conftest import QUICK, Box, Received, Receiver, StartBox, clear_reply
from .test_api import picture
from .test_mass import eventually

HOURS = """
name = "问几点关门"
people = [{ name = "小安", following = true }]
steps = [
  { say = "几点关门", contains = "九点", lacks = ["抱歉", "明天"] },
  { person = "阿白", follow = true },
  { unfollow = true, silent = true },
]
"""


@pytest.fixture
def answering(box: Box, receiver: Receiver) -> Receiver:
    """A shop that says when it closes, whatever it is asked."""
    box.control("/account", {"callback_url": receiver.url, "mode": "plain"})
    receiver.answer = receiver.words("今晚九点关门")
    return receiver


def play(box: Box, script: str, **wish: Any) -> dict[str, Any]:
    """The first of the plays, when it is over."""
    first: dict[str, Any] = box.control("/play", {"text": script, **wish})["plays"][0]
    return first


def heard(receiver: Receiver) -> list[str]:
    return [str(one.event.get("Event") or one.event.get("Content")) for one in receiver.received]


# Scripts


def test_a_script_is_played_from_beginning_to_end(box: Box, answering: Receiver) -> None:
    told = play(box, HOURS)
    assert (told["state"], told["done"], told["failed"]) == ("passed", 3, 0)
    assert heard(answering) == ["几点关门", "subscribe", "unsubscribe"]
    assert told["steps"][0]["said"][0]["text"] == "今晚九点关门"
    assert [one["name"] for one in told["people"]] == ["小安", "阿白"]


def test_a_step_that_is_not_as_expected_says_why(box: Box, answering: Receiver) -> None:
    answering.answer = answering.words("抱歉，明天再来")
    told = play(box, HOURS)
    assert told["state"] == "failed"
    assert told["steps"][0]["why"] == ["没有说到“九点”", "不该说“抱歉”", "不该说“明天”"]
    assert told["steps"][1]["state"] == "passed"


def test_a_script_is_played_step_by_step(box: Box, answering: Receiver) -> None:
    told = play(box, HOURS, mode="step")
    assert answering.received == []
    first = box.control(f"/play/{told['id']}/step")
    assert [step["state"] for step in first["steps"]] == ["passed", "waiting", "waiting"]
    assert heard(answering) == ["几点关门"]
    assert box.control(f"/play/{told['id']}/rest")["state"] == "passed"
    assert box.look("/play")["plays"][-1]["done"] == 3
    box.control("/play/999", method="GET", expect=404)


def test_people_of_a_script_are_known_by_name_or_all_new(box: Box, answering: Receiver) -> None:
    first, again, fresh = play(box, HOURS), play(box, HOURS), play(box, HOURS, fresh=True)
    assert [one["openid"] for one in first["people"]] == [one["openid"] for one in again["people"]]
    assert not {one["openid"] for one in first["people"]} & {one["openid"] for one in fresh["people"]}


def test_every_deed_reaches_the_server(box: Box, answering: Receiver) -> None:
    scene = "door"
    box.code(scene)
    box.control("/codes", {"captions": {scene: "王记水果 · 收银台"}})
    box.post("/cgi-bin/menu/create", {"button": [{"type": "click", "name": "优惠", "key": "DEALS"}]})
    told = play(
        box,
        """
        steps = [
          { scan = "王记水果" }, { picture = true }, { voice = true }, { video = true },
          { location = { latitude = 23.1, longitude = 113.3, label = "南门" } },
          { link = { title = "茶", description = "", url = "https://example.com/" } },
          { tap = "优惠" }, { raw = { Event = "VIEW", EventKey = "https://example.com/" } },
          { fault = { match = { push = true }, do = { duplicate = 1 } } }, { say = "在吗" }, { wait = 0.05 },
        ]""",
    )
    assert told["state"] == "passed", told["steps"]
    kinds = [str(one.event.get("Event") or one.event["MsgType"]) for one in answering.received]
    assert kinds == ["subscribe", "image", "voice", "video", "location", "link", "CLICK", "VIEW", "text", "text"]
    assert answering.received[0].event["EventKey"] == "qrscene_door"
    assert answering.received[6].event["EventKey"] == "DEALS"


def test_the_clock_moves_within_a_script(box: Box, answering: Receiver) -> None:
    play(box, 'steps = [{ follow = true }, { later = "2h" }, { say = "在吗" }]')
    followed, wrote = (int(one.event["CreateTime"]) for one in answering.received)
    assert 7200 <= wrote - followed < 7300


def test_an_answer_may_come_by_itself_a_moment_later(box: Box, answering: Receiver) -> None:
    ann = box.person(name="小安", following=True)
    answering.answer = lambda _: b"success"
    box.control(
        "/play?wait=0", {"text": 'people = ["小安"]\nsteps = [{ say = "在吗", contains = "茶好了", within = 10 }]'}
    )
    eventually(lambda: answering.received)
    assert box.send_text(ann, "茶好了") == 0
    assert eventually(lambda: box.look("/play")["plays"][-1]["state"] != "playing")
    assert box.look("/play")["plays"][-1]["state"] == "passed"


def test_what_nobody_could_do_is_told_in_a_sentence(box: Box, answering: Receiver) -> None:
    told = play(box, 'people = ["小安"]\nsteps = [{ say = "在吗" }, { scan = "没有这个码" }]')
    assert [step["why"] for step in told["steps"]] == [["小安还没有关注公众号。"], ["这个二维码不是本公众号的二维码。"]]


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("steps = [", "这不是 TOML：到末尾还没有写完"),
        ("name = 'x'\n你好", "这不是 TOML：第 2 行看不懂"),
        ("name = 'x'", "steps"),
        ("steps = []", "1 到"),
        ("steps = [{ person = '安' }]", "正好有一件事"),
        ("steps = [{ say = 'a', tap = 'b' }]", "正好有一件事"),
        ("steps = [{ say = 'a', contians = 'b' }]", "不认识：contians"),
        ("steps = [{ say = 'a', silent = 'yes' }]", "silent 的类型不对"),
        ("steps = [{ say = 'a', contains = 3 }]", "contains"),
        ("steps = [{ wait = '2x' }]", "wait"),
        ("steps = [{ wait = '1d' }]", "later"),
        ("steps = [{ say = 3 }]", "看不懂 say"),
        ("steps = [{ fault = { do = { fly = 1 } } }]", "do has one of"),
        ("people = [{ nickname = '安' }]\nsteps = [{ follow = true }]", "name"),
        ("title = 'x'\nsteps = [{ follow = true }]", "不认识：title"),
        ('{"at": 0, "say": "在吗"}\n{"at": ', "第 2 行"),
    ],
)  # fmt: skip
def test_a_script_that_says_nothing_is_refused_in_a_sentence(source: str, why: str) -> None:
    with pytest.raises(BadScript, match=why):
        read(source)


def test_one_of_several_scripts_can_be_chosen(box: Box, answering: Receiver) -> None:
    both = "".join(f'[[conversation]]\nname = "{name}"\nsteps = [{{ follow = true }}]\n' for name in ("甲", "乙"))
    assert [one["name"] for one in box.control("/play", {"text": both})["plays"]] == ["甲", "乙"]
    assert [one["name"] for one in box.control("/play", {"text": both, "name": "乙"})["plays"]] == ["乙"]
    box.control("/play", {"text": both, "name": "丙"}, expect=404)


# Recordings


def test_a_recorded_day_is_played_again_on_another_platform(box: Box, answering: Receiver, start_box: StartBox) -> None:
    box.code("door")
    box.control("/codes", {"captions": {"door": "王记水果"}})
    ann, bai = box.person(name="安"), box.person(name="安", following=True)
    assert box.control("/recording", {"on": True})["on"]
    url = box.look("/codes")["codes"][0]["url"]
    box.act(ann, "scan", url=url)
    box.act(bai, "say", text="几点关门")
    box.act(ann, "say", type="image", image=base64.b64encode(picture()).decode())
    box.act(bai, "unfollow")
    file = box.http.get(f"{box.url}/sandbox/recording/file")
    assert "attachment" in file.headers["Content-Disposition"]
    head, *steps = (json.loads(line) for line in file.text.splitlines())
    assert [(one["name"], one["following"]) for one in head["people"]] == [("安", False), ("安 ·2", True)]
    assert steps[0]["at"] == 0
    assert steps[0]["scan"] == {"scene": "door", "caption": "王记水果"}
    assert "image" not in steps[2]["say"]
    before = [one.event.get("Event", one.event["MsgType"]) for one in answering.received]
    answering.received.clear()
    other = start_box(*QUICK, "--callback-url", answering.url, "--mode", "plain")
    # There the code has another name; what stands below it is the same.
    other.code("gate")
    other.control("/codes", {"captions": {"gate": "王记水果"}})
    told = play(other, file.text, speed=1000)
    assert told["state"] == "passed", told["steps"]
    assert "qrscene_gate" in [one.event.get("EventKey") for one in answering.received]
    after = [one.event.get("Event", one.event["MsgType"]) for one in answering.received]
    assert sorted(after) == sorted(before) == ["image", "subscribe", "text", "unsubscribe"]


def test_a_recording_keeps_its_rhythm_and_can_go_faster(box: Box, answering: Receiver) -> None:
    lines = [
        {"people": [{"name": "安", "following": True}, {"name": "白", "following": True}]},
        {"at": 0, "person": "安", "say": "一"},
        {"at": 40, "person": "白", "say": "二"},
        {"at": 80, "person": "安", "say": "三"},
    ]
    script = "\n".join(json.dumps(line, ensure_ascii=False) for line in lines)
    began = time.monotonic()
    play(box, script, speed=200)
    assert heard(answering) == ["一", "二", "三"]
    assert time.monotonic() - began >= 0.4
    first, *_, last = answering.received
    assert last.at - first.at >= 0.3


def test_a_recording_is_stopped_and_a_day_without_anybody_is_empty(box: Box, answering: Receiver) -> None:
    box.act(box.person(following=True), "say", text="之前")
    box.control("/recording", {"on": True})
    assert box.look("/recording")["on"]
    assert box.control("/recording", {"on": False})["on"] is False
    box.act(box.person(following=True), "say", text="之后")
    assert box.control("/recording", {"on": False})["on"] is False
    head, *steps = box.http.get(f"{box.url}/sandbox/recording/file").text.splitlines()
    assert (json.loads(head)["people"], steps) == ([], [])
    assert len(box.http.get(f"{box.url}/sandbox/recording/file", params={"day": "2001-01-01"}).text.splitlines()) == 1


# The platform's human service


def transfer(received: Received, more: str = "") -> bytes:
    words = clear_reply(str(received.event["FromUserName"]), "")
    return words.replace("text", "transfer_customer_service").replace("<Content><![CDATA[]]></Content>", more).encode()


def test_a_person_is_handed_over_and_taken_back(box: Box, answering: Receiver) -> None:
    ann = box.person(name="安", following=True)
    answering.answer = transfer
    reply = box.act(ann, "say", text="人工")["reply"]
    assert reply == {"type": "transfer_customer_service"}
    assert box.said(ann) == ["已转人工"]
    box.act(ann, "human", begins=True)
    assert answering.received[-1].event["Event"] == "kf_create_session"
    assert answering.received[-1].event["KfAccount"].startswith("kf2001@gh_")
    assert box.act(ann, "say", text="苹果坏了")["event"] is None
    assert box.act(ann, "human", begins=True, expect=409) == {"error": "安已经在和人工客服说话。"}
    box.act(ann, "human", begins=False)
    assert answering.received[-1].event["Event"] == "kf_close_session"
    box.act(ann, "say", text="在吗")
    assert heard(answering) == ["人工", "kf_create_session", "kf_close_session", "在吗"]
    assert box.said(ann) == ["已转人工", "人工客服接入了会话", "人工会话结束了", "已转人工"]


def test_a_clerk_who_forgets_somebody_loses_them(box: Box, answering: Receiver) -> None:
    ann = box.person(name="安", following=True)
    box.act(ann, "human", clerk="li@shop")
    box.clock(advance_seconds=1801)
    box.act(ann, "say", text="在吗")
    assert heard(answering) == ["kf_create_session", "在吗"]
    box.act(ann, "human", begins=False, expect=409)


@pytest.mark.parametrize(
    ("part", "verdict"),
    [
        ("<TransInfo><KfAccount><![CDATA[li@shop]]></KfAccount></TransInfo>", "ok"),
        ("<TransInfo><KfAccount><![CDATA[li]]></KfAccount></TransInfo>", "malformed"),
        ("<TransInfo></TransInfo>", "malformed"),
    ],
)
def test_a_named_clerk_is_looked_at(box: Box, answering: Receiver, part: str, verdict: str) -> None:
    answering.answer = lambda received: transfer(received, part)
    deliveries = box.act(box.person(following=True), "say", text="人工")["deliveries"]
    assert deliveries[0]["verdict"] == verdict


# Files


@pytest.mark.parametrize(("kind", "start"), [("voice", b"#!AMR\n"), ("image", b"\x89PNG")])
def test_what_people_send_can_be_fetched_for_three_days(box: Box, answering: Receiver, kind: str, start: bytes) -> None:
    box.act(box.person(following=True), "say", type=kind)
    media_id = answering.received[0].event["MediaId"]

    def fetch() -> bytes:
        query = {"access_token": box.token(), "media_id": media_id}
        return box.http.get(f"{box.url}/cgi-bin/media/get", params=query).content

    assert fetch().startswith(start)
    box.clock(advance_seconds=3 * 24 * 3600 - 60)
    assert fetch().startswith(start)
    box.clock(advance_seconds=61)
    assert json.loads(fetch())["errcode"] == 40007


def test_a_voice_is_the_one_that_was_given(box: Box, answering: Receiver) -> None:
    given = b"#!AMR\n" + b"\x3c" * 32
    box.act(box.person(following=True), "say", type="voice", voice=base64.b64encode(given).decode())
    query = {"access_token": box.token(), "media_id": answering.received[0].event["MediaId"]}
    assert box.http.get(f"{box.url}/cgi-bin/media/get", params=query).content == given
    box.act(box.person(following=True), "say", type="voice", voice="not base64!", expect=400)


def test_a_video_is_named_by_its_address(box: Box, answering: Receiver) -> None:
    box.act(box.person(following=True), "say", type="video")
    told = box.get("/cgi-bin/media/get", media_id=answering.received[0].event["MediaId"])
    assert box.http.get(told["video_url"]).headers["Content-Type"] == "video/mp4"
