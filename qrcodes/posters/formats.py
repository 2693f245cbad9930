"""What can be printed: how large each sheet is, and where on it the code stands."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Format(StrEnum):
    A4 = "a4"
    """A poster for door and wall."""
    A5 = "a5"
    """A card for the counter."""
    STICKERS = "stickers"
    """Eight stickers for tables on one A4 sheet."""
    BADGE = "badge"
    """A round badge for staff."""
    LIFT = "lift"
    """A poster in a lift's frame."""
    WALLPAPER = "wallpaper"
    """The lock screen of a phone: shown, never printed."""


class Design(StrEnum):
    VIVID = "vivid"
    """The shop's colour from edge to edge."""
    PLAIN = "plain"
    """Paper and ink, the colour as an accent."""


@dataclass(frozen=True)
class Box:
    """Where on the sheet a code may stand, in millimetres from the upper left: it fills the square as well as whole
    pixels allow, quiet zone included."""

    x: float
    y: float
    side: float

    def scaled(self, by: float) -> "Box":
        return Box(self.x * by, self.y * by, self.side * by)


@dataclass(frozen=True)
class Sheet:
    """A sheet's size after cutting, in millimetres, and how many pixels an inch of its PNG has."""

    width: float
    height: float
    ppi: int
    is_printed: bool = True
    """On paper, where a temporary code would be dead before the paper is."""


MM: Final = 25.4
PHONE_PPI: Final = 460

SHEETS: Final = {
    Format.A4: Sheet(210, 297, 200),
    Format.A5: Sheet(148, 210, 300),
    Format.STICKERS: Sheet(210, 297, 200),
    Format.BADGE: Sheet(75, 75, 600),
    Format.LIFT: Sheet(420, 594, 100),
    # 1290 × 2796 pixels.
    Format.WALLPAPER: Sheet(1290 * MM / PHONE_PPI, 2796 * MM / PHONE_PPI, PHONE_PPI, is_printed=False),
}
STICKERS: Final = 8

# On a sheet of A4; without and with a picture above.
_TALL: Final = {
    Design.VIVID: (Box(49, 128, 112), Box(65, 172, 80)),
    Design.PLAIN: (Box(22, 143, 122), Box(22, 183, 84)),
}
_PHONE: Final = Box(11.6, 65, 48)
_BADGE: Final = Box(18.5, 18.5, 38)


def boxes(format_: Format, design: Design, *, has_picture: bool) -> tuple[Box, ...]:
    """Where the codes of a sheet stand."""
    match format_:
        case Format.STICKERS:
            return tuple(Box(12 + 96 * column + 6, 15.5 + 68 * row + 6, 50) for row in range(4) for column in range(2))
        case Format.BADGE:
            return (_BADGE,)
        case Format.WALLPAPER:
            return (_PHONE,)
        case _:
            return (_TALL[design][has_picture].scaled(SHEETS[format_].width / SHEETS[Format.A4].width),)
