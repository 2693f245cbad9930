"""One inviter for ever, never oneself, never in a ring, and only somebody new (RF-1 to RF-3)."""

import itertools
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, ProgrammingError

import bot.erasers  # noqa: F401
from campaigns.referrals import binding, invites
from campaigns.referrals.binding import Came
from campaigns.referrals.models import CameBy
from core import erasure
from core.database import Role
from core.errors import NotFound
from core.runtime import Runtime
from merchants import owners
from qrcodes import codes, queries
from qrcodes.codes import Changes, Wanted
from qrcodes.models import CodeKind
from qrcodes.queries import CodeFilter
from tests.campaigns.referrals.cards import Street
from tests.community import new_openid, scanned, subscribed, unsubscribed, wrote


def test_whoever_comes_first_by_a_cards_page_was_brought_by_its_owner(street: Street) -> None:
    ann = street.follower()
    ben = street.newcomer(street.card(ann))
    assert street.edges() == {ben.id: ann.id}


def test_whoever_follows_by_scanning_a_cards_code_was_brought_by_its_owner(street: Street) -> None:
    ann = street.follower()
    street.later(hours=1)
    ben = street.follower(street.scene_of(street.card(ann)))
    assert street.edges() == {}
    assert street.work(binding.BIND) == 1
    assert street.edges() == {ben.id: ann.id}
    assert street.read("SELECT came_by FROM referral") == [("scan",)]


def test_a_follow_by_a_shops_own_code_owes_nothing_about_cards(street: Street) -> None:
    street.follower()
    assert street.work(binding.BIND) == 0


def test_nobody_brings_themselves(street: Street) -> None:
    ann = street.follower()
    card = street.card(ann)
    assert street.opened(card, ann).came is Came.SELF
    street.tell(scanned(ann.openid, street.now, street.scene_of(card)))
    assert street.work(binding.BIND) == 0
    assert street.edges() == {}


def test_whoever_leaves_and_comes_back_by_their_own_card_did_not_bring_themselves(street: Street) -> None:
    ann = street.follower()
    scene = street.scene_of(street.card(ann))
    street.later(hours=1)
    street.leave(ann)
    street.later(hours=1)
    street.tell(subscribed(ann.openid, street.now, scene))
    assert street.work(binding.BIND) == 1
    assert street.edges() == {}


def test_two_cannot_bring_each_other(street: Street) -> None:
    ann = street.follower()
    street.later(minutes=1)
    ben = street.newcomer(street.card(ann))
    street.later(minutes=1)
    assert street.opened(street.card(ben), ann).came is Came.KNOWN
    assert street.edges() == {ben.id: ann.id}


def test_a_card_that_is_over_brings_nobody(street: Street) -> None:
    card = street.card(street.follower())
    street.later(days=31)
    assert street.opened(card, street.visitor()).came is Came.OVER
    assert street.edges() == {}


def test_an_unknown_card_brings_nobody(street: Street) -> None:
    ben = street.visitor()
    with street.runtime.transaction(Role.PLATFORM) as session:
        bound = binding.bind(
            session, invite_public_id="nosuchcard1234", follower_id=ben.id, came_by=CameBy.PAGE, now=street.now
        )
    assert bound.came is Came.OVER


def test_a_card_of_another_official_account_brings_nobody(street: Street) -> None:
    card = street.card(street.follower())
    street.do(
        """INSERT INTO official_account (app_id, original_id, name, is_sandbox, live_since)
           SELECT 'wx0000000000000002', 'gh_000000000002', '别家', true, live_since FROM official_account"""
    )
    street.later(minutes=1)
    ben = street.visitor()
    street.do("UPDATE follower SET account_id = (SELECT max(id) FROM official_account) WHERE id = :id", id=ben.id)
    assert street.opened(card, ben, opened_at=street.runtime.now() - timedelta(minutes=1)).came is Came.ELSEWHERE
    assert street.edges() == {}


def test_who_follows_already_is_not_brought(street: Street) -> None:
    ann, ben = street.follower(), street.follower()
    street.later(days=1)
    assert street.opened(street.card(ann), ben).came is Came.KNOWN
    assert street.edges() == {}


