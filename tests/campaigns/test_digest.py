"""Digests: nobody gets a merchant whose fan they are not, groups are few and never of one, and what is lost is told."""

import random
from dataclasses import replace
from datetime import timedelta
from itertools import combinations, product

import pytest
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from campaigns.broadcasts import compositions, digest
from campaigns.broadcasts.compositions import assign, choose, worth
from campaigns.broadcasts.content import NotUploaded
from campaigns.broadcasts.digest import Unserved
from campaigns.broadcasts.digest_models import DigestGroup, DigestItem
from campaigns.broadcasts.models import Broadcast, BroadcastState, NotReached
from core.database import Role
from core.errors import BusinessError, Invalid, NotFound
from core.runtime import Runtime
from qrcodes import codes
from qrcodes.fans import Filter
from tests.campaigns.digests import OPERATOR_ID, Street
from tests.community import unsubscribed
from tests.conftest import Sandbox, wait_until
from wechat.client import client_of

# ---- Which compositions ----------------------------------------------------------------------------------------------


def crowd_of(seed: int, *, items: int, people: tuple[int, ...], sets: int) -> dict[int, int]:
    chance = random.Random(seed)
    masks = chance.sample(range(1, 1 << items), min((1 << items) - 1, chance.randint(1, sets)))
    return {mask: chance.choice(people) for mask in masks}


def best_of_all(fans: dict[int, int], items: int, most: int) -> compositions.Worth:
    """The worth of the best choice, found by trying everything."""
    best = (0, 0, 0)
    for many in range(1, most + 1):
        for family in combinations(range(1, 1 << items), many):
            for picked in product(*([0, *(one for one in family if one & mask == one)] for mask in fans)):
                given = {mask: one for mask, one in zip(fans, picked, strict=True) if one}
                sizes = [
                    sum(fans[mask] for mask, one in given.items() if one == other) for other in set(given.values())
                ]
                if all(size >= 2 for size in sizes):
                    best = max(best, worth(fans, given))
    return best


def test_the_choice_is_nearly_always_the_best_there_is() -> None:
    missed, lost, all_articles = [], 0, 0
    for seed in range(200):
        items, most = random.Random(seed).choice([(2, 2), (3, 2), (3, 3), (4, 1), (4, 2)])
        fans = crowd_of(seed, items=items, people=(1, 1, 1, 2, 3, 5, 20), sets=5 if items < 4 else 4)
        best, mine = best_of_all(fans, items, most), worth(fans, assign(fans, choose(fans, most=most)))
        assert mine <= best
        if mine != best:
            missed.append(seed)
        lost += best[0] - mine[0]
        all_articles += best[0]
    assert len(missed) <= 4, missed
    assert lost <= all_articles * 0.005


@pytest.mark.parametrize("seed", range(120))
def test_whatever_the_crowd_the_rules_hold(seed: int) -> None:
    chance = random.Random(seed)
    items, most = chance.randint(1, 12), chance.choice([1, 2, 5, 10])
    fans = crowd_of(seed, items=items, people=(0, 1, 1, 2, 7, 400), sets=60)
    chosen = choose(fans, most=most)
    assert len(chosen) <= most
    assert all(1 <= one.bit_count() <= compositions.MOST_ARTICLES for one in chosen)
    given = assign(fans, chosen)
    assert set(given.values()) == set(chosen), "none is left unused"
    for mask, one in given.items():
        assert one & mask == one, "only merchants whose fan they are"
    for one in chosen:
        assert sum(fans[mask] for mask, other in given.items() if other == one) >= 2
    # Never worse than sending each of the largest sets by itself.
    plain = sorted((mask for mask in fans if mask.bit_count() <= 8), key=lambda m: -m.bit_count() * fans[m])[:most]
    assert worth(fans, given)[0] >= worth(fans, assign(fans, plain))[0]


def test_fans_later_than_the_choice_get_what_is_theirs_or_nothing() -> None:
    """The compositions stay as approved while the fans change."""
    for seed in range(200):
        chosen = choose(crowd_of(seed, items=5, people=(2, 3, 50), sets=12), most=4)
        later = crowd_of(seed + 1000, items=5, people=(1, 1, 2, 9), sets=20)
        given = assign(later, chosen)
        assert all(one in chosen and one & mask == one for mask, one in given.items())
        for one in set(given.values()):
            assert sum(later[mask] for mask, other in given.items() if other == one) >= 2


