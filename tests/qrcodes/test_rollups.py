"""The daily counts equal the scans and follows, however these came in."""

import random
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
from sqlalchemy import text

from bot import erasers
from bot.events import Event
from bot.inbox import Inbox
from bot.periodic import TASKS
from core import outbox
from core.clock import business_day
from core.database import Role
from core.runtime import Runtime
from core.scheduler import Scheduler
from qrcodes import rollups, traffic, truth
from qrcodes.traffic import Counts, Range
from tests.community import Code, Neighbourhood, new_openid, scanned, subscribed, unsubscribed
from tests.conftest import violations

DAYS = 45
EVENTS = 160


def stream(chance: random.Random, codes: list[Code], start: datetime) -> list[Event]:
    """Lives of a few people, in the order of time: they follow, scan here and there, leave, come back."""
    people = [new_openid() for _ in range(14)]
    following: set[str] = set()
    events: list[Event] = []
    at = start
    for _ in range(EVENTS):
        at += timedelta(days=DAYS) / EVENTS * chance.choice((0.1, 0.5, 1, 1.6))
        person, scene = chance.choice(people), chance.choice([*(code.scene for code in codes), "nobody-s", None])
        at = at.replace(microsecond=0)
        if person not in following:
            following.add(person)
            events.append(subscribed(person, at, scene))
        elif chance.random() < 0.3:
            following.discard(person)
            events.append(unsubscribed(person, at))
        else:
            events.append(scanned(person, at, scene or "nobody-s"))
    return events


def deliveries(chance: random.Random, events: list[Event]) -> Iterator[list[Event]]:
    """As they arrive: some late, some twice, in batches that hold nobody twice."""
    waiting = sorted(
        [(number + (chance.expovariate(1 / 25) if chance.random() < 0.3 else 0), event)
         for number, event in enumerate(events) for _ in range(1 + (chance.random() < 0.15))],
        key=lambda one: one[0],
    )  # fmt: skip
    batch: list[Event] = []
    for _, event in waiting:
        if len(batch) == 6 or event.openid in {one.openid for one in batch}:
            yield batch
            batch = []
        batch.append(event)
    yield batch


def hand_over(runtime: Runtime, code: Code, merchant_id: int, at: datetime) -> None:
    """As if it had been agreed on some time ago."""
    with runtime.transaction(Role.PLATFORM) as session:
        given = {"code": code.id, "merchant": merchant_id, "at": at}
        session.execute(text("UPDATE code_owner SET to_at = :at WHERE code_id = :code AND to_at IS NULL"), given)
        session.execute(
            text("INSERT INTO code_owner (code_id, merchant_id, from_at) VALUES (:code, :merchant, :at)"), given
        )
        session.execute(
            text("""
                INSERT INTO code_handover (code_id, from_merchant_id, to_merchant_id, from_name, to_name, label, kind,
                    place, state, offered_at, expires_at, effective_at)
                SELECT id, merchant_id, :merchant, '', '', label, kind, place, 'done', :at, :at, :at
                FROM sub_qr_code WHERE id = :code"""),
            given,
        )
        session.execute(text("UPDATE sub_qr_code SET merchant_id = :merchant WHERE id = :code"), given)


def erase_somebody(runtime: Runtime) -> bool:
    """Whoever left first is forgotten; False where everybody who left is."""
    with runtime.transaction(Role.PLATFORM) as session:
        gone = session.execute(
            text("SELECT id FROM follower WHERE status = 'gone' AND erased_at IS NULL ORDER BY state_as_of LIMIT 1")
        ).scalar()
        if gone is None:
            return False
        payload = {"follower_id": gone, "reason": "request"}
        outbox.add(session, kind=erasers.ERASE, dedupe_key=new_openid(), payload=payload, queue=outbox.MESSAGES)
    with runtime.transaction(Role.PLATFORM) as session:
        task = outbox.claim(session, outbox.MESSAGES)
    assert task is not None
    erasers.erase_follower(runtime, task)
    return True


def wrong_counts(runtime: Runtime) -> dict[str, list[tuple[object, ...]]]:
    return {name: rows for name, rows in violations(runtime.database).items() if name.startswith("traffic")}


def assert_true(runtime: Runtime, chance: random.Random, first: datetime) -> None:
    """Every answer about some ranges is what counting the rows gives."""
    with runtime.transaction(Role.PLATFORM) as session:
        rollups.count_all(session, at_once=chance.choice((1, 7, 1_000)))
        since = [business_day(first) + timedelta(days=chance.randrange(DAYS)) for _ in range(3)]
        spans = [Range(day, day + timedelta(days=chance.choice((0, 1, 6, 29, 60)))) for day in since]
        for span in (*spans, *(Range.last_days(days, runtime.now()) for days in traffic.RECENT_DAYS)):
            merchants, nobody = traffic.by_merchant(session, span)
            expected = truth.by_merchant(session, span)
            assert {one.merchant_id: one.counts for one in merchants if one.counts != Counts()} == {
                merchant: counts for merchant, counts in expected.items() if merchant is not None
            }
            assert nobody == expected.get(None, Counts())
            assert traffic.total(session, span) == truth.total(session, span)
            for merchant in merchants:
                assert merchant.counts == truth.total(session, span, merchant_id=merchant.merchant_id)
                days = traffic.by_day(session, span, merchant_id=merchant.merchant_id)
                assert {day.day: day.counts for day in days if day.counts != Counts()} == truth.by_day(
                    session, span, merchant_id=merchant.merchant_id
                )
            codes, everything = traffic.busiest_codes(session, span)
            assert {(one.code_id, one.merchant_id): one.counts for one in codes} == truth.by_code(session, span)
            assert everything == len(codes)
        everybody = Range(traffic.first_day(session, first), business_day(first) + timedelta(days=400))
        for merchant in traffic.by_merchant(session, everybody)[0]:
            following = traffic.following_now(session, merchant_id=merchant.merchant_id)
            assert merchant.counts.net == following


