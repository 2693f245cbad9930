"""What the owners' pages read that is nobody's in particular; only columns that the fan role may see are named."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from campaigns.coupons.models import CouponTemplate
from core.errors import NotFound
from merchants import positions
from merchants.models import Community, Merchant, OfficialAccount, Picture


@dataclass(frozen=True)
class Shop:
    """What a merchant shows of itself."""

    id: int
    name: str
    kind: str
    intro: str
    address: str
    hours: str
    phone: str
    picture: str | None
    community_name: str
    position: str
    """latitude,longitude; empty where nobody told."""


def shop(session: Session, shop_id: int) -> Shop:
    """An open shop; a closed one is as missing as one that never was."""
    row = session.execute(
        select(
            Merchant.id, Merchant.name, Merchant.kind, Merchant.intro, Merchant.address, Merchant.hours,
            Merchant.public_phone, Picture.public_id, Community.name, Merchant.latitude, Merchant.longitude,
        )
        .join(Community, Community.id == Merchant.community_id)
        .outerjoin(Picture, Picture.id == Merchant.picture_id)
        .where(Merchant.id == shop_id)
    ).one_or_none()  # fmt: skip
    if row is None:
        raise NotFound("没有找到这家店，它可能暂停营业了。")
    return Shop(*row[:9], positions.written(row[9], row[10]))


def account_id(session: Session, *, app_id: str) -> int:
    """The account whose pages these are."""
    found = session.scalar(select(OfficialAccount.id).where(OfficialAccount.app_id == app_id))
    if found is None:
        raise NotFound("还没有登记公众号。")
    return found


def template(session: Session, public_id: str) -> CouponTemplate:
    """A coupon that is or was given."""
    found = session.scalar(select(CouponTemplate).where(CouponTemplate.public_id == public_id))
    if found is None:
        raise NotFound("没有找到这张券，它可能已经下架了。")
    return found


def picture(session: Session, picture_id: int | None) -> str | None:
    """The address part of a picture."""
    return session.scalar(select(Picture.public_id).where(Picture.id == picture_id)) if picture_id else None


def shop_names(session: Session, shop_ids: Iterable[int]) -> list[tuple[int, str]]:
    """Those of them that are open, by name."""
    found = select(Merchant.id, Merchant.name).where(Merchant.id.in_(list(shop_ids))).order_by(Merchant.name)
    return [(row.id, row.name) for row in session.execute(found)]
