"""The inbox against a real database: every event once, the same end for every order, credit by the rule."""

import itertools
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from sqlalchemy import text

from bot.events import Event
from bot.inbox import Inbox
from core.database import Role
from core.runtime import Runtime
from qrcodes import fans, rollups, traffic
from tests.community import Neighbourhood, clicked, new_openid, scanned, subscribed, unsubscribed, wrote


@pytest.fixture
def street(runtime: Runtime) -> Neighbourhood:
    return Neighbourhood(runtime)


@pytest.fixture
def inbox(street: Neighbourhood) -> Inbox:
    return Inbox(street.runtime)


def state_of(runtime: Runtime, openid: str) -> dict[str, Any]:
    """Everything that must not depend on the order in which a follower's events arrived."""
    with runtime.transaction(Role.PLATFORM) as session:
        follower = session.execute(
            text("SELECT id, status, state_as_of, first_seen_at, last_seen_at FROM follower WHERE openid = :openid"),
            {"openid": openid},
        ).one()
        episodes = session.execute(
            text("""
                SELECT e.started_at, e.ended_at, e.source, e.scene, a.kind, a.merchant_id, a.code_id, a.rule
                FROM follow_episode e JOIN attribution a ON a.id = e.attribution_id
                WHERE e.follower_id = :id AND e.voided_at IS NULL ORDER BY e.started_at"""),
            {"id": follower.id},
        ).all()
        list_ = session.execute(
            text("""
                SELECT merchant_id, first_touch_at, first_code_id, last_touch_at, last_code_id FROM fan
                WHERE follower_id = :id ORDER BY merchant_id"""),
            {"id": follower.id},
        ).all()
        scans = session.execute(
            text("""
                SELECT scanned_at, merchant_id, code_id, led_to_follow FROM scan
                WHERE follower_id = :id ORDER BY scanned_at, code_id, led_to_follow"""),
            {"id": follower.id},
        ).all()
    return {"follower": tuple(follower[1:]), "episodes": episodes, "fans": list_, "scans": scans}


def feed(inbox: Inbox, events: Sequence[Event]) -> list[str | None]:
    return [inbox.receive([event])[0] for event in events]


@st.composite
def streams(draw: st.DrawFn) -> list[tuple[str, int, str | None]]:
    """What one person does, as (kind, seconds, scene)."""
    kinds = st.sampled_from(["subscribe", "unsubscribe", "scan", "text", "click"])
    scenes = st.sampled_from([None, "A", "B", "nobody"])
    moments = st.sampled_from([0, 1, 2, 30, 31, 3_600, 29 * 86_400, 31 * 86_400, 70 * 86_400])
    return draw(st.lists(st.tuples(kinds, moments, scenes), min_size=1, max_size=7))


def build(
    openid: str, start: datetime, stream: Sequence[tuple[str, int, str | None]], scenes: dict[str, str]
) -> list[Event]:
    events: list[Event] = []
    for kind, seconds, name in stream:
        at = start + timedelta(seconds=seconds)
        scene = None if name is None else scenes.get(name, "nobodys-scene")
        match kind:
            case "subscribe":
                events.append(subscribed(openid, at, scene))
            case "unsubscribe":
                events.append(unsubscribed(openid, at))
            case "scan":
                events.append(scanned(openid, at, scene))
            case "text":
                events.append(wrote(openid, at))
            case _:
                events.append(clicked(openid, at))
    return events


ONE_OPENS_AS_ANOTHER_ENDS = [
    ("click", 31 * 86_400, None), ("unsubscribe", 2, "B"), ("unsubscribe", 2, "B"), ("subscribe", 2, "A"),
    ("unsubscribe", 2, "B"), ("scan", 31, "A"), ("scan", 2, "A"),
]  # fmt: skip
"""In the order of one seed, the retold story opens an episode in the same breath as it ends another."""


