"""Twenty cards that bring the same person at the same moment: one edge, however often it is tried (RF-1)."""

import multiprocessing
import random
import time
from collections.abc import Sequence
from datetime import datetime
from multiprocessing.synchronize import Barrier
from typing import Final

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from campaigns.referrals import binding
from campaigns.referrals.models import CameBy
from core.database import Role
from core.runtime import Runtime
from core.servers import ServerUrls
from core.settings import Settings
from tests.campaigns.referrals.cards import Street

CARDS: Final = 20
ROUNDS: Final = 200
CARELESS_ROUNDS: Final = 20

_gate: list[Barrier] = []
"""In each process of a race: where it waits for the others."""


def _stand_at(gate: Barrier) -> None:
    _gate.append(gate)


def _race(
    settings: Settings, redis_url: str, card: str, inviter_id: int, newcomers: Sequence[int], is_careless: bool
) -> list[int]:
    """One process of a race: opens its card as each of the newcomers; returns whom it believes to have brought."""
    assert settings.database_url is not None
    runtime = Runtime.build(settings, ServerUrls(settings.database_url, redis_url))
    chance = random.Random(inviter_id)
    look = binding._was_here

    def slow_look(session: Session, follower_id: int, opened_at: datetime) -> bool:
        time.sleep(chance.random() * 0.003)
        return look(session, follower_id, opened_at)

    binding._was_here = slow_look
    brought = []
    for newcomer in newcomers:
        _gate[0].wait(60)
        with runtime.transaction(Role.PLATFORM) as session:
            if is_careless:
                is_mine = _look_then_write(session, newcomer, inviter_id)
            else:
                now = runtime.now()
                opened_at = session.scalar(text("SELECT first_seen_at FROM follower WHERE id = :id"), {"id": newcomer})
                is_mine = binding.bind(
                    session, invite_public_id=card, follower_id=newcomer, came_by=CameBy.PAGE, now=now,
                    opened_at=opened_at,
                ).is_new  # fmt: skip
        if is_mine:
            brought.append(newcomer)
    runtime.database.dispose()
    return brought


def _look_then_write(session: Session, newcomer: int, inviter_id: int) -> bool:
    """What binding must not do: without a key and a lock, on a table of its own."""
    row = {"invitee": newcomer, "inviter": inviter_id}
    if session.scalar(text("SELECT 1 FROM loose_edge WHERE invitee_id = :invitee"), row) is not None:
        return False
    session.execute(text("SELECT pg_sleep(0.003)"))
    session.execute(text("INSERT INTO loose_edge VALUES (:invitee, :inviter)"), row)
    return True


@pytest.mark.parametrize("is_careless", [False, True], ids=["guarded", "careless"])
def test_of_twenty_cards_opened_at_once_one_brings_the_newcomer(
    street: Street, runtime: Runtime, settings: Settings, is_careless: bool
) -> None:
    inviters = [street.follower() for _ in range(CARDS)]
    cards = [street.card(one).public_id for one in inviters]
    street.later(minutes=1)
    rounds = CARELESS_ROUNDS if is_careless else ROUNDS
    newcomers = [street.visitor().id for _ in range(rounds)]
    street.later(minutes=1)
    with runtime.transaction(Role.MIGRATE) as session:
        session.execute(text("CREATE TABLE loose_edge (invitee_id bigint, inviter_id bigint)"))
        session.execute(text("GRANT SELECT, INSERT ON loose_edge TO quanma_platform"))
    try:
        context = multiprocessing.get_context("fork")
        with context.Pool(CARDS, _stand_at, [context.Barrier(CARDS)]) as pool:
            racers = [
                (settings, runtime.redis_url, card, inviter.id, newcomers, is_careless)
                for card, inviter in zip(cards, inviters, strict=True)
            ]
            believed = pool.starmap(_race, racers, chunksize=1)
    finally:
        with runtime.transaction(Role.MIGRATE) as session:
            session.execute(text("DROP TABLE loose_edge"))
    total = sum(map(len, believed))
    if is_careless:
        assert total > rounds, "the careless way was never caught: this race proves nothing"
        return
    assert total == rounds
    told = {newcomer: one.id for one, mine in zip(inviters, believed, strict=True) for newcomer in mine}
    assert street.edges() == told
