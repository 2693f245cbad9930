"""Reading, taking, ending and measuring talks; the desk's hours and words; the question how it was."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from bot.talks import answers, desk, enquiries, reading, search, telling, tending
from bot.talks.desk import Desk, Hours
from bot.talks.models import ClosedBy, WordsKind
from bot.talks.reading import Filter
from core.clock import SHANGHAI, business_day
from core.database import Role
from core.errors import Invalid, NotFound
from core.runtime import Runtime
from merchants.models import NoticeKind
from merchants.reviews import ReviewState
from tests.bot.talks.conftest import Shop
from tests.conftest import advance

HOSTS = frozenset({"localhost"})


def desk_of(session: Session, *, merchant_id: int) -> Desk:
    return desk.of(session, merchant_id)


def as_shop(shop: Shop, work: Any, **given: Any) -> Any:
    """Do something as the merchant."""
    with shop.runtime.transaction(Role.MERCHANT, merchant_id=shop.merchant_id) as session:
        return work(session, merchant_id=shop.merchant_id, **given)


def write(shop: Shop, talk_id: int, words: str, *, at: datetime | None = None) -> int:
    given: Mapping[str, Any] = {"hosts": HOSTS, "public_url": "http://localhost", "nonce": words}
    return int(
        as_shop(
            shop, answers.write, staff_id=shop.owner, talk_id=talk_id, answer=answers.TextAnswer(words),
            now=at or shop.runtime.now(), **given,
        )
    )  # fmt: skip


def listed(shop: Shop, only: Filter, staff: int = 0) -> list[int]:
    page = as_shop(shop, reading.listed, staff_id=staff or shop.owner, only=only)
    return [one.id for one in page.lines]


def test_reading_counts_down_to_what_was_seen_and_a_later_message_stays_unread(shop: Shop) -> None:
    ann = shop.fan()
    talk_id = shop.said(ann, "一")
    seen = max(m.id for m in shop.messages(talk_id))
    shop.said(ann, "二")
    before = shop.talk(talk_id).version
    as_shop(shop, tending.mark_read, talk_id=talk_id, up_to=seen)
    assert shop.talk(talk_id).unread == 1
    as_shop(shop, tending.mark_read, talk_id=talk_id, up_to=seen + 10)
    talk = shop.talk(talk_id)
    assert (talk.unread, talk.state) == (0, "waiting"), "seen is not answered"
    assert talk.version > before
    as_shop(shop, tending.mark_read, talk_id=talk_id, up_to=seen + 10)
    assert shop.talk(talk_id).version == talk.version, "reading again wakes nobody"
    as_shop(shop, tending.mark_unread, talk_id=talk_id)
    assert shop.talk(talk_id).unread == 1
    as_shop(shop, tending.mark_read, talk_id=talk_id, up_to=10**17)
    shop.said(ann, "三")
    assert shop.talk(talk_id).unread == 1, "what nobody has written yet is not read"


def test_a_talk_is_given_to_a_colleague_and_found_there(shop: Shop, other_shop: Shop) -> None:
    first, second = shop.said(shop.fan(), "甲"), shop.said(shop.fan(), "乙", at=shop.now + timedelta(seconds=1))
    assert listed(shop, Filter.UNASSIGNED) == [second, first]
    mine: dict[str, Any] = {"staff_id": shop.owner, "talk_id": first, "now": shop.now + timedelta(minutes=1)}
    for _ in range(2):
        as_shop(shop, tending.assign, to=shop.clerk, **mine)
    assert listed(shop, Filter.MINE, shop.clerk) == [first]
    assert listed(shop, Filter.UNASSIGNED) == [second]
    with pytest.raises(NotFound):
        as_shop(shop, tending.assign, to=other_shop.clerk, **mine)
    with pytest.raises(NotFound):
        as_shop(other_shop, tending.assign, to=None, **mine | {"staff_id": other_shop.owner})
    as_shop(shop, tending.assign, to=None, **mine)
    assert listed(shop, Filter.MINE, shop.clerk) == []
    told = [(one.direction, one.content) for one in shop.messages(first)]
    assert told == [("in", "甲"), ("note", "转给 小李 接待。"), ("note", "不再分给谁。")], "once each"


def test_a_note_is_the_shops_own_and_changes_nothing_else(shop: Shop) -> None:
    talk_id = shop.said(shop.fan(), "有榴莲吗")
    before = shop.talk(talk_id)
    as_shop(shop, answers.note, staff_id=shop.clerk, talk_id=talk_id, words="老顾客，给八折", now=shop.now)
    talk = shop.talk(talk_id)
    assert (talk.state, talk.unread, talk.preview) == (before.state, before.unread, before.preview)
    assert talk.version > before.version
    assert [m.direction for m in shop.messages(talk_id)] == ["in", "note"]
    with shop.runtime.transaction(Role.PLATFORM) as session:
        owed = session.execute(text("SELECT count(*) FROM outbox WHERE kind = 'send_answers'")).scalar_one()
    assert owed == 0


def test_the_list_goes_page_by_page_without_a_gap(shop: Shop) -> None:
    talks = [shop.said(shop.fan(), f"第{n}位", at=shop.now + timedelta(seconds=n // 2)) for n in range(5)]
    found: list[int] = []
    after = None
    while True:
        page = as_shop(shop, reading.listed, staff_id=shop.owner, after=after, limit=2)
        found += [one.id for one in page.lines]
        after = page.after
        if after is None:
            break
    assert found == sorted(talks, reverse=True)
    thread = as_shop(shop, reading.thread, talk_id=talks[0], limit=1)
    assert thread.before is None
    shop.said(1, "又一句", at=shop.now + timedelta(minutes=1))
    newest = as_shop(shop, reading.thread, talk_id=talks[0], limit=1)
    older = as_shop(shop, reading.thread, talk_id=talks[0], limit=1, before=newest.before)
    assert [m.content for m in (*older.messages, *newest.messages)] == ["第0位", "又一句"]


def test_an_enquiry_knows_its_first_answer_and_its_end(shop: Shop) -> None:
    start = shop.now - timedelta(hours=1)
    talk_id = shop.said(shop.fan(), "在吗", at=start)
    write(shop, talk_id, "在的", at=start + timedelta(minutes=4))
    write(shop, talk_id, "请说", at=start + timedelta(minutes=5))
    as_shop(shop, tending.close, staff_id=shop.clerk, talk_id=talk_id, now=start + timedelta(minutes=30))
    (enquiry,) = shop.enquiries(talk_id)
    assert (enquiry.first_answer_at, enquiry.first_answer_by) == (start + timedelta(minutes=4), shop.owner)
    assert (enquiry.closed_by, enquiry.closed_by_staff) == (ClosedBy.STAFF, shop.clerk)
    assert listed(shop, Filter.CLOSED) == [talk_id]
    figures = as_shop(shop, enquiries.figures, since=start - timedelta(days=1), until=shop.now)
    assert (figures.enquiries, figures.answered, figures.closed, figures.open) == (1, 1, 1, 0)
    assert figures.first_answer == enquiries.Times(timedelta(minutes=4), timedelta(minutes=4))
    assert figures.resolution == enquiries.Times(timedelta(minutes=30), timedelta(minutes=30))
    as_shop(shop, tending.reopen, talk_id=talk_id)
    assert shop.talk(talk_id).state == "answered"


def test_two_days_of_silence_end_an_answered_talk_and_the_next_message_is_a_new_enquiry(shop: Shop) -> None:
    ann = shop.fan()
    talk_id = shop.said(ann, "在吗")
    write(shop, talk_id, "在的")
    advance(shop.runtime, timedelta(hours=2))
    fresh = shop.said(shop.fan(), "在吗", at=shop.now + timedelta(hours=2))
    write(shop, fresh, "在的呀", at=shop.now + timedelta(hours=2))
    close_silent_after(shop, timedelta(hours=47))
    assert (shop.talk(talk_id).state, shop.talk(fresh).state) == ("closed", "answered")
    (enquiry,) = shop.enquiries(talk_id)
    assert enquiry.closed_by == ClosedBy.SILENCE
    shop.said(ann, "还在吗", at=shop.now + timedelta(hours=49))
    assert shop.talk(talk_id).state == "waiting"
    assert len(shop.enquiries(talk_id)) == 2


def test_who_waits_for_an_answer_stays_on_the_list_for_a_week(shop: Shop) -> None:
    ann = shop.fan()
    talk_id = shop.said(ann, "在吗")
    close_silent_after(shop, timedelta(days=6))
    assert (shop.talk(talk_id).state, shop.talk(talk_id).unread) == ("waiting", 1)
    write(shop, talk_id, "在的")
    shop.said(ann, "几点开门", at=shop.now + timedelta(days=6))
    close_silent_after(shop, timedelta(days=6))
    assert shop.talk(talk_id).state == "waiting", "answered before, but not this one"
    (enquiry,) = shop.enquiries(talk_id)
    assert enquiry.closed_at is None
    close_silent_after(shop, timedelta(days=2))
    assert shop.talk(talk_id).state == "closed"
    (enquiry,) = shop.enquiries(talk_id)
    assert enquiry.closed_by == ClosedBy.SILENCE


def test_what_came_in_late_is_not_closed_before_somebody_could_see_it(shop: Shop) -> None:
    talk_id = shop.said(shop.fan(), "在吗", at=shop.now - timedelta(hours=50), waits=False)
    close_silent_after(shop, timedelta(hours=47))
    assert shop.talk(talk_id).state == "answered"
    close_silent_after(shop, timedelta(hours=2))
    assert shop.talk(talk_id).state == "closed"


def close_silent_after(shop: Shop, passed: timedelta) -> None:
    advance(shop.runtime, passed)
    with shop.runtime.transaction(Role.PLATFORM) as session:
        enquiries.close_silent(session, shop.runtime.now())


def test_median_and_nine_in_ten_are_of_the_rows_and_within_the_hours() -> None:
    hours = Hours({day: ((time(9), time(21)),) for day in range(1, 8)})
    evening = datetime(2026, 3, 2, 20, 50, tzinfo=SHANGHAI)
    assert hours.open_between(evening, evening + timedelta(hours=12, minutes=30)) == timedelta(minutes=30)
    spans = [timedelta(minutes=n) for n in range(1, 11)]
    assert enquiries._times(spans) == enquiries.Times(timedelta(minutes=5), timedelta(minutes=9))
    assert enquiries._times([]) is None


# ---- How it was ------------------------------------------------------------------------------------------------------


def test_how_it_was_is_asked_where_somebody_answered_and_a_message_is_left(shop: Shop) -> None:
    ann = shop.fan()
    talk_id = shop.said(ann, "在吗", at=shop.runtime.now())
    as_shop(shop, tending.close, staff_id=shop.owner, talk_id=talk_id, now=shop.runtime.now(), asks=True)
    assert shop.states(talk_id) == [], "nobody answered: there is nothing to ask"
    shop.said(ann, "在吗", at=shop.runtime.now() + timedelta(seconds=1))
    write(shop, talk_id, "在的")
    as_shop(shop, tending.close, staff_id=shop.owner, talk_id=talk_id, now=shop.runtime.now(), asks=True)
    assert shop.states(talk_id) == ["planned", "planned"]
    assert shop.talk(talk_id).state == "closed"

    with shop.runtime.transaction(Role.PLATFORM) as session:
        enquiry_id = enquiries.ask(session, talk_id=talk_id, follower_id=ann, now=shop.now)
        assert enquiry_id == shop.enquiries(talk_id)[-1].id
        pending = session.execute(text("SELECT kind, enquiry_id FROM pending_question")).one()
        assert pending == ("satisfaction", enquiry_id)
        assert enquiries.ask(session, talk_id=talk_id, follower_id=ann, now=shop.now) is None, "once"


def test_who_is_being_asked_something_else_is_not_asked_that(shop: Shop) -> None:
    ann = shop.fan()
    talk_id = shop.said(ann, "在吗")
    write(shop, talk_id, "在的")
    as_shop(shop, tending.close, staff_id=shop.owner, talk_id=talk_id, now=shop.runtime.now(), asks=False)
    with shop.runtime.transaction(Role.PLATFORM) as session:
        session.execute(
            text("""
                INSERT INTO pending_question (follower_id, kind, asked_at, expires_at, inbox_ids)
                VALUES (:id, 'merchant', :now, :until, '{1}')"""),
            {"id": ann, "now": shop.now, "until": shop.now + timedelta(hours=3)},
        )
        assert enquiries.ask(session, talk_id=talk_id, follower_id=ann, now=shop.now) is None
        assert session.execute(text("SELECT kind FROM pending_question")).scalar() == "merchant"
        assert session.execute(text("SELECT asked_at FROM enquiry")).scalar() is None


@pytest.mark.parametrize(
    ("said", "meant"),
    [("1", 3), ("１", 3), ("满意！", 3), ("2", 2), ("一般", 2), ("3。", 1), ("不满意", 1), ("4", None), ("你好", None)],
)
def test_what_is_said_of_the_answers_is_understood(said: str, meant: int | None) -> None:
    assert enquiries.rating_in(said) == meant


# ---- The desk --------------------------------------------------------------------------------------------------------

LUNCH = Hours({1: ((time(9), time(12)), (time(14), time(0)))}, frozenset({date(2026, 3, 9)}))


@pytest.mark.parametrize(
    ("day", "clock", "is_open"),
    [
        (2, time(8, 59), False),
        (2, time(9), True),
        (2, time(12), False),
        (2, time(23, 59), True),
        (3, time(10), False),
        (9, time(10), False),
    ],
)
def test_the_desk_is_open_within_its_hours(day: int, clock: time, is_open: bool) -> None:
    assert LUNCH.is_open(datetime.combine(date(2026, 3, day), clock, SHANGHAI)) is is_open


def test_outside_the_hours_the_chat_says_when_somebody_comes() -> None:
    night = datetime(2026, 3, 2, 12, 30, tzinfo=SHANGHAI)
    assert "今天 14:00" in desk.passed_on(Desk(LUNCH), "王记", night)
    week_later = datetime(2026, 3, 3, 12, 30, tzinfo=SHANGHAI)
    assert "3月16日 09:00" in desk.passed_on(Desk(LUNCH), "王记", week_later), "the 9th is closed"
    assert "看到就回" in desk.passed_on(desk.PLAIN, "王记", night)


def test_settings_are_kept_and_nonsense_is_refused(shop: Shop) -> None:
    given: Mapping[str, Any] = {"asks_satisfaction": True, "hands_over": False, "notify_after": 5, "now": shop.now}
    as_shop(shop, desk.save, hours=LUNCH, **given)
    kept = as_shop(shop, desk_of)
    assert (kept.hours, kept.asks_satisfaction, kept.notify_after) == (LUNCH, True, 5)
    for ranges in (((time(9), time(9)),), ((time(9), time(12)), (time(11), time(13))), ((time(9), time(0)),) * 2):
        with pytest.raises(Invalid):
            as_shop(shop, desk.save, hours=Hours({1: ranges}), **given)
    with pytest.raises(Invalid):
        as_shop(shop, desk.save, hours=LUNCH, **{**given, "notify_after": 0})


def test_words_speak_once_the_operator_has_agreed(shop: Shop) -> None:
    def speaking() -> str:
        return str(as_shop(shop, desk_of).away_words)

    first = as_shop(shop, desk.save_words, kind=WordsKind.AWAY, words="打烊啦，明早九点回您", hosts=HOSTS)
    assert speaking() == ""
    with shop.runtime.transaction(Role.PLATFORM) as session:
        (waiting,) = desk.pending(session, limit=10)
        assert waiting.words.id == first
        desk.judge(session, first, was=ReviewState.PENDING, now_is=ReviewState.APPROVED, operator_id=1, now=shop.now)
    assert speaking() == "打烊啦，明早九点回您"
    second = as_shop(shop, desk.save_words, kind=WordsKind.AWAY, words="休息中", hosts=HOSTS)
    assert speaking() == "打烊啦，明早九点回您", "the old words speak while the new ones wait"
    with shop.runtime.transaction(Role.PLATFORM) as session:
        desk.judge(session, second, was=ReviewState.PENDING, now_is=ReviewState.APPROVED, operator_id=1, now=shop.now)
    assert speaking() == "休息中"
    as_shop(shop, desk.save_words, kind=WordsKind.AWAY, words="", hosts=HOSTS)
    assert speaking() == ""
    with pytest.raises(Invalid):
        as_shop(shop, desk.save_words, kind=WordsKind.AWAY, words="看 http://evil.example/x", hosts=HOSTS)


# ---- Staff are told --------------------------------------------------------------------------------------------------


def told(runtime: Runtime) -> list[tuple[int, str]]:
    with runtime.transaction(Role.PLATFORM) as session:
        rows = session.execute(text("SELECT staff_id, kind FROM staff_notice ORDER BY id")).all()
    return [(row.staff_id, row.kind) for row in rows]


def test_staff_are_told_once_of_who_waits_and_never_what_was_said(shop: Shop) -> None:
    ann = shop.fan()
    with shop.runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("UPDATE staff SET muted_notices = ARRAY['talk_waits'] WHERE id = :id"), {"id": shop.clerk})

    def beat(now: datetime) -> None:
        with shop.runtime.transaction(Role.PLATFORM) as session:
            telling.tell_of_waiting(session, now)

    shop.said(ann, "悄悄话一句", at=shop.now)
    beat(shop.now + timedelta(minutes=1))
    assert told(shop.runtime) == [], "not at once"
    for minutes in (2, 3, 60):
        beat(shop.now + timedelta(minutes=minutes))
    assert told(shop.runtime) == [(shop.owner, NoticeKind.TALK_WAITS)], "who has switched it off is not told"
    with shop.runtime.transaction(Role.PLATFORM) as session:
        row = session.execute(text("SELECT subject, path, cause FROM staff_notice")).one()
    assert "悄悄话" not in str(row)
    assert row.path.startswith("/merchant/talks/")


@pytest.mark.parametrize(("answered", "said"), [(5, 65), (6, 4)], ids=["after it", "before it, told after it"])
def test_who_waits_again_after_an_answer_is_news_again(shop: Shop, answered: int, said: int) -> None:
    ann = shop.fan()
    talk_id = shop.said(ann, "在吗", at=shop.now)

    def look(minutes: int) -> None:
        with shop.runtime.transaction(Role.PLATFORM) as session:
            telling.tell_of_waiting(session, shop.now + timedelta(minutes=minutes))

    look(5)
    write(shop, talk_id, "在的", at=shop.now + timedelta(minutes=answered))
    shop.said(ann, "那几点关门", at=shop.now + timedelta(minutes=said))
    assert shop.talk(talk_id).state == "waiting"
    look(300)
    assert told(shop.runtime) == [(shop.owner, NoticeKind.TALK_WAITS), (shop.clerk, NoticeKind.TALK_WAITS)] * 2


def test_a_closed_desks_questions_hide_nobodys(shop: Shop, other_shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telling, "AT_ONCE", 1)
    as_shop(
        shop, desk.save, hours=Hours(closed_days=frozenset({business_day(shop.now)})), asks_satisfaction=False,
        hands_over=False, notify_after=2, now=shop.now,
    )  # fmt: skip
    shop.said(shop.fan(), "在吗", at=shop.now - timedelta(minutes=30))
    other_shop.said(other_shop.fan(), "在吗", at=other_shop.now - timedelta(minutes=5))
    with shop.runtime.transaction(Role.PLATFORM) as session:
        telling.tell_of_waiting(session, shop.now)
    assert [staff for staff, _ in told(shop.runtime)] == [other_shop.owner, other_shop.clerk]


def test_who_was_answered_in_time_is_no_news(shop: Shop) -> None:
    talk_id = shop.said(shop.fan(), "在吗", at=shop.now)
    write(shop, talk_id, "在的")
    with shop.runtime.transaction(Role.PLATFORM) as session:
        telling.tell_of_waiting(session, shop.now + timedelta(minutes=10))
    assert told(shop.runtime) == []


def test_outside_the_hours_staff_are_told_when_they_begin(shop: Shop) -> None:
    opens = shop.now + timedelta(hours=2)
    local = opens.astimezone(SHANGHAI)
    hours = Hours({local.isoweekday(): ((local.time().replace(second=0, microsecond=0), time(0)),)})
    as_shop(
        shop, desk.save, hours=hours, asks_satisfaction=False, hands_over=False, notify_after=2, now=shop.now
    )  # fmt: skip
    shop.said(shop.fan(), "在吗", at=shop.now)
    with shop.runtime.transaction(Role.PLATFORM) as session:
        telling.tell_of_waiting(session, shop.now + timedelta(minutes=10))
    assert told(shop.runtime) == []
    with shop.runtime.transaction(Role.PLATFORM) as session:
        telling.tell_of_waiting(session, opens + timedelta(minutes=1))
    assert len(told(shop.runtime)) == 2


# ---- Finding ---------------------------------------------------------------------------------------------------------


def found(shop: Shop, words: str) -> list[str]:
    result = as_shop(shop, search.find, words=words)
    return [one.snippet for one in result.messages]


def test_what_was_said_is_found_by_two_characters_and_more(shop: Shop, other_shop: Shop) -> None:
    ann = shop.fan()
    talk_id = shop.said(ann, "请问周末的营业时间是几点？")
    shop.said(ann, "时间多了营业的问题", at=shop.now + timedelta(seconds=1))
    shop.said(ann, "ＯＫ，Thank You", at=shop.now + timedelta(seconds=2))
    write(shop, talk_id, "营业时间：九点到九点")
    other_shop.said(other_shop.fan(), "营业时间？")
    assert found(shop, "营业时间") == ["营业时间：九点到九点", "请问周末的营业时间是几点？"]
    assert found(shop, "营业") == ["营业时间：九点到九点", "时间多了营业的问题", "请问周末的营业时间是几点？"]
    assert found(shop, "ok") == ["ＯＫ，Thank You"]
    assert found(shop, "thank you") == ["ＯＫ，Thank You"]
    assert found(shop, "时间是几点钟") == []
    assert found(other_shop, "营业时间") == ["营业时间？"]
    short = as_shop(shop, search.find, words="营")
    assert (short.messages, short.is_too_short) == ((), True)


def test_pairs_that_stand_apart_are_no_find(shop: Shop) -> None:
    shop.said(shop.fan(), "甲乙丙，乙丙丁")
    assert found(shop, "甲乙丙丁") == []
    assert found(shop, "乙丙丁") == ["甲乙丙，乙丙丁"]


def test_search_goes_page_by_page(shop: Shop) -> None:
    ann = shop.fan()
    for number in range(5):
        shop.said(ann, f"榴莲第{number}次", at=shop.now + timedelta(seconds=number))
    first = as_shop(shop, search.find, words="榴莲", limit=3)
    rest = as_shop(shop, search.find, words="榴莲", limit=3, before=first.before)
    assert [one.snippet for one in (*first.messages, *rest.messages)] == [f"榴莲第{n}次" for n in (4, 3, 2, 1, 0)]
    assert rest.before is None


def test_talks_are_found_by_number_note_and_tag(shop: Shop) -> None:
    ann = shop.fan()
    talk_id = shop.said(ann, "在吗")
    number = shop.talk(talk_id).number
    with shop.runtime.transaction(Role.MERCHANT, merchant_id=shop.merchant_id) as session:
        session.execute(text("UPDATE fan SET note = '三号楼的张阿姨' WHERE follower_id = :id"), {"id": ann})
        session.execute(
            text("INSERT INTO fan_tag (merchant_id, follower_id, tag) VALUES (:shop, :id, 'VIP客户')"),
            {"shop": shop.merchant_id, "id": ann},
        )
    for words in (number, number[:4].lower(), "张阿姨", "vip"):
        assert as_shop(shop, search.find, words=words).talks == (talk_id,), words
    assert as_shop(shop, search.find, words="客户").talks == (), "a tag is found by how it begins"
