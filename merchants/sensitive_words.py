"""The operator's own list of words that merchants may not use, or only after a second look."""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from core.database import rows_changed
from core.errors import Invalid, NotFound, Phrase
from merchants.models import SensitiveWord
from merchants.wording import ListedWord, Severity, clean, comparable

WORD_MAX: Final = 30
ADVICE_MAX: Final = 100
MOST_WORDS: Final = 5_000
SHORTEST: Final = 2
"""Characters that count: a single one is in half of all sentences."""
SEVERITIES: Final = {"拦下": Severity.REFUSED, "提醒": Severity.DOUBTFUL}
"""What a list calls the two."""
HEADS: Final = ("敏感词", "怎么办", "说明")
"""The first line of an exported list; not translated, so that any export can be pasted back."""


@dataclass(frozen=True)
class Added:
    """What came of a pasted list."""

    added: int
    known: int


def listed(session: Session) -> list[ListedWord]:
    """All words, as the linter takes them. Needs no more than a merchant's own rights."""
    rows = session.execute(select(SensitiveWord.word, SensitiveWord.severity, SensitiveWord.advice))
    return [ListedWord(word, Severity(severity), advice) for word, severity, advice in rows]


def find(session: Session, *, search: str = "", before: int | None = None, limit: int = 50) -> list[SensitiveWord]:
    """Words that hold `search`, the newest first."""
    statement = select(SensitiveWord).order_by(SensitiveWord.id.desc()).limit(limit)
    if wanted := comparable(search):
        statement = statement.where(SensitiveWord.comparable.contains(wanted, autoescape=True))
    if before is not None:
        statement = statement.where(SensitiveWord.id < before)
    return list(session.scalars(statement))


def add(session: Session, *, account_id: int, words: Iterable[ListedWord]) -> Added:
    """Put words on the list; what is there takes the new severity and advice. Raises `Invalid` for a bad one."""
    rows: dict[str, dict[str, object]] = {}
    for one in words:
        word = clean(one.word, name=Phrase("敏感词"), field="words", longest=WORD_MAX, is_required=True)
        key = comparable(word)
        if len(key) < SHORTEST:
            raise Invalid("“%(word)s”太短了，至少两个字，不然几乎每句话都会撞上。", field="words", word=word)
        advice = clean(one.advice, name=Phrase("说明"), field="words", longest=ADVICE_MAX)
        rows[key] = {
            "account_id": account_id,
            "word": word,
            "comparable": key,
            "severity": one.severity,
            "advice": advice,
        }
    if not rows:
        raise Invalid("请至少写一个词。", field="words")
    keys = select(SensitiveWord.comparable).where(SensitiveWord.comparable.in_(rows))
    known = set(session.scalars(keys))
    there = session.execute(select(func.count()).select_from(SensitiveWord)).scalar_one()
    if there + len(rows) - len(known) > MOST_WORDS:
        raise Invalid("最多 %(most)s 个敏感词。", field="words", most=MOST_WORDS)
    new = insert(SensitiveWord).values(list(rows.values()))
    changed = {name: new.excluded[name] for name in ("word", "severity", "advice")}
    session.execute(new.on_conflict_do_update(index_elements=["account_id", "comparable"], set_=changed))
    return Added(len(rows) - len(known), len(known))


def remove(session: Session, *, word_id: int) -> str:
    """Take a word off the list; returns it."""
    word = session.scalar(select(SensitiveWord.word).where(SensitiveWord.id == word_id))
    if word is None or not rows_changed(session.execute(delete(SensitiveWord).where(SensitiveWord.id == word_id))):
        raise NotFound("没有这个词，可能已经删掉了。")
    return word


def read_list(text: str, *, severity: Severity) -> list[ListedWord]:
    """A pasted list, one word a line, as our own export writes it too: word, what to do, why.

    `severity` holds for lines that do not say. Raises `Invalid` for a line that says something else.
    """
    words = []
    for number, cells in enumerate(csv.reader(text.splitlines()), start=1):
        word, does, advice = ([cell.strip().removeprefix("\ufeff") for cell in cells] + ["", "", ""])[:3]
        if not word or (number == 1 and word == HEADS[0]):
            continue
        if does and does not in SEVERITIES:
            sentence = Phrase("第 %(number)s 行：第二项只能写“拦下”或“提醒”。")
            raise Invalid(sentence, field="words", number=number)
        words.append(ListedWord(word, SEVERITIES.get(does, severity), advice))
    return words
