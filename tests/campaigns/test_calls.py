"""The account's mass calls: never more than there are, however many ask at once, and each merchant's turn comes."""

import json
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from threading import Barrier

import pytest
from sqlalchemy import text

from bot.periodic import TASKS
from campaigns.broadcasts import bank, calls
from campaigns.broadcasts.calls import Need, share_out
from campaigns.broadcasts.policy import set_policy
from core.clock import SHANGHAI, business_day
from core.database import Role
from core.errors import Invalid
from core.jobs import drain
from core.outbox import DEFAULT
from core.runtime import Runtime
from tests.community import Neighbourhood
from tests.conftest import Sandbox
from worker import HANDLERS

LONG_AGO = datetime(2026, 1, 1, tzinfo=SHANGHAI)


@dataclass
class Desk:
    """Merchants with mass messages ready, and calls for them."""

    runtime: Runtime
    street: Neighbourhood

    def set(self, **numbers: object) -> None:
        with self.runtime.transaction(Role.PLATFORM) as session:
            wanted = replace(bank.policy(session), **numbers)  # type: ignore[arg-type]
            set_policy(session, wanted, now=self.at(7))

    def at(self, hour: int, minute: int = 0) -> datetime:
        """That time of today."""
        return datetime.combine(business_day(self.street.now), time(hour, minute), SHANGHAI)

    def merchant(self, name: str, *, batches: int = 0, minutes: int = 0, scheduled: datetime | None = None) -> int:
        """A merchant whose broadcast waits with so many batches since so many minutes."""
        merchant_id = self.street.merchant(name)
        if batches:
            self.wait(merchant_id, batches, minutes=minutes, scheduled=scheduled)
        return merchant_id

    def wait(
        self, merchant_id: int | None, batches: int, *, minutes: int = 0, scheduled: datetime | None = None
    ) -> int:
        state = "running" if scheduled is None else "approved"
        with self.runtime.transaction(Role.PLATFORM) as session:
            broadcast_id: int = session.execute(
                text("""
                    INSERT INTO broadcast (account_id, merchant_id, kind, state, started_at, scheduled_at, evidence)
                    VALUES (:account, :merchant, CASE WHEN CAST(:merchant AS bigint) IS NULL THEN 'digest'
                            ELSE 'single' END, :state, :started, :scheduled, CAST(:evidence AS jsonb))
                    RETURNING id"""),
                {
                    "account": self.street.account_id,
                    "merchant": merchant_id,
                    "state": state,
                    "started": self.street.now - timedelta(minutes=minutes),
                    "scheduled": scheduled,
                    "evidence": json.dumps({"forecast": {"calls": batches}}),
                },
            ).scalar_one()
            if scheduled is None:
                session.execute(
                    text("""
                        INSERT INTO send_batch (broadcast_id, no, merchant_id, size, month, week, clientmsgid)
                        SELECT :id, n, :merchant, 100, :month, :month, 'b' || :id || '-' || n
                        FROM generate_series(1, :batches) n"""),
                    {"id": broadcast_id, "merchant": merchant_id, "batches": batches, "month": date(2026, 1, 1)},
                )
        return broadcast_id

    def call(self, merchant_id: int | None, at: datetime | None = None) -> bool:
        """As the mass sender does it: the call is taken and noted in one transaction."""
        at = at or self.at(12)
        with self.runtime.transaction(Role.PLATFORM) as session:
            if not calls.spend(session, merchant_id=merchant_id, now=at):
                return False
            _note(session, at)
            return True

    def call_all(self, merchant_id: int, at: datetime | None = None) -> int:
        """How many it gets if it asks until it is told no."""
        got = 0
        while self.call(merchant_id, at):
            got += 1
            self.next_minute()
        return got

    def next_minute(self) -> None:
        """The platform's minute is over."""
        with self.runtime.transaction(Role.PLATFORM) as session:
            session.execute(text("DELETE FROM account_minute_quota"))

    def allotted(self) -> dict[int, int]:
        with self.runtime.transaction(Role.PLATFORM) as session:
            rows = session.execute(text("SELECT merchant_id, allotted FROM call_allotment"))
            return {row.merchant_id: row.allotted for row in rows}

    def used(self) -> int:
        with self.runtime.transaction(Role.PLATFORM) as session:
            return int(session.execute(text("SELECT sum(used) FROM account_day_quota")).scalar_one() or 0)

    def do(self, what: Callable[..., None], at: datetime) -> None:
        with self.runtime.transaction(Role.PLATFORM) as session:
            what(session, at)

    def turns(self) -> list[int]:
        with self.runtime.transaction(Role.PLATFORM) as session:
            return calls.turn_order(session, self.at(12))


