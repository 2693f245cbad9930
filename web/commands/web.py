"""`quanma web`: the web server."""

import os
import socket
import sys
import time
from pathlib import Path

import click
import structlog

from core import logging, metrics
from core.keeper import socket_folder
from core.processes import stop_requested
from core.servers import EmbeddedServers
from core.settings import Settings, load_settings
from core.supervisor import Child, Supervisor
from web.serve import PAGES_SOCKET_VARIABLE

PORT_WAIT_S = 5.0
"""A server that was killed a moment ago may still hold its port."""
GRACE_S = 20.0

log = structlog.get_logger(__name__)


def require_free(host: str, port: int) -> None:
    """Refuse in one sentence where somebody else listens: the kernel would let two servers share a port unnoticed."""
    deadline = time.monotonic() + PORT_WAIT_S
    while True:
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
            return
        except socket.gaierror:
            raise click.ClickException(f"地址 {host} 不存在。 There is no address {host}.") from None
        except OSError as error:
            if time.monotonic() > deadline:
                raise click.ClickException(
                    f"端口 {port} 用不了（{error.strerror}）：请停掉占用它的程序，或用 --port 换一个。 "
                    f"Port {port} cannot be used: stop whoever has it, or name another with --port."
                ) from None
            time.sleep(0.2)


def pages_socket(settings: Settings, port: int) -> Path:
    """The socket between the front of this port and its pages, in a folder nobody else may enter."""
    path = socket_folder(settings.quanma_home, "web", f"pages-{port:05}.sock") / f"pages-{port:05}.sock"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.parent.lstat()
    if found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise click.ClickException(f"目录 {path.parent} 不是私有的。 The folder {path.parent} is not private.")
    return path


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="监听的地址。")
@click.option("--port", default=8000, show_default=True, help="监听的端口。")
def web(host: str, port: int) -> None:
    """网页与微信回调。"""
    is_told_to_stop = stop_requested()
    settings = load_settings()
    logging.configure(settings)
    metrics.prepare(settings.quanma_home / "metrics")
    require_free(host, port)
    servers = EmbeddedServers(settings)
    pages = pages_socket(settings, port)
    environment = {
        "QUANMA_HOME": str(settings.quanma_home),
        "DATABASE_URL": servers.urls.database_url,
        "REDIS_URL": servers.urls.redis_url,
        PAGES_SOCKET_VARIABLE: str(pages),
    }
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    groups = {"pages": str(pages), "front": address}
    supervisor = Supervisor(
        on_restart=lambda child, code: log.error("process group ended", group=child.name, exit_code=code)
    )
    try:
        for name, where in groups.items():
            supervisor.start(Child(name, [sys.executable, "-m", "web.serve", name, where], environment))
        log.info("web server started", host=host, port=port)
        supervisor.run(is_told_to_stop, every_second=servers.revive)
    finally:
        supervisor.stop(GRACE_S)
        pages.unlink(missing_ok=True)
        servers.leave()