@pytest.mark.parametrize("seed", range(4))
def test_counts_are_those_of_the_rows_whatever_the_order(runtime: Runtime, seed: int) -> None:
    chance = random.Random(seed)
    street = Neighbourhood(runtime)
    inbox = Inbox(runtime)
    merchants = [street.merchant(name) for name in ("茶馆", "面馆", "书店")]
    codes = [street.code(merchant, f"{label} {merchant}") for merchant in merchants for label in ("前台", "门口")]
    start = street.now - timedelta(days=DAYS)
    events = stream(chance, codes, start)
    hand_over(runtime, codes[0], merchants[1], start + timedelta(days=20))
    for number, batch in enumerate(deliveries(chance, events)):
        inbox.receive(batch)
        if number % 11 == 10:
            assert not wrong_counts(runtime)
            erase_somebody(runtime)
        if number % 17 == 16:
            assert_true(runtime, chance, start)
    assert_true(runtime, chance, start)
    while erase_somebody(runtime):
        pass
    assert not wrong_counts(runtime)
    with runtime.transaction(Role.PLATFORM) as session:
        assert session.execute(text("SELECT count(*) FROM onward_scan")).scalar_one() > 0


@pytest.fixture
def shop(runtime: Runtime) -> tuple[Neighbourhood, Code]:
    street = Neighbourhood(runtime)
    return street, street.code(street.merchant("茶馆"))


def test_counting_that_is_interrupted_is_as_if_it_had_not_begun(
    runtime: Runtime, shop: tuple[Neighbourhood, Code]
) -> None:
    street, code = shop
    Inbox(runtime).receive([subscribed(new_openid(), street.now, code.scene)])

    with runtime.transaction(Role.PLATFORM) as session:
        assert rollups.count(session).notes == 2
        session.rollback()
    today = Range.last_days(1, street.now)
    with runtime.transaction(Role.PLATFORM) as session:
        assert traffic.total(session, today) == Counts()
        rollups.count_all(session)
        assert traffic.total(session, today) == Counts(scans=1, scanners=1, new=1)
        assert rollups.count(session).notes == 0


def test_one_counts_at_a_time(runtime: Runtime, shop: tuple[Neighbourhood, Code]) -> None:
    street, code = shop
    Inbox(runtime).receive([subscribed(new_openid(), street.now, code.scene)])
    with runtime.transaction(Role.PLATFORM) as first, runtime.transaction(Role.PLATFORM) as second:
        assert rollups.count(first).notes == 2
        assert rollups.count(second).notes == 0
    with runtime.transaction(Role.PLATFORM) as session:
        assert traffic.total(session, Range.last_days(1, street.now)).scans == 1


def test_the_scheduler_keeps_up_and_owes_a_longer_backlog(
    runtime: Runtime, shop: tuple[Neighbourhood, Code], monkeypatch: pytest.MonkeyPatch
) -> None:
    street, code = shop
    monkeypatch.setattr(rollups, "AT_ONCE", 3)
    monkeypatch.setattr(rollups.count, "__kwdefaults__", {"at_once": 3, "waits": False})
    Inbox(runtime).receive([subscribed(new_openid(), street.now, code.scene) for _ in range(5)])
    beat = Scheduler(runtime, [task for task in TASKS if task.name == "traffic"])
    assert beat.start_due() == ["traffic"]
    with runtime.transaction(Role.PLATFORM) as session:
        assert traffic.total(session, Range.last_days(1, street.now)).scans == 3
        task = outbox.claim(session, outbox.SLOW)
    assert task is not None
    rollups.work_off(runtime, task)
    with runtime.transaction(Role.PLATFORM) as session:
        assert traffic.total(session, Range.last_days(1, street.now)).scans == 5
        outbox.finish(session, task)


def test_what_is_told_late_about_a_finished_day_is_logged(runtime: Runtime, shop: tuple[Neighbourhood, Code]) -> None:
    street, code = shop
    inbox, ann = Inbox(runtime), new_openid()
    for days in (0, 1, 5):
        inbox.receive([scanned(ann, street.now - timedelta(days=days), code.scene)])
        with runtime.transaction(Role.PLATFORM) as session:
            rollups.count_all(session)
    day = business_day(street.now) - timedelta(days=5)
    with runtime.transaction(Role.PLATFORM) as session:
        told = rollups.restatements(session, since=day - timedelta(days=9), until=business_day(street.now))
    assert [(one.day, one.merchant_name, one.scans) for one in told] == [(day, "茶馆", 1)]
