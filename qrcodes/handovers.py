"""Codes that change hands: offered by one merchant and accepted by the other, or decided by the operator (QR-2).

The past stays where it was: scans and credit before the moment are the former owner's, whenever they arrive.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from core import audit, outbox
from core.database import Role
from core.errors import BusinessError, Invalid, NotFound
from core.jobs import Handler
from core.outbox import Task
from core.runtime import Runtime
from merchants import merchants
from merchants.models import Merchant, MerchantState
from merchants.reviews import ReviewState
from qrcodes import codes
from qrcodes.codes import LABEL_MAX
from qrcodes.models import (
    CodeHandover,
    CodeOwner,
    CodeState,
    HandoverState,
    SubQrCode,
    Welcome,
)

CARRY_OUT: Final = "hand_over"
"""The outbox kind of the task that does what two merchants agreed on."""
OFFER_LASTS: Final = timedelta(days=7)
LEAD: Final = timedelta(seconds=2)
"""How far ahead the moment lies: further than events that are just being taken in, and than clocks differ."""


class NotToHandOver(BusinessError):
    code = "not_to_hand_over"
    message = "这个码现在不能移交：它已停用，或者还没有生成。"


class AlreadyOffered(BusinessError):
    code = "already_offered"
    message = "这个码已经在移交了，请等对方答复，或先撤回。"


@dataclass(frozen=True)
class Receiver:
    """Whom a code is to go to."""

    id: int
    name: str


def find_receiver(session: Session, *, wanted: str) -> Receiver:
    """An open merchant by its number or its whole name, as the public sees them; raises `Invalid`."""
    words = wanted.strip()
    is_meant = Merchant.name == words
    if words.isascii() and words.isdecimal() and int(words) <= merchants.LARGEST_ID:
        is_meant = is_meant | (Merchant.id == int(words))
    found = session.execute(
        select(Merchant.id, Merchant.name).where(is_meant, Merchant.state == MerchantState.ACTIVE).limit(2)
    ).all()
    if not found:
        raise Invalid("没有这家商户，请核对名称，或填对方“我的”页上的商户编号。", field="merchant")
    if len(found) > 1:
        raise Invalid("有几家商户叫这个名字，请填对方“我的”页上的商户编号。", field="merchant")
    return Receiver(*found[0])


def offer(session: Session, *, code_id: int, merchant_id: int, receiver: Receiver, now: datetime) -> int:
    """Offer a code to another merchant, who has a week to answer; returns the offer's id.

    Raises `NotFound`, `NotToHandOver`, `AlreadyOffered` or `Invalid`.
    """
    code = session.scalar(select(SubQrCode).filter_by(id=code_id, merchant_id=merchant_id))
    if code is None:
        raise NotFound("没有这个二维码。")
    _refuse_dead(code, now)
    if receiver.id == merchant_id:
        raise Invalid("这个码本来就是这家商户的。", field="merchant")
    lapsed = update(CodeHandover).where(
        CodeHandover.code_id == code_id, CodeHandover.state == HandoverState.OFFERED, CodeHandover.expires_at <= now
    )
    session.execute(lapsed.values(state=HandoverState.WITHDRAWN, decided_at=now))
    name = session.execute(select(Merchant.name).where(Merchant.id == merchant_id)).scalar_one()
    new = insert(CodeHandover).values(
        **_deal(code, name, receiver), state=HandoverState.OFFERED, offered_at=now, expires_at=now + OFFER_LASTS
    )
    handover_id: int | None = session.scalar(new.on_conflict_do_nothing().returning(CodeHandover.id))
    if handover_id is None:
        raise AlreadyOffered
    return handover_id


def withdraw(session: Session, *, handover_id: int, merchant_id: int, staff_id: int, now: datetime) -> int:
    """Take an offer back that was not answered; returns the code's id."""
    mine = CodeHandover.from_merchant_id == merchant_id
    return _decide(session, handover_id, mine, HandoverState.WITHDRAWN, staff_id, now)


def decline(session: Session, *, handover_id: int, merchant_id: int, staff_id: int, now: datetime) -> int:
    """Say no to an offer; returns the code's id."""
    to_me = CodeHandover.to_merchant_id == merchant_id
    return _decide(session, handover_id, to_me, HandoverState.DECLINED, staff_id, now)


