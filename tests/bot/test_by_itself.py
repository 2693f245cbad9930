"""The running system: what heals, forgets and follows up without anybody asking for it."""

import json

from sqlalchemy import text

from core.database import Role
from tests.conftest import Live, responds, wait_until


def statuses(live: Live) -> dict[str | None, str]:
    with live.runtime.transaction(Role.PLATFORM) as session:
        rows = session.execute(text("SELECT openid, status FROM follower"))
        return {row.openid: row.status for row in rows}


def test_after_an_outage_the_lost_are_found_and_a_month_later_who_left_is_forgotten(live: Live) -> None:
    merchant = json.loads(live.quanma("merchant", "add", "茶馆", "--json"))["id"]
    code = json.loads(live.quanma("code", "add", merchant, "--label", "前台", "--json"))
    heard, lost = (live.sandbox.post("/sandbox/people")["openid"] for _ in range(2))
    live.sandbox.post(f"/sandbox/people/{heard}/scan", url=code["url"])
    assert statuses(live) == {heard: "following"}

    live.programs["web"].kill()
    live.sandbox.post(f"/sandbox/people/{lost}/scan?wait=0", url=code["url"])
    with live.runtime.transaction(Role.PLATFORM) as session:
        long_ago = text(
            "UPDATE periodic_run SET last_started_at = now() - interval '1 minute' WHERE name = 'alive:web'"
        )
        session.execute(long_ago)
    # Not told again once the web is back: its deliveries are given up by then.
    live.sandbox.post("/sandbox/account", callback_url="http://127.0.0.1:9/wechat/callback")
    live.programs["web"].start()
    wait_until(lambda: responds(f"{live.url}/readyz"), seconds=30, what="readiness")
    wait_until(lambda: statuses(live) == {heard: "following", lost: "following"}, seconds=30, what="the comparison")
    fans = json.loads(live.quanma("fans", merchant, "--json"))["fans"]
    assert [fan["acquired"] for fan in fans] == [True, True]

    live.sandbox.post("/sandbox/account", callback_url=f"{live.url}/wechat/callback")
    live.sandbox.post(f"/sandbox/people/{heard}/unfollow")
    assert statuses(live)[heard] == "gone"
    live.quanma("clock", "advance", "31d")
    wait_until(lambda: statuses(live) == {None: "gone", lost: "following"}, seconds=30, what="the erasure")
