"""Rules as a table that a shopkeeper edits in WPS or Excel: a CSV file out, a CSV or XLSX file in.

A file is taken in whole or not at all, with an error for each line that is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy.orm import Session

from bot.rules import hours as written_hours
from bot.rules import writing
from bot.rules.content import Answer, Content
from bot.rules.matching import CLICK, OCCASIONS, Mode, Pattern
from bot.rules.models import USUAL_PRIORITY
from bot.rules.reading import Kept
from bot.rules.writing import Author, Draft
from core import sheets
from core.errors import BusinessError, Invalid

NAME, EXACT, CONTAINS, WILDCARD, KINDS = "规则名", "完全相同", "包含", "通配", "消息种类"
PRIORITY, ON, HOURS, ONLY_ON, NOT_ON, HANDS_OVER = "优先级", "启用", "时间", "只在日期", "除了日期", "转人工"
ANSWERS: Final = ("回复1", "回复2", "回复3")
HEADS: Final = (NAME, EXACT, CONTAINS, WILDCARD, KINDS, *ANSWERS, HANDS_OVER, HOURS, ONLY_ON, NOT_ON, PRIORITY, ON)
_MODES: Final = {EXACT: Mode.EXACT, CONTAINS: Mode.CONTAINS, WILDCARD: Mode.WILDCARD}
_KINDS: Final = dict(zip(OCCASIONS, ("图片", "语音", "视频", "位置", "链接"), strict=True))
_KIND_OF: Final = {name: kind for kind, name in _KINDS.items()}
_MENU: Final = "菜单:"
_BETWEEN: Final = re.compile(r"[\n,，、;；|]+")
_YES: Final = frozenset(("是", "yes", "y", "1", "true", "开", "对", "√"))
_NO: Final = frozenset(("", "否", "no", "n", "0", "false", "关", "不", "×"))
_MARK: Final = re.compile(r"\[(文字|图片|图文)(?::(\d{1,18}))?\]\s*")
_FIELD_HEADS: Final = {
    "name": NAME, "exact": EXACT, "contains": CONTAINS, "wildcard": WILDCARD, "occasions": KINDS, "menu_keys": KINDS,
    "priority": PRIORITY, "hours": HOURS, "only_on": ONLY_ON, "not_on": NOT_ON, "hands_over": HANDS_OVER,
}  # fmt: skip


EXAMPLES: Final = tuple(
    tuple(({PRIORITY: str(USUAL_PRIORITY), ON: "是"} | one).get(head, "") for head in HEADS)
    for one in (
        {NAME: "营业时间", EXACT: "营业时间、几点开门", WILDCARD: "几点*门", ANSWERS[0]: "每天 9:00 到 21:00"},
        {NAME: "地址", EXACT: "地址、在哪里", CONTAINS: "怎么走", ANSWERS[0]: "小区东门进来，直走到底"},
    )
)
"""Lines to begin with."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with one line, and in which column."""

    line: int
    column: str
    refusal: BusinessError


class Refused(BusinessError):
    """Some lines cannot be taken in, so none was."""

    code = "bad_table"
    status = 422
    message = "有 %(many)s 行不对，一行都没有导入。"

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__(many=len({one.line for one in faults}))
        self.faults = faults


def bring_in(session: Session, author: Author, content: bytes, *, hosts: frozenset[str], now: datetime) -> int:
    """Add every rule of a file; returns how many. Raises `Refused` with all that is wrong, and then adds none."""
    drafts, faults = read(content, most=author.most)
    checked = []
    for line, draft, is_on in drafts:
        try:
            checked.append((writing.check(session, author, draft, hosts=hosts), is_on))
        except BusinessError as refusal:
            field = refusal.field if isinstance(refusal, Invalid) else ""
            faults.append(Fault(line, _head(field), refusal))
    if faults:
        raise Refused(sorted(faults, key=lambda fault: fault.line))
    if writing.count(session, author.merchant_id) + len(checked) > author.most:
        raise writing.TooManyRules(most=author.most)
    for draft, is_on in checked:
        writing.keep(session, author, draft, now=now, is_on=is_on)
    return len(checked)


def read(content: bytes, *, most: int) -> tuple[list[tuple[int, Draft, bool]], list[Fault]]:
    """What the file says: line, rule, and whether it is on; and the lines that say nothing. Raises `Invalid`."""
    sheet = sheets.read(content, most_rows=most)
    if missing := [head for head in (NAME, ANSWERS[0]) if head not in sheet.heads]:
        raise Invalid("表头里没有“%(head)s”这一列。请先下载表格，再照着填。", field="file", head=missing[0])
    if odd := [head for head in sheet.heads if head not in HEADS]:
        raise Invalid("不认识“%(head)s”这一列。", field="file", head=odd[0][:20] or "（空）")
    drafts, faults = [], []
    for line, cells in sheet.rows:
        typed = dict.fromkeys(HEADS, "") | dict(zip(sheet.heads, map(_typed, cells), strict=False))
        try:
            if len(cells) > len(sheet.heads):
                raise Invalid("这一行比表头多出几格。")
            drafts.append((line, _draft(typed), _yes(typed[ON], ON, usual=True)))
        except Invalid as refusal:
            faults.append(Fault(line, _head(refusal.field), refusal))
    return drafts, faults


