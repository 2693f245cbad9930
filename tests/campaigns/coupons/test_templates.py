"""A merchant writes a coupon, the operator agrees, and what was promised stays."""

from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from campaigns import audience
from campaigns.coupons import templates
from campaigns.coupons.models import CouponTemplate, TemplateState
from campaigns.coupons.templates import Draft, Tranche
from core.clock import SHANGHAI
from core.database import Role
from core.errors import BusinessError, Invalid, NotFound, Phrase
from core.runtime import Runtime
from merchants.reviews import NotWaiting, ReviewState
from merchants.wording import lint
from qrcodes.fans import Filter
from tests.couponing import OPERATOR, WRITER, Street

NOON = datetime(2026, 6, 1, 12, tzinfo=SHANGHAI)


@pytest.fixture
def street(runtime: Runtime) -> Street:
    return Street.open(runtime)


def draft(**fields: Any) -> Draft:
    usual: dict[str, Any] = {"name": "满百减二十", "value_fen": 2_000, "min_spend_fen": 10_000, "lasts_days": 30}
    return Draft(**usual | fields)


def refusal(**fields: Any) -> Invalid:
    with pytest.raises(Invalid) as found:
        templates.check(draft(**fields), now=NOON)
    assert found.value.status == 422
    return found.value


@pytest.mark.parametrize("stock", [-1, 0, 10**12, 1.5, True, "7", None])
def test_a_stock_is_a_whole_number_within_reason(stock: object) -> None:
    """#72"""
    assert refusal(stock=stock).field == "stock"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"stock": 5, "per_person": 6}, "per_person"),
        ({"stock": 5, "per_day": 6}, "per_day"),
        ({"per_day": 0}, "per_day"),
        ({"lasts_days": None, "valid_from": NOON, "valid_to": NOON}, "valid_to"),
        ({"lasts_days": None, "valid_from": NOON, "valid_to": NOON - timedelta(days=1)}, "valid_to"),
        ({"lasts_days": None, "valid_from": NOON}, "valid_to"),
        ({"lasts_days": None}, "valid_to"),
        ({"valid_from": NOON, "valid_to": NOON + timedelta(days=1)}, "valid_to"),
        ({"lasts_days": None, "valid_from": NOON - timedelta(days=9), "valid_to": NOON}, "valid_to"),
        ({"lasts_days": 0}, "lasts_days"),
        ({"lasts_days": 731}, "lasts_days"),
        ({"starts_after_days": -1}, "starts_after_days"),
        ({"name": "  "}, "name"),
        ({"name": "长" * 21}, "name"),
        ({"kind": "cash"}, "kind"),
        ({"value_fen": 0}, "value_fen"),
        ({"value_fen": 10_000_001, "min_spend_fen": 0}, "value_fen"),
        ({"value_fen": 19.9}, "value_fen"),
        ({"min_spend_fen": 100}, "min_spend_fen"),
        ({"kind": "percent"}, "percent_off"),
        ({"kind": "percent", "percent_off": 100}, "percent_off"),
        ({"percent_off": 20}, "percent_off"),
        ({"kind": "percent", "percent_off": 20, "value_fen": 0, "budget_fen": 100}, "value_fen"),
        ({"uses": 5}, "uses"),
        ({"kind": "visits", "uses": 101}, "uses"),
        ({"weekdays": 0}, "weekdays"),
        ({"weekdays": 128}, "weekdays"),
        ({"hours": ((600, 600),)}, "hours"),
        ({"hours": ((1_320, 120),)}, "hours"),
        ({"hours": ((600, 700), (650, 800))}, "hours"),
        ({"hours": ((600, 1_441),)}, "hours"),
        ({"hours": ((1, 2, 3),)}, "hours"),
        ({"except_dates": tuple(date(2026, 6, 1) + timedelta(days=n) for n in range(61))}, "except_dates"),
        ({"min_level": 10}, "min_level"),
        ({"keyword": "积分"}, "keyword"),
        ({"keyword": "1"}, "keyword"),
        ({"refusals": {"identity": "你是羊毛党"}}, "refusals"),
        ({"budget_fen": 1_999}, "budget_fen"),
        ({"budget_fen": -1}, "budget_fen"),
        ({"stock": 5, "tranches": (Tranche(NOON, 6),)}, "tranches"),
        ({"tranches": (Tranche(NOON, 1), Tranche(NOON, 1))}, "tranches"),
        ({"tranches": (Tranche(NOON, 0),)}, "tranches"),
    ],
)
def test_a_promise_that_makes_no_sense_is_refused_at_its_field(fields: dict[str, Any], field: str) -> None:
    """#72"""
    assert refusal(**fields).field == field


