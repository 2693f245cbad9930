"""One call gives coupons: to whom, how many, because of what, and what is said to the others."""

from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from campaigns import audience
from campaigns.coupons import giving, templates
from campaigns.coupons.giving import NotGiven, Refusal
from campaigns.coupons.models import Channel
from campaigns.coupons.templates import Tranche
from campaigns.points import levels, rules
from campaigns.points.models import RuleTrigger
from core import outbox
from core.clock import SHANGHAI
from core.database import Role
from core.errors import NotFound
from core.runtime import Runtime
from qrcodes.fans import Filter
from tests.couponing import WRITER, Street


@pytest.fixture
def street(runtime: Runtime) -> Street:
    return Street.open(runtime)


def refused(
    street: Street, template_id: int, follower_id: int, *, channel: Channel = Channel.PAGE, now: datetime | None = None
) -> NotGiven:
    before = street.count(template_id)
    with pytest.raises(NotGiven) as refusal:
        street.grant(template_id, follower_id, channel=channel, now=now)
    assert street.count(template_id) == before
    return refusal.value


def as_somebody(runtime: Runtime, role: Role, *, shop: int, person: int) -> AbstractContextManager[Session]:
    match role:
        case Role.FAN:
            return runtime.transaction(role, follower_id=person)
        case Role.MERCHANT:
            return runtime.transaction(role, merchant_id=shop)
        case _:
            return runtime.transaction(role)


@pytest.mark.parametrize("role", [Role.FAN, Role.MERCHANT, Role.PLATFORM])
def test_a_coupon_is_given_under_every_role_that_gives(street: Street, role: Role) -> None:
    shop = street.shop()
    ann, template_id = street.fan(shop), street.live(shop)
    with as_somebody(street.runtime, role, shop=shop, person=ann) as session:
        given = giving.grant(
            session, template_id=template_id, follower_id=ann, cause="scan:1", channel=Channel.SCAN, now=street.now
        )
    assert given.is_new
    assert given.seq == 1
    template = street.template(template_id)
    assert (template.issued, template.committed_fen) == (1, 2_000)


def test_the_same_cause_gives_the_same_coupon_even_when_nothing_is_left(street: Street) -> None:
    template_id = street.live(street.shop(), stock=1)
    ann = street.person()
    first = street.grant(template_id, ann, cause="scan:7")
    again = street.grant(template_id, ann, cause="scan:7")
    assert again.coupon_id == first.coupon_id
    assert not again.is_new
    assert street.count(template_id) == 1


def test_each_person_has_as_many_as_the_limit_says(street: Street) -> None:
    template_id = street.live(street.shop(), per_person=2)
    ann, ben = street.people(2)
    assert [street.grant(template_id, ann).seq for _ in range(2)] == [1, 2]
    assert refused(street, template_id, ann).reason is Refusal.LIMIT
    assert street.grant(template_id, ben).seq == 1


def test_a_refusal_says_what_the_merchant_wrote(street: Street) -> None:
    template_id = street.live(street.shop(), stock=1, refusals={"sold_out": "发完啦，下周二再来吧 100%"})
    ann, ben = street.people(2)
    street.grant(template_id, ann)
    refusal = refused(street, template_id, ben)
    assert (refusal.reason, refusal.status, refusal.code) == (Refusal.SOLD_OUT, 409, "not_given_sold_out")
    assert refusal.message == "发完啦，下周二再来吧 100%"


def test_a_budget_in_money_ends_before_the_stock_does(street: Street) -> None:
    template_id = street.live(street.shop(), stock=10, budget_fen=5_000)
    ann, ben, cem = street.people(3)
    street.grant(template_id, ann)
    street.grant(template_id, ben)
    assert refused(street, template_id, cem).reason is Refusal.SOLD_OUT
    assert street.template(template_id).committed_fen == 4_000


def test_a_card_of_five_visits_commits_five_times_its_cost(street: Street) -> None:
    template_id = street.live(
        street.shop(), name="剪发五次卡", kind="visits", uses=5, value_fen=300, min_spend_fen=0, stock=2
    )
    street.grant(template_id, street.person())
    template = street.template(template_id)
    assert (template.worth_fen, template.committed_fen, template.budget_fen) == (300, 1_500, 3_000)


def test_so_many_a_day_to_everybody_and_more_tomorrow(street: Street) -> None:
    template_id = street.live(street.shop(), per_day=1)
    ann, ben = street.people(2)
    street.grant(template_id, ann)
    assert refused(street, template_id, ben).reason is Refusal.TODAY_FULL
    assert street.grant(template_id, ben, now=street.now + timedelta(days=1)).is_new


def test_tranches_open_one_after_the_other(street: Street) -> None:
    later = street.now + timedelta(days=1)
    waves = (Tranche(street.now - timedelta(hours=1), 1), Tranche(later, 1))
    template_id = street.live(street.shop(), stock=5, tranches=waves)
    ann, ben, cem = street.people(3)
    street.grant(template_id, ann)
    assert refused(street, template_id, ben).reason is Refusal.LATER
    street.grant(template_id, ben, now=later)
    assert refused(street, template_id, cem, now=later).reason is Refusal.SOLD_OUT


