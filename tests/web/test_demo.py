"""The demo community: it comes alive in a sandbox, adds up, and is never there twice, nor beside a real account."""

from collections import Counter
from dataclasses import asdict, replace
from typing import Any

import pytest
from sqlalchemy import func, select, text

import bot.reconcile
from bot.models import DeadLetter
from campaigns.points.models import PointsAccount
from core.database import Role
from core.models import Outbox
from core.runtime import Runtime
from merchants.models import Merchant, OfficialAccount
from qrcodes import traffic, welcomes
from qrcodes.models import CodeState, SubQrCode
from tests.community import Neighbourhood
from tests.conftest import Sandbox
from web.demo import benefits, past, story
from web.demo.seed import RealAccount, Report, seed
from web.demo.story import Deed


@pytest.fixture
def boxed(runtime: Runtime, sandbox: Sandbox) -> Runtime:
    """A runtime on an empty database whose platform is an empty sandbox."""
    sandbox.post("/sandbox/reset")
    hosts = {f"wechat_{host}_url": sandbox.url for host in ("api", "mp", "open")}
    return replace(runtime, settings=runtime.settings.model_copy(update=hosts))


def nothing(_: str) -> None:
    """Nobody listens."""


def people(sandbox: Sandbox, **parameters: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = sandbox.get("/sandbox/people", **parameters)["people"]
    return found


ALIVE = text("""
    SELECT (SELECT count(*) FROM coupon_template) AS templates,
           (SELECT count(*) FROM coupon_template WHERE state = 'live') AS live,
           (SELECT count(*) FROM coupon) AS coupons, (SELECT count(*) FROM redemption) AS redeemed,
           (SELECT count(*) FROM visit) AS visits, (SELECT count(*) FROM broadcast WHERE state = 'draft') AS drafts,
           (SELECT count(*) FROM alliance_transfer) AS owed""")


def story_people(boxed: Runtime) -> list[past.Person]:
    return past.tell(boxed.settings.wechat_app_id, boxed.now()).people


def test_the_community_comes_alive_and_adds_up(boxed: Runtime, sandbox: Sandbox) -> None:
    report = seed(boxed, nothing)
    assert report is not None
    assert (report.merchants, report.people) == (8, 821)

    again = bot.reconcile.reconcile(boxed)
    assert asdict(again) == {"checked": again.checked, "followed": 0, "unfollowed": 0, "attributed": 0}
    assert again.checked == sum(person["following"] for person in people(sandbox)) > 700

    played = people(sandbox, crowd="0")
    assert [person["name"] for person in played] == [resident.name for resident in story.RESIDENTS]
    assert Counter(person["following"] for person in played) == {True: 5, False: 7}

    with boxed.transaction(Role.PLATFORM) as session:
        account = session.execute(select(OfficialAccount)).scalar_one()
        assert account.name == story.ACCOUNT_NAME == sandbox.get("/sandbox/account")["name"]
        made = session.execute(select(SubQrCode)).scalars().all()
        assert len(made) == report.codes
        assert all(code.state == CodeState.ACTIVE and code.ticket for code in made)
        assert welcomes.count_waiting(session) == 1
        assert session.execute(select(func.count()).select_from(DeadLetter)).scalar_one() == 2
        assert session.execute(select(func.count()).where(Outbox.state == "pending")).scalar_one() == 0
        assert traffic.unmatched(session, since=account.live_since)[0].scene == story.OLD_SCENE

        now = boxed.now()
        span = traffic.Range(traffic.first_day(session, now), traffic.Range.last_days(1, now).until)
        shops, nobody = traffic.by_merchant(session, span)
        assert len(shops) == 8
        for shop in shops:
            assert shop.counts.net == traffic.following_now(session, merchant_id=shop.merchant_id) > 0
            assert shop.counts.scans >= shop.counts.scanners >= shop.counts.new > 10
        assert 600 < sum(shop.counts.new for shop in shops) + nobody.new < 720
        assert sum(shop.counts.returning for shop in shops) > 5
        assert all(day.counts.scans for day in traffic.by_day(session, traffic.Range.last_days(30, now))[:-1])
        lively = dict(session.execute(ALIVE).one()._mapping)
        assert lively == {"templates": 4, "live": 3, "coupons": 20, "redeemed": 6, "visits": 4, "drafts": 1, "owed": 1}
        held = select(func.count()).where(PointsAccount.kind == "fan", PointsAccount.balance > 0)
        assert session.execute(held).scalar_one() == benefits.CUSTOMERS
        resident = next(one.openid for one in story_people(boxed) if one.name == "何老师")
        theirs = "SELECT count(*) FROM coupon c JOIN follower f ON f.id = c.follower_id WHERE f.openid = :openid"
        assert session.execute(text(theirs), {"openid": resident}).scalar_one() == 2
        erased = session.execute(text("SELECT count(*) FROM follower WHERE erased_at IS NOT NULL")).scalar_one()
        assert erased > 20

    assert seed(boxed, nothing) is None
    assert len(people(sandbox)) == report.people


def test_an_attempt_that_was_killed_is_made_again(boxed: Runtime, sandbox: Sandbox) -> None:
    """Wherever it ended, the next attempt ends like one that was never disturbed."""

    class Killed(Exception):
        pass

    for last_words in ("商户 3", "老住户", "往事", "手机", "遗忘", "优惠"):

        def die(words: str, last_words: str = last_words) -> None:
            if words.startswith(last_words):
                raise Killed

        with pytest.raises(Killed):
            seed(boxed, die)
    report = seed(boxed, nothing)
    assert isinstance(report, Report)
    assert seed(boxed, nothing) is None
    with boxed.transaction(Role.PLATFORM) as session:
        counted = session.execute(
            text("""
                SELECT (SELECT count(*) FROM inbox_event WHERE source = 'event') AS events,
                       (SELECT count(*) FROM sub_qr_code) AS codes, (SELECT count(*) FROM merchant) AS merchants,
                       (SELECT count(*) FROM welcome) AS welcomes, (SELECT count(*) FROM dead_letter) AS letters""")
        ).one()
    said = [greeting for shop in story.SHOPS for greeting in (*shop.greetings, shop.waiting) if greeting]
    assert counted == (report.events, report.codes, 8, len(said) + 1, 2)
    with boxed.transaction(Role.PLATFORM) as session:
        assert session.execute(ALIVE).one().redeemed == len(benefits.BILLS)
    again = bot.reconcile.reconcile(boxed)
    assert (again.followed, again.unfollowed) == (0, 0)
    assert len(people(sandbox)) == report.people
    hanging = [code["scene"] for code in sandbox.get("/sandbox/codes")["codes"]]
    assert len(set(hanging)) == len(hanging) == report.codes + 1


def test_it_leaves_other_merchants_alone(boxed: Runtime) -> None:
    Neighbourhood(boxed).merchant("老王豆浆")
    assert seed(boxed, nothing) is None
    with boxed.transaction(Role.PLATFORM) as session:
        assert session.execute(select(Merchant.name)).scalars().all() == ["老王豆浆"]


def test_a_real_account_never_meets_it(runtime: Runtime) -> None:
    settings = runtime.settings.model_copy(update={"wechat_api_url": "https://api.weixin.qq.com"})
    with pytest.raises(RealAccount):
        seed(replace(runtime, settings=settings), nothing)


def test_the_past_is_told_the_same_way_each_time(runtime: Runtime) -> None:
    until = runtime.now()
    told = past.tell("wx0123456789abcdef", until)
    assert told == past.tell("wx0123456789abcdef", until)
    assert {person.openid for person in told.people}.isdisjoint(
        person.openid for person in past.tell("wxfedcba9876543210", until).people
    )
    assert all(past.live_since(until) <= one.at < until for one in told.happenings)
    deeds = Counter(one.deed for one in told.happenings)
    assert 0.08 < deeds[Deed.LEAVE] / deeds[Deed.FOLLOW] < 0.14
    for batch in past.batches(told.happenings, 200):
        assert len({one.openid for one in batch}) == len(batch) <= 200
