"""Writing rules: create, change, copy, switch, put in order, delete and take that back.

What a merchant's rule hears and says waits for the operator; what the operator writes is in force at once. Whether and
when a rule answers, its name and its priority need nobody's consent.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, Select, func, insert, select, text, update
from sqlalchemy.orm import Session

from bot.rules import content as contents
from bot.rules import shadows
from bot.rules.content import Answer, Content
from bot.rules.matching import ALWAYS, CLICK, OCCASIONS, PATTERN_MAX, Hours, Mode, Pattern
from bot.rules.models import NAME_MAX, PRIORITIES, USUAL_PRIORITY, ReplyRule, ReplyRuleVersion
from core.database import rows_changed
from core.errors import BusinessError, Invalid, NotFound, Phrase
from merchants import sensitive_words
from merchants.models import Picture
from merchants.reviews import ReviewState, decide
from merchants.wording import Finding, ListedWord, clean, is_allowed_link, lint, lint_card, refuse_bad_wording
from qrcodes.welcomes import DESCRIPTION_MAX, TITLE_MAX, URL_MAX
from wechat.limits import TEXT_MAX_BYTES

MOST_RULES: Final = 200
MOST_PLATFORM_RULES: Final = 500
MOST_PATTERNS: Final = 20
MOST_ANSWERS: Final = 3
ANSWER_MAX: Final = 600
MENU_KEY_MAX: Final = 128
TAKEN_BACK_KEPT: Final = 50
"""Versions of a rule that were taken back before anybody agreed to them."""
RESTORABLE: Final = timedelta(days=7)
"""How long a deleted rule can be taken back."""
_HEARD: Final = (ReviewState.PENDING, ReviewState.APPROVED)


class TooManyRules(BusinessError):
    code = "too_many_rules"
    message = "规则最多 %(most)s 条，请先删掉不用的。"


class RuleChanged(BusinessError):
    """Somebody else has saved the rule since it was opened."""

    code = "reply_rule_changed"
    message = "这条规则在您打开以后又被改过，您的改动没有保存。请先看看现在的内容，再决定要不要再保存。"


@dataclass(frozen=True, slots=True)
class Draft:
    """A rule as somebody wrote it."""

    name: str
    content: Content
    priority: int = USUAL_PRIORITY
    hours: Hours = ALWAYS


@dataclass(frozen=True, slots=True)
class Author:
    """Who writes: a merchant, or an operator for the platform."""

    account_id: int
    merchant_id: int | None = None
    operator_id: int | None = None

    def __post_init__(self) -> None:
        if (self.merchant_id is None) is (self.operator_id is None):
            raise NotFound

    @property
    def most(self) -> int:
        return MOST_PLATFORM_RULES if self.merchant_id is None else MOST_RULES


def create(
    session: Session, author: Author, draft: Draft, *, hosts: frozenset[str], now: datetime, is_on: bool = True
) -> int:
    """Keep a new rule; returns its id."""
    return keep(session, author, check(session, author, draft, hosts=hosts), now=now, is_on=is_on)


def keep(session: Session, author: Author, checked: Draft, *, now: datetime, is_on: bool) -> int:
    """Keep a new rule as `check` returned it; returns its id."""
    _lock(session, author)
    _refuse_too_many(session, author)
    new = insert(ReplyRule).values(
        account_id=author.account_id,
        merchant_id=author.merchant_id,
        name=checked.name,
        priority=checked.priority,
        is_on=is_on,
        hours=contents.hours_to_json(checked.hours),
    )
    rule_id = session.execute(new.returning(ReplyRule.id)).scalar_one()
    _add_version(session, author, rule_id, checked.content, now)
    return rule_id


def change(
    session: Session, author: Author, rule_id: int, draft: Draft, *, was: str, hosts: frozenset[str], now: datetime
) -> bool:
    """Keep a rule as it is now written. True where what it hears or says is new, and waits for the operator.

    `was` is the `mark` of what its author had before them; raises `RuleChanged` where it is another by now.
    """
    rule = find(session, author.merchant_id, rule_id)
    session.refresh(rule, with_for_update=True)
    if mark(session, rule) != was:
        raise RuleChanged
    checked = check(session, author, draft, hosts=hosts)
    rule.name, rule.priority = checked.name, checked.priority
    rule.hours = contents.hours_to_json(checked.hours)
    session.flush()
    newest = session.scalar(
        select(ReplyRuleVersion)
        .where(ReplyRuleVersion.rule_id == rule_id, ReplyRuleVersion.review.in_(_HEARD))
        .order_by(ReplyRuleVersion.id.desc())
        .limit(1)
    )
    if newest is not None and content_of(newest) == checked.content:
        return False
    speaking = session.scalar(_versions(rule_id, ReviewState.APPROVED))
    _withdraw(session, rule_id, states=[ReviewState.PENDING] if author.operator_id is None else _HEARD)
    if author.operator_id is None and speaking is not None and content_of(speaking) == checked.content:
        # Back to what is in force: nothing is left to agree to.
        return False
    _add_version(session, author, rule_id, checked.content, now)
    return author.operator_id is None


def copy(session: Session, author: Author, rule_id: int, *, now: datetime) -> int:
    """A rule like another one, switched off, to be changed and switched on."""
    rule = find(session, author.merchant_id, rule_id)
    version = newest_of(session, rule_id)
    name = f"{rule.name[: NAME_MAX - 3]} 副本"
    copied = Draft(name, content_of(version), rule.priority, contents.hours_of(rule.hours))
    return keep(session, author, copied, now=now, is_on=False)


def switch(session: Session, *, merchant_id: int | None, rule_id: int, is_on: bool) -> None:
    """Let it answer, or not."""
    find(session, merchant_id, rule_id).is_on = is_on
    session.flush()


def prioritise(session: Session, *, merchant_id: int | None, rule_id: int, priority: int) -> None:
    """Put it before or after the others of its owner."""
    if priority not in PRIORITIES:
        raise Invalid("优先级是 0 到 9。", field="priority")
    find(session, merchant_id, rule_id).priority = priority
    session.flush()


def delete(session: Session, *, merchant_id: int | None, rule_id: int, now: datetime) -> None:
    """Take it away; what it said stays as evidence, and for a while it can be brought back."""
    find(session, merchant_id, rule_id).deleted_at = now
    session.flush()


def restore(session: Session, author: Author, rule_id: int, *, now: datetime) -> None:
    """Bring a deleted rule back as it was."""
    rule = find_deleted(session, author.merchant_id, rule_id, now=now)
    _lock(session, author)
    _refuse_too_many(session, author)
    rule.deleted_at = None
    session.flush()


def withdraw(session: Session, *, merchant_id: int | None, rule_id: int) -> int:
    """Take back the version that waits; what is in force stays so. Returns how many did."""
    find(session, merchant_id, rule_id)
    return _withdraw(session, rule_id, states=[ReviewState.PENDING])


def approve(
    session: Session, *, version_id: int, operator_id: int, now: datetime, was: ReviewState = ReviewState.PENDING
) -> ReplyRuleVersion:
    """Let a version answer instead of any other. `was` is what the operator saw: waiting, or refused before."""
    rule_id = session.scalar(select(ReplyRuleVersion.rule_id).where(ReplyRuleVersion.id == version_id))
    if rule_id is None:
        raise NotFound
    _withdraw(session, rule_id, ReplyRuleVersion.id != version_id, states=[ReviewState.APPROVED])
    return decide(
        session, ReplyRuleVersion, version_id, was=was, now_is=ReviewState.APPROVED, operator_id=operator_id, now=now
    )


def reject(
    session: Session,
    *,
    version_id: int,
    operator_id: int,
    reason: str,
    now: datetime,
    was: ReviewState = ReviewState.PENDING,
) -> ReplyRuleVersion:
    """Refuse a version, waiting or in force, and tell its author why."""
    return decide(
        session,
        ReplyRuleVersion,
        version_id,
        was=was,
        now_is=ReviewState.REJECTED,
        operator_id=operator_id,
        now=now,
        reason=reason,
    )


def find(session: Session, merchant_id: int | None, rule_id: int) -> ReplyRule:
    """A rule that is there, for who owns it; anybody else's is missing (TN-3)."""
    mine = select(ReplyRule).where(ReplyRule.id == rule_id, _owned(merchant_id), ReplyRule.deleted_at.is_(None))
    rule = session.scalar(mine)
    if rule is None:
        raise NotFound("没有这条规则。")
    return rule


