"""Which rule answers: the order of rules, what patterns fit, hours, and how many steps it takes to see it."""

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.rules.matching import (
    DAY,
    PATTERN_MAX,
    Hours,
    Mode,
    Pattern,
    Question,
    Rule,
    Span,
    Why,
    Wildcards,
    explain,
    winner,
)
from campaigns.broadcasts.spelling import LONGEST, plain
from core.clock import SHANGHAI
from wechat.replies import TextReply

MONDAY_NOON = datetime(2026, 11, 23, 12, 0, tzinfo=SHANGHAI)
WEEK = frozenset(range(7))
SHOP, PLATFORM = 7, None


def rule(
    id: int,
    *patterns: str,
    mode: Mode = Mode.EXACT,
    merchant_id: int | None = SHOP,
    priority: int = 5,
    occasions: tuple[str, ...] = (),
    hours: Hours | None = None,
    is_on: bool = True,
    is_approved: bool = True,
) -> Rule:
    return Rule(
        id,
        merchant_id,
        f"规则{id}",
        priority,
        tuple(Pattern(mode, words) for words in patterns),
        frozenset(occasions),
        hours or Hours(),
        (TextReply("好"),),
        is_on=is_on,
        is_approved=is_approved,
    )


def said(text: str, at: datetime = MONDAY_NOON) -> Question:
    return Question("text", text, at=at)


def at(hour: int, minute: int = 0, *, days: int = 0) -> datetime:
    return MONDAY_NOON.replace(hour=hour, minute=minute) + timedelta(days=days)


def who_wins(rules: list[Rule], question: Question) -> int | None:
    found = winner(rules, question)
    return None if found is None else found.id


# ---- What patterns fit -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "written",
    ["wifi密码", "ＷｉＦｉ密码", " WIFI 密码 ", "wifi密碼", "wi-fi密码？", "wifi密码😀", "“wifi”密码！！"],
)
def test_a_keyword_is_heard_in_any_spelling(written: str) -> None:
    assert who_wins([rule(1, "WiFi密码")], said(written)) == 1


@pytest.mark.parametrize(
    ("mode", "pattern", "text", "fits"),
    [
        (Mode.EXACT, "营业时间", "营业时间", True),
        (Mode.EXACT, "营业时间", "你们的营业时间", False),
        (Mode.CONTAINS, "营业时间", "你们的营业时间呢", True),
        (Mode.CONTAINS, "营业时间", "营业的时间", False),
        (Mode.WILDCARD, "几点*门", "几点开门", True),
        (Mode.WILDCARD, "几点*门", "几点门", True),
        (Mode.WILDCARD, "几点*门", "请问几点开门", False),
        (Mode.WILDCARD, "*几点*门*", "请问几点才开门呀", True),
        (Mode.WILDCARD, "几点?门", "几点开门", True),
        (Mode.WILDCARD, "几点？门", "几点开门", True),
        (Mode.WILDCARD, "几点?门", "几点门", False),
        (Mode.WILDCARD, "几点＊门", "几 点 关 門 ！", True),
        (Mode.WILDCARD, "*W*密码", "ｗｉｆｉ密碼", True),
        (Mode.EXACT, "几点开门？", "几点开门", True),
        (Mode.EXACT, "*", "*", False),
        (Mode.WILDCARD, "*", "随便说什么", False),
        (Mode.WILDCARD, "??", "两字", False),
        (Mode.CONTAINS, "👍", "👍", False),
        (Mode.CONTAINS, "", "什么", False),
    ],
)
def test_a_pattern_fits(mode: Mode, pattern: str, text: str, fits: bool) -> None:
    assert who_wins([rule(1, pattern, mode=mode)], said(text)) == (1 if fits else None)


def test_any_of_several_patterns_will_do() -> None:
    assert who_wins([rule(1, "地址", "在哪里", "怎么走")], said("怎么走？")) == 1


def test_a_message_without_words_fits_no_pattern() -> None:
    assert who_wins([rule(1, "好", mode=Mode.CONTAINS)], said("😀！")) is None


LETTERS = "ab*?"


@given(st.lists(st.text(LETTERS, max_size=8), min_size=1, max_size=6), st.text("abc", max_size=12))
def test_wildcards_fit_exactly_what_they_mean(patterns: list[str], text: str) -> None:
    @cache
    def fits(pattern: str, rest: str) -> bool:
        if not pattern:
            return not rest
        if pattern[0] == "*":
            return fits(pattern[1:], rest) or (bool(rest) and fits(pattern, rest[1:]))
        return bool(rest) and pattern[0] in ("?", rest[0]) and fits(pattern[1:], rest[1:])

    expected = next((number for number, one in enumerate(patterns) if fits(one, text)), None)
    assert Wildcards(patterns).first(text) == expected


