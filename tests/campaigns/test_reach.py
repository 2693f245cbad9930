"""The reach router: which way to each fan, and that what was forecast is what is frozen."""

from collections import Counter
from datetime import timedelta

import pytest
from sqlalchemy import text

from campaigns.broadcasts import bank, reach
from campaigns.broadcasts.models import NotReached, Route
from core.database import Role
from core.runtime import Runtime
from qrcodes.fans import Filter
from tests.broadcasting import Shop, without_quiet_hours
from tests.campaigns.test_bank import set_policy
from tests.community import unsubscribed
from tests.conftest import Sandbox, advance


@pytest.fixture
def shop(connected: Runtime, sandbox: Sandbox) -> Shop:
    without_quiet_hours(connected)
    return Shop.open(connected, sandbox)


def forecast(shop: Shop, *, hello_days: int = 0, held_out: int = 0, wanted: Filter | None = None) -> reach.Forecast:
    with shop.runtime.transaction(Role.MERCHANT, merchant_id=shop.id) as session:
        return reach.forecast(
            session,
            merchant_id=shop.id,
            wanted=wanted or Filter(),
            hello_days=hello_days,
            held_out_percent=held_out,
            now=shop.runtime.now(),
        )


def run(runtime: Runtime, statement: str, **values: object) -> None:
    with runtime.transaction(Role.PLATFORM) as session:
        session.execute(text(statement), values)


def mixed(shop: Shop) -> None:
    """One fan for each thing that can be said about a fan."""
    asking, muted, out, _left, refused = shop.fans(1, asking=True), *(shop.fans(1) for _ in range(4))
    shop.fans(3)
    run(shop.runtime, "UPDATE fan SET muted_at = app_now() WHERE follower_id = :id", id=muted[0])
    run(shop.runtime, "INSERT INTO opt_out (follower_id) VALUES (:id)", id=out[0])
    run(
        shop.runtime,
        "INSERT INTO unreachable (follower_id, channel, since) VALUES (:id, 'mass', app_now())",
        id=refused[0],
    )
    shop.tell([unsubscribed(shop.openids[_left[0]], shop.inbox_now() - timedelta(minutes=5))])
    assert asking


def test_everybody_has_a_route_or_a_reason(shop: Shop) -> None:
    mixed(shop)
    found = forecast(shop)
    assert found.audience == 8
    assert found.routes == {Route.WINDOW: 1, Route.MASS: 3}
    assert found.missed == {
        NotReached.MUTED: 1, NotReached.OPTED_OUT: 1, NotReached.LEFT: 1, NotReached.UNREACHABLE: 1,
    }  # fmt: skip
    assert (found.reached, found.calls) == (4, 1)


def test_what_is_forecast_is_what_is_frozen(shop: Shop) -> None:
    mixed(shop)
    expected = forecast(shop, hello_days=5)
    broadcast_id = shop.started(hello_days=5)
    with shop.runtime.transaction(Role.PLATFORM) as session:
        rows = session.execute(
            text("SELECT route, reason FROM broadcast_recipient WHERE broadcast_id = :id"), {"id": broadcast_id}
        ).all()
    assert Counter(row.route for row in rows if row.reason is None) == expected.routes
    assert Counter(row.reason for row in rows if row.reason) == expected.missed


def test_each_number_opens_its_people(shop: Shop) -> None:
    mixed(shop)
    with shop.runtime.transaction(Role.MERCHANT, merchant_id=shop.id) as session:
        expected = forecast(shop)
        numbers: list[tuple[Route | NotReached, int]] = [*expected.routes.items(), *expected.missed.items()]
        for which, count in numbers:
            people = reach.listed(
                session, merchant_id=shop.id, wanted=Filter(), hello_days=0, which=which, now=shop.runtime.now()
            )
            assert len(people) == count


def test_who_has_no_slot_left_waits_for_the_next_hello_if_that_is_wanted(shop: Shop, connected: Runtime) -> None:
    ids = shop.fans(4)
    set_policy(connected, slots_kept=1, week_most=4)
    shop_now = connected.now()
    with connected.transaction(Role.PLATFORM) as session:
        for _ in range(3):
            bank.reserve(session, ids[:2], merchant_id=None, now=shop_now, policy=bank.policy(session))
    assert forecast(shop).missed == {NotReached.MONTH: 2}
    assert forecast(shop, hello_days=3).routes == {Route.MASS: 2, Route.HELLO: 2}
    run(connected, "DELETE FROM fan_month_quota")


def test_a_share_goes_to_who_was_there_most_lately(shop: Shop, connected: Runtime) -> None:
    shop.fans(5)
    set_policy(connected, share_base=3, share_per_kept=0)
    found = forecast(shop)
    assert (found.routes, found.missed, found.share_left) == ({Route.MASS: 3}, {NotReached.SHARE: 2}, 3)


def test_one_fan_alone_is_no_mass_send(shop: Shop) -> None:
    shop.fans(1)
    assert forecast(shop).missed == {NotReached.ALONE: 1}
    assert forecast(shop, hello_days=1).routes == {Route.HELLO: 1}


def test_a_window_counts_only_while_it_is_open_and_has_more_than_two_left(shop: Shop, connected: Runtime) -> None:
    shop.fans(3, asking=True)
    assert forecast(shop).routes == {Route.WINDOW: 3}
    run(connected, "UPDATE message_window SET wants_offers = false WHERE allowance = 5")
    assert forecast(shop).routes == {Route.MASS: 3}
    run(connected, "UPDATE message_window SET wants_offers = true WHERE allowance = 5")
    advance(connected, timedelta(hours=49))
    assert forecast(shop).routes == {Route.MASS: 3}


def test_another_shops_window_is_not_ours(shop: Shop, connected: Runtime, sandbox: Sandbox) -> None:
    ids = shop.fans(2, asking=True)
    other = Shop.open(connected, sandbox, "面馆")
    other.visited_by([shop.openids[one] for one in ids])
    assert forecast(other).routes == {Route.MASS: 2}


def test_who_is_held_out_is_drawn_once_and_for_all(shop: Shop) -> None:
    shop.fans(60)
    broadcast_id = shop.started(held_out=20)
    with shop.runtime.transaction(Role.MERCHANT, merchant_id=shop.id) as session:
        found = reach.forecast(
            session, merchant_id=shop.id, wanted=Filter(), hello_days=0, held_out_percent=20, seed=broadcast_id,
            now=shop.runtime.now(),
        )  # fmt: skip
    assert 1 <= found.missed[NotReached.HELD_OUT] <= 30
    assert shop.states(broadcast_id)["held_out"] == found.missed[NotReached.HELD_OUT]


def test_two_texts_are_drawn_by_lot(shop: Shop) -> None:
    shop.fans(60)
    shop.started("甲", b="乙")
    with shop.runtime.transaction(Role.PLATFORM) as session:
        drawn = Counter(session.scalars(text("SELECT variant FROM broadcast_recipient")))
    assert set(drawn) == {"a", "b"}
    assert min(drawn.values()) > 10
