"""Day: 100,000 events of one busy day through the running system in secure mode, with its memory watched.

The whole system runs: front, pages, workers, scheduler, and the platform in a box. Besides the events a page is
asked for now and then. Memory is what each kind of process takes, with shared pages counted once (PSS), and the sum of
the resident sets (RSS); what counts is that it does not grow from a tenth of the day on.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.request import urlopen

import click
import psutil
from sqlalchemy import text

from benchmarks import load
from benchmarks.callback import Mix, environment, house, settle
from core.database import Role
from core.outbox import QUEUES
from core.runtime import Runtime
from tests.conftest import free_port, wait_until

PARTS = 20
SHOWN_AT = (10, 50, 100)
PAGES_PER_PART = 20
MEBIBYTE = 2**20
PROGRAMS = {
    "web": ("web",),
    **{f"worker {queue}": ("worker", queue) for queue in QUEUES},
    "scheduler": ("scheduler",),
}


@dataclass(frozen=True)
class Sample:
    """Memory of all processes of one kind, in MiB."""

    percent: int
    kind: str
    processes: int
    rss: float
    pss: float


@contextlib.contextmanager
def running(variables: dict[str, str], port: int, sandbox_port: int) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """Every program of the system, until the block ends."""
    commands = {"sandbox": ("sandbox", "--port", str(sandbox_port)), **PROGRAMS}
    commands["web"] = ("web", "--port", str(port))
    with (Path(variables["QUANMA_HOME"]) / "day.log").open("ab") as log:
        programs = {
            name: subprocess.Popen([sys.executable, "-m", "web.cli", *command], env=variables, stdout=log, stderr=log)
            for name, command in commands.items()
        }
    try:
        wait_until(lambda: _answers(f"http://127.0.0.1:{port}/readyz"), seconds=60, what="the system")
        yield {name: programs[name] for name in PROGRAMS}
    finally:
        for program in programs.values():
            program.terminate()
        for program in programs.values():
            program.wait(60)


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=5) as response:  # noqa: S310  an address of our own
            return bool(response.status == 200)
    except OSError:
        return False


def kind_of(program: str, process: psutil.Process) -> str:
    """What a process does: of the web server, front and pages apart."""
    words = process.cmdline()
    return next((kind for kind in ("front", "pages") if kind in words), program)


def sample(programs: dict[str, subprocess.Popen[bytes]], percent: int) -> list[Sample]:
    """Memory now, by kind of process."""
    found: dict[str, list[tuple[int, int]]] = {}
    for name, program in programs.items():
        leader = psutil.Process(program.pid)
        # A worker's child lives as long as one job.
        processes = [leader, *leader.children(recursive=True)] if name == "web" else [leader]
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                memory = process.memory_full_info()
                found.setdefault(kind_of(name, process), []).append((memory.rss, getattr(memory, "pss", memory.uss)))
    return [
        Sample(
            percent,
            kind,
            len(sizes),
            sum(rss for rss, _ in sizes) / MEBIBYTE,
            sum(pss for _, pss in sizes) / MEBIBYTE,
        )
        for kind, sizes in sorted(found.items())
    ]


def slope(samples: list[Sample], kind: str) -> float:
    """Growth of a kind's memory over a whole day at the pace seen from a tenth of it on, in MiB."""
    later = [one for one in samples if one.kind == kind and one.percent >= SHOWN_AT[0]]
    return statistics.linear_regression([one.percent for one in later], [one.pss for one in later]).slope * 100


def replay(runtime: Runtime, home: Path, events: int) -> tuple[list[Sample], list[load.Measured], int]:
    """The samples, what each part of the day measured, and how many events were stored."""
    codes, followers = settle(runtime)
    port, sandbox_port = free_port(), free_port()
    variables = environment(home, runtime) | {
        "WECHAT_API_URL": f"http://127.0.0.1:{sandbox_port}",
        "PUBLIC_URL": f"http://127.0.0.1:{port}",
    }
    with runtime.transaction(Role.PLATFORM) as session:
        before = session.execute(text("SELECT count(*) FROM inbox_event")).scalar_one()
    mix, samples, parts = Mix(codes, followers, 1), [], []
    with running(variables, port, sandbox_port) as programs:
        for part in range(PARTS):
            parts.append(load.run(port, mix.requests(events // PARTS)))
            for _ in range(PAGES_PER_PART):
                _answers(f"http://127.0.0.1:{port}/")
            samples += sample(programs, (part + 1) * 100 // PARTS)
            click.echo(f"{(part + 1) * 100 // PARTS:3} %  {parts[-1]}", err=True)
        time.sleep(1)
    with runtime.transaction(Role.PLATFORM) as session:
        after = session.execute(text("SELECT count(*) FROM inbox_event")).scalar_one()
    return samples, parts, after - before


@click.command()
@click.option("--events", default=100_000, help="Events of the day.")
@click.option("--json", "as_json", is_flag=True)
def main(events: int, as_json: bool) -> None:
    """Replay a day and say how much memory it took."""
    with house() as (home, runtime):
        samples, parts, stored = replay(runtime, home, events)
    kinds = sorted({one.kind for one in samples})
    growth = {kind: slope(samples, kind) for kind in kinds}
    if as_json:
        answer = {"events": events, "stored": stored, "growth_mib": growth, "samples": [asdict(one) for one in samples]}
        click.echo(json.dumps(answer | {"parts": [vars(one) for one in parts], "load": os.getloadavg()}))
        return
    click.echo(f"{events:,} events sent, {stored:,} stored (repeats within a second are one event)")
    click.echo(f"{'MiB (PSS / RSS)':18}" + "".join(f"{f'{percent} %':>22}" for percent in SHOWN_AT) + f"{'growth':>12}")
    for kind in kinds:
        shown = [one for percent in SHOWN_AT for one in samples if (one.kind, one.percent) == (kind, percent)]
        cells = "".join(f"{f'{one.pss:.0f} / {one.rss:.0f} ({one.processes})':>22}" for one in shown)
        click.echo(f"{kind:18}{cells}{growth[kind]:>+12.1f}")


if __name__ == "__main__":
    main()
