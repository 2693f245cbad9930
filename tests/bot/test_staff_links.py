"""Staff codes and staff scans in the inbox: the code is nobody's traffic; a scan is flagged by its CreateTime."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import text

from bot.inbox import Inbox
from core.database import Role
from core.runtime import Runtime
from merchants import identities, links, staff
from merchants.models import LinkPurpose, LinkState, Staff, StaffLink, StaffRole
from qrcodes import trials
from tests.community import Code, Neighbourhood, new_openid, scanned, subscribed, wrote

MINUTE = timedelta(minutes=1)


@pytest.fixture
def tea(street: Neighbourhood) -> Code:
    return street.code(street.merchant("茶馆"))


@pytest.fixture
def owner(runtime: Runtime, tea: Code) -> int:
    with runtime.transaction(Role.PLATFORM) as session:
        staff.invite(session, name="茶馆老板", role=StaffRole.OWNER, merchant_id=tea.merchant_id, now=runtime.now())
        staff_id: int = session.execute(text("SELECT max(id) FROM staff")).scalar_one()
        return staff_id


def show_code(runtime: Runtime, purpose: LinkPurpose, at: datetime, staff_id: int | None = None) -> StaffLink:
    """A code on a screen."""
    with runtime.transaction(Role.PLATFORM) as session:
        member = None if staff_id is None else session.get_one(Staff, staff_id)
        return links.begin(
            session, purpose=purpose, browser_hash=b"browser", device="Chrome · Windows 电脑", now=at, member=member
        )


def state_of(runtime: Runtime, link: StaffLink) -> LinkState:
    with runtime.transaction(Role.PLATFORM) as session:
        return LinkState(session.get_one(StaffLink, link.id).state)


def person(inbox: Inbox, at: datetime) -> tuple[str, int]:
    """Somebody who follows, and their number."""
    openid = new_openid()
    inbox.receive([subscribed(openid, at)])
    with inbox._runtime.transaction(Role.PLATFORM) as session:
        return openid, session.scalars(text("SELECT id FROM follower WHERE openid = :o"), {"o": openid}).one()


def bind(runtime: Runtime, staff_id: int, follower_id: int, at: datetime) -> None:
    with runtime.transaction(Role.PLATFORM) as session:
        identities.bind(session, session.get_one(Staff, staff_id), follower_id=follower_id, now=at)


def counted(runtime: Runtime, table: str) -> int:
    with runtime.transaction(Role.PLATFORM) as session:
        rows: int = session.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()  # noqa: S608
        return rows


def flags(runtime: Runtime, openid: str) -> list[tuple[bool, bool]]:
    """by_staff and is_test of somebody's scans, by CreateTime."""
    with runtime.transaction(Role.PLATFORM) as session:
        rows = session.execute(
            text("""SELECT s.by_staff, s.is_test FROM scan s JOIN follower f ON f.id = s.follower_id
                    WHERE f.openid = :openid ORDER BY s.scanned_at"""),
            {"openid": openid},
        )
        return [(row[0], row[1]) for row in rows]


def words(reply: str | None) -> str:
    """What the chat shows of a reply."""
    found = re.search(r"<Content><!\[CDATA\[(.*)\]\]></Content>", reply or "", re.DOTALL)
    return found[1] if found else ""


def test_a_staff_code_is_nobodys_traffic(
    runtime: Runtime, street: Neighbourhood, inbox: Inbox, tea: Code, owner: int
) -> None:
    link = show_code(runtime, LinkPurpose.BIND, street.now, owner)
    newcomer = new_openid()
    (reply,) = inbox.receive([subscribed(newcomer, street.now + MINUTE, link.scene)])
    assert "核对码：" + link.number in words(reply)
    assert "欢迎" not in words(reply)
    assert (counted(runtime, "scan"), counted(runtime, "fan")) == (0, 0)
    with runtime.transaction(Role.PLATFORM) as session:
        follow = session.execute(
            text("""SELECT a.merchant_id, a.code_id, a.kind, e.scene, i.scene FROM attribution a
                    JOIN follow_episode e ON e.attribution_id = a.id JOIN inbox_event i ON true""")
        ).one()
    assert tuple(follow) == (None, None, "new", None, None)
    # One that nobody knows any more is no merchant's either.
    (reply,) = inbox.receive([scanned(newcomer, street.now + 2 * MINUTE, "staff-" + "a" * 22)])
    assert "过期" in words(reply)
    assert counted(runtime, "scan") == 0


