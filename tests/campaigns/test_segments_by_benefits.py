"""Groups by coupons and points: whom each condition means, and for whose eyes."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from sqlalchemy import text

from campaigns import audience
from campaigns.broadcasts import writing
from campaigns.points import levels
from core.database import Role
from core.errors import Invalid, NotFound
from core.runtime import Runtime
from qrcodes import fans
from qrcodes.fans import Filter
from tests import couponing
from tests.campaigns.desk import Desk

DAY = timedelta(days=1)
MEANT = "SELECT f.follower_id FROM fan f JOIN follower w ON w.id = f.follower_id"


class Regulars(Desk):
    """A shop where one fan holds a coupon, one redeemed lately, one long ago, one was undone, and one did nothing."""

    NAMES = ("holds", "lately", "long ago", "undone", "nothing")

    def __init__(self, runtime: Runtime) -> None:
        super().__init__(runtime, fans=5)
        self.ids = dict(zip(self.NAMES, map(self.follower, self.openids), strict=True))
        self.eights = couponing.live_template(runtime, self.id, "八折券")
        self.teas = couponing.live_template(runtime, self.id, "送茶券")
        couponing.hold(runtime, self.eights, self.ids["holds"])
        couponing.redeem(runtime, couponing.hold(runtime, self.eights, self.ids["lately"]), days_ago=3)
        couponing.redeem(runtime, couponing.hold(runtime, self.eights, self.ids["long ago"]), days_ago=60)
        couponing.redeem(runtime, couponing.hold(runtime, self.teas, self.ids["undone"]), days_ago=3, reversed_=True)

    def who(self, wanted: Filter) -> set[str]:
        names = {number: name for name, number in self.ids.items()}
        with self.runtime.transaction(Role.MERCHANT, merchant_id=self.id) as session:
            rows = fans.page(session, self.id, wanted)
            assert fans.count(session, self.id, wanted) == len(rows)
            assert fans.which_of(session, self.id, wanted, list(names)) == {row.follower_id for row in rows}
            conditions, given = fans.conditions(self.id, wanted)
            meant = text(f"{MEANT} WHERE {conditions}")
            assert set(session.execute(meant, given).scalars()) == {row.follower_id for row in rows}
        # The page of an owner asks the same about that owner alone.
        for number, name in names.items():
            with self.runtime.transaction(Role.FAN, follower_id=number) as session:
                conditions, given = fans.conditions(self.id, wanted)
                me = text(f"{MEANT} WHERE {conditions} AND f.follower_id = :me")
                is_meant = session.execute(me, {**given, "me": number}).one_or_none() is not None
            assert is_meant is (number in {row.follower_id for row in rows}), name
        return {names[row.follower_id] for row in rows}

    def earned(self, name: str, points: int, *, at: datetime | None = None, taken_back: bool = False) -> None:
        """Points by a rule, to spend now, as the ledger writes them."""
        self.moved(name, points, at or self.runtime.now(), taken_back=taken_back)

    def moved(self, name: str, points: int, at: datetime, *, taken_back: bool) -> None:
        given = {"shop": self.id, "who": self.ids[name], "points": points, "at": at}
        with self.runtime.transaction(Role.PLATFORM) as session:
            session.execute(
                text("""
                    INSERT INTO points_account (merchant_id, follower_id, kind, balance)
                    VALUES (:shop, :who, 'fan', 0), (:shop, NULL, 'issued', NULL) ON CONFLICT DO NOTHING"""),
                given,
            )
            session.execute(
                text("""
                    INSERT INTO points_rule (merchant_id, trigger, points, most_per_person, most_per_day)
                    VALUES (:shop, 'check_in', 5, 1000000, 100000000) ON CONFLICT DO NOTHING"""),
                given,
            )
            kinds = [("earn", 1), ("reverse", -1)] if taken_back else [("earn", 1)]
            earlier = None
            for kind, sign in kinds:
                earlier = session.execute(
                    text("""
                        INSERT INTO points_transfer (merchant_id, follower_id, kind, points, rule_id, source_type,
                            source_id, reverses_id, at)
                        SELECT :shop, :who, :kind, :points, CASE WHEN :kind = 'earn' THEN r.id END, :kind,
                               (SELECT count(*) FROM points_transfer), :reverses, :at
                        FROM points_rule r WHERE r.merchant_id = :shop RETURNING id"""),
                    {**given, "kind": kind, "reverses": earlier},
                ).scalar_one()
                session.execute(
                    text("""
                        INSERT INTO points_entry (transfer_id, account_id, merchant_id, points)
                        SELECT :transfer, id, merchant_id,
                               CASE WHEN kind = 'fan' THEN CAST(:points AS bigint) ELSE -CAST(:points AS bigint) END
                        FROM points_account
                        WHERE merchant_id = :shop AND (follower_id = :who OR kind = 'issued')"""),
                    {**given, "transfer": earlier, "points": sign * points},
                )

    def levels(self, *from_points: int) -> None:
        with self.runtime.transaction(Role.PLATFORM) as session:
            for level, points in enumerate(from_points, start=1):
                session.execute(
                    text("""
                        INSERT INTO member_level (merchant_id, level, name, from_points)
                        VALUES (:shop, :level, :name, :points)"""),
                    {"shop": self.id, "level": level, "name": f"{level}级", "points": points},
                )


@pytest.fixture
def shop(runtime: Runtime) -> Regulars:
    return Regulars(runtime)


@pytest.mark.plants_violation  # coupons and points that no engine of ours wrote
def test_coupons_held_and_redeemed(shop: Regulars) -> None:
    assert shop.who(Filter(holds_coupon=True)) == {"holds", "undone"}
    assert shop.who(Filter(holds_template_id=shop.eights)) == {"holds"}
    assert shop.who(Filter(redeemed_within_days=30)) == {"lately"}
    assert shop.who(Filter(redeemed_within_days=90)) == {"lately", "long ago"}
    assert shop.who(Filter(never_redeemed=True)) == {"holds", "undone", "nothing"}
    assert shop.who(Filter(never_redeemed=True, holds_coupon=True, holds_template_id=shop.teas)) == {"undone"}


@pytest.mark.plants_violation
def test_a_coupon_past_its_time_is_held_by_nobody(shop: Regulars) -> None:
    with shop.runtime.transaction(Role.PLATFORM) as session:
        session.execute(
            text("""
                UPDATE coupon SET valid_from = app_now() - interval '2 days', valid_to = app_now() - interval '1 second'
                WHERE follower_id = :id"""),
            {"id": shop.ids["holds"]},
        )
    assert shop.who(Filter(holds_coupon=True)) == {"undone"}


@pytest.mark.plants_violation
def test_points_and_levels(shop: Regulars) -> None:
    shop.earned("holds", 600)
    shop.earned("lately", 100)
    shop.earned("long ago", 900, at=shop.runtime.now() - 366 * DAY)
    shop.earned("undone", 700, taken_back=True)
    assert shop.who(Filter(points_at_least=100)) == {"holds", "lately", "long ago"}
    assert shop.who(Filter(points_at_least=500)) == {"holds", "long ago"}
    assert shop.who(Filter(level_at_least=1)) == set()
    shop.levels(0, 100, 500)
    assert shop.who(Filter(level_at_least=1)) == set(shop.NAMES)
    assert shop.who(Filter(level_at_least=2)) == {"holds", "lately"}
    assert shop.who(Filter(level_at_least=3)) == {"holds"}
    assert shop.who(Filter(level_at_least=4)) == set()
    with shop.runtime.transaction(Role.PLATFORM) as session:
        for name, number in shop.ids.items():
            now = shop.runtime.now()
            stands = levels.standing(session, merchant_id=shop.id, follower_id=number, now=now)
            for level in (1, 2, 3):
                is_in = number in fans.which_of(session, shop.id, Filter(level_at_least=level), [number])
                assert is_in is (stands.level >= level), (name, level)


@pytest.mark.plants_violation
def test_a_group_and_a_broadcast_ask_only_for_ones_own_coupons(shop: Regulars) -> None:
    foreign = couponing.live_template(shop.runtime, Desk(shop.runtime, "花店").id, "鲜花券")
    with shop.runtime.transaction(Role.MERCHANT, merchant_id=shop.id) as session:
        wanted = Filter(holds_template_id=shop.eights, points_at_least=5)
        segment_id = audience.save(session, merchant_id=shop.id, name="有券的", wanted=wanted)
        assert audience.group(session, merchant_id=shop.id, segment_id=segment_id).wanted == wanted
        assert writing.check_audience(session, shop.id, wanted) == wanted
        for act in (
            lambda: audience.save(
                session, merchant_id=shop.id, name="别家的", wanted=Filter(holds_template_id=foreign)
            ),
            lambda: writing.check_audience(session, shop.id, Filter(holds_template_id=foreign)),
        ):
            with pytest.raises(NotFound):
                act()
        for odd in (Filter(points_at_least=-1), Filter(level_at_least=10), Filter(redeemed_within_days=0),
                    Filter(never_redeemed="x"), Filter(holds_template_id=2**63)):  # type: ignore[arg-type]  # fmt: skip
            with pytest.raises(Invalid):
                writing.check_audience(session, shop.id, odd)
        assert fans.count(session, shop.id, Filter(holds_template_id=foreign)) == 0
