"""What every test may ask for: a real PostgreSQL and Valkey, a wired Runtime, WeChat in a box, and the running system.

The servers are the embedded ones, started once and shared by all pytest processes; QUANMA_TEST_DATABASE_URL (of a role
that may create databases and roles) and QUANMA_TEST_REDIS_URL take their place. Each pytest process works in a database
of its own, cloned from one migrated template and emptied after each test that used it.
"""

import contextlib
import fcntl
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
import redis
import requests
import structlog
from argon2 import PasswordHasher
from flask import Flask
from jinja2 import FileSystemBytecodeCache
from psycopg import sql
from sqlalchemy import event
from werkzeug.routing import Rule

from core import checks, migrate
from core.clock import business_day, start_of_day
from core.database import Database, Role
from core.keeper import lock_file
from core.outbox import QUEUES
from core.runtime import Runtime
from core.servers import EmbeddedServers, ServerUrls
from core.settings import Settings, read_settings
from merchants import staff

PROJECT = Path(__file__).resolve().parent.parent
SECRET_KEY = "a secret key for tests".replace(" ", "-")
TEMPLATE = "quanma_test_template"
HOME_VARIABLE = "QUANMA_TEST_HOME"


MEMORY = Path("/dev/shm")
MEMORY_WANTED = 4 << 30


def _memory() -> Path | None:
    """Where files cost nothing: emptying a database makes a file anew for each of its thousand relations."""
    with contextlib.suppress(OSError):
        if os.access(MEMORY, os.W_OK | os.X_OK) and shutil.disk_usage(MEMORY).free >= MEMORY_WANTED:
            return MEMORY
    return None


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "plants_violation: leaves rows behind that quanma check is meant to find")
    # A developer's own settings must not reach a test.
    for name in (*Settings.model_fields, "database_url", "redis_url"):
        os.environ.pop(name.upper(), None)
    os.environ["TZ"] = "UTC"
    if "PYTEST_XDIST_WORKER" not in os.environ:
        # Not pytest's own folder, which nobody but its owner may enter: as root the servers run as nobody.
        home = Path(tempfile.mkdtemp(prefix="quanma-test-", dir=_memory()))
        home.chmod(0o755)
        os.environ[HOME_VARIABLE] = str(home)


def pytest_unconfigure() -> None:
    if "PYTEST_XDIST_WORKER" not in os.environ and (home := os.environ.pop(HOME_VARIABLE, None)):
        shutil.rmtree(home, ignore_errors=True)


def _once_each(compile_builder: Callable[[Rule, bool], Any]) -> Callable[[Rule, bool], Any]:
    known: dict[tuple[Any, ...], Any] = {}

    def compile_once(rule: Rule, append_unknown: bool = True) -> Any:
        key = (append_unknown, *rule._trace, *(rule.defaults or {}).items())
        if key not in known:
            known[key] = compile_builder(rule, append_unknown)
        return known[key]

    return compile_once


@pytest.fixture(scope="session", autouse=True)
def what_is_dear_only_once() -> Iterator[None]:
    """Passwords that are dear to guess, templates and routes that are compiled: a process that runs for weeks pays for
    them once, and thousands of tests that build an application would each pay again. An exception that is logged in
    colours costs seconds."""
    plain = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*structlog.get_config()["processors"][:-1], plain])
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as compiled:
        patch.setattr(staff, "_hasher", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
        patch.setattr(Rule, "_compile_builder", _once_each(Rule._compile_builder))
        patch.setattr(Flask, "jinja_options", {"bytecode_cache": FileSystemBytecodeCache(compiled)})
        yield


@pytest.fixture(scope="session")
def test_home() -> Path:
    """The folder all pytest processes of this run share."""
    return Path(os.environ[HOME_VARIABLE])


@pytest.fixture(scope="session")
def worker_number() -> int:
    """0, 1, … for the pytest processes of this run."""
    return int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))


@pytest.fixture(scope="session")
def servers(test_home: Path) -> Iterator[ServerUrls]:
    """The servers' own addresses; a test wants `database_urls` instead."""
    settings = read_settings(
        _env_file=None,
        quanma_home=test_home,
        secret_key=SECRET_KEY,
        database_url=os.environ.get("QUANMA_TEST_DATABASE_URL"),
        redis_url=os.environ.get("QUANMA_TEST_REDIS_URL"),
    )
    embedded = EmbeddedServers(settings, is_durable=False)
    yield embedded.urls
    embedded.leave()


