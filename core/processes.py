"""Processes that end with the one that started them, even when that one is killed."""

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable

PARENT_VARIABLE = "QUANMA_PARENT_PID"
"""Set by whoever starts a process of ours and wants it to follow."""
PR_SET_PDEATHSIG = 1


def signal_on_parents_death(number: int) -> None:
    """Ask the kernel to send this process `number` when its parent ends; Linux alone can do that."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)


def follow(parent: int, number: int = signal.SIGTERM) -> None:
    """Receive `number` when the process `parent`, which started this one, ends."""
    signal_on_parents_death(number)
    if sys.platform != "linux":
        threading.Thread(target=_watch, args=(parent, number), name="follow", daemon=True).start()
    # It may have ended before the kernel was asked.
    if os.getppid() != parent:
        os.kill(os.getpid(), number)


def follow_parent() -> None:
    """Follow the process that asked for it when it started this one, if one did."""
    parent = os.environ.pop(PARENT_VARIABLE, "")
    if parent:
        follow(int(parent))


def _watch(parent: int, number: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), number)


def stop_requested() -> Callable[[], bool]:
    """Note SIGTERM, Ctrl-C and a closed terminal from now on, instead of ending at once; tells whether one came."""
    told: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda got, _frame: told.append(got))
    return lambda: bool(told)
