"""Quotas: how much of today's is used, and starting over."""

from __future__ import annotations

from sandbox.api import dispatch
from sandbox.api.call import OK, Answer, Call, Endpoint, Refused, require
from sandbox.api.tokens import check_secret
from sandbox.platform import Platform


async def clear(call: Call) -> Answer:
    """POST /cgi-bin/clear_quota: all of today's counters, ten times a month."""
    fields = call.fields()
    app_id = fields.text("appid", missing=(40013, "invalid appid"))
    fields.done()
    require(app_id == call.platform.account.app_id, 40013, "invalid appid")
    return _clear_all(call.platform)


async def clear_with_secret(call: Call) -> Answer:
    """POST /cgi-bin/clear_quota/v2: the same without a token."""
    fields = call.fields()
    app_id = fields.text("appid", missing=(41002, "appid missing"))
    secret = fields.text("appsecret", missing=(41004, "appsecret missing"))
    fields.done()
    check_secret(call, app_id=app_id, secret=secret)
    return _clear_all(call.platform)


async def get(call: Call) -> Answer:
    """POST /cgi-bin/openapi/quota/get."""
    fields = call.fields()
    path = fields.text("cgi_path", missing=(76021, "cgi_path not found, please check"))
    fields.done()
    platform = call.platform
    limit, counted_as = _limit(platform, path)
    used = platform.state.counters.get(dispatch.day_counter(platform, counted_as)) or 0
    return {**OK, "quota": {"daily_limit": limit, "used": used, "remain": max(0, limit - used)}}


async def clear_one(call: Call) -> Answer:
    """POST /cgi-bin/openapi/quota/clear: one path's counter."""
    fields = call.fields()
    path = fields.text("cgi_path", missing=(76021, "cgi_path not found, please check"))
    fields.done()
    _, counted_as = _limit(call.platform, path)
    _use_one_clearing(call.platform)
    call.platform.state.counters.remove(dispatch.day_counter(call.platform, counted_as))
    return OK


def _limit(platform: Platform, path: str) -> tuple[int, str]:
    """The day's calls of a path, and the path under which they are counted."""
    endpoint = dispatch.discover().get(path)
    limit = dispatch.daily_limit(platform, endpoint) if endpoint else None
    if endpoint is None or limit is None:
        raise Refused(76021, "cgi_path not found, please check")
    return limit, endpoint.counted_as


def _clear_all(platform: Platform) -> Answer:
    _use_one_clearing(platform)
    for name in list(platform.state.counters.rows):
        if name.startswith("calls|"):
            platform.state.counters.remove(name)
    return OK


def _use_one_clearing(platform: Platform) -> None:
    name = f"clearings|{platform.clock.month()}"
    if (platform.state.counters.get(name) or 0) >= platform.account.limits.clear_quota_per_month:
        raise Refused(48006, "forbid to clear quota because of reaching the limit")
    platform.state.count(name)


endpoints = [
    Endpoint("POST", "/cgi-bin/clear_quota", clear),
    Endpoint("POST", "/cgi-bin/clear_quota/v2", clear_with_secret, needs_token=False),
    Endpoint("POST", "/cgi-bin/openapi/quota/get", get),
    Endpoint("POST", "/cgi-bin/openapi/quota/clear", clear_one),
]
