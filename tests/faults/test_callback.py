"""Web processes die, events come twice and out of order: nothing acknowledged is lost, nothing counts twice."""

from __future__ import annotations

import http.client
import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import psutil
import pytest

from tests.conftest import Live, responds, wait_until
from tests.faults.conftest import PATIENCE_S, Run
from tests.faults.nemesis import kill, web_group, workers_of
from tests.faults.verdict import feels_the_order, inbox_of


def test_workers_that_are_killed_under_load(run: Run) -> None:
    """F1."""

    def kill_a_worker() -> None:
        workers = workers_of(web_group(run.live.programs["web"], "front"))
        kill(run.chance.choice(workers) if workers else None)

    with run.platform.telling(run.stories()):
        run.nemesis.strike([kill_a_worker], times=14, every=(0.2, 0.6))
    assert run.platform.failures, "no delivery noticed"
    assert run.judged() == []


def test_the_whole_web_server_killed_under_load(run: Run) -> None:
    """F2: a leader is replaced by `quanma web`; `quanma web` itself by whoever started it."""
    web = run.live.programs["web"]

    def kill_the_front() -> None:
        kill(web_group(web, "front"))

    def kill_all_of_it() -> None:
        web.kill()
        web.start()

    with run.platform.telling(run.stories()):
        for deed in (kill_the_front, kill_all_of_it):
            run.nemesis.strike([deed], times=1, every=(0.4, 0.8))
            wait_until(lambda: responds(f"{run.live.url}/readyz"), seconds=PATIENCE_S, what="readiness")
    assert run.platform.failures, "no delivery noticed"
    assert run.judged() == []


@contextmanager
def lines_to_each_worker(live: Live) -> Iterator[list[list[http.client.HTTPConnection]]]:
    """Open connections, grouped by the worker process that answers them."""
    address = urlsplit(live.url).netloc
    groups: dict[int, list[http.client.HTTPConnection]] = {}
    workers = workers_of(web_group(live.programs["web"], "front"))
    assert len(workers) == 2
    opened: list[http.client.HTTPConnection] = []

    def has_both() -> bool:
        line = http.client.HTTPConnection(address, timeout=10)
        opened.append(line)
        line.request("GET", "/healthz")
        line.getresponse().read()
        port = line.sock.getsockname()[1]
        for worker in workers:
            if any(one.raddr and one.raddr.port == port for one in worker.net_connections("tcp")):
                groups.setdefault(worker.pid, []).append(line)
        return len(groups) == 2

    wait_until(has_both, seconds=PATIENCE_S, what="a connection to each of the workers")
    yield list(groups.values())
    for line in opened:
        line.close()


def test_the_same_event_three_times_at_once_at_both_workers(run: Run) -> None:
    """F23."""
    people = list(itertools.islice(run.stories(), 40))
    with lines_to_each_worker(run.live) as (first, second):
        # The third comes over a new connection, to whichever worker takes it.
        lines = [first[0], second[0], None]
        for push in itertools.chain.from_iterable(people):
            start = threading.Barrier(len(lines))

            def deliver(line: http.client.HTTPConnection | None, push=push, start=start) -> None:  # type: ignore[no-untyped-def]
                start.wait()
                run.platform.deliver(push, line)

            threads = [threading.Thread(target=deliver, args=(line,)) for line in lines]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            run.nemesis.deeds.append("three at once")
    assert run.platform.acknowledged == run.platform.sent
    assert run.judged() == []


def test_events_in_any_order(run: Run) -> None:
    """F24."""
    people = list(itertools.islice(run.stories(), 60))
    pushes = [push for story in people for push in story]
    run.chance.shuffle(pushes)
    run.platform.tell_all([push] for push in pushes)
    assert run.platform.acknowledged == run.platform.sent
    stored = inbox_of(run.live.runtime, {push.openid for push in pushes})
    run.nemesis.deeds += ["out of order"] * feels_the_order(stored, run.owners)
    assert run.judged() == []


@pytest.fixture(autouse=True)
def _workers_come_back(live: Live) -> Iterator[None]:
    yield
    wait_until(
        lambda: len([one for one in workers_of(web_group(live.programs["web"], "front")) if _runs(one)]) == 2,
        seconds=PATIENCE_S,
        what="two workers",
    )


def _runs(process: psutil.Process) -> bool:
    return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
