"""The rules in force, as the conversation asks them, and what follows a rule's first answer."""

from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from bot import follow_ups
from bot.inbox import Inbox
from bot.rules import book
from bot.rules.content import PICTURE_LATER, Answer, Uploaded, said
from bot.rules.models import ReplyRule, ReplyRuleVersion
from core.database import Role
from core.outbox import Task
from core.runtime import Runtime
from qrcodes import codes
from tests.bot.test_follow_ups import accepted, arrive, states, used
from tests.community import Code, Neighbourhood
from tests.conftest import Sandbox
from wechat.replies import ImageReply, NewsReply, TextReply

ADDRESS = [{"mode": "exact", "words": "地址"}]


def answers(*words: str) -> list[dict[str, Any]]:
    return [
        {"kind": "text", "text": one, "title": "", "description": "", "url": "", "picture_id": None} for one in words
    ]


def keep(
    session: Session,
    merchant_id: int | None,
    *,
    review: str = "approved",
    says: tuple[str, ...] = ("东门",),
    **also: Any,
) -> int:
    account_id = session.execute(text("SELECT id FROM official_account")).scalar_one()
    rule = ReplyRule(account_id=account_id, merchant_id=merchant_id, name="地址", **also)
    session.add(rule)
    session.flush()
    session.add(
        ReplyRuleVersion(
            rule_id=rule.id,
            merchant_id=merchant_id,
            patterns=ADDRESS,
            answers=answers(*says),
            review=review,
            reviewed_by=1,
            reviewed_at=session.execute(text("SELECT app_now()")).scalar_one(),
        )
    )
    session.flush()
    return rule.id


def test_rules_in_force_come_by_whose_they_are(street: Neighbourhood) -> None:
    tea, noodles = street.merchant("茶馆"), street.merchant("面馆")
    with street.runtime.transaction(Role.PLATFORM) as session:
        account_id = session.execute(text("SELECT id FROM official_account")).scalar_one()
        ours, theirs, everybodys = keep(session, tea), keep(session, noodles), keep(session, None)
        keep(session, tea, review="pending")
        keep(session, tea, is_on=False)
        keep(session, tea, deleted_at=street.now)
        found = book.load(session, account_id, [tea, None])
        assert {owner: [one.id for one in rules] for owner, rules in found.items()} == {None: [everybodys], tea: [ours]}
        assert found[tea][0].answers == (TextReply("东门"),)
        both = book.load(session, account_id, [tea, noodles])
        assert [one.id for one in both[noodles]] == [theirs]


def test_a_picture_is_said_as_its_words_until_the_platform_has_it() -> None:
    picture = Answer("image", text="菜单如下", picture_id=3)
    assert said(picture, {}) == TextReply("菜单如下")
    assert said(Answer("image", picture_id=3), {}) == TextReply(PICTURE_LATER)
    assert said(picture, {3: Uploaded("media", None)}) == ImageReply("media")


def test_a_card_waits_for_its_picture_as_words() -> None:
    card = Answer("news", title="新店", description="来坐坐", url="https://mp.weixin.qq.com/s/1", picture_id=3)
    assert said(card, {}) == TextReply("新店\n来坐坐\nhttps://mp.weixin.qq.com/s/1")
    assert said(card, {3: Uploaded(None, "http://pic")}) == NewsReply("新店", "来坐坐", "http://pic", card.url)


@pytest.fixture
def tea(street: Neighbourhood) -> Code:
    return street.code(street.merchant("茶馆"))


def owe(runtime: Runtime, rule_id: int) -> Task:
    """The second message of a rule, owed after the last event somebody sent."""
    with runtime.transaction(Role.PLATFORM) as session:
        event = session.execute(text("SELECT id, follower_id FROM inbox_event ORDER BY id DESC LIMIT 1")).one()
        session.execute(
            text("INSERT INTO follow_up (inbox_id, follower_id, rule_id, position) VALUES (:inbox, :who, :rule, 1)"),
            {"inbox": event.id, "who": event.follower_id, "rule": rule_id},
        )
    return Task(0, follow_ups.SEND, {"inbox_id": event.id, "position": 1}, None, 1, 0)


def test_what_follows_a_rules_first_answer_is_sent_inside_the_window(
    connected: Runtime, tea: Code, inbox: Inbox, sandbox: Sandbox
) -> None:
    openid = arrive(connected, inbox, sandbox, tea)
    with connected.transaction(Role.PLATFORM) as session:
        rule_id = keep(session, tea.merchant_id, says=("东门", "直走到底"))
    follow_ups.send_follow_up(connected, owe(connected, rule_id))
    assert (accepted(sandbox, openid), states(connected), used(connected)) == (["直走到底"], ["sent"], 1)


def test_what_its_author_has_taken_back_meanwhile_is_not_sent(
    connected: Runtime, tea: Code, inbox: Inbox, sandbox: Sandbox
) -> None:
    openid = arrive(connected, inbox, sandbox, tea)
    with connected.transaction(Role.PLATFORM) as session:
        rule_id = keep(session, tea.merchant_id, says=("东门", "直走到底"), is_on=False)
    follow_ups.send_follow_up(connected, owe(connected, rule_id))
    assert (accepted(sandbox, openid), states(connected), used(connected)) == ([], ["skipped"], 0)


def test_of_a_shop_that_was_suspended_meanwhile_nothing_more_is_sent(
    connected: Runtime, tea: Code, inbox: Inbox, sandbox: Sandbox
) -> None:
    openid = arrive(connected, inbox, sandbox, tea)
    with connected.transaction(Role.PLATFORM) as session:
        rule_id = keep(session, tea.merchant_id, says=("东门", "直走到底"))
        codes.suspend_merchant(session, merchant_id=tea.merchant_id, now=connected.now())
    follow_ups.send_follow_up(connected, owe(connected, rule_id))
    assert (accepted(sandbox, openid), states(connected), used(connected)) == ([], ["skipped"], 0)


def test_a_follow_up_is_of_a_welcome_or_of_a_rule(
    connected: Runtime, tea: Code, inbox: Inbox, sandbox: Sandbox
) -> None:
    arrive(connected, inbox, sandbox, tea)
    with pytest.raises(IntegrityError, match="ck_follow_up_of"), connected.transaction(Role.PLATFORM) as session:
        session.execute(
            text("INSERT INTO follow_up (inbox_id, follower_id, position) SELECT id, follower_id, 1 FROM inbox_event")
        )
