"""What a figure was measured on."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path


def describe() -> str:
    """One line: processor, cores, memory, Python, commit, load, date."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return (
        f"{os.cpu_count()} cores ({cpu}), {memory:.0f} GiB, Python {platform.python_version()}, "
        f"commit {commit.stdout.strip() or 'unknown'}, load {os.getloadavg()[0]:.1f} at the start, "
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    )