def test_fewer_groups_where_nothing_is_won_by_more() -> None:
    assert choose({0b11: 5, 0b111: 1}, most=10) == [0b11]
    assert choose({0b1: 1}, most=10) == []
    assert choose({}, most=10) == []
    assert assign({0b1: 1, 0b11: 1}, [0b11, 0b1]) == {0b1: 0b1, 0b11: 0b1}, "two lonely fans share what is theirs"


# ---- Fans of real shops ----------------------------------------------------------------------------------------------


def test_each_fan_gets_only_merchants_whose_fan_they_are(runtime: Runtime) -> None:
    street = Street(runtime)
    street.fans(A=2, AB=3, ABC=2, C=2)
    a, b, c = (street.item(letter) for letter in "ABC")
    digest_id = street.gather([b, a, c])
    seen = street.approve(digest_id)
    assert (seen.audience, seen.reached, seen.articles, seen.calls, seen.missed) == (9, 9, 16, 4, {})
    assert street.freeze(digest_id) == 9
    given = street.given(digest_id)
    assert {name.rstrip("0123456789"): one for name, one in given.items()} == {
        "A": "A", "AB": "BA", "ABC": "BAC", "C": "C",
    }  # fmt: skip
    sizes = street.do(
        "SELECT cardinality(items), size FROM digest_group WHERE digest_id = :id ORDER BY no", id=digest_id
    )
    assert sorted(map(tuple, sizes)) == [(1, 2), (1, 2), (2, 3), (3, 2)]


def test_with_few_groups_somebody_loses_something_and_it_is_told(runtime: Runtime) -> None:
    street = Street(runtime)
    street.fans(A=3, AB=4, BC=1)
    street.do("UPDATE quota_policy SET groups_most = 1")
    a, b, c = (street.item(letter) for letter in "ABC")
    digest_id = street.gather([a, b, c])
    told = street.forecast(digest_id)
    (group,) = told.groups
    assert ([item.id for item in group.items], group.people) == ([a, b], 4)
    assert told.missed == {NotReached.NO_MERCHANT: 4}
    assert [(one.audience, one.reached, one.missed) for one in told.items] == [
        (7, 4, {"no_merchant": 3}),
        (5, 4, {"no_merchant": 1}),
        (1, 0, {"no_merchant": 1}),
    ]
    assert (told.articles, told.unlimited) == (8, 11)
    street.do("UPDATE quota_policy SET groups_most = 2")
    told = street.forecast(digest_id)
    assert [group.people for group in told.groups] == [4, 3]
    assert told.items[1].missed == {"no_merchant": 1}


@pytest.mark.plants_violation  # slots that no message used
def test_whoever_must_not_be_written_to_is_not_and_the_reason_is_kept(runtime: Runtime) -> None:
    street = Street(runtime, "AB")
    names = ("left", "muted", "half_muted", "opted_out", "unreachable", "month", "week", "kept", "fine", "good")
    for name in names:
        street.fan(name, "AB")
    a, b = street.item("A"), street.item("B")
    ids = street.ids
    mute = "UPDATE fan SET muted_at = app_now() WHERE follower_id = :f AND merchant_id = :m"
    street.do(mute, f=ids["muted"], m=street.merchant("A"))
    street.do(mute, f=ids["muted"], m=street.merchant("B"))
    street.do(mute, f=ids["half_muted"], m=street.merchant("A"))
    street.do("INSERT INTO opt_out (follower_id) VALUES (:f)", f=ids["opted_out"])
    street.do("INSERT INTO unreachable VALUES (:f, 'mass', app_now(), 43004)", f=ids["unreachable"])
    used = """
        INSERT INTO fan_month_quota VALUES (:f, date_trunc('month', app_now() AT TIME ZONE 'Asia/Shanghai'), :used,
            date_trunc('week', app_now() AT TIME ZONE 'Asia/Shanghai') - make_interval(weeks => :ago), :week)"""
    street.do(used, f=ids["month"], used=4, ago=1, week=2)
    street.do(used, f=ids["week"], used=2, ago=0, week=2)
    # Three slots are gone: the last is kept for the platform, and a digest is the platform's.
    street.do(used, f=ids["kept"], used=3, ago=1, week=2)
    street.inbox.receive([unsubscribed(street.openids["left"], street.neighbourhood.now - timedelta(hours=1))])
    digest_id = street.gather([a, b])
    told = street.approve(digest_id)
    street.freeze(digest_id)
    assert street.given(digest_id) == {
        "left": "left", "muted": "muted", "opted_out": "opted_out", "unreachable": "unreachable", "month": "month",
        "week": "week", "half_muted": "no_merchant", "kept": "AB", "fine": "AB", "good": "AB",
    }  # fmt: skip
    assert told.missed == {NotReached(name): 1 for name in names[:7] if name != "half_muted"} | {
        NotReached.NO_MERCHANT: 1
    }
    by_item = told.items[0].missed
    assert by_item.pop("muted") == 2
    assert by_item == dict.fromkeys(("left", "opted_out", "unreachable", "month", "week"), 1)


