"""How coupons end: by time, by the merchant, by passing on, with an erasure; and what their holder sees."""

from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from campaigns.coupons import giving, wallet
from campaigns.coupons.giving import Given, NoGift, NotGiven, NotPassable, NotRevocable, OwnGift, Refusal
from campaigns.coupons.models import CouponState
from campaigns.coupons.validity import Refused
from core import erasure
from core.database import Role
from core.errors import Invalid, NotFound
from core.runtime import Runtime
from core.scheduler import Scheduler
from tests.couponing import WRITER, Street
from worker import HANDLERS, PERIODIC


@pytest.fixture
def street(runtime: Runtime) -> Street:
    return Street.open(runtime)


def offer(street: Street, given: Given) -> str:
    with street.runtime.transaction(Role.FAN, follower_id=given.follower_id) as session:
        return giving.offer_gift(
            session, follower_id=given.follower_id, coupon_public_id=given.public_id, now=street.now
        )


def take(street: Street, token: str, person: int, *, after: timedelta = timedelta(0)) -> Given:
    with street.runtime.transaction(Role.FAN, follower_id=person) as session:
        return giving.take_gift(session, follower_id=person, token=token, now=street.now + after)


# ---- By time ---------------------------------------------------------------------------------------------------------


def test_what_is_over_expires_and_what_was_used_up_never_does(street: Street) -> None:
    """CO-5"""
    template_id = street.live(street.shop(), per_person=3, lasts_days=1)
    ann = street.person()
    used, open_, held = (street.grant(template_id, ann) for _ in range(3))
    street.redeemed(used)
    with street.runtime.transaction(Role.PLATFORM) as session:
        session.execute(
            text("UPDATE coupon SET state = 'reserved', reserved_until = :until WHERE id = :id"),
            {"id": held.coupon_id, "until": held.valid_to + timedelta(minutes=1)},
        )
    for at in (open_.valid_to - timedelta(milliseconds=1), open_.valid_to):
        before = street.state(open_.coupon_id)
        with street.runtime.transaction(Role.PLATFORM) as session:
            giving.expire_due(session, at)
        assert before == "issued"
    states = [street.state(one.coupon_id) for one in (used, open_, held)]
    assert states == ["redeemed", "expired", "reserved"]
    with street.runtime.transaction(Role.PLATFORM) as session:
        giving.expire_due(session, held.valid_to + timedelta(minutes=1))
    assert street.state(held.coupon_id) == "expired"


def test_what_a_till_held_for_too_long_can_be_used_again(street: Street) -> None:
    given = street.grant(street.live(street.shop()), street.person())
    until = street.now + timedelta(minutes=10)
    with street.runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("UPDATE coupon SET state = 'reserved', reserved_until = :until"), {"until": until})
        giving.release_reserved(session, until - timedelta(seconds=1))
        assert session.scalar(text("SELECT state FROM coupon")) == "reserved"
        giving.release_reserved(session, until)
    assert street.state(given.coupon_id) == "issued"


def test_the_scheduler_sees_to_coupons(street: Street) -> None:
    given = street.grant(street.live(street.shop(), lasts_days=1), street.person())
    with street.runtime.transaction(Role.PLATFORM) as session:
        session.execute(
            text("UPDATE coupon SET valid_from = app_now() - interval '2 days', valid_to = app_now() WHERE id = :id"),
            {"id": given.coupon_id},
        )
    mine = [task for task in PERIODIC if "coupons" in task.name]
    assert len(mine) == 3
    scheduler = Scheduler(street.runtime, mine)
    assert scheduler.lead()
    scheduler.start_due()
    assert street.state(given.coupon_id) == "expired"
    assert giving.GIVE_BIRTHDAYS in HANDLERS


# ---- By the merchant -------------------------------------------------------------------------------------------------


def test_a_merchant_takes_a_coupon_back_with_a_reason_and_it_is_in_the_book(street: Street) -> None:
    shop = street.shop()
    template_id = street.live(shop, per_person=2)
    given = street.grant(template_id, street.person())
    revoked = {"merchant_id": shop, "staff_id": WRITER, "coupon_public_id": given.public_id, "now": street.now}
    with street.runtime.transaction(Role.MERCHANT, merchant_id=shop) as session:
        with pytest.raises(Invalid):
            giving.revoke(session, reason=" ", **revoked)  # type: ignore[arg-type]
        giving.revoke(session, reason="发错人了", **revoked)  # type: ignore[arg-type]
        with pytest.raises(NotRevocable):
            giving.revoke(session, reason="再来一次", **revoked)  # type: ignore[arg-type]
    assert street.state(given.coupon_id) == "revoked"
    assert street.template(template_id).issued == 1
    with street.runtime.transaction(Role.PLATFORM) as session:
        entry = session.execute(text("SELECT subject, detail FROM audit_log WHERE action = 'coupon.revoke'")).one()
    assert tuple(entry) == (f"coupon:{given.coupon_id}", {"reason": "发错人了"})


