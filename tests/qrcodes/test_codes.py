"""Codes: planned before the platform is asked, one per label, within the pool, and never given out twice."""

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import func, insert, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from core.database import Role
from core.errors import BusinessError, Invalid, NotFound
from core.models import Outbox
from core.runtime import Runtime
from merchants import merchants
from merchants.merchants import MerchantSuspended
from merchants.models import MerchantState
from qrcodes import codes
from qrcodes.codes import PoolSpent, SceneTaken, Wanted
from qrcodes.models import CodeKind, CodeOwner, CodeState, ScenePool, SubQrCode
from tests.qrcodes.conftest import Street


def owners(session: Session, code_id: int) -> list[CodeOwner]:
    return list(session.scalars(select(CodeOwner).filter_by(code_id=code_id).order_by(CodeOwner.id)))


def used(session: Session) -> int | None:
    return session.scalar(select(ScenePool.used))


def test_code_is_planned_with_its_owner_its_slot_and_what_it_owes(runtime: Runtime, street: Street) -> None:
    now = runtime.now()
    with runtime.transaction(Role.PLATFORM) as session:
        wanted = Wanted(" 收银台 ", CodeKind.COUNTER, "一楼")
        code = codes.add(session, merchant_id=street.flowers, wanted=wanted, now=now)
        assert (code.label, code.place, code.state, code.permanent) == ("收银台", "一楼", CodeState.PLANNED, True)
        assert (code.ticket, code.url, code.expires_at) == (None, None, None)
        [owner] = owners(session, code.id)
        assert (owner.merchant_id, owner.to_at) == (street.flowers, None)
        assert owner.from_at.microsecond == 0
        assert timedelta(0) <= now - owner.from_at - codes.CLOCK_TOLERANCE < timedelta(seconds=1)
        assert used(session) == 1
        owed = session.scalars(select(Outbox)).one()
        assert (owed.kind, owed.payload, owed.merchant_id) == ("create_code", {"code_id": code.id}, street.flowers)


def test_nobody_writes_themselves_down_as_the_owner_of_a_foreign_code(runtime: Runtime, street: Street) -> None:
    now = runtime.now()
    with runtime.transaction(Role.MERCHANT, merchant_id=street.flowers) as session:
        code_id = codes.add(session, merchant_id=street.flowers, wanted=Wanted("收银台"), now=now).id
    period = {"code_id": code_id, "merchant_id": street.books, "from_at": now, "to_at": now}
    with (
        pytest.raises(DBAPIError, match="row-level security"),
        runtime.transaction(Role.MERCHANT, merchant_id=street.books) as session,
    ):
        session.execute(insert(CodeOwner).values(period))


def test_scenes_are_opaque_and_never_look_like_an_event_key() -> None:
    scenes = {codes.new_scene() for _ in range(1000)}
    assert len(scenes) == 1000
    assert all(re.fullmatch(r"[A-Za-z0-9]{22}", scene) for scene in scenes)


def test_merchant_plans_a_code_with_its_own_rights(runtime: Runtime, street: Street) -> None:
    with runtime.transaction(Role.MERCHANT, merchant_id=street.flowers) as session:
        code = codes.add(session, merchant_id=street.flowers, wanted=Wanted("收银台"), now=runtime.now())
        assert code.merchant_id == street.flowers
        with pytest.raises(NotFound):
            codes.add(session, merchant_id=street.books, wanted=Wanted("收银台"), now=runtime.now())


def test_same_label_is_the_same_code_even_when_asked_at_once(runtime: Runtime, street: Street) -> None:
    def add(_: int) -> int:
        with runtime.transaction(Role.PLATFORM) as session:
            return codes.add(session, merchant_id=street.flowers, wanted=Wanted("收银台"), now=runtime.now()).id

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(add, range(8)))) == 1
    with runtime.transaction(Role.PLATFORM) as session:
        other = codes.add(session, merchant_id=street.books, wanted=Wanted("收银台"), now=runtime.now())
        assert other.merchant_id == street.books
        assert used(session) == 2
        assert session.scalar(select(func.count()).select_from(Outbox)) == 2


