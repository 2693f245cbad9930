"""The operator's hand on the directory: categories, entries, their order, and the positions that are paid for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete, func, insert, select, text, tuple_, update
from sqlalchemy.orm import Session

from campaigns.broadcasts.spelling import plain
from community.directory.models import DirectoryCategory, DirectoryEntry, DirectoryEntryCommunity
from community.directory.phones import tidy
from core.database import rows_changed
from core.errors import BusinessError, Invalid, NotFound, Phrase
from merchants import sensitive_words
from merchants.models import Community, Merchant, OfficialAccount
from merchants.wording import clean, refuse_bad_wording

NAME_MAX: Final = 30
WHAT_MAX: Final = 60
CATEGORY_MAX: Final = 10
MOST_CATEGORIES: Final = 100
MOST_ALIASES: Final = 20
LONGEST_PAID: Final = timedelta(days=370)
_BETWEEN: Final = re.compile(r"[,，、;；\s]+")


USUAL: Final = (
    ("锁匠", "开锁 换锁 修锁 配钥匙"),
    ("水电维修", "水管 电工 水电工 通下水道 马桶疏通 漏水"),
    ("家电维修", "修空调 修冰箱 修洗衣机 修电视"),
    ("家政", "保洁 钟点工 保姆 月嫂 阿姨"),
    ("搬家", "搬运 拉货"),
    ("快递", "寄快递 驿站 取件"),
    ("物业", "物业服务 物业电话"),
    ("医院诊所", "社区医院 诊所 卫生站"),
    ("送水送气", "桶装水 煤气 燃气"),
    ("废品回收", "收废品 回收"),
)
"""What most neighbourhoods begin with."""


class InUse(BusinessError):
    code = "category_in_use"
    message = "这个分类里还有电话，先移走或删除它们。"


class Full(BusinessError):
    code = "too_many_categories"
    message = "分类已经很多了，邻居会找不到。请先合并几个。"


@dataclass(frozen=True)
class Draft:
    """An entry as it is written down."""

    name: str
    phone: str
    category_id: int
    what: str = ""
    hours: str = ""
    address: str = ""
    community_ids: tuple[int, ...] = ()
    """Whom it serves; nobody in particular means everybody."""
    paid_from: datetime | None = None
    paid_until: datetime | None = None
    merchant_id: int | None = None
    is_on: bool = True


# ---- Categories ----


def add_category(session: Session, *, account_id: int, name: str, aliases: str = "") -> int:
    """A new one at the end; a word leads to one category only."""
    values = _category(session, account_id=account_id, name=name, aliases=aliases)
    counted, last = session.execute(
        select(func.count(), func.coalesce(func.max(DirectoryCategory.position), 0)).where(
            DirectoryCategory.account_id == account_id
        )
    ).one()
    if counted >= MOST_CATEGORIES:
        raise Full
    new = insert(DirectoryCategory).values(account_id=account_id, position=last + 1, **values)
    return int(session.execute(new.returning(DirectoryCategory.id)).scalar_one())


def add_usual(session: Session, *, account_id: int) -> int:
    """Begin with the usual categories, those whose words are free; returns how many."""
    added = 0
    for name, aliases in USUAL:
        try:
            add_category(session, account_id=account_id, name=name, aliases=aliases)
        except Invalid:
            continue
        added += 1
    return added


def edit_category(session: Session, *, account_id: int, category_id: int, name: str, aliases: str) -> None:
    """What it is called, and what else leads to it."""
    values = _category(session, account_id=account_id, name=name, aliases=aliases, but=category_id)
    category(session, account_id=account_id, category_id=category_id)
    session.execute(update(DirectoryCategory).where(DirectoryCategory.id == category_id).values(**values))


def remove_category(session: Session, *, account_id: int, category_id: int) -> None:
    """Only an empty one goes."""
    category(session, account_id=account_id, category_id=category_id)
    if session.scalar(select(DirectoryEntry.id).where(DirectoryEntry.category_id == category_id).limit(1)):
        raise InUse
    session.execute(delete(DirectoryCategory).where(DirectoryCategory.id == category_id))


def move_category(session: Session, *, account_id: int, category_id: int, by: int) -> None:
    """One place up (-1) or down (1)."""
    category(session, account_id=account_id, category_id=category_id)
    ids = session.scalars(
        select(DirectoryCategory.id)
        .where(DirectoryCategory.account_id == account_id)
        .order_by(DirectoryCategory.position, DirectoryCategory.id)
        .with_for_update()
    ).all()
    _renumber(session, "directory_category", _moved(ids, category_id, by))


def listed_categories(session: Session, *, account_id: int) -> list[tuple[DirectoryCategory, int]]:
    """All of them with how many entries each has, switched off ones too."""
    rows = session.execute(
        select(DirectoryCategory, func.count(DirectoryEntry.id))
        .outerjoin(DirectoryEntry, DirectoryEntry.category_id == DirectoryCategory.id)
        .where(DirectoryCategory.account_id == account_id)
        .group_by(DirectoryCategory.id)
        .order_by(DirectoryCategory.position, DirectoryCategory.id)
    )
    return [(row[0], row[1]) for row in rows]


def _category(
    session: Session, *, account_id: int, name: str, aliases: str, but: int | None = None
) -> dict[str, object]:
    named = clean(name, name=Phrase("分类"), field="name", longest=CATEGORY_MAX, is_required=True)
    words = list(
        dict.fromkeys(
            clean(word, name=Phrase("别名"), field="aliases", longest=CATEGORY_MAX)
            for word in _BETWEEN.split(aliases)
            if word
        )
    )
    if len(words) > MOST_ALIASES:
        raise Invalid("别名最多 %(most)s 个。", field="aliases", most=MOST_ALIASES)
    refuse_bad_wording(" ".join((named, *words)), field="name")
    if not plain(named):
        raise Invalid("分类要有文字。", field="name")
    # Two operators who name a category at once come one after the other; nobody else waits for this lock.
    session.execute(select(OfficialAccount.id).where(OfficialAccount.id == account_id).with_for_update(key_share=True))
    taken = {
        plain(word): other.name
        for other in session.scalars(select(DirectoryCategory).where(DirectoryCategory.account_id == account_id))
        if other.id != but
        for word in (other.name, *other.aliases)
    }
    for field, word in (("name", named), *(("aliases", word) for word in words)):
        if plain(word) in taken:
            raise Invalid("“%(word)s”已经属于“%(category)s”。", field=field, word=word, category=taken[plain(word)])
    return {"name": named, "aliases": words}


def category(session: Session, *, account_id: int, category_id: int) -> DirectoryCategory:
    """One category of the account."""
    found = session.scalar(select(DirectoryCategory).filter_by(id=category_id, account_id=account_id))
    if found is None:
        raise NotFound("没有这个分类。")
    return found


# ---- Entries ----


def add(session: Session, *, account_id: int, draft: Draft, now: datetime) -> int:
    """A new entry at the end of its category."""
    values = _entry(session, account_id=account_id, draft=draft)
    last = select(func.coalesce(func.max(DirectoryEntry.position), 0) + 1).where(
        DirectoryEntry.category_id == draft.category_id
    )
    new = insert(DirectoryEntry).values(
        account_id=account_id, position=last.scalar_subquery(), created_at=now, changed_at=now, **values
    )
    entry_id = int(session.execute(new.returning(DirectoryEntry.id)).scalar_one())
    _serve(session, account_id, entry_id, draft.community_ids)
    return entry_id


def edit(session: Session, *, account_id: int, entry_id: int, draft: Draft, now: datetime) -> None:
    """Everything that is said of an entry, anew."""
    former = entry(session, account_id=account_id, entry_id=entry_id)
    values = _entry(session, account_id=account_id, draft=draft)
    if former.category_id != draft.category_id:
        last = select(func.max(DirectoryEntry.position)).where(DirectoryEntry.category_id == draft.category_id)
        values["position"] = (session.scalar(last) or 0) + 1
    session.execute(update(DirectoryEntry).where(DirectoryEntry.id == entry_id).values(changed_at=now, **values))
    session.execute(delete(DirectoryEntryCommunity).where(DirectoryEntryCommunity.entry_id == entry_id))
    _serve(session, account_id, entry_id, draft.community_ids)


def entry(session: Session, *, account_id: int, entry_id: int) -> DirectoryEntry:
    """One entry of the account."""
    found = session.scalar(
        select(DirectoryEntry).where(DirectoryEntry.id == entry_id, DirectoryEntry.account_id == account_id)
    )
    if found is None:
        raise NotFound("没有这条电话。")
    return found


def serves(session: Session, *, entry_ids: Sequence[int]) -> dict[int, list[int]]:
    """The communities that entries are for, by entry; those for all are missing."""
    found: dict[int, list[int]] = {}
    rows = select(DirectoryEntryCommunity.entry_id, DirectoryEntryCommunity.community_id).where(
        DirectoryEntryCommunity.entry_id.in_(entry_ids)
    )
    for entry_id, community_id in session.execute(rows.order_by(DirectoryEntryCommunity.community_id)):
        found.setdefault(entry_id, []).append(community_id)
    return found


def switch(session: Session, *, account_id: int, entry_id: int, is_on: bool, now: datetime) -> None:
    """Show an entry, or keep it back."""
    mine = update(DirectoryEntry).where(DirectoryEntry.id == entry_id, DirectoryEntry.account_id == account_id)
    if not rows_changed(session.execute(mine.values(is_on=is_on, changed_at=now))):
        raise NotFound("没有这条电话。")


def remove(session: Session, *, account_id: int, entry_id: int) -> None:
    """Gone, with whom it served."""
    mine = delete(DirectoryEntry).where(DirectoryEntry.id == entry_id, DirectoryEntry.account_id == account_id)
    if not rows_changed(session.execute(mine)):
        raise NotFound("没有这条电话。")


def move(session: Session, *, account_id: int, entry_id: int, by: int) -> None:
    """One place up (-1) or down (1) within its category."""
    category_id = entry(session, account_id=account_id, entry_id=entry_id).category_id
    ids = session.scalars(
        select(DirectoryEntry.id)
        .where(DirectoryEntry.category_id == category_id)
        .order_by(DirectoryEntry.position, DirectoryEntry.id)
        .with_for_update()
    ).all()
    _renumber(session, "directory_entry", _moved(ids, entry_id, by))


def listed(
    session: Session,
    *,
    account_id: int,
    search: str = "",
    category_id: int | None = None,
    after: int | None = None,
    limit: int = 50,
) -> list[DirectoryEntry]:
    """Entries in their order, those behind the entry `after`."""
    order = (DirectoryCategory.position, DirectoryEntry.position, DirectoryEntry.id)
    statement = (
        select(DirectoryEntry)
        .join(DirectoryCategory, DirectoryCategory.id == DirectoryEntry.category_id)
        .where(DirectoryEntry.account_id == account_id)
        .order_by(*order)
        .limit(limit)
    )
    if category_id is not None:
        statement = statement.where(DirectoryEntry.category_id == category_id)
    if words := search.strip():
        columns = (DirectoryEntry.name, DirectoryEntry.phone, DirectoryEntry.what, DirectoryEntry.address)
        one, *others = [column.icontains(words, autoescape=True) for column in columns]
        for other in others:
            one |= other
        statement = statement.where(one)
    if after is not None:
        last = select(*order).join(DirectoryCategory, DirectoryCategory.id == DirectoryEntry.category_id)
        place = session.execute(last.where(DirectoryEntry.id == after)).one_or_none()
        if place is None:
            raise NotFound("没有这条电话。")
        statement = statement.where(tuple_(*order) > tuple_(*place))
    return list(session.scalars(statement))


def _entry(session: Session, *, account_id: int, draft: Draft) -> dict[str, object]:
    texts = {
        "name": clean(draft.name, name=Phrase("名称"), field="name", longest=NAME_MAX, is_required=True),
        "what": clean(draft.what, name=Phrase("做什么"), field="what", longest=WHAT_MAX),
        "hours": clean(draft.hours, name=Phrase("时间"), field="hours", longest=40),
        "address": clean(draft.address, name=Phrase("地址"), field="address", longest=100),
    }
    listed_words = sensitive_words.listed(session)
    for field, value in texts.items():
        refuse_bad_wording(value, field=field, listed=listed_words)
    category(session, account_id=account_id, category_id=draft.category_id)
    if draft.merchant_id is not None and not session.scalar(
        select(Merchant.id).filter_by(id=draft.merchant_id, account_id=account_id)
    ):
        raise Invalid("没有这家商户。", field="merchant")
    return {
        **texts,
        "phone": tidy(draft.phone),
        "comparable": plain(texts["name"] + texts["what"]),
        "category_id": draft.category_id,
        "merchant_id": draft.merchant_id,
        "is_on": draft.is_on,
        **_paid(draft),
    }


def _paid(draft: Draft) -> dict[str, datetime | None]:
    """A paid position begins and ends; nobody pays for ever."""
    since, until = draft.paid_from, draft.paid_until
    if since is None and until is None:
        return {"paid_from": None, "paid_until": None}
    if since is None or until is None:
        raise Invalid("推广要写开始和结束两个日期。", field="paid_until" if until is None else "paid_from")
    if until <= since:
        raise Invalid("推广的结束日期要在开始之后。", field="paid_until")
    if until - since > LONGEST_PAID:
        raise Invalid("推广一次最长一年。", field="paid_until")
    return {"paid_from": since, "paid_until": until}


def _serve(session: Session, account_id: int, entry_id: int, community_ids: Sequence[int]) -> None:
    wanted = sorted(set(community_ids))
    known = (
        select(func.count()).select_from(Community).where(Community.account_id == account_id, Community.id.in_(wanted))
    )
    if wanted and session.scalar(known) != len(wanted):
        raise Invalid("没有这个社区。", field="communities")
    for community_id in wanted:
        session.execute(
            insert(DirectoryEntryCommunity).values(account_id=account_id, entry_id=entry_id, community_id=community_id)
        )


def _moved(ids: Sequence[int], one: int, by: int) -> list[int]:
    order = list(ids)
    place = order.index(one)
    order.insert(max(0, place + by), order.pop(place))
    return order


_RENUMBER: Final = {
    table: text(f"""
        UPDATE {table} t SET position = new.place
        FROM unnest(CAST(:ids AS bigint[])) WITH ORDINALITY AS new (id, place)
        WHERE t.id = new.id AND t.position <> new.place""")
    for table in ("directory_category", "directory_entry")
}


def _renumber(session: Session, table: str, ids: Sequence[int]) -> None:
    session.execute(_RENUMBER[table], {"ids": list(ids)})