def test_only_the_first_use_here_counts_as_being_new_and_following_does_not(street: Street) -> None:
    shop = street.shop()
    usual, welcome = street.live(shop, per_person=5), street.live(shop, name="初次见面", first_only=True)
    ann, ben = street.fan(shop), street.person()
    street.redeemed(street.grant(usual, ann))
    assert refused(street, welcome, ann).reason is Refusal.FIRST_ONLY
    assert street.grant(welcome, ben).is_new


@pytest.mark.parametrize("channel", [Channel.PAGE, Channel.SCAN])
def test_followers_newcomers_and_those_who_left_are_given_the_same(street: Street, channel: Channel) -> None:
    template_id = street.live(street.shop())
    for status in ("unknown", "gone"):
        assert street.grant(template_id, street.person(status), channel=channel).is_new


@pytest.mark.parametrize("what", ["blocked", "ambiguous", "erased", "unknown"])
def test_nobody_blocked_ambiguous_or_forgotten_is_given_anything(street: Street, what: str) -> None:
    template_id = street.live(street.shop(), refusals={"limit": "一人一张"})
    ann = street.person("ambiguous" if what == "ambiguous" else "unknown")
    with street.runtime.transaction(Role.PLATFORM) as session:
        if what == "blocked":
            block = "INSERT INTO benefit_block (follower_id, reason, blocked_by) VALUES (:ann, '刷券', 1)"
            session.execute(text(block), {"ann": ann})
        if what == "erased":
            session.execute(text("UPDATE follower SET openid = NULL, erased_at = :now"), {"now": street.now})
    assert refused(street, template_id, ann + 1_000 if what == "unknown" else ann).reason is Refusal.IDENTITY


def test_whoever_asks_is_the_session_and_nobody_else(street: Street) -> None:
    """#75: a person's own transaction writes for nobody else, whatever the body says."""
    template_id = street.live(street.shop())
    ann, ben = street.people(2)
    with pytest.raises(NotGiven), street.runtime.transaction(Role.FAN, follower_id=ann) as session:
        giving.grant(
            session, template_id=template_id, follower_id=ben, cause="page:1", channel=Channel.PAGE, now=street.now
        )
    assert street.count(template_id) == 0


def test_a_segment_gets_its_coupon_and_nobody_else(street: Street) -> None:
    shop = street.shop()
    with street.runtime.transaction(Role.MERCHANT, merchant_id=shop) as session:
        segment_id = audience.save(session, merchant_id=shop, name="常客", wanted=Filter(tag="常客"))
    template_id = street.live(shop, segment_id=segment_id)
    ann, ben = street.fan(shop), street.fan(shop)
    with street.runtime.transaction(Role.MERCHANT, merchant_id=shop) as session:
        session.execute(
            text("INSERT INTO fan_tag (merchant_id, follower_id, tag) VALUES (:shop, :ann, '常客')"),
            {"shop": shop, "ann": ann},
        )
    assert street.grant(template_id, ann).is_new
    assert refused(street, template_id, ben).reason is Refusal.SEGMENT


def test_a_level_gets_its_coupon_and_whoever_is_below_does_not(street: Street) -> None:
    """A visit that is taken back takes its level back; what was given meanwhile stays."""
    shop = street.shop()
    ann, ben = street.fan(shop), street.fan(shop)
    template_id = street.live(shop, min_level=2, per_person=5)
    with street.runtime.transaction(Role.MERCHANT, merchant_id=shop) as session:
        levels.save(session, merchant_id=shop, levels=[levels.Level("常客", 50), levels.Level("老友", 100)])
        spend = rules.Rule(RuleTrigger.SPEND, 1, 500, 5_000, per_fen=100)
        rules.save(session, merchant_id=shop, rule=spend, now=street.now)

    def spends(who: int, fen: int, bill: int) -> None:
        with street.runtime.transaction(Role.MERCHANT, merchant_id=shop) as session:
            rules.pay(
                session, merchant_id=shop, follower_id=who, trigger=RuleTrigger.SPEND, source_type="test",
                source_id=bill, bill_fen=fen, now=street.now,
            )  # fmt: skip

    assert refused(street, template_id, ann).reason is Refusal.LEVEL
    spends(ann, 6_000, 1)
    refusal = refused(street, template_id, ann)
    assert refusal.reason is Refusal.LEVEL, "one level below is below"
    assert refusal.message == "您的会员等级还不够领这张券。"
    spends(ann, 4_000, 2)
    assert street.grant(template_id, ann).is_new
    assert refused(street, template_id, ben).reason is Refusal.LEVEL, "another's points lift nobody"
    with street.runtime.transaction(Role.MERCHANT, merchant_id=shop) as session:
        rules.take_back(session, merchant_id=shop, source_type="test", source_id=2, now=street.now)
    assert refused(street, template_id, ann).reason is Refusal.LEVEL
    assert street.count(template_id) == 1