def test_a_digest_may_not_go_to_who_has_no_slot_left_because_of_a_send_by_hand(runtime: Runtime) -> None:
    street = Street(runtime, "A")
    street.fans(A=2)
    digest_id = street.gather([street.item("A")])
    street.do(
        """
        INSERT INTO mass_report (msg_id, account_id, reported_at, status, total, filtered, sent, errors, is_foreign,
                                 counts_for_everybody)
        SELECT n, :account, app_now(), 'send success', 2, 0, 2, 0, true, true FROM generate_series(1, 4) n""",
        account=street.neighbourhood.account_id,
    )
    assert street.forecast(digest_id).missed == {NotReached.MONTH: 2}


def test_the_audience_of_each_item_is_the_merchants_own_choice(runtime: Runtime) -> None:
    street = Street(runtime, "AB")
    street.fans(A=2, AB=2)
    street.do("UPDATE fan SET note = '老主顾' WHERE merchant_id = :a AND follower_id = ANY(:those)",
              a=street.merchant("A"), those=[street.ids["A0"], street.ids["AB0"], street.ids["AB1"]])  # fmt: skip
    items = [street.item("A", wanted=Filter(search="老主顾", following_only=True)),
             street.item("B", wanted=Filter(seen_within_days=30, visits_at_least=1))]  # fmt: skip
    told = street.forecast(street.gather(items))
    assert [(one.audience, one.reached) for one in told.items] == [(3, 2), (2, 2)]
    assert told.missed == {NotReached.NO_MERCHANT: 1}, "the only one of a group of her own"


def test_a_group_that_shrinks_to_one_is_given_up(runtime: Runtime) -> None:
    street = Street(runtime, "AB")
    street.fans(A=2, AB=2)
    digest_id = street.gather([street.item("A"), street.item("B")])
    assert len(street.approve(digest_id).groups) == 2
    street.inbox.receive([unsubscribed(street.openids["AB0"], street.neighbourhood.now)])
    street.freeze(digest_id)
    assert street.given(digest_id) == {"A0": "A", "A1": "A", "AB0": "left", "AB1": "A"}


def test_a_suspended_merchant_is_in_nobodys_message(runtime: Runtime) -> None:
    street = Street(runtime, "AB")
    street.fans(AB=2, A=2)
    digest_id = street.gather([street.item("A"), street.item("B")])
    street.approve(digest_id)
    with runtime.transaction(Role.PLATFORM) as session:
        codes.suspend_merchant(session, merchant_id=street.merchant("B"), now=runtime.now())
    street.freeze(digest_id)
    assert set(street.given(digest_id).values()) == {"A"}


# ---- Building, approving, ending -------------------------------------------------------------------------------------


def test_an_item_is_in_one_digest_and_ordered_by_the_operator(runtime: Runtime) -> None:
    street = Street(runtime)
    a, b, c = (street.item(letter) for letter in "ABC")
    waiting = street.item("A", is_approved=False)
    first, second = street.gather([a, b]), street.gather([])
    with runtime.transaction(Role.PLATFORM) as session:
        assert [item.id for item in digest.waiting(session)] == [c]
        digest.move(session, digest_id=first, item_id=b, by=-1)
        digest.move(session, digest_id=first, item_id=b, by=-1)
        assert [item.id for item in digest.items(session, first)] == [b, a]
        digest.remove(session, digest_id=first, item_id=b)
        assert [item.id for item in digest.waiting(session)] == [b, c]
        for taken in (a, waiting, first, 10**9):
            with pytest.raises(digest.ItemTaken):
                digest.add(session, digest_id=second, item_id=taken)
        with pytest.raises(NotFound):
            digest.remove(session, digest_id=second, item_id=a)
        with pytest.raises(digest.DigestChanged):
            digest.arrange(session, digest_id=first, item_ids=[a, b])
        with pytest.raises(NotFound):
            digest.get(session, a)


