"""Coupons that a neighbour honours: who agrees to what, and who owes whom (CO-4, PT-1, PT-6, MO-2)."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from campaigns.coupons import alliance
from campaigns.coupons.alliance import Entry, NotAsked, Owed
from core.clock import business_day
from core.database import Role
from core.errors import Invalid, NotFound
from core.runtime import Runtime
from core.sheets import csv_text
from tests.campaigns.coupons.shop import YUAN, Shop, one
from tests.conftest import advance


@pytest.fixture
def tea(runtime: Runtime) -> Shop:
    return Shop.open(runtime)


@pytest.fixture
def noodles(tea: Shop) -> Shop:
    return tea.neighbour()


def ask(tea: Shop, template_id: int, acceptor_id: int, *, pays_percent: int = 100, most: int | None = None) -> None:
    with tea.runtime.transaction(Role.MERCHANT, merchant_id=tea.id) as session:
        alliance.ask(
            session, merchant_id=tea.id, template_id=template_id, acceptor_id=acceptor_id, pays_percent=pays_percent,
            most=most, now=tea.now,
        )  # fmt: skip


def agree(shop: Shop, template_id: int, *, pays_percent: int = 100) -> None:
    with shop.runtime.transaction(Role.MERCHANT, merchant_id=shop.id) as session:
        alliance.agree(session, merchant_id=shop.id, template_id=template_id, pays_percent=pays_percent, now=shop.now)


def end(shop: Shop, template_id: int, acceptor_id: int) -> None:
    with shop.runtime.transaction(Role.MERCHANT, merchant_id=shop.id) as session:
        alliance.end(session, merchant_id=shop.id, template_id=template_id, acceptor_id=acceptor_id, now=shop.now)


def partners(shop: Shop) -> list[tuple[str, str, str, int]]:
    with shop.runtime.transaction(Role.MERCHANT, merchant_id=shop.id) as session:
        found = alliance.partners(session, merchant_id=shop.id)
    return [(one.issuer_name, one.acceptor_name, str(one.state), one.pays_percent) for one in found]


def statement(shop: Shop, month: date) -> list[Owed]:
    with shop.runtime.transaction(Role.MERCHANT, merchant_id=shop.id) as session:
        return alliance.statement(session, month=month, merchant_id=shop.id)


def entries(shop: Shop, month: date, **options: int) -> list[Entry]:
    with shop.runtime.transaction(Role.MERCHANT, merchant_id=shop.id) as session:
        return alliance.entries(session, month=month, merchant_id=shop.id, **options)


# ---- Taking part -----------------------------------------------------------------------------------------------------


def test_who_takes_part_says_so_itself(tea: Shop, noodles: Shop) -> None:
    template_id = tea.template()
    ask(tea, template_id, noodles.id, pays_percent=80)
    assert partners(tea) == partners(noodles) == [("茶馆", "面馆", "asked", 80)]
    with pytest.raises(NotAsked):
        agree(noodles, template_id, pays_percent=100)  # another share than was asked for
    with pytest.raises(NotAsked):
        agree(tea, template_id, pays_percent=80)
    agree(noodles, template_id, pays_percent=80)
    assert partners(noodles) == [("茶馆", "面馆", "agreed", 80)]
    with pytest.raises(NotAsked):
        agree(noodles, template_id, pays_percent=80)


def test_new_conditions_are_a_new_question_and_the_same_ones_are_none(tea: Shop, noodles: Shop) -> None:
    template_id = tea.template()
    tea.take(template_id, noodles, pays_percent=80)
    ask(tea, template_id, noodles.id, pays_percent=80, most=9)
    assert partners(tea)[0][2] == "agreed"
    ask(tea, template_id, noodles.id, pays_percent=70, most=9)
    assert partners(tea)[0][2:] == ("asked", 70)


@pytest.mark.parametrize("by_issuer", [True, False])
def test_either_side_ends_it(tea: Shop, noodles: Shop, by_issuer: bool) -> None:
    template_id = tea.template()
    tea.take(template_id, noodles)
    done = noodles.use(tea.give(tea.person(), template_id))
    end(tea if by_issuer else noodles, template_id, noodles.id)
    with pytest.raises(NotFound):
        noodles.use(tea.give(tea.person(), template_id))
    # What was redeemed before can still be undone.
    assert noodles.undo(done.redemption_id).is_valid_again
    with pytest.raises(NotFound):
        end(tea, template_id, noodles.id)


def test_nobody_asks_for_anothers_template_or_nonsense(tea: Shop, noodles: Shop) -> None:
    theirs, mine = noodles.template(), tea.template()
    with pytest.raises(NotFound):
        ask(tea, theirs, noodles.id)
    with pytest.raises(Invalid):
        ask(tea, mine, tea.id)
    for percent in (-1, 101):
        with pytest.raises(Invalid):
            ask(tea, mine, noodles.id, pays_percent=percent)
    for most in (0, 10**9):
        with pytest.raises(Invalid):
            ask(tea, mine, noodles.id, most=most)
    third = tea.neighbour("书店")
    with pytest.raises(NotFound):
        end(third, mine, noodles.id)
    assert partners(third) == []


def test_the_limit_is_not_set_below_what_was_redeemed(tea: Shop, noodles: Shop) -> None:
    template_id = tea.template()
    tea.take(template_id, noodles, most=5)
    for _ in range(2):
        noodles.use(tea.give(tea.person(), template_id))
    with pytest.raises(Invalid):
        ask(tea, template_id, noodles.id, most=1)
    ask(tea, template_id, noodles.id, most=2)
    assert one(tea.runtime, "SELECT most FROM coupon_acceptor") == 2


# ---- Fen -------------------------------------------------------------------------------------------------------------


@given(st.integers(0, 100_000_000), st.integers(0, 100))
def test_a_split_loses_no_fen_and_is_off_by_less_than_one(discount: int, percent: int) -> None:
    issuer, redeemer = alliance.split(discount, percent)
    assert issuer + redeemer == discount
    assert min(issuer, redeemer) >= 0
    assert abs(issuer * 100 - discount * percent) <= 50


@pytest.mark.parametrize(
    ("percent", "fen", "owed"), [(100, 2_000, 2_000), (50, 1_999, 1_000), (33, 100, 33), (1, 49, 0), (0, 2_000, 0)]
)
def test_the_issuer_owes_its_share_in_whole_fen(tea: Shop, noodles: Shop, percent: int, fen: int, owed: int) -> None:
    template_id = tea.template(value_fen=fen)
    tea.take(template_id, noodles, pays_percent=percent)
    coupon = tea.give(tea.person(), template_id)
    done = noodles.use(coupon)
    assert (noodles.owed(), tea.owed()) == (owed, -owed)
    noodles.undo(done.redemption_id)
    assert (noodles.owed(), tea.owed()) == (0, 0)
    tea.use(coupon)  # at home nobody owes anybody
    assert one(tea.runtime, "SELECT count(*) FROM alliance_transfer") == (2 if owed else 0)


def test_what_was_owed_is_never_edited(tea: Shop, noodles: Shop) -> None:
    template_id = tea.template()
    tea.take(template_id, noodles)
    noodles.use(tea.give(tea.person(), template_id))
    for statement_text in ("UPDATE alliance_entry SET fen = 1", "DELETE FROM alliance_transfer"):
        with (
            pytest.raises(Exception, match="permission denied"),
            tea.runtime.transaction(Role.MERCHANT, merchant_id=noodles.id) as session,
        ):
            session.execute(text(statement_text))


# ---- The month's statement -------------------------------------------------------------------------------------------


def test_a_month_says_who_owes_whom_and_why(tea: Shop, noodles: Shop) -> None:
    books = tea.neighbour("书店")
    month = business_day(tea.now)
    teas, noodle = tea.template(name="茶券"), noodles.template(name="面券", value_fen=500)
    tea.take(teas, noodles, pays_percent=80)
    tea.take(teas, books)
    noodles.take(noodle, tea)
    first = noodles.use(tea.give(tea.person(), teas), bill=100 * YUAN)
    undone = noodles.use(tea.give(tea.person(), teas))
    noodles.undo(undone.redemption_id)
    tea.use(noodles.give(tea.person(), noodle))
    books.use(tea.give(tea.person(), teas))
    seen = {one.partner_name: one for one in statement(tea, month)}
    assert {name: (one.gets_fen, one.gives_fen, one.net_fen) for name, one in seen.items()} == {
        "面馆": (500, 1_600, -1_100), "书店": (0, 2_000, -2_000),
    }  # fmt: skip
    assert (seen["面馆"].redemptions, seen["面馆"].reversals) == (3, 1)
    assert [one.net_fen for one in statement(noodles, month)] == [1_100]
    behind = entries(tea, month, partner_id=noodles.id)
    assert [(one.template_name, one.fen, one.is_reversal) for one in behind] == [
        ("面券", 500, False), ("茶券", -1_600, True), ("茶券", 1_600, False), ("茶券", 1_600, False),
    ]  # fmt: skip
    assert behind[-1].redemption_id == first.redemption_id
    gets = sum(one.fen for one in behind if one.redeemer_id == tea.id)
    gives = sum(one.fen for one in behind if one.issuer_id == tea.id)
    assert (gets, gives) == (seen["面馆"].gets_fen, seen["面馆"].gives_fen)
    # Two merchants' business is nobody else's.
    assert {one.partner_name for one in statement(books, month)} == {"茶馆"}
    assert len(entries(books, month)) == 1
    with tea.runtime.transaction(Role.PLATFORM) as session:
        everybody = alliance.statement(session, month=month)
    assert sum(one.net_fen for one in everybody) == 0
    assert len(everybody) == 4


def test_months_are_shanghais_and_a_late_undo_is_in_its_own(tea: Shop, noodles: Shop) -> None:
    since, until = alliance.month_bounds(date(2026, 12, 15))
    assert (since.isoformat(), until.isoformat()) == ("2026-11-30T16:00:00+00:00", "2026-12-31T16:00:00+00:00")
    template_id = tea.template(lasts_days=90)
    tea.take(template_id, noodles)
    month = business_day(tea.now)
    next_month = (month.replace(day=28) + timedelta(days=5)).replace(day=1)
    _, ends = alliance.month_bounds(month)
    advance(tea.runtime, ends - timedelta(minutes=5) - tea.now)
    done = noodles.use(tea.give(tea.person(), template_id))
    advance(tea.runtime, timedelta(minutes=10))
    noodles.undo(done.redemption_id)
    assert [(one.net_fen, one.redemptions, one.reversals) for one in statement(noodles, month)] == [(2_000, 1, 0)]
    assert [(one.net_fen, one.redemptions, one.reversals) for one in statement(noodles, next_month)] == [(-2_000, 0, 1)]


def test_a_statement_is_a_table_with_a_row_for_each_redemption(tea: Shop, noodles: Shop) -> None:
    template_id = tea.template(name="=立减")
    tea.take(template_id, noodles, pays_percent=50)
    noodles.undo(noodles.use(tea.give(tea.person(), template_id), bill=3_050).redemption_id)
    with tea.runtime.transaction(Role.MERCHANT, merchant_id=noodles.id) as session:
        rows = alliance.statement_rows(session, month=business_day(tea.now), merchant_id=noodles.id)
        lines = "".join(csv_text(alliance.STATEMENT_HEADS, rows)).strip().split("\r\n")
    assert lines[0].endswith("核销编号")
    assert [line.split(",")[1:] for line in lines[1:]] == [
        ["撤销", "茶馆", "面馆", "'=立减", "30.50", "20.00", "-1000", "1"],
        ["核销", "茶馆", "面馆", "'=立减", "30.50", "20.00", "1000", "1"],
    ]