def test_another_merchants_coupon_is_missing(street: Street) -> None:
    """TN-3"""
    given = street.grant(street.live(street.shop()), street.person())
    other = street.shop("面馆")
    with pytest.raises(NotFound), street.runtime.transaction(Role.MERCHANT, merchant_id=other) as session:
        giving.revoke(
            session, merchant_id=other, staff_id=WRITER, coupon_public_id=given.public_id, reason="x", now=street.now
        )


# ---- Passing on ------------------------------------------------------------------------------------------------------


def test_a_neighbour_who_opens_the_link_has_the_coupon_and_the_giver_has_not(street: Street) -> None:
    template_id = street.live(street.shop(), is_transferable=True)
    ann, ben, cem = street.people(3)
    given = street.grant(template_id, ann)
    token = offer(street, given)
    with street.runtime.transaction(Role.FAN, follower_id=ben) as session:
        assert giving.offered(session, follower_id=ben, token=token, now=street.now).template_id == template_id
    taken = take(street, token, ben)
    assert (taken.is_new, taken.seq, taken.valid_to) == (True, None, given.valid_to)
    assert take(street, token, ben).coupon_id == taken.coupon_id
    with pytest.raises(NoGift):
        take(street, token, cem)
    assert street.state(given.coupon_id) == "given_away"
    template = street.template(template_id)
    assert (template.issued, template.committed_fen) == (1, 2_000)
    # What was passed on counts against nobody's limit.
    assert street.grant(template_id, ben).is_new
    with street.runtime.transaction(Role.FAN, follower_id=ben) as session:
        held = wallet.coupons_of(session, follower_id=ben, now=street.now)
    assert {one.id: one.was_passed_on for one in held}[taken.coupon_id]
    assert len(held) == 2


def test_nobody_takes_their_own(street: Street) -> None:
    given = street.grant(street.live(street.shop(), is_transferable=True), street.person())
    with pytest.raises(OwnGift):
        take(street, offer(street, given), given.follower_id)
    assert street.state(given.coupon_id) == "issued"


def test_a_link_ends_when_it_is_cancelled_replaced_or_late(street: Street) -> None:
    given = street.grant(street.live(street.shop(), is_transferable=True), street.person())
    ben = street.person()
    replaced = offer(street, given)
    cancelled = offer(street, given)
    with street.runtime.transaction(Role.FAN, follower_id=given.follower_id) as session:
        assert giving.cancel_gift(
            session, follower_id=given.follower_id, coupon_public_id=given.public_id, now=street.now
        ) == 1  # fmt: skip
    late = offer(street, given)
    for token, after in ((replaced, timedelta(0)), (cancelled, timedelta(0)), (late, giving.GIFT_LASTS)):
        with pytest.raises(NoGift):
            take(street, token, ben, after=after)
    with pytest.raises(NoGift):
        take(street, "made up", ben)
    assert street.state(given.coupon_id) == "issued"


def test_what_cannot_be_passed_on_is_not_offered(street: Street) -> None:
    shop = street.shop()
    fixed, used = street.live(shop), street.live(shop, is_transferable=True)
    ann, ben = street.people(2)
    with pytest.raises(NotPassable):
        offer(street, street.grant(fixed, ann))
    given = street.grant(used, ann)
    street.redeemed(given)
    with pytest.raises(NotPassable):
        offer(street, given)
    with pytest.raises(NotFound), street.runtime.transaction(Role.FAN, follower_id=ben) as session:
        giving.offer_gift(session, follower_id=ben, coupon_public_id=given.public_id, now=street.now)


def test_a_blocked_neighbour_takes_nothing(street: Street) -> None:
    """CO-9"""
    given = street.grant(street.live(street.shop(), is_transferable=True), street.person())
    token, ben = offer(street, given), street.person()
    with street.runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("INSERT INTO benefit_block (follower_id, reason, blocked_by) VALUES (:id, 'x', 1)"),
                        {"id": ben})  # fmt: skip
    with pytest.raises(NotGiven) as refusal:
        take(street, token, ben)
    assert refusal.value.reason is Refusal.IDENTITY
    assert street.state(given.coupon_id) == "issued"


