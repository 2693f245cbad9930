"""What the operator has to agree to before the public sees it: versions that wait, speak, are refused or taken back.

A kind of such words is a table with the columns of `Reviewed`. Every save is a new row, so what was said stays as
evidence; the newest approved row speaks while the next one waits.
"""

from datetime import datetime
from enum import StrEnum
from typing import Final, TypeVar

from sqlalchemy import BigInteger, Text, select, text, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from core.errors import BusinessError, Phrase
from core.models import Timestamp
from core.personal import PLAIN
from merchants.wording import clean

REASON_MAX: Final = 200


class ReviewState(StrEnum):
    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"
    """Taken back by its author, or replaced by a newer version."""


class NotWaiting(BusinessError):
    code = "not_waiting"
    message = "这条内容已经处理过了。"


def not_waiting(session: Session, state: str | None, reviewed_by: int | None) -> NotWaiting:
    """What to tell who comes too late to decide: who did, or that its author took it back."""
    if state == ReviewState.WITHDRAWN:
        return NotWaiting(Phrase("商户已经撤回，或者换成了新的，不用再审批。"))
    name = session.scalar(text("SELECT name FROM staff WHERE id = :id"), {"id": reviewed_by})
    return NotWaiting() if name is None else NotWaiting(Phrase("%(name)s已经处理过了，不用再审批。"), name=name)


class Reviewed:
    """The columns of words that wait for the operator."""

    id: Mapped[int]
    review: Mapped[str] = mapped_column(Text, server_default=ReviewState.PENDING, info=PLAIN)
    reviewed_by: Mapped[int | None] = mapped_column(BigInteger)
    reviewed_at: Mapped[datetime | None] = mapped_column(Timestamp)
    review_reason: Mapped[str] = mapped_column(Text, server_default="", info=PLAIN)


WordsT = TypeVar("WordsT", bound=Reviewed)


def decide(
    session: Session,
    kind: type[WordsT],
    row_id: int,
    *,
    was: ReviewState,
    now_is: ReviewState,
    operator_id: int,
    now: datetime,
    reason: str = "",
) -> WordsT:
    """Approve or refuse a version that the operator saw as `was`; a refusal needs a reason. Returns the version.

    Of two operators who decide at once, the second is told with `NotWaiting`; nobody revives what its author took back.
    """
    if now_is is ReviewState.REJECTED:
        reason = clean(reason, name=Phrase("原因"), field="reason", longest=REASON_MAX, is_required=True, lines=True)
    decidable = {ReviewState.PENDING, ReviewState.APPROVED, ReviewState.REJECTED} - {now_is}
    if was not in decidable:
        raise NotWaiting
    seen = update(kind).where(kind.id == row_id, kind.review == was)
    values = {"review": now_is, "reviewed_by": operator_id, "reviewed_at": now, "review_reason": reason}
    version = session.scalars(seen.values(values).returning(kind)).one_or_none()
    if version is None:
        now_so = session.execute(select(kind.review, kind.reviewed_by).where(kind.id == row_id)).one_or_none()
        raise not_waiting(session, *(now_so or (None, None)))
    return version
