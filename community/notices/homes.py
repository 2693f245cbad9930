"""Where an owner says they live: told of their own accord, for one purpose, and taken back as easily.

It decides which notices somebody is shown, and by which building a reader is counted. Nothing else may ask for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from community.notices.models import Building, OwnerHome
from core.errors import Invalid
from merchants.models import Community


@dataclass(frozen=True)
class Home:
    """A community, and perhaps a building of it."""

    community_id: int
    community_name: str
    building_id: int | None
    building_name: str


def of(session: Session, *, follower_id: int) -> Home | None:
    """What this person told, if anything."""
    row = session.execute(
        select(OwnerHome.community_id, Community.name, OwnerHome.building_id, Building.name)
        .join(Community, Community.id == OwnerHome.community_id)
        .outerjoin(Building, Building.id == OwnerHome.building_id)
        .where(OwnerHome.follower_id == follower_id)
    ).one_or_none()
    return None if row is None else Home(row[0], row[1], row[2], row[3] or "")


def choose(
    session: Session,
    *,
    follower_id: int,
    account_id: int,
    community_id: int,
    building_id: int | None,
    now: datetime,
) -> None:
    """Keep it, in the place of what was told before. Raises `Invalid` for a place that is not there."""
    community = select(Community.id).where(Community.id == community_id, Community.account_id == account_id)
    if session.scalar(community) is None:
        raise Invalid("没有这个小区，请重新选。", field="community")
    if building_id is not None and not session.scalar(
        select(Building.id).where(Building.id == building_id, Building.community_id == community_id)
    ):
        raise Invalid("这个小区里没有这栋楼，请重新选。", field="building")
    told = {"community_id": community_id, "building_id": building_id, "chosen_at": now}
    new = insert(OwnerHome).values(follower_id=follower_id, **told)
    session.execute(new.on_conflict_do_update(index_elements=["follower_id"], set_=told))


def forget(session: Session, *, follower_id: int) -> None:
    """As easily as it was given."""
    session.execute(delete(OwnerHome).where(OwnerHome.follower_id == follower_id))