def find_deleted(session: Session, merchant_id: int | None, rule_id: int, *, now: datetime) -> ReplyRule:
    """A rule that was deleted not long ago."""
    gone = ReplyRule.deleted_at > now - RESTORABLE
    rule = session.scalar(select(ReplyRule).where(ReplyRule.id == rule_id, _owned(merchant_id), gone))
    if rule is None:
        raise NotFound("没有这条规则，或者删掉太久了。")
    return rule


def newest_of(session: Session, rule_id: int) -> ReplyRuleVersion:
    """What its author wrote last: waiting, refused, or in force; one that was taken back where nothing else is."""
    kept = select(ReplyRuleVersion).where(ReplyRuleVersion.rule_id == rule_id)
    is_back = ReplyRuleVersion.review == ReviewState.WITHDRAWN
    return session.scalars(kept.order_by(is_back, ReplyRuleVersion.id.desc()).limit(1)).one()


def mark(session: Session, rule: ReplyRule) -> str:
    """Tells one state of a rule, as its form shows it, from every other."""
    written = [rule.name, rule.priority, rule.hours, newest_of(session, rule.id).id]
    return hashlib.sha256(json.dumps(written, sort_keys=True).encode()).hexdigest()[:16]


def content_of(version: ReplyRuleVersion) -> Content:
    return Content(
        contents.patterns_of(version.patterns),
        tuple(version.occasions),
        contents.answers_of(version.answers),
        version.hands_over,
    )


