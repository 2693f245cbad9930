"""Plays scripts: step by step, at once, or with the times of a recording, faster or slower."""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import dataclass, field
from enum import StrEnum

from sandbox import actions
from sandbox.actions import Impossible
from sandbox.faults import parse_rule
from sandbox.jsontext import JsonObject
from sandbox.platform import Platform
from sandbox.push import Outcome, Verdict
from sandbox.scripts import FAULT, LATER, WAIT, Expected, Script, Step
from sandbox.state import Person

KEPT = 200
"""Plays whose course can still be read."""
LOOK_AGAIN_SECONDS = 0.1
VERDICTS = {Verdict.TIMEOUT: "超时", Verdict.MALFORMED: "答得不对", Verdict.REFUSED: "被拒"}


class State(StrEnum):
    """How far a step, or a whole play, is."""

    WAITING = "waiting"
    PLAYING = "playing"
    PASSED = "passed"
    FAILED = "failed"


@dataclass
class Course:
    """What became of a step."""

    state: State = State.WAITING
    said: list[JsonObject] = field(default_factory=list)
    """What the account said to it."""
    why: list[str] = field(default_factory=list)
    """What was not as expected."""
    outcome: Outcome | None = None
    ms: int = 0
    after: int = 0
    """The number of the chat's last message before the step."""


class Play:
    """One script on the stage."""

    def __init__(self, number: int, platform: Platform, script: Script, *, fresh: bool, speed: float | None) -> None:
        self.id = number
        self.script = script
        self.courses = [Course() for _ in script.steps]
        self._platform = platform
        self._speed = speed
        self._next = 0
        self._turn = asyncio.Lock()
        self._is_stopped = False
        self.cast = {actor.name: self._person(actor.name, actor.openid, actor.following, actor.avatar, fresh)
                     for actor in script.people}  # fmt: skip

    def _person(self, name: str, openid: str, following: bool, avatar: str, fresh: bool) -> str:
        """Who plays somebody: the one with that openid, else, unless new people are wanted, with that name."""
        state = self._platform.state
        person = None if fresh else state.people.get(openid)
        if person is None and not fresh:
            person = next((one for one in state.people.rows.values() if one.name == name and not one.crowd), None)
        if person is None:
            person = state.new_person(name=name, avatar=avatar)
            if following:
                state.follow(person, at=self._platform.clock.now(), code=None)
        self._platform.journal.flush()
        return person.openid

    # How far it is

    @property
    def state(self) -> State:
        """The play's, by that of its steps."""
        states = {course.state for course in self.courses}
        if State.PLAYING in states or (self._turn.locked() and State.WAITING in states):
            return State.PLAYING
        if State.WAITING in states:
            return State.WAITING
        return State.FAILED if State.FAILED in states else State.PASSED

    def as_json(self, *, steps: bool = True) -> JsonObject:
        """The play as the control API shows it."""
        told: JsonObject = {
            "id": self.id,
            "name": self.script.name,
            "about": self.script.about,
            "state": self.state,
            "timed": self.script.is_timed,
            "done": sum(course.state in (State.PASSED, State.FAILED) for course in self.courses),
            "failed": sum(course.state is State.FAILED for course in self.courses),
            "total": len(self.courses),
            "people": [{"name": name, "openid": openid} for name, openid in self.cast.items()],
        }
        if steps:
            told["steps"] = [
                {
                    "n": step.number,
                    "person": step.person,
                    "openid": self.cast[step.person],
                    "deed": step.deed,
                    "wish": step.wish,
                    "at": step.at,
                    "outside": step.outside,
                    "state": course.state,
                    "said": course.said,
                    "why": course.why,
                    "ms": course.ms,
                    "event": course.outcome.event if course.outcome else None,
                    "verdicts": [one.verdict for one in course.outcome.deliveries] if course.outcome else [],
                }
                for step, course in zip(self.script.steps, self.courses, strict=True)
            ]
        return told

    # Playing

    def stop(self) -> None:
        """Whatever has begun is finished; nothing more begins."""
        self._is_stopped = True

    async def step(self) -> None:
        """Play the next step, if there is one."""
        async with self._turn:
            if self._next < len(self.courses):
                number, self._next = self._next, self._next + 1
                await self._play(number)

    async def rest(self) -> None:
        """Play all that is left: in the rhythm of the recording where it is one, else one step after the other."""
        self._is_stopped = False
        if self.script.is_timed and self._speed:
            await self._in_rhythm(self._speed)
            return
        while self._next < len(self.courses) and not self._is_stopped:
            await self.step()

    async def _in_rhythm(self, speed: float) -> None:
        """Nobody waits for somebody else's answer; one person's steps stay in order."""
        async with self._turn:
            first = self.script.steps[self._next].at or 0.0 if self._next < len(self.courses) else 0.0
            began, due = time.monotonic(), 0.0
            latest: dict[str, asyncio.Task[None]] = {}
            while self._next < len(self.courses) and not self._is_stopped:
                number, self._next = self._next, self._next + 1
                step = self.script.steps[number]
                due = max(due, ((step.at or 0.0) - first) / speed) if step.at is not None else due
                await asyncio.sleep(max(0.0, began + due - time.monotonic()))
                before = latest.get(step.person)
                latest[step.person] = asyncio.ensure_future(self._after(before, number))
            await asyncio.gather(*latest.values())

    async def _after(self, before: asyncio.Task[None] | None, number: int) -> None:
        if before is not None:
            await before
        await self._play(number)

    async def _play(self, number: int) -> None:
        step, course = self.script.steps[number], self.courses[number]
        course.state, began = State.PLAYING, time.monotonic()
        try:
            await self._do(step, course)
        except Impossible as error:
            course.why.append(str(error))
        course.ms = round((time.monotonic() - began) * 1000)
        course.state = State.FAILED if course.why else State.PASSED

    async def _do(self, step: Step, course: Course) -> None:
        platform = self._platform
        if step.deed == WAIT:
            await asyncio.sleep(step.seconds / (self._speed or 1.0))
        elif step.deed == LATER:
            platform.clock.set_offset(platform.clock.offset + step.seconds)
            platform.journal.flush()
            platform.log.add("clock", offset_seconds=platform.clock.offset)
        elif step.deed == FAULT:
            platform.faults.rules.append(parse_rule(step.wish))
            platform.log.add("fault", mode="append", rules=[step.wish])
        elif step.action is not None:
            person = platform.state.people.get(self.cast[step.person])
            if person is None:
                raise Impossible(f"{step.person}已经不在沙盒里了。")
            await self._act(person, step, step.action, course)

    async def _act(self, person: Person, step: Step, action: str, course: Course) -> None:
        course.after = self._platform.state.chats.of(person.openid).last
        wish = _tapped(self._platform, step.wish) if action == "tap" else step.wish
        push = actions.perform(self._platform, person, action, wish)
        if push is not None:
            course.outcome = await actions.deliver(self._platform, push)
            last = course.outcome.deliveries[-1:]
            course.why.extend(f"公众号没有答上来：{VERDICTS[one.verdict]}" for one in last if one.verdict in VERDICTS)
        patience = time.monotonic() + step.expected.within
        while True:
            course.said = self._said(person, course)
            unmet = judge(step.expected, course.said)
            if not unmet or time.monotonic() >= patience:
                break
            await asyncio.sleep(LOOK_AGAIN_SECONDS)
        course.why.extend(unmet)

    def _said(self, person: Person, course: Course) -> list[JsonObject]:
        """What reached the phone since the step began, besides what the person did."""
        messages = self._platform.state.chats.of(person.openid).messages
        return [message for message in messages if message["n"] > course.after and message["from"] != "person"]


