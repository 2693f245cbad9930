"""A recording: what people did with their phones between two moments, as a script that can be played again.

It is read from the log, where every action stands with its time; so a day can be recorded after it is over.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from sandbox.clock import BEIJING_SECONDS
from sandbox.jsontext import JsonObject, compact
from sandbox.log import Log
from sandbox.scripts import ACTIONS_OF
from sandbox.state import State

PAGE = 10_000
HELD_BEFORE = frozenset({"unsubscribe", "SCAN", "CLICK", "VIEW"})
"""Whoever does this first had followed before."""


def excerpt(log: Log, *, after: int, until: int | None = None, day: str | None = None) -> list[JsonObject]:
    """What stands in the log after line `after`, to line `until`, or of one Beijing day; flush() first.

    May run in a thread.
    """
    found = (line for line in _after(log, after) if day is None or _day(line["at"]) == day)
    return [line for line in found if until is None or line["n"] <= until]


def steps(found: list[JsonObject], state: State) -> list[JsonObject]:
    """Head and steps of a recording."""
    acted = [line for line in found if line["kind"] == "action" and line["action"] in ACTIONS_OF]
    acted = [line for line in acted if state.people.get(line["openid"]) is not None]
    if not acted:
        return [{"name": "空的录像", "people": []}]
    began = _moment(acted[0]["at"])
    names = _names(state, (line["openid"] for line in acted))
    followed = _followed_before(found)
    people = [
        {
            "name": name,
            "openid": openid,
            "avatar": state.people.rows[openid].avatar,
            "following": followed.get(openid, state.people.rows[openid].following),
        }
        for openid, name in names.items()
    ]
    head: JsonObject = {"name": f"{acted[0]['at'][:10]} 的录像", "people": people}
    return [head, *(_step(line, names, state, began) for line in acted)]


def as_file(recorded: Iterable[JsonObject]) -> str:
    """JSON lines, as `scripts.read` takes them."""
    return "".join(compact(line) + "\n" for line in recorded)


def _after(log: Log, after: int) -> Iterator[JsonObject]:
    while True:
        page = [json.loads(line) for line in log.read(after=after, limit=PAGE).splitlines()]
        yield from page
        if len(page) < PAGE:
            return
        after = page[-1]["n"]


def _day(at: str) -> str:
    return (datetime.fromisoformat(at) + timedelta(seconds=BEIJING_SECONDS)).date().isoformat()


def _moment(at: str) -> float:
    return datetime.fromisoformat(at).timestamp()


def _names(state: State, openids: Iterable[str]) -> dict[str, str]:
    """Names by openid; of two with one name the second gets a number, since steps go by names."""
    names: dict[str, str] = {}
    for openid in openids:
        if openid not in names:
            name = state.people.rows[openid].name
            taken = sum(one == name or one.startswith(f"{name} ·") for one in names.values())
            names[openid] = name if not taken else f"{name} ·{taken + 1}"
    return names


def _followed_before(found: list[JsonObject]) -> dict[str, bool]:
    """Who followed when the recording begins, as their first push tells."""
    known: dict[str, bool] = {}
    for line in found:
        if line["kind"] == "push" and line["openid"] not in known:
            event = line.get("event")
            if event == "subscribe" or event in HELD_BEFORE or line.get("msg_type") != "event":
                known[line["openid"]] = event != "subscribe"
    return known


def _step(line: JsonObject, names: dict[str, str], state: State, began: float) -> JsonObject:
    wish: JsonObject = dict(line["wish"])
    if line["action"] in ("scan", "follow"):
        wish = _portable(wish, state)
    return {
        "at": round(_moment(line["at"]) - began, 3),
        "person": names[line["openid"]],
        line["action"]: wish or (True if line["action"] in ("follow", "unfollow", "human") else {}),
    }


def _portable(wish: JsonObject, state: State) -> JsonObject:
    """Another platform knows neither tickets nor addresses, perhaps not the scene; the words below the code it may."""
    known = {name: str(wish[name]) for name in ("scene", "ticket", "url") if wish.get(name)}
    code = state.codes.find(**known) if known else None
    if code is None:
        return wish
    rest = {name: value for name, value in wish.items() if name not in ("ticket", "url")}
    return {**rest, "scene": code.scene, "caption": state.captions.get(code.scene) or ""}
