"""A machine and its browsers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import ViewportSize, sync_playwright

from tests.e2e.machine import Machine
from tests.e2e.window import Window
from tools.browser import launch, on_path


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    program = os.environ.get("CHROMIUM") or on_path()
    assert program is not None, "no Chromium: name its path in CHROMIUM (tools/browser.py finds or fetches one)"
    with sync_playwright() as playwright:
        browser = launch(playwright, program)
        yield browser
        browser.close()


NewWindow = Callable[[str, ViewportSize], Window]


@pytest.fixture
def new_window(chromium: Chromium) -> Iterator[NewWindow]:
    """Opens browsers; nothing may have been wrong with any page they showed."""
    windows: list[Window] = []

    def open_one(name: str, size: ViewportSize) -> Window:
        windows.append(Window(chromium, name, size))
        return windows[-1]

    yield open_one
    complaints = [complaint for window in windows for complaint in window.complaints]
    for window in windows:
        window.close()
    assert complaints == []


@pytest.fixture
def new_machine(test_home: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., Machine]]:
    """Machines that are off when the test ends."""
    machines: list[Machine] = []

    def make(**variables: str) -> Machine:
        name = f"run-{os.getpid()}-{abs(hash(request.node.name)) % 10**8}-{len(machines)}"
        machines.append(Machine(test_home / name, variables))
        return machines[-1]

    yield make
    for machine in machines:
        machine.stop()