def test_the_first_to_scan_is_the_only_one(runtime: Runtime, street: Neighbourhood, inbox: Inbox, owner: int) -> None:
    """Of a batch, too: nobody but the first sees the number."""
    (ann, _), (ben, _) = person(inbox, street.now), person(inbox, street.now)
    link = show_code(runtime, LinkPurpose.BIND, street.now, owner)
    replies = inbox.receive([scanned(one, street.now + MINUTE, link.scene) for one in (ann, ben)])
    assert [link.number in words(reply) for reply in replies] == [True, False]
    late = inbox.receive([scanned(ben, street.now + 2 * MINUTE, link.scene)])
    again = inbox.receive([scanned(ann, street.now + 2 * MINUTE, link.scene)])
    assert [link.number in words(reply) for reply in (*late, *again)] == [False, True]


def test_a_code_is_judged_by_createtime_and_ends(
    runtime: Runtime, street: Neighbourhood, inbox: Inbox, owner: int
) -> None:
    start = street.now - timedelta(hours=1)
    ann, _ = person(inbox, start)
    link = show_code(runtime, LinkPurpose.BIND, start, owner)
    (reply,) = inbox.receive([scanned(ann, start + 10 * MINUTE, link.scene)])
    assert "过期" in words(reply)
    assert state_of(runtime, link) is LinkState.OPEN


def test_a_number_lets_in_once_and_a_wrong_one_ends_the_code(
    runtime: Runtime, street: Neighbourhood, inbox: Inbox, owner: int
) -> None:
    ann, ann_id = person(inbox, street.now)
    ben, _ = person(inbox, street.now)
    bind(runtime, owner, ann_id, street.now)
    for says_right, state in ((True, LinkState.CONFIRMED), (False, LinkState.REFUSED)):
        link = show_code(runtime, LinkPurpose.SIGN_IN, street.now)
        seconds = itertools.count(1 if says_right else 21)

        def at(seconds: itertools.count[int] = seconds) -> datetime:
            return street.now + timedelta(seconds=next(seconds))

        (unbound,) = inbox.receive([scanned(ben, at(), link.scene)])
        assert "还没有绑定" in words(unbound)
        assert state_of(runtime, link) is LinkState.OPEN
        (asked,) = inbox.receive([scanned(ann, at(), link.scene)])
        assert "Chrome · Windows 电脑" in words(asked)
        assert link.number not in words(asked)
        wrong = str((int(link.number) - 9) % 90 + 10)
        inbox.receive([wrote(ben, at(), link.number)])
        assert state_of(runtime, link) is LinkState.SCANNED
        told = wrote(ann, at(), link.number if says_right else wrong)
        (answer,) = inbox.receive([told])
        assert ("好了" in words(answer)) is says_right
        assert state_of(runtime, link) is state
        # A repeat and a second try change nothing.
        assert inbox.receive([told]) == [answer]
        inbox.receive([wrote(ann, at(), link.number)])
        assert state_of(runtime, link) is state
    with runtime.transaction(Role.PLATFORM) as session:
        refused = session.scalars(text("SELECT count(*) FROM audit_log WHERE action = 'sign_in.refused'")).one()
    assert refused == 1


def test_two_digits_are_just_words_where_nobody_asked(inbox: Inbox, street: Neighbourhood) -> None:
    ann, _ = person(inbox, street.now)
    (reply,) = inbox.receive([wrote(ann, street.now + MINUTE, "42")])
    assert "扫店里的二维码" in words(reply)


def test_the_chat_leads_to_the_desk(runtime: Runtime, inbox: Inbox, street: Neighbourhood) -> None:
    ann, _ = person(inbox, street.now)
    (reply,) = inbox.receive([wrote(ann, street.now + MINUTE, "登录")])
    assert f"{runtime.settings.public_url}/auth/wechat" in words(reply)


def test_staff_scans_are_flagged_in_any_order(
    runtime: Runtime, street: Neighbourhood, inbox: Inbox, tea: Code, owner: int
) -> None:
    """Bound at minute ten, unbound at minute twenty; four scans, of which only the two between are by staff."""
    start = street.now - timedelta(hours=1)
    for order in itertools.permutations(range(4)):
        ann, ann_id = person(inbox, start)
        bind(runtime, owner, ann_id, start + 10 * MINUTE)
        with runtime.transaction(Role.PLATFORM) as session:
            identities.unbind(session, staff_id=owner, now=start + 20 * MINUTE)
        scans = [scanned(ann, start + minutes * MINUTE, tea.scene) for minutes in (9, 10, 19, 20)]
        for index in order:
            inbox.receive([scans[index]])
        assert flags(runtime, ann) == [(False, False), (True, False), (True, False), (False, False)], order


