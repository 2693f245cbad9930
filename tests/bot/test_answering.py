"""Who answers: one order, each event once, and nothing that anybody writes can hang or break it."""

import threading
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from bot import answering, book, context
from bot.answering import Answered
from bot.book import Book
from bot.inbox import Inbox
from bot.rules import writing
from bot.rules.content import Answer
from bot.rules.matching import Mode, Pattern
from bot.talks import desk
from core.database import Role
from core.runtime import Runtime
from tests.bot.chat import HOUR, MINUTE, SECOND, TRANSFERRED, Person, fan, rows
from tests.bot.rules.desk import approve, create, draft
from tests.community import Code, Neighbourhood, wrote
from tests.couponing import live_template
from wechat.replies import TextReply, TransferReply, from_json, to_json


@pytest.fixture
def fruit(street: Neighbourhood) -> Code:
    return street.code(street.merchant("王记水果"))


@pytest.fixture
def tea(street: Neighbourhood) -> Code:
    return street.code(street.merchant("李家茶馆"))


@pytest.fixture
def ann(street: Neighbourhood, inbox: Inbox, fruit: Code, tea: Code) -> Person:
    """A fan of both shops, who has just scanned the fruit shop's code."""
    person = fan(inbox, street, fruit, tea)
    person.now -= MINUTE
    person.scans(fruit)
    person.now = street.now
    return person


def rule(street: Neighbourhood, merchant_id: int | None, *exact: str, **also: object) -> int:
    rule_id = create(street, merchant_id, draft(*exact, **also))  # type: ignore[arg-type]
    if merchant_id is not None:
        approve(street, rule_id)
    return rule_id


def at_desk(street: Neighbourhood, merchant_id: int, **also: object) -> None:
    settings = {"hours": desk.Hours(), "asks_satisfaction": False, "hands_over": False, "notify_after": 2, **also}
    with street.runtime.transaction(Role.MERCHANT, merchant_id=merchant_id) as session:
        desk.save(session, merchant_id=merchant_id, now=street.now, **settings)  # type: ignore[arg-type]


# ---- Rules -----------------------------------------------------------------------------------------------------------


def test_the_shops_rule_comes_before_the_platforms_and_goes_into_its_inbox(
    runtime: Runtime, street: Neighbourhood, ann: Person, fruit: Code
) -> None:
    shops = rule(street, fruit.merchant_id, "地址", says="东门 2 号")
    everybodys = rule(street, None, "地址", says="请问是哪家店的地址？", name="平台")
    assert ann.says("地　址？") == "东门 2 号"
    ann.says("退出")
    assert ann.says("地址") == "请问是哪家店的地址？"
    assert ann.heard == [("王记水果", "地　址？", False)]
    assert rows(runtime, "SELECT rule_id, merchant_id FROM inbox_event WHERE answered_by = 'rule' ORDER BY id") == [
        (shops, fruit.merchant_id), (everybodys, None)]  # fmt: skip
    assert rows(runtime, "SELECT direction, content, by FROM talk_message WHERE direction = 'auto'") == [
        ("auto", "东门 2 号", "地址")]  # fmt: skip


def test_a_rule_that_changes_speaks_at_once_in_every_process(
    runtime: Runtime, street: Neighbourhood, ann: Person, fruit: Code
) -> None:
    other = Person(Inbox(runtime), ann.openid, ann.now)
    assert ann.says("地址").startswith("您正在和 王记水果 聊天")
    rule_id = rule(street, fruit.merchant_id, "地址", says="东门")
    other.now = ann.now
    assert other.says("地址") == "东门"
    ann.now = other.now
    assert ann.says("地址") == "东门"
    with runtime.transaction(Role.MERCHANT, merchant_id=fruit.merchant_id) as session:
        writing.switch(session, merchant_id=fruit.merchant_id, rule_id=rule_id, is_on=False)
    assert ann.says("地址") == ""


