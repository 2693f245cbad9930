"""Scripted conversations: what several people do with their phones one after the other, and what they expect.

A script is TOML, or JSON lines with the same names; a recording is a script whose steps carry the time (`at`).

    name = "问几点关门"
    people = [{ name = "小安", following = true }]
    steps = [
      { person = "小安", say = "几点关门", contains = "九点", lacks = "抱歉" },
      { person = "小安", wait = 2 },
      { person = "小安", unfollow = true, silent = true },
    ]

Several in one file stand below `[[conversation]]`. Each step has one deed; who does it is who did the step before,
unless `person` names somebody else. What only the author of a script can judge stands in `outside`, which the sandbox
shows and leaves alone.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from typing import Any

from sandbox.faults import BadRule, parse_rule
from sandbox.jsontext import JsonObject, strict

SOMEBODY = "居民"
ACTIONS_OF: dict[str, str] = {
    "say": "say",
    "scan": "scan",
    "follow": "follow",
    "unfollow": "unfollow",
    "tap": "tap",
    "human": "human",
    "raw": "raw",
    "picture": "say",
    "voice": "say",
    "video": "say",
    "location": "say",
    "link": "say",
}
"""Deeds with a phone, and the action each is."""
KINDS = {"picture": "image", "voice": "voice", "video": "video", "location": "location", "link": "link"}
WAIT, LATER, FAULT = "wait", "later", "fault"
"""Wait in earnest; move the sandbox's clock; let something go wrong."""
DEEDS = (*ACTIONS_OF, WAIT, LATER, FAULT)
TEXTS = {"say": "text", "scan": "scene", "follow": "scene", "tap": "key", "picture": "image", "voice": "voice"}
"""What a plain text instead of an object means."""
EXPECTS = ("is", "contains", "lacks", "silent", "transferred", "type", "within")
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
LONGEST_WAIT = 600.0
MOST_STEPS = 50_000
MOST_SCRIPTS = 500


class BadScript(ValueError):
    """A script that says nothing the sandbox understands; the text is a sentence for people."""


@dataclass(frozen=True)
class Expected:
    """What the account should say to a step. None: whatever it likes."""

    exactly: str | None = None
    contains: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    silent: bool | None = None
    transferred: bool = False
    type: str | None = None
    within: float = 0.0
    """Seconds in which it may still come by a message of its own, besides the passive reply."""


@dataclass(frozen=True)
class Step:
    """One thing somebody does."""

    number: int
    person: str
    deed: str
    wish: JsonObject
    expected: Expected
    at: float | None = None
    outside: JsonObject = field(default_factory=dict)

    @property
    def action(self) -> str | None:
        """The action of a phone that this is, if it is one."""
        return ACTIONS_OF.get(self.deed)

    @property
    def seconds(self) -> float:
        """How long a wait is, or how far the clock is moved."""
        return float(self.wish["seconds"])


@dataclass(frozen=True)
class Actor:
    """Somebody who takes part; `openid` only in recordings."""

    name: str
    following: bool = False
    avatar: str = ""
    openid: str = ""


@dataclass(frozen=True)
class Script:
    """A conversation with its people."""

    name: str
    people: tuple[Actor, ...]
    steps: tuple[Step, ...]
    about: str = ""

    @property
    def is_timed(self) -> bool:
        """Whether its steps say when they happened."""
        return any(step.at is not None for step in self.steps)


def read(source: str) -> list[Script]:
    """The scripts in a text; raises BadScript."""
    if source.lstrip("\ufeff \t\r\n").startswith("{"):
        return [_script(_lines(source), 1)]
    try:
        tree = tomllib.loads(source)
    except tomllib.TOMLDecodeError as error:
        raise BadScript(f"这不是 TOML：{_where(error)}") from error
    many = tree.get("conversation")
    if many is None:
        return [_script(tree, 1)]
    if not isinstance(many, list) or not 0 < len(many) <= MOST_SCRIPTS:
        raise BadScript(f"[[conversation]] 要有 1 到 {MOST_SCRIPTS} 段。")
    return [_script(one, number) for number, one in enumerate(many, start=1)]


def _where(error: tomllib.TOMLDecodeError) -> str:
    """The parser says what is wrong in English; where it stopped is what its reader needs."""
    line = re.search(r"at line (\d+)", str(error))
    if line is None:
        return "到末尾还没有写完，请看引号和括号有没有合上。"
    return f"第 {line[1]} 行看不懂，请看等号、引号和括号。"


