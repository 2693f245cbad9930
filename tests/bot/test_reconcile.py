"""What the platform knows and we do not: found, believed, and taken in once, with nobody lost by mistake."""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

import worker
from bot import own_words, periodic, reconcile
from bot.inbox import Inbox
from bot.jobs import HANDLERS
from core import erasure, jobs, outbox
from core.database import Role
from core.outbox import DEFAULT, QUEUES, SLOW
from core.runtime import Runtime
from core.scheduler import Scheduler
from tests.bot.conftest import PAGE
from tests.community import Neighbourhood, new_openid, scanned, subscribed, unsubscribed, wrote
from tests.conftest import Sandbox, advance
from wechat.client import FollowerPage, UserInfo, WeChatClient

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def on_the_platform(sandbox: Sandbox, openids: Sequence[str], since: datetime, *, scene: str = "") -> None:
    """These people follow, and we have not been told."""
    sandbox.post(
        "/sandbox/people",
        people=[
            {"openid": openid, "following": True, "subscribe_time": int(since.timestamp()), "qr_scene_str": scene}
            for openid in openids
        ],
    )


def left_the_platform(sandbox: Sandbox, openids: Sequence[str]) -> None:
    """These people exist and do not follow."""
    sandbox.post("/sandbox/people", people=[{"openid": openid, "following": False} for openid in openids])


def followers(runtime: Runtime) -> dict[str | None, Any]:
    with runtime.transaction(Role.PLATFORM) as session:
        rows = session.execute(
            text("""
                SELECT f.openid, f.status, f.erase_due_at, f.erased_at, e.started_at, e.ended_at, e.source, e.scene,
                       a.kind, a.merchant_id, a.rule
                FROM follower f
                LEFT JOIN LATERAL (SELECT * FROM follow_episode WHERE follower_id = f.id AND voided_at IS NULL
                                   ORDER BY started_at DESC LIMIT 1) e ON true
                LEFT JOIN attribution a ON a.id = e.attribution_id""")
        )
        return {row.openid: row for row in rows}


def count(runtime: Runtime, table: str) -> int:
    with runtime.transaction(Role.PLATFORM) as session:
        number: int = session.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()  # noqa: S608
    return number


def do_everything_due(runtime: Runtime) -> None:
    while sum(jobs.drain(runtime, HANDLERS, queue) for queue in (DEFAULT, SLOW)):
        pass


# ---- The whole list --------------------------------------------------------------------------------------------------


def test_lost_follows_come_back_with_their_scene_and_merchant(
    connected: Runtime, street: Neighbourhood, sandbox: Sandbox
) -> None:
    shop = street.merchant("茶馆")
    code = street.code(shop)
    by_code, by_search = [new_openid() for _ in range(20)], [new_openid() for _ in range(4)]
    on_the_platform(sandbox, by_code, street.now - HOUR, scene=code.scene)
    on_the_platform(sandbox, by_search, street.now - HOUR)
    report = reconcile.reconcile(connected)
    assert report == reconcile.Report(checked=24, followed=24, unfollowed=0, attributed=20)
    known = followers(connected)
    for openid in by_code:
        row = known[openid]
        assert (row.status, row.started_at, row.source) == ("following", street.now - HOUR, "reconcile")
        assert (row.kind, row.merchant_id) == ("new", shop)
    assert {known[openid].merchant_id for openid in by_search} == {None}
    assert count(connected, "fan") == count(connected, "scan") == 20
    assert reconcile.reconcile(connected) == reconcile.Report(checked=24)


def test_findings_are_not_answered_and_open_no_window(
    connected: Runtime, street: Neighbourhood, sandbox: Sandbox
) -> None:
    on_the_platform(sandbox, [new_openid()], street.now - timedelta(seconds=5))
    reconcile.reconcile(connected)
    with connected.transaction(Role.PLATFORM) as session:
        assert list(session.execute(text("SELECT source, reply FROM inbox_event"))) == [("reconcile", None)]
    assert count(connected, "message_window") == count(connected, "outbox") == 0


def test_who_was_here_before_us_is_pre_existing_with_the_real_date(
    connected: Runtime, street: Neighbourhood, sandbox: Sandbox
) -> None:
    code = street.code(street.merchant("茶馆"))
    openid, since = new_openid(), street.now - 900 * DAY
    on_the_platform(sandbox, [openid], since, scene=code.scene)
    assert reconcile.reconcile(connected).attributed == 0
    row = followers(connected)[openid]
    assert (row.status, row.started_at, row.source) == ("following", since, "pre-existing")
    assert (row.kind, row.merchant_id) == ("pre-existing", None)
    assert count(connected, "scan") == 0


