"""What hangs on 桂花里's board: whom one calls, what is posted, and the buildings. Numbers are nobody's."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.orm import Session

from community.directory import sheet, writing
from community.notices import buildings
from community.notices import writing as notices
from community.notices.writing import Draft, Place
from core.clock import business_day
from core.sheets import Sheet

BUILDINGS: Final = "1-8号楼"
NUMBERS: Final[tuple[tuple[str, ...], ...]] = (
    ("锁匠", "老周开锁", "555 0101", "开锁、换锁芯、配钥匙", "8:00–21:00", "弄堂口修车摊旁"),
    ("锁匠", "平安开锁", "555 0102", "汽车锁、保险柜", "全天", ""),
    ("水电维修", "小李水电", "555 0103", "水管、马桶、跳闸", "8:00–20:00", ""),
    ("家电维修", "阿强家电", "555 0104", "空调、洗衣机、冰箱", "9:00–18:00", "2 弄 15 号"),
    ("家政", "桂姐保洁", "555 0105", "钟点工、擦玻璃", "", ""),
    ("搬家", "快步搬运", "555 0106", "", "提前一天约", ""),
    ("快递", "菜鸟驿站", "555 0107", "寄件、取件", "9:00–21:00", "东门内"),
    ("医院诊所", "桂花里社区卫生站", "555 0108", "", "8:00–17:00", "1 弄 2 号"),
)
PAID: Final[str] = "平安开锁"


def hang(
    session: Session, *, account_id: int, community_id: int, operator_id: int, hosts: frozenset[str], now: datetime
) -> None:
    """Put it all up, once; with one position and one notice that are paid for and say so."""
    if writing.listed(session, account_id=account_id, limit=1):
        return
    writing.add_usual(session, account_id=account_id)
    buildings.add_many(session, account_id=account_id, community_id=community_id, names=BUILDINGS)
    today, soon = f"{business_day(now)}", f"{business_day(now) + timedelta(days=30)}"
    lines = [[*line, "", *((today, soon) if line[1] == PAID else ())] for line in NUMBERS]
    taken = sheet.take(
        session, Sheet(list(sheet.COLUMNS), list(enumerate(lines, start=2))), account_id=account_id, now=now
    )
    assert not taken.faulty, taken.faulty  # noqa: S101
    first = buildings.listed(session, community_id=community_id)[0]
    for draft in (
        Draft("明天 9 点到 12 点停水", "供水公司换阀门，1 弄到 4 弄停水，请提前存水。", now - timedelta(hours=20),
              now + timedelta(days=2), is_pinned=True, places=(Place(community_id),)),
        Draft("1 号楼电梯保养", "周六上午 1 号楼电梯停用两小时，请走楼梯。", now - timedelta(hours=5),
              now + timedelta(days=7), places=(Place(community_id, first.id),)),
        Draft("平安开锁：换锁芯上门检查免费", "老锁芯不放心的，打电话约时间，换不换都不收检查费。",
              now - timedelta(hours=2), now + timedelta(days=30), is_paid=True),
    ):  # fmt: skip
        notice_id = notices.create(
            session, account_id=account_id, draft=draft, operator_id=operator_id, hosts=hosts, now=now
        )
        notices.publish(session, account_id=account_id, notice_id=notice_id, operator_id=operator_id, now=now)
