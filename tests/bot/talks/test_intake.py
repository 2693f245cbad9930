"""What a fan says comes into the merchant's inbox, once, at its own moment."""

from datetime import timedelta

from sqlalchemy import text

from bot import store
from bot.talks import desk, intake, reading, tending
from bot.talks.desk import Desk
from bot.talks.intake import Said, TalkSeen
from bot.talks.models import Direction, Kind, TalkState
from core.database import Role
from tests.bot.talks.conftest import Shop, put
from wechat.replies import TextReply


def test_a_message_opens_a_talk_that_waits_and_an_enquiry(shop: Shop) -> None:
    ann = shop.fan()
    talk_id = shop.said(ann, "榴莲多少钱一斤？", at=shop.now - timedelta(minutes=3))
    talk = shop.talk(talk_id)
    assert (talk.state, talk.unread, talk.preview) == ("waiting", 1, "榴莲多少钱一斤？")
    assert talk.waiting_since == shop.now - timedelta(minutes=3)
    (enquiry,) = shop.enquiries(talk_id)
    assert enquiry.opened_at == talk.waiting_since
    assert enquiry.closed_at is None

    shop.said(ann, "在吗", at=shop.now)
    talk = shop.talk(talk_id)
    assert (talk.unread, talk.preview) == (2, "在吗")
    assert talk.waiting_since == shop.now - timedelta(minutes=3), "the oldest one has been waiting"
    assert len(shop.enquiries(talk_id)) == 1


def test_what_a_rule_answered_waits_for_nobody(shop: Shop) -> None:
    ann = shop.fan()
    talk_id = shop.said(ann, "营业时间", auto=(TextReply("早九点到晚九点"),), auto_by="营业时间", waits=False)
    talk = shop.talk(talk_id)
    assert (talk.state, talk.unread, talk.waiting_since) == ("answered", 0, None)
    assert [(m.direction, m.content, m.by) for m in shop.messages(talk_id)] == [
        ("in", "营业时间", ""),
        ("auto", "早九点到晚九点", "营业时间"),
    ]
    assert shop.enquiries(talk_id) == []


def test_a_late_message_stands_where_it_was_said(shop: Shop) -> None:
    ann = shop.fan()
    talk_id = shop.said(ann, "第一句", at=shop.now - timedelta(hours=2))
    shop.said(ann, "再问一句", at=shop.now)
    shop.said(ann, "中间的一句", at=shop.now - timedelta(minutes=10))
    shop.said(ann, "更早的一句", at=shop.now - timedelta(hours=3))
    talk = shop.talk(talk_id)
    assert (talk.preview, talk.waiting_since) == ("再问一句", shop.now - timedelta(hours=3))
    assert [m.content for m in shop.messages(talk_id)] == ["更早的一句", "第一句", "中间的一句", "再问一句"]
    (enquiry,) = shop.enquiries(talk_id)
    assert enquiry.opened_at == shop.now - timedelta(hours=3)


def test_what_was_written_before_a_talk_was_closed_and_comes_in_after_is_not_closed_over(shop: Shop) -> None:
    ann = shop.fan()
    talk_id = shop.said(ann, "第一句", at=shop.now - timedelta(minutes=2))
    with shop.runtime.transaction(Role.MERCHANT, merchant_id=shop.merchant_id) as session:
        tending.close(session, merchant_id=shop.merchant_id, staff_id=shop.clerk, talk_id=talk_id, now=shop.now)
    written_at = shop.now - timedelta(seconds=2)
    shop.said(ann, "最后一句", at=written_at)
    talk = shop.talk(talk_id)
    assert (talk.state, talk.unread, talk.waiting_since) == ("waiting", 1, written_at)
    closed, still_open = shop.enquiries(talk_id)
    assert (closed.closed_at, still_open.closed_at) == (shop.now, None)
    assert still_open.opened_at == written_at


def test_messages_that_waited_for_a_choice_come_in_together(shop: Shop) -> None:
    ann = shop.fan()
    moments = [shop.now - timedelta(minutes=n) for n in (1, 3, 2)]
    with shop.runtime.transaction(Role.PLATFORM) as session:
        put(
            store.driver(session),
            [Said(shop.merchant_id, ann, "NUMBER", 900 + n, at, Kind.TEXT, f"第{n}句") for n, at in enumerate(moments)],
        )
        talk_id = session.execute(text("SELECT id FROM talk")).scalar_one()
    talk = shop.talk(talk_id)
    assert (talk.unread, talk.preview, talk.waiting_since) == (3, "第0句", moments[1])
    assert [m.content for m in shop.messages(talk_id)] == ["第1句", "第2句", "第0句"]
    assert len(shop.enquiries(talk_id)) == 1


def test_every_change_counts_the_talk_up(shop: Shop) -> None:
    ann = shop.fan()
    talk_id = shop.said(ann)
    first = shop.talk(talk_id).version
    shop.said(ann, "还在吗")
    assert shop.talk(talk_id).version > first


def test_the_merchant_reads_it_and_another_does_not(shop: Shop, other_shop: Shop) -> None:
    ann = shop.fan()
    talk_id = shop.said(ann, "有芒果吗")
    with shop.runtime.transaction(Role.MERCHANT, merchant_id=shop.merchant_id) as session:
        page = reading.listed(session, merchant_id=shop.merchant_id, staff_id=shop.owner)
        assert [(one.id, one.preview, one.is_following) for one in page.lines] == [(talk_id, "有芒果吗", True)]
        thread = reading.thread(session, merchant_id=shop.merchant_id, talk_id=talk_id)
        assert [(m.direction, m.content) for m in thread.messages] == [(Direction.IN, "有芒果吗")]
        counts = reading.counts(session, merchant_id=shop.merchant_id, staff_id=shop.owner)
        assert (page.lines[0].unread, counts.waiting, counts.mine, counts.unassigned) == (1, 1, 0, 1)
    with shop.runtime.transaction(Role.MERCHANT, merchant_id=other_shop.merchant_id) as session:
        page = reading.listed(session, merchant_id=shop.merchant_id, staff_id=shop.owner)
        assert page.lines == ()


def test_the_line_is_said_once_in_half_an_hour_and_never_beside_a_person(shop: Shop) -> None:
    def seen(*, line: timedelta | None = None, human: timedelta | None = None) -> TalkSeen:
        line_at, human_at = (None if ago is None else shop.now - ago for ago in (line, human))
        return TalkSeen(1, shop.merchant_id, 1, TalkState.WAITING, line_at, human_at, 0)

    def said(talk: TalkSeen | None) -> bool:
        return intake.line_for(talk, desk.PLAIN, "王记水果", shop.now) is not None

    assert said(None)
    assert said(seen())
    assert not said(seen(line=timedelta(minutes=29)))
    assert said(seen(line=timedelta(minutes=31)))
    assert not said(seen(line=timedelta(hours=3), human=timedelta(minutes=10)))
    line = intake.line_for(None, Desk(first_words="马上回您！"), "王记水果", shop.now)
    assert line == "您正在和 王记水果 聊天。马上回您！\n找别家请回复：找 店名"
