"""At the same moment: nobody spends a point twice, is paid twice, or is paid beyond a limit (PT-2, PT-5, PT-8, PT-10).

Each race is run 200 times with injected pauses, and once more as somebody would write it who reads first and writes
afterwards, in a database without the constraints that would save them: that one must fail, or the race shows nothing.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from campaigns.points import ledger, rules
from campaigns.points.ledger import Cause, Moved, NotEnoughPoints, Reversed
from campaigns.points.models import RuleTrigger
from campaigns.points.rules import CheckedIn, Paid
from core.database import Database, Role
from core.runtime import Runtime
from core.servers import ServerUrls
from core.settings import Settings
from tests.campaigns.points.races import ROUNDS, pause, pauses, race
from tests.campaigns.points.test_exchange import Counter as Shop
from tests.campaigns.points.till import CHECK_IN, SPEND, Till
from tests.conftest import SECRET_KEY

WITHOUT = """
    ALTER TABLE points_account DROP CONSTRAINT ck_points_account_balance;
    ALTER TABLE points_lot DROP CONSTRAINT ck_points_lot_remaining;
    ALTER TABLE points_transfer DROP CONSTRAINT uq_points_transfer_cause;
    ALTER TABLE points_transfer DROP CONSTRAINT uq_points_transfer_reverses_id;
    ALTER TABLE points_rule_day DROP CONSTRAINT ck_points_rule_day_paid;
    ALTER TABLE points_offer DROP CONSTRAINT ck_points_offer_stock"""


@pytest.fixture
def till(runtime: Runtime) -> Iterator[Till]:
    with pauses(runtime.database, Role.FAN, Role.MERCHANT, Role.PLATFORM, chance=0.2):
        yield Till(runtime)


@pytest.fixture(scope="module")
def lawless(settings: Settings, urls: ServerUrls, new_database: Callable[[str], str]) -> Iterator[Till]:
    """A shop in a database that refuses nothing."""
    runtime = Runtime.build(settings, ServerUrls(new_database("lawless"), urls.redis_url))
    with runtime.database.transaction(Role.MIGRATE) as session:
        session.connection().exec_driver_sql(WITHOUT)
    yield Shop(runtime)
    runtime.database.dispose()


def spend_anyhow(
    session: Session, till: Till, who: int, points: int, *, kind: str = "spend", reverses: int | None = None
) -> None:
    """A transfer as it is written by somebody who has read the balance and believes it."""
    has = session.execute(
        text("SELECT balance FROM points_account WHERE follower_id = :who AND kind = 'fan'"), {"who": who}
    ).scalar_one()
    if has < points:
        raise NotEnoughPoints
    pause()
    session.execute(
        text("""
            WITH t AS (
                INSERT INTO points_transfer (merchant_id, follower_id, kind, points, source_type, source_id,
                                             reverses_id)
                VALUES (:m, :who, :kind, :points, 'anyhow', 1, :reverses) RETURNING id)
            INSERT INTO points_entry (transfer_id, account_id, merchant_id, points)
            SELECT t.id, a.id, :m, CASE a.kind WHEN 'fan' THEN -:points ELSE :points END
            FROM t, points_account a
            WHERE a.merchant_id = :m AND (a.follower_id = :who AND a.kind = 'fan' OR a.follower_id IS NULL)"""),
        {"m": till.id, "who": who, "points": points, "kind": kind, "reverses": reverses},
    )


def of_kind(came: list[object], kind: type) -> int:
    return sum(isinstance(one, kind) for one in came)


def test_the_last_points_are_spent_once(till: Till) -> None:
    """Six want 25 of the last 100."""
    people = till.crowd(ROUNDS, 100)
    for came in race(6, lambda _, number: till.spend(people[number], 25)):
        assert (of_kind(came, Moved), of_kind(came, NotEnoughPoints)) == (4, 2)
    assert {till.has(who) for who in people[::20]} == {(0, 0, 0)}


def test_fifty_spend_the_last_hundred(runtime: Runtime, settings: Settings) -> None:
    """Each with a connection of their own."""
    till = Till(runtime)
    people = till.crowd(4, 100)
    assert settings.database_url is not None
    wide = Database(settings.database_url, SECRET_KEY, pool_size=50)

    def spend(who: int, number: int) -> Moved:
        with wide.transaction(Role.FAN, follower_id=people[number]) as session:
            cause = Cause("exchange", 1_000 * number + who + 1)
            return ledger.spend(
                session, merchant_id=till.id, follower_id=people[number], points=10, cause=cause, now=till.now
            )

    try:
        for came in race(50, spend, rounds=len(people)):
            assert (of_kind(came, Moved), of_kind(came, NotEnoughPoints)) == (10, 40)
    finally:
        wide.dispose()


def test_whoever_reads_first_spends_twice(lawless: Till) -> None:
    people = lawless.crowd(ROUNDS, 100)

    def spend(_: int, number: int) -> None:
        with lawless.runtime.transaction(Role.MERCHANT, merchant_id=lawless.id) as session:
            spend_anyhow(session, lawless, people[number], 60)

    came = race(2, spend)
    assert any(of_kind(one, NotEnoughPoints) == 0 for one in came)


def test_a_cause_pays_once_whoever_says_it_first(till: Till) -> None:
    people = till.crowd(ROUNDS)
    till.rule(SPEND, most_per_day=1_000_000)
    for number, came in enumerate(race(3, lambda _, number: till.bill(people[number], 10_000, number + 1))):
        paid = [one for one in came if isinstance(one, Paid)]
        assert sorted(one.is_new for one in paid) == [False, False, True], number
        assert len({one.transfer_id for one in paid}) == 1
    assert {till.has(who) for who in people[::20]} == {(100, 0, 0)}


def test_whoever_looks_first_pays_twice(lawless: Till) -> None:
    people = lawless.crowd(ROUNDS, 1)

    def pay(_: int, number: int) -> Moved | None:
        cause = Cause("looked", number)
        with lawless.runtime.transaction(Role.MERCHANT, merchant_id=lawless.id) as session:
            found = ledger.find(session, merchant_id=lawless.id, follower_id=people[number], cause=cause)
            if found is not None:
                return None
            pause()
            return ledger.earn(
                session, merchant_id=lawless.id, follower_id=people[number], points=5, cause=cause, now=lawless.now
            )

    assert any(of_kind(one, Moved) == 2 for one in race(2, pay))


def test_the_days_limit_holds_for_everybody_together(till: Till) -> None:
    """Four whom a rule would pay 40 each, of which 100 are left every day."""
    people = till.crowd(4)
    till.rule(SPEND, most_per_person=40, most_per_day=100)

    def pay(who: int, number: int) -> Paid | None:
        with till.runtime.transaction(Role.MERCHANT, merchant_id=till.id) as session:
            return rules.pay(
                session, merchant_id=till.id, follower_id=people[who], trigger=RuleTrigger.SPEND,
                source_type="bill", source_id=1 + number * 4 + who, bill_fen=4_000,
                now=till.now.replace(year=2000 + number),
            )  # fmt: skip

    for came in race(4, pay):
        assert sum(one.points for one in came if isinstance(one, Paid)) == 100, came


def test_whoever_counts_first_pays_beyond_the_limit(lawless: Till) -> None:
    lawless.rule(SPEND)
    with lawless.runtime.transaction(Role.PLATFORM) as session:
        session.execute(
            text("""
                INSERT INTO points_rule_day (merchant_id, rule_id, day, follower_id, paid, most)
                SELECT merchant_id, id, CAST('2000-01-01' AS date) + n, NULL, 0, 100
                FROM points_rule, generate_series(0, :rounds) n"""),
            {"rounds": ROUNDS},
        )

    def count(_: int, number: int) -> bool:
        day = {"number": number}
        with lawless.runtime.transaction(Role.MERCHANT, merchant_id=lawless.id) as session:
            paid = session.execute(
                text("SELECT paid FROM points_rule_day WHERE day = CAST('2000-01-01' AS date) + :number"), day
            ).scalar_one()
            if paid + 60 > 100:
                return False
            pause()
            session.execute(
                text("""
                    UPDATE points_rule_day SET paid = paid + 60 WHERE day = CAST('2000-01-01' AS date) + :number"""),
                day,
            )
            return True

    assert [True, True] in race(2, count)


def test_two_take_back_the_same_while_it_is_spent(till: Till) -> None:
    people = till.crowd(ROUNDS)
    earned = [till.earn(who, 100) for who in people]

    def act(who: int, number: int) -> object:
        return till.spend(people[number], 70) if who == 2 else till.reverse(earned[number])

    for number, came in enumerate(race(3, act)):
        back = [one for one in came if isinstance(one, Reversed)]
        assert sorted(one.is_new for one in back) == [False, True]
        assert {one.points + one.owed for one in back} == {100}
        owed = 70 if isinstance(came[2], Moved) else 0
        assert till.has(people[number]) == (0, 0, owed)


def test_whoever_looks_first_takes_back_twice(lawless: Till) -> None:
    people = lawless.crowd(ROUNDS, 200)
    earned = [lawless.earn(who, 50) for who in people]

    def back(_: int, number: int) -> bool:
        with lawless.runtime.transaction(Role.MERCHANT, merchant_id=lawless.id) as session:
            original = {"id": earned[number].transfer_id}
            if session.execute(text("SELECT 1 FROM points_transfer WHERE reverses_id = :id"), original).all():
                return False
            spend_anyhow(session, lawless, people[number], 50, kind="reverse", reverses=original["id"])
            return True

    assert [True, True] in race(2, back)


def test_what_expires_is_spent_or_expires(till: Till) -> None:
    """One spends at the last moment, for another the time is over."""
    people = till.crowd(ROUNDS, 100)
    over = ledger.expiry(till.now, 30)
    assert over is not None

    def act(who: int, number: int) -> object:
        if who == 0:
            return till.spend(people[number], 60)
        with till.runtime.transaction(Role.PLATFORM) as session:
            ledger.expire_due(session, over)
        return None

    came = race(2, act)
    with till.runtime.transaction(Role.PLATFORM) as session:
        ledger.expire_due(session, over)
    till.now = over
    for number, (spent, _) in enumerate(came):
        assert isinstance(spent, Moved | NotEnoughPoints)
        assert till.has(people[number]) == (0, 0, 0)


def test_whoever_looks_first_expires_what_was_spent(lawless: Till) -> None:
    people = lawless.crowd(ROUNDS, 100)

    def act(who: int, number: int) -> None:
        with lawless.runtime.transaction(Role.MERCHANT, merchant_id=lawless.id) as session:
            spend_anyhow(session, lawless, people[number], 60 if who else 100, kind="spend" if who else "expire")

    assert any(of_kind(one, NotEnoughPoints) == 0 for one in race(2, act))


def test_what_is_pending_vests_or_is_taken_back(till: Till) -> None:
    people = till.crowd(ROUNDS)
    earned = [till.earn(who, 50, vests_in=1) for who in people]
    till.crowd(3, 40, vests_in=1)
    till.later(days=1)

    def act(who: int, number: int) -> object:
        if who == 0:
            return till.reverse(earned[number])
        with till.runtime.transaction(Role.PLATFORM) as session:
            ledger.vest_due(session, till.now)
        return None

    for number, (back, _) in enumerate(race(2, act)):
        assert isinstance(back, Reversed)
        assert (back.points, back.owed) == (50, 0)
        assert till.has(people[number]) == (0, 0, 0)


def test_a_check_in_tapped_twice_counts_once(till: Till) -> None:
    people = till.crowd(ROUNDS)
    till.rule(CHECK_IN)

    def check_in(_: int, number: int) -> CheckedIn:
        with till.runtime.transaction(Role.FAN, follower_id=people[number]) as session:
            return rules.check_in(session, merchant_id=till.id, follower_id=people[number], now=till.now)

    for came in race(2, check_in):
        assert sorted(one.is_new for one in came if isinstance(one, CheckedIn)) == [False, True]
    assert till.has(people[0]) == (5, 0, 0)


def test_the_last_piece_is_exchanged_once(runtime: Runtime) -> None:
    shop = Shop(runtime)
    people = shop.crowd(3, 1_000 * ROUNDS)
    offers = [shop.offer(shop.template(), price=10, stock=1) for _ in range(ROUNDS)]
    with pauses(runtime.database, Role.FAN):
        for came in race(3, lambda who, number: shop.buy(people[who], offers[number])):
            assert Counter(type(one).__name__ for one in came) == {"Exchanged": 1, "OfferSoldOut": 2}
    assert shop.counts() == (ROUNDS, ROUNDS, 10 * ROUNDS)


def test_whoever_looks_first_takes_the_last_piece_twice(lawless: Shop) -> None:
    offers = [lawless.offer(lawless.template(), stock=1) for _ in range(ROUNDS)]

    def take(_: int, number: int) -> bool:
        offer = {"id": offers[number]}
        with lawless.runtime.transaction(Role.MERCHANT, merchant_id=lawless.id) as session:
            if session.execute(text("SELECT taken FROM points_offer WHERE id = :id"), offer).scalar_one():
                return False
            pause()
            session.execute(text("UPDATE points_offer SET taken = taken + 1 WHERE id = :id"), offer)
            return True

    assert [True, True] in race(2, take)


def several(session: Session, till: Till, people: list[int], number: int) -> None:
    for who in people:
        ledger.earn(
            session,
            merchant_id=till.id,
            follower_id=who,
            points=2,
            cause=Cause("several", number * 10 + who),
            now=till.now,
        )


def test_paying_several_never_stands_still(till: Till) -> None:
    """PT-11: four who pay the same six people in any order, spend, take back and vest, while the jobs run."""
    people = till.crowd(6, 500)
    chance = random.Random(7)
    orders = [chance.sample(people, 3) for _ in range(4 * ROUNDS)]

    def act(who: int, number: int) -> object:
        order = orders[who * ROUNDS + number]
        if who == 3:
            with till.runtime.transaction(Role.PLATFORM) as session:
                ledger.vest_due(session, till.now)
                ledger.expire_due(session, till.now)
            return till.spend(order[0], 1)
        with till.runtime.transaction(Role.MERCHANT, merchant_id=till.id) as session:
            ledger.hold(session, merchant_id=till.id, follower_ids=order)
            several(session, till, order, 10 * (who * ROUNDS + number))
        return None

    assert [one for came in race(4, act) for one in came if isinstance(one, Exception)] == []


def test_paying_several_in_any_order_stands_still(lawless: Till) -> None:
    ann, ben = lawless.crowd(2, 10)
    stuck: list[object] = []

    def act(who: int, number: int) -> None:
        if stuck:
            return
        try:
            with lawless.runtime.transaction(Role.MERCHANT, merchant_id=lawless.id) as session:
                several(session, lawless, [ann, ben] if who else [ben, ann], 10 * (who * ROUNDS + number))
        except DBAPIError as error:
            stuck.append(error)

    race(2, act)
    assert stuck
