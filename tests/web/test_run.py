"""`quanma run` as a newcomer uses it: one command starts everything, one key stops everything."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from tests.conftest import PROJECT, free_port, responds, wait_until

START_S = 90


@dataclass
class House:
    """A home of its own with ports of its own, where `quanma run` is called again and again."""

    home: Path
    port: int
    sandbox_port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "QUANMA_HOME": str(self.home),
            "WECHAT_API_URL": f"http://127.0.0.1:{self.sandbox_port}",
        }

    def start(self) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "web.cli", "run", "--port", str(self.port), "--json"],
            cwd=PROJECT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def processes(self) -> list[psutil.Process]:
        """Everything that runs for this home."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                is_ours = process.environ().get("QUANMA_HOME") == str(self.home)
                if is_ours or any(str(self.home) in part for part in process.cmdline()):
                    found.append(process)
        return found


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    folder = Path(tempfile.mkdtemp(prefix="quanma-run-"))
    folder.chmod(0o755)
    yield House(folder / "var", free_port(), free_port())
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def running(house: House) -> Iterator[tuple["subprocess.Popen[str]", dict[str, Any]]]:
    """The running system and what it says once it is ready."""
    process = house.start()
    assert process.stdout is not None
    assert process.stderr is not None
    line = process.stdout.readline()
    assert line, process.stderr.read()
    yield process, json.loads(line)
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


def test_everything_runs_and_one_key_stops_it(
    house: House, running: tuple["subprocess.Popen[str]", dict[str, Any]]
) -> None:
    process, said = running
    assert said["url"] == house.url
    assert requests.get(f"{house.url}/readyz", timeout=10).json()["status"] == "ok"
    for link in ("sign_in", "merchant_sign_in"):
        assert requests.get(said[link], timeout=10).status_code == 200
    assert requests.get(f"{said['sandbox']}/sandbox/people", timeout=10).status_code == 200
    names = {" ".join(child.cmdline()[3:5]) for child in psutil.Process(process.pid).children()}
    assert {"worker default", "worker messages", "scheduler"} <= names
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert house.processes() == []


def test_whatever_is_killed_comes_back(house: House, running: tuple["subprocess.Popen[str]", dict[str, Any]]) -> None:
    process, _said = running

    def child(*words: str) -> psutil.Process | None:
        for found in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if all(word in found.cmdline() for word in words):
                    return found
        return None

    for words in (("worker", "default"), ("scheduler",), ("sandbox",), ("web",), ("web.serve", "front")):
        wait_until(lambda words=words: child(*words) is not None, seconds=60, what=f"{words}")  # type: ignore[misc]
        victim = child(*words)
        assert victim is not None
        victim.kill()
        wait_until(
            lambda words=words, victim=victim: child(*words) not in (None, victim),  # type: ignore[misc]
            seconds=60,
            what=f"another {words}",
        )
    # A group whose workers are killed as fast as they start does not give up.
    for _ in range(4):
        front = child("web.serve", "front")
        for worker in front.children() if front is not None else []:
            with contextlib.suppress(psutil.Error):
                worker.kill()
        time.sleep(0.3)
    wait_until(lambda: responds(f"{house.url}/readyz"), seconds=60, what="readiness")


def test_nothing_outlives_a_killed_supervisor(
    house: House, running: tuple["subprocess.Popen[str]", dict[str, Any]]
) -> None:
    process, _said = running
    process.kill()
    process.communicate()
    wait_until(lambda: house.processes() == [], seconds=60, what="the end of all processes")


def test_a_taken_port_is_told_in_one_sentence(house: House) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", house.port))
        taken.listen()
        process = house.start()
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert output == ""
    assert f"Port {house.port} cannot be used" in errors
    assert len(errors.strip().splitlines()) == 1


def test_wrong_settings_are_told_in_one_sentence(house: House) -> None:
    environment = house.environment | {"DATABASE_URL": "mysql://root@db/q"}
    command = [sys.executable, "-m", "web.cli", "run", "--port", str(house.port)]
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("设置 DATABASE_URL 不对")
    assert len(done.stderr.strip().splitlines()) == 1
