"""The bootstrap on this machine: up to date at once, and plain about what is missing."""

import importlib.util
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tools import bootstrap

ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass
class Installed:
    """An installer that only notes what it was asked for."""

    parts: list[list[str]] = field(default_factory=list)

    def __call__(self, part: list[str]) -> bool:
        self.parts.append(part)
        return True


def test_nothing_is_done_when_all_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stamp = tmp_path / "installed"
    stamp.write_text(bootstrap.fingerprint())
    monkeypatch.setattr(bootstrap, "STAMP", stamp)
    monkeypatch.setattr(bootstrap, "uv_installer", lambda: pytest.fail("installs although all is there"))
    assert bootstrap.main() == 0


def test_a_changed_lock_is_installed_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stamp, lock = tmp_path / "installed", tmp_path / "requirements.lock"
    stamp.write_text(bootstrap.fingerprint())
    lock.write_bytes(bootstrap.LOCK.read_bytes() + b"# changed\n")
    installed = Installed()
    monkeypatch.setattr(bootstrap, "STAMP", stamp)
    monkeypatch.setattr(bootstrap, "LOCK", lock)
    monkeypatch.setattr(bootstrap, "uv_installer", lambda: installed)
    assert bootstrap.main() == 0
    assert installed.parts[0] == ["--require-hashes", "-r", str(lock)]
    assert "--no-deps" in installed.parts[1]
    assert stamp.read_text() == bootstrap.fingerprint()


def test_pip_does_it_where_uv_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = Installed()
    monkeypatch.setattr(bootstrap, "STAMP", tmp_path / "installed")
    monkeypatch.setattr(bootstrap, "uv_installer", lambda: lambda _arguments: False)
    monkeypatch.setattr(bootstrap, "pip_installer", lambda: installed)
    assert bootstrap.main() == 0
    assert len(installed.parts) == 2


def test_a_failed_installation_leaves_no_stamp(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bootstrap, "STAMP", tmp_path / "installed")
    monkeypatch.setattr(bootstrap, "uv_installer", lambda: None)
    monkeypatch.setattr(bootstrap, "pip_installer", lambda: lambda _arguments: False)
    assert bootstrap.main() == 1
    assert "could not be installed" in capsys.readouterr().err
    assert not (tmp_path / "installed").exists()


def test_a_python_without_pip_is_told_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(bootstrap.Refusal, match="install python3"):
        bootstrap.pip_for(tmp_path / "venv")


def test_an_old_python_is_told_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bootstrap, "OLDEST", (99, 0))
    monkeypatch.setattr(bootstrap, "NEWER_PYTHONS", ())
    assert bootstrap.main() == 1
    assert "Python 3.11 or newer is needed" in capsys.readouterr().err


def test_the_mirrors_of_pip_are_handed_to_uv(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = "global.index-url='https://mirror.example/simple'\n:env:.find-links='/wheels'\nglobal.timeout='9'\n"
    monkeypatch.setattr(subprocess, "run", lambda *_args, **_options: subprocess.CompletedProcess([], 0, stdout=listed))
    assert bootstrap.uv_names_for_pip_settings() == {
        "UV_DEFAULT_INDEX": "https://mirror.example/simple",
        "UV_FIND_LINKS": "/wheels",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
    }


def test_a_broken_or_foreign_python_is_not_used(tmp_path: Path) -> None:
    assert bootstrap.is_usable(Path(sys.executable))
    assert not bootstrap.is_usable(tmp_path / "bin" / "python")


def test_the_lock_has_every_requirement_with_hashes_and_no_address() -> None:
    lock = bootstrap.LOCK.read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {re.split(r"[^A-Za-z0-9._-]", requirement)[0].lower() for requirement in wanted}
    locked = set(re.findall(r"^([a-z0-9._-]+)(?:\[[^\]]*\])?==", lock, flags=re.MULTILINE))
    assert names <= locked
    assert "://" not in lock
    pinned = re.split(r"\n(?=[a-z0-9])", lock)[1:]
    assert [block for block in pinned if "--hash=sha256:" not in block] == []