@pytest.mark.plants_violation  # their time passes without the jobs that erase and decide
def test_any_order_and_repetition_ends_in_the_same_rows(runtime: Runtime, street: Neighbourhood, inbox: Inbox) -> None:
    a, b = street.code(street.merchant("茶馆")), street.code(street.merchant("面馆"))
    scenes = {"A": a.scene, "B": b.scene}
    start = street.now - timedelta(days=90)

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(streams(), st.integers(0, 2**32))
    @example(ONE_OPENS_AS_ANOTHER_ENDS, 921972)
    def holds(stream: list[tuple[str, int, str | None]], seed: int) -> None:
        ordered, shuffled = new_openid(), new_openid()
        feed(inbox, sorted(build(ordered, start, stream, scenes), key=lambda event: event.occurred_at))
        events = build(shuffled, start, stream, scenes)
        chance = random.Random(seed)
        told = events + chance.choices(events, k=len(events))
        chance.shuffle(told)
        feed(inbox, told)
        assert state_of(runtime, shuffled) == state_of(runtime, ordered)

    holds()


def test_all_orders_of_one_awkward_story(runtime: Runtime, street: Neighbourhood, inbox: Inbox) -> None:
    a, b = street.code(street.merchant("茶馆")), street.code(street.merchant("面馆"))
    start = street.now - timedelta(days=60)
    ends = []
    for order in itertools.permutations(range(5)):
        openid = new_openid()
        story: list[Event] = [
            subscribed(openid, start, a.scene),
            scanned(openid, start + timedelta(minutes=5), b.scene),
            unsubscribed(openid, start + timedelta(days=1)),
            subscribed(openid, start + timedelta(days=11), b.scene),
            wrote(openid, start + timedelta(days=11, minutes=1)),
        ]
        feed(inbox, [story[index] for index in order])
        ends.append(state_of(runtime, openid))
    assert all(end == ends[0] for end in ends)
    assert [(row.kind, row.merchant_id) for row in ends[0]["episodes"]] == [
        ("new", a.merchant_id),
        ("returning", a.merchant_id),
    ]


def counts_of(runtime: Runtime, merchant_id: int) -> dict[str, int]:
    with runtime.transaction(Role.PLATFORM) as session:
        rollups.count_all(session)
        span = traffic.Range(traffic.first_day(session, runtime.now()), traffic.Range.last_days(1, runtime.now()).until)
        return traffic.total(session, span, merchant_id=merchant_id).as_json()


def test_who_comes_back_within_thirty_days_stays_with_the_former_merchant(
    runtime: Runtime, street: Neighbourhood, inbox: Inbox
) -> None:
    a, b = street.code(street.merchant("茶馆")), street.code(street.merchant("面馆"))
    ann, start = new_openid(), street.now - timedelta(days=60)
    feed(inbox, [subscribed(ann, start, a.scene), unsubscribed(ann, start + timedelta(days=1)),
                 subscribed(ann, start + timedelta(days=11), b.scene)])  # fmt: skip
    assert counts_of(runtime, a.merchant_id) == {
        "scans": 1, "scanners": 1, "new": 1, "returning": 1, "lost": 1, "net": 1}  # fmt: skip
    assert counts_of(runtime, b.merchant_id) == {
        "scans": 1, "scanners": 1, "new": 0, "returning": 0, "lost": 0, "net": 0}  # fmt: skip
    with runtime.transaction(Role.MERCHANT, merchant_id=b.merchant_id) as session:
        (fan,) = fans.page(session, b.merchant_id)
        assert (fan.following, fan.acquired, fan.first_code_id) == (True, False, b.id)
    with runtime.transaction(Role.MERCHANT, merchant_id=a.merchant_id) as session:
        (fan,) = fans.page(session, a.merchant_id)
        assert (fan.following, fan.acquired, fan.first_code_id) == (True, True, a.id)


