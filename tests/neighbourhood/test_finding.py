"""Whom one may call: words that lead there, who comes first, and what is said of it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import text

from community.directory import finding, writing
from community.directory.finding import Found
from community.directory.writing import Draft
from core.database import Role
from core.errors import Invalid
from core.runtime import Runtime
from merchants import merchants
from tests.community import Neighbourhood


class Desk:
    """The operator's directory of one neighbourhood."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.street = Neighbourhood(runtime)
        self.now = self.street.now

    def category(self, name: str, aliases: str = "") -> int:
        with self.runtime.transaction(Role.PLATFORM) as session:
            return writing.add_category(session, account_id=self.street.account_id, name=name, aliases=aliases)

    def entry(self, category_id: int, name: str, phone: str = "13800138000", **more: object) -> int:
        with self.runtime.transaction(Role.PLATFORM) as session:
            draft = Draft(name, phone, category_id, **more)  # type: ignore[arg-type]
            return writing.add(session, account_id=self.street.account_id, draft=draft, now=self.now)

    def find(self, words: str, *, community_id: int | None = None, later: timedelta = timedelta()) -> list[Found]:
        with self.runtime.transaction(Role.FAN) as session:
            return finding.find(session, words=words, community_id=community_id, now=self.now + later, limit=10)

    def names(self, words: str, **more: object) -> list[str]:
        return [found.title for found in self.find(words, **more)]  # type: ignore[arg-type]


@pytest.fixture
def desk(runtime: Runtime) -> Desk:
    return Desk(runtime)


def test_another_word_for_it_leads_to_the_same_people(desk: Desk) -> None:
    locks = desk.category("锁匠", "开锁、换锁 修锁")
    desk.category("快递")
    desk.entry(locks, "老张", what="换锁芯")
    for words in ("锁匠", "开锁", "  开 锁！", "開鎖", "锁", "开锁师傅电话", "换锁芯"):
        assert desk.names(words) == ["老张"], words
    assert desk.names("老张") == ["老张"]
    for words in ("", "🔒", "快递", "理发"):
        assert desk.names(words) == [], words


def test_words_that_nobody_wrote_so_find_who_is_similar(desk: Desk) -> None:
    plumber = desk.category("水电维修")
    desk.entry(plumber, "老李", what="水管疏通")
    assert desk.names("家里修水管") == ["老李"]
    assert desk.names("上门师傅") == []


def test_a_paid_position_is_first_and_labelled_within_its_dates_only(desk: Desk) -> None:
    locks = desk.category("锁匠")
    desk.entry(locks, "老张")
    paid = {"paid_from": desk.now + timedelta(days=1), "paid_until": desk.now + timedelta(days=8)}
    desk.entry(locks, "快开锁", "400-820-8820", what="汽车锁", hours="全天", **paid)
    assert desk.names("锁匠") == ["老张", "快开锁"]
    assert desk.names("锁匠", later=timedelta(days=2)) == ["【推广】快开锁", "老张"]
    first = desk.find("锁匠", later=timedelta(days=2))[0]
    assert (first.label, first.line) == ("推广", "【推广】快开锁 400-820-8820（汽车锁，全天）")
    assert desk.names("锁匠", later=timedelta(days=8)) == ["老张", "快开锁"]


def test_a_paid_position_has_an_end(desk: Desk) -> None:
    locks = desk.category("锁匠")
    with pytest.raises(Invalid, match="开始和结束"):
        desk.entry(locks, "老张", paid_from=desk.now)
    with pytest.raises(Invalid, match="最长一年"):
        desk.entry(locks, "老张", paid_from=desk.now, paid_until=desk.now + timedelta(days=900))


def test_who_serves_one_community_is_not_offered_to_another(desk: Desk) -> None:
    here = desk.street.community_id
    with desk.runtime.transaction(Role.PLATFORM) as session:
        there = merchants.add_community(session, account_id=desk.street.account_id, name="对岸", intro="")
    locks = desk.category("锁匠")
    desk.entry(locks, "到处去")
    desk.entry(locks, "只到这边", community_ids=(here,))
    assert desk.names("锁匠", community_id=here) == ["到处去", "只到这边"]
    assert desk.names("锁匠", community_id=there) == ["到处去"]
    assert [found.serves for found in desk.find("锁匠")] == [(), ("我们的社区",)]


def test_what_is_switched_off_is_not_found_and_owners_cannot_read_it(desk: Desk) -> None:
    locks = desk.category("锁匠")
    entry_id = desk.entry(locks, "老张")
    with desk.runtime.transaction(Role.PLATFORM) as session:
        writing.switch(session, account_id=desk.street.account_id, entry_id=entry_id, is_on=False, now=desk.now)
        assert finding.find(session, words="锁匠", community_id=None, now=desk.now, limit=5) == []
        assert finding.categories(session) == []
    with desk.runtime.transaction(Role.FAN) as session:
        assert session.execute(text("SELECT count(*) FROM directory_entry")).scalar_one() == 0


def test_merchants_see_nothing_of_the_directory(desk: Desk) -> None:
    shop = desk.street.merchant("茶馆")
    desk.entry(desk.category("锁匠"), "老张", merchant_id=shop)
    with desk.runtime.transaction(Role.MERCHANT, merchant_id=shop) as session:
        can = text("SELECT has_table_privilege('directory_entry', 'SELECT')")
        assert session.execute(can).scalar_one() is False


def test_an_entry_leads_to_the_merchant_it_is_while_that_is_open(desk: Desk) -> None:
    shop = desk.street.merchant("老张五金")
    desk.entry(desk.category("锁匠"), "老张", merchant_id=shop)
    assert [(found.shop_id, found.shop_name) for found in desk.find("锁匠")] == [(shop, "老张五金")]
    with desk.runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("UPDATE merchant SET state = 'suspended'"))
    assert [(found.shop_id, found.shop_name) for found in desk.find("锁匠")] == [(None, "")]


def test_a_word_leads_to_one_category_only(desk: Desk) -> None:
    desk.category("锁匠", "开锁")
    with pytest.raises(Invalid, match="“開鎖”已经属于“锁匠”"):
        desk.category("家政", "開鎖")


def test_the_operator_decides_the_order(desk: Desk) -> None:
    locks = desk.category("锁匠")
    ids = [desk.entry(locks, name) for name in ("一", "二", "三")]
    with desk.runtime.transaction(Role.PLATFORM) as session:
        writing.move(session, account_id=desk.street.account_id, entry_id=ids[2], by=-1)
        writing.move(session, account_id=desk.street.account_id, entry_id=ids[0], by=-1)
    assert desk.names("锁匠") == ["一", "三", "二"]
