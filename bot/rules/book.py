"""The rules in force, as the conversation asks them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import Any, Final

from sqlalchemy.orm import Session

from bot import store
from bot.rules.content import Uploaded, answers_of, hours_of, patterns_of, said
from bot.rules.matching import Rule
from wechat.replies import Reply

_IN_FORCE: Final = """
    SELECT r.id, r.merchant_id, r.name, r.priority, r.hours, v.patterns, v.occasions, v.answers, v.hands_over
    FROM reply_rule r JOIN reply_rule_version v ON v.rule_id = r.id AND v.review = 'approved'
    WHERE r.account_id = %(account)s
      AND (r.merchant_id = ANY(%(merchants)s) OR (r.merchant_id IS NULL AND %(platforms)s))
      AND r.is_on AND r.deleted_at IS NULL
    ORDER BY r.id"""
_ANSWERS: Final = """
    SELECT r.merchant_id, v.answers
    FROM reply_rule r JOIN reply_rule_version v ON v.rule_id = r.id AND v.review = 'approved'
    LEFT JOIN merchant m ON m.id = r.merchant_id
    WHERE r.id = %(id)s AND r.is_on AND r.deleted_at IS NULL AND (r.merchant_id IS NULL OR m.state = 'active')"""
_PICTURES: Final = "SELECT merchant_id, id, media_id, wechat_url FROM picture WHERE id = ANY(%(ids)s)"

_Stored = list[dict[str, Any]]
_Pictures = dict[int | None, dict[int, Uploaded]]


def load(
    connection: Session | store.Driver, account_id: int, owners: Collection[int | None]
) -> dict[int | None, tuple[Rule, ...]]:
    """The rules in force of each of these, who may have none: merchants, and (None) the platform."""
    if not owners:
        return {}
    driver = _driver(connection)
    merchants = sorted(owner for owner in owners if owner is not None)
    given = {"account": account_id, "merchants": merchants, "platforms": None in owners}
    rows = driver.execute(_IN_FORCE, given).fetchall()
    pictures = _pictures(driver, (row[7] for row in rows))
    found: dict[int | None, list[Rule]] = {owner: [] for owner in owners}
    for id_, merchant_id, name, priority, hours, patterns, occasions, answers, hands_over in rows:
        rule = Rule(
            id_,
            merchant_id,
            name,
            priority,
            patterns_of(patterns),
            frozenset(occasions),
            hours_of(hours),
            tuple(said(one, pictures[merchant_id]) for one in answers_of(answers)),
            hands_over,
        )
        found[merchant_id].append(rule)
    return {owner: tuple(rules) for owner, rules in found.items()}


def answer_at(connection: Session | store.Driver, rule_id: int, position: int) -> Reply | None:
    """One answer of a rule in force; None where its author or the operator has taken it back meanwhile, or the shop is
    suspended."""
    driver = _driver(connection)
    row = driver.execute(_ANSWERS, {"id": rule_id}).fetchone()
    if row is None or position >= len(row[1]):
        return None
    pictures = _pictures(driver, [row[1]])
    return said(answers_of(row[1])[position], pictures[row[0]])


def _driver(connection: Session | store.Driver) -> store.Driver:
    return store.driver(connection) if isinstance(connection, Session) else connection


def _pictures(driver: store.Driver, answers: Iterable[_Stored]) -> _Pictures:
    """The pictures these answers show, by whose they are: nobody shows another's."""
    found: _Pictures = defaultdict(dict)
    ids = sorted({one["picture_id"] for said in answers for one in said if one["picture_id"] is not None})
    if ids:
        for merchant_id, picture_id, media_id, url in driver.execute(_PICTURES, {"ids": ids}):
            found[merchant_id][picture_id] = Uploaded(media_id, url)
    return found