@pytest.mark.parametrize("typed", ["2026-02-31", "2026-13-01", "31.2.", "", "２０２６-02-01x"])
def test_there_is_no_31st_of_february(typed: str) -> None:
    """#72"""
    for read in (templates.day, templates.moment):
        with pytest.raises(Invalid):
            read(typed, field="valid_to", name=Phrase("结束日期"))


def test_days_are_shanghais_and_an_end_is_the_end_of_its_day() -> None:
    begins = templates.moment("2026-06-01", field="valid_from", name=Phrase("开始"))
    assert begins == datetime(2026, 6, 1, tzinfo=SHANGHAI)
    last = templates.day("2026-06-30", field="valid_to", name=Phrase("结束"))
    assert templates.end_of(last) == datetime(2026, 7, 1, tzinfo=SHANGHAI)


@pytest.mark.parametrize("typed", ["1.5", "1e3", "", "abc", "٣", "1" * 30])
def test_a_number_that_is_none_is_refused(typed: str) -> None:
    with pytest.raises(Invalid):
        templates.whole_number(typed, field="stock", name=Phrase("总数量"))


@pytest.mark.parametrize(("typed", "fen"), [("20", 2_000), ("19.9", 1_990), ("0.05", 5), (" 7 ", 700)])
def test_yuan_become_fen(typed: str, fen: int) -> None:
    assert templates.money(typed, field="value_fen", name=Phrase("金额")) == fen


@pytest.mark.parametrize("typed", ["-1", "1.999", "1e2", "", "NaN", "1,000"])
def test_what_is_no_amount_is_refused(typed: str) -> None:
    with pytest.raises(Invalid):
        templates.money(typed, field="value_fen", name=Phrase("金额"))


# ---- Wording ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"terms": "关注公众号即可领券"},
        {"name": "转发送好礼"},
        {"refusals": {"sold_out": "转发朋友圈再送一张"}},
        {"terms": "详情见 http://evil.example/x"},
    ],
)
def test_rewarding_a_follow_or_a_share_cannot_even_be_saved(street: Street, fields: dict[str, Any]) -> None:
    """RF-8"""
    with pytest.raises(Invalid):
        street.written(street.shop(), **fields)


def test_a_group_of_followers_is_no_group_for_a_coupon(street: Street) -> None:
    shop = street.shop()
    with street.runtime.transaction(Role.MERCHANT, merchant_id=shop) as session:
        wanted = Filter(following_only=True)
        segment_id = audience.save(session, merchant_id=shop, name="关注的", wanted=wanted)
    with pytest.raises(Invalid) as found:
        street.written(shop, segment_id=segment_id)
    assert found.value.field == "segment_id"


def test_our_own_words_may_all_be_said() -> None:
    from campaigns.coupons import giving, validity

    said = [*giving.REFUSAL_WORDS.values(), *validity.REFUSED_WORDS.values()]
    assert [one for words in said for one in lint(words)] == []


# ---- From draft to end -----------------------------------------------------------------------------------------------


def in_shop(street: Street, shop: int, act: Callable[..., Any], **given: Any) -> Any:
    with street.runtime.transaction(Role.MERCHANT, merchant_id=shop) as session:
        return act(session, merchant_id=shop, **given)