def test_who_left_unnoticed_is_gone_and_kept_for_a_week(
    connected: Runtime, street: Neighbourhood, inbox: Inbox, sandbox: Sandbox
) -> None:
    stays, leaves = [new_openid() for _ in range(9)], [new_openid() for _ in range(3)]
    inbox.receive([subscribed(openid, street.now - DAY) for openid in [*stays, *leaves]])
    on_the_platform(sandbox, stays, street.now - DAY)
    left_the_platform(sandbox, leaves)
    assert reconcile.reconcile(connected) == reconcile.Report(checked=9, unfollowed=3)
    known = followers(connected)
    assert Counter(row.status for row in known.values()) == {"following": 9, "gone": 3}
    for openid in leaves:
        assert known[openid].erase_due_at - known[openid].ended_at == 7 * DAY
    assert reconcile.reconcile(connected) == reconcile.Report(checked=9)


def test_who_came_back_unnoticed_returns_to_the_former_merchant(
    connected: Runtime, street: Neighbourhood, inbox: Inbox, sandbox: Sandbox
) -> None:
    tea, noodles = street.merchant("茶馆"), street.merchant("面馆")
    openid = new_openid()
    inbox.receive([subscribed(openid, street.now - 9 * DAY, street.code(tea).scene)])
    inbox.receive([unsubscribed(openid, street.now - 8 * DAY)])
    on_the_platform(sandbox, [openid], street.now - DAY, scene=street.code(noodles).scene)
    assert reconcile.reconcile(connected) == reconcile.Report(checked=1, followed=1, attributed=1)
    row = followers(connected)[openid]
    assert (row.kind, row.merchant_id, row.source) == ("returning", tea, "reconcile")


def test_what_an_event_told_is_not_replaced(
    connected: Runtime, street: Neighbourhood, inbox: Inbox, sandbox: Sandbox
) -> None:
    tea = street.code(street.merchant("茶馆"))
    openid = new_openid()
    on_the_platform(sandbox, [openid], street.now - HOUR, scene="another-scene")
    reconcile.reconcile(connected)
    inbox.receive([subscribed(openid, street.now - HOUR, tea.scene)])
    row = followers(connected)[openid]
    assert (row.source, row.scene, row.merchant_id) == ("event", tea.scene, tea.merchant_id)
    reconcile.reconcile(connected)
    assert followers(connected)[openid] == row


def test_many_leavers_at_once_are_left_to_the_operator(
    connected: Runtime, street: Neighbourhood, inbox: Inbox, sandbox: Sandbox
) -> None:
    leaves = [new_openid() for _ in range(reconcile.FEW_LEAVERS + 1)]
    inbox.receive([subscribed(openid, street.now - DAY) for openid in leaves])
    left_the_platform(sandbox, leaves)
    newcomer = new_openid()
    on_the_platform(sandbox, [newcomer], street.now - HOUR)
    with pytest.raises(reconcile.TooManyLeft) as refusal:
        reconcile.reconcile(connected)
    assert "--force" in refusal.value.message
    statuses = Counter(row.status for row in followers(connected).values())
    assert statuses == {"following": len(leaves) + 1}
    report = reconcile.reconcile(connected, force=True)
    assert (report.unfollowed, report.checked) == (len(leaves), 1)


def test_the_nightly_one_stops_in_the_audit_log_and_tries_no_more(
    connected: Runtime, street: Neighbourhood, inbox: Inbox, sandbox: Sandbox
) -> None:
    leaves = [new_openid() for _ in range(reconcile.FEW_LEAVERS + 5)]
    inbox.receive([subscribed(openid, street.now - DAY) for openid in leaves])
    left_the_platform(sandbox, leaves)
    with connected.transaction(Role.PLATFORM) as session:
        reconcile.owe(session, street.now)
        reconcile.owe(session, street.now)
    do_everything_due(connected)
    with connected.transaction(Role.PLATFORM) as session:
        assert session.execute(text("SELECT action, detail->>'leavers' FROM audit_log")).all() == [
            ("reconcile.stopped", str(len(leaves)))
        ]
        assert session.scalars(text("SELECT state FROM outbox")).all() == ["done"]
    assert Counter(row.status for row in followers(connected).values()) == {"following": len(leaves)}


