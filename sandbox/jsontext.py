"""JSON as the platform writes it: raw UTF-8, no spaces."""

from __future__ import annotations

import json
from typing import Any, Never

JsonObject = dict[str, Any]
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=vars)


def compact(value: object) -> str:
    """The value as one line of JSON; dataclasses become objects."""
    return _ENCODER.encode(value)


def strict(text: str | bytes) -> Any:
    """Parse JSON; anything the standard does not know (NaN, Infinity, bad UTF-8) raises ValueError."""
    return json.loads(text, parse_constant=_refuse_constant)


def _refuse_constant(name: str) -> Never:
    raise ValueError(f"{name} is not JSON")