def test_the_book_is_read_only_when_it_changed(
    runtime: Runtime, street: Neighbourhood, ann: Person, fruit: Code, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[int] = []
    read_on = book._read_on

    def counted(session: Session, account_id: int, before: Book, number: int, pages: Collection[int]) -> Book:
        reads.append(number)
        return read_on(session, account_id, before, number, pages)

    monkeypatch.setattr(book, "_read_on", counted)
    for _ in range(3):
        ann.says("在吗")
    assert reads == []
    street.merchant("百合花店")
    for _ in range(3):
        ann.says("在吗")
    assert len(reads) == 1


def test_several_answers_follow_within_the_window_once(
    runtime: Runtime, street: Neighbourhood, ann: Person, fruit: Code
) -> None:
    rule_id = rule(
        street, fruit.merchant_id, "菜单", says=(Answer(text="苹果"), Answer(text="梨"), Answer(text="西瓜"))
    )
    event = wrote(ann.openid, ann.now, "菜单")
    first, again = ann.inbox.receive([event])[0], ann.inbox.receive([event])[0]
    assert first == again
    assert rows(runtime, "SELECT position, rule_id, welcome_id, state FROM follow_up ORDER BY position") == [
        (1, rule_id, None, "planned"), (2, rule_id, None, "planned")]  # fmt: skip
    assert rows(runtime, "SELECT count(*) FROM outbox WHERE kind = 'send_follow_up'") == [(2,)]
    assert [said for (said,) in rows(runtime, "SELECT content FROM talk_message WHERE direction = 'auto' ORDER BY id")
            ] == ["苹果", "梨", "西瓜"]  # fmt: skip


def test_a_rule_may_hand_over_to_the_shops_people(street: Neighbourhood, ann: Person, fruit: Code) -> None:
    rule(street, fruit.merchant_id, "退货", says="店员马上来。", hands_over=True)
    rule(street, fruit.merchant_id, "投诉", says=(), hands_over=True, name="投诉")
    assert ann.says("退货") == "店员马上来。"
    assert ann.says("投诉").startswith("您正在和 王记水果 聊天")
    assert ann.heard == [("王记水果", "退货", True), ("王记水果", "投诉", True)]


def test_rules_hear_pictures_and_the_menu(street: Neighbourhood, ann: Person, fruit: Code) -> None:
    rule(street, fruit.merchant_id, occasions=("image",), says="收到图片")
    rule(street, None, occasions=("click:HOURS",), says="九点到九点", name="时间")
    assert ann.sends_picture() == "收到图片"
    assert ann.taps("HOURS") == "九点到九点"
    assert ann.taps("OTHER") == ""
    assert ann.answered_by[-3:] == ["rule", "rule", "none"]
    assert ann.heard == [("王记水果", "image", False)]


def test_own_words_wishes_coupons_and_look_ups_never_reach_a_rule(
    runtime: Runtime, street: Neighbourhood, ann: Person, fruit: Code
) -> None:
    live_template(runtime, fruit.merchant_id, "茶券", keyword="明前茶", is_public=False)
    told = {"我的数据": "word", "退订": "wish", "优惠": "wish", "积分": "benefit", "会员卡": "benefit",
            "公告": "lookup", "电话 锁匠": "lookup", "商家": "lookup", "帮助": "word", "找 茶馆": "switch",
            "王记水果": "switch", "明前茶": "keyword", "你们开门吗": "rule"}  # fmt: skip
    anything = tuple(Pattern(Mode.CONTAINS, one) for one in told)
    rule(street, fruit.merchant_id, patterns=anything, says="规则")
    for said in told:
        ann.says(said)
    assert ann.answered_by[-len(told) :] == list(told.values())
    assert [said for _, said, _ in ann.heard] == ["你们开门吗"]


def test_what_is_reserved_is_known_to_who_writes_rules() -> None:
    for said in ("帮助", "公告", "商家", "电话", "电话 锁匠", "退出", "我的数据", "隐私"):
        assert answering.is_reserved(said, is_with_shop=True), said
    for said in ("菜单", "地址", "老板电话", "电话多少", "几点开门", "怎么用", "人工"):
        assert not answering.is_reserved(said, is_with_shop=True), said


# ---- People ----------------------------------------------------------------------------------------------------------


def test_whoever_wants_a_person_gets_the_shops_or_the_platforms(
    street: Neighbourhood, ann: Person, fruit: Code
) -> None:
    assert ann.says("转人工").startswith("已经转给 王记水果 的人")
    assert ann.heard == [("王记水果", "转人工", True)]
    ann.says("退出")
    said = ann.says("人工")
    assert said.startswith("您想找哪家店的人？请回复：找 王记水果")
    assert "请回复：电话" in said
    assert "看到" not in said, "nobody reads what is written to nobody"
    rule(street, None, "人工", says="物业客服 9 点上班")
    assert ann.says("人工") == "物业客服 9 点上班"
    ann.says("找 王记水果")
    assert ann.says("人工").startswith("已经转给 王记水果 的人")
    rule(street, fruit.merchant_id, "人工", says="店里电话在门上")
    assert ann.says("人工") == "店里电话在门上"


def test_a_desk_may_leave_it_to_the_platforms_human_service(
    runtime: Runtime, street: Neighbourhood, ann: Person, fruit: Code
) -> None:
    at_desk(street, fruit.merchant_id, hands_over=True)
    event = wrote(ann.openid, ann.now, "苹果坏了")
    first, again = ann.inbox.receive([event])[0], ann.inbox.receive([event])[0]
    assert first == again
    assert first is not None
    assert "<MsgType><![CDATA[transfer_customer_service]]></MsgType>" in first
    ann.now += SECOND
    assert ann.says("人工") == TRANSFERRED
    assert ann.heard == [("王记水果", "苹果坏了", False), ("王记水果", "人工", False)]
    assert from_json(to_json(TransferReply())) == TransferReply()
    assert from_json(to_json(TextReply("好"))) == TextReply("好")


def test_what_the_human_service_can_not_be_given_any_more_waits_for_the_shops_people(
    street: Neighbourhood, ann: Person, fruit: Code
) -> None:
    at_desk(street, fruit.merchant_id, hands_over=True)
    ann.says("在吗")
    late = wrote(ann.openid, ann.now - 30 * SECOND, "苹果坏了，要退")
    assert ann.inbox.receive([late]) == [None]
    assert ann.heard == [("王记水果", "苹果坏了，要退", True), ("王记水果", "在吗", False)]


def test_outside_its_hours_the_desk_says_so(street: Neighbourhood, ann: Person, fruit: Code) -> None:
    at_desk(street, fruit.merchant_id, hours=desk.Hours(closed_days=frozenset({(street.now + 8 * HOUR).date()})))
    assert "店家现在不在，明天 00:00 回来就回您。" in ann.says("在吗")
    assert ann.says("在吗在吗") == ""
    assert "店家现在不在" in ann.says("找 王记水果")


def test_whoever_wants_a_person_outside_the_hours_is_told_when_somebody_comes(
    street: Neighbourhood, ann: Person, fruit: Code
) -> None:
    at_desk(street, fruit.merchant_id, hours=desk.Hours(closed_days=frozenset({(street.now + 8 * HOUR).date()})))
    said = ann.says("人工")
    assert said.startswith("已经转给 王记水果 的人。店家现在不在，明天 00:00 回来就回您。")
    assert "看到就回" not in said


def test_pictures_and_voices_go_to_the_shop_or_get_one_line(
    runtime: Runtime, street: Neighbourhood, inbox: Inbox, ann: Person, fruit: Code
) -> None:
    assert ann.sends_picture().startswith("您正在和 王记水果 聊天")
    assert ann.sends_voice() == ""
    ann.says("退出")
    assert ann.sends_voice() == "语音我们这里看不了，请打字告诉我们。要发给某家店，请先回复：找 店名"
    assert "请打字" in ann.says("【收到不支持的消息类型，暂无法显示】")
    only = fan(inbox, street, fruit)
    assert only.sends_picture().startswith("您正在和 王记水果 聊天")
    assert ann.heard == [("王记水果", "image", True), ("王记水果", "voice", True)]
    assert len(rows(runtime, "SELECT 1 FROM outbox WHERE kind = 'fetch_talk_media'")) == 3


def test_a_rating_is_taken_once_and_is_no_message(
    runtime: Runtime, street: Neighbourhood, ann: Person, fruit: Code
) -> None:
    ann.says("苹果甜吗")
    with runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("UPDATE enquiry SET asked_at = app_now(), closed_at = app_now(), closed_by = 'staff'"))
        session.execute(
            text("""
                UPDATE talk SET state = 'closed', waiting_since = NULL,
                    settled_to = (SELECT max(id) FROM talk_message)""")
        )
        session.execute(
            text("""
                INSERT INTO pending_question (follower_id, kind, asked_at, expires_at, enquiry_id)
                SELECT t.follower_id, 'satisfaction', :at, CAST(:at AS timestamptz) + interval '1 day', e.id
                FROM enquiry e JOIN talk t ON t.id = e.talk_id"""),
            {"at": ann.now},
        )
    assert ann.says("很满意").startswith("谢谢您的评价")
    ann.says("1")
    assert rows(runtime, "SELECT satisfaction FROM enquiry ORDER BY id") == [(3,), (None,)]
    assert ann.heard == [("王记水果", "苹果甜吗", True), ("王记水果", "1", True)]
    assert ann.answered_by[-2:] == ["rating", "talk"]