# ---- What may be written ---------------------------------------------------------------------------------------------


def check(session: Session, author: Author, draft: Draft, *, hosts: frozenset[str]) -> Draft:
    """The draft as it is stored; raises `Invalid` with the one sentence that says what to change."""
    checked = check_words(draft, is_platform=author.merchant_id is None, hosts=hosts,
                          listed=sensitive_words.listed(session))  # fmt: skip
    wanted = {one.picture_id for one in checked.content.answers if one.picture_id is not None}
    mine = select(func.count()).where(Picture.id.in_(wanted), Picture.merchant_id == author.merchant_id)
    if wanted and session.scalar(mine) != len(wanted):
        raise NotFound("没有这张图片。")
    return checked


def check_words(draft: Draft, *, is_platform: bool, hosts: frozenset[str], listed: Sequence[ListedWord] = ()) -> Draft:
    """What can be said of a draft without looking anything up."""
    name = clean(draft.name, name=Phrase("规则名"), field="name", longest=NAME_MAX, is_required=True)
    if draft.priority not in PRIORITIES:
        raise Invalid("优先级是 0 到 9。", field="priority")
    said = draft.content
    patterns = check_patterns(said.patterns, is_platform=is_platform)
    occasions = tuple(dict.fromkeys(_occasion(one, is_platform=is_platform) for one in said.occasions))
    if not patterns and not occasions:
        raise Invalid("请写关键词，或者选一种消息。", field="exact")
    if said.hands_over and is_platform:
        raise Invalid("平台的规则不能转给店家。")
    if not said.answers and not said.hands_over:
        raise Invalid("请至少写一条回复。", field="text1")
    if len(said.answers) > MOST_ANSWERS:
        raise Invalid("最多 %(most)s 条回复。", field=f"text{MOST_ANSWERS}", most=MOST_ANSWERS)
    answers = tuple(_answer(one, number, hosts=hosts, listed=listed) for number, one in enumerate(said.answers, 1))
    return replace(draft, name=name, content=Content(patterns, occasions, answers, said.hands_over))


def check_patterns(patterns: Sequence[Pattern], *, is_platform: bool) -> tuple[Pattern, ...]:
    """Each once, none too long, none empty, none a word that the account answers itself."""
    checked: dict[tuple[Mode, str], Pattern] = {}
    for one in patterns:
        field = one.mode.value
        words = clean(one.words, name=Phrase("关键词"), field=field, longest=PATTERN_MAX)
        pattern = Pattern(one.mode, words)
        if not words:
            continue
        if not pattern.says_something:
            raise Invalid("“%(words)s”里没有可以比较的字。", field=field, words=words)
        if pattern.mode is Mode.EXACT and shadows.is_own(words, is_platform=is_platform):
            raise Invalid("“%(words)s”由公众号自己回答，不能当“完全相同”的关键词，请换一个。", field=field, words=words)
        checked.setdefault((pattern.mode, pattern.spelled), pattern)
    if len(checked) > MOST_PATTERNS:
        last = list(checked.values())[-1]
        raise Invalid("关键词最多 %(most)s 个。", field=last.mode.value, most=MOST_PATTERNS)
    return tuple(checked.values())


def _occasion(written: str, *, is_platform: bool) -> str:
    if written in OCCASIONS:
        return written
    key = written.removeprefix(CLICK)
    if is_platform and key != written and 0 < len(key.encode()) <= MENU_KEY_MAX:
        clean(key, name=Phrase("菜单的标识"), field="menu_keys", longest=MENU_KEY_MAX)
        return written
    raise Invalid("请从列出的消息种类里选。", field="occasions")


