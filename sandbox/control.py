"""The control API: people and their phones, faults, the clock, the log.

Tests, scripts and the phone page use it; nothing that would face the real platform does.
"""

from __future__ import annotations

import asyncio
import functools
import html
from collections.abc import Awaitable, Callable
from dataclasses import asdict

from aiohttp import web

from sandbox import actions, mass, pictures
from sandbox.account import Mode
from sandbox.actions import Impossible
from sandbox.faults import BadRule, parse_rule
from sandbox.jsontext import JsonObject, compact, strict
from sandbox.platform import Platform
from sandbox.push import Outcome
from sandbox.state import ACCOUNT_NAME, Person, Trigger

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
PERSON_FIELDS: dict[str, type] = {
    "openid": str,
    "name": str,
    "avatar": str,
    "following": bool,
    "subscribe_time": int,
    "subscribe_scene": str,
    "qr_scene": int,
    "qr_scene_str": str,
    "snapshot": bool,
    "crowd": bool,
    "wrote": bool,
}
"""`wrote` opens a window for customer-service messages as a message of theirs just now would."""
MOST_LOG_LINES = 100_000
LOG_LINES = 10_000


class Control:
    """Every path below /sandbox/."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    def routes(self) -> list[web.RouteDef]:
        """Paths and what serves them."""
        person = r"/sandbox/people/{openid:[A-Za-z0-9_-]+}"
        table: list[tuple[str, str, Handler]] = [
            ("GET", "/sandbox/account", self.account),
            ("POST", "/sandbox/account", self.change_account),
            ("POST", "/sandbox/verify", self.verify),
            ("GET", "/sandbox/people", self.people),
            ("POST", "/sandbox/people", self.change_people),
            ("POST", person + "/{action:" + "|".join(actions.ACTIONS) + "}", self.act),
            ("GET", person + "/chat", self.chat),
            ("POST", person + "/read", self.read),
            ("GET", person + "/avatar.svg", self.avatar),
            ("GET", "/sandbox/menu", self.menu),
            ("GET", "/sandbox/codes", self.codes),
            ("POST", "/sandbox/codes", self.caption_codes),
            ("GET", "/sandbox/media/{media_id}", self.media),
            ("POST", "/sandbox/decode", self.decode),
            ("GET", "/sandbox/log", self.log),
            ("POST", "/sandbox/console-send", self.console_send),
            ("GET", "/sandbox/faults", self.faults),
            ("POST", "/sandbox/faults", self.change_faults),
            ("DELETE", "/sandbox/faults", self.clear_faults),
            ("POST", "/sandbox/clock", self.clock),
            ("POST", "/sandbox/reset", self.reset),
            ("*", "/sandbox/{path:.*}", self.unknown),
        ]
        return [web.route(method, path, in_sentences(handler)) for method, path, handler in table]

    async def unknown(self, request: web.Request) -> web.Response:
        """A path that does not exist."""
        raise Impossible(f"没有 {request.method} {request.path} 这个控制接口。", 404)

    # The account

    async def account(self, _: web.Request) -> web.Response:
        """Who the account is; no secrets."""
        return as_json(self._account())

    async def change_account(self, request: web.Request) -> web.Response:
        """Until the next start: callback_url, mode, ip_whitelist (null: switched off), oauth_domain; name for good."""
        wish = await wish_of(request)
        account = self._platform.account
        if set(wish) - {"name", "callback_url", "mode", "ip_whitelist", "oauth_domain"}:
            raise Impossible("能改的是 name、callback_url、mode、ip_whitelist、oauth_domain。", 400)
        if wish.get("mode", account.mode) not in set(Mode):
            raise Impossible("mode 是 plain、compatible 或 secure。", 400)
        for name, value in wish.items():
            setattr(account, name, Mode(value) if name == "mode" else value)
        if "name" in wish:
            self._platform.state.values.put(ACCOUNT_NAME, account.name)
            self._platform.journal.flush()
        self._platform.log.add("action", action="account", change=wish)
        return as_json(self._account())

    def _account(self) -> JsonObject:
        account, clock = self._platform.account, self._platform.clock
        return {
            "app_id": account.app_id,
            "original_id": account.original_id,
            "name": account.name,
            "callback_url": account.callback_url,
            "mode": account.mode,
            "public_url": account.public_url,
            "clock_offset_seconds": clock.offset,
            "now": clock.iso(),
        }

    async def verify(self, _: web.Request) -> web.Response:
        """Ask the developer's server to echo, as the console does when its address is saved."""
        return as_json({"ok": await self._platform.pusher.verify()})

    # People

    async def people(self, request: web.Request) -> web.Response:
        """Everybody with a phone; with `crowd=0` without the crowd."""
        journal = self._platform.journal
        has_crowd = request.query.get("crowd") != "0"
        everybody = self._platform.state.people.rows.values()
        people = [self._person(person) for person in everybody if has_crowd or not person.crowd]
        return _revalidated(request, f"{journal.epoch}-{journal.revision}", {"people": people})

    async def change_people(self, request: web.Request) -> web.Response:
        """Create or change people in silence: nothing is pushed."""
        wish = await wish_of(request)
        if "people" not in wish:
            person = self._change_person(wish)
            self._platform.journal.flush()
            self._platform.log.add("action", action="add", openid=person.openid)
            return as_json(self._person(person))
        if not isinstance(wish["people"], list):
            raise Impossible("people 是一个列表。", 400)
        people = [self._change_person(one) for one in wish["people"]]
        self._platform.journal.flush()
        self._platform.log.add("action", action="add", people=len(people))
        return as_json({"people": [self._person(person) for person in people]})

    def _change_person(self, wish: object) -> Person:
        if not isinstance(wish, dict) or set(wish) - set(PERSON_FIELDS):
            raise Impossible(f"一个人有 {'、'.join(PERSON_FIELDS)}。", 400)
        for name, value in wish.items():
            if type(value) is not PERSON_FIELDS[name]:
                raise Impossible(f"{name} 的类型不对。", 400)
        state = self._platform.state
        openid = wish.get("openid", "")
        if openid and (len(openid) != 28 or not openid.replace("-", "a").replace("_", "a").isalnum()):
            raise Impossible("openid 是 28 个字母、数字、- 或 _。", 400)
        person = state.people.get(openid) or state.new_person(openid=openid)
        if wish.get("following") is False and person.following:
            state.unfollow(person)
        if wish.get("following") and not person.following:
            state.follow(person, at=self._platform.clock.now(), code=None)
            if wish.get("qr_scene") or wish.get("qr_scene_str"):
                person.subscribe_scene = "ADD_SCENE_QR_CODE"
        for name, value in wish.items():
            if name != "wrote":
                setattr(person, name, value)
        if wish.get("wrote"):
            state.open_window(person, Trigger.MESSAGE)
        return state.people.put(person.openid, person)

    def _person(self, person: Person) -> JsonObject:
        return {
            "openid": person.openid,
            "name": person.name,
            "avatar": person.avatar,
            "following": person.following,
            "subscribe_time": person.subscribe_time,
            "qr_scene_str": person.qr_scene_str,
            "snapshot": person.snapshot,
            "crowd": person.crowd,
            "with_clerk": self._platform.state.is_with_clerk(person),
            "unread": self._platform.state.unread(person),
        }

    def _who(self, request: web.Request) -> Person:
        person = self._platform.state.people.get(request.match_info["openid"])
        if person is None:
            raise Impossible("没有这个人。", 404)
        return person

    async def act(self, request: web.Request) -> web.Response:
        """Do something with a person's phone; answers after the push unless ?wait=0."""
        action, person = request.match_info["action"], self._who(request)
        wish = await wish_of(request)
        push = actions.perform(self._platform, person, action, wish)
        if push is None:
            return as_json({"event": None, "deliveries": [], "reply": None})
        delivery = actions.deliver(self._platform, push)
        if request.query.get("wait") == "0":
            self._platform.in_background(delivery)
            return as_json({"event": push.event, "deliveries": [], "reply": None})
        # Whoever asked may hang up; the platform delivers all the same.
        return as_json(_outcome(await asyncio.shield(asyncio.ensure_future(delivery))))

    async def chat(self, request: web.Request) -> web.Response:
        """A person's conversation after message N."""
        person = self._who(request)
        chat = self._platform.state.chats.of(person.openid)
        after = number_in(request, "after", 0)
        is_typing = person.typing_until > self._platform.clock.now()
        return _revalidated(
            request,
            f"{self._platform.journal.epoch}-{after}-{chat.last}-{person.following:d}-{is_typing:d}",
            {
                "last": chat.last,
                "following": person.following,
                "typing": is_typing,
                "messages": [message for message in chat.messages if message["n"] > after],
            },
        )

    async def read(self, request: web.Request) -> web.Response:
        """The person has seen everything so far."""
        person = self._who(request)
        last = self._platform.state.chats.of(person.openid).last
        if person.read != last:
            person.read = last
            self._platform.state.people.put(person.openid, person)
            self._platform.journal.flush()
        return as_json(self._person(person))

    async def avatar(self, request: web.Request) -> web.Response:
        """A person's picture: an emoji, or the first character of the name on a colour."""
        person = self._who(request)
        is_colour = person.avatar.startswith("#") and person.avatar[1:].isalnum()
        colour, sign = (person.avatar, person.name[:1]) if is_colour else ("#ededed", person.avatar)
        return web.Response(
            content_type="image/svg+xml",
            text=(
                '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 132 132">'
                f'<rect width="132" height="132" fill="{html.escape(colour)}"/><text x="66" y="72" font-size="72" '
                f'text-anchor="middle" dominant-baseline="middle">{html.escape(sign)}</text></svg>'
            ),
        )

    # What the account has

    async def menu(self, _: web.Request) -> web.Response:
        """The account's menu, empty when there is none."""
        return as_json({"button": self._platform.state.values.get("menu") or []})

    async def codes(self, _: web.Request) -> web.Response:
        """Every code ever created."""
        codes = [
            {
                "scene": code.scene,
                "caption": self._platform.state.captions.get(code.scene) or "",
                "kind": "permanent" if code.permanent else "temporary",
                "ticket": code.ticket,
                "url": code.url,
                "expires_at": None if code.permanent else code.created_at + code.expire_seconds,
            }
            for code in self._platform.state.codes.rows.values()
        ]
        return as_json({"codes": codes})

    async def caption_codes(self, request: web.Request) -> web.Response:
        """Say below which codes hang where: {"captions": {scene: words}}. The platform itself does not know."""
        wish = await wish_of(request)
        captions = wish.get("captions")
        if not isinstance(captions, dict) or not all(isinstance(words, str) for words in captions.values()):
            raise Impossible("captions 是场景值到文字的对照。", 400)
        for scene, words in captions.items():
            self._platform.state.captions.put(scene, words)
        self._platform.journal.flush()
        return await self.codes(request)

    async def media(self, request: web.Request) -> web.Response:
        """An uploaded file, for the phone."""
        media = self._platform.media(request.match_info["media_id"])
        if media is None:
            raise Impossible("文件不存在或已过期。", 404)
        content = await asyncio.to_thread(self._platform.files.read, media.media_id)
        return web.Response(
            body=content, content_type=media.content_type, headers={"X-Content-Type-Options": "nosniff"}
        )

    async def decode(self, request: web.Request) -> web.Response:
        """What the QR code in a picture says."""
        content = await request.read()
        try:
            url = await asyncio.to_thread(pictures.decode, content)
        except pictures.CannotDecode as error:
            raise Impossible("这台机器没有安装识别二维码的组件 zxing-cpp。", 501) from error
        if url is None:
            raise Impossible("图片里没有找到二维码。", 422)
        return as_json({"url": url})

    # What tests steer

    async def log(self, request: web.Request) -> web.Response:
        """The platform's diary after line N, as JSON lines; with `tail`, of a long one only the last so many."""
        after = number_in(request, "after", 0)
        limit = min(number_in(request, "limit", LOG_LINES), MOST_LOG_LINES)
        self._platform.log.flush()
        if "tail" in request.query:
            after = max(after, self._platform.log.last - number_in(request, "tail", 0))
        lines = await asyncio.to_thread(self._platform.log.read, after=after, limit=limit)
        return web.Response(body=lines, content_type="application/x-ndjson", charset="utf-8")

    async def console_send(self, request: web.Request) -> web.Response:
        """A mass send by hand at mp.weixin.qq.com, to these people or, without openids, to every follower."""
        wish = await wish_of(request)
        text, openids = wish.get("text"), wish.get("openids")
        people = self._platform.state.people.rows
        if set(wish) - {"text", "openids"} or not isinstance(text, str) or not text:
            raise Impossible("群发要有 text，还可以有 openids。", 400)
        if openids is None:
            openids = [person.openid for person in people.values() if person.following]
        if not isinstance(openids, list) or not all(isinstance(one, str) and one in people for one in openids):
            raise Impossible("openids 是认识的人的列表，或者 null。", 400)
        job = mass.send_by_hand(self._platform, [people[one] for one in dict.fromkeys(openids)], text)
        self._platform.journal.flush()
        return as_json({"msg_id": job.msg_id, "total": job.total, "filtered": job.filtered})

    async def faults(self, _: web.Request) -> web.Response:
        """The rules in force."""
        return as_json(self._platform.faults.as_json())

    async def change_faults(self, request: web.Request) -> web.Response:
        """Put rules after those in force, with mode "prepend" before them, or with "replace" in their place."""
        wish = await wish_of(request)
        mode = wish.get("mode", "append")
        if mode not in ("replace", "append", "prepend") or not isinstance(wish.get("rules"), list):
            raise Impossible("rules 是一个列表，mode 是 replace、append 或 prepend。", 400)
        try:
            rules = [parse_rule(value) for value in wish["rules"]]
        except BadRule as error:
            raise Impossible(str(error), 400) from error
        faults = self._platform.faults
        ways = {"replace": rules, "append": faults.rules + rules, "prepend": rules + faults.rules}
        faults.rules = ways[mode]
        self._platform.log.add("fault", mode=mode, rules=wish["rules"])
        return as_json(faults.as_json())

    async def clear_faults(self, _: web.Request) -> web.Response:
        """Behave again."""
        self._platform.faults.rules.clear()
        self._platform.log.add("fault", mode="clear", rules=[])
        return as_json(self._platform.faults.as_json())

    async def clock(self, request: web.Request) -> web.Response:
        """Move the sandbox's time."""
        wish = await wish_of(request)
        value = wish.get("advance_seconds", wish.get("offset_seconds"))
        if len(wish) != 1 or isinstance(value, bool) or not isinstance(value, int | float):
            raise Impossible("要么给 advance_seconds，要么给 offset_seconds。", 400)
        clock = self._platform.clock
        clock.set_offset(clock.offset + value if "advance_seconds" in wish else value)
        self._platform.journal.flush()
        self._platform.log.add("clock", offset_seconds=clock.offset)
        return as_json({"clock_offset_seconds": clock.offset, "now": clock.iso()})

    async def reset(self, request: web.Request) -> web.Response:
        """Start over with an empty platform; the account's credentials stay."""
        wish = await wish_of(request)
        if wish.get("keep_account", True) is not True:
            raise Impossible("重置总是保留账号；要换账号，请换一个目录启动。", 400)
        self._platform.reset()
        self._platform.log.add("action", action="reset")
        return as_json(self._account())


