"""对话观察: every part of the page says something, empty or not, and a question leads to a new rule."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape
from urllib.parse import quote

from sqlalchemy import update

from bot import callbacks
from bot.callbacks import Tally
from bot.inbox import Inbox
from bot.models import InboxEvent
from core.database import Role
from core.runtime import Runtime
from tests.community import Neighbourhood, new_openid, subscribed, wrote
from tests.web.conftest import Crew
from web.operator.conversation import _share

PAGE = "/operator/conversation"


def test_an_empty_house_says_so(crew: Crew) -> None:
    page = crew.operator.get(PAGE).text
    for sentence in ("没有失败", "没有答不上的话", "还没有开着的规则"):
        assert sentence in page


def test_what_happened_once_in_a_thousand_times_is_not_never() -> None:
    assert [_share(count, 1000) for count in (1, 9, 10, 16, 1000)] == ["<1%", "<1%", "1%", "2%", "100%"]


def test_latencies_failures_and_questions_are_told(runtime: Runtime, crew: Crew) -> None:
    street, inbox, ann = Neighbourhood(runtime), Inbox(runtime), new_openid()
    inbox.receive([subscribed(ann, street.now - timedelta(hours=5))])
    for number, words in enumerate(("几点关门", "几点关门？", "<b>停车&费")):
        inbox.receive([wrote(ann, street.now - timedelta(hours=2, minutes=-number), words)])
    theirs = update(InboxEvent).where(InboxEvent.body["Content"].astext == "几点关门？")
    tally = Tally()
    for status, milliseconds, reason, detail in (
        (200, 15, "", ""), (200, 15, "", ""), (503, 4600, "late", ""), (200, 9, "unusable", "not UTF-8"),
        (503, 100, "inbox", "OperationalError"),
    ):  # fmt: skip
        tally.add(status, milliseconds, reason, detail)
    with runtime.transaction(Role.PLATFORM) as session:
        session.execute(update(InboxEvent).where(InboxEvent.kind == "text").values(answered_by="line"))
        session.execute(theirs.values(merchant_id=crew.merchant_id))
        callbacks.keep(session, [((street.now - timedelta(hours=1)).replace(second=0, microsecond=0), tally)])
    page = crew.operator.get(PAGE).text
    for sentence in (
        "处理超过 4.5 秒，请微信重发", "文字编码不对", "当时数据库不可用", "几点关门？", "&lt;b&gt;停车&amp;费",
        "老王豆浆",
    ):  # fmt: skip
        assert sentence in page, sentence
    assert ann not in page
    assert f'href="/operator/reply-rules/new?keyword={quote("几点关门？")}"' in page
    new_rule = crew.operator.get(f"/operator/reply-rules/new?keyword={quote('几点关门？')}").text
    assert new_rule.count("几点关门？") == 2
    assert re.search(r'name="exact"[^>]*>几点关门？</textarea>', new_rule), "four characters are the whole question"
    longer = crew.operator.get(f"/operator/reply-rules/new?keyword={quote('门口能停车吗')}").text
    assert re.search(r'name="contains"[^>]*>门口能停车吗</textarea>', longer)
    narrowed = crew.operator.get(f"{PAGE}?merchant={crew.merchant_id}&days=30&span=month").text
    assert "几点关门？" in narrowed
    assert "停车" not in narrowed
    assert crew.operator.get(f"{PAGE}?merchant=999999").status_code == 404
    assert crew.operator.get(f"{PAGE}?days=8").status_code == 422


def test_a_question_of_two_lines_leads_to_a_rule_as_well(runtime: Runtime, crew: Crew) -> None:
    street, ann = Neighbourhood(runtime), new_openid()
    Inbox(runtime).receive([subscribed(ann, street.now - timedelta(hours=5))])
    Inbox(runtime).receive([wrote(ann, street.now - timedelta(hours=2), "老板在吗\n门口能停车吗")])
    with runtime.transaction(Role.PLATFORM) as session:
        session.execute(update(InboxEvent).where(InboxEvent.kind == "text").values(answered_by="line"))
    (link,) = re.findall(r'href="(/operator/reply-rules/new[^"]*)"', crew.operator.get(PAGE).text)
    new_rule = crew.operator.get(unescape(link))
    assert new_rule.status_code == 200
    assert "老板在吗 门口能停车吗</textarea>" in new_rule.text
