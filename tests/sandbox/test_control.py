"""Faults of the API, the clock, the log, the phone's paths, and what survives a kill."""

import asyncio
import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

from sandbox import account
from sandbox.account import Limits
from sandbox.clock import Clock
from sandbox.journal import BrokenJournal, Journal, Table

from .conftest import PROJECT, QUICK, Box, Receiver, StartBox

PATH = "/cgi-bin/getcallbackip"


# Faults


def test_an_error_for_the_next_calls(box: Box) -> None:
    box.fault({"errcode": -1, "errmsg": "system busy"}, times=2, path=PATH)
    answers = [box.get(PATH) for _ in range(3)]
    assert [answer.get("errcode") for answer in answers] == [-1, -1, None]
    assert answers[0]["errmsg"].startswith("system busy rid: ")
    assert box.look("/faults") == {"rules": []}


def test_a_fault_without_end_lasts_until_cleared(box: Box) -> None:
    box.fault({"errcode": 45009}, times=None, path=PATH)
    assert {box.get(PATH)["errcode"] for _ in range(5)} == {45009}
    assert box.look("/faults")["rules"][0]["fired"] == 5
    box.control("/faults", method="DELETE")
    assert "ip_list" in box.get(PATH)


def test_a_call_that_is_carried_out_although_its_answer_is_lost(box: Box) -> None:
    ann = box.person(following=True)
    box.act(ann, "say", text="在吗")
    box.fault({"lost_reply": True}, path="/cgi-bin/message/custom/send")
    with pytest.raises(requests.ConnectionError):
        box.send_text(ann, "茶好了")
    assert box.said(ann) == ["茶好了"]
    (line,) = [line for line in box.log("api") if line["lost_reply"]]
    assert (line["accepted"], line["errcode"]) == (True, 0)


