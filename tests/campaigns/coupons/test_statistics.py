"""The life of a template, the log of redemptions, and what is still promised, counted from rows."""

from datetime import timedelta

import pytest
from sqlalchemy import text

from campaigns.coupons import statistics
from campaigns.coupons.statistics import Liability, Life, LogFilter, LogRow
from campaigns.points.models import RuleTrigger
from core.clock import business_day
from core.database import Role
from core.runtime import Runtime
from tests.campaigns.coupons.shop import YUAN, Shop
from tests.conftest import advance


@pytest.fixture
def shop(runtime: Runtime) -> Shop:
    return Shop.open(runtime)


def life(shop: Shop, template_id: int) -> Life:
    with shop.runtime.transaction(Role.MERCHANT, merchant_id=shop.id) as session:
        return statistics.life(session, merchant_id=shop.id, template_id=template_id, now=shop.now)


def log(shop: Shop, *, before: int | None = None, limit: int = 50, **wanted: object) -> list[LogRow]:
    with shop.runtime.transaction(Role.MERCHANT, merchant_id=shop.id) as session:
        wanted_rows = LogFilter(merchant_id=shop.id, **wanted)  # type: ignore[arg-type]
        return statistics.redemptions(session, wanted_rows, before=before, limit=limit)


def liability(shop: Shop) -> Liability:
    with shop.runtime.transaction(Role.MERCHANT, merchant_id=shop.id) as session:
        return statistics.liability(session, merchant_id=shop.id, now=shop.now)


def test_a_templates_life_is_told_by_state_and_worth(shop: Shop) -> None:
    template_id = shop.template()
    coupons = [shop.give(shop.person(), template_id) for _ in range(4)]
    shop.use(coupons[0], bill=100 * YUAN)
    shop.undo(shop.use(coupons[1], bill=50 * YUAN).redemption_id)
    with shop.runtime.transaction(Role.PLATFORM) as session:
        session.execute(
            text("UPDATE coupon SET state = 'revoked', ended_at = app_now() WHERE id = :id"),
            {"id": coupons[2].coupon_id},
        )
    shop.give(coupons[0].follower_id)  # another template's
    assert life(shop, template_id) == Life(
        issued=4, live=2, redeemed=1, revoked=1, uses=1, reversed=1, discount_fen=20 * YUAN, bill_fen=100 * YUAN,
        first_here=1,
    )  # fmt: skip
    advance(shop.runtime, timedelta(days=40))
    late = life(shop, template_id)
    assert (late.live, late.expired, late.redeemed) == (0, 2, 1)


def test_it_is_told_by_code_and_by_day(shop: Shop) -> None:
    template_id = shop.template()
    code = shop.street.code(shop.id, "门口")
    today = business_day(shop.now)
    coupons = [shop.give(shop.person(), template_id) for _ in range(3)]
    with shop.runtime.transaction(Role.PLATFORM) as session:
        session.execute(
            text("UPDATE coupon SET code_id = :code, channel = 'scan' WHERE id <> :id"),
            {"code": code.id, "id": coupons[0].coupon_id},
        )
    shop.use(coupons[1])
    advance(shop.runtime, timedelta(days=1))
    shop.use(coupons[2])
    with shop.runtime.transaction(Role.MERCHANT, merchant_id=shop.id) as session:
        mine = {"merchant_id": shop.id, "template_id": template_id}
        codes = {one.label: (one.issued, one.uses, one.discount_fen) for one in statistics.by_code(session, **mine)}
        ways = {one.channel: (one.issued, one.uses) for one in statistics.by_channel(session, **mine)}
        days = statistics.by_day(session, since=today, until=today + timedelta(days=2), **mine)
    assert codes == {"门口": (2, 2, 40 * YUAN), "": (1, 0, 0)}
    assert ways == {"scan": (2, 2), "page": (1, 0)}
    assert [(one.issued, one.uses, one.discount_fen) for one in days] == [(3, 1, 2_000), (0, 1, 2_000), (0, 0, 0)]


def test_the_log_has_filters_and_pages(shop: Shop) -> None:
    noodles = shop.neighbour()
    template_id = shop.template()
    shop.take(template_id, noodles)
    here = [shop.use(shop.give(shop.person(), template_id)).redemption_id for _ in range(3)]
    there = noodles.use(shop.give(shop.person(), template_id), bill=30 * YUAN).redemption_id
    shop.undo(here[1], reason="给错人了")
    assert [one.id for one in log(shop)] == [there, *reversed(here)]
    assert [one.id for one in log(shop, where="here")] == list(reversed(here))
    assert [one.id for one in log(shop, where="elsewhere")] == [there]
    assert [one.id for one in log(noodles)] == [there]
    assert [one.id for one in log(shop, reversed=True)] == [here[1]]
    assert [one.id for one in log(shop, staff_id=shop.owner)] == []
    assert [one.id for one in log(shop, limit=2)] == [there, here[2]]
    assert [one.id for one in log(shop, limit=2, before=here[2])] == [here[1], here[0]]
    today = business_day(shop.now)
    assert len(log(shop, since=today, until=today)) == 4
    assert log(shop, until=today - timedelta(days=1)) == []
    undone = log(shop, reversed=True)[0]
    assert (undone.reason, undone.reversed_by, undone.is_valid_again) == ("给错人了", "茶馆clerk", True)
    # Who works at a neighbour's is the neighbour's.
    assert log(shop, where="elsewhere")[0].staff_name is None
    with shop.runtime.transaction(Role.MERCHANT, merchant_id=shop.id) as session:
        assert len(list(statistics.all_redemptions(session, LogFilter(merchant_id=shop.id)))) == 4


def test_the_operator_sees_all_and_who_redeemed_their_own(shop: Shop) -> None:
    noodles, ann = shop.neighbour(), shop.person()
    with shop.runtime.transaction(Role.PLATFORM) as session:
        session.execute(
            text("""
                INSERT INTO staff_identity (staff_id, merchant_id, follower_id, bound_at)
                VALUES (:staff, :shop, :ann, app_now())"""),
            {"staff": shop.clerk, "shop": shop.id, "ann": ann},
        )
    own = shop.use(shop.give(ann))
    noodles.use(noodles.give(ann))
    with shop.runtime.transaction(Role.PLATFORM) as session:
        assert [one.id for one in statistics.own_dealings(session)] == [own.redemption_id]
        assert len(statistics.redemptions(session, LogFilter())) == 2
        assert statistics.liability(session, merchant_id=None, now=shop.now).coupons == 0


def test_what_is_promised_is_what_could_still_be_asked_for(shop: Shop) -> None:
    shop.rule(RuleTrigger.SPEND, 1, YUAN)
    ann = shop.person()
    cards = shop.give(ann, name="五次卡", kind="visits", uses=5, value_fen=10 * YUAN)
    shop.give(ann)
    shop.give(ann, name="八折", kind="percent", percent_off=20, value_fen=0)
    shop.neighbour().give(ann)
    shop.use(cards, bill=30 * YUAN)
    found = liability(shop)
    assert [(one.template_name, one.coupons, one.uses, one.fen) for one in found.templates] == [
        ("五次卡", 1, 4, 40 * YUAN), ("立减二十", 1, 1, 20 * YUAN), ("八折", 1, 1, 0),
    ]  # fmt: skip
    assert [one.is_unlimited for one in found.templates] == [False, False, True]
    assert (found.coupons, found.fen, found.points) == (3, 60 * YUAN, 30)
    advance(shop.runtime, timedelta(days=40))
    assert liability(shop).coupons == 0
