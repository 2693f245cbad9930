"""The directory as a table: what an operator brings is checked line by line and taken whole or not at all."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from campaigns.broadcasts.spelling import plain
from community.directory import writing
from community.directory.models import DirectoryCategory, DirectoryEntry
from community.directory.phones import shown, tidy
from community.directory.writing import Draft
from core.clock import SHANGHAI, YEARS, business_day, start_of_day
from core.errors import Invalid
from core.sheets import Cell, Sheet
from merchants.models import Community

MOST_ROWS: Final = 1_000
CATEGORY, NAME, PHONE, WHAT, HOURS, ADDRESS, COMMUNITIES, PAID_FROM, PAID_UNTIL, STATE = COLUMNS = (
    "分类", "名称", "电话", "做什么", "时间", "地址", "服务社区", "推广从", "推广到", "状态",
)  # fmt: skip
EXAMPLES: Final = (
    ("锁匠", "老张开锁", "138 0013 8000", "开锁换锁芯", "全天", "东门口", "", "", "", ""),
    ("水电维修", "小李水电", "0551-65550000", "水管、电路、马桶", "8:00–20:00", "", "", "", "", ""),
)
OFF: Final = "停用"
_DAYS: Final = ("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%Y年%m月%d日", "%Y-%m-%d %H:%M:%S")
_BETWEEN: Final = re.compile(r"[,，、;；]+")


@dataclass
class Line:
    """One line: what was typed, and what is wrong with it if anything is."""

    number: int
    cells: Mapping[str, str]
    faults: list[Invalid] = field(default_factory=list)


@dataclass(frozen=True)
class Taken:
    """What came of a table; with faults in a line nothing has."""

    lines: list[Line]
    added: int = 0
    changed: int = 0
    categories: int = 0

    @property
    def faulty(self) -> list[Line]:
        return [line for line in self.lines if line.faults]


def take(session: Session, sheet: Sheet, *, account_id: int, now: datetime) -> Taken:
    """Add every line, or change the entry that has its category, name and number already; new categories are made.

    Where a line has a fault, all that was written is taken back and every fault is told.
    """
    unknown = [head for head in sheet.heads if head not in COLUMNS]
    if unknown:
        raise Invalid("不认识的列“%(head)s”。请用模板里的列名。", field="file", head=unknown[0])
    for needed in (CATEGORY, NAME, PHONE):
        if needed not in sheet.heads:
            raise Invalid("缺少“%(head)s”这一列。", field="file", head=needed)
    lines = [Line(number, dict(zip(sheet.heads, cells, strict=False))) for number, cells in sheet.rows]
    with session.begin_nested() as whole:
        taken = _Taking(session, account_id, now).all(lines)
        if taken.faulty:
            whole.rollback()
    return taken


class _Taking:
    """One table on its way in."""

    def __init__(self, session: Session, account_id: int, now: datetime) -> None:
        self.session, self.account_id, self.now = session, account_id, now
        self.communities = {
            one.name: one.id for one in session.scalars(select(Community).where(Community.account_id == account_id))
        }
        self.categories = {
            plain(word): one.id
            for one in session.scalars(select(DirectoryCategory).where(DirectoryCategory.account_id == account_id))
            for word in (one.name, *one.aliases)
        }
        self.known = {
            (one.category_id, one.name, one.phone): one
            for one in session.scalars(select(DirectoryEntry).where(DirectoryEntry.account_id == account_id))
        }
        self.seen: set[tuple[int, str, str]] = set()

    def all(self, lines: list[Line]) -> Taken:
        added = changed = 0
        before = len(set(self.categories.values()))
        for line in lines:
            try:
                is_new = self.one(line.cells)
            except Invalid as fault:
                line.faults.append(fault)
            else:
                added, changed = added + is_new, changed + (not is_new)
        return Taken(lines, added, changed, len(set(self.categories.values())) - before)

    def one(self, cells: Mapping[str, str]) -> bool:
        """Whether it was new."""
        draft = Draft(
            name=cells.get(NAME, ""),
            phone=cells.get(PHONE, ""),
            category_id=self.category(cells.get(CATEGORY, "")),
            what=cells.get(WHAT, ""),
            hours=cells.get(HOURS, ""),
            address=cells.get(ADDRESS, ""),
            community_ids=tuple(self.community(name) for name in _BETWEEN.split(cells.get(COMMUNITIES, "")) if name),
            paid_from=day(cells.get(PAID_FROM, ""), PAID_FROM),
            paid_until=day(cells.get(PAID_UNTIL, ""), PAID_UNTIL, last=True),
            is_on=cells.get(STATE, "") != OFF,
        )
        key = (draft.category_id, draft.name.strip(), tidy(draft.phone))
        if key in self.seen:
            raise Invalid("和上面的一行重复了。")
        self.seen.add(key)
        known = self.known.get(key)
        given = {"account_id": self.account_id, "now": self.now}
        if known is None:
            writing.add(self.session, **given, draft=draft)  # type: ignore[arg-type]
            return True
        kept = Draft(**{**draft.__dict__, "merchant_id": known.merchant_id})
        writing.edit(self.session, **given, entry_id=known.id, draft=kept)  # type: ignore[arg-type]
        return False

    def category(self, name: str) -> int:
        if plain(name) not in self.categories:
            made = writing.add_category(self.session, account_id=self.account_id, name=name)
            self.categories[plain(name)] = made
        return self.categories[plain(name)]

    def community(self, name: str) -> int:
        try:
            return self.communities[name.strip()]
        except KeyError:
            raise Invalid("没有“%(name)s”这个社区。", name=name.strip()) from None


def day(typed: str, column: str, *, last: bool = False, name: str = "") -> datetime | None:
    """The beginning of a day that was typed; for the `last` day of something, its end."""
    if not typed.strip():
        return None
    for pattern in _DAYS:
        try:
            found = datetime.strptime(typed.strip(), pattern).replace(tzinfo=SHANGHAI)
        except ValueError:
            continue
        if found.year not in YEARS:
            break
        return start_of_day(found.date() + timedelta(days=1 if last else 0))
    raise Invalid("“%(column)s”的日期看不懂，请写成 2026-12-31。", field=name, column=column)


def last_day(end: datetime | None) -> str:
    """The last day of what ends at a moment, as it is typed."""
    return f"{business_day(end - timedelta(microseconds=1))}" if end else ""


def rows(session: Session, *, account_id: int) -> Iterator[Sequence[Cell]]:
    """The whole directory, as `take` takes it."""
    names = {one.id: one.name for one in session.scalars(select(Community).where(Community.account_id == account_id))}
    categories = {one.id: one.name for one, _count in writing.listed_categories(session, account_id=account_id)}
    after: int | None = None
    while entries := writing.listed(session, account_id=account_id, after=after, limit=500):
        served = writing.serves(session, entry_ids=[entry.id for entry in entries])
        for entry in entries:
            yield (
                categories[entry.category_id], entry.name, shown(entry.phone), entry.what, entry.hours, entry.address,
                "、".join(names[one] for one in served.get(entry.id, ())),
                f"{business_day(entry.paid_from)}" if entry.paid_from else "",
                last_day(entry.paid_until),
                "" if entry.is_on else OFF,
            )  # fmt: skip
        after = entries[-1].id
