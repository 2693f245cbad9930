"""What public pages read. Only columns that the fan role may see are named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, or_, select, tuple_
from sqlalchemy.orm import Session

from merchants.models import Community, Merchant, OfficialAccount, Picture
from qrcodes.counted import MerchantStanding
from qrcodes.models import CodeKind, SubQrCode

LAST = 2**31 - 1
"""The place of merchants that have none yet."""


@dataclass(frozen=True)
class Place:
    """A community and what it says of itself."""

    id: int
    name: str
    intro: str


@dataclass(frozen=True)
class Door:
    """A merchant on the front page; `code` is the public id of a code that leads to it, if it has one."""

    id: int
    name: str
    kind: str
    intro: str
    picture: str | None
    code: str | None
    rank: int | None
    """Its place in the community; None for one that came since last night."""


@dataclass(frozen=True)
class Sign:
    """A code's page: whose it is, and the code."""

    public_id: str
    label: str
    url: str | None
    """What the picture says; None where only the printed picture exists."""
    expires_at: datetime | None
    merchant_name: str
    kind: str
    intro: str
    address: str
    hours: str
    phone: str
    picture: str | None
    community_name: str


def communities(session: Session, *, app_id: str) -> list[Place]:
    """The communities of the account, oldest first."""
    rows = session.execute(
        select(Community.id, Community.name, Community.intro)
        .join(OfficialAccount, OfficialAccount.id == Community.account_id)
        .where(OfficialAccount.app_id == app_id)
        .order_by(Community.id)
    )
    return [Place(*row) for row in rows]


def doors(
    session: Session, *, community_id: int, search: str, after: int | None, limit: int, now: datetime
) -> Sequence[Door]:
    """Merchants of a community as they stand, the newest at the end; `after` is the last id of the page before."""
    # A code made to be used online says where its scans come from; else any lasting one leads to the shop.
    leads = (
        select(SubQrCode.public_id)
        .where(
            SubQrCode.merchant_id == Merchant.id,
            SubQrCode.url.is_not(None),
            or_(SubQrCode.expires_at.is_(None), SubQrCode.expires_at > now),
        )
        .order_by(SubQrCode.kind != CodeKind.ONLINE, SubQrCode.permanent.desc(), SubQrCode.id)
        .limit(1)
        .correlate(Merchant)
        .scalar_subquery()
    )
    place = func.coalesce(MerchantStanding.rank, LAST)
    statement = (
        select(
            Merchant.id, Merchant.name, Merchant.kind, Merchant.intro, Picture.public_id, leads, MerchantStanding.rank
        )
        .outerjoin(Picture, Picture.id == Merchant.picture_id)
        .outerjoin(MerchantStanding, MerchantStanding.merchant_id == Merchant.id)
        .where(Merchant.community_id == community_id)
    )
    if search:
        columns = (Merchant.name, Merchant.kind, Merchant.intro)
        statement = statement.where(or_(*(column.icontains(search, autoescape=True) for column in columns)))
    if after is not None:
        last = select(MerchantStanding.rank).where(MerchantStanding.merchant_id == after).scalar_subquery()
        statement = statement.where(tuple_(place, Merchant.id) > tuple_(func.coalesce(last, LAST), after))
    return [Door(*row) for row in session.execute(statement.order_by(place, Merchant.id).limit(limit))]


def sign(session: Session, *, public_id: str, now: datetime) -> Sign | None:
    """The page of a code that works now; retired, expired, unfinished and unknown ones are all the same None."""
    row = session.execute(
        select(
            SubQrCode.public_id,
            SubQrCode.label,
            SubQrCode.url,
            SubQrCode.expires_at,
            Merchant.name,
            Merchant.kind,
            Merchant.intro,
            Merchant.address,
            Merchant.hours,
            Merchant.public_phone,
            Picture.public_id,
            Community.name,
        )
        .join(Merchant, Merchant.id == SubQrCode.merchant_id)
        .join(Community, Community.id == Merchant.community_id)
        .outerjoin(Picture, Picture.id == Merchant.picture_id)
        .where(
            SubQrCode.public_id == public_id,
            or_(SubQrCode.expires_at.is_(None), SubQrCode.expires_at > now),
        )
    ).one_or_none()
    return None if row is None else Sign(*tuple(row))


@dataclass(frozen=True)
class Photo:
    """A picture's bytes."""

    content: bytes
    mime: str
    sha256: bytes


def photo(session: Session, *, public_id: str) -> Photo | None:
    """A picture of a merchant that is open."""
    columns = (Picture.content, Picture.mime, Picture.sha256)
    row = session.execute(select(*columns).where(Picture.public_id == public_id)).one_or_none()
    return None if row is None else Photo(*row)


def count_doors(session: Session, *, community_id: int) -> int:
    """How many merchants are open in a community."""
    return session.execute(
        select(func.count()).select_from(Merchant).where(Merchant.community_id == community_id)
    ).scalar_one()
