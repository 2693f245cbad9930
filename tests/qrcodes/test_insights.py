"""Who stays, where people go next, when they come, what is unusual, and the rows behind a figure."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from sqlalchemy import text

from bot.events import Event
from bot.inbox import Inbox
from core.clock import business_day, start_of_day
from core.database import Role
from core.runtime import Runtime
from qrcodes import alarms, happenings, insights, queries, rollups
from qrcodes.counted import NOBODY, AlarmKind
from qrcodes.happenings import Behind, Figure
from qrcodes.insights import Grouping, Kept, Place
from qrcodes.traffic import Range
from tests.community import Code, Neighbourhood, new_openid, scanned, subscribed, unsubscribed


@pytest.fixture
def street(runtime: Runtime) -> Neighbourhood:
    return Neighbourhood(runtime)


def happen(runtime: Runtime, events: Sequence[Event]) -> None:
    inbox = Inbox(runtime)
    for event in events:
        inbox.receive([event])
    rollups.catch_up(runtime)
    with runtime.transaction(Role.PLATFORM) as session:
        # That who left long ago is to be forgotten is another story.
        session.execute(text("UPDATE follower SET erase_due_at = NULL"))


def noon(street: Neighbourhood, days_ago: int) -> datetime:
    return start_of_day(business_day(street.now) - timedelta(days=days_ago)) + timedelta(hours=12)


def comes_and_goes(code: Code, at: datetime, *, stays: timedelta | None = None) -> list[Event]:
    person = new_openid()
    leave = [] if stays is None else [unsubscribed(person, at + stays)]
    return [subscribed(person, at, code.scene), *leave]


def test_kept_looks_only_at_those_whose_time_has_passed(runtime: Runtime, street: Neighbourhood) -> None:
    code = street.code(street.merchant("茶馆"))
    at, day = noon(street, 10), timedelta(days=1)
    events = [*comes_and_goes(code, at), *comes_and_goes(code, at, stays=day), *comes_and_goes(code, at, stays=3 * day)]
    happen(runtime, [*events, *comes_and_goes(code, noon(street, 1))])
    with runtime.transaction(Role.PLATFORM) as session:
        (group,) = insights.by_group(session, Range.last_days(30, street.now), Grouping.KIND)
        weeks = insights.cohorts(session, weeks=6, now=street.now, merchant_id=code.merchant_id)
        assert insights.cohorts(session, weeks=6, now=street.now) == weeks
    # A leave after a day to the second is not kept for a day; who came yesterday is not asked about yet.
    assert group.kept == (Kept(2, 3), Kept(1, 3), Kept(0, 0))
    assert (group.new, group.lost, group.net) == (4, 2, 2)
    assert sum(week.won for week in weeks) == 4
    (week,) = [one for one in weeks if one.first_day <= business_day(at) < one.first_day + timedelta(days=7)]
    assert week.kept[0] in {Kept(2, 3), Kept(0, 0), Kept(3, 4)}


def test_codes_are_put_together_by_kind_place_promoter_and_community(runtime: Runtime, street: Neighbourhood) -> None:
    shops = [street.merchant(name) for name in ("茶馆", "面馆")]
    codes = [street.code(shop, f"第 {number} 个") for shop in shops for number in (1, 2)]
    with runtime.transaction(Role.PLATFORM) as session:
        for code, kind, place in zip(
            codes, ("lift", "promoter", "lift", "staff"), ("电梯", "", "电梯", ""), strict=True
        ):
            given = {"id": code.id, "kind": kind, "place": place}
            session.execute(text("UPDATE sub_qr_code SET kind = :kind, place = :place WHERE id = :id"), given)
    happen(runtime, [event for code in codes for event in comes_and_goes(code, noon(street, 2))])
    span = Range.last_days(7, street.now)
    with runtime.transaction(Role.PLATFORM) as session:
        groups = {
            by: {(one.name, one.codes, one.scans) for one in insights.by_group(session, span, by)} for by in Grouping
        }
    assert groups[Grouping.KIND] == {("lift", 2, 2), ("promoter", 1, 1), ("staff", 1, 1)}
    assert groups[Grouping.PLACE] == {("电梯", 2, 2), ("", 2, 2)}
    assert groups[Grouping.PROMOTER] == {("第 2 个", 1, 1)}
    ((_, merchants, scans),) = groups[Grouping.COMMUNITY]
    assert (merchants, scans) == (2, 4)


def test_where_people_go_next(runtime: Runtime, street: Neighbourhood) -> None:
    tea, noodles, books = (street.code(street.merchant(name)) for name in ("茶馆", "面馆", "书店"))
    at, hour = noon(street, 3), timedelta(hours=1)
    ann, ben = new_openid(), new_openid()
    happen(
        runtime,
        [
            subscribed(ann, at, tea.scene),
            scanned(ann, at + hour, tea.scene),
            scanned(ann, at + 2 * hour, noodles.scene),
            scanned(ann, at + 3 * hour, books.scene),
            subscribed(ben, at, tea.scene),
        ],
    )
    span = Range.last_days(7, street.now)
    with runtime.transaction(Role.PLATFORM) as session:
        flow = insights.flow(session, span)
    assert flow.sources == (Place(tea.merchant_id, "茶馆"),)
    assert flow.targets == (Place(noodles.merchant_id, "面馆"),)
    assert flow.people == ((1,),)
    # What is told late may come in between: it was the book shop after all.
    happen(runtime, [scanned(ann, at + timedelta(minutes=5), books.scene)])
    with runtime.transaction(Role.PLATFORM) as session:
        assert insights.flow(session, span).targets == (Place(books.merchant_id, "书店"),)


def test_hours_and_weekdays_are_those_of_shanghai(runtime: Runtime, street: Neighbourhood) -> None:
    code = street.code(street.merchant("茶馆"))
    at = noon(street, 2) + timedelta(hours=8, minutes=59)
    happen(runtime, comes_and_goes(code, at))
    with runtime.transaction(Role.PLATFORM) as session:
        for merchant_id in (None, code.merchant_id):
            table = insights.hours(session, Range.last_days(7, street.now), merchant_id=merchant_id)
            assert table[business_day(at).weekday()][20] == 1
            assert sum(map(sum, table)) == 1


def test_every_figure_opens_its_rows(runtime: Runtime, street: Neighbourhood) -> None:
    code = street.code(street.merchant("茶馆"))
    at = noon(street, 3)
    person = new_openid()
    happen(
        runtime,
        [
            subscribed(person, at, code.scene),
            unsubscribed(person, at + timedelta(hours=1)),
            subscribed(person, at + timedelta(hours=2), code.scene),
            *(scanned(person, at + timedelta(hours=3), code.scene) for _ in range(1)),
            *comes_and_goes(code, at),
            subscribed(new_openid(), at),
        ],
    )
    span = Range.last_days(7, street.now)
    with runtime.transaction(Role.PLATFORM) as session:
        for figure, count, nobodys in (("scans", 4, 0), ("new", 3, 1), ("returning", 1, 0), ("lost", 1, 0)):
            behind = Behind(Figure(figure), span)
            rows = list(happenings.everything(session, behind, at_once=1))
            assert rows == happenings.page(session, behind)
            assert len(rows) == count
            assert len(happenings.page(session, Behind(Figure(figure), span, merchant_id=NOBODY))) == nobodys
            own = Behind(Figure(figure), span, merchant_id=code.merchant_id, code_id=code.id)
            assert len(happenings.page(session, own)) == count - nobodys
        key = rows[0].key
        assert happenings.Key.parse(str(key)) == key


def test_unusual_days_and_silent_codes_are_noted_once(runtime: Runtime, street: Neighbourhood) -> None:
    drops, spikes, silent = (street.code(street.merchant(name)) for name in ("冷清", "热闹", "没声"))
    day = business_day(street.now) - timedelta(days=1)
    with runtime.transaction(Role.PLATFORM) as session:
        for ago in range(35):
            for code, scans in ((drops, 2 if ago == 0 else 20), (spikes, 90 if ago == 0 else 20), (silent, 12)):
                if code is silent and ago < alarms.SILENT_DAYS:
                    continue
                for level, code_id in (("merchant", NOBODY), ("code", code.id)):
                    session.execute(
                        text("""
                            INSERT INTO daily_traffic (level, day, merchant_id, code_id, scans, scanners,
                                new, back, lost, by_hour, gaps, seen, stays, gone)
                            VALUES (:level, :day, :merchant, :code, :scans, :scans,
                                0, 0, 0, '{}', '{}', '{}', '{}', '{}')
                        """),
                        {"level": level, "day": day - timedelta(days=ago), "merchant": code.merchant_id,
                         "code": code_id, "scans": scans},
                    )  # fmt: skip
        alarms.judge_yesterday(session, street.now)
        alarms.judge_yesterday(session, street.now)
        noted, count = alarms.of_day(session, day, limit=10)
        assert {(one.kind, one.merchant_name, one.scans) for one in noted} == {
            (AlarmKind.DROP, "冷清", 2),
            (AlarmKind.SPIKE, "热闹", 90),
            (AlarmKind.DROP, "没声", 0),
            (AlarmKind.SILENT, "没声", 0),
        }
        assert count == len(alarms.page(session)) == 4
        session.execute(text("DELETE FROM daily_traffic"))


def test_codes_that_end_soon_say_how_soon(runtime: Runtime, street: Neighbourhood) -> None:
    shop = street.merchant("茶馆")
    ends = {"明天": 0.9, "后天": 2.5, "下周": 6.5, "下月": 20, "过了": -1}
    with runtime.transaction(Role.PLATFORM) as session:
        for label, days in ends.items():
            code = street.code(shop, label)
            session.execute(
                text("UPDATE sub_qr_code SET expires_at = :at WHERE id = :id"),
                {"at": street.now + timedelta(days=days), "id": code.id},
            )
        found = queries.expiring(session, street.now)
    assert [(one.label, one.days) for one in found] == [("明天", 1), ("后天", 3), ("下周", 7)]


def test_outages_that_overlap_are_one_gap(runtime: Runtime, street: Neighbourhood) -> None:
    at, minute = noon(street, 2), timedelta(minutes=1)
    with runtime.transaction(Role.PLATFORM) as session:
        for who, began, ended in (("web", 0, 10), ("scheduler", 5, 12), ("web", 60, 60.5), ("web", 90, 95)):
            session.execute(
                text("INSERT INTO outage (who, began_at, ended_at) VALUES (:who, :began, :ended)"),
                {"who": who, "began": at + began * minute, "ended": at + ended * minute},
            )
        gaps = insights.gaps(session, Range.last_days(7, street.now))
        assert insights.gaps(session, Range.last_days(1, street.now)) == []
    assert [gap.minutes for gap in gaps] == [12, 5]


def test_only_of_codes_with_a_cost_all_they_ever_brought_is_added_up(runtime: Runtime, street: Neighbourhood) -> None:
    dear = street.code(street.merchant("物业"), "电梯")
    cheap = street.code(dear.merchant_id, "门口")
    for code in (dear, cheap):
        moments = (street.now - timedelta(days=40), street.now - timedelta(days=1))
        happen(runtime, [subscribed(new_openid(), at, code.scene) for at in moments])
    rollups.catch_up(runtime)
    with runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("UPDATE sub_qr_code SET cost_fen = 900 WHERE id = :id"), {"id": dear.id})
    with runtime.transaction(Role.MERCHANT, merchant_id=dear.merchant_id) as session:
        week = Range.last_days(7, street.now)
        found = insights.by_code(session, week, merchant_id=dear.merchant_id, now=street.now)
    assert {one.label: (one.new, one.new_so_far, one.fen_per_new) for one in found} == {
        "电梯": (1, 2, 450),
        "门口": (1, 0, None),
    }
