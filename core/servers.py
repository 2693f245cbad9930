"""Embedded PostgreSQL and Valkey: a newcomer needs neither, and DATABASE_URL and REDIS_URL take their place.

A command attaches to the servers that are running below its QUANMA_HOME or starts them; whoever leaves last stops
them. What keeps a server alive meanwhile is core.keeper.
"""

import contextlib
import fcntl
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from core.keeper import Place, ServerError, lock_file
from core.settings import Settings

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0

__all__ = ["EmbeddedServers", "ServerError", "ServerUrls", "embedded_servers", "ensure_servers"]


@dataclass(frozen=True)
class ServerUrls:
    """Where the truth and the bell are."""

    database_url: str
    redis_url: str


class _Server:
    """One user's hold on one embedded server."""

    def __init__(self, kind: str, home: Path, *, is_durable: bool) -> None:
        self._kind = kind
        self._home = home
        self._flags = () if is_durable else ("--throwaway",)
        self._place = Place(home / kind)
        self._place.folder.mkdir(parents=True, exist_ok=True)
        self._keeper: subprocess.Popen[bytes] | None = None
        # Waits while a former keeper is still stopping its server.
        self._hold: IO[str] | None = lock_file(self._place.users_lock, fcntl.LOCK_SH)
        self.revive()

    def revive(self) -> None:
        """Start a keeper if there is none."""
        with contextlib.closing(_locked(self._place.start_lock)):
            if self._place.is_kept:
                return
            if self._keeper is not None:
                self._keeper.wait()
            self._place.address_file.unlink(missing_ok=True)
            with self._place.log_file.open("wb") as log:
                self._keeper = subprocess.Popen(
                    [sys.executable, "-m", "core.keeper", self._kind, str(self._home), *self._flags],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=Path(__file__).parent.parent,
                    start_new_session=True,
                )
            while self._keeper.poll() is None and not self._place.is_kept:
                time.sleep(0.01)

    def url(self) -> str:
        """The server's address, as soon as it answers."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            with contextlib.suppress(FileNotFoundError):
                return str(json.loads(self._place.address_file.read_text(encoding="utf-8"))["url"])
            if not self._place.is_kept:
                break
            time.sleep(0.02)
        *_, last_words = ["", *self._place.log_file.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]]
        raise ServerError(
            last_words
            or f"内置 {self._kind} 没有按时启动，原因见 {self._place.folder}。 "
            f"The embedded {self._kind} did not start in time; {self._place.folder} may say why."
        )

    def leave(self) -> None:
        """Stop using the server. If nobody else does, it has ended when this returns."""
        if self._hold is None:
            return
        is_last = True
        try:
            fcntl.flock(self._hold, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            is_last = False
        self._hold.close()
        self._hold = None
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while is_last and self._place.is_kept and time.monotonic() < deadline:
            time.sleep(0.02)
        if is_last and self._keeper is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._keeper.wait(max(0.0, deadline - time.monotonic()))


def _locked(path: Path) -> IO[str]:
    file = lock_file(path, fcntl.LOCK_EX)
    assert file is not None  # noqa: S101  this lock waits
    return file


class EmbeddedServers:
    """One process's hold on whichever servers the settings leave to us; safe to give up more than once.

    `is_durable=False` is for tests: a server that may forget everything when the machine stops.
    """

    def __init__(self, settings: Settings, *, is_durable: bool = True) -> None:
        home = settings.quanma_home
        self._servers: list[_Server] = []
        try:
            # Both start at the same time; only then is either waited for.
            postgres = None if settings.database_url else self._hold("postgres", home, is_durable)
            valkey = None if settings.redis_url else self._hold("valkey", home, is_durable)
            self.urls = ServerUrls(
                database_url=settings.database_url or (postgres.url() if postgres else ""),
                redis_url=settings.redis_url or (valkey.url() if valkey else ""),
            )
        except BaseException:
            self.leave()
            raise

    def _hold(self, kind: str, home: Path, is_durable: bool) -> _Server:
        try:
            server = _Server(kind, home, is_durable=is_durable)
        except PermissionError as error:
            raise ServerError(
                f"没有权限使用 {error.filename}，它属于别的用户。 {error.filename} belongs to another user."
            ) from error
        self._servers.append(server)
        return server

    def revive(self) -> None:
        """Bring back keepers that were killed; `quanma run` calls it now and then."""
        for server in self._servers:
            server.revive()

    def leave(self) -> None:
        for server in self._servers:
            server.leave()


_held: list[EmbeddedServers] = []


def ensure_servers(settings: Settings, *, is_durable: bool = True) -> ServerUrls:
    """The servers' addresses, for as long as this process lives."""
    servers = EmbeddedServers(settings, is_durable=is_durable)
    _held.append(servers)
    return servers.urls


@contextlib.contextmanager
def embedded_servers(settings: Settings, *, is_durable: bool = True) -> Iterator[ServerUrls]:
    """The servers' addresses within the block."""
    servers = EmbeddedServers(settings, is_durable=is_durable)
    try:
        yield servers.urls
    finally:
        servers.leave()
