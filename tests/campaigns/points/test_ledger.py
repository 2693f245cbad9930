"""Points come, go and expire; every step leaves the ledger balanced."""

import pytest

from campaigns.points import ledger
from campaigns.points.ledger import NotEnoughPoints
from core.database import Role
from core.runtime import Runtime
from tests.campaigns.points.till import Till


@pytest.fixture
def till(runtime: Runtime) -> Till:
    return Till(runtime)


def test_points_are_earned_and_spent_the_oldest_first(till: Till) -> None:
    ann = till.person()
    till.earn(ann, 30, lives=30)
    till.earn(ann, 50, lives=10)
    till.spend(ann, 60)
    assert till.has(ann) == (20, 0, 0)
    balance = till.balance(ann)
    assert (balance.expiring, balance.expires_at) == (20, ledger.expiry(till.now, 30))


def test_a_cause_moves_points_once(till: Till) -> None:
    ann = till.person()
    first = till.earn(ann, 100, 7)
    again = till.earn(ann, 999, 7)
    assert (again.transfer_id, again.points, again.is_new) == (first.transfer_id, 100, False)
    first, again = till.spend(ann, 80, 8), till.spend(ann, 80, 8)
    assert (again.transfer_id, again.is_new) == (first.transfer_id, False)
    assert till.has(ann) == (20, 0, 0)


def test_nobody_spends_what_they_do_not_have(till: Till) -> None:
    ann = till.person()
    with pytest.raises(NotEnoughPoints):
        till.spend(ann, 1)
    till.earn(ann, 10)
    with pytest.raises(NotEnoughPoints):
        till.spend(ann, 11)
    assert till.has(ann) == (10, 0, 0)


def test_what_is_pending_vests_on_its_day_and_expires_on_its_day(till: Till) -> None:
    ann = till.person()
    till.earn(ann, 40, vests_in=3)
    till.jobs()
    assert till.has(ann) == (0, 40, 0)
    with pytest.raises(NotEnoughPoints):
        till.spend(ann, 1)
    till.later(days=3)
    till.jobs()
    till.jobs()
    assert till.has(ann) == (40, 0, 0)
    till.earn(ann, 5, lives=2)
    till.later(days=3)
    assert till.has(ann) == (40, 0, 0), "what has expired cannot be spent, job or not"
    till.jobs()
    till.jobs()
    assert till.has(ann) == (40, 0, 0)
    till.spend(ann, 40)


def test_what_is_over_cannot_be_spent_before_the_job_comes(till: Till) -> None:
    ann = till.person()
    till.earn(ann, 5, lives=0)
    till.earn(ann, 7)
    till.later(hours=13)
    with pytest.raises(NotEnoughPoints):
        till.spend(ann, 8)
    till.spend(ann, 7)


def test_a_reversal_takes_what_is_there_and_later_points_pay_the_rest(till: Till) -> None:
    ann = till.person()
    earned = till.earn(ann, 100)
    till.spend(ann, 70)
    back = till.reverse(earned)
    assert (back.points, back.owed, back.is_new) == (30, 70, True)
    back = till.reverse(earned)
    assert (back.points, back.owed, back.is_new) == (30, 70, False)
    assert till.has(ann) == (0, 0, 70)
    till.earn(ann, 50)
    assert till.has(ann) == (0, 0, 20)
    till.earn(ann, 50, vests_in=1)
    assert till.has(ann) == (0, 50, 20)
    till.later(days=1)
    till.jobs()
    assert till.has(ann) == (30, 0, 0)


def test_a_reversal_of_what_was_wholly_spent_is_owed_once(till: Till) -> None:
    ann = till.person()
    earned = till.earn(ann, 100)
    till.spend(ann, 100)
    assert till.reverse(earned).owed == 100
    assert not till.reverse(earned).is_new
    assert till.has(ann) == (0, 0, 100)


def test_a_reversal_takes_its_own_points_before_others(till: Till) -> None:
    ann = till.person()
    till.earn(ann, 10, lives=5)
    earned = till.earn(ann, 10, lives=50)
    till.reverse(earned)
    assert till.balance(ann).expires_at == ledger.expiry(till.now, 5)


def test_what_is_pending_is_taken_back_whole_and_never_vests(till: Till) -> None:
    ann = till.person()
    earned = till.earn(ann, 40, vests_in=3)
    back = till.reverse(earned)
    assert (back.points, back.owed) == (40, 0)
    till.later(days=4)
    till.jobs()
    assert till.has(ann) == (0, 0, 0)
    assert not till.reverse(earned).is_new


def test_what_expired_is_not_owed(till: Till) -> None:
    ann = till.person()
    earned = till.earn(ann, 40, lives=1)
    till.spend(ann, 10)
    till.later(days=3)
    till.jobs()
    assert till.reverse(earned).owed == 10
    assert till.has(ann) == (0, 0, 10)


def test_whoever_is_forgotten_comes_back_to_an_empty_card(till: Till) -> None:
    ann, ben = till.person(), till.person()
    till.earn(ann, 40)
    till.earn(ann, 50, vests_in=3)
    till.earn(ben, 60)
    with till.runtime.transaction(Role.PLATFORM) as session:
        ledger.forget(session, follower_id=ann, now=till.now)
        ledger.forget(session, follower_id=ann, now=till.now)
        assert ledger.statement_of(session, merchant_id=till.id, follower_id=ann) == []
    till.later(days=4)
    till.jobs()
    assert till.has(ann) == (0, 0, 0)
    assert till.has(ben) == (60, 0, 0)


def test_the_statement_says_what_happened(till: Till) -> None:
    ann = till.person()
    till.earn(ann, 30)
    till.earn(ann, 9, vests_in=1)
    till.spend(ann, 20)
    with till.runtime.transaction(Role.FAN, follower_id=ann) as session:
        lines = ledger.statement_of(session, merchant_id=till.id, follower_id=ann)
        assert [(line.kind, line.points, line.pending) for line in lines] == [
            ("spend", -20, 0), ("earn", 0, 9), ("earn", 30, 0)
        ]  # fmt: skip
        older = ledger.statement_of(session, merchant_id=till.id, follower_id=ann, before=lines[1].transfer_id)
        assert older == lines[2:]


def test_an_owner_moves_no_points_but_their_own(till: Till) -> None:
    ann, ben = till.person(), till.person()
    till.earn(ann, 30)
    with pytest.raises(Exception, match="row-level security"), till.runtime.transaction(
        Role.FAN, follower_id=ben
    ) as session:  # fmt: skip
        ledger.spend(session, merchant_id=till.id, follower_id=ann, points=1, cause=ledger.Cause("x", 1), now=till.now)
    assert till.has(ann) == (30, 0, 0)
