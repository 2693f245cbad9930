"""A rule in the chat: it answers once it is agreed to, its other messages follow, and its author sees that it did."""

from datetime import timedelta

import pytest
from sqlalchemy import text

from bot.inbox import Inbox
from bot.rules import reading, writing
from bot.rules.content import Answer
from core.database import Role
from tests.bot.rules.desk import approve, create, draft
from tests.community import Code, Neighbourhood, new_openid, subscribed, wrote


@pytest.fixture
def tea(street: Neighbourhood) -> Code:
    return street.code(street.merchant("茶馆"))


def test_a_rule_answers_from_the_moment_it_is_agreed_to(street: Neighbourhood, tea: Code, inbox: Inbox) -> None:
    shop, openid, now = tea.merchant_id, new_openid(), street.now
    inbox.receive([subscribed(openid, now - timedelta(minutes=10), tea.scene)])
    rule_id = create(street, shop, draft("地址", says=(Answer(text="小区东门"), Answer(text="直走到底"))))

    def answer(minutes_ago: int) -> str:
        return inbox.receive([wrote(openid, now - timedelta(minutes=minutes_ago), " 地 址？")])[0] or ""

    assert "小区东门" not in answer(9)
    approve(street, rule_id)
    assert "小区东门" in answer(8)
    with street.runtime.transaction(Role.PLATFORM) as session:
        owed = session.execute(text("SELECT rule_id, position FROM follow_up WHERE rule_id IS NOT NULL")).all()
    assert [tuple(one) for one in owed] == [(rule_id, 1)]
    with street.runtime.transaction(Role.MERCHANT, merchant_id=shop) as session:
        assert reading.one(session, shop, rule_id, now=now).fired.times == 1
        writing.switch(session, merchant_id=shop, rule_id=rule_id, is_on=False)
    assert "小区东门" not in answer(7)
