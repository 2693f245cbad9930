"""The nightly proof finds nothing where nothing is wrong, and says what is where something is."""

import pytest
from sqlalchemy import text

import worker
from campaigns.points import proof
from core import jobs, outbox
from core.database import Role
from core.runtime import Runtime
from tests.campaigns.points.till import Till


@pytest.fixture
def till(runtime: Runtime) -> Till:
    till = Till(runtime)
    ann = till.person()
    till.earn(ann, 40)
    till.earn(ann, 9, vests_in=3)
    till.spend(ann, 15)
    return till


def test_the_night_proves_that_all_is_right(till: Till) -> None:
    with till.runtime.transaction(Role.PLATFORM) as session:
        assert proof.latest(session) is None
        proof.owe(session, till.now)
        proof.owe(session, till.now)
    jobs.drain(till.runtime, worker.HANDLERS, outbox.SLOW)
    with till.runtime.transaction(Role.PLATFORM) as session:
        [found] = proof.history(session)
        assert proof.is_right(found)
        assert (found.ledgers, found.transfers, found.outstanding) == (1, 3, 34)
        assert proof.what_is_wrong(session) == []
        [held] = proof.outstanding(session)
        assert (held.merchant, held.people, held.points, held.pending, held.debt) == ("茶馆", 1, 25, 9, 0)


@pytest.mark.plants_violation
def test_it_says_what_is_wrong(till: Till) -> None:
    """A balance that was moved without an entry, and a lot that lost a point."""
    with till.runtime.database.transaction(Role.MIGRATE) as session:
        session.execute(text("ALTER TABLE points_account DISABLE TRIGGER USER"))
    try:
        with till.runtime.transaction(Role.PLATFORM) as session:
            session.execute(text("UPDATE points_account SET balance = balance + 1 WHERE kind = 'fan'"))
            session.execute(text("UPDATE points_lot SET remaining = remaining - 1 WHERE remaining > 0"))
            found = proof.prove(session, till.now)
            assert not proof.is_right(found)
            assert (found.unbalanced, found.drifting, found.odd_lots) == (0, 1, 1)
            wrong = {(one.kind, one.should, one.found) for one in proof.what_is_wrong(session)}
            assert wrong == {("drifting", 25, 26), ("drifting", 24, 26), ("lot", 40, 39)}
    finally:
        with till.runtime.database.transaction(Role.MIGRATE) as session:
            session.execute(text("ALTER TABLE points_account ENABLE TRIGGER USER"))