def test_a_draft_changes_until_it_is_handed_in_and_again_when_it_comes_back(street: Street) -> None:
    shop = street.shop()
    template_id = street.written(shop, stock=7, tranches=(Tranche(street.now, 3),))
    in_shop(street, shop, templates.save, template_id=template_id, draft=draft(name="换个名字"), now=street.now)
    in_shop(street, shop, templates.submit, template_id=template_id, now=street.now)
    with pytest.raises(templates.NotADraft):
        in_shop(street, shop, templates.save, template_id=template_id, draft=draft(), now=street.now)
    with street.runtime.transaction(Role.PLATFORM) as session:
        waiting = templates.waiting(session)
        assert [one.id for one in waiting] == [template_id]
        assert templates.count_waiting(session) == 1
        seen = waiting[0].submitted_at
        assert seen is not None
        templates.reject(
            session, template_id=template_id, operator_id=OPERATOR, seen=seen, reason="请写清楚哪天能用", now=street.now
        )
    back = street.template(template_id)
    assert (back.state, back.review, back.review_reason) == (TemplateState.DRAFT, "rejected", "请写清楚哪天能用")
    in_shop(street, shop, templates.save, template_id=template_id, draft=draft(terms="周一到周五"), now=street.now)
    in_shop(street, shop, templates.submit, template_id=template_id, now=street.now)
    street.approve(template_id)
    assert street.template(template_id).state == TemplateState.LIVE


def test_an_operator_who_looks_at_an_old_version_or_comes_second_is_told(street: Street) -> None:
    shop = street.shop()
    template_id = street.written(shop)
    in_shop(street, shop, templates.submit, template_id=template_id, now=street.now)
    seen = street.template(template_id).submitted_at
    assert seen is not None
    in_shop(street, shop, templates.withdraw, template_id=template_id)
    in_shop(street, shop, templates.submit, template_id=template_id, now=street.now)
    with pytest.raises(templates.ChangedMeanwhile), street.runtime.transaction(Role.PLATFORM) as session:
        templates.approve(session, template_id=template_id, operator_id=OPERATOR, seen=seen, now=street.now)
    street.approve(template_id)
    with pytest.raises(NotWaiting):
        street.approve(template_id)


def test_a_merchant_cannot_approve_its_own_nor_change_what_was_promised(street: Street) -> None:
    shop = street.shop()
    written, live = street.written(shop), street.live(shop)
    for change, template_id in (
        ("UPDATE coupon_template SET review = 'approved', state = 'live' WHERE id = :id", written),
        ("UPDATE coupon_template SET state = 'live' WHERE id = :id", written),
        ("UPDATE coupon_template SET value_fen = 1 WHERE id = :id", live),
    ):
        with pytest.raises(DBAPIError), street.runtime.transaction(Role.MERCHANT, merchant_id=shop) as session:
            session.execute(text(change), {"id": template_id})
    with pytest.raises(templates.NotADraft):
        in_shop(street, shop, templates.save, template_id=live, draft=draft(), now=street.now)


def test_pause_resume_end_and_never_again(street: Street) -> None:
    shop = street.shop()
    template_id = street.live(shop)
    given = {"template_id": template_id, "staff_id": WRITER}
    in_shop(street, shop, templates.pause, **given)
    with pytest.raises(templates.NotPossibleNow):
        in_shop(street, shop, templates.pause, **given)
    in_shop(street, shop, templates.resume, **given)
    in_shop(street, shop, templates.end, **given)
    with pytest.raises(templates.NotPossibleNow):
        in_shop(street, shop, templates.resume, **given)
    assert street.template(template_id).state == TemplateState.ENDED


def test_the_operator_stops_what_must_not_be_given(street: Street) -> None:
    template_id = street.live(street.shop())
    with street.runtime.transaction(Role.PLATFORM) as session:
        templates.stop(session, template_id=template_id, operator_id=OPERATOR, reason="被投诉")
    assert street.template(template_id).state == TemplateState.ENDED


def test_a_stock_never_falls_below_what_was_given(street: Street) -> None:
    """#73"""
    shop = street.shop()
    template_id = street.live(shop, stock=10, per_person=5)
    ann = street.person()
    for _ in range(3):
        street.grant(template_id, ann)
    given = {"template_id": template_id, "staff_id": WRITER}
    with pytest.raises(Invalid) as found:
        in_shop(street, shop, templates.set_stock, **given, stock=2)
    assert found.value.status == 422
    with pytest.raises(Invalid):
        in_shop(street, shop, templates.set_stock, **given, stock=5, budget_fen=5_999)
    in_shop(street, shop, templates.set_stock, **given, stock=3)
    template = street.template(template_id)
    assert (template.stock, template.budget_fen) == (3, 6_000)