def _note(session: object, at: datetime) -> None:
    session.execute(  # type: ignore[attr-defined]
        text("INSERT INTO send_attempt (broadcast_id, batch_id, attempt, moment, at) VALUES (0, 0, 1, 'before', :at)"),
        {"at": at},
    )


@pytest.fixture
def desk(runtime: Runtime) -> Desk:
    return Desk(runtime, Neighbourhood(runtime))


@pytest.fixture
def connected(runtime: Runtime, sandbox: Sandbox) -> Runtime:
    """The runtime, with the sandbox for its platform."""
    return replace(runtime, settings=runtime.settings.model_copy(update={"wechat_api_url": sandbox.url}))


def need(merchant_id: int, wanted: int, *, minutes: int = 0, weight: int = 1) -> Need:
    return Need(merchant_id, wanted, LONG_AGO - timedelta(minutes=minutes), weight)


def test_everybody_gets_one_before_anyone_gets_a_second() -> None:
    assert share_out(3, [need(1, 50, weight=1_000_000), need(2, 1), need(3, 9)]) == {1: 1, 2: 1, 3: 1}


def test_where_there_are_too_few_whoever_waits_longest_gets_one() -> None:
    assert share_out(2, [need(1, 5), need(2, 5, minutes=30), need(3, 5, minutes=60)]) == {3: 1, 2: 1}
    assert share_out(-4, [need(1, 5)]) == {}


def test_the_rest_goes_by_weight_and_nobody_gets_more_than_it_needs() -> None:
    assert share_out(40, [need(1, 100, weight=1000), need(2, 100, weight=3000)]) == {1: 10, 2: 30}
    assert share_out(40, [need(1, 100, weight=1000), need(2, 5, weight=3000)]) == {1: 35, 2: 5}
    assert share_out(40, [need(1, 3), need(2, 0)]) == {1: 3}


def test_a_merchant_of_no_weight_gets_what_nobody_else_needs() -> None:
    assert share_out(10, [need(1, 9, weight=0), need(2, 4, weight=1000)]) == {1: 6, 2: 4}


def test_the_morning_allots_what_is_waited_for_today(desk: Desk) -> None:
    desk.set(calls_per_day=20, calls_kept=4)
    many = desk.merchant("茶馆", batches=30)
    few = desk.merchant("面馆", batches=2)
    tonight = desk.merchant("书店", batches=3, scheduled=desk.at(20))
    desk.merchant("花店", batches=3, scheduled=desk.at(20) + timedelta(days=1))
    desk.do(calls.allot, desk.at(8))
    assert desk.allotted() == {calls.PLATFORM: 4, many: 11, few: 2, tonight: 3}


def test_whoever_brought_and_kept_more_followers_is_allotted_more(desk: Desk) -> None:
    desk.set(calls_per_day=40, calls_kept=0, share_base=1000, share_per_kept=2)
    popular, quiet = desk.merchant("茶馆", batches=50), desk.merchant("面馆", batches=50)
    with desk.runtime.transaction(Role.PLATFORM) as session:
        session.execute(
            text("""
                INSERT INTO merchant_standing (merchant_id, community_id, until, people, by_staff, left_soon,
                                               in_bursts, given, received, points, rank)
                VALUES (:merchant, :community, current_date, 1000, 0, 0, 0, 0, 0, 1000, 1)"""),
            {"merchant": popular, "community": desk.street.community_id},
        )
    desk.do(calls.allot, desk.at(8))
    assert desk.allotted() == {calls.PLATFORM: 0, popular: 30, quiet: 10}


