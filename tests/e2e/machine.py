"""`quanma run` as somebody starts it: in a fresh home, on ports of its own, stopped by Ctrl-C."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.conftest import PROJECT, free_port, wait_until

READY_S = 90
"""A cold start, the making of a database included."""
DEMO_S = 180
STOP_S = 60


@dataclass
class Machine:
    """One home, and the `quanma run` in it."""

    home: Path
    variables: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    sandbox_port: int = field(default_factory=free_port)
    process: subprocess.Popen[str] | None = None
    links: dict[str, str] = field(default_factory=dict)
    """What `quanma run` prints when it is ready."""

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", "/"),
            "LC_ALL": "C.UTF-8",
            "QUANMA_HOME": str(self.home),
            "WECHAT_API_URL": f"http://127.0.0.1:{self.sandbox_port}",
            # Where commands think the pages are; `quanma run` knows its port by itself.
            "PUBLIC_URL": self.url,
            **self.variables,
        }

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def sandbox_url(self) -> str:
        return f"http://127.0.0.1:{self.sandbox_port}"

    @property
    def log(self) -> Path:
        return self.home.with_suffix(".log")

    def skip_demo(self) -> None:
        """As if the demo community had been there and had moved out again."""
        mark = self.home / "sandbox" / "seeded"
        mark.parent.mkdir(parents=True)
        mark.touch()

    def start(self) -> None:
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "web.cli", "run", "--port", str(self.port), "--json"],
                env=self.environment,
                cwd=PROJECT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def wait_for_links(self, seconds: float) -> None:
        """Until it prints its addresses."""
        assert self.process is not None
        assert self.process.stdout is not None
        lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=lambda out: lines.put(out.readline()), args=(self.process.stdout,), daemon=True).start()
        try:
            line = lines.get(timeout=seconds)
        except queue.Empty:
            line = ""
        assert line, f"not ready within {seconds} s: {self.log.read_text()[-2000:]}"
        self.links = json.loads(line)

    def interrupt(self) -> int:
        """Ctrl-C; returns the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(STOP_S)

    def kill(self) -> None:
        """The supervisor alone, as the kernel does when memory is short."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """Whatever state it is in."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                for process in self.processes():
                    process.kill()

    def processes(self) -> list[psutil.Process]:
        """Everything that runs for this home."""
        found = []
        for process in psutil.process_iter():
            try:
                words = [*process.cmdline(), process.cwd(), process.environ().get("QUANMA_HOME", "")]
            except (psutil.Error, OSError):
                continue
            if process.pid != os.getpid() and any(str(self.home) in word for word in words):
                found.append(process)
        return found

    def wait_until_gone(self) -> None:
        wait_until(lambda: not self.processes(), seconds=STOP_S, what="the end of every process")

    def quanma(self, *arguments: str) -> Any:
        """What a command prints as JSON."""
        done = subprocess.run(
            [sys.executable, "-m", "web.cli", *arguments, "--json"],
            env=self.environment,
            cwd=PROJECT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout)