def _draft(row: dict[str, str]) -> Draft:
    patterns = [Pattern(mode, words) for head, mode in _MODES.items() for words in parts(row[head])]
    answers = [_answer(row[head], head) for head in ANSWERS if row[head]]
    priority = row[PRIORITY] or str(USUAL_PRIORITY)
    if not (priority.isascii() and priority.isdigit() and len(priority) == 1):
        raise Invalid("优先级是 0 到 9。", field=PRIORITY)
    return Draft(
        row[NAME],
        Content(
            tuple(patterns),
            tuple(_occasion(one) for one in parts(row[KINDS])),
            tuple(answers),
            _yes(row[HANDS_OVER], HANDS_OVER, usual=False),
        ),
        int(priority),
        written_hours.parse(row[HOURS], row[ONLY_ON], row[NOT_ON]),
    )


def _answer(cell: str, head: str) -> Answer:
    """A text; a picture as [图片:12] with what is said until it is there; a card as [图文:12], its title, what it says
    and its link on lines of their own."""
    if len(cell) == sheets.LONGEST_CELL + 1 and not cell.isspace():
        raise Invalid("这一格太长，xlsx 里读不全，请另存为 CSV 再导入。", field=head)
    found = _MARK.match(cell)
    if found is None:
        return Answer("text", text=cell)
    rest = cell[found.end() :]
    picture_id = int(found[2]) if found[2] else None
    match found[1]:
        case "文字":
            return Answer("text", text=rest)
        case "图片":
            return Answer("image", text=rest, picture_id=picture_id)
    title, *about = rest.split("\n")
    url = about.pop().strip() if about else ""
    return Answer("news", title=title.strip(), description="\n".join(about), url=url, picture_id=picture_id)


def _answer_cell(answer: Answer) -> str:
    picture = f":{answer.picture_id}" if answer.picture_id is not None else ""
    match answer.kind:
        case "image":
            return f"[图片{picture}]{answer.text}"
        case "news":
            return "\n".join(
                part for part in (f"[图文{picture}]{answer.title}", answer.description, answer.url) if part
            )
        case _:
            return f"[文字]{answer.text}" if _MARK.match(answer.text) else answer.text


def row(kept: Kept) -> list[str]:
    """A rule as its line of the table."""
    said, hours = kept.newest, kept.hours
    words = {mode: "、".join(one.words for one in said.patterns if one.mode is mode) for mode in Mode}
    cells = [_answer_cell(one) for one in said.answers]
    return [
        kept.rule.name,
        *(words[mode] for mode in _MODES.values()),
        "、".join(_KINDS.get(one, f"{_MENU}{one.removeprefix(CLICK)}") for one in said.occasions),
        *cells,
        *[""] * (len(ANSWERS) - len(cells)),
        "是" if said.hands_over else "",
        written_hours.spans_text(hours.spans),
        written_hours.dates_text(hours.only_on),
        written_hours.dates_text(hours.not_on),
        str(kept.rule.priority),
        "是" if kept.rule.is_on else "否",
    ]


def parts(cell: str) -> list[str]:
    """Keywords written one a line, or with commas between them: no comparison ever sees a comma."""
    return [part.strip() for part in _BETWEEN.split(cell) if part.strip()]


def _occasion(name: str) -> str:
    usual = name.replace("：", ":")
    if usual.startswith(_MENU):
        return f"{CLICK}{usual.removeprefix(_MENU).strip()}"
    if name not in _KIND_OF:
        raise Invalid(
            "没有“%(name)s”这种消息，可以写：%(known)s。", field=KINDS, name=name[:20], known="、".join(_KIND_OF)
        )
    return _KIND_OF[name]


def _yes(cell: str, head: str, *, usual: bool) -> bool:
    said = cell.strip().casefold()
    if not said:
        return usual
    if said in _YES or said in _NO:
        return said in _YES
    raise Invalid("请写“是”或“否”。", field=head)


def _typed(cell: str) -> str:
    """What was typed: the apostrophe that keeps a spreadsheet from running a cell is not part of it."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(sheets.STARTS_FORMULA) else cell


def _head(field: str) -> str:
    """The column that a field of the form is called in a table."""
    if field in HEADS:
        return field
    if field in _FIELD_HEADS:
        return _FIELD_HEADS[field]
    return f"回复{field[-1]}" if field[-1:].isdigit() else ""
