"""Sending: at most once each, whatever the platform answers and whoever says stop in between."""

from collections import Counter
from datetime import datetime, time, timedelta
from time import sleep

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from campaigns.broadcasts import bank, control, mass, outgoing, sending
from campaigns.broadcasts.models import BroadcastState
from core.clock import SHANGHAI
from core.database import Role
from core.runtime import Runtime
from tests.broadcasting import (
    CUSTOM,
    MASS,
    Shop,
    misbehave,
    send,
    start,
    state_of,
    tidy,
    without_quiet_hours,
)
from tests.conftest import Sandbox, advance
from wechat.tokens import Token, TokenStore

WORDS = "今天新到明前茶"


@pytest.fixture
def shop(connected: Runtime, sandbox: Sandbox) -> Shop:
    without_quiet_hours(connected)
    return Shop.open(connected, sandbox)


def test_each_fan_gets_it_once_by_the_way_that_is_open(shop: Shop, connected: Runtime, sandbox: Sandbox) -> None:
    asked, others = shop.fans(5, asking=True), shop.fans(4)
    broadcast_id = shop.started()
    assert state_of(connected, broadcast_id) == BroadcastState.RUNNING
    send(connected)
    assert shop.states(broadcast_id) == Counter(sent=9)
    assert shop.deliveries() == Counter({(shop.openids[one], WORDS): 1 for one in asked + others})
    assert state_of(connected, broadcast_id) == BroadcastState.FINISHED
    assert shop.calls() == {CUSTOM: 5, MASS: 1}


def test_a_lost_answer_stays_unknown_and_is_never_repeated(shop: Shop, connected: Runtime, sandbox: Sandbox) -> None:
    shop.fans(3, asking=True)
    broadcast_id = shop.started()
    misbehave(sandbox, CUSTOM, lost_reply=True)
    send(connected)
    assert shop.states(broadcast_id) == Counter(sent=2, unknown=1)
    assert max(shop.deliveries().values()) == 1
    assert sum(shop.deliveries().values()) == 3


@pytest.mark.parametrize(("errcode", "becomes"), [(43004, "rejected"), (45015, "planned"), (45002, "rejected")])
def test_a_refusal_is_what_it_says(
    shop: Shop, connected: Runtime, sandbox: Sandbox, errcode: int, becomes: str
) -> None:
    shop.fans(1, asking=True)
    broadcast_id = shop.started(hello_days=3)
    misbehave(sandbox, CUSTOM, errcode=errcode)
    send(connected, times=1)
    assert shop.states(broadcast_id) == Counter([becomes])
    with connected.transaction(Role.PLATFORM) as session:
        routes = session.scalars(text("SELECT route FROM broadcast_recipient")).all()
        unreachable = session.scalars(text("SELECT channel FROM unreachable")).all()
    assert routes == ["hello" if errcode == 45015 else "window"]
    assert unreachable == (["window"] if errcode == 43004 else [])
    assert state_of(connected, broadcast_id) == (
        "paused" if errcode == 45002 else "running" if becomes == "planned" else "finished"
    )


def test_a_pause_lets_nothing_more_begin_and_a_resume_goes_on_where_it_stopped(
    shop: Shop, connected: Runtime, sandbox: Sandbox
) -> None:
    shop.fans(6, asking=True)
    broadcast_id = shop.started()
    with connected.transaction(Role.MERCHANT, merchant_id=shop.id) as session:
        control.pause(session, broadcast_id, by="merchant")
    send(connected)
    assert shop.deliveries() == Counter()
    with connected.transaction(Role.MERCHANT, merchant_id=shop.id) as session:
        control.resume(session, broadcast_id, by="merchant")
    send(connected)
    assert shop.states(broadcast_id) == Counter(sent=6)


def test_a_merchant_cannot_undo_the_operators_pause(shop: Shop, connected: Runtime) -> None:
    shop.fans(2, asking=True)
    broadcast_id = shop.started()
    with connected.transaction(Role.PLATFORM) as session:
        control.pause(session, broadcast_id, by="operator", reason="有投诉")
    with connected.transaction(Role.MERCHANT, merchant_id=shop.id) as session, pytest.raises(control.WrongState):
        control.resume(session, broadcast_id, by="merchant")


