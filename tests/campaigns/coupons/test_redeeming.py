"""At the till: the code an owner shows, what the staff may do with it, and what is refused (#76 to #78)."""

from datetime import timedelta

import pytest
from sqlalchemy import text

from campaigns.coupons import redeeming
from campaigns.coupons.redeeming import (
    AlreadyUndone,
    BelowMinimum,
    BillNeeded,
    CannotUse,
    CodeExpired,
    TooLate,
    TooManyTries,
    UnknownCode,
    VisitedJustNow,
)
from campaigns.points import ledger
from campaigns.points.ledger import Cause
from campaigns.points.models import RuleTrigger
from core.clock import SHANGHAI
from core.database import Role
from core.errors import BusinessError, Invalid, NotFound
from core.nonces import NonceMissing, NonceReused, NonceTooLong
from core.runtime import CODE_ALPHABET, Runtime
from tests.campaigns.coupons.shop import YUAN, Shop, one, row

MS = timedelta(milliseconds=1)


@pytest.fixture
def shop(runtime: Runtime) -> Shop:
    return Shop.open(runtime)


@pytest.fixture
def ann(shop: Shop) -> int:
    return shop.person()


# ---- The code --------------------------------------------------------------------------------------------------------


def test_a_code_is_long_enough_and_only_its_hashes_are_kept(shop: Shop, ann: int) -> None:
    shown = shop.show(ann)
    assert set(shown.token + shown.typed) <= set(CODE_ALPHABET)
    assert len(CODE_ALPHABET) ** len(shown.token) >= 2**128
    assert len(CODE_ALPHABET) ** len(shown.typed) >= 2**40
    kept = row(shop.runtime, "SELECT * FROM shown_code")
    assert shown.typed.encode() not in (bytes(kept.token_hash), bytes(kept.typed_hash))
    assert kept.expires_at - kept.created_at == timedelta(minutes=5)
    assert shop.look(shown.token).follower_id == shop.look(shown.typed).follower_id == ann


@pytest.mark.parametrize(
    "typed",
    ["0123 4567", "o1-23-45-67".upper(), "Ol23-4567", " oi234567 ", "０１２３４５６７", "O1 2 3 4 5 6 7",
     "https://quanma.example/m/c/01234567", "0123\u200b4567"],
)  # fmt: skip
def test_however_a_code_is_typed_it_is_the_same_code(typed: str) -> None:
    assert redeeming.normal_code(typed) == "01234567"


def test_cyrillic_letters_are_taken_for_those_they_look_like() -> None:
    assert redeeming.normal_code("авекмнрс".upper()) == "ABEKMHPC"


@pytest.mark.parametrize(
    "typed", ["", "1234567", "123456789", "1234567U", "二三四五六七八九", "x" * 300, "1234\x005678"]
)
def test_what_cannot_be_a_code_is_not_found_and_costs_no_try(shop: Shop, typed: str) -> None:
    with pytest.raises(UnknownCode):
        shop.look(typed)
    assert one(shop.runtime, "SELECT count(*) FROM code_try") == 0


def test_a_code_works_for_five_minutes(shop: Shop, ann: int) -> None:
    at = shop.now
    shown = shop.show(ann, at=at)
    assert shop.look(shown.typed, at=at + timedelta(minutes=5) - MS).follower_id == ann
    with pytest.raises(CodeExpired):
        shop.look(shown.typed, at=at + timedelta(minutes=5))


def test_a_person_has_a_few_codes_and_the_old_ones_go(shop: Shop, ann: int) -> None:
    ben = shop.person()
    bens = shop.show(ben)
    codes = [shop.show(ann) for _ in range(redeeming.MOST_CODES + 2)]
    assert (
        one(shop.runtime, "SELECT count(*) FROM shown_code WHERE follower_id = :ann", ann=ann) == redeeming.MOST_CODES
    )
    with pytest.raises(UnknownCode):
        shop.look(codes[0].token)
    assert shop.look(codes[-1].token).follower_id == ann
    assert shop.look(bens.token).follower_id == ben


def test_nobody_shows_a_code_for_somebody_elses_coupon(shop: Shop, ann: int) -> None:
    given = shop.give(ann)
    with pytest.raises(NotFound):
        shop.show(shop.person(), coupon_id=given.coupon_id)


