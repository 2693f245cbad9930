"""What people write about broadcasts, and what the platform tells of them: through the inbox, once each."""

import itertools
import re
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from bot import own_words
from bot.erasers import ERASE, erase_follower
from bot.events import MassSendFinished
from bot.inbox import Inbox
from campaigns.broadcasts import reports
from campaigns.broadcasts import wishes as pages
from campaigns.broadcasts.reports import Label
from core import jobs, outbox
from core.database import Role
from core.errors import NotFound
from core.runtime import Runtime
from tests.community import Code, Neighbourhood, clicked, new_openid, scanned, subscribed, unsubscribed, wrote
from tests.conftest import advance

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
OPERATOR = 1


@pytest.fixture
def tea(street: Neighbourhood) -> Code:
    return street.code(street.merchant("王记茶馆"))


@pytest.fixture
def noodles(street: Neighbourhood) -> Code:
    return street.code(street.merchant("王记面馆"))


@pytest.fixture
def ann(street: Neighbourhood, inbox: Inbox, tea: Code, noodles: Code) -> str:
    """A fan of both shops, who was at the tea house first and at the noodles' an hour ago."""
    openid = new_openid()
    inbox.receive([subscribed(openid, street.now - 3 * HOUR, tea.scene)])
    inbox.receive([scanned(openid, street.now - HOUR, noodles.scene)])
    return openid


def rows(runtime: Runtime, statement: str, **given: Any) -> list[Any]:
    with runtime.transaction(Role.PLATFORM) as session:
        return [tuple(row) for row in session.execute(text(statement), given)]


def muted(runtime: Runtime) -> list[str]:
    found = rows(
        runtime,
        """SELECT m.name FROM fan f JOIN merchant m ON m.id = f.merchant_id WHERE f.muted_at IS NOT NULL ORDER BY 1""",
    )
    return [name for (name,) in found]


def opted_out(runtime: Runtime) -> int:
    return len(rows(runtime, "SELECT 1 FROM opt_out"))


def words(reply: str | None) -> str:
    found = re.search(r"<Content><!\[CDATA\[(.*)\]\]></Content>", reply or "", re.DOTALL)
    return found[1] if found else ""


def say(inbox: Inbox, openid: str, at: Any, content: str) -> str:
    (reply,) = inbox.receive([wrote(openid, at, content)])
    return words(reply)


def test_one_merchant_is_left_and_taken_back(runtime: Runtime, street: Neighbourhood, inbox: Inbox, ann: str) -> None:
    assert say(inbox, ann, street.now, "退訂 王記茶館").startswith("好的，不再给您发王记茶馆的")
    assert muted(runtime) == ["王记茶馆"]
    assert rows(runtime, "SELECT status FROM follower") == [("following",)]
    assert say(inbox, ann, street.now + SECOND, "恢复 王记茶馆").startswith("已恢复王记茶馆")
    assert muted(runtime) == []


def test_a_repeated_message_changes_nothing_and_gets_the_same_words(
    runtime: Runtime, street: Neighbourhood, inbox: Inbox, ann: str
) -> None:
    once = wrote(ann, street.now, "退订 1")
    (first,) = inbox.receive([once])
    say(inbox, ann, street.now + MINUTE, "恢复 1")
    assert inbox.receive([once]) == [first]
    assert muted(runtime) == []


def test_who_asked_to_be_left_alone_is_however_late_their_message_comes(
    runtime: Runtime, street: Neighbourhood, inbox: Inbox, ann: str
) -> None:
    say(inbox, ann, street.now, "你好")
    late = [wrote(ann, street.now - MINUTE, "退订 王记茶馆"), wrote(ann, street.now - 2 * MINUTE, "全部退订")]
    for _ in range(2):
        assert [inbox.receive([one])[0] for one in late] == [None, None]
    assert (muted(runtime), opted_out(runtime)) == (["王记茶馆"], 1)
    assert rows(runtime, "SELECT muted_at FROM fan WHERE muted_at IS NOT NULL") == [(street.now - MINUTE,)]
    assert rows(runtime, "SELECT at FROM opt_out") == [(street.now - 2 * MINUTE,)]


