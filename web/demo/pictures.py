"""The shops' pictures, drawn flat and warm: a few shapes, two tones each, a soft shadow below.

Everything is measured on a sheet of 900 × 600 and drawn at twice that size, so that every edge comes out smooth.
"""

import io
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from PIL import Image, ImageChops, ImageDraw, ImageFilter

WIDTH: Final = 900
HEIGHT: Final = 600
SCALE: Final = 2

Point = tuple[float, float]
Box = tuple[float, float, float, float]


def draw(name: str) -> bytes:
    """The picture of this name, as PNG."""
    sheet = _DRAWINGS[name]()
    out = io.BytesIO()
    sheet.finished().save(out, "PNG", compress_level=1)
    return out.getvalue()


class Sheet:
    """A sheet of paper, its ground already coloured."""

    def __init__(self, ground: str) -> None:
        self._image = Image.new("RGB", (WIDTH * SCALE, HEIGHT * SCALE), ground)
        self._draw = ImageDraw.Draw(self._image)

    def finished(self) -> Image.Image:
        return self._image.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)

    # Plain shapes

    def disc(self, x: float, y: float, r: float, fill: str) -> None:
        self._draw.ellipse(_scaled((x - r, y - r, x + r, y + r)), fill=fill)

    def oval(self, box: Box, fill: str) -> None:
        self._draw.ellipse(_scaled(box), fill=fill)

    def block(self, box: Box, fill: str, radius: float = 0) -> None:
        self._draw.rounded_rectangle(_scaled(box), radius * SCALE, fill=fill)

    def shape(self, points: Iterable[Point], fill: str) -> None:
        self._draw.polygon(_points(points), fill=fill)

    def stroke(self, points: Sequence[Point], width: float, fill: str) -> None:
        """A line with round ends and joints."""
        path = _points(points)
        self._draw.line(path, fill=fill, width=round(width * SCALE), joint="curve")
        radius = width * SCALE / 2
        for x, y in (path[0], path[-1]):
            self._draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)

    # Shapes that end where another one ends

    def inside(self, outline: Iterable[Point], paint: Callable[["Sheet"], None]) -> None:
        """Paint, but only within the outline."""
        before = self._image.copy()
        paint(self)
        mask = Image.new("L", self._image.size)
        ImageDraw.Draw(mask).polygon(_points(outline), fill=255)
        self._image.paste(before, mask=ImageChops.invert(mask))

    def shadow(self, box: Box, strength: int = 70, blur: float = 12) -> None:
        """What a thing throws on the table it stands on."""
        mask = Image.new("L", self._image.size)
        ImageDraw.Draw(mask).ellipse(_scaled(box), fill=strength)
        soft = mask.filter(ImageFilter.GaussianBlur(blur * SCALE))
        self._image.paste("#3b2418", mask=soft)

    # Things that come again

    def leaf(self, x: float, y: float, length: float, angle: float, fill: str, vein: str) -> None:
        tip = _turned(length, 0, angle, x, y)
        upper = _turned(length * 0.45, -length * 0.34, angle, x, y)
        lower = _turned(length * 0.45, length * 0.34, angle, x, y)
        self.shape([*bezier((x, y), upper, upper, tip), *bezier(tip, lower, lower, (x, y))], fill)
        self.stroke([(x, y), _turned(length * 0.8, 0, angle, x, y)], max(length * 0.035, 1.5), vein)

    def steam(self, x: float, y: float, height: float, fill: str) -> None:
        sway = height * 0.16
        points = [(x + sway * math.sin(step / 24 * math.tau * 1.1), y - height * step / 24) for step in range(25)]
        self.stroke(points, 7, fill)

    def table(self, top: float, fill: str, edge: str) -> None:
        self.block((0, top, WIDTH, HEIGHT), fill)
        self.block((0, top, WIDTH, top + 10), edge)


