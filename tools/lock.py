"""Write requirements.lock from pyproject.toml: every version and hash, for all systems, and no address of an index."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    uv = shutil.which("uv") or str(ROOT / ".venv" / "bootstrap" / "bin" / "uv")
    command = [uv, "pip", "compile", "pyproject.toml", "--output-file", "requirements.lock", "--quiet"]
    command += ["--universal", "--python-version", "3.11", "--extra", "dev", "--generate-hashes"]
    # A mirror serves the same files under its own address, so the lock names none.
    command += ["--no-emit-index-url", "--no-annotate", "--custom-compile-command", "make lock", *sys.argv[1:]]
    return subprocess.call(command, cwd=ROOT)


if __name__ == "__main__":
    sys.exit(main())