@pytest.mark.parametrize("newer", ["恢复 王记茶馆", "恢复"])
def test_a_wish_that_comes_late_gives_way_to_what_was_said_after_it(
    runtime: Runtime, street: Neighbourhood, inbox: Inbox, ann: str, newer: str
) -> None:
    say(inbox, ann, street.now, newer)
    assert say(inbox, ann, street.now - MINUTE, "退订 王记茶馆") == ""
    assert muted(runtime) == []
    say(inbox, ann, street.now + SECOND, "恢复全部")
    assert say(inbox, ann, street.now, "退订全部") == ""
    assert opted_out(runtime) == 0
    # The same the other way round.
    say(inbox, ann, street.now + MINUTE, "退订 王记茶馆")
    say(inbox, ann, street.now + MINUTE + SECOND, "退订全部")
    for late in ("恢复 王记茶馆", "恢复全部"):
        assert say(inbox, ann, street.now + 2 * SECOND, late) == ""
    assert (muted(runtime), opted_out(runtime)) == (["王记茶馆"], 1)


def test_what_was_pressed_on_the_page_counts_as_said(
    runtime: Runtime, street: Neighbourhood, inbox: Inbox, ann: str, tea: Code
) -> None:
    say(inbox, ann, street.now, "你好")
    with runtime.transaction(Role.PLATFORM) as session:
        ((follower_id,),) = session.execute(text("SELECT id FROM follower"))
        pages.mute(session, merchant_id=tea.merchant_id, follower_id=follower_id, is_muted=False, at=street.now)
        pages.opt_in(session, follower_id=follower_id, at=street.now)
    for late in ("退订 王记茶馆", "退订全部"):
        say(inbox, ann, street.now - MINUTE, late)
    assert (muted(runtime), opted_out(runtime)) == ([], 0)


def test_who_came_back_after_an_erasure_wishes_anew(
    runtime: Runtime, street: Neighbourhood, inbox: Inbox, ann: str, tea: Code
) -> None:
    say(inbox, ann, street.now, own_words.ERASE)
    jobs.drain(runtime, {ERASE: erase_follower}, outbox.DEFAULT)
    inbox.receive([subscribed(ann, street.now + MINUTE, tea.scene)])
    say(inbox, ann, street.now - MINUTE, "退订全部")
    say(inbox, ann, street.now - MINUTE + SECOND, "退订 王记茶馆")
    assert (muted(runtime), opted_out(runtime)) == ([], 0)


def test_late_wishes_lead_to_the_same_in_any_order(
    runtime: Runtime, street: Neighbourhood, inbox: Inbox, tea: Code
) -> None:
    """EV-5."""
    said = ("退订 王记茶馆", "退订全部", "恢复 王记茶馆", "恢复全部", "退订 1")
    ends = []
    for order in itertools.permutations(range(len(said))):
        openid = new_openid()
        inbox.receive([subscribed(openid, street.now - HOUR, tea.scene)])
        for place in order:
            say(inbox, openid, street.now + place * SECOND, said[place])
        ends += rows(
            runtime,
            """SELECT f.muted_at IS NOT NULL, EXISTS (SELECT 1 FROM opt_out o WHERE o.follower_id = w.id)
               FROM fan f JOIN follower w ON w.id = f.follower_id WHERE w.openid = :o""",
            o=openid,
        )
    assert set(ends) == {(True, False)}


def test_without_a_name_it_asks_for_the_conversations_merchant_and_else_shows_the_list(
    runtime: Runtime, street: Neighbourhood, inbox: Inbox, ann: str
) -> None:
    assert say(inbox, ann, street.now, "退订").startswith("要退订王记面馆的优惠消息吗？")
    assert "1. 王记茶馆\n2. 王记面馆" in say(inbox, ann, street.now + SECOND, "退订 王记")
    assert muted(runtime) == []
    advance(runtime, 60 * HOUR)
    later = street.now + 60 * HOUR
    assert "1. 王记茶馆\n2. 王记面馆" in say(inbox, ann, later, "TD")
    # The numbers are those of the list, whatever was left or scanned since.
    say(inbox, ann, later + SECOND, "退订 1")
    assert say(inbox, ann, later + MINUTE, "退订 2").startswith("好的，不再给您发王记面馆")
    assert muted(runtime) == ["王记茶馆", "王记面馆"]


