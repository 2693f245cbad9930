"""Notices to staff: once each, in the pages, and in the chat only inside a window they opened themselves (BC-10)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from bot import notices as sending
from bot.inbox import Inbox
from bot.jobs import HANDLERS
from core import jobs
from core.database import Role
from core.outbox import MESSAGES
from core.runtime import Runtime
from merchants import identities, notices, staff
from merchants.models import NoticeKind, Staff, StaffRole
from merchants.notices import News
from qrcodes import trials
from tests.community import Code, Neighbourhood, new_openid, scanned, subscribed, wrote
from tests.conftest import Sandbox

SEND = "/cgi-bin/message/custom/send"


@dataclass
class Shop:
    """A shop whose owner is bound and follows, there and here."""

    runtime: Runtime
    street: Neighbourhood
    inbox: Inbox
    sandbox: Sandbox
    code: Code
    owner_id: int
    openid: str

    def owner_writes(self) -> None:
        """Opens a window of five messages, there and here."""
        self.sandbox.post(f"/sandbox/people/{self.openid}/say?wait=0", text="在吗")
        self.inbox.receive([wrote(self.openid, self.street.now)])

    def tell(self, *causes: str, kind: NoticeKind = NoticeKind.APPROVED) -> None:
        with self.runtime.transaction(Role.PLATFORM) as session:
            for cause in causes:
                news = News(kind, cause=cause, path="/merchant/welcome")
                notices.tell(session, merchant_id=self.code.merchant_id, news=news, now=self.runtime.now())
        jobs.drain(self.runtime, HANDLERS, MESSAGES)

    def states(self) -> list[str]:
        with self.runtime.transaction(Role.PLATFORM) as session:
            return list(session.scalars(text("SELECT state FROM staff_notice ORDER BY id")))

    def sent(self) -> list[dict[str, Any]]:
        log = self.sandbox.get("/sandbox/log", after=0)
        return [one for one in log if one.get("path") == SEND and self.openid in str(one)]


@pytest.fixture
def shop(connected: Runtime, street: Neighbourhood, sandbox: Sandbox) -> Shop:
    code = street.code(street.merchant("茶馆"))
    inbox, openid = Inbox(connected), new_openid()
    sandbox.post("/sandbox/people", openid=openid)
    sandbox.post(f"/sandbox/people/{openid}/follow?wait=0")
    inbox.receive([subscribed(openid, street.now - timedelta(hours=1))])
    with connected.transaction(Role.PLATFORM) as session:
        staff.invite(session, name="老板", role=StaffRole.OWNER, merchant_id=code.merchant_id, now=street.now)
        staff.invite(session, name="店员", role=StaffRole.CLERK, merchant_id=code.merchant_id, now=street.now)
        owner_id: int = session.execute(text("SELECT id FROM staff WHERE role = 'owner'")).scalar_one()
        follower_id = session.execute(text("SELECT id FROM follower")).scalar_one()
        bound_at = street.now - timedelta(minutes=50)
        identities.bind(session, session.get_one(Staff, owner_id), follower_id=follower_id, now=bound_at)
        session.execute(text("DELETE FROM outbox"))
    return Shop(connected, street, inbox, sandbox, code, owner_id, openid)


def test_without_a_window_it_is_in_the_pages_only(shop: Shop) -> None:
    shop.tell("one")
    assert shop.states() == ["on_page"]
    assert shop.sent() == []


def test_a_window_is_used_but_for_its_last_two(shop: Shop) -> None:
    """Five messages, of which two are kept for answers; what is told again is not said again."""
    shop.owner_writes()
    shop.tell("one", "two", "one")
    shop.tell("two", "three", "four", "five")
    assert shop.states() == ["sent", "sent", "sent", "on_page", "on_page"]
    assert len(shop.sent()) == 3
    assert "/auth/wechat?next=/merchant/welcome" in str(shop.sent()[0])
    with shop.runtime.transaction(Role.PLATFORM) as session:
        assert session.execute(text("SELECT max(used) FROM message_window")).scalar_one() == 3


def test_a_conversation_with_another_shop_is_not_used(shop: Shop) -> None:
    noodles = shop.street.code(shop.street.merchant("面馆"))
    shop.inbox.receive([scanned(shop.openid, shop.street.now - timedelta(minutes=1), noodles.scene)])
    shop.owner_writes()
    shop.tell("one")
    assert shop.states() == ["on_page"]


@pytest.mark.parametrize("how", ["unbound", "disabled", "muted", "read"])
def test_nobody_is_told_who_should_not_be(shop: Shop, how: str) -> None:
    shop.owner_writes()
    with shop.runtime.transaction(Role.PLATFORM) as session:
        news = News(NoticeKind.APPROVED, cause="one", path="/merchant/welcome")
        if how == "muted":
            notices.choose(session, staff_id=shop.owner_id, wanted=set(NoticeKind) - {NoticeKind.APPROVED})
        notices.tell(session, merchant_id=shop.code.merchant_id, news=news, now=shop.runtime.now())
        if how == "unbound":
            identities.unbind(session, staff_id=shop.owner_id, now=shop.runtime.now())
        if how == "disabled":
            staff.disable(session, staff_id=shop.owner_id, now=shop.runtime.now())
        if how == "read":
            notices.mark_read(session, merchant_id=shop.code.merchant_id, staff_id=shop.owner_id)
    jobs.drain(shop.runtime, HANDLERS, MESSAGES)
    assert shop.sent() == []


def test_a_lost_answer_is_never_asked_again(shop: Shop) -> None:
    shop.owner_writes()
    shop.sandbox.post("/sandbox/faults", rules=[{"match": {"path": SEND}, "next": 1, "do": {"lost_reply": True}}])
    shop.tell("one")
    assert shop.states() == ["unknown"]
    jobs.drain(shop.runtime, HANDLERS, MESSAGES)
    assert len(shop.sent()) == 1


def test_the_first_fan_of_a_day_is_news_once_and_a_test_is_not(shop: Shop) -> None:
    with shop.runtime.transaction(Role.MERCHANT, merchant_id=shop.code.merchant_id) as session:
        trials.arm(
            session, merchant_id=shop.code.merchant_id, code_id=shop.code.id, staff_id=shop.owner_id,
            now=shop.street.now - timedelta(seconds=5),
        )  # fmt: skip
    for number in range(3):
        shop.inbox.receive([subscribed(new_openid(), shop.street.now - timedelta(seconds=3 - number), shop.code.scene)])
        with shop.runtime.transaction(Role.PLATFORM) as session:
            sending.tell_of_first_fans(session, shop.runtime.now())
        # Owner and clerk, from the second on: the first was the test.
        assert len(shop.states()) == (0 if number == 0 else 2)


def test_an_ending_code_is_news_on_three_days(shop: Shop) -> None:
    with shop.runtime.transaction(Role.PLATFORM) as session:
        session.execute(
            text("""UPDATE sub_qr_code SET permanent = false, lifetime_seconds = 864000,
                    expires_at = app_now() + interval '8 days'""")
        )
        session.execute(text("UPDATE scene_pool SET used = 0"))
        for days in range(9):
            for _ in range(2):
                sending.tell_of_ending_codes(session, shop.runtime.now() + timedelta(days=days))
        told = session.execute(
            text("SELECT days FROM staff_notice WHERE staff_id = :id ORDER BY id"), {"id": shop.owner_id}
        )
        assert list(told.scalars()) == [7, 3, 1]


def test_a_shop_sees_its_own_notices_only(shop: Shop) -> None:
    shop.tell("one")
    other = shop.street.merchant("面馆")
    with shop.runtime.transaction(Role.MERCHANT, merchant_id=other) as session:
        assert session.execute(text("SELECT count(*) FROM staff_notice")).scalar_one() == 0
        assert session.execute(text("SELECT count(*) FROM staff_identity")).scalar_one() == 0
    with shop.runtime.transaction(Role.MERCHANT, merchant_id=shop.code.merchant_id) as session:
        assert session.execute(text("SELECT count(*) FROM staff_notice")).scalar_one() == 1
        with pytest.raises(Exception, match="permission denied"):
            session.execute(text("SELECT follower_id FROM staff_identity"))