def plain(url: str) -> str:
    """The address as psycopg takes it."""
    return url.replace("+psycopg", "", 1)


def with_database(url: str, name: str) -> str:
    """The address of another database of the same server."""
    return re.sub(r"^(\w[\w+]*://[^/]*/)[^?]*", rf"\g<1>{name}", url)


def drop_database(urls: ServerUrls, name: str) -> None:
    """Drop a database and whoever is connected to it.

    An autovacuum at work in it belongs to the server's superuser, whom nobody else may send away: it is waited for.
    """
    statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
    deadline = time.monotonic() + 60
    with psycopg.connect(plain(urls.database_url), autocommit=True) as connection:
        while True:
            try:
                connection.execute(statement)
            except psycopg.errors.InsufficientPrivilege:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
            else:
                return


def create_database(urls: ServerUrls, name: str, *, template: str | None = None) -> str:
    """Make a database anew and return its address."""
    drop_database(urls, name)
    with psycopg.connect(plain(urls.database_url), autocommit=True) as connection:
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        connection.execute(statement.format(sql.Identifier(name), sql.Identifier(template or "template0")))
    return with_database(urls.database_url, name)


@pytest.fixture(scope="session")
def template(servers: ServerUrls, test_home: Path) -> str:
    """The name of a database that is migrated and otherwise empty."""
    is_done = test_home / "template"
    lock = lock_file(test_home / "template.lock", fcntl.LOCK_EX)
    assert lock is not None
    with lock:
        if not is_done.exists():
            database = Database(create_database(servers, TEMPLATE), SECRET_KEY, pooled=False)
            migrate.upgrade(database, SECRET_KEY)
            database.dispose()
            is_done.touch()
    return TEMPLATE


@pytest.fixture(scope="session")
def new_database(servers: ServerUrls, template: str, worker_number: int) -> Iterator[Callable[[str], str]]:
    """Makes a migrated, empty database for those who need one of their own, and returns its address."""
    names: list[str] = []

    def make(purpose: str) -> str:
        names.append(f"quanma_test_{worker_number}_{purpose}")
        return create_database(servers, names[-1], template=template)

    yield make
    for name in names:
        drop_database(servers, name)


def numbered_redis(urls: ServerUrls, number: int) -> str:
    """Redis has sixteen drawers; each pytest process uses two of them."""
    address = urls.redis_url.partition("?")[0]
    return f"{address}?db={number % 16}"


@pytest.fixture(scope="session")
def settings(servers: ServerUrls, new_database: Callable[[str], str], test_home: Path, worker_number: int) -> Settings:
    """Settings with this pytest process's own home, database and Redis, and the sandbox's account."""
    return read_settings(
        _env_file=None,
        quanma_home=test_home / f"home-{worker_number}",
        secret_key=SECRET_KEY,
        database_url=new_database("main"),
        redis_url=numbered_redis(servers, 2 * worker_number),
        # Nobody listens there: a test that talks to the platform asks for the sandbox.
        wechat_api_url="http://127.0.0.1:9",
    )


@pytest.fixture(scope="session")
def urls(settings: Settings) -> ServerUrls:
    assert settings.database_url is not None
    assert settings.redis_url is not None
    return ServerUrls(settings.database_url, settings.redis_url)