def test_a_call_whose_caller_dies_meanwhile_is_carried_out(box: Box) -> None:
    ann, send = box.person(following=True), "/cgi-bin/message/custom/send"
    box.act(ann, "say", text="在吗")
    box.fault({"latency_ms": 400}, path=send)
    message = json.dumps({"touser": ann, "msgtype": "text", "text": {"content": "茶好了"}}, ensure_ascii=False)
    with pytest.raises(requests.ReadTimeout):
        requests.post(box.url + send, params={"access_token": box.token()}, data=message.encode(), timeout=0.1)
    deadline = time.monotonic() + 10
    while box.said(ann) != ["茶好了"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    calls = [line for line in box.log("api") if line["path"] == send and isinstance(line["body"], dict)]
    (line,) = [line for line in calls if line["body"].get("touser") == ann]
    assert line["accepted"]
    assert line["ms"] >= 400


def test_html_status_truncation_and_latency(box: Box) -> None:
    query = {"access_token": box.token()}
    for deed in ({"html": True}, {"status": 502}, {"truncate": True}, {"latency_ms": 120}):
        box.fault(deed, path=PATH)
    html, bad_gateway, truncated = (box.http.get(box.url + PATH, params=query) for _ in range(3))
    assert html.status_code == 200
    assert html.text.startswith("<html>")
    assert bad_gateway.status_code == 502
    with pytest.raises(json.JSONDecodeError):
        json.loads(truncated.text)
    began = time.monotonic()
    assert "ip_list" in box.http.get(box.url + PATH, params=query).json()
    assert time.monotonic() - began >= 0.12


def test_a_revoked_token(box: Box) -> None:
    token = box.token()
    box.fault({"revoke_token": True}, path=PATH)
    assert box.http.get(box.url + PATH, params={"access_token": token}).json()["errcode"] == 40001
    assert box.token() != token


def test_rules_are_appended_or_replaced(box: Box) -> None:
    rule = {"match": {"path": PATH}, "next": 1, "do": {"html": True}}
    box.control("/faults", {"rules": [rule]})
    assert len(box.control("/faults", {"rules": [rule], "mode": "append"})["rules"]) == 2
    first = {**rule, "next": 7}
    assert [one["next"] for one in box.control("/faults", {"rules": [first], "mode": "prepend"})["rules"]] == [7, 1, 1]
    assert len(box.control("/faults", {"rules": [rule], "mode": "replace"})["rules"]) == 1
    bad: object
    for bad in ({"do": {"dance": True}}, {"match": {"moon": 1}, "do": {"html": True}}, {"do": {}}, 7):
        assert "error" in box.control("/faults", {"rules": [bad]}, expect=400)


# Clock, log, phone


def test_the_clock(box: Box) -> None:
    box.clock(advance_seconds=3600)
    box.clock(advance_seconds=60)
    assert box.look("/account")["clock_offset_seconds"] == 3660
    box.clock(offset_seconds=-100)
    assert box.look("/account")["clock_offset_seconds"] == -100
    box.control("/clock", {"advance_seconds": "soon"}, expect=400)


def test_the_log_counts_on_and_keeps_secrets(box: Box) -> None:
    start = box.log("action")[-1]["n"]
    token = box.token()
    for _ in range(600):
        box.http.get(f"{box.url}{PATH}", params={"access_token": token})
    response = box.http.get(f"{box.url}/sandbox/log", params={"after": start, "limit": 3})
    assert response.headers["Content-Type"].startswith("application/x-ndjson")
    assert [json.loads(line)["n"] for line in response.text.splitlines()] == [start + 1, start + 2, start + 3]
    tail = box.http.get(f"{box.url}/sandbox/log", params={"after": 1, "tail": 2}).text.splitlines()
    assert [json.loads(line)["n"] for line in tail] == [start + 600, start + 601]
    lines = box.log("api", start)
    assert [line["n"] for line in lines] == list(range(start + 1, start + 1 + len(lines)))
    whole = box.http.get(f"{box.url}/sandbox/log").text
    assert token not in whole
    assert lines[0]["body"]["secret"] == "…"


def test_the_log_tells_what_was_pushed(box: Box, receiver: Receiver) -> None:
    box.control("/account", {"callback_url": receiver.url})
    ann = box.person(following=True)
    start = box.log("action")[-1]["n"]
    box.act(ann, "tap", key="COUPONS")
    (line,) = box.log("push", start)
    assert (line["openid"], line["event"], line["event_key"]) == (ann, "CLICK", "COUPONS")
    assert (line["delivery"], line["mode"], line["status"], line["verdict"]) == (1, "secure", 200, "ok")


def test_the_chat_is_revalidated(box: Box) -> None:
    ann = box.person(following=True)
    box.act(ann, "say", text="在吗")
    box.send_text(ann, "在的")
    url = f"{box.url}/sandbox/people/{ann}/chat"
    first = box.http.get(url)
    assert (first.json()["last"], first.json()["following"]) == (2, True)
    tag = {"If-None-Match": first.headers["ETag"]}
    assert box.http.get(url, headers=tag).status_code == 304
    assert [message["n"] for message in box.http.get(url, params={"after": 1}).json()["messages"]] == [2]
    people = {person["openid"]: person["unread"] for person in box.look("/people")["people"]}
    assert people[ann] == 1
    assert box.control(f"/people/{ann}/read")["unread"] == 0


def test_the_account_shows_no_secrets(box: Box) -> None:
    text = json.dumps(box.look("/account"))
    for secret in ("fanQrToken2024", "0123456789abcdef0123456789abcdef", "MDEyMz"):
        assert secret not in text


def test_a_list_of_people_without_the_crowd(box: Box) -> None:
    ann = box.person(name="安")
    box.person(name="路人", crowd=True)
    assert [person["name"] for person in box.look("/people")["people"]] == ["安", "路人"]
    url = f"{box.url}/sandbox/people?crowd=0"
    first = box.http.get(url)
    assert [person["openid"] for person in first.json()["people"]] == [ann]
    assert box.http.get(url, headers={"If-None-Match": first.headers["ETag"]}).status_code == 304


def test_codes_say_where_they_hang(box: Box) -> None:
    box.code("door")
    box.code("desk")
    box.control("/codes", {"captions": {"door": "山茶小筑 门口"}})
    assert {code["scene"]: code["caption"] for code in box.look("/codes")["codes"]} == {
        "door": "山茶小筑 门口",
        "desk": "",
    }
    assert "error" in box.control("/codes", {"captions": {"door": 7}}, expect=400)


def test_control_paths_explain_themselves(box: Box) -> None:
    assert "error" in box.control("/nowhere", expect=404)
    assert "error" in box.control("/people", {"height": 180}, expect=400)
    assert "error" in box.control("/people", {"openid": "short"}, expect=400)
    assert box.http.post(f"{box.url}/sandbox/clock", data="{").status_code == 400


# What survives


def test_everything_survives_a_kill_and_a_torn_line(start_box: StartBox, tmp_path: Path, receiver: Receiver) -> None:
    box = start_box(*QUICK, "--callback-url", receiver.url)
    code, ann = box.code("door"), box.person(name="安", crowd=True)
    box.control("/codes", {"captions": {"door": "门口"}})
    box.control("/account", {"name": "桂花里生活圈"})
    box.act(ann, "scan", scene="door")
    box.send_text(ann, "欢迎")
    token = box.token()
    image = box.upload("/cgi-bin/media/upload", "a.gif", b"GIF89a", type="image")["media_id"]
    box.clock(advance_seconds=10)
    before = {path: box.look(path) for path in ("/people", "/codes", f"/people/{ann}/chat")}
    last = box.log("clock")[-1]["n"]
    box.stop(signal.SIGKILL)
    with (tmp_path / "journal.jsonl").open("ab") as journal:
        journal.write(b'["people","o123",{"openid":"o1')
    with (tmp_path / "log.jsonl").open("ab") as log:
        log.write(b'{"n":99999')
    box.start()
    assert {path: box.look(path) for path in before} == before
    assert box.look("/account")["clock_offset_seconds"] == 10
    assert box.look("/account")["name"] == "桂花里生活圈"
    assert box.token() == token
    assert box.send_text(ann) == 0
    assert box.send_text(ann) == 0
    assert box.send_text(ann) == 45047, "the window remembers what was spent before the kill"
    assert box.http.get(f"{box.url}/sandbox/media/{image}").content == b"GIF89a"
    assert box.code("door")["url"] == code["url"]
    assert box.log("api", last)[0]["n"] == last + 1


def test_a_reset_empties_the_platform(box: Box) -> None:
    box.code("door")
    box.act(box.person(), "follow")
    box.clock(advance_seconds=10)
    box.control("/reset", {"keep_account": True})
    assert box.look("/people") == {"people": []}
    assert box.look("/codes") == {"codes": []}
    assert box.look("/account")["clock_offset_seconds"] == 0


def test_sigterm_ends_quickly_although_a_push_is_open(start_box: StartBox, receiver: Receiver) -> None:
    def late(_: object) -> bytes:
        time.sleep(1.5)
        return b"success"

    receiver.answer = late
    box = start_box("--callback-url", receiver.url)
    ann = box.person(following=True)
    box.control(f"/people/{ann}/say?wait=0", {"text": "在吗"})
    began = time.monotonic()
    box.process.terminate()
    assert box.process.wait(3) == 0
    assert time.monotonic() - began < 1.2
    box.start()
    assert [message["text"] for message in box.chat(ann)] == ["在吗"]


def test_credentials_are_made_once_and_kept(tmp_path: Path) -> None:
    first = account.identity(tmp_path, {})
    assert account.identity(tmp_path, {}) == first
    assert len(first["aes_key"]) == 43
    assert first["original_id"].startswith("gh_")
    assert stat.S_IMODE(os.stat(tmp_path / "account.json").st_mode) == 0o600
    given = account.identity(tmp_path, {"app_id": "wx1"})
    assert given == first | {"app_id": "wx1"}


def test_a_home_serves_one_process(box: Box) -> None:
    second = subprocess.run(
        [sys.executable, "-m", "sandbox", "--port", "0", "--home", str(box.home)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert second.returncode == 1
    assert "already runs" in second.stderr


@pytest.mark.parametrize("assignment", ["moon=1", "user_page", "user_page=many", "per_day=3"])
def test_bad_limits_are_refused(assignment: str) -> None:
    with pytest.raises(ValueError, match="limit"):
        Limits().set(assignment)


def test_compaction_keeps_what_changes_meanwhile(tmp_path: Path) -> None:
    async def scenario() -> None:
        journal = Journal(tmp_path / "journal.jsonl")
        table = Table(journal, "numbers", int)
        Clock(journal)
        journal.open()
        for turn in range(3):
            for number in range(2000):
                table.put(str(number), number * turn)
        compacting = asyncio.ensure_future(journal.compact())
        while not compacting.done():
            await asyncio.sleep(0)
            table.put("0", table.rows["0"] + 1)
            table.put("1999", table.rows["1999"] + 1)
            table.remove("1000")
        table.put("new", 7)
        journal.close()
        expected = dict(table.rows)
        again = Journal(tmp_path / "journal.jsonl")
        restored = Table(again, "numbers", int)
        again.open()
        assert restored.rows == expected
        assert (tmp_path / "journal.jsonl").read_bytes().count(b"\n") < 2100

    asyncio.run(scenario())


def test_damage_in_the_middle_is_not_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'["numbers","1",1]\nnonsense\n["numbers","2",2]\n')
    journal = Journal(path)
    Table(journal, "numbers", int)
    with pytest.raises(BrokenJournal, match="line 2"):
        journal.open()