def test_what_was_approved_can_no_longer_change(runtime: Runtime) -> None:
    street = Street(runtime, "AB")
    street.fans(AB=2)
    a, b = street.item("A"), street.item("B")
    digest_id = street.gather([a])
    street.approve(digest_id)
    with runtime.transaction(Role.PLATFORM) as session, pytest.raises(digest.NoDraft):
        digest.add(session, digest_id=digest_id, item_id=b)
    for statement in (
        "UPDATE digest_group SET items = ARRAY[9]",
        "DELETE FROM digest_group",
        "UPDATE digest_item SET position = 3",
        "DELETE FROM digest_item",
        "INSERT INTO digest_item SELECT digest_id, item_id + 1, merchant_id + 1, 1 FROM digest_item",
    ):
        with pytest.raises(DBAPIError, match="only change while it is a draft"):
            street.do(statement)
    state = "SELECT state, evidence, content_hash, decided_by FROM broadcast WHERE id = :id"
    ((said, evidence, content_hash, by),) = street.do(state, id=digest_id)
    assert (said, by, evidence["reach"]["reached"], evidence["cost"]) == (
        "approved", OPERATOR_ID, 2, {"slots": 2, "calls": 1},
    )  # fmt: skip
    assert evidence["groups"] == [{"no": 1, "items": [a], "people": 2}]
    assert evidence["content_hash"] == bytes(content_hash).hex()
    assert street.do(state, id=a)[0][0] == "gathered"


def test_only_what_was_seen_and_can_be_sent_is_approved(runtime: Runtime) -> None:
    street = Street(runtime, "AB")
    street.fans(AB=2)
    a, b = street.item("A"), street.item("B")
    digest_id = street.gather([a, b])

    def approve(seen: str, **options: object) -> None:
        with runtime.transaction(Role.PLATFORM) as session:
            given = {"scheduled_at": None, "operator_id": OPERATOR_ID, "now": runtime.now()} | options
            digest.approve(session, digest_id=digest_id, seen=seen, **given)  # type: ignore[arg-type]

    with runtime.transaction(Role.PLATFORM) as session:
        seen = digest.signature(digest.items(session, digest_id))
        digest.move(session, digest_id=digest_id, item_id=b, by=-1)
        now_seen = digest.signature(digest.items(session, digest_id))
    with pytest.raises(digest.DigestChanged):
        approve(seen)
    with pytest.raises(Invalid, match="过了"):
        approve(now_seen, scheduled_at=runtime.now() - timedelta(minutes=1))
    street.step(b, BroadcastState.DRAFT)
    with pytest.raises(Invalid, match="先移出"):
        approve(now_seen)
    empty = street.gather([])
    with runtime.transaction(Role.PLATFORM) as session, pytest.raises(Invalid, match="没有人"):
        digest.approve(session, digest_id=empty, seen=digest.signature([]), scheduled_at=None,
                       operator_id=OPERATOR_ID, now=runtime.now())  # fmt: skip


def test_items_end_with_their_digest_and_merchants_read_their_own_counts(runtime: Runtime) -> None:
    street = Street(runtime, "AB")
    street.fans(A=2, AB=3)
    a, b = street.item("A"), street.item("B")
    digest_id = street.gather([a, b])
    street.approve(digest_id)
    street.freeze(digest_id)
    street.step(digest_id, BroadcastState.RUNNING)
    street.do("UPDATE broadcast_recipient SET state = 'sent' WHERE follower_id = ANY(:those)",
              those=[street.ids[name] for name in ("A0", "A1", "AB0")])  # fmt: skip
    street.do("UPDATE broadcast_recipient SET state = 'unknown' WHERE follower_id = :f", f=street.ids["AB1"])
    street.do("UPDATE broadcast_recipient SET state = 'rejected' WHERE follower_id = :f", f=street.ids["AB2"])
    street.step(digest_id, BroadcastState.FINISHED)
    street.do("UPDATE broadcast SET finished_at = app_now() WHERE id = :id", id=digest_id)
    with runtime.transaction(Role.PLATFORM) as session:
        digest.settle(session)
    assert street.do("SELECT DISTINCT state FROM broadcast WHERE id IN (:a, :b)", a=a, b=b) == [("finished",)]
    with runtime.transaction(Role.MERCHANT, merchant_id=street.merchant("A")) as session:
        mine = digest.outcome(session, session.get_one(Broadcast, a))
        assert mine is not None
        assert (mine.audience, mine.planned, mine.accepted, mine.rejected, mine.unknown) == (5, 5, 3, 1, 1)
        others = session.scalars(select(DigestItem).where(DigestItem.item_id != a)).all()
        assert not others, "what became of another's item is not this merchant's to know"
    asked = runtime.transaction(Role.MERCHANT, merchant_id=street.merchant("A"))
    with asked as session, pytest.raises(DBAPIError):
        session.execute(select(DigestGroup))


