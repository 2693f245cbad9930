"""Control paths for scripted conversations, and for recording a day and playing it again."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

from aiohttp import web

from sandbox import recording
from sandbox.actions import Impossible
from sandbox.control import Handler, as_json, in_sentences, number_in, wish_of
from sandbox.jsontext import JsonObject
from sandbox.platform import Platform
from sandbox.player import Play, Stage
from sandbox.scripts import BadScript, Script, read

RECORDING = "recording"  # in `values`: since which line of the log, and since when
FASTEST = 100_000


class Theatre:
    """Every path that has to do with scripts."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._stage = Stage(platform)

    def routes(self) -> list[web.RouteDef]:
        """Paths and what serves them."""
        play = r"/sandbox/play/{id:\d+}"
        table: list[tuple[str, str, Handler]] = [
            ("POST", "/sandbox/scripts", self.scripts),
            ("GET", "/sandbox/play", self.plays),
            ("POST", "/sandbox/play", self.play),
            ("GET", play, self.course),
            ("POST", play + "/{how:step|rest|stop}", self.go_on),
            ("GET", "/sandbox/recording", self.recording),
            ("POST", "/sandbox/recording", self.record),
            ("GET", "/sandbox/recording/file", self.file),
        ]
        return [web.route(method, path, in_sentences(handler)) for method, path, handler in table]

    async def scripts(self, request: web.Request) -> web.Response:
        """What is in a `text` of scripts, or why it is none; nobody is cast."""
        try:
            found = read(str((await wish_of(request)).get("text", "")))
        except BadScript as error:
            return as_json({"scripts": [], "why": str(error)})
        return as_json(
            {
                "scripts": [
                    {"name": one.name, "about": one.about, "steps": len(one.steps), "timed": one.is_timed}
                    for one in found
                ]
            }
        )

    async def plays(self, _: web.Request) -> web.Response:
        """Every play of late, without its steps."""
        return as_json({"plays": [play.as_json(steps=False) for play in self._stage.plays.values()]})

    async def play(self, request: web.Request) -> web.Response:
        """Put the scripts of `text` on, all or the one called `name`; with `mode` "all" play them at once.

        `fresh`: everybody is somebody new. `speed`: how many times as fast as recorded; null: without the pauses.
        Answers when all is over, with `?wait=0` at once.
        """
        wish = await wish_of(request)
        if set(wish) - {"text", "name", "mode", "fresh", "speed"} or not isinstance(wish.get("text"), str):
            raise Impossible("要有 text（剧本），还可以有 name、mode、fresh、speed。", 400)
        mode, fresh, speed = wish.get("mode", "all"), wish.get("fresh", False), wish.get("speed", 1)
        if mode not in ("all", "step") or not isinstance(fresh, bool):
            raise Impossible("mode 是 all 或 step，fresh 是 true 或 false。", 400)
        if speed is not None and (
            isinstance(speed, bool) or not isinstance(speed, int | float) or not 0 < speed <= FASTEST
        ):
            raise Impossible(f"speed 是 1 到 {FASTEST} 的倍数，或者 null（不等）。", 400)
        plays = [self._stage.put_on(one, fresh=fresh, speed=speed) for one in _chosen(wish["text"], wish.get("name"))]
        self._platform.log.add("play", scripts=[play.script.name for play in plays], mode=mode, speed=speed)
        if mode == "all":
            await self._wait(request, _all_of(plays))
        return as_json({"plays": [play.as_json() for play in plays]})

    async def course(self, request: web.Request) -> web.Response:
        """How far a play is, step by step."""
        return as_json(self._play(request).as_json())

    async def go_on(self, request: web.Request) -> web.Response:
        """Play the next step or the rest, or stop after what has begun."""
        play, how = self._play(request), request.match_info["how"]
        if how == "stop":
            play.stop()
        else:
            await self._wait(request, play.step() if how == "step" else play.rest())
        return as_json(play.as_json())

    async def _wait(self, request: web.Request, playing: Coroutine[object, None, None]) -> None:
        # Whoever asked may hang up; the play goes on all the same.
        task = asyncio.ensure_future(playing)
        self._platform.in_background(_finish(task))
        if request.query.get("wait") != "0":
            await asyncio.shield(task)

    def _play(self, request: web.Request) -> Play:
        play = self._stage.plays.get(int(request.match_info["id"]))
        if play is None:
            raise Impossible("没有这一场。", 404)
        return play

    # Recording

    async def recording(self, _: web.Request) -> web.Response:
        """Whether somebody records, and since when."""
        return as_json(self._recording())

    async def record(self, request: web.Request) -> web.Response:
        """Begin to record ({"on": true}), or end."""
        wish = await wish_of(request)
        if not isinstance(wish.get("on"), bool) or len(wish) != 1:
            raise Impossible("on 是 true 或 false。", 400)
        platform, known = self._platform, self._recording()
        platform.log.flush()
        if wish["on"]:
            known = {"on": True, "after": platform.log.last, "until": None, "since": platform.clock.iso()}
        elif known["on"]:
            known = {**known, "on": False, "until": platform.log.last}
        platform.state.values.put(RECORDING, known)
        platform.journal.flush()
        return as_json(known)

    def _recording(self) -> JsonObject:
        return self._platform.state.values.get(RECORDING) or {
            "on": False,
            "after": None,
            "until": None,
            "since": None,
        }

    async def file(self, request: web.Request) -> web.Response:
        """What people did while it was recorded, since line `after` of the log, or on a Beijing `day`."""
        platform, day = self._platform, request.query.get("day")
        known = self._recording()
        after = 0 if day else number_in(request, "after", known["after"] or 0)
        until = None if day or "after" in request.query else known["until"]
        platform.log.flush()
        found = await asyncio.to_thread(recording.excerpt, platform.log, after=after, until=until, day=day)
        name = f"recording-{day or platform.clock.day()}.jsonl"
        return web.Response(
            body=recording.as_file(recording.steps(found, platform.state)).encode(),
            content_type="application/x-ndjson",
            charset="utf-8",
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )


def _chosen(text: str, name: object) -> list[Script]:
    try:
        scripts = read(text)
    except BadScript as error:
        raise Impossible(str(error), 400) from error
    if name is not None:
        scripts = [one for one in scripts if one.name == name]
        if not scripts:
            raise Impossible(f"剧本里没有“{name}”这一段。", 404)
    return scripts


async def _all_of(plays: list[Play]) -> None:
    for play in plays:
        await play.rest()


async def _finish(task: asyncio.Future[None]) -> None:
    await task
