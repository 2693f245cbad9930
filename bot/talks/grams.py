"""Bigrams: how a text is written for searching, and which pairs of characters it is found by."""

import unicodedata
from typing import Final

LONGEST: Final = 2_000
"""Characters of a message that are found; the platform allows fewer."""


def fold(text: str) -> str:
    """One spelling of what looks alike: width and case, and no spaces."""
    return "".join(unicodedata.normalize("NFKC", text[:LONGEST]).casefold().split())


def grams(text: str) -> list[str]:
    """Every two characters that stand beside each other, once each; a text of one character has none."""
    folded = fold(text)
    return sorted({folded[i : i + 2] for i in range(len(folded) - 1)})
