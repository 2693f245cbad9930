"""What a merchant's staff are told: a refusal or an approval, a code that ends, the day's first fan.

Each person has rows of their own, once for each cause, and may switch each kind off. A row is shown in the pages;
`bot.notices` says it in the chat, too, where that person has a window open.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from core import outbox
from core.errors import Invalid
from merchants.models import NoticeKind, NoticeState, Staff, StaffIdentity, StaffNotice, StaffRole

SEND: Final = "send_notice"
FOR: Final[dict[NoticeKind, tuple[StaffRole, ...]]] = {
    NoticeKind.APPROVED: (StaffRole.OWNER,),
    NoticeKind.REFUSED: (StaffRole.OWNER,),
    NoticeKind.EXPIRING: (StaffRole.OWNER, StaffRole.CLERK),
    NoticeKind.FIRST_FAN: (StaffRole.OWNER, StaffRole.CLERK),
    NoticeKind.TALK_WAITS: (StaffRole.OWNER, StaffRole.CLERK),
}
"""Whose business each kind is: those who can do something about it."""


CARD: Final = "card:"
SLOGAN: Final = "slogan:"
COUPON: Final = "coupon:"
BROADCAST: Final = "broadcast:"
DESK: Final = "desk_words:"
RULE: Final = "reply_rule:"
"""How the cause of news about a merchant's card, slogan, broadcast or rule begins; other approvals are of welcomes."""


@dataclass(frozen=True)
class News:
    """Something to tell. `cause` names what happened, so that it is told once, however often it is noticed."""

    kind: NoticeKind
    cause: str
    path: str
    subject: str = ""
    reason: str = ""
    days: int | None = None


def tell(session: Session, *, merchant_id: int, news: News, now: datetime) -> int:
    """A row for everybody it concerns who wants to know; the chat is owed to who is bound. Returns how many."""
    bound = (
        select(StaffIdentity.id).where(StaffIdentity.staff_id == Staff.id, StaffIdentity.unbound_at.is_(None)).exists()
    )
    people = session.execute(
        select(Staff.id, bound).where(
            Staff.merchant_id == merchant_id,
            Staff.role.in_(FOR[news.kind]),
            Staff.disabled_at.is_(None),
            ~Staff.muted_notices.contains([news.kind.value]),
        )
    ).all()
    if not people:
        return 0
    rows = [
        {"merchant_id": merchant_id, "staff_id": staff_id, "kind": news.kind, "cause": news.cause, "path": news.path,
         "subject": news.subject, "reason": news.reason, "days": news.days, "created_at": now,
         "state": NoticeState.PLANNED if is_bound else NoticeState.ON_PAGE}
        for staff_id, is_bound in people
    ]  # fmt: skip
    added = session.execute(
        insert(StaffNotice).on_conflict_do_nothing().returning(StaffNotice.id, StaffNotice.state), rows
    ).all()
    outbox.add_many(
        session,
        [
            outbox.row(
                kind=SEND,
                dedupe_key=f"{SEND}:{row.id}",
                payload={"notice_id": row.id},
                queue=outbox.MESSAGES,
                merchant_id=merchant_id,
            )
            for row in added
            if row.state == NoticeState.PLANNED
        ],
    )
    return len(added)


def page(
    session: Session, *, merchant_id: int, staff_id: int, before: int | None = None, limit: int = 30
) -> list[StaffNotice]:
    """What this person was told, newest first."""
    mine = select(StaffNotice).where(StaffNotice.merchant_id == merchant_id, StaffNotice.staff_id == staff_id)
    if before is not None:
        mine = mine.where(StaffNotice.id < before)
    return list(session.scalars(mine.order_by(StaffNotice.id.desc()).limit(limit)))


def unread(session: Session, *, merchant_id: int, staff_id: int, limit: int) -> list[StaffNotice]:
    """What this person has not looked at yet, newest first."""
    mine = select(StaffNotice).where(
        StaffNotice.merchant_id == merchant_id, StaffNotice.staff_id == staff_id, StaffNotice.read_at.is_(None)
    )
    return list(session.scalars(mine.order_by(StaffNotice.id.desc()).limit(limit)))


def mark_read(session: Session, *, merchant_id: int, staff_id: int) -> None:
    """This person has seen it all."""
    session.execute(
        update(StaffNotice)
        .where(StaffNotice.merchant_id == merchant_id, StaffNotice.staff_id == staff_id, StaffNotice.read_at.is_(None))
        .values(read_at=func.app_now())
    )


def choose(session: Session, *, staff_id: int, wanted: set[NoticeKind]) -> None:
    """Which kinds this person wants to be told of."""
    member = session.get_one(Staff, staff_id)
    if member.merchant_id is None:
        raise Invalid("只有商户的人有这些通知。")
    member.muted_notices = sorted(kind.value for kind in NoticeKind if kind not in wanted)
    session.flush()
