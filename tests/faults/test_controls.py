"""The judge and the protections, each tried without what they lean on: a control that passes means we are blind."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import text

from bot import store
from bot.events import Event
from bot.inbox import Inbox
from bot.parser import parse
from core.database import Role
from core.runtime import Runtime
from core.servers import ServerUrls
from tests.community import Neighbourhood, new_openid, scanned, subscribed
from tests.faults.conftest import settle_merchants
from tests.faults.platform import Platform, Push, Stories
from tests.faults.verdict import Owners, feels_the_order, in_order, inbox_of, judge


@pytest.fixture
def owners(runtime: Runtime) -> Owners:
    return settle_merchants(runtime)


@pytest.fixture
def told(runtime: Runtime, owners: Owners, chance: random.Random) -> Platform:
    """A platform whose events have all been taken in and acknowledged."""
    platform = Platform("http://127.0.0.1:9", runtime.settings, chance)
    inbox = Inbox(runtime)
    for _, story in zip(range(12), Stories(chance, list(owners)), strict=False):
        for push in story:
            inbox.receive([event_of(runtime, push)])
            platform.sent.add(push)
            platform.acknowledged.add(push)
    assert judge(runtime, platform, owners) == []
    return platform


def event_of(runtime: Runtime, push: Push) -> Event:
    account = runtime.settings.wechat_account
    return parse(push.xml(account).encode(), account=account, now=datetime.now(UTC))


def spoil(runtime: Runtime, statement: str, **values: Any) -> None:
    with runtime.transaction(Role.PLATFORM) as session:
        result: Any = session.execute(text(statement), values)
        assert result.rowcount == 1, "nothing was spoilt"


def a_push(runtime: Runtime, told: Platform, kind: str = "scan") -> Push:
    """One that was acknowledged and stored."""
    return next(push for push in inbox_of(runtime, {push.openid for push in told.sent}) if push.kind == kind)


def id_of(runtime: Runtime, push: Push) -> int:
    with runtime.transaction(Role.PLATFORM) as session:
        found = session.execute(
            text("""
                SELECT i.id FROM inbox_event i JOIN follower f ON f.id = i.follower_id
                WHERE f.openid = :openid AND i.event_at = to_timestamp(:at) AND i.kind = :kind"""),
            {"openid": push.openid, "at": push.at, "kind": push.kind},
        )
        return int(found.scalar_one())


@pytest.mark.plants_violation
def test_an_acknowledged_event_that_was_lost_is_seen(runtime: Runtime, told: Platform, owners: Owners) -> None:
    push = a_push(runtime, told)
    spoil(runtime, "DELETE FROM inbox_event WHERE id = :id", id=id_of(runtime, push))
    wrong = judge(runtime, told, owners)
    assert f"acknowledged and lost: {push}" in wrong
    # What the lost event did is there without it.
    assert any(sentence.startswith(f"{push.openid} stands at") for sentence in wrong)


@pytest.mark.plants_violation
def test_a_scan_that_counted_twice_is_seen(runtime: Runtime, told: Platform, owners: Owners) -> None:
    push = a_push(runtime, told)
    spoil(
        runtime,
        """
        INSERT INTO scan (month, inbox_id, follower_id, code_id, merchant_id, scene, scanned_at, led_to_follow)
        SELECT month, 0, follower_id, code_id, merchant_id, scene, scanned_at, led_to_follow
        FROM scan WHERE inbox_id = :id""",
        id=id_of(runtime, push),
    )
    (sentence,) = judge(runtime, told, owners)
    assert sentence.startswith(f"{push.openid} stands at")


@pytest.mark.plants_violation
def test_an_episode_that_ended_for_nobodys_leaving_is_seen(runtime: Runtime, told: Platform, owners: Owners) -> None:
    openid = next(push.openid for push in in_order(told.sent) if push.kind == "subscribe")
    spoil(
        runtime,
        """
        UPDATE follow_episode SET ended_at = started_at + interval '1 second' WHERE id = (
            SELECT min(e.id) FROM follow_episode e JOIN follower f ON f.id = e.follower_id WHERE f.openid = :openid)""",
        openid=openid,
    )
    (sentence,) = judge(runtime, told, owners)
    assert sentence.startswith(f"{openid} stands at")


def test_applying_events_as_they_come_would_be_seen(chance: random.Random) -> None:
    """The shuffled stories are of a kind for which the order matters."""
    owners = {"A": 1, "B": 2}
    pushes = [push for _, story in zip(range(30), Stories(chance, list(owners)), strict=False) for push in story]
    assert feels_the_order(pushes, owners) == 0
    chance.shuffle(pushes)
    assert feels_the_order(pushes, owners) > 0


class Together:
    """Two threads that take in the same event, each held after it has looked whether the event is known."""

    def __init__(self, runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
        self._runtime = runtime
        self._meeting = threading.Barrier(2)
        glimpse = store.glimpse

        def look_and_wait(*arguments: Any, **named: Any) -> store.Glimpse:
            seen = glimpse(*arguments, **named)
            try:
                self._meeting.wait(0.5)
            except threading.BrokenBarrierError:
                # The other one is held back by a lock, as it should be.
                self._meeting.abort()
            return seen

        monkeypatch.setattr(store, "glimpse", look_and_wait)

    def take_in(self, event: Event) -> list[Exception]:
        """What went wrong in either."""
        inbox, errors = Inbox(self._runtime), []
        assert inbox.account

        def run() -> None:
            try:
                inbox.receive([event])
            except Exception as error:
                errors.append(error)

        threads = [threading.Thread(target=run) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return errors


@pytest.fixture(scope="module")
def control(shared_runtime: Runtime, servers: ServerUrls, new_database: Callable[[str], str]) -> Iterator[Runtime]:
    """A database of its own, in which constraints may be dropped."""
    runtime = Runtime.build(shared_runtime.settings, ServerUrls(new_database("control"), servers.redis_url))
    yield runtime
    runtime.database.dispose()


UNIQUE = "ALTER TABLE inbox_event {} CONSTRAINT uq_inbox_event_account_id_dedupe_key_month {}"


@pytest.mark.parametrize(
    ("has_key", "has_lock", "scans", "refused"),
    [(True, True, 1, 0), (True, False, 1, 1), (False, True, 1, 0), (False, False, 2, 0)],
)
def test_only_without_key_and_lock_does_an_event_count_twice(
    control: Runtime, monkeypatch: pytest.MonkeyPatch, has_key: bool, has_lock: bool, scans: int, refused: int
) -> None:
    """Either protection is enough by itself; where both are gone, two deliveries at once are two scans."""
    street = Neighbourhood(control)
    code = street.code(street.merchant(f"茶馆 {has_key} {has_lock}"))
    ann = new_openid()
    Inbox(control).receive([subscribed(ann, street.now)])
    if not has_lock:
        monkeypatch.setattr(store, "_LOCK", store._LOCK.replace("FOR UPDATE", ""))
    if not has_key:
        owner(control, UNIQUE.format("DROP", ""))
    together = Together(control, monkeypatch)
    event = scanned(ann, street.now.replace(microsecond=0), code.scene)
    errors = together.take_in(event)
    with control.transaction(Role.PLATFORM) as session:
        counted = session.execute(
            text("SELECT count(*) FROM scan WHERE merchant_id = :id"), {"id": code.merchant_id}
        ).scalar_one()
        session.execute(text("DELETE FROM inbox_event"))
    if not has_key:
        owner(control, UNIQUE.format("ADD", "UNIQUE (account_id, dedupe_key, month)"))
    assert (counted, len(errors)) == (scans, refused)


def owner(runtime: Runtime, statement: str) -> None:
    """A change of the schema."""
    with runtime.database.transaction(Role.MIGRATE) as session:
        session.execute(text(statement))