class Cleaner:
    """Empties a database between tests, but for what the migrations put there.

    Emptying a table takes new files for it and its indexes, and every table that refers to it must be emptied in the
    same breath. So only tables that hold something are, and from those that many refer to, rows are deleted instead.
    """

    def __init__(self, url: str) -> None:
        self._url = plain(url)
        self._rows: dict[str, list[tuple[Any, ...]]] = {}
        with psycopg.connect(self._url) as connection:
            tables = connection.execute(
                "SELECT c.relname, c.relrowsecurity FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
                " WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND NOT c.relispartition"
                " AND c.relname <> 'alembic_version'"
            ).fetchall()
            references = connection.execute(
                "SELECT t.relname, c.relname FROM pg_constraint f JOIN pg_class c ON c.oid = f.conrelid"
                " JOIN pg_class t ON t.oid = f.confrelid WHERE f.contype = 'f' AND c.oid <> t.oid"
                " AND NOT c.relispartition AND NOT t.relispartition"
            ).fetchall()
            for name, is_hidden in tables:
                if not is_hidden:
                    query = sql.SQL("SELECT * FROM {}").format(sql.Identifier(name))
                    if rows := connection.execute(query).fetchall():
                        self._rows[name] = rows
        self._hidden = {name for name, is_hidden in tables if is_hidden}
        self._referring: dict[str, set[str]] = {name: set() for name, _ in tables}
        for referred, referring in references:
            self._referring[referred].add(referring)

    def clean(self) -> None:
        with psycopg.connect(self._url) as connection:
            connection.execute("SET lock_timeout = '10s'")
            used = self._used(connection)
            emptied = self._alone(used)
            tables = sql.SQL(", ").join(map(sql.Identifier, sorted(emptied)))
            connection.execute(sql.SQL("TRUNCATE {} RESTART IDENTITY").format(tables))
            if rest := used - emptied:
                self._delete(connection, sorted(rest))
            for name, rows in self._rows.items():
                places = sql.SQL(", ").join([sql.Placeholder()] * len(rows[0]))
                statement = sql.SQL("INSERT INTO {} VALUES ({})").format(sql.Identifier(name), places)
                with connection.cursor() as cursor:
                    cursor.executemany(statement, rows)

    def _alone(self, used: set[str]) -> set[str]:
        """Those of these tables to which, in the end, only others of these refer."""
        alone = used
        while others := {name for name in alone if not self._referring[name] <= alone}:
            alone = alone - others
        return alone

    def _used(self, connection: psycopg.Connection[Any]) -> set[str]:
        """The tables that take room; one whose rows were deleted does too."""
        rows = connection.execute(
            "SELECT DISTINCT coalesce(pg_partition_root(c.oid), c.oid)::regclass::text FROM pg_class c"
            " JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = 'public' AND c.relkind = 'r' AND pg_relation_size(c.oid) > 0"
        ).fetchall()
        return {name for (name,) in rows} & self._referring.keys()

    def _delete(self, connection: psycopg.Connection[Any], names: list[str]) -> None:
        """From all of them in one statement, at whose end no row may miss what it refers to.

        Neither row security nor their own triggers hold against their owner's emptying them.
        """

        def alter(security: str, triggers: str) -> None:
            for name in names:
                hiding = sql.SQL(f"{security} ROW LEVEL SECURITY," if name in self._hidden else "")
                statement = sql.SQL("ALTER TABLE {} {} {} TRIGGER USER")
                connection.execute(statement.format(sql.Identifier(name), hiding, sql.SQL(triggers)))

        alter("NO FORCE", "DISABLE")
        deletions = [
            sql.SQL("{} AS (DELETE FROM {})").format(sql.Identifier(f"of_{name}"), sql.Identifier(name))
            for name in names
        ]
        connection.execute(sql.SQL("WITH {} SELECT").format(sql.SQL(", ").join(deletions)))
        alter("FORCE", "ENABLE")
        connection.execute(
            "SELECT setval(own, 1, false) FROM (SELECT pg_get_serial_sequence(attrelid::regclass::text, attname) AS own"
            " FROM pg_attribute WHERE attrelid = ANY(%s::regclass[]) AND attidentity <> '') s",
            (names,),
        )


@pytest.fixture(scope="session")
def cleaner(settings: Settings) -> Cleaner:
    assert settings.database_url is not None
    return Cleaner(settings.database_url)


@pytest.fixture(scope="session")
def shared_runtime(settings: Settings, urls: ServerUrls) -> Iterator[Runtime]:
    """One Runtime for all tests of this process, so that its connections are made once."""
    runtime = Runtime.build(settings, urls)
    yield runtime
    runtime.database.dispose()


def violations(database: Database) -> dict[str, list[tuple[object, ...]]]:
    """What `quanma check` would find: a few rows by the check's name."""
    with database.transaction(Role.PLATFORM, statement_timeout_s=30) as session:
        return {finding.name: finding.examples for finding in checks.run(session) if finding.rows}