def test_last_slot_of_the_pool_is_given_once(runtime: Runtime, street: Street) -> None:
    with runtime.transaction(Role.PLATFORM) as session:
        codes.add(session, merchant_id=street.flowers, wanted=Wanted("第一"), now=runtime.now())
        assert session.scalar(select(ScenePool.capacity)) == 99_000
        session.execute(update(ScenePool).values(capacity=2))

    def add(number: int) -> str:
        try:
            with runtime.transaction(Role.PLATFORM) as session:
                wanted = Wanted(f"第{number}")
                codes.add(session, merchant_id=street.flowers, wanted=wanted, now=runtime.now())
        except PoolSpent as refusal:
            return refusal.code
        return "added"

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(add, range(4))) == ["added", "pool_spent", "pool_spent", "pool_spent"]
    with runtime.transaction(Role.PLATFORM) as session:
        assert session.scalar(select(func.count()).select_from(SubQrCode)) == 2
        temporary = codes.add(session, merchant_id=street.flowers, wanted=Wanted("活动", days=3), now=runtime.now())
        assert (temporary.permanent, temporary.lifetime_seconds) == (False, 3 * 86_400)
        assert used(session) == 2


@pytest.mark.parametrize(
    ("field", "wanted"),
    [
        ("label", Wanted("  ")),
        ("label", Wanted("长" * 31)),
        ("label", Wanted("关注送花")),
        ("label", Wanted("看evil.com")),
        ("label", Wanted("一\n二")),
        ("place", Wanted("收银台", place="长" * 31)),
        ("days", Wanted("收银台", days=0)),
        ("days", Wanted("收银台", days=31)),
        ("days", Wanted("收银台", days=-1)),
    ],
)
def test_bad_wishes_are_refused_by_field(runtime: Runtime, street: Street, field: str, wanted: Wanted) -> None:
    with runtime.transaction(Role.PLATFORM) as session, pytest.raises(Invalid) as refusal:
        codes.add(session, merchant_id=street.flowers, wanted=wanted, now=runtime.now())
    assert refusal.value.field == field


def test_retired_code_frees_its_label_and_closes_its_owner_but_not_its_slot(runtime: Runtime, street: Street) -> None:
    with runtime.transaction(Role.PLATFORM) as session:
        first = codes.add(session, merchant_id=street.flowers, wanted=Wanted("收银台"), now=runtime.now())
    with runtime.transaction(Role.MERCHANT, merchant_id=street.flowers) as session:
        now = runtime.now()
        assert codes.retire(session, merchant_id=street.flowers, code_id=first.id, now=now)
        assert not codes.retire(session, merchant_id=street.flowers, code_id=first.id, now=now)
        second = codes.add(session, merchant_id=street.flowers, wanted=Wanted("收银台"), now=now)
        assert (second.id, second.scene) != (first.id, first.scene)
    with runtime.transaction(Role.PLATFORM) as session:
        assert [owner.to_at for owner in owners(session, first.id)] == [now]
        assert used(session) == 2
        with pytest.raises(NotFound):
            codes.retire(session, merchant_id=street.books, code_id=second.id, now=now)
        with pytest.raises(SceneTaken):
            codes.adopt(session, merchant_id=street.flowers, scene=first.scene, now=now)


def test_label_of_an_expired_temporary_code_is_free_again(runtime: Runtime, street: Street) -> None:
    now = runtime.now()
    with runtime.transaction(Role.PLATFORM) as session:
        wanted = Wanted("活动", days=1)
        first = codes.add(session, merchant_id=street.flowers, wanted=wanted, now=now)
        ends = now + timedelta(days=1)
        assert codes.record_created(session, code_id=first.id, ticket="t", url="http://u", expires_at=ends)
        assert not codes.record_created(session, code_id=first.id, ticket="t2", url="http://u", expires_at=ends)
        assert codes.add(session, merchant_id=street.flowers, wanted=wanted, now=now).id == first.id
        assert codes.add(session, merchant_id=street.flowers, wanted=wanted, now=ends).id != first.id
        session.refresh(first)
        assert (first.state, first.ticket) == (CodeState.RETIRED, "t")