def test_who_got_an_item_before_its_digest_was_stopped_does_not_get_it_again(runtime: Runtime) -> None:
    street = Street(runtime, "AB")
    street.fans(AB=4, B=2)
    a, b = street.item("A"), street.item("B")
    stopped = street.gather([a])
    street.approve(stopped)
    street.freeze(stopped)
    street.do("UPDATE broadcast_recipient SET state = 'sent' WHERE follower_id = :f", f=street.ids["AB0"])
    street.do("UPDATE broadcast_recipient SET state = 'unknown' WHERE follower_id = :f", f=street.ids["AB1"])
    street.do("UPDATE broadcast_recipient SET state = 'cancelled' WHERE state = 'planned'")
    street.step(stopped, BroadcastState.RUNNING, BroadcastState.CANCELLED)
    street.do("UPDATE broadcast SET finished_at = app_now() WHERE id = :id", id=stopped)
    with runtime.transaction(Role.PLATFORM) as session:
        digest.settle(session)
        assert {item.id for item in digest.waiting(session)} == {a, b}
    again = street.gather([a, b])
    told = street.approve(again)
    assert told.items[0].missed == {Unserved.HAD: 2}
    street.freeze(again)
    assert street.given(again) == {
        "AB0": "B", "AB1": "B", "AB2": "AB", "AB3": "AB", "B0": "B", "B1": "B",
    }  # fmt: skip


def test_a_digest_is_given_up_only_before_it_starts(runtime: Runtime) -> None:
    street = Street(runtime, "A")
    street.fans(A=2)
    a = street.item("A")
    digest_id = street.gather([a])
    street.approve(digest_id)
    with runtime.transaction(Role.PLATFORM) as session:
        digest.cancel(session, digest_id=digest_id, now=runtime.now())
        assert [item.id for item in digest.waiting(session)] == [a]
    again = street.gather([a])
    street.approve(again)
    street.freeze(again)
    with runtime.transaction(Role.PLATFORM) as session, pytest.raises(BusinessError, match="已经开始"):
        digest.cancel(session, digest_id=again, now=runtime.now())


# ---- Handing over ----------------------------------------------------------------------------------------------------


@pytest.fixture
def connected(runtime: Runtime, sandbox: Sandbox) -> Runtime:
    hosts = {f"wechat_{host}_url": sandbox.url for host in ("api", "mp", "open")}
    return replace(runtime, settings=runtime.settings.model_copy(update=hosts))


def test_each_group_is_one_draft_with_its_articles_in_order(connected: Runtime, sandbox: Sandbox) -> None:
    street = Street(connected, "AB")
    street.fans(A=2, AB=2)
    a, b = street.item("A", colour="#07c160"), street.item("B", colour="#d63939")
    digest_id = street.gather([b, a])
    street.approve(digest_id)
    with connected.transaction(Role.PLATFORM) as session, pytest.raises(NotUploaded):
        digest.mass_content(session, digest_id, 1)
    digest.upload(connected, digest_id)
    with connected.transaction(Role.PLATFORM) as session:
        messages = [digest.mass_content(session, digest_id, no) for no in (1, 2)]
    digest.upload(connected, digest_id)
    people = [sandbox.post("/sandbox/people", name=name)["openid"] for name in ("安", "白")]
    for openid in people:
        sandbox.post(f"/sandbox/people/{openid}/follow")
    seen = []
    for number, message in enumerate(messages):
        client_of(connected).mass_send(people, message, f"digest-{number}")
        wait_until(lambda many=number + 1: len(articles_of(sandbox, people[0])) == many)  # type: ignore[misc]
        seen = articles_of(sandbox, people[0])
    assert seen == [["B有新茶", "A有新茶"], ["A有新茶"]]


def articles_of(sandbox: Sandbox, openid: str) -> list[list[str]]:
    """The titles in each message of articles on somebody's phone."""
    chat = sandbox.get(f"/sandbox/people/{openid}/chat")["messages"]
    return [[article["title"] for article in message["articles"]] for message in chat if message.get("articles")]