def test_answers_that_waited_go_out_with_the_next_hello_to_that_shop(
    runtime: Runtime, street: Neighbourhood, ann: Person, fruit: Code
) -> None:
    ann.says("苹果甜吗")
    with runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("UPDATE talk SET waiting_out = 1"))
    owed = "SELECT count(*) FROM outbox WHERE kind = 'send_answers'"
    ann.says("找 茶馆")
    assert rows(runtime, owed) == [(0,)]
    ann.says("找 王记水果")
    assert rows(runtime, owed) == [(1,)]
    with runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("UPDATE talk SET waiting_out = 0"))


# ---- Each event once -------------------------------------------------------------------------------------------------


def test_two_messages_at_once_are_answered_once_each(
    runtime: Runtime, street: Neighbourhood, inbox: Inbox, fruit: Code, tea: Code
) -> None:
    """The follower's lock puts them in one order: whichever comes second sees what the first one asked."""
    for _ in range(4):
        ann = fan(inbox, street, fruit, tea)
        events = [wrote(ann.openid, ann.now, said) for said in ("有人吗", "有没有苹果")]
        start = threading.Barrier(len(events) * 2)

        def tell(event: object, start: threading.Barrier = start) -> str | None:
            start.wait()
            return Inbox(runtime).receive([event])[0]  # type: ignore[list-item]

        with ThreadPoolExecutor(4) as pool:
            replies = list(pool.map(tell, events * 2))
        assert replies[:2] == replies[2:]
        assert sorted(ann.answered_by[-2:]) == ["asked", "line"]
        assert len(rows(runtime, """
            SELECT unnest(inbox_ids) FROM pending_question q JOIN follower f ON f.id = q.follower_id
            WHERE f.openid = :me""", me=ann.openid)) == 2  # fmt: skip