def in_sentences(handler: Handler) -> Handler:
    """Turn what is impossible into {"error": a sentence}."""

    @functools.wraps(handler)
    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except Impossible as error:
            return as_json({"error": str(error)}, status=error.status)

    return answer


def _outcome(outcome: Outcome) -> JsonObject:
    return {
        "event": outcome.event,
        "deliveries": [asdict(delivery) for delivery in outcome.deliveries],
        "reply": outcome.reply,
    }


async def wish_of(request: web.Request) -> JsonObject:
    """The JSON object that came with a request; raises Impossible."""
    raw = await request.read()
    try:
        value = strict(raw) if raw else {}
    except ValueError as error:
        raise Impossible("请求不是 JSON。", 400) from error
    if not isinstance(value, dict):
        raise Impossible("请求要是一个 JSON 对象。", 400)
    return value


def number_in(request: web.Request, name: str, default: int) -> int:
    """A number of the query; raises Impossible."""
    text = request.query.get(name, str(default))
    if not text.isdigit():
        raise Impossible(f"{name} 是一个数。", 400)
    return int(text)


def as_json(value: object, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """An answer as every control path gives it."""
    return web.Response(
        status=status, body=compact(value).encode(), content_type="application/json", charset="utf-8", headers=headers
    )


def _revalidated(request: web.Request, tag: str, value: object) -> web.Response:
    """The value, or 304 when the caller has it already."""
    headers = {"ETag": f'"{tag}"', "Cache-Control": "no-cache"}
    if request.headers.get("If-None-Match") == headers["ETag"]:
        return web.Response(status=304, headers=headers)
    return as_json(value, headers=headers)