def test_a_merchant_sees_no_code_that_it_was_not_shown(shop: Shop, ann: int) -> None:
    shop.show(ann)
    with shop.runtime.transaction(Role.MERCHANT, merchant_id=shop.id) as session:
        assert session.execute(text("SELECT count(*) FROM shown_code")).scalar_one() == 0


def test_a_sixth_wrong_code_within_a_minute_is_refused_and_so_is_the_right_one(shop: Shop, ann: int) -> None:
    shown = shop.show(ann)
    at = shop.now.replace(second=10, microsecond=0)
    for number in range(redeeming.MOST_TRIES):
        with pytest.raises(UnknownCode):
            shop.look(f"0000000{number}", at=at)
    for code in ("00000009", shown.typed, "nonsense?"):
        with pytest.raises(TooManyTries) as refusal:
            shop.look(code, at=at)
        assert refusal.value.status == 429
        assert refusal.value.retry_after_s == 50
    assert shop.look(shown.typed, at=at, staff=shop.owner).follower_id == ann
    assert shop.look(shown.typed, at=at + timedelta(minutes=1)).follower_id == ann


def test_ten_thousand_guesses_try_five_codes(shop: Shop, ann: int) -> None:
    """The count is committed though every request fails; only the database's own work is cut short here."""
    shop.show(ann)
    at = shop.now
    answers = []
    for number in range(60):
        with pytest.raises(BusinessError) as refusal:
            shop.look(f"ZZZZ{number:04d}", at=at)
        answers.append(refusal.value.status)
    assert answers == [404] * 5 + [429] * 55
    assert one(shop.runtime, "SELECT sum(tries) FROM code_try") == 5


# ---- What the till sees ----------------------------------------------------------------------------------------------


def test_the_till_sees_what_can_be_used_first_and_why_the_rest_cannot(shop: Shop, ann: int) -> None:
    noodles = shop.neighbour()
    theirs = noodles.template(name="面馆券")
    noodles.take(theirs, shop)
    good = shop.give(ann)
    late = shop.give(
        ann, name="明天才有", valid_from=shop.now + timedelta(days=1), valid_to=shop.now + timedelta(days=2)
    )
    allied = noodles.give(ann, theirs)
    foreign = noodles.give(ann)
    card = shop.look(shop.show(ann).token)
    seen = {coupon.public_id: coupon for coupon in card.coupons}
    assert [coupon.is_usable for coupon in card.coupons] == [True, True, False]
    assert foreign.public_id not in seen
    assert seen[good.public_id].is_usable
    assert seen[allied.public_id].issuer_name == "面馆"
    assert seen[late.public_id].refused == "not_yet"
    assert (card.fan_number, card.points, card.redemptions, card.one_coupon) == (None, 0, 0, False)
    only = shop.look(shop.show(ann, coupon_id=late.coupon_id).token)
    assert [coupon.public_id for coupon in only.coupons] == [late.public_id]
    assert only.one_coupon


# ---- Redeeming -------------------------------------------------------------------------------------------------------


def test_a_coupon_is_redeemed_with_everything_that_follows(shop: Shop, ann: int) -> None:
    shop.rule(RuleTrigger.SPEND, 1, YUAN)
    shop.rule(RuleTrigger.VISIT, 5)
    given = shop.give(ann)
    redeemed = shop.use(given, bill=100 * YUAN)
    assert (redeemed.discount_fen, redeemed.to_pay_fen, redeemed.uses_left) == (20 * YUAN, 80 * YUAN, 0)
    assert (redeemed.points, redeemed.is_first_here, redeemed.is_own) == (105, True, False)
    assert shop.state(given) == ("redeemed", 0)
    assert shop.points(ann) == 105
    again = shop.use(shop.give(ann), bill=100 * YUAN)
    assert (again.points, again.is_first_here) == (100, False)  # the same visit


def test_without_a_bill_it_takes_off_what_it_is_worth(shop: Shop, ann: int) -> None:
    redeemed = shop.use(shop.give(ann))
    assert (redeemed.bill_fen, redeemed.to_pay_fen, redeemed.discount_fen) == (None, None, 20 * YUAN)


