"""What we draw, a scanner reads back, at every size."""

import io
import xml.etree.ElementTree as ET

import pytest
import zxingcpp
from PIL import Image, ImageDraw

from qrcodes import images

URL = "http://weixin.qq.com/q/02abcdEFGHijklMNOPqr7W"


def decoded(image: Image.Image) -> list[str]:
    return [found.text for found in zxingcpp.read_barcodes(image)]


@pytest.mark.parametrize("size", [1, 120, 200, 333, 600, 1000, 2000, 10_000])
def test_png_reads_back_and_has_whole_modules(size: int) -> None:
    image = Image.open(io.BytesIO(images.png(URL, size=size)))
    modules = len(images.matrix(URL))
    assert image.width == image.height
    assert image.width % modules == 0
    assert image.width <= max(images.SMALLEST, min(size, images.LARGEST))
    pixels = image.width // modules
    quiet = image.crop((0, 0, image.width, images.QUIET_ZONE * pixels)).convert("L")
    assert quiet.getextrema() == (255, 255)
    # The smallest has few pixels a module, as on a card seen from afar.
    assert decoded(image.convert("L").resize((image.width * 4, image.width * 4), Image.Resampling.NEAREST)) == [URL]
    if pixels >= 3:
        assert decoded(image.convert("L")) == [URL]


def test_svg_draws_the_same_modules() -> None:
    root = ET.fromstring(images.svg(URL))  # noqa: S314  our own text
    side = int(root.attrib["viewBox"].split()[-1])
    matrix = images.matrix(URL)
    assert side == len(matrix)
    image = Image.new("L", (side * 4, side * 4), 255)
    draw = ImageDraw.Draw(image)
    for run in root[1].attrib["d"].split("M")[1:]:
        position, _, rest = run.partition("h")
        x, y = map(int, position.split())
        width = int(rest.split("v")[0])
        draw.rectangle((x * 4, y * 4, (x + width) * 4 - 1, y * 4 + 3), fill=0)
        assert all(matrix[y][x : x + width])
    assert decoded(image) == [URL]


def test_pictures_are_drawn_once() -> None:
    assert images.png(URL, size=600) is images.png(URL, size=600)
    assert images.svg(URL) is images.svg(URL)