def test_after_the_protection_window_the_new_code_wins(runtime: Runtime, street: Neighbourhood, inbox: Inbox) -> None:
    a, b = street.code(street.merchant("茶馆")), street.code(street.merchant("面馆"))
    ann, start = new_openid(), street.now - timedelta(days=60)
    feed(inbox, [subscribed(ann, start, a.scene), unsubscribed(ann, start + timedelta(days=1)),
                 subscribed(ann, start + timedelta(days=41), b.scene)])  # fmt: skip
    assert counts_of(runtime, a.merchant_id)["net"] == 0
    assert counts_of(runtime, b.merchant_id) == {
        "scans": 1, "scanners": 1, "new": 0, "returning": 1, "lost": 0, "net": 1}  # fmt: skip


def test_a_repeat_gets_the_same_words_and_changes_nothing(
    runtime: Runtime, street: Neighbourhood, inbox: Inbox
) -> None:
    a = street.code(street.merchant("茶馆"))
    event = subscribed(new_openid(), street.now, a.scene)
    first, second, third = feed(inbox, [event, event, event])
    assert first is not None
    assert "茶馆" in first
    assert first == second == third
    assert counts_of(runtime, a.merchant_id)["scans"] == 1


def test_a_new_secret_key_makes_no_stranger_of_who_is_not_erased(
    runtime: Runtime, street: Neighbourhood, inbox: Inbox
) -> None:
    a = street.code(street.merchant("茶馆"))
    feed(inbox, [subscribed(ann := new_openid(), street.now - timedelta(hours=1), a.scene)])
    secret_key = SecretStr("another-secret-key-for-tests")
    changed = replace(runtime, settings=runtime.settings.model_copy(update={"secret_key": secret_key}))
    feed(Inbox(changed), [scanned(ann, street.now - timedelta(minutes=1), a.scene), unsubscribed(ann, street.now)])
    assert state_of(runtime, ann)["follower"][0] == "gone"
    counts = counts_of(runtime, a.merchant_id)
    assert (counts["scans"], counts["new"], counts["lost"]) == (2, 1, 1)


def test_a_follow_told_after_its_first_message_is_credited_to_the_code(
    runtime: Runtime, street: Neighbourhood, inbox: Inbox
) -> None:
    a = street.code(street.merchant("茶馆"))
    feed(inbox, [wrote(ann := new_openid(), street.now - timedelta(seconds=1)), subscribed(ann, street.now, a.scene)])
    counts = counts_of(runtime, a.merchant_id)
    assert (counts["scans"], counts["new"], counts["net"]) == (1, 1, 1)


@pytest.mark.parametrize("at_once", [True, False])
def test_a_message_id_used_again_for_something_else_is_told_to_the_operator(
    runtime: Runtime, street: Neighbourhood, inbox: Inbox, at_once: bool
) -> None:
    a = street.code(street.merchant("茶馆"))
    feed(inbox, [subscribed(ann := new_openid(), street.now - timedelta(hours=1), a.scene)])
    first = wrote(ann, street.now, "请问几点开门")
    other_words = replace(first, content="哈", fields={"Content": "哈"})
    stranger = replace(first, openid=new_openid())
    if at_once:
        assert inbox.receive([first, stranger])[1] is None
    else:
        feed(inbox, [first])
        assert feed(inbox, [other_words, stranger]) == [None, None]
    with runtime.transaction(Role.PLATFORM) as session:
        told = session.execute(text("SELECT count(*) FROM audit_log WHERE action = 'event.reused_id'")).scalar_one()
        kept = session.execute(text("SELECT body->>'Content' FROM inbox_event WHERE kind = 'text'")).scalars().all()
        people = session.execute(text("SELECT openid FROM follower")).scalars().all()
    assert told == (1 if at_once else 2)
    assert kept == ["请问几点开门"]
    assert people == [ann]


def test_repeats_within_one_batch_are_one_event(runtime: Runtime, street: Neighbourhood, inbox: Inbox) -> None:
    a = street.code(street.merchant("茶馆"))
    event = scanned(new_openid(), street.now, a.scene)
    inbox.receive([event, event])
    assert counts_of(runtime, a.merchant_id)["scans"] == 1