def _lines(source: str) -> JsonObject:
    """JSON lines: a head without a deed may come first, every other line is a step."""
    tree: JsonObject = {}
    steps: list[JsonObject] = []
    for number, line in enumerate(source.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            value = strict(line.lstrip("\ufeff"))
        except ValueError as error:
            raise BadScript(f"第 {number} 行不是 JSON。") from error
        if not isinstance(value, dict):
            raise BadScript(f"第 {number} 行要是一个 JSON 对象。")
        if not steps and not tree and not set(value) & set(DEEDS):
            tree = value
        else:
            steps.append(value)
    return {**tree, "steps": [*tree.get("steps", []), *steps]}


def _script(value: object, number: int) -> Script:
    where = f"第 {number} 段"
    if not isinstance(value, dict):
        raise BadScript(f"{where}要是一个表。")
    known = {"name", "about", "theme", "people", "steps"}
    if unknown := set(value) - known:
        raise BadScript(f"{where}里不认识：{'、'.join(sorted(unknown))}。认识的有 {'、'.join(sorted(known))}。")
    name = value.get("name", where)
    steps, people = value.get("steps"), value.get("people", [])
    if not isinstance(name, str) or not isinstance(steps, list) or not isinstance(people, list):
        raise BadScript(f"{where}要有 steps（一个列表），还可以有 name 和 people。")
    if not 0 < len(steps) <= MOST_STEPS:
        raise BadScript(f"“{name}”要有 1 到 {MOST_STEPS} 步。")
    actors = {actor.name: actor for actor in (_actor(one, name) for one in people)}
    who = next(iter(actors), SOMEBODY)
    read_steps: list[Step] = []
    for step_number, one in enumerate(steps, start=1):
        step = _step(one, step_number, who, f"“{name}”第 {step_number} 步")
        who = step.person
        actors.setdefault(who, Actor(who))
        read_steps.append(step)
    return Script(name, tuple(actors.values()), tuple(read_steps), str(value.get("about", "")))


def _actor(value: object, name: str) -> Actor:
    if isinstance(value, str):
        value = {"name": value}
    if not isinstance(value, dict) or set(value) - {"name", "following", "avatar", "openid"}:
        raise BadScript(f"“{name}”里的人有 name，还可以有 following、avatar、openid。")
    if (
        not isinstance(value.get("name"), str)
        or not value["name"]
        or not isinstance(value.get("following", False), bool)
    ):
        raise BadScript(f"“{name}”里的人要有名字，following 是 true 或 false。")
    return Actor(
        value["name"], value.get("following", False), str(value.get("avatar", "")), str(value.get("openid", ""))
    )


def _step(value: object, number: int, who: str, where: str) -> Step:
    if not isinstance(value, dict):
        raise BadScript(f"{where}要是一个表。")
    deeds = [name for name in DEEDS if name in value]
    if len(deeds) != 1:
        raise BadScript(f"{where}要正好有一件事，可以是 {'、'.join(DEEDS)}。")
    (deed,) = deeds
    if unknown := set(value) - {"person", "at", "outside", deed, *EXPECTS}:
        raise BadScript(f"{where}里不认识：{'、'.join(sorted(unknown))}。")
    person, at, outside = value.get("person", who), value.get("at"), value.get("outside", {})
    if not isinstance(person, str) or not person or not isinstance(outside, dict):
        raise BadScript(f"{where}：person 是一个名字，outside 是一个表。")
    if at is not None and (isinstance(at, bool) or not isinstance(at, int | float) or at < 0):
        raise BadScript(f"{where}：at 是从开头算起的秒数。")
    wish = _wish(deed, value[deed], where)
    return Step(number, person, deed, wish, _expected(value, where), at, outside)


def _wish(deed: str, value: Any, where: str) -> JsonObject:
    if deed in (WAIT, LATER):
        return {"seconds": _seconds(deed, value, where)}
    if deed == FAULT:
        try:
            parse_rule(value)
        except BadRule as error:
            raise BadScript(f"{where}：{error}") from error
        return dict(value)
    if isinstance(value, str) and value and deed in TEXTS:
        # Who scans by a text may mean a code's scene, its address, or what stands below it.
        by = "url" if deed in ("scan", "follow") and value.startswith("http") else TEXTS[deed]
        value = {by: value}
        if by == "scene":
            value["caption"] = value["scene"]
    elif value is True and deed not in ("say", "scan", "tap", "raw", "location", "link"):
        value = {}
    if not isinstance(value, dict):
        raise BadScript(f"{where}：看不懂 {deed} 的内容。")
    return {"type": KINDS[deed], **value} if deed in KINDS else dict(value)


def _seconds(deed: str, value: Any, where: str) -> float:
    if isinstance(value, str) and value[-1:] in UNITS and value[:-1].isdigit():
        value = int(value[:-1]) * UNITS[value[-1]]
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise BadScript(f"{where}：{deed} 是秒数，或者 30s、5m、2h、1d 这样的时间。")
    if deed == WAIT and value > LONGEST_WAIT:
        raise BadScript(f"{where}：最多真等 {LONGEST_WAIT:.0f} 秒；要快进请用 later。")
    return float(value)


def _expected(value: JsonObject, where: str) -> Expected:
    def texts(name: str) -> tuple[str, ...]:
        given = value.get(name, [])
        given = [given] if isinstance(given, str) else given
        if not isinstance(given, list) or not all(isinstance(one, str) and one for one in given):
            raise BadScript(f"{where}：{name} 是一段或几段文字。")
        return tuple(given)

    for name, kinds in (("is", str), ("silent", bool), ("transferred", bool), ("type", str), ("within", (int, float))):
        if name in value and (not isinstance(value[name], kinds) or (name == "within" and value[name] is True)):
            raise BadScript(f"{where}：{name} 的类型不对。")
    return Expected(
        exactly=value.get("is"),
        contains=texts("contains"),
        lacks=texts("lacks"),
        silent=value.get("silent"),
        transferred=value.get("transferred", False),
        type=value.get("type"),
        within=float(value.get("within", 0)),
    )