def test_the_day_is_allotted_once_even_when_nobody_was_up_at_eight(desk: Desk) -> None:
    desk.set(calls_per_day=10, calls_kept=0)
    merchant = desk.merchant("茶馆", batches=4)
    assert desk.call(merchant, desk.at(10))
    before = desk.allotted()
    assert before[merchant] == 4
    desk.wait(merchant, 6)
    desk.do(calls.allot, desk.at(11))
    assert desk.allotted() == before


def test_the_calls_of_a_day_are_the_accounts_and_some_are_the_platforms(desk: Desk) -> None:
    desk.set(calls_per_day=8, calls_kept=3)
    merchant = desk.merchant("茶馆", batches=50)
    assert desk.call_all(merchant) == 5
    assert desk.call_all(merchant, desk.at(19)) == 0
    assert desk.call_all(0) == 3
    assert desk.used() == 8
    assert desk.call_all(merchant, desk.at(12) + timedelta(days=1)) == 5


def test_a_minute_holds_sixty_and_a_refused_call_takes_nothing(desk: Desk) -> None:
    desk.set(calls_per_day=100, calls_kept=0)
    merchant = desk.merchant("茶馆", batches=90)
    with desk.runtime.transaction(Role.PLATFORM) as session:
        session.execute(
            text("""
                INSERT INTO account_minute_quota
                SELECT date_trunc('minute', clock_timestamp()) + n * interval '1 minute', 59
                FROM generate_series(0, 1) n""")
        )
    assert [desk.call(merchant), desk.call(merchant)][0]
    with desk.runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("UPDATE account_minute_quota SET used = 60"))
    before = desk.used()
    assert not desk.call(merchant)
    assert desk.used() == before
    with desk.runtime.transaction(Role.PLATFORM) as session:
        assert session.execute(text("SELECT used FROM call_allotment WHERE merchant_id <> 0")).scalar_one() == before


def test_a_newcomer_draws_from_what_nobody_was_allotted(desk: Desk) -> None:
    desk.set(calls_per_day=10, calls_kept=0)
    early = desk.merchant("茶馆", batches=4)
    desk.do(calls.allot, desk.at(8))
    late = desk.merchant("面馆", batches=20)
    assert desk.call_all(late) == 6
    assert desk.call_all(early) == 4


def test_a_newcomer_gets_its_first_from_whoever_has_a_second_to_spare(desk: Desk) -> None:
    desk.set(calls_per_day=10, calls_kept=0)
    many, one = desk.merchant("茶馆", batches=50), desk.merchant("书店", batches=1)
    desk.do(calls.allot, desk.at(8))
    late = desk.merchant("面馆", batches=50)
    assert desk.call_all(late) == 1
    assert desk.call_all(many) == 8
    assert desk.call_all(one) == 1


def test_a_second_call_out_of_the_pool_leaves_one_for_who_had_none(desk: Desk) -> None:
    desk.set(calls_per_day=3, calls_kept=0)
    desk.do(calls.allot, desk.at(8))
    greedy, patient = desk.merchant("茶馆", batches=50), desk.merchant("面馆", batches=1)
    assert desk.call_all(greedy) == 2
    assert desk.call_all(patient) == 1


def test_what_is_unused_at_six_returns_to_everybody_once(desk: Desk) -> None:
    desk.set(calls_per_day=10, calls_kept=2)
    slow, late = desk.merchant("茶馆", batches=8), desk.merchant("面馆")
    desk.do(calls.allot, desk.at(8))
    assert desk.call(slow)
    desk.do(calls.return_unused, desk.at(17, 59))
    assert desk.allotted()[slow] == 8
    desk.do(calls.return_unused, desk.at(18))
    desk.do(calls.return_unused, desk.at(18, 5))
    assert desk.allotted() == {calls.PLATFORM: 2, slow: 1}
    with desk.runtime.transaction(Role.PLATFORM) as session:
        returned = session.execute(text("SELECT returned_at FROM account_day_quota")).scalar_one()
    assert returned == desk.at(18)
    # Slow still waits, but had its call today; a newcomer takes all the rest.
    desk.wait(late, 50)
    assert desk.call_all(late, desk.at(18, 10)) == 7


