"""Web authorization on the API host: codes for tokens, tokens for names."""

from __future__ import annotations

import secrets

from sandbox.api.call import OK, Answer, Call, Endpoint, Refused, one_of, require
from sandbox.api.tokens import check_secret
from sandbox.jsontext import JsonObject
from sandbox.platform import Platform
from sandbox.state import Grant

ACCESS_SECONDS = 7200
REFRESH_SECONDS = 30 * 24 * 3600
PER_MINUTE = 50_000


async def access_token(call: Call) -> Answer:
    """GET /sns/oauth2/access_token: a code, once, for tokens."""
    state, now = call.platform.state, call.platform.clock.now()
    app_id = call.parameter("appid", 41002, "appid missing")
    check_secret(call, app_id=app_id, secret=call.parameter("secret", 41004, "appsecret missing"))
    one_of(call.query.get("grant_type", ""), ("authorization_code",), 40002, "invalid grant_type")
    code = call.parameter("code", 41008, "missing code")
    grant = state.oauth_codes.get(code)
    if grant is None:
        raise Refused(40029, "invalid code")
    require(not grant.used, 40163, "code been used")
    require(grant.expires_at > now, 42003, "code expired")
    grant.used = True
    state.oauth_codes.put(code, grant)
    return _tokens(call.platform, grant, refresh_token=_issue(call.platform, grant, "refresh", REFRESH_SECONDS))


async def refresh_token(call: Call) -> Answer:
    """GET /sns/oauth2/refresh_token: a fresh access token within 30 days."""
    require(call.query.get("appid") == call.platform.account.app_id, 40013, "invalid appid")
    one_of(call.query.get("grant_type", ""), ("refresh_token",), 40002, "invalid grant_type")
    value = call.parameter("refresh_token", 41003, "missing refresh_token")
    grant = call.platform.state.oauth_tokens.get(f"refresh|{value}")
    if grant is None:
        raise Refused(40030, "invalid refresh_token")
    require(grant.expires_at > call.platform.clock.now(), 42002, "refresh_token expired")
    return _tokens(call.platform, grant, refresh_token=value)


async def user_info(call: Call) -> Answer:
    """GET /sns/userinfo: name and picture, with consent."""
    grant = _grant_of(call)
    require(grant.scope == "snsapi_userinfo", 48001, "api unauthorized")
    person = call.platform.state.people.get(grant.person)
    name = "微信用户" if grant.snapshot or person is None else person.name
    picture = "" if grant.snapshot else f"{call.platform.account.public_url}/sandbox/people/{grant.openid}/avatar.svg"
    withdrawn: JsonObject = {"sex": 0, "language": "", "city": "", "province": "", "country": ""}
    return {"openid": grant.openid, "nickname": name, **withdrawn, "headimgurl": picture, "privilege": []}


async def check(call: Call) -> Answer:
    """GET /sns/auth: whether the token still works."""
    _grant_of(call)
    return OK


def _grant_of(call: Call) -> Grant:
    value = call.parameter("access_token", 41001, "access_token missing")
    openid = call.parameter("openid", 41009, "missing openid")
    grant = call.platform.state.oauth_tokens.get(f"access|{value}")
    if grant is None:
        raise Refused(40001, "invalid credential, access_token is invalid or not latest")
    require(grant.expires_at > call.platform.clock.now(), 42001, "access_token expired")
    require(grant.openid == openid, 40003, "invalid openid")
    return grant


def _tokens(platform: Platform, grant: Grant, *, refresh_token: str) -> Answer:
    answer: JsonObject = {
        "access_token": _issue(platform, grant, "access", ACCESS_SECONDS),
        "expires_in": ACCESS_SECONDS,
        "refresh_token": refresh_token,
        "openid": grant.openid,
        "scope": grant.scope,
    }
    return {**answer, "is_snapshotuser": 1} if grant.snapshot else answer


def _issue(platform: Platform, grant: Grant, kind: str, seconds: int) -> str:
    value = f"{80 + int(platform.clock.now()) % 20}_{secrets.token_urlsafe(72)}"
    platform.state.oauth_tokens.put(
        f"{kind}|{value}",
        Grant(
            openid=grant.openid,
            person=grant.person,
            scope=grant.scope,
            snapshot=grant.snapshot,
            expires_at=platform.clock.now() + seconds,
        ),
    )
    return value


endpoints = [
    Endpoint("GET", "/sns/oauth2/access_token", access_token, per_minute=PER_MINUTE, needs_token=False),
    Endpoint("GET", "/sns/oauth2/refresh_token", refresh_token, per_minute=PER_MINUTE, needs_token=False),
    Endpoint("GET", "/sns/userinfo", user_info, per_minute=PER_MINUTE, needs_token=False),
    Endpoint("GET", "/sns/auth", check, per_minute=PER_MINUTE, needs_token=False),
]
