"""The two process groups behind `quanma web`, each run as `python -m web.serve front|pages`.

The front answers WeChat's callback itself and hands every other path to the pages, which listen on a unix socket:
no page, however slow, can take a process from the callback.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.mp import MPServer

from core import logging, metrics
from core.processes import follow, follow_parent
from core.settings import Settings, load_settings

PAGES_SOCKET_VARIABLE = "QUANMA_PAGES_SOCKET"
"""Names the pages' socket to the front."""
FRONT = "web.front:app"
PAGES = "wsgi:app"
PRELOADED = {"front": "web.front", "pages": "web.app"}
"""Imported once before the workers are forked, which then start at once; nothing of it runs before they do."""
PAGE_THREADS = 8
MOST_CONNECTIONS = 4096
"""Per process of the front."""
IDLE_TIMEOUT_MS = 15_000
STOP_TIMEOUT_S = 10
SHORT_LIFE_S = 2.0
PAUSE_S = 1.0


class Group(MPServer):
    """A granian server that never gives up: a worker that ends is replaced, however often that happens."""

    def _respawn_workers(self, workers: list[int], spawn_target: Any, target_loader: Any, delay: float = 0) -> None:
        if any(time.monotonic() - self.wrks[index].birth < SHORT_LIFE_S for index in workers):
            time.sleep(PAUSE_S)
        super()._respawn_workers(workers, spawn_target, target_loader, delay)
        # What granian counts here, it reads as a crash loop and leaves.
        self.respawned_wrks.clear()


def load(target: str, *, parent: int, settings: Settings) -> Callable[..., Any]:
    """Import an application inside its worker process."""
    # A worker whose group was killed would hold the port and answer for a system that is gone.
    follow(parent, signal.SIGKILL)
    logging.configure(settings)
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)  # type: ignore[no-any-return]


def serve(group: str, address: str) -> None:
    """Serve one group until SIGTERM: the front at `host:port`, the pages at a socket's path."""
    settings = load_settings()
    logging.configure(settings)
    metrics.prepare(settings.quanma_home / "metrics")
    import_module(PRELOADED[group])
    options: dict[str, Any] = {
        "workers": settings.web_workers,
        "http": HTTPModes.http1,
        "websockets": False,
        "respawn_failed_workers": True,
        "workers_kill_timeout": STOP_TIMEOUT_S,
        "log_level": LogLevels.warning,
        "log_dictconfig": logging.LIBRARY_LOGGERS,
    }
    if group == "front":
        host, _, port = address.rpartition(":")
        server = Group(
            FRONT,
            address=host.strip("[]"),
            port=int(port),
            interface=Interfaces.ASGI,
            backlog=2048,
            # Idle connections take a place each: strangers must need very many of them, and lose them soon.
            backpressure=MOST_CONNECTIONS,
            http1_settings=HTTP1Settings(header_read_timeout=IDLE_TIMEOUT_MS),
            **options,
        )
    else:
        socket = Path(address)
        socket.unlink(missing_ok=True)
        server = Group(
            PAGES,
            uds=socket,
            uds_permissions=0o600,
            interface=Interfaces.WSGI,
            blocking_threads=PAGE_THREADS,
            **options,
        )
    server.serve(target_loader=partial(load, parent=os.getpid(), settings=settings))


def main(arguments: Iterable[str]) -> None:
    follow_parent()
    serve(*arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
