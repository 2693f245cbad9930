"""Goals: who counts, which days count, and whose goal it is."""

from datetime import timedelta

import pytest
from sqlalchemy import select, update

from bot.inbox import Inbox
from core.clock import business_day
from core.database import Role
from core.runtime import Runtime
from merchants import identities, staff
from merchants.models import Follower, StaffRole
from qrcodes import goals, handovers, rollups, trials
from qrcodes.goals import Pursuit
from qrcodes.handovers import Receiver
from qrcodes.models import SubQrCode
from qrcodes.traffic import Range
from tests.community import Code, Neighbourhood, new_openid, scanned, subscribed


@pytest.fixture
def street(runtime: Runtime) -> Neighbourhood:
    return Neighbourhood(runtime)


def aim(street: Neighbourhood, code: Code, goal: int | None) -> None:
    with street.runtime.transaction(Role.PLATFORM) as session:
        session.execute(update(SubQrCode).where(SubQrCode.id == code.id).values(daily_goal=goal))


def pursuit(street: Neighbourhood, code: Code) -> Pursuit | None:
    rollups.catch_up(street.runtime)
    with street.runtime.transaction(Role.PLATFORM) as session:
        one = goals.pursuits(session, Range.last_days(7, street.now), code_id=code.id).get(code.id)
        assert goals.pursuits(session, Range.last_days(7, street.now)).get(code.id) == one
    return one


def test_only_strangers_count_and_only_days_with_strangers_are_worked(street: Neighbourhood) -> None:
    runtime, day = street.runtime, timedelta(days=1)
    code, other = street.code(street.merchant("茶馆")), street.code(street.merchant("面馆"))
    inbox, today = Inbox(runtime), business_day(street.now)
    clerk_openid, known = new_openid(), new_openid()
    inbox.receive([subscribed(clerk_openid, street.now - 6 * day, other.scene)])
    inbox.receive([subscribed(known, street.now - 6 * day, other.scene)])
    with runtime.transaction(Role.PLATFORM) as session:
        token = staff.invite(session, name="小王", role=StaffRole.CLERK, merchant_id=code.merchant_id, now=street.now)
        clerk = staff.accept(session, token=token, login="wang", password="seven lemons on a bike", now=street.now)
        follower_id = session.execute(select(Follower.id).where(Follower.openid == clerk_openid)).scalar_one()
        identities.bind(session, clerk, follower_id=follower_id, now=street.now - 5 * day)
    # Two days ago only the clerk scanned; yesterday only somebody who follows already did.
    inbox.receive([scanned(clerk_openid, street.now - 2 * day, code.scene)])
    inbox.receive([scanned(known, street.now - day, code.scene)])
    inbox.receive([subscribed(new_openid(), street.now - timedelta(minutes=9), code.scene)])
    with runtime.transaction(Role.PLATFORM) as session:
        trials.arm(
            session, merchant_id=code.merchant_id, code_id=code.id, staff_id=clerk.id,
            now=street.now - timedelta(minutes=6),
        )  # fmt: skip
    inbox.receive([subscribed(new_openid(), street.now - timedelta(minutes=5), code.scene)])
    assert pursuit(street, code) is None
    aim(street, code, 1)
    assert pursuit(street, code) == Pursuit(code.merchant_id, 1, {today: 1, today - day: 0})
    aim(street, code, 2)
    one = pursuit(street, code)
    assert one is not None
    assert (one.reached, one.worked) == (0, 2)


def test_a_new_owner_starts_from_nothing(street: Neighbourhood) -> None:
    code, books = street.code(street.merchant("茶馆")), street.merchant("书店")
    inbox = Inbox(street.runtime)
    inbox.receive([subscribed(new_openid(), street.now - timedelta(days=1), code.scene)])
    aim(street, code, 1)
    with street.runtime.transaction(Role.PLATFORM) as session:
        deal = handovers.hand_over(
            session, code_id=code.id, receiver=Receiver(books, "书店"), operator_id=1, now=street.runtime.now()
        )
        moment = deal.effective_at
    assert moment is not None
    assert pursuit(street, code) is None
    aim(street, code, 1)
    assert pursuit(street, code) == Pursuit(books, 1, {})
    inbox.receive([subscribed(new_openid(), moment + timedelta(seconds=1), code.scene)])
    assert pursuit(street, code) == Pursuit(books, 1, {business_day(moment): 1})
