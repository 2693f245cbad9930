"""Many tills at one moment: each race is run again and again with pauses in the middle of what is guarded, and each is
run with the guard taken away, too, where it has to be lost (CO-3, CO-6, CO-10, #77, #78)."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final

import pytest
from sqlalchemy import TextClause, text
from sqlalchemy.exc import SQLAlchemyError

from campaigns.coupons import alliance, giving, redeeming
from campaigns.coupons.redeeming import CannotUse, Why
from campaigns.points import rules
from campaigns.points.models import RuleTrigger
from core import nonces
from core.database import Role, set_tenant
from core.errors import BusinessError
from core.runtime import Runtime
from merchants import identities
from tests.campaigns.coupons.shop import YUAN, Shop, one

REPEATS: Final = 200


@pytest.fixture
def shop(runtime: Runtime) -> Shop:
    return Shop.open(runtime)


@pytest.fixture
def hands() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


def at_once(hands: ThreadPoolExecutor, *actors: Callable[[], Any]) -> list[Any]:
    """All of them at the same moment; what each returned, or the refusal's code."""
    gate = threading.Barrier(len(actors))

    def act(actor: Callable[[], Any]) -> Any:
        gate.wait(20)
        try:
            return actor()
        except BusinessError as refusal:
            return refusal.code

    return list(hands.map(act, actors))


@contextmanager
def pauses(monkeypatch: pytest.MonkeyPatch, *names: str, seed: int) -> Iterator[None]:
    """Sleep up to three milliseconds before each of these steps of `redeeming`, chosen by a seed."""
    chance = random.Random(seed)
    with monkeypatch.context() as patch:
        for name in names:
            step = getattr(redeeming, name)

            def slow(*arguments: Any, _step: Callable[..., Any] = step, **options: Any) -> Any:
                threading.Event().wait(chance.random() * 0.003)
                return _step(*arguments, **options)

            patch.setattr(redeeming, name, slow)
        yield


NAIVE_USE: Final = text("""
    UPDATE coupon SET uses_left = 0, state = 'redeemed', ended_at = CAST(:now AS timestamptz),
           reserved_until = NULL, reserved_at_id = NULL
    WHERE id = :coupon AND follower_id = :follower AND CAST(:merchant AS bigint) IS NOT NULL
    RETURNING uses, uses_left""")
"""Looks first, and then writes whatever is there by now."""


def _without_guards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redeeming, "_USE", NAIVE_USE)
    record: TextClause = text(
        str(redeeming._REDEEM).replace("ON CONFLICT (coupon_id, use_no) WHERE reversed_at IS NULL DO NOTHING", "")
    )
    monkeypatch.setattr(redeeming, "_REDEEM", record)


@pytest.mark.plants_violation
@pytest.mark.parametrize("is_naive", [False, True], ids=["guarded", "naive"])
def test_two_tills_redeem_one_coupon_once(
    shop: Shop, hands: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch, is_naive: bool
) -> None:
    """The issuer's till and a neighbour's: they have no lock in common but the coupon's row."""
    noodles, template_id = shop.neighbour(), shop.template()
    shop.take(template_id, noodles)
    shop.rule(RuleTrigger.SPEND, 1, YUAN)
    if is_naive:
        _without_guards(monkeypatch)
        with shop.runtime.transaction(Role.MIGRATE) as session:
            session.execute(text("DROP INDEX uq_redemption_standing"))
    wrong = Counter[str]()
    try:
        for turn in range(REPEATS if not is_naive else 60):
            coupon = shop.give(shop.person(), template_id)
            shown = shop.show(coupon.follower_id).token
            with pauses(monkeypatch, "_has_redeemed", "_record", seed=turn):
                answers = at_once(
                    hands,
                    lambda: shop.redeem(shown, coupon, bill=50 * YUAN),  # noqa: B023
                    lambda: noodles.redeem(shown, coupon, bill=50 * YUAN),  # noqa: B023
                )
            refused = [answer for answer in answers if isinstance(answer, str)]
            assert set(refused) <= {Why.REDEEMED}, answers
            standing = one(shop.runtime, "SELECT count(*) FROM redemption WHERE coupon_id = :id", id=coupon.coupon_id)
            wrong["redeemed twice"] += standing > 1
            wrong["refused"] += len(refused)
            assert is_naive or (standing, len(refused)) == (1, 1)
    finally:
        if is_naive:
            with shop.runtime.transaction(Role.MIGRATE) as session:
                session.execute(text("TRUNCATE redemption, redemption_reversal, alliance_transfer, alliance_entry"))
                session.execute(
                    text("""
                        CREATE UNIQUE INDEX uq_redemption_standing ON redemption (coupon_id, use_no)
                        WHERE reversed_at IS NULL""")
                )
    if is_naive:
        assert wrong["redeemed twice"] > 0, "the naive way was never caught: this race proves nothing"
    else:
        found = one(shop.runtime, "SELECT sum(redeemed) FROM coupon_acceptor")
        there = one(shop.runtime, "SELECT count(*) FROM redemption WHERE merchant_id = :id", id=noodles.id)
        assert found == there
        assert noodles.owed() == there * 20 * YUAN


