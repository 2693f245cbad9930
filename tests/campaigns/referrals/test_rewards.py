"""Only the first confirmed spend earns something, for two levels at most, and what smells is held (RF-4 to RF-7)."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, ProgrammingError

from bot import retention
from campaigns.points import rules
from campaigns.points.models import RuleTrigger
from campaigns.points.rules import Rule
from campaigns.referrals import binding, review
from campaigns.referrals.models import RewardState, Suspicion
from core.database import Role
from core.errors import Invalid
from core.outbox import Task
from tests.campaigns.referrals.cards import Person, Street
from tests.community import subscribed


def states(street: Street) -> list[str]:
    return [row[0] for row in street.read("SELECT state FROM referral_reward ORDER BY id")]


def test_the_first_spend_earns_once_and_the_second_nothing(street: Street) -> None:
    ann = street.follower()
    ben = street.brings(ann)
    assert street.points(ann) == 0
    street.later(minutes=5)
    _visit, rewarded = street.spend(ben)
    assert [(one.level, one.beneficiary_id, one.state) for one in rewarded] == [(1, ann.id, RewardState.PAID)]
    assert street.points(ann) == 50
    street.later(days=1)
    assert street.spend(ben)[1] == []
    assert street.points(ann) == 50


def test_following_leaving_and_following_again_earns_nothing(street: Street) -> None:
    ann = street.follower()
    scene = street.scene_of(street.card(ann))
    street.later(hours=1)
    ben = street.follower(scene)
    street.work(binding.BIND)
    assert street.edges() == {ben.id: ann.id}
    for _ in range(3):
        street.later(hours=1)
        street.leave(ben)
        street.later(hours=30)
        street.tell(subscribed(ben.openid, street.now, scene))
        street.work(binding.BIND)
    assert states(street) == []
    assert street.read("SELECT count(*) FROM points_transfer") == [(0,)]


@pytest.mark.parametrize("bill_fen", [None, 0])
def test_a_visit_without_a_bill_earns_nothing(street: Street, bill_fen: int | None) -> None:
    ann = street.follower()
    ben = street.brings(ann)
    street.later(minutes=5)
    assert street.spend(ben, bill_fen)[1] == []
    # It was no spend, so the next one is the first.
    street.later(minutes=5)
    assert len(street.spend(ben)[1]) == 1


def test_spending_at_another_shop_earns_nothing_there_or_here(street: Street) -> None:
    street.reward(street.noodles)
    ann = street.follower()
    ben = street.brings(ann)
    street.later(minutes=5)
    assert street.spend(ben, merchant_id=street.noodles)[1] == []
    assert (street.points(ann), street.points(ann, street.noodles)) == (0, 0)


def test_a_stranger_earns_nobody_anything(street: Street) -> None:
    assert street.spend(street.follower())[1] == []


def test_without_a_rule_nothing_is_earned(street: Street) -> None:
    ben = street.brings(street.follower())
    street.do("UPDATE points_rule SET is_on = false")
    assert street.spend(ben)[1] == []
    assert states(street) == []


def test_one_level_by_default_two_where_the_merchant_says_so_and_never_a_third(street: Street) -> None:
    ann = street.follower()
    ben = street.brings(ann)
    street.later(days=3)
    cat = street.brings(ben)
    street.later(days=3)
    assert [one.level for one in street.spend(cat)[1]] == [1]
    street.reward(street.tea, level=2, points=20)
    dan = street.brings(cat)
    street.later(days=3)
    eve = street.brings(dan)
    street.later(days=3)
    assert [(one.level, one.beneficiary_id) for one in street.spend(eve)[1]] == [(1, dan.id), (2, cat.id)]
    assert [street.points(one) for one in (ann, ben, cat, dan)] == [0, 50, 20, 50]


def test_the_second_level_ends_at_the_door_of_the_merchant(street: Street) -> None:
    for shop in (street.tea, street.noodles):
        street.reward(shop)
        street.reward(shop, level=2, points=20)
    ann = street.follower()
    ben = street.brings(ann, street.noodles)
    street.later(days=3)
    cat = street.brings(ben, street.tea)
    street.later(days=3)
    assert [(one.level, one.beneficiary_id) for one in street.spend(cat)[1]] == [(1, ben.id)]


def test_what_is_undone_is_taken_back_and_earned_by_the_next_first_spend(street: Street) -> None:
    ann = street.follower()
    ben = street.brings(ann)
    street.later(minutes=5)
    visit_id, _ = street.spend(ben)
    assert street.undo(visit_id) == 1
    assert street.undo(visit_id) == 0
    assert (street.points(ann), states(street)) == (0, ["reversed"])
    street.later(minutes=5)
    assert len(street.spend(ben)[1]) == 1
    assert (street.points(ann), states(street)) == (50, ["paid"])


def test_no_more_than_the_cap_of_the_day(street: Street) -> None:
    street.reward(street.tea, points=50, most_per_person=60)
    ann = street.follower()
    card = street.card(ann)
    friends = [street.newcomer(card) for _ in range(3)]
    street.later(minutes=5)
    for friend in friends:
        street.spend(friend)
    assert street.points(ann) == 60
    assert states(street) == ["paid", "paid"]


# ---- Held ----


def test_many_in_an_hour_are_held_until_somebody_has_looked(street: Street) -> None:
    ann = street.follower()
    card = street.card(ann)
    friends = [street.newcomer(card) for _ in range(6)]
    street.later(hours=1)
    for friend in friends:
        street.spend(friend)
    assert states(street) == ["held"] * 6
    assert street.points(ann) == 0
    assert street.read("SELECT DISTINCT suspicion FROM referral_reward") == [("burst",)]


def test_a_few_neighbours_at_one_address_are_looked_at_and_others_are_not(street: Street) -> None:
    ann, cat = street.follower(), street.follower()
    anns, cats = street.card(ann), street.card(cat)
    for number in range(3):
        street.spend(street.newcomer(anns, address_hash=b"one net"))
        street.spend(street.newcomer(cats, address_hash=b"net %d" % number))
        street.later(hours=2)
    assert street.points(cat) == 150
    assert street.points(ann) == 100
    assert street.read("SELECT suspicion FROM referral_reward WHERE state = 'held'") == [("address",)]


def test_staff_earn_nothing_by_themselves(street: Street) -> None:
    ann = street.follower()
    ben = street.brings(ann)
    street.staff(street.tea, ann)
    _visit, rewarded = street.spend(ben)
    assert [one.suspicions for one in rewarded] == [(Suspicion.STAFF,)]
    assert street.points(ann) == 0


def ring(street: Street, size: int) -> list[Person]:
    """So many who bring each other, one after the other, a minute each."""
    people = [street.follower()]
    for _ in range(size - 1):
        street.later(minutes=1)
        people.append(street.brings(people[-1]))
    street.later(minutes=1)
    first = street.card(people[-1])
    assert not street.opened(first, people[0]).is_new
    return people


def test_a_ring_of_fifty_is_held_and_the_operator_sees_what_it_is(street: Street) -> None:
    street.reward(street.tea, level=2, points=20)
    people = ring(street, 50)
    for person in people[1:]:
        street.spend(person)
    assert set(states(street)) == {"held"}
    assert len(states(street)) == 49 + 48
    assert street.read("SELECT count(*) FROM points_transfer") == [(0,)]
    with street.runtime.transaction(Role.PLATFORM) as session:
        [last] = review.held(session, after=max(r[0] for r in street.read("SELECT id FROM referral_reward")) - 1)
    assert last.suspicions == (Suspicion.RING,)
    assert last.facts.depth >= 20
    assert last.facts.density == 100
    assert last.facts.brought == 1


def test_friends_of_friends_over_weeks_are_no_ring(street: Street) -> None:
    people = [street.follower()]
    for _ in range(8):
        street.later(days=4)
        people.append(street.brings(people[-1]))
    for person in people[1:]:
        street.spend(person)
    assert set(states(street)) == {"paid"}


# ---- Looked at ----


def held_one(street: Street) -> tuple[Person, int]:
    ann = street.follower()
    ben = street.brings(ann)
    street.staff(street.tea, ann)
    street.spend(ben)
    return ann, street.read("SELECT id FROM referral_reward")[0][0]


def test_what_is_released_is_paid_once_with_a_note(street: Street) -> None:
    ann, reward_id = held_one(street)
    with street.runtime.transaction(Role.PLATFORM) as session, pytest.raises(Invalid):
        review.release(session, reward_id=reward_id, operator_id=1, note=" ", now=street.now)
    assert street.points(ann) == 0
    with street.runtime.transaction(Role.PLATFORM) as session:
        review.release(session, reward_id=reward_id, operator_id=1, note="老板的亲戚，真来吃的", now=street.now)
    assert street.points(ann) == 50
    with street.runtime.transaction(Role.PLATFORM) as session, pytest.raises(review.NotHeld):
        review.release(session, reward_id=reward_id, operator_id=1, note="再来", now=street.now)
    assert street.points(ann) == 50


def test_what_is_refused_stays_refused(street: Street) -> None:
    ann, reward_id = held_one(street)
    with street.runtime.transaction(Role.PLATFORM) as session:
        review.refuse(session, reward_id=reward_id, operator_id=1, note="自己人刷的", now=street.now)
    street.later(days=1)
    assert (street.points(ann), states(street)) == (0, ["refused"])
    with pytest.raises(IntegrityError):
        street.do("UPDATE referral_reward SET state = 'paid'")


def test_what_is_held_cannot_be_released_over_the_cap_of_the_day(street: Street) -> None:
    _ann, reward_id = held_one(street)
    street.do("UPDATE points_rule SET is_on = false")
    with street.runtime.transaction(Role.PLATFORM) as session, pytest.raises(review.CapReached):
        review.release(session, reward_id=reward_id, operator_id=1, note="好", now=street.now)
    assert states(street) == ["held"]


def test_no_till_releases_what_is_held(street: Street) -> None:
    held_one(street)
    with (
        pytest.raises(ProgrammingError),
        street.runtime.transaction(Role.MERCHANT, merchant_id=street.tea) as session,
    ):
        session.execute(text("UPDATE referral_reward SET state = 'paid'"))


def test_the_inviters_are_listed_with_who_came_back(street: Street) -> None:
    ann = street.follower()
    card = street.card(ann)
    ben, cat = street.newcomer(card), street.newcomer(card)
    street.later(hours=1)
    street.spend(ben)
    street.later(days=2)
    street.spend(ben)
    street.leave(cat)
    with street.runtime.transaction(Role.PLATFORM) as session:
        [one] = review.inviters(session, now=street.now)
        found = review.facts(session, merchant_id=street.tea, invitee_id=ben.id)
    assert (one.follower_id, one.brought, one.spent, one.came_back, one.paid) == (ann.id, 2, 1, 1, 1)
    assert (found.brought, found.came_back, found.left, found.in_hour) == (2, 1, 1, 2)
    with street.runtime.transaction(Role.FAN, follower_id=ann.id) as session:
        mine = review.mine(session, merchant_id=street.tea, follower_id=ann.id)
    assert (mine.brought, mine.spent, mine.held) == (2, 1, 0)


# ---- What no rule can say ----


def rule(street: Street, **values: object) -> Rule:
    plain = {"points": 10, "most_per_person": 100, "most_per_day": 1000, "level": 1} | values
    return Rule(RuleTrigger.REFERRAL, **plain)  # type: ignore[arg-type]


@pytest.mark.parametrize("broken", [{"level": 3}, {"level": 0}, {"per_fen": 100}, {"points": 0}, {"points": -5}])
def test_no_third_level_no_share_of_what_others_spend_and_no_fee(street: Street, broken: dict[str, object]) -> None:
    with street.runtime.transaction(Role.PLATFORM) as session, pytest.raises(Invalid):
        rules.save(session, merchant_id=street.tea, rule=rule(street, **broken), now=street.now)


@pytest.mark.parametrize("trigger", ["follow", "share", "moments", "help", "entry_fee"])
def test_nothing_but_what_happens_at_the_till_can_be_a_trigger(street: Street, trigger: str) -> None:
    assert trigger not in set(RuleTrigger)
    with pytest.raises(IntegrityError):
        street.do(
            """INSERT INTO points_rule (merchant_id, trigger, points, most_per_person, most_per_day)
               VALUES (:m, :t, 1, 1, 1)""",
            m=street.noodles, t=trigger,
        )  # fmt: skip


def test_where_invited_people_came_from_is_forgotten_in_time(street: Street) -> None:
    street.newcomer(street.card(street.follower()), address_hash=b"somewhere")
    forget = Task(1, retention.FORGET, {}, None, 1, 0)
    street.later(days=89)
    retention.forget_old(street.runtime, forget)
    assert street.read("SELECT address_hash IS NULL FROM referral") == [(False,)]
    street.later(days=2)
    retention.forget_old(street.runtime, forget)
    assert street.read("SELECT address_hash IS NULL FROM referral") == [(True,)]