def test_staff_of_another_shop_are_guests(
    runtime: Runtime, street: Neighbourhood, inbox: Inbox, tea: Code, owner: int
) -> None:
    noodles = street.code(street.merchant("面馆"))
    ann, ann_id = person(inbox, street.now)
    bind(runtime, owner, ann_id, street.now)
    inbox.receive([scanned(ann, street.now + MINUTE, noodles.scene)])
    inbox.receive([scanned(ann, street.now + 2 * MINUTE, tea.scene)])
    assert flags(runtime, ann) == [(False, False), (True, False)]
    with runtime.transaction(Role.PLATFORM) as session:
        staff.disable(session, staff_id=owner, now=street.now + 3 * MINUTE)
    inbox.receive([scanned(ann, street.now + 4 * MINUTE, tea.scene)])
    assert flags(runtime, ann)[-1] == (False, False)


def arm(runtime: Runtime, code: Code, staff_id: int, at: datetime) -> bool:
    with runtime.transaction(Role.MERCHANT, merchant_id=code.merchant_id) as session:
        return trials.arm(session, merchant_id=code.merchant_id, code_id=code.id, staff_id=staff_id, now=at)


def test_trying_a_code_marks_one_scan_by_createtime(
    runtime: Runtime, street: Neighbourhood, inbox: Inbox, tea: Code, owner: int
) -> None:
    start = street.now - timedelta(hours=1)
    other = street.code(tea.merchant_id, "后门")
    ann, _ = person(inbox, start)
    assert arm(runtime, tea, owner, start + 10 * MINUTE)
    assert not arm(runtime, tea, owner, start + 11 * MINUTE)
    # Told late, made before: not the test. Another code: not the test. Made after its time: not the test.
    for minutes, code in ((9, tea), (12, other), (21, tea)):
        inbox.receive([scanned(ann, start + minutes * MINUTE, code.scene)])
    assert flags(runtime, ann) == [(False, False)] * 3
    # A newcomer's follow is a scan like any other, and keeps its attribution.
    ben = new_openid()
    test, next_one = subscribed(ben, start + 13 * MINUTE, tea.scene), scanned(ann, start + 14 * MINUTE, tea.scene)
    inbox.receive([test])
    inbox.receive([replace(test)])
    inbox.receive([next_one])
    assert flags(runtime, ben) == [(False, True)]
    assert flags(runtime, ann) == [(False, False)] * 4
    with runtime.transaction(Role.PLATFORM) as session:
        credited = session.scalars(text("SELECT merchant_id FROM attribution WHERE merchant_id IS NOT NULL")).all()
    assert credited == [tea.merchant_id]


def test_of_two_scans_in_one_batch_one_is_the_test(
    runtime: Runtime, street: Neighbourhood, inbox: Inbox, tea: Code, owner: int
) -> None:
    (ann, _), (ben, _) = person(inbox, street.now), person(inbox, street.now)
    arm(runtime, tea, owner, street.now)
    inbox.receive([scanned(one, street.now + MINUTE, tea.scene) for one in (ann, ben)])
    assert sorted([*flags(runtime, ann), *flags(runtime, ben)]) == [(False, False), (False, True)]


def test_nobody_arms_a_neighbours_code(runtime: Runtime, street: Neighbourhood, tea: Code, owner: int) -> None:
    noodles = street.code(street.merchant("面馆"))
    with pytest.raises(Exception, match="没有这个二维码"):
        arm(runtime, replace(noodles, merchant_id=tea.merchant_id), owner, street.now)
    with (
        pytest.raises(Exception, match="row-level security"),
        runtime.transaction(Role.MERCHANT, merchant_id=tea.merchant_id) as session,
    ):
        session.execute(
            text("""INSERT INTO code_trial (code_id, merchant_id, staff_id, armed_at, expires_at)
                    VALUES (:code, :merchant, :staff, app_now(), app_now() + interval '1 minute')"""),
            {"code": noodles.id, "merchant": tea.merchant_id, "staff": owner},
        )