def test_a_bill_that_matters_has_to_be_typed_in(shop: Shop, ann: int) -> None:
    percent = shop.give(ann, kind="percent", percent_off=20, value_fen=30 * YUAN)
    least = shop.give(ann, min_spend_fen=100 * YUAN)
    for coupon in (percent, least):
        with pytest.raises(BillNeeded):
            shop.use(coupon)
    with pytest.raises(BelowMinimum):
        shop.use(least, bill=100 * YUAN - 1)
    assert shop.use(least, bill=100 * YUAN).discount_fen == 20 * YUAN
    assert shop.use(percent, bill=200 * YUAN).discount_fen == 30 * YUAN
    with pytest.raises(Invalid):
        shop.use(shop.give(ann), bill=-1)
    with pytest.raises(Invalid):
        shop.use(shop.give(ann), bill=redeeming.MOST_BILL + 1)


def test_a_card_of_five_visits_is_used_five_times(shop: Shop, ann: int) -> None:
    given = shop.give(ann, kind="visits", uses=5)
    assert [shop.use(given).uses_left for _ in range(5)] == [4, 3, 2, 1, 0]
    with pytest.raises(CannotUse, match="已经用过了") as refusal:
        shop.use(given)
    assert refusal.value.code == "already_redeemed"


def test_another_merchants_coupon_is_not_found(shop: Shop, ann: int) -> None:
    given = shop.neighbour().give(ann)
    with pytest.raises(NotFound):
        shop.use(given)


@pytest.mark.parametrize("state", ["asked", "ended"])
def test_whoever_has_not_agreed_or_has_ended_it_takes_no_coupon_of_others(shop: Shop, ann: int, state: str) -> None:
    noodles = shop.neighbour()
    template_id = shop.template()
    shop.take(template_id, noodles)
    given = shop.give(ann, template_id)
    with shop.runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("UPDATE coupon_acceptor SET state = :state"), {"state": state})
    with pytest.raises(NotFound):
        noodles.use(given)


def test_somebody_elses_coupon_is_not_found(shop: Shop, ann: int) -> None:
    given = shop.give(ann)
    ben = shop.person()
    with pytest.raises(NotFound):
        shop.redeem(shop.show(ben).token, given)
    other = shop.give(ann)
    with pytest.raises(NotFound):
        shop.redeem(shop.show(ann, coupon_id=other.coupon_id).token, given)


def test_a_coupon_is_valid_until_the_last_millisecond_and_not_after_it(shop: Shop, ann: int) -> None:
    begins, ends = shop.now, shop.now + timedelta(days=3)
    late, last, early = (shop.give(ann, valid_from=begins, valid_to=ends) for _ in range(3))
    with pytest.raises(CannotUse) as refusal:
        shop.use(late, at=ends)
    assert (refusal.value.code, refusal.value.status) == ("expired", 409)
    assert shop.use(last, at=ends - MS).discount_fen == 20 * YUAN
    with pytest.raises(CannotUse) as refusal:
        shop.use(early, at=begins - MS)
    assert refusal.value.code == "not_yet"
    assert shop.use(early, at=begins).discount_fen == 20 * YUAN


def test_wrong_weekdays_and_hours_are_refused_with_the_reason(shop: Shop, ann: int) -> None:
    today = shop.now.astimezone(SHANGHAI).weekday()
    other_day = shop.give(ann, weekdays=127 - (1 << today))
    evenings = shop.give(ann, hours="[[1080, 1320]]")  # it is noon
    for coupon, code in ((other_day, "weekday"), (evenings, "hours")):
        with pytest.raises(CannotUse) as refusal:
            shop.use(coupon)
        assert refusal.value.code == code


@pytest.mark.plants_violation
@pytest.mark.parametrize(
    ("state", "code"), [("revoked", "revoked"), ("given_away", "given_away"), ("expired", "expired")]
)
def test_what_is_no_coupon_any_more_is_refused(shop: Shop, ann: int, state: str, code: str) -> None:
    given = shop.give(ann)
    with shop.runtime.transaction(Role.PLATFORM) as session:
        session.execute(
            text("UPDATE coupon SET state = :state, ended_at = app_now() WHERE id = :id"),
            {"state": state, "id": given.coupon_id},
        )
    with pytest.raises(CannotUse) as refusal:
        shop.use(given)
    assert (refusal.value.code, refusal.value.status) == (code, 409)


def test_a_second_redemption_is_told_when_and_where_the_first_was(shop: Shop, ann: int) -> None:
    template_id = shop.template()
    noodles = shop.neighbour()
    shop.take(template_id, noodles)
    given = shop.give(ann, template_id)
    first = noodles.use(given)
    with pytest.raises(CannotUse, match="在面馆") as refusal:
        shop.use(given)
    assert refusal.value.code == "already_redeemed"
    assert f"{first.at.astimezone(SHANGHAI):%H:%M}" in refusal.value.message
    home = shop.give(ann, template_id)
    shop.use(home)
    with pytest.raises(CannotUse, match="在另一家店"):
        noodles.use(home)


