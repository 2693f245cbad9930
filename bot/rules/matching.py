"""Which rule answers a message: pure, the same for the chat, the tester and the preview.

A merchant's rules come before the platform's. Among the rules of one owner the highest priority wins, then the pattern
that says most (exact before wildcard before contains, the longer one first), then the older rule. Nothing here is a
regular expression: wildcards are followed all at once, one step for each character of the message, whatever they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Final

from campaigns.broadcasts.spelling import LONGEST, plain
from core.clock import SHANGHAI
from wechat.replies import Reply

PATTERN_MAX: Final = 30
TEXT: Final = "text"
CLICK: Final = "click:"
"""What stands before the key of a menu entry among a rule's occasions."""
OCCASIONS: Final = ("image", "voice", "video", "location", "link")
"""Kinds of messages without words that a rule may answer."""
DAY: Final = 24 * 60
_SAME: Final = {"shortvideo": "video"}
_WILD: Final = str.maketrans("？＊", "?*")


class Mode(StrEnum):
    EXACT = "exact"
    WILDCARD = "wildcard"
    CONTAINS = "contains"


_RANK: Final = {Mode.EXACT: 0, Mode.WILDCARD: 1, Mode.CONTAINS: 2}
_ANY_TEXT: Final = 3


@dataclass(frozen=True, slots=True)
class Pattern:
    """What a message may say. In wildcards `*` stands for any run of characters, also none, and `?` for one."""

    mode: Mode
    words: str

    @property
    def spelled(self) -> str:
        """The words as they are compared, wildcards kept; empty where nothing is left to compare."""
        if self.mode is not Mode.WILDCARD:
            return plain(self.words)[:LONGEST]
        kept = []
        literal = ""
        for character in self.words.translate(_WILD):
            if character in "*?":
                kept += [plain(literal), character]
                literal = ""
            else:
                literal += character
        return "".join([*kept, plain(literal)])[:LONGEST]

    @property
    def says_something(self) -> bool:
        """Whether it names anything that can be compared; `*` alone fits every message and names nothing."""
        return bool(self.spelled.replace("*", "").replace("?", ""))


@dataclass(frozen=True, slots=True)
class Span:
    """On some weekdays (Monday is 0), from one minute of the day to before another; over midnight where it ends no
    later than it begins, and then it belongs to the day on which it begins."""

    days: frozenset[int]
    begins: int
    ends: int


@dataclass(frozen=True, slots=True)
class Hours:
    """When a rule answers, in Shanghai's time. Without spans all day; `only_on` and `not_on` are dates."""

    spans: tuple[Span, ...] = ()
    only_on: frozenset[date] = frozenset()
    not_on: frozenset[date] = frozenset()

    def holds(self, at: datetime) -> bool:
        """Whether the moment is within."""
        return self.why_not(at) is None

    def why_not(self, at: datetime) -> Why | None:
        """What keeps the moment out; None where it is within."""
        local = at.astimezone(SHANGHAI)
        today, minute = local.date(), local.hour * 60 + local.minute
        if not self.spans:
            return None if self._has(today) else Why.OTHER_DAY
        began = [today for one in self.spans if _is_open(one, today, minute)]
        yesterday = today - timedelta(days=1)
        began += [yesterday for one in self.spans if one.ends <= one.begins and minute < one.ends
                  and yesterday.weekday() in one.days]  # fmt: skip
        if not began:
            return Why.OUTSIDE_HOURS
        return None if any(self._has(day) for day in began) else Why.OTHER_DAY

    def _has(self, day: date) -> bool:
        return day not in self.not_on and (not self.only_on or day in self.only_on)


def _is_open(span: Span, day: date, minute: int) -> bool:
    ends = span.ends if span.ends > span.begins else DAY
    return day.weekday() in span.days and span.begins <= minute < ends


ALWAYS: Final = Hours()


@dataclass(frozen=True, slots=True)
class Found:
    """How a rule fits: by a pattern, as it is compared, or by the kind of message alone."""

    pattern: Pattern | None = None
    spelled: str = ""


class Wildcards:
    """Several patterns of wildcards, followed at once through what was said.

    A bit stands for each place of each pattern: those that may have been reached by what was said so far. The next
    character moves all of them on together; a `*` lets its place stay where it is.
    """

    __slots__ = ("_any", "_ends", "_masks", "_start", "_stays")

    def __init__(self, patterns: Sequence[str]) -> None:
        self._start = self._stays = self._any = 0
        self._masks: dict[str, int] = {}
        self._ends: list[int] = []
        bit = 1
        for pattern in patterns:
            self._start |= bit
            for character in pattern:
                if character == "*":
                    self._stays |= bit
                    continue
                if character == "?":
                    self._any |= bit
                else:
                    self._masks[character] = self._masks.get(character, 0) | bit
                bit <<= 1
            self._ends.append(bit)
            bit <<= 1

    def first(self, said: Iterable[str]) -> int | None:
        """The place of the first pattern that fits all of it; each character is looked at once."""
        reached = self._start
        for character in said:
            moved = reached & (self._masks.get(character, 0) | self._any)
            reached = (reached & self._stays) | (moved << 1)
            if not reached:
                return None
        return next((number for number, end in enumerate(self._ends) if reached & end), None)


