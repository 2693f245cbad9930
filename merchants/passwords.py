"""Which passwords are good enough: any characters, 8 to 128 of them, and not what everybody tries first."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from core.errors import Invalid

MIN_LENGTH = 8
MAX_LENGTH = 128
PRODUCT_NAMES = ("quanma", "圈码")

GUESSABLE = Path(__file__).with_name("guessable_passwords.txt")
LEET = str.maketrans("01345$@!7", "oieassait")
KEYBOARD_ROWS = (
    "1234567890",
    "qwertyuiop",
    "asdfghjkl",
    "zxcvbnm",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik,9ol.0p;/",
    "abcdefghijklmnopqrstuvwxyz",
)
SHORTEST_WALK = 3


def check(password: str, *, context: Iterable[str], field: str = "password") -> None:
    """Refuse a password that is too short, too long, guessed at once, or made of the names around it."""
    if len(password) < MIN_LENGTH:
        raise Invalid("密码至少 8 位，15 位以上更安全。", field=field)
    if len(password) > MAX_LENGTH:
        raise Invalid("密码最多 128 位。", field=field)
    if is_guessable(password) or is_about(password, [*PRODUCT_NAMES, *context]):
        raise Invalid("这个密码太容易被猜到，请换一个。", field=field)


def is_guessable(password: str) -> bool:
    """Whether it is among the first that anybody tries: a known one, with the usual endings and swaps, or a pattern."""
    plain = _plain(password)
    return any(form in _known() or _is_pattern(form) for form in _forms(plain))


def is_about(password: str, names: Iterable[str]) -> bool:
    """Whether it is one of these names, with no more than digits and marks around it."""
    forms = _forms(_plain(password))
    return any(len(name) > 1 and _plain(name) in forms for name in names)


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _forms(plain: str) -> set[str]:
    """The password itself, without the digits and marks around it, and with swapped letters put back."""
    bare = re.sub(r"^[\d\W_]+|[\d\W_]+$", "", plain)
    return {form for form in (plain, bare, plain.translate(LEET), bare.translate(LEET)) if form}


@cache
def _known() -> frozenset[str]:
    lines = GUESSABLE.read_text("utf-8").splitlines()
    return frozenset(word for line in lines if not line.startswith("#") for word in line.split())


def _is_pattern(form: str) -> bool:
    """One or two characters over and over, a short piece repeated, a date, or walks along the keyboard."""
    if len(set(form)) <= 2 or re.fullmatch(r"(.{1,4})\1+.{0,3}", form):
        return True
    if re.fullmatch(r"(19|20)\d\d(0[1-9]|1[0-2])([0-2]\d|3[01])|(0[1-9]|[12]\d|3[01])(0[1-9]|1[0-2])(19|20)\d\d", form):
        return True
    return _is_made_of_walks(form)


def _is_made_of_walks(form: str) -> bool:
    start = 0
    while start < len(form):
        length = _longest_walk(form[start:])
        if length < SHORTEST_WALK:
            return False
        start += length
    return True


def _longest_walk(text: str) -> int:
    """How many leading characters lie side by side on the keyboard or in the alphabet, in either direction."""
    rows = [way for row in KEYBOARD_ROWS for way in (row, row[::-1])]
    return max((n for n in range(len(text), 0, -1) if any(text[:n] in row for row in rows)), default=0)
