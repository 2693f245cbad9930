"""A foreground supervisor: starts programs, starts those again that end by themselves, and stops all of them."""

import contextlib
import gzip
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from core.processes import PARENT_VARIABLE

TICK_S = 0.1
SHORTEST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 5.0
LONG_LIFE_S = 10.0
"""A program that ran this long did start: its next failure is a new story."""
GRACE_S = 30.0
FULL_LOG_BYTES = 20_000_000
LOG_CHECK_S = 60.0
KEEP_LOGS_S = 200 * 24 * 3600
"""Logs are kept for half a year and a little (AU-10)."""


@dataclass
class Child:
    """One program to keep running. Without a log file it writes where the supervisor writes."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    log: Path | None = None
    process: "subprocess.Popen[bytes] | None" = None
    started_at: float = 0.0
    start_again_at: float = 0.0
    pause: float = SHORTEST_PAUSE_S

    def start(self) -> None:
        environment = {**os.environ, **self.environment, PARENT_VARIABLE: str(os.getpid())}
        with contextlib.ExitStack() as stack:
            # Appending by every writer is what allows a log to be emptied under them.
            log = stack.enter_context(self.log.open("ab")) if self.log is not None else None
            self.process = subprocess.Popen(
                self.command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # A session of its own: Ctrl-C in the terminal reaches the supervisor alone, which stops all in order.
                start_new_session=True,
            )
        self.started_at = time.monotonic()

    def send(self, number: signal.Signals, *, whole_group: bool = False) -> None:
        if self.process is None or (self.process.poll() is not None and not whole_group):
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if whole_group:
                os.killpg(self.process.pid, number)
            else:
                self.process.send_signal(number)


class Supervisor:
    """Runs in the main thread of a process of its own: what it starts ends with that thread."""

    def __init__(self, *, on_restart: Callable[[Child, int], None]) -> None:
        """`on_restart` is told which program ended by itself, and with which exit code."""
        self._children: list[Child] = []
        self._on_restart = on_restart
        self._logs_looked_at = 0.0

    def start(self, *children: Child) -> None:
        """Start these programs and keep them running."""
        self._children += children
        for child in children:
            child.start()

    def look_after(self) -> None:
        """Start again what has ended, after a pause that grows while it keeps failing. Call this every TICK_S."""
        now = time.monotonic()
        for child in self._children:
            if child.process is None:
                if now >= child.start_again_at:
                    child.start()
                continue
            code = child.process.poll()
            if code is None:
                continue
            # Whatever it left behind would be in the way of its successor.
            child.send(signal.SIGKILL, whole_group=True)
            child.pause = SHORTEST_PAUSE_S if now - child.started_at > LONG_LIFE_S else child.pause
            child.process, child.start_again_at = None, now + child.pause
            child.pause = min(child.pause * 2, LONGEST_PAUSE_S)
            self._on_restart(child, code)
        if now - self._logs_looked_at > LOG_CHECK_S:
            self._logs_looked_at = now
            for log in {child.log for child in self._children if child.log is not None}:
                put_away_full_log(log)

    def run(self, is_told_to_stop: Callable[[], bool], *, every_second: Callable[[], None] = lambda: None) -> None:
        """Look after all until told to stop."""
        next_second = 0.0
        while not is_told_to_stop():
            self.look_after()
            if time.monotonic() >= next_second:
                next_second = time.monotonic() + 1
                every_second()
            time.sleep(TICK_S)

    def stop(self, grace: float = GRACE_S) -> None:
        """Ask all to end, wait, and end by force what is left; returns when nothing runs any more."""
        for child in self._children:
            child.send(signal.SIGTERM)
        deadline = time.monotonic() + grace
        for child in self._children:
            if child.process is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.process.wait(max(0.0, deadline - time.monotonic()))
        for child in self._children:
            child.send(signal.SIGKILL, whole_group=True)
            if child.process is not None:
                child.process.wait()


def put_away_full_log(log: Path, *, full: int = FULL_LOG_BYTES) -> None:
    """Pack a full log beside itself and empty it; remove packed ones that are too old."""
    if not log.exists() or log.stat().st_size < full:
        return
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    with log.open("rb") as source, gzip.open(log.with_name(f"{log.stem}-{stamp}.log.gz"), "wb") as packed:
        shutil.copyfileobj(source, packed)
    os.truncate(log, 0)
    for old in log.parent.glob(f"{log.stem}-*.log.gz"):
        if time.time() - old.stat().st_mtime > KEEP_LOGS_S:
            old.unlink()
