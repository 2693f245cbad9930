"""What the platform saw: every call, push and action as one numbered JSON line, on disk, append-only.

Lines are written in batches a moment later, so that logging costs the caller next to nothing.
"""

from __future__ import annotations

import asyncio
import os
from array import array
from pathlib import Path
from typing import Any

from sandbox.clock import Clock
from sandbox.jsontext import compact

INDEX_EVERY = 256
DELAY_SECONDS = 0.05
SECRET_FIELDS = frozenset({"secret", "appsecret", "access_token", "refresh_token", "code"})


class Log:
    """The platform's diary."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self.path = path
        self._clock = clock
        self._waiting: list[str] = []
        self._is_flush_planned = False
        self._offsets = array("Q", [0])  # where line 0, 256, 512 … begins
        self.last = 0
        self._size = 0
        if path.exists():
            self._scan()
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def _scan(self) -> None:
        with self.path.open("rb") as lines:
            for line in lines:
                if not line.endswith(b"\n"):
                    break
                self._advance(len(line))
        if self._size < self.path.stat().st_size:
            os.truncate(self.path, self._size)

    def _advance(self, length: int) -> None:
        self.last += 1
        self._size += length
        if self.last % INDEX_EVERY == 0:
            self._offsets.append(self._size)

    def add(self, kind: str, **facts: Any) -> None:
        """Write one line; facts must hold no secrets."""
        number = self.last + len(self._waiting) + 1
        self._waiting.append(compact({"n": number, "at": self._clock.iso(), "kind": kind, **facts}) + "\n")
        if not self._is_flush_planned:
            self._is_flush_planned = True
            asyncio.get_running_loop().call_later(DELAY_SECONDS, self.flush)

    def flush(self) -> None:
        """Hand waiting lines to the operating system."""
        self._is_flush_planned = False
        blocks = [line.encode() for line in self._waiting]
        self._waiting.clear()
        if blocks:
            os.write(self._file, b"".join(blocks))
        for block in blocks:
            self._advance(len(block))

    def read(self, *, after: int, limit: int) -> bytes:
        """Up to `limit` lines with numbers above `after`; call flush() first. May run in a thread."""
        slot = min(max(after, 0) // INDEX_EVERY, len(self._offsets) - 1)
        skip = max(after, 0) - slot * INDEX_EVERY
        found: list[bytes] = []
        with self.path.open("rb") as lines:
            lines.seek(self._offsets[slot])
            for line in lines:
                if skip:
                    skip -= 1
                elif len(found) < limit and line.endswith(b"\n"):
                    found.append(line)
                else:
                    break
        return b"".join(found)

    def close(self) -> None:
        """Write what is left and let go of the file."""
        self.flush()
        os.close(self._file)


def without_secrets(value: Any) -> Any:
    """The same JSON value with tokens and secrets replaced by three dots."""
    if isinstance(value, dict):
        return {
            key: "…" if key in SECRET_FIELDS and isinstance(inner, str) else without_secrets(inner)
            for key, inner in value.items()
        }
    return [without_secrets(inner) for inner in value] if isinstance(value, list) else value
