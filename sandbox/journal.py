"""State that survives kill -9: tables in memory, every change one line in a journal.

A line says what a key holds from now on, so replaying is "last line wins" and a line applied twice does no harm.
That also makes compaction simple: while it writes what every key holds now into a new file, slice by slice,
changes go to both files, and the new one replaces the old at the end.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from sandbox.jsontext import compact

Row = TypeVar("Row")

COMPACT_FROM_LINES = 100_000  # below this a replay takes about a second and nothing is gained
COMPACT_FACTOR = 2
SLICE = 500


class Store(Protocol):
    """Something whose content the journal keeps."""

    name: str

    def replay(self, key: str, value: Any) -> None:
        """Take over what the journal says about a key; None means it was removed."""

    def entries(self) -> Iterator[tuple[str, Any]]:
        """What every key holds now; must tolerate changes between two steps."""

    def clear(self) -> None:
        """Forget everything."""


class BrokenJournal(Exception):
    """The journal is damaged in the middle, where no crash of ours can have torn it."""


class Journal:
    """Append-only JSON lines under every table of the sandbox.

    `epoch` and `revision` together name one state of all tables, also across restarts and resets.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.revision = 0
        self.epoch = secrets.token_hex(4)
        self._stores: dict[str, Store] = {}
        self._waiting: list[str] = []
        self._file = -1
        self._next_file: int | None = None
        self._lines = 0
        self._lines_when_compact = 0

    def register(self, store: Store) -> None:
        """Keep this store's content from now on."""
        self._stores[store.name] = store

    def open(self) -> None:
        """Replay what is there, cut off a torn last line, and be ready to append."""
        if self.path.exists():
            self._replay()
        self._file = _open_for_append(self.path)

    def _replay(self) -> None:
        good = 0
        with self.path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.endswith(b"\n"):
                    break
                try:
                    name, key, value = json.loads(line)
                except ValueError as error:
                    raise BrokenJournal(f"{self.path}, line {number}: {error}") from error
                self._stores[name].replay(key, value)
                good += len(line)
                self._lines += 1
        if good < self.path.stat().st_size:
            os.truncate(self.path, good)

    def note(self, name: str, key: str, value: object) -> None:
        """Remember a change; it is on its way to disk after the next flush()."""
        self.revision += 1
        self._waiting.append(compact((name, key, value)) + "\n")

    def flush(self) -> None:
        """Hand all noted changes to the operating system: from here on kill -9 does not lose them."""
        if not self._waiting:
            return
        block = "".join(self._waiting).encode()
        self._lines += len(self._waiting)
        self._waiting.clear()
        _write(self._file, block)
        if self._next_file is not None:
            _write(self._next_file, block)

    @property
    def is_long(self) -> bool:
        """Whether compaction would pay."""
        enough = max(COMPACT_FROM_LINES, COMPACT_FACTOR * self._lines_when_compact)
        return self._next_file is None and self._lines > enough

    async def compact(self) -> None:
        """Rewrite the journal as what every key holds now, without holding up the loop."""
        self.flush()
        draft = self.path.with_suffix(".next")
        draft.unlink(missing_ok=True)
        self._next_file = _open_for_append(draft)
        written = 0
        started_at = self._lines
        for store in self._stores.values():
            for key, value in store.entries():
                # Nothing may come between reading the value and writing it: a change in between would be undone.
                _write(self._next_file, (compact((store.name, key, value)) + "\n").encode())
                written += 1
                if written % SLICE == 0:
                    await asyncio.sleep(0)
        self.flush()
        os.fsync(self._next_file)
        draft.replace(self.path)
        os.close(self._file)
        self._file, self._next_file = self._next_file, None
        self._lines = max(written + self._lines - started_at, 0)
        self._lines_when_compact = self._lines

    def clear(self) -> None:
        """Forget the content of every store, on disk too."""
        self._waiting.clear()
        for store in self._stores.values():
            store.clear()
        os.ftruncate(self._file, 0)
        if self._next_file is not None:
            os.ftruncate(self._next_file, 0)
        self._lines = self._lines_when_compact = 0
        self.epoch = secrets.token_hex(4)

    def close(self) -> None:
        """Write what is left and let go of the file."""
        self.flush()
        os.close(self._file)


class Table(Generic[Row]):
    """A journaled dictionary. Change a row, then put() it again."""

    def __init__(self, journal: Journal, name: str, restore: Callable[[Any], Row]) -> None:
        self.name = name
        self.rows: dict[str, Row] = {}
        self._journal = journal
        self._restore = restore
        journal.register(self)

    def get(self, key: str) -> Row | None:
        """The row under this key, if there is one."""
        return self.rows.get(key)

    def put(self, key: str, row: Row) -> Row:
        """Store a row, new or changed."""
        self.rows[key] = row
        self._journal.note(self.name, key, row)
        return row

    def remove(self, key: str) -> None:
        """Remove a row that may be gone already."""
        if self.rows.pop(key, None) is not None:
            self._journal.note(self.name, key, None)

    def replay(self, key: str, value: Any) -> None:
        """Take over one journal line."""
        if value is None:
            self.rows.pop(key, None)
        else:
            self.rows[key] = self._restore(value)

    def entries(self) -> Iterator[tuple[str, Any]]:
        """What every key holds now."""
        for key in list(self.rows):
            if key in self.rows:
                yield key, self.rows[key]

    def clear(self) -> None:
        """Forget all rows."""
        self.rows.clear()


def _open_for_append(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def _write(file: int, block: bytes) -> None:
    view = memoryview(block)
    while view:
        view = view[os.write(file, view) :]
