"""Reading rules for pages: with what is in force, what waits, what was refused, and how often each answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Select, func, select, text
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from bot.rules import writing
from bot.rules.content import Content, answers_of, hours_of, patterns_of
from bot.rules.matching import Hours, Rule
from bot.rules.models import ReplyRule, ReplyRuleVersion
from campaigns.broadcasts.spelling import plain
from merchants.reviews import ReviewState
from wechat.replies import TextReply

COUNTED: Final = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Fired:
    """How often a rule answered in the last days, and when last; never where there is no time."""

    times: int = 0
    last_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """A rule as its author's page shows it."""

    rule: ReplyRule
    speaking: ReplyRuleVersion | None
    waiting: ReplyRuleVersion | None
    refused: ReplyRuleVersion | None
    """The newest version, if the operator refused it."""
    last: ReplyRuleVersion
    fired: Fired = Fired()

    @property
    def shown(self) -> Content:
        """What it says now, or would say."""
        return writing.content_of(self.speaking or self.last)

    @property
    def newest(self) -> Content:
        """What its author wrote last."""
        return writing.content_of(self.last)

    @property
    def differs(self) -> bool:
        """Whether customers get something else than its author wrote last."""
        return self.speaking is not None and self.last is not self.speaking

    @property
    def hours(self) -> Hours:
        return hours_of(self.rule.hours)

    def asked(self) -> Rule:
        """It as the matcher judges it; off and waiting ones, too."""
        content = self.shown
        return Rule(
            self.rule.id,
            self.rule.merchant_id,
            self.rule.name,
            self.rule.priority,
            content.patterns,
            frozenset(content.occasions),
            self.hours,
            tuple(TextReply(one.text or one.title) for one in content.answers),
            content.hands_over,
            is_on=self.rule.is_on,
            is_approved=self.speaking is not None,
        )


def listed(
    session: Session, merchant_id: int | None, *, now: datetime, search: str = "", is_deleted: bool = False
) -> list[Kept]:
    """The rules of one owner, those that are asked first before the others. `search` looks at names, keywords and
    answers."""
    mine = select(ReplyRule).where(ReplyRule.merchant_id.is_not_distinct_from(merchant_id))
    if is_deleted:
        mine = mine.where(ReplyRule.deleted_at > now - writing.RESTORABLE)
    else:
        mine = mine.where(ReplyRule.deleted_at.is_(None))
    rules = list(session.scalars(mine.order_by(ReplyRule.priority.desc(), ReplyRule.id)))
    kept = _with_versions(session, rules, now)
    wanted = plain(search)
    return [one for one in kept if not wanted or wanted in _searchable(one)]


def one(session: Session, merchant_id: int | None, rule_id: int, *, now: datetime) -> Kept:
    """A rule of this owner; anybody else's is missing (TN-3)."""
    return _with_versions(session, [writing.find(session, merchant_id, rule_id)], now)[0]


def in_force_of_platform(session: Session) -> list[Rule]:
    """The platform's rules in force, as far as the tester of a merchant needs to know them."""
    rows = session.execute(
        select(ReplyRule, ReplyRuleVersion)
        .join(ReplyRuleVersion, ReplyRuleVersion.rule_id == ReplyRule.id)
        .where(
            ReplyRule.merchant_id.is_(None),
            ReplyRule.is_on,
            ReplyRule.deleted_at.is_(None),
            ReplyRuleVersion.review == ReviewState.APPROVED,
        )
        .order_by(ReplyRule.priority.desc(), ReplyRule.id)
    ).all()
    return [
        Rule(
            rule.id,
            None,
            rule.name,
            rule.priority,
            patterns_of(version.patterns),
            frozenset(version.occasions),
            hours_of(rule.hours),
            tuple(TextReply(said.text or said.title) for said in answers_of(version.answers)),
        )
        for rule, version in rows
    ]


def fired(session: Session, rule_ids: Sequence[int], *, now: datetime) -> dict[int, Fired]:
    """How often each of these rules answered in the last thirty days."""
    rows = session.execute(
        text("""
            SELECT rule_id, count(*) AS times, max(event_at) AS last_at FROM inbox_event
            WHERE rule_id = ANY(:ids) AND event_at > :since GROUP BY rule_id"""),
        {"ids": list(rule_ids), "since": now - COUNTED},
    )
    return {row.rule_id: Fired(row.times, row.last_at) for row in rows}


def waiting_for_review(session: Session, *, limit: int = 50) -> list[ReplyRuleVersion]:
    """What the operator has to look at, oldest first."""
    waiting = _reviewable(ReviewState.PENDING)
    return list(session.scalars(waiting.order_by(ReplyRuleVersion.id).limit(limit)))


def decided(session: Session, *, limit: int = 20) -> list[ReplyRuleVersion]:
    """What was decided about merchants' rules lately, the newest decision first."""
    done = _reviewable(ReviewState.APPROVED, ReviewState.REJECTED).where(ReplyRuleVersion.merchant_id.is_not(None))
    latest = done.order_by(ReplyRuleVersion.reviewed_at.desc(), ReplyRuleVersion.id.desc())
    return list(session.scalars(latest.limit(limit)))


def count_waiting(session: Session) -> int:
    waiting = _reviewable(ReviewState.PENDING).with_only_columns(func.count())
    return session.execute(waiting).scalar_one()


def _reviewable(*states: ReviewState) -> Select[ReplyRuleVersion]:
    """Versions of rules that are there: what was deleted needs no decision."""
    return (
        select(ReplyRuleVersion)
        .join(ReplyRule, ReplyRule.id == ReplyRuleVersion.rule_id)
        .where(ReplyRule.deleted_at.is_(None), ReplyRuleVersion.review.in_(states))
    )


def _with_versions(session: Session, rules: Sequence[ReplyRule], now: datetime) -> list[Kept]:
    ids = [rule.id for rule in rules]
    rows = session.scalars(
        select(ReplyRuleVersion)
        .where(ReplyRuleVersion.rule_id.in_(ids))
        .ext(distinct_on(ReplyRuleVersion.rule_id, ReplyRuleVersion.review))
        .order_by(ReplyRuleVersion.rule_id, ReplyRuleVersion.review, ReplyRuleVersion.id.desc())
    )
    newest = {(row.rule_id, ReviewState(row.review)): row for row in rows}
    counts = fired(session, ids, now=now)
    kept = []
    for rule in rules:
        speaking, waiting, refused, back = (
            newest.get((rule.id, state))
            for state in (ReviewState.APPROVED, ReviewState.PENDING, ReviewState.REJECTED, ReviewState.WITHDRAWN)
        )
        others = [row.id for row in (speaking, waiting) if row is not None]
        if refused is not None and refused.id < max(others, default=0):
            refused = None
        last = refused or waiting or speaking or back
        assert last is not None  # noqa: S101  a rule is written with its first version
        kept.append(Kept(rule, speaking, waiting, refused, last, counts.get(rule.id, Fired())))
    return kept


def _searchable(kept: Kept) -> str:
    texts = [kept.rule.name]
    for said in (kept.shown, kept.newest):
        texts += [one.words for one in said.patterns]
        texts += [words for one in said.answers for words in (one.text, one.title, one.description)]
    return "\n".join(plain(words[start : start + 100]) for words in texts for start in range(0, len(words) or 1, 100))
