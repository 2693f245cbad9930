"""Directory and notices in a browser: kept on a desk, read on a phone, without a fault for a screen reader."""

from __future__ import annotations

from datetime import timedelta

from playwright.sync_api import expect
from sqlalchemy import text

from community.directory import sheet, writing
from community.notices import buildings
from core.database import Role
from core.sheets import Sheet
from merchants import owners, staff
from merchants.models import StaffRole
from tests.community import Neighbourhood
from tests.conftest import Live, wait_until
from tests.e2e.conftest import NewWindow
from tests.e2e.test_benefits import Examiner
from tests.e2e.test_story import SOON_MS, sign_up
from tests.e2e.window import DESK, PHONE, Window
from tests.web.owner.conftest import counts
from web.auth.pages import invitation_url


def furnish(live: Live, street: Neighbourhood) -> None:
    """A directory with a paid position, and two buildings."""
    now = live.runtime.now()
    with live.runtime.transaction(Role.PLATFORM) as session:
        writing.add_usual(session, account_id=street.account_id)
        today, end = f"{now:%Y-%m-%d}", f"{now + timedelta(days=20):%Y-%m-%d}"
        lines = [
            ["锁匠", "老张开锁", "138 0013 8000", "换锁芯、配钥匙", "8:00–20:00", "东门口", "", "", "", ""],
            ["锁匠", "快开锁服务部（全城上门，二十四小时不打烊）", "400-820-8820", "开锁、汽车锁、保险柜", "全天", "",
             "我们的社区", today, end, ""],
            ["锁匠", "关门的老赵", "0551-65550000转8", "", "", "", "", "", "", "停用"],
            ["家政", "小美保洁", "0551-65550000", "擦玻璃", "", "", "", "", "", ""],
        ]  # fmt: skip
        table = Sheet(list(sheet.COLUMNS), list(enumerate(lines, start=2)))
        assert not sheet.take(session, table, account_id=street.account_id, now=now).faulty
        buildings.add_many(session, account_id=street.account_id, community_id=street.community_id, names="1-12号楼")


def signed_in_desk(live: Live, new_window: NewWindow) -> Window:
    with live.runtime.transaction(Role.PLATFORM) as session:
        token = staff.invite(session, name="小运", role=StaffRole.OPERATOR, now=live.runtime.now())
    desk = new_window("operator", DESK)
    sign_up(desk, invitation_url(live.settings, token), "xiaoyun")
    return desk


def signed_in_phone(live: Live, new_window: NewWindow, street: Neighbourhood) -> Window:
    """Somebody who follows, with our pages open."""
    with live.runtime.transaction(Role.PLATFORM) as session:
        person = owners.meet(session, live.runtime, openid="oNeighbour00000000000000000001", now=live.runtime.now())
        token = owners.begin(session, follower_id=person, now=live.runtime.now())
    phone = new_window("phone", PHONE)
    phone.page.context.add_cookies([{"name": "owner", "value": token, "url": live.url}])
    return phone


def test_what_the_operator_keeps_is_what_neighbours_read(live: Live, new_window: NewWindow) -> None:
    examiner, street = Examiner(), Neighbourhood(live.runtime)
    furnish(live, street)
    desk, phone = signed_in_desk(live, new_window), signed_in_phone(live, new_window, street)
    operator, owner = f"{live.url}/operator", f"{live.url}/m"

    examiner.open(desk, f"{operator}/directory")
    desk.page.get_by_role("link", name="锁匠").click()
    desk.page.get_by_text("改名和别名").click()
    examiner.look(desk)
    desk.page.get_by_role("group", name="老张开锁").get_by_role("button", name="下移").click()
    desk.page.get_by_role("link", name="老张开锁").click()
    examiner.look(desk)
    examiner.open(desk, f"{operator}/directory/new")
    examiner.open(desk, f"{operator}/directory/import")

    examiner.open(desk, f"{operator}/notices")
    examiner.open(desk, f"{operator}/notices/buildings")
    examiner.open(desk, f"{operator}/notices/new")
    desk.fill(title="1 号楼换电梯，明天停用一天", words=f"9 点到 18 点。\n备用电梯见 {live.url}/m/shops 。")
    desk.page.get_by_text("只给几栋楼").click()
    desk.page.get_by_label("1号楼", exact=True).check()
    examiner.look(desk)
    desk.press("存草稿并预览")
    examiner.look(desk)
    desk.press("贴出")
    examiner.look(desk)
    examiner.open(desk, f"{operator}/notices")

    examiner.open(phone, f"{owner}/notices")
    expect(phone.page.locator("body")).to_contain_text("现在没有公告")
    examiner.open(phone, f"{owner}/settings")
    phone.page.get_by_label("小区和楼栋").select_option(label="1号楼")
    phone.press("同意保存")
    examiner.look(phone)
    examiner.open(phone, f"{owner}/")
    phone.page.get_by_role("link", name="公告").click()
    examiner.look(phone)
    phone.page.get_by_role("link", name="1 号楼换电梯").click()
    examiner.look(phone)
    wait_until(lambda: counts(live.runtime, "notice_read") == [1], what="that it was read")
    examiner.open(phone, f"{owner}/directory")
    phone.page.get_by_role("link", name="锁匠").click()
    examiner.look(phone)
    first = phone.page.locator(".own-calls > li").first
    expect(first).to_contain_text("推广快开锁", timeout=SOON_MS)
    expect(first.get_by_role("link", name="打给 快开锁")).to_have_attribute("href", "tel:4008208820")
    examiner.open(phone, f"{owner}/directory?q=理发")

    desk.visit(f"{operator}/notices")
    desk.page.get_by_role("link", name="1 号楼换电梯").click()
    examiner.look(desk)
    expect(desk.page.locator("tr", has_text="1号楼").locator(".num").last).to_have_text("1")
    with live.runtime.transaction(Role.PLATFORM) as session:
        acts = session.execute(text("SELECT count(*) FROM audit_log WHERE action LIKE 'notice.%'")).scalar_one()
    assert acts == 2
    examiner.expect_nothing()