def test_the_return_does_not_need_anybody_to_be_up_at_six(desk: Desk) -> None:
    desk.set(calls_per_day=10, calls_kept=0)
    desk.merchant("茶馆", batches=10)
    desk.do(calls.allot, desk.at(8))
    late = desk.merchant("面馆", batches=50)
    assert desk.call_all(late, desk.at(19)) == 9  # one stays for the one who had none


def test_whoever_called_least_and_waits_longest_is_next(desk: Desk) -> None:
    young, old = desk.merchant("茶馆", batches=9, minutes=5), desk.merchant("面馆", batches=9, minutes=50)
    desk.merchant("书店", batches=2, scheduled=desk.at(20))
    desk.wait(None, 2, minutes=20)
    assert desk.turns() == [old, 0, young]
    assert desk.call(old, desk.at(9))
    assert desk.turns() == [0, young, old]
    assert desk.call(young, desk.at(10))
    assert desk.call(None, desk.at(11))
    assert desk.turns() == [old, young, 0]


def test_a_day_in_turns_serves_everybody_before_anyones_second(desk: Desk) -> None:
    """Thirty merchants, some with mountains of messages, thirty calls: each is served once."""
    desk.set(calls_per_day=30, calls_kept=0)
    waiting = {desk.merchant(f"店{n}", batches=1 if n % 3 else 40, minutes=n) for n in range(30)}
    served = []
    while desk.call(turn := next(iter(desk.turns()))):
        served.append(turn)
    assert len(served) == 30
    assert set(served) == waiting


def test_a_day_that_the_platform_closed_is_over_and_the_next_one_is_whole(desk: Desk) -> None:
    desk.set(calls_per_day=10, calls_kept=0)
    merchant = desk.merchant("茶馆", batches=20)
    assert desk.call(merchant)
    desk.do(calls.close_day, desk.at(12))
    assert not desk.call(merchant)
    assert desk.call_all(merchant, desk.at(12) + timedelta(days=1)) == 10


def test_where_the_platform_allows_fewer_the_day_has_fewer(connected: Runtime, sandbox: Sandbox) -> None:
    desk = Desk(connected, Neighbourhood(connected))
    desk.set(calls_per_day=200, calls_kept=0)
    merchant = desk.merchant("茶馆", batches=500)
    now = connected.now()
    desk.do(calls.allot, now)
    assert desk.allotted()[merchant] == 200
    drain(connected, HANDLERS, DEFAULT)
    with connected.transaction(Role.PLATFORM) as session:
        assert calls.today(session, now).cap == 100
    assert desk.allotted()[merchant] == 100


def test_a_call_whose_transaction_failed_was_not_taken(desk: Desk) -> None:
    desk.set(calls_per_day=1, calls_kept=0)
    merchant = desk.merchant("茶馆", batches=2)
    with desk.runtime.transaction(Role.PLATFORM) as session:
        assert calls.spend(session, merchant_id=merchant, now=desk.at(12))
        session.rollback()
    assert desk.call_all(merchant) == 1


def naive_spend(session: object, *, merchant_id: int, now: datetime) -> bool:
    """Look, then write: what a counter without a condition does."""
    execute = session.execute  # type: ignore[attr-defined]
    given = {"day": business_day(now)}
    used, cap = execute(text("SELECT used, cap FROM account_day_quota WHERE day = :day"), given).one()
    if used >= cap:
        return False
    execute(text("UPDATE account_day_quota SET used = :n WHERE day = :day"), {**given, "n": used + 1})
    return True