def test_first_only_is_asked_again_at_the_till(shop: Shop, ann: int) -> None:
    first, second = shop.give(ann, first_only=True), shop.give(ann, first_only=True)
    done = shop.use(first)
    with pytest.raises(CannotUse) as refusal:
        shop.use(second)
    assert refusal.value.code == "not_first"
    shop.undo(done.redemption_id)
    assert shop.use(second).is_first_here


def test_own_dealing_is_noted_and_the_shop_sees_its_staffs_bindings_as_before(shop: Shop, ann: int) -> None:
    with shop.runtime.transaction(Role.PLATFORM) as session:
        session.execute(
            text("""
                INSERT INTO staff_identity (staff_id, merchant_id, follower_id, bound_at)
                VALUES (:staff, :shop, :ann, app_now())"""),
            {"staff": shop.clerk, "shop": shop.id, "ann": ann},
        )
    own = shop.give(ann)
    assert shop.use(own).is_own
    assert not shop.redeem(shop.show(ann).token, shop.give(ann), staff=shop.owner).is_own
    assert not shop.use(shop.give(shop.person())).is_own
    with shop.runtime.transaction(Role.MERCHANT, merchant_id=shop.id) as session:
        assert session.execute(text("SELECT count(*) FROM staff_identity")).scalar_one() == 1


# ---- Twice -----------------------------------------------------------------------------------------------------------


def test_the_same_call_again_gets_the_same_answer_even_when_its_code_is_over(shop: Shop, ann: int) -> None:
    shop.rule(RuleTrigger.SPEND, 1, YUAN)
    given = shop.give(ann)
    shown = shop.show(ann).typed
    first = shop.redeem(shown, given, bill=50 * YUAN, nonce="n-1")
    later = shop.now + timedelta(hours=1)
    assert shop.redeem(shown, given, bill=50 * YUAN, nonce="n-1", at=later) == first
    assert shop.points(ann) == 50
    with pytest.raises(NonceReused):
        shop.redeem(shown, shop.give(ann), bill=50 * YUAN, nonce="n-1")
    with pytest.raises(NonceReused):
        shop.redeem(shown, given, bill=51 * YUAN, nonce="n-1")
    with pytest.raises(CannotUse) as refusal:
        shop.redeem(shown, given, bill=50 * YUAN, nonce="n-2")
    assert refusal.value.code == "already_redeemed"


def test_a_nonce_is_needed_and_short(shop: Shop, ann: int) -> None:
    given, shown = shop.give(ann), shop.show(ann).typed
    with pytest.raises(NonceMissing):
        shop.redeem(shown, given, nonce="")
    with pytest.raises(NonceTooLong):
        shop.redeem(shown, given, nonce="x" * 300)
    assert shop.state(given) == ("issued", 1)


def test_a_refused_call_may_be_made_again_with_its_nonce(shop: Shop, ann: int) -> None:
    given, shown = shop.give(ann, min_spend_fen=100 * YUAN), shop.show(ann).typed
    for _ in range(2):
        with pytest.raises(BillNeeded):
            shop.redeem(shown, given, nonce="n-1")
    assert shop.redeem(shown, given, bill=100 * YUAN, nonce="n-1").uses_left == 0


# ---- While the bill is paid ------------------------------------------------------------------------------------------


def test_a_held_coupon_is_redeemed_by_the_till_that_holds_it(shop: Shop, ann: int) -> None:
    noodles = shop.neighbour()
    template_id = shop.template()
    shop.take(template_id, noodles)
    given, shown = shop.give(ann, template_id), shop.show(ann).token
    at = shop.now
    until = shop.reserve(shown, given, at=at)
    assert until == at + redeeming.HELD
    assert shop.reserve(shown, given, at=at + timedelta(minutes=3)) == until
    with pytest.raises(CannotUse) as refusal:
        noodles.redeem(shown, given, at=at)
    assert refusal.value.code == "held_elsewhere"
    noodles.release(given)
    assert shop.state(given) == ("reserved", 1)
    assert shop.redeem(shown, given, at=at).uses_left == 0