def test_every_event_says_who_answered_it(runtime: Runtime, ann: Person) -> None:
    ann.says("在吗")
    ann.taps("NOTHING")
    assert ann.answered_by == ["welcome", "welcome", "welcome", "talk", "none"]
    assert set(ann.answered_by) <= set(Answered)


# ---- Whatever anybody writes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    ["{{7*7}}", "{0.__class__}", "%s%n", "]]></Content><a>", "</xml>", "\u202e倒", "\u200b", "😀😀",
     "<a href='x'>y</a>", "找 {{7*7}}", "找 <b>店</b>", "商家 ']]>", "电话 %s%n"],
)  # fmt: skip
def test_whatever_is_written_comes_back_as_words_or_not_at_all(
    street: Neighbourhood, inbox: Inbox, fruit: Code, said: str
) -> None:
    rule(street, None, patterns=(Pattern(Mode.CONTAINS, "没有这句"),), says="{0.__class__} {{7*7}}")
    ben = fan(inbox, street)
    answer = ben.says(said)
    assert answer
    assert "49" not in answer
    assert "<b>" not in answer
    assert "]]>" not in answer.replace(context.shown(said), "")
    assert ben.says("没有这句") == "{0.__class__} {{7*7}}"


def test_no_rule_and_no_text_can_keep_the_inbox_busy(street: Neighbourhood, ann: Person, fruit: Code) -> None:
    """Wildcards are followed one step for each character, and only a first line's worth of characters is looked at."""
    worst = tuple(Pattern(Mode.WILDCARD, "*a" * 15) for _ in range(20))
    for number in range(5):
        rule(street, fruit.merchant_id, patterns=worst, says="规则", name=f"规则{number}")
    assert ann.says("a" * 20_000) == "规则"
    assert ann.says("b" * 20_000).startswith("您正在和 王记水果 聊天")
    assert ann.says("*a" * 2_000) in ("规则", "")
    assert ann.says("找" * 20_000) == ""


def test_nothing_that_comes_late_is_answered(runtime: Runtime, street: Neighbourhood, ann: Person, fruit: Code) -> None:
    rule(street, fruit.merchant_id, "地址", says="东门")
    ann.says("在吗")
    early = ann.now - 30 * SECOND
    late = ["地址", "商家", "帮助", "优惠", "退订", "人工", "电话", "找 茶馆", "换一家"]
    for second, said in enumerate(late):
        assert ann.inbox.receive([wrote(ann.openid, early + second * SECOND, said)]) == [None], said
    by = ann.answered_by[-len(late) :]
    assert by == ["none", "none", "none", "wish", "wish", "talk", "none", "switch", "none"]
    assert {said for _, said, _ in ann.heard} == {"地址", "人工", "在吗"}
    assert rows(runtime, "SELECT count(*) FROM pending_question") == [(0,)]
    assert timedelta(0) < timedelta.max
