"""Programs are kept running, stopped in order, and their logs put away."""

import gzip
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from core import processes, supervisor
from core.supervisor import Child, Supervisor, put_away_full_log
from tests.conftest import PROJECT, wait_until

STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
)


@pytest.fixture
def ended() -> list[tuple[str, int]]:
    return []


@pytest.fixture
def house(ended: list[tuple[str, int]]) -> Iterator[Supervisor]:
    running = Supervisor(on_restart=lambda child, code: ended.append((child.name, code)))
    yield running
    running.stop(0.1)


def python(name: str, program: str, log: Path) -> Child:
    return Child(name, [sys.executable, "-c", program], log=log)


def test_what_ends_is_started_again_and_told(house: Supervisor, ended: list[tuple[str, int]], tmp_path: Path) -> None:
    house.start(python("short", "print('here'); raise SystemExit(3)", tmp_path / "log"))

    def has_run_three_times() -> bool:
        house.look_after()
        return (tmp_path / "log").read_text().count("here") >= 3

    wait_until(has_run_three_times)
    assert set(ended) == {("short", 3)}


def test_pauses_grow_while_a_program_keeps_failing(
    house: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "LONGEST_PAUSE_S", 0.3)
    child = python("short", "raise SystemExit(1)", tmp_path / "log")
    house.start(child)

    def is_patient() -> bool:
        house.look_after()
        return child.pause == 0.3

    wait_until(is_patient)


def test_what_does_not_listen_is_ended_by_force(house: Supervisor, tmp_path: Path) -> None:
    child = python("stubborn", STUBBORN, tmp_path / "log")
    house.start(child)
    wait_until(lambda: "up" in (tmp_path / "log").read_text())
    house.stop(0.2)
    assert child.process is not None
    assert child.process.returncode == -signal.SIGKILL


def test_a_program_that_follows_ends_with_a_killed_supervisor(tmp_path: Path) -> None:
    followed = tmp_path / "pid"
    program = f"""
import os, sys, time
from core.processes import follow_parent
from core.supervisor import Child, Supervisor
if len(sys.argv) > 1:
    follow_parent()
    open({str(followed)!r}, "w").write(str(os.getpid()))
    time.sleep(600)
Supervisor(on_restart=lambda child, code: None).start(Child("x", [sys.executable, __file__, "child"]))
time.sleep(600)
"""
    script = tmp_path / "script.py"
    script.write_text(program)
    parent = subprocess.Popen([sys.executable, str(script)], env={**os.environ, "PYTHONPATH": str(PROJECT)})
    wait_until(lambda: followed.exists() and followed.read_text() != "")
    pid = int(followed.read_text())
    parent.kill()
    parent.wait()
    wait_until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


def test_a_parent_that_is_gone_already_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []
    monkeypatch.setattr(processes, "signal_on_parents_death", lambda _number: None)
    monkeypatch.setattr(os, "kill", lambda _pid, number: sent.append(number))
    processes.follow(os.getppid(), signal.SIGTERM)
    assert sent == []
    processes.follow(1 if os.getppid() != 1 else 2, signal.SIGTERM)
    assert sent == [signal.SIGTERM]


def test_a_full_log_is_packed_and_the_writer_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "web.log"
    old = tmp_path / "web-20200101T000000Z.log.gz"
    old.write_bytes(b"")
    os.utime(old, (0, 0))
    with log.open("ab", buffering=0) as writer:
        writer.write(b"before\n" * 100)
        put_away_full_log(log, full=10_000)
        assert log.stat().st_size == 700
        put_away_full_log(log, full=100)
        writer.write(b"after\n")
    (packed,) = tmp_path.glob("web-*.log.gz")
    assert gzip.decompress(packed.read_bytes()) == b"before\n" * 100
    assert log.read_bytes() == b"after\n"
    assert time.time() - packed.stat().st_mtime < supervisor.KEEP_LOGS_S
