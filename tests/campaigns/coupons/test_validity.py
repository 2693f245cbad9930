"""When a coupon is valid and what it takes off: pure rules, at their edges."""

from datetime import UTC, date, datetime, timedelta

import pytest

from campaigns.coupons import validity
from campaigns.coupons.models import CouponKind
from campaigns.coupons.templates import Draft
from campaigns.coupons.validity import Refused
from core.clock import SHANGHAI

MONDAY = datetime(2026, 6, 1, 12, tzinfo=SHANGHAI)
FROM, TO = MONDAY - timedelta(days=1), MONDAY + timedelta(days=20)


def why_not(draft: Draft, at: datetime, bill_fen: int | None = None) -> Refused | None:
    return validity.why_not(draft, valid_from=FROM, valid_to=TO, at=at, bill_fen=bill_fen)


@pytest.mark.parametrize(
    ("at", "reason"),
    [
        (FROM - timedelta(microseconds=1), Refused.NOT_YET),
        (FROM, None),
        (TO - timedelta(milliseconds=1), None),
        (TO, Refused.OVER),
    ],
)
def test_a_coupon_is_valid_from_its_beginning_until_just_before_its_end(at: datetime, reason: Refused | None) -> None:
    assert why_not(Draft("x"), at) is reason


def test_weekdays_hours_and_except_dates_are_shanghais() -> None:
    draft = Draft("x", weekdays=0b0011111, hours=((660, 840), (1_020, 1_440)), except_dates=(date(2026, 6, 3),))
    assert why_not(draft, MONDAY) is None
    assert why_not(draft, MONDAY.replace(hour=14)) is Refused.HOURS
    assert why_not(draft, MONDAY.replace(hour=23, minute=59)) is None
    assert why_not(draft, MONDAY + timedelta(days=2)) is Refused.EXCEPT_DATE
    assert why_not(draft, MONDAY + timedelta(days=5)) is Refused.WEEKDAY
    # Sunday 23:00 in London is Monday morning here.
    assert why_not(draft, datetime(2026, 6, 7, 23, tzinfo=UTC)) is Refused.HOURS


def test_a_minimum_is_asked_of_a_bill_that_is_told() -> None:
    draft = Draft("x", min_spend_fen=10_000)
    assert why_not(draft, MONDAY, 9_999) is Refused.MIN_SPEND
    assert why_not(draft, MONDAY, 10_000) is None
    assert why_not(draft, MONDAY) is None


def test_days_after_receipt_end_with_a_day() -> None:
    assert validity.window(Draft("x", lasts_days=7), given_at=MONDAY) == (
        MONDAY,
        datetime(2026, 6, 9, tzinfo=SHANGHAI),
    )
    later = validity.window(Draft("x", lasts_days=7, starts_after_days=1), given_at=MONDAY)
    assert later == (datetime(2026, 6, 2, tzinfo=SHANGHAI), datetime(2026, 6, 9, tzinfo=SHANGHAI))


@pytest.mark.parametrize(
    ("draft", "bill", "off"),
    [
        (Draft("x", value_fen=2_000), 10_000, 2_000),
        (Draft("x", value_fen=2_000), 1_500, 1_500),
        (Draft("x", value_fen=2_000), None, 2_000),
        (Draft("x", kind="percent", percent_off=20), 63, 13),
        (Draft("x", kind="percent", percent_off=15), 10, 1),
        (Draft("x", kind="percent", percent_off=20, value_fen=3_000), 100_000, 3_000),
        (Draft("x", kind="percent", percent_off=20, value_fen=3_000), 0, 0),
        (Draft("x", kind="percent", percent_off=99), 1, 1),
        (Draft("x", kind="gift", value_fen=800), None, 800),
        (Draft("x", kind="item", value_fen=800), 500, 500),
        (Draft("x", kind="visits", uses=5, value_fen=300), None, 300),
    ],
)
def test_a_discount_is_whole_fen_and_never_more_than_the_bill(draft: Draft, bill: int | None, off: int) -> None:
    assert validity.discount(draft, bill) == off


def test_what_is_paid_of_a_percentage_is_rounded_half_up() -> None:
    draft = Draft("x", kind="percent", percent_off=15)
    for bill in range(2_000):
        paid = bill - validity.discount(draft, bill)
        assert abs(paid * 100 - bill * 85) <= 50
        assert 0 <= paid <= bill


@pytest.mark.parametrize(
    ("draft", "said"),
    [
        (Draft("x", value_fen=2_000, min_spend_fen=10_000), "满100元减20元"),
        (Draft("x", value_fen=550), "立减5.50元"),
        (Draft("x", kind="percent", percent_off=20, value_fen=3_000), "八折，最高减30元"),
        (Draft("x", kind="percent", percent_off=15, min_spend_fen=5_000), "满50元八五折"),
        (Draft("x", kind="percent", percent_off=97), "0.3折"),
        (Draft("x", kind="visits", uses=5), "5 次卡"),
        (Draft("x", kind="gift"), "到店领取，不用消费"),
    ],
)
def test_a_benefit_is_said_in_a_line(draft: Draft, said: str) -> None:
    assert str(validity.headline(draft)) == said


def test_every_kind_has_its_words() -> None:
    for kind in CouponKind:
        for least in (0, 100):
            draft = Draft("x", kind=kind, percent_off=20, min_spend_fen=least, lasts_days=7)
            assert len([str(line) for line in validity.describe(draft)]) == 3


def test_conditions_are_said_after_the_benefit() -> None:
    draft = Draft(
        "x", value_fen=500, lasts_days=7, weekdays=0b1100000, hours=((1_020, 1_440),),
        except_dates=(date(2026, 10, 1),), per_person=2, first_only=True, is_transferable=True,
    )  # fmt: skip
    assert [str(line) for line in validity.describe(draft)] == [
        "立减5元", "领取后 7 天内有效", "仅周六、周日可用", "每天 17:00–24:00 可用", "10月1日不可用",
        "限第一次在本店用券的顾客", "每人限 2 张", "可以转给邻居",
    ]  # fmt: skip


def test_fixed_dates_name_the_last_day() -> None:
    line = validity.period_line(datetime(2026, 6, 1, tzinfo=SHANGHAI), datetime(2026, 7, 1, tzinfo=SHANGHAI))
    assert str(line) == "2026年6月1日 至 2026年6月30日"


def test_a_preview_shows_where_it_works_and_each_way_it_does_not() -> None:
    draft = Draft(
        "x", value_fen=2_000, min_spend_fen=10_000, lasts_days=30, weekdays=0b0111111,
        except_dates=(date(2026, 6, 7),), hours=((660, 1_200),),
    )  # fmt: skip
    found = validity.worked_examples(draft, now=MONDAY)
    assert [one.refused for one in found] == [
        None, Refused.MIN_SPEND, Refused.EXCEPT_DATE, Refused.WEEKDAY, Refused.HOURS,
    ]  # fmt: skip
    assert str(found[0].line) == "6月1日（周一）18:00，消费 100 元：减 20 元，付 80 元"
    assert str(found[2].line) == "6月7日（周日）18:00，消费 100 元：不可用（例外日期）"


@pytest.mark.parametrize("kind", list(CouponKind))
def test_a_preview_of_the_simplest_coupon_has_three_rows(kind: CouponKind) -> None:
    draft = Draft("x", kind=kind, value_fen=500, percent_off=20 if kind == CouponKind.PERCENT else None, lasts_days=1)
    assert 3 <= len(validity.worked_examples(draft, now=MONDAY)) <= 5