def test_a_stale_event_is_counted_but_neither_answered_nor_believed(
    runtime: Runtime, street: Neighbourhood, inbox: Inbox
) -> None:
    a = street.code(street.merchant("茶馆"))
    ann = new_openid()
    feed(inbox, [subscribed(ann, street.now, a.scene)])
    (reply,) = feed(inbox, [unsubscribed(ann, street.now - timedelta(seconds=40))])
    assert reply is None
    (reply,) = feed(inbox, [scanned(ann, street.now - timedelta(seconds=20), a.scene)])
    assert reply is None
    assert state_of(runtime, ann)["follower"][0] == "following"
    assert counts_of(runtime, a.merchant_id)["scans"] == 2


def test_a_scene_that_is_nobodys_is_unmatched_and_never_guessed(
    runtime: Runtime, street: Neighbourhood, inbox: Inbox
) -> None:
    street.code(street.merchant("茶馆"))
    (reply,) = feed(inbox, [subscribed(new_openid(), street.now, "printed-by-somebody-else")])
    assert reply is not None
    with runtime.transaction(Role.PLATFORM) as session:
        (unmatched,) = traffic.unmatched(session, since=street.now - timedelta(days=1))
        rollups.count_all(session)
        _, nobody = traffic.by_merchant(session, traffic.Range.last_days(1, street.now))
    assert unmatched.scene == "printed-by-somebody-else"
    assert (nobody.scans, nobody.new, nobody.net) == (1, 1, 1)


def test_windows_belong_to_the_merchant_whose_conversation_opened_them(
    runtime: Runtime, street: Neighbourhood, inbox: Inbox
) -> None:
    a = street.code(street.merchant("茶馆"))
    ann, stranger = new_openid(), new_openid()
    feed(inbox, [subscribed(ann, street.now - timedelta(hours=1), a.scene), wrote(ann, street.now),
                 clicked(ann, street.now), subscribed(stranger, street.now), wrote(stranger, street.now)])  # fmt: skip
    with runtime.transaction(Role.PLATFORM) as session:
        windows = session.execute(
            text("""
                SELECT f.openid, w.trigger, w.merchant_id, w.allowance, w.expires_at - w.opened_at AS lasts
                FROM message_window w JOIN follower f ON f.id = w.follower_id ORDER BY w.inbox_id""")
        ).all()
    minute, days = timedelta(minutes=1), timedelta(hours=48)
    assert [tuple(row) for row in windows] == [
        (ann, "follow", a.merchant_id, 3, minute),
        (ann, "message", a.merchant_id, 5, days),
        (ann, "menu_click", a.merchant_id, 3, minute),
        (stranger, "follow", None, 3, minute),
        (stranger, "message", None, 5, days),
    ]


def test_merchants_give_the_same_person_different_numbers(
    runtime: Runtime, street: Neighbourhood, inbox: Inbox
) -> None:
    a, b = street.code(street.merchant("茶馆")), street.code(street.merchant("面馆"))
    ann = new_openid()
    feed(inbox, [subscribed(ann, street.now, a.scene), scanned(ann, street.now + timedelta(seconds=9), b.scene)])
    with runtime.transaction(Role.PLATFORM) as session:
        numbers = {fan.number for code in (a, b) for fan in fans.page(session, code.merchant_id)}
    assert len(numbers) == 2


def test_a_whole_batch_is_one_transaction_or_none(runtime: Runtime, street: Neighbourhood, inbox: Inbox) -> None:
    a = street.code(street.merchant("茶馆"))
    events: list[Event] = [subscribed(new_openid(), street.now, a.scene) for _ in range(15)]
    poisoned = subscribed("not an openid", street.now, a.scene)
    with pytest.raises(Exception, match="ck_follower_openid"):
        inbox.receive([*events, poisoned])
    assert counts_of(runtime, a.merchant_id)["scans"] == 0
    replies = inbox.receive(events)
    assert all(reply is not None for reply in replies)
    assert counts_of(runtime, a.merchant_id)["new"] == 15
