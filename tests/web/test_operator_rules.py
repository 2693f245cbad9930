"""归属规则 and 判定书: a rule is tried, looked at and decided; a ruling can be laid before both merchants."""

from __future__ import annotations

import re
from datetime import timedelta

from bot.inbox import Inbox
from core import outbox
from core.database import Role
from core.jobs import drain
from core.runtime import Runtime
from qrcodes import rules
from tests.community import Neighbourhood, new_openid, scanned, subscribed, unsubscribed
from tests.web.conftest import Crew
from worker import HANDLERS

DAY = timedelta(days=1)


def quarrel(runtime: Runtime, crew: Crew) -> None:
    """Somebody came through the shop, left, came back through another after ten days, and scanned the shop again."""
    street, inbox, person = Neighbourhood(runtime), Inbox(runtime), new_openid()
    mine, other = street.code(crew.merchant_id, "收银台"), street.code(street.merchant("小李花店"), "花架")
    inbox.receive([subscribed(person, street.now - 20 * DAY, mine.scene)])
    inbox.receive([unsubscribed(person, street.now - 15 * DAY)])
    inbox.receive([subscribed(person, street.now - 5 * DAY, other.scene)])
    inbox.receive([scanned(person, street.now - DAY, other.scene)])


def test_a_rule_is_tried_looked_at_and_decided(runtime: Runtime, crew: Crew) -> None:
    quarrel(runtime, crew)
    page = crew.operator.get("/operator/rules").text
    assert "取关后 30 天内又关注" in page
    assert crew.operator.post("/operator/rules/replays", {"days": "999"}).status_code == 422
    answer = crew.operator.post("/operator/rules/replays", {"days": "7"})
    replay = answer.headers["Location"]
    assert "排队中" in crew.operator.get(replay).text
    assert crew.operator.post(f"{replay}/adopt", {"effective_on": "2099-01-01"}).status_code == 409
    drain(runtime, HANDLERS, outbox.SLOW)
    page = crew.operator.get(replay).text
    assert "小李花店" in page
    assert "采用这个规则" in page
    crew.operator.get(f"{replay}/adopt")
    today = runtime.now().date().isoformat()
    assert "最早从明天" in crew.operator.post(f"{replay}/adopt", {"effective_on": today}).text
    day = rules.earliest_day(runtime.now()).isoformat()
    assert crew.operator.post(f"{replay}/adopt", {"effective_on": day}).status_code == 303
    page = crew.operator.get("/operator/rules").text
    assert "还没生效" in page
    assert "取关后 30 天内又关注" in page
    assert crew.operator.post("/operator/rules/2/withdraw").status_code == 303
    assert "已撤回" in crew.operator.get("/operator/rules").text


def test_a_ruling_says_what_happened_and_why_in_order(runtime: Runtime, crew: Crew) -> None:
    quarrel(runtime, crew)
    with runtime.transaction(Role.PLATFORM) as session:
        follower_id = session.connection().exec_driver_sql("SELECT id FROM follower").scalar_one()
    page = crew.operator.get(f"/operator/followers/{follower_id}/ruling").text
    assert "现在关注着公众号，归“老王豆浆”。" in page
    told = re.findall(r"<div>(扫[^<]*|取消关注|再扫[^<]*)", page)
    assert told == [
        "扫“老王豆浆”的码“收银台”，关注公众号",
        "取消关注",
        "扫“小李花店”的码“花架”，关注公众号",
        "再扫“小李花店”的码“花架”",
    ]
    assert "归“老王豆浆”：第一次关注，谁的码让他关注，就归谁。" in page
    assert "离开了 10 天，在 30 天保护期内回来，仍归原来的商户" in page
    assert crew.operator.get("/operator/followers/999/ruling").status_code == 404