class _Compiled:
    """A rule's patterns as they are compared, those that say most first."""

    __slots__ = ("_exact", "_held", "_wild", "_wildcards")

    def __init__(self, patterns: Sequence[Pattern]) -> None:
        found = [Found(one, spelled) for one in patterns if (spelled := one.spelled).strip("*?")]
        found.sort(key=lambda one: -len(one.spelled))

        def of(mode: Mode) -> list[Found]:
            return [one for one in found if one.pattern is not None and one.pattern.mode is mode]

        self._exact = {one.spelled: one for one in of(Mode.EXACT)}
        self._wild = of(Mode.WILDCARD)
        self._wildcards = Wildcards([one.spelled for one in self._wild])
        self._held = of(Mode.CONTAINS)

    def first(self, said: str) -> Found | None:
        if said in self._exact:
            return self._exact[said]
        if self._wild and (number := self._wildcards.first(said)) is not None:
            return self._wild[number]
        return next((one for one in self._held if one.spelled in said), None)


class Why(StrEnum):
    """Why a rule did not answer, the first reason that holds."""

    OFF = "off"
    WAITING = "waiting"
    """No version of it has been approved."""
    OTHER_KIND = "other_kind"
    """It is for other kinds of messages."""
    NO_MATCH = "no_match"
    OTHER_DAY = "other_day"
    OUTSIDE_HOURS = "outside_hours"
    # It fits, and another one came before it.
    OWNER = "owner"
    """The other one is the merchant's own, this one the platform's."""
    PRIORITY = "priority"
    MODE = "mode"
    """The other one's pattern says more: exact before wildcard before contains."""
    SHORTER = "shorter"
    """The other one's pattern is longer."""
    YOUNGER = "younger"
    """All the same, and the other one is older."""


@dataclass(frozen=True, slots=True)
class Question:
    """What somebody sent, and when."""

    kind: str
    text: str = ""
    menu_key: str = ""
    at: datetime = datetime(1970, 1, 1, tzinfo=SHANGHAI)

    @property
    def occasion(self) -> str:
        """What a rule has to name among its occasions to answer it whatever it says."""
        return f"{CLICK}{self.menu_key}" if self.kind == "click" else _SAME.get(self.kind, self.kind)


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule as it is asked. `answers` are said in their order; with `hands_over` a human goes on from there."""

    id: int
    merchant_id: int | None
    name: str
    priority: int
    patterns: tuple[Pattern, ...] = ()
    occasions: frozenset[str] = frozenset()
    hours: Hours = ALWAYS
    answers: tuple[Reply, ...] = ()
    hands_over: bool = False
    is_on: bool = True
    is_approved: bool = True
    _compiled: _Compiled = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_compiled", _Compiled(self.patterns))

    def pattern_for(self, said: str) -> Found | None:
        """The pattern that says most among those that fit what was said (in plain spelling)."""
        return self._compiled.first(said)


@dataclass(frozen=True, slots=True)
class Judged:
    """What became of one rule: it won where `why` is None."""

    rule: Rule
    why: Why | None
    pattern: Pattern | None = None
    """The pattern that fits, if one does."""
    winner: Rule | None = None
    """Who came before it, where it fits as well."""


_Key = tuple[int, int, int, int, int]
_WHY_LATER: Final = (Why.OWNER, Why.PRIORITY, Why.MODE, Why.SHORTER, Why.YOUNGER)


def winner(rules: Iterable[Rule], question: Question) -> Rule | None:
    """The rule that answers; None where none does."""
    said = _said(question)
    best: tuple[_Key, Rule] | None = None
    for rule in rules:
        if not (rule.is_on and rule.is_approved):
            continue
        if best is not None and _place(rule) > best[0][:2]:
            continue
        found = _match(rule, question, said)
        if found is None or not rule.hours.holds(question.at):
            continue
        key = _key(rule, found)
        if best is None or key < best[0]:
            best = key, rule
    return None if best is None else best[1]


def explain(rules: Sequence[Rule], question: Question) -> list[Judged]:
    """What became of every rule, the winner first, then those that fit as well, then the rest as they were given."""
    said = _said(question)
    fitting: list[tuple[_Key, Rule, Pattern | None]] = []
    others: list[Judged] = []
    for rule in rules:
        found = _match(rule, question, said)
        pattern = None if found is None else found.pattern
        why = _why_not(rule, question, is_found=found is not None)
        if why is not None or found is None:
            others.append(Judged(rule, why, pattern))
        else:
            fitting.append((_key(rule, found), rule, pattern))
    fitting.sort(key=lambda one: one[0])
    judged: list[Judged] = []
    for key, rule, pattern in fitting:
        if not judged:
            judged.append(Judged(rule, None, pattern))
            continue
        first_key, first, _ = fitting[0]
        why = next(why for why, theirs, mine in zip(_WHY_LATER, first_key, key, strict=True) if theirs != mine)
        judged.append(Judged(rule, why, pattern, winner=first))
    return judged + others


def _why_not(rule: Rule, question: Question, *, is_found: bool) -> Why | None:
    if not rule.is_on:
        return Why.OFF
    if not rule.is_approved:
        return Why.WAITING
    if not is_found:
        return Why.NO_MATCH if question.kind == TEXT and rule.patterns else Why.OTHER_KIND
    return rule.hours.why_not(question.at)


def _said(question: Question) -> str:
    return plain(question.text)[:LONGEST] if question.kind == TEXT else ""


def _match(rule: Rule, question: Question, said: str) -> Found | None:
    """How it fits: by which pattern, or by the kind of message alone."""
    if said and (found := rule.pattern_for(said)) is not None:
        return found
    return Found() if question.occasion in rule.occasions else None


def _place(rule: Rule) -> tuple[int, int]:
    return (1 if rule.merchant_id is None else 0, -rule.priority)


def _key(rule: Rule, found: Found) -> _Key:
    rank = _ANY_TEXT if found.pattern is None else _RANK[found.pattern.mode]
    return (*_place(rule), rank, -len(found.spelled), rule.id)