def _tapped(platform: Platform, wish: JsonObject) -> JsonObject:
    """A button may be named by what stands on it."""
    key = wish.get("key")
    for button in platform.state.values.get("menu") or []:
        for one in [button, *button.get("sub_button", [])]:
            if key and one["name"] == key and one.get("type") == "click":
                return {**wish, "key": one["key"]}
            if key and one["name"] == key and one.get("type") == "view":
                return {**wish, "event": "VIEW", "key": one["url"]}
    return wish


def words_of(message: JsonObject) -> str:
    """Everything that can be read in a message."""
    articles = message.get("articles") or []
    parts = [message.get(name, "") for name in ("text", "title", "description", "head_content", "tail_content")]
    parts += [article.get(name, "") for article in articles[1:] for name in ("title", "description")]
    parts += [item.get("content", "") for item in message.get("list") or []]
    return "\n".join(part for part in parts if part)


def judge(expected: Expected, said: list[JsonObject]) -> list[str]:
    """What is not as expected, in sentences; empty when all is."""
    words = "\n".join(words_of(message) for message in said)
    unmet = [f"没有说到“{one}”" for one in expected.contains if one not in words]
    unmet += [f"不该说“{one}”" for one in expected.lacks if one in words]
    if expected.exactly is not None and words != expected.exactly:
        unmet.append(f"应该正好说“{expected.exactly}”")
    if expected.silent is True and said:
        unmet.append("不该有回复")
    if expected.silent is False and not said:
        unmet.append("应该有回复")
    if expected.transferred and not any(message.get("transferred") for message in said):
        unmet.append("应该转人工")
    if expected.type is not None and not any(message["type"] == expected.type for message in said):
        unmet.append(f"应该回一条 {expected.type}")
    return unmet


class Stage:
    """The plays of this platform, newest last."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._numbers = itertools.count(1)
        self.plays: dict[int, Play] = {}

    def put_on(self, script: Script, *, fresh: bool, speed: float | None) -> Play:
        """Cast a script; nothing is played yet."""
        play = Play(next(self._numbers), self._platform, script, fresh=fresh, speed=speed)
        self.plays[play.id] = play
        for old in list(self.plays)[:-KEPT]:
            del self.plays[old]
        return play