def advance(runtime: Runtime, by: timedelta) -> None:
    """Let this much time pass."""
    runtime.clock.move(runtime.clock.offset() + by)


def set_to_noon(runtime: Runtime) -> None:
    """Start in the middle of today's Shanghai day, so that "an hour ago" is today at whatever hour the tests run."""
    now = runtime.now()
    advance(runtime, start_of_day(business_day(now)) + timedelta(hours=12) - now)


@pytest.fixture
def runtime(shared_runtime: Runtime, cleaner: Cleaner, request: pytest.FixtureRequest) -> Iterator[Runtime]:
    """A wired Runtime on an empty database. What the test leaves in it must pass every check."""
    redis.Redis.from_url(shared_runtime.redis_url).flushdb()
    shared_runtime.clock.move(timedelta())
    set_to_noon(shared_runtime)
    yield shared_runtime
    # A check that finds something has told; the next test must not hear of it again.
    try:
        found = {} if request.node.get_closest_marker("plants_violation") else violations(shared_runtime.database)
    finally:
        cleaner.clean()
    assert found == {}, "quanma check finds rows after this test"


@pytest.fixture
def database(runtime: Runtime) -> Database:
    """The database behind `runtime`."""
    return runtime.database


@contextlib.contextmanager
def statements(runtime: Runtime, role: Role) -> Iterator[list[str]]:
    """What a role asks the database meanwhile."""
    noted: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        noted.append(statement)

    engine = runtime.database.engine(role)
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield noted
    finally:
        event.remove(engine, "before_cursor_execute", note)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def wait_until(is_so: Callable[[], bool], *, seconds: float = 20, what: str = "it") -> None:
    """Wait for something another process does; time is only ever an upper bound here."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds} s"
        time.sleep(0.03)


@dataclass
class Program:
    """One running `quanma` command."""

    arguments: tuple[str, ...]
    environment: dict[str, str]
    log: Path
    module: str = "web.cli"
    process: "subprocess.Popen[bytes]" = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", self.module, *self.arguments],
                env=self.environment,
                cwd=PROJECT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @property
    def descendants(self) -> list[psutil.Process]:
        """Its workers, and theirs."""
        try:
            children: list[psutil.Process] = psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        return children

    def kill(self) -> None:
        """As a machine that dies would: the process and all its workers at once."""
        for process in [*self.descendants, self.process]:
            with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
                process.kill()
        self.process.wait()

    def stop(self, seconds: float = 30) -> int:
        """In order, as a deploy does; returns the exit code."""
        with contextlib.suppress(ProcessLookupError):
            self.process.terminate()
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.arguments} did not stop within {seconds} s; see {self.log}") from None


def environment_of(settings: Settings) -> dict[str, str]:
    """The environment variables that give a command these settings."""
    variables = {}
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if value is not None and name != "uses_sandbox_account":
            variables[name.upper()] = str(getattr(value, "get_secret_value", lambda value=value: value)())
    return {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "LC_ALL": "C.UTF-8", **variables}


class Sandbox:
    """WeChat in a box as a test sees it: its address, and its control paths."""

    def __init__(self, program: Program, url: str) -> None:
        self.program = program
        self.url = url

    def get(self, path: str, **parameters: Any) -> Any:
        return self._answer(requests.get(self.url + path, params=parameters, timeout=10))

    def post(self, path: str, **content: Any) -> Any:
        """Its answer may wait for what the running system does, such as the answers a step of a script expects."""
        return self._answer(requests.post(self.url + path, json=content, timeout=60))

    @staticmethod
    def _answer(response: requests.Response) -> Any:
        assert response.ok, f"{response.status_code} {response.text[:500]}"
        kind = response.headers.get("content-type", "").partition(";")[0]
        if kind == "application/x-ndjson":
            return [json.loads(line) for line in response.text.splitlines()]
        return response.json() if kind == "application/json" else response.text


def responds(url: str) -> bool:
    try:
        return requests.get(url, timeout=2).status_code < 500
    except requests.ConnectionError:
        return False


def start_sandbox(home: Path, account: Settings, *, callback_url: str, log: Path, limits: str = "") -> Sandbox:
    """A sandbox of its own that plays the account of these settings and pushes to `callback_url`."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = environment_of(account) | {
        "QUANMA_HOME": str(home),
        "PUBLIC_URL": callback_url.removesuffix("/wechat/callback"),
        "SANDBOX_LIMITS": limits,
        **{f"WECHAT_{host}_URL": url for host in ("API", "MP", "OPEN")},
    }
    sandbox = Sandbox(Program(("sandbox", "--port", str(port)), environment, log), url)
    wait_until(lambda: responds(f"{url}/sandbox/log"), what="the sandbox")
    return sandbox


