"""Numbers of many processes are added up, those of forked jobs included, without a file for each job."""

import os
import subprocess
import sys
from pathlib import Path

from core import metrics
from tests.conftest import PROJECT

PROGRAM = """
import os, sys
from pathlib import Path
from core import metrics
folder = Path(sys.argv[1])
metrics.prepare(folder, forks=True)
from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
jobs = Counter("jobs_total", "Jobs", ["kind"])
jobs.labels("parent").inc()
for number in range(5):
    if os.fork() == 0:
        jobs.labels("child").inc()
        jobs.labels(f"child {number}").inc()
        os._exit(0)
    os.wait()
registry = CollectorRegistry()
MultiProcessCollector(registry)
print(generate_latest(registry).decode())
print(len(list(folder.glob("*.db"))))
"""


def test_forked_jobs_count_on_in_one_file(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "metrics")]
    output = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    lines = output.strip().splitlines()
    assert 'jobs_total{kind="parent"} 1.0' in lines
    assert 'jobs_total{kind="child"} 5.0' in lines
    assert 'jobs_total{kind="child 4"} 1.0' in lines
    assert lines[-1] == "2"


def test_files_of_processes_that_are_gone_are_removed(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    for name in (f"counter_{gone.pid}.db", f"counter_{gone.pid}-jobs.db", f"counter_{os.getpid()}.db"):
        (tmp_path / name).touch()
    program = "import sys; from pathlib import Path; from core import metrics; metrics.prepare(Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], cwd=PROJECT, check=True)
    assert [file.name for file in tmp_path.iterdir()] == [f"counter_{os.getpid()}.db"]
    assert metrics.VARIABLE not in os.environ
