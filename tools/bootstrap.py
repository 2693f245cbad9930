"""Make `.venv` with exactly what requirements.lock lists; needs Python alone and does nothing when all is there.

`python3 tools/bootstrap.py`. uv does the work where it can be had, else pip; both take only files whose hashes are in
the lock, from whichever index or mirror pip is configured for.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
TOOLS = VENV / "bootstrap"
"""A virtual environment inside ours that holds uv, and dies with it."""
LOCK = ROOT / "requirements.lock"
STAMP = VENV / "installed"
OLDEST = (3, 11)
NEWER_PYTHONS = ("python3.13", "python3.12", "python3.11", "python3.14")
UV_NAMES = {"index-url": "UV_DEFAULT_INDEX", "extra-index-url": "UV_INDEX", "find-links": "UV_FIND_LINKS"}


class Refusal(Exception):
    """Why there is no environment, in one sentence."""


def main() -> int:
    """Bring `.venv` up to date; 0 if it is."""
    if sys.version_info < OLDEST:
        return run_under_a_newer_python()
    try:
        with one_at_a_time():
            set_up()
    except Refusal as refusal:
        print(refusal, file=sys.stderr)
        return 1
    return 0


def run_under_a_newer_python() -> int:
    """Some machines have a new Python beside the old one that `python3` means."""
    for name in NEWER_PYTHONS:
        program = shutil.which(name)
        if program is not None:
            return subprocess.call([program, __file__])
    found = ".".join(map(str, sys.version_info[:2]))
    print(
        f"需要 Python 3.11 或更新版本，这里是 {found}。 Python 3.11 or newer is needed; this is {found}.",
        file=sys.stderr,
    )
    return 1


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Two commands that start together must not install into one another."""
    try:
        import fcntl
    except ImportError:
        raise Refusal("请在 Linux、macOS 或 WSL2 中运行。 Run this on Linux, macOS or WSL2.") from None
    folder = os.open(ROOT, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def set_up() -> None:
    wanted = fingerprint()
    if STAMP.exists() and STAMP.read_text(encoding="utf-8") == wanted and is_usable(python_of(VENV)):
        return
    if not is_usable(python_of(VENV)):
        say("正在建立 .venv …", "making .venv …")
        venv.EnvBuilder(clear=True, symlinks=True, with_pip=False).create(VENV)
    STAMP.unlink(missing_ok=True)
    say("正在安装依赖（首次约一分钟）…", "installing what requirements.lock lists …")
    locked = ["--require-hashes", "-r", str(LOCK)]
    # The build tool is in the lock, so nothing is fetched that has no hash.
    project = ["--no-deps", "--no-build-isolation", "--editable", str(ROOT)]
    installer = uv_installer()
    if installer is None or not all(installer(part) for part in (locked, project)):
        installer = pip_installer()
        if not all(installer(part) for part in (locked, project)):
            raise Refusal(
                "依赖没有装上，原因见上；镜像可用 pip 的设置指定（pip config set global.index-url …）。 "
                "The packages could not be installed, see above; a mirror can be named in pip's own settings."
            )
    STAMP.write_text(wanted, encoding="utf-8")


def fingerprint() -> str:
    """Changes whenever something would have to be installed anew."""
    parts = [LOCK.read_bytes(), (ROOT / "pyproject.toml").read_bytes(), os.fsencode(ROOT), sys.version.encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def python_of(folder: Path) -> Path:
    return folder / "bin" / "python"


def is_usable(python: Path) -> bool:
    """It starts (its base may have been removed, or the folder moved) and is new enough."""
    question = f"import sys; sys.exit(sys.version_info < {OLDEST})"
    try:
        return subprocess.run([python, "-c", question], check=False, capture_output=True).returncode == 0
    except OSError:
        return False


def uv_installer() -> Callable[[list[str]], bool] | None:
    """Installs with uv, or None where there is no uv to be had."""
    program = shutil.which("uv")
    if program is None:
        program = str(TOOLS / "bin" / "uv")
        if not os.access(program, os.X_OK):
            try:
                pip = pip_for(TOOLS)
            except Refusal:
                return None
            if subprocess.run([*pip, "install", "uv"], check=False, capture_output=True).returncode != 0:
                return None
    environment = {**uv_names_for_pip_settings(), **os.environ, "VIRTUAL_ENV": str(VENV)}
    return lambda arguments: (
        subprocess.call([program, "pip", "install", "--quiet", *arguments], cwd=ROOT, env=environment) == 0
    )


def pip_installer() -> Callable[[list[str]], bool]:
    """Installs with pip; slower, and there wherever Python is whole."""
    pip = pip_for(VENV)
    return lambda arguments: subprocess.call([*pip, "install", "--quiet", *arguments], cwd=ROOT) == 0


def pip_for(folder: Path) -> list[str]:
    """The pip command that installs into this virtual environment, which is made if it is not there."""
    if not is_usable(python_of(folder)):
        venv.EnvBuilder(clear=True, symlinks=True, with_pip=False).create(folder)
    python = str(python_of(folder))
    if subprocess.call([python, "-c", "import pip"], stderr=subprocess.DEVNULL) == 0:
        return [python, "-m", "pip"]
    if importlib.util.find_spec("ensurepip") is not None:
        done = subprocess.run([python, "-m", "ensurepip", "--default-pip"], check=False, capture_output=True)
        if done.returncode == 0:
            return [python, "-m", "pip"]
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip", "--python", python]
    version = ".".join(map(str, sys.version_info[:2]))
    raise Refusal(
        f"这台机器的 Python 没有 pip：请先安装 python{version}-venv（Debian：apt install python{version}-venv）或 uv。 "
        f"This Python has no pip: install python{version}-venv (Debian) or uv first."
    )


def uv_names_for_pip_settings() -> dict[str, str]:
    """uv does not read pip's settings, where the mirrors of most machines are written down."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, check=False, capture_output=True, text=True).stdout
    found = {}
    for name, value in re.findall(r"^(?:global|install|:env:)\.([a-z-]+)='(.*)'$", listed, flags=re.MULTILINE):
        if name in UV_NAMES:
            found[UV_NAMES[name]] = " ".join(value.replace(r"\n", " ").split())
    if found:
        # As pip does it: the best file of all indexes, not whatever the first one has. The hashes keep it safe.
        found["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    return found


def say(zh: str, en: str) -> None:
    print(f"{zh} ({en})", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