def test_who_opened_another_page_before_is_not_brought(street: Street) -> None:
    ann = street.follower()
    card = street.card(ann)
    ben = street.visitor()
    street.later(minutes=1)
    assert street.opened(card, ben).came is Came.KNOWN


def test_who_spent_something_before_is_not_brought(street: Street) -> None:
    card = street.card(street.follower())
    opened_at = street.runtime.now() + timedelta(hours=1)
    ben = street.visitor()
    street.visit(ben)
    # Even if their first sight of us were told to be later than it was.
    street.do("UPDATE follower SET first_seen_at = :at WHERE id = :id", at=opened_at, id=ben.id)
    street.later(hours=1)
    assert street.opened(card, ben, opened_at=opened_at).came is Came.KNOWN


def test_the_first_inviter_stays(street: Street) -> None:
    ann, cat = street.follower(), street.follower()
    ben = street.newcomer(street.card(ann))
    again = street.opened(street.card(ann), ben)
    other = street.opened(street.card(cat), ben)
    assert (again.came, again.inviter_id) == (Came.AGAIN, ann.id)
    assert (other.came, other.inviter_id) == (Came.TAKEN, ann.id)
    assert street.edges() == {ben.id: ann.id}


def test_a_merchant_that_switched_its_cards_off_has_none(street: Street) -> None:
    ann = street.follower()
    card = street.card(ann)
    street.do("UPDATE points_rule SET is_on = false")
    assert street.opened(card, street.visitor()).came is Came.OVER
    with street.runtime.transaction(Role.FAN) as session:
        assert invites.welcome(session, public_id=card.public_id, now=street.now) is None
    with street.runtime.transaction(Role.FAN, follower_id=ann.id) as session, pytest.raises(NotFound):
        invites.take(session, merchant_id=street.tea, follower_id=ann.id, now=street.now)


def test_who_was_forgotten_brings_nobody_and_is_not_new_when_they_come_back(street: Street) -> None:
    ann, cat = street.follower(), street.follower()
    card = street.card(ann)
    ben = street.newcomer(card, address_hash=b"somewhere")
    street.later(minutes=1)
    for person in (ann, ben):
        with street.runtime.transaction(Role.PLATFORM) as session:
            session.execute(text("SELECT 1 FROM follower WHERE id = :id FOR UPDATE"), {"id": person.id})
            erasure.erase(session, follower_id=person.id, reason="request")
    assert street.read("SELECT address_hash FROM referral") == [(None,)]
    street.later(minutes=1)
    assert street.opened(card, street.visitor()).came is Came.OVER
    with street.runtime.transaction(Role.PLATFORM) as session:
        assert owners.meet(session, street.runtime, openid=ann.openid, now=street.runtime.now()) == ann.id
    assert street.opened(street.card(cat), ann).came is Came.KNOWN


# ---- Events in any order ----


def test_late_doubled_and_reordered_events_end_in_the_same_edge(street: Street) -> None:
    """Ben follows by Ann's card, leaves, and follows again by Cat's: Ann brought him, however it is told."""
    ann, cat = street.follower(), street.follower()
    anns, cats = street.scene_of(street.card(ann)), street.scene_of(street.card(cat))
    street.later(hours=1)
    for told in itertools.permutations(range(4)):
        ben, at = new_openid(), street.now
        events = [
            subscribed(ben, at, anns),
            wrote(ben, at + timedelta(seconds=20)),
            unsubscribed(ben, at + timedelta(seconds=40)),
            subscribed(ben, at + timedelta(hours=6), cats),
        ]
        street.later(hours=7)
        street.tell(*(events[number] for number in told), events[told[0]], events[told[2]])
        street.work(binding.BIND)
        assert street.edges()[street.of(ben).id] == ann.id, told


def test_what_was_spent_before_the_scan_was_worked_off_counts(street: Street) -> None:
    ann = street.follower()
    scene = street.scene_of(street.card(ann))
    street.later(hours=1)
    ben = street.follower(scene)
    street.later(seconds=10)
    _visit, rewarded = street.spend(ben)
    assert rewarded == []
    street.work(binding.BIND)
    assert street.points(ann) == 50