def test_suspending_a_merchant_retires_all_its_codes(runtime: Runtime, street: Street) -> None:
    with runtime.transaction(Role.PLATFORM) as session:
        mine = [
            codes.add(session, merchant_id=street.flowers, wanted=Wanted(label), now=runtime.now()).id
            for label in ("收银台", "门口")
        ]
        other = codes.add(session, merchant_id=street.books, wanted=Wanted("收银台"), now=runtime.now())
        assert codes.suspend_merchant(session, merchant_id=street.flowers, now=runtime.now()) == 2
        for code_id in mine:
            assert all(owner.to_at is not None for owner in owners(session, code_id))
        assert [owner.to_at for owner in owners(session, other.id)] == [None]
        with pytest.raises(MerchantSuspended):
            codes.add(session, merchant_id=street.flowers, wanted=Wanted("后门"), now=runtime.now())
        merchants.set_state(session, merchant_id=street.flowers, state=MerchantState.ACTIVE)
        states = session.scalars(select(SubQrCode.state).where(SubQrCode.merchant_id == street.flowers))
        assert set(states) == {CodeState.RETIRED}


def test_printed_scene_is_adopted_once_and_owned_from_now(runtime: Runtime, street: Street) -> None:
    now = runtime.now()
    with runtime.transaction(Role.PLATFORM) as session:
        code = codes.adopt(session, merchant_id=street.flowers, scene="123", now=now)
        assert (code.state, code.adopted, code.ticket, code.url) == (CodeState.ACTIVE, True, None, None)
        assert code.label == "旧码 123"
        [owner] = owners(session, code.id)
        assert owner.from_at == now.replace(microsecond=0)
        assert codes.adopt(session, merchant_id=street.flowers, scene="123", now=now).id == code.id
        with pytest.raises(SceneTaken):
            codes.adopt(session, merchant_id=street.books, scene="123", now=now)
        assert session.scalar(select(func.count()).select_from(Outbox)) == 0
    with runtime.transaction(Role.MERCHANT, merchant_id=street.books) as session, pytest.raises(SceneTaken):
        codes.adopt(session, merchant_id=street.books, scene="123", now=now)


@pytest.mark.parametrize("scene", ["", "长", "a b", "x" * 65, "qrscene_9", "a\n"])
def test_impossible_scenes_are_not_adopted(runtime: Runtime, street: Street, scene: str) -> None:
    with runtime.transaction(Role.PLATFORM) as session, pytest.raises(BusinessError):
        codes.adopt(session, merchant_id=street.flowers, scene=scene, now=runtime.now())


def test_adopting_needs_a_label_of_its_own(runtime: Runtime, street: Street) -> None:
    with runtime.transaction(Role.PLATFORM) as session:
        codes.add(session, merchant_id=street.flowers, wanted=Wanted("收银台"), now=runtime.now())
        with pytest.raises(Invalid) as refusal:
            codes.adopt(session, merchant_id=street.flowers, scene="old1", label="收银台", now=runtime.now())
        assert refusal.value.field == "label"


def test_codes_are_edited_listed_and_searched(runtime: Runtime, street: Street) -> None:
    with runtime.transaction(Role.PLATFORM) as session:
        ids = [
            codes.add(session, merchant_id=street.flowers, wanted=Wanted(label), now=runtime.now()).id
            for label in ("一", "二", "三")
        ]
    with runtime.transaction(Role.MERCHANT, merchant_id=street.flowers) as session:
        wanted = Wanted("一号桌", CodeKind.TABLE, "窗边")
        mine = {"merchant_id": street.flowers, "code_id": ids[0]}
        codes.edit(session, **mine, wanted=wanted)
        with pytest.raises(Invalid):
            codes.edit(session, **mine, wanted=replace(wanted, label="二"))
        with pytest.raises(NotFound):
            codes.edit(session, merchant_id=street.books, code_id=ids[0], wanted=replace(wanted, label="四"))
        listed = codes.list_codes(session, merchant_id=street.flowers, limit=2)
        assert [code.label for code in listed] == ["三", "二"]
        listed = codes.list_codes(session, merchant_id=street.flowers, limit=2, before=listed[-1].id)
        assert [(code.label, code.kind, code.place) for code in listed] == [("一号桌", "table", "窗边")]
        assert [code.id for code in codes.list_codes(session, merchant_id=street.flowers, search="窗")] == [ids[0]]