def test_what_is_held_too_long_or_released_is_free_again(shop: Shop, ann: int) -> None:
    noodles = shop.neighbour()
    template_id = shop.template()
    shop.take(template_id, noodles)
    given = shop.give(ann, template_id)
    at = shop.now
    shop.reserve(shop.show(ann, at=at).token, given, at=at)
    later = at + redeeming.HELD
    assert noodles.reserve(shop.show(ann, at=later).token, given, at=later) == later + redeeming.HELD
    noodles.release(given)
    assert shop.state(given) == ("issued", 1)
    assert shop.use(given, at=later).uses_left == 0


def test_holding_a_coupon_makes_it_no_more_valid(shop: Shop, ann: int) -> None:
    ends = shop.now + timedelta(minutes=4)
    given = shop.give(ann, valid_from=shop.now, valid_to=ends)
    shown = shop.show(ann).token
    assert shop.reserve(shown, given) == ends
    with pytest.raises(CannotUse) as refusal:
        shop.redeem(shown, given, at=ends)
    assert refusal.value.code == "expired"


# ---- Undoing ---------------------------------------------------------------------------------------------------------


def test_an_undo_takes_everything_back_once(shop: Shop, ann: int) -> None:
    shop.rule(RuleTrigger.SPEND, 1, YUAN)
    given = shop.give(ann)
    redeemed = shop.use(given, bill=80 * YUAN)
    undone = shop.undo(redeemed.redemption_id)
    assert undone.is_valid_again
    assert shop.state(given) == ("issued", 1)
    assert shop.points(ann) == 0
    with pytest.raises(AlreadyUndone):
        shop.undo(redeemed.redemption_id)
    kept = row(shop.runtime, "SELECT * FROM redemption_reversal")
    assert (kept.reason, kept.is_valid_again, kept.staff_id) == ("点错了", True, shop.clerk)
    assert shop.use(given, bill=80 * YUAN).points == 80
    assert one(shop.runtime, "SELECT count(*) FROM audit_log WHERE action = 'redemption.undo'") == 1


def test_points_that_are_spent_by_now_are_owed_after_an_undo(shop: Shop, ann: int) -> None:
    shop.rule(RuleTrigger.SPEND, 1, YUAN)
    redeemed = shop.use(shop.give(ann), bill=80 * YUAN)
    with shop.runtime.transaction(Role.FAN, follower_id=ann) as session:
        ledger.spend(
            session, merchant_id=shop.id, follower_id=ann, points=80, cause=Cause("test", 1), now=shop.now
        )  # fmt: skip
    shop.undo(redeemed.redemption_id)
    assert one(shop.runtime, "SELECT debt FROM points_account WHERE follower_id = :who AND kind = 'fan'", who=ann) == 80


def test_a_loop_of_redeeming_and_undoing_gains_nothing(shop: Shop, ann: int) -> None:
    shop.rule(RuleTrigger.SPEND, 1, YUAN)
    shop.rule(RuleTrigger.VISIT, 5)
    given = shop.give(ann)
    for _ in range(10):
        shop.undo(shop.use(given, bill=80 * YUAN).redemption_id)
    assert shop.points(ann) == 0
    assert shop.state(given) == ("issued", 1)


def test_a_coupon_whose_time_is_over_is_not_valid_again(shop: Shop, ann: int) -> None:
    ends = shop.now + timedelta(minutes=10)
    given = shop.give(ann, valid_from=shop.now, valid_to=ends)
    cards = shop.give(ann, kind="visits", uses=3, valid_from=shop.now, valid_to=ends)
    redemptions = [shop.use(given), shop.use(cards)]
    for redeemed in redemptions:
        assert not shop.undo(redeemed.redemption_id, at=ends).is_valid_again
    assert shop.state(given) == ("expired", 1)


def test_the_numbers_of_uses_stay_apart_after_an_undo(shop: Shop, ann: int) -> None:
    given = shop.give(ann, kind="visits", uses=3)
    first, second = shop.use(given), shop.use(given)
    shop.undo(first.redemption_id)
    assert second.uses_left == 1
    assert shop.use(given).uses_left == 1
    assert shop.use(given).uses_left == 0
    standing = one(shop.runtime, "SELECT array_agg(use_no ORDER BY use_no) FROM redemption WHERE reversed_at IS NULL")
    assert standing == [1, 2, 3]