NAIVE_EXPIRE: Final = text("""
    UPDATE coupon SET state = 'expired', ended_at = :now, reserved_until = NULL, reserved_at_id = NULL
    WHERE id = :coupon""")


@pytest.mark.plants_violation
@pytest.mark.parametrize("is_naive", [False, True], ids=["guarded", "naive"])
def test_a_coupon_at_its_end_is_redeemed_or_expired_and_never_both(
    shop: Shop, hands: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch, is_naive: bool
) -> None:
    """A till holds it a moment before its end and redeems it, while the job that ends coupons comes by (CO-5)."""
    template_id = shop.template(valid_from=shop.now, valid_to=shop.now + timedelta(minutes=1))
    ends = one(shop.runtime, "SELECT valid_to FROM coupon_template WHERE id = :id", id=template_id)
    last = ends - timedelta(milliseconds=1)
    outcomes = Counter[str]()

    chance = random.Random(1)

    def expire() -> str:
        threading.Event().wait(chance.random() * 0.04)
        with shop.runtime.transaction(Role.PLATFORM) as session:
            if is_naive:
                seen = session.execute(
                    text("SELECT id FROM coupon WHERE state IN ('issued', 'reserved') AND valid_to <= :now"),
                    {"now": ends},
                ).scalars()
                for coupon_id in list(seen):
                    threading.Event().wait(chance.random() * 0.04)
                    session.execute(NAIVE_EXPIRE, {"coupon": coupon_id, "now": ends})
            else:
                giving.expire_due(session, ends)
        return "expired"

    caught = 0
    for turn in range(REPEATS if not is_naive else 60):
        coupon = shop.give(shop.person(), template_id)
        shown = shop.show(coupon.follower_id).token

        def till() -> str:
            shop.reserve(shown, coupon, at=last)  # noqa: B023
            shop.redeem(shown, coupon, at=last)  # noqa: B023
            return "redeemed"

        with pauses(monkeypatch, "_has_redeemed", seed=turn):
            try:
                answers = at_once(hands, till, expire)
            except SQLAlchemyError:
                # The rows' own rules refuse what the naive job would do: it fails, and with it all it was to do.
                assert is_naive
                caught += 1
                continue
        state, uses_left = shop.state(coupon)
        standing = one(shop.runtime, "SELECT count(*) FROM redemption WHERE coupon_id = :id", id=coupon.coupon_id)
        outcomes[state] += 1
        assert (answers[0] == "redeemed") == (standing == 1)
        if is_naive:
            caught += (state == "redeemed") != (standing == 1)
        else:
            assert (state, uses_left, standing) in {("redeemed", 0, 1), ("expired", 1, 0)}, answers
    if is_naive:
        assert caught > 0, "the naive way was never caught: this race proves nothing"
    else:
        assert set(outcomes) == {"redeemed", "expired"}, outcomes


