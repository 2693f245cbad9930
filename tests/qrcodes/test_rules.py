"""Versions of the attribution rule: tried first, in force from a day to come, and never over the past."""

from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from bot.inbox import Inbox
from core import checks, outbox
from core.clock import start_of_day
from core.database import Role
from core.errors import Invalid, NotFound
from core.jobs import drain
from core.runtime import Runtime
from qrcodes import rules
from qrcodes.models import RuleReplay
from tests.community import Code, Neighbourhood, new_openid, subscribed, unsubscribed
from worker import HANDLERS

DAY = timedelta(days=1)


class Town:
    """Two shops, and people who left one and came back through the other after some days."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.street = Neighbourhood(runtime)
        self.inbox = Inbox(runtime)
        self.tea, self.fruit = (self.street.code(self.street.merchant(name)) for name in ("茶馆", "水果店"))

    def came_back_after(self, days: int, *, left: timedelta, through: Code | None = None) -> str:
        openid, at = new_openid(), self.street.now - left
        self.inbox.receive([subscribed(openid, at - DAY, self.tea.scene)])
        self.inbox.receive([unsubscribed(openid, at)])
        self.inbox.receive([subscribed(openid, at + days * DAY, (through or self.fruit).scene)])
        return openid

    def replay(self, days: int) -> int:
        with self.runtime.transaction(Role.PLATFORM) as session:
            replay_id = rules.start_replay(session, protection_days=days, operator_id=1, now=self.runtime.now())
        drain(self.runtime, HANDLERS, outbox.SLOW)
        return replay_id

    def owner(self, openid: str) -> tuple[int | None, int]:
        """Whom a person's newest follow is credited to, and by which version."""
        with self.runtime.transaction(Role.PLATFORM) as session:
            row = session.execute(
                text("""
                    SELECT a.merchant_id, a.rule_version FROM follower f
                    JOIN follow_episode e ON e.follower_id = f.id AND e.voided_at IS NULL
                    JOIN attribution a ON a.id = e.attribution_id
                    WHERE f.openid = :openid ORDER BY e.started_at DESC LIMIT 1"""),
                {"openid": openid},
            ).one()
        return row.merchant_id, row.rule_version


@pytest.fixture
def town(runtime: Runtime) -> Town:
    return Town(runtime)


def test_a_replay_tells_who_would_move_and_moves_nobody(runtime: Runtime, town: Town) -> None:
    soon = town.came_back_after(5, left=60 * DAY)
    town.came_back_after(20, left=60 * DAY)
    late = town.came_back_after(40, left=60 * DAY)
    tea, fruit = town.tea.merchant_id, town.fruit.merchant_id
    shorter, longer, same = (town.replay(days) for days in (10, 50, 30))
    with runtime.transaction(Role.PLATFORM) as session:
        assert session.get_one(RuleReplay, shorter).judged == 3
        moved = [(one.former_merchant_id, one.merchant_id) for one in rules.moves(session, shorter)]
        assert moved == [(tea, fruit)]
        moved = [(one.former_merchant_id, one.merchant_id) for one in rules.moves(session, longer)]
        assert moved == [(fruit, tea)]
        assert rules.moves(session, same) == []
        gains = {one.name: (one.won, one.lost) for one in rules.gains(session, shorter)}
        assert gains == {"茶馆": (0, 1), "水果店": (1, 0)}
    assert town.owner(soon) == (tea, 1)
    assert town.owner(late) == (fruit, 1)


def test_a_version_judges_what_happens_from_its_day_on_and_nothing_before(runtime: Runtime, town: Town) -> None:
    before = town.came_back_after(5, left=20 * DAY)
    with runtime.transaction(Role.PLATFORM) as session:
        # As if it had been decided in time.
        day = start_of_day((town.street.now - 10 * DAY).date())
        given = {"day": day}
        session.execute(
            text("INSERT INTO attribution_rule (version, effective_from, protection_days) VALUES (2, :day, 0)"), given
        )
    town.inbox = Inbox(runtime)
    after = town.came_back_after(2, left=5 * DAY)
    late_news = town.came_back_after(3, left=18 * DAY)
    assert town.owner(before) == (town.tea.merchant_id, 1)
    assert town.owner(after) == (town.fruit.merchant_id, 2)
    assert town.owner(late_news) == (town.tea.merchant_id, 1)
    with runtime.transaction(Role.PLATFORM) as session:
        assert [one for one in checks.run(session) if one.rows] == []


def test_a_rule_is_adopted_for_a_day_to_come_after_a_replay_and_can_be_taken_back(runtime: Runtime, town: Town) -> None:
    replay_id = town.replay(60)
    now = runtime.now()
    with runtime.transaction(Role.PLATFORM) as session:
        tomorrow = rules.earliest_day(now)
        with pytest.raises(Invalid):
            rules.adopt(session, replay_id=replay_id, effective_on=tomorrow - DAY, operator_id=1, now=now)
        with pytest.raises(rules.ReplayFirst):
            rules.adopt(session, replay_id=replay_id, effective_on=tomorrow + 3 * DAY, operator_id=1, now=now + 2 * DAY)
        version = rules.adopt(session, replay_id=replay_id, effective_on=tomorrow, operator_id=1, now=now)
        assert version == 2
        versions = rules.all_versions(session)
        assert versions.at(now).version == 1
        assert versions.at(start_of_day(tomorrow)).protection == 60 * DAY
        with pytest.raises(NotFound):
            rules.withdraw(session, version=1, now=now)
        with pytest.raises(NotFound):
            rules.withdraw(session, version=version, now=start_of_day(tomorrow) - timedelta(minutes=9))
        rules.withdraw(session, version=version, now=now)
        assert rules.all_versions(session).at(start_of_day(tomorrow)).version == 1


@pytest.mark.parametrize("change", ["SET protection_days = 1", "SET effective_from = app_now()"])
def test_a_version_is_never_edited(runtime: Runtime, change: str) -> None:
    with pytest.raises(DBAPIError, match="append-only"), runtime.transaction(Role.PLATFORM) as session:
        session.execute(text(f"UPDATE attribution_rule {change}"))