def race(runtime: Runtime, spend: Callable[..., bool], merchants: list[int], at: datetime) -> int:
    """How many calls eight get who ask at once, three times each."""
    together = Barrier(8)

    def ask(number: int) -> int:
        got = 0
        for _ in range(3):
            together.wait()
            with runtime.transaction(Role.PLATFORM) as session:
                if spend(session, merchant_id=merchants[number % len(merchants)], now=at):
                    _note(session, at)
                    got += 1
        return got

    with ThreadPoolExecutor(8) as pool:
        return sum(pool.map(ask, range(8)))


def test_many_at_once_take_no_more_than_there_are(desk: Desk) -> None:
    desk.set(calls_per_day=11, calls_kept=1)
    merchants = [desk.merchant(f"店{n}", batches=9) for n in range(3)]
    assert race(desk.runtime, calls.spend, merchants, desk.at(12)) == 10
    assert desk.used() == 10


@pytest.mark.plants_violation
def test_without_the_condition_they_would_take_more(desk: Desk) -> None:
    desk.set(calls_per_day=11, calls_kept=1)
    merchants = [desk.merchant(f"店{n}", batches=9) for n in range(3)]
    desk.do(calls.allot, desk.at(8))
    assert race(desk.runtime, naive_spend, merchants, desk.at(12)) > 11


def _ask_from_elsewhere(runtime: Runtime, merchant_id: int, at: datetime) -> None:
    for engine in runtime.database._engines.values():
        engine.dispose(close=False)
    for _ in range(5):
        with runtime.transaction(Role.PLATFORM) as session:
            if calls.spend(session, merchant_id=merchant_id, now=at):
                _note(session, at)


def test_many_processes_take_no_more_than_there_are(desk: Desk) -> None:
    desk.set(calls_per_day=13, calls_kept=0)
    merchants = [desk.merchant(f"店{n}", batches=9) for n in range(2)]
    fork = multiprocessing.get_context("fork")
    asking = [
        fork.Process(target=_ask_from_elsewhere, args=(desk.runtime, merchants[n % 2], desk.at(12))) for n in range(4)
    ]
    for one in asking:
        one.start()
    for one in asking:
        one.join()
        assert one.exitcode == 0
    assert desk.used() == 13


def test_the_policy_changes_todays_calls_but_takes_none_back(desk: Desk) -> None:
    desk.set(calls_per_day=20, calls_kept=0)
    merchant = desk.merchant("茶馆", batches=20)
    for _ in range(5):
        assert desk.call(merchant, desk.at(9))
    with desk.runtime.transaction(Role.PLATFORM) as session:
        set_policy(session, replace(bank.policy(session), calls_per_day=3), now=desk.at(12))
        assert calls.today(session, desk.at(12)).cap == 5
    assert not desk.call(merchant)
    with desk.runtime.transaction(Role.PLATFORM) as session:
        set_policy(session, replace(bank.policy(session), calls_per_day=12, calls_kept=2), now=desk.at(13))
        now = calls.today(session, desk.at(13))
    assert (now.cap, now.used, now.kept, now.promised, now.free) == (12, 5, 2, 5, 0)
    assert desk.call_all(merchant) == 5


@pytest.mark.parametrize(
    "wrong",
    [
        {"slots_kept": 4},
        {"week_most": 0},
        {"batch_size": 1},
        {"calls_kept": 101},
        {"quiet_until": time(21, 30)},
        {"holidays": tuple(date(2026, 1, 1) + timedelta(days=n) for n in range(61))},
    ],
)
def test_a_policy_that_cannot_be_is_refused(desk: Desk, wrong: dict[str, object]) -> None:
    with pytest.raises(Invalid):
        desk.set(**wrong)


def test_the_morning_and_the_evening_are_kept_by_the_scheduler() -> None:
    at = {task.name: (task.start, task.daily_at) for task in TASKS}
    assert at["mass calls allotted"] == (calls.begin_day, time(8))
    assert at["mass calls returned"] == (calls.return_unused, time(18))
