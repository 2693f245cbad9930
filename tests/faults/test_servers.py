"""PostgreSQL crashes and Valkey forgets everything, under load: what was acknowledged stays, what is owed gets done."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from core import migrate
from core.database import Database
from core.servers import embedded_servers
from core.settings import read_settings
from tests.conftest import SECRET_KEY, Live, live_system, responds, wait_until
from tests.faults.conftest import PATIENCE_S, Run
from tests.faults.nemesis import Nemesis, backends, kill, lose_valkey, postmaster


@pytest.fixture(scope="module")
def home(test_home: Path, worker_number: int) -> Path:
    """Servers of our own, which nobody else misses when they die."""
    return test_home / f"mortal-{worker_number}"


@pytest.fixture(scope="module")
def mortal(home: Path) -> Iterator[Live]:
    """A system on those servers."""
    with embedded_servers(read_settings(_env_file=None, quanma_home=home, secret_key=SECRET_KEY)) as urls:
        database = Database(urls.database_url, SECRET_KEY, pooled=False)
        migrate.upgrade(database, SECRET_KEY)
        with live_system(urls, home) as system:
            yield system


@pytest.fixture
def run(mortal: Live, nemesis: Nemesis, chance: random.Random) -> Run:
    return Run.begin(mortal, nemesis, chance)


def test_a_database_that_crashes(run: Run, home: Path) -> None:
    """F9."""

    def stop_it_at_once() -> None:
        kill(postmaster(home), signal.SIGQUIT)

    def kill_it() -> None:
        kill(postmaster(home))

    def kill_a_backend() -> None:
        found = backends(home, "quanma_platform")
        kill(run.chance.choice(found) if found else None)

    deeds = [stop_it_at_once, kill_it, kill_a_backend]
    run.chance.shuffle(deeds)
    with run.platform.telling(run.stories()):
        for deed in deeds:
            run.nemesis.strike([deed], times=1, every=(0.6, 1.2))
            wait_until(lambda: responds(f"{run.live.url}/readyz"), seconds=PATIENCE_S, what="readiness")
    assert run.platform.failures, "no delivery noticed"
    assert run.judged() == []


def test_a_redis_that_forgets_everything(run: Run, home: Path) -> None:
    """F6: callbacks do not notice, and nothing owed is forgotten with it."""

    def lose_it() -> None:
        lose_valkey(home)

    store = redis.Redis.from_url(run.live.runtime.redis_url)
    store.set("remembered", 1)
    with run.platform.telling(run.stories()):
        run.nemesis.strike([lose_it], times=2, every=(0.8, 1.6))
        wait_until(lambda: responds(f"{run.live.url}/readyz"), seconds=PATIENCE_S, what="readiness")
    assert store.get("remembered") is None, "nothing was forgotten"
    assert run.platform.acknowledged == run.platform.sent, "a callback waited for Redis"
    assert run.judged() == []
