"""Rules for tests: written as a shop or as the platform."""

from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from bot.rules import writing
from bot.rules.content import Answer, Content
from bot.rules.matching import Mode, Pattern
from bot.rules.models import ReplyRuleVersion
from bot.rules.writing import Author, Draft
from core.database import Role
from tests.community import Neighbourhood

HOSTS = frozenset({"mp.weixin.qq.com"})
OPERATOR = 1


def draft(*exact: str, says: str | tuple[Answer, ...] = "东门", name: str = "地址", **also: Any) -> Draft:
    """A rule for some exact keywords."""
    patterns = tuple(Pattern(Mode.EXACT, one) for one in exact) + also.pop("patterns", ())
    answers = (Answer(text=says),) if isinstance(says, str) else says
    occasions, hands_over = also.pop("occasions", ()), also.pop("hands_over", False)
    return Draft(name, Content(patterns, occasions, answers, hands_over), **also)


def author(session: Session, merchant_id: int | None) -> Author:
    account_id = session.execute(text("SELECT id FROM official_account")).scalar_one()
    return Author(account_id, merchant_id, OPERATOR if merchant_id is None else None)


def create(street: Neighbourhood, merchant_id: int | None, wanted: Draft, **also: Any) -> int:
    """Write a rule with the rights of who writes it."""
    role = Role.PLATFORM if merchant_id is None else Role.MERCHANT
    with street.runtime.transaction(role, merchant_id=merchant_id) as session:
        return writing.create(session, author(session, merchant_id), wanted, hosts=HOSTS, now=street.now, **also)


def approve(street: Neighbourhood, rule_id: int) -> None:
    """The operator agrees to what waits."""
    with street.runtime.transaction(Role.PLATFORM) as session:
        version_id = session.execute(
            text("SELECT id FROM reply_rule_version WHERE rule_id = :id AND review = 'pending'"), {"id": rule_id}
        ).scalar_one()
        writing.approve(session, version_id=version_id, operator_id=OPERATOR, now=street.now)


def versions(street: Neighbourhood, rule_id: int) -> list[str]:
    with street.runtime.transaction(Role.PLATFORM) as session:
        rows = session.query(ReplyRuleVersion).filter_by(rule_id=rule_id).order_by(ReplyRuleVersion.id)
        return [row.review for row in rows]