@given(st.text(max_size=40), st.text(max_size=40))
def test_whatever_is_written_is_compared_without_an_error(pattern: str, text: str) -> None:
    for mode in Mode:
        winner([rule(1, pattern, mode=mode)], said(text))
        assert len(Pattern(mode, pattern).spelled) <= LONGEST


@given(st.text(min_size=1, max_size=20))
def test_whoever_writes_the_keyword_itself_is_answered(text: str) -> None:
    is_heard = bool(plain(text))
    for mode in (Mode.EXACT, Mode.CONTAINS):
        assert (who_wins([rule(1, text, mode=mode)], said(text)) == 1) is is_heard


PATHOLOGICAL = [
    *("*a" * (PATTERN_MAX // 2 - length) + "?" * length + "b" for length in range(5)),
    "*" * PATTERN_MAX,
    "*?" * (PATTERN_MAX // 2),
    "*?a?a?a?a?a?a?a?a?a?a?a?a?ab",
]


def test_no_pattern_takes_longer_than_the_message_is_long() -> None:
    """However a rule's twenty patterns are made, each character of a message is looked at once for all of them."""
    looked_at = 0

    def counted(text: str) -> Iterator[str]:
        nonlocal looked_at
        for character in text:
            looked_at += 1
            yield character

    text = "a" * 100
    twenty = [PATHOLOGICAL[number % len(PATHOLOGICAL)][:PATTERN_MAX] for number in range(20)]
    for patterns in ([one] for one in twenty):
        Wildcards(patterns).first(counted(text))
    assert looked_at <= len(twenty) * len(text)
    looked_at = 0
    Wildcards(twenty).first(counted(text))
    assert looked_at <= len(text)


def test_of_a_long_message_only_the_beginning_is_heard() -> None:
    assert who_wins([rule(1, "在吗", mode=Mode.CONTAINS)], said("啊" * 100 + "在吗")) is None
    assert who_wins([rule(1, "在吗", mode=Mode.CONTAINS)], said("在吗" + "啊" * 100_000)) == 1


# ---- Kinds of messages -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("occasions", "question", "fits"),
    [
        (("image",), Question("image"), True),
        (("image",), Question("voice"), False),
        (("video",), Question("shortvideo"), True),
        (("click:hours",), Question("click", menu_key="hours"), True),
        (("click:hours",), Question("click", menu_key="other"), False),
        (("image",), Question("text", "image"), False),
        (("click:hours",), Question("text", "click:hours"), False),
        (("text",), Question("text", "随便什么"), True),
    ],
)
def test_a_rule_answers_kinds_of_messages(occasions: tuple[str, ...], question: Question, fits: bool) -> None:
    assert who_wins([rule(1, occasions=occasions)], question) == (1 if fits else None)


def test_a_pattern_is_heard_in_texts_only() -> None:
    assert who_wins([rule(1, "在吗")], Question("location", "在吗")) is None


# ---- Who comes first -------------------------------------------------------------------------------------------------


def test_the_merchants_rule_comes_before_the_platforms() -> None:
    rules = [rule(1, "地址", merchant_id=PLATFORM, priority=9), rule(2, "址", mode=Mode.CONTAINS, priority=0)]
    assert who_wins(rules, said("地址")) == 2


def test_the_higher_priority_comes_first_whatever_the_patterns_say() -> None:
    rules = [rule(1, "地址", priority=4), rule(2, "址", mode=Mode.CONTAINS, priority=5)]
    assert who_wins(rules, said("地址")) == 2


def test_exact_comes_before_wildcard_before_contains() -> None:
    contains, wildcard, exact = (
        rule(1, "地址", mode=Mode.CONTAINS),
        rule(2, "地*", mode=Mode.WILDCARD),
        rule(3, "地址"),
    )
    assert who_wins([contains, wildcard, exact], said("地址")) == 3
    assert who_wins([contains, wildcard], said("地址")) == 2


def test_the_longer_pattern_comes_first_then_the_older_rule() -> None:
    rules = [rule(1, "地址", mode=Mode.CONTAINS), rule(2, "店地址", mode=Mode.CONTAINS)]
    assert who_wins(rules, said("你们店地址")) == 2
    assert who_wins([rule(5, "地址"), rule(4, "地址")], said("地址")) == 4


def test_any_text_comes_after_every_pattern() -> None:
    rules = [rule(1, occasions=("text",)), rule(2, "址", mode=Mode.CONTAINS)]
    assert who_wins(rules, said("地址")) == 2


def test_a_rule_that_is_off_or_waits_answers_nobody() -> None:
    assert who_wins([rule(1, "地址", is_on=False), rule(2, "地址", is_approved=False)], said("地址")) is None


def test_outside_its_hours_a_rule_leaves_the_answer_to_the_next() -> None:
    mornings = Hours((Span(WEEK, 8 * 60, 11 * 60),))
    rules = [rule(1, "地址", hours=mornings), rule(2, "址", mode=Mode.CONTAINS)]
    assert who_wins(rules, said("地址", at(9))) == 1
    assert who_wins(rules, said("地址", at(12))) == 2


some_rules = st.lists(
    st.builds(
        lambda id_, words, mode, merchant, priority, is_on, occasions: rule(
            id_, *words, mode=mode, merchant_id=merchant, priority=priority, is_on=is_on, occasions=occasions
        ),
        st.integers(1, 10_000),
        st.lists(st.text("地址在哪*?", min_size=1, max_size=4), max_size=3),
        st.sampled_from(Mode),
        st.sampled_from([SHOP, PLATFORM]),
        st.integers(0, 9),
        st.booleans(),
        st.sampled_from([(), ("text",), ("image",)]),
    ),
    max_size=8,
    unique_by=lambda one: one.id,
)


@given(some_rules, st.text("地址在哪", max_size=5), st.randoms())
def test_the_tester_says_what_the_chat_does_whatever_the_order(rules: list[Rule], text: str, chance: object) -> None:
    question = said(text)
    judged = explain(rules, question)
    won = [one.rule for one in judged if one.why is None]
    shuffled = list(rules)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    assert won == ([] if (found := winner(shuffled, question)) is None else [found])
    assert {one.rule.id for one in judged} == {one.id for one in rules}
    assert all(one.winner == won[0] for one in judged if one.winner is not None)


def test_the_tester_says_why_each_of_the_others_did_not_answer() -> None:
    nights = Hours((Span(WEEK, 22 * 60, 6 * 60),))
    holidays = Hours(only_on=frozenset({date(2026, 10, 1)}))
    rules = [
        rule(1, "地址", priority=6),
        rule(2, "地址", is_on=False),
        rule(3, "地址", is_approved=False),
        rule(4, "地址", hours=nights, priority=9),
        rule(5, "地址", hours=holidays, priority=9),
        rule(6, "电话"),
        rule(7, occasions=("image",)),
        rule(8, "地址", merchant_id=PLATFORM),
        rule(9, "地址", priority=5),
        rule(10, "地*", mode=Mode.WILDCARD, priority=6),
        rule(11, "地址", priority=6),
    ]
    assert {one.rule.id: one.why for one in explain(rules, said("地址"))} == {
        1: None,
        2: Why.OFF,
        3: Why.WAITING,
        4: Why.OUTSIDE_HOURS,
        5: Why.OTHER_DAY,
        6: Why.NO_MATCH,
        7: Why.OTHER_KIND,
        8: Why.OWNER,
        9: Why.PRIORITY,
        10: Why.MODE,
        11: Why.YOUNGER,
    }


# ---- Hours -----------------------------------------------------------------------------------------------------------


def test_hours_begin_with_their_first_minute_and_end_before_their_last() -> None:
    hours = Hours((Span(WEEK, 9 * 60, 18 * 60),))
    assert [hours.holds(at(*moment)) for moment in ((8, 59), (9, 0), (17, 59), (18, 0))] == [False, True, True, False]


def test_hours_over_midnight_belong_to_the_day_they_begin_on() -> None:
    mondays = Hours((Span(frozenset({0}), 22 * 60, 6 * 60),))
    assert mondays.holds(at(23))
    assert mondays.holds(at(5, 59, days=1))
    assert not mondays.holds(at(6, days=1))
    assert not mondays.holds(at(5))
    assert not mondays.holds(at(23, days=1))


def test_a_holiday_is_over_when_the_night_it_began_on_is() -> None:
    closed = Hours((Span(WEEK, 22 * 60, 6 * 60),), not_on=frozenset({date(2026, 11, 23)}))
    assert not closed.holds(at(23))
    assert not closed.holds(at(3, days=1))
    assert closed.holds(at(23, days=1))


def test_a_rule_for_holidays_answers_on_them_only() -> None:
    holiday = Hours(only_on=frozenset({date(2026, 11, 23)}))
    assert holiday.holds(at(0))
    assert not holiday.holds(at(0, days=1))


def test_a_whole_day_has_no_gap_at_midnight() -> None:
    hours = Hours((Span(WEEK, 0, DAY),))
    assert hours.holds(at(0))
    assert hours.holds(at(23, 59))


@given(st.integers(0, DAY - 1), st.integers(1, DAY), st.integers(0, 7 * DAY - 1))
def test_hours_hold_as_long_as_they_say(begins: int, ends: int, minute: int) -> None:
    """A span and its opposite fill the day."""
    if begins == ends % DAY:
        return
    moment = MONDAY_NOON.replace(hour=0) + timedelta(minutes=minute)
    inside = Hours((Span(WEEK, begins, ends),))
    outside = Hours((Span(WEEK, ends % DAY, begins or DAY),))
    assert inside.holds(moment) is not outside.holds(moment)
