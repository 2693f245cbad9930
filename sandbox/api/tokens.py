"""Access tokens, classic and stable, and the JS-SDK ticket."""

from __future__ import annotations

import secrets

from sandbox.api.call import OK, Answer, Call, Endpoint, Refused, one_of, require
from sandbox.platform import Platform
from sandbox.state import Token, TokenFamily

LIFETIME = 7200
OVERLAP = 300  # an old classic token works this long beside the new one; a stable one is renewed this early
FORCE_PAUSE = 30


async def classic(call: Call) -> Answer:
    """GET /cgi-bin/token: every call gives a new token."""
    one_of(call.query.get("grant_type", ""), ("client_credential",), 40002, "invalid grant_type")
    check_secret(
        call,
        app_id=call.parameter("appid", 41002, "appid missing"),
        secret=call.parameter("secret", 41004, "appsecret missing"),
    )
    state, now = call.platform.state, call.platform.clock.now()
    for old in _of(call.platform, TokenFamily.CLASSIC):
        old.expires_at = min(old.expires_at, now + OVERLAP)
        state.tokens.put(old.value, old)
    return _answer(_issue(call.platform, TokenFamily.CLASSIC), now)


async def stable(call: Call) -> Answer:
    """POST /cgi-bin/stable_token: the same token while it is good, unless a new one is forced."""
    fields = call.fields()
    one_of(
        fields.text("grant_type", missing=(40002, "invalid grant_type")),
        ("client_credential",),
        40002,
        "invalid grant_type",
    )
    app_id = fields.text("appid", missing=(41002, "appid missing"))
    secret = fields.text("secret", missing=(41004, "appsecret missing"))
    is_forced = fields.flag("force_refresh", default=False)
    fields.done()
    check_secret(call, app_id=app_id, secret=secret)
    platform, now = call.platform, call.platform.clock.now()
    current = max(_of(platform, TokenFamily.STABLE), key=lambda token: token.issued_at, default=None)
    if is_forced:
        _count_forced(platform)
        # Forcing again within the pause changes nothing: the token of the last time is given once more.
        if current is None or now - float(platform.state.values.get("forced_at") or 0) >= FORCE_PAUSE:
            for old in _of(platform, TokenFamily.STABLE):
                platform.state.tokens.remove(old.value)
            platform.state.values.put("forced_at", now)
            current = None
    if current is None or current.expires_at - now < OVERLAP:
        current = _issue(platform, TokenFamily.STABLE)
    return _answer(current, now)


async def ticket(call: Call) -> Answer:
    """GET /cgi-bin/ticket/getticket: what page signatures are made with."""
    kind = one_of(call.query.get("type", ""), ("jsapi", "wx_card"), 40097, "invalid args")
    state, now = call.platform.state, call.platform.clock.now()
    known = state.values.get(f"ticket|{kind}")
    if not known or known["expires_at"] <= now:
        value = secrets.token_urlsafe(64)
        known = state.values.put(f"ticket|{kind}", {"value": value, "expires_at": now + LIFETIME})
    return {**OK, "ticket": known["value"], "expires_in": int(known["expires_at"] - now)}


def check_secret(call: Call, *, app_id: str, secret: str) -> None:
    """Let only the account's developer through, and only from a listed address."""
    account = call.platform.account
    require(app_id == account.app_id, 40013, "invalid appid")
    require(secrets.compare_digest(secret.encode(), account.app_secret.encode()), 40125, "invalid appsecret")
    if account.ip_whitelist is not None and call.remote not in account.ip_whitelist:
        raise Refused(40164, f"invalid ip {call.remote} ipv6 ::ffff:{call.remote}, not in whitelist")


def _of(platform: Platform, family: TokenFamily) -> list[Token]:
    """Tokens of a family that still work; long dead ones are forgotten on the way."""
    now = platform.clock.now()
    for token in list(platform.state.tokens.rows.values()):
        if token.expires_at < now - 24 * 3600:
            platform.state.tokens.remove(token.value)
    return [token for token in platform.state.tokens.rows.values() if token.family == family and token.expires_at > now]


def _issue(platform: Platform, family: TokenFamily) -> Token:
    now = platform.clock.now()
    value = f"{80 + int(now) % 20}_{secrets.token_urlsafe(100)}"
    return platform.state.tokens.put(value, Token(value=value, family=family, expires_at=now + LIFETIME, issued_at=now))


def _count_forced(platform: Platform) -> None:
    name = f"forced|{platform.clock.day()}"
    if (platform.state.counters.get(name) or 0) >= platform.account.limits.force_refresh_per_day:
        raise Refused(45009, "reach max api daily quota limit")
    platform.state.count(name)


def _answer(token: Token, now: float) -> Answer:
    return {"access_token": token.value, "expires_in": round(token.expires_at - now)}


endpoints = [
    Endpoint("GET", "/cgi-bin/token", classic, per_day=2000, needs_token=False),
    Endpoint("POST", "/cgi-bin/stable_token", stable, per_day=500_000, per_minute=10_000, needs_token=False),
    Endpoint("GET", "/cgi-bin/ticket/getticket", ticket, per_day=1_000_000),
]
