"""Web authorization: the address as documented, and nobody let in on a doubtful answer (AU-2)."""

from typing import Any

import pytest

from tests.wechat.conftest import CANARY, FakePlatform, LostReply
from tests.wechat.test_transport import assert_clean
from wechat.errors import OutcomeUnknown, SignInAgain
from wechat.oauth import OAuth, OAuthIdentity

PATH = "/sns/oauth2/access_token"


def answered(**fields: Any) -> dict[str, Any]:
    return {
        "access_token": "page-token",
        "expires_in": 7200,
        "refresh_token": "again",
        "openid": "o-ann",
        "scope": "snsapi_base",
        **fields,
    }


def test_the_address_has_the_documented_order(oauth: OAuth, platform: FakePlatform, app_id: str) -> None:
    assert oauth.authorize_url("https://q.example.test/m/?a=1&b=圈", "0a1B") == (
        f"{platform.url}/connect/oauth2/authorize?appid={app_id}"
        "&redirect_uri=https%3A%2F%2Fq.example.test%2Fm%2F%3Fa%3D1%26b%3D%E5%9C%88"
        "&response_type=code&scope=snsapi_base&state=0a1B#wechat_redirect"
    )


def test_consent_is_asked_for_only_when_wanted(oauth: OAuth) -> None:
    assert "&scope=snsapi_userinfo&" in oauth.authorize_url("https://q.example.test/", "a", "snsapi_userinfo")


@pytest.mark.parametrize("state", ["", "a b", "a&scope=x", "a#", "状态", "a-b", "a" * 129, "a\n"])
def test_a_state_that_would_be_mangled_is_refused(oauth: OAuth, state: str) -> None:
    with pytest.raises(ValueError, match="state"):
        oauth.authorize_url("https://q.example.test/", state)


def test_a_code_tells_who_came(oauth: OAuth, platform: FakePlatform, app_id: str) -> None:
    platform.next(PATH, answered(unionid="u-ann", scope="snsapi_userinfo"))
    assert oauth.exchange("021abcDEF") == OAuthIdentity("o-ann", "u-ann", snapshot=False)
    assert platform.requests[0].query == {
        "appid": app_id,
        "secret": CANARY,
        "code": "021abcDEF",
        "grant_type": "authorization_code",
    }


@pytest.mark.parametrize(
    ("mark", "snapshot"), [(0, False), (1, True), ("1", True), (True, True), (2, True), (None, True)]
)
def test_anything_but_a_plain_no_is_a_snapshot(oauth: OAuth, platform: FakePlatform, mark: Any, snapshot: bool) -> None:
    platform.next(PATH, answered(is_snapshotuser=mark))
    assert oauth.exchange("c").snapshot is snapshot


@pytest.mark.parametrize("openid", [None, "", 7, ["o-ann"], "o ann", "o" * 65, "<o>", "o-ann\n"])
def test_without_a_proper_openid_nobody_came(oauth: OAuth, platform: FakePlatform, openid: Any) -> None:
    platform.next(PATH, answered(openid=openid))
    with pytest.raises(OutcomeUnknown):
        oauth.exchange("c")


@pytest.mark.parametrize("code", ["", "authdeny", "a" * 1024, "a b", "a&secret=x", "码"])
def test_what_is_no_code_is_not_sent(oauth: OAuth, platform: FakePlatform, code: str) -> None:
    with pytest.raises(SignInAgain):
        oauth.exchange(code)
    assert platform.requests == []


@pytest.mark.parametrize("errcode", [40029, 40163, 42003])
def test_a_used_or_expired_code_means_signing_in_again(oauth: OAuth, platform: FakePlatform, errcode: int) -> None:
    platform.next(PATH, {"errcode": errcode, "errmsg": f"code {CANARY} rid: 1-2"})
    with pytest.raises(SignInAgain) as refused:
        oauth.exchange("c")
    assert_clean(refused.value)


def test_a_code_is_tried_once(oauth: OAuth, platform: FakePlatform) -> None:
    platform.next(PATH, LostReply())
    with pytest.raises(OutcomeUnknown) as unknown:
        oauth.exchange("c")
    assert len(platform.requests) == 1
    assert_clean(unknown.value)