def test_everybody_is_left_and_taken_back(runtime: Runtime, street: Neighbourhood, inbox: Inbox, ann: str) -> None:
    for second in (0, 1):
        assert "恢复全部" in say(inbox, ann, street.now + second * SECOND, "退订全部")
        assert opted_out(runtime) == 1
    assert "还退订着全部商户" not in say(inbox, ann, street.now + 2 * SECOND, "退订 茶馆")
    assert "还退订着全部商户" in say(inbox, ann, street.now + 3 * SECOND, "恢复 茶馆")
    say(inbox, ann, street.now + 4 * SECOND, "恢复全部")
    assert (muted(runtime), opted_out(runtime)) == ([], 0)


def test_only_the_writers_own_cards_change(
    runtime: Runtime, street: Neighbourhood, inbox: Inbox, ann: str, tea: Code
) -> None:
    ben = new_openid()
    inbox.receive([subscribed(ben, street.now - HOUR, tea.scene)])
    inbox.receive([wrote(ann, street.now, "退订 茶馆"), wrote(ben, street.now, "你好")])
    assert rows(runtime, "SELECT count(*) FROM fan WHERE muted_at IS NOT NULL") == [(1,)]
    assert "还没有扫过" in say(inbox, new_openid(), street.now, "退订")


def test_offers_open_the_window_of_the_conversations_merchant(
    runtime: Runtime, street: Neighbourhood, inbox: Inbox, ann: str, noodles: Code
) -> None:
    asked = wrote(ann, street.now, "有什么优惠吗？")
    replies = [inbox.receive([asked])[0] for _ in range(2)]
    assert words(replies[0]) == "好的，王记面馆有优惠的话，48 小时内会从这里发给您。想停，回复：退订 王记面馆"
    assert replies[0] == replies[1]
    say(inbox, ann, street.now + SECOND, "几点关门")
    windows = rows(runtime, "SELECT merchant_id, wants_offers FROM message_window ORDER BY inbox_id DESC LIMIT 2")
    assert windows == [(noodles.merchant_id, False), (noodles.merchant_id, True)]


def test_offers_of_nobody_or_of_who_was_left_open_none(
    runtime: Runtime, street: Neighbourhood, inbox: Inbox, ann: str
) -> None:
    assert "先扫一下" in say(inbox, new_openid(), street.now, "优惠")
    say(inbox, ann, street.now, "退订 面馆")
    assert "恢复 王记面馆" in say(inbox, ann, street.now + SECOND, "优惠")
    say(inbox, ann, street.now + 2 * SECOND, "恢复 面馆")
    say(inbox, ann, street.now + 3 * SECOND, "退订全部")
    assert "恢复全部" in say(inbox, ann, street.now + 4 * SECOND, "优惠")
    advance(runtime, 60 * HOUR)
    assert "先扫一下" in say(inbox, ann, street.now + 60 * HOUR, "优惠")
    assert rows(runtime, "SELECT DISTINCT wants_offers FROM message_window") == [(False,)]


def test_other_messages_are_answered_as_ever(street: Neighbourhood, inbox: Inbox, ann: str) -> None:
    assert say(inbox, ann, street.now, "恢复营业了吗").startswith("您正在和 王记面馆 聊天")
    assert inbox.receive([clicked(ann, street.now + SECOND)]) == [None]


def test_an_erasure_takes_the_wishes_along(runtime: Runtime, street: Neighbourhood, inbox: Inbox, ann: str) -> None:
    say(inbox, ann, street.now, "退订全部")
    with runtime.transaction(Role.PLATFORM) as session:
        session.execute(
            text("INSERT INTO unreachable (follower_id, channel, since) SELECT id, 'mass', app_now() FROM follower")
        )
    say(inbox, ann, street.now + SECOND, own_words.ERASE)
    jobs.drain(runtime, {ERASE: erase_follower}, outbox.DEFAULT)
    assert (opted_out(runtime), rows(runtime, "SELECT 1 FROM unreachable")) == (0, [])


# ---- Reports of mass sends -------------------------------------------------------------------------------------------


def finished(at: Any, msg_id: int, total: int, *, key: str = "", sent: int | None = None) -> MassSendFinished:
    done = total if sent is None else sent
    return MassSendFinished(
        openid="oReport0000000000000000000000", occurred_at=at, dedupe_key=f"m:{msg_id}{key}", fields={},
        msg_id=msg_id, status="send success", total=total, filtered=total, sent=done, failed=total - done,
    )  # fmt: skip