def test_what_is_not_public_is_not_taken_from_the_page(street: Street) -> None:
    template_id = street.live(street.shop(), is_public=False)
    ann = street.person()
    assert refused(street, template_id, ann).reason is Refusal.NOT_LIVE
    assert street.grant(template_id, ann, channel=Channel.KEYWORD).is_new


def test_nothing_is_given_of_what_is_paused_ended_a_draft_or_a_suspended_shops(street: Street) -> None:
    shop = street.shop()
    template_id, ann = street.live(shop), street.person()
    with street.runtime.transaction(Role.MERCHANT, merchant_id=shop) as session:
        templates.pause(session, merchant_id=shop, template_id=template_id, staff_id=WRITER)
    assert refused(street, template_id, ann).reason is Refusal.NOT_LIVE
    with pytest.raises(NotFound):
        street.grant(street.written(shop), ann)
    other = street.shop("面馆")
    second = street.live(other)
    with street.runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("UPDATE merchant SET state = 'suspended' WHERE id = :id"), {"id": other})
    assert refused(street, second, ann).reason is Refusal.NOT_LIVE


def test_fixed_dates_that_are_over_are_not_given(street: Street) -> None:
    ends = street.now + timedelta(hours=1)
    template_id = street.live(street.shop(), valid_from=street.now, valid_to=ends)
    ann, ben = street.people(2)
    assert street.grant(template_id, ann, now=ends - timedelta(milliseconds=1)).valid_to == ends
    assert refused(street, template_id, ben, now=ends).reason is Refusal.OVER


def test_a_refusal_takes_back_nothing_else_of_the_callers(street: Street) -> None:
    template_id = street.live(street.shop(), stock=1)
    ann, ben = street.people(2)
    street.grant(template_id, ann)
    with street.runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("UPDATE follower SET last_seen_at = :now"), {"now": street.now + timedelta(days=9)})
        with pytest.raises(NotGiven):
            giving.grant(
                session, template_id=template_id, follower_id=ben, cause="scan:1", channel=Channel.SCAN,
                now=street.now,
            )  # fmt: skip
    with street.runtime.transaction(Role.PLATFORM) as session:
        seen = session.execute(text("SELECT DISTINCT last_seen_at > app_now() FROM follower")).scalars().all()
    assert seen == [True]


def test_a_page_says_what_somebody_may_take_and_why_not(street: Street) -> None:
    shop = street.shop()
    taken, free = street.live(shop), street.live(shop, name="送茶一杯", kind="gift", min_spend_fen=0)
    street.live(shop, name="口令券", is_public=False)
    ann = street.person()
    street.grant(taken, ann)
    with street.runtime.transaction(Role.FAN, follower_id=ann) as session:
        found = giving.claimable(session, merchant_id=shop, follower_id=ann, now=street.now)
    assert [(one.template.id, one.refusal, one.had, one.left) for one in found] == [
        (free, None, 0, 100),
        (taken, Refusal.LIMIT, 1, 99),
    ]
    assert found[1].words == "您领的张数已经到上限了。"


# ---- Birthdays -------------------------------------------------------------------------------------------------------


def test_birthdays_are_kept_by_those_who_told_them_and_only_while_they_agree(street: Street) -> None:
    shop, other = street.shop(), street.shop("面馆")
    ann, ben, cem = street.fan(shop), street.fan(shop), street.fan(other)
    template_id = street.live(shop, name="生日快乐", for_birthdays=True, is_public=False, per_person=5)
    day = street.now.astimezone(SHANGHAI).date()
    with street.runtime.transaction(Role.PLATFORM) as session:
        for person, agreed in ((ann, street.now), (ben, None), (cem, street.now)):
            session.execute(
                text("""
                    INSERT INTO owner_profile (follower_id, birth_month, birth_day, consented_at)
                    VALUES (:person, :month, :day, :agreed)"""),
                {"person": person, "month": day.month, "day": day.day, "agreed": agreed},
            )
    for _ in range(2):
        with street.runtime.transaction(Role.PLATFORM) as session:
            session.execute(text("DELETE FROM outbox"))
            giving.owe_birthdays(session, street.now)
            task = outbox.claim(session, outbox.SLOW)
        assert task is not None
        giving.give_birthdays(street.runtime, task)
    with street.runtime.transaction(Role.PLATFORM) as session:
        rows = session.execute(text("SELECT follower_id, cause, channel FROM coupon")).all()
    assert rows == [(ann, f"birthday:{day.year}", "birthday")]
    assert street.count(template_id) == 1


def test_a_leap_days_birthday_is_kept_every_year() -> None:
    assert giving._dates(datetime(2027, 2, 28, tzinfo=UTC).date()) == [228, 229]
    assert giving._dates(datetime(2028, 2, 28, tzinfo=UTC).date()) == [228]
