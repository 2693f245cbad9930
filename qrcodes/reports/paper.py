"""A month's report as a PDF: what is to be read on it comes in ready words, typst sets them on A4."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, cast

import typst

from qrcodes.posters import colours
from qrcodes.posters.lettering import breakable, lettering
from qrcodes.posters.press import fonts, parted

DESIGN: Final = Path(__file__).with_name("month.typ")
ROOT: Final = DESIGN.parent.parent
"""The design borrows parts of the posters'."""


@dataclass(frozen=True)
class Figure:
    """A number and how it changed. `tone` says what the change means: good, bad, or nothing ("")."""

    label: str
    value: str
    change: str = ""
    tone: str = ""


@dataclass(frozen=True)
class Day:
    """One day of the chart. `label` stands below it where there is one."""

    label: str
    scans: int
    won: int
    lost: int
    is_incomplete: bool


@dataclass(frozen=True)
class Chart:
    """Scans above, and below them who was won and lost; the names are those of the two drawings and of the marks."""

    title: str
    scans: str
    won: str
    lost: str
    incomplete: str
    days: Sequence[Day]


@dataclass(frozen=True)
class Line:
    """A row of the table of codes. `share` is the length of its bar, 0 to 1."""

    name: str
    detail: str
    cells: Sequence[str]
    share: float


@dataclass(frozen=True)
class Table:
    """Codes; the first of the heads stands above their names. `rest` tells of those there was no room for."""

    title: str
    heads: Sequence[str]
    lines: Sequence[Line]
    rest: str


@dataclass(frozen=True)
class Sheet:
    """Everything that is on the report."""

    language: str
    shop: str
    community: str
    colour: str
    title: str
    month: str
    span: str
    """Which days are told."""
    badge: str
    """Said of a month that is not over; else empty."""
    lead: str
    hero: Figure
    figures: Sequence[Figure]
    chart: Chart | None
    """None where nothing happened: then `empty` is said instead."""
    table: Table | None
    empty: tuple[str, str]
    notes_title: str
    meanings: Sequence[tuple[str, str]]
    notes: Sequence[str]
    foot: str


def pdf(sheet: Sheet, *, at: datetime) -> bytes:
    """The report as a file; `at` is the moment written into it."""
    name, branch = parted(lettering(sheet.shop).text)
    given = {**_printable(asdict(sheet)), "name": name, "branch": branch, "colours": vars(colours.shades(sheet.colour))}
    compiler = typst.Compiler(DESIGN, root=ROOT, font_paths=fonts())
    inputs = {"sheet": json.dumps(given, ensure_ascii=False)}
    made = compiler.compile(format="pdf", sys_inputs=inputs, timestamp=int(at.timestamp()))
    return cast(bytes, made)


def _printable(value: Any) -> Any:
    """The same with every text in letters that we have, and narrow enough for its column."""
    match value:
        case str():
            return breakable(lettering(value).text)
        case Mapping():
            return {name: _printable(one) for name, one in value.items()}
        case list() | tuple():
            return [_printable(one) for one in value]
    return value
