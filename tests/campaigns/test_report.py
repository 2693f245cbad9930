"""What is told about a broadcast: every share counted once, why it waits, what followed, and whether it mattered."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text, update

from bot import retention
from campaigns.broadcasts import aftermath, bank, report
from campaigns.broadcasts.aftermath import Effects, Followed, Muting
from campaigns.broadcasts.lift import Arm, Verdict, compare
from campaigns.broadcasts.models import Broadcast, NotReached, Route
from campaigns.broadcasts.report import Asked, Outcome, Progress, Wait, WaitKind
from core.clock import SHANGHAI
from core.database import Role
from core.errors import NotFound
from core.runtime import Runtime
from tests.campaigns.sent import Sent
from tests.community import Neighbourhood

# Recipients are written without the ledger that belongs to them.
pytestmark = pytest.mark.plants_violation

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def street(runtime: Runtime) -> Neighbourhood:
    return Neighbourhood(runtime)


def progress_of(sent: Sent, *, role: Role = Role.MERCHANT, now: datetime | None = None) -> Progress:
    merchant_id = sent.merchant_id if role is Role.MERCHANT else None
    with sent.runtime.transaction(role, merchant_id=merchant_id) as session:
        return report.progress(session, report.find(session, sent.id), now=now or sent.runtime.now())


def waits_of(sent: Sent, now: datetime) -> list[Wait]:
    with sent.runtime.transaction(Role.MERCHANT, merchant_id=sent.merchant_id) as session:
        broadcast = report.find(session, sent.id)
        return report.waits(session, broadcast, report.progress(session, broadcast, now=now), now=now)


def counts_of(sent: Sent, *, now: datetime | None = None) -> dict[Followed, int]:
    with sent.runtime.transaction(Role.MERCHANT, merchant_id=sent.merchant_id) as session:
        broadcast = report.find(session, sent.id)
        after = aftermath.aftermath(session, broadcast, now=now or sent.runtime.now())
        for what, count in after.counts.items():
            assert len(list(aftermath.everybody(session, broadcast, what))) == count, what
        return after.counts


def effects_of(sent: Sent, *, now: datetime | None = None) -> Effects | None:
    with sent.runtime.transaction(Role.MERCHANT, merchant_id=sent.merchant_id) as session:
        return aftermath.effects(session, report.find(session, sent.id), now=now or sent.runtime.now())


def noon(days: int = 0) -> datetime:
    return datetime(2026, 11, 25 + days, 12, tzinfo=SHANGHAI)


# ---- Progress --------------------------------------------------------------------------------------------------------


def test_every_share_is_counted_once_and_the_unknown_stay_unknown(street: Neighbourhood) -> None:
    """BC-16."""
    sent = Sent(street, street.merchant("茶馆"))
    people = iter(sent.fans(100))

    def some(count: int) -> list[int]:
        return [next(people) for _ in range(count)]

    told = sent.batch(20, "accepted", told=(20, 17, 16, 1))
    quiet, lost, calling = sent.batch(10, "accepted"), sent.batch(9, "unknown"), sent.batch(8, "calling")
    refused = sent.batch(7, "rejected", errcode=40003)
    sent.share(some(20), "mass", "sent", batch_id=told)
    sent.share(some(10), "mass", "sent", batch_id=quiet)
    # Of one batch the rows follow later than the batch; it knows more than they do.
    sent.share(some(5), "mass", "unknown", batch_id=lost)
    sent.share(some(4), "mass", "planned", batch_id=lost)
    sent.share(some(8), "mass", "planned", batch_id=calling)
    sent.share(some(7), "mass", "planned", batch_id=refused)
    sent.share(some(6), "window", "sent")
    sent.share(some(2), "window", "unknown")
    sent.share(some(3), "window", "rejected", errcode=45015)
    sent.share(some(1), "window", "calling")
    sent.share(some(5), "mass", "planned")
    sent.share(some(4), "hello", "planned")
    sent.share(some(3), "none", "skipped", reason="month")
    sent.share(some(2), "window", "skipped", reason="left")
    sent.share(some(1), "none", "skipped", reason="held_out")
    sent.share(some(2), "hello", "cancelled")
    for role in (Role.MERCHANT, Role.PLATFORM):
        done = progress_of(sent, role=role)
        assert done.total == 83
        assert {outcome: done.of(outcome) for outcome in Outcome} == {
            Outcome.ACCEPTED: 36, Outcome.REJECTED: 10, Outcome.UNKNOWN: 11, Outcome.UNDERWAY: 9, Outcome.WAITING: 5,
            Outcome.HELLO: 4, Outcome.HELD_OUT: 1, Outcome.SKIPPED: 5, Outcome.CANCELLED: 2,
        }  # fmt: skip
        assert (done.filtered, done.failed, done.accepted, done.uncounted) == (3, 1, 32, 10)
        assert (done.accepted_by(Route.MASS), done.accepted_by(Route.WINDOW)) == (26, 6)
        assert done.reasons() == [(NotReached.MONTH, 3), (NotReached.LEFT, 2)]
        assert done.refusals() == [(40003, 7), (45015, 3)]
        assert done.open == 18
        assert [(one.no, one.told.sent if one.told else None) for one in done.batches] == [
            (1, 16), (2, None), (3, None), (4, None), (5, None),
        ]  # fmt: skip


def test_each_number_opens_as_many_people(street: Neighbourhood) -> None:
    sent = Sent(street, street.merchant("茶馆"))
    people = sent.fans(30)
    lost = sent.batch(8, "unknown")
    sent.share(people[:8], "mass", "planned", batch_id=lost)
    sent.share(people[8:20], "window", "sent")
    sent.share(people[20:24], "window", "rejected", errcode=45015)
    sent.share(people[24:], "none", "skipped", reason="muted")
    with sent.runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("UPDATE fan SET erased_at = app_now() WHERE follower_id = :f"), {"f": people[0]})
    with sent.runtime.transaction(Role.MERCHANT, merchant_id=sent.merchant_id) as session:
        broadcast = report.find(session, sent.id)
        done = report.progress(session, broadcast, now=sent.runtime.now())
        for outcome in Outcome:
            listed = list(report.everybody(session, broadcast, Asked(outcome=outcome)))
            assert len(listed) == done.of(outcome), outcome
            assert {one.outcome for one in listed} <= {outcome}
        unknown = list(report.everybody(session, broadcast, Asked(outcome=Outcome.UNKNOWN, route=Route.MASS)))
        assert [one.follower_id for one in unknown] == people[:8]
        assert [one.number is None for one in unknown] == [True] + [False] * 7
        assert unknown[0].place is not None
        assert report.follower_at(session, sent.merchant_id, unknown[0].place) == people[0]
        muted = report.people(session, broadcast, Asked(reason=NotReached.MUTED), limit=4)
        rest = report.people(session, broadcast, Asked(reason=NotReached.MUTED), after=muted[-1].follower_id)
        assert [one.follower_id for one in [*muted, *rest]] == people[24:]


def test_the_pace_of_the_last_minutes_tells_how_long_it_takes(street: Neighbourhood) -> None:
    sent = Sent(street, street.merchant("茶馆"))
    people, now = sent.fans(100), street.now
    sent.share(people[:20], "window", "sent", settled_at=now - timedelta(seconds=60))
    sent.share(people[20:40], "window", "sent", settled_at=now - timedelta(minutes=5))
    sent.share(people[40:], "window", "planned")
    assert progress_of(sent, now=now).left() == timedelta(minutes=6)
    assert progress_of(sent, now=now + timedelta(minutes=30)).left() is None


def test_another_merchants_broadcast_is_not_there(street: Neighbourhood) -> None:
    """TN-3: by the policies alone, and by what the statement says alone."""
    sent, other = Sent(street, street.merchant("茶馆")), street.merchant("面馆")
    sent.share(sent.fans(3), "window", "sent")
    with sent.runtime.transaction(Role.MERCHANT, merchant_id=other) as session:
        with pytest.raises(NotFound):
            report.find(session, sent.id)
        rows = text("SELECT count(*) FROM broadcast_recipient WHERE broadcast_id = :id")
        assert session.execute(rows, {"id": sent.id}).scalar_one() == 0
    with sent.runtime.transaction(Role.PLATFORM) as session, pytest.raises(NotFound):
        report.find(session, sent.id, merchant_id=other)


# ---- Why it waits ----------------------------------------------------------------------------------------------------


def change(sent: Sent, statement: str, **given: Any) -> None:
    with sent.runtime.transaction(Role.PLATFORM) as session:
        session.execute(text(statement), given)


def test_it_says_why_it_waits(street: Neighbourhood) -> None:
    sent = Sent(street, street.merchant("茶馆"))
    sent.share(sent.fans(10), "mass", "planned")
    today = noon().date()
    assert waits_of(sent, noon()) == []
    assert waits_of(sent, noon() + 11 * HOUR) == [
        Wait(WaitKind.QUIET, until=datetime(2026, 11, 26, 8, 30, tzinfo=SHANGHAI))
    ]
    change(sent, "INSERT INTO account_day_quota (day, cap, used) VALUES (:day, 100, 40)", day=today)
    change(
        sent,
        "INSERT INTO call_allotment (day, merchant_id, allotted, used) VALUES (:day, :m, 3, 3)",
        day=today, m=sent.merchant_id,
    )  # fmt: skip
    six = datetime(2026, 11, 25, 18, tzinfo=SHANGHAI)
    assert waits_of(sent, noon()) == [Wait(WaitKind.CALLS, until=six)]
    change(sent, "UPDATE account_day_quota SET returned_at = :at", at=six)
    assert waits_of(sent, six + HOUR) == []
    change(sent, "UPDATE account_day_quota SET used = 100")
    midnight = datetime(2026, 11, 26, tzinfo=SHANGHAI)
    assert waits_of(sent, noon()) == [Wait(WaitKind.CALLS, until=midnight)]
    change(sent, "UPDATE sending_state SET paused_at = app_now(), resume_at = :at, reason = '45009'", at=midnight)
    assert waits_of(sent, noon())[0] == Wait(WaitKind.ACCOUNT, until=midnight, reason="45009")
    change(sent, "UPDATE broadcast SET state = 'paused', paused_by = 'operator', pause_reason = '错字'")
    assert waits_of(sent, noon()) == [Wait(WaitKind.PAUSED, by="operator", reason="错字")]


def test_chats_wait_for_no_mass_calls(street: Neighbourhood) -> None:
    sent = Sent(street, street.merchant("茶馆"))
    sent.share(sent.fans(10), "window", "planned")
    change(sent, "INSERT INTO account_day_quota (day, cap, used) VALUES (:day, 100, 100)", day=noon().date())
    assert waits_of(sent, noon()) == []


def test_holidays_are_quiet_to_the_morning_after_the_last(street: Neighbourhood) -> None:
    with street.runtime.transaction(Role.PLATFORM) as session:
        days = [noon().date(), noon(1).date()]
        session.execute(text("UPDATE quota_policy SET holidays = :days"), {"days": days})
        policy = bank.policy(session)
    assert report.quiet_until(policy, noon()) == datetime(2026, 11, 27, 8, 30, tzinfo=SHANGHAI)
    assert report.quiet_until(policy, noon(2)) is None
    early = datetime(2026, 11, 27, 3, tzinfo=SHANGHAI)
    assert report.quiet_until(policy, early) == datetime(2026, 11, 27, 8, 30, tzinfo=SHANGHAI)


# ---- What followed ---------------------------------------------------------------------------------------------------


def test_what_people_did_counts_after_they_were_sent_it_and_in_time(street: Neighbourhood) -> None:
    shop, other = street.merchant("茶馆"), street.merchant("面馆")
    code, theirs = street.code(shop), street.code(other)
    sent = Sent(street, shop, ago=9 * DAY)
    people, at = sent.fans(60), sent.started_at
    sent.share(people[:50], "window", "sent", settled_at=at + HOUR)
    sent.share(people[50:55], "window", "unknown")
    sent.share(people[55:], "none", "skipped", reason="held_out")
    before, soon, late = at + HOUR / 2, at + 2 * HOUR, at + 60 * HOUR
    sent.wrote(people[:4], soon)
    sent.wrote(people[:2], soon + HOUR)
    sent.wrote(people[4:6], before)
    sent.wrote(people[6:8], late)
    sent.wrote(people[8:10], soon, merchant_id=other)
    sent.wrote(people[50:58], soon)
    sent.scanned(people[:6], code.id, late)
    sent.scanned(people[:3], code.id, soon)
    sent.scanned(people[6:8], code.id, before)
    sent.scanned(people[8:10], code.id, at + HOUR + 7 * DAY + HOUR)
    sent.scanned(people[10:12], code.id, soon, by_staff=True)
    sent.scanned(people[12:14], code.id, soon, is_test=True)
    sent.scanned(people[50:], code.id, soon)
    sent.left(people[20:25], soon)
    sent.left(people[25:27], late)
    sent.muted([*people[30:33], people[50]], soon)
    sent.muted(people[33:35], late)
    assert counts_of(sent) == {
        Followed.ANSWERED: 4, Followed.VISITED: 6, Followed.LEFT: 5, Followed.MUTED: 3,
    }  # fmt: skip
    with street.runtime.transaction(Role.MERCHANT, merchant_id=shop) as session:
        assert aftermath.muting_now(session, shop) == Muting(60, 6)
        (one,) = aftermath.muting_by_broadcast(session, shop)
        assert (one.broadcast_id, one.name, one.muting) == (sent.id, "周末新茶", Muting(50, 3))
    assert theirs.merchant_id == other


def test_taps_by_link_and_visitor(street: Neighbourhood) -> None:
    sent = Sent(street, street.merchant("茶馆"))
    sent.tapped("https://a.example/1", [b"ann", b"ann", b"ben"])
    sent.tapped("https://a.example/2", [b"ann"])
    sent.tapped("https://a.example/3", [])
    with sent.runtime.transaction(Role.MERCHANT, merchant_id=sent.merchant_id) as session:
        after = aftermath.aftermath(session, report.find(session, sent.id), now=street.now)
    assert [(link.target[-1], link.taps, link.visitors) for link in after.links] == [
        ("1", 3, 2),
        ("2", 1, 1),
        ("3", 0, 0),
    ]
    assert (after.taps, after.visitors) == (4, 2)


def test_forgotten_answers_are_no_zero(street: Neighbourhood) -> None:
    sent = Sent(street, street.merchant("茶馆"), ago=41 * DAY, state="finished", finished_at=street.now - 40 * DAY)
    with sent.runtime.transaction(Role.MERCHANT, merchant_id=sent.merchant_id) as session:
        assert not aftermath.aftermath(session, report.find(session, sent.id), now=street.now).has_answers
    assert aftermath.ANSWERS_KEPT <= retention.WINDOWS_KEPT


# ---- Because of it? --------------------------------------------------------------------------------------------------


def drawn(chance: random.Random, people: int, share: float) -> Arm:
    return Arm(people, sum(chance.random() < share for _ in range(people)))


@pytest.mark.parametrize(("sent", "held", "share"), [(9_000, 1_000, 0.06), (900, 100, 0.02), (5_000, 5_000, 0.3)])
def test_no_effect_is_hardly_ever_claimed(sent: int, held: int, share: float) -> None:
    chance = random.Random(20_261_122)
    claims = [compare(drawn(chance, sent, share), drawn(chance, held, share)).is_told for _ in range(400)]
    assert sum(claims) / len(claims) <= 0.06


def test_three_questions_together_are_no_more_credulous() -> None:
    chance = random.Random(7)
    careless = careful = 0
    for _ in range(300):
        pairs = [(drawn(chance, 500, 0.1), drawn(chance, 500, 0.1)) for _ in range(3)]
        careless += any(compare(one, other).is_told for one, other in pairs)
        careful += any(compare(one, other, claims=3).is_told for one, other in pairs)
    assert careful / 300 <= 0.06 < careless / 300


def test_an_effect_is_found_and_its_interval_holds_the_truth() -> None:
    chance = random.Random(11)
    found = held = 0
    for _ in range(300):
        lift = compare(drawn(chance, 9_000, 0.09), drawn(chance, 1_000, 0.05))
        found += lift.verdict is Verdict.MORE
        held += lift.low <= 0.04 <= lift.high
    assert found / 300 > 0.95
    assert held / 300 >= 0.92


def test_few_people_say_nothing_however_large_the_difference() -> None:
    assert compare(Arm(99, 99), Arm(5_000, 0)).verdict is Verdict.TOO_SMALL
    assert compare(Arm(0, 0), Arm(0, 0)).verdict is Verdict.TOO_SMALL
    assert compare(Arm(100, 90), Arm(5_000, 0)).verdict is Verdict.MORE
    assert compare(Arm(5_000, 0), Arm(100, 90)).verdict is Verdict.LESS


def test_who_was_not_reached_is_compared_too(street: Neighbourhood) -> None:
    """Everybody is as likely to come; only those who come seldom were left out for the share or had left. Comparing
    who was reached would find an effect where there is none."""
    shop = street.merchant("茶馆")
    code = street.code(shop)
    sent = Sent(street, shop, ago=8 * DAY, held_out_percent=25)
    often, seldom = sent.fans(800), sent.fans(800)
    sent.share(often[:600], "mass", "sent")
    sent.share(often[600:], "none", "skipped", reason="held_out")
    sent.share(seldom[:400], "none", "skipped", reason="share")
    sent.share(seldom[400:600], "mass", "skipped", reason="left")
    sent.share(seldom[600:], "none", "skipped", reason="held_out")
    # Not drawn from: they had no route to begin with.
    sent.share(sent.fans(500), "none", "skipped", reason="muted")
    visitors = [*often[:600:2], *often[600::2]]
    sent.scanned(visitors, code.id, sent.started_at + DAY)
    found = effects_of(sent)
    assert found is not None
    assert found.held_out is not None
    assert found.is_over
    assert (found.held_out.one, found.held_out.other) == (Arm(1_200, 300), Arm(400, 100))
    assert found.held_out.verdict is Verdict.UNSURE
    assert compare(Arm(600, 300), Arm(400, 100)).verdict is Verdict.MORE


def test_two_texts_are_compared_by_what_people_did(street: Neighbourhood) -> None:
    shop = street.merchant("茶馆")
    code = street.code(shop)
    sent = Sent(street, shop, ago=8 * DAY)
    people = sent.fans(1_000)
    sent.share(people[:500], "window", "sent", variant="a")
    sent.share(people[500:], "window", "sent", variant="b")
    sent.scanned([*people[:200], *people[500:560]], code.id, sent.started_at + DAY)
    sent.wrote([*people[:30], *people[500:540]], sent.started_at + HOUR)
    sent.tapped("https://a.example", [bytes([one]) for one in range(10)], variant="a")
    sent.tapped("https://a.example", [bytes([one]) for one in range(60)], variant="b")
    found = effects_of(sent)
    assert found is not None
    assert found.held_out is None
    assert found.variants is not None
    assert {name: (lift.one.hits, lift.other.hits, lift.verdict) for name, lift in found.variants.items()} == {
        "visits": (200, 60, Verdict.MORE), "answers": (30, 40, Verdict.UNSURE), "taps": (10, 60, Verdict.LESS),
    }  # fmt: skip


def test_nothing_is_concluded_before_the_days_are_over(street: Neighbourhood) -> None:
    sent = Sent(street, street.merchant("茶馆"))
    people = sent.fans(4)
    sent.share(people[:2], "window", "sent")
    assert effects_of(sent) is None
    sent.share(people[2:], "none", "skipped", reason="held_out")
    found = effects_of(sent)
    assert found is not None
    assert not found.is_over
    later = effects_of(sent, now=sent.started_at + 7 * DAY)
    assert later is not None
    assert later.is_over


def test_the_operators_list_finds_what_is_looked_for(street: Neighbourhood) -> None:
    first = Sent(street, street.merchant("茶馆"), name="周末新茶")
    Sent(street, street.merchant("面馆"), name="加量", state="finished")
    draft = Sent(street, first.merchant_id, name="还在写", started_at=None, state="draft")
    first.batch(10, "unknown")
    with street.runtime.transaction(Role.PLATFORM) as session:
        rows = report.all_broadcasts(session)
        assert [(row.name, row.unknown_batches) for row in rows] == [("加量", 0), ("周末新茶", 1)]
        assert [row.name for row in report.all_broadcasts(session, search="茶馆")] == ["周末新茶"]
        assert [row.name for row in report.all_broadcasts(session, before=rows[0].id)] == ["周末新茶"]
        session.execute(update(Broadcast).where(Broadcast.id == draft.id).values(name="写好了"))
        assert len(report.all_broadcasts(session, merchant_id=first.merchant_id)) == 1
