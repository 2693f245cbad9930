"""Notices: who is shown them, for how long, and who has read them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from bot import erasers
from bot.inbox import Inbox
from community.notices import buildings, homes, reading, writing
from community.notices.writing import AlreadySo, Draft, IsOver, IsUp, Place
from core.database import Role
from core.errors import Invalid, NotFound
from core.runtime import Runtime
from merchants import merchants
from tests.community import Neighbourhood, new_openid, subscribed
from tests.conftest import advance

HOSTS = frozenset({"quanma.example"})


class Board:
    """A notice board with two communities: ours with two buildings, and one across the river."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.street = Neighbourhood(runtime)
        self.now, self.account = self.street.now, {"account_id": self.street.account_id}
        self.here = self.street.community_id
        with runtime.transaction(Role.PLATFORM) as session:
            self.there = merchants.add_community(session, **self.account, name="对岸", intro="")
            buildings.add_many(session, **self.account, community_id=self.here, names="1-2号楼")
            self.one, self.two = [one.id for one in buildings.listed(session, community_id=self.here)]

    def owner(self, shop_id: int | None = None) -> int:
        """Somebody who follows, by a shop's code if one is given."""
        openid = new_openid()
        scene = self.street.code(shop_id).scene if shop_id else None
        Inbox(self.runtime).receive([subscribed(openid, self.now - timedelta(hours=1), scene)])
        with self.runtime.transaction(Role.PLATFORM) as session:
            found = session.execute(text("SELECT id FROM follower WHERE openid = :o"), {"o": openid})
            return int(found.scalar_one())

    def lives(self, follower_id: int, community_id: int, building_id: int | None = None) -> None:
        with self.runtime.transaction(Role.FAN, follower_id=follower_id) as session:
            homes.choose(session, **self.account, follower_id=follower_id, community_id=community_id,
                         building_id=building_id, now=self.now)  # fmt: skip

    def write(self, title: str, *places: Place, **more: Any) -> int:
        draft = Draft(title, f"{title}，详见公告栏。", more.pop("shown_from", self.now), places=places, **more)
        with self.runtime.transaction(Role.PLATFORM) as session:
            return writing.create(session, **self.account, draft=draft, operator_id=1, hosts=HOSTS, now=self.now)

    def publish(self, notice_id: int, later: timedelta = timedelta()) -> int:
        with self.runtime.transaction(Role.PLATFORM) as session:
            writing.publish(session, **self.account, notice_id=notice_id, operator_id=1, now=self.now + later)
        return notice_id

    def withdraw(self, notice_id: int) -> None:
        with self.runtime.transaction(Role.PLATFORM) as session:
            writing.withdraw(session, **self.account, notice_id=notice_id, now=self.now)

    def post(self, title: str, *places: Place, **more: Any) -> int:
        return self.publish(self.write(title, *places, **more))

    def shown(self, follower_id: int | None, later: timedelta = timedelta()) -> list[str]:
        """Titles as the person sees them on their pages; the chat, which sees everything, tells the same."""
        asked: dict[str, Any] = {"follower_id": follower_id, "now": self.now + later, "limit": 10}
        with self.runtime.transaction(Role.FAN, follower_id=follower_id) as session:
            theirs = [posted.headline for posted in reading.latest(session, **asked)]
        with self.runtime.transaction(Role.PLATFORM) as session:
            assert [posted.headline for posted in reading.latest(session, **asked)] == theirs
        return theirs

    def read(self, follower_id: int, notice_id: int) -> None:
        with self.runtime.transaction(Role.FAN, follower_id=follower_id) as session:
            reading.note_opened(session, notice_id=notice_id, follower_id=follower_id, now=self.now)


@pytest.fixture
def board(runtime: Runtime) -> Board:
    return Board(runtime)


