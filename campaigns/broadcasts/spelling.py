"""What people write on a phone, brought into one spelling."""

import unicodedata
from pathlib import Path
from typing import Final

TRADITIONAL: Final = Path(__file__).with_name("traditional.txt")
LONGEST: Final = 100
"""Characters that are looked at; nobody asks for anything in a longer first line."""


def _simplified() -> dict[int, int]:
    lines = TRADITIONAL.read_text(encoding="utf-8").splitlines()
    pairs = "".join(line for line in lines if not line.startswith("#"))
    return str.maketrans(pairs[::2], pairs[1::2])


_SIMPLIFIED: Final = _simplified()


def plain(text: str) -> str:
    """Without what spelling leaves open: width and case, traditional characters, spaces, punctuation and pictures."""
    usual = unicodedata.normalize("NFKC", text[:LONGEST]).casefold().translate(_SIMPLIFIED)
    return "".join(character for character in usual if character.isalnum())
