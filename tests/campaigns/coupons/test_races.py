"""Races for the last pieces on a real database: many at once, again and again, with pauses where it hurts.

Each race runs a second time in the naive way, which reads and then writes: it must be caught, or the race proves
nothing.
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import pytest
from sqlalchemy import event, text
from sqlalchemy.orm import Session

from campaigns.coupons import giving
from campaigns.coupons.giving import NotGiven
from campaigns.coupons.models import Channel
from core.database import Database, Role
from core.runtime import Runtime
from core.settings import Settings
from tests.conftest import SECRET_KEY
from tests.couponing import Street

ROUNDS: Final = 200
LONGEST_PAUSE_S: Final = 0.003
AT_PAUSE: Final = ("INSERT INTO coupon", "UPDATE coupon")
Claim = Callable[[Session, int, int, str], bool]
"""Takes one of a template for a person because of a cause; False where it was refused."""


@pytest.fixture
def crowded(settings: Settings) -> Iterator[Database]:
    """Connections for everybody at once, and a pause before what is written."""
    assert settings.database_url is not None
    database = Database(settings.database_url, SECRET_KEY, pool_size=24)
    luck = random.Random(7)

    def pause(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if any(one in statement for one in AT_PAUSE) and luck.random() < 0.3:
            time.sleep(luck.uniform(0, LONGEST_PAUSE_S))

    event.listen(database.engine(Role.PLATFORM), "before_cursor_execute", pause)
    yield database
    database.dispose()


@pytest.fixture
def street(runtime: Runtime) -> Street:
    return Street.open(runtime)


def many(street: Street, count: int, **changes: int) -> list[int]:
    """So many live templates alike, written at once."""
    first = street.live(street.shop(), stock=1_000, per_person=100)
    with street.runtime.transaction(Role.PLATFORM) as session:
        ids = session.execute(
            text("""
                INSERT INTO coupon_template (merchant_id, public_id, name, kind, value_fen, worth_fen, lasts_days,
                                             stock, budget_fen, per_person, per_day, review, state)
                SELECT merchant_id, 'race-' || n, name, kind, value_fen, worth_fen, lasts_days,
                       :stock, :budget, :per_person, :per_day, 'approved', 'live'
                FROM coupon_template, generate_series(1, :count) n WHERE id = :first
                RETURNING id"""),
            {
                "first": first,
                "count": count,
                "stock": 1_000,
                "budget": 10_000_000,
                "per_person": 100,
                "per_day": None,
                **changes,
            },
        )
        return list(ids.scalars())


def race(
    database: Database, claim: Claim, template_ids: list[int], people: list[int], *, until_over: int | None = None
) -> Counter[int]:
    """Everybody claims one of each template at the same moment; returns how many of each were believed to be given.

    With `until_over` it ends with the first template of which more were given.
    """
    gate = threading.Barrier(len(people), timeout=60)
    given: Counter[int] = Counter()
    counting = threading.Lock()

    def run(number: int, person: int) -> None:
        for template_id in template_ids:
            gate.wait()
            if until_over is not None and any(count > until_over for count in given.values()):
                # Everybody sees the same: nobody counts between the two gates.
                gate.wait()
                return
            gate.wait()
            with database.transaction(Role.PLATFORM) as session:
                is_given = claim(session, template_id, person, f"page:{number}")
            if is_given:
                with counting:
                    given[template_id] += 1

    with ThreadPoolExecutor(len(people)) as pool:
        for done in [pool.submit(run, number, person) for number, person in enumerate(people)]:
            done.result()
    return given


def claimer(street: Street) -> Claim:
    now = street.now

    def claim(session: Session, template_id: int, person: int, cause: str) -> bool:
        try:
            return giving.grant(
                session, template_id=template_id, follower_id=person, cause=cause, channel=Channel.PAGE, now=now
            ).is_new
        except NotGiven:
            return False

    return claim


def naive(session: Session, template_id: int, person: int, cause: str) -> bool:
    """Reads, then writes, and trusts what it read: what the grant call must not do."""
    row = session.execute(
        text("""
            SELECT issued, stock, committed_fen, budget_fen, worth_fen, per_person, merchant_id, per_day,
                   (SELECT count(*) FROM coupon c
                    WHERE c.template_id = t.id AND c.given_at > app_now() - interval '1 day')
                       AS today,
                   (SELECT count(*) FROM coupon c WHERE c.template_id = t.id AND c.follower_id = :person) AS had
            FROM coupon_template t WHERE id = :id"""),
        {"id": template_id, "person": person},
    ).one()
    time.sleep(LONGEST_PAUSE_S)
    is_over = row.committed_fen + row.worth_fen > row.budget_fen
    is_full = row.per_day is not None and row.today >= row.per_day
    if row.issued >= row.stock or is_over or is_full or row.had >= row.per_person:
        return False
    session.execute(
        text("""
            INSERT INTO coupon (merchant_id, template_id, public_id, follower_id, seq, cause, channel, worth_fen, uses,
                                uses_left, valid_from, valid_to)
            VALUES (:merchant, :id, gen_random_uuid()::text, :person, (random() * 30000)::int, :cause, 'page', :worth,
                    1, 1, app_now(), app_now() + interval '1 day')"""),
        {"merchant": row.merchant_id, "id": template_id, "person": person, "cause": cause, "worth": row.worth_fen},
    )
    session.execute(
        text("UPDATE coupon_template SET issued = :issued, committed_fen = :committed WHERE id = :id"),
        {"id": template_id, "issued": row.issued + 1, "committed": row.committed_fen + row.worth_fen},
    )
    return True


def counted(street: Street, template_ids: list[int]) -> set[tuple[int, int, int]]:
    """Of each template: how many rows there are, what it counts, and what it has committed."""
    with street.runtime.transaction(Role.PLATFORM) as session:
        rows = session.execute(
            text("""
                SELECT (SELECT count(*) FROM coupon c WHERE c.template_id = t.id), t.issued, t.committed_fen
                FROM coupon_template t WHERE t.id = ANY(:ids)"""),
            {"ids": template_ids},
        )
        return {(row[0], row[1], row[2]) for row in rows}


def test_twenty_people_share_the_last_three_pieces(street: Street, crowded: Database) -> None:
    """CO-1"""
    templates = many(street, ROUNDS, stock=3)
    given = race(crowded, claimer(street), templates, street.people(20))
    assert set(given.values()) == {3}
    assert len(given) == ROUNDS
    assert counted(street, templates) == {(3, 3, 6_000)}


@pytest.mark.plants_violation
def test_the_naive_way_gives_more_pieces_than_there_are(street: Street, crowded: Database) -> None:
    given = race(crowded, naive, many(street, ROUNDS, stock=3), street.people(20), until_over=3)
    assert max(given.values()) > 3, "the naive way was never caught: this race proves nothing"


def test_a_budget_is_never_passed_by_ten_at_once(street: Street, crowded: Database) -> None:
    """CO-1"""
    templates = many(street, ROUNDS, budget=5_000)
    given = race(crowded, claimer(street), templates, street.people(10))
    assert set(given.values()) == {2}
    assert counted(street, templates) == {(2, 2, 4_000)}


@pytest.mark.plants_violation
def test_the_naive_way_spends_more_than_the_budget(street: Street, crowded: Database) -> None:
    given = race(crowded, naive, many(street, ROUNDS, budget=5_000), street.people(10), until_over=2)
    assert max(given.values()) > 2, "the naive way was never caught: this race proves nothing"


def test_one_person_on_ten_phones_has_as_many_as_the_limit(street: Street, crowded: Database) -> None:
    """CO-2"""
    templates = many(street, ROUNDS, per_person=2)
    given = race(crowded, claimer(street), templates, [street.person()] * 10)
    assert set(given.values()) == {2}
    assert counted(street, templates) == {(2, 2, 4_000)}


@pytest.mark.plants_violation
def test_the_naive_way_gives_one_person_more_than_the_limit(street: Street, crowded: Database) -> None:
    given = race(crowded, naive, many(street, ROUNDS, per_person=2), [street.person()] * 10, until_over=2)
    assert max(given.values()) > 2, "the naive way was never caught: this race proves nothing"


def test_a_days_pieces_are_shared_by_ten_at_once(street: Street, crowded: Database) -> None:
    templates = many(street, ROUNDS, per_day=2)
    given = race(crowded, claimer(street), templates, street.people(10))
    assert set(given.values()) == {2}
    assert counted(street, templates) == {(2, 2, 4_000)}


@pytest.mark.plants_violation
def test_the_naive_way_gives_more_than_a_days_pieces(street: Street, crowded: Database) -> None:
    given = race(crowded, naive, many(street, ROUNDS, per_day=2), street.people(10), until_over=2)
    assert max(given.values()) > 2, "the naive way was never caught: this race proves nothing"


def offered(street: Street, count: int) -> list[str]:
    """So many links to coupons of somebody who passes them on."""
    template_id = street.live(street.shop(), per_person=100, stock=1_000, is_transferable=True)
    tokens: list[str] = []
    for giver in street.people(-(-count // 100)):
        for number in range(min(count - len(tokens), 100)):
            with street.runtime.transaction(Role.PLATFORM) as session:
                given = giving.grant(
                    session, template_id=template_id, follower_id=giver, cause=f"page:{number}",
                    channel=Channel.PAGE, now=street.now,
                )  # fmt: skip
                tokens.append(
                    giving.offer_gift(
                        session, follower_id=giver, coupon_public_id=given.public_id, now=street.now
                    )
                )  # fmt: skip
    return tokens


def test_of_four_neighbours_one_takes_what_is_passed_on(street: Street, crowded: Database) -> None:
    tokens, now = offered(street, ROUNDS), street.now

    def take(session: Session, number: int, person: int, _cause: str) -> bool:
        try:
            return giving.take_gift(session, follower_id=person, token=tokens[number], now=now).is_new
        except giving.NoGift:
            return False

    taken = race(crowded, take, list(range(ROUNDS)), street.people(4))
    assert taken == dict.fromkeys(range(ROUNDS), 1)


@pytest.mark.plants_violation
def test_the_naive_way_passes_one_coupon_on_to_two(street: Street, crowded: Database) -> None:
    tokens = offered(street, 20)

    def take(session: Session, number: int, _person: int, _cause: str) -> bool:
        gift = {"hash": giving.hash_of(tokens[number])}
        taken = session.execute(text("SELECT taken_at FROM coupon_gift WHERE token_hash = :hash"), gift).scalar_one()
        time.sleep(LONGEST_PAUSE_S)
        if taken is None:
            session.execute(text("UPDATE coupon_gift SET taken_at = app_now() WHERE token_hash = :hash"), gift)
        return taken is None

    given = race(crowded, take, list(range(20)), street.people(4), until_over=1)
    assert max(given.values()) > 1, "the naive way was never caught: this race proves nothing"


def test_a_hundred_claims_of_one_person_at_once(street: Street, settings: Settings) -> None:
    """#74: exactly the limit is given, everybody else is told no with a 409."""
    assert settings.database_url is not None
    database = Database(settings.database_url, SECRET_KEY, pool_size=20)
    (template_id,) = many(street, 1, per_person=3)
    person, now = street.person(), street.now
    answers: Counter[int] = Counter()

    def claim(number: int) -> int:
        with database.transaction(Role.FAN, follower_id=person) as session:
            try:
                giving.grant(
                    session, template_id=template_id, follower_id=person, cause=f"page:{number}",
                    channel=Channel.PAGE, now=now,
                )  # fmt: skip
            except NotGiven as refusal:
                return refusal.status
        return 200

    try:
        with ThreadPoolExecutor(20) as pool:
            answers.update(pool.map(claim, range(100)))
    finally:
        database.dispose()
    assert answers == {200: 3, 409: 97}


def test_one_cause_at_once_gives_one_coupon_to_all_who_ask(street: Street, crowded: Database) -> None:
    (template_id,) = many(street, 1, per_person=5)
    person, now = street.person(), street.now

    def claim(_: int) -> tuple[int, bool]:
        with crowded.transaction(Role.PLATFORM) as session:
            given = giving.grant(
                session, template_id=template_id, follower_id=person, cause="scan:1", channel=Channel.SCAN, now=now
            )
            return given.coupon_id, given.is_new

    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(claim, range(40)))
    assert len({coupon_id for coupon_id, _ in answers}) == 1
    assert sum(is_new for _, is_new in answers) == 1