def test_everybody_sees_what_is_for_their_place_and_nobody_what_is_for_another(board: Board) -> None:
    board.post("停水")
    board.post("东门修路", Place(board.here))
    board.post("一号楼换电梯", Place(board.here, board.one))
    board.post("对岸停电", Place(board.there))
    shop = board.street.merchant("茶馆")
    at_one, at_two, somewhere, over_there = (board.owner() for _ in range(4))
    fan, guest = board.owner(shop), None
    board.lives(at_one, board.here, board.one)
    board.lives(at_two, board.here, board.two)
    board.lives(over_there, board.there)
    assert board.shown(at_one) == ["一号楼换电梯", "东门修路", "停水"]
    assert board.shown(at_two) == ["东门修路", "停水"]
    assert board.shown(over_there) == ["对岸停电", "停水"]
    assert board.shown(fan) == ["东门修路", "停水"]
    assert board.shown(somewhere) == board.shown(guest) == ["停水"]
    board.lives(fan, board.there)
    assert board.shown(fan) == ["对岸停电", "停水"]


def test_a_notice_is_up_within_its_time_only(board: Board) -> None:
    tomorrow = board.now + timedelta(days=1)
    board.post("明天停水", shown_from=tomorrow, shown_until=tomorrow + timedelta(days=1))
    me = board.owner()
    assert board.shown(me) == []
    with board.runtime.transaction(Role.FAN) as session:
        assert session.execute(text("SELECT count(*) FROM notice")).scalar_one() == 0


def test_the_database_shows_owners_only_what_is_up(board: Board) -> None:
    """Whatever a page asks for."""
    board.write("草稿")
    taken_down = board.post("撤下的")
    board.withdraw(taken_down)
    board.post("昨天的", shown_from=board.now - timedelta(days=2), shown_until=board.now + timedelta(hours=1))
    board.post("贴着的")
    advance(board.runtime, timedelta(hours=2))
    with board.runtime.transaction(Role.FAN) as session:
        assert session.execute(text("SELECT title FROM notice")).scalars().all() == ["贴着的"]
        with pytest.raises(NotFound):
            reading.one(session, notice_id=taken_down, follower_id=None, now=board.now)


def test_pinned_is_first_and_paid_says_so(board: Board) -> None:
    board.post("置顶的", is_pinned=True, shown_from=board.now - timedelta(days=3))
    board.post("新店开张", is_paid=True, shown_until=board.now + timedelta(days=3))
    me = board.owner()
    assert board.shown(me) == ["置顶的", "【推广】新店开张"]
    assert board.shown(me, later=timedelta(days=3)) == ["置顶的"]


def test_a_paid_notice_has_an_end(board: Board) -> None:
    with pytest.raises(Invalid, match="结束时间"):
        board.write("新店开张", is_paid=True)
    with pytest.raises(Invalid, match="最长一年"):
        board.write("新店开张", is_paid=True, shown_until=board.now + timedelta(days=800))


def test_what_is_up_keeps_its_words_until_it_is_taken_down(board: Board) -> None:
    notice_id = board.post("停水")
    reworded: dict[str, Any] = {
        **board.account, "notice_id": notice_id, "draft": Draft("停电", "明天停电", board.now), "hosts": HOSTS,
        "now": board.now,
    }  # fmt: skip
    with board.runtime.transaction(Role.PLATFORM) as session, pytest.raises(IsUp):
        writing.edit(session, **reworded)
    with pytest.raises(DBAPIError, match="take it down"), board.runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("UPDATE notice SET words = '别的'"))
    board.withdraw(notice_id)
    assert board.shown(None) == []
    with board.runtime.transaction(Role.PLATFORM) as session:
        writing.edit(session, **reworded)
    board.publish(notice_id)
    assert board.shown(None) == ["停电"]


def test_steps_are_taken_once_and_nothing_that_was_up_disappears(board: Board) -> None:
    notice_id = board.post("停水")
    with pytest.raises(AlreadySo):
        board.publish(notice_id)
    board.withdraw(notice_id)
    with pytest.raises(AlreadySo):
        board.withdraw(notice_id)
    with board.runtime.transaction(Role.PLATFORM) as session, pytest.raises(AlreadySo):
        writing.throw_away(session, **board.account, notice_id=notice_id)
    with pytest.raises(DBAPIError, match="is kept"), board.runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("DELETE FROM notice"))
    with pytest.raises(IsOver):
        board.publish(
            board.write("旧事", shown_from=board.now - timedelta(days=2), shown_until=board.now - timedelta(days=1))
        )


