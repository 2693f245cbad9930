"""Who is looking at a page: the two steps of WeChat's web authorization (OAuth2)."""

import re
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import quote

from pydantic import SecretStr

from core.settings import Settings
from wechat.errors import OutcomeUnknown, SignInAgain
from wechat.limits import STATE_PATTERN
from wechat.transport import Transport

PATH: Final = "sns/oauth2/access_token"
_CODE = re.compile(r"[A-Za-z0-9_-]{1,512}")
_OPENID = re.compile(r"[A-Za-z0-9_-]{1,64}")

Scope = Literal["snsapi_base", "snsapi_userinfo"]


class ImproperIdentity(OutcomeUnknown):
    """WeChat answered, and what it answered names nobody."""


@dataclass(frozen=True)
class OAuthIdentity:
    """Who came back from WeChat. A snapshot user is a made-up identity: show pages, write nothing (AU-2)."""

    openid: str
    unionid: str | None
    snapshot: bool


class OAuth:
    """Sends visitors to WeChat and learns who they are when they return. The tokens of this are not kept."""

    def __init__(self, *, app_id: str, app_secret: SecretStr, open_url: str, transport: Transport) -> None:
        self._app_id = app_id
        self._app_secret = app_secret
        self._open_url = open_url.rstrip("/")
        self._transport = transport

    @classmethod
    def build(cls, settings: Settings) -> "OAuth":
        """OAuth of the account in the settings."""
        return cls(
            app_id=settings.wechat_app_id,
            app_secret=settings.wechat_app_secret,
            open_url=settings.wechat_open_url,
            transport=Transport(api_url=settings.wechat_api_url, mp_url=settings.wechat_mp_url),
        )

    def authorize_url(self, redirect_uri: str, state: str, scope: Scope = "snsapi_base") -> str:
        """Where to send the visitor. The order of parameters is the documented one, since it matters in practice."""
        if re.fullmatch(STATE_PATTERN, state) is None:
            raise ValueError("a state is 1 to 128 letters or digits; anything else gets mangled on the way")
        return (
            f"{self._open_url}/connect/oauth2/authorize?appid={quote(self._app_id, safe='')}"
            f"&redirect_uri={quote(redirect_uri, safe='')}&response_type=code&scope={scope}&state={state}"
            "#wechat_redirect"
        )

    def exchange(self, code: str) -> OAuthIdentity:
        """Who the code stands for. Codes work once: after `OutcomeUnknown`, too, the visitor has to sign in again."""
        if _CODE.fullmatch(code) is None or code == "authdeny":
            raise SignInAgain(PATH, "not a code of WeChat")
        answer = self._transport.call(
            "GET",
            PATH,
            params={
                "appid": self._app_id,
                "secret": self._app_secret.get_secret_value(),
                "code": code,
                "grant_type": "authorization_code",
            },
        )
        openid, unionid = answer.get("openid"), answer.get("unionid") or None
        if not isinstance(openid, str) or _OPENID.fullmatch(openid) is None:
            raise ImproperIdentity(PATH, "answered without a proper openid")
        if unionid is not None and (not isinstance(unionid, str) or _OPENID.fullmatch(unionid) is None):
            raise ImproperIdentity(PATH, "answered with an improper unionid")
        # Whatever else stands there than a plain "no" is taken for a snapshot.
        return OAuthIdentity(openid, unionid, snapshot=answer.get("is_snapshotuser", 0) != 0)
