"""The tester says what would happen, and why every other rule stays silent; pages read how often a rule answered."""

from datetime import timedelta

import pytest
from sqlalchemy import text

from bot.inbox import Inbox
from bot.rules import reading, trial, writing
from bot.rules.content import Content
from bot.rules.matching import Hours, Mode, Pattern, Question, Span, Why
from bot.rules.shadows import Taken, taken
from bot.rules.trial import Verdict
from core.database import Role
from tests.bot.rules.desk import approve, create, draft
from tests.community import Code, Neighbourhood, new_openid, subscribed, wrote


@pytest.fixture
def tea(street: Neighbourhood) -> Code:
    return street.code(street.merchant("茶馆"))


def ask(street: Neighbourhood, merchant_id: int | None, words: str) -> Verdict:
    role = Role.PLATFORM if merchant_id is None else Role.MERCHANT
    with street.runtime.transaction(role, merchant_id=merchant_id) as session:
        return trial.ask(session, merchant_id, Question("text", words, at=street.now))


def test_the_tester_knows_drafts_and_the_platforms_rules(street: Neighbourhood, tea: Code) -> None:
    shop = tea.merchant_id
    wins, waits = create(street, shop, draft("地址")), create(street, shop, draft("地址", name="新的"))
    off = create(street, shop, draft("地址", name="停用"), is_on=False)
    closed = Hours(not_on=frozenset({(street.now + timedelta(hours=8)).date()}))
    holiday = create(street, shop, draft("地址", name="假日", hours=closed))
    everybodys = create(street, None, draft("地址", name="平台"))
    for rule_id in (wins, off, holiday):
        approve(street, rule_id)
    verdict = ask(street, shop, " 地址！")
    assert verdict.winner is not None
    assert {one.rule.id: one.why for one in verdict.judged} == {
        wins: None,
        waits: Why.WAITING,
        off: Why.OFF,
        holiday: Why.OTHER_DAY,
        everybodys: Why.OWNER,
    }
    assert [one.rule.id for one in ask(street, None, "地址").judged] == [everybodys]


def test_the_tester_says_what_comes_before_any_rule(street: Neighbourhood, tea: Code) -> None:
    contains = (Pattern(Mode.CONTAINS, "优惠券"),)
    approve(street, create(street, tea.merchant_id, draft(patterns=contains)))
    assert ask(street, tea.merchant_id, "优惠券").is_own
    assert ask(street, tea.merchant_id, "优惠券").winner is None
    assert ask(street, tea.merchant_id, "你们的优惠券怎么用").winner is not None
    with street.runtime.transaction(Role.PLATFORM) as session:
        session.execute(
            text("""
                INSERT INTO coupon_template (merchant_id, public_id, name, kind, value_fen, worth_fen, lasts_days,
                    stock, budget_fen, review, state, keyword)
                VALUES (:shop, 'tea', '立减十元', 'amount', 1000, 1000, 30, 9, 9000, 'approved', 'live', '喝茶')"""),
            {"shop": tea.merchant_id},
        )
    assert ask(street, tea.merchant_id, "喝茶").coupon == "立减十元"
    with street.runtime.transaction(Role.MERCHANT, merchant_id=tea.merchant_id) as session:
        content = Content(patterns=(*contains, Pattern(Mode.EXACT, "喝茶"), Pattern(Mode.WILDCARD, "*地址")))
        assert taken(session, content, is_platform=False) == [Taken("优惠券"), Taken("喝茶", "立减十元")]


def test_a_rule_shows_how_often_it_answered_to_whose_it_is(street: Neighbourhood, tea: Code, inbox: Inbox) -> None:
    shop, other = tea.merchant_id, street.merchant("面馆")
    rule_id = create(street, shop, draft("地址"))
    openid, now = new_openid(), street.now.replace(microsecond=0)
    inbox.receive([subscribed(openid, now - timedelta(days=40), tea.scene)])
    at = [now - timedelta(days=31), now - timedelta(days=2), now - timedelta(days=1)]
    for moment in at:
        inbox.receive([wrote(openid, moment, "地址")])
    with street.runtime.transaction(Role.PLATFORM) as session:
        session.execute(
            text("""UPDATE inbox_event SET rule_id = :rule, merchant_id = :shop, answered_by = 'rule'
                    WHERE kind = 'text'"""),
            {"rule": rule_id, "shop": shop},
        )
    with street.runtime.transaction(Role.MERCHANT, merchant_id=shop) as session:
        fired = reading.one(session, shop, rule_id, now=now).fired
        assert (fired.times, fired.last_at) == (2, at[-1])
    with street.runtime.transaction(Role.MERCHANT, merchant_id=other) as session:
        assert reading.fired(session, [rule_id], now=now) == {}


def test_rules_are_found_by_name_keyword_and_answer(street: Neighbourhood, tea: Code) -> None:
    create(street, tea.merchant_id, draft("WiFi密码", says="八个八", name="无线网"))
    create(street, tea.merchant_id, draft("地址", says="东门进来", name="路"))
    with street.runtime.transaction(Role.MERCHANT, merchant_id=tea.merchant_id) as session:
        for search, names in (
            ("wifi", ["无线网"]),
            ("东門", ["路"]),
            ("无线", ["无线网"]),
            ("", ["无线网", "路"]),
            ("没有", []),
        ):
            found = reading.listed(session, tea.merchant_id, now=street.now, search=search)
            assert [one.rule.name for one in found] == names


def test_the_list_has_first_what_is_asked_first(street: Neighbourhood, tea: Code) -> None:
    first = create(street, tea.merchant_id, draft("一"))
    second = create(street, tea.merchant_id, draft("二"))
    with street.runtime.transaction(Role.MERCHANT, merchant_id=tea.merchant_id) as session:
        writing.prioritise(session, merchant_id=tea.merchant_id, rule_id=second, priority=6)
        listed = reading.listed(session, tea.merchant_id, now=street.now)
    assert [one.rule.id for one in listed] == [second, first]


def test_a_span_over_midnight_is_tried_at_night(street: Neighbourhood, tea: Code) -> None:
    nights = Hours((Span(frozenset(range(7)), 22 * 60, 6 * 60),))
    approve(street, create(street, tea.merchant_id, draft("在吗", hours=nights)))
    midnight = street.now.replace(hour=17, minute=0)
    with street.runtime.transaction(Role.MERCHANT, merchant_id=tea.merchant_id) as session:
        assert trial.ask(session, tea.merchant_id, Question("text", "在吗", at=midnight)).winner is not None
        noon = trial.ask(session, tea.merchant_id, Question("text", "在吗", at=midnight - timedelta(hours=12)))
    assert [one.why for one in noon.judged] == [Why.OUTSIDE_HOURS]
