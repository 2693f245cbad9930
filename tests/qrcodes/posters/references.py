"""Small pictures of how every format is meant to look, and how far from them a drawing is.

python -m tests.qrcodes.posters.references     draws them anew, after a design was changed on purpose: look at them
"""

import io
from pathlib import Path

from PIL import Image, ImageChops, ImageStat

from qrcodes.posters.formats import Design, Format
from qrcodes.posters.press import Press
from tests.qrcodes.posters.shops import BREAKFAST, CODE, FRUIT

FOLDER = Path(__file__).parent / "references"
WIDTH = 160
BLOCKS = 16
"""Squares a drawing is compared in: small enough to miss a word, large enough not to see how a letter's edge falls."""
CASES = [(format_, design, name) for format_ in Format for design in Design for name in ("fruit", "breakfast")]
LOOKS = {"fruit": FRUIT, "breakfast": BREAKFAST}


def draw(format_: Format, design: Design, name: str) -> Image.Image:
    look = LOOKS[name]
    with Press(type(look)(**{**vars(look), "design": design}), format_) as press:
        picture = Image.open(io.BytesIO(press.preview([CODE], width=2 * WIDTH))).convert("RGB")
    return picture.resize((WIDTH, round(WIDTH * picture.height / picture.width)), Image.Resampling.BOX)


def path(format_: Format, design: Design, name: str) -> Path:
    return FOLDER / f"{format_}-{design}-{name}.png"


def distance(one: Image.Image, other: Image.Image) -> float:
    """The worst block's mean difference, of 255."""
    assert one.size == other.size
    seen = ImageChops.difference(one, other).convert("L")
    blocks = (max(1, one.width // BLOCKS), max(1, one.height // BLOCKS))
    return float(ImageStat.Stat(seen.resize(blocks, Image.Resampling.BOX)).extrema[0][1])


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for case in CASES:
        draw(*case).quantize(64).save(path(*case), optimize=True)