def accept(session: Session, *, handover_id: int, merchant_id: int, staff_id: int, now: datetime) -> int:
    """Say yes to an offer, which a worker carries out at once, since neither side may write the other's rows."""
    to_me = (CodeHandover.to_merchant_id == merchant_id) & (CodeHandover.expires_at > now)
    code_id = _decide(session, handover_id, to_me, HandoverState.ACCEPTED, staff_id, now)
    outbox.add(
        session,
        kind=CARRY_OUT,
        dedupe_key=f"{CARRY_OUT}:{handover_id}",
        payload={"handover_id": handover_id},
        merchant_id=merchant_id,
    )
    return code_id


def _decide(
    session: Session,
    handover_id: int,
    whose: ColumnElement[bool],
    state: HandoverState,
    staff_id: int,
    now: datetime,
) -> int:
    is_open = CodeHandover.state == HandoverState.OFFERED
    statement = update(CodeHandover).where(CodeHandover.id == handover_id, whose, is_open)
    decided = statement.values(state=state, decided_by=staff_id, decided_at=now).returning(CodeHandover.code_id)
    code_id: int | None = session.scalar(decided)
    if code_id is None:
        raise NotFound("这次移交已经处理过，或者过期了。")
    return code_id


def carry_out(runtime: Runtime, task: Task) -> None:
    """Do what both merchants agreed on; run again it finds it done."""
    now = runtime.now()
    with runtime.transaction(Role.PLATFORM) as session:
        agreed = select(CodeHandover).where(
            CodeHandover.id == int(task.payload["handover_id"]), CodeHandover.state == HandoverState.ACCEPTED
        )
        deal = session.scalar(agreed.with_for_update())
        if deal is None:
            return
        try:
            deal.effective_at = _transfer(session, deal, now)
            deal.state = HandoverState.DONE
        except BusinessError:
            deal.state = HandoverState.VOID
            return
        for merchant_id in (deal.from_merchant_id, deal.to_merchant_id):
            audit.record(
                session,
                actor_kind="merchant",
                actor_id=deal.decided_by,
                merchant_id=merchant_id,
                action="code.hand_over",
                subject=f"code:{deal.code_id}",
                detail={"from": deal.from_merchant_id, "to": deal.to_merchant_id},
            )


def hand_over(session: Session, *, code_id: int, receiver: Receiver, operator_id: int, now: datetime) -> CodeHandover:
    """Give a code to another merchant at once, as the operator decides.

    Raises `NotFound`, `NotToHandOver` or `Invalid`.
    """
    code = session.scalar(select(SubQrCode).where(SubQrCode.id == code_id))
    if code is None:
        raise NotFound("没有这个二维码。")
    _refuse_dead(code, now)
    if receiver.id == code.merchant_id:
        raise Invalid("这个码本来就是这家商户的。", field="merchant")
    open_ones = update(CodeHandover).where(
        CodeHandover.code_id == code_id, CodeHandover.state.in_((HandoverState.OFFERED, HandoverState.ACCEPTED))
    )
    session.execute(open_ones.values(state=HandoverState.WITHDRAWN, decided_by=operator_id, decided_at=now))
    name = session.execute(select(Merchant.name).where(Merchant.id == code.merchant_id)).scalar_one()
    deal = CodeHandover(
        **_deal(code, name, receiver),
        state=HandoverState.DONE,
        offered_at=now,
        expires_at=now,
        decided_by=operator_id,
        decided_at=now,
    )
    deal.effective_at = _transfer(session, deal, now)
    session.add(deal)
    session.flush()
    return deal


def _deal(code: SubQrCode, from_name: str, receiver: Receiver) -> dict[str, object]:
    return {
        "code_id": code.id,
        "from_merchant_id": code.merchant_id,
        "to_merchant_id": receiver.id,
        "from_name": from_name,
        "to_name": receiver.name,
        "label": code.label,
        "kind": code.kind,
        "place": code.place,
    }


def _refuse_dead(code: SubQrCode, now: datetime) -> None:
    if code.state != CodeState.ACTIVE or codes.is_expired(code, now):
        raise NotToHandOver


