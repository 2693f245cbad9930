"""Copy the browser libraries we ship from npm packages to web/static/vendor, and vouch for what lies there.

    python tools/vendor.py            copy again (needs npm); run it after changing package.json
    python tools/vendor.py --check    compare the committed copies with vendor.lock.json (needs nothing)

The copies are committed, so that running and testing the project needs no Node.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENDOR = ROOT / "web" / "static" / "vendor"
LOCK = VENDOR / "vendor.lock.json"


@dataclass(frozen=True)
class Library:
    """What is taken from one npm package; the folder carries the version, so that browsers may keep it for good."""

    package: str
    folder: str
    files: tuple[str, ...]
    licences: tuple[Path | str, ...]  # a name inside the package, or a file of ours where the package has none


LIBRARIES = (
    Library("@tabler/core", "tabler", ("dist/css/tabler.min.css",), (ROOT / "tools/licences/tabler-core.txt",)),
    Library("weui", "weui", ("dist/style/weui.min.css",), ("LICENSE.txt",)),
    Library("htmx.org", "htmx", ("dist/htmx.min.js",), ("LICENSE",)),
    Library("echarts", "echarts", ("dist/echarts.common.min.js",), ("LICENSE", "NOTICE")),
    Library("@tabler/icons", "icons", (), ("LICENSE",)),
)

# A sprite of the few icons that pages use; a page names one as {{ ui.icon("qrcode") }}.
ICONS = [
    "activity",
    "alert-circle",
    "alert-triangle",
    "arrow-down-right",
    "arrow-left",
    "arrow-right",
    "arrow-up-right",
    "ban",
    "building-store",
    "calendar",
    "calendar-stats",
    "chart-bar",
    "chart-line",
    "check",
    "chevron-down",
    "chevron-left",
    "chevron-right",
    "circle-check",
    "clipboard-check",
    "clock",
    "copy",
    "device-mobile",
    "dots",
    "download",
    "edit",
    "external-link",
    "eye",
    "file-text",
    "filter",
    "heart-handshake",
    "help-circle",
    "history",
    "home",
    "inbox",
    "info-circle",
    "key",
    "language",
    "link",
    "list-check",
    "lock",
    "logout",
    "mailbox",
    "map-pin",
    "menu-2",
    "message-circle",
    "note",
    "phone",
    "photo",
    "plus",
    "printer",
    "qrcode",
    "refresh",
    "scan",
    "search",
    "send",
    "settings",
    "shield-check",
    "stethoscope",
    "tag",
    "ticket",
    "trash",
    "user",
    "user-check",
    "user-minus",
    "user-plus",
    "users",
    "world",
    "x",
]


def main() -> int:
    """Copy or check; the exit code says whether all is well."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="only compare the committed copies with their hashes")
    if parser.parse_args().check:
        complaints = differences()
        print("\n".join(complaints) or "web/static/vendor is as locked", file=sys.stderr if complaints else sys.stdout)
        return 1 if complaints else 0
    copy_all()
    return 0


def differences() -> list[str]:
    """One sentence per file that is missing, changed or unknown to vendor.lock.json."""
    locked: dict[str, str] = json.loads(LOCK.read_text("utf-8"))["sha256"]
    present = hashes()
    return [
        *(f"{name} is missing" for name in sorted(locked.keys() - present.keys())),
        *(f"{name} is not in vendor.lock.json" for name in sorted(present.keys() - locked.keys())),
        *(f"{name} was changed" for name in sorted(locked.keys() & present.keys()) if locked[name] != present[name]),
    ]


def hashes() -> dict[str, str]:
    """The sha256 of every file below web/static/vendor, the lock itself excepted."""
    return {
        path.relative_to(VENDOR).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(VENDOR.rglob("*"))
        if path.is_file() and path != LOCK
    }


def copy_all() -> None:
    """Install the packages in a scratch folder, by the hashes of package-lock.json, and take over what we ship."""
    with tempfile.TemporaryDirectory() as scratch:
        for name in ("package.json", "package-lock.json", ".npmrc"):
            shutil.copy(ROOT / name, scratch)
        subprocess.run(["npm", "ci", "--ignore-scripts"], cwd=scratch, check=True)
        modules = Path(scratch, "node_modules")
        shutil.rmtree(VENDOR, ignore_errors=True)
        versions = {library.folder: copy_one(library, modules) for library in LIBRARIES}
    LOCK.write_text(json.dumps({"versions": versions, "sha256": hashes()}, indent=2, sort_keys=True) + "\n", "utf-8")


def copy_one(library: Library, modules: Path) -> str:
    """Copy one library and its licences; returns its version."""
    source = modules / library.package
    version: str = json.loads((source / "package.json").read_text("utf-8"))["version"]
    target = VENDOR / f"{library.folder}-{version}"
    target.mkdir(parents=True)
    for name in library.files:
        shutil.copy(source / name, target / Path(name).name)
    for licence in library.licences:
        shutil.copy(source / licence, target / ("LICENSE" if isinstance(licence, Path) else licence))
    if library.folder == "icons":
        (target / "sprite.svg").write_text(sprite(source / "icons" / "outline"), "utf-8")
    return version


def sprite(folder: Path) -> str:
    """One SVG file with a symbol per icon; the strokes are styled by the page that uses it."""
    symbols = []
    for name in sorted(ICONS):
        drawing = (folder / f"{name}.svg").read_text("utf-8")
        shapes = re.findall(r"<(?!/?svg)[^>]+/>", drawing)
        symbols.append(f'<symbol id="{name}" viewBox="0 0 24 24">{"".join(shapes)}</symbol>')
    return '<svg xmlns="http://www.w3.org/2000/svg">\n' + "\n".join(symbols) + "\n</svg>\n"


if __name__ == "__main__":
    sys.exit(main())