def test_links_lead_to_our_pages_only(board: Board) -> None:
    draft = Draft("缴费", "请到 http://quanma.example/m/shops 看", board.now)
    bad = Draft("缴费", "请点 http://evil-shop.com/pay", board.now)
    with board.runtime.transaction(Role.PLATFORM) as session:
        writing.create(session, **board.account, draft=draft, operator_id=1, hosts=HOSTS, now=board.now)
        with pytest.raises(Invalid):
            writing.create(session, **board.account, draft=bad, operator_id=1, hosts=HOSTS, now=board.now)


def test_a_reader_counts_once_and_only_as_themselves(board: Board) -> None:
    notice_id, me, other = board.post("停水"), board.owner(), board.owner()
    for _ in range(2):
        board.read(me, notice_id)
    with board.runtime.transaction(Role.FAN, follower_id=me) as session:
        assert reading.latest(session, follower_id=me, now=board.now, limit=5)[0].is_read
        assert reading.count_unread(session, follower_id=me, now=board.now) == 0
    with board.runtime.transaction(Role.FAN, follower_id=other) as session:
        assert session.execute(text("SELECT count(*) FROM notice_read")).scalar_one() == 0
        assert reading.count_unread(session, follower_id=other, now=board.now) == 1
    with pytest.raises(DBAPIError), board.runtime.transaction(Role.FAN, follower_id=me) as session:
        reading.note_opened(session, notice_id=notice_id, follower_id=other, now=board.now)


def test_whoever_is_forgotten_leaves_a_number_only(board: Board) -> None:
    notice_id, me = board.post("停水"), board.owner()
    board.lives(me, board.here, board.one)
    board.read(me, notice_id)
    erasers.forget_now(board.runtime, me)
    with board.runtime.transaction(Role.PLATFORM) as session:
        left = session.execute(
            text("""SELECT (SELECT count(*) FROM owner_home), (SELECT count(*) FROM notice_read),
                           (SELECT forgotten_reads FROM notice)""")
        ).one()
    assert tuple(left) == (0, 0, 1)


def test_an_owner_chooses_a_place_that_is_there_and_takes_it_back(board: Board) -> None:
    me = board.owner()
    with pytest.raises(Invalid, match="没有这栋楼"):
        board.lives(me, board.there, board.one)
    board.lives(me, board.here, board.one)
    board.lives(me, board.here, board.two)
    with board.runtime.transaction(Role.FAN, follower_id=me) as session:
        home = homes.of(session, follower_id=me)
        assert home is not None
        assert (home.community_name, home.building_name) == ("我们的社区", "2号楼")
        homes.forget(session, follower_id=me)
        assert homes.of(session, follower_id=me) is None


def test_buildings_are_listed_in_ranges(board: Board) -> None:
    assert buildings.names_in("3-5号楼\nA座，B座\nA座") == ["3号楼", "4号楼", "5号楼", "A座", "B座"]
    with board.runtime.transaction(Role.PLATFORM) as session:
        assert buildings.add_many(session, **board.account, community_id=board.here, names="2-4号楼") == 2


def test_a_building_that_notices_went_to_stays_on_the_list(board: Board) -> None:
    board.post("换电梯", Place(board.here, board.one))
    me = board.owner()
    board.lives(me, board.here, board.two)
    with board.runtime.transaction(Role.PLATFORM) as session:
        with pytest.raises(buildings.InUse):
            buildings.remove(session, **board.account, building_id=board.one)
        buildings.remove(session, **board.account, building_id=board.two)
        home = homes.of(session, follower_id=me)
        assert home is not None
        assert (home.community_id, home.building_id) == (board.here, None)
