"""What the operator sees of the conversation: latencies, who answered, what nobody could, and silent rules."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import pytest
from sqlalchemy import text, update

from bot import callbacks, insight
from bot.callbacks import Tally
from bot.inbox import Inbox
from bot.models import InboxEvent
from core.clock import SHANGHAI
from core.database import Role
from core.runtime import Runtime
from tests.bot.chat import fan
from tests.community import Neighbourhood, new_openid, subscribed, wrote
from tests.conftest import set_to_noon


def count(runtime: Runtime, at: datetime, *answers: tuple[int, float], reason: str = "") -> None:
    tally = Tally()
    for status, milliseconds in answers:
        tally.add(status, milliseconds, reason, "")
    with runtime.transaction(Role.PLATFORM) as session:
        callbacks.keep(session, [(at.replace(second=0, microsecond=0), tally)])


@pytest.mark.parametrize(
    ("counts", "share", "found"),
    [
        ([0] * 12, 0.5, None),
        ([0, 0, 10, *[0] * 9], 0.5, 15.0),
        ([0, 0, 10, *[0] * 9], 0.99, 19.9),
        ([98, *[0] * 10, 2], 0.5, pytest.approx(2.55, abs=0.01)),
        ([98, *[0] * 10, 2], 0.99, 4750.0),
        ([100, *[0] * 11], 1.0, 5.0),
    ],
)
def test_quantiles_are_read_off_the_buckets(counts: list[int], share: float, found: float | None) -> None:
    assert insight.quantile(counts, share) == found


def test_hours_and_days_of_the_callback(runtime: Runtime) -> None:
    set_to_noon(runtime)
    now = runtime.now()
    count(runtime, now - timedelta(hours=2), (200, 15), (200, 15), (403, 0.1))
    count(runtime, now - timedelta(hours=2, minutes=-1), (503, 4600), reason="late")
    count(runtime, now - timedelta(days=1), (200, 150))
    with runtime.transaction(Role.PLATFORM) as session:
        hours = insight.latency(session, since=now - timedelta(hours=3), until=now, step="hour")
        days = insight.latency(session, since=now - timedelta(days=2), until=now, step="day")
        everything = insight.total(session, since=now - timedelta(days=2), until=now)
        failures = insight.failures(session, since=now - timedelta(days=2), limit=9)
    assert [slot.at.astimezone(SHANGHAI).hour for slot in hours] == [9, 10, 11, 12]
    assert [(one.ok, one.unavailable, one.turned_away, one.late) for one in hours] == [
        (0,) * 4, (2, 1, 1, 1), (0,) * 4, (0,) * 4
    ]  # fmt: skip
    assert hours[0].p50_ms is None
    assert hours[1].p50_ms is not None
    assert 10 < hours[1].p50_ms <= 20
    assert [slot.ok for slot in days] == [0, 1, 2]
    assert (everything.ok, everything.late) == (3, 1)
    assert [(one.status, one.reason, one.times) for one in failures] == [(503, "late", 1)]


def answer(
    runtime: Runtime, answered_by: str, *, of: str, rule_id: int | None = None, merchant_id: int | None = None
) -> None:
    """Say of an event who answered it, as the inbox does."""
    values = {"answered_by": answered_by, "rule_id": rule_id, "merchant_id": merchant_id}
    with runtime.transaction(Role.PLATFORM) as session:
        session.execute(update(InboxEvent).where(InboxEvent.body["Content"].astext == of).values(**values))


def test_questions_nobody_could_answer_are_grouped_by_wording(runtime: Runtime) -> None:
    street, inbox = Neighbourhood(runtime), Inbox(runtime)
    tea, ann = street.merchant("茶馆"), new_openid()
    inbox.receive([subscribed(ann, street.now - timedelta(days=20))])
    said = ["几点关门", "几点关门？", "ＷＩＦＩ密码", "wifi密码！", "几點關門", "😀", "优惠"]
    for number, words in enumerate(said):
        inbox.receive([wrote(ann, street.now - timedelta(days=2, minutes=-number), words)])
        answer(runtime, "line", of=words)
    answer(runtime, "line", of="几点关门？", merchant_id=tea)
    answer(runtime, "word", of="优惠")
    inbox.receive([wrote(ann, street.now - timedelta(days=9), "很久以前")])
    answer(runtime, "line", of="很久以前")
    with runtime.transaction(Role.PLATFORM) as session:
        week = insight.unanswered(session, since=street.now - timedelta(days=7))
        month = insight.unanswered(session, since=street.now - timedelta(days=30))
        theirs = insight.unanswered(session, since=street.now - timedelta(days=7), merchant_id=tea)
        shares = dict(insight.answered(session, since=street.now - timedelta(days=7)))
    assert [(one.example, one.times) for one in week.groups] == [("几點關門", 3), ("wifi密码！", 2), ("😀", 1)]
    assert week.groups[0].merchants == {tea: 1}
    assert [one.example for one in month.groups][-1] == "很久以前"
    assert [(one.example, one.times) for one in theirs.groups] == [("几点关门？", 1)]
    assert (shares["line"], shares["word"]) == (6, 1)


def test_small_talk_and_what_a_shop_heard_in_the_end_are_no_unanswered_questions(
    runtime: Runtime, street: Neighbourhood, inbox: Inbox
) -> None:
    tea, noodles = street.code(street.merchant("李家茶馆")), street.code(street.merchant("张记面馆"))
    ann, ben = fan(inbox, street, tea, noodles), fan(inbox, street)
    for words in ("谢谢", "你好！", "Hello", "楼下的路灯坏了"):
        ben.says(words)
    ann.says("几点关门")
    ann.says("能停车吗")
    since = street.now - timedelta(days=1)

    def found() -> dict[str, int]:
        with runtime.transaction(Role.PLATFORM) as session:
            return {one.example: one.times for one in insight.unanswered(session, since=since).groups}

    assert (ann.answered_by[-2:], ben.answered_by[-4:]) == (["asked", "line"], ["line"] * 4)
    assert found() == {"楼下的路灯坏了": 1, "能停车吗": 1}
    ann.says("1")
    assert [said for _, said, _ in ann.heard] == ["几点关门", "能停车吗"]
    assert found() == {"楼下的路灯坏了": 1}


RULE = """
    WITH one AS (
        INSERT INTO reply_rule (account_id, name, created_at, is_on) VALUES (:account, :name, :at, :is_on) RETURNING id)
    INSERT INTO reply_rule_version (rule_id, patterns, answers, review, reviewed_by, reviewed_at)
    SELECT id, '[{"mode": "exact", "words": "停车"}]', CAST(:answers AS jsonb), :review, 1, :at FROM one
    RETURNING rule_id"""
ANSWERS = json.dumps(
    [{"kind": "text", "text": "地下一层", "title": "", "description": "", "url": "", "picture_id": None}]
)


def test_a_rule_that_never_fires_is_found(runtime: Runtime) -> None:
    street = Neighbourhood(runtime)
    now, month = street.now, timedelta(days=30)

    def rule(name: str, *, ago: timedelta = 2 * month, is_on: bool = True, review: str = "approved") -> int:
        values = {
            "account": street.account_id,
            "name": name,
            "at": now - ago,
            "is_on": is_on,
            "review": review,
            "answers": ANSWERS,
        }
        with runtime.transaction(Role.PLATFORM) as session:
            return int(session.execute(text(RULE), values | {"answers": ANSWERS}).scalar_one())

    ids = {name: rule(name) for name in ("never", "long ago", "lately")}
    rule("new", ago=timedelta(days=3))
    rule("off", is_on=False)
    rule("waiting", review="pending")
    inbox, ann = Inbox(runtime), new_openid()
    inbox.receive([subscribed(ann, now - timedelta(days=80))])
    for name, ago in (("long ago", timedelta(days=31)), ("lately", timedelta(days=1))):
        inbox.receive([wrote(ann, now - ago, name)])
        answer(runtime, "rule", of=name, rule_id=ids[name])
    with runtime.transaction(Role.PLATFORM) as session:
        found = insight.silent_rules(session, now=now, limit=9)
    assert [(one.name, one.last and one.last == now - timedelta(days=31)) for one in found] == [
        ("never", None), ("long ago", True)
    ]  # fmt: skip
