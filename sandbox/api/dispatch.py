"""Finds the endpoint of a request, guards it as the platform does, and writes down what happened."""

from __future__ import annotations

import asyncio
import functools
import importlib
import pkgutil
import secrets
import time
from dataclasses import dataclass

from aiohttp import web

from sandbox import api
from sandbox.api.call import Answer, Call, Endpoint, Refused, parse_body
from sandbox.jsontext import JsonObject, compact
from sandbox.log import without_secrets
from sandbox.platform import Platform

HTML = "<html><head><title>系统繁忙</title></head><body><h1>系统繁忙，请稍后再试</h1></body></html>"
CLIENTMSGID_EXISTS = 45065
LONGEST_LIST = 100


@dataclass
class _Exchange:
    """One call and its answer, for the log."""

    body: object = None
    answer: Answer | None = None
    is_accepted: bool = False


@functools.cache
def discover() -> dict[str, Endpoint]:
    """All endpoints of all modules of the api folder."""
    modules = [importlib.import_module(f"{api.__name__}.{info.name}") for info in pkgutil.iter_modules(api.__path__)]
    return {endpoint.path: endpoint for module in modules for endpoint in getattr(module, "endpoints", ())}


class Dispatcher:
    """Answers every request to the API hosts."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self.endpoints = discover()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """The answer to one request, faults included."""
        platform = self._platform
        came = time.monotonic()
        fault = platform.faults.take_api(request.path)
        if "latency_ms" in fault:
            if not request.content_type.startswith("multipart/"):
                # What has arrived is carried out, even if nobody is there any more to hear of it.
                await request.read()
            await asyncio.sleep(fault["latency_ms"] / 1000)
        if fault.get("revoke_token"):
            platform.state.revoke_tokens()
        exchange = _Exchange()
        response = _misbehaving(fault)
        if response is None:
            try:
                exchange.answer = await self._execute(request, fault, exchange)
                exchange.is_accepted = True
                if fault.get("accept") and isinstance(exchange.answer, dict):
                    refusal = Refused(fault["errcode"], _errmsg(fault))
                    exchange.answer = {**exchange.answer, **_error(refusal, platform.clock.now())}
            except Refused as refusal:
                exchange.answer = _error(refusal, platform.clock.now())
            response = _response(exchange.answer)
        platform.journal.flush()
        self._note(request, exchange, fault, response, lasted=time.monotonic() - came)
        if fault.get("lost_reply") and request.transport is not None:
            request.transport.abort()
        elif fault.get("truncate") and isinstance(response.body, bytes):
            response.body = response.body[: len(response.body) // 2]
        return response

    async def _execute(self, request: web.Request, fault: JsonObject, exchange: _Exchange) -> Answer:
        endpoint = self.endpoints.get(request.path)
        if endpoint is None:
            raise Refused(40066, "invalid url")
        call = Call(self._platform, request.query, b"", request.remote or "", fault=fault)
        if endpoint.is_upload and request.method == "POST":
            if not request.content_type.startswith("multipart/"):
                raise Refused(41005, "media data missing")
            try:
                call.form = await request.post()
            except ValueError as error:
                raise Refused(41005, "media data missing") from error
            exchange.body = {name: value if isinstance(value, str) else "(file)" for name, value in call.form.items()}
        elif request.body_exists:
            call.raw = await request.read()
            exchange.body = call.raw.decode(errors="replace")
        if "errcode" in fault and not fault.get("accept"):
            raise self._refusal(fault)
        if request.method != endpoint.method:
            raise (
                Refused(43001, "require GET method")
                if endpoint.method == "GET"
                else Refused(43002, "require POST method")
            )
        if endpoint.needs_token:
            self._check_token(call)
        self._count(endpoint)
        if endpoint.method == "POST" and not endpoint.is_upload:
            call.body = exchange.body = parse_body(call.raw)
        return await endpoint.handler(call)

    def _refusal(self, fault: JsonObject) -> Refused:
        """What a rule wants the call to be refused with."""
        if fault["errcode"] != CLIENTMSGID_EXISTS:
            return Refused(fault["errcode"], _errmsg(fault))
        msg_id = fault.get("msg_id", self._platform.state.latest_msg_id)
        return Refused(fault["errcode"], _errmsg(fault), msg_id=msg_id)

    def _check_token(self, call: Call) -> None:
        value = call.parameter("access_token", 41001, "access_token missing")
        token = self._platform.state.tokens.get(value)
        if token is None:
            if len(value) < 64 or not value.isascii():
                raise Refused(40014, "invalid access_token")
            raise Refused(40001, "invalid credential, access_token is invalid or not latest")
        if token.expires_at <= self._platform.clock.now():
            raise Refused(42001, "access_token expired")

    def _count(self, endpoint: Endpoint) -> None:
        """Count the call against its minute and its Beijing day; raises Refused beyond them."""
        platform, limits, path = self._platform, self._platform.account.limits, endpoint.counted_as
        per_minute = limits.per_minute.get(path, endpoint.per_minute)
        if per_minute is not None:
            minute = int(platform.clock.now() // 60)
            known, used = platform.minute_calls.get(path, (minute, 0))
            used = used if known == minute else 0
            if used >= per_minute:
                raise Refused(45011, "api minute-quota reach limit, must slower, retry next minute")
            platform.minute_calls[path] = (minute, used + 1)
        per_day = daily_limit(platform, endpoint)
        if per_day is not None:
            name = day_counter(platform, path)
            if (platform.state.counters.get(name) or 0) >= per_day:
                raise Refused(45009, "reach max api daily quota limit")
            platform.state.count(name)

    def _note(
        self, request: web.Request, exchange: _Exchange, fault: JsonObject, response: web.Response, *, lasted: float
    ) -> None:
        answer = exchange.answer if isinstance(exchange.answer, dict) else None
        facts: JsonObject = {"fault": fault} if fault else {}
        self._platform.log.add(
            "api",
            method=request.method,
            path=request.path,
            query=without_secrets(dict(request.query)),
            body=without_secrets(_shortened(exchange.body)),
            answer=without_secrets(answer) if answer is not None else None,
            status=response.status,
            ms=round(lasted * 1000, 1),
            errcode=answer.get("errcode", 0) if answer is not None else 0 if exchange.is_accepted else None,
            accepted=exchange.is_accepted,
            lost_reply=bool(fault.get("lost_reply")),
            **facts,
        )


def daily_limit(platform: Platform, endpoint: Endpoint) -> int | None:
    """How often the endpoint may be called a day; None: as often as one likes."""
    return platform.account.limits.per_day.get(endpoint.counted_as, endpoint.per_day)


def day_counter(platform: Platform, path: str) -> str:
    """The name of the counter of a path for today."""
    return f"calls|{platform.clock.day()}|{path}"


def _misbehaving(fault: JsonObject) -> web.Response | None:
    if "status" in fault:
        return web.Response(status=fault["status"], text=HTML, content_type="text/html")
    if fault.get("html"):
        return web.Response(text=HTML, content_type="text/html")
    return None


def _error(refusal: Refused, now: float) -> JsonObject:
    rid = f"{int(now):08x}-{secrets.randbits(32):08x}-{int(time.monotonic_ns()) & 0xFFFFFFFF:08x}"
    return {"errcode": refusal.errcode, "errmsg": f"{refusal.errmsg} rid: {rid}", **refusal.more}


def _errmsg(fault: JsonObject) -> str:
    return str(fault.get("errmsg", "clientmsgid exist" if fault["errcode"] == CLIENTMSGID_EXISTS else "system error"))


def _shortened(body: object) -> object:
    """The body with a number in place of thousands of recipients: the line of the mass send itself names them."""
    if not isinstance(body, dict) or not isinstance(body.get("touser"), list) or len(body["touser"]) <= LONGEST_LIST:
        return body
    return {**body, "touser": f"({len(body['touser'])} openids)"}


def _response(answer: Answer) -> web.Response:
    if isinstance(answer, web.Response):
        return answer
    return web.Response(body=compact(answer).encode(), headers={"Content-Type": "application/json; encoding=utf-8"})
