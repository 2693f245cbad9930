"""A menu is published, read back, rolled back, adopted and taken away, against the platform itself."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, text

from bot.jobs import HANDLERS
from bot.menus import publishing
from bot.menus.buttons import Button, read
from bot.menus.models import MenuVersion, Origin, VersionState
from bot.menus.publishing import BeingPublished, DraftChanged, NothingToAdopt, NotPublishable
from core import outbox
from core.database import Role
from core.runtime import Runtime
from tests.bot.menus.bad import BAD, GOOD, above, click, view
from tests.community import Neighbourhood
from tests.conftest import Sandbox, advance
from wechat.client import WeChatClient, client_of
from wechat.errors import OutcomeUnknown

CREATE = "/cgi-bin/menu/create"
FIRST = [click(), view("https://example.com/shops")]
SECOND = [above(click(name="积分", key="words:积分"), name="我的")]


@pytest.fixture
def account_id(street: Neighbourhood) -> int:
    return street.account_id


def misbehave(sandbox: Sandbox, path: str = CREATE, **deed: Any) -> None:
    sandbox.post("/sandbox/faults", mode="replace", rules=[{"match": {"path": path}, "next": 1, "do": deed}])


def publish(runtime: Runtime, account_id: int, menu: list[dict[str, Any]]) -> publishing.Outcome:
    return publishing.publish(runtime, account_id=account_id, buttons=read(menu), staff_id=None)


def on_the_account(sandbox: Sandbox) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = sandbox.get("/sandbox/menu")["button"]
    return found


def calls(sandbox: Sandbox) -> list[Any]:
    return [line for line in sandbox.get("/sandbox/log") if line.get("path") == CREATE]


def states(runtime: Runtime) -> list[tuple[str, str, bool]]:
    """Origin and state of all versions in their order, and whether each is in force."""
    with runtime.transaction(Role.PLATFORM) as session:
        return [
            (one.origin, one.state, one.state == VersionState.PUBLISHED and one.replaced_at is None)
            for one in session.scalars(select(MenuVersion).order_by(MenuVersion.id))
        ]


def test_what_is_published_is_what_the_account_has(connected: Runtime, sandbox: Sandbox, account_id: int) -> None:
    outcome = publish(connected, account_id, GOOD)
    assert (outcome.state, outcome.is_as_published) == (VersionState.PUBLISHED, True)
    assert on_the_account(sandbox) == GOOD
    with connected.transaction(Role.PLATFORM) as session:
        ours, has = publishing.in_force(session, account_id), publishing.seen(session, account_id)
        assert ours is not None
        assert ours.buttons == GOOD
        assert not publishing.differs(ours, has)


def test_a_later_menu_replaces_the_earlier_and_an_old_one_comes_back_as_a_new_one(
    connected: Runtime, sandbox: Sandbox, account_id: int
) -> None:
    first = publish(connected, account_id, FIRST)
    publish(connected, account_id, SECOND)
    assert on_the_account(sandbox) == SECOND
    again = publishing.publish_again(connected, account_id=account_id, version_id=first.version_id, staff_id=None)
    assert again.version_id != first.version_id
    assert on_the_account(sandbox) == FIRST
    assert states(connected) == [
        (Origin.WRITTEN, "published", False),
        (Origin.WRITTEN, "published", False),
        (Origin.ROLLED_BACK, "published", True),
    ]


def test_a_menu_is_taken_away_and_brought_back(connected: Runtime, sandbox: Sandbox, account_id: int) -> None:
    first = publish(connected, account_id, FIRST)
    publishing.delete(connected, account_id=account_id, staff_id=None)
    assert on_the_account(sandbox) == []
    publishing.publish_again(connected, account_id=account_id, version_id=first.version_id, staff_id=None)
    assert on_the_account(sandbox) == FIRST
    assert [origin for origin, _, _ in states(connected)] == [Origin.WRITTEN, Origin.DELETED, Origin.ROLLED_BACK]


@pytest.mark.parametrize("name", ["no button", "17 bytes at the bottom", "four outside domains"])
def test_what_the_platform_would_refuse_is_never_sent(
    connected: Runtime, sandbox: Sandbox, account_id: int, name: str
) -> None:
    before = len(calls(sandbox))
    with pytest.raises(NotPublishable) as refusal:
        publish(connected, account_id, BAD[name][0])
    assert BAD[name][2] in refusal.value.faults[0].refusal.message
    assert states(connected) == []
    assert len(calls(sandbox)) == before


def test_a_merchant_that_is_not_there_is_no_target(connected: Runtime, street: Neighbourhood) -> None:
    tea, gone = street.merchant("茶馆"), street.merchant("旧书店")
    with connected.transaction(Role.PLATFORM) as session:
        session.execute(text("UPDATE merchant SET state = 'suspended' WHERE id = :id"), {"id": gone})
        menu = [click("茶馆", f"merchant:{tea}"), click("书店", f"merchant:{gone}"), click("无", "merchant:999999")]
        found = publishing.faults(session, street.account_id, read(menu))
    assert [fault.refusal.message for fault in found] == [
        "按钮 2“书店”：没有这家商户，或者它已停用。", "按钮 3“无”：没有这家商户，或者它已停用。"
    ]  # fmt: skip


def test_a_refusal_of_the_platform_changes_nothing(connected: Runtime, sandbox: Sandbox, account_id: int) -> None:
    publish(connected, account_id, FIRST)
    misbehave(sandbox, errcode=65318)
    outcome = publish(connected, account_id, SECOND)
    assert (outcome.state, outcome.error and outcome.error.errcode) == (VersionState.REFUSED, 65318)
    assert on_the_account(sandbox) == FIRST
    assert states(connected) == [(Origin.WRITTEN, "published", True), (Origin.WRITTEN, "refused", False)]


def test_an_answer_that_was_lost_is_settled_by_reading_back(
    connected: Runtime, sandbox: Sandbox, account_id: int
) -> None:
    misbehave(sandbox, lost_reply=True)
    assert publish(connected, account_id, FIRST).state is VersionState.PUBLISHED
    assert states(connected) == [(Origin.WRITTEN, "published", True)]


def test_a_call_that_was_not_heard_stays_unknown(connected: Runtime, sandbox: Sandbox, account_id: int) -> None:
    publish(connected, account_id, FIRST)
    misbehave(sandbox, html=True)
    outcome = publish(connected, account_id, SECOND)
    assert (outcome.state, outcome.is_as_published) == (VersionState.UNKNOWN, False)
    assert on_the_account(sandbox) == FIRST
    assert states(connected) == [(Origin.WRITTEN, "published", True), (Origin.WRITTEN, "unknown", False)]


@pytest.mark.parametrize(("was_heard", "came_of"), [(True, "published"), (False, "failed")])
def test_a_process_killed_in_the_call_leaves_what_the_next_look_settles(
    connected: Runtime,
    sandbox: Sandbox,
    account_id: int,
    monkeypatch: pytest.MonkeyPatch,
    was_heard: bool,
    came_of: str,
) -> None:
    publish(connected, account_id, FIRST)
    create_menu = WeChatClient.create_menu

    def killed(client: WeChatClient, menu: Any) -> None:
        if was_heard:
            create_menu(client, menu)
        raise KeyboardInterrupt

    monkeypatch.setattr(WeChatClient, "create_menu", killed)
    with pytest.raises(KeyboardInterrupt):
        publish(connected, account_id, SECOND)
    publishing.look(connected, account_id=account_id)
    assert states(connected)[-1] == (Origin.WRITTEN, "calling", False), "it may be under way"
    advance(connected, timedelta(minutes=3))
    misbehave(sandbox, "/cgi-bin/menu/get", html=True)
    with pytest.raises(OutcomeUnknown):
        publishing.look(connected, account_id=account_id)
    assert states(connected)[-1] == (Origin.WRITTEN, "unknown", False)
    publishing.look(connected, account_id=account_id)
    assert states(connected) == [
        (Origin.WRITTEN, "published", not was_heard), (Origin.WRITTEN, came_of, was_heard)
    ]  # fmt: skip


def test_of_calls_nobody_heard_of_only_the_last_one_can_stand(
    connected: Runtime, sandbox: Sandbox, account_id: int
) -> None:
    for menu in (FIRST, SECOND):
        misbehave(sandbox, html=True)
        publish(connected, account_id, menu)
    client_of(connected).create_menu({"button": FIRST})
    advance(connected, timedelta(minutes=3))
    publishing.look(connected, account_id=account_id)
    assert [state for _origin, state, _ in states(connected)] == ["failed", "failed"]


def test_two_menus_are_not_published_at_once(connected: Runtime, account_id: int) -> None:
    """The second is refused while the first call is under way; a call that was lost holds nobody up for long."""
    with connected.transaction(Role.PLATFORM) as session:
        session.execute(
            text("INSERT INTO menu_version (account_id, origin, buttons) VALUES (:id, 'written', '[]')"),
            {"id": account_id},
        )
    with pytest.raises(BeingPublished):
        publish(connected, account_id, FIRST)
    advance(connected, timedelta(minutes=3))
    assert publish(connected, account_id, FIRST).state is VersionState.PUBLISHED
    assert states(connected) == [(Origin.WRITTEN, "unknown", False), (Origin.WRITTEN, "published", True)]


def test_what_somebody_changed_elsewhere_is_noticed_and_adopted(
    connected: Runtime, sandbox: Sandbox, account_id: int
) -> None:
    publish(connected, account_id, FIRST)
    client_of(connected).create_menu({"button": [click("在后台改的", "V1001")]})
    with connected.transaction(Role.PLATFORM) as session:
        publishing.owe_look(session, connected.now())
        task = outbox.claim(session, outbox.DEFAULT)
    assert task is not None
    HANDLERS[task.kind](connected, task)
    with connected.transaction(Role.PLATFORM) as session:
        assert publishing.differs(publishing.in_force(session, account_id), publishing.seen(session, account_id))
    publishing.adopt(connected, account_id=account_id, staff_id=None)
    with connected.transaction(Role.PLATFORM) as session:
        ours = publishing.in_force(session, account_id)
        assert not publishing.differs(ours, publishing.seen(session, account_id))
        assert publishing.draft(session, account_id).buttons == read([click("在后台改的", "V1001")])
    assert states(connected) == [(Origin.WRITTEN, "published", False), (Origin.ADOPTED, "published", True)]
    assert [button["key"] for button in on_the_account(sandbox)] == ["V1001"]


def test_a_draft_somebody_works_at_is_not_lost_by_adopting(connected: Runtime, account_id: int) -> None:
    client_of(connected).create_menu({"button": [click("原有的", "V1001")]})
    with connected.transaction(Role.PLATFORM) as session:
        publishing.save_draft(
            session, account_id=account_id, buttons=read(SECOND), was=0, staff_id=None, now=connected.now()
        )
    publishing.adopt(connected, account_id=account_id, staff_id=None)
    with connected.transaction(Role.PLATFORM) as session:
        assert publishing.draft(session, account_id).buttons == read(SECOND)


def test_without_a_menu_there_is_nothing_to_adopt(connected: Runtime, account_id: int) -> None:
    with pytest.raises(NothingToAdopt):
        publishing.adopt(connected, account_id=account_id, staff_id=None)


def test_the_second_of_two_who_edit_is_told(connected: Runtime, account_id: int) -> None:
    def save(was: int, *buttons: Button) -> int:
        with connected.transaction(Role.PLATFORM) as session:
            return publishing.save_draft(
                session, account_id=account_id, buttons=buttons, was=was, staff_id=None, now=connected.now()
            )

    assert save(0, Button("优惠")) == 1
    assert save(1, Button("积分")) == 2
    for was in (0, 1, 3):
        with pytest.raises(DraftChanged):
            save(was, Button("优惠"))
    with connected.transaction(Role.PLATFORM) as session:
        kept = publishing.draft(session, account_id)
    assert (kept.buttons, kept.version) == ((Button("积分"),), 2)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE menu_version SET replaced_at = NULL WHERE replaced_at IS NOT NULL",
        "UPDATE menu_version SET state = 'calling', published_at = NULL",
        "UPDATE menu_version SET buttons = '[]'",
        "DELETE FROM menu_version",
    ],
)
def test_history_is_not_rewritten(connected: Runtime, account_id: int, change: str) -> None:
    publish(connected, account_id, FIRST)
    publish(connected, account_id, SECOND)
    with (
        pytest.raises(Exception, match=r"stays as it was made|goes from|append-only|permission denied"),
        connected.transaction(Role.PLATFORM) as session,
    ):
        session.execute(text(change))