def test_a_stranger_reads_no_coupon_but_the_one_they_were_sent(street: Street) -> None:
    template_id = street.live(street.shop(), is_transferable=True, per_person=2)
    ann, ben = street.people(2)
    given, _kept = street.grant(template_id, ann), street.grant(template_id, ann)
    token = offer(street, given)
    with street.runtime.transaction(Role.FAN, follower_id=ben) as session:
        assert session.execute(text("SELECT id FROM coupon")).all() == []
        giving.offered(session, follower_id=ben, token=token, now=street.now)
        assert session.execute(text("SELECT id FROM coupon")).scalars().all() == [given.coupon_id]


def test_a_used_up_coupon_is_no_row_that_goes_back(street: Street) -> None:
    given = street.grant(street.live(street.shop()), street.person())
    street.redeemed(given)
    with pytest.raises(DBAPIError), street.runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("UPDATE coupon SET state = 'revoked' WHERE id = :id"), {"id": given.coupon_id})


# ---- Erasure ---------------------------------------------------------------------------------------------------------


def test_whoever_is_forgotten_holds_shows_and_passes_on_nothing(street: Street) -> None:
    shop = street.shop()
    template_id = street.live(shop, per_person=2, is_transferable=True)
    ann = street.fan(shop)
    live, used = street.grant(template_id, ann), street.grant(template_id, ann)
    street.redeemed(used)
    token = offer(street, live)
    with street.runtime.transaction(Role.PLATFORM) as session:
        for row in (
            "INSERT INTO benefit_block (follower_id, reason, blocked_by) VALUES (:ann, '张三刷券', 1)",
            """INSERT INTO shown_code (follower_id, token_hash, typed_hash, expires_at)
               VALUES (:ann, 'a', 'b', app_now() + interval '5 minutes')""",
        ):
            session.execute(text(row), {"ann": ann})
        session.execute(text("SELECT 1 FROM follower WHERE id = :ann FOR UPDATE"), {"ann": ann})
        erasure.erase(session, follower_id=ann, reason="request")
    assert [street.state(one.coupon_id) for one in (live, used)] == ["revoked", "redeemed"]
    with pytest.raises(NoGift):
        take(street, token, street.person())
    with street.runtime.transaction(Role.PLATFORM) as session:
        assert session.execute(text("SELECT count(*) FROM shown_code")).scalar_one() == 0
        assert session.execute(text("SELECT reason FROM benefit_block")).scalar_one() == ""
        assert session.execute(text("SELECT count(*) FROM redemption")).scalar_one() == 1


# ---- The wallet ------------------------------------------------------------------------------------------------------


def test_a_wallet_shows_what_ends_first_first_and_why_it_cannot_be_used_now(street: Street) -> None:
    tea, noodles = street.shop(), street.shop("面馆")
    ann = street.person()
    later = street.grant(street.live(tea, name="下周再来", starts_after_days=7, lasts_days=7), ann)
    soon = street.grant(street.live(noodles, name="面馆券", lasts_days=2, is_transferable=True), ann)
    used = street.grant(street.live(tea, name="用过的"), ann)
    street.redeemed(used)
    offer(street, soon)
    with street.runtime.transaction(Role.FAN, follower_id=ann) as session:
        held = wallet.coupons_of(session, follower_id=ann, now=street.now)
        past = wallet.coupons_of(session, follower_id=ann, now=street.now, states=wallet.PAST)
        one = wallet.coupon(session, follower_id=ann, public_id=later.public_id, now=street.now)
        here = wallet.coupons_of(session, follower_id=ann, now=street.now, merchant_id=tea)
        count = wallet.count_live(session, follower_id=ann, now=street.now)
    assert [(each.name, each.merchant_name, each.refused, each.is_offered) for each in held] == [
        ("面馆券", "面馆", None, True),
        ("下周再来", "茶馆", Refused.NOT_YET, False),
    ]
    assert str(held[0].headline) == "满100元减20元"
    assert [each.state for each in past] == [CouponState.REDEEMED]
    assert one == held[1]
    assert [each.id for each in here] == [later.coupon_id]
    assert count == 2
    ben = street.person()
    with pytest.raises(NotFound), street.runtime.transaction(Role.FAN, follower_id=ben) as session:
        wallet.coupon(session, follower_id=ben, public_id=later.public_id, now=street.now)


def test_what_is_over_is_shown_as_expired_before_the_job_says_so(street: Street) -> None:
    given = street.grant(street.live(street.shop(), lasts_days=1), street.person())
    with street.runtime.transaction(Role.FAN, follower_id=given.follower_id) as session:
        (held,) = wallet.coupons_of(session, follower_id=given.follower_id, now=given.valid_to)
    assert held.state is CouponState.EXPIRED
