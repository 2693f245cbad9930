"""`quanma run`: serves soon, stops whole, and a second start takes up where the first one ended."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from tests.conftest import responds, wait_until
from tests.e2e.machine import DEMO_S, READY_S, Machine

AGAIN_S = 10
BUSY_FACTOR = 4
"""A second start takes seconds on a machine of one's own; beside other tests it shares the machine."""


def patience(seconds: float) -> float:
    is_busy = os.getloadavg()[0] > (os.cpu_count() or 1)
    return seconds * BUSY_FACTOR if is_busy else seconds


def start_and_wait(machine: Machine, seconds: float) -> None:
    began = time.monotonic()
    machine.start()
    wait_until(lambda: responds(f"{machine.url}/readyz"), seconds=seconds, what="the first page")
    print(f"served after {time.monotonic() - began:.1f} s")


def test_a_first_start_ctrl_c_and_a_second_start(new_machine: Callable[..., Machine]) -> None:
    """With the demo community: everybody who followed before the restart follows after it."""
    machine = new_machine()
    start_and_wait(machine, READY_S)
    machine.wait_for_links(DEMO_S)
    assert machine.links["url"] == machine.url
    assert machine.links["sandbox"] == machine.sandbox_url
    assert responds(machine.links["sign_in"])
    assert len(machine.processes()) > 8
    before = machine.quanma("traffic")
    assert machine.interrupt() == 0
    machine.wait_until_gone()

    start_and_wait(machine, patience(AGAIN_S))
    machine.wait_for_links(READY_S)
    report = machine.quanma("reconcile")
    assert report["checked"] > 100
    assert (report["followed"], report["unfollowed"]) == (0, 0)
    assert machine.quanma("traffic") == before
    assert sum(check["rows"] for check in machine.quanma("check")["checks"]) == 0
    assert machine.interrupt() == 0
    machine.wait_until_gone()


def test_a_supervisor_that_is_killed_takes_everything_along(new_machine: Callable[..., Machine]) -> None:
    machine = new_machine()
    machine.skip_demo()
    machine.start()
    machine.wait_for_links(READY_S)
    assert len(machine.processes()) > 8
    machine.kill()
    machine.wait_until_gone()
    assert not responds(f"{machine.url}/healthz")
    # Nothing is in the way of the next one.
    machine.start()
    machine.wait_for_links(READY_S)
    assert responds(f"{machine.url}/readyz")
