"""The words on a merchant's posters: versions that wait for the operator; only an approved one is printed."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from sqlalchemy import func, insert, select, text, update
from sqlalchemy.orm import Session

from core.errors import Phrase
from merchants.reviews import ReviewState, decide
from merchants.wording import Finding, ListedWord, clean, lint, refuse_bad_wording
from qrcodes.models import PosterSlogan

SLOGAN_MAX = 24


def checked(slogan: str, *, listed: Iterable[ListedWord]) -> str:
    """A slogan as it is stored; raises `Invalid` for one that may not be said.

    `listed` are the operator's own words.
    """
    cleaned = clean(slogan, name=Phrase("口号"), field="slogan", longest=SLOGAN_MAX)
    refuse_bad_wording(cleaned, field="slogan", listed=listed)
    return cleaned


def propose(session: Session, *, merchant_id: int, slogan: str) -> None:
    """Hand a slogan to the operator, in the place of one that waits. Needs no more than the merchant's rights.

    What is printed already needs nobody's word, and neither does printing none. One that waits or was refused is not
    handed in again until its words are others.
    """
    # Of two at once the second sees what the first handed in: a button pressed twice makes one version.
    session.execute(text("SELECT pg_advisory_xact_lock(hashtext(:name))"), {"name": f"poster_slogan:{merchant_id}"})
    latest = newest(session, merchant_id=merchant_id)
    if latest is not None and latest.slogan == slogan:
        return
    if slogan == in_force(session, merchant_id=merchant_id):
        _withdraw(session, merchant_id, ReviewState.PENDING, ReviewState.REJECTED)
    elif not slogan:
        _withdraw(session, merchant_id, ReviewState.PENDING, ReviewState.REJECTED, ReviewState.APPROVED)
    else:
        _withdraw(session, merchant_id, ReviewState.PENDING)
        session.execute(insert(PosterSlogan).values(merchant_id=merchant_id, slogan=slogan))


def put_in_force(session: Session, *, merchant_id: int, slogan: str, operator_id: int, now: datetime) -> None:
    """Print what an operator wrote, at once, in the place of all there was."""
    if slogan != in_force(session, merchant_id=merchant_id):
        _withdraw(session, merchant_id, ReviewState.PENDING, ReviewState.REJECTED, ReviewState.APPROVED)
        if slogan:
            review = {"review": ReviewState.APPROVED, "reviewed_by": operator_id, "reviewed_at": now}
            session.execute(insert(PosterSlogan).values(merchant_id=merchant_id, slogan=slogan, **review))


def in_force(session: Session, *, merchant_id: int) -> str:
    """What posters print; nothing where nothing was approved."""
    return all_in_force(session, {merchant_id}).get(merchant_id, "")


def all_in_force(session: Session, merchant_ids: Collection[int]) -> dict[int, str]:
    """The same for many merchants, without those that print nothing."""
    theirs = select(PosterSlogan.merchant_id, PosterSlogan.slogan).where(PosterSlogan.merchant_id.in_(merchant_ids))
    approved = theirs.where(PosterSlogan.review == ReviewState.APPROVED)
    return {row[0]: row[1] for row in session.execute(approved.order_by(PosterSlogan.id))}


def newest(session: Session, *, merchant_id: int) -> PosterSlogan | None:
    """The version its author last handed in, while it waits or was refused."""
    row = session.scalar(
        select(PosterSlogan)
        .where(PosterSlogan.merchant_id == merchant_id, PosterSlogan.review != ReviewState.WITHDRAWN)
        .order_by(PosterSlogan.id.desc())
        .limit(1)
    )
    return row if row is not None and row.review != ReviewState.APPROVED else None


def approve(
    session: Session, *, slogan_id: int, operator_id: int, now: datetime, was: ReviewState = ReviewState.PENDING
) -> PosterSlogan:
    """Let it be printed, in the place of what was printed before."""
    version = decide(
        session, PosterSlogan, slogan_id, was=was, now_is=ReviewState.APPROVED, operator_id=operator_id, now=now
    )
    _withdraw(session, version.merchant_id, ReviewState.APPROVED, but=slogan_id)
    return version


def reject(
    session: Session,
    *,
    slogan_id: int,
    operator_id: int,
    reason: str,
    now: datetime,
    was: ReviewState = ReviewState.PENDING,
) -> PosterSlogan:
    """Send it back with a reason; what is printed stays, unless it was this one."""
    return decide(
        session,
        PosterSlogan,
        slogan_id,
        was=was,
        now_is=ReviewState.REJECTED,
        operator_id=operator_id,
        now=now,
        reason=reason,
    )


def waiting_for_review(session: Session, *, limit: int = 50) -> list[PosterSlogan]:
    """What the operator has to look at, oldest first."""
    waiting = select(PosterSlogan).where(PosterSlogan.review == ReviewState.PENDING)
    return list(session.scalars(waiting.order_by(PosterSlogan.id).limit(limit)))


def decided(session: Session, *, limit: int = 20) -> list[PosterSlogan]:
    """What was decided lately, the newest decision first."""
    done = select(PosterSlogan).where(PosterSlogan.review.in_((ReviewState.APPROVED, ReviewState.REJECTED)))
    latest = done.order_by(PosterSlogan.reviewed_at.desc().nulls_last(), PosterSlogan.id.desc())
    return list(session.scalars(latest.limit(limit)))


def count_waiting(session: Session) -> int:
    waiting = select(func.count()).select_from(PosterSlogan).where(PosterSlogan.review == ReviewState.PENDING)
    return session.execute(waiting).scalar_one()


def doubts(slogan: PosterSlogan, *, listed: Sequence[ListedWord]) -> list[Finding]:
    """What the linter would have reworded."""
    return lint(slogan.slogan, listed=listed)


def _withdraw(session: Session, merchant_id: int, *states: ReviewState, but: int = 0) -> None:
    versions = update(PosterSlogan).where(
        PosterSlogan.merchant_id == merchant_id, PosterSlogan.review.in_(states), PosterSlogan.id != but
    )
    session.execute(versions.values(review=ReviewState.WITHDRAWN))
