"""Conversations as people hold them, each played on the sandbox's phones against the running system and judged.

They are data: `*.toml` beside this file, one theme each, in the words of `sandbox/scripts.py`. What the phone shows is
judged by the script's own expectations; `outside` says what only our side knows:

- `by`: who had the answer (`inbox_event.answered_by`), `rule`: the name of the rule it was,
- `talks_to`: whose conversation it is, "" for nobody's,
- `inbox`: the one merchant in whose inbox the message stands, "" for nobody's,
- `inboxes`: every merchant in whose inbox the writer has messages, and which,
- `tries`: how often the platform had to deliver the event.

Besides, whatever the script: each event is taken in exactly once and answered at most once.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import pytest

from sandbox.scripts import LATER, Script, read
from tests.conftest import Live, violations, wait_until
from tests.conversations.town import STALE_S, Town

HERE: Final = Path(__file__).parent
SCRIPTS: Final = {
    f"{path.stem}: {script.name}": (path, script)
    for path in sorted(HERE.glob("*.toml"))
    for script in read(path.read_text(encoding="utf-8"))
}
LEAST: Final = 60


@pytest.fixture(scope="module")
def town(live: Live) -> Iterator[Town]:
    yield Town.build(live)
    # Days pass in some conversations, and whoever left before them is forgotten by workers that take their time.
    wait_until(lambda: not violations(live.runtime.database), seconds=90, what="what the days that passed have owed")


class Stage:
    """One conversation, played step by step by people nobody has met before."""

    def __init__(self, town: Town, path: Path, script: Script) -> None:
        self.town = town
        self.script = script
        self.sandbox = town.live.sandbox
        self.log_began = self._last_line()
        self.taken_before = self._events_taken_in()
        wish = {"text": path.read_text(encoding="utf-8"), "name": script.name, "mode": "step", "fresh": True}
        (self.play,) = self.sandbox.post("/sandbox/play", **wish)["plays"]
        self.openids: list[str] = [one["openid"] for one in self.play["people"]]

    def _last_line(self) -> int:
        lines = self.sandbox.get("/sandbox/log", tail=1)
        return int(lines[-1]["n"]) if lines else 0

    def _events_taken_in(self) -> int:
        """Of everybody: nobody else acts meanwhile."""
        (row,) = self.town.rows("SELECT count(*) AS many FROM inbox_event WHERE source = 'event'")
        return int(row["many"])

    def run(self) -> None:
        for number, step in enumerate(self.script.steps):
            if step.deed == LATER:
                self.town.advance(timedelta(seconds=step.seconds))
            self.play = self.sandbox.post(f"/sandbox/play/{self.play['id']}/step")
            if step.deed == LATER:
                time.sleep(STALE_S)
            played = self.play["steps"][number]
            assert played["state"] == "passed", self._told(played)
            self._judge_outside(played)
        self._judge_events()

    def _told(self, played: dict[str, Any]) -> str:
        said = " / ".join(str(one.get("text") or one.get("title") or one["type"]) for one in played["said"])
        return f"step {played['n']} {played['wish']}: {played['why']}; said: {said!r}"

    # What our side knows

    def _judge_outside(self, played: dict[str, Any]) -> None:
        wanted: dict[str, Any] = played["outside"]
        known: dict[str, Any] = {"tries": len(played["verdicts"])}
        if set(wanted) - set(known):
            known |= self._kept(played["openid"])
        assert set(wanted) <= set(known), f"outside has {', '.join(known)}"
        assert {name: known[name] for name in wanted} == wanted, self._told(played)

    def _kept(self, openid: str) -> dict[str, Any]:
        row = self._newest(openid)
        messages = self.town.rows(
            "SELECT m.name, t.content, t.kind, t.inbox_id FROM talk_message t JOIN merchant m ON m.id = t.merchant_id"
            " JOIN talk k ON k.id = t.talk_id JOIN follower f ON f.id = k.follower_id"
            " WHERE f.openid = :openid AND t.direction = 'in' ORDER BY t.id",
            openid=openid,
        )
        inboxes: dict[str, list[str]] = {}
        for one in messages:
            inboxes.setdefault(one["name"], []).append(one["content"] or f"[{one['kind']}]")
        return {
            "by": row["answered_by"],
            "rule": row["rule"] or "",
            "talks_to": row["talks_to"] or "",
            "inbox": "、".join(sorted(one["name"] for one in messages if one["inbox_id"] == row["id"])),
            "inboxes": inboxes,
        }

    def _newest(self, openid: str) -> dict[str, Any]:
        (row,) = self.town.rows(
            "SELECT i.id, i.answered_by, r.name AS rule, m.name AS talks_to FROM inbox_event i"
            " JOIN follower f ON f.id = i.follower_id LEFT JOIN reply_rule r ON r.id = i.rule_id"
            " LEFT JOIN merchant m ON m.id = i.merchant_id"
            " WHERE f.openid = :openid ORDER BY i.id DESC LIMIT 1",
            openid=openid,
        )
        return row

    def _judge_events(self) -> None:
        lines = self.sandbox.get("/sandbox/log", after=self.log_began)
        pushed = [one for one in lines if one["kind"] == "push" and one["openid"] in self.openids]
        delivered = [one for one in pushed if "delivery" in one]
        events = {
            (one["openid"], one["event"], one["event_key"], one["msg_id"], one["create_time"]) for one in delivered
        }
        # What is not heard in time comes again; so does what an overloaded house asks to be told a moment later.
        heard = [one["verdict"] for one in delivered if one["status"] != HTTPStatus.SERVICE_UNAVAILABLE]
        assert set(heard) <= {"ok", "timeout"}
        assert self._events_taken_in() - self.taken_before == len(events), "each event is taken in exactly once"
        for openid in self.openids:
            chat = self.sandbox.get(f"/sandbox/people/{openid}/chat")["messages"]
            said = [one for one in chat if one["from"] == "account"]
            sent = [one for one in lines if one["kind"] == "api" and _is_message_to(one, openid)]
            answerable = [one for one in events if one[0] == openid]
            assert len(said) <= len(answerable) + len(sent), "each event is answered at most once"


def _is_message_to(line: dict[str, Any], openid: str) -> bool:
    body = line.get("body")
    return line["path"] == "/cgi-bin/message/custom/send" and isinstance(body, dict) and body.get("touser") == openid


def test_there_are_enough_conversations_and_none_is_there_twice() -> None:
    scripts = [script for path in sorted(HERE.glob("*.toml")) for script in read(path.read_text(encoding="utf-8"))]
    assert len(scripts) == len({script.name for script in scripts}) >= LEAST


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_conversation(town: Town, name: str) -> None:
    Stage(town, *SCRIPTS[name]).run()
