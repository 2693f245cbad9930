"""Embedded servers: shared by commands, kept over restarts, recovered after every kind of kill."""

import contextlib
import json
import multiprocessing
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
from redis import Redis, RedisError

from core.keeper import Place, Postgres, ServerError, Valkey
from core.servers import EmbeddedServers, ServerUrls, embedded_servers
from core.settings import Settings, read_settings


@pytest.fixture
def home() -> Iterator[Path]:
    """A home that `nobody` may enter, as pytest's own folders do not allow."""
    root = Path(tempfile.mkdtemp(prefix="quanma-servers-"))
    root.chmod(0o755)
    yield root / "var"
    eventually(lambda: not [process for kind in ("postgres", "valkey") for process in on_data(root / "var" / kind)])
    shutil.rmtree(root)


@pytest.fixture
def settings(home: Path) -> Settings:
    return settings_for(home)


def settings_for(home: Path) -> Settings:
    return read_settings(quanma_home=home, database_url=None, redis_url=None)


def on_data(folder: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()) == folder / "data":
                found.append(process)
        except psutil.Error:
            continue
    return found


def keepers(home: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if str(home) in process.cmdline() and "core.keeper" in process.cmdline():
                found.append(process)
        except psutil.Error:
            continue
    return found


def postmaster(home: Path) -> psutil.Process:
    return psutil.Process(int((home / "postgres" / "data" / "postmaster.pid").read_text().split("\n")[0]))


def eventually(is_so: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)


def query(urls: ServerUrls, sql: str) -> list[tuple[object, ...]]:
    with psycopg.connect(urls.database_url.replace("+psycopg", ""), autocommit=True) as connection:
        cursor = connection.execute(sql)
        return cursor.fetchall() if cursor.description else []


def answers(urls: ServerUrls) -> bool:
    try:
        return query(urls, "SELECT 1") == [(1,)] and bool(Redis.from_url(urls.redis_url).ping())
    except (psycopg.OperationalError, RedisError):
        return False


def test_data_is_kept_over_restarts_and_nothing_is_left_running(settings: Settings, home: Path) -> None:
    with embedded_servers(settings) as urls:
        query(urls, "CREATE TABLE kept (word text)")
        query(urls, "INSERT INTO kept VALUES ('茶')")
        Redis.from_url(urls.redis_url).set("kept", "1")
    assert keepers(home) == on_data(home / "postgres") == on_data(home / "valkey") == []
    with embedded_servers(settings) as urls:
        assert query(urls, "SELECT word FROM kept") == [("茶",)]
        assert Redis.from_url(urls.redis_url).get("kept") == b"1"


def test_the_database_is_made_as_the_schema_expects(settings: Settings) -> None:
    with embedded_servers(settings) as urls:
        facts = query(
            urls,
            "SELECT current_user, rolsuper, rolcreaterole, pg_get_userbyid(datdba), pg_encoding_to_char(encoding),"
            " datcollate, datlocale, current_setting('data_checksums'), current_setting('listen_addresses')"
            " FROM pg_roles, pg_database WHERE rolname = current_user AND datname = current_database()",
        )
    assert facts == [("quanma_migrate", False, True, "quanma_migrate", "UTF8", "C", "C.UTF-8", "on", "")]


def test_nobody_gets_in_without_a_password_or_over_the_network(settings: Settings, home: Path) -> None:
    with embedded_servers(settings) as urls:
        bare = urls.database_url.replace("+psycopg", "").replace(
            (home / "postgres" / "password").read_text().strip(), "wrong"
        )
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(bare)
        assert postmaster(home).net_connections(kind="inet") == []
        assert Redis.from_url(urls.redis_url).config_get("port") == {"port": "0"}
        for folder in ("postgres/data", "postgres/run", "postgres/log", "valkey/data", "valkey/run"):
            assert (home / folder).stat().st_mode & 0o777 == 0o700
        assert (home / "postgres" / "password").stat().st_mode & 0o777 == 0o600


def test_a_second_user_attaches_and_the_last_one_stops_the_servers(settings: Settings, home: Path) -> None:
    first, second = EmbeddedServers(settings), EmbeddedServers(settings)
    assert first.urls == second.urls
    assert len(keepers(home)) == 2
    first.leave()
    assert answers(second.urls)
    second.leave()
    second.leave()
    eventually(lambda: keepers(home) == [])


def test_many_commands_at_once_share_one_pair_of_servers(settings: Settings, home: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from core.settings import read_settings\n"
        "from core.servers import embedded_servers\n"
        "with embedded_servers(read_settings(quanma_home=Path(sys.argv[1]))) as urls: print(urls.database_url)"
    )
    environment = {name: value for name, value in os.environ.items() if name not in {"DATABASE_URL", "REDIS_URL"}}
    commands = [
        subprocess.Popen([sys.executable, "-c", program, str(home)], stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(6)
    ]
    outputs = {command.communicate(timeout=60)[0] for command in commands}
    assert [command.returncode for command in commands] == [0] * 6
    assert len(outputs) == 1
    eventually(lambda: keepers(home) == [])


@pytest.mark.parametrize("with_children", [False, True])
def test_a_killed_postmaster_comes_back_with_what_was_committed(
    settings: Settings, home: Path, with_children: bool
) -> None:
    with embedded_servers(settings) as urls:
        query(urls, "CREATE TABLE kept AS SELECT n FROM generate_series(1, 500) AS n")
        old = postmaster(home)
        for process in [old, *(old.children() if with_children else [])]:
            # A child may end by itself as soon as it sees its parent gone.
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        eventually(lambda: answers(urls) and postmaster(home) != old)
        assert query(urls, "SELECT count(*) FROM kept") == [(500,)]


def test_a_killed_valkey_has_what_it_acknowledged(settings: Settings, home: Path) -> None:
    with embedded_servers(settings) as urls:
        redis = Redis.from_url(urls.redis_url)
        for _ in range(200):
            redis.incr("acknowledged")
        (old,) = on_data(home / "valkey")
        old.kill()
        eventually(lambda: on_data(home / "valkey") not in ([], [old]) and answers(urls))
        assert redis.get("acknowledged") == b"200"


def test_a_killed_keeper_takes_its_server_along_and_is_replaced(settings: Settings, home: Path) -> None:
    servers = EmbeddedServers(settings)
    query(servers.urls, "CREATE TABLE kept (n int)")
    for keeper in keepers(home):
        keeper.kill()
    eventually(lambda: on_data(home / "postgres") + on_data(home / "valkey") == [])
    servers.revive()
    eventually(lambda: answers(servers.urls))
    assert query(servers.urls, "SELECT * FROM kept") == []
    servers.leave()
    eventually(lambda: keepers(home) == [])


def test_a_killed_user_leaves_no_server_behind(home: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from core.settings import read_settings\n"
        "from core.servers import ensure_servers\n"
        "ensure_servers(read_settings(quanma_home=Path(sys.argv[1]))); print('up', flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(home)], stdout=subprocess.PIPE, text=True) as user:
        assert user.stdout is not None
        assert user.stdout.readline() == "up\n"
        user.kill()
    eventually(lambda: keepers(home) == on_data(home / "postgres") == on_data(home / "valkey") == [])


def test_a_stale_pid_file_and_an_orphan_are_no_obstacle(settings: Settings, home: Path) -> None:
    with embedded_servers(settings) as urls:
        query(urls, "CREATE TABLE kept (n int)")
    pid_file = home / "postgres" / "data" / "postmaster.pid"
    pid_file.write_text(f"{os.getpid()}\n{home / 'postgres' / 'data'}\n1\n5432\n\n\n\nready\n")
    pid_file.chmod(0o644)
    with embedded_servers(settings) as urls:
        assert query(urls, "SELECT * FROM kept") == []
    # An orphan as a keeper leaves it where the kernel has no parent-death signal.
    postgres = Postgres(home)
    sockets = postgres.prepare()
    orphan = postgres.account.start(postgres.command(sockets), death_signal=0, stdin=subprocess.DEVNULL)
    eventually(lambda: postgres.is_ready(sockets))
    with embedded_servers(settings) as urls:
        assert query(urls, "SELECT * FROM kept") == []
        assert orphan.wait(5) == 0


def test_a_half_made_data_folder_is_made_again(settings: Settings, home: Path) -> None:
    draft = home / "postgres" / "data.new"
    draft.mkdir(parents=True)
    (draft / "PG_VERSION").write_text("18\n")
    with embedded_servers(settings) as urls:
        assert answers(urls)


def test_a_home_with_a_long_name_gets_its_socket_elsewhere(home: Path) -> None:
    long_home = home.parent / ("长" * 30) / "var"
    with embedded_servers(settings_for(long_home)) as urls:
        assert answers(urls)
        sockets = Path(urls.database_url.partition("host=")[2])
        assert home.parent not in sockets.parents
        assert sockets.stat().st_mode & 0o777 == 0o700


def test_a_private_home_is_served_without_opening_it(home: Path) -> None:
    """As root this needs a user namespace; where there is none, the sentence says what to do."""
    private = home.parent / "private"
    private.mkdir(mode=0o700)
    try:
        with embedded_servers(settings_for(private / "var")) as urls:
            assert answers(urls)
    except ServerError as error:
        assert "DATABASE_URL" in str(error)  # noqa: PT017
    assert private.stat().st_mode & 0o777 == 0o700


def run_once_as(uid: int, home: Path) -> None:
    """What a keeper does, in a process of this user; ends with the exit code."""
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
    for server in (Postgres(home), Valkey(home)):
        server.place.folder.mkdir(parents=True)
        sockets = server.prepare()
        process = server.start(sockets)
        eventually(lambda server=server, sockets=sockets: server.is_ready(sockets))  # type: ignore[misc]
        assert server.account.prefix == ()
        assert {path.stat().st_uid for path in server.data.rglob("*")} == {uid}
        server.stop(process)
        assert process.returncode == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_normal_user_needs_no_help_from_root(home: Path) -> None:
    home.mkdir()
    uid = pwd.getpwnam("nobody").pw_uid
    os.chown(home, uid, uid)
    child = multiprocessing.get_context("fork").Process(target=run_once_as, args=(uid, home))
    child.start()
    child.join(60)
    assert child.exitcode == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can prepare somebody else's folder")
def test_a_folder_of_somebody_else_is_left_alone(home: Path) -> None:
    foreign = home / "postgres" / "run"
    foreign.mkdir(parents=True)
    os.chown(foreign, 12345, 12345)
    with pytest.raises(ServerError, match="belongs to another user"), embedded_servers(settings_for(home)):
        pass
    assert foreign.stat().st_uid == 12345


def test_data_of_another_version_is_refused_in_one_sentence(home: Path) -> None:
    data = home / "postgres" / "data"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("15\n")
    with pytest.raises(ServerError, match="written by PostgreSQL 15"), embedded_servers(settings_for(home)):
        pass


def test_given_addresses_take_the_place_of_embedded_servers(home: Path) -> None:
    given = read_settings(quanma_home=home, database_url="postgresql://u:p@db.example/q", redis_url="redis://r.example")
    with embedded_servers(given) as urls:
        assert urls == ServerUrls("postgresql+psycopg://u:p@db.example/q", "redis://r.example")
    assert not (home / "postgres").exists()
    assert not (home / "valkey").exists()


def test_the_address_is_there_only_while_the_server_answers(settings: Settings, home: Path) -> None:
    with embedded_servers(settings):
        assert set(json.loads(Place(home / Postgres.kind).address_file.read_text())) == {"url"}
    for kind in (Postgres.kind, Valkey.kind):
        assert not Place(home / kind).address_file.exists()


def test_a_keeper_told_to_stop_stops_in_order(settings: Settings, home: Path) -> None:
    servers = EmbeddedServers(settings)
    for keeper in keepers(home):
        keeper.send_signal(signal.SIGTERM)
    eventually(lambda: keepers(home) == [])
    assert not (home / "postgres" / "data" / "postmaster.pid").exists()
    servers.leave()
