"""What the public sees of a merchant: its card, in versions that wait for the operator.

The card in force stands in the merchant's own row; a version that waits changes nothing until it is approved.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import func, insert, select, update
from sqlalchemy.orm import Session

from core.database import rows_changed
from core.errors import NotFound, Phrase
from merchants import positions, sensitive_words
from merchants.models import Merchant, MerchantCard, Picture
from merchants.reviews import ReviewState, decide
from merchants.wording import Finding, ListedWord, clean, lint, phone_number, refuse_bad_wording


@dataclass(frozen=True)
class Card:
    """What a merchant says about itself."""

    intro: str = ""
    address: str = ""
    hours: str = ""
    picture_id: int | None = None
    public_phone: str = ""
    """What everybody may ring; not the operator's contact."""
    latitude: float | None = None
    longitude: float | None = None


def propose(session: Session, *, merchant_id: int, card: Card, hosts: frozenset[str]) -> int:
    """Hand a new version to the operator, in the place of one that waits. Needs no more than the merchant's rights.

    Raises `Invalid` for words that may not be said, `NotFound` for a picture that is not the merchant's (TN-3).
    """
    checked = _checked(session, merchant_id, card, hosts)
    waiting = update(MerchantCard).where(
        MerchantCard.merchant_id == merchant_id, MerchantCard.review == ReviewState.PENDING
    )
    session.execute(waiting.values(review=ReviewState.WITHDRAWN))
    new = insert(MerchantCard).values(merchant_id=merchant_id, **asdict(checked)).returning(MerchantCard.id)
    return session.execute(new).scalar_one()


def show(session: Session, *, merchant_id: int, card: Card, hosts: frozenset[str]) -> None:
    """Put a card in force at once, as only the platform may."""
    _put_in_force(session, merchant_id, _checked(session, merchant_id, card, hosts))


def place(session: Session, *, merchant_id: int, latitude: float | None, longitude: float | None) -> None:
    """Put where the shop is into its row at once, and into a version that waits, as only the platform may."""
    where = {"latitude": latitude, "longitude": longitude}
    if not rows_changed(session.execute(update(Merchant).where(Merchant.id == merchant_id).values(**where))):
        raise NotFound("没有这个商户。")
    waiting = update(MerchantCard).where(
        MerchantCard.merchant_id == merchant_id, MerchantCard.review == ReviewState.PENDING
    )
    session.execute(waiting.values(**where))


def approve(
    session: Session, *, card_id: int, operator_id: int, now: datetime, was: ReviewState = ReviewState.PENDING
) -> MerchantCard:
    """Let the public see a version; what was shown before is withdrawn."""
    version = decide(
        session, MerchantCard, card_id, was=was, now_is=ReviewState.APPROVED, operator_id=operator_id, now=now
    )
    former = update(MerchantCard).where(
        MerchantCard.merchant_id == version.merchant_id,
        MerchantCard.id != card_id,
        MerchantCard.review == ReviewState.APPROVED,
    )
    session.execute(former.values(review=ReviewState.WITHDRAWN))
    _put_in_force(session, version.merchant_id, card_of(version))
    return version


def card_of(version: MerchantCard) -> Card:
    """What a version says."""
    return Card(
        intro=version.intro,
        address=version.address,
        hours=version.hours,
        picture_id=version.picture_id,
        public_phone=version.public_phone,
        latitude=version.latitude,
        longitude=version.longitude,
    )


def reject(
    session: Session,
    *,
    card_id: int,
    operator_id: int,
    reason: str,
    now: datetime,
    was: ReviewState = ReviewState.PENDING,
) -> MerchantCard:
    """Send a version back with a reason; one that was shown already leaves an empty card behind."""
    version = decide(
        session,
        MerchantCard,
        card_id,
        was=was,
        now_is=ReviewState.REJECTED,
        operator_id=operator_id,
        now=now,
        reason=reason,
    )
    if was is ReviewState.APPROVED:
        _put_in_force(session, version.merchant_id, Card())
    return version


def newest(session: Session, *, merchant_id: int) -> MerchantCard | None:
    """The version its author last handed in, while it waits or was refused."""
    row = session.scalar(
        select(MerchantCard)
        .where(MerchantCard.merchant_id == merchant_id, MerchantCard.review != ReviewState.WITHDRAWN)
        .order_by(MerchantCard.id.desc())
        .limit(1)
    )
    return row if row is not None and row.review != ReviewState.APPROVED else None


def waiting_for_review(session: Session, *, limit: int = 50) -> list[MerchantCard]:
    """What the operator has to look at, oldest first."""
    waiting = select(MerchantCard).where(MerchantCard.review == ReviewState.PENDING)
    return list(session.scalars(waiting.order_by(MerchantCard.id).limit(limit)))


def decided(session: Session, *, limit: int = 20) -> list[MerchantCard]:
    """What was decided lately, the newest decision first."""
    done = select(MerchantCard).where(MerchantCard.review.in_((ReviewState.APPROVED, ReviewState.REJECTED)))
    return list(session.scalars(done.order_by(MerchantCard.reviewed_at.desc(), MerchantCard.id.desc()).limit(limit)))


def count_waiting(session: Session) -> int:
    waiting = select(func.count()).select_from(MerchantCard).where(MerchantCard.review == ReviewState.PENDING)
    return session.execute(waiting).scalar_one()


def doubts(card: MerchantCard, *, hosts: frozenset[str], listed: Sequence[ListedWord]) -> list[Finding]:
    """What the linter would have reworded."""
    return [one for words in (card.intro, card.address, card.hours) for one in lint(words, hosts=hosts, listed=listed)]


def _checked(session: Session, merchant_id: int, card: Card, hosts: frozenset[str]) -> Card:
    values = {
        "intro": clean(card.intro, name=Phrase("介绍"), field="intro", longest=500, lines=True),
        "address": clean(card.address, name=Phrase("地址"), field="address", longest=100),
        "hours": clean(card.hours, name=Phrase("营业时间"), field="hours", longest=100),
    }
    public_phone = phone_number(card.public_phone, field="public_phone")
    listed = sensitive_words.listed(session)
    for field, value in values.items():
        refuse_bad_wording(value, field=field, hosts=hosts, listed=listed)
    own_picture = select(Picture.id).filter_by(id=card.picture_id, merchant_id=merchant_id)
    if card.picture_id is not None and session.scalar(own_picture) is None:
        raise NotFound("没有这张图片。")
    latitude, longitude = positions.read(positions.written(card.latitude, card.longitude))
    return Card(**values, picture_id=card.picture_id, public_phone=public_phone, latitude=latitude, longitude=longitude)


def _put_in_force(session: Session, merchant_id: int, card: Card) -> None:
    mine = update(Merchant).where(Merchant.id == merchant_id)
    if not rows_changed(session.execute(mine.values(**asdict(card)))):
        raise NotFound("没有这个商户。")
