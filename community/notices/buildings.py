"""The buildings of a community, as the operator lists them."""

from __future__ import annotations

import re
from typing import Final

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.orm import Session

from community.notices.models import Building, NoticePlace, OwnerHome
from core.errors import BusinessError, Invalid, NotFound, Phrase
from merchants.models import Community
from merchants.wording import clean, refuse_bad_wording

NAME_MAX: Final = 20
MOST: Final = 500
_LINES: Final = re.compile(r"[\n,，、;；]+")
_RANGE: Final = re.compile(r"(\D*?)(\d{1,3})\s*[-~—–至到]\s*(\d{1,3})(\D+)")


class InUse(BusinessError):
    code = "building_in_use"
    message = "有公告发给过这栋楼，不能删除，可以改名。"


def listed(session: Session, *, community_id: int) -> list[Building]:
    """All of one community, in order."""
    return list(
        session.scalars(
            select(Building).where(Building.community_id == community_id).order_by(Building.position, Building.id)
        )
    )


def by_community(session: Session, *, account_id: int) -> dict[int, list[Building]]:
    """All of the account's communities; those without any are missing."""
    found: dict[int, list[Building]] = {}
    rows = (
        select(Building)
        .join(Community, Community.id == Building.community_id)
        .where(Community.account_id == account_id)
        .order_by(Building.position, Building.id)
    )
    for building in session.scalars(rows):
        found.setdefault(building.community_id, []).append(building)
    return found


def add_many(session: Session, *, account_id: int, community_id: int, names: str) -> int:
    """Add what is missing of a list, one a line; "1-12号楼" means twelve. Returns how many are new."""
    community(session, account_id=account_id, community_id=community_id)
    wanted = names_in(names)
    for name in wanted:
        refuse_bad_wording(name, field="names")
    known = {one.name for one in listed(session, community_id=community_id)}
    new = [name for name in wanted if name not in known]
    if len(known) + len(new) > MOST:
        raise Invalid("一个社区最多 %(most)s 栋楼。", field="names", most=MOST)
    last = session.scalar(
        select(func.coalesce(func.max(Building.position), 0)).where(Building.community_id == community_id)
    )
    for number, name in enumerate(new, (last or 0) + 1):
        session.execute(insert(Building).values(community_id=community_id, name=name, position=number))
    return len(new)


def names_in(names: str) -> list[str]:
    """The names that a list spells out, each once."""
    found: list[str] = []
    for line in _LINES.split(names.replace("\r", "\n")):
        if not line.strip():
            continue
        span = _RANGE.fullmatch(line.strip())
        if span and int(span[2]) <= int(span[3]):
            if int(span[3]) - int(span[2]) >= MOST:
                raise Invalid("一次最多 %(most)s 栋楼。", field="names", most=MOST)
            found += [f"{span[1]}{number}{span[4]}" for number in range(int(span[2]), int(span[3]) + 1)]
        else:
            found.append(line)
    if not found:
        raise Invalid("请写楼栋名称，一行一栋。", field="names")
    return list(
        dict.fromkeys(
            clean(name, name=Phrase("楼栋"), field="names", longest=NAME_MAX, is_required=True) for name in found
        )
    )


def rename(session: Session, *, account_id: int, building_id: int, name: str) -> None:
    """What its people call it."""
    found = one(session, account_id=account_id, building_id=building_id)
    wanted = clean(name, name=Phrase("楼栋"), field="name", longest=NAME_MAX, is_required=True)
    refuse_bad_wording(wanted, field="name")
    twin = select(Building.id).where(
        Building.community_id == found.community_id, Building.name == wanted, Building.id != building_id
    )
    if session.scalar(twin):
        raise Invalid("已经有一栋叫这个名字的楼。", field="name")
    session.execute(update(Building).where(Building.id == building_id).values(name=wanted))


def remove(session: Session, *, account_id: int, building_id: int) -> None:
    """Take it off the list. Who lived there by their own account keeps the community; where a notice went stays."""
    one(session, account_id=account_id, building_id=building_id)
    if session.scalar(select(NoticePlace.id).where(NoticePlace.building_id == building_id).limit(1)):
        raise InUse
    session.execute(update(OwnerHome).where(OwnerHome.building_id == building_id).values(building_id=None))
    session.execute(delete(Building).where(Building.id == building_id))


def one(session: Session, *, account_id: int, building_id: int) -> Building:
    """A building of the account."""
    found = session.scalar(
        select(Building)
        .join(Community, Community.id == Building.community_id)
        .where(Building.id == building_id, Community.account_id == account_id)
    )
    if found is None:
        raise NotFound("没有这栋楼。")
    return found


def people(session: Session, *, account_id: int) -> dict[tuple[int, int | None], int]:
    """How many owners said they live in a community (with None) or in one building of it."""
    rows = session.execute(
        select(OwnerHome.community_id, OwnerHome.building_id, func.count())
        .join(Community, Community.id == OwnerHome.community_id)
        .where(Community.account_id == account_id)
        .group_by(OwnerHome.community_id, OwnerHome.building_id)
    )
    return {(row[0], row[1]): row[2] for row in rows}


def names_of_places(session: Session, *, notice_id: int) -> list[str]:
    """Whom a notice is for, a community at a time: 东苑 1号楼、2号楼; nothing where it is for everybody."""
    rows = session.execute(
        select(Community.name, Building.name)
        .select_from(NoticePlace)
        .join(Community, Community.id == NoticePlace.community_id)
        .outerjoin(Building, Building.id == NoticePlace.building_id)
        .where(NoticePlace.notice_id == notice_id)
        .order_by(Community.id, Building.position, Building.id)
    )
    found: dict[str, list[str]] = {}
    for place, building in rows:
        found.setdefault(place, []).extend([building] if building else [])
    return [f"{place} {'、'.join(named)}".strip() for place, named in found.items()]


def community(session: Session, *, account_id: int, community_id: int) -> None:
    """Raises `NotFound` unless it is one of the account's; its row lock puts two lists for one community in order."""
    mine = select(Community.id).where(Community.id == community_id, Community.account_id == account_id)
    if session.scalar(mine.with_for_update()) is None:
        raise NotFound("没有这个社区。")
