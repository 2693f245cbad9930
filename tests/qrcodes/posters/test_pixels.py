"""A PNG of our own making holds the picture to the last pixel, whatever was written before it."""

import io
import random
import zlib

import pytest
from PIL import Image, ImageDraw, PngImagePlugin

from qrcodes.posters import pixels
from qrcodes.posters.pixels import BAND, PngWriter


def noise(width: int, height: int, seed: int) -> Image.Image:
    return Image.frombytes("RGB", (width, height), random.Random(seed).randbytes(3 * width * height))


def read(file: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(file))
    assert isinstance(picture, PngImagePlugin.PngImageFile)
    picture.load()
    return picture


@pytest.mark.parametrize("size", [(1, 1), (7, BAND), (64, BAND + 1), (33, 3 * BAND - 1)])
def test_every_pixel_comes_back(size: tuple[int, int]) -> None:
    writer = PngWriter()
    for seed in range(3):
        picture = noise(*size, seed)
        found = read(writer.write(picture, 300))
        assert found.tobytes() == picture.tobytes()
        assert found.info["dpi"] == pytest.approx((300, 300), abs=0.1)


def test_only_what_differs_is_packed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = []
    pack = pixels._packed

    def watched(rows: Image.Image, raw: bytes) -> pixels._Band:
        packed.append(rows)
        return pack(rows, raw)

    monkeypatch.setattr(pixels, "_packed", watched)
    writer, picture = PngWriter(), noise(90, 5 * BAND, 1)
    first = writer.write(picture, 300)
    assert len(packed) == 5
    assert writer.write(picture, 300) == first
    assert len(packed) == 5
    ImageDraw.Draw(picture).point((40, 2 * BAND), "red")
    assert read(writer.write(picture, 300)).tobytes() == picture.tobytes()
    assert len(packed) == 6
    other = noise(91, 5 * BAND, 1)
    assert read(writer.write(other, 300)).tobytes() == other.tobytes()


def test_checksums_are_put_together() -> None:
    chance = random.Random(3)
    for length in (0, 1, 65_520, 65_521, 65_522, 200_000):
        one, two = chance.randbytes(1_000), chance.randbytes(length)
        assert pixels._joined(zlib.adler32(one), zlib.adler32(two), length) == zlib.adler32(one + two)