def _answer(answer: Answer, number: int, *, hosts: frozenset[str], listed: Sequence[ListedWord]) -> Answer:
    def at(name: str) -> str:
        return f"{name}{number}"

    said = clean(answer.text, name=Phrase("文字"), field=at("text"), longest=ANSWER_MAX, lines=True)
    title = clean(answer.title, name=Phrase("标题"), field=at("title"), longest=TITLE_MAX)
    about = clean(answer.description, name=Phrase("摘要"), field=at("description"), longest=DESCRIPTION_MAX, lines=True)
    url = answer.url.strip()
    match answer.kind:
        case "text":
            _must(bool(said), Phrase("请填写文字。"), at("text"))
            checked = Answer("text", text=said)
        case "image":
            _must(answer.picture_id is not None, Phrase("请选择图片。"), at("picture"))
            checked = Answer("image", text=said, picture_id=answer.picture_id)
        case "news":
            _must(bool(title), Phrase("请填写标题。"), at("title"))
            _must(bool(url), Phrase("请填写链接。"), at("url"))
            _must(len(url) <= URL_MAX, Phrase("链接太长了。"), at("url"))
            _must(is_allowed_link(url, hosts), Phrase("链接只能指向本系统或公众号文章。"), at("url"))
            checked = Answer("news", title=title, description=about, url=url, picture_id=answer.picture_id)
        case _:
            raise Invalid("只能是文字、图片或图文卡片。", field=at("kind"))
    if len(checked.text.encode()) > TEXT_MAX_BYTES:
        raise Invalid("文字太长：最多 %(bytes)s 字节。", field=at("text"), bytes=TEXT_MAX_BYTES)
    for field, words in (("text", checked.text), ("title", checked.title), ("description", checked.description)):
        refuse_bad_wording(words, field=at(field), hosts=hosts, listed=listed)
    return checked


def doubts(content: Content, *, hosts: frozenset[str], listed: Sequence[ListedWord]) -> list[Finding]:
    """What the linter would have reworded in answers that are stored; also what a rule added since would refuse."""
    found = []
    for one in content.answers:
        for words in (one.text, one.title, one.description):
            found += lint(words, hosts=hosts, listed=listed)
        if one.kind == "news":
            found += lint_card(one.title, one.description)
    return found


def _must(condition: bool, sentence: Phrase, field: str) -> None:
    if not condition:
        raise Invalid(sentence, field=field)


# ---- Rows ------------------------------------------------------------------------------------------------------------


def _owned(merchant_id: int | None) -> ColumnElement[bool]:
    return ReplyRule.merchant_id.is_not_distinct_from(merchant_id)


def _versions(rule_id: int, *states: ReviewState) -> Select[ReplyRuleVersion]:
    return select(ReplyRuleVersion).where(ReplyRuleVersion.rule_id == rule_id, ReplyRuleVersion.review.in_(states))


def _lock(session: Session, author: Author) -> None:
    """Two who add rules at once do so one after the other, so that a limit is one."""
    name = f"reply_rule:{author.account_id}:{author.merchant_id or 0}"
    session.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": name})


def _refuse_too_many(session: Session, author: Author) -> None:
    if count(session, author.merchant_id) >= author.most:
        raise TooManyRules(most=author.most)


def count(session: Session, merchant_id: int | None) -> int:
    there = select(func.count()).select_from(ReplyRule).where(_owned(merchant_id), ReplyRule.deleted_at.is_(None))
    return session.execute(there).scalar_one()


def count_on(session: Session) -> int:
    """How many rules there are that may answer, of merchants and of the platform."""
    on = select(func.count()).select_from(ReplyRule).where(ReplyRule.is_on, ReplyRule.deleted_at.is_(None))
    return session.execute(on).scalar_one()


def _add_version(session: Session, author: Author, rule_id: int, content: Content, now: datetime) -> int:
    values: dict[str, object] = {
        "rule_id": rule_id,
        "merchant_id": author.merchant_id,
        "patterns": contents.patterns_to_json(content.patterns),
        "occasions": list(content.occasions),
        "answers": contents.answers_to_json(content.answers),
        "hands_over": content.hands_over,
    }
    # A merchant's own connection may not even name the columns of the review.
    if author.operator_id is not None:
        values |= {"review": ReviewState.APPROVED, "reviewed_by": author.operator_id, "reviewed_at": now}
    version_id = session.execute(insert(ReplyRuleVersion).values(values).returning(ReplyRuleVersion.id)).scalar_one()
    session.execute(
        text("""
            DELETE FROM reply_rule_version WHERE id IN (
                SELECT id FROM reply_rule_version
                WHERE rule_id = :rule_id AND review = 'withdrawn' AND reviewed_at IS NULL
                ORDER BY id DESC OFFSET :kept)"""),
        {"rule_id": rule_id, "kept": TAKEN_BACK_KEPT},
    )
    return version_id


def _withdraw(
    session: Session, rule_id: int, *which: ColumnElement[bool], states: Sequence[ReviewState] = _HEARD
) -> int:
    those = update(ReplyRuleVersion).where(
        ReplyRuleVersion.rule_id == rule_id, ReplyRuleVersion.review.in_(states), *which
    )
    return rows_changed(session.execute(those.values(review=ReviewState.WITHDRAWN)))