# ---- What the database refuses to anybody ----


def test_the_database_refuses_edges_of_ones_own_of_the_old_and_in_rings(street: Street) -> None:
    ann = street.follower()
    street.later(minutes=1)
    ben = street.newcomer(street.card(ann))
    card = street.card(ben)
    for invitee in (ann.id, ben.id):
        with pytest.raises(IntegrityError):
            street.do(
                """INSERT INTO referral (invitee_id, inviter_id, merchant_id, invite_id, came_by)
                   VALUES (:invitee, :inviter, :m, :card, 'page')""",
                invitee=invitee, inviter=ben.id, m=street.tea, card=card.id,
            )  # fmt: skip
    with pytest.raises(ProgrammingError):
        street.do("UPDATE referral SET inviter_id = :id", id=street.follower().id)
    with pytest.raises(ProgrammingError):
        street.do("DELETE FROM referral")


def test_no_merchant_and_no_owner_writes_who_brought_whom(runtime: Runtime, street: Street) -> None:
    ann = street.follower()
    card, ben = street.card(ann), street.visitor()
    for inside in (
        runtime.transaction(Role.MERCHANT, merchant_id=street.tea),
        runtime.transaction(Role.FAN, follower_id=ben.id),
    ):
        with pytest.raises(ProgrammingError), inside as session:
            session.execute(
                text("""INSERT INTO referral (invitee_id, inviter_id, merchant_id, invite_id, came_by)
                        VALUES (:b, :a, :m, :card, 'page')"""),
                {"a": ann.id, "b": ben.id, "m": street.tea, "card": card.id},
            )


def test_nobody_makes_a_card_in_anothers_name(runtime: Runtime, street: Street) -> None:
    ann, ben = street.follower(), street.follower()
    with pytest.raises(ProgrammingError), runtime.transaction(Role.FAN, follower_id=ben.id) as session:
        invites.take(session, merchant_id=street.tea, follower_id=ann.id, now=street.now)


# ---- The codes of cards ----


def test_cards_do_not_bury_the_codes_that_somebody_hung_up(street: Street) -> None:
    card = street.card(street.follower())
    with street.runtime.transaction(Role.MERCHANT, merchant_id=street.tea) as session:
        listed = queries.page(session, wanted=CodeFilter(merchant_id=street.tea), now=street.now)
        cards = queries.page(session, wanted=CodeFilter(merchant_id=street.tea, kind=CodeKind.INVITE), now=street.now)
    assert [row.code.id for row in listed] == [street.code.id]
    assert [row.code.label for row in cards] == [f"{invites.LABEL} {card.public_id}"]
    street.later(days=25)
    with street.runtime.transaction(Role.PLATFORM) as session:
        assert queries.expiring(session, street.now) == []


def test_a_cards_code_stays_a_cards_code(street: Street) -> None:
    street.card(street.follower())
    code_id = street.read("SELECT id FROM sub_qr_code WHERE kind = 'invite'")[0][0]
    with street.runtime.transaction(Role.PLATFORM) as session:
        codes.edit_many(session, code_ids=[code_id], merchant_id=street.tea, changes=Changes(kind=CodeKind.TABLE))
        with pytest.raises(NotFound):
            codes.edit(session, merchant_id=street.tea, code_id=code_id, wanted=Wanted("一号桌", CodeKind.TABLE))
    assert street.read("SELECT kind FROM sub_qr_code WHERE id = :id", id=code_id) == [("invite",)]


def test_a_card_takes_none_of_the_accounts_permanent_codes_and_ends_with_its_code(street: Street) -> None:
    used = street.read("SELECT used FROM scene_pool")
    card = street.card(street.follower())
    assert street.read("SELECT used FROM scene_pool") == used
    [code] = street.read("SELECT permanent, lifetime_seconds, expires_at FROM sub_qr_code WHERE kind = 'invite'")
    assert (code.permanent, code.lifetime_seconds) == (False, 30 * 86_400)
    assert card.expires_at <= code.expires_at
    assert len(card.public_id) == 14
