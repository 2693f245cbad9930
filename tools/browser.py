"""Print the path of a Chromium for the tests that need a browser, fetching one where there is none.

In this order: $CHROMIUM, a chromium on the PATH, Debian's package when root, Playwright's own download.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

FONTS = Path(__file__).with_name("fonts.conf")


def launch(playwright: Playwright, program: str, *arguments: str) -> Browser:
    """A browser that reads and shows Chinese on any machine; `program` is its path."""
    environment: dict[str, str | float | bool] = {**os.environ, "FONTCONFIG_FILE": str(FONTS)}
    return playwright.chromium.launch(executable_path=program, args=["--no-sandbox", *arguments], env=environment)


def on_path() -> str | None:
    return next((found for name in NAMES if (found := shutil.which(name))), None)


def works(program: str) -> bool:
    try:
        return subprocess.run([program, "--version"], check=False, capture_output=True, timeout=60).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def from_debian() -> str | None:
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return None
    print("正在安装 Debian 的 chromium … (installing Debian's chromium …)", file=sys.stderr, flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "--yes", "--no-install-recommends", "chromium"]):
        done = subprocess.run(
            ["apt-get", "--quiet", *command],
            check=False,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            print(done.stderr.strip()[-500:], file=sys.stderr)
    return on_path()


def from_playwright() -> str | None:
    from playwright.sync_api import sync_playwright

    def path() -> str:
        with sync_playwright() as playwright:
            return playwright.chromium.executable_path

    if not os.path.exists(path()):
        command = [sys.executable, "-m", "playwright", "install", "chromium"]
        subprocess.run(command, check=False, stdin=subprocess.DEVNULL, stdout=sys.stderr)
    return path() if os.path.exists(path()) else None


def main() -> int:
    given = os.environ.get("CHROMIUM")
    if given:
        if not works(given):
            print(f"CHROMIUM 指的 {given} 不能运行。 CHROMIUM names {given}, which does not run.", file=sys.stderr)
            return 1
        print(given)
        return 0
    for source in (on_path, from_debian, from_playwright):
        program = source()
        if program is not None and works(program):
            print(program)
            return 0
    print(
        "测试需要 Chromium：请安装它，或用环境变量 CHROMIUM 指明路径。 "
        "The tests need Chromium: install it, or name its path in CHROMIUM.",
        file=sys.stderr,
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
