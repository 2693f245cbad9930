"""Codes that change hands: agreed on by both or decided by the operator, and the past stays where it was (QR-2)."""

from datetime import datetime, timedelta

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError

from bot.inbox import Inbox
from core import outbox
from core.database import Role
from core.errors import BusinessError, Invalid, NotFound
from core.jobs import perform
from core.outbox import DEFAULT
from core.runtime import Runtime
from qrcodes import codes, fans, handovers, welcomes
from qrcodes.handovers import AlreadyOffered, NotToHandOver, Receiver
from qrcodes.models import CodeHandover, CodeOwner, HandoverState, Scan, SubQrCode, Welcome, WelcomeVariant
from tests.community import Code, Neighbourhood, new_openid, scanned, subscribed

OWNER = 5


class Shops:
    """A tea house that gives a code away, and a book shop that gets it."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.street = Neighbourhood(runtime)
        self.tea, self.books = self.street.merchant("茶馆"), self.street.merchant("书店")
        self.code: Code = self.street.code(self.tea)
        with runtime.transaction(Role.PLATFORM) as session:
            session.execute(update(SubQrCode).values(group_name="东门", batch="春季", cost_fen=1200, daily_goal=5))

    def offer(self, to: str = "书店") -> int:
        with self.runtime.transaction(Role.FAN) as session:
            receiver = handovers.find_receiver(session, wanted=to)
        with self.runtime.transaction(Role.MERCHANT, merchant_id=self.tea) as session:
            return handovers.offer(
                session, code_id=self.code.id, merchant_id=self.tea, receiver=receiver, now=self.runtime.now()
            )

    def accept(self, handover_id: int) -> None:
        with self.runtime.transaction(Role.MERCHANT, merchant_id=self.books) as session:
            handovers.accept(
                session, handover_id=handover_id, merchant_id=self.books, staff_id=OWNER, now=self.runtime.now()
            )

    def carry_out(self) -> None:
        """What a worker does right after."""
        with self.runtime.transaction(Role.PLATFORM) as session:
            task = outbox.claim(session, DEFAULT)
            while task is not None and task.kind != handovers.CARRY_OUT:
                task = outbox.claim(session, DEFAULT)
        assert task is not None
        perform(self.runtime, handovers.HANDLERS, task)

    def moment(self) -> datetime:
        with self.runtime.transaction(Role.PLATFORM) as session:
            moment = session.execute(
                select(CodeHandover.effective_at).where(CodeHandover.state == HandoverState.DONE)
            ).scalar_one()
        assert moment is not None
        return moment

    def stored(self) -> SubQrCode:
        with self.runtime.transaction(Role.PLATFORM) as session:
            return session.execute(select(SubQrCode).filter_by(id=self.code.id)).scalar_one()


@pytest.fixture
def shops(runtime: Runtime) -> Shops:
    return Shops(runtime)


def test_scans_count_for_whoever_owned_the_code_when_they_happened(shops: Shops) -> None:
    """However late they are told."""
    inbox, ann = Inbox(shops.runtime), new_openid()
    inbox.receive([subscribed(ann, shops.street.now - timedelta(days=1), shops.code.scene)])
    shops.accept(shops.offer())
    shops.carry_out()
    moment = shops.moment()
    assert moment > shops.street.now
    for at in (moment, moment - timedelta(seconds=1), moment + timedelta(seconds=1)):
        inbox.receive([scanned(ann, at, shops.code.scene)])
    with shops.runtime.transaction(Role.PLATFORM) as session:
        counted = session.execute(select(Scan.scanned_at >= moment, Scan.merchant_id).order_by(Scan.scanned_at))
        assert [tuple(row) for row in counted] == [
            (False, shops.tea),
            (False, shops.tea),
            (True, shops.books),
            (True, shops.books),
        ]
        periods = handovers.owners(session, shops.code.id)
        assert [(one.merchant_name, one.to_at) for one in periods] == [("书店", None), ("茶馆", moment)]
        assert handovers.former_owners(session, [shops.code.id]) == {shops.code.id: ["茶馆"]}


def test_what_the_giver_said_and_paid_stays_with_the_giver(shops: Shops) -> None:
    with shops.runtime.transaction(Role.PLATFORM) as session:
        for operator_id in (1, None):
            welcomes.save(
                session,
                merchant_id=shops.tea,
                code_id=shops.code.id,
                variant=WelcomeVariant.FIRST,
                position=0,
                draft=welcomes.Draft(text="好茶"),
                hosts=frozenset(),
                now=shops.street.now,
                operator_id=operator_id,
            )
    shops.accept(shops.offer())
    shops.carry_out()
    code = shops.stored()
    assert (code.merchant_id, code.group_name, code.batch, code.cost_fen) == (shops.books, "", "", 0)
    assert code.daily_goal is None
    with shops.runtime.transaction(Role.PLATFORM) as session:
        said = session.execute(select(Welcome.merchant_id, Welcome.code_id, Welcome.review)).all()
    assert {tuple(row) for row in said} == {(shops.tea, None, "withdrawn")}


def test_the_givers_fans_came_by_the_code_as_the_giver_called_it(shops: Shops) -> None:
    """And whatever the receiver makes of it stays the receiver's."""
    runtime, ann = shops.runtime, new_openid()
    Inbox(runtime).receive([subscribed(ann, shops.street.now - timedelta(days=1), shops.code.scene)])
    offered = shops.offer()
    with runtime.transaction(Role.MERCHANT, merchant_id=shops.tea) as session:
        wanted = codes.Wanted("茶馆门口", place="左手边")
        codes.edit(session, merchant_id=shops.tea, code_id=shops.code.id, wanted=wanted)
    shops.accept(offered)
    shops.carry_out()
    Inbox(runtime).receive([scanned(ann, shops.moment() + timedelta(seconds=1), shops.code.scene)])
    with runtime.transaction(Role.MERCHANT, merchant_id=shops.books) as session:
        wanted = codes.Wanted("书架", place="二楼")
        codes.edit(session, merchant_id=shops.books, code_id=shops.code.id, wanted=wanted)
    for merchant_id, label, place, is_own in (
        (shops.tea, "茶馆门口", "左手边", False),
        (shops.books, "书架", "二楼", True),
    ):
        for role in (Role.MERCHANT, Role.PLATFORM):
            whose = merchant_id if role is Role.MERCHANT else None
            with runtime.transaction(role, merchant_id=whose) as session:
                (fan,) = fans.page(session, merchant_id)
                moments = fans.timeline(session, merchant_id, fan.follower_id)
                assert fans.by_number(session, merchant_id, fan.number) == fan
            assert (fan.first_code, fan.last_code) == (label, label)
            assert (fan.has_first_code, fan.has_last_code) == (is_own, is_own)
            assert {(one.code, one.place) for one in moments if one.what == "scan"} == {(label, place)}
    with runtime.transaction(Role.MERCHANT, merchant_id=shops.tea) as session:
        assert session.scalars(select(SubQrCode)).all() == []