@pytest.mark.plants_violation
@pytest.mark.parametrize("is_naive", [False, True], ids=["guarded", "naive"])
def test_one_nonce_at_the_same_moment_acts_once_and_says_the_same(
    shop: Shop, hands: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch, is_naive: bool
) -> None:
    """A card for many visits, tapped twice over a bad line: without the nonce it would lose two."""
    shop.rule(RuleTrigger.SPEND, 1, YUAN)
    if is_naive:

        def forgetful(_session: object, work: Callable[[], dict[str, Any]], **_: object) -> nonces.Answered:
            return nonces.Answered(200, work())

        monkeypatch.setattr(nonces, "answer_once", forgetful)
    template_id = shop.template(kind="visits", uses=100)
    person = shop.person()
    coupons = [shop.give(person, template_id) for _ in range(2)]
    shown = shop.show(person).token
    twice = 0
    for turn in range(REPEATS if not is_naive else 5):
        coupon = coupons[turn // 100]
        before = shop.state(coupon)[1]

        def tap() -> redeeming.Redeemed:
            return shop.redeem(shown, coupon, bill=YUAN, nonce=f"tap-{turn}")  # noqa: B023

        with pauses(monkeypatch, "_has_redeemed", "_record", seed=turn):
            first, second = at_once(hands, tap, tap)
        used = before - shop.state(coupon)[1]
        twice += used > 1
        assert is_naive or (used == 1 and first == second)
    if is_naive:
        assert twice > 0, "nothing was caught: this race proves nothing"
    else:
        assert shop.points(person) == REPEATS


def test_the_last_place_at_a_neighbours_is_taken_once(shop: Shop, hands: ThreadPoolExecutor) -> None:
    noodles, template_id = shop.neighbour(), shop.template()
    shop.take(template_id, noodles, most=50)
    for _ in range(50 - 1):
        noodles.use(shop.give(shop.person(), template_id))
    coupons = [shop.give(shop.person(), template_id) for _ in range(4)]
    shown = [shop.show(coupon.follower_id).token for coupon in coupons]
    with shop.runtime.transaction(Role.PLATFORM) as session:
        add = text("INSERT INTO staff (merchant_id, name, role) VALUES (:shop, 'x', 'clerk') RETURNING id")
        clerks = [session.execute(add, {"shop": noodles.id}).scalar_one() for _ in coupons]
    answers = at_once(
        hands,
        *(lambda n=number: noodles.redeem(shown[n], coupons[n], staff=clerks[n]) for number in range(4)),
    )
    assert Counter(answer if isinstance(answer, str) else "redeemed" for answer in answers) == {
        "redeemed": 1, Why.FULL_HERE: 3,
    }  # fmt: skip
    # Whoever was refused still has the coupon.
    assert Counter(shop.state(coupon)[0] for coupon in coupons) == {"redeemed": 1, "issued": 3}


def test_two_undos_at_once_are_one(shop: Shop, hands: ThreadPoolExecutor) -> None:
    shop.rule(RuleTrigger.SPEND, 1, YUAN)
    noodles, template_id = shop.neighbour(), shop.template()
    shop.take(template_id, noodles)
    noodles.rule(RuleTrigger.SPEND, 1, YUAN)
    coupon = shop.give(shop.person(), template_id)
    for _ in range(20):
        done = noodles.use(coupon, bill=30 * YUAN)
        answers = at_once(hands, *[lambda: noodles.undo(done.redemption_id)] * 2)  # noqa: B023
        assert sorted(isinstance(answer, str) for answer in answers) == [False, True]
        assert shop.state(coupon) == ("issued", 1)
        assert (noodles.points(coupon.follower_id), noodles.owed()) == (0, 0)


class Crash(Exception):
    """The machine goes away."""


STEPS: Final = (
    (redeeming, "_record"),
    (identities, "is_staff"),
    (alliance, "take_place"),
    (alliance, "settle"),
    (rules, "pay"),
    (nonces, "keep"),
)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step[1])
@pytest.mark.parametrize("is_after", [False, True], ids=["before", "after"])
def test_a_crash_in_the_middle_leaves_nothing(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, step: tuple[Any, str], is_after: bool
) -> None:
    noodles, template_id = shop.neighbour(), shop.template()
    shop.take(template_id, noodles)
    noodles.rule(RuleTrigger.SPEND, 1, YUAN)
    coupon = shop.give(shop.person(), template_id)
    shown = shop.show(coupon.follower_id).token
    module, name = step
    real = getattr(module, name)

    def crash(*arguments: Any, **options: Any) -> Any:
        if is_after:
            real(*arguments, **options)
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(module, name, crash)
        with pytest.raises(Crash):
            noodles.redeem(shown, coupon, bill=50 * YUAN, nonce="n-1")
    assert shop.state(coupon) == ("issued", 1)
    left = ("redemption", "points_transfer", "alliance_transfer", "answered_call")
    assert {table: one(shop.runtime, f"SELECT count(*) FROM {table}") for table in left} == dict.fromkeys(left, 0)  # noqa: S608
    assert one(shop.runtime, "SELECT redeemed FROM coupon_acceptor") == 0
    # The same tap again does it.
    assert noodles.redeem(shown, coupon, bill=50 * YUAN, nonce="n-1").points == 50
    assert noodles.owed() == 20 * YUAN


@pytest.mark.plants_violation
def test_without_one_transaction_a_crash_leaves_half(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the tests above would find if the coupon's use were committed by itself."""
    coupon = shop.give(shop.person())
    shown = shop.show(coupon.follower_id).token
    real = redeeming._record

    def committed(session: Any, **options: Any) -> int:
        session.connection().exec_driver_sql("COMMIT")
        set_tenant(session, merchant_id=shop.id)
        return real(session, **options)

    def crash(*_: object, **__: object) -> None:
        raise Crash

    monkeypatch.setattr(redeeming, "_record", committed)
    monkeypatch.setattr(redeeming, "_reward", crash)
    with pytest.raises(Crash):
        shop.redeem(shown, coupon, bill=50 * YUAN)
    assert shop.state(coupon) == ("redeemed", 0)


def test_a_till_that_guesses_at_once_tries_no_more_codes(shop: Shop, hands: ThreadPoolExecutor) -> None:
    """Forty guesses on four lines within one minute: five are looked at (CO-7)."""
    at = shop.now.replace(second=1)
    answers: Counter[str] = Counter()

    def guess() -> str:
        try:
            shop.look(f"{random.randrange(10**8):08d}", at=at)
        except BusinessError as refusal:
            return refusal.code
        return "found"

    for _ in range(10):
        answers.update(at_once(hands, *[guess] * 4))
    assert answers == {"unknown_code": 5, "too_many_tries": 35}


def test_the_refusal_of_the_second_till_is_a_409(shop: Shop) -> None:
    coupon = shop.give(shop.person())
    shop.use(coupon)
    with pytest.raises(CannotUse) as refusal:
        shop.use(coupon)
    assert refusal.value.status == 409