def test_releases_that_have_opened_stay(street: Street) -> None:
    shop = street.shop()
    first = Tranche(street.now - timedelta(hours=1), 2)
    template_id = street.live(shop, stock=10, tranches=(first,))
    more = (first, Tranche(street.now + timedelta(days=1), 5))
    given = {"template_id": template_id, "now": street.now}
    in_shop(street, shop, templates.set_tranches, **given, tranches=more)
    with pytest.raises(Invalid):
        in_shop(street, shop, templates.set_tranches, **given, tranches=more[1:])
    with street.runtime.transaction(Role.PLATFORM) as session:
        assert templates.tranches_of(session, template_id) == more


def test_a_keyword_belongs_to_one_running_coupon_of_the_whole_account(street: Street) -> None:
    tea, noodles = street.shop(), street.shop("面馆")
    first, second = street.live(tea, keyword="喝茶"), street.live(noodles)
    with pytest.raises(templates.KeywordTaken):
        in_shop(street, noodles, templates.set_manner, template_id=second, keyword="喝茶", is_public=True, refusals={})
    waiting = street.written(noodles, keyword="喝茶")
    in_shop(street, noodles, templates.submit, template_id=waiting, now=street.now)
    with pytest.raises(templates.KeywordTaken):
        street.approve(waiting)
    with street.runtime.transaction(Role.PLATFORM) as session:
        found = templates.by_keyword(session, said=" 喝 茶 ")
        assert found is not None
        assert found.id == first
        assert templates.by_keyword(session, said="面") is None


def test_a_copy_is_a_new_draft_without_keyword(street: Street) -> None:
    shop = street.shop()
    old = street.live(shop, keyword="喝茶", valid_from=street.now, valid_to=street.now + timedelta(days=1))
    new = in_shop(street, shop, templates.copy, template_id=old, staff_id=WRITER, now=street.now + timedelta(days=2))
    copied = street.template(new)
    assert (copied.state, copied.keyword, copied.lasts_days, copied.value_fen) == ("draft", "", 30, 2_000)


def test_a_draft_is_thrown_away_and_a_live_one_is_not(street: Street) -> None:
    shop = street.shop()
    written, live = street.written(shop), street.live(shop)
    in_shop(street, shop, templates.throw_away, template_id=written)
    with pytest.raises(NotFound):
        in_shop(street, shop, templates.find, template_id=written)
    with pytest.raises(templates.NotADraft):
        in_shop(street, shop, templates.throw_away, template_id=live)
    assert street.template(written).review == ReviewState.WITHDRAWN


def test_lists_count_what_became_of_the_coupons(street: Street) -> None:
    shop = street.shop()
    template_id = street.live(shop, per_person=5)
    ann = street.person()
    first, _ = street.grant(template_id, ann), street.grant(template_id, ann)
    street.redeemed(first)
    (row,) = in_shop(street, shop, templates.listed)
    assert (row.template.id, row.template.issued, row.live, row.redeemed, row.expired) == (template_id, 2, 1, 1, 0)


@pytest.mark.parametrize(
    "act",
    [
        templates.find,
        lambda s, **k: templates.save(s, draft=draft(), now=NOON, **k),
        lambda s, **k: templates.submit(s, now=NOON, **k),
        templates.withdraw,
        templates.throw_away,
        lambda s, **k: templates.copy(s, staff_id=WRITER, now=NOON, **k),
        lambda s, **k: templates.pause(s, staff_id=WRITER, **k),
        lambda s, **k: templates.resume(s, staff_id=WRITER, **k),
        lambda s, **k: templates.end(s, staff_id=WRITER, **k),
        lambda s, **k: templates.set_stock(s, staff_id=WRITER, stock=-1, **k),
        lambda s, **k: templates.set_tranches(s, tranches=(), now=NOON, **k),
        lambda s, **k: templates.set_manner(s, keyword="积分", is_public=True, refusals={}, **k),
    ],
)
def test_another_merchants_coupon_is_missing_whatever_is_asked(street: Street, act: Callable[..., Any]) -> None:
    """TN-3"""
    theirs = street.live(street.shop("面馆"))
    with pytest.raises(NotFound):
        in_shop(street, street.shop(), act, template_id=theirs)


def test_every_refusal_has_words(street: Street) -> None:
    for kind in (templates.NotADraft, templates.NotPossibleNow, templates.KeywordTaken, templates.ChangedMeanwhile):
        error: BusinessError = kind()
        assert error.message
    assert CouponTemplate.__tablename__ == "coupon_template"