def test_a_code_that_came_back_is_called_as_it_is_now(shops: Shops) -> None:
    Inbox(shops.runtime).receive([subscribed(new_openid(), shops.street.now - timedelta(days=1), shops.code.scene)])
    with shops.runtime.transaction(Role.PLATFORM) as session:
        for receiver in (Receiver(shops.books, "书店"), Receiver(shops.tea, "茶馆")):
            handovers.hand_over(
                session, code_id=shops.code.id, receiver=receiver, operator_id=1, now=shops.runtime.now()
            )
        codes.edit(session, merchant_id=shops.tea, code_id=shops.code.id, wanted=codes.Wanted("又回来了"))
    with shops.runtime.transaction(Role.MERCHANT, merchant_id=shops.tea) as session:
        (fan,) = fans.page(session, shops.tea)
        assert (fan.first_code, fan.has_first_code) == ("又回来了", True)


def test_a_name_the_receiver_uses_already_gets_a_number(shops: Shops) -> None:
    shops.street.code(shops.books, "前台")
    shops.street.code(shops.books, "前台 2")
    shops.accept(shops.offer())
    shops.carry_out()
    assert shops.stored().label == "前台 3"


def test_carried_out_once_however_often_it_is_tried(shops: Shops) -> None:
    shops.accept(shops.offer())
    with shops.runtime.transaction(Role.PLATFORM) as session:
        task = outbox.claim(session, DEFAULT)
        while task is not None and task.kind != handovers.CARRY_OUT:
            task = outbox.claim(session, DEFAULT)
    assert task is not None
    for _ in range(3):
        handovers.carry_out(shops.runtime, task)
    with shops.runtime.transaction(Role.PLATFORM) as session:
        assert len(session.scalars(select(CodeOwner)).all()) == 2