@pytest.mark.parametrize(
    ("after", "is_owner", "is_done"),
    [(timedelta(minutes=30), False, True), (timedelta(minutes=30) + MS, False, False),
     (timedelta(hours=24), True, True), (timedelta(hours=24) + MS, True, False)],
)  # fmt: skip
def test_a_clerk_has_half_an_hour_and_an_owner_a_day(
    shop: Shop, ann: int, after: timedelta, is_owner: bool, is_done: bool
) -> None:
    redeemed = shop.use(shop.give(ann))
    staff, at = shop.owner if is_owner else shop.clerk, redeemed.at + after
    if is_done:
        assert shop.undo(redeemed.redemption_id, staff=staff, at=at).is_valid_again
    else:
        with pytest.raises(TooLate):
            shop.undo(redeemed.redemption_id, staff=staff, at=at)


def test_an_undo_needs_a_reason_and_the_same_shop(shop: Shop, ann: int) -> None:
    noodles = shop.neighbour()
    template_id = shop.template()
    shop.take(template_id, noodles)
    there = noodles.use(shop.give(ann, template_id))
    with pytest.raises(Invalid):
        noodles.undo(there.redemption_id, reason="  ")
    with pytest.raises(NotFound):
        shop.undo(there.redemption_id)
    with pytest.raises(NotFound):
        noodles.undo(there.redemption_id, staff=shop.owner)


# ---- A visit ---------------------------------------------------------------------------------------------------------


def test_a_visit_is_recorded_once_in_ten_minutes(shop: Shop, ann: int) -> None:
    shop.rule(RuleTrigger.SPEND, 1, YUAN)
    shop.rule(RuleTrigger.VISIT, 5)
    at = shop.now
    shown = shop.show(ann, at=at).typed
    first = shop.visit(shown, bill=30 * YUAN, nonce="v-1", at=at)
    assert first.points == 35
    assert shop.visit(shown, bill=30 * YUAN, nonce="v-1", at=at) == first
    with pytest.raises(VisitedJustNow):
        shop.visit(shown, bill=30 * YUAN, at=at + timedelta(minutes=1))
    later = at + redeeming.VISITS_APART
    assert shop.visit(shop.show(ann, at=later).typed, at=later).points == 5
    assert shop.points(ann) == 40


def test_a_visit_is_taken_back_with_its_points(shop: Shop, ann: int) -> None:
    shop.rule(RuleTrigger.VISIT, 5)
    visit = shop.visit(shop.show(ann).typed)

    def undo(at: Shop) -> None:
        with shop.runtime.transaction(Role.MERCHANT, merchant_id=at.id) as session:
            redeeming.undo_visit(
                session, merchant_id=at.id, staff_id=at.clerk, visit_id=visit.visit_id, reason="扫错了人", now=shop.now
            )

    undo(shop)
    assert shop.points(ann) == 0
    with pytest.raises(AlreadyUndone):
        undo(shop)
    with pytest.raises(NotFound):
        undo(shop.neighbour())
    assert shop.visit(shop.show(ann).typed).points == 5


def test_a_redemption_is_a_visit(shop: Shop, ann: int) -> None:
    shop.rule(RuleTrigger.VISIT, 5)
    assert shop.use(shop.give(ann)).points == 5
    with pytest.raises(VisitedJustNow):
        shop.visit(shop.show(ann).typed)


def test_who_brought_somebody_is_rewarded_with_the_first_redemption_and_no_more_after_its_undo(shop: Shop) -> None:
    shop.rule(RuleTrigger.REFERRAL, 50)
    bea, ann = shop.person(), shop.person()
    with shop.runtime.transaction(Role.PLATFORM) as session:
        people = {"shop": shop.id, "bea": bea, "ann": ann}
        session.execute(
            text("UPDATE follower SET first_seen_at = first_seen_at - interval '1 day' WHERE id = :bea"), people
        )
        session.execute(
            text("""
                WITH card AS (
                    INSERT INTO invite (merchant_id, follower_id, public_id, expires_at)
                    VALUES (:shop, :bea, 'card', app_now() + interval '9 days') RETURNING id)
                INSERT INTO referral (invitee_id, inviter_id, merchant_id, invite_id, came_by)
                SELECT :ann, :bea, :shop, id, 'scan' FROM card"""),
            people,
        )
    first = shop.use(shop.give(ann))
    assert shop.points(bea) == 50
    shop.use(shop.give(ann))
    assert shop.points(bea) == 50
    shop.undo(first.redemption_id)
    assert shop.points(bea) == 0
