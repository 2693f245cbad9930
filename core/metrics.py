"""Counting over many processes: each keeps its numbers in files of its own, and whoever is asked adds them up."""

import os
import re
from pathlib import Path

import psutil

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


def prepare(folder: Path, *, forks: bool = False) -> None:
    """Count into `folder` from now on; call this before anything is counted.

    `forks=True` is for RQ workers: the processes they fork, one after another, count on in one file, instead of each
    leaving a file of its own behind.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # A worker that replaces another goes on with what its group has counted; only a new start begins anew.
    if os.environ.get(VARIABLE) != str(folder):
        os.environ[VARIABLE] = str(folder)
        _forget_former_processes(folder)
    # Imported here, because the library decides at its import where numbers go.
    from prometheus_client import values

    main = os.getpid()
    name_of_process = (lambda: str(main) if os.getpid() == main else f"{main}-jobs") if forks else os.getpid
    values.ValueClass = values.MultiProcessValue(name_of_process)  # type: ignore[no-untyped-call]


def _forget_former_processes(folder: Path) -> None:
    for file in folder.glob("*.db"):
        owner = re.search(r"_(\d+)(?:-jobs)?\.db$", file.name)
        if owner is not None and not psutil.pid_exists(int(owner.group(1))):
            file.unlink(missing_ok=True)
