"""The same call twice is one call (CO-6, #78, #88)."""

import functools
import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import text

from bot import retention
from core import nonces
from core.database import Role
from core.errors import BusinessError
from core.nonces import Answered, NonceMissing, NonceReused, NonceTooLong, UnderWay
from core.outbox import Task
from core.runtime import Runtime
from tests.conftest import advance


def call(
    runtime: Runtime,
    nonce: str = "n-1",
    *,
    body: dict[str, object] | None = None,
    actor: str = "staff:1",
    route: str = "redeem",
    work: Callable[[], dict[str, object]] = lambda: {"ok": True},
) -> Answered:
    with runtime.transaction(Role.MERCHANT, merchant_id=1) as session:
        return nonces.answer_once(
            session, work, actor=actor, route=route, nonce=nonce, body={"coupon": 7} if body is None else body,
            merchant_id=1,
        )  # fmt: skip


def test_the_same_call_gets_the_same_answer_and_does_nothing_again(runtime: Runtime) -> None:
    done: list[int] = []

    def work() -> dict[str, object]:
        done.append(1)
        return {"times": len(done), "name": "券"}

    first = call(runtime, work=work)
    assert first == call(runtime, work=work) == Answered(200, {"times": 1, "name": "券"})
    assert call(runtime, "n-2", work=work).answer["times"] == 2


def test_the_order_of_a_bodys_fields_is_no_other_body(runtime: Runtime) -> None:
    call(runtime, body={"a": 1, "b": None})
    assert call(runtime, body={"b": None, "a": 1}).answer == {"ok": True}


@pytest.mark.parametrize("body", [{"coupon": 8}, {"coupon": "7"}, {"coupon": 7, "bill": None}, {}])
def test_another_body_under_the_same_nonce_is_refused(runtime: Runtime, body: dict[str, object]) -> None:
    call(runtime)
    with pytest.raises(NonceReused) as refusal:
        call(runtime, body=body)
    assert refusal.value.status == 422


def test_others_and_other_routes_have_nonces_of_their_own(runtime: Runtime) -> None:
    call(runtime)
    assert call(runtime, actor="staff:2", body={}, work=lambda: {"mine": 2}).answer == {"mine": 2}
    assert call(runtime, route="visit", body={}, work=lambda: {"mine": 3}).answer == {"mine": 3}


@pytest.mark.parametrize(
    ("nonce", "error"),
    [("", NonceMissing), ("x" * 65, NonceTooLong), ("x" * 300, NonceTooLong), ("a\x00b", NonceTooLong)],
)
def test_a_nonce_is_there_and_short(runtime: Runtime, nonce: str, error: type[BusinessError]) -> None:
    with pytest.raises(error) as refusal:
        call(runtime, nonce)
    assert refusal.value.status == 400
    assert call(runtime, "x" * 64).status == 200


def test_what_failed_has_left_nothing_and_may_be_asked_again(runtime: Runtime) -> None:
    def fail() -> dict[str, object]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        call(runtime, work=fail)
    assert call(runtime, body={"another": "body"}).answer == {"ok": True}


def test_whoever_comes_while_the_first_is_at_work_waits_for_its_answer(runtime: Runtime) -> None:
    is_begun, answers = threading.Event(), []

    def slow() -> dict[str, object]:
        is_begun.set()
        threading.Event().wait(0.3)
        return {"by": "first"}

    thread = threading.Thread(target=lambda: answers.append(call(runtime, work=slow)))
    thread.start()
    assert is_begun.wait(10)
    assert call(runtime, work=lambda: {"by": "second"}).answer == {"by": "first"}
    thread.join()
    assert answers == [Answered(200, {"by": "first"})]


def test_whoever_would_wait_too_long_is_told_so(runtime: Runtime) -> None:
    is_begun, may_end = threading.Event(), threading.Event()

    def slow() -> dict[str, object]:
        is_begun.set()
        may_end.wait(30)
        return {"by": "first"}

    thread = threading.Thread(target=lambda: call(runtime, work=slow))
    thread.start()
    assert is_begun.wait(10)
    with pytest.raises(UnderWay) as refusal:
        call(runtime)
    assert refusal.value.status == 409
    may_end.set()
    thread.join()
    assert call(runtime).answer == {"by": "first"}


def test_a_call_without_an_answer_yet_is_under_way(runtime: Runtime) -> None:
    """Nobody who uses `answer_once` commits one; whoever uses `once` alone might."""
    with runtime.transaction(Role.FAN, follower_id=5) as session:
        asked = functools.partial(nonces.once, actor="owner:5", route="claim", nonce="n-1", body={}, follower_id=5)
        assert asked(session) is None
    with runtime.transaction(Role.FAN, follower_id=5) as session, pytest.raises(UnderWay):
        asked(session)


def test_answers_are_forgotten_after_a_week(runtime: Runtime) -> None:
    call(runtime)
    for days, left in ((6, 1), (2, 0)):
        advance(runtime, timedelta(days=days))
        retention.forget_old(runtime, Task(1, "forget_old", {}, None, 1, 0))
        with runtime.transaction(Role.PLATFORM) as session:
            assert session.execute(text("SELECT count(*) FROM answered_call")).scalar_one() == left


def test_a_merchant_sees_no_other_merchants_calls(runtime: Runtime) -> None:
    call(runtime)
    with runtime.transaction(Role.MERCHANT, merchant_id=2) as session:
        assert session.execute(text("SELECT count(*) FROM answered_call")).scalar_one() == 0