def test_a_call_that_was_committed_too_long_ago_is_not_begun(
    shop: Shop, connected: Runtime, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.fans(3, asking=True)
    broadcast_id = shop.started()
    monkeypatch.setattr(sending, "TOO_OLD_S", -1.0)
    monkeypatch.setattr(sending, "WORK_FOR_S", 0.5)
    sending.drain(connected)
    assert shop.deliveries() == Counter()
    assert shop.states(broadcast_id) == Counter(planned=3)
    with connected.transaction(Role.PLATFORM) as session:
        assert set(session.scalars(text("SELECT used FROM message_window"))) == {0}


def test_a_call_that_waits_for_a_new_token_for_too_long_is_not_begun_again(
    shop: Shop, connected: Runtime, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody may have said stop meanwhile."""
    shop.fans(1, asking=True)
    broadcast_id = shop.started()
    renew = TokenStore.replacement

    def slowly(store: TokenStore, token: Token) -> Token:
        renewed = renew(store, token)
        sleep(sending.TOO_OLD_S)
        return renewed

    monkeypatch.setattr(TokenStore, "replacement", slowly)
    misbehave(sandbox, CUSTOM, errcode=40001)
    send(connected)
    with connected.transaction(Role.PLATFORM) as session:
        outcomes = session.scalars(text("SELECT outcome FROM send_attempt WHERE moment = 'after' ORDER BY id")).all()
    assert outcomes == ["not_called", "sent"]
    assert shop.states(broadcast_id) == Counter(sent=1)


def test_who_mutes_or_leaves_between_planning_and_calling_gets_nothing(
    shop: Shop, connected: Runtime, sandbox: Sandbox
) -> None:
    asked, others = shop.fans(3, asking=True), shop.fans(4)
    broadcast_id = shop.started()
    with connected.transaction(Role.PLATFORM) as session:
        session.execute(
            text("UPDATE fan SET muted_at = app_now() WHERE follower_id = ANY(:ids)"), {"ids": [asked[0], others[0]]}
        )
        session.execute(text("INSERT INTO opt_out (follower_id) VALUES (:id)"), {"id": asked[1]})
    send(connected)
    assert shop.states(broadcast_id) == Counter(sent=4, muted=2, opted_out=1)
    reached = {openid for openid, _ in shop.deliveries()}
    assert reached == {shop.openids[one] for one in (asked[2], *others[1:])}
    with connected.transaction(Role.PLATFORM) as session:
        assert session.execute(text("SELECT sum(used) FROM fan_month_quota")).scalar_one() == 3


def test_the_last_two_messages_of_a_window_are_kept_for_answers(
    shop: Shop, connected: Runtime, sandbox: Sandbox
) -> None:
    shop.fans(1, asking=True)
    said = [shop.started(f"第{number}条") for number in range(4)]
    send(connected)
    assert sum(shop.deliveries().values()) == 3
    assert Counter(state for one in said for state in shop.states(one)) == Counter(sent=3, window_closed=1)


def test_an_account_that_is_refused_stops_and_one_call_tries_again(
    shop: Shop, connected: Runtime, sandbox: Sandbox
) -> None:
    shop.fans(60, asking=True)
    broadcast_id = shop.started()
    misbehave(sandbox, CUSTOM, times=None, errcode=48001)
    send(connected)
    with connected.transaction(Role.PLATFORM) as session:
        assert session.scalar(text("SELECT paused_at IS NOT NULL AND resume_at IS NULL FROM sending_state"))
    seen = shop.calls()[CUSTOM]
    assert seen <= sending.IN_FLIGHT
    send(connected)
    assert shop.calls()[CUSTOM] == seen
    sandbox.post("/sandbox/faults", mode="replace", rules=[])
    with connected.transaction(Role.PLATFORM) as session:
        control.resume_account(session)
    send(connected)
    assert shop.states(broadcast_id) == Counter(sent=60)


def test_a_days_quota_that_is_spent_waits_for_the_next_day(shop: Shop, connected: Runtime, sandbox: Sandbox) -> None:
    shop.fans(3, asking=True)
    broadcast_id = shop.started()
    misbehave(sandbox, CUSTOM, errcode=45009)
    send(connected, times=1)
    with connected.transaction(Role.PLATFORM) as session:
        resume_at = session.execute(text("SELECT resume_at FROM sending_state")).scalar_one()
    assert resume_at.astimezone(SHANGHAI).time() == control.RESET_AT
    assert 1 <= shop.states(broadcast_id)["planned"] <= 3
    advance(connected, resume_at - connected.now() + timedelta(seconds=1))
    tidy(connected)
    with connected.transaction(Role.PLATFORM) as session:
        assert session.scalar(text("SELECT paused_at FROM sending_state")) is None


# ---- Mass batches ----------------------------------------------------------------------------------------------------


def batches(runtime: Runtime) -> list[tuple[str, int]]:
    with runtime.transaction(Role.PLATFORM) as session:
        rows = session.execute(text("SELECT state, size FROM send_batch ORDER BY id"))
        return [(row.state, row.size) for row in rows]


def set_policy(runtime: Runtime, **values: object) -> None:
    with runtime.transaction(Role.PLATFORM) as session:
        for name, value in values.items():
            session.execute(text(f"UPDATE quota_policy SET {name} = :value"), {"value": value})  # noqa: S608


def repeat_soon(runtime: Runtime) -> None:
    with runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("UPDATE send_batch SET not_before = clock_timestamp(), lease_until = NULL"))


def test_nobody_stays_behind_alone(shop: Shop, connected: Runtime) -> None:
    set_policy(connected, batch_size=5)
    shop.fans(11)
    broadcast_id = shop.started()
    send(connected, times=6)
    assert batches(connected) == [("accepted", 5), ("accepted", 4), ("accepted", 2)]
    assert shop.states(broadcast_id) == Counter(sent=11)


def test_a_single_fan_waits_for_the_hello_or_is_told_of(shop: Shop, connected: Runtime) -> None:
    shop.fans(1)
    waiting, alone = shop.started(hello_days=2), shop.started()
    send(connected)
    assert shop.states(waiting) == Counter(planned=1)
    assert shop.states(alone) == Counter(alone=1)


def test_a_lost_answer_to_a_batch_is_asked_for_under_the_same_name(
    shop: Shop, connected: Runtime, sandbox: Sandbox
) -> None:
    set_policy(connected, repeats_unknown=True)
    shop.fans(4)
    broadcast_id = shop.started()
    misbehave(sandbox, MASS, lost_reply=True)
    send(connected)
    assert shop.states(broadcast_id) == Counter(unknown=4)
    with connected.transaction(Role.PLATFORM) as session:
        assert session.execute(text("SELECT sum(used) FROM fan_month_quota")).scalar_one() == 4
    advance_platform(connected, sandbox)
    repeat_soon(connected)
    send(connected)
    assert shop.states(broadcast_id) == Counter(sent=4)
    assert max(shop.deliveries().values()) == 1
    with connected.transaction(Role.PLATFORM) as session:
        assert session.scalar(text("SELECT msg_id FROM send_batch")) is not None


def advance_platform(runtime: Runtime, sandbox: Sandbox) -> None:
    """Two minutes pass here and there: the platform answers a quick repetition with 45066."""
    advance(runtime, timedelta(minutes=2))
    sandbox.post("/sandbox/clock", advance_seconds=120)


def test_without_the_policy_a_lost_batch_waits_for_a_click(shop: Shop, connected: Runtime, sandbox: Sandbox) -> None:
    shop.fans(4)
    broadcast_id = shop.started()
    misbehave(sandbox, MASS, html=True)
    send(connected)
    repeat_soon(connected)
    send(connected)
    assert shop.states(broadcast_id) == Counter(unknown=4)
    with connected.transaction(Role.PLATFORM) as session:
        batch_id = session.execute(text("SELECT id FROM send_batch")).scalar_one()
        mass.ask_to_repeat(session, batch_id, now=connected.now())
    advance_platform(connected, sandbox)
    repeat_soon(connected)
    send(connected)
    assert shop.states(broadcast_id) == Counter(sent=4)
    assert max(shop.deliveries().values()) == 1


def test_a_lost_batch_of_a_paused_broadcast_is_not_asked_for(shop: Shop, connected: Runtime, sandbox: Sandbox) -> None:
    set_policy(connected, repeats_unknown=True, batch_size=4)
    shop.fans(8)
    broadcast_id = shop.started()
    misbehave(sandbox, MASS, html=True)
    sending.drain(connected)
    with connected.transaction(Role.PLATFORM) as session:
        control.pause(session, broadcast_id, by="merchant")
    made = shop.calls()[MASS]
    advance_platform(connected, sandbox)
    repeat_soon(connected)
    send(connected)
    assert shop.calls()[MASS] == made
    with connected.transaction(Role.PLATFORM) as session:
        control.resume(session, broadcast_id, by="merchant")
    repeat_soon(connected)
    send(connected)
    assert shop.states(broadcast_id) == Counter(sent=8)


def test_what_names_another_batch_is_not_believed(shop: Shop, connected: Runtime, sandbox: Sandbox) -> None:
    shop.fans(4)
    shop.started("第一条")
    send(connected)
    second = shop.started("第二条")
    misbehave(sandbox, MASS, errcode=45065)
    send(connected)
    assert shop.states(second) == Counter(unknown=4)


def test_words_the_platform_refuses_stop_the_broadcast_and_free_the_slots(
    shop: Shop, connected: Runtime, sandbox: Sandbox
) -> None:
    set_policy(connected, batch_size=4)
    shop.fans(8)
    broadcast_id = shop.started()
    misbehave(sandbox, MASS, errcode=45002)
    send(connected)
    states = shop.states(broadcast_id)
    assert states["rejected"] == 4
    assert state_of(connected, broadcast_id) == BroadcastState.PAUSED
    with connected.transaction(Role.PLATFORM) as session:
        held = session.execute(text("SELECT coalesce(sum(used), 0) FROM fan_month_quota")).scalar_one()
    assert held == len([state for state, _ in batches(connected) if state == "planned"]) * 4


def test_a_cancelled_broadcast_gives_everything_back(shop: Shop, connected: Runtime, sandbox: Sandbox) -> None:
    set_policy(connected, batch_size=4)
    shop.fans(8)
    broadcast_id = shop.started()
    with connected.transaction(Role.PLATFORM) as session:
        control.pause_account(session, "试一试")
        sending._make_batches(session, bank.policy(session))
    with connected.transaction(Role.MERCHANT, merchant_id=shop.id) as session:
        control.cancel(session, broadcast_id)
    tidy(connected)
    tidy(connected)
    assert shop.states(broadcast_id) == Counter(cancelled=8)
    with connected.transaction(Role.PLATFORM) as session:
        assert session.execute(text("SELECT sum(used) FROM fan_month_quota")).scalar_one() == 0
        control.resume_account(session)
    send(connected)
    assert shop.deliveries() == Counter()


def test_no_batch_crosses_a_month(shop: Shop, connected: Runtime, sandbox: Sandbox) -> None:
    shop.fans(4)
    now = connected.now().astimezone(SHANGHAI)
    ends = (now.replace(day=1) + timedelta(days=32)).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    move(connected, sandbox, ends - timedelta(minutes=10) - connected.now())
    broadcast_id = shop.started()
    with connected.transaction(Role.PLATFORM) as session:
        sending._make_batches(session, bank.policy(session))
    move(connected, sandbox, ends - timedelta(seconds=60) - connected.now())
    send(connected, times=1)
    assert shop.deliveries() == Counter(), "called within two minutes of the month's end"
    move(connected, sandbox, timedelta(minutes=4))
    send(connected)
    assert shop.states(broadcast_id) == Counter(sent=4)
    with connected.transaction(Role.PLATFORM) as session:
        used = session.execute(text("SELECT month, sum(used) FROM fan_month_quota GROUP BY month ORDER BY month")).all()
    assert [row[1] for row in used] == [0, 4]
    assert used[1][0] == ends.date()


def move(runtime: Runtime, sandbox: Sandbox, by: timedelta) -> None:
    advance(runtime, by)
    sandbox.post("/sandbox/clock", advance_seconds=round(by.total_seconds()))


def test_a_start_that_was_missed_asks_instead_of_firing(shop: Shop, connected: Runtime, sandbox: Sandbox) -> None:
    shop.fans(2)
    broadcast_id = shop.approved()
    with connected.transaction(Role.PLATFORM) as session:
        session.execute(text("UPDATE broadcast SET scheduled_at = app_now() + interval '1 h'"))
    advance(connected, timedelta(hours=3))
    start(connected)
    assert state_of(connected, broadcast_id) == BroadcastState.LATE
    with connected.transaction(Role.MERCHANT, merchant_id=shop.id) as session:
        control.still_wanted(session, broadcast_id, now=connected.now())
    start(connected)
    assert state_of(connected, broadcast_id) == BroadcastState.RUNNING


def test_what_is_set_for_the_night_goes_out_in_the_morning(shop: Shop, connected: Runtime) -> None:
    set_policy(connected, quiet_from="21:30", quiet_until="08:30")
    shop.fans(2)
    broadcast_id = shop.approved()
    ten_at_night = datetime.combine(connected.now().astimezone(SHANGHAI).date(), time(22), SHANGHAI)
    run(connected, "UPDATE broadcast SET scheduled_at = :at", at=ten_at_night)
    for hours, state in ((1, BroadcastState.APPROVED), (10.4, BroadcastState.APPROVED), (10.6, BroadcastState.RUNNING)):
        advance(connected, ten_at_night + timedelta(hours=hours) - connected.now())
        start(connected)
        assert state_of(connected, broadcast_id) == state


def run(runtime: Runtime, statement: str, **values: object) -> None:
    with runtime.transaction(Role.PLATFORM) as session:
        session.execute(text(statement), values)


def test_nothing_starts_at_night(shop: Shop, connected: Runtime) -> None:
    set_policy(connected, quiet_from="21:30", quiet_until="08:30")
    shop.fans(2)
    broadcast_id = shop.approved()
    night = datetime.combine(connected.now().astimezone(SHANGHAI).date(), datetime.min.time(), SHANGHAI)
    advance(connected, night + timedelta(hours=23) - connected.now())
    start(connected)
    assert state_of(connected, broadcast_id) == BroadcastState.APPROVED


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE broadcast_recipient SET state = 'unknown'",
        "UPDATE broadcast_recipient SET state = 'planned'",
        "UPDATE send_batch SET state = 'planned'",
        "UPDATE broadcast SET state = 'running'",
        'UPDATE broadcast SET wanted = \'{"tag": "x"}\'',
        "UPDATE broadcast_words SET text = 'x'",
        "UPDATE send_attempt SET outcome = 'sent'",
        "DELETE FROM send_attempt",
    ],
)
def test_what_is_over_stays_as_it_was_whoever_writes(shop: Shop, connected: Runtime, statement: str) -> None:
    shop.fans(2)
    broadcast_id = shop.started()
    send(connected)
    assert state_of(connected, broadcast_id) == BroadcastState.FINISHED
    with pytest.raises(DBAPIError, match=r"goes from|only change in a draft|append-only|permission denied"):
        run(connected, statement)


def test_a_merchant_cannot_approve_its_own(shop: Shop, connected: Runtime) -> None:
    broadcast_id = shop.approved()
    run(connected, "UPDATE broadcast SET state = 'draft'")
    with connected.transaction(Role.MERCHANT, merchant_id=shop.id) as session:
        session.execute(text("UPDATE broadcast SET state = 'submitted'"))
    with pytest.raises(DBAPIError, match="the platform's"):  # noqa: SIM117
        with connected.transaction(Role.MERCHANT, merchant_id=shop.id) as session:
            session.execute(text("UPDATE broadcast SET state = 'approved'"))
    assert state_of(connected, broadcast_id) == BroadcastState.SUBMITTED


def test_of_a_dead_workers_calls_nothing_is_known_and_its_claims_are_free(shop: Shop, connected: Runtime) -> None:
    shop.fans(3, asking=True)
    broadcast_id = shop.started()
    with connected.transaction(Role.PLATFORM) as session:
        claims = sending._claim(session, "gone", 3)
        sending._commit(session, claims[:1], "gone", connected.now(), outgoing.Letters())
        session.execute(text("UPDATE broadcast_recipient SET lease_until = clock_timestamp() - interval '1 s'"))
    tidy(connected)
    assert shop.states(broadcast_id) == Counter(planned=2, unknown=1)


def test_after_a_restore_nothing_goes_on_by_itself(shop: Shop, connected: Runtime) -> None:
    shop.fans(3, asking=True)
    broadcast_id = shop.started()
    with connected.transaction(Role.PLATFORM) as session:
        control.pause_account(session, "从备份恢复")
        control.hold_running(session, "从备份恢复")
    send(connected)
    with connected.transaction(Role.PLATFORM) as session:
        control.resume_account(session)
    send(connected)
    assert shop.deliveries() == Counter(), "the account's switch alone brought a held broadcast back"
    with connected.transaction(Role.PLATFORM) as session:
        control.resume(session, broadcast_id, by="operator")
    send(connected)
    assert shop.states(broadcast_id) == Counter(sent=3)


def test_one_report_that_fits_settles_a_lost_batch(shop: Shop, connected: Runtime, sandbox: Sandbox) -> None:
    shop.fans(4)
    broadcast_id = shop.started()
    misbehave(sandbox, MASS, lost_reply=True)
    send(connected)
    told(connected, msg_id=77, total=4)
    advance(connected, timedelta(minutes=3))
    with connected.transaction(Role.PLATFORM) as session:
        mass.settle_by_reports(session, connected.now())
    assert shop.states(broadcast_id) == Counter(sent=4)


def test_two_reports_that_fit_settle_nothing(shop: Shop, connected: Runtime, sandbox: Sandbox) -> None:
    shop.fans(4)
    broadcast_id = shop.started()
    misbehave(sandbox, MASS, lost_reply=True)
    send(connected)
    told(connected, msg_id=77, total=4)
    told(connected, msg_id=78, total=4)
    advance(connected, timedelta(minutes=3))
    with connected.transaction(Role.PLATFORM) as session:
        mass.settle_by_reports(session, connected.now())
    assert shop.states(broadcast_id) == Counter(unknown=4)


def told(runtime: Runtime, *, msg_id: int, total: int, status: str = "send success") -> None:
    """The platform's event about a finished mass send has arrived."""
    with runtime.transaction(Role.PLATFORM) as session:
        session.execute(
            text("""
                INSERT INTO mass_report (msg_id, account_id, reported_at, status, total, filtered, sent, errors)
                SELECT :msg_id, id, app_now(), :status, :total, :total, :total, 0 FROM official_account"""),
            {"msg_id": msg_id, "total": total, "status": status},
        )


def test_a_verdict_of_the_platform_stops_the_rest(shop: Shop, connected: Runtime) -> None:
    set_policy(connected, batch_size=4)
    shop.fans(8)
    broadcast_id = shop.started()
    sending.drain(connected)
    with connected.transaction(Role.PLATFORM) as session:
        msg_id = session.execute(text("SELECT min(msg_id) FROM send_batch")).scalar_one()
    told(connected, msg_id=msg_id, total=4, status="err(10001)")
    with connected.transaction(Role.PLATFORM) as session:
        mass.settle_by_reports(session, connected.now())
    assert state_of(connected, broadcast_id) == BroadcastState.PAUSED
