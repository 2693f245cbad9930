"""Invitation cards as owners, merchants and the operator see them: catalogue #81, and words that cannot be saved."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask import Flask
from sqlalchemy import text

from campaigns.referrals import invites
from core.database import Role
from core.runtime import Runtime
from merchants import owners
from tests.campaigns.referrals.cards import Street
from tests.community import new_openid, subscribed
from tests.web.conftest import Browser, Crew
from tests.web.owner.conftest import Phone, counts
from web.owner.invites import bring


@pytest.fixture
def cards(runtime: Runtime) -> Street:
    return Street(runtime)


def come(app: Flask, street: Street, openid: str, target: str) -> None:
    """What the door does with somebody whom WeChat names."""
    with (
        app.test_request_context(environ_base={"REMOTE_ADDR": "10.1.2.3"}),
        street.runtime.transaction(Role.PLATFORM) as session,
    ):
        met = owners.arrive(session, street.runtime, openid=openid, now=street.runtime.now())
        bring(session, met.follower_id, met.is_new, target, street.runtime.now())


def test_whoever_is_new_and_comes_by_a_card_was_brought_and_whoever_was_here_was_not(app: Flask, cards: Street) -> None:
    ann = cards.follower()
    address = f"/m/i/{cards.card(ann).public_id}"
    ben, cat = new_openid(), new_openid()
    cards.tell(subscribed(cat, cards.now, cards.code.scene))
    for openid in (ben, ben, cat, ann.openid):
        cards.later(minutes=1)
        come(app, cards, openid, address)
    assert cards.edges() == {cards.of(ben).id: ann.id}
    assert len(cards.read("SELECT 1 FROM referral WHERE address_hash IS NOT NULL")) == 1


def test_other_pages_bring_nobody(app: Flask, cards: Street) -> None:
    card = cards.card(cards.follower())
    for number, target in enumerate(("/m/", "/m/shops/1", f"/m/i/{card.public_id}/x", "/m/i/nosuchcard1234", "/m/i/")):
        cards.later(minutes=number)
        come(app, cards, new_openid(), target)
    assert cards.edges() == {}


def test_a_card_looks_the_same_to_everybody_and_one_that_is_over_says_so_politely(
    browser: Browser, owner_phone: Callable[..., Phone], cards: Street
) -> None:
    ann = cards.follower()
    card = cards.card(ann)
    with cards.runtime.transaction(Role.MERCHANT, merchant_id=cards.tea) as session:
        invites.reword(session, merchant_id=cards.tea, words="每天现磨的豆浆", now=cards.now)
    phone = owner_phone()
    before = counts(cards.runtime, "referral", "invite", "follower")
    for who in (browser, phone.browser):
        page = who.get(f"/m/i/{card.public_id}")
        assert page.status_code == 200
        assert "茶馆" in page.text
        assert "每天现磨的豆浆" in page.text
        for word in ("关注", "转发", "分享", ann.openid):
            assert word not in page.text.split("<main", 1)[1].split("</main>", 1)[0]
        over = who.get("/m/i/nosuchcard1234")
        assert over.status_code == 200
        assert "过了有效期" in over.text
    cards.later(days=31)
    assert "过了有效期" in browser.get(f"/m/i/{card.public_id}").text
    assert counts(cards.runtime, "referral", "invite", "follower") == before


def test_inside_wechat_a_card_asks_who_is_there_first(browser: Browser, cards: Street) -> None:
    card = cards.card(cards.follower())
    agent = {"User-Agent": "Mozilla/5.0 MicroMessenger/8.0"}
    answer = browser.get(f"/m/i/{card.public_id}", headers=agent)
    assert (answer.status_code, answer.location) == (302, f"/m/enter?next=/m/i/{card.public_id}")


def test_an_owner_makes_a_card_keeps_its_picture_and_sees_numbers_only(
    owner_phone: Callable[..., Phone], cards: Street
) -> None:
    phone = owner_phone()
    assert "做一张我的卡" in phone.browser.get(f"/m/invite/{cards.tea}").text
    assert phone.browser.post(f"/m/invite/{cards.tea}").status_code == 303
    assert "正在生成" in phone.browser.get(f"/m/invite/{cards.tea}").text
    assert phone.browser.get(f"/m/invite/{cards.tea}/poster.png").status_code == 404
    me = cards.of(phone.openid)
    card = cards.card(me)
    page = phone.browser.get(f"/m/invite/{cards.tea}")
    assert card.public_id in page.text
    picture = phone.browser.get(f"/m/invite/{cards.tea}/poster.png")
    assert (picture.status_code, picture.mimetype) == (200, "image/png")
    cards.later(minutes=1)
    ben = cards.newcomer(card)
    cards.later(minutes=1)
    cards.spend(ben)
    numbers = phone.browser.get(f"/m/invite/{cards.tea}").text
    assert "<strong>1</strong>" in numbers
    assert ben.openid not in numbers
    cards.later(days=31)
    assert "重新做一张" in owner_phone(phone.openid).browser.get(f"/m/invite/{cards.tea}").text
    again = cards.card(me)
    assert (again.public_id, again.is_over(cards.now)) == (card.public_id, False)
    assert cards.read("SELECT state FROM sub_qr_code WHERE kind = 'invite' ORDER BY id") == [("retired",), ("active",)]


def test_a_shop_without_cards_has_no_page_of_them(owner_phone: Callable[..., Phone], cards: Street) -> None:
    phone = owner_phone()
    assert phone.browser.get(f"/m/invite/{cards.noodles}").status_code == 404
    assert "我的邀请卡" in phone.browser.get(f"/m/shops/{cards.tea}").text
    assert "我的邀请卡" not in phone.browser.get(f"/m/shops/{cards.noodles}").text
    phone.browser.get("/m/settings")
    assert phone.browser.post(f"/m/invite/{cards.noodles}").status_code == 404


# ---- The merchant's side ----

RULES = {
    "is_on": "true", "points": "50", "most_per_person": "200", "most_per_day": "2000", "vests_after_days": "7",
    "lives_days": "365", "second_points": "20",
}  # fmt: skip


def test_a_merchant_switches_its_cards_on_with_one_level_or_two_and_off_again(runtime: Runtime, crew: Crew) -> None:
    assert crew.owner.get("/merchant/referrals").status_code == 200
    assert crew.owner.post("/merchant/referrals/rules", RULES).status_code == 303

    def kept() -> list[tuple[int, bool]]:
        with runtime.transaction(Role.PLATFORM) as session:
            rows = session.execute(
                text("SELECT level, is_on FROM points_rule WHERE trigger = 'referral' ORDER BY level")
            )
            return [(row.level, row.is_on) for row in rows]

    assert kept() == [(1, True)]
    crew.owner.post("/merchant/referrals/rules", RULES | {"second_is_on": "true"})
    assert kept() == [(1, True), (2, True)]
    crew.owner.post("/merchant/referrals/rules", {name: value for name, value in RULES.items() if name != "is_on"})
    assert kept() == [(1, False), (2, False)]
    assert crew.clerk.get("/merchant/referrals").status_code == 200
    assert crew.clerk.post("/merchant/referrals/rules", RULES).status_code == 403


@pytest.mark.parametrize(
    "broken",
    [
        {"third_points": "10"}, {"trigger": "follow"}, {"per_fen": "100"}, {"entry_fee": "100"}, {"points": "0"},
        {"points": "-1"}, {"points": "1.5"}, {"points": "100001"}, {"most_per_person": "10"},
        {"vests_after_days": "91"},
        {"second_is_on": "true", "second_points": "0"},
    ],
)  # fmt: skip
def test_a_rule_that_the_platform_forbids_has_no_field_to_say_it_in(crew: Crew, broken: dict[str, str]) -> None:
    crew.owner.get("/merchant/referrals")
    assert crew.owner.post("/merchant/referrals/rules", RULES | broken).status_code == 422


@pytest.mark.parametrize(
    "words",
    ["关注送豆浆", "转发给好友", "分享得积分", "拉人头有奖", "转.发朋友圈", "轉發有禮", "集赞领券", "帮我砍一刀",
     "发展下线", "拉满三人返现", "关注一下吧", "share to moments", "交入会费就能提成", "加我 evil-shop.com"],
)  # fmt: skip
def test_words_that_the_platform_forbids_cannot_be_kept(runtime: Runtime, crew: Crew, words: str) -> None:
    crew.owner.get("/merchant/referrals")
    assert crew.owner.post("/merchant/referrals/words", {"words": words}).status_code == 422
    assert counts(runtime, "invite_wording") == [0]


def test_honest_words_can(runtime: Runtime, crew: Crew) -> None:
    crew.owner.get("/merchant/referrals")
    assert crew.owner.post("/merchant/referrals/words", {"words": "每天现磨的豆浆，七点开门"}).status_code == 303
    assert "七点开门" in crew.owner.get("/merchant/referrals").text


# ---- The operator's side ----


def test_the_operator_releases_one_and_refuses_one_with_a_note(runtime: Runtime, crew: Crew) -> None:
    cards = Street(runtime)
    ann, cat = cards.follower(), cards.follower()
    for person in (ann, cat):
        cards.staff(cards.tea, person)
        cards.later(minutes=1)
        cards.spend(cards.brings(person))
    one, two = (row[0] for row in cards.read("SELECT id FROM referral_reward ORDER BY id"))
    page = crew.operator.get("/operator/benefits/referrals")
    assert "涉及本店员工" in page.text
    assert crew.operator.post(f"/operator/benefits/referrals/{one}/release", {"note": " "}).status_code == 422
    assert crew.operator.post(f"/operator/benefits/referrals/{one}/release", {"note": "真来吃的"}).status_code == 303
    assert crew.operator.post(f"/operator/benefits/referrals/{two}/refuse", {"note": "自己刷的"}).status_code == 303
    assert crew.operator.post(f"/operator/benefits/referrals/{two}/release", {"note": "再看"}).status_code == 409
    assert (cards.points(ann), cards.points(cat)) == (50, 0)
    assert "没有等着看的奖励" in crew.operator.get("/operator/benefits/referrals").text
    assert "茶馆" in crew.operator.get("/operator/benefits/referrals/inviters").text
    actions = [row[0] for row in cards.read("SELECT action FROM audit_log WHERE action LIKE 'referral.%' ORDER BY id")]
    assert actions == ["referral.release", "referral.refuse"]
