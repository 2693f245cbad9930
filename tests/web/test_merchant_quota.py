"""群发额度: a shop sees its own share of the month, its calls, and what its fans can still get."""

from __future__ import annotations

from core.runtime import Runtime
from tests.community import Neighbourhood
from tests.web.conftest import Crew
from tests.web.test_operator_quota import execute, street
from tests.web.test_standing import rows

__all__ = ["street"]

MINE = "/merchant/me/quota"


def test_a_shop_without_fans_sees_its_share_and_what_to_do(crew: Crew) -> None:
    page = crew.owner.get(MINE).text
    assert "1,000" in page
    assert "还没有粉丝" in page
    assert f'href="{MINE}"' in crew.owner.get("/merchant/me").text


def test_a_shop_sees_what_is_left_and_where_it_comes_from(crew: Crew, street: Neighbourhood) -> None:
    page = crew.clerk.get(MINE).text
    assert "1,004" in page
    assert "近来带来并留下 3 位，每位 2" in page
    assert rows(page) == [["3条", "1"], ["2条", "2"], ["1条", "0"], ["0条，下个月再发", "0"]]


def test_what_another_shop_used_is_not_shown(crew: Crew, runtime: Runtime, street: Neighbourhood) -> None:
    before = crew.owner.get(MINE).text
    other = street.merchant("面馆")
    execute(
        runtime,
        "INSERT INTO call_allotment (day, merchant_id, allotted) VALUES (current_date, :other, 9)",
        other=other,
    )
    assert rows(crew.owner.get(MINE).text) == rows(before)
    assert "面馆" not in crew.owner.get(MINE).text