def test_there_and_back_within_a_moment(shops: Shops) -> None:
    """Periods never overlap, even when they are empty."""
    with shops.runtime.transaction(Role.PLATFORM) as session:
        for receiver in (Receiver(shops.books, "书店"), Receiver(shops.tea, "茶馆"), Receiver(shops.books, "书店")):
            handovers.hand_over(
                session, code_id=shops.code.id, receiver=receiver, operator_id=1, now=shops.runtime.now()
            )
        codes.retire(session, merchant_id=shops.books, code_id=shops.code.id, now=shops.runtime.now())
        assert [one.merchant_name for one in handovers.owners(session, shops.code.id)] == ["书店", "茶馆"] * 2


def test_only_the_one_it_is_offered_to_takes_it_and_only_in_time(shops: Shops) -> None:
    handover_id, runtime = shops.offer(), shops.runtime
    asked = {"handover_id": handover_id, "staff_id": OWNER}
    late = runtime.now() + handovers.OFFER_LASTS
    stranger = shops.street.merchant("花店")
    for merchant_id, at in ((shops.tea, runtime.now()), (stranger, runtime.now()), (shops.books, late)):
        with pytest.raises(NotFound), runtime.transaction(Role.MERCHANT, merchant_id=merchant_id) as session:
            handovers.accept(session, **asked, merchant_id=merchant_id, now=at)
    with pytest.raises(AlreadyOffered):
        shops.offer()
    with runtime.transaction(Role.MERCHANT, merchant_id=shops.books) as session:
        handovers.decline(session, **asked, merchant_id=shops.books, now=runtime.now())
    with pytest.raises(NotFound):
        shops.accept(handover_id)
    assert shops.stored().merchant_id == shops.tea
    again = shops.offer()
    with runtime.transaction(Role.MERCHANT, merchant_id=shops.tea) as session:
        handovers.withdraw(session, handover_id=again, staff_id=OWNER, merchant_id=shops.tea, now=runtime.now())
    with runtime.transaction(Role.MERCHANT, merchant_id=shops.tea) as session:
        handovers.offer(
            session, code_id=shops.code.id, merchant_id=shops.tea, receiver=Receiver(stranger, "花店"), now=late
        )


def test_no_merchant_says_by_itself_that_a_code_was_handed_over(shops: Shops) -> None:
    """The policies alone, whatever a page would do."""
    shops.offer()
    for merchant_id, state in ((shops.tea, "accepted"), (shops.tea, "done"), (shops.books, "done")):
        with (
            pytest.raises(Exception, match="row-level security"),
            shops.runtime.transaction(Role.MERCHANT, merchant_id=merchant_id) as session,
        ):
            session.execute(update(CodeHandover).values(state=state))


@pytest.mark.parametrize(
    ("to", "refusal"),
    [("没有这家", Invalid), ("茶馆", Invalid), ("9" * 30, Invalid), ("茶", Invalid)],
)
def test_only_other_merchants_get_a_code(shops: Shops, to: str, refusal: type[BusinessError]) -> None:
    with pytest.raises(refusal):
        shops.offer(to)


def test_a_retired_code_goes_nowhere_and_comes_back_never(shops: Shops) -> None:
    handover_id = shops.offer()
    with shops.runtime.transaction(Role.MERCHANT, merchant_id=shops.tea) as session:
        codes.retire(session, merchant_id=shops.tea, code_id=shops.code.id, now=shops.runtime.now())
    with pytest.raises(NotFound):
        shops.accept(handover_id)
    with pytest.raises(NotToHandOver):
        shops.offer()
    for change in ({"state": "active"}, {"merchant_id": shops.books}, {"scene": "another"}, {"retired_at": None}):
        with (
            pytest.raises(IntegrityError, match="stays retired"),
            shops.runtime.transaction(Role.PLATFORM) as session,
        ):
            session.execute(update(SubQrCode).values(change))


def test_retired_between_yes_and_the_deed_nothing_happens(shops: Shops) -> None:
    shops.accept(shops.offer())
    with shops.runtime.transaction(Role.PLATFORM) as session:
        codes.retire(session, merchant_id=shops.tea, code_id=shops.code.id, now=shops.runtime.now())
    shops.carry_out()
    with shops.runtime.transaction(Role.PLATFORM) as session:
        assert session.scalars(select(CodeHandover.state)).all() == [HandoverState.VOID]