def told(runtime: Runtime) -> list[Any]:
    return rows(
        runtime, "SELECT msg_id, total, is_foreign, counts_for_everybody, label FROM mass_report ORDER BY msg_id"
    )


def judge(runtime: Runtime, after: timedelta = 11 * MINUTE) -> None:
    with runtime.transaction(Role.PLATFORM) as session:
        reports.foreign_reports(session, runtime.now() + after)


def batch(runtime: Runtime, state: str, size: int, msg_id: int | None = None) -> None:
    with runtime.transaction(Role.PLATFORM) as session:
        session.execute(
            text("""
                WITH one AS (
                    INSERT INTO broadcast (account_id, merchant_id, state)
                    SELECT account_id, id, 'running' FROM merchant ORDER BY id LIMIT 1 RETURNING id)
                INSERT INTO send_batch (broadcast_id, no, size, month, week, state, clientmsgid, msg_id,
                    called_at)
                SELECT id, 1, :size, '2026-11-01', '2026-11-16', :state, 'b-' || id, :msg_id, app_now() FROM one"""),
            {"size": size, "state": state, "msg_id": msg_id},
        )


def test_a_report_is_noted_once_and_makes_no_follower(runtime: Runtime, street: Neighbourhood, inbox: Inbox) -> None:
    for event in (
        finished(street.now, 77, 500),
        finished(street.now, 77, 500),
        finished(street.now + MINUTE, 77, 400, key="again"),
        finished(street.now, 2**64 - 1, 1),
        finished(street.now, 78, 10**17),
    ):
        assert inbox.receive([event]) == [None]
    assert told(runtime) == [(77, 500, False, False, None), (78, 2**31 - 1, False, False, None)]
    assert rows(runtime, "SELECT count(*) FROM follower") == [(0,)]


@pytest.mark.plants_violation
def test_a_send_from_the_console_counts_for_everybody_until_it_is_labelled(
    runtime: Runtime, street: Neighbourhood, inbox: Inbox, ann: str, tea: Code
) -> None:
    """BC-7. Ann and three more follow; to two of four is half of them."""
    for _ in range(3):
        inbox.receive([subscribed(new_openid(), street.now - HOUR, tea.scene)])
    gone = new_openid()
    inbox.receive([subscribed(gone, street.now - HOUR, tea.scene)])
    inbox.receive([unsubscribed(gone, street.now - MINUTE)])
    batch(runtime, "accepted", 4, msg_id=50)
    for _ in range(2):
        inbox.receive([finished(street.now, 50, 4)])
        inbox.receive([finished(street.now, 51, 1)])
        inbox.receive([finished(street.now, 52, 2)])
        inbox.receive([finished(street.now, 53, 0)])
    judge(runtime, after=9 * MINUTE)
    assert [row[2] for row in told(runtime)] == [False] * 4
    for _ in range(2):
        judge(runtime)
        assert told(runtime) == [
            (50, 4, False, False, None), (51, 1, True, False, None), (52, 2, True, True, None),
            (53, 0, True, False, None),
        ]  # fmt: skip
    with runtime.transaction(Role.PLATFORM) as session:
        for msg_id, label in ((51, Label.EVERYBODY), (52, Label.SOME)):
            reports.label(session, msg_id, label, operator_id=OPERATOR, now=street.now, note="后台发的")
        with pytest.raises(NotFound):
            reports.label(session, 50, Label.NOT_COUNTED, operator_id=OPERATOR, now=street.now)
    judge(runtime)
    assert [row[2:] for row in told(runtime)[1:3]] == [(True, True, "everybody"), (True, False, "some")]


@pytest.mark.plants_violation
@pytest.mark.parametrize("state", ["calling", "unknown"])
def test_one_that_may_be_ours_waits_until_that_is_known(
    runtime: Runtime, street: Neighbourhood, inbox: Inbox, tea: Code, state: str
) -> None:
    batch(runtime, state, 100)
    inbox.receive([finished(street.now, 60, 98)])
    inbox.receive([finished(street.now, 61, 40)])
    judge(runtime)
    assert [row[2] for row in told(runtime)] == [False, True]
    # A batch that learns its number late was never foreign.
    with runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("UPDATE send_batch SET state = 'accepted', msg_id = 61"))
    judge(runtime)
    assert [row[2:4] for row in told(runtime)] == [(True, True), (False, False)]
