"""A code as a picture, drawn from its url: whole modules only, so that every scanner reads every size."""

import io
from functools import lru_cache
from typing import Any, Final, Literal

import zxingcpp
from PIL import Image

QUIET_ZONE: Final = 4
"""Modules of white around the code; the standard asks for four."""
SMALLEST: Final = 120
LARGEST: Final = 4_000

Correction = Literal["M", "H"]
"""How much of a code may be covered or dirty: M for a plain one (15 %), H where a logo sits on it (30 %)."""


@lru_cache(maxsize=256)
def matrix(url: str, correction: Correction = "M") -> tuple[tuple[bool, ...], ...]:
    """The modules of a code, dark ones true, with the quiet zone around them."""
    code = zxingcpp.create_barcode(url, zxingcpp.BarcodeFormat.QRCode, ec_level=correction)
    drawn: Any = code.to_image(scale=1, add_quiet_zones=False)
    pixels: list[list[int]] = memoryview(drawn).tolist()  # type: ignore[assignment]
    rows = [[pixel == 0 for pixel in row] for row in pixels]
    side = [False] * QUIET_ZONE
    end = [[False] * (len(rows) + 2 * QUIET_ZONE)] * QUIET_ZONE
    return tuple(map(tuple, [*end, *([*side, *row, *side] for row in rows), *end]))


@lru_cache(maxsize=64)
def png(url: str, *, size: int = 600) -> bytes:
    """Black on white, at most `size` pixels wide: the largest that gives each module the same whole number of them."""
    modules = matrix(url)
    pixels = max(1, min(max(size, SMALLEST), LARGEST) // len(modules))
    image = Image.new("1", (len(modules), len(modules)))
    image.putdata([not module for row in modules for module in row])
    side = len(modules) * pixels
    file = io.BytesIO()
    image.resize((side, side), Image.Resampling.NEAREST).save(file, "PNG", optimize=True)
    return file.getvalue()


@lru_cache(maxsize=64)
def svg(url: str, correction: Correction = "M") -> str:
    """The same to be printed at any size: one path, a module being one unit."""
    modules = matrix(url, correction)
    side = len(modules)
    runs = []
    for y, row in enumerate(modules):
        x = 0
        while x < side:
            start = x
            while x < side and row[x]:
                x += 1
            if x > start:
                runs.append(f"M{start} {y}h{x - start}v1h-{x - start}z")
            x += 1
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {side} {side}" shape-rendering="crispEdges">'
        f'<path fill="#fff" d="M0 0h{side}v{side}H0z"/><path d="{"".join(runs)}"/></svg>'
    )
