"""Words as they can be printed: no emoji, and no character for which our fonts would draw an empty box."""

import re
import struct
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

FONTS: Final = Path(__file__).parent / "fonts"
STAND_IN: Final = "〓"
"""What typesetters have always put where a character is missing from the case."""

# Characters of shops and families that no free font of a sensible size has, and how people write them without it.
_INSTEAD: Final = {"𰻞": "biáng", "𰻝": "biáng", "𠮷": "吉", "𠀾": "单", "𡃁": "靓", "𨋢": "梯", "䨻": "雷"}
_KEYCAP = re.compile("([0-9#*])\ufe0f?\u20e3")
_AS_EMOJI = re.compile("[^\\d#*]\ufe0f")
_NEVER_TEXT = re.compile(
    "[\U0001f000-\U0001fbff\U000e0000-\U000e0fff\u200b-\u200f\u2060-\u206f\ufe00-\ufe0f\ufeff\u00ad\u20e3]"
)
_LONG_WORD = re.compile(r"[!-~]{11,}")


@dataclass(frozen=True)
class Lettering:
    """A text fit for print, and what of it had to be written differently."""

    text: str
    replaced: tuple[str, ...] = ()
    """Characters that no font of ours has; something readable stands in their place."""


def lettering(text: str) -> Lettering:
    """`text` without emoji, each character one that all our fonts draw."""
    text = unicodedata.normalize("NFC", text)
    text = _NEVER_TEXT.sub("", _AS_EMOJI.sub("", _KEYCAP.sub(r"\1", text)))
    drawn, replaced = [], []
    for character in text:
        if character.isspace():
            drawn.append(" ")
        elif ord(character) in covered():
            drawn.append(character)
        elif unicodedata.category(character) != "So":
            # Symbols are decoration and may go without a word; letters may not.
            drawn.append(_instead(character))
            replaced.append(character)
    return Lettering(" ".join("".join(drawn).split()), tuple(dict.fromkeys(replaced)))


def breakable(text: str) -> str:
    """The same with places to break in long Latin words, so that none runs over its column."""
    return _LONG_WORD.sub(lambda word: "\u200b".join(word[0]), text)


def _instead(character: str) -> str:
    plain = _INSTEAD.get(character) or unicodedata.normalize("NFKC", character)
    if not all(ord(one) in covered() for one in plain):
        # A letter without its accents still reads.
        bare = (one for one in unicodedata.normalize("NFKD", character) if not unicodedata.combining(one))
        plain = "".join(bare)
    return plain if plain and all(ord(one) in covered() for one in plain) else STAND_IN


@lru_cache(maxsize=1)
def covered() -> frozenset[int]:
    """The code points that every font of ours draws."""
    return frozenset.intersection(*(_code_points(path.read_bytes()) for path in sorted(FONTS.glob("*.ttf"))))


def _code_points(font: bytes) -> frozenset[int]:
    """What a font's character map holds: its table of segments over all of Unicode (`cmap` format 12)."""
    (tables,) = struct.unpack_from(">H", font, 4)
    records = (struct.unpack_from(">4sLLL", font, 12 + 16 * number) for number in range(tables))
    cmap = next(offset for tag, _, offset, _ in records if tag == b"cmap")
    (subtables,) = struct.unpack_from(">H", font, cmap + 2)
    for number in range(subtables):
        start = cmap + struct.unpack_from(">HHL", font, cmap + 4 + 8 * number)[2]
        if struct.unpack_from(">H", font, start)[0] == 12:
            (groups,) = struct.unpack_from(">L", font, start + 12)
            segments = struct.iter_unpack(">LLL", font[start + 16 : start + 16 + 12 * groups])
            return frozenset(point for first, last, _ in segments for point in range(first, last + 1))
    raise ValueError("the font maps no characters beyond the first 65,536")
