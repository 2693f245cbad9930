"""Where a shop is, as people type it: the pair of degrees that a map shows, in either order."""

from __future__ import annotations

import re
from typing import Final

from core.errors import Invalid

_BETWEEN: Final = re.compile(r"[\s,，;；、]+")


def read(typed: str) -> tuple[float | None, float | None]:
    """Latitude and longitude; both None for nothing. Raises `Invalid` for what is no place in China.

    Within China no latitude could be a longitude, so that either order is understood.
    """
    parts = [part for part in _BETWEEN.split(typed.strip()) if part]
    if not parts:
        return None, None
    try:
        low, high = sorted(float(part) for part in parts)
    except ValueError:
        raise Invalid("位置要写成两个数，例如 31.8206,117.2272。", field="position") from None
    if not (3 <= low <= 54 and 73 <= high <= 136):
        raise Invalid("这个位置不在国内，请重新在地图上点选。", field="position")
    return round(low, 6), round(high, 6)


def written(latitude: float | None, longitude: float | None) -> str:
    """The same pair, as `read` takes it; nothing where there is none."""
    return "" if latitude is None or longitude is None else f"{latitude:.6f},{longitude:.6f}"
