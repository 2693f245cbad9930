"""A shop's colour and what follows from it: shades that go together and words that stay readable on them."""

import colorsys
import re
from dataclasses import dataclass
from typing import Final

from core.errors import Invalid, Phrase

READABLE: Final = 5.4
"""Contrast of white words on a shop's colour: 4.5 is the rule for pages, and the rings are a little lighter."""

PALETTE: Final[dict[str, Phrase]] = {
    "#0b6b4f": Phrase("竹青"),
    "#b3312c": Phrase("朱红"),
    "#b83d0b": Phrase("柿橙"),
    "#8a5a14": Phrase("麦黄"),
    "#1f4e8c": Phrase("靛蓝"),
    "#0f6674": Phrase("湖绿"),
    "#7a3b69": Phrase("豆紫"),
    "#33383f": Phrase("墨灰"),
}
DEFAULT: Final = next(iter(PALETTE))
_PAPER: Final = (0.984, 0.976, 0.957)
_HEX = re.compile(r"#[0-9a-f]{6}")

Rgb = tuple[float, float, float]


@dataclass(frozen=True)
class Shades:
    """The colours of one poster, as #rrggbb."""

    field: str
    """The shop's colour, dark enough for white words."""
    rings: tuple[str, ...]
    """Three lighter steps of it."""
    soft: str
    """Small words on the field."""
    deep: str
    """Words in the shop's colour on white."""
    paper: str
    """White with a breath of it."""
    line: str
    """Fine lines on paper."""
    ink: str
    """Almost black."""
    quiet: str
    """Lesser words on paper."""


def checked(colour: str) -> str:
    """A colour as it is stored, #rrggbb in small letters; the palette's first for none."""
    wanted = colour.strip().lower() or DEFAULT
    if not _HEX.fullmatch(wanted):
        raise Invalid("颜色应为 # 加六位十六进制数，例如 #0b6b4f。", field="colour")
    return wanted


def shades(colour: str) -> Shades:
    """What goes with a colour. One that is too light for white words is taken darker, in the same hue."""
    field = _readable(_rgb(checked(colour)))
    white, black = (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)
    return Shades(
        field=_hex(field),
        # White words cross the rings as well, so even the lightest of them is only a little lighter.
        rings=tuple(_hex(_mix(field, white, part)) for part in (0.045, 0.09, 0.135)),
        soft=_hex(_mix(field, white, 0.82)),
        deep=_hex(_mix(field, black, 0.08)),
        paper=_hex(_mix(_PAPER, field, 0.02)),
        line=_hex(_mix(_PAPER, field, 0.22)),
        ink=_hex(_mix((0.10, 0.10, 0.10), field, 0.12)),
        quiet=_hex(_mix((0.36, 0.36, 0.36), field, 0.18)),
    )


def contrast(one: str, other: str) -> float:
    """How well the one is read on the other, by the measure of WCAG: 1 to 21."""
    light, dark = sorted((_luminance(_rgb(one)), _luminance(_rgb(other))), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _readable(colour: Rgb) -> Rgb:
    hue, lightness, saturation = colorsys.rgb_to_hls(*colour)
    while 1.05 / (_luminance(colour) + 0.05) < READABLE:
        lightness *= 0.97
        colour = colorsys.hls_to_rgb(hue, lightness, saturation)
    return colour


def _luminance(colour: Rgb) -> float:
    red, green, blue = (one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _mix(one: Rgb, other: Rgb, part: float) -> Rgb:
    red, green, blue = (a + (b - a) * part for a, b in zip(one, other, strict=True))
    return red, green, blue


def _rgb(colour: str) -> Rgb:
    red, green, blue = (int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5))
    return red, green, blue


def _hex(colour: Rgb) -> str:
    return "#" + "".join(f"{round(255 * part):02x}" for part in colour)
