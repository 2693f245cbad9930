"""Posters for many codes as one ZIP, written as they come out of the press."""

import re
import unicodedata
import zipfile
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import IO, Final, Literal

from qrcodes.posters.formats import Format
from qrcodes.posters.press import Look, PosterCode, Press, check_printable

NAME_MAX: Final = 60
"""Characters of a file name; three bytes each, which every file system takes."""
# Characters that some system gives a meaning of its own, and names that Windows keeps for devices.
_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]')
_DEVICE = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?", re.IGNORECASE)


@dataclass(frozen=True)
class Item:
    """One file to be: a sheet in a look, with its code (or up to eight, on a sheet of stickers)."""

    look: Look
    format: Format
    codes: tuple[PosterCode, ...]
    name: str
    """What the file shall be called, in front of people; made safe and distinct."""


def write_zip(
    file: IO[bytes],
    items: Sequence[Item],
    *,
    at: datetime,
    kind: Literal["pdf", "png"] = "pdf",
    with_marks: bool = False,
) -> Generator[int, None, None]:
    """Write one file an item into a ZIP and yield how many are done, after each.

    A temporary code that is to be printed is refused before the first. Every code is read back before its file is
    written; the first that does not read raises, and the ZIP is worth nothing then. Items of one look and format next
    to one another are the quickest. `at` is the time in the ZIP.
    """
    for item in items:
        check_printable(item.format, item.codes)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        names = _distinct([item.name for item in items])
        press: Press | None = None
        try:
            for done, (item, name) in enumerate(zip(items, names, strict=True), start=1):
                if press is None or press.look != item.look or press.format is not item.format:
                    if press is not None:
                        press.close()
                    press = Press(item.look, item.format)
                made = press.png(item.codes) if kind == "png" else press.pdf(item.codes, with_marks=with_marks)
                entry = zipfile.ZipInfo(f"{name}.{kind}", at.timetuple()[:6])
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, made)
                yield done
        finally:
            if press is not None:
                press.close()


def safe_name(name: str) -> str:
    """`name` as a file may be called on every system: no path, no device, nothing hidden, not too long."""
    plain = _FORBIDDEN.sub("-", unicodedata.normalize("NFC", name))
    visible = "".join(one for one in plain if unicodedata.category(one) not in {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
    short = visible[:NAME_MAX].strip(" .")
    return f"_{short}" if not short or _DEVICE.fullmatch(short) else short


def _distinct(names: Sequence[str]) -> list[str]:
    """The same names made safe; one that is taken, in capitals or not, gets a number."""
    taken: set[str] = set()
    distinct = []
    for name in map(safe_name, names):
        free, number = name, 1
        while free.casefold() in taken:
            number += 1
            free = f"{name}-{number}"
        taken.add(free.casefold())
        distinct.append(free)
    return distinct
