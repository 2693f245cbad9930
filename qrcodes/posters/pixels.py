"""PNG files of pictures that resemble one another: what one has in common with the last is not packed again.

A PNG's pixels are one zlib stream. Packed in bands of rows that refer to nothing before them, the packed bands may be
put together anew: the sheets of one shop differ in the code and a line of words, and only those bands cost time.
"""

import struct
import zlib
from dataclasses import dataclass
from typing import Final

from PIL import Image, ImageChops

BAND: Final = 32
"""Rows packed together."""
LEVEL: Final = 5
_LEFT: Final = b"\x01"
"""The filter of every row: each pixel as its difference from the one to the left."""
_ADLER: Final = 65_521
_HEAD: Final = b"\x78\x5e"
_END: Final = b"\x03\x00"
"""An empty last block."""


@dataclass(frozen=True)
class _Band:
    pixels: bytes
    packed: bytes
    checksum: int
    length: int
    """Of what was packed."""


class PngWriter:
    """Writes pictures as PNG and remembers the last one."""

    def __init__(self) -> None:
        self._size = (0, 0)
        self._bands: list[_Band] = []

    def write(self, picture: Image.Image, ppi: int) -> bytes:
        """An RGB picture without loss."""
        width, height = picture.size
        last = self._bands if picture.size == self._size else []
        pixels = picture.tobytes()
        bands = []
        for number, top in enumerate(range(0, height, BAND)):
            bottom = min(top + BAND, height)
            here = pixels[3 * width * top : 3 * width * bottom]
            is_same = number < len(last) and last[number].pixels == here
            bands.append(last[number] if is_same else _packed(picture.crop((0, top, width, bottom)), here))
        self._size, self._bands = picture.size, bands
        checksum = 1
        for band in bands:
            checksum = _joined(checksum, band.checksum, band.length)
        stream = b"".join([_HEAD, *(band.packed for band in bands), _END, struct.pack(">L", checksum)])
        dots = round(ppi / 0.0254)
        return b"".join(
            [
                b"\x89PNG\r\n\x1a\n",
                _chunk(b"IHDR", struct.pack(">LLBBBBB", width, height, 8, 2, 0, 0, 0)),
                _chunk(b"pHYs", struct.pack(">LLB", dots, dots, 1)),
                _chunk(b"IDAT", stream),
                _chunk(b"IEND", b""),
            ]
        )


def _packed(rows: Image.Image, pixels: bytes) -> _Band:
    moved = Image.new("RGB", rows.size)
    moved.paste(rows.crop((0, 0, rows.width - 1, rows.height)), (1, 0))
    filtered = ImageChops.subtract_modulo(rows, moved).tobytes()
    length = 3 * rows.width
    lines = b"".join(_LEFT + filtered[start : start + length] for start in range(0, len(filtered), length))
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = packer.compress(lines) + packer.flush(zlib.Z_FULL_FLUSH)
    return _Band(pixels, packed, zlib.adler32(lines), len(lines))


def _joined(first: int, second: int, length: int) -> int:
    """The Adler-32 of two texts put together, the second `length` long, from those of each."""
    low = (first & 0xFFFF) + (second & 0xFFFF) - 1
    high = (first >> 16) + (second >> 16) + length * ((first & 0xFFFF) - 1)
    return (high % _ADLER) << 16 | low % _ADLER


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">L", len(content)) + kind + content + struct.pack(">L", zlib.crc32(kind + content))
