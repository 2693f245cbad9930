"""Web authorization: the consent page in the phone's browser."""

from __future__ import annotations

import base64
import hashlib
import html
import secrets
from urllib.parse import urlencode, urlsplit

from aiohttp import web

from sandbox.platform import Platform
from sandbox.state import Grant, Person

CODE_SECONDS = 300
SCOPES = ("snsapi_base", "snsapi_userinfo")
STATE_BYTES = 128
PERSON_COOKIE = "sandbox_person"


class AuthorizePages:
    """What opens in the phone's browser."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    def routes(self) -> list[web.RouteDef]:
        """Where the pages are."""
        return [
            web.get("/connect/oauth2/authorize", self.authorize),
            web.post("/connect/oauth2/authorize", self.decide),
        ]

    async def authorize(self, request: web.Request) -> web.Response:
        """Silent for snsapi_base; a consent page for snsapi_userinfo; who it is comes from the phone."""
        problem = self._problem(request)
        if problem is not None:
            return problem
        person = self._person(request)
        if person is None:
            return self._choose_person(request)
        if request.query["scope"] == "snsapi_base":
            return self._grant(request, person)
        return self._consent(request, person)

    async def decide(self, request: web.Request) -> web.Response:
        """The tap on 允许 or 拒绝."""
        problem = self._problem(request)
        if problem is not None:
            return problem
        form = await request.post()
        person = self._platform.state.people.get(str(form.get("openid", "")))
        if person is None:
            return _page("请重新打开页面", "<p>没有找到这个人。</p>", status=400)
        if form.get("decision") != "allow":
            return _page("已取消", "<p>你没有允许授权。</p>")
        return self._grant(request, person)

    def _problem(self, request: web.Request) -> web.Response | None:
        query, account = request.query, self._platform.account
        target = urlsplit(query.get("redirect_uri", ""))
        state = query.get("state", "")
        if query.get("appid") != account.app_id:
            return _page("无法打开", "<p>AppID 参数错误（10013）</p>", status=400)
        if target.scheme not in ("http", "https") or not target.hostname:
            return _page("无法打开", "<p>redirect_uri 参数错误（10003）</p>", status=400)
        if account.oauth_domain and account.oauth_domain not in (target.hostname, target.netloc):
            return _page("无法打开", "<p>redirect_uri 域名与后台配置不一致（10003）</p>", status=400)
        if query.get("response_type") != "code" or query.get("scope") not in SCOPES:
            return _page("无法打开", "<p>Scope 参数错误或没有 Scope 权限（10005）</p>", status=400)
        if len(state) > STATE_BYTES or not all(c.isascii() and c.isalnum() for c in state):
            return _page("无法打开", "<p>state 参数错误</p>", status=400)
        return None

    def _person(self, request: web.Request) -> Person | None:
        openid = request.query.get("sandbox_openid") or request.cookies.get(PERSON_COOKIE, "")
        return self._platform.state.people.get(openid)

    def _choose_person(self, request: web.Request) -> web.Response:
        links = "".join(
            f'<p><a class="button" href="{html.escape(str(request.rel_url.update_query(sandbox_openid=one.openid)))}">'
            f"{html.escape(one.name)}</a></p>"
            for one in list(self._platform.state.people.rows.values())[:50]
        )
        return _page("谁在用这部手机？", links or "<p>还没有人。先在手机页面上添加一个人。</p>")

    def _consent(self, request: web.Request, person: Person) -> web.Response:
        name = html.escape(self._platform.account.name)
        return _page(
            f"{name} 申请使用你的昵称和头像",
            f'<form method="post" action="{html.escape(str(request.rel_url))}">'
            f"<p>{html.escape(person.name)}</p>"
            f'<input type="hidden" name="openid" value="{html.escape(person.openid)}">'
            '<button class="button" name="decision" value="allow">允许</button> '
            '<button class="button plain" name="decision" value="refuse">拒绝</button></form>',
        )

    def _grant(self, request: web.Request, person: Person) -> web.Response:
        platform = self._platform
        code = secrets.token_urlsafe(24)[:32]
        openid = _snapshot_openid(platform, person) if person.snapshot else person.openid
        platform.state.oauth_codes.put(
            code,
            Grant(
                openid=openid,
                person=person.openid,
                scope=request.query["scope"],
                snapshot=person.snapshot,
                expires_at=platform.clock.now() + CODE_SECONDS,
            ),
        )
        platform.journal.flush()
        platform.log.add("action", action="authorize", openid=person.openid, scope=request.query["scope"])
        target, mark, anchor = request.query["redirect_uri"].partition("#")
        joint = "&" if "?" in target else "?"
        answer = urlencode({"code": code, "state": request.query.get("state", "")})
        return web.Response(status=302, headers={"Location": f"{target}{joint}{answer}{mark}{anchor}"})


def _snapshot_openid(platform: Platform, person: Person) -> str:
    """The virtual account behind which a snapshot page hides a person; always the same one."""
    prefix = platform.account.openid_prefix
    digest = hashlib.sha256(f"snapshot|{person.openid}".encode()).digest()
    openid = prefix + base64.urlsafe_b64encode(digest).decode()[: 28 - len(prefix)]
    platform.state.values.put(f"snapshot|{openid}", True)
    return openid


def _page(title: str, body: str, *, status: int = 200) -> web.Response:
    return web.Response(
        status=status,
        content_type="text/html",
        text=(
            '<!doctype html><html lang="zh-CN"><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{title}</title><style>body{{font:17px/1.6 system-ui,sans-serif;margin:3em auto;max-width:20em;"
            "padding:0 1em;text-align:center;color:#191919}.button{display:inline-block;min-width:8em;padding:.5em 1em;"
            "border:0;border-radius:8px;background:#06ad56;color:#fff;font:inherit;text-decoration:none}"
            f".plain{{background:#f2f2f2;color:#06723a}}</style><h1>{title}</h1>{body}</html>"
        ),
    )
