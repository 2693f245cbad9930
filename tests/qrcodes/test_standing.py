"""What neighbours bring each other and where merchants stand, against small stories and against a plain count."""

import random
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import select, text

import worker
from bot import erasers
from bot.events import Event
from bot.inbox import Inbox
from core import jobs
from core.clock import business_day, start_of_day
from core.database import LOCK_TIMEOUT_MS, Role
from core.errors import Invalid
from core.outbox import DEFAULT, SLOW
from core.runtime import Runtime
from merchants import identities, staff
from merchants.models import Follower, Staff, StaffRole
from qrcodes import codes, neighbours, standing, trials
from qrcodes.counted import MerchantStanding
from qrcodes.happenings import Key
from qrcodes.neighbours import Exchange, Visit
from qrcodes.standing import Policy, Verdict, Won
from tests.community import Code, Neighbourhood, new_openid, scanned, subscribed, unsubscribed

DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)


class Street:
    """A neighbourhood in which things happen some days ago, and are counted as of tonight."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.around = Neighbourhood(runtime)
        self.inbox = Inbox(runtime)
        # In the middle of the days that are looked at, on the hour.
        self.then = start_of_day(business_day(self.around.now)) - 10 * DAY

    def shop(self, name: str) -> Code:
        return self.around.code(self.around.merchant(name), f"{name}的码")

    def happens(self, *events: Event) -> None:
        for event in events:
            self.inbox.receive([event])

    def follows(self, code: Code, *, days: float = 0, number: int = 1) -> list[str]:
        """So many people, a minute apart, so many days after `then`."""
        people = [new_openid() for _ in range(number)]
        for minute, person in enumerate(people):
            self.happens(subscribed(person, self.then + days * DAY + minute * MINUTE, code.scene))
        return people

    def scans(self, person: str, code: Code, *, days: float) -> None:
        self.happens(scanned(person, self.then + days * DAY, code.scene))

    def leaves(self, person: str, *, days: float) -> None:
        self.happens(unsubscribed(person, self.then + days * DAY))

    def clerk(self, shop: Code) -> int:
        """Somebody on the staff of a shop."""
        with self.runtime.transaction(Role.PLATFORM) as session:
            staff.invite(session, name="小李", role=StaffRole.OWNER, merchant_id=shop.merchant_id, now=self.then - DAY)
            return session.scalars(select(Staff.id).where(Staff.merchant_id == shop.merchant_id)).one()

    def tries(self, shop: Code, *, days: float) -> None:
        """The next scan of the code is a test."""
        clerk = self.clerk(shop)
        with self.runtime.transaction(Role.MERCHANT, merchant_id=shop.merchant_id) as session:
            at = self.then + days * DAY
            trials.arm(session, merchant_id=shop.merchant_id, code_id=shop.id, staff_id=clerk, now=at)

    def binds(self, person: str, shop: Code, *, days: float) -> None:
        """The person turns out to be on the staff of a shop."""
        clerk = self.clerk(shop)
        with self.runtime.transaction(Role.PLATFORM) as session:
            follower_id = session.scalars(select(Follower.id).where(Follower.openid == person)).one()
            member = session.get_one(Staff, clerk)
            identities.bind(session, member, follower_id=follower_id, now=self.then + days * DAY)

    def erases(self) -> None:
        """Whose time has come after they left."""
        with self.runtime.transaction(Role.PLATFORM) as session:
            erasers.owe_due(session, self.runtime.now())
            session.execute(text("DELETE FROM outbox WHERE kind <> :erase"), {"erase": erasers.ERASE})
        jobs.drain(self.runtime, worker.HANDLERS, DEFAULT)

    def standing(self, code: Code) -> MerchantStanding:
        self.erases()
        standing.recount(self.runtime)
        with self.runtime.transaction(Role.PLATFORM) as session:
            found = standing.standing_of(session, code.merchant_id)
            assert found is not None
            return found

    def exchanges(self, code: Code) -> list[Exchange]:
        standing.recount(self.runtime)
        with self.runtime.transaction(Role.PLATFORM) as session:
            return neighbours.of_merchant(session, code.merchant_id, limit=100)

    def set_policy(self, **changes: int) -> None:
        with self.runtime.transaction(Role.PLATFORM) as session:
            standing.set_policy(
                session, Policy(**{**vars(standing.policy(session)), **changes}), now=self.runtime.now()
            )


@pytest.fixture
def street(runtime: Runtime) -> Street:
    return Street(runtime)


# ---- Who counts ------------------------------------------------------------------------------------------------------


def test_people_newly_kept_make_the_rank(street: Street) -> None:
    few, many = street.shop("豆浆"), street.shop("水果")
    street.follows(few, number=2)
    street.follows(many, number=3)
    assert (street.standing(many).rank, street.standing(few).rank) == (1, 2)
    assert (street.standing(many).people, street.standing(few).points) == (3, 2)


def test_who_leaves_within_a_day_does_not_count_and_who_leaves_later_does(street: Street) -> None:
    shop = street.shop("豆浆")
    soon, later, back = street.follows(shop, number=3)
    street.leaves(soon, days=0.9)
    street.leaves(later, days=1.5)
    street.leaves(back, days=3)
    street.happens(subscribed(back, street.then + 4 * DAY, shop.scene))
    found = street.standing(shop)
    assert (found.people, found.left_soon, found.points) == (2, 1, 2)


def test_a_test_scan_does_not_count(street: Street) -> None:
    shop = street.shop("豆浆")
    street.tries(shop, days=0)
    street.follows(shop, number=2)
    found = street.standing(shop)
    assert (found.people, found.by_staff) == (1, 1)


def test_the_staffs_own_visits_do_not_count(street: Street) -> None:
    giver, taker = street.shop("豆浆"), street.shop("水果")
    guest, clerk = street.follows(giver, number=2)
    street.binds(clerk, taker, days=0.5)
    for person in (guest, clerk):
        street.scans(person, taker, days=1)
    assert street.exchanges(giver) == [Exchange(giver.merchant_id, taker.merchant_id, 1, 1, 0, 0)]


def test_of_a_burst_through_one_code_only_the_first_count(street: Street) -> None:
    shop = street.shop("豆浆")
    street.set_policy(most_an_hour=3)
    street.follows(shop, number=5)
    street.follows(shop, days=1, number=2)
    found = street.standing(shop)
    assert (found.people, found.in_bursts) == (5, 2)


def test_only_the_whole_days_that_have_had_a_day_to_stay_are_looked_at(street: Street) -> None:
    shop = street.shop("豆浆")
    street.follows(shop, days=9.5)  # yesterday at noon
    street.follows(shop, days=-25)
    assert street.standing(shop).people == 0
    street.follows(shop, days=8.5)
    assert street.standing(shop).people == 1


def test_points_are_capped(street: Street) -> None:
    shop = street.shop("豆浆")
    street.set_policy(most_people=2)
    street.follows(shop, number=4)
    found = street.standing(shop)
    assert (found.people, found.points) == (4, 2)


def test_a_suspended_merchant_stands_nowhere(street: Street, runtime: Runtime) -> None:
    gone, here = street.shop("豆浆"), street.shop("水果")
    street.follows(gone, number=2)
    with runtime.transaction(Role.PLATFORM) as session:
        codes.suspend_merchant(session, merchant_id=gone.merchant_id, now=runtime.now())
    assert street.standing(here).rank == 1
    with runtime.transaction(Role.PLATFORM) as session:
        assert standing.standing_of(session, gone.merchant_id) is None


# ---- What neighbours bring each other --------------------------------------------------------------------------------


def test_a_follower_given_is_a_visit_that_puts_them_on_the_list(street: Street) -> None:
    giver, taker = street.shop("豆浆"), street.shop("水果")
    first, second = street.follows(giver, number=2)
    street.scans(first, taker, days=1)
    street.scans(first, taker, days=1.01)  # the same day: one visit
    street.scans(first, taker, days=3)
    street.scans(second, taker, days=2)
    assert street.exchanges(giver) == [Exchange(giver.merchant_id, taker.merchant_id, 2, 3, 0, 0)]
    assert street.exchanges(taker) == [Exchange(taker.merchant_id, giver.merchant_id, 0, 0, 2, 3)]


def test_what_is_given_counts_by_whose_follow_it_was_then(street: Street) -> None:
    one, two, three = street.shop("豆浆"), street.shop("水果"), street.shop("理发")
    (person,) = street.follows(one, days=-60)
    street.leaves(person, days=-50)
    street.happens(subscribed(person, street.then, two.scene))
    street.scans(person, one, days=1)  # on that list since long: a visit, no new follower
    street.scans(person, three, days=2)
    assert street.exchanges(two) == [
        Exchange(two.merchant_id, three.merchant_id, 1, 1, 0, 0),
        Exchange(two.merchant_id, one.merchant_id, 0, 1, 0, 0),
    ]


def test_a_balance_earns_points_only_where_the_operator_wants_it(street: Street) -> None:
    giver, taker = street.shop("豆浆"), street.shop("水果")
    for person in street.follows(giver, number=3):
        street.scans(person, taker, days=1)
    assert street.standing(giver).points == 3
    street.set_policy(points_for_given=2, most_for_given=5)
    assert street.standing(giver).points == 3 + 5
    assert street.standing(taker).points == 0


def test_the_account_shows_each_pair_once(street: Street, runtime: Runtime) -> None:
    one, two = street.shop("豆浆"), street.shop("水果")
    for giver, taker, number in ((one, two, 1), (two, one, 2)):
        for person in street.follows(giver, number=number):
            street.scans(person, taker, days=1)
    standing.recount(runtime)
    with runtime.transaction(Role.PLATFORM) as session:
        (pair,) = neighbours.liveliest(session, limit=10)
    assert (pair.merchant_id, pair.followers_given, pair.followers_received, pair.balance) == (two.merchant_id, 2, 1, 1)


# ---- The formula -----------------------------------------------------------------------------------------------------


def test_a_new_formula_is_counted_by_soon(street: Street, runtime: Runtime) -> None:
    shop = street.shop("豆浆")
    street.follows(shop, number=3)
    street.set_policy(most_people=1)
    assert jobs.drain(runtime, standing.HANDLERS, SLOW) == 1
    with runtime.transaction(Role.PLATFORM) as session:
        found = standing.standing_of(session, shop.merchant_id)
        assert found is not None
        assert found.points == 1


def test_who_counts_second_waits_for_the_first(street: Street, runtime: Runtime) -> None:
    street.shop("豆浆")
    with ThreadPoolExecutor() as elsewhere:
        with runtime.transaction(Role.PLATFORM) as session:
            session.execute(text("SELECT pg_advisory_xact_lock(hashtext(:name))"), {"name": standing.COUNT})
            second = elsewhere.submit(standing.recount, runtime)
            time.sleep(LOCK_TIMEOUT_MS / 1000 + 0.5)
        second.result(timeout=10)


@pytest.mark.parametrize(("name", "limits"), standing.LIMITS.items())
def test_numbers_that_cannot_be_are_refused(street: Street, name: str, limits: tuple[int, int]) -> None:
    for wrong in (limits[0] - 1, limits[1] + 1):
        with pytest.raises(Invalid) as refusal:
            street.set_policy(**{name: wrong})
        assert refusal.value.field == name


# ---- Every number has its rows ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_numbers_equal_their_rows_and_a_plain_count(street: Street, runtime: Runtime, seed: int) -> None:
    """A random month, counted a second time in Python from what happened."""
    chance = random.Random(seed)
    shops = [street.shop(name) for name in ("豆浆", "水果", "理发", "药房")]
    street.set_policy(most_an_hour=2)
    joined: dict[str, tuple[Code, float]] = {}
    left: dict[str, float] = {}
    seen: dict[str, dict[int, float]] = defaultdict(dict)
    days_of_visits: set[tuple[int, int, str, int]] = set()
    gifts: Counter[tuple[int, int]] = Counter()
    for _ in range(30):
        shop, day = chance.choice(shops), chance.choice([-2, 0, 0, 1, 4])
        (person,) = street.follows(shop, days=day + chance.randrange(3) / 1440)
        joined[person] = shop, day
        seen[person][shop.merchant_id] = day
        if chance.random() < 0.2:
            left[person] = day + 0.05
            street.leaves(person, days=left[person])
            continue
        for step in sorted(chance.sample(range(1, 60), chance.randrange(4))):
            at, other = day + 0.1 + step / 20, chance.choice(shops)
            street.scans(person, other, days=at)
            if other != shop:
                days_of_visits.add((shop.merchant_id, other.merchant_id, person, int(at // 1)))
                gifts[shop.merchant_id, other.merchant_id] += other.merchant_id not in seen[person]
            seen[person].setdefault(other.merchant_id, at)
        if chance.random() < 0.2:
            left[person] = day + 4
            street.leaves(person, days=left[person])
    street.erases()
    stayed = {person for person, (_, day) in joined.items() if left.get(person, day + 5) - day > 1}
    visited = Counter((one, two) for one, two, person, _ in days_of_visits if person in stayed)

    standing.recount(runtime)
    with runtime.transaction(Role.PLATFORM) as session:
        span = standing.counted_span(session)
        assert span is not None
        for shop in shops:
            row = standing.standing_of(session, shop.merchant_id)
            assert row is not None
            behind = {
                verdict: standing.people(session, span, merchant_id=shop.merchant_id, verdict=verdict, limit=100)
                for verdict in Verdict
            }
            numbers = {
                Verdict.COUNTED: row.people,
                Verdict.BY_STAFF: row.by_staff,
                Verdict.LEFT_SOON: row.left_soon,
                Verdict.IN_BURST: row.in_bursts,
            }
            assert {verdict: len(rows) for verdict, rows in behind.items()} == numbers
            mine = [person for person, (code, _) in joined.items() if code == shop]
            assert row.left_soon == len(set(mine) - stayed)
            assert sum(numbers.values()) == len(mine)
            given = {
                one.neighbour_id: (one.visits_given, one.followers_given)
                for one in neighbours.of_merchant(session, shop.merchant_id, limit=10)
            }
            for other in shops:
                pair = shop.merchant_id, other.merchant_id
                rows = neighbours.visits(session, span, from_id=pair[0], to_id=pair[1], limit=1_000)
                visits, followers = given.get(other.merchant_id, (0, 0))
                assert (len(rows), sum(one.is_first for one in rows)) == (visits, followers)
                assert visits == visited[pair]
                assert followers == gifts[pair]


def test_rows_come_page_by_page(street: Street, runtime: Runtime) -> None:
    giver, taker = street.shop("豆浆"), street.shop("水果")
    for person in street.follows(giver, number=5):
        street.scans(person, taker, days=1)
    standing.recount(runtime)
    with runtime.transaction(Role.PLATFORM) as session:
        span = standing.counted_span(session)
        assert span is not None

        def visits(before: Key | None) -> list[Visit]:
            return neighbours.visits(
                session, span, from_id=giver.merchant_id, to_id=taker.merchant_id, before=before, limit=3
            )

        def people(before: Key | None) -> list[Won]:
            return standing.people(
                session, span, merchant_id=giver.merchant_id, verdict=Verdict.COUNTED, before=before, limit=3
            )

        for page in (visits, people):
            first = page(None)
            rest = page(first[-1].key)
            assert len({one.follower_id for one in (*first, *rest)}) == 5


# ---- Who may see it --------------------------------------------------------------------------------------------------


def test_a_merchant_sees_its_own_and_the_public_only_the_order(street: Street, runtime: Runtime) -> None:
    one, two, three = street.shop("豆浆"), street.shop("水果"), street.shop("理发")
    for giver, taker in ((one, two), (two, three)):
        for person in street.follows(giver):
            street.scans(person, taker, days=1)
    standing.recount(runtime)
    with runtime.transaction(Role.MERCHANT, merchant_id=three.merchant_id) as session:
        assert session.scalars(text("SELECT merchant_id FROM merchant_standing")).all() == [three.merchant_id]
        assert session.execute(text("SELECT merchant_id, neighbour_id FROM neighbour_exchange")).all() == [
            (three.merchant_id, two.merchant_id)
        ]
    with runtime.transaction(Role.FAN) as session:
        assert len(session.execute(text("SELECT merchant_id, rank FROM merchant_standing")).all()) == 3
        with pytest.raises(Exception, match="permission denied"):
            session.execute(text("SELECT points FROM merchant_standing"))
