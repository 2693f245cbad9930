"""Groups by conditions: whom each condition means, that a group lives, and that it is one merchant's own."""

from datetime import timedelta

import pytest
from sqlalchemy import text

from bot.inbox import Inbox
from campaigns import audience
from core.database import Role
from core.errors import Invalid, NotFound
from core.runtime import Runtime
from qrcodes import fans
from qrcodes.fans import Filter
from tests.community import Neighbourhood, new_openid, scanned, subscribed, unsubscribed

DAY = timedelta(days=1)


class Shop:
    """A shop with a regular, a newcomer, somebody not seen for long, and somebody who left."""

    def __init__(self, runtime: Runtime, name: str = "茶馆") -> None:
        self.runtime = runtime
        self.street = Neighbourhood(runtime)
        self.inbox = Inbox(runtime)
        self.id = self.street.merchant(name)
        self.door, self.desk = self.street.code(self.id, "门口"), self.street.code(self.id, "柜台")
        now = self.street.now
        self.people: dict[int, str] = {}
        self.come("regular", *(now - days * DAY for days in (50, 20, 3)))
        self.come("newcomer", now - 2 * DAY)
        self.come("away", now - 60 * DAY)
        self.left = self.come("left", now - 6 * DAY)
        self.inbox.receive([unsubscribed(self.left, now - DAY / 2)])

    def come(self, name: str, *times: object) -> str:
        openid = new_openid()
        first, *later = times
        self.inbox.receive([subscribed(openid, first, self.door.scene)])  # type: ignore[arg-type]
        for at in later:
            self.inbox.receive([scanned(openid, at, self.desk.scene)])  # type: ignore[arg-type]
        with self.runtime.transaction(Role.PLATFORM) as session:
            found = session.execute(text("SELECT id FROM follower WHERE openid = :o"), {"o": openid}).scalar_one()
        self.people[found] = name
        return openid

    def who(self, wanted: Filter) -> set[str]:
        with self.runtime.transaction(Role.MERCHANT, merchant_id=self.id) as session:
            rows = fans.page(session, self.id, wanted)
            assert fans.count(session, self.id, wanted) == len(rows)
            ids = list(self.people)
            assert fans.which_of(session, self.id, wanted, ids) == {row.follower_id for row in rows}
        return {self.people[row.follower_id] for row in rows}


@pytest.fixture
def shop(runtime: Runtime) -> Shop:
    return Shop(runtime)


def test_every_condition_means_what_it_says(shop: Shop) -> None:
    assert shop.who(Filter()) == {"regular", "newcomer", "away", "left"}
    assert shop.who(Filter(following_only=True)) == {"regular", "newcomer", "away"}
    assert shop.who(Filter(visits_at_least=2)) == {"regular"}
    assert shop.who(Filter(came_within_days=7)) == {"newcomer", "left"}
    assert shop.who(Filter(seen_within_days=7)) == {"regular", "newcomer", "left"}
    assert shop.who(Filter(away_for_days=30)) == {"away"}
    assert shop.who(Filter(code_id=shop.desk.id)) == {"regular"}
    assert shop.who(Filter(seen_within_days=7, following_only=True, visits_at_least=2)) == {"regular"}


def test_a_group_is_counted_live_and_shown_as_a_tag(shop: Shop) -> None:
    with shop.runtime.transaction(Role.MERCHANT, merchant_id=shop.id) as session:
        regulars = Filter(visits_at_least=2)
        segment_id = audience.save(session, merchant_id=shop.id, name=" 常客 ", wanted=regulars, is_tag=True)
        (group,) = audience.groups(session, merchant_id=shop.id)
        assert (group.id, group.name, group.wanted, group.count) == (segment_id, "常客", regulars, 1)
        tags = audience.tags_by_rule(session, merchant_id=shop.id, follower_ids=list(shop.people))
        assert {shop.people[one]: names for one, names in tags.items()} == {"regular": ["常客"]}
    shop.come("newer", shop.street.now - DAY, shop.street.now)
    with shop.runtime.transaction(Role.MERCHANT, merchant_id=shop.id) as session:
        assert audience.group(session, merchant_id=shop.id, segment_id=segment_id).count == 2
        assert len(audience.sample(session, merchant_id=shop.id, wanted=Filter(following_only=True))) == 4
        audience.set_tag(session, merchant_id=shop.id, segment_id=segment_id, is_tag=False)
        assert audience.tags_by_rule(session, merchant_id=shop.id, follower_ids=list(shop.people)) == {}
        again = audience.save(session, merchant_id=shop.id, name="常客", wanted=Filter(visits_at_least=3))
        assert again == segment_id
        assert audience.remove(session, merchant_id=shop.id, segment_id=segment_id) == "常客"
        assert audience.groups(session, merchant_id=shop.id) == []


def test_a_group_without_conditions_or_name_and_one_too_many_are_refused(shop: Shop) -> None:
    with shop.runtime.transaction(Role.MERCHANT, merchant_id=shop.id) as session:
        with pytest.raises(audience.NothingWanted):
            audience.save(session, merchant_id=shop.id, name="所有人", wanted=Filter())
        with pytest.raises(Invalid):
            audience.save(session, merchant_id=shop.id, name="  ", wanted=Filter(tag="常客"))
        for number in range(audience.MOST_SEGMENTS):
            audience.save(session, merchant_id=shop.id, name=f"组{number}", wanted=Filter(tag="常客"))
        with pytest.raises(Invalid, match="最多"):
            audience.save(session, merchant_id=shop.id, name="再来一组", wanted=Filter(tag="常客"))


def test_a_group_is_one_merchants_own(shop: Shop) -> None:
    other = shop.street.merchant("花店")
    with shop.runtime.transaction(Role.MERCHANT, merchant_id=shop.id) as session:
        segment_id = audience.save(session, merchant_id=shop.id, name="常客", wanted=Filter(visits_at_least=2))
    with shop.runtime.transaction(Role.MERCHANT, merchant_id=other) as session:
        assert session.execute(text("SELECT count(*) FROM segment")).scalar_one() == 0
        with pytest.raises(NotFound):
            audience.remove(session, merchant_id=other, segment_id=segment_id)