def bezier(start: Point, first: Point, second: Point, end: Point, steps: int = 28) -> list[Point]:
    """A cubic curve as points."""
    found = []
    for step in range(steps + 1):
        t = step / steps
        a, b, c, d = (1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3
        found.append(
            (
                a * start[0] + b * first[0] + c * second[0] + d * end[0],
                a * start[1] + b * first[1] + c * second[1] + d * end[1],
            )
        )
    return found


def smooth(points: Sequence[Point], steps: int = 14) -> list[Point]:
    """A closed, soft outline through the points."""
    found = []
    count = len(points)
    for index in range(count):
        before, start, end, after = (points[(index + step) % count] for step in (-1, 0, 1, 2))
        first = (start[0] + (end[0] - before[0]) / 6, start[1] + (end[1] - before[1]) / 6)
        second = (end[0] - (after[0] - start[0]) / 6, end[1] - (after[1] - start[1]) / 6)
        found += bezier(start, first, second, end, steps)
    return found


def ring(box: Box, start: float = 0, end: float = 360, steps: int = 72) -> list[Point]:
    """Points along an oval, from one angle in degrees to another."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    rx, ry = (box[2] - box[0]) / 2, (box[3] - box[1]) / 2
    angles = (math.radians(start + (end - start) * step / steps) for step in range(steps + 1))
    return [(x + rx * math.cos(angle), y + ry * math.sin(angle)) for angle in angles]


def mirrored(half: Sequence[Point], x: float) -> list[Point]:
    """An outline from its right half, top to bottom."""
    return [*half, *((2 * x - px, py) for px, py in reversed(half))]


def _turned(dx: float, dy: float, angle: float, x: float, y: float) -> Point:
    turn = math.radians(angle)
    return x + dx * math.cos(turn) - dy * math.sin(turn), y + dx * math.sin(turn) + dy * math.cos(turn)


def _scaled(box: Box) -> Box:
    return box[0] * SCALE, box[1] * SCALE, box[2] * SCALE, box[3] * SCALE


def _points(points: Iterable[Point]) -> list[Point]:
    return [(x * SCALE, y * SCALE) for x, y in points]


# ---- The eight drawings ----------------------------------------------------------------------------------------------

# Coordinates of one thing stay together, however long the line.
# fmt: off


def _tea() -> Sheet:
    sheet = Sheet("#dfe6d2")
    sheet.disc(450, 300, 232, "#eef1e3")
    sheet.table(452, "#b9825a", "#cb9871")
    for y in (497, 548):
        sheet.block((0, y, WIDTH, y + 2), "#ad7750")
    _osmanthus(sheet)

    # The pot: handle, spout, body, lid.
    sheet.shadow((196, 452, 520, 496))
    sheet.stroke(bezier((262, 300), (150, 270), (150, 440), (270, 418)), 22, "#8f4b33")
    sheet.shape(
        [*bezier((440, 350), (500, 350), (490, 272), (540, 258)), *bezier((556, 274), (520, 300), (530, 410), (436, 418))],
        "#a9593c",
    )
    body = mirrored([*bezier((350, 268), (440, 268), (474, 330), (466, 380)), *bezier((466, 380), (458, 444), (410, 470), (350, 470))], 350)
    sheet.shape(body, "#bd6a48")
    sheet.inside(body, lambda s: s.oval((120, 200, 400, 520), "#c97a57"))
    sheet.inside(body, lambda s: s.block((230, 352, 480, 360), "#a9593c"))
    sheet.inside(body, lambda s: s.block((230, 440, 480, 480), "#a9593c"))
    sheet.shape(mirrored(bezier((350, 240), (402, 240), (420, 258), (422, 276)), 350), "#a9593c")
    sheet.block((274, 270, 426, 282), "#8f4b33", 6)
    sheet.disc(350, 232, 15, "#8f4b33")
    sheet.disc(345, 227, 5, "#bd6a48")

    # The cup with its tea.
    sheet.shadow((540, 462, 800, 502))
    sheet.oval((548, 452, 792, 496), "#e9dfcb")
    sheet.oval((560, 452, 780, 488), "#f7f1e4")
    cup = mirrored([(752, 372), *bezier((752, 372), (750, 440), (716, 476), (670, 476))], 670)
    sheet.shape(cup, "#faf6ec")
    sheet.inside(cup, lambda s: s.shape([*bezier((700, 360), (716, 430), (700, 470), (670, 480)), (760, 480), (760, 360)], "#e6dcc7"))
    sheet.inside(cup, lambda s: s.block((580, 412, 760, 418), "#8fae93"))
    sheet.inside(cup, lambda s: s.block((580, 424, 760, 427), "#8fae93"))
    sheet.oval((588, 352, 752, 394), "#efe6d4")
    sheet.oval((597, 358, 743, 390), "#b98a3e")
    sheet.oval((597, 364, 743, 390), "#c99a49")
    for x, y in ((640, 376), (676, 382), (700, 373)):
        sheet.disc(x, y, 4.5, "#f3d27a")
    for x, height in ((640, 84), (676, 112), (708, 74)):
        sheet.steam(x, 338, height, "#f8f9f2")
    return sheet


def _osmanthus(sheet: Sheet) -> None:
    """A twig of the flower the community is named after, in the upper corner."""
    sheet.stroke(bezier((930, 40), (820, 60), (760, 110), (690, 96)), 9, "#7d5a3f")
    sheet.stroke(bezier((800, 78), (780, 120), (760, 150), (742, 170)), 6, "#7d5a3f")
    leaves = ((880, 52, 110, 110), (840, 64, 104, 70), (800, 80, 96, -60), (762, 96, 104, 150), (720, 100, 92, -130), (756, 152, 84, 100), (880, 50, 96, -150))
    for x, y, length, angle in leaves:
        sheet.leaf(x, y, length, angle, "#7d9a6a", "#668455")
    for x, y in ((846, 84), (826, 66), (790, 96), (776, 120), (736, 110), (752, 146), (706, 88), (868, 74)):
        for angle in (45, 135, 225, 315):
            sheet.disc(*_turned(7.5, 0, angle, x, y), 7, "#f0bd4f")
        sheet.disc(x, y, 4, "#d9902f")


def _noodles() -> Sheet:
    sheet = Sheet("#f4c9a0")
    sheet.disc(450, 270, 238, "#f8dcbd")
    sheet.table(462, "#a8573a", "#bb6a4a")
    for x in (190, 710):
        sheet.block((x, 476, x + 2, HEIGHT), "#974b31")

    sheet.shadow((220, 500, 680, 556))
    sheet.block((372, 500, 528, 536), "#22405a", 8)
    bowl = mirrored([(690, 306), *bezier((690, 306), (684, 440), (590, 520), (450, 520))], 450)
    sheet.shape(bowl, "#2f5572")
    sheet.inside(bowl, lambda s: s.shape([*bezier((600, 300), (610, 420), (540, 510), (450, 525)), (700, 525), (700, 300)], "#274963"))
    sheet.inside(bowl, _waves)
    sheet.oval((210, 246, 690, 366), "#3d6685")
    sheet.oval((228, 254, 672, 358), "#e3ecef")
    sheet.oval((240, 264, 660, 356), "#e0a04c")
    soup = ring((240, 264, 660, 356))
    sheet.inside(soup, lambda s: s.oval((240, 276, 660, 372), "#eab35f"))

    for row, (y, tone) in enumerate(((322, "#f0cf87"), (306, "#f7dfa4"), (290, "#f0cf87"), (334, "#f7dfa4"), (314, "#fbe9bd"))):
        left, right = 268 + 8 * row, 522 - 10 * row
        points = [
            (left + (right - left) * step / 60, y + 9 * math.sin(step / 60 * math.tau * 2.5 + row)) for step in range(61)
        ]
        sheet.stroke(points, 11, tone)
    # Greens, an egg cut in two, and slices of meat.
    for x, y, angle in ((312, 300, -160), (330, 292, -120), (352, 296, -75)):
        sheet.leaf(x, y, 74, angle, "#5d8f4e", "#8fb873")
    for x, y in ((470, 286), (560, 300)):
        sheet.oval((x, y - 34, x + 96, y + 26), "#fff8ea")
        sheet.oval((x + 24, y - 20, x + 74, y + 14), "#f0932f")
        sheet.oval((x + 32, y - 16, x + 56, y - 2), "#f7b45c")
    for x, y in ((420, 322), (456, 334)):
        sheet.oval((x, y - 16, x + 84, y + 16), "#b9643f")
        sheet.oval((x + 8, y - 13, x + 76, y + 9), "#d68a62")
    for x, y in ((290, 330), (392, 296), (540, 336), (604, 322), (376, 340)):
        sheet.block((x, y, x + 13, y + 6), "#7fb069", 3)

    for shift in (0, 34):
        sheet.shape(
            [(566 + shift, 286), (578 + shift, 291), (790 + shift * 1.25, 62), (774 + shift * 1.25, 54)], "#7a3f2a"
        )
        sheet.shape([(744 + shift * 1.2, 92), (757 + shift * 1.2, 100), (790 + shift * 1.25, 62), (774 + shift * 1.25, 54)], "#e0a04c")
    for x, height in ((330, 90), (388, 130), (446, 100)):
        sheet.steam(x, 238, height, "#fdf3e6")
    return sheet


def _waves(sheet: Sheet) -> None:
    """The pattern around a bowl."""
    for step in range(17):
        x = 200 + step * 32
        for radius, tone in ((19, "#e3ecef"), (13, "#2f5572"), (7, "#e3ecef")):
            sheet.disc(x, 418, radius, tone)
    sheet.block((180, 418, 720, 442), "#2b4f6b")
    sheet.block((180, 418, 720, 424), "#e3ecef")


def _fruit() -> Sheet:
    sheet = Sheet("#fbe3b2")
    sheet.disc(450, 290, 236, "#fdeecb")
    sheet.table(460, "#7fa287", "#93b499")

    sheet.shadow((150, 500, 760, 556))
    # A pear and a bunch of grapes behind.
    pear = smooth([(330, 150), (366, 166), (378, 230), (424, 300), (420, 390), (330, 432), (240, 390), (236, 300), (282, 230), (294, 166)])
    sheet.shape(pear, "#c5cf5f")
    sheet.inside(pear, lambda s: s.oval((180, 130, 372, 440), "#d5dc78"))
    for x, y in ((300, 330), (322, 372), (284, 370), (346, 330), (360, 380)):
        sheet.disc(x, y, 3, "#a9b349")
    sheet.stroke(bezier((330, 156), (328, 130), (338, 112), (352, 104)), 9, "#7a5136")
    sheet.leaf(336, 132, 92, -28, "#6f9d55", "#568343")

    for row, (count, y) in enumerate(((4, 228), (5, 274), (4, 320), (3, 366), (2, 410))):
        for step in range(count):
            across = 566 + (step - (count - 1) / 2) * 50
            sheet.disc(across, y, 30, "#6d4a7c" if (row + step) % 2 else "#7d5890")
            sheet.disc(across - 9, y - 10, 8, "#a685b5")
    sheet.stroke(bezier((566, 200), (566, 170), (580, 150), (606, 140)), 9, "#7a5136")
    sheet.leaf(570, 180, 104, -160, "#6f9d55", "#568343")
    sheet.leaf(586, 156, 96, 8, "#84b168", "#6f9d55")

    # Two oranges, one cut open, and a pomegranate in front.
    _orange(sheet, 262, 424, 92)
    _orange_half(sheet, 432, 446, 86)
    pomegranate = ring((520, 356, 700, 532))
    sheet.shape([(584, 366), (576, 326), (596, 344), (610, 322), (624, 344), (644, 326), (636, 366)], "#b23a3a")
    sheet.shape(pomegranate, "#cf4b45")
    sheet.inside(pomegranate, lambda s: s.oval((486, 330, 664, 520), "#dc625a"))
    sheet.oval((552, 392, 580, 430), "#eb8b80")
    sheet.disc(746, 496, 40, "#f2a93b")
    sheet.disc(734, 484, 12, "#f8c873")
    sheet.leaf(746, 460, 60, -30, "#6f9d55", "#568343")
    return sheet


def _orange(sheet: Sheet, x: float, y: float, r: float) -> None:
    sheet.disc(x, y, r, "#ef8f2f")
    sheet.inside(ring((x - r, y - r, x + r, y + r)), lambda s: s.disc(x - r * 0.2, y - r * 0.2, r, "#f5a146"))
    for dx, dy in ((-30, -8), (-6, 26), (28, -20), (18, 44), (-44, 30), (44, 18), (4, -46)):
        sheet.disc(x + dx, y + dy, 2.6, "#e0801f")
    sheet.disc(x - r * 0.4, y - r * 0.45, r * 0.14, "#fbc98a")
    sheet.leaf(x + 2, y - r + 4, 84, -22, "#6f9d55", "#568343")
    sheet.disc(x, y - r + 6, 7, "#6d7a36")


def _orange_half(sheet: Sheet, x: float, y: float, r: float) -> None:
    sheet.disc(x, y, r, "#ef8f2f")
    sheet.disc(x, y, r * 0.9, "#fff1d9")
    for step in range(9):
        start, end = step * 40 + 3.5, step * 40 + 36.5
        outer = ring((x - r * 0.82, y - r * 0.82, x + r * 0.82, y + r * 0.82), start, end, 12)
        sheet.shape([_turned(r * 0.14, 0, (start + end) / 2, x, y), *outer], "#f6a544" if step % 2 else "#f8b25c")
    sheet.disc(x, y, r * 0.08, "#fff1d9")


def _bread() -> Sheet:
    sheet = Sheet("#f3ddc0")
    sheet.disc(450, 284, 236, "#f9ebd5")
    sheet.table(458, "#c99c6c", "#d8b084")
    _wheat(sheet, 700, 470, -68)
    _wheat(sheet, 728, 474, -52)
    _wheat(sheet, 168, 470, -114)

    # Baguettes in the back, the round loaf, toast and a roll in front.
    for x, tilt in ((300, -70), (360, -82)):
        stick = [_turned(dx, dy, tilt, x, 330) for dx, dy in ring((-210, -44, 210, 44))]
        sheet.shape(stick, "#b9763c")
        sheet.inside(stick, lambda s, x=x, tilt=tilt: s.shape([_turned(dx, dy, tilt, x, 330) for dx, dy in ring((-214, -64, 206, 26))], "#cd8c4d"))  # type: ignore[misc]
        for step in (-120, -50, 20, 90):
            cut = [_turned(dx + step, dy - 6, tilt, x, 330) for dx, dy in ((-30, 22), (6, -24), (20, -22), (-14, 26))]
            sheet.shape(cut, "#f0c98d")
    sheet.shadow((190, 488, 720, 544))
    loaf = smooth([(420, 306), (520, 268), (630, 300), (690, 396), (682, 480), (600, 512), (440, 512), (356, 480), (350, 396)])
    sheet.shape(loaf, "#b56d35")
    sheet.inside(loaf, lambda s: s.oval((320, 236, 668, 500), "#c98347"))
    sheet.inside(loaf, lambda s: s.oval((350, 240, 610, 400), "#d6965a"))
    for x, y in ((440, 330), (506, 318), (572, 330), (636, 364)):
        cut = [*bezier((x - 30, y + 74), (x - 24, y + 10), (x + 4, y - 10), (x + 26, y - 22)), *bezier((x + 26, y - 22), (x + 20, y + 14), (x - 4, y + 50), (x - 30, y + 74))]
        sheet.shape(cut, "#f2d3a0")
    for x, y in ((470, 300), (548, 296), (604, 318), (420, 380), (660, 420), (530, 380), (480, 430), (590, 430)):
        sheet.disc(x, y, 2.8, "#fbeed6")

    toast = smooth([(206, 372), (262, 352), (322, 356), (372, 368), (392, 404), (372, 434), (370, 520), (292, 526), (214, 520), (212, 434), (190, 408)], 10)
    sheet.shape(toast, "#a9632f")
    crumb = smooth([(216, 384), (266, 368), (322, 370), (364, 382), (376, 404), (358, 428), (356, 508), (292, 512), (228, 508), (226, 428), (206, 406)], 10)
    sheet.shape(crumb, "#f8e2b8")
    for x, y, r in ((250, 420, 5), (300, 404, 4), (330, 446, 6), (270, 470, 4), (316, 488, 5), (244, 492, 3), (342, 400, 3)):
        sheet.disc(x, y, r, "#ecca92")
    roll = ring((620, 440, 776, 532))
    sheet.shape(roll, "#c27a3d")
    sheet.inside(roll, lambda s: s.oval((606, 424, 752, 516), "#d8954f"))
    for x in (662, 692, 722):
        sheet.stroke(bezier((x - 10, 488), (x - 12, 470), (x - 2, 458), (x + 8, 454)), 5, "#f2cf98")
    return sheet


def _wheat(sheet: Sheet, x: float, y: float, angle: float) -> None:
    sheet.stroke([(x, y), _turned(330, 0, angle, x, y)], 5, "#c79a4b")
    for step in range(8):
        for side in (-32, 32):
            px, py = _turned(180 + step * 21, 0, angle, x, y)
            sheet.leaf(px, py, 42, angle + side, "#dfb255", "#c79a4b")
    sheet.leaf(*_turned(326, 0, angle, x, y), 46, angle, "#e7bf69", "#c79a4b")


def _barber() -> Sheet:
    sheet = Sheet("#bcd6d3")
    sheet.disc(450, 290, 238, "#d3e5e2")
    sheet.table(470, "#4f7f86", "#6396a0")

    # The pole.
    sheet.shadow((196, 506, 380, 546))
    sheet.block((216, 486, 356, 526), "#d6a94e", 10)
    sheet.block((236, 462, 336, 494), "#e6bd67", 8)
    tube = [(244, 140), (328, 140), (328, 466), (244, 466)]
    sheet.shape(tube, "#fbf7ef")

    def stripes(s: Sheet) -> None:
        for step in range(-2, 9):
            y = 120 + step * 64
            s.shape([(244, y), (328, y - 54), (328, y - 26), (244, y + 28)], "#cf4f43")
            s.shape([(244, y + 32), (328, y - 22), (328, y + 4), (244, y + 58)], "#2f5b83")

    sheet.inside(tube, stripes)
    sheet.block((244, 140, 258, 466), "#ffffff", 0)
    sheet.block((318, 140, 328, 466), "#c9c0b2", 0)
    sheet.block((232, 118, 340, 150), "#e6bd67", 8)
    sheet.disc(286, 88, 36, "#d6a94e")
    sheet.disc(274, 76, 11, "#f3d795")
    sheet.block((226, 140, 346, 156), "#d6a94e", 6)

    # Scissors, open.
    for side, tone, edge in ((1, "#eef2f3", "#cdd7da"), (-1, "#dfe6e8", "#b9c6ca")):
        angle = -90 + 17 * side

        def at(dx: float, dy: float, angle: float = angle) -> Point:
            return _turned(dx, dy, angle, 560, 330)

        sheet.shape([at(-6, -12), at(120, -13), at(232, 0 if side > 0 else -2), at(120, 12), at(-6, 12)], tone)
        half = [at(-6, 0), at(232, 0), at(120, 12), at(-6, 12)] if side > 0 else [at(-6, -12), at(120, -13), at(232, 0), at(-6, 0)]
        sheet.shape(half, edge)
        sheet.stroke([at(-10, 0), at(-92, 0)], 20, "#c9783f" if side > 0 else "#b96a34")
        x, y = at(-142, -16 * side)
        for radius, fill in ((56, "#c9783f" if side > 0 else "#b96a34"), (34, "#d3e5e2")):
            sheet.disc(x, y, radius, fill)
    sheet.disc(560, 330, 13, "#8e5127")
    sheet.disc(557, 327, 5, "#e8b98f")
    # Through the lower part of the rings the table is seen.
    def rings(s: Sheet) -> None:
        for side in (-1, 1):
            s.disc(*_turned(-142, -16 * side, -90 + 17 * side, 560, 330), 34, "#4f7f86")

    sheet.inside([(0, 480), (WIDTH, 480), (WIDTH, HEIGHT), (0, HEIGHT)], rings)

    # The comb.
    sheet.block((724, 150, 768, 470), "#e39b52", 14)
    for step in range(22):
        sheet.block((690, 166 + step * 13.4, 728, 173 + step * 13.4), "#e39b52", 3)
    sheet.block((752, 150, 768, 470), "#d1873d", 8)
    sheet.stroke([(746, 178), (746, 300)], 6, "#f0bb82")
    return sheet


def _cat() -> Sheet:
    sheet = Sheet("#f6d5c8")
    sheet.disc(450, 280, 240, "#fbe6dc")
    sheet.table(484, "#8d6a5a", "#a07d6c")
    for x, y, r in ((150, 130, 16), (760, 170, 20), (700, 92, 10), (220, 220, 9)):
        _paw(sheet, x, y, r, "#eebba7")

    sheet.shadow((220, 500, 720, 552))
    # Tail, body, paws.
    sheet.stroke(bezier((650, 500), (770, 500), (790, 400), (730, 350)), 42, "#d98a3d")
    sheet.stroke(bezier((744, 372), (748, 362), (740, 356), (730, 350)), 42, "#fbe8d0")
    body = smooth([(450, 250), (566, 290), (648, 390), (664, 500), (600, 526), (300, 526), (244, 500), (256, 390), (330, 290)])
    sheet.shape(body, "#eba04f")
    sheet.inside(body, lambda s: s.oval((520, 300, 760, 640), "#dd8f41"))
    sheet.inside(body, lambda s: s.oval((360, 360, 540, 620), "#fbe8d0"))

    def stripes(s: Sheet) -> None:
        for y in (372, 412, 452):
            s.stroke(bezier((240, y), (276, y - 10), (300, y), (318, y + 14)), 13, "#c97730")
            s.stroke(bezier((670, y), (630, y - 10), (606, y), (588, y + 14)), 13, "#c97730")

    sheet.inside(body, stripes)
    for x in (352, 456):
        sheet.block((x, 486, x + 92, 532), "#fdf1df", 23)
        for step in (30, 60):
            sheet.stroke([(x + step, 512), (x + step, 526)], 4, "#e3c5a0")

    # Ears, head, face.
    for side in (-1, 1):
        sheet.shape(smooth([(450 + side * 62, 164), (450 + side * 138, 66), (450 + side * 158, 220)], 10), "#e3933f")
        sheet.shape(smooth([(450 + side * 88, 160), (450 + side * 132, 96), (450 + side * 142, 196)], 10), "#f4b9a2")
    head = smooth([(450, 126), (552, 150), (612, 240), (574, 330), (450, 366), (326, 330), (288, 240), (348, 150)])
    sheet.shape(head, "#eba04f")
    sheet.inside(head, lambda s: s.oval((364, 262, 536, 400), "#fbe8d0"))

    def brow(s: Sheet) -> None:
        for dx, bottom in ((-44, 176), (0, 190), (44, 176)):
            s.stroke([(450 + dx, 110), (450 + dx * 0.82, bottom)], 14, "#c97730")
        for side in (-1, 1):
            for y in (250, 284):
                s.stroke([(450 + side * 176, y), (450 + side * 118, y + 6)], 12, "#c97730")

    sheet.inside(head, brow)
    for side in (-1, 1):
        eye = 450 + side * 70
        sheet.stroke(bezier((eye - 26, 248), (eye - 18, 270), (eye + 18, 270), (eye + 26, 248)), 8, "#4a2e22")
        sheet.oval((450 + side * 104 - 24, 280, 450 + side * 104 + 24, 308), "#f2a98c")
        for y, end in ((300, 292), (314, 318)):
            sheet.stroke([(450 + side * 66, y), (450 + side * 186, end)], 3, "#8a5a3c")
    sheet.shape(smooth([(434, 282), (466, 282), (450, 300)], 8), "#d9746a")
    sheet.stroke(bezier((450, 298), (448, 322), (420, 324), (412, 310)), 5, "#4a2e22")
    sheet.stroke(bezier((450, 298), (452, 322), (480, 324), (488, 310)), 5, "#4a2e22")
    # A collar with a bell.
    sheet.stroke(bezier((356, 346), (400, 384), (500, 384), (544, 346)), 18, "#3f7d78")
    sheet.disc(450, 384, 21, "#f0bd4f")
    sheet.disc(443, 377, 6, "#f9dd94")
    sheet.block((432, 386, 468, 391), "#c9902f", 2)
    sheet.disc(450, 395, 4, "#7a5136")
    return sheet


def _paw(sheet: Sheet, x: float, y: float, r: float, fill: str) -> None:
    sheet.oval((x - r, y - r * 0.7, x + r, y + r), fill)
    for dx, dy in ((-1.15, -0.75), (-0.42, -1.4), (0.42, -1.4), (1.15, -0.75)):
        sheet.disc(x + dx * r, y + dy * r, r * 0.42, fill)


def _flowers() -> Sheet:
    sheet = Sheet("#e6dcea")
    sheet.disc(450, 280, 240, "#f1eaf3")
    sheet.table(478, "#b99aa8", "#c9adb9")
    sheet.shadow((330, 500, 590, 548))

    for x, y, bend in ((450, 150, 0), (356, 196, -40), (548, 190, 44), (290, 270, -70), (612, 274, 76), (404, 240, -20), (506, 246, 24)):
        sheet.stroke(bezier((450 + bend * 0.2, 420), (450 + bend * 0.4, 340), (x, y + 90), (x, y)), 7, "#6c935c")
    for x, y, length, angle in ((440, 380, 150, -150), (462, 380, 150, -28), (420, 340, 120, -126), (486, 340, 120, -52), (450, 330, 110, -92), (430, 400, 130, 176), (470, 400, 130, 4)):
        sheet.leaf(x, y, length, angle, "#83a870" if length > 125 else "#94b881", "#6c935c")

    for x, y in ((250, 190), (664, 196), (520, 92), (388, 98), (676, 340), (236, 336)):
        sheet.stroke(bezier((450, 380), ((x + 900) / 3, (y + 600) / 3), (x, y + 60), (x, y + 14)), 4, "#6c935c")
        for dx, dy in ((0, 0), (-12, 10), (12, 12), (2, 22)):
            sheet.disc(x + dx, y + dy, 8, "#fff8f5")
            sheet.disc(x + dx, y + dy, 3, "#f3d27a")

    _daisy(sheet, 450, 146, 66, "#fffaf0", "#f0bd4f")
    _daisy(sheet, 290, 264, 54, "#fffaf0", "#f0bd4f")
    _rose(sheet, 356, 190, 60, ("#e07a78", "#d0605f", "#b94c4c"))
    _rose(sheet, 554, 184, 64, ("#f2a687", "#e88f6c", "#d5744f"))
    _rose(sheet, 618, 270, 50, ("#e07a78", "#d0605f", "#b94c4c"))
    _daisy(sheet, 500, 262, 50, "#b79ad0", "#f3d27a")
    _rose(sheet, 402, 270, 56, ("#f7d08a", "#efbd66", "#dfa445"))
    vase = mirrored([*bezier((520, 372), (506, 400), (552, 430), (552, 466)), *bezier((552, 466), (552, 512), (516, 526), (450, 526))], 450)
    sheet.shape(vase, "#4f8a8b")
    sheet.inside(vase, lambda s: s.oval((240, 340, 500, 560), "#5f9c9c"))
    sheet.inside(vase, lambda s: s.block((340, 444, 560, 452), "#f2e6d8"))
    sheet.inside(vase, lambda s: s.block((340, 462, 560, 466), "#f2e6d8"))
    sheet.oval((380, 360, 520, 386), "#3f7677")
    sheet.stroke(bezier((398, 470), (398, 490), (404, 500), (412, 508)), 7, "#86b9b7")
    return sheet


def _daisy(sheet: Sheet, x: float, y: float, r: float, petal: str, heart: str) -> None:
    for step in range(12):
        outline = [_turned(dx, dy, step * 30, x, y) for dx, dy in ring((r * 0.16, -r * 0.17, r, r * 0.17), steps=24)]
        sheet.shape(outline, petal)
    sheet.disc(x, y, r * 0.3, heart)
    sheet.disc(x - r * 0.07, y - r * 0.07, r * 0.15, "#f9dd94")


def _rose(sheet: Sheet, x: float, y: float, r: float, tones: tuple[str, str, str]) -> None:
    light, middle, dark = tones
    for step in range(6):
        sheet.disc(*_turned(r * 0.42, 0, step * 60 + 12, x, y), r * 0.6, light)
    sheet.disc(x, y, r * 0.72, light)
    for step in range(5):
        sheet.disc(*_turned(r * 0.24, 0, step * 72, x, y), r * 0.42, middle)
    for radius, turn in ((0.52, 0), (0.36, 140), (0.2, 260)):
        arc = ring((x - r * radius, y - r * radius, x + r * radius, y + r * radius), turn, turn + 220, 30)
        sheet.stroke(arc, r * 0.075, dark)


def _gym() -> Sheet:
    sheet = Sheet("#f7d9a3")
    sheet.disc(450, 292, 240, "#fbe8c4")
    sheet.table(470, "#5a6b78", "#6f818e")
    for step in range(6):
        sheet.block((step * 170 - 40, 480, step * 170 - 38, HEIGHT), "#51616d")

    # A rolled mat and a kettlebell behind.
    sheet.shadow((110, 492, 330, 532))
    sheet.block((128, 396, 300, 512), "#7fa99b", 58)
    sheet.block((128, 396, 186, 512), "#6a9486", 29)
    for radius, tone in ((50, "#8fb8aa"), (36, "#6a9486"), (24, "#8fb8aa"), (11, "#6a9486")):
        sheet.disc(172, 454, radius + 6, tone)
    sheet.block((236, 396, 252, 512), "#f2e6d0")

    sheet.shadow((560, 488, 800, 534))
    sheet.stroke([*bezier((626, 372), (596, 250), (764, 250), (734, 372))], 27, "#3a444d")
    bell = smooth([(680, 326), (752, 352), (786, 430), (754, 504), (680, 518), (606, 504), (574, 430), (608, 352)])
    sheet.shape(bell, "#3a444d")
    sheet.inside(bell, lambda s: s.oval((540, 290, 740, 500), "#4a5661"))
    sheet.disc(680, 428, 46, "#d9604a")
    sheet.disc(680, 428, 34, "#f6efe2")
    sheet.stroke([(668, 428), (692, 428)], 8, "#d9604a")
    sheet.stroke([(680, 416), (680, 440)], 8, "#d9604a")

    # The dumbbell, held up.
    tilt = -17

    def at(dx: float, dy: float) -> Point:
        return _turned(dx, dy, tilt, 400, 250)

    def slab(left: float, top: float, right: float, bottom: float, fill: str) -> None:
        r = min(18.0, (right - left) / 2)
        corners = (
            ((right - r, top + r), -90), ((right - r, bottom - r), 0), ((left + r, bottom - r), 90), ((left + r, top + r), 180)
        )
        outline = []
        for (x, y), start in corners:
            outline += [at(*point) for point in ring((x - r, y - r, x + r, y + r), start, start + 90, 10)]
        sheet.shape(outline, fill)

    slab(-250, -15, 250, 15, "#8d99a3")
    slab(-110, -19, 110, 19, "#b4bec6")
    for step in range(-4, 5):
        slab(step * 22 - 3, -19, step * 22 + 3, 19, "#97a3ad")
    for side in (-1, 1):
        for near, half, fill, shine in ((118, 112, "#d9604a", "#e67c66"), (170, 86, "#c04f3b", "#d26650"), (214, 58, "#3a444d", "#4d5963")):
            left, right = sorted((side * near, side * (near + 46)))
            slab(left, -half, right, half, fill)
            slab(left + 8, -half + 14, left + 18, half - 40, shine)
    for x, y, dx, dy in ((180, 120, -34, -30), (240, 90, -14, -42), (128, 176, -46, -10), (640, 66, 30, -34), (690, 110, 44, -16)):
        sheet.stroke([(x, y), (x + dx, y + dy)], 9, "#e8a24a")
    return sheet


_DRAWINGS: Final[dict[str, Callable[[], Sheet]]] = {
    "tea": _tea,
    "noodles": _noodles,
    "fruit": _fruit,
    "bread": _bread,
    "barber": _barber,
    "cat": _cat,
    "flowers": _flowers,
    "gym": _gym,
}
