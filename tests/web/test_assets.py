"""The browser libraries are the ones we vouched for, and pages name only files that are there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from flask import Flask

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = sorted((ROOT / "web" / "templates").rglob("*.html"))


def test_vendored_files_are_as_locked() -> None:
    check = subprocess.run(
        [sys.executable, ROOT / "tools" / "vendor.py", "--check"], capture_output=True, text=True, check=False
    )
    assert check.returncode == 0, check.stderr


def test_every_library_comes_with_its_licence() -> None:
    folders = [path for path in (ROOT / "web" / "static" / "vendor").iterdir() if path.is_dir()]
    assert folders
    assert [folder.name for folder in folders if not list(folder.glob("LICENSE*"))] == []


def test_a_page_names_only_files_that_are_there_and_may_be_kept(app: Flask) -> None:
    client = app.test_client()
    addresses = set(re.findall(r'(?:href|src)="(/static/[^"#]+)', client.get("/auth/sign-in").text))
    assert len(addresses) >= 5
    for address in addresses:
        answer = client.get(address)
        assert answer.status_code == 200, address
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"


def test_pages_use_only_icons_of_the_sprite() -> None:
    sprite = next((ROOT / "web" / "static" / "vendor").glob("icons-*/sprite.svg")).read_text("utf-8")
    drawn = set(re.findall(r'<symbol id="([^"]+)"', sprite))
    used = set()
    for template in TEMPLATES:
        used |= set(re.findall(r'icon(?:_name)?(?:\(|=)"([a-z0-9-]+)"', template.read_text("utf-8")))
    used |= set(re.findall(r'Entry\(_\("[^"]+"\), "([a-z-]+)"', (ROOT / "web" / "navigation.py").read_text("utf-8")))
    assert used - drawn == set()


def test_templates_need_nothing_that_the_policy_forbids() -> None:
    for template in TEMPLATES:
        text = template.read_text("utf-8")
        assert not re.search(r"\sstyle=|\son[a-z]+=\"|\|\s*safe\b|javascript:", text), template
        assert not re.search(r"(?:src|href)=\"https?://", text), template
