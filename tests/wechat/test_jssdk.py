"""Signatures of pages: as documented, and with one ticket for all processes."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from sqlalchemy import text

from core.database import Role
from core.runtime import Runtime
from tests.wechat.conftest import FakePlatform
from wechat.client import WeChatClient
from wechat.errors import OutcomeUnknown
from wechat.jssdk import Tickets, signature

PATH = "/cgi-bin/ticket/getticket"


@pytest.mark.parametrize(
    ("ticket", "nonce", "timestamp", "url", "signed"),
    [
        (
            "sM4AOVdWfPE4DxkXGEs8VMCPGGVi4C3VM0P37wVUCFvkVAy_90u5h9nbSlYy3-Sl-HhTdfl2fzFy1AOcHKP7qg",
            "Wm3WZYTPz0wzccnW", 1414587457, "http://mp.weixin.qq.com?params=value",
            "0f9de62fce790f9a083d5c99e95740ceb90c27ed",
        ),
        (
            "TICKET_local_0001", "n0nce", 1700000000, "https://m.example.test/c/42?a=1&b=2",
            "75f684db45822c03fa5b3e0cc4acdfbba7873a58",
        ),
        (
            "TICKET_local_0001", "n0nce", 1700000000, "https://m.example.test/c/42?a=1&b=2#top",
            "75f684db45822c03fa5b3e0cc4acdfbba7873a58",
        ),
    ],
)  # fmt: skip
def test_a_page_is_signed_as_documented(ticket: str, nonce: str, timestamp: int, url: str, signed: str) -> None:
    assert signature(ticket, nonce, timestamp, url) == signed


def answer(ticket: str, seconds: int = 7200) -> dict[str, object]:
    return {"errcode": 0, "errmsg": "ok", "ticket": ticket, "expires_in": seconds}


def test_all_processes_share_one_ticket_until_it_is_nearly_over(
    runtime: Runtime, client: WeChatClient, platform: FakePlatform, app_id: str
) -> None:
    platform.next(PATH, answer("first"))
    one, other = (Tickets(runtime.database, client, app_id=app_id) for _ in range(2))
    assert [one.current(), other.current(), one.current()] == ["first"] * 3
    (asked,) = [request for request in platform.requests if request.path == PATH]
    assert asked.query["type"] == "jsapi"
    with runtime.transaction(Role.PLATFORM) as session:
        session.execute(
            text("UPDATE wechat_ticket SET expires_at = expires_at - :passed"), {"passed": timedelta(minutes=116)}
        )
    platform.next(PATH, answer("second"))
    assert Tickets(runtime.database, client, app_id=app_id).current() == "second"
    assert Tickets(runtime.database, client, app_id=app_id).current() == "second"


@pytest.mark.parametrize("wrong", [{}, {"ticket": ""}, {"ticket": "t"}, {"ticket": "t", "expires_in": "7200"}])
def test_an_odd_answer_is_no_ticket(
    runtime: Runtime, client: WeChatClient, platform: FakePlatform, app_id: str, wrong: dict[str, object]
) -> None:
    platform.next(PATH, {"errcode": 0, "errmsg": "ok", **wrong})
    with pytest.raises(OutcomeUnknown, match=re.escape(PATH[1:])):
        Tickets(runtime.database, client, app_id=app_id).current()