@pytest.fixture(scope="module")
def sandbox(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A sandbox that pushes nowhere; for tests of what we call."""
    folder = tmp_path_factory.mktemp("sandbox")
    box = start_sandbox(folder, settings, callback_url="http://127.0.0.1:9/wechat/callback", log=folder / "log")
    # Delivering to nobody takes three attempts five seconds apart, and who acts waits for them.
    box.post("/sandbox/account", callback_url="")
    yield box
    box.program.stop()


@dataclass
class Live:
    """The whole system, running: web, workers and scheduler against a sandbox, each as the process it is."""

    url: str
    settings: Settings
    runtime: Runtime
    sandbox: Sandbox
    programs: dict[str, Program]
    folder: Path

    def quanma(self, *arguments: str, code: int = 0) -> str:
        """Run a command against this system and return what it prints."""
        done = subprocess.run(
            [sys.executable, "-m", "web.cli", *arguments],
            env=environment_of(self.settings),
            cwd=PROJECT,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=120,
        )
        assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout


LIVE_PROGRAMS = {"web": ("web",), **{queue: ("worker", queue) for queue in QUEUES}, "scheduler": ("scheduler",)}


@contextlib.contextmanager
def live_system(urls: ServerUrls, folder: Path) -> Iterator[Live]:
    """A system on these servers, whose database is migrated and empty. What is left in it must pass every check."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    settings = read_settings(
        _env_file=None,
        quanma_home=folder,
        secret_key=SECRET_KEY,
        public_url=url,
        database_url=urls.database_url,
        redis_url=urls.redis_url,
    )
    redis.Redis.from_url(urls.redis_url).flushdb()
    sandbox = start_sandbox(folder, settings, callback_url=f"{url}/wechat/callback", log=folder / "sandbox.log")
    # The account stays the one made up for this home; only its hosts are the sandbox just started.
    hosts = {f"wechat_{host}_url": sandbox.url for host in ("api", "mp", "open")}
    settings = settings.model_copy(update=hosts)
    environment = environment_of(settings)
    programs = {
        purpose: Program(
            (*command, "--port", str(port)) if purpose == "web" else command, environment, folder / f"{purpose}.log"
        )
        for purpose, command in LIVE_PROGRAMS.items()
    }
    runtime = Runtime.build(settings, urls)
    system = Live(url, settings, runtime, sandbox, programs, folder)
    try:
        try:
            wait_until(lambda: responds(f"{url}/readyz"), seconds=120, what="readiness")
        except AssertionError:
            print((folder / "web.log").read_text(errors="replace")[-4000:])
            raise
        yield system
        found = violations(runtime.database)
    finally:
        for program in [*programs.values(), sandbox.program]:
            program.process.terminate()
        for program in [*programs.values(), sandbox.program]:
            with contextlib.suppress(AssertionError):
                program.stop()
        runtime.database.dispose()
    assert found == {}, "quanma check finds rows after these tests"


@pytest.fixture(scope="module")
def live(
    servers: ServerUrls,
    new_database: Callable[[str], str],
    test_home: Path,
    worker_number: int,
    request: pytest.FixtureRequest,
) -> Iterator[Live]:
    """A system of this module's own."""
    name = re.sub(r"\W+", "_", request.node.name.rpartition("/")[2].removesuffix(".py"))
    folder = test_home / f"live-{worker_number}-{name}"
    folder.mkdir()
    urls = ServerUrls(new_database(name), numbered_redis(servers, 2 * worker_number + 1))
    with live_system(urls, folder) as system:
        yield system
