"""The town in which the scripted conversations take place: its shops with codes that can be scanned, and what they say.

What stands below a code on the sandbox's page is the shop's name, so that scripts scan by it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import time, timedelta
from typing import Any, Final

from sqlalchemy import insert, text

from bot.rules.content import Answer, answers_to_json
from bot.rules.models import ReplyRule, ReplyRuleVersion
from bot.talks import desk
from bot.talks.desk import Hours
from campaigns.points.models import PointsRule
from community.directory import writing as directory
from community.notices import writing as notices
from core.clock import business_day, start_of_day
from core.database import Role
from core.runtime import Runtime
from merchants import merchants, staff
from merchants.models import StaffRole
from qrcodes import codes
from tests.conftest import Live, wait_until
from tests.couponing import live_template

NOON: Final = timedelta(hours=12)
STALE_S: Final = 1.2
"""How long other processes may go on with the time as it was."""
SHOPS: Final = {
    "王记水果": "水果", "王记面馆": "面馆", "老李五金": "五金", "阿芳理发": "理发", "桂花饼屋": "糕点",
    "小城药房": "药房",
}  # fmt: skip
PLACES: Final = {"王记水果": (23.1300, 113.3500), "老李五金": (23.1400, 113.3500)}
CHECKS_IN_AT: Final = "王记水果"
PASSWORD: Final = "three pears in a boat"
KEYWORDS: Final = {"桂花饼屋": "中秋快乐"}
NIGHT: Final = {"spans": [{"days": list(range(7)), "from": "22:00", "to": "06:00"}]}
AFTERNOONS: Final = Hours({day: ((time(14), time(20)),) for day in range(1, 8)})


def contains(*words: str) -> list[dict[str, str]]:
    """Patterns of a rule."""
    return [{"mode": "contains", "words": one} for one in words]


def exact(*words: str) -> list[dict[str, str]]:
    """Patterns of a rule."""
    return [{"mode": "exact", "words": one} for one in words]


@dataclass(frozen=True)
class Rule:
    """A rule of a shop's, or ("") of the platform's."""

    of: str
    name: str
    hears: list[dict[str, str]] = field(default_factory=list)
    says: tuple[str, ...] = ()
    occasions: tuple[str, ...] = ()
    hands_over: bool = False
    review: str = "approved"
    more: dict[str, Any] = field(default_factory=dict)


RULES: Final = (
    Rule("王记水果", "营业时间", contains("几点", "营业时间", "开门", "关门"), ("每天早上七点到晚上九点。",)),
    Rule("王记水果", "地址", exact("地址", "在哪", "怎么走"), ("东门进来第二家。",)),
    Rule("王记水果", "送货", [{"mode": "wildcard", "words": "*送*吗"}], ("满三十元送货上门。", "送到楼下，二十分钟。")),
    Rule("王记水果", "夜里", contains("急"), ("店里没人，明早回您。",), more={"hours": NIGHT}),
    Rule("王记水果", "照片", says=("收到照片，马上看。",), occasions=("image",)),
    Rule("王记水果", "坏果", contains("坏了", "烂了"), ("真对不起，店里的人马上来看。",), hands_over=True),
    Rule("王记水果", "还没批", exact("秘密"), ("这句话谁也不该看到。",), review="pending"),
    Rule("王记水果", "旧活动", exact("抽奖"), ("活动早就结束了。",), more={"is_on": False}),
    Rule("王记水果", "榴莲", contains("榴莲"), ("榴莲明天到。",), more={"priority": 3}),
    Rule("王记水果", "榴莲价钱", contains("榴莲"), ("榴莲三十五一斤。",), more={"priority": 8}),
    Rule("阿芳理发", "拜年", exact("新年好"), ("阿芳祝您新年好！",)),
    Rule("", "平台拜年", exact("新年好"), ("新年好！祝您万事如意。",)),
    Rule("", "物业", contains("物业费"), ("物业在一号楼一层，每天九点到五点。",)),
    Rule("", "问好的菜单", says=("您点了问好。",), occasions=("click:HELLO",)),
)


@dataclass
class Town:
    """Shops by name."""

    live: Live
    shops: dict[str, int] = field(default_factory=dict)
    account_id: int = 0
    operator_id: int = 0

    @classmethod
    def build(cls, live: Live) -> Town:
        """Everything that stands there before anybody says a word."""
        town = cls(live)
        town.advance_to_noon()
        town._hire_an_operator()
        town._open_shops()
        town._give_benefits()
        town._teach_rules()
        town._open_desks()
        town._put_up_notices()
        return town

    @property
    def runtime(self) -> Runtime:
        return self.live.runtime

    def advance(self, by: timedelta) -> None:
        """Let time pass here; whoever plays a script lets it pass on the platform."""
        self.runtime.clock.move(self.runtime.clock.offset() + by)

    def advance_to_noon(self) -> None:
        """The next noon in Shanghai, on the platform too, so that opening hours do not depend on the hour of a test."""
        now = self.runtime.now()
        noon = start_of_day(business_day(now)) + NOON
        by = noon - now if noon > now else noon + timedelta(days=1) - now
        self.advance(by)
        self.live.sandbox.post("/sandbox/clock", offset_seconds=self.runtime.clock.offset().total_seconds())

    def _hire_an_operator(self) -> None:
        now = self.runtime.now()
        with self.runtime.transaction(Role.PLATFORM) as session:
            invitation = staff.invite(session, name="小林", role=StaffRole.OPERATOR, now=now)
            operator = staff.accept(session, token=invitation, login="xiaolin", password=PASSWORD, now=now)
            self.operator_id = operator.id

    def _open_shops(self) -> None:
        now = self.runtime.now()
        wanted = codes.Wanted(label="收银台")
        with self.runtime.transaction(Role.PLATFORM) as session:
            account_id = merchants.ensure_account(session, self.runtime.settings)
            community_id = merchants.ensure_community(session, account_id=account_id, name="桂花里")
            self.account_id = account_id
            for name, kind in SHOPS.items():
                shop = merchants.add(
                    session, account_id=account_id, community_id=community_id, name=name, kind=kind, now=now
                )
                self.shops[name] = shop.id
                codes.add(session, merchant_id=shop.id, wanted=wanted, now=now)
        wait_until(self._all_codes_are_ready, seconds=60, what="the codes")
        rows = self.rows("SELECT m.name, c.scene FROM sub_qr_code c JOIN merchant m ON m.id = c.merchant_id")
        self.live.sandbox.post("/sandbox/codes", captions={row["scene"]: row["name"] for row in rows})

    def _all_codes_are_ready(self) -> bool:
        (row,) = self.rows("SELECT count(*) FILTER (WHERE state <> 'active') AS waiting FROM sub_qr_code")
        return not row["waiting"]

    def _give_benefits(self) -> None:
        for name, keyword in KEYWORDS.items():
            live_template(
                self.runtime, self.shops[name], "月饼半价券", keyword=keyword, stock=100_000, budget_fen=10**9
            )
        rule = {"trigger": "check_in", "points": 2, "most_per_person": 2, "most_per_day": 10_000}
        with self.runtime.transaction(Role.PLATFORM) as session:
            session.execute(insert(PointsRule).values(merchant_id=self.shops[CHECKS_IN_AT], **rule))

    def _teach_rules(self) -> None:
        agreed = {"reviewed_by": self.operator_id, "reviewed_at": self.runtime.now()}
        with self.runtime.transaction(Role.PLATFORM) as session:
            for one in RULES:
                shop = self.shops.get(one.of)
                rule = ReplyRule(account_id=self.account_id, merchant_id=shop, name=one.name, **one.more)
                session.add(rule)
                session.flush()
                version = ReplyRuleVersion(
                    rule_id=rule.id,
                    merchant_id=shop,
                    patterns=one.hears,
                    occasions=list(one.occasions),
                    answers=answers_to_json(Answer(text=words) for words in one.says),
                    hands_over=one.hands_over,
                    review=one.review,
                    **(agreed if one.review == "approved" else {}),
                )
                session.add(version)

    def _open_desks(self) -> None:
        now = self.runtime.now()
        with self.runtime.transaction(Role.PLATFORM) as session:
            for name, hours, hands_over in (("阿芳理发", AFTERNOONS, False), ("小城药房", Hours(), True)):
                desk.save(
                    session,
                    merchant_id=self.shops[name],
                    hours=hours,
                    asks_satisfaction=False,
                    hands_over=hands_over,
                    notify_after=30,
                    now=now,
                )

    def _put_up_notices(self) -> None:
        """The directory, where the shops are, and what hangs on the board."""
        now, account = self.runtime.now(), self.account_id
        began, ends = now - timedelta(days=1), now + timedelta(days=90)
        with self.runtime.transaction(Role.PLATFORM) as session:
            locks = directory.add_category(session, account_id=account, name="开锁", aliases="锁匠 换锁 修锁")
            water = directory.add_category(session, account_id=account, name="水电", aliases="水管 电工")
            for entry in (
                directory.Draft("老张开锁", "13800138000", locks, what="换锁芯", hours="全天"),
                directory.Draft("快手开锁", "13900139000", locks, paid_from=began, paid_until=ends),
                directory.Draft("小陈水电", "13700137000", water),
            ):
                directory.add(session, account_id=account, draft=entry, now=now)
            for name, (latitude, longitude) in PLACES.items():
                place = {"id": self.shops[name], "latitude": latitude, "longitude": longitude}
                session.execute(
                    text("UPDATE merchant SET latitude = :latitude, longitude = :longitude WHERE id = :id"), place
                )
            notice = notices.Draft("明天上午停水", "明天九点到十一点水箱清洗，请提前储水。", shown_from=now)
            notice_id = notices.create(
                session, account_id=account, draft=notice, operator_id=self.operator_id, hosts=frozenset(), now=now
            )
            notices.publish(session, account_id=account, notice_id=notice_id, operator_id=self.operator_id, now=now)

    def rows(self, query: str, **values: Any) -> list[dict[str, Any]]:
        """What the database says."""
        with self.runtime.transaction(Role.PLATFORM) as session:
            return [dict(row) for row in session.execute(text(query), values).mappings()]
