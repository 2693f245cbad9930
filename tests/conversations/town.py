"""The town in which the scripted conversations take place: its shops with codes that can be scanned, and what they say.

What stands below a code on the sandbox's page is the shop's name, so that scripts scan by it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import insert, text

from campaigns.points.models import PointsRule
from core.clock import business_day, start_of_day
from core.database import Role
from core.runtime import Runtime
from merchants import merchants
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
CHECKS_IN_AT: Final = "王记水果"
KEYWORDS: Final = {"桂花饼屋": "中秋快乐"}


@dataclass
class Town:
    """Shops by name."""

    live: Live
    shops: dict[str, int] = field(default_factory=dict)

    @classmethod
    def build(cls, live: Live) -> Town:
        """Everything that stands there before anybody says a word."""
        town = cls(live)
        town.advance_to_noon()
        town._open_shops()
        town._give_benefits()
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

    def _open_shops(self) -> None:
        now = self.runtime.now()
        wanted = codes.Wanted(label="收银台")
        with self.runtime.transaction(Role.PLATFORM) as session:
            account_id = merchants.ensure_account(session, self.runtime.settings)
            community_id = merchants.ensure_community(session, account_id=account_id, name="桂花里")
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

    def rows(self, query: str, **values: Any) -> list[dict[str, Any]]:
        """What the database says."""
        with self.runtime.transaction(Role.PLATFORM) as session:
            return [dict(row) for row in session.execute(text(query), values).mappings()]
