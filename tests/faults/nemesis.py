"""What goes wrong, and when: chosen from a seed that is printed, so that a run can be told again."""

from __future__ import annotations

import contextlib
import random
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

from core.keeper import Place
from tests.conftest import Program, wait_until

Deed = Callable[[], None]


class Nemesis:
    """Does harm at moments from a seed and remembers what it did."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.deeds: list[str] = []

    def strike(self, deeds: Sequence[Deed], *, times: int, every: tuple[float, float]) -> None:
        """Do one of the deeds again and again, with a pause before each."""
        for _ in range(times):
            time.sleep(self._chance.uniform(*every))
            deed = self._chance.choice(deeds)
            deed()
            self.deeds.append(deed.__name__)


def web_group(web: Program, name: str) -> psutil.Process | None:
    """The process that leads the front or the pages; None while it is being replaced."""
    for process in web.descendants:
        with contextlib.suppress(psutil.Error):
            if process.ppid() == web.process.pid and name in process.cmdline():
                return process
    return None


def workers_of(leader: psutil.Process | None) -> list[psutil.Process]:
    """The processes that answer requests."""
    workers: list[psutil.Process] = []
    if leader is not None:
        with contextlib.suppress(psutil.Error):
            workers += leader.children()
    return workers


def kill(process: psutil.Process | None, number: signal.Signals = signal.SIGKILL) -> None:
    """Nobody there is fine: it may just have died of something else."""
    if process is not None:
        with contextlib.suppress(psutil.Error):
            process.send_signal(number)


def postmaster(home: Path) -> psutil.Process | None:
    with contextlib.suppress(OSError, ValueError, psutil.Error):
        return psutil.Process(int((home / "postgres" / "data" / "postmaster.pid").read_text().partition("\n")[0]))
    return None


def backends(home: Path, role: str) -> list[psutil.Process]:
    """The server processes that serve a role's connections."""
    found: list[psutil.Process] = []
    with contextlib.suppress(psutil.Error):
        found += [one for one in workers_of(postmaster(home)) if f" {role} " in " ".join(one.cmdline())]
    return found


def lose_valkey(home: Path) -> None:
    """Kill the server and take its files away before its keeper can start it again."""
    data = Place(home / "valkey").folder / "data"
    server = next(process for process in psutil.process_iter(["name"]) if _works_in(process, data))
    keeper = server.parent()
    assert keeper is not None
    keeper.suspend()
    try:
        server.kill()
        wait_until(lambda: server.status() == psutil.STATUS_ZOMBIE, what="the end of valkey")
        for content in data.iterdir():
            shutil.rmtree(content) if content.is_dir() else content.unlink()
    finally:
        keeper.resume()


def _works_in(process: psutil.Process, folder: Path) -> bool:
    with contextlib.suppress(psutil.Error, OSError):
        return process.info["name"] == "valkey-server" and Path(process.cwd()) == folder
    return False