def _transfer(session: Session, deal: CodeHandover, now: datetime) -> datetime:
    """Change the owner of a live code; returns the moment from which scans count for the new one.

    The moment is a whole second, as CreateTime is, and lies `LEAD` ahead: whatever is being taken in right now was
    scanned before it, and is rightly counted for the owner it still sees.
    """
    of_giver = select(SubQrCode).where(SubQrCode.id == deal.code_id, SubQrCode.merchant_id == deal.from_merchant_id)
    code = session.scalar(of_giver.with_for_update())
    if code is None:
        raise NotToHandOver
    _refuse_dead(code, now)
    receiver = merchants.require_active(session, deal.to_merchant_id)
    if receiver.account_id != code.account_id:
        raise NotToHandOver
    open_row = select(CodeOwner).where(CodeOwner.code_id == code.id, CodeOwner.to_at.is_(None))
    owner = session.execute(open_row.with_for_update()).scalar_one()
    moment = max(now.replace(microsecond=0) + timedelta(seconds=1) + LEAD, owner.from_at)
    owner.to_at = moment
    session.flush()
    session.add(CodeOwner(code_id=code.id, merchant_id=receiver.id, from_at=moment))
    # The giver's fans came by what it is called now, however it was called when it was offered.
    deal.label, deal.kind, deal.place = code.label, code.kind, code.place
    # What it said were the giver's words: they stay with the giver, and speak no more.
    of_code = update(Welcome).where(Welcome.merchant_id == deal.from_merchant_id, Welcome.code_id == code.id)
    session.execute(of_code.values(code_id=None, review=ReviewState.WITHDRAWN))
    code.label = _free_label(session, receiver.id, code.label)
    code.merchant_id = receiver.id
    # How the giver sorted it, what it paid and what it hoped for is not the receiver's business.
    code.group_name, code.batch, code.cost_fen, code.daily_goal = "", "", 0, None
    session.flush()
    return moment


def _free_label(session: Session, merchant_id: int, label: str) -> str:
    """The label, or the first of "label 2", "label 3" … that the merchant has no living code under."""
    taken = set(
        session.scalars(
            select(SubQrCode.label).where(SubQrCode.merchant_id == merchant_id, SubQrCode.state != CodeState.RETIRED)
        )
    )
    number, free = 2, label
    while free in taken:
        suffix = f" {number}"
        free = label[: LABEL_MAX - len(suffix)] + suffix
        number += 1
    return free


@dataclass(frozen=True)
class Period:
    """Whose a code was, from when to when."""

    merchant_id: int
    merchant_name: str
    from_at: datetime
    to_at: datetime | None


def owners(session: Session, code_id: int) -> list[Period]:
    """Everybody a code belonged to, the latest first."""
    columns = (CodeOwner.merchant_id, Merchant.name, CodeOwner.from_at, CodeOwner.to_at)
    periods = select(*columns).join(Merchant, Merchant.id == CodeOwner.merchant_id).where(CodeOwner.code_id == code_id)
    return [Period(*row) for row in session.execute(periods.order_by(CodeOwner.from_at.desc(), CodeOwner.id.desc()))]


def former_owners(session: Session, code_ids: Sequence[int]) -> Mapping[int, list[str]]:
    """From whom each of these codes was handed over, as far as the session sees, the first owner first."""
    done = select(CodeHandover.code_id, CodeHandover.from_name).where(
        CodeHandover.code_id.in_(code_ids), CodeHandover.state == HandoverState.DONE
    )
    names: dict[int, list[str]] = {}
    for code_id, name in session.execute(done.order_by(CodeHandover.id)):
        names.setdefault(code_id, []).append(name)
    return names


def of_code(session: Session, code_id: int) -> list[CodeHandover]:
    """Offers and hand-overs of a code that the session sees, the latest first."""
    return list(session.scalars(select(CodeHandover).filter_by(code_id=code_id).order_by(CodeHandover.id.desc())))


def of_merchant(session: Session, merchant_id: int, *, limit: int = 200) -> list[CodeHandover]:
    """What a merchant gave or got, or was offered, the latest first."""
    is_theirs = (CodeHandover.from_merchant_id == merchant_id) | (CodeHandover.to_merchant_id == merchant_id)
    return list(session.scalars(select(CodeHandover).where(is_theirs).order_by(CodeHandover.id.desc()).limit(limit)))


def waiting_for(session: Session, merchant_id: int, now: datetime) -> int:
    """How many offers a merchant has not answered."""
    offers = select(func.count()).where(
        CodeHandover.to_merchant_id == merchant_id,
        CodeHandover.state == HandoverState.OFFERED,
        CodeHandover.expires_at > now,
    )
    return session.execute(offers).scalar_one()


HANDLERS: Final[Mapping[str, Handler]] = {CARRY_OUT: carry_out}