def test_a_platform_that_forgot_everybody_unfollows_nobody(
    connected: Runtime, street: Neighbourhood, inbox: Inbox, sandbox: Sandbox
) -> None:
    openids = [new_openid() for _ in range(5)]
    inbox.receive([subscribed(openid, street.now - DAY) for openid in openids])
    assert reconcile.reconcile(connected) == reconcile.Report(checked=0)
    assert Counter(row.status for row in followers(connected).values()) == {"following": 5}
    assert reconcile.reconcile(connected, force=True).unfollowed == 5


def test_one_stranger_among_the_missing_does_not_shield_the_others(
    connected: Runtime, street: Neighbourhood, inbox: Inbox, sandbox: Sandbox
) -> None:
    stranger, leaver = new_openid(), new_openid()
    inbox.receive([subscribed(openid, street.now - DAY) for openid in (stranger, leaver)])
    left_the_platform(sandbox, [leaver])
    assert reconcile.reconcile(connected) == reconcile.Report(checked=0, unfollowed=1)
    known = followers(connected)
    assert (known[stranger].status, known[leaver].status) == ("following", "gone")


def test_nothing_is_concluded_from_a_list_that_does_not_add_up(
    connected: Runtime, street: Neighbourhood, inbox: Inbox, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaver = new_openid()
    inbox.receive([subscribed(leaver, street.now - DAY)])
    left_the_platform(sandbox, [leaver])
    pulls = []

    def half(_: WeChatClient, next_openid: str = "") -> FollowerPage:
        pulls.append(next_openid)
        return FollowerPage(total=2, openids=(new_openid(),), next_openid=None)

    monkeypatch.setattr(WeChatClient, "follower_ids", half)
    with pytest.raises(reconcile.ListIncomplete):
        reconcile.reconcile(connected)
    assert len(pulls) == reconcile.PULLS
    assert followers(connected).keys() == {leaver}
    assert followers(connected)[leaver].status == "following"


def test_killed_half_way_it_goes_on_where_it_stopped(
    connected: Runtime, street: Neighbourhood, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = street.code(street.merchant("茶馆"))
    on_the_platform(sandbox, [new_openid() for _ in range(3 * PAGE)], street.now - HOUR, scene=code.scene)
    monkeypatch.setattr(reconcile, "BATCH", 5)
    take_in, calls = reconcile.take_in, []

    def die_in_the_third(*arguments: Any) -> reconcile.Report:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return take_in(*arguments)

    monkeypatch.setattr(reconcile, "take_in", die_in_the_third)
    with pytest.raises(KeyboardInterrupt):
        reconcile.reconcile(connected)
    monkeypatch.setattr(reconcile, "take_in", take_in)
    assert reconcile.reconcile(connected) == reconcile.Report(checked=21, followed=11, attributed=11)
    assert count(connected, "fan") == count(connected, "inbox_event") == 21


def test_it_says_when_it_last_succeeded(connected: Runtime, street: Neighbourhood, sandbox: Sandbox) -> None:
    reconcile.reconcile(connected)
    with connected.transaction(Role.PLATFORM) as session:
        at = session.execute(text("SELECT reconciled_at FROM official_account")).scalar_one()
    assert abs(at - street.now) < timedelta(minutes=1)


# ---- Who asked to be forgotten ---------------------------------------------------------------------------------------


def ask_to_be_forgotten(runtime: Runtime, inbox: Inbox, openid: str, at: datetime) -> None:
    inbox.receive([wrote(openid, at, own_words.ERASE)])
    do_everything_due(runtime)
    assert openid not in followers(runtime)


def test_who_was_forgotten_on_request_stays_forgotten_until_they_act(
    connected: Runtime, street: Neighbourhood, inbox: Inbox, sandbox: Sandbox
) -> None:
    code = street.code(street.merchant("茶馆"))
    openid = new_openid()
    inbox.receive([subscribed(openid, street.now - DAY, code.scene)])
    on_the_platform(sandbox, [openid], street.now - DAY, scene=code.scene)
    ask_to_be_forgotten(connected, inbox, openid, street.now - HOUR)
    assert reconcile.reconcile(connected) == reconcile.Report(checked=1)
    assert followers(connected).keys() == {None}
    inbox.receive([scanned(openid, connected.now().replace(microsecond=0), code.scene)])
    assert followers(connected)[openid].erased_at is None
    assert count(connected, "fan WHERE erased_at IS NULL") == 1


def test_who_was_forgotten_on_request_and_follows_anew_has_acted(
    connected: Runtime, street: Neighbourhood, inbox: Inbox, sandbox: Sandbox
) -> None:
    openid = new_openid()
    inbox.receive([subscribed(openid, street.now - DAY)])
    ask_to_be_forgotten(connected, inbox, openid, street.now - HOUR)
    again = connected.now().replace(microsecond=0) + timedelta(seconds=2)
    on_the_platform(sandbox, [openid], again)
    reconcile.reconcile(connected)
    assert followers(connected)[openid].started_at == again


def test_who_was_forgotten_on_request_and_left_unheard_is_gone(
    connected: Runtime, street: Neighbourhood, inbox: Inbox, sandbox: Sandbox
) -> None:
    shop = street.merchant("茶馆")
    code = street.code(shop)
    stays, leaves = new_openid(), new_openid()
    for openid in (stays, leaves):
        inbox.receive([subscribed(openid, street.now - DAY, code.scene)])
        ask_to_be_forgotten(connected, inbox, openid, street.now - HOUR)
    on_the_platform(sandbox, [stays], street.now - DAY)
    left_the_platform(sandbox, [leaves])
    assert reconcile.reconcile(connected) == reconcile.Report(checked=1, unfollowed=1)
    with connected.transaction(Role.PLATFORM) as session:
        rows = session.execute(text("SELECT status, openid, erase_due_at FROM follower ORDER BY status")).all()
    assert [tuple(row) for row in rows] == [("following", None, None), ("gone", None, None)]
    assert count(connected, "follow_episode WHERE ended_at IS NULL") == 1
    assert reconcile.reconcile(connected) == reconcile.Report(checked=1)


# ---- One follower ----------------------------------------------------------------------------------------------------


def test_an_implied_follow_gets_its_real_date_and_scene(
    connected: Runtime, street: Neighbourhood, inbox: Inbox, sandbox: Sandbox
) -> None:
    tea = street.code(street.merchant("茶馆"))
    openid = new_openid()
    on_the_platform(sandbox, [openid], street.now - 3 * HOUR, scene=tea.scene)
    inbox.receive([wrote(openid, street.now)])
    assert followers(connected)[openid].source == "implied"
    do_everything_due(connected)
    row = followers(connected)[openid]
    assert (row.status, row.source, row.started_at) == ("following", "reconcile", street.now - 3 * HOUR)
    assert (row.kind, row.merchant_id) == ("new", tea.merchant_id)


def test_a_writer_who_was_here_before_us_is_pre_existing(
    connected: Runtime, street: Neighbourhood, inbox: Inbox, sandbox: Sandbox
) -> None:
    openid = new_openid()
    on_the_platform(sandbox, [openid], street.now - 400 * DAY)
    inbox.receive([wrote(openid, street.now)])
    do_everything_due(connected)
    row = followers(connected)[openid]
    assert (row.source, row.kind, row.started_at) == ("pre-existing", "pre-existing", street.now - 400 * DAY)


@pytest.mark.parametrize("is_following", [True, False])
def test_followed_and_left_within_a_second_is_decided_by_the_platform(
    connected: Runtime, street: Neighbourhood, inbox: Inbox, sandbox: Sandbox, is_following: bool
) -> None:
    openid, at = new_openid(), street.now - HOUR
    inbox.receive([subscribed(openid, at)])
    inbox.receive([unsubscribed(openid, at)])
    assert followers(connected)[openid].status == "ambiguous"
    (on_the_platform(sandbox, [openid], at) if is_following else left_the_platform(sandbox, [openid]))
    do_everything_due(connected)
    row = followers(connected)[openid]
    assert row.status == ("following" if is_following else "gone")
    # The leave was told: a day is kept, not the week of one that only we noticed.
    assert row.erase_due_at is None or row.erase_due_at <= connected.now() + DAY


def test_an_ambiguous_stranger_is_gone(
    connected: Runtime, street: Neighbourhood, inbox: Inbox, sandbox: Sandbox
) -> None:
    openid, at = new_openid(), street.now - HOUR
    inbox.receive([subscribed(openid, at)])
    inbox.receive([unsubscribed(openid, at)])
    do_everything_due(connected)
    assert followers(connected)[openid].status == "gone"


def test_an_ambiguous_follower_is_asked_about_until_there_is_an_answer(
    connected: Runtime, street: Neighbourhood, inbox: Inbox, sandbox: Sandbox
) -> None:
    openid, at = new_openid(), street.now - timedelta(minutes=3)
    inbox.receive([subscribed(openid, at)])
    inbox.receive([unsubscribed(openid, at)])
    with connected.transaction(Role.PLATFORM) as session:
        session.execute(text("UPDATE outbox SET state = 'dead', finished_at = now()"))
    on_the_platform(sandbox, [openid], at)
    Scheduler(connected, periodic.TASKS).start_due()
    do_everything_due(connected)
    assert followers(connected)[openid].status == "following"


def while_asking(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Something happens after the platform has answered and before we hear it."""
    ask = WeChatClient.users_info

    def answer(client: WeChatClient, openids: Sequence[str]) -> list[UserInfo]:
        infos = ask(client, openids)
        act()
        return infos

    monkeypatch.setattr(WeChatClient, "users_info", answer)


def test_who_leaves_while_we_ask_is_gone(
    connected: Runtime, street: Neighbourhood, inbox: Inbox, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    openid = new_openid()
    on_the_platform(sandbox, [openid], street.now - HOUR)
    inbox.receive([wrote(openid, street.now - timedelta(seconds=2))])
    leave = unsubscribed(openid, connected.now().replace(microsecond=0) + timedelta(seconds=1))
    while_asking(monkeypatch, lambda: inbox.receive([leave]))
    do_everything_due(connected)
    row = followers(connected)[openid]
    assert (row.status, row.started_at, row.ended_at) == ("gone", street.now - HOUR, leave.occurred_at)


def test_who_follows_again_while_we_ask_whether_they_left_follows(
    connected: Runtime, street: Neighbourhood, inbox: Inbox, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    openid = new_openid()
    inbox.receive([subscribed(openid, street.now - DAY)])
    left_the_platform(sandbox, [openid])
    back = subscribed(openid, connected.now().replace(microsecond=0) + timedelta(seconds=3))
    while_asking(monkeypatch, lambda: inbox.receive([back]))
    assert reconcile.reconcile(connected).unfollowed == 0
    row = followers(connected)[openid]
    assert (row.status, row.started_at, row.erase_due_at) == ("following", back.occurred_at, None)


def test_who_is_erased_while_we_ask_stays_erased(
    connected: Runtime, street: Neighbourhood, inbox: Inbox, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    openid = new_openid()
    on_the_platform(sandbox, [openid], street.now - HOUR)
    inbox.receive([wrote(openid, street.now)])

    def erase() -> None:
        with connected.transaction(Role.PLATFORM) as session:
            follower_id = session.execute(text("SELECT id FROM follower")).scalar_one()
            erasure.erase(session, follower_id=follower_id, reason="request")

    while_asking(monkeypatch, erase)
    do_everything_due(connected)
    assert followers(connected).keys() == {None}


def test_an_unreachable_platform_is_asked_again_later(runtime: Runtime, street: Neighbourhood, inbox: Inbox) -> None:
    inbox.receive([wrote(new_openid(), street.now)])
    do_everything_due(runtime)
    with runtime.transaction(Role.PLATFORM) as session:
        assert session.execute(text("SELECT state, failures FROM outbox")).one() == ("pending", 0)


# ---- By itself -------------------------------------------------------------------------------------------------------


def owed(runtime: Runtime) -> list[str]:
    with runtime.transaction(Role.PLATFORM) as session:
        return list(session.scalars(text("SELECT kind FROM outbox ORDER BY id")))


def test_a_silence_longer_than_wechats_patience_owes_one_comparison(runtime: Runtime) -> None:
    def note(*, silent_for: int) -> None:
        with runtime.transaction(Role.PLATFORM) as session:
            session.execute(
                text("UPDATE periodic_run SET last_started_at = last_started_at - :silence"),
                {"silence": timedelta(seconds=silent_for)},
            )
            periodic.note_alive(session, runtime.now(), who="web")

    note(silent_for=0)
    note(silent_for=14)
    advance(runtime, 30 * DAY)
    note(silent_for=0)
    assert owed(runtime) == []
    note(silent_for=20)
    note(silent_for=1)
    assert owed(runtime) == ["reconcile"]


def test_everything_that_happens_by_itself_can_start(runtime: Runtime, street: Neighbourhood) -> None:
    scheduler = Scheduler(runtime, periodic.TASKS)
    names = {task.name for task in periodic.TASKS}
    assert set(scheduler.start_due()) == names
    # To an evening: some things happen only then.
    advance(runtime, 31 * DAY + 7 * DAY / 24)
    assert set(scheduler.start_due()) == names
    assert set(owed(runtime)) <= worker.HANDLERS.keys()
    with runtime.transaction(Role.PLATFORM) as session:
        assert set(outbox.due_queues(session)) <= set(QUEUES)
